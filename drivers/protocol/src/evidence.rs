//! A bounded copy of offending bytes, carried by every decoding error.
//!
//! Errors travel through logs and queues; a device that talks nonsense for ever must not make them grow.

use core::fmt;

/// How many offending bytes an error keeps.
pub const EVIDENCE_BYTES_MAX: usize = 24;

/// The first bytes of what was refused, and how many there were.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    bytes: [u8; EVIDENCE_BYTES_MAX],
    kept: usize,
    total: usize,
}

impl Evidence {
    /// Keeps the first [`EVIDENCE_BYTES_MAX`] of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut evidence = Self { total: bytes.len(), ..Self::default() };
        for (slot, byte) in evidence.bytes.iter_mut().zip(bytes) {
            *slot = *byte;
            evidence.kept += 1;
        }
        evidence
    }

    /// The bytes kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.kept).unwrap_or(&[])
    }

    /// How many bytes were refused, kept or not.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total == 0 {
            return f.write_str("no bytes");
        }
        for (index, byte) in self.bytes().iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{byte:02X}")?;
        }
        if self.total > self.kept {
            write!(f, " … ({} bytes)", self.total)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn evidence_is_bounded_and_says_how_much_there_was() {
        assert_eq!(Evidence::of(&[0x02, 0x3F]).to_string(), "02 3F");
        let long = Evidence::of(&[0xAA; 300]);
        assert_eq!(long.bytes().len(), EVIDENCE_BYTES_MAX);
        assert!(long.to_string().ends_with("… (300 bytes)"));
        assert_eq!(Evidence::of(&[]).to_string(), "no bytes");
    }
}
