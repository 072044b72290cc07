//! Seals and statements in the ledger: the newest one that fits is kept, whatever does not is not, and verify looks.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{STORE, open, sell, stamp};
use sync_core::Block;
use sync_core::replica::{Incoming, IngestOutcome};
use sync_evidence::{Seal, SigningKey};
use sync_model::{
    BusinessDay, DayRooted, Event, Fact, RootPlace, Seq, SignatureBytes, StatedEnd, StatementAnswer,
    StatementAnswered, StatementPart, StatementSigned, StoreId, Text,
};
use sync_store::{HQ_LOG, Ledger, LedgerError, Owner, StatementRow};

const DAY: BusinessDay = BusinessDay(20_717);

fn key() -> SigningKey {
    SigningKey::from_seed(&[9; 32])
}

fn block(store: &Ledger, first: u64, count: usize) -> Block {
    let log = store.log().unwrap();
    store.reader().unwrap().block(log, Seq(first), count, 48 * 1024).unwrap().unwrap()
}

/// The block as it arrives, sealed by `key`; `Seal`'s own bytes for a ledger.
fn sealed(store: &Ledger, block: Block, key: &SigningKey) -> (Incoming, Seal) {
    let link = store.reader().unwrap().link(block.log, block.last()).unwrap().unwrap();
    let seal = Seal::sign(key, block.log, block.last(), link);
    (Incoming { seal: Some(seal.signature), ..block.into() }, seal)
}

fn take(hq: &Ledger, block: &Incoming) -> IngestOutcome {
    let block = block.clone();
    hq.call(move |draft| draft.take_in(&block, stamp(9_000))).unwrap().ingested.outcome
}

fn seals(ledger: &Ledger) -> Vec<Seal> {
    ledger.reader().unwrap().seals().unwrap()
}

#[test]
fn the_newest_seal_of_a_log_stays_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir.path().join("store.db"), Owner::Store(STORE));
    let path = dir.path().join("hq.db");
    let (hq, _) = open(&path, Owner::Hq);
    sell(&store, 0..300);
    let (first, first_seal) = sealed(&store, block(&store, 1, 100), &key());
    let (second, second_seal) = sealed(&store, block(&store, 101, 70), &key());
    let (early, _) = sealed(&store, block(&store, 250, 10), &key());
    assert!(matches!(take(&hq, &early), IngestOutcome::Gap { .. }));
    assert!(seals(&hq).is_empty(), "a seal of what is not here proves nothing");
    take(&hq, &first);
    assert_eq!(seals(&hq), [first_seal]);
    take(&hq, &second);
    assert_eq!(seals(&hq), [second_seal]);
    // An older block again, with another signature: the newest one stays.
    let (again, _) = sealed(&store, block(&store, 1, 100), &SigningKey::from_seed(&[1; 32]));
    assert_eq!(take(&hq, &again), IngestOutcome::Duplicate);
    assert_eq!(seals(&hq), [second_seal]);
    // A block without a seal moves the log on and leaves the seal where it is.
    take(&hq, &block(&store, 171, 30).into());
    assert_eq!(seals(&hq), [second_seal]);
    seals(&hq)[0].verify(key().public()).unwrap();
    assert!(hq.verify().unwrap().ok());
    drop(hq);
    let (hq, _) = open(&path, Owner::Hq);
    assert_eq!(seals(&hq), [second_seal]);
}

#[test]
fn a_seal_over_another_link_is_not_kept_and_a_changed_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let (store, _) = open(&path, Owner::Store(STORE));
    sell(&store, 0..100);
    let log = store.log().unwrap();
    let link = store.reader().unwrap().link(log, Seq(80)).unwrap().unwrap();
    let keep = |seal: Seal| store.call(move |draft| draft.keep_seal(&seal)).unwrap();
    assert!(!keep(Seal::sign(&key(), log, Seq(81), link)), "the link of another position");
    assert!(!keep(Seal::sign(&key(), log, Seq(4_000), link)), "beyond the end");
    assert!(!keep(Seal::sign(&key(), log, Seq(0), link)), "before the first record");
    let other = sync_model::LogId { store: StoreId(99), ..log };
    assert!(!keep(Seal::sign(&key(), other, Seq(80), link)), "a log that is not here");
    assert!(seals(&store).is_empty());
    assert!(keep(Seal::sign(&key(), log, Seq(80), link)));
    assert!(!keep(Seal::sign(&key(), log, Seq(80), link)), "known already");
    assert!(store.verify().unwrap().ok());
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE signed_end SET seq = 79", []).unwrap();
    let report = store.verify().unwrap();
    assert_eq!(report.problems.iter().map(|problem| problem.name).collect::<Vec<_>>(), ["seal-link"]);
}

fn append(ledger: &Ledger, fact: impl Into<Fact>) {
    let event = Event::new(stamp(5), fact);
    ledger.call(move |draft| draft.append(&event)).unwrap();
}

fn say(hq: &Ledger, store: StoreId, fact: impl Into<Fact>) {
    let event = Event::new(stamp(6), fact);
    hq.call(move |draft| draft.append_down(store, &event)).unwrap();
}

fn signature(byte: u8) -> SignatureBytes {
    [byte; 64].into()
}

fn signed(digest: u8) -> StatementSigned {
    let ends = vec![StatedEnd { epoch: sync_model::Epoch(5), upto: Seq(9), link: [4; 32] }];
    StatementSigned { day: DAY, ends, digest: [digest; 32], signature: signature(1) }
}

fn row(ledger: &Ledger) -> StatementRow {
    ledger.reader().unwrap().statement(STORE, DAY).unwrap().unwrap()
}

fn open_days(ledger: &Ledger) -> usize {
    ledger.reader().unwrap().open_statements(STORE).unwrap().len()
}

/// Carries whatever the store wrote up, and whatever HQ wrote down.
fn settle(store: &Ledger, hq: &Ledger) {
    for (from, to) in [(store, hq), (hq, store)] {
        let rows = from.reader().unwrap().heads().unwrap();
        let own = |row: &&sync_store::HeadRow| {
            (row.log.direction == sync_model::Direction::Up) == std::ptr::eq(from, store)
        };
        for row in rows.iter().filter(own).filter(|row| row.log.store == STORE) {
            let there = to.reader().unwrap().head(row.log).unwrap().map_or(0, |row| row.head.0);
            let reader = from.reader().unwrap();
            if let Some(block) = reader.block(row.log, Seq(there + 1), 512, 64 * 1024).unwrap() {
                take(to, &block.into());
            }
        }
    }
}

#[test]
fn a_statement_is_open_at_hq_until_it_is_answered_and_in_a_root() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir.path().join("store.db"), Owner::Store(STORE));
    let (hq, _) = open(&dir.path().join("hq.db"), Owner::Hq);
    append(&store, signed(1));
    settle(&store, &hq);
    assert_eq!((row(&hq).state(), open_days(&hq)), ("signed", 1));
    let answer = StatementAnswer::Countersigned(signature(2));
    say(&hq, STORE, StatementAnswered { day: DAY, digest: [1; 32], answer: answer.clone() });
    assert_eq!((row(&hq).state(), open_days(&hq)), ("countersigned", 1));
    let mut rooted = DayRooted {
        number: 1,
        day: DAY,
        size: 1,
        root: [7; 32],
        prev: [0; 32],
        signature: signature(3),
        place: None,
    };
    say(&hq, HQ_LOG, rooted.clone());
    assert_eq!(hq.reader().unwrap().roots(10).unwrap()[0].rooted, rooted);
    assert_eq!(hq.reader().unwrap().root(1).unwrap().unwrap().rooted, rooted);
    assert_eq!(hq.reader().unwrap().root(2).unwrap(), None);
    rooted.place = Some(RootPlace { digest: [1; 32], index: 0, path: Vec::new() });
    say(&hq, STORE, rooted.clone());
    assert_eq!((row(&hq).state(), open_days(&hq)), ("rooted", 0));
    // A later ticket of the day: the store signs again, and HQ has to do it all again.
    append(&store, signed(2));
    settle(&store, &hq);
    assert_eq!((row(&hq).state(), open_days(&hq)), ("signed", 1));
    assert_eq!(row(&store).state(), "signed");
    say(&hq, STORE, StatementAnswered { day: DAY, digest: [2; 32], answer });
    rooted.number = 2;
    rooted.place = Some(RootPlace { digest: [2; 32], index: 0, path: vec![[8; 32]] });
    say(&hq, STORE, rooted);
    settle(&store, &hq);
    assert_eq!(row(&store), row(&hq));
    assert_eq!((row(&store).state(), open_days(&store)), ("rooted", 0));
    assert!(store.verify().unwrap().ok() && hq.verify().unwrap().ok());
}

#[test]
fn a_dispute_is_open_again_once_the_bytes_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir.path().join("store.db"), Owner::Store(STORE));
    let (hq, _) = open(&dir.path().join("hq.db"), Owner::Hq);
    append(&store, signed(1));
    settle(&store, &hq);
    let dispute = |rows: Vec<Text<120>>| {
        let reason = Text::new("rows").unwrap();
        let answer = StatementAnswer::Disputed { digest: [9; 32], reason, rows };
        say(&hq, STORE, StatementAnswered { day: DAY, digest: [1; 32], answer });
    };
    dispute(Vec::new());
    settle(&store, &hq);
    assert_eq!((row(&store).state(), row(&store).wanted(), open_days(&hq)), ("disputed", true, 0));
    let part = |part: u16, digest: u8, bytes: &[u8]| StatementPart {
        day: DAY,
        digest: [digest; 32],
        part,
        of: 2,
        bytes: bytes.to_vec(),
    };
    append(&store, part(1, 1, b"world"));
    append(&store, part(0, 7, b"other"));
    settle(&store, &hq);
    assert_eq!((row(&hq).bytes, open_days(&hq)), (None, 0), "the first piece is of another statement");
    append(&store, part(0, 1, b"hello "));
    settle(&store, &hq);
    assert_eq!(row(&hq).bytes.as_deref(), Some(b"hello world".as_slice()));
    assert_eq!(open_days(&hq), 1);
    dispute(vec![Text::new("sku 1001 CNY: 1 against 2").unwrap()]);
    assert_eq!((row(&hq).state(), open_days(&hq)), ("disputed", 0));
    assert!(hq.verify().unwrap().ok());
}

#[test]
fn statements_that_nobody_could_read_are_refused_or_fold_as_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir.path().join("store.db"), Owner::Store(STORE));
    let end = signed(1).ends[0];
    let too_many = StatementSigned { ends: vec![end; 257], ..signed(1) };
    let part = StatementPart { day: DAY, digest: [1; 32], part: 2, of: 2, bytes: vec![1] };
    let long = StatementPart { part: 0, bytes: vec![1; 12_289], ..part.clone() };
    let many = StatementPart { part: 0, of: 65, ..part.clone() };
    for fact in [Fact::from(too_many), part.into(), long.into(), many.into()] {
        let event = Event::new(stamp(5), fact);
        match store.call(move |draft| draft.append(&event)) {
            Err(LedgerError::Refused(refusal)) => assert_eq!(refusal.code, "bad-statement"),
            other => panic!("{other:?}"),
        }
    }
    // HQ's words do not count in the store's log.
    let answer = StatementAnswer::Countersigned(signature(2));
    let event = Event::new(stamp(5), StatementAnswered { day: DAY, digest: [1; 32], answer });
    match store.call(move |draft| draft.append(&event)) {
        Err(LedgerError::Refused(refusal)) => assert_eq!(refusal.code, "wrong-direction"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.reader().unwrap().statement(STORE, DAY).unwrap(), None);
}
