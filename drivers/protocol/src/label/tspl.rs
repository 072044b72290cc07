//! TSPL: lines of text, ended by CR LF; texts in quotes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Caption, Code, LabelError, Picture, Placed, PlacedCode, PortionLabel, Size, Slot};
use crate::evidence::Evidence;
use crate::gs1::element::FNC1;

/// Asks for the state; the answer is one byte, at any time.
pub const STATUS_QUERY: [u8; 3] = [0x1B, 0x21, 0x3F];

/// The stream of a label.
///
/// # Errors
/// See [`LabelError`]; an element string with separators inside, which TSPL's `EAN128` cannot say.
pub fn encode(label: &PortionLabel) -> Result<Vec<u8>, LabelError> {
    let (placed, code) = label.lay_out()?;
    let media = label.media;
    let mut out = Vec::new();
    // Ends a line or quote that an aborted stream left open.
    line(&mut out, "");
    line(&mut out, &format!("SIZE {} mm,{} mm", media.width_mm, media.height_mm));
    line(&mut out, &format!("GAP {} mm,0", media.gap_mm));
    line(&mut out, "CLS");
    for Placed(slot, caption) in &placed {
        match caption {
            Caption::Text(content) if content.is_empty() => {}
            Caption::Text(content) => line(&mut out, &text(*slot, content)),
            Caption::Picture(picture) => bitmap(&mut out, *slot, picture),
        }
    }
    line(&mut out, &barcode(&code)?);
    line(&mut out, &format!("PRINT {}", label.copies));
    Ok(out)
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// A quote within a text is written `\["]`.
fn quoted(text: &str) -> String {
    text.replace('"', "\\[\"]")
}

/// Font 2 has cells of 12 by 20 dots, font 3 of 16 by 24.
fn text(slot: Slot, content: &str) -> String {
    let (font, scale) = match slot.size {
        Size::Small => (2, 1),
        Size::Usual => (3, 1),
        Size::Large => (3, 2),
    };
    format!("TEXT {},{},\"{font}\",0,{scale},{scale},\"{}\"", slot.x, slot.y, quoted(content))
}

/// Mode 0 writes over what is there; a bit of 0 is a black dot.
fn bitmap(out: &mut Vec<u8>, slot: Slot, picture: &Picture) {
    let (width, height) = (picture.row_bytes(), picture.height);
    out.extend_from_slice(format!("BITMAP {},{},{width},{height},0,", slot.x, slot.y).as_bytes());
    let spare = picture.width % 8;
    for row in picture.rows.chunks(width.max(1)) {
        let last = row.len().saturating_sub(1);
        out.extend(row.iter().enumerate().map(|(at, byte)| {
            // Columns beyond the width stay white whatever the picture has there.
            let mask = if at == last && spare > 0 { 0xFF << (8 - spare) } else { 0xFF };
            !(byte & mask)
        }));
    }
    out.extend_from_slice(b"\r\n");
}

/// The command for bars: rotation 0, narrow and wide of one width, figures below; an EAN-13 without its check digit.
///
/// # Errors
/// An element string with a separator inside.
pub fn barcode(placed: &PlacedCode<'_>) -> Result<String, LabelError> {
    let PlacedCode { x, y, height, module, code } = placed;
    let (kind, content) = match code {
        Code::Ean13(digits) => ("EAN13", digits.chars().take(12).collect()),
        Code::Code128(text) => ("128", quoted(text)),
        Code::Gs1(elements) => ("EAN128", elements.encode()),
    };
    if content.contains(FNC1) {
        let expected = "an element string whose only variable element is the last";
        return Err(LabelError::Code { expected, bytes: Evidence::of(content.as_bytes()) });
    }
    Ok(format!("BARCODE {x},{y},\"{kind}\",{height},1,0,{module},{module},\"{content}\""))
}

/// What the answer to [`STATUS_QUERY`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// The head is open.
    pub head_open: bool,
    /// The paper is jammed.
    pub jam: bool,
    /// No paper.
    pub paper_out: bool,
    /// No ribbon.
    pub ribbon_out: bool,
    /// Paused.
    pub paused: bool,
    /// Printing.
    pub printing: bool,
    /// The cover is open, or the temperature is out of range: makers differ on the two topmost bits.
    pub other: bool,
}

impl Status {
    /// Reads the byte.
    #[must_use]
    pub const fn of(byte: u8) -> Self {
        Self {
            head_open: byte & 0x01 != 0,
            jam: byte & 0x02 != 0,
            paper_out: byte & 0x04 != 0,
            ribbon_out: byte & 0x08 != 0,
            paused: byte & 0x10 != 0,
            printing: byte & 0x20 != 0,
            other: byte & 0xC0 != 0,
        }
    }

    /// Whether the next label will be printed without anybody's help.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        !(self.head_open || self.jam || self.paper_out || self.ribbon_out || self.paused || self.other)
    }
}
