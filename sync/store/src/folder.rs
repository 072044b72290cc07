//! The folds without SQLite: the same code, over fold rows that somebody else stores.
//!
//! Purpose: another event store (HQ's PostgreSQL) books exactly what this one books. It describes every fold table as plain
//! columns, so that the other store can be generic over them: it fetches rows by key and writes changed rows back.
//!
//! Contract
//! * [`Folder::fold`] never asks anybody. A row it does not know counts as absent and is noted in [`Folder::missing`]. When
//!   a noted row turns out to exist, what was folded is void: [`Folder::drop_batch`] and fold the batch again.
//! * Three layers as in the ledger's writer: committed rows (a bounded cache), the batch, the job.
//! * The cache is right only for as long as nobody else writes these rows; [`Folder::forget`] empties it.

use crate::fold::{
    Base, FoldError, FoldSet, MoneyKey, StockKey, TallyKey, TicketKey, View, article_body, fold,
};
use crate::ingest::counted_kind;
use crate::item::{Class, Item, ItemKey};
use crate::log;
use crate::rows::PriceRow;
use crate::table::{signed, unsigned};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use sync_model::{
    Article, Currency, Direction, Epoch, Event, EventId, FactRef, Kind, LotId, Minor, Seq, Sku, StoreId,
    TillId,
};

/// Committed rows kept between batches.
const CACHE_ROWS_MAX: usize = 50_000;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// 64 bits with sign; unsigned numbers bit for bit.
    Int,
    /// UTF-8.
    Text,
    /// Bytes.
    Bytes,
    /// Truth.
    Bool,
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// See [`Column::Int`].
    Int(i64),
    /// See [`Column::Text`].
    Text(String),
    /// See [`Column::Bytes`].
    Bytes(Vec<u8>),
    /// See [`Column::Bool`].
    Bool(bool),
}

impl Cell {
    fn int(&self) -> Option<i64> {
        if let Self::Int(value) = self { Some(*value) } else { None }
    }

    fn text(&self) -> Option<&str> {
        if let Self::Text(value) = self { Some(value) } else { None }
    }

    fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(value) = self { Some(value) } else { None }
    }
}

/// Values in the order of a table's columns: keys, then values.
pub type FoldRow = Vec<Cell>;

/// A fold table. Its first key column is the store.
#[derive(Clone, Copy, Debug)]
pub struct FoldTable {
    /// Name.
    pub name: &'static str,
    /// Key columns.
    pub keys: &'static [(&'static str, Column)],
    /// Value columns.
    pub values: &'static [(&'static str, Column)],
    /// What [`crate::VerifyReport`] calls a row that does not fit.
    pub problem: &'static str,
}

use Column::{Bool, Bytes, Int, Text};

const STOCK: usize = 0;
const MONEY: usize = 1;
const TALLY: usize = 2;
const TICKET: usize = 3;
const ARTICLE: usize = 4;
const PRICE: usize = 5;
const ITEM: usize = 6;

/// Every fold table. Rows of the ticket table are only added, rows of the others change.
pub const FOLD_TABLES: [FoldTable; 7] = [
    FoldTable {
        name: "stock",
        keys: &[("store", Int), ("sku", Int), ("lot", Text), ("account", Int)],
        values: &[("quantity", Int)],
        problem: "fold-stock",
    },
    FoldTable {
        name: "money",
        keys: &[("store", Int), ("day", Int), ("currency", Text), ("account", Int)],
        values: &[("amount", Int)],
        problem: "fold-money",
    },
    FoldTable {
        name: "tally",
        keys: &[("store", Int), ("direction", Int), ("kind", Int)],
        values: &[("count", Int)],
        problem: "fold-count",
    },
    FoldTable {
        name: "ticket",
        keys: &[("store", Int), ("form", Int), ("till", Int), ("number", Int)],
        values: &[("pos", Int)],
        problem: "fold-ticket",
    },
    FoldTable {
        name: "article",
        keys: &[("store", Int), ("sku", Int)],
        values: &[("version", Int), ("body", Bytes)],
        problem: "fold-article",
    },
    FoldTable {
        name: "price",
        keys: &[("store", Int), ("sku", Int)],
        values: &[("price", Int), ("version", Int), ("epoch", Int), ("seq", Int)],
        problem: "fold-price",
    },
    FoldTable {
        name: "item",
        keys: &[("store", Int), ("class", Int), ("key", Bytes)],
        values: &[("open", Bool), ("body", Bytes)],
        problem: "fold-item",
    },
];

/// Position of the ticket table in [`FOLD_TABLES`].
pub const TICKET_TABLE: usize = TICKET;

/// Reads the body of an article row; `None` when it is damaged.
pub fn read_article(body: &[u8]) -> Option<Article> {
    postcard::from_bytes(body).ok()
}

/// Last seq of a log.
pub const POSITION_SEQ_MAX: u64 = log::SEQ_MAX;
/// Last number of a log.
pub const POSITION_NUMBER_MAX: i64 = (1 << 22) - 1;
/// Distance of the positions whose chain link is stored.
pub const SEAL_DISTANCE: u64 = log::SEAL_EVERY;

/// Log number and seq as one integer, as fold rows name an event.
pub fn position(number: i64, seq: Seq) -> i64 {
    log::pos(number, seq)
}

/// Inverse of [`position`].
pub fn position_parts(position: i64) -> (i64, Seq) {
    log::split(position)
}

fn store_cell(store: StoreId) -> Cell {
    Cell::Int(i64::from(store.0))
}

fn stock_cells((store, sku, lot, account): &StockKey) -> FoldRow {
    let lot = Cell::Text(lot.as_str().to_owned());
    vec![store_cell(*store), Cell::Int(signed(sku.0)), lot, Cell::Int(i64::from(*account))]
}

fn money_cells((store, day, currency, account): &MoneyKey) -> FoldRow {
    let currency = Cell::Text(currency.as_str().to_owned());
    vec![store_cell(*store), Cell::Int(i64::from(*day)), currency, Cell::Int(i64::from(*account))]
}

fn tally_cells((store, direction, kind): &TallyKey) -> FoldRow {
    vec![store_cell(*store), Cell::Int(i64::from(direction.code())), Cell::Int(i64::from(kind.0))]
}

fn ticket_cells((store, form, till, number): &TicketKey) -> FoldRow {
    let (form, till) = (Cell::Int(i64::from(*form)), Cell::Int(i64::from(till.0)));
    vec![store_cell(*store), form, till, Cell::Int(signed(*number))]
}

fn sku_cells(store: StoreId, sku: Sku) -> FoldRow {
    vec![store_cell(store), Cell::Int(signed(sku.0))]
}

fn item_cells(key: &ItemKey) -> FoldRow {
    vec![store_cell(key.store), Cell::Int(key.class.code()), Cell::Bytes(key.key.clone())]
}

/// What is under the cache: rows known to be absent, and rows nobody looked up yet.
#[derive(Default)]
struct Unknown {
    absent: BTreeSet<(usize, FoldRow)>,
    asked: RefCell<BTreeSet<(usize, FoldRow)>>,
    /// Highest number that a till used, as SQL orders numbers: a higher one is absent without asking.
    highest: BTreeMap<Till, i64>,
    asked_tills: RefCell<BTreeSet<Till>>,
}

/// The tickets of one till: store, form (0 sale, 1 return), till.
pub type Till = (StoreId, u8, TillId);

impl Unknown {
    fn ask(&self, table: usize, key: FoldRow) {
        let key = (table, key);
        if !self.absent.contains(&key) {
            self.asked.borrow_mut().insert(key);
        }
    }
}

impl Base for Unknown {
    fn stock(&self, key: &StockKey) -> rusqlite::Result<i64> {
        self.ask(STOCK, stock_cells(key));
        Ok(0)
    }
    fn money(&self, key: &MoneyKey) -> rusqlite::Result<i64> {
        self.ask(MONEY, money_cells(key));
        Ok(0)
    }
    fn tally(&self, key: &TallyKey) -> rusqlite::Result<u64> {
        self.ask(TALLY, tally_cells(key));
        Ok(0)
    }
    fn ticket(&self, key: &TicketKey) -> rusqlite::Result<Option<i64>> {
        let (store, form, till, number) = *key;
        match self.highest.get(&(store, form, till)) {
            Some(highest) if signed(number) > *highest => {}
            Some(_) => self.ask(TICKET, ticket_cells(key)),
            None => drop(self.asked_tills.borrow_mut().insert((store, form, till))),
        }
        Ok(None)
    }
    fn article(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<Article>> {
        self.ask(ARTICLE, sku_cells(store, sku));
        Ok(None)
    }
    fn price(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<PriceRow>> {
        self.ask(PRICE, sku_cells(store, sku));
        Ok(None)
    }
    fn item(&self, key: &ItemKey) -> rusqlite::Result<Option<Item>> {
        self.ask(ITEM, item_cells(key));
        Ok(None)
    }
}

/// The folds over rows stored elsewhere.
#[derive(Default)]
pub struct Folder {
    cache: FoldSet,
    batch: FoldSet,
    job: FoldSet,
    unknown: Unknown,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("cached", &self.cache.rows()).finish_non_exhaustive()
    }
}

impl Folder {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads through the layers; what is not known is noted as missing.
    pub(crate) fn with_view<T>(&mut self, read: impl FnOnce(&mut View<'_>) -> T) -> T {
        read(&mut self.view())
    }

    /// Items that the batch changed, the job's last.
    pub(crate) fn pending_items(&self) -> impl Iterator<Item = (&ItemKey, &Item)> {
        self.batch.items.iter().chain(&self.job.items)
    }

    fn view(&mut self) -> View<'_> {
        View { job: &mut self.job, group: &self.batch, cache: &self.cache, base: &self.unknown, sums: None }
    }

    /// Folds and counts one stored record. Answers why it folds as nothing, if it does: code and text.
    pub fn fold(&mut self, id: EventId, pos: i64, record: &[u8]) -> Option<(&'static str, String)> {
        let event = Event::from_record(record);
        self.count(id, counted_kind(&event));
        match event {
            Ok(event) => self.fold_event(id, pos, &event).err(),
            Err(error) => Some(("undecodable", error.to_string())),
        }
    }

    /// Folds an event of one's own without counting it; one that folds as nothing must not be written.
    pub fn fold_event(&mut self, id: EventId, pos: i64, event: &Event) -> Result<(), (&'static str, String)> {
        fold(&mut self.view(), id, pos, event).map_err(|odd| match odd {
            FoldError::Storage(error) => ("storage", error.to_string()),
            other => other.reason().unwrap_or(("odd", String::new())),
        })
    }

    /// Counts one record of a log.
    pub fn count(&mut self, id: EventId, kind: Kind) {
        // Only a base that reads a file can fail, and this one does not.
        if let Err(error) = self.view().count((id.log.store, id.log.direction, kind)) {
            tracing::error!(%error, "event not counted");
        }
    }

    /// The job is accepted.
    pub fn keep_job(&mut self) {
        self.batch.ticket_hits += self.job.ticket_hits;
        self.batch.absorb(&mut self.job);
        self.job.clear();
    }

    /// The job is refused.
    pub fn drop_job(&mut self) {
        self.job.clear();
    }

    /// Keys that were asked for and are not known, by table, and no more after this call.
    pub fn missing(&mut self) -> Vec<(usize, Vec<FoldRow>)> {
        let asked = std::mem::take(&mut *self.unknown.asked.borrow_mut());
        let mut tables: Vec<(usize, Vec<FoldRow>)> = Vec::new();
        for (table, key) in asked {
            self.unknown.absent.insert((table, key.clone()));
            match tables.last_mut() {
                Some((last, keys)) if *last == table => keys.push(key),
                _ => tables.push((table, vec![key])),
            }
        }
        tables
    }

    /// Tills of which no ticket was looked up yet, and no more after this call. What was folded with one of their tickets is
    /// void until [`Folder::supply_till`] was called for it.
    pub fn missing_tills(&mut self) -> Vec<Till> {
        std::mem::take(&mut *self.unknown.asked_tills.borrow_mut()).into_iter().collect()
    }

    /// The highest number that a till used, as SQL orders numbers (signed); `None` for a till without a ticket.
    pub fn supply_till(&mut self, till: Till, highest: Option<i64>) {
        self.unknown.highest.insert(till, highest.unwrap_or(i64::MIN));
    }

    /// Takes in a stored row. `None` for a row that is none: it counts as absent.
    pub fn supply(&mut self, table: usize, row: &[Cell]) -> Option<()> {
        let store = StoreId(u32::try_from(row.first()?.int()?).ok()?);
        let int = |at: usize| row.get(at).and_then(Cell::int);
        let sku = || int(1).map(|sku| Sku(unsigned(sku)));
        match table {
            STOCK => {
                let lot = LotId::new(row.get(2)?.text()?).ok()?;
                let key = (store, sku()?, lot, u8::try_from(int(3)?).ok()?);
                self.cache.stock.insert(key, int(4)?);
            }
            MONEY => {
                let currency = Currency::new(row.get(2)?.text()?)?;
                let key = (store, i32::try_from(int(1)?).ok()?, currency, u8::try_from(int(3)?).ok()?);
                self.cache.money.insert(key, int(4)?);
            }
            TALLY => {
                let direction = Direction::from_code(u8::try_from(int(1)?).ok()?)?;
                let key = (store, direction, Kind(u16::try_from(int(2)?).ok()?));
                self.cache.tally.insert(key, unsigned(int(3)?));
            }
            TICKET => {
                let (form, till) = (u8::try_from(int(1)?).ok()?, u16::try_from(int(2)?).ok()?);
                self.cache.tickets.insert((store, form, TillId(till), unsigned(int(3)?)), int(4)?);
            }
            ARTICLE => {
                let article = postcard::from_bytes(row.get(3)?.bytes()?).ok()?;
                self.cache.articles.insert((store, sku()?), article);
            }
            PRICE => {
                let by = FactRef { epoch: Epoch(u32::try_from(int(4)?).ok()?), seq: Seq(unsigned(int(5)?)) };
                let sku = sku()?;
                let row = PriceRow { sku, price: Minor(int(2)?), version: unsigned(int(3)?), by };
                self.cache.prices.insert((store, sku), row);
            }
            ITEM => {
                let class = Class::from_code(int(1)?)?;
                let key = ItemKey { store, class, key: row.get(2)?.bytes()?.to_vec() };
                let item = Item::from_body(class, row.get(4)?.bytes()?)?;
                self.cache.items.insert(key, item);
            }
            _ => return None,
        }
        Some(())
    }

    /// Every row that the batch changed, with its new values, by table.
    pub fn changes(&self) -> Vec<(usize, Vec<FoldRow>)> {
        let set = &self.batch;
        let with = |mut key: FoldRow, values: Vec<Cell>| {
            key.extend(values);
            key
        };
        let int = |value: i64| vec![Cell::Int(value)];
        let tables = [
            (STOCK, set.stock.iter().map(|(key, value)| with(stock_cells(key), int(*value))).collect()),
            (MONEY, set.money.iter().map(|(key, value)| with(money_cells(key), int(*value))).collect()),
            (
                TALLY,
                set.tally.iter().map(|(key, count)| with(tally_cells(key), int(signed(*count)))).collect(),
            ),
            (TICKET, set.tickets.iter().map(|(key, pos)| with(ticket_cells(key), int(*pos))).collect()),
            (
                ARTICLE,
                set.articles
                    .iter()
                    .map(|((store, sku), row)| {
                        let values = vec![Cell::Int(signed(row.version)), Cell::Bytes(article_body(row))];
                        with(sku_cells(*store, *sku), values)
                    })
                    .collect(),
            ),
            (
                PRICE,
                set.prices
                    .iter()
                    .map(|((store, sku), row)| {
                        let (version, seq) = (signed(row.version), signed(row.by.seq.0));
                        let values = [row.price.0, version, i64::from(row.by.epoch.0), seq];
                        with(sku_cells(*store, *sku), values.map(Cell::Int).to_vec())
                    })
                    .collect(),
            ),
            (
                ITEM,
                set.items
                    .iter()
                    .map(|(key, item)| {
                        with(item_cells(key), vec![Cell::Bool(item.open()), Cell::Bytes(item.to_body())])
                    })
                    .collect(),
            ),
        ];
        tables.into_iter().filter(|(_, rows): &(usize, Vec<FoldRow>)| !rows.is_empty()).collect()
    }

    /// Tickets met again at their own position since the batch began: see `fold-ticket` in a verification.
    pub fn ticket_hits(&self) -> u64 {
        self.batch.ticket_hits + self.job.ticket_hits
    }

    /// The batch is durable.
    pub fn keep_batch(&mut self) {
        if self.cache.rows() + self.batch.rows() > CACHE_ROWS_MAX {
            self.cache.clear();
        }
        let mut highest = std::mem::take(&mut self.unknown.highest);
        for (store, form, till, number) in self.batch.tickets.keys() {
            if let Some(known) = highest.get_mut(&(*store, *form, *till)) {
                *known = signed(*number).max(*known);
            }
        }
        // Tickets are not asked for again.
        self.batch.tickets.clear();
        self.cache.tickets.clear();
        self.cache.absorb(&mut self.batch);
        self.drop_batch();
        self.unknown = Unknown { highest, ..Unknown::default() };
    }

    /// The batch is void; what was looked up stays known.
    pub fn drop_batch(&mut self) {
        self.batch.clear();
        self.job.clear();
    }

    /// Somebody else may have written: nothing is known any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
