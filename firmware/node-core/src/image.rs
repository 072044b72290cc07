//! A firmware image: a header at [`HEADER_AT`] with length and CRC-32 of the whole.
//!
//! Header, little endian: magic, length of the image in bytes, CRC-32, version (major, minor, patch, 0). The CRC covers every
//! byte from 0 to the length, with its own four bytes taken as FFh. Behind the vector table of a Cortex-M3 with all 240
//! interrupts, so that the table stays where the processor looks for it.
//!
//! Who checks: the tool that makes an image, whoever loads one, and the firmware itself at every start, before it drives
//! anything. A CRC finds damage, not malice: authenticity is the update's signature.

use core::fmt;

use crate::crc32::Crc32;

/// Offset of the header.
pub const HEADER_AT: u32 = 0x400;
/// Length of the header.
pub const HEADER_BYTES: u32 = 16;
/// Its first word: "SYFW".
pub const MAGIC: u32 = u32::from_le_bytes(*b"SYFW");

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the image.
    pub bytes: u32,
    /// Its CRC-32.
    pub crc: u32,
    /// Major, minor, patch.
    pub version: [u8; 3],
}

/// What is wrong with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// No header where one must be.
    Magic {
        /// The word there.
        found: u32,
    },
    /// A length that the header forbids or the place does not have.
    Length {
        /// As in the header.
        found: u32,
        /// Bytes that are there.
        there: u32,
    },
    /// The CRC does not hold.
    Crc {
        /// As in the header.
        expected: u32,
        /// Of the bytes.
        found: u32,
    },
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { found } => write!(f, "no image header: found {found:08X}h, expected {MAGIC:08X}h"),
            Self::Length { found, there } => {
                write!(f, "image of {found} bytes by its header, {there} are there")
            }
            Self::Crc { expected, found } => {
                write!(f, "CRC-32 {found:08X}h of the bytes, {expected:08X}h in the header")
            }
        }
    }
}

impl core::error::Error for ImageError {}

/// Checks the image of which `read` gives the byte at an offset below `there`.
///
/// # Errors
/// What was found instead.
pub fn verify(there: u32, read: impl Fn(u32) -> u8) -> Result<Header, ImageError> {
    let end = HEADER_AT + HEADER_BYTES;
    if there < end {
        return Err(ImageError::Length { found: end, there });
    }
    let word = |at: u32| u32::from_le_bytes([read(at), read(at + 1), read(at + 2), read(at + 3)]);
    if word(HEADER_AT) != MAGIC {
        return Err(ImageError::Magic { found: word(HEADER_AT) });
    }
    let (bytes, crc) = (word(HEADER_AT + 4), word(HEADER_AT + 8));
    if !(end..=there).contains(&bytes) {
        return Err(ImageError::Length { found: bytes, there });
    }
    let found = checksum(bytes, &read);
    if found != crc {
        return Err(ImageError::Crc { expected: crc, found });
    }
    Ok(Header { bytes, crc, version: [read(HEADER_AT + 12), read(HEADER_AT + 13), read(HEADER_AT + 14)] })
}

/// The CRC-32 that the header of an image of `bytes` bytes must have.
#[must_use]
pub fn checksum(bytes: u32, read: impl Fn(u32) -> u8) -> u32 {
    let own = HEADER_AT + 8..HEADER_AT + 12;
    let mut crc = Crc32::default();
    (0..bytes).for_each(|at| crc.add(if own.contains(&at) { 0xFF } else { read(at) }));
    crc.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn at(bytes: &[u8], offset: u32) -> u8 {
        bytes[usize::try_from(offset).unwrap()]
    }

    fn check(bytes: &[u8]) -> Result<Header, ImageError> {
        verify(u32::try_from(bytes.len()).unwrap(), |offset| at(bytes, offset))
    }

    fn image() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..2_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        bytes[0x400..0x404].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[0x404..0x408].copy_from_slice(&2_000_u32.to_le_bytes());
        bytes[0x40C..0x410].copy_from_slice(&[1, 2, 3, 0]);
        let crc = checksum(2_000, |offset| at(&bytes, offset));
        bytes[0x408..0x40C].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn a_good_image_passes_and_every_flipped_bit_is_found() {
        let good = image();
        assert_eq!(check(&good).map(|header| (header.bytes, header.version)), Ok((2_000, [1, 2, 3])));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(matches!(check(&good[..length]), Err(ImageError::Length { .. })), "{length} bytes");
        }
        let mut longer = good;
        longer.push(0xFF);
        assert!(check(&longer).is_ok(), "what lies behind the image is not part of it");
    }
}
