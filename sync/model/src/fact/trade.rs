//! Trade: weighings, tickets, returns, prices, tags, reservations.

use crate::{
    BusinessDay, Currency, DeviceId, FactRef, Grams, LotId, Milli, Minor, ReservationRef, Sku, Text, TillId,
    UnixMillis,
};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A stable weight, taken once per load change (OIML R 76: stable equilibrium, not under zero, not over capacity).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weighing {
    /// The scale.
    pub scale: DeviceId,
    /// Net weight.
    pub net: Grams,
    /// Tare taken off; 0 when the scale reports gross.
    pub tare: Grams,
    /// Verification interval e of the scale.
    pub interval: Grams,
    /// First 8 bytes of the BLAKE3 hash of the raw frame: evidence that joins with the transcript.
    pub frame_hash: [u8; 8],
}

/// A ticket closed at a till.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// The till.
    pub till: TillId,
    /// The till's own ticket number; (till, number) is unique in a store.
    pub number: u64,
    /// Trading day.
    pub day: BusinessDay,
    /// Currency of every amount.
    pub currency: Currency,
    /// 1 to 200 lines.
    pub lines: Vec<SaleLine>,
    /// 1 to 8 tenders; their sum is the sum of the lines.
    pub tenders: Vec<Tender>,
}

/// One line of a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaleLine {
    /// Article.
    pub sku: Sku,
    /// Lot, if kept.
    pub lot: LotId,
    /// Stock units taken.
    pub quantity: Milli,
    /// Price per stock unit that was charged.
    pub unit_price: Minor,
    /// Reduction of this line, 0 or more.
    pub discount: Minor,
    /// What the customer pays for the line, tax included.
    pub amount: Minor,
    /// Tax contained, in hundredths of a percent.
    pub tax_rate: u16,
    /// The weighing that the quantity came from.
    pub weighing: Option<FactRef>,
    /// The steam batch that the goods came from.
    pub batch: Option<FactRef>,
}

/// How a ticket was paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tender {
    /// Means.
    pub kind: TenderKind,
    /// Amount; change is already taken off.
    pub amount: Minor,
}

/// Means of payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TenderKind {
    /// Notes and coins.
    Cash,
    /// Bank card.
    Card,
    /// Phone wallet.
    Wallet,
    /// Voucher or stored value.
    Voucher,
}

impl TenderKind {
    /// Every kind, in code order.
    pub const ALL: [Self; 4] = [Self::Cash, Self::Card, Self::Wallet, Self::Voucher];
}

/// Goods that a customer brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// The till that paid out.
    pub till: TillId,
    /// Its own number for the return; (till, number) is unique among returns.
    pub number: u64,
    /// Trading day.
    pub day: BusinessDay,
    /// The sale, when the receipt was shown.
    pub of: Option<FactRef>,
    /// Currency.
    pub currency: Currency,
    /// Lines; amounts are positive and paid to the customer.
    pub lines: Vec<SaleLine>,
    /// How it was paid out; positive amounts.
    pub tenders: Vec<Tender>,
}

/// The price that the tills charge from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceChanged {
    /// Article.
    pub sku: Sku,
    /// Before; `None` for a new article.
    pub from: Option<Minor>,
    /// Now, per stock unit.
    pub to: Minor,
    /// Version of HQ's price that this follows.
    pub version: u64,
}

/// A tag confirmed an image, by its own protocol's end-of-transfer answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagConfirmed {
    /// The tag.
    pub tag: DeviceId,
    /// Article shown.
    pub sku: Sku,
    /// Price shown.
    pub price: Minor,
    /// Version of the price shown.
    pub version: u64,
    /// First 8 bytes of the BLAKE3 hash of the image planes.
    pub image_hash: [u8; 8],
}

/// Stock promised to a channel, pending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationOpened {
    /// Article.
    pub sku: Sku,
    /// Stock units.
    pub quantity: Milli,
    /// Channel name.
    pub channel: Text<16>,
    /// The channel's own order reference.
    pub reference: Text<40>,
    /// When the holder may void it.
    pub expires: UnixMillis,
}

/// The end of a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationClosed {
    /// Which.
    pub reservation: ReservationRef,
    /// Article, repeated so that the fold needs no look-up.
    pub sku: Sku,
    /// Stock units, repeated.
    pub quantity: Milli,
    /// Posted: the goods left through a sale; voided: they are free again.
    pub outcome: ReservationOutcome,
}

/// How a reservation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservationOutcome {
    /// Fulfilled.
    Posted,
    /// Released.
    Voided,
}
