//! Targets of the scale protocols behind their one face.

use super::{choice, hex, pieces};
use drv_protocol::Grams;
use drv_protocol::scale::{Answer, MassUnit, Order, ScaleError, ScaleProtocol, Step};
use drv_protocol::scales::{Bcc, Reading, ScaleKind, Settings, open};

const ORDERS: [Order; 5] =
    [Order::Weight, Order::Zero, Order::Tare, Order::KeyedTare(Grams(250)), Order::ClearTare];

/// A protocol as the first two bytes choose it, with an order begun.
fn scale(kind: u8, order: u8) -> Option<(ScaleKind, Box<dyn ScaleProtocol + Send>)> {
    let kind = *ScaleKind::ALL.get(usize::from(kind) % ScaleKind::ALL.len())?;
    let (asked, sent) = kind.readings();
    let reading = match (asked, sent) {
        (true, true) => Some(if order & 0x80 == 0 { Reading::Asked } else { Reading::Sent }),
        _ => None,
    };
    let settings = Settings {
        unit: matches!(kind, ScaleKind::Cas10 | ScaleKind::Xk3190A23).then_some(MassUnit::Kilogram),
        bcc: (kind == ScaleKind::EnqDc1 && order & 0x40 != 0).then_some(Bcc::Either),
        reading,
        ..Settings::default()
    };
    let mut scale = open(kind, &settings).ok()?;
    let wanted = *ORDERS.get(usize::from(order & 0x3F) % ORDERS.len())?;
    if scale.begin(wanted).is_err() {
        // What the protocol does not have is refused by name; it is heard as after a question for the weight.
        scale.begin(Order::Weight).ok()?;
    }
    Some((kind, scale))
}

fn hear(scale: &mut dyn ScaleProtocol, bytes: &[u8]) -> Vec<Result<Step, ScaleError>> {
    bytes.iter().filter_map(|byte| scale.push(*byte)).collect()
}

/// First byte: which protocol. Second: which order, and how it is set up.
pub(crate) fn stream(bytes: &[u8]) {
    let (kind, bytes) = choice(bytes);
    let (order, bytes) = choice(bytes);
    let (Some((named, mut whole)), Some((_, mut cut))) = (scale(kind, order), scale(kind, order)) else {
        return;
    };
    let steps = hear(&mut *whole, bytes);
    assert!(steps.len() <= bytes.len(), "{}: a step needs a byte", named.name());
    let in_pieces: Vec<_> = pieces(bytes).into_iter().flat_map(|piece| hear(&mut *cut, piece)).collect();
    assert_eq!(steps, in_pieces, "{}: pieces change what is heard", named.name());
    for step in &steps {
        let Ok(Step::Answer { answer: Answer::Weight(weight), frame, .. }) = step else { continue };
        assert!(!frame.is_empty(), "{}: a weight without evidence", named.name());
        let silent = matches!(named, ScaleKind::Cas10 | ScaleKind::Xk3190A23);
        assert!(!silent || weight.usable().is_none(), "{} never says stable", named.name());
        assert!(weight.usable().is_none() || weight.stable, "{}: usable in motion", named.name());
    }
}

/// devices.md 1.1 to 1.7, each behind the numbers of its protocol and of the question for the weight.
pub(crate) fn stream_seeds() -> Vec<Vec<u8>> {
    [
        (0, "02 30 31 2E 32 35 30 0D"),
        (1, "06 01 02 53 20 30 31 2E 32 35 30 6B 67 67 03 04"),
        (2, "06 01 02 53 20 30 31 2E 32 35 30 6B 67 64 03 04"),
        (3, "53 20 53 20 20 20 20 20 31 30 30 2E 30 30 20 67 0D 0A"),
        (4, "0A 30 30 30 31 2E 32 35 4B 47 0D 0A 30 30 0D 03"),
        (5, "0A 30 31 2E 32 35 30 4B 47 0D 0A 53 30 30 0D 03"),
        (6, "53 54 2C 47 53 2C 31 C4 2C 30 30 30 30 31 33 2E 35 20 6B 67 0D 0A"),
        (8, "53 54 2C 47 53 2C 30 30 30 30 31 33 2E 35 20 6B 67 0D 0A"),
        (9, "53 54 2C 2B 30 30 30 31 32 2E 33 34 20 20 6B 67 0D 0A"),
        (10, "06 02 30 32 1B 33 1B 30 31 32 35 30 1B 30 30 30 32 35 30 1B 30 30 30 33 31 33 03"),
        (11, "39 39 30 30 31 32 35 30 30 30 30 30 33 31 33 37 0D 0A"),
        (12, "02 2B 30 30 32 30 30 30 32 31 42 03"),
    ]
    .map(|(kind, frame)| [&[kind, 0][..], &hex(frame)].concat())
    .into()
}

pub(crate) const WORDS: &[&[u8]] = &[
    b"\x01\x02S ",
    b"\x03\x04",
    b"kg",
    b"KG",
    b" g\r\n",
    b"S S ",
    b"S D ",
    b"S I\r\n",
    b"ST,GS,",
    b"US,NT,",
    b"OL,",
    b"\x1B",
    b"\x0209\x1B",
    b"\x0D\x03",
    b"ES\r\n",
    b"EC,E1\r\n",
    b"\x06",
    b"\x15",
];
