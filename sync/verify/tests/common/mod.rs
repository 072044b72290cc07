//! Fixtures: ledgers with trade in them, captures of what they would send, and the program under test.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "one module shared by several test binaries")]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use sync_core::{Ack, Block, Message};
use sync_evidence::{CaptureWriter, Leaf, PublicKey, Seal, SigningKey};
use sync_model::{
    BusinessDay, ClockQuality, Currency, Event, Fact, LogId, LotId, Milli, Minor, Receipt, ReceiptLine,
    Return, Sale, SaleLine, Seq, Sku, Stamp, StoreId, Tender, TenderKind, Text, TillId, UnixMillis,
};
use sync_store::{Ledger, LedgerConfig, Owner, Reader};

pub const STORE: StoreId = StoreId(7);
pub const DAY: BusinessDay = BusinessDay(20_717);

pub fn stamp(at: i64) -> Stamp {
    Stamp { at: UnixMillis(1_790_000_000_000 + at), clock: ClockQuality::Synced }
}

pub fn open(path: &Path, owner: Owner) -> Ledger {
    let software = Text::new("test 1").unwrap();
    let config = LedgerConfig { path: path.to_owned(), owner, max_bytes: None, software, queue: 64 };
    Ledger::open(config, stamp(0)).unwrap().0
}

pub fn line(sku: u64, quantity: i64, amount: i64, tax_rate: u16) -> SaleLine {
    SaleLine {
        sku: Sku(sku),
        lot: LotId::default(),
        quantity: Milli(quantity),
        unit_price: Minor(amount),
        discount: Minor(0),
        amount: Minor(amount),
        tax_rate,
        weighing: None,
        batch: None,
    }
}

pub fn sale(number: u64, day: BusinessDay, kind: TenderKind, lines: Vec<SaleLine>) -> Sale {
    let amount = Minor(lines.iter().map(|line| line.amount.0).sum());
    let tenders = vec![Tender { kind, amount }];
    Sale { till: TillId(1), number, day, currency: Currency::CNY, lines, tenders }
}

pub fn back(number: u64, day: BusinessDay, kind: TenderKind, lines: Vec<SaleLine>) -> Return {
    let Sale { till, number, day, currency, lines, tenders } = sale(number, day, kind, lines);
    Return { till, number, day, of: None, currency, lines, tenders }
}

pub fn event(fact: impl Into<Fact>) -> Event {
    Event::new(stamp(1), fact)
}

/// A store's ledger with a delivery and two days of trade; closed.
pub fn store_ledger(path: &Path) {
    let ledger = open(path, Owner::Store(STORE));
    let line_in = ReceiptLine {
        sku: Sku(10),
        lot: LotId::new("L1").unwrap(),
        quantity: Milli(50_000),
        unit_cost: Minor(50),
    };
    let receipt = Receipt { reference: Text::new("note 1").unwrap(), lines: vec![line_in] };
    ledger.call(move |draft| draft.append(&event(receipt))).unwrap();
    for number in 1_u64..=90 {
        let day = BusinessDay(DAY.0 + i32::from(number > 60));
        let kind = if number.is_multiple_of(3) { TenderKind::Card } else { TenderKind::Cash };
        let cents = i64::try_from(number).unwrap();
        let lines = vec![line(10 + number % 7, 1_000, 100 + cents, 1_300), line(30, 250, 55, 900)];
        ledger.call(move |draft| draft.append(&event(sale(number, day, kind, lines)))).unwrap();
    }
    let goods = vec![line(11, 1_000, 101, 1_300)];
    ledger.call(move |draft| draft.append(&event(back(1, DAY, TenderKind::Cash, goods)))).unwrap();
}

/// Everything of a log in blocks of at most `records`.
pub fn blocks(path: &Path, log: LogId, records: usize) -> Vec<Block> {
    let reader = Reader::open(path).unwrap();
    let mut blocks = Vec::new();
    let mut next = Seq(1);
    while let Some(block) = reader.block(log, next, records, 1 << 20).unwrap() {
        next = block.last().next();
        blocks.push(block);
    }
    blocks
}

pub fn up_log(path: &Path) -> LogId {
    Reader::open(path).unwrap().heads().unwrap().first().unwrap().log
}

pub fn ack(block: &Block) -> Ack {
    Ack { log: block.log, upto: block.last(), link: block.link(), gap: None }
}

pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub fn seal(block: &Block, key: &SigningKey) -> Seal {
    Seal::sign(key, block.log, block.last(), block.link())
}

pub fn hex(key: PublicKey) -> String {
    key.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A capture file of these messages.
pub fn capture(frames: &[(Leaf, Vec<u8>)]) -> Vec<u8> {
    let (mut writer, mut bytes) = CaptureWriter::begin();
    for (leaf, payload) in frames {
        bytes.extend(writer.frame(*leaf, STORE, UnixMillis(5), payload).unwrap());
    }
    bytes.extend(writer.end());
    bytes
}

pub fn message(block: &Block) -> (Leaf, Vec<u8>) {
    (Leaf::Up, Message::Block(block.clone()).encode())
}

/// Writes a file and says where.
pub fn file(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Runs the program with `--json`; returns exit code and report.
pub fn verify(arguments: &[&str]) -> (i32, Value) {
    let out = Command::new(env!("CARGO_BIN_EXE_sync-verify")).arg("--json").args(arguments).output().unwrap();
    assert!(!String::from_utf8_lossy(&out.stderr).contains("panicked"), "{arguments:?}");
    let report = serde_json::from_slice(&out.stdout).unwrap_or(Value::Null);
    (out.status.code().unwrap(), report)
}

/// Names of the findings, in order, without repeats.
pub fn names(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> =
        findings.iter().map(|finding| finding["name"].as_str().unwrap().to_owned()).collect();
    names.dedup();
    names
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
