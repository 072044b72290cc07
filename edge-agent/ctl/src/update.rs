//! `edgectl update FILE`: the machine side of a signed update, with dpkg and systemd.

use crate::args::UpdateArguments;
use crate::exit::Exit;
use crate::screen::complain;
use edge_api::{Client, Status};
use edge_update::bundle::Here;
use edge_update::gate::Health;
use edge_update::{ARCHITECTURE, Bundle, Gate, System, UpdateError, keys};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PACKAGE: &str = "steelyard";
/// Where SQLite keeps the schema's number in a ledger: 4 bytes.
const SCHEMA_AT: u64 = 60;

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
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| (Exit::Error, format!("{}: {error}", path.display())))
    };
    let text = String::from_utf8_lossy(&read(&arguments.keys)?).into_owned();
    let keys = keys::parse(&arguments.keys.display().to_string(), &text)
        .map_err(|error| (Exit::Error, error.to_string()))?;
    let bytes = read(&arguments.file)?;
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
        // The installed files as a package again: dpkg does not keep the one it was made from.
        let tree = into.with_extension("tree");
        let script = "set -e; rm -rf \"$1\"; mkdir -p \"$1/DEBIAN\"\n\
            dpkg-query -L \"$2\" | while read -r f; do if [ -L \"$f\" ] || [ -f \"$f\" ]; then cp -a --parents \"$f\" -t \"$1\"; \
            elif [ -d \"$f\" ]; then mkdir -p \"$1$f\"; fi; done\n\
            dpkg-query -s \"$2\" | sed -e '/^Status:/d' -e '/^Conffiles:/,/^[^ ]/{/^Conffiles:/d;/^ /d}' > \"$1/DEBIAN/control\"\n\
            for s in preinst postinst prerm postrm conffiles; do i=/var/lib/dpkg/info/$2.$s; if [ -f \"$i\" ]; then cp -a \"$i\" \
            \"$1/DEBIAN/$s\"; fi; done\n\
            dpkg-deb --root-owner-group -b \"$1\" \"$3\" >/dev/null; rm -rf \"$1\"";
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
        let Ok(entries) = std::fs::read_dir(&self.hooks) else { return Ok(()) };
        let mut hooks: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        hooks.sort();
        hooks
            .iter()
            .filter(|path| path.is_file())
            .try_for_each(|path| said(Command::new(path).arg(stage)).map(drop))
    }

    fn health(&mut self) -> Result<Health, String> {
        let status: Result<Status, _> = self.runtime.block_on(self.client.fetch("/v1/status"));
        let status = status.map_err(|error| error.to_string())?;
        Ok(Health { software: status.software, uptime_s: status.uptime_s })
    }

    fn schema(&mut self) -> Option<i64> {
        let mut file = std::fs::File::open(&self.ledger).ok()?;
        let mut bytes = [0; 4];
        file.seek(SeekFrom::Start(SCHEMA_AT)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        Some(u32::from_be_bytes(bytes).into())
    }

    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn say(&mut self, text: &str) {
        complain(text);
    }
}
