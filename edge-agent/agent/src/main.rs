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
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { config } => check(&config),
        Command::Run { config } => run(&config),
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
