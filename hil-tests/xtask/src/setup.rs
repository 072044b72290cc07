//! Set-up: what the checks need beyond Rust and a C compiler.
//!
//! Purpose: finds what is missing, installs it where that needs no question (packages as root or with passwordless sudo,
//! Python packages and cargo-deny into the cache folder), and otherwise prints the one line to run.
//!
//! Contract: nothing is installed into the checkout; a second call finds everything and does nothing.

use anyhow::{Context, Result, bail};
use hil_rig::run::{install, run};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Debian package and how to see that it is there.
type Package = (&'static str, fn() -> bool);

/// What the far ends need.
const PACKAGES: &[Package] = &[
    ("mosquitto", || hil_rig::processes::find_program("mosquitto").is_some()),
    ("postgresql", || hil_rig::postgres::find_server_program("initdb").is_some()),
    ("postgresql-client", || hil_rig::postgres::find_server_program("psql").is_some()),
    ("mbpoll", || hil_rig::processes::find_program("mbpoll").is_some()),
    ("dbus", || hil_rig::processes::find_program("dbus-daemon").is_some()),
    ("owserver", || hil_rig::processes::find_program("owserver").is_some()),
    ("ow-shell", || hil_rig::processes::find_program("owread").is_some()),
    ("python3", || hil_rig::processes::find_program("python3").is_some()),
    ("qemu-system-arm", || hil_rig::processes::find_program("qemu-system-arm").is_some()),
    ("zbar-tools", || hil_rig::processes::find_program("zbarimg").is_some()),
    ("qrencode", || hil_rig::processes::find_program("qrencode").is_some()),
    ("strace", || hil_rig::processes::find_program("strace").is_some()),
    ("libfaketime", hil_network::faketime_is_there),
    ("iproute2", || hil_rig::processes::find_program("ip").is_some()),
    ("python3-venv", || quiet("python3", &["-c", "import venv, ensurepip"])),
];

/// Version of cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Makes everything available and says where cargo-deny is.
pub fn prepare() -> Result<Tools> {
    components()?;
    packages()?;
    hil_rig::python::Venv::ready().context("the Python far ends (BlueZoo, pymodbus)")?;
    hil_rig::python::Venv::for_checks().context("the Python that checks the wire format (zstandard)")?;
    hil_rig::python::Venv::for_adverts().context("the Python that decodes advertisements")?;
    hil_rig::python::Venv::for_scales().context("the Python that is a master of MT-SICS scales")?;
    hil_rig::python::Venv::for_codes().context("the Python that reads GS1 codes (biip)")?;
    Ok(Tools { cargo_deny: cargo_deny()? })
}

/// Tools that are not on the path.
pub struct Tools {
    /// The cargo-deny executable.
    pub cargo_deny: PathBuf,
}

/// rustfmt and clippy come with rustup's default profile, but not with its minimal one.
fn components() -> Result<()> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| !quiet("cargo", &[command, "--version"]))
        .map(|(_, component)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut line = vec!["rustup", "component", "add"];
    line.extend(&missing);
    if run(Command::new(line[0]).args(&line[1..])).is_err() {
        bail!("missing: {}. Run this one line and try again:\n  {}", missing.join(", "), line.join(" "));
    }
    Ok(())
}

/// Installs the distribution's packages that are missing: all that a store on this machine needs.
pub fn packages() -> Result<()> {
    let absent = || PACKAGES.iter().filter(|(_, there)| !there()).map(|(name, _)| *name).collect::<Vec<_>>();
    let missing = absent();
    if missing.is_empty() {
        return Ok(());
    }
    let installed = install(&missing);
    let missing = absent();
    if missing.is_empty() {
        return Ok(());
    }
    installed?;
    bail!("still missing after their installation: {}", missing.join(", "))
}

/// cargo-deny from the path or the cache, built into the cache when it is nowhere.
fn cargo_deny() -> Result<PathBuf> {
    let root = hil_rig::python::cache_dir()?.join("tools");
    let built = root.join("bin/cargo-deny");
    if is_deny(&built) {
        return Ok(built);
    }
    if let Some(found) = hil_rig::processes::find_program("cargo-deny").filter(|path| is_deny(path)) {
        return Ok(found);
    }
    let root_arg: OsString = root.clone().into();
    run(Command::new("cargo")
        .args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--root"])
        .arg(root_arg))?;
    Ok(built)
}

fn is_deny(path: &Path) -> bool {
    Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(CARGO_DENY))
}

fn quiet(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
