//! The panels behind the model numbers.
//!
//! Sizes: vendor protocol document (fpoli/gicisky-tag) and the model list of eigger/hass-gicisky `devices.py`. The scan
//! order is taken from the same writers for the models they drive (00B, 10B, 033, 02E, 22B, 04B, 04E, 12B, 08B) and from
//! the model of the same panel for its colour siblings; it must be looked at once per model at commissioning, and
//! [`Model::scan`] is a field so that a configuration can set another. Listed models whose scan order or line padding
//! nobody states (528x768, 640x384, 792x272, 250x122 with four colours, ...) are left out.

/// The colors of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colors {
    /// Black and white: one plane.
    BlackWhite,
    /// Black, white, red: two planes.
    BlackWhiteRed,
    /// Black, white, yellow, red: one plane of two bits per pixel.
    BlackWhiteYellowRed,
    /// A liquid crystal panel, whose memory order is known from one writer only: recognised, not driven.
    Lcd,
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
pub const MODELS: [Model; 25] = [
    model(0x008, 212, 104, Colors::BlackWhite, Scan::Columns),
    model(0x00B, 212, 104, Colors::BlackWhiteRed, Scan::Columns),
    model(0x108, 250, 122, Colors::BlackWhite, Scan::Columns),
    model(0x10B, 250, 122, Colors::BlackWhiteRed, Scan::Columns),
    model(0x028, 296, 128, Colors::BlackWhite, Scan::ColumnsLeftward),
    model(0x02B, 296, 128, Colors::BlackWhiteRed, Scan::ColumnsLeftward),
    model(0x02E, 296, 128, Colors::BlackWhiteYellowRed, Scan::ColumnsLeftward),
    model(0x030, 296, 128, Colors::BlackWhite, Scan::ColumnsLeftward),
    model(0x033, 296, 128, Colors::BlackWhiteRed, Scan::ColumnsLeftward),
    model(0x228, 240, 416, Colors::BlackWhite, Scan::RowsUpward),
    model(0x22B, 240, 416, Colors::BlackWhiteRed, Scan::RowsUpward),
    model(0x22E, 240, 416, Colors::BlackWhiteYellowRed, Scan::RowsUpward),
    model(0x048, 400, 300, Colors::BlackWhite, Scan::Rows),
    model(0x04B, 400, 300, Colors::BlackWhiteRed, Scan::Rows),
    model(0x04E, 400, 300, Colors::BlackWhiteYellowRed, Scan::Rows),
    model(0x128, 800, 480, Colors::BlackWhite, Scan::RowsUpward),
    model(0x12B, 800, 480, Colors::BlackWhiteRed, Scan::RowsUpward),
    model(0x12E, 800, 480, Colors::BlackWhiteYellowRed, Scan::RowsUpward),
    model(0x088, 960, 640, Colors::BlackWhite, Scan::Rows),
    model(0x08B, 960, 640, Colors::BlackWhiteRed, Scan::Rows),
    model(0x08E, 960, 640, Colors::BlackWhiteYellowRed, Scan::Rows),
    model(0x0A0, 250, 132, Colors::Lcd, Scan::Rows),
    model(0x0C0, 196, 96, Colors::Lcd, Scan::Rows),
    model(0x040, 400, 300, Colors::Lcd, Scan::Rows),
    model(0x042, 400, 300, Colors::Lcd, Scan::Rows),
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
        let pixels = usize::from(match self.scan {
            Scan::Rows | Scan::RowsUpward => self.width,
            Scan::Columns | Scan::ColumnsLeftward => self.height,
        });
        (pixels * self.pixel_bits()).div_ceil(8)
    }

    /// Bits of one pixel within a plane.
    #[must_use]
    pub const fn pixel_bits(&self) -> usize {
        match self.colors {
            Colors::BlackWhiteYellowRed => 2,
            Colors::BlackWhite | Colors::BlackWhiteRed | Colors::Lcd => 1,
        }
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
            Colors::BlackWhite | Colors::BlackWhiteYellowRed => Some(1),
            Colors::BlackWhiteRed => Some(2),
            Colors::Lcd => None,
        }
    }

    /// Where a pixel lies: byte within the plane, and the mask of its bits (most significant first).
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
        let (per_byte, first) = if self.pixel_bits() == 2 { (4, 0xC0_u8) } else { (8, 0x80_u8) };
        let byte = usize::from(line) * self.line_bytes() + usize::from(along / per_byte);
        Some((byte, first >> (along % per_byte * (8 / per_byte))))
    }
}
