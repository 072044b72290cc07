//! Raw samples of devices, in a second SQLite file beside the ledger.
//!
//! Contract: telemetry is expendable. It is written in batches with `synchronous=NORMAL`, bounded by age and rows, shed
//! when its queue is full, when it is told to, or when the file fails, and it never slows or harms the ledger. A file
//! that will not open is set aside and replaced.

use crate::LedgerError;
use crate::open::beside;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use sync_model::{DeviceId, UnixMillis};

/// Most samples in one transaction.
const BATCH_MAX: usize = 1_000;
/// Samples written between two looks at the bounds.
const TRIM_EVERY: u64 = 2_000;

/// How to keep telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The file.
    pub path: PathBuf,
    /// Samples further than this from the one written last are dropped.
    pub max_age_ms: i64,
    /// Most samples kept; the oldest go first.
    pub max_rows: u64,
    /// Most samples waiting to be written.
    pub queue: usize,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The device.
    pub device: DeviceId,
    /// Which of its values.
    pub metric: u8,
    /// When.
    pub at: UnixMillis,
    /// The value, in the exact unit of the metric.
    pub value: i64,
    /// Whether it can be trusted.
    pub good: bool,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryStats {
    /// Samples written.
    pub written: u64,
    /// Samples shed.
    pub shed: u64,
    /// Failed batches.
    pub errors: u64,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    shed: AtomicU64,
    errors: AtomicU64,
    shedding: AtomicBool,
}

enum Work {
    Sample(Sample),
    Flush(SyncSender<()>),
}

/// Handle to the telemetry file. Dropping it writes what is queued.
#[derive(Debug)]
pub struct Telemetry {
    path: PathBuf,
    queue: Option<SyncSender<Work>>,
    counters: Arc<Counters>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        drop(self.queue.take());
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the telemetry writer panicked");
        }
    }
}

impl Telemetry {
    /// Opens the file, or a new one in its place when it cannot be used.
    pub fn open(config: TelemetryConfig) -> Result<Self, LedgerError> {
        let conn = match connect(&config.path) {
            Ok(conn) => conn,
            Err(error) => {
                tracing::warn!(path = %config.path.display(), %error, "telemetry file is set aside");
                set_aside(&config.path)?;
                connect(&config.path)
                    .map_err(|error| LedgerError::sql(format!("open {}", config.path.display()), &error))?
            }
        };
        let counters = Arc::new(Counters::default());
        let (queue, work) = sync_channel(config.queue.max(1));
        let for_writer = Arc::clone(&counters);
        let path = config.path.clone();
        let writer = std::thread::Builder::new()
            .name("telemetry-writer".to_owned())
            .spawn(move || run(&conn, &config, &work, &for_writer))
            .map_err(|error| LedgerError::io("telemetry writer thread", &error))?;
        Ok(Self { path, queue: Some(queue), counters, writer: Mutex::new(Some(writer)) })
    }

    /// Queues a sample, or sheds and counts it.
    pub fn record(&self, sample: Sample) {
        let taken = !self.counters.shedding.load(Ordering::Relaxed)
            && self.queue.as_ref().is_some_and(|queue| queue.try_send(Work::Sample(sample)).is_ok());
        if !taken {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sheds everything from now on, or stops shedding: the first answer to a disk that fills up.
    pub fn shed(&self, shedding: bool) {
        self.counters.shedding.store(shedding, Ordering::Relaxed);
    }

    /// Waits until everything queued before is written or shed.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(Work::Flush(done)).is_ok());
        if sent && wait.recv().is_err() {
            tracing::debug!("the telemetry writer has stopped");
        }
    }

    /// Counts since the start.
    pub fn stats(&self) -> TelemetryStats {
        TelemetryStats {
            written: self.counters.written.load(Ordering::Relaxed),
            shed: self.counters.shed.load(Ordering::Relaxed),
            errors: self.counters.errors.load(Ordering::Relaxed),
        }
    }

    /// The newest `limit` samples of one value since `since`, oldest first.
    pub fn samples(
        &self,
        device: &DeviceId,
        metric: u8,
        since: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Sample>, LedgerError> {
        let read = || -> rusqlite::Result<Vec<Sample>> {
            let conn = crate::schema::connect_read_only(&self.path)?;
            let mut statement = conn.prepare(
                "SELECT at, value, good FROM sample WHERE device = (SELECT id FROM device WHERE name = ?1)
                 AND metric = ?2 AND at >= ?3 ORDER BY at DESC, rowid DESC LIMIT ?4",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let rows = statement.query_map(params![device.as_str(), metric, since.0, limit], |row| {
                let (at, value, good) = (UnixMillis(row.get(0)?), row.get(1)?, row.get(2)?);
                Ok(Sample { device: device.clone(), metric, at, value, good })
            })?;
            let mut samples: Vec<Sample> = rows.collect::<Result<_, _>>()?;
            samples.reverse();
            Ok(samples)
        };
        read().map_err(|error| LedgerError::sql(format!("read {}", self.path.display()), &error))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.execute_batch(
        "CREATE TABLE IF NOT EXISTS device (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
         CREATE TABLE IF NOT EXISTS sample (device INTEGER NOT NULL, metric INTEGER NOT NULL, at INTEGER NOT NULL,
             value INTEGER NOT NULL, good INTEGER NOT NULL) STRICT;
         CREATE INDEX IF NOT EXISTS sample_at ON sample (device, metric, at);",
    )?;
    let check: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check == "ok" { Ok(conn) } else { Err(rusqlite::Error::InvalidQuery) }
}

/// One earlier bad file is kept for a look, no more: telemetry must not fill the disk.
fn set_aside(path: &Path) -> Result<(), LedgerError> {
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (beside(path, suffix), beside(path, &format!(".bad{suffix}")));
        crate::open::remove(&to)?;
        if from.exists() {
            std::fs::rename(&from, &to)
                .map_err(|error| LedgerError::io(format!("set {} aside", from.display()), &error))?;
        }
    }
    Ok(())
}

fn run(conn: &Connection, config: &TelemetryConfig, queue: &Receiver<Work>, counters: &Counters) {
    let mut since_trim = 0_u64;
    while let Ok(first) = queue.recv() {
        let mut batch = Vec::new();
        let mut waiting = Vec::new();
        let mut work = Some(first);
        while let Some(item) = work {
            match item {
                Work::Sample(sample) => batch.push(sample),
                Work::Flush(done) => waiting.push(done),
            }
            work = if batch.len() < BATCH_MAX { queue.try_recv().ok() } else { None };
        }
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        since_trim = since_trim.saturating_add(count);
        let trim = since_trim >= TRIM_EVERY || !waiting.is_empty();
        match write(conn, config, &batch, trim) {
            Ok(()) => {
                counters.written.fetch_add(count, Ordering::Relaxed);
                since_trim = if trim { 0 } else { since_trim };
            }
            Err(error) => {
                counters.errors.fetch_add(1, Ordering::Relaxed);
                counters.shed.fetch_add(count, Ordering::Relaxed);
                tracing::debug!(%error, "telemetry batch shed");
            }
        }
        for done in waiting {
            if done.send(()).is_err() {
                tracing::debug!("nobody waits for the telemetry flush");
            }
        }
    }
}

fn write(conn: &Connection, config: &TelemetryConfig, batch: &[Sample], trim: bool) -> rusqlite::Result<()> {
    let transaction = conn.unchecked_transaction()?;
    for sample in batch {
        let name = sample.device.as_str();
        transaction.prepare_cached("INSERT OR IGNORE INTO device (name) VALUES (?1)")?.execute([name])?;
        transaction
            .prepare_cached(
                "INSERT INTO sample (device, metric, at, value, good)
                 VALUES ((SELECT id FROM device WHERE name = ?1), ?2, ?3, ?4, ?5)",
            )?
            .execute(params![name, sample.metric, sample.at.0, sample.value, sample.good])?;
    }
    if trim {
        let rows = i64::try_from(config.max_rows).unwrap_or(i64::MAX);
        transaction.execute(
            // The sample written last is the measure, both ways: one stamped by a clock that ran ahead must not age out
            // everything else.
            "DELETE FROM sample WHERE abs(at - (SELECT at FROM sample ORDER BY rowid DESC LIMIT 1)) > ?1
             OR rowid <= (SELECT max(rowid) FROM sample) - ?2",
            params![config.max_age_ms, rows],
        )?;
    }
    transaction.commit()
}
