//! Minew sensors: service data 0xFFE1, first byte 0xA1, second the frame: 0x08 info, 0x01 temperature and humidity.
//!
//! Source: Minew's "connectable frame" document for info (battery, address reversed, name). Temperature and humidity as
//! 8.8 fixed point: two public decoders (reelyActive, obniz MINEW_S1) agree on the layout and differ in the sign only:
//! the one takes the integer byte as signed, the other does not. Signed is taken: unsigned would mean more than 128 °C,
//! which the sensor cannot measure.

use super::{Address, AdvertError, Flags, SensorAdvert, percent, scaled};
use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Service UUID.
pub const SERVICE: u16 = 0xFFE1;
/// Bytes of a temperature and humidity frame.
pub const CLIMATE_BYTES: usize = 13;
/// Bytes of an info frame without the name.
pub const INFO_BYTES_MIN: usize = 9;

const VENDOR: u8 = 0xA1;
const CLIMATE: u8 = 0x01;
const INFO: u8 = 0x08;

/// Whether the frame is one of the two that are read; a device sends others (acceleration, light) in turn.
#[must_use]
pub fn is_known(bytes: &[u8]) -> bool {
    matches!(bytes, [VENDOR, CLIMATE | INFO, ..])
}

/// Reads a frame. An info frame carries no temperature.
///
/// # Errors
/// Another frame, another length, or another device's address inside.
pub fn decode(sender: Address, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let (charge, named, climate) = match bytes {
        &[VENDOR, CLIMATE, charge, t0, t1, h0, h1, f, e, d, c, b, a] => {
            (charge, [f, e, d, c, b, a], Some(([t0, t1], [h0, h1])))
        }
        &[VENDOR, INFO, charge, f, e, d, c, b, a, ..] => (charge, [f, e, d, c, b, a], None),
        [VENDOR, CLIMATE, ..] => {
            return Err(AdvertError::Length { format: "Minew climate", expected: CLIMATE_BYTES, found });
        }
        [VENDOR, INFO, ..] => {
            return Err(AdvertError::Length { format: "Minew info", expected: INFO_BYTES_MIN, found });
        }
        _ => return Err(AdvertError::Kind { format: "Minew climate or info", found }),
    };
    let named = Address::reversed(named);
    if named != sender {
        return Err(AdvertError::Address { named, sender, found });
    }
    let battery_percent = percent(charge);
    let mut advert = SensorAdvert {
        battery_percent,
        flags: Flags { impossible: battery_percent.is_none(), ..Flags::default() },
        ..SensorAdvert::default()
    };
    if let Some((temperature, humidity)) = climate {
        let raw = i32::from(i16::from_be_bytes(temperature));
        advert.temperature = Some(MilliCelsius(scaled(raw, 1000, 256)));
        let raw = i32::from(u16::from_be_bytes(humidity));
        advert.humidity = CentiPercent::possible(scaled(raw, 100, 256).unsigned_abs());
        advert.flags.impossible |= advert.humidity.is_none();
    }
    Ok(advert)
}
