//! Shared stock, reservations, registers and transfers when stores are put back to a backup, or rolled back without noticing:
//! no promise beyond what is there, no reservation that ends twice, the same folds at both ends once everything is known.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{event, open, stamp};
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use sync_core::StockAccount;
use sync_core::replica::Incoming;
use sync_model::{
    BusinessDay, Currency, DeviceClass, DeviceEntry, DeviceId, Direction, FactRef, LogId, LotId, Milli,
    Minor, RegisterValue, ReservationOpened, ReservationOutcome, RightsIssued, RightsReturned, Sale,
    SaleLine, Seq, Sku, StoreId, Tender, TenderKind, Text, TillId, UnixMillis,
};
use sync_store::{IngestOutcome, Ledger, LedgerError, Owner};
use tempfile::TempDir;

const SKU: Sku = Sku(1_001);
/// Not under shared rights.
const PLAIN: Sku = Sku(1_002);
const STORES: [StoreId; 2] = [StoreId(1), StoreId(2)];

fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { TempDir::new_in(shm).unwrap() } else { TempDir::new().unwrap() }
}

fn sell(number: u64, sku: Sku, quantity: i64) -> Sale {
    let line = SaleLine {
        sku,
        lot: LotId::default(),
        quantity: Milli(quantity),
        unit_price: Minor(0),
        discount: Minor(0),
        amount: Minor(0),
        tax_rate: 0,
        weighing: None,
        batch: None,
    };
    let tenders = vec![Tender { kind: TenderKind::Cash, amount: Minor(0) }];
    let (day, currency) = (BusinessDay(20_700), Currency::CNY);
    Sale { till: TillId(1), number, day, currency, lines: vec![line], tenders }
}

fn wish(sku: Sku, quantity: i64) -> ReservationOpened {
    let (channel, reference) = (Text::new("web").unwrap(), Text::new("o").unwrap());
    ReservationOpened { sku, quantity: Milli(quantity), channel, reference, expires: UnixMillis(0) }
}

fn refused_or<T>(result: Result<T, LedgerError>) -> Option<T> {
    match result {
        Ok(done) => Some(done),
        Err(LedgerError::Refused(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Copies a closed ledger with its witness.
fn image(from: &Path, to: &Path) {
    for suffix in ["", "-wal", ".generation"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let (from, to) = (name(from), name(to));
        if from.exists() {
            std::fs::copy(&from, &to).unwrap();
        } else if to.exists() {
            std::fs::remove_file(&to).unwrap();
        }
    }
}

/// Two stores and HQ.
struct World {
    stores: Vec<Ledger>,
    hq: Ledger,
    clock: i64,
    numbers: u64,
    copies: u32,
    folder: TempDir,
}

impl World {
    /// Goods of store 1 are shared, some of them granted to each; both know it.
    fn new(issued: i64, granted: i64) -> Self {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let stores: Vec<Ledger> = STORES
            .iter()
            .map(|store| open(&path(&format!("store-{store}")), Owner::Store(*store)).0)
            .collect();
        let hq = open(&path("hq"), Owner::Hq).0;
        let mut world = Self { stores, hq, clock: 0, numbers: 0, copies: 0, folder };
        world.settle();
        world.issue(issued);
        for at in 0..2 {
            world.grant(at, granted);
        }
        world.settle();
        for at in 0..2 {
            world.back_up(at);
            world.photograph(at);
        }
        world
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn path(&self, name: &str, at: usize) -> PathBuf {
        self.folder.path().join(format!("{name}-{at}"))
    }

    fn back_up(&mut self, at: usize) {
        let path = self.path("backup", at);
        drop(std::fs::remove_file(&path));
        self.stores[at].backup(&path).unwrap();
    }

    /// The disk is replaced and the backup put on the new one.
    fn restore(&mut self, at: usize) {
        self.copies += 1;
        let new = self.path(&format!("restored-{}", self.copies), at);
        std::fs::copy(self.path("backup", at), &new).unwrap();
        drop(self.stores.remove(at));
        self.clock += 2_000;
        let (ledger, report) = open(&new, Owner::Store(STORES[at]));
        assert!(report.restored);
        self.stores.insert(at, ledger);
    }

    /// An image of the whole machine, taken while it is off.
    fn photograph(&mut self, at: usize) {
        let path = self.stores[at].path().to_owned();
        drop(self.stores.remove(at));
        image(&path, &self.path("image", at));
        self.stores.insert(at, open(&path, Owner::Store(STORES[at])).0);
    }

    /// The whole machine goes back to its image: from inside it looks healthy.
    fn roll_back(&mut self, at: usize) {
        self.copies += 1;
        let new = self.path(&format!("rolled-{}", self.copies), at);
        image(&self.path("image", at), &new);
        drop(self.stores.remove(at));
        self.stores.insert(at, open(&new, Owner::Store(STORES[at])).0);
    }

    fn take(ledger: &Ledger, block: &Incoming, now: i64) -> IngestOutcome {
        let (block, stamp) = (block.clone(), stamp(now));
        ledger.call(move |draft| draft.take_in(&block, stamp)).unwrap().ingested.outcome
    }

    /// Gives every record of a log that `to` lacks, at most `count`; answers whether the two histories differ.
    fn give(&mut self, from: &Ledger, to: &Ledger, log: LogId, count: usize) -> bool {
        let (reader, known) = (from.reader().unwrap(), to.reader().unwrap());
        let Some(end) = reader.head(log).unwrap() else { return false };
        let known = known.head(log).unwrap();
        let mut first = known.map_or(Seq(1), |row| row.head.next());
        // The last common record is given again, so that another history is noticed.
        if known.is_some_and(|row| row.head >= Seq(1)) {
            first = Seq(first.0.min(end.head.0 + 1).saturating_sub(1).max(1));
        }
        let mut left = count;
        while left > 0 && first <= end.head {
            let block = reader.block(log, first, left.min(64), 40_000).unwrap().unwrap();
            left = left.saturating_sub(block.records.len());
            first = block.last().next();
            let now = self.tick();
            match Self::take(to, &Incoming::from(block), now) {
                IngestOutcome::Applied { .. } | IngestOutcome::Duplicate => {}
                IngestOutcome::Equivocation { .. } | IngestOutcome::ChainBreak { .. } => return true,
                IngestOutcome::Gap { missing } => first = missing.0,
            }
        }
        false
    }

    /// HQ's history of a log goes back to its store from the beginning.
    fn return_history(&mut self, at: usize, log: LogId) {
        let reader = self.hq.reader().unwrap();
        let end = reader.head(log).unwrap().unwrap().head;
        let mut first = Seq(1);
        while first <= end {
            let block = reader.block(log, first, 64, 40_000).unwrap().unwrap();
            first = block.last().next();
            let now = self.tick();
            let outcome = Self::take(&self.stores[at], &Incoming::from(block), now);
            assert!(
                matches!(outcome, IngestOutcome::Applied { .. } | IngestOutcome::Duplicate),
                "{log}: {outcome:?}"
            );
        }
    }

    fn logs(ledger: &Ledger, store: StoreId, direction: Direction) -> Vec<LogId> {
        let mut logs: Vec<LogId> =
            ledger.reader().unwrap().heads().unwrap().iter().map(|row| row.log).collect();
        logs.retain(|log| (log.store, log.direction) == (store, direction));
        logs.sort_unstable();
        logs
    }

    fn up(&mut self, at: usize, count: usize) {
        for log in Self::logs(&self.stores[at], STORES[at], Direction::Up) {
            let (store, hq) = (self.stores[at].clone(), self.hq.clone());
            if self.give(&store, &hq, log, count) {
                drop((store, hq));
                self.return_history(at, log);
            }
        }
    }

    fn down(&mut self, at: usize, count: usize) {
        for log in Self::logs(&self.hq, STORES[at], Direction::Down) {
            let (store, hq) = (self.stores[at].clone(), self.hq.clone());
            assert!(!self.give(&hq, &store, log, count));
        }
    }

    fn settle(&mut self) {
        for (at, store) in STORES.into_iter().enumerate().take(2) {
            for _ in 0..3 {
                self.up(at, usize::MAX);
                for log in Self::logs(&self.hq, store, Direction::Up) {
                    let ends = [&self.hq, &self.stores[at]]
                        .map(|ledger| ledger.reader().unwrap().head(log).unwrap());
                    if ends[0].map(|row| row.link) != ends[1].map(|row| row.link) {
                        self.return_history(at, log);
                    }
                }
                self.down(at, usize::MAX);
            }
        }
    }

    fn issue(&mut self, quantity: i64) {
        let event = event(self.tick(), RightsIssued { sku: SKU, quantity: Milli(quantity) });
        refused_or(self.hq.call(move |draft| draft.append_down(STORES[0], &event)));
    }

    fn grant(&mut self, at: usize, quantity: i64) {
        let now = stamp(self.tick());
        refused_or(self.hq.call(move |draft| draft.grant(now, STORES[at], SKU, Milli(quantity))));
    }

    fn fence_old(&mut self, at: usize, every: bool) {
        let mut logs = Self::logs(&self.hq, STORES[at], Direction::Up);
        if !every {
            logs.pop();
        }
        for log in logs {
            let now = stamp(self.tick());
            self.hq.call(move |draft| draft.fence(now, log.store, log.epoch)).unwrap();
        }
    }

    fn reserve(&mut self, at: usize, sku: Sku, quantity: i64) -> Option<FactRef> {
        let now = stamp(self.tick());
        refused_or(self.stores[at].call(move |draft| draft.promise(now, wish(sku, quantity))))
            .map(FactRef::from)
    }

    fn end(&mut self, at: usize, which: usize, posted: bool) {
        let open = self.stores[at].reader().unwrap().open_reservations(STORES[at]).unwrap();
        if open.is_empty() {
            return;
        }
        let named = open[which % open.len()].reservation;
        let outcome = if posted { ReservationOutcome::Posted } else { ReservationOutcome::Voided };
        let now = stamp(self.tick());
        refused_or(self.stores[at].call(move |draft| draft.end_promise(now, named, outcome)));
    }

    fn sell(&mut self, at: usize, sku: Sku, quantity: i64) {
        self.numbers += 1;
        let event = event(self.tick(), sell(self.numbers, sku, quantity));
        self.stores[at].call(move |draft| draft.append(&event)).unwrap();
    }

    fn give_back(&mut self, at: usize, quantity: i64) {
        let back = event(self.tick(), RightsReturned { sku: SKU, quantity: Milli(quantity) });
        refused_or(self.stores[at].call(move |draft| draft.append(&back)));
    }

    fn write(&mut self, at: usize, by_hq: bool, value: i64) {
        let (now, name) = (stamp(self.tick()), Text::new("threshold/a").unwrap());
        let ledger = if by_hq { &self.hq } else { &self.stores[at] };
        let value = RegisterValue::Number(value);
        ledger.call(move |draft| draft.write_register(now, STORES[at], name, value)).unwrap();
    }

    fn describe(&mut self, at: usize, by_hq: bool, label: Option<&str>) {
        let entry =
            label.map(|label| DeviceEntry { class: DeviceClass::Cabinet, label: Text::new(label).unwrap() });
        let (now, device) = (stamp(self.tick()), DeviceId::new("cabinet-1").unwrap());
        let ledger = if by_hq { &self.hq } else { &self.stores[at] };
        ledger.call(move |draft| draft.change_registry(now, STORES[at], device, entry)).unwrap();
    }

    fn account(&self, sku: Sku, account: StockAccount) -> i64 {
        let hq = self.hq.reader().unwrap();
        let rows = STORES.iter().flat_map(|store| hq.balances(*store).unwrap());
        rows.filter(|row| row.sku == sku && row.account == account).map(|row| row.quantity.0).sum()
    }

    /// Promises and reservations of an article that nobody ended.
    fn pending(&self, sku: Sku) -> i64 {
        let hq = self.hq.reader().unwrap();
        let rows = STORES.iter().flat_map(|store| hq.open_reservations(*store).unwrap());
        rows.filter(|row| row.opened.sku == sku).map(|row| row.opened.quantity.0).sum()
    }

    /// Once everything is known everywhere.
    fn check_settled(&mut self) {
        self.settle();
        let hq = self.hq.reader().unwrap();
        let mut issued = 0;
        let mut held = 0;
        for (at, store) in STORES.iter().enumerate() {
            let own = self.stores[at].reader().unwrap();
            assert_eq!(hq.balances(*store).unwrap(), own.balances(*store).unwrap());
            assert_eq!(hq.rights(*store, None).unwrap(), own.rights(*store, None).unwrap());
            assert_eq!(hq.open_reservations(*store).unwrap(), own.open_reservations(*store).unwrap());
            assert_eq!(hq.registers(*store).unwrap(), own.registers(*store).unwrap());
            assert_eq!(hq.registry(*store).unwrap(), own.registry(*store).unwrap());
            assert_eq!(hq.conflicts(*store, true).unwrap(), own.conflicts(*store, true).unwrap());
            for ledger in [&self.stores[at], &self.hq] {
                let report = ledger.verify().unwrap();
                assert!(report.ok(), "{:?}", report.problems);
            }
            for row in hq.rights(*store, Some(SKU)).unwrap() {
                issued += row.sums.issued;
                held += row.sums.held().max(0);
            }
        }
        for sku in [SKU, PLAIN] {
            assert_eq!(
                self.account(sku, StockAccount::Reserved),
                self.pending(sku),
                "reserved is what is pending"
            );
        }
        // Whoever may still be given goods: pending promises, rights that somebody holds, rights that HQ may grant.
        let pool = hq.pools().unwrap().get(&SKU).map_or(0, |pool| pool.0);
        let (gone, pending) = (self.account(SKU, StockAccount::Sold), self.pending(SKU));
        assert!(
            pool + held + pending <= issued - gone,
            "{pool} in the pool, {held} held, {pending} promised of {issued} less {gone} that left"
        );
    }
}

#[test]
fn a_promise_that_ended_before_the_restore_and_again_after_it_frees_its_rights_once() {
    for (before, after) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = World::new(10_000, 5_000);
        world.reserve(0, SKU, 4_000).unwrap();
        world.reserve(0, PLAIN, 3_000).unwrap();
        world.up(0, usize::MAX);
        world.back_up(0);
        // The end of both, and the goods of the first, reach HQ and are then forgotten at the store.
        world.end(0, 0, before);
        world.end(0, 0, before);
        if before {
            world.sell(0, SKU, 4_000);
        }
        world.up(0, usize::MAX);
        world.restore(0);
        world.end(0, 0, after);
        world.end(0, 0, after);
        if after {
            world.sell(0, SKU, 4_000);
        }
        world.check_settled();
        world.fence_old(0, false);
        world.check_settled();
        let rows = world.hq.reader().unwrap().conflicts(STORES[0], false).unwrap();
        let both: Vec<&str> =
            rows.iter().map(|row| row.kind).filter(|kind| *kind == "promise-both").collect();
        assert_eq!(both.len(), if before == after { 0 } else { 2 }, "{rows:?}");
    }
}

#[test]
fn what_a_fenced_epoch_spent_late_is_missing_in_the_pool() {
    let mut world = World::new(5_000, 5_000);
    world.reserve(0, SKU, 4_000).unwrap();
    world.fence_old(0, true);
    world.grant(1, 5_000);
    world.check_settled();
    assert_eq!(world.hq.reader().unwrap().pools().unwrap()[&SKU], Milli(-4_000));
    // Four new ones are owed already.
    world.issue(4_000);
    let now = stamp(world.tick());
    let fifth = world.hq.call(move |draft| draft.grant(now, STORES[1], SKU, Milli(1)));
    assert!(matches!(fifth, Err(LedgerError::Refused(refusal)) if refusal.code == "pool-empty"));
    // The channel takes its promise back: they are there again.
    world.end(0, 0, false);
    world.check_settled();
    assert_eq!(world.hq.reader().unwrap().pools().unwrap()[&SKU], Milli(4_000));
}

#[test]
fn goods_of_a_promise_posted_before_a_new_epoch_leave_under_it() {
    let mut world = World::new(10_000, 10_000);
    world.reserve(0, SKU, 4_000).unwrap();
    world.end(0, 0, true);
    let now = stamp(world.tick());
    world.stores[0].call(move |draft| draft.open_epoch(sync_model::EpochReason::Ordered, now)).unwrap();
    world.sell(0, SKU, 4_000);
    world.settle();
    world.fence_old(0, false);
    world.check_settled();
    assert_eq!(world.hq.reader().unwrap().pools().unwrap()[&SKU], Milli(6_000), "nothing was short");
}

#[test]
fn a_store_that_makes_up_rights_makes_none_for_others() {
    let mut world = World::new(5_000, 5_000);
    let log = world.stores[0].log().unwrap();
    let reader = world.stores[0].reader().unwrap();
    let head = reader.head(log).unwrap().unwrap();
    let promise = FactRef { epoch: log.epoch, seq: Seq(4_711) };
    let facts: [sync_model::Fact; 4] = [
        RightsReturned { sku: SKU, quantity: Milli(900_000) }.into(),
        sync_model::PromiseClosed {
            promise,
            sku: SKU,
            quantity: Milli(800_000),
            outcome: ReservationOutcome::Voided,
        }
        .into(),
        sync_model::PromiseClosed {
            promise,
            sku: SKU,
            quantity: Milli(700_000),
            outcome: ReservationOutcome::Posted,
        }
        .into(),
        sync_model::PromiseClosed {
            promise: FactRef { seq: Seq(4_712), ..promise },
            sku: SKU,
            quantity: Milli(600_000),
            outcome: ReservationOutcome::Voided,
        }
        .into(),
    ];
    let records = facts.into_iter().map(|fact| event(1, fact).to_record().unwrap()).collect();
    let forged = sync_core::Block { log, first: head.head.next(), prev: head.link, records };
    let outcome = World::take(&world.hq, &Incoming::from(forged), 5);
    assert!(matches!(outcome, IngestOutcome::Applied { odd: 0, .. }), "{outcome:?}");
    world.fence_old(0, true);
    let pool = world.hq.reader().unwrap().pools().unwrap()[&SKU];
    assert!(pool <= Milli(5_000), "{pool} in the pool of 5.000");
    let report = world.hq.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}

#[test]
fn a_removal_under_a_contested_name_removes_all_the_same() {
    let mut world = World::new(5_000, 1_000);
    world.describe(0, false, Some("old place"));
    world.write(0, false, 1);
    world.settle();
    world.photograph(0);
    // What reaches HQ and is forgotten, and what is done instead under the same names.
    world.sell(0, PLAIN, 1_000);
    world.up(0, usize::MAX);
    world.roll_back(0);
    world.describe(0, false, None);
    world.write(0, false, 2);
    world.check_settled();
    let hq = world.hq.reader().unwrap();
    assert_eq!(hq.registry(STORES[0]).unwrap(), [], "it had seen what it removed");
    assert_eq!(hq.registers(STORES[0]).unwrap()[0].values, [RegisterValue::Number(2)]);
    assert_eq!(hq.conflicts(STORES[0], true).unwrap(), []);
}

#[test]
fn a_ticket_number_that_was_used_again_after_a_restore_counts_the_same_everywhere() {
    let mut world = World::new(50_000, 5_000);
    // Ticket 1 reaches HQ and is forgotten; the till gives the number again, to another basket.
    world.back_up(0);
    world.sell(0, PLAIN, 1_000);
    world.up(0, usize::MAX);
    world.restore(0);
    world.numbers -= 1;
    world.sell(0, PLAIN, 7_000);
    world.check_settled();
    assert_eq!(
        world.account(PLAIN, StockAccount::Sold),
        1_000,
        "the first one counts, the other one is kept aside"
    );
    let store = world.stores[0].reader().unwrap();
    let differences = store.books(STORES[0]).unwrap().check(&store.folds(STORES[0]).unwrap());
    assert!(differences.is_empty(), "{differences:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Issue(i64),
    Grant(usize, i64),
    Reserve(usize, bool, i64),
    End(usize, usize, bool),
    Sell(usize, i64),
    GiveBack(usize, i64),
    Write(usize, bool, i64),
    Describe(usize, bool, Option<u8>),
    Fence(usize, bool),
    BackUp(usize),
    Restore(usize),
    Photograph(usize),
    RollBack(usize),
    Up(usize, usize),
    Down(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (at, quantity) = (0..2_usize, 1..5_i64);
    let step = prop_oneof![
        1 => quantity.clone().prop_map(Step::Issue),
        3 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Grant(at, quantity)),
        6 => (at.clone(), prop::bool::weighted(0.7), quantity.clone())
            .prop_map(|(at, shared, quantity)| Step::Reserve(at, shared, quantity)),
        6 => (at.clone(), 0..3_usize, any::<bool>()).prop_map(|(at, which, posted)| Step::End(at, which, posted)),
        3 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Sell(at, quantity)),
        1 => (at.clone(), quantity).prop_map(|(at, quantity)| Step::GiveBack(at, quantity)),
        2 => (at.clone(), any::<bool>(), 0..3_i64).prop_map(|(at, hq, value)| Step::Write(at, hq, value)),
        2 => (at.clone(), any::<bool>(), prop::option::of(0..2_u8))
            .prop_map(|(at, hq, label)| Step::Describe(at, hq, label)),
        2 => (at.clone(), any::<bool>()).prop_map(|(at, every)| Step::Fence(at, every)),
        2 => at.clone().prop_map(Step::BackUp),
        2 => at.clone().prop_map(Step::Restore),
        2 => at.clone().prop_map(Step::Photograph),
        2 => at.clone().prop_map(Step::RollBack),
        6 => (at.clone(), 1..20_usize).prop_map(|(at, count)| Step::Up(at, count)),
        4 => (at, 1..20_usize).prop_map(|(at, count)| Step::Down(at, count)),
    ];
    prop::collection::vec(step, 10..50)
}

fn play(steps: &[Step]) {
    let mut world = World::new(20, 6);
    for step in steps {
        match *step {
            Step::Issue(quantity) => world.issue(quantity),
            Step::Grant(at, quantity) => world.grant(at, quantity),
            Step::Reserve(at, shared, quantity) => {
                world.reserve(at, if shared { SKU } else { PLAIN }, quantity);
            }
            Step::End(at, which, posted) => world.end(at, which, posted),
            Step::Sell(at, quantity) => world.sell(at, SKU, quantity),
            Step::GiveBack(at, quantity) => world.give_back(at, quantity),
            Step::Write(at, hq, value) => world.write(at, hq, value),
            Step::Describe(at, hq, label) => {
                let label = label.map(|label| format!("place {label}"));
                world.describe(at, hq, label.as_deref());
            }
            Step::Fence(at, every) => world.fence_old(at, every),
            Step::BackUp(at) => world.back_up(at),
            Step::Restore(at) => world.restore(at),
            Step::Photograph(at) => world.photograph(at),
            Step::RollBack(at) => world.roll_back(at),
            Step::Up(at, count) => world.up(at, count),
            Step::Down(at, count) => world.down(at, count),
        }
    }
    world.check_settled();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_promised_twice_whatever_is_put_back(steps in steps()) {
        play(&steps);
    }
}
