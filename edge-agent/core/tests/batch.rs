//! Steam batches: transition table, power cuts, restarts at every instant against a steamer that counts its runs.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a test fails by panicking")]

use edge_core::batch::{
    BELOW_HOT_HOLD_MS_MAX, Batch, CORE_CHECK_MS_MAX, Input, Mode, Order, Outcome, Place, RETRY_MS, Reading,
    Rules, START_MS_MAX, allocate, places,
};
use edge_core::{Moment, STATE_BYTES_MAX};
use proptest::prelude::*;
use sync_model::{
    BatchQueued, BatchState, DeviceId, Epoch, FactRef, Milli, MilliCelsius, Seq, Sku, UnixMillis, WasteReason,
};

const WALL: i64 = 1_800_000_000_000;

fn name(seq: u64) -> FactRef {
    FactRef { epoch: Epoch(1), seq: Seq(seq) }
}

fn order() -> BatchQueued {
    BatchQueued {
        device: DeviceId::new("steamer-1").unwrap(),
        sku: Sku(2001),
        quantity: Milli(12_000),
        program: 3,
        set_point: MilliCelsius(98_000),
        core_min: MilliCelsius(75_000),
        steam_s: 600,
        hold_limit_s: 4 * 3600,
    }
}

fn at(ms: u64) -> Moment {
    Moment::new(ms, WALL + i64::try_from(ms).unwrap())
}

fn batch() -> Batch {
    Batch::new(name(1), order(), Rules::CHINA, at(0))
}

fn cold(asked: u64) -> Reading {
    Reading {
        mode: Mode::Idle,
        running: false,
        program_end: false,
        chamber: Some(MilliCelsius(30_000)),
        core: Some(MilliCelsius(20_000)),
        door_open: false,
        low_water: false,
        over_temperature: false,
        sensor_fault: false,
        asked_mono_ms: asked,
    }
}

fn heating(asked: u64) -> Reading {
    Reading { mode: Mode::Preheat, running: true, chamber: Some(MilliCelsius(60_000)), ..cold(asked) }
}

fn cooking(asked: u64) -> Reading {
    Reading { mode: Mode::Cooking, chamber: Some(MilliCelsius(98_000)), ..heating(asked) }
}

fn ended(asked: u64, core: i32) -> Reading {
    let core = Some(MilliCelsius(core));
    Reading { mode: Mode::Idle, running: false, program_end: true, core, ..cooking(asked) }
}

fn path(out: &Outcome) -> Vec<(BatchState, String)> {
    out.moves.iter().map(|m| (m.to, m.reason.as_str().to_owned())).collect()
}

fn inside(batch: &mut Batch, reading: Reading, ms: u64) -> Outcome {
    batch.step(Input::Reading(reading, Place::Inside), at(ms))
}

/// A batch commanded at 1 s, whose run was written and answered.
fn commanded() -> Batch {
    let mut batch = batch();
    let out = batch.step(Input::Reading(cold(900), Place::Next), at(1_000));
    assert_eq!(path(&out), [(BatchState::Preheat, "commanded".into())]);
    assert!(out.orders.is_empty() && out.save, "the move must be durable before the write");
    let out = inside(&mut batch, cold(1_900), 2_000);
    assert_eq!(out.orders, [Order::SetPoint(MilliCelsius(98_000)), Order::Run { program: 3, steam_s: 600 }]);
    batch.step(Input::Ordered(Ok(())), at(2_100));
    batch
}

fn held() -> Batch {
    let mut batch = commanded();
    inside(&mut batch, ended(9_900, 80_000), 10_000);
    assert_eq!(batch.state(), BatchState::Hold);
    batch
}

/// The answer of a driver comes once. If it asked for a commit and that failed, the batch would wait for it for ever.
#[test]
fn an_answer_to_an_order_needs_no_commit() {
    let mut batch = batch();
    batch.step(Input::Reading(cold(900), Place::Next), at(1_000));
    let out = inside(&mut batch, cold(1_900), 2_000);
    assert!(!out.orders.is_empty());
    let out = batch.step(Input::Ordered(Err(())), at(120_000));
    assert_eq!(out, Outcome::default());
    assert!(!inside(&mut batch, cold(121_000), 126_000).orders.is_empty(), "written again");
}

#[test]
fn the_way_of_a_good_batch() {
    let mut batch = commanded();
    assert!(inside(&mut batch, heating(3_000), 3_100).save, "a seen run is durable");
    assert_eq!(
        path(&inside(&mut batch, cooking(4_000), 4_100)),
        [(BatchState::Steaming, "at-temperature".into())]
    );
    assert_eq!(
        path(&inside(&mut batch, ended(5_000, 70_000), 5_100)),
        [(BatchState::CoreCheck, "program-end".into())]
    );
    let out = inside(&mut batch, ended(6_000, 75_000), 6_100);
    assert_eq!(path(&out), [(BatchState::Hold, "core-ok".into())]);
    assert_eq!(out.moves[0].temperature, Some(MilliCelsius(75_000)));
    assert_eq!(batch.expires_at(), Some(UnixMillis(WALL + 6_100 + 4 * 3_600_000)));
    assert!(batch.step(Input::Sold(Milli(5_000)), at(7_000)).moves.is_empty());
    assert_eq!(batch.remaining(), Milli(7_000));
    assert_eq!(
        path(&batch.step(Input::Sold(Milli(9_000)), at(8_000))),
        [(BatchState::SoldOut, "sold-out".into())]
    );
    assert!(batch.is_closed());
    assert_eq!(batch.step(Input::Discard, at(9_000)), Outcome::default());
}

#[test]
fn a_program_end_seen_late_takes_every_step() {
    let mut batch = commanded();
    let steps: Vec<_> =
        path(&inside(&mut batch, ended(9_000, 80_000), 9_100)).into_iter().map(|step| step.0).collect();
    assert_eq!(steps, [BatchState::Steaming, BatchState::CoreCheck, BatchState::Hold]);
}

#[test]
fn interlocks_and_leftovers_keep_it_queued() {
    let cases = [
        Reading { door_open: true, ..cold(1) },
        Reading { low_water: true, ..cold(1) },
        Reading { over_temperature: true, ..cold(1) },
        Reading { sensor_fault: true, ..cold(1) },
        Reading { mode: Mode::Error, ..cold(1) },
        Reading { mode: Mode::Other, ..cold(1) },
        heating(1),
    ];
    for reading in cases {
        let mut batch = batch();
        let out = batch.step(Input::Reading(reading, Place::Next), at(2));
        assert_eq!((out, batch.state()), (Outcome::default(), BatchState::Queued), "{reading:?}");
    }
    let mut batch = batch();
    assert!(batch.step(Input::Reading(cold(1), Place::Elsewhere), at(2)).moves.is_empty());
    let leftover = Reading { running: true, ..ended(3, 80_000) };
    let out = batch.step(Input::Reading(leftover, Place::Next), at(4));
    assert_eq!(
        (path(&out).len(), out.orders),
        (0, vec![Order::Stop]),
        "the earlier batch's end is taken back first"
    );
    assert!(batch.step(Input::Reading(ended(5, 80_000), Place::Next), at(6)).orders.is_empty());
}

#[test]
fn a_write_is_repeated_only_on_newer_evidence() {
    let mut batch = commanded(); // answered at 2.1 s
    assert!(inside(&mut batch, cold(2_050), 2_200 + RETRY_MS).orders.is_empty(), "asked before the answer");
    assert!(inside(&mut batch, cold(2_200), 2_300).orders.is_empty(), "too soon");
    assert_eq!(inside(&mut batch, cold(7_000), 2_200 + RETRY_MS).orders.len(), 2);
    assert!(inside(&mut batch, cold(60_000), 60_000).orders.is_empty(), "the write is not answered yet");
    batch.step(Input::Ordered(Err(())), at(60_001));
    assert_eq!(inside(&mut batch, cold(70_000), 70_000).orders.len(), 2);
    let out = inside(&mut batch, cold(START_MS_MAX), 1_000 + START_MS_MAX);
    assert_eq!((path(&out)[0].1.as_str(), out.waste.len()), ("not-started", 0));
}

#[test]
fn power_cuts_discard_and_book_the_waste() {
    let warm_and_stopped = Reading { chamber: Some(MilliCelsius(35_001)), ..cold(8_000) };
    for seen in [vec![heating(3_000)], vec![heating(3_000), cooking(4_000)], vec![]] {
        let mut batch = commanded();
        for reading in &seen {
            inside(&mut batch, *reading, 5_000);
        }
        let reset = if seen.is_empty() { warm_and_stopped } else { cold(8_000) };
        let out = inside(&mut batch, reset, 8_100);
        assert_eq!(path(&out), [(BatchState::Discarded, "power-cut".into())], "{seen:?}");
        assert_eq!(out.waste.len(), 1);
        let waste = &out.waste[0];
        assert_eq!(
            (waste.reason, waste.quantity, waste.batch),
            (WasteReason::TimeUnknown, Milli(12_000), Some(name(1)))
        );
        assert_eq!(batch.remaining(), Milli::ZERO);
    }
}

#[test]
fn a_reading_in_error_mode_loses_nothing() {
    let unread = |asked| Reading { mode: Mode::Error, chamber: None, core: None, ..cold(asked) };
    for seen in [vec![heating(3_000)], vec![cooking(3_000)], vec![]] {
        let mut batch = commanded();
        for reading in &seen {
            inside(&mut batch, *reading, 5_000);
        }
        let before = batch.state();
        let out = inside(&mut batch, unread(20_000), 20_100);
        assert_eq!((out.moves.len(), out.orders.len(), batch.state()), (0, 0, before), "{seen:?}");
        inside(&mut batch, ended(30_000, 80_000), 30_100);
        assert_eq!(batch.state(), BatchState::Hold);
    }
}

#[test]
fn a_core_that_is_not_proven_is_discarded() {
    let mut batch = commanded();
    let faulty = Reading { sensor_fault: true, ..ended(9_000, 90_000) };
    inside(&mut batch, faulty, 9_100);
    assert_eq!(batch.state(), BatchState::CoreCheck, "a faulty sensor proves nothing");
    let out = inside(&mut batch, ended(9_000, 74_999), 9_100 + CORE_CHECK_MS_MAX);
    assert_eq!(path(&out), [(BatchState::Discarded, "core-not-proven".into())]);
    assert_eq!(out.waste[0].reason, WasteReason::TimeUnknown);
}

#[test]
fn a_hold_ends_by_limit_or_by_cold() {
    let mut batch = held();
    batch.step(Input::Sold(Milli(2_000)), at(11_000));
    assert!(batch.step(Input::Tick, at(10_000 + 4 * 3_600_000 - 1)).moves.is_empty());
    let out = batch.step(Input::Tick, at(10_000 + 4 * 3_600_000));
    let steps = [(BatchState::Expired, "hold-limit".into()), (BatchState::Discarded, "hold-limit".into())];
    assert_eq!(path(&out), steps);
    assert_eq!((out.waste[0].quantity, out.waste[0].reason), (Milli(10_000), WasteReason::Expired));

    let mut batch = held();
    inside(&mut batch, ended(20_000, 59_999), 20_000);
    inside(&mut batch, ended(30_000, 80_000), 30_000);
    assert_eq!(
        batch.expires_at(),
        Some(UnixMillis(WALL + 20_000 + i64::try_from(BELOW_HOT_HOLD_MS_MAX).unwrap()))
    );
    assert!(batch.step(Input::Tick, at(19_999 + BELOW_HOT_HOLD_MS_MAX)).moves.is_empty());
    let out = batch.step(Input::Tick, at(20_000 + BELOW_HOT_HOLD_MS_MAX));
    assert_eq!(
        path(&out)[0],
        (BatchState::Expired, "below-hot-hold".into()),
        "warming up again does not help"
    );
}

#[test]
fn a_restart_in_hold_goes_on_by_the_wall_clock_and_expires_without_one() {
    let saved = held().to_bytes();
    let restore = || Batch::from_bytes(Rules::CHINA, &saved).unwrap();
    assert!(restore().step(Input::Tick, Moment::new(5, WALL + 4 * 3_600_000)).moves.is_empty());
    assert!(!restore().step(Input::Tick, Moment::new(5, WALL + 10_000 + 4 * 3_600_000)).moves.is_empty());
    let out = restore().step(Input::Tick, Moment::new(5, WALL));
    assert_eq!(path(&out)[0], (BatchState::Expired, "time-unknown".into()));
    assert_eq!(out.waste[0].reason, WasteReason::TimeUnknown);
}

#[test]
fn operators_can_cancel_and_discard() {
    let mut queued = batch();
    let out = queued.step(Input::Discard, at(1));
    assert_eq!((path(&out)[0].1.as_str(), out.waste.len(), out.orders.len()), ("cancelled", 0, 0));
    let mut steaming = commanded();
    inside(&mut steaming, cooking(3_000), 3_100);
    let out = steaming.step(Input::Discard, at(4_000));
    assert_eq!((out.orders, out.waste[0].reason), (vec![Order::Stop], WasteReason::Damaged));
    let out = held().step(Input::Discard, at(20_000));
    assert_eq!(out.waste[0].quantity, Milli(12_000));
}

#[test]
fn damage_is_named_and_recovery_is_conservative() {
    assert!(Batch::from_bytes(Rules::CHINA, b"not a batch").is_err());
    let recover = |state| Batch::recovered(name(1), order(), state, Milli(5_000), Rules::CHINA, at(0));
    let out = recover(BatchState::Hold).step(Input::Tick, at(1));
    assert_eq!((path(&out).len(), out.waste[0].reason), (2, WasteReason::TimeUnknown));
    let mut batch = recover(BatchState::Preheat);
    assert_eq!(path(&inside(&mut batch, cold(5), 6))[0].1, "power-cut");
    let mut batch = recover(BatchState::Steaming);
    inside(&mut batch, ended(5, 80_000), 6);
    assert_eq!(batch.state(), BatchState::Hold, "a run that is still shown goes on");
    assert_eq!(path(&recover(BatchState::Expired).step(Input::Tick, at(1)))[0].0, BatchState::Discarded);
}

#[test]
fn sales_take_the_oldest_first() {
    let mut second = Batch::new(name(2), order(), Rules::CHINA, at(0));
    let mut first = held();
    second.step(Input::Reading(cold(900), Place::Next), at(11_000));
    inside(&mut second, ended(12_000, 80_000), 12_000);
    first.step(Input::Sold(Milli(4_000)), at(13_000));
    let all = [second, first, batch()];
    let (parts, left) = allocate(all.iter(), Sku(2001), Milli(10_000));
    assert_eq!((parts, left), (vec![(name(1), Milli(8_000)), (name(2), Milli(2_000))], Milli(0)));
    let (parts, left) = allocate(all.iter(), Sku(2001), Milli(21_000));
    assert_eq!((parts.len(), left), (2, Milli(1_000)));
    assert_eq!(allocate(all.iter(), Sku(9), Milli(5)), (vec![], Milli(5)));
    assert_eq!(allocate(all.iter(), Sku(2001), Milli(-5)), (vec![], Milli(0)));
}

#[test]
fn a_steamer_cooks_one_batch_at_a_time() {
    let queued = |seq| Batch::new(name(seq), order(), Rules::CHINA, at(0));
    let busy = [queued(8), commanded(), queued(7)];
    let found: Vec<_> = places(busy.iter()).into_iter().collect();
    assert_eq!(found, [(name(1), Place::Inside), (name(7), Place::Elsewhere), (name(8), Place::Elsewhere)]);
    let free = [queued(8), held(), queued(7)];
    let found: Vec<_> = places(free.iter()).into_iter().collect();
    assert_eq!(found, [(name(1), Place::Inside), (name(7), Place::Next), (name(8), Place::Elsewhere)]);
}

/// The far end: counts what it really did.
#[derive(Default)]
struct Steamer {
    running: Option<u32>,
    ended: bool,
    runs: u32,
    chamber: i32,
}

impl Steamer {
    fn order(&mut self, order: Order) {
        match order {
            Order::SetPoint(_) => {}
            Order::Run { .. } => {
                self.runs += 1;
                (self.running, self.ended) = (Some(0), false);
            }
            Order::Stop => (self.running, self.ended) = (None, false),
        }
    }

    fn pass(&mut self) {
        if let Some(done) = &mut self.running {
            *done += 1;
            self.chamber = (self.chamber + 20_000).min(98_000);
            if *done >= 9 {
                (self.running, self.ended) = (None, true);
            }
        } else {
            self.chamber = (self.chamber - 3_000).max(25_000);
        }
    }

    fn read(&self, asked: u64) -> Reading {
        let mode = if self.running.is_some_and(|done| done > 4) { Mode::Cooking } else { Mode::Preheat };
        Reading {
            mode: if self.running.is_some() { mode } else { Mode::Idle },
            // Like an E5CC: in run until somebody stops it, also after the program's end.
            running: self.running.is_some() || self.ended,
            program_end: self.ended,
            chamber: Some(MilliCelsius(self.chamber)),
            core: Some(MilliCelsius(self.chamber - 5_000)),
            ..cold(asked)
        }
    }
}

proptest! {
    /// The daemon is killed at any points: before a commit, between commit and write, between write and answer. Both
    /// batches end in Hold and the far end counted exactly one run for each.
    #[test]
    fn one_run_per_batch_whatever_is_killed(
        kills in proptest::collection::btree_set(0..400_u32, 0..12),
        hot in any::<bool>(),
    ) {
        let mut steamer = Steamer { chamber: if hot { 90_000 } else { 25_000 }, ended: hot, ..Steamer::default() };
        let mut durable: Vec<Vec<u8>> =
            (1..=2).map(|seq| Batch::new(name(seq), order(), Rules::CHINA, at(0)).to_bytes()).collect();
        let load = |durable: &[Vec<u8>]| -> Vec<Batch> {
            durable.iter().map(|bytes| Batch::from_bytes(Rules::CHINA, bytes).unwrap()).collect()
        };
        let mut batches = load(&durable);
        let (mut instant, mut mono, mut wall) = (0_u32, 0_u64, WALL);
        let mut killed = || { instant += 1; kills.contains(&instant) };
        for _ in 0..300 {
            (mono, wall) = (mono + 1_000, wall + 1_000);
            steamer.pass();
            let reading = steamer.read(mono);
            let where_to = places(batches.iter());
            'batches: for index in 0..batches.len() {
                let Some(place) = where_to.get(&batches[index].id()) else { continue };
                let mut next = batches[index].clone();
                let out = next.step(Input::Reading(reading, *place), Moment::new(mono, wall));
                prop_assert!(next.to_bytes().len() <= STATE_BYTES_MAX);
                let dead = 'alive: {
                    if killed() { break 'alive true; }
                    if out.save { durable[index] = next.to_bytes(); }
                    if killed() { break 'alive true; }
                    let wrote = !out.orders.is_empty();
                    out.orders.into_iter().for_each(|order| steamer.order(order));
                    if wrote && killed() { break 'alive true; }
                    if wrote { next.step(Input::Ordered(Ok(())), Moment::new(mono, wall)); }
                    batches[index] = next;
                    false
                };
                if dead {
                    batches = load(&durable);
                    mono = 0;
                    break 'batches;
                }
            }
        }
        let states: Vec<_> = batches.iter().map(Batch::state).collect();
        prop_assert_eq!(states, vec![BatchState::Hold; 2]);
        prop_assert_eq!(steamer.runs, 2);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        prop_assert!(Batch::from_bytes(Rules::FDA, &bytes).is_err());
    }
}
