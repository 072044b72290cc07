//! `cargo xtask soak fuzz`: every target for its share of the time, guided by coverage where the toolchain can.
//!
//! Contract
//! * Guided: libFuzzer in a nested workspace (`guided/`), built by the stable compiler with `-Cpasses=sancov-module`. A target
//!   that it does not have, or a build that fails, is run by the plain mutator; the reason is printed.
//! * Findings become files in `cases/<target>/`, which the tests try from then on. Corpora lie beside the build output and
//!   are used again by the next run.
//! * An input that takes longer than [`SLOW`], or more than 1 GiB of memory (guided), is a finding, too.

use crate::mutate::Mutator;
use crate::slice::{Finding, attempt};
use crate::{TARGETS, Target, cases, find, read_cases};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that one input may take.
pub const SLOW: Duration = Duration::from_secs(10);
/// Most findings kept of one target in a plain run.
const FINDINGS_MAX: usize = 10;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Checkout.
    pub root: PathBuf,
    /// Time of all targets together.
    pub time: Duration,
    /// Only this one.
    pub target: Option<String>,
    /// Seed of the plain mutator.
    pub seed: u64,
    /// Builds the guided fuzzer with the targets that need files, too.
    pub files: bool,
    /// Prints one JSON line instead of text.
    pub json: bool,
}

/// What came out of one target.
#[derive(Clone, Debug)]
struct Outcome {
    target: &'static str,
    guided: bool,
    tried: u64,
    time: Duration,
    findings: Vec<PathBuf>,
}

impl Outcome {
    fn per_second(&self) -> u64 {
        let millis = u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX).max(1);
        self.tried.saturating_mul(1_000) / millis
    }

    fn to_json(&self) -> Value {
        json!({"target": self.target, "guided": self.guided, "inputs": self.tried, "per_second": self.per_second(),
            "findings": self.findings})
    }
}

/// Runs targets; `false` when something was found.
///
/// # Errors
/// No such target; files that cannot be written.
#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task speaks to whoever runs it on the command line"
)]
pub fn run(options: &Options) -> Result<bool> {
    let targets: Vec<&'static Target> = match &options.target {
        Some(name) => {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            vec![find(name).with_context(|| format!("no target '{name}', there are {}", names.join(", ")))?]
        }
        None => TARGETS.iter().collect(),
    };
    let share = options.time / u32::try_from(targets.len()).unwrap_or(u32::MAX).max(1);
    let guided = Guided::build(options);
    let reason = guided.as_ref().err().map(|error| format!("{error:#}"));
    if let Some(reason) = &reason {
        eprintln!("not guided by coverage: {reason}");
    }
    let mut outcomes = Vec::new();
    for target in targets {
        let outcome = match &guided {
            Ok(guided) => guided.run(target, share)?,
            Err(_) => None,
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => plain(target, options.seed, share)?,
        };
        if !options.json {
            let how = if outcome.guided { "guided" } else { "plain" };
            let (name, tried, rate) = (outcome.target, outcome.tried, outcome.per_second());
            println!(
                "{name:<22} {how:<7} {tried:>12} inputs {rate:>9}/s  {} findings",
                outcome.findings.len()
            );
            outcome.findings.iter().for_each(|file| println!("  {}", file.display()));
        }
        outcomes.push(outcome);
    }
    let tried: u64 = outcomes.iter().map(|outcome| outcome.tried).sum();
    let found: usize = outcomes.iter().map(|outcome| outcome.findings.len()).sum();
    let rows: Vec<Value> = outcomes.iter().map(Outcome::to_json).collect();
    match options.json {
        true => {
            println!("{}", json!({"inputs": tried, "findings": found, "not_guided": reason, "targets": rows}))
        }
        false => println!("{tried} inputs, {found} findings"),
    }
    Ok(found == 0)
}

/// The plain mutator for a time.
fn plain(target: &'static Target, seed: u64, time: Duration) -> Result<Outcome> {
    let begin = Instant::now();
    let mut seeds = (target.seeds)();
    seeds.extend(read_cases(target.name).context("read the known cases")?);
    let mut mutator = Mutator::new(seed, seeds, target.words);
    let (mut tried, mut findings) = (0, BTreeSet::new());
    // Panics are told by the finding.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    while begin.elapsed() < time && findings.len() < FINDINGS_MAX {
        let input = mutator.next_input();
        let started = Instant::now();
        let attempt = attempt(target, &input);
        tried += 1;
        let slow = || Finding { target: target.name, input: input.clone(), what: "slow".into() };
        let finding = attempt.err().or_else(|| (started.elapsed() > SLOW).then(slow));
        if let Some(finding) = finding {
            findings.insert(keep(&finding)?);
        }
    }
    std::panic::set_hook(hook);
    let findings = findings.into_iter().collect();
    Ok(Outcome { target: target.name, guided: false, tried, time: begin.elapsed(), findings })
}

/// Writes a finding as a case.
fn keep(finding: &Finding) -> Result<PathBuf> {
    let folder = cases(finding.target);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // FNV-1a: the same input has the same name.
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    let name = finding.input.iter().fold(0xCBF2_9CE4_8422_2325, step);
    let file = folder.join(format!("plain-{name:016x}"));
    std::fs::write(&file, &finding.input).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// The program built with libFuzzer.
struct Guided {
    program: PathBuf,
    /// Where corpora lie.
    folder: PathBuf,
}

impl Guided {
    fn build(options: &Options) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = std::env::var_os("CARGO_TARGET_DIR");
        let folder = target.map_or_else(|| options.root.join("target"), PathBuf::from).join("guided");
        let host = host()?;
        let mut flags = vec!["-Cpasses=sancov-module".to_owned(), "--cfg=fuzzing".to_owned()];
        let coverage = ["level=4", "inline-8bit-counters", "pc-table", "trace-compares"]
            .map(|what| format!("-sanitizer-coverage-{what}"));
        flags.extend(coverage.iter().map(|flag| format!("-Cllvm-args={flag}")));
        let mut build = Command::new(cargo);
        build
            .current_dir(options.root.join("hil-tests/fuzz/guided"))
            // With a target named, build scripts and macros are built without counters.
            .args(["build", "--quiet", "--release", "--locked", "--target", &host])
            .env("CARGO_TARGET_DIR", &folder)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env_remove("RUSTFLAGS")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        if options.files {
            build.args(["--features", "files"]);
        }
        if !build.status().context("cargo does not start")?.success() {
            bail!("the guided fuzzer does not build (it needs a C++ compiler and libfuzzer-sys)");
        }
        Ok(Self { program: folder.join(host).join("release/hil-fuzz-guided"), folder: folder.join("corpus") })
    }

    /// `None` when this build does not have the target.
    fn run(&self, target: &'static Target, time: Duration) -> Result<Option<Outcome>> {
        let (corpus, found) = (self.folder.join(target.name), cases(target.name));
        for folder in [&corpus, &found] {
            std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        for (number, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(corpus.join(format!("seed-{number}")), seed).context("write a seed")?;
        }
        let before = names(&found)?;
        let words = self.folder.join(format!("{}.dict", target.name));
        std::fs::write(&words, dictionary(target.words)).context("write the words")?;
        let begin = Instant::now();
        let out = Command::new(&self.program)
            .env("STEELYARD_FUZZ_TARGET", target.name)
            .arg(&corpus)
            .arg(&found)
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(format!("-dict={}", words.display()))
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .arg(format!("-timeout={}", SLOW.as_secs()))
            .args(["-max_len=4096", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0"])
            .stdin(Stdio::null())
            .output()
            .context("the guided fuzzer does not start")?;
        let findings: Vec<PathBuf> = names(&found)?.difference(&before).cloned().collect();
        if findings.is_empty() {
            // An empty folder of cases says nothing; one with cases stays.
            if before.is_empty() {
                std::fs::remove_dir(&found).context("remove an empty folder")?;
            }
            if out.status.code() == Some(3) {
                return Ok(None);
            }
        }
        let said = String::from_utf8_lossy(&out.stderr);
        let tried = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let tried = tried.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
        if findings.is_empty() && !out.status.success() {
            let last: Vec<&str> = said.lines().rev().take(8).collect();
            bail!("{}: the guided fuzzer ended with {}: {}", target.name, out.status, last.join(" | "));
        }
        Ok(Some(Outcome { target: target.name, guided: true, tried, time: begin.elapsed(), findings }))
    }
}

/// Words in libFuzzer's form: one quoted line each.
fn dictionary(words: &[&[u8]]) -> String {
    let byte = |byte: &u8| format!("\\x{byte:02X}");
    words.iter().map(|word| format!("\"{}\"\n", word.iter().map(byte).collect::<String>())).collect()
}

fn names(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries.map(|entry| Ok(entry.context("list a folder")?.path())).collect()
}

/// The machine's own target.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let out = Command::new(rustc).arg("-vV").output().context("rustc does not start")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_libfuzzer() {
        assert_eq!(dictionary(&[b"a\"", b"\n"]), "\"\\x61\\x22\"\n\"\\x0A\"\n");
    }

    #[test]
    fn the_plain_run_counts_what_it_tries() {
        let target = find("seal").unwrap();
        let outcome = plain(target, 1, Duration::from_millis(50)).unwrap();
        assert!(outcome.tried > 0 && outcome.findings.is_empty());
        assert_eq!(outcome.to_json()["guided"], false);
    }
}
