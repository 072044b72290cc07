//! The store day: real programs, real transports, simulated devices, a script that keeps its own books, and an oracle.
//!
//! Index
//! * [`day`] — one scripted day and its verdict; [`interactive`] — the same store until Ctrl-C
//! * [`chaos()`] — cables pulled one after the other, and what the store must say; [`interactive_chaos`] — for a person to watch
//! * [`store()`] — a whole store of a given size, measured
//! * [`crash`] — SIGKILL of the agent at random instants under till load
//! * `stage` — everything started; `layout`, `catalogue` — what the store is; `programs` — the real programs
//! * `tills`, `customers`, `cold`, `kitchen`, `shelf`, `office` — who acts in it
//! * `faults` — what is cut and killed; `books` — what the script knows; `oracle` — what must agree with it
//!
//! Contract: the script knows only answers and what its far ends saw; it uses no code of the product for its books. A day is
//! ok only when everything promised is in the store and at HQ exactly once and every fold agrees.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "progress and verdict of a command line tool")]

pub mod crash;

mod books;
mod catalogue;
mod chaos;
mod cold;
mod customers;
mod day;
mod faults;
mod kitchen;
mod layout;
mod office;
mod oracle;
pub mod posting;
mod programs;
mod shelf;
mod stage;
mod store;
mod tills;

pub use chaos::{chaos, interactive_chaos};
pub use day::{day, interactive};
pub use hil_rig::random;
pub use store::{Size, StoreOptions, store};

use std::path::PathBuf;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The day.
    pub seed: u64,
    /// Only the closing JSON line on standard output.
    pub json: bool,
    /// Quiet lines and patient devices: whatever is not well was pulled.
    pub quiet: bool,
    /// Folder with the programs under test.
    pub programs: PathBuf,
    /// Folder with the device profiles.
    pub profiles: PathBuf,
}
