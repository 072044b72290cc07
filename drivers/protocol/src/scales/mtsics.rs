//! MT-SICS, levels 0 and 1: Mettler-Toledo balances and scales (serial, 9600 8N1, ASCII lines).
//!
//! Sources: devices.md 1.3 (AT balances manual p87, AL-IC p72, ITT-BA, T104 p44; vectors from the tests of
//! Atlantis-Software/mt-sics and instrumentkit/InstrumentKit).
//!
//! A reply is tokens between runs of spaces, ended by CR LF: the command, a status letter, and what belongs to it. The
//! unit and the quotes around texts are optional. `S` is the net weight when a tare is in force, but nothing in the reply
//! says so. Radwag's command set looks alike and is another one: its `T A` carries no weight, its done is `T D`, its weight
//! begins with `SI`; all of that is refused here.

use alloc::string::String;
use alloc::vec::Vec;

use super::lines::{Lines, content, unit};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, MassUnit, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step, Weight,
};
use crate::unit::Grams;

/// The longest reply kept, CR LF included.
pub const LINE_BYTES_MAX: usize = 128;
const PROTOCOL: &str = "mt-sics";

/// A command that a reply may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `S`, also the reply to `SI` and `SIR`.
    Weight,
    /// `Z`.
    Zero,
    /// `ZI`, without waiting for rest.
    ZeroNow,
    /// `T`.
    Tare,
    /// `TI`, without waiting for rest.
    TareNow,
    /// `TA`: read or key in the tare.
    TareValue,
    /// `TAC`.
    ClearTare,
    /// `@`.
    Reset,
    /// `I0` to `I4`: commands, level, data, version, serial number.
    Inquiry(u8),
}

impl Command {
    const fn parse(token: &[u8]) -> Option<Self> {
        Some(match token {
            b"S" => Self::Weight,
            b"Z" => Self::Zero,
            b"ZI" => Self::ZeroNow,
            b"T" => Self::Tare,
            b"TI" => Self::TareNow,
            b"TA" => Self::TareValue,
            b"TAC" => Self::ClearTare,
            b"@" => Self::Reset,
            [b'I', number @ b'0'..=b'4'] => Self::Inquiry(*number - b'0'),
            _ => return None,
        })
    }
}

/// A reply of the scale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A weight.
    Weight {
        /// At rest.
        stable: bool,
        /// As shown.
        shown: Mass,
    },
    /// The load is out of range; true for above.
    OutOfRange(bool),
    /// A command was carried out; tare commands say the tare.
    Done(Command, Option<Mass>),
    /// A command was not carried out; `None` for the errors `ES`, `ET` and `EL`, which name no command.
    Refused(Option<Command>, Refusal),
    /// A text; `more` when another line follows.
    Text {
        /// What it answers.
        command: Command,
        /// The status was `B`: another line follows.
        more: bool,
        /// The texts without quotes.
        fields: Vec<String>,
    },
}

/// Reads one line; `configured` is the unit of values without one, and required of values with one.
///
/// # Errors
/// A named error with the line: unknown command, status or unit, missing weight.
pub fn decode(line: &[u8], configured: Option<MassUnit>) -> Result<Reply, ScaleError> {
    let text = line.trim_ascii();
    let mut tokens = text.split(|byte| *byte == b' ').filter(|token| !token.is_empty());
    let first = tokens.next().unwrap_or_default();
    match first {
        b"ES" => return Ok(Reply::Refused(None, Refusal::Command)),
        b"ET" => return Ok(Reply::Refused(None, Refusal::Transmission)),
        b"EL" => return Ok(Reply::Refused(None, Refusal::Value)),
        _ => {}
    }
    let command = Command::parse(first).ok_or_else(|| content("a reply of MT-SICS", line))?;
    let status = tokens.next().unwrap_or_default();
    if let Command::Inquiry(_) | Command::Reset = command {
        return inquiry(command, status, text, line);
    }
    // `@` is answered with the reply of `I4`, so what is left here has a status and perhaps a value.
    let refused = |refusal| Ok(Reply::Refused(Some(command), refusal));
    match (command, status) {
        (Command::Weight, b"+" | b"-") => return Ok(Reply::OutOfRange(status == b"+")),
        (_, b"I") => return refused(Refusal::NotReady),
        (_, b"L") if command != Command::Weight => return refused(Refusal::Value),
        (Command::Zero | Command::ZeroNow | Command::Tare | Command::TareNow, b"+") => {
            return refused(Refusal::Above);
        }
        (Command::Zero | Command::ZeroNow | Command::Tare | Command::TareNow, b"-") => {
            return refused(Refusal::Below);
        }
        _ => {}
    }
    let value = value(tokens, configured, line)?;
    match (command, status, value) {
        (Command::Weight, b"S" | b"D", Some(shown)) => Ok(Reply::Weight { stable: status == b"S", shown }),
        (Command::Zero | Command::ClearTare, b"A", None) => Ok(Reply::Done(command, None)),
        (Command::ZeroNow, b"S" | b"D", None) => Ok(Reply::Done(command, None)),
        (Command::Tare, b"S" | b"A", Some(tare)) => Ok(Reply::Done(command, Some(tare))),
        (Command::TareNow, b"S" | b"D" | b"A", Some(tare)) => Ok(Reply::Done(command, Some(tare))),
        (Command::TareValue, b"A", Some(tare)) => Ok(Reply::Done(command, Some(tare))),
        _ => Err(content("a status, and a weight where one belongs", line)),
    }
}

/// The value behind a status: a number and perhaps a unit; `None` when there is nothing.
fn value<'a>(
    mut tokens: impl Iterator<Item = &'a [u8]>,
    configured: Option<MassUnit>,
    line: &[u8],
) -> Result<Option<Mass>, ScaleError> {
    let Some(number) = tokens.next() else { return Ok(None) };
    let unit = match (tokens.next(), configured) {
        (Some(text), _) => unit(text, configured, line)?,
        (None, Some(configured)) => configured,
        (None, None) => return Err(ScaleError::Unit(Evidence::of(line))),
    };
    if tokens.next().is_some() {
        return Err(content("nothing behind the unit", line));
    }
    Mass::parse(number, unit).map(Some).ok_or_else(|| content("a number", line))
}

fn inquiry(command: Command, status: &[u8], text: &[u8], line: &[u8]) -> Result<Reply, ScaleError> {
    let more = match status {
        b"A" => false,
        b"B" => true,
        b"I" => return Ok(Reply::Refused(Some(command), Refusal::NotReady)),
        _ => return Err(content("status A, B or I", line)),
    };
    // Behind the status: the command and the status are runs of non-spaces, so the second space run ends the status.
    let skip = |text: &[u8]| -> usize { text.iter().position(|byte| *byte == b' ').unwrap_or(text.len()) };
    let rest = text.get(skip(text)..).unwrap_or_default().trim_ascii_start();
    let rest = rest.get(skip(rest)..).unwrap_or_default();
    Ok(Reply::Text { command, more, fields: fields(rest) })
}

/// Splits at spaces, except between quotes; the quotes go.
fn fields(text: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    let (mut field, mut quoted, mut begun) = (String::new(), false, false);
    for byte in text {
        match byte {
            b'"' => {
                quoted = !quoted;
                begun = true;
            }
            b' ' if !quoted => {
                if begun {
                    fields.push(core::mem::take(&mut field));
                }
                begun = false;
            }
            _ => {
                field.push(char::from(*byte));
                begun = true;
            }
        }
    }
    if begun {
        fields.push(field);
    }
    fields
}

/// One scale.
#[derive(Clone, Debug)]
pub struct MtSics {
    unit: Option<MassUnit>,
    sent: bool,
    lines: Lines,
    order: Option<Order>,
}

impl MtSics {
    /// A scale at rest; `sent` where it repeats its weight (`SIR`) instead of being asked (`SI`).
    #[must_use]
    pub const fn new(unit: Option<MassUnit>, sent: bool) -> Self {
        Self { unit, sent, lines: Lines::new(b'\n', LINE_BYTES_MAX, false), order: None }
    }

    fn keyed_tare(&self, tare: Grams) -> Option<String> {
        let unit = self.unit.unwrap_or_default();
        let decimals = if unit == MassUnit::Kilogram { 3 } else { 0 };
        let mass = Mass::nearest(tare, unit, decimals);
        (mass.exact_grams() == Some(tare) && (0..1_000_000_000).contains(&tare.0))
            .then(|| alloc::format!("TA {} {}\r\n", mass.digits(1), unit))
    }

    fn answer(&self, reply: Reply, line: &[u8]) -> Result<Step, ScaleError> {
        let expected = match self.order {
            Some(Order::Weight) => Some(Command::Weight),
            Some(Order::Zero) => Some(Command::Zero),
            Some(Order::Tare) => Some(Command::Tare),
            Some(Order::KeyedTare(_)) => Some(Command::TareValue),
            Some(Order::ClearTare) => Some(Command::ClearTare),
            None => None,
        };
        let weight = self.sent || expected == Some(Command::Weight);
        let unasked = ScaleError::Unasked(Evidence::of(line));
        let answer = match reply {
            Reply::Weight { stable, shown } if weight => {
                Answer::Weight(Weight { stable, under: shown.count < 0, ..Weight::shown(shown) })
            }
            Reply::OutOfRange(above) if weight => {
                Answer::Weight(Weight { over: above, under: !above, ..Weight::default() })
            }
            Reply::Done(command, tare) if Some(command) == expected => {
                Answer::Accepted { tare: tare.map(Mass::grams) }
            }
            Reply::Refused(Some(Command::Weight), refusal) if weight => Answer::Refused(refusal),
            Reply::Refused(command, refusal)
                if expected.is_some() && (command.is_none() || command == expected) =>
            {
                Answer::Refused(refusal)
            }
            // What a scale says of itself when it is switched on.
            Reply::Text { command: Command::Inquiry(4) | Command::Reset, .. } => return Ok(Step::Heard),
            _ => return Err(unasked),
        };
        Ok(Step::answer(answer, line))
    }
}

impl ScaleProtocol for MtSics {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        let bytes = match order {
            Order::Weight if self.sent => b"SIR\r\n".to_vec(),
            Order::Weight => b"SI\r\n".to_vec(),
            Order::Zero => b"Z\r\n".to_vec(),
            Order::Tare => b"T\r\n".to_vec(),
            Order::ClearTare => b"TAC\r\n".to_vec(),
            Order::KeyedTare(tare) => match self.keyed_tare(tare) {
                Some(text) => text.into_bytes(),
                None => {
                    return Err(OrderError::Value {
                        protocol: PROTOCOL,
                        order: order.name(),
                        expected: "whole grams on a scale in kilograms or grams",
                        found: tare,
                    });
                }
            },
        };
        if !self.sent {
            self.lines.reset();
        }
        self.order = Some(order);
        Ok(Request::answered(bytes))
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        let line = match self.lines.push(byte)? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        if !line.ends_with(b"\r\n") {
            return Some(Err(content("a line that ends with CR LF", &line)));
        }
        let step = decode(&line, self.unit).and_then(|reply| self.answer(reply, &line));
        let ended = match &step {
            Ok(Step::Answer { answer: Answer::Weight(_), .. }) => self.order == Some(Order::Weight),
            Ok(Step::Answer { .. }) => true,
            _ => false,
        };
        if ended && !(self.sent && self.order == Some(Order::Weight)) {
            self.order = None;
        }
        Some(step)
    }

    fn reset(&mut self) -> Option<Evidence> {
        self.order = None;
        self.lines.reset()
    }

    fn streams(&self) -> bool {
        self.sent
    }
}

/// Encodes a weight as the scale sends it: `S S     100.00 g`.
#[must_use]
pub fn encode_weight(stable: bool, shown: Mass) -> Vec<u8> {
    let sign = if shown.count < 0 { "-" } else { "" };
    let number = alloc::format!("{sign}{}", shown.digits(1));
    alloc::format!("S {} {number:>10} {}\r\n", if stable { 'S' } else { 'D' }, shown.unit).into_bytes()
}

#[cfg(test)]
mod tests;
