//! The facts of the run: fact `n` is a function of `n`, so that whoever finds it later can tell whether it is what was
//! written. The number is in the stamp.

use anyhow::{Context, Result};
use sync_model::{
    AlarmKind, AlarmRaised, Article, ArticlesSet, BusinessDay, ClockQuality, Currency, DeviceId, Event, Fact,
    Kind, LotId, Milli, Minor, PriceChanged, Receipt, ReceiptLine, Sale, SaleLine, Sku, Stamp, StockUnit,
    StoreId, Tender, TenderKind, Text, TillId, UnixMillis,
};
use sync_store::telemetry::{Point, Sample};

/// The store.
pub(crate) const STORE: StoreId = StoreId(7);
/// Stamp of fact 0.
const BEGIN: i64 = 1_790_000_000_000;
/// Facts from here on are nearly as large as a record may be.
pub(crate) const LARGE: u64 = 100_000;
/// Facts that HQ writes begin here.
pub(crate) const DOWN: u64 = 200_000;
/// Facts that the check adds to see that life goes on begin here.
pub(crate) const AFTER: u64 = 300_000;
/// Series of samples.
pub(crate) const SERIES: [(&str, u8); 3] = [("cabinet-1", 1), ("cabinet-1", 2), ("cabinet-2", 1)];

/// The stamp of fact `number`.
pub(crate) fn stamp(number: u64) -> Stamp {
    let at = UnixMillis(BEGIN + i64::try_from(number).unwrap_or(0) * 1_000);
    Stamp { at, clock: ClockQuality::Synced }
}

/// A stamp of the ledger's own facts: no fact's number is in it.
pub(crate) fn between() -> Stamp {
    Stamp { at: UnixMillis(BEGIN + 500), clock: ClockQuality::Synced }
}

/// The number in a stamp.
pub(crate) fn number(stamp: Stamp) -> Option<u64> {
    let since = stamp.at.0.checked_sub(BEGIN)?;
    (since % 1_000 == 0).then(|| u64::try_from(since / 1_000).ok())?
}

/// Fact `number`, with its stamp.
pub(crate) fn fact(number: u64) -> Result<Event> {
    let sku = Sku(1_000 + number % 7);
    let body: Fact = match number {
        DOWN..AFTER => articles(number)?,
        LARGE..DOWN => unknown(number, 15_000),
        _ => match number % 8 {
            0..=3 => sale(number).into(),
            4 => receipt(sku)?,
            5 => AlarmRaised {
                device: DeviceId::new("cabinet-1").context("a device name")?,
                kind: AlarmKind::TooWarm,
                since: stamp(number).at,
                value: None,
                limit: None,
            }
            .into(),
            6 => PriceChanged { sku, from: None, to: Minor(100), version: number }.into(),
            _ => unknown(number, usize::try_from(number % 3).unwrap_or(0) * 2_000 + 100),
        },
    };
    Ok(Event::new(stamp(number), body))
}

fn unknown(number: u64, length: usize) -> Fact {
    let bytes = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    Fact::Unknown { kind: Kind(200), body: bytes.iter().copied().cycle().take(length).collect() }
}

fn sale(number: u64) -> Sale {
    let amount = Minor(i64::try_from(number % 50 + 1).unwrap_or(1) * 100);
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
        till: TillId(u16::try_from(number % 4).unwrap_or(0)),
        number,
        day: BusinessDay(20_700),
        currency: Currency::CNY,
        lines: vec![line(1_000 + number % 7), line(2_000 + number % 3)],
        tenders: vec![Tender { kind: TenderKind::Cash, amount: Minor(amount.0 * 2) }],
    }
}

fn receipt(sku: Sku) -> Result<Fact> {
    let lot = LotId::new("L1").context("a lot")?;
    let line = ReceiptLine { sku, lot, quantity: Milli(5_000), unit_cost: Minor(50) };
    Ok(Receipt { reference: Text::lossy("note 1"), lines: vec![line] }.into())
}

fn articles(number: u64) -> Result<Fact> {
    let article = Article {
        sku: Sku(1_000 + number % 7),
        version: number,
        name: Text::new("apples").context("a name")?,
        unit: StockUnit::Kilogram,
        price: Minor(500),
        tax_rate: 900,
        effective: stamp(number).at,
        safety: Milli(0),
        active: true,
    };
    Ok(ArticlesSet { articles: vec![article] }.into())
}

/// The idempotency key of a fact.
pub(crate) fn key(number: u64) -> String {
    format!("key-{number}")
}

/// What stands for the request under that key.
pub(crate) fn digest(number: u64) -> [u8; 32] {
    let mut digest = [7; 32];
    for (to, from) in digest.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    digest
}

/// Sample `index` of a series.
pub(crate) fn point(series: usize, index: u64) -> Point {
    let index = i64::try_from(index).unwrap_or(0);
    let series = i64::try_from(series).unwrap_or(0);
    let at = UnixMillis(BEGIN + index * 1_000);
    Point { at, value: 4_000 + series * 100 + index * index % 37, good: index % 11 != 5 }
}

/// The same with its name.
pub(crate) fn sample(series: usize, index: u64) -> Result<Sample> {
    let (device, metric) = SERIES.get(series).context("a series that is not there")?;
    let device = DeviceId::new(device).context("a device name")?;
    let Point { at, value, good } = point(series, index);
    Ok(Sample { device, metric: *metric, at, value, good })
}
