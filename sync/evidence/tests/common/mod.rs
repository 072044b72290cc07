//! Fixtures: events of a store, and the same store seen by hand.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unreachable_pub, reason = "one module shared by several test binaries")]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;
use sync_evidence::Books;
use sync_model::{
    BusinessDay, ClockQuality, Currency, Direction, Epoch, Event, Fact, LogId, LotId, Milli, Minor, Return,
    Sale, SaleLine, Seq, Sku, Stamp, StoreId, Tender, TenderKind, TillId, UnixMillis,
};

pub const STORE: StoreId = StoreId(7);
pub const DAY: BusinessDay = BusinessDay(20_717);

pub fn log(epoch: u32) -> LogId {
    LogId { store: STORE, direction: Direction::Up, epoch: Epoch(epoch) }
}

pub fn record(fact: impl Into<Fact>) -> Vec<u8> {
    let stamp = Stamp { at: UnixMillis(1_790_000_000_000), clock: ClockQuality::Synced };
    Event::new(stamp, fact).to_record().unwrap()
}

pub fn line(sku: u64, quantity: i64, amount: i64, tax_rate: u16) -> SaleLine {
    SaleLine {
        sku: Sku(sku),
        lot: LotId::default(),
        quantity: Milli(quantity),
        unit_price: Minor(amount),
        discount: Minor(3),
        amount: Minor(amount),
        tax_rate,
        weighing: None,
        batch: None,
    }
}

pub fn sale(number: u64, day: BusinessDay, tender: TenderKind, lines: Vec<SaleLine>) -> Sale {
    let amount = Minor(lines.iter().map(|line| line.amount.0).sum());
    let tenders = vec![Tender { kind: tender, amount }];
    Sale { till: TillId(1), number, day, currency: Currency::CNY, lines, tenders }
}

pub fn back(number: u64, day: BusinessDay, tender: TenderKind, lines: Vec<SaleLine>) -> Return {
    let sale = sale(number, day, tender, lines);
    Return {
        till: sale.till,
        number,
        day,
        of: None,
        currency: sale.currency,
        lines: sale.lines,
        tenders: sale.tenders,
    }
}

pub fn books<'a>(logs: impl IntoIterator<Item = (u32, &'a [Vec<u8>])>) -> Books {
    let mut books = Books::new(STORE);
    for (epoch, records) in logs {
        for (seq, record) in (1_u64..).zip(records) {
            books.add(log(epoch), Seq(seq), record).unwrap();
        }
    }
    books
}

/// Tickets of a few days, articles and tills, some numbers repeated, some records senseless.
pub fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let lines = prop::collection::vec((1_u64..6, 0_i64..5_000, 0_i64..100_000, 0_u16..4), 1..5);
    let ticket = (any::<bool>(), 1_u64..200, 0_i32..3, 0_usize..4, lines).prop_map(
        |(sold, number, day, tender, lines)| {
            let lines = lines
                .into_iter()
                .map(|(sku, quantity, amount, rate)| line(sku, quantity, amount, rate * 300))
                .collect();
            let (day, tender) = (BusinessDay(DAY.0 + day), TenderKind::ALL[tender]);
            if sold {
                record(sale(number, day, tender, lines))
            } else {
                record(back(number, day, tender, lines))
            }
        },
    );
    prop_oneof![20 => ticket, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}
