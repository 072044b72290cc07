//! What comes from HQ: blocks of its log, acks and refusals of ours; and everything that is none of these.

use super::{JOBS_MAX, NAK_PERIOD_MS, Pump};
use sync_core::{Ack, Block, Message, Nak};
use sync_model::{Command, Direction, EpochReason, Event, Fact, LogId, Seq, Text, UnixMillis};
use sync_mqtt::Publish;
use sync_mqtt::topic::{self, Leaf};
use sync_store::{IngestOutcome, Ingested, LedgerError};

/// Longest part of a refused payload that is kept.
const KEEP_BYTES: usize = 16 * 1024;

/// Result of a ledger job, reported from the writer thread after its commit.
pub(super) enum Committed {
    /// A block of HQ's log.
    Ingest(LogId, Result<(Ingested, Vec<Fact>), LedgerError>),
    /// A watermark or a quarantine entry; the result is only logged.
    Other(&'static str, Result<(), LedgerError>),
}

/// Verdicts and commands among the records that were new.
fn said(block: &Block, ingested: &Ingested) -> Vec<Fact> {
    let IngestOutcome::Applied { first, last, .. } = ingested.outcome else { return Vec::new() };
    let numbered = (block.first.0..).zip(&block.records);
    numbered
        .filter(|(seq, _)| (first.0..=last.0).contains(seq))
        .filter_map(|(_, record)| Event::from_record(record).ok())
        .map(|event| event.fact)
        .filter(|fact| matches!(fact, Fact::Verdict(_) | Fact::Command(_)))
        .collect()
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
    pub(super) fn message(&mut self, topic_name: &str, payload: Vec<u8>) {
        let Some((store, leaf)) = topic::parse(topic_name) else {
            return self.set_aside(topic_name, "wrong-topic", "a topic of another shape", &payload, None);
        };
        if store != self.daemon.store {
            return self.set_aside(topic_name, "wrong-store", "a topic of another store", &payload, None);
        }
        let message = match Message::decode(&payload) {
            Ok(message) => message,
            Err(error) => {
                return self.set_aside(topic_name, "undecodable", &error.to_string(), &payload, None);
            }
        };
        match (leaf, message) {
            (Leaf::Down, Message::Block(block)) => self.block(topic_name, block, &payload),
            (Leaf::Down, Message::Nak(nak)) => self.refused(&nak),
            (Leaf::UpAck | Leaf::Down, Message::Ack(ack)) if ack.log.direction == Direction::Up => {
                if ack.log.store == self.daemon.store {
                    self.acked(ack);
                } else {
                    let detail = format!("an ack of {}", ack.log);
                    self.set_aside(topic_name, "wrong-store", &detail, &payload, None);
                }
            }
            (Leaf::Presence | Leaf::Up | Leaf::DownAck | Leaf::UpAck | Leaf::Down, _) => {
                self.set_aside(
                    topic_name,
                    "unexpected",
                    "a message that does not belong here",
                    &payload,
                    None,
                );
            }
        }
    }

    fn block(&mut self, source: &str, block: Block, payload: &[u8]) {
        let of = Some((block.log, block.first, block.last()));
        if block.log.store != self.daemon.store || block.log.direction != Direction::Down {
            let detail = format!("a block of {}", block.log);
            return self.set_aside(source, "wrong-store", &detail, payload, of);
        }
        if self.jobs >= JOBS_MAX {
            tracing::debug!(log = %block.log, "block dropped: the ledger is behind; HQ sends it again");
            return;
        }
        let log = block.log;
        let stamp = self.daemon.clock.stamp();
        let received = stamp.at;
        let replies = self.committed.clone();
        let submitted = self.daemon.ledger.submit(
            move |draft| {
                let ingested = draft.ingest(&block, received)?;
                let said = said(&block, &ingested);
                if said.contains(&Fact::Command(Command::OpenEpoch)) {
                    // In the same transaction as the order, so that it is obeyed exactly once.
                    draft.open_epoch(EpochReason::Ordered, stamp)?;
                }
                Ok((ingested, said))
            },
            move |result| drop(replies.try_send(Committed::Ingest(log, result))),
        );
        match submitted {
            Ok(()) => self.jobs += 1,
            Err(error) => tracing::debug!(%error, "block dropped; HQ sends it again"),
        }
    }

    /// HQ refused something of ours.
    fn refused(&mut self, nak: &Nak) {
        self.daemon.settle.refused();
        match nak.of {
            Some((log, first, last)) => {
                tracing::warn!(%log, %first, %last, code = %nak.code, detail = %nak.detail, "HQ refused a block");
            }
            None => tracing::warn!(code = %nak.code, detail = %nak.detail, "HQ refused a message"),
        }
        let now = self.now();
        self.sender.handle_nak(now, nak);
    }

    /// A ledger job ended.
    pub(super) fn result(&mut self, result: Committed) {
        self.jobs = self.jobs.saturating_sub(1);
        match result {
            Committed::Ingest(log, Ok((ingested, said))) => {
                said.iter().for_each(tell);
                self.ingested(log, ingested);
            }
            Committed::Ingest(log, Err(error)) => {
                tracing::warn!(%log, %error, "a block of HQ was not stored; it comes again");
            }
            Committed::Other(what, Err(error)) => {
                tracing::warn!(what, %error, "settlement note was not stored")
            }
            Committed::Other(_, Ok(())) => {}
        }
    }

    fn ingested(&mut self, log: LogId, ingested: Ingested) {
        let of = match ingested.outcome {
            IngestOutcome::Applied { first, last, odd } => {
                tracing::info!(%log, %first, %last, odd, "took over from HQ");
                None
            }
            IngestOutcome::Duplicate => None,
            IngestOutcome::Gap { missing: (first, last) } => {
                tracing::info!(%log, %first, %last, "HQ's log has a gap here");
                None
            }
            IngestOutcome::Equivocation { at } | IngestOutcome::ChainBreak { at } => Some((log, at, at)),
        };
        if let Some(of) = of {
            let code = ingested.outcome.code();
            tracing::error!(%log, at = %of.1, code, "HQ's log contradicts itself; the block is in quarantine");
            self.nak(code, "the block contradicts what is stored", Some(of));
        }
        let ack = Message::Ack(ingested.ack).encode();
        if let Err(error) = self.publish(Leaf::DownAck, ack, Publish::Retained) {
            tracing::debug!(%error, "ack of HQ's log waits for the next hello");
        }
    }

    /// Records HQ's watermark: what lies below it may be forgotten one day.
    pub(super) fn record_ack(&mut self, ack: Ack) {
        self.note("ack", move |draft| draft.acked(&ack));
    }

    fn note(
        &mut self,
        what: &'static str,
        job: impl FnOnce(&mut sync_store::Draft<'_>) -> Result<(), sync_store::Refusal> + Send + 'static,
    ) {
        if self.jobs >= JOBS_MAX {
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

    /// Keeps a bad message aside, counts it and answers, at a bounded rate.
    fn set_aside(
        &mut self,
        source: &str,
        code: &'static str,
        detail: &str,
        payload: &[u8],
        of: Option<(LogId, Seq, Seq)>,
    ) {
        let now = self.now();
        if let Some(held) = self.throttle.pass(code, now) {
            tracing::warn!(source, code, detail, bytes = payload.len(), held, "message set aside");
        }
        self.daemon.settle.set_aside();
        let raw = payload.get(..KEEP_BYTES).unwrap_or(payload).to_vec();
        let (source, text) = (source.to_owned(), detail.to_owned());
        let received = UnixMillis(self.daemon.clock.wall_ms());
        self.note("quarantine", move |draft| draft.quarantine(&source, code, &text, &raw, received));
        self.nak(code, detail, of);
    }

    fn nak(&mut self, code: &str, detail: &str, of: Option<(LogId, Seq, Seq)>) {
        let now = self.now();
        if self.nak_ms != 0 && now.saturating_sub(self.nak_ms) < NAK_PERIOD_MS {
            return;
        }
        self.nak_ms = now;
        let nak = Nak { code: Text::lossy(code), detail: Text::lossy(detail), of };
        if let Err(error) = self.publish(Leaf::Up, Message::Nak(nak).encode(), Publish::Live) {
            tracing::debug!(%error, "refusal was not sent");
        }
    }
}
