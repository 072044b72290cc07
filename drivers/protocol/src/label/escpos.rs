//! ESC/POS: control bytes and text, line after line; there are no places, so the label's fields follow each other.
//!
//! `GS r` is not used: makers disagree on what a set bit of its answer means. `DLE EOT 4` tells the same and they agree.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Caption, Code, LabelError, Picture, Placed, PlacedCode, PortionLabel, Size};
use crate::evidence::Evidence;
use crate::gs1::element::FNC1;

/// Asks whether the printer is on-line.
pub const PRINTER_QUERY: [u8; 3] = [0x10, 0x04, 1];
/// Asks for the paper.
pub const PAPER_QUERY: [u8; 3] = [0x10, 0x04, 4];

const INITIALIZE: [u8; 2] = [0x1B, 0x40];
const LF: u8 = 0x0A;

/// The stream of a label; copies follow each other.
///
/// # Errors
/// See [`LabelError`].
pub fn encode(label: &PortionLabel) -> Result<Vec<u8>, LabelError> {
    let (placed, code) = label.lay_out()?;
    let mut one = Vec::from(INITIALIZE);
    for Placed(slot, caption) in &placed {
        match caption {
            Caption::Text(content) if content.is_empty() => {}
            Caption::Text(content) => {
                // GS !: width and height, once or twice.
                one.extend([0x1D, 0x21, if slot.size == Size::Large { 0x11 } else { 0 }]);
                one.extend_from_slice(content.as_bytes());
                one.push(LF);
            }
            Caption::Picture(picture) => one.extend(raster(picture)),
        }
    }
    // GS ! 0, so that figures below the bars have their usual size; GS H 2 puts them there.
    one.extend([0x1D, 0x21, 0, 0x1D, 0x48, 2]);
    one.extend(barcode(&code)?);
    one.extend([LF, LF]);
    Ok((0..label.copies).flat_map(|_| one.iter().copied()).collect())
}

/// `GS v 0`: rows as they are.
fn raster(picture: &Picture) -> Vec<u8> {
    let width = u16::try_from(picture.row_bytes()).unwrap_or(u16::MAX).to_le_bytes();
    let height = picture.height.to_le_bytes();
    let mut out = Vec::from([0x1D, 0x76, 0x30, 0, width[0], width[1], height[0], height[1]]);
    out.extend_from_slice(&picture.rows);
    out
}

/// Height, module and the bars: `GS h`, `GS w`, `GS k` in its counted form.
///
/// # Errors
/// A module of 1 dot, which ESC/POS does not have, or a content of more than 255 bytes.
pub fn barcode(placed: &PlacedCode<'_>) -> Result<Vec<u8>, LabelError> {
    let (kind, content) = match placed.code {
        Code::Ean13(digits) => (67, digits.clone()),
        Code::Code128(text) => (73, String::from("{B") + &invoked(text)),
        Code::Gs1(elements) => (73, String::from("{B{1") + &invoked(&elements.encode())),
    };
    let refused = |expected| LabelError::Code { expected, bytes: Evidence::of(content.as_bytes()) };
    let count = u8::try_from(content.len()).map_err(|_| refused("at most 255 bytes"))?;
    let height = u8::try_from(placed.height).unwrap_or(u8::MAX);
    let module = u8::try_from(placed.module).ok().filter(|module| (2..=6).contains(module));
    let module = module.ok_or_else(|| refused("a code that fits with modules of 2 dots"))?;
    let mut out = Vec::from([0x1D, 0x68, height, 0x1D, 0x77, module, 0x1D, 0x6B, kind, count]);
    out.extend_from_slice(content.as_bytes());
    Ok(out)
}

/// `{` begins an invocation: itself is `{{`, FNC1 is `{1`.
fn invoked(text: &str) -> String {
    text.replace('{', "{{").replace(FNC1, "{1")
}

/// A byte without the fixed bits of an answer to `DLE EOT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a status byte 0xx1xx10, found {0:#04x}")]
pub struct StatusError(pub u8);

/// Bits 1 and 4 are set, 0 and 7 are not, in every answer.
fn framed(byte: u8) -> Result<u8, StatusError> {
    if byte & 0b1001_0011 == 0b0001_0010 { Ok(byte) } else { Err(StatusError(byte)) }
}

/// Whether the printer is on-line, from the answer to [`PRINTER_QUERY`].
///
/// # Errors
/// A byte that is no answer.
pub fn is_online(byte: u8) -> Result<bool, StatusError> {
    Ok(framed(byte)? & 0x08 == 0)
}

/// The paper, from the answer to [`PAPER_QUERY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// Enough.
    Present,
    /// The roll ends soon.
    NearEnd,
    /// None.
    Out,
}

/// Reads the answer to [`PAPER_QUERY`].
///
/// # Errors
/// A byte that is no answer.
pub fn paper(byte: u8) -> Result<Paper, StatusError> {
    let byte = framed(byte)?;
    Ok(match (byte & 0x60 != 0, byte & 0x0C != 0) {
        (true, _) => Paper::Out,
        (false, true) => Paper::NearEnd,
        (false, false) => Paper::Present,
    })
}
