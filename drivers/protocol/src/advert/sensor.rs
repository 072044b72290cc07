//! One advertising sensor as a receiver knows it: its format, its key, and which frame was heard last.
//!
//! Contract
//! * The same frame is heard many times; only its first hearing is [`Hearing::New`]. Formats that number nothing (Govee,
//!   Minew, BTHome without packet id) have a new measurement in every hearing.
//! * A sealed frame counts only when its counter is above the last accepted one. A device whose battery was changed starts
//!   over, so a lower counter is accepted once the device has been silent (no new frame) for `restart_after_ms`: choose it
//!   no shorter than the time after which silence raises an alarm, and a recording can only be played back to somebody who
//!   has been warned. `None` never accepts one; then the receiver must be started anew after a battery change.
//! * Counters live in memory: the first frame after a start is accepted.
//! * Time is an argument, in milliseconds of a clock that does not go back.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::parts::{Address, Part};
use super::{
    AdvertError, MEASURABLE_MC, SensorAdvert, atc1441, bthome, eddystone, govee, minew, pvvx, ruuvi,
};
use crate::ccm::Key;
use crate::evidence::Evidence;

/// The longest frame remembered to recognise it: more than one structure can carry.
const FRAME_BYTES_MAX: usize = 255;

/// How a sensor advertises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Ruuvi data formats 5 and 6.
    Ruuvi,
    /// BTHome v2.
    Bthome,
    /// pvvx "custom".
    Pvvx,
    /// atc1441.
    Atc1441,
    /// Govee H5072 / H5075; needs an active scan.
    GoveeH5075,
    /// Eddystone TLM.
    EddystoneTlm,
    /// Minew climate and info frames.
    Minew,
}

impl Format {
    /// The name that the configuration uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ruuvi => "ruuvi",
            Self::Bthome => "bthome",
            Self::Pvvx => "pvvx",
            Self::Atc1441 => "atc1441",
            Self::GoveeH5075 => "govee-h5075",
            Self::EddystoneTlm => "eddystone-tlm",
            Self::Minew => "minew",
        }
    }

    /// Whether frames of this format may be sealed with a key.
    #[must_use]
    pub const fn can_seal(self) -> bool {
        matches!(self, Self::Bthome)
    }

    /// The bytes of a part, if a frame of this format travels in it.
    #[must_use]
    pub fn frame(self, part: Part<'_>) -> Option<&[u8]> {
        match (self, part) {
            (Self::Ruuvi, Part::Manufacturer { company: ruuvi::COMPANY, bytes })
                if !ruuvi::is_companion(bytes) =>
            {
                Some(bytes)
            }
            (Self::GoveeH5075, Part::Manufacturer { company: govee::COMPANY, bytes })
            | (Self::Bthome, Part::Service { uuid: bthome::SERVICE, bytes })
            | (Self::Pvvx | Self::Atc1441, Part::Service { uuid: pvvx::SERVICE, bytes }) => Some(bytes),
            (Self::EddystoneTlm, Part::Service { uuid: eddystone::SERVICE, bytes })
                if eddystone::is_tlm(bytes) =>
            {
                Some(bytes)
            }
            (Self::Minew, Part::Service { uuid: minew::SERVICE, bytes }) if minew::is_known(bytes) => {
                Some(bytes)
            }
            _ => None,
        }
    }
}

/// What hearing a part of an advertisement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// Not a frame of this sensor's format.
    Foreign,
    /// The frame that was heard last, once more.
    Repeat,
    /// A new frame.
    New(SensorAdvert),
}

/// One sensor.
#[derive(Clone, Debug)]
pub struct Sensor {
    address: Address,
    format: Format,
    key: Option<Key>,
    restart_after_ms: Option<u64>,
    last: Option<Last>,
}

/// The last frame accepted.
#[derive(Clone, Debug)]
struct Last {
    bytes: Vec<u8>,
    counter: Option<u32>,
    sealed: bool,
    at_ms: u64,
}

impl Sensor {
    /// A sensor that has not been heard.
    #[must_use]
    pub const fn new(
        address: Address,
        format: Format,
        key: Option<Key>,
        restart_after_ms: Option<u64>,
    ) -> Self {
        Self { address, format, key, restart_after_ms, last: None }
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Its format.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The counter of the last frame accepted.
    #[must_use]
    pub fn counter(&self) -> Option<u32> {
        self.last.as_ref().and_then(|last| last.counter)
    }

    /// Takes in one part of an advertisement that came from this sensor's address.
    ///
    /// # Errors
    /// Why a frame of its format gives no reading. What is remembered does not change then.
    pub fn hear(&mut self, part: Part<'_>, now_ms: u64) -> Result<Hearing, AdvertError> {
        let Some(bytes) = self.format.frame(part) else { return Ok(Hearing::Foreign) };
        if self.last.as_ref().is_some_and(|last| last.counter.is_some() && last.bytes == bytes) {
            return Ok(Hearing::Repeat);
        }
        let advert = self.decode(bytes)?;
        if let Some(value) = advert.temperature.filter(|value| !MEASURABLE_MC.contains(&value.0)) {
            return Err(AdvertError::OutOfRange { value, found: Evidence::of(bytes) });
        }
        if advert.flags.authentic {
            self.check_counter(advert.counter, now_ms)?;
        }
        self.last = Some(Last {
            bytes: bytes.get(..FRAME_BYTES_MAX).unwrap_or(bytes).to_vec(),
            counter: advert.counter,
            sealed: advert.flags.authentic,
            at_ms: now_ms,
        });
        Ok(Hearing::New(advert))
    }

    fn decode(&self, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
        match self.format {
            Format::Ruuvi => ruuvi::decode(self.address, bytes),
            Format::Bthome => bthome::decode(self.address, bytes, self.key.as_ref()),
            Format::Pvvx => pvvx::decode(self.address, bytes),
            Format::Atc1441 => atc1441::decode(self.address, bytes),
            Format::GoveeH5075 => govee::decode(bytes),
            Format::EddystoneTlm => eddystone::decode(bytes),
            Format::Minew => minew::decode(self.address, bytes),
        }
    }

    fn check_counter(&self, counter: Option<u32>, now_ms: u64) -> Result<(), AdvertError> {
        let Some((found, last)) = counter.zip(self.last.as_ref().filter(|last| last.sealed)) else {
            return Ok(());
        };
        let silent = now_ms.saturating_sub(last.at_ms);
        let restarted = self.restart_after_ms.is_some_and(|after| silent >= after);
        match last.counter {
            Some(last) if found <= last && !restarted => Err(AdvertError::Replay { last, found }),
            _ => Ok(()),
        }
    }
}
