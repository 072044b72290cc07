//! A mass exactly as a scale shows it: a count of its last digit, how many decimals, and the unit.
//!
//! Contract: conversion to grams is integer arithmetic with the exact definitions (1 lb = 453.592 37 g, 1 oz = 1/16 lb),
//! rounded half away from zero only where a gram does not divide evenly; [`Mass::exact_grams`] says whether it did.

use crate::unit::Grams;

/// Most digits of a shown mass, point and sign not counted.
pub const DIGITS_MAX: usize = 9;

/// The unit that a scale shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MassUnit {
    /// Kilogram.
    #[default]
    Kilogram,
    /// Gram.
    Gram,
    /// Avoirdupois pound, 453.592 37 g.
    Pound,
    /// Avoirdupois ounce, a sixteenth of a pound.
    Ounce,
}

impl MassUnit {
    /// Reads a unit as scales write it, in either case, without surrounding spaces.
    #[must_use]
    pub const fn parse(text: &[u8]) -> Option<Self> {
        match text {
            [b'k' | b'K', b'g' | b'G'] => Some(Self::Kilogram),
            [b'g' | b'G'] => Some(Self::Gram),
            [b'l' | b'L', b'b' | b'B'] => Some(Self::Pound),
            [b'o' | b'O', b'z' | b'Z'] => Some(Self::Ounce),
            _ => None,
        }
    }

    /// The lower-case symbol.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Kilogram => "kg",
            Self::Gram => "g",
            Self::Pound => "lb",
            Self::Ounce => "oz",
        }
    }

    /// One unit in grams as a fraction: numerator and denominator.
    const fn grams(self) -> (i128, i128) {
        match self {
            Self::Kilogram => (1_000, 1),
            Self::Gram => (1, 1),
            Self::Pound => (45_359_237, 100_000),
            Self::Ounce => (45_359_237, 1_600_000),
        }
    }
}

impl core::fmt::Display for MassUnit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.symbol())
    }
}

/// A shown mass: `count` steps of 10^-`decimals` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mass {
    /// How many steps of the last digit; negative below zero.
    pub count: i64,
    /// Digits after the point, at most [`DIGITS_MAX`]: the resolution of the display.
    pub decimals: u8,
    /// The unit.
    pub unit: MassUnit,
}

impl Mass {
    /// Reads decimal text: an optional sign, at most [`DIGITS_MAX`] digits, at most one point with a digit before it.
    /// Spaces around the text and behind the sign are padding.
    #[must_use]
    pub fn parse(text: &[u8], unit: MassUnit) -> Option<Self> {
        let text = text.trim_ascii();
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (count, decimals) = decimal(text.trim_ascii_start())?;
        Some(Self { count: if negative { -count } else { count }, decimals, unit })
    }

    /// The mass in grams, rounded half away from zero.
    #[must_use]
    pub fn grams(self) -> Grams {
        let (value, by) = self.fraction();
        let half = if value < 0 { -by / 2 } else { by / 2 };
        Grams(i64::try_from((value + half) / by).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The mass in grams where it is a whole number of them.
    #[must_use]
    pub fn exact_grams(self) -> Option<Grams> {
        let (value, by) = self.fraction();
        (value % by == 0).then(|| self.grams())
    }

    /// The mass nearest to `grams` in this unit and resolution, as a scale would show it.
    #[must_use]
    pub fn nearest(grams: Grams, unit: MassUnit, decimals: u8) -> Self {
        let (num, den) = unit.grams();
        let value = i128::from(grams.0) * den * power(decimals);
        let half = if value < 0 { -num / 2 } else { num / 2 };
        let count = i64::try_from((value + half) / num).unwrap_or(i64::MAX);
        Self { count, decimals, unit }
    }

    /// The number with its point, padded with zeros to `width` characters; the sign is the caller's.
    #[must_use]
    pub fn digits(self, width: usize) -> alloc::string::String {
        let decimals = usize::from(self.decimals);
        let whole = width.saturating_sub(usize::from(decimals > 0));
        let text = alloc::format!("{:0whole$}", self.count.unsigned_abs());
        let text = alloc::format!("{text:0>least$}", least = decimals + 1);
        match text.split_at_checked(text.len() - decimals) {
            Some((before, after)) if decimals > 0 => alloc::format!("{before}.{after}"),
            _ => text,
        }
    }

    fn fraction(self) -> (i128, i128) {
        let (num, den) = self.unit.grams();
        (i128::from(self.count) * num, den * power(self.decimals))
    }
}

impl core::fmt::Display for Mass {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let sign = if self.count < 0 { "-" } else { "" };
        write!(f, "{sign}{} {}", self.digits(1), self.unit)
    }
}

fn power(decimals: u8) -> i128 {
    // Parsing gives at most DIGITS_MAX; the bound keeps a made-up mass from overflowing.
    10_i128.pow(u32::from(decimals).min(18))
}

/// Digits with at most one point in or behind them; the count and its decimals.
fn decimal(text: &[u8]) -> Option<(i64, u8)> {
    let mut count: i64 = 0;
    let (mut digits, mut point) = (0_usize, None);
    for byte in text {
        match byte {
            b'0'..=b'9' if digits < DIGITS_MAX => {
                count = count * 10 + i64::from(byte - b'0');
                digits += 1;
            }
            b'.' if point.is_none() && digits > 0 => point = Some(digits),
            _ => return None,
        }
    }
    let decimals = u8::try_from(digits - point.unwrap_or(digits)).ok()?;
    (digits > 0).then_some((count, decimals))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const UNITS: [MassUnit; 4] = [MassUnit::Kilogram, MassUnit::Gram, MassUnit::Pound, MassUnit::Ounce];

    #[test]
    fn text_becomes_an_exact_count() {
        let kilogram = |count, decimals| Some(Mass { count, decimals, unit: MassUnit::Kilogram });
        for (text, mass) in [
            (&b"01.250"[..], kilogram(1250, 3)),
            (b"  - 1.5 ", kilogram(-15, 1)),
            (b"+00012.34", kilogram(1234, 2)),
            (b"000200", kilogram(200, 0)),
            (b"12.", kilogram(12, 0)),
            (b"", None),
            (b".5", None),
            (b"1.2.3", None),
            (b"1 2", None),
            (b"1234567890", None),
            (b"--1", None),
            (b"1e3", None),
        ] {
            assert_eq!(Mass::parse(text, MassUnit::Kilogram), mass, "{text:?}");
        }
    }

    #[test]
    fn conversion_uses_the_exact_definitions() {
        let mass = |count, decimals, unit| Mass { count, decimals, unit };
        for (mass, grams, exact) in [
            (mass(1250, 3, MassUnit::Kilogram), 1250, true),
            (mass(12_505, 4, MassUnit::Kilogram), 1251, false),
            (mass(-12_505, 4, MassUnit::Kilogram), -1251, false),
            (mass(10_000, 2, MassUnit::Gram), 100, true),
            (mass(125, 2, MassUnit::Pound), 567, false),
            (mass(100_000, 0, MassUnit::Pound), 45_359_237, true),
            (mass(1, 0, MassUnit::Ounce), 28, false),
            (mass(1_600_000, 0, MassUnit::Ounce), 45_359_237, true),
        ] {
            assert_eq!(mass.grams(), Grams(grams), "{mass}");
            assert_eq!(mass.exact_grams().is_some(), exact, "{mass}");
        }
        assert_eq!(mass(-5, 3, MassUnit::Kilogram).to_string(), "-0.005 kg");
        assert_eq!(mass(1250, 3, MassUnit::Kilogram).digits(6), "01.250");
    }

    proptest! {
        #[test]
        fn shown_text_reads_back(count in 0_i64..1_000_000, decimals in 0_u8..4, unit in 0_usize..4, width in 1_usize..9) {
            let mass = Mass { count, decimals, unit: UNITS[unit] };
            prop_assert_eq!(Mass::parse(mass.digits(width).as_bytes(), mass.unit), Some(mass));
            prop_assert_eq!(MassUnit::parse(mass.unit.symbol().as_bytes()), Some(mass.unit));
        }

        #[test]
        fn metric_grams_survive(grams in -1_000_000_i64..1_000_000) {
            prop_assert_eq!(Mass::nearest(Grams(grams), MassUnit::Kilogram, 3).exact_grams(), Some(Grams(grams)));
            prop_assert_eq!(Mass::nearest(Grams(grams), MassUnit::Gram, 0).grams(), Grams(grams));
            // A step of 0.001 lb is finer than half a gram.
            prop_assert_eq!(Mass::nearest(Grams(grams), MassUnit::Pound, 3).grams(), Grams(grams));
        }

        #[test]
        fn any_text_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(mass) = Mass::parse(&text, MassUnit::Ounce) {
                prop_assert!(mass.count.abs() < 1_000_000_000 && usize::from(mass.decimals) < DIGITS_MAX + 1);
            }
        }
    }
}
