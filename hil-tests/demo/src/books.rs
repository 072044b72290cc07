//! The script's own bookkeeping: what the tills, clerks and far ends know happened, kept in plain tables.
//!
//! Contract: an entry is made when, and only when, an answer arrived that promises durability, or when a far end saw the
//! thing happen. No code of the product is used here, so that agreement with its folds means something.

use std::collections::BTreeMap;

/// A line of a ticket or return as the till printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Article.
    pub(crate) sku: u64,
    /// Thousandths of the stock unit.
    pub(crate) quantity: i64,
    /// Price per stock unit that was charged.
    pub(crate) price: i64,
    /// Reduction.
    pub(crate) discount: i64,
    /// What the customer paid or got back.
    pub(crate) amount: i64,
    /// The weighing, `epoch.seq`.
    pub(crate) weighing: Option<String>,
    /// The steam batch, `epoch.seq`.
    pub(crate) batch: Option<String>,
}

/// A ticket or return that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The id that the till got, `epoch.seq`.
    pub(crate) id: String,
    /// Lines in order.
    pub(crate) lines: Vec<Line>,
    /// Means of payment in order.
    pub(crate) tenders: Vec<(String, i64)>,
}

/// A batch that the kitchen was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Steamer.
    pub(crate) device: String,
    /// Article.
    pub(crate) sku: u64,
    /// Thousandths of the stock unit.
    pub(crate) quantity: i64,
    /// State it must be in at the end of the day.
    pub(crate) end: &'static str,
}

/// A movement of stock without a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Movement {
    /// Goods received.
    Receipt,
    /// Goods written off.
    Waste,
    /// A stocktake difference.
    Count,
}

/// Everything the script knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// Acknowledged tickets by till and number.
    pub(crate) tickets: BTreeMap<(u16, u64), Ticket>,
    /// Acknowledged returns by till and number.
    pub(crate) returns: BTreeMap<(u16, u64), Ticket>,
    /// Acknowledged movements by id.
    pub(crate) movements: BTreeMap<String, (Movement, u64, i64)>,
    /// Stock that follows, by article, in thousandths.
    pub(crate) stock: BTreeMap<u64, i64>,
    /// Money taken in, by means of payment.
    pub(crate) cash: BTreeMap<String, i64>,
    /// Loads that customers placed and saw accepted, by scale, in order, in grams.
    pub(crate) weighings: BTreeMap<String, Vec<i64>>,
    /// Excursions that the cabinets went through, by cabinet.
    pub(crate) excursions: BTreeMap<String, u32>,
    /// Times that a cabinet went silent, by cabinet.
    pub(crate) silences: BTreeMap<String, u32>,
    /// Batches by id.
    pub(crate) batches: BTreeMap<String, Batch>,
    /// Answers that repeated the first answer to the same key.
    pub(crate) replayed: u64,
    /// Bad requests that were refused with the expected reason.
    pub(crate) refused: u64,
    /// What should not have happened; a day with an entry here is not ok.
    pub(crate) faults: Vec<String>,
}

/// Faults that are kept; the rest is only counted by the last entry.
const FAULTS_MAX: usize = 50;

impl Books {
    /// Enters an acknowledged ticket.
    pub(crate) fn ticket(&mut self, till: u16, number: u64, ticket: Ticket) {
        for line in &ticket.lines {
            self.moved(line.sku, -line.quantity);
        }
        for (kind, amount) in &ticket.tenders {
            *self.cash.entry(kind.clone()).or_default() += amount;
        }
        if self.tickets.insert((till, number), ticket).is_some() {
            self.fault(format!("the script itself sold ticket {till}/{number} twice"));
        }
    }

    /// Enters an acknowledged return.
    pub(crate) fn returned(&mut self, till: u16, number: u64, ticket: Ticket) {
        for line in &ticket.lines {
            self.moved(line.sku, line.quantity);
        }
        for (kind, amount) in &ticket.tenders {
            *self.cash.entry(kind.clone()).or_default() -= amount;
        }
        if self.returns.insert((till, number), ticket).is_some() {
            self.fault(format!("the script itself took return {till}/{number} twice"));
        }
    }

    /// Enters an acknowledged movement; `change` is what it does to the stock.
    pub(crate) fn movement(&mut self, id: String, kind: Movement, sku: u64, change: i64) {
        self.moved(sku, change);
        if self.movements.insert(id.clone(), (kind, sku, change)).is_some() {
            self.fault(format!("two movements were answered with one id {id}"));
        }
    }

    /// Enters waste that the agent must book by itself.
    pub(crate) fn moved(&mut self, sku: u64, change: i64) {
        *self.stock.entry(sku).or_default() += change;
    }

    /// Enters something that should not have happened.
    pub(crate) fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        } else if self.faults.len() == FAULTS_MAX {
            self.faults.push("and more".into());
        }
    }
}

/// Price times quantity, rounded half away from zero: the rule on the receipt, written again for the script.
pub(crate) fn extend(price: i64, quantity: i64) -> i64 {
    let product = i128::from(price) * i128::from(quantity);
    let (whole, rest) = (product / 1000, product % 1000);
    let rounded = if rest.abs() >= 500 { whole + product.signum() } else { whole };
    i64::try_from(rounded).expect("prices and quantities of the script are small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_round_half_away_from_zero() {
        assert_eq!(extend(1, 499), 0);
        assert_eq!(extend(1, 500), 1);
        assert_eq!(extend(-1, 500), -1);
        assert_eq!(extend(333, 1500), 500);
        assert_eq!(extend(1299, 250), 325);
    }

    #[test]
    fn tickets_returns_and_movements_balance() {
        let line = Line {
            sku: 1,
            quantity: 2000,
            price: 150,
            discount: 0,
            amount: 300,
            weighing: None,
            batch: None,
        };
        let ticket = Ticket { id: "1.2".into(), lines: vec![line], tenders: vec![("cash".into(), 300)] };
        let mut books = Books::default();
        books.movement("1.1".into(), Movement::Receipt, 1, 10_000);
        books.ticket(1, 1, ticket.clone());
        books.returned(1, 1, Ticket { id: "1.3".into(), ..ticket.clone() });
        assert_eq!((books.stock[&1], books.cash["cash"]), (10_000, 0));
        assert!(books.faults.is_empty());
        books.ticket(1, 1, ticket);
        assert_eq!(books.faults.len(), 1);
    }
}
