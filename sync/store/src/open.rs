//! Opening a ledger: lock, check, create or migrate, salvage when damaged, first epoch.
//!
//! Contract: the result is a working ledger or an error that a person must act on (in use, newer schema, another owner,
//! foreign file, no space). Damage is never such an error: the file is set aside and a fresh one takes its place.

use crate::draft::Draft;
use crate::generation::{Generation, Identity, Witness};
use crate::ledger::{LedgerConfig, core};
use crate::log;
use crate::schema::{self, APPLICATION_ID, Owner, SCHEMA};
use crate::state::Core;
use crate::{LedgerError, OpenReport, salvage};
use rusqlite::Connection;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use sync_model::{Epoch, EpochReason, LogId, Seq, Stamp};

/// `path` with `suffix` added to its last component.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock file beside the ledger; the system releases it when the process ends, however it ends.
pub(crate) fn lock(path: &Path) -> Result<File, LedgerError> {
    let name = beside(path, ".lock");
    let context = || format!("lock file {}", name.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&name)
        .map_err(|error| LedgerError::io(context(), &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(LedgerError::io(context(), &error)),
    }
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> Result<(), LedgerError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LedgerError::io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// Makes a rename or creation in the folder of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// What the check of an existing file found.
enum Found {
    /// No tables yet: a new file, or one whose creation was cut short.
    Empty,
    /// A ledger of this schema version.
    Ledger(i64),
    /// To be set aside, and why.
    Damaged(String),
}

/// Opens the file and brings it into a state the writer can work on.
pub(crate) fn open(
    config: &LedgerConfig,
    stamp: Stamp,
    identity: Identity,
) -> Result<(Core, OpenReport), LedgerError> {
    let path = &config.path;
    let mut salvaged = salvage::resume(config)?;
    let existed = path.exists();
    let mut found = check(config)?;
    if let Found::Damaged(reason) = &found {
        tracing::error!(path = %path.display(), reason, "ledger is damaged: setting it aside");
        salvaged = Some(salvage::set_aside(config, stamp, reason)?);
        found = check(config)?;
    }
    let from = match found {
        Found::Empty => 0,
        Found::Ledger(version) => version,
        Found::Damaged(detail) => {
            let context = format!("{} after salvage", path.display());
            return Err(LedgerError::Storage { context, detail });
        }
    };
    let context = || format!("open {}", path.display());
    let conn = schema::connect(path).map_err(|error| LedgerError::sql(context(), &error))?;
    if config.owner == Owner::Hq {
        conn.pragma_update(None, "cache_size", schema::HQ_CACHE)
            .map_err(|error| LedgerError::sql(context(), &error))?;
    }
    let (core, restored) = prepare(config, conn, (from, stamp, identity)).map_err(|error| match error {
        LedgerError::Storage { detail, .. } => LedgerError::Storage { context: context(), detail },
        other => other,
    })?;
    sync_parent(path).map_err(|error| LedgerError::io(context(), &error))?;
    let own = core.own();
    let head = own.and_then(|log| core.head(log)).unwrap_or(Seq::ZERO);
    let schema = (from, SCHEMA);
    Ok((core, OpenReport { created: !existed, salvaged, restored, schema, log: own, head }))
}

/// Creates or migrates, and opens the first or a new epoch, all in one transaction.
fn prepare(
    config: &LedgerConfig,
    conn: Connection,
    (from, stamp, identity): (i64, Stamp, Identity),
) -> Result<(Core, bool), LedgerError> {
    let sql = |error: rusqlite::Error| LedgerError::sql("prepare", &error);
    conn.execute_batch("BEGIN IMMEDIATE").map_err(sql)?;
    match from {
        0 => schema::create(&conn, config.owner).map_err(sql)?,
        SCHEMA => {}
        older => schema::migrate(&conn, older).map_err(sql)?,
    }
    // Written into every backup and every salvaged file: whoever opens one must not go on under the old names.
    let mark = schema::meta(&conn, "reopen").map_err(sql)?.ok().flatten();
    if mark.is_some() {
        schema::remove_meta(&conn, "reopen").map_err(sql)?;
    }
    let restored = mark.as_deref() == Some(b"backup");
    let mut core = core(config, conn).map_err(sql)?;
    let found = witnessed(config, &mut core, identity).map_err(sql)?;
    if matches!(config.owner, Owner::Store(_)) {
        let reason = match (mark, core.own()) {
            (Some(_), _) if restored => Some(EpochReason::Restored),
            (Some(_), _) => Some(EpochReason::Salvaged),
            (None, None) => Some(EpochReason::Provisioned),
            (None, Some(_)) => found.reason,
        };
        if let Some(reason) = reason {
            Draft::new(&mut core).open_epoch_above(reason, found.above, stamp)?;
            core.keep_job();
        }
    } else if mark.is_some() {
        // HQ's own logs end here: what it wrote after the backup must not get a second content.
        core.conn.execute("UPDATE log SET closed = 1 WHERE direction = 1", []).map_err(sql)?;
        core.reload().map_err(sql)?;
    }
    core.flush().and_then(|()| core.conn.execute_batch("COMMIT")).map_err(sql)?;
    core.keep_group();
    core.witness(true);
    Ok((core, restored || found.reason.is_some()))
}

/// What the witness outside the file says at an open.
struct Testimony {
    /// Why a new epoch is needed.
    reason: Option<EpochReason>,
    /// The new epoch must be greater.
    above: Epoch,
}

/// Compares the file with the witness beside it, and readies the witness for this run.
fn witnessed(config: &LedgerConfig, core: &mut Core, identity: Identity) -> rusqlite::Result<Testimony> {
    let mut found = Testimony { reason: None, above: Epoch(0) };
    if core.owner == Owner::Hq {
        return Ok(found);
    }
    let witness = Generation::read(&config.path);
    let fixed = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let incarnation = fixed(schema::meta(&core.conn, "incarnation")?.ok().flatten());
    let boot = schema::meta(&core.conn, "boot")?.ok().flatten();
    let boot = boot.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()).map_or(0, u64::from_be_bytes);
    found.above = witness.map_or(Epoch(0), |witness| witness.epoch);
    if let (Some(own), Some(incarnation)) = (core.own(), incarnation) {
        found.reason = match &witness {
            None => Some(EpochReason::Restored),
            Some(witness) => compare(core, own, (identity.machine, incarnation), boot, witness)?,
        };
    }
    let keep = incarnation.filter(|_| found.reason.is_none());
    let incarnation = keep.unwrap_or(identity.incarnation);
    if let Some(reason) = found.reason {
        tracing::error!(path = %config.path.display(), ?reason, "the ledger is not the one this gateway wrote last");
    }
    let boot = boot.max(witness.map_or(0, |witness| witness.boot)).saturating_add(1);
    schema::put_meta(&core.conn, "incarnation", &incarnation)?;
    schema::put_meta(&core.conn, "boot", &boot.to_be_bytes())?;
    let generation = Generation::begin(&config.path, witness, identity.machine, incarnation, boot);
    core.generation = Some(generation.salted(identity.incarnation));
    Ok(found)
}

fn compare(
    core: &Core,
    own: LogId,
    (machine, incarnation): ([u8; 16], [u8; 16]),
    boot: u64,
    witness: &Witness,
) -> rusqlite::Result<Option<EpochReason>> {
    let moved = witness.machine != machine && witness.machine != [0; 16] && machine != [0; 16];
    if moved || witness.incarnation != incarnation {
        return Ok(Some(EpochReason::Restored));
    }
    let Some(entry) = core.entry(own) else { return Ok(None) };
    let behind = witness.boot > boot || (witness.epoch, witness.seq) > (own.epoch, entry.head);
    // The witness may be older than the ledger; where it stands, both must tell the same story.
    let same_log = witness.epoch == own.epoch && witness.seq <= entry.head;
    // Below the floor nothing can be compared any more.
    let same_log = same_log && witness.seq >= entry.floor;
    let fits = !same_log || log::link_at(&core.conn, own, &entry, witness.seq)? == Some(witness.link);
    Ok((behind || !fits).then_some(EpochReason::RolledBack))
}

/// Whether what lies beside an empty file says that there was more in it.
fn was_used(path: &Path) -> bool {
    let log = std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0);
    log || Generation::read(path).is_some()
}

/// Looks at the file without changing it more than SQLite's own recovery does.
fn check(config: &LedgerConfig) -> Result<Found, LedgerError> {
    let path = &config.path;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Empty),
        Err(error) => return Err(LedgerError::io(format!("open {}", path.display()), &error)),
        // SQLite takes a file shorter than its header for an empty one.
        Ok(file) if (1..512).contains(&file.len()) => {
            return Ok(Found::Damaged(format!("the file has {} bytes", file.len())));
        }
        // A creation that was cut short leaves no generation file, and no log before the file's first page is durable. SQLite
        // would take it for a new file and remove the log.
        Ok(file) if file.len() == 0 && was_used(path) => {
            return Ok(Found::Damaged("the file is empty and was in use before".to_owned()));
        }
        Ok(_) => {}
    }
    let looked = schema::connect(path).and_then(|conn| look(&conn));
    let seen = match looked {
        Ok(seen) => seen,
        Err(error) if is_damage(&error) => return Ok(Found::Damaged(error.to_string())),
        Err(error) => return Err(LedgerError::sql(format!("open {}", path.display()), &error)),
    };
    if seen.tables == 0 && seen.application_id == 0 {
        return Ok(Found::Empty);
    }
    if seen.application_id != APPLICATION_ID && !seen.ours {
        return Err(LedgerError::Foreign { path: path.clone(), found: seen.application_id });
    }
    if seen.user_version > SCHEMA
        && seen.schema.as_deref().is_ok_and(|schema| *schema == seen.user_version.to_be_bytes())
    {
        let (found, known) = (seen.user_version, SCHEMA);
        return Err(LedgerError::NewerSchema { path: path.clone(), found, known });
    }
    if let Some(reason) = seen.damage() {
        return Ok(Found::Damaged(reason));
    }
    let owner = seen.owner.as_ref().ok().and_then(|bytes| Owner::from_bytes(bytes));
    if owner != Some(config.owner) {
        let found = owner.map_or_else(|| "nobody".to_owned(), |owner| owner.to_string());
        return Err(LedgerError::WrongOwner {
            path: path.clone(),
            found,
            expected: config.owner.to_string(),
        });
    }
    Ok(Found::Ledger(seen.user_version))
}

/// Errors that mean the bytes are wrong, not the circumstances.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    match error.sqlite_error_code() {
        Some(
            Code::DiskFull | Code::CannotOpen | Code::PermissionDenied | Code::ReadOnly | Code::OutOfMemory,
        ) => false,
        Some(
            Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::FileLockingProtocolFailed
            | Code::NoLargeFileSupport,
        ) => false,
        Some(Code::SystemIoFailure) => error.sqlite_error().is_some_and(|inner| {
            // A short read is a truncated file; other IO errors are the disk's.
            inner.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
        }),
        _ => true,
    }
}

/// What a file says about itself.
struct Seen {
    application_id: i64,
    user_version: i64,
    tables: i64,
    /// The tables of a ledger are there.
    ours: bool,
    /// Result of SQLite's own check.
    quick_check: String,
    schema: Result<Vec<u8>, String>,
    owner: Result<Vec<u8>, String>,
    /// Why a log's end does not fit its records.
    ends: Option<String>,
}

impl Seen {
    fn damage(&self) -> Option<String> {
        if self.quick_check != "ok" {
            return Some(self.quick_check.clone());
        }
        if self.application_id != APPLICATION_ID {
            return Some(format!("application id is {:#x}", self.application_id));
        }
        if let Err(reason) = &self.owner {
            return Some(reason.clone());
        }
        match &self.schema {
            Err(reason) => return Some(reason.clone()),
            Ok(version) if *version != self.user_version.to_be_bytes() => {
                return Some(format!("user_version {} differs from the meta row", self.user_version));
            }
            Ok(_) => {}
        }
        if !(1..=SCHEMA).contains(&self.user_version) {
            return Some(format!("schema version {} is impossible", self.user_version));
        }
        self.ends.clone()
    }
}

fn look(conn: &Connection) -> rusqlite::Result<Seen> {
    let application_id = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let user_version = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
    let tables = count("SELECT count(*) FROM sqlite_schema")?;
    let ours =
        count("SELECT count(*) FROM sqlite_schema WHERE name IN ('event', 'log', 'seal', 'meta')")? == 4;
    let missing = || Err("the row is missing".to_owned());
    let mut seen = Seen {
        application_id,
        user_version,
        tables,
        ours,
        quick_check: String::new(),
        schema: missing(),
        owner: missing(),
        ends: None,
    };
    if !ours {
        "tables are missing".clone_into(&mut seen.quick_check);
        return Ok(seen);
    }
    seen.quick_check = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    let present = |value: Result<Option<Vec<u8>>, String>, key: &str| {
        value.and_then(|value| value.ok_or_else(|| format!("meta row '{key}' is missing")))
    };
    seen.schema = present(schema::meta(conn, "schema")?, "schema");
    seen.owner = present(schema::meta(conn, "owner")?, "owner");
    if seen.damage().is_none() {
        seen.ends = ends(conn)?;
    }
    Ok(seen)
}

/// Whether the end of every log follows from its last seal and the records after it, and nothing lies beyond it.
fn ends(conn: &Connection) -> rusqlite::Result<Option<String>> {
    for (log, entry) in log::entries(conn)? {
        let last: Option<i64> =
            conn.prepare_cached("SELECT max(pos) FROM event WHERE pos BETWEEN ?1 AND ?2")?.query_row(
                [log::pos(entry.number, Seq::ZERO), log::pos(entry.number, Seq(log::SEQ_MAX))],
                |row| row.get(0),
            )?;
        let last = last.map_or(entry.floor, |pos| log::split(pos).1);
        if last != entry.head {
            return Ok(Some(format!("log {log} ends at {last}, its row says {}", entry.head)));
        }
        let before = Seq(entry.head.0.saturating_sub(1));
        let seal = log::seal_before(conn, &entry, before.max(entry.floor))?;
        if log::link_from(conn, log, entry.number, seal, entry.head)? != Some(entry.link) {
            return Ok(Some(format!("log {log}: records after {} do not hash to the stored end", seal.0)));
        }
    }
    Ok(None)
}
