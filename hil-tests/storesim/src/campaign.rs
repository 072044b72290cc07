//! Many seeds on a few threads, planted bugs, and the one line that says what came of it.

use crate::planted::Bug;
use crate::script::{Options, Script, What};
use crate::world::{Outcome, Violation, run};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// What was found first.
    pub violation: Violation,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Facts booked and answered.
    pub events: u64,
    /// Faults by kind.
    pub faults: BTreeMap<What, u64>,
    /// Facts whose last copy a fault destroyed.
    pub destroyed: u64,
    /// Longest time to rest.
    pub settled_max_ms: u64,
    /// Seeds that failed, the first of them.
    pub failed: Vec<Failed>,
    /// Their number.
    pub violations: u64,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.seeds += 1;
        self.events += outcome.events;
        for (what, count) in outcome.faults {
            *self.faults.entry(what).or_default() += count;
        }
        self.destroyed += u64::try_from(outcome.destroyed.len()).unwrap_or(u64::MAX);
        self.settled_max_ms = self.settled_max_ms.max(outcome.settled_ms);
        if let Some(violation) = outcome.violations.into_iter().next() {
            self.violations += 1;
            if self.failed.len() < 50 {
                self.failed.push(Failed { seed, violation });
            }
        }
    }

    /// Faults in all.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// As the line that a campaign prints.
    pub fn json(&self, whole: bool) -> Value {
        let faults: Map<String, Value> = What::ALL
            .iter()
            .filter(|what| what.is_fault())
            .map(|what| (what.word().to_owned(), json!(self.faults.get(what).copied().unwrap_or(0))))
            .collect();
        let missing: Vec<&String> =
            faults.iter().filter(|(_, count)| **count == json!(0)).map(|(word, _)| word).collect();
        let ok = self.violations == 0 && (!whole || missing.is_empty()) && self.events >= self.fault_count();
        let failed: Vec<Value> = self
            .failed
            .iter()
            .map(|failed| json!({"seed": failed.seed, "oracle": failed.violation.oracle, "detail": failed.violation.detail}))
            .collect();
        json!({
            "seeds": self.seeds,
            "events": self.events,
            "faults": faults,
            "violations": self.violations,
            "ok": ok,
            "destroyed": self.destroyed,
            "settled_max_ms": self.settled_max_ms,
            "failed": failed,
        })
    }
}

/// Runs seeds on `threads` threads, at most until `end`.
pub fn seeds(range: Range<u64>, options: &Options, threads: usize, end: Option<Instant>) -> Result<Tally> {
    let (next, stop) = (AtomicU64::new(range.start), AtomicBool::new(false));
    let tally = Mutex::new(Tally::default());
    let work = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let late = end.is_some_and(|end| Instant::now() >= end);
            if seed >= range.end || late || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let outcome =
                run(&Script::new(seed, options), 0).inspect_err(|_| stop.store(true, Ordering::Relaxed));
            let outcome = outcome.map_err(|error| error.context(format!("seed {seed}")))?;
            if let Ok(mut tally) = tally.lock() {
                tally.add(seed, outcome);
            }
        }
    };
    std::thread::scope(|scope| -> Result<()> {
        let handles: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for handle in handles {
            handle.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    Ok(tally.into_inner().unwrap_or_default())
}

/// Where a planted bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bug.
    pub bug: Bug,
    /// Seed and oracle; `None`: not found.
    pub at: Option<(u64, Violation)>,
    /// Seeds tried.
    pub tried: u64,
}

/// Looks for one planted bug, with the faults that it needs drawn more often.
pub fn planted(bug: Bug, options: &Options, tries: u64) -> Result<Found> {
    let mut options = Options { bug: Some(bug), ..options.clone() };
    for what in bug.needs() {
        options.weights.entry(*what).or_insert(60);
    }
    // First where it was seen once; that may change with the code under test, so all others follow.
    for seed in std::iter::once(bug.seen()).chain(0..tries) {
        let script = Script::new(seed, &options);
        let outcome = run(&script, 0)?;
        if let Some(violation) = outcome.violations.into_iter().next() {
            // What the oracles object to must be the bug: without it the same run is clean.
            let sound = Script { options: Options { bug: None, ..options.clone() }, ..script };
            if !run(&sound, 0)?.violations.is_empty() {
                continue;
            }
            return Ok(Found { bug, at: Some((seed, violation)), tried: seed + 1 });
        }
    }
    Ok(Found { bug, at: None, tried: tries })
}

/// As the line that `--planted` prints.
pub fn planted_json(found: &[Found]) -> Value {
    let rows: Vec<Value> = found
        .iter()
        .map(|found| match &found.at {
            Some((seed, violation)) => json!({
                "bug": found.bug.word(), "found": true, "seed": seed, "oracle": violation.oracle, "detail": violation.detail,
            }),
            None => json!({"bug": found.bug.word(), "found": false, "tried": found.tried}),
        })
        .collect();
    json!({"planted": rows.len(), "found": found.iter().filter(|found| found.at.is_some()).count(),
           "ok": found.iter().all(|found| found.at.is_some()), "bugs": rows})
}

/// Runs on from a seed for a given time.
pub fn soak(from: u64, options: &Options, threads: usize, span: Duration) -> Result<Tally> {
    seeds(from..u64::MAX, options, threads, Some(Instant::now() + span))
}
