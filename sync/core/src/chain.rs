//! Hash chain and blocks of consecutive records.
//!
//! Layout, byte by byte (all integers big-endian, BLAKE3 in derive-key mode, 32-byte output):
//!
//! ```text
//! name(log)  = store u32 | direction u8 (0 up, 1 down) | epoch u32                       9 bytes
//! link(0)    = derive_key("steelyard 2026 event chain genesis 1", name(log))
//! link(n)    = derive_key("steelyard 2026 event chain link 1", link(n-1) | name(log) | n u64 | record(n))
//! ```
//!
//! `record(n)` comes last and everything before it has a fixed length, so the input needs no length field.

use alloc::vec::Vec;
use blake3::hazmat::HasherExt;
use core::fmt;
use sync_model::{LogId, RECORD_BYTES_MAX, Seq};

/// Most bytes of records in one block.
pub const BLOCK_BYTES_MAX: usize = 48 * 1024;
/// Most records in one block.
pub const BLOCK_RECORDS_MAX: usize = 512;

const GENESIS: &str = "steelyard 2026 event chain genesis 1";
#[cfg(test)]
const NEXT: &str = "steelyard 2026 event chain link 1";
/// The context "steelyard 2026 event chain link 1" hashed: the same for every link, so not worth hashing again.
const NEXT_KEY: [u8; 32] = [
    0x2e, 0x0b, 0x20, 0x52, 0x75, 0xfa, 0xe9, 0x4e, 0xf2, 0xd2, 0x6d, 0x62, 0x36, 0x67, 0x9a, 0x3e, 0x28,
    0x5e, 0x11, 0x5b, 0x5c, 0xba, 0x02, 0x88, 0x10, 0xb3, 0xe2, 0xb4, 0x72, 0x8a, 0x01, 0x79,
];

/// A point of a log's chain: commits to every record up to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub [u8; 32]);

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Link {
    /// The first eight bytes in hex: enough to compare by eye.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.iter().take(8) {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

fn name(log: LogId) -> [u8; 9] {
    let mut bytes = [0; 9];
    let (store, rest) = bytes.split_at_mut(4);
    store.copy_from_slice(&log.store.0.to_be_bytes());
    let (direction, epoch) = rest.split_at_mut(1);
    direction.fill(log.direction.code());
    epoch.copy_from_slice(&log.epoch.0.to_be_bytes());
    bytes
}

impl Link {
    /// The link before the first record.
    pub fn genesis(log: LogId) -> Self {
        Self(blake3::derive_key(GENESIS, &name(log)))
    }

    /// The link after `record` at `seq`.
    #[must_use]
    pub fn next(self, log: LogId, seq: Seq, record: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_from_context_key(&NEXT_KEY);
        hasher.update(&self.0);
        hasher.update(&name(log));
        hasher.update(&seq.0.to_be_bytes());
        hasher.update(record);
        Self(*hasher.finalize().as_bytes())
    }
}

/// Consecutive records of one log, starting at `first`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The log.
    pub log: LogId,
    /// Position of the first record, at least 1.
    pub first: Seq,
    /// Link before the first record.
    pub prev: Link,
    /// The records, at least one.
    pub records: Vec<Vec<u8>>,
}

/// Why a block is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// No records.
    #[error("block without records")]
    Empty,
    /// Position 0, or positions past the end of the number range.
    #[error("block at position {0} is outside the range of positions")]
    Position(u64),
    /// More records than [`BLOCK_RECORDS_MAX`].
    #[error("block has {0} records, at most {BLOCK_RECORDS_MAX} are allowed")]
    Records(usize),
    /// More bytes than [`BLOCK_BYTES_MAX`].
    #[error("block has {0} bytes of records, at most {BLOCK_BYTES_MAX} are allowed")]
    Bytes(usize),
    /// One record longer than [`RECORD_BYTES_MAX`].
    #[error("record has {0} bytes, at most {RECORD_BYTES_MAX} are allowed")]
    Record(usize),
}

impl Block {
    /// Position of the last record; the one before `first` when the block is empty.
    pub fn last(&self) -> Seq {
        let count = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        Seq(self.first.0.saturating_sub(1).saturating_add(count))
    }

    /// Link at [`Block::last`].
    pub fn link(&self) -> Link {
        let mut link = self.prev;
        let mut seq = self.first;
        for record in &self.records {
            link = link.next(self.log, seq, record);
            seq = Seq(seq.0.saturating_add(1));
        }
        link
    }

    /// Checks the bounds that every block keeps.
    pub fn check(&self) -> Result<(), BlockError> {
        if self.records.is_empty() {
            return Err(BlockError::Empty);
        }
        if self.records.len() > BLOCK_RECORDS_MAX {
            return Err(BlockError::Records(self.records.len()));
        }
        let count = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        if self.first.0 == 0 || self.first.0.checked_add(count).is_none() {
            return Err(BlockError::Position(self.first.0));
        }
        if let Some(record) = self.records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
            return Err(BlockError::Record(record.len()));
        }
        let bytes = self.records.iter().fold(0_usize, |sum, record| sum.saturating_add(record.len()));
        if bytes > BLOCK_BYTES_MAX {
            return Err(BlockError::Bytes(bytes));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_key_is_that_of_the_context() {
        assert_eq!(blake3::hazmat::hash_derive_key_context(NEXT), NEXT_KEY);
    }
}
