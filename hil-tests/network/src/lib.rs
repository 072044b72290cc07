//! The network rig: what becomes of a store that trades while its network fails.
//!
//! Purpose: the real agent, HQ and mosquitto, each in a network namespace of its own, joined by virtual cables that are cut,
//! made deaf in one direction, slowed and made lossy; and, without namespaces, a proxy that cuts and stalls, and a clock that
//! jumps by a year. Index:
//! * [`space`] — namespaces and cables
//! * [`shop`] — the programs, a till that sells, and what must hold afterwards
//!
//! Contract
//! * The till sells all the time, and every ticket is answered: trading never waits for the network.
//! * When the network is whole again, everything reaches HQ within the bound of the trial; then every answered ticket is at
//!   HQ exactly once, HQ's money and stock equal the store's and the till's own sums, and both ledgers verify.
//! * Where namespaces are not allowed a trial is skipped with the reason.

mod shop;
mod space;
mod trials;

pub use trials::{faketime_is_there, suite};
