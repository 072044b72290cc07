//! State of the writer thread: connection, heads and fold rows in three layers (file, group, job).

use crate::fold::FoldSet;
use crate::generation::Generation;
use crate::log::{self, Entry};
use crate::schema::Owner;
use crate::sums::Sums;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId, Text};

/// Balances kept in memory between groups: those of one store, or of a good part of a fleet.
const fn rows_max(owner: Owner) -> usize {
    match owner {
        Owner::Store(_) => 24_000,
        Owner::Hq => 250_000,
    }
}

/// State of the writer thread.
pub(crate) struct Core {
    pub(crate) conn: Connection,
    pub(crate) owner: Owner,
    pub(crate) software: Text<32>,
    heads: BTreeMap<LogId, Entry>,
    group_heads: BTreeMap<LogId, Entry>,
    pub(crate) job_heads: BTreeMap<LogId, Entry>,
    /// Balances, counts and ticket numbers.
    pub(crate) sums: Sums,
    /// Nothing: what lies under the group is the file.
    pub(crate) under: FoldSet,
    pub(crate) group: FoldSet,
    pub(crate) job: FoldSet,
    /// First SQL error of the current group: nothing of the group may be committed after it.
    pub(crate) failure: Option<rusqlite::Error>,
    /// The witness outside the file, at a store.
    pub(crate) generation: Option<Generation>,
}

impl Core {
    pub(crate) fn new(conn: Connection, owner: Owner, software: Text<32>) -> rusqlite::Result<Self> {
        let heads = log::entries(&conn)?;
        Ok(Self {
            conn,
            owner,
            software,
            heads,
            group_heads: BTreeMap::new(),
            job_heads: BTreeMap::new(),
            sums: Sums::default(),
            under: FoldSet::default(),
            group: FoldSet::default(),
            job: FoldSet::default(),
            failure: None,
            generation: None,
        })
    }

    /// A job was accepted: its layer joins the group's.
    pub(crate) fn keep_job(&mut self) {
        self.group.absorb(&mut self.job);
        self.sums.keep_job();
        self.group_heads.append(&mut self.job_heads);
        self.job.clear();
    }

    /// A job was refused: its layer goes.
    pub(crate) fn drop_job(&mut self) {
        self.job.clear();
        self.sums.drop_job();
        self.job_heads.clear();
    }

    /// Writes every touched fold row and head of the group, inside its transaction.
    pub(crate) fn flush(&self) -> rusqlite::Result<()> {
        crate::table::write_sums(&self.conn, &self.sums)?;
        crate::table::write(&self.conn, &self.group)?;
        self.group_heads.values().try_for_each(|entry| log::update(&self.conn, entry))
    }

    /// The group is durable. Returns the ends of the logs that it moved.
    pub(crate) fn keep_group(&mut self) -> Vec<(LogId, Seq)> {
        let moved = self.group_heads.iter().map(|(log, entry)| (*log, entry.head)).collect();
        self.heads.append(&mut self.group_heads);
        self.sums.keep_group(rows_max(self.owner));
        self.group.clear();
        moved
    }

    /// The group was rolled back.
    pub(crate) fn drop_group(&mut self) {
        self.drop_job();
        self.sums.drop_group();
        self.group.clear();
        self.group_heads.clear();
        self.failure = None;
    }

    pub(crate) fn entry(&self, log: LogId) -> Option<Entry> {
        let layers = [&self.job_heads, &self.group_heads, &self.heads];
        layers.into_iter().find_map(|heads| heads.get(&log)).copied()
    }

    /// The log of the newest epoch of one store and direction.
    pub(crate) fn newest(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        let from = LogId { store, direction, epoch: Epoch(0) };
        let upto = LogId { store, direction, epoch: Epoch(u32::MAX) };
        let layers = [&self.job_heads, &self.group_heads, &self.heads];
        layers.into_iter().filter_map(|heads| heads.range(from..=upto).next_back().map(|(log, _)| *log)).max()
    }

    /// The store's own log.
    pub(crate) fn own(&self) -> Option<LogId> {
        match self.owner {
            // A closed log is one that this incarnation does not write, however new it is.
            Owner::Store(store) => self.open_log(store, Direction::Up),
            Owner::Hq => None,
        }
    }

    /// The log that this side writes for a store, if one is open.
    pub(crate) fn open_log(&self, store: StoreId, direction: Direction) -> Option<LogId> {
        let logs = self.logs_of(store, direction);
        logs.into_iter().rev().find(|log| self.entry(*log).is_some_and(|entry| !entry.closed))
    }

    /// Every log of a store and direction, oldest epoch first.
    pub(crate) fn logs_of(&self, store: StoreId, direction: Direction) -> Vec<LogId> {
        let from = LogId { store, direction, epoch: Epoch(0) };
        let upto = LogId { store, direction, epoch: Epoch(u32::MAX) };
        let layers = [&self.job_heads, &self.group_heads, &self.heads];
        let all: BTreeSet<LogId> =
            layers.into_iter().flat_map(|heads| heads.range(from..=upto).map(|(log, _)| *log)).collect();
        all.into_iter().collect()
    }

    /// No job of the present group has changed anything yet.
    pub(crate) fn first_of_group(&self) -> bool {
        self.group.rows() == 0 && self.sums.unchanged() && self.group_heads.is_empty()
    }

    /// Tells the witness how far the own log has come.
    pub(crate) fn witness(&mut self, flush: bool) {
        let Some(log) = self.own() else { return };
        if let (Some(entry), Some(generation)) = (self.entry(log), &mut self.generation) {
            generation.note(log.epoch, entry.head, entry.link, flush);
        }
    }
}

impl Core {
    /// End of a log.
    pub(crate) fn head(&self, log: LogId) -> Option<Seq> {
        self.entry(log).map(|entry| entry.head)
    }

    /// Reads the log rows again, after they were changed in SQL.
    pub(crate) fn reload(&mut self) -> rusqlite::Result<()> {
        self.heads = log::entries(&self.conn)?;
        Ok(())
    }
}
