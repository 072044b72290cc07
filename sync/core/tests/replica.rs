//! The replica and the hub against each other over a transport that drops, repeats, reorders and forgets, with crashes and
//! ledgers that go back in time: nothing that was acknowledged is lost, nothing counts twice, both sides end equal.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]
#![allow(clippy::print_stderr, reason = "the trace of a schedule that failed")]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{
    Alarm, BlockCodec, Effect, Incoming, IngestOutcome, Ingested, Leaf, Letter, Position, Prev, Publish,
    Unsent, What, wire2,
};
use sync_core::{Ack, Block, Link, SenderConfig};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

const STORE: StoreId = StoreId(7);

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

#[derive(Clone, Debug, Default)]
struct Log {
    records: Vec<Vec<u8>>,
    closed: bool,
    acked: u64,
}

/// A ledger in memory: the contract of `take_in`, without SQL.
#[derive(Clone, Debug)]
struct Book {
    own: Direction,
    logs: BTreeMap<LogId, Log>,
    /// Branches that got new names.
    moves: usize,
}

impl Book {
    fn new(own: Direction) -> Self {
        Self { own, logs: BTreeMap::new(), moves: 0 }
    }

    fn current(&self) -> Option<LogId> {
        let mut logs = self.logs.iter().rev();
        logs.find(|(log, state)| log.direction == self.own && !state.closed).map(|(log, _)| *log)
    }

    fn open(&mut self, above: u32, salt: u32) -> LogId {
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

    fn append(&mut self, record: Vec<u8>, salt: u32) -> (LogId, Seq) {
        let log = self.current().unwrap_or_else(|| self.open(0, salt));
        self.logs.get_mut(&log).unwrap().records.push(record);
        (log, self.head(log))
    }

    fn head(&self, log: LogId) -> Seq {
        Seq(self.logs.get(&log).map_or(0, |state| state.records.len() as u64))
    }

    fn link(&self, log: LogId, at: Seq) -> Option<Link> {
        let records = self.logs.get(&log).map_or(&[][..], |state| &state.records);
        let records = records.get(..count(at.0))?;
        let mut link = Link::genesis(log);
        for (seq, record) in (1..).zip(records) {
            link = link.next(log, Seq(seq), record);
        }
        Some(link)
    }

    fn block(&self, log: LogId, first: Seq, max: usize) -> Option<Block> {
        let records = self.logs.get(&log)?.records.get(count(first.0 - 1)..)?;
        let records: Vec<Vec<u8>> = records.iter().take(max.min(5)).cloned().collect();
        (!records.is_empty()).then(|| Block {
            log,
            first,
            prev: self.link(log, Seq(first.0 - 1)).unwrap(),
            records,
        })
    }

    fn positions(&self) -> Vec<Position> {
        let position = |(log, state): (&LogId, &Log)| Position {
            log: *log,
            head: self.head(*log),
            link: self.link(*log, self.head(*log)).unwrap(),
            acked: Seq(state.acked),
        };
        self.logs.iter().map(position).collect()
    }

    fn take_in(&mut self, block: &Incoming, salt: u32) -> Ingested {
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

    fn all(&self, direction: Direction) -> BTreeMap<LogId, Vec<Vec<u8>>> {
        let of = self.logs.iter().filter(|(log, _)| log.direction == direction);
        of.map(|(log, state)| (*log, state.records.clone())).collect()
    }
}

/// A body that carries only the start of the previous link, as version 2 does.
fn encode_short(version: u8, block: &Block, _seal: Option<&[u8; 64]>) -> Option<Vec<u8>> {
    (version == 2).then(|| {
        let mut bytes = wire2::encode_plain(1, block, None).unwrap();
        bytes.push(2);
        bytes
    })
}

fn decode_short(version: u8, body: &[u8]) -> Result<Incoming, String> {
    let (Some((2, body)), 2) = (body.split_last(), version) else { return Err("not ours".into()) };
    let mut incoming = wire2::decode_plain(1, body)?;
    if let Prev::Whole(link) = incoming.prev {
        incoming.prev = Prev::Short(*link.0.first_chunk().unwrap());
    }
    Ok(incoming)
}

const SHORT: BlockCodec = BlockCodec { current: 2, encode: encode_short, decode: decode_short };

fn many(publish: &Publish) -> bool {
    matches!(publish.what, What::Block { first, last, .. } | What::Live { first, last, .. } if last > first)
}

fn brief(effect: &Effect) -> String {
    match effect {
        Effect::Publish(publish) => format!("publish {:?} {:?}", publish.leaf, publish.what),
        other => format!("{other:?}").chars().take(220).collect(),
    }
}

fn pacing() -> SenderConfig {
    SenderConfig { window_bytes: 200, block_bytes: 60, linger_ms: 5, retry_min_ms: 100, retry_max_ms: 400 }
}

struct World {
    store: Book,
    hq: Book,
    replica: Replica,
    hub: Hub,
    speaks: (u8, u8),
    up: Vec<(Leaf, Vec<u8>)>,
    down: Vec<(Leaf, Vec<u8>)>,
    retained: BTreeMap<Leaf, Vec<u8>>,
    connected: bool,
    now: u64,
    salt: u32,
    /// What HQ acknowledged, by bytes.
    promised: BTreeSet<Vec<u8>>,
    alarms: Vec<Alarm>,
    previews: usize,
    orders: usize,
    /// The broker takes no block of more than one record.
    narrow: bool,
    /// No ask comes through.
    deaf: bool,
    /// Records written.
    number: u32,
    /// Old copies of both files.
    copies: (Option<Book>, Option<Book>),
}

impl World {
    fn new(speaks: (u8, u8)) -> Self {
        let mut store = Book::new(Direction::Up);
        store.open(0, 0);
        let mut world = Self {
            replica: Replica::new(ReplicaConfig::new(STORE)),
            hub: Hub::new(HubConfig::default()),
            store,
            hq: Book::new(Direction::Down),
            speaks,
            up: Vec::new(),
            down: Vec::new(),
            retained: BTreeMap::new(),
            connected: false,
            now: 0,
            salt: 0,
            promised: BTreeSet::new(),
            alarms: Vec::new(),
            previews: 0,
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

    fn start_store(&mut self) {
        let config = ReplicaConfig {
            sender: pacing(),
            hello_ms: 300,
            codec: SHORT,
            speaks: self.speaks.0,
            ..ReplicaConfig::new(STORE)
        };
        self.replica = Replica::new(config);
        self.replica.load(self.now, &self.store.positions(), self.store.current());
    }

    fn start_hub(&mut self) {
        let config =
            HubConfig { sender: pacing(), codec: SHORT, speaks: self.speaks.1, ..HubConfig::default() };
        self.hub = Hub::new(config);
        for position in self.hq.positions() {
            self.hub.load(self.now, position);
        }
    }

    fn connect(&mut self) {
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

    fn cut(&mut self) {
        self.connected = false;
        self.replica.handle_down(self.now);
        self.hub.handle_down(self.now);
    }

    fn run(&mut self) {
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

    fn store_effect(&mut self, effect: Effect) {
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
    fn trace(&self, side: &str, effect: &Effect) {
        if std::env::var_os("STEELYARD_TRACE").is_some() {
            eprintln!("{} {side} {}", self.now, brief(effect));
        }
    }

    fn tell_heads(&mut self) {
        for position in self.store.positions() {
            self.replica.handle_head(self.now, position.log, position.head);
        }
    }

    fn hub_effect(&mut self, effect: Effect) {
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
                    && let Ok((Letter::Ack(ack), _)) = Letter::decode(&SHORT, &publish.message)
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

    fn tell_hub_heads(&mut self) {
        for position in self.hq.positions() {
            self.hub.handle_head(self.now, position.log, position.head);
        }
    }

    fn deliver(&mut self, up: bool, pick: usize, keep: bool) {
        let queue = if up { &mut self.up } else { &mut self.down };
        if queue.is_empty() {
            return;
        }
        let at = pick % queue.len();
        let (leaf, bytes) = if keep { queue[at].clone() } else { queue.remove(at) };
        let own = if up { Direction::Up } else { Direction::Down };
        if self.deaf
            && matches!(leaf, Leaf::UpAck | Leaf::DownAck)
            && let Ok((Letter::Ack(ack), _)) = Letter::decode(&SHORT, &bytes)
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

    fn write(&mut self, number: u32) {
        self.salt += 1;
        let (log, head) = self.store.append(format!("up {number}").into_bytes(), self.salt);
        self.replica.handle_head(self.now, log, head);
        self.run();
    }

    fn write_down(&mut self, number: u32) {
        self.salt += 1;
        let (log, head) = self.hq.append(format!("down {number}").into_bytes(), self.salt);
        self.hub.handle_head(self.now, log, head);
        self.run();
    }

    fn settle(&mut self) {
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
    fn roll_back(&mut self, up: bool, lost: usize) {
        let book = if up { &mut self.store } else { &mut self.hq };
        let Some(log) = book.current() else { return };
        let state = book.logs.get_mut(&log).unwrap();
        let keep = state.records.len().saturating_sub(lost).max(1);
        state.records.truncate(keep);
        state.acked = state.acked.min(keep as u64);
        self.start_again(up);
    }

    /// The old copy of a side takes the place of its ledger.
    fn restore(&mut self, up: bool) {
        let (book, copy) = match up {
            true => (&mut self.store, &self.copies.0),
            false => (&mut self.hq, &self.copies.1),
        };
        // A copy that still holds a branch under its contested names would bring it a second time: a known limit.
        let Some(copy) = copy.as_ref().filter(|copy| copy.moves == book.moves) else { return };
        *book = copy.clone();
        self.start_again(up);
    }

    fn start_again(&mut self, up: bool) {
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
enum Op {
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

fn op(rollback: bool) -> impl Strategy<Value = Op> {
    let plain = prop_oneof![
        4 => (1..6_u8).prop_map(Op::Write),
        2 => (1..4_u8).prop_map(Op::WriteDown),
        8 => (any::<bool>(), any::<usize>()).prop_map(|(up, pick)| Op::Deliver(up, pick)),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(up, pick)| Op::Repeat(up, pick)),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(up, pick)| Op::Drop(up, pick)),
        1 => Just(Op::Cut),
        1 => Just(Op::Connect),
        1 => Just(Op::CrashStore),
        1 => Just(Op::CrashHub),
        1 => Just(Op::Forget),
        4 => (1..400_u16).prop_map(Op::Wait),
    ];
    let weight = if rollback { 1 } else { 0 };
    prop_oneof![
        20 => plain,
        weight => (any::<bool>(), 1..12_usize).prop_map(|(up, lost)| Op::RollBack(up, lost)),
        weight => any::<bool>().prop_map(Op::Snapshot),
        weight => any::<bool>().prop_map(Op::Restore),
    ]
}

fn play(ops: &[Op], speaks: (u8, u8)) -> World {
    let mut world = World::new(speaks);
    world.play(ops);
    world.settle();
    world
}

impl World {
    fn play(&mut self, ops: &[Op]) {
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

fn check(world: &World) {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_delivery_ends_in_equal_ledgers(
        ops in prop::collection::vec(op(false), 0..60),
        speaks in prop::sample::select(vec![(1, 1), (1, 2), (2, 1), (2, 2)]),
    ) {
        let world = play(&ops, speaks);
        check(&world);
        prop_assert!(world.orders == 0, "nobody contradicted himself");
    }

    #[test]
    fn ledgers_that_go_back_in_time_lose_nothing_that_was_acknowledged(
        ops in prop::collection::vec(op(true), 0..120),
    ) {
        check(&play(&ops, (2, 2)));
    }

    /// Peers that answer no asks (an older version, or messages that never come through): what goes on has to go on, and what
    /// was written under contested names is booked once when they answer at last.
    #[test]
    fn contested_names_are_settled_once_the_peer_answers(
        ops in prop::collection::vec(op(true), 0..80),
        speaks in prop::sample::select(vec![(1, 1), (1, 2), (2, 1), (2, 2)]),
        later in prop::collection::vec(op(false), 0..20),
    ) {
        let mut world = World::new(speaks);
        world.deaf = speaks == (2, 2);
        world.play(&ops);
        world.settle();
        world.play(&later);
        world.settle();
        // Trading goes on under a new name.
        let current = world.store.current().unwrap();
        prop_assert_eq!(world.hq.head(current), world.store.head(current));
        world.deaf = false;
        world.speaks = (2, 2);
        world.start_store();
        world.start_hub();
        world.connect();
        world.settle();
        check(&world);
    }
}

#[test]
fn a_rolled_back_store_gets_back_what_it_lost_and_keeps_what_it_sold_since() {
    let mut world = World::new((2, 2));
    (1..=40).for_each(|number| world.write(number));
    world.settle();
    let old = world.store.current().unwrap();
    world.cut();
    world.roll_back(true, 25);
    world.cut();
    (101..=110).for_each(|number| world.write(number));
    world.settle();
    check(&world);
    let new = world.store.current().unwrap();
    assert!(new > old);
    let texts: BTreeSet<Vec<u8>> = world.hq.all(Direction::Up).into_values().flatten().collect();
    assert!((1..=40).chain(101..=110).all(|number| texts.contains(format!("up {number}").as_bytes())));
    assert!(world.alarms.iter().any(|alarm| matches!(alarm, Alarm::Returned { .. })), "{:?}", world.alarms);
}

#[test]
fn live_events_are_seen_while_a_backlog_drains() {
    let mut world = World::new((2, 2));
    world.settle();
    world.cut();
    (1..=400).for_each(|number| world.write(number));
    world.connect();
    world.run();
    while world.hub.durable(world.store.current().unwrap()).upto < Seq(40) {
        world.deliver(true, 0, false);
        world.deliver(false, 0, false);
        world.now += 1;
    }
    world.write(1_000);
    world.now += 20;
    world.run();
    for _ in 0..12 {
        world.deliver(true, 0, false);
        world.deliver(false, 0, false);
    }
    let booked = world.hub.durable(world.store.current().unwrap()).upto;
    assert!(world.previews > 0 && booked < Seq(300), "{} previews, booked to {booked}", world.previews);
    world.settle();
    check(&world);
    assert_eq!(world.hub.early_bytes(), 0);
}

#[test]
fn versions_are_found_out_and_the_older_side_is_understood() {
    for (speaks, expected) in [((1, 1), 1), ((1, 2), 1), ((2, 1), 1), ((2, 2), 2)] {
        let mut world = World::new(speaks);
        (1..=20).for_each(|number| world.write(number));
        world.settle();
        check(&world);
        assert_eq!(world.replica.peer_version().unwrap_or(1), expected, "{speaks:?}");
        assert_eq!(world.hub.peer_version(STORE), Some(expected), "{speaks:?}");
    }
}

#[test]
fn a_rolled_back_hq_gets_its_own_log_back() {
    let mut world = World::new((2, 2));
    (1..=20).for_each(|number| world.write_down(number));
    world.settle();
    world.roll_back(false, 8);
    world.cut();
    (101..=103).for_each(|number| world.write_down(number));
    world.settle();
    check(&world);
}

#[test]
fn a_broker_that_takes_smaller_packets_gets_singles() {
    let mut world = World::new((2, 2));
    world.settle();
    world.narrow = true;
    world.cut();
    (1..=20).for_each(|number| world.write(number));
    (1..=20).for_each(|number| world.write_down(number));
    world.settle();
    check(&world);
    let records = |direction| world.hq.all(direction).into_values().flatten().count();
    assert!(records(Direction::Up) > 20 && records(Direction::Down) > 20);
}

/// Schedules that the properties above once failed on.
#[test]
fn schedules_that_once_failed_end_well() {
    use Op::{CrashHub, Deliver, Drop, Forget, Repeat, Restore, RollBack, Snapshot, Wait, Write, WriteDown};
    // Both roll back; HQ believed the store to have more than it had and asked for ever, and its asks held up the new epoch.
    check(&play(
        &[
            WriteDown(1),
            Deliver(true, 1),
            Repeat(false, 1),
            Deliver(false, 1),
            Write(3),
            Deliver(false, 0),
            Deliver(true, 1),
            RollBack(true, 3),
            RollBack(false, 1),
            WriteDown(2),
            Write(2),
        ],
        (2, 2),
    ));
    // Greeting and presence were lost, then a repeated ack made the store believe that HQ knows of it.
    check(&play(
        &[
            Wait(100),
            Deliver(true, 0),
            WriteDown(1),
            Forget,
            Deliver(true, 0),
            Write(1),
            WriteDown(1),
            Wait(5),
            Deliver(true, 0),
            Forget,
            Deliver(true, 0),
            CrashHub,
            WriteDown(1),
            Drop(true, 0),
            Drop(true, 0),
        ],
        (1, 1),
    ));
    // HQ lost an older log of its own, and the store named its newest only.
    check(&play(
        &[
            Snapshot(false),
            WriteDown(1),
            Wait(100),
            Deliver(true, 1),
            Deliver(false, 0),
            Restore(false),
            WriteDown(1),
            Deliver(true, 0),
            Deliver(false, 0),
            RollBack(false, 1),
        ],
        (2, 2),
    ));
}
