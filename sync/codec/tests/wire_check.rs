//! A Python script that knows only `sync/WIRE.md` reads its examples and blocks of a generated store.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hil_rig::python::Venv;
use hil_workload::{Catalogue, Mix, Profile, Workload};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use sync_codec::{Level, encode_block};
use sync_core::{Block, Link, Message};
use sync_model::{
    AlarmAcknowledged, AlarmShelved, Article, ArticlesSet, ClockJumped, ClockQuality, Count, DeviceClass,
    DeviceId, DeviceLost, Direction, Epoch, Event, Fact, FactRef, LogId, LotId, Milli, Minor, Receipt,
    ReceiptLine, ReservationClosed, ReservationOpened, ReservationOutcome, Return, Seq, Sku, Stamp,
    StockUnit, StoreId, Tender, TenderKind, Text, TransferIn, TransferLine, TransferOut, UnixMillis, Waste,
    WasteReason,
};

fn log() -> LogId {
    LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) }
}

fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).unwrap()
}

fn article(sku: Sku) -> Article {
    Article {
        sku,
        version: 3,
        name: text("plums"),
        unit: StockUnit::Kilogram,
        price: Minor(-5),
        tax_rate: 900,
        effective: UnixMillis(i64::MIN),
        safety: Milli(i64::MAX),
        active: true,
    }
}

/// The kinds that the generator does not write.
fn rare(records: &[Vec<u8>]) -> Vec<Fact> {
    let of = FactRef { epoch: log().epoch, seq: Seq(3) };
    let (sku, lot) = (Sku(10_500), LotId::new("L7").unwrap());
    let sale = records.iter().find_map(|record| match Event::from_record(record).unwrap().fact {
        Fact::Sale(sale) => Some(sale),
        _ => None,
    });
    let sale = sale.unwrap();
    let moved = vec![TransferLine { sku, lot: lot.clone(), quantity: Milli(1_234) }];
    let total = sale.lines.iter().map(|line| line.amount.0).sum();
    let tenders = vec![Tender { kind: TenderKind::Cash, amount: Minor(total) }];
    vec![
        Return {
            till: sale.till,
            number: 1,
            day: sale.day,
            of: Some(of),
            currency: sale.currency,
            lines: sale.lines,
            tenders,
        }
        .into(),
        Receipt {
            reference: text("note 1"),
            lines: vec![
                ReceiptLine { sku, lot: lot.clone(), quantity: Milli(24_000), unit_cost: Minor(333) };
                2
            ],
        }
        .into(),
        Waste { sku, lot: lot.clone(), quantity: Milli(7), reason: WasteReason::Damaged, batch: Some(of) }
            .into(),
        Count { sku, lot, section: text("shelf 4"), counted: Milli(-1), book: Milli(5_000), by: text("ann") }
            .into(),
        TransferOut { to: StoreId(8), lines: moved.clone() }.into(),
        TransferIn { from: StoreId(8), of, lines: moved }.into(),
        AlarmAcknowledged { alarm: of, by: text("ann") }.into(),
        AlarmShelved { alarm: of, until: UnixMillis(1_790_000_900_000), by: text("ben") }.into(),
        DeviceLost {
            device: DeviceId::new("tag-9").unwrap(),
            class: DeviceClass::Tag,
            reason: text("silent"),
        }
        .into(),
        ReservationOpened {
            sku,
            quantity: Milli(2_000),
            channel: text("web"),
            reference: text("o-1"),
            expires: UnixMillis(1_790_000_900_000),
        }
        .into(),
        ReservationClosed {
            reservation: of,
            sku,
            quantity: Milli(2_000),
            outcome: ReservationOutcome::Posted,
        }
        .into(),
        ClockJumped { by_ms: i64::MIN }.into(),
        ArticlesSet { articles: vec![article(sku); 2] }.into(),
    ]
}

fn page() -> String {
    let profile = Profile { cabinets: 3, tickets: 9_000, ..Profile::SMALL };
    let workload = Workload::new(11, Catalogue::new(1, 8_000), profile, Mix::Store, log().epoch);
    let mut records: Vec<Vec<u8>> =
        workload.skip(1_240).take(360).map(|event| event.to_record().unwrap()).collect();
    let stamp = Stamp { at: UnixMillis(1_790_000_000_000), clock: ClockQuality::Unsynced };
    records.extend(rare(&records).into_iter().map(|fact| Event::new(stamp, fact).to_record().unwrap()));
    let block = Block { log: log(), first: Seq(1_241), prev: Link([3; 32]), records };
    let packed = encode_block(&block, None, Level::Bulk).unwrap();
    let plain = Message::Block(block).encode();
    let mut page = String::new();
    for (name, bytes) in [("block-v1-store", plain), ("block-v2-store", packed)] {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(page, "```hex {name}\n{hex}\n```").unwrap();
    }
    page
}

#[test]
fn a_stranger_reads_the_wire() {
    let python = Venv::for_checks().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let further = folder.path().join("store.md");
    std::fs::write(&further, page()).unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(python.python())
        .arg(here.join("tests/wire_check.py"))
        .arg(here.join("../WIRE.md"))
        .arg(here.join("data/dictionary-1.bin"))
        .arg(&further)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("ok\n") && said.contains("block-v1-store"), "{said}");
}
