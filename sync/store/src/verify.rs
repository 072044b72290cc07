//! Recomputing chain and folds from the records, and comparing them with what is stored: row by row, both directions.
//!
//! Streaming: one store at a time, one record at a time; memory is that of one store's fold rows.

use crate::fold::{Base, FoldSet, View, article_body, fold};
use crate::ingest::counted_kind;
use crate::item::{Class, Item, ItemKey};
use crate::log::{self, Entry, SEAL_EVERY};
use crate::recompute::Recomputed;
use crate::rows::PriceRow;
use crate::schema;
use crate::table::{Tables, price_row, signed, unsigned};
use crate::{LedgerError, VerifyReport, truncate};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;
use std::path::Path;
use sync_model::{Article, Event, EventId, LogId, Seq, Sku, StoreId};

/// Checks a ledger file that may be in use; reads only.
pub fn verify_file(path: &Path) -> Result<VerifyReport, LedgerError> {
    let mut report = VerifyReport::default();
    let checked = schema::connect_read_only(path).and_then(|conn| {
        let snapshot = conn.unchecked_transaction()?;
        verify(&snapshot, &mut report)?;
        snapshot.finish()
    });
    match checked {
        Ok(()) => Ok(report),
        Err(error) if crate::open::is_damage(&error) => {
            report.add("file", error.to_string());
            Ok(report)
        }
        Err(error) => Err(LedgerError::sql(format!("verify {}", path.display()), &error)),
    }
}

fn verify(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("PRAGMA integrity_check(20)")?;
    let mut lines = statement.query([])?;
    while let Some(line) = lines.next()? {
        let text: String = line.get(0)?;
        if text != "ok" {
            report.add("file", text);
        }
    }
    let mut stores: BTreeMap<StoreId, Vec<(LogId, Entry)>> = BTreeMap::new();
    for (log, entry) in log::entries(conn)? {
        stores.entry(log.store).or_default().push((log, entry));
    }
    for (store, logs) in stores {
        let mut folds = Recomputed::new(conn, store, truncate::tickets_below(conn, store)?)?;
        if let Some(odd) = truncate::odd_base(conn, store)? {
            report.add("checkpoint", odd);
        }
        for (log, entry) in logs {
            report.logs += 1;
            verify_log(conn, log, &entry, &mut folds, report)?;
        }
        compare(conn, store, folds.finish(), report)?;
    }
    for odd in crate::evidence::odd_seals(conn)? {
        report.add("seal-link", odd);
    }
    strays(conn, report)
}

/// The chain of one log; its records are folded.
fn verify_log(
    conn: &Connection,
    log: LogId,
    entry: &Entry,
    folds: &mut Recomputed<'_>,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let mut statement =
        conn.prepare_cached("SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos")?;
    let range = [log::pos(entry.number, Seq::ZERO), log::pos(entry.number, Seq(log::SEQ_MAX))];
    let mut rows = statement.query(range)?;
    let (mut reached, mut link) = (entry.floor, entry.floor_link);
    while let Some(row) = rows.next()? {
        let pos: i64 = row.get(0)?;
        let seq = log::split(pos).1;
        if seq != reached.next() {
            report.add("chain-gap", format!("{log}: {} is followed by {seq}", reached));
        }
        let record = row.get_ref(1)?.as_blob().unwrap_or_default();
        link = link.next(log, seq, record);
        reached = seq;
        report.events += 1;
        folds.fold(EventId { log, seq }, pos, record)?;
        if seq.0.is_multiple_of(SEAL_EVERY) {
            let stored = log::seal_before(conn, entry, seq)?;
            if stored != (seq, link) {
                report.add(
                    "chain-link",
                    format!("{log} at {seq}: records hash to {link}, the seal says otherwise"),
                );
                // Go on from the seal, so that the next damage is found where it is.
                if stored.0 == seq {
                    link = stored.1;
                }
            }
        }
    }
    if (reached, link) != (entry.head, entry.link) {
        let (head, stored) = (entry.head, entry.link);
        report.add(
            "chain-head",
            format!("{log} ends at {reached} with {link}, its row says {head} with {stored}"),
        );
    }
    Ok(())
}

/// Nothing stored but the tickets: whose number counts is decided by which fact came first, and only the table knows.
struct TicketsOnly<'a>(&'a Connection);

impl Base for TicketsOnly<'_> {
    fn stock(&self, _: &crate::fold::StockKey) -> rusqlite::Result<i64> {
        Ok(0)
    }
    fn money(&self, _: &crate::fold::MoneyKey) -> rusqlite::Result<i64> {
        Ok(0)
    }
    fn tally(&self, _: &crate::fold::TallyKey) -> rusqlite::Result<u64> {
        Ok(0)
    }
    fn ticket(&self, key: &crate::fold::TicketKey) -> rusqlite::Result<Option<i64>> {
        Tables(self.0).ticket(key)
    }
    fn article(&self, _: StoreId, _: Sku) -> rusqlite::Result<Option<Article>> {
        Ok(None)
    }
    fn price(&self, _: StoreId, _: Sku) -> rusqlite::Result<Option<PriceRow>> {
        Ok(None)
    }
    fn item(&self, _: &ItemKey) -> rusqlite::Result<Option<Item>> {
        Ok(None)
    }
}

/// Folds a record into `set`, over nothing but the tickets.
pub(crate) fn refold(
    conn: &Connection,
    id: EventId,
    pos: i64,
    record: &[u8],
    set: &mut FoldSet,
) -> rusqlite::Result<()> {
    refold_over(&TicketsOnly(conn), id, pos, record, set)
}

/// Folds a record into `set` over stored rows.
pub(crate) fn refold_over(
    base: &dyn Base,
    id: EventId,
    pos: i64,
    record: &[u8],
    set: &mut FoldSet,
) -> rusqlite::Result<()> {
    let event = Event::from_record(record);
    let empty = FoldSet::default();
    let mut view = View { job: set, group: &empty, cache: &empty, base, sums: None };
    view.count((id.log.store, id.log.direction, counted_kind(&event)))?;
    match event.map(|event| fold(&mut view, id, pos, &event)) {
        Ok(Err(crate::fold::FoldError::Storage(error))) => Err(error),
        // A record that folds as nothing did so when it was stored, too.
        _ => Ok(()),
    }
}

/// Compares stored rows with expected ones.
fn table<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    conn: &Connection,
    (name, sql): (&'static str, &str),
    store: StoreId,
    mut expected: BTreeMap<K, V>,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<Option<(K, V)>>,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([store.0])?;
    while let Some(row) = rows.next()? {
        let Some((key, found)) = read(row)? else {
            report.add(name, format!("store {store}: a row has an impossible key"));
            continue;
        };
        match expected.remove(&key) {
            Some(value) if value == found => {}
            Some(value) => {
                report.add(name, format!("store {store}, {key:?}: expected {value:?}, found {found:?}"));
            }
            None => report.add(name, format!("store {store}, {key:?}: no event says {found:?}")),
        }
    }
    for (key, value) in expected {
        report.add(name, format!("store {store}, {key:?}: row is missing, expected {value:?}"));
    }
    Ok(())
}

fn compare(
    conn: &Connection,
    store: StoreId,
    set: FoldSet,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    compare_balances(conn, store, &set, report)?;
    let articles = set
        .articles
        .iter()
        .map(|((_, sku), row)| (sku.0, (signed(row.version), article_body(row))))
        .collect();
    let sql = ("fold-article", "SELECT sku, version, body FROM article WHERE store = ?1");
    table(
        conn,
        sql,
        store,
        articles,
        |row| Ok(Some((unsigned(row.get(0)?), (row.get(1)?, row.get(2)?)))),
        report,
    )?;
    let prices = set.prices.iter().map(|((_, sku), row)| (sku.0, *row)).collect();
    let sql = ("fold-price", "SELECT sku, price, version, epoch, seq FROM price WHERE store = ?1");
    let read = |row: &Row<'_>| {
        let sku = unsigned(row.get(0)?);
        Ok(Some((sku, price_row(Sku(sku), row, 1)?)))
    };
    table(conn, sql, store, prices, read, report)?;
    let items = set.items.into_iter().map(|(key, item)| {
        let value = (item.open(), item.to_body());
        ((key.class, key.key), value)
    });
    let sql = ("fold-item", "SELECT class, key, open, body FROM item WHERE store = ?1");
    let read = |row: &Row<'_>| {
        let class = Class::from_code(row.get(0)?);
        let (key, value) = (row.get(1)?, (row.get(2)?, row.get(3)?));
        Ok(class.map(|class| ((class, key), value)))
    };
    table(conn, sql, store, items.collect(), read, report)?;
    for key in set.tickets.keys() {
        report.add("fold-ticket", format!("store {store}: row of {key:?} is missing"));
    }
    let rows: i64 =
        conn.query_row("SELECT count(*) FROM ticket WHERE store = ?1", [store.0], |row| row.get(0))?;
    if unsigned(rows) != set.ticket_hits {
        let met = set.ticket_hits;
        report.add(
            "fold-ticket",
            format!("store {store}: {rows} rows, {met} of them name the event that counts"),
        );
    }
    Ok(())
}

fn compare_balances(
    conn: &Connection,
    store: StoreId,
    set: &FoldSet,
    report: &mut VerifyReport,
) -> rusqlite::Result<()> {
    let stock = set
        .stock
        .iter()
        .map(|((_, sku, lot, account), value)| ((sku.0, lot.as_str().to_owned(), *account), *value));
    let sql = ("fold-stock", "SELECT sku, lot, account, quantity FROM stock WHERE store = ?1");
    let read = |row: &Row<'_>| Ok(Some(((unsigned(row.get(0)?), row.get(1)?, row.get(2)?), row.get(3)?)));
    table(conn, sql, store, stock.collect(), read, report)?;
    let money = set
        .money
        .iter()
        .map(|((_, day, currency, account), value)| ((*day, currency.as_str().to_owned(), *account), *value));
    let sql = ("fold-money", "SELECT day, currency, account, amount FROM money WHERE store = ?1");
    let read = |row: &Row<'_>| Ok(Some(((row.get(0)?, row.get(1)?, row.get(2)?), row.get(3)?)));
    table(conn, sql, store, money.collect(), read, report)?;
    let tally =
        set.tally.iter().map(|((_, direction, kind), count)| ((direction.code(), kind.0), signed(*count)));
    let sql = ("fold-count", "SELECT direction, kind, count FROM tally WHERE store = ?1");
    let read = |row: &Row<'_>| Ok(Some(((row.get(0)?, row.get(1)?), row.get(2)?)));
    table(conn, sql, store, tally.collect(), read, report)
}

/// Rows that belong to no log.
fn strays(conn: &Connection, report: &mut VerifyReport) -> rusqlite::Result<()> {
    let tables = [
        ("fold-stock", "stock"),
        ("fold-money", "money"),
        ("fold-count", "tally"),
        ("fold-ticket", "ticket"),
        ("fold-article", "article"),
        ("fold-price", "price"),
        ("fold-item", "item"),
    ];
    for (name, table) in tables {
        let sql = format!("SELECT count(*) FROM {table} WHERE store NOT IN (SELECT store FROM log)");
        let rows: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
        if rows > 0 {
            report.add(name, format!("{rows} rows of stores without a log"));
        }
    }
    let below = log::has_floors(conn)?;
    for table in ["event", "seal", "floor"].into_iter().filter(|table| below || *table != "floor") {
        let column = if table == "floor" { "log" } else { "pos >> 40" };
        let sql = format!("SELECT count(*) FROM {table} WHERE ({column}) NOT IN (SELECT id FROM log)");
        let rows: i64 = conn.query_row(&sql, params![], |row| row.get(0))?;
        if rows > 0 {
            report.add("chain-gap", format!("{rows} {table} rows of no log"));
        }
    }
    Ok(())
}
