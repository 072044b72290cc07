//! The program: `run` serves the store, `check` reads the configuration and says what is wrong with it, `bootstrap` and
//! `import` make a replacement gateway, `ctl` is `edgectl`.
//!
//! One binary: called by the name `edgectl` (a link on a gateway) it is the technician's command line, which would
//! otherwise bring the same runtime and client a second time.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks to its terminal"
)]

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
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
    /// Ask the running daemon; the same as `edgectl`.
    Ctl(Box<edge_ctl::Arguments>),
}

/// The command line as a definition: for man pages and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// The whole program, by the name it was called and its arguments.
pub fn main() -> ExitCode {
    if called("edgectl", std::env::args_os().next().as_deref()) {
        return edge_ctl::main();
    }
    match Cli::parse().command {
        Command::Check { config } => check(&config),
        Command::Run { config } => run(&config),
        Command::Bootstrap { config, snapshot } => bootstrap(&config, &snapshot),
        Command::Import { config, old } => import(&config, &old),
        Command::Ctl(arguments) => edge_ctl::run(&arguments),
    }
}

/// Whether the first argument names the program `name`, in whatever folder.
fn called(name: &str, first: Option<&OsStr>) -> bool {
    first.is_some_and(|first| Path::new(first).file_name() == Some(OsStr::new(name)))
}

fn loaded(path: &Path) -> Option<crate::config::Config> {
    crate::logging::start();
    crate::config::load(path).map_err(|errors| eprintln!("{errors}")).ok()
}

fn bootstrap(path: &Path, snapshot: &Path) -> ExitCode {
    let Some(config) = loaded(path) else { return ExitCode::FAILURE };
    match crate::takeover::bootstrap(&config, snapshot) {
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

fn import(path: &Path, old: &Path) -> ExitCode {
    let Some(config) = loaded(path) else { return ExitCode::FAILURE };
    match crate::takeover::import(&config, old) {
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

fn check(path: &Path) -> ExitCode {
    match crate::config::load(path) {
        Ok(config) if !config.identity.is_empty() => {
            eprintln!("{}", crate::config::ConfigErrors(config.identity));
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

fn run(path: &Path) -> ExitCode {
    crate::logging::start();
    let config = match crate::config::load(path) {
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
    let result = runtime.block_on(crate::daemon::run(config));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_which_program_it_is() {
        let by = |first: &str| called("edgectl", Some(OsStr::new(first)));
        assert!(by("edgectl") && by("/usr/bin/edgectl"));
        assert!(!by("edge-agent") && !by("/opt/edgectl/edge-agent") && !by("") && !called("edgectl", None));
    }

    #[test]
    fn the_definitions_hold_together() {
        command().debug_assert();
        edge_ctl::command().debug_assert();
    }
}
