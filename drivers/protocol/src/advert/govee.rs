//! Govee H5072 / H5075: manufacturer data 0xEC88, 6 bytes; sent in the scan response, so only an active scan hears it.
//!
//! Source: govee-ble 1.5.2 (Home Assistant), `decode_temp_humid_battery_error`; the maker publishes nothing. Three bytes
//! big-endian carry both values: bit 23 is the sign of the temperature, the rest is temperature × 10,000 + humidity × 10.
//! The last byte read is the battery in its low seven bits and a probe fault in the top one.

use super::{AdvertError, SensorAdvert, percent};
use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Company identifier that these devices use.
pub const COMPANY: u16 = 0xEC88;
/// Bytes of a frame.
pub const FRAME_BYTES: usize = 6;

const SIGN: u32 = 0x80_0000;

/// Reads a frame.
///
/// # Errors
/// Another length, or the sensor's own fault bit.
pub fn decode(bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let &[_, high, middle, low, battery, _] = bytes else {
        return Err(AdvertError::Length { format: "Govee H5075", expected: FRAME_BYTES, found });
    };
    if battery & 0x80 != 0 {
        return Err(AdvertError::Probe(found));
    }
    let (temperature, humidity) = values([high, middle, low]);
    let battery_percent = percent(battery & 0x7F);
    let mut advert = SensorAdvert {
        temperature: Some(temperature),
        humidity: Some(humidity),
        battery_percent,
        ..SensorAdvert::default()
    };
    advert.flags.impossible = battery_percent.is_none();
    Ok(advert)
}

/// The three bytes that carry temperature and humidity.
#[must_use]
pub fn values([high, middle, low]: [u8; 3]) -> (MilliCelsius, CentiPercent) {
    let word = u32::from_be_bytes([0, high, middle, low]);
    let magnitude = word & !SIGN;
    let tenths = i32::try_from(magnitude / 1000).unwrap_or_default();
    let temperature = MilliCelsius(if word & SIGN == 0 { tenths * 100 } else { -tenths * 100 });
    let humidity = u16::try_from(magnitude % 1000 * 10).unwrap_or_default();
    (temperature, CentiPercent(humidity))
}
