//! What must hold of the files that a power cut left.
//!
//! The ledgers and the samples are opened as the product opens them, and then read a second time without it: by plain SQL
//! and the decoder of a record. Every fact is a function of its number (`facts`), so content is compared, not only counted.

use crate::acks::Ack;
use crate::facts::{self, AFTER, DOWN, SERIES, STORE, between, digest, key};
use crate::writer::{self, BACKUP, LEDGER, OFFICE, TELEMETRY, append, config, identity};
use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use sync_model::{Direction, Epoch, Event, EventId, Fact, LogId, Seq, UnixMillis};
use sync_store::telemetry::Telemetry;
use sync_store::{Ledger, OpenReport, verify_file};

/// What was acknowledged before the cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promised {
    pub(crate) facts: BTreeMap<u64, EventId>,
    heard: BTreeMap<LogId, Seq>,
    known: BTreeMap<LogId, Seq>,
    down: BTreeMap<u64, EventId>,
    samples: u64,
    backup: Option<u64>,
}

impl Promised {
    /// Takes an acknowledgement into account.
    pub(crate) fn add(&mut self, ack: &Ack) {
        match ack {
            Ack::Fact(number, id) | Ack::Kept(number, id) => {
                self.facts.insert(*number, *id);
            }
            Ack::Down(number, id) => {
                self.down.insert(*number, *id);
            }
            Ack::Heard(id) => {
                self.heard.insert(id.log, id.seq);
            }
            Ack::Known(id) => {
                self.known.insert(id.log, id.seq);
            }
            Ack::Samples(count) => self.samples = *count,
            Ack::Backup(upto) => self.backup = Some(*upto),
        }
    }
}

/// What was seen of a state that holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// Time from nothing to an open ledger and open samples.
    pub(crate) opening: Duration,
    /// A new epoch was begun.
    pub(crate) new_epoch: bool,
}

/// Checks a state; an error says what does not hold.
pub(crate) fn check(folder: &Path, scenario: &str, promised: &Promised) -> Result<Seen> {
    if scenario == "replace" && !folder.join(LEDGER).exists() {
        // The new gateway was cut before its ledger was there: whoever replaces it tries again.
        writer::bootstrap(folder).context("the second bootstrap")?;
    }
    let mut seen = Seen::default();
    let office = (scenario == "trade").then(|| office(folder, promised)).transpose().context("HQ")?;
    let rows = store(folder, scenario, promised, office.as_ref(), &mut seen).context("store")?;
    if let Some(office) = &office {
        for (id, record) in office.records.iter().filter(|(id, _)| id.log.direction == Direction::Up) {
            let here = rows.records.get(id).is_some_and(|own| own == record);
            let floor = rows.floors.get(&id.log).copied().unwrap_or_default();
            ensure!(here || id.seq <= floor, "HQ has {id}, the store does not");
        }
        samples(folder, promised, &mut seen).context("samples")?;
        backup(folder, promised).context("backup")?;
    }
    Ok(seen)
}

/// What a ledger file holds, by plain SQL.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) records: BTreeMap<EventId, Vec<u8>>,
    /// Facts of the run, by number.
    pub(crate) numbers: BTreeMap<u64, EventId>,
    pub(crate) floors: BTreeMap<LogId, Seq>,
    acked: BTreeMap<LogId, Seq>,
    heads: BTreeMap<LogId, Seq>,
    pub(crate) keys: BTreeSet<u64>,
    latch: Option<u64>,
}

fn log_id(direction: u8, epoch: u32) -> LogId {
    let direction = if direction == Direction::Up.code() { Direction::Up } else { Direction::Down };
    LogId { store: STORE, direction, epoch: Epoch(epoch) }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl Rows {
    /// Reads a file; whoever wrote it may have it open.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut rows = Self::default();
        let mut statement = conn.prepare(
            "SELECT direction, epoch, pos & 1099511627775, record FROM event JOIN log ON log.id = pos >> 40 ORDER BY pos",
        )?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let id = EventId { log: log_id(row.get(0)?, row.get(1)?), seq: Seq(unsigned(row.get(2)?)) };
            rows.record(id, row.get(3)?)?;
        }
        let mut statement = conn.prepare("SELECT direction, epoch, head, acked, coalesce(upto, 0) FROM log LEFT JOIN floor ON floor.log = log.id")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let log = log_id(row.get(0)?, row.get(1)?);
            rows.heads.insert(log, Seq(unsigned(row.get(2)?)));
            rows.acked.insert(log, Seq(unsigned(row.get(3)?)));
            rows.floors.insert(log, Seq(unsigned(row.get(4)?)));
        }
        let mut statement = conn.prepare("SELECT key FROM answer")?;
        let mut found = statement.query([])?;
        while let Some(row) = found.next()? {
            let name: String = row.get(0)?;
            let number = name.strip_prefix("key-").and_then(|number| number.parse().ok());
            rows.keys.insert(number.with_context(|| format!("nobody wrote the key {name}"))?);
        }
        let state =
            conn.query_row("SELECT value FROM state WHERE key = 'latch'", [], |row| row.get::<_, Vec<u8>>(0));
        rows.latch = state.ok().and_then(|value| value.try_into().ok()).map(u64::from_be_bytes);
        Ok(rows)
    }

    fn record(&mut self, id: EventId, record: Vec<u8>) -> Result<()> {
        let event = Event::from_record(&record).with_context(|| format!("{id} does not decode"))?;
        // The ledger's own facts carry the stamp of whatever made them necessary.
        let own = matches!(event.fact, Fact::EpochOpened(_) | Fact::Checkpointed(_));
        if let Some(number) = facts::number(event.stamp).filter(|_| !own) {
            ensure!(
                record == facts::fact(number)?.to_record()?,
                "{id} is not fact {number} as it was written"
            );
            if let Some(other) = self.numbers.insert(number, id) {
                bail!("fact {number} is there twice: {other} and {id}");
            }
        }
        self.records.insert(id, record);
        Ok(())
    }

    fn head(&self, log: LogId) -> Seq {
        self.heads.get(&log).copied().unwrap_or_default()
    }
}

/// Opens a ledger as the product does, and verifies it.
fn open(folder: &Path, name: &str) -> Result<(Ledger, OpenReport, Duration)> {
    let begun = Instant::now();
    let (ledger, report) = Ledger::open_as(config(folder, name), between(), identity(9))?;
    let took = begun.elapsed();
    let verified = ledger.verify()?;
    ensure!(verified.ok(), "{:?}", verified.problems);
    Ok((ledger, report, took))
}

fn store(
    folder: &Path,
    scenario: &str,
    promised: &Promised,
    office: Option<&Rows>,
    seen: &mut Seen,
) -> Result<Rows> {
    let (ledger, report, took) = open(folder, LEDGER)?;
    seen.opening += took;
    seen.new_epoch = report.restored;
    ensure!(
        scenario == "salvage" || report.salvaged.is_none(),
        "a power cut was taken for damage: {report:?}"
    );
    let rows = Rows::read(&folder.join(LEDGER))?;
    for (number, id) in &promised.facts {
        let gone = rows.floors.get(&id.log).is_some_and(|floor| id.seq <= *floor);
        let at_hq = office.is_some_and(|office| office.numbers.get(number) == Some(id));
        let kept = rows.numbers.get(number) == Some(id) || (gone && at_hq && rows.keys.contains(number));
        ensure!(kept, "fact {number} was acknowledged as {id}, found {:?}", rows.numbers.get(number));
    }
    for (log, upto) in promised.known.iter().filter(|(log, _)| log.direction == Direction::Up) {
        let acked = rows.acked.get(log).copied().unwrap_or_default();
        ensure!(acked >= *upto, "{log}: HQ's acknowledgement up to {upto} is forgotten, found {acked}");
    }
    for (log, upto) in promised.heard.iter().filter(|(log, _)| log.direction == Direction::Down) {
        ensure!(rows.head(*log) >= *upto, "{log} was received up to {upto}, found {}", rows.head(*log));
    }
    if scenario == "trade" || scenario == "checkpoint" {
        together(&rows)?;
        ensure!(!report.restored || promised.facts.is_empty(), "a power cut was taken for a restored file");
    }
    // Life goes on, and a retry is still one.
    ledger.call(|draft| append(draft, AFTER)).context("the next fact")?;
    if let Some((number, id)) =
        promised.facts.iter().next_back().filter(|(number, _)| rows.keys.contains(number))
    {
        let (number, id) = (*number, *id);
        let answer = ledger.call(move |draft| draft.first_answer(&key(number), &digest(number)))?;
        ensure!(answer == Some(id), "the retry of fact {number} got {answer:?}, first it was {id}");
    }
    Ok(rows)
}

/// A fact, its key and the latch were one job.
fn together(rows: &Rows) -> Result<()> {
    let own = rows.numbers.iter().filter(|(_, id)| id.log.direction == Direction::Up);
    let numbers: BTreeSet<u64> = own.map(|(number, _)| *number).collect();
    ensure!(numbers.is_subset(&rows.keys), "facts without their keys");
    let floor = rows.floors.values().map(|floor| floor.0).max().unwrap_or(0);
    ensure!(rows.keys.len() == numbers.len() || floor > 0, "keys without their facts");
    let newest =
        rows.numbers.iter().filter(|(_, id)| id.log.direction == Direction::Up).max_by_key(|(_, id)| **id);
    let newest = newest.map(|(number, _)| *number);
    ensure!(
        rows.latch == newest || (newest.is_none() && floor > 0),
        "latch {:?}, newest fact {newest:?}",
        rows.latch
    );
    Ok(())
}

fn office(folder: &Path, promised: &Promised) -> Result<Rows> {
    let (ledger, report, _) = open(folder, OFFICE)?;
    ensure!(report.salvaged.is_none(), "a power cut was taken for damage: {report:?}");
    let rows = Rows::read(&folder.join(OFFICE))?;
    for (log, upto) in promised.heard.iter().filter(|(log, _)| log.direction == Direction::Up) {
        ensure!(rows.head(*log) >= *upto, "{log} was acknowledged up to {upto}, found {}", rows.head(*log));
    }
    for (log, upto) in promised.known.iter().filter(|(log, _)| log.direction == Direction::Down) {
        let acked = rows.acked.get(log).copied().unwrap_or_default();
        ensure!(
            acked >= *upto,
            "{log}: the store's acknowledgement up to {upto} is forgotten, found {acked}"
        );
    }
    for (number, id) in &promised.down {
        ensure!(rows.numbers.get(number) == Some(id), "fact {number} was acknowledged as {id}");
    }
    let next = facts::fact(DOWN + 99)?;
    ledger.call(move |draft| draft.append_down(STORE, &next)).context("the next fact")?;
    Ok(rows)
}

/// Samples are there from the first one on, without a gap, as recorded, at least as many as were acknowledged.
fn samples(folder: &Path, promised: &Promised, seen: &mut Seen) -> Result<()> {
    let begun = Instant::now();
    let telemetry = Telemetry::open(writer::telemetry(folder))?;
    seen.opening += begun.elapsed();
    ensure!(!folder.join(format!("{TELEMETRY}.bad")).exists(), "the file was set aside");
    let all = (UnixMillis(i64::MIN), UnixMillis(i64::MAX));
    let mut next = 0;
    for series in 0..SERIES.len() {
        let named = facts::sample(series, 0)?;
        let range = telemetry.range(&named.device, named.metric, all, usize::MAX)?;
        ensure!(range.damaged.is_empty(), "{:?}", range.damaged);
        let count = range.points.len() as u64;
        ensure!(count >= promised.samples, "{count} of {} samples of series {series}", promised.samples);
        let wrong =
            (0..count).zip(&range.points).find(|(index, point)| facts::point(series, *index) != **point);
        ensure!(wrong.is_none(), "series {series}: {wrong:?}");
        next = count;
    }
    ensure!(telemetry.stats().damaged == 0, "{:?}", telemetry.stats());
    let more = facts::sample(SERIES.len() - 1, next)?;
    telemetry.record(more.clone());
    telemetry.flush();
    let range = telemetry.range(&more.device, more.metric, all, usize::MAX)?;
    ensure!(range.points.len() as u64 == next + 1, "the next sample is not there");
    ensure!(telemetry.stats().errors == 0 && telemetry.stats().shed == 0, "{:?}", telemetry.stats());
    Ok(())
}

/// A backup under its name is whole.
fn backup(folder: &Path, promised: &Promised) -> Result<()> {
    let path = folder.join(BACKUP);
    ensure!(promised.backup.is_none() || path.exists(), "it is gone");
    if path.exists() {
        let verified = verify_file(&path)?;
        ensure!(verified.ok(), "{:?}", verified.problems);
        let rows = Rows::read(&path)?;
        let all = (0..promised.backup.unwrap_or(0)).all(|number| rows.keys.contains(&number));
        ensure!(all, "facts are missing");
    }
    Ok(())
}
