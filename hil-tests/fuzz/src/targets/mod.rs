//! The decoders, by where their bytes come from.

pub(crate) mod air;
pub(crate) mod codes;
pub(crate) mod devices;
#[cfg(feature = "files")]
pub(crate) mod files;
pub(crate) mod scales;
pub(crate) mod settlement;
#[cfg(feature = "files")]
pub(crate) mod texts;

/// Cuts `bytes` into pieces of 1 to 16 bytes that depend on them only: what a line or a network does to a stream.
pub(crate) fn pieces(bytes: &[u8]) -> Vec<&[u8]> {
    let mut state = bytes.iter().fold(bytes.len(), |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(0x5851_F42D).wrapping_add(0x1405_7B7E);
        let (piece, after) = rest.split_at((1 + (state >> 13) % 16).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The first byte, which chooses how a target looks at the rest.
pub(crate) fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest))
}

/// Bytes written as in data sheets: `01 03 0A`.
///
/// # Panics
/// It is not written so.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let byte = |word| u8::from_str_radix(word, 16).unwrap_or_else(|error| panic!("{word}: {error}"));
    text.split_ascii_whitespace().map(byte).collect()
}
