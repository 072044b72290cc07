//! Schema, pragmas and the facts a file keeps about itself.
//!
//! Invariants
//! * `application_id` is [`APPLICATION_ID`]; `user_version` and the meta row `schema` agree on the schema version. A file
//!   where they disagree is damaged; a file where both are newer than this build is refused.
//! * Migrations are numbered, only added, never edited, and run forward in one transaction.
//! * A meta value ends with the first 8 bytes of BLAKE3 over key and value, so that a flipped bit in the owner is
//!   noticed as damage instead of being believed.

use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use sync_model::StoreId;

/// "SYLG": marks the file as a Steelyard ledger.
pub(crate) const APPLICATION_ID: i64 = 0x5359_4c47;
/// Newest schema version that this build knows.
pub const SCHEMA: i64 = 6;

/// Every migration, in order. Position + 1 is the version it leads to, whatever the number of its file.
pub(crate) const MIGRATIONS: [&str; 6] = [
    include_str!("../migrations/001_log.sql"),
    include_str!("../migrations/002_folds.sql"),
    include_str!("../migrations/003_local.sql"),
    include_str!("../migrations/004_answer_pos.sql"),
    include_str!("../migrations/007_truncation.sql"),
    include_str!("../migrations/008_signed_end.sql"),
];
/// The schema of a new file, equal to the migrations replayed.
pub(crate) const FRESH: &str = include_str!("../schema.sql");

/// Whose ledger a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A store: writes its up log, receives HQ's down log.
    Store(StoreId),
    /// HQ: receives every store's up log, writes their down logs.
    Hq,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store(store) => write!(f, "store {store}"),
            Self::Hq => f.write_str("HQ"),
        }
    }
}

impl Owner {
    /// Bytes in the meta table: `h`, or `s` and the store number, big-endian.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Store(store) => [b"s".as_slice(), &store.0.to_be_bytes()].concat(),
            Self::Hq => b"h".to_vec(),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            b"h" => Some(Self::Hq),
            [b's', store @ ..] => Some(Self::Store(StoreId(u32::from_be_bytes(store.try_into().ok()?)))),
            _ => None,
        }
    }
}

/// Pages that a store's writer keeps, in KiB (negative: SQLite's way to say so).
const WRITER_CACHE: i64 = -256;
/// Pages that HQ's writer keeps: it has the logs of many stores, and a server's memory.
pub(crate) const HQ_CACHE: i64 = -16_384;
/// Pages that each reader of the daemon keeps.
pub(crate) const READER_CACHE: i64 = -256;

/// Opens for writing, with every pragma that durability rests on.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(96);
    pragmas(&conn)?;
    Ok(conn)
}

/// Sets the writer's pragmas. Public for benchmarks, which compare with a bare insert under the same ones.
pub fn pragmas(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    // The kernel caches the file as well, once for all connections; what is kept here is kept twice.
    conn.pragma_update(None, "cache_size", WRITER_CACHE)?;
    conn.pragma_update(None, "journal_size_limit", 16_777_216)
}

/// Opens for reading only.
pub(crate) fn connect_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.set_prepared_statement_cache_capacity(24);
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    Ok(conn)
}

fn check_sum(key: &str, value: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("steelyard 2026 ledger meta row 1");
    hasher.update(key.as_bytes());
    hasher.update(&[0]);
    hasher.update(value);
    let mut sum = [0; 8];
    hasher.finalize_xof().fill(&mut sum);
    sum
}

/// Writes a meta row.
pub(crate) fn put_meta(conn: &Connection, key: &str, value: &[u8]) -> rusqlite::Result<()> {
    let stored = [value, &check_sum(key, value)].concat();
    conn.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)", params![key, stored]).map(|_| ())
}

/// Removes a meta row.
pub(crate) fn remove_meta(conn: &Connection, key: &str) -> rusqlite::Result<()> {
    conn.execute("DELETE FROM meta WHERE key = ?1", [key]).map(|_| ())
}

/// Reads a meta row; a wrong check sum reads as `Err` with the word damaged.
pub(crate) fn meta(conn: &Connection, key: &str) -> rusqlite::Result<Result<Option<Vec<u8>>, String>> {
    let stored: Option<Vec<u8>> =
        conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?;
    let Some(stored) = stored else { return Ok(Ok(None)) };
    let split = stored.len().saturating_sub(8);
    let (value, sum) = stored.split_at(split);
    if sum == check_sum(key, value) {
        Ok(Ok(Some(value.to_vec())))
    } else {
        Ok(Err(format!("meta row '{key}' does not match its check sum")))
    }
}

/// Creates every table of a new file and marks it. The caller holds the transaction.
pub(crate) fn create(conn: &Connection, owner: Owner) -> rusqlite::Result<()> {
    conn.execute_batch(FRESH)?;
    put_meta(conn, "owner", &owner.to_bytes())?;
    mark(conn)
}

/// Runs the migrations after `from`. The caller holds the transaction.
pub(crate) fn migrate(conn: &Connection, from: i64) -> rusqlite::Result<()> {
    let done = usize::try_from(from).unwrap_or(0);
    for migration in MIGRATIONS.iter().skip(done) {
        conn.execute_batch(migration)?;
    }
    mark(conn)
}

fn mark(conn: &Connection) -> rusqlite::Result<()> {
    put_meta(conn, "schema", &SCHEMA.to_be_bytes())?;
    conn.pragma_update(None, "application_id", APPLICATION_ID)?;
    conn.pragma_update(None, "user_version", SCHEMA)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(conn: &Connection) -> Vec<(String, String, String)> {
        let mut statement = conn
            .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
            .unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn fresh_schema_equals_replayed_migrations() {
        let fresh = Connection::open_in_memory().unwrap();
        create(&fresh, Owner::Hq).unwrap();
        let replayed = Connection::open_in_memory().unwrap();
        migrate(&replayed, 0).unwrap();
        assert_eq!(shape(&fresh), shape(&replayed));
        assert!(shape(&fresh).len() >= 15);
        assert_eq!(usize::try_from(SCHEMA).unwrap(), MIGRATIONS.len());
    }

    #[test]
    fn every_intermediate_version_migrates_to_the_same_schema() {
        let fresh = Connection::open_in_memory().unwrap();
        create(&fresh, Owner::Hq).unwrap();
        for from in 1..MIGRATIONS.len() {
            let old = Connection::open_in_memory().unwrap();
            for migration in MIGRATIONS.iter().take(from) {
                old.execute_batch(migration).unwrap();
            }
            migrate(&old, i64::try_from(from).unwrap()).unwrap();
            assert_eq!(shape(&fresh), shape(&old), "from version {from}");
        }
    }

    #[test]
    fn a_changed_meta_row_is_noticed() {
        let conn = Connection::open_in_memory().unwrap();
        create(&conn, Owner::Store(StoreId(7))).unwrap();
        let owner = meta(&conn, "owner").unwrap().unwrap().unwrap();
        assert_eq!(Owner::from_bytes(&owner), Some(Owner::Store(StoreId(7))));
        conn.execute("UPDATE meta SET value = x'680000000000000000' WHERE key = 'owner'", []).unwrap();
        assert!(meta(&conn, "owner").unwrap().is_err());
    }
}
