//! The ledger at a store: append, refuse, fold, recover, reopen.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{STORE, config, event, open, receipt, sale, sell, stamp};
use std::sync::mpsc::channel;
use sync_core::MoneyAccount;
use sync_model::{
    AlarmAcknowledged, AlarmKind, AlarmRaised, AlarmReturned, Article, ArticlesSet, BatchMoved, BatchQueued,
    BatchState, DeviceClass, DeviceId, DeviceLost, DeviceSeen, EpochReason, Fact, FactRef, Milli,
    MilliCelsius, Minor, PriceChanged, ReservationClosed, ReservationOpened, ReservationOutcome, Seq, Sku,
    StockUnit, StoreId, TagConfirmed, TenderKind, Text, TillId, UnixMillis,
};
use sync_store::{Ledger, LedgerError, Owner, Refusal};

#[test]
fn first_open_writes_the_epoch_and_reopening_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, report) = open(&path, Owner::Store(STORE));
    assert!(report.created && report.salvaged.is_none() && !report.restored);
    assert_eq!(report.head, Seq(1));
    let log = ledger.log().unwrap();
    assert_eq!(log.epoch.0, 1_790_000_000);
    let first = ledger.reader().unwrap().events(log, Seq(1), 10).unwrap();
    let Ok(event) = &first[0].event else { panic!("undecodable") };
    assert!(matches!(&event.fact, Fact::EpochOpened(opened) if opened.reason == EpochReason::Provisioned));
    sell(&ledger, 0..100);
    drop(ledger);
    let (ledger, report) = open(&path, Owner::Store(STORE));
    assert!(!report.created);
    assert_eq!((report.log, report.head), (Some(log), Seq(101)));
    sell(&ledger, 100..200);
    let verified = ledger.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
    assert_eq!(verified.events, 201);
}

#[test]
fn folds_hold_what_was_sold() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    ledger.call(|draft| draft.append(&event(0, receipt(1_000, 50_000)))).unwrap();
    sell(&ledger, 0..70);
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.on_hand(STORE, Sku(1_000)).unwrap(), (Milli(40_000), Milli(0)));
    let in_draft = ledger.call(|draft| draft.on_hand(Sku(1_000))).unwrap();
    assert_eq!(in_draft, (Milli(40_000), Milli(0)));
    let money = reader.money(STORE).unwrap();
    assert_eq!(money.iter().map(|row| row.amount.0).sum::<i64>(), 0);
    let cash = money.iter().find(|row| row.account == MoneyAccount::Tender(TenderKind::Cash)).unwrap();
    let expected: i64 = (0..70).map(|number: i64| (number % 50 + 1) * 200).sum();
    assert_eq!(cash.amount, Minor(expected));
    assert!(reader.ticket(STORE, TillId(1), 5).unwrap().is_some());
    assert!(reader.ticket(STORE, TillId(2), 5).unwrap().is_none());
    let sold = reader.counts().unwrap().into_iter().find(|row| row.kind.name() == Some("sale")).unwrap();
    assert_eq!(sold.count, 70);
}

#[test]
fn a_refused_or_panicking_job_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let (sender, answers) = channel();
    for number in 0..60_u64 {
        let sender = sender.clone();
        let job = move |draft: &mut sync_store::Draft<'_>| {
            let id = draft.append(&event(0, sale(number)))?;
            match number % 3 {
                0 => Err(Refusal::new("no", "changed my mind")),
                1 => panic!("a bug in a job"),
                _ => Ok(id),
            }
        };
        ledger.submit(job, move |answer| sender.send((number, answer)).unwrap()).unwrap();
    }
    drop(sender);
    let answers: Vec<_> = answers.iter().collect();
    assert_eq!(answers.len(), 60);
    let mut seqs = Vec::new();
    for (number, answer) in answers {
        match (number % 3, answer) {
            (2, Ok(id)) => seqs.push(id.seq.0),
            (0, Err(LedgerError::Refused(refusal))) => assert_eq!(refusal.code, "no"),
            (1, Err(LedgerError::Refused(refusal))) => assert_eq!(refusal.code, "panic"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seqs, (2..22).collect::<Vec<u64>>());
    // The numbers of refused tickets are free.
    sell(&ledger, 0..1);
    let again = ledger.call(|draft| draft.append(&event(0, sale(0))));
    assert!(matches!(again, Err(LedgerError::Refused(refusal)) if refusal.code == "duplicate-ticket"));
    assert!(ledger.verify().unwrap().ok());
}

#[test]
fn bad_facts_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let mut wrong_total = sale(1);
    wrong_total.tenders[0].amount = Minor(1);
    let mut negative = sale(2);
    negative.lines[0].quantity = Milli(-1);
    let mut large = sale(3);
    large.lines[0].amount = Minor(i64::MAX);
    let articles = ArticlesSet { articles: Vec::new() };
    let cases: [(Fact, &str); 4] = [
        (wrong_total.into(), "wrong-total"),
        (negative.into(), "bad-quantity"),
        (large.into(), "bad-amount"),
        (articles.into(), "wrong-direction"),
    ];
    for (fact, code) in cases {
        let refused = ledger.call(move |draft| draft.append(&event(0, fact)));
        assert!(
            matches!(&refused, Err(LedgerError::Refused(refusal)) if refusal.code == code),
            "{refused:?}"
        );
    }
    assert_eq!(ledger.reader().unwrap().head(ledger.log().unwrap()).unwrap().unwrap().head, Seq(1));
}

#[test]
fn the_same_key_gets_the_first_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    let post = |ledger: &Ledger, digest: [u8; 32]| {
        ledger.call(move |draft| {
            if let Some(id) = draft.first_answer("till-1/17", &digest)? {
                return Ok((id, true));
            }
            let id = draft.append(&event(0, sale(17)))?;
            draft.remember("till-1/17", &digest, id)?;
            Ok((id, false))
        })
    };
    let (id, replayed) = post(&ledger, [1; 32]).unwrap();
    assert!(!replayed);
    assert_eq!(post(&ledger, [1; 32]).unwrap(), (id, true));
    drop(ledger);
    let (ledger, _) = open(&path, Owner::Store(STORE));
    assert_eq!(post(&ledger, [1; 32]).unwrap(), (id, true));
    let other = post(&ledger, [2; 32]);
    assert!(matches!(other, Err(LedgerError::Refused(refusal)) if refusal.code == "idempotency-conflict"));
}

#[test]
fn a_full_file_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let limited = sync_store::LedgerConfig { max_bytes: Some(400_000), ..config(&path, Owner::Store(STORE)) };
    let (ledger, _) = Ledger::open(limited, stamp(0)).unwrap();
    let append = |ledger: &Ledger, number| ledger.call(move |draft| draft.append(&event(0, sale(number))));
    let mut accepted = 0;
    let full = loop {
        match append(&ledger, accepted) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100_000, "the limit is not kept");
    };
    assert!(matches!(full, LedgerError::Full { .. }), "{full:?}");
    assert!(matches!(append(&ledger, accepted), Err(LedgerError::Full { .. })));
    let head = |ledger: &Ledger| ledger.reader().unwrap().head(ledger.log().unwrap()).unwrap().unwrap().head;
    assert_eq!(head(&ledger), Seq(accepted + 1));
    ledger.set_max_bytes(Some(4_000_000)).unwrap();
    sell(&ledger, accepted..accepted + 200);
    assert_eq!(head(&ledger), Seq(accepted + 201));
    let verified = ledger.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
}

#[test]
fn a_full_queue_says_busy_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let small = sync_store::LedgerConfig { queue: 1, ..config(&path, Owner::Store(STORE)) };
    let (ledger, _) = Ledger::open(small, stamp(0)).unwrap();
    let (entered, in_job) = channel();
    let (release, held) = channel::<()>();
    let hold = move |_: &mut sync_store::Draft<'_>| {
        entered.send(()).unwrap();
        held.recv().map_err(|_| Refusal::new("gone", ""))
    };
    ledger.submit(hold, |answer| answer.unwrap()).unwrap();
    in_job.recv().unwrap();
    let (sender, answers) = channel();
    let mut queued = 0;
    let busy = loop {
        let sender = sender.clone();
        let number = queued;
        let job = move |draft: &mut sync_store::Draft<'_>| draft.append(&event(0, sale(number)));
        match ledger.submit(job, move |answer| sender.send(answer).unwrap()) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(busy, LedgerError::Busy);
    assert_eq!(queued, 1);
    release.send(()).unwrap();
    drop(sender);
    assert_eq!(answers.iter().filter(Result::is_ok).count(), 1);
}

#[test]
fn a_second_open_is_refused_and_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    let second = Ledger::open(config(&path, Owner::Store(STORE)), stamp(0)).unwrap_err();
    assert_eq!(second, LedgerError::Locked { path: path.clone() });
    assert!(second.to_string().contains("ledger.db"));
    drop(ledger);
    assert!(
        Ledger::open(config(&path, Owner::Store(StoreId(8))), stamp(0))
            .is_err_and(|error| matches!(error, LedgerError::WrongOwner { .. }))
    );
    open(&path, Owner::Store(STORE));
}

#[test]
fn the_writer_does_not_wait_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let same = ledger.clone();
    let inner = ledger.call(move |_| Ok(same.call(|_| Ok(())))).unwrap();
    assert!(matches!(inner, Err(LedgerError::Refused(refusal)) if refusal.code == "reentrant"));
}

#[test]
fn hooks_hear_of_every_moved_log_after_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let (sender, notes) = channel();
    ledger.on_commit(move |note| sender.send(note.clone()).unwrap());
    ledger.on_commit(|_| panic!("a bug in a hook"));
    sell(&ledger, 0..3);
    ledger.call(|draft| draft.put_state("x", Some(b"1"))).unwrap();
    let log = ledger.log().unwrap();
    drop(ledger);
    let last = notes.iter().last().unwrap();
    assert_eq!(last.heads, vec![(log, Seq(4))]);
}

#[test]
fn open_items_follow_their_facts() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let device = DeviceId::new("cabinet-1").unwrap();
    let raised = AlarmRaised {
        device: device.clone(),
        kind: AlarmKind::TooWarm,
        since: UnixMillis(5),
        value: Some(MilliCelsius(9_000)),
        limit: Some(MilliCelsius(5_000)),
    };
    let append = |fact: Fact| FactRef::from(ledger.call(move |draft| draft.append(&event(1, fact))).unwrap());
    let alarm = append(raised.into());
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.open_alarms(STORE).unwrap().len(), 1);
    append(AlarmAcknowledged { alarm, by: Text::new("li").unwrap() }.into());
    assert!(reader.open_alarms(STORE).unwrap()[0].acknowledged.is_some());
    append(AlarmReturned { alarm, value: None, worst: Some(MilliCelsius(11_000)) }.into());
    assert!(reader.open_alarms(STORE).unwrap().is_empty());
    assert_eq!(reader.alarms(STORE, 5).unwrap()[0].worst, Some(MilliCelsius(11_000)));

    let queued = BatchQueued {
        device: DeviceId::new("steamer-1").unwrap(),
        sku: Sku(3_000),
        quantity: Milli(12_000),
        program: 1,
        set_point: MilliCelsius(100_000),
        core_min: MilliCelsius(75_000),
        steam_s: 600,
        hold_limit_s: 14_400,
    };
    let batch = append(queued.into());
    let (from, to) = (BatchState::Queued, BatchState::Preheat);
    append(BatchMoved { batch, from, to, temperature: None, reason: Text::new("commanded").unwrap() }.into());
    let mut from_batch = sale(1);
    from_batch.lines[0].batch = Some(batch);
    append(from_batch.into());
    let row = ledger.call(move |draft| draft.batch(batch)).unwrap().unwrap();
    assert_eq!((row.state, row.taken), (BatchState::Preheat, Milli(1_000)));
    assert_eq!(reader.open_batches(STORE).unwrap().len(), 1);

    let opened = ReservationOpened {
        sku: Sku(1_001),
        quantity: Milli(2_000),
        channel: Text::new("web").unwrap(),
        reference: Text::new("o-1").unwrap(),
        expires: UnixMillis(9),
    };
    let reservation = append(opened.into());
    assert_eq!(reader.on_hand(STORE, Sku(1_001)).unwrap(), (Milli(-1_000), Milli(2_000)));
    let close = move |quantity| ReservationClosed {
        reservation,
        sku: Sku(1_001),
        quantity: Milli(quantity),
        outcome: ReservationOutcome::Voided,
    };
    let wrong = ledger.call(move |draft| draft.append(&event(1, close(1))));
    assert!(matches!(wrong, Err(LedgerError::Refused(refusal)) if refusal.code == "reservation-mismatch"));
    append(close(2_000).into());
    let twice = ledger.call(move |draft| draft.append(&event(1, close(2_000))));
    assert!(matches!(twice, Err(LedgerError::Refused(refusal)) if refusal.code == "reservation-closed"));
    assert_eq!(reader.on_hand(STORE, Sku(1_001)).unwrap(), (Milli(-1_000), Milli(0)));
    let verified = ledger.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
}

#[test]
fn prices_tags_and_devices_follow_their_newest_fact() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let append = |fact: Fact| FactRef::from(ledger.call(move |draft| draft.append(&event(1, fact))).unwrap());
    let reader = ledger.reader().unwrap();
    append(PriceChanged { sku: Sku(1_001), from: None, to: Minor(990), version: 3 }.into());
    assert_eq!(ledger.call(|draft| draft.price(Sku(1_001))).unwrap().unwrap().price, Minor(990));
    let tag = DeviceId::new("tag-1").unwrap();
    append(
        TagConfirmed { tag: tag.clone(), sku: Sku(1_001), price: Minor(990), version: 3, image_hash: [1; 8] }
            .into(),
    );
    assert_eq!(reader.tags(STORE, Some(Sku(1_001))).unwrap()[0].tag, tag);
    let class = DeviceClass::Tag;
    append(DeviceSeen { device: tag.clone(), class, identity: Text::default() }.into());
    append(DeviceLost { device: tag, class, reason: Text::new("silent").unwrap() }.into());
    assert!(!reader.devices(STORE).unwrap()[0].present);
    let verified = ledger.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
}

#[test]
fn verify_names_what_was_tampered_with() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..200);
    drop(ledger);
    let cases = [
        ("UPDATE stock SET quantity = quantity + 1 WHERE sku = 1001 AND account = 0", "fold-stock"),
        ("DELETE FROM money WHERE account = 16", "fold-money"),
        ("INSERT INTO price VALUES (7, 5, 1, 1, 1, 1)", "fold-price"),
        ("DELETE FROM ticket WHERE number = 9", "fold-ticket"),
        ("UPDATE ticket SET pos = pos + 1 WHERE number = 9", "fold-ticket"),
        ("UPDATE tally SET count = 5 WHERE kind = 3", "fold-count"),
        ("INSERT INTO item VALUES (7, 1, x'000000010000000000000001', 1, x'0000000000')", "fold-item"),
        ("UPDATE event SET record = zeroblob(40) WHERE pos = (1 << 40) + 70", "chain-link"),
        ("DELETE FROM event WHERE pos = (1 << 40) + 100", "chain-gap"),
        ("UPDATE log SET link = zeroblob(32)", "chain-head"),
        ("INSERT INTO stock VALUES (99, 5, '', 1, 1)", "fold-stock"),
    ];
    for (sql, name) in cases {
        let copy = dir.path().join("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        let tool = raw(&copy, sql);
        assert!(tool > 0, "{sql}");
        let report = sync_store::verify_file(&copy).unwrap();
        assert!(report.problems.iter().any(|problem| problem.name == name), "{sql}: {:?}", report.problems);
        assert!(report.problems.len() <= sync_store::VerifyReport::PROBLEMS_MAX);
    }
}

fn raw(path: &std::path::Path, sql: &str) -> usize {
    rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap()
}

#[test]
fn newer_schema_and_foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    drop(open(&path, Owner::Store(STORE)));
    let other = dir.path().join("other.db");
    raw_batch(&other, "CREATE TABLE things (x); PRAGMA application_id = 77;");
    let foreign = Ledger::open(config(&other, Owner::Store(STORE)), stamp(0)).unwrap_err();
    assert_eq!(foreign, LedgerError::Foreign { path: other.clone(), found: 77 });
    assert!(other.exists());
    // Only the header says newer: that is damage, not a newer ledger.
    raw_batch(&path, "PRAGMA user_version = 99");
    let (ledger, report) = open(&path, Owner::Store(STORE));
    assert!(report.salvaged.is_some());
    assert!(ledger.verify().unwrap().ok());
}

fn raw_batch(path: &std::path::Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn only_old_and_acknowledged_answers_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(&dir.path().join("ledger.db"), Owner::Store(STORE));
    let post = |number: u64, seconds: i64| {
        ledger
            .call(move |draft| {
                let id = draft.append(&event(seconds, sale(number)))?;
                draft.remember(&format!("key-{number}"), &[7; 32], id).map(|()| id)
            })
            .unwrap()
    };
    let ids: Vec<_> = (0..10).map(|number| post(number, i64::try_from(number).unwrap())).collect();
    let before = stamp(5).at;
    let forget = |kept: usize| ledger.call(move |draft| draft.forget_answers(before, kept)).unwrap();
    let known = |number: u64| {
        ledger.call(move |draft| draft.first_answer(&format!("key-{number}"), &[7; 32])).unwrap().is_some()
    };
    assert_eq!(forget(0), 0, "nothing is acknowledged");
    let upto = ids[3].seq;
    let link = ledger.reader().unwrap().link(ids[3].log, upto).unwrap().unwrap();
    let ack = sync_core::Ack { log: ids[3].log, upto, link, gap: None };
    ledger.call(move |draft| draft.acked(&ack)).unwrap();
    assert_eq!(forget(8), 2, "the newest stay whatever the clock says");
    assert_eq!(forget(0), 2, "acknowledged up to the fourth");
    assert_eq!((0..10).map(known).collect::<Vec<_>>(), [vec![false; 4], vec![true; 6]].concat());
    let link = ledger.reader().unwrap().link(ids[9].log, ids[9].seq).unwrap().unwrap();
    let ack = sync_core::Ack { log: ids[9].log, upto: ids[9].seq, link, gap: None };
    ledger.call(move |draft| draft.acked(&ack)).unwrap();
    assert_eq!(forget(0), 1, "the sixth is stamped at the limit");
    assert!(known(5));
}

#[test]
fn a_backup_that_fails_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..10);
    let copy = dir.path().join("backup.db");
    // What lies in the way of its journal and WAL makes the copy fail after its file was made.
    std::fs::write(dir.path().join("backup.db.partial-journal"), b"not a journal").unwrap();
    std::fs::create_dir(dir.path().join("backup.db.partial-wal")).unwrap();
    assert!(ledger.backup(&copy).is_err());
    assert!(!copy.exists() && !dir.path().join("backup.db.partial").exists());
}

#[test]
fn the_end_of_a_chain_is_checked_up_to_its_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..600);
    let log = ledger.log().unwrap();
    let head = ledger.reader().unwrap().head(log).unwrap().unwrap().head;
    assert_eq!(ledger.reader().unwrap().check_end(log, 512).unwrap(), Some(head));
    drop(ledger);
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute("UPDATE event SET record = x'00' WHERE pos = (SELECT max(pos) FROM event)", []).unwrap();
    let reader = sync_store::Reader::open(&path).unwrap();
    assert!(matches!(reader.check_end(log, 512), Err(LedgerError::Damaged { .. })));
}

#[test]
fn a_backup_opens_verifies_and_begins_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..150);
    let copy = dir.path().join("backup.db");
    ledger.backup(&copy).unwrap();
    assert!(ledger.backup(&copy).is_err());
    sell(&ledger, 150..160);
    let log = ledger.log().unwrap();
    let at_copy = ledger.reader().unwrap().link(log, Seq(151)).unwrap().unwrap();
    let (restored, report) = open(&copy, Owner::Store(STORE));
    assert!(report.restored);
    let new = restored.log().unwrap();
    assert!(new.epoch > log.epoch);
    let first = restored.reader().unwrap().events(new, Seq(1), 1).unwrap().remove(0).event.unwrap();
    let Fact::EpochOpened(opened) = first.fact else { panic!("no epoch") };
    let parent = opened.parent.unwrap();
    assert_eq!((opened.reason, parent.epoch, parent.last), (EpochReason::Restored, log.epoch, Seq(151)));
    assert_eq!(parent.link, at_copy.0);
    sell(&restored, 150..170);
    let verified = restored.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
    drop(restored);
    let (_, again) = open(&copy, Owner::Store(STORE));
    assert!(!again.restored);
    assert_eq!(again.log, Some(new));
}

#[test]
fn articles_win_by_version_whatever_comes_first() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = open(&dir.path().join("hq.db"), Owner::Hq);
    let article = |version, price| Article {
        sku: Sku(1),
        version,
        name: Text::new("milk").unwrap(),
        unit: StockUnit::Piece,
        price: Minor(price),
        tax_rate: 900,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    };
    for (version, price) in [(2, 200), (3, 300), (1, 100)] {
        let fact = ArticlesSet { articles: vec![article(version, price)] };
        hq.call(move |draft| draft.append_down(STORE, &event(0, fact))).unwrap();
    }
    assert_eq!(hq.reader().unwrap().article(STORE, Sku(1)).unwrap().unwrap().price, Minor(300));
    let (store, _) = open(&dir.path().join("store.db"), Owner::Store(STORE));
    let log = hq.reader().unwrap().heads().unwrap()[0].log;
    let block = hq.reader().unwrap().block(log, Seq(1), 100, 40_000).unwrap().unwrap();
    store.call(move |draft| draft.ingest(&block, UnixMillis(1))).unwrap();
    assert_eq!(store.call(|draft| draft.article(Sku(1))).unwrap().unwrap().price, Minor(300));
    assert!(hq.verify().unwrap().ok() && store.verify().unwrap().ok());
}
