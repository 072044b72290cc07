//! pvvx "custom" format of the ATC_MiThermometer firmware: service data 0x181A, 15 bytes, little-endian.
//!
//! Source: README of pvvx/ATC_MiThermometer, "Custom format (all data little-endian)": address reversed, temperature in
//! 0.01 °C, humidity in 0.01 %, battery in mV and %, measurement counter, flags. Flags say what the reed switch and the
//! trigger output do, which depends on the hardware, so they are not interpreted here.

use super::{Address, AdvertError, Flags, SensorAdvert, percent};
use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Service UUID (Environmental Sensing).
pub const SERVICE: u16 = 0x181A;
/// Bytes of a frame.
pub const FRAME_BYTES: usize = 15;

/// Reads a frame.
///
/// # Errors
/// Another length, or another device's address inside.
pub fn decode(sender: Address, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let &[a5, a4, a3, a2, a1, a0, t0, t1, h0, h1, v0, v1, charge, counter, _flags] = bytes else {
        return Err(AdvertError::Length { format: "pvvx", expected: FRAME_BYTES, found });
    };
    let named = Address([a0, a1, a2, a3, a4, a5]);
    if named != sender {
        return Err(AdvertError::Address { named, sender, found });
    }
    let humidity = CentiPercent::possible(u16::from_le_bytes([h0, h1]).into());
    let battery_percent = percent(charge);
    Ok(SensorAdvert {
        temperature: Some(MilliCelsius(i32::from(i16::from_le_bytes([t0, t1])) * 10)),
        humidity,
        battery_mv: Some(u16::from_le_bytes([v0, v1])),
        battery_percent,
        counter: Some(counter.into()),
        flags: Flags { impossible: humidity.is_none() || battery_percent.is_none(), ..Flags::default() },
        ..SensorAdvert::default()
    })
}
