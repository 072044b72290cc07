//! A bounded collector of frames that end with one byte, and small things that several protocols share.

use alloc::vec::Vec;

use crate::evidence::Evidence;
use crate::scale::{MassUnit, ScaleError};

/// Collects bytes up to and with `end`.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    end: u8,
    max: usize,
    mask: u8,
}

impl Lines {
    /// Frames of at most `max` bytes that end with `end`; `seven` strips bit 7 of every byte.
    pub(super) const fn new(end: u8, max: usize, seven: bool) -> Self {
        Self { bytes: Vec::new(), end, max, mask: if seven { 0x7F } else { 0xFF } }
    }

    /// Takes one byte; answers a complete frame, its end included.
    pub(super) fn push(&mut self, byte: u8) -> Option<Result<Vec<u8>, ScaleError>> {
        let byte = byte & self.mask;
        self.bytes.push(byte);
        if byte == self.end {
            return Some(Ok(core::mem::take(&mut self.bytes)));
        }
        if self.bytes.len() >= self.max {
            let evidence = Evidence::of(&self.bytes);
            self.bytes.clear();
            return Some(Err(ScaleError::Endless(evidence)));
        }
        None
    }

    /// Drops a partial frame; answers what was dropped.
    pub(super) fn reset(&mut self) -> Option<Evidence> {
        let dropped = (!self.bytes.is_empty()).then(|| Evidence::of(&self.bytes));
        self.bytes.clear();
        dropped
    }

    /// Nothing is collected.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The byte without what the line adds to it.
    pub(super) const fn strip(&self, byte: u8) -> u8 {
        byte & self.mask
    }
}

/// The exclusive or of all bytes.
pub(super) fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// An error for content that is not what it has to be.
pub(super) fn content(expected: &'static str, frame: &[u8]) -> ScaleError {
    ScaleError::Content { expected, bytes: Evidence::of(frame) }
}

/// Reads a unit and compares it with the configured one; `text` may be padded with spaces.
pub(super) fn unit(text: &[u8], configured: Option<MassUnit>, frame: &[u8]) -> Result<MassUnit, ScaleError> {
    let found = MassUnit::parse(text.trim_ascii()).ok_or_else(|| ScaleError::Unit(Evidence::of(frame)))?;
    match configured {
        Some(expected) if expected != found => {
            Err(ScaleError::OtherUnit { expected, found, bytes: Evidence::of(frame) })
        }
        _ => Ok(found),
    }
}

/// Reads digits only; at most nine.
pub(super) fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 9 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}
