//! Sender and receiver over a hostile pipe, in virtual time: drop, duplicate, reorder, delay, restarts of both sides.
//! Everything arrives exactly once, in order, and after the pipe heals everything arrives in bounded time.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_core::{Ack, AckOutcome, Block, Link, Message, Nak, Plan, Sender, SenderConfig, plan};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId, Text};

/// SplitMix64: the same run for the same seed.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn log(epoch: u32) -> LogId {
    LogId { store: StoreId(1), direction: Direction::Up, epoch: Epoch(epoch) }
}

const CONFIG: SenderConfig = SenderConfig {
    window_bytes: 400,
    block_bytes: 120,
    linger_ms: 5,
    retry_min_ms: 100,
    retry_max_ms: 1_600,
};

/// The writer's durable side, a receiver's durable side, and the pipe between them.
struct World {
    random: Seeded,
    now: u64,
    hostile: bool,
    logs: BTreeMap<LogId, Vec<Vec<u8>>>,
    sender: Sender,
    received: BTreeMap<LogId, (Vec<Vec<u8>>, Link)>,
    /// Messages by arrival time; `true` goes to the receiver.
    pipe: Vec<(u64, bool, Vec<u8>)>,
    /// Records that the receiver takes only alone, as if the block around them were too large.
    picky: bool,
}

impl World {
    fn new(seed: u64, picky: bool) -> Self {
        let mut sender = Sender::new(CONFIG);
        sender.handle_up(0);
        Self {
            random: Seeded(seed),
            now: 0,
            hostile: true,
            logs: BTreeMap::new(),
            sender,
            received: BTreeMap::new(),
            pipe: Vec::new(),
            picky,
        }
    }

    fn write(&mut self, epoch: u32) {
        let length = usize::try_from(self.random.below(60)).unwrap();
        let fill = u8::try_from(self.random.below(256)).unwrap();
        let records = self.logs.entry(log(epoch)).or_default();
        records.push(vec![fill; length]);
        let head = Seq(u64::try_from(records.len()).unwrap());
        self.sender.handle_head(self.now, log(epoch), head);
    }

    fn restart_sender(&mut self) {
        self.sender = Sender::new(CONFIG);
        for (log, records) in &self.logs {
            self.sender.handle_head(self.now, *log, Seq(u64::try_from(records.len()).unwrap()));
        }
        self.sender.handle_up(self.now);
    }

    fn put(&mut self, to_receiver: bool, message: &Message) {
        let copies =
            if self.hostile { [0, 1, 1, 1, 2][usize::try_from(self.random.below(5)).unwrap()] } else { 1 };
        for _ in 0..copies {
            let delay = 1 + if self.hostile { self.random.below(400) } else { 5 };
            self.pipe.push((self.now + delay, to_receiver, message.encode()));
        }
    }

    fn send(&mut self) {
        while let Some(range) = self.sender.poll(self.now) {
            let records = &self.logs[&range.log];
            let from = usize::try_from(range.first.0 - 1).unwrap();
            let mut prev = Link::genesis(range.log);
            for (seq, record) in (1..).zip(&records[..from]) {
                prev = prev.next(range.log, Seq(seq), record);
            }
            let mut bytes = 0;
            let fits = |record: &&Vec<u8>| {
                bytes += record.len();
                bytes <= range.max_bytes
            };
            let records: Vec<_> =
                records[from..].iter().take_while(fits).take(range.max_records).cloned().collect();
            assert!(!records.is_empty());
            let size = records.iter().map(Vec::len).sum();
            let block = Block { log: range.log, first: range.first, prev, records };
            self.sender.handle_sent(self.now, block.log, block.first, block.last(), size);
            self.put(true, &Message::Block(block));
        }
    }

    fn deliver(&mut self) {
        while let Some(at) = self.pipe.iter().position(|(at, ..)| *at <= self.now) {
            let (_, to_receiver, bytes) = self.pipe.swap_remove(at);
            match Message::decode(&bytes).unwrap() {
                Message::Block(block) if to_receiver => self.receive(&block),
                Message::Ack(ack) => {
                    let outcome = self.sender.handle_ack(self.now, &ack);
                    assert!(!matches!(outcome, AckOutcome::Ahead { .. }), "{outcome:?}");
                }
                Message::Nak(nak) => self.sender.handle_nak(self.now, &nak),
                other => panic!("{other:?}"),
            }
        }
    }

    fn receive(&mut self, block: &Block) {
        let known = self.received.get(&block.log);
        let known = known.map(|(records, link)| (Seq(u64::try_from(records.len()).unwrap()), *link));
        let gap = match plan(known, block) {
            Plan::Apply { .. }
                if self.picky && block.records.len() > 1 && block.first.0.is_multiple_of(3) =>
            {
                let of = Some((block.log, block.first, block.last()));
                let nak = Nak { code: Text::new("undecodable").unwrap(), detail: Text::default(), of };
                return self.put(false, &Message::Nak(nak));
            }
            Plan::Apply { skip } => {
                let entry = self.received.entry(block.log);
                let (records, link) = entry.or_insert_with(|| (Vec::new(), Link::genesis(block.log)));
                for record in &block.records[skip..] {
                    records.push(record.clone());
                    *link = link.next(block.log, Seq(u64::try_from(records.len()).unwrap()), record);
                }
                None
            }
            Plan::Duplicate => None,
            Plan::Gap { missing } => Some(missing),
            Plan::ChainBreak => panic!("one writer has one history"),
        };
        let (upto, link) = match self.received.get(&block.log) {
            Some((records, link)) => (Seq(u64::try_from(records.len()).unwrap()), *link),
            None => (Seq::ZERO, Link::genesis(block.log)),
        };
        self.put(false, &Message::Ack(Ack { log: block.log, upto, link, gap }));
    }

    fn step(&mut self) {
        self.deliver();
        self.send();
        let arrival = self.pipe.iter().map(|(at, ..)| *at).min();
        let wake = self.sender.next_wake().map(|at| at.max(self.now + 1));
        self.now = [arrival, wake].into_iter().flatten().min().unwrap_or(self.now + 50).max(self.now + 1);
    }

    fn check_prefix(&self) {
        for (log, (records, _)) in &self.received {
            assert!(self.logs[log].starts_with(records), "{log} is not a prefix of what was written");
        }
    }

    fn complete(&self) -> bool {
        self.logs.iter().all(|(log, records)| self.received.get(log).is_some_and(|(got, _)| got == records))
            && self.sender.status().lag() == 0
    }
}

fn run(seed: u64, picky: bool) {
    let mut world = World::new(seed, picky);
    for step in 0..400 {
        match world.random.below(100) {
            0..40 => world.write(if step < 200 { 1 } else { 2 }),
            40..42 => world.restart_sender(),
            42..44 => {
                world.sender.handle_down();
                world.pipe.clear();
            }
            44..50 => {
                let now = world.now;
                world.sender.handle_up(now);
            }
            _ => {}
        }
        if world.random.chance(5) {
            world.pipe.clear();
        }
        world.step();
        world.check_prefix();
    }
    world.hostile = false;
    let now = world.now;
    world.sender.handle_up(now);
    let healed = world.now;
    while !world.complete() {
        world.step();
        world.check_prefix();
        assert!(world.now < healed + 120_000, "seed {seed}: no end, {:?}", world.sender.status());
    }
    assert_eq!(world.sender.next_wake(), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn everything_arrives_once_and_in_order(seed in any::<u64>(), picky in any::<bool>()) {
        run(seed, picky);
    }
}

fn ack(epoch: u32, upto: u64, gap: Option<(u64, u64)>) -> Ack {
    let gap = gap.map(|(first, last)| (Seq(first), Seq(last)));
    Ack { log: log(epoch), upto: Seq(upto), link: Link([0; 32]), gap }
}

#[test]
fn acks_are_told_apart() {
    let mut sender = Sender::new(CONFIG);
    assert_eq!(sender.handle_ack(0, &ack(1, 1, None)), AckOutcome::Unknown(log(1)));
    sender.handle_head(0, log(1), Seq(10));
    assert_eq!(sender.handle_ack(0, &ack(1, 4, None)), AckOutcome::Advanced { log: log(1), upto: Seq(4) });
    assert_eq!(sender.handle_ack(0, &ack(1, 3, None)), AckOutcome::Stale);
    let regressed = sender.handle_ack(500, &ack(1, 2, Some((3, 4))));
    assert_eq!(regressed, AckOutcome::Regressed { log: log(1), upto: Seq(2) });
    let ahead = sender.handle_ack(500, &ack(1, 12, None));
    assert_eq!(ahead, AckOutcome::Ahead { log: log(1), upto: Seq(12), head: Seq(10) });
}

#[test]
fn a_refused_record_holds_its_log_but_not_the_next() {
    let mut sender = Sender::new(CONFIG);
    sender.handle_head(0, log(1), Seq(2));
    sender.handle_head(0, log(2), Seq(1));
    sender.handle_up(10);
    let nak = |first, last| Nak {
        code: Text::new("chain-break").unwrap(),
        detail: Text::default(),
        of: Some((log(1), Seq(first), Seq(last))),
    };
    let range = sender.poll(10).unwrap();
    assert_eq!((range.log, range.first), (log(1), Seq(1)));
    sender.handle_sent(10, log(1), Seq(1), Seq(2), 20);
    assert_eq!(sender.poll(10), None, "the second log waits for the first");
    sender.handle_nak(20, &nak(1, 2));
    assert_eq!(sender.poll(20).unwrap().max_records, 1);
    sender.handle_sent(20, log(1), Seq(1), Seq(1), 10);
    sender.handle_nak(30, &nak(1, 1));
    assert!(sender.status().logs[0].stuck);
    assert_eq!(sender.poll(30).unwrap().log, log(2));
}

#[test]
fn a_block_that_the_pipe_does_not_take_goes_as_singles() {
    let log = log(1);
    let mut sender = Sender::new(SenderConfig { linger_ms: 0, ..SenderConfig::default() });
    sender.handle_head(0, log, Seq(9));
    sender.handle_up(0);
    let range = sender.poll(0).unwrap();
    assert_eq!((range.first, range.max_records), (Seq(1), sync_core::BLOCK_RECORDS_MAX));
    let of = Some((log, Seq(1), Seq(9)));
    sender.handle_nak(0, &Nak { code: Text::lossy("too-large"), detail: Text::default(), of });
    for seq in 1..=9 {
        let range = sender.poll(1).unwrap();
        assert_eq!((range.first, range.max_records), (Seq(seq), 1));
        sender.handle_sent(1, log, Seq(seq), Seq(seq), 100);
    }
}
