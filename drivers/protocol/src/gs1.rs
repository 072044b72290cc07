//! GS1 variable measure: what a code on a weighed article says, and how such codes are made.
//!
//! | form | module | where |
//! |---|---|---|
//! | in-store numbers, 13 digits (`02`, `20`..`29`) and the Chinese 18 digits | [`pattern`] | EAN-13, Code 128 |
//! | element strings `(01)…(3103)…(3922)…` | [`element`] | DataBar Expanded, GS1-128 |
//!
//! Sources: GS1 General Specifications 2.1.14 and 7.9 (check digit, verifier tables), as cited by biip 5.2.0; the Chinese layout
//! is that of enjoyit.com.cn. The layout of in-store numbers is a national or a vendor's choice and therefore configuration.
//!
//! Contract: digits in, exact integers out; a code with a wrong check digit, verifier, prefix or length is a named error and never
//! a weight. What [`pattern::Pattern::mint`] makes, [`pattern::Pattern::read`] reads back.

pub mod check;
pub mod element;
pub mod pattern;

pub use element::{Decimal, Element, ElementError, Elements};
pub use pattern::{CodeError, Measured, Pattern, PatternError};

#[cfg(test)]
mod tests;
