//! A store's gateway: drives the real replica between a real ledger and the simulated broker, as `edge-agent` does, one effect
//! per turn, so that a crash can fall between any two.

use crate::book::{Key, keys};
use crate::broker::Message;
use crate::disk::Disk;
use crate::planted::Bug;
use crate::world::{Happening, Node, World, pacing};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_codec::PACKED;
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{
    Effect, Incoming, IngestFailure, Ingested, Leaf, Letter, Origin, Position, Publish, Token, What, wire2,
};
use sync_core::{Ack, Block, Link};
use sync_model::{ClockQuality, Direction, LogId, Seq, Stamp, StoreId, Text, UnixMillis};
use sync_store::{Draft, HeadRow, Identity, Ledger, LedgerConfig, LedgerError, Owner, Reader, Refusal};

/// What a driver was told and has not passed on yet.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Block(Token, Option<Block>),
    Link(Token, Option<Link>),
    Ingested(Token, Result<Ingested, IngestFailure>),
    Head(LogId, Seq),
}

/// A ledger with its reader.
pub(crate) struct Open {
    pub(crate) ledger: Ledger,
    pub(crate) reader: Reader,
}

/// What a fault may have taken, until the next start shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Before {
    pub(crate) keys: BTreeSet<Key>,
    /// Names of the faults that destroy; none: a plain crash, which may take nothing.
    pub(crate) why: Vec<&'static str>,
}

/// One gateway.
pub struct Gateway {
    pub(crate) store: StoreId,
    pub(crate) disk: Disk,
    pub(crate) open: Option<Open>,
    pub(crate) replica: Replica,
    pub(crate) session: Option<u64>,
    pub(crate) turn: Option<u64>,
    pub(crate) told: VecDeque<Told>,
    pub(crate) heads: BTreeMap<LogId, (Seq, Link)>,
    pub(crate) speaks: u8,
    pub(crate) clock: i64,
    pub(crate) suspect: bool,
    pub(crate) machine: [u8; 16],
    pub(crate) crash_in: Option<u64>,
    pub(crate) absent_until: u64,
    pub(crate) before: Option<Before>,
    pub(crate) backups: Vec<(Disk, bool)>,
    /// Switched off for ever.
    pub(crate) retired: bool,
    /// Runs from a copy of another's disk.
    pub(crate) copy: bool,
    pub(crate) serial: u64,
    /// Its disk has no room.
    pub(crate) full: bool,
    /// The generation file as it was flushed at the last start.
    pub(crate) witness: Vec<u8>,
    /// Planted: appended in memory, to be committed later.
    pub(crate) unwritten: Vec<sync_model::Event>,
}

pub(crate) type Hello = (String, BTreeSet<StoreId>, &'static [Leaf], Option<StoreId>);

impl Gateway {
    /// A gateway with an empty disk, off.
    pub(crate) fn new(world: &mut World, store: StoreId) -> Result<Self> {
        let name = world.folder(&format!("store-{store}"));
        Ok(Self {
            store,
            disk: Disk::new(world.root.path(), &name)?,
            open: None,
            replica: Replica::new(ReplicaConfig::new(store)),
            session: None,
            turn: None,
            told: VecDeque::new(),
            heads: BTreeMap::new(),
            speaks: wire2::CURRENT,
            clock: 0,
            suspect: false,
            machine: world.random.bytes16(),
            crash_in: None,
            absent_until: 0,
            before: None,
            backups: Vec::new(),
            retired: false,
            copy: false,
            serial: 0,
            full: false,
            witness: Vec::new(),
            unwritten: Vec::new(),
        })
    }

    /// What it connects with; `Err`: not before this time.
    pub(crate) fn hello(&self, now: u64) -> Option<Result<Hello, u64>> {
        if self.retired || self.session.is_some() {
            return None;
        }
        let open = self.open.as_ref()?;
        if now < self.absent_until {
            return Some(Err(self.absent_until));
        }
        let epoch = open.ledger.log().map_or(0, |log| log.epoch.0);
        let name = format!("steelyard-{}-{epoch}", self.store);
        Some(Ok((name, BTreeSet::from([self.store]), &[Leaf::Down, Leaf::UpAck], Some(self.store))))
    }

    fn config(&self) -> ReplicaConfig {
        ReplicaConfig {
            sender: pacing(),
            software: Text::lossy("storesim"),
            codec: PACKED,
            speaks: self.speaks,
            ..ReplicaConfig::new(self.store)
        }
    }
}

pub(crate) fn position(row: &HeadRow) -> Position {
    Position { log: row.log, head: row.head, link: row.link, acked: row.acked }
}

/// Ends that moved since they were last looked at.
pub(crate) fn moved(known: &mut BTreeMap<LogId, (Seq, Link)>, rows: &[HeadRow]) -> Vec<(LogId, Seq)> {
    let mut news = Vec::new();
    for row in rows {
        if known.insert(row.log, (row.head, row.link)) != Some((row.head, row.link)) {
            news.push((row.log, row.head));
        }
    }
    news
}

/// How a driver reports a failed job.
pub(crate) fn failure(error: LedgerError, raw: Vec<u8>) -> IngestFailure {
    match error {
        LedgerError::Refused(Refusal { code, detail }) if code != "retry" => {
            IngestFailure::Refused { code, detail, raw }
        }
        _ => IngestFailure::Unavailable,
    }
}

impl World {
    /// A stamp by a gateway's clock.
    pub(crate) fn stamp(&mut self, index: usize) -> Stamp {
        let (offset, suspect) =
            self.gateways.get(index).map_or((0, false), |gateway| (gateway.clock, gateway.suspect));
        let at = self.book.stamp(self.wall(offset));
        let clock = if suspect { ClockQuality::Suspect } else { ClockQuality::Synced };
        Stamp { at: UnixMillis(at), clock }
    }

    /// Opens the ledger as it lies there and starts the replica.
    pub(crate) fn start_gateway(&mut self, index: usize) -> Result<()> {
        let Some(gateway) = self.gateways.get(index) else { return Ok(()) };
        if gateway.open.is_some() || gateway.retired {
            return Ok(());
        }
        let (store, path, machine) = (gateway.store, gateway.disk.ledger(), gateway.machine);
        let stamp = self.stamp(index);
        let identity = Identity { machine, incarnation: self.random.bytes16() };
        let config = LedgerConfig {
            path,
            owner: Owner::Store(store),
            max_bytes: None,
            software: Text::lossy("storesim"),
            queue: 64,
        };
        let mut opened = Ledger::open_as(config.clone(), stamp, identity);
        let damaged = self.gateways.get(index).is_some_and(|gateway| {
            gateway.before.as_ref().is_some_and(|before| before.why.contains(&"flipped-page"))
        });
        // Bits that turned over in a fold do not show at the open; a technician's check finds them. What he cannot use he
        // replaces: a fresh disk, filled from HQ.
        if damaged
            && opened.as_ref().map_or(true, |(ledger, _)| !ledger.verify().is_ok_and(|report| report.ok()))
        {
            self.note(|| format!("store {store}: the disk is replaced"));
            drop(opened);
            if let Some(gateway) = self.gateways.get(index) {
                gateway.disk.clear(true)?;
            }
            opened = Ledger::open_as(config, stamp, identity);
        }
        let (ledger, report) = opened.with_context(|| format!("open the ledger of store {store}"))?;
        let reader = ledger.reader()?;
        let rows = reader.heads()?;
        let (log, now) = (ledger.log(), self.now);
        self.note(|| format!("store {store} ({index}) starts, log {log:?}, salvaged {:?}", report.salvaged));
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        gateway.replica = Replica::new(gateway.config());
        let positions: Vec<Position> = rows.iter().map(position).collect();
        gateway.replica.load(now, &positions, log);
        gateway.heads = rows.iter().map(|row| (row.log, (row.head, row.link))).collect();
        gateway.told.clear();
        gateway.witness = std::fs::read(gateway.disk.beside("ledger.db.generation")).unwrap_or_default();
        gateway.full = false;
        gateway.open = Some(Open { ledger, reader });
        let before = gateway.before.take();
        if let Some(before) = before {
            self.account(Some(index), store, &before)?;
        }
        let pause = self.random.range(200, 2_000);
        self.after(pause, Happening::Connect(Node::Gateway(index)));
        Ok(())
    }

    /// What is not there any more after a start: destroyed if a fault can have taken the last copy, else a violation.
    pub(crate) fn account(&mut self, index: Option<usize>, store: StoreId, before: &Before) -> Result<()> {
        let all = index.is_none();
        let here = match index {
            Some(index) => self.gateways.get(index).and_then(|gateway| gateway.open.as_ref()),
            None => self.hq.open.as_ref(),
        };
        let Some(here) = here else { return Ok(()) };
        let only = (!all).then_some(store);
        let after = keys(&here.reader, only)?;
        let mut lost: BTreeSet<Key> = before.keys.difference(&after).copied().collect();
        if lost.is_empty() {
            return Ok(());
        }
        if before.why.is_empty() {
            let names = self.names(&lost);
            self.violate("durable", format!("a plain crash took committed facts: {names}"));
            return Ok(());
        }
        for (other, gateway) in self.gateways.iter().enumerate() {
            if Some(other) == index {
                continue;
            }
            if let Some(open) = &gateway.open {
                let there = keys(&open.reader, Some(gateway.store))?;
                lost.retain(|key| !there.contains(key));
            } else if let Some(before) = &gateway.before {
                // Off, with its disk as it was.
                if before.why.is_empty() {
                    lost.retain(|key| !before.keys.contains(key));
                }
            }
        }
        if index.is_some() {
            if let Some(open) = &self.hq.open {
                let there = keys(&open.reader, only)?;
                lost.retain(|key| !there.contains(key));
            } else if let Some(before) = self.hq.before.as_ref().filter(|before| before.why.is_empty()) {
                lost.retain(|key| !before.keys.contains(key));
            }
        }
        let why = before.why.join(" and ");
        let names = self.names(&lost);
        self.note(|| format!("{why} destroyed {names}"));
        for key in lost {
            self.book.destroyed(key, &why);
        }
        Ok(())
    }

    pub(crate) fn names(&self, keys: &BTreeSet<Key>) -> String {
        let name =
            |key: &Key| self.book.facts.get(key).map_or("(by itself)".to_owned(), |known| known.what.clone());
        let mut names: Vec<String> = keys.iter().take(8).map(name).collect();
        if keys.len() > names.len() {
            names.push(format!("{} more", keys.len() - names.len()));
        }
        names.join(", ")
    }

    /// Remembers what is there, before something happens to it.
    pub(crate) fn remember(&mut self, index: usize, why: Option<&'static str>) -> Result<()> {
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        if gateway.before.is_none() {
            let Some(open) = &gateway.open else { return Ok(()) };
            let keys = keys(&open.reader, Some(gateway.store))?;
            gateway.before = Some(Before { keys, why: Vec::new() });
        }
        if let (Some(before), Some(why)) = (&mut gateway.before, why) {
            before.why.push(why);
        }
        Ok(())
    }

    /// The process dies as it is; what is on disk stays.
    pub(crate) fn crash_gateway(&mut self, index: usize) -> Result<()> {
        self.remember(index, None)?;
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        let Some(open) = gateway.open.take() else { return Ok(()) };
        let store = gateway.store;
        gateway.crash_in = None;
        gateway.told.clear();
        gateway.turn = None;
        gateway.unwritten.clear();
        let old = gateway.disk.clone();
        let name = self.folder(&format!("store-{store}"));
        let disk = Disk::new(self.root.path(), &name)?;
        old.copy_to(&disk, true)?;
        drop(open);
        old.remove()?;
        if let Some(gateway) = self.gateways.get_mut(index) {
            gateway.disk = disk;
        }
        self.note(|| format!("store {store} ({index}) dies"));
        let noticed = if self.random.chance(500) { 10 } else { 45_000 };
        self.cut_quietly(Node::Gateway(index), noticed);
        Ok(())
    }

    /// The connection of a process that is no more.
    pub(crate) fn cut_quietly(&mut self, node: Node, broker_ms: u64) {
        let Some(Some(id)) = self.session_of(node).map(Option::take) else { return };
        if let Some(session) = self.broker.session(id) {
            session.dead = true;
        }
        self.after(broker_ms, Happening::Expired(id));
    }

    /// A clean stop.
    pub(crate) fn stop_gateway(&mut self, index: usize) -> Result<()> {
        self.remember(index, None)?;
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        let Some(open) = gateway.open.take() else { return Ok(()) };
        gateway.crash_in = None;
        gateway.told.clear();
        gateway.turn = None;
        gateway.unwritten.clear();
        drop(open);
        self.cut_quietly(Node::Gateway(index), 10);
        Ok(())
    }

    /// One turn of the driver: one thing that it was told, or one effect.
    pub(crate) fn gateway_turn(&mut self, index: usize) -> Result<()> {
        let (node, now) = (Node::Gateway(index), self.now);
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        if gateway.open.is_none() {
            return Ok(());
        }
        if let Some(left) = &mut gateway.crash_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return self.crash_now(node);
            }
        }
        if let Some(told) = gateway.told.pop_front() {
            match told {
                Told::Block(token, block) => gateway.replica.handle_block(now, token, block),
                Told::Link(token, link) => gateway.replica.handle_link(now, token, link),
                Told::Ingested(token, result) => gateway.replica.handle_ingested(now, token, result),
                Told::Head(log, head) => gateway.replica.handle_head(now, log, head),
            }
            self.turn_at(node, now);
            return Ok(());
        }
        if !gateway.unwritten.is_empty() {
            return self.write_late(index);
        }
        gateway.replica.tick(now);
        if let Some(effect) = gateway.replica.poll_effect(now) {
            self.store_effect(index, effect)?;
            self.idle.remove(&node);
            let pause = self.random.below(3);
            self.turn_at(node, now + pause);
        } else if let Some(wake) = gateway.replica.next_wake() {
            self.idle_turn(node, wake);
            self.turn_at(node, wake.max(now + 1));
        }
        Ok(())
    }

    fn store_effect(&mut self, index: usize, effect: Effect) -> Result<()> {
        match effect {
            Effect::Publish(publish) => self.store_publish(index, publish)?,
            Effect::ReadBlock { token, range } => {
                let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
                let Some(open) = &gateway.open else { return Ok(()) };
                let block = open.reader.block(range.log, range.first, range.max_records, range.max_bytes);
                gateway.told.push_back(Told::Block(token, block.ok().flatten()));
            }
            Effect::CompareLink { token, log, at } => {
                let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
                let Some(open) = &gateway.open else { return Ok(()) };
                let link = open.reader.link(log, at).ok().flatten();
                gateway.told.push_back(Told::Link(token, link));
            }
            Effect::Ingest { token, block, .. } => self.store_ingest(index, token, block)?,
            Effect::RecordAck(ack) => drop(self.store_job(index, move |draft| draft.acked(&ack))?),
            Effect::Quarantine { origin, code, detail, raw } => {
                let source = match origin {
                    Origin::Leaf(store, leaf) => format!("{store}/{}", leaf.letter()),
                    Origin::Stray(name) => name,
                };
                let received = self.stamp(index).at;
                drop(self.store_job(index, move |draft| {
                    draft.quarantine(&source, code, &detail, &raw, received)
                })?);
            }
            Effect::OpenEpoch { log, reason, above } => {
                self.note(|| format!("gateway {index} opens an epoch after {log} ({reason:?})"));
                if !self.bug(Bug::EpochReused) {
                    let stamp = self.stamp(index);
                    drop(self.store_job(index, move |draft| {
                        draft.open_epoch_above(reason, above, stamp).map(drop)
                    })?);
                }
            }
            Effect::Alarm(alarm) => self.note(|| format!("gateway {index}: {alarm:?}")),
            Effect::Seen { .. } => {}
            Effect::Preview { .. } | Effect::Verdict { .. } | Effect::OrderEpoch { .. } => {
                self.violate("driver", format!("an effect of HQ's side at store: {effect:?}"));
            }
        }
        Ok(())
    }

    fn store_publish(&mut self, index: usize, publish: Publish) -> Result<()> {
        if let What::Ack(ack) = publish.what
            && ack.log.direction == Direction::Down
        {
            let open = self.gateways.get(index).and_then(|gateway| gateway.open.as_ref());
            let link = open.map(|open| open.reader.link(ack.log, ack.upto)).transpose()?.flatten();
            self.check_ack("a store", &ack, link);
        }
        let Publish { store, leaf, message, retained, .. } = publish.clone();
        let message = Message { store, leaf, bytes: message, retained };
        if let Err(why) = self.send(Node::Gateway(index), message)
            && let Some(gateway) = self.gateways.get_mut(index)
        {
            gateway.replica.handle_unsent(self.now, publish, why);
        }
        Ok(())
    }

    /// An ack that leaves a process must name what its ledger has.
    pub(crate) fn check_ack(&mut self, who: &str, ack: &Ack, link: Option<Link>) {
        let expected = if ack.upto == Seq::ZERO { Some(Link::genesis(ack.log)) } else { link };
        if expected != Some(ack.link) {
            let detail =
                format!("{who} acknowledges {} up to {}, which it has not committed", ack.log, ack.upto);
            self.violate("ack-names-committed", detail);
        }
    }

    fn store_ingest(&mut self, index: usize, token: Token, block: Incoming) -> Result<()> {
        if self.bug(Bug::RecallIgnored) && block.log.direction == Direction::Up {
            return Ok(());
        }
        let stamp = self.stamp(index);
        let raw = Vec::new();
        let result = self.store_job(index, move |draft| draft.take_in(&block, stamp))?;
        let result = match result {
            Ok(taken) => {
                if let Some((old, new, count)) = taken.moved {
                    self.note(|| format!("gateway {index}: {count} facts moved from {old} to {new}"));
                }
                Ok(taken.ingested)
            }
            Err(error) => Err(failure(error, raw)),
        };
        if let Some(gateway) = self.gateways.get_mut(index) {
            gateway.told.push_back(Told::Ingested(token, result));
        }
        Ok(())
    }

    /// Runs a job of a store's ledger and notes what moved. The outer result is the simulator's own trouble.
    pub(crate) fn store_job<T: Send + 'static>(
        &mut self,
        index: usize,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Result<T, LedgerError>> {
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(Err(LedgerError::Closed)) };
        let Some(open) = &gateway.open else { return Ok(Err(LedgerError::Closed)) };
        let result = open.ledger.call(job);
        let rows = open.reader.heads()?;
        for (log, head) in moved(&mut gateway.heads, &rows) {
            gateway.told.push_back(Told::Head(log, head));
        }
        self.turn_at(Node::Gateway(index), self.now);
        Ok(result)
    }

    /// One message of the broker.
    pub(crate) fn hear_at_store(&mut self, index: usize, message: &Message) {
        let now = self.now;
        if self.bug(Bug::EpochReused) && self.unwelcome(index, message) {
            return;
        }
        if let Some(gateway) = self.gateways.get_mut(index).filter(|gateway| gateway.open.is_some()) {
            gateway.replica.handle_message(now, message.leaf, &message.bytes);
        }
    }

    /// Planted: HQ's ack says that the own log is not what it was.
    fn unwelcome(&self, index: usize, message: &Message) -> bool {
        let Ok((Letter::Ack(ack), _)) = Letter::decode(&PACKED, &message.bytes) else { return false };
        let open = self.gateways.get(index).and_then(|gateway| gateway.open.as_ref());
        let link = open.and_then(|open| open.reader.link(ack.log, ack.upto).ok().flatten());
        ack.log.direction == Direction::Up && ack.upto > Seq::ZERO && link != Some(ack.link)
    }
}
