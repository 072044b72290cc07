//! Questions to the ledger, on a read-only connection of their own: a slow reader never holds the writer up.

use crate::LedgerError;
use crate::draft::{on_hand_rows, sum_on_hand};
use crate::fold::Base;
use crate::item::{Class, Item, ItemKey};
use crate::log::{self, Entry, SEAL_EVERY};
use crate::quarantine::counter;
use crate::rows::{
    AlarmRow, Answer, BatchRow, DeviceRow, HeadRow, KindCount, MoneyRow, PriceRow, QuarantineCounts,
    QuarantineRow, ReservationRow, StockBalance, StockRow, StoredEvent, TagRow,
};
use crate::schema;
use crate::table::{Tables, price_row, signed, unsigned};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use std::collections::BTreeMap;
use std::path::Path;
use sync_core::{Ack, Block, Link, MoneyAccount, StockAccount};
use sync_model::{
    Article, BusinessDay, Currency, Direction, Event, EventId, Kind, LogId, LotId, Milli, Minor, Seq, Sku,
    StoreId, TillId, UnixMillis,
};

/// A read-only view of a ledger. `Send`, not `Sync`: one per thread.
#[derive(Debug)]
pub struct Reader {
    pub(crate) conn: Connection,
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Reader {
    /// Opens a reader on a ledger file.
    pub fn open(path: &Path) -> Answer<Self> {
        let open = || {
            let conn = schema::connect_read_only(path)?;
            conn.pragma_update(None, "cache_size", schema::READER_CACHE)?;
            Ok(conn)
        };
        let conn = open()
            .map_err(|error: rusqlite::Error| LedgerError::sql(format!("read {}", path.display()), &error))?;
        Ok(Self { conn })
    }

    fn ask<T>(&self, question: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Answer<T> {
        question(&self.conn).map_err(|error| LedgerError::sql("read ledger", &error))
    }

    fn rows<T>(
        &self,
        sql: &str,
        keys: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Answer<Vec<T>> {
        self.ask(|conn| conn.prepare_cached(sql)?.query_map(keys, read)?.collect())
    }

    /// Every log with its end.
    pub fn heads(&self) -> Answer<Vec<HeadRow>> {
        let entries = self.ask(log::entries)?;
        Ok(entries.iter().map(|(log, entry)| log::head_row(*log, entry)).collect())
    }

    /// The end of one log.
    pub fn head(&self, log: LogId) -> Answer<Option<HeadRow>> {
        Ok(self.ask(|conn| log::find(conn, log))?.map(|entry| log::head_row(log, &entry)))
    }

    /// Every store that has a log here.
    pub fn stores(&self) -> Answer<Vec<StoreId>> {
        self.rows("SELECT DISTINCT store FROM log ORDER BY store", [], |row| row.get(0).map(StoreId))
    }

    /// The chain link at a position; `None` beyond the end.
    pub fn link(&self, log: LogId, seq: Seq) -> Answer<Option<Link>> {
        let Some(entry) = self.ask(|conn| log::find(conn, log))? else { return Ok(None) };
        self.ask(|conn| log::link_at(conn, log, &entry, seq))
    }

    /// Events of a log from a position on, or from its floor on where that is later.
    pub fn events(&self, log: LogId, from: Seq, limit_rows: usize) -> Answer<Vec<StoredEvent>> {
        let Some(entry) = self.ask(|conn| log::find(conn, log))? else { return Ok(Vec::new()) };
        let from = from.max(entry.floor.next());
        let upto = Seq(from.0.saturating_add(unsigned(limit(limit_rows))).saturating_sub(1)).min(entry.head);
        if limit_rows == 0 || from > upto {
            return Ok(Vec::new());
        }
        self.ask(|conn| stored_events(conn, log, &entry, from, upto))
    }

    /// One event.
    pub fn event(&self, id: EventId) -> Answer<Option<StoredEvent>> {
        Ok(self.events(id.log, id.seq, 1)?.into_iter().next().filter(|event| event.id == id))
    }

    /// The last events of the newest up log, oldest first; at HQ that of the last store.
    pub fn tail(&self, limit_rows: usize) -> Answer<Vec<StoredEvent>> {
        let heads = self.heads()?;
        let Some(head) = heads.iter().rev().find(|head| head.log.direction == Direction::Up) else {
            return Ok(Vec::new());
        };
        let from = Seq(head.head.0.saturating_sub(unsigned(limit(limit_rows))).saturating_add(1).max(1));
        self.events(head.log, from, limit_rows)
    }

    /// Consecutive records from `first` on, with the link before them; `None` when there is nothing from `first` on,
    /// [`LedgerError::Truncated`] when the records there are gone. The first record comes even if it is longer than `max_bytes`. Stored links inside the block are checked on the way.
    pub fn block(
        &self,
        log: LogId,
        first: Seq,
        max_records: usize,
        max_bytes: usize,
    ) -> Answer<Option<Block>> {
        let Some(entry) = self.ask(|conn| log::find(conn, log))? else { return Ok(None) };
        if first == Seq::ZERO || first > entry.head {
            return Ok(None);
        }
        if first <= entry.floor {
            return Err(LedgerError::Truncated { log, floor: entry.floor });
        }
        let damaged = |upto| LedgerError::Damaged { log, upto };
        let before = Seq(first.0 - 1);
        let prev = self.ask(|conn| log::link_at(conn, log, &entry, before))?.ok_or(damaged(before))?;
        let max_records = max_records.clamp(1, sync_core::BLOCK_RECORDS_MAX);
        let records = self.ask(|conn| records(conn, &entry, first, max_records, max_bytes))?;
        let block = Block { log, first, prev, records };
        if block.records.is_empty() {
            return Err(damaged(first));
        }
        self.check_block(&entry, &block)?;
        Ok(Some(block))
    }

    /// Recomputes at least the last `records` links of a log and compares the result with its stored end. Gives the end;
    /// `None` for an unknown log.
    pub fn check_end(&self, log: LogId, records: u64) -> Answer<Option<Seq>> {
        let Some(entry) = self.ask(|conn| log::find(conn, log))? else { return Ok(None) };
        let from = Seq(entry.head.0.saturating_sub(records.max(1)));
        let seal = self.ask(|conn| log::seal_before(conn, &entry, from.max(entry.floor)))?;
        // Records up to an end that was read never change: no common snapshot is needed.
        let link = self.ask(|conn| log::link_from(conn, log, entry.number, seal, entry.head))?;
        match link == Some(entry.link) {
            true => Ok(Some(entry.head)),
            false => Err(LedgerError::Damaged { log, upto: seal.0 }),
        }
    }

    fn check_block(&self, entry: &Entry, block: &Block) -> Answer<()> {
        let mut link = block.prev;
        let mut seq = block.first;
        for record in &block.records {
            link = link.next(block.log, seq, record);
            let stored = if seq == entry.head {
                Some(entry.link)
            } else if seq.0.is_multiple_of(SEAL_EVERY) {
                let key = [log::pos(entry.number, seq)];
                let sql = "SELECT link FROM seal WHERE pos = ?1";
                let found = self.ask(|conn| {
                    conn.prepare_cached(sql)?.query_row(key, |row| row.get::<_, [u8; 32]>(0)).optional()
                });
                found?.map(Link)
            } else {
                None
            };
            if stored.is_some_and(|stored| stored != link) {
                return Err(LedgerError::Damaged { log: block.log, upto: seq });
            }
            seq = seq.next();
        }
        Ok(())
    }

    /// What the peer has durably of a log, as far as it said so.
    pub fn acked(&self, log: LogId) -> Answer<Option<Ack>> {
        let sql = "SELECT acked, acked_link FROM log WHERE store = ?1 AND direction = ?2 AND epoch = ?3";
        let key = params![log.store.0, log.direction.code(), log.epoch.0];
        let found: Option<(i64, Option<[u8; 32]>)> = self.ask(|conn| {
            conn.prepare_cached(sql)?.query_row(key, |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })?;
        Ok(found.map(|(upto, link)| Ack {
            log,
            upto: Seq(unsigned(upto)),
            link: link.map_or_else(|| Link::genesis(log), Link),
            gap: None,
        }))
    }

    /// Every stock balance of a store.
    pub fn balances(&self, store: StoreId) -> Answer<Vec<StockBalance>> {
        let sql = "SELECT sku, lot, account, quantity FROM stock WHERE store = ?1 ORDER BY sku, lot, account";
        let rows = self.rows(sql, [store.0], stock_balance)?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Stock of a store per article and lot, of one article or of all.
    pub fn stock(&self, store: StoreId, sku: Option<Sku>) -> Answer<Vec<StockRow>> {
        let sql =
            "SELECT sku, lot, account, quantity FROM stock WHERE store = ?1 AND (?2 IS NULL OR sku = ?2)
                   ORDER BY sku, lot, account";
        let rows = self.rows(sql, params![store.0, sku.map(|sku| signed(sku.0))], stock_balance)?;
        Ok(StockRow::sum_up(rows.into_iter().flatten()))
    }

    /// Physical stock of an article over all lots, and the promised part of it.
    pub fn on_hand(&self, store: StoreId, sku: Sku) -> Answer<(Milli, Milli)> {
        Ok(sum_on_hand(&self.ask(|conn| on_hand_rows(conn, store, sku))?))
    }

    /// Money of a store per day, currency and account.
    pub fn money(&self, store: StoreId) -> Answer<Vec<MoneyRow>> {
        let sql = "SELECT day, currency, account, amount FROM money WHERE store = ?1 ORDER BY day, currency, account";
        let rows = self.rows(sql, [store.0], |row| {
            let (day, currency, account, amount): (i32, String, u8, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let named = Currency::new(&currency).zip(MoneyAccount::from_code(account));
            Ok(named.map(|(currency, account)| MoneyRow {
                day: BusinessDay(day),
                currency,
                account,
                amount: Minor(amount),
            }))
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// HQ's article for a store.
    pub fn article(&self, store: StoreId, sku: Sku) -> Answer<Option<Article>> {
        self.ask(|conn| Tables(conn).article(store, sku))
    }

    /// Every article of a store.
    pub fn articles(&self, store: StoreId) -> Answer<Vec<Article>> {
        let sql = "SELECT body FROM article WHERE store = ?1 ORDER BY sku";
        let bodies = self.rows(sql, [store.0], |row| row.get::<_, Vec<u8>>(0))?;
        Ok(bodies.iter().filter_map(|body| postcard::from_bytes(body).ok()).collect())
    }

    /// What the tills of a store charge for an article.
    pub fn price(&self, store: StoreId, sku: Sku) -> Answer<Option<PriceRow>> {
        self.ask(|conn| Tables(conn).price(store, sku))
    }

    /// What the tills of a store charge.
    pub fn prices(&self, store: StoreId) -> Answer<Vec<PriceRow>> {
        let sql = "SELECT sku, price, version, epoch, seq FROM price WHERE store = ?1 ORDER BY sku";
        self.rows(sql, [store.0], |row| price_row(Sku(unsigned(row.get(0)?)), row, 1))
    }

    /// The sale with a ticket number.
    pub fn ticket(&self, store: StoreId, till: TillId, number: u64) -> Answer<Option<EventId>> {
        self.ask(|conn| {
            let Some(pos) = Tables(conn).ticket(&(store, 0, till, number))? else { return Ok(None) };
            let (number, seq) = log::split(pos);
            Ok(log::by_number(conn, number)?.map(|log| EventId { log, seq }))
        })
    }

    fn items(
        &self,
        store: StoreId,
        class: Class,
        open_only: bool,
        count: usize,
    ) -> Answer<Vec<(ItemKey, Item)>> {
        let sql = if open_only {
            "SELECT key, body FROM item WHERE store = ?1 AND class = ?2 AND open = 1 ORDER BY key DESC LIMIT ?3"
        } else {
            "SELECT key, body FROM item WHERE store = ?1 AND class = ?2 ORDER BY key DESC LIMIT ?3"
        };
        let rows = self.rows(sql, params![store.0, class.code(), limit(count)], |row| {
            let (key, body): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            Ok(Item::from_body(class, &body).map(|item| (ItemKey { store, class, key }, item)))
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Alarms that somebody still has to act on, newest first.
    pub fn open_alarms(&self, store: StoreId) -> Answer<Vec<AlarmRow>> {
        let items = self.items(store, Class::Alarm, true, usize::MAX)?;
        Ok(items.iter().filter_map(|(key, item)| item.alarm(key)).collect())
    }

    /// Alarms, newest first.
    pub fn alarms(&self, store: StoreId, count: usize) -> Answer<Vec<AlarmRow>> {
        let items = self.items(store, Class::Alarm, false, count)?;
        Ok(items.iter().filter_map(|(key, item)| item.alarm(key)).collect())
    }

    /// Batches that are not finished, oldest first: the order in which they are sold.
    pub fn open_batches(&self, store: StoreId) -> Answer<Vec<BatchRow>> {
        let items = self.items(store, Class::Batch, true, usize::MAX)?;
        Ok(items.iter().rev().filter_map(|(key, item)| item.batch(key)).collect())
    }

    /// Batches, newest first.
    pub fn batches(&self, store: StoreId, count: usize) -> Answer<Vec<BatchRow>> {
        let items = self.items(store, Class::Batch, false, count)?;
        Ok(items.iter().filter_map(|(key, item)| item.batch(key)).collect())
    }

    /// Reservations that have not ended, oldest first.
    pub fn open_reservations(&self, store: StoreId) -> Answer<Vec<ReservationRow>> {
        let items = self.items(store, Class::Reservation, true, usize::MAX)?;
        Ok(items.iter().rev().filter_map(|(key, item)| item.reservation(key)).collect())
    }

    /// What the shelf tags last confirmed, of one article or of all.
    pub fn tags(&self, store: StoreId, sku: Option<Sku>) -> Answer<Vec<TagRow>> {
        let items = self.items(store, Class::Tag, false, usize::MAX)?;
        let rows = items.iter().rev().filter_map(|(key, item)| item.tag(key));
        Ok(rows.filter(|row| sku.is_none_or(|sku| sku == row.sku)).collect())
    }

    /// Presence of every device that was ever seen.
    pub fn devices(&self, store: StoreId) -> Answer<Vec<DeviceRow>> {
        let items = self.items(store, Class::Device, false, usize::MAX)?;
        Ok(items.iter().rev().filter_map(|(key, item)| item.device(key)).collect())
    }

    /// A local value.
    pub fn state(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        let sql = "SELECT value FROM state WHERE key = ?1";
        self.ask(|conn| conn.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional())
    }

    /// Local values whose key starts with `prefix`, in key order.
    pub fn states(&self, prefix: &str) -> Answer<Vec<(String, Vec<u8>)>> {
        let sql = "SELECT key, value FROM state WHERE substr(key, 1, length(?1)) = ?1 ORDER BY key";
        self.rows(sql, [prefix], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// The quarantine, newest first.
    pub fn quarantine(&self, count: usize) -> Answer<Vec<QuarantineRow>> {
        let sql =
            "SELECT id, received, times, source, code, detail, raw FROM quarantine ORDER BY id DESC LIMIT ?1";
        self.rows(sql, [limit(count)], |row| {
            Ok(QuarantineRow {
                id: row.get(0)?,
                received: UnixMillis(row.get(1)?),
                times: unsigned(row.get(2)?),
                source: row.get(3)?,
                code: row.get(4)?,
                detail: row.get(5)?,
                raw: row.get(6)?,
            })
        })
    }

    /// Size of the quarantine.
    pub fn quarantine_counts(&self) -> Answer<QuarantineCounts> {
        self.ask(|conn| {
            Ok(QuarantineCounts {
                kept: counter(conn, "quarantine-rows")?,
                total: counter(conn, "quarantine-total")?,
                evicted: counter(conn, "quarantine-evicted")?,
            })
        })
    }

    /// Events by store, direction and kind.
    pub fn counts(&self) -> Answer<Vec<KindCount>> {
        let sql = "SELECT store, direction, kind, count FROM tally ORDER BY store, direction, kind";
        let rows = self.rows(sql, [], |row| {
            let direction = Direction::from_code(row.get(1)?);
            let (store, kind, count) = (StoreId(row.get(0)?), Kind(row.get(2)?), unsigned(row.get(3)?));
            Ok(direction.map(|direction| KindCount { store, direction, kind, count }))
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Size of the database file in bytes, without the write-ahead log.
    pub fn file_bytes(&self) -> Answer<u64> {
        self.ask(|conn| {
            let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let size: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
            Ok(unsigned(pages.saturating_mul(size)))
        })
    }
}

/// A stock row; `None` when its account or lot is none (a damaged row: verify names it).
fn stock_balance(row: &Row<'_>) -> rusqlite::Result<Option<StockBalance>> {
    let (sku, lot, account, quantity): (i64, String, u8, i64) =
        (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
    let named = StockAccount::from_code(account).zip(LotId::new(&lot).ok());
    Ok(named.map(|(account, lot)| StockBalance {
        sku: Sku(unsigned(sku)),
        lot,
        account,
        quantity: Milli(quantity),
    }))
}

fn records(
    conn: &Connection,
    entry: &Entry,
    first: Seq,
    max_records: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let range =
        params![log::pos(entry.number, first), log::pos(entry.number, entry.head), limit(max_records)];
    let mut rows = statement.query(range)?;
    let (mut records, mut bytes, mut next) = (Vec::new(), 0_usize, first);
    while let Some(row) = rows.next()? {
        let record: Vec<u8> = row.get(1)?;
        bytes = bytes.saturating_add(record.len());
        let full = !records.is_empty() && bytes > max_bytes.min(sync_core::BLOCK_BYTES_MAX);
        if full || log::split(row.get(0)?).1 != next {
            break;
        }
        records.push(record);
        next = next.next();
    }
    Ok(records)
}

fn stored_events(
    conn: &Connection,
    log: LogId,
    entry: &Entry,
    from: Seq,
    upto: Seq,
) -> rusqlite::Result<Vec<StoredEvent>> {
    let (first, last) = (log::pos(entry.number, from), log::pos(entry.number, upto));
    let start: Option<i64> = conn
        .prepare_cached("SELECT max(pos) FROM arrival WHERE pos BETWEEN ?1 AND ?2")?
        .query_row([log::pos(entry.number, Seq::ZERO), first], |row| row.get(0))?;
    let mut arrivals =
        conn.prepare_cached("SELECT pos, received FROM arrival WHERE pos BETWEEN ?1 AND ?2")?;
    let arrivals: BTreeMap<i64, i64> = arrivals
        .query_map([start.unwrap_or(first), last], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut statement =
        conn.prepare_cached("SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos")?;
    let rows = statement.query_map([first, last], |row| {
        let (pos, record): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        Ok(StoredEvent {
            id: EventId { log, seq: log::split(pos).1 },
            event: Event::from_record(&record),
            received: arrivals.range(..=pos).next_back().map(|(_, received)| UnixMillis(*received)),
            record,
        })
    })?;
    rows.collect()
}
