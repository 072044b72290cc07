//! Published vectors and properties of MT-SICS, and what is not MT-SICS.

use alloc::string::ToString;

use proptest::prelude::*;

use super::super::tests::{answers, weight};
use super::*;

fn read(line: &[u8]) -> Result<Reply, ScaleError> {
    decode(line, None)
}

const fn grams(count: i64, decimals: u8) -> Mass {
    Mass { count, decimals, unit: MassUnit::Gram }
}

/// devices.md 1.3: the table of replies, and the vectors from the tests of InstrumentKit.
#[test]
fn published_replies_decode() {
    let refused = |command, refusal| Ok(Reply::Refused(Some(command), refusal));
    let rows: [(&[u8], Result<Reply, ScaleError>); 17] = [
        (b"S S     100.00 g\r\n", Ok(Reply::Weight { stable: true, shown: grams(10_000, 2) })),
        (b"S D 1.234 g\r\n", Ok(Reply::Weight { stable: false, shown: grams(1234, 3) })),
        (b"S I\r\n", refused(Command::Weight, Refusal::NotReady)),
        (b"S +\r\n", Ok(Reply::OutOfRange(true))),
        (b"S -\r\n", Ok(Reply::OutOfRange(false))),
        (b"Z A\r\n", Ok(Reply::Done(Command::Zero, None))),
        (b"Z +\r\n", refused(Command::Zero, Refusal::Above)),
        (b"ZI D\r\n", Ok(Reply::Done(Command::ZeroNow, None))),
        (b"T S 2.486 g\r\n", Ok(Reply::Done(Command::Tare, Some(grams(2486, 3))))),
        (b"T A 2.486 g\r\n", Ok(Reply::Done(Command::Tare, Some(grams(2486, 3))))),
        (b"TI A 1.234 g\r\n", Ok(Reply::Done(Command::TareNow, Some(grams(1234, 3))))),
        (b"TA A 2.486 g\r\n", Ok(Reply::Done(Command::TareValue, Some(grams(2486, 3))))),
        (b"TA L\r\n", refused(Command::TareValue, Refusal::Value)),
        (b"TAC A\r\n", Ok(Reply::Done(Command::ClearTare, None))),
        (b"ES\r\n", Ok(Reply::Refused(None, Refusal::Command))),
        (b"ET\r\n", Ok(Reply::Refused(None, Refusal::Transmission))),
        (b"EL\r\n", Ok(Reply::Refused(None, Refusal::Value))),
    ];
    for (line, reply) in rows {
        assert_eq!(read(line), reply, "{}", line.escape_ascii());
    }
}

/// devices.md 1.3: texts, quoted and not, `@` answered by `I4` (Mettler-Toledo) or `@` (InstrumentKit).
#[test]
fn published_inquiries_decode() {
    let rows: [(&[u8], Command, bool, &[&str]); 8] = [
        (b"I0 B 0 \"I0\"\r\n", Command::Inquiry(0), true, &["0", "I0"]),
        (b"I0 B 3 \"CLR\"\r\n", Command::Inquiry(0), true, &["3", "CLR"]),
        (b"I0 A\r\n", Command::Inquiry(0), false, &[]),
        (b"I1 A \"0123\" \"2.00\"\r\n", Command::Inquiry(1), false, &["0123", "2.00"]),
        (b"I2 A \"ICS469 OU 60.18 kg\"\r\n", Command::Inquiry(2), false, &["ICS469 OU 60.18 kg"]),
        (b"I4 A \"1234567\"\r\n", Command::Inquiry(4), false, &["1234567"]),
        (b"@ A \"123456789\"\r\n", Command::Reset, false, &["123456789"]),
        (b"I4 A 0123456789\r\n", Command::Inquiry(4), false, &["0123456789"]),
    ];
    for (line, command, more, fields) in rows {
        let fields = fields.iter().map(ToString::to_string).collect();
        assert_eq!(read(line), Ok(Reply::Text { command, more, fields }), "{}", line.escape_ascii());
    }
    assert_eq!(read(b"I0 I\r\n"), Ok(Reply::Refused(Some(Command::Inquiry(0)), Refusal::NotReady)));
}

/// devices.md 1.3: Radwag's set is close but different (PS R2 p158, HRP R p133); nothing of it may pass for MT-SICS.
#[test]
fn radwag_is_refused() {
    let lines: [&[u8]; 14] = [
        b"T A\r\n",
        b"T D\r\n",
        b"T_A\r\n",
        b"T_D\r\n",
        b"T v\r\n",
        b"T E\r\n",
        b"T_I\r\n",
        b"Z D\r\n",
        b"Z_A\r\n",
        b"OT      1.250 kg\r\n",
        b"UT OK\r\n",
        b"UT_OK\r\n",
        b"SI      1.250 kg \r\n",
        b"SI ?    1.250 kg \r\n",
    ];
    for line in lines {
        assert!(matches!(read(line), Err(ScaleError::Content { .. })), "{}", line.escape_ascii());
    }
    let mut scale = MtSics::new(None, false);
    scale.begin(Order::Tare).unwrap();
    let steps = answers(scale.feed(b"T A\r\nT D\r\n"));
    assert!(steps.iter().all(Result::is_err), "a tare of a Radwag is never taken for done: {steps:?}");
}

#[test]
fn orders_are_answered_by_their_own_replies() {
    let mut scale = MtSics::new(Some(MassUnit::Kilogram), false);
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"SI\r\n");
    let read = weight(scale.feed(b"S S 1.250 kg\r\n"));
    assert_eq!(read.usable(), Some(Grams(1250)));
    assert!(matches!(scale.feed(b"S S 1.250 kg\r\n")[..], [Err(ScaleError::Unasked(_))]));
    assert_eq!(scale.begin(Order::KeyedTare(Grams(250))).unwrap().bytes, b"TA 0.250 kg\r\n");
    let accepted = Ok(Answer::Accepted { tare: Some(Grams(250)) });
    assert_eq!(answers(scale.feed(b"TA A 0.250 kg\r\n")), [accepted]);
    assert_eq!(scale.begin(Order::ClearTare).unwrap().bytes, b"TAC\r\n");
    assert!(matches!(scale.feed(b"Z A\r\n")[..], [Err(ScaleError::Unasked(_))]));
    assert_eq!(answers(scale.feed(b"TAC I\r\n")), [Ok(Answer::Refused(Refusal::NotReady))]);
    scale.begin(Order::Zero).unwrap();
    assert_eq!(answers(scale.feed(b"ES\r\n")), [Ok(Answer::Refused(Refusal::Command))]);
    assert_eq!(weight_of(b"S +\r\n"), Weight { over: true, ..Weight::default() });
    let unit = decode(b"S S 1.250 lb\r\n", Some(MassUnit::Kilogram));
    assert!(matches!(unit, Err(ScaleError::OtherUnit { found: MassUnit::Pound, .. })));
    assert!(matches!(decode(b"S S 1.250\r\n", None), Err(ScaleError::Unit(_))));
}

fn weight_of(line: &[u8]) -> Weight {
    let mut scale = MtSics::new(None, false);
    scale.begin(Order::Weight).unwrap();
    weight(scale.feed(line))
}

/// devices.md 1.3: `SIR` repeats until `@` or another `S` command; a zero order goes on beside it.
#[test]
fn a_repeating_scale_is_listened_to() {
    let mut scale = MtSics::new(None, true);
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"SIR\r\n");
    assert_eq!(answers(scale.feed(b"S D 1.2 kg\r\nS S 1.250 kg\r\n")).len(), 2);
    scale.begin(Order::Zero).unwrap();
    let steps = answers(scale.feed(b"S S 1.250 kg\r\nZ A\r\nS S 0.000 kg\r\n"));
    assert!(
        matches!(steps[..], [Ok(Answer::Weight(_)), Ok(Answer::Accepted { .. }), Ok(Answer::Weight(_))]),
        "{steps:?}"
    );
}

proptest! {
    #[test]
    fn weights_survive_the_round_trip(count in -999_999_i64..1_000_000, decimals in 0_u8..4, stable in any::<bool>()) {
        let shown = grams(count, decimals);
        prop_assert_eq!(read(&encode_weight(stable, shown)), Ok(Reply::Weight { stable, shown }));
    }

    #[test]
    fn any_line_is_read_or_refused(line in "[A-Z@][A-Z0-4]{0,2} [SDAIL+-]? ?[0-9.\" kg+-]{0,30}") {
        drop(decode(line.as_bytes(), Some(MassUnit::Gram)));
    }
}
