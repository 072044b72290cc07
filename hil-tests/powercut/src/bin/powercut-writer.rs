//! `powercut-writer prepare|run SCENARIO FOLDER`: the program that the power-cut rig records.

use anyhow::{Context, Result, bail};
use hil_powercut::writer::{self, Voice};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: powercut-writer prepare|run SCENARIO FOLDER");
    let (task, scenario, folder) = (next()?, next()?, PathBuf::from(next()?));
    let voice: Voice = Arc::new(|line: &str| {
        let mut out = std::io::stdout().lock();
        // The recorder stopped listening: it does not matter any more what is acknowledged.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    });
    match task.as_str() {
        "prepare" => writer::prepare(&scenario, &folder),
        "run" => writer::run(&scenario, &folder, &voice),
        other => bail!("no task '{other}'"),
    }
}
