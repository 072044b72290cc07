//! The store's side of settlement, sans-IO. See [`super`] for the protocol.
//!
//! States per link: down; up and waiting for HQ's first word (blocks are held back for one retry time, because the retained
//! ack says where to begin and in which version to speak); up. States per own log: sent in order; held, while HQ has
//! another history of it and the store asks for HQ's copy.
//!
//! Bounds: one block being read, [`INGESTS_MAX`] blocks being ingested, one refusal per second, one ack waiting per log.

use super::effect::{
    Alarm, Effect, IngestFailure, IngestOutcome, Ingested, Leaf, Origin, Position, Publish, Sign, Token,
    Unsent, What,
};
use super::recall::Recall;
use super::wire2::{self, BlockCodec, Greeting, Incoming, Letter, OLDER_MAX, Versions};
use crate::{
    Ack, AckOutcome, BLOCK_RECORDS_MAX, Block, Hello, Link, Nak, SendRange, Sender, SenderConfig,
    SenderStatus,
};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::ToString;
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
/// Ends of sent blocks whose links are remembered.
const LINKS_MAX: usize = 64;
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
#[derive(Debug)]
pub struct Replica {
    config: ReplicaConfig,
    sender: Sender,
    up: bool,
    /// Highest version spoken with HQ; `None` until it said a word in this process.
    peer: Option<u8>,
    /// Version of the next greeting.
    greet: u8,
    /// Own logs: end, and end known to be HQ's too.
    own: BTreeMap<LogId, (Seq, Seq)>,
    current: Option<LogId>,
    /// HQ's logs as they are here.
    down: BTreeMap<LogId, Ack>,
    recall: Recall,
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
    heard_ms: u64,
    hello_ms: u64,
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
            config,
            up: false,
            peer: None,
            own: BTreeMap::new(),
            current: None,
            down: BTreeMap::new(),
            recall: Recall::default(),
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
            heard_ms: 0,
            hello_ms: 0,
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

    /// The transport is connected and subscribed.
    pub fn handle_up(&mut self, now: u64) {
        self.up = true;
        self.heard_ms = now;
        self.hold_until = now.saturating_add(self.config.sender.retry_min_ms);
        self.greet = self.config.speaks;
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

    /// One message of the transport.
    pub fn handle_message(&mut self, now: u64, leaf: Leaf, bytes: &[u8]) {
        let (letter, versions) = match self.decode(bytes) {
            Ok(found) => found,
            Err(error) => {
                if let wire2::LetterError::Version(found) = error {
                    self.now_effects.push_back(Effect::Alarm(Alarm::Versions { found }));
                }
                return self.refuse(now, leaf, error.code(), &error.to_string(), None, Some(bytes));
            }
        };
        if let Some(versions) = versions {
            let own = Versions { min: wire2::MIN, current: self.config.speaks };
            self.peer = own.common(versions).or(self.peer);
        } else if let Some(spoken) = bytes.first().filter(|spoken| **spoken > wire2::MIN) {
            // Whoever writes a version reads it.
            self.peer = self.peer.max(Some(*spoken));
        }
        match (leaf, letter) {
            (Leaf::Down, Letter::Block(block)) => self.take_block(now, leaf, block, bytes),
            (Leaf::Down, Letter::Nak(nak)) => self.take_nak(now, nak),
            (Leaf::UpAck | Leaf::Down, Letter::Ack(ack)) => self.take_ack(now, leaf, ack, bytes),
            _ => {
                self.refuse(now, leaf, "unexpected", "a message that does not belong here", None, Some(bytes))
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<(Letter, Option<Versions>), wire2::LetterError> {
        match bytes.first() {
            Some(version) if *version > self.config.speaks => Err(wire2::LetterError::Version(*version)),
            _ => Letter::decode(&self.config.codec, bytes),
        }
    }

    fn take_block(&mut self, now: u64, leaf: Leaf, block: Incoming, bytes: &[u8]) {
        let of = Some((block.log, block.first, block.last()));
        if block.log.store != self.config.store {
            let detail = alloc::format!("a block of {}", block.log);
            return self.refuse(now, leaf, "wrong-store", &detail, of, Some(bytes));
        }
        if block.log.direction == Direction::Up && !self.recall.contains(block.log) {
            // History that was asked for earlier and is complete, or that nobody asked for.
            return;
        }
        if self.ingests.len() >= INGESTS_MAX {
            return;
        }
        let token = self.token();
        self.ingests.insert(token, (block.log, block.last()));
        self.now_effects.push_back(Effect::Ingest { token, store: self.config.store, block });
    }

    fn take_nak(&mut self, now: u64, nak: Nak) {
        if nak.of.is_none() && matches!(nak.code.as_str(), "undecodable" | "wire-version") {
            // HQ could not read us: it may be an older one than we thought.
            self.peer = None;
            self.lower_greeting();
            self.hello_due = self.up;
        }
        self.sender.handle_nak(now, &nak);
        let sign = Sign::Nak(nak);
        self.now_effects.push_back(Effect::Seen { store: self.config.store, sign, retained: false });
    }

    fn take_ack(&mut self, now: u64, leaf: Leaf, ack: Ack, bytes: &[u8]) {
        if ack.log.store != self.config.store {
            let detail = alloc::format!("an ack of {}", ack.log);
            return self.refuse(now, leaf, "wrong-store", &detail, None, Some(bytes));
        }
        self.heard_ms = now;
        self.hellos = 0;
        if self.peer.is_none() && self.greet == wire2::MIN {
            self.peer = Some(wire2::MIN);
        }
        if self.peer.is_some() {
            self.hold_until = now;
        }
        match ack.log.direction {
            Direction::Down => self.asked(now, &ack),
            Direction::Up => {
                let sign = Sign::Ack(ack);
                self.now_effects.push_back(Effect::Seen { store: self.config.store, sign, retained: false });
                self.judge(now, ack);
            }
        }
    }

    /// HQ asks for its own log back, from the ack's position on.
    fn asked(&mut self, now: u64, ack: &Ack) {
        let Some(known) = self.down.get(&ack.log).copied() else { return };
        let Some(ask) = super::recall::answerable(ack, known.upto) else { return };
        self.sender.handle_head(now, ack.log, known.upto);
        self.sender.handle_ack(now, &ask);
    }

    /// Compares HQ's word on an own log with the own log, as far as this can be done without reading.
    fn judge(&mut self, now: u64, ack: Ack) {
        let Some((head, acked)) = self.own.get(&ack.log).copied() else {
            if ack.upto > Seq::ZERO {
                self.lose(
                    now,
                    ack,
                    Seq::ZERO,
                    Alarm::RolledBack { log: ack.log, upto: ack.upto, head: Seq::ZERO },
                );
            }
            return;
        };
        if self.recall.contains(ack.log) {
            self.recall.note(now, ack.log, ack.upto, Seq::ZERO);
            return;
        }
        if ack.upto > head {
            let alarm = Alarm::RolledBack { log: ack.log, upto: ack.upto, head };
            return self.lose(now, ack, head, alarm);
        }
        if ack.upto <= acked {
            // Compared before, or nothing yet: only the position counts.
            return self.believe(now, ack);
        }
        let known = self.links.iter().rev().find(|(log, at, _)| (*log, *at) == (ack.log, ack.upto));
        match known.map(|(_, _, link)| *link) {
            Some(link) => self.compared(now, ack, Some(link)),
            None => {
                self.compare_next.insert(ack.log, ack);
            }
        }
    }

    fn compared(&mut self, now: u64, ack: Ack, link: Option<Link>) {
        match link {
            Some(link) if link == ack.link => self.believe(now, ack),
            Some(_) => {
                let from = Seq(ack.upto.0.saturating_sub(1));
                self.lose(now, ack, from, Alarm::Forked { log: ack.log, at: ack.upto });
            }
            // Beyond what can be read: the next ack is compared again.
            None => {}
        }
    }

    /// HQ has more of an own log, or another history of it.
    fn lose(&mut self, now: u64, ack: Ack, from: Seq, alarm: Alarm) {
        self.sender.hold(ack.log, true);
        if self.recall.note(now, ack.log, ack.upto, from) {
            self.now_effects.push_back(Effect::Alarm(alarm));
        }
    }

    fn believe(&mut self, now: u64, ack: Ack) {
        match self.sender.handle_ack(now, &ack) {
            AckOutcome::Advanced { log, upto } => {
                if let Some(entry) = self.own.get_mut(&log) {
                    entry.1 = upto;
                }
                self.now_effects.push_back(Effect::RecordAck(ack));
            }
            AckOutcome::Regressed { log, upto } => {
                if let Some(entry) = self.own.get_mut(&log) {
                    entry.1 = upto;
                }
                self.now_effects.push_back(Effect::Alarm(Alarm::PeerRegressed { log, upto }));
            }
            AckOutcome::Stale | AckOutcome::Ahead { .. } | AckOutcome::Unknown(_) => {}
        }
    }

    /// The block of a [`Effect::ReadBlock`]; `None`: not to be had now.
    pub fn handle_block(&mut self, now: u64, token: Token, block: Option<Block>) {
        let Some((_, range, lane)) = self.reading.take_if(|(asked, _, _)| *asked == token) else { return };
        let Some(block) = block.filter(|block| block.log == range.log && !block.records.is_empty()) else {
            self.pause_until = now.saturating_add(PAUSE_MS);
            return;
        };
        let (log, first, last) = (block.log, block.first, block.last());
        let version = self.peer.unwrap_or(wire2::MIN);
        match lane {
            Lane::Ordered => {
                // An ack or a gap may have moved the position while the block was read.
                if self.sender.log(log).is_none_or(|status| status.sent.next() != first) {
                    return;
                }
                let bytes = block.records.iter().map(Vec::len).sum();
                let message = Letter::block(&self.config.codec, version, &block, None);
                if log.direction == Direction::Up {
                    self.remember(log, last, block.link());
                }
                self.sender.handle_sent(now, log, first, last, bytes);
                self.publish(Leaf::Up, message, false, What::Block { log, first, last });
            }
            Lane::Live => {
                if let Some((live, _, sent)) = &mut self.live
                    && *live == log
                {
                    *sent = (*sent).max(last);
                }
                let message = Letter::live(&self.config.codec, version, &block, None);
                self.publish(Leaf::Up, message, false, What::Live { log, first, last });
            }
        }
    }

    /// The link of a [`Effect::CompareLink`].
    pub fn handle_link(&mut self, now: u64, token: Token, link: Option<Link>) {
        if let Some((_, ack)) = self.comparing.take_if(|(asked, _)| *asked == token) {
            self.compared(now, ack, link);
        } else if let Some((_, log, at)) = self.asking_link.take_if(|(asked, _, _)| *asked == token) {
            self.recall.link(log, at, link);
        }
    }

    /// The outcome of a [`Effect::Ingest`], after its commit.
    pub fn handle_ingested(&mut self, now: u64, token: Token, result: Result<Ingested, IngestFailure>) {
        let Some((log, last)) = self.ingests.remove(&token) else { return };
        let ingested = match result {
            Ok(ingested) => ingested,
            Err(IngestFailure::Unavailable) => return,
            Err(IngestFailure::Refused { code, detail, raw }) => {
                let bytes = (!raw.is_empty()).then_some(raw.as_slice());
                return self.refuse(now, Leaf::Down, code, &detail, None, bytes);
            }
        };
        if log.direction == Direction::Up {
            return self.history_returned(now, ingested, last);
        }
        let Ingested { outcome, ack } = ingested;
        if let IngestOutcome::Equivocation { at } | IngestOutcome::ChainBreak { at } = outcome {
            let code = outcome.code();
            self.now_effects.push_back(Effect::Alarm(Alarm::Contradiction { log, at, code }));
            self.say_no(now, code, "the block contradicts what is stored", Some((log, at, at)));
        }
        self.down.insert(log, Ack { gap: None, ..ack });
        self.acks.insert(log, ack);
    }

    /// A block of an own log that HQ sent back was dealt with.
    fn history_returned(&mut self, now: u64, ingested: Ingested, last: Seq) {
        let Ingested { outcome, ack } = ingested;
        match outcome {
            IngestOutcome::ChainBreak { .. } | IngestOutcome::Equivocation { .. } => {
                self.recall.refused(now, ack.log);
            }
            IngestOutcome::Gap { .. } => {
                self.acks.insert(ack.log, ack);
            }
            // Equal up to the block's end; what follows here may still be another history.
            IngestOutcome::Duplicate if self.recall.equal(now, ack.log, last) => {}
            IngestOutcome::Applied { .. } | IngestOutcome::Duplicate => {
                self.acks.insert(ack.log, ack);
                self.own.insert(ack.log, (ack.upto, ack.upto));
                if self.recall.returned(now, &ack, self.config.sender.retry_min_ms) {
                    self.sender.forget(ack.log);
                    self.links.retain(|(log, _, _)| *log != ack.log);
                    self.now_effects.push_back(Effect::RecordAck(ack));
                    let alarm = Alarm::Returned { log: ack.log, upto: ack.upto };
                    self.now_effects.push_back(Effect::Alarm(alarm));
                }
            }
        }
    }

    /// The transport did not take a message.
    pub fn handle_unsent(&mut self, now: u64, publish: Publish, why: Unsent) {
        match (why, publish.what) {
            (Unsent::Full, _) => {
                self.pause_until = now.saturating_add(PAUSE_MS);
                self.returned.push_back(publish);
            }
            // Lost with the link; the next handle_up begins again.
            (Unsent::Down, _) => self.pause_until = now.saturating_add(PAUSE_MS),
            (Unsent::TooLarge, What::Block { log, first, last }) => {
                let nak = Nak {
                    code: Text::lossy("too-large"),
                    detail: Text::default(),
                    of: Some((log, first, last)),
                };
                self.sender.handle_nak(now, &nak);
            }
            (Unsent::TooLarge, _) => {}
        }
    }

    /// Looks at the clock: greets again, asks again.
    pub fn tick(&mut self, now: u64) {
        if !self.up {
            return;
        }
        if now >= self.hello_at() && self.waits() {
            if self.hellos >= 2 {
                self.lower_greeting();
            }
            self.hello_due = true;
        }
        self.give_up_asking(now);
    }

    /// Whether a word of HQ is wanted: a greeting is unanswered, or something is not acknowledged.
    fn waits(&self) -> bool {
        self.hellos > 0
            || self.peer.is_none()
            || self.sender.status().lag() > 0
            || self.recall.next_wake().is_some()
    }

    /// When the next greeting is due, if something waits. Acks do not stand in for the answer that tells the versions.
    fn hello_at(&self) -> u64 {
        let since = if self.peer.is_none() { self.hello_ms } else { self.heard_ms.max(self.hello_ms) };
        since.saturating_add(self.config.hello_ms)
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

    /// The next thing to do, if any.
    pub fn poll_effect(&mut self, now: u64) -> Option<Effect> {
        if let Some(effect) = self.now_effects.pop_front() {
            return Some(effect);
        }
        if self.comparing.is_none()
            && let Some((log, ack)) = self.compare_next.pop_first()
        {
            let token = self.token();
            self.comparing = Some((token, ack));
            return Some(Effect::CompareLink { token, log, at: ack.upto });
        }
        if !self.up || now < self.pause_until {
            return None;
        }
        if let Some(publish) = self.returned.pop_front() {
            return Some(Effect::Publish(publish));
        }
        if let Some(effect) = self.poll_words(now).or_else(|| self.poll_asks(now)) {
            return Some(effect);
        }
        self.poll_read(now)
    }

    /// Presence, greeting, acks, refusal.
    fn poll_words(&mut self, now: u64) -> Option<Effect> {
        if core::mem::take(&mut self.presence_due) {
            return Some(self.message(Leaf::Presence, b"1".to_vec(), true, What::Presence));
        }
        if core::mem::take(&mut self.hello_due) {
            self.hello_ms = now;
            self.hellos = self.hellos.saturating_add(1);
            // The retained ack of HQ's log may have been lost with the broker's memory.
            if let Some((log, ack)) = self.down.last_key_value() {
                self.acks.entry(*log).or_insert(*ack);
            }
            let message = self.greeting().encode(self.greet)?;
            return Some(self.message(Leaf::Up, message, false, What::Hello));
        }
        if let Some((log, ack)) = self.acks.pop_first() {
            let message = Letter::Ack(ack).encode(self.peer.unwrap_or(wire2::MIN))?;
            // The topic keeps one message: how far HQ's own log came.
            let retained = log.direction == Direction::Down;
            return Some(self.message(Leaf::DownAck, message, retained, What::Ack(ack)));
        }
        let nak = self.nak.take()?;
        let message = Letter::Nak(nak).encode(wire2::MIN)?;
        Some(self.message(Leaf::Up, message, false, What::Nak))
    }

    fn greeting(&self) -> Letter {
        let head = self.current.and_then(|log| self.own.get(&log).map(|(head, _)| (log, *head)));
        let older = self.own.iter().rev().filter(|(log, _)| Some(**log) != self.current);
        let older = older.take(OLDER_MAX).map(|(log, (head, _))| (*log, *head)).collect();
        let down = self.down.last_key_value().map(|(_, ack)| *ack);
        let software = self.config.software.clone();
        Letter::Hello(Greeting { hello: Hello { store: self.config.store, head, down, software }, older })
    }

    fn poll_asks(&mut self, now: u64) -> Option<Effect> {
        if self.asking_link.is_none()
            && let Some((log, at)) = self.recall.wants_link(now)
        {
            let token = self.token();
            self.asking_link = Some((token, log, at));
            return Some(Effect::CompareLink { token, log, at });
        }
        if self.peer.is_none_or(|version| version < 2) {
            return None;
        }
        let ack = self.recall.ask(now, self.config.sender.retry_min_ms, |_| true)?;
        let message = Letter::Ack(ack).encode(2)?;
        Some(self.message(Leaf::DownAck, message, false, What::Ack(ack)))
    }

    fn poll_read(&mut self, now: u64) -> Option<Effect> {
        if self.reading.is_some() || now < self.hold_until {
            return None;
        }
        let (range, lane) = match self.live_range(now) {
            Some(range) => (range, Lane::Live),
            None => (self.sender.poll(now)?, Lane::Ordered),
        };
        let token = self.token();
        self.reading = Some((token, range, lane));
        Some(Effect::ReadBlock { token, range })
    }

    /// Events of the current log, written since the link came up, that a backlog would hold back.
    fn live_range(&self, now: u64) -> Option<SendRange> {
        let (log, from, sent) = self.live?;
        let status = self.sender.log(log)?;
        let behind = status.sent < from && self.peer.is_some_and(|version| version >= 2);
        let news = status.head > sent && now >= self.live_at && !self.recall.contains(log);
        let max_bytes = self.config.sender.block_bytes;
        let first = sent.next();
        (behind && news).then_some(SendRange { log, first, max_records: BLOCK_RECORDS_MAX, max_bytes })
    }

    /// When [`Replica::tick`] and [`Replica::poll_effect`] are next worth calling without a new input.
    pub fn next_wake(&self) -> Option<u64> {
        if !self.up {
            return None;
        }
        let sending = self.sender.next_wake().map(|at| at.max(self.hold_until));
        let hello = self.waits().then(|| self.hello_at());
        let words = self.hello_due || self.presence_due || !self.acks.is_empty() || !self.returned.is_empty();
        let words = words.then_some(self.pause_until);
        let live = self.live_range(u64::MAX).map(|_| self.live_at);
        let sending = if self.reading.is_some() { None } else { [sending, live].into_iter().flatten().min() };
        let wakes = [sending, hello, words, self.recall.next_wake()];
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
