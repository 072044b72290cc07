//! Ledgers that were put back, moved or cloned: a name never gets a second content, what was lost comes back, what was
//! written since keeps its meaning.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{STORE, event, open, receipt, sale, sell, stamp};
use std::path::Path;
use sync_core::replica::{Incoming, Prev};
use sync_core::{Block, Link};
use sync_model::{
    Command, Direction, Epoch, EpochReason, Fact, FactRef, LogId, Milli, ReservationClosed,
    ReservationOpened, ReservationOutcome, Seq, Sku, Text,
};
use sync_store::{IngestOutcome, Ledger, Owner, TakenIn};

const OWNER: Owner = Owner::Store(STORE);

/// Copies the closed ledger and, if wanted, its witness.
fn put(from: &Path, to: &Path, witness: bool) {
    for suffix in ["", "-wal", ".generation"] {
        let name = |path: &Path| std::path::PathBuf::from(format!("{}{suffix}", path.display()));
        let (from, to) = (name(from), name(to));
        if suffix == ".generation" && !witness {
            continue;
        }
        if from.exists() {
            std::fs::copy(&from, &to).unwrap();
        } else if to.exists() {
            std::fs::remove_file(&to).unwrap();
        }
    }
}

fn opened(ledger: &Ledger) -> (EpochReason, Option<(Epoch, Seq)>) {
    let log = ledger.log().unwrap();
    let first = ledger.reader().unwrap().events(log, Seq(1), 1).unwrap().remove(0);
    let Ok(sync_model::Event { fact: Fact::EpochOpened(opened), .. }) = first.event else { panic!() };
    (opened.reason, opened.parent.map(|parent| (parent.epoch, parent.last)))
}

fn take(ledger: &Ledger, block: impl Into<Incoming>) -> TakenIn {
    let block = block.into();
    ledger.call(move |draft| draft.take_in(&block, stamp(9_000))).unwrap()
}

fn block(ledger: &Ledger, log: LogId, first: u64) -> Block {
    ledger.reader().unwrap().block(log, Seq(first), 512, 48 * 1024).unwrap().unwrap()
}

fn equal(store: &Ledger, hq: &Ledger) {
    let (store, hq) = (store.reader().unwrap(), hq.reader().unwrap());
    let up = |reader: &sync_store::Reader| {
        let mut rows = reader.heads().unwrap();
        rows.retain(|row| row.log.direction == Direction::Up);
        rows.into_iter().map(|row| (row.log, row.head, row.link)).collect::<Vec<_>>()
    };
    assert_eq!(up(&store), up(&hq));
    assert_eq!(store.balances(STORE).unwrap(), hq.balances(STORE).unwrap());
    assert_eq!(store.money(STORE).unwrap(), hq.money(STORE).unwrap());
}

#[test]
fn an_older_database_beside_its_witness_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("ledger.db"), dir.path().join("old.db"));
    let (ledger, _) = open(&path, OWNER);
    sell(&ledger, 0..10);
    let log = ledger.log().unwrap();
    drop(ledger);
    put(&path, &old, false);
    let (ledger, report) = open(&path, OWNER);
    assert_eq!((report.restored, ledger.log()), (false, Some(log)), "nothing happened to it");
    sell(&ledger, 10..20);
    drop(ledger);
    put(&old, &path, false);
    let (ledger, report) = open(&path, OWNER);
    assert!(report.restored);
    assert!(ledger.log().unwrap() > log);
    assert_eq!(opened(&ledger), (EpochReason::RolledBack, Some((log.epoch, Seq(11)))));
    let log = ledger.log().unwrap();
    drop(ledger);
    assert_eq!(open(&path, OWNER).0.log(), Some(log), "once is enough");
}

#[test]
fn a_database_without_its_witness_or_with_another_ones_was_moved() {
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("ledger.db"), dir.path().join("other.db"));
    let (ledger, _) = open(&path, OWNER);
    sell(&ledger, 0..5);
    let log = ledger.log().unwrap();
    drop(ledger);
    put(&path, &other, false);
    let (moved, report) = open(&other, OWNER);
    assert!(report.restored);
    assert_eq!(opened(&moved), (EpochReason::Restored, Some((log.epoch, Seq(6)))));
    drop(moved);
    put(&other, &path, false);
    let (swapped, _) = open(&path, OWNER);
    assert_eq!(opened(&swapped).0, EpochReason::Restored);
    drop(swapped);
    // A damaged witness proves nothing, so it is not believed.
    std::fs::write(dir.path().join("ledger.db.generation"), [7; 256]).unwrap();
    assert!(open(&path, OWNER).1.restored);
}

#[test]
fn a_lost_ledger_beside_a_witness_does_not_begin_under_an_old_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, OWNER);
    sell(&ledger, 0..5);
    let log = ledger.log().unwrap();
    drop(ledger);
    std::fs::remove_file(&path).unwrap();
    let (ledger, report) = open(&path, OWNER);
    assert!(report.created && ledger.log().unwrap() > log);
}

#[test]
fn a_restored_store_gets_back_what_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (path, backup) = (dir.path().join("ledger.db"), dir.path().join("backup.db"));
    let hq = open(&dir.path().join("hq.db"), Owner::Hq).0;
    let (ledger, _) = open(&path, OWNER);
    sell(&ledger, 0..10);
    ledger.backup(&backup).unwrap();
    sell(&ledger, 10..30);
    let log = ledger.log().unwrap();
    take(&hq, block(&ledger, log, 1));
    drop(ledger);
    let (store, report) = open(&backup, OWNER);
    assert!(report.restored);
    let new = store.log().unwrap();
    sell(&store, 40..45);
    take(&hq, block(&store, new, 1));
    // HQ's copy from a wrong place on is a gap, from the right place on it is booked, and again is nothing new.
    let gap = take(&store, block(&hq, log, 20)).ingested;
    assert_eq!(gap.outcome, IngestOutcome::Gap { missing: (Seq(12), Seq(19)) });
    let back = take(&store, block(&hq, log, 12));
    assert_eq!(back.ingested.outcome, IngestOutcome::Applied { first: Seq(12), last: Seq(31), odd: 0 });
    assert_eq!((back.opened, back.moved, store.log()), (None, None, Some(new)));
    assert_eq!(take(&store, block(&hq, log, 1)).ingested.outcome, IngestOutcome::Duplicate);
    equal(&store, &hq);
    assert!(store.verify().unwrap().ok());
    assert!(hq.verify().unwrap().ok());
}

#[test]
fn a_rollback_that_only_hq_notices_moves_what_was_written_since() {
    let dir = tempfile::tempdir().unwrap();
    let (path, image) = (dir.path().join("ledger.db"), dir.path().join("image.db"));
    let hq = open(&dir.path().join("hq.db"), Owner::Hq).0;
    let (ledger, _) = open(&path, OWNER);
    ledger.call(|draft| draft.append(&event(1, receipt(1_001, 90_000)))).unwrap();
    sell(&ledger, 0..10);
    let log = ledger.log().unwrap();
    drop(ledger);
    // The whole machine goes back: file and witness.
    put(&path, &image, true);
    let ledger = open(&path, OWNER).0;
    sell(&ledger, 10..25);
    take(&hq, block(&ledger, log, 1));
    drop(ledger);
    put(&image, &path, true);
    let (store, report) = open(&path, OWNER);
    assert_eq!((report.restored, store.log()), (false, Some(log)), "from inside it looks healthy");

    // Trading goes on under contested names, with a reference inside the branch and an answer to a till.
    sell(&store, 100..103);
    let opening = ReservationOpened {
        channel: Text::new("web").unwrap(),
        sku: Sku(1_001),
        quantity: Milli(2_000),
        reference: Text::new("order").unwrap(),
        expires: stamp(99_000).at,
    };
    let reserved = store.call(move |draft| draft.append(&event(50, opening))).unwrap();
    let answered = store
        .call(move |draft| {
            let id = draft.append(&event(51, sale(103)))?;
            draft.remember("till-1-103", &[3; 32], id)?;
            Ok(id)
        })
        .unwrap();
    let closing = ReservationClosed {
        reservation: FactRef::from(reserved),
        outcome: ReservationOutcome::Voided,
        sku: Sku(1_001),
        quantity: Milli(2_000),
    };
    store.call(move |draft| draft.append(&event(52, closing))).unwrap();

    // HQ's copy, offered from a place that does not fit, and then from one that does.
    let other = Block { prev: Link([1; 32]), ..block(&hq, log, 16) };
    assert_eq!(take(&store, other).ingested.outcome, IngestOutcome::ChainBreak { at: Seq(16) });
    let taken = take(&store, block(&hq, log, 5));
    let (old, new, count) = taken.moved.unwrap();
    assert_eq!((old.seq, count), (Seq(13), 6));
    assert_eq!(taken.opened, Some(new.log));
    assert_eq!(store.log(), Some(new.log));
    assert_eq!(opened(&store), (EpochReason::RolledBack, Some((log.epoch, Seq(12)))));
    let again = store.call(|draft| draft.first_answer("till-1-103", &[3; 32])).unwrap().unwrap();
    assert_eq!((again.log, again.seq.0 - new.seq.0), (new.log, answered.seq.0 - old.seq.0));
    let moved = FactRef { epoch: new.log.epoch, seq: Seq(new.seq.0 + reserved.seq.0 - old.seq.0) };
    let row = store.call(move |draft| draft.reservation(moved)).unwrap().unwrap();
    assert!(row.closed.is_some(), "the closing fact still means this reservation");

    take(&hq, block(&store, new.log, 1));
    equal(&store, &hq);
    for ledger in [&store, &hq] {
        let report = ledger.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
    }
    sell(&store, 200..205);
    assert!(store.verify().unwrap().ok());
}

#[test]
fn a_restored_hq_gets_its_own_log_back_from_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, store) = (open(&dir.path().join("hq.db"), Owner::Hq).0, open(&dir.path().join("s.db"), OWNER).0);
    let note = |text: &str| event(1, Command::Note(Text::new(text).unwrap()));
    let (first, second, third) = (note("one"), note("two"), note("three"));
    let id = hq.call(move |draft| draft.append_down(STORE, &first)).unwrap();
    hq.backup(&dir.path().join("backup.db")).unwrap();
    hq.call(move |draft| draft.append_down(STORE, &second)).unwrap();
    take(&store, block(&hq, id.log, 1));
    drop(hq);
    let hq = open(&dir.path().join("backup.db"), Owner::Hq).0;
    let new = hq.call(move |draft| draft.append_down(STORE, &third)).unwrap();
    assert!(new.log > id.log);
    let back = take(&hq, block(&store, id.log, 1));
    assert_eq!(back.ingested.outcome, IngestOutcome::Applied { first: Seq(3), last: Seq(3), odd: 0 });
    take(&store, block(&hq, new.log, 1));
    assert!(hq.verify().unwrap().ok() && store.verify().unwrap().ok());
    let heads = |ledger: &Ledger| {
        let mut rows = ledger.reader().unwrap().heads().unwrap();
        rows.retain(|row| row.log.direction == Direction::Down);
        rows.into_iter().map(|row| (row.log, row.link)).collect::<Vec<_>>()
    };
    assert_eq!(heads(&hq), heads(&store));
}

#[test]
fn an_order_to_open_an_epoch_is_obeyed_once() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, store) = (open(&dir.path().join("hq.db"), Owner::Hq).0, open(&dir.path().join("s.db"), OWNER).0);
    let old = store.log().unwrap();
    let id = hq.call(|draft| draft.append_down(STORE, &event(1, Command::OpenEpoch))).unwrap();
    let taken = take(&store, block(&hq, id.log, 1));
    assert_eq!(taken.said, [Fact::Command(Command::OpenEpoch)]);
    assert_eq!(taken.opened, store.log());
    assert!(store.log().unwrap() > old);
    assert_eq!(opened(&store), (EpochReason::Ordered, Some((old.epoch, Seq(1)))));
    let again = take(&store, block(&hq, id.log, 1));
    assert_eq!((again.ingested.outcome, again.opened), (IngestOutcome::Duplicate, None));
}

#[test]
fn blocks_with_the_start_of_a_link_find_the_rest_here() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, store) = (open(&dir.path().join("hq.db"), Owner::Hq).0, open(&dir.path().join("s.db"), OWNER).0);
    sell(&store, 0..100);
    let log = store.log().unwrap();
    let short = |first: u64| {
        let whole = block(&store, log, first);
        let start = *whole.prev.0.first_chunk().unwrap();
        Incoming { prev: Prev::Short(start), ..Incoming::from(whole) }
    };
    let gap = take(&hq, short(50)).ingested.outcome;
    assert_eq!(gap, IngestOutcome::Gap { missing: (Seq(1), Seq(49)) });
    let mut part = short(1);
    part.records.truncate(70);
    take(&hq, part);
    let done = take(&hq, short(33)).ingested;
    assert_eq!(done.outcome, IngestOutcome::Applied { first: Seq(71), last: Seq(101), odd: 0 });
    let other = Incoming { prev: Prev::Short([9; 8]), ..short(101) };
    let mut other = Incoming { first: Seq(102), ..other };
    other.records = vec![sale(500).till.0.to_be_bytes().to_vec()];
    assert_eq!(take(&hq, other).ingested.outcome, IngestOutcome::ChainBreak { at: Seq(102) });
    equal(&store, &hq);
}
