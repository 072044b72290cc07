//! Yaohua XK3190-A23: continuous sending, or asked by command (serial, 8N1).
//!
//! Sources: devices.md 1.7 (continuous frame with its example); Yaohua XK3190-A23p manual p24 (commands A to F, their bytes
//! and the reply's layout) and XK3190-DS3 manual p6 (the same for gross, tare, net; how checksum digits are formed).
//! ```text
//! sent    02 sign d1..d6 dp XH XL 03                  what the display shows
//! asked   02 addr cmd XH XL 03  ->  02 addr cmd sign d1..d6 dp XH XL 03     cmd B gross, C tare, D net; addr from A
//! ```
//! X is the exclusive or of the bytes between 02 and itself, as two upper-case hexadecimal digits; dp is the number of
//! decimals, 0 to 4. Trap: neither form says whether the platform is at rest, so no weight of this protocol is usable.

use alloc::vec::Vec;

use super::lines::{content, number, xor};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Request, ScaleError, ScaleProtocol, Step, Weight,
};

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const SENT_BYTES: usize = 12;
const ASKED_BYTES: usize = 14;
const ADDRESS: u8 = b'A';

/// What a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `B`: gross weight.
    Gross,
    /// `C`: tare.
    Tare,
    /// `D`: net weight.
    Net,
}

impl Command {
    const fn byte(self) -> u8 {
        match self {
            Self::Gross => b'B',
            Self::Tare => b'C',
            Self::Net => b'D',
        }
    }

    /// The command's bytes for the scale at `address` (`A` to `Z`).
    #[must_use]
    pub fn encode(self, address: u8) -> Vec<u8> {
        sealed(&[address, self.byte()])
    }
}

fn sealed(inner: &[u8]) -> Vec<u8> {
    let mut frame = [STX].to_vec();
    frame.extend(inner);
    frame.extend(alloc::format!("{:02X}", xor(inner)).bytes());
    frame.push(ETX);
    frame
}

/// Reads one frame; with `asked`, the reply to that command of the scale at address `A`.
///
/// # Errors
/// A named error with the frame.
pub fn decode(frame: &[u8], unit: MassUnit, asked: Option<Command>) -> Result<Mass, ScaleError> {
    let [STX, inner @ .., high, low, ETX] = frame else {
        return Err(content("02 … 03", frame));
    };
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let found = digit(*high)
        .zip(digit(*low))
        .map(|(high, low)| high << 4 | low)
        .ok_or_else(|| content("two upper-case hexadecimal digits as checksum", frame))?;
    let expected = xor(inner);
    if found != expected {
        return Err(ScaleError::Checksum { expected, found, bytes: Evidence::of(frame) });
    }
    let value = match (asked, inner) {
        (None, value) => value,
        (Some(command), [ADDRESS, letter, value @ ..]) if *letter == command.byte() => value,
        (Some(_), _) => return Err(content("the address and the command that was asked", frame)),
    };
    let [sign, digits @ .., decimals @ b'0'..=b'4'] = value else {
        return Err(content("sign, six digits, decimals 0 to 4", frame));
    };
    let negative = match sign {
        b'+' => false,
        b'-' => true,
        _ => return Err(content("sign plus or minus", frame)),
    };
    let count = number(digits)
        .filter(|_| digits.len() == 6)
        .ok_or_else(|| content("sign, six digits, decimals 0 to 4", frame))?;
    let count = i64::from(count);
    Ok(Mass { count: if negative { -count } else { count }, decimals: decimals - b'0', unit })
}

/// One scale.
#[derive(Clone, Debug)]
pub struct Xk3190 {
    unit: MassUnit,
    sent: bool,
    bytes: Vec<u8>,
    asked: Option<Command>,
    gross: Option<Mass>,
    tare: Option<Mass>,
}

impl Xk3190 {
    /// A scale at rest at address `A`; `sent` where it sends continuously.
    #[must_use]
    pub const fn new(unit: MassUnit, sent: bool) -> Self {
        Self { unit, sent, bytes: Vec::new(), asked: None, gross: None, tare: None }
    }

    fn complete(&mut self) -> Result<Step, ScaleError> {
        let frame = core::mem::take(&mut self.bytes);
        if self.sent {
            let shown = decode(&frame, self.unit, None)?;
            let weight = Weight { under: shown.count < 0, ..Weight::shown(shown) };
            return Ok(Step::answer(Answer::Weight(weight), &frame));
        }
        let Some(asked) = self.asked else {
            return Err(ScaleError::Unasked(Evidence::of(&frame)));
        };
        let mass = decode(&frame, self.unit, Some(asked))?;
        let next = match asked {
            Command::Gross => {
                self.gross = Some(mass);
                Command::Tare
            }
            Command::Tare => {
                self.tare = Some(mass);
                Command::Net
            }
            Command::Net => {
                self.asked = None;
                return Ok(Step::answer(Answer::Weight(self.weight(mass)), &frame));
            }
        };
        self.asked = Some(next);
        Ok(Step::Send(next.encode(ADDRESS)))
    }

    fn weight(&self, net: Mass) -> Weight {
        let tared = self.tare.is_some_and(|tare| tare.count != 0);
        let shown = if tared { net } else { self.gross.unwrap_or(net) };
        Weight {
            net: tared,
            kind_stated: true,
            tare: self.tare.map(Mass::grams),
            under: shown.count < 0,
            ..Weight::shown(shown)
        }
    }
}

impl ScaleProtocol for Xk3190 {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        if order != Order::Weight {
            return Err(OrderError::Unsupported { protocol: "xk3190-a23", order: order.name() });
        }
        if self.sent {
            return Ok(Request::answered([]));
        }
        self.reset();
        self.asked = Some(Command::Gross);
        Ok(Request::answered(Command::Gross.encode(ADDRESS)))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        if byte == STX && !self.bytes.is_empty() {
            let cut = Evidence::of(&self.bytes);
            self.bytes.clear();
            self.bytes.push(byte);
            return Some(Err(ScaleError::Truncated(cut)));
        }
        if byte != STX && self.bytes.is_empty() {
            return Some(Err(ScaleError::Noise(Evidence::of(&[byte]))));
        }
        self.bytes.push(byte);
        let length = if self.sent { SENT_BYTES } else { ASKED_BYTES };
        if byte == ETX && self.bytes.len() < length {
            let short = Evidence::of(&self.bytes);
            self.bytes.clear();
            return Some(Err(ScaleError::Truncated(short)));
        }
        (self.bytes.len() == length).then(|| self.complete())
    }

    fn reset(&mut self) -> Option<Evidence> {
        let dropped = (!self.bytes.is_empty()).then(|| Evidence::of(&self.bytes));
        self.bytes.clear();
        (self.asked, self.gross, self.tare) = (None, None, None);
        dropped
    }

    fn streams(&self) -> bool {
        self.sent
    }
}

/// Encodes a value as the scale sends it, continuously or as the reply to a command; `None` when it does not fit.
#[must_use]
pub fn encode(shown: Mass, asked: Option<Command>) -> Option<Vec<u8>> {
    if shown.decimals > 4 || shown.count.unsigned_abs() > 999_999 {
        return None;
    }
    let mut inner: Vec<u8> = asked.map(|command| [ADDRESS, command.byte()]).into_iter().flatten().collect();
    let sign = if shown.count < 0 { '-' } else { '+' };
    inner.extend(alloc::format!("{sign}{:06}{}", shown.count.unsigned_abs(), shown.decimals).bytes());
    Some(sealed(&inner))
}

#[cfg(test)]
mod tests;
