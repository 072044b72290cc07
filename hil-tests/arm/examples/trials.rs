//! Runs this crate's trials without the rest: `trials PROGRAMS [PART-OF-A-NAME]`.
#![allow(clippy::print_stdout, reason = "a command line program speaks to its terminal")]

use anyhow::{Context, Result};
use hil_trials::{Place, Rig, report};
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let programs =
        PathBuf::from(arguments.next().context("expected the folder with edge-agent and sync-hq")?);
    let only = arguments.next();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the checkout")?.to_owned();
    let place = Place {
        evidence: root.join("target/hil"),
        cache: hil_rig::python::cache_dir()?,
        programs,
        root: root.clone(),
    };
    let mut records = Vec::new();
    for suite in [hil_arm::packages::suite(), hil_arm::arm::suite()] {
        let rig = Rig::read(&root.join("hil-tests/rigs").join(suite.rig).with_extension("toml"))?;
        records.extend(hil_trials::run(&suite, &rig, &place, only.as_deref())?);
    }
    print!("{}", report::table(&records));
    anyhow::ensure!(records.iter().all(hil_trials::Record::held), "a trial failed");
    Ok(())
}
