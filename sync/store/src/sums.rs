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
    pub(crate) fn key(&self) -> StockKey {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{FoldError, FoldSet, View, fold};
    use crate::item::{Item, ItemKey};
    use crate::rows::PriceRow;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use sync_model::{
        Article, BusinessDay, ClockQuality, Currency, Direction, Epoch, Event, EventId, LogId, Milli, Minor,
        Sale, SaleLine, Seq, Stamp, Tender, TenderKind, UnixMillis,
    };

    /// The file.
    #[derive(Default)]
    struct File(FoldSet);

    impl Base for File {
        fn stock(&self, key: &StockKey) -> rusqlite::Result<i64> {
            Ok(self.0.stock.get(key).copied().unwrap_or(0))
        }
        fn money(&self, key: &MoneyKey) -> rusqlite::Result<i64> {
            Ok(self.0.money.get(key).copied().unwrap_or(0))
        }
        fn tally(&self, key: &TallyKey) -> rusqlite::Result<u64> {
            Ok(self.0.tally.get(key).copied().unwrap_or(0))
        }
        fn ticket(&self, key: &TicketKey) -> rusqlite::Result<Option<i64>> {
            Ok(self.0.tickets.get(key).copied())
        }
        fn highest_ticket(&self, store: StoreId, form: u8, till: TillId) -> rusqlite::Result<i64> {
            let same = self.0.tickets.keys().filter(|key| (key.0, key.1, key.2) == (store, form, till));
            Ok(same.map(|key| signed(key.3)).max().unwrap_or(i64::MIN))
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

    #[derive(Clone, Debug)]
    struct Ticket {
        store: u32,
        till: u16,
        number: u64,
        lines: Vec<(u64, u8, i64, i64)>,
        paid: i64,
    }

    /// Jobs of a group and whether each, and the group, is kept.
    type Group = (Vec<(Vec<Ticket>, bool)>, bool);

    fn tickets() -> impl Strategy<Value = Ticket> {
        let number = prop_oneof![1_u64..12, Just(u64::MAX), Just(1 << 63)];
        let line = (1_u64..5, 0_u8..3, 0_i64..1_000, 0_i64..1_000);
        let lines = proptest::collection::vec(line, 0..6);
        // Now and then too little is paid: the ticket folds as nothing.
        (1_u32..3, 1_u16..3, number, lines, 0_i64..12).prop_map(|(store, till, number, lines, paid)| Ticket {
            store,
            till,
            number,
            lines,
            paid,
        })
    }

    fn groups() -> impl Strategy<Value = Vec<Group>> {
        let job = (proptest::collection::vec(tickets(), 1..6), proptest::bool::weighted(0.8));
        let group = (proptest::collection::vec(job, 1..5), proptest::bool::weighted(0.8));
        proptest::collection::vec(group, 1..6)
    }

    fn event(ticket: &Ticket) -> Event {
        let lots = ["", "L1", "a-lot-of-24-bytes-000000"];
        let line = |(sku, lot, quantity, amount): &(u64, u8, i64, i64)| SaleLine {
            sku: Sku(*sku),
            lot: LotId::new(lots.get(usize::from(*lot)).copied().unwrap_or_default()).expect("a lot"),
            quantity: Milli(*quantity),
            unit_price: Minor(1),
            discount: Minor(0),
            amount: Minor(*amount),
            tax_rate: 900,
            weighing: None,
            batch: None,
        };
        let total: i64 = ticket.lines.iter().map(|(.., amount)| *amount).sum();
        let amount = Minor(if ticket.paid == 0 { total + 1 } else { total });
        let sale = Sale {
            till: TillId(ticket.till),
            number: ticket.number,
            day: BusinessDay(20_700),
            currency: Currency::CNY,
            lines: ticket.lines.iter().map(line).collect(),
            tenders: vec![Tender { kind: TenderKind::Cash, amount }],
        };
        Event::new(Stamp { at: UnixMillis(1), clock: ClockQuality::Synced }, sale)
    }

    fn reason(result: Result<(), FoldError>) -> Option<&'static str> {
        result.err().and_then(|error| error.reason()).map(|(code, _)| code)
    }

    fn book(mut view: View<'_>, at: u64, ticket: &Ticket) -> Option<&'static str> {
        let log = LogId { store: StoreId(ticket.store), direction: Direction::Up, epoch: Epoch(1) };
        let event = event(ticket);
        view.count((log.store, log.direction, event.fact.kind())).expect("memory");
        let pos = signed(at);
        reason(fold(&mut view, EventId { log, seq: Seq(at) }, pos, &event))
    }

    /// Balances close to the limits, so that some postings overflow.
    fn begin() -> FoldSet {
        let mut set = FoldSet::default();
        for (store, sku) in [(1, 1), (2, 2)] {
            set.stock.insert((StoreId(store), Sku(sku), LotId::default(), 0), i64::MIN + 400);
        }
        set
    }

    fn changes(sums: &Sums) -> FoldSet {
        FoldSet {
            stock: sums.stock.sorted().into_iter().map(|(row, value)| (row.key(), value)).collect(),
            money: sums.money.sorted().into_iter().map(|(key, value)| (*key, value)).collect(),
            tally: sums.tally.sorted().into_iter().map(|(key, value)| (*key, value)).collect(),
            tickets: sums.tickets.sorted().into_iter().map(|(key, pos)| (*key, pos)).collect(),
            ..FoldSet::default()
        }
    }

    type Compared<'a> = (
        &'a BTreeMap<StockKey, i64>,
        &'a BTreeMap<MoneyKey, i64>,
        &'a BTreeMap<TallyKey, u64>,
        &'a BTreeMap<TicketKey, i64>,
    );

    fn compared(set: &FoldSet) -> Compared<'_> {
        (&set.stock, &set.money, &set.tally, &set.tickets)
    }

    proptest! {
        #[test]
        fn one_layer_with_undo_writes_what_three_layers_write(groups in groups(), most in 0_usize..60) {
            let (mut layered, mut flat) = (File(begin()), File(begin()));
            let (mut sums, mut at) = (Sums::default(), 0);
            for (jobs, durable) in groups {
                let mut group = FoldSet::default();
                for (tickets, keep) in jobs {
                    let mut job = FoldSet::default();
                    for ticket in &tickets {
                        at += 1;
                        let (under, mut none) = (FoldSet::default(), FoldSet::default());
                        let old = View { job: &mut job, group: &group, cache: &under, base: &layered, sums: None };
                        let old = book(old, at, ticket);
                        let new = View { job: &mut none, group: &under, cache: &under, base: &flat, sums: Some(&mut sums) };
                        prop_assert_eq!(old, book(new, at, ticket));
                    }
                    if keep {
                        group.absorb(&mut job);
                        sums.keep_job();
                    } else {
                        sums.drop_job();
                    }
                }
                let mut written = changes(&sums);
                prop_assert_eq!(compared(&group), compared(&written));
                prop_assert_eq!(sums.unchanged(), group.rows() == 0);
                if durable {
                    layered.0.absorb(&mut group);
                    flat.0.absorb(&mut written);
                    sums.keep_group(most);
                } else {
                    sums.drop_group();
                }
            }
            prop_assert_eq!(compared(&layered.0), compared(&flat.0));
        }
    }
}
