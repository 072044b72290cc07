//! Pixels of a panel before they become its planes.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use drv_protocol::gicisky::{Colors, Model, Planes, Scan};
use serde::Deserialize;

/// The color of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ink {
    /// Paper.
    #[default]
    White,
    /// Black.
    Black,
    /// Red.
    Red,
    /// Yellow.
    Yellow,
}

impl Ink {
    /// Whether a panel has this ink.
    #[must_use]
    pub const fn is_of(self, colors: Colors) -> bool {
        match self {
            Self::White | Self::Black => true,
            Self::Red => matches!(colors, Colors::BlackWhiteRed | Colors::BlackWhiteYellowRed),
            Self::Yellow => matches!(colors, Colors::BlackWhiteYellowRed),
        }
    }
}

/// A rectangle: left and top within, right and bottom beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// First column.
    pub left: i32,
    /// First row.
    pub top: i32,
    /// Column after the last.
    pub right: i32,
    /// Row after the last.
    pub bottom: i32,
}

impl Area {
    /// Columns; 0 when there are none.
    #[must_use]
    pub fn width(self) -> i32 {
        (self.right - self.left).max(0)
    }

    /// Rows; 0 when there are none.
    #[must_use]
    pub fn height(self) -> i32 {
        (self.bottom - self.top).max(0)
    }
}

/// Black pixels of a glyph or symbol, row by row, most significant bit first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bitmap {
    width: u16,
    height: u16,
    bits: Vec<u8>,
}

impl Bitmap {
    /// No black pixel.
    #[must_use]
    pub fn blank(width: u16, height: u16) -> Self {
        Self { width, height, bits: vec![0; usize::from(width).div_ceil(8) * usize::from(height)] }
    }

    /// Rows of whole bytes; missing bytes are white.
    #[must_use]
    pub fn from_rows(width: u16, height: u16, rows: &[u8]) -> Self {
        let mut bitmap = Self::blank(width, height);
        for (slot, byte) in bitmap.bits.iter_mut().zip(rows) {
            *slot = *byte;
        }
        bitmap
    }

    /// Columns.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> u16 {
        self.height
    }

    /// Rows of whole bytes, most significant bit first; 1 is black.
    #[must_use]
    pub fn rows(&self) -> &[u8] {
        &self.bits
    }

    fn place(&self, x: u16, y: u16) -> Option<(usize, u8)> {
        let inside = x < self.width && y < self.height;
        let stride = usize::from(self.width).div_ceil(8);
        inside.then(|| (usize::from(y) * stride + usize::from(x / 8), 0x80 >> (x % 8)))
    }

    /// Whether a pixel is black; one outside is not.
    #[must_use]
    pub fn is_black(&self, x: u16, y: u16) -> bool {
        let place = self.place(x, y);
        place.and_then(|(byte, mask)| self.bits.get(byte).map(|bits| bits & mask != 0)).unwrap_or(false)
    }

    /// Makes a pixel black; one outside is ignored.
    pub fn blacken(&mut self, x: u16, y: u16) {
        let place = self.place(x, y);
        if let Some((bits, mask)) = place.and_then(|(byte, mask)| Some((self.bits.get_mut(byte)?, mask))) {
            *bits |= mask;
        }
    }

    /// Every pixel as a square of `factor`.
    #[must_use]
    pub fn enlarged(&self, factor: u16) -> Self {
        if factor == 1 {
            return self.clone();
        }
        let mut large = Self::blank(self.width.saturating_mul(factor), self.height.saturating_mul(factor));
        for y in 0..large.height {
            for x in (0..large.width).filter(|x| self.is_black(x / factor, y / factor)) {
                large.blacken(x, y);
            }
        }
        large
    }

    /// Strokes widened to the right by `by` pixels.
    #[must_use]
    pub fn emboldened(&self, by: u16) -> Self {
        let mut bold = Self::blank(self.width.saturating_add(by), self.height);
        for y in 0..self.height {
            for x in (0..self.width).filter(|x| self.is_black(*x, y)) {
                (0..=by).for_each(|more| bold.blacken(x + more, y));
            }
        }
        bold
    }
}

/// The picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Canvas {
    width: u16,
    height: u16,
    pixels: Vec<Ink>,
}

/// The size and how many pixels are not white; a hundred thousand pixels would hide what is beside them.
impl fmt::Debug for Canvas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inked = self.pixels.iter().filter(|ink| **ink != Ink::White).count();
        write!(f, "Canvas({}x{}, {inked} inked)", self.width, self.height)
    }
}

impl Canvas {
    /// All white.
    #[must_use]
    pub fn blank(width: u16, height: u16) -> Self {
        Self { width, height, pixels: vec![Ink::White; usize::from(width) * usize::from(height)] }
    }

    /// Columns.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Rows.
    #[must_use]
    pub const fn height(&self) -> u16 {
        self.height
    }

    /// All pixels, row by row.
    #[must_use]
    pub fn pixels(&self) -> &[Ink] {
        &self.pixels
    }

    fn index(&self, x: i32, y: i32) -> Option<usize> {
        let (x, y) = (u16::try_from(x).ok()?, u16::try_from(y).ok()?);
        (x < self.width && y < self.height).then(|| usize::from(y) * usize::from(self.width) + usize::from(x))
    }

    /// The color of a pixel; `None` outside.
    #[must_use]
    pub fn ink(&self, x: i32, y: i32) -> Option<Ink> {
        self.pixels.get(self.index(x, y)?).copied()
    }

    /// Sets a pixel; one outside is ignored.
    pub fn set(&mut self, x: i32, y: i32, ink: Ink) {
        if let Some(pixel) = self.index(x, y).and_then(|index| self.pixels.get_mut(index)) {
            *pixel = ink;
        }
    }

    /// Fills what of the area lies on the picture.
    pub fn fill(&mut self, area: Area, ink: Ink) {
        let (width, height) = (i32::from(self.width), i32::from(self.height));
        let (left, right) = (area.left.clamp(0, width), area.right.clamp(0, width));
        let count = usize::try_from(right - left).unwrap_or(0);
        for y in area.top.clamp(0, height)..area.bottom.clamp(0, height) {
            // A row beyond the right edge has no first pixel, and nothing to fill.
            let row = self.index(left, y).and_then(|start| self.pixels.get_mut(start..start + count));
            row.into_iter().for_each(|row| row.fill(ink));
        }
    }

    /// Draws the black pixels of a bitmap.
    pub fn stamp(&mut self, bitmap: &Bitmap, left: i32, top: i32, ink: Ink) {
        let stride = usize::from(bitmap.width).div_ceil(8);
        for (y, row) in (top..).zip(bitmap.bits.chunks(stride.max(1))) {
            for (x, byte) in (left..).step_by(8).zip(row).filter(|(_, byte)| **byte != 0) {
                for bit in (0..8).filter(|bit| byte & (0x80 >> bit) != 0) {
                    self.set(x + bit, y, ink);
                }
            }
        }
    }

    /// The planes of a panel of this size; `None` for another size, or a panel that is not driven by planes. An ink that the
    /// panel lacks becomes black.
    #[must_use]
    pub fn planes(&self, model: Model) -> Option<Planes> {
        let memory = match self.two_bits(model) {
            Some(memory) => memory,
            None => {
                let has_red = model.planes()? > 1;
                // Red lies over white, so that a pixel is never both inks.
                let white = |ink: &Ink| *ink == Ink::White || (has_red && *ink == Ink::Red);
                let mut memory = self.packed(model, (8, 1), |ink| u8::from(white(ink)))?;
                if has_red {
                    memory.extend(self.packed(model, (8, 0), |ink| u8::from(*ink == Ink::Red))?);
                }
                memory
            }
        };
        Planes::decode(model, &memory).ok()
    }

    /// The memory of a four-color panel of this size: two bits a pixel (00 black, 01 white, 10 yellow, 11 red), most
    /// significant first, in the panel's scan order, each line padded with white to a whole byte. `None` for another panel.
    #[must_use]
    pub fn two_bits(&self, model: Model) -> Option<Vec<u8>> {
        if model.colors != Colors::BlackWhiteYellowRed {
            return None;
        }
        self.packed(model, (4, 0b01), |ink| match ink {
            Ink::Black => 0b00,
            Ink::White => 0b01,
            Ink::Yellow => 0b10,
            Ink::Red => 0b11,
        })
    }

    /// Pixels in the panel's scan order, `per_byte` of them in a byte, each line padded with `pad`.
    fn packed(
        &self,
        model: Model,
        (per_byte, pad): (usize, u8),
        bits: impl Fn(&Ink) -> u8,
    ) -> Option<Vec<u8>> {
        if (model.width, model.height) != (self.width, self.height) {
            return None;
        }
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let (lines, along) = match model.scan {
            Scan::Rows | Scan::RowsUpward => (height, width),
            Scan::Columns | Scan::ColumnsLeftward => (width, height),
        };
        let mut memory = Vec::with_capacity(lines * along.div_ceil(per_byte));
        for line in 0..lines {
            let (start, step) = match model.scan {
                Scan::Rows => (line * width, 1),
                Scan::RowsUpward => ((height - 1 - line) * width, 1),
                Scan::Columns => (line, width),
                Scan::ColumnsLeftward => (width - 1 - line, width),
            };
            let mut at = start;
            for first in (0..along).step_by(per_byte) {
                let mut byte = 0;
                for place in first..first + per_byte {
                    let pixel = self.pixels.get(at).filter(|_| place < along);
                    byte = byte << (8 / per_byte) | pixel.map_or(pad, &bits);
                    at += step;
                }
                memory.push(byte);
            }
        }
        Some(memory)
    }
}
