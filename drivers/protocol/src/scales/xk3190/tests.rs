//! Published vectors and properties of the XK3190-A23.

use proptest::prelude::*;

use super::super::tests::weight;
use super::*;
use crate::unit::Grams;

/// devices.md 1.7: `02 2B 30 30 32 30 30 30 32 31 42 03` = +20.00, exclusive or 1B.
const VECTOR: &[u8] = b"\x02\x2B\x30\x30\x32\x30\x30\x30\x32\x31\x42\x03";

#[test]
fn the_published_frame_decodes() {
    let mut scale = Xk3190::new(MassUnit::Kilogram, true);
    let read = weight(scale.feed(VECTOR));
    assert_eq!(read.shown, Some(Mass { count: 2000, decimals: 2, unit: MassUnit::Kilogram }));
    assert_eq!((read.gross_or_net, read.stable, read.usable()), (Some(Grams(20_000)), false, None));
    assert!(scale.begin(Order::Zero).is_err());
}

/// XK3190-A23p manual p24: commands B, C and D at address A.
#[test]
fn published_commands_encode_and_gross_tare_and_net_are_read() {
    assert_eq!(Command::Gross.encode(b'A'), [0x02, 0x41, 0x42, 0x30, 0x33, 0x03]);
    assert_eq!(Command::Tare.encode(b'A'), [0x02, 0x41, 0x43, 0x30, 0x32, 0x03]);
    assert_eq!(Command::Net.encode(b'A'), [0x02, 0x41, 0x44, 0x30, 0x35, 0x03]);
    let mut scale = Xk3190::new(MassUnit::Kilogram, false);
    let reply = |count, command| {
        encode(Mass { count, decimals: 3, unit: MassUnit::Kilogram }, Some(command)).unwrap()
    };
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, Command::Gross.encode(b'A'));
    let step = scale.feed(&reply(1500, Command::Gross));
    assert_eq!(step, [Ok(Step::Send(Command::Tare.encode(b'A')))]);
    let step = scale.feed(&reply(250, Command::Tare));
    assert_eq!(step, [Ok(Step::Send(Command::Net.encode(b'A')))]);
    let read = weight(scale.feed(&reply(1250, Command::Net)));
    assert_eq!((read.gross_or_net, read.tare, read.net), (Some(Grams(1250)), Some(Grams(250)), true));
    assert_eq!(read.usable(), None);
    scale.begin(Order::Weight).unwrap();
    let other = scale.feed(&reply(1500, Command::Net));
    assert!(matches!(other[..], [Err(ScaleError::Content { .. })]), "{other:?}");
}

#[test]
fn damage_is_named_and_the_next_frame_is_read() {
    for (damage, named) in [
        (&b"\x55"[..], "bytes outside"),
        (&VECTOR[..5], "cut short"),
        (b"\x02+0\x03", "cut short"),
        (b"\x02+00200021C\x03", "checksum"),
        (b"\x02+00200021b\x03", "hexadecimal"),
        (b"\x02+00200051C\x03", "decimals"),
        (b"\x02*00200021A\x03", "sign"),
    ] {
        let mut scale = Xk3190::new(MassUnit::Kilogram, true);
        let steps = scale.feed(&[damage, VECTOR].concat());
        let [Err(error), Ok(Step::Answer { .. })] = &steps[..] else { panic!("{damage:?}: {steps:?}") };
        assert!(alloc::format!("{error}").contains(named), "{error}");
    }
}

proptest! {
    #[test]
    fn values_survive_the_round_trip(count in -999_999_i64..1_000_000, decimals in 0_u8..5, asked in any::<bool>()) {
        let shown = Mass { count, decimals, unit: MassUnit::Gram };
        let asked = asked.then_some(Command::Net);
        prop_assert_eq!(decode(&encode(shown, asked).unwrap(), MassUnit::Gram, asked), Ok(shown));
    }

    #[test]
    fn one_flipped_bit_never_makes_another_weight(count in -999_999_i64..1_000_000, bit in 0_usize..SENT_BYTES * 8) {
        let shown = Mass { count, decimals: 3, unit: MassUnit::Gram };
        let mut frame = encode(shown, None).unwrap();
        frame[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&frame, MassUnit::Gram, None).is_err());
    }
}
