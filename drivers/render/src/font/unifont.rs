//! GNU Unifont: glyphs of 8 or 16 by 16 pixels, found by binary search in the tables that `build.rs` made.

use crate::canvas::Bitmap;

const NARROW: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/narrow.bin"));
const WIDE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wide.bin"));

/// The rows of a glyph.
pub(super) struct Rows(&'static [u8]);

impl Rows {
    /// 8 or 16 pixels.
    pub(super) fn width(&self) -> u16 {
        if self.0.len() == 16 { 8 } else { 16 }
    }

    pub(super) fn bitmap(&self) -> Bitmap {
        Bitmap::from_rows(self.width(), 16, self.0)
    }
}

pub(super) fn find(character: char) -> Option<Rows> {
    let code = u16::try_from(u32::from(character)).ok()?;
    search(NARROW, 18, code).or_else(|| search(WIDE, 34, code)).map(Rows)
}

/// Looks a code point up in a table of records.
fn search(table: &'static [u8], record: usize, code: u16) -> Option<&'static [u8]> {
    let wanted = code.to_be_bytes();
    let (mut low, mut high) = (0, table.len() / record);
    while low < high {
        let middle = usize::midpoint(low, high);
        let found = table.get(middle * record..(middle + 1) * record)?;
        match found.get(..2)?.cmp(&wanted) {
            core::cmp::Ordering::Equal => return found.get(2..),
            core::cmp::Ordering::Less => low = middle + 1,
            core::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}
