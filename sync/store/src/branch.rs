//! Blocks as they arrive in any wire version, returned history, and branches that have to move.
//!
//! Contract
//! * [`Draft::take_in`] takes a peer's block (see `ingest.rs`), and obeys an order of HQ to open an epoch in the same
//!   transaction, so exactly once.
//! * A block of a log that this side writes is returned history: what this side lost, or the peer's history of a log that
//!   forked. It is compared record by record. From the first difference on, the own records move to the log in use (a new
//!   epoch if the forked log is in use), references among them included, and the returned ones take their place; folds of
//!   that store are computed again. All of it in one transaction, and never in one with other jobs before it.
//! * A log that was returned to is closed: nothing is written to it any more.

use crate::Refusal;
use crate::draft::Draft;
use crate::ingest::first_difference;
use crate::log::{self, Entry};
use crate::schema::Owner;
use crate::shared::saw_before;
use rusqlite::params;
use std::borrow::Cow;
use sync_core::replica::{Incoming, IngestOutcome, Ingested, Prev};
use sync_core::{Block, Link};
use sync_model::{Command, Direction, Epoch, EpochReason, Event, EventId, Fact, FactRef, LogId, Seq, Stamp};

/// Fold tables of one store, emptied before they are computed again.
const FOLDS: [&str; 7] = ["stock", "money", "tally", "ticket", "article", "price", "item"];

/// What taking in a block did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenIn {
    /// Outcome and watermark.
    pub ingested: Ingested,
    /// Verdicts and commands of HQ among the new records.
    pub said: Vec<Fact>,
    /// The epoch that was opened in the same transaction.
    pub opened: Option<LogId>,
    /// Own records that got a new name: first old name, first new name, how many.
    pub moved: Option<(EventId, EventId, u64)>,
}

/// What of a block lies above its log's floor.
enum Above<'b> {
    /// To be compared and applied.
    Rest(Cow<'b, Incoming>),
    /// Nothing: this is the outcome.
    Nothing(IngestOutcome),
}

impl Draft<'_> {
    /// Takes in a block in any wire version; `stamp` is now.
    pub fn take_in(&mut self, block: &Incoming, stamp: Stamp) -> Result<TakenIn, Refusal> {
        let own = match self.owner() {
            Owner::Store(store) => block.log.direction == Direction::Up && block.log.store == store,
            Owner::Hq => block.log.direction == Direction::Down,
        };
        if own {
            return self.take_back(block, stamp);
        }
        let above = match self.above_floor(block)? {
            Above::Rest(block) => block,
            Above::Nothing(outcome) => {
                let ingested = self.ingested(block.log, outcome);
                return Ok(TakenIn { ingested, said: Vec::new(), opened: None, moved: None });
            }
        };
        let block = &*above;
        let ingested = match self.resolve(block)? {
            Ok(whole) => self.ingest(&whole, stamp.at)?,
            Err(missing) => self.ingested(block.log, IngestOutcome::Gap { missing }),
        };
        self.keep_block_seal(block, ingested.outcome)?;
        let said = said(block, ingested.outcome);
        let mut opened = None;
        if matches!(self.owner(), Owner::Store(_)) && said.contains(&Fact::Command(Command::OpenEpoch)) {
            opened = Some(self.open_epoch(EpochReason::Ordered, stamp)?);
        }
        Ok(TakenIn { ingested, said, opened, moved: None })
    }

    /// The part of a block that can still be compared. Records up to the floor were acknowledged under the links that they
    /// had here: they are known, and where the block's chain reaches the floor it must be the one that was kept.
    fn above_floor<'b>(&self, block: &'b Incoming) -> Result<Above<'b>, Refusal> {
        let Some(entry) = self.entry(block.log).filter(|entry| block.first <= entry.floor) else {
            return Ok(Above::Rest(Cow::Borrowed(block)));
        };
        if block.last() < entry.floor {
            return Ok(Above::Nothing(IngestOutcome::Duplicate));
        }
        let below = usize::try_from(entry.floor.0.saturating_sub(block.first.0).saturating_add(1))
            .map_err(|_| Refusal::new("bad-block", "the block is longer than memory"))?;
        if let Prev::Whole(prev) = block.prev {
            let mut link = prev;
            for (seq, record) in (block.first.0..).zip(block.records.iter().take(below)) {
                link = link.next(block.log, Seq(seq), record);
            }
            if link != entry.floor_link {
                return Ok(Above::Nothing(IngestOutcome::ChainBreak { at: block.first }));
            }
        }
        if block.last() == entry.floor {
            return Ok(Above::Nothing(IngestOutcome::Duplicate));
        }
        let records = block.records.iter().skip(below).cloned().collect();
        let (first, prev) = (entry.floor.next(), Prev::Whole(entry.floor_link));
        Ok(Above::Rest(Cow::Owned(Incoming { log: block.log, first, prev, records, seal: block.seal })))
    }

    /// The block with its whole previous link; `Err`: what is missing before it.
    fn resolve(&mut self, block: &Incoming) -> Result<Result<Block, (Seq, Seq)>, Refusal> {
        let with =
            |prev: Link| Block { log: block.log, first: block.first, prev, records: block.records.clone() };
        if let Prev::Whole(prev) = block.prev {
            return Ok(Ok(with(prev)));
        }
        let before = Seq(block.first.0.saturating_sub(1));
        let known = self.link_before(block.log, before)?;
        let head = self.entry(block.log).map_or(Seq::ZERO, |entry| entry.head);
        let Some(link) = known else { return Ok(Err((head.next(), before))) };
        // A start that does not fit is another history: any other link makes `ingest` find the break and keep the evidence.
        let fits = block.prev.fits(&link);
        let Prev::Short(start) = block.prev else { return Ok(Ok(with(link))) };
        let mut other = [0; 32];
        other.iter_mut().zip(start).for_each(|(byte, found)| *byte = found);
        Ok(Ok(with(if fits { link } else { Link(other) })))
    }

    /// The link of a log at a position that is stored here.
    fn link_before(&mut self, log: LogId, at: Seq) -> Result<Option<Link>, Refusal> {
        if at == Seq::ZERO {
            return Ok(Some(Link::genesis(log)));
        }
        let Some(entry) = self.entry(log) else { return Ok(None) };
        let found = log::link_at(self.conn(), log, &entry, at);
        self.sql(found)
    }

    /// Returned history of a log that this side writes.
    fn take_back(&mut self, block: &Incoming, stamp: Stamp) -> Result<TakenIn, Refusal> {
        let log = block.log;
        let answer = |draft: &Self, outcome| TakenIn {
            ingested: draft.ingested(log, outcome),
            said: Vec::new(),
            opened: None,
            moved: None,
        };
        let above = match self.above_floor(block)? {
            Above::Rest(block) => block,
            Above::Nothing(outcome) => return Ok(answer(self, outcome)),
        };
        let block = &*above;
        let before = Seq(block.first.0.saturating_sub(1));
        let head = self.entry(log).map_or(Seq::ZERO, |entry| entry.head);
        let Some(prev) = self.link_before(log, before)? else {
            return Ok(answer(self, IngestOutcome::Gap { missing: (head.next(), before) }));
        };
        if !block.prev.fits(&prev) {
            return Ok(answer(self, IngestOutcome::ChainBreak { at: block.first }));
        }
        let whole = Block { log, first: block.first, prev, records: block.records.clone() };
        whole.check().map_err(|error| Refusal::new("bad-block", error.to_string()))?;
        let mut done = answer(self, IngestOutcome::Duplicate);
        let alone = self.first_of_group();
        if let Some(entry) = self.entry(log) {
            let different = first_difference(self.conn(), &entry, &whole);
            if let Some(at) = self.sql(different)? {
                (done.moved, done.opened) = self.move_branch(log, entry, at, stamp)?;
            } else if whole.last() <= entry.head {
                return Ok(done);
            }
        }
        let entry = match self.entry(log) {
            Some(entry) => entry,
            None => self.new_log(log)?,
        };
        self.set_entry(log, Entry { closed: true, ..entry });
        if !entry.closed && entry.head > Seq::ZERO && matches!(self.owner(), Owner::Store(_)) {
            done.opened = Some(self.open_epoch(EpochReason::RolledBack, stamp)?);
        }
        let entry = Entry { closed: true, ..entry };
        let skip = usize::try_from(entry.head.0.saturating_sub(before.0)).unwrap_or(usize::MAX);
        let outcome = self.apply(&whole, entry, skip, stamp.at)?;
        if matches!(outcome, IngestOutcome::Applied { odd: 1.., .. }) {
            // A ticket number may have been given again since: the earlier one counts, here as at the peer.
            if !alone {
                return Err(Refusal::new("retry", "folds are computed again in a transaction of their own"));
            }
            self.fold_again(log)?;
        }
        done.ingested = self.ingested(log, outcome);
        tracing::warn!(%log, upto = %done.ingested.ack.upto, "returned history of the own log was booked");
        Ok(done)
    }

    /// Moves the own records from `at` on to the log in use and ends `log` before them.
    #[allow(clippy::type_complexity, reason = "two of the fields of the answer")]
    fn move_branch(
        &mut self,
        log: LogId,
        entry: Entry,
        at: Seq,
        stamp: Stamp,
    ) -> Result<(Option<(EventId, EventId, u64)>, Option<LogId>), Refusal> {
        if !self.first_of_group() {
            // The folds are computed again from the tables, which do not have the group's other jobs yet.
            return Err(Refusal::new("retry", "a branch moves in a transaction of its own"));
        }
        let range = params![log::pos(entry.number, at), log::pos(entry.number, entry.head)];
        let read =
            self.conn().prepare_cached("SELECT record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos");
        let read = read.and_then(|mut statement| {
            statement.query_map(range, |row| row.get::<_, Vec<u8>>(0))?.collect::<rusqlite::Result<Vec<_>>>()
        });
        let records = self.sql(read)?;
        let before = Seq(at.0.saturating_sub(1));
        let link = self.link_before(log, before)?.unwrap_or(Link::genesis(log));
        for table in ["event", "seal", "arrival"] {
            let sql = format!("DELETE FROM {table} WHERE pos BETWEEN ?1 AND ?2");
            let gone = self.conn().execute(&sql, range);
            self.sql(gone)?;
        }
        self.forget_seal(entry.number, at)?;
        let acked = entry.acked.min(before);
        let was_open = !entry.closed;
        self.set_entry(log, Entry { head: before, link, acked, closed: true, ..entry });
        let (target, opened) = self.branch_target(log, was_open, stamp)?;
        let Some(mut end) = self.entry(target) else {
            return Err(Refusal::new("no-log", format!("log {target} does not exist")));
        };
        let (old, new) = (EventId { log, seq: at }, EventId { log: target, seq: end.head.next() });
        let renamed = |by: FactRef| rename(by, old, new, entry.head);
        let stayed = self.writes_before(log, &records)?;
        for record in &records {
            let record = match Event::from_record(record) {
                Ok(event) => {
                    let mut event = Event { fact: event.fact.renamed(&renamed), ..event };
                    saw_before(&mut event.fact, log, &stayed);
                    event.to_record().unwrap_or_else(|_| record.clone())
                }
                Err(_) => record.clone(),
            };
            end = self.push(target, end, &record)?;
        }
        let sql = "UPDATE answer SET pos = pos - ?1 + ?2 WHERE pos BETWEEN ?1 AND ?3";
        let (from, to) = (log::pos(entry.number, at), log::pos(end.number, new.seq));
        let answers = self.conn().execute(sql, params![from, to, log::pos(entry.number, entry.head)]);
        self.sql(answers)?;
        self.fold_again(log)?;
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        tracing::error!(%old, %new, count, "log forked: own records got new names");
        Ok((Some((old, new, count)), opened))
    }

    /// Where a branch of `log` goes.
    fn branch_target(
        &mut self,
        log: LogId,
        was_open: bool,
        stamp: Stamp,
    ) -> Result<(LogId, Option<LogId>), Refusal> {
        let open = self.open_log(log.store, log.direction);
        match open {
            Some(open) if !was_open => Ok((open, None)),
            _ => {
                let new =
                    self.new_epoch(log.store, log.direction, EpochReason::RolledBack, stamp, Epoch(0))?;
                Ok((new, Some(new)))
            }
        }
    }

    /// Puts the folds of a store back to its floors and books every record again, in the order of `verify`.
    fn fold_again(&mut self, log: LogId) -> Result<(), Refusal> {
        self.clear_folds();
        let emptied = crate::truncate::back_to_floors(self.conn(), log.store, &FOLDS);
        self.sql(emptied)?;
        for (log, number, head) in self.logs_of(log.store) {
            let mut from = self.entry(log).map_or(Seq(1), |entry| entry.floor.next());
            while from <= head {
                let upto = Seq(from.0.saturating_add(999)).min(head);
                for (pos, record) in self.raw(number, from, upto)? {
                    let id = EventId { log, seq: log::split(pos).1 };
                    self.fold_record(id, pos, &record)?;
                }
                from = upto.next();
            }
        }
        Ok(())
    }

    fn raw(&mut self, number: i64, from: Seq, upto: Seq) -> Result<Vec<(i64, Vec<u8>)>, Refusal> {
        let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
        let range = params![log::pos(number, from), log::pos(number, upto)];
        let read = self.conn().prepare_cached(sql).and_then(|mut statement| {
            statement.query_map(range, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        });
        self.sql(read)
    }

    /// HQ: nothing more is written to a down log; the next event for its store opens a new epoch.
    pub fn close_down(&mut self, log: LogId) -> Result<(), Refusal> {
        if self.owner() != Owner::Hq || log.direction != Direction::Down {
            return Err(Refusal::new("wrong-owner", "only HQ ends down logs"));
        }
        if let Some(entry) = self.entry(log) {
            self.set_entry(log, Entry { closed: true, ..entry });
        }
        Ok(())
    }

    /// Ends the store's own log and begins a new epoch greater than `above`.
    pub fn open_epoch_above(
        &mut self,
        reason: EpochReason,
        above: Epoch,
        stamp: Stamp,
    ) -> Result<LogId, Refusal> {
        let Owner::Store(store) = self.owner() else {
            return Err(Refusal::new("wrong-owner", "HQ has no log of its own"));
        };
        self.new_epoch(store, Direction::Up, reason, stamp, above)
    }
}

/// The new name of a fact that moved; every other name stays.
fn rename(by: FactRef, old: EventId, new: EventId, last: Seq) -> FactRef {
    if by.epoch != old.log.epoch || by.seq < old.seq || by.seq > last {
        return by;
    }
    let seq = Seq(by.seq.0.saturating_sub(old.seq.0).saturating_add(new.seq.0));
    FactRef { epoch: new.log.epoch, seq }
}

/// Verdicts and commands among the records that were new.
fn said(block: &Incoming, outcome: IngestOutcome) -> Vec<Fact> {
    let IngestOutcome::Applied { first, last, .. } = outcome else { return Vec::new() };
    if block.log.direction == Direction::Up {
        return Vec::new();
    }
    (block.first.0..)
        .zip(&block.records)
        .filter(|(seq, _)| (first.0..=last.0).contains(seq))
        .filter_map(|(_, record)| Event::from_record(record).ok())
        .map(|event| event.fact)
        .filter(|fact| matches!(fact, Fact::Verdict(_) | Fact::Command(_)))
        .collect()
}
