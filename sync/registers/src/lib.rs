//! Registers and sets that several writers really touch: the `crdts` crate behind a gate.
//!
//! Purpose: local overrides (thresholds, notes) and the device registry of one store, written by the store and by HQ.
//! Everything else in Steelyard has one writer and needs none of this.
//!
//! Why a gate: `crdts` 7.3.2 loses an operation that comes after a gap, for good; lets equal markers diverge; and counts
//! wrongly when an actor's name is used twice. `tests/traps.rs` shows each of the three without the gate, and with it.
//!
//! Contract
//! * An operation is named by a [`Dot`]: (actor, count), actor = (store, epoch), count dense per object. It passes
//!   [`Contiguity`] or it is not applied: duplicates are dropped, gaps and reused names are errors.
//! * A write that has seen another replaces it, whatever the clocks say. Among writes that have not seen each other the
//!   greatest [`Marker`] (hlc, actor, count) wins a [`Register`] read as one value; read as several, all are shown.
//! * State is a function of the set of operations applied, not of their order: two replicas with equal vectors are equal
//!   byte for byte in their serde form. That form is ours, not that of `crdts`, which is expected to change.
//! * Every pair of writes that were merged without one having seen the other is in [`Register::conflicts`], as long as
//!   both are among the last [`RUNS_MAX`] runs of their actors.
//!
//! Deliberately not here: `Map`, `List`, `GList`, `MerkleReg` of `crdts`, which do not converge or do not scale; counters,
//! which are folds over facts; where states are kept (`sync-store`).

mod clock;
mod gate;
mod history;
mod register;
mod registry;

pub use clock::{AHEAD_MS_MAX, Hlc, HlcClock, Witness};
pub use gate::{Actor, Admit, Contiguity, Digest, Dot, Gate, GateError};
pub use history::{Clock, History, Marker, RUNS_MAX, SEEN_MAX, Write};
pub use register::{Register, shorten};
pub use registry::{Change, Registry};
