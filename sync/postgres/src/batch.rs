//! Planning a batch: what the jobs do to logs and folds, decided in memory, before anything is written.
//!
//! Invariants
//! * Planning asks nobody. What it needs from the server is fetched before ([`Wants`]) or noted by the folder and fetched
//!   after; then the batch is planned again.
//! * Layers as in the ledger's writer: committed heads, the batch's, the job's. A refused job leaves nothing behind.
//! * One block is all or nothing; a bad record never blocks a log; stored bytes are never replaced.

use crate::job::{Answer, Evidence, Job};
use crate::lease::bucket_of;
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_core::{Ack, Block, Link, Message, Plan as Placing, plan};
use sync_model::{
    Direction, Epoch, EpochOpened, EpochParent, EpochReason, Event, EventId, FactError, LogId, Seq, Stamp,
    StoreId, Text, UnixMillis,
};
use sync_store::{
    Folder, IngestOutcome, Ingested, LedgerError, POSITION_SEQ_MAX, Refusal, SEAL_DISTANCE, position,
};

/// A log as the worker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: i64,
    pub(crate) head: Seq,
    pub(crate) link: Link,
    pub(crate) acked: Seq,
    /// Set when the batch moves `acked`.
    pub(crate) acked_link: Option<Link>,
    pub(crate) closed: bool,
}

/// A record on its way: of a received block, or written here.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Received(Arc<Block>, usize),
    Own(Vec<u8>),
}

impl Record {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Received(block, at) => block.records.get(*at).map_or(&[], Vec::as_slice),
            Self::Own(bytes) => bytes,
        }
    }
}

/// Everything a batch writes besides fold rows and log ends.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    pub(crate) events: Vec<(i64, i16, Record)>,
    pub(crate) seals: Vec<(i64, Link)>,
    pub(crate) arrivals: Vec<(i64, UnixMillis)>,
    pub(crate) quarantine: Vec<Evidence>,
    pub(crate) probe: bool,
}

/// Lengths of [`Writes`], to return to when a job is refused.
struct Mark(usize, usize, usize, usize);

/// What planning needs from the server beforehand.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// New log numbers.
    pub(crate) numbers: usize,
    /// Stored events that a block repeats: bucket, first and last position.
    pub(crate) overlaps: Vec<(i16, i64, i64)>,
}

/// Everything the worker knows about its buckets.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) software: Text<32>,
    pub(crate) heads: BTreeMap<LogId, Entry>,
    pub(crate) batch_heads: BTreeMap<LogId, Entry>,
    job_heads: BTreeMap<LogId, Entry>,
    pub(crate) folder: Folder,
    pub(crate) numbers: Vec<i64>,
    numbers_used: usize,
    pub(crate) stored: BTreeMap<i64, Vec<u8>>,
    pub(crate) writes: Writes,
}

fn storage(detail: &str) -> LedgerError {
    LedgerError::Storage { context: "PostgreSQL: plan".to_owned(), detail: detail.to_owned() }
}

impl State {
    pub(crate) fn new(software: Text<32>) -> Self {
        Self {
            software,
            heads: BTreeMap::new(),
            batch_heads: BTreeMap::new(),
            job_heads: BTreeMap::new(),
            folder: Folder::new(),
            numbers: Vec::new(),
            numbers_used: 0,
            stored: BTreeMap::new(),
            writes: Writes::default(),
        }
    }

    /// Nothing is known any more, except numbers that nobody else gets.
    pub(crate) fn forget(&mut self) {
        let numbers = self.numbers.split_off(self.numbers_used.min(self.numbers.len()));
        *self = Self { numbers, ..Self::new(self.software.clone()) };
    }

    /// The batch is void.
    pub(crate) fn drop_batch(&mut self) {
        self.folder.drop_batch();
        self.batch_heads.clear();
        self.job_heads.clear();
        self.numbers_used = 0;
        self.writes = Writes::default();
    }

    /// The batch is durable. Answers the ends that it moved.
    pub(crate) fn keep_batch(&mut self) -> Vec<(LogId, Seq)> {
        let moved = self.batch_heads.iter().map(|(log, entry)| (*log, entry.head)).collect();
        for entry in self.batch_heads.values_mut() {
            entry.acked_link = None;
        }
        self.heads.append(&mut self.batch_heads);
        self.folder.keep_batch();
        self.numbers.drain(..self.numbers_used.min(self.numbers.len()));
        self.numbers_used = 0;
        self.stored.clear();
        self.writes = Writes::default();
        moved
    }

    fn entry(&self, log: LogId) -> Option<Entry> {
        [&self.job_heads, &self.batch_heads, &self.heads]
            .into_iter()
            .find_map(|heads| heads.get(&log))
            .copied()
    }

    fn newest(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        let from = LogId { store, direction, epoch: Epoch(0) };
        let upto = LogId { store, direction, epoch: Epoch(u32::MAX) };
        [&self.job_heads, &self.batch_heads, &self.heads]
            .into_iter()
            .filter_map(|heads| heads.range(from..=upto).next_back().map(|(log, _)| *log))
            .max()
    }

    /// What the jobs need, before they are planned.
    pub(crate) fn wants(&self, jobs: &[Job]) -> Wants {
        let mut wants = Wants::default();
        for job in jobs {
            match job {
                Job::Ingest { block, .. } => match self.heads.get(&block.log) {
                    Some(entry) if block.first <= entry.head => {
                        let upto = block.last().min(entry.head);
                        let (low, high) = (position(entry.number, block.first), position(entry.number, upto));
                        wants.overlaps.push((bucket_of(block.log.store), low, high));
                    }
                    Some(_) => {}
                    None => wants.numbers += 1,
                },
                Job::AppendDown { .. } => wants.numbers += 1,
                Job::Acked { .. } | Job::Quarantine { .. } | Job::Probe { .. } => {}
            }
        }
        wants.numbers = wants.numbers.saturating_sub(self.numbers.len());
        wants
    }

    /// Plans one job.
    pub(crate) fn run(&mut self, job: &Job) -> Result<Answer, LedgerError> {
        let writes = &self.writes;
        let mark =
            Mark(writes.events.len(), writes.seals.len(), writes.arrivals.len(), writes.quarantine.len());
        let numbers = self.numbers_used;
        let outcome = match job {
            Job::Ingest { block, received, .. } => self.ingest(block, *received).map(Answer::Ingested),
            Job::AppendDown { store, events, .. } => {
                let ids: Result<Vec<_>, _> =
                    events.iter().map(|event| self.append_down(*store, event)).collect();
                ids.map(Answer::Appended)
            }
            Job::Acked { ack, .. } => {
                self.acked(ack);
                Ok(Answer::Done)
            }
            Job::Quarantine { evidence, .. } => {
                self.writes.quarantine.push(evidence.clone());
                Ok(Answer::Done)
            }
            Job::Probe { .. } => {
                self.writes.probe = true;
                Ok(Answer::Done)
            }
        };
        if outcome.is_ok() {
            self.folder.keep_job();
            self.batch_heads.append(&mut self.job_heads);
        } else {
            self.folder.drop_job();
            self.job_heads.clear();
            self.numbers_used = numbers;
            self.writes.events.truncate(mark.0);
            self.writes.seals.truncate(mark.1);
            self.writes.arrivals.truncate(mark.2);
            self.writes.quarantine.truncate(mark.3);
        }
        outcome
    }

    fn ingest(&mut self, block: &Arc<Block>, received: UnixMillis) -> Result<Ingested, LedgerError> {
        let log = block.log;
        if log.direction != Direction::Up {
            let detail = format!("HQ writes log {log} itself, or may not");
            return Err(Refusal::new("wrong-owner", detail).into());
        }
        block.check().map_err(|error| Refusal::new("bad-block", error.to_string()))?;
        if block.last().0 > POSITION_SEQ_MAX {
            let detail = format!("position {} is out of range", block.last());
            return Err(Refusal::new("bad-block", detail).into());
        }
        let entry = self.entry(log);
        if let Some(entry) = entry
            && let Some(at) = self.first_difference(&entry, block)?
        {
            return Ok(self.fork(block, received, IngestOutcome::Equivocation { at }));
        }
        match plan(entry.map(|entry| (entry.head, entry.link)), block) {
            Placing::Duplicate => Ok(self.ingested(log, IngestOutcome::Duplicate)),
            Placing::Gap { missing } => Ok(self.ingested(log, IngestOutcome::Gap { missing })),
            Placing::ChainBreak => {
                let at = entry.map_or(Seq(1), |entry| entry.head.next());
                Ok(self.fork(block, received, IngestOutcome::ChainBreak { at }))
            }
            Placing::Apply { skip } => {
                let entry = match entry {
                    Some(entry) => entry,
                    None => self.new_log(log)?,
                };
                Ok(self.apply(block, entry, skip, received))
            }
        }
    }

    fn ingested(&self, log: LogId, outcome: IngestOutcome) -> Ingested {
        let (upto, link) =
            self.entry(log).map_or((Seq::ZERO, Link::genesis(log)), |entry| (entry.head, entry.link));
        let gap = if let IngestOutcome::Gap { missing } = outcome { Some(missing) } else { None };
        Ingested { outcome, ack: Ack { log, upto, link, gap } }
    }

    /// The block contradicts what is stored: kept aside whole, nothing of it applied.
    fn fork(&mut self, block: &Block, received: UnixMillis, outcome: IngestOutcome) -> Ingested {
        let at = match outcome {
            IngestOutcome::Equivocation { at } | IngestOutcome::ChainBreak { at } => at,
            _ => block.first,
        };
        let detail = format!("block {} to {} differs from what is stored at {at}", block.first, block.last());
        tracing::error!(log = %block.log, %at, code = outcome.code(), "forked log: block kept in quarantine");
        self.writes.quarantine.push(Evidence {
            source: block.log.to_string(),
            code: outcome.code().to_owned(),
            detail,
            raw: Message::Block(block.clone()).encode(),
            received,
        });
        self.ingested(block.log, outcome)
    }

    fn apply(&mut self, block: &Arc<Block>, mut entry: Entry, skip: usize, received: UnixMillis) -> Ingested {
        let log = block.log;
        let first = entry.head.next();
        self.writes.arrivals.push((position(entry.number, first), received));
        let mut odd = 0;
        for (at, record) in block.records.iter().enumerate().skip(skip) {
            let id = EventId { log, seq: entry.head.next() };
            if let Some((code, detail)) = self.folder.fold(id, position(entry.number, id.seq), record) {
                odd += 1;
                tracing::warn!(event = %id, code, detail, "record stored but folded as nothing");
                self.writes.quarantine.push(Evidence {
                    source: id.to_string(),
                    code: code.to_owned(),
                    detail,
                    raw: record.clone(),
                    received,
                });
            }
            entry = self.push(log, entry, Record::Received(Arc::clone(block), at));
        }
        self.ingested(log, IngestOutcome::Applied { first, last: entry.head, odd })
    }

    fn push(&mut self, log: LogId, mut entry: Entry, record: Record) -> Entry {
        let seq = entry.head.next();
        let at = position(entry.number, seq);
        entry.link = entry.link.next(log, seq, record.bytes());
        entry.head = seq;
        self.writes.events.push((at, bucket_of(log.store), record));
        if seq.0.is_multiple_of(SEAL_DISTANCE) {
            self.writes.seals.push((at, entry.link));
        }
        self.job_heads.insert(log, entry);
        entry
    }

    fn new_log(&mut self, log: LogId) -> Result<Entry, LedgerError> {
        let number = self.numbers.get(self.numbers_used).copied();
        let number = number.ok_or_else(|| storage("no number for a new log"))?;
        self.numbers_used += 1;
        let link = Link::genesis(log);
        let entry =
            Entry { number, head: Seq::ZERO, link, acked: Seq::ZERO, acked_link: None, closed: false };
        self.job_heads.insert(log, entry);
        Ok(entry)
    }

    /// First position of the block whose stored bytes, or bytes on their way in this batch, differ.
    fn first_difference(&self, entry: &Entry, block: &Block) -> Result<Option<Seq>, LedgerError> {
        if block.first > entry.head {
            return Ok(None);
        }
        let committed = self.heads.get(&block.log).map_or(Seq::ZERO, |entry| entry.head);
        let mut seq = block.first;
        for record in &block.records {
            if seq > entry.head {
                break;
            }
            let at = position(entry.number, seq);
            let same = if seq <= committed {
                let stored = self.stored.get(&at).ok_or_else(|| storage("a stored event was not read"))?;
                stored == record
            } else {
                let on_its_way = self.writes.events.iter().find(|(pos, ..)| *pos == at);
                on_its_way.is_some_and(|(_, _, pending)| pending.bytes() == record.as_slice())
            };
            if !same {
                return Ok(Some(seq));
            }
            seq = seq.next();
        }
        Ok(None)
    }

    fn append_down(&mut self, store: StoreId, event: &Event) -> Result<EventId, LedgerError> {
        let newest = self.newest(store, Direction::Down);
        let open = newest.filter(|log| self.entry(*log).is_some_and(|entry| !entry.closed));
        let log = match open {
            Some(log) => log,
            None if newest.is_some() => self.new_epoch(store, EpochReason::Salvaged, event.stamp)?,
            None => self.new_epoch(store, EpochReason::Provisioned, event.stamp)?,
        };
        self.write(log, event)
    }

    fn new_epoch(&mut self, store: StoreId, reason: EpochReason, stamp: Stamp) -> Result<LogId, LedgerError> {
        let direction = Direction::Down;
        let parent = self.newest(store, direction).and_then(|log| self.entry(log).map(|entry| (log, entry)));
        let seconds = u32::try_from(stamp.at.0.max(0) / 1000).unwrap_or(u32::MAX);
        let after = match parent {
            Some((log, _)) => {
                log.epoch.0.checked_add(1).ok_or_else(|| Refusal::new("epochs", "no more epochs"))?
            }
            None => 1,
        };
        let log = LogId { store, direction, epoch: Epoch(after.max(seconds)) };
        if let Some((log, entry)) = parent {
            self.job_heads.insert(log, Entry { closed: true, ..entry });
        }
        self.new_log(log)?;
        let opened = EpochOpened {
            direction,
            reason,
            parent: parent.map(|(log, entry)| EpochParent {
                epoch: log.epoch,
                last: entry.head,
                link: entry.link.0,
            }),
            software: self.software.clone(),
        };
        self.write(log, &Event::new(stamp, opened))?;
        Ok(log)
    }

    fn write(&mut self, log: LogId, event: &Event) -> Result<EventId, LedgerError> {
        let entry =
            self.entry(log).ok_or_else(|| Refusal::new("no-log", format!("log {log} does not exist")))?;
        if entry.head.0 >= POSITION_SEQ_MAX {
            return Err(Refusal::new("log-full", format!("log {log} has no more positions")).into());
        }
        let record = event.to_record().map_err(|error| match error {
            FactError::TooLong(_) => Refusal::new("record-too-long", error.to_string()),
            other => Refusal::new("bad-record", other.to_string()),
        })?;
        let id = EventId { log, seq: entry.head.next() };
        self.folder
            .fold_event(id, position(entry.number, id.seq), event)
            .map_err(|(code, detail)| Refusal::new(code, detail))?;
        self.folder.count(id, event.fact.kind());
        self.push(log, entry, Record::Own(record));
        Ok(id)
    }

    /// What the store has of HQ's log. Only ever moves forward, at most to the head.
    fn acked(&mut self, ack: &Ack) {
        let Some(entry) = self.entry(ack.log) else { return };
        if ack.upto > entry.acked && ack.upto <= entry.head {
            let entry = Entry { acked: ack.upto, acked_link: Some(ack.link), ..entry };
            self.job_heads.insert(ack.log, entry);
        }
    }
}

/// Store whose bucket a job writes; `None` where it writes no bucket.
pub(crate) fn store_of(job: &Job) -> Option<StoreId> {
    match job {
        Job::Ingest { block, .. } => Some(block.log.store),
        Job::AppendDown { store, .. } => Some(*store),
        Job::Acked { ack, .. } => Some(ack.log.store),
        Job::Quarantine { .. } | Job::Probe { .. } => None,
    }
}
