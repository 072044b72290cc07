//! Published vectors and properties of NCI SCP-01 and SCP-02.

use alloc::string::ToString;

use proptest::prelude::*;

use super::super::tests::{answers, weight};
use super::*;
use crate::unit::Grams;

fn status_of(frame: &[u8], version: Version) -> Weight {
    match decode(frame, version, None) {
        Ok(Reply::Status(weight)) => weight,
        other => panic!("{}: {other:?}", frame.escape_ascii()),
    }
}

/// devices.md 1.2: `57 0D` -> `0A 30 30 30 31 2E 32 35 4B 47 0D 0A 30 30 0D 03`, and the bits of h1 and h2.
#[test]
fn the_published_exchange_gives_the_weight() {
    let mut scale = Nci::new(Version::Scp01, None);
    assert_eq!(scale.begin(Order::Weight).unwrap().bytes, [0x57, 0x0D]);
    let frame = b"\x0A\x30\x30\x30\x31\x2E\x32\x35\x4B\x47\x0D\x0A\x30\x30\x0D\x03";
    let read = weight(scale.feed(frame));
    assert_eq!((read.usable(), read.kind_stated), (Some(Grams(1250)), false));
    let moving = status_of(b"\n0001.25KG\r\n10\r\x03", Version::Scp01);
    assert_eq!((moving.stable, moving.usable(), moving.gross_or_net), (false, None, Some(Grams(1250))));
    assert!(status_of(b"\n02\r\x03", Version::Scp01).over);
    assert!(status_of(b"\n20\r\x03", Version::Scp01).stable_zero(), "h1 b1: at zero");
    assert_eq!(decode(b"\x0A\x3F\x0D\x03", Version::Scp01, None), Ok(Reply::Unknown));
}

/// devices.md 1.2: h1 and h2 error bits, h2 b6 "another byte follows", h3 range, net and initial zero error.
#[test]
fn published_status_bits_decode() {
    for faulty in [&b"\n40\r\x03"[..], b"\n80\r\x03", b"\n04\r\x03", b"\n08\r\x03", b"\n0p8\r\x03"] {
        assert!(status_of(faulty, Version::Scp01).faulty, "{}", faulty.escape_ascii());
    }
    let net = status_of(b"\n0000.50KG\r\n0p7\r\x03", Version::Scp01);
    assert_eq!((net.net, net.kind_stated, net.range, net.usable()), (true, true, Some(2), Some(Grams(500))));
    assert_eq!(status_of(b"\n0p0\r\x03", Version::Scp01).range, Some(1));
    assert_eq!(status_of(b"\n0pt0\r\x03", Version::Scp01).kind(), crate::scale::Kind::Net);
    assert!(status_of(b"\n01\r\x03", Version::Scp01).under);
    for bad in [&b"\n0\r\x03"[..], b"\n0p\r\x03", b"\n000\r\x03", b"\n0pt\r\x03", b"\n 0\r\x03"] {
        assert!(decode(bad, Version::Scp01, None).is_err(), "{}", bad.escape_ascii());
    }
}

/// devices.md 1.2: SCP-02 puts an S before the status and sends a weight only when it is usable.
#[test]
fn scp_02_has_an_s_before_its_status() {
    let read = status_of(b"\n01.250KG\r\nS00\r\x03", Version::Scp02);
    assert_eq!(read.usable(), Some(Grams(1250)));
    let moving = status_of(b"\nS10\r\x03", Version::Scp02);
    assert_eq!((moving.stable, moving.gross_or_net), (false, None));
    assert!(decode(b"\n01.250KG\r\n00\r\x03", Version::Scp02, None).is_err());
    assert!(decode(b"\n01.250KG\r\nS00\r\x03", Version::Scp01, None).is_err());
}

/// devices.md 1.2: Adam's text for over, under and a zero error. Units: Avery 7821 p25 (lb, kg, oz, g).
#[test]
fn texts_for_over_and_under_and_other_units() {
    let marked = |mark: &str| status_of(alloc::format!("\n{mark}KG\r\n00\r\x03").as_bytes(), Version::Scp01);
    assert!(marked("^^^^^^").over && marked("______").under && marked("---------").faulty);
    for mark in ["^^^^^^", "______", "---------"] {
        assert_eq!(marked(mark).usable(), None);
    }
    assert_eq!(status_of(b"\n0001.25lb\r\n00\r\x03", Version::Scp01).usable(), Some(Grams(567)));
    assert_eq!(status_of(b"\n 1250g \r\n00\r\x03", Version::Scp01).usable(), Some(Grams(1250)));
    assert_eq!(status_of(b"\n-00.125KG\r\n00\r\x03", Version::Scp01).gross_or_net, Some(Grams(-125)));
    assert!(matches!(decode(b"\n0001PCS\r\n00\r\x03", Version::Scp01, None), Err(ScaleError::Unit(_))));
}

#[test]
fn zero_is_judged_by_the_status_and_tare_does_not_exist() {
    let mut scale = Nci::new(Version::Scp01, None);
    let mut zero = |reply: &[u8]| {
        assert_eq!(scale.begin(Order::Zero).unwrap().bytes, b"Z\r");
        answers(scale.feed(reply))
    };
    assert_eq!(zero(b"\n20\r\x03"), [Ok(Answer::Accepted { tare: None })]);
    assert_eq!(zero(b"\n10\r\x03"), [Ok(Answer::Refused(Refusal::Motion))]);
    assert_eq!(zero(b"\n00\r\x03"), [Ok(Answer::Refused(Refusal::NotDone))]);
    assert_eq!(zero(b"\n?\r\x03"), [Ok(Answer::Refused(Refusal::Command))]);
    let refused = scale.begin(Order::Tare).unwrap_err();
    assert_eq!(refused.to_string(), "protocol nci-scp-01 has no command for tare");
}

proptest! {
    #[test]
    fn weights_survive_the_round_trip(
        count in -9_999_i64..10_000,
        flags in 0_u8..32,
        scp02 in any::<bool>(),
        stated in any::<bool>(),
    ) {
        let shown = Mass { count, decimals: 3, unit: MassUnit::Kilogram };
        let sent = Weight {
            stable: flags & 1 != 0,
            centre_of_zero: flags & 2 != 0,
            over: flags & 4 != 0,
            under: count < 0,
            faulty: flags & 8 != 0,
            net: stated && flags & 16 != 0,
            kind_stated: stated,
            range: stated.then_some(1),
            ..Weight::shown(shown)
        };
        let version = if scp02 { Version::Scp02 } else { Version::Scp01 };
        let read = status_of(&encode(&sent, version), version);
        prop_assert_eq!(read.usable(), sent.usable());
        prop_assert_eq!((read.stable, read.over, read.faulty, read.kind()), (sent.stable, sent.over, sent.faulty, sent.kind()));
        if !scp02 {
            prop_assert_eq!(read, sent);
        }
    }
}
