//! HQ's view of the registry while it runs: who may speak. Follows the file, so that a revocation needs no restart.

use super::registry::{Registry, RegistryError, Standing};
use super::unix_now_s;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use sync_model::StoreId;

/// How often the file is looked at.
const LOOK_MS: u64 = 500;

/// How often the file is read although it did not change.
const TELL_MS: u64 = 60_000;

/// The registry as last read.
#[derive(Debug)]
pub(crate) struct Roster {
    path: PathBuf,
    standings: BTreeMap<StoreId, Standing>,
    /// Keys in force, by store.
    keys: BTreeMap<StoreId, Vec<[u8; 32]>>,
    /// Time and length of the file that was read.
    mark: Option<(SystemTime, u64)>,
    look_at: u64,
    /// Standings change with time as well: the file is read now and then although it did not change.
    tell_at: u64,
}

impl Roster {
    /// Reads the registry of an identity folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, RegistryError> {
        let path = folder.join("registry.json");
        let mark = mark(&path);
        let registry = Registry::load(&path)?;
        let (standings, keys) = (registry.standings(unix_now_s()), keys(&registry));
        Ok(Self { path, standings, keys, mark, look_at: 0, tell_at: 0 })
    }

    /// Reads the file again if it changed. A file that cannot be read leaves what is known: whoever was revoked stays so.
    /// Answers whether standings may have changed.
    pub(crate) fn follow(&mut self, now_ms: u64) -> bool {
        if now_ms < self.look_at {
            return false;
        }
        self.look_at = now_ms.saturating_add(LOOK_MS);
        if mark(&self.path) == self.mark && now_ms < self.tell_at {
            return false;
        }
        self.tell_at = now_ms.saturating_add(TELL_MS);
        self.read();
        true
    }

    fn read(&mut self) {
        // Marked before reading: a write in between is read at the next look.
        self.mark = mark(&self.path);
        match Registry::load(&self.path) {
            Ok(registry) => {
                self.standings = registry.standings(unix_now_s());
                self.keys = keys(&registry);
            }
            Err(error) => {
                tracing::error!(%error, "registry of certificates cannot be read: the last one stays in force");
            }
        }
    }

    /// Why a store is not heard: code and text; `None` for one that is. Validity in time is no reason here.
    pub(crate) fn refusal(&mut self, store: StoreId) -> Option<(&'static str, String)> {
        if !self.standings.contains_key(&store) && mark(&self.path) != self.mark {
            // Enrolled a moment ago: its first word must not be held against it.
            self.read();
            // The next look tells what was read.
            self.tell_at = 0;
        }
        self.standings.get(&store).unwrap_or(&Standing::Unknown).refusal()
    }

    /// Keys that seal a store's facts: every one it ever had, those that were revoked aside.
    pub(crate) fn keys(&self, store: StoreId) -> &[[u8; 32]] {
        self.keys.get(&store).map_or(&[], Vec::as_slice)
    }

    /// Every store of the registry with its standing.
    pub(crate) fn standings(&self) -> &BTreeMap<StoreId, Standing> {
        &self.standings
    }
}

/// Keys that are not revoked; one pass.
fn keys(registry: &Registry) -> BTreeMap<StoreId, Vec<[u8; 32]>> {
    let mut keys: BTreeMap<StoreId, Vec<[u8; 32]>> = BTreeMap::new();
    for row in registry.rows.iter().filter(|row| row.revoked.is_none()) {
        if let (Some(store), Some(key)) = (row.store, row.key()) {
            let of = keys.entry(StoreId(store)).or_default();
            if !of.contains(&key) {
                of.push(key);
            }
        }
    }
    keys
}

fn mark(path: &Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}
