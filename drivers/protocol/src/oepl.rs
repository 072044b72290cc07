//! OpenEPaperLink firmware on BLE shelf tags (ATC_BLE_OEPL): adverts with temperature, image upload in blocks.
//!
//! Sources: OpenEPaperLink `ESP32_AP-Flasher/src/ble_filter.cpp` (adverts) and `ble_writer.cpp` (upload); the tag's side as
//! its firmware's `ble_cmd_handler.h` and a protocol description made from the web uploader have it.
//!
//! ```text
//! 00 64 checksum version_u64 size_u32 type argument check_in_u16    -> 00 C6 request   (or 00 C8: it shows that already)
//! 00 65 checksum block part data[230]                               -> 00 C5 next part, 00 C4 again,
//!                                                                      00 C6 next block, 00 C7 done
//! ```
//! A block is `size_u16 sum_u16 data[<=4096]`, cut into parts of 230 bytes; the last part is filled up. A sum is that of
//! the bytes behind it. All numbers are little-endian except the command, which is big-endian.
//!
//! Open, so a flag of the configuration: whether 1 is black or white in the black plane (the two sources disagree).

mod advert;
mod upload;

pub use advert::{Advert, AdvertError};
pub use upload::{BLOCK_BYTES, Image, PART_BYTES, Step, Upload, UploadError, checksum};

/// The manufacturer number of the advertising data.
pub const COMPANY: u16 = 0x1337;
/// The service, a 16-bit Bluetooth UUID.
pub const SERVICE: u16 = 0x1337;
/// The only characteristic: write and notify.
pub const CHARACTERISTIC: u16 = 0x1337;

#[cfg(test)]
mod tests;
