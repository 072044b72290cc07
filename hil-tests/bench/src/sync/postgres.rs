//! HQ's apply path on PostgreSQL, and a bare binary COPY of the same rows.
//!
//! Contract
//! * Ours: decoded blocks through [`sync_postgres::Postgres::take_in`], one worker, at most [`IN_FLIGHT`] blocks unanswered; the
//!   clock stops at the last reply, after its commit (`synchronous_commit = on`, `fsync = on`).
//! * Bare: the same server, another database with the same tables; one connection, one transaction per so many blocks as one
//!   commit of ours held on average; binary COPY, encoded before the clock runs. Events and tickets go into the same
//!   partitioned tables, fold rows with their values after each transaction into plain tables without a key (COPY cannot
//!   replace a row). No fence, no upsert, no log ends.
//! * `events only` copies the event rows alone.

use super::feed::Feed;
use super::rows::Batch;
use super::{IN_FLIGHT, RECEIVED, Rate};
use anyhow::{Context, Result, bail};
use futures_util::SinkExt;
use hil_rig::postgres::Postgres as Server;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use sync_core::replica::{Incoming, IngestOutcome};
use sync_model::{ClockQuality, Stamp, StoreId};
use sync_postgres::{Postgres, PostgresConfig, bucket_of};
use sync_store::{Cell, FOLD_TABLES, FoldRow, Ingested, LedgerError, TICKET_TABLE, position_parts};
use tokio_postgres::{Client, NoTls};

/// Bytes handed to the connection at once.
const PIECE: usize = 256 * 1024;

/// What came out of one turn of ours.
pub(crate) struct Applied {
    pub(crate) rate: Rate,
    pub(crate) blocks_per_commit: usize,
}

fn applied(outcome: Result<Ingested, LedgerError>) -> Result<()> {
    match outcome?.outcome {
        IngestOutcome::Applied { odd: 0, .. } => Ok(()),
        other => bail!("a block was not booked as it is: {other:?}"),
    }
}

fn open(url: &str) -> Result<Postgres> {
    let ledger = Postgres::open(PostgresConfig::new(url, "bench"))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    while ledger.owned().is_empty() {
        if Instant::now() > deadline {
            bail!("the worker owns no bucket: {:?}", ledger.fault());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(ledger)
}

/// The ledger takes in every block.
pub(crate) fn ours(url: &str, feed: &Feed, blocks: &[Incoming]) -> Result<Applied> {
    let ledger = open(url)?;
    let commits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&commits);
    ledger.on_commit(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let stamp = Stamp { at: RECEIVED, clock: ClockQuality::Synced };
    let (answer, answers) = channel();
    let mut waiting = 0;
    let begun = Instant::now();
    for block in blocks {
        if waiting == IN_FLIGHT {
            applied(answers.recv()?)?;
            waiting -= 1;
        }
        let answer = answer.clone();
        ledger.take_in(block, stamp, None, Box::new(move |outcome| drop(answer.send(outcome))))?;
        waiting += 1;
    }
    for _ in 0..waiting {
        applied(answers.recv()?)?;
    }
    let rate = Rate { lines: feed.lines, records: feed.records, time: begun.elapsed() };
    let commits = usize::try_from(commits.load(Ordering::Relaxed))?.max(1);
    Ok(Applied { rate, blocks_per_commit: feed.blocks.len().div_ceil(commits) })
}

/// Rows in the binary form of COPY.
struct Rows(Vec<u8>);

impl Rows {
    fn new() -> Self {
        Self(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec())
    }

    fn row(&mut self, columns: usize) {
        self.0.extend(i16::try_from(columns).unwrap_or(i16::MAX).to_be_bytes());
    }

    fn value(&mut self, bytes: &[u8]) {
        self.0.extend(i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.0.extend(bytes);
    }

    fn cell(&mut self, cell: &Cell) {
        match cell {
            Cell::Int(value) => self.value(&value.to_be_bytes()),
            Cell::Text(value) => self.value(value.as_bytes()),
            Cell::Bytes(value) => self.value(value),
            Cell::Bool(value) => self.value(&[u8::from(*value)]),
        }
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend((-1_i16).to_be_bytes());
        self.0
    }
}

fn store_of(row: &FoldRow) -> StoreId {
    match row.first() {
        Some(Cell::Int(store)) => StoreId(u32::try_from(*store).unwrap_or_default()),
        _ => StoreId(0),
    }
}

/// Statement and bytes of every COPY of one transaction.
fn copies(batch: &Batch, folds: bool) -> Vec<(String, Vec<u8>)> {
    let stores: std::collections::BTreeMap<i64, StoreId> =
        batch.heads.iter().map(|(number, log, ..)| (*number, log.store)).collect();
    let mut events = Rows::new();
    for (pos, record) in &batch.events {
        let store = stores.get(&position_parts(*pos).0).copied().unwrap_or(StoreId(0));
        events.row(3);
        events.value(&pos.to_be_bytes());
        events.value(&bucket_of(store).to_be_bytes());
        events.value(record);
    }
    let mut all =
        vec![("COPY event (pos, bucket, record) FROM STDIN (FORMAT binary)".to_owned(), events.end())];
    for (table, rows) in batch.folds.iter().filter(|_| folds) {
        let Some(described) = FOLD_TABLES.get(*table) else { continue };
        let columns: Vec<&str> =
            described.keys.iter().chain(described.values).map(|(name, _)| *name).collect();
        let (mut bytes, ticket) = (Rows::new(), *table == TICKET_TABLE);
        for row in rows {
            bytes.row(row.len() + usize::from(ticket));
            if ticket {
                bytes.value(&bucket_of(store_of(row)).to_be_bytes());
            }
            row.iter().for_each(|cell| bytes.cell(cell));
        }
        let (name, columns) = (described.name, columns.join(", "));
        let into =
            if ticket { format!("{name} (bucket, {columns})") } else { format!("bare_{name} ({columns})") };
        all.push((format!("COPY {into} FROM STDIN (FORMAT binary)"), bytes.end()));
    }
    all
}

async fn copy(client: &Client, sql: &str, bytes: &[u8]) -> Result<()> {
    let mut sink = pin!(client.copy_in::<_, bytes::Bytes>(sql).await?);
    for piece in bytes.chunks(PIECE) {
        sink.send(bytes::Bytes::copy_from_slice(piece)).await?;
    }
    sink.finish().await?;
    Ok(())
}

/// Copies prepared batches.
pub(crate) fn bare(url: &str, feed: &Feed, batches: &[Batch], folds: bool) -> Result<Rate> {
    // The ledger's own migrations make the tables.
    drop(open(url)?);
    let transactions: Vec<_> = batches.iter().map(|batch| copies(batch, folds)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connect")?;
        let driver = tokio::spawn(connection);
        for table in FOLD_TABLES.iter().filter(|table| table.name != "ticket") {
            client.batch_execute(&format!("CREATE TABLE bare_{0} (LIKE {0})", table.name)).await?;
        }
        let begun = Instant::now();
        for transaction in &transactions {
            client.batch_execute("BEGIN").await?;
            for (sql, bytes) in transaction {
                copy(&client, sql, bytes).await?;
            }
            client.batch_execute("COMMIT").await?;
        }
        let rate = Rate { lines: feed.lines, records: feed.records, time: begun.elapsed() };
        drop(client);
        driver.await??;
        Ok(rate)
    })
}

/// A server of our own.
pub(crate) fn server() -> Result<Server> {
    Ok(Server::start()?)
}
