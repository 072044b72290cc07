//! Taking over what an old disk still has: records that its gateway wrote and HQ never got.
//!
//! The old file is only read. Its records keep their names: what continues a log that is known here is added to that log,
//! which is closed, and goes to HQ from here as it would have gone from there. So a second import, or the old gateway coming
//! back to life, finds the same bytes under the same names and changes nothing.
//!
//! Failure cases: the old ledger is damaged: what hashes, up to the first break, is taken, the rest is named. It forked from
//! what HQ has: nothing of that log is taken, because two histories of one log cannot both be booked under its names; the
//! note says where. Records before its own floor are not here either: bootstrap first, or let HQ return them. It is the log
//! in use here: the file is a copy of this ledger, and nothing is taken.

use crate::reader::Reader;
use crate::{Ledger, LedgerError, Refusal};
use std::path::Path;
use sync_core::replica::{Incoming, IngestOutcome};
use sync_core::{BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Block};
use sync_model::{EventId, LogId, Seq, Stamp, StoreId};

/// What became of one log of the old file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedLog {
    /// The log.
    pub log: LogId,
    /// Its end in the old file.
    pub head: Seq,
    /// Records that were new here.
    pub taken: u64,
    /// Why not everything was taken.
    pub left: Option<String>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Log by log.
    pub logs: Vec<ImportedLog>,
    /// Idempotency keys that were new here.
    pub keys: u64,
}

impl Imported {
    /// Records that were new here.
    pub fn taken(&self) -> u64 {
        self.logs.iter().map(|log| log.taken).sum()
    }

    /// Whether something was left in the old file.
    pub fn complete(&self) -> bool {
        self.logs.iter().all(|log| log.left.is_none())
    }
}

/// Answers copied per job.
const KEYS_AT_ONCE: usize = 500;

impl Ledger {
    /// Imports what `old`, a ledger file of the same store, has and this one does not. `old` must not be in use.
    pub fn import(&self, old: &Path, store: StoreId, stamp: Stamp) -> Result<Imported, LedgerError> {
        let reader = Reader::open(old)?;
        let mut done = Imported::default();
        let heads = reader.heads()?;
        if !heads.iter().any(|row| row.log.store == store) {
            let detail = format!("{} has no log of store {store}", old.display());
            return Err(Refusal::new("wrong-store", detail).into());
        }
        for row in heads.into_iter().filter(|row| row.log.store == store && row.head > Seq::ZERO) {
            let log = row.log;
            let before = self.reader()?.head(log)?.map_or(Seq::ZERO, |known| known.head);
            let left = if self.log() == Some(log) {
                Some("it is the log in use here".to_owned())
            } else {
                self.import_log(&reader, log, row.head, stamp)?
            };
            let after = self.reader()?.head(log)?.map_or(Seq::ZERO, |known| known.head);
            let taken = after.0.saturating_sub(before.0);
            done.logs.push(ImportedLog { log, head: row.head, taken, left });
        }
        done.keys = self.import_keys(&reader)?;
        Ok(done)
    }

    /// Why something of the log was left.
    fn import_log(
        &self,
        old: &Reader,
        log: LogId,
        head: Seq,
        stamp: Stamp,
    ) -> Result<Option<String>, LedgerError> {
        let here = self.reader()?;
        let known = here.head(log)?;
        let from = known.map_or(Seq::ZERO, |known| known.head);
        let floor = old.floor(log)?;
        if from >= head {
            let same = old.link(log, head)? == here.link(log, head)? || head < here.floor(log)?;
            return Ok((!same).then(|| forked(log)));
        }
        if from < floor {
            return Ok(Some(format!(
                "the old file begins at {}, this ledger has the log up to {from}: bootstrap or settle first",
                floor.next()
            )));
        }
        if let Some(known) = known
            && old.link(log, from)? != Some(known.link)
        {
            return Ok(Some(forked(log)));
        }
        let mut next = from.next();
        while next <= head {
            let block = match old.block(log, next, BLOCK_RECORDS_MAX, BLOCK_BYTES_MAX) {
                Ok(Some(block)) => block,
                Ok(None) => return Ok(Some(format!("the old file cannot be read from {next} on"))),
                Err(error) => {
                    return Ok(Some(format!("the old file cannot be read from {next} on: {error}")));
                }
            };
            next = block.last().next();
            if let Some(odd) = self.import_block(block, stamp)? {
                return Ok(Some(odd));
            }
        }
        Ok(None)
    }

    fn import_block(&self, block: Block, stamp: Stamp) -> Result<Option<String>, LedgerError> {
        let first = block.first;
        let block = Incoming::from(block);
        let outcome = self.call(move |draft| Ok(draft.take_in(&block, stamp)?.ingested.outcome))?;
        Ok(match outcome {
            IngestOutcome::Applied { .. } | IngestOutcome::Duplicate => None,
            other => Some(format!("records from {first} on do not fit: {}", other.code())),
        })
    }

    /// Copies the answers to idempotency keys, so that a till's retry is still a retry.
    fn import_keys(&self, old: &Reader) -> Result<u64, LedgerError> {
        let mut keys = 0;
        let mut answers = old.answers()?;
        while !answers.is_empty() {
            let part = answers.split_off(answers.len().saturating_sub(KEYS_AT_ONCE));
            keys += self.call(move |draft| {
                let mut new = 0;
                for (key, digest, id) in &part {
                    new += u64::from(draft.adopt_answer(key, digest, *id)?);
                }
                Ok(new)
            })?;
        }
        Ok(keys)
    }
}

fn forked(log: LogId) -> String {
    format!(
        "log {log} has another history here and at HQ: nothing of it was taken; keep the file as evidence"
    )
}

impl Reader {
    /// Every answer to an idempotency key: key, stored digest, fact.
    pub(crate) fn answers(&self) -> Result<Vec<(String, Vec<u8>, EventId)>, LedgerError> {
        let heads: std::collections::BTreeMap<i64, LogId> = crate::log::entries(&self.conn)
            .map_err(|error| LedgerError::sql("read answers", &error))?
            .into_iter()
            .map(|(log, entry)| (entry.number, log))
            .collect();
        let read = || -> rusqlite::Result<Vec<(String, Vec<u8>, i64)>> {
            let mut statement =
                self.conn.prepare_cached("SELECT key, digest, pos FROM answer ORDER BY pos DESC")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect()
        };
        let rows = read().map_err(|error| LedgerError::sql("read answers", &error))?;
        let named = |(key, digest, pos): (String, Vec<u8>, i64)| {
            let (number, seq) = crate::log::split(pos);
            heads.get(&number).map(|log| (key, digest, EventId { log: *log, seq }))
        };
        Ok(rows.into_iter().filter_map(named).collect())
    }
}

impl crate::Draft<'_> {
    /// Remembers an answer that another file of this store gave, unless the key is known or its fact is not here.
    pub(crate) fn adopt_answer(&mut self, key: &str, digest: &[u8], id: EventId) -> Result<bool, Refusal> {
        let Some(entry) = self.entry(id.log).filter(|entry| id.seq <= entry.head) else { return Ok(false) };
        let sql = "INSERT OR IGNORE INTO answer (key, digest, pos) VALUES (?1, ?2, ?3)";
        let row = rusqlite::params![key, digest, crate::log::pos(entry.number, id.seq)];
        let done = self.conn().prepare_cached(sql).and_then(|mut statement| statement.execute(row));
        Ok(self.sql(done)? > 0)
    }
}
