//! The store's side of settlement, sans-IO. See [`super`] for the protocol.
//!
//! States per link: down; up and waiting for HQ's first word (blocks are held back for one retry time, because the retained
//! ack says where to begin and in which version to speak); up. States per own log: sent in order; held, while HQ has
//! another history of it and the store asks for HQ's copy.
//!
//! Bounds: one block being read, [`INGESTS_MAX`] blocks being ingested, one refusal per second, one ack waiting per log.

mod messages;
mod outgoing;

use super::effect::{Effect, Leaf, Origin, Position, Publish, Token, What};
use super::recall::Recall;
use super::seal::{Sealer, Seals};
use super::wire2::{self, BlockCodec};
use crate::{Ack, Link, Nak, SendRange, Sender, SenderConfig, SenderStatus};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use sync_model::{Direction, Epoch, EpochReason, LogId, Seq, StoreId, Text};

/// Blocks of HQ that may be on their way into the ledger.
const INGESTS_MAX: usize = 16;
/// Least time between two refusals.
const NAK_PERIOD_MS: u64 = 1_000;
/// Pause after the transport took no more, or the ledger could not be read.
const PAUSE_MS: u64 = 100;
/// Longest retries that a peer which cannot be asked is waited for.
pub(super) const PATIENCE: u64 = 8;
/// Usual waits after which a store that says nothing greets all the same: HQ may take it for gone (a will that came late).
const IDLE_GREETING: u64 = 10;
/// How long an urgent event may take from its announcement to its commit.
const HURRY_MS: u64 = 1_000;
/// Ends of sent blocks whose links are remembered.
const LINKS_MAX: usize = 64;
/// How long a refusal of the newest version stands.
const UPGRADE_MS: u64 = 6 * 3_600_000;
/// Longest part of a refused message that is kept.
const KEEP_BYTES: usize = 16 * 1024;

/// Who this store is, and its settings.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// The store.
    pub store: StoreId,
    /// Pacing.
    pub sender: SenderConfig,
    /// Silence of HQ, while something waits, after which the store greets again.
    pub hello_ms: u64,
    /// Version of the software, for greetings.
    pub software: Text<32>,
    /// Blocks to bytes.
    pub codec: BlockCodec,
    /// Newest wire version to speak, normally [`wire2::CURRENT`].
    pub speaks: u8,
}

impl ReplicaConfig {
    /// Usual pacing, plain blocks.
    pub fn new(store: StoreId) -> Self {
        Self {
            store,
            sender: SenderConfig::default(),
            hello_ms: 30_000,
            software: Text::default(),
            codec: BlockCodec::PLAIN,
            speaks: wire2::CURRENT,
        }
    }
}

/// What a read was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Ordered,
    Live,
}

/// A store's replica.
#[derive(Clone, Debug)]
pub struct Replica {
    config: ReplicaConfig,
    sender: Sender,
    up: bool,
    /// Highest version spoken with HQ; `None` until it said a word in this process.
    peer: Option<u8>,
    /// Version of the next greeting.
    greet: u8,
    /// HQ said on this connection that it cannot read the newest version.
    refused_ms: Option<u64>,
    /// Own logs: end, and end known to be HQ's too.
    own: BTreeMap<LogId, (Seq, Seq)>,
    current: Option<LogId>,
    /// HQ's logs as they are here.
    down: BTreeMap<LogId, Ack>,
    recall: Recall,
    seals: Seals,
    /// Logs held because the peer needs records that are gone here, with the last of those.
    gone: BTreeMap<LogId, Seq>,
    /// Links at ends of blocks that were sent.
    links: VecDeque<(LogId, Seq, Link)>,
    now_effects: VecDeque<Effect>,
    returned: VecDeque<Publish>,
    acks: BTreeMap<LogId, Ack>,
    presence_due: bool,
    hello_due: bool,
    nak: Option<Nak>,
    reading: Option<(Token, SendRange, Lane)>,
    comparing: Option<(Token, Ack)>,
    compare_next: BTreeMap<LogId, Ack>,
    asking_link: Option<(Token, LogId, Seq)>,
    /// Blocks on their way into the ledger: log and last position.
    ingests: BTreeMap<Token, (LogId, Seq)>,
    /// The current log's end when the link came up, and how far previews of what follows went out.
    live: Option<(LogId, Seq, Seq)>,
    live_at: u64,
    hurry_until: u64,
    heard_ms: u64,
    hello_ms: u64,
    /// When something last went out that shows HQ that this store is there.
    spoke_ms: u64,
    /// Greetings since HQ's last word.
    hellos: u32,
    nak_ms: Option<u64>,
    hold_until: u64,
    pause_until: u64,
    next_token: u64,
}

impl Replica {
    /// A replica that knows no log yet, link down.
    pub fn new(config: ReplicaConfig) -> Self {
        let speaks = config.speaks.clamp(wire2::MIN, wire2::CURRENT);
        let config = ReplicaConfig { speaks, ..config };
        Self {
            sender: Sender::new(config.sender),
            greet: speaks,
            refused_ms: None,
            config,
            up: false,
            peer: None,
            own: BTreeMap::new(),
            current: None,
            down: BTreeMap::new(),
            recall: Recall::default(),
            seals: Seals::default(),
            gone: BTreeMap::new(),
            links: VecDeque::new(),
            now_effects: VecDeque::new(),
            returned: VecDeque::new(),
            acks: BTreeMap::new(),
            presence_due: false,
            hello_due: false,
            nak: None,
            reading: None,
            comparing: None,
            compare_next: BTreeMap::new(),
            asking_link: None,
            ingests: BTreeMap::new(),
            live: None,
            live_at: 0,
            hurry_until: 0,
            heard_ms: 0,
            hello_ms: 0,
            spoke_ms: 0,
            hellos: 0,
            nak_ms: None,
            hold_until: 0,
            pause_until: 0,
            next_token: 0,
        }
    }

    /// What the ledger holds at start: every log of this store, in both directions, and the own log in use.
    pub fn load(&mut self, now: u64, positions: &[Position], current: Option<LogId>) {
        let mut sorted = positions.to_vec();
        sorted.sort_by_key(|position| position.log);
        sorted.retain(|position| position.log.store == self.config.store);
        for position in &sorted {
            let Position { log, head, link, acked } = *position;
            match log.direction {
                Direction::Up => {
                    self.own.insert(log, (head, acked));
                    self.sender.handle_head(now, log, head);
                    // Recorded after its link was compared: only the position counts here.
                    self.sender.handle_ack(now, &Ack { log, upto: acked.min(head), link, gap: None });
                    self.remember(log, head, link);
                }
                Direction::Down => {
                    self.down.insert(log, Ack { log, upto: head, link, gap: None });
                }
            }
        }
        self.current = current;
    }

    /// From now on, blocks are sealed with this key, or no longer.
    pub fn set_sealer(&mut self, sealer: Option<Arc<dyn Sealer>>) {
        self.seals.set(sealer);
    }

    /// The transport is connected and subscribed.
    pub fn handle_up(&mut self, now: u64) {
        self.up = true;
        self.heard_ms = now;
        self.hold_until = now.saturating_add(self.config.sender.retry_min_ms);
        self.greet = self.config.speaks;
        self.refused_ms = None;
        self.hellos = 0;
        self.sender.handle_up(now);
        self.recall.restart(now);
        self.returned.clear();
        self.presence_due = true;
        self.hello_due = true;
        self.live = self.current.and_then(|log| self.own.get(&log).map(|(head, _)| (log, *head, *head)));
    }

    /// The transport lost its connection.
    pub fn handle_down(&mut self, _now: u64) {
        self.up = false;
        self.sender.handle_down();
        self.returned.clear();
    }

    /// The ledger committed events of an own log; a log not seen before is the new epoch.
    pub fn handle_head(&mut self, now: u64, log: LogId, head: Seq) {
        if log.store != self.config.store || log.direction != Direction::Up {
            return;
        }
        if self.recall.contains(log) && self.current != Some(log) {
            // Returned history: HQ has it already.
            if let Some(entry) = self.own.get_mut(&log) {
                entry.0 = entry.0.max(head);
            } else {
                self.own.insert(log, (head, head));
            }
            return;
        }
        let known = self.own.get(&log).copied();
        self.own.insert(log, (head, known.map_or(Seq::ZERO, |(_, acked)| acked)));
        if known.is_some() && self.sender.log(log).is_none() {
            // Returned to us completely: HQ has it.
            return;
        }
        self.sender.handle_head(now, log, head);
        if known.is_none() && self.current.is_none_or(|current| current < log) {
            self.current = Some(log);
            self.live = None;
            // HQ is told of the new epoch at once.
            self.hello_due = self.up;
        }
        if let Some((live, _, sent)) = self.live
            && live == log
            && head == sent.next()
        {
            self.live_at = now.saturating_add(self.config.sender.linger_ms);
        }
        if now < self.hurry_until {
            self.sender.hurry(now);
            self.live_at = self.live_at.min(now);
        }
    }

    /// Something urgent is being written: what waits for company goes at once, and so does what is written within the next
    /// second.
    pub fn hurry(&mut self, now: u64) {
        self.hurry_until = now.saturating_add(HURRY_MS);
        self.sender.hurry(now);
        self.live_at = self.live_at.min(now);
    }

    /// Positions of every own log.
    pub fn status(&self) -> SenderStatus {
        self.sender.status()
    }

    /// Highest wire version that both sides speak, once HQ was heard.
    pub fn peer_version(&self) -> Option<u8> {
        self.peer
    }

    /// Own logs that are being asked for, with HQ's end and how far they are back.
    pub fn recalling(&self) -> Vec<(LogId, Seq, Seq)> {
        self.recall.logs().map(|(log, lost)| (log, lost.peer, lost.from)).collect()
    }

    /// Looks at the clock: greets again, asks again.
    pub fn tick(&mut self, now: u64) {
        if !self.up {
            return;
        }
        // HQ may have been upgraded since it refused. While history is missing that only a newer one can give back, this is
        // found out at once; else now and then, because each refusal is written down at HQ.
        let missing = !self.recall.is_empty() && self.peer.is_some_and(|peer| peer < self.config.speaks);
        let try_again = |refused: u64| missing || now.saturating_sub(refused) >= UPGRADE_MS;
        let greets = now >= self.idle_at() || now >= self.hello_at() && self.waits();
        if greets && self.refused_ms.is_some_and(try_again) {
            self.refused_ms = None;
            self.greet = self.config.speaks;
            self.hellos = 0;
        }
        if now >= self.hello_at() && self.waits() {
            if self.hellos >= 2 {
                self.lower_greeting();
            }
            self.hello_due = true;
        }
        self.hello_due |= now >= self.idle_at();
        self.give_up_asking(now);
    }

    /// Whether a word of HQ is wanted: a greeting is unanswered, or something is not acknowledged.
    fn waits(&self) -> bool {
        self.hellos > 0 || self.peer.is_none() || self.sender.status().lag() > 0 || !self.recall.is_empty()
    }

    /// When the next greeting is due, if something waits. Acks do not stand in for the answer that tells the versions.
    fn hello_at(&self) -> u64 {
        let since = if self.peer.is_none() { self.hello_ms } else { self.heard_ms.max(self.hello_ms) };
        since.saturating_add(self.config.hello_ms)
    }

    /// When a store with nothing to say greets.
    fn idle_at(&self) -> u64 {
        self.spoke_ms.saturating_add(self.config.hello_ms.saturating_mul(IDLE_GREETING))
    }

    /// HQ does not return what it has (it is older, or cannot): trade under a new name all the same.
    fn give_up_asking(&mut self, now: u64) {
        let patience_ms = self.config.sender.retry_max_ms.saturating_mul(PATIENCE);
        let hopeless = |log: &LogId| self.recall.hopeless(now, *log, patience_ms);
        let Some(log) = self.recall.logs().map(|(log, _)| log).find(hopeless) else { return };
        self.recall.forget(log);
        if self.current == Some(log) {
            let reason = EpochReason::RolledBack;
            let above = self.newest_epoch();
            self.now_effects.push_back(Effect::OpenEpoch { log, reason, above });
        }
        // What was written under contested names goes to HQ all the same: HQ keeps it aside and says so.
        self.sender.hold(log, false);
    }

    fn newest_epoch(&self) -> Epoch {
        let newest = self.own.keys().next_back().map_or(Epoch(0), |log| log.epoch);
        self.recall.logs().fold(newest, |newest, (log, _)| newest.max(log.epoch))
    }

    fn lower_greeting(&mut self) {
        self.greet = if self.greet > wire2::MIN { self.greet - 1 } else { self.config.speaks };
    }

    /// When [`Replica::tick`] and [`Replica::poll_effect`] are next worth calling without a new input.
    pub fn next_wake(&self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let sending = self.sender.next_wake().map(|at| at.max(self.hold_until));
        let hello = if self.waits() { self.hello_at().min(self.idle_at()) } else { self.idle_at() };
        let words = self.hello_due || self.presence_due || !self.acks.is_empty() || !self.returned.is_empty();
        let words = words.then_some(self.pause_until);
        let live = self.live_range(u64::MAX).map(|_| self.live_at);
        let sending = if self.reading.is_some() { None } else { [sending, live].into_iter().flatten().min() };
        let patience_ms = self.config.sender.retry_max_ms.saturating_mul(PATIENCE);
        let answers = self.peer.is_some_and(|version| version >= 2);
        let wakes = [sending, Some(hello), words, self.recall.next_wake(patience_ms, |_| answers)];
        wakes.into_iter().flatten().min().map(|at| at.max(self.pause_until))
    }

    fn refuse(
        &mut self,
        now: u64,
        leaf: Leaf,
        code: &'static str,
        detail: &str,
        of: Option<(LogId, Seq, Seq)>,
        bytes: Option<&[u8]>,
    ) {
        if let Some(bytes) = bytes {
            let raw = bytes.get(..KEEP_BYTES).unwrap_or(bytes).to_vec();
            let origin = Origin::Leaf(self.config.store, leaf);
            self.now_effects.push_back(Effect::Quarantine { origin, code, detail: detail.to_string(), raw });
        }
        self.say_no(now, code, detail, of);
    }

    /// Refuses, at most once per second.
    fn say_no(&mut self, now: u64, code: &str, detail: &str, of: Option<(LogId, Seq, Seq)>) {
        if self.nak_ms.is_some_and(|at| now.saturating_sub(at) < NAK_PERIOD_MS) {
            return;
        }
        self.nak_ms = Some(now);
        self.nak = Some(Nak { code: Text::lossy(code), detail: Text::lossy(detail), of });
    }

    fn remember(&mut self, log: LogId, at: Seq, link: Link) {
        if self.links.len() >= LINKS_MAX {
            self.links.pop_front();
        }
        self.links.push_back((log, at, link));
    }

    fn publish(&mut self, leaf: Leaf, message: Vec<u8>, retained: bool, what: What) {
        let effect = self.message(leaf, message, retained, what);
        self.now_effects.push_back(effect);
    }

    fn message(&self, leaf: Leaf, message: Vec<u8>, retained: bool, what: What) -> Effect {
        Effect::Publish(Publish { store: self.config.store, leaf, message, retained, what })
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}
