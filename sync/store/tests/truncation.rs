//! Truncation: what is forgotten is never needed again, and everything that refers to it still holds.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::trade::{BEGIN, DAY, Trade, at, carry, folds, retention, settle};
use common::{STORE, event, open, sale};
use std::path::{Path, PathBuf};
use sync_core::replica::{Incoming, Prev};
use sync_core::{Ack, Block, Link};
use sync_evidence::LogEnd;
use sync_model::{BusinessDay, Direction, Event, Fact, LogId, Sale, Seq, TillId, UnixMillis};
use sync_store::{IngestOutcome, Ledger, LedgerError, Owner, Retention, TakenIn};
use tempfile::TempDir;

const OWNER: Owner = Owner::Store(STORE);

fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { TempDir::new_in(shm).unwrap() } else { TempDir::new().unwrap() }
}

/// A store with `days` of trade, settled with HQ every day.
struct Shop {
    store: Ledger,
    hq: Ledger,
    trade: Trade,
    path: PathBuf,
    _folder: TempDir,
}

impl Shop {
    fn new(seed: u64, days: i64) -> Self {
        let folder = folder();
        let path = folder.path().join("store.db");
        let (store, hq) = (open(&path, OWNER).0, open(&folder.path().join("hq.db"), Owner::Hq).0);
        let mut shop = Self { store, hq, trade: Trade::new(seed), path, _folder: folder };
        for day in 0..days {
            shop.day(day);
        }
        shop
    }

    fn day(&mut self, day: i64) {
        self.trade.day(&self.store, day, 60);
        self.trade.office(&self.hq, day);
        settle(&self.store, &self.hq, day);
    }

    fn copy(&self, name: &str) -> PathBuf {
        let copy = self._folder.path().join(name);
        let conn = rusqlite::Connection::open(&self.path).unwrap();
        conn.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        copy
    }
}

/// Writes a checkpoint, lets HQ acknowledge it, and truncates in steps. Gives the records that went.
fn truncate(store: &Ledger, hq: &Ledger, rule: Retention, now: i64, step: u64) -> u64 {
    let Some(plan) = store.reader().unwrap().plan_checkpoint(STORE, rule).unwrap() else { return 0 };
    let records = plan.records();
    store.call(move |draft| draft.checkpoint(&plan, at(now, 0))).unwrap();
    let before = store.call(move |draft| draft.truncate(step)).unwrap();
    assert_eq!((before.records, before.done), (0, false), "HQ does not know the checkpoint yet");
    carry(store, hq, Direction::Up, now);
    let mut gone = 0;
    loop {
        let done = store.call(move |draft| draft.truncate(step)).unwrap();
        assert!(done.records <= step);
        gone += done.records;
        if done.done {
            break;
        }
        let report = store.verify().unwrap();
        assert!(report.ok(), "half way: {:?}", report.problems);
    }
    assert_eq!(gone, records);
    gone
}

fn up(ledger: &Ledger) -> LogId {
    ledger.log().unwrap()
}

fn take(ledger: &Ledger, block: impl Into<Incoming>) -> TakenIn {
    let block = block.into();
    ledger.call(move |draft| draft.take_in(&block, at(90, 0))).unwrap()
}

#[test]
fn folds_are_the_same_rows_with_and_without_the_old_records() {
    for seed in 1..=6 {
        let shop = Shop::new(seed, 40);
        let before = folds(&shop.path, STORE);
        assert!(before.len() > 100, "{}", before.len());
        let whole = shop.copy("whole.db");
        let gone = truncate(&shop.store, &shop.hq, retention(40, 10), 40, 333);
        assert!(gone > 1_000, "{gone}");
        // The checkpoint itself is counted; nothing else changed.
        let count = |rows: &[String]| rows.iter().filter(|row| !row.starts_with("tally")).count();
        let after = folds(&shop.path, STORE);
        assert_eq!(count(&before), count(&after));
        for row in before.iter().filter(|row| !row.starts_with("tally")) {
            assert!(after.contains(row), "{row}");
        }
        let report = shop.store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        assert!(report.events < before_events(&whole) - 900);
        assert_eq!(report.problem_count, 0);
        // HQ has every record and finds that the store told the truth; so does the copy from before.
        let (id, said) = shop.store.reader().unwrap().checkpoint(STORE).unwrap().unwrap();
        assert_eq!(shop.hq.reader().unwrap().confirms(STORE, &said).unwrap(), Some(true));
        assert_eq!(sync_store::Reader::open(&whole).unwrap().confirms(STORE, &said).unwrap(), Some(true));
        let mut lie = said.clone();
        lie.balances[0] ^= 1;
        assert_eq!(shop.hq.reader().unwrap().confirms(STORE, &lie).unwrap(), Some(false));
        let stored = shop.hq.reader().unwrap().event(id).unwrap().unwrap();
        assert_eq!(stored.event.unwrap().fact, Fact::Checkpointed(said));
    }
}

fn before_events(path: &Path) -> u64 {
    sync_store::verify_file(path).unwrap().events
}

#[test]
fn truncation_after_truncation_and_a_reopen_go_on() {
    let mut shop = Shop::new(11, 30);
    let mut gone = 0;
    for now in 30..60 {
        shop.day(now);
        gone += truncate(&shop.store, &shop.hq, retention(now, 7), now, 64);
        let report = shop.store.verify().unwrap();
        assert!(report.ok(), "day {now}: {:?}", report.problems);
    }
    assert!(gone > 2_500, "{gone}");
    let log = up(&shop.store);
    let (before, rows) = (shop.store.reader().unwrap().heads().unwrap(), folds(&shop.path, STORE));
    drop(shop.store);
    let (store, report) = open(&shop.path, OWNER);
    assert_eq!((report.restored, report.salvaged, store.log()), (false, None, Some(log)));
    assert_eq!(store.reader().unwrap().heads().unwrap(), before);
    assert_eq!(folds(&shop.path, STORE), rows);
    shop.trade.day(&store, 61, 30);
    settle(&store, &shop.hq, 61);
    assert_eq!(folds(&shop.path, STORE), folds(shop.hq.path(), STORE), "equal folds at equal vectors");
    assert!(shop.hq.verify().unwrap().ok());
}

#[test]
fn what_is_not_acknowledged_or_young_or_among_the_newest_stays() {
    let mut shop = Shop::new(3, 20);
    shop.trade.day(&shop.store, 20, 50);
    let log = up(&shop.store);
    let reader = shop.store.reader().unwrap();
    let acked = reader.acked(log).unwrap().unwrap().upto;
    let far = Retention { before: UnixMillis(i64::MAX), kept: 0, least: 1, most: u64::MAX };
    let plan = reader.plan_checkpoint(STORE, far).unwrap().unwrap();
    let end = plan.fact().ends.iter().find(|end| end.direction == Direction::Up).unwrap();
    assert_eq!(end.upto, acked, "a clock that lies ahead still keeps what HQ has not acknowledged");
    let kept = Retention { kept: 400, ..far };
    let plan = reader.plan_checkpoint(STORE, kept).unwrap().unwrap();
    let head = reader.head(log).unwrap().unwrap().head;
    assert!(plan.fact().ends.iter().all(|end| end.upto.0 <= head.0 - 400));
    assert!(plan.fact().ends.iter().all(|end| end.direction == Direction::Up), "the down log is shorter");
    assert_eq!(reader.plan_checkpoint(STORE, Retention { least: 100_000, ..far }).unwrap(), None);
    let some = Retention { most: 100, ..far };
    assert_eq!(reader.plan_checkpoint(STORE, some).unwrap().unwrap().records(), 100);
    let old = Retention { before: UnixMillis(BEGIN + 5 * DAY), ..far };
    let plan = reader.plan_checkpoint(STORE, old).unwrap().unwrap();
    let end = plan.fact().ends.iter().find(|end| end.direction == Direction::Up).unwrap();
    let first = reader.events(log, end.upto.next(), 1).unwrap().remove(0);
    assert!(first.event.unwrap().stamp.at >= UnixMillis(BEGIN + 5 * DAY));
    let hq = shop.hq.reader().unwrap();
    assert!(hq.plan_checkpoint(STORE, far).unwrap().is_some(), "a reader only looks");
    let plan = hq.plan_checkpoint(STORE, far).unwrap().unwrap();
    let refused = shop.hq.call(move |draft| draft.checkpoint(&plan, at(20, 0)));
    assert!(matches!(refused, Err(LedgerError::Refused(refusal)) if refusal.code == "wrong-owner"));
}

#[test]
fn numbers_keys_and_references_outlive_their_records() {
    let shop = Shop::new(5, 30);
    let digest = [7; 32];
    // The first sale of day 0 was answered under a key.
    let log = up(&shop.store);
    let first = shop.store.reader().unwrap().events(log, Seq(1), 2_000).unwrap();
    let sold = first.iter().find(|stored| matches!(&stored.event, Ok(Event { fact: Fact::Sale(_), .. })));
    let sold = sold.unwrap().clone();
    let id = sold.id;
    shop.store.call(move |draft| draft.remember("till-1", &digest, id)).unwrap();
    truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
    let reader = shop.store.reader().unwrap();
    assert!(reader.floor(log).unwrap() > id.seq);
    assert!(reader.event(id).unwrap().is_none(), "the record is gone");
    let Ok(Event { fact: Fact::Sale(sale), .. }) = sold.event.clone() else { panic!() };
    assert_eq!(reader.ticket(STORE, sale.till, sale.number).unwrap(), Some(id), "its number is not");
    let again = sale.clone();
    let refused = shop.store.call(move |draft| draft.append(&event(1, again)));
    assert!(matches!(refused, Err(LedgerError::Refused(refusal)) if refusal.code == "duplicate-ticket"));
    let answer = shop.store.call(move |draft| draft.first_answer("till-1", &digest)).unwrap();
    assert_eq!(answer, Some(id), "a retry gets the first answer");
    assert_eq!(shop.store.call(|draft| draft.ticket(TillId(1), 999_999)).unwrap(), None);
    // Keys of truncated facts are still forgotten when they are old enough, and not before.
    let forget = |before: i64, kept: usize| {
        shop.store.call(move |draft| draft.forget_answers(UnixMillis(before), kept)).unwrap()
    };
    assert_eq!(forget(BEGIN + DAY, 0), 0, "the floor says: may be as young as day 20");
    assert_eq!(forget(BEGIN + 25 * DAY, 1), 0, "the newest stay");
    assert_eq!(forget(BEGIN + 25 * DAY, 0), 1);
}

#[test]
fn an_old_peer_is_told_that_it_is_known_or_that_it_is_gone() {
    let shop = Shop::new(9, 30);
    let (log, hq) = (up(&shop.store), shop.hq.reader().unwrap());
    truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
    let reader = shop.store.reader().unwrap();
    let floor = reader.floor(log).unwrap();
    assert!(matches!(reader.block(log, Seq(1), 10, 1_000), Err(LedgerError::Truncated { .. })));
    assert!(matches!(reader.block(log, floor, 10, 1_000), Err(LedgerError::Truncated { .. })));
    let block = reader.block(log, floor.next(), 10, 100_000).unwrap().unwrap();
    assert_eq!(Some(block), hq.block(log, floor.next(), 10, 100_000).unwrap());
    assert_eq!(reader.link(log, Seq(3)).unwrap(), None);
    assert_eq!(reader.link(log, floor).unwrap(), hq.link(log, floor).unwrap());
    assert_eq!(reader.events(log, Seq(1), 3).unwrap()[0].id.seq, floor.next());
    // Returned history in every position to the floor, with a whole and a short link before it.
    let before = reader.heads().unwrap();
    for first in [1, 5, floor.0 - 20, floor.0 - 9, floor.0, floor.0 + 1] {
        let block = hq.block(log, Seq(first), 20, 100_000).unwrap().unwrap();
        for short in [false, true] {
            let mut incoming = Incoming::from(block.clone());
            if short {
                let mut start = [0; 8];
                start.copy_from_slice(&block.prev.0[..8]);
                incoming.prev = Prev::Short(start);
            }
            let done = take(&shop.store, incoming);
            assert_eq!(done.ingested.outcome, IngestOutcome::Duplicate, "{first} {short}");
            assert_eq!((done.opened, done.moved), (None, None));
        }
    }
    assert_eq!(reader.heads().unwrap(), before);
    // Another history across the floor is seen where the chain reaches what was kept.
    let mut other = hq.block(log, Seq(floor.0 - 3), 10, 100_000).unwrap().unwrap();
    other.records[0] = event(4, sale(77_777)).to_record().unwrap();
    let done = take(&shop.store, other);
    assert!(matches!(done.ingested.outcome, IngestOutcome::ChainBreak { .. }));
    assert_eq!(reader.heads().unwrap(), before, "and nothing was moved for it");
    // The same at the down log, where the store is the receiver.
    let down = hq.heads().unwrap().into_iter().find(|row| row.log.direction == Direction::Down).unwrap().log;
    let down_floor = reader.floor(down).unwrap();
    assert!(down_floor > Seq(10));
    for first in [1, down_floor.0 - 2, down_floor.0 + 1] {
        let block = hq.block(down, Seq(first), 20, 100_000).unwrap().unwrap();
        assert_eq!(take(&shop.store, block).ingested.outcome, IngestOutcome::Duplicate);
    }
}

#[test]
fn a_branch_moves_above_the_floor_and_voids_a_checkpoint_it_takes_along() {
    for with_plan in [false, true] {
        let mut shop = Shop::new(13, 30);
        truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
        let log = up(&shop.store);
        let acked = shop.store.reader().unwrap().acked(log).unwrap().unwrap();
        // HQ has another history after what it acknowledged: a clone wrote it.
        let mut records = Vec::new();
        for number in 0..5 {
            records.push(event(number, sale(500_000 + u64::try_from(number).unwrap())).to_record().unwrap());
        }
        let theirs = Block { log, first: acked.upto.next(), prev: acked.link, records };
        assert!(matches!(take(&shop.hq, theirs.clone()).ingested.outcome, IngestOutcome::Applied { .. }));
        shop.trade.day(&shop.store, 31, 40);
        if with_plan {
            // A checkpoint that lies in the branch: its own name changes, so it is void.
            let rule = retention(32, 5);
            let plan = shop.store.reader().unwrap().plan_checkpoint(STORE, rule).unwrap().unwrap();
            shop.store.call(move |draft| draft.checkpoint(&plan, at(32, 0))).unwrap();
        }
        let done = take(&shop.store, theirs);
        let (_, new, count) = done.moved.unwrap();
        assert!(count >= 40 && new.log == done.opened.unwrap());
        let report = shop.store.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        let nothing = shop.store.call(|draft| draft.truncate(1_000)).unwrap();
        assert_eq!((nothing.records, nothing.done), (0, true));
        settle(&shop.store, &shop.hq, 33);
        assert_eq!(folds(&shop.path, STORE), folds(shop.hq.path(), STORE));
        assert!(truncate(&shop.store, &shop.hq, retention(45, 10), 45, 5_000) > 100, "the next one works");
        assert!(shop.store.verify().unwrap().ok());
    }
}

#[test]
fn a_plan_that_is_no_longer_true_is_refused() {
    let shop = Shop::new(17, 20);
    let log = up(&shop.store);
    let plan = shop.store.reader().unwrap().plan_checkpoint(STORE, retention(20, 5)).unwrap().unwrap();
    let conn = rusqlite::Connection::open(&shop.path).unwrap();
    drop(shop.store);
    conn.execute("UPDATE log SET acked = 10 WHERE direction = 0", []).unwrap();
    drop(conn);
    let (store, _) = open(&shop.path, OWNER);
    let refused = store.call(move |draft| draft.checkpoint(&plan, at(20, 0)));
    assert!(matches!(refused, Err(LedgerError::Refused(refusal)) if refusal.code == "checkpoint-stale"));
    assert_eq!(store.reader().unwrap().floor(log).unwrap(), Seq::ZERO);
}

#[test]
fn a_changed_base_row_floor_or_kept_number_is_named() {
    let shop = Shop::new(19, 30);
    truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
    drop(shop.store);
    let sick = [
        ("UPDATE base SET body = x'00000000000F4241' WHERE tab = 0", "checkpoint"),
        ("DELETE FROM base WHERE tab = 6", "checkpoint"),
        ("UPDATE floor SET link = zeroblob(32)", "chain-"),
        ("DELETE FROM floor", "chain-gap"),
        ("DELETE FROM ticket WHERE pos IN (SELECT min(pos) FROM ticket)", "checkpoint"),
        ("DELETE FROM meta WHERE key LIKE 'checkpoint%' OR key LIKE 'truncated%'", "checkpoint"),
    ];
    for (sql, name) in sick {
        let copy = shop._folder.path().join("sick.db");
        let conn = rusqlite::Connection::open(&shop.path).unwrap();
        conn.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        drop(conn);
        let conn = rusqlite::Connection::open(&copy).unwrap();
        assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
        drop(conn);
        let report = sync_store::verify_file(&copy).unwrap();
        assert!(!report.ok(), "{sql}");
        assert!(
            report.problems.iter().any(|problem| problem.name.starts_with(name)),
            "{sql}: {:?}",
            report.problems
        );
        std::fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn a_damaged_truncated_ledger_is_salvaged_from_its_floor() {
    let shop = Shop::new(23, 30);
    truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
    let (log, rows) = (up(&shop.store), folds(&shop.path, STORE));
    let id = shop.store.reader().unwrap().events(log, Seq(1), 1).unwrap()[0].id;
    shop.store.call(move |draft| draft.remember("old", &[1; 32], id)).unwrap();
    drop(shop.store);
    let conn = rusqlite::Connection::open(&shop.path).unwrap();
    // Damage that `open` sees: the end of the log.
    conn.execute("UPDATE meta SET value = x'00' WHERE key = 'owner'", []).unwrap();
    drop(conn);
    let (store, report) = open(&shop.path, OWNER);
    let salvage = report.salvaged.unwrap();
    assert!(!salvage.lost_hint.contains("log"), "{}", salvage.lost_hint);
    let verified = store.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
    let kept: Vec<String> = folds(&shop.path, STORE);
    for row in rows.iter().filter(|row| !row.starts_with("tally")) {
        assert!(kept.contains(row), "{row}");
    }
    assert_eq!(store.call(|draft| draft.first_answer("old", &[1; 32])).unwrap(), Some(id));
    // It settles on, and the next truncation starts from there.
    settle(&store, &shop.hq, 31);
    assert_eq!(folds(&shop.path, STORE), folds(shop.hq.path(), STORE));
    assert!(truncate(&store, &shop.hq, retention(45, 10), 45, 500) > 100);
    assert!(store.verify().unwrap().ok());
}

#[test]
fn an_ack_that_goes_back_behind_the_floor_takes_nothing_away() {
    let shop = Shop::new(29, 30);
    truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
    let log = up(&shop.store);
    let old = Ack { log, upto: Seq(5), link: Link([3; 32]), gap: None };
    shop.store.call(move |draft| draft.acked(&old)).unwrap();
    let acked = shop.store.reader().unwrap().acked(log).unwrap().unwrap().upto;
    assert!(acked > shop.store.reader().unwrap().floor(log).unwrap());
}

#[test]
fn books_begin_at_the_floor_and_agree_with_the_folds_and_with_headquarters() {
    let mut shop = Shop::new(31, 30);
    truncate(&shop.store, &shop.hq, retention(30, 10), 30, 1_000);
    // A day of its own, younger than the floor, and a number from below it in a record that was forced in.
    for number in 0..5 {
        let sold = Sale { day: BusinessDay(20_800), ..sale(800_000 + number) };
        shop.store.call(move |draft| draft.append(&event(1, sold))).unwrap();
    }
    shop.trade.day(&shop.store, 31, 30);
    settle(&shop.store, &shop.hq, 31);
    let (store, hq) = (shop.store.reader().unwrap(), shop.hq.reader().unwrap());
    let (here, there) = (store.books(STORE).unwrap(), hq.books(STORE).unwrap());
    assert_eq!(here.check(&store.folds(STORE).unwrap()), Vec::new());
    assert_eq!(there.check(&hq.folds(STORE).unwrap()), Vec::new());
    let young = BusinessDay(20_800);
    assert!(here.whole(young) && here.days().collect::<Vec<_>>() == [young]);
    assert_eq!(here.statement(young), there.statement(young), "tally, ends and all");
    // The other trading day has tickets that are gone: HQ alone can still state it.
    let old = BusinessDay(20_700);
    assert!(!here.whole(old) && there.whole(old));
    // Ends below the floor are unknown, ends above it are not.
    let ends = here.statement(young).ends;
    assert_eq!(store.books_at(STORE, &ends).unwrap().statement(young), there.statement(young));
    let log = up(&shop.store);
    let low = LogEnd { epoch: log.epoch, upto: Seq(3), link: hq.link(log, Seq(3)).unwrap().unwrap() };
    assert!(store.books_at(STORE, &[low]).is_err());
}
