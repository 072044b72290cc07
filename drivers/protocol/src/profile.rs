//! Device profiles: a register device described by data, so that a new controller is a file and not a driver.
//!
//! A profile says where each value lies, how raw words become thousandths of a unit, which raw values are faults, what
//! is physically possible, and which raw states mean which cabinet state. It names its `source` and carries worked
//! examples, which [`Profile::check`] runs: a profile that contradicts its own examples is refused.
//!
//! Contract: a value outside its physical range or equal to a fault value is never delivered as a reading; it stays
//! as evidence in its [`ValueFault`].
//!
//! Inside: `schema` is the data as written in TOML, `check` what a profile must satisfy, `read` polls and decoding,
//! `write` set-points and commands.

mod check;
mod read;
mod schema;
mod write;

pub use check::ProfileError;
pub use read::{CabinetView, Image, Poll, Value, ValueFault, Values};
pub use schema::{
    CabinetState, Class, CommandName, CommandRule, Example, ExampleWords, Expectation, Kind, Merge, Profile,
    Ratio, Register, Role, StateRule, WordOrder, WriteTarget,
};
pub use write::Write;

#[cfg(test)]
mod tests;
