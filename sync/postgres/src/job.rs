//! What the worker can be asked for.

use crate::mail::Letter;
use std::sync::Arc;
use sync_core::replica::{Incoming, Prev};
use sync_core::{Ack, Block, Link};
use sync_model::{
    DeviceEntry, DeviceId, Direction, Epoch, Event, EventId, LogId, Milli, RegisterValue, Seq, Sku, Stamp,
    StoreId, Text, UnixMillis,
};
use sync_store::{Ingested, LedgerError, Refusal};

/// Called once, on the worker's thread: after the commit of the transaction that holds the job, or with the error.
pub type Reply<T> = Box<dyn FnOnce(Result<T, LedgerError>) + Send>;

/// Judges the end that a received block leads to, before anything of it is committed.
pub type Check = Arc<dyn Fn(LogId, Seq, Link) -> Result<(), Refusal> + Send + Sync>;

/// Bytes that could not be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where they came from: a topic, a log.
    pub source: String,
    /// Stable word.
    pub code: String,
    /// For a reader.
    pub detail: String,
    /// The bytes; at most 64 KiB of them are kept.
    pub raw: Vec<u8>,
    /// When they came.
    pub received: UnixMillis,
}

/// What people order for a store.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Events into HQ's log for it, all or none.
    Append {
        /// The store.
        store: StoreId,
        /// The events.
        events: Vec<Event>,
    },
    /// Rights from the pool to its newest epoch.
    Grant {
        /// Now.
        stamp: Stamp,
        /// The store.
        store: StoreId,
        /// The article.
        sku: Sku,
        /// How much.
        quantity: Milli,
    },
    /// An epoch may promise no more; what it is known to hold goes back to the pool.
    Fence {
        /// Now.
        stamp: Stamp,
        /// The store.
        store: StoreId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// One of its registers.
    WriteRegister {
        /// Now.
        stamp: Stamp,
        /// The store.
        store: StoreId,
        /// The register.
        name: Text<64>,
        /// What it says from now on.
        value: RegisterValue,
    },
    /// A device of its registry; `None` removes it.
    ChangeRegistry {
        /// Now.
        stamp: Stamp,
        /// The store.
        store: StoreId,
        /// The device.
        device: DeviceId,
        /// What it is.
        entry: Option<DeviceEntry>,
    },
}

impl Order {
    /// The store it is for.
    pub fn store(&self) -> StoreId {
        match self {
            Self::Append { store, .. }
            | Self::Grant { store, .. }
            | Self::Fence { store, .. }
            | Self::WriteRegister { store, .. }
            | Self::ChangeRegistry { store, .. } => *store,
        }
    }
}

/// A block on its way in.
pub(crate) struct Arriving {
    /// With the link before it once that is known.
    pub(crate) block: Arc<Block>,
    /// As much of that link as came with it.
    pub(crate) prev: Prev,
    /// The writer's signature, when one came.
    pub(crate) seal: Option<[u8; 64]>,
    pub(crate) check: Option<Check>,
}

impl Arriving {
    pub(crate) fn new(incoming: &Incoming, check: Option<Check>) -> Self {
        let Incoming { log, first, prev, records, seal } = incoming;
        let block = Block { log: *log, first: *first, prev: start(prev), records: records.clone() };
        Self { block: Arc::new(block), prev: *prev, seal: *seal, check }
    }
}

/// As much of the link as is known, zeros for the rest: no link of a log, except by a chance of 2^-192.
pub(crate) fn start(prev: &Prev) -> Link {
    match prev {
        Prev::Whole(link) => *link,
        Prev::Short(start) => {
            let mut whole = [0; 32];
            whole.iter_mut().zip(start).for_each(|(byte, found)| *byte = *found);
            Link(whole)
        }
    }
}

/// Who hears what became of an order.
pub(crate) enum Hearer {
    /// Somebody in this process.
    Here(Reply<Vec<EventId>>),
    /// Another worker's process, by letter.
    Letter(Letter),
}

/// One job with its reply.
pub(crate) enum Job {
    TakeIn { arriving: Arriving, stamp: Stamp, reply: Reply<Ingested> },
    Order { order: Order, hearer: Hearer },
    Acked { ack: Ack, reply: Reply<()> },
    CloseDown { log: LogId, reply: Reply<()> },
    Quarantine { evidence: Evidence, reply: Reply<()> },
    Probe { reply: Reply<()> },
}

/// What a planned job will answer once it is durable.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Ingested(Ingested),
    Appended(Vec<EventId>),
    Done,
}

impl Job {
    /// Answers. A planned answer always fits its job.
    pub(crate) fn answer(self, outcome: Result<Answer, LedgerError>) {
        match (self, outcome) {
            (Self::TakeIn { reply, .. }, Ok(Answer::Ingested(ingested))) => reply(Ok(ingested)),
            (Self::TakeIn { reply, .. }, outcome) => reply(Err(outcome.err().unwrap_or(LedgerError::Closed))),
            // A letter's answer was written by the transaction that carried the order out.
            (Self::Order { hearer: Hearer::Letter(_), .. }, _) => {}
            (Self::Order { hearer: Hearer::Here(reply), .. }, Ok(Answer::Appended(ids))) => reply(Ok(ids)),
            (Self::Order { hearer: Hearer::Here(reply), .. }, outcome) => {
                reply(Err(outcome.err().unwrap_or(LedgerError::Closed)));
            }
            (
                Self::Acked { reply, .. }
                | Self::CloseDown { reply, .. }
                | Self::Quarantine { reply, .. }
                | Self::Probe { reply },
                outcome,
            ) => reply(outcome.map(|_| ())),
        }
    }

    /// The log and time of returned history of a log of HQ's own.
    pub(crate) fn returned(&self) -> Option<(LogId, Stamp)> {
        match self {
            Self::TakeIn { arriving, stamp, .. } if arriving.block.log.direction == Direction::Down => {
                Some((arriving.block.log, *stamp))
            }
            _ => None,
        }
    }

    /// The letter it came by.
    pub(crate) fn letter(&self) -> Option<Letter> {
        match self {
            Self::Order { hearer: Hearer::Letter(letter), .. } => Some(*letter),
            _ => None,
        }
    }

    /// Store whose bucket it writes; `None` where it writes no bucket.
    pub(crate) fn store(&self) -> Option<StoreId> {
        match self {
            Self::TakeIn { arriving, .. } => Some(arriving.block.log.store),
            Self::Order { order, .. } => Some(order.store()),
            Self::Acked { ack, .. } => Some(ack.log.store),
            Self::CloseDown { log, .. } => Some(log.store),
            Self::Quarantine { .. } | Self::Probe { .. } => None,
        }
    }
}
