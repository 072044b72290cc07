//! atc1441 format of the original ATC_MiThermometer firmware: service data 0x181A, 13 bytes, big-endian.
//!
//! Source: README of atc1441/ATC_MiThermometer, "Advertising format of the custom firmware": address in order,
//! temperature in 0.1 °C, humidity in %, battery in % and mV, frame counter.

use super::pvvx::SERVICE;
use super::{Address, AdvertError, Flags, SensorAdvert, percent};
use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Service UUID, the same as that of [`super::pvvx`]; the length tells them apart.
pub const SERVICE_UUID: u16 = SERVICE;
/// Bytes of a frame.
pub const FRAME_BYTES: usize = 13;

/// Reads a frame.
///
/// # Errors
/// Another length, or another device's address inside.
pub fn decode(sender: Address, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let &[a0, a1, a2, a3, a4, a5, t0, t1, humidity, charge, v0, v1, counter] = bytes else {
        return Err(AdvertError::Length { format: "atc1441", expected: FRAME_BYTES, found });
    };
    let named = Address([a0, a1, a2, a3, a4, a5]);
    if named != sender {
        return Err(AdvertError::Address { named, sender, found });
    }
    let humidity = CentiPercent::possible(u32::from(humidity) * 100);
    let battery_percent = percent(charge);
    Ok(SensorAdvert {
        temperature: Some(MilliCelsius(i32::from(i16::from_be_bytes([t0, t1])) * 100)),
        humidity,
        battery_mv: Some(u16::from_be_bytes([v0, v1])),
        battery_percent,
        counter: Some(counter.into()),
        flags: Flags { impossible: humidity.is_none() || battery_percent.is_none(), ..Flags::default() },
        ..SensorAdvert::default()
    })
}
