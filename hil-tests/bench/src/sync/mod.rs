//! `cargo xtask bench sync`: what settlement costs, on the realistic workload, in one run.
//!
//! Contract
//! * "Event" is a sale line. Tickets of the reference store have 6 lines on average, one record each; rates and bytes are also
//!   given per record where that says more.
//! * Candidates and baselines take turns over [`ROUNDS`] rounds and medians count, so that a neighbor on the machine hits
//!   all of them. What the machine and the profile were is part of the answer.

mod catchup;
mod feed;
mod fleet;
mod link;
mod live;
mod rows;
mod sqlite;

use anyhow::{Context, Result, ensure};
use feed::Feed;
use hil_rig::processes::need_program;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::Duration;
use sync_model::UnixMillis;
use sync_store::LedgerError;

/// How often each candidate has its turn.
const ROUNDS: usize = 3;
/// Blocks handed to a ledger and not yet answered.
pub(crate) const IN_FLIGHT: usize = 32;
/// When everything is received.
pub(crate) const RECEIVED: UnixMillis = UnixMillis(1_793_600_000_000);
/// Stores that settle at once in the apply benchmarks, and sale lines of each.
const STORES: u32 = 4;
const LINES_PER_STORE: u64 = 90_000;

/// So much in such a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) lines: u64,
    pub(crate) records: u64,
    pub(crate) time: Duration,
}

impl Rate {
    pub(crate) fn lines_per_s(&self) -> f64 {
        float(self.lines) / self.time.as_secs_f64().max(1e-9)
    }

    pub(crate) fn records_per_s(&self) -> f64 {
        float(self.records) / self.time.as_secs_f64().max(1e-9)
    }
}

/// Counts of a benchmark are far below the precision of the type.
pub(crate) fn float(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Waits for one answer of a ledger.
pub(crate) fn wait_for(answers: &Receiver<Result<(), LedgerError>>) -> Result<()> {
    Ok(answers.recv().context("the ledger's writer is gone")??)
}

/// The part that needs a network of its own. Prints one JSON line.
pub fn on_a_line(folder: &Path, programs: &Path, only: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let line = folder.join(only);
    std::fs::create_dir_all(&line)?;
    let link = link::Link::lay(&line)?;
    let found = runtime.block_on(async {
        match only {
            "live" => live::run(&link, &line, programs).await,
            _ => catchup::run(&link, &line, programs).await,
        }
    })?;
    println!("{found}");
    Ok(())
}

/// Runs this program again in a network namespace of its own; as root, or in a user namespace.
fn in_a_namespace(folder: &Path, programs: &Path, only: &str) -> Result<Value> {
    let myself = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(need_program("unshare")?);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--net", "--"]).arg(myself).args(["bench", "sync-on-a-line", only]);
    let output = command.arg("--folder").arg(folder).arg("--programs").arg(programs).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{only} on a line: {}", said.trim());
    serde_json::from_slice(&output.stdout).context("the answer of the part on a line")
}

/// Runs everything; `programs` holds `edge-agent` and `sync-hq`.
pub fn sync(root: &Path, programs: &Path, as_json: bool) -> Result<bool> {
    let home = root.join("target/bench");
    std::fs::create_dir_all(&home).context("create target/bench")?;
    let folder = tempfile::Builder::new().prefix("sync-").tempdir_in(&home)?;
    let folder = folder.path();
    let programs = &std::path::absolute(programs)?;
    for only in ["catchup", "live"] {
        println!("{}", in_a_namespace(folder, programs, only)?);
    }
    let feed = Feed::new(STORES, LINES_PER_STORE)?;
    let messages = sqlite::messages(&feed);
    let (mut ours, mut bare, mut events_only, mut from_wire) = (vec![], vec![], vec![], vec![]);
    let mut records = Vec::new();
    for round in 0..ROUNDS {
        let path = folder.join(format!("hq-{round}.sqlite"));
        let applied = sqlite::ours(&path, &feed, &messages, false)?;
        let batches = rows::batches(&feed, applied.blocks_per_commit)?;
        let same = folder.join(format!("bare-{round}.sqlite"));
        bare.push(sqlite::bare(&same, &path, &feed, &batches, true)?.lines_per_s());
        if round == 0 {
            sqlite::compare(&path, &same)?;
        }
        let fewer = folder.join(format!("events-{round}.sqlite"));
        events_only.push(sqlite::bare(&fewer, &path, &feed, &batches, false)?.lines_per_s());
        ours.push(applied.rate.lines_per_s());
        records.push(applied.rate.records_per_s());
        let path = folder.join(format!("wire-{round}.sqlite"));
        from_wire.push(sqlite::ours(&path, &feed, &messages, true)?.rate.lines_per_s());
        if !as_json {
            println!(
                "round {round}: {:.0} lines/s, {} blocks per commit, bare {:.0}, events only {:.0}, from wire {:.0}",
                ours[round], applied.blocks_per_commit, bare[round], events_only[round], from_wire[round]
            );
        }
    }
    let (ours, bare, events_only) = (median(ours), median(bare), median(events_only));
    println!(
        "{}",
        json!({"hq_sqlite_events_per_s": ours, "hq_sqlite_records_per_s": median(records), "hq_sqlite_ratio_bare": ours / bare,
            "hq_sqlite_ratio_bare_events_only": ours / events_only, "from_wire_events_per_s": median(from_wire),
            "record_bytes": float(feed.record_bytes()) / float(feed.lines)})
    );
    Ok(true)
}
