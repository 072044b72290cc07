//! The worked example of `sync/WIRE.md`, section 6: our encoder gives exactly its bytes, and a program that has none of our code
//! finds that it holds, and that a changed one does not.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{DAY, STORE, back, books, line, record, sale};
use std::path::Path;
use std::process::{Command, Output};
use sync_evidence::{CaptureWriter, DayTree, Leaf, Seal, SignedStatement, SigningKey};
use sync_model::{BusinessDay, LogId, StoreId, TenderKind, UnixMillis};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../WIRE.md");

fn example() -> Vec<(&'static str, Vec<u8>)> {
    let (store, hq) = (SigningKey::from_seed(&[0x11; 32]), SigningKey::from_seed(&[0x22; 32]));
    let records = vec![
        record(sale(
            1,
            DAY,
            TenderKind::Cash,
            vec![line(10, 1_000, 1_130, 1_300), line(20, 250, 1_090, 900)],
        )),
        record(sale(2, DAY, TenderKind::Card, vec![line(10, 2_000, 2_260, 1_300)])),
        record(back(1, DAY, TenderKind::Cash, vec![line(10, 1_000, 1_130, 1_300)])),
    ];
    let statement = books([(5, records.as_slice())]).statement(DAY);
    let end = statement.ends[0];
    let log: LogId = common::log(5);
    let seal = Seal::sign(&store, log, end.upto, end.link);
    let mut signed = SignedStatement::sign(statement, &store);
    signed.countersign(&hq).unwrap();
    let mut tree = DayTree::new(DAY);
    for other in [3, 7, 12] {
        let mut statement = signed.statement.clone();
        statement.store = StoreId(other);
        let key = if StoreId(other) == STORE { &store } else { &hq };
        assert!(tree.add(&SignedStatement::sign(statement, key)));
    }
    let root = tree.sign(&hq, None);
    let next = DayTree::new(BusinessDay(DAY.0 + 1)).sign(&hq, Some(&root));
    let (mut writer, mut capture) = CaptureWriter::begin();
    capture.extend(writer.frame(Leaf::Seal, STORE, UnixMillis(1_790_000_000_000), &seal.to_bytes()).unwrap());
    capture.extend(writer.end());
    vec![
        ("evidence-store-key", store.public().to_bytes().to_vec()),
        ("evidence-hq-key", hq.public().to_bytes().to_vec()),
        ("evidence-seal", seal.to_bytes()),
        ("evidence-statement", signed.to_bytes()),
        ("evidence-day-root", root.to_bytes()),
        ("evidence-next-day-root", next.to_bytes()),
        ("evidence-proof", tree.proof(STORE).unwrap().to_bytes()),
        ("evidence-capture", capture),
    ]
}

/// An item as the page shows it: 48 bytes a line.
fn shown(name: &str, bytes: &[u8]) -> String {
    let lines: Vec<String> =
        bytes.chunks(48).map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    format!("```hex {name}\n{}\n```\n", lines.join("\n"))
}

fn stranger(page: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stranger.py");
    Command::new("python3").arg(script).arg(page).output().unwrap()
}

#[test]
fn the_page_shows_our_bytes() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let items = example().into_iter().map(|(name, bytes)| shown(name, &bytes));
    let missing: String = items.filter(|item| !page.contains(item)).collect();
    assert!(missing.is_empty(), "WIRE.md should show:\n{missing}");
}

#[test]
fn a_stranger_finds_that_the_page_holds() {
    let out = stranger(Path::new(PAGE));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 4);
}

#[test]
fn a_stranger_finds_every_changed_item() {
    let dir = std::env::temp_dir().join(format!("sync-evidence-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let page = dir.join("changed.md");
    let items = example();
    // The last round changes nothing.
    for changed in 0..=items.len() {
        let mut text = String::new();
        for (number, (name, bytes)) in items.iter().enumerate() {
            let mut bytes = bytes.clone();
            if number == changed {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
            }
            text.push_str(&shown(name, &bytes));
        }
        std::fs::write(&page, text).unwrap();
        let holds = stranger(&page).status.success();
        assert_eq!(holds, changed == items.len(), "{:?}", items.get(changed).map(|item| item.0));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
