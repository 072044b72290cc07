//! Glyphs: outlines filled with integer arithmetic, and a bitmap font for small sizes and rare characters.
//!
//! A character of [`Face::Sans`] or [`Face::Bold`] comes from Roboto Condensed, then from Droid Sans Fallback (3,755 common Chinese
//! characters), then from GNU Unifont enlarged by a whole factor, and is a box if none has it. [`Face::Pixel`] is Unifont
//! alone: 16 pixels high and multiples, the clearest at 16. Files and licences: `fonts/README.md`.

mod outline;
mod unifont;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use serde::Deserialize;

use crate::canvas::Bitmap;

/// Glyphs kept drawn; beyond that the cache begins anew.
pub const CACHE_GLYPHS_MAX: usize = 4_096;
/// The smallest font size in pixels.
pub const SIZE_MIN: u16 = 8;
/// The largest font size in pixels.
pub const SIZE_MAX: u16 = 600;

const REGULAR: &[u8] = include_bytes!("../fonts/roboto-condensed-regular.ttf");
const BOLD: &[u8] = include_bytes!("../fonts/roboto-condensed-bold.ttf");
const CHINESE: &[u8] = include_bytes!("../fonts/droid-sans-fallback.ttf");

/// A typeface as templates name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Face {
    /// Bitmaps of 16 pixels and multiples.
    Pixel,
    /// Outlines.
    #[default]
    Sans,
    /// Bold outlines.
    Bold,
}

/// A drawn character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glyph {
    /// Its black pixels.
    pub bitmap: Bitmap,
    /// From the pen to the bitmap's left edge.
    pub left: i32,
    /// From the baseline up to the bitmap's top edge.
    pub rise: i32,
    /// How far the pen moves.
    pub advance: i32,
    /// No font has the character; this is a box.
    pub missing: bool,
}

/// The fonts and what was drawn of them lately.
pub struct Fonts {
    regular: Option<outline::Outlines>,
    bold: Option<outline::Outlines>,
    chinese: Option<outline::Outlines>,
    drawn: BTreeMap<(Face, u16, char), Arc<Glyph>>,
}

impl Default for Fonts {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a character is found.
enum Source<'f> {
    Outline(&'f outline::Outlines, outline::GlyphId, Weight),
    Bitmap(unifont::Rows, u16),
    Nowhere,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    AsDrawn,
    Emboldened,
}

impl Fonts {
    /// Opens the linked fonts. Nothing is drawn yet.
    #[must_use]
    pub fn new() -> Self {
        let open = outline::Outlines::open;
        Self { regular: open(REGULAR), bold: open(BOLD), chinese: open(CHINESE), drawn: BTreeMap::new() }
    }

    /// Whether the linked fonts could all be read: a check for tests, since they are part of the program.
    #[must_use]
    pub const fn are_whole(&self) -> bool {
        self.regular.is_some() && self.bold.is_some() && self.chinese.is_some()
    }

    fn source(&self, face: Face, size: u16, character: char) -> Source<'_> {
        let latin = match face {
            Face::Pixel => None,
            Face::Sans => self.regular.as_ref(),
            Face::Bold => self.bold.as_ref(),
        };
        let weight = if face == Face::Bold { Weight::Emboldened } else { Weight::AsDrawn };
        let chinese = self.chinese.as_ref().filter(|_| face != Face::Pixel);
        for (outlines, weight) in [(latin, Weight::AsDrawn), (chinese, weight)] {
            let found = outlines.and_then(|outlines| Some((outlines, outlines.find(character)?)));
            if let Some((outlines, glyph)) = found {
                return Source::Outline(outlines, glyph, weight);
            }
        }
        let factor = if face == Face::Pixel { size / 16 } else { (size + 4) / 16 };
        unifont::find(character).map_or(Source::Nowhere, |rows| Source::Bitmap(rows, factor.max(1)))
    }

    /// How far a character moves the pen, without drawing it.
    #[must_use]
    pub fn advance(&self, face: Face, size: u16, character: char) -> i32 {
        match self.source(face, size, character) {
            Source::Outline(outlines, glyph, weight) => {
                outlines.advance(glyph, size) + i32::from(extra(size, weight))
            }
            Source::Bitmap(rows, factor) => i32::from(rows.width() * factor),
            Source::Nowhere => i32::from(size),
        }
    }

    /// A character drawn.
    pub fn glyph(&mut self, face: Face, size: u16, character: char) -> Arc<Glyph> {
        let key = (face, size, character);
        if let Some(glyph) = self.drawn.get(&key) {
            return Arc::clone(glyph);
        }
        let advance = self.advance(face, size, character);
        let glyph = match self.source(face, size, character) {
            Source::Outline(outlines, glyph, weight) => {
                let (bitmap, left, rise) = outlines.draw(glyph, size);
                let by = extra(size, weight);
                let bitmap = if by == 0 { bitmap } else { bitmap.emboldened(by) };
                Glyph { bitmap, left, rise, advance, missing: false }
            }
            Source::Bitmap(rows, factor) => {
                let bitmap = rows.bitmap().enlarged(factor);
                Glyph { bitmap, left: 0, rise: i32::from(14 * factor), advance, missing: false }
            }
            Source::Nowhere => missing(size, advance),
        };
        if self.drawn.len() >= CACHE_GLYPHS_MAX {
            self.drawn.clear();
        }
        let glyph = Arc::new(glyph);
        self.drawn.insert(key, Arc::clone(&glyph));
        glyph
    }
}

/// How much the only weight of the Chinese outlines is widened for [`Face::Bold`].
fn extra(size: u16, weight: Weight) -> u16 {
    if weight == Weight::Emboldened { size / 20 } else { 0 }
}

/// A box with a cross-free, empty middle: seen by people, mistaken for no character.
fn missing(size: u16, advance: i32) -> Glyph {
    let (side, stroke) = (size.saturating_sub(size / 8).max(3), (size / 16).max(1));
    let mut bitmap = Bitmap::blank(side, side);
    for y in 0..side {
        for x in 0..side {
            let edge = x.min(y).min(side - 1 - x).min(side - 1 - y);
            if edge < stroke {
                bitmap.blacken(x, y);
            }
        }
    }
    let left = (advance - i32::from(side)) / 2;
    Glyph { bitmap, left, rise: baseline(Face::Sans, size), advance, missing: true }
}

/// Height of a line in pixels.
#[must_use]
pub fn line_height(face: Face, size: u16) -> i32 {
    match face {
        Face::Pixel => i32::from((size / 16).max(1) * 16),
        Face::Sans | Face::Bold => i32::from(size + size / 8),
    }
}

/// From a line's top down to its baseline.
#[must_use]
pub fn baseline(face: Face, size: u16) -> i32 {
    match face {
        Face::Pixel => i32::from((size / 16).max(1) * 14),
        Face::Sans | Face::Bold => i32::from(size - size / 8),
    }
}
