//! Steamers: a temperature controller plus a module of digital inputs, seen through the OPC 30200 modes.
//!
//! Contract: the gateway only ever writes a set-point and run or stop to a controller that has its own cut-outs; it
//! never drives a heater. A start or a set-point needs a [`Permit`], which exists only after the interlocks held on
//! a fresh reading. Stopping needs none.
//!
//! Reading rule: an input that could not be read counts as "not known", and what is not known forbids a start.

use alloc::vec::Vec;

use crate::profile::{CommandName, Profile, ProfileError, Role, Values, Write};
use crate::unit::MilliCelsius;

/// `CombiSteamerMode` of OPC 30200 (DIN SPEC 18898).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CombiSteamerMode {
    /// 0
    Off,
    /// 1
    On,
    /// 2
    Preheat,
    /// 3
    StandBy,
    /// 4
    Steaming,
    /// 5
    CombiSteaming,
    /// 6
    HotAir,
    /// 7
    Perfection,
    /// 8
    Cleaning,
    /// 9
    PresetStart,
    /// 10
    Error,
}

impl CombiSteamerMode {
    /// Every mode in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::Off,
        Self::On,
        Self::Preheat,
        Self::StandBy,
        Self::Steaming,
        Self::CombiSteaming,
        Self::HotAir,
        Self::Perfection,
        Self::Cleaning,
        Self::PresetStart,
        Self::Error,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On => 1,
            Self::Preheat => 2,
            Self::StandBy => 3,
            Self::Steaming => 4,
            Self::CombiSteaming => 5,
            Self::HotAir => 6,
            Self::Perfection => 7,
            Self::Cleaning => 8,
            Self::PresetStart => 9,
            Self::Error => 10,
        }
    }

    /// The mode of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The controller's status word, Omron E5CC (upper word above the lower one).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ControllerStatus(pub u32);

impl ControllerStatus {
    /// b0: heater overcurrent.
    pub const HEATER_OVERCURRENT: u32 = 1 << 0;
    /// b2: A/D converter error.
    pub const CONVERTER_ERROR: u32 = 1 << 2;
    /// b6: input (sensor) error.
    pub const INPUT_ERROR: u32 = 1 << 6;
    /// b8: heating output on.
    pub const HEATING: u32 = 1 << 8;
    /// b10: heater burn-out.
    pub const BURN_OUT: u32 = 1 << 10;
    /// b15: the program has ended.
    pub const PROGRAM_END: u32 = 1 << 15;
    /// b24: stopped.
    pub const STOP: u32 = 1 << 24;
    /// b25: writing over the line is allowed.
    pub const WRITING: u32 = 1 << 25;
    /// b27: the program is started.
    pub const PROGRAM_START: u32 = 1 << 27;

    /// The word from its two registers.
    #[must_use]
    pub fn from_words(upper: u16, lower: u16) -> Self {
        Self(u32::from(upper) << 16 | u32::from(lower))
    }

    /// Any of `bits` is set.
    #[must_use]
    pub const fn any(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// How far below its set-point a running steamer still counts as preheating.
pub const PREHEAT_BAND_MC: i32 = 3_000;

/// What a steamer says at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteamerReading {
    /// The mode, derived.
    pub mode: CombiSteamerMode,
    /// The chamber's temperature; `None` when it was not read or is a fault.
    pub chamber: Option<MilliCelsius>,
    /// The core probe's temperature; `None` when there is none or it is a fault.
    pub core: Option<MilliCelsius>,
    /// The set-point; `None` when it was not read.
    pub set_point: Option<MilliCelsius>,
    /// The program has ended and nobody has stopped the controller since.
    pub program_end: bool,
    /// The controller is in run, not stopped.
    pub running: bool,
    /// The heating output is on.
    pub heating: bool,
    /// The door is open.
    pub door_open: bool,
    /// Too little water.
    pub low_water: bool,
    /// The independent cut-out has tripped.
    pub over_temperature: bool,
    /// The chamber's sensor or its converter fails, or no chamber temperature could be read.
    pub sensor_fault: bool,
    /// Status and inputs were all read; where not, the flags above are false and mean nothing.
    pub inputs_known: bool,
}

impl SteamerReading {
    /// Derives the reading from a profile's values.
    #[must_use]
    pub fn derive(values: &Values) -> Self {
        let word = |role| values.raw(role).and_then(|raw| u16::try_from(raw).ok());
        let status = match (word(Role::StatusUpper), word(Role::StatusLower)) {
            (Some(upper), Some(lower)) => Some(ControllerStatus::from_words(upper, lower)),
            _ => None,
        };
        let door = values.flag(Role::Door);
        let low_water = values.flag(Role::LowWater);
        let over_temperature = values.flag(Role::OverTemperature);
        let inputs_known =
            [door, low_water, over_temperature].iter().all(Option::is_some) && status.is_some();
        let status = status.unwrap_or_default();
        let chamber = values.temperature(Role::Temperature).ok();
        let broken = ControllerStatus::INPUT_ERROR | ControllerStatus::CONVERTER_ERROR;
        let mut reading = Self {
            mode: CombiSteamerMode::Error,
            chamber,
            core: values.temperature(Role::CoreTemperature).ok(),
            set_point: values.temperature(Role::SetPoint).ok(),
            program_end: status.any(ControllerStatus::PROGRAM_END),
            running: inputs_known && !status.any(ControllerStatus::STOP),
            heating: status.any(ControllerStatus::HEATING),
            door_open: door.unwrap_or(false),
            low_water: low_water.unwrap_or(false),
            over_temperature: over_temperature.unwrap_or(false),
            sensor_fault: chamber.is_none() || status.any(broken),
            inputs_known,
        };
        reading.mode = reading.derived_mode();
        reading
    }

    const fn derived_mode(&self) -> CombiSteamerMode {
        if !self.inputs_known || self.sensor_fault || self.low_water || self.over_temperature {
            return CombiSteamerMode::Error;
        }
        if !self.running || self.program_end {
            return CombiSteamerMode::StandBy;
        }
        match (self.chamber, self.set_point) {
            (Some(chamber), Some(set_point)) if chamber.0 >= set_point.0.saturating_sub(PREHEAT_BAND_MC) => {
                CombiSteamerMode::Steaming
            }
            (Some(_), Some(_)) => CombiSteamerMode::Preheat,
            _ => CombiSteamerMode::On,
        }
    }
}

/// The limits of a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitLimits {
    /// The oldest reading a start may rest on.
    pub age_ms_max: u64,
    /// The highest chamber temperature at which a start is allowed.
    pub chamber_max: MilliCelsius,
}

impl Default for PermitLimits {
    fn default() -> Self {
        Self { age_ms_max: 5_000, chamber_max: MilliCelsius(130_000) }
    }
}

/// What forbids a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interlock {
    /// The reading is too old to decide on.
    #[error("reading is {age_ms} ms old, at most {age_ms_max} allowed")]
    Stale {
        /// Its age.
        age_ms: u64,
        /// The limit.
        age_ms_max: u64,
    },
    /// Status or inputs could not be read.
    #[error("status or inputs not known")]
    InputsUnknown,
    /// The chamber's sensor fails.
    #[error("chamber sensor fault")]
    SensorFault,
    /// Too little water.
    #[error("low water")]
    LowWater,
    /// The cut-out has tripped, or the chamber is hotter than allowed.
    #[error("over-temperature")]
    OverTemperature,
    /// The door is open.
    #[error("door open")]
    DoorOpen,
}

/// Leave to start: the interlocks held on a fresh reading. There is no other way to get one.
///
/// It cannot be copied, so that it is not kept for later: check again before the next command.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    at_age_ms: u64,
}

impl Permit {
    /// Checks every interlock.
    ///
    /// # Errors
    /// The first interlock that does not hold.
    pub fn check(reading: &SteamerReading, age_ms: u64, limits: &PermitLimits) -> Result<Self, Interlock> {
        if age_ms > limits.age_ms_max {
            return Err(Interlock::Stale { age_ms, age_ms_max: limits.age_ms_max });
        }
        if !reading.inputs_known {
            return Err(Interlock::InputsUnknown);
        }
        if reading.sensor_fault {
            return Err(Interlock::SensorFault);
        }
        if reading.low_water {
            return Err(Interlock::LowWater);
        }
        let hot = reading.chamber.is_some_and(|chamber| chamber > limits.chamber_max);
        if reading.over_temperature || hot {
            return Err(Interlock::OverTemperature);
        }
        if reading.door_open {
            return Err(Interlock::DoorOpen);
        }
        Ok(Self { at_age_ms: age_ms })
    }

    /// How old the reading was that the permit rests on.
    #[must_use]
    pub const fn at_age_ms(&self) -> u64 {
        self.at_age_ms
    }
}

/// The writes that set the chamber's set-point.
///
/// # Errors
/// The profile refuses the value.
pub fn set_point(_: &Permit, profile: &Profile, value: MilliCelsius) -> Result<Vec<Write>, ProfileError> {
    profile.set(Role::SetPoint, i64::from(value.0))
}

/// The writes that start the program.
///
/// # Errors
/// The profile has no such command.
pub fn run(_: &Permit, profile: &Profile) -> Result<Vec<Write>, ProfileError> {
    profile.command(CommandName::Run)
}

/// The writes that stop; always allowed.
///
/// # Errors
/// The profile has no such command.
pub fn stop(profile: &Profile) -> Result<Vec<Write>, ProfileError> {
    profile.command(CommandName::Stop)
}

#[cfg(test)]
mod tests;
