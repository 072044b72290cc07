//! Byte form of states that survive a restart.
//!
//! Layout: version (1 byte), postcard body, CRC-32 (IEEE 802.3, reflected, little-endian) over everything before it.
//! A state is a working value of one store, not a record: a body of another version is not migrated but given up for the
//! safe fresh state, which every state documents.

use alloc::vec::Vec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest state in bytes.
pub const STATE_BYTES_MAX: usize = 4096;

/// Where a state came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Nothing was saved before: the first start of this device.
    Fresh,
    /// The saved state.
    Intact,
    /// The saved bytes cannot be used; the safe fresh state stands in. Worth an audit fact and a log line.
    Damaged(Damage),
}

/// Why saved bytes cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Too short or too long to be a state.
    #[error("saved state has {0} bytes, expected 6 to {STATE_BYTES_MAX}")]
    Length(usize),
    /// Written by another layout.
    #[error("saved state has version {found}, expected {expected}")]
    Version {
        /// The version byte.
        found: u8,
        /// This build's version.
        expected: u8,
    },
    /// Bytes changed since they were written.
    #[error("saved state fails its checksum")]
    Checksum,
    /// The body does not decode, or breaks an invariant of its state.
    #[error("saved state does not decode")]
    Body,
}

/// Bitwise CRC-32: states are small and rarely written, a table would be larger than the gain.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Encodes a state. States hold bounded fields only, so they fit; the tests of each state prove it at its bounds.
pub(crate) fn seal<T: Serialize>(version: u8, state: &T) -> Vec<u8> {
    let mut bytes = alloc::vec![version];
    bytes.extend(
        postcard::to_allocvec(state).expect("encoding to memory of a type with known lengths cannot fail"),
    );
    let crc = crc32(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Decodes a state.
pub(crate) fn open<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, Damage> {
    if bytes.len() < 6 || bytes.len() > STATE_BYTES_MAX {
        return Err(Damage::Length(bytes.len()));
    }
    let (sealed, crc) = bytes.split_at(bytes.len() - 4);
    if crc32(sealed).to_le_bytes() != crc {
        return Err(Damage::Checksum);
    }
    let (found, body) = sealed.split_first().ok_or(Damage::Length(bytes.len()))?;
    if *found != version {
        return Err(Damage::Version { found: *found, expected: version });
    }
    match postcard::take_from_bytes(body) {
        Ok((state, [])) => Ok(state),
        _ => Err(Damage::Body),
    }
}

/// The saved state of a device; the default state when nothing was saved or the bytes are damaged.
pub(crate) fn reopen<T: DeserializeOwned + Default>(version: u8, bytes: Option<&[u8]>) -> (T, Restored) {
    match bytes.map(|bytes| open(version, bytes)) {
        None => (T::default(), Restored::Fresh),
        Some(Ok(state)) => (state, Restored::Intact),
        Some(Err(damage)) => (T::default(), Restored::Damaged(damage)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_published_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn every_single_bit_of_damage_is_noticed() {
        let bytes = seal(1, &(7_u32, true, Some(-5_i64)));
        assert_eq!(open::<(u32, bool, Option<i64>)>(1, &bytes), Ok((7, true, Some(-5))));
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(open::<(u32, bool, Option<i64>)>(1, &damaged).is_err(), "bit {at}");
        }
    }

    #[test]
    fn lengths_versions_and_trailing_bytes_are_named() {
        assert_eq!(open::<u8>(1, &[]), Err(Damage::Length(0)));
        assert_eq!(open::<u8>(1, &[0; STATE_BYTES_MAX + 1]), Err(Damage::Length(STATE_BYTES_MAX + 1)));
        assert_eq!(open::<u8>(2, &seal(1, &9_u8)), Err(Damage::Version { found: 1, expected: 2 }));
        assert_eq!(open::<u8>(1, &seal(1, &(9_u8, 9_u8))), Err(Damage::Body));
    }
}
