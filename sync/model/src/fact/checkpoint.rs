//! Checkpoints: what the records up to stated ends add up to, so that the records may be forgotten.

use crate::{Direction, Epoch, Seq};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Most ends in one checkpoint: what fits into a record with room to spare.
pub const CHECKPOINT_ENDS_MAX: usize = 256;

/// The store's records up to `ends`, both directions, fold to rows with these digests. Written before any of them is
/// forgotten; whoever has the records can fold them and compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpointed {
    /// Ends of the store's logs, ascending by (direction, epoch); logs that are not named count as empty.
    pub ends: Vec<CheckpointEnd>,
    /// Digest of the stock and money balances.
    pub balances: [u8; 32],
    /// Digest of every fold row, tickets included.
    pub folds: [u8; 32],
    /// Fold rows.
    pub rows: u64,
}

/// How far one log is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointEnd {
    /// Up or down.
    pub direction: Direction,
    /// Epoch.
    pub epoch: Epoch,
    /// Last position that is folded.
    pub upto: Seq,
    /// Chain link there.
    pub link: [u8; 32],
}
