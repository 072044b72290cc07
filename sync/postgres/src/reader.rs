//! Questions to the ledger, on connections of their own: a slow reader never holds the worker up.

use crate::error::ledger_error;
use crate::session;
use crate::worker::{link_of, log_of};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::{Block, Link, MoneyAccount, StockAccount};
use sync_model::{
    Article, BusinessDay, Currency, Direction, Event, EventId, Kind, LogId, LotId, Milli, Minor, Seq, Sku,
    StoreId, UnixMillis,
};
use sync_store::{
    Cell, HeadRow, KindCount, LedgerError, MoneyRow, QuarantineCounts, QuarantineRow, SEAL_DISTANCE,
    StockBalance, StockRow, StoredEvent, position, position_parts,
};
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

/// Idle connections that are kept.
const IDLE_MAX: usize = 4;

/// How long the server may take for an answer; a line that stays open and moves nothing counts as lost then.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

fn silent() -> LedgerError {
    let detail = format!("no answer within {} s", ANSWER_WAIT.as_secs());
    LedgerError::Storage { context: "PostgreSQL is silent".to_owned(), detail }
}

const SETTINGS: &str = "SET default_transaction_read_only = on; SET statement_timeout = '50s';
SET idle_in_transaction_session_timeout = '60s'; SET enable_seqscan = off; SET jit = off; SET TIME ZONE 'UTC'";

/// A connection with the runtime that its IO runs on.
struct Connection {
    runtime: Runtime,
    client: Client,
}

/// Connections for readers.
pub(crate) struct Pool {
    server: tokio_postgres::Config,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) fn new(server: tokio_postgres::Config) -> Self {
        Self { server, idle: Mutex::new(Vec::new()) }
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if !connection.client.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn connect(&self) -> Result<Connection, LedgerError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                LedgerError::Storage { context: "PostgreSQL reader".to_owned(), detail: error.to_string() }
            })?;
        let client = off_runtime(|| {
            runtime.block_on(async {
                let client = session::connect(&self.server).await?;
                client.batch_execute(SETTINGS).await.map_err(|error| ledger_error("open reader", &error))?;
                Ok(client)
            })
        })?;
        Ok(Connection { runtime, client })
    }
}

/// Runs on a thread of its own: the caller may be inside another runtime, which forbids waiting for this one.
fn off_runtime<T: Send>(work: impl FnOnce() -> Result<T, LedgerError> + Send) -> Result<T, LedgerError> {
    let fault = || LedgerError::Storage {
        context: "PostgreSQL reader".to_owned(),
        detail: "the reading thread failed".to_owned(),
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|_| Err(fault())))
}

/// The lease of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The bucket.
    pub bucket: i16,
    /// Worker that has it, or had it last.
    pub owner: Option<String>,
    /// Counts up with every change of owner.
    pub token: i64,
    /// The owner is dead or stopped.
    pub expired: bool,
}

/// A read-only view of the whole ledger, of all buckets. It waits for its answers: not for threads that must not wait.
pub struct PostgresReader {
    pool: Arc<Pool>,
    /// `Some` until dropped.
    connection: Mutex<Option<Connection>>,
}

impl std::fmt::Debug for PostgresReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresReader").finish_non_exhaustive()
    }
}

impl Drop for PostgresReader {
    fn drop(&mut self) {
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(connection) = connection.filter(|connection| !connection.client.is_closed()) else { return };
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        } else {
            drop(idle);
            connection.runtime.shutdown_background();
        }
    }
}

type Answer<T> = Result<T, LedgerError>;

/// A log with its number.
struct Found {
    number: i64,
    bucket: i16,
    row: HeadRow,
}

const LOG_COLUMNS: &str = "SELECT store, direction, epoch, id, bucket, head, link, acked FROM log";

fn found(row: &Row) -> Option<Found> {
    let log = log_of(row.get(0), row.get(1), row.get(2))?;
    let (head, acked): (i64, i64) = (row.get(5), row.get(7));
    let (head, acked) = (Seq(head.cast_unsigned()), Seq(acked.cast_unsigned()));
    Some(Found {
        number: row.get(3),
        bucket: row.get(4),
        row: HeadRow { log, head, link: link_of(row.get(6)), acked },
    })
}

impl PostgresReader {
    pub(crate) fn open(pool: &Arc<Pool>) -> Answer<Self> {
        let connection = match pool.take() {
            Some(connection) => connection,
            None => pool.connect()?,
        };
        Ok(Self { pool: Arc::clone(pool), connection: Mutex::new(Some(connection)) })
    }

    /// Asks; a connection that was lost since it was last used is replaced once.
    pub(crate) fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Answer<Vec<Row>> {
        let mut slot = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        for last in [false, true] {
            if slot.as_ref().is_none_or(|connection| connection.client.is_closed()) {
                *slot = Some(self.pool.connect()?);
            }
            let Some(connection) = slot.as_ref() else { break };
            let asked = off_runtime(|| {
                connection.runtime.block_on(async {
                    let asked = tokio::time::timeout(ANSWER_WAIT, connection.client.query(sql, params));
                    asked.await.map_err(|_| silent())
                })
            });
            let asked = match asked {
                Ok(asked) => asked,
                Err(error) => {
                    *slot = None;
                    return Err(error);
                }
            };
            match asked {
                Ok(rows) => return Ok(rows),
                Err(error) if last || !(error.is_closed() || connection.client.is_closed()) => {
                    return Err(ledger_error("read ledger", &error));
                }
                Err(_) => *slot = None,
            }
        }
        Err(LedgerError::Storage {
            context: "PostgreSQL: read ledger".into(),
            detail: "no connection".into(),
        })
    }

    /// Runs one writing statement in a transaction of its own.
    pub(crate) fn write(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Answer<Vec<Row>> {
        self.query("BEGIN READ WRITE", &[])?;
        let rows = self.query(sql, params);
        self.query(if rows.is_ok() { "COMMIT" } else { "ROLLBACK" }, &[])?;
        rows
    }

    /// Every log with its end.
    pub fn heads(&self) -> Answer<Vec<HeadRow>> {
        let rows = self.query(&format!("{LOG_COLUMNS} ORDER BY store, direction, epoch"), &[])?;
        Ok(rows.iter().filter_map(found).map(|found| found.row).collect())
    }

    fn find(&self, log: LogId) -> Answer<Option<Found>> {
        let sql = format!("{LOG_COLUMNS} WHERE store = $1 AND direction = $2 AND epoch = $3");
        let (store, direction, epoch) =
            (i64::from(log.store.0), i64::from(log.direction.code()), i64::from(log.epoch.0));
        let rows = self.query(&sql, &[&store, &direction, &epoch])?;
        Ok(rows.first().and_then(found))
    }

    /// The end of one log.
    pub fn head(&self, log: LogId) -> Answer<Option<HeadRow>> {
        Ok(self.find(log)?.map(|found| found.row))
    }

    /// Records of a log as bytes, in order.
    pub(crate) fn records(
        &self,
        bucket: i16,
        number: i64,
        from: Seq,
        upto: Seq,
    ) -> Answer<Vec<(Seq, Vec<u8>)>> {
        let sql = "SELECT pos, record FROM event WHERE bucket = $1 AND pos BETWEEN $2 AND $3 ORDER BY pos";
        let rows = self.query(sql, &[&bucket, &position(number, from), &position(number, upto)])?;
        Ok(rows.iter().map(|row| (position_parts(row.get(0)).1, row.get(1))).collect())
    }

    /// Events of a log from a position on.
    pub fn events(&self, log: LogId, from: Seq, limit: usize) -> Answer<Vec<StoredEvent>> {
        let Some(found) = self.find(log)? else { return Ok(Vec::new()) };
        let count = u64::try_from(limit).unwrap_or(u64::MAX);
        let upto = Seq(from.0.saturating_add(count).saturating_sub(1)).min(found.row.head);
        if limit == 0 || from > upto {
            return Ok(Vec::new());
        }
        let (low, high) = (position(found.number, from), position(found.number, upto));
        let sql = "SELECT e.pos, e.record, (SELECT a.received FROM arrival AS a
                WHERE a.pos BETWEEN $4 AND e.pos ORDER BY a.pos DESC LIMIT 1)
            FROM event AS e WHERE e.bucket = $1 AND e.pos BETWEEN $2 AND $3 ORDER BY e.pos";
        let rows = self.query(sql, &[&found.bucket, &low, &high, &position(found.number, Seq::ZERO)])?;
        let event = |row: &Row| {
            let record: Vec<u8> = row.get(1);
            let id = EventId { log, seq: position_parts(row.get(0)).1 };
            let received = row.get::<_, Option<i64>>(2).map(UnixMillis);
            StoredEvent { id, event: Event::from_record(&record), record, received }
        };
        Ok(rows.iter().map(event).collect())
    }

    /// The chain link at a position; `None` beyond the end.
    pub fn link(&self, log: LogId, seq: Seq) -> Answer<Option<Link>> {
        match self.find(log)? {
            Some(found) if seq <= found.row.head => self.link_at(&found, seq),
            _ => Ok(None),
        }
    }

    /// The link at a position, from the nearest stored one.
    fn link_at(&self, found: &Found, seq: Seq) -> Answer<Option<Link>> {
        let log = found.row.log;
        if seq == found.row.head {
            return Ok(Some(found.row.link));
        }
        let sql = "SELECT pos, link FROM seal WHERE pos BETWEEN $1 AND $2 ORDER BY pos DESC LIMIT 1";
        let range = (position(found.number, Seq::ZERO), position(found.number, seq));
        let rows = self.query(sql, &[&range.0, &range.1])?;
        let seal = rows.first().map(|row| (position_parts(row.get(0)).1, link_of(row.get(1))));
        let (mut reached, mut link) = seal.unwrap_or((Seq::ZERO, Link::genesis(log)));
        if reached == seq {
            return Ok(Some(link));
        }
        for (at, record) in self.records(found.bucket, found.number, reached.next(), seq)? {
            if at != reached.next() {
                return Ok(None);
            }
            link = link.next(log, at, &record);
            reached = at;
        }
        Ok((reached == seq).then_some(link))
    }

    /// Consecutive records from `first` on, with the link before them; `None` when there is nothing from `first` on. The
    /// first record comes even if it is longer than `max_bytes`.
    pub fn block(
        &self,
        log: LogId,
        first: Seq,
        max_records: usize,
        max_bytes: usize,
    ) -> Answer<Option<Block>> {
        let Some(found) = self.find(log)? else { return Ok(None) };
        if first == Seq::ZERO || first > found.row.head {
            return Ok(None);
        }
        let damaged = |upto| LedgerError::Damaged { log, upto };
        let before = Seq(first.0 - 1);
        let prev = self.link_at(&found, before)?.ok_or(damaged(before))?;
        let max_records = max_records.clamp(1, sync_core::BLOCK_RECORDS_MAX);
        let upto = Seq(first.0.saturating_add(u64::try_from(max_records).unwrap_or(u64::MAX)) - 1);
        let upto = upto.min(found.row.head);
        let (mut records, mut bytes, mut seq, mut link) = (Vec::new(), 0_usize, first, prev);
        for (at, record) in self.records(found.bucket, found.number, first, upto)? {
            bytes = bytes.saturating_add(record.len());
            if !records.is_empty() && bytes > max_bytes {
                break;
            }
            if at != seq {
                return Err(damaged(seq));
            }
            link = link.next(log, at, &record);
            let check = at == found.row.head || at.0.is_multiple_of(SEAL_DISTANCE);
            if check && self.link_at(&found, at)? != Some(link) {
                return Err(damaged(at));
            }
            records.push(record);
            seq = seq.next();
        }
        if records.is_empty() {
            return Err(damaged(first));
        }
        Ok(Some(Block { log, first, prev, records }))
    }

    /// Every stock balance of a store.
    pub fn balances(&self, store: StoreId) -> Answer<Vec<StockBalance>> {
        let sql = "SELECT sku, lot, account, quantity FROM stock WHERE store = $1 ORDER BY sku, lot, account";
        let rows = self.query(sql, &[&i64::from(store.0)])?;
        Ok(rows.iter().filter_map(balance).collect())
    }

    /// Stock of a store per article and lot, of one article or of all.
    pub fn stock(&self, store: StoreId, sku: Option<Sku>) -> Answer<Vec<StockRow>> {
        let mut rows = self.balances(store)?;
        rows.retain(|row| sku.is_none_or(|sku| sku == row.sku));
        Ok(StockRow::sum_up(rows))
    }

    /// Money of a store per day, currency and account.
    pub fn money(&self, store: StoreId) -> Answer<Vec<MoneyRow>> {
        let sql = "SELECT day, currency, account, amount FROM money WHERE store = $1 ORDER BY day, currency, account";
        let rows = self.query(sql, &[&i64::from(store.0)])?;
        let money = |row: &Row| {
            Some(MoneyRow {
                day: BusinessDay(i32::try_from(row.get::<_, i64>(0)).ok()?),
                currency: Currency::new(row.get(1))?,
                account: MoneyAccount::from_code(u8::try_from(row.get::<_, i64>(2)).ok()?)?,
                amount: Minor(row.get(3)),
            })
        };
        Ok(rows.iter().filter_map(money).collect())
    }

    /// HQ's article for a store.
    pub fn article(&self, store: StoreId, sku: Sku) -> Answer<Option<Article>> {
        let sql = "SELECT body FROM article WHERE store = $1 AND sku = $2";
        let rows = self.query(sql, &[&i64::from(store.0), &sku.0.cast_signed()])?;
        Ok(rows.first().and_then(|row| sync_store::read_article(row.get(0))))
    }

    /// The quarantine, newest first.
    pub fn quarantine(&self, count: usize) -> Answer<Vec<QuarantineRow>> {
        let sql =
            "SELECT id, received, times, source, code, detail, raw FROM quarantine ORDER BY id DESC LIMIT $1";
        let rows = self.query(sql, &[&i64::try_from(count).unwrap_or(i64::MAX)])?;
        let entry = |row: &Row| QuarantineRow {
            id: row.get(0),
            received: UnixMillis(row.get(1)),
            times: row.get::<_, i64>(2).cast_unsigned(),
            source: row.get(3),
            code: row.get(4),
            detail: row.get(5),
            raw: row.get(6),
        };
        Ok(rows.iter().map(entry).collect())
    }

    /// Size of the quarantine, and what fell out of it.
    pub fn quarantine_counts(&self) -> Answer<QuarantineCounts> {
        let sql = "SELECT (SELECT count(*) FROM quarantine),
            coalesce((SELECT value FROM counter WHERE name = 'quarantine-total'), 0),
            coalesce((SELECT value FROM counter WHERE name = 'quarantine-evicted'), 0)";
        let rows = self.query(sql, &[])?;
        let count = |at: usize| rows.first().map_or(0, |row| row.get::<_, i64>(at).cast_unsigned());
        Ok(QuarantineCounts { kept: count(0), total: count(1), evicted: count(2) })
    }

    /// Events by store, direction and kind.
    pub fn counts(&self) -> Answer<Vec<KindCount>> {
        let rows = self
            .query("SELECT store, direction, kind, count FROM tally ORDER BY store, direction, kind", &[])?;
        let count = |row: &Row| {
            Some(KindCount {
                store: StoreId(u32::try_from(row.get::<_, i64>(0)).ok()?),
                direction: Direction::from_code(u8::try_from(row.get::<_, i64>(1)).ok()?)?,
                kind: Kind(u16::try_from(row.get::<_, i64>(2)).ok()?),
                count: row.get::<_, i64>(3).cast_unsigned(),
            })
        };
        Ok(rows.iter().filter_map(count).collect())
    }

    /// Who owns which bucket.
    pub fn leases(&self) -> Answer<Vec<LeaseRow>> {
        let sql = "SELECT bucket, owner, token, expires < clock_timestamp() FROM lease ORDER BY bucket";
        let rows = self.query(sql, &[])?;
        let lease = |row: &Row| LeaseRow {
            bucket: row.get(0),
            owner: row.get(1),
            token: row.get(2),
            expired: row.get(3),
        };
        Ok(rows.iter().map(lease).collect())
    }

    /// Every row of a fold table that belongs to a store, as cells in the table's order.
    pub(crate) fn fold_rows(&self, table: usize, store: StoreId) -> Answer<Vec<Vec<Cell>>> {
        let Some(described) = sync_store::FOLD_TABLES.get(table) else { return Ok(Vec::new()) };
        let columns = session::columns(described).join(", ");
        let sql = format!("SELECT {columns} FROM {} WHERE store = $1", described.name);
        let rows = self.query(&sql, &[&i64::from(store.0)])?;
        rows.iter()
            .map(|row| crate::apply::fold_row(table, row).map_err(|error| ledger_error("read folds", &error)))
            .collect()
    }
}

fn balance(row: &Row) -> Option<StockBalance> {
    Some(StockBalance {
        sku: Sku(row.get::<_, i64>(0).cast_unsigned()),
        lot: LotId::new(row.get(1)).ok()?,
        account: StockAccount::from_code(u8::try_from(row.get::<_, i64>(2)).ok()?)?,
        quantity: Milli(row.get(3)),
    })
}
