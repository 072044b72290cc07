//! HQ's apply path on SQLite, and a bare batched insert of the same rows into the same tables.
//!
//! Contract
//! * Ours: decoded blocks, `Draft::take_in` on the ledger's writer (checks, decoding of records, chain, folds, commit), at most
//!   [`IN_FLIGHT`] blocks unanswered; the clock stops at the last reply, after its fsync. `from wire` starts with the packed
//!   messages, which the submitting thread decodes as HQ's engine does.
//! * Bare: one connection with the ledger's own pragmas and schema, prepared statements, one transaction per so many blocks
//!   as one commit of ours held on average in the same run. It writes event, seal, arrival, log and every fold row with the
//!   values that they have after each transaction, computed before the clock runs. No decoding, hashing, folding or checks.
//! * Both end with the same rows: every table is compared.
//! * `events only` is the same without the fold rows.

use super::feed::Feed;
use super::rows::Batch;
use super::{IN_FLIGHT, RECEIVED, Rate};
use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, Statement, params};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;
use sync_codec::PACKED;
use sync_core::replica::{Incoming, IngestOutcome, Letter};
use sync_model::{ClockQuality, Stamp, Text};
use sync_store::{Cell, FOLD_TABLES, Ledger, LedgerConfig, LedgerError, Owner, TakenIn};

/// Tables that have to be equal afterwards.
const COMPARED: [&str; 11] =
    ["log", "event", "seal", "arrival", "stock", "money", "tally", "ticket", "article", "price", "item"];

/// What came out of one turn of ours.
pub(crate) struct Applied {
    pub(crate) rate: Rate,
    pub(crate) blocks_per_commit: usize,
}

/// Messages as they come from the wire.
pub(crate) fn messages(feed: &Feed) -> Vec<Vec<u8>> {
    feed.blocks.iter().map(|block| Letter::block(&PACKED, 2, block, None)).collect()
}

/// Opens HQ's ledger.
pub(crate) fn open(path: &Path) -> Result<Ledger> {
    let config = LedgerConfig {
        path: path.into(),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::lossy("bench"),
        queue: 256,
    };
    Ok(Ledger::open(config, stamp())?.0)
}

fn stamp() -> Stamp {
    Stamp { at: RECEIVED, clock: ClockQuality::Synced }
}

fn applied(outcome: Result<TakenIn, LedgerError>) -> Result<()> {
    match outcome?.ingested.outcome {
        IngestOutcome::Applied { odd: 0, .. } => Ok(()),
        other => bail!("a block was not booked as it is: {other:?}"),
    }
}

/// The blocks as a decoder leaves them.
pub(crate) fn decoded(messages: &[Vec<u8>]) -> Result<Vec<Incoming>> {
    messages.iter().map(|message| decode(message)).collect()
}

fn decode(message: &[u8]) -> Result<Incoming> {
    match Letter::decode(&PACKED, message)?.0 {
        Letter::Block(block) => Ok(block),
        other => bail!("not a block: {other:?}"),
    }
}

/// The ledger takes in every message: decoded before the clock runs, or by the thread that submits.
pub(crate) fn ours(path: &Path, feed: &Feed, messages: &[Vec<u8>], from_wire: bool) -> Result<Applied> {
    let mut ready = if from_wire { Vec::new() } else { decoded(messages)? }.into_iter();
    let ledger = open(path)?;
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    ledger.on_commit(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let (answer, answers) = channel();
    let mut waiting = 0;
    let begun = Instant::now();
    for message in messages {
        let block = ready.next().map_or_else(|| decode(message), Ok)?;
        if waiting == IN_FLIGHT {
            applied(answers.recv()?)?;
            waiting -= 1;
        }
        let answer = answer.clone();
        let reply = move |outcome| drop(answer.send(outcome));
        ledger.submit(move |draft| draft.take_in(&block, stamp()), reply)?;
        waiting += 1;
    }
    for _ in 0..waiting {
        applied(answers.recv()?)?;
    }
    let rate = Rate { lines: feed.lines, records: feed.records, time: begun.elapsed() };
    drop(ledger);
    let commits = usize::try_from(commits.load(Ordering::Relaxed))?.max(1);
    Ok(Applied { rate, blocks_per_commit: feed.blocks.len().div_ceil(commits) })
}

/// A connection as the ledger's writer has it, to a file with the schema of `like`.
fn bare_file(path: &Path, like: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    let page: i64 = Connection::open(like)?.pragma_query_value(None, "page_size", |row| row.get(0))?;
    connection.pragma_update(None, "page_size", page)?;
    sync_store::pragmas(&connection)?;
    let model = Connection::open(like)?;
    let mut statement = model.prepare(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid",
    )?;
    let tables: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>().context("read the schema")?;
    connection.execute_batch(&tables.join(";\n"))?;
    Ok(connection)
}

/// Inserts prepared batches.
pub(crate) fn bare(path: &Path, like: &Path, feed: &Feed, batches: &[Batch], folds: bool) -> Result<Rate> {
    let connection = bare_file(path, like)?;
    let mut writer = Writer::new(&connection)?;
    let begun = Instant::now();
    for batch in batches {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        writer.write(batch, folds)?;
        connection.execute_batch("COMMIT")?;
    }
    Ok(Rate { lines: feed.lines, records: feed.records, time: begun.elapsed() })
}

struct Writer<'a> {
    event: Statement<'a>,
    seal: Statement<'a>,
    arrival: Statement<'a>,
    log: Statement<'a>,
    folds: Vec<Statement<'a>>,
}

impl<'a> Writer<'a> {
    fn new(connection: &'a Connection) -> Result<Self> {
        let folds = FOLD_TABLES
            .iter()
            .map(|table| {
                let columns: Vec<&str> =
                    table.keys.iter().chain(table.values).map(|(name, _)| *name).collect();
                let places: Vec<String> = (1..=columns.len()).map(|at| format!("?{at}")).collect();
                let set: Vec<String> =
                    table.values.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect();
                connection.prepare(&format!(
                    "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO UPDATE SET {}",
                    table.name,
                    columns.join(", "),
                    places.join(", "),
                    set.join(", ")
                ))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            event: connection.prepare("INSERT INTO event (pos, record) VALUES (?1, ?2)")?,
            seal: connection.prepare("INSERT INTO seal (pos, link) VALUES (?1, ?2)")?,
            arrival: connection.prepare("INSERT INTO arrival (pos, received) VALUES (?1, ?2)")?,
            log: connection.prepare(
                "INSERT INTO log (id, store, direction, epoch, head, link) VALUES (?1, ?2, 0, ?3, ?4, ?5)
                 ON CONFLICT (id) DO UPDATE SET head = excluded.head, link = excluded.link",
            )?,
            folds,
        })
    }

    fn write(&mut self, batch: &Batch, folds: bool) -> Result<()> {
        for (pos, record) in &batch.events {
            self.event.execute(params![pos, record])?;
        }
        for (pos, link) in &batch.seals {
            self.seal.execute(params![pos, link])?;
        }
        for pos in &batch.arrivals {
            self.arrival.execute(params![pos, RECEIVED.0])?;
        }
        for (number, log, head, link) in &batch.heads {
            self.log.execute(params![number, log.store.0, log.epoch.0, head, link])?;
        }
        for (table, rows) in batch.folds.iter().filter(|_| folds) {
            let statement = self.folds.get_mut(*table).context("an unknown fold table")?;
            for row in rows {
                for (at, cell) in row.iter().enumerate() {
                    match cell {
                        Cell::Int(value) => statement.raw_bind_parameter(at + 1, value)?,
                        Cell::Text(value) => statement.raw_bind_parameter(at + 1, value)?,
                        Cell::Bytes(value) => statement.raw_bind_parameter(at + 1, value)?,
                        Cell::Bool(value) => statement.raw_bind_parameter(at + 1, value)?,
                    }
                }
                statement.raw_execute()?;
            }
        }
        Ok(())
    }
}

/// Both files hold the same rows.
pub(crate) fn compare(ours: &Path, bare: &Path) -> Result<()> {
    let connection = Connection::open(ours)?;
    connection.execute("ATTACH ?1 AS bare", [bare.to_str().context("path")?])?;
    for table in COMPARED {
        let sql = format!(
            "SELECT (SELECT count(*) FROM (SELECT * FROM main.{table} EXCEPT SELECT * FROM bare.{table}))
                  + (SELECT count(*) FROM (SELECT * FROM bare.{table} EXCEPT SELECT * FROM main.{table}))"
        );
        let different: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        ensure!(different == 0, "{different} rows of {table} differ between the ledger and the bare insert");
    }
    Ok(())
}
