//! Writing a snapshot from a ledger that may be in use.

use super::{Chunks, DIGESTS, END, LOG, RECORD, ROW, STORE, name};
use crate::image;
use crate::log::{self, Entry};
use crate::reader::Reader;
use crate::rows::Answer;
use crate::truncate::{Ends, fold_upto, logs_of, old_upto};
use crate::{LedgerError, Refusal};
use rusqlite::{Connection, params};
use std::io::{self, Write};
use sync_core::Link;
use sync_model::{LogId, Seq, StoreId, UnixMillis};

/// What a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotNote {
    /// Whose.
    pub store: StoreId,
    /// Names it: equal names are equal files.
    pub name: String,
    /// Ends of its logs.
    pub ends: Vec<(LogId, Seq)>,
    /// Fold rows at the floors, tickets included.
    pub rows: u64,
    /// Records above the floors.
    pub records: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// A log with its floor in the snapshot, the link there, and the newest stamp below.
struct Part {
    log: LogId,
    entry: Entry,
    floor: Seq,
    link: Link,
    newest: i64,
}

enum Failure {
    Sql(rusqlite::Error),
    Io(io::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Reader {
    /// Writes a snapshot of one store as of now: fold rows up to the first record stamped from `before` on, and the records
    /// from there. What is older is not in the file, so `before` must lie as far back as a HQ could be put back.
    pub fn snapshot(
        &self,
        store: StoreId,
        before: UnixMillis,
        made: UnixMillis,
        out: impl Write,
    ) -> Answer<SnapshotNote> {
        self.frozen(|reader| {
            write(&reader.conn, store, before, made, out).map_err(|failure| match failure {
                Failure::Sql(rusqlite::Error::InvalidQuery) => LedgerError::Refused(Refusal::new(
                    "no-snapshot",
                    format!("store {store} has no log here, or its records do not hash"),
                )),
                Failure::Sql(error) => LedgerError::sql("write a snapshot", &error),
                Failure::Io(error) => LedgerError::io("write a snapshot", &error),
            })
        })
    }
}

fn write(
    conn: &Connection,
    store: StoreId,
    before: UnixMillis,
    made: UnixMillis,
    out: impl Write,
) -> Result<SnapshotNote, Failure> {
    let parts = parts(conn, store, before)?;
    if parts.is_empty() {
        return Err(rusqlite::Error::InvalidQuery.into());
    }
    let mut chunks = Chunks::new(out)?;
    chunks.put(&[&[STORE], &store.0.to_be_bytes(), &made.0.to_be_bytes()])?;
    for part in &parts {
        let Part { log, entry, floor, link, newest } = part;
        chunks.put(&[&[LOG, log.direction.code()], &log.epoch.0.to_be_bytes()])?;
        chunks.put(&[&floor.0.to_be_bytes(), &link.0, &newest.to_be_bytes()])?;
        chunks.put(&[&entry.head.0.to_be_bytes(), &entry.link.0])?;
    }
    let ends: Ends = parts
        .iter()
        .filter(|part| part.floor > Seq::ZERO)
        .map(|part| (part.log, part.entry, part.floor))
        .collect();
    let set = fold_upto(conn, store, &ends)?;
    for ((table, key), body) in image::rows(&set) {
        chunks.put(&[&[ROW, table]])?;
        chunks.sized(&key)?;
        chunks.sized(&body)?;
    }
    let mut failed = None;
    image::tickets(conn, store, &ends, |key, body| {
        let put = chunks
            .put(&[&[ROW, image::TICKET]])
            .and_then(|()| chunks.sized(key))
            .and_then(|()| chunks.sized(body));
        if let Err(error) = put {
            failed.get_or_insert(error);
        }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let digests = image::digests(conn, store, &set, &ends)?;
    chunks.put(&[&[DIGESTS], &digests.balances, &digests.folds, &digests.rows.to_be_bytes()])?;
    let mut records = 0_u64;
    for (number, part) in (0_u32..).zip(&parts) {
        records += put_records(conn, &mut chunks, number, part)?;
    }
    chunks.put(&[&[END], &records.to_be_bytes()])?;
    let (hash, bytes) = chunks.finish()?;
    let ends = parts.iter().map(|part| (part.log, part.entry.head)).collect();
    Ok(SnapshotNote { store, name: name(&hash), ends, rows: digests.rows, records, bytes })
}

fn parts(conn: &Connection, store: StoreId, before: UnixMillis) -> rusqlite::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (log, entry) in logs_of(conn, store)? {
        let floor = old_upto(conn, &entry, entry.head, before)?;
        let link = log::link_at(conn, log, &entry, floor)?.ok_or(rusqlite::Error::InvalidQuery)?;
        let newest = newest_stamp(conn, &entry, floor)?;
        parts.push(Part { log, entry, floor, link, newest });
    }
    Ok(parts)
}

/// A stamp not smaller than those of the records up to `floor`, as far as the records or an older floor say.
fn newest_stamp(conn: &Connection, entry: &Entry, floor: Seq) -> rusqlite::Result<i64> {
    let older: Option<i64> = if entry.floor > Seq::ZERO {
        conn.query_row("SELECT at FROM floor WHERE log = ?1", [entry.number], |row| row.get(0))?
    } else {
        None
    };
    let mut newest = older.unwrap_or(i64::MIN);
    let sql = "SELECT record FROM event WHERE pos BETWEEN ?1 AND ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let range = params![log::pos(entry.number, entry.floor.next()), log::pos(entry.number, floor)];
    let mut rows = statement.query(range)?;
    while let Some(row) = rows.next()? {
        let record = row.get_ref(0)?.as_blob().unwrap_or_default();
        if let Ok(event) = sync_model::Event::from_record(record) {
            newest = newest.max(event.stamp.at.0);
        }
    }
    Ok(newest)
}

fn put_records<W: Write>(
    conn: &Connection,
    chunks: &mut Chunks<W>,
    number: u32,
    part: &Part,
) -> Result<u64, Failure> {
    let sql = "SELECT record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
    let mut statement = conn.prepare_cached(sql)?;
    let entry = &part.entry;
    let range = params![log::pos(entry.number, part.floor.next()), log::pos(entry.number, entry.head)];
    let mut rows = statement.query(range)?;
    let (mut seq, mut link) = (part.floor, part.link);
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let record = row.get_ref(0)?.as_blob().unwrap_or_default();
        seq = seq.next();
        link = link.next(part.log, seq, record);
        chunks.put(&[&[RECORD], &number.to_be_bytes()])?;
        chunks.sized(record)?;
        count += 1;
    }
    // Whoever loads it must find what this ledger says about itself.
    if (seq, link) != (entry.head, entry.link) {
        return Err(rusqlite::Error::InvalidQuery.into());
    }
    Ok(count)
}
