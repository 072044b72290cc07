//! Forgetting records that nobody will ask for again.
//!
//! A store's ledger keeps: everything that HQ has not acknowledged, everything younger than the retention, the newest records
//! whatever their age, and for ever the fold rows, the ticket numbers and the idempotency keys.
//!
//! States of a store: *whole* (no floor); *planned* (a reader has folded the records up to some ends: [`CheckpointPlan`], in
//! memory only); *checkpointed* (the fact with the ends and digests is in the log, and the mark in `meta` names it);
//! *truncating* (HQ has acknowledged that fact; records up to its ends go, some per transaction, each leaving its effect in
//! the base rows in the same transaction); *truncated* (floors equal the ends).
//!
//! Failure cases: power cut or full disk at any place: a step is one transaction, the next call goes on. A branch moved away
//! (`branch.rs`) between checkpoint and truncation: the link at an end no longer fits, the checkpoint is void, nothing goes.
//! HQ never acknowledges the checkpoint: nothing goes. A clock that lies ahead: the newest records stay all the same.
//!
//! Why not delete and trust the fold tables: verify must be able to recompute every fold row; it does so from the base rows
//! and the records that are left, and compares the base rows with the digest that the checkpoint states in the chain.

use crate::fold::FoldSet;
use crate::image::{self, BaseRows, Digests};
use crate::log::{self, Entry};
use crate::reader::Reader;
use crate::rows::Answer;
use crate::schema::{self, Owner};
use crate::table::{signed, unsigned};
use crate::verify::refold;
use crate::{LedgerError, Refusal, draft::Draft};
use rusqlite::{Connection, OptionalExtension, params};
use sync_core::Link;
use sync_model::{
    CHECKPOINT_ENDS_MAX, CheckpointEnd, Checkpointed, Direction, Event, EventId, Fact, LogId, Seq, Stamp,
    StoreId, UnixMillis,
};

/// What has to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Records stamped from here on stay, and everything after the first of them.
    pub before: UnixMillis,
    /// The newest records of each direction stay, whatever their stamps say: a clock may lie.
    pub kept: u64,
    /// No checkpoint is worth its while for fewer records.
    pub least: u64,
    /// Most records of one checkpoint, which bounds the memory and time of planning it.
    pub most: u64,
}

/// What a checkpoint will say: made by a reader, written by [`Draft::checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPlan {
    store: StoreId,
    fact: Checkpointed,
    records: u64,
}

impl CheckpointPlan {
    /// Records that can go once the checkpoint is acknowledged.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// What the checkpoint will say.
    pub fn fact(&self) -> &Checkpointed {
        &self.fact
    }
}

/// What a call of [`Draft::truncate`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Records that went.
    pub records: u64,
    /// Nothing more can go under the present checkpoint.
    pub done: bool,
}

/// Ends of a store's logs for which something is asked.
pub(crate) type Ends = Vec<(LogId, Entry, Seq)>;

/// Marks in `meta` that say where a store's checkpoints are: the newest, and the one that the base rows were left at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Newest,
    Done,
}

impl Mark {
    fn key(self, store: StoreId) -> String {
        match self {
            Self::Newest => format!("checkpoint-{store}"),
            Self::Done => format!("truncated-{store}"),
        }
    }
}

/// A checkpoint of a store in this file, with its name; `None` when there is none or it moved.
pub(crate) fn marked(
    conn: &Connection,
    store: StoreId,
    mark: Mark,
) -> rusqlite::Result<Option<(EventId, Checkpointed)>> {
    let Some(bytes) = schema::meta(conn, &mark.key(store))?.ok().flatten() else { return Ok(None) };
    let Ok(pos) = <[u8; 8]>::try_from(bytes).map(i64::from_be_bytes) else { return Ok(None) };
    let record: Option<Vec<u8>> = conn
        .prepare_cached("SELECT record FROM event WHERE pos = ?1")?
        .query_row([pos], |row| row.get(0))
        .optional()?;
    let (number, seq) = log::split(pos);
    let Some((record, log)) = record.zip(log::by_number(conn, number)?) else { return Ok(None) };
    match Event::from_record(&record).map(|event| event.fact) {
        Ok(Fact::Checkpointed(fact)) => Ok(Some((EventId { log, seq }, fact))),
        _ => Ok(None),
    }
}

pub(crate) fn set_mark(conn: &Connection, store: StoreId, mark: Mark, pos: i64) -> rusqlite::Result<()> {
    schema::put_meta(conn, &mark.key(store), &pos.to_be_bytes())
}

/// The fact that names these ends and digests.
pub(crate) fn fact(ends: &[(LogId, Entry, Seq)], links: &[Link], digests: Digests) -> Checkpointed {
    let end = |((log, _, upto), link): (&(LogId, Entry, Seq), &Link)| CheckpointEnd {
        direction: log.direction,
        epoch: log.epoch,
        upto: *upto,
        link: link.0,
    };
    let Digests { balances, folds, rows } = digests;
    Checkpointed { ends: ends.iter().zip(links).map(end).collect(), balances, folds, rows }
}

/// Folds a store's records up to `ends` on top of its base rows.
pub(crate) fn fold_upto(conn: &Connection, store: StoreId, ends: &Ends) -> rusqlite::Result<FoldSet> {
    let (mut set, _) = image::load(conn, store)?;
    for (log, entry, upto) in ends {
        let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
        let mut statement = conn.prepare_cached(sql)?;
        let range = params![log::pos(entry.number, entry.floor.next()), log::pos(entry.number, *upto)];
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            let pos = row.get(0)?;
            let id = EventId { log: *log, seq: log::split(pos).1 };
            refold(conn, id, pos, row.get_ref(1)?.as_blob().unwrap_or_default(), &mut set)?;
        }
    }
    Ok(set)
}

/// Logs of a store with their entries, in the order of `verify`.
pub(crate) fn logs_of(conn: &Connection, store: StoreId) -> rusqlite::Result<Vec<(LogId, Entry)>> {
    Ok(log::entries(conn)?.into_iter().filter(|(log, _)| log.store == store).collect())
}

/// How far each log can go, and how many records that is.
fn reach(conn: &Connection, store: StoreId, rule: Retention) -> rusqlite::Result<(Ends, u64)> {
    let (mut ends, mut records) = (Ends::new(), 0_u64);
    for direction in [Direction::Up, Direction::Down] {
        let mut logs = logs_of(conn, store)?;
        logs.retain(|(log, _)| log.direction == direction);
        let mut keep = rule.kept;
        let mut limits = Vec::new();
        // The newest records are those of the newest logs.
        for (log, entry) in logs.iter().rev() {
            let last = entry.head.0.saturating_sub(keep);
            keep = keep.saturating_sub(entry.head.0);
            let last = if direction == Direction::Up { last.min(entry.acked.0) } else { last };
            limits.push((*log, *entry, Seq(last).max(entry.floor)));
        }
        for (log, entry, limit) in limits.into_iter().rev() {
            let room = rule.most.saturating_sub(records);
            let limit = limit.min(Seq(entry.floor.0.saturating_add(room)));
            let upto = old_upto(conn, &entry, limit, rule.before)?;
            records += upto.0.saturating_sub(entry.floor.0);
            if upto > Seq::ZERO {
                ends.push((log, entry, upto));
            }
        }
    }
    Ok((ends, records))
}

/// The last position before the first record that is too young.
pub(crate) fn old_upto(
    conn: &Connection,
    entry: &Entry,
    limit: Seq,
    before: UnixMillis,
) -> rusqlite::Result<Seq> {
    let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
    let mut statement = conn.prepare_cached(sql)?;
    let range = params![log::pos(entry.number, entry.floor.next()), log::pos(entry.number, limit)];
    let mut rows = statement.query(range)?;
    let mut upto = entry.floor;
    while let Some(row) = rows.next()? {
        let record = row.get_ref(1)?.as_blob().unwrap_or_default();
        // What does not decode is as old as its neighbors.
        if Event::from_record(record).is_ok_and(|event| event.stamp.at >= before) {
            break;
        }
        upto = log::split(row.get(0)?).1;
    }
    Ok(upto)
}

impl Reader {
    /// Finds what a store's ledger may forget and folds it. Reads up to `rule.most` records; `None`: nothing worth its while,
    /// or the checkpoint before is still being carried out.
    pub fn plan_checkpoint(&self, store: StoreId, rule: Retention) -> Answer<Option<CheckpointPlan>> {
        self.frozen(|reader| {
            let plan = |conn: &Connection| -> rusqlite::Result<Option<CheckpointPlan>> {
                if !log::has_floors(conn)? || under_way(conn, store)?.is_some() {
                    return Ok(None);
                }
                let (ends, records) = reach(conn, store, rule)?;
                if records < rule.least.max(1) || ends.len() > CHECKPOINT_ENDS_MAX {
                    return Ok(None);
                }
                let mut links = Vec::new();
                for (log, entry, upto) in &ends {
                    let Some(link) = log::link_at(conn, *log, entry, *upto)? else { return Ok(None) };
                    links.push(link);
                }
                let set = fold_upto(conn, store, &ends)?;
                let digests = image::digests(conn, store, &set, &ends)?;
                Ok(Some(CheckpointPlan { store, fact: fact(&ends, &links, digests), records }))
            };
            plan(&reader.conn).map_err(|error| LedgerError::sql("plan a checkpoint", &error))
        })
    }

    /// The newest checkpoint of a store here, with its name.
    pub fn checkpoint(&self, store: StoreId) -> Answer<Option<(EventId, Checkpointed)>> {
        marked(&self.conn, store, Mark::Newest)
            .map_err(|error| LedgerError::sql("read the checkpoint", &error))
    }

    /// The checkpoint whose truncation is not finished, with its name.
    pub fn checkpoint_under_way(&self, store: StoreId) -> Answer<Option<(EventId, Checkpointed)>> {
        under_way(&self.conn, store).map_err(|error| LedgerError::sql("read the checkpoint", &error))
    }

    /// Last record of a log that is gone; zero when all of it is here.
    pub fn floor(&self, log: LogId) -> Answer<Seq> {
        let found = log::find(&self.conn, log).map_err(|error| LedgerError::sql("read the floor", &error))?;
        Ok(found.map_or(Seq::ZERO, |entry| entry.floor))
    }

    /// Folds the records up to a checkpoint's ends and says whether its digests are theirs. `None`: this ledger does not
    /// have them all, or has others. This is how whoever holds a store's whole log checks what the store stated.
    pub fn confirms(&self, store: StoreId, said: &Checkpointed) -> Answer<Option<bool>> {
        self.frozen(|reader| {
            let check = |conn: &Connection| -> rusqlite::Result<Option<bool>> {
                let Some((ends, links)) = stated(conn, store, said)? else { return Ok(None) };
                let set = fold_upto(conn, store, &ends)?;
                let digests = image::digests(conn, store, &set, &ends)?;
                Ok(Some(fact(&ends, &links, digests) == *said))
            };
            check(&reader.conn).map_err(|error| LedgerError::sql("check a checkpoint", &error))
        })
    }
}

/// The ends that a checkpoint states as this ledger has them; `None` where it does not, or floors are beyond them.
#[allow(clippy::type_complexity, reason = "ends and their links")]
fn stated(
    conn: &Connection,
    store: StoreId,
    said: &Checkpointed,
) -> rusqlite::Result<Option<(Ends, Vec<Link>)>> {
    let mut ends = Ends::new();
    for end in &said.ends {
        let log = LogId { store, direction: end.direction, epoch: end.epoch };
        let Some(entry) = log::find(conn, log)? else { return Ok(None) };
        if log::link_at(conn, log, &entry, end.upto)? != Some(Link(end.link)) {
            return Ok(None);
        }
        ends.push((log, entry, end.upto));
    }
    for (log, entry) in logs_of(conn, store)? {
        if entry.floor > Seq::ZERO && !ends.iter().any(|(of, _, _)| *of == log) {
            return Ok(None);
        }
    }
    Ok(Some((ends, said.ends.iter().map(|end| Link(end.link)).collect())))
}

fn under_way(conn: &Connection, store: StoreId) -> rusqlite::Result<Option<(EventId, Checkpointed)>> {
    let Some((id, said)) = marked(conn, store, Mark::Newest)? else { return Ok(None) };
    let Some((ends, _)) = stated(conn, store, &said)? else { return Ok(None) };
    Ok(ends.iter().any(|(_, entry, upto)| entry.floor < *upto).then_some((id, said)))
}

/// Compares the base rows with what the store's checkpoint states about them; `Some`: what does not fit. While a truncation is
/// under way there is nothing to compare with: the floors lie between two checkpoints.
pub(crate) fn odd_base(conn: &Connection, store: StoreId) -> rusqlite::Result<Option<String>> {
    if !log::has_floors(conn)? {
        return Ok(None);
    }
    let (set, odd) = image::load(conn, store)?;
    if odd > 0 {
        return Ok(Some(format!("store {store}: {odd} base rows cannot be read")));
    }
    let logs = logs_of(conn, store)?;
    let floors: Ends = logs.iter().map(|(log, entry)| (*log, *entry, entry.floor)).collect();
    let floors: Ends = floors.into_iter().filter(|(_, _, floor)| *floor > Seq::ZERO).collect();
    if floors.is_empty() {
        let rows = image::rows(&set).len();
        return Ok((rows > 0).then(|| format!("store {store}: {rows} base rows without a floor")));
    }
    let at_floor = |end: &CheckpointEnd| {
        floors.iter().any(|(log, entry, floor)| {
            (log.direction, log.epoch, *floor, entry.floor_link.0)
                == (end.direction, end.epoch, end.upto, end.link)
        })
    };
    let newest = marked(conn, store, Mark::Newest)?;
    let both = [newest.clone(), marked(conn, store, Mark::Done)?];
    let fits = |said: &Checkpointed| said.ends.len() == floors.len() && said.ends.iter().all(at_floor);
    let Some((id, said)) = both.into_iter().flatten().find(|(_, said)| fits(said)) else {
        let between = newest.is_some_and(|(_, said)| {
            said.ends.iter().all(|end| {
                let log = LogId { store, direction: end.direction, epoch: end.epoch };
                logs.iter().any(|(of, entry)| *of == log && entry.floor <= end.upto)
            })
        });
        return Ok((!between)
            .then(|| format!("store {store}: records are gone and no checkpoint says what they were")));
    };
    let found = image::digests(conn, store, &set, &floors)?;
    let expected = Digests { balances: said.balances, folds: said.folds, rows: said.rows };
    Ok((found != expected)
        .then(|| format!("store {store}: base rows are not those that the checkpoint {id} states")))
}

impl Draft<'_> {
    /// Writes a checkpoint. Refused with `checkpoint-stale` when the ledger is no longer what the plan was made of.
    pub fn checkpoint(&mut self, plan: &CheckpointPlan, stamp: Stamp) -> Result<EventId, Refusal> {
        let stale = |what: &str| Refusal::new("checkpoint-stale", what.to_owned());
        let Owner::Store(store) = self.owner() else {
            return Err(Refusal::new("wrong-owner", "HQ keeps every record"));
        };
        let own = self.open_log(store, Direction::Up).filter(|_| store == plan.store);
        let own = own.ok_or_else(|| stale("the plan is for another store, or no log is open"))?;
        for end in &plan.fact.ends {
            let log = LogId { store, direction: end.direction, epoch: end.epoch };
            let entry = self.entry(log).ok_or_else(|| stale("a log is gone"))?;
            let link = log::link_at(self.conn(), log, &entry, end.upto);
            let known = end.direction == Direction::Down || entry.acked >= end.upto;
            if self.sql(link)? != Some(Link(end.link)) || !known {
                return Err(stale("a log has another history now"));
            }
        }
        let id = self.write(own, &Event::new(stamp, plan.fact.clone()))?;
        let number = self.entry(own).map_or(0, |entry| entry.number);
        let marked = set_mark(self.conn(), store, Mark::Newest, log::pos(number, id.seq));
        self.sql(marked)?;
        Ok(id)
    }

    /// Forgets at most `most` records under the newest checkpoint, once HQ has acknowledged that.
    pub fn truncate(&mut self, most: u64) -> Result<Truncated, Refusal> {
        let Owner::Store(store) = self.owner() else {
            return Err(Refusal::new("wrong-owner", "HQ keeps every record"));
        };
        let under_way = under_way(self.conn(), store);
        let Some((id, said)) = self.sql(under_way)? else {
            return Ok(Truncated { records: 0, done: true });
        };
        if self.entry(id.log).is_none_or(|entry| entry.acked < id.seq) {
            return Ok(Truncated::default());
        }
        let mut done = Truncated { records: 0, done: true };
        for end in &said.ends {
            let log = LogId { store, direction: end.direction, epoch: end.epoch };
            let Some(entry) = self.entry(log) else { continue };
            let left = most.saturating_sub(done.records);
            let upto = end.upto.min(Seq(entry.floor.0.saturating_add(left)));
            done.done &= upto == end.upto;
            if upto > entry.floor {
                done.records += upto.0 - entry.floor.0;
                self.raise_floor(log, entry, upto)?;
            }
        }
        if done.done {
            let number = self.entry(id.log).map_or(0, |entry| entry.number);
            let marked = set_mark(self.conn(), store, Mark::Done, log::pos(number, id.seq));
            self.sql(marked)?;
        }
        Ok(done)
    }

    /// Folds the records up to `upto` into the base rows and removes them.
    fn raise_floor(&mut self, log: LogId, entry: Entry, upto: Seq) -> Result<(), Refusal> {
        let expected = log::link_at(self.conn(), log, &entry, upto);
        let expected = self.sql(expected)?;
        let raised = raise(self.conn(), log, &entry, upto);
        let link = self.sql(raised)?.filter(|link| Some(*link) == expected).ok_or_else(|| {
            Refusal::new("damaged", format!("log {log}: records up to {upto} do not hash to the next seal"))
        })?;
        self.set_entry(log, Entry { floor: upto, floor_link: link, ..entry });
        Ok(())
    }
}

/// `None`: a record is missing; the caller must drop what was done.
fn raise(conn: &Connection, log: LogId, entry: &Entry, upto: Seq) -> rusqlite::Result<Option<Link>> {
    let range = params![log::pos(entry.number, entry.floor.next()), log::pos(entry.number, upto)];
    let (mut reached, mut link) = (entry.floor, entry.floor_link);
    let mut newest = i64::MIN;
    let mut set = FoldSet::default();
    {
        let sql = "SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos";
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            let pos: i64 = row.get(0)?;
            let seq = log::split(pos).1;
            if seq != reached.next() {
                return Ok(None);
            }
            let record = row.get_ref(1)?.as_blob().unwrap_or_default();
            link = link.next(log, seq, record);
            reached = seq;
            let event = Event::from_record(record);
            newest = newest.max(event.map_or(i64::MIN, |event| event.stamp.at.0));
            crate::verify::refold_over(&BaseRows(conn), EventId { log, seq }, pos, record, &mut set)?;
        }
    }
    if reached != upto {
        return Ok(None);
    }
    image::write(conn, log.store, &set)?;
    for table in ["event", "seal"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE pos BETWEEN ?1 AND ?2"))?.execute(range)?;
    }
    // The last arrival before what is left says when that came.
    let last = "SELECT max(pos) FROM arrival WHERE pos BETWEEN ?1 AND ?2";
    let first_left = log::pos(entry.number, upto.next());
    let keys = [log::pos(entry.number, Seq::ZERO), first_left];
    let last: Option<i64> = conn.prepare_cached(last)?.query_row(keys, |row| row.get(0))?;
    let keys = [log::pos(entry.number, Seq::ZERO), last.unwrap_or(first_left) - 1];
    conn.prepare_cached("DELETE FROM arrival WHERE pos BETWEEN ?1 AND ?2")?.execute(keys)?;
    let sql = "INSERT INTO floor (log, upto, link, at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO UPDATE SET upto = excluded.upto, link = excluded.link, at = max(at, excluded.at)";
    conn.prepare_cached(sql)?.execute(params![entry.number, signed(upto.0), link.0, newest])?;
    Ok(Some(link))
}

/// Tickets of a store that lie below the floors of their logs.
pub(crate) fn tickets_below(conn: &Connection, store: StoreId) -> rusqlite::Result<u64> {
    if !log::has_floors(conn)? {
        return Ok(0);
    }
    let sql = "SELECT count(*) FROM ticket AS t JOIN floor AS f ON f.log = t.pos >> 40
               WHERE t.store = ?1 AND t.pos - (f.log << 40) <= f.upto";
    conn.query_row(sql, [store.0], |row| row.get(0)).map(unsigned)
}

/// Empties fold tables of a store and fills them with its base rows. Tickets below the floors stay.
pub(crate) fn back_to_floors(conn: &Connection, store: StoreId, tables: &[&str]) -> rusqlite::Result<()> {
    for table in tables {
        let mut sql = format!("DELETE FROM {table} WHERE store = ?1");
        if *table == "ticket" {
            sql.push_str(
                " AND NOT EXISTS (SELECT 1 FROM floor AS f WHERE f.log = ticket.pos >> 40
                  AND ticket.pos - (f.log << 40) <= f.upto)",
            );
        }
        conn.execute(&sql, [store.0])?;
    }
    let (set, odd) = image::load(conn, store)?;
    if odd > 0 {
        tracing::error!(%store, odd, "base rows cannot be read; the folds lack them");
    }
    crate::table::write(conn, &set)
}
