//! NCI (Weigh-Tronix) SCP-01 and SCP-02, the latter also called ECR (serial, 7 data bits, even parity or 8N1).
//!
//! Sources: devices.md 1.2 (MT DIVA pp35-37; Weigh-Tronix 8408-14788-01; Adam MDW-300L p15); Avery Weigh-Tronix 7821 user
//! instructions p25 and NCI 7800 manual p32 for the commands and "characters from the display including minus sign".
//! ```text
//! W CR   SCP-01: LF weight unit CR LF h1 h2 [h3 [h4]] CR ETX     SCP-02: LF weight unit CR LF S h1 h2 CR ETX, or the
//! Z CR   LF [S] h1 h2 … CR ETX                                   status alone when the weight is not stable, in range
//! other  LF ? CR ETX
//! ```
//! h1: b0 motion, b1 at zero, b2 and b3 memory errors. h2: b0 under, b1 over capacity, b2 and b3 memory and calibration
//! errors, b6 another byte follows. h3: b0-1 range (00 low, 11 high), b2 net, b3 initial zero error. b4 and b5 are 1.
//! Instead of a number Adam shows `^` over, `_` under, `-` a zero error. `H`, `U`, `M` exist and are not used.

use alloc::vec::Vec;

use super::lines::{Lines, content, unit};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step, Weight,
};

/// The longest frame kept; the longest legal one has 21 bytes.
pub const FRAME_BYTES_MAX: usize = 40;
const ETX: u8 = 0x03;
const STATUS_FIXED: u8 = 0x30;

/// The dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Weight and status, always both.
    Scp01,
    /// An `S` before the status, the weight only where it may be used.
    Scp02,
}

/// A reply of the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A weight with the status, or the status alone.
    Status(Weight),
    /// `?`: the scale does not know the command.
    Unknown,
}

/// Reads one frame, `LF` to `ETX`.
///
/// # Errors
/// A named error with the frame.
pub fn decode(frame: &[u8], version: Version, configured: Option<MassUnit>) -> Result<Reply, ScaleError> {
    let [b'\n', inner @ .., b'\r', ETX] = frame else {
        return Err(content("LF … CR ETX", frame));
    };
    if inner == b"?" {
        return Ok(Reply::Unknown);
    }
    let split = inner.windows(2).position(|pair| pair == b"\r\n");
    let (shown, state) = match split {
        Some(at) => (inner.get(..at), inner.get(at + 2..).unwrap_or_default()),
        None => (None, inner),
    };
    let state = match (version, state) {
        (Version::Scp01, state) => state,
        (Version::Scp02, [b'S', state @ ..]) => state,
        (Version::Scp02, _) => return Err(content("S before the status", frame)),
    };
    let mut weight = status(state, frame)?;
    if let Some(text) = shown {
        number(text, configured, frame, &mut weight)?;
    }
    Ok(Reply::Status(weight))
}

fn status(bytes: &[u8], frame: &[u8]) -> Result<Weight, ScaleError> {
    let more = |byte: &u8| byte & 0x40 != 0;
    let complete = match bytes {
        [_, h2] => !more(h2),
        [_, h2, h3] => more(h2) && !more(h3),
        [_, h2, h3, _] => more(h2) && more(h3),
        _ => false,
    };
    if !complete || bytes.iter().any(|byte| byte & STATUS_FIXED != STATUS_FIXED) {
        return Err(content("two to four status bytes with bits 4 and 5", frame));
    }
    let bit = |at: usize, bit: u8| bytes.get(at).is_some_and(|byte| byte & bit != 0);
    Ok(Weight {
        stable: !bit(0, 0x01),
        centre_of_zero: bit(0, 0x02),
        under: bit(1, 0x01),
        over: bit(1, 0x02),
        faulty: bit(0, 0x0C) || bit(1, 0x0C) || bit(2, 0x08),
        kind_stated: bytes.len() > 2,
        net: bit(2, 0x04),
        range: bytes.get(2).and_then(|h3| match h3 & 0x03 {
            0 => Some(1),
            3 => Some(2),
            _ => None,
        }),
        ..Weight::default()
    })
}

fn number(
    text: &[u8],
    configured: Option<MassUnit>,
    frame: &[u8],
    weight: &mut Weight,
) -> Result<(), ScaleError> {
    let letters = text.iter().rev().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b' ').count();
    let (text, symbol) = text.split_at(text.len() - letters);
    let unit = unit(symbol, configured, frame)?;
    let all = |mark: u8| text.len() > 2 && text.iter().all(|byte| *byte == mark);
    if all(b'^') || all(b'_') || all(b'-') {
        weight.over |= all(b'^');
        weight.under |= all(b'_');
        weight.faulty |= all(b'-');
        return Ok(());
    }
    let shown = Mass::parse(text, unit).ok_or_else(|| content("a number", frame))?;
    weight.gross_or_net = Some(shown.grams());
    weight.shown = Some(shown);
    weight.under |= shown.count < 0;
    Ok(())
}

/// One scale.
#[derive(Clone, Debug)]
pub struct Nci {
    version: Version,
    unit: Option<MassUnit>,
    frame: Lines,
    order: Option<Order>,
}

impl Nci {
    /// A scale at rest.
    #[must_use]
    pub const fn new(version: Version, unit: Option<MassUnit>) -> Self {
        Self { version, unit, frame: Lines::new(ETX, FRAME_BYTES_MAX, true), order: None }
    }
}

impl ScaleProtocol for Nci {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        let bytes = match order {
            Order::Weight => *b"W\r",
            Order::Zero => *b"Z\r",
            Order::Tare | Order::KeyedTare(_) | Order::ClearTare => {
                let protocol = if self.version == Version::Scp01 { "nci-scp-01" } else { "nci-scp-02" };
                return Err(OrderError::Unsupported { protocol, order: order.name() });
            }
        };
        self.frame.reset();
        self.order = Some(order);
        Ok(Request::answered(bytes))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        if self.frame.is_empty() && self.frame.strip(byte) != b'\n' {
            return Some(Err(ScaleError::Noise(Evidence::of(&[byte]))));
        }
        let frame = match self.frame.push(byte)? {
            Ok(frame) => frame,
            Err(error) => return Some(Err(error)),
        };
        let reply = match decode(&frame, self.version, self.unit) {
            Ok(reply) => reply,
            Err(error) => return Some(Err(error)),
        };
        let answer = match (self.order.take(), reply) {
            (None, _) => return Some(Err(ScaleError::Unasked(Evidence::of(&frame)))),
            (Some(_), Reply::Unknown) => Answer::Refused(Refusal::Command),
            (Some(Order::Weight), Reply::Status(weight)) => Answer::Weight(weight),
            (Some(_), Reply::Status(weight)) => zeroed(&weight),
        };
        Some(Ok(Step::answer(answer, &frame)))
    }

    fn reset(&mut self) -> Option<Evidence> {
        self.order = None;
        self.frame.reset()
    }
}

/// Whether a zero order was carried out, from the status that answers it.
fn zeroed(weight: &Weight) -> Answer {
    match weight {
        Weight { centre_of_zero: true, stable: true, .. } => Answer::Accepted { tare: None },
        Weight { stable: false, .. } => Answer::Refused(Refusal::Motion),
        Weight { over: true, .. } => Answer::Refused(Refusal::Above),
        Weight { under: true, .. } => Answer::Refused(Refusal::Below),
        _ => Answer::Refused(Refusal::NotDone),
    }
}

/// Encodes a reply as the scale sends it; the weight goes out only where `weight` has one and, for SCP-02, it is usable.
#[must_use]
pub fn encode(weight: &Weight, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    let withheld = version == Version::Scp02 && weight.usable().is_none();
    if let Some(shown) = weight.shown.filter(|_| !withheld) {
        let (sign, width) = if shown.count < 0 { ("-", 6) } else { ("", 7) };
        let unit = shown.unit.symbol().to_ascii_uppercase();
        out.extend(alloc::format!("\n{sign}{}{unit}\r", shown.digits(width)).bytes());
    }
    out.push(b'\n');
    if version == Version::Scp02 {
        out.push(b'S');
    }
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let h1 = STATUS_FIXED
        | bit(!weight.stable, 0x01)
        | bit(weight.centre_of_zero, 0x02)
        | bit(weight.faulty, 0x08);
    let h2 = STATUS_FIXED | bit(weight.under, 0x01) | bit(weight.over, 0x02) | bit(weight.kind_stated, 0x40);
    out.extend([h1, h2]);
    if weight.kind_stated {
        out.push(STATUS_FIXED | bit(weight.net, 0x04) | bit(weight.range == Some(2), 0x03));
    }
    out.extend([b'\r', ETX]);
    out
}

#[cfg(test)]
mod tests;
