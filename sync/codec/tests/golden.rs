//! Frozen bytes: the examples of `sync/WIRE.md` are what this build writes and reads, and a Python script that knows only
//! that page agrees.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use sync_codec::{Dictionary, Level, decode_block, encode_block};
use sync_core::{Block, Link, Message};
use sync_model::{
    Audit, BusinessDay, ClockQuality, Currency, DeviceId, Direction, Epoch, EpochOpened, EpochReason, Event,
    Fact, FactRef, Grams, Kind, LogId, LotId, Milli, MilliCelsius, Minor, Sale, SaleLine, Seq, Sku, Stamp,
    StoreId, TemperatureMinute, Tender, TenderKind, Text, TillId, UnixMillis, Weighing,
};

const PAGE: &str = include_str!("../../WIRE.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn examples() -> BTreeMap<&'static str, String> {
    let mut parts = PAGE.split("```");
    let mut found = BTreeMap::new();
    parts.next();
    while let Some(fence) = parts.next() {
        if let Some((name, body)) = fence.strip_prefix("hex ").and_then(|rest| rest.split_once('\n')) {
            found.insert(name, body.split_whitespace().collect());
        }
        parts.next();
    }
    found
}

fn log() -> LogId {
    LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) }
}

fn line(sku: u64, quantity: i64, price: i64, weighing: Option<u64>) -> SaleLine {
    SaleLine {
        sku: Sku(sku),
        lot: LotId::default(),
        quantity: Milli(quantity),
        unit_price: Minor(price),
        discount: Minor(0),
        amount: sync_model::extend_price(Minor(price), Milli(quantity)).unwrap(),
        tax_rate: 900,
        weighing: weighing.map(|seq| FactRef { epoch: log().epoch, seq: Seq(seq) }),
        batch: None,
    }
}

fn sale() -> Sale {
    Sale {
        till: TillId(2),
        number: 412,
        day: BusinessDay(20_777),
        currency: Currency::CNY,
        lines: vec![line(10_417, 385, 2_980, Some(2)), line(12_008, 2_000, 599, None)],
        tenders: vec![Tender { kind: TenderKind::Wallet, amount: Minor(2_345) }],
    }
}

/// The records of the two example blocks.
fn day() -> Vec<Vec<u8>> {
    let at = 1_795_162_800_000;
    let facts: Vec<Fact> = vec![
        EpochOpened {
            direction: Direction::Up,
            reason: EpochReason::Provisioned,
            parent: None,
            software: Text::new("1.0.0").unwrap(),
        }
        .into(),
        Weighing {
            scale: DeviceId::new("scale-1").unwrap(),
            net: Grams(385),
            tare: Grams(0),
            interval: Grams(5),
            frame_hash: [1, 2, 3, 4, 5, 6, 7, 8],
        }
        .into(),
        sale().into(),
        TemperatureMinute {
            device: DeviceId::new("cabinet-1").unwrap(),
            minute: UnixMillis(at),
            low: Some(MilliCelsius(2_900)),
            mean: Some(MilliCelsius(2_950)),
            high: Some(MilliCelsius(3_012)),
            good: 6,
            bad: 0,
        }
        .into(),
        Fact::Unknown { kind: Kind(200), body: b"later".to_vec() },
    ];
    let mut records: Vec<Vec<u8>> =
        (0_i64..).zip(facts).map(|(step, fact)| record(at + step * 15_000, fact)).collect();
    records.push(b"\xff not a record".to_vec());
    records
}

fn texts() -> Vec<Vec<u8>> {
    (0..8_i64)
        .map(|number| {
            let detail =
                format!("configuration read again: line {number} of the store's file says something else");
            let audit = Audit {
                actor: Text::new("technician").unwrap(),
                action: Text::new("config-reload").unwrap(),
                detail: Text::new(detail).unwrap(),
            };
            record(1_795_162_900_000 + number, audit.into())
        })
        .collect()
}

fn record(at: i64, fact: Fact) -> Vec<u8> {
    Event::new(Stamp { at: UnixMillis(at), clock: ClockQuality::Synced }, fact).to_record().unwrap()
}

fn written() -> BTreeMap<&'static str, String> {
    let day = Block { log: log(), first: Seq(1), prev: Link::genesis(log()), records: day() };
    let texts = Block { log: log(), first: Seq(7), prev: day.link(), records: texts() };
    let seal = [0xA5; 64];
    BTreeMap::from([
        ("genesis", hex(&Link::genesis(log()).0)),
        ("record-sale", hex(&day.records[2])),
        ("block-v2-day", hex(&encode_block(&day, None, Level::Live).unwrap())),
        ("block-v2-texts", hex(&encode_block(&texts, Some(&seal), Level::Bulk).unwrap())),
        ("block-v1-day", hex(&Message::Block(day).encode())),
        ("block-v1-texts", hex(&Message::Block(texts).encode())),
    ])
}

#[test]
fn examples_are_what_this_build_writes() {
    let (examples, written) = (examples(), written());
    for (name, bytes) in &written {
        assert_eq!(examples.get(name), Some(bytes), "{name}");
    }
}

#[test]
fn examples_are_read() {
    for (name, records) in [("block-v2-day", day()), ("block-v2-texts", texts())] {
        let text = &written()[name];
        let digits: Vec<char> = text.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
        let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
        let packed = decode_block(&bytes).unwrap();
        assert_eq!(packed.records, records);
        assert_eq!(packed.seal.is_some(), name == "block-v2-texts");
    }
}

#[test]
fn the_shipped_dictionary_is_readable() {
    assert_eq!(Dictionary::shipped().number(), 1);
    let file = include_bytes!("../data/dictionary-1.bin");
    assert!(file.len() <= sync_codec::DICTIONARY_BYTES_MAX);
}
