//! Folds: what the events of a store add up to. The same code runs at the store, at HQ and in `verify`.
//!
//! Invariants
//! * Folding one event either changes everything it should or nothing: new values are computed first, then set.
//! * A fold never writes SQL. New values collect in [`FoldSet`]s (job over group over cache over file) and each touched
//!   row is written once per group.
//! * Facts of stores fold from up logs only, facts of HQ from down logs only.
//! * A ticket number counts once: of two facts with the same (till, number), the one the ticket row names counts and the
//!   other changes nothing.

use crate::item::{AlarmRaisedBody, Class, Item, ItemKey, TagShown};
use crate::rows::PriceRow;
use crate::sums::Sums;
use std::collections::BTreeMap;
use sync_core::{PostingError, Postings, postings};
use sync_model::{
    Article, Currency, DeviceClass, DeviceId, Direction, Event, EventId, Fact, FactRef, Kind, LotId,
    SaleLine, Sku, StoreId, Text, TillId, UnixMillis,
};

pub(crate) type StockKey = (StoreId, Sku, LotId, u8);
pub(crate) type MoneyKey = (StoreId, i32, Currency, u8);
pub(crate) type TallyKey = (StoreId, Direction, Kind);
/// Store, form (0 sale, 1 return), till, number.
pub(crate) type TicketKey = (StoreId, u8, TillId, u64);

/// Fold rows that were touched, with their new absolute values.
#[derive(Debug, Default)]
pub(crate) struct FoldSet {
    pub(crate) stock: BTreeMap<StockKey, i64>,
    pub(crate) money: BTreeMap<MoneyKey, i64>,
    pub(crate) tally: BTreeMap<TallyKey, u64>,
    pub(crate) tickets: BTreeMap<TicketKey, i64>,
    pub(crate) articles: BTreeMap<(StoreId, Sku), Article>,
    pub(crate) prices: BTreeMap<(StoreId, Sku), PriceRow>,
    pub(crate) items: BTreeMap<ItemKey, Item>,
    /// Tickets met again at their own position: only `verify` sees any.
    pub(crate) ticket_hits: u64,
}

impl FoldSet {
    /// Takes over everything from `newer`.
    pub(crate) fn absorb(&mut self, newer: &mut Self) {
        // Not `append`: that rebuilds the larger map, however few rows are new.
        self.stock.extend(std::mem::take(&mut newer.stock));
        self.money.extend(std::mem::take(&mut newer.money));
        self.tally.extend(std::mem::take(&mut newer.tally));
        self.tickets.extend(std::mem::take(&mut newer.tickets));
        self.articles.extend(std::mem::take(&mut newer.articles));
        self.prices.extend(std::mem::take(&mut newer.prices));
        self.items.extend(std::mem::take(&mut newer.items));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn rows(&self) -> usize {
        self.stock.len()
            + self.money.len()
            + self.tally.len()
            + self.tickets.len()
            + self.items.len()
            + self.articles.len()
            + self.prices.len()
    }
}

/// Stored fold rows.
pub(crate) trait Base {
    fn stock(&self, key: &StockKey) -> rusqlite::Result<i64>;
    fn money(&self, key: &MoneyKey) -> rusqlite::Result<i64>;
    fn tally(&self, key: &TallyKey) -> rusqlite::Result<u64>;
    fn ticket(&self, key: &TicketKey) -> rusqlite::Result<Option<i64>>;
    /// At least the highest number of a till's tickets of this form, as SQL orders numbers.
    fn highest_ticket(&self, _store: StoreId, _form: u8, _till: TillId) -> rusqlite::Result<i64> {
        Ok(i64::MAX)
    }
    fn article(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<Article>>;
    fn price(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<PriceRow>>;
    fn item(&self, key: &ItemKey) -> rusqlite::Result<Option<Item>>;
}

/// Why an event changed nothing.
#[derive(Debug)]
pub(crate) enum FoldError {
    Posting(PostingError),
    /// The ticket number is taken by another event.
    DuplicateTicket,
    /// A store's fact in HQ's log or the other way round.
    WrongDirection(Kind),
    /// An operation that the gate of a register or set does not let through.
    Gate {
        code: &'static str,
        detail: String,
    },
    Storage(rusqlite::Error),
}

impl From<rusqlite::Error> for FoldError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Storage(error)
    }
}

impl FoldError {
    /// Code and text for a refusal or the quarantine; `None` for a storage error.
    pub(crate) fn reason(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Posting(error) => Some((error.code(), error.to_string())),
            Self::DuplicateTicket => {
                Some(("duplicate-ticket", "till and number were used by an earlier fact".to_owned()))
            }
            Self::WrongDirection(kind) => {
                Some(("wrong-direction", format!("kind {kind} does not belong in this direction")))
            }
            Self::Gate { code, detail } => Some((*code, detail.clone())),
            Self::Storage(_) => None,
        }
    }
}

/// What a job sees: its own changes over those of its group over the file.
pub(crate) struct View<'a> {
    pub(crate) job: &'a mut FoldSet,
    pub(crate) group: &'a FoldSet,
    pub(crate) cache: &'a FoldSet,
    pub(crate) base: &'a dyn Base,
    /// Balances, counts and tickets of a writer; without it they are in the sets like everything else.
    pub(crate) sums: Option<&'a mut Sums>,
}

macro_rules! layered {
    ($self:ident, $map:ident, $key:expr) => {
        $self.job.$map.get($key).or_else(|| $self.group.$map.get($key)).or_else(|| $self.cache.$map.get($key))
    };
}

impl View<'_> {
    fn stock(&self, key: &StockKey) -> rusqlite::Result<i64> {
        layered!(self, stock, key).map_or_else(|| self.base.stock(key), |value| Ok(*value))
    }

    fn money(&self, key: &MoneyKey) -> rusqlite::Result<i64> {
        layered!(self, money, key).map_or_else(|| self.base.money(key), |value| Ok(*value))
    }

    pub(crate) fn ticket(&mut self, key: &TicketKey) -> rusqlite::Result<Option<i64>> {
        if let Some(sums) = &mut self.sums {
            return sums.tickets.get(key, self.base);
        }
        layered!(self, tickets, key).map_or_else(|| self.base.ticket(key), |pos| Ok(Some(*pos)))
    }

    pub(crate) fn article(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<Article>> {
        let key = &(store, sku);
        layered!(self, articles, key)
            .map_or_else(|| self.base.article(store, sku), |row| Ok(Some(row.clone())))
    }

    pub(crate) fn price(&self, store: StoreId, sku: Sku) -> rusqlite::Result<Option<PriceRow>> {
        let key = &(store, sku);
        layered!(self, prices, key).map_or_else(|| self.base.price(store, sku), |row| Ok(Some(*row)))
    }

    pub(crate) fn item(&self, key: &ItemKey) -> rusqlite::Result<Option<Item>> {
        layered!(self, items, key).map_or_else(|| self.base.item(key), |item| Ok(Some(item.clone())))
    }

    /// Counts one record of a kind; number 0 for a frame that does not decode.
    pub(crate) fn count(&mut self, key: TallyKey) -> rusqlite::Result<()> {
        if let Some(sums) = &mut self.sums {
            let (place, before) = sums.tally.find(key, |key| self.base.tally(key))?;
            sums.tally.set(place, before.saturating_add(1));
            return Ok(());
        }
        let before = layered!(self, tally, &key).map_or_else(|| self.base.tally(&key), |count| Ok(*count))?;
        self.job.tally.insert(key, before.saturating_add(1));
        Ok(())
    }

    pub(crate) fn change(&mut self, key: ItemKey, change: impl FnOnce(&mut Item)) -> rusqlite::Result<()> {
        let mut item = self.item(&key)?.unwrap_or_else(|| Item::empty(key.class));
        change(&mut item);
        self.job.items.insert(key, item);
        Ok(())
    }
}

/// Folds one event at position `pos`. On an error nothing has changed. Counting is separate: see [`View::count`].
pub(crate) fn fold(view: &mut View<'_>, id: EventId, pos: i64, event: &Event) -> Result<(), FoldError> {
    let kind = event.fact.kind();
    let from_hq = (256..512).contains(&kind.0);
    let known = !matches!(event.fact, Fact::Unknown { .. });
    if known && kind != Kind::EPOCH_OPENED && from_hq != (id.log.direction == Direction::Down) {
        return Err(FoldError::WrongDirection(kind));
    }
    let store = id.log.store;
    let ticket = match &event.fact {
        Fact::Sale(sale) => Some((store, 0, sale.till, sale.number)),
        Fact::Return(back) => Some((store, 1, back.till, back.number)),
        _ => None,
    };
    let mut new_ticket = None;
    if let Some(key) = ticket {
        match view.ticket(&key)? {
            Some(taken) if taken != pos => return Err(FoldError::DuplicateTicket),
            Some(_) => view.job.ticket_hits += 1,
            None => new_ticket = Some(key),
        }
    }
    crate::shared::check(&event.fact)?;
    crate::evidence::check(&event.fact)?;
    let mut postings = postings(&event.fact).map_err(FoldError::Posting)?;
    crate::shared::end_once(view, id, event, &mut postings)?;
    fold_postings(view, store, postings)?;
    if let Some(key) = new_ticket {
        match &mut view.sums {
            Some(sums) => sums.tickets.insert(key, pos),
            None => drop(view.job.tickets.insert(key, pos)),
        }
    }
    let by = FactRef::from(id);
    match &event.fact {
        Fact::ArticlesSet(set) => {
            set.articles.iter().try_for_each(|article| fold_article(view, store, article))?
        }
        Fact::PriceChanged(change) => {
            let row = PriceRow { sku: change.sku, price: change.to, version: change.version, by };
            if view.price(store, change.sku)?.is_none_or(|before| by > before.by) {
                view.job.prices.insert((store, change.sku), row);
            }
        }
        Fact::Sale(sale) => fold_batches(view, store, &sale.lines)?,
        _ => fold_items(view, store, by, event)?,
    }
    crate::shared::fold(view, id, event)?;
    crate::evidence::fold(view, id, event)
}

/// Highest version wins; of two bodies with one version the greater bytes, so that the order of arrival is no matter.
fn fold_article(view: &mut View<'_>, store: StoreId, article: &Article) -> rusqlite::Result<()> {
    let wins = view.article(store, article.sku)?.is_none_or(|before| {
        (article.version, article_body(article)) > (before.version, article_body(&before))
    });
    if wins {
        view.job.articles.insert((store, article.sku), article.clone());
    }
    Ok(())
}

/// Stored form of an article.
pub(crate) fn article_body(article: &Article) -> Vec<u8> {
    postcard::to_allocvec(article).expect("an article holds no maps and a vector takes any number of bytes")
}

fn overflow() -> FoldError {
    FoldError::Posting(PostingError::Overflow)
}

fn fold_postings(view: &mut View<'_>, store: StoreId, postings: Postings) -> Result<(), FoldError> {
    if let Some(sums) = &mut view.sums {
        return add_postings(sums, view.base, store, &postings);
    }
    let mut stock: BTreeMap<StockKey, i64> = BTreeMap::new();
    for posting in postings.stock {
        let key = (store, posting.sku, posting.lot, posting.account.code());
        let before = match stock.get(&key) {
            Some(value) => *value,
            None => view.stock(&key)?,
        };
        stock.insert(key, before.checked_add(posting.quantity.0).ok_or_else(overflow)?);
    }
    let mut money: BTreeMap<MoneyKey, i64> = BTreeMap::new();
    for posting in postings.money {
        let key = (store, posting.day.0, posting.currency, posting.account.code());
        let before = match money.get(&key) {
            Some(value) => *value,
            None => view.money(&key)?,
        };
        money.insert(key, before.checked_add(posting.amount.0).ok_or_else(overflow)?);
    }
    view.job.stock.extend(stock);
    view.job.money.extend(money);
    Ok(())
}

/// Adds to what an event has at this place so far. A ticket touches few rows: looking through few is quicker than a map.
fn add(touched: &mut Vec<(usize, i64)>, (place, value): (usize, i64), more: i64) -> Result<(), FoldError> {
    match touched.iter_mut().rev().find(|(at, _)| *at == place) {
        Some((_, value)) => *value = value.checked_add(more).ok_or_else(overflow)?,
        None => touched.push((place, value.checked_add(more).ok_or_else(overflow)?)),
    }
    Ok(())
}

/// The same into the rows that a writer holds: first every new value, then, when none overflows, the change.
fn add_postings(
    sums: &mut Sums,
    base: &dyn Base,
    store: StoreId,
    postings: &Postings,
) -> Result<(), FoldError> {
    let [mut stock, mut money] = std::mem::take(&mut sums.touched);
    stock.clear();
    money.clear();
    for posting in &postings.stock {
        let found = sums.stock((store, posting.sku, &posting.lot, posting.account.code()), base)?;
        add(&mut stock, found, posting.quantity.0)?;
    }
    for posting in &postings.money {
        let key = (store, posting.day.0, posting.currency, posting.account.code());
        let found = sums.money.find(key, |key| base.money(key))?;
        add(&mut money, found, posting.amount.0)?;
    }
    stock.iter().for_each(|(place, value)| sums.stock.set(*place, *value));
    money.iter().for_each(|(place, value)| sums.money.set(*place, *value));
    sums.touched = [stock, money];
    Ok(())
}

fn fold_batches(view: &mut View<'_>, store: StoreId, lines: &[SaleLine]) -> rusqlite::Result<()> {
    for line in lines {
        if let Some(batch) = line.batch {
            take(view, store, batch, line.quantity.0)?;
        }
    }
    Ok(())
}

fn take(view: &mut View<'_>, store: StoreId, batch: FactRef, quantity: i64) -> rusqlite::Result<()> {
    view.change(ItemKey::fact(store, Class::Batch, batch), |item| {
        if let Item::Batch(item) = item {
            item.taken.0 = item.taken.0.saturating_add(quantity);
        }
    })
}

fn fold_items(view: &mut View<'_>, store: StoreId, by: FactRef, event: &Event) -> rusqlite::Result<()> {
    let at = event.stamp.at;
    match &event.fact {
        Fact::AlarmRaised(fact) => view.change(ItemKey::fact(store, Class::Alarm, by), |item| {
            if let Item::Alarm(item) = item {
                item.raised = Some((at, AlarmRaisedBody::from(fact)));
            }
        }),
        Fact::AlarmAcknowledged(fact) => {
            view.change(ItemKey::fact(store, Class::Alarm, fact.alarm), |item| {
                if let Item::Alarm(item) = item {
                    item.acknowledged.set(by, (at, fact.by.clone()));
                }
            })
        }
        Fact::AlarmReturned(fact) => view.change(ItemKey::fact(store, Class::Alarm, fact.alarm), |item| {
            if let Item::Alarm(item) = item {
                item.returned.set(by, (at, fact.worst));
            }
        }),
        Fact::AlarmShelved(fact) => view.change(ItemKey::fact(store, Class::Alarm, fact.alarm), |item| {
            if let Item::Alarm(item) = item {
                item.shelved.set(by, (fact.until, fact.by.clone()));
            }
        }),
        Fact::BatchQueued(fact) => view.change(ItemKey::fact(store, Class::Batch, by), |item| {
            if let Item::Batch(item) = item {
                item.queued = Some((at, fact.clone()));
            }
        }),
        Fact::BatchMoved(fact) => view.change(ItemKey::fact(store, Class::Batch, fact.batch), |item| {
            if let Item::Batch(item) = item {
                item.moved.set(by, (at, fact.to, fact.reason.clone()));
                if let Some(temperature) = fact.temperature {
                    item.temperature.set(by, temperature);
                }
            }
        }),
        Fact::Waste(fact) => match fact.batch {
            Some(batch) => take(view, store, batch, fact.quantity.0),
            None => Ok(()),
        },
        Fact::ReservationOpened(fact) => view.change(ItemKey::fact(store, Class::Reservation, by), |item| {
            if let Item::Reservation(item) = item {
                item.opened = Some((at, fact.clone()));
            }
        }),
        Fact::TagConfirmed(fact) => view.change(ItemKey::device(store, Class::Tag, &fact.tag), |item| {
            if let Item::Tag(item) = item {
                let (sku, price, version, image_hash) = (fact.sku, fact.price, fact.version, fact.image_hash);
                item.shown.set(by, TagShown { sku, price, version, image_hash, at });
            }
        }),
        Fact::DeviceSeen(fact) => {
            let identity = Text::lossy(fact.identity.as_str());
            presence(view, (store, &fact.device), by, (at, fact.class, true, identity))
        }
        Fact::DeviceLost(fact) => {
            presence(view, (store, &fact.device), by, (at, fact.class, false, fact.reason.clone()))
        }
        _ => Ok(()),
    }
}

fn presence(
    view: &mut View<'_>,
    (store, device): (StoreId, &DeviceId),
    by: FactRef,
    value: (UnixMillis, DeviceClass, bool, Text<120>),
) -> rusqlite::Result<()> {
    view.change(ItemKey::device(store, Class::Device, device), |item| {
        if let Item::Device(item) = item {
            item.presence.set(by, value);
        }
    })
}
