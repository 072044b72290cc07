//! Money in minor units of one currency, and the one rounding rule for price times quantity.

use crate::quantity::{Milli, quantity};
use core::fmt;
use serde::{Deserialize, Serialize};

quantity!(
    /// An amount in the minor unit of its currency (fen, cent).
    Minor(i64)
);

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", magnitude / 100, magnitude % 100)
    }
}

/// ISO 4217 alphabetic code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "alloc::string::String", into = "alloc::string::String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// Chinese yuan, the default of the first stores.
    pub const CNY: Self = Self(*b"CNY");

    /// Three upper-case ASCII letters.
    pub fn new(code: &str) -> Option<Self> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Self(bytes))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or("???")
    }
}

impl TryFrom<alloc::string::String> for Currency {
    type Error = &'static str;
    fn try_from(code: alloc::string::String) -> Result<Self, Self::Error> {
        Self::new(&code).ok_or("currency is three upper-case letters (ISO 4217)")
    }
}

impl From<Currency> for alloc::string::String {
    fn from(currency: Currency) -> Self {
        currency.as_str().into()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why price times quantity has no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("price times quantity exceeds the range of an amount")]
pub struct RoundingError;

/// Amount for `quantity` at `price` per stock unit, rounded half away from zero to the minor unit.
///
/// The rule is commercial rounding, applied once per line; totals are sums of rounded lines.
pub fn extend_price(price: Minor, quantity: Milli) -> Result<Minor, RoundingError> {
    let product = i128::from(price.0) * i128::from(quantity.0);
    let half = if product < 0 { -500 } else { 500 };
    i64::try_from((product + half) / 1000).map(Minor).map_err(|_| RoundingError)
}
