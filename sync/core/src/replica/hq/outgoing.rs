//! What HQ says next, and what it reads for it.

use super::super::effect::{Effect, Leaf, Publish, Token, Unsent, What};
use super::super::seal::Seals;
use super::super::wire2::{self, Letter};
use super::{FULL_RETRY_MS, Hub, READ_RETRY_MS, READS_MAX};
use crate::{Block, Link, Nak};
use alloc::sync::Arc;
use alloc::vec::Vec;
use sync_model::{Direction, LogId, Text};

impl Hub {
    /// The block of a [`Effect::ReadBlock`]; `None`: not to be had now.
    pub fn handle_block(&mut self, now: u64, token: Token, block: Option<Block>) {
        let Some(range) = self.reads.remove(&token) else { return };
        let store = range.log.store;
        let Some(block) = block.filter(|block| block.log == range.log && !block.records.is_empty()) else {
            self.down.postpone(store, now.saturating_add(READ_RETRY_MS));
            return;
        };
        let (log, first, last) = (block.log, block.first, block.last());
        // An ack or a gap may have moved the position while the block was read.
        if self.down.position(log).is_none_or(|status| status.sent.next() != first) {
            self.down.postpone(store, now);
            return;
        }
        let bytes = block.records.iter().map(Vec::len).sum();
        let version = self.peer_version(store).unwrap_or(wire2::MIN);
        let seal = self.seal(now, version, &block);
        let message = Letter::block(&self.config.codec, version, &block, seal.as_ref());
        self.down.handle_sent(now, log, first, last, bytes);
        let what = What::Block { log, first, last };
        let publish = Publish { store, leaf: Leaf::Down, message, retained: false, what };
        self.now_effects.push_back(Effect::Publish(publish));
    }

    /// The seal of a block of an own log, where it takes one along.
    fn seal(&mut self, now: u64, version: u8, block: &Block) -> Option<[u8; 64]> {
        let log = block.log;
        let sealer = self.sealer.as_ref().filter(|_| version >= 2 && log.direction == Direction::Down)?;
        let room = self.seals.len() < self.config.stores_max || self.seals.contains_key(&log.store);
        let more = self.down.position(log).is_some_and(|status| block.last() < status.head);
        let mut spare = Seals::default();
        let seals = if room { self.seals.entry(log.store).or_default() } else { &mut spare };
        seals.set(Some(Arc::clone(sealer)));
        seals.of(now, block, more)
    }

    /// The link of a [`Effect::CompareLink`].
    pub fn handle_link(&mut self, now: u64, token: Token, link: Option<Link>) {
        if let Some(ack) = self.compares.remove(&token) {
            if link.is_some_and(|link| link != ack.link) {
                self.contradicted(now, ack.log, ack.upto, ack.upto);
            }
        } else if let Some((_, log, at)) = self.asking_link.take_if(|(asked, _, _)| *asked == token) {
            self.recall.link(log, at, link);
        }
    }

    /// The transport did not take a message.
    pub fn handle_unsent(&mut self, now: u64, publish: Publish, why: Unsent) {
        if why != Unsent::TooLarge {
            self.pause_until = now.saturating_add(FULL_RETRY_MS);
        }
        match (why, publish.what) {
            (Unsent::Full, _) => self.returned.push_back(publish),
            (Unsent::Down, What::Ack(ack)) if ack.log.direction == Direction::Up => self.acks.again(ack),
            (Unsent::TooLarge, What::Block { log, first, last }) => {
                let code = Text::lossy("too-large");
                let nak = Nak { code, detail: Text::default(), of: Some((log, first, last)) };
                self.down.handle_nak(now, publish.store, &nak);
            }
            (Unsent::Down | Unsent::TooLarge, _) => {}
        }
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self, now: u64) -> Option<Effect> {
        if let Some(effect) = self.now_effects.pop_front() {
            return Some(effect);
        }
        if !self.up || now < self.pause_until {
            return None;
        }
        if let Some(publish) = self.returned.pop_front() {
            return Some(Effect::Publish(publish));
        }
        if let Some(ack) = self.acks.next() {
            self.acks.sent(ack.log);
            let version = self.peer_version(ack.log.store).unwrap_or(wire2::MIN);
            let message = Letter::Ack(ack).encode(version)?;
            let (store, leaf, what) = (ack.log.store, Leaf::UpAck, What::Ack(ack));
            return Some(Effect::Publish(Publish { store, leaf, message, retained: true, what }));
        }
        if let Some((store, nak)) = self.naks.pop_front() {
            let message = Letter::Nak(nak).encode(wire2::MIN)?;
            let (leaf, what) = (Leaf::Down, What::Nak);
            return Some(Effect::Publish(Publish { store, leaf, message, retained: false, what }));
        }
        self.poll_asks(now).or_else(|| self.poll_read(now))
    }

    pub(super) fn poll_asks(&mut self, now: u64) -> Option<Effect> {
        if self.asking_link.is_none()
            && let Some((log, at)) = self.recall.wants_link(now)
        {
            let token = self.token();
            self.asking_link = Some((token, log, at));
            return Some(Effect::CompareLink { token, log, at });
        }
        let progress = self.progress.pop_first().map(|(_, ack)| ack);
        let peers = &self.peers;
        let answers = |log: LogId| peers.get(&log.store).is_some_and(|version| *version >= 2);
        let again_ms = self.config.sender.retry_min_ms;
        let ack = progress.or_else(|| self.recall.ask(now, again_ms, answers))?;
        let message = Letter::Ack(ack).encode(self.peer_version(ack.log.store).unwrap_or(wire2::MIN))?;
        let (store, leaf, what) = (ack.log.store, Leaf::UpAck, What::Ack(ack));
        Some(Effect::Publish(Publish { store, leaf, message, retained: false, what }))
    }

    pub(super) fn poll_read(&mut self, now: u64) -> Option<Effect> {
        if self.reads.len() >= READS_MAX {
            return None;
        }
        let range = self.down.poll(now)?;
        // One block per store at a time: its position moves when the block is there.
        self.down.postpone(range.log.store, now.saturating_add(READ_RETRY_MS));
        if self.reads.values().any(|reading| reading.log.store == range.log.store) {
            return None;
        }
        let token = self.token();
        self.reads.insert(token, range);
        Some(Effect::ReadBlock { token, range })
    }
}
