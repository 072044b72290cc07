//! HQ: workers, each with the real hub of its buckets, over one real ledger, as `sync-hq` drives them; one effect per turn.

use crate::book::keys;
use crate::broker::Message;
use crate::disk::Disk;
use crate::gateway::{Before, Hello, Open, Told, failure, moved, position};
use crate::planted::Bug;
use crate::world::{Happening, Node, World, pacing};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use sync_codec::PACKED;
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::{
    Effect, Incoming, IngestFailure, IngestOutcome, Ingested, Leaf, Origin, Prev, Publish, Token, What, wire2,
};
use sync_core::{Ack, Block, Link};
use sync_model::{
    ClockQuality, Command, Direction, Event, Fact, LogId, Seq, Stamp, StoreId, Text, UnixMillis, Verdict,
};
use sync_store::{Draft, Identity, Ledger, LedgerConfig, LedgerError, Owner, Refusal};

/// Workers of HQ.
pub(crate) const WORKERS: usize = 2;

/// One worker.
pub struct Worker {
    pub(crate) hub: Hub,
    pub(crate) session: Option<u64>,
    pub(crate) turn: Option<u64>,
    pub(crate) told: VecDeque<Told>,
    pub(crate) running: bool,
    pub(crate) stores: BTreeSet<StoreId>,
    pub(crate) crash_in: Option<u64>,
    pub(crate) absent_until: u64,
    /// Where this worker believes the logs to stand (planted bugs look at it).
    believes: BTreeMap<LogId, Seq>,
    /// Counts starts: a worker that comes back late is another client.
    pub(crate) starts: u64,
}

/// HQ.
pub struct Headquarters {
    pub(crate) disk: Disk,
    pub(crate) open: Option<Open>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) heads: BTreeMap<LogId, (Seq, Link)>,
    pub(crate) speaks: u8,
    pub(crate) clock: i64,
    pub(crate) before: Option<Before>,
    pub(crate) backups: Vec<Disk>,
    pub(crate) version: u64,
    /// The ledger may have gone back in time, and not every store was heard since.
    pub(crate) put_back: bool,
}

impl Worker {
    fn new() -> Self {
        Self {
            hub: Hub::new(HubConfig::default()),
            session: None,
            turn: None,
            told: VecDeque::new(),
            running: false,
            stores: BTreeSet::new(),
            crash_in: None,
            absent_until: 0,
            believes: BTreeMap::new(),
            starts: 0,
        }
    }
}

impl Headquarters {
    /// HQ with an empty disk, off.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        Ok(Self {
            disk: Disk::new(root, "hq")?,
            open: None,
            workers: (0..WORKERS).map(|_| Worker::new()).collect(),
            heads: BTreeMap::new(),
            speaks: wire2::CURRENT,
            clock: 0,
            before: None,
            backups: Vec::new(),
            version: 0,
            put_back: false,
        })
    }

    /// What a worker connects with.
    pub(crate) fn hello(&self, index: usize, now: u64) -> Option<Result<Hello, u64>> {
        let worker = self.workers.get(index).filter(|worker| worker.running && worker.session.is_none())?;
        if now < worker.absent_until {
            return Some(Err(worker.absent_until));
        }
        let name = format!("hq-{index}-{}", worker.starts);
        Some(Ok((name, worker.stores.clone(), &[Leaf::Up, Leaf::DownAck, Leaf::Presence], None)))
    }

    /// The worker that owns a store's bucket when nothing is wrong.
    pub(crate) fn owner(store: StoreId) -> usize {
        usize::try_from(store.0).unwrap_or(0) % WORKERS
    }
}

impl World {
    /// A stamp by HQ's clock.
    pub(crate) fn hq_stamp(&mut self) -> Stamp {
        let at = self.book.stamp(self.wall(self.hq.clock));
        Stamp { at: UnixMillis(at), clock: ClockQuality::Synced }
    }

    /// Opens HQ's ledger as it lies there and starts every worker.
    pub(crate) fn start_hq(&mut self) -> Result<()> {
        if self.hq.open.is_some() {
            return Ok(());
        }
        let config = LedgerConfig {
            path: self.hq.disk.ledger(),
            owner: Owner::Hq,
            max_bytes: None,
            software: Text::lossy("storesim"),
            queue: 64,
        };
        let identity = Identity { machine: [0x51; 16], incarnation: self.random.bytes16() };
        let stamp = self.hq_stamp();
        let damaged = self.hq.before.as_ref().is_some_and(|before| before.why.contains(&"flipped-page"));
        let mut opened = Ledger::open_as(config.clone(), stamp, identity);
        if damaged
            && opened.as_ref().map_or(true, |(ledger, _)| !ledger.verify().is_ok_and(|report| report.ok()))
        {
            self.note(|| "HQ's ledger is replaced by its newest backup, or by nothing".to_owned());
            drop(opened);
            self.hq.disk.clear(true)?;
            if let Some(backup) = self.hq.backups.last() {
                backup.copy_to(&self.hq.disk, true)?;
            }
            opened = Ledger::open_as(config, stamp, identity);
        }
        let (ledger, report) = opened.context("open HQ's ledger")?;
        let reader = ledger.reader()?;
        self.note(|| format!("HQ starts, salvaged {:?}", report.salvaged));
        self.hq.heads = reader.heads()?.iter().map(|row| (row.log, (row.head, row.link))).collect();
        self.hq.open = Some(Open { ledger, reader });
        if let Some(before) = self.hq.before.take() {
            self.account(None, StoreId(0), &before)?;
        }
        let stores = self.script.options.stores;
        for index in 0..WORKERS {
            if let Some(worker) = self.hq.workers.get_mut(index) {
                worker.stores =
                    (1..=stores).map(StoreId).filter(|store| Headquarters::owner(*store) == index).collect();
            }
            self.start_worker(index)?;
        }
        Ok(())
    }

    /// Starts a worker on the open ledger.
    pub(crate) fn start_worker(&mut self, index: usize) -> Result<()> {
        let Some(open) = &self.hq.open else { return Ok(()) };
        let rows = open.reader.heads()?;
        let now = self.now;
        let speaks = self.hq.speaks;
        let Some(worker) = self.hq.workers.get_mut(index).filter(|worker| !worker.running) else {
            return Ok(());
        };
        worker.hub = Hub::new(HubConfig { sender: pacing(), codec: PACKED, speaks, ..HubConfig::default() });
        for row in rows.iter().filter(|row| worker.stores.contains(&row.log.store)) {
            worker.hub.load(now, position(row));
        }
        worker.believes = rows.iter().map(|row| (row.log, row.head)).collect();
        worker.told.clear();
        worker.running = true;
        worker.starts += 1;
        let pause = self.random.range(100, 1_500);
        self.after(pause, Happening::Connect(Node::Worker(index)));
        Ok(())
    }

    /// A worker dies.
    pub(crate) fn stop_worker(&mut self, index: usize) {
        if let Some(worker) = self.hq.workers.get_mut(index) {
            worker.running = false;
            worker.crash_in = None;
            worker.told.clear();
            worker.turn = None;
        }
        self.cut_quietly(Node::Worker(index), 10);
    }

    /// Remembers what HQ has, before something happens to it.
    pub(crate) fn remember_hq(&mut self, why: Option<&'static str>) -> Result<()> {
        self.hq.put_back |= why.is_some();
        if self.hq.before.is_none() {
            let Some(open) = &self.hq.open else { return Ok(()) };
            self.hq.before = Some(Before { keys: keys(&open.reader, None)?, why: Vec::new() });
        }
        if let (Some(before), Some(why)) = (&mut self.hq.before, why) {
            before.why.push(why);
        }
        Ok(())
    }

    /// HQ's ledger and all workers die as they are.
    pub(crate) fn crash_hq(&mut self) -> Result<()> {
        self.remember_hq(None)?;
        let Some(open) = self.hq.open.take() else { return Ok(()) };
        self.note(|| "HQ dies".to_owned());
        let old = self.hq.disk.clone();
        let name = self.folder("hq");
        self.hq.disk = Disk::new(self.root.path(), &name)?;
        old.copy_to(&self.hq.disk, true)?;
        drop(open);
        old.remove()?;
        (0..WORKERS).for_each(|index| self.stop_worker(index));
        Ok(())
    }

    /// HQ stops cleanly.
    pub(crate) fn stop_hq(&mut self) -> Result<()> {
        self.remember_hq(None)?;
        drop(self.hq.open.take());
        (0..WORKERS).for_each(|index| self.stop_worker(index));
        Ok(())
    }

    /// One turn of a worker's driver.
    pub(crate) fn worker_turn(&mut self, index: usize) -> Result<()> {
        let (node, now) = (Node::Worker(index), self.now);
        let Some(worker) = self.hq.workers.get_mut(index).filter(|worker| worker.running) else {
            return Ok(());
        };
        if let Some(left) = &mut worker.crash_in {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return self.crash_now(node);
            }
        }
        if let Some(told) = worker.told.pop_front() {
            match told {
                Told::Block(token, block) => worker.hub.handle_block(now, token, block),
                Told::Link(token, link) => worker.hub.handle_link(now, token, link),
                Told::Ingested(token, result) => worker.hub.handle_ingested(now, token, result),
                Told::Head(log, head) => worker.hub.handle_head(now, log, head),
            }
            self.turn_at(node, now);
            return Ok(());
        }
        worker.hub.tick(now);
        if let Some(effect) = worker.hub.poll_effect(now) {
            self.hq_effect(index, effect)?;
            self.idle.remove(&node);
            let pause = self.random.below(3);
            self.turn_at(node, now + pause);
        } else if let Some(wake) = worker.hub.next_wake() {
            self.idle_turn(node, wake);
            self.turn_at(node, wake.max(now + 1));
        }
        Ok(())
    }

    fn tell(&mut self, index: usize, told: Told) {
        if let Some(worker) = self.hq.workers.get_mut(index) {
            worker.told.push_back(told);
        }
    }

    fn hq_effect(&mut self, index: usize, effect: Effect) -> Result<()> {
        match effect {
            Effect::Publish(publish) => self.hq_publish(index, publish)?,
            Effect::ReadBlock { token, range } => {
                let Some(open) = &self.hq.open else { return Ok(()) };
                let block = open.reader.block(range.log, range.first, range.max_records, range.max_bytes);
                let block = block.ok().flatten();
                self.tell(index, Told::Block(token, block));
            }
            Effect::CompareLink { token, log, at } => {
                let Some(open) = &self.hq.open else { return Ok(()) };
                let link = open.reader.link(log, at).ok().flatten();
                self.tell(index, Told::Link(token, link));
            }
            Effect::Ingest { token, store, block } => self.hq_ingest(index, token, store, block)?,
            Effect::Preview { .. } | Effect::Seen { .. } => {}
            Effect::RecordAck(ack) => drop(self.hq_job(move |draft| draft.acked(&ack))?),
            Effect::Quarantine { origin, code, detail, raw } => {
                let source = match origin {
                    Origin::Leaf(store, leaf) => format!("{store}/{}", leaf.letter()),
                    Origin::Stray(name) => name,
                };
                let received = self.hq_stamp().at;
                drop(self.hq_job(move |draft| draft.quarantine(&source, code, &detail, &raw, received))?);
            }
            Effect::Verdict { store, code, detail, of } => {
                let verdict = Verdict { of, code: Text::lossy(code), detail: Text::lossy(&detail) };
                self.say(store, format!("verdict {code} to store {store}"), verdict.into())?;
            }
            Effect::OrderEpoch { store, log } => {
                self.note(|| format!("HQ orders store {store} to leave {log}"));
                self.say(store, format!("order to leave {log}"), Command::OpenEpoch.into())?;
            }
            Effect::OpenEpoch { log, .. } => drop(self.hq_job(move |draft| draft.close_down(log))?),
            Effect::Alarm(alarm) => self.note(|| format!("HQ: {alarm:?}")),
        }
        Ok(())
    }

    /// HQ writes a fact for a store. True: it is booked.
    pub(crate) fn say(&mut self, store: StoreId, what: String, fact: Fact) -> Result<bool> {
        let event = Event::new(self.hq_stamp(), fact);
        let copy = event.clone();
        let said = self.hq_job(move |draft| draft.append_down(store, &copy))?;
        if let Ok(id) = &said {
            self.note(|| format!("HQ writes {id}: {what}"));
            self.book.answered(id.log, what, &event.to_record()?);
            self.events += 1;
        }
        Ok(said.is_ok())
    }

    fn hq_publish(&mut self, index: usize, publish: Publish) -> Result<()> {
        if let What::Ack(ack) = publish.what
            && ack.log.direction == Direction::Up
            && publish.retained
        {
            let link =
                self.hq.open.as_ref().map(|open| open.reader.link(ack.log, ack.upto)).transpose()?.flatten();
            self.check_ack("HQ", &ack, link);
        }
        let Publish { store, leaf, message, retained, .. } = publish.clone();
        let message = Message { store, leaf, bytes: message, retained };
        if let Err(why) = self.send(Node::Worker(index), message)
            && let Some(worker) = self.hq.workers.get_mut(index)
        {
            worker.hub.handle_unsent(self.now, publish, why);
        }
        Ok(())
    }

    /// Runs a job of HQ's ledger and tells every worker what moved.
    pub(crate) fn hq_job<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Result<T, LedgerError>> {
        let Some(open) = &self.hq.open else { return Ok(Err(LedgerError::Closed)) };
        let result = open.ledger.call(job);
        let rows = open.reader.heads()?;
        let news = moved(&mut self.hq.heads, &rows);
        for index in 0..WORKERS {
            let Some(worker) = self.hq.workers.get_mut(index) else { continue };
            let mine = news.iter().filter(|(log, _)| worker.running && worker.stores.contains(&log.store));
            worker.told.extend(mine.map(|(log, head)| Told::Head(*log, *head)));
            self.turn_at(Node::Worker(index), self.now);
        }
        Ok(result)
    }

    /// A block of a store, or history of HQ's own.
    fn hq_ingest(&mut self, index: usize, token: Token, store: StoreId, block: Incoming) -> Result<()> {
        if self.bug(Bug::AckBeforeCommit)
            && block.log.direction == Direction::Up
            && self.ack_early(index, token, &block)
        {
            let later = self.random.range(1, 400);
            self.after(later, Happening::Late(index, token, store, block));
            return Ok(());
        }
        let result = self.hq_book(index, &block)?;
        self.tell(index, Told::Ingested(token, result));
        Ok(())
    }

    /// Books a block and reports as the engine does.
    fn hq_book(&mut self, index: usize, block: &Incoming) -> Result<Result<Ingested, IngestFailure>> {
        let poison = |record: &Vec<u8>| Event::from_record(record).is_err();
        if self.bug(Bug::PoisonBlocks) && block.records.iter().any(poison) {
            return Ok(Err(IngestFailure::Unavailable));
        }
        let stamp = self.hq_stamp();
        let job = block.clone();
        let result = self.hq_job(move |draft| draft.take_in(&job, stamp).map(|taken| taken.ingested))?;
        let result = match result {
            Ok(ingested) => Ok(self.plant(index, block, ingested)?),
            Err(LedgerError::Full { .. }) if self.bug(Bug::AckWhenFull) => match self.pretended(block) {
                Some(ingested) => Ok(ingested),
                None => Err(IngestFailure::Unavailable),
            },
            Err(error) => {
                self.note(|| format!("HQ does not book {} {}: {error}", block.log, block.first));
                Err(failure(error, evidence(block)))
            }
        };
        if let (Ok(ingested), Some(worker)) = (&result, self.hq.workers.get_mut(index)) {
            worker.believes.insert(ingested.ack.log, ingested.ack.upto);
        }
        Ok(result)
    }

    /// What planted bugs make of an outcome.
    fn plant(&mut self, index: usize, block: &Incoming, ingested: Ingested) -> Result<Ingested> {
        let believed = self.hq.workers.get(index).and_then(|worker| worker.believes.get(&block.log)).copied();
        let again = match (self.script.options.bug, ingested.outcome) {
            (Some(Bug::GapIgnored), IngestOutcome::Gap { .. }) => true,
            (Some(Bug::DuplicateFolded), IngestOutcome::Duplicate) => true,
            (
                Some(Bug::ChainUnchecked),
                IngestOutcome::ChainBreak { .. } | IngestOutcome::Equivocation { .. },
            ) => true,
            (Some(Bug::ApplyWithoutFence), IngestOutcome::Duplicate) => {
                believed.unwrap_or(Seq::ZERO) < block.first
            }
            (Some(Bug::WatermarkBeyondCommit), IngestOutcome::Applied { .. }) => {
                let ack = Ack { upto: ingested.ack.upto.next(), ..ingested.ack };
                return Ok(Ingested { ack, ..ingested });
            }
            _ => false,
        };
        if !again || block.log.direction == Direction::Down {
            return Ok(ingested);
        }
        let Some(open) = &self.hq.open else { return Ok(ingested) };
        let head = open
            .reader
            .head(block.log)?
            .map_or((Seq::ZERO, Link::genesis(block.log)), |row| (row.head, row.link));
        let forced =
            Block { log: block.log, first: head.0.next(), prev: head.1, records: block.records.clone() };
        let received = self.hq_stamp().at;
        let done = self.hq_job(move |draft| draft.ingest(&forced, received))?;
        Ok(done.unwrap_or(ingested))
    }

    /// What HQ would say if it had booked the block.
    fn pretended(&self, block: &Incoming) -> Option<Ingested> {
        let open = self.hq.open.as_ref()?;
        let before = Seq(block.first.0.checked_sub(1)?);
        let link = match before {
            Seq::ZERO => Link::genesis(block.log),
            before => open.reader.link(block.log, before).ok().flatten()?,
        };
        let head = open.reader.head(block.log).ok()?.map_or(Seq::ZERO, |row| row.head);
        let whole = block.clone().resolve(link).filter(|whole| before == head && whole.last() > head)?;
        let ack = Ack { log: block.log, upto: whole.last(), link: whole.link(), gap: None };
        Some(Ingested {
            outcome: IngestOutcome::Applied { first: block.first, last: whole.last(), odd: 0 },
            ack,
        })
    }

    fn ack_early(&mut self, index: usize, token: Token, block: &Incoming) -> bool {
        let Some(ingested) = self.pretended(block) else { return false };
        self.tell(index, Told::Ingested(token, Ok(ingested)));
        true
    }

    /// Planted: the transaction of a block that was acknowledged already.
    pub(crate) fn late_job(&mut self, index: usize, _: Token, _: StoreId, block: &Incoming) -> Result<()> {
        if self.hq.workers.get(index).is_some_and(|worker| worker.running) {
            drop(self.hq_book(index, block)?);
        }
        Ok(())
    }

    /// One message of the broker.
    pub(crate) fn hear_at_hq(&mut self, index: usize, message: &Message) {
        let now = self.now;
        if let Some(worker) = self.hq.workers.get_mut(index).filter(|worker| worker.running) {
            worker.hub.handle_message(now, message.store, message.leaf, &message.bytes, message.retained);
        }
    }
}

/// The bytes of a refused block, for the quarantine.
fn evidence(block: &Incoming) -> Vec<u8> {
    let prev = match block.prev {
        Prev::Whole(link) => link,
        Prev::Short(start) => {
            let mut whole = [0; 32];
            whole.iter_mut().zip(start).for_each(|(byte, found)| *byte = found);
            Link(whole)
        }
    };
    let records = block.records.clone();
    sync_core::Message::Block(Block { log: block.log, first: block.first, prev, records }).encode()
}
