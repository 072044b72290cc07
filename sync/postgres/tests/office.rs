//! What HQ decides and orders, on both ledgers: blocks of wire version 2, returned history, rights and their pool, registers;
//! orders between workers.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{
    assert_verifies, blocks, buckets, config, event, log, open, records, server, stamp, until, wait,
};
use std::path::Path;
use std::sync::Arc;
use sync_core::replica::{Incoming, Ingested, Prev};
use sync_core::{Block, Link};
use sync_model::{
    Article, ArticlesSet, ConflictSettled, DeviceClass, DeviceEntry, Epoch, Event, EventId, Fact, FactRef,
    HqConflictSettled, LogId, LotId, Milli, Minor, PromiseOpened, RegisterValue, RightsIssued, RightsTaken,
    Seq, Sku, StockUnit, StoreId, Text, TransferIn, TransferLine, TransferOut, UnixMillis,
};
use sync_postgres::{Check, Order, Postgres, PostgresConfig};
use sync_store::{IngestOutcome, Ledger, LedgerConfig, LedgerError, Owner, Refusal};

const SKU: Sku = Sku(1_001);

/// The two engines side by side.
struct Both {
    _folder: tempfile::TempDir,
    files: Ledger,
    server: Postgres,
}

fn file(path: &Path) -> Ledger {
    let config = LedgerConfig {
        path: path.to_owned(),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::lossy("test"),
        queue: 64,
    };
    Ledger::open(config, stamp(0)).unwrap().0
}

impl Both {
    fn open(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = file(&folder.path().join("hq.db"));
        let server = open(PostgresConfig { software: Text::lossy("test"), ..config(url, "hq") });
        Self { _folder: folder, files, server }
    }

    /// Both take the block in and say the same.
    fn take_in(&self, block: &Incoming) -> Ingested {
        let (ours, at) = (block.clone(), stamp(5));
        let files =
            self.files.call(move |draft| draft.take_in(&ours, at).map(|taken| taken.ingested)).unwrap();
        let server = wait(|reply| self.server.take_in(block, at, None, reply)).unwrap();
        assert_eq!(files, server);
        files
    }

    /// Both carry the order out, or refuse it for the same reason.
    fn order(&self, order: &Order) -> Result<Vec<EventId>, String> {
        let ours = order.clone();
        let files = self.files.call(move |draft| match ours {
            Order::Append { store, events } => {
                events.iter().map(|event| draft.append_down(store, event)).collect()
            }
            Order::Grant { stamp, store, sku, quantity } => {
                draft.grant(stamp, store, sku, quantity).map(|id| vec![id])
            }
            Order::Fence { stamp, store, epoch } => draft.fence(stamp, store, epoch),
            Order::WriteRegister { stamp, store, name, value } => {
                draft.write_register(stamp, store, name, value).map(|id| vec![id])
            }
            Order::ChangeRegistry { stamp, store, device, entry } => {
                draft.change_registry(stamp, store, device, entry).map(|id| vec![id])
            }
        });
        let server = self.server.order(order.clone());
        let plain = |said: Result<Vec<EventId>, LedgerError>| said.map_err(|error| error.to_string());
        let (files, server) = (plain(files), plain(server));
        assert_eq!(files, server, "{order:?}");
        files
    }

    fn append(&self, store: StoreId, fact: impl Into<Fact>) -> Result<Vec<EventId>, String> {
        self.order(&Order::Append { store, events: vec![event(9, fact)] })
    }

    /// Everything that people can ask is answered alike, and both verify.
    fn assert_alike(&self, stores: &[StoreId]) {
        let (files, server) = (self.files.reader().unwrap(), self.server.reader().unwrap());
        assert_eq!(files.heads().unwrap(), server.heads().unwrap());
        assert_eq!(files.stores().unwrap(), server.stores().unwrap());
        assert_eq!(files.counts().unwrap(), server.counts().unwrap());
        assert_eq!(files.pools().unwrap(), server.pools().unwrap());
        assert_eq!(files.transfers().unwrap(), server.transfers().unwrap());
        assert_eq!(files.seals().unwrap(), server.seals().unwrap());
        for store in stores {
            assert_eq!(files.balances(*store).unwrap(), server.balances(*store).unwrap());
            assert_eq!(files.money(*store).unwrap(), server.money(*store).unwrap());
            assert_eq!(files.rights(*store, None).unwrap(), server.rights(*store, None).unwrap());
            assert_eq!(files.conflicts(*store, true).unwrap(), server.conflicts(*store, true).unwrap());
            assert_eq!(files.transfers_from(*store).unwrap(), server.transfers_from(*store).unwrap());
            assert_eq!(files.registers(*store).unwrap(), server.registers(*store).unwrap());
            assert_eq!(files.registry(*store).unwrap(), server.registry(*store).unwrap());
            assert_eq!(files.statements(*store, 9).unwrap(), server.statements(*store, 9).unwrap());
            assert_eq!(files.article(*store, SKU).unwrap(), server.article(*store, SKU).unwrap());
        }
        let report = self.files.verify().unwrap();
        assert!(report.ok(), "{:?}", report.problems);
        assert_verifies(&self.server);
    }
}

fn short(block: &Block) -> Incoming {
    let mut start = [0; 8];
    start.copy_from_slice(&block.prev.0[..8]);
    Incoming { prev: Prev::Short(start), ..Incoming::from(block.clone()) }
}

fn block_of(log: LogId, first: u64, prev: Link, facts: Vec<Fact>) -> Block {
    let records = facts.into_iter().map(|fact| event(3, fact).to_record().unwrap()).collect();
    Block { log, first: Seq(first), prev, records }
}

#[test]
fn blocks_with_a_short_link_are_resolved_alike() {
    let server = server();
    let both = Both::open(&server.database("short").unwrap());
    let up = log(7, 1);
    let chain = blocks(up, 5, 50);
    let beyond = both.take_in(&short(&chain[1]));
    assert_eq!(beyond.outcome, IngestOutcome::Gap { missing: (Seq(1), Seq(50)) });
    for block in &chain[..4] {
        assert!(matches!(both.take_in(&short(block)).outcome, IngestOutcome::Applied { .. }));
    }
    // Known ones, from positions whose link is stored and from others; one that reaches over the end.
    for block in &chain[..4] {
        assert_eq!(both.take_in(&short(block)).outcome, IngestOutcome::Duplicate);
    }
    let records = chain[3].records[20..].iter().chain(&chain[4].records[..10]).cloned().collect();
    let prev = Block { records: chain[3].records[..20].to_vec(), ..chain[3].clone() }.link();
    let over = Block { log: up, first: Seq(171), prev, records };
    let applied = both.take_in(&short(&over));
    assert_eq!(applied.outcome, IngestOutcome::Applied { first: Seq(201), last: Seq(210), odd: 0 });
    // Another history, and other bytes under a known name.
    let mut foreign = short(&Block { first: Seq(211), ..chain[4].clone() });
    foreign.prev = Prev::Short([9; 8]);
    assert_eq!(both.take_in(&foreign).outcome, IngestOutcome::ChainBreak { at: Seq(211) });
    let mut forged = chain[1].clone();
    forged.records[7] = records_of_another();
    assert_eq!(both.take_in(&short(&forged)).outcome, IngestOutcome::Equivocation { at: Seq(58) });
    both.assert_alike(&[StoreId(7)]);
}

fn records_of_another() -> Vec<u8> {
    records(9_999..=9_999).remove(0)
}

#[test]
fn a_signature_that_does_not_hold_refuses_the_whole_block() {
    let server = server();
    let ledger = open(config(&server.database("seal").unwrap(), "hq"));
    let chain = blocks(log(7, 1), 2, 10);
    let mut sealed = Incoming::from(chain[0].clone());
    sealed.seal = Some([5; 64]);
    let no: Check = Arc::new(|log, upto, _| Err(Refusal::new("bad-seal", format!("{log} at {upto}"))));
    let refused = wait(|reply| ledger.take_in(&sealed, stamp(1), Some(no), reply));
    assert!(
        matches!(&refused, Err(LedgerError::Refused(refusal)) if refusal.code == "bad-seal"),
        "{refused:?}"
    );
    assert!(ledger.reader().unwrap().heads().unwrap().is_empty());
    let link = chain[0].link();
    let yes: Check = Arc::new(move |_, upto, found| {
        assert_eq!((upto, found), (Seq(10), link));
        Ok(())
    });
    wait(|reply| ledger.take_in(&sealed, stamp(1), Some(yes), reply)).unwrap();
    let seals = ledger.reader().unwrap().seals().unwrap();
    assert_eq!(
        seals.iter().map(|seal| (seal.upto, seal.signature)).collect::<Vec<_>>(),
        [(Seq(10), [5; 64])]
    );
    assert_verifies(&ledger);
}

fn article(version: u64) -> ArticlesSet {
    let article = Article {
        sku: SKU,
        version,
        name: Text::new("Dumpling").unwrap(),
        unit: StockUnit::Piece,
        price: Minor(250),
        tax_rate: 1_300,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    };
    ArticlesSet { articles: vec![article] }
}

#[test]
fn returned_history_takes_its_place_and_the_own_branch_moves() {
    let server = server();
    let both = Both::open(&server.database("returned").unwrap());
    let store = StoreId(9);
    both.take_in(&blocks(log(9, 1), 1, 30)[0].clone().into());
    // HQ before it was set back, of which only the store knows.
    let truth_folder = tempfile::tempdir().unwrap();
    let truth = file(&truth_folder.path().join("truth.db"));
    let lost: Vec<Event> = (1..=8).map(|version| event(9, article(version))).collect();
    let ids = truth
        .call(move |draft| {
            lost.iter().map(|event| draft.append_down(store, event)).collect::<Result<Vec<_>, _>>()
        })
        .unwrap();
    let down = ids[0].log;
    let block =
        |first, count| truth.reader().unwrap().block(down, Seq(first), count, 48_000).unwrap().unwrap();
    // Since then it wrote other events under the same names.
    for version in [101, 102, 103] {
        both.append(store, article(version)).unwrap();
    }
    assert_eq!(both.server.reader().unwrap().heads().unwrap().last().unwrap().log, down, "the same name");
    let gap = both.take_in(&block(7, 2).into());
    assert_eq!(gap.outcome, IngestOutcome::Gap { missing: (Seq(5), Seq(6)) });
    let returned = both.take_in(&block(1, 6).into());
    assert_eq!(returned.outcome, IngestOutcome::Applied { first: Seq(2), last: Seq(6), odd: 0 });
    assert_eq!(both.take_in(&block(3, 2).into()).outcome, IngestOutcome::Duplicate);
    let rest = both.take_in(&short(&block(7, 3)));
    assert_eq!(rest.outcome, IngestOutcome::Applied { first: Seq(7), last: Seq(9), odd: 0 });
    let heads = both.server.reader().unwrap().heads().unwrap();
    let of_down: Vec<_> = heads.iter().filter(|row| row.log.direction == down.direction).collect();
    assert_eq!(of_down.len(), 2, "the own branch has an epoch of its own: {heads:?}");
    assert_eq!((of_down[0].log, of_down[0].head), (down, Seq(9)));
    // Its beginning and the three that moved.
    assert_eq!(of_down[1].head, Seq(4));
    // What HQ says next goes on there.
    let next = both.append(store, article(104)).unwrap();
    assert_eq!(next[0].log, of_down[1].log);
    both.assert_alike(&[store]);
}

#[test]
fn an_ended_log_is_followed_by_a_new_epoch() {
    let server = server();
    let both = Both::open(&server.database("ended").unwrap());
    let store = StoreId(9);
    let first = both.append(store, article(1)).unwrap()[0].log;
    both.files.call(move |draft| draft.close_down(first)).unwrap();
    wait(|reply| both.server.close_down(first, reply)).unwrap();
    let second = both.append(store, article(2)).unwrap()[0].log;
    assert!(second.epoch > first.epoch, "{first} {second}");
    both.assert_alike(&[store]);
}

#[test]
fn rights_transfers_and_registers_are_the_same_on_both() {
    let server = server();
    let both = Both::open(&server.database("shared").unwrap());
    let (seven, eight) = (StoreId(7), StoreId(8));
    let grant =
        |store, quantity| Order::Grant { stamp: stamp(9), store, sku: SKU, quantity: Milli(quantity) };
    assert!(both.order(&grant(seven, 1)).unwrap_err().contains("nothing was heard"));
    // Goods on their way: 5 sent, 7 arrived. A promise of 4, of which HQ then takes the rest back.
    let up = log(7, 3);
    let line = |quantity| TransferLine { sku: SKU, lot: LotId::default(), quantity: Milli(quantity) };
    let sent = TransferOut { to: eight, lines: vec![line(5_000)] };
    let promise = PromiseOpened {
        sku: SKU,
        quantity: Milli(4_000),
        channel: Text::lossy("web"),
        reference: Text::lossy("order"),
        expires: UnixMillis(10),
    };
    let of = FactRef { epoch: Epoch(3), seq: Seq(1) };
    let taken = RightsTaken { sku: SKU, of, posted: Milli(0), rights: Milli(1_000), shortfall: Milli(500) };
    let first = block_of(up, 1, Link::genesis(up), vec![sent.into(), promise.into()]);
    both.take_in(&first.clone().into());
    let arrived = TransferIn { from: seven, of, lines: vec![line(7_000)] };
    let other = log(8, 1);
    both.take_in(&block_of(other, 1, Link::genesis(other), vec![arrived.into()]).into());

    let issued = RightsIssued { sku: SKU, quantity: Milli(10_000) };
    both.append(seven, issued.clone()).unwrap();
    both.order(&grant(seven, 6_000)).unwrap();
    assert!(both.order(&grant(eight, 4_001)).unwrap_err().contains("the pool has"));
    both.order(&grant(eight, 4_000)).unwrap();
    let back = RightsIssued { sku: SKU, quantity: Milli(-1) };
    assert!(both.append(seven, back).unwrap_err().contains("the pool has"));
    both.take_in(&block_of(up, 3, first.link(), vec![taken.into()]).into());
    let fence = Order::Fence { stamp: stamp(9), store: seven, epoch: Epoch(3) };
    assert_eq!(both.order(&fence).unwrap().len(), 1);
    assert!(both.order(&grant(seven, 1)).unwrap_err().contains("fenced"));
    assert!(both.order(&Order::Fence { stamp: stamp(9), store: seven, epoch: Epoch(99) }).is_err());

    let register = |value| Order::WriteRegister {
        stamp: stamp(9),
        store: seven,
        name: Text::lossy("note/door"),
        value: RegisterValue::Number(value),
    };
    both.order(&register(4)).unwrap();
    both.order(&register(5)).unwrap();
    let device = sync_model::DeviceId::new("scale-1").unwrap();
    let entry = DeviceEntry { class: DeviceClass::Scale, label: Text::lossy("counter") };
    let change =
        |entry| Order::ChangeRegistry { stamp: stamp(9), store: seven, device: device.clone(), entry };
    both.order(&change(Some(entry))).unwrap();

    let conflicts = both.server.reader().unwrap().conflicts(seven, false).unwrap();
    assert!(conflicts.iter().any(|row| row.kind == "transfer-surplus"), "{conflicts:?}");
    let settled =
        ConflictSettled { conflict: Text::new(conflicts[0].id.clone()).unwrap(), by: Text::lossy("me") };
    both.append(seven, HqConflictSettled(settled)).unwrap();
    both.order(&change(None)).unwrap();
    both.assert_alike(&[seven, eight]);
    assert_eq!(both.server.reader().unwrap().registers(seven).unwrap().len(), 1);
}

/// Two workers with half of the buckets each: stores 7 and 40.
fn two_workers(url: &str) -> (Postgres, Postgres) {
    let half =
        |name, range| PostgresConfig { home: buckets(range), spare: buckets(0..0), ..config(url, name) };
    let (left, right) = (open(half("left", 0..32)), open(half("right", 32..64)));
    until("each has its half", || left.owned().len() == 32 && right.owned().len() == 32);
    (left, right)
}

#[test]
fn two_workers_never_grant_more_than_the_pool_holds() {
    let server = server();
    let (left, right) = two_workers(&server.database("pool").unwrap());
    common::ingest(&left, &blocks(log(7, 1), 1, 5)[0]).unwrap();
    common::ingest(&right, &blocks(log(40, 1), 1, 5)[0]).unwrap();
    let issued = event(1, RightsIssued { sku: SKU, quantity: Milli(20) });
    left.order(Order::Append { store: StoreId(7), events: vec![issued] }).unwrap();
    let grants = |ledger: &Postgres, store: u32| {
        let ledger = ledger.clone();
        std::thread::spawn(move || {
            let grant = |_| {
                let store = StoreId(store);
                ledger.order(Order::Grant { stamp: stamp(2), store, sku: SKU, quantity: Milli(1) }).is_ok()
            };
            (0..18).map(grant).filter(|granted| *granted).count()
        })
    };
    let (first, second) = (grants(&left, 7), grants(&right, 40));
    let granted = first.join().unwrap() + second.join().unwrap();
    assert_eq!(granted, 20, "of 36 asked for");
    assert_eq!(left.reader().unwrap().pools().unwrap().get(&SKU), Some(&Milli(0)));
    assert_verifies(&right);
}

#[test]
fn any_worker_takes_any_order() {
    let server = server();
    let url = server.database("mail").unwrap();
    let (left, right) = two_workers(&url);
    let note = |version| Order::Append { store: StoreId(7), events: vec![event(1, article(version))] };
    let ids = right.order(note(1)).unwrap();
    assert_eq!(left.reader().unwrap().event_count(ids[0].log), 2);
    // A refusal comes back with its word.
    let grant = Order::Grant { stamp: stamp(2), store: StoreId(7), sku: SKU, quantity: Milli(1) };
    let refused = right.order(grant);
    assert!(
        matches!(&refused, Err(LedgerError::Refused(refusal)) if refusal.code == "wrong-epoch"),
        "{refused:?}"
    );
    assert_eq!(server.sql("mail", "SELECT count(*) FROM letter").unwrap(), "0");
    // Without an owner it is not carried out, then or later.
    drop(left);
    until("the lease ends", || right.reader().unwrap().leases().unwrap()[7].expired);
    let nobody = right.order(note(2));
    assert!(
        matches!(&nobody, Err(LedgerError::Elsewhere { detail }) if detail.contains("nothing was done")),
        "{nobody:?}"
    );
    assert_eq!(server.sql("mail", "SELECT count(*) FROM letter").unwrap(), "0");
    let left = open(PostgresConfig { home: buckets(0..32), ..config(&url, "left") });
    assert_eq!(right.order(note(3)).unwrap()[0].seq, Seq(3));
    assert_verifies(&left);
}

/// Events in a log.
trait Count {
    fn event_count(&self, log: LogId) -> usize;
}

impl Count for sync_postgres::PostgresReader {
    fn event_count(&self, log: LogId) -> usize {
        self.events(log, Seq(1), 100).unwrap().len()
    }
}
