//! Private Python environments for the far ends that others wrote (pymodbus, BlueZoo, a master of MT-SICS, decoders), at fixed versions.
//!
//! Contract: lives under the user's cache folder, never in the checkout; made once under a file lock, so that tests running at
//! the same time share it; a missing interpreter is one clear line that names the Debian package.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::processes::Process;
use crate::{RigError, until};

/// How long a Python program may take to listen on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What the environment holds.
pub const PACKAGES: [&str; 3] = ["pymodbus==3.16.1", "pyserial==3.5", "bluezoo==1.0.2"];

/// What checks of our byte forms need, in an environment of their own.
pub const CHECK_PACKAGES: [&str; 1] = ["zstandard==0.25.0"];

/// What the MT-SICS master needs, in an environment of its own: it wants an older `serial-interface`.
pub const SCALE_PACKAGES: [&str; 3] =
    ["mettler-toledo-device==1.5.0", "serial-interface==2.0.1", "pyserial==3.5"];
/// Other people's decoders of advertising sensors, in an environment of their own.
pub const ADVERT_PACKAGES: [&str; 3] = ["ruuvitag-sensor==4.1.0", "bthome-ble==3.25.0", "govee-ble==1.5.2"];
/// What reads GS1 codes, in an environment of its own.
pub const CODE_PACKAGES: [&str; 1] = ["biip==5.2.0"];

/// zig as a C compiler and linker, and what lets cargo use it; in an environment of their own.
pub const CROSS_PACKAGES: [&str; 2] = ["ziglang==0.17.0", "cargo-zigbuild==0.24.0"];

/// A Bluetooth controller and peripherals as programs, in an environment of their own; pinned because the kernel rig repairs
/// its controller.
pub const BLUETOOTH_PACKAGES: [&str; 1] = ["bumble==0.0.236"];

/// Where a pymodbus server listens.
#[derive(Debug, Clone, Copy)]
pub enum ModbusWire<'a> {
    /// A port on 127.0.0.1.
    Tcp(u16),
    /// A serial device, 19200 8N1.
    Rtu(&'a Path),
}

/// The environment, ready to use.
#[derive(Debug, Clone)]
pub struct Venv {
    root: PathBuf,
}

impl Venv {
    /// Finds or makes the environment. Needs `python3` with `venv`, and a package index when it must be made.
    pub fn ready() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv"), &PACKAGES)
    }

    /// The environment with [`CHECK_PACKAGES`].
    pub fn for_checks() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv-checks"), &CHECK_PACKAGES)
    }

    /// The environment with [`SCALE_PACKAGES`].
    pub fn for_scales() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv-scales"), &SCALE_PACKAGES)
    }

    /// A command that runs the MT-SICS master of others on a serial port; see `python/mettler_master.py`.
    #[must_use]
    pub fn mettler_master(&self, port: &Path) -> Command {
        let mut command = Command::new(self.python());
        command.args(["-u", "-c", include_str!("../python/mettler_master.py")]).arg(port);
        command
    }

    /// The environment with [`ADVERT_PACKAGES`].
    pub fn for_adverts() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv-adverts"), &ADVERT_PACKAGES)
    }

    /// Decodes advertisements with [`ADVERT_PACKAGES`]; what goes in and out is said in `advert_decode.py`.
    pub fn decode_adverts(&self, rows: &[Value]) -> Result<Vec<Value>, RigError> {
        let fail = |source| RigError::Io { what: "advert_decode.py".into(), source };
        let mut input = tempfile::tempfile().map_err(fail)?;
        for row in rows {
            writeln!(input, "{row}").map_err(fail)?;
        }
        input.rewind().map_err(fail)?;
        let output = Command::new(self.python())
            .args(["-c", include_str!("../python/advert_decode.py")])
            .stdin(input)
            .output()
            .map_err(fail)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(RigError::State(format!("advert_decode.py ended with {}: {text}", output.status)));
        }
        serde_json::Deserializer::from_slice(&output.stdout)
            .into_iter()
            .collect::<Result<Vec<Value>, _>>()
            .map_err(|e| RigError::State(format!("advert_decode.py: {e}")))
    }

    /// The environment with [`CODE_PACKAGES`].
    pub fn for_codes() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv-codes"), &CODE_PACKAGES)
    }

    /// The environment with [`CROSS_PACKAGES`].
    pub fn for_cross() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv-cross"), &CROSS_PACKAGES)
    }

    /// The environment with [`BLUETOOTH_PACKAGES`].
    pub fn for_bluetooth() -> Result<Self, RigError> {
        Self::ready_at(&cache_dir()?.join("venv-bluetooth"), &BLUETOOTH_PACKAGES)
    }

    fn ready_at(root: &Path, packages: &[&str]) -> Result<Self, RigError> {
        let fail =
            |source| RigError::Io { what: format!("Python environment at {}", root.display()), source };
        let parent = root.parent().unwrap_or(root);
        std::fs::create_dir_all(parent).map_err(fail)?;
        let lock = File::create(parent.join("venv.lock")).map_err(fail)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| fail(e.into()))?;
        let venv = Self { root: root.to_owned() };
        let mark = root.join("steelyard-packages");
        let wanted = packages.join("\n");
        if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) && venv.python().exists() {
            return Ok(venv);
        }
        // The interpreter that made an older environment may be gone, so it is made anew over the old one.
        let root_text = root.to_string_lossy();
        let made = run("python3", &["-m", "venv", "--clear", &root_text]);
        made.map_err(|e| {
            RigError::State(format!("cannot make a Python environment (apt-get install python3-venv): {e}"))
        })?;
        let python = venv.python().to_string_lossy().into_owned();
        let mut arguments =
            vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
        arguments.extend(packages);
        run(&python, &arguments)
            .map_err(|e| RigError::State(format!("cannot install {} with pip: {e}", packages.join(", "))))?;
        std::fs::write(&mark, wanted).map_err(fail)?;
        Ok(venv)
    }

    /// The interpreter.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    /// Starts a pymodbus server on `wire` and waits until it listens.
    ///
    /// `units`: `{"<unit>": {"coil|discrete|holding|input": {"<address>": value}}}`; others stay silent.
    pub async fn modbus_server(
        &self,
        wire: ModbusWire<'_>,
        units: &Value,
        log: &Path,
    ) -> Result<Process, RigError> {
        let mut command = Command::new(self.python());
        command.args(["-u", "-c", include_str!("../python/modbus_server.py")]);
        match wire {
            ModbusWire::Tcp(port) => command.arg("tcp").arg(port.to_string()),
            ModbusWire::Rtu(path) => command.arg("rtu").arg(path),
        };
        command.arg(units.to_string());
        let mut process = Process::start("pymodbus", command, log)?;
        let listens = || async { std::fs::read_to_string(log).is_ok_and(|text| text.contains("listening")) };
        let waited = until("pymodbus to listen", START_LIMIT, listens).await;
        if !process.runs() {
            return Err(RigError::State(format!("pymodbus ended at once, see {}", log.display())));
        }
        waited.map(|()| process)
    }

    /// A program that a package installed.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.root.join("bin").join(name)
    }
}

/// The rig's cache folder: `$XDG_CACHE_HOME/steelyard` or `~/.cache/steelyard`.
pub fn cache_dir() -> Result<PathBuf, RigError> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let base = base.ok_or_else(|| RigError::State("neither XDG_CACHE_HOME nor HOME is set".into()))?;
    Ok(base.join("steelyard"))
}

/// Runs to the end; the error is the last line that the program said.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stderr, output.stdout].concat();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("said nothing");
    Err(format!("{program} ended with {}: {last}", output.status))
}
