//! Wire versions: what every version says, and the seam for the block codec.
//!
//! Layout: byte 0 version, byte 1 message. Version 1 is frozen as [`crate::Message`] writes it. Version 2:
//!
//! ```text
//! 0 block   body of the codec, see `BlockCodec`
//! 1 ack     body of version 1 | min u8 | current u8
//! 2 hello   body of version 1 | min u8 | current u8 | count of older logs (varint, at most 8) | (log, seq) each
//! 3 nak     body of version 1
//! 4 live    version u8 of the block that follows | its body (as message 0 of that version)
//! ```
//!
//! Contract: decoding never panics, allocates no more than a small multiple of its input, refuses trailing bytes and
//! anything over [`crate::MESSAGE_BYTES_MAX`]. Blocks may travel in a lower version than acks: their version byte says so.

use crate::{Ack, Block, Hello, Link, MESSAGE_BYTES_MAX, Message, Nak, WireError};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sync_model::{LogId, Seq};

/// Oldest version that is spoken.
pub const MIN: u8 = 1;
/// Newest version that is spoken.
pub const CURRENT: u8 = 2;
/// Versions above this one are taken for nonsense, not for the future.
const VERSION_PLAUSIBLE: u8 = 15;
/// Older logs that a greeting names.
pub const OLDER_MAX: usize = 8;

/// The versions a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Oldest.
    pub min: u8,
    /// Newest.
    pub current: u8,
}

impl Versions {
    /// This build.
    pub const OWN: Self = Self { min: MIN, current: CURRENT };
    /// A peer that speaks version 1 only.
    pub const FIRST: Self = Self { min: 1, current: 1 };

    /// The highest version that both speak.
    pub fn common(self, peer: Self) -> Option<u8> {
        let highest = self.current.min(peer.current);
        (highest >= self.min.max(peer.min)).then_some(highest)
    }
}

/// The link before a block, as far as the message carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prev {
    /// All of it (version 1).
    Whole(Link),
    /// Its first eight bytes (version 2): the receiver has the rest.
    Short([u8; 8]),
}

impl Prev {
    /// Whether `link` can be the one before the block.
    pub fn fits(&self, link: &Link) -> bool {
        match self {
            Self::Whole(own) => own == link,
            Self::Short(start) => link.0.starts_with(start),
        }
    }
}

/// A block as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The log.
    pub log: LogId,
    /// Position of the first record.
    pub first: Seq,
    /// Link before it.
    pub prev: Prev,
    /// The records.
    pub records: Vec<Vec<u8>>,
    /// Signature over the log up to the last record, when there is one.
    pub seal: Option<[u8; 64]>,
}

impl Incoming {
    /// Position of the last record.
    pub fn last(&self) -> Seq {
        let count = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        Seq(self.first.0.saturating_sub(1).saturating_add(count))
    }

    /// The block, when `prev` is the link before it.
    pub fn resolve(self, prev: Link) -> Option<Block> {
        let fits = self.prev.fits(&prev);
        fits.then_some(Block { log: self.log, first: self.first, prev, records: self.records })
    }
}

impl From<Block> for Incoming {
    fn from(block: Block) -> Self {
        Self {
            log: block.log,
            first: block.first,
            prev: Prev::Whole(block.prev),
            records: block.records,
            seal: None,
        }
    }
}

/// Writes a block's body in a version, with its signature if there is one.
pub type EncodeBlock = fn(u8, &Block, Option<&[u8; 64]>) -> Option<Vec<u8>>;
/// Reads a block's body of a version.
pub type DecodeBlock = fn(u8, &[u8]) -> Result<Incoming, String>;

/// How blocks become bytes, by version. The codec crate sits above this one, so it is handed in.
#[derive(Clone, Copy, Debug)]
pub struct BlockCodec {
    /// Newest version that it writes and reads.
    pub current: u8,
    /// Body of a block, without the two bytes of version and message; `None` when it cannot be written in that version.
    pub encode: EncodeBlock,
    /// Reads a body. Never panics; bounds what it allocates.
    pub decode: DecodeBlock,
}

impl BlockCodec {
    /// Version 1 only: plain records, whole links, no seals.
    pub const PLAIN: Self = Self { current: 1, encode: encode_plain, decode: decode_plain };
}

/// Body of version 1.
pub fn encode_plain(version: u8, block: &Block, _seal: Option<&[u8; 64]>) -> Option<Vec<u8>> {
    (version == 1).then(|| Message::Block(block.clone()).encode().split_off(2))
}

/// Reads a body of version 1.
pub fn decode_plain(version: u8, body: &[u8]) -> Result<Incoming, String> {
    if version != 1 {
        return Err(WireError::Version(version).to_string());
    }
    crate::wire::decode_block(body).map(Incoming::from).map_err(|error| error.to_string())
}

/// A greeting in any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// What version 1 says.
    pub hello: Hello,
    /// Ends of the store's older logs, newest first, at most [`OLDER_MAX`] (version 2).
    pub older: Vec<(LogId, Seq)>,
}

/// Everything that travels, in any version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Records in their turn.
    Block(Incoming),
    /// Records ahead of their turn.
    Live(Incoming),
    /// What the peer has durably, or asks for.
    Ack(Ack),
    /// A greeting.
    Hello(Greeting),
    /// A refusal.
    Nak(Nak),
}

/// Why bytes are not a letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LetterError {
    /// Not of any version spoken here.
    #[error("wire version {0}, this build speaks {MIN} to {CURRENT}")]
    Version(u8),
    /// See [`WireError`].
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The block codec refused the body.
    #[error("block does not decode: {0}")]
    Block(String),
}

impl LetterError {
    /// Stable word for refusals and the quarantine.
    pub fn code(&self) -> &'static str {
        match self {
            // Versions grow by one: a first byte far away is no message at all.
            Self::Version(found) if (1..=VERSION_PLAUSIBLE).contains(found) => "wire-version",
            Self::Version(_) => "undecodable",
            Self::Wire(WireError::TooLong(_)) => "too-large",
            Self::Wire(_) | Self::Block(_) => "undecodable",
        }
    }
}

impl Letter {
    /// The bytes, in `version`; `None` when that version cannot say it.
    pub fn encode(&self, version: u8) -> Option<Vec<u8>> {
        let first = match self {
            Self::Ack(ack) => Message::Ack(*ack).encode(),
            Self::Hello(greeting) => Message::Hello(greeting.hello.clone()).encode(),
            Self::Nak(nak) => Message::Nak(nak.clone()).encode(),
            Self::Block(_) | Self::Live(_) => return None,
        };
        match version {
            1 => Some(first),
            2 => Some(self.second(first)),
            _ => None,
        }
    }

    fn second(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(version) = bytes.first_mut() {
            *version = 2;
        }
        match self {
            Self::Ack(_) => bytes.extend([MIN, CURRENT]),
            Self::Hello(greeting) => {
                bytes.extend([MIN, CURRENT]);
                let older: Vec<(LogId, Seq)> = greeting.older.iter().take(OLDER_MAX).copied().collect();
                return postcard::to_extend(&older, bytes).expect("a growing buffer takes every body");
            }
            Self::Nak(_) | Self::Block(_) | Self::Live(_) => {}
        }
        bytes
    }

    /// A block's bytes in the highest version up to `version` that the codec writes.
    pub fn block(codec: &BlockCodec, version: u8, block: &Block, seal: Option<&[u8; 64]>) -> Vec<u8> {
        let (version, body) = best(codec, version, block, seal);
        let mut bytes = alloc::vec![version, 0];
        bytes.extend(body);
        bytes
    }

    /// A preview's bytes; needs a peer of version 2.
    pub fn live(codec: &BlockCodec, version: u8, block: &Block, seal: Option<&[u8; 64]>) -> Vec<u8> {
        let (inner, body) = best(codec, version, block, seal);
        let mut bytes = alloc::vec![2, 4, inner];
        bytes.extend(body);
        bytes
    }

    /// Reads a message and the versions its sender speaks, as far as it says so.
    pub fn decode(codec: &BlockCodec, bytes: &[u8]) -> Result<(Self, Option<Versions>), LetterError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong(bytes.len()).into());
        }
        let [version, number, body @ ..] = bytes else {
            return Err(WireError::TooShort(bytes.len()).into());
        };
        if !(MIN..=CURRENT).contains(version) {
            return Err(LetterError::Version(*version));
        }
        let block = |version: u8, body: &[u8]| checked(codec, version, body);
        match (*version, *number) {
            (version, 0) => Ok((Self::Block(block(version, body)?), None)),
            (1, _) => match Message::decode(bytes)? {
                Message::Ack(ack) => Ok((Self::Ack(ack), None)),
                Message::Hello(hello) => {
                    Ok((Self::Hello(Greeting { hello, older: Vec::new() }), Some(Versions::FIRST)))
                }
                Message::Nak(nak) => Ok((Self::Nak(nak), None)),
                Message::Block(found) => Ok((Self::Block(found.into()), None)),
            },
            (_, 1) => {
                let (ack, rest) = crate::wire::take_ack(body)?;
                let (versions, rest) = versions(rest)?;
                end(rest)?;
                Ok((Self::Ack(ack), Some(versions)))
            }
            (_, 2) => {
                let (hello, rest) = crate::wire::take_hello(body)?;
                let (versions, rest) = versions(rest)?;
                let (older, rest): (Vec<(LogId, Seq)>, _) =
                    postcard::take_from_bytes(rest).map_err(WireError::Body)?;
                end(rest)?;
                if older.len() > OLDER_MAX {
                    return Err(WireError::Trailing(older.len() - OLDER_MAX).into());
                }
                Ok((Self::Hello(Greeting { hello, older }), Some(versions)))
            }
            (_, 3) => {
                let (nak, rest) = crate::wire::take_nak(body)?;
                end(rest)?;
                Ok((Self::Nak(nak), None))
            }
            (_, 4) => {
                let [inner, body @ ..] = body else { return Err(WireError::TooShort(bytes.len()).into()) };
                Ok((Self::Live(block(*inner, body)?), None))
            }
            (_, other) => Err(WireError::Unknown(other).into()),
        }
    }
}

fn best(codec: &BlockCodec, version: u8, block: &Block, seal: Option<&[u8; 64]>) -> (u8, Vec<u8>) {
    let highest = version.min(codec.current);
    let written =
        (2..=highest).rev().find_map(|version| Some((version, (codec.encode)(version, block, seal)?)));
    written.unwrap_or_else(|| (1, encode_plain(1, block, seal).unwrap_or_default()))
}

fn checked(codec: &BlockCodec, version: u8, body: &[u8]) -> Result<Incoming, LetterError> {
    let incoming = if version == 1 {
        crate::wire::decode_block(body).map(Incoming::from)?
    } else {
        (codec.decode)(version, body).map_err(LetterError::Block)?
    };
    // The codec's word is not taken for the bounds that everything after it relies on.
    let block =
        Block { log: incoming.log, first: incoming.first, prev: Link([0; 32]), records: incoming.records };
    block.check().map_err(WireError::Block)?;
    Ok(Incoming { records: block.records, ..incoming })
}

fn versions(bytes: &[u8]) -> Result<(Versions, &[u8]), WireError> {
    match bytes {
        [min, current, rest @ ..] => Ok((Versions { min: *min, current: *current }, rest)),
        _ => Err(WireError::TooShort(bytes.len())),
    }
}

fn end(rest: &[u8]) -> Result<(), WireError> {
    if rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(rest.len())) }
}
