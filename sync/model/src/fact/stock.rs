//! Stock that moves without a customer: receipts, waste, counts, transfers.

use crate::{BatchRef, FactRef, LotId, Milli, Minor, Sku, StoreId, Text};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Goods received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Supplier or delivery note, as printed.
    pub reference: Text<40>,
    /// 1 to 200 lines.
    pub lines: Vec<ReceiptLine>,
}

/// One line of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptLine {
    /// Article.
    pub sku: Sku,
    /// Lot.
    pub lot: LotId,
    /// Stock units.
    pub quantity: Milli,
    /// Purchase cost per stock unit: returns are valued at it.
    pub unit_cost: Minor,
}

/// Goods written off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waste {
    /// Article.
    pub sku: Sku,
    /// Lot.
    pub lot: LotId,
    /// Stock units.
    pub quantity: Milli,
    /// Why.
    pub reason: WasteReason,
    /// The steam batch, if it came from one.
    pub batch: Option<BatchRef>,
}

/// Why goods were written off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WasteReason {
    /// Past its date or hold limit.
    Expired,
    /// Broken or spoiled.
    Damaged,
    /// Heating or cooling cannot be proven (power cut, sensor fault).
    TimeUnknown,
    /// Cooking loss.
    Process,
}

/// A stocktake count of one article and lot in one section. Counts of several people merge because each books a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Article.
    pub sku: Sku,
    /// Lot.
    pub lot: LotId,
    /// Shelf or section counted.
    pub section: Text<24>,
    /// Counted.
    pub counted: Milli,
    /// What the book said when the count began.
    pub book: Milli,
    /// Who counted.
    pub by: Text<32>,
}

/// Goods sent to another store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferOut {
    /// The receiving store.
    pub to: StoreId,
    /// 1 to 200 lines.
    pub lines: Vec<TransferLine>,
}

/// Goods arrived from another store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferIn {
    /// The sending store.
    pub from: StoreId,
    /// Its transfer-out fact.
    pub of: FactRef,
    /// What arrived; HQ closes the difference to shrink.
    pub lines: Vec<TransferLine>,
}

/// One line of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferLine {
    /// Article.
    pub sku: Sku,
    /// Lot.
    pub lot: LotId,
    /// Stock units.
    pub quantity: Milli,
}
