//! Sans-IO replica: chain, blocks, wire messages, sender and receiver decisions, postings.
//!
//! Purpose: every decision about settlement that needs no file, socket or clock. Time is an argument.
//!
//! Invariants
//! * A log is the records 1, 2, 3, … of one [`sync_model::LogId`]; [`Link`] n commits to records 1 to n and to the log's name.
//! * A [`Block`] holds consecutive records and the link before its first, so a receiver at that link can apply it alone.
//! * An [`Ack`] is cumulative: it says what the peer has durably, so losing, repeating or reordering acks is harmless.
//! * The [`Sender`] keeps no records: whatever is unacknowledged can be asked for again from the log.
//! * [`postings`] sum to zero per (sku, lot) and per currency, or there are none.
//!
//! Deliberately not here: SQL (`sync-store`), topics and connections (`sync-mqtt`).
#![no_std]

extern crate alloc;

mod chain;
mod plan;
mod posting;
pub mod replica;
mod sender;
mod wire;

pub use chain::{BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Block, BlockError, Link};
pub use plan::{Plan, plan};
pub use posting::{
    AMOUNT_MAX, MoneyAccount, MoneyPosting, PostingError, Postings, QUANTITY_MAX, StockAccount, StockPosting,
    postings, tax_contained,
};
pub use sender::{AckOutcome, LogStatus, SendRange, Sender, SenderConfig, SenderStatus};
pub use wire::{Ack, Hello, MESSAGE_BYTES_MAX, Message, Nak, WIRE_VERSION, WireError};
