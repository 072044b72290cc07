//! Barcodes and QR codes as modules.
//!
//! EAN-13: ISO/IEC 15420. Code 128: ISO/IEC 15417, code sets B and C, with FNC1. QR: ISO/IEC 18004 by `qrcodegen-no-heap`, error
//! correction level M, versions up to [`QR_VERSION_MAX`].

mod linear;

use alloc::vec;

use qrcodegen_no_heap::{QrCode, QrCodeEcc, Version};

use crate::canvas::Bitmap;

pub use linear::{Bars, code128, ean13};

/// Largest QR version: 57 modules, 213 bytes.
pub const QR_VERSION_MAX: u8 = 10;
/// Bytes that the largest version holds at level M.
pub const QR_BYTES_MAX: usize = 213;
/// Light modules around a QR code.
pub const QR_QUIET: u16 = 4;
/// The longest content of a Code 128 symbol, in characters.
pub const CODE128_CHARS_MAX: usize = 48;

/// Why a content has no symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolError {
    /// EAN-13 of anything but 13 digits.
    #[error("EAN-13 needs 13 digits")]
    Digits,
    /// A wrong check digit.
    #[error("EAN-13 check digit is wrong")]
    Check,
    /// Code 128 of a character outside ASCII 32 to 126 and FNC1.
    #[error("Code 128 has no character {character:?}")]
    Character {
        /// The character.
        character: char,
    },
    /// Nothing to show, or more than the symbol holds.
    #[error("{chars} characters, expected 1 to {max}")]
    Length {
        /// How many there are.
        chars: usize,
        /// How many there may be.
        max: usize,
    },
    /// Modules smaller than a pixel.
    #[error("{modules} modules with quiet zones do not fit {pixels} pixels")]
    Room {
        /// Modules with quiet zones.
        modules: u16,
        /// Pixels there are.
        pixels: i32,
    },
}

/// The modules of a QR code, without its quiet zone.
///
/// # Errors
/// An empty text, or one too long for [`QR_VERSION_MAX`].
pub fn qr(text: &str) -> Result<Bitmap, SymbolError> {
    let version = Version::new(QR_VERSION_MAX);
    let refused = SymbolError::Length { chars: text.chars().count(), max: QR_BYTES_MAX };
    if text.is_empty() {
        return Err(refused);
    }
    let (mut working, mut out) = (vec![0; version.buffer_len()], vec![0; version.buffer_len()]);
    let level = QrCodeEcc::Medium;
    let code = QrCode::encode_text(text, &mut working, &mut out, level, Version::MIN, version, None, true)
        .map_err(|_| refused)?;
    let side = u16::try_from(code.size()).unwrap_or(0);
    let mut modules = Bitmap::blank(side, side);
    for y in 0..side {
        for x in (0..side).filter(|x| code.get_module(i32::from(*x), i32::from(y))) {
            modules.blacken(x, y);
        }
    }
    Ok(modules)
}
