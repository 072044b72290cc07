//! Rows that readers and jobs get: plain values, no SQL.

use crate::LedgerError;
use sync_core::{MoneyAccount, StockAccount};
use sync_model::{
    AlarmKind, BatchQueued, BatchState, BusinessDay, Currency, DeviceClass, DeviceId, Event, EventId,
    FactError, FactRef, Kind, LogId, LotId, Milli, MilliCelsius, Minor, ReservationOpened,
    ReservationOutcome, Seq, Sku, StoreId, Text, UnixMillis,
};

/// End of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadRow {
    /// The log.
    pub log: LogId,
    /// Last position.
    pub head: Seq,
    /// Chain link there.
    pub link: sync_core::Link,
    /// Last position that the peer has durably, as far as it said so.
    pub acked: Seq,
}

/// One event as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its name.
    pub id: EventId,
    /// The canonical bytes.
    pub record: Vec<u8>,
    /// The event, or why the bytes are none (stored raw and folded as nothing).
    pub event: Result<Event, FactError>,
    /// When this side received it; `None` where it was written.
    pub received: Option<UnixMillis>,
}

/// Stock of one article and lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockRow {
    /// Article.
    pub sku: Sku,
    /// Lot; reservations are kept without one.
    pub lot: LotId,
    /// Physically in the store: free + reserved.
    pub on_hand: Milli,
    /// Promised part of it.
    pub reserved: Milli,
    /// Sold and not returned.
    pub sold: Milli,
    /// Received (negative: the supplier's side of the entry).
    pub supplier: Milli,
    /// Written off.
    pub waste: Milli,
    /// Stocktake differences (the other side of the entry).
    pub adjustment: Milli,
    /// Sent to other stores, less what came from them.
    pub transit: Milli,
    /// Lost on the way to other stores.
    pub shrink: Milli,
}

impl StockRow {
    /// Sums balances, in any order, up to one row per article and lot.
    pub fn sum_up(balances: impl IntoIterator<Item = StockBalance>) -> Vec<Self> {
        let mut stock: std::collections::BTreeMap<(Sku, LotId), Self> = std::collections::BTreeMap::new();
        for balance in balances {
            let key = (balance.sku, balance.lot.clone());
            let row = stock.entry(key).or_insert_with(|| Self::empty(balance.sku, balance.lot));
            let value = balance.quantity;
            match balance.account {
                StockAccount::OnHand => row.on_hand.0 = row.on_hand.0.saturating_add(value.0),
                StockAccount::Reserved => {
                    row.on_hand.0 = row.on_hand.0.saturating_add(value.0);
                    row.reserved = value;
                }
                StockAccount::Sold => row.sold = value,
                StockAccount::Supplier => row.supplier = value,
                StockAccount::Waste => row.waste = value,
                StockAccount::Adjustment => row.adjustment = value,
                StockAccount::Transit => row.transit = value,
                StockAccount::Shrink => row.shrink = value,
            }
        }
        stock.into_values().collect()
    }

    fn empty(sku: Sku, lot: LotId) -> Self {
        let zero = Milli::ZERO;
        Self {
            sku,
            lot,
            on_hand: zero,
            reserved: zero,
            sold: zero,
            supplier: zero,
            waste: zero,
            adjustment: zero,
            transit: zero,
            shrink: zero,
        }
    }
}

/// One stock balance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StockBalance {
    /// Article.
    pub sku: Sku,
    /// Lot.
    pub lot: LotId,
    /// Account.
    pub account: StockAccount,
    /// Balance.
    pub quantity: Milli,
}

/// One money balance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MoneyRow {
    /// Trading day.
    pub day: BusinessDay,
    /// Currency.
    pub currency: Currency,
    /// Account.
    pub account: MoneyAccount,
    /// Balance; tenders are positive, sales and tax negative.
    pub amount: Minor,
}

/// The price that the tills charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceRow {
    /// Article.
    pub sku: Sku,
    /// Price per stock unit.
    pub price: Minor,
    /// Version of HQ's price that it follows.
    pub version: u64,
    /// The price change.
    pub by: FactRef,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlarmRow {
    /// Its name: the fact that raised it.
    pub alarm: FactRef,
    /// The device.
    pub device: DeviceId,
    /// Kind of condition.
    pub kind: AlarmKind,
    /// When the condition began.
    pub since: UnixMillis,
    /// When it was raised.
    pub raised: UnixMillis,
    /// Value that broke the limit.
    pub value: Option<MilliCelsius>,
    /// The limit.
    pub limit: Option<MilliCelsius>,
    /// When and by whom it was acknowledged.
    pub acknowledged: Option<(UnixMillis, Text<32>)>,
    /// Until when and by whom it was put aside.
    pub shelved: Option<(UnixMillis, Text<32>)>,
    /// When its condition ended.
    pub returned: Option<UnixMillis>,
    /// Worst value while it was active.
    pub worst: Option<MilliCelsius>,
}

impl AlarmRow {
    /// Whether somebody still has to act: active, or returned without having been acknowledged.
    pub fn open(&self) -> bool {
        self.returned.is_none() || self.acknowledged.is_none()
    }
}

/// One steam batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// Its name: the fact that queued it.
    pub batch: FactRef,
    /// What was queued.
    pub queued: BatchQueued,
    /// When it was queued.
    pub queued_at: UnixMillis,
    /// State.
    pub state: BatchState,
    /// Since when.
    pub since: UnixMillis,
    /// Temperature of the last move that had one.
    pub temperature: Option<MilliCelsius>,
    /// Reason of the last move.
    pub reason: Text<32>,
    /// Sold or written off from it.
    pub taken: Milli,
}

impl BatchRow {
    /// Whether the batch is not finished.
    pub fn open(&self) -> bool {
        batch_open(self.state)
    }
}

pub(crate) fn batch_open(state: BatchState) -> bool {
    !matches!(state, BatchState::SoldOut | BatchState::Discarded)
}

/// One reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationRow {
    /// Its name: the fact that opened it.
    pub reservation: FactRef,
    /// What was promised.
    pub opened: ReservationOpened,
    /// When.
    pub opened_at: UnixMillis,
    /// How and when it ended.
    pub closed: Option<(ReservationOutcome, UnixMillis)>,
}

/// What one shelf tag last confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagRow {
    /// The tag.
    pub tag: DeviceId,
    /// Article shown.
    pub sku: Sku,
    /// Price shown.
    pub price: Minor,
    /// Version of the price.
    pub version: u64,
    /// Hash of the image.
    pub image_hash: [u8; 8],
    /// When.
    pub confirmed: UnixMillis,
    /// The confirming fact.
    pub by: FactRef,
}

/// Presence of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRow {
    /// The device.
    pub device: DeviceId,
    /// Its class.
    pub class: DeviceClass,
    /// Seen and not lost since.
    pub present: bool,
    /// Since when.
    pub since: UnixMillis,
    /// Identity when seen, reason when lost.
    pub detail: Text<120>,
    /// The fact.
    pub by: FactRef,
}

/// Events of one kind of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KindCount {
    /// The store.
    pub store: StoreId,
    /// Written by the store or by HQ.
    pub direction: sync_model::Direction,
    /// The kind; number 0 counts records whose frame does not decode.
    pub kind: Kind,
    /// How many.
    pub count: u64,
}

/// One entry of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineRow {
    /// Number, counting up.
    pub id: i64,
    /// When it last came.
    pub received: UnixMillis,
    /// How often the same bytes came.
    pub times: u64,
    /// Where it came from: a topic, a log.
    pub source: String,
    /// Stable word.
    pub code: String,
    /// For a reader.
    pub detail: String,
    /// The bytes, at most 64 KiB of them.
    pub raw: Vec<u8>,
}

/// Size of the quarantine, and what fell out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuarantineCounts {
    /// Entries kept.
    pub kept: u64,
    /// Arrivals in all, repeats included.
    pub total: u64,
    /// Entries evicted because the table is bounded.
    pub evicted: u64,
}

/// Answer type of the reader.
pub(crate) type Answer<T> = Result<T, LedgerError>;

pub use sync_core::replica::{IngestOutcome, Ingested};
