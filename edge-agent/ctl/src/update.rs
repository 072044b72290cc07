//! `edgectl update FILE`: the machine side of a signed update, with dpkg and systemd.

use crate::args::UpdateArguments;
use crate::exit::Exit;
use crate::schema;
use crate::screen::complain;
use edge_api::{Client, Status};
use edge_update::bundle::Here;
use edge_update::gate::Health;
use edge_update::{ARCHITECTURE, Bundle, Gate, System, UpdateError, keys};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PACKAGE: &str = "steelyard";
/// Largest bundle; a package of ours has a few megabytes.
const BUNDLE_MAX: u64 = 256 << 20;
/// Largest file of keys.
const KEYS_MAX: u64 = 1 << 20;

/// Checks, installs, watches. The reasons go to standard error.
pub(crate) fn run(socket: PathBuf, arguments: &UpdateArguments) -> Exit {
    match update(socket, arguments) {
        Ok(text) => {
            println!("{text}");
            Exit::Ok
        }
        Err((exit, text)) => {
            complain(&text);
            exit
        }
    }
}

fn update(socket: PathBuf, arguments: &UpdateArguments) -> Result<String, (Exit, String)> {
    let file = arguments.file.display();
    let read = |path: &Path, most: u64| {
        bounded(path, most).map_err(|error| (Exit::Error, format!("{}: {error}", path.display())))
    };
    let text = String::from_utf8_lossy(&read(&arguments.keys, KEYS_MAX)?).into_owned();
    let keys = keys::parse(&arguments.keys.display().to_string(), &text)
        .map_err(|error| (Exit::Error, error.to_string()))?;
    let bytes = read(&arguments.file, BUNDLE_MAX)?;
    let version = installed().map_err(|error| (Exit::Error, error))?;
    let here = Here { package: PACKAGE, version: &version, architecture: ARCHITECTURE };
    let bundle =
        Bundle::open(&bytes, &keys, &here).map_err(|error| (Exit::Conflict, format!("{file}: {error}")))?;
    let what = format!("{} {} signed by {}", bundle.manifest.package, bundle.manifest.version, bundle.signer);
    if arguments.check {
        return Ok(format!("{file}: {what}: fits"));
    }
    private(&arguments.kept)
        .map_err(|error| (Exit::Error, format!("{}: {error}", arguments.kept.display())))?;
    let gate = Gate {
        folder: arguments.kept.clone(),
        patience: Duration::from_secs(arguments.patience),
        watch: Duration::from_secs(arguments.watch),
        one_way: arguments.one_way,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| (Exit::Error, format!("no event loop: {error}")))?;
    let client = Client::new(socket, Duration::from_secs(5));
    let mut machine =
        Machine { runtime, client, hooks: arguments.hooks.clone(), ledger: arguments.ledger.clone() };
    match gate.install(&bundle, &mut machine) {
        Ok(done) => Ok(format!("{what}: {} has run well for {} s", done.software, arguments.watch)),
        Err(error @ UpdateError::Untouched(_)) => Err((Exit::Conflict, format!("{file}: {error}"))),
        Err(error) => Err((Exit::Error, format!("{file}: {error}"))),
    }
}

/// A file of at most `most` bytes.
fn bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= most => Ok(bytes),
        _ => Err(format!("expected at most {most} bytes, found more")),
    }
}

/// The programs of the hooks folder in the order of their names; none where there is no folder.
fn hooks(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut hooks = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    hooks.retain(|path| path.is_file());
    hooks.sort();
    Ok(hooks)
}

/// A folder that only we can write to: what lies there is installed as root, so the daemon's own user must not reach it.
fn private(folder: &Path) -> Result<(), String> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| error.to_string())?;
    let found = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    if found.mode() & 0o022 == 0 && found.uid() == 0 {
        return Ok(());
    }
    Err(format!(
        "expected a folder that only root can write to, found mode {:o} of user {}",
        found.mode() & 0o777,
        found.uid()
    ))
}

/// Version of the installed package.
fn installed() -> Result<String, String> {
    let text =
        said(Command::new("dpkg-query").args(["-W", "-f", "${Version} ${db:Status-Status}", PACKAGE]))?;
    match text.split_once(' ') {
        Some((version, "installed")) => Ok(version.to_owned()),
        _ => Err(format!("the package {PACKAGE} is not installed: dpkg says \"{text}\"")),
    }
}

/// Standard output of a command; the error is what it said.
fn said(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim_end().to_owned());
    }
    let text = String::from_utf8_lossy(&out.stderr).lines().map(str::trim).collect::<Vec<_>>().join("; ");
    Err(format!("{name} ended with {}: {text}", out.status))
}

struct Machine {
    runtime: tokio::runtime::Runtime,
    client: Client,
    hooks: PathBuf,
    ledger: PathBuf,
}

impl System for Machine {
    fn keep(&mut self, into: &Path) -> Result<(), String> {
        let (tree, script) = (into.with_extension("tree"), include_str!("keep.sh"));
        said(Command::new("sh").args(["-c", script, "keep"]).arg(&tree).arg(PACKAGE).arg(into)).map(drop)
    }

    fn install(&mut self, package: &Path, back: bool) -> Result<(), String> {
        let mut command = Command::new("dpkg");
        command.args(["--force-confold", "-i"]).arg(package).env("DEBIAN_FRONTEND", "noninteractive");
        if back {
            command.env("STEELYARD_ALLOW_DOWNGRADE", "1");
        }
        said(&mut command).map(drop)
    }

    fn hook(&mut self, stage: &str) -> Result<(), String> {
        let hooks = hooks(&self.hooks).map_err(|error| format!("{}: {error}", self.hooks.display()))?;
        hooks.iter().try_for_each(|path| said(Command::new(path).arg(stage)).map(drop))
    }

    fn health(&mut self) -> Result<Health, String> {
        let status: Result<Status, _> = self.runtime.block_on(self.client.fetch("/v1/status"));
        let status = status.map_err(|error| error.to_string())?;
        Ok(Health { software: status.software, uptime_s: status.uptime_s })
    }

    fn schema(&mut self) -> Result<Option<i64>, String> {
        schema::of(&self.ledger)
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn say(&mut self, text: &str) {
        complain(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_counts_as_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, steps) = (folder.path().join("ledger.db"), folder.path().join("hooks"));
        std::fs::write(&ledger, [0; 65]).unwrap();
        assert!(hooks(&steps).unwrap().is_empty());
        std::fs::create_dir(&steps).unwrap();
        ["20-b", "10-a"].iter().for_each(|name| std::fs::write(steps.join(name), "").unwrap());
        assert_eq!(hooks(&steps).unwrap(), [steps.join("10-a"), steps.join("20-b")]);
        assert!(hooks(&ledger).is_err(), "a file is no folder");
        assert_eq!(bounded(&ledger, 65).unwrap().len(), 65);
        assert!(bounded(&ledger, 64).unwrap_err().contains("at most 64 bytes"));
    }
}
