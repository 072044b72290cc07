//! The trials.

use crate::campaign::{self, Cut, Plan, Violation};
use crate::damage::{self, Base, Case};
use crate::disk::{Kind, Rule};
use crate::trace::{self, Trace};
use crate::writer::SCENARIOS;
use anyhow::{Context, Result, bail, ensure};
use hil_trials::{Bench, Suite, Trial, Verdict};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Which of the possible states are tried.
const SEED: u64 = 0x5179_2026;
/// Fewest states of a run of the rig.
const STATES: u64 = 10_000;
/// What a store may take to start.
const OPENING: Duration = Duration::from_secs(2);

/// The trials of this rig.
pub fn suite() -> Suite {
    let trials = vec![
        Trial {
            name: "cuts",
            shows: "after a power cut at any write, every acknowledged fact is there and the store goes on",
            run: cuts,
        },
        Trial {
            name: "planted-mistakes",
            shows: "a store that forgets a sync or acknowledges before it is found out",
            run: planted,
        },
        Trial {
            name: "flips",
            shows: "with a bit or byte flipped in any file the store starts, and what is wrong is said",
            run: flips,
        },
        Trial {
            name: "lost-pages",
            shows: "the same with a page zeroed, or a file cut short",
            run: lost_pages,
        },
    ];
    Suite { rig: "powercut", trials }
}

/// A folder in memory where there is one: syncs cost nothing there.
pub(crate) fn in_memory() -> Result<tempfile::TempDir> {
    let shm = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("steelyard-powercut-");
    Ok(if shm.is_dir() { builder.tempdir_in(shm)? } else { builder.tempdir()? })
}

/// A run, and the folder that it ran in, whose name is in the trace.
struct Recorded {
    trace: Trace,
    folder: String,
}

/// Records a scenario; the trace is left in `evidence`.
fn record(writer: &Path, scenario: &str, evidence: &Path) -> Result<Recorded> {
    let home = in_memory()?;
    // The name that the kernel gives it, which is the one in the trace.
    let folder = home.path().canonicalize()?;
    let text = folder.to_str().context("the folder's name")?;
    let prepared = Command::new(writer).args(["prepare", scenario, text]).output().context("the writer")?;
    ensure!(prepared.status.success(), "prepare: {}", String::from_utf8_lossy(&prepared.stderr));
    let before = trace::files(&folder)?;
    let to = evidence.join(format!("{scenario}.trace"));
    trace::record(writer, &["run", scenario, text], &to)?;
    let trace = Trace::read(&to, text, before).with_context(|| format!("{scenario} in {}", to.display()))?;
    Ok(Recorded { trace, folder: text.to_owned() })
}

fn writer(bench: &Bench<'_>) -> Result<PathBuf> {
    let path = bench.place.programs.join("powercut-writer");
    ensure!(path.is_file(), "{} is missing: build the workspace", path.display());
    Ok(path)
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(1, 8)
}

fn plan(scenario: &str) -> Plan {
    // The states of `checkpoint` are large.
    let every = if scenario == "checkpoint" { 4 } else { 1 };
    Plan { seed: SEED, further: 3, every, workers: workers(), enough: 500 }
}

fn cuts(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(why) = trace::unable() {
        return Ok(Verdict::Skipped(why));
    }
    let writer = writer(bench)?;
    let place = in_memory()?;
    let (mut states, mut slowest, mut seen, mut broken) = (0, Duration::ZERO, Vec::new(), String::new());
    for scenario in SCENARIOS {
        let run = record(&writer, scenario, &bench.folder)?;
        let begun = std::time::Instant::now();
        let tally = campaign::run(&run.trace, scenario, plan(scenario), place.path())?;
        states += tally.states;
        slowest = slowest.max(tally.slowest);
        seen.push(format!(
            "{scenario} {} cuts {} states {:.0} s",
            tally.cuts,
            tally.states,
            begun.elapsed().as_secs_f64()
        ));
        if tally.violation_count > 0 {
            keep(&run, scenario, &tally.violations, &bench.folder)?;
            let first = tally.violations.first().map_or("", |violation| violation.why.as_str());
            broken.push_str(&format!("{scenario}: {} states, the first: {first}; ", tally.violation_count));
        } else {
            std::fs::remove_file(bench.folder.join(format!("{scenario}.trace")))?;
        }
    }
    ensure!(broken.is_empty(), "{broken}{}", seen.join(", "));
    ensure!(states >= STATES, "{states} states, at least {STATES} are wanted");
    let miss = if slowest > OPENING { " (over the aim of 2 s)" } else { "" };
    Ok(Verdict::Passed(format!(
        "{states} states of disks, 0 broken promises ({}); slowest start {:.3} s{miss}",
        seen.join(", "),
        slowest.as_secs_f64()
    )))
}

/// Leaves what is needed to look at states that do not hold, and to make them again ([`replay`]).
fn keep(run: &Recorded, scenario: &str, violations: &[Violation], folder: &Path) -> Result<()> {
    campaign::lay(&folder.join(format!("{scenario}-before")), &run.trace.before.iter().cloned().collect())?;
    let (mut text, mut states) = (String::new(), format!("{}\n", run.folder));
    for (number, violation) in violations.iter().enumerate() {
        let name = format!("{scenario}-state-{number}");
        campaign::lay(&folder.join(&name), &violation.files)?;
        let Cut { after, rule, kind, seed } = violation.cut;
        states.push_str(&format!("{after} {rule:?} {kind:?} {seed}\n"));
        let last = run.trace.ops.get(after.saturating_sub(6)..after).unwrap_or_default();
        text.push_str(&format!(
            "{name}: after {after} operations, {rule:?}, {kind:?}, seed {seed}\n  {}\n  last operations:\n",
            violation.why
        ));
        for op in last {
            let op: String = format!("{op:?}").chars().take(160).collect();
            text.push_str(&format!("    {op}\n"));
        }
    }
    std::fs::write(folder.join(format!("{scenario}-violations.txt")), text)?;
    std::fs::write(folder.join(format!("{scenario}-states.txt")), states)?;
    Ok(())
}

/// Makes state `number` of a failed run again out of what the run left in `evidence`, and checks it in the folder
/// `again` there; an error says what does not hold.
pub fn replay(evidence: &Path, scenario: &str, number: usize) -> Result<()> {
    let file = |name: &str| evidence.join(format!("{scenario}{name}"));
    let states = std::fs::read_to_string(file("-states.txt")).context("the list of states")?;
    let mut lines = states.lines();
    let folder = lines.next().context("the folder of the run")?;
    let words: Vec<&str> = lines.nth(number).context("no such state")?.split_whitespace().collect();
    let [after, rule, kind, seed] = words[..] else { bail!("a state is four words") };
    let rule = if rule == "Strict" { Rule::Strict } else { Rule::Journal };
    let kind = Kind::ALL.into_iter().find(|known| format!("{known:?}") == kind).context("a kind")?;
    let cut = Cut { after: after.parse()?, rule, kind, seed: seed.parse()? };
    let trace = Trace::read(&file(".trace"), folder, trace::files(&file("-before"))?)?;
    campaign::again(&trace, scenario, cut, &evidence.join("again"))
}

/// Runs with mistakes that a store could make. Each must be found.
fn planted(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(why) = trace::unable() {
        return Ok(Verdict::Skipped(why));
    }
    let run = record(&writer(bench)?, "trade", &bench.folder)?;
    let trace = run.trace.clone();
    let place = in_memory()?;
    let plan = Plan { further: 1, every: 7, enough: 20, ..plan("trade") };
    let mistakes: [(&str, Trace); 5] = [
        ("write-ahead log not synced", trace.clone().without_syncs(|name| name == "ledger.db-wal")),
        ("ledger not synced before its log goes", trace.clone().without_syncs(|name| name == "ledger.db")),
        ("samples not synced", trace.clone().without_syncs(|name| name.starts_with("telemetry.db"))),
        ("HQ not synced", trace.clone().without_syncs(|name| name.starts_with("hq.db"))),
        ("acknowledged before the sync", trace.acknowledged_early()),
    ];
    let mut found = Vec::new();
    for (mistake, trace) in mistakes {
        let tally = campaign::run(&trace, "trade", plan, place.path())?;
        if tally.violation_count == 0 {
            bail!("'{mistake}' was not found in {} states", tally.states);
        }
        let violation = tally.violations.first().context("a violation")?;
        // And the same state can be made again by its name.
        let again = campaign::again(&trace, "trade", violation.cut, &place.path().join("again"));
        ensure!(again.is_err(), "'{mistake}': the state {:?} cannot be made again", violation.cut);
        // Where nothing was planted the same state holds: here by way of the files that a failed run leaves.
        keep(&run, "trade", &tally.violations, &bench.folder)?;
        replay(&bench.folder, "trade", 0).with_context(|| format!("without '{mistake}'"))?;
        found.push(format!("{mistake}: {} of {}", tally.violation_count, tally.states));
    }
    std::fs::remove_file(bench.folder.join("trade.trace"))?;
    Ok(Verdict::Passed(found.join("; ")))
}

/// Flipped bits and bytes tried.
const FLIPS: usize = 4_000;
/// Zeroed pages and cut files tried.
const PAGES: usize = 1_200;

fn flips(bench: &Bench<'_>) -> Result<Verdict> {
    harm(bench, |bases| damage::flips(bases, SEED, FLIPS))
}

fn lost_pages(bench: &Bench<'_>) -> Result<Verdict> {
    harm(bench, |bases| damage::pages(bases, SEED, PAGES))
}

fn harm(bench: &Bench<'_>, cases: impl Fn(&[Base]) -> Vec<Case>) -> Result<Verdict> {
    let place = in_memory()?;
    let bases = Base::all(place.path())?;
    let cases = cases(&bases);
    let outcome = damage::run(&bases, &cases, workers(), place.path());
    if let Some(first) = outcome.violations.first() {
        std::fs::write(bench.folder.join("violations.txt"), outcome.violations.join("\n"))?;
        bail!(
            "{} of {} cases do not hold ({:?}), the first: {first}",
            outcome.violations.len(),
            cases.len(),
            outcome.ends
        );
    }
    let ends: Vec<String> = outcome.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
    Ok(Verdict::Passed(format!("{} cases: {}", cases.len(), ends.join(", "))))
}
