//! Gicisky / PICKSMART BLE shelf tags: advertising, models, images, and the upload.
//!
//! A label is drawn elsewhere into [`Planes`] (the exact bits of a [`Model`]'s panel), encoded into a stream ([`Planes::encode`]) and sent block by block by a [`Transfer`], which sends the block the tag asks for.
//!
//! Contract: a transfer is done only when the tag itself says so; every block may be asked for again, a bounded number
//! of times; anything else than "next block" or "done" fails the transfer. [`Planes::hash`] is what "this image" means
//! to whoever confirms a price.
//!
//! GATT: service [`SERVICE`]; commands are written to and answered on [`COMMAND_CHARACTERISTIC`]; blocks go to
//! [`IMAGE_CHARACTERISTIC`].

mod advert;
mod chunk;
mod model;
mod planes;
mod profile;
mod transfer;

pub use advert::{Advert, AdvertError};
pub use chunk::{CHUNK_BYTES, ChunkError, compress_chunk, decompress_chunk};
pub use model::{Colors, MODELS, Model, Scan};
pub use planes::{Encoding, Ink, Planes, StreamError, StreamHeader};
pub use profile::Profile;
pub use transfer::{STREAM_BYTES_MAX, Start, Step, Transfer, TransferError};

/// The manufacturer number of the advertising data.
pub const COMPANY: u16 = 0x5053;
/// The service, a 16-bit Bluetooth UUID.
pub const SERVICE: u16 = 0xFEF0;
/// Commands: write, and notify.
pub const COMMAND_CHARACTERISTIC: u16 = 0xFEF1;
/// Image blocks: write.
pub const IMAGE_CHARACTERISTIC: u16 = 0xFEF2;

#[cfg(test)]
mod tests;
