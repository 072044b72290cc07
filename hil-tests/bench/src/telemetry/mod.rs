//! `cargo xtask bench telemetry`: what a sample costs in compressed blocks, beside plain rows of the same samples.
//!
//! Contract
//! * Data: [`cabinets`], seeded. 150 cabinets every 10 s for a day are the store of the domain page; 150 every second for an
//!   hour the busiest that the daemon is meant for; 10 cabinets every 10 s for 30 days are asked for a month of one.
//! * Blocks are sealed as often as at real pace: the paced run says how many bytes of the tail a second of samples takes.
//! * `bytes_per_point`: all files of the store, divided by the samples. Baseline: SQLite file with its index.
//! * `bytes_written_per_day`: what the kernel counts as handed to the disk (`write_bytes` of `/proc/self/io`; `wchar` where
//!   the folder is in memory, which the answer says) by the tail in a paced run of real seconds, scaled to a day, plus all
//!   that recording and sealing a day at full speed wrote.
//! * `loss_on_power_cut_ms_max`: longest time from recording a sample to the end of the `fdatasync` that made it durable, in
//!   the paced runs.
//! * Everything read is compared between both stores.

mod cabinets;
mod rows;

use anyhow::{Context, Result, ensure};
use cabinets::{BEGIN_MS, Cabinets};
use rows::PlainRows;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use sync_model::{DeviceId, UnixMillis};
use sync_store::telemetry::{FLUSH, Limits, Point, Sample, Telemetry, TelemetryConfig};

const SEED: u64 = 4;
const DAY_MS: i64 = 86_400_000;
const MONTH_DAYS: u64 = 30;
/// Interval of the month's question.
const EVERY_MS: i64 = 15 * 60_000;
/// Real time of a paced run: several flushes.
const PACED: Duration = Duration::from_secs(21);
/// Samples between two commits while feeding at full speed: as many as a flush has at one per second.
const BATCH: usize = 600;
/// Bytes of the tail file after which it is sealed.
const TAIL_BYTES: u64 = 1 << 20;

/// One store of cabinets.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    cabinets: u16,
    period_ms: u64,
    hours: u64,
}

const DAY: Case = Case { name: "150 cabinets, 10 s, 1 day", cabinets: 150, period_ms: 10_000, hours: 24 };
const BUSY: Case = Case { name: "150 cabinets, 1 s, 1 hour", cabinets: 150, period_ms: 1_000, hours: 1 };
const MONTH: Case =
    Case { name: "10 cabinets, 10 s, 30 days", cabinets: 10, period_ms: 10_000, hours: 24 * MONTH_DAYS };

impl Case {
    fn samples(&self) -> usize {
        usize::try_from(u64::from(self.cabinets) * self.hours * 3_600_000 / self.period_ms)
            .unwrap_or(usize::MAX)
    }

    fn data(&self) -> Cabinets {
        Cabinets::new(SEED, self.cabinets, self.period_ms)
    }
}

/// What a paced run showed.
#[derive(Clone, Copy, Debug)]
struct Paced {
    tail_bytes_per_second: f64,
    written_per_day: f64,
    loss_ms: u64,
    rows_written_per_day: f64,
}

/// What feeding at full speed showed.
#[derive(Clone, Copy, Debug)]
struct Fed {
    points: f64,
    bytes: f64,
    seconds: f64,
    written: f64,
    rows_bytes: f64,
    rows_seconds: f64,
    rows_written: f64,
}

/// Measures and prints text or one JSON line.
///
/// # Errors
/// A store failed, or answered otherwise than the other.
pub fn telemetry(root: &Path, as_json: bool) -> Result<()> {
    let target = root.join("target");
    std::fs::create_dir_all(&target).context("make the folder of the benchmark")?;
    let folder = tempfile::tempdir_in(target).context("make the folder of the benchmark")?;
    let counter = Counter::of(folder.path())?;
    let (paced, busy_paced) = (pace(&DAY, folder.path(), counter)?, pace(&BUSY, folder.path(), counter)?);
    let (day, _, _) = feed(&DAY, paced.tail_bytes_per_second, folder.path(), counter)?;
    let (busy, _, _) = feed(&BUSY, busy_paced.tail_bytes_per_second, folder.path(), counter)?;
    // As often sealed as with all cabinets of the store.
    let (_, candidate, rows) = feed(&MONTH, paced.tail_bytes_per_second, folder.path(), counter)?;
    let month = month(&candidate, &rows)?;
    rows.close()?;
    let report = report(&[(DAY, paced, day), (BUSY, busy_paced, busy)], month, counter);
    if as_json {
        println!("{report}");
    } else {
        println!("{report:#}");
    }
    Ok(())
}

fn device(number: usize) -> Result<DeviceId> {
    DeviceId::new(&format!("cabinet-{number}")).context("a device name")
}

fn open(path: &Path) -> Result<Telemetry> {
    let limits = Limits { max_age_ms: 90 * DAY_MS, max_bytes: 4 << 30 };
    Ok(Telemetry::open(TelemetryConfig { path: path.into(), limits, queue: 4_096, flush: FLUSH })?)
}

fn record(telemetry: &Telemetry, devices: &[DeviceId], (number, point): (usize, Point)) -> Result<()> {
    let device = devices.get(number).context("a cabinet without a name")?.clone();
    telemetry.record(Sample { device, metric: 1, at: point.at, value: point.value, good: point.good });
    Ok(())
}

fn devices(case: &Case) -> Result<Vec<DeviceId>> {
    (0..case.data().len()).map(device).collect()
}

/// Both stores at real pace, one after the other.
fn pace(case: &Case, folder: &Path, counter: Counter) -> Result<Paced> {
    let devices = devices(case)?;
    let telemetry = open(&folder.join(format!("paced-{}.db", case.period_ms)))?;
    let before = counter.read()?;
    walk(case, |sample| record(&telemetry, &devices, sample), || Ok(()))?;
    telemetry.flush();
    let written = counter.read()? - before;
    let stats = telemetry.stats();
    ensure!(stats.shed == 0 && stats.errors == 0, "samples were shed: {stats:?}");
    let mut rows = PlainRows::open(&folder.join(format!("paced-{}-rows.db", case.period_ms)))?;
    let before = counter.read()?;
    let mut last = Instant::now();
    let cell = std::cell::RefCell::new(&mut rows);
    walk(
        case,
        |(number, point)| {
            cell.borrow_mut().push(number, point);
            Ok(())
        },
        || {
            if last.elapsed() >= FLUSH {
                last = Instant::now();
                cell.borrow_mut().commit()?;
            }
            Ok(())
        },
    )?;
    rows.commit()?;
    let rows_written = counter.read()? - before;
    rows.close()?;
    let scale = 86_400.0 / PACED.as_secs_f64();
    Ok(Paced {
        tail_bytes_per_second: float(stats.tail_bytes) / PACED.as_secs_f64(),
        written_per_day: float(written) * scale,
        loss_ms: stats.slowest_ms,
        rows_written_per_day: float(rows_written) * scale,
    })
}

/// Samples when they are due, for [`PACED`].
fn walk(
    case: &Case,
    mut each: impl FnMut((usize, Point)) -> Result<()>,
    mut pause: impl FnMut() -> Result<()>,
) -> Result<()> {
    let begin = Instant::now();
    for sample in case.data() {
        let due = Duration::from_millis(u64::try_from(sample.1.at.0 - BEGIN_MS).unwrap_or(0));
        if due >= PACED {
            return Ok(());
        }
        while let Some(wait) = due.checked_sub(begin.elapsed()).filter(|wait| !wait.is_zero()) {
            std::thread::sleep(wait.min(Duration::from_millis(200)));
            pause()?;
        }
        each(sample)?;
    }
    Ok(())
}

/// Both stores at full speed.
fn feed(
    case: &Case,
    tail_bytes_per_second: f64,
    folder: &Path,
    counter: Counter,
) -> Result<(Fed, Telemetry, PlainRows)> {
    let name = format!("{}-{}", case.period_ms, case.cabinets);
    let (path, rows_path) = (folder.join(format!("{name}.db")), folder.join(format!("{name}-rows.db")));
    let devices = devices(case)?;
    let samples: Vec<(usize, Point)> = case.data().take(case.samples()).collect();
    let seal_ms = float(TAIL_BYTES) / tail_bytes_per_second.max(1.0) * 1e3;
    let before = counter.read()?;
    let begin = Instant::now();
    let telemetry = open(&path)?;
    let mut sealed = 0_i64;
    for (index, sample) in samples.iter().enumerate() {
        record(&telemetry, &devices, *sample)?;
        if index % BATCH == BATCH - 1 {
            telemetry.flush();
        }
        let at = sample.1.at.0 - BEGIN_MS;
        if float(u64::try_from(at - sealed).unwrap_or(0)) >= seal_ms {
            telemetry.seal();
            sealed = at;
        }
    }
    telemetry.seal();
    let (seconds, written) = (begin.elapsed(), counter.read()? - before);
    let stats = telemetry.stats();
    ensure!(stats.shed == 0 && stats.errors == 0, "samples were shed: {stats:?}");
    let (before, begin) = (counter.read()?, Instant::now());
    let mut rows = PlainRows::open(&rows_path)?;
    for part in samples.chunks(BATCH) {
        part.iter().for_each(|(number, point)| rows.push(*number, *point));
        rows.commit()?;
    }
    let (rows_seconds, rows_written) = (begin.elapsed(), counter.read()? - before);
    compare(&telemetry, &devices, &samples)?;
    let fed = Fed {
        points: float(samples.len() as u64),
        bytes: size(&path)? + size(&crate_tail(&path))?,
        seconds: seconds.as_secs_f64(),
        written: float(written),
        rows_bytes: size(&rows_path)?,
        rows_seconds: rows_seconds.as_secs_f64(),
        rows_written: float(rows_written),
    };
    Ok((fed, telemetry, rows))
}

fn crate_tail(path: &Path) -> std::path::PathBuf {
    path.with_extension("db.tail")
}

/// Every sample of three cabinets is there as it was recorded.
fn compare(telemetry: &Telemetry, devices: &[DeviceId], samples: &[(usize, Point)]) -> Result<()> {
    for number in [0, devices.len() / 2, devices.len() - 1] {
        let device = devices.get(number).context("a cabinet without a name")?;
        let expected: Vec<Point> =
            samples.iter().filter(|(of, _)| *of == number).map(|(_, point)| *point).collect();
        let (mut found, mut from) = (Vec::new(), UnixMillis(0));
        loop {
            let page = telemetry.range(device, 1, (from, UnixMillis(i64::MAX)), usize::MAX)?;
            ensure!(page.damaged.is_empty(), "damaged: {:?}", page.damaged);
            found.extend(page.points);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        ensure!(found == expected, "{device} came back otherwise: {} of {}", found.len(), expected.len());
    }
    Ok(())
}

/// Milliseconds for a month of one cabinet in quarters of an hour: candidate, baseline; medians of five.
fn month(telemetry: &Telemetry, rows: &PlainRows) -> Result<(f64, f64)> {
    let number = 3;
    let device = device(number)?;
    let span = (BEGIN_MS, BEGIN_MS + i64::try_from(MONTH_DAYS).unwrap_or(0) * DAY_MS);
    let (mut times, mut rows_times) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let begin = Instant::now();
        let found = telemetry.intervals(&device, 1, (UnixMillis(span.0), UnixMillis(span.1)), EVERY_MS)?;
        times.push(begin.elapsed());
        let begin = Instant::now();
        let expected = rows.intervals(number, span, EVERY_MS)?;
        rows_times.push(begin.elapsed());
        ensure!(found.intervals == expected && expected.len() > 2_000, "the month differs");
    }
    times.sort();
    rows_times.sort();
    let middle = |times: &[Duration]| times.get(2).map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Ok((middle(&times), middle(&rows_times)))
}

fn report(rows: &[(Case, Paced, Fed)], (month, rows_month): (f64, f64), counter: Counter) -> Value {
    let row = |(case, paced, fed): &(Case, Paced, Fed)| {
        let days = float(case.hours) / 24.0;
        let mine = json!({
            "bytes_per_point": fed.bytes / fed.points,
            "points_per_s": fed.points / fed.seconds,
            "bytes_written_per_day": paced.written_per_day + fed.written / days,
            "tail_bytes_written_per_day": paced.written_per_day,
            "seal_bytes_written_per_day": fed.written / days,
            "loss_on_power_cut_ms_max": paced.loss_ms,
        });
        let baseline = json!({
            "bytes_per_point": fed.rows_bytes / fed.points,
            "points_per_s": fed.points / fed.rows_seconds,
            "bytes_written_per_day": paced.rows_written_per_day,
            "bytes_written_per_day_at_full_speed": fed.rows_written / days,
        });
        let ratio = json!({
            "bytes_per_point": fed.bytes / fed.rows_bytes,
            "points_per_s": fed.rows_seconds / fed.seconds,
            "bytes_written_per_day": (paced.written_per_day + fed.written / days) / paced.rows_written_per_day.max(1.0),
        });
        json!({"case": case.name, "points": fed.points, "blocks": mine, "plain_rows": baseline, "ratio": ratio})
    };
    let all: Vec<Value> = rows.iter().map(row).collect();
    let first = all.first().cloned().unwrap_or_default();
    let key = |name: &str| first["blocks"][name].clone();
    json!({
        "schema": "steelyard.bench-telemetry/1",
        "bytes_per_point": key("bytes_per_point"), "points_per_s": key("points_per_s"),
        "bytes_written_per_day": key("bytes_written_per_day"),
        "loss_on_power_cut_ms_max": rows.iter().map(|(_, paced, _)| paced.loss_ms).max(),
        "month_query_ms": month, "month_query_ms_plain_rows": rows_month, "month_query_ratio": month / rows_month.max(1e-9),
        "month_of": MONTH.name, "written_is": counter.name(), "seed": SEED, "rows": all,
    })
}

fn size(path: &Path) -> Result<f64> {
    Ok(float(std::fs::metadata(path).with_context(|| format!("size of {}", path.display()))?.len()))
}

#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn float(number: u64) -> f64 {
    number as f64
}

/// What this process has written, as the kernel counts it.
#[derive(Clone, Copy, Debug)]
enum Counter {
    /// Pages handed to the disk.
    Disk,
    /// Bytes of write calls: the folder is in memory.
    Calls,
}

impl Counter {
    /// The one that counts for files in `folder`.
    fn of(folder: &Path) -> Result<Self> {
        let before = Self::Disk.read()?;
        let file = folder.join("counted");
        std::fs::write(&file, vec![7; 1 << 16]).context("write a file")?;
        std::fs::File::open(&file)?.sync_all()?;
        Ok(if Self::Disk.read()? - before >= 1 << 16 { Self::Disk } else { Self::Calls })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Disk => "write_bytes",
            Self::Calls => "wchar",
        }
    }

    fn read(self) -> Result<u64> {
        let text = std::fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
        let line = text.lines().find_map(|line| line.strip_prefix(self.name())?.strip_prefix(": "));
        line.context("a counter of /proc/self/io")?.parse().context("a number of /proc/self/io")
    }
}
