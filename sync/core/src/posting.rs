//! Double-entry postings of a fact: what moves between which accounts. Pure, exact, and the same code at store and HQ.
//!
//! | Kind | stock (per sku, lot) | money (per day, currency) |
//! |---|---|---|
//! | sale | on-hand −q, sold +q per line | tender +a per tender; per line sales −(a − t), tax −t, t = tax contained in a |
//! | return | on-hand +q, sold −q per line | the same with turned signs |
//! | receipt | supplier −q, on-hand +q per line | none (a delivery has no trading day; purchase cost stays in the fact) |
//! | waste | on-hand −q, waste +q | none |
//! | count | on-hand +d, adjustment −d, d = counted − book | none |
//! | transfer out | on-hand −q, transit +q per line | none |
//! | transfer in | transit −q, on-hand +q per line | none |
//! | reservation opened | on-hand −q, reserved +q (no lot) | none |
//! | reservation closed | reserved −q, on-hand +q (no lot), posted or voided: the sale itself takes the goods | none |
//! | promise opened, closed | as a reservation | none |
//! | transfer closed | transit −d, shrink +d per line, d signed | none |
//! | every other kind | none | none |
//!
//! So physical stock is on-hand + reserved, and on-hand alone is what is free.
//!
//! Invariant: per (sku, lot) and per (day, currency) the postings sum to zero, or there are none and an error says why.
//! Bounds: quantities and amounts are not negative and at most [`QUANTITY_MAX`] / [`AMOUNT_MAX`], so that a balance cannot
//! leave the range of 64 bits within nine million postings of the largest size.

use alloc::vec::Vec;
use sync_model::{
    BusinessDay, Currency, Fact, LotId, Milli, Minor, SaleLine, Sku, Tender, TenderKind, TransferLine,
};

/// Largest quantity of one posting: a thousand million stock units.
pub const QUANTITY_MAX: Milli = Milli(1_000_000_000_000);
/// Largest amount of one posting: ten thousand million currency units.
pub const AMOUNT_MAX: Minor = Minor(1_000_000_000_000);

/// Where stock is, or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StockAccount {
    /// In the store and free.
    OnHand,
    /// In the store and promised.
    Reserved,
    /// With customers.
    Sold,
    /// Came from suppliers.
    Supplier,
    /// Written off.
    Waste,
    /// Stocktake differences.
    Adjustment,
    /// Between stores.
    Transit,
    /// Lost between stores.
    Shrink,
}

impl StockAccount {
    /// Every account, in code order.
    pub const ALL: [Self; 8] = [
        Self::OnHand,
        Self::Reserved,
        Self::Sold,
        Self::Supplier,
        Self::Waste,
        Self::Adjustment,
        Self::Transit,
        Self::Shrink,
    ];

    /// Stable number for SQL.
    pub fn code(self) -> u8 {
        match self {
            Self::OnHand => 0,
            Self::Reserved => 1,
            Self::Sold => 2,
            Self::Supplier => 3,
            Self::Waste => 4,
            Self::Adjustment => 5,
            Self::Transit => 6,
            Self::Shrink => 7,
        }
    }

    /// Inverse of [`StockAccount::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|account| account.code() == code)
    }

    /// Stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnHand => "on-hand",
            Self::Reserved => "reserved",
            Self::Sold => "sold",
            Self::Supplier => "supplier",
            Self::Waste => "waste",
            Self::Adjustment => "adjustment",
            Self::Transit => "transit",
            Self::Shrink => "shrink",
        }
    }
}

/// Where money is, or what it was for. Assets are positive, income and liabilities negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoneyAccount {
    /// Net sales.
    Sales,
    /// Tax contained in sales.
    Tax,
    /// Taken in by one means of payment.
    Tender(TenderKind),
}

impl MoneyAccount {
    /// Every account, in code order.
    pub const ALL: [Self; 6] = [
        Self::Sales,
        Self::Tax,
        Self::Tender(TenderKind::Cash),
        Self::Tender(TenderKind::Card),
        Self::Tender(TenderKind::Wallet),
        Self::Tender(TenderKind::Voucher),
    ];

    /// Stable number for SQL.
    pub fn code(self) -> u8 {
        match self {
            Self::Sales => 0,
            Self::Tax => 1,
            Self::Tender(TenderKind::Cash) => 16,
            Self::Tender(TenderKind::Card) => 17,
            Self::Tender(TenderKind::Wallet) => 18,
            Self::Tender(TenderKind::Voucher) => 19,
        }
    }

    /// Inverse of [`MoneyAccount::code`].
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|account| account.code() == code)
    }

    /// Stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sales => "sales",
            Self::Tax => "tax",
            Self::Tender(TenderKind::Cash) => "tender-cash",
            Self::Tender(TenderKind::Card) => "tender-card",
            Self::Tender(TenderKind::Wallet) => "tender-wallet",
            Self::Tender(TenderKind::Voucher) => "tender-voucher",
        }
    }
}

/// One movement of stock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockPosting {
    /// Account.
    pub account: StockAccount,
    /// Article.
    pub sku: Sku,
    /// Lot.
    pub lot: LotId,
    /// Stock units, signed.
    pub quantity: Milli,
}

/// One movement of money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoneyPosting {
    /// Account.
    pub account: MoneyAccount,
    /// Trading day.
    pub day: BusinessDay,
    /// Currency.
    pub currency: Currency,
    /// Amount, signed.
    pub amount: Minor,
}

/// Everything one fact moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Postings {
    /// Stock.
    pub stock: Vec<StockPosting>,
    /// Money.
    pub money: Vec<MoneyPosting>,
}

/// Why a fact moves nothing although its kind does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostingError {
    /// A quantity below zero or over [`QUANTITY_MAX`].
    #[error("quantity {quantity} of sku {sku} is outside 0 to {QUANTITY_MAX}")]
    Quantity {
        /// Article.
        sku: Sku,
        /// Quantity found.
        quantity: Milli,
    },
    /// An amount below zero or over [`AMOUNT_MAX`].
    #[error("amount {0} is outside 0 to {AMOUNT_MAX}")]
    Amount(Minor),
    /// Tenders and lines differ.
    #[error("tenders sum to {tenders}, lines to {lines}")]
    Unbalanced {
        /// Sum of the tenders.
        tenders: Minor,
        /// Sum of the lines.
        lines: Minor,
    },
    /// A sum or a balance leaves the range of 64 bits.
    #[error("a sum leaves the range of 64 bits")]
    Overflow,
}

impl PostingError {
    /// Stable word for refusals and quarantine.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Quantity { .. } => "bad-quantity",
            Self::Amount(_) => "bad-amount",
            Self::Unbalanced { .. } => "wrong-total",
            Self::Overflow => "overflow",
        }
    }
}

/// Tax contained in a gross amount at `rate` hundredths of a percent, rounded half away from zero; exact inverse of the
/// tax that a net price would have added.
pub fn tax_contained(amount: Minor, rate: u16) -> Minor {
    let divisor = 10_000 + i128::from(rate);
    let product = i128::from(amount.0) * i128::from(rate);
    let half = if product < 0 { -divisor } else { divisor };
    // |result| <= |amount| because rate < divisor.
    i64::try_from((2 * product + half) / (2 * divisor)).map_or(Minor::ZERO, Minor)
}

impl Postings {
    /// Moves `quantity` from one account to another.
    fn stock(
        &mut self,
        from: StockAccount,
        to: StockAccount,
        sku: Sku,
        lot: &LotId,
        quantity: Milli,
    ) -> Result<(), PostingError> {
        if quantity < Milli::ZERO || quantity > QUANTITY_MAX {
            return Err(PostingError::Quantity { sku, quantity });
        }
        if quantity != Milli::ZERO {
            self.stock.push(StockPosting {
                account: from,
                sku,
                lot: lot.clone(),
                quantity: Milli(-quantity.0),
            });
            self.stock.push(StockPosting { account: to, sku, lot: lot.clone(), quantity });
        }
        Ok(())
    }

    fn money(&mut self, account: MoneyAccount, day: BusinessDay, currency: Currency, amount: Minor) {
        if amount != Minor::ZERO {
            self.money.push(MoneyPosting { account, day, currency, amount });
        }
    }

    fn trade(&mut self, trade: &Trade<'_>) -> Result<(), PostingError> {
        let mut lines = Minor::ZERO;
        self.stock.reserve(2 * trade.lines.len());
        self.money.reserve(2 * trade.lines.len() + trade.tenders.len());
        for line in trade.lines {
            self.stock(trade.from, trade.to, line.sku, &line.lot, line.quantity)?;
            let amount = checked(line.amount)?;
            lines = lines.checked_add(amount).ok_or(PostingError::Overflow)?;
            let tax = tax_contained(amount, line.tax_rate);
            self.money(
                MoneyAccount::Sales,
                trade.day,
                trade.currency,
                Minor(-trade.sign * (amount.0 - tax.0)),
            );
            self.money(MoneyAccount::Tax, trade.day, trade.currency, Minor(-trade.sign * tax.0));
        }
        let mut tenders = Minor::ZERO;
        for tender in trade.tenders {
            let amount = checked(tender.amount)?;
            tenders = tenders.checked_add(amount).ok_or(PostingError::Overflow)?;
            let account = MoneyAccount::Tender(tender.kind);
            self.money(account, trade.day, trade.currency, Minor(trade.sign * amount.0));
        }
        if tenders == lines { Ok(()) } else { Err(PostingError::Unbalanced { tenders, lines }) }
    }

    fn transfer(
        &mut self,
        from: StockAccount,
        to: StockAccount,
        lines: &[TransferLine],
    ) -> Result<(), PostingError> {
        lines.iter().try_for_each(|line| self.stock(from, to, line.sku, &line.lot, line.quantity))
    }
}

/// What a sale and a return have in common.
struct Trade<'a> {
    from: StockAccount,
    to: StockAccount,
    sign: i64,
    day: BusinessDay,
    currency: Currency,
    lines: &'a [SaleLine],
    tenders: &'a [Tender],
}

fn checked(amount: Minor) -> Result<Minor, PostingError> {
    if amount < Minor::ZERO || amount > AMOUNT_MAX { Err(PostingError::Amount(amount)) } else { Ok(amount) }
}

/// The postings of a fact, by the table at the head of this file.
pub fn postings(fact: &Fact) -> Result<Postings, PostingError> {
    use StockAccount::{Adjustment, OnHand, Reserved, Shrink, Sold, Supplier, Transit, Waste};
    let mut out = Postings::default();
    let no_lot = LotId::default();
    match fact {
        Fact::Sale(sale) => out.trade(&Trade {
            from: OnHand,
            to: Sold,
            sign: 1,
            day: sale.day,
            currency: sale.currency,
            lines: &sale.lines,
            tenders: &sale.tenders,
        })?,
        Fact::Return(back) => out.trade(&Trade {
            from: Sold,
            to: OnHand,
            sign: -1,
            day: back.day,
            currency: back.currency,
            lines: &back.lines,
            tenders: &back.tenders,
        })?,
        Fact::Receipt(receipt) => {
            for line in &receipt.lines {
                out.stock(Supplier, OnHand, line.sku, &line.lot, line.quantity)?;
            }
        }
        Fact::Waste(waste) => out.stock(OnHand, Waste, waste.sku, &waste.lot, waste.quantity)?,
        Fact::Count(count) => {
            if count.counted < Milli::ZERO {
                return Err(PostingError::Quantity { sku: count.sku, quantity: count.counted });
            }
            let difference = count.counted.checked_sub(count.book).ok_or(PostingError::Overflow)?;
            if difference < Milli::ZERO {
                let missing = difference.checked_neg().ok_or(PostingError::Overflow)?;
                out.stock(OnHand, Adjustment, count.sku, &count.lot, missing)?;
            } else {
                out.stock(Adjustment, OnHand, count.sku, &count.lot, difference)?;
            }
        }
        Fact::TransferOut(transfer) => out.transfer(OnHand, Transit, &transfer.lines)?,
        Fact::TransferIn(transfer) => out.transfer(Transit, OnHand, &transfer.lines)?,
        Fact::ReservationOpened(opened) => {
            out.stock(OnHand, Reserved, opened.sku, &no_lot, opened.quantity)?
        }
        Fact::ReservationClosed(closed) => {
            out.stock(Reserved, OnHand, closed.sku, &no_lot, closed.quantity)?
        }
        Fact::PromiseOpened(opened) => out.stock(OnHand, Reserved, opened.sku, &no_lot, opened.quantity)?,
        Fact::PromiseClosed(closed) => out.stock(Reserved, OnHand, closed.sku, &no_lot, closed.quantity)?,
        Fact::TransferClosed(closed) => {
            for line in &closed.lines {
                if line.quantity < Milli::ZERO {
                    let more = line.quantity.checked_neg().ok_or(PostingError::Overflow)?;
                    out.stock(Shrink, Transit, line.sku, &line.lot, more)?;
                } else {
                    out.stock(Transit, Shrink, line.sku, &line.lot, line.quantity)?;
                }
            }
        }
        _ => {}
    }
    Ok(out)
}
