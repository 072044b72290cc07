//! Reading what the parties have durably: a store's file, HQ's file, HQ's database, all in the same words.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use sync_core::MoneyAccount;
use sync_model::{LogId, Seq, StoreId, TenderKind};
use sync_postgres::{Postgres, PostgresConfig, PostgresReader};
use sync_store::{HeadRow, MoneyRow, Reader, StockRow, StoredEvent, VerifyReport};

/// Rows read at a time.
const CHUNK: usize = 1000;

/// A ledger at rest.
pub(crate) enum Ledger {
    /// A file and its reader.
    File(std::path::PathBuf, Box<Reader>),
    /// A database, watched by a worker that owns no bucket.
    Database(Postgres, Box<PostgresReader>),
}

impl Ledger {
    /// Opens a file.
    pub(crate) fn file(path: &Path) -> Result<Self> {
        let reader = Reader::open(path).with_context(|| path.display().to_string())?;
        Ok(Self::File(path.to_owned(), Box::new(reader)))
    }

    /// Opens a database.
    pub(crate) fn database(url: &str) -> Result<Self> {
        let mut config = PostgresConfig::new(url, "oracle");
        config.home.clear();
        config.spare.clear();
        let ledger = Postgres::open(config)?;
        let reader = Box::new(ledger.reader()?);
        Ok(Self::Database(ledger, reader))
    }

    /// Recomputes chain and folds.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        Ok(match self {
            Self::File(path, _) => sync_store::verify_file(path)?,
            Self::Database(ledger, _) => ledger.verify()?,
        })
    }

    fn heads(&self) -> Result<Vec<HeadRow>> {
        Ok(match self {
            Self::File(_, reader) => reader.heads()?,
            Self::Database(_, reader) => reader.heads()?,
        })
    }

    fn events(&self, log: LogId, from: Seq) -> Result<Vec<StoredEvent>> {
        Ok(match self {
            Self::File(_, reader) => reader.events(log, from, CHUNK)?,
            Self::Database(_, reader) => reader.events(log, from, CHUNK)?,
        })
    }

    fn stock(&self, store: StoreId) -> Result<Vec<StockRow>> {
        Ok(match self {
            Self::File(_, reader) => reader.stock(store, None)?,
            Self::Database(_, reader) => reader.stock(store, None)?,
        })
    }

    fn money(&self, store: StoreId) -> Result<Vec<MoneyRow>> {
        Ok(match self {
            Self::File(_, reader) => reader.money(store)?,
            Self::Database(_, reader) => reader.money(store)?,
        })
    }

    /// What this ledger says of a store.
    pub(crate) fn side(&self, store: u32) -> Result<Side> {
        let store = StoreId(store);
        let mut side = Side::default();
        for head in self.heads()?.into_iter().filter(|row| row.log.store == store) {
            let mut events: Vec<StoredEvent> = Vec::new();
            loop {
                let from = events.last().map_or(Seq(1), |event| event.id.seq.next());
                let rows = self.events(head.log, from)?;
                if rows.is_empty() {
                    break;
                }
                events.extend(rows);
            }
            side.logs.insert(head.log, Log { head, events });
        }
        side.stock = crate::books::sum(self.stock(store)?.into_iter().map(|row| (row.sku.0, row.on_hand.0)));
        side.cash = crate::books::sum(self.money(store)?.into_iter().filter_map(|row| match row.account {
            MoneyAccount::Tender(kind) => Some((tender(kind).to_owned(), row.amount.0)),
            _ => None,
        }));
        Ok(side)
    }
}

fn tender(kind: TenderKind) -> &'static str {
    match kind {
        TenderKind::Cash => "cash",
        TenderKind::Card => "card",
        TenderKind::Wallet => "wallet",
        TenderKind::Voucher => "voucher",
    }
}

/// One log as it lies there.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// Its end.
    pub(crate) head: HeadRow,
    /// Its events in order.
    pub(crate) events: Vec<StoredEvent>,
}

/// One party's view of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// Every log of the store, both directions.
    pub(crate) logs: BTreeMap<LogId, Log>,
    /// Stock on hand by its fold, by article.
    pub(crate) stock: BTreeMap<u64, i64>,
    /// Money taken in by its fold, by means of payment.
    pub(crate) cash: BTreeMap<String, i64>,
}
