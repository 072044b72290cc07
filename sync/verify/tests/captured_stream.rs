//! Captured streams: in any order, repeated, with gaps, forged, damaged.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{
    STORE, ack, blocks, capture, file, hex, key, message, names, seal, store_ledger, text, up_log, verify,
};
use std::path::PathBuf;
use sync_codec::PACKED;
use sync_core::replica::Letter;
use sync_core::{Block, Hello, Link, Message};
use sync_evidence::{CaptureWriter, Leaf, SigningKey};
use sync_model::{Seq, StoreId, Text, UnixMillis};
use tempfile::TempDir;

struct Stream {
    dir: TempDir,
    blocks: Vec<Block>,
}

impl Stream {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
        store_ledger(&ledger);
        let blocks = blocks(&ledger, up_log(&ledger), 16);
        assert_eq!(blocks.len(), 6);
        Self { dir, blocks }
    }

    fn save(&self, frames: &[(Leaf, Vec<u8>)]) -> PathBuf {
        file(self.dir.path(), "capture", &capture(frames))
    }

    /// Checks these frames with the store's key; returns exit code, names of findings and the report.
    fn check(&self, frames: &[(Leaf, Vec<u8>)], more: &[&str]) -> (i32, Vec<String>, serde_json::Value) {
        let path = self.save(frames);
        let own = format!("7={}", hex(key(1).public()));
        let mut arguments = vec!["capture", text(&path), "--store-key", &own];
        arguments.extend(more);
        let (code, report) = verify(&arguments);
        (code, names(&report), report)
    }

    fn frames(&self) -> Vec<(Leaf, Vec<u8>)> {
        let hello = Hello {
            store: STORE,
            head: Some((self.blocks[0].log, Seq(93))),
            down: None,
            software: Text::new("test 1").unwrap(),
        };
        let mut frames = vec![(Leaf::Up, Message::Hello(hello).encode())];
        for block in &self.blocks {
            frames.push(message(block));
            frames.push((Leaf::UpAck, Message::Ack(ack(block)).encode()));
        }
        frames.push((Leaf::Seal, seal(self.blocks.last().unwrap(), &key(1)).to_bytes()));
        frames
    }
}

fn one(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}

#[test]
fn a_stream_holds_in_any_order_and_repeated() {
    let stream = Stream::new();
    let mut frames = stream.frames();
    let (code, found, report) = stream.check(&frames, &["--sealed"]);
    assert_eq!((code, found), (0, vec![]), "{report}");
    assert_eq!(report["logs"][0]["upto"], 93);
    assert_eq!((&report["logs"][0]["anchored"], &report["logs"][0]["sealed"]), (&true.into(), &93.into()));
    assert_eq!(report["acks_checked"], 6);
    frames.reverse();
    frames.extend(stream.frames());
    let (code, found, report) = stream.check(&frames, &["--sealed"]);
    assert_eq!((code, found), (0, vec![]), "{report}");
}

#[test]
fn what_the_capture_does_not_show_is_said() {
    let stream = Stream::new();
    let middle: Vec<(Leaf, Vec<u8>)> = stream.blocks[2..].iter().map(message).collect();
    let (code, _, report) = stream.check(&middle, &[]);
    assert_eq!(
        (code, &report["logs"][0]["anchored"], &report["logs"][0]["after"]),
        (0, &false.into(), &32.into())
    );
    let mut anchored = vec![(Leaf::UpAck, Message::Ack(ack(&stream.blocks[1])).encode())];
    anchored.extend(middle.clone());
    let (code, _, report) = stream.check(&anchored, &[]);
    assert_eq!((code, &report["logs"][0]["anchored"]), (0, &true.into()));
    let (code, found, _) = stream.check(&middle, &["--sealed"]);
    assert_eq!((code, found), (1, one("unsealed")));
    let mut gap = stream.frames();
    gap.retain(|frame| *frame != message(&stream.blocks[3]));
    let (code, found, report) = stream.check(&gap, &[]);
    assert_eq!((code, found), (1, one("gap")), "{report}");
    assert!(report["findings"][0]["detail"].as_str().unwrap().contains("49 to 64 are missing"));
}

#[test]
fn forgeries_are_named() {
    let stream = Stream::new();
    // Another record under the same name, the chain recomputed by someone without the key.
    let mut forged = stream.blocks[5].clone();
    let last = forged.records.len() - 1;
    let end = forged.records[last].len() - 1;
    forged.records[last][end] ^= 1;
    let mut frames = stream.frames();
    frames.push(message(&forged));
    let (code, found, _) = stream.check(&frames, &[]);
    assert_eq!((code, found), (1, one("equivocation")));
    // The same, with the true block never captured: acknowledgement and seal disagree.
    frames.retain(|frame| *frame != message(&stream.blocks[5]));
    let (code, found, _) = stream.check(&frames, &[]);
    assert_eq!((code, found), (1, vec!["ack-link".to_owned(), "seal-link".to_owned()]));
    // Everything forged and sealed with another key.
    let frames = [message(&forged), (Leaf::Seal, seal(&forged, &key(2)).to_bytes())];
    let (code, found, _) = stream.check(&frames, &[]);
    assert_eq!((code, found), (1, one("seal-signature")));
    let mut moved = stream.blocks[1].clone();
    moved.prev = Link([3; 32]);
    let (code, found, _) = stream.check(&[message(&stream.blocks[0]), message(&moved)], &[]);
    assert_eq!((code, found), (1, one("chain-break")));
    moved.first = Seq(1);
    let (code, found, _) = stream.check(&[message(&moved)], &[]);
    assert_eq!((code, found), (1, one("chain-break")));
}

#[test]
fn foreign_and_senseless_messages_are_named() {
    let stream = Stream::new();
    let (mut writer, mut bytes) = CaptureWriter::begin();
    let at = UnixMillis(0);
    let (_, payload) = message(&stream.blocks[0]);
    for (leaf, store, payload) in [
        (Leaf::Up, StoreId(8), payload.as_slice()),
        (Leaf::Seal, StoreId(8), &seal(&stream.blocks[0], &key(1)).to_bytes()),
        (Leaf::Up, StoreId(7), &[9, 0]),
        (Leaf::Up, StoreId(7), &[1, 200]),
        (Leaf::Up, StoreId(7), &[]),
        (Leaf::Up, StoreId(7), &[1; 100_000]),
        (Leaf::Seal, StoreId(7), &[1; 112]),
    ] {
        bytes.extend(writer.frame(leaf, store, at, payload).unwrap());
    }
    bytes.extend(writer.end());
    let path = file(stream.dir.path(), "foreign", &bytes);
    let (code, report) = verify(&["capture", text(&path)]);
    assert_eq!(code, 1);
    assert_eq!(
        names(&report),
        ["wrong-store", "wire-version", "undecodable", "too-large", "seal"],
        "{report}"
    );
    assert_eq!(report["finding_count"], 7);
}

#[test]
fn a_flipped_byte_anywhere_is_detected() {
    let stream = Stream::new();
    let bytes = capture(&stream.frames());
    let own = format!("7={}", hex(key(1).public()));
    for round in 0..150_usize {
        let at = (round * 7_919 + 3) % bytes.len();
        let mut other = bytes.clone();
        other[at] ^= 1 << (round % 8);
        let path = file(stream.dir.path(), "flipped", &other);
        let (code, report) = verify(&["capture", text(&path), "--store-key", &own]);
        assert_eq!(code, 1, "byte {at}: {report}");
    }
    for length in [0, 3, 8, 20, bytes.len() - 1] {
        let path = file(stream.dir.path(), "short", &bytes[..length]);
        let (code, report) = verify(&["capture", text(&path), "--store-key", &own]);
        assert_eq!((code, names(&report)[0].as_str()), (1, "capture"), "{length} bytes");
    }
    assert_eq!(verify(&["capture", "/nonexistent/file"]).0, 3);
}

/// Wire 2: packed blocks carry 8 bytes of the link before them and their seal.
#[test]
fn packed_blocks_are_sealed_where_they_end() {
    let stream = Stream::new();
    let packed = |block: &Block, key: &SigningKey| {
        let seal = seal(block, key).signature;
        (Leaf::Up, Letter::block(&PACKED, 2, block, Some(&seal)))
    };
    let frames: Vec<(Leaf, Vec<u8>)> = stream.blocks.iter().map(|block| packed(block, &key(1))).collect();
    assert!(frames.iter().all(|(_, payload)| payload.starts_with(&[2, 0])));
    let (code, found, report) = stream.check(&frames, &["--sealed"]);
    assert_eq!((code, found), (0, vec![]), "{report}");
    assert_eq!((&report["seals"], &report["logs"][0]["sealed"]), (&6.into(), &93.into()));
    // From the middle on nothing says what came before, until an acknowledgement does.
    let (code, found, _) = stream.check(&frames[3..], &[]);
    assert_eq!((code, found), (1, vec!["unanchored".to_owned(), "seal-link".to_owned()]));
    let mut anchored = vec![(Leaf::UpAck, Message::Ack(ack(&stream.blocks[2])).encode())];
    anchored.extend_from_slice(&frames[3..]);
    assert_eq!(stream.check(&anchored, &["--sealed"]).0, 0);
    let mut foreign = frames.clone();
    foreign[2] = packed(&stream.blocks[2], &key(2));
    let (code, found, _) = stream.check(&foreign, &[]);
    assert_eq!((code, found), (1, one("seal-signature")));
}

#[test]
fn the_order_of_capture_hides_nothing() {
    let stream = Stream::new();
    // Backwards, nothing anchored by an acknowledgement: the same history.
    let backwards: Vec<_> = stream.blocks.iter().rev().map(message).collect();
    let (code, found, report) = stream.check(&backwards, &[]);
    assert_eq!((code, found), (0, vec![]), "{report}");
    let log = &report["logs"][0];
    assert_eq!((&log["after"], &log["upto"], &log["anchored"]), (&0.into(), &93.into(), &true.into()));
    // Two different records under one name, behind a later block that was captured first.
    let mut forged = stream.blocks[1].clone();
    forged.records[3] = vec![1, 2, 3];
    let lost = Block { prev: Link([9; 32]), ..stream.blocks[2].clone() };
    for frames in [
        vec![&stream.blocks[4], &stream.blocks[1], &forged],
        vec![&stream.blocks[4], &forged, &stream.blocks[1]],
        vec![&stream.blocks[3], &forged, &stream.blocks[2]],
        vec![&stream.blocks[4], &stream.blocks[1], &lost],
    ] {
        let frames: Vec<_> = frames.into_iter().map(message).collect();
        let (code, found, report) = stream.check(&frames, &[]);
        assert_eq!(code, 1, "{report}");
        assert!(found.iter().any(|name| name == "equivocation" || name == "chain-break"), "{found:?}");
    }
}
