//! Statements of business days: the store signs, HQ answers, HQ's day root holds every answered statement.
//!
//! Bytes that are signed and hashed are those of `sync/WIRE.md`, section 6; these bodies carry them from side to side.

use crate::{BusinessDay, Epoch, Seq, Text};
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// An Ed25519 signature (RFC 8032): the point R, then the scalar S.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureBytes {
    /// First half.
    pub r: [u8; 32],
    /// Second half.
    pub s: [u8; 32],
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.r.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<[u8; 64]> for SignatureBytes {
    fn from(bytes: [u8; 64]) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.iter_mut().chain(&mut s).zip(bytes).for_each(|(to, from)| *to = from);
        Self { r, s }
    }
}

impl From<SignatureBytes> for [u8; 64] {
    fn from(signature: SignatureBytes) -> Self {
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(signature.r.into_iter().chain(signature.s)).for_each(|(to, from)| *to = from);
        bytes
    }
}

/// How far one of the store's up logs was taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedEnd {
    /// Epoch of the log.
    pub epoch: Epoch,
    /// Last position taken into account.
    pub upto: Seq,
    /// Chain link there.
    pub link: [u8; 32],
}

/// The store signed its statement of a business day. The newest one of a day is the one that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementSigned {
    /// The day.
    pub day: BusinessDay,
    /// Ends of the store's logs, by epoch.
    pub ends: Vec<StatedEnd>,
    /// SHA-256 of the statement.
    pub digest: [u8; 32],
    /// The store's signature.
    pub signature: SignatureBytes,
}

/// A piece of a statement that HQ does not agree with, so that HQ can name the rows. At most 12,288 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementPart {
    /// The day.
    pub day: BusinessDay,
    /// SHA-256 of the whole statement.
    pub digest: [u8; 32],
    /// Which piece, from 0.
    pub part: u16,
    /// How many pieces there are.
    pub of: u16,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// HQ made the same statement of its own events, or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementAnswered {
    /// The day.
    pub day: BusinessDay,
    /// SHA-256 of the statement that is answered.
    pub digest: [u8; 32],
    /// What HQ says.
    pub answer: StatementAnswer,
}

/// What HQ says to a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatementAnswer {
    /// The same bytes: HQ's signature over them and the store's signature.
    Countersigned(SignatureBytes),
    /// Not the same.
    Disputed {
        /// SHA-256 of HQ's statement; zeros when HQ can make none.
        digest: [u8; 32],
        /// Stable word: `rows`, `signature`, `ends` or `no-key`.
        reason: Text<24>,
        /// Rows that differ, the store's side first; none until HQ has the store's bytes.
        rows: Vec<Text<120>>,
    },
}

/// HQ's signed root over the statements of a day. Number 1, 2, 3, … in the order of issue; each names the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayRooted {
    /// Place in the chain of roots.
    pub number: u64,
    /// The day.
    pub day: BusinessDay,
    /// Statements in the tree.
    pub size: u32,
    /// Root of the tree.
    pub root: [u8; 32],
    /// SHA-256 of the root file before; zeros for the first.
    pub prev: [u8; 32],
    /// HQ's signature.
    pub signature: SignatureBytes,
    /// Where this store's statement is in the tree; `None` in HQ's own log.
    pub place: Option<RootPlace>,
}

/// A statement's place in a day's tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPlace {
    /// SHA-256 of the statement.
    pub digest: [u8; 32],
    /// Position of its leaf.
    pub index: u32,
    /// Audit path, from the leaf up.
    pub path: Vec<[u8; 32]>,
}
