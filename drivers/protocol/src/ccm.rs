//! AES-128-CCM with a 13-byte nonce and a 4-byte tag, as encrypted advertisements use it (NIST SP 800-38C, RFC 3610).
//!
//! Contract: nothing comes out of [`open`] unless the tag holds; the comparison takes the same time for every tag. The
//! cipher is RustCrypto's; here are only the sizes that BTHome v2 and the Encrypted Advertising Data of the Bluetooth
//! Core Specification Supplement have in common.

use alloc::vec::Vec;
use core::fmt;

use aes::Aes128;
use ccm::aead::consts::{U4, U13};
use ccm::{AeadInOut as _, Ccm, KeyInit as _};

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 13;
/// Bytes of a tag.
pub const TAG_BYTES: usize = 4;
/// The longest text sealed or opened: more than an extended advertisement carries.
pub const TEXT_BYTES_MAX: usize = 2048;

type Cipher = Ccm<Aes128, U4, U13>;

/// A secret key. It has no text form: neither `Debug` nor an error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_BYTES]);

impl Key {
    /// A key of its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// Reads 32 hexadecimal digits, white space around them left out; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut bytes = [0; KEY_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let &[high, low] = pair else { return None };
            *byte = hex(high)? << 4 | hex(low)?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Why nothing was opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CcmError {
    /// Shorter than a tag, or longer than [`TEXT_BYTES_MAX`].
    #[error("sealed text of {0} bytes, expected {TAG_BYTES} to {TEXT_BYTES_MAX}")]
    Length(usize),
    /// The tag does not hold: another key, another nonce, or changed bytes.
    #[error("the authentication tag does not hold: wrong key, or changed bytes")]
    Tag,
}

/// Opens `sealed`, the ciphertext with its tag behind it. `aad` is what the tag covers besides (may be empty).
///
/// # Errors
/// An impossible length, or a tag that does not hold.
pub fn open(key: &Key, nonce: &[u8; NONCE_BYTES], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, CcmError> {
    let length = CcmError::Length(sealed.len());
    let split =
        sealed.len().checked_sub(TAG_BYTES).filter(|_| sealed.len() <= TEXT_BYTES_MAX).ok_or(length)?;
    let (cipher, tag) = sealed.split_at_checked(split).ok_or(length)?;
    let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| length)?;
    let mut text = cipher.to_vec();
    Cipher::new(&key.0.into())
        .decrypt_inout_detached(&(*nonce).into(), aad, text.as_mut_slice().into(), &tag.into())
        .map_err(|_| CcmError::Tag)?;
    Ok(text)
}

/// Seals `text`: the ciphertext with its tag behind it. A nonce must never be used twice with one key.
///
/// # Errors
/// A text that is too long.
pub fn seal(key: &Key, nonce: &[u8; NONCE_BYTES], aad: &[u8], text: &[u8]) -> Result<Vec<u8>, CcmError> {
    let length = CcmError::Length(text.len());
    if text.len() > TEXT_BYTES_MAX - TAG_BYTES {
        return Err(length);
    }
    let mut sealed = text.to_vec();
    let tag = Cipher::new(&key.0.into())
        .encrypt_inout_detached(&(*nonce).into(), aad, sealed.as_mut_slice().into())
        .map_err(|_| length)?;
    sealed.extend_from_slice(&tag);
    Ok(sealed)
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use proptest::prelude::*;

    use super::*;

    /// devices.md 2.5 and bthome.io "Encryption": key, address and service data of the published example.
    const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";
    const NONCE: [u8; NONCE_BYTES] =
        [0x54, 0x48, 0xE6, 0x8F, 0x80, 0xA5, 0xD2, 0xFC, 0x41, 0x00, 0x11, 0x22, 0x33];
    const SEALED: [u8; 10] = [0xA4, 0x72, 0x66, 0xC9, 0x5F, 0x73, 0x78, 0x23, 0x72, 0x14];

    #[test]
    fn the_published_bthome_text_opens_and_seals() {
        let key = Key::from_hex(KEY).unwrap();
        // 25.06 °C and 50.55 %: objects 02 and 03.
        let text = [0x02, 0xCA, 0x09, 0x03, 0xBF, 0x13];
        assert_eq!(open(&key, &NONCE, &[], &SEALED).unwrap(), text);
        assert_eq!(seal(&key, &NONCE, &[], &text).unwrap(), SEALED);
    }

    #[test]
    fn a_key_has_no_text_and_is_32_digits() {
        let key = Key::from_hex(&format!(" {KEY}\n")).unwrap();
        assert_eq!(format!("{key:?}"), "Key(secret)");
        for bad in ["", "231d", "zz1d39c1d7cc1ab1aee224cd096db932", "231d39c1d7cc1ab1aee224cd096db93é"] {
            assert!(Key::from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn impossible_lengths_are_named() {
        let key = Key::new([0; KEY_BYTES]);
        assert_eq!(open(&key, &NONCE, &[], &[1, 2, 3]), Err(CcmError::Length(3)));
        assert_eq!(open(&key, &NONCE, &[], &[0; 2049]), Err(CcmError::Length(2049)));
        assert_eq!(seal(&key, &NONCE, &[], &[0; 2048]), Err(CcmError::Length(2048)));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_any_changed_bit_does_not(
            key in any::<[u8; KEY_BYTES]>(),
            nonce in any::<[u8; NONCE_BYTES]>(),
            aad in proptest::collection::vec(any::<u8>(), 0..20),
            text in proptest::collection::vec(any::<u8>(), 0..40),
            at in any::<proptest::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let key = Key::new(key);
            let mut sealed = seal(&key, &nonce, &aad, &text).unwrap();
            prop_assert_eq!(open(&key, &nonce, &aad, &sealed), Ok(text));
            let place = at.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert_eq!(open(&key, &nonce, &aad, &sealed), Err(CcmError::Tag));
        }
    }
}
