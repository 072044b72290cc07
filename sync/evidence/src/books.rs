//! Statements from events: one pass over a store's up logs gives the statement of every day, and the balances that the
//! ledger's folds must show.
//!
//! Rules
//! * Logs in order of epoch, each from position 1 without gaps, or from where a [`Base`] says that it begins. The chain is
//!   recomputed on the way.
//! * A sale or return counts for the day it names, if [`sync_core::postings`] takes it and it is the first with its ticket
//!   number. Everything else counts in the tally only. This is what the ledger's folds do with the same records.

use crate::compare::{Difference, RowName, Rows, differences};
use crate::statement::{LogEnd, MoneyTotal, SkuTotal, Statement, TaxTotal, Tickets};
use crate::view::hex;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use sync_core::{Link, MoneyAccount, StockAccount, postings, tax_contained};
use sync_model::{
    BusinessDay, Currency, Direction, Epoch, Event, Fact, FactError, FactRef, Kind, LogId, Milli, Minor,
    SaleLine, Seq, Sku, StoreId, TillId,
};

/// Why records make no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BooksError {
    /// The record belongs to another store, or to HQ's log, or to an epoch before the current one.
    #[error("log {0} does not come next")]
    Log(LogId),
    /// A position is missing or repeated.
    #[error("log {log}: position {found} comes after {after}")]
    Position {
        /// The log.
        log: LogId,
        /// Position that was added last.
        after: Seq,
        /// Position found.
        found: Seq,
    },
    /// A total leaves the range of 64 bits.
    #[error("log {log}, position {seq}: a total leaves the range of 64 bits")]
    Overflow {
        /// The log.
        log: LogId,
        /// The position.
        seq: Seq,
    },
}

/// Totals of one day while they grow.
#[derive(Clone, Debug, Default)]
struct Day {
    tickets: Tickets,
    money: BTreeMap<(Currency, u8), i64>,
    taxes: BTreeMap<(Currency, u16), (i64, i64)>,
    /// sold, returned, charged, refunded, discount
    skus: BTreeMap<(Currency, Sku), [i64; 5]>,
}

/// What a ledger's folds say about a store: to be compared with what its events say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folds {
    /// Ends of the store's up logs.
    pub ends: Vec<LogEnd>,
    /// Money per day, rows of zero allowed.
    pub money: Vec<(BusinessDay, MoneyTotal)>,
    /// Stock that customers have, per article; one article may have several rows (lots).
    pub sold: Vec<(Sku, Milli)>,
    /// Records of the up logs by kind.
    pub tally: Vec<(Kind, u64)>,
}

/// What records that are gone add up to: the books begin there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Last records that are gone, ascending by epoch.
    pub ends: Vec<LogEnd>,
    /// Records by kind.
    pub tally: Vec<(Kind, u64)>,
    /// Money per day: a day named here has tickets that are gone, so it has no statement any more.
    pub money: Vec<(BusinessDay, MoneyTotal)>,
    /// Stock that customers have, per article.
    pub sold: Vec<(Sku, Milli)>,
}

/// A store's books, read from its events.
#[derive(Clone, Debug)]
pub struct Books {
    store: StoreId,
    /// Where the logs begin that are not here from their first record.
    begins: BTreeMap<Epoch, LogEnd>,
    /// Days with tickets that are gone.
    partial: BTreeSet<BusinessDay>,
    ends: Vec<LogEnd>,
    tally: BTreeMap<Kind, u64>,
    /// Form (0 sale, 1 return), till, number.
    numbers: BTreeSet<(u8, TillId, u64)>,
    days: BTreeMap<BusinessDay, Day>,
    sold: BTreeMap<Sku, i64>,
}

fn add(sum: &mut i64, value: i64) -> Option<()> {
    *sum = sum.checked_add(value)?;
    Some(())
}

impl Books {
    /// Books without an event.
    pub fn new(store: StoreId) -> Self {
        Self {
            store,
            begins: BTreeMap::new(),
            partial: BTreeSet::new(),
            ends: Vec::new(),
            tally: BTreeMap::new(),
            numbers: BTreeSet::new(),
            days: BTreeMap::new(),
            sold: BTreeMap::new(),
        }
    }

    /// Books that begin after records that are gone.
    pub fn from_base(store: StoreId, base: &Base) -> Self {
        let mut books = Self::new(store);
        books.begins = base.ends.iter().map(|end| (end.epoch, *end)).collect();
        books.tally = base.tally.iter().copied().collect();
        for (day, row) in &base.money {
            books.partial.insert(*day);
            let money = &mut books.days.entry(*day).or_default().money;
            money.insert((row.currency, row.account.code()), row.amount.0);
        }
        for (sku, quantity) in &base.sold {
            let sum = books.sold.entry(*sku).or_default();
            *sum = sum.saturating_add(quantity.0);
        }
        books
    }

    /// Passes over a log of which every record is gone. In order of epoch, like [`Books::add`].
    pub fn skip(&mut self, epoch: Epoch) {
        let later = self.ends.last().is_none_or(|end| end.epoch < epoch);
        if let Some(begin) = self.begins.get(&epoch).filter(|_| later) {
            self.ends.push(*begin);
        }
    }

    /// Takes the next record: the next position of the current log, or the first one of a log with a later epoch.
    pub fn add(&mut self, log: LogId, seq: Seq, record: &[u8]) -> Result<(), BooksError> {
        self.add_unless(log, seq, record, |_, _, _| false)
    }

    /// The same, where ticket numbers (form, till, number) may belong to records that are gone.
    pub fn add_unless(
        &mut self,
        log: LogId,
        seq: Seq,
        record: &[u8],
        taken: impl Fn(u8, TillId, u64) -> bool,
    ) -> Result<(), BooksError> {
        if log.store != self.store || log.direction != Direction::Up {
            return Err(BooksError::Log(log));
        }
        let (after, link) = match self.ends.last() {
            Some(end) if end.epoch == log.epoch => (end.upto, end.link),
            Some(end) if end.epoch > log.epoch => return Err(BooksError::Log(log)),
            _ => self
                .begins
                .get(&log.epoch)
                .map_or((Seq::ZERO, Link::genesis(log)), |begin| (begin.upto, begin.link)),
        };
        if seq.0.checked_sub(1) != Some(after.0) {
            return Err(BooksError::Position { log, after, found: seq });
        }
        let end = LogEnd { epoch: log.epoch, upto: seq, link: link.next(log, seq, record) };
        match self.ends.last_mut() {
            Some(last) if last.epoch == log.epoch => *last = end,
            _ => self.ends.push(end),
        }
        let event = Event::from_record(record);
        let kind = match &event {
            Ok(event) => event.fact.kind(),
            Err(FactError::Body { kind, .. } | FactError::Trailing { kind, .. }) => *kind,
            Err(_) => Kind(0),
        };
        let records = self.tally.entry(kind).or_default();
        *records = records.saturating_add(1);
        let Ok(event) = event else { return Ok(()) };
        let at = FactRef { epoch: log.epoch, seq };
        self.book(at, &event.fact, taken).ok_or(BooksError::Overflow { log, seq })
    }

    /// Books a fact; `None` on overflow.
    fn book(&mut self, at: FactRef, fact: &Fact, taken: impl Fn(u8, TillId, u64) -> bool) -> Option<()> {
        let (form, till, number, day, currency, lines) = match fact {
            Fact::Sale(sale) => (0, sale.till, sale.number, sale.day, sale.currency, &sale.lines),
            Fact::Return(back) => (1, back.till, back.number, back.day, back.currency, &back.lines),
            _ => return Some(()),
        };
        let ticket = (form, till, number);
        let Ok(postings) = postings(fact) else { return Some(()) };
        if !self.numbers.insert(ticket) || taken(form, till, number) {
            return Some(());
        }
        let totals = self.days.entry(day).or_default();
        totals.ticket(form, at, lines.len());
        for posting in &postings.money {
            let sum = totals.money.entry((posting.currency, posting.account.code())).or_default();
            add(sum, posting.amount.0)?;
        }
        for line in lines {
            totals.line(form, currency, line)?;
        }
        for posting in postings.stock.iter().filter(|posting| posting.account == StockAccount::Sold) {
            add(self.sold.entry(posting.sku).or_default(), posting.quantity.0)?;
        }
        Some(())
    }

    /// Every day with a ticket of which a statement can be made.
    pub fn days(&self) -> impl Iterator<Item = BusinessDay> + '_ {
        self.days.keys().copied().filter(|day| self.whole(*day))
    }

    /// Whether every ticket of a day is here. Of other days there is no statement any more.
    pub fn whole(&self, day: BusinessDay) -> bool {
        !self.partial.contains(&day)
    }

    /// The statement of a day; one without tickets for a day on which nothing was traded.
    pub fn statement(&self, day: BusinessDay) -> Statement {
        let empty = Day::default();
        let totals = self.days.get(&day).unwrap_or(&empty);
        Statement {
            store: self.store,
            day,
            ends: self.ends.clone(),
            tally: self.tally.iter().map(|(kind, records)| (*kind, *records)).collect(),
            tickets: totals.tickets,
            money: totals.money_rows().collect(),
            taxes: totals
                .taxes
                .iter()
                .map(|((currency, rate), (gross, tax))| TaxTotal {
                    currency: *currency,
                    rate: *rate,
                    gross: Minor(*gross),
                    tax: Minor(*tax),
                })
                .collect(),
            skus: totals
                .skus
                .iter()
                .map(|((currency, sku), [sold, returned, charged, refunded, discount])| SkuTotal {
                    currency: *currency,
                    sku: *sku,
                    sold: Milli(*sold),
                    returned: Milli(*returned),
                    charged: Minor(*charged),
                    refunded: Minor(*refunded),
                    discount: Minor(*discount),
                })
                .collect(),
        }
    }

    /// Every row on which the events (left) and the folds (right) do not agree.
    pub fn check(&self, folds: &Folds) -> Vec<Difference> {
        let mut left = Rows::new();
        ends(&mut left, &self.ends);
        for (kind, records) in &self.tally {
            left.insert(RowName::Tally(*kind), records.to_string());
        }
        for (day, totals) in &self.days {
            for row in totals.money_rows() {
                left.insert(RowName::Money(*day, row.currency, row.account), row.amount.to_string());
            }
        }
        for (sku, quantity) in self.sold.iter().filter(|(_, quantity)| **quantity != 0) {
            left.insert(RowName::Sold(*sku), Milli(*quantity).to_string());
        }
        let mut right = Rows::new();
        ends(&mut right, &folds.ends);
        for (kind, records) in &folds.tally {
            right.insert(RowName::Tally(*kind), records.to_string());
        }
        for (day, row) in folds.money.iter().filter(|(_, row)| row.amount != Minor::ZERO) {
            right.insert(RowName::Money(*day, row.currency, row.account), row.amount.to_string());
        }
        let mut sold: BTreeMap<Sku, i128> = BTreeMap::new();
        for (sku, quantity) in &folds.sold {
            *sold.entry(*sku).or_default() += i128::from(quantity.0);
        }
        for (sku, quantity) in sold.into_iter().filter(|(_, quantity)| *quantity != 0) {
            let text =
                i64::try_from(quantity).map_or_else(|_| quantity.to_string(), |q| Milli(q).to_string());
            right.insert(RowName::Sold(sku), text);
        }
        differences(&left, &right)
    }
}

fn ends(rows: &mut Rows, ends: &[LogEnd]) {
    for end in ends {
        rows.insert(RowName::End(end.epoch), format!("{} with {}", end.upto, hex(&end.link.0)));
    }
}

impl Day {
    fn ticket(&mut self, form: u8, at: FactRef, lines: usize) {
        let number = if form == 0 { &mut self.tickets.sales } else { &mut self.tickets.returns };
        *number = number.saturating_add(1);
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        self.tickets.lines = self.tickets.lines.saturating_add(lines);
        self.tickets.span = Some((self.tickets.span.map_or(at, |(first, _)| first), at));
    }

    fn line(&mut self, form: u8, currency: Currency, line: &SaleLine) -> Option<()> {
        let sign = if form == 0 { 1 } else { -1 };
        let tax = tax_contained(line.amount, line.tax_rate);
        let (gross, taxes) = self.taxes.entry((currency, line.tax_rate)).or_default();
        add(gross, sign * line.amount.0)?;
        add(taxes, sign * tax.0)?;
        let [sold, returned, charged, refunded, discount] =
            self.skus.entry((currency, line.sku)).or_default();
        let (quantity, amount) = if form == 0 { (sold, charged) } else { (returned, refunded) };
        add(quantity, line.quantity.0)?;
        add(amount, line.amount.0)?;
        if form == 0 {
            // Not bounded by the posting rules, unlike the rest: a senseless discount must not cost the store its statement.
            *discount = discount.saturating_add(line.discount.0);
        }
        Some(())
    }

    fn money_rows(&self) -> impl Iterator<Item = MoneyTotal> + '_ {
        self.money.iter().filter(|(_, amount)| **amount != 0).filter_map(|((currency, account), amount)| {
            let account = MoneyAccount::from_code(*account)?;
            Some(MoneyTotal { currency: *currency, account, amount: Minor(*amount) })
        })
    }
}
