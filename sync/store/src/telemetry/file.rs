//! The block file: SQLite, written only when a generation of samples is sealed, read by whoever asks.
//!
//! `meta` (one row: identity, open generation, next generation, time lived), `series` (number, device, metric), `seal` (one
//! row per generation: span of its samples, when it was sealed, how many blocks each series has), all with a checksum per row, and `block` (`generation << 32 | series << 8 | part`,
//! bytes by [`super::series`], checksum over that number).
//!
//! * Blocks are only added at the end and only removed at the begin, and no other index grows with them: a seal writes
//!   little more than its own bytes. Rollback journal, because a write-ahead log would write all of it twice.
//! * `synchronous=FULL`: the tail file is only overwritten when the blocks of its samples are durable.
//! * Age is counted in time lived: running time, summed up at each seal. A wrong clock ages nothing out; time switched
//!   off does not count.

use super::Limits;
use super::series::{checksum, put_number, take_number};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;
use std::time::Duration;
use sync_model::DeviceId;

/// "SYTL": marks the file as Steelyard telemetry.
const APPLICATION_ID: i64 = 0x5359_544c;
/// Layout of the file. 0 is the layout of plain rows, see [`super::rows`].
const LAYOUT: i64 = 1;
/// Most parts (blocks) of one series in a generation.
pub(super) const PARTS_MAX: usize = 255;
/// Most series of a file.
pub(super) const SERIES_MAX: u32 = 1 << 16;
/// Generations that one seal removes at most: bounds its work.
const REMOVED_MAX: usize = 64;

const SCHEMA: &str = "
    CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), identity INTEGER NOT NULL, open INTEGER NOT NULL,
        next INTEGER NOT NULL, lived_ms INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT;
    CREATE TABLE series (id INTEGER PRIMARY KEY, device TEXT NOT NULL, metric INTEGER NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (device, metric)) STRICT;
    CREATE TABLE seal (generation INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL,
        lived_ms INTEGER NOT NULL, parts BLOB NOT NULL, sum INTEGER NOT NULL) STRICT;
    CREATE TABLE block (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
    CREATE TABLE conversion (id INTEGER PRIMARY KEY CHECK (id = 1), device INTEGER NOT NULL, metric INTEGER NOT NULL,
        at INTEGER NOT NULL, place INTEGER NOT NULL) STRICT;";

/// The place of a block.
pub(super) fn key(generation: u64, series: u32, part: usize) -> u64 {
    generation << 32 | u64::from(series) << 8 | (part as u64 & 0xFF)
}

/// What becomes durable together.
#[derive(Debug)]
pub(super) struct Sealing {
    pub(super) generation: u64,
    /// Earliest and latest time of its samples.
    pub(super) span: (i64, i64),
    /// Keys and bodies.
    pub(super) blocks: Vec<(u64, Vec<u8>)>,
}

/// The file, open for writing.
#[derive(Debug)]
pub(super) struct BlockFile {
    pub(super) conn: Connection,
    pub(super) meta: Meta,
}

/// What was in it when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    /// Device, metric and number of every series; without a name when that is damaged.
    pub(super) series: Vec<(SeriesRow, u32)>,
    /// Damaged rows.
    pub(super) damaged: u64,
}

/// What the file knows about itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// Which file it is: a tail of another one does not count.
    pub(super) identity: u64,
    /// Generation of the samples that wait in the tail.
    pub(super) open: u64,
    /// Generation that was never used.
    pub(super) next: u64,
    /// Running time of whoever wrote it, up to the last seal.
    pub(super) lived_ms: i64,
}

impl Meta {
    fn sum(&self) -> u32 {
        let fields = [self.open.cast_signed(), self.next.cast_signed(), self.lived_ms].map(i64::to_le_bytes);
        checksum(self.identity, fields.as_flattened())
    }

    /// `None` when the row is damaged.
    fn read(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        let row = |row: &rusqlite::Row<'_>| {
            let number = |at| row.get::<_, i64>(at).map(i64::cast_unsigned);
            let meta =
                Self { identity: number(0)?, open: number(1)?, next: number(2)?, lived_ms: row.get(3)? };
            Ok((row.get::<_, i64>(4)? == i64::from(meta.sum())).then_some(meta))
        };
        let found =
            conn.query_row("SELECT identity, open, next, lived_ms, sum FROM meta", [], row).optional();
        match found {
            Ok(meta) => Ok(meta.flatten()),
            // A field of another type is a damaged row.
            Err(rusqlite::Error::InvalidColumnType(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Of what the seals say; the tail is lost, because nothing says any more that it belongs here.
    fn rebuild(conn: &Connection) -> rusqlite::Result<Self> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let (last, lived_ms): (Option<i64>, Option<i64>) =
            conn.query_row("SELECT max(generation), max(lived_ms) FROM seal", [], row)?;
        let last = last.unwrap_or(0).cast_unsigned();
        // One generation further than a tail could be that was open.
        let meta =
            Self { identity: random(), open: last + 2, next: last + 3, lived_ms: lived_ms.unwrap_or(0) };
        conn.execute("DELETE FROM meta", [])?;
        conn.execute("INSERT INTO meta VALUES (1, 0, 0, 0, 0, 0)", [])?;
        meta.write(conn)?;
        Ok(meta)
    }

    fn write(&self, conn: &Connection) -> rusqlite::Result<()> {
        let numbers = [self.identity, self.open, self.next].map(u64::cast_signed);
        conn.execute(
            "UPDATE meta SET identity = ?1, open = ?2, next = ?3, lived_ms = ?4, sum = ?5",
            params![numbers[0], numbers[1], numbers[2], self.lived_ms, self.sum()],
        )
        .map(drop)
    }
}

fn series_sum(id: u32, device: &str, metric: u8) -> u32 {
    checksum(u64::from(id) << 8 | u64::from(metric), device.as_bytes())
}

/// A series' name and number; `None` for a damaged row.
type SeriesRow = Option<(DeviceId, u8)>;

fn read_series(conn: &Connection) -> rusqlite::Result<(Vec<(SeriesRow, u32)>, u64)> {
    let mut statement = conn.prepare("SELECT id, device, metric, sum FROM series ORDER BY id")?;
    let mut rows = statement.query([])?;
    let (mut series, mut damaged) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let id = u32::try_from(row.get::<_, i64>(0)?).ok().filter(|id| *id < SERIES_MAX);
        let read = || -> rusqlite::Result<(String, u8, i64)> { Ok((row.get(1)?, row.get(2)?, row.get(3)?)) };
        let name = id.zip(read().ok()).and_then(|(id, (device, metric, sum))| {
            let sound = sum == i64::from(series_sum(id, &device, metric));
            Some((DeviceId::new(&device).ok()?, metric)).filter(|_| sound)
        });
        damaged += u64::from(name.is_none());
        series.extend(id.map(|id| (name, id)));
    }
    Ok((series, damaged))
}

/// Pages that the file's connection keeps, in KiB (negative: SQLite's way to say so).
const CACHE: i64 = -128;
/// The same while a tail of up to 1 MiB is sealed.
const SEAL_CACHE: i64 = -1_024;

impl BlockFile {
    /// Opens or makes the file. An error: it cannot be used.
    pub(super) fn open(path: &Path) -> rusqlite::Result<(Self, Found)> {
        let mut conn = Connection::open(path)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        conn.pragma_update(None, "cell_size_check", true)?;
        conn.pragma_update(None, "trusted_schema", false)?;
        // Before the first page: several blocks fit one page, none is split over two in the usual case.
        conn.pragma_update(None, "page_size", 16_384)?;
        // Before anything is read: SQLite takes memory for twenty pages at once, but not for more than may be kept.
        conn.pragma_update(None, "cache_size", CACHE)?;
        conn.pragma_update(None, "journal_mode", "TRUNCATE")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        let layout: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if layout == 0 {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Fails when there is something else in it.
            transaction.execute_batch(SCHEMA)?;
            let fresh = Meta { identity: random(), open: 1, next: 2, lived_ms: 0 };
            transaction.execute("INSERT INTO meta VALUES (1, 0, 0, 0, 0, 0)", [])?;
            fresh.write(&transaction)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", LAYOUT)?;
            transaction.commit()?;
        } else if layout != LAYOUT {
            return Err(rusqlite::Error::InvalidQuery);
        }
        let (meta, mut damaged) = match Meta::read(&conn)? {
            Some(meta) => (meta, 0),
            None => (Meta::rebuild(&conn)?, 1),
        };
        let (series, bad) = read_series(&conn)?;
        damaged += bad;
        Ok((Self { conn, meta }, Found { series, damaged }))
    }

    /// Names new series, durably: the tail speaks of them by number.
    pub(super) fn name(&mut self, series: &[(DeviceId, u8, u32)]) -> rusqlite::Result<()> {
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (device, metric, id) in series {
            transaction.execute(
                "INSERT OR IGNORE INTO series (id, device, metric, sum) VALUES (?1, ?2, ?3, ?4)",
                params![id, device.as_str(), metric, series_sum(*id, device.as_str(), *metric)],
            )?;
        }
        transaction.commit()
    }

    /// Makes blocks durable, keeps to the limits, and does `also` in the same transaction.
    pub(super) fn seal(
        &mut self,
        sealing: &Sealing,
        lived_ms: i64,
        limits: Limits,
        also: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let Meta { identity, open, next, .. } = self.meta;
        let tail = sealing.generation == open;
        let (open, next) = if tail { (next, next + 1) } else { (open, sealing.generation + 1) };
        let meta = Meta { identity, open, next, lived_ms };
        // A seal touches many pages, and is rare: they have room until it is durable, then the memory is given back.
        self.conn.pragma_update(None, "cache_size", SEAL_CACHE)?;
        let transaction = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO block (id, body) VALUES (?1, ?2)")?;
            for (key, body) in &sealing.blocks {
                insert.execute(params![key.cast_signed(), body])?;
            }
            let (generation, (first, last)) = (sealing.generation, sealing.span);
            let parts = parts(&sealing.blocks);
            let sum = seal_sum(generation, (first, last), lived_ms, &parts);
            transaction.execute(
                "INSERT INTO seal (generation, first, last, lived_ms, parts, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![generation.cast_signed(), first, last, lived_ms, parts, sum],
            )?;
        }
        also(&transaction)?;
        keep_to(&transaction, lived_ms, limits)?;
        meta.write(&transaction)?;
        transaction.commit()?;
        self.meta = meta;
        // What is durable is durable, whether or not memory comes back.
        let back = self.conn.pragma_update(None, "cache_size", CACHE);
        if let Err(error) = back.and_then(|()| self.conn.execute_batch("PRAGMA shrink_memory")) {
            tracing::debug!(%error, "telemetry keeps its pages in memory");
        }
        Ok(())
    }
}

/// A fresh number. The hasher's keys are the standard library's only source of randomness.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn seal_sum(generation: u64, (first, last): (i64, i64), lived_ms: i64, parts: &[u8]) -> u32 {
    let fields = [first, last, lived_ms].map(i64::to_le_bytes);
    checksum(u64::from(checksum(generation, fields.as_flattened())), parts)
}

/// How many blocks each series has: series number and count, LEB128, for every series in them. Says what is missing.
fn parts(blocks: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for same in blocks.chunk_by(|(one, _), (other, _)| one >> 8 == other >> 8) {
        let series = same.first().map_or(0, |(key, _)| key >> 8 & 0xFF_FFFF);
        put_number(&mut bytes, usize::try_from(series).unwrap_or(usize::MAX));
        put_number(&mut bytes, same.len());
    }
    bytes
}

/// Blocks of one series, of [`parts`].
fn parts_of(mut bytes: &[u8], series: u32) -> usize {
    while let Some((number, rest)) = take_number(bytes) {
        let Some((count, rest)) = take_number(rest) else { break };
        if u32::try_from(number).is_ok_and(|number| number == series) {
            return count;
        }
        bytes = rest;
    }
    0
}

/// Removes what is too old, then the oldest until the size fits.
fn keep_to(conn: &Connection, lived_ms: i64, limits: Limits) -> rusqlite::Result<()> {
    let mut left = REMOVED_MAX;
    let old = {
        let mut statement = conn
            .prepare_cached("SELECT generation FROM seal WHERE lived_ms < ?1 ORDER BY generation LIMIT ?2")?;
        let most = i64::try_from(left).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![lived_ms.saturating_sub(limits.max_age_ms), most], |row| row.get(0))?;
        rows.collect::<Result<Vec<i64>, _>>()?
    };
    for generation in old {
        remove(conn, generation)?;
        left -= 1;
    }
    while left > 0 && used_bytes(conn)? > limits.max_bytes {
        let oldest: Option<i64> = conn.query_row("SELECT min(generation) FROM seal", [], |row| row.get(0))?;
        let Some(oldest) = oldest else { break };
        remove(conn, oldest)?;
        left -= 1;
    }
    Ok(())
}

fn remove(conn: &Connection, generation: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM block WHERE id >= ?1 << 32 AND id < (?1 + 1) << 32")?
        .execute([generation])?;
    conn.prepare_cached("DELETE FROM seal WHERE generation = ?1")?.execute([generation])?;
    Ok(())
}

/// Bytes of the pages in use.
pub(super) fn used_bytes(conn: &Connection) -> rusqlite::Result<u64> {
    let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = number("page_count")? - number("freelist_count")?;
    Ok(u64::try_from(pages.saturating_mul(number("page_size")?)).unwrap_or(0))
}

/// What was sealed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Generation {
    pub(super) number: u64,
    /// Time of its earliest sample.
    pub(super) first: i64,
    /// Blocks of the series asked for; `None` when that is damaged.
    pub(super) blocks: Option<usize>,
}

/// The file, open for one question.
pub(super) struct BlockReader {
    conn: Connection,
}

impl BlockReader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self { conn: crate::schema::connect_read_only(path)? })
    }

    /// Generations that may have samples of a series in `from..to`, in the order of their first sample. What cannot be
    /// trusted may lie anywhere and is among them.
    pub(super) fn generations(&self, series: u32, from: i64, to: i64) -> rusqlite::Result<Vec<Generation>> {
        let mut statement =
            self.conn.prepare("SELECT generation, first, last, lived_ms, parts, sum FROM seal")?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let number = row.get::<_, i64>(0)?.cast_unsigned();
            let (first, last): (i64, i64) = (row.get(1)?, row.get(2)?);
            let parts = row.get_ref(4)?.as_blob().unwrap_or_default();
            if row.get::<_, i64>(5)? != i64::from(seal_sum(number, (first, last), row.get(3)?, parts)) {
                found.push(Generation { number, first: i64::MIN, blocks: None });
                continue;
            }
            let blocks = parts_of(parts, series);
            if first < to && last >= from && blocks > 0 {
                found.push(Generation { number, first, blocks: Some(blocks) });
            }
        }
        found.sort_by_key(|generation| (generation.first, generation.number));
        Ok(found)
    }

    /// Blocks of one series in one generation: key and body. A page that cannot be read is a damage, not the end.
    pub(super) fn blocks(
        &self,
        generation: u64,
        series: u32,
        mut each: impl FnMut(u64, &[u8]),
    ) -> rusqlite::Result<()> {
        let mut statement =
            self.conn.prepare_cached("SELECT id, body FROM block WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
        let (first, last) = (key(generation, series, 0), key(generation, series, PARTS_MAX));
        let mut rows = statement.query(params![first.cast_signed(), last.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let body = row.get_ref(1)?;
            each(id.cast_unsigned(), body.as_blob().unwrap_or_default());
        }
        Ok(())
    }
}
