//! A store and HQ over a transport that tests can cut, repeat and reorder, with ledgers in memory that can go back in time.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]
#![allow(clippy::print_stderr, reason = "the trace of a schedule that failed")]

use std::collections::{BTreeMap, BTreeSet};
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{
    Alarm, BlockCodec, Effect, Incoming, IngestOutcome, Ingested, Leaf, Letter, Position, Prev, Publish,
    Unsent, What, wire2,
};
use sync_core::{Ack, Block, Link, SenderConfig};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

pub(crate) const STORE: StoreId = StoreId(7);

pub(crate) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) closed: bool,
    pub(crate) acked: u64,
}

/// A ledger in memory: the contract of `take_in`, without SQL.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) own: Direction,
    pub(crate) logs: BTreeMap<LogId, Log>,
    /// Branches that got new names.
    pub(crate) moves: usize,
}

impl Book {
    pub(crate) fn new(own: Direction) -> Self {
        Self { own, logs: BTreeMap::new(), moves: 0 }
    }

    pub(crate) fn current(&self) -> Option<LogId> {
        let mut logs = self.logs.iter().rev();
        logs.find(|(log, state)| log.direction == self.own && !state.closed).map(|(log, _)| *log)
    }

    pub(crate) fn open(&mut self, above: u32, salt: u32) -> LogId {
        let newest = self.logs.keys().filter(|log| log.direction == self.own).map(|log| log.epoch.0).max();
        let epoch = Epoch(newest.unwrap_or(0).max(above) + 1 + salt);
        let log = LogId { store: STORE, direction: self.own, epoch };
        for (log, state) in &mut self.logs {
            state.closed |= log.direction == self.own;
        }
        let opened = format!("epoch {epoch} {salt}").into_bytes();
        self.logs.insert(log, Log { records: vec![opened], closed: false, acked: 0 });
        log
    }

    pub(crate) fn append(&mut self, record: Vec<u8>, salt: u32) -> (LogId, Seq) {
        let log = self.current().unwrap_or_else(|| self.open(0, salt));
        self.logs.get_mut(&log).unwrap().records.push(record);
        (log, self.head(log))
    }

    pub(crate) fn head(&self, log: LogId) -> Seq {
        Seq(self.logs.get(&log).map_or(0, |state| state.records.len() as u64))
    }

    pub(crate) fn link(&self, log: LogId, at: Seq) -> Option<Link> {
        let records = self.logs.get(&log).map_or(&[][..], |state| &state.records);
        let records = records.get(..count(at.0))?;
        let mut link = Link::genesis(log);
        for (seq, record) in (1..).zip(records) {
            link = link.next(log, Seq(seq), record);
        }
        Some(link)
    }

    pub(crate) fn block(&self, log: LogId, first: Seq, max: usize) -> Option<Block> {
        let records = self.logs.get(&log)?.records.get(count(first.0 - 1)..)?;
        let records: Vec<Vec<u8>> = records.iter().take(max.min(5)).cloned().collect();
        (!records.is_empty()).then(|| Block {
            log,
            first,
            prev: self.link(log, Seq(first.0 - 1)).unwrap(),
            records,
        })
    }

    pub(crate) fn positions(&self) -> Vec<Position> {
        let position = |(log, state): (&LogId, &Log)| Position {
            log: *log,
            head: self.head(*log),
            link: self.link(*log, self.head(*log)).unwrap(),
            acked: Seq(state.acked),
        };
        self.logs.iter().map(position).collect()
    }

    pub(crate) fn take_in(&mut self, block: &Incoming, salt: u32) -> Ingested {
        let log = block.log;
        let own = log.direction == self.own;
        let head = self.head(log);
        let before = Seq(block.first.0 - 1);
        let answer = |book: &Self, outcome: IngestOutcome| {
            let upto = book.head(log);
            let gap = if let IngestOutcome::Gap { missing } = outcome { Some(missing) } else { None };
            Ingested { outcome, ack: Ack { log, upto, link: book.link(log, upto).unwrap(), gap } }
        };
        if before > head {
            return answer(self, IngestOutcome::Gap { missing: (head.next(), before) });
        }
        if !block.prev.fits(&self.link(log, before).unwrap()) {
            return answer(self, IngestOutcome::ChainBreak { at: block.first });
        }
        let known = self.logs.get(&log).map_or(&[][..], |state| &state.records[count(before.0)..]);
        let same = known.iter().zip(&block.records).take_while(|(a, b)| a == b).count();
        let overlap = known.len().min(block.records.len());
        if same < overlap {
            let at = Seq(block.first.0 + same as u64);
            if !own {
                return answer(self, IngestOutcome::Equivocation { at });
            }
            let state = self.logs.get_mut(&log).unwrap();
            let branch = state.records.split_off(count(at.0 - 1));
            self.moves += 1;
            let was_open = !std::mem::replace(&mut state.closed, true);
            state.acked = state.acked.min(at.0 - 1);
            let target = if was_open { None } else { self.current() };
            let target = target.unwrap_or_else(|| self.open(0, salt));
            self.logs.get_mut(&target).unwrap().records.extend(branch);
        } else if block.last() <= head {
            return answer(self, IngestOutcome::Duplicate);
        }
        if own {
            let was_open = self.logs.get(&log).is_some_and(|state| !state.closed);
            self.logs.entry(log).or_default().closed = true;
            if was_open && self.own == Direction::Up {
                self.open(0, salt);
            }
        }
        let first = self.head(log).next();
        let skip = count(first.0 - block.first.0);
        self.logs.entry(log).or_default().records.extend(block.records.iter().skip(skip).cloned());
        answer(self, IngestOutcome::Applied { first, last: self.head(log), odd: 0 })
    }

    pub(crate) fn all(&self, direction: Direction) -> BTreeMap<LogId, Vec<Vec<u8>>> {
        let of = self.logs.iter().filter(|(log, _)| log.direction == direction);
        of.map(|(log, state)| (*log, state.records.clone())).collect()
    }
}

/// A body that carries only the start of the previous link, as version 2 does.
pub(crate) fn encode_short(version: u8, block: &Block, _seal: Option<&[u8; 64]>) -> Option<Vec<u8>> {
    (version == 2).then(|| {
        let mut bytes = wire2::encode_plain(1, block, None).unwrap();
        bytes.push(2);
        bytes
    })
}

pub(crate) fn decode_short(version: u8, body: &[u8]) -> Result<Incoming, String> {
    let (Some((2, body)), 2) = (body.split_last(), version) else { return Err("not ours".into()) };
    let mut incoming = wire2::decode_plain(1, body)?;
    if let Prev::Whole(link) = incoming.prev {
        incoming.prev = Prev::Short(*link.0.first_chunk().unwrap());
    }
    Ok(incoming)
}

pub(crate) const SHORT: BlockCodec = BlockCodec { current: 2, encode: encode_short, decode: decode_short };

pub(crate) fn many(publish: &Publish) -> bool {
    matches!(publish.what, What::Block { first, last, .. } | What::Live { first, last, .. } if last > first)
}

pub(crate) fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Publish(publish) => format!("publish {:?} {:?}", publish.leaf, publish.what),
        other => format!("{other:?}").chars().take(220).collect(),
    }
}

pub(crate) fn pacing() -> SenderConfig {
    SenderConfig { window_bytes: 200, block_bytes: 60, linger_ms: 5, retry_min_ms: 100, retry_max_ms: 400 }
}

pub(crate) struct World {
    pub(crate) store: Book,
    pub(crate) hq: Book,
    pub(crate) replica: Replica,
    pub(crate) hub: Hub,
    pub(crate) speaks: (u8, u8),
    pub(crate) codec: BlockCodec,
    pub(crate) up: Vec<(Leaf, Vec<u8>)>,
    pub(crate) down: Vec<(Leaf, Vec<u8>)>,
    pub(crate) retained: BTreeMap<Leaf, Vec<u8>>,
    pub(crate) connected: bool,
    pub(crate) now: u64,
    pub(crate) salt: u32,
    /// What HQ acknowledged, by bytes.
    pub(crate) promised: BTreeSet<Vec<u8>>,
    pub(crate) alarms: Vec<Alarm>,
    pub(crate) previews: usize,
    /// Seals that HQ received.
    pub(crate) seals: Vec<(LogId, Seq, [u8; 64])>,
    pub(crate) orders: usize,
    /// The broker takes no block of more than one record.
    pub(crate) narrow: bool,
    /// No ask comes through.
    pub(crate) deaf: bool,
    /// Records written.
    pub(crate) number: u32,
    /// Old copies of both files.
    pub(crate) copies: (Option<Book>, Option<Book>),
}

impl World {
    pub(crate) fn new(speaks: (u8, u8)) -> Self {
        Self::with(speaks, SHORT)
    }

    /// Both sides with this codec.
    pub(crate) fn with(speaks: (u8, u8), codec: BlockCodec) -> Self {
        let mut store = Book::new(Direction::Up);
        store.open(0, 0);
        let mut world = Self {
            replica: Replica::new(ReplicaConfig::new(STORE)),
            hub: Hub::new(HubConfig::default()),
            store,
            hq: Book::new(Direction::Down),
            speaks,
            codec,
            up: Vec::new(),
            down: Vec::new(),
            retained: BTreeMap::new(),
            connected: false,
            now: 0,
            salt: 0,
            promised: BTreeSet::new(),
            alarms: Vec::new(),
            previews: 0,
            seals: Vec::new(),
            orders: 0,
            narrow: false,
            deaf: false,
            number: 0,
            copies: (None, None),
        };
        world.start_store();
        world.start_hub();
        world.connect();
        world
    }

    pub(crate) fn start_store(&mut self) {
        let config = ReplicaConfig {
            sender: pacing(),
            hello_ms: 300,
            codec: self.codec,
            speaks: self.speaks.0,
            ..ReplicaConfig::new(STORE)
        };
        self.replica = Replica::new(config);
        self.replica.load(self.now, &self.store.positions(), self.store.current());
    }

    pub(crate) fn start_hub(&mut self) {
        let config =
            HubConfig { sender: pacing(), codec: self.codec, speaks: self.speaks.1, ..HubConfig::default() };
        self.hub = Hub::new(config);
        for position in self.hq.positions() {
            self.hub.load(self.now, position);
        }
    }

    pub(crate) fn connect(&mut self) {
        self.connected = true;
        self.up.clear();
        self.down.clear();
        for (leaf, bytes) in &self.retained {
            match leaf {
                Leaf::UpAck => self.down.push((*leaf, bytes.clone())),
                _ => self.up.push((*leaf, bytes.clone())),
            }
        }
        self.replica.handle_up(self.now);
        self.hub.handle_up(self.now);
    }

    pub(crate) fn cut(&mut self) {
        self.connected = false;
        self.replica.handle_down(self.now);
        self.hub.handle_down(self.now);
    }

    pub(crate) fn run(&mut self) {
        self.replica.tick(self.now);
        self.hub.tick(self.now);
        for _ in 0..10_000 {
            if let Some(effect) = self.replica.poll_effect(self.now) {
                self.store_effect(effect);
            } else if let Some(effect) = self.hub.poll_effect(self.now) {
                self.hub_effect(effect);
            } else {
                return;
            }
        }
        panic!("effects do not end");
    }

    pub(crate) fn store_effect(&mut self, effect: Effect) {
        self.salt += 1;
        self.trace("store", &effect);
        match effect {
            Effect::Publish(publish) if self.narrow && many(&publish) => {
                self.replica.handle_unsent(self.now, publish, Unsent::TooLarge);
            }
            Effect::Publish(publish) => {
                if publish.retained {
                    self.retained.insert(publish.leaf, publish.message.clone());
                }
                self.up.push((publish.leaf, publish.message));
            }
            Effect::ReadBlock { token, range } => {
                let block = self.store.block(range.log, range.first, range.max_records);
                self.replica.handle_block(self.now, token, block);
            }
            Effect::CompareLink { token, log, at } => {
                self.replica.handle_link(self.now, token, self.store.link(log, at));
            }
            Effect::Ingest { token, block, .. } => {
                let done = self.store.take_in(&block, self.salt);
                self.tell_heads();
                self.replica.handle_ingested(self.now, token, Ok(done));
            }
            Effect::RecordAck(ack) => {
                let state = self.store.logs.get_mut(&ack.log).unwrap();
                state.acked = state.acked.max(ack.upto.0);
            }
            Effect::OpenEpoch { above, .. } => {
                self.store.open(above.0, self.salt);
                self.tell_heads();
            }
            Effect::Alarm(alarm) => self.alarms.push(alarm),
            _ => {}
        }
    }

    /// `STEELYARD_TRACE=1` shows what happened in a schedule that failed.
    pub(crate) fn trace(&self, side: &str, effect: &Effect) {
        if std::env::var_os("STEELYARD_TRACE").is_some() {
            eprintln!("{} {side} {}", self.now, brief(effect));
        }
    }

    pub(crate) fn tell_heads(&mut self) {
        for position in self.store.positions() {
            self.replica.handle_head(self.now, position.log, position.head);
        }
    }

    pub(crate) fn hub_effect(&mut self, effect: Effect) {
        self.salt += 1;
        self.trace("hub", &effect);
        match effect {
            Effect::Publish(publish) if self.narrow && many(&publish) => {
                self.hub.handle_unsent(self.now, publish, Unsent::TooLarge);
            }
            Effect::Publish(publish) => {
                if publish.retained {
                    self.retained.insert(publish.leaf, publish.message.clone());
                }
                if publish.leaf == Leaf::UpAck
                    && let Ok((Letter::Ack(ack), _)) = Letter::decode(&self.codec, &publish.message)
                    && ack.log.direction == Direction::Up
                {
                    let records = &self.hq.logs.get(&ack.log).map_or(&[][..], |state| &state.records);
                    assert!(count(ack.upto.0) <= records.len(), "an ack names what is not committed");
                    self.promised.extend(records[..count(ack.upto.0)].iter().cloned());
                }
                self.down.push((publish.leaf, publish.message));
            }
            Effect::ReadBlock { token, range } => {
                let block = self.hq.block(range.log, range.first, range.max_records);
                self.hub.handle_block(self.now, token, block);
            }
            Effect::CompareLink { token, log, at } => {
                self.hub.handle_link(self.now, token, self.hq.link(log, at));
            }
            Effect::Ingest { token, block, .. } => {
                self.seals.extend(block.seal.map(|seal| (block.log, block.last(), seal)));
                let done = self.hq.take_in(&block, self.salt);
                self.tell_hub_heads();
                self.hub.handle_ingested(self.now, token, Ok(done));
            }
            Effect::RecordAck(ack) => {
                if let Some(state) = self.hq.logs.get_mut(&ack.log) {
                    state.acked = state.acked.max(ack.upto.0);
                }
            }
            Effect::OpenEpoch { log, .. } => {
                if let Some(state) = self.hq.logs.get_mut(&log) {
                    state.closed = true;
                }
            }
            Effect::OrderEpoch { .. } => self.orders += 1,
            Effect::Preview { .. } => self.previews += 1,
            Effect::Alarm(alarm) => self.alarms.push(alarm),
            _ => {}
        }
    }

    pub(crate) fn tell_hub_heads(&mut self) {
        for position in self.hq.positions() {
            self.hub.handle_head(self.now, position.log, position.head);
        }
    }

    pub(crate) fn deliver(&mut self, up: bool, pick: usize, keep: bool) {
        let queue = if up { &mut self.up } else { &mut self.down };
        if queue.is_empty() {
            return;
        }
        let at = pick % queue.len();
        let (leaf, bytes) = if keep { queue[at].clone() } else { queue.remove(at) };
        let own = if up { Direction::Up } else { Direction::Down };
        if self.deaf
            && matches!(leaf, Leaf::UpAck | Leaf::DownAck)
            && let Ok((Letter::Ack(ack), _)) = Letter::decode(&self.codec, &bytes)
            && ack.log.direction == own
        {
            return;
        }
        if up {
            self.hub.handle_message(self.now, STORE, leaf, &bytes, false);
        } else {
            self.replica.handle_message(self.now, leaf, &bytes);
        }
        self.run();
    }

    pub(crate) fn write(&mut self, number: u32) {
        self.write_record(format!("up {number}").into_bytes());
    }

    pub(crate) fn write_record(&mut self, record: Vec<u8>) {
        self.salt += 1;
        let (log, head) = self.store.append(record, self.salt);
        self.replica.handle_head(self.now, log, head);
        self.run();
    }

    pub(crate) fn write_down(&mut self, number: u32) {
        self.salt += 1;
        let (log, head) = self.hq.append(format!("down {number}").into_bytes(), self.salt);
        self.hub.handle_head(self.now, log, head);
        self.run();
    }

    pub(crate) fn settle(&mut self) {
        if !self.connected {
            self.connect();
        }
        for _ in 0..600 {
            self.run();
            while !self.up.is_empty() || !self.down.is_empty() {
                self.deliver(true, 0, false);
                self.deliver(false, 0, false);
            }
            self.now += 50;
        }
    }

    /// Goes back to an earlier state of a log: the last `lost` events of the newest own log are gone.
    pub(crate) fn roll_back(&mut self, up: bool, lost: usize) {
        let book = if up { &mut self.store } else { &mut self.hq };
        let Some(log) = book.current() else { return };
        let state = book.logs.get_mut(&log).unwrap();
        let keep = state.records.len().saturating_sub(lost).max(1);
        state.records.truncate(keep);
        state.acked = state.acked.min(keep as u64);
        self.start_again(up);
    }

    /// The old copy of a side takes the place of its ledger.
    pub(crate) fn restore(&mut self, up: bool) {
        let (book, copy) = match up {
            true => (&mut self.store, &self.copies.0),
            false => (&mut self.hq, &self.copies.1),
        };
        // A copy that still holds a branch under its contested names would bring it a second time: a known limit.
        let Some(copy) = copy.as_ref().filter(|copy| copy.moves == book.moves) else { return };
        *book = copy.clone();
        self.start_again(up);
    }

    pub(crate) fn start_again(&mut self, up: bool) {
        if up {
            self.start_store()
        } else {
            self.start_hub()
        }
        // What both have lost is lost.
        let both = [self.store.all(Direction::Up), self.hq.all(Direction::Up)];
        let left: BTreeSet<Vec<u8>> = both.into_iter().flat_map(BTreeMap::into_values).flatten().collect();
        self.promised.retain(|record| left.contains(record));
        self.connect();
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    Write(u8),
    WriteDown(u8),
    Deliver(bool, usize),
    Repeat(bool, usize),
    Drop(bool, usize),
    Cut,
    Connect,
    CrashStore,
    CrashHub,
    Forget,
    Wait(u16),
    RollBack(bool, usize),
    /// Copies the file of one side.
    Snapshot(bool),
    /// Puts the last copy in its place.
    Restore(bool),
}

pub(crate) fn play(ops: &[Op], speaks: (u8, u8)) -> World {
    let mut world = World::new(speaks);
    world.play(ops);
    world.settle();
    world
}

impl World {
    pub(crate) fn play(&mut self, ops: &[Op]) {
        let world = self;
        for op in ops {
            match *op {
                Op::Write(count) => (0..count).for_each(|_| {
                    world.number += 1;
                    world.write(world.number);
                }),
                Op::WriteDown(count) => (0..count).for_each(|_| {
                    world.number += 1;
                    world.write_down(world.number);
                }),
                Op::Deliver(up, pick) => world.deliver(up, pick, false),
                Op::Repeat(up, pick) => world.deliver(up, pick, true),
                Op::Drop(up, pick) => {
                    let queue = if up { &mut world.up } else { &mut world.down };
                    if !queue.is_empty() {
                        queue.remove(pick % queue.len());
                    }
                }
                Op::Cut => world.cut(),
                Op::Connect => world.connect(),
                Op::CrashStore => {
                    world.start_store();
                    world.connect();
                }
                Op::CrashHub => {
                    world.start_hub();
                    world.connect();
                }
                Op::Forget => world.retained.clear(),
                Op::Wait(ms) => {
                    world.now += u64::from(ms);
                    world.run();
                }
                Op::RollBack(up, lost) => world.roll_back(up, lost),
                Op::Snapshot(true) => world.copies.0 = Some(world.store.clone()),
                Op::Snapshot(false) => world.copies.1 = Some(world.hq.clone()),
                Op::Restore(up) => world.restore(up),
            }
        }
    }
}

pub(crate) fn check(world: &World) {
    for direction in [Direction::Up, Direction::Down] {
        let (store, hq) = (world.store.all(direction), world.hq.all(direction));
        assert_eq!(store, hq, "{direction:?} logs differ; alarms {:?}", world.alarms);
        let mut seen = BTreeSet::new();
        for record in store.values().flatten() {
            assert!(seen.insert(record.clone()), "{:?} counts twice", String::from_utf8_lossy(record));
        }
        if direction == Direction::Up {
            for record in &world.promised {
                assert!(seen.contains(record), "{:?} was acknowledged", String::from_utf8_lossy(record));
            }
        }
    }
}
