//! Planning a batch: what the jobs do to logs and folds, decided in memory, before anything is written.
//!
//! Invariants
//! * Planning asks nobody. What it needs from the server is fetched before ([`Wants`]) or noted by the folder and fetched
//!   after; then the batch is planned again.
//! * Layers as in the ledger's writer: committed heads, the batch's, the job's. A refused job leaves nothing behind.
//! * One block is all or nothing; a bad record never blocks a log; stored bytes are never replaced.

use crate::job::{Answer, Arriving, Evidence, Hearer, Job, Order, start};
use crate::lease::bucket_of;
use crate::mail;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use sync_core::replica::Prev;
use sync_core::{Ack, Block, Link, Message, Plan as Placing, plan};
use sync_model::{
    Direction, Epoch, EpochOpened, EpochParent, EpochReason, Event, EventId, Fact, FactError, LogId, Seq,
    Sku, Stamp, StoreId, Text, UnixMillis,
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
    /// Newest signature of a log's writer: log number, position, link, signature.
    pub(crate) signed: Vec<(i64, Seq, Link, [u8; 64])>,
    /// Letters with their answers.
    pub(crate) letters: Vec<(i64, Vec<u8>)>,
    pub(crate) probe: bool,
    /// Where the events of a run begin: position of its first, index in `events`.
    runs: BTreeMap<i64, usize>,
}

impl Writes {
    /// The record at a position that this batch writes.
    fn record(&self, at: i64) -> Option<&Record> {
        let (first, index) = self.runs.range(..=at).next_back()?;
        let offset = usize::try_from(at - first).ok()?;
        let (pos, _, record) = self.events.get(index.checked_add(offset)?)?;
        (*pos == at).then_some(record)
    }
}

/// Lengths of [`Writes`], to return to when a job is refused.
struct Mark(usize, usize, usize, usize, usize);

/// What planning needs from the server beforehand.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// New log numbers.
    pub(crate) numbers: usize,
    /// Stored events that a block repeats, and those before it back to the nearest stored link: bucket, first and last
    /// position.
    pub(crate) overlaps: Vec<(i16, i64, i64)>,
    /// Positions of those stored links.
    pub(crate) seals: Vec<i64>,
    /// Articles whose pool is drawn on.
    pub(crate) pools: BTreeSet<Sku>,
    /// Stores of which an epoch is fenced.
    pub(crate) fences: BTreeSet<StoreId>,
}

/// A committed rights row: store, key, body.
pub(crate) type RightsRow = (StoreId, Vec<u8>, Vec<u8>);

/// Everything the worker knows about its buckets.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) software: Text<32>,
    pub(crate) heads: BTreeMap<LogId, Entry>,
    pub(crate) batch_heads: BTreeMap<LogId, Entry>,
    pub(crate) job_heads: BTreeMap<LogId, Entry>,
    pub(crate) folder: Folder,
    pub(crate) numbers: Vec<i64>,
    numbers_used: usize,
    pub(crate) stored: BTreeMap<i64, Vec<u8>>,
    pub(crate) stored_links: BTreeMap<i64, Link>,
    /// Rights rows of every store, by article; fetched while the pool is locked.
    pub(crate) pools: BTreeMap<Sku, Vec<RightsRow>>,
    /// Keys of a store's rights rows.
    pub(crate) rights: BTreeMap<StoreId, Vec<Vec<u8>>>,
    /// Last reading of the hybrid clock. Not stored: a register's own writes are heard before the next one, which is all that
    /// its order rests on.
    hlc: u64,
    pub(crate) writes: Writes,
}

/// Refusal of returned history that contradicts the own one; its text is the position.
pub(crate) const MOVE_BRANCH: &str = "move-branch";

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
            stored_links: BTreeMap::new(),
            pools: BTreeMap::new(),
            rights: BTreeMap::new(),
            hlc: 0,
            writes: Writes::default(),
        }
    }

    /// Nothing is known any more, except numbers that nobody else gets.
    pub(crate) fn forget(&mut self) {
        let numbers = self.numbers.split_off(self.numbers_used.min(self.numbers.len()));
        *self = Self { numbers, hlc: self.hlc, ..Self::new(self.software.clone()) };
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
        self.stored_links.clear();
        self.writes = Writes::default();
        moved
    }

    pub(crate) fn entry(&self, log: LogId) -> Option<Entry> {
        [&self.job_heads, &self.batch_heads, &self.heads]
            .into_iter()
            .find_map(|heads| heads.get(&log))
            .copied()
    }

    /// Logs of a store and direction, newest first.
    pub(crate) fn logs(&self, store: StoreId, direction: Direction) -> BTreeSet<LogId> {
        let from = LogId { store, direction, epoch: Epoch(0) };
        let upto = LogId { store, direction, epoch: Epoch(u32::MAX) };
        let layers = [&self.job_heads, &self.batch_heads, &self.heads];
        layers.into_iter().flat_map(|heads| heads.range(from..=upto).map(|(log, _)| *log)).collect()
    }

    pub(crate) fn newest(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        self.logs(store, direction).last().copied()
    }

    /// Ends of every log of a store.
    pub(crate) fn ends(&self, store: StoreId) -> Vec<(LogId, Seq)> {
        let logs = [Direction::Up, Direction::Down].map(|direction| self.logs(store, direction));
        logs.into_iter().flatten().filter_map(|log| Some((log, self.entry(log)?.head))).collect()
    }

    /// The log that is written, if one is open.
    pub(crate) fn open_log(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        let open = |log: &LogId| self.entry(*log).is_some_and(|entry| !entry.closed);
        self.logs(store, direction).into_iter().rev().find(open)
    }

    /// What the jobs need, before they are planned.
    pub(crate) fn wants(&self, jobs: &[Job]) -> Wants {
        let mut wants = Wants::default();
        for job in jobs {
            match job {
                Job::TakeIn { arriving, .. } => self.want_block(&arriving.block, &mut wants),
                Job::Order { order, .. } => {
                    wants.numbers += 1;
                    match order {
                        Order::Append { events, .. } => {
                            let drawn = events.iter().filter_map(|event| sync_store::draws_on(&event.fact));
                            wants.pools.extend(drawn.map(|(sku, _)| sku));
                        }
                        Order::Grant { sku, .. } => {
                            wants.pools.insert(*sku);
                        }
                        Order::Fence { store, .. } => {
                            wants.fences.insert(*store);
                        }
                        Order::WriteRegister { .. } | Order::ChangeRegistry { .. } => {}
                    }
                }
                Job::Acked { .. } | Job::CloseDown { .. } | Job::Quarantine { .. } | Job::Probe { .. } => {}
            }
        }
        wants.numbers = wants.numbers.saturating_sub(self.numbers.len());
        wants
    }

    fn want_block(&self, block: &Block, wants: &mut Wants) {
        match self.heads.get(&block.log) {
            Some(entry) if block.first <= entry.head => {
                let upto = block.last().min(entry.head);
                let before = block.first.0.saturating_sub(1);
                let seal = Seq(before - before % SEAL_DISTANCE);
                let (low, high) = (position(entry.number, seal.next()), position(entry.number, upto));
                wants.overlaps.push((bucket_of(block.log.store), low, high));
                if seal > Seq::ZERO {
                    wants.seals.push(position(entry.number, seal));
                }
            }
            Some(_) => {}
            None => wants.numbers += 1,
        }
    }

    /// Plans one job.
    pub(crate) fn run(&mut self, job: &mut Job) -> Result<Answer, LedgerError> {
        let writes = &self.writes;
        let mark = Mark(
            writes.events.len(),
            writes.seals.len(),
            writes.arrivals.len(),
            writes.quarantine.len(),
            writes.signed.len(),
        );
        let numbers = self.numbers_used;
        let outcome = match job {
            Job::TakeIn { arriving, stamp, .. } => self.take_in(arriving, stamp.at).map(Answer::Ingested),
            Job::Order { order, .. } => self.carry_out(order).map(Answer::Appended),
            Job::Acked { ack, .. } => {
                self.acked(ack);
                Ok(Answer::Done)
            }
            Job::CloseDown { log, .. } => {
                self.close_down(*log);
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
            self.writes.signed.truncate(mark.4);
            self.writes.runs.retain(|_, index| *index < mark.0);
        }
        if let Job::Order { hearer: Hearer::Letter(letter), .. } = job {
            self.writes.letters.push((letter.id, mail::answer(&outcome)));
        }
        outcome
    }

    fn take_in(&mut self, arriving: &mut Arriving, received: UnixMillis) -> Result<Ingested, LedgerError> {
        let log = arriving.block.log;
        if log.direction == Direction::Down {
            return self.take_back(arriving, received);
        }
        if let Some(missing) = self.resolve(arriving)? {
            return Ok(self.ingested(log, IngestOutcome::Gap { missing }));
        }
        let ingested = self.ingest(&arriving.block, received)?;
        self.judge(arriving, &ingested)?;
        Ok(ingested)
    }

    /// Returned history of a log that HQ writes: what HQ lost, behind the end of what it has. Where it differs from what HQ
    /// has, HQ's own records have to move first: see `recall.rs`. The log is closed from then on.
    fn take_back(&mut self, arriving: &mut Arriving, received: UnixMillis) -> Result<Ingested, LedgerError> {
        let log = arriving.block.log;
        let before = Seq(arriving.block.first.0.saturating_sub(1));
        let head = self.entry(log).map_or(Seq::ZERO, |entry| entry.head);
        let Some(link) = self.link_before(log, before)? else {
            return Ok(self.ingested(log, IngestOutcome::Gap { missing: (head.next(), before) }));
        };
        let at = arriving.block.first;
        if !arriving.prev.fits(&link) {
            return Ok(self.ingested(log, IngestOutcome::ChainBreak { at }));
        }
        Arc::make_mut(&mut arriving.block).prev = link;
        let block = Arc::clone(&arriving.block);
        block.check().map_err(|error| Refusal::new("bad-block", error.to_string()))?;
        let entry = match self.entry(log) {
            Some(entry) => {
                if let Some(at) = self.first_difference(&entry, &block)? {
                    return Err(Refusal::new(MOVE_BRANCH, at.0.to_string()).into());
                }
                if block.last() <= entry.head {
                    return Ok(self.ingested(log, IngestOutcome::Duplicate));
                }
                entry
            }
            None => self.new_log(log)?,
        };
        let skip = usize::try_from(entry.head.0.saturating_sub(before.0)).unwrap_or(usize::MAX);
        tracing::warn!(%log, upto = %block.last(), "returned history of the own log is booked");
        Ok(self.apply(&block, Entry { closed: true, ..entry }, skip, received))
    }

    /// Gives the block its whole previous link; answers what is missing before it.
    fn resolve(&self, arriving: &mut Arriving) -> Result<Option<(Seq, Seq)>, LedgerError> {
        if let Prev::Whole(_) = arriving.prev {
            return Ok(None);
        }
        let before = Seq(arriving.block.first.0.saturating_sub(1));
        let head = self.entry(arriving.block.log).map_or(Seq::ZERO, |entry| entry.head);
        let Some(link) = self.link_before(arriving.block.log, before)? else {
            return Ok(Some((head.next(), before)));
        };
        // A start that does not fit is another history: any other link makes the plan find the break and keep the evidence.
        let link = if arriving.prev.fits(&link) { link } else { start(&arriving.prev) };
        if arriving.block.prev != link {
            Arc::make_mut(&mut arriving.block).prev = link;
        }
        Ok(None)
    }

    /// The link of a log at a position that is stored, or on its way in this batch.
    fn link_before(&self, log: LogId, at: Seq) -> Result<Option<Link>, LedgerError> {
        if at == Seq::ZERO {
            return Ok(Some(Link::genesis(log)));
        }
        let Some(entry) = self.entry(log).filter(|entry| at <= entry.head) else { return Ok(None) };
        if at == entry.head {
            return Ok(Some(entry.link));
        }
        let committed =
            self.heads.get(&log).map_or((Seq::ZERO, Link::genesis(log)), |old| (old.head, old.link));
        let (mut reached, mut link) = if at >= committed.0 {
            committed
        } else {
            let seal = Seq(at.0 - at.0 % SEAL_DISTANCE);
            let sealed = || self.stored_links.get(&position(entry.number, seal)).copied();
            let link = if seal == Seq::ZERO { Some(Link::genesis(log)) } else { sealed() };
            (seal, link.ok_or_else(|| storage("a stored link was not read"))?)
        };
        while reached < at {
            reached = reached.next();
            let pos = position(entry.number, reached);
            let record = match self.writes.record(pos) {
                Some(record) => record.bytes(),
                None => self.stored.get(&pos).ok_or_else(|| storage("a stored event was not read"))?,
            };
            link = link.next(log, reached, record);
        }
        Ok(Some(link))
    }

    /// What became of a block, before it is final: a signature that does not hold refuses all of it.
    fn judge(&mut self, arriving: &Arriving, ingested: &Ingested) -> Result<(), LedgerError> {
        let Ack { log, upto, link, .. } = ingested.ack;
        if !matches!(ingested.outcome, IngestOutcome::Applied { last, .. } if last == arriving.block.last()) {
            return Ok(());
        }
        if let Some(check) = &arriving.check {
            check(log, upto, link)?;
        }
        if let (Some(seal), Some(entry)) = (arriving.seal, self.entry(log)) {
            self.writes.signed.push((entry.number, upto, link, seal));
        }
        Ok(())
    }

    fn ingest(&mut self, block: &Arc<Block>, received: UnixMillis) -> Result<Ingested, LedgerError> {
        let log = block.log;
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
        self.writes.runs.insert(position(entry.number, first), self.writes.events.len());
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

    pub(crate) fn push(&mut self, log: LogId, mut entry: Entry, record: Record) -> Entry {
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
                self.writes.record(at).is_some_and(|pending| pending.bytes() == record.as_slice())
            };
            if !same {
                return Ok(Some(seq));
            }
            seq = seq.next();
        }
        Ok(None)
    }

    fn carry_out(&mut self, order: &Order) -> Result<Vec<EventId>, LedgerError> {
        let store = order.store();
        match order {
            Order::Append { events, .. } => {
                events.iter().map(|event| self.append_down(store, event)).collect()
            }
            Order::Grant { stamp, sku, quantity, .. } => {
                let fact = sync_store::grant_fact(self, store, *sku, *quantity)?;
                Ok(vec![self.append_down(store, &Event::new(*stamp, fact))?])
            }
            Order::Fence { stamp, epoch, .. } => self.fence(*stamp, store, *epoch),
            Order::WriteRegister { stamp, name, value, .. } => {
                let log = self.open_log(store, Direction::Down);
                let clock = (*stamp, self.hlc);
                let (fact, hlc) = self.folder.register_fact(clock, (store, log), name.clone(), value.clone());
                self.write_read(*stamp, store, fact, hlc)
            }
            Order::ChangeRegistry { stamp, device, entry, .. } => {
                let log = self.open_log(store, Direction::Down);
                let clock = (*stamp, self.hlc);
                let (fact, hlc) =
                    self.folder.registry_fact(clock, (store, log), device.clone(), entry.clone());
                self.write_read(*stamp, store, fact, hlc)
            }
        }
    }

    /// Writes a fact that carries a reading of the clock.
    fn write_read(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        fact: Fact,
        hlc: u64,
    ) -> Result<Vec<EventId>, LedgerError> {
        let id = self.append_down(store, &Event::new(stamp, fact))?;
        self.hlc = hlc;
        Ok(vec![id])
    }

    fn fence(&mut self, stamp: Stamp, store: StoreId, epoch: Epoch) -> Result<Vec<EventId>, LedgerError> {
        let log = LogId { store, direction: Direction::Up, epoch };
        let unknown = || Refusal::new("wrong-epoch", format!("no epoch {epoch} of store {store} is known"));
        let upto = self.entry(log).ok_or_else(unknown)?.head;
        let keys = self.rights.get(&store).map_or(&[][..], Vec::as_slice);
        let articles = self.folder.rights_articles(store, keys);
        let facts = sync_store::fence_facts(self, (store, epoch, upto), &articles)?;
        facts.into_iter().map(|fact| self.append_down(store, &Event::new(stamp, fact))).collect()
    }

    fn append_down(&mut self, store: StoreId, event: &Event) -> Result<EventId, LedgerError> {
        sync_store::check_office(self, store, &event.fact)?;
        let log = match self.open_log(store, Direction::Down) {
            Some(log) => log,
            None => {
                let first = self.newest(store, Direction::Down).is_none();
                let reason = if first { EpochReason::Provisioned } else { EpochReason::Salvaged };
                self.new_epoch(store, reason, event.stamp)?
            }
        };
        self.write(log, event)
    }

    /// Nothing more is written to a down log; the next event for its store opens a new epoch.
    fn close_down(&mut self, log: LogId) {
        if let Some(entry) = self.entry(log).filter(|_| log.direction == Direction::Down) {
            self.job_heads.insert(log, Entry { closed: true, ..entry });
        }
    }

    pub(crate) fn new_epoch(
        &mut self,
        store: StoreId,
        reason: EpochReason,
        stamp: Stamp,
    ) -> Result<LogId, LedgerError> {
        let direction = Direction::Down;
        let newest = self.newest(store, direction);
        let parent = self.open_log(store, direction).or(newest);
        let parent = parent.and_then(|log| self.entry(log).map(|entry| (log, entry)));
        let seconds = u32::try_from(stamp.at.0.max(0) / 1000).unwrap_or(u32::MAX);
        let after = match newest {
            Some(log) => {
                log.epoch.0.checked_add(1).ok_or_else(|| Refusal::new("epochs", "no more epochs"))?
            }
            None => 1,
        };
        let log = LogId { store, direction, epoch: Epoch(after.max(seconds)) };
        for open in self.logs(store, direction) {
            if let Some(entry) = self.entry(open).filter(|entry| !entry.closed) {
                self.job_heads.insert(open, Entry { closed: true, ..entry });
            }
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
        self.writes.runs.insert(position(entry.number, id.seq), self.writes.events.len());
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

impl sync_store::Office for State {
    fn newest_up(&mut self, store: StoreId) -> Result<Option<Epoch>, Refusal> {
        Ok(self.newest(store, Direction::Up).map(|log| log.epoch))
    }

    fn rights_row(
        &mut self,
        store: StoreId,
        sku: Sku,
        epoch: Epoch,
    ) -> Result<sync_store::RightsItem, Refusal> {
        Ok(self.folder.rights_row(store, sku, epoch))
    }

    fn pool(&mut self, sku: Sku) -> Result<sync_model::Milli, Refusal> {
        match self.pools.get(&sku) {
            Some(stored) => Ok(self.folder.pool(sku, stored)),
            None => Err(Refusal::new("retry", format!("the pool of article {sku} was not read"))),
        }
    }
}
