//! The oracle: the script's books against what store and HQ hold.
//!
//! Contract: [`compare`] is pure; it sees only [`Books`] and the plain [`Side`]s, and every difference it finds is named in
//! `problems` (at most [`PROBLEMS_MAX`]) and counted. Reading the ledger files is in [`View::open`], nothing else is.

use crate::books::{Books, Line, Movement, Ticket};
use std::collections::{BTreeMap, BTreeSet};
use sync_model::{AlarmKind, BatchState, Event, Fact, FactRef, SaleLine, Tender};

mod files;

pub(crate) use files::{View, finish, verify};

/// Problems that are named; the rest is only counted.
pub(crate) const PROBLEMS_MAX: usize = 100;

/// What one party holds of the store's own log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// `store` or `HQ`.
    pub(crate) name: &'static str,
    /// Every event in log order.
    pub(crate) events: Vec<(FactRef, Event)>,
    /// Stock on hand by its fold, by article.
    pub(crate) stock: BTreeMap<u64, i64>,
    /// Money taken in by its fold, by means of payment.
    pub(crate) cash: BTreeMap<String, i64>,
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Sales in the store's log.
    pub(crate) tickets_in_store: u64,
    /// Sales at HQ.
    pub(crate) tickets_in_hq: u64,
    /// Things that were promised and are missing somewhere.
    pub(crate) lost: u64,
    /// Things that are somewhere more than once, or that nobody knows of.
    pub(crate) duplicated: u64,
    /// Articles whose stock differs somewhere.
    pub(crate) stock_mismatches: u64,
    /// Means of payment whose money differs somewhere.
    pub(crate) cash_mismatches: u64,
}

/// Compares the books with both sides.
pub(crate) fn compare(books: &Books, view: &View, problems: &mut Vec<String>) -> Found {
    let mut found = Found::default();
    for side in [&view.store, &view.hq] {
        let mut tally = Tally { side: side.name, problems, lost: 0, duplicated: 0 };
        let sales = tickets(side, |fact| match fact {
            Fact::Sale(sale) => Some((sale.till.0, sale.number, &sale.lines, &sale.tenders)),
            _ => None,
        });
        let returns = tickets(side, |fact| match fact {
            Fact::Return(back) => Some((back.till.0, back.number, &back.lines, &back.tenders)),
            _ => None,
        });
        tally.once("ticket", &books.tickets, &sales);
        tally.once("return", &books.returns, &returns);
        tally.once("movement", &books.movements, &movements(side));
        tally.once("batch", &batches(books), &batches_of(side));
        tally.sequences(&books.weighings, &weighings(side));
        for (kind, what, happened) in [
            (AlarmKind::TooWarm, "excursion", &books.excursions),
            (AlarmKind::Lost, "silence", &books.silences),
        ] {
            let (raised, returned) = alarms(side, kind);
            tally.counts(&format!("{what} raised"), happened, &raised);
            tally.counts(&format!("{what} returned"), happened, &returned);
        }
        let (lost, duplicated) = (tally.lost, tally.duplicated);
        found.lost += lost;
        found.duplicated += duplicated;
        let count = u64::try_from(sales.values().map(Vec::len).sum::<usize>()).unwrap_or(u64::MAX);
        if side.name == view.store.name {
            found.tickets_in_store = count
        } else {
            found.tickets_in_hq = count
        }
        found.stock_mismatches += balances(side.name, "stock of", &books.stock, &side.stock, problems);
        found.cash_mismatches += balances(side.name, "money in", &books.cash, &side.cash, problems);
    }
    same_log(&view.store, &view.hq, &mut found, problems);
    found
}

/// Adds a problem unless the list is full.
pub(crate) fn note(problems: &mut Vec<String>, what: String) {
    if problems.len() < PROBLEMS_MAX {
        problems.push(what);
    }
}

/// HQ's copy is the store's log, event by event.
fn same_log(store: &Side, hq: &Side, found: &mut Found, problems: &mut Vec<String>) {
    let at_hq: BTreeMap<FactRef, &Event> = hq.events.iter().map(|(id, event)| (*id, event)).collect();
    let in_store: BTreeSet<FactRef> = store.events.iter().map(|(id, _)| *id).collect();
    for (id, event) in &store.events {
        match at_hq.get(id) {
            None => {
                found.lost += 1;
                note(problems, format!("HQ: event {id} ({}) is missing", event.fact.kind()));
            }
            Some(other) if *other != event => note(problems, format!("HQ: event {id} has another content")),
            Some(_) => {}
        }
    }
    for id in at_hq.keys().filter(|id| !in_store.contains(id)) {
        found.duplicated += 1;
        note(problems, format!("HQ: event {id} is not in the store's log"));
    }
}

/// Counts and names differences of one side.
struct Tally<'p> {
    side: &'static str,
    problems: &'p mut Vec<String>,
    lost: u64,
    duplicated: u64,
}

impl Tally<'_> {
    fn note(&mut self, what: &str) {
        note(self.problems, format!("{}: {what}", self.side));
    }

    /// Each expected thing is there exactly once with the expected content, and nothing else is.
    fn once<K, V>(&mut self, what: &str, expected: &BTreeMap<K, V>, seen: &BTreeMap<K, Vec<V>>)
    where
        K: Ord + std::fmt::Debug,
        V: PartialEq + std::fmt::Debug,
    {
        for (key, value) in expected {
            match seen.get(key).map(Vec::as_slice).unwrap_or_default() {
                [] => {
                    self.lost += 1;
                    self.note(&format!("{what} {key:?} is missing"));
                }
                [one] if one == value => {}
                [one] => {
                    self.lost += 1;
                    self.note(&format!("{what} {key:?} is {one:?}, promised was {value:?}"));
                }
                more => {
                    self.duplicated += u64::try_from(more.len() - 1).unwrap_or(u64::MAX);
                    self.note(&format!("{what} {key:?} is there {} times", more.len()));
                }
            }
        }
        for key in seen.keys().filter(|key| !expected.contains_key(key)) {
            self.duplicated += 1;
            self.note(&format!("{what} {key:?} was never acknowledged or never happened"));
        }
    }

    /// Each device's list is equal, in order.
    fn sequences(&mut self, expected: &BTreeMap<String, Vec<i64>>, seen: &BTreeMap<String, Vec<i64>>) {
        let none = Vec::new();
        let devices: BTreeSet<&String> = expected.keys().chain(seen.keys()).collect();
        for device in devices {
            let (want, have) = (expected.get(device).unwrap_or(&none), seen.get(device).unwrap_or(&none));
            if want == have {
                continue;
            }
            let (missing, extra) = (surplus(want, have), surplus(have, want));
            self.lost += missing;
            self.duplicated += extra;
            let at = want.iter().zip(have).position(|(a, b)| a != b).unwrap_or(want.len().min(have.len()));
            self.note(&format!(
                "weighings of {device} differ from place {at} on: {} placed, {} recorded, {missing} missing, {extra} too many",
                want.len(),
                have.len()
            ));
        }
    }

    fn counts(&mut self, what: &str, expected: &BTreeMap<String, u32>, seen: &BTreeMap<String, u32>) {
        let devices: BTreeSet<&String> = expected.keys().chain(seen.keys()).collect();
        for device in devices {
            let want = expected.get(device).copied().unwrap_or_default();
            let have = seen.get(device).copied().unwrap_or_default();
            if want != have {
                self.lost += u64::from(want.saturating_sub(have));
                self.duplicated += u64::from(have.saturating_sub(want));
                self.note(&format!("{what} at {device}: {have} recorded, {want} happened"));
            }
        }
    }
}

/// How many items of `list` have no partner in `other`.
fn surplus(list: &[i64], other: &[i64]) -> u64 {
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for item in list {
        *counts.entry(*item).or_default() += 1;
    }
    for item in other {
        *counts.entry(*item).or_default() -= 1;
    }
    counts.values().filter(|count| **count > 0).map(|count| count.unsigned_abs()).sum()
}

/// Balances that differ; an absent balance is zero.
fn balances<K: Ord + std::fmt::Display>(
    side: &str,
    what: &str,
    expected: &BTreeMap<K, i64>,
    seen: &BTreeMap<K, i64>,
    problems: &mut Vec<String>,
) -> u64 {
    let mut count = 0;
    let keys: BTreeSet<&K> = expected.keys().chain(seen.keys()).collect();
    for key in keys {
        let want = expected.get(key).copied().unwrap_or_default();
        let have = seen.get(key).copied().unwrap_or_default();
        if want != have {
            count += 1;
            note(problems, format!("{side}: {what} {key} is {have}, the script's books say {want}"));
        }
    }
    count
}

type Tickets = BTreeMap<(u16, u64), Vec<Ticket>>;

/// Tickets or returns of a side, in the words of the books.
fn tickets<'e>(
    side: &'e Side,
    read: impl Fn(&'e Fact) -> Option<(u16, u64, &'e Vec<SaleLine>, &'e Vec<Tender>)>,
) -> Tickets {
    let mut seen = Tickets::new();
    for (id, event) in &side.events {
        let Some((till, number, lines, tenders)) = read(&event.fact) else { continue };
        let ticket = Ticket {
            id: id.to_string(),
            lines: lines.iter().map(book_line).collect(),
            tenders: tenders.iter().map(|tender| (tender_name(tender), tender.amount.0)).collect(),
        };
        seen.entry((till, number)).or_default().push(ticket);
    }
    seen
}

fn book_line(line: &SaleLine) -> Line {
    Line {
        sku: line.sku.0,
        quantity: line.quantity.0,
        price: line.unit_price.0,
        discount: line.discount.0,
        amount: line.amount.0,
        weighing: line.weighing.map(|weighing| weighing.to_string()),
        batch: line.batch.map(|batch| batch.to_string()),
    }
}

fn tender_name(tender: &Tender) -> String {
    format!("{:?}", tender.kind).to_lowercase()
}

fn movements(side: &Side) -> BTreeMap<String, Vec<(Movement, u64, i64)>> {
    let mut seen: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (id, event) in &side.events {
        let movement = match &event.fact {
            Fact::Receipt(receipt) => {
                // The script's receipts have one line.
                let [line] = receipt.lines.as_slice() else { continue };
                (Movement::Receipt, line.sku.0, line.quantity.0)
            }
            // What the agent writes off itself belongs to a batch and is judged by the stock.
            Fact::Waste(waste) if waste.batch.is_none() => (Movement::Waste, waste.sku.0, -waste.quantity.0),
            Fact::Count(count) => (Movement::Count, count.sku.0, count.counted.0 - count.book.0),
            _ => continue,
        };
        seen.entry(id.to_string()).or_default().push(movement);
    }
    seen
}

/// What a batch must look like: steamer, article, quantity, and the state it must have ended in.
type BatchView = (String, u64, i64, &'static str);

fn batches(books: &Books) -> BTreeMap<String, BatchView> {
    let view = |batch: &crate::books::Batch| (batch.device.clone(), batch.sku, batch.quantity, batch.end);
    books.batches.iter().map(|(id, batch)| (id.clone(), view(batch))).collect()
}

fn batches_of(side: &Side) -> BTreeMap<String, Vec<BatchView>> {
    let mut seen: BTreeMap<String, Vec<BatchView>> = BTreeMap::new();
    for (id, event) in &side.events {
        match &event.fact {
            Fact::BatchQueued(batch) => {
                let view = (batch.device.to_string(), batch.sku.0, batch.quantity.0, "queued");
                seen.entry(id.to_string()).or_default().push(view);
            }
            Fact::BatchMoved(moved) => {
                let end = match moved.to {
                    BatchState::Queued => "queued",
                    BatchState::Preheat => "preheat",
                    BatchState::Steaming => "steaming",
                    BatchState::CoreCheck => "core-check",
                    BatchState::Hold => "hold",
                    BatchState::SoldOut => "sold-out",
                    BatchState::Expired => "expired",
                    BatchState::Discarded => "discarded",
                };
                for view in seen.get_mut(&moved.batch.to_string()).into_iter().flatten() {
                    view.3 = end;
                }
            }
            _ => {}
        }
    }
    seen
}

fn weighings(side: &Side) -> BTreeMap<String, Vec<i64>> {
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (_, event) in &side.events {
        if let Fact::Weighing(weighing) = &event.fact {
            seen.entry(weighing.scale.to_string()).or_default().push(weighing.net.0);
        }
    }
    seen
}

/// Alarms of one kind raised and returned, by device.
fn alarms(side: &Side, kind: AlarmKind) -> (BTreeMap<String, u32>, BTreeMap<String, u32>) {
    let (mut raised, mut returned) = (BTreeMap::new(), BTreeMap::new());
    let mut open = BTreeMap::new();
    for (id, event) in &side.events {
        match &event.fact {
            Fact::AlarmRaised(alarm) if alarm.kind == kind => {
                *raised.entry(alarm.device.to_string()).or_default() += 1;
                open.insert(*id, alarm.device.to_string());
            }
            Fact::AlarmReturned(back) => {
                if let Some(device) = open.get(&back.alarm) {
                    *returned.entry(device.clone()).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    (raised, returned)
}

#[cfg(test)]
mod tests;
