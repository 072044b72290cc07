//! DS18B20 on 1-Wire, as the kernel's `w1_slave` file shows it: the scratchpad in hex, twice, and the kernel's verdict.
//!
//! Contract: a temperature comes out only when the kernel said `YES`, the checksum holds here too, and the scratchpad
//! is neither all zero (whose checksum is zero as well) nor the power-on value of 85 °C, which no conversion produced.

use crate::evidence::Evidence;
use crate::unit::MilliCelsius;

/// Bytes of a scratchpad, its checksum included.
pub const SCRATCHPAD_BYTES: usize = 9;
/// The longest text looked at; the kernel writes about 75 bytes.
pub const TEXT_BYTES_MAX: usize = 256;

const POWER_ON_RAW: i16 = 0x0550;

/// Why there is no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The power-on value 85.000 °C: the sensor was reset and has not converted.
    #[error("power-on value 85 °C: sensor was reset, nothing was measured")]
    PowerOn85,
    /// The kernel said `NO`, or the checksum does not hold.
    #[error("checksum does not hold: {0}")]
    CrcNo(Evidence),
    /// Nine zero bytes: a line shorted to ground reads so, with a valid checksum.
    #[error("scratchpad is all zero")]
    AllZero,
    /// The file is empty, as for a sensor that vanished.
    #[error("file is empty")]
    Empty,
    /// The text is not what the kernel writes.
    #[error("not a w1_slave text: {0}")]
    Malformed(Evidence),
    /// Outside −55 to +125 °C, which the sensor cannot measure.
    #[error("{0} is outside the sensor's range")]
    OutOfRange(MilliCelsius),
}

/// CRC-8 of 1-Wire: polynomial 0x8C (reflected), initial value 0.
#[must_use]
pub fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x8C } else { crc >> 1 })
    })
}

/// Reads a scratchpad.
///
/// # Errors
/// Why it holds no reading.
pub fn convert(scratchpad: &[u8; SCRATCHPAD_BYTES]) -> Result<MilliCelsius, Fault> {
    if scratchpad.iter().all(|byte| *byte == 0) {
        return Err(Fault::AllZero);
    }
    let [low, high, .., crc] = *scratchpad;
    if crc8(scratchpad.get(..SCRATCHPAD_BYTES - 1).unwrap_or(&[])) != crc {
        return Err(Fault::CrcNo(Evidence::of(scratchpad)));
    }
    let raw = i16::from_le_bytes([low, high]);
    if raw == POWER_ON_RAW {
        return Err(Fault::PowerOn85);
    }
    // One sixteenth of a degree is 62.5 thousandths; halves are cut toward zero as the kernel does.
    let reading = MilliCelsius(i32::from(raw) * 1000 / 16);
    if (-55_000..=125_000).contains(&reading.0) { Ok(reading) } else { Err(Fault::OutOfRange(reading)) }
}

/// Reads the text of a `w1_slave` file.
///
/// # Errors
/// Why it holds no reading.
pub fn parse(text: &str) -> Result<MilliCelsius, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::Empty);
    }
    let malformed = || Fault::Malformed(Evidence::of(text.as_bytes()));
    if text.len() > TEXT_BYTES_MAX {
        return Err(malformed());
    }
    let mut lines = text.lines();
    let (first, second) = (lines.next().ok_or_else(malformed)?, lines.next().ok_or_else(malformed)?);
    let (bytes, verdict) = first.split_once(" : crc=").ok_or_else(malformed)?;
    let scratchpad = hex_bytes(bytes).ok_or_else(malformed)?;
    let (repeated, milli) = second.split_once(" t=").ok_or_else(malformed)?;
    milli.trim().parse::<i32>().map_err(|_| malformed())?;
    if verdict.trim_end().ends_with("NO") {
        return Err(Fault::CrcNo(Evidence::of(&scratchpad)));
    }
    if !verdict.trim_end().ends_with("YES") || hex_bytes(repeated).is_none() {
        return Err(malformed());
    }
    convert(&scratchpad)
}

fn hex_bytes(text: &str) -> Option<[u8; SCRATCHPAD_BYTES]> {
    let mut bytes = [0; SCRATCHPAD_BYTES];
    let mut words = text.split_ascii_whitespace();
    for slot in &mut bytes {
        let word = words.next().filter(|word| word.len() == 2)?;
        *slot = u8::from_str_radix(word, 16).ok()?;
    }
    words.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests;
