//! DS18B20 and its relatives on 1-Wire, as the kernel's `w1_slave` file shows them: the scratchpad in hex, twice, and the
//! kernel's verdict.
//!
//! Contract: a temperature comes out only when the kernel said `YES`, the checksum holds here too, the bytes that have a
//! fixed value have it, and the scratchpad is neither all zero (whose checksum is zero as well) nor the power-on value of
//! 85 °C, which no conversion produced. A true 85.000 °C is refused with it: no cabinet stands there.
//!
//! Sources: docs.kernel.org/w1/slaves/w1_therm.html; data sheets DS18B20, DS18S20, DS1822, DS1825, DS28EA00 (Analog
//! Devices). Bits below the resolution set in the configuration byte are undefined and are cut off. Chips that share a family
//! code and count otherwise (MAX31850 thermocouples in 3B, 14-bit copies in 28) show it in that byte and are refused.

use crate::evidence::Evidence;
use crate::unit::MilliCelsius;

/// Bytes of a scratchpad, its checksum included.
pub const SCRATCHPAD_BYTES: usize = 9;
/// The longest text looked at; the kernel writes about 75 bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// 85 °C in sixteenths.
const POWER_ON_RAW: i16 = 0x0550;
/// 85 °C in halves, as a DS18S20 counts.
const POWER_ON_HALVES: i16 = 0x00AA;

/// Kind of sensor, by the family code that its name begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// 10: nine bits and a remainder.
    Ds18s20,
    /// 22: as 28, less exact.
    Ds1822,
    /// 28.
    Ds18b20,
    /// 3B: as 28, with address pins in the configuration byte.
    Ds1825,
    /// 42: as 28.
    Ds28ea00,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [Self::Ds18s20, Self::Ds1822, Self::Ds18b20, Self::Ds1825, Self::Ds28ea00];

    /// The family code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ds18s20 => 0x10,
            Self::Ds1822 => 0x22,
            Self::Ds18b20 => 0x28,
            Self::Ds1825 => 0x3B,
            Self::Ds28ea00 => 0x42,
        }
    }

    /// The family of a sensor folder such as `28-0316a2794c1f`; `None` for one that measures no temperature.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (code, serial) = name.split_once('-')?;
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        if code.len() != 2 || !hex(code) || serial.is_empty() || !hex(serial) {
            return None;
        }
        let code = u8::from_str_radix(code, 16).ok()?;
        Self::ALL.into_iter().find(|family| family.code() == code)
    }
}

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
    /// A byte that has a fixed value in this family has another: a chip that counts otherwise.
    #[error("scratchpad is not one of this family: {0}")]
    Foreign(Evidence),
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

/// The resolution in bits that a configuration byte says, `None` where it is not one of the family's. A DS18S20 has none:
/// it always counts nine bits and a remainder.
#[must_use]
pub const fn resolution(family: Family, configuration: u8) -> Option<u8> {
    let fixed = match family {
        Family::Ds18s20 => return None,
        // The low four bits are the address pins.
        Family::Ds1825 => configuration & 0x90 == 0x10,
        Family::Ds1822 | Family::Ds18b20 | Family::Ds28ea00 => configuration & 0x9F == 0x1F,
    };
    if fixed { Some(9 + (configuration >> 5 & 3)) } else { None }
}

/// Reads a scratchpad.
///
/// # Errors
/// Why it holds no reading.
pub fn convert(family: Family, scratchpad: &[u8; SCRATCHPAD_BYTES]) -> Result<MilliCelsius, Fault> {
    if scratchpad.iter().all(|byte| *byte == 0) {
        return Err(Fault::AllZero);
    }
    let [low, high, _, _, configuration, _, remain, per_degree, crc] = *scratchpad;
    if crc8(scratchpad.get(..SCRATCHPAD_BYTES - 1).unwrap_or(&[])) != crc {
        return Err(Fault::CrcNo(Evidence::of(scratchpad)));
    }
    let foreign = Fault::Foreign(Evidence::of(scratchpad));
    let raw = i16::from_le_bytes([low, high]);
    let milli = if family == Family::Ds18s20 {
        if raw == POWER_ON_HALVES && remain == 0x0C {
            return Err(Fault::PowerOn85);
        }
        halves(raw, remain, per_degree).ok_or(foreign)?
    } else {
        let undefined = 12 - resolution(family, configuration).ok_or(foreign)?;
        let raw = raw >> undefined << undefined;
        if raw == POWER_ON_RAW {
            return Err(Fault::PowerOn85);
        }
        // One sixteenth of a degree is 62.5 thousandths; halves are cut toward zero as the kernel does.
        i32::from(raw) * 1000 / 16
    };
    let reading = MilliCelsius(milli);
    if (-55_000..=125_000).contains(&milli) { Ok(reading) } else { Err(Fault::OutOfRange(reading)) }
}

/// A DS18S20's reading: whole degrees, less a quarter, and what was counted of the next degree.
fn halves(raw: i16, remain: u8, per_degree: u8) -> Option<i32> {
    if per_degree == 0 || remain > per_degree {
        return None;
    }
    let (remain, per_degree) = (i32::from(remain), i32::from(per_degree));
    Some(i32::from(raw >> 1) * 1000 - 250 + 1000 * (per_degree - remain) / per_degree)
}

/// Reads the text of a `w1_slave` file.
///
/// # Errors
/// Why it holds no reading.
pub fn parse(family: Family, text: &str) -> Result<MilliCelsius, Fault> {
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
    convert(family, &scratchpad)
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
