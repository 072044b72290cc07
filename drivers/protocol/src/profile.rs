//! Device profiles: a register device described by data, so that a new controller is a file and not a driver.
//!
//! A profile says how a device is wired and recognised, where each value lies, how raw words become thousandths of a unit,
//! which raw values are faults, what is physically possible, which raw states mean which cabinet state, which bits are the
//! device's own alarms, what may be written, and how often what is read. It names its `source` and carries worked examples,
//! which [`Profile::check`] runs: a profile that contradicts its own examples is refused.
//!
//! # The file
//! | Table | What it says |
//! |---|---|
//! | top | `name`, `class`, `source`, `notes` (what the source leaves open), `absent`, `address_offset`, `merge`, `slow_every`, `write_multiple`, `broadcast_writes` |
//! | `[transport]` | wires, rates, parity, stop bits, answer time, turnaround, as far as the source says ([`Transport`]) |
//! | `[[match]]` | addresses and words that recognise the device ([`Match`]) |
//! | `[[register]]` | one value: table, address, type, word order, bits, scale, decimals, physical range, fault values, poll class, write limits ([`Register`]) |
//! | `[[state]]` | raw value to cabinet state, first row that fits ([`StateRule`]) |
//! | `[[require]]` | what must hold before a temperature is believed ([`Requirement`]) |
//! | `[[alarm]]` | the device's own alarm bits ([`Alarm`]) |
//! | `[[command]]` | run, stop, defrost; a masked bit only where the word last read allows it ([`CommandRule`]) |
//! | `[[example]]` | words or whole RTU frames, and what they mean ([`Example`]) |
//! | `[[write_example]]` | set-points and commands, and the frames that must come out ([`WriteExample`]) |
//!
//! Overlapping, missing and impossible entries are refused by [`Profile::review`], which says in which entry; the host's
//! loader makes file and line of that. `configs/devices/README.md` explains the fields to whoever writes a profile.
//!
//! Contract: a value outside its physical range, equal to a fault value, or of a device that is set up otherwise than
//! required is never delivered as a reading; it stays as evidence in its [`ValueFault`].
//!
//! Inside: `schema` and `device` are the data as written in TOML, `check` what a profile must satisfy, `poll` the reads and
//! what they gave, `read` decoding, `write` set-points and commands, `settle` what helps to settle an address offset or scale on the spot.

mod check;
mod device;
mod error;
mod poll;
mod read;
mod schema;
mod settle;
mod write;

pub use device::{Alarm, AlarmKind, LineParity, Match, Requirement, Transport, WireKind, WriteExample};
pub use error::{FrameFault, Place, ProfileError};
pub use poll::{Image, Poll};
pub use read::{CabinetView, DECIMALS_MAX, Value, ValueFault, Values};
pub use schema::{
    CabinetState, Class, CommandName, CommandRule, Example, ExampleWords, Expectation, Kind, Merge,
    PollClass, Profile, Ratio, Register, Role, StateRule, WordOrder, WriteTarget,
};
pub use settle::{
    Asked, CANDIDATES_MAX, Candidate, OFFSETS, Plausible, Reading, Tally, candidates, settled, tally,
};
pub use write::Write;

#[cfg(test)]
mod tests;
