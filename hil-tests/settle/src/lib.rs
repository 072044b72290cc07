//! Settlement with real parts: mosquitto, PostgreSQL or SQLite, three stores, HQ's workers, networks that can be cut, and
//! `kill -9` of everything in turn.
//!
//! Index
//! * [`campaign`] — one run from an empty folder to its verdict
//! * `fleet` — the programs and networks; `fault` — what is done to them, and when
//! * `shop` — who trades in the stores; `books` — what they were promised
//! * `stranger` — who disturbs the broker with what is not true, not whole or not his
//! * `oracle` — what must hold at the end; `ledger` — reading the files and databases
//!
//! Contract: the books know only answers; the oracles read the ledgers with the product's readers and compare them with the
//! books and with each other. The order of faults follows the seed, the interleaving of real programs does not.

pub mod campaign;

mod books;
mod fault;
mod fleet;
mod ledger;
mod oracle;
mod shop;
mod stranger;

pub use campaign::{Options, Report};
pub use fleet::Engine;
