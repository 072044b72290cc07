//! Mettler-Toledo 8217 / 8213, the "single-cable" counter scale protocol (serial, 7 data bits, even parity).
//!
//! The host sends one upper-case byte, the scale answers `STX … CR`. A weight is text, a refusal is `STX ? status CR`.
//! Contract: [`Decoder`] holds at most [`FRAME_BYTES_MAX`] bytes, resynchronises on the next `STX`, and turns
//! everything it cannot read into a [`FrameError`]. It strips bit 7 (a pseudo-terminal and an 8-bit port hand the
//! parity bit through) and verifies it only where told to.
//!
//! Trap: bit 6 of the status byte is constant 1, and "centre of zero" is not an error; both are masked before any
//! decision. A confidence-test reply has the shape of a status, so the decoder is told which command was sent.

use alloc::vec::Vec;

use crate::evidence::Evidence;
use crate::scale::{Mass, MassUnit, Weight};
use crate::unit::Grams;

/// The longest frame kept, `STX` and `CR` included; the longest legal one has 9 bytes.
pub const FRAME_BYTES_MAX: usize = 32;
/// The shortest pause between two commands.
pub const COMMAND_GAP_MS: u64 = 200;

const STX: u8 = 0x02;
const CR: u8 = 0x0D;
const STATUS_FIXED: u8 = 0x40;
const STATUS_MASK: u8 = 0x3F;

/// A command of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `W`: the weight.
    Weight,
    /// `Z`: set zero.
    Zero,
    /// `T`: take the platform's load as tare.
    Tare,
    /// `Tnnnnn CR`: a keyed tare of five digits in the scale's own steps; larger numbers are refused.
    KeyedTare(u32),
    /// `C`: clear the tare.
    ClearTare,
    /// `H`: the weight with one more digit.
    HighResolution,
    /// `A`: start the confidence test.
    StartConfidence,
    /// `B`: read the confidence test.
    ReadConfidence,
    /// `E`: echo on, used to recognise the device.
    EchoOn,
    /// `F`: echo off.
    EchoOff,
}

impl Command {
    /// The command's bytes without parity; `None` for a keyed tare of more than five digits.
    #[must_use]
    pub fn encode(self) -> Option<Vec<u8>> {
        let byte = match self {
            Self::Weight => b'W',
            Self::Zero => b'Z',
            Self::Tare => b'T',
            Self::ClearTare => b'C',
            Self::HighResolution => b'H',
            Self::StartConfidence => b'A',
            Self::ReadConfidence => b'B',
            Self::EchoOn => b'E',
            Self::EchoOff => b'F',
            Self::KeyedTare(value) => return keyed_tare(value),
        };
        Some([byte].to_vec())
    }
}

fn keyed_tare(value: u32) -> Option<Vec<u8>> {
    if value > 99_999 {
        return None;
    }
    let text = alloc::format!("T{value:05}\r");
    Some(text.into_bytes())
}

/// What to do with bit 7 of every received byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Parity {
    /// Strip it. Right when the port checks parity itself, and on a pseudo-terminal.
    #[default]
    Strip,
    /// Strip it and refuse a frame in which a byte has odd parity. Right when an 8-bit port hands parity through.
    VerifyEven,
}

/// What a decoder needs to know about its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DecoderConfig {
    /// The unit of the weight text, which cannot be told from the text alone: kilograms (`WW.WWW`) or pounds (`0WW.WW`).
    /// Every other unit is refused as [`FrameError::Decimals`].
    pub unit: MassUnit,
    /// The treatment of bit 7.
    pub parity: Parity,
}

/// The status byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// b0: the platform is in motion.
    pub motion: bool,
    /// b1: over capacity.
    pub over: bool,
    /// b2: under zero.
    pub under: bool,
    /// b3: outside the zero-capture range.
    pub outside_zero: bool,
    /// b4: centre of zero; not an error.
    pub centre_of_zero: bool,
    /// b5: a tare is in force.
    pub net: bool,
}

impl Status {
    /// Reads bits 0 to 5; bit 6 (constant) and bit 7 (parity) are masked.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self {
            motion: bits & 0x01 != 0,
            over: bits & 0x02 != 0,
            under: bits & 0x04 != 0,
            outside_zero: bits & 0x08 != 0,
            centre_of_zero: bits & 0x10 != 0,
            net: bits & 0x20 != 0,
        }
    }

    /// The status byte as sent, bit 6 set, without parity.
    #[must_use]
    pub const fn bits(self) -> u8 {
        let mut bits = STATUS_FIXED;
        if self.motion {
            bits |= 0x01;
        }
        if self.over {
            bits |= 0x02;
        }
        if self.under {
            bits |= 0x04;
        }
        if self.outside_zero {
            bits |= 0x08;
        }
        if self.centre_of_zero {
            bits |= 0x10;
        }
        if self.net {
            bits |= 0x20;
        }
        bits
    }
}

/// A reply of the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A stable weight.
    Weight {
        /// The weight as shown.
        shown: Mass,
        /// A tare is subtracted.
        net: bool,
    },
    /// The status instead of a weight, or after a zero or tare command.
    Status(Status),
    /// The confidence test was started, or its result is not there yet.
    ConfidencePending,
    /// The confidence result; `0x40` is "all passed", `0x00` "already read".
    Confidence(u8),
    /// Echo is on: bytes outside a frame are echoes, not noise.
    EchoOn,
    /// Echo is off.
    EchoOff,
    /// One echoed byte.
    Echo(u8),
}

impl Reply {
    /// The common reading; `None` for a reply that says nothing about the load.
    #[must_use]
    pub fn weight(&self) -> Option<Weight> {
        match *self {
            Self::Weight { shown, net } => {
                Some(Weight { shown: Some(shown), ..Weight::stable(shown.grams(), net) })
            }
            Self::Status(status) => Some(Weight {
                gross_or_net: None,
                net: status.net,
                stable: !status.motion,
                over: status.over,
                under: status.under,
                outside_zero: status.outside_zero,
                centre_of_zero: status.centre_of_zero,
                ..Weight::stable(Grams(0), status.net)
            }),
            _ => None,
        }
    }
}

/// Why bytes of the scale were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Bytes arrived outside any frame.
    #[error("expected STX, found bytes outside a frame: {0}")]
    Noise(Evidence),
    /// A frame did not end within its bound.
    #[error("frame longer than {FRAME_BYTES_MAX} bytes: {0}")]
    Endless(Evidence),
    /// A new frame began before the last one ended.
    #[error("frame cut short by a new STX: {0}")]
    Truncated(Evidence),
    /// A byte had odd parity.
    #[error("byte with wrong parity in frame: {0}")]
    Parity(Evidence),
    /// The frame's content is neither weight, status, confidence nor echo.
    #[error("unreadable frame content: {0}")]
    Content(Evidence),
    /// The weight has another number of decimals than the scale's unit has.
    #[error("weight with {found} decimals, expected {expected} or one more: {bytes}")]
    Decimals {
        /// Decimals of the unit.
        expected: u8,
        /// Decimals found.
        found: u8,
        /// The frame.
        bytes: Evidence,
    },
    /// The status byte's bit 6, which is constant 1, was 0.
    #[error("status byte {status:#04x} without its constant bit 6: {bytes}")]
    StatusBit {
        /// The status byte found.
        status: u8,
        /// The frame.
        bytes: Evidence,
    },
}

/// Turns the scale's bytes into replies.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    config: DecoderConfig,
    frame: Vec<u8>,
    last: Vec<u8>,
    in_frame: bool,
    bad_parity: bool,
    echo: bool,
    confidence: bool,
}

impl Decoder {
    /// A decoder at rest.
    #[must_use]
    pub fn new(config: DecoderConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Says which command was sent last, and drops what an earlier one left unfinished.
    pub fn expect(&mut self, command: Command) {
        self.reset();
        self.confidence = matches!(command, Command::StartConfidence | Command::ReadConfidence);
    }

    /// Drops a partial frame, as after a timeout; answers what was dropped.
    pub fn reset(&mut self) -> Option<Evidence> {
        let dropped = (!self.frame.is_empty()).then(|| Evidence::of(&self.frame));
        self.frame.clear();
        self.in_frame = false;
        self.bad_parity = false;
        dropped
    }

    /// Takes one byte.
    pub fn push(&mut self, raw: u8) -> Option<Result<Reply, FrameError>> {
        let byte = raw & 0x7F;
        if byte == STX {
            let truncated = self.cut();
            self.frame.push(byte);
            self.in_frame = true;
            self.note_parity(raw);
            return truncated.map(Err);
        }
        if !self.in_frame {
            return self.outside(byte);
        }
        self.note_parity(raw);
        self.frame.push(byte);
        if byte == CR {
            return Some(self.finish());
        }
        if self.frame.len() >= FRAME_BYTES_MAX {
            let evidence = Evidence::of(&self.frame);
            self.reset();
            return Some(Err(FrameError::Endless(evidence)));
        }
        None
    }

    /// The last complete frame, `STX` to `CR`, parity stripped.
    #[must_use]
    pub fn last_frame(&self) -> &[u8] {
        &self.last
    }

    /// Takes any number of bytes; answers every reply and error they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Result<Reply, FrameError>> {
        bytes.iter().filter_map(|byte| self.push(*byte)).collect()
    }

    fn note_parity(&mut self, raw: u8) {
        let odd = raw.count_ones() % 2 == 1;
        self.bad_parity |= odd && self.config.parity == Parity::VerifyEven;
    }

    /// A new frame begins: what was collected so far is an error of its own.
    fn cut(&mut self) -> Option<FrameError> {
        let inside = self.in_frame;
        let evidence = self.reset()?;
        Some(if inside { FrameError::Truncated(evidence) } else { FrameError::Noise(evidence) })
    }

    fn outside(&mut self, byte: u8) -> Option<Result<Reply, FrameError>> {
        if self.echo {
            return Some(Ok(Reply::Echo(byte)));
        }
        self.frame.push(byte);
        if byte != CR && self.frame.len() < FRAME_BYTES_MAX {
            return None;
        }
        let evidence = Evidence::of(&self.frame);
        self.reset();
        Some(Err(FrameError::Noise(evidence)))
    }

    fn finish(&mut self) -> Result<Reply, FrameError> {
        let frame = core::mem::take(&mut self.frame);
        self.last.clone_from(&frame);
        let bad_parity = self.bad_parity;
        self.reset();
        let evidence = Evidence::of(&frame);
        if bad_parity {
            return Err(FrameError::Parity(evidence));
        }
        let content = frame.get(1..frame.len().saturating_sub(1)).unwrap_or(&[]);
        match content {
            [] => Ok(Reply::ConfidencePending),
            [b'?'] if self.confidence => Ok(Reply::ConfidencePending),
            [b'?', result] if self.confidence => Ok(Reply::Confidence(*result)),
            [b'?', status] if status & STATUS_FIXED == 0 => {
                Err(FrameError::StatusBit { status: *status, bytes: evidence })
            }
            [b'?', status] => Ok(Reply::Status(Status::from_bits(status & STATUS_MASK))),
            [b'E'] => {
                self.echo = true;
                Ok(Reply::EchoOn)
            }
            [b'F'] => {
                self.echo = false;
                Ok(Reply::EchoOff)
            }
            [text @ .., b'N'] => weight(text, true, self.config.unit, evidence),
            text => weight(text, false, self.config.unit, evidence),
        }
    }
}

/// Reads weight text: digits, one point, the unit's decimals (or one more: high resolution). Leading spaces allowed.
fn weight(text: &[u8], net: bool, unit: MassUnit, bytes: Evidence) -> Result<Reply, FrameError> {
    let content = || FrameError::Content(bytes);
    let text = text.trim_ascii_start();
    if text.iter().any(|byte| !byte.is_ascii_digit() && *byte != b'.') || !text.contains(&b'.') {
        return Err(content());
    }
    let shown = Mass::parse(text, unit).ok_or_else(content)?;
    let expected: u8 = match unit {
        MassUnit::Kilogram => 3,
        MassUnit::Pound => 2,
        MassUnit::Gram | MassUnit::Ounce => 0,
    };
    let found = shown.decimals;
    if expected == 0 || (found != expected && found != expected + 1) {
        return Err(FrameError::Decimals { expected, found, bytes });
    }
    Ok(Reply::Weight { shown, net })
}

/// Encodes a stable weight in kilograms as the scale sends it; `None` when it does not fit `WW.WWW`.
#[must_use]
pub fn encode_weight(grams: Grams, net: bool) -> Option<Vec<u8>> {
    if !(0..=99_999).contains(&grams.0) {
        return None;
    }
    let suffix = if net { "N" } else { "" };
    let text = alloc::format!("\x02{:02}.{:03}{suffix}\r", grams.0 / 1000, grams.0 % 1000);
    Some(text.into_bytes())
}

/// Encodes a status reply without parity.
#[must_use]
pub fn encode_status(status: Status) -> Vec<u8> {
    [STX, b'?', status.bits(), CR].to_vec()
}

/// Sets bit 7 of each byte so that its parity is even, as an 8-bit port sees a 7E1 line.
#[must_use]
pub fn with_even_parity(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .map(|byte| {
            let byte = byte & 0x7F;
            if byte.count_ones() % 2 == 1 { byte | 0x80 } else { byte }
        })
        .collect()
}

#[cfg(test)]
mod tests;
