//! Snapshots of one store for a replacement gateway.
//!
//! Contract: a snapshot is made of one state of the ledger, by a reader, beside everything else. It carries the records of
//! the last `days`, so a gateway made of it still has what a HQ restored from a backup of that age would ask for.
//! With PostgreSQL the store's logs are first read into a private SQLite ledger, block by block, which folds and checks them.

use crate::vault::VaultReader;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use sync_core::replica::Incoming;
use sync_core::{BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX};
use sync_model::{ClockQuality, Seq, Stamp, StoreId, Text, UnixMillis};
use sync_store::{Ledger, LedgerConfig, LedgerError, Owner, Reader, Refusal, SnapshotNote};

/// Days of records in a snapshot unless told otherwise: what stores keep.
pub const SNAPSHOT_DAYS: u32 = 90;

fn io(path: &Path, error: &std::io::Error) -> LedgerError {
    LedgerError::Storage { context: format!("snapshot {}", path.display()), detail: error.to_string() }
}

/// Writes a snapshot of a SQLite ledger's store, which may be in use, into a new file.
pub fn write_snapshot(
    ledger: &Path,
    store: StoreId,
    days: u32,
    now: UnixMillis,
    out: &Path,
) -> Result<SnapshotNote, LedgerError> {
    from_sqlite(&Reader::open(ledger)?, store, days, now, out)
}

fn from_sqlite(
    reader: &Reader,
    store: StoreId,
    days: u32,
    now: UnixMillis,
    out: &Path,
) -> Result<SnapshotNote, LedgerError> {
    let partial = PathBuf::from(format!("{}.partial", out.display()));
    let before = now.plus(i64::from(days).saturating_mul(-86_400_000));
    let file = File::create(&partial).map_err(|error| io(&partial, &error))?;
    let note = reader.snapshot(store, before, now, BufWriter::new(&file));
    let durable = || file.sync_all().and_then(|()| std::fs::rename(&partial, out));
    let done = note.and_then(|note| durable().map(|()| note).map_err(|error| io(out, &error)));
    if done.is_err()
        && let Err(error) = std::fs::remove_file(&partial)
    {
        tracing::debug!(%error, path = %partial.display(), "half a snapshot stays");
    }
    done
}

/// The same from whatever engine holds the ledger.
pub(crate) fn write(
    reader: &VaultReader,
    store: StoreId,
    days: u32,
    now: UnixMillis,
    out: &Path,
) -> Result<SnapshotNote, LedgerError> {
    if let VaultReader::Sqlite(reader) = reader {
        return from_sqlite(reader, store, days, now, out);
    }
    let copy = PathBuf::from(format!("{}.ledger", out.display()));
    let clean = || {
        for end in ["", "-wal", "-shm", ".lock"] {
            let path = PathBuf::from(format!("{}{end}", copy.display()));
            if path.exists()
                && let Err(error) = std::fs::remove_file(&path)
            {
                tracing::warn!(%error, path = %path.display(), "private ledger of a snapshot stays");
            }
        }
    };
    clean();
    let done = copied(reader, store, now, &copy).and_then(|()| write_snapshot(&copy, store, days, now, out));
    clean();
    done
}

/// Reads a store's logs into a private ledger.
fn copied(reader: &VaultReader, store: StoreId, now: UnixMillis, copy: &Path) -> Result<(), LedgerError> {
    let config = LedgerConfig {
        path: copy.to_owned(),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::lossy(concat!("sync-hq ", env!("CARGO_PKG_VERSION"))),
        queue: 8,
    };
    let stamp = Stamp { at: now, clock: ClockQuality::Unsynced };
    let (ledger, _) = Ledger::open(config, stamp)?;
    for row in reader.heads()?.into_iter().filter(|row| row.log.store == store) {
        let mut next = Seq(1);
        // Up to the end that was read first: what comes meanwhile belongs to the next snapshot.
        while next <= row.head {
            let block = reader.block(row.log, next, BLOCK_RECORDS_MAX, BLOCK_BYTES_MAX)?;
            let block = block.ok_or(LedgerError::Damaged { log: row.log, upto: next })?;
            next = block.last().next();
            let block = Incoming::from(block);
            let outcome = ledger.call(move |draft| Ok(draft.take_in(&block, stamp)?.ingested.outcome))?;
            if !matches!(outcome, sync_core::replica::IngestOutcome::Applied { .. }) {
                let detail = format!("log {} at {next}: {}", row.log, outcome.code());
                return Err(Refusal::new("no-snapshot", detail).into());
            }
        }
    }
    Ok(())
}
