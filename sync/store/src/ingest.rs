//! Taking in a peer's block: apply, pass over, refuse, or keep aside. One block, all or nothing.
//!
//! Contract
//! * Records are stored exactly as they came. One that does not decode is stored, folded as nothing and quarantined, and
//!   the watermark moves on: a bad record never blocks a log.
//! * A position that is already stored keeps its first bytes. Other bytes at it are evidence of a forked writer: the whole
//!   block goes to the quarantine and nothing of it is applied.
//! * Nothing beyond a gap is stored; the ack names the gap.

use crate::Refusal;
use crate::draft::Draft;
use crate::log::{self, Entry, SEQ_MAX};
use crate::rows::{IngestOutcome, Ingested};
use crate::schema::Owner;
use rusqlite::{Connection, params};
use sync_core::{Ack, Block, Link, Message, Plan, plan};
use sync_model::{Direction, Event, EventId, FactError, Kind, LogId, Seq, UnixMillis};

impl Draft<'_> {
    /// Takes in one block. A refusal means that the block does not belong here at all; everything else is an outcome.
    pub fn ingest(&mut self, block: &Block, received: UnixMillis) -> Result<Ingested, Refusal> {
        self.check_peer(block.log)?;
        block.check().map_err(|error| Refusal::new("bad-block", error.to_string()))?;
        if block.last().0 > SEQ_MAX {
            return Err(Refusal::new("bad-block", format!("position {} is out of range", block.last())));
        }
        let entry = self.entry(block.log);
        if let Some(entry) = entry {
            let stored = first_difference(self.conn(), &entry, block);
            if let Some(at) = self.sql(stored)? {
                return self.fork(block, received, IngestOutcome::Equivocation { at });
            }
        }
        match plan(entry.map(|entry| (entry.head, entry.link)), block) {
            Plan::Duplicate => Ok(self.ingested(block.log, IngestOutcome::Duplicate)),
            Plan::Gap { missing } => Ok(self.ingested(block.log, IngestOutcome::Gap { missing })),
            Plan::ChainBreak => {
                let at = entry.map_or(Seq(1), |entry| entry.head.next());
                self.fork(block, received, IngestOutcome::ChainBreak { at })
            }
            Plan::Apply { skip } => {
                let entry = match entry {
                    Some(entry) => entry,
                    None => self.new_log(block.log)?,
                };
                let outcome = self.apply(block, entry, skip, received)?;
                Ok(self.ingested(block.log, outcome))
            }
        }
    }

    /// HQ takes up logs of any store, a store takes down logs addressed to it.
    fn check_peer(&self, log: LogId) -> Result<(), Refusal> {
        match (self.owner(), log.direction) {
            (Owner::Hq, Direction::Up) => Ok(()),
            (Owner::Store(store), Direction::Down) if store == log.store => Ok(()),
            (Owner::Store(store), Direction::Down) => {
                Err(Refusal::new("wrong-store", format!("log {log} is not for store {store}")))
            }
            (owner, _) => {
                Err(Refusal::new("wrong-owner", format!("{owner} writes log {log} itself, or may not")))
            }
        }
    }

    pub(crate) fn ingested(&self, log: LogId, outcome: IngestOutcome) -> Ingested {
        let (upto, link) =
            self.entry(log).map_or((Seq::ZERO, Link::genesis(log)), |entry| (entry.head, entry.link));
        let gap = match outcome {
            IngestOutcome::Gap { missing } => Some(missing),
            _ => None,
        };
        Ingested { outcome, ack: Ack { log, upto, link, gap } }
    }

    fn fork(
        &mut self,
        block: &Block,
        received: UnixMillis,
        outcome: IngestOutcome,
    ) -> Result<Ingested, Refusal> {
        let at = match outcome {
            IngestOutcome::Equivocation { at } | IngestOutcome::ChainBreak { at } => at,
            _ => block.first,
        };
        let detail = format!("block {} to {} differs from what is stored at {at}", block.first, block.last());
        let raw = Message::Block(block.clone()).encode();
        self.quarantine(&block.log.to_string(), outcome.code(), &detail, &raw, received)?;
        tracing::error!(log = %block.log, %at, code = outcome.code(), "forked log: block kept in quarantine");
        Ok(self.ingested(block.log, outcome))
    }

    pub(crate) fn apply(
        &mut self,
        block: &Block,
        mut entry: Entry,
        skip: usize,
        received: UnixMillis,
    ) -> Result<IngestOutcome, Refusal> {
        let first = entry.head.next();
        let arrival = log::pos(entry.number, first);
        let sql = "INSERT INTO arrival (pos, received) VALUES (?1, ?2)";
        let noted = self
            .conn()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params![arrival, received.0]));
        self.sql(noted)?;
        let (mut odd, mut seq) = (0, first);
        let records = block.records.get(skip..).unwrap_or_default();
        for record in records {
            let id = EventId { log: block.log, seq };
            if let Some((code, detail)) = self.fold_record(id, log::pos(entry.number, seq), record)? {
                odd += 1;
                self.quarantine(&id.to_string(), code, &detail, record, received)?;
                tracing::warn!(event = %id, code, detail, "record stored but folded as nothing");
            }
            seq = seq.next();
        }
        let pushed = log::push_all(self.conn(), block.log, &mut entry, records);
        self.sql(pushed)?;
        self.set_entry(block.log, entry);
        Ok(IngestOutcome::Applied { first, last: entry.head, odd })
    }

    /// Counts and folds one stored record; says why it folds as nothing, if it does.
    pub(crate) fn fold_record(
        &mut self,
        id: EventId,
        pos: i64,
        record: &[u8],
    ) -> Result<Option<(&'static str, String)>, Refusal> {
        let event = Event::from_record(record);
        self.count(id.log, counted_kind(&event))?;
        match event {
            Ok(event) => Ok(self.fold(id, pos, &event)?.err()),
            Err(error) => Ok(Some(("undecodable", error.to_string()))),
        }
    }
}

/// The kind that a record is counted under: 0 when its frame does not decode.
pub(crate) fn counted_kind(event: &Result<Event, FactError>) -> Kind {
    match event {
        Ok(event) => event.fact.kind(),
        Err(FactError::Body { kind, .. } | FactError::Trailing { kind, .. }) => *kind,
        Err(_) => Kind(0),
    }
}

/// First position of the block whose stored bytes differ.
pub(crate) fn first_difference(
    conn: &Connection,
    entry: &Entry,
    block: &Block,
) -> rusqlite::Result<Option<Seq>> {
    if block.first > entry.head {
        return Ok(None);
    }
    let upto = block.last().min(entry.head);
    let mut statement =
        conn.prepare_cached("SELECT pos, record FROM event WHERE pos BETWEEN ?1 AND ?2 ORDER BY pos")?;
    let (from, upto) = (log::pos(entry.number, block.first), log::pos(entry.number, upto));
    let mut rows = statement.query(params![from, upto])?;
    while let Some(row) = rows.next()? {
        let pos: i64 = row.get(0)?;
        let stored = row.get_ref(1)?.as_blob().unwrap_or_default();
        let offset = usize::try_from(pos - log::pos(entry.number, block.first)).unwrap_or(usize::MAX);
        if block.records.get(offset).is_some_and(|record| record.as_slice() != stored) {
            return Ok(Some(log::split(pos).1));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::signed;

    #[test]
    fn positions_pack_and_split() {
        for (number, seq) in [(1, 0), (1, 1), (7, SEQ_MAX), (4_194_303, 12)] {
            assert_eq!(log::split(log::pos(number, Seq(seq))), (number, Seq(seq)));
        }
        assert_eq!(signed(SEQ_MAX), (1 << 40) - 1);
    }
}
