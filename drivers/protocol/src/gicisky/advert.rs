//! The five bytes of manufacturer data a tag advertises.

use super::model::Model;
use crate::evidence::Evidence;

const TYPE_MASK: u16 = 0x3FFF;
/// The tag does not unpack images (OpenEPaperLink `ble_filter.cpp`).
const TYPE_RAW_ONLY: u16 = 0x4000;

/// What a tag says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The type with its two topmost bits, which are no part of the model number.
    pub type_bits: u16,
    /// The battery in millivolts, to a tenth of a volt.
    pub battery_mv: u16,
    /// The firmware number.
    pub firmware: u16,
}

/// Manufacturer data of another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("advertising data of other than 5 bytes: {0}")]
pub struct AdvertError(pub Evidence);

impl Advert {
    /// Reads the manufacturer data (without the manufacturer number).
    ///
    /// # Errors
    /// Any other length than five bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, AdvertError> {
        let &[type_low, battery, firmware_high, firmware_low, type_high] = bytes else {
            return Err(AdvertError(Evidence::of(bytes)));
        };
        Ok(Self {
            type_bits: u16::from_be_bytes([type_high, type_low]),
            battery_mv: u16::from(battery) * 100,
            firmware: u16::from_be_bytes([firmware_high, firmware_low]),
        })
    }

    /// The manufacturer data; the battery is cut to tenths of a volt.
    #[must_use]
    pub fn encode(&self) -> [u8; 5] {
        let [type_high, type_low] = self.type_bits.to_be_bytes();
        let [firmware_high, firmware_low] = self.firmware.to_be_bytes();
        let battery = u8::try_from(self.battery_mv / 100).unwrap_or(u8::MAX);
        [type_low, battery, firmware_high, firmware_low, type_high]
    }

    /// The model number.
    #[must_use]
    pub const fn model_id(&self) -> u16 {
        self.type_bits & TYPE_MASK
    }

    /// The tag takes packed images, by what one public writer observed.
    #[must_use]
    pub const fn unpacks(&self) -> bool {
        self.type_bits & TYPE_RAW_ONLY == 0
    }

    /// The model; `None` for a number not in the table.
    #[must_use]
    pub fn model(&self) -> Option<Model> {
        Model::find(self.model_id())
    }
}
