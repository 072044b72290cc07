//! What stores write: the realistic workload as blocks, in the order in which HQ meets them.

use anyhow::{Context, Result};
use hil_workload::{Catalogue, Mix, Profile, Workload};
use sync_core::{BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Block, Link};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

/// Retailer of the catalogue; the shipped dictionary knows it.
const RETAILER: u64 = 1;
/// First seed; the dictionary was trained on seeds from 1,000 on.
const SEED: u64 = 40;

/// The tickets of one store from its first opening on.
pub(crate) fn tickets(store: u32, epoch: Epoch) -> Workload {
    let profile = Profile::REFERENCE;
    let catalogue = Catalogue::new(RETAILER, profile.articles);
    Workload::new(SEED + u64::from(store), catalogue, profile, Mix::Tickets, epoch)
}

/// Blocks of several stores.
pub(crate) struct Feed {
    /// In the order of arrival: stores take turns.
    pub(crate) blocks: Vec<Block>,
    /// Records, one a ticket.
    pub(crate) records: u64,
    /// Sale lines: the events that everything here is counted in.
    pub(crate) lines: u64,
}

impl Feed {
    /// At least `lines` sale lines of each of so many stores.
    pub(crate) fn new(stores: u32, lines: u64) -> Result<Self> {
        let mut queues = Vec::new();
        let (mut records, mut written) = (0, 0);
        for store in 1..=stores {
            let log = LogId { store: StoreId(store), direction: Direction::Up, epoch: Epoch(1_790_000_000) };
            let mut workload = tickets(store, log.epoch);
            let mut all = Vec::new();
            while workload.sale_lines() < lines {
                let event = workload.next().context("a workload has no end")?;
                all.push(event.to_record().context("a generated record")?);
            }
            records += u64::try_from(all.len())?;
            written += workload.sale_lines();
            queues.push(blocks(log, all).into_iter());
        }
        let mut blocks = Vec::new();
        loop {
            let before = blocks.len();
            blocks.extend(queues.iter_mut().filter_map(Iterator::next));
            if blocks.len() == before {
                return Ok(Self { blocks, records, lines: written });
            }
        }
    }

    /// Bytes of all records.
    pub(crate) fn record_bytes(&self) -> u64 {
        let bytes = self.blocks.iter().flat_map(|block| &block.records).map(Vec::len).sum::<usize>();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Cuts a log into blocks as large as a sender makes them.
fn blocks(log: LogId, records: Vec<Vec<u8>>) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut block = Block { log, first: Seq(1), prev: Link::genesis(log), records: Vec::new() };
    let mut bytes = 0;
    for record in records {
        if block.records.len() >= BLOCK_RECORDS_MAX || bytes + record.len() > BLOCK_BYTES_MAX {
            let next = Block { log, first: block.last().next(), prev: block.link(), records: Vec::new() };
            blocks.push(std::mem::replace(&mut block, next));
            bytes = 0;
        }
        bytes += record.len();
        block.records.push(record);
    }
    if !block.records.is_empty() {
        blocks.push(block);
    }
    blocks
}
