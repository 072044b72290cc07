//! Labels for loose goods on label and receipt printers: one label, three languages.
//!
//! | module | language | printers |
//! |---|---|---|
//! | [`tspl`] | TSPL | TSC, Gprinter and their like |
//! | [`zpl`] | ZPL II | Zebra and their like |
//! | [`escpos`] | ESC/POS | receipt printers |
//!
//! Sources, as far as they were read: the published examples of TSPL `BARCODE`, ZPL `^BE` and ESC/POS `GS k`; manuals for the status of
//! TSPL (Gprinter GP-2120T), ZPL `~HS`, ESC/POS `DLE EOT` and `GS v 0` (SNBC, HPRT, Custom). Recalled and to be confirmed on the first
//! printer: TSPL's quote escape, font cells and `EAN128`; ZPL `^FH ^GF >8 >0`; ESC/POS `{B {1 GS ! GS H`. The polarity of TSPL's
//! `BITMAP` is that of one public program.
//!
//! Contract
//! * What a label says can never become a command: printable ASCII is quoted as the language demands, control characters are
//!   refused, and any other text must come as a picture ([`Caption::Picture`]), because code pages differ between printers and a wrong
//!   one prints a wrong name in silence. `drv-render` makes such pictures.
//! * A text, picture or code that does not fit its place is refused; nothing is printed half.
//! * Every stream begins with the commands that undo what an aborted stream before it may have left.

pub mod escpos;
pub mod tspl;
pub mod zpl;

use alloc::string::String;
use alloc::vec::Vec;

use crate::evidence::Evidence;
use crate::gs1::Elements;
use crate::gs1::check::is_checked;

/// Dots per millimetre of a printer with 203 dpi.
pub const DOTS_PER_MM: u16 = 8;
/// The longest text of a caption.
pub const CAPTION_CHARS_MAX: usize = 64;
/// The longest content of a Code 128.
pub const CODE_CHARS_MAX: usize = 48;
/// The most labels of one job.
pub const COPIES_MAX: u16 = 999;
/// Labels up to this size.
pub const SIDE_MM_MAX: u16 = 120;

/// Why a label is not printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// A text with other characters than printable ASCII.
    #[error("{field}: expected printable ASCII or a picture, found {bytes}")]
    Text {
        /// Which field.
        field: &'static str,
        /// The text.
        bytes: Evidence,
    },
    /// A text or picture that is larger than its place.
    #[error("{field}: {found} dots wide or high, room for {room}")]
    Room {
        /// Which field.
        field: &'static str,
        /// Dots it takes.
        found: usize,
        /// Dots there are.
        room: usize,
    },
    /// A picture whose rows do not match its size.
    #[error("{field}: {found} bytes, expected {expected}")]
    Picture {
        /// Which field.
        field: &'static str,
        /// Bytes found.
        found: usize,
        /// Bytes of its size.
        expected: usize,
    },
    /// No code of its kind.
    #[error("code: expected {expected}, found {bytes}")]
    Code {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        bytes: Evidence,
    },
    /// A label size, gap or number of copies out of range.
    #[error("{what}: expected {expected}, found {found}")]
    Number {
        /// Which.
        what: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: u16,
    },
}

/// Black dots, row by row, most significant bit first, rows of whole bytes; 1 is black.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
    /// The rows.
    pub rows: Vec<u8>,
}

impl Picture {
    fn row_bytes(&self) -> usize {
        usize::from(self.width).div_ceil(8)
    }
}

/// A line of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caption {
    /// In the printer's own font.
    Text(String),
    /// As drawn; 24 dots high is one line.
    Picture(Picture),
}

/// A label's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Code {
    /// 13 digits with a valid check digit.
    Ean13(String),
    /// Printable ASCII.
    Code128(String),
    /// An element string as GS1-128.
    Gs1(Elements),
}

/// The paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Media {
    /// Width in millimetres.
    pub width_mm: u16,
    /// Height in millimetres.
    pub height_mm: u16,
    /// Gap between labels in millimetres; 0 for continuous paper.
    pub gap_mm: u16,
}

/// A weighed portion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortionLabel {
    /// The paper.
    pub media: Media,
    /// The article's name.
    pub name: Caption,
    /// Price per unit, as in `12.80/kg`.
    pub unit_price: Caption,
    /// Net weight, as in `0.250 kg`.
    pub weight: Caption,
    /// What the customer pays, large.
    pub total: Caption,
    /// When it was packed.
    pub packed: Caption,
    /// Until when it is good.
    pub best_before: Caption,
    /// The code for the till.
    pub code: Code,
    /// How many labels.
    pub copies: u16,
}

/// Where a caption stands and how large its characters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    field: &'static str,
    x: u16,
    y: u16,
    /// Dots to the next caption or the edge.
    room: u16,
    size: Size,
}

/// How large a caption's characters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Usual,
    Large,
}

impl Size {
    /// Width and height of a character's cell in dots.
    const fn cell(self) -> (u16, u16) {
        match self {
            Self::Small => (12, 20),
            Self::Usual => (16, 24),
            Self::Large => (32, 48),
        }
    }
}

const MARGIN: u16 = 16;
/// Bars' height in dots, the line of figures below not counted.
const BAR_DOTS: u16 = 60;
/// A line and the space below it.
const LINE: u16 = 30;

/// A place on the paper with what is printed there.
struct Placed<'a>(Slot, &'a Caption);

/// Bars of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedCode<'a> {
    /// Dots from the left.
    pub x: u16,
    /// Dots from the top.
    pub y: u16,
    /// Height of the bars in dots.
    pub height: u16,
    /// Dots of the narrowest bar, 1 to 6.
    pub module: u16,
    /// What it says.
    pub code: &'a Code,
}

impl PortionLabel {
    /// Checks everything and lays the label out.
    fn lay_out(&self) -> Result<(Vec<Placed<'_>>, PlacedCode<'_>), LabelError> {
        let Media { width_mm, height_mm, gap_mm } = self.media;
        let number = |what, expected, found, ok: bool| {
            ok.then_some(()).ok_or(LabelError::Number { what, expected, found })
        };
        number("width", "40 to 120 mm", width_mm, (40..=SIDE_MM_MAX).contains(&width_mm))?;
        number("height", "30 to 120 mm", height_mm, (30..=SIDE_MM_MAX).contains(&height_mm))?;
        number("gap", "0 to 20 mm", gap_mm, gap_mm <= 20)?;
        number("copies", "1 to 999", self.copies, (1..=COPIES_MAX).contains(&self.copies))?;
        check_code(&self.code)?;
        let (width, height) = (width_mm * DOTS_PER_MM, height_mm * DOTS_PER_MM);
        let whole = width - 2 * MARGIN;
        // On the smallest label: a date of 10 small characters beside an amount of 5 large ones.
        let left = whole * 4 / 9;
        let slot = |field, x, y, size| {
            let room = if x > MARGIN { whole - left } else { left };
            Slot { field, x, y, room, size }
        };
        let right = MARGIN + left;
        let placed = Vec::from([
            Placed(Slot { room: whole, ..slot("name", MARGIN, 8, Size::Usual) }, &self.name),
            Placed(slot("unit_price", MARGIN, 8 + LINE, Size::Usual), &self.unit_price),
            Placed(slot("weight", right, 8 + LINE, Size::Usual), &self.weight),
            Placed(slot("packed", MARGIN, 8 + 2 * LINE, Size::Small), &self.packed),
            Placed(slot("best_before", MARGIN, 8 + 3 * LINE, Size::Small), &self.best_before),
            Placed(slot("total", right, 8 + 2 * LINE, Size::Large), &self.total),
        ]);
        placed.iter().try_for_each(check_caption)?;
        let module = if code_modules(&self.code) * 2 + MARGIN <= width { 2 } else { 1 };
        let found = usize::from(code_modules(&self.code) * module + MARGIN);
        if found > usize::from(width) {
            return Err(LabelError::Room { field: "code", found, room: width.into() });
        }
        // Figures below the bars take a line.
        let y = height - BAR_DOTS - LINE;
        Ok((placed, PlacedCode { x: MARGIN, y, height: BAR_DOTS, module, code: &self.code }))
    }
}

fn check_caption(Placed(slot, caption): &Placed<'_>) -> Result<(), LabelError> {
    let field = slot.field;
    let (cell, lines) = (slot.size.cell(), if slot.size == Size::Large { 2 } else { 1 });
    let (width, height) = match caption {
        Caption::Text(text) => {
            if !is_printable(text) || text.len() > CAPTION_CHARS_MAX {
                return Err(LabelError::Text { field, bytes: Evidence::of(text.as_bytes()) });
            }
            (text.len() * usize::from(cell.0), usize::from(cell.1))
        }
        Caption::Picture(picture) => {
            let expected = picture.row_bytes() * usize::from(picture.height);
            if picture.rows.len() != expected {
                return Err(LabelError::Picture { field, found: picture.rows.len(), expected });
            }
            (picture.width.into(), picture.height.into())
        }
    };
    let lines = usize::from(LINE) * lines;
    if width > slot.room.into() {
        return Err(LabelError::Room { field, found: width, room: slot.room.into() });
    }
    if height > lines {
        return Err(LabelError::Room { field, found: height, room: lines });
    }
    Ok(())
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| (0x20..0x7F).contains(&byte))
}

fn check_code(code: &Code) -> Result<(), LabelError> {
    match code {
        Code::Ean13(digits) if digits.len() == 13 && is_checked(digits.as_bytes()) => Ok(()),
        Code::Ean13(digits) => {
            let expected = "13 digits with their check digit";
            Err(LabelError::Code { expected, bytes: Evidence::of(digits.as_bytes()) })
        }
        Code::Code128(text) if is_printable(text) && (1..=CODE_CHARS_MAX).contains(&text.len()) => Ok(()),
        Code::Code128(text) => {
            let expected = "1 to 48 characters of printable ASCII";
            Err(LabelError::Code { expected, bytes: Evidence::of(text.as_bytes()) })
        }
        Code::Gs1(elements) => {
            let data = elements.encode();
            let expected = "an element string of 1 to 48 characters";
            let fits = (1..=CODE_CHARS_MAX).contains(&data.len());
            if fits {
                Ok(())
            } else {
                Err(LabelError::Code { expected, bytes: Evidence::of(data.as_bytes()) })
            }
        }
    }
}

/// Modules with the right quiet zone, never fewer than a printer makes of it.
fn code_modules(code: &Code) -> u16 {
    let of = |characters: usize| u16::try_from(11 * characters + 35 + 10).unwrap_or(u16::MAX / 8);
    match code {
        Code::Ean13(_) => 95 + 7,
        Code::Code128(text) => of(text.len()),
        Code::Gs1(elements) => of(elements.encode().len() + 1),
    }
}

#[cfg(test)]
mod tests;
