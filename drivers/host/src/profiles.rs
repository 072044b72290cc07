//! Device profiles from a folder of TOML files.
//!
//! Contract: every `*.toml` of the folder is a profile, is checked against its own examples, and has a name of its own; one
//! bad file refuses the folder, because a device that silently loses its profile would be a device that is not watched.

use std::collections::BTreeMap;
use std::path::Path;

use drv_protocol::profile::Profile;

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
    let fault = |path: &Path, reason: &dyn std::fmt::Display| HostError::ProfileFile {
        path: path.display().to_string(),
        reason: reason.to_string(),
    };
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
        let profile: Profile = toml::from_str(&text).map_err(|e| fault(&path, &e))?;
        profile.check().map_err(|e| fault(&path, &e))?;
        let name = profile.name.clone();
        if profiles.insert(name.clone(), profile).is_some() {
            return Err(fault(&path, &format!("a second profile named {name}")));
        }
    }
    Ok(profiles)
}
