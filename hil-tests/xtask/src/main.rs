//! The command line of `cargo xtask`: parses and dispatches, nothing else.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks on its standard streams"
)]

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use hil_bench::{codec, ledger, poll, sync, tags, telemetry};
use hil_demo::{Options, Size, StoreOptions, crash};
use hil_fuzz::soak;
use hil_storesim::cli::{self, Sim};
use hil_xtask::{hil, setup, suite, tidy, workspace_root};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

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
    /// The store: broker, HQ, agent and every far end; until Ctrl-C, or one scripted day.
    Demo {
        /// Pulls cables at random; with `--once` each of them once, and checks what the store says.
        #[arg(long)]
        chaos: bool,
        /// With `--chaos --once`: so many cables.
        #[arg(long, default_value_t = 10)]
        pulls: usize,
        /// Runs one scripted day of about two minutes and checks it.
        #[arg(long)]
        once: bool,
        /// Prints only the closing JSON line on standard output.
        #[arg(long)]
        json: bool,
        /// The day to run.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Folder with `edge-agent` and `sync-hq`; without it they are built first.
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// A whole store of a given size on this machine: what it reads, what it costs, what it loses.
    Store {
        /// Which store.
        #[arg(long, value_parser = ["small", "hyper"], default_value = "small")]
        size: String,
        /// How long; without it until Ctrl-C.
        #[arg(long)]
        seconds: Option<u64>,
        /// Tags in the air; default by size.
        #[arg(long)]
        live_tags: Option<u16>,
        /// Tags in the configuration; default by size.
        #[arg(long)]
        tags: Option<u16>,
        /// Everything random.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The table goes to standard error, only the closing JSON line to standard output.
        #[arg(long)]
        json: bool,
        /// Folder with `edge-agent` and `sync-hq`; without it they are built first.
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// SIGKILL of the agent at random instants under till load.
    Crash {
        /// How often the agent is killed.
        #[arg(long, default_value_t = 200)]
        rounds: u32,
        /// Which random instants.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
        /// Folder with `edge-agent` and `sync-hq`; without it they are built first.
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// Benchmarks, always against a bare baseline in the same run.
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Stores, brokers and HQ under one seed and virtual time, with every fault; or the planted bugs.
    Sim(Sim),
    /// Runs on for a given time.
    Soak {
        #[command(subcommand)]
        what: Soak,
    },
    /// Hardware in the loop: trials on rigs. Without a name: the rigs that belong to `test`.
    Hil {
        /// A rig's name, a rig file, or `all`.
        #[arg(long, value_name = "NAME|FILE|all")]
        rig: Option<String>,
        /// Only trials with this in their name.
        #[arg(long)]
        trial: Option<String>,
        /// Prints one JSON line on standard output, the table on standard error.
        #[arg(long)]
        json: bool,
        /// Says which rigs, parts and trials there are, and runs none.
        #[arg(long)]
        list: bool,
        /// Folder with `edge-agent` and `sync-hq`; without it they are built first.
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// Builds the node's firmware and runs it in an emulated microcontroller; says what it said and its size.
    Firmware {
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// The gateway's program for another machine, checked; twice for byte identity.
    Cross(hil_release::cross::CrossArgs),
    /// Runs the ARM rig's store with the program under trace, and writes down which functions to put side by side.
    Order,
    /// The Debian packages.
    Deb(hil_release::deb::DebArgs),
    /// A signed update out of a package, or a new key.
    SignUpdate(hil_release::sign::SignArgs),
    /// Architecture and house rules.
    Tidy,
}

#[derive(Subcommand)]
enum Soak {
    /// Simulated stores, as many seeds as the time allows.
    Sim {
        /// How long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        #[command(flatten)]
        sim: Sim,
    },
    /// Every decoder that takes bytes from outside, guided by coverage where the toolchain can.
    Fuzz {
        /// How long, all targets together.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Only this target.
        #[arg(long)]
        target: Option<String>,
        /// Seed of the plain mutator.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Builds the guided fuzzer with the targets that need SQLite, sockets or files, too.
        #[arg(long)]
        files: bool,
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Bytes per event of packed blocks against gzip-JSON of the same events.
    Codec {
        /// Prints one JSON line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Group commit with 1, 8 and 64 waiting tills against a bare SQLite insert of the same bytes.
    Ledger {
        /// Prints one JSON line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// The agent polling 150 Modbus TCP units and 32 on one line, 5 of them mute: jitter, CPU, memory, writes, start.
    Poll {
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
        /// How long each of the two measurements takes.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3_600))]
        seconds: u64,
        /// Folder with `edge-agent`; without it a release build is made and measured.
        #[arg(long)]
        programs: Option<PathBuf>,
    },
    /// Settlement end to end: bytes per event, rates against bare inserts, catch-up on a slow link, memory.
    Sync {
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
        /// Folder with `edge-agent` and `sync-hq`; without it they are built first.
        #[arg(long)]
        programs: Option<PathBuf>,
        /// Parts to run: wire, sqlite, postgres, verify, catchup, live; default: all.
        #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(sync::PARTS))]
        only: Vec<String>,
    },
    /// 8,000 changed prices: processor time, completion over 1, 4 and 16 connections, harm to customers (exit 1 if any).
    Tags {
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Telemetry: bytes per point, month query, bytes written, loss on power cut, against plain rows of the same samples.
    Telemetry {
        /// Prints one JSON line instead of text.
        #[arg(long)]
        json: bool,
    },
    /// The parts of `sync` that need a network namespace of their own.
    #[command(hide = true)]
    SyncOnALine {
        /// `catchup` or `live`.
        part: String,
        /// Where files go.
        #[arg(long)]
        folder: PathBuf,
        /// Folder with `edge-agent` and `sync-hq`.
        #[arg(long)]
        programs: PathBuf,
    },
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
        Task::Demo { chaos, pulls, once, json, seed, programs } => {
            setup::packages()?;
            let programs = programs.map_or_else(|| build(&root), Ok)?;
            let options =
                Options { seed, json, quiet: chaos, programs, profiles: root.join("configs/devices") };
            wait(async {
                match (chaos, once) {
                    (true, true) => hil_demo::chaos(options, pulls).await,
                    (true, false) => hil_demo::interactive_chaos(options).await,
                    (false, true) => hil_demo::day(options).await,
                    (false, false) => hil_demo::interactive(options).await,
                }
            })
        }
        Task::Store { size, seconds, live_tags, tags, seed, json, programs } => {
            setup::packages()?;
            let programs = programs.map_or_else(|| build(&root), Ok)?;
            let mut size = if size == "hyper" { Size::HYPER } else { Size::SMALL };
            size.tags = tags.unwrap_or(size.tags);
            size.live = live_tags.unwrap_or(size.live).min(size.tags);
            let profiles = root.join("configs/devices");
            wait(hil_demo::store(StoreOptions { size, seconds, json, seed, programs, profiles }))
        }
        Task::Crash { rounds, seed, json, programs } => {
            setup::packages()?;
            let programs = programs.map_or_else(|| build(&root), Ok)?;
            wait(crash::campaign(crash::Options { rounds, seed, json, programs }))
        }
        Task::Bench { what } => bench(&root, what),
        Task::Sim(sim) => cli::simulate(&sim),
        Task::Soak { what: Soak::Sim { minutes, sim } } => cli::soak(&sim, minutes),
        Task::Soak { what: Soak::Fuzz { minutes, target, seed, files, json } } => {
            let time = Duration::from_secs(minutes * 60);
            soak::run(&soak::Options { root, time, target, seed, files, json })
        }
        Task::Firmware { json } => firmware(&root, json),
        Task::Hil { rig, trial, json, list, programs } => {
            let options = hil::Options { rig, trial, json, list };
            if list {
                return hil::run(&root, &root, &options);
            }
            setup::packages()?;
            let programs = programs.map_or_else(|| build(&root), Ok)?;
            hil::run(&root, &programs, &options)
        }
        Task::Cross(args) => hil_release::cross::cross(&root, &args),
        Task::Order => hil_release::order::order(&root),
        Task::Deb(args) => hil_release::deb::deb(&root, &args),
        Task::SignUpdate(args) => hil_release::sign::sign(&args).map(|()| true),
        Task::Tidy => findings(&root),
    }
}

/// Runs a benchmark.
fn bench(root: &Path, what: Bench) -> Result<bool> {
    match what {
        Bench::Codec { json } => codec::codec(json).map(|()| true),
        Bench::Ledger { json } => ledger::ledger(root, json).map(|()| true),
        Bench::Poll { json, seconds, programs } => {
            let programs = programs.map_or_else(|| build_release(root), Ok)?;
            poll::poll(&poll::Options { programs, profiles: root.join("configs/devices"), seconds, json })
        }
        Bench::Tags { json } => tags::tags(json),
        Bench::Sync { json, programs, only } => {
            let programs = programs.map_or_else(|| build(root), Ok)?;
            sync::sync(root, &programs, json, &only)
        }
        Bench::Telemetry { json } => telemetry::telemetry(root, json).map(|()| true),
        Bench::SyncOnALine { part, folder, programs } => {
            sync::on_a_line(&folder, &programs, &part).map(|()| true)
        }
    }
}

/// Builds the node's image and runs it.
fn firmware(root: &Path, json: bool) -> Result<bool> {
    setup::packages()?;
    let golden = hil_firmware::golden::firmware(root)?;
    if json {
        println!("{}", golden.json());
    } else {
        print!("{}", golden.text());
    }
    Ok(true)
}

/// Says what breaks the house rules.
fn findings(root: &Path) -> Result<bool> {
    let found = tidy::check(root)?;
    for finding in &found {
        println!("{finding}");
    }
    println!("{} findings", found.len());
    Ok(found.is_empty())
}

fn wait(work: impl Future<Output = Result<bool>>) -> Result<bool> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(work)
}

/// Builds the programs under test and says in which folder they are.
///
/// The whole workspace, because cargo unites features over what it is asked to build: another selection would compile the
/// same crates a second time.
fn build(root: &Path) -> Result<PathBuf> {
    // Before the build, which may replace this program's file.
    let myself = hil_rig::processes::myself()?;
    let status = hil_rig::run::cargo()
        .current_dir(root)
        .args(["build", "--quiet", "--workspace"])
        .stdin(Stdio::null())
        .status()
        .context("cargo build does not start")?;
    if !status.success() {
        bail!("the programs under test do not build");
    }
    Ok(myself.parent().context("this program lies in no folder")?.to_owned())
}

/// Builds the agent as it is shipped, for numbers that are about the product, and says in which folder it is.
fn build_release(root: &Path) -> Result<PathBuf> {
    let myself = hil_rig::processes::myself()?;
    let status = hil_rig::run::cargo()
        .current_dir(root)
        .args(["build", "--quiet", "--release", "-p", "edge-agent"])
        .stdin(Stdio::null())
        .status()
        .context("cargo build does not start")?;
    if !status.success() {
        bail!("the agent does not build");
    }
    let target = myself.parent().and_then(Path::parent).context("this program lies in no target folder")?;
    Ok(target.join("release"))
}
