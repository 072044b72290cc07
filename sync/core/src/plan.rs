//! What a receiver does with a block, decided from positions and links alone.
//!
//! Contract: [`Plan::Apply`] never leaves a gap and never repeats a position. Whether repeated records are byte-equal to
//! the stored ones (equivocation) is for the store to check: it alone has them.

use crate::{Block, Link};
use sync_model::Seq;

/// The decision for one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Apply the records after the first `skip`, which are known already.
    Apply {
        /// Records to pass over.
        skip: usize,
    },
    /// Every record is known already.
    Duplicate,
    /// Records before the block are missing, both ends included.
    Gap {
        /// First and last missing position.
        missing: (Seq, Seq),
    },
    /// The block starts right after what is known, but continues another history: its writer's log forked.
    ChainBreak,
}

/// Decides. `known` is the last applied position and the link there; `None` when nothing of the log is known.
pub fn plan(known: Option<(Seq, Link)>, block: &Block) -> Plan {
    let (head, link) = known.unwrap_or((Seq::ZERO, Link::genesis(block.log)));
    if block.last() <= head {
        return Plan::Duplicate;
    }
    let next = head.0.saturating_add(1);
    if block.first.0 > next {
        return Plan::Gap { missing: (Seq(next), Seq(block.first.0 - 1)) };
    }
    if block.first.0 == next {
        return if block.prev == link { Plan::Apply { skip: 0 } } else { Plan::ChainBreak };
    }
    let skip = usize::try_from(next - block.first.0).unwrap_or(usize::MAX).min(block.records.len());
    let mut seq = block.first;
    let mut reached = block.prev;
    for record in block.records.iter().take(skip) {
        reached = reached.next(block.log, seq, record);
        seq = Seq(seq.0.saturating_add(1));
    }
    if reached == link { Plan::Apply { skip } } else { Plan::ChainBreak }
}
