//! `storesim`: campaigns of simulated stores, planted bugs, and replays of failing runs.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks on its standard streams"
)]

use anyhow::Result;
use clap::Parser;
use hil_storesim::cli::{Command, main as storesim};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done: Result<bool> = storesim(&Command::parse());
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
