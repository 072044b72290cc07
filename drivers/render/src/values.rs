//! What a label can say.

use alloc::string::String;
use core::fmt;

/// The longest text of a field that is drawn, in characters; the rest is cut and reported.
pub const FIELD_CHARS_MAX: usize = 120;

/// An amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// In the smallest unit.
    pub minor: i64,
    /// Digits after the point, 0 to 4.
    pub decimals: u8,
}

impl Money {
    /// Digits before the point, with the sign, and those after it.
    #[must_use]
    pub fn parts(self) -> (String, String) {
        let digits = alloc::format!(
            "{:0width$}",
            self.minor.unsigned_abs(),
            width = usize::from(self.decimals.min(4)) + 1
        );
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(self.decimals.min(4)));
        let sign = if self.minor < 0 { "-" } else { "" };
        (alloc::format!("{sign}{whole}"), fraction.into())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (whole, fraction) if fraction.is_empty() => f.write_str(&whole),
            (whole, fraction) => write!(f, "{whole}.{fraction}"),
        }
    }
}

/// The values of one label. Empty texts and absent amounts are not drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values {
    /// The article's name.
    pub name: String,
    /// The article's number.
    pub sku: String,
    /// What the customer pays.
    pub price: Money,
    /// What the customer paid before, to be struck through.
    pub old_price: Option<Money>,
    /// The price of a unit of measure, where the article is priced otherwise.
    pub unit_price: Option<Money>,
    /// What the price is for: `/kg`.
    pub unit: String,
    /// What the unit price is for: `/500g`.
    pub measure: String,
    /// The sign of the currency.
    pub currency: String,
    /// The digits or text of the barcode.
    pub code: String,
    /// The content of the QR code.
    pub link: String,
    /// A line of its own, such as when a promotion ends.
    pub note: String,
    /// Where the article comes from.
    pub origin: String,
}

impl Values {
    /// A label with a price and nothing else.
    #[must_use]
    pub fn of_price(price: Money) -> Self {
        let empty = String::new;
        Self {
            name: empty(),
            sku: empty(),
            price,
            old_price: None,
            unit_price: None,
            unit: empty(),
            measure: empty(),
            currency: empty(),
            code: empty(),
            link: empty(),
            note: empty(),
            origin: empty(),
        }
    }

    /// The text of a field by the name that templates use; empty when the label has none.
    #[must_use]
    pub fn text(&self, field: Field) -> String {
        let money =
            |amount: Option<Money>| amount.map(|amount| alloc::format!("{amount}")).unwrap_or_default();
        let text = match field {
            Field::Price => return money(Some(self.price)),
            Field::OldPrice => return money(self.old_price),
            Field::UnitPrice => return money(self.unit_price),
            Field::Name => &self.name,
            Field::Sku => &self.sku,
            Field::Unit => &self.unit,
            Field::Measure => &self.measure,
            Field::Currency => &self.currency,
            Field::Code => &self.code,
            Field::Link => &self.link,
            Field::Note => &self.note,
            Field::Origin => &self.origin,
        };
        text.clone()
    }
}

/// A field of [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `{name}`
    Name,
    /// `{sku}`
    Sku,
    /// `{price}`
    Price,
    /// `{old_price}`
    OldPrice,
    /// `{unit_price}`
    UnitPrice,
    /// `{unit}`
    Unit,
    /// `{measure}`
    Measure,
    /// `{currency}`
    Currency,
    /// `{code}`
    Code,
    /// `{link}`
    Link,
    /// `{note}`
    Note,
    /// `{origin}`
    Origin,
}

impl Field {
    /// Every field with its name.
    pub const NAMES: [(&'static str, Self); 12] = [
        ("name", Self::Name),
        ("sku", Self::Sku),
        ("price", Self::Price),
        ("old_price", Self::OldPrice),
        ("unit_price", Self::UnitPrice),
        ("unit", Self::Unit),
        ("measure", Self::Measure),
        ("currency", Self::Currency),
        ("code", Self::Code),
        ("link", Self::Link),
        ("note", Self::Note),
        ("origin", Self::Origin),
    ];

    /// Looks a name up.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }
}
