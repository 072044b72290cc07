//! A price label as an image: name, price, unit and article number, laid out for the panel's size.
//!
//! Fonts are embedded-graphics' ISO 8859-1 bitmaps, so Western European letters and "€" replacements work; a character
//! the font lacks shows as "?". The price is the same font enlarged by whole factors: crisp on e-paper, no floats.

use alloc::string::String;
use core::convert::Infallible;

use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_7X13, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::prelude::*;
use embedded_graphics::text::{Baseline, Text};

use super::model::Model;
use super::planes::{Ink, Planes};

const MARGIN: i32 = 4;
/// The longest text of a field that is drawn; the rest is cut.
pub const FIELD_CHARS_MAX: usize = 64;

/// What a shelf label says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Label {
    /// The article's name.
    pub name: String,
    /// The price as the customer reads it.
    pub price_text: String,
    /// What the price is for, as in "per kg".
    pub unit: String,
    /// The article number.
    pub sku: String,
    /// A line in red where the panel has it, as in "was 3.49"; empty for none.
    pub notice: String,
    /// The price stands in red.
    pub highlight: bool,
}

/// Why a label cannot be rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The model's panel is not driven by planes.
    #[error("model {id:#05x} is not driven by planes")]
    Unsupported {
        /// The model number.
        id: u16,
    },
    /// The price does not fit the panel, or is empty; a label never shows half a price.
    #[error("price of {chars} characters does not fit {width} pixels")]
    Price {
        /// Its length.
        chars: usize,
        /// The panel's width.
        width: u16,
    },
}

/// Renders a label for a model.
///
/// # Errors
/// A panel that is not driven by planes, or a price that does not fit whole.
pub fn render(label: &Label, model: Model) -> Result<Planes, RenderError> {
    let mut planes = Planes::blank(model).ok_or(RenderError::Unsupported { id: model.id })?;
    let (width, height) = (i32::from(model.width), i32::from(model.height));
    let small = if height < 150 { &FONT_6X10 } else { &FONT_7X13 };
    let foot = height - MARGIN - line_height(small);

    draw(&mut planes, &label.name, Place { x: MARGIN, y: MARGIN, scale: 1, ink: Ink::Black }, &FONT_10X20);
    rule(&mut planes, MARGIN + line_height(&FONT_10X20) + 1);
    let top = MARGIN + line_height(&FONT_10X20) + 5;
    let scale = price_scale(&label.price_text, width - 2 * MARGIN, foot - top - 2)
        .ok_or_else(|| RenderError::Price { chars: label.price_text.chars().count(), width: model.width })?;
    let ink = if label.highlight { Ink::Red } else { Ink::Black };
    let price_width = text_width(&label.price_text, &FONT_10X20) * scale;
    draw(
        &mut planes,
        &label.price_text,
        Place { x: width - MARGIN - price_width, y: top, scale, ink },
        &FONT_10X20,
    );

    draw(&mut planes, &label.sku, Place { x: MARGIN, y: foot, scale: 1, ink: Ink::Black }, small);
    let unit_x = (width - MARGIN - text_width(&label.unit, small)).max(MARGIN);
    draw(&mut planes, &label.unit, Place { x: unit_x, y: foot, scale: 1, ink: Ink::Black }, small);
    let notice_x = ((width - text_width(&label.notice, small)) / 2).max(MARGIN);
    draw(&mut planes, &label.notice, Place { x: notice_x, y: foot, scale: 1, ink: Ink::Red }, small);
    Ok(planes)
}

/// Where and how a text is drawn.
#[derive(Clone, Copy)]
struct Place {
    x: i32,
    y: i32,
    scale: i32,
    ink: Ink,
}

/// An enlarging, clipping view on planes.
struct Enlarged<'a> {
    planes: &'a mut Planes,
    place: Place,
}

impl Dimensions for Enlarged<'_> {
    fn bounding_box(&self) -> embedded_graphics::primitives::Rectangle {
        let model = self.planes.model();
        let size = Size::new(u32::from(model.width), u32::from(model.height));
        embedded_graphics::primitives::Rectangle::new(Point::zero(), size)
    }
}

impl DrawTarget for Enlarged<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Self::Color>>,
    {
        let Place { x: left, y: top, scale, ink } = self.place;
        for Pixel(point, color) in pixels {
            if color == BinaryColor::Off {
                continue;
            }
            for (dx, dy) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dx, dy))) {
                let x = u16::try_from(left + point.x * scale + dx);
                let y = u16::try_from(top + point.y * scale + dy);
                if let (Ok(x), Ok(y)) = (x, y) {
                    self.planes.set(x, y, ink);
                }
            }
        }
        Ok(())
    }
}

fn draw(planes: &mut Planes, text: &str, place: Place, font: &MonoFont<'_>) {
    let text: String = text.chars().take(FIELD_CHARS_MAX).collect();
    let style = MonoTextStyle::new(font, BinaryColor::On);
    let glyphs = Text::with_baseline(&text, Point::zero(), style, Baseline::Top);
    let Ok(_) = glyphs.draw(&mut Enlarged { planes, place });
}

fn rule(planes: &mut Planes, y: i32) {
    let Ok(y) = u16::try_from(y) else { return };
    for x in 0..planes.model().width {
        planes.set(x, y, Ink::Black);
    }
}

/// The largest whole factor at which the price fits; `None` when it is empty or too wide even as it is.
fn price_scale(text: &str, width: i32, height: i32) -> Option<i32> {
    let natural = text_width(text, &FONT_10X20);
    if natural == 0 || text.chars().count() > FIELD_CHARS_MAX {
        return None;
    }
    let scale = (width / natural).min(height / line_height(&FONT_10X20));
    (scale >= 1).then_some(scale)
}

fn text_width(text: &str, font: &MonoFont<'_>) -> i32 {
    let chars = i32::try_from(text.chars().take(FIELD_CHARS_MAX).count()).unwrap_or(0);
    let advance = i32::try_from(font.character_size.width + font.character_spacing).unwrap_or(0);
    chars * advance
}

fn line_height(font: &MonoFont<'_>) -> i32 {
    i32::try_from(font.character_size.height).unwrap_or(0)
}
