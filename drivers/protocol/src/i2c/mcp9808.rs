//! Microchip MCP9808: thirteen bits of a sixteenth of a degree, three alert flags above them.
//!
//! Source: data sheet DS25095 (5.1 registers). Register 5 holds 0 °C after a reset until the first conversion (250 ms).

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::{Chip, Climate, Fault, Line, alive, checked, dead};
use crate::evidence::Evidence;

const CONFIGURATION: u8 = 0x01;
const AMBIENT: u8 = 0x05;
const MANUFACTURER_ID: u8 = 0x06;
const DEVICE_ID: u8 = 0x07;
const MICROCHIP: u16 = 0x0054;
/// High byte of the device register; the low one is the revision.
const MCP9808: u8 = 0x04;
const CONVERSION_MS: u32 = 300;

pub(super) fn measure<I: I2c, D: DelayNs>(line: &mut Line<'_, I, D>, fresh: bool) -> Result<Climate, Fault> {
    if fresh {
        identify(line)?;
        // Continuous conversion, no alert output.
        line.write(&[CONFIGURATION, 0x00, 0x00])?;
        line.wait_ms(CONVERSION_MS);
    }
    let mut bytes = line.register(AMBIENT)?;
    if dead(&bytes) {
        identify(line)?;
        line.wait_ms(CONVERSION_MS);
        bytes = line.register(AMBIENT)?;
    }
    // The flags are shifted out at the top, the sign follows them.
    let sixteenths = i32::from((u16::from_be_bytes(bytes) << 3).cast_signed() >> 3);
    checked(Chip::Mcp9808, sixteenths * 1000 / 16, None, &bytes)
}

fn identify<I: I2c, D: DelayNs>(line: &mut Line<'_, I, D>) -> Result<(), Fault> {
    let maker = alive(line.register(MANUFACTURER_ID)?)?;
    if u16::from_be_bytes(maker) != MICROCHIP {
        return Err(Fault::Identity { expected: MICROCHIP, found: Evidence::of(&maker) });
    }
    let device = alive(line.register(DEVICE_ID)?)?;
    if device[0] != MCP9808 {
        let expected = u16::from_be_bytes([MCP9808, 0]);
        return Err(Fault::Identity { expected, found: Evidence::of(&device) });
    }
    Ok(())
}
