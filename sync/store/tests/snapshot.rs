//! Snapshots and what follows from them: a replacement gateway, a HQ that has nothing left, an old disk.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::trade::{BEGIN, DAY, Trade, at, carry, folds, retention, send, settle};
use common::{STORE, config, open};
use std::path::{Path, PathBuf};
use sync_model::{Direction, EpochReason, Event, Fact, LogId, Seq, StoreId, UnixMillis};
use sync_store::{Ledger, LedgerError, Loaded, Owner, Reader, SnapshotNote, verify_file};
use tempfile::TempDir;

const OWNER: Owner = Owner::Store(STORE);

fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { TempDir::new_in(shm).unwrap() } else { TempDir::new().unwrap() }
}

struct Shop {
    store: Ledger,
    hq: Ledger,
    trade: Trade,
    folder: TempDir,
}

impl Shop {
    fn new(seed: u64, days: i64) -> Self {
        let folder = folder();
        let store = open(&folder.path().join("store.db"), OWNER).0;
        let hq = open(&folder.path().join("hq.db"), Owner::Hq).0;
        let mut shop = Self { store, hq, trade: Trade::new(seed), folder };
        for day in 0..days {
            shop.day(day);
            settle(&shop.store, &shop.hq, day);
        }
        shop
    }

    fn day(&mut self, day: i64) {
        self.trade.day(&self.store, day, 50);
        self.trade.office(&self.hq, day);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn snapshot(reader: &Reader, before: UnixMillis) -> (SnapshotNote, Vec<u8>) {
    let mut file = Vec::new();
    let note = reader.snapshot(STORE, before, at(500, 0).at, &mut file).unwrap();
    assert_eq!(note.bytes, file.len() as u64);
    (note, file)
}

fn bootstrap(path: &Path, file: &[u8]) -> Result<Loaded, LedgerError> {
    Ledger::bootstrap(&config(path, OWNER), file, at(600, 0))
}

/// Fold rows without the counts of kinds that a new epoch begins with.
fn comparable(path: &Path) -> Vec<String> {
    let kinds = ["Integer(1)", "Integer(32)"];
    let begins = |row: &String| {
        row.starts_with("tally") && kinds.iter().any(|kind| row.split(", ").nth(2) == Some(kind))
    };
    folds(path, STORE).into_iter().filter(|row| !begins(row)).collect()
}

/// HQ returns what the store lacks of its logs.
fn recall(store: &Ledger, hq: &Ledger) {
    for row in hq.reader().unwrap().heads().unwrap() {
        if row.log.direction == Direction::Up {
            send(hq, store, row.log, 601);
        }
    }
}

fn opened(ledger: &Ledger) -> (EpochReason, Option<Seq>) {
    let log = ledger.log().unwrap();
    let first = ledger.reader().unwrap().events(log, Seq(1), 1).unwrap().remove(0);
    let Ok(Event { fact: Fact::EpochOpened(opened), .. }) = first.event else { panic!() };
    (opened.reason, opened.parent.map(|parent| parent.last))
}

#[test]
fn a_snapshot_and_what_follows_fold_to_the_rows_of_a_replay_from_the_first_record() {
    for seed in 1..=5 {
        let mut shop = Shop::new(seed, 30);
        let floors = [i64::MIN, BEGIN + 12 * DAY, BEGIN + 29 * DAY, i64::MAX];
        let files: Vec<Vec<u8>> = floors
            .iter()
            .map(|before| {
                let (note, file) = snapshot(&shop.hq.reader().unwrap(), UnixMillis(*before));
                let (again, same) = snapshot(&shop.hq.reader().unwrap(), UnixMillis(*before));
                assert_eq!((&note, &file), (&again, &same), "one state, one file");
                file
            })
            .collect();
        let at_v = comparable(shop.hq.path());
        assert!(at_v.len() > 80);
        // The same records one by one, from the first on.
        let replayed = open(&shop.path("replayed.db"), OWNER).0;
        recall(&replayed, &shop.hq);
        carry(&shop.hq, &replayed, Direction::Down, 30);
        assert_eq!(comparable(replayed.path()), at_v);
        // The old gateway goes on for a while after the snapshot.
        for day in 30..36 {
            shop.day(day);
            settle(&shop.store, &shop.hq, day);
        }
        for (number, (file, before)) in files.iter().zip(floors).enumerate() {
            let path = shop.path(&format!("new-{number}.db"));
            let loaded = bootstrap(&path, file).unwrap();
            assert_eq!(comparable(&path), at_v, "seed {seed}, floor {before}: at the vector");
            let report = verify_file(&path).unwrap();
            assert!(report.ok(), "{:?}", report.problems);
            assert!(report.events > loaded.records, "the new epoch's first facts");
            let (store, report) = open(&path, OWNER);
            assert_eq!((report.restored, report.salvaged, store.log()), (false, None, Some(loaded.log)));
            assert_eq!(opened(&store).0, EpochReason::Restored);
            recall(&store, &shop.hq);
            carry(&shop.hq, &store, Direction::Down, 602);
            assert_eq!(
                comparable(&path),
                comparable(shop.hq.path()),
                "seed {seed}, floor {before}: and the tail"
            );
            let report = store.verify().unwrap();
            assert!(report.ok(), "{:?}", report.problems);
        }
    }
}

#[test]
fn a_replacement_gateway_trades_and_settles_in_its_own_epoch() {
    let mut shop = Shop::new(7, 20);
    let (note, file) = snapshot(&shop.hq.reader().unwrap(), at(10, 0).at);
    assert!(note.records > 300 && note.rows > 50, "{note:?}");
    let path = shop.path("new.db");
    let loaded = bootstrap(&path, &file).unwrap();
    assert_eq!((&loaded.name, loaded.made), (&note.name, at(500, 0).at.0));
    let (store, _) = open(&path, OWNER);
    let old = shop.store.log().unwrap();
    assert!(loaded.log > old);
    let parent = shop.hq.reader().unwrap().head(old).unwrap().unwrap().head;
    assert_eq!(opened(&store), (EpochReason::Restored, Some(parent)));
    shop.trade.day(&store, 600, 60);
    settle(&store, &shop.hq, 600);
    assert_eq!(folds(&path, STORE), folds(shop.hq.path(), STORE), "equal folds at equal vectors");
    assert!(shop.hq.verify().unwrap().ok() && store.verify().unwrap().ok());
    // What its checkpoint says about the floors is what HQ finds in its records.
    let (_, said) = store.reader().unwrap().checkpoint(STORE).unwrap().unwrap();
    assert_eq!(shop.hq.reader().unwrap().confirms(STORE, &said).unwrap(), Some(true));
    // A snapshot of this ledger serves as well: it has floors of its own.
    let (_, second) = snapshot(&store.reader().unwrap(), at(15, 0).at);
    let third = shop.path("third.db");
    bootstrap(&third, &second).unwrap();
    assert_eq!(comparable(&third), comparable(&path));
    // And it forgets like any other.
    let plan = store.reader().unwrap().plan_checkpoint(STORE, retention(630, 20)).unwrap().unwrap();
    store.call(move |draft| draft.checkpoint(&plan, at(630, 0))).unwrap();
    settle(&store, &shop.hq, 630);
    assert!(store.call(|draft| draft.truncate(u64::MAX)).unwrap().records > 300);
    assert!(store.verify().unwrap().ok());
}

#[test]
fn a_damaged_short_foreign_or_needless_snapshot_makes_no_ledger() {
    let shop = Shop::new(3, 6);
    let (_, file) = snapshot(&shop.hq.reader().unwrap(), at(3, 0).at);
    let path = shop.path("new.db");
    let nothing_left = || {
        let names: Vec<_> = std::fs::read_dir(shop.folder.path()).unwrap().flatten().collect();
        assert!(!names.iter().any(|name| {
            let name = name.file_name();
            let name = name.to_string_lossy();
            name.starts_with("new.db") && name != "new.db.lock"
        }));
    };
    let step = (file.len() / 97).max(1);
    for at in (0..file.len()).step_by(step) {
        let mut sick = file.clone();
        sick[at] ^= 0x10;
        bootstrap(&path, &sick).unwrap_err();
        bootstrap(&path, &file[..at]).unwrap_err();
        nothing_left();
    }
    bootstrap(&path, &[file.as_slice(), &[0]].concat()).unwrap();
    let again = bootstrap(&path, &file).unwrap_err();
    assert!(matches!(again, LedgerError::Refused(refusal) if refusal.code == "ledger-exists"));
    let other = Ledger::bootstrap(
        &config(&shop.path("other.db"), Owner::Store(StoreId(8))),
        file.as_slice(),
        at(600, 0),
    );
    assert!(matches!(other, Err(LedgerError::Refused(refusal)) if refusal.code == "wrong-store"));
    let nobody = shop.hq.reader().unwrap().snapshot(StoreId(99), at(0, 0).at, at(0, 0).at, Vec::new());
    assert!(matches!(nobody, Err(LedgerError::Refused(refusal)) if refusal.code == "no-snapshot"));
}

#[test]
fn an_old_disk_gives_what_it_still_has_exactly_once() {
    for snapshot_first in [true, false] {
        let mut shop = Shop::new(11, 10);
        let (_, file) = snapshot(&shop.hq.reader().unwrap(), at(5, 0).at);
        // Settled after the snapshot, and never settled.
        shop.day(10);
        settle(&shop.store, &shop.hq, 10);
        shop.day(11);
        let old_log = shop.store.log().unwrap();
        let head = shop.store.reader().unwrap().head(old_log).unwrap().unwrap().head;
        let id = sync_model::EventId { log: old_log, seq: head };
        shop.store.call(move |draft| draft.remember("till", &[4; 32], id)).unwrap();
        let old = shop.store.path().to_owned();
        let path = shop.path("new.db");
        drop(shop.store);
        if snapshot_first {
            bootstrap(&path, &file).unwrap();
        }
        let (store, _) = open(&path, OWNER);
        // Before HQ has returned what came after the snapshot, and after, is the same.
        if !snapshot_first {
            recall(&store, &shop.hq);
        }
        let done = store.import(&old, STORE, at(700, 0)).unwrap();
        assert!(done.complete(), "{done:?}");
        assert!(done.taken() >= 45 && done.keys == 1, "{done:?}");
        assert_eq!(store.reader().unwrap().head(old_log).unwrap().unwrap().head, head);
        let rows = folds(&path, STORE);
        let again = store.import(&old, STORE, at(701, 0)).unwrap();
        assert_eq!((again.taken(), again.keys, again.complete()), (0, 0, true));
        assert_eq!(folds(&path, STORE), rows);
        assert_eq!(store.call(|draft| draft.first_answer("till", &[4; 32])).unwrap(), Some(id));
        settle(&store, &shop.hq, 701);
        assert_eq!(folds(&path, STORE), folds(shop.hq.path(), STORE));
        assert!(store.verify().unwrap().ok() && shop.hq.verify().unwrap().ok());
        // The old gateway comes back to life and sends the same: nothing counts twice.
        let (zombie, _) = open(&old, OWNER);
        send(&zombie, &shop.hq, old_log, 702);
        let heads = shop.hq.reader().unwrap().head(old_log).unwrap().unwrap();
        assert_eq!(heads.head, head);
        assert_eq!(folds(&path, STORE), folds(shop.hq.path(), STORE));
    }
}

#[test]
fn an_old_disk_with_another_history_or_a_later_beginning_is_refused_by_name() {
    let mut shop = Shop::new(13, 20);
    let (_, file) = snapshot(&shop.hq.reader().unwrap(), at(18, 0).at);
    let old_log = shop.store.log().unwrap();
    let plan = shop.store.reader().unwrap().plan_checkpoint(STORE, retention(20, 5)).unwrap().unwrap();
    shop.store.call(move |draft| draft.checkpoint(&plan, at(20, 0))).unwrap();
    settle(&shop.store, &shop.hq, 20);
    shop.store.call(|draft| draft.truncate(u64::MAX)).unwrap();
    shop.trade.day(&shop.store, 21, 30);
    let old = shop.store.path().to_owned();
    let Shop { store: gone, hq, folder, .. } = shop;
    drop(gone);
    let at_path = |name: &str| folder.path().join(name);
    // A gateway that knows nothing yet cannot take a log from its middle.
    let (empty, _) = Ledger::open(config(&at_path("empty.db"), OWNER), at(650, 0)).unwrap();
    let done = empty.import(&old, STORE, at(700, 0)).unwrap();
    assert!(done.taken() == 0 && !done.complete(), "{done:?}");
    assert!(
        done.logs.iter().all(|log| log.left.as_ref().is_some_and(|left| left.contains("bootstrap"))),
        "{done:?}"
    );
    // HQ got another history under these names meanwhile.
    let last = hq.reader().unwrap().head(old_log).unwrap().unwrap();
    let record = Event::new(at(22, 0), common::sale(900_000)).to_record().unwrap();
    let theirs =
        sync_core::Block { log: old_log, first: last.head.next(), prev: last.link, records: vec![record] };
    hq.call(move |draft| draft.ingest(&theirs, UnixMillis(0))).unwrap();
    let path = at_path("new.db");
    bootstrap(&path, &file).unwrap();
    let (store, _) = open(&path, OWNER);
    recall(&store, &hq);
    let before = folds(&path, STORE);
    let done = store.import(&old, STORE, at(700, 0)).unwrap();
    let left = done.logs.iter().find(|log| log.log == old_log).unwrap();
    assert!(left.left.as_ref().unwrap().contains("another history"), "{left:?}");
    assert_eq!(folds(&path, STORE), before);
    assert!(matches!(
        store.import(&at_path("hq-none.db"), STORE, at(700, 0)),
        Err(LedgerError::Storage { .. })
    ));
    let own = store.import(&path, STORE, at(700, 0)).unwrap();
    assert_eq!(own.taken(), 0);
    let named = |log: LogId| own.logs.iter().find(|found| found.log == log).unwrap().left.clone();
    assert!(named(store.log().unwrap()).unwrap().contains("in use here"));
}
