//! `sync-hq`: the HQ endpoint as a program, and the certificates of its stores. Exit codes: 0 done, 1 fault, 2 usage.

use crate::{BrokerAddress, BrokerTarget, Endpoint, EndpointConfig, StoreTarget, TargetError, ca, loopback};
use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand};
use sd_notify::NotifyState;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use sync_core::SenderConfig;
use sync_mqtt::Backoff;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// HQ endpoint of Steelyard: settles stores over MQTT into one ledger.
#[derive(Parser)]
#[command(name = "sync-hq", version)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run until SIGTERM or SIGINT.
    Run(RunArgs),
    /// The certificates of broker, HQ and stores.
    #[command(subcommand)]
    Ca(ca::CaVerb),
    /// Write mosquitto's configuration and access list.
    BrokerConfig(ca::BrokerArgs),
    /// Write a snapshot of one store for a replacement gateway. With PostgreSQL: GET /v1/stores/{id}/snapshot of a worker.
    Snapshot(SnapshotArgs),
}

#[derive(Args)]
struct SnapshotArgs {
    /// The ledger: sqlite:PATH. It may be in use.
    #[arg(long)]
    store: StoreTarget,
    /// The store's number.
    #[arg(long, value_name = "STORE", value_parser = clap::value_parser!(u32).range(1..))]
    of: u32,
    /// Days of records that go along; the rest is balances.
    #[arg(long, default_value_t = crate::SNAPSHOT_DAYS)]
    days: u32,
    /// The new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn snapshot(args: &SnapshotArgs) -> anyhow::Result<()> {
    let StoreTarget::Sqlite(ledger) = &args.store else {
        anyhow::bail!("snapshots of a PostgreSQL ledger: GET /v1/stores/{}/snapshot of a worker", args.of);
    };
    anyhow::ensure!(ledger.is_file(), "{}: no such ledger", ledger.display());
    anyhow::ensure!(!args.out.exists(), "{} exists: it is not overwritten", args.out.display());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = sync_model::UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
    let note = crate::write_snapshot(ledger, sync_model::StoreId(args.of), args.days, now, &args.out)?;
    tracing::info!(
        store = args.of,
        name = note.name,
        rows = note.rows,
        records = note.records,
        bytes = note.bytes,
        "snapshot written"
    );
    Ok(())
}

#[derive(Args)]
struct RunArgs {
    /// The ledger: sqlite:PATH, or postgres://USER[:PASSWORD]@HOST:PORT/DATABASE.
    #[arg(long)]
    store: StoreTarget,
    /// The MQTT broker: HOST:PORT; `embedded` or `embedded:PORT` runs mosquitto as a child, on loopback only, or with
    /// --identity on every address with mutual TLS.
    #[arg(long)]
    broker: BrokerTarget,
    /// Folder for the embedded broker's files.
    #[arg(long, default_value = "sync-hq-broker")]
    broker_dir: PathBuf,
    /// Loopback address of the HTTP server; port 0 lets the system choose.
    #[arg(long, value_parser = loopback, default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// PostgreSQL: buckets of this worker's own, for example 0-31; those of a dead worker are taken over. Default: all.
    #[arg(long, value_parser = bucket_list)]
    buckets: Option<Buckets>,
    /// PostgreSQL: silence after which other workers take this one's buckets, in milliseconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(500..=600_000))]
    lease_ms: u64,
    /// MQTT client id, and the worker's name in PostgreSQL's leases; two endpoints on one broker need two.
    #[arg(long, default_value = "sync-hq")]
    client_id: String,
    /// MQTT keep-alive in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(5..=600))]
    keep_alive_s: u16,
    /// Longest wait between connection attempts, in milliseconds.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(200..=600_000))]
    reconnect_max_ms: u64,
    /// Size limit of the ledger file in bytes.
    #[arg(long)]
    max_bytes: Option<u64>,
    /// Folder made by `sync-hq ca init`: speak mutual TLS, hear enrolled stores only. Without it: plain MQTT, every store.
    #[arg(long)]
    identity: Option<PathBuf>,
}

/// Buckets of a command line. A type of its own, because clap takes a collection for a repeated argument.
#[derive(Clone, Debug)]
struct Buckets(BTreeSet<i16>);

fn bucket_list(text: &str) -> Result<Buckets, TargetError> {
    crate::buckets(text).map(Buckets)
}

/// The command line as a definition: for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The whole program.
#[tokio::main]
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let usual = || Targets::new().with_default(LevelFilter::INFO).with_target("rumqttc", LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(asked.unwrap_or_else(usual)).init();
    let done = match cli.command {
        Verb::Run(args) => run(args).await,
        Verb::Ca(verb) => ca::run(verb),
        Verb::BrokerConfig(args) => ca::write_broker_config(&args),
        Verb::Snapshot(args) => snapshot(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (broker, embedded) = match args.broker {
        BrokerTarget::At(address) => (address, None),
        BrokerTarget::Embedded(port) => {
            let usual = if args.identity.is_some() { 8_883 } else { 1_883 };
            let host = if args.identity.is_some() { "localhost" } else { "127.0.0.1" };
            (BrokerAddress { host: host.to_owned(), port: port.unwrap_or(usual) }, Some(args.broker_dir))
        }
    };
    let mut endpoint = Endpoint::start(EndpointConfig {
        store: args.store,
        max_bytes: args.max_bytes,
        broker,
        embedded,
        client_id: args.client_id,
        buckets: args.buckets.map(|buckets| buckets.0),
        lease: Duration::from_millis(args.lease_ms),
        keep_alive_s: args.keep_alive_s,
        backoff: Backoff { max_ms: args.reconnect_max_ms, ..Backoff::default() },
        listen: args.listen,
        sender: SenderConfig::default(),
        identity: args.identity,
    })
    .await?;
    tell(&[NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        () = endpoint.failed() => anyhow::bail!("the engine ended by a fault"),
    }
    tell(&[NotifyState::Stopping]);
    endpoint.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Tells systemd; without it this does nothing.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
