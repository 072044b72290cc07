//! What the stores were promised: an entry per acknowledged posting, under the id of the answer.
//!
//! Contract: an entry is made when, and only when, an answer arrived that promises durability. No fold of the product is used.

use std::collections::{BTreeMap, BTreeSet};
use sync_model::{Fact, Tender, TenderKind};

/// What one fact does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its kind and the name its writer gave it; unique within a store.
    pub(crate) what: String,
    /// Change of stock, in thousandths, by article.
    pub(crate) stock: BTreeMap<u64, i64>,
    /// Money taken in, by means of payment.
    pub(crate) cash: BTreeMap<String, i64>,
}

impl Entry {
    /// An entry that moves nothing yet.
    pub(crate) fn new(what: String) -> Self {
        Self { what, ..Self::default() }
    }

    /// Adds a change of stock.
    pub(crate) fn moves(mut self, sku: u64, change: i64) -> Self {
        *self.stock.entry(sku).or_default() += change;
        self
    }

    /// Adds money.
    pub(crate) fn pays(mut self, kind: &str, amount: i64) -> Self {
        *self.cash.entry(kind.to_owned()).or_default() += amount;
        self
    }

    /// The same of a stored fact; `None` for facts that nobody posts here.
    pub(crate) fn of(fact: &Fact) -> Option<Self> {
        match fact {
            Fact::Sale(sale) => {
                let mut entry = Self::new(format!("sale {}/{}", sale.till.0, sale.number));
                for line in &sale.lines {
                    entry = entry.moves(line.sku.0, -line.quantity.0);
                }
                Some(sale.tenders.iter().fold(entry, paid))
            }
            Fact::Receipt(receipt) => {
                let entry = Self::new(format!("receipt {}", receipt.reference));
                Some(receipt.lines.iter().fold(entry, |entry, line| entry.moves(line.sku.0, line.quantity.0)))
            }
            Fact::Waste(waste) => Some(Self::new("waste".to_owned()).moves(waste.sku.0, -waste.quantity.0)),
            Fact::TransferOut(out) => {
                let entry = Self::new(format!("transfer to {}", out.to.0));
                Some(out.lines.iter().fold(entry, |entry, line| entry.moves(line.sku.0, -line.quantity.0)))
            }
            Fact::TransferIn(back) => {
                let entry = Self::new(format!("transfer from {} of {}", back.from.0, back.of));
                Some(back.lines.iter().fold(entry, |entry, line| entry.moves(line.sku.0, line.quantity.0)))
            }
            Fact::PromiseOpened(opened) => Some(Self::new(format!("promise {}", opened.reference))),
            _ => None,
        }
    }
}

fn paid(entry: Entry, tender: &Tender) -> Entry {
    let kind = match tender.kind {
        TenderKind::Cash => "cash",
        TenderKind::Card => "card",
        TenderKind::Wallet => "wallet",
        TenderKind::Voucher => "voucher",
    };
    entry.pays(kind, tender.amount.0)
}

/// Goods on the road.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The receiving store.
    pub(crate) to: u32,
    /// Article.
    pub(crate) sku: u64,
    /// What left.
    pub(crate) sent: i64,
    /// What came, once it came.
    pub(crate) arrived: i64,
}

/// Everything that was promised.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// By store and id.
    pub(crate) entries: BTreeMap<u32, BTreeMap<String, Entry>>,
    /// By sender and id of its fact.
    pub(crate) transfers: BTreeMap<(u32, String), Transfer>,
    /// Promised units by store, in thousandths.
    pub(crate) promised: BTreeMap<u32, i64>,
    /// Requests for promises that were refused for lack of rights.
    pub(crate) short: u64,
    /// Answers that repeated an earlier one.
    pub(crate) replayed: u64,
    /// What HQ published last, by store and article.
    pub(crate) prices: BTreeMap<(u32, u64), i64>,
    /// What should not have happened.
    pub(crate) faults: Vec<String>,
    names: BTreeSet<(u32, String)>,
}

/// Faults that are kept.
const FAULTS_MAX: usize = 50;

impl Books {
    /// Enters a promise.
    pub(crate) fn enter(&mut self, store: u32, id: String, entry: Entry, replayed: bool) {
        self.replayed += u64::from(replayed);
        if entry.what != "waste" && !entry.what.starts_with("transfer to") {
            let name = (store, entry.what.clone());
            if !self.names.insert(name) {
                self.fault(format!("store {store}: {} was answered twice", entry.what));
            }
        }
        if let Some(before) = self.entries.entry(store).or_default().insert(id.clone(), entry.clone()) {
            self.fault(format!(
                "store {store}: {} and {} were answered with id {id}",
                before.what, entry.what
            ));
        }
    }

    /// Enters something that should not have happened.
    pub(crate) fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    /// Stock of a store as promised.
    pub(crate) fn stock(&self, store: u32) -> BTreeMap<u64, i64> {
        sum(self.of(store).flat_map(|entry| entry.stock.iter().map(|(sku, change)| (*sku, *change))))
    }

    /// Money of a store as promised.
    pub(crate) fn cash(&self, store: u32) -> BTreeMap<String, i64> {
        sum(self.of(store).flat_map(|entry| entry.cash.iter().map(|(kind, amount)| (kind.clone(), *amount))))
    }

    /// Promises in all.
    pub(crate) fn count(&self) -> usize {
        self.entries.values().map(BTreeMap::len).sum()
    }

    fn of(&self, store: u32) -> impl Iterator<Item = &Entry> {
        self.entries.get(&store).into_iter().flat_map(BTreeMap::values)
    }
}

/// Sums by key.
pub(crate) fn sum<K: Ord>(rows: impl Iterator<Item = (K, i64)>) -> BTreeMap<K, i64> {
    let mut sums = BTreeMap::new();
    for (key, amount) in rows {
        *sums.entry(key).or_default() += amount;
    }
    sums
}
