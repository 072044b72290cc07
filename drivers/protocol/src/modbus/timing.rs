//! Silent intervals of the serial line, in microseconds.
//!
//! Up to 19 200 baud they are 1.5 and 3.5 characters of 11 bits; above, the fixed values 750 µs and 1750 µs.

const BITS_PER_CHARACTER: u64 = 11;
const FIXED_ABOVE_BAUD: u32 = 19_200;

/// The silence that ends a frame (t3.5), rounded up. A baud rate of 0 is taken as 1.
#[must_use]
pub fn frame_gap_us(baud: u32) -> u64 {
    if baud > FIXED_ABOVE_BAUD { 1750 } else { characters_us(baud, 35) }
}

/// The longest silence inside a frame (t1.5), rounded up. A baud rate of 0 is taken as 1.
#[must_use]
pub fn character_gap_us(baud: u32) -> u64 {
    if baud > FIXED_ABOVE_BAUD { 750 } else { characters_us(baud, 15) }
}

/// The time `bytes` take on the line, rounded up.
#[must_use]
pub fn transmission_us(baud: u32, bytes: usize) -> u64 {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX / 1_000_000_000);
    characters_us(baud, bytes.saturating_mul(10))
}

fn characters_us(baud: u32, tenths: u64) -> u64 {
    let bits = tenths.saturating_mul(BITS_PER_CHARACTER * 100_000);
    bits.div_ceil(u64::from(baud.max(1)))
}
