//! The engine: one loop that takes MQTT events and finished ledger jobs, and publishes what follows from them.
//!
//! Rules
//! * Nothing here waits: ledger jobs answer through a channel, publishes go into the pipe's bounded queue or stay due.
//! * At most [`JOBS_MAX`] jobs are under way. Then the engine stops taking events, and the broker and the stores slow down.
//! * An ack becomes due in [`Engine::handle_block_done`] and nowhere before: after the commit of the group that holds its block.

use crate::acks::Acks;
use crate::arrival::{Arrival, Bad, classify};
use crate::down::{Down, DownEnds};
use crate::fleet::{SharedFleet, StoreView, now_unix, stamp};
use crate::verdict::Policy;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::{Ack, AckOutcome, Block, Hello, Message, Nak, SendRange, SenderConfig};
use sync_model::{Direction, Event, EventId, LogId, Seq, StoreId, Text, Verdict};
use sync_mqtt::topic::{self, Leaf};
use sync_mqtt::{Pipe, PipeError, PipeEvent, Publish};
use sync_store::{Draft, IngestOutcome, Ingested, Ledger, LedgerError, Reader, Refusal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// Ledger jobs under way.
pub(crate) const JOBS_MAX: usize = 256;

/// Refusals that wait for the pipe; more are dropped, the store's retry brings them again.
const NAKS_MAX: usize = 256;

/// How soon a full pipe is tried again.
const FULL_RETRY_MS: u64 = 10;

/// How soon a log that could not be read is tried again.
const READ_RETRY_MS: u64 = 1_000;

/// How often a failing ledger is tried while no store sends anything.
const PROBE_MS: u64 = 5_000;

/// Rows and bytes per row that a trial writes and removes again: enough to need new pages.
const PROBE: (u8, usize) = (8, 4_096);

/// How long a stop waits for jobs under way.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Heads of down logs that grew, as the ledger's commit hook notes them. Bounded by the number of logs.
#[derive(Default)]
pub(crate) struct GrownHeads {
    heads: Mutex<BTreeMap<LogId, Seq>>,
    grown: Notify,
}

impl GrownHeads {
    /// Notes the heads of a commit.
    pub(crate) fn note(&self, heads: &[(LogId, Seq)]) {
        let down = heads.iter().filter(|(log, _)| log.direction == Direction::Down);
        let mut waiting = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.len();
        waiting.extend(down.copied());
        if waiting.len() > before {
            self.grown.notify_one();
        }
    }

    fn take(&self) -> BTreeMap<LogId, Seq> {
        std::mem::take(&mut *self.heads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Answer of a ledger job.
enum Done {
    /// A block was dealt with.
    Block { store: StoreId, block: Arc<Block>, result: Result<Ingested, LedgerError> },
    /// Something was noted (quarantine, verdict, watermark).
    Noted(Result<(), LedgerError>),
}

/// Everything the loop owns.
pub(crate) struct Engine {
    pipe: Pipe,
    ledger: Ledger,
    reader: Reader,
    fleet: SharedFleet,
    grown: Arc<GrownHeads>,
    acks: Acks,
    down: Down,
    policy: Policy,
    naks: VecDeque<(StoreId, Nak)>,
    outstanding: usize,
    done: mpsc::UnboundedSender<Done>,
    begun: Instant,
    pipe_full: bool,
    probe_at: u64,
}

/// The channels that the loop listens to.
pub(crate) struct Inputs {
    events: mpsc::Receiver<PipeEvent>,
    /// Unbounded in type, bounded by [`JOBS_MAX`]: every job under way answers once.
    done: mpsc::UnboundedReceiver<Done>,
    stop: watch::Receiver<bool>,
}

impl Engine {
    /// Loads the watermarks and readies the loop.
    pub(crate) fn new(
        (pipe, events): (Pipe, mpsc::Receiver<PipeEvent>),
        ledger: Ledger,
        fleet: SharedFleet,
        grown: Arc<GrownHeads>,
        sender: SenderConfig,
        stop: watch::Receiver<bool>,
    ) -> Result<(Self, Inputs), LedgerError> {
        let reader = ledger.reader()?;
        let (mut acks, mut down) = (Acks::default(), Down::new(sender));
        for row in reader.heads()? {
            match row.log.direction {
                Direction::Up => acks.load(row.log, row.head, row.link),
                Direction::Down => down.load(row.log, DownEnds { head: row.head, acked: row.acked }),
            }
            fleet.lock().store(row.log.store);
        }
        let (done_in, done) = mpsc::unbounded_channel();
        let engine = Self {
            pipe,
            ledger,
            reader,
            fleet,
            grown,
            acks,
            down,
            policy: Policy::new(),
            naks: VecDeque::new(),
            outstanding: 0,
            done: done_in,
            begun: Instant::now(),
            pipe_full: false,
            probe_at: 0,
        };
        Ok((engine, Inputs { events, done, stop }))
    }

    /// Runs until told to stop, or until the pipe ends.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let grown = Arc::clone(&self.grown);
        loop {
            self.publish_due();
            self.probe();
            self.show();
            let wake = self.wake();
            tokio::select! {
                _ = inputs.stop.wait_for(|stop| *stop) => break,
                done = inputs.done.recv() => if let Some(done) = done { self.handle_done(done) },
                () = grown.grown.notified() => self.handle_grown(),
                event = inputs.events.recv(), if self.outstanding < JOBS_MAX => match event {
                    Some(event) => self.handle_event(event),
                    None => break,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.finish(inputs).await;
    }

    /// Lets the jobs under way commit, publishes their acks, says goodbye.
    async fn finish(mut self, mut inputs: Inputs) {
        let drained = async {
            while self.outstanding > 0
                && let Some(done) = inputs.done.recv().await
            {
                self.handle_done(done);
            }
        };
        if tokio::time::timeout(STOP_WAIT, drained).await.is_err() {
            tracing::warn!(jobs = self.outstanding, "stopped before every ledger job answered");
        }
        // What does not fit the queue now is acknowledged at the next start.
        self.publish_due();
        self.pipe.close().await;
        // Only now: a pipe without a receiver ends at once, flushed or not.
        drop(inputs);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wake(&self) -> Instant {
        let idle = self.now() + 1_000;
        let at = match self.down.next_wake() {
            _ if self.pipe_full => self.now() + FULL_RETRY_MS,
            Some(at) => at.min(idle),
            None => idle,
        };
        self.begun + Duration::from_millis(at)
    }

    /// Tries a failing ledger now and then, so that health recovers without traffic.
    fn probe(&mut self) {
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

    /// Refreshes the numbers that the HTTP server shows.
    fn show(&self) {
        let mut fleet = self.fleet.lock();
        fleet.acks_waiting = self.acks.waiting();
        fleet.jobs_outstanding = self.outstanding;
        fleet.pipe = self.pipe.stats();
    }

    fn handle_grown(&mut self) {
        let now = self.now();
        for (log, head) in self.grown.take() {
            self.down.handle_head(now, log, head);
        }
    }

    fn handle_event(&mut self, event: PipeEvent) {
        let now = self.now();
        match event {
            PipeEvent::Up => {
                self.fleet.lock().broker.set(None);
                // The broker may be another one, or have lost its memory.
                self.acks.repeat_all();
                self.down.handle_up(now);
            }
            PipeEvent::Down { reason } => {
                self.fleet.lock().broker.set(Some(reason));
                self.down.handle_down();
            }
            PipeEvent::Message { topic, payload, retained } => {
                self.handle_message(&topic, &payload, retained);
            }
        }
    }

    fn handle_message(&mut self, topic: &str, payload: &[u8], retained: bool) {
        match classify(topic, payload) {
            Arrival::Block(store, block) => {
                self.seen(store, retained, |_| {});
                self.submit_block(store, Arc::new(block));
            }
            Arrival::Hello(store, hello) => self.handle_hello(store, &hello),
            Arrival::Nak(store, nak) => {
                tracing::warn!(%store, code = %nak.code, detail = %nak.detail, "store refuses part of HQ's log");
                self.seen(store, retained, |view| view.refused += 1);
                self.down.handle_nak(self.now(), store, &nak);
            }
            Arrival::DownAck(store, ack) => {
                self.seen(store, retained, |_| {});
                let left =
                    self.fleet.lock().stores.get(&store).is_some_and(|view| view.present == Some(false));
                if !(retained && left) {
                    self.down.handle_there(self.now(), store, None);
                }
                self.handle_down_ack(&ack);
            }
            Arrival::Presence(store, present) => {
                self.seen(store, retained, |view| view.present = Some(present));
                if present {
                    self.down.handle_there(self.now(), store, None);
                } else {
                    self.down.handle_gone(store);
                }
            }
            Arrival::Cleared => {}
            Arrival::Bad(bad) => self.handle_bad(topic, payload, bad),
        }
    }

    /// Notes a sign of life; a retained message is an old one and only tells state.
    fn seen(&mut self, store: StoreId, retained: bool, change: impl FnOnce(&mut StoreView)) {
        if let Some(view) = self.fleet.lock().store(store) {
            if !retained {
                view.last_seen = Some(now_unix());
            }
            change(view);
        }
    }

    fn handle_hello(&mut self, store: StoreId, hello: &Hello) {
        self.fleet.lock().counters.hellos += 1;
        let now = self.now();
        self.seen(store, false, |view| {
            view.present = Some(true);
            view.software = hello.software.to_string();
            view.told = hello.head;
        });
        if let Some((log, head)) = hello.head {
            self.acks.greet(log, head);
        }
        self.down.handle_there(now, store, Some(hello.down.as_ref()));
        if let Some(ack) = &hello.down {
            self.handle_down_ack(ack);
        }
    }

    /// What a store has of HQ's log: remembered in the ledger when it is news.
    fn handle_down_ack(&mut self, ack: &Ack) {
        let known = self.down.logs().find(|(log, _)| *log == ack.log).map(|(_, ends)| ends);
        let outcome = self.down.handle_ack(self.now(), ack);
        let ahead = known.is_none_or(|ends| ack.upto > ends.head);
        if ahead {
            tracing::error!(log = %ack.log, upto = %ack.upto, "a store has more of HQ's log than HQ: HQ went back in time");
        }
        if let Some(view) = self.fleet.lock().store(ack.log.store) {
            view.ahead = ahead;
        }
        if !ahead && matches!(outcome, Some(AckOutcome::Advanced { .. } | AckOutcome::Regressed { .. })) {
            let ack = *ack;
            self.submit_note(move |draft| draft.acked(&ack));
        }
    }

    fn submit_block(&mut self, store: StoreId, block: Arc<Block>) {
        let (job_block, received, done) = (Arc::clone(&block), now_unix(), self.done.clone());
        let submitted = self.ledger.submit(
            move |draft: &mut Draft<'_>| draft.ingest(&job_block, received),
            // The loop outlives its jobs except at a stop, when nobody waits for the answer.
            move |result| drop(done.send(Done::Block { store, block, result })),
        );
        self.count_submit(submitted);
    }

    fn submit_note(&mut self, job: impl FnOnce(&mut Draft<'_>) -> Result<(), Refusal> + Send + 'static) {
        let done = self.done.clone();
        let submitted = self.ledger.submit(job, move |result| drop(done.send(Done::Noted(result))));
        self.count_submit(submitted);
    }

    fn count_submit(&mut self, submitted: Result<(), LedgerError>) {
        match submitted {
            Ok(()) => self.outstanding += 1,
            // Not acknowledged, so the store sends it again.
            Err(LedgerError::Busy) => self.fleet.lock().counters.busy += 1,
            Err(error) => self.note_health(Err(&error)),
        }
    }

    fn handle_done(&mut self, done: Done) {
        self.outstanding -= 1;
        match done {
            Done::Block { store, block, result } => self.handle_block_done(store, &block, result),
            Done::Noted(Ok(())) => self.note_health(Ok(())),
            Done::Noted(Err(error)) => self.note_health(Err(&error)),
        }
    }

    /// A block's group is durable, or was not booked at all.
    fn handle_block_done(
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

    fn count_outcome(&mut self, outcome: IngestOutcome) {
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
    fn judge_outcome(&mut self, store: StoreId, outcome: IngestOutcome, of: (LogId, Seq, Seq)) {
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
        tracing::error!(%store, code, detail, "a store's log contradicts what is stored");
        let named = Some(EventId { log: of.0, seq: at });
        let ruling = self.policy.rule(self.now(), Some(store), code, named);
        if ruling.nak {
            self.refuse(store, code, &detail, Some(of));
        }
        if ruling.verdict {
            self.submit_verdict(store, code, &detail, named);
        }
        self.seen(store, false, |view| view.refused += 1);
    }

    /// A message that cannot be accepted: kept aside, counted, answered; each within its rate.
    fn handle_bad(&mut self, topic: &str, payload: &[u8], bad: Bad) {
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

    fn refuse(&mut self, store: StoreId, code: &str, detail: &str, of: Option<(LogId, Seq, Seq)>) {
        if self.naks.len() < NAKS_MAX {
            self.naks.push_back((store, Nak { code: Text::lossy(code), detail: Text::lossy(detail), of }));
        }
    }

    fn submit_verdict(&mut self, store: StoreId, code: &str, detail: &str, of: Option<EventId>) {
        self.fleet.lock().counters.verdicts += 1;
        let verdict = Verdict { of, code: Text::lossy(code), detail: Text::lossy(detail) };
        let event = Event::new(stamp(), verdict);
        self.submit_note(move |draft| draft.append_down(store, &event).map(drop));
    }

    /// The ledger's health follows its answers: it recovers with the first success.
    fn note_health(&mut self, result: Result<(), &LedgerError>) {
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

    /// Publishes acks, refusals and blocks until nothing is due or the pipe is full.
    fn publish_due(&mut self) {
        self.pipe_full = false;
        if !self.pipe.is_up() {
            return;
        }
        while let Some(ack) = self.acks.next() {
            let topic = topic::name(ack.log.store, Leaf::UpAck);
            if !self.publish(&topic, &Message::Ack(ack), Publish::Retained) {
                return;
            }
            self.acks.sent(ack.log);
            self.fleet.lock().counters.acks += 1;
        }
        while let Some((store, nak)) = self.naks.front() {
            let (topic, message) = (topic::name(*store, Leaf::Down), Message::Nak(nak.clone()));
            if !self.publish(&topic, &message, Publish::Live) {
                return;
            }
            self.naks.pop_front();
            self.fleet.lock().counters.naks += 1;
        }
        while let Some(range) = self.down.poll(self.now()) {
            if !self.publish_down(range) {
                return;
            }
        }
    }

    /// Reads a range of a down log and publishes it as a block. False: the pipe takes no more now.
    fn publish_down(&mut self, range: SendRange) -> bool {
        let store = range.log.store;
        let block = match self.reader.block(range.log, range.first, range.max_records, range.max_bytes) {
            Ok(Some(block)) => block,
            Ok(None) => {
                self.down.postpone(store, self.now() + READ_RETRY_MS);
                return true;
            }
            Err(error) => {
                tracing::error!(log = %range.log, %error, "cannot read HQ's own log");
                self.down.postpone(store, self.now() + READ_RETRY_MS);
                return true;
            }
        };
        let (first, last) = (block.first, block.last());
        let bytes = block.records.iter().map(Vec::len).sum();
        if !self.publish(&topic::name(store, Leaf::Down), &Message::Block(block), Publish::Live) {
            return false;
        }
        self.down.handle_sent(self.now(), range.log, first, last, bytes);
        self.fleet.lock().counters.down_blocks += 1;
        true
    }

    /// Hands a message to the pipe. False: not now; the caller keeps it due.
    fn publish(&mut self, topic: &str, message: &Message, mode: Publish) -> bool {
        match self.pipe.try_publish(topic, message.encode(), mode) {
            Ok(()) => true,
            Err(PipeError::Down) => false,
            Err(PipeError::Full) => {
                self.pipe_full = true;
                false
            }
            Err(error @ (PipeError::TooLarge { .. } | PipeError::BadTopic(_))) => {
                // Our own messages and topics fit by construction unless the broker's limit is lower: say so, drop it, go on.
                tracing::error!(topic, %error, "broker's limits do not fit the protocol");
                true
            }
        }
    }
}
