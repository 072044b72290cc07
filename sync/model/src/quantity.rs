//! Exact quantities: grams, milli-units of stock, milli-degrees Celsius. All arithmetic is checked.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);
        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// Sum, or `None` on overflow.
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }
            /// Difference, or `None` on overflow.
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }
            /// The value with its sign turned, or `None` on overflow.
            pub fn checked_neg(self) -> Option<Self> {
                self.0.checked_neg().map(Self)
            }
        }
    };
}
pub(crate) use quantity;

quantity!(
    /// Mass in grams (scales resolve 1 g; smaller steps round at the driver and say so).
    Grams(i64)
);
quantity!(
    /// Stock in thousandths of the article's stock unit: 250 g of a kilogram article is 250, two pieces are 2000.
    Milli(i64)
);
quantity!(
    /// Temperature in thousandths of a degree Celsius.
    MilliCelsius(i32)
);

/// Writes a number of thousandths as a decimal with three places.
fn write_thousandths(f: &mut fmt::Formatter<'_>, value: i64) -> fmt::Result {
    let sign = if value < 0 { "-" } else { "" };
    let magnitude = value.unsigned_abs();
    write!(f, "{sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
}

impl fmt::Display for Grams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} g", self.0)
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_thousandths(f, self.0)
    }
}

impl fmt::Display for MilliCelsius {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_thousandths(f, i64::from(self.0))?;
        f.write_str(" °C")
    }
}
