//! What several writers touch: rights to shared stock, registers, the device registry, transfers between stores.
//!
//! Invariants
//! * Rights are sums per (store, sku, epoch) over facts of two logs, each with one writer: HQ issues, grants and fences, the
//!   store promises, takes and returns. The order in which the two logs are folded is no matter.
//! * A store's own job may promise or return at most what its present epoch holds; goods that leave are never refused:
//!   [`RightsTaken`] goes before them in the same job. HQ grants at most what the pool holds. So no right is in two hands.
//! * A reservation or promise ends once. After a restore it may have been ended twice: goods that left stand, the other
//!   ending frees nothing, and where the two differ both are listed.
//! * Registers and the registry are states of `sync-registers`; the log is the gate's order, and (store, epoch) its actor.
//!
//! The count in a record is not used here: operations of one actor come in the order of its log, and a record that moved to
//! another epoch (see `branch.rs`) counts there anew.

mod jobs;

use crate::Refusal;
use crate::draft::Draft;
use crate::fold::{FoldError, View};
use crate::item::{Class, Item, ItemKey, Latest};
use crate::office::{Office, fence_facts, grant_fact};
use crate::schema::Owner;
use rusqlite::params;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use sync_core::{PostingError, Postings, QUANTITY_MAX, StockAccount, StockPosting};
use sync_model::{
    DeviceEntry, DeviceId, Direction, Epoch, Event, EventId, Fact, FactRef, HqRegisterWritten,
    HqRegistryChanged, LogId, LotId, Milli, PromiseClosed, PromiseOpened, RegisterValue, RegisterWritten,
    RegistryChanged, ReservationOpened, ReservationOutcome, RightsTaken, Seq, Sku, Stamp, StoreId, Text,
    TransferLine, UnixMillis, WriteContext,
};
use sync_registers::{Actor, Change, Clock, Dot, Hlc, HlcClock, Register, Registry, Write};

/// Articles in one fence.
pub(crate) const FENCE_LINES_MAX: usize = 200;
/// Local state: last reading of the hybrid clock, by store.
const HLC_KEY: &str = "registers/hlc";

/// Rights of one article held by one epoch of a store. Epoch 0 holds what the store put into the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightsItem {
    /// Put into the pool.
    pub issued: i64,
    /// Granted by HQ.
    pub granted: i64,
    /// Promised to channels.
    pub promised: i64,
    /// Promises that were voided.
    pub voided: i64,
    /// Promises that were posted.
    pub posted: i64,
    /// Goods that left under posted promises.
    pub fulfilled: i64,
    /// Rights consumed by goods that left without a promise.
    pub taken: i64,
    /// Goods that left without either.
    pub shortfall: i64,
    /// Given back to HQ.
    pub returned: i64,
    /// Taken back by HQ.
    pub fenced: i64,
    /// How often HQ fenced the epoch.
    pub fences: u32,
}

impl RightsItem {
    /// What the epoch holds; below zero only when it spent what it was not granted: after a fence, as a clone, or lying. What
    /// ends that never began frees nothing.
    pub fn held(&self) -> i64 {
        let free = self.voided.min(self.promised);
        sum(&[self.granted, free], &[self.promised, self.taken, self.returned, self.fenced])
    }

    /// What this row adds to the pool. What the epoch spent beyond its rights is owed by the pool.
    pub fn pool(&self) -> i64 {
        let owed = self.held().min(0);
        sum(&[self.issued, self.returned, self.fenced, owed], &[self.granted, self.shortfall])
    }
}

fn sum(plus: &[i64], minus: &[i64]) -> i64 {
    let all = |parts: &[i64]| parts.iter().map(|part| i128::from(*part)).sum::<i128>();
    let sum = all(plus) - all(minus);
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// What HQ holds itself of one article, from the rows of every store: what all of them add, less goods that left under posted
/// promises more often than such promises were made.
pub(crate) fn pool_of<'a>(rows: impl IntoIterator<Item = (StoreId, &'a RightsItem)>) -> Milli {
    let mut pool = 0_i64;
    let mut beyond: BTreeMap<StoreId, i64> = BTreeMap::new();
    for (store, row) in rows {
        pool = pool.saturating_add(row.pool());
        let left = beyond.entry(store).or_default();
        *left = left.saturating_add(sum(&[row.fulfilled], &[row.posted]));
    }
    Milli(beyond.values().fold(pool, |pool, left| pool.saturating_sub((*left).max(0))))
}

/// Goods of one transfer as their sender wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentItem {
    pub(crate) sent: Option<(UnixMillis, StoreId)>,
    pub(crate) lines: BTreeMap<Sku, i64>,
    pub(crate) shrink: BTreeMap<Sku, i64>,
    pub(crate) closed: bool,
}

/// Goods of one transfer as a receiver wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArrivedItem {
    pub(crate) lines: BTreeMap<Sku, i64>,
}

/// One fact that ended a reservation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) at: UnixMillis,
    sku: Sku,
    pub(crate) quantity: i64,
    /// Whether it ended a promise: rights are then free or used.
    rights: bool,
}

/// A reservation that holds rights, or one that ended more than once: at the store and, before a restore, at the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PromiseItem {
    /// Zero for one that holds no rights.
    pub(crate) quantity: i64,
    pub(crate) posted: Latest<Ending>,
    pub(crate) voided: Latest<Ending>,
}

/// An ending with the fact that said so.
type Ended = (FactRef, ReservationOutcome, Ending);

impl PromiseItem {
    fn set(&mut self, by: FactRef, outcome: ReservationOutcome, ending: Ending) {
        match outcome {
            ReservationOutcome::Posted => self.posted.set(by, ending),
            ReservationOutcome::Voided => self.voided.set(by, ending),
        }
    }

    /// The one ending that counts. Goods that left are gone, whatever somebody said who had forgotten it.
    fn stands(&self) -> Option<Ended> {
        let of = |latest: &Latest<Ending>, outcome| Some((latest.by()?, outcome, latest.get()?.clone()));
        of(&self.posted, ReservationOutcome::Posted).or_else(|| of(&self.voided, ReservationOutcome::Voided))
    }
}

/// Somebody settled a conflict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettledItem {
    pub(crate) store: Latest<(UnixMillis, Text<32>)>,
    pub(crate) hq: Latest<(UnixMillis, Text<32>)>,
}

pub(crate) fn rights_key(store: StoreId, sku: Sku, epoch: Epoch) -> ItemKey {
    let key = [sku.0.to_be_bytes().as_slice(), &epoch.0.to_be_bytes()].concat();
    ItemKey { store, class: Class::Rights, key }
}

/// Article and epoch of a rights row.
pub(crate) fn rights_name(key: &[u8]) -> Option<(Sku, Epoch)> {
    let (sku, epoch) = key.split_first_chunk::<8>()?;
    Some((Sku(u64::from_be_bytes(*sku)), Epoch(u32::from_be_bytes(epoch.try_into().ok()?))))
}

pub(crate) fn arrived_key(store: StoreId, from: StoreId, of: FactRef) -> ItemKey {
    let mut key = from.0.to_be_bytes().to_vec();
    key.extend(ItemKey::fact(store, Class::Arrived, of).key);
    ItemKey { store, class: Class::Arrived, key }
}

/// Refuses quantities that no fold can take. Called before anything is folded.
pub(crate) fn check(fact: &Fact) -> Result<(), FoldError> {
    let within = |sku: Sku, quantity: Milli, least: i64| match quantity.0 {
        value if value >= least && value <= QUANTITY_MAX.0 => Ok(()),
        _ => Err(FoldError::Posting(PostingError::Quantity { sku, quantity })),
    };
    match fact {
        Fact::PromiseOpened(fact) => within(fact.sku, fact.quantity, 1),
        Fact::PromiseClosed(fact) => within(fact.sku, fact.quantity, 1),
        Fact::RightsTaken(fact) => {
            [fact.posted, fact.rights, fact.shortfall].into_iter().try_for_each(|q| within(fact.sku, q, 0))
        }
        Fact::RightsReturned(fact) => within(fact.sku, fact.quantity, 1),
        Fact::RightsIssued(fact) => within(fact.sku, fact.quantity, -QUANTITY_MAX.0),
        Fact::RightsGranted(fact) => within(fact.sku, fact.quantity, 1),
        Fact::EpochFenced(fact) => fact.lines.iter().try_for_each(|line| within(line.sku, line.quantity, 0)),
        _ => Ok(()),
    }
}

fn rights(
    view: &mut View<'_>,
    (store, sku, epoch): (StoreId, Sku, Epoch),
    change: impl FnOnce(&mut RightsItem),
) -> Result<(), FoldError> {
    let changed = view.change(rights_key(store, sku, epoch), |item| {
        if let Item::Rights(item) = item {
            change(item);
        }
    });
    Ok(changed?)
}

/// Folds one event, after its postings.
pub(crate) fn fold(view: &mut View<'_>, id: EventId, event: &Event) -> Result<(), FoldError> {
    let (store, epoch, by, at) = (id.log.store, id.log.epoch, FactRef::from(id), event.stamp.at);
    match &event.fact {
        Fact::PromiseOpened(fact) => open_promise(view, (store, by), at, fact),
        Fact::PromiseClosed(_) | Fact::ReservationClosed(_) => close_reservation(view, id, event),
        Fact::RightsTaken(fact) => rights(view, (store, fact.sku, epoch), |item| {
            add(&mut item.fulfilled, fact.posted.0);
            add(&mut item.taken, fact.rights.0);
            add(&mut item.shortfall, fact.shortfall.0);
        }),
        Fact::RightsReturned(fact) => {
            rights(view, (store, fact.sku, epoch), |item| add(&mut item.returned, fact.quantity.0))
        }
        Fact::RightsIssued(fact) => {
            rights(view, (store, fact.sku, Epoch(0)), |item| add(&mut item.issued, fact.quantity.0))
        }
        Fact::RightsGranted(fact) => {
            rights(view, (store, fact.sku, fact.epoch), |item| add(&mut item.granted, fact.quantity.0))
        }
        Fact::EpochFenced(fact) => {
            rights(view, (store, Sku(0), fact.epoch), |item| item.fences = item.fences.saturating_add(1))?;
            fact.lines.iter().try_for_each(|line| {
                rights(view, (store, line.sku, fact.epoch), |item| add(&mut item.fenced, line.quantity.0))
            })
        }
        Fact::RegisterWritten(fact) => write(view, id, event, fact),
        Fact::HqRegisterWritten(fact) => write(view, id, event, &fact.0),
        Fact::RegistryChanged(fact) => register(view, id, event, fact),
        Fact::HqRegistryChanged(fact) => register(view, id, event, &fact.0),
        Fact::ConflictSettled(fact) => settle(view, id, at, (&fact.conflict, &fact.by)),
        Fact::HqConflictSettled(fact) => settle(view, id, at, (&fact.0.conflict, &fact.0.by)),
        _ => fold_transfer(view, (store, by), at, &event.fact),
    }
}

fn add(sum: &mut i64, quantity: i64) {
    *sum = sum.saturating_add(quantity);
}

fn open_promise(
    view: &mut View<'_>,
    (store, by): (StoreId, FactRef),
    at: UnixMillis,
    fact: &PromiseOpened,
) -> Result<(), FoldError> {
    rights(view, (store, fact.sku, by.epoch), |item| add(&mut item.promised, fact.quantity.0))?;
    view.change(ItemKey::fact(store, Class::Promise, by), |item| {
        if let Item::Promise(item) = item {
            item.quantity = fact.quantity.0;
        }
    })?;
    let opened = ReservationOpened {
        sku: fact.sku,
        quantity: fact.quantity,
        channel: fact.channel.clone(),
        reference: fact.reference.clone(),
        expires: fact.expires,
    };
    view.change(ItemKey::fact(store, Class::Reservation, by), |item| {
        if let Item::Reservation(item) = item {
            item.opened = Some((at, opened));
        }
    })?;
    Ok(())
}

/// What an ending changes: the reservation it names, what counted before it and what counts with it.
struct Settled {
    named: FactRef,
    before: Option<Ended>,
    after: Ended,
    /// The row to keep; a plain reservation that ended once has none.
    item: Option<PromiseItem>,
}

/// Looks at a fact that ends a reservation; `None` for every other fact.
fn ending(view: &View<'_>, id: EventId, event: &Event) -> rusqlite::Result<Option<Settled>> {
    let (named, outcome, sku, quantity, rights) = match &event.fact {
        Fact::ReservationClosed(fact) => (fact.reservation, fact.outcome, fact.sku, fact.quantity.0, false),
        Fact::PromiseClosed(fact) => (fact.promise, fact.outcome, fact.sku, fact.quantity.0, true),
        _ => return Ok(None),
    };
    let known = match view.item(&ItemKey::fact(id.log.store, Class::Promise, named))? {
        Some(Item::Promise(item)) => Some(item),
        _ => None,
    };
    let keep = known.is_some() || rights;
    let mut item = known.unwrap_or_default();
    if !keep
        && let Some(Item::Reservation(row)) =
            view.item(&ItemKey::fact(id.log.store, Class::Reservation, named))?
        && let (Some(by), Some((at, outcome))) = (row.closed.by(), row.closed.get())
    {
        item.set(by, *outcome, Ending { at: *at, sku, quantity, rights: false });
    }
    let before = item.stands();
    let ending = Ending { at: event.stamp.at, sku, quantity, rights };
    item.set(FactRef::from(id), outcome, ending.clone());
    let after = item.stands().unwrap_or((FactRef::from(id), outcome, ending));
    let keep = keep || before.is_some();
    Ok(Some(Settled { named, before, after, item: keep.then_some(item) }))
}

/// Goods of a reservation are free again once, however often it ended.
pub(crate) fn end_once(
    view: &View<'_>,
    id: EventId,
    event: &Event,
    postings: &mut Postings,
) -> rusqlite::Result<()> {
    let Some(change) = ending(view, id, event)? else { return Ok(()) };
    let Some((by, _, before)) = change.before else { return Ok(()) };
    let (now, _, after) = change.after;
    postings.stock.clear();
    if now == by || (before.sku, before.quantity) == (after.sku, after.quantity) {
        return Ok(());
    }
    for (ending, sign) in [(before, -1), (after, 1)] {
        for (account, sign) in [(StockAccount::Reserved, -sign), (StockAccount::OnHand, sign)] {
            let quantity = Milli(ending.quantity.saturating_mul(sign));
            postings.stock.push(StockPosting { account, sku: ending.sku, lot: LotId::default(), quantity });
        }
    }
    Ok(())
}

fn close_reservation(view: &mut View<'_>, id: EventId, event: &Event) -> Result<(), FoldError> {
    let Some(change) = ending(view, id, event)? else { return Ok(()) };
    let Settled { named, before, after, item } = change;
    let store = id.log.store;
    if before.as_ref().map(|(by, ..)| by) != Some(&after.0) {
        for ((by, outcome, ending), sign) in before.iter().map(|ended| (ended, -1)).chain([(&after, 1)]) {
            let quantity = ending.quantity.saturating_mul(sign);
            match outcome {
                _ if !ending.rights => {}
                ReservationOutcome::Voided => rights(view, (store, ending.sku, named.epoch), |item| {
                    add(&mut item.voided, quantity);
                })?,
                ReservationOutcome::Posted => rights(view, (store, ending.sku, by.epoch), |item| {
                    add(&mut item.posted, quantity);
                })?,
            }
        }
    }
    view.change(ItemKey::fact(store, Class::Reservation, named), |item| {
        if let Item::Reservation(item) = item {
            item.closed.put(after.0, (after.2.at, after.1));
        }
    })?;
    if let Some(item) = item {
        view.job.items.insert(ItemKey::fact(store, Class::Promise, named), Item::Promise(item));
    }
    Ok(())
}

fn add_lines(sums: &mut BTreeMap<Sku, i64>, lines: &[TransferLine]) {
    for line in lines {
        add(sums.entry(line.sku).or_default(), line.quantity.0);
    }
}

fn fold_transfer(
    view: &mut View<'_>,
    (store, by): (StoreId, FactRef),
    at: UnixMillis,
    fact: &Fact,
) -> Result<(), FoldError> {
    match fact {
        Fact::TransferOut(fact) => view.change(ItemKey::fact(store, Class::Sent, by), |item| {
            if let Item::Sent(item) = item {
                item.sent = Some((at, fact.to));
                add_lines(&mut item.lines, &fact.lines);
            }
        })?,
        Fact::TransferIn(fact) => view.change(arrived_key(store, fact.from, fact.of), |item| {
            if let Item::Arrived(item) = item {
                add_lines(&mut item.lines, &fact.lines);
            }
        })?,
        Fact::TransferClosed(fact) => view.change(ItemKey::fact(store, Class::Sent, fact.of), |item| {
            if let Item::Sent(item) = item {
                add_lines(&mut item.shrink, &fact.lines);
                item.closed = true;
            }
        })?,
        _ => {}
    }
    Ok(())
}

fn settle(
    view: &mut View<'_>,
    id: EventId,
    at: UnixMillis,
    (conflict, who): (&Text<32>, &Text<32>),
) -> Result<(), FoldError> {
    view.change(settled_key(id.log.store, conflict.as_str()), |item| {
        if let Item::Settled(item) = item {
            let side = if id.log.direction == Direction::Up { &mut item.store } else { &mut item.hq };
            side.set(FactRef::from(id), (at, who.clone()));
        }
    })?;
    Ok(())
}

pub(crate) fn settled_key(store: StoreId, conflict: &str) -> ItemKey {
    ItemKey { store, class: Class::Settled, key: conflict.as_bytes().to_vec() }
}

pub(crate) fn register_key(store: StoreId, name: &str) -> ItemKey {
    ItemKey { store, class: Class::Register, key: name.as_bytes().to_vec() }
}

pub(crate) fn registry_key(store: StoreId) -> ItemKey {
    ItemKey { store, class: Class::Registry, key: Vec::new() }
}

/// First bytes of a hash over an event, for the gate.
fn digest(event: &Event) -> [u8; 8] {
    let record = event.to_record().unwrap_or_default();
    let mut digest = [0; 8];
    let mut hasher = blake3::Hasher::new_derive_key("steelyard 2026 register operation 1");
    hasher.update(&record).finalize_xof().fill(&mut digest);
    digest
}

/// What the writer had seen, as the gate takes it.
fn seen(context: &WriteContext, actor: Actor) -> Clock {
    context.seen.iter().filter(|(who, _)| *who != actor.0).map(|(who, count)| (Actor(*who), *count)).collect()
}

/// The register or registry that a fact writes, and the context of the write.
fn object(store: StoreId, fact: &mut Fact) -> Option<(ItemKey, &mut WriteContext)> {
    match fact {
        Fact::RegisterWritten(fact) | Fact::HqRegisterWritten(HqRegisterWritten(fact)) => {
            Some((register_key(store, fact.name.as_str()), &mut fact.write))
        }
        Fact::RegistryChanged(fact) | Fact::HqRegistryChanged(HqRegistryChanged(fact)) => {
            Some((registry_key(store), &mut fact.write))
        }
        _ => None,
    }
}

/// A record that moves to another log has seen what its writer wrote under the old name and what stays there: `stayed` counts it
/// by object.
pub(crate) fn saw_before(fact: &mut Fact, log: LogId, stayed: &BTreeMap<ItemKey, u64>) {
    let Some((key, context)) = object(log.store, fact) else { return };
    let Some(count) = stayed.get(&key).filter(|count| **count > 0) else { return };
    let mut seen: Clock = context.seen.iter().map(|(actor, count)| (Actor(*actor), *count)).collect();
    seen.insert(Actor::of(log), *count);
    sync_registers::shorten(&mut seen);
    context.seen = seen.into_iter().map(|(actor, count)| (actor.0, count)).collect();
}

fn refused(error: sync_registers::GateError) -> FoldError {
    FoldError::Gate { code: error.code(), detail: error.to_string() }
}

fn write(view: &mut View<'_>, id: EventId, event: &Event, fact: &RegisterWritten) -> Result<(), FoldError> {
    let key = register_key(id.log.store, fact.name.as_str());
    let mut state = match view.item(&key)? {
        Some(Item::Register(state)) => state,
        _ => Register::default(),
    };
    let actor = Actor::of(id.log);
    let dot = state.next(actor, Hlc(fact.write.hlc), fact.value.clone()).dot;
    let write =
        Write { dot, hlc: Hlc(fact.write.hlc), seen: seen(&fact.write, actor), value: fact.value.clone() };
    state.apply(write, digest(event)).map_err(refused)?;
    view.job.items.insert(key, Item::Register(state));
    Ok(())
}

fn register(
    view: &mut View<'_>,
    id: EventId,
    event: &Event,
    fact: &RegistryChanged,
) -> Result<(), FoldError> {
    let key = registry_key(id.log.store);
    let mut state = match view.item(&key)? {
        Some(Item::Registry(state)) => state,
        _ => Registry::default(),
    };
    let (actor, hlc) = (Actor::of(id.log), Hlc(fact.write.hlc));
    let dot: Dot = state.next(actor, hlc, fact.device.clone(), fact.entry.clone()).write.dot;
    let write = Write { dot, hlc, seen: seen(&fact.write, actor), value: fact.entry.clone() };
    state.apply(Change { key: fact.device.clone(), write }, digest(event)).map_err(refused)?;
    view.job.items.insert(key, Item::Registry(state));
    Ok(())
}

pub(crate) fn context<V>(write: &Write<V>) -> WriteContext {
    let seen = write.seen.iter().map(|(actor, count)| (actor.0, *count)).collect();
    WriteContext { count: write.dot.count, hlc: write.hlc.0, seen }
}
