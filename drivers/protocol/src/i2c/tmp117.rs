//! Texas Instruments TMP117: sixteen bits of 7.8125 thousandths of a degree.
//!
//! Source: data sheet SNOSD82 (7.6 registers). Register 0 reads 0x8000 (−256 °C) until the first conversion after a reset.
//! The identity is the low twelve bits of register 15; the upper four are the revision.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::{Chip, Climate, Fault, Line, checked, dead};
use crate::evidence::Evidence;

const TEMPERATURE: u8 = 0x00;
const CONFIGURATION: u8 = 0x01;
const DEVICE_ID: u8 = 0x0F;
const IDENTITY: u16 = 0x0117;
/// Continuous conversion, one result a second out of eight samples: the value after delivery.
const CONTINUOUS: [u8; 2] = [0x02, 0x20];
const NOTHING_YET: [u8; 2] = [0x80, 0x00];

pub(super) fn measure<I: I2c, D: DelayNs>(line: &mut Line<'_, I, D>, fresh: bool) -> Result<Climate, Fault> {
    if fresh {
        identify(line)?;
        line.write(&[CONFIGURATION, CONTINUOUS[0], CONTINUOUS[1]])?;
        line.wait_ms(150);
    }
    let bytes = line.register(TEMPERATURE)?;
    if bytes == NOTHING_YET {
        return Err(Fault::NotReady);
    }
    if dead(&bytes) {
        identify(line)?;
    }
    // 7.8125 thousandths are 125 / 16; rounded to the nearest.
    let scaled = i32::from(i16::from_be_bytes(bytes)) * 125;
    let half = if scaled < 0 { -8 } else { 8 };
    checked(Chip::Tmp117, (scaled + half) / 16, None, &bytes)
}

fn identify<I: I2c, D: DelayNs>(line: &mut Line<'_, I, D>) -> Result<(), Fault> {
    let bytes = super::alive(line.register(DEVICE_ID)?)?;
    if u16::from_be_bytes(bytes) & 0x0FFF == IDENTITY {
        return Ok(());
    }
    Err(Fault::Identity { expected: IDENTITY, found: Evidence::of(&bytes) })
}
