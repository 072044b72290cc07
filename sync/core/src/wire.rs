//! Messages between store and HQ, and their bytes.
//!
//! Layout: byte 0 is [`WIRE_VERSION`], byte 1 the message (0 block, 1 ack, 2 hello, 3 nak), then the postcard body of the
//! struct of the same name in `body` below. A block's body also carries the link after its last record; decoding
//! recomputes it, so a block that decodes has exactly the records its sender hashed. Compression, signatures and the
//! columnar form get a new version byte.
//!
//! Contract: decoding never panics, allocates no more than a small multiple of its input, and refuses trailing bytes and
//! anything over [`MESSAGE_BYTES_MAX`].

use crate::{BLOCK_BYTES_MAX, BLOCK_RECORDS_MAX, Block, BlockError, Link};
use alloc::vec::Vec;
use sync_model::{LogId, Seq, StoreId, Text};

/// Version of the wire form.
pub const WIRE_VERSION: u8 = 1;
/// Longest message: a full block, three bytes of length per record, and the fixed fields.
pub const MESSAGE_BYTES_MAX: usize = BLOCK_BYTES_MAX + 3 * BLOCK_RECORDS_MAX + 256;

/// What a peer has durably of one log. Cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The log.
    pub log: LogId,
    /// Everything up to here is durable; 0 is nothing.
    pub upto: Seq,
    /// Link at `upto`; genesis for 0.
    pub link: Link,
    /// What a later block that was received would have needed, both ends included.
    pub gap: Option<(Seq, Seq)>,
}

/// Store to HQ on every connect, and whenever it has heard no ack for a while. HQ answers with its acks; where it has less
/// than `head` it names the missing range as the ack's gap, so that a restored HQ is refilled without waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The store.
    pub store: StoreId,
    /// Its own log and how far it has been written.
    pub head: Option<(LogId, Seq)>,
    /// What it has of HQ's log.
    pub down: Option<Ack>,
    /// Version of its software.
    pub software: Text<32>,
}

/// A message that could not be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nak {
    /// Stable word such as `undecodable`, `chain-break`, `too-large`, `wrong-store`.
    pub code: Text<24>,
    /// For a reader.
    pub detail: Text<160>,
    /// Log, first and last position, when they could be read.
    pub of: Option<(LogId, Seq, Seq)>,
}

/// Everything that travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Records.
    Block(Block),
    /// Durable watermark.
    Ack(Ack),
    /// Greeting.
    Hello(Hello),
    /// Refusal.
    Nak(Nak),
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than any message.
    #[error("message has {0} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Shorter than version and message bytes.
    #[error("message has {0} bytes, at least 2 are needed")]
    TooShort(usize),
    /// Another wire version.
    #[error("wire version {0}, this build speaks {WIRE_VERSION}")]
    Version(u8),
    /// A message number this build does not know.
    #[error("message number {0} is unknown")]
    Unknown(u8),
    /// The body does not follow its layout.
    #[error("message body does not decode: {0}")]
    Body(postcard::Error),
    /// Bytes after the body.
    #[error("message has {0} bytes too many")]
    Trailing(usize),
    /// The block breaks a bound.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The records are not the ones the sender hashed.
    #[error("block of {log} from {first}: records do not hash to the link it carries")]
    Link {
        /// The log.
        log: LogId,
        /// Its first position.
        first: Seq,
    },
}

/// Serde forms of the bodies; field order is the wire order.
mod body {
    use alloc::vec::Vec;
    use serde::{Deserialize, Serialize};
    use sync_model::{LogId, Seq, StoreId, Text};

    #[derive(Serialize, Deserialize)]
    pub(super) struct Block<'a> {
        pub(super) log: LogId,
        pub(super) first: Seq,
        pub(super) prev: [u8; 32],
        pub(super) link: [u8; 32],
        #[serde(borrow)]
        pub(super) records: Vec<&'a [u8]>,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Ack {
        pub(super) log: LogId,
        pub(super) upto: Seq,
        pub(super) link: [u8; 32],
        pub(super) gap: Option<(Seq, Seq)>,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Hello {
        pub(super) store: StoreId,
        pub(super) head: Option<(LogId, Seq)>,
        pub(super) down: Option<Ack>,
        pub(super) software: Text<32>,
    }

    #[derive(Serialize, Deserialize)]
    pub(super) struct Nak {
        pub(super) code: Text<24>,
        pub(super) detail: Text<160>,
        pub(super) of: Option<(LogId, Seq, Seq)>,
    }
}

impl From<&Ack> for body::Ack {
    fn from(ack: &Ack) -> Self {
        Self { log: ack.log, upto: ack.upto, link: ack.link.0, gap: ack.gap }
    }
}

impl From<body::Ack> for Ack {
    fn from(ack: body::Ack) -> Self {
        Self { log: ack.log, upto: ack.upto, link: Link(ack.link), gap: ack.gap }
    }
}

impl From<body::Hello> for Hello {
    fn from(hello: body::Hello) -> Self {
        Self {
            store: hello.store,
            head: hello.head,
            down: hello.down.map(Ack::from),
            software: hello.software,
        }
    }
}

impl From<body::Nak> for Nak {
    fn from(nak: body::Nak) -> Self {
        Self { code: nak.code, detail: nak.detail, of: nak.of }
    }
}

fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, WireError> {
    let (value, rest) = postcard::take_from_bytes(bytes).map_err(WireError::Body)?;
    if rest.is_empty() { Ok(value) } else { Err(WireError::Trailing(rest.len())) }
}

/// Appends a body. The bodies hold no maps and no lengths unknown to serde, and a vector takes any number of bytes, so
/// postcard has nothing to refuse.
fn write<T: serde::Serialize>(number: u8, body: &T) -> Vec<u8> {
    postcard::to_extend(body, alloc::vec![WIRE_VERSION, number]).expect("a growing buffer takes every body")
}

fn take<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), WireError> {
    postcard::take_from_bytes(bytes).map_err(WireError::Body)
}

/// Reads an ack from the front of `bytes`.
pub(crate) fn take_ack(bytes: &[u8]) -> Result<(Ack, &[u8]), WireError> {
    take::<body::Ack>(bytes).map(|(ack, rest)| (ack.into(), rest))
}

/// Reads a greeting from the front of `bytes`.
pub(crate) fn take_hello(bytes: &[u8]) -> Result<(Hello, &[u8]), WireError> {
    take::<body::Hello>(bytes).map(|(hello, rest)| (hello.into(), rest))
}

/// Reads a refusal from the front of `bytes`.
pub(crate) fn take_nak(bytes: &[u8]) -> Result<(Nak, &[u8]), WireError> {
    take::<body::Nak>(bytes).map(|(nak, rest)| (nak.into(), rest))
}

impl Message {
    /// The bytes of the message.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Block(block) => write(
                0,
                &body::Block {
                    log: block.log,
                    first: block.first,
                    prev: block.prev.0,
                    link: block.link().0,
                    records: block.records.iter().map(Vec::as_slice).collect(),
                },
            ),
            Self::Ack(ack) => write(1, &body::Ack::from(ack)),
            Self::Hello(hello) => write(
                2,
                &body::Hello {
                    store: hello.store,
                    head: hello.head,
                    down: hello.down.as_ref().map(body::Ack::from),
                    software: hello.software.clone(),
                },
            ),
            Self::Nak(nak) => {
                write(3, &body::Nak { code: nak.code.clone(), detail: nak.detail.clone(), of: nak.of })
            }
        }
    }

    /// Reads a message. Never panics.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong(bytes.len()));
        }
        let [version, number, rest @ ..] = bytes else {
            return Err(WireError::TooShort(bytes.len()));
        };
        if *version != WIRE_VERSION {
            return Err(WireError::Version(*version));
        }
        match number {
            0 => decode_block(rest).map(Self::Block),
            1 => read::<body::Ack>(rest).map(|ack| Self::Ack(ack.into())),
            2 => read::<body::Hello>(rest).map(|hello| Self::Hello(hello.into())),
            3 => read::<body::Nak>(rest).map(|nak| Self::Nak(nak.into())),
            other => Err(WireError::Unknown(*other)),
        }
    }
}

/// Reads the body of a block.
pub(crate) fn decode_block(bytes: &[u8]) -> Result<Block, WireError> {
    let body: body::Block<'_> = read(bytes)?;
    let block = Block {
        log: body.log,
        first: body.first,
        prev: Link(body.prev),
        records: body.records.into_iter().map(<[u8]>::to_vec).collect(),
    };
    block.check()?;
    if block.link().0 != body.link {
        return Err(WireError::Link { log: block.log, first: block.first });
    }
    Ok(block)
}
