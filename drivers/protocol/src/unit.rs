//! Units of measurement as newtypes: integers only, the unit in the name.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Temperature in thousandths of a degree Celsius.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MilliCelsius(pub i32);

impl fmt::Display for MilliCelsius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03} °C", magnitude / 1000, magnitude % 1000)
    }
}

/// Relative humidity in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CentiPercent(pub u16);

impl CentiPercent {
    /// A humidity up to 100 %; a sensor that says more is out of adjustment and has none.
    #[must_use]
    pub const fn possible(hundredths: u32) -> Option<Self> {
        if hundredths <= 10_000 {
            #[expect(clippy::cast_possible_truncation, reason = "at most 10,000")]
            return Some(Self(hundredths as u16));
        }
        None
    }
}

impl fmt::Display for CentiPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// Mass in grams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grams(pub i64);

impl fmt::Display for Grams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} g", self.0)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_temperature_between_zero_and_minus_one_keeps_its_sign() {
        assert_eq!(MilliCelsius(-62).to_string(), "-0.062 °C");
        assert_eq!(MilliCelsius(23_125).to_string(), "23.125 °C");
        assert_eq!(MilliCelsius(i32::MIN).to_string(), "-2147483.648 °C");
    }
}
