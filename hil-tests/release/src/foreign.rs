//! Packages of another architecture, unpacked into the cache folder.
//!
//! apt is given a state of its own for the other architecture, so that nothing of the machine's set-up changes: adding an
//! architecture to dpkg makes every later `apt-get update` fetch, and possibly fail on, indexes that nobody else needs.

use anyhow::{Context, Result, ensure};
use hil_rig::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// apt for one foreign architecture.
#[derive(Debug)]
pub struct Foreign {
    root: PathBuf,
    arch: &'static str,
}

impl Foreign {
    /// Fetches the indexes of the system's sources for `arch`.
    pub fn open(arch: &'static str) -> Result<Self> {
        let root = hil_rig::python::cache_dir()?.join(format!("apt-{arch}"));
        for folder in ["state/lists/partial", "cache/archives/partial", "archives"] {
            std::fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot make {}", root.display()))?;
        }
        std::fs::write(root.join("status"), "").context("write an empty package state")?;
        let apt = Self { root, arch };
        // A source that does not have the architecture is no reason to stop: the download says what is missing.
        if let Err(error) = run::run(apt.command("apt-get").args(["update", "-qq"])) {
            eprintln!("warning: {error:#}");
        }
        Ok(apt)
    }

    /// The options that every call needs, for callers that hand them on (mmdebstrap).
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let root = self.root.display();
        for option in [
            format!("APT::Architecture={}", self.arch),
            format!("APT::Architectures={}", self.arch),
            format!("Dir::State={root}/state"),
            format!("Dir::State::status={root}/status"),
            format!("Dir::Cache={root}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    /// Downloads one package and gives its file; a file that is there already is not fetched again.
    pub fn fetch(&self, package: &str) -> Result<PathBuf> {
        let mut files = self.fetch_all(&[package.to_owned()])?;
        files.pop().with_context(|| format!("apt names no file for {package}:{}", self.arch))
    }

    /// Downloads packages and gives their files. One call for all: apt reads its indexes anew in each.
    pub fn fetch_all(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let list = run::output(self.command("apt-get").args(["--print-uris", "download"]).args(packages))?;
        let folder = self.root.join("archives");
        let files: Vec<PathBuf> = list
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .map(|name| folder.join(name))
            .collect();
        ensure!(
            files.len() == packages.len(),
            "apt names {} files for {} packages",
            files.len(),
            packages.len()
        );
        if files.iter().any(|file| !file.is_file()) {
            run::run(self.command("apt-get").args(["download", "-qq"]).args(packages).current_dir(&folder))?;
        }
        for file in &files {
            ensure!(file.is_file(), "apt downloaded something else than {}", file.display());
        }
        Ok(files)
    }

    /// Everything that installing `packages` on an empty system would bring, as package names.
    pub fn closure(&self, packages: &[&str]) -> Result<Vec<String>> {
        let mut command = self.command("apt-get");
        command.args(["install", "--simulate", "-qq"]).args(packages);
        let text = run::output(&mut command)?;
        let mut names: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("Inst "))
            .filter_map(|rest| rest.split_whitespace().next())
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Unpacks a package file below `into`.
    pub fn unpack(file: &Path, into: &Path) -> Result<()> {
        std::fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
        run::run(Command::new("dpkg-deb").arg("-x").arg(file).arg(into))
    }
}
