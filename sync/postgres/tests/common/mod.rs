//! Fixtures: one PostgreSQL server per test program, a database per test, workers, facts.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(unreachable_pub, reason = "one module shared by several test programs")]

use hil_rig::postgres::Postgres as Server;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use sync_core::{Block, Link};
use sync_model::{
    BusinessDay, ClockQuality, Currency, Direction, Epoch, Event, Fact, LogId, LotId, Milli, Minor, Sale,
    SaleLine, Seq, Sku, Stamp, StoreId, Tender, TenderKind, TillId, UnixMillis,
};
use sync_postgres::{Postgres, PostgresConfig, Reply};
use sync_store::{Ingested, LedgerError};

/// Longer than anything here takes on a busy machine; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within the patience: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn buckets(range: std::ops::Range<i16>) -> BTreeSet<i16> {
    range.collect()
}

/// A worker with short times.
pub fn config(url: &str, name: &str) -> PostgresConfig {
    PostgresConfig {
        lease: Duration::from_secs(4),
        renew: Duration::from_millis(200),
        ..PostgresConfig::new(url, name)
    }
}

/// A worker that owns something.
pub fn open(config: PostgresConfig) -> Postgres {
    let ledger = Postgres::open(config).unwrap();
    until("the worker owns buckets", || !ledger.owned().is_empty());
    ledger
}

/// Waits for the reply to a job.
pub fn wait<T: Send + 'static>(
    submit: impl FnOnce(Reply<T>) -> Result<(), LedgerError>,
) -> Result<T, LedgerError> {
    let (answer, answered) = sync_channel(1);
    submit(Box::new(move |result| drop(answer.send(result))))?;
    answered.recv_timeout(PATIENCE).expect("a reply")
}

pub fn ingest(ledger: &Postgres, block: &Block) -> Result<Ingested, LedgerError> {
    let block = Arc::new(block.clone());
    wait(|reply| ledger.ingest(block, UnixMillis(77), reply))
}

pub fn stamp(at: i64) -> Stamp {
    Stamp { at: UnixMillis(1_790_000_000_000 + at), clock: ClockQuality::Synced }
}

pub fn event(at: i64, fact: impl Into<Fact>) -> Event {
    Event::new(stamp(at), fact)
}

pub fn log(store: u32, epoch: u32) -> LogId {
    LogId { store: StoreId(store), direction: Direction::Up, epoch: Epoch(epoch) }
}

pub fn sale(number: u64) -> Sale {
    let amount = Minor(i64::try_from(number % 50 + 1).unwrap() * 100);
    let line = SaleLine {
        sku: Sku(1_000 + number % 7),
        lot: LotId::default(),
        quantity: Milli(1_000),
        unit_price: amount,
        discount: Minor(0),
        amount,
        tax_rate: 1_300,
        weighing: None,
        batch: None,
    };
    Sale {
        till: TillId(u16::try_from(number % 4).unwrap()),
        number,
        day: BusinessDay(20_700),
        currency: Currency::CNY,
        lines: vec![line],
        tenders: vec![Tender { kind: TenderKind::Cash, amount }],
    }
}

pub fn records(numbers: std::ops::RangeInclusive<u64>) -> Vec<Vec<u8>> {
    numbers.map(|number| event(i64::try_from(number).unwrap(), sale(number)).to_record().unwrap()).collect()
}

/// Blocks of `size` tickets each, one after the other, from the beginning of a log.
pub fn blocks(log: LogId, count: u64, size: u64) -> Vec<Block> {
    let mut prev = Link::genesis(log);
    let mut first = 1;
    (0..count)
        .map(|_| {
            let block = Block { log, first: Seq(first), prev, records: records(first..=first + size - 1) };
            prev = block.link();
            first += size;
            block
        })
        .collect()
}

pub fn server() -> Server {
    Server::start().unwrap()
}

/// The ledger verifies without a complaint.
pub fn assert_verifies(ledger: &Postgres) {
    let report = ledger.verify().unwrap();
    assert!(report.ok(), "{:?}", report.problems);
}
