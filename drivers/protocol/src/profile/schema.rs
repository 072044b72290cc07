//! The shape of a profile file.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::device::{Alarm, Match, Requirement, Transport, WriteExample};
use crate::modbus::Table;

/// What a device is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A cold cabinet's controller.
    Cabinet,
    /// A steamer's controller with its input module.
    Steamer,
    /// A bare temperature probe.
    Probe,
    /// A temperature controller (PID) in whatever appliance.
    Controller,
}

impl Class {
    /// A device of this class can be configured as a cabinet.
    #[must_use]
    pub const fn serves_cabinet(self) -> bool {
        !matches!(self, Self::Steamer)
    }
}

/// What a register means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Air or chamber temperature: the one that is watched.
    Temperature,
    /// Food or core temperature.
    CoreTemperature,
    /// The temperature asked for.
    SetPoint,
    /// The controller's state number.
    State,
    /// On, or standby.
    Power,
    /// The door is open.
    Door,
    /// The pull-down after defrost has finished.
    PullDownDone,
    /// The controller's own alarm summary.
    AlarmSummary,
    /// Status bits 0 to 15 of an Omron controller.
    StatusLower,
    /// Status bits 16 to 31 of an Omron controller.
    StatusUpper,
    /// Too little water: dry-fire danger.
    LowWater,
    /// The independent over-temperature cut-out has tripped.
    OverTemperature,
    /// Relative humidity.
    Humidity,
    /// A second probe; what it measures depends on the installation.
    SecondProbe,
    /// A third probe.
    ThirdProbe,
    /// The device says that the watched probe fails.
    SensorFault,
    /// A defrost is running.
    Defrosting,
    /// Temperatures are shown and sent in degrees Fahrenheit.
    Fahrenheit,
    /// How many decimal places the device's numbers have at present; see [`Register::decimals`].
    DecimalPoint,
    /// Seconds since the device started.
    Uptime,
    /// The device's own upper alarm limit.
    HighLimit,
    /// The device's own lower alarm limit.
    LowLimit,
    /// How long a limit must be exceeded before the device raises its own alarm.
    AlarmDelay,
    /// How often the device samples.
    SamplePeriod,
}

impl Role {
    /// A temperature: it needs a scale and a physical range, and is withheld where a [`Requirement`] fails.
    #[must_use]
    pub const fn is_temperature(self) -> bool {
        matches!(
            self,
            Self::Temperature
                | Self::CoreTemperature
                | Self::SetPoint
                | Self::SecondProbe
                | Self::ThirdProbe
                | Self::HighLimit
                | Self::LowLimit
        )
    }
}

/// How often a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PollClass {
    /// At every visit.
    #[default]
    Fast,
    /// At every [`Profile::slow_every`]-th visit.
    Slow,
}

/// How words become a raw integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One register, two's complement.
    S16,
    /// One register.
    U16,
    /// Two registers, two's complement.
    S32,
    /// Two registers.
    U32,
    /// `width` bits from bit `shift` of one register, or one coil or discrete input.
    Bits,
}

impl Kind {
    /// How many addresses the value takes.
    #[must_use]
    pub const fn words(self) -> u16 {
        match self {
            Self::S16 | Self::U16 | Self::Bits => 1,
            Self::S32 | Self::U32 => 2,
        }
    }
}

/// The order of the two registers of a 32-bit value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordOrder {
    /// The high word has the lower address.
    #[default]
    HighFirst,
    /// The low word has the lower address.
    LowFirst,
}

/// A factor as a fraction of integers: thousandths of the unit per raw step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// Numerator; not zero.
    pub num: i32,
    /// Denominator; greater than zero.
    pub den: i32,
}

/// One value of the device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// What it means; each role occurs once.
    pub name: Role,
    /// The address space.
    pub table: Table,
    /// The address as the source prints it; `address_offset` is added for the wire.
    pub address: u16,
    /// How words become a raw integer.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Which unit of the bus, counted from the device's own.
    #[serde(default)]
    pub unit_offset: u8,
    /// Thousandths of the unit per raw step; absent for numbers that are no quantity.
    #[serde(default)]
    pub scale_milli: Option<Ratio>,
    /// The least physically possible value.
    #[serde(default)]
    pub min_milli: Option<i64>,
    /// The largest physically possible value.
    #[serde(default)]
    pub max_milli: Option<i64>,
    /// Raw values that mean "no reading".
    #[serde(default)]
    pub fault_raw: Vec<i64>,
    /// The lowest bit, for `bits` in a register.
    #[serde(default)]
    pub shift: u8,
    /// How many bits, for `bits` in a register.
    #[serde(default = "one")]
    pub width: u8,
    /// For `bits`: the bit is 0 when the thing named is true (a normally closed contact).
    #[serde(default)]
    pub inverted: bool,
    /// The order of a 32-bit value's registers.
    #[serde(default)]
    pub word_order: WordOrder,
    /// The value is divided by ten once per decimal place that [`Role::DecimalPoint`] says; `scale_milli` is for none.
    #[serde(default)]
    pub decimals: bool,
    /// The value may be written.
    #[serde(default)]
    pub writable: bool,
    /// The least value that may be written, where that is narrower than `min_milli`.
    #[serde(default)]
    pub write_min_milli: Option<i64>,
    /// The largest value that may be written, where that is narrower than `max_milli`.
    #[serde(default)]
    pub write_max_milli: Option<i64>,
    /// How often it is read.
    #[serde(default)]
    pub poll: PollClass,
    /// The device may lack it: its poll may fail without harm to the others.
    #[serde(default)]
    pub optional: bool,
}

const fn one() -> u8 {
    1
}

/// How neighbouring values are merged into one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// How many addresses nobody asked for one read may contain in a row.
    pub gap_max: u16,
    /// The most addresses in one read.
    pub count_max: u16,
}

impl Default for Merge {
    /// No gaps, since an address a device does not have fails the whole read.
    fn default() -> Self {
        Self { gap_max: 0, count_max: 16 }
    }
}

/// What a cold cabinet is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CabinetState {
    /// Cooling as it should.
    Normal,
    /// The evaporator is being defrosted.
    Defrost,
    /// Water drips off after defrost.
    Drip,
    /// Cooling again with the fan still off.
    FanDelay,
    /// Held after defrost.
    Hold,
    /// Cooling back to the set-point after defrost.
    PullDown,
    /// Switched off or standby.
    Off,
    /// The door is open.
    DoorOpen,
    /// The controller runs without its sensor.
    Emergency,
    /// Somebody overrides the controller.
    Manual,
    /// A state number the profile does not name.
    #[serde(skip)]
    Unknown(u16),
}

impl CabinetState {
    /// The air is expected to be warm: the high-temperature timer is frozen (up to a cap), the log is not.
    #[must_use]
    pub const fn excuses_warmth(self) -> bool {
        matches!(self, Self::Defrost | Self::Drip | Self::FanDelay | Self::Hold | Self::PullDown)
    }
}

/// One row of the state map; the first row that fits wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StateRule {
    /// The register looked at.
    #[serde(default = "state_role")]
    pub name: Role,
    /// Its raw value.
    pub raw: i64,
    /// What that means.
    pub state: CabinetState,
}

const fn state_role() -> Role {
    Role::State
}

/// A command a device can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CommandName {
    /// Allow writes over the line; sent before every other write where the profile has it.
    EnableWriting,
    /// Start the program.
    Run,
    /// Stop the program.
    Stop,
    /// Start a defrost.
    StartDefrost,
    /// End a defrost.
    StopDefrost,
}

/// How a command is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteTarget {
    /// FC 6, or FC 16 where the profile has `write_multiple`.
    Register,
    /// One bit of a word whose high byte is the state and whose low byte says which bits may be written: `value` is the
    /// bit's number 0 to 7, counted in its byte, and it is set. The word must have been read before: a bit whose mask is 0
    /// is not written.
    MaskedBit,
    /// FC 5; the value is 0 or 1.
    Coil,
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRule {
    /// Which.
    pub name: CommandName,
    /// How.
    pub write: WriteTarget,
    /// The address as the source prints it; `address_offset` is added for the wire.
    pub address: u16,
    /// The value written.
    pub value: u16,
    /// Which unit of the bus, counted from the device's own.
    #[serde(default)]
    pub unit_offset: u8,
}

/// Words of an example, in a row.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleWords {
    /// The address space.
    pub table: Table,
    /// The first address as the source prints it.
    pub address: u16,
    /// The words; 0 and 1 for coils and discrete inputs.
    pub words: Vec<u16>,
    /// Which unit of the bus, counted from the device's own.
    #[serde(default)]
    pub unit_offset: u8,
}

/// What an example's words must decode to: exactly one of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// The value.
    pub name: Role,
    /// In thousandths of its unit.
    #[serde(default)]
    pub milli: Option<i64>,
    /// As a raw number.
    #[serde(default)]
    pub raw: Option<i64>,
    /// Refused as a fault.
    #[serde(default)]
    pub fault: bool,
}

/// A worked example.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What the device answered, as words.
    #[serde(default)]
    pub registers: Vec<ExampleWords>,
    /// What was asked and answered, as RTU frames in hex, request and response in turn. The device's own unit is the one of
    /// the first frame.
    #[serde(default)]
    pub frames: Vec<String>,
    /// What that means.
    pub expect: Vec<Expectation>,
    /// The cabinet state, for cabinets.
    #[serde(default)]
    pub state: Option<CabinetState>,
    /// Texts of the alarms that are raised, in the profile's order; absent: not looked at.
    #[serde(default)]
    pub alarms: Option<Vec<String>>,
}

/// A device described by data.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The name configurations refer to.
    pub name: String,
    /// What the device is used as.
    pub class: Class,
    /// Where the map comes from.
    pub source: String,
    /// What the source leaves open.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How the device is wired.
    pub transport: Transport,
    /// How the device is recognised on the wire; empty where the source names nothing to recognise it by.
    #[serde(default, rename = "match")]
    pub matches: Vec<Match>,
    /// Values the class needs whose register no source names: never invented, never delivered.
    #[serde(default)]
    pub absent: Vec<Role>,
    /// Added to every address for the wire: 0, or −1 where the source counts from one.
    #[serde(default)]
    pub address_offset: i32,
    /// How reads are merged.
    #[serde(default)]
    pub merge: Merge,
    /// Values of class `slow` are read at every so-many-th visit, 1 to 3600.
    #[serde(default = "ten")]
    pub slow_every: u16,
    /// Single registers are written with FC 16 rather than FC 6.
    #[serde(default)]
    pub write_multiple: bool,
    /// The device carries out writes that are addressed to everybody (unit 0), and the site may use that.
    #[serde(default)]
    pub broadcast_writes: bool,
    /// The values.
    #[serde(rename = "register")]
    pub registers: Vec<Register>,
    /// The state map.
    #[serde(default, rename = "state")]
    pub states: Vec<StateRule>,
    /// The commands.
    #[serde(default, rename = "command")]
    pub commands: Vec<CommandRule>,
    /// What must hold before a temperature is believed.
    #[serde(default, rename = "require")]
    pub requirements: Vec<Requirement>,
    /// The device's own alarms.
    #[serde(default, rename = "alarm")]
    pub alarms: Vec<Alarm>,
    /// The worked examples.
    #[serde(rename = "example")]
    pub examples: Vec<Example>,
    /// Worked examples of writes.
    #[serde(default, rename = "write_example")]
    pub write_examples: Vec<WriteExample>,
}

const fn ten() -> u16 {
    10
}

impl Profile {
    /// The register of a role.
    #[must_use]
    pub fn register(&self, name: Role) -> Option<&Register> {
        self.registers.iter().find(|register| register.name == name)
    }

    /// The address on the wire; `None` when the offset leaves the address space.
    #[must_use]
    pub fn wire_address(&self, address: u16) -> Option<u16> {
        u16::try_from(i32::from(address).checked_add(self.address_offset)?).ok()
    }

    /// The highest unit offset any register or command uses: how many further units of the bus the device takes.
    #[must_use]
    pub fn unit_offset_max(&self) -> u8 {
        let registers = self.registers.iter().map(|register| register.unit_offset);
        let commands = self.commands.iter().map(|command| command.unit_offset);
        registers.chain(commands).max().unwrap_or(0)
    }
}
