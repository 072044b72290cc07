//! Programs that run to their end, and the distribution's packages. What an installer or compiler says goes to standard error: standard output may belong to a JSON line.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs to the end; a failure names the whole command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("{} does not start", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and gives standard output; a failure carries the last line of standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{} does not start", shown(command)))?;
    if !out.status.success() {
        let text = String::from_utf8_lossy(&out.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        bail!("{} ended with {}: {last}", shown(command), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The first line that a program says of its version.
pub fn version(program: &Path, argument: &str) -> Result<String> {
    let text = output(Command::new(program).arg(argument))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Program and arguments.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The cargo that runs us, or the one on the path, as if a person had called it.
///
/// `cargo run` tells the program which package it is of. A build under it would pass that on to build scripts that ask to
/// be run again when it changes (ring's does), and everything above them would be compiled again at each turn between a
/// build by hand and one from here.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_a_package) {
            command.env_remove(name);
        }
    }
    command
}

fn of_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_")
        || variable.starts_with("CARGO_MANIFEST_")
        || matches!(variable, "CARGO_CRATE_NAME" | "CARGO_BIN_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

/// Installs the distribution's packages: as root, or where sudo asks nothing; otherwise the error is the line to run.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let before = if rustix::process::geteuid().is_root() { "" } else { "sudo -n " };
    run(Command::new("sh").args(["-c", &install_line(packages, before)])).with_context(|| {
        let (missing, line) = (packages.join(", "), install_line(packages, ""));
        format!("missing: {missing}. Run this one line as root and try again:\n  {line}")
    })
}

/// The one line that installs Debian packages.
fn install_line(packages: &[&str], before: &str) -> String {
    // Another installer at work is waited for.
    let get = format!("{before}env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600");
    format!("{get} update && {get} install -y --no-install-recommends {}", packages.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_installs_without_questions() {
        let line = install_line(&["mosquitto", "dbus"], "sudo -n ");
        assert!(
            !line.contains('\n') && line.ends_with("install -y --no-install-recommends mosquitto dbus"),
            "{line}"
        );
        assert_eq!(line.matches("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get").count(), 2);
    }

    #[test]
    fn a_build_is_not_told_of_the_package_that_asks_for_it() {
        // Tests get what `cargo run` gives.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some());
        let cargo = cargo();
        let removed: Vec<_> =
            cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(
            removed.contains(&"CARGO_PKG_NAME".as_ref()) && removed.contains(&"CARGO_MANIFEST_DIR".as_ref())
        );
        assert!(!removed.contains(&"CARGO_HOME".as_ref()) && !removed.contains(&"PATH".as_ref()));
    }

    #[test]
    fn a_program_that_fails_is_named_with_what_it_said() {
        assert_eq!(output(Command::new("echo").arg("1.2")).unwrap(), "1.2\n");
        let failed = output(Command::new("sh").args(["-c", "echo no such board >&2; exit 3"])).unwrap_err();
        let text = format!("{failed:#}");
        assert!(text.contains("exit status: 3") && text.ends_with("no such board"), "{text}");
    }
}
