//! The engine: one loop that takes MQTT events and finished ledger jobs, and publishes what follows from them.
//!
//! Rules
//! * Nothing here waits: ledger jobs answer through a channel, publishes go into the pipe's bounded queue or stay due.
//! * At most [`JOBS_MAX`] jobs are under way. Then the engine stops taking events, and the broker and the stores slow down.
//! * One engine serves one set of buckets: when the set changes it ends, and another one begins with what the ledger says.
//! * What to do is decided by [`sync_core::replica::hq::Hub`]; the loop drives it. The hub hears of a block's outcome only
//!   after the commit of the group that holds it, so an ack names committed events only.

mod effects;
mod jobs;
mod reads;

use crate::fleet::{STORES_MAX, SharedFleet};
use crate::identity::Roster;
use crate::vault::{Ownership, Vault};
use reads::Reads;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::{Incoming, Position, Sealer, Token};
use sync_core::{Block, Link, SenderConfig};
use sync_model::{Direction, LogId, Seq, StoreId};
use sync_mqtt::{Pipe, PipeEvent, topic};
use sync_store::{HQ_LOG, HeadRow, Ingested, LedgerError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// Ledger jobs under way.
pub(crate) const JOBS_MAX: usize = 256;

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
        let down = heads.iter().filter(|(log, _)| log.direction == Direction::Down && log.store != HQ_LOG);
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
    Block { token: Token, block: Arc<Incoming>, result: Result<Ingested, LedgerError> },
    /// Something was noted (quarantine, verdict, watermark).
    Noted(Result<(), LedgerError>),
    /// Records that were asked for.
    Read { token: Token, block: Option<Block> },
    /// A link that was asked for.
    Link { token: Token, link: Option<Link> },
}

/// Why an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// It owns other buckets now.
    Moved,
    /// The pipe ended by itself.
    Fault,
}

/// Everything the loop owns.
pub(crate) struct Engine {
    pipe: Pipe,
    ledger: Vault,
    reads: Reads,
    fleet: SharedFleet,
    grown: Arc<GrownHeads>,
    hub: Hub,
    owned: Ownership,
    outstanding: usize,
    done: mpsc::UnboundedSender<Done>,
    begun: Instant,
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
    ownership: watch::Receiver<Ownership>,
}

/// Whether a store's bucket is among the owned ones.
pub(crate) fn owns(owned: &Ownership, store: StoreId) -> bool {
    owned.as_ref().is_none_or(|buckets| buckets.contains(&(store.0 % topic::BUCKETS)))
}

impl Engine {
    /// Readies the loop for the stores of the owned buckets, whose logs stand at `heads`.
    pub(crate) fn new(
        (pipe, events): (Pipe, mpsc::Receiver<PipeEvent>),
        (ledger, heads): (Vault, &[HeadRow]),
        (fleet, grown): (SharedFleet, Arc<GrownHeads>),
        sender: SenderConfig,
        (stop, ownership): (watch::Receiver<bool>, watch::Receiver<Ownership>),
        owned: Ownership,
    ) -> std::io::Result<(Self, Inputs)> {
        let config = HubConfig {
            sender,
            codec: sync_codec::PACKED,
            jobs_max: JOBS_MAX,
            stores_max: STORES_MAX,
            ..HubConfig::default()
        };
        let mut hub = Hub::new(config);
        let own = |row: &&HeadRow| row.log.store != HQ_LOG && owns(&owned, row.log.store);
        for row in heads.iter().filter(own) {
            hub.load(0, Position { log: row.log, head: row.head, link: row.link, acked: row.acked });
            fleet.lock().store(row.log.store);
        }
        let (done_in, done) = mpsc::unbounded_channel();
        let reads = Reads::start(ledger.clone(), done_in.clone())?;
        let engine = Self {
            pipe,
            ledger,
            reads,
            fleet,
            grown,
            hub,
            owned,
            outstanding: 0,
            done: done_in,
            begun: Instant::now(),
            probe_at: 0,
            roster: None,
        };
        Ok((engine, Inputs { events, done, stop, ownership }))
    }

    /// From now on, only stores of this roster are heard.
    pub(crate) fn set_roster(&mut self, roster: Option<Roster>) {
        self.roster = roster;
    }

    /// From now on, HQ's blocks are sealed.
    pub(crate) fn set_sealer(&mut self, sealer: Option<Arc<dyn Sealer>>) {
        self.hub.set_sealer(sealer);
    }

    /// Runs until told to stop, until other buckets are owned, or until the pipe ends. Hands the roster back.
    pub(crate) async fn run(mut self, mut inputs: Inputs) -> (Ended, Option<Roster>) {
        let grown = Arc::clone(&self.grown);
        let ended = loop {
            self.run_due();
            self.probe();
            self.follow_roster();
            self.show();
            let wake = self.wake();
            tokio::select! {
                _ = inputs.stop.wait_for(|stop| *stop) => break Ended::Stopped,
                () = moved(&mut inputs.ownership, &self.owned) => break Ended::Moved,
                done = inputs.done.recv() => if let Some(done) = done { self.handle_done(done) },
                () = grown.grown.notified() => self.handle_grown(),
                event = inputs.events.recv(), if self.outstanding < JOBS_MAX => match event {
                    Some(event) => self.handle_event(event),
                    None => break Ended::Fault,
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        };
        (ended, self.finish(inputs).await)
    }

    /// Lets the jobs under way commit, publishes their acks, says goodbye.
    async fn finish(mut self, mut inputs: Inputs) -> Option<Roster> {
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
        self.run_due();
        self.pipe.close().await;
        // Only now: a pipe without a receiver ends at once, flushed or not.
        drop(inputs);
        self.reads.stop().await;
        self.roster
    }

    /// Whether this engine serves a store.
    fn serves(&self, store: StoreId) -> bool {
        owns(&self.owned, store)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wake(&self) -> Instant {
        let idle = self.now() + 1_000;
        let at = self.hub.next_wake().map_or(idle, |at| at.min(idle));
        self.begun + Duration::from_millis(at)
    }

    /// Refreshes the numbers that the HTTP server shows.
    fn show(&self) {
        let mut fleet = self.fleet.lock();
        fleet.acks_waiting = self.hub.acks_waiting();
        fleet.jobs_outstanding = self.outstanding;
        fleet.pipe = self.pipe.stats();
    }

    fn handle_grown(&mut self) {
        let now = self.now();
        for (log, head) in self.grown.take() {
            // Of a bucket that was given away, or comes with the next engine.
            if !owns(&self.owned, log.store) {
                continue;
            }
            self.hub.handle_head(now, log, head);
        }
    }

    fn handle_event(&mut self, event: PipeEvent) {
        let now = self.now();
        match event {
            PipeEvent::Up => {
                self.fleet.lock().broker.set(None);
                self.hub.handle_up(now);
            }
            PipeEvent::Down { reason } => {
                self.fleet.lock().broker.set(Some(reason));
                self.hub.handle_down(now);
            }
            PipeEvent::Message { topic, payload, retained } => {
                self.handle_message(&topic, &payload, retained);
            }
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
}

/// Waits until other buckets are owned. Where they cannot change, for ever.
async fn moved(ownership: &mut watch::Receiver<Ownership>, owned: &Ownership) {
    if ownership.wait_for(|now| now != owned).await.is_err() {
        std::future::pending::<()>().await;
    }
}
