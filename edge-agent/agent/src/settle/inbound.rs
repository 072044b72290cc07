//! What the replica asks of the ledger, and what it has to tell.

use super::{Ahead, JOBS_MAX, Outdated, Pump};
use sync_core::replica::{Alarm, Effect, Incoming, IngestFailure, Origin, Sign, Token};
use sync_model::{Command, Fact, UnixMillis};
use sync_mqtt::topic;
use sync_store::{Draft, LedgerError, Refusal, TakenIn};

/// Longest part of a refused payload that is kept.
const KEEP_BYTES: usize = 16 * 1024;

/// Result of a ledger job, reported from the writer thread after its commit.
pub(super) enum Committed {
    /// A block of HQ.
    Ingest(Token, Result<TakenIn, LedgerError>),
    /// A watermark, a quarantine entry, an epoch; the result is only logged.
    Other(&'static str, Result<(), LedgerError>),
}

/// Tells the staff what HQ said.
fn tell(fact: &Fact) {
    match fact {
        Fact::Verdict(verdict) => {
            let of = verdict.of.map(|id| id.to_string()).unwrap_or_default();
            tracing::warn!(code = %verdict.code, %of, detail = %verdict.detail, "verdict of HQ");
        }
        Fact::Command(Command::Note(note)) => tracing::info!(%note, "note of HQ"),
        Fact::Command(Command::OpenEpoch) => tracing::warn!("a new epoch was opened by order of HQ"),
        _ => {}
    }
}

impl Pump {
    /// One message of the broker.
    pub(super) fn message(&mut self, topic_name: &str, payload: &[u8]) {
        let now = self.now();
        match topic::parse(topic_name) {
            Some((store, leaf)) if store == self.daemon.store => {
                self.replica.handle_message(now, leaf, payload)
            }
            Some(_) => self.set_aside(topic_name, "wrong-store", "a topic of another store", payload),
            None => self.set_aside(topic_name, "wrong-topic", "a topic of another shape", payload),
        }
    }

    /// Everything that needs no wait.
    pub(super) fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Ingest { token, block, .. } => self.ingest(token, block),
            // Below HQ's watermark events may be forgotten one day.
            Effect::RecordAck(ack) => self.note("ack", move |draft| draft.acked(&ack)),
            Effect::Quarantine { origin, code, detail, raw } => {
                let source = match origin {
                    Origin::Leaf(store, leaf) => topic::name(store, leaf),
                    Origin::Stray(name) => name,
                };
                self.set_aside(&source, code, &detail, &raw);
            }
            Effect::OpenEpoch { log, reason, above } => {
                let stamp = self.daemon.clock.stamp();
                tracing::error!(%log, ?reason, "the log's names are contested: beginning a new epoch");
                self.note("epoch", move |draft| draft.open_epoch_above(reason, above, stamp).map(drop));
            }
            Effect::Seen { sign, .. } => self.sign(&sign),
            Effect::Alarm(alarm) => self.alarm(&alarm),
            Effect::Publish(_) | Effect::ReadBlock { .. } | Effect::CompareLink { .. } => {
                tracing::error!("an effect that waits was handed to the part that does not");
            }
            Effect::Preview { .. } | Effect::Verdict { .. } | Effect::OrderEpoch { .. } => {
                tracing::error!("an effect of HQ's side came up at a store");
            }
        }
    }

    fn sign(&self, sign: &Sign) {
        match sign {
            Sign::Ack(ack) => {
                self.daemon.settle.heard(self.daemon.clock.wall_ms());
                self.daemon.settle.has(ack.log, ack.upto);
            }
            Sign::Nak(nak) => {
                self.daemon.settle.refused();
                let (code, detail) = (&nak.code, &nak.detail);
                match nak.of {
                    Some((log, first, last)) => {
                        tracing::warn!(%log, %first, %last, %code, %detail, "HQ refused a block");
                    }
                    None => tracing::warn!(%code, %detail, "HQ refused a message"),
                }
            }
            Sign::Hello { .. } | Sign::Present(_) | Sign::Block | Sign::Refused { .. } => {}
        }
    }

    fn alarm(&self, alarm: &Alarm) {
        let settle = &self.daemon.settle;
        match *alarm {
            Alarm::RolledBack { log, upto, head } => {
                settle.ahead(Ahead { log, upto, head });
                tracing::error!(%log, %upto, %head, "HQ has more of this log than the ledger: it went back in time");
            }
            Alarm::Forked { log, at } => {
                settle.ahead(Ahead { log, upto: at, head: at });
                tracing::error!(%log, %at, "HQ has another history of this log: rollback or clone");
            }
            Alarm::Returned { log, upto } => {
                settle.returned(log);
                tracing::warn!(%log, %upto, "HQ gave back what this ledger had lost");
            }
            Alarm::Contradiction { log, at, code } => {
                tracing::error!(%log, %at, code, "HQ's log contradicts itself; the block is in quarantine");
            }
            Alarm::Truncated { log, wanted, floor } => {
                settle.outdated(Outdated { log, wanted, floor });
                tracing::error!(%log, %wanted, %floor, "HQ lacks records that were truncated here: it is older than ledger.keep_days and needs a newer backup");
            }
            Alarm::PeerRegressed { log, upto } => {
                tracing::warn!(%log, %upto, "HQ has less than it had acknowledged: sending again");
            }
            Alarm::Versions { found } => tracing::warn!(found, "HQ speaks a wire version unknown here"),
        }
    }

    fn ingest(&mut self, token: Token, block: Incoming) {
        let stamp = self.daemon.clock.stamp();
        let replies = self.committed.clone();
        // Room is left for every block that the replica lets be under way.
        let submitted = self.daemon.ledger.submit(
            move |draft| draft.take_in(&block, stamp),
            move |result| drop(replies.try_send(Committed::Ingest(token, result))),
        );
        match submitted {
            Ok(()) => self.jobs += 1,
            Err(error) => {
                tracing::debug!(%error, "block not taken; HQ sends it again");
                let now = self.now();
                self.replica.handle_ingested(now, token, Err(IngestFailure::Unavailable));
            }
        }
    }

    /// A ledger job ended.
    pub(super) fn result(&mut self, result: Committed) {
        self.jobs = self.jobs.saturating_sub(1);
        let now = self.now();
        match result {
            Committed::Ingest(token, Ok(taken)) => {
                taken.said.iter().for_each(tell);
                if let Some((old, new, count)) = taken.moved {
                    tracing::error!(%old, %new, count, "facts written under contested names got new ones");
                    self.restart_devices();
                }
                self.replica.handle_ingested(now, token, Ok(taken.ingested));
            }
            Committed::Ingest(token, Err(error)) => {
                tracing::warn!(%error, "a block of HQ was not stored");
                let failure = match error {
                    LedgerError::Refused(Refusal { code, detail }) if code != "retry" => {
                        IngestFailure::Refused { code, detail, raw: Vec::new() }
                    }
                    _ => IngestFailure::Unavailable,
                };
                self.replica.handle_ingested(now, token, Err(failure));
            }
            Committed::Other(what, Err(error)) => {
                tracing::warn!(what, %error, "settlement note was not stored")
            }
            Committed::Other(_, Ok(())) => {}
        }
    }

    /// The device loop keeps names of open alarms and batches in memory: it reads them again.
    fn restart_devices(&self) {
        let daemon = self.daemon.clone();
        tokio::spawn(async move {
            if let Err(error) = daemon.reload().await {
                tracing::error!(error, "the device loop was not restarted after names changed");
            }
        });
    }

    fn note(
        &mut self,
        what: &'static str,
        job: impl FnOnce(&mut Draft<'_>) -> Result<(), Refusal> + Send + 'static,
    ) {
        if self.jobs >= JOBS_MAX / 2 {
            return;
        }
        let replies = self.committed.clone();
        let submitted = self
            .daemon
            .ledger
            .submit(job, move |result| drop(replies.try_send(Committed::Other(what, result))));
        match submitted {
            Ok(()) => self.jobs += 1,
            Err(error) => tracing::debug!(what, %error, "settlement note dropped"),
        }
    }

    /// Keeps a bad message aside and counts it.
    fn set_aside(&mut self, source: &str, code: &'static str, detail: &str, payload: &[u8]) {
        let now = self.now();
        if let Some(held) = self.throttle.pass(code, now) {
            tracing::warn!(source, code, detail, bytes = payload.len(), held, "message set aside");
        }
        self.daemon.settle.set_aside();
        let raw = payload.get(..KEEP_BYTES).unwrap_or(payload).to_vec();
        let (source, text) = (source.to_owned(), detail.to_owned());
        let received = UnixMillis(self.daemon.clock.wall_ms());
        self.note("quarantine", move |draft| draft.quarantine(&source, code, &text, &raw, received));
    }
}
