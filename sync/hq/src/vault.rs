//! HQ's ledger, whichever engine holds it: the only way in which engine and HTTP see it.
//!
//! Contract
//! * A reply runs once, after the commit of the transaction that holds the job, or with the error. No reply, no promise.
//! * Jobs are named ([`Note`], [`Order`]) and not code, because a transaction of PostgreSQL cannot run a closure over SQLite.
//! * Both engines give the same answers to the same jobs: one set of checks runs against both.

use std::sync::Arc;
use sync_core::replica::{Incoming, Ingested};
use sync_core::{Ack, Block, Link};
use sync_model::{
    Article, DeviceEntry, DeviceId, Epoch, Event, EventId, LogId, Milli, RegisterValue, Seq, Sku, Stamp,
    StoreId, Text, UnixMillis,
};
use sync_store::{
    CommitNote, ConflictRow, HeadRow, KindCount, Ledger, LedgerError, MoneyRow, QuarantineCounts,
    QuarantineRow, Reader, RegisterRow, RightsRow, StockRow, StoredEvent, TransferRow, VerifyReport,
};

/// Rows and bytes per row that a trial writes and removes again: enough to need new pages.
const PROBE: (u8, usize) = (8, 4_096);

/// Called once, on the ledger's thread.
pub(crate) type Reply<T> = Box<dyn FnOnce(Result<T, LedgerError>) + Send>;

/// What the engine has noted.
#[derive(Debug)]
pub(crate) enum Note {
    /// A store has this much of HQ's log.
    Acked(Ack),
    /// Bytes that could not be accepted.
    Quarantine { source: String, code: String, detail: String, raw: Vec<u8>, received: UnixMillis },
    /// One event for a store.
    Say { store: StoreId, event: Event },
    /// Nothing more is written to this down log.
    CloseDown(LogId),
    /// Tries whether the ledger takes writes.
    Probe,
}

/// What people order for a store.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Events into HQ's log for it, all or none.
    Append { store: StoreId, events: Vec<Event> },
    /// Rights from the pool to its newest epoch.
    Grant { stamp: Stamp, store: StoreId, sku: Sku, quantity: Milli },
    /// An epoch may promise no more.
    Fence { stamp: Stamp, store: StoreId, epoch: Epoch },
    /// One of its registers.
    #[allow(dead_code, reason = "no route writes registers for a store yet")]
    WriteRegister { stamp: Stamp, store: StoreId, name: Text<64>, value: RegisterValue },
    /// A device of its registry; `None` removes it.
    #[allow(dead_code, reason = "no route writes the registry for a store yet")]
    ChangeRegistry { stamp: Stamp, store: StoreId, device: DeviceId, entry: Option<DeviceEntry> },
}

/// An open ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Vault {
    /// One SQLite file.
    Sqlite(Ledger),
}

impl Vault {
    /// Takes in a block. [`LedgerError::Busy`] when the queue is full: then `reply` does not run.
    pub(crate) fn take_in(
        &self,
        block: Arc<Incoming>,
        stamp: Stamp,
        reply: Reply<Ingested>,
    ) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(ledger) => {
                ledger.submit(move |draft| draft.take_in(&block, stamp).map(|taken| taken.ingested), reply)
            }
        }
    }

    /// Notes something, as [`Vault::take_in`] does.
    pub(crate) fn note(&self, note: Note, reply: Reply<()>) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.submit(
                move |draft| match note {
                    Note::Acked(ack) => draft.acked(&ack),
                    Note::Quarantine { source, code, detail, raw, received } => {
                        draft.quarantine(&source, &code, &detail, &raw, received)
                    }
                    Note::Say { store, event } => draft.append_down(store, &event).map(drop),
                    Note::CloseDown(log) => draft.close_down(log),
                    Note::Probe => {
                        let (rows, bytes) = PROBE;
                        let keys: Vec<String> = (0..rows).map(|row| format!("probe-{row}")).collect();
                        keys.iter().try_for_each(|key| draft.put_state(key, Some(&vec![0x5a; bytes])))?;
                        keys.iter().try_for_each(|key| draft.put_state(key, None))
                    }
                },
                reply,
            ),
        }
    }

    /// Carries out an order and waits for its commit. Not on a thread that serves others.
    pub(crate) fn order(&self, order: Order) -> Result<Vec<EventId>, LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.call(move |draft| match order {
                Order::Append { store, events } => {
                    events.iter().map(|event| draft.append_down(store, event)).collect()
                }
                Order::Grant { stamp, store, sku, quantity } => {
                    draft.grant(stamp, store, sku, quantity).map(|id| vec![id])
                }
                Order::Fence { stamp, store, epoch } => draft.fence(stamp, store, epoch),
                Order::WriteRegister { stamp, store, name, value } => {
                    draft.write_register(stamp, store, name, value).map(|id| vec![id])
                }
                Order::ChangeRegistry { stamp, store, device, entry } => {
                    draft.change_registry(stamp, store, device, entry).map(|id| vec![id])
                }
            }),
        }
    }

    /// A view of its own connection. One per thread.
    pub(crate) fn reader(&self) -> Result<VaultReader, LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.reader().map(VaultReader::Sqlite),
        }
    }

    /// Recomputes chain and folds from the log.
    pub(crate) fn verify(&self) -> Result<VerifyReport, LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.verify(),
        }
    }

    /// Runs `hook` on the ledger's thread after every commit that moved a log.
    pub(crate) fn on_commit(&self, hook: impl Fn(&CommitNote) + Send + 'static) {
        match self {
            Self::Sqlite(ledger) => ledger.on_commit(hook),
        }
    }
}

/// Questions to the ledger.
#[derive(Debug)]
pub(crate) enum VaultReader {
    /// See [`Vault::Sqlite`].
    Sqlite(Reader),
}

type Answer<T> = Result<T, LedgerError>;

/// One question for both engines.
macro_rules! questions {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $arg:ident: $kind:ty)*) -> $out:ty;)*) => {
        impl VaultReader {
            $(
                $(#[$doc])*
                pub(crate) fn $name(&self $(, $arg: $kind)*) -> Answer<$out> {
                    match self {
                        Self::Sqlite(reader) => reader.$name($($arg),*),
                    }
                }
            )*
        }
    };
}

questions! {
    /// Every log with its end.
    fn heads(&self) -> Vec<HeadRow>;
    /// Every store that has a log here.
    fn stores(&self) -> Vec<StoreId>;
    /// The chain link at a position; `None` beyond the end.
    fn link(&self, log: LogId, seq: Seq) -> Option<Link>;
    /// Events of a log from a position on.
    fn events(&self, log: LogId, from: Seq, limit_rows: usize) -> Vec<StoredEvent>;
    /// Consecutive records from a position on.
    fn block(&self, log: LogId, first: Seq, max_records: usize, max_bytes: usize) -> Option<Block>;
    /// Stock of a store per article and lot.
    fn stock(&self, store: StoreId, sku: Option<Sku>) -> Vec<StockRow>;
    /// Money of a store per day, currency and account.
    fn money(&self, store: StoreId) -> Vec<MoneyRow>;
    /// HQ's article for a store.
    fn article(&self, store: StoreId, sku: Sku) -> Option<Article>;
    /// Events by store, direction and kind.
    fn counts(&self) -> Vec<KindCount>;
    /// The quarantine, newest first.
    fn quarantine(&self, count: usize) -> Vec<QuarantineRow>;
    /// Size of the quarantine.
    fn quarantine_counts(&self) -> QuarantineCounts;
    /// Conflicts of a store; settled ones only on demand.
    fn conflicts(&self, store: StoreId, settled: bool) -> Vec<ConflictRow>;
    /// Rights of a store, of one article or of all.
    fn rights(&self, store: StoreId, sku: Option<Sku>) -> Vec<RightsRow>;
    /// Rights that HQ holds itself, by article.
    fn pools(&self) -> std::collections::BTreeMap<Sku, Milli>;
    /// Transfers that a store sent, with what arrived anywhere.
    fn transfers_from(&self, store: StoreId) -> Vec<TransferRow>;
    /// Every transfer that is not finished.
    fn transfers(&self) -> Vec<TransferRow>;
    /// Registers of a store.
    #[allow(dead_code, reason = "no route shows registers yet")]
    fn registers(&self, store: StoreId) -> Vec<RegisterRow>;
    /// The device registry of a store.
    #[allow(dead_code, reason = "no route shows the registry yet")]
    fn registry(&self, store: StoreId) -> Vec<(DeviceId, DeviceEntry)>;
}
