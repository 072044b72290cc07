//! The command line, shared by `storesim` and `cargo xtask sim`.
#![allow(clippy::print_stdout, reason = "a command line program speaks on its standard streams")]

use crate::campaign::{self, Tally, planted_json};
use crate::planted::Bug;
use crate::script::{Options, Script, What};
use crate::shrink::shrink;
use crate::world::run;
use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Simulates stores, brokers and HQ.
#[derive(Parser)]
#[command(name = "storesim", disable_help_subcommand = true)]
pub struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs seeds, or looks for the planted bugs.
    Run(Sim),
    /// Runs on for a time.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        #[command(flatten)]
        sim: Sim,
    },
    /// Runs a file that a failing seed left.
    Replay {
        /// The file.
        file: PathBuf,
    },
    /// Prints what happens in one seed.
    Trace {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        sim: Sim,
    },
}

/// Shape of a campaign.
#[derive(Args, Clone)]
pub struct Sim {
    /// Seeds, as `A..B`.
    #[arg(long, default_value = "0..100")]
    pub seeds: String,
    /// Stores per run.
    #[arg(long, default_value_t = 3)]
    pub stores: u32,
    /// Trading days per run.
    #[arg(long, default_value_t = 2)]
    pub days: u32,
    /// Weight of a kind of step, as `KIND=WEIGHT`; 0 leaves it out.
    #[arg(long = "faults")]
    pub weights: Vec<String>,
    /// Looks for every planted bug instead, or for the named one.
    #[arg(long, num_args = 0..=1, default_missing_value = "all")]
    pub planted: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    pub threads: usize,
    /// Prints only the closing JSON line.
    #[arg(long)]
    pub json: bool,
    /// Runs spent on cutting each of the first failing seeds down.
    #[arg(long, default_value_t = 200)]
    pub shrink: u32,
    /// Where scripts of failing seeds go.
    #[arg(long, default_value = "target/storesim")]
    pub keep: PathBuf,
}

impl Sim {
    fn range(&self) -> Result<Range<u64>> {
        let (from, upto) = self.seeds.split_once("..").context("seeds are given as A..B")?;
        Ok(from.parse()?..upto.parse()?)
    }

    fn options(&self) -> Result<Options> {
        let mut options =
            Options { stores: self.stores.max(1), days: self.days.max(1), ..Options::default() };
        for weight in &self.weights {
            let (word, weight) = weight.split_once('=').context("weights are given as KIND=WEIGHT")?;
            let Some(what) = What::parse(word) else {
                let words: Vec<&str> = What::ALL.iter().map(|what| what.word()).collect();
                bail!("no kind '{word}'; there are {}", words.join(" "));
            };
            options.weights.insert(what, weight.parse()?);
        }
        if let Some(bug) = self.planted.as_deref().and_then(Bug::parse) {
            options.bug = Some(bug);
        }
        Ok(options)
    }
}

/// Runs a command. `Ok(false)`: what it checks does not hold.
pub fn main(command: &Command) -> Result<bool> {
    match &command.task {
        Task::Run(sim) => simulate(sim),
        Task::Soak { minutes, sim } => soak(sim, *minutes),
        Task::Replay { file } => replay(file),
        Task::Trace { seed, sim } => {
            let outcome = run(&Script::new(*seed, &sim.options()?), 1_000_000)?;
            outcome.trace.iter().for_each(|line| println!("{line}"));
            println!("{outcome:?}", outcome = (outcome.events, &outcome.faults, &outcome.violations));
            Ok(outcome.violations.is_empty())
        }
    }
}

/// `sim`: seeds or planted bugs.
pub fn simulate(sim: &Sim) -> Result<bool> {
    let options = sim.options()?;
    if let Some(which) = &sim.planted {
        return planted(sim, which, &options);
    }
    let tally = campaign::seeds(sim.range()?, &options, sim.threads, None)?;
    report(sim, &options, &tally)
}

/// `soak sim`: as many seeds as the time allows.
pub fn soak(sim: &Sim, minutes: u64) -> Result<bool> {
    let options = sim.options()?;
    let tally = campaign::soak(sim.range()?.start, &options, sim.threads, Duration::from_secs(minutes * 60))?;
    report(sim, &options, &tally)
}

fn report(sim: &Sim, options: &Options, tally: &Tally) -> Result<bool> {
    for failed in tally.failed.iter().take(3) {
        let script = Script::new(failed.seed, options);
        let (least, violation) = shrink(&script, &failed.violation, sim.shrink)?;
        let text = least.to_text(&format!("{}: {}", violation.oracle, violation.detail));
        std::fs::create_dir_all(&sim.keep)?;
        let file = sim.keep.join(format!("seed-{}.txt", failed.seed));
        std::fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
        if !sim.json {
            println!(
                "seed {}: {} steps of {} are enough; storesim replay {}",
                failed.seed,
                least.steps.len(),
                script.steps.len(),
                file.display()
            );
            print!("{text}");
        }
    }
    // A kind that was left out on purpose, or a handful of seeds, need not have met everything.
    let whole = tally.seeds >= 200 && options.weights.is_empty();
    let line = tally.json(whole);
    println!("{line}");
    Ok(line.get("ok") == Some(&serde_json::Value::Bool(true)))
}

fn planted(sim: &Sim, which: &str, options: &Options) -> Result<bool> {
    let bugs: Vec<Bug> = match Bug::parse(which) {
        Some(bug) => vec![bug],
        None if which == "all" => Bug::ALL.to_vec(),
        None => bail!("no planted bug '{which}'"),
    };
    let mut found = Vec::new();
    for bug in bugs {
        let one = campaign::planted(bug, options, 60)?;
        if !sim.json {
            println!("{}: {}", bug.word(), bug.text().trim());
            println!("  {:?}", one.at);
        }
        found.push(one);
    }
    println!("{}", planted_json(&found));
    Ok(found.iter().all(|found| found.at.is_some()))
}

/// Runs a script file and says whether it still fails.
pub fn replay(file: &Path) -> Result<bool> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let outcome = run(&Script::parse(&text)?, 1_000_000)?;
    outcome.trace.iter().for_each(|line| println!("{line}"));
    for violation in &outcome.violations {
        println!("{}: {}", violation.oracle, violation.detail);
    }
    Ok(outcome.violations.is_empty())
}
