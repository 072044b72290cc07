//! `edgectl`: what a technician asks a store, over the daemon's Unix socket.
//!
//! Contract
//! * Answers go to standard output, reasons to standard error. With `--json` both are the daemon's own JSON objects on
//!   standard output, one per line, each with its `schema`.
//! * Exit codes, see [`exit::Exit`]: 0 ok, 1 error, 2 usage, 3 timeout, 4 device action failed, 5 degraded, 6 conflict,
//!   7 permission, 8 daemon not running, 10 not found.
//! * A closed pipe (`edgectl event tail | head`) ends it quietly with 0.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line speaks on its standard streams"
)]

mod args;
mod ask;
mod exit;
mod screen;
mod show;
mod table;
mod text;

use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = args::Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(ask::run(&arguments)),
        Err(error) => {
            eprintln!("edgectl: no event loop: {error}");
            Exit::Error
        }
    };
    ExitCode::from(exit.code())
}
