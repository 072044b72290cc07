//! What HQ says to a store: articles and prices, verdicts, commands. A version counts up per article; the highest wins.

use crate::{EventId, Minor, Sku, Text, UnixMillis};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Articles with their prices, in chunks of at most 100.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArticlesSet {
    /// 1 to 100 articles.
    pub articles: Vec<Article>,
}

/// One article of the price book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Article {
    /// Article number.
    pub sku: Sku,
    /// Version of this entry: the highest wins, whatever arrives first.
    pub version: u64,
    /// Name on tag and receipt.
    pub name: Text<60>,
    /// Unit that stock is kept and priced in.
    pub unit: StockUnit,
    /// Price per stock unit, tax included.
    pub price: Minor,
    /// Tax contained, in hundredths of a percent.
    pub tax_rate: u16,
    /// When the price takes effect; data, not order.
    pub effective: UnixMillis,
    /// Safety stock in thousandths of the stock unit, kept back from channels.
    pub safety: crate::Milli,
    /// Whether the article may be sold.
    pub active: bool,
}

/// Unit of stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StockUnit {
    /// Counted.
    Piece,
    /// Weighed.
    Kilogram,
    /// Measured.
    Litre,
}

/// HQ's judgement on something the store sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The event, when it could be named.
    pub of: Option<EventId>,
    /// Stable word such as `equivocation`, `undecodable`, `too-large`, `wrong-store`.
    pub code: Text<24>,
    /// For a reader.
    pub detail: Text<160>,
}

/// A command to the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begin a new epoch.
    OpenEpoch,
    /// Show a note to the staff.
    Note(Text<160>),
}
