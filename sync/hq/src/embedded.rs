//! `--broker embedded`: a broker for those who have none, so that HQ is one command.
//!
//! It is Debian's mosquitto, run as a child: with private configuration, without a memory of its own (correctness needs
//! none), started again when it ends, ended with HQ. A broker linked into HQ (`rumqttd`) would bring an HTTP server, a second
//! TLS stack and its own runtime into the process that must not fail, to save one package.
//!
//! Without an identity it listens on loopback only and asks nobody for a name; with one it listens everywhere, with mutual TLS
//! and the access list of [`crate::identity`].

use crate::identity::{BrokerListener, acl_text, broker_text};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Shortest and longest wait before it is started again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A broker that ran for so long was healthy: the waits begin anew.
const PROOF: Duration = Duration::from_secs(60);
/// Where Debian keeps it, besides the search path.
const ELSEWHERE: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// What a child's configuration says besides. It stays the user that HQ is: one that changes its user loses the order to die
/// with its parent, and could not read HQ's keys.
const CHILD_LINES: &str = "user root\nlog_type error\nlog_type warning\n";

/// Why there is no embedded broker.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Not installed.
    #[error("--broker embedded runs mosquitto, which is not installed (Debian package mosquitto)")]
    Missing,
    /// Its files cannot be written.
    #[error("cannot write the broker's configuration in {folder}")]
    Files {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not start.
    #[error("mosquitto does not start")]
    Start(#[source] std::io::Error),
}

/// A program of the search path.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(ELSEWHERE.map(PathBuf::from));
    places.map(|place| place.join(name)).find(|program| program.is_file())
}

/// Without an identity: this machine only.
fn plain_text(port: u16) -> String {
    format!(
        "# Steelyard: embedded broker, this machine only.\nlistener {port} {}\nallow_anonymous true\n\
         max_packet_size 262144\nmax_queued_messages 1000\nmax_keepalive 1200\npersistence false\n",
        Ipv4Addr::LOCALHOST
    )
}

/// Writes configuration and access list; answers the configuration's path.
fn write_files(folder: &Path, port: u16, identity: Option<&Path>) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let (config, acl) = (folder.join("mosquitto.conf"), folder.join("steelyard.acl"));
    let text = match identity {
        Some(identity) => {
            std::fs::write(&acl, acl_text())?;
            let tls = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            let listener = BrokerListener { tls, persistence: None };
            broker_text(&listener, &std::path::absolute(identity)?, &acl)
        }
        None => plain_text(port),
    };
    std::fs::write(&config, text + CHILD_LINES)?;
    Ok(config)
}

/// A running broker.
#[derive(Debug)]
pub(crate) struct Embedded {
    task: JoinHandle<()>,
}

impl Embedded {
    /// Writes its files into `folder` and starts it; it ends when `stop` says so.
    pub(crate) fn start(
        folder: &Path,
        port: u16,
        identity: Option<&Path>,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, EmbeddedError> {
        let program = find("mosquitto").ok_or(EmbeddedError::Missing)?;
        let config = write_files(folder, port, identity)
            .map_err(|source| EmbeddedError::Files { folder: folder.to_owned(), source })?;
        let first = spawn(&program, &config).map_err(EmbeddedError::Start)?;
        tracing::info!(port, program = %program.display(), config = %config.display(), "embedded broker started");
        let task = tokio::spawn(keep(program, config, first, stop));
        Ok(Self { task })
    }

    /// Waits until it has ended; after its `stop`.
    pub(crate) async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the broker's keeper ended by a fault");
        }
    }
}

fn spawn(program: &Path, config: &Path) -> std::io::Result<Child> {
    // With HQ killed the broker must not stay behind and hold the port.
    let mut command = match find("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.arg("-c").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn()
}

async fn keep(program: PathBuf, config: PathBuf, first: Child, mut stop: watch::Receiver<bool>) {
    let mut running = Some(first);
    let mut wait = RETRY.0;
    loop {
        if let Some(mut child) = running.take() {
            let begun = tokio::time::Instant::now();
            let ended = tokio::select! {
                ended = child.wait() => Some(ended),
                () = told(&mut stop) => None,
            };
            let Some(ended) = ended else {
                if let Err(error) = child.kill().await {
                    tracing::warn!(%error, "the embedded broker was not ended");
                }
                return;
            };
            tracing::error!(status = ?ended.ok(), "the embedded broker ended: starting it again");
            if begun.elapsed() > PROOF {
                wait = RETRY.0;
            }
        }
        tokio::select! {
            () = told(&mut stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(RETRY.1);
        match spawn(&program, &config) {
            Ok(child) => running = Some(child),
            Err(error) => tracing::error!(%error, "the embedded broker does not start"),
        }
    }
}

/// Waits for the order to stop, or for the one who would give it to be gone.
async fn told(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}
