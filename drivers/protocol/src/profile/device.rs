//! The parts of a profile beside its values: wiring, recognition, alarms, and what must hold before a value is believed.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::schema::{CommandName, PollClass, Role};
use crate::modbus::Table;

/// A kind of wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireKind {
    /// Modbus RTU on a serial line.
    Rtu,
    /// Modbus TCP.
    Tcp,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineParity {
    /// No parity bit.
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
}

/// How a device is wired, as far as its source says. Lists are empty and options absent where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Transport {
    /// The wires it speaks on; at least one.
    pub wires: Vec<WireKind>,
    /// RTU: the rates it can be set to in bits per second, the factory setting first.
    #[serde(default)]
    pub baud: Vec<u32>,
    /// RTU: the factory parity.
    #[serde(default)]
    pub parity: Option<LineParity>,
    /// RTU: the factory stop bits, 1 or 2.
    #[serde(default)]
    pub stop_bits: Option<u8>,
    /// The longest the device takes to begin an answer, in milliseconds.
    #[serde(default)]
    pub answer_ms: Option<u32>,
    /// The silence the device wants between an answer and the next request, in milliseconds.
    #[serde(default)]
    pub turnaround_ms: Option<u32>,
}

/// One sign by which a device is recognised: an address that answers, and what it answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The address space.
    pub table: Table,
    /// The address as the source prints it.
    pub address: u16,
    /// Which bits count.
    #[serde(default = "all_bits")]
    pub mask: u16,
    /// What they may be; empty: any answer will do, only a refusal will not.
    #[serde(default)]
    pub values: Vec<u16>,
    /// What the sign is.
    pub text: String,
}

const fn all_bits() -> u16 {
    u16::MAX
}

impl Match {
    /// The word read is the sign.
    #[must_use]
    pub fn fits(&self, word: u16) -> bool {
        self.values.is_empty() || self.values.contains(&(word & self.mask))
    }
}

/// What kind of trouble a device's alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// A probe or its converter fails.
    Probe,
    /// Too warm, by the device's own limits.
    HighTemperature,
    /// Too cold, by the device's own limits.
    LowTemperature,
    /// The door has been open too long.
    Door,
    /// A defrost did not end as it should.
    Defrost,
    /// Refrigerant circuit: pressure, pump-down, condenser.
    Refrigeration,
    /// The heater or its current.
    Heater,
    /// An input that the installation wired to an alarm.
    External,
    /// The controller itself: memory, clock.
    Controller,
    /// The device says that something is wrong, not what.
    Summary,
}

/// One alarm of the device: any bit of `mask` set in a word, or the word of a coil or discrete input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// What kind of trouble.
    pub kind: AlarmKind,
    /// The manual's words, shown to people.
    pub text: String,
    /// The address space.
    pub table: Table,
    /// The address as the source prints it.
    pub address: u16,
    /// Which bits raise it; 1 for coils and discrete inputs.
    #[serde(default = "all_bits")]
    pub mask: u16,
    /// Which unit of the bus, counted from the device's own.
    #[serde(default)]
    pub unit_offset: u8,
    /// How often it is read.
    #[serde(default = "slow")]
    pub poll: PollClass,
    /// The device may lack it.
    #[serde(default)]
    pub optional: bool,
}

const fn slow() -> PollClass {
    PollClass::Slow
}

/// A condition on a raw value; where it is read and does not hold, no temperature of the device is delivered.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The register looked at.
    pub name: Role,
    /// The raw value it must have.
    pub raw: i64,
    /// What is wrong where it has not, shown to people.
    pub text: String,
}

/// A worked example of a write: a set-point or a command, and the RTU frames that must come out of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WriteExample {
    /// The register that is set, with `milli`.
    #[serde(default)]
    pub set: Option<Role>,
    /// Its value in thousandths of the unit.
    #[serde(default)]
    pub milli: Option<i64>,
    /// The command that is given.
    #[serde(default)]
    pub command: Option<CommandName>,
    /// The unit written to.
    #[serde(default = "first_unit")]
    pub unit: u8,
    /// The request frames in hex, checksum included.
    pub frames: Vec<String>,
}

const fn first_unit() -> u8 {
    1
}
