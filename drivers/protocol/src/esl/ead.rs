//! Encrypted Advertising Data (Supplement to the Core Specification 11, part A 1.23): AES-CCM with a MIC of 4 bytes, the
//! additional data `EA`, and the nonce randomizer ‖ initialization vector.
//!
//! The byte order trap: a conformance log prints the vector of its packet the other way round than the nonce holds it, so
//! a label might carry it reversed in 2BF7 and 2BF8. Espressif's and a Nordic based label use it exactly as written;
//! [`nonce`] is the only place that knows, and [`IvOrder`] the flag to be settled with the first real label.

use alloc::vec::Vec;

use super::KeyMaterial;
use crate::ccm::{self, Key, NONCE_BYTES, TAG_BYTES};
use crate::evidence::Evidence;

/// The additional data.
const ASSOCIATED: [u8; 1] = [0xEA];
/// Bytes of the randomizer in front of the ciphertext.
pub const RANDOMIZER_BYTES: usize = 5;
/// Bytes of the message integrity code behind it.
pub const MIC_BYTES: usize = TAG_BYTES;
/// The highest bit of the randomizer's last byte: set in what a label sends, clear in what an access point sends.
const DIRECTION: u8 = 0x80;

/// How the initialization vector goes from the key material into the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IvOrder {
    /// As the characteristic carries it.
    #[default]
    AsWritten,
    /// Its bytes reversed.
    Reversed,
}

/// Data that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EadError {
    /// Too short for a randomizer, a byte and a MIC.
    #[error("encrypted data of {} bytes, expected at least 10: {_0}", _0.total())]
    Short(Evidence),
    /// Another key, another vector, or tampered with.
    #[error("encrypted data does not verify: {0}")]
    Integrity(Evidence),
    /// More than the cipher or an advertisement takes.
    #[error("{0} bytes to encrypt, expected 1..=245")]
    Size(usize),
}

/// The nonce; the one place that knows the vector's byte order.
#[must_use]
pub fn nonce(randomizer: [u8; RANDOMIZER_BYTES], iv: [u8; 8], order: IvOrder) -> [u8; NONCE_BYTES] {
    let mut out = [0; 13];
    let mut iv = iv;
    if order == IvOrder::Reversed {
        iv.reverse();
    }
    for (slot, byte) in out.iter_mut().zip(randomizer.iter().chain(&iv)) {
        *slot = *byte;
    }
    out
}

/// Encrypts: randomizer ‖ ciphertext ‖ MIC.
///
/// # Errors
/// Nothing to encrypt, or more than an advertisement takes.
pub fn seal(
    material: &KeyMaterial,
    order: IvOrder,
    randomizer: [u8; RANDOMIZER_BYTES],
    plain: &[u8],
) -> Result<Vec<u8>, EadError> {
    let size = EadError::Size(plain.len());
    if plain.is_empty() || plain.len() > 245 {
        return Err(size);
    }
    let nonce = nonce(randomizer, material.iv, order);
    let sealed = ccm::seal(&Key::new(material.key), &nonce, &ASSOCIATED, plain).map_err(|_| size)?;
    let mut out = randomizer.to_vec();
    out.extend(sealed);
    Ok(out)
}

/// Decrypts and verifies.
///
/// # Errors
/// Too short, or not encrypted with this key material.
pub fn open(material: &KeyMaterial, order: IvOrder, data: &[u8]) -> Result<Vec<u8>, EadError> {
    let evidence = Evidence::of(data);
    let short = EadError::Short(evidence);
    let (randomizer, rest) = data.split_first_chunk::<RANDOMIZER_BYTES>().ok_or(short)?;
    if rest.len() <= MIC_BYTES {
        return Err(short);
    }
    let nonce = nonce(*randomizer, material.iv, order);
    ccm::open(&Key::new(material.key), &nonce, &ASSOCIATED, rest).map_err(|_| EadError::Integrity(evidence))
}

/// Randomizers that never repeat while one key is in use: a little-endian counter whose highest bit is the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Randomizer([u8; RANDOMIZER_BYTES]);

impl Randomizer {
    /// Starts at a random value; what the access point sends has the direction bit clear.
    #[must_use]
    pub const fn of_access_point(random: [u8; RANDOMIZER_BYTES]) -> Self {
        let [a, b, c, d, e] = random;
        Self([a, b, c, d, e & !DIRECTION])
    }

    /// Starts at a random value; what a label sends has the direction bit set.
    #[must_use]
    pub const fn of_label(random: [u8; RANDOMIZER_BYTES]) -> Self {
        let [a, b, c, d, e] = random;
        Self([a, b, c, d, e | DIRECTION])
    }

    /// The next value; after 2^39 of them the key must have changed.
    pub fn take(&mut self) -> [u8; RANDOMIZER_BYTES] {
        let now = self.0;
        let direction = self.0[4] & DIRECTION;
        for byte in &mut self.0 {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        self.0[4] = self.0[4] & !DIRECTION | direction;
        now
    }
}

/// Whether a label sent this; `None` when there is no randomizer.
#[must_use]
pub fn from_label(data: &[u8]) -> Option<bool> {
    data.get(RANDOMIZER_BYTES - 1).map(|byte| byte & DIRECTION != 0)
}
