//! Recomputing chain and folds from the records, and comparing them with what is stored: row by row, both directions.

use crate::reader::PostgresReader;
use crate::worker::{link_of, log_of};
use std::collections::{BTreeMap, BTreeSet};
use sync_core::Link;
use sync_model::{EventId, LogId, Seq, StoreId};
use sync_store::{
    Cell, FOLD_TABLES, Folder, LedgerError, SEAL_DISTANCE, TICKET_TABLE, VerifyReport, position,
    position_parts,
};

/// Records read at once.
const CHUNK: u64 = 5_000;

/// A log as its row says.
struct Log {
    number: i64,
    bucket: i16,
    head: Seq,
    link: Link,
}

/// Checks everything, store by store, in one snapshot.
pub(crate) fn verify(reader: &PostgresReader) -> Result<VerifyReport, LedgerError> {
    reader.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", &[])?;
    let checked = check(reader);
    let ended = reader.query("ROLLBACK", &[]);
    let report = checked?;
    ended?;
    Ok(report)
}

fn check(reader: &PostgresReader) -> Result<VerifyReport, LedgerError> {
    let mut report = VerifyReport::default();
    let mut stores: BTreeMap<StoreId, BTreeMap<LogId, Log>> = BTreeMap::new();
    for row in reader.query("SELECT store, direction, epoch, id, bucket, head, link FROM log", &[])? {
        let Some(log) = log_of(row.get(0), row.get(1), row.get(2)) else {
            report.add("chain-head", "a log has an impossible name");
            continue;
        };
        let head = Seq(row.get::<_, i64>(5).cast_unsigned());
        let entry = Log { number: row.get(3), bucket: row.get(4), head, link: link_of(row.get(6)) };
        stores.entry(log.store).or_default().insert(log, entry);
    }
    for (store, logs) in &stores {
        let mut folder = Folder::new();
        // Whose ticket number counts is decided by which fact came first, and only the table knows.
        let tickets = reader.fold_rows(TICKET_TABLE, *store)?;
        for row in &tickets {
            if folder.supply(TICKET_TABLE, row).is_none() {
                report.add("fold-ticket", format!("store {store}: a row has an impossible key"));
            }
        }
        for (log, entry) in logs {
            report.logs += 1;
            check_log(reader, *log, entry, &mut folder, &mut report)?;
        }
        folder.keep_job();
        compare(reader, *store, &folder, tickets.len(), &mut report)?;
    }
    strays(reader, &mut report)?;
    Ok(report)
}

fn check_log(
    reader: &PostgresReader,
    log: LogId,
    entry: &Log,
    folder: &mut Folder,
    report: &mut VerifyReport,
) -> Result<(), LedgerError> {
    let range = (position(entry.number, Seq::ZERO), position(entry.number, Seq(u64::MAX)));
    let sql = "SELECT pos, link FROM seal WHERE pos BETWEEN $1 AND $2";
    let rows = reader.query(sql, &[&range.0, &range.1])?;
    let mut seals: BTreeMap<Seq, Link> =
        rows.iter().map(|row| (position_parts(row.get(0)).1, link_of(row.get(1)))).collect();
    let (mut reached, mut link) = (Seq::ZERO, Link::genesis(log));
    loop {
        let records = reader.records(
            entry.bucket,
            entry.number,
            reached.next(),
            Seq(reached.0.saturating_add(CHUNK)),
        )?;
        if records.is_empty() {
            break;
        }
        for (seq, record) in records {
            if seq != reached.next() {
                report.add("chain-gap", format!("{log}: {reached} is followed by {seq}"));
            }
            link = link.next(log, seq, &record);
            reached = seq;
            report.events += 1;
            // A record that folds as nothing did so when it was stored, too.
            folder.fold(EventId { log, seq }, position(entry.number, seq), &record);
            if seq.0.is_multiple_of(SEAL_DISTANCE) {
                let stored = seals.remove(&seq);
                if stored != Some(link) {
                    let text = format!("{log} at {seq}: records hash to {link}, the seal says otherwise");
                    report.add("chain-link", text);
                    link = stored.unwrap_or(link);
                }
            }
        }
        // Rows that were asked for stay absent: verification starts from nothing.
        folder.missing();
    }
    let beyond = reader.query(
        "SELECT count(*) FROM event WHERE bucket = $1 AND pos > $2 AND pos <= $3",
        &[&entry.bucket, &position(entry.number, reached), &range.1],
    )?;
    let beyond: i64 = beyond.first().map_or(0, |row| row.get(0));
    if beyond > 0 {
        report.add("chain-gap", format!("{log}: {beyond} events lie beyond {reached} and a gap"));
    }
    if (reached, link) != (entry.head, entry.link) {
        let (head, stored) = (entry.head, entry.link);
        report.add(
            "chain-head",
            format!("{log} ends at {reached} with {link}, its row says {head} with {stored}"),
        );
    }
    for seq in seals.keys() {
        report.add("chain-link", format!("{log}: a seal at {seq} belongs to no record"));
    }
    Ok(())
}

/// Every fold row of a store against what its events say.
fn compare(
    reader: &PostgresReader,
    store: StoreId,
    folder: &Folder,
    tickets: usize,
    report: &mut VerifyReport,
) -> Result<(), LedgerError> {
    let expected: BTreeMap<usize, Vec<Vec<Cell>>> = folder.changes().into_iter().collect();
    for (table, described) in FOLD_TABLES.iter().enumerate() {
        let rows = expected.get(&table).cloned().unwrap_or_default();
        if table == TICKET_TABLE {
            // Known tickets are hits, not changes: a change is a sale whose row is missing.
            for row in rows {
                report.add(described.problem, format!("store {store}: row {row:?} is missing"));
            }
            let met = folder.ticket_hits();
            if u64::try_from(tickets) != Ok(met) {
                let text = format!("store {store}: {tickets} rows, {met} of them name the event that counts");
                report.add(described.problem, text);
            }
            continue;
        }
        let expected: BTreeSet<Vec<Cell>> = rows.into_iter().collect();
        let found: BTreeSet<Vec<Cell>> = reader.fold_rows(table, store)?.into_iter().collect();
        for row in expected.difference(&found) {
            report.add(described.problem, format!("store {store}: events say {row:?}, no such row"));
        }
        for row in found.difference(&expected) {
            report.add(described.problem, format!("store {store}: no event says {row:?}"));
        }
    }
    Ok(())
}

/// Rows that belong to no log.
fn strays(reader: &PostgresReader, report: &mut VerifyReport) -> Result<(), LedgerError> {
    for table in &FOLD_TABLES {
        let sql = format!("SELECT count(*) FROM {} WHERE store NOT IN (SELECT store FROM log)", table.name);
        let rows: i64 = reader.query(&sql, &[])?.first().map_or(0, |row| row.get(0));
        if rows > 0 {
            report.add(table.problem, format!("{rows} rows of stores without a log"));
        }
    }
    for table in ["event", "seal"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE (pos >> 40) NOT IN (SELECT id FROM log)");
        let rows: i64 = reader.query(&sql, &[])?.first().map_or(0, |row| row.get(0));
        if rows > 0 {
            report.add("chain-gap", format!("{rows} {table} rows of no log"));
        }
    }
    Ok(())
}
