//! Writing a planned batch: one transaction, fence first.

use crate::batch::{State, Wants};
use crate::copy::CopyRows;
use crate::job::Evidence;
use crate::lease::{Held, bucket_of};
use crate::session::{STAGE_WIDTH, Session, stage_columns};
use crate::worker::link_of;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::Link;
use sync_model::{Seq, StoreId, Text};
use sync_store::{Cell, Column, FOLD_TABLES, FoldRow, LedgerError, TICKET_TABLE};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};

/// Key of the advisory lock on the pool of rights: "SYPO".
const POOL_LOCK: i64 = 0x5359_504f;
/// Raw bytes kept of one quarantined message.
const RAW_BYTES_MAX: usize = 64 * 1024;
/// Entries of the quarantine.
const QUARANTINE_ROWS_MAX: i64 = 1_000;
/// Raw bytes of the quarantine.
const QUARANTINE_BYTES_MAX: i64 = 16 * 1024 * 1024;

/// Why a batch is not committed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A bucket's token is not ours any more, or a log's end is not where we left it: another worker wrote.
    Fenced(String),
    /// The ledger's own rules.
    Ledger(LedgerError),
    /// Letters that were taken away again before they were answered.
    Withdrawn(BTreeSet<i64>),
    /// No answer in time: what became of the transaction is not known.
    Silent,
    /// The server, or the way to it.
    Server(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Server(error)
    }
}

/// Fetches what planning needs beforehand.
pub(crate) async fn fetch_wants(session: &Session, wants: &Wants, state: &mut State) -> Result<(), Error> {
    if wants.numbers > 0 {
        let count = i64::try_from(wants.numbers).unwrap_or(i64::MAX);
        let sql = "SELECT nextval('log_number') FROM generate_series(1, $1::bigint)";
        let rows = session.client.query(sql, &[&count]).await?;
        state.numbers.extend(rows.iter().map(|row| row.get::<_, i64>(0)));
    }
    state.stored.clear();
    state.stored_links.clear();
    if !wants.seals.is_empty() {
        let sql = "SELECT pos, link FROM seal WHERE pos = ANY($1)";
        for row in session.client.query(sql, &[&wants.seals]).await? {
            state.stored_links.insert(row.get(0), link_of(row.get(1)));
        }
    }
    fetch_rights(session, wants, state).await?;
    if !wants.overlaps.is_empty() {
        let buckets: Vec<i16> = wants.overlaps.iter().map(|(bucket, ..)| *bucket).collect();
        let low: Vec<i64> = wants.overlaps.iter().map(|(_, low, _)| *low).collect();
        let high: Vec<i64> = wants.overlaps.iter().map(|(.., high)| *high).collect();
        for row in session.client.query(&session.overlap, &[&buckets, &low, &high]).await? {
            state.stored.insert(row.get(0), row.get(1));
        }
    }
    Ok(())
}

/// The pool is what all stores left over, and several workers draw on it: from here to the end of the transaction, one
/// at a time.
async fn fetch_rights(session: &Session, wants: &Wants, state: &mut State) -> Result<(), Error> {
    state.pools.clear();
    state.rights.clear();
    if !wants.pools.is_empty() {
        session.client.execute("SELECT pg_advisory_xact_lock($1)", &[&POOL_LOCK]).await?;
    }
    for sku in &wants.pools {
        let (from, upto) = sync_store::rights_keys(*sku);
        let sql = "SELECT store, key, body FROM item WHERE class = $1 AND key >= $2 AND key < $3";
        let keys: (i64, &[u8], &[u8]) = (sync_store::rights_class(), &from, &upto);
        let rows = session.client.query(sql, &[&keys.0, &keys.1, &keys.2]).await?;
        let row = |row: &Row| {
            let store = StoreId(u32::try_from(row.get::<_, i64>(0)).ok()?);
            Some((store, row.get(1), row.get(2)))
        };
        state.pools.insert(*sku, rows.iter().filter_map(row).collect());
    }
    for store in &wants.fences {
        let sql = "SELECT key FROM item WHERE store = $1 AND class = $2";
        let rows = session.client.query(sql, &[&i64::from(store.0), &sync_store::rights_class()]).await?;
        state.rights.insert(*store, rows.iter().map(|row| row.get(0)).collect());
    }
    Ok(())
}

/// One array per key column, in the order of the fetching statement.
fn key_arrays(table: usize, keys: &[FoldRow]) -> Vec<Box<dyn ToSql + Sync + Send>> {
    let mut arrays: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
    let Some(described) = FOLD_TABLES.get(table) else { return arrays };
    let cells = |at: usize| keys.iter().filter_map(move |key| key.get(at));
    if table == TICKET_TABLE {
        let buckets: Vec<i16> = keys.iter().map(|key| bucket_of(store_cell(key))).collect();
        arrays.push(Box::new(buckets));
    }
    for (at, (_, column)) in described.keys.iter().enumerate() {
        match column {
            Column::Int => arrays.push(Box::new(
                cells(at)
                    .filter_map(|cell| if let Cell::Int(value) = cell { Some(*value) } else { None })
                    .collect::<Vec<i64>>(),
            )),
            Column::Text => arrays.push(Box::new(
                cells(at)
                    .filter_map(|cell| if let Cell::Text(value) = cell { Some(value.clone()) } else { None })
                    .collect::<Vec<String>>(),
            )),
            Column::Bytes => arrays.push(Box::new(
                cells(at)
                    .filter_map(|cell| if let Cell::Bytes(value) = cell { Some(value.clone()) } else { None })
                    .collect::<Vec<Vec<u8>>>(),
            )),
            Column::Bool => arrays.push(Box::new(
                cells(at)
                    .filter_map(|cell| if let Cell::Bool(value) = cell { Some(*value) } else { None })
                    .collect::<Vec<bool>>(),
            )),
        }
    }
    arrays
}

/// The store of a fold row.
fn store_cell(row: &[Cell]) -> StoreId {
    match row.first() {
        Some(Cell::Int(store)) => StoreId(u32::try_from(*store).unwrap_or_default()),
        _ => StoreId(0),
    }
}

/// A row of a fold table as cells.
pub(crate) fn fold_row(table: usize, row: &Row) -> Result<FoldRow, Error> {
    let Some(described) = FOLD_TABLES.get(table) else { return Ok(FoldRow::new()) };
    described
        .keys
        .iter()
        .chain(described.values)
        .enumerate()
        .map(|(at, (_, column))| {
            Ok(match column {
                Column::Int => Cell::Int(row.try_get(at)?),
                Column::Text => Cell::Text(row.try_get(at)?),
                Column::Bytes => Cell::Bytes(row.try_get(at)?),
                Column::Bool => Cell::Bool(row.try_get(at)?),
            })
        })
        .collect()
}

/// Looks up the fold rows that planning missed. Answers whether any of them exists, so that the plan is void.
pub(crate) async fn fetch_missing(session: &Session, state: &mut State) -> Result<bool, Error> {
    // A till's tickets are asked for by their highest number, once; only numbers below it are looked up one by one.
    let tills = state.folder.missing_tills();
    let mut found = !tills.is_empty();
    if found {
        let buckets: Vec<i16> = tills.iter().map(|(store, ..)| bucket_of(*store)).collect();
        let stores: Vec<i64> = tills.iter().map(|(store, ..)| i64::from(store.0)).collect();
        let forms: Vec<i64> = tills.iter().map(|(_, form, _)| i64::from(*form)).collect();
        let numbers: Vec<i64> = tills.iter().map(|(.., till)| i64::from(till.0)).collect();
        let rows = session.client.query(&session.tills, &[&buckets, &stores, &forms, &numbers]).await?;
        for (till, row) in tills.iter().zip(&rows) {
            state.folder.supply_till(*till, row.get(0));
        }
    }
    for (table, keys) in state.folder.missing() {
        let Some(statements) = session.tables.get(table) else { continue };
        let arrays = key_arrays(table, &keys);
        let params: Vec<&(dyn ToSql + Sync)> =
            arrays.iter().map(|array| &**array as &(dyn ToSql + Sync)).collect();
        for row in session.client.query(&statements.fetch, &params).await? {
            let cells = fold_row(table, &row)?;
            found |= state.folder.supply(table, &cells).is_some();
        }
    }
    Ok(found)
}

/// Writes the batch in the session's transaction and commits it.
pub(crate) async fn commit(session: &Session, state: &State, held: &Held) -> Result<(), Failure> {
    let Session { client, copy_events, copy_tickets, copy_stage, seals, arrivals, tables, .. } = session;
    let transaction = client;
    let written: BTreeSet<i16> = state.batch_heads.keys().map(|log| bucket_of(log.store)).collect();
    check_fence(session, &written, held).await?;
    write_logs(session, state).await?;
    let writes = &state.writes;
    let mut events = CopyRows::new();
    for (pos, bucket, record) in &writes.events {
        events.row(3);
        events.int(*pos);
        events.small(*bucket);
        events.slice(record.bytes());
    }
    events.send(transaction, copy_events).await?;
    if !writes.seals.is_empty() {
        let (pos, links): (Vec<i64>, Vec<Vec<u8>>) =
            writes.seals.iter().map(|(pos, link)| (*pos, link.0.to_vec())).unzip();
        transaction.execute(seals, &[&pos, &links]).await?;
    }
    if !writes.arrivals.is_empty() {
        let (pos, at): (Vec<i64>, Vec<i64>) = writes.arrivals.iter().map(|(pos, at)| (*pos, at.0)).unzip();
        transaction.execute(arrivals, &[&pos, &at]).await?;
    }
    let changes = state.folder.changes();
    let (tickets, staged) = encode_folds(&changes);
    tickets.send(transaction, copy_tickets).await?;
    staged.send(transaction, copy_stage).await?;
    for (table, _) in &changes {
        if let Some(apply) = tables.get(*table).and_then(|statements| statements.apply.as_ref()) {
            transaction.execute(apply, &[]).await?;
        }
    }
    write_quarantine(transaction, &writes.quarantine).await?;
    write_signed(session, &writes.signed).await?;
    write_letters(session, &writes.letters).await?;
    if writes.probe {
        let fill = "INSERT INTO probe SELECT decode(repeat('5a', 4096), 'hex') FROM generate_series(1, 8)";
        transaction.batch_execute(&format!("{fill}; DELETE FROM probe")).await?;
    }
    transaction.batch_execute("COMMIT").await?;
    Ok(())
}

/// Of several signatures of one log the one furthest on.
async fn write_signed(session: &Session, signed: &[(i64, Seq, Link, [u8; 64])]) -> Result<(), Error> {
    let newest: BTreeMap<i64, &(i64, Seq, Link, [u8; 64])> = signed.iter().map(|row| (row.0, row)).collect();
    if newest.is_empty() {
        return Ok(());
    }
    let logs: Vec<i64> = newest.keys().copied().collect();
    let seqs: Vec<i64> = newest.values().map(|row| row.1.0.cast_signed()).collect();
    let links: Vec<Vec<u8>> = newest.values().map(|row| row.2.0.to_vec()).collect();
    let signatures: Vec<Vec<u8>> = newest.values().map(|row| row.3.to_vec()).collect();
    session.client.execute(&session.signed, &[&logs, &seqs, &links, &signatures]).await.map(|_| ())
}

async fn write_letters(session: &Session, letters: &[(i64, Vec<u8>)]) -> Result<(), Failure> {
    if letters.is_empty() {
        return Ok(());
    }
    let (ids, answers): (Vec<i64>, Vec<&[u8]>) =
        letters.iter().map(|(id, answer)| (*id, &answer[..])).unzip();
    let rows = session.client.query(&session.letters, &[&ids, &answers]).await?;
    let answered: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let gone: BTreeSet<i64> = ids.into_iter().filter(|id| !answered.contains(id)).collect();
    if gone.is_empty() { Ok(()) } else { Err(Failure::Withdrawn(gone)) }
}

/// Holds the lease rows of the buckets that are written, with our tokens, until the transaction ends.
pub(crate) async fn check_fence(
    session: &Session,
    written: &BTreeSet<i16>,
    held: &Held,
) -> Result<(), Failure> {
    if written.is_empty() {
        return Ok(());
    }
    let buckets: Vec<i16> = written.iter().copied().collect();
    let tokens: Vec<i64> = buckets.iter().map(|bucket| held.get(bucket).copied().unwrap_or(-1)).collect();
    let rows = session.client.query(&session.fence, &[&buckets, &tokens]).await?;
    let ours: BTreeSet<i16> = rows.iter().map(|row| row.get(0)).collect();
    let lost: Vec<i16> = written.difference(&ours).copied().collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(Failure::Fenced(format!("another worker took the lease of buckets {lost:?}")))
    }
}

/// New logs, and ends of all logs the batch touched, each by compare-and-set.
async fn write_logs(session: &Session, state: &State) -> Result<(), Failure> {
    if state.batch_heads.is_empty() {
        return Ok(());
    }
    let new: Vec<_> = state.batch_heads.iter().filter(|(log, _)| !state.heads.contains_key(log)).collect();
    if !new.is_empty() {
        let ids: Vec<i64> = new.iter().map(|(_, entry)| entry.number).collect();
        let buckets: Vec<i16> = new.iter().map(|(log, _)| bucket_of(log.store)).collect();
        let stores: Vec<i64> = new.iter().map(|(log, _)| i64::from(log.store.0)).collect();
        let directions: Vec<i64> = new.iter().map(|(log, _)| i64::from(log.direction.code())).collect();
        let epochs: Vec<i64> = new.iter().map(|(log, _)| i64::from(log.epoch.0)).collect();
        let links: Vec<Vec<u8>> = new.iter().map(|(log, _)| Link::genesis(**log).0.to_vec()).collect();
        session
            .client
            .execute(&session.new_logs, &[&ids, &buckets, &stores, &directions, &epochs, &links])
            .await?;
    }
    let entries: Vec<_> = state.batch_heads.iter().collect();
    let ids: Vec<i64> = entries.iter().map(|(_, entry)| entry.number).collect();
    let was: Vec<i64> = entries
        .iter()
        .map(|(log, _)| state.heads.get(log).map_or(0, |entry| entry.head.0.cast_signed()))
        .collect();
    let heads: Vec<i64> = entries.iter().map(|(_, entry)| entry.head.0.cast_signed()).collect();
    let links: Vec<Vec<u8>> = entries.iter().map(|(_, entry)| entry.link.0.to_vec()).collect();
    let closed: Vec<bool> = entries.iter().map(|(_, entry)| entry.closed).collect();
    let acked: Vec<i64> = entries.iter().map(|(_, entry)| entry.acked.0.cast_signed()).collect();
    let acked_links: Vec<Option<Vec<u8>>> =
        entries.iter().map(|(_, entry)| entry.acked_link.map(|link| link.0.to_vec())).collect();
    let moved = session
        .client
        .execute(&session.move_logs, &[&ids, &was, &heads, &links, &closed, &acked, &acked_links])
        .await?;
    if usize::try_from(moved) == Ok(entries.len()) {
        Ok(())
    } else {
        Err(Failure::Fenced(format!("{moved} of {} logs are where this worker left them", entries.len())))
    }
}

/// Changed fold rows: tickets for their partitions, everything else for the staging table.
fn encode_folds(changes: &[(usize, Vec<FoldRow>)]) -> (CopyRows, CopyRows) {
    let (mut tickets, mut staged) = (CopyRows::new(), CopyRows::new());
    for (table, rows) in changes {
        if *table == TICKET_TABLE {
            for row in rows {
                tickets.row(6);
                tickets.small(bucket_of(store_cell(row)));
                row.iter().for_each(|cell| tickets.cell(cell));
            }
            continue;
        }
        let Some(described) = FOLD_TABLES.get(*table) else { continue };
        let places = stage_columns(described);
        for row in rows {
            staged.row(STAGE_WIDTH);
            staged.small(i16::try_from(*table).unwrap_or(i16::MAX));
            for place in 0..usize::from(STAGE_WIDTH.unsigned_abs()) - 1 {
                match places.iter().position(|at| *at == place).and_then(|at| row.get(at)) {
                    Some(cell) => staged.cell(cell),
                    None => staged.null(),
                }
            }
        }
    }
    (tickets, staged)
}

fn digest(source: &str, code: &str, raw: &[u8]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("steelyard 2026 quarantine entry 1");
    for part in [source.as_bytes(), b"\0", code.as_bytes(), b"\0", raw] {
        hasher.update(part);
    }
    let mut digest = vec![0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// PostgreSQL's text holds no zero characters.
fn plain<const N: usize>(text: &str) -> Text<N> {
    Text::lossy(&text.replace('\0', "\u{fffd}"))
}

async fn write_quarantine(transaction: &Client, entries: &[Evidence]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    for entry in entries {
        let (source, code, detail): (Text<120>, Text<32>, Text<240>) =
            (plain(&entry.source), plain(&entry.code), plain(&entry.detail));
        let digest = digest(source.as_str(), code.as_str(), &entry.raw);
        let raw = entry.raw.get(..RAW_BYTES_MAX).unwrap_or(&entry.raw);
        let bytes = i64::try_from(raw.len()).unwrap_or(i64::MAX);
        let sql = "INSERT INTO quarantine (digest, received, times, source, code, detail, bytes, raw)
            VALUES ($1, $2, 1, $3, $4, $5, $6, $7)
            ON CONFLICT (digest) DO UPDATE SET times = quarantine.times + 1, received = excluded.received";
        let (source, code, detail) = (source.as_str(), code.as_str(), detail.as_str());
        transaction
            .execute(sql, &[&digest, &entry.received.0, &source, &code, &detail, &bytes, &raw])
            .await?;
    }
    let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
    let total = "UPDATE counter SET value = value + $1 WHERE name = 'quarantine-total'";
    transaction.execute(total, &[&count]).await?;
    let evict = "DELETE FROM quarantine WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id DESC) AS n,
        sum(bytes) OVER (ORDER BY id DESC) AS b FROM quarantine) AS q WHERE n > $1 OR b > $2::bigint)";
    let gone = transaction.execute(evict, &[&QUARANTINE_ROWS_MAX, &QUARANTINE_BYTES_MAX]).await?;
    if gone > 0 {
        let gone = i64::try_from(gone).unwrap_or(i64::MAX);
        let evicted = "UPDATE counter SET value = value + $1 WHERE name = 'quarantine-evicted'";
        transaction.execute(evicted, &[&gone]).await?;
    }
    Ok(())
}

/// The error that jobs of a fenced batch get.
pub(crate) fn fenced(reason: &str) -> LedgerError {
    LedgerError::Elsewhere { detail: format!("fenced: {reason}") }
}
