//! `cargo xtask test`: set-up, then every check there is, then one table.
//!
//! Contract: every step runs even when an earlier one failed (except that nothing runs without the set-up), the table at
//! the end names each step's outcome, and the result is `Ok(true)` only when every step held.

use crate::setup;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Crates that build without an operating system.
const PURE: [&str; 6] =
    ["sync-model", "sync-core", "edge-core", "drv-protocol", "drv-render", "fw-node-core"];

/// One line of the closing table.
struct Outcome {
    name: &'static str,
    held: bool,
    took: Duration,
    note: String,
}

/// Runs everything. `Ok(false)` when a step failed.
pub fn run(root: &Path) -> Result<bool> {
    let started = Instant::now();
    // Asked before anything is built: a build may replace this program's file, and the path of a replaced one leads nowhere.
    let myself = std::env::current_exe().context("the path of this program")?;
    let tools = setup::prepare()?;
    let mut table =
        vec![Outcome { name: "set-up", held: true, took: started.elapsed(), note: String::new() }];

    table.push(step("format", cargo(root, &["fmt", "--all", "--check"])));
    table.push(step(
        "lints",
        cargo(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ));
    let mut deny = Command::new(&tools.cargo_deny);
    deny.current_dir(root).args(["check", "bans", "licenses", "sources"]);
    let mut licenses = step("licenses", deny);
    licenses.note = "advisories need a network database and are not part of the suite".into();
    table.push(licenses);
    table.push(bare_metal(root));
    // The process tests start these programs from the target folder.
    table.push(step("build", cargo(root, &["build", "--workspace"])));
    let mut tally = Tally::default();
    table.push(tests(cargo(root, &["test", "--workspace", "--no-fail-fast"]), &mut tally));
    let mut hil = Command::new(&myself);
    hil.current_dir(root).arg("hil");
    table.push(step("rigs", hil));

    let held = table.iter().all(|outcome| outcome.held);
    report(&table, held, started.elapsed());
    // The plain closing line that every reader of test logs knows.
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.ignored);
    Ok(held)
}

/// The pure crates built for a target without an operating system: the proof that they know no clock, file or thread.
///
/// The target's core library comes from rustup. Where that is not to be had the step is skipped with its reason: the same
/// crates are `#![no_std]`, which the other steps compile.
fn bare_metal(root: &Path) -> Outcome {
    const TARGET: &str = "thumbv7m-none-eabi";
    let added = Command::new("rustup").current_dir(root).args(["target", "add", TARGET]).output();
    let reason = match added {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("").to_owned()),
        Err(error) => Some(format!("rustup does not start: {error}")),
    };
    if let Some(reason) = reason {
        let note = format!("skipped, no {TARGET} core library: {reason}");
        return Outcome { name: "bare metal", held: true, took: Duration::ZERO, note };
    }
    let mut args = vec!["build", "--target", TARGET];
    for package in PURE {
        args.extend(["--package", package]);
    }
    step("bare metal", cargo(root, &args))
}

fn cargo(root: &Path, args: &[&str]) -> Command {
    let mut command = hil_rig::run::cargo();
    command.current_dir(root).args(args);
    command
}

/// Runs one step with its output passed through.
fn step(name: &'static str, mut command: Command) -> Outcome {
    announce(name, &command);
    let started = Instant::now();
    let (held, note) = match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => (true, String::new()),
        Ok(status) => (false, status.to_string()),
        Err(error) => (false, format!("does not start: {error}")),
    };
    Outcome { name, held, took: started.elapsed(), note }
}

fn announce(name: &str, command: &Command) {
    let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    println!("\n=== {name}: {} {}", command.get_program().to_string_lossy(), args.join(" "));
}

/// What the test runner's closing lines add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    binaries: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
    failures: Vec<String>,
}

impl Tally {
    /// Takes one line of the test runner's output.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.binaries += 1;
            for part in counts.split([';', '.']).map(str::trim) {
                let Some((number, what)) = part.split_once(' ') else { continue };
                let Ok(number) = number.parse::<u32>() else { continue };
                match what {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" => self.ignored += number,
                    _ => {}
                }
            }
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }
}

/// Runs the tests, passes their output through and adds up the closing lines.
fn tests(mut command: Command, tally: &mut Tally) -> Outcome {
    announce("tests", &command);
    let started = Instant::now();
    let result = (|| -> Result<bool> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output pipe")?);
        for line in lines.split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            writeln!(std::io::stdout(), "{line}")?;
            tally.read(&line);
        }
        Ok(child.wait()?.success())
    })();
    let counts = format!(
        "{} passed, {} failed, {} ignored in {} test binaries",
        tally.passed, tally.failed, tally.ignored, tally.binaries
    );
    let (held, note) = match result {
        Ok(held) if tally.failures.is_empty() => (held, counts),
        Ok(_) => (false, format!("{counts}: {}", tally.failures.join(", "))),
        Err(error) => (false, format!("{counts}; {error:#}")),
    };
    Outcome { name: "tests", held, took: started.elapsed(), note }
}

fn report(table: &[Outcome], held: bool, took: Duration) {
    println!("\n{:<12} {:<7} {:>7}  note", "step", "result", "seconds");
    for outcome in table {
        let result = if outcome.held { "ok" } else { "FAILED" };
        println!("{:<12} {result:<7} {:>7}  {}", outcome.name, outcome.took.as_secs(), outcome.note);
    }
    let verdict = if held { "ok" } else { "FAILED" };
    println!("{:<12} {verdict:<7} {:>7}", "all", took.as_secs());
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn closing_lines_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 40 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            tally.read(line);
        }
        let expected =
            Tally { binaries: 2, passed: 42, failed: 1, ignored: 2, failures: vec!["a::c".to_owned()] };
        assert_eq!(tally, expected);
    }
}
