//! A slice of the campaign, every run that once failed, and every planted bug.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hil_storesim::campaign::{planted, seeds};
use hil_storesim::planted::Bug;
use hil_storesim::script::{Options, Script, What};
use hil_storesim::world::run;
use std::path::Path;

#[test]
fn sixty_seeds_hold() {
    let tally = seeds(0..60, &Options::default(), 2, None).unwrap();
    assert!(tally.failed.is_empty(), "{:?}", tally.failed);
    assert!(tally.events >= tally.fault_count(), "{} facts, {} faults", tally.events, tally.fault_count());
    let met: Vec<What> = What::ALL.iter().copied().filter(|what| what.is_fault()).collect();
    let missing: Vec<What> = met.into_iter().filter(|what| !tally.faults.contains_key(what)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

#[test]
fn equal_scripts_give_equal_runs() {
    for seed in [3, 11] {
        let script = Script::new(seed, &Options::default());
        let (one, other) = (run(&script, 100_000).unwrap(), run(&script, 100_000).unwrap());
        assert_eq!(
            (one.events, &one.faults, &one.destroyed),
            (other.events, &other.faults, &other.destroyed)
        );
        assert_eq!(one.trace, other.trace);
    }
}

#[test]
fn a_script_is_read_as_it_was_written() {
    let options = Options { bug: Some(Bug::GapIgnored), stores: 2, days: 1, ..Options::default() };
    let script = Script::new(7, &options);
    let text = script.to_text("found: something");
    let read = Script::parse(&text).unwrap();
    assert_eq!((read.seed, &read.steps, read.options.bug), (7, &script.steps, options.bug));
    assert!(Script::parse("storesim 1\nat 5 nothing 0 0 0\n").is_err());
    assert!(Script::parse("seed 5\n").is_err());
}

#[test]
fn runs_that_once_failed_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script = Script::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let outcome = run(&script, 0).unwrap();
        assert!(outcome.violations.is_empty(), "{}: {:?}", path.display(), outcome.violations);
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = planted(*bug, &Options::default(), 60).unwrap();
        assert!(found.at.is_some(), "{} is not seen in {} seeds", bug.word(), found.tried);
    }
}
