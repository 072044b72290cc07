//! The settlement statement of a store and a business day, and its bytes.
//!
//! A statement says: *up to these ends of my logs, this is what I traded on this day*. A ticket that is booked later to the
//! same day makes a new statement with later ends; the old one stays true.
//!
//! Every list is in ascending order of its key and holds no row twice; money rows of zero are left out. So two sides that
//! have the same events have the same bytes.

use crate::bytes::{Fields, count};
use crate::merkle::sha256;
use crate::{Digest, FormError};
use alloc::vec::Vec;
use sync_core::{Link, MoneyAccount};
use sync_model::{BusinessDay, Currency, Epoch, FactRef, Kind, Milli, Minor, Seq, Sku, StoreId};

/// First bytes of a statement: `SYDAY`, carriage return, line feed, version 1.
pub const STATEMENT_MAGIC: [u8; 8] = *b"SYDAY\r\n\x01";
const WHAT: &str = "statement";

/// How far one of the store's logs was taken into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Epoch of the up log.
    pub epoch: Epoch,
    /// Last position taken into account.
    pub upto: Seq,
    /// The chain link there: commits to everything the statement is made of.
    pub link: Link,
}

/// Tickets of the day. A ticket number counts once: the first fact with it, by epoch and position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tickets {
    /// Sales.
    pub sales: u64,
    /// Returns.
    pub returns: u64,
    /// Their lines together.
    pub lines: u64,
    /// First and last of them in the logs; `None` on a day without any.
    pub span: Option<(FactRef, FactRef)>,
}

/// Balance of one money account over the day. Tenders are positive, sales and tax negative; not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyTotal {
    /// Currency.
    pub currency: Currency,
    /// Account.
    pub account: MoneyAccount,
    /// Balance.
    pub amount: Minor,
}

/// What was sold at one tax rate, returns taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxTotal {
    /// Currency.
    pub currency: Currency,
    /// Rate in hundredths of a percent.
    pub rate: u16,
    /// Amounts, tax included.
    pub gross: Minor,
    /// Tax contained, rounded per line.
    pub tax: Minor,
}

/// One article over the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkuTotal {
    /// Currency.
    pub currency: Currency,
    /// Article.
    pub sku: Sku,
    /// Stock units sold.
    pub sold: Milli,
    /// Stock units brought back.
    pub returned: Milli,
    /// Paid by customers, tax included.
    pub charged: Minor,
    /// Paid to customers, tax included.
    pub refunded: Minor,
    /// Reductions of the sold lines.
    pub discount: Minor,
}

/// A store's statement for a business day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The store.
    pub store: StoreId,
    /// The day.
    pub day: BusinessDay,
    /// Ends of the store's logs, by epoch.
    pub ends: Vec<LogEnd>,
    /// Records up to the ends by kind, of all days; kind 0 for records without a readable kind.
    pub tally: Vec<(Kind, u64)>,
    /// Tickets of the day.
    pub tickets: Tickets,
    /// Money of the day, by currency and account number.
    pub money: Vec<MoneyTotal>,
    /// Tax of the day, by currency and rate.
    pub taxes: Vec<TaxTotal>,
    /// Articles of the day, by currency and number.
    pub skus: Vec<SkuTotal>,
}

fn fact_ref(out: &mut Vec<u8>, fact: FactRef) {
    out.extend(fact.epoch.0.to_be_bytes());
    out.extend(fact.seq.0.to_be_bytes());
}

fn read_fact_ref(fields: &mut Fields<'_>) -> Result<FactRef, FormError> {
    Ok(FactRef { epoch: Epoch(fields.u32("ticket epoch")?), seq: Seq(fields.u64("ticket seq")?) })
}

fn currency(fields: &mut Fields<'_>) -> Result<Currency, FormError> {
    let code = fields.array::<3>("currency")?;
    fields.value("currency", core::str::from_utf8(&code).ok().and_then(Currency::new))
}

impl Statement {
    /// The canonical bytes: what is hashed and signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + 51 * self.skus.len());
        out.extend(STATEMENT_MAGIC);
        out.extend(self.store.0.to_be_bytes());
        out.extend(self.day.0.to_be_bytes());
        out.extend(count(self.ends.len()));
        for end in &self.ends {
            out.extend(end.epoch.0.to_be_bytes());
            out.extend(end.upto.0.to_be_bytes());
            out.extend(end.link.0);
        }
        out.extend(count(self.tally.len()));
        for (kind, records) in &self.tally {
            out.extend(kind.0.to_be_bytes());
            out.extend(records.to_be_bytes());
        }
        for number in [self.tickets.sales, self.tickets.returns, self.tickets.lines] {
            out.extend(number.to_be_bytes());
        }
        let nowhere = FactRef { epoch: Epoch(0), seq: Seq::ZERO };
        let (first, last) = self.tickets.span.unwrap_or((nowhere, nowhere));
        fact_ref(&mut out, first);
        fact_ref(&mut out, last);
        out.extend(count(self.money.len()));
        for row in &self.money {
            out.extend(row.currency.as_str().as_bytes());
            out.push(row.account.code());
            out.extend(row.amount.0.to_be_bytes());
        }
        out.extend(count(self.taxes.len()));
        for row in &self.taxes {
            out.extend(row.currency.as_str().as_bytes());
            out.extend(row.rate.to_be_bytes());
            out.extend(row.gross.0.to_be_bytes());
            out.extend(row.tax.0.to_be_bytes());
        }
        out.extend(count(self.skus.len()));
        for row in &self.skus {
            out.extend(row.currency.as_str().as_bytes());
            out.extend(row.sku.0.to_be_bytes());
            let numbers = [row.sold.0, row.returned.0, row.charged.0, row.refunded.0, row.discount.0];
            numbers.iter().for_each(|number| out.extend(number.to_be_bytes()));
        }
        out
    }

    /// Reads canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        let (statement, rest) = Self::take(bytes)?;
        if rest.is_empty() {
            Ok(statement)
        } else {
            Err(FormError::Trailing { what: WHAT, bytes: rest.len() })
        }
    }

    /// Reads a statement off the front of `bytes`.
    pub(crate) fn take(bytes: &[u8]) -> Result<(Self, &[u8]), FormError> {
        let mut fields = Fields::new(WHAT, &STATEMENT_MAGIC, bytes)?;
        let (store, day) = (StoreId(fields.u32("store")?), BusinessDay(fields.i32("day")?));
        let rows = fields.u32("ends")?;
        let ends = fields.rows("ends", rows, read_end, |end| end.epoch)?;
        let rows = fields.u32("tally")?;
        let tally = fields.rows(
            "tally",
            rows,
            |fields| Ok((Kind(fields.u16("kind")?), fields.u64("count")?)),
            |row| row.0,
        )?;
        let tickets = read_tickets(&mut fields)?;
        let rows = fields.u32("money")?;
        let money = fields.rows("money", rows, read_money, |row| (row.currency, row.account.code()))?;
        let rows = fields.u32("taxes")?;
        let taxes = fields.rows("taxes", rows, read_tax, |row| (row.currency, row.rate))?;
        let rows = fields.u32("skus")?;
        let skus = fields.rows("skus", rows, read_sku, |row| (row.currency, row.sku))?;
        Ok((Self { store, day, ends, tally, tickets, money, taxes, skus }, fields.rest()))
    }

    /// SHA-256 of the canonical bytes: the name of the statement.
    pub fn digest(&self) -> Digest {
        sha256(&self.to_bytes())
    }
}

fn read_end(fields: &mut Fields<'_>) -> Result<LogEnd, FormError> {
    let epoch = Epoch(fields.u32("epoch")?);
    Ok(LogEnd { epoch, upto: Seq(fields.u64("upto")?), link: Link(fields.array("link")?) })
}

fn read_tickets(fields: &mut Fields<'_>) -> Result<Tickets, FormError> {
    let (sales, returns) = (fields.u64("sales")?, fields.u64("returns")?);
    let lines = fields.u64("lines")?;
    let (first, last) = (read_fact_ref(fields)?, read_fact_ref(fields)?);
    let nowhere = FactRef { epoch: Epoch(0), seq: Seq::ZERO };
    let none = (first, last) == (nowhere, nowhere);
    // No ticket stands at position 0, and a day has a span exactly when it has tickets.
    let fits = none || (first.seq > Seq::ZERO && first <= last);
    fields.value("tickets", (fits && none == (sales == 0 && returns == 0)).then_some(()))?;
    Ok(Tickets { sales, returns, lines, span: (!none).then_some((first, last)) })
}

fn read_money(fields: &mut Fields<'_>) -> Result<MoneyTotal, FormError> {
    let currency = currency(fields)?;
    let account = MoneyAccount::from_code(fields.u8("account")?);
    let account = fields.value("account", account)?;
    let amount = Minor(fields.i64("amount")?);
    fields.value("amount", (amount != Minor::ZERO).then_some(()))?;
    Ok(MoneyTotal { currency, account, amount })
}

fn read_tax(fields: &mut Fields<'_>) -> Result<TaxTotal, FormError> {
    let (currency, rate) = (currency(fields)?, fields.u16("rate")?);
    Ok(TaxTotal { currency, rate, gross: Minor(fields.i64("gross")?), tax: Minor(fields.i64("tax")?) })
}

fn read_sku(fields: &mut Fields<'_>) -> Result<SkuTotal, FormError> {
    Ok(SkuTotal {
        currency: currency(fields)?,
        sku: Sku(fields.u64("sku")?),
        sold: Milli(fields.i64("sold")?),
        returned: Milli(fields.i64("returned")?),
        charged: Minor(fields.i64("charged")?),
        refunded: Minor(fields.i64("refunded")?),
        discount: Minor(fields.i64("discount")?),
    })
}
