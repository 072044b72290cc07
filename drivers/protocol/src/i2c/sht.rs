//! Sensirion SHT3x and SHT4x: a command, a wait, six bytes: temperature, its checksum, humidity, its checksum.
//!
//! Sources: data sheets SHT3x-DIS (4.3 single shot, 4.12 checksum, 4.13 conversion) and SHT4x (4.4, 4.6). Single shots
//! without clock stretching at the highest repeatability: the chip sleeps between measurements and keeps no state, so a
//! reset in between goes unnoticed and does no harm.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::{Chip, Climate, Fault, Line, checked, dead};
use crate::evidence::Evidence;
use crate::unit::CentiPercent;

const FULL_SCALE: i64 = 65_535;

/// CRC-8 of Sensirion: polynomial 0x31, initial value 0xFF.
#[must_use]
pub fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xFF, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 == 0 { crc << 1 } else { crc << 1 ^ 0x31 })
    })
}

pub(super) fn three<I: I2c, D: DelayNs>(line: &mut Line<'_, I, D>, fresh: bool) -> Result<Climate, Fault> {
    if fresh {
        // Soft reset: ends a periodic mode or a heater that somebody else switched on.
        line.write(&[0x30, 0xA2])?;
        line.wait_ms(2);
    }
    line.write(&[0x24, 0x00])?;
    line.wait_ms(16);
    let mut bytes = [0; 6];
    line.read(&mut bytes)?;
    let (temperature, humidity) = words(bytes)?;
    let humidity = rounded(10_000 * i64::from(humidity));
    climate(Chip::Sht3x, temperature, humidity, bytes)
}

pub(super) fn four<I: I2c, D: DelayNs>(line: &mut Line<'_, I, D>, fresh: bool) -> Result<Climate, Fault> {
    if fresh {
        line.write(&[0x94])?;
        line.wait_ms(1);
    }
    line.write(&[0xFD])?;
    line.wait_ms(9);
    let mut bytes = [0; 6];
    line.read(&mut bytes)?;
    let (temperature, humidity) = words(bytes)?;
    let humidity = rounded(12_500 * i64::from(humidity)) - 600;
    climate(Chip::Sht4x, temperature, humidity, bytes)
}

fn words(bytes: [u8; 6]) -> Result<(u16, u16), Fault> {
    if dead(&bytes) {
        return Err(Fault::DeadLine(Evidence::of(&bytes)));
    }
    let [t0, t1, t_crc, h0, h1, h_crc] = bytes;
    if crc8(&[t0, t1]) != t_crc || crc8(&[h0, h1]) != h_crc {
        return Err(Fault::Crc(Evidence::of(&bytes)));
    }
    Ok((u16::from_be_bytes([t0, t1]), u16::from_be_bytes([h0, h1])))
}

/// −45 °C + 175 °C · raw / 65535. Humidity is cut to 0 to 100 %, as the data sheets ask for.
fn climate(chip: Chip, temperature: u16, humidity: i64, bytes: [u8; 6]) -> Result<Climate, Fault> {
    let milli = rounded(175_000 * i64::from(temperature)) - 45_000;
    let humidity = u16::try_from(humidity.clamp(0, 10_000)).map(CentiPercent).ok();
    checked(chip, i32::try_from(milli).unwrap_or(i32::MAX), humidity, &bytes)
}

/// Divides by the full scale, to the nearest integer; never negative.
const fn rounded(product: i64) -> i64 {
    (product + FULL_SCALE / 2) / FULL_SCALE
}
