//! Devices: temperature minutes, alarms, steam batches, presence.

use crate::{AlarmRef, BatchRef, DeviceId, Milli, MilliCelsius, Sku, Text, UnixMillis};
use serde::{Deserialize, Serialize};

/// One minute of one probe. Bad samples are counted, never averaged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemperatureMinute {
    /// The cabinet.
    pub device: DeviceId,
    /// Start of the minute.
    pub minute: UnixMillis,
    /// Lowest good sample; `None` when there was none.
    pub low: Option<MilliCelsius>,
    /// Mean of the good samples, rounded half away from zero.
    pub mean: Option<MilliCelsius>,
    /// Highest good sample.
    pub high: Option<MilliCelsius>,
    /// Good samples.
    pub good: u16,
    /// Bad samples (sensor fault, implausible, no answer).
    pub bad: u16,
}

/// An alarm became active (states after ISA-18.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmRaised {
    /// The device.
    pub device: DeviceId,
    /// What kind of condition.
    pub kind: AlarmKind,
    /// When the condition began (the delay has passed since).
    pub since: UnixMillis,
    /// The value that broke the limit, if it is a value.
    pub value: Option<MilliCelsius>,
    /// The limit.
    pub limit: Option<MilliCelsius>,
}

/// Kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Warmer than the limit for longer than the delay.
    TooWarm,
    /// Colder than the limit for longer than the delay.
    TooCold,
    /// The probe is broken, shorted, disconnected, or reads a known fault value.
    SensorFault,
    /// The device does not answer.
    Lost,
    /// A defrost that does not end.
    DefrostTooLong,
    /// A steamer without water.
    LowWater,
    /// A steamer's cut-out reports over-temperature.
    OverTemperature,
    /// A door open too long.
    DoorOpen,
}

/// A person took notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmAcknowledged {
    /// Which.
    pub alarm: AlarmRef,
    /// Who.
    pub by: Text<32>,
}

/// The condition ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmReturned {
    /// Which.
    pub alarm: AlarmRef,
    /// The value that ended it.
    pub value: Option<MilliCelsius>,
    /// The worst value while it was active.
    pub worst: Option<MilliCelsius>,
}

/// A person put the alarm aside for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmShelved {
    /// Which.
    pub alarm: AlarmRef,
    /// Until when.
    pub until: UnixMillis,
    /// Who.
    pub by: Text<32>,
}

/// A steam batch was queued. The batch is named by this fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchQueued {
    /// The steamer.
    pub device: DeviceId,
    /// What is cooked.
    pub sku: Sku,
    /// How much.
    pub quantity: Milli,
    /// Programme number of the recipe.
    pub program: u16,
    /// Set-point.
    pub set_point: MilliCelsius,
    /// Core temperature that must be reached.
    pub core_min: MilliCelsius,
    /// Steaming time in seconds.
    pub steam_s: u32,
    /// Longest hold in seconds, counted from readiness.
    pub hold_limit_s: u32,
}

/// States of a steam batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchState {
    /// Waiting for the steamer.
    Queued,
    /// Commanded; heating up.
    Preheat,
    /// Cooking.
    Steaming,
    /// Programme ended, core temperature being proven.
    CoreCheck,
    /// For sale.
    Hold,
    /// Everything sold.
    SoldOut,
    /// Past its hold limit, not to be sold.
    Expired,
    /// Written off.
    Discarded,
}

/// A steam batch changed state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchMoved {
    /// Which.
    pub batch: BatchRef,
    /// Before.
    pub from: BatchState,
    /// After.
    pub to: BatchState,
    /// Core or chamber temperature when it mattered.
    pub temperature: Option<MilliCelsius>,
    /// Why, as a stable word such as `program-end`.
    pub reason: Text<32>,
}

/// A device was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSeen {
    /// Which.
    pub device: DeviceId,
    /// Its class.
    pub class: DeviceClass,
    /// What it says it is, when the protocol can tell.
    pub identity: Text<64>,
}

/// A device was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLost {
    /// Which.
    pub device: DeviceId,
    /// Its class.
    pub class: DeviceClass,
    /// Why, for a technician.
    pub reason: Text<120>,
}

/// Classes of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceClass {
    /// Weighing instrument.
    Scale,
    /// Cold cabinet or cold room.
    Cabinet,
    /// Shelf tag.
    Tag,
    /// Steamer or food warmer.
    Steamer,
}

impl DeviceClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Scale, Self::Cabinet, Self::Tag, Self::Steamer];

    /// Stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::Cabinet => "cabinet",
            Self::Tag => "tag",
            Self::Steamer => "steamer",
        }
    }
}
