//! Raw samples of devices, compressed, in two files beside the ledger.
//!
//! Road of a sample: queue -> memory -> tail file ([`journal`], durable after [`FLUSH`]) -> block of its series ([`series`])
//! in the block file ([`file`], SQLite), written when the tail file is full.
//!
//! Contract
//! * Expendable: bounded by age and size, shed and counted when the queue is full, when it is told to, or when the disk
//!   fails; it never slows or harms the ledger. A block file that will not open is set aside and replaced.
//! * A power cut costs the samples of the last [`FLUSH`] and of one write under way: together at most 5 s while the disk
//!   takes a write within a second ([`TelemetryStats::slowest_ms`] says how long it really took).
//! * Exact: times, values and quality come back as recorded, bad samples, too; sums leave bad ones out and count them.
//! * Samples are kept in the order of recording, whatever their clock said; answers are in order of time. Two samples of one
//!   time are both kept. Age counts from recording, in running time: a clock that jumps ages nothing out.
//! * A damaged block or tail frame loses its own samples, is named in the answer ([`Damage`]) and counted.
//! * A file of plain rows from before is converted in the background; nothing else needs to be done.

mod bits;
mod file;
mod interval;
mod journal;
mod rows;
pub mod series;
mod tail;
mod writer;

pub use interval::{INTERVALS_MAX, Interval, Spread};
pub use series::Point;

use crate::{LedgerError, Refusal};
use file::{BlockReader, Generation};
use interval::Intervals;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sync_model::{DeviceId, UnixMillis};
use tail::Tail;
use writer::Writer;

/// Time that a sample may wait in memory.
pub const FLUSH: Duration = Duration::from_secs(4);
/// Most samples of one answer.
pub const RANGE_MAX: usize = 100_000;
/// Damages named in one answer.
const DAMAGES_MAX: usize = 100;

/// How to keep telemetry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// The block file; the tail file lies beside it.
    pub path: PathBuf,
    /// What is kept.
    pub limits: Limits,
    /// Most samples waiting to be taken by the writer.
    pub queue: usize,
    /// Time that a sample may wait in memory: [`FLUSH`].
    pub flush: Duration,
}

/// What is kept; looked at whenever blocks are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Running time from recording, in milliseconds, after which samples go.
    pub max_age_ms: i64,
    /// Most bytes of the block file in use; the oldest go first.
    pub max_bytes: u64,
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
    /// The value, in the exact unit of the metric. Of a bad sample: what was read, as evidence.
    pub value: i64,
    /// Whether it can be trusted.
    pub good: bool,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryStats {
    /// Samples made durable.
    pub written: u64,
    /// Samples shed.
    pub shed: u64,
    /// Failed writes.
    pub errors: u64,
    /// Damaged blocks met by readers, and damaged frames of the tail met at start.
    pub damaged: u64,
    /// Longest time from recording to durable, in milliseconds.
    pub slowest_ms: u64,
    /// Bytes of the tail file taken by frames, with the room left free before a page.
    pub tail_bytes: u64,
}

/// Samples that cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Generation of the block: when it was written, in order.
    pub generation: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Samples of one series, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The samples.
    pub points: Vec<Point>,
    /// Where to go on when there are more.
    pub next: Option<UnixMillis>,
    /// What is missing because it is damaged.
    pub damaged: Vec<Damage>,
}

/// Samples of one series, summed up by interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Those that have samples, in order of time.
    pub intervals: Vec<Interval>,
    /// What is missing because it is damaged.
    pub damaged: Vec<Damage>,
}

#[derive(Debug, Default)]
struct Counters {
    written: AtomicU64,
    shed: AtomicU64,
    errors: AtomicU64,
    damaged: AtomicU64,
    slowest_ms: AtomicU64,
    tail_bytes: AtomicU64,
    shedding: AtomicBool,
}

enum Work {
    Sample(Sample, Instant),
    Flush(SyncSender<()>),
    Seal(SyncSender<()>),
}

fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Handle to the telemetry files. Dropping it makes what is queued durable.
#[derive(Debug)]
pub struct Telemetry {
    path: PathBuf,
    queue: Option<SyncSender<Work>>,
    counters: Arc<Counters>,
    tail: Arc<Mutex<Tail>>,
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
    /// Opens the files, or new ones in their place when they cannot be used.
    ///
    /// # Errors
    /// Neither old nor new files can be opened.
    pub fn open(config: TelemetryConfig) -> Result<Self, LedgerError> {
        let counters = Arc::new(Counters::default());
        let (queue, work) = sync_channel(config.queue.max(1));
        let path = config.path.clone();
        let writer = Writer::open(config, Arc::clone(&counters))?;
        let tail = writer.tail();
        let writer = std::thread::Builder::new()
            .name("telemetry-writer".to_owned())
            .spawn(move || writer.run(&work))
            .map_err(|error| LedgerError::io("telemetry writer thread", &error))?;
        Ok(Self { path, queue: Some(queue), counters, tail, writer: Mutex::new(Some(writer)) })
    }

    /// Queues a sample, or sheds and counts it.
    pub fn record(&self, sample: Sample) {
        let send = |queue: &SyncSender<Work>| queue.try_send(Work::Sample(sample, Instant::now())).is_ok();
        let taken = !self.counters.shedding.load(Ordering::Relaxed) && self.queue.as_ref().is_some_and(send);
        if !taken {
            self.counters.shed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sheds everything from now on, or stops shedding: the first answer to a disk that fills up.
    pub fn shed(&self, shedding: bool) {
        self.counters.shedding.store(shedding, Ordering::Relaxed);
    }

    /// Waits until everything queued before is durable or shed.
    pub fn flush(&self) {
        self.ask(Work::Flush);
    }

    /// Waits until everything queued before lies in blocks and old rows are converted.
    pub fn seal(&self) {
        self.ask(Work::Seal);
    }

    fn ask(&self, work: impl FnOnce(SyncSender<()>) -> Work) {
        let (done, wait) = sync_channel(1);
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(work(done)).is_ok());
        if sent && wait.recv().is_err() {
            tracing::debug!("the telemetry writer has stopped");
        }
    }

    /// Counts since the start.
    pub fn stats(&self) -> TelemetryStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TelemetryStats {
            written: count(&self.counters.written),
            shed: count(&self.counters.shed),
            errors: count(&self.counters.errors),
            damaged: count(&self.counters.damaged),
            slowest_ms: count(&self.counters.slowest_ms),
            tail_bytes: count(&self.counters.tail_bytes),
        }
    }

    /// The newest `limit` samples of one value since `since`, oldest first.
    ///
    /// # Errors
    /// The block file cannot be read.
    pub fn samples(
        &self,
        device: &DeviceId,
        metric: u8,
        since: UnixMillis,
        limit: usize,
    ) -> Result<Vec<Sample>, LedgerError> {
        let mut newest = Newest { limit, points: Vec::new() };
        self.scan(device, metric, (since, UnixMillis(i64::MAX)), &mut newest)?;
        newest.settle();
        let sample = |point: Point| Sample {
            device: device.clone(),
            metric,
            at: point.at,
            value: point.value,
            good: point.good,
        };
        Ok(newest.points.into_iter().map(sample).collect())
    }

    /// The first `limit` samples (at most [`RANGE_MAX`]) of one value from `from` on and before `to`.
    ///
    /// # Errors
    /// The block file cannot be read.
    pub fn range(
        &self,
        device: &DeviceId,
        metric: u8,
        (from, to): (UnixMillis, UnixMillis),
        limit: usize,
    ) -> Result<Range, LedgerError> {
        let mut oldest = Oldest { limit: limit.clamp(1, RANGE_MAX), points: Vec::new() };
        let damaged = self.scan(device, metric, (from, to), &mut oldest)?;
        let (points, next) = oldest.finish();
        Ok(Range { points, next, damaged })
    }

    /// The samples of one value from `from` on and before `to`, summed up by intervals of `every_ms` that begin at its
    /// multiples.
    ///
    /// # Errors
    /// Refused (`bad-interval`) when that is not 1 to [`INTERVALS_MAX`] intervals; the block file cannot be read.
    pub fn intervals(
        &self,
        device: &DeviceId,
        metric: u8,
        (from, to): (UnixMillis, UnixMillis),
        every_ms: i64,
    ) -> Result<Summary, LedgerError> {
        let span = i128::from(to.0) - i128::from(from.0);
        if every_ms <= 0 || span / i128::from(every_ms) > i128::from(INTERVALS_MAX) {
            let detail =
                format!("expected 1 to {INTERVALS_MAX} intervals in {span} ms, found {every_ms} ms each");
            return Err(Refusal::new("bad-interval", detail).into());
        }
        let mut sums = Intervals::new(every_ms);
        let damaged = self.scan(device, metric, (from, to), &mut sums)?;
        Ok(Summary { intervals: sums.finish(), damaged })
    }

    /// Every sample in a span: those in memory, then those in blocks.
    fn scan(
        &self,
        device: &DeviceId,
        metric: u8,
        (from, to): (UnixMillis, UnixMillis),
        sink: &mut impl Sink,
    ) -> Result<Vec<Damage>, LedgerError> {
        // Memory before file: a generation that is sealed in between is left out below, so nothing is read twice.
        let (open, found) = {
            let tail = lock(&self.tail);
            (tail.generation, tail.id(device, metric).map(|id| (id, tail.copy(id))))
        };
        let Some((series, runs)) = found else { return Ok(Vec::new()) };
        let inside = |point: &Point| point.at >= from && point.at < to;
        runs.iter()
            .flat_map(series::Run::points)
            .map_while(Result::ok)
            .filter(inside)
            .for_each(|p| sink.add(p));
        let context = |error| LedgerError::sql(format!("read {}", self.path.display()), &error);
        let reader = BlockReader::open(&self.path).map_err(context)?;
        let mut damaged = Vec::new();
        for generation in reader.generations(series, from.0, to.0).map_err(context)? {
            if sink.has_all_before(generation.first) {
                break;
            }
            if generation.number != open {
                damaged.extend(read(&reader, generation, series, |point| {
                    if inside(&point) {
                        sink.add(point);
                    }
                }));
            }
        }
        if !damaged.is_empty() {
            tracing::warn!(%device, blocks = damaged.len(), "damaged telemetry blocks");
            self.counters.damaged.fetch_add(damaged.len() as u64, Ordering::Relaxed);
            damaged.truncate(DAMAGES_MAX);
        }
        Ok(damaged)
    }
}

/// The samples of a series in one generation; answers what is damaged.
fn read(reader: &BlockReader, of: Generation, series: u32, mut each: impl FnMut(Point)) -> Vec<Damage> {
    let damage = |why: String| Damage { generation: of.number, why };
    let (mut damaged, mut points, mut found) = (Vec::new(), Vec::new(), 0);
    let read = reader.blocks(of.number, series, |key, body| {
        points.clear();
        found += 1;
        match series::decode_each(key, body, |point| points.push(point)) {
            Ok(()) => points.iter().copied().for_each(&mut each),
            Err(error) => damaged.push(damage(error.to_string())),
        }
    });
    match (read, of.blocks) {
        (Err(error), _) => damaged.push(damage(error.to_string())),
        (Ok(()), None) => damaged.push(damage("what the generation holds is damaged".into())),
        (Ok(()), Some(blocks)) if found < blocks => {
            damaged.push(damage(format!("{} of {blocks} blocks are missing", blocks - found)));
        }
        (Ok(()), Some(_)) => {}
    }
    damaged
}

/// Takes samples in any order.
trait Sink {
    fn add(&mut self, point: Point);

    /// Whether samples at `first` and later change nothing.
    fn has_all_before(&mut self, _first: i64) -> bool {
        false
    }
}

impl Sink for Intervals {
    fn add(&mut self, point: Point) {
        Self::add(self, point);
    }
}

struct Newest {
    limit: usize,
    points: Vec<Point>,
}

impl Newest {
    fn settle(&mut self) {
        self.points.sort_by_key(|point| point.at);
        self.points.drain(..self.points.len().saturating_sub(self.limit));
    }
}

impl Sink for Newest {
    fn add(&mut self, point: Point) {
        self.points.push(point);
        if self.points.len() > self.limit.saturating_mul(2).saturating_add(1_024) {
            self.settle();
        }
    }
}

struct Oldest {
    limit: usize,
    points: Vec<Point>,
}

impl Oldest {
    /// One more than the limit says whether there are more.
    fn settle(&mut self) {
        self.points.sort_by_key(|point| point.at);
        self.points.truncate(self.limit + 1);
    }

    fn finish(mut self) -> (Vec<Point>, Option<UnixMillis>) {
        self.settle();
        let Some(next) = self.points.get(self.limit).map(|point| point.at) else {
            return (self.points, None);
        };
        // All of one time belong into one answer, unless there are more of them than an answer holds.
        let whole = self.points.partition_point(|point| point.at < next);
        if whole > 0 {
            self.points.truncate(whole);
            (self.points, Some(next))
        } else {
            self.points.truncate(self.limit);
            (self.points, Some(next.plus(1)))
        }
    }
}

impl Sink for Oldest {
    fn add(&mut self, point: Point) {
        self.points.push(point);
        if self.points.len() > 2 * self.limit + 1_024 {
            self.settle();
        }
    }

    fn has_all_before(&mut self, first: i64) -> bool {
        self.settle();
        self.points.get(self.limit).is_some_and(|point| point.at.0 < first)
    }
}
