//! `cargo xtask hil`: trials on rigs.
//!
//! Contract: without a name the rigs of [`EVERY_TIME`] run, which are those of `cargo xtask test`; a name or a rig file picks
//! one, `all` every one. The table goes to standard output (with `--json` one JSON line instead, the table to standard
//! error), JUnit XML to `target/hil/junit.xml`, what a trial leaves to `target/hil/RIG/TRIAL/`.

use anyhow::{Context, Result, bail, ensure};
use hil_trials::{Bench, Outcome, Place, Record, Rig, Suite, Trial, Verdict, report};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Rigs that fit into the time of `cargo xtask test` and install what they need.
pub const EVERY_TIME: [&str; 4] = ["fast", "firmware", "powercut", "network"];

/// What was asked for.
pub struct Options {
    /// A rig's name, a path of a rig file, `all`, or the rigs of every run.
    pub rig: Option<String>,
    /// Only trials whose name contains this.
    pub trial: Option<String>,
    /// One JSON line on standard output.
    pub json: bool,
    /// Only say what there is.
    pub list: bool,
}

/// Every suite there is.
fn suites() -> Vec<Suite> {
    vec![
        fast(),
        hil_arm::packages::suite(),
        hil_arm::arm::suite(),
        hil_kernel::suite(),
        hil_powercut::suite(),
        hil_network::suite(),
        hil_firmware::suite(),
    ]
}

/// Runs the trials. `Ok(false)`: one failed.
pub fn run(root: &Path, programs: &Path, options: &Options) -> Result<bool> {
    let rigs = chosen(root, options.rig.as_deref())?;
    let suites = suites();
    if options.list {
        list(&rigs, &suites);
        return Ok(true);
    }
    let evidence = root.join("target/hil");
    let cache = hil_rig::python::cache_dir()?;
    let place = Place { root: root.into(), programs: programs.into(), cache, evidence };
    let mut records = Vec::new();
    for rig in &rigs {
        for name in rig.suites() {
            let suite = suites.iter().find(|suite| suite.rig == name);
            let suite = suite.with_context(|| format!("rig {}: there are no trials \"{name}\"", rig.name))?;
            records.extend(hil_trials::run(suite, rig, &place, options.trial.as_deref())?);
        }
    }
    ensure!(!records.is_empty(), "no trial has \"{}\" in its name", options.trial.as_deref().unwrap_or(""));
    let xml = place.evidence.join("junit.xml");
    std::fs::write(&xml, report::junit(&records))
        .with_context(|| format!("cannot write {}", xml.display()))?;
    let held = records.iter().all(Record::held);
    if options.json {
        eprint!("{}", report::table(&records));
        println!("{}", closing(&records, held));
    } else {
        print!("{}", report::table(&records));
    }
    Ok(held)
}

fn closing(records: &[Record], held: bool) -> Value {
    let trials: Vec<Value> = records
        .iter()
        .map(|record| {
            let (result, note) = match &record.outcome {
                Outcome::Passed(seen) => ("ok", seen),
                Outcome::Skipped(reason) => ("skipped", reason),
                Outcome::Failed(why) => ("failed", why),
            };
            json!({"rig": record.rig, "trial": record.trial, "result": result, "note": note,
                   "seconds": record.took.as_secs_f64()})
        })
        .collect();
    json!({"hil": true, "ok": held, "trials": trials})
}

fn chosen(root: &Path, asked: Option<&str>) -> Result<Vec<Rig>> {
    let folder = root.join("hil-tests/rigs");
    let named = |name: &str| Rig::read(&folder.join(name).with_extension("toml"));
    match asked {
        None => EVERY_TIME.iter().map(|name| named(name)).collect(),
        Some("all") => names(&folder)?.iter().map(|name| named(name)).collect(),
        Some(file) if file.ends_with(".toml") => Ok(vec![Rig::read(Path::new(file))?]),
        Some(name) => {
            let names = names(&folder)?;
            if !names.iter().any(|known| known == name) {
                bail!("expected a rig file or one of {}, all; found \"{name}\"", names.join(", "));
            }
            Ok(vec![named(name)?])
        }
    }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|kind| kind == "toml") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

fn list(rigs: &[Rig], suites: &[Suite]) {
    for rig in rigs {
        println!("{}: {}", rig.name, rig.summary);
        for (name, part) in &rig.parts {
            println!("  {name} is {}: {}", format!("{:?}", part.is).to_lowercase(), part.with);
        }
        rig.cannot_show.iter().for_each(|what| println!("  cannot show: {what}"));
        for suite in suites.iter().filter(|suite| rig.suites().contains(&suite.rig)) {
            suite.trials.iter().for_each(|trial| println!("  trial {}: {}", trial.name, trial.shows));
        }
    }
}

/// The fast rig: the host's programs, devices on pseudo-terminals, TCP and a private D-Bus, a real broker.
fn fast() -> Suite {
    let trials = vec![
        Trial {
            name: "store-day",
            shows: "a day with every device class, cuts and kills: every fact in the store and at HQ exactly once",
            run: |bench| myself(bench, &["demo", "--once", "--json", "--seed", "1"]),
        },
        Trial {
            name: "cables",
            shows: "pulled cables: which device, since when, why and what to do, on the page's data and in edgectl",
            run: |bench| {
                myself(bench, &["demo", "--chaos", "--once", "--json", "--pulls", "4", "--seed", "1"])
            },
        },
        Trial {
            name: "kill-9",
            shows: "SIGKILL of the agent under till load: every acknowledged ticket is there once",
            run: |bench| myself(bench, &["crash", "--rounds", "10", "--json"]),
        },
    ];
    Suite { rig: "fast", trials }
}

/// A trial that is a command of this program: its closing JSON line is what was seen, its log stays as evidence.
fn myself(bench: &Bench<'_>, args: &[&str]) -> Result<Verdict> {
    let log = File::create(bench.folder.join("stderr.log"))?;
    let output = Command::new(hil_rig::processes::myself()?)
        .current_dir(&bench.place.root)
        .args(args)
        .arg("--programs")
        .arg(&bench.place.programs)
        .stdin(Stdio::null())
        .stderr(log)
        .output()
        .context("this program does not start once more")?;
    let text = String::from_utf8_lossy(&output.stdout);
    std::fs::write(bench.folder.join("stdout.json"), &output.stdout)?;
    let last = text.lines().last().unwrap_or("no closing line").to_owned();
    ensure!(output.status.success(), "{}: {last}", output.status);
    let seen: Value = serde_json::from_str(&last).with_context(|| format!("no closing JSON line: {last}"))?;
    Ok(Verdict::Passed(brief(&seen)))
}

/// The plain fields of a closing line, lists as their length.
fn brief(seen: &Value) -> String {
    let Some(fields) = seen.as_object() else { return seen.to_string() };
    let part = |(name, value): (&String, &Value)| match value {
        Value::Array(items) => format!("{} {name}", items.len()),
        Value::Object(_) => name.clone(),
        plain => format!("{name} {plain}"),
    };
    fields.iter().map(part).collect::<Vec<_>>().join(", ")
}
