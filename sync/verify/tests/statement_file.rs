//! Statements from real ledgers: store and HQ agree, folds and events agree, and every disagreement names its rows.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![allow(clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{
    DAY, STORE, back, blocks, event, file, hex, key, line, names, open, sale, store_ledger, text, up_log,
    verify,
};
use proptest::prelude::*;
use std::path::Path;
use sync_core::{Block, Link};
use sync_evidence::{DayTree, SignedStatement, Statement};
use sync_model::{BusinessDay, Direction, Epoch, LogId, Seq, TenderKind, UnixMillis};
use sync_store::{Owner, Reader};

fn statement(path: &Path, day: BusinessDay) -> Statement {
    let reader = Reader::open(path).unwrap();
    let (books, folds) = (reader.books(STORE).unwrap(), reader.folds(STORE).unwrap());
    assert_eq!(books.check(&folds), []);
    books.statement(day)
}

fn settle(store: &Path, hq: &Path) {
    let hq = open(hq, Owner::Hq);
    for block in blocks(store, up_log(store), 30) {
        hq.call(move |draft| draft.ingest(&block, UnixMillis(9))).unwrap();
    }
}

#[test]
fn store_and_hq_state_the_same_and_sign_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, hq) = (dir.path().join("store.db"), dir.path().join("hq.db"));
    store_ledger(&store);
    settle(&store, &hq);
    let (own, theirs) = (statement(&store, DAY), statement(&hq, DAY));
    assert_eq!(own.differences(&theirs), []);
    assert_eq!((own.tickets.sales, own.tickets.returns), (60, 1));

    let mut signed = SignedStatement::sign(own, &key(1));
    signed.countersign(&key(9)).unwrap();
    let mut tree = DayTree::new(DAY);
    assert!(tree.add(&signed));
    for store in [3, 12, 40] {
        let mut other = signed.clone();
        other.statement.store.0 = store;
        assert!(tree.add(&SignedStatement::sign(other.statement, &key(4))));
    }
    let root = tree.sign(&key(9), None);
    let statement = file(dir.path(), "statement", &signed.to_bytes());
    let root = file(dir.path(), "root", &root.to_bytes());
    let proof = file(dir.path(), "proof", &tree.proof(STORE).unwrap().to_bytes());
    let (store_key, hq_key) = (format!("7={}", hex(key(1).public())), hex(key(9).public()));
    let keys = ["--store-key", &store_key, "--hq-key", &hq_key];
    let mut all = vec!["statement", text(&statement), "--root", text(&root), "--proof", text(&proof)];
    all.extend(["--ledger", text(&hq)]);
    all.extend(keys);
    let (code, report) = verify(&all);
    assert_eq!((code, &report["hq_signature"]), (0, &"holds".into()), "{report}");
    assert_eq!(report["statement"]["sales"], 60);

    let (code, report) = verify(&["statement", text(&statement)]);
    assert_eq!((code, names(&report)), (1, vec!["no-key".to_owned()]));
    let (code, report) = verify(&[
        "statement",
        text(&statement),
        "--store-key",
        &store_key,
        "--hq-key",
        &hex(key(1).public()),
    ]);
    assert_eq!((code, names(&report)), (1, vec!["hq-signature".to_owned()]));
    let other = file(dir.path(), "other", &tree.proof(sync_model::StoreId(12)).unwrap().to_bytes());
    let mut wrong = all.clone();
    wrong[5] = text(&other);
    assert_eq!(names(&verify(&wrong).1), ["root-proof"]);
    assert_eq!(verify(&["statement", text(&statement), "--root", text(&root)]).0, 2);
    assert_eq!(verify(&["statement", text(&dir.path().join("none"))]).0, 3);
}

#[test]
fn a_later_ledger_still_proves_an_earlier_statement() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    store_ledger(&path);
    let before = statement(&path, DAY);
    let late = sale(1_000, DAY, TenderKind::Wallet, vec![line(99, 1_000, 500, 0)]);
    open(&path, Owner::Store(STORE)).call(move |draft| draft.append(&event(late))).unwrap();
    let after = statement(&path, DAY);
    assert_ne!(before, after);
    let signed = SignedStatement::sign(before.clone(), &key(1));
    let earlier = file(dir.path(), "earlier", &signed.to_bytes());
    let own = format!("7={}", hex(key(1).public()));
    let (code, report) = verify(&["statement", text(&earlier), "--ledger", text(&path), "--store-key", &own]);
    assert_eq!(code, 0, "{report}");
    let later = file(dir.path(), "later", &SignedStatement::sign(after, &key(1)).to_bytes());
    let (code, report) = verify(&["compare", text(&earlier), text(&later)]);
    assert_eq!(code, 1);
    let details: Vec<&str> =
        report["findings"].as_array().unwrap().iter().map(|f| f["detail"].as_str().unwrap()).collect();
    assert!(details.contains(&"tickets: sales: 60 against 61"), "{details:?}");
    assert!(details.contains(&"money 2026-09-21 CNY tender-wallet: nothing against 5.00"), "{details:?}");
    assert!(details.iter().any(|detail| detail.starts_with("sku 99 CNY: nothing against sold 1.000")));
    assert_eq!(verify(&["compare", text(&earlier), text(&earlier)]).0, 0);
    // A store that signs what its events do not say.
    let mut lie = before;
    lie.skus[2].charged.0 -= 100;
    lie.tickets.lines -= 1;
    let lie = file(dir.path(), "lie", &SignedStatement::sign(lie, &key(1)).to_bytes());
    let (code, report) = verify(&["statement", text(&lie), "--ledger", text(&path), "--store-key", &own]);
    assert_eq!((code, report["finding_count"].as_u64()), (1, Some(2)), "{report}");
    assert!(report["findings"][1]["detail"].as_str().unwrap().starts_with("sku 12 CNY: "));
    // Ends that the ledger never had.
    let mut elsewhere = Statement::from_bytes(&signed.statement.to_bytes()).unwrap();
    elsewhere.ends[0].link = Link([1; 32]);
    let elsewhere = file(dir.path(), "elsewhere", &SignedStatement::sign(elsewhere, &key(1)).to_bytes());
    let (_, report) = verify(&["statement", text(&elsewhere), "--ledger", text(&path), "--store-key", &own]);
    assert_eq!(names(&report), ["ledger"]);
}

#[test]
fn a_flipped_byte_anywhere_in_a_statement_file_is_detected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    store_ledger(&path);
    let mut signed = SignedStatement::sign(statement(&path, DAY), &key(1));
    signed.countersign(&key(9)).unwrap();
    let bytes = signed.to_bytes();
    let (own, hq) = (format!("7={}", hex(key(1).public())), hex(key(9).public()));
    for at in (0..bytes.len()).step_by(5).chain(bytes.len() - 130..bytes.len()) {
        let mut other = bytes.clone();
        other[at] ^= 1 << (at % 8);
        let path = file(dir.path(), "flipped", &other);
        let (code, report) = verify(&["statement", text(&path), "--store-key", &own, "--hq-key", &hq]);
        assert_eq!(code, 1, "byte {at}: {report}");
    }
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec((1_u64..6, -5_i64..5_000, -5_i64..100_000, 0_u16..4), 1..4);
    let ticket = (any::<bool>(), 1_u64..30, 0_i32..3, 0_usize..4, lines).prop_map(
        |(sold, number, day, kind, lines)| {
            let lines = lines
                .into_iter()
                .map(|(sku, quantity, amount, rate)| line(sku, quantity, amount, rate * 300))
                .collect();
            let (day, kind) = (BusinessDay(DAY.0 + day), TenderKind::ALL[kind]);
            let event = if sold {
                event(sale(number, day, kind, lines))
            } else {
                event(back(number, day, kind, lines))
            };
            event.to_record().unwrap()
        },
    );
    prop_oneof![8 => ticket, 1 => prop::collection::vec(any::<u8>(), 0..30)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a store sends, twice used numbers, senseless amounts and noise included: HQ's folds and the statement made
    /// of its events are one and the same.
    #[test]
    fn events_and_folds_agree_on_anything(first in prop::collection::vec(any_record(), 1..40), second in prop::collection::vec(any_record(), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hq.db");
        let ledger = open(&path, Owner::Hq);
        for (epoch, records) in [(5, first), (9, second)] {
            let log = LogId { store: STORE, direction: Direction::Up, epoch: Epoch(epoch) };
            let block = Block { log, first: Seq(1), prev: Link::genesis(log), records };
            ledger.call(move |draft| draft.ingest(&block, UnixMillis(3))).unwrap();
        }
        let reader = ledger.reader().unwrap();
        let (books, folds) = (reader.books(STORE).unwrap(), reader.folds(STORE).unwrap());
        prop_assert_eq!(books.check(&folds), vec![]);
        let now = books.statement(DAY);
        prop_assert_eq!(reader.books_at(STORE, &now.ends).unwrap().statement(DAY), now);
    }
}
