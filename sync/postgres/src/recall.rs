//! HQ's own branch of a log that forked: it moves to the log in use, so that the returned history can take its place.
//!
//! HQ went back in time (a restored database, a failover to an older replica), wrote other events under names that a store
//! already knew, and the store gave the first ones back. One transaction: the own records from the first difference on get
//! new names in the log in use (a new epoch, if the forked log was in use), the forked log ends before them and is closed,
//! and the store's folds are computed again from its records. It is rare, so it reads everything.

use crate::apply::{self, Failure};
use crate::batch::{Entry, Record, State};
use crate::lease::{Held, bucket_of};
use crate::session::Session;
use crate::worker::link_of;
use std::collections::BTreeSet;
use sync_core::Link;
use sync_model::{Direction, EpochReason, Event, EventId, FactRef, LogId, Seq, Stamp};
use sync_store::{FOLD_TABLES, Folder, Refusal, SEAL_DISTANCE, position, position_parts};

/// Records read at once.
const CHUNK: u64 = 5_000;

async fn records(
    session: &Session,
    log: LogId,
    number: i64,
    (from, upto): (Seq, Seq),
) -> Result<Vec<(Seq, Vec<u8>)>, Failure> {
    let sql = "SELECT pos, record FROM event WHERE bucket = $1 AND pos BETWEEN $2 AND $3 ORDER BY pos";
    let (low, high) = (position(number, from), position(number, upto));
    let rows = session.client.query(sql, &[&bucket_of(log.store), &low, &high]).await?;
    Ok(rows.iter().map(|row| (position_parts(row.get(0)).1, row.get(1))).collect())
}

async fn link_at(session: &Session, log: LogId, number: i64, at: Seq) -> Result<Link, Failure> {
    let seal = Seq(at.0 - at.0 % SEAL_DISTANCE);
    let mut link = Link::genesis(log);
    if seal > Seq::ZERO {
        let pos = position(number, seal);
        let row = session.client.query_one("SELECT link FROM seal WHERE pos = $1", &[&pos]).await?;
        link = link_of(row.get(0));
    }
    for (seq, record) in records(session, log, number, (seal.next(), at)).await? {
        link = link.next(log, seq, &record);
    }
    Ok(link)
}

/// The new name of a fact that moved; every other name stays.
fn rename(by: FactRef, old: EventId, new: EventId, last: Seq) -> FactRef {
    if by.epoch != old.log.epoch || by.seq < old.seq || by.seq > last {
        return by;
    }
    let seq = Seq(by.seq.0.saturating_sub(old.seq.0).saturating_add(new.seq.0));
    FactRef { epoch: new.log.epoch, seq }
}

/// Moves HQ's records of `log` from `at` on, in a transaction of its own. The caller reads everything again.
pub(crate) async fn move_branch(
    session: &Session,
    state: &State,
    held: &Held,
    (log, at, stamp): (LogId, Seq, Stamp),
) -> Result<(), Failure> {
    session.client.batch_execute("BEGIN").await?;
    apply::check_fence(session, &BTreeSet::from([bucket_of(log.store)]), held).await?;
    let gone = || Failure::Ledger(Refusal::new("no-log", format!("log {log} does not exist")).into());
    let entry = state.entry(log).ok_or_else(gone)?;
    let moved = records(session, log, entry.number, (at, entry.head)).await?;
    let before = Seq(at.0.saturating_sub(1));
    let link = link_at(session, log, entry.number, before).await?;

    let mut plan = State::new(state.software.clone());
    plan.heads = state.heads.clone();
    let number = session.client.query_one("SELECT nextval('log_number')", &[]).await?;
    plan.numbers.push(number.get(0));
    let cut = Entry { head: before, link, acked: entry.acked.min(before), closed: true, ..entry };
    plan.job_heads.insert(log, cut);
    let open = plan.open_log(log.store, log.direction).filter(|_| entry.closed);
    let target = match open {
        Some(open) => open,
        None => plan.new_epoch(log.store, EpochReason::RolledBack, stamp).map_err(Failure::Ledger)?,
    };
    let mut end = plan.entry(target).ok_or_else(gone)?;
    let (old, new) = (EventId { log, seq: at }, EventId { log: target, seq: end.head.next() });
    let renamed = |by: FactRef| rename(by, old, new, entry.head);
    for (_, record) in &moved {
        let record = match Event::from_record(record) {
            Ok(event) => {
                let event = Event { fact: event.fact.renamed(&renamed), ..event };
                event.to_record().unwrap_or_else(|_| record.clone())
            }
            Err(_) => record.clone(),
        };
        end = plan.push(target, end, Record::Own(record));
    }
    plan.batch_heads.append(&mut plan.job_heads);
    plan.folder = fold_again(session, &plan, log).await?;
    cut_log(session, log, entry.number, (at, entry.head)).await?;
    apply::commit(session, &plan, held).await?;
    tracing::error!(%old, %new, count = moved.len(), "log forked: own records got new names");
    Ok(())
}

/// Every record of the store folded from nothing, in the order of `verify`.
async fn fold_again(session: &Session, plan: &State, log: LogId) -> Result<Folder, Failure> {
    let mut folder = Folder::new();
    for direction in [Direction::Up, Direction::Down] {
        for log in plan.logs(log.store, direction) {
            let Some(entry) = plan.entry(log) else { continue };
            let stored = plan.heads.get(&log).map_or(Seq::ZERO, |entry| entry.head).min(entry.head);
            let mut from = Seq(1);
            while from <= stored {
                let upto = Seq(from.0.saturating_add(CHUNK - 1)).min(stored);
                for (seq, record) in records(session, log, entry.number, (from, upto)).await? {
                    folder.fold(EventId { log, seq }, position(entry.number, seq), &record);
                }
                // Rows that were asked for stay absent: this begins from nothing.
                folder.missing();
                from = upto.next();
            }
            for (pos, _, record) in &plan.writes.events {
                let (number, seq) = position_parts(*pos);
                if number == entry.number {
                    folder.fold(EventId { log, seq }, *pos, record.bytes());
                }
            }
        }
    }
    folder.missing();
    folder.keep_job();
    Ok(folder)
}

/// Removes the moved records under their old names, and the store's fold rows.
async fn cut_log(
    session: &Session,
    log: LogId,
    number: i64,
    (from, upto): (Seq, Seq),
) -> Result<(), Failure> {
    let (low, high) = (position(number, from), position(number, upto));
    let sql = "DELETE FROM event WHERE bucket = $1 AND pos BETWEEN $2 AND $3";
    session.client.execute(sql, &[&bucket_of(log.store), &low, &high]).await?;
    for table in ["seal", "arrival"] {
        let sql = format!("DELETE FROM {table} WHERE pos BETWEEN $1 AND $2");
        session.client.execute(&sql, &[&low, &high]).await?;
    }
    let sql = "DELETE FROM signed_end WHERE log = $1 AND seq >= $2";
    session.client.execute(sql, &[&number, &from.0.cast_signed()]).await?;
    for table in &FOLD_TABLES {
        let sql = format!("DELETE FROM {} WHERE store = $1", table.name);
        session.client.execute(&sql, &[&i64::from(log.store.0)]).await?;
    }
    Ok(())
}
