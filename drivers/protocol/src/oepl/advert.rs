//! The manufacturer data a tag advertises, versions 1 and 2.

use crate::evidence::Evidence;
use crate::unit::MilliCelsius;

/// What a tag says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The hardware number.
    pub hardware: u16,
    /// The firmware number.
    pub firmware: u16,
    /// Capability bits.
    pub capabilities: u16,
    /// The battery in millivolts.
    pub battery_mv: u16,
    /// The temperature, whole degrees; version 2 only.
    pub temperature: Option<MilliCelsius>,
    /// Counts what the tag calls events; wraps.
    pub counter: u8,
}

/// Manufacturer data that is none of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("advertising data of neither version 1 (10 bytes) nor 2 (11 bytes): {0}")]
pub struct AdvertError(pub Evidence);

impl Advert {
    /// Reads the manufacturer data (without the manufacturer number). More bytes than a version has are ignored, as the
    /// reference does.
    ///
    /// # Errors
    /// Another version, or fewer bytes than it has.
    pub fn parse(bytes: &[u8]) -> Result<Self, AdvertError> {
        let (temperature, counter) = match *bytes {
            [1, _, _, _, _, _, _, _, _, counter, ..] => (None, counter),
            [2, _, _, _, _, _, _, _, _, degrees, counter, ..] => (Some(degrees), counter),
            _ => return Err(AdvertError(Evidence::of(bytes))),
        };
        let word = |at: usize| {
            let pair = bytes.get(at..at + 2).and_then(|pair| pair.try_into().ok());
            pair.map(u16::from_le_bytes).unwrap_or_default()
        };
        Ok(Self {
            hardware: word(1),
            firmware: word(3),
            capabilities: word(5),
            battery_mv: word(7),
            temperature: temperature.map(|degrees| MilliCelsius(i32::from(degrees.cast_signed()) * 1_000)),
            counter,
        })
    }

    /// The manufacturer data: version 2 with a temperature (cut to whole degrees within a signed byte), 1 without.
    #[must_use]
    pub fn encode(&self) -> alloc::vec::Vec<u8> {
        let mut out = [1 + u8::from(self.temperature.is_some())].to_vec();
        for word in [self.hardware, self.firmware, self.capabilities, self.battery_mv] {
            out.extend(word.to_le_bytes());
        }
        if let Some(MilliCelsius(value)) = self.temperature {
            let degrees = i8::try_from(value.div_euclid(1_000).clamp(-128, 127)).unwrap_or_default();
            out.extend(degrees.to_le_bytes());
        }
        out.push(self.counter);
        out
    }
}
