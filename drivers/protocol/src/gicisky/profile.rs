//! What differs between firmwares of one model: packing, the size command's ending, polarity.
//!
//! Sources: the vendor capture (400x300, "compression 2"), eigger/hass-gicisky `devices.py` (12B and 08B packed, 12B with
//! inverted luminance), a later catalogue of the same models (22B in lines; 12B with firmware 8101 in lines), OpenEPaperLink
//! `ble_filter.cpp` (bit 14 of the type means that the tag does not unpack). They are observations, not a specification:
//! every field can be set per tag.

use super::advert::Advert;
use super::planes::{Encoding, Planes, StreamHeader};
use super::transfer::{Start, Transfer, TransferError};

/// How a tag's firmware wants its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// How the planes are packed.
    pub encoding: Encoding,
    /// How the size command ends.
    pub start: Start,
    /// The firmware shows 1 as black in the black plane.
    pub inverted: bool,
}

impl Profile {
    /// The planes as they are.
    pub const RAW: Self = Self { encoding: Encoding::Raw, start: Start::Plain, inverted: false };
    /// One literal chunk per panel line; the header counts the whole stream.
    pub const LINES: Self =
        Self { encoding: Encoding::Lines(StreamHeader::Total), start: Start::Plain, inverted: false };
    /// Compressed chunks; the header counts one plane ("compression 2").
    pub const CHUNKS: Self =
        Self { encoding: Encoding::Chunks(StreamHeader::Plane), start: Start::Compression2, inverted: false };

    /// What public writers use for a tag that advertises this.
    #[must_use]
    pub fn observed(advert: &Advert) -> Self {
        let packed = match (advert.model_id(), advert.firmware) {
            (0x12B, 0x8101) | (0x22B, _) => Self::LINES,
            (0x12B | 0x08B, _) => Self::CHUNKS,
            _ if advert.unpacks() => Self::LINES,
            _ => Self::RAW,
        };
        Self { inverted: advert.model_id() == 0x12B, ..packed }
    }

    /// The stream of an image.
    #[must_use]
    pub fn stream(&self, planes: &Planes) -> alloc::vec::Vec<u8> {
        if self.inverted { planes.inverted().encode(self.encoding) } else { planes.encode(self.encoding) }
    }

    /// An upload of an image, not started.
    ///
    /// # Errors
    /// As [`Transfer::new`].
    pub fn transfer(&self, planes: &Planes) -> Result<Transfer, TransferError> {
        Transfer::new(self.stream(planes), self.start)
    }
}
