//! What every part of the daemon shares, and its life: open, listen, ready, reload, stop.
//!
//! Order at start: ledger, sockets, device loop, prices, settlement, then `READY`. Order at stop: sockets (requests under
//! way are finished), devices, prices, settlement, ledger. A crash at any point needs no repair of ours: each part rebuilds
//! its state from the ledger.
//!
//! What a reload changes: limits, devices, profiles, prices, telemetry, channels and the space floor, by restarting the host
//! drivers and the device loop. What needs a restart of the daemon, and is refused in a reload: `store.*`, `ledger.dir`,
//! `ledger.max_bytes`, `ledger.queue`, `api.*`, `hq.*`. A bad configuration keeps the old one.

mod run;

pub use run::{RunError, Running, run, start};

use crate::clock::Clock;
use crate::config::Config;
use crate::devices::{Order, Registry, TagNews};
use crate::notify::Pulses;
use crate::settle::SettleView;
use crate::space::Space;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use sync_model::{DeviceId, EpochReason, Event, EventId, Fact, LogId, Seq, StoreId, Text, UnixMillis};
use sync_store::telemetry::{Sample, Telemetry};
use sync_store::{Draft, Ledger, LedgerError, OpenReport, Reader, Refusal};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Ends of all logs, as of the last commit.
pub type Heads = BTreeMap<LogId, Seq>;

/// Value of a bad sample for which nothing was read; no probe measures -2,147,483 degrees.
pub(crate) const NOTHING_READ: i64 = i32::MIN as i64;

/// Idle readers kept open.
const READERS_MAX: usize = 2;

/// Name and version of this software as it goes into logs and greetings.
pub fn software() -> Text<32> {
    Text::lossy(concat!("edge-agent ", env!("CARGO_PKG_VERSION")))
}

/// The shared state. Everything inside is either immutable, a handle, or behind its own short lock.
pub struct Daemon {
    /// This store.
    pub store: StoreId,
    /// The ledger.
    pub ledger: Ledger,
    /// The clocks.
    pub clock: Clock,
    /// Free space.
    pub space: Space,
    /// Devices as they are now.
    pub registry: Registry,
    /// Settlement as it is now.
    pub settle: SettleView,
    /// Where statements are signed.
    pub statements: crate::statements::Desk,
    /// Thresholds that people set.
    pub overrides: crate::overrides::Overrides,
    /// Signs of life.
    pub pulses: Pulses,
    /// Raw samples; `None` when the file cannot be opened, which harms nobody.
    pub telemetry: Option<Telemetry>,
    /// How the ledger was found at start.
    pub opened: OpenReport,
    /// Ledger file.
    pub ledger_path: PathBuf,
    /// Telemetry file.
    pub telemetry_path: PathBuf,
    /// Monotonic time of the start.
    pub started_ms: u64,
    config: RwLock<Arc<Config>>,
    /// Told when an alarm is on its way into the ledger: it is not to wait for company on its way to HQ.
    pub(crate) urgent: Notify,
    heads: watch::Sender<Heads>,
    readers: Mutex<Vec<Reader>>,
    host: Mutex<Option<drv_host::Host>>,
    /// Why the drivers do not run.
    host_fault: Mutex<Option<String>>,
    orders: mpsc::Sender<Order>,
    /// Where the price pump that runs now is asked.
    tags: Mutex<Option<mpsc::Sender<TagNews>>>,
    reloads: mpsc::Sender<Reload>,
}

/// A request to read the configuration again.
pub(crate) struct Reload {
    pub(crate) answer: oneshot::Sender<Result<String, String>>,
}

impl std::fmt::Debug for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Daemon").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Daemon {
    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_config(&self, config: Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// Ends of all logs, updated after each commit.
    pub fn heads(&self) -> watch::Receiver<Heads> {
        self.heads.subscribe()
    }

    /// Where orders for the device loop go in, from any thread.
    pub(crate) fn orders(&self) -> mpsc::Sender<Order> {
        self.orders.clone()
    }

    /// Asks the price pump; `None` when it does not run or has no time.
    pub(crate) async fn ask_tags<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> crate::prices::Ask,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let pump = self.tags.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        pump.try_send(TagNews::Ask(ask(answer))).ok()?;
        answered.await.ok()
    }

    /// Speaks to the running drivers; `None` when there are none.
    pub(crate) fn host<T>(&self, speak: impl FnOnce(&drv_host::Host) -> T) -> Option<T> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(speak)
    }

    /// Keeps a raw sample, unless space is short. Without a value it is bad, and holds what was read instead, if anything.
    pub(crate) fn sample(&self, device: &DeviceId, wall_ms: i64, value: Option<i32>, suspect: Option<i32>) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.record(Sample {
                device: device.clone(),
                metric: edge_api::TEMPERATURE,
                at: UnixMillis(wall_ms),
                value: value.or(suspect).map_or(NOTHING_READ, i64::from),
                good: value.is_some(),
            });
        }
    }

    /// Reads the configuration again; the answer says what changed or what is wrong.
    pub async fn reload(&self) -> Result<String, String> {
        let (answer, result) = oneshot::channel();
        if self.reloads.try_send(Reload { answer }).is_err() {
            return Err("a reload is under way".into());
        }
        result.await.unwrap_or_else(|_| Err("the daemon is stopping".into()))
    }

    /// Runs a job on the writer thread; the result comes after its commit is durable.
    pub async fn commit<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Draft<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (reply, result) = oneshot::channel();
        // A caller that has gone away does not need the answer.
        self.ledger.submit(job, move |outcome| drop(reply.send(outcome)))?;
        result.await.unwrap_or(Err(LedgerError::Closed))
    }

    /// Appends one fact by itself.
    pub async fn append(&self, fact: impl Into<Fact>) -> Result<EventId, LedgerError> {
        let event = Event::new(self.clock.stamp(), fact);
        self.commit(move |draft| draft.append(&event)).await
    }

    /// Reads committed rows on a thread that may block.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Reader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let daemon = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let reader = match daemon.idle_reader() {
                Some(reader) => reader,
                None => daemon.ledger.reader()?,
            };
            let result = query(&reader);
            daemon.return_reader(reader);
            result
        });
        read.await.unwrap_or(Err(LedgerError::Closed))
    }

    fn idle_reader(&self) -> Option<Reader> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn return_reader(&self, reader: Reader) {
        let mut idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < READERS_MAX {
            idle.push(reader);
        }
    }

    /// The present moment on both clocks.
    pub fn moment(&self) -> crate::troubles::Now {
        crate::troubles::Now { mono_ms: self.clock.mono_ms(), wall_ms: self.clock.wall_ms() }
    }

    /// Why the daemon is not entirely well, one line each.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(salvage) = &self.opened.salvaged {
            reasons.push(format!("ledger was salvaged at start, evidence at {}", salvage.evidence.display()));
        }
        match self.space.pressure() {
            crate::space::Pressure::None => {}
            crate::space::Pressure::Tight => reasons.push("disk space is low: raw samples are shed".into()),
            crate::space::Pressure::Full => reasons.push("disk is full: tills are refused".into()),
        }
        if self.clock.quality() == sync_model::ClockQuality::Suspect {
            reasons.push("the wall clock cannot be trusted".into());
        }
        if self.telemetry.is_none() {
            reasons.push("raw samples are not kept: their file cannot be opened".into());
        }
        let settle = self.settle.get();
        if let Some(ahead) = settle.ahead {
            reasons.push(format!(
                "HQ has {} up to {}, the ledger ends at {}",
                ahead.log, ahead.upto, ahead.head
            ));
        }
        if let Some(outdated) = settle.outdated {
            reasons.push(outdated.to_string());
        }
        if self.config().hq.is_some() && !settle.connected {
            reasons.push("no connection to headquarters: facts wait in the ledger".into());
        }
        if let Some(fault) = &*self.host_fault.lock().unwrap_or_else(PoisonError::into_inner) {
            reasons.push(format!("device drivers do not run: {fault}"));
        }
        let (lost, some) = self.registry.lost(5);
        if lost > 0 {
            reasons.push(format!("{lost} devices do not answer: {}", some.join(", ")));
        }
        reasons
    }
}

/// Whether an open report is worth an error line.
fn describe_open(report: &OpenReport) -> Option<String> {
    let salvage = report.salvaged.as_ref()?;
    Some(format!(
        "ledger was damaged ({reason:?}): {} events kept, {}; evidence at {}",
        salvage.kept,
        salvage.lost_hint,
        salvage.evidence.display(),
        reason = EpochReason::Salvaged
    ))
}
