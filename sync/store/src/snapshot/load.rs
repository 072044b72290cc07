//! Loading a snapshot: a fresh ledger for a replacement gateway.
//!
//! States: nothing; `.bootstrap` beside the ledger's name, being filled; the ledger, complete. The rename is the only step that
//! makes it a ledger, so a power cut or a bad snapshot leaves nothing behind that could be mistaken for one.
//!
//! The new ledger begins a new epoch in the same transaction as the last row, and says with its first facts what it was made
//! of: a checkpoint with the floors and the digest of the rows at them.

use super::{DIGESTS, END, Items, LOG, RECORD, ROW, STORE, bad, name};
use crate::draft::Draft;
use crate::generation::Generation;
use crate::image::{self, Digests, ROW_BYTES_MAX};
use crate::ledger::LedgerConfig;
use crate::log::{self, Entry};
use crate::open::{beside, lock, remove, sync_parent};
use crate::schema::{self, Owner};
use crate::state::Core;
use crate::table::signed;
use crate::truncate::{self, Ends, Mark};
use crate::{LedgerError, Refusal};
use rusqlite::params;
use std::io::Read;
use std::path::Path;
use sync_core::Link;
use sync_model::{
    Direction, Epoch, EpochReason, Event, EventId, LogId, RECORD_BYTES_MAX, Seq, Stamp, StoreId,
};

/// Records per transaction.
const CHUNK: u64 = 4_096;
/// Most logs of a snapshot.
const LOGS_MAX: usize = 4_096;

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Name of the snapshot.
    pub name: String,
    /// When it was made.
    pub made: i64,
    /// Ends of its logs.
    pub ends: Vec<(LogId, Seq)>,
    /// Fold rows at the floors.
    pub rows: u64,
    /// Records.
    pub records: u64,
    /// The new epoch.
    pub log: LogId,
}

/// One log while it is filled.
struct Filled {
    log: LogId,
    entry: Entry,
    head: Seq,
    link: Link,
}

impl crate::Ledger {
    /// Makes a ledger from a snapshot that HQ wrote, in a new epoch. Refused when there is a ledger already.
    pub fn bootstrap(
        config: &LedgerConfig,
        snapshot: impl Read,
        stamp: Stamp,
    ) -> Result<Loaded, LedgerError> {
        let path = &config.path;
        let _lock = lock(path)?;
        let context = || format!("bootstrap {}", path.display());
        let Owner::Store(store) = config.owner else {
            return Err(Refusal::new("wrong-owner", "only a store is bootstrapped").into());
        };
        if path.exists() || beside(path, ".salvaging").exists() {
            let detail = format!("{} exists: it is not overwritten", path.display());
            return Err(Refusal::new("ledger-exists", detail).into());
        }
        let fresh = beside(path, ".bootstrap");
        let clean =
            || ["", "-wal", "-shm", "-journal"].iter().try_for_each(|end| remove(&beside(&fresh, end)));
        clean()?;
        let loaded = match fill(config, store, &fresh, snapshot, stamp) {
            Ok(loaded) => loaded,
            Err(error) => {
                clean()?;
                return Err(match error {
                    Failure::Sql(error) => LedgerError::sql(context(), &error),
                    Failure::Io(error) => LedgerError::io(context(), &error),
                    Failure::Refused(refusal) => refusal.into(),
                });
            }
        };
        let rename = || -> std::io::Result<()> {
            std::fs::File::open(&fresh)?.sync_all()?;
            std::fs::rename(&fresh, path)?;
            sync_parent(path)
        };
        rename().map_err(|error| LedgerError::io(context(), &error))?;
        Ok(loaded)
    }
}

enum Failure {
    Sql(rusqlite::Error),
    Io(std::io::Error),
    Refused(Refusal),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn fill(
    config: &LedgerConfig,
    store: StoreId,
    fresh: &Path,
    snapshot: impl Read,
    stamp: Stamp,
) -> Result<Loaded, Failure> {
    let mut items = Items::new(snapshot)?;
    let [tag] = items.fixed()?;
    let of = StoreId(u32::from_be_bytes(items.fixed()?));
    let made = i64::from_be_bytes(items.fixed()?);
    if tag != STORE || of != store {
        let detail = format!("the snapshot is of store {of}, expected store {store}");
        return Err(Refusal::new("wrong-store", detail).into());
    }
    let conn = schema::connect(fresh)?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    schema::create(&conn, config.owner)?;
    let mut core = Core::new(conn, config.owner, config.software.clone())?;
    let mut load = Load { items, core: &mut core, store, filled: Vec::new(), records: 0, said: None };
    load.run()?;
    let (filled, records, said) = (load.filled, load.records, load.said);
    let hash = load.items.finish()?;
    let log = begin(config, &mut core, store, &filled, said, stamp)?;
    core.keep_job();
    core.flush()?;
    core.conn.execute_batch("COMMIT")?;
    // One self-contained file, so that a single rename puts it in place.
    core.conn.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(Loaded {
        name: name(&hash),
        made,
        ends: filled.iter().map(|filled| (filled.log, filled.head)).collect(),
        rows: said.map_or(0, |said| said.rows),
        records,
        log,
    })
}

/// Ends the old logs, begins the new epoch, and states what the ledger was made of.
fn begin(
    config: &LedgerConfig,
    core: &mut Core,
    store: StoreId,
    filled: &[Filled],
    said: Option<Digests>,
    stamp: Stamp,
) -> Result<LogId, Failure> {
    for filled in filled {
        // HQ made the snapshot: it has every record of it.
        let sql = "UPDATE log SET acked = ?2, acked_link = ?3 WHERE id = ?1";
        core.conn.execute(sql, params![filled.entry.number, signed(filled.head.0), filled.link.0])?;
        let entry =
            Entry { acked: filled.head, closed: filled.log.direction == Direction::Up, ..filled.entry };
        Draft::new(core).set_entry(filled.log, entry);
    }
    let floors: Ends = filled
        .iter()
        .filter(|filled| filled.entry.floor > Seq::ZERO)
        .map(|filled| (filled.log, filled.entry, filled.entry.floor))
        .collect();
    let links: Vec<Link> = floors.iter().map(|(_, entry, _)| entry.floor_link).collect();
    let above = Generation::read(&config.path).map_or(Epoch(0), |witness| witness.epoch);
    let mut draft = Draft::new(core);
    let log = draft.new_epoch(store, Direction::Up, EpochReason::Restored, stamp, above)?;
    if let (Some(said), false) = (said, floors.is_empty()) {
        if floors.len() > sync_model::CHECKPOINT_ENDS_MAX {
            return Err(Refusal::new("too-many-logs", "more logs than a checkpoint can name").into());
        }
        let fact = truncate::fact(&floors, &links, said);
        let id = draft.write(log, &Event::new(stamp, fact))?;
        let number = draft.entry(log).map_or(0, |entry| entry.number);
        for mark in [Mark::Newest, Mark::Done] {
            truncate::set_mark(&core.conn, store, mark, log::pos(number, id.seq))?;
        }
    }
    Ok(log)
}

/// A load in progress.
struct Load<'a, R: Read> {
    items: Items<R>,
    core: &'a mut Core,
    store: StoreId,
    filled: Vec<Filled>,
    records: u64,
    said: Option<Digests>,
}

impl<R: Read> Load<'_, R> {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            let [tag] = self.items.fixed()?;
            match (tag, self.said) {
                (LOG, None) => self.log()?,
                (ROW, None) => self.row()?,
                (DIGESTS, None) => self.digests()?,
                (RECORD, Some(_)) => self.record()?,
                (END, Some(_)) => return self.end(),
                _ => return Err(bad(format!("an item with tag {tag} does not belong here")).into()),
            }
        }
    }

    fn log(&mut self) -> Result<(), Failure> {
        let items = &mut self.items;
        let [direction] = items.fixed()?;
        let direction = Direction::from_code(direction).ok_or_else(|| bad("a log has no direction"))?;
        let epoch = Epoch(u32::from_be_bytes(items.fixed()?));
        let log = LogId { store: self.store, direction, epoch };
        let (floor, floor_link) = (Seq(u64::from_be_bytes(items.fixed()?)), Link(items.fixed()?));
        let at = i64::from_be_bytes(items.fixed()?);
        let (head, link) = (Seq(u64::from_be_bytes(items.fixed()?)), Link(items.fixed()?));
        let known = self.filled.iter().any(|filled| filled.log == log);
        if known || self.filled.len() >= LOGS_MAX || floor > head || head.0 > log::SEQ_MAX {
            return Err(bad(format!("log {log} is impossible")).into());
        }
        let mut draft = Draft::new(self.core);
        let entry = draft.new_log(log)?;
        let floor_link = if floor == Seq::ZERO { entry.link } else { floor_link };
        let entry = Entry { head: floor, link: floor_link, floor, floor_link, ..entry };
        draft.set_entry(log, entry);
        if floor > Seq::ZERO {
            let sql = "INSERT INTO floor (log, upto, link, at) VALUES (?1, ?2, ?3, ?4)";
            self.core.conn.execute(sql, params![entry.number, signed(floor.0), floor_link.0, at])?;
        }
        self.filled.push(Filled { log, entry, head, link });
        Ok(())
    }

    fn row(&mut self) -> Result<(), Failure> {
        let [table] = self.items.fixed()?;
        let (key, body) = (self.items.sized(ROW_BYTES_MAX)?, self.items.sized(ROW_BYTES_MAX)?);
        if table == image::TICKET {
            let odd = || bad("a ticket row is none");
            let (key, log, seq) = image::read_ticket(self.store, &key, &body).ok_or_else(odd)?;
            let filled = self.filled.iter().find(|filled| filled.log == log).ok_or_else(odd)?;
            if seq > filled.entry.floor {
                return Err(odd().into());
            }
            return Ok(image::insert_ticket(&self.core.conn, &key, filled.entry.number, seq)?);
        }
        let sql = "INSERT INTO base (store, tab, key, body) VALUES (?1, ?2, ?3, ?4)";
        self.core.conn.prepare_cached(sql)?.execute(params![self.store.0, table, key, body])?;
        Ok(())
    }

    /// The rows are complete: they must be what they are said to be.
    fn digests(&mut self) -> Result<(), Failure> {
        let (balances, folds) = (self.items.fixed()?, self.items.fixed()?);
        let said = Digests { balances, folds, rows: u64::from_be_bytes(self.items.fixed()?) };
        let floors: Ends = self
            .filled
            .iter()
            .filter(|filled| filled.entry.floor > Seq::ZERO)
            .map(|filled| (filled.log, filled.entry, filled.entry.floor))
            .collect();
        let (set, odd) = image::load(&self.core.conn, self.store)?;
        let found = image::digests(&self.core.conn, self.store, &set, &floors)?;
        if odd > 0 || found != said {
            return Err(bad("fold rows do not match their digest").into());
        }
        truncate::back_to_floors(&self.core.conn, self.store, &[])?;
        self.said = Some(said);
        Ok(())
    }

    fn record(&mut self) -> Result<(), Failure> {
        let number = usize::try_from(u32::from_be_bytes(self.items.fixed()?)).unwrap_or(usize::MAX);
        let record = self.items.sized(RECORD_BYTES_MAX)?;
        let filled = self.filled.get_mut(number).ok_or_else(|| bad("a record of no log"))?;
        let (log, entry) = (filled.log, filled.entry);
        if entry.head >= filled.head {
            return Err(bad(format!("log {log} has records beyond its end")).into());
        }
        let id = EventId { log, seq: entry.head.next() };
        let pos = log::pos(entry.number, id.seq);
        let mut draft = Draft::new(self.core);
        draft.fold_record(id, pos, &record)?;
        filled.entry = draft.push(log, entry, &record)?;
        self.records += 1;
        if self.records.is_multiple_of(CHUNK) {
            self.core.keep_job();
            self.core.flush()?;
            self.core.conn.execute_batch("COMMIT; BEGIN IMMEDIATE")?;
            self.core.keep_group();
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let records = u64::from_be_bytes(self.items.fixed()?);
        if records != self.records {
            let found = self.records;
            return Err(bad(format!("the snapshot has {found} records, {records} were announced")).into());
        }
        for filled in &self.filled {
            if (filled.entry.head, filled.entry.link) != (filled.head, filled.link) {
                let detail = format!("log {}: records do not lead to the stated end", filled.log);
                return Err(bad(detail).into());
            }
        }
        Ok(())
    }
}
