//! The fold rows that every ticket touches, as the writer holds them: balances, counts and ticket numbers.
//!
//! Purpose: a batch of many thousand tickets touches the same rows again and again. Each row is read from the file once, kept
//! with what is needed to take a job or a group back, and written once per group, in the order of its key.
//!
//! Invariants
//! * `value` is what the present job sees, `before` what it was when the job began, `committed` what the file says.
//! * A row is changed exactly when its key is in `changed`; only those are written. Reading a row never changes it.
//! * Nobody else writes these rows while they are held; whoever changes the tables in SQL calls [`Sums::clear`] first.
//! * The result is the same as folding into [`crate::fold::FoldSet`]s, layer over layer: a property test compares them.

use crate::fold::{Base, MoneyKey, StockKey, TallyKey, TicketKey};
use crate::table::signed;
use foldhash::fast::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use sync_model::{StoreId, TillId};

/// One row.
#[derive(Clone, Copy, Debug, Default)]
struct Row<V> {
    value: V,
    before: V,
    committed: V,
    /// Changed in the present job.
    in_job: bool,
    /// Changed in the present group, this job included.
    in_group: bool,
}

/// The rows of one table.
#[derive(Debug)]
pub(crate) struct Rows<K, V> {
    rows: HashMap<K, Row<V>, RandomState>,
    /// Changed in the present group, in order.
    changed: BTreeSet<K>,
    /// Changed in the present job, and whether that was their first change in the group.
    job: Vec<(K, bool)>,
}

impl<K, V> Default for Rows<K, V> {
    fn default() -> Self {
        Self { rows: HashMap::default(), changed: BTreeSet::new(), job: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash + Ord, V: Copy> Rows<K, V> {
    /// A row's value; `read` gives that of a row which is not held.
    pub(crate) fn get<E>(&mut self, key: &K, read: impl FnOnce(&K) -> Result<V, E>) -> Result<V, E> {
        if let Some(row) = self.rows.get(key) {
            return Ok(row.value);
        }
        let value = read(key)?;
        let row = Row { value, before: value, committed: value, in_job: false, in_group: false };
        self.rows.insert(key.clone(), row);
        Ok(value)
    }

    /// Changes a row that [`Rows::get`] was asked for.
    pub(crate) fn set(&mut self, key: K, value: V) {
        let Some(row) = self.rows.get_mut(&key) else { return };
        row.value = value;
        if !row.in_job {
            let first = !row.in_group;
            (row.in_job, row.in_group) = (true, true);
            if first {
                self.changed.insert(key.clone());
            }
            self.job.push((key, first));
        }
    }

    fn keep_job(&mut self) {
        for (key, _) in self.job.drain(..) {
            if let Some(row) = self.rows.get_mut(&key) {
                (row.before, row.in_job) = (row.value, false);
            }
        }
    }

    fn drop_job(&mut self) {
        for (key, first) in self.job.drain(..) {
            if let Some(row) = self.rows.get_mut(&key) {
                (row.value, row.in_job) = (row.before, false);
                row.in_group &= !first;
            }
            if first {
                self.changed.remove(&key);
            }
        }
    }

    /// The group is durable.
    fn keep_group(&mut self) {
        for key in std::mem::take(&mut self.changed) {
            if let Some(row) = self.rows.get_mut(&key) {
                (row.committed, row.in_group) = (row.value, false);
            }
        }
    }

    /// The group was rolled back.
    fn drop_group(&mut self) {
        for key in std::mem::take(&mut self.changed) {
            if let Some(row) = self.rows.get_mut(&key) {
                (row.value, row.before, row.in_group) = (row.committed, row.committed, false);
            }
        }
    }

    /// Changed rows from a key on, in order.
    pub(crate) fn changed_from(&self, from: &K) -> impl Iterator<Item = (&K, V)> {
        self.changed.range(from.clone()..).filter_map(|key| Some((key, self.rows.get(key)?.value)))
    }

    /// Every changed row, in order.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&K, V)> {
        self.changed.iter().filter_map(|key| Some((key, self.rows.get(key)?.value)))
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
    pub(crate) fn changed(&self) -> Vec<(&TicketKey, i64)> {
        let mut all: Vec<(&TicketKey, i64)> = self.new.iter().map(|(key, pos)| (key, *pos)).collect();
        all.sort_unstable();
        all
    }
}

/// Balances, counts and ticket numbers.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) stock: Rows<StockKey, i64>,
    pub(crate) money: Rows<MoneyKey, i64>,
    pub(crate) tally: Rows<TallyKey, u64>,
    pub(crate) tickets: Tickets,
}

impl Sums {
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
        let changed = [self.stock.changed.len(), self.money.changed.len(), self.tally.changed.len()];
        changed.into_iter().sum::<usize>() + self.tickets.new.len() == 0
    }

    /// Nothing is known any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
