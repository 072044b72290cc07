//! `sync-verify`: checks a ledger file, a captured stream or a settlement statement, offline, against public keys.
//!
//! Exit codes: 0 everything checked holds, 1 something does not hold (each finding is named), 2 usage, 3 a file cannot be
//! read. With `--json` one line of `steelyard.verify/1` on standard output, whatever the outcome but usage.
#![allow(clippy::print_stdout, reason = "a program whose output is its report")]

mod args;
mod capture;
mod certificate;
mod keys;
mod ledger;
mod report;
mod statement;
mod stream;

use args::{Arguments, Command};
use clap::Parser;
use keys::Keys;
use report::{Report, Unreadable};
use std::process::ExitCode;

fn check(command: &Command) -> Result<Report, Unreadable> {
    let keys = match command {
        Command::Ledger { keys, .. } | Command::Capture { keys, .. } | Command::Statement { keys, .. } => {
            Keys::open(keys)?
        }
        Command::Compare { .. } => Keys::default(),
    };
    let mut report = match command {
        Command::Ledger { file, sealed, seals, .. } => ledger::check(file, *sealed, seals.as_deref(), &keys),
        Command::Capture { file, sealed, .. } => capture::check(file, *sealed, &keys),
        Command::Statement { file, root, proof, ledger, .. } => {
            statement::check(file, root.as_deref(), proof.as_deref(), ledger.as_deref(), &keys)
        }
        Command::Compare { left, right } => statement::compare(left, right),
    }?;
    keys.note(&mut report);
    Ok(report)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (text, code) = match check(&arguments.command) {
        Ok(report) => {
            let code = if report.holds() { 0 } else { 1 };
            (if arguments.json { report.json() } else { report.text() }, code)
        }
        Err(unreadable) => (if arguments.json { unreadable.json() } else { format!("{unreadable}\n") }, 3),
    };
    print!("{text}");
    ExitCode::from(code)
}
