//! LM75 and TMP105: a left-justified word of 1/256 °C, of which nine or twelve bits count.
//!
//! Sources: data sheets LM75 (National DS012658) and TMP105 (SBOS648). Neither has an identity register; the over-temperature
//! limit (register 3, 80 °C after a reset) stands in: it holds neither zeros nor ones. Bits below the resolution are
//! undefined on some copies and are cut off. Register 0 holds 0 °C after a reset until the first conversion (at most 300 ms).

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::{Chip, Climate, Fault, Line, alive, checked, dead};

const TEMPERATURE: u8 = 0x00;
const CONFIGURATION: u8 = 0x01;
const OVER_TEMPERATURE: u8 = 0x03;
const CONVERSION_MS: u32 = 350;

/// Resolution.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    NineBits,
    TwelveBits,
}

pub(super) fn measure<I: I2c, D: DelayNs>(
    line: &mut Line<'_, I, D>,
    fresh: bool,
    kind: Kind,
) -> Result<Climate, Fault> {
    let (chip, configuration, mask) = match kind {
        Kind::NineBits => (Chip::Lm75, 0x00, 0x80),
        // R1 and R0: twelve bits.
        Kind::TwelveBits => (Chip::Tmp105, 0x60, 0xF0),
    };
    if fresh {
        alive(line.register(OVER_TEMPERATURE)?)?;
        line.write(&[CONFIGURATION, configuration])?;
        line.wait_ms(CONVERSION_MS);
    }
    let mut bytes = line.register(TEMPERATURE)?;
    if dead(&bytes) {
        alive(line.register(OVER_TEMPERATURE)?)?;
        line.wait_ms(CONVERSION_MS);
        bytes = line.register(TEMPERATURE)?;
    }
    let [high, low] = bytes;
    let word = i16::from_be_bytes([high, low & mask]);
    checked(chip, i32::from(word) * 1000 / 256, None, &bytes)
}
