//! Statements, countersignatures and day roots over HTTP: what HQ answers to statements that are right, late, wrong or forged,
//! and whether a stranger can check what it gives out.
#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "fixtures of tests: failing here fails the test"
)]

mod offline;
mod stand;

use offline::{DAY, DAY_TEXT, Store, bytes, ca};
use serde_json::{Value, json};
use stand::{Hq, until};
use std::path::{Path, PathBuf};
use sync_evidence::{DayRoot, Proof, PublicKey, Seal, SignedStatement, SigningKey};
use sync_model::{Milli, Minor, Seq, StatementPart};

const ROOT: &str = "/v1/days/2024-10-04/root";

fn hq(folder: &Path, ca: &Path) -> Hq {
    // Nobody listens at that port: HQ works without a broker.
    Hq::start_with(&folder.join("hq.db"), 1, Some(ca.to_owned()))
}

fn path(store: u32) -> String {
    format!("/v1/stores/{store}/statements/{DAY_TEXT}")
}

fn state(hq: &Hq, store: u32) -> Value {
    hq.get(&path(store)).1["state"].clone()
}

fn key(hex: &Value) -> PublicKey {
    let hex = hex.as_str().unwrap();
    let bytes: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    PublicKey::from_bytes(&bytes.try_into().unwrap()).unwrap()
}

/// The files of a store's statement: statement, proof, root.
fn files(hq: &Hq, store: u32) -> (SignedStatement, Proof, DayRoot) {
    let file = |form: &str| {
        let (status, file) = bytes(hq.port(), &format!("{}?form={form}", path(store)));
        assert_eq!(status, 200, "{form}: {}", String::from_utf8_lossy(&file));
        file
    };
    (
        SignedStatement::from_bytes(&file("file")).unwrap(),
        Proof::from_bytes(&file("proof")).unwrap(),
        DayRoot::from_bytes(&file("root")).unwrap(),
    )
}

/// A folder, its CA, HQ's ledger file.
fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (ca, file) = (ca(folder.path()), folder.path().join("hq.db"));
    (folder, ca, file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_countersigned_rooted_and_checked_by_a_stranger() {
    let _turn = offline::TURN.lock().await;
    let (folder, ca, file) = scene();
    let stores = [7, 8].map(|id| Store::enrolled(folder.path(), &ca, id));
    for store in &stores {
        store.sell(1, 40);
        store.sign(&store.statement(), store.key.as_ref().unwrap());
        store.carry(&file);
    }
    let mut hq = hq(folder.path(), &ca);
    until("both are countersigned", || [7, 8].iter().all(|id| state(&hq, *id) == "countersigned")).await;
    let (status, made) = hq.post(ROOT, "");
    assert_eq!((status, &made["number"], &made["stores"]), (201, &json!(1), &json!(2)), "{made}");
    until("both know their places", || [7, 8].iter().all(|id| state(&hq, *id) == "rooted")).await;
    let again = hq.post(ROOT, "");
    assert_eq!((again.0, &again.1["code"]), (409, &json!("nothing-to-root")));

    // The stranger: keys, files, nothing else.
    let keys = hq.get("/v1/keys").1;
    let hq_key = key(&keys["hq"]);
    for id in [7, 8] {
        let (signed, proof, root) = files(&hq, id);
        signed.verify_store(key(&keys["stores"][id.to_string()][0])).unwrap();
        signed.verify_hq(hq_key).unwrap();
        root.verify(hq_key).unwrap();
        assert!(root.contains(&signed, &proof));
        assert_eq!((signed.statement.tickets.sales, signed.statement.day), (40, DAY));
    }
    let (first, first_proof, first_root) = files(&hq, 7);
    let (other, ..) = files(&hq, 8);
    assert!(!first_root.contains(&other, &first_proof), "a proof is for one store");
    let (status, whole) = bytes(hq.port(), "/v1/roots/1?form=file");
    assert_eq!((status, DayRoot::from_bytes(&whole).unwrap()), (200, first_root));

    // A late ticket: the store states again, and a second root holds it.
    hq.terminate();
    let [late, _] = &stores;
    late.sell(41, 45);
    late.sign(&late.statement(), late.key.as_ref().unwrap());
    late.carry(&file);
    hq.restart();
    until("the late one is countersigned", || state(&hq, 7) == "countersigned").await;
    assert_eq!(state(&hq, 8), "rooted", "the other one stays where it is");
    assert_eq!(hq.post(ROOT, "").1["number"], json!(2));
    until("it knows its place", || state(&hq, 7) == "rooted").await;
    let (second, second_proof, second_root) = files(&hq, 7);
    assert!(second_root.contains(&second, &second_proof));
    assert_eq!((second_root.size, second_root.prev), (2, first_root.digest()));
    // Who kept the first files can still check them.
    assert!(first_root.contains(&first, &first_proof));
    first.verify_hq(hq_key).unwrap();
    let roots = hq.get("/v1/roots").1["roots"].clone();
    assert_eq!(roots[0]["prev"], roots[1]["digest"]);
    assert_eq!(hq.get("/v1/roots/2").1["stores"], json!(2));
    let day = hq.get(&format!("/v1/days/{DAY_TEXT}")).1;
    assert_eq!(day["states"], json!({"rooted": 2}), "{day}");
    let metrics = bytes(hq.port(), "/metrics").1;
    let metrics = String::from_utf8(metrics).unwrap();
    for line in ["steelyard_hq_day_root_newest 2", "steelyard_hq_statements_countersigned_total 1"] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    // HQ's own log is nobody's store.
    assert_eq!(hq.get("/v1/stores").1["stores"].as_array().unwrap().len(), 2);
    assert_eq!(hq.post("/v1/verify", "").1["ok"], json!(true));

    // Seals arrived with the blocks.
    let seals = hq.get("/v1/seals").1["seals"].clone();
    let own = |row: &&Value| row["log"].as_str().is_some_and(|log| log.starts_with("7-up-"));
    let hex = seals.as_array().unwrap().iter().find(own).unwrap()["seal_hex"].clone();
    let hex = hex.as_str().unwrap();
    let raw: Vec<u8> =
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    Seal::from_bytes(&raw).unwrap().verify(key(&keys["stores"]["7"][0])).unwrap();

    // What the store hears of it.
    hq.terminate();
    late.carry(&file);
    let row = late.ledger.reader().unwrap().statement(late.id, DAY).unwrap().unwrap();
    assert_eq!(row.state(), "rooted");
    assert!(late.ledger.verify().unwrap().ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_is_not_hqs_is_disputed_with_a_reason_and_its_rows() {
    let _turn = offline::TURN.lock().await;
    let (folder, ca, file) = scene();
    let stores = [1, 2, 3, 4].map(|id| Store::enrolled(folder.path(), &ca, id));
    let [forged, wrong, elsewhere, ahead] = &stores;
    for store in &stores {
        store.sell(1, 8);
    }
    // Signed by somebody else.
    forged.sign(&forged.statement(), &SigningKey::from_seed(&[1; 32]));
    // One article and one account are not what the events say.
    let mut statement = wrong.statement();
    statement.skus[1].charged = Minor(statement.skus[1].charged.0 + 100);
    statement.skus[2].sold = Milli(0);
    statement.money[0].amount = Minor(statement.money[0].amount.0 - 100);
    wrong.sign(&statement, wrong.key.as_ref().unwrap());
    // Another history.
    let mut moved = elsewhere.statement();
    moved.ends[0].link.0[5] ^= 1;
    elsewhere.sign(&moved, elsewhere.key.as_ref().unwrap());
    // Events that HQ does not have yet.
    let mut beyond = ahead.statement();
    beyond.ends[0].upto = Seq(4_000);
    ahead.sign(&beyond, ahead.key.as_ref().unwrap());
    for store in &stores {
        store.carry(&file);
    }
    let mut hq = hq(folder.path(), &ca);
    let dispute = |hq: &Hq, store: u32| hq.get(&path(store)).1["dispute"].clone();
    until("three are disputed", || [1, 2, 3].iter().all(|id| state(&hq, *id) == "disputed")).await;
    assert_eq!(dispute(&hq, 1)["reason"], "signature");
    assert_eq!((&dispute(&hq, 2)["reason"], &dispute(&hq, 2)["rows"]), (&json!("rows"), &json!([])));
    assert_eq!(dispute(&hq, 3)["reason"], "ends");
    assert_eq!(state(&hq, 4), "signed", "HQ says nothing about what it has not got");
    assert_eq!(hq.get(&path(2)).1["agrees"], json!(false));
    let root = hq.post(ROOT, "");
    assert_eq!(
        (root.0, &root.1["code"]),
        (409, &json!("nothing-to-root")),
        "a disputed statement is in no root"
    );
    for form in ["file", "proof", "root"] {
        assert_eq!(hq.get(&format!("{}?form={form}", path(2))).0, 404, "{form}");
    }

    // The store sends its bytes; HQ names what differs.
    hq.terminate();
    wrong.carry(&file);
    let row = wrong.ledger.reader().unwrap().statement(wrong.id, DAY).unwrap().unwrap();
    assert!(row.wanted());
    let bytes = statement.to_bytes();
    let (front, back) = bytes.split_at(100);
    for (part, piece) in [(0, front), (1, back)] {
        let digest = statement.digest();
        wrong.append(StatementPart { day: DAY, digest, part, of: 2, bytes: piece.to_vec() });
    }
    wrong.carry(&file);
    hq.restart();
    until("the rows are named", || dispute(&hq, 2)["rows"].as_array().is_some_and(|rows| rows.len() == 3))
        .await;
    let rows = dispute(&hq, 2)["rows"].to_string();
    for part in ["money 2024-10-04 CNY", "sku 1001 CNY", "sku 1002 CNY", "against"] {
        assert!(rows.contains(part), "{part} in {rows}");
    }
    // It states again, rightly: settled.
    hq.terminate();
    wrong.sign(&wrong.statement(), wrong.key.as_ref().unwrap());
    wrong.carry(&file);
    hq.restart();
    until("the right one is countersigned", || state(&hq, 2) == "countersigned").await;
    assert_eq!(hq.get(&path(2)).1["agrees"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_nothing_is_answered_and_everything_can_be_read() {
    let _turn = offline::TURN.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hq.db");
    let store = Store::new(folder.path(), 7);
    store.sell(1, 5);
    store.carry(&file);
    let hq = Hq::start(&file, 1);
    let shown = hq.get(&path(7)).1;
    assert_eq!((&shown["state"], &shown["agrees"]), (&json!("unsigned"), &Value::Null));
    assert_eq!(shown["statement"]["sales"], json!(5), "{shown}");
    assert_eq!(hq.get("/v1/stores/7/statements").1["statements"], json!([]));
    assert_eq!(hq.get(&format!("/v1/days/{DAY_TEXT}")).1["states"], json!({"unsigned": 1}));
    assert_eq!(hq.get("/v1/keys").1["hq"], Value::Null);
    for (path, status, code) in [
        ("/v1/stores/7/statements/2024-13-01", 400, "bad-day"),
        ("/v1/stores/7/statements/today", 400, "bad-day"),
        ("/v1/stores/x/statements", 400, "bad-store"),
        ("/v1/stores/0/statements", 400, "bad-store"),
        ("/v1/stores/8/statements", 404, "no-store"),
        ("/v1/stores/8/statements/2024-10-04", 404, "no-store"),
        ("/v1/stores/7/statements/2024-10-04?form=pdf", 400, "bad-form"),
        ("/v1/stores/7/statements/2024-10-04?what=1", 400, "bad-query"),
        ("/v1/stores/7/statements/2024-10-04?form=file", 404, "not-signed"),
        ("/v1/stores/7/statements/2024-10-04?form=proof", 404, "no-root"),
        ("/v1/stores/7/statements/1999-01-01?form=root", 404, "no-root"),
        ("/v1/days/2024-10-32", 400, "bad-day"),
        ("/v1/roots/1", 404, "no-root"),
        ("/v1/roots/-1", 400, "bad-number"),
        ("/v1/roots/18446744073709551616", 400, "bad-number"),
    ] {
        let (found, body) = hq.get(path);
        assert_eq!((found, &body["code"]), (status, &json!(code)), "{path}: {body}");
        assert!(body["message"].as_str().is_some_and(|message| message.len() > 10), "{body}");
    }
    let (status, body) = hq.post(ROOT, "");
    assert_eq!((status, &body["code"]), (409, &json!("no-identity")));
    assert_eq!(hq.post("/v1/days/soon/root", "").1["code"], json!("bad-day"));
}
