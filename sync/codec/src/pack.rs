//! The records of a block to payload bytes and back.

use crate::dictionary::Dictionary;
use crate::number::{Number, unzigzag, zigzag};
use crate::range::{Coder, Decoder, Encoder};
use crate::row::{self, Frame, Reader, Row, push};
use crate::schema::Layout;
use crate::state::State;
use crate::walk::{Side, Walk};
use crate::{CodecError, Level, PACKED_BYTES_MAX, PACKED_RECORDS_MAX};
use sync_model::{LogId, RECORD_BYTES_MAX, Seq};

/// First four bytes of every zstd frame; they do not travel.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Bytes that are no record.
const RAW: u64 = 0;
/// A record whose body has no table or does not follow it.
const OPAQUE: u64 = 1;
/// First code of a layout.
const LAYOUT: u64 = 2;
const CODES_MAX: u64 = LAYOUT + 63;

/// Columns of the frame.
const CODE: u16 = 0;
const TIME: u16 = 2;
const CLOCK: u16 = 3;
const LENGTH: u16 = 4;
const KIND: u16 = 5;

/// A record in the form that is coded.
pub(crate) enum Item {
    Raw(Vec<u8>),
    Opaque { kind: u64, at: i64, clock: u64, body: Vec<u8> },
    Known { layout: &'static Layout, at: i64, clock: u64, row: Row },
}

/// What goes from record to record.
pub(crate) struct Progress {
    code: usize,
    at: i64,
    clock: i64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { code: 0, at: 0, clock: 0 }
    }
}

/// Takes a record apart; whatever would not come back byte for byte stays as it is.
pub(crate) fn take_apart(record: &[u8], state: &mut State<'_>) -> Item {
    let Some(frame) = Frame::parse(record) else { return Item::Raw(record.to_vec()) };
    let Frame { kind, at, clock, body } = frame;
    let layout = u16::try_from(kind).ok().and_then(Layout::of);
    if let Some(layout) = layout
        && let Some(row) = row::parse(layout, body, &mut state.pool)
    {
        let mut again = Vec::with_capacity(body.len());
        row::write(layout, &row, &state.pool, &mut again);
        if again == body {
            return Item::Known { layout, at, clock, row };
        }
    }
    Item::Opaque { kind, at, clock, body: body.to_vec() }
}

/// Codes one record. The decoder gives `None` and gets the record.
pub(crate) fn record<C: Coder>(
    walk: &mut Walk<'_, '_, C>,
    progress: &mut Progress,
    item: Option<Item>,
    budget: usize,
) -> Result<Vec<u8>, CodecError> {
    let code = match &item {
        None | Some(Item::Raw(_)) => RAW,
        Some(Item::Opaque { .. }) => OPAQUE,
        Some(Item::Known { layout, .. }) => LAYOUT + u64::from(layout.number),
    };
    let (kind, at, clock, row, bytes) = match item {
        None => (0, 0, 0, None, Vec::new()),
        Some(Item::Raw(bytes)) => (0, 0, 0, None, bytes),
        Some(Item::Opaque { kind, at, clock, body }) => (kind, at, clock, None, body),
        Some(Item::Known { at, clock, row, .. }) => (0, at, clock, Some(row), Vec::new()),
    };
    let code = number(walk, CODE, progress.code, 6, CODES_MAX, code)?;
    let situation = usize::try_from(code).unwrap_or(0);
    progress.code = situation;
    let longest = u64::try_from(RECORD_BYTES_MAX).unwrap_or(0);
    if code == RAW {
        let length = number(walk, LENGTH, 0, 3, longest, u64::try_from(bytes.len()).unwrap_or(0))?;
        return walk.side.bytes(&bytes, length);
    }
    let kind = if code == OPAQUE { number(walk, KIND, 0, 6, u16::MAX.into(), kind)? } else { kind };
    let step = number(walk, TIME, situation, 4, u64::MAX, zigzag(at.wrapping_sub(progress.at)))?;
    let at = progress.at.wrapping_add(unzigzag(step));
    let trust = zigzag(clock.cast_signed().wrapping_sub(progress.clock));
    let trust = number(walk, CLOCK, 0, 3, u64::MAX, trust)?;
    (progress.at, progress.clock) = (at, progress.clock.wrapping_add(unzigzag(trust)));
    let clock = progress.clock.cast_unsigned();
    if code == OPAQUE {
        let length = number(walk, LENGTH, 1, 3, longest, u64::try_from(bytes.len()).unwrap_or(0))?;
        let body = walk.side.bytes(&bytes, length)?;
        return Ok(Frame { kind, at, clock, body: &body }.write());
    }
    let layout = u16::try_from(code - LAYOUT).ok().and_then(Layout::kind);
    let (kind, layout) = layout.ok_or(CodecError::Range)?;
    walk.at = at;
    let row = walk.row(layout, row.unwrap_or_else(|| Row::empty(layout)), budget)?;
    let mut body = Vec::new();
    row::write(layout, &row, &walk.state.pool, &mut body);
    Ok(Frame { kind: kind.into(), at, clock, body: &body }.write())
}

fn number<C: Coder>(
    walk: &mut Walk<'_, '_, C>,
    column: u16,
    situation: usize,
    depth: u32,
    limit: u64,
    value: u64,
) -> Result<u64, CodecError> {
    let number: &mut Number = walk.state.number(column, situation, depth);
    number.code(walk.coder, limit, value)
}

/// Codes records and gives numbers and side bytes.
pub(crate) fn walk_records(
    state: &mut State<'_>,
    log: LogId,
    first: Seq,
    records: &[Vec<u8>],
) -> Result<(Vec<u8>, Vec<u8>), CodecError> {
    let mut coder = Encoder::new();
    let mut side = Side::Out(Vec::new());
    let mut progress = Progress::new();
    let mut seq = first;
    for bytes in records {
        let item = take_apart(bytes, state);
        let mut walk =
            Walk { coder: &mut coder, state: &mut *state, side: &mut side, epoch: log.epoch.0, seq, at: 0 };
        record(&mut walk, &mut progress, Some(item), PACKED_BYTES_MAX)?;
        seq = Seq(seq.0.wrapping_add(1));
    }
    let side = match side {
        Side::Out(bytes) | Side::In(bytes, _) => bytes,
    };
    Ok((coder.finish(), side))
}

/// The payload of codec 1.
pub(crate) fn pack(
    log: LogId,
    first: Seq,
    records: &[Vec<u8>],
    dictionary: &Dictionary,
    level: Level,
) -> Result<Vec<u8>, CodecError> {
    let mut state = State::new(dictionary);
    let (numbers, side) = walk_records(&mut state, log, first, records)?;
    let mut out = Vec::with_capacity(numbers.len() + side.len() + 16);
    let length = u64::try_from(side.len()).unwrap_or(u64::MAX);
    match squeeze(&side, dictionary, level) {
        Some(frame) => {
            push(&mut out, length << 1 | 1);
            push(&mut out, u64::try_from(frame.len()).unwrap_or(u64::MAX));
            out.extend_from_slice(&frame);
        }
        None => {
            push(&mut out, length << 1);
            out.extend_from_slice(&side);
        }
    }
    out.extend_from_slice(&numbers);
    Ok(out)
}

/// A zstd frame without its magic, when it is shorter than the bytes.
fn squeeze(side: &[u8], dictionary: &Dictionary, level: Level) -> Option<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::with_dictionary(level.zstd(), &dictionary.zstd).ok()?;
    compressor.include_contentsize(false).ok()?;
    compressor.include_checksum(false).ok()?;
    compressor.include_dictid(false).ok()?;
    let frame = compressor.compress(side).ok()?;
    let frame = frame.strip_prefix(&ZSTD_MAGIC)?;
    (frame.len() + 2 < side.len()).then(|| frame.to_vec())
}

/// The records of a payload of codec 1. `count` comes from the block's header.
pub(crate) fn unpack(
    log: LogId,
    first: Seq,
    count: usize,
    payload: &[u8],
    dictionary: &Dictionary,
) -> Result<Vec<Vec<u8>>, CodecError> {
    if count > PACKED_RECORDS_MAX {
        return Err(CodecError::Records(count));
    }
    let mut reader = Reader(payload);
    let side = read_side(&mut reader, dictionary)?;
    let mut coder = Decoder::new(reader.0);
    let mut state = State::new(dictionary);
    let mut side = Side::In(side, 0);
    let mut progress = Progress::new();
    let (mut records, mut budget, mut seq) = (Vec::new(), PACKED_BYTES_MAX, first);
    for _ in 0..count {
        let mut walk =
            Walk { coder: &mut coder, state: &mut state, side: &mut side, epoch: log.epoch.0, seq, at: 0 };
        let found = record(&mut walk, &mut progress, None, budget)?;
        if found.len() > RECORD_BYTES_MAX {
            return Err(CodecError::Record(found.len()));
        }
        budget = budget.checked_sub(found.len()).ok_or(CodecError::Bytes(PACKED_BYTES_MAX))?;
        records.push(found);
        seq = Seq(seq.0.wrapping_add(1));
    }
    let unused = match side {
        Side::In(bytes, used) => bytes.len() - used,
        Side::Out(_) => 0,
    };
    if unused + coder.rest() > 0 {
        return Err(CodecError::Trailing(unused + coder.rest()));
    }
    Ok(records)
}

fn read_side(reader: &mut Reader<'_>, dictionary: &Dictionary) -> Result<Vec<u8>, CodecError> {
    let head = reader.number().ok_or(CodecError::Side)?;
    let length = usize::try_from(head >> 1).map_err(|_| CodecError::Side)?;
    if length > PACKED_BYTES_MAX {
        return Err(CodecError::Bytes(length));
    }
    if head & 1 == 0 {
        return reader.bytes(length).map(<[u8]>::to_vec).ok_or(CodecError::Side);
    }
    let count = reader.number().and_then(|count| usize::try_from(count).ok()).ok_or(CodecError::Side)?;
    let frame = [&ZSTD_MAGIC, reader.bytes(count).ok_or(CodecError::Side)?].concat();
    let mut decompressor =
        zstd::bulk::Decompressor::with_dictionary(&dictionary.zstd).map_err(|_| CodecError::Zstd)?;
    let side = decompressor.decompress(&frame, length).map_err(|_| CodecError::Zstd)?;
    if side.len() == length { Ok(side) } else { Err(CodecError::Side) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Pool;
    use crate::schema::{KINDS, Wire};
    use crate::{decode_block, encode_block};
    use proptest::prelude::*;
    use sync_core::{Block, Link};
    use sync_model::{Direction, Epoch, StoreId};

    const LOG: LogId = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) };

    fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
        Frame { kind: kind.into(), at: 1_790_000_000_000, clock: 0, body }.write()
    }

    /// A message with a record of any length in columns.
    fn message(record: &[u8]) -> Vec<u8> {
        let (mut coder, mut side, mut state) =
            (Encoder::new(), Side::Out(Vec::new()), State::new(Dictionary::shipped()));
        let Frame { kind, at, clock, body } = Frame::parse(record).unwrap();
        let layout = Layout::of(u16::try_from(kind).unwrap()).unwrap();
        let row = row::parse(layout, body, &mut state.pool).unwrap();
        let item = Item::Known { layout, at, clock, row };
        let mut walk = Walk {
            coder: &mut coder,
            state: &mut state,
            side: &mut side,
            epoch: LOG.epoch.0,
            seq: Seq(1),
            at: 0,
        };
        super::record(&mut walk, &mut Progress::new(), Some(item), PACKED_BYTES_MAX).unwrap();
        let Side::Out(side) = side else { panic!() };
        let mut out = Vec::new();
        push(&mut out, LOG.store.0.into());
        out.push(LOG.direction.code());
        push(&mut out, LOG.epoch.0.into());
        out.extend([1, 1]);
        out.extend([0; 8 + 4]);
        out.extend([0, 1, 1]);
        push(&mut out, u64::try_from(side.len()).unwrap() << 1 | 1);
        let frame = squeeze(&side, Dictionary::shipped(), Level::Bulk).unwrap();
        push(&mut out, u64::try_from(frame.len()).unwrap());
        out.extend(frame);
        out.extend(coder.finish());
        out
    }

    #[test]
    fn a_text_named_thousands_of_times_takes_no_memory() {
        // Each line names a lot of 16,000 bytes again, at a fraction of a bit.
        let lot = vec![b'x'; 16_000];
        for (kind, lines, zeros) in [(5_u16, 4_096, 2), (8, 5_461, 1), (3, 1_820, 7)] {
            let mut body = Vec::new();
            match kind {
                5 => push(&mut body, 0),
                8 => push(&mut body, 2),
                _ => body.extend([1, 1, 0, 3, b'C', b'N', b'Y']),
            }
            push(&mut body, lines);
            for _ in 0..lines {
                push(&mut body, 4_711);
                push(&mut body, 16_000);
                body.extend(&lot);
                body.extend(vec![0; zeros]);
            }
            if kind == 3 {
                body.push(0);
            }
            let bytes = message(&framed(kind, &body));
            assert!(bytes.len() < 2_000, "{} bytes ask for {}", bytes.len(), body.len());
            match decode_block(&bytes) {
                Err(CodecError::Record(length)) => assert!(length < 3 * RECORD_BYTES_MAX, "{length}"),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Numbers that break arithmetic, few enough to meet again.
    const NUMBERS: [u64; 16] = [
        0,
        1,
        2,
        999,
        1_000,
        5_000,
        127,
        128,
        0xFFFF_FFFF,
        0x1_0000_0000,
        0x7FFF_FFFF_FFFF_FFFF,
        0x8000_0000_0000_0000,
        0x8000_0000_0000_0001,
        0xFFFF_FFFF_FFFF_FFFF,
        0xFFFF_FFFF_FFFF_FC18,
        1_790_000_000,
    ];

    /// Choices of a test run, used up from the front; zeros after the end.
    struct Choices<'a>(std::slice::Iter<'a, u8>);

    impl Choices<'_> {
        fn next(&mut self) -> usize {
            self.0.next().copied().unwrap_or(0).into()
        }
    }

    fn row(layout: &Layout, choices: &mut Choices<'_>, pool: &mut Pool) -> Row {
        let mut row = Row::empty(layout);
        let mut at = 0;
        while let Some((wire, _)) = layout.fields.get(at) {
            let choice = choices.next();
            let number = NUMBERS[choice % NUMBERS.len()];
            let value = match wire {
                Wire::U | Wire::I | Wire::Eight if choice < 250 => number,
                Wire::U | Wire::I | Wire::Eight => number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
                Wire::Text => pool.intern([&b""[..], b"a", b"L1", b"\xFF\x00", &[b'y'; 300]][choice % 5]),
                Wire::Option(_) => u64::from(choice % 2 == 1),
                Wire::List(inner) => {
                    let rows: Vec<Row> = (0..choice % 5).map(|_| self::row(inner, choices, pool)).collect();
                    let count = u64::try_from(rows.len()).unwrap();
                    row.lists.push((at, rows));
                    count
                }
            };
            row.slots[at] = value;
            at += match wire {
                Wire::Option(inner) if value == 0 => 1 + inner,
                _ => 1,
            };
        }
        row
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn every_kind_comes_back_whatever_its_numbers(
            choices in prop::collection::vec(any::<u8>(), 0..600),
            first in prop_oneof![1_u64..9, Just(u64::MAX / 2 + 1), Just(u64::MAX - 60)],
        ) {
            let mut pool = Pool::default();
            let mut from = Choices(choices.iter());
            let mut records = Vec::new();
            while from.0.len() > 0 && records.len() < 50 {
                let (kind, layout) = KINDS[from.next() % KINDS.len()];
                let row = row(layout, &mut from, &mut pool);
                let mut body = Vec::new();
                row::write(layout, &row, &pool, &mut body);
                let at = NUMBERS[from.next() % NUMBERS.len()].cast_signed();
                let clock = NUMBERS[from.next() % NUMBERS.len()];
                let record = Frame { kind: kind.into(), at, clock, body: &body }.write();
                let mut state = State::new(Dictionary::shipped());
                prop_assert!(matches!(take_apart(&record, &mut state), Item::Known { .. }), "kind {kind} has columns");
                records.push(record);
            }
            prop_assume!(!records.is_empty());
            let block = Block { log: LOG, first: Seq(first), prev: Link([9; 32]), records };
            // The columns, and what is sent: it may be the records as they are.
            let payload = pack(LOG, block.first, &block.records, Dictionary::shipped(), Level::Live).unwrap();
            let found = unpack(LOG, block.first, block.records.len(), &payload, Dictionary::shipped());
            prop_assert_eq!(found.as_ref(), Ok(&block.records));
            let sent = encode_block(&block, None, Level::Live).unwrap();
            prop_assert_eq!(&decode_block(&sent).unwrap().records, &block.records);
        }
    }
}
