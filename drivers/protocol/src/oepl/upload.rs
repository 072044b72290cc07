//! The upload, as a state machine without IO: notifications in, writes out.
//!
//! Contract: the block the tag asks for is the block it gets, and of it the parts that the tag lacks; repeated parts and
//! blocks are served a bounded number of times; only the tag's own word ends an upload well. Timeouts are the caller's.

use alloc::vec::Vec;

use crate::evidence::Evidence;

/// Image bytes of a block.
pub const BLOCK_BYTES: usize = 4_096;
/// Bytes of a part.
pub const PART_BYTES: usize = 230;
/// Blocks of the largest image: the block's number is one byte.
const BLOCKS_MAX: usize = 256;
/// How often in a row one part may be refused; the reference gives up after 15.
const REFUSALS_MAX: u8 = 15;
const HEAD_BYTES: usize = 4;
const REQUEST_BYTES: usize = 17;

/// The sum of bytes that the protocol guards short structures with.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// What is uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The planes, black first.
    pub bytes: Vec<u8>,
    /// Two planes instead of one: type 0x21 instead of 0x20.
    pub coloured: bool,
    /// Tells images apart; a tag that shows this version already says so.
    pub version: u64,
}

impl Image {
    const fn kind(&self) -> u8 {
        if self.coloured { 0x21 } else { 0x20 }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes.
    Write(Vec<u8>),
    /// Wait for the next notification.
    Listen,
    /// The tag has the image.
    Done,
}

/// Why an upload failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The image is empty or has more than 256 blocks.
    #[error("image of {0} bytes, expected 1..=1048576")]
    Size(usize),
    /// A notification that is none, or does not belong here.
    #[error("unexpected notification: {0}")]
    Unexpected(Evidence),
    /// The tag refuses: 00 CF, 00 D0, FF FF, or a firmware answer to an image.
    #[error("tag answered {code:#06x}: {bytes}")]
    Refused {
        /// The tag's word.
        code: u16,
        /// The notification.
        bytes: Evidence,
    },
    /// The tag asked for a block of another image, or beyond the end.
    #[error("tag asked for block {block} of {count} of version {version:#018x}")]
    Block {
        /// The block.
        block: u8,
        /// How many there are.
        count: usize,
        /// The version asked for.
        version: u64,
    },
    /// The tag asked again too often.
    #[error("tag asked for block {block} part {part} again, {served} parts served")]
    Repeats {
        /// The block.
        block: u8,
        /// The part.
        part: usize,
        /// Parts served in all.
        served: usize,
    },
    /// The tag said "done" before it had every block.
    #[error("tag reported done after block {sent} of {count}")]
    Early {
        /// Blocks asked for, counted from the first.
        sent: usize,
        /// Blocks of the image.
        count: usize,
    },
}

/// The block under way.
#[derive(Clone, Debug)]
struct Block {
    number: u8,
    bytes: Vec<u8>,
    /// Parts that the tag asked for and has not got, in order.
    wanted: Vec<usize>,
    refusals: u8,
}

/// One upload.
#[derive(Clone, Debug)]
pub struct Upload {
    image: Image,
    block: Option<Block>,
    /// Blocks 0..asked were asked for at least once.
    asked: usize,
    served: usize,
    done: bool,
}

impl Upload {
    /// An upload, not started.
    ///
    /// # Errors
    /// An empty or too large image.
    pub fn new(image: Image) -> Result<Self, UploadError> {
        if image.bytes.is_empty() || image.bytes.len() > BLOCKS_MAX * BLOCK_BYTES {
            return Err(UploadError::Size(image.bytes.len()));
        }
        Ok(Self { image, block: None, asked: 0, served: 0, done: false })
    }

    /// The first write, after notifications were subscribed. Starting again starts over.
    pub fn begin(&mut self) -> Step {
        (self.block, self.asked, self.served, self.done) = (None, 0, 0, false);
        let mut body = self.image.version.to_le_bytes().to_vec();
        body.extend(u32::try_from(self.image.bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        // Type, argument (which waveform: the default), next check-in (none).
        body.extend([self.image.kind(), 0, 0, 0]);
        Step::Write([&[0x00, 0x64, checksum(&body)][..], &body].concat())
    }

    /// Blocks asked for at least once, and blocks in all.
    #[must_use]
    pub const fn progress(&self) -> (usize, usize) {
        (self.asked, self.count())
    }

    /// The tag has the image.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// Takes a notification.
    ///
    /// # Errors
    /// The upload has failed; only [`Upload::begin`] helps.
    pub fn handle_notify(&mut self, bytes: &[u8]) -> Result<Step, UploadError> {
        let unexpected = UploadError::Unexpected(Evidence::of(bytes));
        let (code, content) = bytes.split_first_chunk::<2>().ok_or(unexpected)?;
        if self.done {
            return Ok(Step::Listen);
        }
        match u16::from_be_bytes(*code) {
            0x63 => Ok(Step::Listen),
            0xC6 => self.request(content, unexpected),
            0xC5 => {
                let block = self.block.as_mut().ok_or(unexpected)?;
                block.refusals = 0;
                if !block.wanted.is_empty() {
                    block.wanted.remove(0);
                }
                self.part()
            }
            0xC4 => {
                let block = self.block.as_mut().ok_or(unexpected)?;
                block.refusals = block.refusals.saturating_add(1);
                self.part()
            }
            0xC7 if self.asked < self.count() => {
                Err(UploadError::Early { sent: self.asked, count: self.count() })
            }
            0xC7 => Ok(self.finish()),
            // "It is shown already" is an answer to the announcement only.
            0xC8 if self.asked == 0 => Ok(self.finish()),
            code @ (0xC8 | 0xC9 | 0xCF | 0xD0 | 0xFFFF) => {
                Err(UploadError::Refused { code, bytes: Evidence::of(bytes) })
            }
            _ => Err(unexpected),
        }
    }

    const fn finish(&mut self) -> Step {
        self.done = true;
        Step::Done
    }

    fn request(&mut self, content: &[u8], unexpected: UploadError) -> Result<Step, UploadError> {
        // The tag's firmware leaves the checksum of a request unset, so it cannot be checked.
        let content: &[u8; REQUEST_BYTES] = content.try_into().map_err(|_| unexpected)?;
        let [_, v0, v1, v2, v3, v4, v5, v6, v7, number, _, parts @ ..] = *content;
        let version = u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
        let (at, count) = (usize::from(number), self.count());
        // A block past the first never asked for would leave a hole in the image.
        if version != self.image.version || at >= count || at > self.asked {
            return Err(UploadError::Block { block: number, count, version });
        }
        self.asked = self.asked.max(at + 1);
        let from = at * BLOCK_BYTES;
        let data = self.image.bytes.get(from..(from + BLOCK_BYTES).min(self.image.bytes.len()));
        let data = data.unwrap_or_default();
        let sum = data.iter().fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
        let mut bytes = u16::try_from(data.len()).unwrap_or(u16::MAX).to_le_bytes().to_vec();
        bytes.extend(sum.to_le_bytes());
        bytes.extend(data);
        let all = (HEAD_BYTES + data.len()).div_ceil(PART_BYTES);
        let mut wanted: Vec<usize> = (0..all)
            .filter(|part| parts.get(part / 8).is_some_and(|bits| bits >> (part % 8) & 1 == 1))
            .collect();
        if wanted.is_empty() {
            wanted = (0..all).collect();
        }
        self.block = Some(Block { number, bytes, wanted, refusals: 0 });
        self.part()
    }

    /// The next part that the tag lacks; nothing when it has said so for all: then the tag has the word.
    fn part(&mut self) -> Result<Step, UploadError> {
        let count = self.count();
        let Some(block) = self.block.as_ref() else { return Ok(Step::Listen) };
        let Some(part) = block.wanted.first().copied() else { return Ok(Step::Listen) };
        self.served += 1;
        let most = 2 * count * (HEAD_BYTES + BLOCK_BYTES).div_ceil(PART_BYTES) + 64;
        if block.refusals > REFUSALS_MAX || self.served > most {
            return Err(UploadError::Repeats { block: block.number, part, served: self.served });
        }
        let from = part * PART_BYTES;
        let mut body = [block.number, u8::try_from(part).unwrap_or(u8::MAX)].to_vec();
        body.extend(block.bytes.get(from..(from + PART_BYTES).min(block.bytes.len())).unwrap_or_default());
        body.resize(2 + PART_BYTES, 0);
        Ok(Step::Write([&[0x00, 0x65, checksum(&body)][..], &body].concat()))
    }

    const fn count(&self) -> usize {
        self.image.bytes.len().div_ceil(BLOCK_BYTES)
    }
}
