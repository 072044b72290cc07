//! Compact form of blocks: each field of each event kind is a column with its own statistics.
//!
//! Purpose: [`encode_block`] and [`decode_block`] are the body of a version 2 block message (`sync/WIRE.md`). Numbers are
//! predicted from what came before (the article's price, price times quantity, the till's last number, the probe's last
//! mean) and the differences are coded with adaptive probabilities that begin where the shipped dictionary says; new texts
//! and records that are none go through zstd with the dictionary's texts.
//!
//! Contract
//! * Lossless: any records come back byte for byte. What does not follow its kind's table travels as bytes.
//! * Decoding never panics, does work and holds memory in proportion to [`PACKED_BYTES_MAX`] and [`PACKED_RECORDS_MAX`] at
//!   most, and refuses unused input.
//! * A block that decodes has the records that were packed: it carries a checksum over them, their log and positions.
//!   That it continues the receiver's chain is what [`Packed::into_block`] looks at.
//! * Tables, predictions and dictionaries are frozen by `tests/golden.rs`; a change is a new codec or dictionary number.
//!
//! Why not columns through zstd alone: one Huffman table for columns of different shape, whole bits per symbol and table
//! headers cost more than the data of a block of 20 events. Own crate because zstd is C code and needs std.

mod articles;
mod dictionary;
mod number;
mod pack;
mod range;
mod row;
mod schema;
mod state;
#[cfg(feature = "train")]
mod train;
mod walk;

pub use dictionary::{DICTIONARY_BYTES_MAX, Dictionary};
#[cfg(feature = "train")]
pub use train::train;

use row::{Reader, push};
use sync_core::replica::{BlockCodec, Incoming, Prev};
use sync_core::{Block, BlockError, Link};
use sync_model::{Direction, Epoch, LogId, RECORD_BYTES_MAX, Seq, StoreId};

/// Most records in one packed block.
pub const PACKED_RECORDS_MAX: usize = 4096;
/// Most bytes that the records of one packed block have when unpacked.
pub const PACKED_BYTES_MAX: usize = 512 * 1024;
/// Longest packed block: records as they are, three bytes of length each, and the fixed fields.
pub const PACKED_MESSAGE_MAX: usize = PACKED_BYTES_MAX + 3 * PACKED_RECORDS_MAX + 256;

/// Codec number of records as they are.
const PLAIN: u8 = 0;
/// Codec number of the columns of this crate.
const COLUMNS: u8 = 1;

/// How much time the texts are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// A few events that somebody waits for.
    Live,
    /// A backlog on a narrow link.
    Bulk,
}

impl Level {
    fn zstd(self) -> i32 {
        match self {
            Self::Live => 3,
            Self::Bulk => 19,
        }
    }
}

/// Most records of a block that counts as live.
const LIVE_RECORDS_MAX: usize = 64;

/// Wire version 2 for the replica: packed blocks. Version 1 stays plain.
pub const PACKED: BlockCodec = BlockCodec { current: 2, encode: encode_version, decode: decode_version };

fn encode_version(version: u8, block: &Block, seal: Option<&[u8; 64]>) -> Option<Vec<u8>> {
    let level = if block.records.len() <= LIVE_RECORDS_MAX { Level::Live } else { Level::Bulk };
    (version == 2).then(|| encode_block(block, seal, level).ok()).flatten()
}

fn decode_version(version: u8, body: &[u8]) -> Result<Incoming, String> {
    if version != 2 {
        return Err(format!("wire version {version} has no packed blocks"));
    }
    let packed = decode_block(body).map_err(|error| error.to_string())?;
    let Packed { log, first, prev, seal, records } = packed;
    Ok(Incoming { log, first, prev: Prev::Short(prev), records, seal })
}

/// Why bytes are not a packed block, or records cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than any packed block.
    #[error("packed block has {0} bytes, at most {PACKED_MESSAGE_MAX} are allowed")]
    TooLong(usize),
    /// The fields before the payload are damaged or cut off.
    #[error("fields before the payload do not decode")]
    Header,
    /// A codec of a newer build.
    #[error("codec {0}, this build knows {PLAIN} and {COLUMNS}")]
    Codec(u8),
    /// A dictionary that this build does not have.
    #[error("dictionary {0} is unknown")]
    Dictionary(u32),
    /// Not a dictionary file.
    #[error("dictionary file is damaged, too long or of another format")]
    DictionaryFile,
    /// No records, or too many.
    #[error("packed block has {0} records, 1 to {PACKED_RECORDS_MAX} are allowed")]
    Records(usize),
    /// Too many bytes of records.
    #[error("records have {0} bytes or more, at most {PACKED_BYTES_MAX} are allowed")]
    Bytes(usize),
    /// One record too long.
    #[error("record has {0} bytes, at most {RECORD_BYTES_MAX} are allowed")]
    Record(usize),
    /// A number outside its range.
    #[error("payload has a number outside its range")]
    Range,
    /// The texts are shorter than the numbers say.
    #[error("payload has fewer bytes beside the numbers than they need")]
    Side,
    /// The texts do not decompress.
    #[error("texts of the payload do not decompress")]
    Zstd,
    /// Input that nothing needed.
    #[error("payload has {0} bytes too many")]
    Trailing(usize),
    /// The block begins elsewhere: another chain than the receiver's.
    #[error("block of {log} from {first} does not continue the receiver's chain")]
    Prev {
        /// The log.
        log: LogId,
        /// Its first position.
        first: Seq,
    },
    /// The records are not the ones the sender packed.
    #[error("block of {log} from {first}: records do not match the checksum it carries")]
    Check {
        /// The log.
        log: LogId,
        /// Its first position.
        first: Seq,
    },
    /// A bound that every block keeps.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// A packed block that was read: the records, and as much of the chain as travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The log.
    pub log: LogId,
    /// Position of the first record.
    pub first: Seq,
    /// First bytes of the link before the first record.
    pub prev: [u8; 8],
    /// Signature over (log, last position, link), when the sender sealed here.
    pub seal: Option<[u8; 64]>,
    /// The records.
    pub records: Vec<Vec<u8>>,
}

impl Packed {
    /// The block, for a receiver that has the link before its first record.
    pub fn into_block(self, prev: Link) -> Result<Block, CodecError> {
        let Self { log, first, .. } = self;
        if prev.0.first_chunk() != Some(&self.prev) {
            return Err(CodecError::Prev { log, first });
        }
        Ok(Block { log, first, prev, records: self.records })
    }
}

/// What the message carries against damage: the first bytes of the link after the last record, when the chain begins at
/// the eight bytes of the link before that travel.
fn checksum(log: LogId, first: Seq, prev: [u8; 8], records: &[Vec<u8>]) -> [u8; 4] {
    let mut start = [0; 32];
    start[..8].copy_from_slice(&prev);
    let (mut link, mut seq) = (Link(start), first);
    for record in records {
        link = link.next(log, seq, record);
        seq = Seq(seq.0.saturating_add(1));
    }
    let [a, b, c, d, ..] = link.0;
    [a, b, c, d]
}

/// The body of a version 2 block message, with the shipped dictionary.
pub fn encode_block(block: &Block, seal: Option<&[u8; 64]>, level: Level) -> Result<Vec<u8>, CodecError> {
    encode_block_with(block, seal, level, Dictionary::shipped())
}

/// As [`encode_block`], with another dictionary that the receiver has.
pub fn encode_block_with(
    block: &Block,
    seal: Option<&[u8; 64]>,
    level: Level,
    dictionary: &Dictionary,
) -> Result<Vec<u8>, CodecError> {
    check(block.first, &block.records)?;
    let mut out = Vec::new();
    push(&mut out, block.log.store.0.into());
    out.push(block.log.direction.code());
    push(&mut out, block.log.epoch.0.into());
    push(&mut out, block.first.0);
    push(&mut out, u64::try_from(block.records.len()).unwrap_or(u64::MAX));
    let prev = *block.prev.0.first_chunk().expect("a link has 32 bytes");
    out.extend(prev);
    out.extend(checksum(block.log, block.first, prev, &block.records));
    out.push(u8::from(seal.is_some()));
    out.extend(seal.into_iter().flatten());
    let packed = pack::pack(block.log, block.first, &block.records, dictionary, level)?;
    let plain: usize = block.records.iter().map(|record| record.len() + 3).sum();
    if packed.len() < plain {
        out.push(COLUMNS);
        push(&mut out, dictionary.number().into());
        out.extend(packed);
    } else {
        out.push(PLAIN);
        for record in &block.records {
            push(&mut out, u64::try_from(record.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(record);
        }
    }
    Ok(out)
}

/// Reads the body of a version 2 block message.
pub fn decode_block(bytes: &[u8]) -> Result<Packed, CodecError> {
    if bytes.len() > PACKED_MESSAGE_MAX {
        return Err(CodecError::TooLong(bytes.len()));
    }
    let mut reader = Reader(bytes);
    let (log, first, count) = read_header(&mut reader).ok_or(CodecError::Header)?;
    if count == 0 || count > PACKED_RECORDS_MAX {
        return Err(CodecError::Records(count));
    }
    let (prev, sum, seal) = read_chain(&mut reader).ok_or(CodecError::Header)?;
    let records = match reader.bytes(1) {
        Some([PLAIN]) => read_plain(&mut reader, count)?,
        Some([COLUMNS]) => {
            let number = reader.number().and_then(|number| u32::try_from(number).ok());
            let dictionary = Dictionary::with_number(number.ok_or(CodecError::Header)?)?;
            pack::unpack(log, first, count, reader.0, dictionary)?
        }
        Some([codec, ..]) => return Err(CodecError::Codec(*codec)),
        _ => return Err(CodecError::Header),
    };
    check(first, &records)?;
    if checksum(log, first, prev, &records) != sum {
        return Err(CodecError::Check { log, first });
    }
    Ok(Packed { log, first, prev, seal, records })
}

fn check(first: Seq, records: &[Vec<u8>]) -> Result<(), CodecError> {
    if records.is_empty() || records.len() > PACKED_RECORDS_MAX {
        return Err(CodecError::Records(records.len()));
    }
    let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
    if first.0 == 0 || first.0.checked_add(count).is_none() {
        return Err(CodecError::Block(BlockError::Position(first.0)));
    }
    if let Some(record) = records.iter().find(|record| record.len() > RECORD_BYTES_MAX) {
        return Err(CodecError::Record(record.len()));
    }
    let bytes = records.iter().fold(0_usize, |sum, record| sum.saturating_add(record.len()));
    if bytes > PACKED_BYTES_MAX { Err(CodecError::Bytes(bytes)) } else { Ok(()) }
}

fn read_header(reader: &mut Reader<'_>) -> Option<(LogId, Seq, usize)> {
    let store = StoreId(u32::try_from(reader.number()?).ok()?);
    let direction = match reader.bytes(1)? {
        [code] => Direction::from_code(*code)?,
        _ => return None,
    };
    let epoch = Epoch(u32::try_from(reader.number()?).ok()?);
    let first = Seq(reader.number()?);
    let count = usize::try_from(reader.number()?).ok()?;
    Some((LogId { store, direction, epoch }, first, count))
}

/// Link before, checksum, seal.
type Chain = ([u8; 8], [u8; 4], Option<[u8; 64]>);

fn read_chain(reader: &mut Reader<'_>) -> Option<Chain> {
    let prev = reader.bytes(8)?.try_into().ok()?;
    let sum = reader.bytes(4)?.try_into().ok()?;
    let seal = match reader.bytes(1)? {
        [0] => None,
        [1] => Some(reader.bytes(64)?.try_into().ok()?),
        _ => return None,
    };
    Some((prev, sum, seal))
}

fn read_plain(reader: &mut Reader<'_>, count: usize) -> Result<Vec<Vec<u8>>, CodecError> {
    let mut records = Vec::new();
    for _ in 0..count {
        let length = reader.number().and_then(|length| usize::try_from(length).ok());
        let record = length.and_then(|length| reader.bytes(length)).ok_or(CodecError::Header)?;
        records.push(record.to_vec());
    }
    if reader.0.is_empty() { Ok(records) } else { Err(CodecError::Trailing(reader.0.len())) }
}
