//! When a writer signs what it sends. The signature itself is the driver's: it has the key.
//!
//! A seal costs 64 bytes and vouches for the whole log up to its position, so not every live batch needs one: a block of a
//! backlog is sealed always, a live one when the last seal is [`SEAL_MS`] old. What is not yet sealed is at most that old
//! while anything is written; a cabinet's minute is.

use crate::{Block, Link};
use alloc::sync::Arc;
use core::fmt::Debug;
use sync_model::{LogId, Seq};

/// Longest time between two seals of a log that grows.
pub const SEAL_MS: u64 = 300_000;
/// Records of a block that counts as live.
const LIVE_RECORDS_MAX: usize = 64;

/// Signs points of the own logs' chains.
pub trait Sealer: Debug + Send + Sync {
    /// The signature of the seal of this point; `None` when there is no key now.
    fn seal(&self, log: LogId, upto: Seq, link: Link) -> Option<[u8; 64]>;
}

/// Decides which blocks are sealed.
#[derive(Clone, Debug, Default)]
pub(super) struct Seals {
    sealer: Option<Arc<dyn Sealer>>,
    last: Option<(LogId, u64)>,
}

impl Seals {
    pub(super) fn set(&mut self, sealer: Option<Arc<dyn Sealer>>) {
        self.sealer = sealer;
    }

    /// The seal that a block takes along; `more`: the log goes on behind it.
    pub(super) fn of(&mut self, now: u64, block: &Block, more: bool) -> Option<[u8; 64]> {
        let sealer = self.sealer.as_ref()?;
        let recent = self.last.is_some_and(|(log, at)| log == block.log && now.saturating_sub(at) < SEAL_MS);
        if recent && !more && block.records.len() <= LIVE_RECORDS_MAX {
            return None;
        }
        let seal = sealer.seal(block.log, block.last(), block.link())?;
        self.last = Some((block.log, now));
        Some(seal)
    }
}
