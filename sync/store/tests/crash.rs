//! Kill and damage: what was acknowledged is there, and there is always a working ledger afterwards.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{STORE, config, event, open, sale, sell, stamp};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use sync_model::{EpochReason, EventId, Fact, Seq};
use sync_store::{Ledger, Owner};

/// Environment variable that turns [`appender`] from a test into the child of the kill test.
const CHILD: &str = "STEELYARD_CRASH_CHILD";

/// Child process: appends for ever and prints every acknowledged id. A plain pass when not asked to.
#[test]
fn appender() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let (ledger, report) = Ledger::open(config(Path::new(&path), Owner::Store(STORE)), stamp(0)).unwrap();
    let mut number = report.head.0 * 1_000;
    loop {
        let append = move |draft: &mut sync_store::Draft<'_>| {
            let key = format!("key-{number}");
            let id = draft.append(&event(0, sale(number)))?;
            draft.remember(&key, &[7; 32], id)?;
            Ok(id)
        };
        let said = ledger.submit(append, |answer| {
            if let Ok(id) = answer {
                let mut out = std::io::stdout().lock();
                writeln!(out, "acked {id}").unwrap();
                out.flush().unwrap();
            }
        });
        if said.is_err() {
            std::thread::yield_now();
        } else {
            number += 1;
        }
    }
}

#[test]
fn sigkill_loses_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let mut acked: BTreeSet<EventId> = BTreeSet::new();
    for round in 0..6_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "appender", "--nocapture", "--test-threads", "1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut this_round = 0;
        // Killed while it goes on writing; whatever it still got through the pipe counts as acknowledged, too.
        for line in lines.by_ref() {
            let line = line.unwrap();
            // The test harness may print its own words on the same line before the first id.
            if let Some((_, id)) = line.split_once("acked ") {
                acked.insert(id.parse().unwrap());
                this_round += 1;
                if this_round == 150 + round * 70 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let (ledger, report) = open(&path, Owner::Store(STORE));
        assert!(report.salvaged.is_none(), "{report:?}");
        let log = ledger.log().unwrap();
        let stored: BTreeSet<EventId> = ledger
            .reader()
            .unwrap()
            .events(log, Seq(1), usize::MAX)
            .unwrap()
            .into_iter()
            .filter(|stored| matches!(stored.event.as_ref().unwrap().fact, Fact::Sale(_)))
            .map(|stored| stored.id)
            .collect();
        assert!(acked.is_subset(&stored), "lost {:?}", acked.difference(&stored).next());
        let verified = ledger.verify().unwrap();
        assert!(verified.ok(), "{:?}", verified.problems);
    }
    assert!(acked.len() > 1_000, "{}", acked.len());
}

/// A small generator, so that the flips are the same on every run (SplitMix64, public domain algorithm of S. Vigna).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

fn works(path: &Path, what: &str, number: u64) -> bool {
    let (ledger, report) = Ledger::open(config(path, Owner::Store(STORE)), stamp(9_000))
        .unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    if let Some(salvage) = &report.salvaged {
        assert!(salvage.evidence.exists(), "{what}");
        let verified = ledger.verify().unwrap();
        assert!(verified.ok(), "{what}: {:?}", verified.problems);
        let first = ledger.reader().unwrap().events(ledger.log().unwrap(), Seq(1), 1).unwrap().remove(0);
        let Fact::EpochOpened(opened) = first.event.unwrap().fact else { panic!("{what}: no epoch") };
        assert_eq!(opened.reason, EpochReason::Salvaged, "{what}");
    }
    ledger
        .call(move |draft| draft.append(&event(0, sale(number))))
        .unwrap_or_else(|error| panic!("{what}: does not work: {error}"));
    report.salvaged.is_some()
}

#[test]
fn flipped_bytes_always_end_in_a_working_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..400);
    drop(ledger);
    let whole = std::fs::read(&path).unwrap();
    let mut seeded = Seeded(42);
    let mut salvaged = 0;
    for round in 0..90 {
        let home = tempfile::tempdir().unwrap();
        let copy = home.path().join("ledger.db");
        let mut bytes = whole.clone();
        // The header and schema page first, then anywhere.
        let reach = if round < 20 {
            100
        } else if round < 40 {
            4_096
        } else {
            bytes.len()
        };
        let at = seeded.below(reach);
        let mask = u8::try_from(seeded.below(255) + 1).unwrap();
        bytes[at] ^= mask;
        std::fs::write(&copy, &bytes).unwrap();
        salvaged += usize::from(works(&copy, &format!("byte {at} ^ {mask:#x}"), 1_000_000));
    }
    assert!(salvaged > 5, "{salvaged}");
}

#[test]
fn torn_files_are_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..600);
    drop(ledger);
    let whole = std::fs::read(&path).unwrap();
    let cases: [(&str, Vec<u8>); 4] = [
        ("garbage", vec![0xa5; 20_000]),
        ("truncated", whole[..whole.len() / 2 / 4_096 * 4_096].to_vec()),
        ("truncated in a page", whole[..whole.len() - 1_000].to_vec()),
        ("one byte", vec![1]),
    ];
    for (name, bytes) in cases {
        let home = tempfile::tempdir().unwrap();
        let copy = home.path().join("ledger.db");
        std::fs::write(&copy, &bytes).unwrap();
        assert!(works(&copy, name, 1_000_000), "{name}: not salvaged");
        assert!(!works(&copy, name, 1_000_001), "{name}: salvaged twice");
    }
}

#[test]
fn salvage_keeps_the_log_up_to_the_damage_and_local_rows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    let old = ledger.log().unwrap();
    sell(&ledger, 0..500);
    ledger
        .call(|draft| {
            let id = draft.append(&event(0, sale(500)))?;
            draft.remember("early", &[1; 32], EventId { seq: Seq(10), ..id })?;
            draft.remember("late", &[1; 32], id)?;
            draft.put_state("latch", Some(b"closed"))
        })
        .unwrap();
    let link = ledger.reader().unwrap().link(old, Seq(448)).unwrap().unwrap();
    drop(ledger);
    let tool = rusqlite::Connection::open(&path).unwrap();
    // The end no longer follows: found at open. 448 = 7 * 64 is the last seal that fits.
    tool.execute("UPDATE event SET record = zeroblob(30) WHERE pos = (1 << 40) + 490", []).unwrap();
    drop(tool);
    let (ledger, report) = Ledger::open(config(&path, Owner::Store(STORE)), stamp(5_000)).unwrap();
    let salvage = report.salvaged.unwrap();
    assert_eq!(salvage.kept, 448);
    assert!(salvage.lost_hint.contains("448 of 502"), "{}", salvage.lost_hint);
    let reader = ledger.reader().unwrap();
    assert_eq!(reader.link(old, Seq(448)).unwrap(), Some(link));
    let new = ledger.log().unwrap();
    assert!(new.epoch > old.epoch);
    let first = reader.events(new, Seq(1), 1).unwrap().remove(0).event.unwrap();
    let Fact::EpochOpened(opened) = first.fact else { panic!("no epoch") };
    let parent = opened.parent.unwrap();
    assert_eq!((parent.epoch, parent.last, parent.link), (old.epoch, Seq(448), link.0));
    let early = ledger.call(|draft| draft.first_answer("early", &[1; 32])).unwrap();
    assert_eq!(early, Some(EventId { log: old, seq: Seq(10) }));
    assert_eq!(ledger.call(|draft| draft.first_answer("late", &[1; 32])).unwrap(), None);
    assert_eq!(reader.state("latch").unwrap().as_deref(), Some(b"closed".as_slice()));
    assert!(ledger.verify().unwrap().ok());
    drop((ledger, reader));
    assert!(open(&path, Owner::Store(STORE)).1.salvaged.is_none());
}

#[test]
fn an_interrupted_salvage_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..50);
    drop(ledger);
    let evidence = dir.path().join("ledger.db.evidence-5");
    std::fs::rename(&path, &evidence).unwrap();
    std::fs::write(dir.path().join("ledger.db.salvaging"), format!("{}\nstopped\n", evidence.display()))
        .unwrap();
    std::fs::write(dir.path().join("ledger.db.salvage"), b"half").unwrap();
    let (ledger, report) = open(&path, Owner::Store(STORE));
    assert_eq!(report.salvaged.unwrap().kept, 51);
    assert!(ledger.verify().unwrap().ok());
    assert!(!dir.path().join("ledger.db.salvaging").exists());
}

/// The folder has moved since: another mount, or the disk in another machine.
#[test]
fn an_interrupted_salvage_goes_on_in_another_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    sell(&ledger, 0..50);
    drop(ledger);
    std::fs::rename(&path, dir.path().join("ledger.db.evidence-5")).unwrap();
    let marker = dir.path().join("ledger.db.salvaging");
    std::fs::write(&marker, "/nowhere/else/ledger.db.evidence-5\nstopped\n").unwrap();
    let (ledger, report) = open(&path, Owner::Store(STORE));
    assert_eq!(report.salvaged.unwrap().kept, 51);
    assert!(ledger.verify().unwrap().ok() && !marker.exists());
}

#[test]
fn an_emptied_ledger_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    let (ledger, _) = open(&path, Owner::Store(STORE));
    let old = ledger.log().unwrap();
    sell(&ledger, 0..50);
    // Still in use: everything is in the write-ahead log, which must stay as evidence.
    let wal = std::fs::read(dir.path().join("ledger.db-wal")).unwrap();
    drop(ledger);
    std::fs::write(&path, b"").unwrap();
    std::fs::write(dir.path().join("ledger.db-wal"), &wal).unwrap();
    let (ledger, report) = open(&path, Owner::Store(STORE));
    let salvage = report.salvaged.unwrap();
    assert!(salvage.lost_hint.contains("empty and was in use"), "{}", salvage.lost_hint);
    let mut kept = salvage.evidence.into_os_string();
    kept.push("-wal");
    assert_eq!(std::fs::read(kept).unwrap(), wal);
    assert!(ledger.log().unwrap().epoch > old.epoch);
    drop(ledger);
    // Without the log, the generation file is the witness.
    std::fs::write(&path, b"").unwrap();
    assert!(open(&path, Owner::Store(STORE)).1.salvaged.is_some());
    // A creation that was cut short is none of this.
    let fresh = dir.path().join("fresh.db");
    std::fs::write(&fresh, b"").unwrap();
    assert!(open(&fresh, Owner::Store(STORE)).1.salvaged.is_none());
}

#[test]
fn a_salvaged_hq_does_not_reuse_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hq.db");
    let (hq, _) = open(&path, Owner::Hq);
    let note = |number: i64| event(number, sync_model::Command::OpenEpoch);
    for number in 0..5 {
        hq.call(move |draft| draft.append_down(STORE, &note(number))).unwrap();
    }
    let old = hq.reader().unwrap().heads().unwrap()[0].log;
    drop(hq);
    let tool = rusqlite::Connection::open(&path).unwrap();
    tool.execute("UPDATE log SET link = zeroblob(32)", []).unwrap();
    drop(tool);
    let (hq, report) = Ledger::open(config(&path, Owner::Hq), stamp(5_000)).unwrap();
    assert!(report.salvaged.is_some());
    let id = hq.call(move |draft| draft.append_down(STORE, &note(9))).unwrap();
    assert!(id.log.epoch > old.epoch);
    assert!(hq.verify().unwrap().ok());
}
