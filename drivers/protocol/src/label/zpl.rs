//! ZPL II: commands behind `^` and `~`; texts as field data with hexadecimal escapes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Caption, Code, DOTS_PER_MM, LabelError, Picture, Placed, PlacedCode, PortionLabel, Slot};
use crate::evidence::Evidence;
use crate::gs1::element::FNC1;

/// Asks for the state; the answer is three lines. A printer without paper or with an open head may not answer at all.
pub const STATUS_QUERY: &[u8] = b"~HS";
/// The longest answer to [`STATUS_QUERY`] that is read.
pub const STATUS_BYTES_MAX: usize = 256;

/// The stream of a label.
///
/// # Errors
/// See [`LabelError`].
pub fn encode(label: &PortionLabel) -> Result<Vec<u8>, LabelError> {
    let (placed, code) = label.lay_out()?;
    let (width, height) = (label.media.width_mm * DOTS_PER_MM, label.media.height_mm * DOTS_PER_MM);
    // ^XZ ends a format that an aborted stream left open; ^CI28 is UTF-8, of which only ASCII is used.
    let mut out = format!("^XZ^XA^CI28^PW{width}^LL{height}^LH0,0");
    for Placed(slot, caption) in &placed {
        match caption {
            Caption::Text(content) if content.is_empty() => {}
            Caption::Text(content) => out.push_str(&text(*slot, content)),
            Caption::Picture(picture) => out.push_str(&graphic(*slot, picture)),
        }
    }
    out.push_str(&barcode(&code));
    out.push_str(&format!("^PQ{}^XZ", label.copies));
    Ok(out.into_bytes())
}

/// `^FH` makes `_` the escape; what could begin a command, and the escape itself, become hexadecimal.
fn field(content: &str) -> String {
    let mut data = String::from("^FH_^FD");
    for character in content.chars() {
        match character {
            '^' | '~' | '_' | '\\' => data.push_str(&format!("_{:02X}", u32::from(character))),
            _ => data.push(character),
        }
    }
    data + "^FS"
}

fn text(slot: Slot, content: &str) -> String {
    let (width, height) = slot.size.cell();
    format!("^FO{},{}^A0N,{height},{width}{}", slot.x, slot.y, field(content))
}

fn graphic(slot: Slot, picture: &Picture) -> String {
    let (total, row) = (picture.rows.len(), picture.row_bytes());
    let mut out = format!("^FO{},{}^GFA,{total},{total},{row},", slot.x, slot.y);
    picture.rows.iter().for_each(|byte| out.push_str(&format!("{byte:02X}")));
    out + "^FS"
}

/// The commands for bars: figures below, none above; an EAN-13 without its check digit.
#[must_use]
pub fn barcode(placed: &PlacedCode<'_>) -> String {
    let PlacedCode { x, y, height, module, code } = placed;
    let head = format!("^FO{x},{y}^BY{module}");
    match code {
        Code::Ean13(digits) => {
            let twelve: String = digits.chars().take(12).collect();
            format!("{head}^BEN,{height},Y,N^FD{twelve}^FS")
        }
        Code::Code128(text) => format!("{head}^BCN,{height},Y,N,N{}", field(&code128(text))),
        Code::Gs1(elements) => {
            let data = elements.encode();
            format!("{head}^BCN,{height},Y,N,N{}", field(&format!(">:>8{}", invoked(&data))))
        }
    }
}

/// Start in code set B.
fn code128(text: &str) -> String {
    format!(">:{}", invoked(text))
}

/// `>` begins an invocation: itself is `>0`, FNC1 is `>8`.
fn invoked(text: &str) -> String {
    text.replace('>', ">0").replace(FNC1, ">8")
}

/// What the answer to [`STATUS_QUERY`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// No paper.
    pub paper_out: bool,
    /// Paused.
    pub paused: bool,
    /// The receive buffer is full.
    pub buffer_full: bool,
    /// The configuration is lost.
    pub corrupt: bool,
    /// Too cold.
    pub too_cold: bool,
    /// Too hot.
    pub too_hot: bool,
    /// The head is open.
    pub head_open: bool,
    /// No ribbon.
    pub ribbon_out: bool,
    /// A label waits to be taken.
    pub waiting: bool,
}

/// An answer that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatusError {
    /// Not the lines that the manual has.
    #[error("expected two lines STX, 12 and 11 fields, ETX, found {bytes}")]
    Shape {
        /// The answer.
        bytes: Evidence,
    },
    /// A flag that is neither 0 nor 1.
    #[error("line {line}, field {field}: expected 0 or 1, found {bytes}")]
    Flag {
        /// Line from 1.
        line: u8,
        /// Field from 1.
        field: u8,
        /// What stands there.
        bytes: Evidence,
    },
}

impl Status {
    /// Reads the answer: lines 1 and 2 between STX and ETX; line 3 says nothing of the state.
    ///
    /// # Errors
    /// An answer of another shape, or flags that are none.
    pub fn read(answer: &[u8]) -> Result<Self, StatusError> {
        let shape = StatusError::Shape { bytes: Evidence::of(answer) };
        if answer.len() > STATUS_BYTES_MAX {
            return Err(shape);
        }
        let mut lines = answer.split(|byte| *byte == 0x02).skip(1);
        let mut next = |count: usize| -> Result<Vec<&[u8]>, StatusError> {
            let line = lines.next().ok_or(shape)?;
            let end = line.iter().position(|byte| *byte == 0x03).ok_or(shape)?;
            let fields: Vec<&[u8]> = line.get(..end).unwrap_or(&[]).split(|byte| *byte == b',').collect();
            if fields.len() == count { Ok(fields) } else { Err(shape) }
        };
        let (first, second) = (next(12)?, next(11)?);
        let flag = |fields: &[&[u8]], line: u8, field: u8| match fields.get(usize::from(field) - 1) {
            Some([b'0']) => Ok(false),
            Some([b'1']) => Ok(true),
            other => {
                Err(StatusError::Flag { line, field, bytes: Evidence::of(other.copied().unwrap_or(&[])) })
            }
        };
        Ok(Self {
            paper_out: flag(&first, 1, 2)?,
            paused: flag(&first, 1, 3)?,
            buffer_full: flag(&first, 1, 6)?,
            corrupt: flag(&first, 1, 10)?,
            too_cold: flag(&first, 1, 11)?,
            too_hot: flag(&first, 1, 12)?,
            head_open: flag(&second, 2, 3)?,
            ribbon_out: flag(&second, 2, 4)?,
            waiting: flag(&second, 2, 8)?,
        })
    }

    /// Whether the next label will be printed without anybody's help.
    #[must_use]
    pub const fn is_ready(self) -> bool {
        let stopped = self.paper_out || self.paused || self.head_open || self.ribbon_out;
        !(stopped || self.buffer_full || self.corrupt || self.too_cold || self.too_hot)
    }
}
