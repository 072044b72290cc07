//! What a check found: named findings, numbers about what was checked, one text and one JSON form.

use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Findings that are listed; all are counted.
const FINDINGS_MAX: usize = 200;
/// Largest file that is read into memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A file that cannot be read: nothing was checked.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {detail}")]
pub(crate) struct Unreadable {
    path: PathBuf,
    detail: String,
}

impl Unreadable {
    pub(crate) fn new(path: &Path, detail: impl ToString) -> Self {
        Self { path: path.to_owned(), detail: detail.to_string() }
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        let error = self.to_string();
        format!("{}\n", json!({"schema": "steelyard.verify/1", "ok": false, "error": error}))
    }
}

/// Reads a file of bounded size.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let file = std::fs::File::open(path).map_err(|error| Unreadable::new(path, error))?;
    let mut bytes = Vec::new();
    let mut bounded = file.take(FILE_BYTES_MAX + 1);
    bounded.read_to_end(&mut bytes).map_err(|error| Unreadable::new(path, error))?;
    if u64::try_from(bytes.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(Unreadable::new(path, format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable word.
    pub(crate) name: String,
    /// Where, and what was expected and found.
    pub(crate) detail: String,
}

/// The outcome of a check.
#[derive(Debug)]
pub(crate) struct Report {
    form: &'static str,
    findings: Vec<Finding>,
    count: u64,
    facts: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(form: &'static str) -> Self {
        Self { form, findings: Vec::new(), count: 0, facts: Map::new() }
    }

    /// Adds a finding; the list is bounded, the count is not.
    pub(crate) fn add(&mut self, name: impl Into<String>, detail: impl ToString) {
        self.count += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { name: name.into(), detail: detail.to_string() });
        }
    }

    /// Says what was checked.
    pub(crate) fn fact(&mut self, name: &str, value: impl Serialize) {
        self.facts.insert(name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
    }

    pub(crate) fn holds(&self) -> bool {
        self.count == 0
    }

    /// One line of JSON.
    pub(crate) fn json(&self) -> String {
        let mut out = self.facts.clone();
        out.insert("schema".to_owned(), json!("steelyard.verify/1"));
        out.insert("form".to_owned(), json!(self.form));
        out.insert("ok".to_owned(), json!(self.holds()));
        out.insert("finding_count".to_owned(), json!(self.count));
        out.insert("findings".to_owned(), json!(self.findings));
        format!("{}\n", Value::Object(out))
    }

    /// Lines for a reader.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}: {}\n", self.form, if self.holds() { "holds" } else { "DOES NOT HOLD" });
        for (name, value) in &self.facts {
            if !value.is_array() && !value.is_object() {
                writeln!(out, "  {name}: {value}").unwrap_or_default();
            }
        }
        for finding in &self.findings {
            writeln!(out, "  {}: {}", finding.name, finding.detail).unwrap_or_default();
        }
        let hidden = self.count.saturating_sub(u64::try_from(self.findings.len()).unwrap_or(u64::MAX));
        if hidden > 0 {
            writeln!(out, "  and {hidden} more").unwrap_or_default();
        }
        out
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
