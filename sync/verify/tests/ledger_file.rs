//! Ledger files: whole, tampered with, damaged anywhere, and not ledgers at all.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{blocks, capture, file, hex, key, names, seal, store_ledger, text, up_log, verify};
use sync_core::Link;
use sync_evidence::{Leaf, Seal};
use sync_model::Seq;

#[test]
fn a_whole_ledger_holds_and_its_seals_fit() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    store_ledger(&ledger);
    let (code, report) = verify(&["ledger", text(&ledger)]);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
    assert_eq!((report["events"].as_u64(), report["logs"].as_u64()), (Some(93), Some(1)));

    let writer = key(1);
    let blocks = blocks(&ledger, up_log(&ledger), 20);
    let sealed: Vec<(Leaf, Vec<u8>)> =
        blocks.iter().map(|block| (Leaf::Seal, seal(block, &writer).to_bytes())).collect();
    let seals = file(dir.path(), "seals", &capture(&sealed));
    let own = format!("7={}", hex(writer.public()));
    let (code, report) = verify(&["ledger", text(&ledger), "--seals", text(&seals), "--store-key", &own]);
    assert_eq!((code, report["seals"].as_u64()), (0, Some(5)), "{report}");
    let other = format!("7={}", hex(key(2).public()));
    let (code, report) = verify(&["ledger", text(&ledger), "--seals", text(&seals), "--store-key", &other]);
    assert_eq!((code, names(&report)), (1, vec!["seal-signature".to_owned()]));
    let (code, report) = verify(&["ledger", text(&ledger), "--seals", text(&seals)]);
    assert_eq!((code, names(&report)), (1, vec!["no-key".to_owned()]));

    let log = up_log(&ledger);
    let forged = [
        (Leaf::Seal, Seal::sign(&writer, log, Seq(20), Link([0; 32])).to_bytes()),
        (Leaf::Seal, Seal::sign(&writer, log, Seq(94), Link([0; 32])).to_bytes()),
        (Leaf::Seal, vec![1, 2, 3]),
    ];
    let seals = file(dir.path(), "forged", &capture(&forged));
    let (code, report) = verify(&["ledger", text(&ledger), "--seals", text(&seals), "--store-key", &own]);
    assert_eq!((code, names(&report)), (1, vec!["seal-link".to_owned(), "seal".to_owned()]));
}

#[test]
fn a_changed_amount_is_found_wherever_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    store_ledger(&ledger);
    let whole = std::fs::read(&ledger).unwrap();
    let record = blocks(&ledger, up_log(&ledger), 512)[0].records[40].clone();
    let places: Vec<usize> = whole
        .windows(record.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == record)
        .map(|(at, _)| at)
        .collect();
    // SQLite leaves copies in free space when it moves rows: change them all, one of them counts.
    assert!(!places.is_empty());
    for offset in 0..record.len() {
        let mut other = whole.clone();
        places.iter().for_each(|place| other[place + offset] ^= 1);
        let path = file(dir.path(), "other.db", &other);
        let (code, report) = verify(&["ledger", text(&path)]);
        assert_eq!(code, 1, "byte {offset} of the record: {report}");
    }
}

/// Some bytes of a database carry nothing (free space); for every other the report names something. Either way what a
/// report without findings says is what the whole file says.
#[test]
fn a_flipped_byte_anywhere_is_named_or_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    store_ledger(&ledger);
    let (_, expected) = verify(&["ledger", text(&ledger)]);
    let whole = std::fs::read(&ledger).unwrap();
    let mut found = 0;
    for round in 0..150_usize {
        // Golden-ratio steps: spread over the whole file, the same on every run.
        let at = (round * 40_503 + 17) % whole.len();
        let mut other = whole.clone();
        other[at] ^= 1 << (round % 8);
        let path = file(dir.path(), "other.db", &other);
        let (code, report) = verify(&["ledger", text(&path)]);
        match code {
            0 => assert_eq!(report["ends"], expected["ends"], "byte {at}"),
            1 => found += 1,
            other => panic!("byte {at}: exit code {other}, {report}"),
        }
    }
    assert!(found > 0);
    for length in [0, 1, 50, 100, 4_096, whole.len() / 2, whole.len() - 1] {
        let path = file(dir.path(), "short.db", &whole[..length]);
        let (code, report) = verify(&["ledger", text(&path)]);
        assert_eq!(code, 1, "{length} bytes: {report}");
    }
}

#[test]
fn files_that_are_no_ledgers_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (code, report) = verify(&["ledger", text(&dir.path().join("none"))]);
    assert_eq!((code, &report["ok"]), (3, &false.into()));
    assert!(report["error"].as_str().unwrap().contains("no such file"));
    let (code, _) = verify(&["ledger", text(dir.path())]);
    assert_eq!(code, 3);
    let path = file(dir.path(), "noise", &(0..9_000_u32).map(|n| (n * n % 251) as u8).collect::<Vec<u8>>());
    let (code, report) = verify(&["ledger", text(&path)]);
    assert_eq!(code, 1, "{report}");
    assert_eq!(verify(&["ledger"]).0, 2);
    assert_eq!(verify(&["ledger", "x", "--store-key", "7=00"]).0, 2);
    let weak = format!("7=01{}", "00".repeat(31));
    assert_eq!(verify(&["ledger", "x", "--store-key", &weak]).0, 2);
}

fn identity(name: &str) -> String {
    format!("{}/tests/identity/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// The key of the fixtures' certificate.
fn certified() -> sync_evidence::SigningKey {
    let pem = std::fs::read_to_string(identity("store-7.key")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits: Vec<u8> = body
        .bytes()
        .filter(|letter| *letter != b'=')
        .flat_map(|letter| (0..6).rev().map(move |bit| value(letter) >> bit & 1))
        .collect();
    let bytes: Vec<u8> =
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect();
    // PKCS #8 of an Ed25519 key: the seed is its last 32 bytes.
    sync_evidence::SigningKey::from_seed(&bytes[16..48].try_into().unwrap())
}

#[test]
fn the_seals_in_a_ledger_are_checked_with_the_certificate_of_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    store_ledger(&ledger);
    let log = up_log(&ledger);
    let with = |arguments: &[&str]| {
        let all = [&["ledger", text(&ledger)], arguments].concat();
        let (code, report) = verify(&all);
        (code, names(&report), report)
    };
    let (ca, cert) = (identity("ca.pem"), identity("store-7.pem"));
    let trusted = ["--certificate", &cert, "--ca", &ca];
    // No seal yet: nothing is wrong, and nothing is sealed.
    let (code, found, report) = with(&trusted);
    assert_eq!((code, found), (0, vec![]), "{report}");
    assert_eq!(report["own_seals"][0]["sealed"], serde_json::Value::Null);
    assert_eq!(with(&[&trusted[..], &["--sealed"]].concat()).1, ["unsealed"]);

    let link = sync_store::Reader::open(&ledger).unwrap().link(log, Seq(90)).unwrap().unwrap();
    let store = common::open(&ledger, sync_store::Owner::Store(common::STORE));
    let seal = Seal::sign(&certified(), log, Seq(90), link);
    assert!(store.call(move |draft| draft.keep_seal(&seal)).unwrap());
    drop(store);
    let (code, found, report) = with(&[&trusted[..], &["--sealed"]].concat());
    assert_eq!((code, found), (0, vec![]), "{report}");
    assert_eq!(
        (&report["own_seals"][0]["sealed"], &report["own_seals"][0]["head"]),
        (&90.into(), &93.into())
    );
    assert_eq!(report["certificates"][0]["owner"], "store 7");
    // Without a key it is counted, and no more; with the key of another store it does not hold.
    let (code, _, report) = with(&[]);
    assert_eq!((code, &report["seals_unchecked"]), (0, &1.into()));
    let other = format!("7={}", hex(key(2).public()));
    assert_eq!(with(&["--store-key", &other]).1, ["seal-signature"]);
    // A key that was replaced stays good beside the new one.
    assert_eq!(with(&[&trusted[..], &["--store-key", &other]].concat()).0, 0);
    // A certificate that this CA did not sign is no key.
    let (code, found, report) = with(&["--certificate", &cert, "--ca", &cert]);
    assert_eq!((code, found), (1, vec!["certificate".to_owned()]), "{report}");
    assert_eq!(with(&["--certificate", &ca, "--ca", &ca]).1, ["certificate"], "nobody's name");
    assert_eq!(verify(&["ledger", text(&ledger), "--certificate", &cert]).0, 2);
    let noise = file(dir.path(), "noise.pem", b"nothing");
    assert_eq!(verify(&["ledger", text(&ledger), "--certificate", text(&noise), "--ca", &ca]).0, 3);

    // Its signature is changed in the file, then the link that it names.
    let whole = std::fs::read(&ledger).unwrap();
    let places: Vec<usize> = whole
        .windows(64)
        .enumerate()
        .filter(|(_, bytes)| *bytes == seal.signature)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty());
    for (offset, name) in
        [(0_usize, "seal-signature"), (63, "seal-signature"), (32, "seal-link"), (1, "seal-link")]
    {
        let mut other = whole.clone();
        for place in &places {
            // The link stands right before the signature.
            let at = if name == "seal-link" { place - offset } else { place + offset };
            other[at] ^= 1;
        }
        let path = file(dir.path(), "other.db", &other);
        let (code, report) = verify(&[&["ledger", text(&path)], &trusted[..]].concat());
        assert_eq!((code, names(&report)), (1, vec![name.to_owned()]), "{offset}");
    }
}
