//! Temperature and humidity chips on I2C, written over the traits of `embedded-hal` 1.0: the same code on a gateway
//! (`/dev/i2c-N`) and in firmware.
//!
//! Contract
//! * A reading comes out in integers, or a [`Fault`] with the offending bytes. The bus is borrowed for each measurement, so
//!   that chips share it.
//! * A line held low reads as zeros and an open one as ones, both with an acknowledge; neither is a reading. Chips with a
//!   checksum are caught by it; for the others a word of all zeros or all ones counts only when another register, which
//!   cannot hold that, proves the chip present, and when a second conversion agrees.
//! * After any fault the next measurement identifies and configures the chip anew.
//!
//! Why no existing crates: `lm75` 1.0 and `tmp117` 3.0 answer in floats, `mcp9808` 0.4 panics when asked for integers at its
//! full resolution, `sht4x` 0.2 brings a fixed-point library, `sht3x` is of embedded-hal 0.2; none tells a dead bus from a
//! reading, and all five together are more code than what is here.
//!
//! Sources: data sheets of Sensirion SHT3x-DIS and SHT4x, Texas Instruments TMP117 and TMP105, Microchip MCP9808, National
//! LM75; registers and vectors as in the project's reference of device protocols, section 2.4.

mod lm75;
mod mcp9808;
mod sht;
mod tmp117;

use core::ops::RangeInclusive;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{Error as _, ErrorKind, I2c};
use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

pub use sht::crc8;

/// A chip that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chip {
    /// Sensirion SHT30, SHT31, SHT35.
    Sht3x,
    /// Sensirion SHT40, SHT41, SHT45.
    Sht4x,
    /// Texas Instruments TMP117.
    Tmp117,
    /// Microchip MCP9808.
    Mcp9808,
    /// LM75 and its many copies, nine bits.
    Lm75,
    /// Texas Instruments TMP105 (also TMP75, TMP175), twelve bits.
    Tmp105,
}

impl Chip {
    /// Every chip.
    pub const ALL: [Self; 6] =
        [Self::Sht3x, Self::Sht4x, Self::Tmp117, Self::Mcp9808, Self::Lm75, Self::Tmp105];

    /// The name that the configuration uses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sht3x => "sht3x",
            Self::Sht4x => "sht4x",
            Self::Tmp117 => "tmp117",
            Self::Mcp9808 => "mcp9808",
            Self::Lm75 => "lm75",
            Self::Tmp105 => "tmp105",
        }
    }

    /// The addresses that its pins allow.
    #[must_use]
    pub const fn addresses(self) -> RangeInclusive<u8> {
        match self {
            Self::Sht3x => 0x44..=0x45,
            Self::Sht4x => 0x44..=0x46,
            Self::Tmp117 => 0x48..=0x4B,
            Self::Mcp9808 => 0x18..=0x1F,
            Self::Lm75 | Self::Tmp105 => 0x48..=0x4F,
        }
    }

    /// What it can measure, in thousandths of a degree.
    #[must_use]
    pub const fn range_mc(self) -> RangeInclusive<i32> {
        match self {
            Self::Sht3x | Self::Sht4x | Self::Mcp9808 => -40_000..=125_000,
            Self::Tmp117 => -55_000..=150_000,
            Self::Lm75 | Self::Tmp105 => -55_000..=125_000,
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Climate {
    /// Temperature.
    pub temperature: MilliCelsius,
    /// Relative humidity, of the chips that measure it.
    pub humidity: Option<CentiPercent>,
}

/// Why there is no measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bus refused: no acknowledge, a line held, an adapter that is gone.
    #[error("bus: {0}")]
    Bus(ErrorKind),
    /// Zeros or ones only, from a chip that cannot say that.
    #[error("only zeros or ones, as from an open or shorted line: {0}")]
    DeadLine(Evidence),
    /// A checksum does not hold.
    #[error("checksum does not hold: {0}")]
    Crc(Evidence),
    /// Another chip answers.
    #[error("another chip answers: identity {found}, expected {expected:#06x}")]
    Identity {
        /// Its identity.
        expected: u16,
        /// What was read.
        found: Evidence,
    },
    /// The chip was reset and has not measured yet.
    #[error("no conversion since the chip was reset")]
    NotReady,
    /// Outside of what the chip can measure.
    #[error("{value} is outside the chip's range: {found}")]
    OutOfRange {
        /// The temperature.
        value: MilliCelsius,
        /// What was read.
        found: Evidence,
    },
}

/// An address that the chip cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has an address from {:#04x} to {:#04x}, not {address:#04x}",
    chip.name(), chip.addresses().start(), chip.addresses().end())]
pub struct AddressError {
    /// The chip.
    pub chip: Chip,
    /// The address given.
    pub address: u8,
}

/// A chip at its address.
#[derive(Clone, Debug)]
pub struct Probe {
    chip: Chip,
    address: u8,
    started: bool,
}

impl Probe {
    /// A chip that has not been spoken to.
    ///
    /// # Errors
    /// An address that the chip cannot have.
    pub fn new(chip: Chip, address: u8) -> Result<Self, AddressError> {
        if chip.addresses().contains(&address) {
            return Ok(Self { chip, address, started: false });
        }
        Err(AddressError { chip, address })
    }

    /// The chip.
    #[must_use]
    pub const fn chip(&self) -> Chip {
        self.chip
    }

    /// Its address.
    #[must_use]
    pub const fn address(&self) -> u8 {
        self.address
    }

    /// Measures once. Waits for the chip's conversion, at most 16 ms, and at most 0.8 s when the chip must be started first
    /// or when a word of zeros or ones must be confirmed.
    ///
    /// # Errors
    /// Why there is no measurement.
    pub fn measure(&mut self, i2c: &mut impl I2c, delay: &mut impl DelayNs) -> Result<Climate, Fault> {
        let mut line = Line { i2c, delay, address: self.address };
        let fresh = !self.started;
        self.started = false;
        let climate = match self.chip {
            Chip::Sht3x => sht::three(&mut line, fresh),
            Chip::Sht4x => sht::four(&mut line, fresh),
            Chip::Tmp117 => tmp117::measure(&mut line, fresh),
            Chip::Mcp9808 => mcp9808::measure(&mut line, fresh),
            Chip::Lm75 => lm75::measure(&mut line, fresh, lm75::Kind::NineBits),
            Chip::Tmp105 => lm75::measure(&mut line, fresh, lm75::Kind::TwelveBits),
        }?;
        self.started = true;
        Ok(climate)
    }
}

/// The bus while one chip is spoken to.
struct Line<'a, I, D> {
    i2c: &'a mut I,
    delay: &'a mut D,
    address: u8,
}

impl<I: I2c, D: DelayNs> Line<'_, I, D> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.i2c.write(self.address, bytes).map_err(|error| Fault::Bus(error.kind()))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.i2c.read(self.address, bytes).map_err(|error| Fault::Bus(error.kind()))
    }

    /// A 16-bit register, most significant byte first.
    fn register(&mut self, register: u8) -> Result<[u8; 2], Fault> {
        let mut bytes = [0; 2];
        self.i2c
            .write_read(self.address, &[register], &mut bytes)
            .map_err(|error| Fault::Bus(error.kind()))?;
        Ok(bytes)
    }

    fn wait_ms(&mut self, milliseconds: u32) {
        self.delay.delay_ms(milliseconds);
    }
}

/// Whether a line that is stuck would read like this.
fn dead(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xFF)
}

/// A register that proves the chip present: it can hold neither zeros nor ones only.
fn alive(bytes: [u8; 2]) -> Result<[u8; 2], Fault> {
    if dead(&bytes) { Err(Fault::DeadLine(Evidence::of(&bytes))) } else { Ok(bytes) }
}

fn checked(chip: Chip, milli: i32, humidity: Option<CentiPercent>, found: &[u8]) -> Result<Climate, Fault> {
    let temperature = MilliCelsius(milli);
    if chip.range_mc().contains(&milli) {
        return Ok(Climate { temperature, humidity });
    }
    Err(Fault::OutOfRange { value: temperature, found: Evidence::of(found) })
}

#[cfg(test)]
mod tests;
