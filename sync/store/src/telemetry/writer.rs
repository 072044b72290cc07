//! The one thread that writes telemetry: tail every few seconds, blocks when the tail is full.

use super::file::{BlockFile, Found, Sealing, key};
use super::journal::{Journal, payload};
use super::rows::{Rows, set_apart};
use super::series::{POINTS_MAX, Point, encode};
use super::tail::Tail;
use super::{Counters, Sample, TelemetryConfig, Work, lock};
use crate::LedgerError;
use crate::open::beside;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sync_model::DeviceId;

/// Most samples of one frame of the tail.
const PENDING_MAX: usize = 2_048;
/// Longest time from one seal to the next, while there are samples.
const SEAL_AFTER: Duration = Duration::from_secs(6 * 3_600);
/// Longest sleep without a sample.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    config: TelemetryConfig,
    file: BlockFile,
    journal: Journal<File>,
    tail: Arc<Mutex<Tail>>,
    counters: Arc<Counters>,
    /// Samples that are in memory only.
    pending: BTreeMap<u32, Vec<Point>>,
    waiting: u64,
    /// When the oldest of them was recorded.
    oldest: Option<Instant>,
    /// Series whose names are in memory only.
    unnamed: Vec<(DeviceId, u8, u32)>,
    /// Old rows still to be converted.
    rows: Option<Rows>,
    sealed: Instant,
    /// The last seal failed: nothing more is taken until one succeeds.
    stuck: bool,
}

impl Writer {
    /// Opens both files, replacing a block file that cannot be used, and reads the tail.
    pub(super) fn open(config: TelemetryConfig, counters: Arc<Counters>) -> Result<Self, LedgerError> {
        set_apart(&config.path)?;
        // The tail is made after the block file is durable: an empty one beside a tail has lost what was in it.
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        if config.path.exists() && length(&config.path) == 0 && length(&beside(&config.path, ".tail")) > 0 {
            tracing::warn!(path = %config.path.display(), "telemetry file was emptied");
            counters.damaged.fetch_add(1, Relaxed);
        }
        let (file, found) = match BlockFile::open(&config.path) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(path = %config.path.display(), %error, "telemetry file is set aside");
                set_aside(&config.path)?;
                reopen(&config.path)?
            }
        };
        let mut tail = Tail::new(file.meta.open, found.series);
        let (journal, replayed) = open_tail(&config.path, &file)?;
        if replayed.lost > 0 || found.damaged > 0 {
            let (frames, rows) = (replayed.lost, found.damaged);
            tracing::warn!(path = %config.path.display(), frames, rows, "telemetry is damaged");
            counters.damaged.fetch_add(u64::from(frames) + rows, Relaxed);
        }
        replayed.points.into_iter().for_each(|(series, point)| tail.push(series, point));
        let rows = Rows::open(&config.path);
        Ok(Self {
            file,
            journal,
            tail: Arc::new(Mutex::new(tail)),
            counters,
            pending: BTreeMap::new(),
            waiting: 0,
            oldest: None,
            unnamed: Vec::new(),
            rows,
            sealed: Instant::now(),
            stuck: false,
            config,
        })
    }

    pub(super) fn tail(&self) -> Arc<Mutex<Tail>> {
        Arc::clone(&self.tail)
    }

    /// Works until every handle is gone; then what waits is made durable.
    pub(super) fn run(mut self, queue: &Receiver<Work>) {
        loop {
            match queue.recv_timeout(self.patience()) {
                Ok(Work::Sample(sample, recorded)) => self.take(&sample, recorded),
                Ok(Work::Flush(done)) => {
                    self.flush();
                    tell(&done);
                }
                Ok(Work::Seal(done)) => {
                    while self.rows.is_some() {
                        self.convert();
                    }
                    self.seal();
                    tell(&done);
                }
                Err(RecvTimeoutError::Timeout) => self.convert(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let due = self.oldest.is_some_and(|oldest| oldest.elapsed() >= self.config.flush);
            if due || self.waiting >= PENDING_MAX as u64 {
                self.flush();
            }
            if self.sealed.elapsed() >= SEAL_AFTER {
                self.seal();
            }
        }
        self.flush();
    }

    /// How long to wait for a sample: not beyond the next flush, and not at all while there is other work.
    fn patience(&self) -> Duration {
        let until = self.oldest.map(|oldest| self.config.flush.saturating_sub(oldest.elapsed()));
        if self.rows.is_some() { Duration::ZERO } else { until.unwrap_or(IDLE) }
    }

    fn take(&mut self, sample: &Sample, recorded: Instant) {
        let mut tail = lock(&self.tail);
        let id = tail.id(&sample.device, sample.metric).or_else(|| {
            let id = tail.add_series(&sample.device, sample.metric)?;
            self.unnamed.push((sample.device.clone(), sample.metric, id));
            Some(id)
        });
        let Some(id) = id.filter(|_| !self.stuck) else {
            self.counters.shed.fetch_add(1, Relaxed);
            // A try is due when the next flush would be.
            self.oldest.get_or_insert(recorded);
            return;
        };
        let point = Point { at: sample.at, value: sample.value, good: sample.good };
        tail.push(id, point);
        let full = tail.is_full(id);
        drop(tail);
        self.pending.entry(id).or_default().push(point);
        self.waiting += 1;
        self.oldest.get_or_insert(recorded);
        if full {
            self.seal();
        }
    }

    /// Makes what waits durable in the tail, or in blocks when the tail is full.
    fn flush(&mut self) {
        if self.stuck {
            self.seal();
        }
        if self.waiting == 0 {
            self.oldest = None;
            return;
        }
        self.name();
        let bytes = payload(&self.pending);
        let kept = self.journal.has_room(bytes.len()).then(|| self.journal.append(&bytes));
        match kept {
            Some(Ok(taken)) => {
                self.counters.tail_bytes.fetch_add(taken as u64, Relaxed);
                self.settled();
            }
            Some(Err(error)) => {
                self.failed(&error, "telemetry tail cannot be written");
                self.seal();
            }
            None => self.seal(),
        }
    }

    /// Names new series before the first durable sample that refers to them.
    fn name(&mut self) {
        if !self.unnamed.is_empty() {
            match self.file.name(&self.unnamed) {
                Ok(()) => self.unnamed.clear(),
                Err(error) => self.failed(&error, "telemetry series cannot be named"),
            }
        }
    }

    /// What waited is durable.
    fn settled(&mut self) {
        self.counters.written.fetch_add(self.waiting, Relaxed);
        let slowest = self.oldest.map_or(0, |oldest| oldest.elapsed().as_millis());
        self.counters.slowest_ms.fetch_max(u64::try_from(slowest).unwrap_or(u64::MAX), Relaxed);
        self.forget();
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.waiting = 0;
        self.oldest = None;
    }

    fn failed(&self, error: &dyn std::fmt::Display, what: &str) {
        self.counters.errors.fetch_add(1, Relaxed);
        tracing::warn!(%error, "{what}");
    }

    fn lived_ms(&self) -> i64 {
        let since = i64::try_from(self.sealed.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.file.meta.lived_ms.saturating_add(since)
    }

    /// Makes blocks of the open generation.
    fn seal(&mut self) {
        self.name();
        let sealing = lock(&self.tail).sealing();
        let lived = self.lived_ms();
        let Some(sealing) = sealing else {
            self.sealed = Instant::now();
            self.file.meta.lived_ms = lived;
            self.stuck = false;
            return;
        };
        match self.file.seal(&sealing, lived, self.config.limits, |_| Ok(())) {
            Ok(()) => {
                self.sealed = Instant::now();
                self.stuck = false;
                lock(&self.tail).restart(self.file.meta.open);
                self.journal.restart(self.file.meta.open);
                self.settled();
            }
            Err(error) => {
                self.failed(&error, "telemetry cannot be sealed");
                let lost = std::mem::take(&mut self.waiting);
                self.counters.shed.fetch_add(lost, Relaxed);
                self.forget();
                self.stuck = true;
                if is_damaged(&error)
                    && let Err(error) = self.start_over()
                {
                    self.failed(&error, "telemetry file cannot be replaced");
                }
            }
        }
    }

    /// The block file is damaged beyond use: a new one takes its place and what the tail holds goes on in it.
    fn start_over(&mut self) -> Result<(), LedgerError> {
        let samples = lock(&self.tail).samples();
        set_aside(&self.config.path)?;
        (self.file, _) = reopen(&self.config.path)?;
        (self.journal, _) = open_tail(&self.config.path, &self.file)?;
        *lock(&self.tail) = Tail::new(self.file.meta.open, Vec::new());
        self.unnamed.clear();
        self.stuck = false;
        tracing::warn!(path = %self.config.path.display(), "damaged telemetry file is set aside");
        for (device, metric, point) in samples {
            let sample = Sample { device, metric, at: point.at, value: point.value, good: point.good };
            self.take(&sample, Instant::now());
        }
        // Counted when they were recorded.
        self.waiting = 0;
        self.name();
        self.seal();
        Ok(())
    }

    /// Converts a slice of old rows.
    fn convert(&mut self) {
        let Some(rows) = &self.rows else { return };
        let slice = Rows::place(&self.file.conn).and_then(|place| rows.slice(place));
        let done = match slice {
            Ok(Some(slice)) => self.convert_slice(slice),
            Ok(None) => Ok(true),
            Err(error) => Err(error),
        };
        match done {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("telemetry rows are converted");
                let removed = self.rows.take().map_or(Ok(()), Rows::remove);
                if let Err(error) = removed {
                    self.failed(&error, "old telemetry rows cannot be removed");
                }
            }
            Err(error) => {
                self.failed(&error, "old telemetry rows wait for the next start");
                self.rows = None;
            }
        }
    }

    /// `true` when nothing comes after it.
    fn convert_slice(&mut self, slice: super::rows::Slice) -> rusqlite::Result<bool> {
        let generation = self.file.meta.next;
        let mut blocks = Vec::new();
        let mut span: Option<(i64, i64)> = None;
        for (device, metric, points) in slice.series {
            let mut tail = lock(&self.tail);
            let id = tail.id(&device, metric).or_else(|| {
                let id = tail.add_series(&device, metric)?;
                self.unnamed.push((device.clone(), metric, id));
                Some(id)
            });
            drop(tail);
            let Some(id) = id else { continue };
            for point in &points {
                let (first, last) = span.unwrap_or((point.at.0, point.at.0));
                span = Some((first.min(point.at.0), last.max(point.at.0)));
            }
            for (part, points) in points.chunks(POINTS_MAX).enumerate() {
                let key = key(generation, id, part);
                blocks.extend(encode(key, points).map(|body| (key, body)));
            }
        }
        self.name();
        let lived = self.lived_ms();
        let sealing = Sealing { generation, span: span.unwrap_or((0, 0)), blocks };
        self.file.seal(&sealing, lived, self.config.limits, |blocks| Rows::note(blocks, slice.end))?;
        self.sealed = Instant::now();
        Ok(false)
    }
}

fn tell(done: &SyncSender<()>) {
    if done.send(()).is_err() {
        tracing::debug!("nobody waits for the telemetry writer");
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    let damaged = [rusqlite::ErrorCode::DatabaseCorrupt, rusqlite::ErrorCode::NotADatabase];
    error.sqlite_error_code().is_some_and(|code| damaged.contains(&code))
}

fn reopen(path: &Path) -> Result<(BlockFile, Found), LedgerError> {
    BlockFile::open(path).map_err(|error| LedgerError::sql(format!("open {}", path.display()), &error))
}

fn open_tail(
    path: &Path,
    file: &BlockFile,
) -> Result<(Journal<File>, super::journal::Replayed), LedgerError> {
    let path = beside(path, ".tail");
    let open = || {
        let mut options = std::fs::OpenOptions::new();
        let disk = options.read(true).write(true).create(true).truncate(false).open(&path)?;
        crate::open::sync_parent(&path)?;
        Journal::open(disk, file.meta.identity, file.meta.open)
    };
    open().map_err(|error| LedgerError::io(format!("open {}", path.display()), &error))
}

/// One earlier bad file is kept for a look, no more: telemetry must not fill the disk.
fn set_aside(path: &Path) -> Result<(), LedgerError> {
    for suffix in ["", "-wal", "-shm", "-journal", ".tail"] {
        let (from, to) = (beside(path, suffix), beside(path, &format!(".bad{suffix}")));
        crate::open::remove(&to)?;
        if from.exists() {
            std::fs::rename(&from, &to)
                .map_err(|error| LedgerError::io(format!("set {} aside", from.display()), &error))?;
        }
    }
    Ok(())
}
