//! The engine: one loop that takes MQTT events and finished ledger jobs, and publishes what follows from them.
//!
//! Rules
//! * Nothing here waits: ledger jobs answer through a channel, publishes go into the pipe's bounded queue or stay due.
//! * At most [`JOBS_MAX`] jobs are under way. Then the engine stops taking events, and the broker and the stores slow down.
//! * An ack becomes due in [`Engine::handle_block_done`] and nowhere before: after the commit of the group that holds its block.

mod jobs;
mod publish;

use crate::acks::Acks;
use crate::arrival::{Arrival, Bad, classify};
use crate::down::{Down, DownEnds};
use crate::fleet::{SharedFleet, StoreView, now_unix};
use crate::identity::Roster;
use crate::verdict::Policy;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::{Ack, AckOutcome, Block, Hello, Nak, SenderConfig};
use sync_model::{Direction, EventId, LogId, Seq, StoreId};

use sync_mqtt::{Pipe, PipeEvent};
use sync_store::{Ingested, Ledger, LedgerError, Reader};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// Ledger jobs under way.
pub(crate) const JOBS_MAX: usize = 256;

/// How soon a full pipe is tried again.
const FULL_RETRY_MS: u64 = 10;

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
    /// Who may speak; `None` hears everybody.
    roster: Option<Roster>,
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
            roster: None,
        };
        Ok((engine, Inputs { events, done, stop }))
    }

    /// From now on, only stores of this roster are heard.
    pub(crate) fn set_roster(&mut self, roster: Option<Roster>) {
        self.roster = roster;
    }

    /// Runs until told to stop, or until the pipe ends.
    pub(crate) async fn run(mut self, mut inputs: Inputs) {
        let grown = Arc::clone(&self.grown);
        loop {
            self.publish_due();
            self.probe();
            self.follow_roster();
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
        let arrival = self.admit(classify(topic, payload));
        match arrival {
            Arrival::Block(store, block) => {
                self.seen(store, retained, |_| {});
                self.submit_block(store, Arc::new(block));
            }
            Arrival::Hello(store, hello) => self.handle_hello(store, &hello),
            Arrival::Nak(store, nak) => {
                let named = nak.of.map(|(log, first, _)| EventId { log, seq: first });
                // The same allowance that bounds our own refusals bounds the lines about the store's.
                if self.policy.rule(self.now(), Some(store), "store-nak", named).nak {
                    tracing::warn!(%store, code = %nak.code, detail = %nak.detail, "store refuses part of HQ's log");
                }
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

    /// Turns away what a fenced or foreign store sends. What the broker had kept says nothing new and is let through.
    fn admit(&mut self, arrival: Arrival) -> Arrival {
        let Some(roster) = &mut self.roster else { return arrival };
        let (store, of) = match &arrival {
            Arrival::Block(store, block) => (*store, Some((block.log, block.first, block.last()))),
            Arrival::Hello(store, _) | Arrival::Nak(store, _) | Arrival::DownAck(store, _) => (*store, None),
            Arrival::Presence(..) | Arrival::Cleared | Arrival::Bad(_) => return arrival,
        };
        match roster.refusal(store) {
            Some((code, detail)) => Arrival::Bad(Bad { store: Some(store), code, detail, of }),
            None => arrival,
        }
    }

    /// Takes over a changed registry.
    fn follow_roster(&mut self) {
        let now = self.now();
        if let Some(roster) = &mut self.roster
            && roster.follow(now)
        {
            self.fleet.lock().standings = roster.standings().clone();
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
        let was = self
            .fleet
            .lock()
            .store(ack.log.store)
            .is_some_and(|view| std::mem::replace(&mut view.ahead, ahead));
        if ahead && !was {
            tracing::error!(log = %ack.log, upto = %ack.upto, "a store has more of HQ's log than HQ: HQ went back in time");
        }
        if !ahead && matches!(outcome, Some(AckOutcome::Advanced { .. } | AckOutcome::Regressed { .. })) {
            let ack = *ack;
            self.submit_note(move |draft| draft.acked(&ack));
        }
    }
}
