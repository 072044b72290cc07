//! Rigs and trials: the shape of every hardware-in-the-loop test, with hardware or without.
//!
//! Purpose: a rig is a TOML file that says of each part of the product's world whether it is real, emulated or simulated, and
//! what therefore cannot be shown there; a trial is a named test on a rig. The same trials run on a bench with real ports
//! when they are given a rig file that names them. Index:
//! * [`rig`] — rig files
//! * [`report`] — the closing table and the JUnit file
//!
//! Contract
//! * A trial passes with one line that says what was seen, fails with an error chain, or is skipped with a reason; a panic is
//!   a failure. Nothing else counts, and a trial that is skipped is printed with its reason.
//! * Every trial has a folder for its logs, transcripts and images. It is emptied before the trial and kept after it.

pub mod report;
pub mod rig;

pub use report::{Outcome, Record};
pub use rig::Rig;

use anyhow::{Context, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What a trial that did not fail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What was seen, on one line: numbers, not adjectives.
    Passed(String),
    /// Why it cannot run here.
    Skipped(String),
}

/// A named test on a rig.
#[derive(Clone, Copy)]
pub struct Trial {
    /// Lower case with hyphens; unique on its rig, and the name of its folder.
    pub name: &'static str,
    /// What it shows, for the list of trials.
    pub shows: &'static str,
    /// Runs it.
    pub run: fn(&Bench<'_>) -> Result<Verdict>,
}

/// The trials of one rig.
pub struct Suite {
    /// Name of the rig: `hil-tests/rigs/NAME.toml`.
    pub rig: &'static str,
    /// In the order of running.
    pub trials: Vec<Trial>,
}

/// Where a run takes things from and puts them.
pub struct Place {
    /// The checkout.
    pub root: PathBuf,
    /// Folder with the programs of the host: `edge-agent`, `sync-hq`.
    pub programs: PathBuf,
    /// Folder that outlives the checkout: kernels, images, tools.
    pub cache: PathBuf,
    /// Folder under which every trial gets its own.
    pub evidence: PathBuf,
}

/// What a trial is given.
pub struct Bench<'a> {
    /// Where things are.
    pub place: &'a Place,
    /// The rig it runs on.
    pub rig: &'a Rig,
    /// The trial's own folder, empty.
    pub folder: PathBuf,
}

/// Runs the trials of a suite whose names contain `only`, in order.
pub fn run(suite: &Suite, rig: &Rig, place: &Place, only: Option<&str>) -> Result<Vec<Record>> {
    let chosen = suite.trials.iter().filter(|trial| only.is_none_or(|part| trial.name.contains(part)));
    chosen.map(|trial| attempt(suite.rig, trial, rig, place)).collect()
}

fn attempt(suite: &'static str, trial: &Trial, rig: &Rig, place: &Place) -> Result<Record> {
    let folder = place.evidence.join(&rig.name).join(trial.name);
    empty(&folder)?;
    let bench = Bench { place, rig, folder: folder.clone() };
    let started = Instant::now();
    let outcome = match catch_unwind(AssertUnwindSafe(|| (trial.run)(&bench))) {
        Ok(Ok(Verdict::Passed(seen))) => Outcome::Passed(seen),
        Ok(Ok(Verdict::Skipped(reason))) => Outcome::Skipped(reason),
        Ok(Err(error)) if error.is::<Absent>() => Outcome::Skipped(format!("{error:#}")),
        Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
        Err(panic) => Outcome::Failed(format!("panicked: {}", message(&*panic))),
    };
    let took = started.elapsed();
    Ok(Record { rig: rig.name.clone(), suite, trial: trial.name, outcome, took, folder })
}

/// What a trial needs cannot be had on this machine, and why: the trial is skipped, not failed.
#[derive(Debug)]
pub struct Absent(pub String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite() -> Suite {
        let trial = |name, run| Trial { name, shows: "", run };
        Suite {
            rig: "fast",
            trials: vec![
                trial("good", |bench| {
                    std::fs::write(bench.folder.join("seen.log"), "1")?;
                    Ok(Verdict::Passed("1 of 1".into()))
                }),
                trial("skipped", |_| Ok(Verdict::Skipped("no port".into()))),
                trial("bad", |_| Err(anyhow::anyhow!("0 of 1").context("counting"))),
                trial("worse", |_| panic!("index {}", 3)),
                trial(
                    "absent",
                    |_| Err(anyhow::Error::new(Absent("no emulator".into())).context("starting")),
                ),
            ],
        }
    }

    #[test]
    fn every_end_of_a_trial_is_told_apart_and_leaves_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            root: folder.path().into(),
            programs: folder.path().into(),
            cache: folder.path().into(),
            evidence: folder.path().join("evidence"),
        };
        let rig = Rig::parse("name = \"fast\"\nsummary = \"s\"\n", "fast.toml").unwrap();
        std::fs::create_dir_all(place.evidence.join("fast/good/old")).unwrap();
        let records = run(&suite(), &rig, &place, None).unwrap();
        let outcomes: Vec<_> = records.iter().map(|record| record.outcome.clone()).collect();
        let expected = [
            Outcome::Passed("1 of 1".into()),
            Outcome::Skipped("no port".into()),
            Outcome::Failed("counting: 0 of 1".into()),
            Outcome::Failed("panicked: index 3".into()),
            Outcome::Skipped("starting: no emulator".into()),
        ];
        assert_eq!(outcomes, expected);
        let kept: Vec<_> =
            std::fs::read_dir(&records[0].folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(kept, ["seen.log"]);
        assert_eq!(run(&suite(), &rig, &place, Some("oo")).unwrap().len(), 1);
    }
}
