//! The file of plain rows that telemetry was before: set apart at start, made into blocks slice by slice, then removed.
//!
//! A slice, its blocks and the place to go on from become durable together, so that a cut converts no row twice. Until its
//! turn a row is not seen by readers; what the daemon records meanwhile is.

use super::series::{POINTS_MAX, Point};
use crate::LedgerError;
use crate::open::beside;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::{Path, PathBuf};
use sync_model::{DeviceId, UnixMillis};

/// Rows of one slice.
const SLICE: usize = 4 * POINTS_MAX;
/// What the file is called while it is converted.
const SUFFIX: &str = ".rows";

/// Where the last slice ended: device, metric, time and row of the old file.
pub(super) type Place = (i64, i64, i64, i64);

/// The file, open for reading.
#[derive(Debug)]
pub(super) struct Rows {
    conn: Connection,
    path: PathBuf,
}

/// Rows that follow each other, by series, and where they end.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) series: Vec<(DeviceId, u8, Vec<Point>)>,
    pub(super) end: Place,
}

/// Renames a file of plain rows, so that a block file can take its place.
pub(super) fn set_apart(path: &Path) -> Result<(), LedgerError> {
    if !path.exists() || !is_rows(path).unwrap_or(false) {
        return Ok(());
    }
    let to = beside(path, SUFFIX);
    std::fs::rename(path, &to)
        .and_then(|()| crate::open::sync_parent(&to))
        .map_err(|error| LedgerError::io(format!("rename {}", path.display()), &error))?;
    tracing::info!(path = %to.display(), "telemetry rows are converted");
    Ok(())
}

/// Whether it is such a file; its write-ahead log is folded into it.
fn is_rows(path: &Path) -> rusqlite::Result<bool> {
    let conn = Connection::open(path)?;
    let layout: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if layout != 0 || !conn.table_exists(None, "sample")? {
        return Ok(false);
    }
    conn.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(true)
}

impl Rows {
    /// The rows that were set apart, when there are any.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let path = beside(path, SUFFIX);
        if !path.exists() {
            return None;
        }
        match crate::schema::connect_read_only(&path) {
            Ok(conn) => Some(Self { conn, path }),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "old telemetry rows cannot be read");
                None
            }
        }
    }

    /// Where the last slice ended, as the block file says.
    pub(super) fn place(blocks: &Connection) -> rusqlite::Result<Place> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let place =
            blocks.query_row("SELECT device, metric, at, place FROM conversion", [], row).optional()?;
        Ok(place.unwrap_or((i64::MIN, 0, 0, 0)))
    }

    /// Notes where a slice ended, in the transaction of its blocks.
    pub(super) fn note(blocks: &Connection, end: Place) -> rusqlite::Result<()> {
        blocks
            .execute(
                "INSERT OR REPLACE INTO conversion VALUES (1, ?1, ?2, ?3, ?4)",
                [end.0, end.1, end.2, end.3],
            )
            .map(drop)
    }

    /// The rows after a place; `None` when there are none.
    pub(super) fn slice(&self, after: Place) -> rusqlite::Result<Option<Slice>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT s.device, s.metric, s.at, s.rowid, s.value, s.good, d.name
             FROM sample s LEFT JOIN device d ON d.id = s.device
             WHERE (s.device, s.metric, s.at, s.rowid) > (?1, ?2, ?3, ?4)
             ORDER BY s.device, s.metric, s.at, s.rowid LIMIT ?5",
        )?;
        let most = i64::try_from(SLICE).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![after.0, after.1, after.2, after.3, most])?;
        let mut slice: Option<Slice> = None;
        while let Some(row) = rows.next()? {
            let end: Place = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            let found = slice.get_or_insert_with(|| Slice { series: Vec::new(), end });
            found.end = end;
            let name: Option<String> = row.get(6)?;
            // A row of a device without a name belongs to nobody.
            let (Some(device), Ok(metric)) =
                (name.and_then(|name| DeviceId::new(&name).ok()), u8::try_from(end.1))
            else {
                continue;
            };
            let point = Point { at: UnixMillis(end.2), value: row.get(4)?, good: row.get(5)? };
            match found.series.last_mut().filter(|last| last.0 == device && last.1 == metric) {
                Some((.., points)) => points.push(point),
                None => found.series.push((device, metric, vec![point])),
            }
        }
        Ok(slice)
    }

    /// Everything is converted, or cannot be: the file goes.
    pub(super) fn remove(self) -> Result<(), LedgerError> {
        drop(self.conn);
        crate::open::remove(&self.path)
    }
}
