//! Start, supervision and stop.

use super::{Daemon, Heads, Reload, describe_open, software};
use crate::api;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::devices::{self, EVENTS_MAX, Inputs, ORDERS_MAX, Order, Registry, TagNews};
use crate::listen::{self, ListenError};
use crate::notify::{self, Pulses};
use crate::overrides::{self, Overrides};
use crate::prices::{self, NEWS_MAX};
use crate::retention::{self, Keeping};
use crate::settle::{self, SettleView};
use crate::space::{Pressure, Space};
use crate::statements::{self, Desk};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use sync_model::{Audit, ClockJumped, StoreId, Text, UnixMillis};
use sync_store::telemetry::{FLUSH, Limits, Telemetry, TelemetryConfig};
use sync_store::{ANSWERS_KEPT, Ledger, LedgerConfig, LedgerError, Owner};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Period of the supervision.
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Raw samples that may wait to be written.
const TELEMETRY_QUEUE: usize = 2_048;
/// Looks between two rounds of forgetting answers.
const FORGET_EVERY: u64 = 600;
/// Age at which an acknowledged answer to an idempotency key may be forgotten.
const ANSWER_AGE_MS: i64 = 90 * 86_400_000;
/// Longest wait for a part to end.
const PART_STOP: Duration = Duration::from_secs(15);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The ledger's folder cannot be made.
    #[error("ledger folder {path}: {source}")]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ledger does not open.
    #[error("ledger does not open: {0}")]
    Ledger(#[from] LedgerError),
    /// Nothing listens.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system does not deliver signals.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

/// A started daemon.
pub struct Running {
    /// The shared state.
    pub daemon: Arc<Daemon>,
    /// Where tills connect.
    pub address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
}

impl Running {
    /// Asks every part to end and waits for it.
    pub async fn stop(self) {
        notify::stopping();
        self.stop.send_replace(true);
        if tokio::time::timeout(PART_STOP * 2, self.supervisor).await.is_err() {
            tracing::error!("the daemon did not end in time");
        }
    }
}

/// Runs until SIGTERM or SIGINT; SIGHUP reloads.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
    let running = start(config).await?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match running.daemon.reload().await {
                Ok(done) => tracing::info!(%done, "configuration reloaded"),
                Err(errors) => tracing::error!(%errors, "reload refused, the old configuration stays"),
            },
        }
    }
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// Opens the ledger, binds the sockets and starts every part.
pub async fn start(config: Config) -> Result<Running, RunError> {
    let clock = Clock::new();
    let dir = config.ledger.dir.clone();
    std::fs::create_dir_all(&dir).map_err(|source| RunError::Folder { path: dir.clone(), source })?;
    let store = StoreId(config.store.id);
    let ledger_path = dir.join("ledger.db");
    let ledger_config = LedgerConfig {
        path: ledger_path.clone(),
        owner: Owner::Store(store),
        max_bytes: config.ledger.max_bytes,
        software: software(),
        queue: config.ledger.queue,
    };
    let stamp = clock.stamp();
    let opening = tokio::task::spawn_blocking(move || Ledger::open(ledger_config, stamp)).await;
    let (ledger, opened) = opening.unwrap_or(Err(LedgerError::Closed))?;
    if let Some(line) = describe_open(&opened) {
        tracing::error!("{line}");
    }
    let telemetry_path = dir.join("telemetry.db");
    let telemetry = open_telemetry(&config, &telemetry_path);
    let socket = listen::unix(&config.api.socket)?;
    let port = listen::tcp(config.api.listen).await?;
    let address =
        port.local_addr().map_err(|source| ListenError::Port { address: config.api.listen, source })?;
    let (orders, order_queue) = mpsc::channel(ORDERS_MAX);
    let (reloads, reload_queue) = mpsc::channel(1);
    let (heads, _) = watch::channel(Heads::new());
    let daemon = Arc::new(Daemon {
        store,
        space: Space::new(&dir, config.ledger.reserve_bytes),
        registry: Registry::default(),
        settle: SettleView::default(),
        statements: Desk::open(config.hq.as_ref().and_then(|hq| hq.tls.as_ref())),
        overrides: Overrides::default(),
        pulses: Pulses::default(),
        telemetry,
        opened,
        ledger_path,
        telemetry_path,
        started_ms: clock.mono_ms(),
        config: RwLock::new(Arc::new(config)),
        urgent: tokio::sync::Notify::new(),
        heads,
        readers: Mutex::new(Vec::new()),
        host: Mutex::new(None),
        host_fault: Mutex::new(None),
        orders,
        tags: Mutex::new(None),
        reloads,
        ledger,
        clock,
    });
    follow_heads(&daemon).await;
    let (stop, stopped) = watch::channel(false);
    let parts = Parts::start(&daemon, socket, port, order_queue, &stopped);
    let supervisor = tokio::spawn(supervise(daemon.clone(), parts, reload_queue, stopped));
    tracing::info!(store = store.0, %address, "serving");
    notify::ready(&format!("store {store} at {address}"));
    Ok(Running { daemon, address, stop, supervisor })
}

fn open_telemetry(config: &Config, path: &std::path::Path) -> Option<Telemetry> {
    let telemetry = TelemetryConfig {
        path: path.to_path_buf(),
        limits: Limits {
            max_age_ms: i64::from(config.telemetry.keep_days).saturating_mul(86_400_000),
            max_bytes: config.telemetry.max_bytes,
        },
        queue: TELEMETRY_QUEUE,
        flush: FLUSH,
    };
    match Telemetry::open(telemetry) {
        Ok(telemetry) => Some(telemetry),
        Err(error) => {
            tracing::error!(%error, "raw samples are not kept");
            None
        }
    }
}

/// Publishes the ends of all logs after each commit, and the newest stamp to the clock once.
async fn follow_heads(daemon: &Arc<Daemon>) {
    let heads = daemon.heads.clone();
    daemon.ledger.on_commit(move |note| {
        heads.send_modify(|known| known.extend(note.heads.iter().copied()));
    });
    let read = daemon.read(|reader| Ok((reader.heads()?, reader.tail(1)?))).await;
    match read {
        Ok((rows, tail)) => {
            daemon.heads.send_modify(|known| {
                for row in rows {
                    let end = known.entry(row.log).or_insert(row.head);
                    *end = (*end).max(row.head);
                }
            });
            let newest =
                tail.into_iter().filter_map(|stored| stored.event.ok()).map(|event| event.stamp.at).max();
            if let Some(newest) = newest {
                daemon.clock.set_floor(newest);
            }
        }
        Err(error) => tracing::error!(%error, "the ledger's heads cannot be read at start"),
    }
}

/// The tasks of the daemon.
struct Parts {
    servers: Vec<JoinHandle<()>>,
    settle: Option<JoinHandle<()>>,
    retention: JoinHandle<()>,
    statements: JoinHandle<()>,
    overrides: JoinHandle<()>,
    floor: Option<Floor>,
}

/// The part that a reload restarts: drivers, device loop, prices.
struct Floor {
    stop: watch::Sender<bool>,
    devices: JoinHandle<mpsc::Receiver<Order>>,
    prices: JoinHandle<mpsc::Receiver<TagNews>>,
}

impl Parts {
    fn start(
        daemon: &Arc<Daemon>,
        socket: tokio::net::UnixListener,
        port: tokio::net::TcpListener,
        orders: mpsc::Receiver<Order>,
        stopped: &watch::Receiver<bool>,
    ) -> Self {
        let config = daemon.config();
        // Before the first request: a device that is configured must never be answered "not found".
        let floor = Some(start_floor(daemon, orders));
        let servers = api::spawn(daemon, socket, port, stopped);
        let settle =
            config.hq.clone().map(|hq| tokio::spawn(settle::run(daemon.clone(), hq, stopped.clone())));
        let statements = tokio::spawn(statements::run(daemon.clone(), stopped.clone()));
        let overrides = tokio::spawn(overrides::run(daemon.clone(), stopped.clone()));
        let keeping = Keeping::default();
        let retention = tokio::spawn(retention::run(daemon.clone(), keeping, stopped.clone()));
        Self { servers, settle, retention, statements, overrides, floor }
    }

    async fn stop(mut self, daemon: &Daemon) {
        for server in self.servers {
            ended("api", server).await;
        }
        let socket = daemon.config().api.socket.clone();
        if let Err(error) = std::fs::remove_file(&socket) {
            tracing::debug!(%error, path = %socket.display(), "socket file stays; the next start replaces it");
        }
        if let Some(floor) = self.floor.take() {
            stop_floor(daemon, floor).await;
        }
        ended("statements", self.statements).await;
        ended("overrides", self.overrides).await;
        ended("retention", self.retention).await;
        if let Some(settle) = self.settle {
            ended("settlement", settle).await;
        }
    }
}

async fn ended<T>(part: &str, task: JoinHandle<T>) -> Option<T> {
    match tokio::time::timeout(PART_STOP, task).await {
        Ok(Ok(value)) => Some(value),
        Ok(Err(error)) => {
            tracing::error!(part, %error, "part failed");
            None
        }
        Err(_) => {
            tracing::error!(part, "part did not end in time");
            None
        }
    }
}

/// Says which devices there are, and starts drivers, device loop and prices, with the configuration in force.
fn start_floor(daemon: &Arc<Daemon>, orders: mpsc::Receiver<Order>) -> Floor {
    let config = daemon.config();
    daemon.registry.configure(devices::views(&config));
    let (stop, stopped) = watch::channel(false);
    let (events, event_queue) = mpsc::channel(EVENTS_MAX);
    let (tags, news) = mpsc::channel(NEWS_MAX);
    *daemon.tags.lock().unwrap_or_else(PoisonError::into_inner) = Some(tags.clone());
    let mut fault = None;
    match drv_host::start(&config.host, &config.profiles, events) {
        Ok(host) => *daemon.host.lock().unwrap_or_else(PoisonError::into_inner) = Some(host),
        // The store trades without its devices; the reason is in the status.
        Err(error) => {
            tracing::error!(%error, "device drivers do not start");
            fault = Some(error.to_string());
        }
    }
    *daemon.host_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    let inputs = Inputs { events: event_queue, orders, tags, stop: stopped.clone() };
    let devices = tokio::spawn(devices::run(daemon.clone(), inputs));
    let prices = tokio::spawn(prices::run(daemon.clone(), news, stopped));
    Floor { stop, devices, prices }
}

/// Stops them; gives the order queue back.
async fn stop_floor(daemon: &Daemon, floor: Floor) -> Option<mpsc::Receiver<Order>> {
    let host = daemon.host.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(host) = host {
        host.stop().await;
    }
    floor.stop.send_replace(true);
    ended("prices", floor.prices).await;
    ended("devices", floor.devices).await
}

/// Everything that is done once a second, and reloads.
async fn supervise(
    daemon: Arc<Daemon>,
    mut parts: Parts,
    mut reloads: mpsc::Receiver<Reload>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tick = tokio::time::interval(WATCH_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let feed = notify::watchdog_period();
    let mut fed_ms = 0;
    let mut looks = 0_u64;
    while !*stop.borrow() {
        tokio::select! {
            _ = stop.changed() => {}
            _ = tick.tick() => {
                look(&daemon);
                if looks.is_multiple_of(FORGET_EVERY) {
                    forget_answers(&daemon);
                }
                looks += 1;
                let now = daemon.clock.mono_ms();
                let due = feed.is_some_and(|period| u128::from(now.saturating_sub(fed_ms)) >= period.as_millis());
                if due && daemon.pulses.alive(now) {
                    fed_ms = now;
                    notify::watchdog();
                }
            }
            Some(Reload { answer }) = reloads.recv() => {
                let result = reload(&daemon, &mut parts).await;
                // Who asked may have gone; the log has the result too.
                drop(answer.send(result));
            }
        }
    }
    parts.stop(&daemon).await;
}

/// Space, clock, life of the writer thread.
fn look(daemon: &Arc<Daemon>) {
    if let Some(telemetry) = &daemon.telemetry {
        telemetry.shed(daemon.space.pressure() != Pressure::None);
    }
    match daemon.space.check() {
        Some(Pressure::Full) => {
            tracing::error!(free = daemon.space.free_bytes(), "disk is full: tills are refused")
        }
        Some(Pressure::Tight) => {
            tracing::warn!(free = daemon.space.free_bytes(), "disk space is low: raw samples are shed")
        }
        Some(Pressure::None) => tracing::info!(free = daemon.space.free_bytes(), "disk space is back"),
        None => {}
    }
    if let Some(by_ms) = daemon.clock.watch() {
        tracing::warn!(by_ms, "wall clock jumped");
        let daemon = daemon.clone();
        tokio::spawn(async move {
            if let Err(error) = daemon.append(ClockJumped { by_ms }).await {
                tracing::warn!(%error, "clock jump was not stored");
            }
        });
    }
    let pulse = daemon.clone();
    // An empty job costs no fsync; its answer shows that the writer lives.
    let asked = daemon.ledger.submit(|_| Ok(()), move |_| pulse.pulses.writer(pulse.clock.mono_ms()));
    if let Err(error) = asked {
        tracing::debug!(%error, "writer was not asked for a sign of life");
    }
}

/// Bounds what is remembered of postings. Not while the clock is suspect: it decides what is old.
fn forget_answers(daemon: &Arc<Daemon>) {
    if daemon.clock.quality() == sync_model::ClockQuality::Suspect {
        return;
    }
    let before = UnixMillis(daemon.clock.wall_ms()).plus(-ANSWER_AGE_MS);
    let asked = daemon.ledger.submit(
        move |draft| draft.forget_answers(before, ANSWERS_KEPT),
        |result| match result {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old answers forgotten"),
            Err(error) => tracing::warn!(%error, "old answers stay"),
        },
    );
    if let Err(error) = asked {
        tracing::debug!(%error, "old answers stay for now");
    }
}

/// Reads the configuration again and applies it, or says why not.
async fn reload(daemon: &Arc<Daemon>, parts: &mut Parts) -> Result<String, String> {
    let old = daemon.config();
    let path = old.path.clone();
    let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
    let new = match loaded {
        Ok(Ok(new)) => new,
        Ok(Err(errors)) => return Err(errors.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    let fixed = needs_restart(&old, &new);
    if !fixed.is_empty() {
        return Err(format!("{} can only be changed by a restart of the daemon", fixed.join(", ")));
    }
    let devices = new.host.scale.len() + new.host.cabinet.len() + new.host.steamer.len() + new.host.tag.len();
    daemon.space.set_reserve(new.ledger.reserve_bytes);
    daemon.set_config(new);
    if let Some(floor) = parts.floor.take() {
        let orders = match stop_floor(daemon, floor).await {
            Some(orders) => orders,
            // The old loop is lost with its queue; batches posted from now on are found at the next start.
            None => mpsc::channel(1).1,
        };
        parts.floor = Some(start_floor(daemon, orders));
    }
    let audit = Audit {
        actor: Text::lossy("edge-agent"),
        action: Text::lossy("config-reload"),
        detail: Text::lossy(&format!("{devices} devices")),
    };
    if let Err(error) = daemon.append(audit).await {
        tracing::warn!(%error, "reload was not audited");
    }
    Ok(format!("configuration reloaded: {devices} devices"))
}

/// Keys that changed although they need a restart.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let same = |key: &'static str, same: bool| (!same).then_some(key);
    [
        same("store", old.store == new.store),
        same("ledger.dir", old.ledger.dir == new.ledger.dir),
        same("ledger.max_bytes", old.ledger.max_bytes == new.ledger.max_bytes),
        same("ledger.queue", old.ledger.queue == new.ledger.queue),
        same("api", old.api == new.api),
        same("hq", old.hq == new.hq),
    ]
    .into_iter()
    .flatten()
    .collect()
}
