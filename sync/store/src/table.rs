//! Fold tables in SQL: one row read, one row written. Everything above speaks in [`FoldSet`]s.

use crate::fold::{Base, FoldSet, MoneyKey, StockKey, TallyKey, TicketKey, article_body};
use crate::item::{Item, ItemKey};
use crate::rows::PriceRow;
use crate::sums::Sums;
use rusqlite::{Connection, OptionalExtension, params};
use sync_model::{Article, Epoch, FactRef, Minor, Seq, Sku, StoreId, TillId};

/// An unsigned number in SQL's signed 64 bits, bit for bit: equality is kept, and order below 2^63.
pub(crate) fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// Inverse of [`signed`].
pub(crate) fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

/// The file as the lowest layer of a view.
pub(crate) struct Tables<'a>(pub(crate) &'a Connection);

impl Base for Tables<'_> {
    fn stock(&self, (store, sku, lot, account): &StockKey) -> rusqlite::Result<i64> {
        let sql = "SELECT quantity FROM stock WHERE store = ?1 AND sku = ?2 AND lot = ?3 AND account = ?4";
        let key = params![store.0, signed(sku.0), lot.as_str(), account];
        let found = self.0.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(0))
    }

    fn money(&self, (store, day, currency, account): &MoneyKey) -> rusqlite::Result<i64> {
        let sql = "SELECT amount FROM money WHERE store = ?1 AND day = ?2 AND currency = ?3 AND account = ?4";
        let key = params![store.0, day, currency.as_str(), account];
        let found = self.0.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
        Ok(found.unwrap_or(0))
    }

    fn tally(&self, (store, direction, kind): &TallyKey) -> rusqlite::Result<u64> {
        let sql = "SELECT count FROM tally WHERE store = ?1 AND direction = ?2 AND kind = ?3";
        let key = params![store.0, direction.code(), kind.0];
        let found: Option<i64> = self.0.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()?;
        Ok(found.map_or(0, unsigned))
    }

    fn ticket(&self, (store, form, till, number): &TicketKey) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT pos FROM ticket WHERE store = ?1 AND form = ?2 AND till = ?3 AND number = ?4";
        let key = params![store.0, form, till.0, signed(*number)];
        self.0.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
    }

    fn highest_ticket(&self, store: StoreId, form: u8, till: TillId) -> rusqlite::Result<i64> {
        let sql = "SELECT max(number) FROM ticket WHERE store = ?1 AND form = ?2 AND till = ?3";
        let key = params![store.0, form, till.0];
        let found: Option<i64> = self.0.prepare_cached(sql)?.query_row(key, |row| row.get(0))?;
        Ok(found.unwrap_or(i64::MIN))
    }

    fn article(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<Article>> {
        let sql = "SELECT body FROM article WHERE store = ?1 AND sku = ?2";
        let found: Option<Vec<u8>> = self
            .0
            .prepare_cached(sql)?
            .query_row(params![store.0, signed(sku.0)], |row| row.get(0))
            .optional()?;
        // A damaged body reads as absent: the next article set replaces it, and verify names it.
        Ok(found.and_then(|body| postcard::from_bytes(&body).ok()))
    }

    fn price(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<PriceRow>> {
        let sql = "SELECT price, version, epoch, seq FROM price WHERE store = ?1 AND sku = ?2";
        let key = params![store.0, signed(sku.0)];
        self.0.prepare_cached(sql)?.query_row(key, |row| price_row(sku, row, 0)).optional()
    }

    fn item(&self, key: &ItemKey) -> rusqlite::Result<Option<Item>> {
        let sql = "SELECT body FROM item WHERE store = ?1 AND class = ?2 AND key = ?3";
        let found: Option<Vec<u8>> = self
            .0
            .prepare_cached(sql)?
            .query_row(params![key.store.0, key.class.code(), key.key], |row| row.get(0))
            .optional()?;
        Ok(found.and_then(|body| Item::from_body(key.class, &body)))
    }
}

/// Reads price, version, epoch and seq from column `at` on.
pub(crate) fn price_row(sku: Sku, row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<PriceRow> {
    Ok(PriceRow {
        sku,
        price: Minor(row.get(at)?),
        version: unsigned(row.get(at + 1)?),
        by: FactRef { epoch: Epoch(row.get(at + 2)?), seq: Seq(unsigned(row.get(at + 3)?)) },
    })
}

const STOCK: &str = "INSERT INTO stock (store, sku, lot, account, quantity) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET quantity = excluded.quantity";
const MONEY: &str = "INSERT INTO money (store, day, currency, account, amount) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET amount = excluded.amount";
const TALLY: &str = "INSERT INTO tally (store, direction, kind, count) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET count = excluded.count";
const TICKET: &str = "INSERT INTO ticket (store, form, till, number, pos) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Writes every row of `set`.
pub(crate) fn write(conn: &Connection, set: &FoldSet) -> rusqlite::Result<()> {
    write_balances(conn, set)?;
    let mut ticket = conn.prepare_cached(TICKET)?;
    for ((store, form, till, number), pos) in &set.tickets {
        ticket.execute(params![store.0, form, till.0, signed(*number), pos])?;
    }
    let mut article = conn.prepare_cached(
        "INSERT INTO article (store, sku, version, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body",
    )?;
    for ((store, sku), row) in &set.articles {
        article.execute(params![store.0, signed(sku.0), signed(row.version), article_body(row)])?;
    }
    let mut price = conn.prepare_cached(
        "INSERT INTO price (store, sku, price, version, epoch, seq) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE
         SET price = excluded.price, version = excluded.version, epoch = excluded.epoch, seq = excluded.seq",
    )?;
    for ((store, sku), row) in &set.prices {
        let (version, seq) = (signed(row.version), signed(row.by.seq.0));
        price.execute(params![store.0, signed(sku.0), row.price.0, version, row.by.epoch.0, seq])?;
    }
    let mut item = conn.prepare_cached(
        "INSERT INTO item (store, class, key, open, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET open = excluded.open, body = excluded.body",
    )?;
    for (key, row) in &set.items {
        item.execute(params![key.store.0, key.class.code(), key.key, row.open(), row.to_body()])?;
    }
    Ok(())
}

/// Writes every changed row of `sums`.
pub(crate) fn write_sums(conn: &Connection, sums: &Sums) -> rusqlite::Result<()> {
    let mut stock = conn.prepare_cached(STOCK)?;
    for (row, value) in sums.stock.sorted() {
        stock.execute(params![row.store.0, signed(row.sku.0), row.lot(), row.account, value])?;
    }
    let mut money = conn.prepare_cached(MONEY)?;
    for ((store, day, currency, account), value) in sums.money.sorted() {
        money.execute(params![store.0, day, currency.as_str(), account, value])?;
    }
    let mut tally = conn.prepare_cached(TALLY)?;
    for ((store, direction, kind), value) in sums.tally.sorted() {
        tally.execute(params![store.0, direction.code(), kind.0, signed(value)])?;
    }
    let mut ticket = conn.prepare_cached(TICKET)?;
    for ((store, form, till, number), pos) in sums.tickets.sorted() {
        ticket.execute(params![store.0, form, till.0, signed(*number), pos])?;
    }
    Ok(())
}

fn write_balances(conn: &Connection, set: &FoldSet) -> rusqlite::Result<()> {
    let mut stock = conn.prepare_cached(STOCK)?;
    for ((store, sku, lot, account), value) in &set.stock {
        stock.execute(params![store.0, signed(sku.0), lot.as_str(), account, value])?;
    }
    let mut money = conn.prepare_cached(MONEY)?;
    for ((store, day, currency, account), value) in &set.money {
        money.execute(params![store.0, day, currency.as_str(), account, value])?;
    }
    let mut tally = conn.prepare_cached(TALLY)?;
    for ((store, direction, kind), value) in &set.tally {
        tally.execute(params![store.0, direction.code(), kind.0, signed(*value)])?;
    }
    Ok(())
}
