//! Taking in blocks: exactly once, in order, with evidence kept of everything else.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{STORE, event, open, sale, sell};
use proptest::prelude::*;
use sync_core::{Block, Link};
use sync_model::{Fact, Kind, Seq, StoreId, UnixMillis};
use sync_store::{IngestOutcome, Ledger, LedgerError, Owner};

fn ingest(hq: &Ledger, block: &Block) -> sync_store::Ingested {
    let block = block.clone();
    hq.call(move |draft| draft.ingest(&block, UnixMillis(77))).unwrap()
}

fn block(store: &Ledger, first: u64, count: usize) -> Block {
    let log = store.log().unwrap();
    store.reader().unwrap().block(log, Seq(first), count, 48 * 1024).unwrap().unwrap()
}

fn pair(dir: &std::path::Path) -> (Ledger, Ledger) {
    (open(&dir.join("store.db"), Owner::Store(STORE)).0, open(&dir.join("hq.db"), Owner::Hq).0)
}

#[test]
fn duplicates_gaps_and_overlaps_leave_one_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (store, hq) = pair(dir.path());
    sell(&store, 0..200);
    let log = store.log().unwrap();
    let gap = ingest(&hq, &block(&store, 50, 10));
    assert_eq!(gap.outcome, IngestOutcome::Gap { missing: (Seq(1), Seq(49)) });
    assert_eq!(
        (gap.ack.upto, gap.ack.link, gap.ack.gap),
        (Seq(0), Link::genesis(log), Some((Seq(1), Seq(49))))
    );
    assert!(hq.reader().unwrap().heads().unwrap().is_empty());
    let applied = ingest(&hq, &block(&store, 1, 100));
    assert_eq!(applied.outcome, IngestOutcome::Applied { first: Seq(1), last: Seq(100), odd: 0 });
    assert_eq!(ingest(&hq, &block(&store, 1, 100)).outcome, IngestOutcome::Duplicate);
    assert_eq!(ingest(&hq, &block(&store, 30, 20)).outcome, IngestOutcome::Duplicate);
    let overlap = ingest(&hq, &block(&store, 90, 111));
    assert_eq!(overlap.outcome, IngestOutcome::Applied { first: Seq(101), last: Seq(200), odd: 0 });
    let last = ingest(&hq, &block(&store, 201, 9));
    assert_eq!(last.ack.upto, Seq(201));
    assert_eq!(Some(last.ack.link), store.reader().unwrap().link(log, Seq(201)).unwrap());
    let (at_store, at_hq) = (store.reader().unwrap(), hq.reader().unwrap());
    assert_eq!(at_store.balances(STORE).unwrap(), at_hq.balances(STORE).unwrap());
    assert_eq!(at_store.money(STORE).unwrap(), at_hq.money(STORE).unwrap());
    let events = at_hq.events(log, Seq(150), 3).unwrap();
    assert!(events.iter().all(|event| event.received == Some(UnixMillis(77))));
    assert!(at_store.events(log, Seq(150), 1).unwrap()[0].received.is_none());
    store.call(move |draft| draft.acked(&last.ack)).unwrap();
    assert_eq!(store.reader().unwrap().acked(log).unwrap().unwrap().upto, Seq(201));
    assert!(hq.verify().unwrap().ok());
}

#[test]
fn other_bytes_at_a_known_position_are_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, hq) = pair(dir.path());
    sell(&store, 0..20);
    ingest(&hq, &block(&store, 1, 10));
    let mut forged = block(&store, 5, 10);
    forged.records[2] = event(0, sale(999)).to_record().unwrap();
    let outcome = ingest(&hq, &forged).outcome;
    assert_eq!(outcome, IngestOutcome::Equivocation { at: Seq(7) });
    ingest(&hq, &forged);
    let mut broken = block(&store, 11, 5);
    broken.prev = Link([9; 32]);
    assert_eq!(ingest(&hq, &broken).outcome, IngestOutcome::ChainBreak { at: Seq(11) });
    let reader = hq.reader().unwrap();
    let kept = reader.quarantine(10).unwrap();
    assert_eq!(kept.iter().map(|row| row.code.as_str()).collect::<Vec<_>>(), ["chain-break", "equivocation"]);
    assert_eq!(kept[1].times, 2);
    let raw = sync_core::Message::decode(&kept[1].raw).unwrap();
    assert_eq!(raw, sync_core::Message::Block(forged));
    assert_eq!(reader.heads().unwrap()[0].head, Seq(10));
    // The true block still goes on.
    assert_eq!(ingest(&hq, &block(&store, 5, 100)).ack.upto, Seq(21));
    assert!(hq.verify().unwrap().ok());
}

#[test]
fn a_bad_record_never_blocks_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (store, hq) = pair(dir.path());
    let log = store.log().unwrap();
    let unknown = Fact::Unknown { kind: Kind(200), body: vec![1, 2, 3] };
    let unknown = event(0, unknown).to_record().unwrap();
    let mut truncated = event(0, sale(5)).to_record().unwrap();
    truncated.truncate(20);
    let mut unbalanced = sale(6);
    unbalanced.tenders[0].amount = sync_model::Minor(3);
    let unbalanced = event(0, unbalanced).to_record().unwrap();
    let good = event(0, sale(7)).to_record().unwrap();
    let records = vec![unknown.clone(), truncated, unbalanced, Vec::new(), good.clone(), good];
    let block = Block { log, first: Seq(1), prev: Link::genesis(log), records };
    let done = ingest(&hq, &block);
    // Truncated, unbalanced, empty, and the ticket number that comes twice.
    assert_eq!(done.outcome, IngestOutcome::Applied { first: Seq(1), last: Seq(6), odd: 4 });
    assert_eq!((done.ack.upto, done.ack.link), (Seq(6), block.link()));
    let reader = hq.reader().unwrap();
    assert_eq!(reader.events(log, Seq(1), 1).unwrap()[0].record, unknown);
    assert_eq!(reader.quarantine_counts().unwrap().total, 4);
    assert_eq!(reader.money(STORE).unwrap().iter().map(|row| row.amount.0.abs()).max(), Some(1_600));
    let verified = hq.verify().unwrap();
    assert!(verified.ok(), "{:?}", verified.problems);
}

#[test]
fn blocks_that_belong_elsewhere_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (store, hq) = pair(dir.path());
    let own = block(&store, 1, 1);
    let mut other = own.clone();
    other.log.store = StoreId(8);
    other.log.direction = sync_model::Direction::Down;
    let mut zero = own.clone();
    zero.first = Seq(0);
    let mut far = own.clone();
    far.first = Seq(u64::MAX - 5);
    for (ledger, block, code) in [
        (&store, own, "wrong-owner"),
        (&store, other, "wrong-store"),
        (&hq, zero, "bad-block"),
        (&hq, far, "bad-block"),
    ] {
        let refused = ledger.call(move |draft| draft.ingest(&block, UnixMillis(0)));
        assert!(
            matches!(&refused, Err(LedgerError::Refused(refusal)) if refusal.code == code),
            "{refused:?}"
        );
    }
}

#[test]
fn the_quarantine_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (hq, _) = open(&dir.path().join("hq.db"), Owner::Hq);
    hq.call(|draft| {
        for number in 0..1_100_u32 {
            draft.quarantine("topic", "undecodable", "garbage", &number.to_be_bytes(), UnixMillis(0))?;
        }
        draft.quarantine("topic", "too-large", "garbage", &vec![0; 100_000], UnixMillis(0))
    })
    .unwrap();
    let counts = hq.reader().unwrap().quarantine_counts().unwrap();
    assert_eq!((counts.kept, counts.total, counts.evicted), (1_000, 1_101, 101));
    assert_eq!(hq.reader().unwrap().quarantine(2_000).unwrap().len(), 1_000);
}

#[test]
fn a_block_ends_at_its_bounds_and_damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = pair(dir.path());
    sell(&store, 0..300);
    let log = store.log().unwrap();
    let reader = store.reader().unwrap();
    let one = reader.block(log, Seq(5), 100, 1).unwrap().unwrap();
    assert_eq!(one.records.len(), 1);
    assert!(reader.block(log, Seq(302), 10, 1_000).unwrap().is_none());
    let mut link = Link::genesis(log);
    for first in [1, 64, 65, 130] {
        let block = reader.block(log, Seq(first), 64, 40_000).unwrap().unwrap();
        if first == 65 {
            assert_eq!(block.prev, link);
        }
        link = reader.block(log, Seq(1), 64, 40_000).unwrap().unwrap().link();
    }
    let path = store.path().to_owned();
    drop((store, reader));
    let tool = rusqlite::Connection::open(&path).unwrap();
    tool.execute("UPDATE event SET record = zeroblob(9) WHERE pos = (1 << 40) + 70", []).unwrap();
    drop(tool);
    let (store, _) = open(&path, Owner::Store(STORE));
    let damaged = store.reader().unwrap().block(log, Seq(65), 100, 40_000);
    assert!(matches!(damaged, Err(LedgerError::Damaged { upto: Seq(128), .. })), "{damaged:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Any order of any sub-blocks: what is applied is a prefix, and in the end everything is there once.
    #[test]
    fn any_delivery_ends_in_the_same_ledger(cuts in prop::collection::vec((1_u64..61, 1_usize..20), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let (store, hq) = pair(dir.path());
        sell(&store, 0..60);
        for (first, count) in cuts {
            ingest(&hq, &block(&store, first, count));
        }
        let log = store.log().unwrap();
        let head = hq.reader().unwrap().head(log).unwrap().map_or(0, |row| row.head.0);
        if head < 61 {
            ingest(&hq, &block(&store, head + 1, 100));
        }
        let (at_store, at_hq) = (store.reader().unwrap(), hq.reader().unwrap());
        prop_assert_eq!(at_hq.head(log).unwrap().unwrap().link, at_store.head(log).unwrap().unwrap().link);
        prop_assert_eq!(at_store.balances(STORE).unwrap(), at_hq.balances(STORE).unwrap());
        prop_assert!(hq.verify().unwrap().ok());
    }
}
