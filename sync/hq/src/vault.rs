//! HQ's ledger, whichever engine holds it: the only way in which engine and HTTP see it.
//!
//! Contract
//! * A reply runs once, after the commit of the transaction that holds the job, or with the error. No reply, no promise.
//! * Jobs are named ([`Note`], [`Order`]) and not code, because a transaction of PostgreSQL cannot run a closure over SQLite.
//! * Both engines give the same answers to the same jobs: one set of checks runs against both (`sync/postgres/tests`,
//!   `tests/engines.rs`).
//! * A SQLite ledger is one process's. A PostgreSQL ledger has several workers: each books the stores of the buckets it owns
//!   ([`Vault::ownership`]), and carries orders for the others to their owner.

use std::collections::BTreeSet;
use std::sync::Arc;
use sync_core::replica::{Incoming, IngestOutcome, Ingested};
use sync_core::{Ack, Block, Link};
use sync_evidence::Seal;
use sync_model::{
    Article, BusinessDay, DeviceEntry, DeviceId, Event, EventId, LogId, Milli, Seq, Sku, Stamp, StoreId,
    UnixMillis,
};
pub(crate) use sync_postgres::{Check, Order, Reply};
use sync_postgres::{Evidence, LeaseRow, Postgres, PostgresReader};
use sync_store::{
    CommitNote, ConflictRow, HeadRow, KindCount, Ledger, LedgerError, MoneyRow, QuarantineCounts,
    QuarantineRow, Reader, Refusal, RegisterRow, RightsRow, RootRow, StatementRow, StockRow, StoredEvent,
    TransferRow, VerifyReport,
};
use tokio::sync::watch;

/// Rows and bytes per row that a trial writes and removes again: enough to need new pages.
const PROBE: (u8, usize) = (8, 4_096);

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

/// The buckets that this process books; `None`: all, for as long as it runs.
pub(crate) type Ownership = Option<BTreeSet<u32>>;

/// An open ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Vault {
    /// One SQLite file.
    Sqlite(Ledger),
    /// A PostgreSQL database, as one of its workers.
    Postgres(Postgres),
}

impl Vault {
    /// Takes in a block; `check` judges the end that it leads to before it is final. [`LedgerError::Busy`] when the queue is
    /// full: then `reply` does not run.
    pub(crate) fn take_in(
        &self,
        block: Arc<Incoming>,
        stamp: Stamp,
        check: Option<Check>,
        reply: Reply<Ingested>,
    ) -> Result<(), LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.submit(
                move |draft| {
                    let ingested = draft.take_in(&block, stamp)?.ingested;
                    judge(&block, &ingested, check.as_ref())?;
                    Ok(ingested)
                },
                reply,
            ),
            Self::Postgres(ledger) => ledger.take_in(&block, stamp, check, reply),
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
            Self::Postgres(ledger) => match note {
                Note::Acked(ack) => ledger.acked(ack, reply),
                Note::Quarantine { source, code, detail, raw, received } => {
                    ledger.quarantine(Evidence { source, code, detail, raw, received }, reply)
                }
                Note::Say { store, event } => {
                    ledger.append_down(store, vec![event], Box::new(move |said| reply(said.map(drop))))
                }
                Note::CloseDown(log) => ledger.close_down(log, reply),
                Note::Probe => ledger.probe(reply),
            },
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
            Self::Postgres(ledger) => ledger.order(order),
        }
    }

    /// A view of its own connection. One per thread.
    pub(crate) fn reader(&self) -> Result<VaultReader, LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.reader().map(VaultReader::Sqlite),
            Self::Postgres(ledger) => ledger.reader().map(VaultReader::Postgres),
        }
    }

    /// Recomputes chain and folds from the log.
    pub(crate) fn verify(&self) -> Result<VerifyReport, LedgerError> {
        match self {
            Self::Sqlite(ledger) => ledger.verify(),
            Self::Postgres(ledger) => ledger.verify(),
        }
    }

    /// Runs `hook` on the ledger's thread after every commit that moved a log.
    pub(crate) fn on_commit(&self, hook: impl Fn(&CommitNote) + Send + 'static) {
        match self {
            Self::Sqlite(ledger) => ledger.on_commit(hook),
            Self::Postgres(ledger) => ledger.on_commit(hook),
        }
    }

    /// The buckets that this process books, now and whenever they change.
    pub(crate) fn ownership(&self) -> watch::Receiver<Ownership> {
        let Self::Postgres(ledger) = self else { return watch::channel(None).1 };
        let named = |owned: &BTreeSet<i16>| -> Ownership {
            Some(owned.iter().filter_map(|bucket| u32::try_from(*bucket).ok()).collect())
        };
        let (tell, told) = watch::channel(Some(BTreeSet::new()));
        let tell = Arc::new(tell);
        let hook = Arc::clone(&tell);
        ledger.on_ownership(move |owned| drop(hook.send_replace(named(owned))));
        // What was owned before the hook was there.
        tell.send_if_modified(|known| {
            let owned = named(&ledger.owned());
            let news = *known != owned;
            *known = owned;
            news
        });
        told
    }

    /// Why no job can succeed at this moment, as far as that is known without trying.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(ledger) => ledger.fault(),
        }
    }
}

/// A signature that does not hold refuses the whole block.
fn judge(block: &Incoming, ingested: &Ingested, check: Option<&Check>) -> Result<(), Refusal> {
    let Ack { log, upto, link, .. } = ingested.ack;
    match (check, ingested.outcome) {
        (Some(check), IngestOutcome::Applied { last, .. }) if last == block.last() => check(log, upto, link),
        _ => Ok(()),
    }
}

/// Questions to the ledger.
#[derive(Debug)]
pub(crate) enum VaultReader {
    /// See [`Vault::Sqlite`].
    Sqlite(Reader),
    /// See [`Vault::Postgres`].
    Postgres(PostgresReader),
}

type Answer<T> = Result<T, LedgerError>;

impl VaultReader {
    /// Who owns which bucket, where several workers share a ledger.
    pub(crate) fn leases(&self) -> Answer<Vec<LeaseRow>> {
        match self {
            Self::Sqlite(_) => Ok(Vec::new()),
            Self::Postgres(reader) => reader.leases(),
        }
    }
}

/// One question for both engines.
macro_rules! questions {
    ($($(#[$meta:meta])* fn $name:ident(&self $(, $arg:ident: $kind:ty)*) -> $out:ty;)*) => {
        impl VaultReader {
            $(
                $(#[$meta])*
                pub(crate) fn $name(&self $(, $arg: $kind)*) -> Answer<$out> {
                    match self {
                        Self::Sqlite(reader) => reader.$name($($arg),*),
                        Self::Postgres(reader) => reader.$name($($arg),*),
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
    fn registers(&self, store: StoreId) -> Vec<RegisterRow>;
    /// The device registry of a store.
    fn registry(&self, store: StoreId) -> Vec<(DeviceId, DeviceEntry)>;
    /// The newest seal of every log that has one.
    fn seals(&self) -> Vec<Seal>;
    /// Statements of a store, newest day first.
    fn statements(&self, store: StoreId, count: usize) -> Vec<StatementRow>;
    /// Statements of a store about which HQ still has something to do, oldest day first.
    fn open_statements(&self, store: StoreId) -> Vec<StatementRow>;
    /// One statement.
    fn statement(&self, store: StoreId, day: BusinessDay) -> Option<StatementRow>;
    /// HQ's day roots, newest first.
    fn roots(&self, count: usize) -> Vec<RootRow>;
    /// One day root by its number.
    fn root(&self, number: u64) -> Option<RootRow>;
}
