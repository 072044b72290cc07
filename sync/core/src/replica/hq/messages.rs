//! What HQ makes of a store's messages: decode, check whose they are, answer what cannot be accepted.

use super::super::effect::{Alarm, Effect, Leaf, Origin, Sign};
use super::super::wire2::{self, Greeting, Letter, LetterError, Versions};
use super::{Hub, READS_MAX};
use crate::{Ack, AckOutcome, Nak};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sync_model::{Direction, EventId, LogId, Seq, StoreId};

impl Hub {
    /// A message on a topic that names no store.
    pub fn handle_stray(&mut self, now: u64, topic: &str, bytes: &[u8]) {
        let detail =
            alloc::format!("topic is not of the form sy1/<bucket>/<store>/<leaf>, {} bytes", bytes.len());
        let ruling = self.policy.rule(now, None, "bad-topic", None);
        if ruling.keep {
            let (origin, code) = (Origin::Stray(topic.to_string()), "bad-topic");
            self.now_effects.push_back(Effect::Quarantine { origin, code, detail, raw: bytes.to_vec() });
        }
    }

    /// One message of a store that must not be heard, for a reason that lies outside the protocol.
    pub fn handle_foreign(
        &mut self,
        now: u64,
        store: StoreId,
        leaf: Leaf,
        (code, detail): (&'static str, String),
        bytes: &[u8],
    ) {
        let bad = match self.named(store, leaf, bytes) {
            Ok(of) => Bad::new(code, detail, of),
            Err(bad) => bad,
        };
        self.handle_bad(now, store, leaf, &bad, bytes);
    }

    /// What a message names, without believing any of it. What cannot be read is refused for that alone.
    pub(super) fn named(
        &self,
        store: StoreId,
        leaf: Leaf,
        bytes: &[u8],
    ) -> Result<Option<(LogId, Seq, Seq)>, Bad> {
        if !matches!(leaf, Leaf::Up | Leaf::DownAck) {
            return Ok(None);
        }
        let (letter, _) = Letter::decode(&self.config.codec, bytes)
            .map_err(|error| Bad::new(error.code(), error.to_string(), None))?;
        let (Letter::Block(block) | Letter::Live(block)) = letter else { return Ok(None) };
        let of = Some((block.log, block.first, block.last()));
        check_store(store, block.log.store, of)?;
        Ok(of)
    }

    /// One message of a store.
    pub fn handle_message(&mut self, now: u64, store: StoreId, leaf: Leaf, bytes: &[u8], retained: bool) {
        let done = match leaf {
            Leaf::Up => self.take_up(now, store, bytes, retained),
            Leaf::DownAck | Leaf::Presence if bytes.is_empty() => Ok(()),
            Leaf::DownAck => self.take_down_ack(now, store, bytes, retained),
            Leaf::Presence => self.take_presence(now, store, bytes, retained),
            Leaf::Down | Leaf::UpAck => {
                Err(Bad::new("wrong-message", "this topic is written by HQ only".into(), None))
            }
        };
        if let Err(bad) = done {
            self.handle_bad(now, store, leaf, &bad, bytes);
        }
        self.ask_at_last(now, store);
    }

    /// What a store has differently is asked for as soon as it can be, also when that was given up long ago: with equal ends
    /// on both sides nothing else would bring it up again.
    fn ask_at_last(&mut self, now: u64, store: StoreId) {
        let waits = |(log, _): &(&LogId, &(Seq, Seq))| log.store == store && self.answers(**log);
        let Some((log, (peer, from))) = self.contested.iter().find(waits).map(|(log, at)| (*log, *at)) else {
            return;
        };
        self.contested.remove(&log);
        let at = from.next();
        self.lose(now, log, peer, from, Alarm::Forked { log, at });
    }

    pub(super) fn decode(&mut self, store: StoreId, bytes: &[u8]) -> Result<Letter, Bad> {
        let found = match bytes.first() {
            Some(version) if *version > self.config.speaks && bytes.len() <= crate::MESSAGE_BYTES_MAX => {
                Err(LetterError::Version(*version))
            }
            _ => Letter::decode(&self.config.codec, bytes),
        };
        let (letter, versions) = found.map_err(|error| Bad::new(error.code(), error.to_string(), None))?;
        let spoken = bytes.first().copied().filter(|spoken| *spoken > wire2::MIN);
        // Whoever writes a version reads it.
        let versions = versions.or(spoken
            .filter(|spoken| self.peers.get(&store).is_none_or(|known| known < spoken))
            .map(|current| Versions { min: wire2::MIN, current }));
        if let Some(versions) = versions {
            let own = Versions { min: wire2::MIN, current: self.config.speaks };
            let room = self.peers.len() < self.config.stores_max || self.peers.contains_key(&store);
            match own.common(versions) {
                Some(version) if room => drop(self.peers.insert(store, version)),
                Some(_) => {}
                None => {
                    let detail = alloc::format!(
                        "the store speaks wire versions {} to {}, HQ {} to {}",
                        versions.min,
                        versions.current,
                        own.min,
                        own.current
                    );
                    self.now_effects.push_back(Effect::Alarm(Alarm::Versions { found: versions.min }));
                    return Err(Bad::new("wire-version", detail, None));
                }
            }
        }
        Ok(letter)
    }

    pub(super) fn take_up(
        &mut self,
        now: u64,
        store: StoreId,
        bytes: &[u8],
        retained: bool,
    ) -> Result<(), Bad> {
        match self.decode(store, bytes)? {
            Letter::Block(block) => {
                let of = (block.log, block.first, block.last());
                // A block of HQ's own log is history that HQ asked for.
                let asked = block.log.direction == Direction::Down && self.recall.contains(block.log);
                if !asked {
                    check_log(store, block.log, Direction::Up, Some(of))?;
                }
                check_store(store, block.log.store, Some(of))?;
                self.seen(store, Sign::Block, retained);
                self.there(now, store);
                self.ingest(store, block);
            }
            Letter::Live(block) => {
                let of = (block.log, block.first, block.last());
                check_log(store, block.log, Direction::Up, Some(of))?;
                self.seen(store, Sign::Block, retained);
                self.take_live(store, block);
            }
            Letter::Hello(greeting) => self.take_hello(now, store, &greeting)?,
            Letter::Nak(nak) => self.take_nak(now, store, nak, retained)?,
            Letter::Ack(ack) => {
                let detail = alloc::format!("ack of {} on the up topic", ack.log);
                return Err(Bad::new("wrong-message", detail, Some((ack.log, ack.upto, ack.upto))));
            }
        }
        Ok(())
    }

    /// A store that sends is there, though its greeting was lost.
    pub(super) fn there(&mut self, now: u64, store: StoreId) {
        if !self.down.is_there(store) {
            self.gone.remove(&store);
            self.down.handle_there(now, store, None);
        }
    }

    pub(super) fn take_nak(&mut self, now: u64, store: StoreId, nak: Nak, retained: bool) -> Result<(), Bad> {
        if let Some((log, first, last)) = nak.of {
            if log.direction == Direction::Up {
                // It refuses returned history: nothing to do but wait for its ask.
                check_store(store, log.store, Some((log, first, last)))?;
                return Ok(());
            }
            check_log(store, log, Direction::Down, nak.of)?;
            if matches!(nak.code.as_str(), "equivocation" | "chain-break") {
                // A break is seen behind the store's end, another record in its log.
                let known =
                    if nak.code.as_str() == "equivocation" { first.0 } else { first.0.saturating_sub(1) };
                self.contradicted(now, log, first, Seq(known));
            }
        } else if matches!(nak.code.as_str(), "undecodable" | "wire-version") {
            // It could not read us: it may be an older one than we thought.
            self.peers.remove(&store);
        }
        // The same allowance that bounds our own refusals bounds the lines about the store's.
        let named = nak.of.map(|(log, first, _)| EventId { log, seq: first });
        self.down.handle_nak(now, store, &nak);
        if self.policy.rule(now, Some(store), "store-nak", named).nak {
            self.seen(store, Sign::Nak(nak), retained);
        }
        Ok(())
    }

    /// The store has another history of HQ's log: ask for it, and write the own branch again in a new epoch.
    pub(super) fn contradicted(&mut self, now: u64, log: LogId, at: Seq, peer: Seq) {
        let from = Seq(at.0.saturating_sub(1));
        self.lose(now, log, peer, from, Alarm::Forked { log, at });
    }

    pub(super) fn lose(&mut self, now: u64, log: LogId, peer: Seq, from: Seq, alarm: Alarm) {
        self.down.hold(now, log, true);
        if self.recall.note(now, log, peer, from) {
            self.now_effects.push_back(Effect::Alarm(alarm));
        }
    }

    pub(super) fn take_hello(&mut self, now: u64, store: StoreId, greeting: &Greeting) -> Result<(), Bad> {
        let hello = &greeting.hello;
        check_store(store, hello.store, None)?;
        let heads = || hello.head.iter().chain(&greeting.older);
        for (log, seq) in heads() {
            check_log(store, *log, Direction::Up, Some((*log, *seq, *seq)))?;
        }
        if let Some(ack) = hello.down {
            check_log(store, ack.log, Direction::Down, Some((ack.log, ack.upto, ack.upto)))?;
        }
        self.gone.remove(&store);
        let version = self.peer_version(store).unwrap_or(wire2::MIN);
        let sign = Sign::Hello { head: hello.head, software: hello.software.clone(), version };
        self.seen(store, sign, false);
        let known: Vec<Ack> = self.acks.of_store(store).collect();
        for (log, head) in heads() {
            let durable = self.acks.durable(*log);
            // The newest is answered always; an older one where the two differ.
            if hello.head.is_some_and(|(newest, _)| newest == *log) || durable.upto != *head {
                self.acks.greet(*log, *head);
            }
        }
        // Logs that the store does not name at all: it may have lost them. A peer of version 1 names one log only.
        if version >= 2 {
            for ack in known.iter().filter(|ack| !heads().any(|(log, _)| *log == ack.log)) {
                self.acks.greet(ack.log, ack.upto);
            }
        }
        self.down.handle_there(now, store, Some(hello.down.as_ref()));
        if let Some(ack) = hello.down {
            self.own_ack(now, ack, true);
        }
        Ok(())
    }

    pub(super) fn take_down_ack(
        &mut self,
        now: u64,
        store: StoreId,
        bytes: &[u8],
        retained: bool,
    ) -> Result<(), Bad> {
        let Letter::Ack(ack) = self.decode(store, bytes)? else {
            return Err(Bad::new("wrong-message", "only acks belong on the ack topic".into(), None));
        };
        let of = Some((ack.log, ack.upto, ack.upto));
        check_store(store, ack.log.store, of)?;
        self.seen(store, Sign::Ack(ack), retained);
        if !(retained && self.gone.contains(&store)) {
            self.down.handle_there(now, store, None);
        }
        match ack.log.direction {
            Direction::Down => self.own_ack(now, ack, false),
            Direction::Up => {
                let durable = self.acks.durable(ack.log);
                let Some(ask) = super::super::recall::answerable(&ack, durable.upto) else {
                    let detail = alloc::format!("{} is known here up to {}", ack.log, durable.upto);
                    return Err(Bad::new("wrong-message", detail, of));
                };
                self.down.give_back(now, &ask, durable.upto);
            }
        }
        Ok(())
    }

    /// What a store has of HQ's log: remembered in the ledger when it is news.
    pub(super) fn own_ack(&mut self, now: u64, ack: Ack, compare: bool) {
        let log = ack.log;
        let head = self.down.ends(log).map_or(Seq::ZERO, |ends| ends.head);
        if self.recall.contains(log) {
            self.recall.note(now, log, ack.upto, Seq::ZERO);
            return;
        }
        if ack.upto > head {
            let alarm = Alarm::RolledBack { log, upto: ack.upto, head };
            return self.lose(now, log, ack.upto, head, alarm);
        }
        if compare && ack.upto > Seq::ZERO && self.compares.len() < READS_MAX {
            let token = self.token();
            self.compares.insert(token, ack);
            self.now_effects.push_back(Effect::CompareLink { token, log, at: ack.upto });
        }
        let outcome = self.down.handle_ack(now, &ack);
        if matches!(outcome, Some(AckOutcome::Advanced { .. } | AckOutcome::Regressed { .. })) {
            self.now_effects.push_back(Effect::RecordAck(ack));
        }
    }

    pub(super) fn take_presence(
        &mut self,
        now: u64,
        store: StoreId,
        bytes: &[u8],
        retained: bool,
    ) -> Result<(), Bad> {
        let present = match bytes {
            b"1" => true,
            b"0" => false,
            _ => {
                let detail = alloc::format!("presence is 1 or 0, found {} bytes", bytes.len());
                return Err(Bad::new("undecodable", detail, None));
            }
        };
        self.seen(store, Sign::Present(present), retained);
        if present {
            self.gone.remove(&store);
            self.down.handle_there(now, store, None);
        } else {
            if self.gone.len() < self.config.stores_max {
                self.gone.insert(store);
            }
            self.down.handle_gone(store);
            self.forget_early(store);
        }
        Ok(())
    }
}

/// Why a message cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) of: Option<(LogId, Seq, Seq)>,
}

impl Bad {
    pub(super) fn new(code: &'static str, detail: String, of: Option<(LogId, Seq, Seq)>) -> Self {
        Self { code, detail, of }
    }
}

fn check_store(topic: StoreId, payload: StoreId, of: Option<(LogId, Seq, Seq)>) -> Result<(), Bad> {
    if topic == payload {
        return Ok(());
    }
    Err(Bad::new("wrong-store", alloc::format!("topic of store {topic}, payload of store {payload}"), of))
}

fn check_log(
    store: StoreId,
    log: LogId,
    direction: Direction,
    of: Option<(LogId, Seq, Seq)>,
) -> Result<(), Bad> {
    check_store(store, log.store, of)?;
    if log.direction != direction {
        return Err(Bad::new("wrong-message", alloc::format!("log {log} is not written by this side"), of));
    }
    Ok(())
}
