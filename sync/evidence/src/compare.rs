//! Comparing statements, and statements with folds: which row says what on either side.

use crate::Statement;
use crate::view::hex;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use sync_core::MoneyAccount;
use sync_model::{BusinessDay, Currency, Epoch, Kind, Sku};

/// Which row of a statement, or of the folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowName {
    /// The store that states.
    Store,
    /// The day.
    Day,
    /// How far a log was taken into account.
    End(Epoch),
    /// Records of a kind.
    Tally(Kind),
    /// A number about the tickets.
    Tickets(&'static str),
    /// A money account of a day.
    Money(BusinessDay, Currency, MoneyAccount),
    /// A tax rate.
    Tax(Currency, u16),
    /// An article.
    Sku(Currency, Sku),
    /// Stock that customers have, over all days.
    Sold(Sku),
}

impl fmt::Display for RowName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store"),
            Self::Day => f.write_str("day"),
            Self::End(epoch) => write!(f, "end of epoch {epoch}"),
            Self::Tally(kind) => write!(f, "records of kind {kind}"),
            Self::Tickets(number) => write!(f, "tickets: {number}"),
            Self::Money(day, currency, account) => write!(f, "money {day} {currency} {}", account.name()),
            Self::Tax(currency, rate) => write!(f, "tax {currency} {}.{:02} %", rate / 100, rate % 100),
            Self::Sku(currency, sku) => write!(f, "sku {sku} {currency}"),
            Self::Sold(sku) => write!(f, "sold stock of sku {sku}"),
        }
    }
}

/// A row that the two sides do not agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The row.
    pub row: RowName,
    /// What the left side says; `None` when it has no such row.
    pub left: Option<String>,
    /// What the right side says.
    pub right: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_string());
        write!(f, "{}: {} against {}", self.row, side(&self.left), side(&self.right))
    }
}

/// Rows by name, as text.
pub(crate) type Rows = BTreeMap<RowName, String>;

/// Every row that differs, in row order.
pub(crate) fn differences(left: &Rows, right: &Rows) -> Vec<Difference> {
    let names: BTreeSet<&RowName> = left.keys().chain(right.keys()).collect();
    names
        .into_iter()
        .filter(|name| left.get(name) != right.get(name))
        .map(|name| Difference { row: *name, left: left.get(name).cloned(), right: right.get(name).cloned() })
        .collect()
}

impl Statement {
    fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        rows.insert(RowName::Store, self.store.to_string());
        rows.insert(RowName::Day, self.day.to_string());
        for end in &self.ends {
            rows.insert(RowName::End(end.epoch), format!("{} with {}", end.upto, hex(&end.link.0)));
        }
        for (kind, records) in &self.tally {
            rows.insert(RowName::Tally(*kind), records.to_string());
        }
        let span = self.tickets.span.map_or_else(
            || ("none".to_string(), "none".to_string()),
            |(first, last)| (first.to_string(), last.to_string()),
        );
        for (name, value) in [
            ("sales", self.tickets.sales.to_string()),
            ("returns", self.tickets.returns.to_string()),
            ("lines", self.tickets.lines.to_string()),
            ("first", span.0),
            ("last", span.1),
        ] {
            rows.insert(RowName::Tickets(name), value);
        }
        for row in &self.money {
            rows.insert(RowName::Money(self.day, row.currency, row.account), row.amount.to_string());
        }
        for row in &self.taxes {
            let text = format!("gross {}, tax {}", row.gross, row.tax);
            rows.insert(RowName::Tax(row.currency, row.rate), text);
        }
        for row in &self.skus {
            let text = format!(
                "sold {}, returned {}, charged {}, refunded {}, discount {}",
                row.sold, row.returned, row.charged, row.refunded, row.discount
            );
            rows.insert(RowName::Sku(row.currency, row.sku), text);
        }
        rows
    }

    /// Every row on which this statement and `other` do not agree; none exactly when their bytes are equal.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        differences(&self.rows(), &other.rows())
    }
}
