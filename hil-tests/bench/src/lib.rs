//! Benchmarks of the house: each measures its bare baseline in the same run, on the same disk, in turns.
//!
//! Purpose: [`ledger`] (durable commits against a bare SQLite insert), [`codec`] (packed blocks against gzip-JSON), [`sync`]
//! (settlement end to end: bytes, rates, catch-up, memory), [`poll`] (182 Modbus units, some of them mute), [`tags`] (plan and
//! pictures of changed prices, simulated radio), [`telemetry`] (compressed series against plain rows).
//!
//! Contract: absolute numbers belong to the machine and say on which one and with which profile they were taken; ratios
//! are the results. Nothing is measured on other code than what runs in production.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "benchmarks speak to whoever runs them on the command line"
)]

pub mod codec;
pub mod ledger;
pub mod poll;
pub mod sync;
pub mod tags;
pub mod telemetry;
