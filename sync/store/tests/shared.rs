//! Stores and HQ over shared things: rights, promises, transfers, registers; delivery late, partial and twice.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{event, open, receipt, stamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_core::StockAccount;
use sync_model::{
    BusinessDay, ConflictSettled, Currency, DeviceClass, DeviceEntry, DeviceId, Direction, Epoch,
    EpochReason, FactRef, HqConflictSettled, LogId, LotId, Milli, Minor, RegisterValue, ReservationOpened,
    ReservationOutcome, RightsIssued, RightsReturned, Sale, SaleLine, Seq, Sku, StoreId, Tender, TenderKind,
    Text, TillId, TransferClosed, TransferIn, TransferLine, TransferOut, UnixMillis,
};
use sync_store::{ConflictRow, Ledger, LedgerError, Owner, TransferRow};
use tempfile::TempDir;

const SKU: Sku = Sku(1_001);
const STORES: [StoreId; 3] = [StoreId(1), StoreId(2), StoreId(3)];

fn folder() -> TempDir {
    let shm = std::path::Path::new("/dev/shm");
    if shm.is_dir() { TempDir::new_in(shm).unwrap() } else { TempDir::new().unwrap() }
}

fn sell(number: u64, quantity: i64) -> Sale {
    let line = SaleLine {
        sku: SKU,
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

fn wish(quantity: i64) -> ReservationOpened {
    let (channel, reference) = (Text::new("web").unwrap(), Text::new("o").unwrap());
    ReservationOpened { sku: SKU, quantity: Milli(quantity), channel, reference, expires: UnixMillis(0) }
}

fn goods(quantity: i64) -> Vec<TransferLine> {
    vec![TransferLine { sku: SKU, lot: LotId::default(), quantity: Milli(quantity) }]
}

fn code<T: std::fmt::Debug>(result: Result<T, LedgerError>) -> &'static str {
    match result {
        Err(LedgerError::Refused(refusal)) => refusal.code,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Three stores and HQ.
struct World {
    stores: Vec<Ledger>,
    hq: Ledger,
    clock: i64,
    numbers: u64,
    open: Vec<Vec<FactRef>>,
    _folder: TempDir,
}

impl World {
    fn new() -> Self {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let stores: Vec<Ledger> = STORES
            .iter()
            .map(|store| open(&path(&format!("store-{store}")), Owner::Store(*store)).0)
            .collect();
        let hq = open(&path("hq"), Owner::Hq).0;
        let open = vec![Vec::new(); 3];
        let mut world = Self { stores, hq, clock: 0, numbers: 0, open, _folder: folder };
        for at in 0..3 {
            world.up(at, usize::MAX, 0);
        }
        world
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    /// Moves at most `count` records of a log, beginning `back` records early.
    fn carry(from: &Ledger, to: &Ledger, direction: Direction, store: StoreId, count: usize, back: u64) {
        let reader = from.reader().unwrap();
        for head in reader.heads().unwrap() {
            if (head.log.store, head.log.direction) != (store, direction) {
                continue;
            }
            let known = to.reader().unwrap().head(head.log).unwrap().map_or(Seq::ZERO, |row| row.head);
            let mut first = Seq(known.0.saturating_sub(back) + 1);
            let mut left = count;
            while left > 0 && first <= head.head {
                let Some(block) = reader.block(head.log, first, left.min(64), 40_000).unwrap() else { break };
                left = left.saturating_sub(block.records.len());
                first = block.last().next();
                to.call(move |draft| draft.ingest(&block, UnixMillis(1))).unwrap();
            }
        }
    }

    fn up(&mut self, at: usize, count: usize, back: u64) {
        Self::carry(&self.stores[at], &self.hq, Direction::Up, STORES[at], count, back);
    }

    fn down(&mut self, at: usize, count: usize, back: u64) {
        Self::carry(&self.hq, &self.stores[at], Direction::Down, STORES[at], count, back);
    }

    fn settle(&mut self) {
        for at in 0..3 {
            self.up(at, usize::MAX, 3);
            self.down(at, usize::MAX, 3);
        }
    }

    fn held(&self, at: usize) -> i64 {
        self.stores[at].reader().unwrap().rights_held(STORES[at], SKU).unwrap().map_or(0, |held| held.0)
    }

    fn issue(&mut self, at: usize, quantity: i64) -> Result<(), LedgerError> {
        let fact = RightsIssued { sku: SKU, quantity: Milli(quantity) };
        let event = event(self.tick(), fact);
        self.hq.call(move |draft| draft.append_down(STORES[at], &event)).map(|_| ())
    }

    fn grant(&mut self, at: usize, quantity: i64) -> Result<(), LedgerError> {
        let now = stamp(self.tick());
        self.hq.call(move |draft| draft.grant(now, STORES[at], SKU, Milli(quantity))).map(|_| ())
    }

    fn promise(&mut self, at: usize, quantity: i64) -> Result<FactRef, LedgerError> {
        let now = stamp(self.tick());
        let id = self.stores[at].call(move |draft| draft.promise(now, wish(quantity)))?;
        self.open[at].push(id.into());
        Ok(id.into())
    }

    fn end(&mut self, at: usize, promise: FactRef, outcome: ReservationOutcome) -> Result<(), LedgerError> {
        let now = stamp(self.tick());
        self.open[at].retain(|open| *open != promise);
        self.stores[at].call(move |draft| draft.end_promise(now, promise, outcome)).map(|_| ())
    }

    fn sell(&mut self, at: usize, quantity: i64) {
        self.numbers += 1;
        let event = event(self.tick(), sell(self.numbers, quantity));
        self.stores[at].call(move |draft| draft.append(&event)).unwrap();
    }

    fn write(&mut self, at: usize, by_hq: bool, name: &str, value: i64) {
        let (now, name) = (stamp(self.tick()), Text::new(name).unwrap());
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

    /// What must hold at every moment.
    fn check(&self, fenced: bool) {
        let hq = self.hq.reader().unwrap();
        let mut issued = 0;
        let mut committed = 0;
        let mut transit = 0;
        for (at, store) in STORES.iter().enumerate() {
            issued += hq.rights(*store, Some(SKU)).unwrap().iter().map(|row| row.sums.issued).sum::<i64>();
            for row in self.stores[at].reader().unwrap().rights(*store, Some(SKU)).unwrap() {
                let sums = row.sums;
                assert!(fenced || sums.held() >= 0, "rights below zero: {row:?}");
                committed += sums.promised - sums.voided + sums.taken;
            }
            let mut by_sku: BTreeMap<Sku, i64> = BTreeMap::new();
            for balance in hq.balances(*store).unwrap() {
                *by_sku.entry(balance.sku).or_default() += balance.quantity.0;
                if balance.account == StockAccount::Transit {
                    transit += balance.quantity.0;
                }
            }
            assert!(by_sku.values().all(|sum| *sum == 0), "store {store} is out of balance");
        }
        assert!(fenced || committed <= issued, "{committed} promised of {issued} issued");
        let listed: i64 = hq.transfers().unwrap().iter().map(|row| row.in_transit().0).sum();
        assert_eq!(listed, transit, "every unit between stores is in a listed transfer");
    }

    /// Equal vectors, equal folds.
    fn check_settled(&mut self) {
        self.settle();
        let hq = self.hq.reader().unwrap();
        for (at, store) in STORES.iter().enumerate() {
            let own = self.stores[at].reader().unwrap();
            assert_eq!(hq.rights(*store, None).unwrap(), own.rights(*store, None).unwrap());
            assert_eq!(hq.registers(*store).unwrap(), own.registers(*store).unwrap());
            assert_eq!(hq.registry(*store).unwrap(), own.registry(*store).unwrap());
            assert_eq!(hq.balances(*store).unwrap(), own.balances(*store).unwrap());
            let only_shared = |rows: Vec<ConflictRow>| -> Vec<ConflictRow> {
                rows.into_iter().filter(|row| row.kind != "transfer-surplus").collect()
            };
            let of_hq = only_shared(hq.conflicts(*store, true).unwrap());
            assert_eq!(of_hq, only_shared(own.conflicts(*store, true).unwrap()));
            assert!(self.stores[at].verify().unwrap().ok());
        }
        assert!(self.hq.verify().unwrap().ok(), "{:?}", self.hq.verify());
    }
}

#[test]
fn a_store_never_promises_beyond_its_rights_and_the_pool_is_spent_once() {
    let mut world = World::new();
    world.issue(0, 10_000).unwrap();
    world.grant(0, 4_000).unwrap();
    world.grant(1, 6_000).unwrap();
    assert_eq!(code(world.grant(2, 1)), "pool-empty");
    // Before anything arrives the article is not under shared rights at the stores; afterwards it is.
    world.settle();
    assert_eq!(code(world.promise(0, 4_001)), "no-rights");
    let first = world.promise(0, 3_000).unwrap();
    assert_eq!(code(world.promise(0, 2_000)), "no-rights");
    let bare = event(world.tick(), wish(1_000));
    assert_eq!(code(world.stores[0].call(move |draft| draft.append(&bare))), "needs-rights");
    world.end(0, first, ReservationOutcome::Voided).unwrap();
    assert_eq!(world.held(0), 4_000);
    assert_eq!(code(world.end(0, first, ReservationOutcome::Posted)), "reservation-closed");
    // Given back rights can be granted again, once HQ has heard of it.
    let back = event(world.tick(), RightsReturned { sku: SKU, quantity: Milli(1_500) });
    world.stores[0].call(move |draft| draft.append(&back)).unwrap();
    assert_eq!(code(world.grant(2, 1)), "pool-empty");
    world.up(0, usize::MAX, 0);
    world.grant(2, 1_500).unwrap();
    world.check(false);
    world.check_settled();
    assert_eq!([world.held(0), world.held(1), world.held(2)], [2_500, 6_000, 1_500]);
}

#[test]
fn goods_that_leave_are_never_refused_and_take_posted_promises_then_rights_then_a_shortfall() {
    let mut world = World::new();
    world.issue(0, 5_000).unwrap();
    world.grant(0, 5_000).unwrap();
    world.settle();
    let promise = world.promise(0, 2_000).unwrap();
    world.end(0, promise, ReservationOutcome::Posted).unwrap();
    world.sell(0, 2_000);
    assert_eq!(world.held(0), 3_000, "the promised goods left under their promise");
    world.sell(0, 4_000);
    assert_eq!(world.held(0), 0);
    world.check_settled();
    let rows = world.hq.reader().unwrap().rights(STORES[0], Some(SKU)).unwrap();
    let sums = rows.iter().find(|row| row.epoch != Epoch(0)).unwrap().sums;
    assert_eq!((sums.fulfilled, sums.taken, sums.shortfall), (2_000, 3_000, 1_000));
    assert_eq!(world.hq.reader().unwrap().pools().unwrap()[&SKU], Milli(-1_000), "HQ has to make it good");
    let by_hand = sync_model::RightsTaken {
        sku: SKU,
        of: promise,
        posted: Milli(0),
        rights: Milli(0),
        shortfall: Milli(1),
    };
    let by_hand = event(world.tick(), by_hand);
    assert_eq!(code(world.stores[0].call(move |draft| draft.append(&by_hand))), "not-by-hand");
}

#[test]
fn rights_stay_with_their_epoch_and_a_fence_takes_back_what_is_left() {
    let mut world = World::new();
    world.issue(0, 5_000).unwrap();
    world.grant(0, 5_000).unwrap();
    world.settle();
    let promise = world.promise(0, 2_000).unwrap();
    let old = world.stores[0].log().unwrap().epoch;
    let now = stamp(world.tick());
    world.stores[0].call(move |draft| draft.open_epoch(EpochReason::Restored, now)).unwrap();
    assert_eq!(world.held(0), 0, "a restored store holds none");
    assert_eq!(code(world.promise(0, 1)), "no-rights");
    world.up(0, usize::MAX, 0);
    let now = stamp(world.tick());
    world.hq.call(move |draft| draft.fence(now, STORES[0], old)).unwrap();
    assert_eq!(world.hq.reader().unwrap().pools().unwrap()[&SKU], Milli(3_000));
    world.grant(0, 3_000).unwrap();
    world.settle();
    assert_eq!(world.held(0), 3_000);
    world.end(0, promise, ReservationOutcome::Voided).unwrap();
    assert_eq!(world.held(0), 3_000, "a promise goes back to the epoch that made it");
    world.check(false);
    world.check_settled();
}

#[test]
fn what_a_fenced_epoch_spent_late_is_listed_with_both_sides() {
    let mut world = World::new();
    world.issue(0, 5_000).unwrap();
    world.grant(0, 5_000).unwrap();
    world.settle();
    let epoch = world.stores[0].log().unwrap().epoch;
    world.promise(0, 4_000).unwrap();
    let now = stamp(world.tick());
    world.hq.call(move |draft| draft.fence(now, STORES[0], epoch)).unwrap();
    assert_eq!(code(world.grant(0, 1_000)), "wrong-epoch");
    world.grant(1, 5_000).unwrap();
    world.down(0, usize::MAX, 0);
    assert_eq!(code(world.promise(0, 1)), "no-rights");
    world.check_settled();
    let rows = world.hq.reader().unwrap().conflicts(STORES[0], false).unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].kind, "fence-overspent");
    let values: Vec<&str> = rows[0].sides.iter().map(|side| side.value.as_str()).collect();
    assert_eq!(values, ["took back 5.000", "spent 4.000 beyond its rights"]);
}

fn transfer(world: &World) -> TransferRow {
    let rows = world.hq.reader().unwrap().transfers().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0]
}

#[test]
fn a_transfer_is_conserved_from_out_to_shrink_whichever_leg_is_heard_first() {
    let mut world = World::new();
    let stocked = event(world.tick(), receipt(SKU.0, 9_000));
    world.stores[0].call(move |draft| draft.append(&stocked)).unwrap();
    let out = event(world.tick(), TransferOut { to: STORES[1], lines: goods(5_000) });
    let of: FactRef = world.stores[0].call(move |draft| draft.append(&out)).unwrap().into();
    let arrived = event(world.tick(), TransferIn { from: STORES[0], of, lines: goods(4_000) });
    world.stores[1].call(move |draft| draft.append(&arrived)).unwrap();
    world.up(1, usize::MAX, 0);
    world.check(false);
    assert_eq!((transfer(&world).to, transfer(&world).in_transit()), (None, Milli(-4_000)));
    world.up(0, usize::MAX, 0);
    world.check(false);
    assert_eq!((transfer(&world).to, transfer(&world).in_transit()), (Some(STORES[1]), Milli(1_000)));
    let closed = event(world.tick(), TransferClosed { of, to: STORES[1], lines: goods(1_000) });
    world.hq.call(move |draft| draft.append_down(STORES[0], &closed)).unwrap();
    world.check(false);
    assert!(world.hq.reader().unwrap().transfers().unwrap().is_empty());
    // More than was sent arrives after all.
    let more = event(world.tick(), TransferIn { from: STORES[0], of, lines: goods(3_000) });
    world.stores[1].call(move |draft| draft.append(&more)).unwrap();
    world.up(1, usize::MAX, 0);
    world.check(false);
    assert_eq!(transfer(&world).in_transit(), Milli(-3_000));
    let rows = world.hq.reader().unwrap().conflicts(STORES[0], false).unwrap();
    assert_eq!(rows[0].kind, "transfer-surplus");
    let closed = event(world.tick(), TransferClosed { of, to: STORES[1], lines: goods(-3_000) });
    world.hq.call(move |draft| draft.append_down(STORES[0], &closed)).unwrap();
    world.check(false);
    assert!(world.hq.reader().unwrap().transfers().unwrap().is_empty());
    world.check_settled();
}

#[test]
fn the_inbox_lists_both_sides_until_somebody_settles_them() {
    let mut world = World::new();
    world.write(0, false, "threshold/cabinet-1/high", 5_000);
    world.settle();
    world.write(0, true, "threshold/cabinet-1/high", 4_000);
    world.write(0, false, "threshold/cabinet-1/high", 7_000);
    world.write(0, true, "note/oven", 1);
    world.write(0, false, "note/oven", 2);
    world.describe(0, true, Some("28-a"));
    world.describe(0, false, None);
    world.check_settled();
    let hq = world.hq.reader().unwrap();
    let mut rows = hq.conflicts(STORES[0], false).unwrap();
    rows.sort_by_key(|row| row.kind);
    let brief: Vec<_> = rows
        .iter()
        .map(|row| {
            let sides: Vec<_> = row.sides.iter().map(|side| (side.value.as_str(), side.stands)).collect();
            (row.kind, row.subject.as_str(), sides)
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("device-kept", "cabinet-1", vec![("cabinet 28-a", true), ("removed", true)]),
            ("value-dropped", "note/oven", vec![("1", false), ("2", true)]),
            ("values-both", "threshold/cabinet-1/high", vec![("4000", true), ("7000", true)]),
        ]
    );
    // A write that saw both replaces both, and the conflict stays listed: nobody has looked at it yet.
    world.write(0, true, "threshold/cabinet-1/high", 4_500);
    world.check_settled();
    let hq = world.hq.reader().unwrap();
    assert_eq!(hq.conflicts(STORES[0], false).unwrap().len(), 3);
    let ids: Vec<Text<32>> = rows.iter().map(|row| Text::new(row.id.clone()).unwrap()).collect();
    let by: Text<32> = Text::new("li").unwrap();
    let at_store = event(world.tick(), ConflictSettled { conflict: ids[0].clone(), by: by.clone() });
    world.stores[0].call(move |draft| draft.append(&at_store)).unwrap();
    let settled = HqConflictSettled(ConflictSettled { conflict: ids[1].clone(), by });
    let at_hq = event(world.tick(), settled);
    world.hq.call(move |draft| draft.append_down(STORES[0], &at_hq)).unwrap();
    world.check_settled();
    let left = world.stores[0].reader().unwrap().conflicts(STORES[0], false).unwrap();
    assert_eq!(left.iter().map(|row| row.kind).collect::<Vec<_>>(), ["values-both"]);
}

#[derive(Clone, Debug)]
enum Step {
    Issue(usize, i64),
    Grant(usize, i64),
    Promise(usize, i64),
    End(usize, bool),
    Sell(usize, i64),
    GiveBack(usize, i64),
    Send(usize, usize, i64),
    Arrive(usize, i64),
    Close,
    Write(usize, bool, bool, i64),
    Describe(usize, bool, Option<u8>),
    NewEpoch(usize),
    Fence(usize),
    Up(usize, usize, u64),
    Down(usize, usize, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (at, quantity) = (0..3_usize, 1..5_i64);
    let step = prop_oneof![
        1 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Issue(at, 3 * quantity)),
        3 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Grant(at, quantity)),
        5 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Promise(at, quantity)),
        3 => (at.clone(), any::<bool>()).prop_map(|(at, posted)| Step::End(at, posted)),
        3 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Sell(at, quantity)),
        2 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::GiveBack(at, quantity)),
        2 => (at.clone(), at.clone(), quantity.clone()).prop_map(|(a, b, q)| Step::Send(a, b, q)),
        2 => (at.clone(), quantity.clone()).prop_map(|(at, quantity)| Step::Arrive(at, quantity)),
        1 => Just(Step::Close),
        3 => (at.clone(), any::<bool>(), any::<bool>(), 0..3_i64)
            .prop_map(|(at, hq, note, value)| Step::Write(at, hq, note, value)),
        3 => (at.clone(), any::<bool>(), prop::option::of(0..2_u8))
            .prop_map(|(at, hq, label)| Step::Describe(at, hq, label)),
        1 => at.clone().prop_map(Step::NewEpoch),
        2 => at.clone().prop_map(Step::Fence),
        5 => (at.clone(), 1..12_usize, 0..6_u64).prop_map(|(at, count, back)| Step::Up(at, count, back)),
        5 => (at, 1..12_usize, 0..6_u64).prop_map(|(at, count, back)| Step::Down(at, count, back)),
    ];
    prop::collection::vec(step, 20..70)
}

/// Transfers of a run: sender, receiver, name, sent.
type Sent = Vec<(usize, usize, FactRef)>;

fn refused_or(result: Result<(), LedgerError>) {
    if let Err(error) = result {
        assert!(matches!(error, LedgerError::Refused(_)), "{error}");
    }
}

fn shared_step(world: &mut World, step: &Step) {
    match *step {
        Step::Issue(at, quantity) => refused_or(world.issue(at, quantity)),
        Step::Grant(at, quantity) => refused_or(world.grant(at, quantity)),
        Step::Promise(at, quantity) => {
            // Plain reservations, made before the first grant is heard, hold no rights.
            if world.stores[at].reader().unwrap().rights_held(STORES[at], SKU).unwrap().is_some() {
                refused_or(world.promise(at, quantity).map(|_| ()));
            }
        }
        Step::End(at, posted) => {
            if let Some(promise) = world.open[at].first().copied() {
                let outcome = if posted { ReservationOutcome::Posted } else { ReservationOutcome::Voided };
                world.end(at, promise, outcome).unwrap();
            }
        }
        Step::Sell(at, quantity) => world.sell(at, quantity),
        Step::GiveBack(at, quantity) => {
            let back = event(world.tick(), RightsReturned { sku: SKU, quantity: Milli(quantity) });
            refused_or(world.stores[at].call(move |draft| draft.append(&back)).map(|_| ()));
        }
        Step::Write(at, hq, note, value) => {
            let name = if note { "note/a" } else { "threshold/a" };
            world.write(at, hq, name, value);
        }
        Step::Describe(at, hq, label) => {
            let label = label.map(|label| format!("place {label}"));
            world.describe(at, hq, label.as_deref());
        }
        Step::NewEpoch(at) => {
            let now = stamp(world.tick());
            world.stores[at].call(move |draft| draft.open_epoch(EpochReason::Ordered, now)).unwrap();
        }
        Step::Fence(at) => {
            let reader = world.hq.reader().unwrap();
            let up = |log: LogId| log.store == STORES[at] && log.direction == Direction::Up;
            let logs = reader.heads().unwrap();
            let first = logs.iter().filter(|row| up(row.log)).map(|row| row.log.epoch).min().unwrap();
            let now = stamp(world.tick());
            world.hq.call(move |draft| draft.fence(now, STORES[at], first)).unwrap();
        }
        Step::Up(at, count, back) => world.up(at, count, back),
        Step::Down(at, count, back) => world.down(at, count, back),
        Step::Send(..) | Step::Arrive(..) | Step::Close => {}
    }
}

fn transfer_step(world: &mut World, step: &Step, sent: &mut Sent) {
    match *step {
        Step::Send(a, b, quantity) if a != b => {
            let out = event(world.tick(), TransferOut { to: STORES[b], lines: goods(quantity) });
            let of = world.stores[a].call(move |draft| draft.append(&out)).unwrap();
            sent.push((a, b, of.into()));
        }
        Step::Arrive(which, quantity) => {
            if let Some((a, b, of)) = sent.get(which).copied() {
                let arrived = TransferIn { from: STORES[a], of, lines: goods(quantity) };
                let arrived = event(world.tick(), arrived);
                world.stores[b].call(move |draft| draft.append(&arrived)).unwrap();
            }
        }
        Step::Close => {
            let rows = world.hq.reader().unwrap().transfers().unwrap();
            if let Some((row, to)) = rows.iter().find_map(|row| Some((*row, row.to?))) {
                let lines = goods(row.in_transit().0);
                let closed = event(world.tick(), TransferClosed { of: row.of, to, lines });
                world.hq.call(move |draft| draft.append_down(row.from, &closed)).unwrap();
            }
        }
        _ => {}
    }
}

fn play(steps: &[Step], fenced: bool) {
    let mut world = World::new();
    let mut sent = Sent::new();
    for step in steps {
        if matches!(step, Step::Fence(_)) && !fenced {
            continue;
        }
        shared_step(&mut world, step);
        transfer_step(&mut world, step, &mut sent);
        world.check(fenced);
    }
    world.check_settled();
    world.check(fenced);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_right_is_spent_twice_whatever_the_order_of_delivery(steps in steps()) {
        play(&steps, false);
    }

    #[test]
    fn folds_agree_even_when_epochs_are_fenced_under_way(steps in steps()) {
        play(&steps, true);
    }
}
