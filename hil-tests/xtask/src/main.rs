//! The command line of `cargo xtask`: parses and dispatches, nothing else.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks on its standard streams"
)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use hil_xtask::{suite, tidy, workspace_root};
use std::process::ExitCode;

/// What a developer and CI run.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set-up, formatting, lints, licenses, every test, a store day, a short crash campaign.
    Test,
    /// Architecture and house rules.
    Tidy,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `Ok(false)`: the task ran, and what it checks does not hold.
fn run(task: Task) -> Result<bool> {
    let root = workspace_root();
    match task {
        Task::Test => suite::run(&root),
        Task::Tidy => {
            let found = tidy::check(&root)?;
            for finding in &found {
                println!("{finding}");
            }
            println!("{} findings", found.len());
            Ok(found.is_empty())
        }
    }
}
