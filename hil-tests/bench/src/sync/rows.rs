//! The rows that each transaction of a bare insert writes: computed beforehand with the same folds.

use super::feed::Feed;
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use sync_core::Link;
use sync_model::{EventId, LogId, Seq};
use sync_store::{FOLD_TABLES, FoldRow, Folder, SEAL_DISTANCE, position};

/// Rows of one transaction.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) events: Vec<(i64, Vec<u8>)>,
    pub(crate) seals: Vec<(i64, [u8; 32])>,
    pub(crate) arrivals: Vec<i64>,
    pub(crate) heads: Vec<(i64, LogId, i64, [u8; 32])>,
    pub(crate) folds: Vec<(usize, Vec<FoldRow>)>,
}

/// Cuts a feed into transactions of so many blocks.
pub(crate) fn batches(feed: &Feed, blocks: usize) -> Result<Vec<Batch>> {
    let mut stored: BTreeMap<(usize, FoldRow), FoldRow> = BTreeMap::new();
    let mut logs: BTreeMap<LogId, (i64, Seq, Link)> = BTreeMap::new();
    let mut folder = Folder::new();
    let mut batches = Vec::new();
    for part in feed.blocks.chunks(blocks.max(1)) {
        let mut batch = loop {
            let mut batch = Batch::default();
            let mut moved = BTreeMap::new();
            for block in part {
                let next = i64::try_from(logs.len() + moved.len())? + 1;
                let known = moved.get(&block.log).or_else(|| logs.get(&block.log)).copied();
                let (number, head, link) = known.unwrap_or((next, Seq::ZERO, Link::genesis(block.log)));
                let reached = push(&mut batch, &mut folder, (number, head, link), block)?;
                moved.insert(block.log, reached);
            }
            folder.keep_job();
            if !supply(&mut folder, &stored) {
                batch.heads = moved
                    .iter()
                    .map(|(log, (number, head, link))| Ok((*number, *log, i64::try_from(head.0)?, link.0)))
                    .collect::<Result<_>>()?;
                logs.extend(moved);
                break batch;
            }
            folder.drop_batch();
        };
        batch.folds = folder.changes();
        for (table, rows) in &batch.folds {
            let keys = FOLD_TABLES.get(*table).map_or(0, |table| table.keys.len());
            stored.extend(
                rows.iter().map(|row| ((*table, row.iter().take(keys).cloned().collect()), row.clone())),
            );
        }
        folder.keep_batch();
        batches.push(batch);
    }
    Ok(batches)
}

/// Gives the folder what it asked for and is there. `true`: the batch has to be folded again.
fn supply(folder: &mut Folder, stored: &BTreeMap<(usize, FoldRow), FoldRow>) -> bool {
    let mut found = false;
    for (table, keys) in folder.missing() {
        for key in keys {
            if let Some(row) = stored.get(&(table, key)) {
                found |= folder.supply(table, row).is_some();
            }
        }
    }
    found
}

fn push(
    batch: &mut Batch,
    folder: &mut Folder,
    (number, mut head, mut link): (i64, Seq, Link),
    block: &sync_core::Block,
) -> Result<(i64, Seq, Link)> {
    batch.arrivals.push(position(number, head.next()));
    for record in &block.records {
        head = head.next();
        let pos = position(number, head);
        let odd = folder.fold(EventId { log: block.log, seq: head }, pos, record);
        ensure!(odd.is_none(), "a generated record folds as nothing: {odd:?}");
        link = link.next(block.log, head, record);
        batch.events.push((pos, record.clone()));
        if head.0.is_multiple_of(SEAL_DISTANCE) {
            batch.seals.push((pos, link.0));
        }
    }
    Ok((number, head, link))
}
