//! From a block to the ledger and from its outcome to ack, refusal, verdict and order.

use super::super::effect::{
    Alarm, Effect, IngestFailure, IngestOutcome, Ingested, Leaf, Origin, Sign, Token,
};
use super::super::recall::Equal;
use super::super::wire2::Incoming;
use super::messages::Bad;
use super::{Hub, Job, NAKS_MAX, PREVIEW_BYTES_MAX, PREVIEW_TOTAL_MAX};
use crate::{Ack, Nak};
use alloc::string::String;
use alloc::vec::Vec;
use sync_model::{Direction, EpochReason, EventId, LogId, Seq, StoreId, Text};

impl Hub {
    pub(super) fn ingest(&mut self, store: StoreId, block: Incoming) {
        let token = self.token();
        self.jobs.insert(token, Job { store, of: (block.log, block.first, block.last()) });
        self.now_effects.push_back(Effect::Ingest { token, store, block });
    }

    /// Events ahead of their turn: shown, and held as long as there is room.
    pub(super) fn take_live(&mut self, store: StoreId, block: Incoming) {
        let durable = self.acks.durable(block.log).upto;
        if block.first <= durable.next() {
            return self.ingest(store, block);
        }
        self.now_effects.push_back(Effect::Preview { store, block: block.clone() });
        let bytes: usize = block.records.iter().map(Vec::len).sum();
        let early = self.early.entry(store).or_default();
        let fits = early.bytes.saturating_add(bytes) <= PREVIEW_BYTES_MAX
            && self.early_bytes.saturating_add(bytes) <= PREVIEW_TOTAL_MAX;
        if fits && !early.blocks.contains_key(&(block.log, block.first)) {
            early.bytes += bytes;
            self.early_bytes += bytes;
            early.blocks.insert((block.log, block.first), block);
        }
    }

    /// Books what was held, once its turn has come.
    pub(super) fn book_early(&mut self, store: StoreId, ack: &Ack) {
        loop {
            let Some(early) = self.early.get_mut(&store) else { return };
            let upto = (ack.log, ack.upto.next());
            let from = (ack.log, Seq::ZERO);
            let Some(key) = early.blocks.range(from..=upto).next().map(|(key, _)| *key) else { break };
            let Some(block) = early.blocks.remove(&key) else { break };
            let bytes: usize = block.records.iter().map(Vec::len).sum();
            early.bytes = early.bytes.saturating_sub(bytes);
            self.early_bytes = self.early_bytes.saturating_sub(bytes);
            if block.last() > ack.upto {
                self.ingest(store, block);
            }
        }
        if self.early.get(&store).is_some_and(|early| early.blocks.is_empty()) {
            self.early.remove(&store);
        }
    }

    pub(super) fn forget_early(&mut self, store: StoreId) {
        if let Some(early) = self.early.remove(&store) {
            self.early_bytes = self.early_bytes.saturating_sub(early.bytes);
        }
    }

    /// The outcome of a [`Effect::Ingest`], after its commit.
    pub fn handle_ingested(&mut self, now: u64, token: Token, result: Result<Ingested, IngestFailure>) {
        let Some(Job { store, of }) = self.jobs.remove(&token) else { return };
        match result {
            Ok(ingested) if of.0.direction == Direction::Down => self.history_returned(now, ingested, of.2),
            Ok(ingested) => {
                self.acks.commit(ingested.ack);
                self.judge(now, store, ingested.outcome, of);
                self.book_early(store, &ingested.ack);
            }
            Err(IngestFailure::Refused { code, detail, raw }) => {
                let bad = Bad::new(code, detail, Some(of));
                self.handle_bad(now, store, Leaf::Up, &bad, &raw);
            }
            // Not acknowledged, so the store sends it again.
            Err(IngestFailure::Unavailable) => {}
        }
    }

    /// A block of HQ's own log that a store sent back was dealt with.
    pub(super) fn history_returned(&mut self, now: u64, ingested: Ingested, last: Seq) {
        let Ingested { outcome, ack } = ingested;
        match outcome {
            IngestOutcome::ChainBreak { .. } | IngestOutcome::Equivocation { .. } => {
                self.recall.refused(now, ack.log);
            }
            IngestOutcome::Gap { .. } => {}
            // Equal up to the block's end; what follows here may still be another history.
            IngestOutcome::Duplicate => match self.recall.equal(now, ack.log, last) {
                Some(Equal::End(shared)) => self.nothing_lost(now, &ack, shared),
                Some(Equal::More) | None => {}
            },
            IngestOutcome::Applied { .. } => {
                if self.recall.returned(now, &ack, self.config.sender.retry_min_ms) {
                    self.down.returned(now, ack.log, ack.upto);
                    self.now_effects.push_back(Effect::RecordAck(ack));
                    let alarm = Alarm::Returned { log: ack.log, upto: ack.upto };
                    self.now_effects.push_back(Effect::Alarm(alarm));
                } else {
                    // The store's sender learns how far it came.
                    self.progress.insert(ack.log, ack);
                }
            }
        }
    }

    /// The store has no more of a log of HQ's than HQ, and nothing else: what it lacks is sent. The names beyond may have been
    /// used before the loss, so nothing more is written there.
    fn nothing_lost(&mut self, now: u64, ack: &Ack, shared: Seq) {
        let log = ack.log;
        self.down.resume(now, log, shared);
        if ack.upto == shared {
            self.now_effects.push_back(Effect::RecordAck(*ack));
        }
        self.now_effects.push_back(Effect::Alarm(Alarm::Returned { log, upto: shared }));
        let above = self.down.newest(log.store).map_or(log.epoch, |newest| newest.epoch.max(log.epoch));
        self.now_effects.push_back(Effect::OpenEpoch { log, reason: EpochReason::RolledBack, above });
    }

    /// The ledger kept the bytes already where something is wrong; here follow refusal, verdict and order.
    pub(super) fn judge(&mut self, now: u64, store: StoreId, outcome: IngestOutcome, of: (LogId, Seq, Seq)) {
        let (log, _, _) = of;
        let (at, detail) = match outcome {
            IngestOutcome::Equivocation { at } => {
                (at, alloc::format!("{log}-{at}: other bytes are stored under this name"))
            }
            IngestOutcome::ChainBreak { at } => {
                (at, alloc::format!("{log}-{at}: continues another history than the stored one"))
            }
            IngestOutcome::Applied { first, last, odd } if odd > 0 => {
                let detail = alloc::format!(
                    "{odd} records of {first} to {last} cannot be read here; kept as they came"
                );
                let named = Some(EventId { log, seq: first });
                if self.policy.rule(now, Some(store), "undecodable", named).verdict {
                    self.verdict(store, "undecodable", detail, named);
                }
                return;
            }
            IngestOutcome::Applied { .. } | IngestOutcome::Duplicate | IngestOutcome::Gap { .. } => return,
        };
        let code = outcome.code();
        let named = Some(EventId { log, seq: at });
        let ruling = self.policy.rule(now, Some(store), code, named);
        if ruling.nak {
            self.now_effects.push_back(Effect::Alarm(Alarm::Contradiction { log, at, code }));
            self.refuse(store, code, &detail, Some(of));
        }
        if ruling.verdict {
            self.verdict(store, code, detail, named);
        }
        // Two writers, or one that went back in time: the name must not be used any longer.
        if self.ordered.len() < self.config.stores_max && self.ordered.insert(log) {
            self.now_effects.push_back(Effect::OrderEpoch { store, log });
        }
        self.seen(store, Sign::Refused { bad: false }, false);
    }

    pub(super) fn verdict(
        &mut self,
        store: StoreId,
        code: &'static str,
        detail: String,
        of: Option<EventId>,
    ) {
        self.now_effects.push_back(Effect::Verdict { store, code, detail, of });
    }

    /// A message that cannot be accepted: kept aside, answered; each within its rate.
    pub(super) fn handle_bad(&mut self, now: u64, store: StoreId, leaf: Leaf, bad: &Bad, bytes: &[u8]) {
        let named = bad.of.map(|(log, first, _)| EventId { log, seq: first });
        let ruling = self.policy.rule(now, Some(store), bad.code, named);
        if ruling.keep && !bytes.is_empty() {
            let origin = Origin::Leaf(store, leaf);
            let (code, detail, raw) = (bad.code, bad.detail.clone(), bytes.to_vec());
            self.now_effects.push_back(Effect::Quarantine { origin, code, detail, raw });
        }
        self.seen(store, Sign::Refused { bad: true }, false);
        if ruling.nak {
            self.refuse(store, bad.code, &bad.detail, bad.of);
        }
        if ruling.verdict {
            self.verdict(store, bad.code, bad.detail.clone(), named);
        }
    }

    pub(super) fn refuse(&mut self, store: StoreId, code: &str, detail: &str, of: Option<(LogId, Seq, Seq)>) {
        if self.naks.len() < NAKS_MAX {
            self.naks.push_back((store, Nak { code: Text::lossy(code), detail: Text::lossy(detail), of }));
        }
    }

    pub(super) fn seen(&mut self, store: StoreId, sign: Sign, retained: bool) {
        self.now_effects.push_back(Effect::Seen { store, sign, retained });
    }
}
