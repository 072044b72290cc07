//! Fixtures of the ledger tests: a store, HQ, and facts.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "one module shared by several test binaries")]

pub mod trade;

use std::path::Path;
use sync_model::{
    BusinessDay, ClockQuality, Currency, Event, Fact, LotId, Milli, Minor, Receipt, ReceiptLine, Sale,
    SaleLine, Sku, Stamp, StoreId, Tender, TenderKind, Text, TillId, UnixMillis,
};
use sync_store::{Ledger, LedgerConfig, OpenReport, Owner};

pub const STORE: StoreId = StoreId(7);

pub fn stamp(at: i64) -> Stamp {
    Stamp { at: UnixMillis(1_790_000_000_000 + at), clock: ClockQuality::Synced }
}

pub fn config(path: &Path, owner: Owner) -> LedgerConfig {
    LedgerConfig {
        path: path.to_owned(),
        owner,
        max_bytes: None,
        software: Text::new("test 1").unwrap(),
        queue: 64,
    }
}

pub fn open(path: &Path, owner: Owner) -> (Ledger, OpenReport) {
    Ledger::open(config(path, owner), stamp(0)).unwrap()
}

pub fn event(at: i64, fact: impl Into<Fact>) -> Event {
    Event::new(stamp(at), fact)
}

pub fn sale(number: u64) -> Sale {
    let amount = Minor(i64::try_from(number % 50 + 1).unwrap() * 100);
    let line = |sku: u64| SaleLine {
        sku: Sku(sku),
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
        lines: vec![line(1_000 + number % 7), line(2_000 + number % 3)],
        tenders: vec![Tender { kind: TenderKind::Cash, amount: Minor(amount.0 * 2) }],
    }
}

pub fn receipt(sku: u64, quantity: i64) -> Receipt {
    let line = ReceiptLine {
        sku: Sku(sku),
        lot: LotId::new("L1").unwrap(),
        quantity: Milli(quantity),
        unit_cost: Minor(50),
    };
    Receipt { reference: Text::new("note 1").unwrap(), lines: vec![line] }
}

/// Appends sales with the given numbers, one job each, many in flight.
pub fn sell(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    for number in numbers {
        ledger.call(move |draft| draft.append(&event(i64::try_from(number).unwrap(), sale(number)))).unwrap();
    }
}
