//! Damage at rest: a flipped bit, another byte, a zeroed or cut-off page in one file of the store at a time.
//!
//! The store's rule (`sync-store`, `open.rs`, `salvage.rs`): it always starts; what is intact is saved; what is gone is
//! said. So every state must open and go on, and what it then holds is either what was there, table by table, or the
//! damage was reported: by the opening (salvage, new epoch), by a read (a damaged block), or by `verify`.
//!
//! Two things cannot be told from a power cut, and count as `older`: the end of the tail of samples (`journal.rs`), and the
//! end of HQ's write-ahead log, beside which no witness lies: its stores return what it lost. Rows that are neither log nor
//! fold carry no checksum of their own; a change of one of them counts as `local` and is told apart in the table.

use crate::campaign::lay;
use crate::disk::Files;
use crate::facts::{self, AFTER, DOWN, SERIES, STORE, between};
use crate::oracle::Rows;
use crate::random::Random;
use crate::trace;
use crate::writer::{self, BACKUP, LEDGER, OFFICE, OLD, SNAPSHOT, TELEMETRY, append, config, identity};
use anyhow::{Context, Result, anyhow, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use sync_model::UnixMillis;
use sync_store::telemetry::Telemetry;
use sync_store::{Ledger, Problem, verify_file};

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    Bit(usize, u8),
    Byte(usize, u8),
    /// So many bytes from here are zero.
    Zeroed(usize, usize),
    /// The file ends here.
    Ends(usize),
}

impl Harm {
    fn to(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bit(at, bit) => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            Self::Byte(at, mask) => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Self::Zeroed(at, count) => {
                let end = bytes.len().min(at + count);
                if let Some(part) = bytes.get_mut(at..end) {
                    part.fill(0);
                }
            }
            Self::Ends(at) => bytes.truncate(at),
        }
    }
}

/// How a state came out that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// Nothing that anybody reads was touched.
    Same,
    /// Set aside and saved.
    Salvaged,
    /// A new epoch, because the file is not the one that was written last.
    NewEpoch,
    /// Named by the read or the check that met it.
    Named,
    /// Refused with a reason, by what takes a file in.
    Refused,
    /// A row of this file alone is another one: the digest of a retry, which is then refused, or a value of the daemon.
    Local,
    /// An end is gone that looks like one that a power cut took.
    Older,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Same => "nothing read was touched",
            Self::Salvaged => "salvaged",
            Self::NewEpoch => "new epoch",
            Self::Named => "named by read or verify",
            Self::Refused => "refused",
            Self::Local => "a local row without a checksum",
            Self::Older => "an end gone as by a power cut",
        })
    }
}

/// Table by table, what a ledger holds; without what every opening changes.
type Tables = BTreeMap<String, u64>;

fn tables(path: &Path) -> Result<Tables> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut names = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'meta'")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut tables = Tables::new();
    for name in names {
        let mut hasher = DefaultHasher::new();
        let mut statement = conn.prepare(&format!("SELECT * FROM {name}"))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                format!("{:?}", row.get_ref(column)?).hash(&mut hasher);
            }
        }
        tables.insert(name, hasher.finish());
    }
    Ok(tables)
}

/// The files of a store and what it holds when nothing is wrong.
pub(crate) struct Base {
    name: &'static str,
    files: Files,
    ledgers: BTreeMap<&'static str, Tables>,
    /// Records of HQ.
    records: usize,
}

/// Samples of every series in a base.
const SAMPLES: u64 = 80;

/// Those of all series that lie in the tail.
const TAIL: u64 = 120;

/// Ledgers of a base and files that belong to them.
fn owner(file: &str) -> &'static str {
    match file {
        _ if file.starts_with(LEDGER) => LEDGER,
        _ if file.starts_with(OFFICE) => OFFICE,
        _ if file.starts_with(TELEMETRY) => TELEMETRY,
        _ if file.starts_with(BACKUP) => BACKUP,
        _ if file.starts_with(OLD) => OLD,
        _ => SNAPSHOT,
    }
}

impl Base {
    fn of(name: &'static str, files: Files, place: &Path) -> Result<Self> {
        let folder = place.join(name);
        lay(&folder, &files)?;
        let mut ledgers = BTreeMap::new();
        for ledger in [LEDGER, OFFICE] {
            if files.contains_key(ledger) {
                let (opened, report) = Ledger::open_as(config(&folder, ledger), between(), identity(8))?;
                ensure!(report.salvaged.is_none() && !report.restored, "{name}: {report:?}");
                ledgers.insert(ledger, tables(&folder.join(ledger))?);
                drop(opened);
            }
        }
        if files.contains_key(BACKUP) {
            ledgers.insert(BACKUP, tables(&folder.join(BACKUP))?);
        }
        if files.contains_key(SNAPSHOT) {
            writer::bootstrap(&folder)?;
            ledgers.insert(SNAPSHOT, tables(&folder.join(LEDGER))?);
            import(&folder)?;
            ledgers.insert(OLD, tables(&folder.join(LEDGER))?);
        }
        let office = folder.join(OFFICE);
        let records = if office.exists() { Rows::read(&office)?.records.len() } else { 0 };
        Ok(Self { name, files, ledgers, records })
    }

    /// A store that trades, the same store switched off, and what a new gateway begins with.
    pub(crate) fn all(place: &Path) -> Result<Vec<Self>> {
        let home = place.join("home");
        std::fs::create_dir_all(&home)?;
        let live: Arc<Mutex<Files>> = Arc::default();
        let (copy, from) = (Arc::clone(&live), home.clone());
        let voice: writer::Voice = Arc::new(move |line: &str| {
            // The last acknowledgement of the scenario: everything is still open.
            if line.starts_with("fact 43 ")
                && let Ok(files) = trace::files(&from)
            {
                let files = files.into_iter().filter(|(name, _)| !name.ends_with("-shm"));
                *copy.lock().unwrap_or_else(PoisonError::into_inner) = files.collect();
            }
        });
        writer::run("trade", &home, &voice)?;
        let live = live.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ensure!(live.get("ledger.db-wal").is_some_and(|log| log.len() > 10_000), "no living write-ahead log");
        let closed = trace::files(&home)?.into_iter().collect();
        let new = place.join("new");
        std::fs::create_dir_all(&new)?;
        writer::prepare("replace", &new)?;
        let new = trace::files(&new)?.into_iter().collect();
        Ok(vec![
            Self::of("live", live, place)?,
            Self::of("closed", closed, place)?,
            Self::of("new", new, place)?,
        ])
    }
}

/// A new gateway takes over what the old disk has.
fn import(folder: &Path) -> Result<()> {
    let (ledger, _) = Ledger::open_as(config(folder, LEDGER), between(), identity(8))?;
    ledger.import(&folder.join(OLD), STORE, between())?;
    let verified = ledger.verify()?;
    ensure!(verified.ok(), "{:?}", verified.problems);
    Ok(())
}

/// Checks one damaged state.
fn check(base: &Base, folder: &Path, file: &str) -> Result<End> {
    match owner(file) {
        TELEMETRY => samples(folder),
        BACKUP => {
            let expected = base.ledgers.get(BACKUP).context("a base")?;
            named(&folder.join(BACKUP), expected)
        }
        SNAPSHOT => Ok(match writer::bootstrap(folder) {
            Err(error) => refused(&error)?,
            Ok(()) => {
                let expected = base.ledgers.get(SNAPSHOT).context("a base")?;
                ensure!(
                    tables(&folder.join(LEDGER))? == *expected,
                    "another snapshot was taken for this one"
                );
                End::Same
            }
        }),
        OLD => {
            writer::bootstrap(folder)?;
            let expected = base.ledgers.get(OLD).context("a base")?;
            match import(folder) {
                Err(error) => refused(&error),
                Ok(()) => {
                    // What was left is said by the import; what was taken is genuine.
                    Rows::read(&folder.join(LEDGER))?;
                    Ok(if tables(&folder.join(LEDGER))? == *expected { End::Same } else { End::Named })
                }
            }
        }
        name => ledger(base, folder, (name, file)),
    }
}

/// A refusal says which file and why.
fn refused(error: &anyhow::Error) -> Result<End> {
    let text = format!("{error:#}");
    ensure!(!text.contains("panicked") && text.len() > 20, "an unclear refusal: {text}");
    Ok(End::Refused)
}

/// Same, or named by `verify`.
fn named(path: &Path, expected: &Tables) -> Result<End> {
    let verified = verify_file(path)?;
    if !verified.ok() {
        return Ok(End::Named);
    }
    let found = tables(path)?;
    let other: Vec<&String> =
        expected.keys().filter(|table| found.get(*table) != expected.get(*table)).collect();
    let local = other.iter().all(|table| ["answer", "state"].contains(&table.as_str()));
    ensure!(local, "silently wrong: {other:?}");
    Ok(if other.is_empty() { End::Same } else { End::Local })
}

fn ledger(base: &Base, folder: &Path, (name, file): (&'static str, &str)) -> Result<End> {
    let path = folder.join(name);
    let expected = base.ledgers.get(name).context("a base")?;
    let (ledger, report) =
        Ledger::open_as(config(folder, name), between(), identity(9)).context("it does not start")?;
    let end = if let Some(salvage) = &report.salvaged {
        ensure!(salvage.evidence.exists() && !salvage.lost_hint.is_empty(), "{salvage:?}");
        kept_as_found(base, name, file, &salvage.evidence)?;
        // Of truncated records only a checkpoint tells what they were. Where that is gone, both say so.
        let unsaid =
            |problem: &&Problem| problem.name != "checkpoint" || !salvage.lost_hint.contains(&problem.detail);
        let verified = ledger.verify()?;
        let unsaid = verified.problems.iter().find(unsaid);
        ensure!(unsaid.is_none(), "after the salvage: {unsaid:?}, said was: {}", salvage.lost_hint);
        Rows::read(&path).context("after the salvage")?;
        End::Salvaged
    } else if report.restored {
        let verified = ledger.verify()?;
        if verified.ok() {
            Rows::read(&path).context("in the new epoch")?;
        }
        End::NewEpoch
    } else if name == OFFICE && older(&path, expected, base.records)? {
        End::Older
    } else {
        named(&path, expected)?
    };
    // It goes on; or it says that it cannot, when damage lies where only this write meets it.
    let next = if name == OFFICE {
        let event = facts::fact(DOWN + 99)?;
        ledger.call(move |draft| draft.append_down(STORE, &event))
    } else {
        ledger.call(|draft| append(draft, AFTER))
    };
    match next {
        Ok(_) => Ok(end),
        Err(_) if end == End::Named => Ok(end),
        Err(error) => Err(error).context("the next fact"),
    }
}

/// The log of a ledger that was set aside is beside it, unless SQLite had moved it into the file before.
fn kept_as_found(base: &Base, name: &str, file: &str, evidence: &Path) -> Result<()> {
    let log = base.files.get(&format!("{name}-wal")).filter(|log| !log.is_empty() && file == name);
    let (Some(log), 0) = (log, std::fs::metadata(evidence)?.len()) else { return Ok(()) };
    let mut beside = evidence.as_os_str().to_owned();
    beside.push("-wal");
    let kept = std::fs::read(beside).context("the log of an emptied ledger")?;
    ensure!(kept == **log, "the log of an emptied ledger is another one");
    Ok(())
}

/// HQ's file is whole and lacks an end.
fn older(path: &Path, expected: &Tables, records: usize) -> Result<bool> {
    if !verify_file(path)?.ok() || tables(path)? == *expected {
        return Ok(false);
    }
    Ok(Rows::read(path)?.records.len() < records)
}

fn samples(folder: &Path) -> Result<End> {
    let telemetry = Telemetry::open(writer::telemetry(folder)).context("it does not start")?;
    let all = (UnixMillis(i64::MIN), UnixMillis(i64::MAX));
    let (mut said, mut missing, mut gaps) = (folder.join(format!("{TELEMETRY}.bad")).exists(), 0, false);
    for series in 0..SERIES.len() {
        let of = facts::sample(series, 0)?;
        // An index that cannot be read is an answer, too: with the file and what is wrong with it.
        let Ok(range) = telemetry.range(&of.device, of.metric, all, usize::MAX) else {
            said = true;
            continue;
        };
        said |= !range.damaged.is_empty();
        let mut next = 0;
        for point in &range.points {
            let index = (next..SAMPLES).find(|index| facts::point(series, *index) == *point);
            let index = index.with_context(|| format!("series {series}: nobody recorded {point:?}"))?;
            gaps |= index != next;
            next = index + 1;
        }
        missing += SAMPLES - range.points.len() as u64;
    }
    said |= telemetry.stats().damaged > 0;
    let more = facts::sample(0, SAMPLES + 5)?;
    telemetry.record(more);
    telemetry.flush();
    ensure!(
        telemetry.stats().errors == 0 && telemetry.stats().shed == 0,
        "it does not go on: {:?}",
        telemetry.stats()
    );
    match (missing, said) {
        (0, false) => Ok(End::Same),
        (_, true) => Ok(End::Named),
        (_, false) if !gaps && missing <= TAIL => Ok(End::Older),
        _ => bail!("silently wrong: {missing} samples are missing"),
    }
}

/// One damage.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    base: usize,
    pub(crate) file: String,
    pub(crate) harm: Harm,
}

/// Where harm is done: the first page as often as all others, because everything hangs on it.
fn place(bytes: &[u8], random: &mut Random) -> usize {
    // What was never written is not worth a try: the tail of samples is mostly empty.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let reach = if random.below(3) == 0 { used.min(4_096) } else { used };
    random.below(reach)
}

/// Cases of flipped bits and bytes.
pub(crate) fn flips(bases: &[Base], seed: u64, count: usize) -> Vec<Case> {
    cases(bases, seed, count, |bytes, random| {
        let at = place(bytes, random);
        let mask = u8::try_from(random.below(255) + 1).unwrap_or(1);
        if random.toss() { Harm::Bit(at, mask % 8) } else { Harm::Byte(at, mask) }
    })
}

/// Cases of zeroed and cut-off pages.
pub(crate) fn pages(bases: &[Base], seed: u64, count: usize) -> Vec<Case> {
    cases(bases, seed, count, |bytes, random| {
        let grain = [512, 4_096].get(random.below(2)).copied().unwrap_or(512);
        let at = place(bytes, random) / grain * grain;
        if random.below(3) == 0 {
            // Some end inside a page.
            Harm::Ends(if random.toss() { at } else { at + random.below(grain) })
        } else {
            Harm::Zeroed(at, grain)
        }
    })
}

fn cases(bases: &[Base], seed: u64, count: usize, harm: impl Fn(&[u8], &mut Random) -> Harm) -> Vec<Case> {
    let mut files: Vec<(usize, &String, &[u8])> = Vec::new();
    for (index, base) in bases.iter().enumerate() {
        let filled = base.files.iter().filter(|(_, bytes)| !bytes.is_empty());
        files.extend(filled.map(|(name, bytes)| (index, name, bytes.as_slice())));
    }
    let mut random = Random::new(seed);
    let one = |number: usize| {
        // Every file in turn, so that small ones are not forgotten.
        let (base, file, bytes) = files.get(number % files.len().max(1))?;
        Some(Case { base: *base, file: (*file).clone(), harm: harm(bytes, &mut random) })
    };
    (0..count).map_while(one).collect()
}

/// What came of the cases.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) ends: BTreeMap<End, u64>,
    /// Case by case: what, and why it does not hold.
    pub(crate) violations: Vec<String>,
}

/// Tries cases on some threads.
pub(crate) fn run(bases: &[Base], cases: &[Case], workers: usize, place: &Path) -> Outcome {
    let (next, outcome) = (AtomicUsize::new(0), Mutex::new(Outcome::default()));
    std::thread::scope(|scope| {
        for number in 0..workers {
            let (next, outcome) = (&next, &outcome);
            let folder = place.join(format!("damage-{number}"));
            scope.spawn(move || {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ended = one(bases, case, &folder);
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    match ended {
                        Ok(end) => *outcome.ends.entry(end).or_default() += 1,
                        Err(error) => outcome.violations.push(format!("{case:?}: {error:#}")),
                    }
                }
            });
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Tries one case; `folder` keeps what is left of it.
pub(crate) fn one(bases: &[Base], case: &Case, folder: &Path) -> Result<End> {
    let base = bases.get(case.base).context("a base")?;
    let mut files = base.files.clone();
    let bytes = files.get_mut(&case.file).with_context(|| format!("{} has no {}", base.name, case.file))?;
    case.harm.to(Arc::make_mut(bytes));
    lay(folder, &files)?;
    catch_unwind(AssertUnwindSafe(|| check(base, folder, &case.file)))
        .unwrap_or_else(|_| Err(anyhow!("panicked")))
}
