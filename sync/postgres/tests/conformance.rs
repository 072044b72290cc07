//! One set of checks for both of HQ's ledgers: SQLite (sync-store) and PostgreSQL (this package). Whatever is fed to them,
//! they say the same, store the same and fold the same.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod common;

use common::{blocks, event, log, records, sale, server, stamp, wait};
use hil_rig::postgres::Postgres as Server;
use std::path::Path;
use std::sync::Arc;
use sync_core::{Ack, Block, Link, Message};
use sync_model::{
    AlarmKind, AlarmRaised, AlarmReturned, Article, ArticlesSet, BatchQueued, Count, DeviceClass, DeviceId,
    DeviceSeen, Epoch, EventId, Fact, FactRef, Kind, LogId, LotId, Milli, MilliCelsius, Minor, PriceChanged,
    Receipt, ReceiptLine, ReservationOpened, Seq, Sku, StockUnit, StoreId, TagConfirmed, Text, UnixMillis,
};
use sync_postgres::{Evidence, Postgres, PostgresReader};
use sync_store::{
    HeadRow, IngestOutcome, Ingested, KindCount, Ledger, LedgerConfig, LedgerError, MoneyRow, Owner,
    QuarantineCounts, QuarantineRow, Reader, StockBalance, StoredEvent, VerifyReport,
};

const STORE: StoreId = StoreId(7);

/// What HQ asks of a ledger.
trait Vault {
    fn ingest(&self, block: &Block) -> Result<Ingested, LedgerError>;
    fn append(&self, store: StoreId, events: Vec<sync_model::Event>) -> Result<Vec<EventId>, LedgerError>;
    fn acked(&self, ack: Ack);
    fn keep_aside(&self, evidence: Evidence);
    fn heads(&self) -> Vec<HeadRow>;
    fn events(&self, log: LogId, from: Seq, limit: usize) -> Vec<StoredEvent>;
    fn block(&self, log: LogId, first: Seq) -> Option<Block>;
    fn balances(&self, store: StoreId) -> Vec<StockBalance>;
    fn money(&self, store: StoreId) -> Vec<MoneyRow>;
    fn counts(&self) -> Vec<KindCount>;
    fn article(&self, store: StoreId, sku: Sku) -> Option<Article>;
    fn quarantine(&self) -> (Vec<QuarantineRow>, QuarantineCounts);
    fn verify(&self) -> VerifyReport;
}

struct Sqlite {
    ledger: Ledger,
    reader: Reader,
}

impl Sqlite {
    fn open(path: &Path) -> Self {
        let config = LedgerConfig {
            path: path.to_owned(),
            owner: Owner::Hq,
            max_bytes: None,
            software: Text::lossy("test"),
            queue: 64,
        };
        let ledger = Ledger::open(config, stamp(0)).unwrap().0;
        let reader = ledger.reader().unwrap();
        Self { ledger, reader }
    }
}

impl Vault for Sqlite {
    fn ingest(&self, block: &Block) -> Result<Ingested, LedgerError> {
        let block = block.clone();
        self.ledger.call(move |draft| draft.ingest(&block, UnixMillis(77)))
    }
    fn append(&self, store: StoreId, events: Vec<sync_model::Event>) -> Result<Vec<EventId>, LedgerError> {
        self.ledger.call(move |draft| events.iter().map(|event| draft.append_down(store, event)).collect())
    }
    fn acked(&self, ack: Ack) {
        self.ledger.call(move |draft| draft.acked(&ack)).unwrap();
    }
    fn keep_aside(&self, evidence: Evidence) {
        let Evidence { source, code, detail, raw, received } = evidence;
        self.ledger.call(move |draft| draft.quarantine(&source, &code, &detail, &raw, received)).unwrap();
    }
    fn heads(&self) -> Vec<HeadRow> {
        self.reader.heads().unwrap()
    }
    fn events(&self, log: LogId, from: Seq, limit: usize) -> Vec<StoredEvent> {
        self.reader.events(log, from, limit).unwrap()
    }
    fn block(&self, log: LogId, first: Seq) -> Option<Block> {
        self.reader.block(log, first, 100, 48 * 1024).unwrap()
    }
    fn balances(&self, store: StoreId) -> Vec<StockBalance> {
        self.reader.balances(store).unwrap()
    }
    fn money(&self, store: StoreId) -> Vec<MoneyRow> {
        self.reader.money(store).unwrap()
    }
    fn counts(&self) -> Vec<KindCount> {
        self.reader.counts().unwrap()
    }
    fn article(&self, store: StoreId, sku: Sku) -> Option<Article> {
        self.reader.article(store, sku).unwrap()
    }
    fn quarantine(&self) -> (Vec<QuarantineRow>, QuarantineCounts) {
        (self.reader.quarantine(2_000).unwrap(), self.reader.quarantine_counts().unwrap())
    }
    fn verify(&self) -> VerifyReport {
        self.ledger.verify().unwrap()
    }
}

struct OnPostgres {
    ledger: Postgres,
    reader: PostgresReader,
}

impl OnPostgres {
    fn open(url: &str) -> Self {
        let config =
            sync_postgres::PostgresConfig { software: Text::lossy("test"), ..common::config(url, "hq") };
        let ledger = common::open(config);
        let reader = ledger.reader().unwrap();
        Self { ledger, reader }
    }
}

impl Vault for OnPostgres {
    fn ingest(&self, block: &Block) -> Result<Ingested, LedgerError> {
        common::ingest(&self.ledger, block)
    }
    fn append(&self, store: StoreId, events: Vec<sync_model::Event>) -> Result<Vec<EventId>, LedgerError> {
        wait(|reply| self.ledger.append_down(store, events, reply))
    }
    fn acked(&self, ack: Ack) {
        wait(|reply| self.ledger.acked(ack, reply)).unwrap();
    }
    fn keep_aside(&self, evidence: Evidence) {
        wait(|reply| self.ledger.quarantine(evidence, reply)).unwrap();
    }
    fn heads(&self) -> Vec<HeadRow> {
        self.reader.heads().unwrap()
    }
    fn events(&self, log: LogId, from: Seq, limit: usize) -> Vec<StoredEvent> {
        self.reader.events(log, from, limit).unwrap()
    }
    fn block(&self, log: LogId, first: Seq) -> Option<Block> {
        self.reader.block(log, first, 100, 48 * 1024).unwrap()
    }
    fn balances(&self, store: StoreId) -> Vec<StockBalance> {
        self.reader.balances(store).unwrap()
    }
    fn money(&self, store: StoreId) -> Vec<MoneyRow> {
        self.reader.money(store).unwrap()
    }
    fn counts(&self) -> Vec<KindCount> {
        self.reader.counts().unwrap()
    }
    fn article(&self, store: StoreId, sku: Sku) -> Option<Article> {
        self.reader.article(store, sku).unwrap()
    }
    fn quarantine(&self) -> (Vec<QuarantineRow>, QuarantineCounts) {
        (self.reader.quarantine(2_000).unwrap(), self.reader.quarantine_counts().unwrap())
    }
    fn verify(&self) -> VerifyReport {
        self.ledger.verify().unwrap()
    }
}

/// A ledger that can be closed and opened again.
struct Bench {
    place: String,
    _server: Option<Arc<Server>>,
    _folder: Option<tempfile::TempDir>,
}

impl Bench {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("hq.db").display().to_string();
        Self { place, _server: None, _folder: Some(folder) }
    }

    fn postgres() -> Self {
        let server = server();
        let place = server.database("hq").unwrap();
        Self { place, _server: Some(Arc::new(server)), _folder: None }
    }

    fn open(&self) -> Box<dyn Vault> {
        if self.place.starts_with("postgres:") {
            Box::new(OnPostgres::open(&self.place))
        } else {
            Box::new(Sqlite::open(Path::new(&self.place)))
        }
    }
}

fn assert_verifies(vault: &dyn Vault) {
    let report = vault.verify();
    assert!(report.ok(), "{:?}", report.problems);
}

fn block_of(log: LogId, first: u64, prev: Link, records: Vec<Vec<u8>>) -> Block {
    Block { log, first: Seq(first), prev, records }
}

fn repeats_gaps_and_overlaps(bench: &Bench) {
    let vault = bench.open();
    let chain = blocks(log(7, 1), 3, 50);
    let gap = vault.ingest(&chain[1]).unwrap();
    assert_eq!(gap.outcome, IngestOutcome::Gap { missing: (Seq(1), Seq(50)) });
    let genesis = Link::genesis(log(7, 1));
    assert_eq!((gap.ack.upto, gap.ack.link, gap.ack.gap), (Seq(0), genesis, Some((Seq(1), Seq(50)))));
    assert!(vault.heads().is_empty());
    let applied = vault.ingest(&chain[0]).unwrap();
    assert_eq!(applied.outcome, IngestOutcome::Applied { first: Seq(1), last: Seq(50), odd: 0 });
    assert_eq!(applied.ack.link, chain[0].link());
    assert_eq!(vault.ingest(&chain[0]).unwrap().outcome, IngestOutcome::Duplicate);
    // 41 to 50 again, 51 to 60 new.
    let part = vault.block(log(7, 1), Seq(41)).unwrap();
    let mut overlap = part.clone();
    overlap.records.extend_from_slice(&chain[1].records[..10]);
    let outcome = vault.ingest(&overlap).unwrap().outcome;
    assert_eq!(outcome, IngestOutcome::Applied { first: Seq(51), last: Seq(60), odd: 0 });
    assert_eq!(vault.ingest(&chain[1]).unwrap().ack.upto, Seq(100));
    assert_eq!(vault.ingest(&chain[2]).unwrap().ack.upto, Seq(150));
    assert_eq!(vault.heads()[0].link, chain[2].link());
    let events = vault.events(log(7, 1), Seq(99), 5);
    assert_eq!(events.iter().map(|event| event.id.seq.0).collect::<Vec<_>>(), [99, 100, 101, 102, 103]);
    assert!(events.iter().all(|event| event.received == Some(UnixMillis(77))));
    assert_eq!(vault.counts().iter().map(|row| row.count).sum::<u64>(), 150);
    assert_verifies(&*vault);
}

fn contradictions_are_kept_aside(bench: &Bench) {
    let vault = bench.open();
    let chain = blocks(log(7, 1), 3, 10);
    vault.ingest(&chain[0]).unwrap();
    let mut forged = chain[0].clone();
    forged.records[6] = event(0, sale(999)).to_record().unwrap();
    assert_eq!(vault.ingest(&forged).unwrap().outcome, IngestOutcome::Equivocation { at: Seq(7) });
    assert_eq!(vault.ingest(&forged).unwrap().ack.upto, Seq(10));
    let mut broken = chain[1].clone();
    broken.prev = Link([9; 32]);
    assert_eq!(vault.ingest(&broken).unwrap().outcome, IngestOutcome::ChainBreak { at: Seq(11) });
    let (kept, counts) = vault.quarantine();
    assert_eq!(kept.iter().map(|row| row.code.as_str()).collect::<Vec<_>>(), ["chain-break", "equivocation"]);
    assert_eq!((kept[1].times, counts.kept, counts.total), (2, 2, 3));
    assert_eq!(Message::decode(&kept[1].raw).unwrap(), Message::Block(forged));
    // The true history still goes on.
    assert_eq!(vault.ingest(&chain[1]).unwrap().ack.upto, Seq(20));
    assert_verifies(&*vault);
}

fn bad_and_unknown_records_never_block(bench: &Bench) {
    let vault = bench.open();
    let log = log(7, 1);
    let unknown = event(0, Fact::Unknown { kind: Kind(250), body: vec![1, 2, 3] }).to_record().unwrap();
    let mut truncated = event(0, sale(5)).to_record().unwrap();
    truncated.truncate(20);
    let mut unbalanced = sale(6);
    unbalanced.tenders[0].amount = Minor(3);
    let unbalanced = event(0, unbalanced).to_record().unwrap();
    let good = event(0, sale(7)).to_record().unwrap();
    let first = vec![unknown.clone(), truncated, unbalanced, Vec::new(), good.clone(), good.clone()];
    let first = block_of(log, 1, Link::genesis(log), first);
    let done = vault.ingest(&first).unwrap();
    assert_eq!(done.outcome, IngestOutcome::Applied { first: Seq(1), last: Seq(6), odd: 4 });
    assert_eq!(done.ack.link, first.link());
    // The ticket number once more, now that it is committed.
    let second = block_of(log, 7, first.link(), vec![good]);
    let done = vault.ingest(&second).unwrap();
    assert_eq!(done.outcome, IngestOutcome::Applied { first: Seq(7), last: Seq(7), odd: 1 });
    assert_eq!(vault.events(log, Seq(1), 1)[0].record, unknown);
    assert_eq!(vault.quarantine().1.total, 5);
    let codes: Vec<String> = vault.quarantine().0.into_iter().map(|row| row.code).collect();
    assert_eq!(codes, ["duplicate-ticket", "duplicate-ticket", "undecodable", "wrong-total", "undecodable"]);
    assert_verifies(&*vault);
}

fn foreign_blocks_are_refused(bench: &Bench) {
    let vault = bench.open();
    let own = blocks(log(7, 1), 1, 3).remove(0);
    let mut down = own.clone();
    down.log.direction = sync_model::Direction::Down;
    let (mut zero, mut far) = (own.clone(), own);
    zero.first = Seq(0);
    far.first = Seq(u64::MAX - 5);
    for (block, code) in [(down, "wrong-owner"), (zero, "bad-block"), (far, "bad-block")] {
        let refused = vault.ingest(&block);
        assert!(
            matches!(&refused, Err(LedgerError::Refused(refusal)) if refusal.code == code),
            "{code}: {refused:?}"
        );
    }
    assert!(vault.heads().is_empty());
}

fn everything_is_there_after_a_restart(bench: &Bench) {
    let chain = blocks(log(7, 1), 8, 40);
    let mut last = None;
    for block in &chain {
        // A ledger of its own for every block.
        let vault = bench.open();
        last = Some(vault.ingest(block).unwrap().ack);
        assert_eq!(vault.ingest(block).unwrap().outcome, IngestOutcome::Duplicate);
    }
    let vault = bench.open();
    let head = vault.heads()[0];
    assert_eq!(last.map(|ack| (ack.upto, ack.link)), Some((head.head, head.link)));
    assert_eq!(head.head, Seq(320));
    assert_verifies(&*vault);
}

fn the_quarantine_is_bounded(bench: &Bench) {
    let vault = bench.open();
    for number in 0..1_030_u32 {
        let evidence = Evidence {
            source: "to\0pic".to_owned(),
            code: "undecodable".to_owned(),
            detail: "garbage".to_owned(),
            raw: number.to_be_bytes().to_vec(),
            received: UnixMillis(0),
        };
        vault.keep_aside(evidence);
    }
    let (kept, counts) = vault.quarantine();
    assert_eq!((counts.kept, counts.total, counts.evicted, kept.len()), (1_000, 1_030, 30, 1_000));
    assert_eq!(kept[0].raw, 1_029_u32.to_be_bytes());
}

macro_rules! conformance {
    ($($ledger:ident),*) => {$(
        mod $ledger {
            use super::Bench;
            #[test]
            fn repeats_gaps_and_overlaps() {
                super::repeats_gaps_and_overlaps(&Bench::$ledger());
            }
            #[test]
            fn contradictions_are_kept_aside() {
                super::contradictions_are_kept_aside(&Bench::$ledger());
            }
            #[test]
            fn bad_and_unknown_records_never_block() {
                super::bad_and_unknown_records_never_block(&Bench::$ledger());
            }
            #[test]
            fn foreign_blocks_are_refused() {
                super::foreign_blocks_are_refused(&Bench::$ledger());
            }
            #[test]
            fn everything_is_there_after_a_restart() {
                super::everything_is_there_after_a_restart(&Bench::$ledger());
            }
            #[test]
            fn the_quarantine_is_bounded() {
                super::the_quarantine_is_bounded(&Bench::$ledger());
            }
        }
    )*};
}

conformance!(sqlite, postgres);

/// Facts of every kind that a fold looks at.
fn facts_of_all_kinds(round: u32) -> Vec<Fact> {
    let device = |name: &str| DeviceId::new(name).unwrap();
    let at = FactRef { epoch: Epoch(1), seq: Seq(2) };
    let sku = Sku(1_000 + u64::from(round));
    let line =
        ReceiptLine { sku, lot: LotId::new("L1").unwrap(), quantity: Milli(5_000), unit_cost: Minor(50) };
    vec![
        Receipt { reference: Text::new("note").unwrap(), lines: vec![line] }.into(),
        AlarmRaised {
            device: device("cold-1"),
            kind: AlarmKind::TooWarm,
            since: UnixMillis(5),
            value: Some(MilliCelsius(9_000)),
            limit: None,
        }
        .into(),
        AlarmReturned { alarm: at, value: None, worst: Some(MilliCelsius(9_500)) }.into(),
        BatchQueued {
            device: device("steam-1"),
            sku,
            quantity: Milli(1_000),
            program: 3,
            set_point: MilliCelsius(98_000),
            core_min: MilliCelsius(75_000),
            steam_s: 600,
            hold_limit_s: 7_200,
        }
        .into(),
        ReservationOpened {
            sku,
            quantity: Milli(1_000),
            channel: Text::new("web").unwrap(),
            reference: Text::new("order").unwrap(),
            expires: UnixMillis(10),
        }
        .into(),
        PriceChanged { sku, from: None, to: Minor(990), version: u64::from(round) }.into(),
        TagConfirmed {
            tag: device("tag-1"),
            sku,
            price: Minor(990),
            version: u64::from(round),
            image_hash: [7; 8],
        }
        .into(),
        DeviceSeen { device: device("scale-1"), class: DeviceClass::Scale, identity: Text::default() }.into(),
        Count {
            sku,
            lot: LotId::default(),
            section: Text::default(),
            counted: Milli(7),
            book: Milli(9),
            by: Text::default(),
        }
        .into(),
        sale(u64::from(round)).into(),
    ]
}

#[test]
fn both_ledgers_say_store_and_fold_the_same() {
    let (files, server) = (Bench::sqlite(), Bench::postgres());
    let vaults = [files.open(), server.open()];
    let log = log(STORE.0, 1);
    let (mut prev, mut first) = (Link::genesis(log), 1);
    for round in 0..6 {
        let facts = facts_of_all_kinds(round);
        let mut all: Vec<Vec<u8>> =
            facts.into_iter().map(|fact| event(i64::from(round), fact).to_record().unwrap()).collect();
        all.extend(records(u64::from(round) * 20 + 10..=u64::from(round) * 20 + 40));
        let block = block_of(log, first, prev, all);
        (prev, first) = (block.link(), first + u64::try_from(block.records.len()).unwrap());
        let said = vaults.each_ref().map(|vault| vault.ingest(&block).unwrap());
        assert_eq!(said[0], said[1]);
    }
    let article = |version| Article {
        sku: Sku(1_000),
        version,
        name: Text::new("Dumpling").unwrap(),
        unit: StockUnit::Piece,
        price: Minor(250),
        tax_rate: 1_300,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    };
    let events: Vec<_> =
        [5, 3].map(|version| event(9, ArticlesSet { articles: vec![article(version)] })).to_vec();
    let ids = vaults.each_ref().map(|vault| vault.append(STORE, events.clone()).unwrap());
    assert_eq!(ids[0], ids[1]);
    for vault in &vaults {
        let down = vault.block(ids[0][0].log, Seq(1)).unwrap();
        vault.acked(Ack { log: down.log, upto: Seq(2), link: down.link(), gap: None });
        // Never back, never beyond the end.
        vault.acked(Ack { log: down.log, upto: Seq(1), link: down.link(), gap: None });
        vault.acked(Ack { log: down.log, upto: Seq(9), link: down.link(), gap: None });
    }
    let [files, server] = &vaults;
    assert_eq!(files.heads(), server.heads());
    assert_eq!(files.heads().iter().map(|row| row.acked.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(files.balances(STORE), server.balances(STORE));
    assert!(!files.balances(STORE).is_empty() && !files.money(STORE).is_empty());
    assert_eq!(files.money(STORE), server.money(STORE));
    assert_eq!(files.counts(), server.counts());
    assert_eq!(files.article(STORE, Sku(1_000)), server.article(STORE, Sku(1_000)));
    assert_eq!(server.article(STORE, Sku(1_000)).map(|article| article.version), Some(5));
    assert_eq!(files.block(log, Seq(70)), server.block(log, Seq(70)));
    assert_eq!(files.quarantine().1, server.quarantine().1);
    for vault in &vaults {
        assert_verifies(&**vault);
    }
}
