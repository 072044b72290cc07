//! HQ's own logs on their way to the stores: one sender per store that is there. Sans-IO; time is monotonic milliseconds.
//!
//! A sender begins when the store shows itself (greeting, presence, or an ack) and ends when its will says that it left; what
//! it did not acknowledge is sent when it returns.

use crate::{Ack, AckOutcome, Link, Nak, SendRange, Sender, SenderConfig};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use sync_model::{LogId, Seq, StoreId};

/// Ends of one down log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DownEnds {
    /// Written.
    pub(super) head: Seq,
    /// Durable at the store, as far as it said so.
    pub(super) acked: Seq,
}

/// Every down log and the senders of the stores that are there.
#[derive(Clone, Debug)]
pub(super) struct Down {
    config: SenderConfig,
    stores_max: usize,
    logs: BTreeMap<LogId, DownEnds>,
    senders: BTreeMap<StoreId, Sender>,
    wake_of: BTreeMap<StoreId, u64>,
    wakes: BTreeSet<(u64, StoreId)>,
    up: bool,
}

impl Down {
    pub(super) fn new(config: SenderConfig, stores_max: usize) -> Self {
        Self {
            config,
            stores_max,
            logs: BTreeMap::new(),
            senders: BTreeMap::new(),
            wake_of: BTreeMap::new(),
            wakes: BTreeSet::new(),
            up: false,
        }
    }

    /// A log as the ledger knows it at start.
    pub(super) fn load(&mut self, log: LogId, ends: DownEnds) {
        self.logs.insert(log, ends);
    }

    /// A log has grown.
    pub(super) fn handle_head(&mut self, now: u64, log: LogId, head: Seq) {
        let ends = self.logs.entry(log).or_default();
        ends.head = ends.head.max(head);
        if head <= ends.acked {
            return;
        }
        if let Some(sender) = self.senders.get_mut(&log.store) {
            sender.handle_head(now, log, head);
            self.plan(now, log.store);
        }
    }

    /// The store is there. `told` is what it says to have, when it says so: a greeting restarts the sender where the two differ.
    pub(super) fn handle_there(&mut self, now: u64, store: StoreId, told: Option<Option<&Ack>>) {
        let agrees = |sender: &Sender, ack: Option<&Ack>| match ack {
            Some(ack) => sender.status().logs.iter().any(|log| log.log == ack.log && log.acked <= ack.upto),
            None => sender.status().logs.iter().all(|log| log.acked == Seq::ZERO),
        };
        let keep = match (self.senders.get(&store), told) {
            (Some(sender), Some(ack)) => agrees(sender, ack),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if !keep && (self.senders.len() < self.stores_max || self.senders.contains_key(&store)) {
            let sender = self.start(now, store, told);
            self.senders.insert(store, sender);
        }
        if let Some(Some(ack)) = told {
            self.handle_ack(now, ack);
        }
        self.plan(now, store);
    }

    /// Whether the store has a sender.
    pub(super) fn is_there(&self, store: StoreId) -> bool {
        self.senders.contains_key(&store)
    }

    /// A sender for what the store lacks.
    fn start(&self, now: u64, store: StoreId, told: Option<Option<&Ack>>) -> Sender {
        let mut sender = Sender::new(self.config);
        for (log, ends) in self.logs.iter().filter(|(log, _)| log.store == store) {
            sender.handle_head(now, *log, ends.head);
            let told_here = matches!(told, Some(Some(ack)) if ack.log == *log);
            let told_nothing = matches!(told, Some(None));
            if told_here || told_nothing {
                continue;
            }
            // Our own memory of its ack may be out of date (the store may have been restored). Sending the last record again
            // is the question; the store's ack, with a gap if need be, is the answer.
            let upto = ends.acked.min(Seq(ends.head.0.saturating_sub(1)));
            sender.handle_ack(now, &Ack { log: *log, upto, link: Link([0; 32]), gap: None });
        }
        if self.up {
            sender.handle_up(now);
        }
        sender
    }

    /// The store acknowledges. `None` when it has no sender.
    pub(super) fn handle_ack(&mut self, now: u64, ack: &Ack) -> Option<AckOutcome> {
        let outcome = self.senders.get_mut(&ack.log.store)?.handle_ack(now, ack);
        if let AckOutcome::Advanced { log, upto } | AckOutcome::Regressed { log, upto } = outcome
            && let Some(ends) = self.logs.get_mut(&log)
        {
            ends.acked = upto;
        }
        self.plan(now, ack.log.store);
        Some(outcome)
    }

    /// Sends a store's own log back to it, from the position that it asks from.
    pub(super) fn give_back(&mut self, now: u64, ask: &Ack, head: Seq) {
        let store = ask.log.store;
        let Some(sender) = self.senders.get_mut(&store) else { return };
        sender.give_back(now, ask, head);
        self.plan(now, store);
    }

    /// A log of HQ's came back from the store: both have it up to here, and it ends here.
    pub(super) fn returned(&mut self, now: u64, log: LogId, upto: Seq) {
        self.logs.insert(log, DownEnds { head: upto, acked: upto });
        if let Some(sender) = self.senders.get_mut(&log.store) {
            sender.forget(log);
        }
        self.plan(now, log.store);
    }

    /// The store has a log of HQ's up to `shared` as it is here: it is sent on from there.
    pub(super) fn resume(&mut self, now: u64, log: LogId, shared: Seq) {
        if let Some(ends) = self.logs.get_mut(&log) {
            ends.acked = shared.min(ends.head);
        }
        if let Some(sender) = self.senders.get_mut(&log.store) {
            sender.resume(now, log, shared);
        }
        self.plan(now, log.store);
    }

    /// Nothing more of a log of HQ's goes out, or it does again.
    pub(super) fn hold(&mut self, now: u64, log: LogId, held: bool) {
        if let Some(sender) = self.senders.get_mut(&log.store) {
            sender.hold(log, held);
        }
        self.plan(now, log.store);
    }

    /// Where a log stands in the store's sender.
    pub(super) fn position(&self, log: LogId) -> Option<crate::LogStatus> {
        self.senders.get(&log.store)?.log(log)
    }

    /// The end of one down log.
    pub(super) fn ends(&self, log: LogId) -> Option<DownEnds> {
        self.logs.get(&log).copied()
    }

    /// The greatest epoch of a store's down logs.
    pub(super) fn newest(&self, store: StoreId) -> Option<LogId> {
        self.logs.keys().rev().find(|log| log.store == store).copied()
    }

    /// The store refuses something.
    pub(super) fn handle_nak(&mut self, now: u64, store: StoreId, nak: &Nak) {
        if let Some(sender) = self.senders.get_mut(&store) {
            sender.handle_nak(now, nak);
            self.plan(now, store);
        }
    }

    /// The store left.
    pub(super) fn handle_gone(&mut self, store: StoreId) {
        self.senders.remove(&store);
        self.unplan(store);
    }

    /// The broker is there.
    pub(super) fn handle_up(&mut self, now: u64) {
        self.up = true;
        let stores: Vec<StoreId> = self.senders.keys().copied().collect();
        for store in stores {
            if let Some(sender) = self.senders.get_mut(&store) {
                sender.handle_up(now);
            }
            self.plan(now, store);
        }
    }

    /// The broker is gone.
    pub(super) fn handle_down(&mut self) {
        self.up = false;
        for sender in self.senders.values_mut() {
            sender.handle_down();
        }
        self.wakes.clear();
        self.wake_of.clear();
    }

    /// What to send next, if anything is due.
    pub(super) fn poll(&mut self, now: u64) -> Option<SendRange> {
        while let Some((at, store)) = self.wakes.first().copied()
            && at <= now
        {
            match self.senders.get_mut(&store).and_then(|sender| sender.poll(now)) {
                Some(range) => return Some(range),
                None => self.plan_after(store, now.saturating_add(1)),
            }
        }
        None
    }

    /// A block was handed over.
    pub(super) fn handle_sent(&mut self, now: u64, log: LogId, first: Seq, last: Seq, bytes: usize) {
        if let Some(sender) = self.senders.get_mut(&log.store) {
            sender.handle_sent(now, log, first, last, bytes);
        }
        self.plan(now, log.store);
    }

    /// The log could not be read: ask again later.
    pub(super) fn postpone(&mut self, store: StoreId, until: u64) {
        self.plan_after(store, until);
    }

    /// When [`Down::poll`] is next worth asking.
    pub(super) fn next_wake(&self) -> Option<u64> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Ends of every down log, by store, oldest epoch first.
    #[cfg(test)]
    pub(super) fn logs(&self) -> impl Iterator<Item = (LogId, DownEnds)> {
        self.logs.iter().map(|(log, ends)| (*log, *ends))
    }

    fn plan(&mut self, now: u64, store: StoreId) {
        self.plan_after(store, now);
    }

    /// Notes when the store's sender wants to be asked, but not before `earliest`.
    fn plan_after(&mut self, store: StoreId, earliest: u64) {
        self.unplan(store);
        if let Some(wake) = self.senders.get(&store).and_then(Sender::next_wake) {
            let at = wake.max(earliest);
            self.wake_of.insert(store, at);
            self.wakes.insert((at, store));
        }
    }

    fn unplan(&mut self, store: StoreId) {
        if let Some(at) = self.wake_of.remove(&store) {
            self.wakes.remove(&(at, store));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_model::{Direction, Epoch};

    const STORE: StoreId = StoreId(7);

    fn log(epoch: u32) -> LogId {
        LogId { store: STORE, direction: Direction::Down, epoch: Epoch(epoch) }
    }

    fn ack(log: LogId, upto: u64, gap: Option<(u64, u64)>) -> Ack {
        Ack { log, upto: Seq(upto), link: Link([0; 32]), gap: gap.map(|(a, b)| (Seq(a), Seq(b))) }
    }

    fn down(logs: &[(u32, u64, u64)]) -> Down {
        let mut down =
            Down::new(SenderConfig { linger_ms: 0, retry_min_ms: 100, ..SenderConfig::default() }, 8);
        for (epoch, head, acked) in logs {
            down.load(log(*epoch), DownEnds { head: Seq(*head), acked: Seq(*acked) });
        }
        down.handle_up(0);
        down
    }

    /// Plays the reader: sends all that is due, answers what was sent as (epoch, first, last).
    fn send_all(down: &mut Down, now: u64) -> Vec<(u32, u64, u64)> {
        let mut sent = Vec::new();
        while let Some(range) = down.poll(now) {
            let head = down.logs().find(|(log, _)| *log == range.log).map(|(_, ends)| ends.head).unwrap();
            let last = Seq(head.0.min(range.first.0 + range.max_records as u64 - 1));
            down.handle_sent(now, range.log, range.first, last, 100);
            sent.push((range.log.epoch.0, range.first.0, last.0));
        }
        sent
    }

    #[test]
    fn nothing_is_sent_to_a_store_that_is_not_there() {
        let mut down = down(&[(1, 5, 0)]);
        assert_eq!(send_all(&mut down, 0), []);
        assert_eq!(down.next_wake(), None);
        down.handle_there(0, STORE, Some(None));
        assert_eq!(send_all(&mut down, 0), [(1, 1, 5)]);
        down.handle_gone(STORE);
        assert_eq!(send_all(&mut down, 1_000_000), []);
    }

    #[test]
    fn a_greeting_says_where_to_begin_and_an_unacknowledged_block_goes_again() {
        let mut down = down(&[(1, 9, 9)]);
        down.handle_there(0, STORE, Some(Some(&ack(log(1), 4, None))));
        assert_eq!(send_all(&mut down, 0), [(1, 5, 9)]);
        assert_eq!(send_all(&mut down, 50), []);
        assert_eq!(send_all(&mut down, 100), [(1, 5, 9)]);
        assert_eq!(
            down.handle_ack(101, &ack(log(1), 9, None)),
            Some(AckOutcome::Advanced { log: log(1), upto: Seq(9) })
        );
        assert_eq!(down.next_wake(), None);
        down.handle_head(200, log(1), Seq(10));
        assert_eq!(send_all(&mut down, 200), [(1, 10, 10)]);
    }

    #[test]
    fn presence_alone_asks_with_the_last_record_and_fills_what_a_restored_store_lacks() {
        let mut down = down(&[(1, 9, 9)]);
        down.handle_there(0, STORE, None);
        assert_eq!(send_all(&mut down, 0), [(1, 9, 9)]);
        down.handle_ack(200, &ack(log(1), 3, Some((4, 8))));
        assert_eq!(send_all(&mut down, 200), [(1, 4, 9)]);
    }

    #[test]
    fn a_store_that_greets_with_less_than_it_acknowledged_gets_it_again() {
        let mut down = down(&[(1, 9, 0)]);
        down.handle_there(0, STORE, Some(None));
        send_all(&mut down, 0);
        down.handle_ack(1, &ack(log(1), 9, None));
        down.handle_there(2, STORE, Some(Some(&ack(log(1), 9, None))));
        assert_eq!(send_all(&mut down, 2), []);
        down.handle_there(3, STORE, Some(Some(&ack(log(1), 2, None))));
        assert_eq!(send_all(&mut down, 3), [(1, 3, 9)]);
    }

    #[test]
    fn a_block_that_the_pipe_does_not_take_goes_as_singles() {
        let mut down = down(&[(1, 3, 0)]);
        down.handle_there(0, STORE, Some(None));
        assert!(down.poll(0).unwrap().max_records > 1);
        let of = Some((log(1), Seq(1), Seq(3)));
        down.handle_nak(
            0,
            STORE,
            &Nak { code: sync_model::Text::lossy("too-large"), detail: sync_model::Text::default(), of },
        );
        assert_eq!(send_all(&mut down, 0), [(1, 1, 1), (1, 2, 2), (1, 3, 3)]);
    }

    #[test]
    fn a_lost_broker_stops_and_resumes_every_sender() {
        let mut down = down(&[(1, 2, 0)]);
        down.handle_there(0, STORE, Some(None));
        down.handle_down();
        assert_eq!(send_all(&mut down, 10), []);
        down.handle_up(20);
        assert_eq!(send_all(&mut down, 20), [(1, 1, 2)]);
    }
}
