//! Why a profile was refused, and where in it.

use alloc::string::String;

use super::schema::{CabinetState, CommandName, Role};
use crate::modbus::{ModbusError, READ_REGISTERS_MAX};

/// Why a profile, or something asked of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A text that must say something is empty.
    #[error("`{field}` is empty")]
    Empty {
        /// Which field.
        field: &'static str,
    },
    /// A role occurs twice.
    #[error("register `{name:?}` occurs twice")]
    Twice {
        /// Which role.
        name: Role,
    },
    /// A role the device class needs is absent, or was asked for.
    #[error("no register `{name:?}`")]
    NoRegister {
        /// Which role.
        name: Role,
    },
    /// A command the device class needs is absent, or was asked for.
    #[error("no command `{name:?}`")]
    NoCommand {
        /// Which command.
        name: CommandName,
    },
    /// Address plus offset leaves the 16-bit address space.
    #[error("address {address} with its offset is outside 0..=65535")]
    Address {
        /// The address as printed.
        address: u16,
    },
    /// A register's fields contradict each other.
    #[error("register `{name:?}`: {reason}")]
    Register {
        /// Which role.
        name: Role,
        /// What is wrong.
        reason: &'static str,
    },
    /// Two entries claim the same bits of the same address.
    #[error("`{what}` overlaps `{other}` at address {address}")]
    Overlap {
        /// The later entry.
        what: String,
        /// The earlier one.
        other: String,
        /// The first address both claim.
        address: u16,
    },
    /// A whole-profile number is out of range.
    #[error("`{field}` is {found}, expected {min} to {max}")]
    Number {
        /// Which field.
        field: &'static str,
        /// The value found.
        found: u32,
        /// The least allowed.
        min: u32,
        /// The largest allowed.
        max: u32,
    },
    /// A frame of an example is no Modbus, or not of this device.
    #[error("example {index}: frame {frame}: {reason}")]
    Frame {
        /// Which example, from 1.
        index: usize,
        /// Which of its frames, from 1.
        frame: usize,
        /// What is wrong.
        reason: FrameFault,
    },
    /// A worked example of a write gives other frames.
    #[error("write example {index}: the profile writes {found}")]
    WriteExample {
        /// Which, from 1.
        index: usize,
        /// What the profile writes, in hex.
        found: String,
    },
    /// A worked example raises other alarms.
    #[error("example {index}: alarms are {found}")]
    ExampleAlarms {
        /// Which example, from 1.
        index: usize,
        /// The texts of the alarms raised.
        found: String,
    },
    /// The command writes one bit of a word that has not been read, or whose mask forbids it now.
    #[error("command `{name:?}`: {reason}")]
    Masked {
        /// Which command.
        name: CommandName,
        /// What stands against it.
        reason: &'static str,
    },
    /// The merge limits cannot be used.
    #[error("merge.count_max is {found}, expected 2..={READ_REGISTERS_MAX}")]
    Merge {
        /// The limit found.
        found: u16,
    },
    /// A state rule or command cannot be used.
    #[error("{what}: {reason}")]
    Rule {
        /// Which list.
        what: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The register may not be written.
    #[error("register `{name:?}` is not writable")]
    NotWritable {
        /// Which role.
        name: Role,
    },
    /// A value that may not be written.
    #[error("{milli} milli-units for `{name:?}` is outside {min}..={max} or the register's range")]
    Value {
        /// Which role.
        name: Role,
        /// The value.
        milli: i64,
        /// The least allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// A worked example decodes to something else.
    #[error("example {index}: `{name:?}` decodes to {found}")]
    Example {
        /// Which example, from 1.
        index: usize,
        /// Which role.
        name: Role,
        /// What it decodes to.
        found: String,
    },
    /// A worked example has another cabinet state.
    #[error("example {index}: cabinet state is {found:?}, expected {expected:?}")]
    ExampleState {
        /// Which example, from 1.
        index: usize,
        /// The state expected.
        expected: CabinetState,
        /// The state found.
        found: CabinetState,
    },
}

/// What is wrong with a frame of an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Not pairs of hex digits.
    #[error("expected pairs of hex digits")]
    Hex,
    /// A request without the response that follows it.
    #[error("a request without its response")]
    Unpaired,
    /// The frame asks for something else than a read.
    #[error("expected a read")]
    NotARead,
    /// The frame itself.
    #[error(transparent)]
    Modbus(ModbusError),
}

/// Where in the profile something is wrong: a list with the entry's index from 0, or a field of the profile itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The list's name in the file; empty: the profile itself.
    pub list: &'static str,
    /// Which entry of the list.
    pub index: usize,
    /// The field of the profile itself, where `list` is empty.
    pub field: &'static str,
}

impl Place {
    pub(super) const fn field(field: &'static str) -> Self {
        Self { list: "", index: 0, field }
    }

    pub(super) const fn entry(list: &'static str, index: usize) -> Self {
        Self { list, index, field: "" }
    }
}

impl core::fmt::Display for Place {
    /// `register[2]` or `merge`, as a path of keys.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.list {
            "" => f.write_str(self.field),
            list => write!(f, "{list}[{}]", self.index),
        }
    }
}
