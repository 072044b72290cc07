//! Device profiles from a folder of TOML files.
//!
//! A fault names the file, the line of the entry, and the reason.
//!
//! Contract: every `*.toml` of the folder is a profile, is checked against its own examples, and has a name of its own; one
//! bad file refuses the folder, because a device that silently loses its profile would be a device that is not watched.

use std::collections::BTreeMap;
use std::path::Path;

use drv_protocol::profile::{Place, Profile};
use toml::de::{DeTable, DeValue};

use crate::error::HostError;

/// Largest profile file in bytes.
pub const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Most profiles in one folder.
pub const FILES_MAX: usize = 256;

/// Reads and checks all profiles of `folder`, by name.
///
/// # Errors
/// The first file that cannot be read, parsed or trusted.
pub fn load(folder: &Path) -> Result<BTreeMap<String, Profile>, HostError> {
    let fault_at = |path: &str, reason: &dyn std::fmt::Display| HostError::ProfileFile {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let fault = |path: &Path, reason: &dyn std::fmt::Display| fault_at(&path.display().to_string(), reason);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| fault(folder, &e))? {
        let path = entry.map_err(|e| fault(folder, &e))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            files.push(path);
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        return Err(fault(folder, &format!("expected at most {FILES_MAX} profiles, found {}", files.len())));
    }
    let mut profiles = BTreeMap::new();
    for path in files {
        let size = std::fs::metadata(&path).map_err(|e| fault(&path, &e))?.len();
        if size > FILE_BYTES_MAX {
            return Err(fault(&path, &format!("expected at most {FILE_BYTES_MAX} bytes, found {size}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| fault(&path, &e))?;
        let profile = parse(&text)
            .map_err(|fault| fault_at(&format!("{}:{}", path.display(), fault.line), &fault.reason))?;
        let name = profile.name.clone();
        if profiles.insert(name.clone(), profile).is_some() {
            return Err(fault(&path, &format!("a second profile named {name}")));
        }
    }
    Ok(profiles)
}

/// Why a profile's text was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The line of the entry that is wrong, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads and checks one profile.
///
/// # Errors
/// The first thing found wrong, with its line.
pub fn parse(text: &str) -> Result<Profile, Refused> {
    let profile: Profile = toml::from_str(text).map_err(|error| Refused {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        reason: error.message().to_owned(),
    })?;
    profile.review().map_err(|(place, error)| Refused {
        line: line_of(text, offset_of(text, place).unwrap_or(0)),
        reason: format!("{place}: {error}"),
    })?;
    Ok(profile)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Where the entry begins in the text.
fn offset_of(text: &str, place: Place) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let table = table.get_ref();
    if place.list.is_empty() {
        let key = place.field.split('.').next().unwrap_or_default();
        return table.get(key).map(|value| value.span().start);
    }
    match table.get(place.list)?.get_ref() {
        DeValue::Array(rows) => rows.get(place.index).map(|row| row.span().start),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../configs/devices/generic-probe.toml");

    fn line(text: &str, part: &str) -> usize {
        text.lines().position(|line| line.contains(part)).unwrap() + 1
    }

    fn refused(from: &str, to: &str) -> (String, Refused) {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from} is in the file");
        let refused = parse(&text).unwrap_err();
        (text, refused)
    }

    #[test]
    fn a_bad_entry_is_named_with_its_line() {
        assert!(parse(GOOD).is_ok());
        let (text, found) = refused("min_milli = -60000", "min_milli = 600000");
        assert_eq!(found.line, line(&text, "[[register]]"), "{found:?}");
        assert!(found.reason.contains("register[0]") && found.reason.contains("not below"), "{found:?}");
        let (text, found) = refused("address = 2\n", "address = 0\n");
        assert!(found.reason.contains("overlaps"), "{found:?}");
        assert_eq!(found.line, line(&text, "name = \"door\"") - 1, "{found:?}");
        let (text, found) = refused("milli = 4000", "milli = 4001");
        assert_eq!(found.line, line(&text, "[[example]]"), "{found:?}");
        let (text, found) = refused("type = \"s16\"", "type = \"s17\"");
        assert_eq!(found.line, line(&text, "s17"), "{found:?}");
        let (text, found) = refused("class = \"probe\"", "klass = \"probe\"");
        assert_eq!(found.line, line(&text, "klass"), "{found:?}");
        let (text, found) = refused("source = \"Steelyard", "source = \"\" # \"");
        assert_eq!(
            (found.line, found.reason.as_str()),
            (line(&text, "source ="), "source: `source` is empty")
        );
    }

    #[test]
    fn text_that_is_no_profile_is_refused() {
        for text in ["", "=", "[[[", "name = 1", "\u{0}"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
