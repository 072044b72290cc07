//! The quarantine: bytes that could not be accepted, with their reason. Bounded in rows and bytes; the oldest goes first.

use crate::table::unsigned;
use rusqlite::{Connection, OptionalExtension, params};
use sync_model::{Text, UnixMillis};

/// Raw bytes kept of one quarantined message.
const RAW_BYTES_MAX: usize = 64 * 1024;
/// Entries of the quarantine.
const QUARANTINE_ROWS_MAX: i64 = 1_000;
/// Raw bytes of the quarantine.
const QUARANTINE_BYTES_MAX: i64 = 16 * 1024 * 1024;

fn bump(conn: &Connection, name: &str, by: i64) -> rusqlite::Result<i64> {
    let sql = "INSERT INTO counter (name, value) VALUES (?1, ?2)
               ON CONFLICT DO UPDATE SET value = value + excluded.value RETURNING value";
    conn.prepare_cached(sql)?.query_row(params![name, by], |row| row.get(0))
}

/// Keeps one message, or counts it again, and evicts the oldest beyond the bounds.
pub(crate) fn keep_aside(
    conn: &Connection,
    source: &str,
    code: &str,
    detail: &str,
    raw: &[u8],
    received: UnixMillis,
) -> rusqlite::Result<()> {
    let source: Text<120> = Text::lossy(source);
    let code: Text<32> = Text::lossy(code);
    let detail: Text<240> = Text::lossy(detail);
    let mut hasher = blake3::Hasher::new_derive_key("steelyard 2026 quarantine entry 1");
    for part in [source.as_str().as_bytes(), b"\0", code.as_str().as_bytes(), b"\0", raw] {
        hasher.update(part);
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    bump(conn, "quarantine-total", 1)?;
    let again = "UPDATE quarantine SET times = times + 1, received = ?2 WHERE digest = ?1";
    if conn.prepare_cached(again)?.execute(params![digest, received.0])? > 0 {
        return Ok(());
    }
    let raw = raw.get(..RAW_BYTES_MAX).unwrap_or(raw);
    conn.prepare_cached(
        "INSERT INTO quarantine (digest, received, times, source, code, detail, raw) VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![digest, received.0, source.as_str(), code.as_str(), detail.as_str(), raw])?;
    let mut rows = bump(conn, "quarantine-rows", 1)?;
    let mut bytes = bump(conn, "quarantine-bytes", i64::try_from(raw.len()).unwrap_or(i64::MAX))?;
    while rows > QUARANTINE_ROWS_MAX || bytes > QUARANTINE_BYTES_MAX {
        let oldest =
            "DELETE FROM quarantine WHERE id = (SELECT min(id) FROM quarantine) RETURNING length(raw)";
        let Some(freed) =
            conn.prepare_cached(oldest)?.query_row([], |row| row.get::<_, i64>(0)).optional()?
        else {
            break;
        };
        rows = bump(conn, "quarantine-rows", -1)?;
        bytes = bump(conn, "quarantine-bytes", -freed)?;
        bump(conn, "quarantine-evicted", 1)?;
    }
    Ok(())
}

/// A counter of the quarantine.
pub(crate) fn counter(conn: &Connection, name: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT value FROM counter WHERE name = ?1";
    let found: Option<i64> = conn.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    Ok(found.map_or(0, unsigned))
}
