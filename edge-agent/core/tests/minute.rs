//! Minute summaries: exact folding, and never two for one minute.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a test fails by panicking")]

use edge_core::minute::{INTERVALS_MAX, MinuteFold};
use edge_core::{Restored, STATE_BYTES_MAX};
use proptest::prelude::*;
use std::collections::BTreeSet;
use sync_model::{DeviceId, MilliCelsius, UnixMillis};

fn device() -> DeviceId {
    DeviceId::new("cabinet-1").unwrap()
}

fn at(minute: i64, second: i64) -> UnixMillis {
    UnixMillis(minute * 60_000 + second * 1000)
}

fn mc(value: i32) -> Option<MilliCelsius> {
    Some(MilliCelsius(value))
}

#[test]
fn bad_samples_are_counted_and_never_averaged() {
    let mut fold = MinuteFold::new(device());
    for (second, sample) in [(0, mc(3_000)), (10, None), (20, mc(4_001)), (30, None), (40, mc(-2_000))] {
        assert_eq!(fold.step(sample, at(7, second)), None);
    }
    let minute = fold.tick(at(8, 0)).unwrap();
    assert_eq!(
        (minute.minute, minute.low, minute.mean, minute.high),
        (at(7, 0), mc(-2_000), mc(1_667), mc(4_001))
    );
    assert_eq!((minute.good, minute.bad), (3, 2));
    assert_eq!(fold.tick(at(9, 0)), None);
}

#[test]
fn a_minute_of_bad_samples_has_no_temperature() {
    let mut fold = MinuteFold::new(device());
    fold.step(None, at(1, 0));
    let minute = fold.step(mc(1), at(2, 0)).unwrap();
    assert_eq!((minute.low, minute.mean, minute.high, minute.good, minute.bad), (None, None, None, 0, 1));
}

#[test]
fn the_mean_rounds_half_away_from_zero() {
    for (samples, mean) in [([1, 2], 2), ([-1, -2], -2), ([-1, 2], 1), ([i32::MAX, i32::MAX], i32::MAX)] {
        let mut fold = MinuteFold::new(device());
        for sample in samples {
            fold.step(mc(sample), at(0, 1));
        }
        assert_eq!(fold.tick(at(1, 0)).unwrap().mean, mc(mean), "{samples:?}");
    }
}

#[test]
fn a_step_back_pauses_and_a_large_correction_goes_on() {
    let mut fold = MinuteFold::new(device());
    fold.step(mc(1), at(100, 0));
    assert_eq!(fold.step(mc(1), at(101, 0)).unwrap().minute, at(100, 0));
    assert_eq!(fold.step(mc(1), at(100, 30)).unwrap().minute, at(101, 0), "as complete as it will get");
    assert_eq!(fold.step(mc(1), at(101, 30)), None);
    assert_eq!(fold.dropped(), 2);
    fold.step(mc(1), at(102, 0));
    assert_eq!(fold.step(mc(1), at(103, 0)).unwrap().minute, at(102, 0));
    fold.step(mc(1), at(-5_000_000, 0));
    assert_eq!(fold.step(mc(1), at(-4_999_999, 0)).unwrap().minute, at(-5_000_000, 0));
}

#[test]
fn damage_skips_the_minute_that_may_have_been_emitted() {
    let (mut fold, restored) = MinuteFold::from_bytes(device(), Some(&[0; 9]));
    assert!(matches!(restored, Restored::Damaged(_)));
    fold.step(mc(1), at(5, 0));
    assert_eq!(fold.step(mc(1), at(6, 0)), None);
    assert_eq!(fold.step(mc(1), at(7, 0)).unwrap().minute, at(6, 0));
}

proptest! {
    /// Any walk of the clock, with restarts from the state saved with the last summary.
    #[test]
    fn never_the_same_minute_twice(
        walk in proptest::collection::vec((-3_i64..4, 0..60_i64, any::<bool>(), -400_i64..400, 0..10_u8), 1..300),
    ) {
        let mut fold = MinuteFold::new(device());
        let mut saved = fold.to_bytes();
        let mut seen = BTreeSet::new();
        let mut minute = 0_i64;
        for (step, second, is_good, jump, dice) in walk {
            minute += step;
            if dice == 0 { minute += jump; }
            if dice == 1 { fold = MinuteFold::from_bytes(device(), Some(&saved)).0; }
            if let Some(summary) = fold.step(is_good.then_some(MilliCelsius(5)), at(minute, second)) {
                prop_assert!(seen.insert(summary.minute));
                saved = fold.to_bytes();
            }
            prop_assert!(fold.to_bytes().len() <= STATE_BYTES_MAX);
        }
    }
}

#[test]
fn the_state_is_bounded_at_its_worst() {
    let mut fold = MinuteFold::new(device());
    for island in 0..4 * INTERVALS_MAX as i64 {
        fold.step(mc(i32::MIN), UnixMillis(i64::MAX / 2 - island * 7_777_777_777));
    }
    assert!(fold.to_bytes().len() <= 1024);
    assert_eq!(MinuteFold::from_bytes(device(), Some(&fold.to_bytes())), (fold, Restored::Intact));
}
