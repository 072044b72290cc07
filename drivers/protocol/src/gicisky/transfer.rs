//! The upload, as a state machine without IO: notifications in, writes out.
//!
//! ```text
//! command 01              -> 01 size_u16le          (block size, its 4 index bytes included)
//! command 02 size 000000  -> 02 00                  (or 01 instead of 000000 for "compression 2")
//! command 03              -> 05 00 index_u32le
//! block   index data      -> 05 00 next_index …     -> 05 08 (done)
//! command 04              cancels
//! ```
//!
//! Contract: the block the tag asks for is the block it gets; a repeated or earlier index is a retransmission, of
//! which only so many are served. Timeouts are the caller's: it may drop the transfer at any time after [`Transfer::cancel`].

use alloc::vec::Vec;

use crate::evidence::Evidence;

const INDEX_BYTES: usize = 4;
/// Retransmissions served per transfer before it is given up, on top of one for every block.
const REPEATS_EXTRA: u64 = 32;
/// How often in a row the same block may be asked for: a link that loses every one of so many is given up.
const REPEATS_IN_A_ROW: u32 = 16;
/// The largest stream: two planes of the largest panel and their chunk headers fit well.
pub const STREAM_BYTES_MAX: usize = 512 * 1024;

/// How the size command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Start {
    /// Three zero bytes.
    #[default]
    Plain,
    /// The byte 1: "compression 2".
    Compression2,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes to the command characteristic.
    WriteCommand(Vec<u8>),
    /// Write these bytes to the image characteristic.
    WriteBlock(Vec<u8>),
    /// The tag has the image; it refreshes within seconds.
    Done,
}

/// Why a transfer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The stream is empty or too large.
    #[error("stream of {found} bytes, expected 1..={STREAM_BYTES_MAX}")]
    Size {
        /// Its length.
        found: usize,
    },
    /// A notification that does not belong here.
    #[error("unexpected notification while {state}: {bytes}")]
    Unexpected {
        /// What the transfer was waiting for.
        state: &'static str,
        /// The notification.
        bytes: Evidence,
    },
    /// The tag's block size cannot carry a block.
    #[error("block size {found}, expected 5..=516")]
    BlockSize {
        /// The size announced.
        found: u16,
    },
    /// The tag refused with a status of its own.
    #[error("tag answered status {status:#04x}: {bytes}")]
    Refused {
        /// The status.
        status: u8,
        /// The notification.
        bytes: Evidence,
    },
    /// The tag asked for a block beyond the stream.
    #[error("tag asked for block {index} of {count}")]
    Index {
        /// The index asked for.
        index: u32,
        /// How many blocks there are.
        count: usize,
    },
    /// The tag asked for one block too often in a row, or for too many blocks again.
    #[error("tag asked for block {index} again: {served} served of a stream of {count}")]
    Repeats {
        /// The last block asked for.
        index: u32,
        /// Blocks served.
        served: u64,
        /// Blocks of the stream.
        count: usize,
    },
    /// The tag said "done" before it had every block.
    #[error("tag reported done after {sent} of {count} blocks")]
    Early {
        /// Distinct blocks sent, counted from the first.
        sent: usize,
        /// Blocks of the stream.
        count: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    BlockSize,
    Size,
    Blocks,
    Done,
    Failed,
}

impl State {
    const fn text(self) -> &'static str {
        match self {
            Self::Idle => "not started",
            Self::BlockSize => "waiting for the block size",
            Self::Size => "waiting for the size to be accepted",
            Self::Blocks => "sending blocks",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// One upload.
#[derive(Clone, Debug)]
pub struct Transfer {
    stream: Vec<u8>,
    start: Start,
    state: State,
    block_bytes: usize,
    /// Blocks 0..sent have been sent at least once.
    sent: usize,
    served: u64,
    /// The last block served, and how often in a row.
    last: (usize, u32),
}

impl Transfer {
    /// A transfer of `stream`, not started.
    ///
    /// # Errors
    /// An empty or too large stream.
    pub fn new(stream: Vec<u8>, start: Start) -> Result<Self, TransferError> {
        if stream.is_empty() || stream.len() > STREAM_BYTES_MAX {
            return Err(TransferError::Size { found: stream.len() });
        }
        Ok(Self { stream, start, state: State::Idle, block_bytes: 0, sent: 0, served: 0, last: (0, 0) })
    }

    /// The first write, after notifications were subscribed. Starting again starts over.
    pub fn begin(&mut self) -> Step {
        (self.state, self.sent, self.served, self.last) = (State::BlockSize, 0, 0, (0, 0));
        Step::WriteCommand([0x01].to_vec())
    }

    /// The write that makes the tag drop the upload; the transfer has failed then.
    pub fn cancel(&mut self) -> Step {
        self.state = State::Failed;
        Step::WriteCommand([0x04].to_vec())
    }

    /// Blocks sent at least once, and blocks in all (0 until the tag has named its block size).
    #[must_use]
    pub const fn progress(&self) -> (usize, usize) {
        (self.sent, self.count())
    }

    /// The tag has confirmed the whole image.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes a notification of the command characteristic.
    ///
    /// # Errors
    /// The transfer has failed; only [`Transfer::begin`] helps.
    pub fn handle_notify(&mut self, bytes: &[u8]) -> Result<Option<Step>, TransferError> {
        let step = self.step(bytes);
        if step.is_err() {
            self.state = State::Failed;
        }
        step
    }

    fn step(&mut self, bytes: &[u8]) -> Result<Option<Step>, TransferError> {
        let evidence = Evidence::of(bytes);
        match (self.state, bytes) {
            (State::BlockSize, [0x01, low, high, ..]) => {
                self.accept_block_size(u16::from_le_bytes([*low, *high])).map(Some)
            }
            (State::Size, [0x02, 0x00, ..]) => {
                self.state = State::Blocks;
                Ok(Some(Step::WriteCommand([0x03].to_vec())))
            }
            (State::Size, [0x02, status, ..]) => {
                Err(TransferError::Refused { status: *status, bytes: evidence })
            }
            (State::Blocks, [0x05, 0x00, a, b, c, d, ..]) => {
                self.block(u32::from_le_bytes([*a, *b, *c, *d])).map(Some)
            }
            (State::Blocks, [0x05, 0x08, ..]) if self.sent < self.count() => {
                Err(TransferError::Early { sent: self.sent, count: self.count() })
            }
            (State::Blocks, [0x05, 0x08, ..]) => {
                self.state = State::Done;
                Ok(Some(Step::Done))
            }
            (State::Blocks, [0x05, status @ 1..=0xFF, ..]) => {
                Err(TransferError::Refused { status: *status, bytes: evidence })
            }
            // A tag may repeat its last word; after the end nothing depends on it.
            (State::Done, _) => Ok(None),
            (state, _) => Err(TransferError::Unexpected { state: state.text(), bytes: evidence }),
        }
    }

    fn accept_block_size(&mut self, size: u16) -> Result<Step, TransferError> {
        // 512 bytes is the longest attribute value; more cannot be one write.
        if !(5..=516).contains(&size) {
            return Err(TransferError::BlockSize { found: size });
        }
        self.block_bytes = usize::from(size) - INDEX_BYTES;
        self.state = State::Size;
        let mut command = [0x02].to_vec();
        let size = u32::try_from(self.stream.len()).unwrap_or(u32::MAX);
        command.extend(size.to_le_bytes());
        match self.start {
            Start::Plain => command.extend([0, 0, 0]),
            Start::Compression2 => command.push(1),
        }
        Ok(Step::WriteCommand(command))
    }

    fn block(&mut self, index: u32) -> Result<Step, TransferError> {
        let count = self.count();
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        // An index past the first block never sent would leave a hole in the image.
        if at >= count || at > self.sent {
            return Err(TransferError::Index { index, count });
        }
        self.served += 1;
        self.last = (at, if self.last.0 == at { self.last.1 + 1 } else { 1 });
        let stalled = self.last.1 > REPEATS_IN_A_ROW;
        if stalled || self.served > 2 * u64::try_from(count).unwrap_or(u64::MAX / 2) + REPEATS_EXTRA {
            return Err(TransferError::Repeats { index, served: self.served, count });
        }
        self.sent = self.sent.max(at + 1);
        let from = at * self.block_bytes;
        let to = (from + self.block_bytes).min(self.stream.len());
        let mut block = index.to_le_bytes().to_vec();
        block.extend(self.stream.get(from..to).unwrap_or(&[]));
        Ok(Step::WriteBlock(block))
    }

    const fn count(&self) -> usize {
        if self.block_bytes == 0 { 0 } else { self.stream.len().div_ceil(self.block_bytes) }
    }
}
