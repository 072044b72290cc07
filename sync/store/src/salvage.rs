//! Saving what can be read of a damaged ledger into a fresh file.
//!
//! Steps, each of which a crash may interrupt: write the marker `.salvaging` that names the evidence file; rename the
//! ledger and then its `-wal` to the evidence names; copy into `.salvage`; rename that to the ledger's name; remove the
//! marker. An open that finds the marker goes on from where it stopped.
//!
//! Contract
//! * The evidence is never written to and never removed.
//! * Log by log, records are kept up to the first break: a record that cannot be read or is missing, or a stored link
//!   (seal or end) that they do not hash to. Before an unreadable place, records after the last fitting link are kept if
//!   they decode; before a link that does not fit they are not, because one of them is not what was written.
//! * What is left of truncated records (floors, base rows, tickets below them) is kept as far as it can be read, and checked
//!   against the checkpoint.
//! * Answers and local state are kept as far as they can be read, so that a retry after the salvage does not count twice.
//! * The fresh file carries a mark that makes the next open begin a new epoch.

use crate::draft::Draft;
use crate::ledger::LedgerConfig;
use crate::log::{self, Entry, SEAL_EVERY};
use crate::open::{beside, remove, sync_parent};
use crate::schema;
use crate::state::Core;
use crate::table::signed;
use crate::truncate::Mark;
use crate::{LedgerError, Salvage, truncate};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use sync_core::Link;
use sync_model::{Direction, Event, EventId, LogId, Seq, Stamp, StoreId};

/// Records copied per transaction.
const CHUNK: usize = 2_048;

fn marker(path: &Path) -> PathBuf {
    beside(path, ".salvaging")
}

/// Sets the damaged file aside and saves what can be read.
pub(crate) fn set_aside(config: &LedgerConfig, stamp: Stamp, reason: &str) -> Result<Salvage, LedgerError> {
    let path = &config.path;
    let mut at = stamp.at.0;
    let mut evidence = beside(path, &format!(".evidence-{at}"));
    while evidence.exists() {
        at = at.saturating_add(1);
        evidence = beside(path, &format!(".evidence-{at}"));
    }
    let context = || format!("set {} aside", path.display());
    let write = || -> std::io::Result<()> {
        let name = evidence.file_name().unwrap_or_default().to_string_lossy();
        std::fs::write(marker(path), format!("{name}\n{reason}\n"))?;
        std::fs::File::open(marker(path))?.sync_all()?;
        sync_parent(path)?;
        std::fs::rename(path, &evidence)?;
        // Before its log follows: a file system that orders nothing could otherwise part the two.
        sync_parent(path)
    };
    write().map_err(|error| LedgerError::io(context(), &error))?;
    finish(config, evidence, reason)
}

/// Goes on with a salvage that was interrupted.
pub(crate) fn resume(config: &LedgerConfig) -> Result<Option<Salvage>, LedgerError> {
    let path = &config.path;
    let Ok(text) = std::fs::read_to_string(marker(path)) else { return Ok(None) };
    let (name, reason) = text.split_once('\n').unwrap_or((text.as_str(), ""));
    // Beside the ledger, wherever that lies now: the folder may have moved to another machine or mount since.
    let name = Path::new(name).file_name().unwrap_or_default();
    let evidence = path.with_file_name(name);
    if !name.is_empty() && evidence.exists() && !path.exists() {
        return finish(config, evidence, reason.trim()).map(Some);
    }
    // Nothing was renamed yet, or everything was done.
    remove(&marker(path)).map(|()| None)
}

fn finish(config: &LedgerConfig, evidence: PathBuf, reason: &str) -> Result<Salvage, LedgerError> {
    let path = &config.path;
    let context = || format!("salvage {}", path.display());
    let (wal, evidence_wal) = (beside(path, "-wal"), beside(&evidence, "-wal"));
    if wal.exists() && !evidence_wal.exists() {
        std::fs::rename(&wal, &evidence_wal).map_err(|error| LedgerError::io(context(), &error))?;
    }
    remove(&beside(path, "-shm"))?;
    let fresh = beside(path, ".salvage");
    for suffix in ["", "-wal", "-shm"] {
        remove(&beside(&fresh, suffix))?;
    }
    let mut copy = Copy { kept: 0, lost: vec![reason.to_owned()], pending: 0 };
    copy.run(config, &evidence, &fresh).map_err(|error| LedgerError::sql(context(), &error))?;
    let rename = || -> std::io::Result<()> {
        std::fs::rename(&fresh, path)?;
        sync_parent(path)
    };
    rename().map_err(|error| LedgerError::io(context(), &error))?;
    remove(&marker(path))?;
    let lost_hint = copy.lost.join("; ");
    tracing::warn!(evidence = %evidence.display(), kept = copy.kept, lost_hint, "ledger salvaged");
    Ok(Salvage { evidence, kept: copy.kept, lost_hint })
}

/// A copy in progress.
struct Copy {
    kept: u64,
    lost: Vec<String>,
    pending: usize,
}

/// How reading a log ended.
enum End {
    Complete,
    Unreadable(String),
    Broken,
}

impl Copy {
    fn note(&mut self, text: String) {
        if self.lost.len() < 32 {
            self.lost.push(text);
        }
    }

    fn run(&mut self, config: &LedgerConfig, evidence: &Path, fresh: &Path) -> rusqlite::Result<()> {
        let conn = schema::connect(fresh)?;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        schema::create(&conn, config.owner)?;
        schema::put_meta(&conn, "reopen", b"salvage")?;
        let mut core = Core::new(conn, config.owner, config.software.clone())?;
        // SQLite would remove the write-ahead log of an empty file, even when it only reads.
        let empty = std::fs::metadata(evidence).is_ok_and(|file| file.len() == 0);
        let old = if empty { None } else { Some(schema::connect_read_only(evidence)) };
        match old.map_or(Ok(()), |old| old.and_then(|old| self.logs(&old, &mut core))) {
            Ok(()) => {}
            Err(error) if core.failure.is_some() => return Err(error),
            Err(error) => self.note(format!("the file cannot be read: {error}")),
        }
        core.keep_job();
        core.flush()?;
        core.conn.execute("UPDATE log SET closed = 1", [])?;
        core.conn.execute_batch("COMMIT")?;
        // One self-contained file, so that a single rename puts it in place.
        core.conn.pragma_update(None, "journal_mode", "DELETE")
    }

    fn logs(&mut self, old: &Connection, core: &mut Core) -> rusqlite::Result<()> {
        let logs = match log::entries(old) {
            Ok(logs) => logs,
            Err(error) => {
                self.note(format!("the list of logs cannot be read: {error}"));
                return Ok(());
            }
        };
        let mut by_number: Vec<(LogId, Entry)> = logs.into_iter().collect();
        by_number.sort_by_key(|(_, entry)| entry.number);
        let mut targets = Vec::new();
        for (log, entry) in by_number {
            let belongs = match config_store(core) {
                Some(store) => log.store == store,
                None => true,
            };
            if !belongs {
                self.note(format!("log {log} is of another store"));
                continue;
            }
            let target = fresh_failure(core, |draft| draft.new_log(log))?;
            let target = Entry {
                head: entry.floor,
                link: entry.floor_link,
                floor: entry.floor,
                floor_link: entry.floor_link,
                ..target
            };
            Draft::new(core).set_entry(log, target);
            targets.push((log, entry, target));
        }
        self.bases(old, core, &targets)?;
        for (log, entry, target) in &targets {
            self.log(old, core, (*log, *target), entry)?;
        }
        // The checkpoint is among the records that were kept, or the base rows cannot be checked any more.
        let stores: BTreeSet<StoreId> = targets.iter().map(|(log, _, _)| log.store).collect();
        for store in stores {
            for mark in [Mark::Newest, Mark::Done] {
                let Ok(Some((id, _))) = truncate::marked(old, store, mark) else { continue };
                let Some((_, _, target)) = targets.iter().find(|(log, _, _)| *log == id.log) else {
                    continue;
                };
                truncate::set_mark(&core.conn, store, mark, log::pos(target.number, id.seq))?;
            }
            if let Some(odd) = truncate::odd_base(&core.conn, store)? {
                self.note(odd);
            }
        }
        Ok(())
    }

    /// Floors, base rows and the tickets below the floors: what is left of truncated records.
    fn bases(
        &mut self,
        old: &Connection,
        core: &mut Core,
        targets: &[(LogId, Entry, Entry)],
    ) -> rusqlite::Result<()> {
        let floors = || targets.iter().filter(|(_, entry, _)| entry.floor > Seq::ZERO);
        for (_, entry, target) in floors() {
            let at: Option<i64> = old
                .query_row("SELECT at FROM floor WHERE log = ?1", [entry.number], |row| row.get(0))
                .optional()?;
            let row =
                params![target.number, signed(entry.floor.0), entry.floor_link.0, at.unwrap_or(i64::MAX)];
            let sql = "INSERT INTO floor (log, upto, link, at) VALUES (?1, ?2, ?3, ?4)";
            core.conn.prepare_cached(sql)?.execute(row)?;
            let range = [log::pos(entry.number, Seq(1)), log::pos(entry.number, entry.floor)];
            let sql = "SELECT store, form, till, number, pos FROM ticket WHERE pos BETWEEN ?1 AND ?2";
            copy_rows(old, sql, range, |row| {
                let key: (u32, u8, u16, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                let pos = log::pos(target.number, log::split(row.get(4)?).1);
                core.conn
                    .prepare_cached(
                        "INSERT OR IGNORE INTO ticket (store, form, till, number, pos) VALUES (?1, ?2, ?3, ?4, ?5)",
                    )?
                    .execute(params![key.0, key.1, key.2, key.3, pos])
                    .map(|_| ())
            });
        }
        let stores: BTreeSet<StoreId> = floors().map(|(log, _, _)| log.store).collect();
        for store in stores {
            let range = [i64::from(store.0), 0];
            copy_rows(old, "SELECT tab, key, body FROM base WHERE store = ?1", range, |row| {
                let (table, key, body): (u8, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
                core.conn
                    .prepare_cached(
                        "INSERT OR IGNORE INTO base (store, tab, key, body) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![store.0, table, key, body])
                    .map(|_| ())
            });
            truncate::back_to_floors(&core.conn, store, &[])?;
        }
        Ok(())
    }

    fn log(
        &mut self,
        old: &Connection,
        core: &mut Core,
        (log, mut target): (LogId, Entry),
        entry: &Entry,
    ) -> rusqlite::Result<()> {
        let (reached, link) = (entry.floor, entry.floor_link);
        let mut reader = LogReader { old, log, entry, reached, link, pending: Vec::new() };
        let mut end = reader.read(|records| self.keep(core, log, &mut target, records));
        if end.is_err() && core.failure.is_none() {
            end = Ok(End::Unreadable("a page is damaged".to_owned()));
        }
        match end? {
            End::Complete => {}
            End::Unreadable(reason) => {
                let readable = std::mem::take(&mut reader.pending);
                let decode = readable.iter().take_while(|record| Event::from_record(record).is_ok()).count();
                self.keep(core, log, &mut target, readable.get(..decode).unwrap_or_default())?;
                self.note(format!("log {log} ends at {} of {}: {reason}", target.head, entry.head));
            }
            End::Broken => {
                self.note(format!(
                    "log {log} ends at {} of {}: records do not hash",
                    target.head, entry.head
                ));
            }
        }
        if entry.acked > Seq::ZERO {
            let acked = params![target.number, signed(entry.acked.min(target.head).0)];
            core.conn.execute("UPDATE log SET acked = ?2 WHERE id = ?1", acked)?;
        }
        copy_arrivals(old, core, entry.number, &target);
        if log.direction == Direction::Up {
            copy_local(old, core, entry.number, &target);
        }
        Ok(())
    }

    fn keep(
        &mut self,
        core: &mut Core,
        log: LogId,
        target: &mut Entry,
        records: &[Vec<u8>],
    ) -> rusqlite::Result<()> {
        for record in records {
            let id = EventId { log, seq: target.head.next() };
            let pos = log::pos(target.number, id.seq);
            *target = fresh_failure(core, |draft| {
                draft.fold_record(id, pos, record)?;
                draft.push(log, *target, record)
            })?;
            self.kept += 1;
            self.pending += 1;
            if self.pending >= CHUNK {
                self.pending = 0;
                core.keep_job();
                core.flush()?;
                core.conn.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
                core.keep_group();
            }
        }
        Ok(())
    }
}

fn config_store(core: &Core) -> Option<StoreId> {
    match core.owner {
        schema::Owner::Store(store) => Some(store),
        schema::Owner::Hq => None,
    }
}

/// Runs one step on the fresh file; its SQL errors end the salvage, because they are not the evidence's.
fn fresh_failure<T>(
    core: &mut Core,
    step: impl FnOnce(&mut Draft<'_>) -> Result<T, crate::Refusal>,
) -> rusqlite::Result<T> {
    step(&mut Draft::new(core)).map_err(|_| {
        // Kept set, so that callers can tell whose error it was.
        core.failure.replace(rusqlite::Error::InvalidQuery).unwrap_or(rusqlite::Error::InvalidQuery)
    })
}

/// Reads one log of the evidence, handing over runs of records as soon as a stored link proves them.
struct LogReader<'a> {
    old: &'a Connection,
    log: LogId,
    entry: &'a Entry,
    reached: Seq,
    link: Link,
    pending: Vec<Vec<u8>>,
}

impl LogReader<'_> {
    fn read(&mut self, mut keep: impl FnMut(&[Vec<u8>]) -> rusqlite::Result<()>) -> rusqlite::Result<End> {
        let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
        let mut statement = self.old.prepare(sql)?;
        let range = params![
            log::pos(self.entry.number, self.reached.next()),
            log::pos(self.entry.number, self.entry.head)
        ];
        let mut rows = statement.query(range)?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => return Ok(End::Unreadable(error.to_string())),
            };
            let Ok(record) = row.get::<_, Vec<u8>>(1) else {
                return Ok(End::Unreadable("a record is not bytes".to_owned()));
            };
            let seq = log::split(row.get(0)?).1;
            if seq != self.reached.next() {
                return Ok(End::Unreadable(format!("record {} is missing", self.reached.next())));
            }
            self.link = self.link.next(self.log, seq, &record);
            self.reached = seq;
            self.pending.push(record);
            match self.stored_link() {
                Some(link) if link == self.link => {
                    keep(&self.pending)?;
                    self.pending.clear();
                }
                Some(_) => return Ok(End::Broken),
                None => {}
            }
        }
        if self.reached == self.entry.head {
            return Ok(End::Complete);
        }
        Ok(End::Unreadable(format!("record {} is missing", self.reached.next())))
    }

    /// The link stored for where the reader stands: the log's end, or a readable seal.
    fn stored_link(&self) -> Option<Link> {
        if self.reached == self.entry.head {
            return Some(self.entry.link);
        }
        if !self.reached.0.is_multiple_of(SEAL_EVERY) {
            return None;
        }
        let sql = "SELECT link FROM seal WHERE pos = ?1";
        let key = [log::pos(self.entry.number, self.reached)];
        let found = self
            .old
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(key, |row| row.get::<_, [u8; 32]>(0)).optional());
        found.ok().flatten().map(Link)
    }
}

/// Copies rows of one statement until one cannot be read. What is lost here is named by nobody: it is not part of a log.
fn copy_rows(
    old: &Connection,
    sql: &str,
    range: [i64; 2],
    mut put: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
) {
    let copied = old.prepare(sql).and_then(|mut statement| {
        let wanted = statement.parameter_count();
        let mut rows = statement.query(rusqlite::params_from_iter(range.into_iter().take(wanted)))?;
        while let Some(row) = rows.next()? {
            put(row)?;
        }
        Ok(())
    });
    if let Err(error) = copied {
        tracing::warn!(%error, sql, "salvage: not every row could be copied");
    }
}

fn copy_arrivals(old: &Connection, core: &Core, number: i64, target: &Entry) {
    let range = [log::pos(number, Seq(1)), log::pos(number, target.head)];
    copy_rows(
        old,
        "SELECT pos, received FROM arrival WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos",
        range,
        |row| {
            let pos = log::pos(target.number, log::split(row.get(0)?).1);
            let received: i64 = row.get(1)?;
            core.conn
                .prepare_cached("INSERT OR IGNORE INTO arrival (pos, received) VALUES (?1, ?2)")?
                .execute([pos, received])
                .map(|_| ())
        },
    );
}

fn copy_local(old: &Connection, core: &Core, number: i64, target: &Entry) {
    let range = [log::pos(number, Seq(1)), log::pos(number, target.head)];
    copy_rows(old, "SELECT pos, key, digest FROM answer WHERE pos BETWEEN ?1 AND ?2", range, |row| {
        let pos = log::pos(target.number, log::split(row.get(0)?).1);
        let (key, digest): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
        core.conn
            .prepare_cached("INSERT OR IGNORE INTO answer (key, digest, pos) VALUES (?1, ?2, ?3)")?
            .execute(params![key, digest, pos])
            .map(|_| ())
    });
    copy_rows(old, "SELECT key, value FROM state", range, |row| {
        let (key, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        core.conn
            .prepare_cached("INSERT OR IGNORE INTO state (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value])
            .map(|_| ())
    });
}
