//! A replacement gateway takes over: from HQ's snapshot, then from the old disk if it can be read.
//!
//! Contract: both run while the daemon does not (the ledger's lock sees to that). A bootstrap makes a ledger where there is
//! none, or leaves nothing behind. An import changes nothing but what is missing, however often it is run; the old file is
//! only read, from a private copy, so that even its journal stays as it is.
//!
//! What does not come along: idempotency keys of facts that only HQ knows (ticket numbers do, so a ticket still cannot count
//! twice), latches and timers of devices, raw samples, rights to shared stock (HQ grants them to the new epoch).

use crate::clock::Clock;
use crate::config::Config;
use anyhow::{Context, ensure};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use sync_model::StoreId;
use sync_store::{Imported, Ledger, LedgerConfig, Loaded, Owner};

fn ledger_config(config: &Config) -> anyhow::Result<LedgerConfig> {
    let dir = &config.ledger.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("ledger folder {}", dir.display()))?;
    Ok(LedgerConfig {
        path: dir.join("ledger.db"),
        owner: Owner::Store(StoreId(config.store.id)),
        max_bytes: config.ledger.max_bytes,
        software: crate::daemon::software(),
        queue: config.ledger.queue,
    })
}

/// Makes the ledger from a snapshot.
pub fn bootstrap(config: &Config, snapshot: &Path) -> anyhow::Result<Loaded> {
    let file = File::open(snapshot).with_context(|| format!("snapshot {}", snapshot.display()))?;
    let ledger = ledger_config(config)?;
    Ok(Ledger::bootstrap(&ledger, BufReader::new(file), Clock::new().stamp())?)
}

/// Imports what an old ledger file still has.
pub fn import(config: &Config, old: &Path) -> anyhow::Result<Imported> {
    let to = ledger_config(config)?;
    ensure!(old.is_file(), "{}: no such ledger", old.display());
    let same = |path: &Path| path.canonicalize().ok();
    ensure!(same(old) != same(&to.path), "{} is the ledger of this gateway itself", old.display());
    let copy = PathBuf::from(format!("{}.import", to.path.display()));
    let clean = || {
        for end in ["", "-wal", "-shm"] {
            let path = PathBuf::from(format!("{}{end}", copy.display()));
            if path.exists()
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(%error, path = %path.display(), "copy of the old ledger stays");
            }
        }
    };
    let run = || -> anyhow::Result<Imported> {
        for end in ["", "-wal"] {
            let from = PathBuf::from(format!("{}{end}", old.display()));
            if from.exists() {
                std::fs::copy(&from, format!("{}{end}", copy.display()))
                    .with_context(|| format!("copy {}", from.display()))?;
            }
        }
        let stamp = Clock::new().stamp();
        let (ledger, _) = Ledger::open(to.clone(), stamp)?;
        Ok(ledger.import(&copy, StoreId(config.store.id), stamp)?)
    };
    clean();
    let done = run();
    clean();
    done
}
