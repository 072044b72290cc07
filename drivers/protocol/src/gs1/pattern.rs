//! In-store numbers by a layout that configuration states, such as `20PPPPPWWWWWC`.
//!
//! | character | stands for |
//! |---|---|
//! | `0`..`9` | the prefix: `02`, or `20` to `29` |
//! | `P` or `I` | a digit of the article number |
//! | `W` | a digit of the weight in grams |
//! | `M` | a digit of the price in the smallest unit of money |
//! | `V` | the verifier of the weight or price that follows at once (4 or 5 digits) |
//! | `C` | the check digit, always last |
//!
//! 13 characters are an EAN-13, 18 are the longer number that Chinese label scales print as Code 128; both end with the same
//! modulo-10 check digit. Where a scale prints weights in tens of grams the pattern says so with [`Pattern::with_grams`].

use alloc::string::String;
use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use super::check::{check_digit, digits, is_checked, verifier};
use crate::evidence::Evidence;
use crate::unit::Grams;

/// Why a pattern is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither 13 nor 18 characters.
    #[error("{found} characters, expected 13 or 18")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A character that stands for nothing.
    #[error("character {character:?} at {at}, expected digits, then P or I, W, M, V, and C at the end")]
    Character {
        /// The character.
        character: char,
        /// Its place from 0.
        at: usize,
    },
    /// The number does not begin with an in-store prefix.
    #[error("prefix {found:02}, expected 02 or 20 to 29")]
    Prefix {
        /// The first two digits; 100 when they are no digits.
        found: u8,
    },
    /// A field occurs in two places.
    #[error("field {character} in two places")]
    Split {
        /// Its character.
        character: char,
    },
    /// A field that must be there is not.
    #[error("no field {character}")]
    Missing {
        /// Its character.
        character: char,
    },
    /// A verifier that no weight or price of 4 or 5 digits follows.
    #[error("V must stand once and directly before W or M of 4 or 5 digits")]
    Verifier,
    /// Grams or money per unit must be 1, 10, 100 or 1000.
    #[error("{found} per unit, expected 1, 10, 100 or 1000")]
    Step {
        /// What was asked for.
        found: u32,
    },
}

/// Why a code is not read or not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// Not as many characters as the pattern.
    #[error("{} characters, expected {expected}: {bytes}", bytes.total())]
    Length {
        /// The pattern's length.
        expected: usize,
        /// The code.
        bytes: Evidence,
    },
    /// A character that is no digit.
    #[error("not only digits: {bytes}")]
    Digit {
        /// The code.
        bytes: Evidence,
    },
    /// Another prefix than the pattern's.
    #[error("another prefix than the pattern's: {bytes}")]
    Prefix {
        /// The code.
        bytes: Evidence,
    },
    /// The check digit does not fit the others.
    #[error("check digit {found}, expected {expected}: {bytes}")]
    Check {
        /// The digit found.
        found: u8,
        /// The digit that would fit.
        expected: u8,
        /// The code.
        bytes: Evidence,
    },
    /// The verifier does not fit its field.
    #[error("verifier {found}, expected {expected}: {bytes}")]
    Verifier {
        /// The digit found.
        found: u8,
        /// The digit that would fit.
        expected: u8,
        /// The code.
        bytes: Evidence,
    },
    /// A value that the field cannot hold exactly: negative, too large, or no multiple of the field's unit.
    #[error("{value} does not fit field {field} of {digits} digits with {step} per unit")]
    Value {
        /// The field's character.
        field: char,
        /// The value: article number, grams or minor units.
        value: i64,
        /// The field's digits.
        digits: usize,
        /// Grams or minor units per unit of the last digit.
        step: u32,
    },
    /// The pattern has a field that no value was given for, or none for a value that was given.
    #[error("field {field}: the pattern {has} it, the value {given}", has = if *.wanted { "has" } else { "lacks" }, given = if *.wanted { "is missing" } else { "is given" })]
    Field {
        /// The field's character.
        field: char,
        /// Whether the pattern has the field.
        wanted: bool,
    },
}

/// What an in-store number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Measured {
    /// The article number.
    pub item: u64,
    /// The net weight.
    pub weight: Option<Grams>,
    /// The price of the portion in the smallest unit of money.
    pub amount: Option<i64>,
}

/// A checked layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    prefix: usize,
    item: Range<usize>,
    weight: Option<Range<usize>>,
    amount: Option<Range<usize>>,
    verifier: Option<(usize, Range<usize>)>,
    grams: u32,
    minor: u32,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let length = text.chars().count();
        if length != 13 && length != 18 {
            return Err(PatternError::Length { found: length });
        }
        let allowed = |(at, character): &(usize, char)| match character {
            'P' | 'I' | 'W' | 'M' | 'V' => *at + 1 < length,
            'C' => *at + 1 == length,
            '0'..='9' => text.chars().take(*at).all(|before| before.is_ascii_digit()),
            _ => false,
        };
        if let Some((at, character)) = text.chars().enumerate().find(|place| !allowed(place)) {
            return Err(PatternError::Character { character, at });
        }
        // Everything is ASCII from here on.
        let bytes = text.as_bytes();
        let prefix = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let first = match bytes {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', ..] => (a - b'0') * 10 + (b - b'0'),
            _ => 100,
        };
        if first != 2 && !(20..=29).contains(&first) {
            return Err(PatternError::Prefix { found: first });
        }
        let number = if bytes.contains(&b'P') { b'P' } else { b'I' };
        if number == b'P' && bytes.contains(&b'I') {
            return Err(PatternError::Split { character: 'I' });
        }
        let item = field(bytes, number)?.ok_or(PatternError::Missing { character: char::from(number) })?;
        let (weight, amount) = (field(bytes, b'W')?, field(bytes, b'M')?);
        if weight.is_none() && amount.is_none() {
            return Err(PatternError::Missing { character: 'W' });
        }
        let verifier = match field(bytes, b'V')? {
            None => None,
            Some(place) => {
                let follows =
                    |range: &&Range<usize>| range.start == place.end && matches!(range.len(), 4 | 5);
                let of = weight.iter().chain(&amount).find(follows).ok_or(PatternError::Verifier)?;
                (place.len() == 1).then_some(()).ok_or(PatternError::Verifier)?;
                Some((place.start, of.clone()))
            }
        };
        Ok(Self { text: text.into(), prefix, item, weight, amount, verifier, grams: 1, minor: 1 })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a character stands; an error when in two places.
fn field(pattern: &[u8], character: u8) -> Result<Option<Range<usize>>, PatternError> {
    let Some(start) = pattern.iter().position(|byte| *byte == character) else { return Ok(None) };
    let length = pattern.iter().skip(start).take_while(|byte| **byte == character).count();
    if pattern.iter().skip(start + length).any(|byte| *byte == character) {
        return Err(PatternError::Split { character: char::from(character) });
    }
    Ok(Some(start..start + length))
}

impl Pattern {
    /// The same layout with `grams` per unit of the weight's last digit.
    ///
    /// # Errors
    /// Anything but 1, 10, 100 or 1000.
    pub fn with_grams(self, grams: u32) -> Result<Self, PatternError> {
        Ok(Self { grams: step(grams)?, ..self })
    }

    /// The same layout with `minor` smallest units of money per unit of the price's last digit.
    ///
    /// # Errors
    /// Anything but 1, 10, 100 or 1000.
    pub fn with_minor(self, minor: u32) -> Result<Self, PatternError> {
        Ok(Self { minor: step(minor)?, ..self })
    }

    /// Whether the code has this pattern's length and prefix: which of several patterns a code belongs to.
    #[must_use]
    pub fn claims(&self, code: &str) -> bool {
        code.len() == self.text.len()
            && code.as_bytes().get(..self.prefix) == self.text.as_bytes().get(..self.prefix)
    }

    /// Reads a code.
    ///
    /// # Errors
    /// Another length, prefix, check digit or verifier, or a character that is no digit.
    pub fn read(&self, code: &str) -> Result<Measured, CodeError> {
        let (code, bytes) = (code.as_bytes(), Evidence::of(code.as_bytes()));
        if code.len() != self.text.len() {
            return Err(CodeError::Length { expected: self.text.len(), bytes });
        }
        if digits(code).is_none() {
            return Err(CodeError::Digit { bytes });
        }
        if code.get(..self.prefix) != self.text.as_bytes().get(..self.prefix) {
            return Err(CodeError::Prefix { bytes });
        }
        if !is_checked(code) {
            let (found, body) = code.split_last().map_or((0, &[][..]), |(last, body)| (last - b'0', body));
            return Err(CodeError::Check { found, expected: check_digit(body).unwrap_or(0), bytes });
        }
        let part = |range: &Range<usize>| code.get(range.clone()).unwrap_or(&[]);
        if let Some((place, of)) = &self.verifier {
            let found = code.get(*place).map_or(0, |digit| digit - b'0');
            let expected = verifier(part(of)).unwrap_or(0);
            if found != expected {
                return Err(CodeError::Verifier { found, expected, bytes });
            }
        }
        let value = |range: &Range<usize>, step: u32| number(part(range)) * i64::from(step);
        Ok(Measured {
            item: number(part(&self.item)).unsigned_abs(),
            weight: self.weight.as_ref().map(|range| Grams(value(range, self.grams))),
            amount: self.amount.as_ref().map(|range| value(range, self.minor)),
        })
    }

    /// Makes the code of a portion, with verifier and check digit.
    ///
    /// # Errors
    /// A value that its field cannot hold exactly, one that is missing, or one that the pattern has no field for.
    pub fn mint(&self, measured: &Measured) -> Result<String, CodeError> {
        let mut code = self.text.clone().into_bytes();
        let item = i64::try_from(measured.item).unwrap_or(i64::MAX);
        let fields = [
            ('P', Some(&self.item), Some(item), 1),
            ('W', self.weight.as_ref(), measured.weight.map(|grams| grams.0), self.grams),
            ('M', self.amount.as_ref(), measured.amount, self.minor),
        ];
        for (field, range, value, step) in fields {
            match (range, value) {
                (Some(range), Some(value)) => put(&mut code, range, (field, value, step))?,
                (None, None) => {}
                (range, _) => return Err(CodeError::Field { field, wanted: range.is_some() }),
            }
        }
        if let Some((place, of)) = &self.verifier {
            let digit = code.get(of.clone()).and_then(verifier).unwrap_or(0);
            if let Some(slot) = code.get_mut(*place) {
                *slot = b'0' + digit;
            }
        }
        code.pop();
        let check = check_digit(&code).unwrap_or(0);
        code.push(b'0' + check);
        Ok(code.into_iter().map(char::from).collect())
    }
}

fn step(found: u32) -> Result<u32, PatternError> {
    if matches!(found, 1 | 10 | 100 | 1000) { Ok(found) } else { Err(PatternError::Step { found }) }
}

/// At most 15 digits, so the value fits.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

fn put(
    code: &mut [u8],
    range: &Range<usize>,
    (field, value, step): (char, i64, u32),
) -> Result<(), CodeError> {
    let refused = CodeError::Value { field, value, digits: range.len(), step };
    if value < 0 || value % i64::from(step) != 0 {
        return Err(refused);
    }
    let mut rest = value / i64::from(step);
    for slot in code.get_mut(range.clone()).unwrap_or(&mut []).iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    if rest == 0 { Ok(()) } else { Err(refused) }
}
