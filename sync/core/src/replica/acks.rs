//! Which acknowledgements are durable, and which still have to be published. Pure.
//!
//! Invariants
//! * An ack in here names committed events only, and per log it never goes back.
//! * At most one ack per log waits: acks are cumulative, the newest replaces the others.
//! * The topic of a store retains one message, so a repetition (after the broker came back) names the newest epoch only;
//!   older epochs are acknowledged again when the store sends them again.

use crate::{Ack, Link};
use alloc::collections::{BTreeMap, BTreeSet};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

/// Durable and unpublished acknowledgements of every up log.
#[derive(Clone, Debug, Default)]
pub(super) struct Acks {
    durable: BTreeMap<LogId, Ack>,
    due: BTreeMap<LogId, Ack>,
    repeat: BTreeSet<LogId>,
}

impl Acks {
    /// What a log has durably; nothing for a log that was never seen.
    pub(super) fn durable(&self, log: LogId) -> Ack {
        self.durable.get(&log).copied().unwrap_or(Ack {
            log,
            upto: Seq::ZERO,
            link: Link::genesis(log),
            gap: None,
        })
    }

    /// A watermark read from the ledger at start; not published by itself.
    pub(super) fn load(&mut self, log: LogId, upto: Seq, link: Link) {
        self.durable.insert(log, Ack { log, upto, link, gap: None });
    }

    /// A block was dealt with: its answer is due.
    pub(super) fn commit(&mut self, ack: Ack) {
        if ack.upto < self.durable(ack.log).upto {
            return;
        }
        self.durable.insert(ack.log, Ack { gap: None, ..ack });
        self.due.insert(ack.log, ack);
        self.repeat.remove(&ack.log);
    }

    /// The store greets with its log's end: it is told what is durable, and what is missing up to that end.
    pub(super) fn greet(&mut self, log: LogId, head: Seq) {
        let known = self.durable(log);
        let gap = (head > known.upto).then(|| (known.upto.next(), head));
        self.due.insert(log, Ack { gap, ..known });
        self.repeat.remove(&log);
    }

    /// Every log of a store.
    pub(super) fn of_store(&self, store: StoreId) -> impl Iterator<Item = Ack> {
        let from = LogId { store, direction: Direction::Up, epoch: Epoch(0) };
        let upto = LogId { store, direction: Direction::Up, epoch: Epoch(u32::MAX) };
        self.durable.range(from..=upto).map(|(_, ack)| *ack)
    }

    /// The broker may have forgotten everything: each store's newest ack is due again.
    pub(super) fn repeat_all(&mut self) {
        let mut newest: BTreeMap<StoreId, LogId> = BTreeMap::new();
        newest.extend(self.durable.keys().map(|log| (log.store, *log)));
        self.repeat = newest.into_values().filter(|log| !self.due.contains_key(log)).collect();
    }

    /// What to publish next; fresh answers go before repetitions.
    pub(super) fn next(&self) -> Option<Ack> {
        let repeat = || self.repeat.first().map(|log| self.durable(*log));
        self.due.values().next().copied().or_else(repeat)
    }

    /// The ack that [`Acks::next`] gave was handed over.
    pub(super) fn sent(&mut self, log: LogId) {
        if self.due.remove(&log).is_none() {
            self.repeat.remove(&log);
        }
    }

    /// An ack that was handed over did not go out.
    pub(super) fn again(&mut self, ack: Ack) {
        if ack.upto >= self.durable(ack.log).upto {
            self.due.entry(ack.log).or_insert(ack);
        }
    }

    /// Acks that wait.
    pub(super) fn waiting(&self) -> usize {
        self.due.len() + self.repeat.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn log(store: u32, epoch: u32) -> LogId {
        LogId { store: StoreId(store), direction: Direction::Up, epoch: Epoch(epoch) }
    }

    fn ack(log: LogId, upto: u64) -> Ack {
        Ack { log, upto: Seq(upto), link: Link([7; 32]), gap: None }
    }

    fn drain(acks: &mut Acks) -> Vec<Ack> {
        let mut out = Vec::new();
        while let Some(ack) = acks.next() {
            acks.sent(ack.log);
            out.push(ack);
        }
        out
    }

    #[test]
    fn the_newest_ack_of_a_log_is_published_once() {
        let mut acks = Acks::default();
        acks.commit(ack(log(1, 1), 3));
        acks.commit(ack(log(1, 1), 5));
        acks.commit(ack(log(1, 1), 4));
        assert_eq!(drain(&mut acks), [ack(log(1, 1), 5)]);
        assert_eq!(acks.waiting(), 0);
    }

    #[test]
    fn a_greeting_is_answered_even_with_nothing_and_names_what_is_missing() {
        let mut acks = Acks::default();
        acks.greet(log(1, 1), Seq(9));
        acks.load(log(2, 1), Seq(4), Link([7; 32]));
        acks.greet(log(2, 1), Seq(4));
        let nothing = Ack { log: log(1, 1), upto: Seq(0), link: Link::genesis(log(1, 1)), gap: None };
        assert_eq!(drain(&mut acks), [Ack { gap: Some((Seq(1), Seq(9))), ..nothing }, ack(log(2, 1), 4)]);
    }

    #[test]
    fn a_repetition_names_each_stores_newest_epoch_after_fresh_answers() {
        let mut acks = Acks::default();
        for (store, epoch) in [(1, 1), (1, 2), (2, 5)] {
            acks.load(log(store, epoch), Seq(4), Link([7; 32]));
        }
        acks.repeat_all();
        acks.commit(ack(log(2, 5), 6));
        assert_eq!(drain(&mut acks), [ack(log(2, 5), 6), ack(log(1, 2), 4)]);
    }
}
