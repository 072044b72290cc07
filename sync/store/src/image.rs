//! Fold rows of one store as bytes: what stays of truncated records, and what checkpoints and snapshots hash and carry.
//!
//! A row is (table, key, body); tables are numbered as in [`crate::FOLD_TABLES`]. Integers are big-endian. Keys: stock
//! `sku u64 | account u8 | lot`, money `day i32 | account u8 | currency`, tally `direction u8 | kind u16`, article and price
//! `sku u64`, item `class u8 | key`, ticket `form u8 | till u16 | number u64`. Bodies: a balance `i64`, a count `u64`, a price
//! `price i64 | version u64 | epoch u32 | seq u64`, articles and items as their tables have them, a ticket
//! `direction u8 | epoch u32 | seq u64`.
//!
//! Digest: BLAKE3 in derive-key mode over every row in order of (table, key): `table u8 | length u32 | key | length u32 | body`.

use crate::fold::{Base, FoldSet, MoneyKey, StockKey, TallyKey, TicketKey, article_body};
use crate::folder::TICKET_TABLE;
use crate::item::{Class, Item, ItemKey};
use crate::log::{self, Entry};
use crate::rows::PriceRow;
use crate::table::{Tables, signed, unsigned};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use sync_model::{
    Article, Currency, Direction, Epoch, FactRef, Kind, LogId, LotId, Minor, Seq, Sku, StoreId, TillId,
};

const STOCK: u8 = 0;
const MONEY: u8 = 1;
const TALLY: u8 = 2;
/// Tickets: never in the base table, only in digests and snapshots.
pub(crate) const TICKET: u8 = 3;
const ARTICLE: u8 = 4;
const PRICE: u8 = 5;
const ITEM: u8 = 6;
const _: () = assert!(TICKET as usize == TICKET_TABLE, "tables are numbered in one place");

/// Longest key or body that is read from a snapshot.
pub(crate) const ROW_BYTES_MAX: usize = 1 << 20;

/// A row's table and key.
pub(crate) type RowKey = (u8, Vec<u8>);

fn stock_key((_, sku, lot, account): &StockKey) -> Vec<u8> {
    [sku.0.to_be_bytes().as_slice(), &[*account], lot.as_str().as_bytes()].concat()
}

fn money_key((_, day, currency, account): &MoneyKey) -> Vec<u8> {
    [day.to_be_bytes().as_slice(), &[*account], currency.as_str().as_bytes()].concat()
}

fn tally_key((_, direction, kind): &TallyKey) -> Vec<u8> {
    [[direction.code()].as_slice(), &kind.0.to_be_bytes()].concat()
}

fn item_key(key: &ItemKey) -> Vec<u8> {
    let class = u8::try_from(key.class.code()).unwrap_or(0);
    [[class].as_slice(), &key.key].concat()
}

fn price_body(row: &PriceRow) -> Vec<u8> {
    let (price, version) = (row.price.0.to_be_bytes(), row.version.to_be_bytes());
    [price.as_slice(), &version, &row.by.epoch.0.to_be_bytes(), &row.by.seq.0.to_be_bytes()].concat()
}

/// Every row of a set but its tickets. One store's set gives one store's rows.
pub(crate) fn rows(set: &FoldSet) -> BTreeMap<RowKey, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let balance = |value: &i64| value.to_be_bytes().to_vec();
    rows.extend(set.stock.iter().map(|(key, value)| ((STOCK, stock_key(key)), balance(value))));
    rows.extend(set.money.iter().map(|(key, value)| ((MONEY, money_key(key)), balance(value))));
    rows.extend(set.tally.iter().map(|(key, count)| ((TALLY, tally_key(key)), count.to_be_bytes().to_vec())));
    rows.extend(set.articles.iter().map(|((_, sku), row)| {
        let key = sku.0.to_be_bytes().to_vec();
        ((ARTICLE, key), article_body(row))
    }));
    rows.extend(set.prices.iter().map(|((_, sku), row)| {
        let key = sku.0.to_be_bytes().to_vec();
        ((PRICE, key), price_body(row))
    }));
    rows.extend(set.items.iter().map(|(key, item)| ((ITEM, item_key(key)), item.to_body())));
    rows
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// Puts one row into a set; `None` when it is none.
pub(crate) fn put(set: &mut FoldSet, store: StoreId, table: u8, mut key: &[u8], body: &[u8]) -> Option<()> {
    match table {
        STOCK => {
            let (sku, [account]) = (Sku(u64::from_be_bytes(take(&mut key)?)), take(&mut key)?);
            let lot = LotId::new(std::str::from_utf8(key).ok()?).ok()?;
            set.stock.insert((store, sku, lot, account), i64::from_be_bytes(fixed(body)?));
        }
        MONEY => {
            let (day, [account]) = (i32::from_be_bytes(take(&mut key)?), take(&mut key)?);
            let currency = Currency::new(std::str::from_utf8(key).ok()?)?;
            set.money.insert((store, day, currency, account), i64::from_be_bytes(fixed(body)?));
        }
        TALLY => {
            let [direction] = take(&mut key)?;
            let kind = Kind(u16::from_be_bytes(fixed(key)?));
            let key = (store, Direction::from_code(direction)?, kind);
            set.tally.insert(key, u64::from_be_bytes(fixed(body)?));
        }
        ARTICLE => {
            let article: Article = postcard::from_bytes(body).ok()?;
            set.articles.insert((store, Sku(u64::from_be_bytes(fixed(key)?))), article);
        }
        PRICE => {
            let sku = Sku(u64::from_be_bytes(fixed(key)?));
            set.prices.insert((store, sku), price_row(sku, body)?);
        }
        ITEM => {
            let (class, key) = key.split_first()?;
            let class = Class::from_code(i64::from(*class))?;
            let item = Item::from_body(class, body)?;
            set.items.insert(ItemKey { store, class, key: key.to_vec() }, item);
        }
        _ => return None,
    }
    Some(())
}

fn price_row(sku: Sku, mut body: &[u8]) -> Option<PriceRow> {
    let price = Minor(i64::from_be_bytes(take(&mut body)?));
    let version = u64::from_be_bytes(take(&mut body)?);
    let epoch = Epoch(u32::from_be_bytes(take(&mut body)?));
    let by = FactRef { epoch, seq: Seq(u64::from_be_bytes(fixed(body)?)) };
    Some(PriceRow { sku, price, version, by })
}

/// A ticket's row: which event its number belongs to.
pub(crate) fn ticket_row((_, form, till, number): &TicketKey, log: LogId, seq: Seq) -> (Vec<u8>, Vec<u8>) {
    let key = [[*form].as_slice(), &till.0.to_be_bytes(), &number.to_be_bytes()].concat();
    let body = [[log.direction.code()].as_slice(), &log.epoch.0.to_be_bytes(), &seq.0.to_be_bytes()].concat();
    (key, body)
}

/// Inverse of [`ticket_row`].
pub(crate) fn read_ticket(
    store: StoreId,
    mut key: &[u8],
    mut body: &[u8],
) -> Option<(TicketKey, LogId, Seq)> {
    let ([form], till) = (take(&mut key)?, TillId(u16::from_be_bytes(take(&mut key)?)));
    let number = u64::from_be_bytes(fixed(key)?);
    let ([direction], epoch) = (take(&mut body)?, Epoch(u32::from_be_bytes(take(&mut body)?)));
    let log = LogId { store, direction: Direction::from_code(direction)?, epoch };
    Some(((store, form, till, number), log, Seq(u64::from_be_bytes(fixed(body)?))))
}

/// The base rows as the lowest layer of a view; tickets come from their table.
pub(crate) struct BaseRows<'a>(pub(crate) &'a Connection);

impl BaseRows<'_> {
    fn body(&self, store: StoreId, table: u8, key: &[u8]) -> rusqlite::Result<Option<Vec<u8>>> {
        let sql = "SELECT body FROM base WHERE store = ?1 AND tab = ?2 AND key = ?3";
        let mut statement = self.0.prepare_cached(sql)?;
        statement.query_row(params![store.0, table, key], |row| row.get(0)).optional()
    }
}

impl Base for BaseRows<'_> {
    fn stock(&self, key: &StockKey) -> rusqlite::Result<i64> {
        let body = self.body(key.0, STOCK, &stock_key(key))?;
        Ok(body.and_then(|body| fixed(&body)).map_or(0, i64::from_be_bytes))
    }
    fn money(&self, key: &MoneyKey) -> rusqlite::Result<i64> {
        let body = self.body(key.0, MONEY, &money_key(key))?;
        Ok(body.and_then(|body| fixed(&body)).map_or(0, i64::from_be_bytes))
    }
    fn tally(&self, key: &TallyKey) -> rusqlite::Result<u64> {
        let body = self.body(key.0, TALLY, &tally_key(key))?;
        Ok(body.and_then(|body| fixed(&body)).map_or(0, u64::from_be_bytes))
    }
    fn ticket(&self, key: &TicketKey) -> rusqlite::Result<Option<i64>> {
        Tables(self.0).ticket(key)
    }
    fn article(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<Article>> {
        let body = self.body(store, ARTICLE, &sku.0.to_be_bytes())?;
        Ok(body.and_then(|body| postcard::from_bytes(&body).ok()))
    }
    fn price(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<PriceRow>> {
        let body = self.body(store, PRICE, &sku.0.to_be_bytes())?;
        Ok(body.and_then(|body| price_row(sku, &body)))
    }
    fn item(&self, key: &ItemKey) -> rusqlite::Result<Option<Item>> {
        let body = self.body(key.store, ITEM, &item_key(key))?;
        Ok(body.and_then(|body| Item::from_body(key.class, &body)))
    }
}

/// Writes every row of one store's set into the base table.
pub(crate) fn write(conn: &Connection, store: StoreId, set: &FoldSet) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "INSERT INTO base (store, tab, key, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET body = excluded.body",
    )?;
    rows(set).into_iter().try_for_each(|((table, key), body)| {
        statement.execute(params![store.0, table, key, body]).map(|_| ())
    })
}

/// The base rows of a store, and rows that cannot be read.
pub(crate) fn load(conn: &Connection, store: StoreId) -> rusqlite::Result<(FoldSet, u64)> {
    let (mut set, mut odd) = (FoldSet::default(), 0);
    if !log::has_floors(conn)? {
        return Ok((set, odd));
    }
    let mut statement = conn.prepare_cached("SELECT tab, key, body FROM base WHERE store = ?1")?;
    let mut rows = statement.query([store.0])?;
    while let Some(row) = rows.next()? {
        let (key, body) = (row.get_ref(1)?.as_blob(), row.get_ref(2)?.as_blob());
        let (Ok(key), Ok(body)) = (key, body) else {
            odd += 1;
            continue;
        };
        odd += u64::from(put(&mut set, store, row.get(0)?, key, body).is_none());
    }
    Ok((set, odd))
}

/// Tickets of a store up to stated ends, by key: what `each` gets is a row.
pub(crate) fn tickets(
    conn: &Connection,
    store: StoreId,
    ends: &[(LogId, Entry, Seq)],
    mut each: impl FnMut(&[u8], &[u8]),
) -> rusqlite::Result<u64> {
    let ends: BTreeMap<i64, (LogId, Seq)> =
        ends.iter().map(|(log, entry, upto)| (entry.number, (*log, *upto))).collect();
    let sql =
        "SELECT form, till, number, pos FROM ticket WHERE store = ?1 ORDER BY form, till, number < 0, number";
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = statement.query([store.0])?;
    let mut count = 0;
    while let Some(row) = found.next()? {
        let (number, seq) = log::split(row.get(3)?);
        let Some((log, _)) = ends.get(&number).filter(|(_, upto)| seq <= *upto) else { continue };
        let key = (store, row.get(0)?, TillId(row.get(1)?), unsigned(row.get(2)?));
        let (key, body) = ticket_row(&key, *log, seq);
        each(&key, &body);
        count += 1;
    }
    Ok(count)
}

/// Inserts a ticket row of a log with a number of its own here.
pub(crate) fn insert_ticket(
    conn: &Connection,
    key: &TicketKey,
    number: i64,
    seq: Seq,
) -> rusqlite::Result<()> {
    let (store, form, till, of) = key;
    conn.prepare_cached("INSERT INTO ticket (store, form, till, number, pos) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![store.0, form, till.0, signed(*of), log::pos(number, seq)])
        .map(|_| ())
}

/// Digests of fold rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digests {
    /// Of stock and money.
    pub(crate) balances: [u8; 32],
    /// Of everything.
    pub(crate) folds: [u8; 32],
    /// Rows.
    pub(crate) rows: u64,
}

struct Digester {
    balances: blake3::Hasher,
    folds: blake3::Hasher,
    rows: u64,
}

impl Digester {
    fn row(&mut self, table: u8, key: &[u8], body: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        for part in [&[table][..], &length(key), key, &length(body), body] {
            self.folds.update(part);
            if table <= MONEY {
                self.balances.update(part);
            }
        }
        self.rows += 1;
    }
}

/// Digests of a store's rows at stated ends, with its tickets up to them.
pub(crate) fn digests(
    conn: &Connection,
    store: StoreId,
    set: &FoldSet,
    ends: &[(LogId, Entry, Seq)],
) -> rusqlite::Result<Digests> {
    let mut digester = Digester {
        balances: blake3::Hasher::new_derive_key("steelyard 2026 checkpoint balances 1"),
        folds: blake3::Hasher::new_derive_key("steelyard 2026 checkpoint folds 1"),
        rows: 0,
    };
    let rows = rows(set);
    let below = rows.range(..(TICKET, Vec::new()));
    below.for_each(|((table, key), body)| digester.row(*table, key, body));
    tickets(conn, store, ends, |key, body| digester.row(TICKET, key, body))?;
    let above = rows.range((TICKET, Vec::new())..);
    above.for_each(|((table, key), body)| digester.row(*table, key, body));
    Ok(Digests {
        balances: *digester.balances.finalize().as_bytes(),
        folds: *digester.folds.finalize().as_bytes(),
        rows: digester.rows,
    })
}
