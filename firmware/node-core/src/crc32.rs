//! CRC-32 as in IEEE 802.3 and zlib: polynomial EDB88320h (reflected), initial value and final XOR FFFFFFFFh.
//!
//! Bit by bit: 100 KB at start take the node a fraction of a second, and a table would take 1 KB of flash.

/// A checksum being computed.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32 {
    /// Takes one byte.
    pub fn add(&mut self, byte: u8) {
        self.0 ^= u32::from(byte);
        for _ in 0..8 {
            self.0 = if self.0 & 1 == 1 { (self.0 >> 1) ^ 0xEDB8_8320 } else { self.0 >> 1 };
        }
    }

    /// The checksum of what was taken.
    #[must_use]
    pub const fn value(self) -> u32 {
        !self.0
    }
}

/// The checksum of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::default();
    bytes.iter().for_each(|byte| crc.add(*byte));
    crc.value()
}

#[cfg(test)]
mod tests {
    /// The check value of the catalogue of CRC algorithms (CRC-32/ISO-HDLC).
    #[test]
    fn the_catalogues_check_value() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
