//! `cargo xtask bench ledger`: what a durable commit costs, against a bare insert on the same disk in the same run.
//!
//! Contract
//! * Absolute numbers belong to the machine; the results are ratios: commits per second of the ledger with 1, 8 and 64
//!   waiting tills over those of a bare SQLite insert, and the 99th percentile of a commit in units of one fsync.
//! * The bare insert writes the same record bytes into one table `(seq, record)`, one transaction each, one connection,
//!   with the pragmas of the ledger. The ledger's job is the one that a ticket has: idempotency look-up, append with its
//!   folds and chain, idempotency entry.
//! * Candidates take turns over several rounds and medians count, so that a neighbor on the disk hits all of them.
//!
//! Deliberately not here: HTTP and the ticket check; `cargo xtask crash` and the store day run those.

use anyhow::{Context, Result};
use rusqlite::Connection;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sync_model::{
    BusinessDay, ClockQuality, Currency, Event, LotId, Milli, Minor, Sale, SaleLine, Sku, Stamp, StoreId,
    Tender, TenderKind, Text, TillId, UnixMillis,
};
use sync_store::{Ledger, LedgerConfig, Owner};

/// Waiting tills of each measurement.
const TILLS: [u64; 3] = [1, 8, 64];
/// How often each candidate has its turn.
const ROUNDS: usize = 3;
/// Length of one turn.
const TURN: Duration = Duration::from_millis(1500);
/// fsyncs measured in each round.
const FSYNCS: usize = 100;

/// Runs the benchmark in a folder under `target/` and prints a table or one JSON line.
pub fn ledger(root: &Path, as_json: bool) -> Result<()> {
    let home = root.join("target/bench");
    fs::create_dir_all(&home).context("create target/bench")?;
    let folder = tempfile::Builder::new().prefix("ledger-").tempdir_in(&home)?;
    let mut bare = Bare::open(&folder.path().join("bare.sqlite"))?;
    let mut ledgers = Vec::new();
    for tills in TILLS {
        ledgers.push(Candidate::open(&folder.path().join(format!("ledger-{tills}.sqlite")), tills)?);
    }
    let mut fsyncs = Vec::new();
    for _ in 0..ROUNDS {
        fsyncs.extend(measure_fsyncs(&folder.path().join("fsync"))?);
        bare.turn()?;
        for candidate in &mut ledgers {
            candidate.turn()?;
        }
    }
    let results: Vec<Outcome> = ledgers.into_iter().map(Candidate::finish).collect::<Result<_>>()?;
    let report = Report { fsync: percentile(&mut fsyncs, 50), bare: bare.finish()?, ledgers: results };
    if as_json {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
    Ok(())
}

/// What came out.
struct Report {
    fsync: Duration,
    bare: Outcome,
    ledgers: Vec<Outcome>,
}

/// One candidate's result.
struct Outcome {
    tills: u64,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    bytes_per_event: f64,
}

impl Report {
    fn fsyncs(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.fsync.as_secs_f64().max(1e-9)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "one fsync of a 4 KiB page: {:.3} ms (median of this run)\n\n{:<22}{:>10}{:>9}{:>13}{:>13}{:>13}\n",
            self.fsync.as_secs_f64() * 1e3,
            "candidate",
            "commits/s",
            "x bare",
            "p50/fsync",
            "p99/fsync",
            "bytes/event"
        );
        for (name, outcome) in self.rows() {
            text.push_str(&format!(
                "{name:<22}{:>10.0}{:>9.2}{:>13.2}{:>13.2}{:>13.0}\n",
                outcome.per_second,
                outcome.per_second / self.bare.per_second,
                self.fsyncs(outcome.p50),
                self.fsyncs(outcome.p99),
                outcome.bytes_per_event
            ));
        }
        text.push_str(
            "bytes/event: the file after a checkpoint, with index, chain, folds and idempotency keys",
        );
        text
    }

    fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self
            .rows()
            .map(|(name, outcome)| {
                json!({
                    "name": name, "tills": outcome.tills, "commits_per_second": outcome.per_second,
                    "ratio_to_bare": outcome.per_second / self.bare.per_second,
                    "p50_in_fsyncs": self.fsyncs(outcome.p50), "p99_in_fsyncs": self.fsyncs(outcome.p99),
                    "bytes_per_event": outcome.bytes_per_event,
                })
            })
            .collect();
        json!({"schema": "steelyard.bench-ledger/1", "fsync_ms": self.fsync.as_secs_f64() * 1e3, "rows": rows})
    }

    fn rows(&self) -> impl Iterator<Item = (String, &Outcome)> {
        let named = |outcome: &Outcome| match outcome.tills {
            1 => "ledger, 1 till".to_owned(),
            tills => format!("ledger, {tills} tills"),
        };
        std::iter::once(("bare insert".to_owned(), &self.bare))
            .chain(self.ledgers.iter().map(move |outcome| (named(outcome), outcome)))
    }
}

/// Overwrites and syncs one page again and again.
fn measure_fsyncs(path: &Path) -> Result<Vec<Duration>> {
    let mut file = File::create(path)?;
    let page = [0x5A; 4096];
    (0..FSYNCS)
        .map(|_| {
            let started = Instant::now();
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&page)?;
            file.sync_data()?;
            Ok(started.elapsed())
        })
        .collect()
}

/// The `percent` percentile; zero of nothing.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(index).copied().unwrap_or_default()
}

/// The median of some rates.
fn median(rates: &mut [f64]) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// A ticket of three lines, the assumption of a small store.
fn sale(till: u64, number: u64) -> Event {
    let line = |index: u64| SaleLine {
        sku: Sku(6_900_000_000_000 + (number * 3 + index) % 8000),
        lot: LotId::default(),
        quantity: Milli(1000),
        unit_price: Minor(450),
        discount: Minor(0),
        amount: Minor(450),
        tax_rate: 900,
        weighing: None,
        batch: None,
    };
    let sale = Sale {
        till: TillId(u16::try_from(till).unwrap_or(u16::MAX)),
        number,
        day: BusinessDay(20_500),
        currency: Currency::CNY,
        lines: (0..3).map(line).collect(),
        tenders: vec![Tender { kind: TenderKind::Wallet, amount: Minor(1350) }],
    };
    Event::new(stamp(), sale)
}

fn stamp() -> Stamp {
    Stamp { at: UnixMillis(1_790_000_000_000), clock: ClockQuality::Synced }
}

/// The baseline.
struct Bare {
    connection: Connection,
    path: std::path::PathBuf,
    number: u64,
    rates: Vec<f64>,
    times: Vec<Duration>,
}

impl Bare {
    fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        // The ledger's own, see sync-store's schema module.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "cache_size", -2_048)?;
        connection.pragma_update(None, "journal_size_limit", 16_777_216)?;
        connection
            .execute_batch("CREATE TABLE event (seq INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT")?;
        Ok(Self { connection, path: path.into(), number: 0, rates: Vec::new(), times: Vec::new() })
    }

    fn turn(&mut self) -> Result<()> {
        let mut insert = self.connection.prepare("INSERT INTO event (seq, record) VALUES (?1, ?2)")?;
        let started = Instant::now();
        let first = self.number;
        while started.elapsed() < TURN {
            self.number += 1;
            let begun = Instant::now();
            let record = sale(1, self.number).to_record()?;
            insert.execute((i64::try_from(self.number)?, record))?;
            self.times.push(begun.elapsed());
        }
        self.rates.push(rate(self.number - first, started.elapsed()));
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome> {
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(Outcome {
            tills: 1,
            per_second: median(&mut self.rates),
            p50: percentile(&mut self.times, 50),
            p99: percentile(&mut self.times, 99),
            bytes_per_event: bytes(&self.path)? / count(self.number),
        })
    }
}

fn rate(events: u64, time: Duration) -> f64 {
    count(events) / time.as_secs_f64()
}

/// A count as a divisor; counts of a benchmark are far below the precision of the type.
fn count(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

/// Size of the file; the log beside it is empty after the last connection closed.
fn bytes(path: &Path) -> Result<f64> {
    Ok(count(fs::metadata(path).with_context(|| format!("size of {}", path.display()))?.len()))
}

/// The ledger with so many waiting tills.
struct Candidate {
    ledger: Ledger,
    path: std::path::PathBuf,
    tills: u64,
    numbers: Arc<AtomicU64>,
    rates: Vec<f64>,
    times: Vec<Duration>,
}

impl Candidate {
    fn open(path: &Path, tills: u64) -> Result<Self> {
        let config = LedgerConfig {
            path: path.into(),
            owner: Owner::Store(StoreId(1)),
            max_bytes: None,
            software: Text::lossy("bench"),
            queue: 256,
        };
        let (ledger, _) = Ledger::open(config, stamp())?;
        let numbers = Arc::new(AtomicU64::new(0));
        Ok(Self { ledger, path: path.into(), tills, numbers, rates: Vec::new(), times: Vec::new() })
    }

    /// Every till posts one ticket after the other, each waiting for its own answer.
    fn turn(&mut self) -> Result<()> {
        let started = Instant::now();
        let first = self.numbers.load(Ordering::Relaxed);
        let tills: Vec<_> = (1..=self.tills)
            .map(|till| {
                let (ledger, numbers) = (self.ledger.clone(), Arc::clone(&self.numbers));
                std::thread::spawn(move || till_turn(&ledger, till, &numbers, started))
            })
            .collect();
        for till in tills {
            let times = till.join().map_err(|_| anyhow::anyhow!("a till of the benchmark panicked"))??;
            self.times.extend(times);
        }
        self.rates.push(rate(self.numbers.load(Ordering::Relaxed) - first, started.elapsed()));
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome> {
        let report = self.ledger.verify()?;
        anyhow::ensure!(report.ok(), "the benchmark's ledger does not verify: {:?}", report.problems);
        drop(self.ledger);
        Ok(Outcome {
            tills: self.tills,
            per_second: median(&mut self.rates),
            p50: percentile(&mut self.times, 50),
            p99: percentile(&mut self.times, 99),
            bytes_per_event: bytes(&self.path)? / count(self.numbers.load(Ordering::Relaxed)),
        })
    }
}

/// One till's turn: the time of each commit as the till waits for it.
fn till_turn(ledger: &Ledger, till: u64, numbers: &AtomicU64, started: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while started.elapsed() < TURN {
        let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = Instant::now();
        ledger.call(move |draft| {
            let key = format!("t{till}-{number}");
            let digest = [7; 32];
            if draft.first_answer(&key, &digest)?.is_some() {
                return Err(sync_store::Refusal::new("bench", "a ticket number was used twice"));
            }
            let id = draft.append(&sale(till, number))?;
            draft.remember(&key, &digest, id)
        })?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut times, 50), Duration::from_millis(51));
        assert_eq!(percentile(&mut times, 99), Duration::from_millis(100));
        assert_eq!(percentile(&mut [], 99), Duration::ZERO);
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_turn_commits_what_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut candidate = Candidate::open(&folder.path().join("ledger.sqlite"), 2).unwrap();
        candidate.turn().unwrap();
        let outcome = candidate.finish().unwrap();
        assert!(outcome.per_second > 0.0 && outcome.bytes_per_event > 0.0);
    }
}
