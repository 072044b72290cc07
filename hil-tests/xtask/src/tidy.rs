//! Tidy: the architecture and the house rules as checks that can fail.
//!
//! Purpose: `cargo xtask tidy` (and `tests/tidy.rs`) read `cargo metadata` and the source tree and report every arrow that
//! points up, every broken fence, and every source file that breaks a house rule.
//!
//! Contract: each check is a pure function from an input (`Graph` or one file's text) to a list of findings, so that each has
//! a negative test on a made-up input. An empty list means tidy. Nothing is changed, nothing is fetched.
//!
//! Deliberately not here: what clippy and rustfmt already check.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have.
pub const FILE_LINES_MAX: usize = 800;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The package or file.
    pub place: String,
    /// What is wrong and what is expected.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

fn finding(place: &str, what: String) -> Finding {
    Finding { place: place.into(), what }
}

/// Which workspace packages a package may name: (package, for its code, further ones for its tests only).
///
/// This is the floor plan of ARCHITECTURE.md. The rig's packages (`hil-*`) may name everything; no code may name them. Tests
/// of packages that talk to devices, brokers or people may use the far ends of `hil-rig`.
const FLOORS: &[(&str, &[&str], &[&str])] = &[
    ("sync-model", &[], &[]),
    ("sync-core", &["sync-model"], &[]),
    ("sync-codec", &["sync-core", "sync-model"], &["hil-rig", "hil-workload"]),
    ("sync-registers", &["sync-model"], &[]),
    ("sync-evidence", &["sync-core", "sync-model"], &[]),
    ("sync-store", &["sync-core", "sync-evidence", "sync-registers", "sync-model"], &[]),
    ("sync-postgres", &["sync-store", "sync-core", "sync-evidence", "sync-model"], &["hil-rig"]),
    ("sync-mqtt", &["sync-core", "sync-model"], &["hil-rig"]),
    (
        "sync-hq",
        &[
            "sync-mqtt",
            "sync-postgres",
            "sync-store",
            "sync-codec",
            "sync-evidence",
            "sync-core",
            "sync-model",
        ],
        &["hil-rig"],
    ),
    ("sync-verify", &["sync-store", "sync-codec", "sync-evidence", "sync-core", "sync-model"], &[]),
    ("drv-protocol", &[], &[]),
    ("fw-node-core", &["drv-protocol"], &[]),
    ("drv-sim", &["drv-protocol"], &[]),
    ("drv-render", &["drv-protocol"], &[]),
    ("drv-host", &["drv-protocol"], &["drv-sim", "hil-rig"]),
    ("edge-core", &["sync-model"], &[]),
    ("edge-api", &[], &[]),
    (
        "edge-agent",
        &[
            "edge-core",
            "edge-api",
            "edge-ctl",
            "drv-host",
            "drv-protocol",
            "drv-render",
            "sync-mqtt",
            "sync-store",
            "sync-codec",
            "sync-evidence",
            "sync-core",
            "sync-model",
        ],
        &["drv-sim", "hil-rig"],
    ),
    ("edge-update", &[], &[]),
    ("edge-ctl", &["edge-api", "edge-update"], &["hil-rig", "drv-sim"]),
];

/// Packages of the rig: they see everything, only they see each other.
const RIG: &[&str] = &[
    "hil-rig",
    "hil-workload",
    "hil-storesim",
    "hil-bench",
    "hil-demo",
    "hil-settle",
    "hil-model",
    "hil-fuzz",
    "hil-release",
    "hil-pages",
    "hil-arm",
    "hil-kernel",
    "hil-powercut",
    "hil-network",
    "hil-trials",
    "hil-firmware",
    "hil-xtask",
];

/// Which packages may name an outside crate directly: (crate, packages).
const FENCES: &[(&str, &[&str])] = &[
    ("rumqttc", &["sync-mqtt"]),
    ("btleplug", &["drv-host"]),
    ("serialport", &["drv-host"]),
    ("linux-embedded-hal", &["drv-host"]),
    // hil-bench: the bare inserts that the ledger is compared with. hil-powercut: counts what a cut left without our code.
    // edge-ctl: a test makes the log that the schema is read from.
    ("rusqlite", &["sync-store", "hil-bench", "hil-powercut", "edge-ctl"]),
    // hil-bench: the bare COPY that `bench sync` compares the ledger with.
    ("tokio-postgres", &["sync-postgres", "hil-bench"]),
    ("axum", &["edge-agent", "sync-hq"]),
    ("rustls", &["sync-mqtt"]),
    ("rcgen", &["sync-hq"]),
    ("crdts", &["sync-registers"]),
    // sync-store: snapshots travel compressed.
    ("zstd", &["sync-codec", "sync-store"]),
    ("zbus", &["hil-rig"]),
];

/// Packages that decide and never wait: no async runtime, not even through a dependency.
const PURE: &[&str] = &[
    "drv-protocol",
    "fw-node-core",
    "drv-render",
    "drv-sim",
    "sync-model",
    "sync-core",
    "sync-evidence",
    "sync-store",
    "sync-verify",
    "edge-core",
];

/// Packages whose library must build without the standard library.
const NO_STD: &[&str] =
    &["drv-protocol", "fw-node-core", "drv-render", "sync-model", "sync-core", "sync-evidence", "edge-core"];

/// How a package names another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// In its code or build script.
    Code,
    /// In its tests only.
    Test,
}

/// What the checks need of `cargo metadata`.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Workspace package -> its folder.
    pub members: BTreeMap<String, PathBuf>,
    /// Workspace package -> what its manifest names.
    pub named: BTreeMap<String, BTreeSet<(String, Use)>>,
    /// Any package id -> (its name, ids that its code links).
    pub links: BTreeMap<String, (String, Vec<String>)>,
}

impl Graph {
    /// Reads the workspace at `root`.
    pub fn load(root: &Path) -> Result<Self> {
        let out = hil_rig::run::cargo()
            .args(["metadata", "--format-version", "1"])
            .current_dir(root)
            .output()
            .context("cargo metadata does not start")?;
        if !out.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        Self::parse(&serde_json::from_slice(&out.stdout).context("cargo metadata is not JSON")?)
    }

    /// Takes the parts that the checks need out of the metadata document.
    pub fn parse(metadata: &Value) -> Result<Self> {
        let mut graph = Self::default();
        let members: BTreeSet<&str> =
            array(metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        for package in array(metadata, "packages")? {
            if !members.contains(text(package, "id")?) {
                continue;
            }
            let name = text(package, "name")?.to_owned();
            let manifest = PathBuf::from(text(package, "manifest_path")?);
            let folder = manifest.parent().context("a manifest without a folder")?.to_owned();
            let mut named = BTreeSet::new();
            for dependency in array(package, "dependencies")? {
                let kind = if dependency["kind"] == "dev" { Use::Test } else { Use::Code };
                named.insert((text(dependency, "name")?.to_owned(), kind));
            }
            graph.members.insert(name.clone(), folder);
            graph.named.insert(name, named);
        }
        let names: BTreeMap<&str, &str> = array(metadata, "packages")?
            .iter()
            .filter_map(|p| Some((p["id"].as_str()?, p["name"].as_str()?)))
            .collect();
        for node in array(&metadata["resolve"], "nodes")? {
            let id = text(node, "id")?;
            let name = names.get(id).with_context(|| format!("no package for node {id}"))?;
            let links = array(node, "deps")?
                .iter()
                .filter(|dep| {
                    dep["dep_kinds"].as_array().is_some_and(|k| k.iter().any(|k| k["kind"].is_null()))
                })
                .filter_map(|dep| dep["pkg"].as_str().map(str::to_owned))
                .collect();
            graph.links.insert(id.to_owned(), ((*name).to_owned(), links));
        }
        Ok(graph)
    }
}

fn array<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("cargo metadata: no list '{key}'"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("cargo metadata: no text '{key}'"))
}

/// Arrows between workspace packages that the floor plan does not have.
pub fn arrows(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, named) in &graph.named {
        if RIG.contains(&name.as_str()) {
            continue;
        }
        let Some((_, code, tests)) = FLOORS.iter().find(|(floor, ..)| floor == name) else {
            found.push(finding(name, "has no floor: add it to FLOORS in hil-tests/xtask/src/tidy.rs".into()));
            continue;
        };
        for (target, usage) in named.iter().filter(|(target, _)| graph.members.contains_key(target)) {
            let allowed = code.contains(&target.as_str())
                || (*usage == Use::Test && (tests.contains(&target.as_str()) || target == name));
            if !allowed {
                found.push(finding(
                    name,
                    format!("may not depend on {target}: the arrow points up or across"),
                ));
            }
        }
    }
    found
}

/// Outside crates named beyond their fence, and runtimes linked into pure packages.
pub fn fences(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, named) in &graph.named {
        for (target, _) in named {
            if let Some((_, homes)) = FENCES.iter().find(|(fenced, _)| fenced == target)
                && !homes.contains(&name.as_str())
            {
                found.push(finding(name, format!("{target} is fenced into {}", homes.join(", "))));
            }
        }
        if PURE.contains(&name.as_str()) {
            if named.iter().any(|(target, _)| target == "tokio") {
                found.push(finding(name, "is pure and names tokio".into()));
            } else if let Some(path) = route_to(graph, name, "tokio") {
                found.push(finding(name, format!("is pure and links tokio through {path}")));
            }
        }
    }
    found
}

/// A chain of links from workspace package `from` to a package named `to`, if there is one.
fn route_to(graph: &Graph, from: &str, to: &str) -> Option<String> {
    let start = graph.links.iter().find(|(_, (name, _))| name == from)?.0;
    let mut seen = BTreeSet::from([start]);
    let mut open = vec![(start, vec![from])];
    while let Some((id, path)) = open.pop() {
        for next in graph.links.get(id).map(|(_, links)| links.as_slice()).unwrap_or_default() {
            let Some((name, _)) = graph.links.get(next) else { continue };
            if !seen.insert(next) {
                continue;
            }
            let mut path = path.clone();
            path.push(name);
            if name == to {
                return Some(path.join(" -> "));
            }
            open.push((next, path));
        }
    }
    None
}

/// A package's manifest and crate root: one lint table for all, `no_std` where it is promised.
pub fn manifest(name: &str, manifest: &str, root: Option<&str>) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines: Vec<&str> = manifest.lines().map(str::trim).collect();
    if !lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]) {
        found.push(finding(name, "Cargo.toml lacks '[lints] workspace = true'".into()));
    }
    if NO_STD.contains(&name) && !root.is_some_and(|text| text.contains("no_std")) {
        found.push(finding(name, "src/lib.rs must be #![no_std]".into()));
    }
    found
}

/// Words that mark unfinished work, spelled so that this file does not contain them.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("dbg", "!(")];

/// A test that is switched off, spelled so that this file does not contain it.
const SWITCHED_OFF: &str = concat!("#[ig", "nore");

/// House rules for one source file. `path` is relative to the checkout.
pub fn source(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if path.ends_with(".rs") {
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if !first.starts_with("//!") {
            found.push(finding(path, "starts without a //! header that says its purpose".into()));
        }
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.push(finding(path, format!("has {lines} lines, at most {FILE_LINES_MAX}: split it")));
        }
    }
    for (index, line) in text.lines().enumerate() {
        let place = format!("{path}:{}", index + 1);
        for word in UNFINISHED.iter().filter(|word| holds_word(line, word)) {
            found.push(finding(
                &place,
                format!("'{word}' marks unfinished work: finish it or write an issue"),
            ));
        }
        if line.contains(SWITCHED_OFF) {
            found.push(finding(&place, "a test is switched off: mend it or delete it".into()));
        }
    }
    found
}

/// Whether `word` stands in `line` and is not the end or beginning of a longer name.
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !joins(before) && (word.ends_with('(') || !joins(after))
    })
}

/// Folders of the checkout that hold our own sources.
const FOLDERS: &[&str] =
    &[".ci", ".cargo", "configs", "drivers", "edge-agent", "firmware", "hil-tests", "sync"];

/// Every finding in the checkout at `root`.
pub fn check(root: &Path) -> Result<Vec<Finding>> {
    let graph = Graph::load(root)?;
    let mut found = arrows(&graph);
    found.extend(fences(&graph));
    for (name, folder) in &graph.members {
        let path = folder.join("Cargo.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let lib = fs::read_to_string(folder.join("src/lib.rs")).ok();
        found.extend(manifest(name, &text, lib.as_deref()));
    }
    let mut files = Vec::new();
    for folder in FOLDERS {
        walk(&root.join(folder), &mut files)?;
    }
    for path in files {
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        found.extend(source(&shown, &text));
    }
    found.sort();
    Ok(found)
}

/// Collects the text files under `folder` that the house rules speak about; build outputs are left out.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && name != "__pycache__" {
                walk(&path, files)?;
            }
        } else if [".rs", ".toml", ".sh", ".py", ".js", ".html", ".css", ".sql"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            files.push(path);
        }
    }
    Ok(())
}
