//! `cargo xtask bench sync`: what settlement costs, on the realistic workload, in one run.
//!
//! Contract
//! * "Event" is a sale line. Tickets of the reference store have 6 lines on average, one record each; rates and bytes are also
//!   given per record where that says more.
//! * Candidates and baselines take turns over three rounds and medians count, so that a neighbor on the machine hits all of
//!   them. What the machine and the profile were is part of the answer.
//! * An aim that is missed is named in `missed`; the benchmark itself succeeds.

mod aims;
mod catchup;
mod feed;
mod fleet;
mod link;
mod live;
mod postgres;
mod rows;
mod sqlite;

use anyhow::{Context, Result, ensure};
use feed::Feed;
use hil_rig::processes::need_program;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use sync_codec::PACKED;
use sync_core::Block;
use sync_core::replica::Letter;
use sync_model::{Event, Fact, UnixMillis};
use sync_store::LedgerError;

/// How often each candidate has its turn.
const ROUNDS: usize = 3;
/// Blocks handed to a ledger and not yet answered.
pub(crate) const IN_FLIGHT: usize = 32;
/// Long blocks that are cut into live ones.
const LIVE_SAMPLE: usize = 8;
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
    let myself = hil_rig::processes::myself()?;
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

/// Parts of the benchmark, in the order in which they run.
pub const PARTS: [&str; 6] = ["wire", "sqlite", "postgres", "verify", "catchup", "live"];

/// Runs the parts named in `only`, or all; `programs` holds `edge-agent` and `sync-hq`.
pub fn sync(root: &Path, programs: &Path, as_json: bool, only: &[String]) -> Result<bool> {
    let home = root.join("target/bench");
    std::fs::create_dir_all(&home).context("create target/bench")?;
    let folder = tempfile::Builder::new().prefix("sync-").tempdir_in(&home)?;
    let bench = Bench {
        folder: folder.path(),
        programs: &std::path::absolute(programs)?,
        feed: Feed::new(STORES, LINES_PER_STORE)?,
    };
    let mut found = Map::new();
    found.insert("schema".into(), json!("steelyard.bench-sync/1"));
    for part in PARTS.into_iter().filter(|part| only.is_empty() || only.iter().any(|name| name == part)) {
        let values = bench.part(part).with_context(|| format!("part {part}"))?;
        if !as_json {
            for (key, value) in &values {
                println!("{key:<44} {}", shown(value));
            }
        }
        found.extend(values);
    }
    let (aims, missed) = aims::judge(&found);
    found.insert("machine".into(), machine());
    found.insert("aims".into(), aims);
    found.insert("missed".into(), json!(missed));
    if as_json {
        println!("{}", Value::Object(found));
    } else {
        println!("aims missed: {}", if missed.is_empty() { "none".to_owned() } else { missed.join(", ") });
    }
    Ok(true)
}

fn shown(value: &Value) -> String {
    value.as_f64().map_or_else(
        || value.to_string(),
        |number| if number < 1_000.0 { format!("{number:.3}") } else { format!("{number:.0}") },
    )
}

/// What the numbers were taken on.
fn machine() -> Value {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) {
        "dev: opt-level 1, 3 where settled events pass, debug assertions"
    } else {
        "release"
    };
    json!({"threads": threads, "load": load.split_whitespace().next(), "profile": profile})
}

struct Bench<'a> {
    folder: &'a Path,
    programs: &'a Path,
    feed: Feed,
}

impl Bench<'_> {
    fn part(&self, name: &str) -> Result<Map<String, Value>> {
        let found = match name {
            "wire" => self.wire()?,
            "sqlite" => self.sqlite()?,
            "postgres" => self.postgres()?,
            "verify" => self.verify()?,
            _ => in_a_namespace(self.folder, self.programs, name)?,
        };
        let Value::Object(found) = found else { anyhow::bail!("part {name} answered {found}") };
        Ok(found)
    }

    /// Bytes of payloads, against gzip-JSON of the same events in the same batches.
    fn wire(&self) -> Result<Value> {
        let lines = float(self.feed.lines);
        let packed: usize = sqlite::messages(&self.feed).iter().map(Vec::len).sum();
        let mut gzip = 0;
        for block in &self.feed.blocks {
            let events: Vec<Event> =
                block.records.iter().map(|record| Event::from_record(record)).collect::<Result<_, _>>()?;
            gzip += crate::codec::gzip_json(block.first, &events)?;
        }
        Ok(json!({
            "bulk_bytes_per_event": float(u64::try_from(packed)?) / lines,
            "live_bytes_per_event_payload": live_payload(&self.feed)?,
            "gzip_json_bytes_per_event": float(u64::try_from(gzip)?) / lines,
            "record_bytes_per_event": float(self.feed.record_bytes()) / lines,
            "events_per_record": lines / float(self.feed.records),
            "records_per_block": float(self.feed.records) / float(u64::try_from(self.feed.blocks.len())?),
        }))
    }

    fn sqlite(&self) -> Result<Value> {
        let messages = sqlite::messages(&self.feed);
        let mut runs: Runs<5> = Runs::default();
        for round in 0..ROUNDS {
            let path = self.folder.join(format!("hq-{round}.sqlite"));
            let applied = sqlite::ours(&path, &self.feed, &messages, false)?;
            let batches = rows::batches(&self.feed, applied.blocks_per_commit)?;
            let same = self.folder.join(format!("bare-{round}.sqlite"));
            let bare = sqlite::bare(&same, &path, &self.feed, &batches, true)?;
            if round == 0 {
                sqlite::compare(&path, &same)?;
            }
            let fewer = self.folder.join(format!("events-{round}.sqlite"));
            let events = sqlite::bare(&fewer, &path, &self.feed, &batches, false)?;
            let path = self.folder.join(format!("wire-{round}.sqlite"));
            let wire = sqlite::ours(&path, &self.feed, &messages, true)?;
            let rates = [applied.rate, bare, events, wire.rate].map(|rate| rate.lines_per_s());
            runs.add([rates[0], rates[1], rates[2], rates[3], applied.rate.records_per_s()]);
        }
        let [ours, bare, events, wire, records] = runs.medians();
        Ok(json!({
            "hq_sqlite_events_per_s": ours, "hq_sqlite_ratio_bare": ours / bare, "hq_sqlite_records_per_s": records,
            "hq_sqlite_bare_events_per_s": bare, "hq_sqlite_ratio_bare_event_rows_only": ours / events,
            "hq_sqlite_from_wire_events_per_s": wire,
        }))
    }

    fn postgres(&self) -> Result<Value> {
        let blocks = sqlite::decoded(&sqlite::messages(&self.feed))?;
        let server = postgres::server()?;
        let mut runs: Runs<3> = Runs::default();
        for round in 0..ROUNDS {
            let url = server.database(&format!("hq{round}"))?;
            let applied = postgres::ours(&url, &self.feed, &blocks)?;
            let batches = rows::batches(&self.feed, applied.blocks_per_commit)?;
            let all = postgres::bare(&server.database(&format!("bare{round}"))?, &self.feed, &batches, true)?;
            let events = server.database(&format!("events{round}"))?;
            let events = postgres::bare(&events, &self.feed, &batches, false)?;
            runs.add([applied.rate, all, events].map(|rate| rate.lines_per_s()));
        }
        let [ours, bare, events] = runs.medians();
        Ok(json!({
            "hq_postgres_events_per_s": ours, "hq_postgres_ratio_copy": ours / bare,
            "hq_postgres_copy_events_per_s": bare, "hq_postgres_ratio_copy_event_rows_only": ours / events,
        }))
    }

    /// File, chain and folds of a ledger, recomputed; and what `sync-verify` does besides: the books of every store.
    fn verify(&self) -> Result<Value> {
        let path = self.folder.join("verify.sqlite");
        sqlite::ours(&path, &self.feed, &sqlite::messages(&self.feed), false)?;
        let mut runs: Runs<2> = Runs::default();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let report = sync_store::verify_file(&path)?;
            let ledger = begun.elapsed();
            ensure!(report.ok() && report.events == self.feed.records, "{:?}", report.problems);
            let reader = sync_store::Reader::open(&path)?;
            for store in reader.stores()? {
                let found = reader.frozen(|reader| Ok(reader.books(store)?.check(&reader.folds(store)?)))?;
                ensure!(found.is_empty(), "books differ: {found:?}");
            }
            let rate = |time| Rate { lines: self.feed.lines, records: self.feed.records, time }.lines_per_s();
            runs.add([rate(ledger), rate(begun.elapsed())]);
        }
        let [ledger, books] = runs.medians();
        Ok(json!({"verify_events_per_s": ledger, "verify_with_books_events_per_s": books}))
    }
}

/// Payload bytes per sale line of sealed blocks with 20 lines each on average.
fn live_payload(feed: &Feed) -> Result<f64> {
    let (mut lines, mut bytes, mut blocks) = (0_u64, 0, 0);
    for long in feed.blocks.iter().take(LIVE_SAMPLE) {
        let mut block = Block { records: Vec::new(), ..long.clone() };
        for record in &long.records {
            if let Fact::Sale(sale) = Event::from_record(record)?.fact {
                lines += u64::try_from(sale.lines.len())?;
            }
            block.records.push(record.clone());
            if lines >= 20 * (blocks + 1) {
                bytes += Letter::block(&PACKED, 2, &block, Some(&[0x5A; 64])).len();
                let (first, prev) = (block.last().next(), block.link());
                block = Block { log: block.log, first, prev, records: Vec::new() };
                blocks += 1;
            }
        }
    }
    Ok(float(u64::try_from(bytes)?) / float(lines))
}

/// Results of several rounds.
#[derive(Default)]
struct Runs<const N: usize>(Vec<[f64; N]>);

impl<const N: usize> Runs<N> {
    fn add(&mut self, round: [f64; N]) {
        self.0.push(round);
    }

    fn medians(&self) -> [f64; N] {
        std::array::from_fn(|at| {
            let mut values: Vec<f64> = self.0.iter().filter_map(|round| round.get(at).copied()).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        })
    }
}
