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

/// Rights rows by store and epoch.
type Rows = BTreeMap<(StoreId, Epoch), RightsItem>;

/// Store, key and body as stored.
type StoredRow = (u32, Vec<u8>, Vec<u8>);

impl Office for Draft<'_> {
    fn newest_up(&mut self, store: StoreId) -> Result<Option<Epoch>, Refusal> {
        Ok(self.newest_log(store, Direction::Up).map(|log| log.epoch))
    }

    fn rights_row(&mut self, store: StoreId, sku: Sku, epoch: Epoch) -> Result<RightsItem, Refusal> {
        let key = rights_key(store, sku, epoch);
        Ok(match self.view(|view| view.item(&key))? {
            Some(Item::Rights(item)) => item,
            _ => RightsItem::default(),
        })
    }

    fn pool(&mut self, sku: Sku) -> Result<Milli, Refusal> {
        let rows = self.rights_rows(None, sku)?;
        Ok(pool_of(rows.iter().map(|((store, _), row)| (*store, row))))
    }
}

impl Draft<'_> {
    /// Rights rows of one article: of one store, or of all.
    fn rights_rows(&mut self, store: Option<StoreId>, sku: Sku) -> Result<Rows, Refusal> {
        let sql = "SELECT i.store, i.key, i.body FROM (SELECT DISTINCT store FROM log) AS l CROSS JOIN item AS i
                   ON i.store = l.store WHERE i.class = ?1 AND i.key >= ?2 AND i.key < ?3 AND (?4 IS NULL OR l.store = ?4)";
        let (from, upto) = (sku.0.to_be_bytes(), sku.0.saturating_add(1).to_be_bytes());
        let read = |conn: &rusqlite::Connection| -> rusqlite::Result<Vec<StoredRow>> {
            let keys = params![Class::Rights.code(), from, upto, store.map(|store| store.0)];
            conn.prepare_cached(sql)?
                .query_map(keys, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect()
        };
        let found = read(self.conn());
        let mut rows = Rows::new();
        for (store, key, body) in self.sql(found)? {
            if let (Some((_, epoch)), Some(Item::Rights(item))) =
                (rights_name(&key), Item::from_body(Class::Rights, &body))
            {
                rows.insert((StoreId(store), epoch), item);
            }
        }
        self.view(|view| {
            for layer in [view.group, &*view.job] {
                for (key, item) in &layer.items {
                    let Item::Rights(item) = item else { continue };
                    let Some((of, epoch)) = rights_name(&key.key) else { continue };
                    if of == sku && store.is_none_or(|store| store == key.store) {
                        rows.insert((key.store, epoch), *item);
                    }
                }
            }
            Ok(())
        })?;
        Ok(rows)
    }

    fn fenced(&mut self, store: StoreId, epoch: Epoch) -> Result<bool, Refusal> {
        Ok(self.rights_row(store, Sku(0), epoch)?.fences > 0)
    }

    fn own(&self) -> Result<LogId, Refusal> {
        let log = match self.owner() {
            // Not the newest: an epoch that HQ gave back, of a copied disk, is one that this ledger does not write.
            Owner::Store(store) => self.open_log(store, Direction::Up),
            Owner::Hq => None,
        };
        log.ok_or_else(|| Refusal::new("no-log", "HQ has no log of its own"))
    }

    /// What the store may promise of an article now; `None` when the article is not under shared rights here.
    pub fn rights(&mut self, sku: Sku) -> Result<Option<Milli>, Refusal> {
        let log = self.own()?;
        let rows = self.rights_rows(Some(log.store), sku)?;
        if rows.is_empty() {
            return Ok(None);
        }
        if self.fenced(log.store, log.epoch)? {
            return Ok(Some(Milli::ZERO));
        }
        let held = rows.get(&(log.store, log.epoch)).map_or(0, RightsItem::held);
        Ok(Some(Milli(held.max(0))))
    }

    /// Promises stock to a channel: with rights where the article is under shared rights, else a plain reservation.
    pub fn promise(&mut self, stamp: Stamp, opened: ReservationOpened) -> Result<EventId, Refusal> {
        if self.rights(opened.sku)?.is_none() {
            return self.append(&Event::new(stamp, opened));
        }
        let ReservationOpened { sku, quantity, channel, reference, expires } = opened;
        self.append(&Event::new(stamp, PromiseOpened { sku, quantity, channel, reference, expires }))
    }

    /// Ends a reservation or promise.
    pub fn end_promise(
        &mut self,
        stamp: Stamp,
        promise: FactRef,
        outcome: ReservationOutcome,
    ) -> Result<EventId, Refusal> {
        let unknown = || Refusal::new("unknown-reservation", format!("reservation {promise} does not exist"));
        let row = self.reservation(promise)?.ok_or_else(unknown)?;
        let (sku, quantity) = (row.opened.sku, row.opened.quantity);
        let fact: Fact = if self.is_promise(promise)? {
            PromiseClosed { promise, sku, quantity, outcome }.into()
        } else {
            sync_model::ReservationClosed { reservation: promise, sku, quantity, outcome }.into()
        };
        self.append(&Event::new(stamp, fact))
    }

    fn is_promise(&mut self, promise: FactRef) -> Result<bool, Refusal> {
        let key = ItemKey::fact(self.own()?.store, Class::Promise, promise);
        let item = self.view(|view| view.item(&key))?;
        Ok(matches!(item, Some(Item::Promise(item)) if item.quantity > 0))
    }

    /// What a store may not write. Goods that leave are never refused here.
    pub(crate) fn check_shared(&mut self, fact: &Fact) -> Result<(), Refusal> {
        match fact {
            Fact::ReservationOpened(fact) if self.rights(fact.sku)?.is_some() => {
                let detail = format!("article {} is under shared rights: promise it with them", fact.sku);
                Err(Refusal::new("needs-rights", detail))
            }
            Fact::PromiseOpened(fact) => self.check_held(fact.sku, fact.quantity),
            Fact::RightsReturned(fact) => self.check_held(fact.sku, fact.quantity),
            Fact::ReservationClosed(fact) if self.is_promise(fact.reservation)? => {
                let detail = format!("reservation {} holds rights: close the promise", fact.reservation);
                Err(Refusal::new("reservation-mismatch", detail))
            }
            Fact::PromiseClosed(fact) => {
                let promise = fact.promise;
                let row = if self.is_promise(promise)? { self.reservation(promise)? } else { None };
                let row = row.ok_or_else(|| {
                    Refusal::new("unknown-reservation", format!("promise {promise} does not exist"))
                })?;
                if row.closed.is_some() {
                    let detail = format!("promise {promise} has ended already");
                    return Err(Refusal::new("reservation-closed", detail));
                }
                if (row.opened.sku, row.opened.quantity) != (fact.sku, fact.quantity) {
                    let detail = format!("promise {promise} is for other goods");
                    return Err(Refusal::new("reservation-mismatch", detail));
                }
                Ok(())
            }
            Fact::RightsTaken(_) => {
                Err(Refusal::new("not-by-hand", "rights are taken by the fact that takes the goods"))
            }
            _ => Ok(()),
        }
    }

    fn check_held(&mut self, sku: Sku, quantity: Milli) -> Result<(), Refusal> {
        let held = self.rights(sku)?.unwrap_or(Milli::ZERO);
        if quantity > held {
            return Err(Refusal::new(
                "no-rights",
                format!("{quantity} of article {sku} wanted, rights to {held} held"),
            ));
        }
        Ok(())
    }

    /// Writes a fact. What goods that leave by it take is written before it: a log that is cut between the two must not know of
    /// goods that left without having taken anything.
    pub(crate) fn write_taking(&mut self, log: LogId, event: &Event) -> Result<EventId, Refusal> {
        let taken = self.takings(log.store, &event.fact)?;
        if !taken.is_empty() {
            let (head, count) = (self.head(log)?.map_or(Seq::ZERO, |(head, _)| head), taken.len());
            let after = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
            let of = FactRef { epoch: log.epoch, seq: Seq(head.0.saturating_add(after)) };
            for (sku, [posted, rights, shortfall]) in taken {
                let taken = RightsTaken { sku, of, posted, rights, shortfall };
                self.write(log, &Event::new(event.stamp, taken))?;
            }
        }
        self.write(log, event)
    }

    /// What goods that leave take: posted promises cover them first, then rights, the rest is a shortfall.
    fn takings(&mut self, store: StoreId, fact: &Fact) -> Result<Vec<(Sku, [Milli; 3])>, Refusal> {
        let mut gone: BTreeMap<Sku, i64> = BTreeMap::new();
        let mut leave = |sku: Sku, quantity: Milli| add(gone.entry(sku).or_default(), quantity.0);
        match fact {
            Fact::Sale(sale) => sale.lines.iter().for_each(|line| leave(line.sku, line.quantity)),
            Fact::Waste(waste) => leave(waste.sku, waste.quantity),
            Fact::TransferOut(out) => out.lines.iter().for_each(|line| leave(line.sku, line.quantity)),
            _ => return Ok(Vec::new()),
        }
        let mut taken = Vec::new();
        for (sku, quantity) in gone.into_iter().filter(|(_, quantity)| *quantity > 0) {
            let Some(held) = self.rights(sku)? else { continue };
            // Posted in whichever epoch: the goods were put aside then.
            let rows = self.rights_rows(Some(store), sku)?;
            let waiting = rows
                .values()
                .fold(0_i64, |waiting, row| waiting.saturating_add(row.posted).saturating_sub(row.fulfilled));
            let posted = quantity.min(waiting.max(0));
            let rights = (quantity - posted).min(held.0);
            taken.push((sku, [posted, rights, quantity - posted - rights].map(Milli)));
        }
        Ok(taken)
    }

    /// Rights of an article that HQ holds itself.
    pub fn pool(&mut self, sku: Sku) -> Result<Milli, Refusal> {
        Office::pool(self, sku)
    }

    /// Grants rights to the newest epoch of a store.
    pub fn grant(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        sku: Sku,
        quantity: Milli,
    ) -> Result<EventId, Refusal> {
        let grant = grant_fact(self, store, sku, quantity)?;
        self.append_down(store, &Event::new(stamp, grant))
    }

    /// Fences an epoch: it may promise no more, and what HQ knows it to hold goes back to the pool.
    pub fn fence(&mut self, stamp: Stamp, store: StoreId, epoch: Epoch) -> Result<Vec<EventId>, Refusal> {
        let log = LogId { store, direction: Direction::Up, epoch };
        let (upto, _) = self.head(log)?.ok_or_else(|| {
            Refusal::new("wrong-epoch", format!("no epoch {epoch} of store {store} is known"))
        })?;
        let articles = self.articles_with_rights(store)?;
        let facts = fence_facts(self, (store, epoch, upto), &articles)?;
        facts.into_iter().map(|fact| self.append_down(store, &Event::new(stamp, fact))).collect()
    }

    fn articles_with_rights(&mut self, store: StoreId) -> Result<Vec<Sku>, Refusal> {
        let sql = "SELECT key FROM item WHERE store = ?1 AND class = ?2";
        let read = |conn: &rusqlite::Connection| -> rusqlite::Result<Vec<Vec<u8>>> {
            let keys = params![store.0, Class::Rights.code()];
            conn.prepare_cached(sql)?.query_map(keys, |row| row.get(0))?.collect()
        };
        let found = read(self.conn());
        let mut keys = self.sql(found)?;
        self.view(|view| {
            for layer in [view.group, &*view.job] {
                let rights =
                    layer.items.keys().filter(|key| key.store == store && key.class == Class::Rights);
                keys.extend(rights.map(|key| key.key.clone()));
            }
            Ok(())
        })?;
        let mut skus: Vec<Sku> = keys.iter().filter_map(|key| Some(rights_name(key)?.0)).collect();
        skus.sort_unstable();
        skus.dedup();
        Ok(skus)
    }

    /// Actor that this ledger writes as, for one store. Nobody's name when the next event opens a new log: a write in it has
    /// seen every earlier epoch as another's.
    fn actor(&self, store: StoreId) -> Actor {
        let direction = match self.owner() {
            Owner::Store(_) => Direction::Up,
            Owner::Hq => Direction::Down,
        };
        self.open_log(store, direction).map_or(Actor(u64::MAX), Actor::of)
    }

    /// Writes of a log to each object that `moving`, the log's last records, write to, less those.
    pub(crate) fn writes_before(
        &mut self,
        log: LogId,
        moving: &[Vec<u8>],
    ) -> Result<BTreeMap<ItemKey, u64>, Refusal> {
        let mut counts: BTreeMap<ItemKey, u64> = BTreeMap::new();
        for record in moving {
            let Ok(mut event) = Event::from_record(record) else { continue };
            if let Some((key, _)) = object(log.store, &mut event.fact) {
                *counts.entry(key).or_default() += 1;
            }
        }
        for (key, count) in &mut counts {
            let all = match self.view(|view| view.item(key))? {
                Some(Item::Register(state)) => state.count(Actor::of(log)),
                Some(Item::Registry(state)) => state.count(Actor::of(log)),
                _ => 0,
            };
            *count = all.saturating_sub(*count);
        }
        Ok(counts)
    }

    /// The next reading of the hybrid clock, after every reading in `heard` that is not too far ahead.
    fn hlc(&mut self, stamp: Stamp, heard: &[Hlc]) -> Result<Hlc, Refusal> {
        let kept = self.state(HLC_KEY)?.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let mut clock = HlcClock::after(Hlc(kept.unwrap_or(0)));
        for reading in heard {
            clock.witness(*reading, stamp.at, stamp.clock);
        }
        let next = clock.tick(stamp.at);
        self.put_state(HLC_KEY, Some(&next.0.to_be_bytes()))?;
        Ok(next)
    }

    /// Writes a register of a store: at the store, or at HQ for it.
    pub fn write_register(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        name: Text<64>,
        value: RegisterValue,
    ) -> Result<EventId, Refusal> {
        let key = register_key(store, name.as_str());
        let state = match self.view(|view| view.item(&key))? {
            Some(Item::Register(state)) => state,
            _ => Register::default(),
        };
        let heard: Vec<Hlc> = state.standing().iter().map(|write| write.hlc).collect();
        let hlc = self.hlc(stamp, &heard)?;
        let next = state.next(self.actor(store), hlc, value);
        let fact = RegisterWritten { name, value: next.value.clone(), write: context(&next) };
        match self.owner() {
            Owner::Store(_) => self.append(&Event::new(stamp, fact)),
            Owner::Hq => self.append_down(store, &Event::new(stamp, HqRegisterWritten(fact))),
        }
    }

    /// Adds, describes or removes a device of a store's registry: at the store, or at HQ for it.
    pub fn change_registry(
        &mut self,
        stamp: Stamp,
        store: StoreId,
        device: DeviceId,
        entry: Option<DeviceEntry>,
    ) -> Result<EventId, Refusal> {
        let key = registry_key(store);
        let state = match self.view(|view| view.item(&key))? {
            Some(Item::Registry(state)) => state,
            _ => Registry::default(),
        };
        let heard: Vec<Hlc> =
            state.histories().flat_map(|(_, history)| history.standing()).map(|write| write.hlc).collect();
        let hlc = self.hlc(stamp, &heard)?;
        let Change { key: device, write } = state.next(self.actor(store), hlc, device, entry);
        let fact = RegistryChanged { device, entry: write.value.clone(), write: context(&write) };
        match self.owner() {
            Owner::Store(_) => self.append(&Event::new(stamp, fact)),
            Owner::Hq => self.append_down(store, &Event::new(stamp, HqRegistryChanged(fact))),
        }
    }
}

pub(crate) fn context<V>(write: &Write<V>) -> WriteContext {
    let seen = write.seen.iter().map(|(actor, count)| (actor.0, *count)).collect();
    WriteContext { count: write.dot.count, hlc: write.hlc.0, seen }
}
