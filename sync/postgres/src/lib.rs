//! HQ's ledger on PostgreSQL: the events and folds of sync-store, partitioned by bucket, written by any number of workers.
//!
//! Purpose: the same promises as the SQLite ledger (exactly once, in order, folds in the same transaction, acknowledged means
//! durable) on a server that people already run, with several workers and the take-over of a dead one's work.
//!
//! Contract
//! * A reply comes after the commit of the transaction that holds the job, with `synchronous_commit = on`; a server with
//!   `fsync = off` is refused.
//! * A bucket (store modulo 64) has one owner. Every transaction checks the tokens of all buckets it writes and holds them
//!   shared until it ends: a worker whose lease was taken can not commit, however long it was paused. See [`lease`].
//! * Folds are computed by sync-store's code ([`sync_store::Folder`]) from rows that only the owner writes, and written back
//!   as sets. Nothing is recomputed in SQL, so both ledgers have the same folds by construction.
//! * After any doubt (lost connection, lost lease, a failed commit) everything in memory is read again.
//! * Queue, batch, quarantine and read pool are bounded.
//!
//! Main road: [`Postgres`] queues a job -> the worker thread plans a batch (`batch`) over what it knows, fetching fold rows by
//! key -> one transaction (`apply`): fence, log ends by compare-and-set, binary COPY of events and tickets, binary COPY of
//! fold rows into staging and one upsert per table -> commit -> replies.
//!
//! Deviation from "COPY into staging" with its reason: event and ticket rows are only ever added, and the fence and the
//! compare-and-set of the log's end make them new, so they are copied straight into their partitions; staging them would
//! write every record twice. Rows that change (balances, items) go through staging.
//!
//! Deliberately not here: MQTT, HTTP, when to send what. TLS to the server: connections are plain, so the server stands on
//! the same host, a private network or behind a tunnel.

mod apply;
mod batch;
mod copy;
mod error;
mod inbox;
mod job;
mod lease;
mod ledger;
mod mail;
mod reader;
mod recall;
mod schema;
mod session;
mod verify;
mod worker;

pub use job::{Check, Evidence, Order, Reply};
pub use lease::{BUCKETS, bucket_of};
pub use ledger::{Postgres, PostgresConfig};
pub use reader::{LeaseRow, PostgresReader};
pub use schema::SCHEMA;
