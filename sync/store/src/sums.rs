//! The fold rows that every ticket touches, as the writer holds them: balances, counts and ticket numbers.
//!
//! Purpose: a batch of many thousand tickets touches the same rows again and again. Each row is read from the file once, kept
//! with what is needed to take a job or a group back, and written once per group, in the order of its key.
//!
//! Invariants
//! * `value` is what the present job sees, `before` what it was when the job began, `committed` what the file says.
//! * A row is changed exactly while `in_group` is set; only those are written. Reading a row never changes it.
//! * Nobody else writes these rows while they are held; whoever changes the tables in SQL calls [`Sums::clear`] first.
//! * The result is the same as folding into [`crate::fold::FoldSet`]s, layer over layer: a property test compares them.

use crate::fold::{Base, MoneyKey, StockKey, TallyKey, TicketKey};
use crate::table::signed;
use foldhash::fast::RandomState;
use indexmap::IndexMap;
use std::collections::HashMap;
use std::hash::Hash;
use sync_model::{LotId, Sku, StoreId, TillId};

/// Longest lot.
const LOT_BYTES: usize = 24;

/// A stock key without a heap: the lot's bytes with zeros after them, which no lot contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StockRow {
    pub(crate) store: StoreId,
    pub(crate) sku: Sku,
    lot: [u8; LOT_BYTES],
    pub(crate) account: u8,
}

impl StockRow {
    fn new((store, sku, lot, account): (StoreId, Sku, &LotId, u8)) -> Self {
        let mut bytes = [0; LOT_BYTES];
        bytes.iter_mut().zip(lot.as_str().bytes()).for_each(|(place, byte)| *place = byte);
        Self { store, sku, lot: bytes, account }
    }

    /// The lot.
    pub(crate) fn lot(&self) -> &str {
        let end = self.lot.iter().position(|byte| *byte == 0).unwrap_or(LOT_BYTES);
        self.lot.get(..end).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The key as everybody else has it.
    fn key(&self) -> StockKey {
        (self.store, self.sku, LotId::new(self.lot()).unwrap_or_default(), self.account)
    }
}

/// One row.
#[derive(Clone, Copy, Debug)]
struct Row<V> {
    value: V,
    before: V,
    committed: V,
    /// Changed in the present job.
    in_job: bool,
    /// Changed in the present group, this job included.
    in_group: bool,
}

/// The rows of one table. A place is valid until the next [`Sums::keep_group`] or [`Sums::clear`].
#[derive(Debug)]
pub(crate) struct Rows<K, V> {
    rows: IndexMap<K, Row<V>, RandomState>,
    /// Places changed in the present group.
    group: Vec<usize>,
    /// Places changed in the present job, and whether that was their first change in the group.
    job: Vec<(usize, bool)>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: IndexMap::default(), group: Vec::new(), job: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord, V: Copy> Rows<K, V> {
    /// A row's place and value; `read` gives that of a row which is not held.
    pub(crate) fn find<E>(&mut self, key: K, read: impl FnOnce(&K) -> Result<V, E>) -> Result<(usize, V), E> {
        if let Some((place, _, row)) = self.rows.get_full(&key) {
            return Ok((place, row.value));
        }
        let value = read(&key)?;
        let row = Row { value, before: value, committed: value, in_job: false, in_group: false };
        Ok((self.rows.insert_full(key, row).0, value))
    }

    /// Changes a row.
    pub(crate) fn set(&mut self, place: usize, value: V) {
        let Some((_, row)) = self.rows.get_index_mut(place) else { return };
        row.value = value;
        if !row.in_job {
            self.job.push((place, !row.in_group));
            (row.in_job, row.in_group) = (true, true);
        }
    }

    fn keep_job(&mut self) {
        for (place, first) in self.job.drain(..) {
            if let Some((_, row)) = self.rows.get_index_mut(place) {
                (row.before, row.in_job) = (row.value, false);
            }
            if first {
                self.group.push(place);
            }
        }
    }

    fn drop_job(&mut self) {
        for (place, first) in self.job.drain(..) {
            if let Some((_, row)) = self.rows.get_index_mut(place) {
                (row.value, row.in_job) = (row.before, false);
                row.in_group &= !first;
            }
        }
    }

    /// The group is durable.
    fn keep_group(&mut self) {
        for place in self.group.drain(..) {
            if let Some((_, row)) = self.rows.get_index_mut(place) {
                (row.committed, row.in_group) = (row.value, false);
            }
        }
    }

    /// The group was rolled back.
    fn drop_group(&mut self) {
        for place in self.group.drain(..) {
            if let Some((_, row)) = self.rows.get_index_mut(place) {
                (row.value, row.before, row.in_group) = (row.committed, row.committed, false);
            }
        }
    }

    /// Every changed row, in no order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&K, V)> {
        let places = self.group.iter().chain(self.job.iter().filter(|(_, first)| *first).map(|(at, _)| at));
        places.filter_map(|place| self.rows.get_index(*place)).map(|(key, row)| (key, row.value))
    }

    /// Every changed row, in the order of the keys.
    pub(crate) fn sorted(&self) -> Vec<(&K, V)> {
        let mut all: Vec<(&K, V)> = self.changed().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}

/// Ticket numbers. A till counts up, so almost every number is above all that the file has, and need not be looked up.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// New in the present group.
    new: HashMap<TicketKey, i64, RandomState>,
    /// New in the present job.
    job: Vec<TicketKey>,
    /// At least the highest number of a form and till, as SQL orders numbers.
    highest: HashMap<(StoreId, u8, TillId), i64, RandomState>,
}

impl Tickets {
    /// Which event a number counts for.
    pub(crate) fn get(&mut self, key: &TicketKey, base: &dyn Base) -> rusqlite::Result<Option<i64>> {
        let (store, form, till, number) = *key;
        let highest = match self.highest.get(&(store, form, till)) {
            Some(highest) => *highest,
            None => {
                let highest = base.highest_ticket(store, form, till)?;
                self.highest.insert((store, form, till), highest);
                highest
            }
        };
        if signed(number) > highest {
            return Ok(None);
        }
        match self.new.get(key) {
            Some(pos) => Ok(Some(*pos)),
            None => base.ticket(key),
        }
    }

    /// Notes a number that [`Tickets::get`] did not find.
    pub(crate) fn insert(&mut self, key: TicketKey, pos: i64) {
        let (store, form, till, number) = key;
        let highest = self.highest.entry((store, form, till)).or_insert(i64::MIN);
        // Not taken back with the job or group: too high only costs a look-up.
        *highest = signed(number).max(*highest);
        self.new.insert(key, pos);
        self.job.push(key);
    }

    /// Every new number, in order.
    pub(crate) fn sorted(&self) -> Vec<(&TicketKey, i64)> {
        let mut all: Vec<(&TicketKey, i64)> = self.new.iter().map(|(key, pos)| (key, *pos)).collect();
        all.sort_unstable();
        all
    }
}

/// Balances, counts and ticket numbers.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) stock: Rows<StockRow, i64>,
    pub(crate) money: Rows<MoneyKey, i64>,
    pub(crate) tally: Rows<TallyKey, u64>,
    pub(crate) tickets: Tickets,
    /// Room for the places and new values of one event: stock, money.
    pub(crate) touched: [Vec<(usize, i64)>; 2],
}

impl Sums {
    /// Place and balance of a stock row.
    pub(crate) fn stock(
        &mut self,
        key: (StoreId, Sku, &LotId, u8),
        base: &dyn Base,
    ) -> rusqlite::Result<(usize, i64)> {
        self.stock.find(StockRow::new(key), |row| base.stock(&row.key()))
    }

    /// The job was accepted.
    pub(crate) fn keep_job(&mut self) {
        self.stock.keep_job();
        self.money.keep_job();
        self.tally.keep_job();
        self.tickets.job.clear();
    }

    /// The job was refused.
    pub(crate) fn drop_job(&mut self) {
        self.stock.drop_job();
        self.money.drop_job();
        self.tally.drop_job();
        for key in self.tickets.job.drain(..) {
            self.tickets.new.remove(&key);
        }
    }

    /// The group is durable. Of more than `most` rows none is kept.
    pub(crate) fn keep_group(&mut self, most: usize) {
        self.stock.keep_group();
        self.money.keep_group();
        self.tally.keep_group();
        self.tickets.new.clear();
        let rows = [self.stock.rows.len(), self.money.rows.len(), self.tally.rows.len()];
        if rows.into_iter().sum::<usize>() + self.tickets.highest.len() > most {
            self.clear();
        }
    }

    /// The group was rolled back.
    pub(crate) fn drop_group(&mut self) {
        self.drop_job();
        self.stock.drop_group();
        self.money.drop_group();
        self.tally.drop_group();
        self.tickets.new.clear();
    }

    /// Nothing of the present group has changed any row.
    pub(crate) fn unchanged(&self) -> bool {
        let changed = [self.stock.group.len(), self.money.group.len(), self.tally.group.len()];
        let in_job = [self.stock.job.len(), self.money.job.len(), self.tally.job.len()];
        changed.into_iter().chain(in_job).sum::<usize>() + self.tickets.new.len() == 0
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
