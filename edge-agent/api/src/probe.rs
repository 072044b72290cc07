//! Probing a device at each address offset that its manual may mean.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    DeviceProbe = "device-probe";
}

/// `POST /v1/devices/{id}/probe`: reads only; what was read, what it could mean, and what that speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceProbe {
    /// The device.
    pub device: String,
    /// Its profile.
    pub profile: String,
    /// The unit asked.
    pub unit: u8,
    /// The offset in force.
    pub offset: i32,
    /// What speaks for and against each offset.
    pub offsets: Vec<ProbedOffset>,
    /// The offset that the answers settle, if they settle one.
    #[serde(default)]
    pub settled: Option<i32>,
    /// The device fell silent before everything was asked.
    pub cut_short: bool,
    /// Every read.
    pub reads: Vec<ProbedRead>,
}

/// How one offset fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedOffset {
    /// The offset.
    pub offset: i32,
    /// Signs that fit and values that are plausible.
    pub fits: u32,
    /// Signs that do not fit, impossible values, refused reads of what the device must have.
    pub against: u32,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedRead {
    /// The offset tried.
    pub offset: i32,
    /// The profile's name of the value, or the text of the sign.
    pub asked: String,
    /// `coil`, `discrete`, `holding` or `input`.
    pub table: String,
    /// The address on the wire.
    pub address: u16,
    /// The words read; none when there is an `error`.
    pub words: Vec<u16>,
    /// Why there is no answer.
    #[serde(default)]
    pub error: Option<String>,
    /// Whether a sign fits; absent for values.
    #[serde(default)]
    pub sign: Option<bool>,
    /// What the words could mean, the profile's own scale first.
    #[serde(default)]
    pub readings: Vec<ProbedReading>,
}

/// One meaning of the words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedReading {
    /// The raw number.
    pub raw: i64,
    /// In thousandths of the unit; absent for numbers that are no quantity.
    #[serde(default)]
    pub milli: Option<i64>,
    /// The factor: thousandths of the unit per raw step, as a fraction.
    #[serde(default)]
    pub scale: Option<String>,
    /// The factor is the profile's own.
    pub own: bool,
    /// `plausible`, `open`, `fault value` or `impossible`.
    pub verdict: String,
}
