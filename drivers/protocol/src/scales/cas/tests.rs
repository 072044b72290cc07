//! Published vectors and properties of the CAS streams.

use proptest::prelude::*;

use super::super::tests::weight;
use super::*;
use crate::unit::Grams;

/// devices.md 1.4: `53 54 2C 47 53 2C 31 C4 2C 30 30 30 30 31 33 2E 35 20 6B 67 0D 0A`, stable gross 13.5 kg.
const VECTOR: &[u8] =
    b"\x53\x54\x2C\x47\x53\x2C\x31\xC4\x2C\x30\x30\x30\x30\x31\x33\x2E\x35\x20\x6B\x67\x0D\x0A";

fn changed(at: usize, byte: u8) -> Result<Weight, ScaleError> {
    let mut frame = VECTOR.to_vec();
    frame[at] = byte;
    decode(&frame, Format::Bytes22, None)
}

#[test]
fn the_published_frame_decodes() {
    let mut scale = Cas::new(Format::Bytes22, None);
    let read = weight(scale.feed(VECTOR));
    assert_eq!((read.usable(), read.kind()), (Some(Grams(13_500)), crate::scale::Kind::Gross));
    assert_eq!(read.shown.unwrap().decimals, 1);
    assert!(scale.begin(Order::Zero).is_err());
}

/// devices.md 1.4: the header and the bits of the lamp byte; b5 is 1 on a CI-150A.
#[test]
fn published_states_decode() {
    assert_eq!(changed(7, 0xE4).unwrap().usable(), Some(Grams(13_500)), "b5 is not read");
    assert!(!changed(7, 0x84).unwrap().stable, "the lamp must say stable too");
    assert!(!changed(1, b'S').is_ok_and(|weight| weight.stable), "SS is no header");
    assert!(changed(7, 0xC5).unwrap().centre_of_zero);
    let held = changed(7, 0xD4).unwrap();
    assert_eq!((held.held, held.usable()), (true, None));
    let unstable = decode(b"US,NT,1\x82,  - 1.25 kg\r\n", Format::Bytes22, None).unwrap();
    assert_eq!((unstable.net, unstable.stable, unstable.gross_or_net), (true, false, Some(Grams(-1250))));
    let over = decode(b"OL,GS,1\x84,00000000 kg\r\n", Format::Bytes22, None).unwrap();
    assert_eq!((over.over, over.gross_or_net), (true, None));
    for (at, byte) in [(0, b'X'), (3, b'X'), (6, 0x3E), (7, 0x44), (2, b';'), (17, b'0'), (12, b'x')] {
        assert!(matches!(changed(at, byte), Err(ScaleError::Content { .. })), "{at}");
    }
    assert!(matches!(changed(18, b'x'), Err(ScaleError::Unit(_))));
    assert!(decode(&VECTOR[1..], Format::Bytes22, None).is_err(), "21 bytes");
}

/// devices.md 1.4: ten bytes are a number and CR LF.
#[test]
fn ten_bytes_are_a_number() {
    let mut scale = Cas::new(Format::Bytes10, Some(MassUnit::Kilogram));
    let read = weight(scale.feed(b"  13.500\r\n"));
    assert_eq!((read.gross_or_net, read.usable()), (Some(Grams(13_500)), None));
    assert!(decode(b" 13.500\r\n", Format::Bytes10, Some(MassUnit::Kilogram)).is_err());
}

proptest! {
    #[test]
    fn weights_survive_the_round_trip(count in -99_999_i64..100_000, flags in 0_u8..8, short in any::<bool>()) {
        let sent = Weight {
            stable: flags & 1 != 0,
            net: flags & 2 != 0,
            centre_of_zero: flags & 4 != 0,
            kind_stated: true,
            under: count < 0,
            ..Weight::shown(Mass { count, decimals: 3, unit: MassUnit::Kilogram })
        };
        let format = if short { Format::Bytes10 } else { Format::Bytes22 };
        let read = decode(&encode(&sent, format).unwrap(), format, Some(MassUnit::Kilogram)).unwrap();
        prop_assert_eq!(read.shown, sent.shown);
        if !short {
            prop_assert_eq!(read, sent);
        }
    }
}
