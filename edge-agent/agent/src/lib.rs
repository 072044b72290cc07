//! The store daemon: configuration, supervision, wiring. Decisions are `edge-core`'s, storage is `sync-store`'s, bytes are
//! the drivers'; this crate connects them and serves tills and people.
//!
//! Map
//! * [`config`]: file, drop-ins, profiles, complaints with their place.
//! * [`daemon`]: what every part shares, start and stop.
//! * [`devices`]: device events -> decisions -> facts; one task, state per device.
//! * [`labels`]: what a shelf tag says and how it looks.
//! * [`prices`]: price book -> till prices and tag jobs, in the order that never cheats a customer.
//! * [`settle`]: ledger <-> MQTT; [`retention`]: what the ledger may forget; [`takeover`]: a
//!   replacement gateway.
//! * [`statements`]: a signed statement for every business day that is over.
//! * [`overrides`]: thresholds that people set -> the device loop.
//! * [`api`]: HTTP for tills (loopback) and people (Unix socket).
//! * [`program`]: the command line, and `edgectl` in the same binary.
//! * [`clock`], [`space`], [`notify`], [`listen`], [`logging`]: the machine around it.
//!
//! Contract: a fact is committed before anybody is told; no part waits for the network; every queue is bounded; a part that
//! fails says so in `status` and leaves the others alone.

pub mod api;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod devices;
pub mod doctor;
mod labels;
pub mod listen;
pub mod logging;
pub mod notify;
pub mod overrides;
pub mod prices;
pub mod program;
pub mod retention;
pub mod settle;
pub mod space;
pub mod statements;
pub mod takeover;
pub mod troubles;
