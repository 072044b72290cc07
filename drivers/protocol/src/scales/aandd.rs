//! A&D scales and those that imitate them: the 18-byte stream, and A&D's own commands (serial, 7 data bits, even parity).
//!
//! Sources: devices.md 1.4 (CAS PDI for the 18 bytes; HC-3Ki p48, EK-L p28, GC for commands); A&D HC-3Ki manual p48 also
//! for the second acknowledgement after `Z` and `T`, "when the command operation is completed", and the reply examples.
//! ```text
//! 18 bytes  ST|US|OL , GS|NT , number(8) unit(2) CR LF      with a space before the unit: 19, accepted too
//! native    Q CR LF -> ST|US|OL , sign number unit CR LF    Z, T -> ACK when received, ACK when done
//! ```
//! ACK is 06 or `AK`, with or without CR LF. Errors are `EC,E0` to `EC,E7`. An overload shows nines: `OL,+9999.999`. Native
//! replies do not say gross or net. Counting (`QT`, unit `PC`) is no weight and is refused.

use alloc::vec::Vec;

use super::lines::{Lines, content, unit};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step, Weight,
};

/// The longest line kept, CR LF included.
pub const LINE_BYTES_MAX: usize = 40;
const ACK: u8 = 0x06;

/// The frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `ST,GS,…`, sent by itself.
    Bytes18,
    /// `ST,+…`, asked or sent by itself; with commands.
    Native,
}

/// A line of the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A weight.
    Weight(Weight),
    /// An acknowledgement.
    Acknowledged,
    /// An error code.
    Error(Refusal),
}

/// Reads one line, CR LF included.
///
/// # Errors
/// A named error with the line.
pub fn decode(line: &[u8], format: Format, configured: Option<MassUnit>) -> Result<Reply, ScaleError> {
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| content("a line that ends with CR LF", line))?;
    if format == Format::Native {
        match text {
            [ACK] | b"AK" => return Ok(Reply::Acknowledged),
            [b'E', b'C', b',', code @ ..] => return Ok(Reply::Error(error(code, line)?)),
            _ => {}
        }
    }
    let mut fields = text.split(|byte| *byte == b',');
    let header = fields.next().unwrap_or_default();
    let (stable, overload) = match header {
        b"ST" => (true, false),
        b"US" => (false, false),
        b"OL" => (false, true),
        _ => return Err(content("header ST, US or OL", line)),
    };
    let net = match format {
        Format::Native => None,
        Format::Bytes18 => match fields.next() {
            Some(b"GS") => Some(false),
            Some(b"NT") => Some(true),
            _ => return Err(content("GS or NT", line)),
        },
    };
    let value = fields.next().unwrap_or_default();
    let wrong_length = format == Format::Bytes18 && !matches!(line.len(), 18 | 19);
    if fields.next().is_some() || wrong_length {
        return Err(content("one value in the length of the format", line));
    }
    let state = Weight { net: net == Some(true), kind_stated: net.is_some(), stable, ..Weight::default() };
    if overload {
        let under = value.contains(&b'-');
        return Ok(Reply::Weight(Weight { over: !under, under, ..state }));
    }
    let letters = value.iter().rev().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b' ').count();
    let (number, symbol) = value.split_at(value.len() - letters);
    let unit = unit(symbol, configured, line)?;
    let shown = Mass::parse(number, unit).ok_or_else(|| content("a number", line))?;
    Ok(Reply::Weight(Weight {
        gross_or_net: Some(shown.grams()),
        shown: Some(shown),
        under: shown.count < 0,
        ..state
    }))
}

fn error(code: &[u8], line: &[u8]) -> Result<Refusal, ScaleError> {
    Ok(match code {
        b"E0" => Refusal::Transmission,
        b"E1" | b"E4" | b"E6" => Refusal::Command,
        b"E2" => Refusal::NotReady,
        b"E7" => Refusal::Value,
        [b'E', digit] => Refusal::Code([b'E', *digit]),
        _ => return Err(content("an error code E0 to E7", line)),
    })
}

/// One scale.
#[derive(Clone, Debug)]
pub struct And {
    format: Format,
    unit: Option<MassUnit>,
    sent: bool,
    lines: Lines,
    order: Option<Order>,
    acknowledged: bool,
    bare: bool,
}

impl And {
    /// A scale at rest; `sent` where it sends by itself.
    #[must_use]
    pub const fn new(format: Format, unit: Option<MassUnit>, sent: bool) -> Self {
        let lines = Lines::new(b'\n', LINE_BYTES_MAX, true);
        Self { format, unit, sent, lines, order: None, acknowledged: false, bare: false }
    }

    fn take(&mut self, reply: Reply, frame: &[u8]) -> Result<Step, ScaleError> {
        let asked = self.order.filter(|order| *order != Order::Weight);
        match reply {
            Reply::Weight(weight) if self.sent || self.order == Some(Order::Weight) => {
                if self.order == Some(Order::Weight) {
                    self.order = None;
                }
                Ok(Step::answer(Answer::Weight(weight), frame))
            }
            // The first one says received, the second one done.
            Reply::Acknowledged if asked.is_some() && !self.acknowledged => {
                self.acknowledged = true;
                Ok(Step::Heard)
            }
            Reply::Acknowledged if asked.is_some() => {
                self.order = None;
                Ok(Step::answer(Answer::Accepted { tare: None }, frame))
            }
            Reply::Error(refusal) if self.order.is_some() => {
                self.order = None;
                Ok(Step::answer(Answer::Refused(refusal), frame))
            }
            _ => Err(ScaleError::Unasked(Evidence::of(frame))),
        }
    }
}

impl ScaleProtocol for And {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        let native = self.format == Format::Native;
        let bytes: &[u8] = match order {
            Order::Weight if self.sent => b"",
            Order::Weight => b"Q\r\n",
            Order::Zero if native => b"Z\r\n",
            Order::Tare if native => b"T\r\n",
            _ => {
                let protocol = if native { "and-native" } else { "and-18" };
                return Err(OrderError::Unsupported { protocol, order: order.name() });
            }
        };
        if !self.sent {
            self.lines.reset();
        }
        (self.order, self.acknowledged, self.bare) = (Some(order), false, false);
        Ok(Request::answered(bytes))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        if self.format == Format::Native && self.lines.is_empty() && self.lines.strip(byte) == ACK {
            self.bare = true;
            return Some(self.take(Reply::Acknowledged, &[byte]));
        }
        let line = match self.lines.push(byte)? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        if core::mem::take(&mut self.bare) && line == b"\r\n" {
            return None;
        }
        Some(decode(&line, self.format, self.unit).and_then(|reply| self.take(reply, &line)))
    }

    fn reset(&mut self) -> Option<Evidence> {
        (self.order, self.acknowledged, self.bare) = (None, false, false);
        self.lines.reset()
    }

    fn streams(&self) -> bool {
        self.sent
    }
}

/// Encodes a line as the scale sends it; `None` when the number does not fit.
#[must_use]
pub fn encode(weight: &Weight, format: Format) -> Option<Vec<u8>> {
    let shown = weight.shown?;
    let header = match weight {
        Weight { over: true, .. } => "OL",
        Weight { stable: true, .. } => "ST",
        _ => "US",
    };
    let sign = if shown.count < 0 { '-' } else { '+' };
    let digits = shown.digits(if format == Format::Native { 8 } else { 7 });
    let symbol = shown.unit.symbol();
    let line = match format {
        Format::Native if digits.len() == 8 => alloc::format!("{header},{sign}{digits}{symbol:>3}\r\n"),
        Format::Bytes18 if digits.len() == 7 => {
            let kind = if weight.net { "NT" } else { "GS" };
            alloc::format!("{header},{kind},{sign}{digits}{symbol:>2}\r\n")
        }
        _ => return None,
    };
    Some(line.into_bytes())
}

#[cfg(test)]
mod tests;
