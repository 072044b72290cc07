//! The latch: transition table, durability, and "one weighing per load" under any order of readings, commits and restarts.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "a test fails by panicking")]

use edge_core::Restored;
use edge_core::weighing::{AGE_MS_MAX, Latch, Reading, Screen, Work};
use proptest::prelude::*;
use sync_model::{Epoch, FactRef, Grams, Seq};

fn fact(seq: u64) -> FactRef {
    FactRef { epoch: Epoch(1), seq: Seq(seq) }
}

fn stable(net: i64) -> Reading {
    Reading { net: Grams(net), stable: true, usable: net >= 0, centre_of_zero: net == 0, age_ms: 0 }
}

fn latch() -> Latch {
    Latch::new(Grams(5)) // 20 e = 100 g
}

fn accept(latch: &mut Latch, net: i64, seq: u64) {
    assert_eq!(latch.step(&stable(net)), Some(Work::Accept { net: Grams(net) }));
    latch.committed(Some(fact(seq)));
}

#[test]
fn only_stable_young_usable_loads_of_20_e_are_accepted() {
    let base = stable(100);
    let cases = [
        (base, true),
        (stable(99), false),
        (stable(0), false),
        (stable(-300), false),
        (Reading { stable: false, ..base }, false),
        (Reading { usable: false, ..base }, false),
        (Reading { age_ms: AGE_MS_MAX, ..base }, false),
        (Reading { age_ms: AGE_MS_MAX - 1, ..base }, true),
    ];
    for (reading, expected) in cases {
        assert_eq!(latch().step(&reading).is_some(), expected, "{reading:?}");
    }
}

#[test]
fn a_load_is_recorded_once_and_rearmed_by_an_empty_pan() {
    let mut latch = latch();
    accept(&mut latch, 500, 1);
    assert_eq!(latch.screen(), Screen::Accepted { net: Grams(500), event: Some(fact(1)) });
    for net in [500, 505, 401, 599] {
        assert_eq!(latch.step(&stable(net)), None, "{net} is the same load");
    }
    assert_eq!(latch.step(&stable(99)), Some(Work::Clear));
    assert_eq!(latch.screen().word(), "measuring", "ready is shown only when it is durable");
    latch.committed(None);
    latch.step(&stable(0));
    assert_eq!(latch.screen(), Screen::Ready);
    accept(&mut latch, 500, 2);
}

#[test]
fn goods_added_are_a_second_weighing() {
    let mut latch = latch();
    accept(&mut latch, 500, 1);
    accept(&mut latch, 600, 2);
    accept(&mut latch, 500, 3);
}

#[test]
fn nothing_is_shown_as_accepted_before_its_commit() {
    let mut latch = latch();
    assert!(latch.step(&stable(500)).is_some());
    assert_eq!(latch.screen().word(), "measuring");
    assert_eq!(latch.step(&stable(500)), None, "one proposal at a time");
    latch.refused("the ledger is full");
    assert_eq!(latch.screen(), Screen::Fault { reason: "the ledger is full".into() });
    assert_eq!(
        latch.step(&stable(500)),
        Some(Work::Accept { net: Grams(500) }),
        "the same load is offered again"
    );
}

#[test]
fn an_equal_second_load_during_a_slow_commit_is_not_swallowed() {
    let mut latch = latch();
    latch.step(&stable(500));
    latch.step(&stable(0));
    latch.committed(Some(fact(1)));
    assert_eq!(latch.step(&stable(500)), Some(Work::Clear));
    latch.committed(None);
    accept(&mut latch, 500, 2);
}

#[test]
fn damaged_bytes_wait_for_an_empty_pan() {
    let (mut latch, restored) = Latch::from_bytes(Grams(5), Some(b"nonsense"));
    assert!(matches!(restored, Restored::Damaged(_)));
    assert_eq!(latch.step(&stable(500)), None);
    assert_eq!(latch.screen().word(), "fault");
    assert_eq!(latch.step(&stable(0)), Some(Work::Clear));
    latch.committed(None);
    accept(&mut latch, 500, 1);
    assert_eq!(Latch::from_bytes(Grams(5), None).1, Restored::Fresh);
}

#[test]
fn a_load_beyond_the_range_is_a_fault_on_the_screen() {
    let mut latch = latch();
    latch.step(&Reading { usable: false, ..stable(90_000) });
    assert_eq!(latch.screen().word(), "fault");
    accept(&mut latch, 500, 1);
    // Over capacity comes as a status without a weight: that is not an empty pan.
    assert_eq!(latch.step(&Reading { usable: false, centre_of_zero: false, ..stable(0) }), None);
    assert_eq!(latch.step(&stable(500)), None, "still the recorded load");
    latch.fault("no answer");
    assert_eq!(latch.screen(), Screen::Fault { reason: "no answer".into() });
}

/// What can happen to a scale and its daemon.
#[derive(Clone, Debug)]
enum Act {
    Load(i64),
    Empty,
    Motion,
    Restart,
    Refuse,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => prop_oneof![Just(300_i64), Just(700), Just(1500)].prop_map(Act::Load),
        3 => Just(Act::Empty),
        2 => Just(Act::Motion),
        1 => Just(Act::Restart),
        1 => Just(Act::Refuse),
    ]
}

proptest! {
    /// The scale's own count of load changes equals the number of durable weighings, whatever restarts or is refused.
    #[test]
    fn one_weighing_per_load_change(acts in proptest::collection::vec(act(), 1..80)) {
        let mut latch = latch();
        let mut durable = latch.to_bytes();
        let (mut recorded, mut expected) = (Vec::new(), Vec::new());
        let mut pan = 0_i64;
        for act in acts {
            let mut refuse = false;
            match act {
                Act::Load(net) if net != pan => { pan = net; expected.push(net); }
                Act::Load(_) => {}
                Act::Empty => pan = 0,
                Act::Motion => { latch.step(&Reading { stable: false, ..stable(pan) }); continue; }
                Act::Restart => {
                    // Killed between proposal and commit: the proposal is gone.
                    latch.step(&stable(pan));
                    let (restored, how) = Latch::from_bytes(Grams(5), Some(&durable));
                    prop_assert_eq!(how, Restored::Intact);
                    latch = restored;
                }
                Act::Refuse => refuse = true,
            }
            // The load stays until the scale settled: at most a clear and an accept.
            for _ in 0..3 {
                let Some(work) = latch.step(&stable(pan)) else { continue };
                if core::mem::take(&mut refuse) { latch.refused("busy"); continue; }
                let event = fact(recorded.len() as u64 + 1);
                durable = work.state(Some(event));
                if let Work::Accept { net } = work { recorded.push(net.0); }
                latch.committed(Some(event));
                prop_assert_eq!(latch.to_bytes(), durable.clone());
            }
        }
        prop_assert_eq!(recorded, expected);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let (latch, _) = Latch::from_bytes(Grams(5), Some(&bytes));
        prop_assert!(latch.to_bytes().len() <= edge_core::STATE_BYTES_MAX);
        prop_assert_eq!(Latch::from_bytes(Grams(5), Some(&latch.to_bytes())), (latch, Restored::Intact));
    }
}
