//! Logs in SQL: positions, heads, records, links.
//!
//! `pos = number * 2^40 + seq`: 2^22 logs of 2^40 events. A seal holds the link at every 64th seq, so any link costs at
//! most 63 hashes. Records up to a log's floor are gone (see `truncate.rs`); the link at the floor stays.

use crate::rows::HeadRow;
use crate::table::{signed, unsigned};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use sync_core::Link;
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

/// Bits of a position that hold the seq.
const SEQ_BITS: u32 = 40;
/// Last seq of a log.
pub(crate) const SEQ_MAX: u64 = (1 << SEQ_BITS) - 1;
/// Last number of a log.
const NUMBER_MAX: i64 = (1 << 22) - 1;
/// Distance of seals.
pub(crate) const SEAL_EVERY: u64 = 64;

/// Position of an event; positions past the range saturate at the end of the log's range and match no row.
pub(crate) fn pos(number: i64, seq: Seq) -> i64 {
    (number << SEQ_BITS) | signed(seq.0.min(SEQ_MAX))
}

/// Log number and seq of a position.
pub(crate) fn split(pos: i64) -> (i64, Seq) {
    (pos >> SEQ_BITS, Seq(unsigned(pos) & SEQ_MAX))
}

/// A log as the writer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) head: Seq,
    pub(crate) link: Link,
    pub(crate) acked: Seq,
    /// No more events may be written by this side (a newer epoch follows).
    pub(crate) closed: bool,
    /// Records up to here are gone.
    pub(crate) floor: Seq,
    /// The link there; genesis at zero.
    pub(crate) floor_link: Link,
}

impl Entry {
    /// A log with its first records still to come.
    pub(crate) fn empty(log: LogId, number: i64) -> Self {
        let genesis = Link::genesis(log);
        Self {
            number,
            head: Seq::ZERO,
            link: genesis,
            acked: Seq::ZERO,
            closed: false,
            floor: Seq::ZERO,
            floor_link: genesis,
        }
    }
}

/// A log row; `None` for a row with impossible values.
fn entry(row: &Row<'_>) -> rusqlite::Result<Option<(LogId, Entry)>> {
    let direction: u8 = row.get(2)?;
    let Some(direction) = Direction::from_code(direction) else { return Ok(None) };
    let log = LogId { store: StoreId(row.get(1)?), direction, epoch: Epoch(row.get(3)?) };
    let number: i64 = row.get(0)?;
    let head: i64 = row.get(4)?;
    let fits = (1..=NUMBER_MAX).contains(&number) && (0..=signed(SEQ_MAX)).contains(&head);
    let acked = Seq(unsigned(row.get(6)?));
    let (floor, floor_link): (Option<i64>, Option<[u8; 32]>) = (row.get(8)?, row.get(9)?);
    let entry = Entry {
        head: Seq(unsigned(head)),
        link: Link(row.get(5)?),
        acked,
        closed: row.get(7)?,
        floor: floor.map_or(Seq::ZERO, |floor| Seq(unsigned(floor))),
        floor_link: floor_link.map_or_else(|| Link::genesis(log), Link),
        ..Entry::empty(log, number)
    };
    Ok(fits.then_some((log, entry)))
}

const COLUMNS: &str =
    "SELECT l.id, l.store, l.direction, l.epoch, l.head, l.link, l.acked, l.closed, f.upto, f.link
                       FROM log AS l LEFT JOIN floor AS f ON f.log = l.id";
/// The same of a file from before floors.
const COLUMNS_BEFORE: &str =
    "SELECT l.id, l.store, l.direction, l.epoch, l.head, l.link, l.acked, l.closed, NULL, NULL FROM log AS l";

/// Whether the file can have floors: older ones are read before they are migrated, or never.
pub(crate) fn has_floors(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE name IN ('floor', 'base')";
    conn.prepare_cached(sql)?.query_row([], |row| Ok(row.get::<_, i64>(0)? == 2))
}

fn columns(conn: &Connection) -> rusqlite::Result<&'static str> {
    Ok(if has_floors(conn)? { COLUMNS } else { COLUMNS_BEFORE })
}

/// Every log. A row with impossible values is an error: the file is damaged.
pub(crate) fn entries(conn: &Connection) -> rusqlite::Result<BTreeMap<LogId, Entry>> {
    let mut statement = conn.prepare_cached(columns(conn)?)?;
    let mut rows = statement.query([])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (log, entry) = entry(row)?.ok_or(rusqlite::Error::InvalidQuery)?;
        all.insert(log, entry);
    }
    Ok(all)
}

/// One log.
pub(crate) fn find(conn: &Connection, log: LogId) -> rusqlite::Result<Option<Entry>> {
    let sql = format!("{} WHERE l.store = ?1 AND l.direction = ?2 AND l.epoch = ?3", columns(conn)?);
    let key = params![log.store.0, log.direction.code(), log.epoch.0];
    let found = conn.prepare_cached(&sql)?.query_row(key, entry).optional()?;
    Ok(found.flatten().map(|(_, entry)| entry))
}

/// The log with a number.
pub(crate) fn by_number(conn: &Connection, number: i64) -> rusqlite::Result<Option<LogId>> {
    let sql = format!("{} WHERE l.id = ?1", columns(conn)?);
    let found = conn.prepare_cached(&sql)?.query_row([number], entry).optional()?;
    Ok(found.flatten().map(|(log, _)| log))
}

pub(crate) fn head_row(log: LogId, entry: &Entry) -> HeadRow {
    HeadRow { log, head: entry.head, link: entry.link, acked: entry.acked }
}

/// Adds a log row.
pub(crate) fn insert(conn: &Connection, log: LogId, entry: &Entry) -> rusqlite::Result<()> {
    let sql = "INSERT INTO log (id, store, direction, epoch, head, link) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (store, direction, epoch) = (log.store.0, log.direction.code(), log.epoch.0);
    conn.prepare_cached(sql)?
        .execute(params![entry.number, store, direction, epoch, signed(entry.head.0), entry.link.0])
        .map(|_| ())
}

/// Writes the end of a log.
pub(crate) fn update(conn: &Connection, entry: &Entry) -> rusqlite::Result<()> {
    let sql = "UPDATE log SET head = ?2, link = ?3, closed = ?4 WHERE id = ?1";
    conn.prepare_cached(sql)?
        .execute(params![entry.number, signed(entry.head.0), entry.link.0, entry.closed])
        .map(|_| ())
}

const INSERT: &str = "INSERT INTO event (pos, record) VALUES (?1, ?2)";
const INSERT_SEAL: &str = "INSERT INTO seal (pos, link) VALUES (?1, ?2)";

/// Adds a record at the end of a log, with its seal where one is due, and moves `entry` on.
pub(crate) fn push(conn: &Connection, log: LogId, entry: &mut Entry, record: &[u8]) -> rusqlite::Result<()> {
    let seq = entry.head.next();
    let at = pos(entry.number, seq);
    conn.prepare_cached(INSERT)?.execute(params![at, record])?;
    entry.link = entry.link.next(log, seq, record);
    entry.head = seq;
    if seq.0.is_multiple_of(SEAL_EVERY) {
        conn.prepare_cached(INSERT_SEAL)?.execute(params![at, entry.link.0])?;
    }
    Ok(())
}

/// The same with many records, whose statements are looked up once.
pub(crate) fn push_all(
    conn: &Connection,
    log: LogId,
    entry: &mut Entry,
    records: &[Vec<u8>],
) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(INSERT)?;
    let mut seal = conn.prepare_cached(INSERT_SEAL)?;
    for record in records {
        let seq = entry.head.next();
        let at = pos(entry.number, seq);
        insert.execute(params![at, record])?;
        entry.link = entry.link.next(log, seq, record);
        entry.head = seq;
        if seq.0.is_multiple_of(SEAL_EVERY) {
            seal.execute(params![at, entry.link.0])?;
        }
    }
    Ok(())
}

/// The nearest seal at or before `seq`, or the floor.
pub(crate) fn seal_before(conn: &Connection, entry: &Entry, seq: Seq) -> rusqlite::Result<(Seq, Link)> {
    let sql = "SELECT pos, link FROM seal WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos DESC LIMIT 1";
    let range = params![pos(entry.number, entry.floor.next()), pos(entry.number, seq)];
    let found: Option<(i64, [u8; 32])> =
        conn.prepare_cached(sql)?.query_row(range, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.map_or((entry.floor, entry.floor_link), |(at, link)| (split(at).1, Link(link))))
}

/// Hashes on from `(from, link)` up to `upto`; `None` when a record is missing.
pub(crate) fn link_from(
    conn: &Connection,
    log: LogId,
    number: i64,
    (from, link): (Seq, Link),
    upto: Seq,
) -> rusqlite::Result<Option<Link>> {
    let mut statement =
        conn.prepare_cached("SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos")?;
    let mut rows = statement.query(params![pos(number, from.next()), pos(number, upto)])?;
    let (mut reached, mut link) = (from, link);
    while let Some(row) = rows.next()? {
        let seq = split(row.get(0)?).1;
        if seq != reached.next() {
            return Ok(None);
        }
        link = link.next(log, seq, row.get_ref(1)?.as_blob().unwrap_or_default());
        reached = seq;
    }
    Ok((reached == upto).then_some(link))
}

/// The link at `seq`; `None` below the floor and where a record is missing.
pub(crate) fn link_at(
    conn: &Connection,
    log: LogId,
    entry: &Entry,
    seq: Seq,
) -> rusqlite::Result<Option<Link>> {
    if seq == entry.head {
        return Ok(Some(entry.link));
    }
    if seq > entry.head || seq < entry.floor {
        return Ok(None);
    }
    let seal = seal_before(conn, entry, seq)?;
    link_from(conn, log, entry.number, seal, seq)
}
