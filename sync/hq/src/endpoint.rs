//! The whole endpoint as one object: ledger, engine, HTTP server; started, watched and stopped together.

use crate::embedded::{Embedded, EmbeddedError};
use crate::engine::{Ended, Engine, GrownHeads, JOBS_MAX};
use crate::evidence::Keys;
use crate::fleet::{SharedFleet, stamp};
use crate::http;
use crate::identity::{RegistryError, Roster};
use crate::target::{BrokerAddress, StoreTarget};
use crate::vault::{Ownership, Vault};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use sync_core::SenderConfig;
use sync_model::Text;
use sync_mqtt::{Backoff, PipeConfig, TlsError, TlsFiles, topic};
use sync_postgres::{Postgres, PostgresConfig};
use sync_store::{HeadRow, Ledger, LedgerConfig, LedgerError, Owner};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How long a stop waits for HTTP requests under way.
const HTTP_STOP_WAIT: Duration = Duration::from_secs(3);

/// Everything an endpoint needs to know.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The ledger.
    pub store: StoreTarget,
    /// Size limit of the ledger file.
    pub max_bytes: Option<u64>,
    /// The broker.
    pub broker: BrokerAddress,
    /// Run that broker as a child, with its files in this folder.
    pub embedded: Option<PathBuf>,
    /// MQTT client id; unique per broker. On PostgreSQL also the worker's name in the leases.
    pub client_id: String,
    /// PostgreSQL: buckets that are this worker's own; it takes over others whose worker is dead. `None` is all.
    pub buckets: Option<BTreeSet<i16>>,
    /// PostgreSQL: how long a worker may be silent before others take its buckets.
    pub lease: Duration,
    /// MQTT keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Waits between connection attempts.
    pub backoff: Backoff,
    /// Address of the HTTP server, loopback.
    pub listen: SocketAddr,
    /// Pacing of HQ's logs to the stores.
    pub sender: SenderConfig,
    /// Folder with CA, HQ's certificate and key, and the registry; `None` is plain MQTT without a check of stores.
    pub identity: Option<PathBuf>,
}

/// Why the endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The ledger does not open.
    #[error("cannot open HQ's ledger")]
    Ledger(#[from] LedgerError),
    /// The HTTP address cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// HQ's own certificate.
    #[error("HQ's identity")]
    Identity(#[from] TlsError),
    /// The registry of certificates.
    #[error("HQ's registry of certificates")]
    Registry(#[from] RegistryError),
    /// The embedded broker.
    #[error("no embedded broker")]
    Embedded(#[from] EmbeddedError),
    /// No thread for the engine.
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
}

/// How soon a ledger that could not be read is tried again.
const LEDGER_RETRY: Duration = Duration::from_secs(1);

/// Number of buckets.
const ALL_BUCKETS: usize = 64;

/// Larger than any message of the protocol: an oversize message should be kept aside and answered here, not vanish at the
/// broker.
const PACKET_BYTES_MAX: u32 = 256 * 1024;

/// A running endpoint.
pub struct Endpoint {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    /// `None` once it has resolved.
    engine_ended: Option<oneshot::Receiver<()>>,
    http: JoinHandle<()>,
    vault: Vault,
    broker: Option<(watch::Sender<bool>, Embedded)>,
}

impl Endpoint {
    /// Opens the ledger, binds the HTTP port, starts the engine. The broker may come later, and so may a PostgreSQL server.
    pub async fn start(config: EndpointConfig) -> Result<Self, EndpointError> {
        let roster = config.identity.as_deref().map(open_identity).transpose()?;
        let vault = open_vault(&config)?;
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| EndpointError::Listen { address: config.listen, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| EndpointError::Listen { address: config.listen, source })?;

        let broker = match &config.embedded {
            Some(folder) => {
                let (end, ended) = watch::channel(false);
                Some((end, Embedded::start(folder, config.broker.port, config.identity.as_deref(), ended)?))
            }
            None => None,
        };
        let fleet = SharedFleet::new();
        let grown = Arc::new(GrownHeads::default());
        let noted = Arc::clone(&grown);
        vault.on_commit(move |note| noted.note(&note.heads));

        let (stop, stop_seen) = watch::channel(false);
        let (ended, engine_ended) = oneshot::channel::<()>();
        let identity = config.identity.clone();
        let engines = Engines {
            config,
            vault: vault.clone(),
            fleet: fleet.clone(),
            grown,
            ownership: vault.ownership(),
            stop: stop_seen.clone(),
        };
        let runtime = tokio::runtime::Handle::current();
        // Its own thread, so that deciding much at once does not hold up the MQTT polling task.
        std::thread::Builder::new()
            .name("hq-engine".into())
            .spawn(move || {
                runtime.block_on(engines.run(roster));
                drop(ended);
            })
            .map_err(EndpointError::Thread)?;
        let http = tokio::spawn(http::serve(listener, vault.clone(), fleet, identity, stop_seen));
        tracing::info!(%address, "HTTP up");
        Ok(Self { address, stop, engine_ended: Some(engine_ended), http, vault, broker })
    }

    /// Address of the HTTP server.
    pub fn http_address(&self) -> SocketAddr {
        self.address
    }

    /// The SQLite ledger, for backups and limits while it is in use; `None` on PostgreSQL.
    pub fn ledger(&self) -> Option<&Ledger> {
        match &self.vault {
            Vault::Sqlite(ledger) => Some(ledger),
            Vault::Postgres(_) => None,
        }
    }

    /// Waits until the engine ends by itself, which it does only by a fault.
    pub async fn failed(&mut self) {
        if let Some(ended) = &mut self.engine_ended {
            // The sender is dropped, not used: both ways of resolving mean the same.
            let resolved = ended.await;
            self.engine_ended = None;
            drop(resolved);
        }
    }

    /// Stops cleanly: commits what is under way, publishes its acks, says goodbye, closes the ledger.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.failed().await;
        // After the engine: it says goodbye to the broker.
        if let Some((end, broker)) = self.broker.take() {
            end.send_replace(true);
            broker.ended().await;
        }
        if tokio::time::timeout(HTTP_STOP_WAIT, &mut self.http).await.is_err() {
            self.http.abort();
        }
        let vault = self.vault;
        // The last handle joins the writer thread: not on a thread that serves others.
        drop(tokio::task::spawn_blocking(move || drop(vault)).await);
    }
}

/// One engine after another, for as long as the endpoint runs.
struct Engines {
    config: EndpointConfig,
    vault: Vault,
    fleet: SharedFleet,
    grown: Arc<GrownHeads>,
    ownership: watch::Receiver<Ownership>,
    stop: watch::Receiver<bool>,
}

impl Engines {
    async fn run(mut self, mut roster: Option<Roster>) {
        let mut stop = self.stop.clone();
        while !*stop.borrow() {
            let owned = self.ownership.borrow_and_update().clone();
            self.show_owned(&owned);
            let standby = owned.as_ref().is_some_and(BTreeSet::is_empty);
            let heads = if standby { None } else { self.heads().await };
            let Some(heads) = heads else {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => {}
                    _ = self.ownership.changed(), if standby => {}
                    () = tokio::time::sleep(LEDGER_RETRY) => {}
                }
                continue;
            };
            let begun = Engine::new(
                sync_mqtt::open(pipe_config(&self.config, &owned)),
                (self.vault.clone(), &heads),
                (self.fleet.clone(), Arc::clone(&self.grown)),
                self.config.sender,
                (stop.clone(), self.ownership.clone()),
                owned,
            );
            let (mut engine, inputs) = match begun {
                Ok(begun) => begun,
                Err(error) => return tracing::error!(%error, "no thread for the engine's reads"),
            };
            engine.set_roster(roster.take());
            engine.set_sealer(self.config.identity.as_deref().and_then(Keys::sealer));
            let (ended, handed) = engine.run(inputs).await;
            roster = handed;
            match ended {
                Ended::Moved => {}
                Ended::Stopped | Ended::Fault => return,
            }
        }
    }

    /// The ends of all logs; `None`, and health says so, while the ledger does not answer.
    async fn heads(&self) -> Option<Vec<HeadRow>> {
        let vault = self.vault.clone();
        let read = tokio::task::spawn_blocking(move || vault.reader()?.heads()).await;
        let read = read.unwrap_or(Err(LedgerError::Closed));
        let mut fleet = self.fleet.lock();
        match read {
            Ok(heads) => {
                fleet.ledger.set(None);
                Some(heads)
            }
            Err(error) => {
                if fleet.ledger.set(Some(error.to_string())) {
                    tracing::error!(%error, "ledger cannot be read: trying again");
                }
                None
            }
        }
    }

    /// What the people see of the buckets; stores of others are theirs to show.
    fn show_owned(&self, owned: &Ownership) {
        let mut fleet = self.fleet.lock();
        if let Some(buckets) = owned {
            fleet.stores.retain(|store, _| buckets.contains(&(store.0 % topic::BUCKETS)));
            if buckets.is_empty() {
                let fault = self.vault.fault();
                fleet.ledger.set(fault);
                fleet.broker.set(Some("standing by: this worker owns no bucket".to_owned()));
            }
        }
        if fleet.owned != *owned {
            tracing::info!(buckets = owned.as_ref().map(BTreeSet::len), "buckets owned");
            fleet.owned = owned.clone();
        }
    }
}

/// Opens the ledger that the configuration names.
fn open_vault(config: &EndpointConfig) -> Result<Vault, EndpointError> {
    let software = Text::lossy(concat!("sync-hq ", env!("CARGO_PKG_VERSION")));
    // Room for the engine's jobs and for HTTP writers beside them.
    let queue = JOBS_MAX + 64;
    match &config.store {
        StoreTarget::Sqlite(path) => {
            let ledger_config = LedgerConfig {
                path: path.clone(),
                owner: Owner::Hq,
                max_bytes: config.max_bytes,
                software,
                queue,
            };
            let (ledger, report) = Ledger::open(ledger_config, stamp())?;
            tracing::info!(path = %path.display(), created = report.created, "ledger open");
            if let Some(salvage) = &report.salvaged {
                tracing::error!(evidence = %salvage.evidence.display(), kept = salvage.kept, lost = salvage.lost_hint,
                    "ledger was damaged: set aside and salvaged");
            }
            Ok(Vault::Sqlite(ledger))
        }
        StoreTarget::Postgres(url) => {
            let all = PostgresConfig::new(url.as_str(), config.client_id.as_str());
            let home = config.buckets.clone().unwrap_or_else(|| all.home.clone());
            let (lease, renew, max_bytes) = (config.lease, config.lease / 3, config.max_bytes);
            let postgres = PostgresConfig { home, lease, renew, max_bytes, software, queue, ..all };
            Ok(Vault::Postgres(Postgres::open(postgres)?))
        }
    }
}

/// The files of HQ's identity.
fn tls_files(folder: &Path) -> TlsFiles {
    TlsFiles { ca: folder.join("ca.pem"), cert: folder.join("hq.pem"), key: folder.join("hq.key") }
}

/// Refuses to start with an identity that no connection could use.
fn open_identity(folder: &Path) -> Result<Roster, EndpointError> {
    let own = tls_files(folder).check()?;
    tracing::info!(certificate = %own, "identity open");
    Ok(Roster::open(folder)?)
}

fn pipe_config(config: &EndpointConfig, owned: &Ownership) -> PipeConfig {
    let mut pipe = PipeConfig::new(&config.broker.host, config.broker.port, &config.client_id);
    pipe.keep_alive_s = config.keep_alive_s;
    pipe.backoff = config.backoff;
    pipe.inflight = 64;
    pipe.packet_bytes_max = PACKET_BYTES_MAX;
    pipe.subscriptions = match owned {
        Some(buckets) if buckets.len() < ALL_BUCKETS => topic::bucket_filters(buckets.iter().copied()),
        _ => topic::hq_filters(),
    };
    pipe.tls = config.identity.as_deref().map(tls_files);
    pipe
}
