//! Advertising payload cut into its structures (Bluetooth Core Specification, Vol 3 Part C 11; assigned numbers 2.3).
//!
//! Contract: every structure is a slice of the input; a structure that reaches beyond the end is one error and the end of
//! the walk. A length of zero ends the payload early, as the specification has it.

use core::fmt;

use crate::evidence::Evidence;

/// Bytes of the longest payload: an extended advertisement.
pub const PAYLOAD_BYTES_MAX: usize = 1650;

const NAME_SHORT: u8 = 0x08;
const NAME_COMPLETE: u8 = 0x09;
const SERVICE_DATA_16: u8 = 0x16;
const MANUFACTURER: u8 = 0xFF;

/// A Bluetooth device address, most significant byte first, as it is printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 6]);

impl Address {
    /// Reads `AA:BB:CC:DD:EE:FF`, either case; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut words = text.split(':');
        for byte in &mut bytes {
            let word =
                words.next().filter(|word| word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit()))?;
            *byte = u8::from_str_radix(word, 16).ok()?;
        }
        words.next().is_none().then_some(Self(bytes))
    }

    /// The address whose bytes stand least significant first.
    #[must_use]
    pub const fn reversed([f, e, d, c, b, a]: [u8; 6]) -> Self {
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One part of an advertisement that a decoder looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Manufacturer specific data.
    Manufacturer {
        /// Company identifier.
        company: u16,
        /// What follows it.
        bytes: &'a [u8],
    },
    /// Service data under a 16-bit UUID.
    Service {
        /// The UUID.
        uuid: u16,
        /// What follows it.
        bytes: &'a [u8],
    },
    /// Shortened or complete local name.
    Name(&'a [u8]),
    /// A structure that no decoder here looks at.
    Other {
        /// Its type.
        kind: u8,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

/// Why a payload cannot be cut any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdError {
    /// Longer than any advertisement.
    #[error("payload of {0} bytes, expected at most {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
    /// A structure reaches beyond the end of the payload.
    #[error("structure reaches beyond the payload: {0}")]
    Truncated(Evidence),
    /// Manufacturer or service data without room for its number.
    #[error("structure too short for its number: {0}")]
    Short(Evidence),
}

/// The structures of a payload in their order; ends after the first error.
pub fn structures(payload: &[u8]) -> Structures<'_> {
    Structures { rest: payload }
}

/// See [`structures`].
#[derive(Clone, Debug)]
pub struct Structures<'a> {
    rest: &'a [u8],
}

impl<'a> Structures<'a> {
    fn fail(&mut self, error: AdError) -> Option<Result<Part<'a>, AdError>> {
        self.rest = &[];
        Some(Err(error))
    }
}

impl<'a> Iterator for Structures<'a> {
    type Item = Result<Part<'a>, AdError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() > PAYLOAD_BYTES_MAX {
            return self.fail(AdError::TooLong(self.rest.len()));
        }
        let (length, rest) = self.rest.split_first().filter(|(length, _)| **length > 0)?;
        let Some((structure, after)) = rest.split_at_checked(usize::from(*length)) else {
            return self.fail(AdError::Truncated(Evidence::of(self.rest)));
        };
        let (kind, bytes) = structure.split_first()?;
        self.rest = after;
        match (*kind, bytes) {
            (MANUFACTURER, [low, high, bytes @ ..]) => {
                Some(Ok(Part::Manufacturer { company: u16::from_le_bytes([*low, *high]), bytes }))
            }
            (SERVICE_DATA_16, [low, high, bytes @ ..]) => {
                Some(Ok(Part::Service { uuid: u16::from_le_bytes([*low, *high]), bytes }))
            }
            (MANUFACTURER | SERVICE_DATA_16, _) => self.fail(AdError::Short(Evidence::of(structure))),
            (NAME_SHORT | NAME_COMPLETE, bytes) => Some(Ok(Part::Name(bytes))),
            (kind, bytes) => Some(Ok(Part::Other { kind, bytes })),
        }
    }
}
