//! Published records and properties of Dialog 06.

use proptest::prelude::*;

use super::super::tests::{answers, weight};
use super::*;

const ACKED: [u8; 1] = [ACK];
const ASK: [u8; 2] = [EOT, ENQ];
const WHY: [u8; 5] = [EOT, STX, b'0', b'8', ETX];

fn scale(settings: Settings) -> Dialog06 {
    Dialog06::new(&settings)
}

fn priced() -> Dialog06 {
    scale(Settings { unit_price: Some(250), ..Settings::default() })
}

fn sent(steps: &[Result<Step, ScaleError>]) -> &[u8] {
    match steps {
        [Ok(Step::Send(bytes))] => bytes,
        _ => panic!("expected bytes to send: {steps:?}"),
    }
}

fn status(code: [u8; 2]) -> Vec<u8> {
    encode_record(Record::Status(code)).unwrap()
}

/// devices.md 1.6: `04 02 '01' 1B PPPPPP 1B 03`, `04 05`, `02 '02' 1B '3' 1B WWWWW 1B PPPPPP 1B IIIIII 03`.
#[test]
fn the_published_dialog_gives_the_weight() {
    let mut scale = priced();
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"\x04\x0201\x1b000250\x1b\x03");
    assert_eq!(sent(&scale.feed(&ACKED)), ASK);
    let steps = scale.feed(b"\x0202\x1b3\x1b01250\x1b000250\x1b000313\x03");
    let [Ok(Step::Answer { send, .. })] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(send, &[EOT], "every answer ends with EOT");
    let read = weight(steps);
    assert_eq!((read.usable(), read.kind_stated), (Some(Grams(1250)), false));
}

/// devices.md 1.6: unit digit 31H lb .01, 32H lb .005, 33H kg; 30H (lb:oz) is no decimal number and is refused.
#[test]
fn published_units_decode() {
    let read =
        |unit: u8| decode(&[&b"\x0202\x1b"[..], &[unit], b"\x1b00125\x1b000000\x1b000000\x03"].concat());
    let mass = |decimals, unit| Mass { count: 125, decimals, unit };
    for (digit, expected) in [
        (b'1', mass(2, MassUnit::Pound)),
        (b'2', mass(3, MassUnit::Pound)),
        (b'3', mass(3, MassUnit::Kilogram)),
    ] {
        assert!(matches!(read(digit), Ok(Record::Weighing { shown, .. }) if shown == expected));
    }
    assert!(matches!(read(b'0'), Err(ScaleError::Unit(_))));
}

/// devices.md 1.6: on NAK `04 02 '08' 03` -> `02 '09' 1B S1 S2 03`, and the list of statuses.
#[test]
fn published_statuses_decode() {
    let ask = |code: [u8; 2]| {
        let mut scale = priced();
        scale.begin(Order::Weight).unwrap();
        scale.feed(&ACKED);
        assert_eq!(sent(&scale.feed(&[NAK])), WHY);
        answers(scale.feed(&status(code)))
    };
    let none = Weight::default();
    let at_rest = Weight { stable: true, ..none };
    for (code, weight) in [
        (*b"20", none),
        (*b"22", none),
        (*b"21", at_rest),
        (*b"30", Weight { below_minimum: true, ..at_rest }),
        (*b"31", Weight { under: true, ..at_rest }),
        (*b"32", Weight { over: true, ..at_rest }),
    ] {
        assert_eq!(ask(code), [Ok(Answer::Weight(weight))], "{}", code.escape_ascii());
        assert_eq!(weight.usable(), None);
    }
    for (code, refusal) in [
        (*b"00", Refusal::NotReady),
        (*b"01", Refusal::Code(*b"01")),
        (*b"02", Refusal::Transmission),
        (*b"10", Refusal::Command),
        (*b"11", Refusal::Value),
        (*b"12", Refusal::Value),
        (*b"13", Refusal::Value),
    ] {
        assert_eq!(ask(code), [Ok(Answer::Refused(refusal))], "{}", code.escape_ascii());
    }
}

/// Status 21: no motion since the last weighing, so the load is the one already weighed.
#[test]
fn an_unchanged_load_is_given_again_and_forgotten_when_it_moves() {
    let mut scale = priced();
    let mut ask = |reply: &[u8]| {
        scale.begin(Order::Weight).unwrap();
        scale.feed(&ACKED);
        if reply.len() > 8 {
            return weight(scale.feed(reply));
        }
        scale.feed(&[NAK]);
        weight(scale.feed(reply))
    };
    let first = ask(b"\x0202\x1b3\x1b01250\x1b000250\x1b000313\x03");
    assert_eq!(ask(&status(*b"21")), first);
    assert!(!ask(&status(*b"20")).stable);
    assert_eq!(ask(&status(*b"21")).gross_or_net, None);
}

/// devices.md 1.6: record 03 is price and tare(4). The tare goes with every price from then on.
#[test]
fn a_keyed_tare_goes_with_the_price() {
    let mut scale = priced();
    assert_eq!(scale.begin(Order::KeyedTare(Grams(50))).unwrap().bytes, b"\x04\x0203\x1b000250\x1b0050\x03");
    assert_eq!(answers(scale.feed(&ACKED)), [Ok(Answer::Accepted { tare: Some(Grams(50)) })]);
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"\x04\x0203\x1b000250\x1b0050\x03");
    scale.feed(&ACKED);
    let read = weight(scale.feed(b"\x0202\x1b3\x1b01200\x1b000250\x1b000300\x03"));
    assert_eq!((read.net, read.tare, read.usable()), (true, Some(Grams(50)), Some(Grams(1200))));
    scale.begin(Order::ClearTare).unwrap();
    assert_eq!(answers(scale.feed(&ACKED)), [Ok(Answer::Accepted { tare: Some(Grams(0)) })]);
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"\x04\x0201\x1b000250\x1b\x03");
    scale.begin(Order::KeyedTare(Grams(9_999))).unwrap();
    scale.feed(&[NAK]);
    assert_eq!(answers(scale.feed(&status(*b"12"))), [Ok(Answer::Refused(Refusal::Value))]);
    assert!(matches!(scale.begin(Order::KeyedTare(Grams(10_000))), Err(OrderError::Value { .. })));
    assert!(matches!(scale.begin(Order::Tare), Err(OrderError::Unsupported { .. })));
}

/// Records 10 and 11. The real polynomial is not public; the arithmetic is checked with a known one: CRC-16/XMODEM (x^16 + x^12
/// + x^5 + 1) of the bytes 31 32 has the check value 0x20B5.
#[test]
fn checksums_are_formed_as_the_free_driver_forms_them() {
    let polynomial = 0x1_1021;
    assert_eq!(correction(0x3132, polynomial), 0x20B5);
    assert_eq!(encode_checksums(0x3132, polynomial, 0, 0), b"\x04\x0210\x1b313220B5\x03");
    assert_eq!(encode_checksums(0x3132, polynomial, 4, 8), b"\x04\x0210\x1b1323B520\x03");
    assert_eq!(decode(b"\x0211\x1b2A7\x03"), Ok(Record::Wanted { z1: 10, z2: 7 }));
    assert_eq!(decode(b"\x0211\x1b1\x03"), Ok(Record::Verdict(true)));
}

#[test]
fn a_wish_for_checksums_is_met_with_a_key_and_named_without() {
    let wish = encode_record(Record::Wanted { z1: 3, z2: 5 }).unwrap();
    let mut keyless = priced();
    keyless.begin(Order::Weight).unwrap();
    assert_eq!(answers(keyless.feed(&wish)), [Ok(Answer::Refused(Refusal::ChecksumKey))]);
    let keyed = || scale(Settings { checksum_polynomial: Some(0x1_1021), ..Settings::default() });
    let mut good = keyed();
    let price = good.begin(Order::Weight).unwrap().bytes;
    assert_eq!(&sent(&good.feed(&wish))[..5], b"\x04\x0210\x1b");
    assert_eq!(sent(&good.feed(&ACKED)), ASK);
    assert_eq!(sent(&good.feed(&encode_record(Record::Verdict(true)).unwrap())), price);
    assert_eq!(answers(good.feed(&wish)), [Ok(Answer::Refused(Refusal::ChecksumWrong))], "asked only once");
    let mut bad = keyed();
    bad.begin(Order::Weight).unwrap();
    bad.feed(&wish);
    bad.feed(&ACKED);
    let verdict = encode_record(Record::Verdict(false)).unwrap();
    assert_eq!(answers(bad.feed(&verdict)), [Ok(Answer::Refused(Refusal::ChecksumWrong))]);
}

#[test]
fn replies_to_another_price_and_damage_are_named() {
    let mut scale = priced();
    scale.begin(Order::Weight).unwrap();
    scale.feed(&ACKED);
    let other = scale.feed(b"\x0202\x1b3\x1b01250\x1b000999\x1b000313\x03");
    assert!(matches!(other[..], [Err(ScaleError::Contradiction { .. })]), "{other:?}");
    for bad in [
        &b"\x0202\x1b3\x1b01250\x1b000250\x03"[..],
        b"\x0202\x1b3\x1b0125x\x1b000250\x1b000313\x03",
        b"\x0299\x1b3\x03",
        b"\x02\x03",
        b"\x0209\x1b3\x03",
        b"\x0211\x1b2GG\x03",
    ] {
        assert!(decode(bad).is_err(), "{}", bad.escape_ascii());
    }
    let endless = scale.feed(&[&[STX], &[b'0'; 60][..]].concat());
    assert!(matches!(endless[0], Err(ScaleError::Endless(_))), "{endless:?}");
}

proptest! {
    #[test]
    fn records_survive_the_round_trip(count in 0_i64..100_000, price in 0..PRICE_MAX, amount in 0..PRICE_MAX, z in any::<u8>()) {
        let shown = Mass { count, decimals: 3, unit: MassUnit::Kilogram };
        for record in [
            Record::Weighing { shown, price, amount },
            Record::Wanted { z1: z >> 4, z2: z & 15 },
            Record::Verdict(z & 1 == 1),
        ] {
            prop_assert_eq!(decode(&encode_record(record).unwrap()), Ok(record));
        }
    }

    /// What a scale does with record 10: undo the rotations, divide, and find no remainder.
    #[test]
    fn checksums_divide_without_remainder(cs in any::<u16>(), low in any::<u16>(), z1 in 0_u8..16, z2 in 0_u8..16) {
        let polynomial = 0x1_0000 | u32::from(low);
        let record = encode_checksums(cs, polynomial, z1, z2);
        let hex = |at: usize| u16::from_str_radix(core::str::from_utf8(&record[at..at + 4]).unwrap(), 16).unwrap();
        let cs_read = hex(5).rotate_right(z1.into());
        let kw_read = hex(9).rotate_left(z2.into());
        let mut rest = u64::from(cs_read) << 16 | u64::from(kw_read);
        for bit in (16..32).rev() {
            if rest & (1 << bit) != 0 {
                rest ^= u64::from(polynomial) << (bit - 16);
            }
        }
        prop_assert_eq!((cs_read, rest), (cs, 0));
    }
}
