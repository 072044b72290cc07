//! CAS indicators and scales that send by themselves: 22 bytes with state, or 10 bytes with a number only (serial, 8N1).
//!
//! Sources: devices.md 1.4 (CAS CI-600D p74, PDI p37, CI-150A p54, CI-6000A p63, NT-200 p48).
//! ```text
//! ST|US|OL , GS|NT , id lamp , number(8) SP unit(2) CR LF          number(8) CR LF
//! ```
//! id is `1` to `=` (0x31 to 0x3D). lamp: b7 1, b6 stable, b4 hold, b3 print, b2 gross, b1 tare, b0 zero; b5 differs between
//! models and is not read. "Stable" is taken only where header and lamp both say so. Ten bytes say nothing about rest,
//! so nothing of them is ever usable.

use alloc::vec::Vec;

use super::lines::{Lines, content, unit};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Request, ScaleError, ScaleProtocol, Step, Weight,
};

/// The frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With header, lamps and unit.
    Bytes22,
    /// A number only.
    Bytes10,
}

impl Format {
    const fn bytes(self) -> usize {
        match self {
            Self::Bytes22 => 22,
            Self::Bytes10 => 10,
        }
    }
}

/// Reads one frame, CR LF included; `configured` is needed for ten bytes.
///
/// # Errors
/// A named error with the frame.
pub fn decode(frame: &[u8], format: Format, configured: Option<MassUnit>) -> Result<Weight, ScaleError> {
    if frame.len() != format.bytes() || !frame.ends_with(b"\r\n") {
        return Err(content("22 or 10 bytes, as configured, ending with CR LF", frame));
    }
    match format {
        Format::Bytes22 => stated(frame, configured),
        Format::Bytes10 => {
            let unit = configured.ok_or_else(|| ScaleError::Unit(Evidence::of(frame)))?;
            let shown = Mass::parse(frame.get(..8).unwrap_or_default(), unit)
                .ok_or_else(|| content("a number in eight characters", frame))?;
            Ok(Weight { under: shown.count < 0, ..Weight::shown(shown) })
        }
    }
}

fn stated(frame: &[u8], configured: Option<MassUnit>) -> Result<Weight, ScaleError> {
    let [h1, h2, b',', k1, k2, b',', id, lamp, b',', rest @ ..] = frame else {
        return Err(content("ST|US|OL,GS|NT,id lamp,…", frame));
    };
    if !(0x31..=0x3D).contains(id) || lamp & 0x80 == 0 {
        return Err(content("device id 1 to = and a lamp byte with bit 7", frame));
    }
    let lamp = |bit: u8| lamp & bit != 0;
    let (stable, overload) = match [*h1, *h2] {
        [b'S', b'T'] => (true, false),
        [b'U', b'S'] => (false, false),
        [b'O', b'L'] => (false, true),
        _ => return Err(content("header ST, US or OL", frame)),
    };
    let net = match [*k1, *k2] {
        [b'G', b'S'] => false,
        [b'N', b'T'] => true,
        _ => return Err(content("GS or NT", frame)),
    };
    let state = Weight {
        net,
        kind_stated: true,
        stable: stable && lamp(0x40),
        centre_of_zero: lamp(0x01),
        held: lamp(0x10),
        ..Weight::default()
    };
    let (number, rest) = rest.split_at_checked(8).unwrap_or_default();
    if overload {
        let under = number.contains(&b'-');
        return Ok(Weight { over: !under, under, ..state });
    }
    let [b' ', u1, u2, b'\r', b'\n'] = rest else {
        return Err(content("space, unit, CR LF behind the number", frame));
    };
    let unit = unit(&[*u1, *u2], configured, frame)?;
    let shown = Mass::parse(number, unit).ok_or_else(|| content("a number in eight characters", frame))?;
    Ok(Weight { gross_or_net: Some(shown.grams()), shown: Some(shown), under: shown.count < 0, ..state })
}

/// One scale.
#[derive(Clone, Debug)]
pub struct Cas {
    format: Format,
    unit: Option<MassUnit>,
    lines: Lines,
}

impl Cas {
    /// A scale that sends by itself.
    #[must_use]
    pub const fn new(format: Format, unit: Option<MassUnit>) -> Self {
        Self { format, unit, lines: Lines::new(b'\n', 40, false) }
    }
}

impl ScaleProtocol for Cas {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        let protocol = if self.format == Format::Bytes22 { "cas-22" } else { "cas-10" };
        match order {
            Order::Weight => Ok(Request::answered([])),
            _ => Err(OrderError::Unsupported { protocol, order: order.name() }),
        }
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        let frame = match self.lines.push(byte)? {
            Ok(frame) => frame,
            Err(error) => return Some(Err(error)),
        };
        let weight = decode(&frame, self.format, self.unit);
        Some(weight.map(|weight| Step::answer(Answer::Weight(weight), &frame)))
    }

    fn reset(&mut self) -> Option<Evidence> {
        self.lines.reset()
    }

    fn streams(&self) -> bool {
        true
    }
}

/// Encodes a frame as the scale sends it; `None` when the number does not fit eight characters.
#[must_use]
pub fn encode(weight: &Weight, format: Format) -> Option<Vec<u8>> {
    let shown = weight.shown?;
    let (sign, width) = if shown.count < 0 { ("-", 7) } else { ("", 8) };
    let number = alloc::format!("{sign}{}", shown.digits(width));
    if number.len() != 8 {
        return None;
    }
    if format == Format::Bytes10 {
        return Some(alloc::format!("{number}\r\n").into_bytes());
    }
    let header = match weight {
        Weight { over: true, .. } => "OL",
        Weight { stable: true, .. } => "ST",
        _ => "US",
    };
    let bit = |set: bool, bit: u8| if set { bit } else { 0 };
    let lamp = 0x80
        | bit(weight.stable, 0x40)
        | bit(weight.held, 0x10)
        | bit(!weight.net, 0x04)
        | bit(weight.net, 0x02)
        | bit(weight.centre_of_zero, 0x01);
    let kind = if weight.net { "NT" } else { "GS" };
    let mut frame = alloc::format!("{header},{kind},1").into_bytes();
    frame.push(lamp);
    frame.extend(alloc::format!(",{number} {:>2}\r\n", shown.unit.symbol()).bytes());
    Some(frame)
}

#[cfg(test)]
mod tests;
