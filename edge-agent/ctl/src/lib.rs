//! `edgectl`: what a technician asks a store, over the daemon's Unix socket.
//!
//! Contract
//! * Answers go to standard output, reasons to standard error. With `--json` both are the daemon's own JSON objects on
//!   standard output, one per line, each with its `schema`.
//! * Exit codes, see [`exit::Exit`]: 0 ok, 1 error, 2 usage, 3 timeout, 4 device action failed, 5 degraded, 6 conflict,
//!   7 permission, 8 daemon not running, 10 not found.
//! * The same code is a program of its own for development and `edge-agent ctl` on a gateway, where `edgectl` is a link to
//!   the one binary.
//! * A closed pipe (`edgectl event tail | head`) ends it quietly with 0.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks on its standard streams"
)]

mod args;
mod ask;
mod exit;
mod schema;
mod screen;
mod show;
mod table;
mod text;
mod update;

use clap::{CommandFactory, Parser};
use exit::Exit;
use std::process::ExitCode;

pub use args::Arguments;

/// The command line as a definition: for man pages and completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the arguments of this process and runs them to the exit code; the first one is the program's name.
pub fn main() -> ExitCode {
    run(&Arguments::parse())
}

/// Runs a parsed command to its exit code.
pub fn run(arguments: &Arguments) -> ExitCode {
    if let args::Command::Update(update) = &arguments.command {
        return ExitCode::from(update::run(arguments.socket(), update).code());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(ask::run(arguments)),
        Err(error) => {
            eprintln!("edgectl: no event loop: {error}");
            Exit::Error
        }
    };
    ExitCode::from(exit.code())
}
