//! Sensors that only advertise: their formats, and what a receiver remembers of each device.
//!
//! Contract
//! * Input is one part of an advertisement, as a Bluetooth daemon hands it out or as [`structures`] cuts it from raw
//!   payload; output is one [`SensorAdvert`] in integers, or an [`AdvertError`] with the offending bytes.
//! * What identifies a frame (counter, last bytes) is kept per device in [`Sensor`], never shared.
//! * A temperature outside [`MEASURABLE_MC`] is an error: no sensing element in these devices measures it.
//!
//! Sources: the headers of the format modules; parts and their types: Bluetooth Core Specification Supplement, part A.
//!
//! | module | format | carried in |
//! |---|---|---|
//! | [`ruuvi`] | Ruuvi data formats 5 and 6 | manufacturer data 0x0499 |
//! | [`bthome`] | BTHome v2, plain and encrypted | service data 0xFCD2 |
//! | [`pvvx`] | pvvx "custom" | service data 0x181A, 15 bytes |
//! | [`atc1441`] | atc1441 | service data 0x181A, 13 bytes |
//! | [`govee`] | Govee H5072 / H5075 | manufacturer data 0xEC88 |
//! | [`eddystone`] | Eddystone TLM, plain | service data 0xFEAA |
//! | [`minew`] | Minew info, temperature and humidity | service data 0xFFE1 |

pub mod atc1441;
pub mod bthome;
pub mod eddystone;
pub mod govee;
pub mod minew;
pub mod parts;
pub mod pvvx;
pub mod ruuvi;
pub mod sensor;

pub use parts::{AdError, Address, PAYLOAD_BYTES_MAX, Part, structures};
pub use sensor::{Format, Hearing, Sensor};

use core::ops::RangeInclusive;

use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Temperatures that the sensing elements of these devices measure at all, the widest being −55 to +150 °C.
pub const MEASURABLE_MC: RangeInclusive<i32> = -55_000..=150_000;

/// What a sensor's advertisement says. A field is absent when the format or this frame does not carry it, or when the
/// sensor marks it as invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SensorAdvert {
    /// Temperature.
    pub temperature: Option<MilliCelsius>,
    /// Relative humidity, at most 100 %.
    pub humidity: Option<CentiPercent>,
    /// Air pressure in pascals.
    pub pressure_pa: Option<u32>,
    /// Battery voltage in millivolts.
    pub battery_mv: Option<u16>,
    /// Battery charge in percent, at most 100.
    pub battery_percent: Option<u8>,
    /// Number of the frame or measurement; what it counts and where it wraps is the format's.
    pub counter: Option<u32>,
    /// What else is known of the frame.
    pub flags: Flags,
}

/// What is either so or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// The frame was sealed with the device's key and the seal held.
    pub authentic: bool,
    /// The device sends on events only, so silence says nothing (BTHome: trigger based).
    pub trigger_based: bool,
    /// Something is open: opening, door or window (BTHome).
    pub open: Option<bool>,
    /// The device calls its battery low (BTHome).
    pub battery_low: Option<bool>,
    /// Further temperatures in the frame that were left out; the first one counts.
    pub further_temperatures: u8,
    /// The frame ends with an object that is not known here (BTHome); what came before it was read.
    pub rest_unknown: Option<u8>,
    /// The sensor says that it has no temperature now, as opposed to a frame that carries none.
    pub unavailable: bool,
    /// A value the sensor sent is impossible and was left out (humidity above 100 %, battery above 100 %).
    pub impossible: bool,
}

/// Why an advertisement gives no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdvertError {
    /// A frame of another length than its format has.
    #[error("{format} frame of other length, expected {expected} bytes: {found}")]
    Length {
        /// Name of the format.
        format: &'static str,
        /// Bytes expected.
        expected: usize,
        /// What was heard.
        found: Evidence,
    },
    /// A frame of a kind or version that is not read here.
    #[error("not a {format} frame: {found}")]
    Kind {
        /// Name of the format.
        format: &'static str,
        /// What was heard.
        found: Evidence,
    },
    /// An object reaches beyond the end of the frame.
    #[error("object {object:#04x} reaches beyond the frame: {found}")]
    Truncated {
        /// Object id.
        object: u8,
        /// What was heard (decrypted, where it was sealed).
        found: Evidence,
    },
    /// The address inside the frame is not that of the sender: a relayed or a made-up frame.
    #[error("frame names {named}, sender is {sender}: {found}")]
    Address {
        /// Address inside the frame.
        named: Address,
        /// Address that it was sent from.
        sender: Address,
        /// What was heard.
        found: Evidence,
    },
    /// Encrypted, and no key is configured.
    #[error("frame is encrypted and no key is configured")]
    KeyMissing,
    /// A key is configured and the frame is not encrypted: anybody could have sent it.
    #[error("frame is not encrypted although a key is configured: {0}")]
    Downgrade(Evidence),
    /// The tag does not hold.
    #[error("seal does not hold, wrong key or changed bytes: {0}")]
    Seal(Evidence),
    /// A counter that is not above the last one: a recording played back.
    #[error("counter {found} is not above {last}: an old frame played back")]
    Replay {
        /// Counter of the last frame accepted.
        last: u32,
        /// Counter of this one.
        found: u32,
    },
    /// The sensor says that its probe is at fault.
    #[error("sensor reports a fault of its probe: {0}")]
    Probe(Evidence),
    /// Outside [`MEASURABLE_MC`].
    #[error("{value} cannot be measured: {found}")]
    OutOfRange {
        /// The temperature.
        value: MilliCelsius,
        /// What was heard.
        found: Evidence,
    },
}

/// Rounds `raw * numerator / denominator` to the nearest integer, halves away from zero. `denominator` must be positive.
const fn scaled(raw: i32, numerator: i32, denominator: i32) -> i32 {
    let product = raw as i64 * numerator as i64;
    let half = denominator as i64 / 2;
    let rounded = if product < 0 {
        (product - half) / denominator as i64
    } else {
        (product + half) / denominator as i64
    };
    #[expect(clippy::cast_possible_truncation, reason = "callers scale 24 bits by at most 1000")]
    return rounded as i32;
}

/// A battery percentage up to 100.
const fn percent(value: u8) -> Option<u8> {
    if value <= 100 { Some(value) } else { None }
}

#[cfg(test)]
mod tests;
