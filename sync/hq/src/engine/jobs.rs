//! The engine's ledger jobs: submitting them, and telling the hub and the people what became of them.

use super::effects::evidence;
use super::{Done, Engine};
use crate::vault::Note;
use sync_core::replica::{Incoming, IngestFailure, Token};
use sync_store::{IngestOutcome, Ingested, LedgerError, Refusal};

/// How often a failing ledger is tried while no store sends anything.
const PROBE_MS: u64 = 5_000;

impl Engine {
    /// Tries a failing ledger now and then, so that health recovers without traffic.
    pub(super) fn probe(&mut self) {
        let now = self.now();
        if let Some(fault) = self.ledger.fault() {
            let mut fleet = self.fleet.lock();
            if fleet.ledger.set(Some(fault.clone())) {
                tracing::error!(fault, "ledger fails: nothing is acknowledged until it works again");
            }
        }
        if self.fleet.lock().ledger.fault.is_none() || now < self.probe_at {
            return;
        }
        self.probe_at = now.saturating_add(PROBE_MS);
        self.submit_note(Note::Probe);
    }

    pub(super) fn submit_note(&mut self, note: Note) {
        let done = self.done.clone();
        let submitted = self.ledger.note(note, Box::new(move |result| drop(done.send(Done::Noted(result)))));
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
        let now = self.now();
        if matches!(done, Done::Block { .. } | Done::Noted(_)) {
            self.outstanding -= 1;
        }
        match done {
            Done::Read { token, block } => self.hub.handle_block(now, token, block),
            Done::Link { token, link } => self.hub.handle_link(now, token, link),
            Done::Block { token, block, result } => self.handle_block_done(token, &block, result),
            Done::Noted(Ok(())) => self.note_health(Ok(())),
            Done::Noted(Err(error)) => self.note_health(Err(&error)),
        }
    }

    /// A block's group is durable, or was not booked at all.
    fn handle_block_done(&mut self, token: Token, block: &Incoming, result: Result<Ingested, LedgerError>) {
        let now = self.now();
        let outcome = match result {
            Ok(ingested) => {
                // Only a success that wrote something says that the ledger takes facts again.
                if matches!(ingested.outcome, IngestOutcome::Applied { .. }) {
                    self.note_health(Ok(()));
                }
                self.count_outcome(ingested.outcome);
                Ok(ingested)
            }
            // It asks for a transaction of its own; the sender brings it again.
            Err(LedgerError::Refused(refusal)) if refusal.code == "retry" => Err(IngestFailure::Unavailable),
            Err(LedgerError::Refused(refusal)) => {
                self.fleet.lock().counters.refused += 1;
                let Refusal { code, detail } = refusal;
                Err(IngestFailure::Refused { code, detail, raw: evidence(block) })
            }
            Err(error) => {
                self.note_health(Err(&error));
                Err(IngestFailure::Unavailable)
            }
        };
        self.hub.handle_ingested(now, token, outcome);
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

    /// The ledger's health follows its answers: it recovers with the first success.
    pub(super) fn note_health(&mut self, result: Result<(), &LedgerError>) {
        let mut fleet = self.fleet.lock();
        match result {
            Ok(()) => {
                if fleet.ledger.set(None) {
                    tracing::info!("ledger works again: acknowledging");
                }
            }
            // Another worker has the bucket: this one hears of it in a moment.
            Err(error @ LedgerError::Elsewhere { .. }) => tracing::debug!(%error, "not booked here"),
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
