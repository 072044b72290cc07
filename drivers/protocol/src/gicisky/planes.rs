//! The exact bits of a panel, their hash, and the streams they travel as.

use alloc::vec;
use alloc::vec::Vec;

use super::chunk::{CHUNK_BYTES, ChunkError, compress_chunk, decompress_chunk};
use super::model::{Colors, Model};
use crate::evidence::Evidence;

/// The color of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Paper.
    White,
    /// Ink.
    Black,
    /// Red ink; black on a panel without red.
    Red,
    /// Yellow ink; red on a panel without yellow, black on one without red.
    Yellow,
}

impl Ink {
    /// The two bits of a pixel of a four-colour panel.
    const fn bits(self) -> u8 {
        match self {
            Self::Black => 0b00,
            Self::White => 0b01,
            Self::Yellow => 0b10,
            Self::Red => 0b11,
        }
    }
}

/// What the four bytes at a compressed stream's head count; writers disagree, so a profile says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamHeader {
    /// One plane, uncompressed (vendor capture, "compression 2").
    Plane,
    /// What follows the header.
    Following,
    /// Everything, the header included.
    Total,
}

/// How planes become a stream; [`super::Profile`] says which for which firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The planes as they are.
    Raw,
    /// A header and one literal chunk per panel line.
    Lines(StreamHeader),
    /// A header and compressed chunks of 64 bytes, each plane on its own.
    Chunks(StreamHeader),
}

/// Why a stream is no image of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The model's panel is not driven by planes.
    #[error("model {id:#05x} is not driven by planes")]
    Unsupported {
        /// The model number.
        id: u16,
    },
    /// A chunk cannot be read.
    #[error("chunk at byte {at} of the stream")]
    Chunk {
        /// Where it begins.
        at: usize,
        /// What is wrong with it.
        #[source]
        error: ChunkError,
    },
    /// The stream's bytes do not make up the model's planes.
    #[error("{found} image bytes, expected {expected}: {bytes}")]
    Length {
        /// The model's bytes.
        expected: usize,
        /// The stream's bytes.
        found: usize,
        /// How the stream begins.
        bytes: Evidence,
    },
}

/// An image in the panel's own memory order: 1 bit per pixel and plane, or 2 bits per pixel, most significant first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    model: Model,
    /// 1 is white; on a four-colour panel two bits per pixel.
    black: Vec<u8>,
    /// 1 is red; `None` on a panel without red.
    red: Option<Vec<u8>>,
}

impl Planes {
    /// A white image; `None` for a model that is not driven by planes.
    #[must_use]
    pub fn blank(model: Model) -> Option<Self> {
        let red = model.planes()? > 1;
        let size = model.plane_bytes();
        let white = if model.colors == Colors::BlackWhiteYellowRed { 0x55 } else { 0xFF };
        Some(Self { model, black: vec![white; size], red: red.then(|| vec![0; size]) })
    }

    /// The model the image is for.
    #[must_use]
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The black plane, 1 is white; on a four-colour panel the only plane (00 black, 01 white, 10 yellow, 11 red).
    #[must_use]
    pub fn black(&self) -> &[u8] {
        &self.black
    }

    /// The red plane; 1 is red.
    #[must_use]
    pub fn red(&self) -> Option<&[u8]> {
        self.red.as_deref()
    }

    /// Sets a pixel; one outside the picture is ignored.
    pub fn set(&mut self, x: u16, y: u16, ink: Ink) {
        let Some((byte, mask)) = self.model.position(x, y) else { return };
        if self.model.pixel_bits() == 2 {
            if let Some(slot) = self.black.get_mut(byte) {
                *slot = *slot & !mask | (ink.bits() * 0x55) & mask;
            }
            return;
        }
        let has_red = self.red.is_some();
        let red = matches!(ink, Ink::Red | Ink::Yellow);
        if let Some(slot) = self.black.get_mut(byte) {
            // Red lies over white, so that a pixel is never both inks.
            let white = ink == Ink::White || (red && has_red);
            *slot = if white { *slot | mask } else { *slot & !mask };
        }
        if let Some(slot) = self.red.as_mut().and_then(|plane| plane.get_mut(byte)) {
            *slot = if red { *slot | mask } else { *slot & !mask };
        }
    }

    /// The color of a pixel; `None` outside the picture.
    #[must_use]
    pub fn ink(&self, x: u16, y: u16) -> Option<Ink> {
        let (byte, mask) = self.model.position(x, y)?;
        if self.model.pixel_bits() == 2 {
            let bits = self.black.get(byte)? & mask;
            let inks = [Ink::Black, Ink::White, Ink::Yellow, Ink::Red];
            return inks.into_iter().find(|ink| (ink.bits() * 0x55) & mask == bits);
        }
        let red = self.red.as_ref().and_then(|plane| plane.get(byte)).is_some_and(|bits| bits & mask != 0);
        let white = self.black.get(byte)? & mask != 0;
        Some(match (red, white) {
            (true, _) => Ink::Red,
            (false, true) => Ink::White,
            (false, false) => Ink::Black,
        })
    }

    /// The image's identity: FNV-1a, 64 bits, big-endian, over width and height (u16, big-endian), the number of
    /// planes (one byte; 4 for a four-colour panel), the black plane, the red plane. Not a cryptographic hash: it tells images apart, no more.
    #[must_use]
    pub fn hash(&self) -> [u8; 8] {
        let [width, height] = [self.model.width.to_be_bytes(), self.model.height.to_be_bytes()];
        let four = self.model.colors == Colors::BlackWhiteYellowRed;
        let count = [if four { 4 } else { 1 + u8::from(self.red.is_some()) }];
        let parts = [&width[..], &height, &count, &self.black, self.red.as_deref().unwrap_or(&[])];
        let bytes = parts.iter().flat_map(|part| part.iter());
        bytes
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
            })
            .to_be_bytes()
    }

    /// The same image for firmware that shows the black plane inverted: 1 is black. Its own inverse.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let mut other = self.clone();
        if self.model.pixel_bits() == 1 {
            other.black.iter_mut().for_each(|byte| *byte = !*byte);
        }
        other
    }

    /// The stream to upload.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let planes = core::iter::once(self.black.as_slice()).chain(self.red.as_deref());
        match encoding {
            Encoding::Raw => planes.flatten().copied().collect(),
            Encoding::Lines(header) => {
                let lines = planes.flat_map(|plane| plane.chunks(self.model.line_bytes()));
                self.with_header(header, lines.flat_map(literal_line).collect())
            }
            Encoding::Chunks(header) => {
                let chunks = planes.flat_map(|plane| plane.chunks(CHUNK_BYTES));
                let body = chunks.filter_map(compress_chunk).flatten().collect();
                self.with_header(header, body)
            }
        }
    }

    fn with_header(&self, header: StreamHeader, body: Vec<u8>) -> Vec<u8> {
        let count = match header {
            StreamHeader::Plane => self.black.len(),
            StreamHeader::Following => body.len(),
            StreamHeader::Total => body.len() + 4,
        };
        let mut stream = u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes().to_vec();
        stream.extend(body);
        stream
    }

    /// Reads a stream of any encoding as the tag does. The length header is not believed: writers disagree about it.
    ///
    /// # Errors
    /// The stream is no image of this model.
    pub fn decode(model: Model, stream: &[u8]) -> Result<Self, StreamError> {
        let mut image = Self::blank(model).ok_or(StreamError::Unsupported { id: model.id })?;
        let size = model.plane_bytes();
        let expected = size * if image.red.is_some() { 2 } else { 1 };
        let expanded;
        let bytes = if stream.len() == expected {
            stream
        } else {
            expanded = expand_stream(stream, expected)?;
            &expanded
        };
        if bytes.len() != expected {
            let bytes_found = bytes.len();
            return Err(StreamError::Length { expected, found: bytes_found, bytes: Evidence::of(stream) });
        }
        let (black, red) = bytes.split_at(size);
        image.black = black.to_vec();
        if image.red.is_some() {
            image.red = Some(red.to_vec());
        }
        Ok(image)
    }
}

/// A line as a chunk whose control word is zero: literals only. A line is never longer than 240 bytes.
fn literal_line(line: &[u8]) -> Vec<u8> {
    let count = u8::try_from(line.len()).unwrap_or(u8::MAX - 7);
    let mut chunk = [0x75, count + 7, count, 0, 0, 0, 0].to_vec();
    chunk.extend(line);
    chunk
}

fn expand_stream(stream: &[u8], most: usize) -> Result<Vec<u8>, StreamError> {
    let mut out = Vec::new();
    let mut at = 4;
    while at < stream.len() {
        let (bytes, used) = decompress_chunk(stream.get(at..).unwrap_or(&[]))
            .map_err(|error| StreamError::Chunk { at, error })?;
        out.extend(bytes);
        at += used.max(1);
        if out.len() > most {
            return Err(StreamError::Length {
                expected: most,
                found: out.len(),
                bytes: Evidence::of(stream),
            });
        }
    }
    Ok(out)
}
