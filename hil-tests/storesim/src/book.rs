//! The simulation's own bookkeeping: what was answered to somebody, what a fault physically destroyed, who used which rights.
//!
//! A fact is known by its content (kind, stamp, and for rights the article), not by its name: names may change when a branch
//! moves. Stamps are given out once in a run.

use std::collections::{BTreeMap, BTreeSet};
use sync_model::{Direction, Epoch, Event, Fact, FactRef, Kind, LogId, Milli, Seq, Sku, StoreId};
use sync_store::{LedgerError, Reader, StoredEvent};

/// A fact, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Whose log.
    pub store: StoreId,
    /// Who wrote it.
    pub direction: Direction,
    content: u64,
}

/// What is known of a fact.
#[derive(Clone, Debug)]
pub struct Known {
    /// For a reader.
    pub what: String,
    /// The event; `None` for a record that is none.
    pub event: Option<Event>,
    /// The record as it was first written.
    pub record: Vec<u8>,
    /// The fault that took its last copy.
    pub destroyed: Option<String>,
}

/// Everything that was answered.
#[derive(Debug, Default)]
pub struct Book {
    /// Facts that were answered with success.
    pub facts: BTreeMap<Key, Known>,
    /// Rights issued by HQ, by article.
    pub issued: BTreeMap<Sku, i64>,
    /// Rights in use: promised and not voided, or taken by goods that left.
    pub used: BTreeMap<Sku, i64>,
    /// Rights whose use cannot be told to anybody any more, or that a copied disk held twice.
    pub excused: BTreeMap<Sku, i64>,
    stamps: BTreeSet<i64>,
}

fn mix(mut sum: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    sum
}

impl Key {
    /// Of an event.
    pub fn of(log: LogId, event: &Event) -> Self {
        let mut content = mix(0xcbf2_9ce4_8422_2325, &event.fact.kind().0.to_be_bytes());
        content = mix(content, &event.stamp.at.0.to_be_bytes());
        if let Fact::RightsTaken(taken) = &event.fact {
            content = mix(content, &taken.sku.0.to_be_bytes());
        }
        if let Fact::EpochFenced(fenced) = &event.fact {
            content = mix(content, &fenced.lines.first().map_or(0, |line| line.sku.0).to_be_bytes());
        }
        Self { store: log.store, direction: log.direction, content }
    }

    /// Of a stored record.
    pub fn stored(stored: &StoredEvent) -> Self {
        match &stored.event {
            Ok(event) => Self::of(stored.id.log, event),
            Err(_) => Self::raw(stored.id.log, &stored.record),
        }
    }

    /// Of bytes that are no event.
    pub fn raw(log: LogId, record: &[u8]) -> Self {
        let content = mix(0x1234_5678_9abc_def1, record);
        Self { store: log.store, direction: log.direction, content }
    }
}

/// Kinds that ledgers write by themselves.
pub fn by_itself(kind: Kind) -> bool {
    matches!(kind, Kind::EPOCH_OPENED | Kind::RIGHTS_TAKEN) || kind.0 == 32
}

/// Whether two events say the same, names aside. What a write had seen is told in names of writers.
pub fn same(one: &Event, other: &Event) -> bool {
    let nameless = |event: &Event| {
        let mut fact = event.fact.clone().renamed(&|_| FactRef { epoch: Epoch(0), seq: Seq(0) });
        let write = match &mut fact {
            Fact::RegisterWritten(fact) => Some(&mut fact.write),
            Fact::RegistryChanged(fact) => Some(&mut fact.write),
            Fact::HqRegisterWritten(fact) => Some(&mut fact.0.write),
            Fact::HqRegistryChanged(fact) => Some(&mut fact.0.write),
            _ => None,
        };
        if let Some(write) = write {
            write.count = 0;
            write.seen.clear();
        }
        (event.stamp, fact)
    };
    nameless(one) == nameless(other)
}

/// Every record of a ledger, of one store or of all.
pub fn records(reader: &Reader, store: Option<StoreId>) -> Result<Vec<StoredEvent>, LedgerError> {
    let mut all = Vec::new();
    for head in reader.heads()? {
        if store.is_none_or(|store| head.log.store == store) {
            all.extend(reader.events(head.log, Seq(1), usize::MAX >> 8)?);
        }
    }
    Ok(all)
}

/// Keys of every record of a ledger.
pub fn keys(reader: &Reader, store: Option<StoreId>) -> Result<BTreeSet<Key>, LedgerError> {
    Ok(records(reader, store)?.iter().map(Key::stored).collect())
}

impl Book {
    /// A stamp that no other fact has.
    pub fn stamp(&mut self, mut at: i64) -> i64 {
        while !self.stamps.insert(at) {
            at += 1;
        }
        at
    }

    /// Somebody was told that this record is booked.
    pub fn answered(&mut self, log: LogId, what: String, record: &[u8]) {
        let event = Event::from_record(record).ok();
        let key = match &event {
            Some(event) => Key::of(log, event),
            None => Key::raw(log, record),
        };
        self.facts.insert(key, Known { what, event, record: record.to_vec(), destroyed: None });
    }

    /// A fault took the last copy.
    pub fn destroyed(&mut self, key: Key, why: &str) {
        let Some(known) = self.facts.get_mut(&key) else { return };
        if known.destroyed.is_some() {
            return;
        }
        known.destroyed = Some(why.to_owned());
        // What was promised with it is promised all the same.
        let lost = match known.event.as_ref().map(|event| &event.fact) {
            Some(Fact::PromiseOpened(fact)) => Some((fact.sku, fact.quantity.0)),
            Some(Fact::PromiseClosed(fact)) => Some((fact.sku, fact.quantity.0)),
            _ => None,
        };
        if let Some((sku, quantity)) = lost {
            *self.excused.entry(sku).or_default() += quantity;
        }
    }

    /// Rights come into use, or out of it.
    pub fn used(&mut self, sku: Sku, quantity: i64) {
        *self.used.entry(sku).or_default() += quantity;
    }

    /// HQ put more into the pool.
    pub fn issued(&mut self, sku: Sku, quantity: Milli) {
        *self.issued.entry(sku).or_default() += quantity.0;
    }

    /// Articles of which more is in use than was ever issued.
    pub fn overdrawn(&self) -> Option<(Sku, i64)> {
        let over = |(sku, used): (&Sku, &i64)| {
            let issued = self.issued.get(sku).copied().unwrap_or(0);
            let excused = self.excused.get(sku).copied().unwrap_or(0);
            (*used > issued + excused).then_some((*sku, used - issued - excused))
        };
        self.used.iter().find_map(over)
    }

    /// Facts that are destroyed.
    pub fn lost(&self) -> usize {
        self.facts.values().filter(|known| known.destroyed.is_some()).count()
    }
}
