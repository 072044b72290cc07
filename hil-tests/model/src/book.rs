//! A ledger in memory: the contract of taking in blocks, with the branch that gets a new name.

use std::collections::BTreeMap;
use sync_core::replica::{Incoming, IngestOutcome, Ingested, Position};
use sync_core::{Ack, Block, Link};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

/// One log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    /// From position 1 on.
    pub records: Vec<Vec<u8>>,
    /// Not written any more.
    pub closed: bool,
    /// What the peer is known to have.
    pub acked: u64,
}

/// A ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Book {
    /// The store that writes here; HQ writes no up log.
    pub owner: Option<StoreId>,
    /// Every log.
    pub logs: BTreeMap<LogId, Log>,
    /// Planted fault: blocks beyond a gap are appended.
    pub ignores_gaps: bool,
    /// Planted fault: what was written under contested names is dropped.
    pub drops_branches: bool,
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn position(count: usize) -> Seq {
    Seq(u64::try_from(count).unwrap_or(u64::MAX))
}

impl Book {
    /// An empty ledger.
    pub fn new(owner: Option<StoreId>) -> Self {
        Self { owner, ..Self::default() }
    }

    fn writes(&self, log: LogId) -> bool {
        self.owner == Some(log.store) && log.direction == Direction::Up
    }

    /// The own log in use.
    pub fn current(&self) -> Option<LogId> {
        self.logs.iter().rev().find(|(log, state)| self.writes(**log) && !state.closed).map(|(log, _)| *log)
    }

    /// Ends the own log and begins a new epoch, above `above` and above every known one.
    pub fn open(&mut self, above: u32) -> Option<LogId> {
        let store = self.owner?;
        let newest = self.logs.keys().filter(|log| self.writes(**log)).map(|log| log.epoch.0).max();
        let epoch = Epoch(newest.unwrap_or(0).max(above) + 1);
        for state in self.logs.values_mut() {
            state.closed = true;
        }
        let log = LogId { store, direction: Direction::Up, epoch };
        let opened = format!("epoch {epoch} of {store}").into_bytes();
        self.logs.insert(log, Log { records: vec![opened], closed: false, acked: 0 });
        Some(log)
    }

    /// Writes a record.
    pub fn append(&mut self, record: Vec<u8>, above: u32) -> Option<(LogId, Seq)> {
        let log = match self.current() {
            Some(log) => log,
            None => self.open(above)?,
        };
        self.logs.get_mut(&log)?.records.push(record);
        Some((log, self.head(log)))
    }

    /// End of a log.
    pub fn head(&self, log: LogId) -> Seq {
        self.logs.get(&log).map_or(Seq::ZERO, |state| position(state.records.len()))
    }

    /// Chain link at a position; `None` beyond the end.
    pub fn link(&self, log: LogId, at: Seq) -> Option<Link> {
        let records = self.logs.get(&log).map_or(&[][..], |state| &state.records).get(..index(at.0))?;
        let links = (1..).zip(records);
        Some(links.fold(Link::genesis(log), |link, (seq, record)| link.next(log, Seq(seq), record)))
    }

    fn end_link(&self, log: LogId) -> Link {
        self.link(log, self.head(log)).unwrap_or_else(|| Link::genesis(log))
    }

    /// Records from a position on.
    pub fn block(&self, log: LogId, first: Seq, max: usize) -> Option<Block> {
        let before = first.0.checked_sub(1)?;
        let records = self.logs.get(&log)?.records.get(index(before)..)?;
        let records: Vec<Vec<u8>> = records.iter().take(max).cloned().collect();
        let prev = self.link(log, Seq(before))?;
        (!records.is_empty()).then_some(Block { log, first, prev, records })
    }

    /// Every log's end.
    pub fn positions(&self) -> Vec<Position> {
        let end = |(log, state): (&LogId, &Log)| Position {
            log: *log,
            head: self.head(*log),
            link: self.end_link(*log),
            acked: Seq(state.acked),
        };
        self.logs.iter().map(end).collect()
    }

    /// Takes in a block: applies, passes over, names the gap, or refuses; a returned history moves the own branch aside.
    pub fn take_in(&mut self, block: &Incoming, above: u32) -> Ingested {
        let outcome = self.outcome(block, above);
        let log = block.log;
        let gap = if let IngestOutcome::Gap { missing } = outcome { Some(missing) } else { None };
        Ingested { outcome, ack: Ack { log, upto: self.head(log), link: self.end_link(log), gap } }
    }

    fn outcome(&mut self, block: &Incoming, above: u32) -> IngestOutcome {
        let (log, head) = (block.log, self.head(block.log));
        let own = self.writes(log);
        let before = Seq(block.first.0.saturating_sub(1));
        let Some(link) = self.link(log, before) else {
            if self.ignores_gaps {
                self.logs.entry(log).or_default().records.extend(block.records.iter().cloned());
                return IngestOutcome::Applied { first: head.next(), last: self.head(log), odd: 0 };
            }
            return IngestOutcome::Gap { missing: (head.next(), before) };
        };
        if !block.prev.fits(&link) {
            return IngestOutcome::ChainBreak { at: block.first };
        }
        let known = self.logs.get(&log).map_or(&[][..], |state| &state.records);
        let known = known.get(index(before.0)..).unwrap_or_default();
        let same = known.iter().zip(&block.records).take_while(|(a, b)| a == b).count();
        if same < known.len().min(block.records.len()) {
            let at = Seq(before.0 + position(same).0 + 1);
            if !own {
                return IngestOutcome::Equivocation { at };
            }
            self.move_branch(log, at, above);
        } else if block.last() <= head {
            return IngestOutcome::Duplicate;
        }
        if own {
            let was_open = self.logs.get(&log).is_some_and(|state| !state.closed);
            self.logs.entry(log).or_default().closed = true;
            if was_open {
                self.open(above);
            }
        }
        let first = self.head(log).next();
        let skip = index(first.0.saturating_sub(block.first.0));
        self.logs.entry(log).or_default().records.extend(block.records.iter().skip(skip).cloned());
        IngestOutcome::Applied { first, last: self.head(log), odd: 0 }
    }

    /// What was written under contested names goes on in another epoch.
    fn move_branch(&mut self, log: LogId, at: Seq, above: u32) {
        let Some(state) = self.logs.get_mut(&log) else { return };
        let branch = state.records.split_off(index(at.0 - 1));
        let was_open = !std::mem::replace(&mut state.closed, true);
        state.acked = state.acked.min(at.0 - 1);
        let branch = if self.drops_branches { Vec::new() } else { branch };
        let target = if was_open { None } else { self.current() };
        let target = target.or_else(|| self.open(above));
        if let Some(state) = target.and_then(|target| self.logs.get_mut(&target)) {
            state.records.extend(branch);
        }
    }

    /// An old copy of this ledger: of a log only the first `keep` records.
    pub fn go_back(&mut self, log: LogId, keep: u64) {
        if let Some(state) = self.logs.get_mut(&log) {
            state.records.truncate(index(keep));
            state.acked = state.acked.min(keep);
        }
    }

    /// The up logs of a store.
    pub fn of(&self, store: StoreId) -> BTreeMap<LogId, &[Vec<u8>]> {
        let of = self.logs.iter().filter(|(log, state)| log.store == store && !state.records.is_empty());
        of.map(|(log, state)| (*log, state.records.as_slice())).collect()
    }
}
