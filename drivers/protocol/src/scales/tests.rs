//! What all scale protocols have in common: any bytes, any pieces, bounded memory; settings that do not fit are refused.

use alloc::string::ToString;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::scale::{Answer, Order, ScaleError, Step, Weight};
use crate::unit::Grams;

/// The settings that a kind cannot do without.
pub(super) fn settings(kind: ScaleKind, reading: Option<Reading>) -> Settings {
    let unit = matches!(kind, ScaleKind::Cas10 | ScaleKind::Xk3190A23).then_some(MassUnit::Kilogram);
    Settings { unit, reading, ..Settings::default() }
}

/// The answers and errors among steps.
pub(super) fn answers(steps: Vec<Result<Step, ScaleError>>) -> Vec<Result<Answer, ScaleError>> {
    let answer = |step| match step {
        Ok(Step::Answer { answer, .. }) => Some(Ok(answer)),
        Ok(Step::Send(_) | Step::Heard) => None,
        Err(error) => Some(Err(error)),
    };
    steps.into_iter().filter_map(answer).collect()
}

/// The only weight among steps.
pub(super) fn weight(steps: Vec<Result<Step, ScaleError>>) -> Weight {
    let answers = answers(steps);
    let [Ok(Answer::Weight(weight))] = answers[..] else { panic!("expected one weight: {answers:?}") };
    weight
}

/// Every kind in every way of reading that it has.
fn modes() -> Vec<(ScaleKind, Reading)> {
    let ways = |kind: ScaleKind| {
        let (asked, sent) = kind.readings();
        [(asked, Reading::Asked), (sent, Reading::Sent)]
            .into_iter()
            .filter(|way| way.0)
            .map(move |way| (kind, way.1))
    };
    ScaleKind::ALL.into_iter().flat_map(ways).collect()
}

#[test]
fn every_kind_opens_and_gives_a_request_or_refuses_it_by_name() {
    for (kind, reading) in modes() {
        let mut scale = open(kind, &settings(kind, Some(reading))).unwrap();
        assert_eq!(scale.streams(), reading == Reading::Sent, "{kind:?}");
        let orders =
            [Order::Weight, Order::Zero, Order::Tare, Order::KeyedTare(Grams(250)), Order::ClearTare];
        for order in orders {
            match scale.begin(order) {
                Ok(request) => assert!(!request.bytes.is_empty() || scale.streams(), "{kind:?} {order:?}"),
                Err(error) => {
                    assert!(order != Order::Weight, "{kind:?}");
                    assert!(error.to_string().contains(kind.name()), "{error}");
                }
            }
        }
    }
}

#[test]
fn settings_that_do_not_fit_are_named() {
    let none = Settings::default();
    let rows = [
        (ScaleKind::MtSics, Settings { bcc: Some(Bcc::Frame), ..none }, "bcc"),
        (ScaleKind::MtSics, Settings { decimals: Some(3), ..none }, "decimals"),
        (ScaleKind::Tisa, Settings { decimals: Some(5), ..none }, "decimals"),
        (ScaleKind::Cas22, Settings { unit_price: Some(1), ..none }, "unit_price"),
        (ScaleKind::Tisa, Settings { unit_price: Some(100_000), ..none }, "unit_price"),
        (ScaleKind::Tisa, Settings { checksum_polynomial: Some(0x1_1021), ..none }, "checksum_polynomial"),
        (ScaleKind::Dialog06, Settings { checksum_polynomial: Some(0x1021), ..none }, "checksum_polynomial"),
        (ScaleKind::EnqDc1, Settings { reading: Some(Reading::Sent), ..none }, "reading"),
        (ScaleKind::Cas22, Settings { reading: Some(Reading::Asked), ..none }, "reading"),
        (ScaleKind::Toledo8217, Settings { unit: Some(MassUnit::Ounce), ..none }, "unit"),
        (ScaleKind::Cas10, none, "unit"),
        (ScaleKind::Xk3190A23, none, "unit"),
    ];
    for (kind, settings, setting) in rows {
        let Err(error) = open(kind, &settings) else { panic!("{kind:?} {setting}") };
        assert_eq!(error.setting(), setting);
        assert!(error.to_string().contains(kind.name()), "{error}");
    }
}

/// devices.md 1.8: a weight without the scale's word for rest is never usable.
#[test]
fn protocols_without_a_stable_flag_never_yield_a_usable_weight() {
    let rows: [(ScaleKind, &[u8]); 2] =
        [(ScaleKind::Cas10, b"   1.250\r\n"), (ScaleKind::Xk3190A23, b"\x02+00200021B\x03")];
    for (kind, frame) in rows {
        let mut scale = open(kind, &settings(kind, Some(Reading::Sent))).unwrap();
        let weight = weight(scale.feed(frame));
        assert!(weight.gross_or_net.is_some(), "{kind:?}");
        assert_eq!((weight.usable(), weight.stable_zero()), (None, false), "{kind:?}");
    }
}

/// Bytes that look like those of scales, so that random input gets deep.
fn likely() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        proptest::sample::select(
            b"\x01\x02\x03\x04\x05\x06\x15\x1b\r\n 0123456789.+-,SUFDAIGTNOLkg\"".to_vec()
        ),
    ]
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(
        bytes in proptest::collection::vec(likely(), 0..300),
        cut in 0_usize..300,
        begun in any::<bool>(),
    ) {
        for (kind, reading) in modes() {
            let start = || {
                let mut scale = open(kind, &settings(kind, Some(reading))).unwrap();
                if begun {
                    scale.begin(Order::Weight).unwrap();
                }
                scale
            };
            let whole = start().feed(&bytes);
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut scale = start();
            let mut pieces = scale.feed(head);
            pieces.extend(scale.feed(tail));
            prop_assert_eq!(whole, pieces, "{:?}", kind);
        }
    }

    #[test]
    fn what_is_held_is_bounded(byte in any::<u8>(), many in 200_usize..2_000) {
        for (kind, reading) in modes() {
            let mut scale = open(kind, &settings(kind, Some(reading))).unwrap();
            scale.begin(Order::Weight).unwrap();
            scale.feed(&alloc::vec![byte; many]);
            let held = scale.reset().map_or(0, |left| left.total());
            prop_assert!(held <= mtsics::LINE_BYTES_MAX, "{:?} holds {}", kind, held);
        }
    }
}
