//! Draws a label: the layout that fits the panel, element by element.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use drv_protocol::gicisky::{Colors, Model, Planes};

use crate::canvas::{Area, Bitmap, Canvas, Ink};
use crate::font::{Face, Fonts, line_height};
use crate::price::draw_price;
use crate::symbol::{Bars, QR_QUIET, SymbolError, code128, ean13, qr};
use crate::template::{Align, Barcode, Condition, Layout, Phrase, Qr, Symbology, Template, Text, Valign};
use crate::text;
use crate::values::{FIELD_CHARS_MAX, Values};

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No layout of the template is small enough.
    #[error("the template has no layout for a panel of {width}x{height} pixels")]
    NoLayout {
        /// The panel's width.
        width: u16,
        /// The panel's height.
        height: u16,
    },
    /// The price does not fit its box; a label never shows half a price.
    #[error("{element}: price {price} does not fit {width}x{height} pixels")]
    Price {
        /// Which element.
        element: String,
        /// The price.
        price: String,
        /// The box's width.
        width: i32,
        /// The box's height.
        height: i32,
    },
    /// The model's panel is not driven by planes.
    #[error("model {id:#05x} is not driven by planes")]
    Unsupported {
        /// The model number.
        id: u16,
    },
}

/// Something that people should know of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A text was shortened.
    Shortened {
        /// Which element.
        element: String,
        /// Characters left out.
        left_out: usize,
    },
    /// The element has no room at all and was left out.
    NoRoom {
        /// Which element.
        element: String,
    },
    /// No font has a character; a box stands in its place.
    MissingGlyph {
        /// Which element.
        element: String,
        /// The character.
        character: char,
    },
    /// A code could not be made and was left out.
    Symbol {
        /// Which element.
        element: String,
        /// Why.
        error: SymbolError,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shortened { element, left_out } => write!(f, "{element}: {left_out} characters left out"),
            Self::NoRoom { element } => write!(f, "{element}: no room, left out"),
            Self::MissingGlyph { element, character } => {
                write!(f, "{element}: no font has {character:?} (U+{:04X})", u32::from(*character))
            }
            Self::Symbol { element, error } => write!(f, "{element}: {error}, left out"),
        }
    }
}

/// A picture, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The pixels.
    pub canvas: Canvas,
    /// In the order of drawing.
    pub warnings: Vec<Warning>,
}

/// Draws labels; keeps glyphs between them.
#[derive(Default)]
pub struct Renderer {
    fonts: Fonts,
}

/// What an element is drawn with.
pub(crate) struct Sheet<'a> {
    pub(crate) canvas: Canvas,
    pub(crate) fonts: &'a mut Fonts,
    pub(crate) colors: Colors,
    pub(crate) values: &'a Values,
    pub(crate) warnings: Vec<Warning>,
}

impl Renderer {
    /// With the linked fonts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Draws a label on a panel. The template is a checked one.
    ///
    /// # Errors
    /// A panel that is too small for every layout, or a price that does not fit whole.
    pub fn render(
        &mut self,
        template: &Template,
        values: &Values,
        model: Model,
    ) -> Result<Rendered, RenderError> {
        let (width, height) = (model.width, model.height);
        let layout = template.layout_for(width, height).ok_or(RenderError::NoLayout { width, height })?;
        let canvas = Canvas::blank(width, height);
        let mut sheet =
            Sheet { canvas, fonts: &mut self.fonts, colors: model.colors, values, warnings: Vec::new() };
        sheet.draw(layout)?;
        Ok(Rendered { canvas: sheet.canvas, warnings: sheet.warnings })
    }

    /// Draws a label as the planes of a panel.
    ///
    /// # Errors
    /// As [`Self::render`], and for a panel that is not driven by planes.
    pub fn planes(
        &mut self,
        template: &Template,
        values: &Values,
        model: Model,
    ) -> Result<(Planes, Vec<Warning>), RenderError> {
        let rendered = self.render(template, values, model)?;
        let planes = rendered.canvas.planes(model).ok_or(RenderError::Unsupported { id: model.id })?;
        Ok((planes, rendered.warnings))
    }

    /// One line of text as a bitmap of the line's height, for printers that have no font for it; characters without a glyph are
    /// listed.
    pub fn line(&mut self, face: Face, size: u16, line: &str) -> (Bitmap, Vec<char>) {
        let line: String = line.chars().take(FIELD_CHARS_MAX).collect();
        let width = u16::try_from(text::width(&self.fonts, face, size, &line)).unwrap_or(u16::MAX);
        let height = u16::try_from(line_height(face, size)).unwrap_or(size);
        let mut canvas = Canvas::blank(width, height);
        let missing = text::draw(&mut canvas, &mut self.fonts, (face, size, Ink::Black), &line, (0, 0));
        let mut bitmap = Bitmap::blank(width, height);
        let points = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        for ((x, y), _) in points.zip(canvas.pixels()).filter(|(_, ink)| **ink == Ink::Black) {
            bitmap.blacken(x, y);
        }
        (bitmap, missing)
    }
}

impl Sheet<'_> {
    fn holds(&self, when: Option<Condition>) -> bool {
        when.is_none_or(|condition| condition.holds(self.values))
    }

    fn area(&self, edges: crate::template::Edges) -> Area {
        edges.on(self.canvas.width(), self.canvas.height())
    }

    fn draw(&mut self, layout: &Layout) -> Result<(), RenderError> {
        for fill in &layout.fill {
            if self.holds(fill.when) {
                self.canvas.fill(self.area(fill.area), fill.color.on(self.colors));
            }
        }
        for frame in &layout.frame {
            if self.holds(frame.when) {
                self.outline(self.area(frame.area), i32::from(frame.thickness), frame.color.on(self.colors));
            }
        }
        for (index, barcode) in layout.barcode.iter().enumerate() {
            if self.holds(barcode.when) {
                self.barcode(barcode, &format!("barcode[{index}]"));
            }
        }
        for (index, code) in layout.qr.iter().enumerate() {
            if self.holds(code.when) {
                self.qr(code, &format!("qr[{index}]"));
            }
        }
        for (index, text) in layout.text.iter().enumerate() {
            if self.holds(text.when) {
                self.text(text, &format!("text[{index}]"));
            }
        }
        for (index, price) in layout.price.iter().enumerate() {
            if self.holds(price.when) {
                let area = self.area(price.area);
                draw_price(self, price, area, &format!("price[{index}]"))?;
            }
        }
        Ok(())
    }

    fn outline(&mut self, area: Area, thickness: i32, ink: Ink) {
        let Area { left, top, right, bottom } = area;
        self.canvas.fill(Area { bottom: (top + thickness).min(bottom), ..area }, ink);
        self.canvas.fill(Area { top: (bottom - thickness).max(top), ..area }, ink);
        self.canvas.fill(Area { right: (left + thickness).min(right), ..area }, ink);
        self.canvas.fill(Area { left: (right - thickness).max(left), ..area }, ink);
    }

    /// The phrase, cut where it is longer than any field may be.
    pub(crate) fn phrase(&mut self, phrase: &Phrase, element: &str) -> String {
        let whole = phrase.fill(self.values);
        let count = whole.chars().count();
        if count <= FIELD_CHARS_MAX {
            return whole;
        }
        self.warnings.push(Warning::Shortened { element: element.into(), left_out: count - FIELD_CHARS_MAX });
        whole.chars().take(FIELD_CHARS_MAX).collect()
    }

    fn text(&mut self, wanted: &Text, element: &str) {
        let content = self.phrase(&wanted.text, element);
        if content.trim().is_empty() {
            return;
        }
        let (area, face) = (self.area(wanted.area), wanted.font);
        let least = wanted.min_size.unwrap_or(wanted.size);
        let step = if face == Face::Pixel { 16 } else { 1 };
        let mut best = None;
        for size in (least..=wanted.size).rev().step_by(step) {
            let rows = (area.height() / line_height(face, size)).min(i32::from(wanted.lines));
            let rows = usize::try_from(rows).unwrap_or(0);
            let broken = text::break_lines(self.fonts, face, size, &content, (area.width(), rows));
            let done = broken.left_over == 0;
            if rows > 0 {
                best = Some((size, broken));
            }
            if done && rows > 0 {
                break;
            }
        }
        let Some((size, broken)) = best else {
            return self.warnings.push(Warning::NoRoom { element: element.into() });
        };
        if broken.left_over > 0 {
            let left_out = broken.left_over;
            self.warnings.push(Warning::Shortened { element: element.into(), left_out });
        }
        let height = line_height(face, size);
        let free = area.height() - height * i32::try_from(broken.lines.len()).unwrap_or(0);
        let mut top = area.top
            + match wanted.valign {
                Valign::Top => 0,
                Valign::Middle => free / 2,
                Valign::Bottom => free,
            };
        let ink = wanted.color.on(self.colors);
        for line in &broken.lines {
            let width = text::width(self.fonts, face, size, line);
            let left = aligned(area, wanted.align, width);
            self.write((face, size, ink), line, (left, top), element);
            top += height;
        }
    }

    /// Draws a line and notes what no font has.
    pub(crate) fn write(&mut self, style: (Face, u16, Ink), line: &str, at: (i32, i32), element: &str) {
        for character in text::draw(&mut self.canvas, self.fonts, style, line, at) {
            let warning = Warning::MissingGlyph { element: element.into(), character };
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn barcode(&mut self, wanted: &Barcode, element: &str) {
        let content = self.phrase(&wanted.text, element);
        if content.is_empty() {
            return;
        }
        let area = self.area(wanted.area);
        let made = match wanted.symbology {
            Symbology::Ean13 => ean13(&content),
            Symbology::Code128 => code128(&content),
            Symbology::Auto => ean13(&content).or_else(|_| code128(&content)),
        };
        let fitted = made.and_then(|bars| {
            let scale = area.width() / i32::from(bars.width()).max(1);
            let error = SymbolError::Room { modules: bars.width(), pixels: area.width() };
            if scale == 0 { Err(error) } else { Ok((bars, scale)) }
        });
        match fitted {
            Ok((bars, scale)) => self.bars(&bars, scale, area, (wanted, &content), element),
            Err(error) => self.warnings.push(Warning::Symbol { element: element.into(), error }),
        }
    }

    fn bars(
        &mut self,
        bars: &Bars,
        scale: i32,
        area: Area,
        (wanted, content): (&Barcode, &str),
        element: &str,
    ) {
        let ink = wanted.color.on(self.colors);
        self.canvas.fill(area, Ink::White);
        // Figures take a quarter of the height, but never so much that bars become too low to scan.
        let size = u16::try_from(area.height() / 4).unwrap_or(0).clamp(10, 28);
        let figures = wanted.digits && area.height() >= 2 * line_height(Face::Sans, size);
        let bottom = if figures { area.bottom - line_height(Face::Sans, size) } else { area.bottom };
        let whole = i32::from(bars.width()) * scale;
        let left = area.left + (area.width() - whole) / 2 + i32::from(bars.quiet_left) * scale;
        for (start, _) in (left..)
            .step_by(usize::try_from(scale).unwrap_or(1))
            .zip(&bars.modules)
            .filter(|(_, dark)| **dark)
        {
            self.canvas.fill(Area { left: start, right: start + scale, top: area.top, bottom }, ink);
        }
        if figures {
            let width = text::width(self.fonts, Face::Sans, size, content);
            let middle = aligned(area, Align::Center, width);
            self.write((Face::Sans, size, ink), content, (middle, bottom), element);
        }
    }

    fn qr(&mut self, wanted: &Qr, element: &str) {
        let content = self.phrase(&wanted.text, element);
        if content.is_empty() {
            return;
        }
        let area = self.area(wanted.area);
        let side = area.width().min(area.height());
        let fitted = qr(&content).and_then(|modules| {
            let count = modules.width() + 2 * QR_QUIET;
            let scale = u16::try_from(side / i32::from(count)).unwrap_or(0);
            let error = SymbolError::Room { modules: count, pixels: side };
            if scale == 0 { Err(error) } else { Ok((modules.enlarged(scale), i32::from(scale * count))) }
        });
        match fitted {
            Ok((modules, whole)) => {
                let (left, top) =
                    (area.left + (area.width() - whole) / 2, area.top + (area.height() - whole) / 2);
                self.canvas.fill(Area { left, top, right: left + whole, bottom: top + whole }, Ink::White);
                let quiet = (whole - i32::from(modules.width())) / 2;
                self.canvas.stamp(&modules, left + quiet, top + quiet, wanted.color.on(self.colors));
            }
            Err(error) => self.warnings.push(Warning::Symbol { element: element.into(), error }),
        }
    }
}

/// The left edge of something as wide as `width`.
pub(crate) fn aligned(area: Area, align: Align, width: i32) -> i32 {
    let free = area.width() - width;
    area.left
        + match align {
            Align::Left => 0,
            Align::Center => free / 2,
            Align::Right => free,
        }
}
