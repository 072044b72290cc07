//! A statement as plain fields for JSON answers. The canonical bytes are the statement; this is a rendering of it.

use crate::Statement;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::Serialize;

/// A statement for people and programs that read JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatementView {
    /// Store number.
    pub store: u32,
    /// ISO 8601 date.
    pub day: String,
    /// SHA-256 of the canonical bytes, hex: the statement's name.
    pub digest: String,
    /// Ends of the store's logs.
    pub ends: Vec<EndView>,
    /// Records up to the ends, by kind.
    pub records: Vec<RecordsView>,
    /// Sales of the day.
    pub sales: u64,
    /// Returns of the day.
    pub returns: u64,
    /// Their lines.
    pub lines: u64,
    /// First ticket, `epoch.seq`.
    pub first: Option<String>,
    /// Last ticket, `epoch.seq`.
    pub last: Option<String>,
    /// Money accounts.
    pub money: Vec<MoneyView>,
    /// Tax rates.
    pub taxes: Vec<TaxView>,
    /// Articles.
    pub skus: Vec<SkuView>,
}

/// End of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndView {
    /// Epoch.
    pub epoch: u32,
    /// Last position.
    pub upto: u64,
    /// Chain link there, hex.
    pub link: String,
}

/// Records of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecordsView {
    /// Name of the kind.
    pub kind: String,
    /// How many.
    pub count: u64,
}

/// One money account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MoneyView {
    /// ISO 4217.
    pub currency: String,
    /// Name of the account.
    pub account: String,
    /// Minor units.
    pub amount_minor: i64,
}

/// One tax rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaxView {
    /// ISO 4217.
    pub currency: String,
    /// Hundredths of a percent.
    pub rate: u16,
    /// Amounts with tax, minor units.
    pub gross_minor: i64,
    /// Tax contained, minor units.
    pub tax_minor: i64,
}

/// One article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SkuView {
    /// ISO 4217.
    pub currency: String,
    /// Article number.
    pub sku: u64,
    /// Thousandths of the stock unit.
    pub sold_milli: i64,
    /// Thousandths of the stock unit.
    pub returned_milli: i64,
    /// Minor units.
    pub charged_minor: i64,
    /// Minor units.
    pub refunded_minor: i64,
    /// Minor units.
    pub discount_minor: i64,
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Statement {
    /// The statement as plain fields.
    pub fn view(&self) -> StatementView {
        let ends = self.ends.iter();
        let money = self.money.iter();
        let taxes = self.taxes.iter();
        let skus = self.skus.iter();
        StatementView {
            store: self.store.0,
            day: self.day.to_string(),
            digest: hex(&self.digest()),
            ends: ends
                .map(|end| EndView { epoch: end.epoch.0, upto: end.upto.0, link: hex(&end.link.0) })
                .collect(),
            records: self
                .tally
                .iter()
                .map(|(kind, count)| RecordsView { kind: kind.to_string(), count: *count })
                .collect(),
            sales: self.tickets.sales,
            returns: self.tickets.returns,
            lines: self.tickets.lines,
            first: self.tickets.span.map(|(first, _)| first.to_string()),
            last: self.tickets.span.map(|(_, last)| last.to_string()),
            money: money
                .map(|row| MoneyView {
                    currency: row.currency.to_string(),
                    account: row.account.name().to_string(),
                    amount_minor: row.amount.0,
                })
                .collect(),
            taxes: taxes
                .map(|row| TaxView {
                    currency: row.currency.to_string(),
                    rate: row.rate,
                    gross_minor: row.gross.0,
                    tax_minor: row.tax.0,
                })
                .collect(),
            skus: skus
                .map(|row| SkuView {
                    currency: row.currency.to_string(),
                    sku: row.sku.0,
                    sold_milli: row.sold.0,
                    returned_milli: row.returned.0,
                    charged_minor: row.charged.0,
                    refunded_minor: row.refunded.0,
                    discount_minor: row.discount.0,
                })
                .collect(),
        }
    }
}
