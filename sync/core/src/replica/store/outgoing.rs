//! What a store says next, and what it reads for it.

use super::super::effect::{Alarm, Effect, Leaf, Publish, Token, Unsent, What};
use super::super::wire2::{self, Greeting, Letter, OLDER_MAX};
use super::{Lane, PAUSE_MS, Replica};
use crate::{Ack, BLOCK_RECORDS_MAX, Block, Hello, Link, Nak, SendRange};
use alloc::vec::Vec;
use sync_model::{Direction, Seq, Text};

impl Replica {
    /// The block of a [`Effect::ReadBlock`]; `None`: not to be had now.
    pub fn handle_block(&mut self, now: u64, token: Token, block: Option<Block>) {
        let Some((_, range, lane)) = self.reading.take_if(|(asked, _, _)| *asked == token) else { return };
        let Some(block) = block.filter(|block| block.log == range.log && !block.records.is_empty()) else {
            self.pause_until = now.saturating_add(PAUSE_MS);
            return;
        };
        let (log, first, last) = (block.log, block.first, block.last());
        self.spoke_ms = now;
        let version = self.peer.unwrap_or(wire2::MIN);
        match lane {
            Lane::Ordered => {
                // An ack or a gap may have moved the position while the block was read.
                if self.sender.log(log).is_none_or(|status| status.sent.next() != first) {
                    return;
                }
                let bytes = block.records.iter().map(Vec::len).sum();
                // Another's log that is given back is not ours to sign, and version 1 has no place for a seal.
                let own = log.direction == Direction::Up;
                let more = self.sender.log(log).is_some_and(|status| last < status.head);
                let seal = if own && version >= 2 { self.seals.of(now, &block, more) } else { None };
                let message = Letter::block(&self.config.codec, version, &block, seal.as_ref());
                if own {
                    self.remember(log, last, block.link());
                }
                self.sender.handle_sent(now, log, first, last, bytes);
                self.publish(Leaf::Up, message, false, What::Block { log, first, last });
            }
            Lane::Live => {
                if let Some((live, _, sent)) = &mut self.live
                    && *live == log
                {
                    *sent = (*sent).max(last);
                }
                let message = Letter::live(&self.config.codec, version, &block, None);
                self.publish(Leaf::Up, message, false, What::Live { log, first, last });
            }
        }
    }

    /// The records of a [`Effect::ReadBlock`] are gone up to `floor`: the log waits until the peer has them from elsewhere.
    pub fn handle_truncated(&mut self, now: u64, token: Token, floor: Seq) {
        let Some((_, range, _)) = self.reading.take_if(|(asked, _, _)| *asked == token) else { return };
        self.sender.hold(range.log, true);
        if self.gone.insert(range.log, floor) != Some(floor) {
            let alarm = Alarm::Truncated { log: range.log, wanted: range.first, floor };
            self.now_effects.push_back(Effect::Alarm(alarm));
        }
        self.pause_until = now.saturating_add(PAUSE_MS);
    }

    /// What the peer says it has of a log may end the wait for records that are gone here.
    pub(super) fn release(&mut self, ack: &Ack) {
        if self.gone.get(&ack.log).is_some_and(|floor| ack.upto >= *floor) {
            self.gone.remove(&ack.log);
            self.sender.hold(ack.log, false);
        }
    }

    /// The link of a [`Effect::CompareLink`].
    pub fn handle_link(&mut self, now: u64, token: Token, link: Option<Link>) {
        if let Some((_, ack)) = self.comparing.take_if(|(asked, _)| *asked == token) {
            self.compared(now, ack, link);
        } else if let Some((_, log, at)) = self.asking_link.take_if(|(asked, _, _)| *asked == token) {
            self.recall.link(log, at, link);
        }
    }

    /// The transport did not take a message.
    pub fn handle_unsent(&mut self, now: u64, publish: Publish, why: Unsent) {
        match (why, publish.what) {
            (Unsent::Full, _) => {
                self.pause_until = now.saturating_add(PAUSE_MS);
                self.returned.push_back(publish);
            }
            // Lost with the link; the next handle_up begins again.
            (Unsent::Down, _) => self.pause_until = now.saturating_add(PAUSE_MS),
            (Unsent::TooLarge, What::Block { log, first, last }) => {
                let nak = Nak {
                    code: Text::lossy("too-large"),
                    detail: Text::default(),
                    of: Some((log, first, last)),
                };
                self.sender.handle_nak(now, &nak);
            }
            (Unsent::TooLarge, _) => {}
        }
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self, now: u64) -> Option<Effect> {
        if let Some(effect) = self.now_effects.pop_front() {
            return Some(effect);
        }
        if self.comparing.is_none()
            && let Some((log, ack)) = self.compare_next.pop_first()
        {
            let token = self.token();
            self.comparing = Some((token, ack));
            return Some(Effect::CompareLink { token, log, at: ack.upto });
        }
        if !self.up || now < self.pause_until {
            return None;
        }
        if let Some(publish) = self.returned.pop_front() {
            return Some(Effect::Publish(publish));
        }
        if let Some(effect) = self.poll_words(now).or_else(|| self.poll_asks(now)) {
            return Some(effect);
        }
        self.poll_read(now)
    }

    /// Presence, greeting, acks, refusal.
    pub(super) fn poll_words(&mut self, now: u64) -> Option<Effect> {
        if core::mem::take(&mut self.presence_due) {
            return Some(self.message(Leaf::Presence, b"1".to_vec(), true, What::Presence));
        }
        if core::mem::take(&mut self.hello_due) {
            self.hello_ms = now;
            self.spoke_ms = now;
            self.hellos = self.hellos.saturating_add(1);
            // The retained ack of HQ's log may have been lost with the broker's memory, and HQ's older logs with HQ's disk.
            for (log, ack) in self.down.iter().rev().take(OLDER_MAX) {
                self.acks.entry(*log).or_insert(*ack);
            }
            let message = self.greeting().encode(self.greet)?;
            return Some(self.message(Leaf::Up, message, false, What::Hello));
        }
        if let Some((log, ack)) = self.acks.pop_first() {
            let message = Letter::Ack(ack).encode(self.peer.unwrap_or(wire2::MIN))?;
            // The topic keeps one message: how far HQ's newest log came.
            let retained = self.down.last_key_value().is_some_and(|(newest, _)| *newest == log);
            return Some(self.message(Leaf::DownAck, message, retained, What::Ack(ack)));
        }
        let nak = self.nak.take()?;
        let message = Letter::Nak(nak).encode(wire2::MIN)?;
        Some(self.message(Leaf::Up, message, false, What::Nak))
    }

    pub(super) fn greeting(&self) -> Letter {
        let head = self.current.and_then(|log| self.own.get(&log).map(|(head, _)| (log, *head)));
        let older = self.own.iter().rev().filter(|(log, _)| Some(**log) != self.current);
        let older = older.take(OLDER_MAX).map(|(log, (head, _))| (*log, *head)).collect();
        let down = self.down.last_key_value().map(|(_, ack)| *ack);
        let software = self.config.software.clone();
        Letter::Hello(Greeting { hello: Hello { store: self.config.store, head, down, software }, older })
    }

    pub(super) fn poll_asks(&mut self, now: u64) -> Option<Effect> {
        if self.asking_link.is_none()
            && let Some((log, at)) = self.recall.wants_link(now)
        {
            let token = self.token();
            self.asking_link = Some((token, log, at));
            return Some(Effect::CompareLink { token, log, at });
        }
        if self.peer.is_none_or(|version| version < 2) {
            return None;
        }
        let ack = self.recall.ask(now, self.config.sender.retry_min_ms, |_| true)?;
        let message = Letter::Ack(ack).encode(2)?;
        Some(self.message(Leaf::DownAck, message, false, What::Ack(ack)))
    }

    pub(super) fn poll_read(&mut self, now: u64) -> Option<Effect> {
        if self.reading.is_some() || now < self.hold_until {
            return None;
        }
        let (range, lane) = match self.live_range(now) {
            Some(range) => (range, Lane::Live),
            None => (self.sender.poll(now)?, Lane::Ordered),
        };
        let token = self.token();
        self.reading = Some((token, range, lane));
        Some(Effect::ReadBlock { token, range })
    }

    /// Events of the current log, written since the link came up, that a backlog would hold back.
    pub(super) fn live_range(&self, now: u64) -> Option<SendRange> {
        let (log, from, sent) = self.live?;
        let status = self.sender.log(log)?;
        let behind = status.sent < from && self.peer.is_some_and(|version| version >= 2);
        let news = status.head > sent && now >= self.live_at && !self.recall.contains(log);
        let max_bytes = self.config.sender.block_bytes;
        let first = sent.next();
        (behind && news).then_some(SendRange { log, first, max_records: BLOCK_RECORDS_MAX, max_bytes })
    }
}
