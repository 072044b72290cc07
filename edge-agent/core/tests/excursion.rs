//! Alarms: the delay, the difference, the freeze and its cap, faults, restarts; never two raises without a return.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a test fails by panicking")]

use edge_core::excursion::{Decision, FlagWatch, Limits, Phase, Sample, Value, Watch};
use edge_core::{Moment, Restored, STATE_BYTES_MAX};
use proptest::prelude::*;
use std::collections::BTreeMap;
use sync_model::{AlarmKind, Epoch, FactRef, MilliCelsius, Seq, UnixMillis};

const MINUTE: u64 = 60_000;
const WALL: i64 = 1_800_000_000_000;

fn limits() -> Limits {
    Limits { delay_ms: 10 * MINUTE, ..Limits::between(Some(MilliCelsius(-2_000)), Some(MilliCelsius(5_000))) }
}

fn at(ms: u64) -> Moment {
    Moment::new(ms, WALL + i64::try_from(ms).unwrap())
}

fn warm(value: i32, phase: Phase) -> Sample {
    Sample { value: Value::Good(MilliCelsius(value)), phase, door_open: None }
}

fn good(value: i32) -> Sample {
    Sample::plain(Value::Good(MilliCelsius(value)))
}

/// Steps once a minute from `from` to `to` inclusive; returns the decisions with their minute.
fn run(watch: &mut Watch, sample: &Sample, from: u64, to: u64) -> Vec<(u64, Decision)> {
    let step =
        |minute| watch.step(sample, at(minute * MINUTE)).decisions.into_iter().map(move |d| (minute, d));
    (from..=to).flat_map(step).collect()
}

fn kind(decision: &Decision) -> (AlarmKind, bool) {
    match decision {
        Decision::Raise { kind, .. } => (*kind, true),
        Decision::Return { kind, .. } => (*kind, false),
    }
}

#[test]
fn too_warm_is_raised_after_the_delay_and_returned_below_the_difference() {
    let mut watch = Watch::new(limits());
    assert!(run(&mut watch, &good(4_000), 0, 1).is_empty());
    let raised = run(&mut watch, &good(6_000), 2, 20);
    let [(12, Decision::Raise { kind: AlarmKind::TooWarm, since, value, limit })] = raised[..] else {
        panic!("{raised:?}")
    };
    assert_eq!(since, UnixMillis(WALL + 2 * 60_000));
    assert_eq!((value, limit), (Some(MilliCelsius(6_000)), Some(MilliCelsius(5_000))));
    run(&mut watch, &good(9_500), 21, 21);
    assert!(run(&mut watch, &good(4_001), 22, 22).is_empty(), "within the difference the alarm stays");
    let returned = run(&mut watch, &good(4_000), 23, 23);
    let [(23, Decision::Return { value, worst, .. })] = returned[..] else { panic!("{returned:?}") };
    assert_eq!((value, worst), (Some(MilliCelsius(4_000)), Some(MilliCelsius(9_500))));
}

#[test]
fn a_short_excursion_and_the_limit_itself_raise_nothing() {
    let mut watch = Watch::new(limits());
    assert!(run(&mut watch, &good(5_000), 0, 30).is_empty());
    assert!(run(&mut watch, &good(5_001), 31, 40).is_empty());
    assert!(run(&mut watch, &good(5_000), 41, 41).is_empty());
    assert!(run(&mut watch, &good(5_001), 42, 51).is_empty(), "the delay starts anew");
}

#[test]
fn too_cold_mirrors_too_warm() {
    let mut watch = Watch::new(limits());
    let raised = run(&mut watch, &good(-2_500), 0, 12);
    assert_eq!(
        raised.iter().map(|(m, d)| (*m, kind(d))).collect::<Vec<_>>(),
        [(10, (AlarmKind::TooCold, true))]
    );
    run(&mut watch, &good(-7_000), 13, 13);
    assert!(run(&mut watch, &good(-1_001), 14, 14).is_empty());
    let Decision::Return { worst, .. } = run(&mut watch, &good(-1_000), 15, 15)[0].1 else { panic!() };
    assert_eq!(worst, Some(MilliCelsius(-7_000)));
}

#[test]
fn every_freezing_phase_stops_the_high_delay_but_not_the_low_one() {
    for phase in [Phase::Defrost, Phase::Drip, Phase::Hold, Phase::FanDelay] {
        let mut watch = Watch::new(limits());
        assert!(run(&mut watch, &warm(9_000, phase), 0, 40).is_empty(), "{phase:?}");
        let raised = run(&mut watch, &good(9_000), 41, 60);
        assert_eq!(raised[0].0, 51, "{phase:?}: the delay runs after the freeze");
        let mut watch = Watch::new(limits());
        let cold = run(&mut watch, &warm(-5_000, phase), 0, 20);
        assert_eq!(
            cold.iter().map(|(m, d)| (*m, kind(d))).collect::<Vec<_>>(),
            [(10, (AlarmKind::TooCold, true))]
        );
    }
}

#[test]
fn a_stuck_defrost_alarms_and_stops_freezing() {
    let mut watch = Watch::new(limits());
    let raised = run(&mut watch, &warm(9_000, Phase::Defrost), 0, 80);
    let seen: Vec<_> = raised.iter().map(|(m, d)| (*m, kind(d))).collect();
    assert_eq!(seen, [(60, (AlarmKind::DefrostTooLong, true)), (69, (AlarmKind::TooWarm, true))]);
    let Decision::Raise { since, .. } = raised[0].1 else { panic!() };
    assert_eq!(since, UnixMillis(WALL), "since the defrost began");
    let back = run(&mut watch, &good(3_000), 81, 81);
    let seen: Vec<_> = back.iter().map(|(_, d)| kind(d)).collect();
    assert_eq!(seen, [(AlarmKind::DefrostTooLong, false), (AlarmKind::TooWarm, false)]);
}

#[test]
fn a_flapping_defrost_cannot_freeze_for_ever() {
    let mut watch = Watch::new(limits());
    let mut seen = Vec::new();
    for minute in 0..300 {
        let phase = if minute % 30 == 29 { Phase::Normal } else { Phase::Defrost };
        let out = watch.step(&warm(9_000, phase), at(minute * MINUTE));
        seen.extend(out.decisions.iter().map(kind));
    }
    assert!(seen.contains(&(AlarmKind::TooWarm, true)));
}

#[test]
fn silence_neither_ends_a_defrost_nor_renews_its_allowance() {
    let mut watch = Watch::new(limits());
    assert!(run(&mut watch, &warm(9_000, Phase::Defrost), 0, 40).is_empty());
    let lost: Vec<_> =
        run(&mut watch, &Sample::plain(Value::NoAnswer), 41, 70).iter().map(|(m, d)| (*m, kind(d))).collect();
    assert_eq!(lost, [(41, (AlarmKind::Lost, true)),]);
    let back: Vec<_> =
        run(&mut watch, &warm(9_000, Phase::Defrost), 71, 71).iter().map(|(_, d)| kind(d)).collect();
    assert!(back.contains(&(AlarmKind::DefrostTooLong, true)), "{back:?}");
}

#[test]
fn an_open_door_has_its_own_alarm() {
    let mut watch = Watch::new(limits());
    let seen: Vec<_> =
        run(&mut watch, &warm(3_000, Phase::Door), 0, 90).iter().map(|(m, d)| (*m, kind(d))).collect();
    assert_eq!(seen, [(5, (AlarmKind::DoorOpen, true))]);
    let switch = Sample { door_open: Some(true), ..good(3_000) };
    let mut watch = Watch::new(limits());
    assert_eq!(run(&mut watch, &switch, 0, 5).len(), 1);
    assert_eq!(run(&mut watch, &good(3_000), 6, 6).len(), 1);
}

#[test]
fn faults_and_silence_are_alarms_never_readings() {
    let mut watch = Watch::new(Limits { fault_delay_ms: 2 * MINUTE, lost_delay_ms: MINUTE, ..limits() });
    let fault = run(&mut watch, &Sample::plain(Value::Fault), 0, 5);
    assert_eq!(
        fault.iter().map(|(m, d)| (*m, kind(d))).collect::<Vec<_>>(),
        [(2, (AlarmKind::SensorFault, true))]
    );
    let silent = run(&mut watch, &Sample::plain(Value::NoAnswer), 6, 9);
    assert_eq!(silent.iter().map(|(m, d)| (*m, kind(d))).collect::<Vec<_>>(), [(7, (AlarmKind::Lost, true))]);
    let back: Vec<_> = run(&mut watch, &good(3_000), 10, 10).iter().map(|(_, d)| kind(d)).collect();
    assert_eq!(back, [(AlarmKind::Lost, false), (AlarmKind::SensorFault, false)]);
}

#[test]
fn time_without_values_counts_when_it_was_warm_before_and_after() {
    let mut watch = Watch::new(Limits { fault_delay_ms: u64::MAX, ..limits() });
    run(&mut watch, &good(9_000), 0, 1);
    run(&mut watch, &Sample::plain(Value::Fault), 2, 30);
    assert_eq!(run(&mut watch, &good(9_000), 31, 31).len(), 1);
    let mut watch = Watch::new(Limits { fault_delay_ms: u64::MAX, ..limits() });
    run(&mut watch, &good(4_000), 0, 1);
    run(&mut watch, &Sample::plain(Value::Fault), 2, 30);
    assert!(run(&mut watch, &good(9_000), 31, 40).is_empty());
}

/// A pending watch, killed at minute 5 of 10.
fn killed(sample: &Sample) -> Vec<u8> {
    let mut watch = Watch::new(limits());
    assert!(run(&mut watch, sample, 0, 5).is_empty());
    watch.to_bytes()
}

#[test]
fn a_pending_delay_survives_a_restart_and_the_gap_counts() {
    let (mut watch, restored) = Watch::from_bytes(limits(), Some(&killed(&good(9_000))));
    assert_eq!(restored, Restored::Intact);
    // A new run: the monotonic clock starts anew, the wall clock went on for 5 minutes.
    let out = watch.step(&good(9_000), Moment::new(7, WALL + 10 * 60_000));
    assert_eq!(out.decisions.len(), 1);
    assert!(out.save);
    let (mut watch, _) = Watch::from_bytes(limits(), Some(&killed(&good(9_000))));
    assert!(watch.step(&good(3_000), Moment::new(7, WALL + 10 * 60_000)).decisions.is_empty());
}

#[test]
fn a_gap_that_cannot_be_known_counts_as_over_the_limit() {
    let (mut watch, _) = Watch::from_bytes(limits(), Some(&killed(&good(9_000))));
    assert_eq!(watch.step(&good(9_000), Moment::new(7, WALL - 1)).decisions.len(), 1);
    let (mut watch, _) = Watch::from_bytes(limits(), Some(&killed(&good(9_000))));
    assert!(watch.step(&good(3_000), Moment::new(7, WALL - 1)).decisions.is_empty());
    let (mut watch, _) = Watch::from_bytes(limits(), Some(&killed(&warm(3_000, Phase::Defrost))));
    let out = watch.step(&warm(3_000, Phase::Defrost), Moment::new(7, WALL - 1));
    assert_eq!(out.decisions.iter().map(kind).collect::<Vec<_>>(), [(AlarmKind::DefrostTooLong, true)]);
}

#[test]
fn jumps_of_the_wall_clock_change_nothing_within_a_run() {
    let mut watch = Watch::new(limits());
    for minute in 0..=9_u64 {
        let jump = if minute % 2 == 0 { 0 } else { 86_400_000 };
        assert!(watch.step(&good(9_000), Moment::new(minute * MINUTE, WALL + jump)).decisions.is_empty());
    }
    let out = watch.step(&good(9_000), Moment::new(10 * MINUTE, WALL));
    let Decision::Raise { since, .. } = out.decisions[0] else { panic!() };
    assert_eq!(since, UnixMillis(WALL - 10 * 60_000));
}

#[test]
fn an_open_alarm_is_named_kept_and_adopted() {
    let alarm = FactRef { epoch: Epoch(1), seq: Seq(9) };
    let mut watch = Watch::new(limits());
    run(&mut watch, &good(9_000), 0, 10);
    watch.bind(AlarmKind::TooWarm, alarm);
    let (mut watch, _) = Watch::from_bytes(limits(), Some(&watch.to_bytes()));
    let out = watch.step(&good(3_000), at(0));
    assert!(matches!(out.decisions[..], [Decision::Return { alarm: Some(bound), .. }] if bound == alarm));

    let (mut watch, restored) = Watch::from_bytes(limits(), Some(&[1, 2, 3, 4, 5, 6, 7]));
    assert!(matches!(restored, Restored::Damaged(_)));
    watch.adopt(AlarmKind::TooWarm, alarm, Some(MilliCelsius(8_000)));
    assert!(watch.is_raised(AlarmKind::TooWarm));
    assert!(run(&mut watch, &good(9_000), 0, 30).is_empty(), "not raised a second time");
    assert_eq!(run(&mut watch, &good(3_000), 31, 31).len(), 1);
}

#[test]
fn a_limit_that_is_taken_away_returns_its_alarm() {
    let mut watch = Watch::new(limits());
    run(&mut watch, &good(9_000), 0, 10);
    watch.set_limits(Limits { high: None, ..limits() });
    assert_eq!(run(&mut watch, &good(9_000), 11, 11).len(), 1);
}

#[test]
fn flags_follow_the_same_rules() {
    let mut watch = FlagWatch::new(AlarmKind::LowWater, 2 * MINUTE);
    assert!(watch.step(Some(true), at(0)).save);
    assert!(watch.step(None, at(MINUTE)).decisions.is_empty());
    assert_eq!(watch.step(Some(true), at(2 * MINUTE)).decisions.len(), 1);
    assert!(watch.step(Some(true), at(3 * MINUTE)).decisions.is_empty());
    let (mut watch, restored) =
        FlagWatch::from_bytes(AlarmKind::LowWater, 2 * MINUTE, Some(&watch.to_bytes()));
    assert_eq!(restored, Restored::Intact);
    assert!(watch.step(Some(true), Moment::new(0, WALL - 5)).decisions.is_empty());
    assert_eq!(watch.step(Some(false), Moment::new(1, WALL)).decisions.len(), 1);
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let value = prop_oneof![
        6 => (-6_000..12_000_i32).prop_map(|v| Value::Good(MilliCelsius(v))),
        1 => Just(Value::Fault),
        1 => Just(Value::NoAnswer),
    ];
    let phase = prop_oneof![3 => Just(Phase::Normal), 1 => Just(Phase::Defrost), 1 => Just(Phase::Door)];
    (value, phase, proptest::option::of(any::<bool>())).prop_map(|(value, phase, door_open)| Sample {
        value,
        phase,
        door_open,
    })
}

proptest! {
    /// Raises and returns alternate per kind over any samples, clock jumps and restarts; states stay small.
    #[test]
    fn never_two_raises_without_a_return(
        steps in proptest::collection::vec((any_sample(), 0..20 * MINUTE, -9_000_000..9_000_000_i64, 0..12_u8), 1..120),
    ) {
        let mut watch = Watch::new(limits());
        let mut open: BTreeMap<AlarmKind, bool> = BTreeMap::new();
        let mut now = at(0);
        for (sample, forward, jump, dice) in steps {
            now = Moment { mono_ms: now.mono_ms + forward, wall: now.wall.plus(i64::try_from(forward).unwrap()) };
            if dice == 0 { now.wall = now.wall.plus(jump); }
            if dice == 1 {
                watch = Watch::from_bytes(limits(), Some(&watch.to_bytes())).0;
                now.mono_ms = 0;
            }
            let out = watch.step(&sample, now);
            prop_assert!(out.decisions.is_empty() || out.save);
            for decision in &out.decisions {
                let (kind, raise) = kind(decision);
                prop_assert_ne!(open.insert(kind, raise).unwrap_or(false), raise);
                prop_assert_eq!(watch.is_raised(kind), raise);
            }
            prop_assert!(watch.to_bytes().len() <= STATE_BYTES_MAX);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let (mut watch, _) = Watch::from_bytes(limits(), Some(&bytes));
        watch.step(&good(9_000), at(1));
    }
}
