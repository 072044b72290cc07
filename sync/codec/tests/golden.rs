//! Frozen bytes: the examples of `sync/WIRE.md` are what this build writes and reads, and a Python script that knows only
//! that page agrees.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::collections::BTreeMap;
use sync_codec::{Dictionary, Level, PACKED, decode_block, encode_block};
use sync_core::replica::Letter;
use sync_core::replica::wire2::Greeting;
use sync_core::{Ack, Block, Hello, Link, Message, Nak};
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

/// Every message that is no block, as both versions say it.
fn letters() -> Vec<(&'static str, Letter)> {
    let (text, detail) = (Text::lossy, Text::lossy);
    let down = LogId { direction: Direction::Down, ..log() };
    let older = LogId { epoch: Epoch(1_780_000_000), ..log() };
    let ack = Ack { log: log(), upto: Seq(300), link: Link([1; 32]), gap: None };
    let have = Ack { log: down, upto: Seq(40), link: Link([2; 32]), gap: None };
    let hello = |head, down, software| Hello { store: StoreId(7), head, down, software };
    let full = hello(Some((log(), Seq(305))), Some(have), Text::lossy("edge-agent 0.1.0"));
    let of = Some((log(), Seq(301), Seq(305)));
    vec![
        ("ack", Letter::Ack(ack)),
        ("ask", Letter::Ack(Ack { gap: Some((Seq(301), Seq(310))), ..ack })),
        ("hello", Letter::Hello(Greeting { hello: full, older: vec![(older, Seq(12_345))] })),
        (
            "hello-new",
            Letter::Hello(Greeting { hello: hello(None, None, Text::default()), older: Vec::new() }),
        ),
        ("nak", Letter::Nak(Nak { code: text("chain-break"), detail: detail("another history"), of })),
        ("nak-version", Letter::Nak(Nak { code: text("wire-version"), detail: Text::default(), of: None })),
    ]
}

/// What version 1 has no words for.
fn in_version(letter: &Letter, version: u8) -> Letter {
    match letter {
        Letter::Hello(greeting) if version == 1 => {
            Letter::Hello(Greeting { older: Vec::new(), ..greeting.clone() })
        }
        other => other.clone(),
    }
}

fn messages() -> BTreeMap<String, (Letter, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for (name, letter) in letters() {
        for version in [1, 2] {
            let bytes = letter.encode(version).unwrap();
            all.insert(format!("message-v{version}-{name}"), (in_version(&letter, version), bytes));
        }
    }
    let day = Block { log: log(), first: Seq(1), prev: Link::genesis(log()), records: day() };
    let next = Block { log: log(), first: Seq(7), prev: day.link(), records: day.records[1..3].to_vec() };
    let seal = [0xA5; 64];
    for (name, bytes) in [
        ("message-v2-block", Letter::block(&PACKED, 2, &day, None)),
        ("message-v2-live", Letter::live(&PACKED, 2, &next, Some(&seal))),
    ] {
        all.insert(name.to_owned(), (Letter::decode(&PACKED, &bytes).unwrap().0, bytes));
    }
    all
}

#[test]
fn messages_of_both_versions_are_frozen() {
    let examples = examples();
    for (name, (letter, bytes)) in messages() {
        assert_eq!(examples.get(name.as_str()), Some(&hex(&bytes)), "{name}");
        let (read, versions) = Letter::decode(&PACKED, &bytes).unwrap();
        assert_eq!(read, letter, "{name}");
        let says = name.starts_with("message-v2-ack") || name.starts_with("message-v2-ask");
        let says = says || name.contains("-hello");
        assert_eq!(
            versions.is_some(),
            says,
            "{name}: who greets or acknowledges in version 2 names its versions"
        );
    }
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
