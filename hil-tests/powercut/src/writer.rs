//! The program whose writes are recorded: real ledgers, real telemetry, every kind of file that the store writes.
//!
//! Scenarios, each in a folder of its own, some on files that are prepared before the recording begins:
//! * `trade` — a store and HQ in one folder: single facts and groups, samples, settling, HQ's own facts, a checkpoint and
//!   its truncation in steps, a backup, a close and a second life;
//! * `checkpoint` — a write-ahead log so long that SQLite moves it into the file while the store trades, and writes it anew
//!   from its begin;
//! * `salvage` — a damaged ledger with a living write-ahead log is opened, set aside and saved;
//! * `replace` — a new gateway: HQ's snapshot, then the old disk's ledger, then trade.

use crate::acks::Ack;
use crate::facts::{self, DOWN, LARGE, SERIES, STORE, between, digest, key};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use sync_core::replica::Incoming;
use sync_model::{Direction, EventId, LogId, Seq, Text, UnixMillis};
use sync_store::telemetry::{FLUSH, Limits, Telemetry, TelemetryConfig};
use sync_store::{Draft, Identity, Ledger, LedgerConfig, Owner, Refusal, Retention};

/// Names of the scenarios.
pub(crate) const SCENARIOS: [&str; 4] = ["trade", "checkpoint", "salvage", "replace"];
/// The store's ledger.
pub(crate) const LEDGER: &str = "ledger.db";
/// HQ's.
pub(crate) const OFFICE: &str = "hq.db";
/// The block file of the samples.
pub(crate) const TELEMETRY: &str = "telemetry.db";
/// The backup.
pub(crate) const BACKUP: &str = "backup.db";
/// HQ's snapshot, of the scenario `replace`.
pub(crate) const SNAPSHOT: &str = "snapshot";
/// The old disk's ledger, of the same.
pub(crate) const OLD: &str = "old.db";

/// First fact of the scenario `checkpoint` that is recorded.
const BEGUN: u64 = 1_000;

/// Hears the acknowledgements; also from the ledger's writer thread.
pub type Voice = Arc<dyn Fn(&str) + Send + Sync>;

/// How the ledgers of this rig are opened.
pub(crate) fn config(folder: &Path, name: &str) -> LedgerConfig {
    let owner = if name == OFFICE { Owner::Hq } else { Owner::Store(STORE) };
    LedgerConfig {
        path: folder.join(name),
        owner,
        max_bytes: None,
        software: Text::lossy("power-cut rig"),
        queue: 64,
    }
}

/// One machine, always the same; `life` tells its incarnations apart.
pub(crate) fn identity(life: u8) -> Identity {
    Identity { machine: [3; 16], incarnation: [life; 16] }
}

/// How its samples are kept.
pub(crate) fn telemetry(folder: &Path) -> TelemetryConfig {
    let limits = Limits { max_age_ms: 90 * 86_400_000, max_bytes: 1 << 30 };
    TelemetryConfig { path: folder.join(TELEMETRY), limits, queue: 10_000, flush: FLUSH }
}

/// Appends fact `number` with its key and the latch, all in one job.
pub(crate) fn append(draft: &mut Draft<'_>, number: u64) -> Result<EventId, Refusal> {
    let event = facts::fact(number).map_err(|error| Refusal::new("fact", error.to_string()))?;
    let id = draft.append(&event)?;
    draft.remember(&key(number), &digest(number), id)?;
    draft.put_state("latch", Some(&number.to_be_bytes()))?;
    Ok(id)
}

struct Shop {
    store: Ledger,
    hq: Ledger,
    telemetry: Telemetry,
    voice: Voice,
    samples: u64,
}

impl Shop {
    fn open(folder: &Path, voice: &Voice, life: u8, samples: u64) -> Result<Self> {
        let (store, report) = Ledger::open_as(config(folder, LEDGER), between(), identity(life))?;
        ensure!(report.salvaged.is_none() && !report.restored, "{report:?}");
        let (hq, _) = Ledger::open_as(config(folder, OFFICE), between(), identity(life))?;
        let telemetry = Telemetry::open(telemetry(folder))?;
        Ok(Self { store, hq, telemetry, voice: Arc::clone(voice), samples })
    }

    fn facts(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        numbers.into_iter().try_for_each(|number| single(&self.store, &self.voice, number))
    }

    fn samples(&mut self, count: u64) -> Result<()> {
        for index in self.samples..self.samples + count {
            for series in 0..SERIES.len() {
                self.telemetry.record(facts::sample(series, index)?);
            }
        }
        self.telemetry.flush();
        self.samples += count;
        (self.voice)(&Ack::Samples(self.samples).line());
        Ok(())
    }

    fn office(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        for number in numbers {
            let event = facts::fact(DOWN + number)?;
            let id = self.hq.call(move |draft| draft.append_down(STORE, &event))?;
            (self.voice)(&Ack::Down(DOWN + number, id).line());
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        carry(&self.store, &self.hq, Direction::Up, &self.voice)?;
        carry(&self.hq, &self.store, Direction::Down, &self.voice)
    }

    fn truncate(&self) -> Result<()> {
        let rule = Retention { before: UnixMillis(i64::MAX), kept: 12, least: 1, most: u64::MAX };
        let plan = self.store.reader()?.plan_checkpoint(STORE, rule)?.context("nothing to check-point")?;
        self.store.call(move |draft| draft.checkpoint(&plan, between()))?;
        self.settle()?;
        while !self.store.call(|draft| draft.truncate(20))?.done {}
        Ok(())
    }
}

fn single(store: &Ledger, voice: &Voice, number: u64) -> Result<()> {
    let id = store.call(move |draft| append(draft, number))?;
    voice(&Ack::Fact(number, id).line());
    Ok(())
}

/// Many jobs at once, so that they share transactions; acknowledged where the replies are.
fn group(store: &Ledger, voice: &Voice, numbers: std::ops::Range<u64>) -> Result<()> {
    let (done, wait) = channel();
    let mut waiting = 0;
    for number in numbers {
        let (voice, done) = (Arc::clone(voice), done.clone());
        store.submit(
            move |draft| append(draft, number),
            move |answer| {
                if let Ok(id) = &answer {
                    voice(&Ack::Fact(number, *id).line());
                }
                drop(done.send(answer.map(drop)));
            },
        )?;
        waiting += 1;
    }
    for _ in 0..waiting {
        wait.recv()??;
    }
    Ok(())
}

/// Moves what is missing of every log in a direction, and the acknowledgements back.
fn carry(from: &Ledger, to: &Ledger, direction: Direction, voice: &Voice) -> Result<()> {
    let heads = from.reader()?.heads()?;
    for head in heads.into_iter().filter(|row| row.log.direction == direction) {
        send(from, to, head.log)?;
        let known = to.reader()?.head(head.log)?.context("the log did not arrive")?;
        let id = EventId { log: head.log, seq: known.head };
        voice(&Ack::Heard(id).line());
        let ack = sync_core::Ack { log: head.log, upto: known.head, link: known.link, gap: None };
        from.call(move |draft| draft.acked(&ack))?;
        voice(&Ack::Known(id).line());
    }
    Ok(())
}

fn send(from: &Ledger, to: &Ledger, log: LogId) -> Result<()> {
    loop {
        let known = to.reader()?.head(log)?.map_or(Seq::ZERO, |row| row.head);
        let Some(block) = from.reader()?.block(log, known.next(), 512, 48 * 1024)? else { return Ok(()) };
        let block = Incoming::from(block);
        to.call(move |draft| draft.take_in(&block, between()))?;
    }
}

/// Prepares the files that a scenario begins with.
pub fn prepare(scenario: &str, folder: &Path) -> Result<()> {
    match scenario {
        "trade" => Ok(()),
        "checkpoint" => prepare_checkpoint(folder),
        "salvage" => prepare_salvage(folder),
        "replace" => prepare_replace(folder),
        other => bail!("no scenario '{other}'"),
    }
}

/// Runs a scenario in a prepared folder.
pub fn run(scenario: &str, folder: &Path, voice: &Voice) -> Result<()> {
    match scenario {
        "trade" => trade(folder, voice),
        "checkpoint" => checkpoint(folder, voice),
        "salvage" => salvage(folder, voice),
        "replace" => replace(folder, voice),
        other => bail!("no scenario '{other}'"),
    }
}

fn trade(folder: &Path, voice: &Voice) -> Result<()> {
    let mut shop = Shop::open(folder, voice, 1, 0)?;
    shop.facts(0..12)?;
    shop.samples(20)?;
    group(&shop.store, voice, 12..28)?;
    shop.samples(20)?;
    shop.settle()?;
    shop.office(0..3)?;
    shop.settle()?;
    shop.truncate()?;
    shop.store.backup(&folder.join(BACKUP))?;
    voice(&Ack::Backup(28).line());
    shop.telemetry.seal();
    shop.samples(20)?;
    shop.facts(28..32)?;
    let samples = shop.samples;
    drop(shop);
    let mut shop = Shop::open(folder, voice, 2, samples)?;
    shop.facts(32..40)?;
    shop.samples(20)?;
    shop.office(3..5)?;
    shop.settle()?;
    shop.truncate()?;
    shop.facts(40..44)
}

/// A ledger whose write-ahead log is nearly as long as SQLite lets it become: 1,000 pages.
fn prepare_checkpoint(folder: &Path) -> Result<()> {
    let home = tempfile::tempdir()?;
    let (store, _) = Ledger::open_as(config(home.path(), LEDGER), between(), identity(1))?;
    let silent: Voice = Arc::new(|_| ());
    let wal = home.path().join(format!("{LEDGER}-wal"));
    let mut number = 0;
    while std::fs::metadata(&wal)?.len() < 3_700_000 {
        single(&store, &silent, number)?;
        number += 1;
    }
    ensure!(number < BEGUN, "{number} facts did not fill the write-ahead log");
    copy_in_use(home.path(), folder)
}

/// Copies a ledger that is open.
fn copy_in_use(from: &Path, to: &Path) -> Result<()> {
    for suffix in ["", "-wal", ".generation"] {
        let name = format!("{LEDGER}{suffix}");
        std::fs::copy(from.join(&name), to.join(&name))?;
    }
    Ok(())
}

fn checkpoint(folder: &Path, voice: &Voice) -> Result<()> {
    let (store, report) = Ledger::open_as(config(folder, LEDGER), between(), identity(1))?;
    ensure!(report.salvaged.is_none() && !report.restored, "{report:?}");
    kept(&store, voice)?;
    (BEGUN..BEGUN + 24).try_for_each(|number| single(&store, voice, number))?;
    group(&store, voice, LARGE..LARGE + 12)?;
    (BEGUN + 24..BEGUN + 30).try_for_each(|number| single(&store, voice, number))
}

fn kept(store: &Ledger, voice: &Voice) -> Result<()> {
    let reader = store.reader()?;
    for head in reader.heads()?.into_iter().filter(|row| row.log.direction == Direction::Up) {
        for stored in reader.events(head.log, reader.floor(head.log)?.next(), usize::MAX)? {
            if let Some(number) = stored.event.ok().and_then(|event| facts::number(event.stamp)) {
                voice(&Ack::Kept(number, stored.id).line());
            }
        }
    }
    Ok(())
}

/// A ledger with a hole: the end no longer follows. What was written last is in the write-ahead log only.
fn prepare_salvage(folder: &Path) -> Result<()> {
    let home = tempfile::tempdir()?;
    let (store, _) = Ledger::open_as(config(home.path(), LEDGER), between(), identity(1))?;
    let silent: Voice = Arc::new(|_| ());
    group(&store, &silent, 0..60)?;
    group(&store, &silent, 60..110)?;
    drop(store);
    let (store, _) = Ledger::open_as(config(home.path(), LEDGER), between(), identity(2))?;
    group(&store, &silent, 110..160)?;
    let tool = rusqlite::Connection::open(home.path().join(LEDGER))?;
    tool.execute("UPDATE event SET record = zeroblob(30) WHERE pos = (1 << 40) + 150", [])?;
    copy_in_use(home.path(), folder)
}

fn salvage(folder: &Path, voice: &Voice) -> Result<()> {
    let (store, report) = Ledger::open_as(config(folder, LEDGER), between(), identity(3))?;
    ensure!(report.salvaged.is_some(), "the damage was not seen: {report:?}");
    kept(&store, voice)?;
    (500..504).try_for_each(|number| single(&store, voice, number))
}

/// A snapshot of HQ, and an old disk that has more.
fn prepare_replace(folder: &Path) -> Result<()> {
    let home = tempfile::tempdir()?;
    let silent: Voice = Arc::new(|_| ());
    let (store, _) = Ledger::open_as(config(home.path(), LEDGER), between(), identity(1))?;
    let (hq, _) = Ledger::open_as(config(home.path(), OFFICE), between(), identity(1))?;
    group(&store, &silent, 0..60)?;
    carry(&store, &hq, Direction::Up, &silent)?;
    for number in 0..3 {
        let event = facts::fact(DOWN + number)?;
        hq.call(move |draft| draft.append_down(STORE, &event))?;
    }
    carry(&hq, &store, Direction::Down, &silent)?;
    let mut snapshot = Vec::new();
    hq.reader()?.snapshot(STORE, UnixMillis(i64::MIN), facts::stamp(70).at, &mut snapshot)?;
    std::fs::write(folder.join(SNAPSHOT), snapshot)?;
    group(&store, &silent, 60..90)?;
    drop(store);
    std::fs::copy(home.path().join(LEDGER), folder.join(OLD))?;
    Ok(())
}

fn replace(folder: &Path, voice: &Voice) -> Result<()> {
    bootstrap(folder)?;
    let (store, _) = Ledger::open_as(config(folder, LEDGER), between(), identity(4))?;
    kept(&store, voice)?;
    (500..504).try_for_each(|number| single(&store, voice, number))?;
    store.import(&folder.join(OLD), STORE, between())?;
    let reader = store.reader()?;
    for head in reader.heads()?.into_iter().filter(|row| row.log.direction == Direction::Up) {
        for stored in reader.events(head.log, Seq(1), usize::MAX)? {
            let number = stored.event.ok().and_then(|event| facts::number(event.stamp));
            if let Some(number @ 60..90) = number {
                voice(&Ack::Fact(number, stored.id).line());
            }
        }
    }
    (504..508).try_for_each(|number| single(&store, voice, number))
}

/// Makes the new gateway's ledger out of HQ's snapshot.
pub(crate) fn bootstrap(folder: &Path) -> Result<()> {
    let snapshot = std::fs::File::open(folder.join(SNAPSHOT)).context("HQ's snapshot")?;
    Ledger::bootstrap(&config(folder, LEDGER), std::io::BufReader::new(snapshot), between())?;
    Ok(())
}
