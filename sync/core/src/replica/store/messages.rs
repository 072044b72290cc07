//! What a store makes of HQ's messages: blocks to take in, acks to compare, history that comes back.

use super::super::effect::{Alarm, Effect, IngestFailure, IngestOutcome, Ingested, Leaf, Sign, Token};
use super::super::recall::Equal;
use super::super::wire2::{self, Incoming, Letter, Versions};
use super::{INGESTS_MAX, Replica};
use crate::{Ack, AckOutcome, Link, Nak};
use alloc::string::ToString;
use sync_model::{Direction, EpochReason, Seq};

impl Replica {
    /// One message of the transport.
    pub fn handle_message(&mut self, now: u64, leaf: Leaf, bytes: &[u8]) {
        let (letter, versions) = match self.decode(bytes) {
            Ok(found) => found,
            Err(error) => {
                if let wire2::LetterError::Version(found) = error {
                    self.now_effects.push_back(Effect::Alarm(Alarm::Versions { found }));
                }
                return self.refuse(now, leaf, error.code(), &error.to_string(), None, Some(bytes));
            }
        };
        if let Some(versions) = versions {
            let own = Versions { min: wire2::MIN, current: self.config.speaks };
            self.peer = own.common(versions).or(self.peer);
        } else if let Some(spoken) = bytes.first().filter(|spoken| **spoken > wire2::MIN) {
            // Whoever writes a version reads it.
            self.peer = self.peer.max(Some(*spoken));
        }
        match (leaf, letter) {
            (Leaf::Down, Letter::Block(block)) => self.take_block(now, leaf, block, bytes),
            (Leaf::Down, Letter::Nak(nak)) => self.take_nak(now, nak),
            (Leaf::UpAck | Leaf::Down, Letter::Ack(ack)) => self.take_ack(now, leaf, ack, bytes),
            _ => {
                self.refuse(now, leaf, "unexpected", "a message that does not belong here", None, Some(bytes))
            }
        }
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> Result<(Letter, Option<Versions>), wire2::LetterError> {
        match bytes.first() {
            Some(version) if *version > self.config.speaks => Err(wire2::LetterError::Version(*version)),
            _ => Letter::decode(&self.config.codec, bytes),
        }
    }

    pub(super) fn take_block(&mut self, now: u64, leaf: Leaf, block: Incoming, bytes: &[u8]) {
        let of = Some((block.log, block.first, block.last()));
        if block.log.store != self.config.store {
            let detail = alloc::format!("a block of {}", block.log);
            return self.refuse(now, leaf, "wrong-store", &detail, of, Some(bytes));
        }
        if block.log.direction == Direction::Up && !self.recall.contains(block.log) {
            // History that was asked for earlier and is complete, or that nobody asked for.
            return;
        }
        if self.ingests.len() >= INGESTS_MAX {
            return;
        }
        let token = self.token();
        self.ingests.insert(token, (block.log, block.last()));
        self.now_effects.push_back(Effect::Ingest { token, store: self.config.store, block });
    }

    pub(super) fn take_nak(&mut self, now: u64, nak: Nak) {
        if nak.of.is_none() && matches!(nak.code.as_str(), "undecodable" | "wire-version") {
            // HQ could not read us: it may be an older one than we thought.
            self.peer = None;
            self.refused_ms = Some(now);
            self.lower_greeting();
            self.hello_due = self.up;
        }
        self.sender.handle_nak(now, &nak);
        let sign = Sign::Nak(nak);
        self.now_effects.push_back(Effect::Seen { store: self.config.store, sign, retained: false });
    }

    pub(super) fn take_ack(&mut self, now: u64, leaf: Leaf, ack: Ack, bytes: &[u8]) {
        if ack.log.store != self.config.store {
            let detail = alloc::format!("an ack of {}", ack.log);
            return self.refuse(now, leaf, "wrong-store", &detail, None, Some(bytes));
        }
        self.heard_ms = now;
        self.hellos = 0;
        if self.peer.is_none() && self.greet == wire2::MIN {
            self.peer = Some(wire2::MIN);
        }
        if self.peer.is_some() {
            self.hold_until = now;
        }
        if self.greet < self.config.speaks && self.refused_ms.is_none() {
            // It was silence that lowered the greeting, and now HQ is there.
            self.greet = self.config.speaks;
            self.hello_due = self.up;
        }
        match ack.log.direction {
            Direction::Down => self.asked(now, &ack),
            Direction::Up => {
                let sign = Sign::Ack(ack);
                self.now_effects.push_back(Effect::Seen { store: self.config.store, sign, retained: false });
                self.judge(now, ack);
            }
        }
    }

    /// HQ asks for its own log back, from the ack's position on.
    pub(super) fn asked(&mut self, now: u64, ack: &Ack) {
        let Some(known) = self.down.get(&ack.log).copied() else { return };
        let Some(ask) = super::super::recall::answerable(ack, known.upto) else { return };
        self.release(&ask);
        self.sender.give_back(now, &ask, known.upto);
    }

    /// Compares HQ's word on an own log with the own log, as far as this can be done without reading.
    pub(super) fn judge(&mut self, now: u64, ack: Ack) {
        let Some((head, acked)) = self.own.get(&ack.log).copied() else {
            if ack.upto > Seq::ZERO {
                self.lose(
                    now,
                    ack,
                    Seq::ZERO,
                    Alarm::RolledBack { log: ack.log, upto: ack.upto, head: Seq::ZERO },
                );
            }
            return;
        };
        if self.recall.contains(ack.log) {
            self.recall.note(now, ack.log, ack.upto, Seq::ZERO);
            return;
        }
        if ack.upto > head {
            let alarm = Alarm::RolledBack { log: ack.log, upto: ack.upto, head };
            return self.lose(now, ack, head, alarm);
        }
        self.release(&ack);
        if ack.upto <= acked {
            // Compared before, or nothing yet: only the position counts.
            return self.believe(now, ack);
        }
        let known = self.links.iter().rev().find(|(log, at, _)| (*log, *at) == (ack.log, ack.upto));
        match known.map(|(_, _, link)| *link) {
            Some(link) => self.compared(now, ack, Some(link)),
            None => {
                self.compare_next.insert(ack.log, ack);
            }
        }
    }

    pub(super) fn compared(&mut self, now: u64, ack: Ack, link: Option<Link>) {
        match link {
            Some(link) if link == ack.link => self.believe(now, ack),
            Some(_) => {
                let from = Seq(ack.upto.0.saturating_sub(1));
                self.lose(now, ack, from, Alarm::Forked { log: ack.log, at: ack.upto });
            }
            // Beyond what can be read: the next ack is compared again.
            None => {}
        }
    }

    /// HQ has more of an own log, or another history of it.
    pub(super) fn lose(&mut self, now: u64, ack: Ack, from: Seq, alarm: Alarm) {
        self.sender.hold(ack.log, true);
        if self.recall.note(now, ack.log, ack.upto, from) {
            self.now_effects.push_back(Effect::Alarm(alarm));
        }
    }

    pub(super) fn believe(&mut self, now: u64, ack: Ack) {
        match self.sender.handle_ack(now, &ack) {
            AckOutcome::Advanced { log, upto } => {
                if let Some(entry) = self.own.get_mut(&log) {
                    entry.1 = upto;
                }
                self.now_effects.push_back(Effect::RecordAck(ack));
            }
            AckOutcome::Regressed { log, upto } => {
                if let Some(entry) = self.own.get_mut(&log) {
                    entry.1 = upto;
                }
                self.now_effects.push_back(Effect::Alarm(Alarm::PeerRegressed { log, upto }));
            }
            AckOutcome::Unknown(log) => {
                // History that came back from HQ once, and that HQ, an older copy by now, lacks: it is sent again.
                let Some((head, acked)) = self.own.get_mut(&log).filter(|(head, _)| *head > ack.upto) else {
                    return;
                };
                *acked = ack.upto;
                let head = *head;
                self.sender.handle_head(now, log, head);
                self.sender.handle_ack(now, &ack);
                let alarm = Alarm::PeerRegressed { log, upto: ack.upto };
                self.now_effects.push_back(Effect::Alarm(alarm));
            }
            AckOutcome::Stale | AckOutcome::Ahead { .. } => {}
        }
    }

    /// The outcome of a [`Effect::Ingest`], after its commit.
    pub fn handle_ingested(&mut self, now: u64, token: Token, result: Result<Ingested, IngestFailure>) {
        let Some((log, last)) = self.ingests.remove(&token) else { return };
        let ingested = match result {
            Ok(ingested) => ingested,
            Err(IngestFailure::Unavailable) => return,
            Err(IngestFailure::Refused { code, detail, raw }) => {
                let bytes = (!raw.is_empty()).then_some(raw.as_slice());
                return self.refuse(now, Leaf::Down, code, &detail, None, bytes);
            }
        };
        if log.direction == Direction::Up {
            return self.history_returned(now, ingested, last);
        }
        let Ingested { outcome, ack } = ingested;
        if let IngestOutcome::Equivocation { at } | IngestOutcome::ChainBreak { at } = outcome {
            let code = outcome.code();
            self.now_effects.push_back(Effect::Alarm(Alarm::Contradiction { log, at, code }));
            self.say_no(now, code, "the block contradicts what is stored", Some((log, at, at)));
        }
        self.down.insert(log, Ack { gap: None, ..ack });
        self.acks.insert(log, ack);
    }

    /// A block of an own log that HQ sent back was dealt with.
    pub(super) fn history_returned(&mut self, now: u64, ingested: Ingested, last: Seq) {
        let Ingested { outcome, ack } = ingested;
        match outcome {
            IngestOutcome::ChainBreak { .. } | IngestOutcome::Equivocation { .. } => {
                self.recall.refused(now, ack.log);
            }
            IngestOutcome::Gap { .. } => {
                self.acks.insert(ack.log, ack);
            }
            // Equal up to the block's end; what follows here may still be another history.
            IngestOutcome::Duplicate => match self.recall.equal(now, ack.log, last) {
                Some(Equal::End(shared)) => self.nothing_lost(now, &ack, shared),
                Some(Equal::More) | None => {}
            },
            IngestOutcome::Applied { .. } => {
                self.acks.insert(ack.log, ack);
                self.own.insert(ack.log, (ack.upto, ack.upto));
                if self.recall.returned(now, &ack, self.config.sender.retry_min_ms) {
                    self.sender.forget(ack.log);
                    self.links.retain(|(log, _, _)| *log != ack.log);
                    self.now_effects.push_back(Effect::RecordAck(ack));
                    let alarm = Alarm::Returned { log: ack.log, upto: ack.upto };
                    self.now_effects.push_back(Effect::Alarm(alarm));
                }
            }
        }
    }

    /// HQ has no more of an own log than this store, and nothing else: what it lacks is sent. The names beyond may have been
    /// used before the loss, so nothing more is written there.
    fn nothing_lost(&mut self, now: u64, ack: &Ack, shared: Seq) {
        let log = ack.log;
        self.own.insert(log, (ack.upto, shared));
        self.sender.handle_head(now, log, ack.upto);
        self.sender.resume(now, log, shared);
        self.links.retain(|(of, _, _)| *of != log);
        if ack.upto == shared {
            // HQ need not send it again.
            self.acks.insert(log, *ack);
            self.now_effects.push_back(Effect::RecordAck(*ack));
        }
        self.now_effects.push_back(Effect::Alarm(Alarm::Returned { log, upto: shared }));
        if self.current == Some(log) {
            let (reason, above) = (EpochReason::RolledBack, self.newest_epoch());
            self.now_effects.push_back(Effect::OpenEpoch { log, reason, above });
        }
    }
}
