//! Every order of events within small bounds, and proof that the checker can fail.
#![allow(clippy::print_stderr, reason = "how many states there were")]

use hil_model::check::{HEALS, Outcome, Settlement, explore};
use hil_model::world::{Budget, Bug};

/// Three events. The stores are alike, so it does not matter which of them writes twice.
const EVENTS: Budget =
    Budget { events: [2, 1], crashes: 0, restores: 0, losses: 0, repeats: 0, cuts: 0, waits: 0, turns: true };

fn run(name: &str, budget: Budget, bug: Bug) -> Outcome {
    let started = std::time::Instant::now();
    let outcome = explore(Settlement { budget, bug });
    eprintln!(
        "{name}: {} states in {} ms: {:?}",
        outcome.states,
        started.elapsed().as_millis(),
        outcome.findings
    );
    outcome
}

fn holds(name: &str, budget: Budget) {
    let outcome = run(name, budget, Bug::None);
    assert!(outcome.findings.is_empty(), "{name}: {:#?}", outcome.findings);
    assert!(outcome.states > 1_000, "{name}: only {} states", outcome.states);
}

#[test]
fn three_events_one_crash_one_restore_lose_and_double_nothing() {
    holds("one crash and one restore", Budget { crashes: 1, restores: 1, ..EVENTS });
}

#[test]
fn every_interleaving_of_both_stores_with_one_crash_holds() {
    holds("one crash, stores interleaved", Budget { crashes: 1, turns: false, ..EVENTS });
}

#[test]
fn lost_and_repeated_messages_cut_lines_and_passing_time_hold() {
    holds("one lost and one repeated", Budget { losses: 1, repeats: 1, ..EVENTS });
    holds("one cut, time passing", Budget { cuts: 1, waits: 2, ..EVENTS });
    holds("one lost, one restore", Budget { events: [1, 1], losses: 1, restores: 1, ..EVENTS });
}

#[test]
fn planted_faults_are_found() {
    for bug in [Bug::AckBeforeCommit, Bug::BranchDropped, Bug::GapIgnored] {
        let budget = Budget { events: [2, 0], crashes: 1, restores: 1, losses: 1, ..EVENTS };
        let outcome = run(&format!("{bug:?}"), budget, bug);
        assert!(outcome.findings.iter().any(|(name, _)| *name == HEALS), "{bug:?}: {:#?}", outcome.findings);
    }
}
