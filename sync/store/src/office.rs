//! HQ's own rules about what it writes for a store: the same for every engine that keeps HQ's ledger.
//!
//! Contract: nothing here writes. An engine shows what it has ([`Office`]), asks what may be written, and writes it in the same
//! transaction. The pool is what all stores together left over, so an engine with several writers holds a lock on it from
//! the question to the commit.

use crate::fold::View;
use crate::item::{Class, Item};
use crate::shared::{
    FENCE_LINES_MAX, RightsItem, context, pool_of, register_key, registry_key, rights_key, rights_name,
};
use crate::{Folder, Refusal};
use std::collections::BTreeMap;
use sync_model::{
    DeviceEntry, DeviceId, Epoch, EpochFenced, Fact, FencedLine, HqRegisterWritten, HqRegistryChanged, LogId,
    Milli, RegisterValue, RegisterWritten, RegistryChanged, Seq, Sku, Stamp, StoreId, Text,
};
use sync_registers::{Actor, Change, Hlc, HlcClock, Register, Registry};

/// What HQ's rules look at.
pub trait Office {
    /// The newest epoch of a store's own log.
    fn newest_up(&mut self, store: StoreId) -> Result<Option<Epoch>, Refusal>;
    /// Rights of one article held by one epoch of a store; article 0 counts its fences.
    fn rights_row(&mut self, store: StoreId, sku: Sku, epoch: Epoch) -> Result<RightsItem, Refusal>;
    /// Rights of an article that HQ holds itself.
    fn pool(&mut self, sku: Sku) -> Result<Milli, Refusal>;
}

/// Whose pool a fact draws on, if any.
pub fn draws_on(fact: &Fact) -> Option<(Sku, Milli)> {
    match fact {
        Fact::RightsGranted(grant) => Some((grant.sku, grant.quantity)),
        Fact::RightsIssued(issue) if issue.quantity.0 < 0 => {
            Some((issue.sku, Milli(issue.quantity.0.saturating_neg())))
        }
        _ => None,
    }
}

/// Refuses what HQ may not write for a store.
pub fn check_office(office: &mut impl Office, store: StoreId, fact: &Fact) -> Result<(), Refusal> {
    if let Fact::RightsGranted(grant) = fact {
        let known = office.newest_up(store)?;
        let fenced = office.rights_row(store, Sku(0), grant.epoch)?.fences > 0;
        if known != Some(grant.epoch) || fenced {
            let detail = format!("epoch {} of store {store} is fenced or not its newest", grant.epoch);
            return Err(Refusal::new("wrong-epoch", detail));
        }
    }
    let Some((sku, quantity)) = draws_on(fact) else { return Ok(()) };
    let pool = office.pool(sku)?;
    if quantity > pool {
        let detail = format!("{quantity} of article {sku} wanted, the pool has {pool}");
        return Err(Refusal::new("pool-empty", detail));
    }
    Ok(())
}

/// The grant of rights to a store's newest epoch.
pub fn grant_fact(
    office: &mut impl Office,
    store: StoreId,
    sku: Sku,
    quantity: Milli,
) -> Result<Fact, Refusal> {
    let unheard = || Refusal::new("wrong-epoch", format!("nothing was heard of store {store} yet"));
    let epoch = office.newest_up(store)?.ok_or_else(unheard)?;
    Ok(sync_model::RightsGranted { epoch, sku, quantity }.into())
}

/// The facts that fence an epoch whose log HQ has up to `upto`: what it is known to hold goes back to the pool.
pub fn fence_facts(
    office: &mut impl Office,
    (store, epoch, upto): (StoreId, Epoch, Seq),
    articles: &[Sku],
) -> Result<Vec<Fact>, Refusal> {
    let mut lines = Vec::new();
    for sku in articles.iter().copied().filter(|sku| *sku != Sku(0)) {
        let held = office.rights_row(store, sku, epoch)?.held();
        if held > 0 {
            lines.push(FencedLine { sku, quantity: Milli(held) });
        }
    }
    let mut chunks: Vec<Vec<FencedLine>> = lines.chunks(FENCE_LINES_MAX).map(<[_]>::to_vec).collect();
    if chunks.is_empty() {
        chunks.push(Vec::new());
    }
    Ok(chunks.into_iter().map(|lines| EpochFenced { epoch, upto, lines }.into()).collect())
}

/// Class of the item rows that hold rights.
pub fn rights_class() -> i64 {
    Class::Rights.code()
}

/// First and last key, the last excluded, of the rights rows of an article.
pub fn rights_keys(sku: Sku) -> ([u8; 8], [u8; 8]) {
    (sku.0.to_be_bytes(), sku.0.saturating_add(1).to_be_bytes())
}

/// Committed rights rows of one article, of every store: store, key and body of each item row.
pub type StoredRights = [(StoreId, Vec<u8>, Vec<u8>)];

/// Where the next reading of the hybrid clock stands.
pub type ClockReading = u64;

impl Folder {
    fn rights_changed(&self) -> impl Iterator<Item = (StoreId, Sku, Epoch, &RightsItem)> {
        self.pending_items().filter_map(|(key, item)| match item {
            Item::Rights(rights) => {
                let (sku, epoch) = rights_name(&key.key)?;
                Some((key.store, sku, epoch, rights))
            }
            _ => None,
        })
    }

    /// Rights of one article held by one epoch; noted as missing when it is not known.
    pub fn rights_row(&mut self, store: StoreId, sku: Sku, epoch: Epoch) -> RightsItem {
        let key = rights_key(store, sku, epoch);
        match self.with_view(|view: &mut View<'_>| view.item(&key)) {
            Ok(Some(Item::Rights(item))) => item,
            _ => RightsItem::default(),
        }
    }

    /// The pool of an article: committed rows of every store, and over them what this batch changed.
    pub fn pool(&self, sku: Sku, stored: &StoredRights) -> Milli {
        let mut rows: BTreeMap<(StoreId, Epoch), RightsItem> = BTreeMap::new();
        for (store, key, body) in stored {
            if let (Some((_, epoch)), Some(Item::Rights(item))) =
                (rights_name(key), Item::from_body(Class::Rights, body))
            {
                rows.insert((*store, epoch), item);
            }
        }
        for (store, _, epoch, item) in self.rights_changed().filter(|(_, of, ..)| *of == sku) {
            rows.insert((store, epoch), *item);
        }
        pool_of(rows.iter().map(|((store, _), row)| (*store, row)))
    }

    /// Articles a store has rights rows of: those of the committed `keys`, and those of this batch.
    pub fn rights_articles(&self, store: StoreId, keys: &[Vec<u8>]) -> Vec<Sku> {
        let mut skus: Vec<Sku> = keys.iter().filter_map(|key| Some(rights_name(key)?.0)).collect();
        skus.extend(self.rights_changed().filter(|(of, ..)| *of == store).map(|(_, sku, ..)| sku));
        skus.sort_unstable();
        skus.dedup();
        skus
    }

    /// HQ's write to a register of a store, by the log that will hold it (`None`: a log that is yet to be opened). Answers
    /// the clock's reading with it.
    pub fn register_fact(
        &mut self,
        (stamp, last): (Stamp, ClockReading),
        (store, log): (StoreId, Option<LogId>),
        name: Text<64>,
        value: RegisterValue,
    ) -> (Fact, ClockReading) {
        let key = register_key(store, name.as_str());
        let state = match self.with_view(|view| view.item(&key)) {
            Ok(Some(Item::Register(state))) => state,
            _ => Register::default(),
        };
        let heard: Vec<Hlc> = state.standing().iter().map(|write| write.hlc).collect();
        let hlc = reading(stamp, last, &heard);
        let next = state.next(actor(log), hlc, value);
        let fact = RegisterWritten { name, value: next.value.clone(), write: context(&next) };
        (HqRegisterWritten(fact).into(), hlc.0)
    }

    /// HQ's change to the device registry of a store, as [`Folder::register_fact`].
    pub fn registry_fact(
        &mut self,
        (stamp, last): (Stamp, ClockReading),
        (store, log): (StoreId, Option<LogId>),
        device: DeviceId,
        entry: Option<DeviceEntry>,
    ) -> (Fact, ClockReading) {
        let key = registry_key(store);
        let state = match self.with_view(|view| view.item(&key)) {
            Ok(Some(Item::Registry(state))) => state,
            _ => Registry::default(),
        };
        let heard: Vec<Hlc> =
            state.histories().flat_map(|(_, history)| history.standing()).map(|write| write.hlc).collect();
        let hlc = reading(stamp, last, &heard);
        let Change { key: device, write } = state.next(actor(log), hlc, device, entry);
        let fact = RegistryChanged { device, entry: write.value.clone(), write: context(&write) };
        (HqRegistryChanged(fact).into(), hlc.0)
    }
}

fn actor(log: Option<LogId>) -> Actor {
    log.map_or(Actor(u64::MAX), Actor::of)
}

fn reading(stamp: Stamp, last: ClockReading, heard: &[Hlc]) -> Hlc {
    let mut clock = HlcClock::after(Hlc(last));
    for reading in heard {
        clock.witness(*reading, stamp.at, stamp.clock);
    }
    clock.tick(stamp.at)
}
