//! Bluetooth SIG Electronic Shelf Label service (ESLS 1.0 and ESLP 1.0, 2023-03-28), service 0x1857.
//!
//! | part | what |
//! |---|---|
//! | [`Command`], [`Response`] | the TLVs of the ESL control point and of sync packets, with the length rule |
//! | [`Led`], [`Repeat`] | LED control: colour, flashing pattern, how long |
//! | [`Address`], [`KeyMaterial`], [`AbsoluteTime`] | what an access point writes while configuring a label |
//! | [`Display`], [`Sensor`], [`LedType`] | what a label says of itself |
//! | [`Stage`], [`BasicState`] | the label's state machine and its state bits |
//! | [`ead`], [`sync`] | encrypted advertising data, and the packets of the synchronized mode |
//! | [`Session`] | one connection: configure, then commands with their answers; no IO |
//!
//! What is known from where: the tables of devices.md 3.1; the length rule and its vectors; the repeat field of an LED, its
//! special cases and the answers of every command as Espressif `ble_esl` (2026) and the Silicon Labs ESL tag implement them;
//! the direction bit of the randomizer as CSS 11 and Espressif have it.
//!
//! Limits named: images travel through the Object Transfer Service over an L2CAP channel, which is a transport of its own
//! ([`OBJECT_ID_BASE`] says which object); synchronized mode needs periodic advertising with responses, for which a gateway
//! needs an access point of its own. The codecs for both are here, the radio is not.

mod absolute_time;
pub mod ead;
mod features;
mod led;
mod session;
mod stage;
pub mod sync;
mod tlv;

pub use absolute_time::{AbsoluteTime, IMPLAUSIBLE_MS};
pub use features::{
    Display, DisplayType, FeatureError, LedType, PRESENT_DEVICE_OPERATING_TEMPERATURE, PRESENT_INPUT_VOLTAGE,
    Sensor, SensorType, image_index_max,
};
pub use led::{Led, Pattern, Repeat, RgbLevel};
pub use session::{COMMANDS_MAX, Configuration, Outcome, RETRY_MS, Request, Session, SessionError, Step};
pub use stage::{BasicState, Event, STAGE_TIMEOUT_MS, Stage, Written};
pub use tlv::{Command, ErrorCode, LedControl, Response, TLV_BYTES_MAX, TlvError, VENDOR_BYTES_MAX};

use crate::evidence::Evidence;

/// The service, a 16-bit Bluetooth UUID.
pub const SERVICE: u16 = 0x1857;
/// ESL Address: write.
pub const ADDRESS: u16 = 0x2BF6;
/// AP Sync Key Material: write.
pub const AP_SYNC_KEY: u16 = 0x2BF7;
/// ESL Response Key Material: write.
pub const RESPONSE_KEY: u16 = 0x2BF8;
/// Current Absolute Time: write.
pub const ABSOLUTE_TIME: u16 = 0x2BF9;
/// Display Information: read.
pub const DISPLAYS: u16 = 0x2BFA;
/// Image Information: read.
pub const IMAGES: u16 = 0x2BFB;
/// Sensor Information: read.
pub const SENSORS: u16 = 0x2BFC;
/// LED Information: read.
pub const LEDS: u16 = 0x2BFD;
/// ESL Control Point: write, notify.
pub const CONTROL_POINT: u16 = 0x2BFE;
/// An image is the object of this id plus its index, in the Object Transfer Service.
pub const OBJECT_ID_BASE: u64 = 0x100;
/// The label number that means everybody of a group; no label may have it.
pub const BROADCAST: u8 = 0xFF;

/// Where a label is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    id: u8,
    group: u8,
}

/// An address that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// 255 is everybody.
    #[error("label number {0} is the broadcast address, expected 0..=254")]
    Broadcast(u8),
    /// The group has seven bits.
    #[error("group {0}, expected 0..=127")]
    Group(u8),
    /// The reserved top bit is set, or the value has another length.
    #[error("an ESL address is two bytes with the top bit clear: {0}")]
    Bytes(Evidence),
}

impl Address {
    /// Label `id` (0..=254) of `group` (0..=127).
    ///
    /// # Errors
    /// The broadcast number, or a group of more than seven bits.
    pub const fn new(id: u8, group: u8) -> Result<Self, AddressError> {
        if id == BROADCAST {
            return Err(AddressError::Broadcast(id));
        }
        if group > 0x7F {
            return Err(AddressError::Group(group));
        }
        Ok(Self { id, group })
    }

    /// The label's number within its group.
    #[must_use]
    pub const fn id(self) -> u8 {
        self.id
    }

    /// The group.
    #[must_use]
    pub const fn group(self) -> u8 {
        self.group
    }

    /// The value of the characteristic.
    #[must_use]
    pub const fn encode(self) -> [u8; 2] {
        [self.id, self.group]
    }

    /// Reads the value of the characteristic.
    ///
    /// # Errors
    /// Another length, the reserved bit, the broadcast number.
    pub fn parse(bytes: &[u8]) -> Result<Self, AddressError> {
        match *bytes {
            [id, group] if group <= 0x7F => Self::new(id, group),
            _ => Err(AddressError::Bytes(Evidence::of(bytes))),
        }
    }
}

/// A session key and its initialization vector, as 2BF7 and 2BF8 carry them. Its debug text hides them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The AES-128 key.
    pub key: [u8; 16],
    /// The initialization vector, as written.
    pub iv: [u8; 8],
}

impl KeyMaterial {
    /// Bytes of the characteristic.
    pub const BYTES: usize = 24;

    /// The value of the characteristic: key, then vector.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        for (slot, byte) in out.iter_mut().zip(self.key.iter().chain(&self.iv)) {
            *slot = *byte;
        }
        out
    }

    /// Reads the value of the characteristic; `None` for another length.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (key, iv) = bytes.split_first_chunk::<16>()?;
        Some(Self { key: *key, iv: iv.try_into().ok()? })
    }
}

impl core::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KeyMaterial(hidden)")
    }
}

#[cfg(test)]
mod tests;
