//! The suite without `cargo xtask`: `cargo run -p hil-firmware --example firmware -- [part of a trial's name | --golden]`.
//!
//! Programs of the host are taken from `target/debug`.
#![allow(clippy::print_stdout, reason = "a command line program speaks on its standard streams")]

use anyhow::{Context, Result};
use hil_trials::{Place, Rig, report};
use std::path::Path;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().context("the checkout")?;
    let only = std::env::args().nth(1);
    if only.as_deref() == Some("--golden") {
        print!("{}", hil_firmware::golden::firmware(&root)?.text());
        return Ok(());
    }
    let rig = Rig::read(&root.join("hil-tests/rigs/firmware.toml"))?;
    let place = Place {
        programs: root.join("target/debug"),
        cache: hil_rig::python::cache_dir()?,
        evidence: root.join("target/hil"),
        root,
    };
    let records = hil_trials::run(&hil_firmware::suite(), &rig, &place, only.as_deref())?;
    print!("{}", report::table(&records));
    Ok(())
}
