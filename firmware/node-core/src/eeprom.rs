//! Settings in an AT24C32 or larger (two address bytes, pages of 32 bytes) over the traits of `embedded-hal`.
//!
//! Source: Atmel AT24C32/64 data sheet (0336): page write, 10 ms at most per write cycle. The wait is taken in full instead of
//! asking for an acknowledge: the line is served meanwhile.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::settings::{RECORD_BYTES, STEP_BYTES, Storage};

/// Its address with all pins low.
pub const ADDRESS: u8 = 0x50;
/// The write cycle, in milliseconds.
const WRITE_MS: u32 = 10;

/// The part, while it is used.
#[derive(Debug)]
pub struct Eeprom<'a, I, D> {
    /// Its bus.
    pub i2c: &'a mut I,
    /// Waits.
    pub delay: &'a mut D,
}

fn address(copy: usize, offset: usize) -> [u8; 2] {
    u16::try_from(copy * RECORD_BYTES + offset).unwrap_or(0).to_be_bytes()
}

impl<I: I2c, D: DelayNs> Storage for Eeprom<'_, I, D> {
    type Error = I::Error;

    fn read(&mut self, copy: usize, bytes: &mut [u8; RECORD_BYTES]) -> Result<(), I::Error> {
        self.i2c.write_read(ADDRESS, &address(copy, 0), bytes)
    }

    fn erase(&mut self, _: usize) -> Result<(), I::Error> {
        Ok(())
    }

    fn write(&mut self, copy: usize, offset: usize, bytes: &[u8; STEP_BYTES]) -> Result<(), I::Error> {
        let mut frame = [0; 2 + STEP_BYTES];
        let (head, body) = frame.split_at_mut(2);
        head.copy_from_slice(&address(copy, offset));
        body.copy_from_slice(bytes);
        self.i2c.write(ADDRESS, &frame)?;
        self.delay.delay_ms(WRITE_MS);
        Ok(())
    }
}
