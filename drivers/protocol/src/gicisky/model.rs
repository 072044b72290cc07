//! The panels behind the model numbers.
//!
//! Sizes: vendor protocol document and the device tables of two public writers. The scan order is taken from the same
//! writers where they state it and is "rows" elsewhere; it must be looked at once per model at commissioning.

/// The colors of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// Black and white: one plane.
    BlackWhite,
    /// Black, white, red: two planes.
    BlackWhiteRed,
    /// Black, white, yellow, red: two bits per pixel; not rendered here.
    BlackWhiteYellowRed,
}

/// The order in which the panel's memory runs over the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Line = row, top to bottom.
    Rows,
    /// Line = row, bottom to top.
    RowsUpward,
    /// Line = column, left to right, each from top to bottom.
    Columns,
    /// Line = column, right to left, each from top to bottom.
    ColumnsLeftward,
}

/// A tag model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Model {
    /// The number advertised.
    pub id: u16,
    /// Width of the picture in pixels.
    pub width: u16,
    /// Height of the picture in pixels.
    pub height: u16,
    /// The colors.
    pub colors: Colors,
    /// The memory order.
    pub scan: Scan,
}

const fn model(id: u16, width: u16, height: u16, colors: Colors, scan: Scan) -> Model {
    Model { id, width, height, colors, scan }
}

/// Every known model.
pub const MODELS: [Model; 11] = [
    model(0x00B, 212, 104, Colors::BlackWhiteRed, Scan::Columns),
    model(0x10B, 250, 122, Colors::BlackWhiteRed, Scan::Columns),
    model(0x028, 296, 128, Colors::BlackWhite, Scan::ColumnsLeftward),
    model(0x02B, 296, 128, Colors::BlackWhiteRed, Scan::ColumnsLeftward),
    model(0x033, 296, 128, Colors::BlackWhiteRed, Scan::ColumnsLeftward),
    model(0x048, 400, 300, Colors::BlackWhite, Scan::Rows),
    model(0x04B, 400, 300, Colors::BlackWhiteRed, Scan::Rows),
    model(0x12B, 800, 480, Colors::BlackWhiteRed, Scan::RowsUpward),
    model(0x08B, 960, 640, Colors::BlackWhiteRed, Scan::Rows),
    model(0x02E, 296, 128, Colors::BlackWhiteYellowRed, Scan::ColumnsLeftward),
    model(0x04E, 400, 300, Colors::BlackWhiteYellowRed, Scan::Rows),
];

impl Model {
    /// Looks a model number up.
    #[must_use]
    pub fn find(id: u16) -> Option<Self> {
        MODELS.iter().find(|model| model.id == id).copied()
    }

    /// How many lines the panel's memory has.
    #[must_use]
    pub fn lines(&self) -> usize {
        usize::from(match self.scan {
            Scan::Rows | Scan::RowsUpward => self.height,
            Scan::Columns | Scan::ColumnsLeftward => self.width,
        })
    }

    /// How many bytes one line takes; the last one is padded.
    #[must_use]
    pub fn line_bytes(&self) -> usize {
        usize::from(match self.scan {
            Scan::Rows | Scan::RowsUpward => self.width,
            Scan::Columns | Scan::ColumnsLeftward => self.height,
        })
        .div_ceil(8)
    }

    /// How many bytes one plane takes.
    #[must_use]
    pub fn plane_bytes(&self) -> usize {
        self.lines() * self.line_bytes()
    }

    /// How many planes an image has; `None` for a panel that is not driven by planes.
    #[must_use]
    pub const fn planes(&self) -> Option<usize> {
        match self.colors {
            Colors::BlackWhite => Some(1),
            Colors::BlackWhiteRed => Some(2),
            Colors::BlackWhiteYellowRed => None,
        }
    }

    /// Where a pixel lies: byte within the plane, and its bit mask (most significant bit first).
    #[must_use]
    pub fn position(&self, x: u16, y: u16) -> Option<(usize, u8)> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let (line, along) = match self.scan {
            Scan::Rows => (y, x),
            Scan::RowsUpward => (self.height - 1 - y, x),
            Scan::Columns => (x, y),
            Scan::ColumnsLeftward => (self.width - 1 - x, y),
        };
        let byte = usize::from(line) * self.line_bytes() + usize::from(along / 8);
        Some((byte, 0x80 >> (along % 8)))
    }
}
