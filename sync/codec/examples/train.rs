//! Trains dictionary number 1: `cargo run -p sync-codec --features train --example train -- FILE`.
//!
//! The examples are stores of one retailer (catalogue 1) with seeds from 1,000 on; measurements use other seeds.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program speaks on its standard streams"
)]

use hil_workload::{Catalogue, Mix, Profile, Workload};
use std::process::ExitCode;
use sync_core::{Block, Link};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

fn blocks(seed: u64, profile: Profile, mix: Mix, count: u32, records: usize) -> Vec<Block> {
    let log = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) };
    let catalogue = Catalogue::new(1, profile.articles);
    let mut workload = Workload::new(seed, catalogue, profile, mix, log.epoch);
    let mut first = Seq(1);
    (0..count)
        .map(|_| {
            let records: Vec<Vec<u8>> =
                workload.by_ref().take(records).filter_map(|event| event.to_record().ok()).collect();
            let block = Block { log, first, prev: Link::genesis(log), records };
            first = block.last().next();
            block
        })
        .collect()
}

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("error: name the file to write");
        return ExitCode::FAILURE;
    };
    let mut examples = Vec::new();
    for seed in 1_000..1_004 {
        // The whole store from its first opening on: nights teach nothing.
        examples.extend(blocks(seed, Profile::SMALL, Mix::Store, 60, 512));
        examples.extend(blocks(seed, Profile::REFERENCE, Mix::Tickets, 24, 512));
    }
    let file = sync_codec::train(1, &examples);
    println!("{} blocks, {} bytes", examples.len(), file.len());
    match std::fs::write(&path, file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}
