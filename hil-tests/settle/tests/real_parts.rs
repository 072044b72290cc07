//! Real parts under `kill -9` of everything in turn: three stores, HQ's workers, mosquitto, networks that are cut.
#![allow(clippy::print_stderr, reason = "the report of a long test")]

use hil_settle::{Engine, Options, campaign};
use std::path::PathBuf;
use tokio::sync::Mutex;

/// One at a time: the machine's cores are for one fleet.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The folder that the programs are built into: this test lies in its `deps`. `PROGRAMS` of the environment names another.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("PROGRAMS") {
        return folder.into();
    }
    let myself = std::env::current_exe().expect("a running test has a path");
    let folder = myself.parent().and_then(|deps| deps.parent()).expect("tests lie two folders deep");
    for program in ["edge-agent", "sync-hq"] {
        assert!(folder.join(program).is_file(), "{program} is not built: run `cargo build --workspace` once");
    }
    folder.to_owned()
}

/// `SEED` and `ROUNDS` of the environment make other and longer runs.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn holds(engine: Engine, stranger: bool) {
    let _alone = ALONE.lock().await;
    let seed = u64::from(number("SEED", 1));
    let options = Options { seed, rounds: number("ROUNDS", 1), engine, stranger, programs: programs() };
    let report = campaign::run(&options).await.unwrap_or_else(|error| panic!("seed {seed}: {error:#}"));
    eprintln!("{engine:?}, seed {seed}: {report:#?}");
    assert_eq!(report.violations, 0, "seed {seed}: {:#?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_divergent_on_sqlite() {
    holds(Engine::Sqlite, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_divergent_on_postgres_with_two_workers() {
    holds(Engine::Postgres, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_says_changes_nothing_and_is_kept_aside() {
    holds(Engine::Sqlite, true).await;
}
