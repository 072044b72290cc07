//! Doing what the hub asks for: publishing, reading, ledger jobs; and what the people see of it.

use super::reads::Ask;
use super::{Done, Engine};
use crate::fleet::{now_unix, stamp};
use crate::vault::{Check, Note};
use std::sync::Arc;
use sync_core::replica::{
    Alarm, Effect, Incoming, IngestFailure, Leaf, Origin, Publish, Sign, Token, Unsent, What,
};
use sync_core::{Block, Message};
use sync_evidence::{PublicKey, Seal};
use sync_model::{Command, Event, EventId, StoreId, Text, Verdict};
use sync_mqtt::{PipeError, topic};
use sync_store::Refusal;

impl Engine {
    /// Does everything that is due, as far as it can be done now.
    pub(super) fn run_due(&mut self) {
        let now = self.now();
        self.hub.tick(now);
        while let Some(effect) = self.hub.poll_effect(now) {
            self.run_effect(now, effect);
        }
    }

    fn run_effect(&mut self, now: u64, effect: Effect) {
        match effect {
            Effect::Publish(publish) => self.publish(now, publish),
            Effect::ReadBlock { token, range } => self.reads.ask(Ask::Block { token, range }),
            Effect::CompareLink { token, log, at } => self.reads.ask(Ask::Link { token, log, at }),
            Effect::Ingest { token, store, block } => self.submit_block(token, store, block),
            Effect::Preview { store, block } => {
                tracing::debug!(%store, log = %block.log, first = %block.first, last = %block.last(), "ahead of its turn");
            }
            Effect::RecordAck(ack) => self.submit_note(Note::Acked(ack)),
            Effect::Quarantine { origin, code, detail, raw } => {
                let source = match origin {
                    Origin::Leaf(store, leaf) => topic::name(store, leaf),
                    Origin::Stray(topic) => topic,
                };
                tracing::warn!(topic = source, code, detail, bytes = raw.len(), "message kept aside");
                let (code, received) = (code.to_owned(), now_unix());
                self.submit_note(Note::Quarantine { source, code, detail, raw, received });
            }
            Effect::Verdict { store, code, detail, of } => self.submit_verdict(store, code, &detail, of),
            Effect::OrderEpoch { store, log } => {
                tracing::error!(%store, %log, "a log contradicts itself: ordering a new epoch");
                let event = Event::new(stamp(), Command::OpenEpoch);
                self.submit_note(Note::Say { store, event });
            }
            Effect::OpenEpoch { log, .. } => self.submit_note(Note::CloseDown(log)),
            Effect::Seen { store, sign, retained } => self.show_sign(store, sign, retained),
            Effect::Alarm(alarm) => self.show_alarm(&alarm),
        }
    }

    /// Hands a message to the pipe.
    fn publish(&mut self, now: u64, publish: Publish) {
        let topic = topic::name(publish.store, publish.leaf);
        let mode = sync_mqtt::Publish::of(publish.retained, publish.light());
        let why = match self.pipe.try_publish(&topic, publish.message.clone(), mode) {
            Ok(()) => {
                let counters = &mut self.fleet.lock().counters;
                match publish.what {
                    What::Ack(_) => counters.acks += 1,
                    What::Nak => counters.naks += 1,
                    What::Block { .. } => counters.down_blocks += 1,
                    What::Presence | What::Hello | What::Live { .. } => {}
                }
                return;
            }
            Err(PipeError::Down) => Unsent::Down,
            Err(PipeError::Full) => Unsent::Full,
            Err(error @ (PipeError::TooLarge { .. } | PipeError::BadTopic(_))) => {
                // Our own messages and topics fit by construction unless the broker's limit is lower.
                tracing::error!(topic, %error, "broker's limits do not fit the protocol");
                Unsent::TooLarge
            }
        };
        self.hub.handle_unsent(now, publish, why);
    }

    fn submit_block(&mut self, token: Token, store: StoreId, block: Incoming) {
        let (log, first, last) = (block.log, block.first, block.last());
        let (job, done, stamp) = (Arc::new(block), self.done.clone(), stamp());
        let block = Arc::clone(&job);
        // The loop outlives its jobs except at a stop, when nobody waits for the answer.
        let reply = Box::new(move |result| drop(done.send(Done::Block { token, block, result })));
        let check = self.seal_check(store, job.seal);
        let submitted = self.ledger.take_in(job, stamp, check, reply);
        if submitted.is_err() {
            tracing::debug!(%store, %log, %first, %last, "block not taken: the store sends it again");
            let now = self.now();
            self.hub.handle_ingested(now, token, Err(IngestFailure::Unavailable));
        }
        self.count_submit(submitted);
    }

    /// How a block's signature is judged: by every key that the registry has for the store and that is in force. Without an
    /// identity there are no keys, and a signature is only kept.
    fn seal_check(&self, store: StoreId, seal: Option<[u8; 64]>) -> Option<Check> {
        let (roster, signature) = (self.roster.as_ref()?, seal?);
        let keys: Vec<PublicKey> =
            roster.keys(store).iter().filter_map(|key| PublicKey::from_bytes(key).ok()).collect();
        Some(Arc::new(move |log, upto, link| {
            let seal = Seal { log, upto, link, signature };
            match keys.iter().any(|key| seal.verify(*key).is_ok()) {
                true => Ok(()),
                false => {
                    let detail = format!("the signature over {log} at {upto} is by no key of store {store}");
                    Err(Refusal::new("bad-seal", detail))
                }
            }
        }))
    }

    fn submit_verdict(&mut self, store: StoreId, code: &str, detail: &str, of: Option<EventId>) {
        self.fleet.lock().counters.verdicts += 1;
        let verdict = Verdict { of, code: Text::lossy(code), detail: Text::lossy(detail) };
        let event = Event::new(stamp(), verdict);
        self.submit_note(Note::Say { store, event });
    }

    /// Notes a sign of life; a retained message is an old one and only tells state.
    fn show_sign(&mut self, store: StoreId, sign: Sign, retained: bool) {
        let mut fleet = self.fleet.lock();
        match &sign {
            Sign::Hello { .. } => fleet.counters.hellos += 1,
            Sign::Refused { bad: true } => fleet.counters.bad += 1,
            Sign::Nak(nak) => {
                tracing::warn!(%store, code = %nak.code, detail = %nak.detail, "store refuses part of HQ's log");
            }
            Sign::Present(_) | Sign::Block | Sign::Ack(_) | Sign::Refused { bad: false } => {}
        }
        let Some(view) = fleet.store(store) else { return };
        if !retained {
            view.last_seen = Some(now_unix());
        }
        match sign {
            Sign::Hello { head, software, .. } => {
                view.present = Some(true);
                view.software = software.to_string();
                view.told = head;
            }
            Sign::Present(present) => view.present = Some(present),
            Sign::Nak(_) | Sign::Refused { .. } => view.refused += 1,
            Sign::Block | Sign::Ack(_) => {}
        }
    }

    fn show_alarm(&mut self, alarm: &Alarm) {
        let ahead = |store: StoreId, ahead: bool| {
            if let Some(view) = self.fleet.lock().store(store) {
                view.ahead = ahead;
            }
        };
        match alarm {
            Alarm::RolledBack { log, upto, head } => {
                ahead(log.store, true);
                tracing::error!(%log, %upto, %head, "a store has more of HQ's log than HQ: HQ went back in time");
            }
            Alarm::Forked { log, at } => {
                ahead(log.store, true);
                tracing::error!(%log, %at, "a store has another history of HQ's log");
            }
            Alarm::Returned { log, upto } => {
                ahead(log.store, false);
                tracing::warn!(%log, %upto, "a store gave HQ's own history back");
            }
            Alarm::Contradiction { log, at, code } => {
                tracing::error!(%log, %at, code, "a store's log contradicts what is stored");
            }
            Alarm::Truncated { log, wanted, floor } => {
                tracing::error!(%log, %wanted, %floor, "a store asks for records that are gone here");
            }
            Alarm::PeerRegressed { log, upto } => {
                tracing::warn!(%log, %upto, "a store has less than it acknowledged")
            }
            Alarm::Versions { found } => tracing::warn!(found, "no common wire version"),
        }
    }

    /// One message of the broker.
    pub(super) fn handle_message(&mut self, topic_name: &str, payload: &[u8], retained: bool) {
        let now = self.now();
        let Some((store, leaf)) = topic::parse(topic_name) else {
            self.fleet.lock().counters.bad += 1;
            return self.hub.handle_stray(now, topic_name, payload);
        };
        if !self.serves(store) {
            return tracing::debug!(%store, "a message for another worker");
        }
        // What a will or a cleared topic says is no word of the store.
        let heard = leaf == Leaf::Presence || payload.is_empty();
        match self.roster.as_mut().filter(|_| !heard).and_then(|roster| roster.refusal(store)) {
            Some(refusal) => self.hub.handle_foreign(now, store, leaf, refusal, payload),
            None => self.hub.handle_message(now, store, leaf, payload, retained),
        }
    }
}

/// The bytes of a refused block, for the quarantine.
pub(super) fn evidence(block: &Incoming) -> Vec<u8> {
    let prev = match block.prev {
        sync_core::replica::Prev::Whole(link) => link,
        sync_core::replica::Prev::Short(start) => {
            let mut whole = [0; 32];
            whole.iter_mut().zip(start).for_each(|(byte, found)| *byte = found);
            sync_core::Link(whole)
        }
    };
    Message::Block(Block { log: block.log, first: block.first, prev, records: block.records.clone() })
        .encode()
}
