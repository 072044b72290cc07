//! Installing with a health gate: keep the version before, install, watch, roll back.
//!
//! States: refused -> nothing touched · kept (package of the running version on disk) -> installed -> watched ->
//! done | rolled back | stuck (the way back failed: a person is needed, and is told what to type).
//!
//! Hooks: every program in the hooks folder is called with a stage as its argument, `before`, `after` or `rolled-back`; one
//! that fails at `before` stops the update. A/B systems (Mender, RAUC) take over there: theirs to mark a slot good or bad.

use crate::bundle::Bundle;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Name and version of its software.
    pub software: String,
    /// Seconds since its start.
    pub uptime_s: u64,
}

/// The machine, as far as an update touches it.
pub trait System {
    /// Makes a package of what is installed now.
    fn keep(&mut self, into: &Path) -> Result<(), String>;
    /// Installs a package file and restarts the unit; `back`: an older version is meant.
    fn install(&mut self, package: &Path, back: bool) -> Result<(), String>;
    /// Calls the hooks of a stage.
    fn hook(&mut self, stage: &str) -> Result<(), String>;
    /// Asks the daemon.
    fn health(&mut self) -> Result<Health, String>;
    /// Schema of the ledger that is there; `None`: there is none. One that cannot be read is an error: it may be an old one.
    fn schema(&mut self) -> Result<Option<i64>, String>;
    /// Lets time pass.
    fn pause(&mut self, time: Duration);
    /// Tells a person how far it is.
    fn say(&mut self, text: &str);
}

/// How an update is watched.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Folder for the packages.
    pub folder: PathBuf,
    /// How long the new version may take to answer.
    pub patience: Duration,
    /// How long it must then stay well.
    pub watch: Duration,
    /// Goes on although there is no way back: the new version raises the ledger's schema.
    pub one_way: bool,
}

/// How it ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What runs now.
    pub software: String,
}

/// How it did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Nothing was touched.
    #[error("nothing was changed: {0}")]
    Untouched(String),
    /// The version before runs again.
    #[error("{why}; the version before runs again ({software})")]
    RolledBack {
        /// What was wrong with the new one.
        why: String,
        /// What runs.
        software: String,
    },
    /// The way back failed, too.
    #[error("{why}; going back failed: {back}. By hand: STEELYARD_ALLOW_DOWNGRADE=1 dpkg -i {package}")]
    Stuck {
        /// What was wrong with the new one.
        why: String,
        /// What was wrong with going back.
        back: String,
        /// The package of the version before.
        package: String,
    },
}

/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);

impl Gate {
    /// Installs a checked bundle, watches, and goes back by itself.
    pub fn install(&self, bundle: &Bundle<'_>, system: &mut impl System) -> Result<Done, UpdateError> {
        let untouched = |what: String| UpdateError::Untouched(what);
        let schema = system.schema().map_err(|error| untouched(format!("the ledger's schema: {error}")))?;
        if let Some(found) = schema.filter(|found| *found < bundle.manifest.schema)
            && !self.one_way
        {
            return Err(untouched(format!(
                "expected an update that leaves the ledger's schema at {found}, found one that raises it to {}; there is no way \
                 back from that: make a backup (edgectl ledger backup), then repeat with --one-way",
                bundle.manifest.schema
            )));
        }
        let (new, old) = (self.folder.join("new.deb"), self.folder.join("before.deb"));
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| std::fs::write(&new, bundle.package))
            .map_err(|error| untouched(format!("{}: {error}", new.display())))?;
        system
            .keep(&old)
            .map_err(|error| untouched(format!("the running version cannot be kept: {error}")))?;
        system.hook("before").map_err(|error| untouched(format!("a hook said no: {error}")))?;
        system.say(&format!("installing {} {}", bundle.manifest.package, bundle.manifest.version));
        let failed = match system.install(&new, false) {
            Ok(()) => self.watched(&bundle.manifest.version, system),
            Err(error) => Err(format!("the package does not install: {error}")),
        };
        match failed {
            Ok(software) => {
                system
                    .hook("after")
                    .map_err(|error| self.back(format!("the hook after said no: {error}"), &old, system))?;
                Ok(Done { software })
            }
            Err(why) => Err(self.back(why, &old, system)),
        }
    }

    /// Well means: it answers as the new version, and its uptime only grows, for as long as is watched.
    fn watched(&self, version: &str, system: &mut impl System) -> Result<String, String> {
        let mut waited = Duration::ZERO;
        let mut well = Duration::ZERO;
        let mut before: Option<u64> = None;
        let mut last = "no answer".to_owned();
        while waited < self.patience + self.watch {
            match system.health() {
                Ok(health) if !health.software.split_whitespace().any(|word| word == version) => {
                    last = format!("\"{}\" answers instead of {version}", health.software);
                    well = Duration::ZERO;
                }
                Ok(health) => {
                    if before.is_some_and(|before| health.uptime_s < before) {
                        return Err("the new version was restarted while it was watched".into());
                    }
                    before = Some(health.uptime_s);
                    if well >= self.watch {
                        return Ok(health.software);
                    }
                    well += LOOK;
                }
                Err(error) if before.is_some() => return Err(format!("the new version went away: {error}")),
                Err(error) => last = error,
            }
            if before.is_none() && waited >= self.patience {
                break;
            }
            system.pause(LOOK);
            waited += LOOK;
        }
        Err(format!("the new version was not well within {} s: {last}", self.patience.as_secs()))
    }

    fn back(&self, why: String, old: &Path, system: &mut impl System) -> UpdateError {
        system.say(&format!("{why}; going back"));
        let stuck =
            |why: String, back: String| UpdateError::Stuck { why, back, package: old.display().to_string() };
        if let Err(back) = system.install(old, true) {
            return stuck(why, back);
        }
        let mut waited = Duration::ZERO;
        loop {
            match system.health() {
                Ok(health) => {
                    if let Err(error) = system.hook("rolled-back") {
                        system.say(&format!("the hook after going back: {error}"));
                    }
                    return UpdateError::RolledBack { why, software: health.software };
                }
                Err(error) if waited >= self.patience => return stuck(why, error),
                Err(_) => {
                    system.pause(LOOK);
                    waited += LOOK;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{Manifest, describe};

    /// A machine that runs whatever was installed last, well or not.
    struct Fake {
        runs: String,
        uptime_s: u64,
        /// How the version 0.2.0 behaves.
        new: &'static str,
        hook: Option<&'static str>,
        calls: Vec<String>,
        schema: Result<Option<i64>, String>,
    }

    impl System for Fake {
        fn keep(&mut self, into: &Path) -> Result<(), String> {
            std::fs::write(into, "0.1.0").map_err(|error| error.to_string())
        }
        fn install(&mut self, package: &Path, back: bool) -> Result<(), String> {
            let version = std::fs::read_to_string(package).map_err(|error| error.to_string())?;
            self.calls.push(format!("install {version} {back}"));
            if (self.new == "breaks" && !back) || (self.new == "stuck" && back) {
                return Err("dpkg says no".into());
            }
            (self.runs, self.uptime_s) = (version, 0);
            Ok(())
        }
        fn hook(&mut self, stage: &str) -> Result<(), String> {
            self.calls.push(format!("hook {stage}"));
            if self.hook == Some(stage) { Err("not now".into()) } else { Ok(()) }
        }
        fn health(&mut self) -> Result<Health, String> {
            let new = self.runs == "0.2.0";
            match self.new {
                "mute" | "stuck" if new => return Err("no answer".into()),
                "dies" if new && self.uptime_s > 3 => return Err("gone".into()),
                "loops" if new && self.uptime_s > 3 => self.uptime_s = 0,
                _ => {}
            }
            let software = if self.new == "impostor" { "0.1.0".to_owned() } else { self.runs.clone() };
            Ok(Health { software: format!("edge-agent {software}"), uptime_s: self.uptime_s })
        }
        fn schema(&mut self) -> Result<Option<i64>, String> {
            self.schema.clone()
        }
        fn pause(&mut self, time: Duration) {
            self.uptime_s += time.as_secs();
        }
        fn say(&mut self, _: &str) {}
    }

    fn try_it(
        new: &'static str,
        hook: Option<&'static str>,
        schema: i64,
    ) -> (Result<Done, UpdateError>, Fake) {
        beside(Ok(Some(6)), new, hook, schema)
    }

    fn beside(
        ledger: Result<Option<i64>, String>,
        new: &'static str,
        hook: Option<&'static str>,
        schema: i64,
    ) -> (Result<Done, UpdateError>, Fake) {
        let folder = tempfile::tempdir().unwrap();
        let mut fake =
            Fake { runs: "0.1.0".into(), uptime_s: 50, new, hook, calls: Vec::new(), schema: ledger };
        let gate = Gate {
            folder: folder.path().join("updates"),
            patience: Duration::from_secs(10),
            watch: Duration::from_secs(8),
            one_way: false,
        };
        let manifest: Manifest = describe("steelyard", "0.2.0", "arm64", schema, b"0.2.0");
        let bundle = Bundle { manifest, signer: "release".into(), package: b"0.2.0" };
        (gate.install(&bundle, &mut fake), fake)
    }

    #[test]
    fn a_well_version_stays() {
        let (done, fake) = try_it("well", None, 6);
        assert_eq!(done.unwrap().software, "edge-agent 0.2.0");
        assert_eq!(fake.calls, ["hook before", "install 0.2.0 false", "hook after"]);
    }

    #[test]
    fn whatever_is_wrong_with_the_new_one_the_old_one_runs_again() {
        for new in ["breaks", "mute", "dies", "loops", "impostor"] {
            let (done, fake) = try_it(new, None, 6);
            let error = done.unwrap_err();
            assert!(
                matches!(&error, UpdateError::RolledBack { software, .. } if software.contains("0.1.0")),
                "{new}: {error}"
            );
            assert_eq!(fake.runs, "0.1.0", "{new}");
            assert_eq!(fake.calls.last().map(String::as_str), Some("hook rolled-back"), "{new}");
        }
        let (done, fake) = try_it("well", Some("after"), 6);
        assert!(matches!(done, Err(UpdateError::RolledBack { .. })) && fake.runs == "0.1.0");
    }

    #[test]
    fn what_says_no_before_touches_nothing_and_a_dead_end_says_what_to_type() {
        let (done, fake) = try_it("well", Some("before"), 6);
        assert!(matches!(done, Err(UpdateError::Untouched(_))) && fake.runs == "0.1.0");
        let (done, fake) = try_it("well", None, 7);
        assert!(done.unwrap_err().to_string().contains("--one-way") && fake.calls.is_empty());
        let (done, fake) = beside(Err("permission denied".into()), "well", None, 7);
        assert!(done.unwrap_err().to_string().contains("schema: permission denied") && fake.calls.is_empty());
        let (done, _) = beside(Ok(None), "well", None, 7);
        assert!(done.is_ok(), "no ledger, nothing to come back to");
        let (done, _) = try_it("stuck", None, 6);
        assert!(done.unwrap_err().to_string().contains("By hand: STEELYARD_ALLOW_DOWNGRADE=1 dpkg -i"));
    }
}
