//! Rig files.
//!
//! ```toml
//! name = "firmware"
//! summary = "the node's firmware in an emulated microcontroller, read by the agent"
//! trials = ["firmware"]              # suites; without it the one of the rig's own name
//! cannot_show = ["flash wear"]
//!
//! [parts]
//! agent = { is = "real", with = "the host's binary" }
//! node = { is = "emulated", with = "QEMU lm3s6965evb" }
//!
//! [ports]                            # a bench only: what a trial would otherwise start itself
//! node = "/dev/ttyUSB0"
//! ```

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A rig.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rig {
    /// Its name, and that of its evidence folder.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Suites that run on it; empty: the one of its own name.
    #[serde(default)]
    trials: Vec<String>,
    /// What no trial on it can show, and so needs another rig or a bench.
    #[serde(default)]
    pub cannot_show: Vec<String>,
    /// Parts by name.
    #[serde(default)]
    pub parts: BTreeMap<String, Part>,
    /// Real ports by the part behind them.
    #[serde(default)]
    ports: BTreeMap<String, String>,
}

/// A part of the world.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// How much of it is there.
    pub is: Nature,
    /// By what.
    pub with: String,
}

/// How much of a part is there.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Nature {
    /// The thing itself, or a program that nobody here wrote.
    Real,
    /// Its instructions or registers run as they are, on something else.
    Emulated,
    /// A model of ours behaves like it.
    Simulated,
}

impl Rig {
    /// Reads a rig file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the rig {}", path.display()))?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses the text of a rig file; `from` names it in errors.
    pub fn parse(text: &str, from: &str) -> Result<Self> {
        let rig: Self = toml::from_str(text).with_context(|| format!("{from} is no rig"))?;
        let plain = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        ensure!(
            plain(&rig.name),
            "{from}: name: expected lower case, digits and hyphens, found \"{}\"",
            rig.name
        );
        for (part, port) in &rig.ports {
            ensure!(
                Path::new(port).is_absolute(),
                "{from}: ports.{part}: expected an absolute path, found \"{port}\""
            );
        }
        Ok(rig)
    }

    /// Names of the suites that run on it.
    pub fn suites(&self) -> Vec<&str> {
        if self.trials.is_empty() {
            vec![&self.name]
        } else {
            self.trials.iter().map(String::as_str).collect()
        }
    }

    /// The real port of a part, on a bench.
    pub fn port(&self, part: &str) -> Option<&Path> {
        self.ports.get(part).map(Path::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rig_says_what_is_what_and_a_wrong_one_is_refused_by_place() {
        let text = "name = \"bench\"\nsummary = \"s\"\ntrials = [\"firmware\"]\n[parts]\nnode = { is = \"real\", with = \"w\" }\n\
                    [ports]\nnode = \"/dev/ttyUSB0\"\n";
        let rig = Rig::parse(text, "bench.toml").unwrap();
        assert_eq!((rig.suites(), rig.port("node")), (vec!["firmware"], Some(Path::new("/dev/ttyUSB0"))));
        assert_eq!(rig.parts["node"].is, Nature::Real);
        for (wrong, expected) in [
            ("name = \"A b\"\nsummary = \"\"\n", "name: expected lower case"),
            ("name = \"a\"\nsummary = \"\"\nspeed = 1\n", "speed"),
            (
                "name = \"a\"\nsummary = \"\"\n[ports]\nnode = \"tty\"\n",
                "ports.node: expected an absolute path",
            ),
            ("name = \"a\"\nsummary = \"\"\n[parts]\nx = { is = \"fake\", with = \"\" }\n", "fake"),
        ] {
            let error = format!("{:#}", Rig::parse(wrong, "r.toml").unwrap_err());
            assert!(error.contains("r.toml") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn every_rig_file_of_the_project_is_one() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rigs");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let rig = Rig::read(&path).unwrap();
            assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(rig.name.as_str()));
            assert!(!rig.parts.is_empty() && !rig.cannot_show.is_empty(), "{}", path.display());
            seen += 1;
        }
        assert!(seen > 0);
    }
}
