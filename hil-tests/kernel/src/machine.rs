//! One machine for one trial: the kernel as a process whose root is the host's, with the trial's program inside.

use anyhow::{Context, Result, bail, ensure};
use hil_rig::processes::Process;
use hil_rig::python::Venv;
use hil_trials::{Bench, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::uml::{self, Found};

/// The program inside.
const GUEST: &str = "kernel-guest";
/// What it leaves.
pub(crate) const RESULT: &str = "result.json";
/// First program of the machine; its head is written for each trial.
const INIT: &str = include_str!("../machine/init.sh");
/// The machine's memory: an agent, HQ, a broker, bluetoothd and an interpreter fit well.
const MEMORY: &str = "mem=768M";

/// How a trial ended inside.
#[derive(Debug, Deserialize, Serialize)]
pub struct Ended {
    /// It held.
    pub held: bool,
    /// What was seen, or what did not hold.
    pub text: String,
}

/// Runs a trial in a machine of its own, which is killed after `limit`.
pub fn run(bench: &Bench<'_>, trial: &str, limit: Duration) -> Result<Verdict> {
    let kernel = match uml::kernel(&bench.place.cache)? {
        Found::Kernel(path) => path,
        Found::Missing(why) => return Ok(Verdict::Skipped(why)),
    };
    let python = match Venv::for_bluetooth() {
        Ok(venv) => venv.python(),
        Err(error) => return Ok(Verdict::Skipped(format!("the Python of the far ends: {error}"))),
    };
    for program in [GUEST, "edge-agent", "sync-hq", "drv-probe"] {
        let path = bench.place.programs.join(program);
        ensure!(path.is_file(), "{} is missing: build the workspace", path.display());
    }
    let init = write_init(bench, trial, &python)?;
    let memory = memory_folder();
    let own = tempfile::Builder::new().prefix("steelyard-uml-").tempdir_in(&memory)?;
    let mut command = Command::new(&kernel);
    command
        .env("TMPDIR", &memory)
        .args([MEMORY, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"])
        .args(["con=null", "con0=fd:0,fd:1", "ssl=null", "quiet", "loglevel=1", "panic=-1"])
        .arg(format!("uml_dir={}", own.path().display()))
        .arg(format!("init={}", init.display()));
    let console = bench.folder.join("console.log");
    let mut machine = Process::start("the machine", command, &console)?;
    let begun = Instant::now();
    while machine.runs() {
        if begun.elapsed() >= limit {
            machine.kill()?;
            bail!("the machine was killed after {} s: {}", limit.as_secs(), last_words(&console));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    verdict(&bench.folder, &console)
}

fn verdict(folder: &Path, console: &Path) -> Result<Verdict> {
    let Ok(text) = std::fs::read(folder.join(RESULT)) else {
        bail!("the machine ended without a result: {}", last_words(console));
    };
    let ended: Ended = serde_json::from_slice(&text).context(RESULT)?;
    if ended.held { Ok(Verdict::Passed(ended.text)) } else { bail!("{}", ended.text) }
}

fn write_init(bench: &Bench<'_>, trial: &str, python: &Path) -> Result<PathBuf> {
    let mut text = String::from("#!/bin/sh\n");
    let folder = bench.folder.canonicalize()?;
    let programs = bench.place.programs.canonicalize()?;
    let plain = |path: &Path| {
        let text = path.to_str().filter(|text| !text.contains([' ', ',', '\'', '"']));
        text.map(str::to_owned)
            .with_context(|| format!("{}: a kernel's command line cannot name it", path.display()))
    };
    for (name, value) in [
        ("TRIAL", trial.to_owned()),
        ("FOLDER", plain(&folder)?),
        ("PROGRAMS", plain(&programs)?),
        ("PYTHON", plain(python)?),
    ] {
        writeln!(text, "{name}='{value}'")?;
    }
    text.push_str(INIT);
    let path = folder.join("init");
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// The machine's memory is a file that it runs code from: in memory where that is allowed.
fn memory_folder() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let row = mounts.lines().rev().find(|row| row.split(' ').nth(1) == Some("/dev/shm"));
    let forbidden = row
        .and_then(|row| row.split(' ').nth(3))
        .is_none_or(|options| options.split(',').any(|o| o == "noexec"));
    if shm.is_dir() && !forbidden { shm.into() } else { std::env::temp_dir() }
}

fn last_words(console: &Path) -> String {
    let bytes = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(5)..).unwrap_or_default();
    format!("last on {}: {}", console.display(), last.join(" | "))
}
