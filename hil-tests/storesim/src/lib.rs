//! Stores, a broker and HQ under one seed and virtual time, with the real replica, hub, ledger and folds.
//!
//! Purpose: look for runs in which something that was answered is lost, counts twice, or leaves the two sides apart.
//!
//! * `script`: what happens from outside, from a seed or a file. `world`: clock, queue, network. `broker`: retained
//!   messages, sessions, bounded queues. `disk`: files and what power cuts and bit rot do to them.
//! * `gateway`, `headquarters`: drivers of `Replica` and `Hub`, one effect per turn, so that a crash can fall between any
//!   two. They mirror `edge-agent`'s settlement task and `sync-hq`'s engine.
//! * `trade`, `faults`: what the steps do. `book`: what was answered and what was physically destroyed. `oracle`: what must
//!   hold at every ack and promise, and at rest.
//! * `planted`: bugs of drivers that the oracles must find. `shrink`: the least script that still fails. `campaign`: many
//!   seeds.
//!
//! A fact is excused only when a fault took its last copy, and then by name: before and after every fault the records of
//! all ledgers are compared.

pub mod book;
pub mod broker;
pub mod campaign;
pub mod cli;
pub mod disk;
mod faults;
pub mod gateway;
pub mod headquarters;
mod oracle;
pub mod planted;
pub mod random;
pub mod script;
pub mod shrink;
mod trade;
pub mod world;
