//! Ruuvi data formats 5 (RuuviTag) and 6 (Ruuvi Air): manufacturer data 0x0499, all numbers big-endian.
//!
//! Source: docs.ruuvi.com, "Bluetooth advertisements", data format 5 (RAWv2) and data format 6. The number that a field
//! cannot measure (0x8000 signed, all ones unsigned) means "not available" there.

use super::{Address, AdvertError, Flags, SensorAdvert, scaled};
use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Company identifier of Ruuvi Innovations.
pub const COMPANY: u16 = 0x0499;

const FIVE_BYTES: usize = 24;
const SIX_BYTES: usize = 20;
const NO_ADDRESS: [u8; 6] = [0xFF; 6];
const NO_VOLTAGE: u16 = 0x7FF;

/// Whether this is a frame of another format that the same device sends in turn (E1, for Bluetooth 5 receivers).
#[must_use]
pub fn is_companion(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0xE1)
}

/// Reads data format 5 or 6.
///
/// # Errors
/// Another format, another length, or another device's address inside.
pub fn decode(sender: Address, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    match bytes.first() {
        Some(5) => five(sender, bytes),
        Some(6) => six(sender, bytes),
        _ => Err(AdvertError::Kind { format: "Ruuvi data format 5 or 6", found }),
    }
}

fn five(sender: Address, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let length = AdvertError::Length { format: "Ruuvi data format 5", expected: FIVE_BYTES, found };
    let &[_, t0, t1, h0, h1, p0, p1, _, _, _, _, _, _, b0, b1, _, s0, s1, a0, a1, a2, a3, a4, a5] = bytes
    else {
        return Err(length);
    };
    let named = [a0, a1, a2, a3, a4, a5];
    if named != NO_ADDRESS && named != sender.0 {
        return Err(AdvertError::Address { named: Address(named), sender, found });
    }
    let voltage = u16::from_be_bytes([b0, b1]) >> 5;
    let sequence = u16::from_be_bytes([s0, s1]);
    Ok(SensorAdvert {
        battery_mv: (voltage != NO_VOLTAGE).then_some(voltage + 1600),
        counter: (sequence != u16::MAX).then_some(u32::from(sequence)),
        ..climate([t0, t1], [h0, h1], [p0, p1])
    })
}

fn six(sender: Address, bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let length = AdvertError::Length { format: "Ruuvi data format 6", expected: SIX_BYTES, found };
    let &[_, t0, t1, h0, h1, p0, p1, _, _, _, _, _, _, _, _, sequence, _, a3, a4, a5] = bytes else {
        return Err(length);
    };
    // Only the lower half of the address fits into the frame.
    let [s0, s1, s2, ..] = sender.0;
    let named = [s0, s1, s2, a3, a4, a5];
    if [a3, a4, a5] != [0xFF; 3] && named != sender.0 {
        return Err(AdvertError::Address { named: Address(named), sender, found });
    }
    Ok(SensorAdvert { counter: Some(u32::from(sequence)), ..climate([t0, t1], [h0, h1], [p0, p1]) })
}

/// Temperature in 0.005 °C, humidity in 0.0025 %, pressure in pascals above 50,000.
fn climate(temperature: [u8; 2], humidity: [u8; 2], pressure: [u8; 2]) -> SensorAdvert {
    let temperature = i16::from_be_bytes(temperature);
    let raw = u16::from_be_bytes(humidity);
    let pressure = u16::from_be_bytes(pressure);
    let available = raw != u16::MAX;
    let humidity = CentiPercent::possible(scaled(i32::from(raw), 1, 4).unsigned_abs()).filter(|_| available);
    SensorAdvert {
        temperature: (temperature != i16::MIN).then_some(MilliCelsius(i32::from(temperature) * 5)),
        humidity,
        pressure_pa: (pressure != u16::MAX).then_some(u32::from(pressure) + 50_000),
        flags: Flags {
            unavailable: temperature == i16::MIN,
            impossible: available && humidity.is_none(),
            ..Flags::default()
        },
        ..SensorAdvert::default()
    }
}
