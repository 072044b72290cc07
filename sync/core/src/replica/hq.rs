//! HQ's side of settlement for every store of its buckets, sans-IO. See [`super`] for the protocol.
//!
//! Per store: a sender of HQ's logs while the store is there, what is durable of its logs, the wire version it speaks, and
//! at most [`PREVIEW_BYTES_MAX`] of events that came ahead of their turn. Everything else is in the ledger.
//!
//! Backpressure: [`Hub::room`] is false while `jobs_max` blocks are on their way into the ledger; then the driver takes no
//! more messages, and broker and stores slow down.

use super::acks::Acks;
use super::down::{Down, DownEnds};
use super::effect::{
    Alarm, Effect, IngestFailure, IngestOutcome, Ingested, Leaf, Origin, Position, Publish, Sign, Token,
    Unsent, What,
};
use super::policy::Policy;
use super::recall::Recall;
use super::wire2::{self, BlockCodec, Greeting, Incoming, Letter, LetterError, Versions};
use crate::{Ack, AckOutcome, Block, Link, Nak, SendRange, SenderConfig};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sync_model::{Direction, EpochReason, EventId, LogId, Seq, StoreId, Text};

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
#[derive(Debug, Default)]
struct Early {
    blocks: BTreeMap<(LogId, Seq), Incoming>,
    bytes: usize,
}

/// HQ's replica.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    acks: Acks,
    down: Down,
    policy: Policy,
    up: bool,
    peers: BTreeMap<StoreId, u8>,
    gone: BTreeSet<StoreId>,
    recall: Recall,
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

    /// A message on a topic that names no store.
    pub fn handle_stray(&mut self, now: u64, topic: &str, bytes: &[u8]) {
        let detail =
            alloc::format!("topic is not of the form sy1/<bucket>/<store>/<leaf>, {} bytes", bytes.len());
        let ruling = self.policy.rule(now, None, "bad-topic", None);
        if ruling.keep {
            let (origin, code) = (Origin::Stray(topic.to_string()), "bad-topic");
            self.now_effects.push_back(Effect::Quarantine { origin, code, detail, raw: bytes.to_vec() });
        }
    }

    /// One message of a store that must not be heard, for a reason that lies outside the protocol.
    pub fn handle_foreign(
        &mut self,
        now: u64,
        store: StoreId,
        leaf: Leaf,
        (code, detail): (&'static str, String),
        bytes: &[u8],
    ) {
        let bad = match self.named(store, leaf, bytes) {
            Ok(of) => Bad::new(code, detail, of),
            Err(bad) => bad,
        };
        self.handle_bad(now, store, leaf, &bad, bytes);
    }

    /// What a message names, without believing any of it. What cannot be read is refused for that alone.
    fn named(&self, store: StoreId, leaf: Leaf, bytes: &[u8]) -> Result<Option<(LogId, Seq, Seq)>, Bad> {
        if !matches!(leaf, Leaf::Up | Leaf::DownAck) {
            return Ok(None);
        }
        let (letter, _) = Letter::decode(&self.config.codec, bytes)
            .map_err(|error| Bad::new(error.code(), error.to_string(), None))?;
        let (Letter::Block(block) | Letter::Live(block)) = letter else { return Ok(None) };
        let of = Some((block.log, block.first, block.last()));
        check_store(store, block.log.store, of)?;
        Ok(of)
    }

    /// One message of a store.
    pub fn handle_message(&mut self, now: u64, store: StoreId, leaf: Leaf, bytes: &[u8], retained: bool) {
        let done = match leaf {
            Leaf::Up => self.take_up(now, store, bytes, retained),
            Leaf::DownAck | Leaf::Presence if bytes.is_empty() => Ok(()),
            Leaf::DownAck => self.take_down_ack(now, store, bytes, retained),
            Leaf::Presence => self.take_presence(now, store, bytes, retained),
            Leaf::Down | Leaf::UpAck => {
                Err(Bad::new("wrong-message", "this topic is written by HQ only".into(), None))
            }
        };
        if let Err(bad) = done {
            self.handle_bad(now, store, leaf, &bad, bytes);
        }
    }

    fn decode(&mut self, store: StoreId, bytes: &[u8]) -> Result<Letter, Bad> {
        let found = match bytes.first() {
            Some(version) if *version > self.config.speaks && bytes.len() <= crate::MESSAGE_BYTES_MAX => {
                Err(LetterError::Version(*version))
            }
            _ => Letter::decode(&self.config.codec, bytes),
        };
        let (letter, versions) = found.map_err(|error| Bad::new(error.code(), error.to_string(), None))?;
        let spoken = bytes.first().copied().filter(|spoken| *spoken > wire2::MIN);
        // Whoever writes a version reads it.
        let versions = versions.or(spoken
            .filter(|_| !self.peers.contains_key(&store))
            .map(|current| Versions { min: wire2::MIN, current }));
        if let Some(versions) = versions {
            let own = Versions { min: wire2::MIN, current: self.config.speaks };
            let room = self.peers.len() < self.config.stores_max || self.peers.contains_key(&store);
            match own.common(versions) {
                Some(version) if room => drop(self.peers.insert(store, version)),
                Some(_) => {}
                None => {
                    let detail = alloc::format!(
                        "the store speaks wire versions {} to {}, HQ {} to {}",
                        versions.min,
                        versions.current,
                        own.min,
                        own.current
                    );
                    self.now_effects.push_back(Effect::Alarm(Alarm::Versions { found: versions.min }));
                    return Err(Bad::new("wire-version", detail, None));
                }
            }
        }
        Ok(letter)
    }

    fn take_up(&mut self, now: u64, store: StoreId, bytes: &[u8], retained: bool) -> Result<(), Bad> {
        match self.decode(store, bytes)? {
            Letter::Block(block) => {
                let of = (block.log, block.first, block.last());
                // A block of HQ's own log is history that HQ asked for.
                let asked = block.log.direction == Direction::Down && self.recall.contains(block.log);
                if !asked {
                    check_log(store, block.log, Direction::Up, Some(of))?;
                }
                check_store(store, block.log.store, Some(of))?;
                self.seen(store, Sign::Block, retained);
                self.there(now, store);
                self.ingest(store, block);
            }
            Letter::Live(block) => {
                let of = (block.log, block.first, block.last());
                check_log(store, block.log, Direction::Up, Some(of))?;
                self.seen(store, Sign::Block, retained);
                self.take_live(store, block);
            }
            Letter::Hello(greeting) => self.take_hello(now, store, &greeting)?,
            Letter::Nak(nak) => self.take_nak(now, store, nak, retained)?,
            Letter::Ack(ack) => {
                let detail = alloc::format!("ack of {} on the up topic", ack.log);
                return Err(Bad::new("wrong-message", detail, Some((ack.log, ack.upto, ack.upto))));
            }
        }
        Ok(())
    }

    /// A store that sends is there, though its greeting was lost.
    fn there(&mut self, now: u64, store: StoreId) {
        if !self.down.is_there(store) {
            self.gone.remove(&store);
            self.down.handle_there(now, store, None);
        }
    }

    fn take_nak(&mut self, now: u64, store: StoreId, nak: Nak, retained: bool) -> Result<(), Bad> {
        if let Some((log, first, last)) = nak.of {
            if log.direction == Direction::Up {
                // It refuses returned history: nothing to do but wait for its ask.
                check_store(store, log.store, Some((log, first, last)))?;
                return Ok(());
            }
            check_log(store, log, Direction::Down, nak.of)?;
            if matches!(nak.code.as_str(), "equivocation" | "chain-break") {
                self.contradicted(now, log, first);
            }
        } else if matches!(nak.code.as_str(), "undecodable" | "wire-version") {
            // It could not read us: it may be an older one than we thought.
            self.peers.remove(&store);
        }
        // The same allowance that bounds our own refusals bounds the lines about the store's.
        let named = nak.of.map(|(log, first, _)| EventId { log, seq: first });
        self.down.handle_nak(now, store, &nak);
        if self.policy.rule(now, Some(store), "store-nak", named).nak {
            self.seen(store, Sign::Nak(nak), retained);
        }
        Ok(())
    }

    /// The store has another history of HQ's log: ask for it, and write the own branch again in a new epoch.
    fn contradicted(&mut self, now: u64, log: LogId, at: Seq) {
        let from = Seq(at.0.saturating_sub(1));
        self.lose(now, log, at, from, Alarm::Forked { log, at });
    }

    fn lose(&mut self, now: u64, log: LogId, peer: Seq, from: Seq, alarm: Alarm) {
        self.down.hold(now, log, true);
        if self.recall.note(now, log, peer, from) {
            self.now_effects.push_back(Effect::Alarm(alarm));
        }
    }

    fn take_hello(&mut self, now: u64, store: StoreId, greeting: &Greeting) -> Result<(), Bad> {
        let hello = &greeting.hello;
        check_store(store, hello.store, None)?;
        let heads = || hello.head.iter().chain(&greeting.older);
        for (log, seq) in heads() {
            check_log(store, *log, Direction::Up, Some((*log, *seq, *seq)))?;
        }
        if let Some(ack) = hello.down {
            check_log(store, ack.log, Direction::Down, Some((ack.log, ack.upto, ack.upto)))?;
        }
        self.gone.remove(&store);
        let version = self.peer_version(store).unwrap_or(wire2::MIN);
        let sign = Sign::Hello { head: hello.head, software: hello.software.clone(), version };
        self.seen(store, sign, false);
        let known: Vec<Ack> = self.acks.of_store(store).collect();
        for (log, head) in heads() {
            let durable = self.acks.durable(*log);
            // The newest is answered always; an older one where the two differ.
            if hello.head.is_some_and(|(newest, _)| newest == *log) || durable.upto != *head {
                self.acks.greet(*log, *head);
            }
        }
        // Logs that the store does not name at all: it may have lost them. A peer of version 1 names one log only.
        if version >= 2 {
            for ack in known.iter().filter(|ack| !heads().any(|(log, _)| *log == ack.log)) {
                self.acks.greet(ack.log, ack.upto);
            }
        }
        self.down.handle_there(now, store, Some(hello.down.as_ref()));
        if let Some(ack) = hello.down {
            self.own_ack(now, ack, true);
        }
        Ok(())
    }

    fn take_down_ack(&mut self, now: u64, store: StoreId, bytes: &[u8], retained: bool) -> Result<(), Bad> {
        let Letter::Ack(ack) = self.decode(store, bytes)? else {
            return Err(Bad::new("wrong-message", "only acks belong on the ack topic".into(), None));
        };
        let of = Some((ack.log, ack.upto, ack.upto));
        check_store(store, ack.log.store, of)?;
        self.seen(store, Sign::Ack(ack), retained);
        if !(retained && self.gone.contains(&store)) {
            self.down.handle_there(now, store, None);
        }
        match ack.log.direction {
            Direction::Down => self.own_ack(now, ack, false),
            Direction::Up => {
                let durable = self.acks.durable(ack.log);
                let Some(ask) = super::recall::answerable(&ack, durable.upto) else {
                    let detail = alloc::format!("{} is known here up to {}", ack.log, durable.upto);
                    return Err(Bad::new("wrong-message", detail, of));
                };
                self.down.give_back(now, &ask, durable.upto);
            }
        }
        Ok(())
    }

    /// What a store has of HQ's log: remembered in the ledger when it is news.
    fn own_ack(&mut self, now: u64, ack: Ack, compare: bool) {
        let log = ack.log;
        let head = self.down.ends(log).map_or(Seq::ZERO, |ends| ends.head);
        if self.recall.contains(log) {
            self.recall.note(now, log, ack.upto, Seq::ZERO);
            return;
        }
        if ack.upto > head {
            let alarm = Alarm::RolledBack { log, upto: ack.upto, head };
            return self.lose(now, log, ack.upto, head, alarm);
        }
        if compare && ack.upto > Seq::ZERO && self.compares.len() < READS_MAX {
            let token = self.token();
            self.compares.insert(token, ack);
            self.now_effects.push_back(Effect::CompareLink { token, log, at: ack.upto });
        }
        let outcome = self.down.handle_ack(now, &ack);
        if matches!(outcome, Some(AckOutcome::Advanced { .. } | AckOutcome::Regressed { .. })) {
            self.now_effects.push_back(Effect::RecordAck(ack));
        }
    }

    fn take_presence(&mut self, now: u64, store: StoreId, bytes: &[u8], retained: bool) -> Result<(), Bad> {
        let present = match bytes {
            b"1" => true,
            b"0" => false,
            _ => {
                let detail = alloc::format!("presence is 1 or 0, found {} bytes", bytes.len());
                return Err(Bad::new("undecodable", detail, None));
            }
        };
        self.seen(store, Sign::Present(present), retained);
        if present {
            self.gone.remove(&store);
            self.down.handle_there(now, store, None);
        } else {
            if self.gone.len() < self.config.stores_max {
                self.gone.insert(store);
            }
            self.down.handle_gone(store);
            self.forget_early(store);
        }
        Ok(())
    }

    fn ingest(&mut self, store: StoreId, block: Incoming) {
        let token = self.token();
        self.jobs.insert(token, Job { store, of: (block.log, block.first, block.last()) });
        self.now_effects.push_back(Effect::Ingest { token, store, block });
    }

    /// Events ahead of their turn: shown, and held as long as there is room.
    fn take_live(&mut self, store: StoreId, block: Incoming) {
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
    fn book_early(&mut self, store: StoreId, ack: &Ack) {
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

    fn forget_early(&mut self, store: StoreId) {
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
    fn history_returned(&mut self, now: u64, ingested: Ingested, last: Seq) {
        let Ingested { outcome, ack } = ingested;
        match outcome {
            IngestOutcome::ChainBreak { .. } | IngestOutcome::Equivocation { .. } => {
                self.recall.refused(now, ack.log);
            }
            IngestOutcome::Gap { .. } => {}
            // Equal up to the block's end; what follows here may still be another history.
            IngestOutcome::Duplicate if self.recall.equal(now, ack.log, last) => {}
            IngestOutcome::Applied { .. } | IngestOutcome::Duplicate => {
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

    /// The ledger kept the bytes already where something is wrong; here follow refusal, verdict and order.
    fn judge(&mut self, now: u64, store: StoreId, outcome: IngestOutcome, of: (LogId, Seq, Seq)) {
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

    fn verdict(&mut self, store: StoreId, code: &'static str, detail: String, of: Option<EventId>) {
        self.now_effects.push_back(Effect::Verdict { store, code, detail, of });
    }

    /// A message that cannot be accepted: kept aside, answered; each within its rate.
    fn handle_bad(&mut self, now: u64, store: StoreId, leaf: Leaf, bad: &Bad, bytes: &[u8]) {
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

    fn refuse(&mut self, store: StoreId, code: &str, detail: &str, of: Option<(LogId, Seq, Seq)>) {
        if self.naks.len() < NAKS_MAX {
            self.naks.push_back((store, Nak { code: Text::lossy(code), detail: Text::lossy(detail), of }));
        }
    }

    fn seen(&mut self, store: StoreId, sign: Sign, retained: bool) {
        self.now_effects.push_back(Effect::Seen { store, sign, retained });
    }

    /// The block of a [`Effect::ReadBlock`]; `None`: not to be had now.
    pub fn handle_block(&mut self, now: u64, token: Token, block: Option<Block>) {
        let Some(range) = self.reads.remove(&token) else { return };
        let store = range.log.store;
        let Some(block) = block.filter(|block| block.log == range.log && !block.records.is_empty()) else {
            self.down.postpone(store, now.saturating_add(READ_RETRY_MS));
            return;
        };
        let (log, first, last) = (block.log, block.first, block.last());
        // An ack or a gap may have moved the position while the block was read.
        if self.down.position(log).is_none_or(|status| status.sent.next() != first) {
            self.down.postpone(store, now);
            return;
        }
        let bytes = block.records.iter().map(Vec::len).sum();
        let version = self.peer_version(store).unwrap_or(wire2::MIN);
        let message = Letter::block(&self.config.codec, version, &block, None);
        self.down.handle_sent(now, log, first, last, bytes);
        let what = What::Block { log, first, last };
        let publish = Publish { store, leaf: Leaf::Down, message, retained: false, what };
        self.now_effects.push_back(Effect::Publish(publish));
    }

    /// The link of a [`Effect::CompareLink`].
    pub fn handle_link(&mut self, now: u64, token: Token, link: Option<Link>) {
        if let Some(ack) = self.compares.remove(&token) {
            if link.is_some_and(|link| link != ack.link) {
                self.contradicted(now, ack.log, ack.upto);
            }
        } else if let Some((_, log, at)) = self.asking_link.take_if(|(asked, _, _)| *asked == token) {
            self.recall.link(log, at, link);
        }
    }

    /// The transport did not take a message.
    pub fn handle_unsent(&mut self, now: u64, publish: Publish, why: Unsent) {
        if why != Unsent::TooLarge {
            self.pause_until = now.saturating_add(FULL_RETRY_MS);
        }
        match (why, publish.what) {
            (Unsent::Full, _) => self.returned.push_back(publish),
            (Unsent::Down, What::Ack(ack)) if ack.log.direction == Direction::Up => self.acks.again(ack),
            (Unsent::TooLarge, What::Block { log, first, last }) => {
                let code = Text::lossy("too-large");
                let nak = Nak { code, detail: Text::default(), of: Some((log, first, last)) };
                self.down.handle_nak(now, publish.store, &nak);
            }
            (Unsent::Down | Unsent::TooLarge, _) => {}
        }
    }

    /// Looks at the clock: what was asked for in vain is given up.
    pub fn tick(&mut self, now: u64) {
        let patience_ms = self.config.sender.retry_max_ms.saturating_mul(super::store::PATIENCE);
        let hopeless = |log: &LogId| self.recall.hopeless(now, *log, patience_ms);
        let Some(log) = self.recall.logs().map(|(log, _)| log).find(hopeless) else { return };
        self.recall.forget(log);
        let above = self.down.newest(log.store).map_or(log.epoch, |newest| newest.epoch.max(log.epoch));
        self.now_effects.push_back(Effect::OpenEpoch { log, reason: EpochReason::RolledBack, above });
        self.down.hold(now, log, false);
    }

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self, now: u64) -> Option<Effect> {
        if let Some(effect) = self.now_effects.pop_front() {
            return Some(effect);
        }
        if !self.up || now < self.pause_until {
            return None;
        }
        if let Some(publish) = self.returned.pop_front() {
            return Some(Effect::Publish(publish));
        }
        if let Some(ack) = self.acks.next() {
            self.acks.sent(ack.log);
            let version = self.peer_version(ack.log.store).unwrap_or(wire2::MIN);
            let message = Letter::Ack(ack).encode(version)?;
            let (store, leaf, what) = (ack.log.store, Leaf::UpAck, What::Ack(ack));
            return Some(Effect::Publish(Publish { store, leaf, message, retained: true, what }));
        }
        if let Some((store, nak)) = self.naks.pop_front() {
            let message = Letter::Nak(nak).encode(wire2::MIN)?;
            let (leaf, what) = (Leaf::Down, What::Nak);
            return Some(Effect::Publish(Publish { store, leaf, message, retained: false, what }));
        }
        self.poll_asks(now).or_else(|| self.poll_read(now))
    }

    fn poll_asks(&mut self, now: u64) -> Option<Effect> {
        if self.asking_link.is_none()
            && let Some((log, at)) = self.recall.wants_link(now)
        {
            let token = self.token();
            self.asking_link = Some((token, log, at));
            return Some(Effect::CompareLink { token, log, at });
        }
        let progress = self.progress.pop_first().map(|(_, ack)| ack);
        let peers = &self.peers;
        let answers = |log: LogId| peers.get(&log.store).is_some_and(|version| *version >= 2);
        let again_ms = self.config.sender.retry_min_ms;
        let ack = progress.or_else(|| self.recall.ask(now, again_ms, answers))?;
        let message = Letter::Ack(ack).encode(self.peer_version(ack.log.store).unwrap_or(wire2::MIN))?;
        let (store, leaf, what) = (ack.log.store, Leaf::UpAck, What::Ack(ack));
        Some(Effect::Publish(Publish { store, leaf, message, retained: false, what }))
    }

    fn poll_read(&mut self, now: u64) -> Option<Effect> {
        if self.reads.len() >= READS_MAX {
            return None;
        }
        let range = self.down.poll(now)?;
        // One block per store at a time: its position moves when the block is there.
        self.down.postpone(range.log.store, now.saturating_add(READ_RETRY_MS));
        if self.reads.values().any(|reading| reading.log.store == range.log.store) {
            return None;
        }
        let token = self.token();
        self.reads.insert(token, range);
        Some(Effect::ReadBlock { token, range })
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
        let wakes = [words.then_some(self.pause_until), self.recall.next_wake(), self.down.next_wake()];
        wakes.into_iter().flatten().min().map(|at| at.max(self.pause_until))
    }

    fn token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}

/// Why a message cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bad {
    code: &'static str,
    detail: String,
    of: Option<(LogId, Seq, Seq)>,
}

impl Bad {
    fn new(code: &'static str, detail: String, of: Option<(LogId, Seq, Seq)>) -> Self {
        Self { code, detail, of }
    }
}

fn check_store(topic: StoreId, payload: StoreId, of: Option<(LogId, Seq, Seq)>) -> Result<(), Bad> {
    if topic == payload {
        return Ok(());
    }
    Err(Bad::new("wrong-store", alloc::format!("topic of store {topic}, payload of store {payload}"), of))
}

fn check_log(
    store: StoreId,
    log: LogId,
    direction: Direction,
    of: Option<(LogId, Seq, Seq)>,
) -> Result<(), Bad> {
    check_store(store, log.store, of)?;
    if log.direction != direction {
        return Err(Bad::new("wrong-message", alloc::format!("log {log} is not written by this side"), of));
    }
    Ok(())
}
