//! The named scenarios: the real replica and hub, real ledgers, a broker in memory, virtual time. What ARCHITECTURE.md says
//! about each of them is asserted here.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::trade::{Trade, at, folds, retention};
use common::{STORE, config, event, sale};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{Alarm, Effect, IngestFailure, Position, Publish, Token};
use sync_model::{Command, Direction, EpochReason, Event, Fact, LogId, Seq, Stamp, StoreId, Text, Verdict};
use sync_store::{Ledger, LedgerError, OpenReport, Owner, Reader};
use tempfile::TempDir;

const OWNER: Owner = Owner::Store(STORE);

/// One gateway: its ledger and its replica. Down: the daemon does not run.
struct Gateway {
    path: PathBuf,
    ledger: Ledger,
    reader: Reader,
    replica: Replica,
    alarms: Vec<Alarm>,
}

/// HQ.
struct Office {
    path: PathBuf,
    ledger: Ledger,
    reader: Reader,
    hub: Hub,
}

struct World {
    folder: TempDir,
    gateways: Vec<Gateway>,
    office: Office,
    now: u64,
    day: i64,
    /// Messages under way: for HQ, or for one gateway.
    queue: VecDeque<(Option<usize>, Publish)>,
    messages: usize,
}

fn start(path: &Path, day: i64) -> (Ledger, Replica, OpenReport) {
    let (ledger, report) = Ledger::open(config(path, OWNER), at(day, 0)).unwrap();
    let mut replica = Replica::new(ReplicaConfig::new(STORE));
    replica.load(0, &positions(&ledger), ledger.log());
    (ledger, replica, report)
}

fn positions(ledger: &Ledger) -> Vec<Position> {
    let heads = ledger.reader().unwrap().heads().unwrap();
    let position = |row: &sync_store::HeadRow| {
        let (log, head, link, acked) = (row.log, row.head, row.link, row.acked);
        Position { log, head, link, acked }
    };
    heads.iter().map(position).collect()
}

fn office(path: &Path, day: i64) -> Office {
    let (ledger, _) = Ledger::open(config(path, Owner::Hq), at(day, 0)).unwrap();
    let mut hub = Hub::new(HubConfig::default());
    positions(&ledger).into_iter().for_each(|position| hub.load(0, position));
    let reader = ledger.reader().unwrap();
    Office { path: path.to_owned(), ledger, reader, hub }
}

fn failure(error: &LedgerError) -> IngestFailure {
    match error {
        LedgerError::Refused(refusal) if refusal.code != "retry" => {
            IngestFailure::Refused { code: refusal.code, detail: refusal.detail.clone(), raw: Vec::new() }
        }
        _ => IngestFailure::Unavailable,
    }
}

impl World {
    fn new() -> Self {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() { TempDir::new_in(shm).unwrap() } else { TempDir::new().unwrap() };
        let office = office(&folder.path().join("hq.db"), 0);
        let mut world = Self {
            folder,
            gateways: Vec::new(),
            office,
            now: 1_000,
            day: 0,
            queue: VecDeque::new(),
            messages: 0,
        };
        let path = world.path("store.db");
        world.switch_on(&path);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn switch_on(&mut self, path: &Path) -> OpenReport {
        let (ledger, replica, report) = start(path, self.day);
        let reader = ledger.reader().unwrap();
        self.gateways.push(Gateway { path: path.to_owned(), ledger, reader, replica, alarms: Vec::new() });
        report
    }

    fn stamp(&self) -> Stamp {
        at(self.day, 80_000_000)
    }

    /// Connects everybody and lets them talk until nothing waits, or for `patience` of virtual time.
    fn talk(&mut self, patience_ms: u64) {
        let end = self.now + patience_ms;
        self.office.hub.handle_up(self.now);
        for gateway in &mut self.gateways {
            gateway.replica.handle_up(self.now);
        }
        while self.now < end {
            let mut moved = self.step_office();
            for number in 0..self.gateways.len() {
                moved |= self.step_gateway(number);
            }
            moved |= self.deliver();
            if moved {
                // A message takes its time: nobody can talk without end in one moment.
                self.now += 20;
            } else {
                let wakes = self.gateways.iter().filter_map(|gateway| gateway.replica.next_wake());
                let next = wakes.chain(self.office.hub.next_wake()).min().unwrap_or(u64::MAX);
                self.now = next.clamp(self.now + 1, self.now + 5_000);
            }
        }
        self.queue.clear();
        self.office.hub.handle_down(self.now);
        for gateway in &mut self.gateways {
            gateway.replica.handle_down(self.now);
        }
    }

    fn deliver(&mut self) -> bool {
        let moved = !self.queue.is_empty();
        self.messages += self.queue.len();
        while let Some((to, publish)) = self.queue.pop_front() {
            let Publish { store, leaf, message, .. } = publish;
            match to {
                None => self.office.hub.handle_message(self.now, store, leaf, &message, false),
                Some(number) => {
                    if let Some(gateway) = self.gateways.get_mut(number) {
                        gateway.replica.handle_message(self.now, leaf, &message);
                    }
                }
            }
        }
        moved
    }

    fn step_gateway(&mut self, number: usize) -> bool {
        let (now, stamp) = (self.now, self.stamp());
        let Some(gateway) = self.gateways.get_mut(number) else { return false };
        for row in gateway.reader.heads().unwrap() {
            if row.log.direction == Direction::Up {
                gateway.replica.handle_head(now, row.log, row.head);
            }
        }
        gateway.replica.tick(now);
        let mut moved = false;
        for _ in 0..256 {
            let Some(effect) = gateway.replica.poll_effect(now) else { break };
            moved = true;
            match effect {
                Effect::Publish(publish) => self.queue.push_back((None, publish)),
                other => gateway.effect(now, stamp, other),
            }
        }
        moved
    }

    fn step_office(&mut self) -> bool {
        let (now, stamp) = (self.now, self.stamp());
        for row in self.office.reader.heads().unwrap() {
            self.office.hub.handle_head(now, row.log, row.head);
        }
        self.office.hub.tick(now);
        let mut moved = false;
        for _ in 0..256 {
            let Some(effect) = self.office.hub.poll_effect(now) else { break };
            moved = true;
            match effect {
                Effect::Publish(publish) => {
                    // Every gateway with this identity hears HQ.
                    for number in 0..self.gateways.len() {
                        self.queue.push_back((Some(number), publish.clone()));
                    }
                }
                other => self.office.effect(now, stamp, other),
            }
        }
        moved
    }

    /// Sales, returns and the rest at the gateways, articles and rights at HQ.
    fn trade(&mut self, trades: &mut [Trade], facts: u64) {
        for (gateway, trade) in self.gateways.iter().zip(trades.iter_mut()) {
            trade.day(&gateway.ledger, self.day, facts);
        }
        trades[0].office(&self.office.ledger, self.day);
        self.day += 1;
    }

    fn store(&self) -> &Gateway {
        self.gateways.last().unwrap()
    }

    fn equal(&self) {
        let store = self.store();
        assert_eq!(folds(&store.path, STORE), folds(&self.office.path, STORE), "equal folds at both ends");
        let report = store.ledger.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let report = self.office.ledger.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
    }

    /// Tickets that HQ has: number of facts, numbers.
    fn tickets(&self) -> (usize, BTreeSet<(u16, u64)>) {
        let reader = self.office.ledger.reader().unwrap();
        let (mut count, mut numbers) = (0, BTreeSet::new());
        for row in reader.heads().unwrap() {
            for stored in reader.events(row.log, Seq(1), usize::MAX).unwrap() {
                if let Ok(Event { fact: Fact::Sale(sale), .. }) = stored.event {
                    count += 1;
                    numbers.insert((sale.till.0, sale.number));
                }
            }
        }
        (count, numbers)
    }

    /// Forgets what is older than `days` at the last gateway. Gives the records that went.
    fn forget(&mut self, days: i64) -> u64 {
        let rule = retention(self.day, days);
        let ledger = self.store().ledger.clone();
        let Some(plan) = ledger.reader().unwrap().plan_checkpoint(STORE, rule).unwrap() else { return 0 };
        let stamp = self.stamp();
        ledger.call(move |draft| draft.checkpoint(&plan, stamp)).unwrap();
        self.talk(120_000);
        let mut gone = 0;
        loop {
            let step = ledger.call(|draft| draft.truncate(777)).unwrap();
            gone += step.records;
            if step.done || step.records == 0 {
                return gone;
            }
        }
    }

    /// Switches a gateway off; its file stays.
    fn switch_off(&mut self, number: usize) -> PathBuf {
        self.gateways.remove(number).path
    }

    fn replace_office(&mut self, with: &Path) {
        let path = self.office.path.clone();
        let empty = office(&self.path("nobody.db"), 0);
        drop(std::mem::replace(&mut self.office, empty));
        copy(with, &path);
        drop(std::mem::replace(&mut self.office, office(&path, self.day)));
    }
}

/// Puts a ledger file where another one was.
fn copy(from: &Path, to: &Path) {
    for end in ["-wal", "-shm"] {
        let gone = PathBuf::from(format!("{}{end}", to.display()));
        if gone.exists() {
            std::fs::remove_file(gone).unwrap();
        }
    }
    std::fs::copy(from, to).unwrap();
}

impl Gateway {
    fn effect(&mut self, now: u64, stamp: Stamp, effect: Effect) {
        match effect {
            Effect::ReadBlock { token, range } => {
                match self.reader.block(range.log, range.first, range.max_records, range.max_bytes) {
                    Err(LedgerError::Truncated { floor, .. }) => {
                        self.replica.handle_truncated(now, token, floor);
                    }
                    read => self.replica.handle_block(now, token, read.unwrap()),
                }
            }
            Effect::CompareLink { token, log, at } => {
                let link = self.reader.link(log, at).unwrap();
                self.replica.handle_link(now, token, link);
            }
            Effect::Ingest { token, block, .. } => {
                let done = self.ledger.call(move |draft| draft.take_in(&block, stamp));
                let done = done.map(|taken| taken.ingested).map_err(|error| failure(&error));
                self.replica.handle_ingested(now, token, done);
            }
            Effect::RecordAck(ack) => self.ledger.call(move |draft| draft.acked(&ack)).unwrap(),
            Effect::OpenEpoch { reason, above, .. } => {
                self.ledger.call(move |draft| draft.open_epoch_above(reason, above, stamp)).unwrap();
            }
            Effect::Alarm(alarm) => self.alarms.push(alarm),
            _ => {}
        }
    }
}

impl Office {
    fn effect(&mut self, now: u64, stamp: Stamp, effect: Effect) {
        let say = |ledger: &Ledger, store: StoreId, fact: Fact| {
            let event = Event::new(stamp, fact);
            ledger.call(move |draft| draft.append_down(store, &event)).unwrap();
        };
        match effect {
            Effect::ReadBlock { token, range } => {
                let block =
                    self.reader.block(range.log, range.first, range.max_records, range.max_bytes).unwrap();
                self.hub.handle_block(now, token, block);
            }
            Effect::CompareLink { token, log, at } => {
                let link = self.reader.link(log, at).unwrap();
                self.hub.handle_link(now, token, link);
            }
            Effect::Ingest { token, block, .. } => self.ingest(now, token, stamp, block),
            Effect::RecordAck(ack) => self.ledger.call(move |draft| draft.acked(&ack)).unwrap(),
            Effect::Verdict { store, code, detail, of } => {
                say(
                    &self.ledger,
                    store,
                    Verdict { of, code: Text::lossy(code), detail: Text::lossy(&detail) }.into(),
                );
            }
            Effect::OrderEpoch { store, .. } => say(&self.ledger, store, Command::OpenEpoch.into()),
            Effect::OpenEpoch { log, .. } => self.ledger.call(move |draft| draft.close_down(log)).unwrap(),
            _ => {}
        }
    }

    fn ingest(&mut self, now: u64, token: Token, stamp: Stamp, block: sync_core::replica::Incoming) {
        let done = self.ledger.call(move |draft| draft.take_in(&block, stamp));
        let done = done.map(|taken| taken.ingested).map_err(|error| failure(&error));
        self.hub.handle_ingested(now, token, done);
    }
}

const LONG: u64 = 900_000;

#[test]
fn a_store_that_was_away_for_400_days_settles() {
    let mut world = World::new();
    let mut trades = [Trade::new(1)];
    for _ in 0..20 {
        world.trade(&mut trades, 20);
        world.talk(60_000);
    }
    let log = world.store().ledger.log().unwrap();
    let acked = world.store().ledger.reader().unwrap().head(log).unwrap().unwrap().acked;
    for _ in 0..400 {
        world.trade(&mut trades, 25);
    }
    // By itself the store forgets what HQ has, and nothing else, however old it is.
    let rule = retention(world.day, 90);
    let plan = world.store().ledger.reader().unwrap().plan_checkpoint(STORE, rule).unwrap().unwrap();
    let up = plan.fact().ends.iter().find(|end| end.direction == Direction::Up).unwrap();
    assert_eq!(up.upto, acked);
    world.talk(LONG);
    let head = world.store().ledger.reader().unwrap().head(log).unwrap().unwrap();
    assert!(head.head.0 > 8_000 && head.acked == head.head, "{head:?}");
    assert_eq!(world.store().ledger.log(), Some(log), "no new name for an honest store");
    world.equal();
    assert!(world.forget(90) > 5_000);
    world.equal();
}

#[test]
fn a_gateway_restored_from_a_30_day_old_backup_gets_back_what_it_lost() {
    let mut world = World::new();
    let mut trades = [Trade::new(2)];
    let backup = world.path("backup.db");
    for day in 0..120 {
        world.trade(&mut trades, 20);
        world.talk(30_000);
        if day == 60 {
            assert!(world.forget(30) > 500);
        }
        if day == 89 {
            world.store().ledger.backup(&backup).unwrap();
        }
    }
    assert!(world.forget(30) > 500, "the ledger that is lost had forgotten more than its backup");
    let (before, numbers) = world.tickets();
    assert_eq!(before, numbers.len());
    let path = world.switch_off(0);
    copy(&backup, &path);
    let report = world.switch_on(&path);
    assert!(report.restored);
    let first = world.store().ledger.log().unwrap();
    let opened = world.store().ledger.reader().unwrap().events(first, Seq(1), 1).unwrap().remove(0);
    assert!(
        matches!(opened.event.unwrap().fact, Fact::EpochOpened(opened) if opened.reason == EpochReason::Restored)
    );
    world.trade(&mut trades, 30);
    world.talk(LONG);
    world.equal();
    let (count, now) = world.tickets();
    assert_eq!(count, now.len(), "no ticket twice");
    assert!(now.is_superset(&numbers), "none is gone");
    assert!(world.store().alarms.iter().any(|alarm| matches!(alarm, Alarm::Returned { .. })));
    assert!(world.forget(30) > 500, "and it forgets again");
    world.equal();
}

#[test]
fn a_cloned_gateway_costs_a_name_and_no_fact() {
    let mut world = World::new();
    let mut trades = [Trade::new(3)];
    for _ in 0..40 {
        world.trade(&mut trades, 20);
        world.talk(30_000);
    }
    assert!(world.forget(10) > 200);
    // A disk image, witness and all, while the gateway is off.
    let path = world.switch_off(0);
    let twin = world.path("twin.db");
    for end in ["", "-wal", ".generation"] {
        let from = PathBuf::from(format!("{}{end}", path.display()));
        if from.exists() {
            std::fs::copy(from, format!("{}{end}", twin.display())).unwrap();
        }
    }
    world.switch_on(&path);
    world.switch_on(&twin);
    let logs: BTreeMap<usize, LogId> =
        (0..2).map(|at| (at, world.gateways[at].ledger.log().unwrap())).collect();
    assert_eq!(logs[&0], logs[&1], "nobody can tell them apart yet");
    for (number, gateway) in world.gateways.iter().enumerate() {
        for ticket in 0..15 {
            let number = 1_000_000 * (u64::try_from(number).unwrap() + 1) + ticket;
            gateway.ledger.call(move |draft| draft.append(&event(1, sale(number)))).unwrap();
        }
    }
    world.day += 1;
    let before = world.messages;
    world.talk(LONG);
    let said = world.messages - before;
    assert!(said < 5_000, "{said} messages in a quarter of an hour is a storm");
    let (count, numbers) = world.tickets();
    assert_eq!(count, numbers.len(), "nothing twice");
    for number in 1..=2_u64 {
        for ticket in 0..15 {
            let number = 1_000_000 * number + ticket;
            assert!(numbers.iter().any(|(_, found)| *found == number), "ticket {number} is not at HQ");
        }
    }
    assert_ne!(world.gateways[0].ledger.log(), world.gateways[1].ledger.log(), "each has a name of its own");
    for gateway in &world.gateways {
        assert!(gateway.ledger.verify().unwrap().ok());
    }
    assert!(world.office.ledger.verify().unwrap().ok());
    // It ends: no names are drawn for ever.
    let names: Vec<Option<LogId>> = world.gateways.iter().map(|gateway| gateway.ledger.log()).collect();
    let heads = positions(&world.office.ledger).len();
    world.talk(LONG);
    assert_eq!(names, world.gateways.iter().map(|gateway| gateway.ledger.log()).collect::<Vec<_>>());
    assert_eq!(heads, positions(&world.office.ledger).len());
}

#[test]
fn a_hq_restored_from_yesterday_gets_everything_again_from_a_store_that_forgets() {
    let mut world = World::new();
    let mut trades = [Trade::new(4)];
    let backup = world.path("yesterday.db");
    for day in 0..130 {
        world.trade(&mut trades, 20);
        world.talk(30_000);
        if day == 100 {
            assert!(world.forget(90) > 100);
        }
        if day == 128 {
            world.office.ledger.backup(&backup).unwrap();
        }
    }
    assert!(world.forget(90) > 100);
    let (count, numbers) = world.tickets();
    world.replace_office(&backup);
    assert!(world.tickets().0 < count);
    world.trade(&mut trades, 20);
    world.talk(LONG);
    world.equal();
    let (again, now) = world.tickets();
    assert!(now.is_superset(&numbers) && again == now.len());
    assert!(!world.store().alarms.iter().any(|alarm| matches!(alarm, Alarm::Truncated { .. })));
}

#[test]
fn a_hq_older_than_the_retention_is_said_to_be_and_waits_for_a_newer_backup() {
    let mut world = World::new();
    let mut trades = [Trade::new(5)];
    let (ancient, recent) = (world.path("ancient.db"), world.path("recent.db"));
    for day in 0..130 {
        world.trade(&mut trades, 20);
        world.talk(30_000);
        if day == 3 {
            world.office.ledger.backup(&ancient).unwrap();
        }
        if day == 120 {
            world.office.ledger.backup(&recent).unwrap();
        }
    }
    assert!(world.forget(90) > 300);
    world.replace_office(&ancient);
    world.trade(&mut trades, 20);
    world.talk(LONG);
    let said = |world: &World| {
        let alarms = &world.store().alarms;
        alarms
            .iter()
            .filter(|alarm| matches!(alarm, Alarm::Truncated { log, .. } if log.direction == Direction::Up))
            .count()
    };
    assert_eq!(said(&world), 1, "once, and no storm: {:?}", world.store().alarms);
    let log = world.store().ledger.log().unwrap();
    let at_hq = world.office.ledger.reader().unwrap().head(log).unwrap().unwrap().head;
    assert!(at_hq < world.store().ledger.reader().unwrap().floor(log).unwrap());
    world.trade(&mut trades, 20);
    world.replace_office(&recent);
    world.talk(LONG);
    world.equal();
    assert_eq!(said(&world), 1);
}
