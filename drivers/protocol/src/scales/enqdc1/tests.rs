//! Published vectors and properties of ENQ-DC1.

use proptest::prelude::*;

use super::super::tests::{answers, weight};
use super::*;
use crate::unit::Grams;

/// devices.md 1.5: `01 02 53 20 30 31 2E 32 35 30 6B 67 67 03 04`, CAS/AP-1, 1.250 kg stable.
const AP1: &[u8] = b"\x01\x02\x53\x20\x30\x31\x2E\x32\x35\x30\x6B\x67\x67\x03\x04";
/// devices.md 1.5: the same of an OS2CX, BCC 0x64.
const OS2CX: &[u8] = b"\x01\x02\x53\x20\x30\x31\x2E\x32\x35\x30\x6B\x67\x64\x03\x04";

fn passive(bcc: Bcc) -> EnqDc1 {
    EnqDc1::new("enq-dc1", bcc, None)
}

/// devices.md 1.5: host 05, scale 06, host 11, scale's frame.
#[test]
fn the_published_dialog_gives_the_weight() {
    let mut scale = passive(Bcc::Content);
    assert_eq!(scale.begin(Order::Weight), Ok(Request::answered([0x05])));
    assert_eq!(scale.feed(&[0x06]), [Ok(Step::Send([0x11].to_vec()))]);
    let weight = weight(scale.feed(AP1));
    assert_eq!(weight.usable(), Some(Grams(1250)));
    assert_eq!(weight.shown, Some(Mass { count: 1250, decimals: 3, unit: MassUnit::Kilogram }));
    assert_eq!(weight.kind(), crate::scale::Kind::Unstated);
    assert!(matches!(scale.feed(AP1)[0], Err(ScaleError::Unasked(_))), "only what was asked");
    scale.begin(Order::Weight).unwrap();
    assert_eq!(answers(scale.feed(&[0x15])), [Ok(Answer::Refused(Refusal::NotReady))]);
}

/// devices.md 1.5: the checksum differs between makers; either is taken only where the settings say so.
#[test]
fn the_checksum_is_that_of_the_settings() {
    for (frame, bcc, good) in [
        (AP1, Bcc::Content, true),
        (OS2CX, Bcc::Content, false),
        (AP1, Bcc::Frame, false),
        (OS2CX, Bcc::Frame, true),
        (AP1, Bcc::Either, true),
        (OS2CX, Bcc::Either, true),
    ] {
        let result = decode(frame, bcc, None);
        assert_eq!(result.is_ok(), good, "{bcc:?} {result:?}");
        assert!(good || matches!(result, Err(ScaleError::Checksum { .. })));
    }
}

/// OS2CX manual p15: the active frame is the passive one and Flag2 (b4 zero, b5 tare, b6 out of range); commands of p16.
#[test]
fn an_os2x_sends_by_itself_and_takes_commands() {
    let mut scale = EnqDc1::new("os2x", Bcc::Frame, None).with_commands(true);
    let sent = |flags: u8| [OS2CX, &[flags]].concat();
    let tared = weight(scale.feed(&sent(0x20)));
    assert_eq!((tared.usable(), tared.net, tared.kind_stated), (Some(Grams(1250)), true, true));
    assert_eq!(weight(scale.feed(&sent(0x40))).usable(), None);
    assert!(weight(scale.feed(&sent(0x10))).centre_of_zero);
    assert_eq!(scale.begin(Order::Tare), Ok(Request::unanswered([0x3C, 0x54, 0x4B, 0x3E, 0x09])));
    assert_eq!(scale.begin(Order::Zero), Ok(Request::unanswered([0x3C, 0x5A, 0x4B, 0x3E, 0x09])));
    assert!(scale.begin(Order::ClearTare).is_err());
    assert!(passive(Bcc::Content).begin(Order::Tare).is_err(), "AP-1 has no commands");
}

#[test]
fn states_units_and_damage_are_named() {
    let mass = |count, decimals, unit| Mass { count, decimals, unit };
    let frame = |status, shown| encode(status, shown, Bcc::Content, None).unwrap();
    let read = |frame: &[u8]| decode(frame, Bcc::Content, None);
    let moving = read(&frame(b'U', mass(1250, 3, MassUnit::Kilogram))).unwrap();
    assert_eq!((moving.stable, moving.usable()), (false, None));
    let over = read(&frame(b'F', mass(0, 3, MassUnit::Kilogram))).unwrap();
    assert_eq!((over.over, over.gross_or_net), (true, None));
    let below = read(&frame(b'S', mass(-5, 3, MassUnit::Kilogram))).unwrap();
    assert_eq!((below.under, below.gross_or_net), (true, Some(Grams(-5))));
    assert_eq!(read(&frame(b'S', mass(1234, 0, MassUnit::Gram))).unwrap().usable(), Some(Grams(1234)));
    assert_eq!(read(&frame(b'S', mass(125, 2, MassUnit::Pound))).unwrap().usable(), Some(Grams(567)));
    let reseal = |at: usize, byte: u8| {
        let mut frame = AP1.to_vec();
        frame[at] = byte;
        frame[BCC_AT] = xor(&frame[2..BCC_AT]);
        read(&frame)
    };
    assert!(matches!(reseal(2, b'X'), Err(ScaleError::Content { expected: "status S, U or F", .. })));
    assert!(matches!(reseal(3, b'+'), Err(ScaleError::Content { expected: "sign space or minus", .. })));
    assert!(matches!(reseal(6, b'-'), Err(ScaleError::Content { .. })));
    assert!(matches!(reseal(10, b'P'), Err(ScaleError::Unit(_))));
    let other = decode(AP1, Bcc::Content, Some(MassUnit::Gram));
    assert!(matches!(other, Err(ScaleError::OtherUnit { found: MassUnit::Kilogram, .. })));
}

#[test]
fn the_frame_behind_damage_is_read() {
    for damage in
        [&b"\x00\x7f"[..], b"\x01", b"\x01\x02", &AP1[..9], b"\x01\x01", b"\x01\x02S  1.2x0kg\x00\x03\x04"]
    {
        let mut scale = passive(Bcc::Content);
        scale.begin(Order::Weight).unwrap();
        scale.feed(&[0x06]);
        let steps = answers(scale.feed(&[damage, AP1].concat()));
        let good = steps.iter().flatten().filter(|answer| matches!(answer, Answer::Weight(_))).count();
        assert_eq!(good, 1, "{damage:?}: {steps:?}");
        assert!(steps.iter().any(Result::is_err), "{damage:?}");
    }
}

proptest! {
    #[test]
    fn weights_survive_the_round_trip(count in -99_999_i64..100_000, stable in any::<bool>(), frame_sum in any::<bool>()) {
        let bcc = if frame_sum { Bcc::Frame } else { Bcc::Content };
        let shown = Mass { count, decimals: 3, unit: MassUnit::Kilogram };
        let status = if stable { b'S' } else { b'U' };
        let weight = decode(&encode(status, shown, bcc, None).unwrap(), bcc, None).unwrap();
        prop_assert_eq!((weight.shown, weight.stable), (Some(shown), stable));
    }

    #[test]
    fn one_flipped_bit_never_makes_another_weight(count in 0_i64..100_000, bit in 0_usize..FRAME_BYTES * 8) {
        let shown = Mass { count, decimals: 3, unit: MassUnit::Kilogram };
        let mut frame = encode(b'S', shown, Bcc::Content, None).unwrap();
        frame[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&frame, Bcc::Content, None).is_err());
    }
}
