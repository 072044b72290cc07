//! Runs the rig by itself.
#![allow(clippy::print_stdout, reason = "a table for whoever runs it")]
use hil_trials::{Place, Rig, report, run};
use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let programs = std::env::var("PROGRAMS").map_or_else(|_| root.join("target/debug"), PathBuf::from);
    let evidence = PathBuf::from(std::env::var("EVIDENCE").unwrap_or("/tmp/powercut-evidence".into()));
    let place = Place { programs, cache: "/tmp".into(), evidence, root: root.clone() };
    let rig = Rig::read(&root.join("hil-tests/rigs/powercut.toml"))?;
    let only = std::env::args().nth(1);
    let records = run(&hil_powercut::suite(), &rig, &place, only.as_deref())?;
    println!("{}", report::table(&records));
    Ok(())
}
