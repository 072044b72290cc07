//! Runs the rig by itself.
#![allow(clippy::print_stdout, reason = "a table for whoever runs it")]
use hil_trials::{Place, Rig, report, run};
use std::path::{Path, PathBuf};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let programs = root.join("target/debug");
    let evidence = PathBuf::from(std::env::var("EVIDENCE").unwrap_or("/work/main/target/hil".into()));
    let cache = hil_rig::python::cache_dir()?;
    let place = Place { programs, cache, evidence, root: root.clone() };
    let rig = Rig::read(&root.join("hil-tests/rigs/kernel.toml"))?;
    let only = std::env::args().nth(1);
    let records = run(&hil_kernel::suite(), &rig, &place, only.as_deref())?;
    println!("{}", report::table(&records));
    Ok(())
}
