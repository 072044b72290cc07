//! ENQ-DC1: CAS AP-1, OHAUS Aviator 7000, GRAM Z-FOC, and Pinnacle/Aclas OS2X, which covers many Chinese counter scales.
//!
//! Sources: devices.md 1.5 (AP-1.doc; CAS SW-II p15; OHAUS Aviator 7000 p36; GRAM Zfoc p42); Pinnacle OS2CX manual, pages 15
//! and 16 ("Send communication protocol actively / passively"), for the position and the bits of Flag2.
//! ```text
//! host 05 (ENQ)   scale 06 (ACK), or 15 (NAK): poll again
//! host 11 (DC1)   scale 01 02 STA SIGN W1..W6 U1 U2 BCC 03 04        active: the same and Flag2, by itself
//! OS2X host <TK>\t tare, <ZK>\t zero, <AL>\t send when asked, <PB>\t send by itself; none of them is answered
//! ```
//! STA: `S` stable, `U` unstable, `F` out of range or not yet zeroed at start-up (both are "over" here: nothing usable).
//! The checksum covers the bytes between STX and BCC, on an OS2X also `01 02`: [`Bcc`]. A passive frame does not say
//! whether a tare is subtracted; Flag2 does (b4 zero, b5 tare, b6 out of range) but no checksum covers it.

use alloc::vec::Vec;

use super::lines::{content, unit, xor};
use super::{Bcc, MassUnit};
use crate::evidence::Evidence;
use crate::scale::{
    Answer, Mass, Order, OrderError, Refusal, Request, ScaleError, ScaleProtocol, Step, Weight,
};

const SOH: u8 = 0x01;
const STX: u8 = 0x02;
const ENQ: u8 = 0x05;
const ACK: u8 = 0x06;
const DC1: u8 = 0x11;
const NAK: u8 = 0x15;
/// Bytes of a frame without Flag2.
pub const FRAME_BYTES: usize = 15;
const BCC_AT: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Link,
    Frame,
}

/// One scale.
#[derive(Clone, Debug)]
pub struct EnqDc1 {
    protocol: &'static str,
    bcc: Bcc,
    unit: Option<MassUnit>,
    commands: bool,
    active: bool,
    state: State,
    bytes: Vec<u8>,
}

impl EnqDc1 {
    /// A scale that is asked; `unit` is required of every frame where given.
    #[must_use]
    pub const fn new(protocol: &'static str, bcc: Bcc, unit: Option<MassUnit>) -> Self {
        Self { protocol, bcc, unit, commands: false, active: false, state: State::Idle, bytes: Vec::new() }
    }

    /// The commands of OS2X; `active` where the scale sends by itself, with Flag2.
    #[must_use]
    pub const fn with_commands(mut self, active: bool) -> Self {
        self.commands = true;
        self.active = active;
        self
    }

    const fn frame_bytes(&self) -> usize {
        if self.active { FRAME_BYTES + 1 } else { FRAME_BYTES }
    }

    fn link(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        match byte {
            ACK => {
                self.state = State::Frame;
                Some(Ok(Step::Send([DC1].to_vec())))
            }
            NAK => {
                self.state = State::Idle;
                Some(Ok(Step::answer(Answer::Refused(Refusal::NotReady), &[NAK])))
            }
            _ => Some(Err(ScaleError::Noise(Evidence::of(&[byte])))),
        }
    }

    fn frame(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        self.bytes.push(byte);
        let begun = match self.bytes.as_slice() {
            [SOH] | [SOH, STX, ..] => true,
            [NAK] if self.state == State::Frame => {
                self.bytes.clear();
                self.state = State::Idle;
                return Some(Ok(Step::answer(Answer::Refused(Refusal::NotReady), &[NAK])));
            }
            _ => false,
        };
        if !begun {
            return Some(Err(ScaleError::Noise(self.skip())));
        }
        if self.bytes.len() < self.frame_bytes() {
            return None;
        }
        let frame = self.bytes.clone();
        Some(match decode(&frame, self.bcc, self.unit) {
            Ok(weight) => {
                self.bytes.clear();
                self.state = State::Idle;
                Ok(Step::answer(Answer::Weight(weight), &frame))
            }
            Err(error) => {
                self.skip();
                Err(error)
            }
        })
    }

    /// Drops bytes up to the next place where a frame may begin; answers what was dropped.
    fn skip(&mut self) -> Evidence {
        let rest = self.bytes.get(1..).unwrap_or_default();
        let pair = rest.windows(2).position(|pair| pair == [SOH, STX]);
        let begin = pair.or_else(|| rest.last().is_some_and(|last| *last == SOH).then(|| rest.len() - 1));
        let kept = begin.map_or(self.bytes.len(), |begin| begin + 1);
        let dropped = Evidence::of(self.bytes.get(..kept).unwrap_or_default());
        self.bytes.drain(..kept);
        dropped
    }
}

impl ScaleProtocol for EnqDc1 {
    fn begin(&mut self, order: Order) -> Result<Request, OrderError> {
        let unsupported = OrderError::Unsupported { protocol: self.protocol, order: order.name() };
        match order {
            Order::Weight if self.active => Ok(Request::answered([])),
            Order::Weight => {
                self.reset();
                self.state = State::Link;
                Ok(Request::answered([ENQ]))
            }
            Order::Tare if self.commands => Ok(Request::unanswered(*b"<TK>\t")),
            Order::Zero if self.commands => Ok(Request::unanswered(*b"<ZK>\t")),
            _ => Err(unsupported),
        }
    }

    fn push(&mut self, byte: u8) -> Option<Result<Step, ScaleError>> {
        match self.state {
            _ if self.active => self.frame(byte),
            State::Idle => Some(Err(ScaleError::Unasked(Evidence::of(&[byte])))),
            State::Link => self.link(byte),
            State::Frame => self.frame(byte),
        }
    }

    fn reset(&mut self) -> Option<Evidence> {
        let dropped = (!self.bytes.is_empty()).then(|| Evidence::of(&self.bytes));
        self.bytes.clear();
        self.state = State::Idle;
        dropped
    }

    fn streams(&self) -> bool {
        self.active
    }
}

/// Reads one frame of 15 bytes, or 16 with Flag2.
///
/// # Errors
/// A named error with the frame: wrong ends, checksum, status, sign, number or unit.
pub fn decode(frame: &[u8], bcc: Bcc, configured: Option<MassUnit>) -> Result<Weight, ScaleError> {
    let [SOH, STX, status, sign, number @ .., u1, u2, found, 0x03, 0x04] =
        frame.get(..FRAME_BYTES).unwrap_or_default()
    else {
        return Err(content("SOH STX … ETX EOT in 15 bytes", frame));
    };
    let inner = xor(frame.get(2..BCC_AT).unwrap_or_default());
    let (content_sum, frame_sum) = (inner, inner ^ SOH ^ STX);
    let expected = if bcc == Bcc::Frame { frame_sum } else { content_sum };
    if *found != expected && !(bcc == Bcc::Either && *found == frame_sum) {
        return Err(ScaleError::Checksum { expected, found: *found, bytes: Evidence::of(frame) });
    }
    let flags = frame.get(FRAME_BYTES).copied();
    let out = flags.is_some_and(|flags| flags & 0x40 != 0);
    let kind = Weight {
        kind_stated: flags.is_some(),
        net: flags.is_some_and(|flags| flags & 0x20 != 0),
        centre_of_zero: flags.is_some_and(|flags| flags & 0x10 != 0),
        ..Weight::default()
    };
    let stable = match status {
        b'F' => return Ok(Weight { over: true, ..kind }),
        b'S' => true,
        b'U' => false,
        _ => return Err(content("status S, U or F", frame)),
    };
    let negative = match sign {
        b' ' => false,
        b'-' => true,
        _ => return Err(content("sign space or minus", frame)),
    };
    let unit = unit(&[*u1, *u2], configured, frame)?;
    if number.iter().any(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b' ')) {
        return Err(content("a number in six characters", frame));
    }
    let mut shown = Mass::parse(number, unit).ok_or_else(|| content("a number in six characters", frame))?;
    if negative {
        shown.count = -shown.count;
    }
    Ok(Weight {
        gross_or_net: Some(shown.grams()),
        shown: Some(shown),
        stable,
        over: out,
        under: negative && shown.count != 0,
        ..kind
    })
}

/// Encodes a frame as the scale sends it: status `S`, `U` or `F`, six characters of number, and Flag2 where given.
/// `None` when the number does not fit.
#[must_use]
pub fn encode(status: u8, shown: Mass, bcc: Bcc, flags: Option<u8>) -> Option<Vec<u8>> {
    let mut frame = [SOH, STX, status, if shown.count < 0 { b'-' } else { b' ' }].to_vec();
    let digits = shown.digits(6);
    if digits.len() != 6 {
        return None;
    }
    frame.extend(digits.bytes());
    frame.extend(alloc::format!("{:>2}", shown.unit.symbol()).bytes());
    let covered = if bcc == Bcc::Frame { frame.as_slice() } else { frame.get(2..).unwrap_or_default() };
    let sum = xor(covered);
    frame.extend([sum, 0x03, 0x04]);
    frame.extend(flags);
    Some(frame)
}

#[cfg(test)]
mod tests;
