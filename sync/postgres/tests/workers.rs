//! Several workers on one ledger: leases, fencing, take-over, handing back; the server away, full and killed.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{
    assert_verifies, blocks, buckets, config, event, ingest, log, open, records, sale, server, until, wait,
};
use std::sync::Arc;
use std::time::Duration;
use sync_core::{Ack, Block};
use sync_model::{Command, Seq, StoreId, Text, UnixMillis};
use sync_postgres::{Postgres, PostgresConfig};
use sync_store::{IngestOutcome, LedgerError};

#[test]
fn a_worker_whose_lease_was_taken_cannot_commit() {
    let server = server();
    let url = server.database("fence").unwrap();
    let chain = blocks(log(7, 1), 6, 10);
    // This one never renews: to the others it looks as if it had been paused.
    let paused = open(PostgresConfig {
        lease: Duration::from_millis(300),
        renew: Duration::from_secs(3_600),
        ..config(&url, "paused")
    });
    assert_eq!(ingest(&paused, &chain[0]).unwrap().ack.upto, Seq(10));

    // Its home is there as well, so that it does not hand anything back.
    let heir = open(config(&url, "heir"));
    until("the heir owns everything", || heir.owned().len() == 64);
    assert_eq!(ingest(&heir, &chain[1]).unwrap().ack.upto, Seq(20));

    // It still believes that it owns the bucket, and its idea of the log is old: it would write 11 to 20 once more.
    assert_eq!(paused.owned().len(), 64);
    let refused = ingest(&paused, &chain[1]);
    assert!(
        matches!(&refused, Err(LedgerError::Elsewhere { detail }) if detail.contains("lease")),
        "{refused:?}"
    );
    // Now it has looked, and knows.
    assert!(paused.owned().is_empty());
    let refused = ingest(&paused, &chain[2]);
    assert!(matches!(&refused, Err(LedgerError::Elsewhere { .. })), "{refused:?}");

    assert_eq!(ingest(&heir, &chain[2]).unwrap().ack.upto, Seq(30));
    assert_eq!(heir.reader().unwrap().head(log(7, 1)).unwrap().unwrap().head, Seq(30));
    assert_verifies(&heir);
}

#[test]
fn a_dead_workers_buckets_are_taken_over_and_given_back() {
    let server = server();
    let url = server.database("takeover").unwrap();
    let home = |range: std::ops::Range<i16>, name: &str| PostgresConfig {
        home: buckets(range),
        ..config(&url, name)
    };
    let left = open(home(0..32, "left"));
    let right = open(home(32..64, "right"));
    until("each has its half", || left.owned() == buckets(0..32) && right.owned() == buckets(32..64));
    let (near, far) = (blocks(log(7, 1), 4, 5), blocks(log(40, 1), 4, 5));
    ingest(&left, &near[0]).unwrap();
    ingest(&right, &far[0]).unwrap();
    assert!(matches!(ingest(&left, &far[1]), Err(LedgerError::Elsewhere { .. })));

    // Both halves while the other worker is gone.
    drop(right);
    until("the left takes over", || left.owned() == buckets(0..64));
    assert_eq!(ingest(&left, &far[1]).unwrap().ack.upto, Seq(10));

    // It comes back, wants its half, and gets it without waiting for anything to expire.
    let right = open(home(32..64, "right"));
    until("each has its half again", || left.owned() == buckets(0..32) && right.owned() == buckets(32..64));
    assert_eq!(ingest(&right, &far[2]).unwrap().ack.upto, Seq(15));
    assert_eq!(ingest(&left, &near[1]).unwrap().ack.upto, Seq(10));
    let rows = left.reader().unwrap().leases().unwrap();
    assert!(rows.iter().all(|row| {
        row.owner.as_deref() == Some(if row.bucket < 32 { "left" } else { "right" }) && !row.expired
    }));
    assert_verifies(&right);
}

#[test]
fn a_restarted_worker_need_not_wait_for_itself() {
    let server = server();
    let url = server.database("restart").unwrap();
    // The first one never looks at its leases again: it would take them back under their common name.
    let hour = Duration::from_secs(3_600);
    let long = |name: &str| PostgresConfig { lease: hour, renew: hour, ..config(&url, name) };
    let chain = blocks(log(7, 1), 3, 10);
    let first = open(long("hq"));
    ingest(&first, &chain[0]).unwrap();
    // The second is the same worker after a kill -9: the first, if it were still there, is fenced.
    let second = open(long("hq"));
    assert_eq!(ingest(&second, &chain[1]).unwrap().ack.upto, Seq(20));
    let refused = ingest(&first, &chain[1]);
    assert!(matches!(refused, Err(LedgerError::Elsewhere { .. })), "{refused:?}");
    assert_verifies(&second);
}

#[test]
fn without_the_server_nothing_is_acknowledged_and_it_resumes() {
    let mut server = server();
    let url = server.database("away").unwrap();
    let chain = blocks(log(7, 1), 4, 10);
    let ledger = open(config(&url, "hq"));
    ingest(&ledger, &chain[0]).unwrap();
    for block in &chain[1..4] {
        server.kill().unwrap();
        // What is under way may be committed or not; what is answered with an error may have been committed.
        until("the loss is noticed", || ingest(&ledger, block).is_err());
        let refused = ingest(&ledger, block);
        assert!(matches!(refused, Err(LedgerError::Storage { .. })), "{refused:?}");
        until("it says so", || ledger.fault().is_some());
        assert!(ledger.reader().and_then(|reader| reader.heads()).is_err());
        server.restart().unwrap();
        until("it works again", || ingest(&ledger, block).is_ok());
        assert_eq!(ledger.fault(), None);
        assert_eq!(ingest(&ledger, block).unwrap().outcome, IngestOutcome::Duplicate);
    }
    assert_eq!(ledger.reader().unwrap().head(log(7, 1)).unwrap().unwrap().head, Seq(40));
    assert_verifies(&ledger);
}

#[test]
fn a_worker_may_start_before_the_server() {
    let mut server = server();
    let url = server.database("early").unwrap();
    server.kill().unwrap();
    let ledger = Postgres::open(config(&url, "hq")).unwrap();
    until("it says why", || ledger.fault().is_some_and(|fault| fault.contains("connect")));
    server.restart().unwrap();
    until("it begins", || ledger.owned().len() == 64);
    assert_eq!(ingest(&ledger, &blocks(log(7, 1), 1, 1)[0]).unwrap().ack.upto, Seq(1));
}

#[test]
fn a_full_server_is_told_apart_and_works_again() {
    let server = server();
    let url = server.database("full").unwrap();
    let chain = blocks(log(7, 1), 4, 10);
    let ledger = open(config(&url, "hq"));
    ingest(&ledger, &chain[0]).unwrap();
    // The server's own error for a full disk, raised where the disk would be found full.
    let trap = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON arrival FOR EACH STATEMENT EXECUTE FUNCTION full_disk()";
    server.sql("full", trap).unwrap();
    for _ in 0..2 {
        let refused = ingest(&ledger, &chain[1]);
        assert!(matches!(refused, Err(LedgerError::Full { .. })), "{refused:?}");
    }
    server.sql("full", "DROP TRIGGER full_disk ON arrival").unwrap();
    assert_eq!(ingest(&ledger, &chain[1]).unwrap().ack.upto, Seq(20));
    wait(|reply| ledger.probe(reply)).unwrap();
    assert_eq!(server.sql("full", "SELECT count(*) FROM probe").unwrap(), "0");

    let small = open(PostgresConfig { max_bytes: Some(1), ..config(&url, "hq") });
    assert!(matches!(ingest(&small, &chain[2]), Err(LedgerError::Full { .. })));
    assert_verifies(&small);
}

#[test]
fn a_server_that_may_lose_commits_is_refused() {
    let server = server();
    let url = server.database("unsafe").unwrap();
    server.sql("postgres", "ALTER SYSTEM SET fsync = off").unwrap();
    server.sql("postgres", "SELECT pg_reload_conf()").unwrap();
    let off = || server.sql("postgres", "SHOW fsync").is_ok_and(|value| value == "off");
    until("the server runs without fsync", off);
    let ledger = Postgres::open(config(&url, "hq")).unwrap();
    until("it is refused", || ledger.fault().is_some_and(|fault| fault.contains("fsync = off")));
    assert!(ingest(&ledger, &blocks(log(7, 1), 1, 1)[0]).is_err());
    assert!(ledger.owned().is_empty());
}

#[test]
fn many_stores_in_many_small_and_large_batches_fold_alike() {
    let server = server();
    let url = server.database("many").unwrap();
    let ledger = open(config(&url, "hq"));
    let stores: Vec<Vec<Block>> = (1..=20).map(|store| blocks(log(store, 1), 12, 25)).collect();
    let (done, answers) = std::sync::mpsc::channel();
    let mut sent = 0;
    for round in 0..12 {
        for chain in &stores {
            let (block, done) = (Arc::new(chain[round].clone()), done.clone());
            // Each twice: one of the two is a duplicate, in the same batch or a later one.
            for _ in 0..2 {
                let (block, done) = (Arc::clone(&block), done.clone());
                let reply = Box::new(move |result| drop(done.send(result)));
                match ledger.ingest(block, UnixMillis(5), reply) {
                    Ok(()) => sent += 1,
                    Err(LedgerError::Busy) => std::thread::sleep(Duration::from_millis(20)),
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    for _ in 0..sent {
        answers.recv_timeout(common::PATIENCE).unwrap().unwrap();
    }
    // Blocks that were turned away when the queue was full left gaps behind them: send what is missing.
    for chain in &stores {
        for block in chain {
            ingest(&ledger, block).unwrap();
        }
    }
    let reader = ledger.reader().unwrap();
    let heads = reader.heads().unwrap();
    assert_eq!(heads.len(), 20);
    assert!(heads.iter().all(|row| row.head == Seq(300)));
    let expected = reader.money(StoreId(1)).unwrap();
    assert!((2..=20).all(|store| reader.money(StoreId(store)).unwrap() == expected));
    assert_verifies(&ledger);
}

#[test]
fn hqs_own_log_is_written_read_back_and_acknowledged() {
    let server = server();
    let url = server.database("down").unwrap();
    let ledger = open(config(&url, "hq"));
    let note = |text: &str| event(0, Command::Note(Text::new(text).unwrap()));
    let events: Vec<_> = (0..200).map(|number| note(&format!("note {number}"))).collect();
    let ids = wait(|reply| ledger.append_down(StoreId(9), events, reply)).unwrap();
    let down = ids[0].log;
    assert_eq!((ids.len(), ids[199].seq), (200, Seq(201)));
    let reader = ledger.reader().unwrap();
    let whole = reader.block(down, Seq(1), 512, 48 * 1024).unwrap().unwrap();
    let part = reader.block(down, Seq(100), 50, 48 * 1024).unwrap().unwrap();
    assert_eq!(part.records[..], whole.records[99..149]);
    assert_eq!(whole.link(), reader.head(down).unwrap().unwrap().link);
    assert_eq!(reader.link(down, Seq(149)).unwrap(), Some(part.link()));
    assert_eq!(reader.link(down, Seq(202)).unwrap(), None);
    let ack = Ack { log: down, upto: Seq(150), link: part.link(), gap: None };
    wait(|reply| ledger.acked(ack, reply)).unwrap();
    assert_eq!(reader.head(down).unwrap().unwrap().acked, Seq(150));
    // Facts of stores do not belong in it: all or nothing.
    let refused = wait(|reply| ledger.append_down(StoreId(9), vec![note("good"), event(0, sale(1))], reply));
    assert!(
        matches!(&refused, Err(LedgerError::Refused(refusal)) if refusal.code == "wrong-direction"),
        "{refused:?}"
    );
    assert_eq!(reader.head(down).unwrap().unwrap().head, Seq(201));
    assert_verifies(&ledger);
}

#[test]
fn damage_is_found() {
    let server = server();
    let url = server.database("damage").unwrap();
    let ledger = open(config(&url, "hq"));
    for block in blocks(log(7, 1), 10, 30) {
        ingest(&ledger, &block).unwrap();
    }
    assert_verifies(&ledger);
    let other = records(999..=999).remove(0);
    let hex: String = other.iter().map(|byte| format!("{byte:02x}")).collect();
    let breaks = [
        ("chain-link", format!("UPDATE event SET record = '\\x{hex}' WHERE pos % 1024 = 70")),
        ("chain-gap", "DELETE FROM event WHERE (pos & 1048575) = 100".to_owned()),
        ("chain-head", "UPDATE log SET head = head - 1".to_owned()),
        ("fold-stock", "UPDATE stock SET quantity = quantity + 1 WHERE sku = 1001".to_owned()),
        ("fold-money", "DELETE FROM money WHERE account = 1".to_owned()),
        ("fold-count", "UPDATE tally SET count = 1".to_owned()),
        ("fold-ticket", "DELETE FROM ticket WHERE number = 12".to_owned()),
        ("fold-stock", "INSERT INTO stock VALUES (99, 1, '', 0, 5)".to_owned()),
    ];
    for (name, sql) in breaks {
        server.sql("damage", &sql).unwrap();
        let report = ledger.verify().unwrap();
        assert!(report.problems.iter().any(|problem| problem.name == name), "{name}: {:?}", report.problems);
    }
    let damaged = ledger.reader().unwrap().block(log(7, 1), Seq(1), 512, 48 * 1024);
    assert!(matches!(damaged, Err(LedgerError::Damaged { .. })), "{damaged:?}");
}
