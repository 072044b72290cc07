//! `edge-agent`: the store daemon. `run` serves the store, `check` reads the configuration and says what is wrong with it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks to its terminal"
)]

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The store daemon of Steelyard.
#[derive(Parser)]
#[command(name = "edge-agent", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the store until SIGTERM; SIGHUP reloads the configuration.
    Run {
        /// Configuration file; FILE.d/*.toml is merged on top.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read and check the configuration, then end: 0 fine, 1 with complaints.
    Check {
        /// Configuration file; FILE.d/*.toml is merged on top.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make the ledger of a replacement gateway from HQ's snapshot (`sync-hq snapshot`). The daemon must not run.
    Bootstrap {
        /// Configuration file; FILE.d/*.toml is merged on top.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The snapshot.
        #[arg(long, value_name = "FILE")]
        snapshot: PathBuf,
    },
    /// Import what an old disk's ledger has and HQ never got. The daemon must not run. Exit code 1 when something was left.
    Import {
        /// Configuration file; FILE.d/*.toml is merged on top.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The old ledger file; it is only read.
        old: PathBuf,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { config } => check(&config),
        Command::Run { config } => run(&config),
        Command::Bootstrap { config, snapshot } => bootstrap(&config, &snapshot),
        Command::Import { config, old } => import(&config, &old),
    }
}

fn loaded(path: &std::path::Path) -> Option<edge_agent::config::Config> {
    edge_agent::logging::start();
    edge_agent::config::load(path).map_err(|errors| eprintln!("{errors}")).ok()
}

fn bootstrap(path: &std::path::Path, snapshot: &std::path::Path) -> ExitCode {
    let Some(config) = loaded(path) else { return ExitCode::FAILURE };
    match edge_agent::takeover::bootstrap(&config, snapshot) {
        Ok(done) => {
            println!("ok: snapshot {}, {} rows, {} records", done.name, done.rows, done.records);
            for (log, head) in &done.ends {
                println!("log {log} up to {head}");
            }
            println!("new log {}; start the daemon, then import the old disk if it can be read", done.log);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("edge-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn import(path: &std::path::Path, old: &std::path::Path) -> ExitCode {
    let Some(config) = loaded(path) else { return ExitCode::FAILURE };
    match edge_agent::takeover::import(&config, old) {
        Ok(done) => {
            for log in &done.logs {
                println!("log {} up to {}: {} new", log.log, log.head, log.taken);
                if let Some(left) = &log.left {
                    println!("  left: {left}");
                }
            }
            println!(
                "{}: {} records, {} keys",
                if done.complete() { "ok" } else { "part" },
                done.taken(),
                done.keys
            );
            if done.complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("edge-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(path: &std::path::Path) -> ExitCode {
    match edge_agent::config::load(path) {
        Ok(config) if !config.identity.is_empty() => {
            eprintln!("{}", edge_agent::config::ConfigErrors(config.identity));
            ExitCode::FAILURE
        }
        Ok(config) => {
            let host = &config.host;
            println!(
                "ok: store {}, {} scales, {} cabinets, {} steamers, {} tags, {} profiles, {} files",
                config.store.id,
                host.scale.len(),
                host.cabinet.len(),
                host.steamer.len(),
                host.tag.len(),
                config.profiles.len(),
                config.files.len()
            );
            ExitCode::SUCCESS
        }
        Err(errors) => {
            eprintln!("{errors}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &std::path::Path) -> ExitCode {
    edge_agent::logging::start();
    let config = match edge_agent::config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    for complaint in &config.identity {
        eprintln!("{complaint}; the store trades on without headquarters");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("the async runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(edge_agent::daemon::run(config));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
