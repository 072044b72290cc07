//! Eddystone TLM, plain: service data 0xFEAA, 14 bytes, big-endian.
//!
//! Source: github.com/google/eddystone, eddystone-tlm/tlm-plain.md: frame type 0x20, version 0, battery in mV (0 when not
//! supported), temperature as signed 8.8 fixed point (0x8000 when not supported), advertisements since boot, time since
//! boot in 0.1 s. Encrypted TLM (version 1) needs the beacon's identity key and is not read.

use super::{AdvertError, Flags, SensorAdvert, scaled};
use crate::evidence::Evidence;
use crate::unit::MilliCelsius;

/// Service UUID.
pub const SERVICE: u16 = 0xFEAA;
/// Bytes of a frame.
pub const FRAME_BYTES: usize = 14;

const TLM: u8 = 0x20;

/// Whether the frame is TLM at all; the other Eddystone frames (UID, URL, EID) carry no measurement.
#[must_use]
pub fn is_tlm(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TLM)
}

/// Reads a frame.
///
/// # Errors
/// Another length, another frame type or version.
pub fn decode(bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let &[kind, version, v0, v1, t0, t1, c0, c1, c2, c3, _, _, _, _] = bytes else {
        return Err(AdvertError::Length { format: "Eddystone TLM", expected: FRAME_BYTES, found });
    };
    if (kind, version) != (TLM, 0) {
        return Err(AdvertError::Kind { format: "plain Eddystone TLM", found });
    }
    let voltage = u16::from_be_bytes([v0, v1]);
    let temperature = fixed_8_8([t0, t1]);
    Ok(SensorAdvert {
        temperature,
        flags: Flags { unavailable: temperature.is_none(), ..Flags::default() },
        battery_mv: (voltage != 0).then_some(voltage),
        counter: Some(u32::from_be_bytes([c0, c1, c2, c3])),
        ..SensorAdvert::default()
    })
}

/// A signed 8.8 fixed-point temperature, to the nearest thousandth; absent for 0x8000.
fn fixed_8_8(bytes: [u8; 2]) -> Option<MilliCelsius> {
    let raw = i16::from_be_bytes(bytes);
    (raw != i16::MIN).then(|| MilliCelsius(scaled(raw.into(), 1000, 256)))
}
