//! Templates: layouts of a label by panel size, as TOML files say them.
//!
//! ```toml
//! schema = 1
//!
//! [[layout]]
//! min = [200, 100]            # pixels; the largest layout that fits a panel is taken
//!
//! [[layout.text]]
//! box = [4, 2, -4, 20]        # left, top, right, bottom
//! text = "{name}"
//! font = "pixel"
//! size = 16
//!
//! [[layout.price]]            # every layout shows the price, always
//! box = [4, 24, -4, -20]
//! ```
//!
//! | element | keys (default) |
//! |---|---|
//! | all | `box`, `color` (`"black"`), `when` (always) |
//! | `fill` | none further: a filled rectangle; a line is a thin one |
//! | `frame` | `thickness` (1) |
//! | `text` | `text`, `font` (`"sans"`), `size`, `min_size` (= `size`), `lines` (1), `align` (`"left"`), `valign` (`"top"`) |
//! | `price` | `value` (`"price"`), `font` (`"bold"`), `size` (what fits), `min_size` (14), `align` (`"left"`), `decimals` (`"small"`), `prefix`, `suffix` (none), `strike` (no line; else its color) |
//! | `barcode` | `text` (`"{code}"`), `symbology` (`"auto"`: EAN-13 if it is one, else Code 128), `digits` (true) |
//! | `qr` | `text` (`"{link}"`) |
//!
//! * `box`: left and top are measured from the left and top edge, from the right and bottom edge when negative; right and bottom are
//!   measured from the right and bottom edge when zero or negative.
//! * `text`, `prefix`, `suffix`: `{field}` stands for a field of the label ([`Field::NAMES`]); a text with an empty field is not drawn.
//! * `when`: a field that must not be empty, or with `!` before it one that must be.
//! * `color`: one of white, black, red, yellow, or a list of which the first that the panel has is taken; black when it has none.
//! * `font`: `pixel` (16 pixels and multiples, the clearest at 16), `sans`, `bold`. `size` and `min_size` in pixels: text is made
//!   smaller down to `min_size`, then broken into `lines`, then shortened with an ellipsis and a warning.
//! * Drawn in the order of the table, so that texts lie above fills; within a kind in the file's order.

mod check;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use drv_protocol::gicisky::Colors;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::canvas::{Area, Ink};
use crate::font::Face;
use crate::values::{Field, Values};

pub use check::{TemplateError, TemplateFault};

/// The schema that this code reads.
pub const SCHEMA: u32 = 1;

/// A template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// [`SCHEMA`].
    pub schema: u32,
    /// By smallest panel.
    #[serde(default)]
    pub layout: Vec<Layout>,
}

impl Template {
    /// The largest layout that fits a panel.
    #[must_use]
    pub fn layout_for(&self, width: u16, height: u16) -> Option<&Layout> {
        let fitting = self.layout.iter().filter(|layout| layout.min[0] <= width && layout.min[1] <= height);
        fitting.max_by_key(|layout| u32::from(layout.min[0]) * u32::from(layout.min[1]))
    }

    /// Whether a panel has a layout.
    #[must_use]
    pub fn fits(&self, width: u16, height: u16) -> bool {
        self.layout_for(width, height).is_some()
    }
}

/// What is where on panels of at least a size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Smallest width and height in pixels.
    pub min: [u16; 2],
    /// Filled rectangles.
    #[serde(default)]
    pub fill: Vec<Fill>,
    /// Outlined rectangles.
    #[serde(default)]
    pub frame: Vec<Frame>,
    /// Barcodes.
    #[serde(default)]
    pub barcode: Vec<Barcode>,
    /// QR codes.
    #[serde(default)]
    pub qr: Vec<Qr>,
    /// Texts.
    #[serde(default)]
    pub text: Vec<Text>,
    /// Prices.
    #[serde(default)]
    pub price: Vec<Price>,
}

/// A filled rectangle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fill {
    /// Where.
    #[serde(rename = "box")]
    pub area: Edges,
    /// Its color.
    #[serde(default)]
    pub color: Inks,
    /// Drawn only then.
    pub when: Option<Condition>,
}

/// An outlined rectangle.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Its outer edge.
    #[serde(rename = "box")]
    pub area: Edges,
    /// Pixels inwards.
    #[serde(default = "one")]
    pub thickness: u16,
    /// Its color.
    #[serde(default)]
    pub color: Inks,
    /// Drawn only then.
    pub when: Option<Condition>,
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Where.
    #[serde(rename = "box")]
    pub area: Edges,
    /// What.
    pub text: Phrase,
    /// Typeface.
    #[serde(default)]
    pub font: Face,
    /// Pixels of the em.
    pub size: u16,
    /// How small it may become.
    pub min_size: Option<u16>,
    /// How many lines it may take.
    #[serde(default = "one")]
    pub lines: u16,
    /// Sideways.
    #[serde(default)]
    pub align: Align,
    /// Up and down.
    #[serde(default)]
    pub valign: Valign,
    /// Its color.
    #[serde(default)]
    pub color: Inks,
    /// Drawn only then.
    pub when: Option<Condition>,
}

/// An amount of money in large digits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Where; it stands on the lower edge.
    #[serde(rename = "box")]
    pub area: Edges,
    /// Which.
    #[serde(default)]
    pub value: Amount,
    /// Typeface.
    #[serde(default = "bold")]
    pub font: Face,
    /// Pixels of the em of the large digits; as large as fits when absent.
    pub size: Option<u16>,
    /// How small it may become.
    #[serde(default = "legible")]
    pub min_size: u16,
    /// Sideways.
    #[serde(default)]
    pub align: Align,
    /// How the digits after the point look.
    #[serde(default)]
    pub decimals: Decimals,
    /// Small, before it.
    #[serde(default)]
    pub prefix: Phrase,
    /// Small, after it and under the decimals.
    #[serde(default)]
    pub suffix: Phrase,
    /// Struck through in this color.
    pub strike: Option<Inks>,
    /// Its color.
    #[serde(default)]
    pub color: Inks,
    /// Drawn only then.
    pub when: Option<Condition>,
}

/// A barcode with its quiet zones, on white.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Barcode {
    /// Where.
    #[serde(rename = "box")]
    pub area: Edges,
    /// Its content.
    #[serde(default = "code")]
    pub text: Phrase,
    /// Which.
    #[serde(default)]
    pub symbology: Symbology,
    /// With its content in figures below.
    #[serde(default = "yes")]
    pub digits: bool,
    /// Its color.
    #[serde(default)]
    pub color: Inks,
    /// Drawn only then.
    pub when: Option<Condition>,
}

/// A QR code with its quiet zone, on white.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qr {
    /// Where; it is the largest that fits, in the middle.
    #[serde(rename = "box")]
    pub area: Edges,
    /// Its content.
    #[serde(default = "link")]
    pub text: Phrase,
    /// Its color.
    #[serde(default)]
    pub color: Inks,
    /// Drawn only then.
    pub when: Option<Condition>,
}

/// An amount of [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// What the customer pays.
    #[default]
    Price,
    /// What it was.
    OldPrice,
    /// Per unit of measure.
    UnitPrice,
}

/// How decimals look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    /// Small and raised.
    #[default]
    Small,
    /// As the other digits.
    Full,
}

/// A barcode's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Symbology {
    /// EAN-13 for 13 digits with a valid check digit, else Code 128.
    #[default]
    Auto,
    /// EAN-13.
    Ean13,
    /// Code 128.
    Code128,
}

/// Alignment sideways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// To the left.
    #[default]
    Left,
    /// In the middle.
    Center,
    /// To the right.
    Right,
}

/// Alignment up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Valign {
    /// To the top.
    #[default]
    Top,
    /// In the middle.
    Middle,
    /// To the bottom.
    Bottom,
}

fn one() -> u16 {
    1
}

fn legible() -> u16 {
    14
}

fn yes() -> bool {
    true
}

fn bold() -> Face {
    Face::Bold
}

fn code() -> Phrase {
    Phrase(Vec::from([Part::Field(Field::Code)]))
}

fn link() -> Phrase {
    Phrase(Vec::from([Part::Field(Field::Link)]))
}

/// Left, top, right, bottom; negative ones from the far edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Edges(pub [i16; 4]);

impl Edges {
    /// The rectangle on a panel.
    #[must_use]
    pub fn on(self, width: u16, height: u16) -> Area {
        let [left, top, right, bottom] = self.0.map(i32::from);
        let (width, height) = (i32::from(width), i32::from(height));
        let near = |edge: i32, size: i32| if edge < 0 { size + edge } else { edge };
        let far = |edge: i32, size: i32| if edge <= 0 { size + edge } else { edge };
        Area {
            left: near(left, width),
            top: near(top, height),
            right: far(right, width),
            bottom: far(bottom, height),
        }
    }
}

/// Inks in order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inks(Vec<Ink>);

impl Default for Inks {
    fn default() -> Self {
        Self(Vec::from([Ink::Black]))
    }
}

impl Inks {
    /// The first that the panel has; black when it has none of them.
    #[must_use]
    pub fn on(&self, colors: Colors) -> Ink {
        self.0.iter().copied().find(|ink| ink.is_of(colors)).unwrap_or(Ink::Black)
    }
}

impl<'de> Deserialize<'de> for Inks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Inks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a color (white, black, red, yellow) or a list of colors")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Inks, E> {
                Ink::deserialize(serde::de::value::StrDeserializer::new(name))
                    .map(|ink| Inks(Vec::from([ink])))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Inks, A::Error> {
                let mut inks = Vec::new();
                while let Some(ink) = names.next_element()? {
                    // Four colors exist; more entries mean nothing.
                    if inks.len() < 4 {
                        inks.push(ink);
                    }
                }
                Ok(Inks(inks))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// A field that must be there, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Condition {
    field: Field,
    present: bool,
}

impl Condition {
    /// Whether it holds.
    #[must_use]
    pub fn holds(self, values: &Values) -> bool {
        values.text(self.field).is_empty() != self.present
    }
}

/// Text that names no field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// An unknown field.
    #[error("a field of the label ({}), found `{found}`", names())]
    Field {
        /// What was named.
        found: String,
    },
    /// A brace without its other half.
    #[error("`{{` and `}}` in pairs around a field's name")]
    Brace,
}

fn names() -> String {
    Field::NAMES.map(|(name, _)| name).join(", ")
}

fn find(name: &str) -> Result<Field, PhraseError> {
    Field::find(name).ok_or_else(|| PhraseError::Field { found: name.chars().take(40).collect() })
}

impl TryFrom<String> for Condition {
    type Error = PhraseError;

    fn try_from(text: String) -> Result<Self, PhraseError> {
        let absent = text.strip_prefix('!');
        Ok(Self { field: find(absent.unwrap_or(&text))?, present: absent.is_none() })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Plain(String),
    Field(Field),
}

/// A text with `{fields}`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "String")]
pub struct Phrase(Vec<Part>);

impl TryFrom<String> for Phrase {
    type Error = PhraseError;

    fn try_from(text: String) -> Result<Self, PhraseError> {
        let (mut parts, mut rest) = (Vec::new(), text.as_str());
        while let Some((before, after)) = rest.split_once('{') {
            let (name, next) = after.split_once('}').ok_or(PhraseError::Brace)?;
            parts.extend([Part::Plain(before.into()), Part::Field(find(name)?)]);
            rest = next;
        }
        parts.push(Part::Plain(rest.into()));
        let stray = parts.iter().any(|part| matches!(part, Part::Plain(text) if text.contains('}')));
        if stray { Err(PhraseError::Brace) } else { Ok(Self(parts)) }
    }
}

impl Phrase {
    /// The text for a label; empty when one of its fields is. Control characters become spaces.
    #[must_use]
    pub fn fill(&self, values: &Values) -> String {
        let mut whole = String::new();
        for part in &self.0 {
            match part {
                Part::Plain(text) => whole.push_str(text),
                Part::Field(field) => match values.text(*field) {
                    text if text.is_empty() => return text,
                    text => whole.push_str(&text),
                },
            }
        }
        whole.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
    }
}
