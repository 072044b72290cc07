//! The whole endpoint as one object: ledger, engine, HTTP server; started, watched and stopped together.

use crate::engine::{Engine, GrownHeads, JOBS_MAX};
use crate::fleet::{SharedFleet, stamp};
use crate::http;
use crate::identity::{RegistryError, Roster};
use crate::target::{BrokerAddress, StoreTarget};
use crate::vault::Vault;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use sync_core::SenderConfig;
use sync_model::Text;
use sync_mqtt::{Backoff, PipeConfig, TlsError, TlsFiles, topic};
use sync_store::{Ledger, LedgerConfig, LedgerError, Owner};
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
    /// MQTT client id; unique per broker.
    pub client_id: String,
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
    /// No thread for the engine.
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
}

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
    ledger: Ledger,
}

impl Endpoint {
    /// Opens the ledger, binds the HTTP port, starts the engine. The broker may come later.
    pub async fn start(config: EndpointConfig) -> Result<Self, EndpointError> {
        let roster = config.identity.as_deref().map(open_identity).transpose()?;
        let StoreTarget::Sqlite(path) = &config.store;
        let software = Text::lossy(concat!("sync-hq ", env!("CARGO_PKG_VERSION")));
        let ledger_config = LedgerConfig {
            path: path.clone(),
            owner: Owner::Hq,
            max_bytes: config.max_bytes,
            software,
            // Room for the engine's jobs and for HTTP writers beside them.
            queue: JOBS_MAX + 64,
        };
        let (ledger, report) = Ledger::open(ledger_config, stamp())?;
        tracing::info!(path = %path.display(), created = report.created, "ledger open");
        if let Some(salvage) = &report.salvaged {
            tracing::error!(evidence = %salvage.evidence.display(), kept = salvage.kept, lost = salvage.lost_hint,
                "ledger was damaged: set aside and salvaged");
        }
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| EndpointError::Listen { address: config.listen, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| EndpointError::Listen { address: config.listen, source })?;

        let fleet = SharedFleet::new();
        let grown = Arc::new(GrownHeads::default());
        let noted = Arc::clone(&grown);
        let vault = Vault::Sqlite(ledger.clone());
        vault.on_commit(move |note| noted.note(&note.heads));

        let (stop, stop_seen) = watch::channel(false);
        let pipe = sync_mqtt::open(pipe_config(&config));
        let (mut engine, inputs) =
            Engine::new(pipe, vault.clone(), fleet.clone(), grown, config.sender, stop_seen.clone())?;
        engine.set_roster(roster);
        let (ended, engine_ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Handle::current();
        // Its own thread, because it reads the ledger (briefly) between awaits and must not hold up the MQTT polling task.
        std::thread::Builder::new()
            .name("hq-engine".into())
            .spawn(move || {
                runtime.block_on(engine.run(inputs));
                drop(ended);
            })
            .map_err(EndpointError::Thread)?;
        let http = tokio::spawn(http::serve(listener, vault, fleet, stop_seen));
        tracing::info!(%address, "HTTP up");
        Ok(Self { address, stop, engine_ended: Some(engine_ended), http, ledger })
    }

    /// Address of the HTTP server.
    pub fn http_address(&self) -> SocketAddr {
        self.address
    }

    /// The ledger, for backups and limits while it is in use.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
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
        if tokio::time::timeout(HTTP_STOP_WAIT, &mut self.http).await.is_err() {
            self.http.abort();
        }
        let ledger = self.ledger;
        // The last handle joins the writer thread: not on a thread that serves others.
        drop(tokio::task::spawn_blocking(move || drop(ledger)).await);
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

fn pipe_config(config: &EndpointConfig) -> PipeConfig {
    let mut pipe = PipeConfig::new(&config.broker.host, config.broker.port, &config.client_id);
    pipe.keep_alive_s = config.keep_alive_s;
    pipe.backoff = config.backoff;
    pipe.inflight = 64;
    pipe.packet_bytes_max = PACKET_BYTES_MAX;
    pipe.subscriptions = topic::hq_filters();
    pipe.tls = config.identity.as_deref().map(tls_files);
    pipe
}
