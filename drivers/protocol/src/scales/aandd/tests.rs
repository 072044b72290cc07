//! Published vectors and properties of the A&D formats.

use proptest::prelude::*;

use super::super::tests::{answers, weight};
use super::*;
use crate::unit::Grams;

fn native(line: &[u8]) -> Weight {
    match decode(line, Format::Native, None) {
        Ok(Reply::Weight(weight)) => weight,
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

/// devices.md 1.4 and the examples of the HC-3Ki manual p48.
#[test]
fn published_replies_decode() {
    for (line, grams, stable) in [
        (&b"ST,+00012.34  kg\r\n"[..], 12_340, true),
        (b"ST,+001.2346 kg\r\n", 1_235, true),
        (b"ST,-002.7255 lb\r\n", -1_236, true),
        (b"US,-0012.346 lb\r\n", -5_600, false),
        (b"US,+0005.593 kg\r\n", 5_593, false),
    ] {
        let read = native(line);
        assert_eq!((read.gross_or_net, read.stable), (Some(Grams(grams)), stable), "{}", line.escape_ascii());
        assert_eq!(read.kind(), crate::scale::Kind::Unstated);
    }
    let over = native(b"OL,+9999.999 kg\r\n");
    assert_eq!((over.over, over.under, over.gross_or_net), (true, false, None));
    let under = native(b"OL,-9999.999 lb\r\n");
    assert_eq!((under.over, under.under, under.usable()), (false, true, None));
    for no_weight in [&b"QT,+00001234 PC\r\n"[..], b"ID,000012\r\n", b"UW,+000.1234  g\r\n"] {
        assert!(decode(no_weight, Format::Native, None).is_err());
    }
    assert!(matches!(decode(b"US,-00005678 PC\r\n", Format::Native, None), Err(ScaleError::Unit(_))));
}

/// devices.md 1.4: EC,E0 to EC,E7; HC-3Ki p48: the second acknowledgement says that the command is done.
#[test]
fn commands_are_done_at_the_second_acknowledgement() {
    let mut scale = And::new(Format::Native, None, false);
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, b"Q\r\n");
    assert_eq!(weight(scale.feed(b"ST,+0001.250 kg\r\n")).usable(), Some(Grams(1250)));
    for ack in [&b"\x06"[..], b"\x06\r\n", b"AK\r\n"] {
        assert_eq!(scale.begin(Order::Zero).unwrap().bytes, b"Z\r\n");
        assert_eq!(answers(scale.feed(ack)), []);
        assert_eq!(answers(scale.feed(ack)), [Ok(Answer::Accepted { tare: None })]);
    }
    for (code, refusal) in [
        (&b"EC,E0\r\n"[..], Refusal::Transmission),
        (b"EC,E1\r\n", Refusal::Command),
        (b"EC,E2\r\n", Refusal::NotReady),
        (b"EC,E7\r\n", Refusal::Value),
        (b"EC,E3\r\n", Refusal::Code(*b"E3")),
    ] {
        assert_eq!(scale.begin(Order::Tare).unwrap().bytes, b"T\r\n");
        assert_eq!(answers(scale.feed(code)), [Ok(Answer::Refused(refusal))]);
    }
    assert!(scale.begin(Order::KeyedTare(Grams(1))).is_err());
    assert!(matches!(scale.feed(b"ST,+0001.250 kg\r\n")[..], [Err(ScaleError::Unasked(_))]));
}

/// devices.md 1.4: `ST,GS,` number(8) unit CR LF.
#[test]
fn eighteen_bytes_say_gross_or_net() {
    let mut scale = And::new(Format::Bytes18, None, true);
    let read = weight(scale.feed(b"ST,NT,+0001.25kg\r\n"));
    assert_eq!((read.usable(), read.net, read.kind_stated), (Some(Grams(1250)), true, true));
    assert_eq!(weight(scale.feed(b"US,GS, 0001.25 kg\r\n")).gross_or_net, Some(Grams(1250)));
    assert!(weight(scale.feed(b"OL,GS,+9999.99kg\r\n")).over);
    for bad in [&b"ST,XX,+0001.25kg\r\n"[..], b"ST,+0001.25kg\r\n", b"ST,GS,+001.25kg\r\n", b"\x06\r\n"] {
        assert!(matches!(scale.feed(bad)[..], [Err(_)]), "{}", bad.escape_ascii());
    }
}

proptest! {
    #[test]
    fn weights_survive_the_round_trip(count in -99_999_i64..100_000, stable in any::<bool>(), net in any::<bool>()) {
        let shown = Mass { count, decimals: 3, unit: MassUnit::Kilogram };
        let state = Weight { stable, under: count < 0, ..Weight::shown(shown) };
        let sent = Weight { net, kind_stated: true, ..state };
        let read = decode(&encode(&sent, Format::Bytes18).unwrap(), Format::Bytes18, None);
        prop_assert_eq!(read, Ok(Reply::Weight(sent)));
        let read = decode(&encode(&state, Format::Native).unwrap(), Format::Native, None);
        prop_assert_eq!(read, Ok(Reply::Weight(state)));
    }
}
