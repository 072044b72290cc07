//! What the worker can be asked for.

use std::sync::Arc;
use sync_core::{Ack, Block};
use sync_model::{Event, EventId, StoreId, UnixMillis};
use sync_store::{Ingested, LedgerError};

/// Called once, on the worker's thread: after the commit of the transaction that holds the job, or with the error.
pub type Reply<T> = Box<dyn FnOnce(Result<T, LedgerError>) + Send>;

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

/// One job with its reply.
pub(crate) enum Job {
    Ingest { block: Arc<Block>, received: UnixMillis, reply: Reply<Ingested> },
    AppendDown { store: StoreId, events: Vec<Event>, reply: Reply<Vec<EventId>> },
    Acked { ack: Ack, reply: Reply<()> },
    Quarantine { evidence: Evidence, reply: Reply<()> },
    Probe { reply: Reply<()> },
}

/// What a planned job will answer once it is durable.
pub(crate) enum Answer {
    Ingested(Ingested),
    Appended(Vec<EventId>),
    Done,
}

impl Job {
    /// Answers. A planned answer always fits its job.
    pub(crate) fn answer(self, outcome: Result<Answer, LedgerError>) {
        match (self, outcome) {
            (Self::Ingest { reply, .. }, Ok(Answer::Ingested(ingested))) => reply(Ok(ingested)),
            (Self::AppendDown { reply, .. }, Ok(Answer::Appended(ids))) => reply(Ok(ids)),
            (Self::Acked { reply, .. } | Self::Quarantine { reply, .. } | Self::Probe { reply }, Ok(_)) => {
                reply(Ok(()));
            }
            (Self::Ingest { reply, .. }, outcome) => reply(Err(outcome.err().unwrap_or(LedgerError::Closed))),
            (Self::AppendDown { reply, .. }, outcome) => {
                reply(Err(outcome.err().unwrap_or(LedgerError::Closed)));
            }
            (
                Self::Acked { reply, .. } | Self::Quarantine { reply, .. } | Self::Probe { reply },
                Err(error),
            ) => {
                reply(Err(error));
            }
        }
    }
}
