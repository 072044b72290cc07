//! The tag's chunk compression: QuickLZ level 1 over independent chunks of 64 bytes, with a 6-bit hash.
//!
//! A chunk is `75 len n control… ` (compressed) or `74 len n bytes` (plain); `len` counts the three header bytes,
//! `n` the bytes that come out. The control word holds one flag per item, lowest bit first, ended by a 1: 0 is a
//! literal byte, 1 a back reference by hash: two bytes `hash << 4 | length − 2`, or three when the low nibble is 0
//! and the third byte is the length.
//!
//! The common QuickLZ uses 12 hash bits; a tag does not understand those. The line mode of other tags is the same
//! format with a control word of zero, which makes everything a literal; [`decompress_chunk`] reads both.

use alloc::vec::Vec;

use crate::evidence::Evidence;

/// Bytes of a full chunk before compression.
pub const CHUNK_BYTES: usize = 64;

const COMPRESSED: u8 = 0x75;
const PLAIN: u8 = 0x74;
const HEADER_BYTES: usize = 3;
const HASH_SLOTS: usize = 64;
/// The encoder looks for no match in this many last bytes.
const TAIL_BYTES: usize = 16;
/// The last bytes of a chunk are always literals.
const END_LITERALS: usize = 4;
const CONTROL_END: u32 = 1 << 31;

/// Why a chunk cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Neither `74` nor `75`, or a length that contradicts the bytes.
    #[error("chunk header does not fit: {0}")]
    Header(Evidence),
    /// The chunk ends before its content does.
    #[error("chunk ends early after {done} of {expected} bytes: {bytes}")]
    Short {
        /// Bytes that came out.
        done: usize,
        /// Bytes promised.
        expected: usize,
        /// The chunk.
        bytes: Evidence,
    },
    /// A reference to bytes that are not there, or of a length that does not fit.
    #[error("back reference at byte {done} leads nowhere: {bytes}")]
    Reference {
        /// Bytes that came out before it.
        done: usize,
        /// The chunk.
        bytes: Evidence,
    },
    /// Bytes are left over.
    #[error("{left} bytes left after the chunk's content: {bytes}")]
    Long {
        /// How many.
        left: usize,
        /// The chunk.
        bytes: Evidence,
    },
}

const fn read3(bytes: &[u8], at: usize) -> Option<u32> {
    if at + 3 > bytes.len() {
        return None;
    }
    Some(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], 0]))
}

const fn slot(fetch: u32) -> usize {
    (((fetch >> 12) ^ fetch) & 0x3F) as usize
}

/// Compresses up to 64 bytes into one chunk; plain where compression does not pay. `None` for an empty or longer slice.
#[must_use]
pub fn compress_chunk(source: &[u8]) -> Option<Vec<u8>> {
    if source.is_empty() || source.len() > CHUNK_BYTES {
        return None;
    }
    let count = u8::try_from(source.len()).ok()?;
    let (mark, content) = match compressed(source) {
        Some(content) if content.len() < source.len() => (COMPRESSED, content),
        _ => (PLAIN, source.to_vec()),
    };
    let length = u8::try_from(content.len() + HEADER_BYTES).ok()?;
    let mut chunk = [mark, length, count].to_vec();
    chunk.extend(content);
    Some(chunk)
}

/// The control words of a chunk being written.
struct Control {
    out: Vec<u8>,
    word_at: usize,
    word: u32,
    flags: u32,
}

impl Control {
    fn new() -> Self {
        Self { out: [0; 4].to_vec(), word_at: 0, word: 0, flags: 0 }
    }

    /// Records one item; a control word holds 31 flags and its end mark.
    fn item(&mut self, reference: bool, bytes: &[u8]) {
        if self.flags == 31 {
            self.seal();
            self.word_at = self.out.len();
            self.out.extend([0; 4]);
            (self.word, self.flags) = (0, 0);
        }
        self.word |= u32::from(reference) << self.flags;
        self.flags += 1;
        self.out.extend(bytes);
    }

    /// Writes the control word into its place: after a full word bit 31 is the end mark; a partial one is filled up
    /// to bit 31 with zeros, as the reference encoder does.
    fn seal(&mut self) {
        let word = self.word | CONTROL_END;
        for (slot, byte) in self.out.iter_mut().skip(self.word_at).zip(word.to_le_bytes()) {
            *slot = byte;
        }
    }
}

/// `None` when the chunk is too short to hold a reference at all.
fn compressed(source: &[u8]) -> Option<Vec<u8>> {
    let last_start = source.len().checked_sub(TAIL_BYTES + 1)?;
    let mut control = Control::new();
    let mut table: [Option<(usize, u32)>; HASH_SLOTS] = [None; HASH_SLOTS];
    let (mut at, mut literals) = (0, 0_usize);
    while at <= last_start {
        let fetch = read3(source, at)?;
        let earlier = table[slot(fetch)].replace((at, fetch));
        match earlier.filter(|(from, seen)| *seen == fetch && referable(source, *from, at, literals)) {
            Some((from, _)) => {
                let most = (source.len() - END_LITERALS - at).min(255);
                let length = (3..most).take_while(|n| source[from + n] == source[at + n]).count() + 3;
                control.item(true, &reference(slot(fetch), length)?);
                at += length;
                literals = 0;
            }
            None => {
                control.item(false, &source[at..=at]);
                at += 1;
                literals += 1;
            }
        }
    }
    for byte in source.get(at..)? {
        control.item(false, &[*byte]);
    }
    control.seal();
    Some(control.out)
}

/// The decoder can only know positions whose three bytes it has: more than two back, or a run of one byte.
fn referable(source: &[u8], from: usize, at: usize, literals: usize) -> bool {
    if from == 0 {
        return false;
    }
    let run = || {
        at > 3
            && literals >= 3
            && source.get(at - 3..at + 4).is_some_and(|bytes| bytes.iter().all(|b| *b == bytes[0]))
    };
    at - from > 2 || (at == from + 1 && run())
}

fn reference(hash: usize, length: usize) -> Option<Vec<u8>> {
    let hash = u16::try_from(hash << 4).ok()?;
    if length < 18 {
        let short = u16::try_from(length - 2).ok()?;
        return Some((hash | short).to_le_bytes().to_vec());
    }
    let [low, high] = hash.to_le_bytes();
    Some([low, high, u8::try_from(length).ok()?].to_vec())
}

/// Reads the chunk that `bytes` begin with; answers its content and how many bytes it took.
///
/// # Errors
/// Whatever does not fit; see [`ChunkError`].
pub fn decompress_chunk(bytes: &[u8]) -> Result<(Vec<u8>, usize), ChunkError> {
    let header = ChunkError::Header(Evidence::of(bytes));
    let &[mark, length, count, ..] = bytes else { return Err(header) };
    let length = usize::from(length);
    let content = bytes.get(HEADER_BYTES..length).ok_or(header)?;
    let chunk = Evidence::of(bytes.get(..length).unwrap_or(bytes));
    let count = usize::from(count);
    match mark {
        PLAIN if content.len() == count => Ok((content.to_vec(), length)),
        PLAIN if content.len() < count => {
            Err(ChunkError::Short { done: content.len(), expected: count, bytes: chunk })
        }
        PLAIN => Err(ChunkError::Long { left: content.len() - count, bytes: chunk }),
        COMPRESSED => Ok((expand(content, count, chunk)?, length)),
        _ => Err(header),
    }
}

fn expand(mut content: &[u8], count: usize, bytes: Evidence) -> Result<Vec<u8>, ChunkError> {
    let mut out: Vec<u8> = Vec::with_capacity(count);
    let mut table: [Option<usize>; HASH_SLOTS] = [None; HASH_SLOTS];
    let mut hashed = 0;
    let mut control: u32 = 1;
    while out.len() < count {
        let short = ChunkError::Short { done: out.len(), expected: count, bytes };
        if control == 1 {
            let (word, rest) = content.split_first_chunk::<4>().ok_or(short)?;
            control = u32::from_le_bytes(*word);
            content = rest;
        }
        let is_reference = control & 1 == 1;
        control >>= 1;
        if !is_reference {
            let (literal, rest) = content.split_first().ok_or(short)?;
            out.push(*literal);
            content = rest;
            continue;
        }
        let (head, rest) = content.split_first_chunk::<2>().ok_or(short)?;
        let head = u16::from_le_bytes(*head);
        let (length, rest) = match (usize::from(head & 0x0F), rest.split_first()) {
            (0, Some((length, rest))) => (usize::from(*length), rest),
            (0, None) => return Err(short),
            (nibble, _) => (nibble + 2, rest),
        };
        content = rest;
        let nowhere = ChunkError::Reference { done: out.len(), bytes };
        let start = out.len();
        // Positions become known once their three bytes are there.
        hashed = remember(&mut table, &out, hashed, start.saturating_sub(2));
        let from = table.get(usize::from(head >> 4)).copied().flatten().ok_or(nowhere)?;
        if length < 3 || start + length > count {
            return Err(nowhere);
        }
        for offset in 0..length {
            let byte = *out.get(from + offset).ok_or(nowhere)?;
            out.push(byte);
        }
        // The start of the reference is hashed, its inside is not: the encoder skipped it, too.
        remember(&mut table, &out, hashed, start + 1);
        hashed = out.len();
    }
    if content.is_empty() { Ok(out) } else { Err(ChunkError::Long { left: content.len(), bytes }) }
}

/// Hashes positions `from..to`; answers where to go on.
fn remember(table: &mut [Option<usize>; HASH_SLOTS], out: &[u8], from: usize, to: usize) -> usize {
    for at in from..to {
        if let Some(fetch) = read3(out, at) {
            table[slot(fetch)] = Some(at);
        }
    }
    from.max(to)
}
