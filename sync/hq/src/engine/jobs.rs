//! The engine's ledger jobs: submitting them, and what their answers lead to (acks, refusals, verdicts, health).

use super::{Done, Engine};
use crate::arrival::Bad;
use crate::fleet::{now_unix, stamp};
use std::sync::Arc;
use sync_core::{Block, Message, Nak};
use sync_model::{Event, EventId, LogId, Seq, StoreId, Text, Verdict};
use sync_mqtt::topic::{self, Leaf};
use sync_store::{Draft, IngestOutcome, Ingested, LedgerError, Refusal};

/// Refusals that wait for the pipe; more are dropped, the store's retry brings them again.
const NAKS_MAX: usize = 256;

/// How often a failing ledger is tried while no store sends anything.
const PROBE_MS: u64 = 5_000;

/// Rows and bytes per row that a trial writes and removes again: enough to need new pages.
const PROBE: (u8, usize) = (8, 4_096);

impl Engine {
    /// Tries a failing ledger now and then, so that health recovers without traffic.
    pub(super) fn probe(&mut self) {
        let now = self.now();
        if self.fleet.lock().ledger.fault.is_none() || now < self.probe_at {
            return;
        }
        self.probe_at = now.saturating_add(PROBE_MS);
        let (rows, bytes) = PROBE;
        self.submit_note(move |draft| {
            let keys: Vec<String> = (0..rows).map(|row| format!("probe-{row}")).collect();
            keys.iter().try_for_each(|key| draft.put_state(key, Some(&vec![0x5a; bytes])))?;
            keys.iter().try_for_each(|key| draft.put_state(key, None))
        });
    }

    pub(super) fn submit_block(&mut self, store: StoreId, block: Arc<Block>) {
        let (job_block, received, done) = (Arc::clone(&block), now_unix(), self.done.clone());
        let submitted = self.ledger.submit(
            move |draft: &mut Draft<'_>| draft.ingest(&job_block, received),
            // The loop outlives its jobs except at a stop, when nobody waits for the answer.
            move |result| drop(done.send(Done::Block { store, block, result })),
        );
        self.count_submit(submitted);
    }

    pub(super) fn submit_note(
        &mut self,
        job: impl FnOnce(&mut Draft<'_>) -> Result<(), Refusal> + Send + 'static,
    ) {
        let done = self.done.clone();
        let submitted = self.ledger.submit(job, move |result| drop(done.send(Done::Noted(result))));
        self.count_submit(submitted);
    }

    pub(super) fn count_submit(&mut self, submitted: Result<(), LedgerError>) {
        match submitted {
            Ok(()) => self.outstanding += 1,
            // Not acknowledged, so the store sends it again.
            Err(LedgerError::Busy) => self.fleet.lock().counters.busy += 1,
            Err(error) => self.note_health(Err(&error)),
        }
    }

    pub(super) fn handle_done(&mut self, done: Done) {
        self.outstanding -= 1;
        match done {
            Done::Block { store, block, result } => self.handle_block_done(store, &block, result),
            Done::Noted(Ok(())) => self.note_health(Ok(())),
            Done::Noted(Err(error)) => self.note_health(Err(&error)),
        }
    }

    /// A block's group is durable, or was not booked at all.
    pub(super) fn handle_block_done(
        &mut self,
        store: StoreId,
        block: &Arc<Block>,
        result: Result<Ingested, LedgerError>,
    ) {
        let of = (block.log, block.first, block.last());
        match result {
            Ok(ingested) => {
                // Only a success that wrote something says that the ledger takes facts again.
                if matches!(ingested.outcome, IngestOutcome::Applied { .. }) {
                    self.note_health(Ok(()));
                }
                self.acks.commit(ingested.ack);
                self.count_outcome(ingested.outcome);
                self.judge_outcome(store, ingested.outcome, of);
            }
            Err(LedgerError::Refused(refusal)) => {
                self.fleet.lock().counters.refused += 1;
                let raw = Message::Block(Block::clone(block)).encode();
                let source = topic::name(store, Leaf::Up);
                let detail = refusal.detail;
                self.handle_bad(
                    &source,
                    &raw,
                    Bad { store: Some(store), code: refusal.code, detail, of: Some(of) },
                );
            }
            Err(error) => self.note_health(Err(&error)),
        }
    }

    pub(super) fn count_outcome(&mut self, outcome: IngestOutcome) {
        let counters = &mut self.fleet.lock().counters;
        match outcome {
            IngestOutcome::Applied { first, last, .. } => {
                counters.applied += 1;
                counters.events += last.0.saturating_sub(first.0) + 1;
            }
            IngestOutcome::Duplicate => counters.duplicate += 1,
            IngestOutcome::Gap { .. } => counters.gap += 1,
            IngestOutcome::Equivocation { .. } => counters.equivocation += 1,
            IngestOutcome::ChainBreak { .. } => counters.chain_break += 1,
        }
    }

    /// The ledger kept the bytes already where something is wrong; here follow refusal and verdict.
    pub(super) fn judge_outcome(&mut self, store: StoreId, outcome: IngestOutcome, of: (LogId, Seq, Seq)) {
        let (at, code, detail) = match outcome {
            IngestOutcome::Equivocation { at } => {
                (at, "equivocation", format!("{}-{at}: other bytes are stored under this name", of.0))
            }
            IngestOutcome::ChainBreak { at } => {
                (at, "chain-break", format!("{}-{at}: continues another history than the stored one", of.0))
            }
            IngestOutcome::Applied { first, last, odd } if odd > 0 => {
                let detail =
                    format!("{odd} records of {first} to {last} cannot be read here; kept as they came");
                let ruling = self.policy.rule(
                    self.now(),
                    Some(store),
                    "undecodable",
                    Some(EventId { log: of.0, seq: first }),
                );
                if ruling.verdict {
                    self.submit_verdict(
                        store,
                        "undecodable",
                        &detail,
                        Some(EventId { log: of.0, seq: first }),
                    );
                }
                return;
            }
            IngestOutcome::Applied { .. } | IngestOutcome::Duplicate | IngestOutcome::Gap { .. } => return,
        };
        let named = Some(EventId { log: of.0, seq: at });
        let ruling = self.policy.rule(self.now(), Some(store), code, named);
        if ruling.nak {
            tracing::error!(%store, code, detail, "a store's log contradicts what is stored");
            self.refuse(store, code, &detail, Some(of));
        }
        if ruling.verdict {
            self.submit_verdict(store, code, &detail, named);
        }
        self.seen(store, false, |view| view.refused += 1);
    }

    /// A message that cannot be accepted: kept aside, counted, answered; each within its rate.
    pub(super) fn handle_bad(&mut self, topic: &str, payload: &[u8], bad: Bad) {
        self.fleet.lock().counters.bad += 1;
        let named = bad.of.map(|(log, first, _)| EventId { log, seq: first });
        let ruling = self.policy.rule(self.now(), bad.store, bad.code, named);
        if ruling.keep {
            tracing::warn!(
                topic,
                code = bad.code,
                detail = bad.detail,
                bytes = payload.len(),
                "message kept aside"
            );
            let (source, code, detail) = (topic.to_owned(), bad.code, bad.detail.clone());
            let (raw, received) = (payload.to_vec(), now_unix());
            self.submit_note(move |draft| draft.quarantine(&source, code, &detail, &raw, received));
        }
        let Some(store) = bad.store else { return };
        self.seen(store, false, |view| view.refused += 1);
        if ruling.nak {
            self.refuse(store, bad.code, &bad.detail, bad.of);
        }
        if ruling.verdict {
            self.submit_verdict(store, bad.code, &bad.detail, named);
        }
    }

    pub(super) fn refuse(&mut self, store: StoreId, code: &str, detail: &str, of: Option<(LogId, Seq, Seq)>) {
        if self.naks.len() < NAKS_MAX {
            self.naks.push_back((store, Nak { code: Text::lossy(code), detail: Text::lossy(detail), of }));
        }
    }

    pub(super) fn submit_verdict(&mut self, store: StoreId, code: &str, detail: &str, of: Option<EventId>) {
        self.fleet.lock().counters.verdicts += 1;
        let verdict = Verdict { of, code: Text::lossy(code), detail: Text::lossy(detail) };
        let event = Event::new(stamp(), verdict);
        self.submit_note(move |draft| draft.append_down(store, &event).map(drop));
    }

    /// The ledger's health follows its answers: it recovers with the first success.
    pub(super) fn note_health(&mut self, result: Result<(), &LedgerError>) {
        let mut fleet = self.fleet.lock();
        match result {
            Ok(()) => {
                if fleet.ledger.set(None) {
                    tracing::info!("ledger works again: acknowledging");
                }
            }
            // The job was at fault, not the ledger.
            Err(LedgerError::Refused(refusal)) => tracing::warn!(%refusal, "ledger refused a note"),
            Err(error) => {
                fleet.counters.failed += 1;
                if fleet.ledger.set(Some(error.to_string())) {
                    tracing::error!(%error, "ledger fails: nothing is acknowledged until it works again");
                }
            }
        }
    }
}
