//! The file form of a captured stream: what one end, or the broker, saw of one or several stores, message by message.
//!
//! ```text
//! file  = "SYCAP" 0d 0a 01 | frame … | end frame
//! frame = length u32 | leaf u8 | store u32 | at i64 (unix ms) | payload, `length` bytes
//! leaf  = 'u' 'd' 'a' 'c': last level of the topic, payload = the message as published
//!         's': payload = a seal on its own, 113 bytes
//!         'e': the end; store and at are 0, payload = SHA-256 of every byte of the file before this frame
//! ```
//!
//! The end frame finds damage and truncation. It proves nothing against a forger: chain and seals do.

use crate::Digest;
use crate::merkle::sha256;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};
use sync_model::{StoreId, UnixMillis};

/// First bytes of a capture file.
pub const CAPTURE_MAGIC: [u8; 8] = *b"SYCAP\r\n\x01";
/// Longest payload: more than any message, so that oversized ones can be captured as evidence.
const PAYLOAD_MAX: usize = 256 * 1024;
const HEAD: usize = 17;

/// Where a message was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// Store to HQ: blocks, hello, nak.
    Up,
    /// HQ to store: blocks, nak.
    Down,
    /// HQ's retained ack of the store's log.
    UpAck,
    /// The store's retained ack of HQ's log.
    DownAck,
    /// A seal on its own.
    Seal,
}

impl Leaf {
    /// Every leaf.
    pub const ALL: [Self; 5] = [Self::Up, Self::Down, Self::UpAck, Self::DownAck, Self::Seal];

    /// Its byte.
    pub fn code(self) -> u8 {
        match self {
            Self::Up => b'u',
            Self::Down => b'd',
            Self::UpAck => b'a',
            Self::DownAck => b'c',
            Self::Seal => b's',
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|leaf| leaf.code() == code)
    }
}

const END: u8 = b'e';

/// One captured message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Offset of the frame in the file: its name in reports.
    pub offset: usize,
    /// Where it was captured.
    pub leaf: Leaf,
    /// The store that the topic names.
    pub store: StoreId,
    /// When it was captured, by the capturer's clock.
    pub at: UnixMillis,
    /// The message.
    pub payload: &'a [u8],
}

/// What is wrong with a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The first bytes are not those of a capture.
    #[error("not a capture: the first bytes are others")]
    Magic,
    /// The file ends inside a frame, or before the end frame.
    #[error("capture ends at byte {0}, before its end frame")]
    Truncated(usize),
    /// A frame with an unknown leaf or a senseless length.
    #[error("frame at byte {0} has an impossible head")]
    Head(usize),
    /// The end frame has another digest than the bytes before it.
    #[error("bytes of the capture are not the ones its end frame vouches for")]
    Digest,
    /// Bytes after the end frame.
    #[error("capture has {0} bytes after its end frame")]
    Trailing(usize),
}

/// A capture read: every frame before the first problem, and the problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture<'a> {
    /// The frames, in file order.
    pub frames: Vec<Frame<'a>>,
    /// Whether the file is whole.
    pub whole: Result<(), CaptureError>,
}

impl<'a> Capture<'a> {
    /// Reads a capture file. Never panics; frames before a damage are kept.
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut frames = Vec::new();
        let whole = read(bytes, &mut frames);
        Self { frames, whole }
    }
}

fn read<'a>(bytes: &'a [u8], frames: &mut Vec<Frame<'a>>) -> Result<(), CaptureError> {
    let mut rest = bytes.strip_prefix(&CAPTURE_MAGIC).ok_or(CaptureError::Magic)?;
    loop {
        let offset = bytes.len() - rest.len();
        let (head, after) = rest.split_first_chunk::<HEAD>().ok_or(CaptureError::Truncated(bytes.len()))?;
        let [l0, l1, l2, l3, leaf, s0, s1, s2, s3, at @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if length > PAYLOAD_MAX {
            return Err(CaptureError::Head(offset));
        }
        let (payload, after) = after.split_at_checked(length).ok_or(CaptureError::Truncated(bytes.len()))?;
        let store = StoreId(u32::from_be_bytes([s0, s1, s2, s3]));
        let at = UnixMillis(i64::from_be_bytes(at));
        if leaf == END {
            let (before, _) = bytes.split_at_checked(offset).unwrap_or((bytes, &[]));
            if (store, at) != (StoreId(0), UnixMillis(0)) {
                return Err(CaptureError::Head(offset));
            }
            if payload != sha256(before) {
                return Err(CaptureError::Digest);
            }
            return if after.is_empty() { Ok(()) } else { Err(CaptureError::Trailing(after.len())) };
        }
        let leaf = Leaf::from_code(leaf).ok_or(CaptureError::Head(offset))?;
        frames.push(Frame { offset, leaf, store, at, payload });
        rest = after;
    }
}

/// Writes a capture piece by piece; the caller puts the pieces behind each other.
#[derive(Clone, Debug)]
pub struct CaptureWriter {
    hasher: Sha256,
}

impl CaptureWriter {
    /// Begins a capture; the bytes come first in the file.
    pub fn begin() -> (Self, Vec<u8>) {
        let mut writer = Self { hasher: Sha256::new() };
        writer.hasher.update(CAPTURE_MAGIC);
        (writer, CAPTURE_MAGIC.to_vec())
    }

    /// The bytes of a frame; `None` for a payload that is too long for one.
    pub fn frame(&mut self, leaf: Leaf, store: StoreId, at: UnixMillis, payload: &[u8]) -> Option<Vec<u8>> {
        let bytes = frame(leaf.code(), store, at, payload)?;
        self.hasher.update(&bytes);
        Some(bytes)
    }

    /// The bytes of the end frame.
    pub fn end(self) -> Vec<u8> {
        let digest: Digest = self.hasher.finalize().into();
        // 32 bytes are far below the longest payload.
        frame(END, StoreId(0), UnixMillis(0), &digest).unwrap_or_default()
    }
}

fn frame(leaf: u8, store: StoreId, at: UnixMillis, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX)?;
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.extend(length.to_be_bytes());
    out.push(leaf);
    out.extend(store.0.to_be_bytes());
    out.extend(at.0.to_be_bytes());
    out.extend(payload);
    Some(out)
}
