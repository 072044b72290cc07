//! HQ's side of settlement for every store of its buckets, sans-IO. See [`super`] for the protocol.
//!
//! Per store: a sender of HQ's logs while the store is there, what is durable of its logs, the wire version it speaks, and
//! at most [`PREVIEW_BYTES_MAX`] of events that came ahead of their turn. Everything else is in the ledger.
//!
//! Backpressure: [`Hub::room`] is false while `jobs_max` blocks are on their way into the ledger; then the driver takes no
//! more messages, and broker and stores slow down.

mod booking;
mod messages;
mod outgoing;

use super::acks::Acks;
use super::down::{Down, DownEnds};
use super::effect::{Effect, Position, Publish, Token};
use super::policy::Policy;
use super::recall::Recall;
use super::seal::{Sealer, Seals};
use super::wire2::{self, BlockCodec, Incoming};
use crate::{Ack, Nak, SendRange, SenderConfig};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use sync_model::{Direction, EpochReason, LogId, Seq, StoreId};

/// Refusals that wait for the transport; more are dropped, the store's retry brings them again.
const NAKS_MAX: usize = 256;
/// Bytes of records held per store ahead of their turn.
const PREVIEW_BYTES_MAX: usize = 128 * 1024;
/// Bytes of records held ahead of their turn for all stores.
const PREVIEW_TOTAL_MAX: usize = 32 * 1024 * 1024;
/// How soon a full transport is tried again.
const FULL_RETRY_MS: u64 = 10;
/// How soon a log that could not be read is tried again.
const READ_RETRY_MS: u64 = 1_000;
/// Logs remembered as contested while their stores cannot be asked.
const CONTESTED_MAX: usize = 4_096;
/// Blocks being read at a time.
const READS_MAX: usize = 64;

/// Settings of HQ's side.
#[derive(Clone, Copy, Debug)]
pub struct HubConfig {
    /// Pacing of HQ's logs.
    pub sender: SenderConfig,
    /// Blocks to bytes.
    pub codec: BlockCodec,
    /// Newest wire version to speak, normally [`wire2::CURRENT`].
    pub speaks: u8,
    /// Blocks on their way into the ledger.
    pub jobs_max: usize,
    /// Stores with a sender, a version and an allowance of their own.
    pub stores_max: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            sender: SenderConfig::default(),
            codec: BlockCodec::PLAIN,
            speaks: wire2::CURRENT,
            jobs_max: 256,
            stores_max: 20_000,
        }
    }
}

/// What a block being ingested was.
#[derive(Clone, Debug)]
struct Job {
    store: StoreId,
    of: (LogId, Seq, Seq),
}

/// Blocks of one store that came ahead of their turn.
#[derive(Clone, Debug, Default)]
struct Early {
    blocks: BTreeMap<(LogId, Seq), Incoming>,
    bytes: usize,
}

/// HQ's replica.
#[derive(Clone, Debug)]
pub struct Hub {
    config: HubConfig,
    acks: Acks,
    down: Down,
    policy: Policy,
    up: bool,
    peers: BTreeMap<StoreId, u8>,
    gone: BTreeSet<StoreId>,
    recall: Recall,
    /// Logs of HQ's that a store has differently and that were given up because it could not be asked: up to where it has
    /// them, and where they part. They are asked for once it speaks a version that answers.
    contested: BTreeMap<LogId, (Seq, Seq)>,
    seals: BTreeMap<StoreId, Seals>,
    sealer: Option<Arc<dyn Sealer>>,
    ordered: BTreeSet<LogId>,
    early: BTreeMap<StoreId, Early>,
    early_bytes: usize,
    now_effects: VecDeque<Effect>,
    returned: VecDeque<Publish>,
    naks: VecDeque<(StoreId, Nak)>,
    jobs: BTreeMap<Token, Job>,
    reads: BTreeMap<Token, SendRange>,
    compares: BTreeMap<Token, Ack>,
    asking_link: Option<(Token, LogId, Seq)>,
    /// How far returned history came.
    progress: BTreeMap<LogId, Ack>,
    pause_until: u64,
    next_token: u64,
}

impl Hub {
    /// A hub that knows no log yet, transport down.
    pub fn new(config: HubConfig) -> Self {
        let config = HubConfig { speaks: config.speaks.clamp(wire2::MIN, wire2::CURRENT), ..config };
        Self {
            acks: Acks::default(),
            down: Down::new(config.sender, config.stores_max),
            policy: Policy::new(),
            config,
            up: false,
            peers: BTreeMap::new(),
            gone: BTreeSet::new(),
            recall: Recall::default(),
            contested: BTreeMap::new(),
            seals: BTreeMap::new(),
            sealer: None,
            ordered: BTreeSet::new(),
            early: BTreeMap::new(),
            early_bytes: 0,
            now_effects: VecDeque::new(),
            returned: VecDeque::new(),
            naks: VecDeque::new(),
            jobs: BTreeMap::new(),
            reads: BTreeMap::new(),
            compares: BTreeMap::new(),
            asking_link: None,
            progress: BTreeMap::new(),
            pause_until: 0,
            next_token: 0,
        }
    }

    /// A log as the ledger holds it at start.
    pub fn load(&mut self, _now: u64, position: Position) {
        let Position { log, head, link, acked } = position;
        match log.direction {
            Direction::Up => self.acks.load(log, head, link),
            Direction::Down => self.down.load(log, DownEnds { head, acked }),
        }
    }

    /// From now on, blocks of HQ's logs are sealed with this key, or no longer.
    pub fn set_sealer(&mut self, sealer: Option<Arc<dyn Sealer>>) {
        self.seals.clear();
        self.sealer = sealer;
    }

    /// The transport is connected. The broker may be another one, or have lost its memory: every store's ack is due again.
    pub fn handle_up(&mut self, now: u64) {
        self.up = true;
        self.acks.repeat_all();
        self.down.handle_up(now);
        self.recall.restart(now);
    }

    /// The transport lost its connection.
    pub fn handle_down(&mut self, _now: u64) {
        self.up = false;
        self.down.handle_down();
        self.returned.clear();
    }

    /// The ledger committed events of a down log.
    pub fn handle_head(&mut self, now: u64, log: LogId, head: Seq) {
        if log.direction == Direction::Down {
            self.down.handle_head(now, log, head);
        }
    }

    /// Whether another message may be handed in.
    pub fn room(&self) -> bool {
        self.jobs.len() < self.config.jobs_max
    }

    /// Blocks on their way into the ledger.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Acks that wait for the transport.
    pub fn acks_waiting(&self) -> usize {
        self.acks.waiting()
    }

    /// Highest wire version that both sides speak, once the store was heard.
    pub fn peer_version(&self, store: StoreId) -> Option<u8> {
        self.peers.get(&store).copied()
    }

    /// What is durable of a store's log.
    pub fn durable(&self, log: LogId) -> Ack {
        self.acks.durable(log)
    }

    /// Bytes held ahead of their turn.
    pub fn early_bytes(&self) -> usize {
        self.early_bytes
    }

    /// Looks at the clock: what was asked for in vain is given up.
    pub fn tick(&mut self, now: u64) {
        let patience_ms = self.config.sender.retry_max_ms.saturating_mul(super::store::PATIENCE);
        let hopeless = |log: &LogId| self.recall.hopeless(now, *log, patience_ms);
        let Some((log, lost)) = self.recall.logs().find(|(log, _)| hopeless(log)) else { return };
        if !self.answers(log) && self.contested.len() < CONTESTED_MAX {
            self.contested.insert(log, (lost.peer, lost.from));
        }
        self.recall.forget(log);
        let above = self.down.newest(log.store).map_or(log.epoch, |newest| newest.epoch.max(log.epoch));
        self.now_effects.push_back(Effect::OpenEpoch { log, reason: EpochReason::RolledBack, above });
        self.down.hold(now, log, false);
    }

    /// When [`Hub::tick`] and [`Hub::poll_effect`] are next worth calling without a new input.
    pub fn next_wake(&self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let words = !self.returned.is_empty()
            || !self.progress.is_empty()
            || self.acks.waiting() > 0
            || !self.naks.is_empty();
        let patience_ms = self.config.sender.retry_max_ms.saturating_mul(super::store::PATIENCE);
        let recall = self.recall.next_wake(patience_ms, |log| self.answers(log));
        let wakes = [words.then_some(self.pause_until), recall, self.down.next_wake()];
        wakes.into_iter().flatten().min().map(|at| at.max(self.pause_until))
    }

    /// Whether the log's store speaks a version in which it can be asked for what it has.
    fn answers(&self, log: LogId) -> bool {
        self.peers.get(&log.store).is_some_and(|version| *version >= 2)
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}
