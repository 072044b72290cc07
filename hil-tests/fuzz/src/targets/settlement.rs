//! Targets of settlement: what a peer, a broker or a file says.

use super::choice;
use sync_codec::{
    Dictionary, Level, PACKED, PACKED_BYTES_MAX, PACKED_RECORDS_MAX, decode_block, encode_block,
};
use sync_core::replica::{BlockCodec, Letter};
use sync_core::{Ack, Block, Hello, Link, Message, MoneyAccount, Nak};
use sync_evidence::{
    Capture, CaptureWriter, Leaf, LogEnd, MoneyTotal, Seal, SignedStatement, SigningKey, SkuTotal, Statement,
    TaxTotal, Tickets,
};
use sync_model::{
    Audit, BusinessDay, ClockJumped, ClockQuality, Currency, Direction, Epoch, EpochOpened, EpochReason,
    Event, FactRef, Kind, LogId, Milli, Minor, Seq, Sku, Stamp, StoreId, Text, UnixMillis,
};

const LOG: LogId = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) };

fn events() -> Vec<Event> {
    let stamp = Stamp { at: UnixMillis(1_790_000_000_123), clock: ClockQuality::Synced };
    vec![
        Event::new(
            stamp,
            EpochOpened {
                direction: Direction::Up,
                reason: EpochReason::Provisioned,
                parent: None,
                software: Text::lossy("edge-agent 0.1.0"),
            },
        ),
        Event::new(stamp, ClockJumped { by_ms: -3_600_000 }),
        Event::new(
            stamp,
            Audit {
                actor: Text::lossy("edge-agent"),
                action: Text::lossy("config-reload"),
                detail: Text::lossy("nothing changed"),
            },
        ),
    ]
}

fn records() -> Vec<Vec<u8>> {
    events().iter().filter_map(|event| event.to_record().ok()).collect()
}

fn block() -> Block {
    Block { log: LOG, first: Seq(1), prev: Link::genesis(LOG), records: records() }
}

pub(crate) fn record(bytes: &[u8]) {
    if let Ok(event) = Event::from_record(bytes) {
        let again = event.to_record().unwrap_or_else(|error| panic!("written again: {error}"));
        assert_eq!(Event::from_record(&again), Ok(event));
    }
}

pub(crate) fn record_seeds() -> Vec<Vec<u8>> {
    records()
}

pub(crate) fn message(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    }
}

fn messages() -> Vec<Message> {
    let ack = Ack { log: LOG, upto: Seq(3), link: Link([9; 32]), gap: Some((Seq(4), Seq(9))) };
    vec![
        Message::Block(block()),
        Message::Ack(ack),
        Message::Hello(Hello {
            store: StoreId(7),
            head: None,
            down: Some(ack),
            software: Text::lossy("edge-agent"),
        }),
        Message::Nak(Nak {
            code: Text::lossy("undecodable"),
            detail: Text::lossy("why"),
            of: Some((LOG, Seq(3), Seq(4))),
        }),
    ]
}

pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    messages().iter().map(Message::encode).collect()
}

/// The first byte: with packed blocks, or without.
pub(crate) fn letter(bytes: &[u8]) {
    let (pick, bytes) = choice(bytes);
    let codec = if pick & 1 == 0 { &PACKED } else { &BlockCodec::PLAIN };
    if let Ok((letter, _)) = Letter::decode(codec, bytes)
        && let Some(again) = letter.encode(2)
    {
        assert_eq!(Letter::decode(codec, &again).map(|(letter, _)| letter), Ok(letter));
    }
}

pub(crate) fn letter_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for message in messages() {
        let first = message.encode();
        if let Ok((letter, _)) = Letter::decode(&PACKED, &first) {
            seeds.extend(letter.encode(2));
        }
        seeds.push(first);
    }
    seeds.push(Letter::block(&PACKED, 2, &block(), None));
    seeds.push(Letter::live(&PACKED, 2, &block(), Some(&[7; 64])));
    seeds.into_iter().map(|seed| [&[0], &seed[..]].concat()).collect()
}

pub(crate) fn packed(bytes: &[u8]) {
    if let Ok(packed) = decode_block(bytes) {
        assert!(packed.records.len() <= PACKED_RECORDS_MAX);
        assert!(packed.records.iter().map(Vec::len).sum::<usize>() <= PACKED_BYTES_MAX);
        let mut prev = [0; 32];
        prev[..8].copy_from_slice(&packed.prev);
        let (seal, records) = (packed.seal, packed.records.clone());
        let block = packed.into_block(Link(prev)).unwrap_or_else(|error| panic!("its own link: {error}"));
        let again =
            encode_block(&block, seal.as_ref(), Level::Live).unwrap_or_else(|error| panic!("again: {error}"));
        assert_eq!(decode_block(&again).map(|packed| packed.records), Ok(records));
    }
}

pub(crate) fn packed_seeds() -> Vec<Vec<u8>> {
    let many = Block { records: records().into_iter().cycle().take(60).collect(), ..block() };
    [(block(), None), (block(), Some([3; 64])), (many, None)]
        .iter()
        .filter_map(|(block, seal)| encode_block(block, seal.as_ref(), Level::Bulk).ok())
        .collect()
}

pub(crate) fn dictionary(bytes: &[u8]) {
    if let Ok(dictionary) = Dictionary::parse(bytes) {
        dictionary.number();
    }
}

pub(crate) fn dictionary_seeds() -> Vec<Vec<u8>> {
    let shipped = include_bytes!("../../../../sync/codec/data/dictionary-1.bin");
    vec![shipped.to_vec(), shipped.iter().copied().take(600).collect()]
}

/// The canonical form is the only one: what is read is written back byte for byte.
pub(crate) fn statement(bytes: &[u8]) {
    if let Ok(statement) = Statement::from_bytes(bytes) {
        assert_eq!(statement.to_bytes(), bytes);
    }
    if let Ok(signed) = SignedStatement::from_bytes(bytes) {
        assert_eq!(signed.to_bytes(), bytes);
    }
}

pub(crate) fn statement_seeds() -> Vec<Vec<u8>> {
    let place = |seq| FactRef { epoch: LOG.epoch, seq: Seq(seq) };
    let eur = Currency::new("EUR").expect("a currency code");
    let statement = Statement {
        store: StoreId(7),
        day: BusinessDay(20_700),
        ends: vec![LogEnd { epoch: LOG.epoch, upto: Seq(9), link: Link([4; 32]) }],
        tally: vec![(Kind(1), 1), (Kind(16), 2)],
        tickets: Tickets { sales: 2, returns: 0, lines: 3, span: Some((place(2), place(5))) },
        money: MoneyAccount::from_code(0)
            .map(|account| MoneyTotal { currency: eur, account, amount: Minor(350) })
            .into_iter()
            .collect(),
        taxes: vec![TaxTotal { currency: eur, rate: 700, gross: Minor(350), tax: Minor(23) }],
        skus: vec![SkuTotal {
            currency: eur,
            sku: Sku(1_001),
            sold: Milli(2_000),
            returned: Milli(0),
            charged: Minor(350),
            refunded: Minor(0),
            discount: Minor(0),
        }],
    };
    let signed = SignedStatement { statement: statement.clone(), store: Some([1; 64]), hq: Some([2; 64]) };
    let half = SignedStatement { hq: None, ..signed.clone() };
    vec![statement.to_bytes(), signed.to_bytes(), half.to_bytes()]
}

pub(crate) fn seal(bytes: &[u8]) {
    if let Ok(seal) = Seal::from_bytes(bytes) {
        assert_eq!(seal.to_bytes(), bytes);
    }
}

pub(crate) fn seal_seeds() -> Vec<Vec<u8>> {
    vec![Seal::sign(&SigningKey::from_seed(&[1; 32]), LOG, Seq(4_711), Link([9; 32])).to_bytes()]
}

/// Frames before a damage are kept, and each is a piece of the file.
pub(crate) fn capture(bytes: &[u8]) {
    let capture = Capture::read(bytes);
    let total: usize = capture.frames.iter().map(|frame| frame.payload.len()).sum();
    assert!(total <= bytes.len());
    if capture.whole.is_ok() {
        let (mut writer, mut again) = CaptureWriter::begin();
        for frame in &capture.frames {
            again.extend(writer.frame(frame.leaf, frame.store, frame.at, frame.payload).unwrap_or_default());
        }
        again.extend(writer.end());
        assert_eq!(again, bytes);
    }
}

pub(crate) fn capture_seeds() -> Vec<Vec<u8>> {
    let (mut writer, mut file) = CaptureWriter::begin();
    for (leaf, payload) in Leaf::ALL.into_iter().zip([&b"first"[..], b"", b"third"]) {
        file.extend(writer.frame(leaf, StoreId(7), UnixMillis(5), payload).unwrap_or_default());
    }
    file.extend(writer.end());
    vec![file]
}
