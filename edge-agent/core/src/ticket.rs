//! May this ticket be booked? All or nothing: a refused ticket books nothing.
//!
//! A ticket is checked against the articles and the prices that the tills charge *now*. Rules, in the order in which they
//! are tried (the first broken one is the answer):
//! 1. till and number are 1 or more; the currency is the store's; the day is a date and plausible;
//! 2. 1 to 200 lines, 1 to 8 tenders;
//! 3. per line: the article exists, is active and has a price; quantity > 0; unit price >= 0 and **not above** the price the
//!    tills charge (the customer never pays more than the label shows; charging less is the till's right);
//!    0 <= discount <= price x quantity; amount = price x quantity, rounded half away from zero, less the discount;
//!    lot and references are well formed;
//! 4. total = sum of the lines = sum of the tenders; no tender is negative.
//!
//! A return is checked by the same rules without the price ceiling and for inactive articles too: goods go back at what
//! was paid for them.
//!
//! Failure cases: every refusal has a stable code, the field, and what was expected and found. Sums are checked; nothing
//! wraps. Whether (till, number) was used before is the ledger's answer, not this one's.

use crate::Catalogue;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use sync_model::{
    Article, BusinessDay, Currency, FactRef, LotId, Milli, Minor, Return, Sale, SaleLine, Sku, Tender,
    TenderKind, TillId, extend_price,
};

/// Most lines of a ticket.
pub const LINES_MAX: usize = 200;
/// Most tenders of a ticket.
pub const TENDERS_MAX: usize = 8;
/// Largest quantity of a line: a million stock units.
pub const QUANTITY_MAX: Milli = Milli(1_000_000_000);
/// How far back a trading day may lie: a till that was put away for a year may still post.
pub const DAYS_BACK_MAX: i32 = 400;
/// How far ahead a trading day may lie: shops that trade past midnight open the next day early.
pub const DAYS_AHEAD_MAX: i32 = 1;

/// A ticket or return as a till sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Till number.
    pub till: u16,
    /// The till's own number.
    pub number: u64,
    /// `YYYY-MM-DD`; `None`: today.
    pub day: Option<String>,
    /// ISO 4217 code.
    pub currency: String,
    /// Lines.
    pub lines: Vec<Line>,
    /// Means of payment.
    pub tenders: Vec<Paid>,
    /// Sum.
    pub total: i64,
}

/// One line as a till sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Article.
    pub sku: u64,
    /// Lot.
    pub lot: Option<String>,
    /// Thousandths of the stock unit.
    pub quantity: i64,
    /// Price per stock unit.
    pub unit_price: i64,
    /// Reduction.
    pub discount: i64,
    /// To pay.
    pub amount: i64,
    /// `epoch.seq` of the weighing.
    pub weighing: Option<String>,
    /// `epoch.seq` of the steam batch.
    pub batch: Option<String>,
}

/// One means of payment as a till sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// `cash`, `card`, `wallet`, `voucher`.
    pub kind: String,
    /// Amount.
    pub amount: i64,
}

/// The store at the moment of the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Today {
    /// Trading day of the store's clock.
    pub day: BusinessDay,
    /// Whether that clock can be trusted; if not, a given day is only checked to be a date.
    pub clock_trusted: bool,
    /// The store's currency.
    pub currency: Currency,
}

impl Today {
    /// Today at `wall_ms` in a store `utc_offset_minutes` east of Greenwich.
    pub fn at(wall_ms: i64, utc_offset_minutes: i32, clock_trusted: bool, currency: Currency) -> Self {
        let local = wall_ms.saturating_add(i64::from(utc_offset_minutes) * 60_000);
        let day = BusinessDay(i32::try_from(local.div_euclid(86_400_000)).unwrap_or(i32::MAX));
        Self { day, clock_trusted, currency }
    }
}

/// Why a ticket is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {field}: {detail}")]
pub struct TicketRefusal {
    /// Stable word.
    pub code: &'static str,
    /// The field at fault, such as `lines[2].amount_minor`.
    pub field: String,
    /// Expected and found.
    pub detail: String,
}

fn refuse<T>(
    code: &'static str,
    field: impl Into<String>,
    detail: impl Into<String>,
) -> Result<T, TicketRefusal> {
    Err(TicketRefusal { code, field: field.into(), detail: detail.into() })
}

/// Checks a sale.
pub fn check(request: &Request, today: &Today, catalogue: &dyn Catalogue) -> Result<Sale, TicketRefusal> {
    let Head { day, currency } = head(request, today)?;
    let lines = lines(request, Rules::Sale, catalogue)?;
    let tenders = tenders(request)?;
    Ok(Sale { till: TillId(request.till), number: request.number, day, currency, lines, tenders })
}

/// Checks a return; `of` is the sale, `epoch.seq`, when the receipt was shown.
pub fn check_return(
    request: &Request,
    of: Option<&str>,
    today: &Today,
    catalogue: &dyn Catalogue,
) -> Result<Return, TicketRefusal> {
    let Head { day, currency } = head(request, today)?;
    let of = reference(of, || "of".into())?;
    let lines = lines(request, Rules::Return, catalogue)?;
    let tenders = tenders(request)?;
    Ok(Return { till: TillId(request.till), number: request.number, day, of, currency, lines, tenders })
}

/// Which rules a line follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rules {
    Sale,
    Return,
}

/// What stands above the lines.
struct Head {
    day: BusinessDay,
    currency: Currency,
}

fn head(request: &Request, today: &Today) -> Result<Head, TicketRefusal> {
    if request.till == 0 {
        return refuse("bad-till", "till", "expected a till number from 1, found 0");
    }
    if request.number == 0 {
        return refuse("bad-number", "number", "expected a ticket number from 1, found 0");
    }
    if request.currency != today.currency.as_str() {
        let detail = format!("expected {}, found {}", today.currency, shorten(&request.currency));
        return refuse("bad-currency", "currency", detail);
    }
    let day = match request.day.as_deref() {
        None => today.day,
        Some(text) => plausible_day(text, today)?,
    };
    match request.lines.len() {
        0 => return refuse("no-lines", "lines", "expected 1 to 200 lines, found none"),
        1..=LINES_MAX => {}
        found => {
            return refuse(
                "too-many-lines",
                "lines",
                format!("expected 1 to {LINES_MAX} lines, found {found}"),
            );
        }
    }
    match request.tenders.len() {
        0 => refuse("no-tenders", "tenders", "expected 1 to 8 tenders, found none"),
        1..=TENDERS_MAX => Ok(Head { day, currency: today.currency }),
        found => refuse(
            "too-many-tenders",
            "tenders",
            format!("expected 1 to {TENDERS_MAX} tenders, found {found}"),
        ),
    }
}

fn plausible_day(text: &str, today: &Today) -> Result<BusinessDay, TicketRefusal> {
    let Some(day) = parse_day(text) else {
        return refuse("bad-day", "day", format!("expected YYYY-MM-DD, found {}", shorten(text)));
    };
    let ahead = day.0.saturating_sub(today.day.0);
    if today.clock_trusted && !(-DAYS_BACK_MAX..=DAYS_AHEAD_MAX).contains(&ahead) {
        let detail = format!(
            "expected at most {DAYS_BACK_MAX} days before and {DAYS_AHEAD_MAX} after {}, found {day}",
            today.day
        );
        return refuse("bad-day", "day", detail);
    }
    Ok(day)
}

/// Reads an ISO 8601 calendar date of the years 2000 to 2199.
pub fn parse_day(text: &str) -> Option<BusinessDay> {
    let bytes = text.as_bytes();
    let digits = bytes
        .iter()
        .enumerate()
        .all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() });
    if bytes.len() != 10 || !digits {
        return None;
    }
    let mut parts = text.split('-').map(str::parse::<i32>);
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) = (parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: i32 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    let length = lengths.get(usize::try_from(month - 1).ok()?)?;
    if !(2000..2200).contains(&year) || !(1..=*length).contains(&day) {
        return None;
    }
    // 10,957 days lie between 1970-01-01 and 2000-01-01; the leap days of the years before this one, from 2000.
    let past = year - 2000;
    let leap_days = if past == 0 { 0 } else { 1 + (past - 1) / 4 - (past - 1) / 100 + (past - 1) / 400 };
    Some(BusinessDay(10_957 + past * 365 + leap_days + before + day - 1))
}

fn lines(request: &Request, rules: Rules, catalogue: &dyn Catalogue) -> Result<Vec<SaleLine>, TicketRefusal> {
    let mut sum: i64 = 0;
    let mut lines = Vec::with_capacity(request.lines.len());
    for (index, line) in request.lines.iter().enumerate() {
        let checked = check_line(index, line, rules, catalogue)?;
        sum = match sum.checked_add(checked.amount.0) {
            Some(sum) => sum,
            None => {
                return refuse("overflow", "lines", "the sum of the lines exceeds the range of an amount");
            }
        };
        lines.push(checked);
    }
    if sum != request.total {
        return refuse(
            "wrong-total",
            "total_minor",
            format!("expected {sum} (sum of the lines), found {}", request.total),
        );
    }
    Ok(lines)
}

fn check_line(
    index: usize,
    line: &Line,
    rules: Rules,
    catalogue: &dyn Catalogue,
) -> Result<SaleLine, TicketRefusal> {
    let at = |field: &str| format!("lines[{index}].{field}");
    let sku = Sku(line.sku);
    let Some(article) = catalogue.article(sku) else {
        return refuse("unknown-sku", at("sku"), format!("no article {sku}"));
    };
    if line.quantity <= 0 || line.quantity > QUANTITY_MAX.0 {
        let detail = format!("expected 1 to {} thousandths, found {}", QUANTITY_MAX.0, line.quantity);
        return refuse("bad-quantity", at("quantity_milli"), detail);
    }
    if line.unit_price < 0 {
        return refuse(
            "bad-amount",
            at("unit_price_minor"),
            format!("expected 0 or more, found {}", line.unit_price),
        );
    }
    if rules == Rules::Sale {
        price_ceiling(&article, line, catalogue, &at)?;
    }
    amount(line, &at)?;
    let Ok(lot) = LotId::new(line.lot.as_deref().unwrap_or_default()) else {
        return refuse("bad-lot", at("lot"), "expected at most 24 bytes without control characters");
    };
    Ok(SaleLine {
        sku,
        lot,
        quantity: Milli(line.quantity),
        unit_price: Minor(line.unit_price),
        discount: Minor(line.discount),
        amount: Minor(line.amount),
        tax_rate: article.tax_rate,
        weighing: reference(line.weighing.as_deref(), || at("weighing"))?,
        batch: reference(line.batch.as_deref(), || at("batch"))?,
    })
}

/// The article is for sale, at most at the price the tills charge.
fn price_ceiling(
    article: &Article,
    line: &Line,
    catalogue: &dyn Catalogue,
    at: &dyn Fn(&str) -> String,
) -> Result<(), TicketRefusal> {
    if !article.active {
        return refuse("inactive-sku", at("sku"), format!("article {} is not for sale", article.sku));
    }
    let Some(current) = catalogue.price(article.sku) else {
        return refuse("no-price", at("sku"), format!("article {} has no price yet", article.sku));
    };
    if line.unit_price > current.0 {
        let detail = format!("expected at most {}, found {}", current.0, line.unit_price);
        return refuse("price-above-current", at("unit_price_minor"), detail);
    }
    Ok(())
}

/// Discount and amount follow from price and quantity.
fn amount(line: &Line, at: &dyn Fn(&str) -> String) -> Result<(), TicketRefusal> {
    let Ok(full) = extend_price(Minor(line.unit_price), Milli(line.quantity)) else {
        return refuse("overflow", at("amount_minor"), "price times quantity exceeds the range of an amount");
    };
    if line.discount < 0 || line.discount > full.0 {
        let detail = format!("expected 0 to {}, found {}", full.0, line.discount);
        return refuse("bad-amount", at("discount_minor"), detail);
    }
    let expected = full.0 - line.discount;
    if line.amount != expected {
        let detail = format!("expected {expected} (price x quantity less discount), found {}", line.amount);
        return refuse("bad-amount", at("amount_minor"), detail);
    }
    Ok(())
}

fn tenders(request: &Request) -> Result<Vec<Tender>, TicketRefusal> {
    let mut sum: i64 = 0;
    let mut tenders = Vec::with_capacity(request.tenders.len());
    for (index, paid) in request.tenders.iter().enumerate() {
        let Some(kind) = tender_kind(&paid.kind) else {
            let detail = format!("expected cash, card, wallet or voucher, found {}", shorten(&paid.kind));
            return refuse("bad-tender", format!("tenders[{index}].kind"), detail);
        };
        if paid.amount < 0 {
            let detail = format!("expected 0 or more, found {}", paid.amount);
            return refuse("bad-amount", format!("tenders[{index}].amount_minor"), detail);
        }
        sum = match sum.checked_add(paid.amount) {
            Some(sum) => sum,
            None => {
                return refuse(
                    "overflow",
                    "tenders",
                    "the sum of the tenders exceeds the range of an amount",
                );
            }
        };
        tenders.push(Tender { kind, amount: Minor(paid.amount) });
    }
    if sum != request.total {
        return refuse(
            "wrong-total",
            "tenders",
            format!("expected {} (the total), found {sum}", request.total),
        );
    }
    Ok(tenders)
}

/// The tender of this name.
pub fn tender_kind(name: &str) -> Option<TenderKind> {
    match name {
        "cash" => Some(TenderKind::Cash),
        "card" => Some(TenderKind::Card),
        "wallet" => Some(TenderKind::Wallet),
        "voucher" => Some(TenderKind::Voucher),
        _ => None,
    }
}

/// Reads an optional `epoch.seq`.
fn reference(text: Option<&str>, field: impl FnOnce() -> String) -> Result<Option<FactRef>, TicketRefusal> {
    match text.map(str::parse::<FactRef>) {
        None => Ok(None),
        Some(Ok(fact)) => Ok(Some(fact)),
        Some(Err(error)) => refuse("bad-reference", field(), error.to_string()),
    }
}

/// At most 32 characters of something a stranger sent, for a message.
fn shorten(text: &str) -> String {
    text.chars().take(32).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
