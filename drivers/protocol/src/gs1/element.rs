//! Element strings: what DataBar Expanded and GS1-128 carry.
//!
//! Known application identifiers: `00 01 02` (SSCC, GTINs), `10` lot, `11 12 13 15 16 17` dates, `21` serial, `30 37` counts, `310n` net
//! kilograms with n decimals, `390n 392n` amounts with n decimals. An identifier beyond these is refused: its length is not
//! known, so nothing after it could be read safely.
//!
//! Rules kept: elements of predefined length need no separator, all others end at FNC1 (ASCII 29) or at the end of the code; a
//! GTIN, SSCC or contained GTIN has a valid check digit; `310n` and `392n` must accompany `01`, and that GTIN begins with 9, the
//! indicator of a variable-measure item; an identifier occurs once.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::check::is_checked;
use crate::evidence::Evidence;
use crate::unit::Grams;

/// The separator after an element of variable length, as scanners transmit FNC1.
pub const FNC1: char = '\u{1D}';
/// What scanners may put before the data: GS1-128, DataBar, GS1 DataMatrix, GS1 QR.
const SYMBOLOGIES: [&str; 4] = ["]C1", "]e0", "]d2", "]Q3"];
/// The longest element string of a GS1-128 symbol or DataBar Expanded: 74 characters and room for separators and a mark.
pub const ELEMENT_STRING_BYTES_MAX: usize = 96;

/// Why an element string is not read or not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// More than [`ELEMENT_STRING_BYTES_MAX`] bytes, or none.
    #[error("{} bytes, expected 1 to {ELEMENT_STRING_BYTES_MAX}", bytes.total())]
    Length {
        /// How it begins.
        bytes: Evidence,
    },
    /// An application identifier that is not in the table.
    #[error("unknown application identifier at {at}: {bytes}")]
    Unknown {
        /// Its place in the data, from 0.
        at: usize,
        /// What stands there.
        bytes: Evidence,
    },
    /// Data of another length or kind than the identifier has.
    #[error("({ai}) {expected}: {bytes}")]
    Data {
        /// The identifier, without its decimal digit.
        ai: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What stands there.
        bytes: Evidence,
    },
    /// A check digit that does not fit.
    #[error("({ai}) wrong check digit: {bytes}")]
    Check {
        /// The identifier.
        ai: &'static str,
        /// The number.
        bytes: Evidence,
    },
    /// An identifier for the second time.
    #[error("({ai}) occurs twice")]
    Twice {
        /// The identifier.
        ai: &'static str,
    },
    /// A measure or price without the number of its article.
    #[error("({ai}) without (01)")]
    NoGtin {
        /// The identifier.
        ai: &'static str,
    },
    /// A measure with a number that is not one of variable measure.
    #[error("({ai}) with a GTIN whose indicator is not 9: {bytes}")]
    NotVariable {
        /// The identifier.
        ai: &'static str,
        /// The GTIN.
        bytes: Evidence,
    },
    /// The bracketed form lacks a bracket.
    #[error("expected (identifier)data at {at}: {bytes}")]
    Bracket {
        /// Where, from 0.
        at: usize,
        /// What stands there.
        bytes: Evidence,
    },
}

/// The characters an element may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Digits,
    Text,
}

/// One row of the table of application identifiers.
struct Rule {
    ai: &'static str,
    /// The identifier has one digit more: the number of decimals, at most this.
    decimals: Option<u8>,
    min: usize,
    max: usize,
    kind: Kind,
    /// Needs a separator when something follows.
    open: bool,
    expected: &'static str,
}

const fn fixed(ai: &'static str, length: usize, expected: &'static str) -> Rule {
    Rule { ai, decimals: None, min: length, max: length, kind: Kind::Digits, open: false, expected }
}

const fn open(ai: &'static str, max: usize, kind: Kind, expected: &'static str) -> Rule {
    Rule { ai, decimals: None, min: 1, max, kind, open: true, expected }
}

const fn amount(ai: &'static str) -> Rule {
    Rule { decimals: Some(9), ..open(ai, 15, Kind::Digits, "has 1 to 15 digits") }
}

const NET_KG: &str = "310";
const PRICE: &str = "392";
const RULES: [Rule; 16] = [
    fixed("00", 18, "has 18 digits"),
    fixed("01", 14, "has 14 digits"),
    fixed("02", 14, "has 14 digits"),
    open("10", 20, Kind::Text, "has 1 to 20 characters of GS1 set 82"),
    fixed("11", 6, "has 6 digits YYMMDD"),
    fixed("12", 6, "has 6 digits YYMMDD"),
    fixed("13", 6, "has 6 digits YYMMDD"),
    fixed("15", 6, "has 6 digits YYMMDD"),
    fixed("16", 6, "has 6 digits YYMMDD"),
    fixed("17", 6, "has 6 digits YYMMDD"),
    open("21", 20, Kind::Text, "has 1 to 20 characters of GS1 set 82"),
    open("30", 8, Kind::Digits, "has 1 to 8 digits"),
    open("37", 8, Kind::Digits, "has 1 to 8 digits"),
    Rule { decimals: Some(5), ..fixed(NET_KG, 6, "has 6 digits") },
    amount("390"),
    amount(PRICE),
];

/// A number with decimals, exactly as printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// The digits.
    pub value: u64,
    /// How many of them stand after the point.
    pub decimals: u8,
}

impl Decimal {
    /// The value in units of 10^-`decimals`; `None` when that would drop or overflow digits.
    #[must_use]
    pub fn scaled(self, decimals: u8) -> Option<i64> {
        let value = i64::try_from(self.value).ok()?;
        let power = |exponent: u8| 10_i64.checked_pow(u32::from(exponent));
        match decimals.checked_sub(self.decimals) {
            Some(more) => value.checked_mul(power(more)?),
            None => {
                let step = power(self.decimals - decimals)?;
                (value % step == 0).then_some(value / step)
            }
        }
    }
}

/// One identifier with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The identifier without its decimal digit: `"01"`, `"310"`.
    pub ai: &'static str,
    /// The decimal digit of `310n`, `390n` and `392n`.
    pub decimals: Option<u8>,
    /// The data.
    pub data: String,
}

/// A checked element string.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Elements(Vec<Element>);

impl Elements {
    /// Reads what a scanner transmits: an optional symbology mark, an optional leading FNC1, elements.
    ///
    /// # Errors
    /// See [`ElementError`].
    pub fn read(code: &str) -> Result<Self, ElementError> {
        bounded(code)?;
        let unmarked = SYMBOLOGIES.iter().find_map(|mark| code.strip_prefix(mark)).unwrap_or(code);
        let data = unmarked.strip_prefix(FNC1).unwrap_or(unmarked);
        if data.is_empty() {
            return Err(ElementError::Length { bytes: Evidence::of(code.as_bytes()) });
        }
        let (mut at, mut elements) = (0, Vec::new());
        while at < data.len() {
            let rest = data.get(at..).unwrap_or("");
            let unknown = ElementError::Unknown { at, bytes: Evidence::of(rest.as_bytes()) };
            let (rule, decimals, body) = identify(rest).ok_or(unknown)?;
            let end = match rule.open {
                true => body.find(FNC1).unwrap_or(body.len()),
                false => body.char_indices().nth(rule.max).map_or(body.len(), |(index, _)| index),
            };
            let (value, after) = body.split_at(end);
            elements.push(element(rule, decimals, value)?);
            at = data.len() - after.strip_prefix(FNC1).unwrap_or(after).len();
        }
        Self::checked(elements)
    }

    /// Reads the form that people read: `(01)96287654321010(3103)001250`.
    ///
    /// # Errors
    /// See [`ElementError`].
    pub fn from_bracketed(code: &str) -> Result<Self, ElementError> {
        bounded(code)?;
        let (mut rest, mut elements) = (code, Vec::new());
        while !rest.is_empty() {
            let at = code.len() - rest.len();
            let bytes = Evidence::of(rest.as_bytes());
            let inner = rest.strip_prefix('(').ok_or(ElementError::Bracket { at, bytes })?;
            let (ai, after) = inner.split_once(')').ok_or(ElementError::Bracket { at, bytes })?;
            let end = after.find('(').unwrap_or(after.len());
            let (value, next) = after.split_at(end);
            let whole = identify(ai).filter(|(_, _, body)| body.is_empty());
            let (rule, decimals, _) = whole.ok_or(ElementError::Unknown { at, bytes })?;
            elements.push(element(rule, decimals, value)?);
            rest = next;
        }
        Self::checked(elements)
    }

    /// The elements of a weighed portion: GTIN-14, net weight, price with `decimals`.
    ///
    /// # Errors
    /// A wrong GTIN, a weight outside 0..=999,999 g, or a negative price.
    pub fn of_portion(gtin: &str, weight: Grams, price: Option<(i64, u8)>) -> Result<Self, ElementError> {
        let mut bracketed = alloc::format!("(01){gtin}({NET_KG}3){:06}", weight.0);
        if let Some((minor, decimals)) = price {
            bracketed.push_str(&alloc::format!("({PRICE}{decimals}){minor}"));
        }
        Self::from_bracketed(&bracketed)
    }

    fn checked(elements: Vec<Element>) -> Result<Self, ElementError> {
        for (index, element) in elements.iter().enumerate() {
            if elements.iter().take(index).any(|before| before.ai == element.ai) {
                return Err(ElementError::Twice { ai: element.ai });
            }
        }
        let this = Self(elements);
        if let Some(measure) = this.0.iter().find(|element| element.ai == NET_KG || element.ai == PRICE) {
            let gtin = this.gtin().ok_or(ElementError::NoGtin { ai: measure.ai })?;
            if !gtin.starts_with('9') {
                return Err(ElementError::NotVariable {
                    ai: measure.ai,
                    bytes: Evidence::of(gtin.as_bytes()),
                });
            }
        }
        Ok(this)
    }

    /// All elements in the code's order.
    #[must_use]
    pub fn as_slice(&self) -> &[Element] {
        &self.0
    }

    fn get(&self, ai: &str) -> Option<&Element> {
        self.0.iter().find(|element| element.ai == ai)
    }

    /// The article's number, 14 digits.
    #[must_use]
    pub fn gtin(&self) -> Option<&str> {
        self.get("01").map(|element| element.data.as_str())
    }

    fn decimal(&self, ai: &str) -> Option<Decimal> {
        let element = self.get(ai)?;
        Some(Decimal { value: element.data.parse().ok()?, decimals: element.decimals? })
    }

    /// The net weight in kilograms as printed; [`Decimal::scaled`] with 3 gives grams.
    #[must_use]
    pub fn net_kilograms(&self) -> Option<Decimal> {
        self.decimal(NET_KG)
    }

    /// The price of the portion.
    #[must_use]
    pub fn price(&self) -> Option<Decimal> {
        self.decimal(PRICE)
    }

    /// What a printer is given: elements with FNC1 after those of variable length, none after the last.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut code = String::new();
        for (index, element) in self.0.iter().enumerate() {
            code.push_str(&element.identifier());
            code.push_str(&element.data);
            let open = RULES.iter().any(|rule| rule.ai == element.ai && rule.open);
            if open && index + 1 < self.0.len() {
                code.push(FNC1);
            }
        }
        code
    }
}

impl Element {
    fn identifier(&self) -> String {
        match self.decimals {
            Some(decimals) => alloc::format!("{}{decimals}", self.ai),
            None => self.ai.into(),
        }
    }
}

/// The bracketed form.
impl fmt::Display for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "({}){}", element.identifier(), element.data))
    }
}

fn bounded(code: &str) -> Result<(), ElementError> {
    if (1..=ELEMENT_STRING_BYTES_MAX).contains(&code.len()) {
        return Ok(());
    }
    Err(ElementError::Length { bytes: Evidence::of(code.as_bytes()) })
}

/// The rule of the identifier that the text begins with, its decimal digit, and what follows.
fn identify(text: &str) -> Option<(&'static Rule, Option<u8>, &str)> {
    RULES.iter().find_map(|rule| {
        let body = text.strip_prefix(rule.ai)?;
        let Some(most) = rule.decimals else { return Some((rule, None, body)) };
        let digit = body.chars().next()?.to_digit(10).and_then(|digit| u8::try_from(digit).ok())?;
        (digit <= most).then(|| (rule, Some(digit), body.get(1..).unwrap_or("")))
    })
}

fn element(rule: &Rule, decimals: Option<u8>, data: &str) -> Result<Element, ElementError> {
    let bytes = Evidence::of(data.as_bytes());
    let fits = match rule.kind {
        Kind::Digits => data.bytes().all(|byte| byte.is_ascii_digit()),
        Kind::Text => data.bytes().all(in_set_82),
    };
    if !fits || !(rule.min..=rule.max).contains(&data.len()) {
        return Err(ElementError::Data { ai: rule.ai, expected: rule.expected, bytes });
    }
    if matches!(rule.ai, "00" | "01" | "02") && !is_checked(data.as_bytes()) {
        return Err(ElementError::Check { ai: rule.ai, bytes });
    }
    Ok(Element { ai: rule.ai, decimals, data: data.into() })
}

/// GS1 General Specifications, AI encodable character set 82.
fn in_set_82(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!\"%&'()*+,-./:;<=>?_".contains(&byte)
}
