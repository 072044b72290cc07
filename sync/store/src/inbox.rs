//! What people look at after a merge: conflicts with both sides, rights and the pool, transfers under way, registers.

use crate::item::{Class, Item, ItemKey, Latest};
use crate::rows::Answer;
use crate::shared::{Ending, RightsItem, SentItem, arrived_key, pool_of, rights_name, settled_key};
use crate::{LedgerError, Reader};
use rusqlite::{OptionalExtension, params};
use std::collections::BTreeMap;
use std::fmt::Debug;
use sync_model::{
    DeviceEntry, DeviceId, Epoch, FactRef, Milli, RegisterValue, Sku, StoreId, Text, UnixMillis,
};
use sync_registers::Write;

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictSide {
    /// Who wrote it: `store.epoch`, or `hq.epoch`.
    pub by: String,
    /// When, by the writer's clock.
    pub at: UnixMillis,
    /// What it says.
    pub value: String,
    /// Whether it is in force.
    pub stands: bool,
}

/// A merge that dropped or combined a business value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictRow {
    /// Names it for ever: 16 hex digits.
    pub id: String,
    /// The store it happened in.
    pub store: StoreId,
    /// `value-dropped`, `values-both`, `device-kept`, `device-both`, `promise-both`, `fence-overspent`, `transfer-surplus`.
    pub kind: &'static str,
    /// Register, device, article or transfer.
    pub subject: String,
    /// Both sides.
    pub sides: Vec<ConflictSide>,
    /// When and by whom it was settled.
    pub settled: Option<(UnixMillis, Text<32>)>,
}

/// Rights of one article held by one epoch of one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RightsRow {
    /// The store.
    pub store: StoreId,
    /// The article.
    pub sku: Sku,
    /// The epoch; 0 holds what the store put into the pool.
    pub epoch: Epoch,
    /// The sums.
    pub sums: RightsItem,
}

/// One article of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRow {
    /// Sender.
    pub from: StoreId,
    /// Its transfer-out fact.
    pub of: FactRef,
    /// Receiver; `None` while the sender's fact is still on its way.
    pub to: Option<StoreId>,
    /// When it was sent.
    pub sent_at: Option<UnixMillis>,
    /// Article.
    pub sku: Sku,
    /// Sent.
    pub sent: Milli,
    /// Arrived, wherever.
    pub arrived: Milli,
    /// Booked as lost.
    pub shrink: Milli,
    /// Whether HQ closed it.
    pub closed: bool,
}

impl TransferRow {
    /// Neither arrived nor booked as lost.
    pub fn in_transit(&self) -> Milli {
        Milli(self.sent.0.saturating_sub(self.arrived.0).saturating_sub(self.shrink.0))
    }
}

/// A register as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterRow {
    /// Its name.
    pub name: String,
    /// Values that stand: one for `note/…`, all for everything else; the last has the greatest marker.
    pub values: Vec<RegisterValue>,
}

/// Whether a register is read as one value.
fn one_value(name: &str) -> bool {
    name.starts_with("note/")
}

fn conflict_id(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("steelyard 2026 conflict id 1");
    for part in parts {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let hash = hasher.finalize();
    hash.as_bytes().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn side<V: Eq + Clone + Debug>(
    write: &Write<V>,
    standing: &[Write<V>],
    winner_only: bool,
    say: impl Fn(&V) -> String,
) -> ConflictSide {
    let stands = if winner_only {
        standing.last().is_some_and(|last| last.dot == write.dot)
    } else {
        standing.iter().any(|other| other.dot == write.dot)
    };
    ConflictSide { by: write.dot.actor.to_string(), at: write.hlc.millis(), value: say(&write.value), stands }
}

fn say_value(value: &RegisterValue) -> String {
    match value {
        RegisterValue::Cleared => "cleared".to_owned(),
        RegisterValue::Number(number) => number.to_string(),
        RegisterValue::Note(note) => note.to_string(),
    }
}

fn say_entry(entry: &Option<DeviceEntry>) -> String {
    entry
        .as_ref()
        .map_or_else(|| "removed".to_owned(), |entry| format!("{} {}", entry.class.name(), entry.label))
}

/// Fold rows as the questions of [`Inbox`] need them, from whichever engine keeps them.
pub trait Shelf {
    /// Every store that has a log.
    fn stores(&self) -> Answer<Vec<StoreId>>;
    /// The newest epoch of a store's own log.
    fn newest_up(&self, store: StoreId) -> Answer<Option<Epoch>>;
    /// Keys and bodies of the item rows of one class of a store, by key.
    fn items(&self, store: StoreId, class: i64) -> Answer<Vec<(Vec<u8>, Vec<u8>)>>;
    /// Those of them that are open; at least these.
    fn open_items(&self, store: StoreId, class: i64) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        self.items(store, class)
    }
    /// Body of one item row.
    fn item(&self, store: StoreId, class: i64, key: &[u8]) -> Answer<Option<Vec<u8>>>;
    /// Bodies of the item rows with this class and key, of every store that has a log.
    fn items_anywhere(&self, class: i64, key: &[u8]) -> Answer<Vec<Vec<u8>>>;
}

/// What people look at after a merge, over the rows of any engine.
pub struct Inbox<'a>(pub &'a dyn Shelf);

impl Debug for Inbox<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Reader {
    fn read<T>(&self, read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>) -> Answer<T> {
        read(&self.conn).map_err(|error| LedgerError::sql("read shared items", &error))
    }
}

impl Shelf for Reader {
    fn stores(&self) -> Answer<Vec<StoreId>> {
        Self::stores(self)
    }

    fn newest_up(&self, store: StoreId) -> Answer<Option<Epoch>> {
        let up =
            |row: &crate::HeadRow| row.log.store == store && row.log.direction == sync_model::Direction::Up;
        Ok(self.heads()?.iter().filter(|row| up(row)).map(|row| row.log.epoch).max())
    }

    fn items(&self, store: StoreId, class: i64) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        self.read(|conn| {
            let sql = "SELECT key, body FROM item WHERE store = ?1 AND class = ?2 ORDER BY key";
            let mut statement = conn.prepare_cached(sql)?;
            statement.query_map(params![store.0, class], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    fn open_items(&self, store: StoreId, class: i64) -> Answer<Vec<(Vec<u8>, Vec<u8>)>> {
        self.read(|conn| {
            let sql = "SELECT key, body FROM item WHERE store = ?1 AND class = ?2 AND open = 1 ORDER BY key";
            let mut statement = conn.prepare_cached(sql)?;
            statement.query_map(params![store.0, class], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })
    }

    fn item(&self, store: StoreId, class: i64, key: &[u8]) -> Answer<Option<Vec<u8>>> {
        self.read(|conn| {
            let sql = "SELECT body FROM item WHERE store = ?1 AND class = ?2 AND key = ?3";
            conn.prepare_cached(sql)?.query_row(params![store.0, class, key], |row| row.get(0)).optional()
        })
    }

    fn items_anywhere(&self, class: i64, key: &[u8]) -> Answer<Vec<Vec<u8>>> {
        self.read(|conn| {
            let sql = "SELECT i.body FROM (SELECT DISTINCT store FROM log) AS l CROSS JOIN item AS i
                       ON i.store = l.store WHERE i.class = ?1 AND i.key = ?2";
            conn.prepare_cached(sql)?.query_map(params![class, key], |row| row.get(0))?.collect()
        })
    }
}

impl Reader {
    /// Conflicts of a store, by subject; settled ones only on demand.
    pub fn conflicts(&self, store: StoreId, settled: bool) -> Answer<Vec<ConflictRow>> {
        Inbox(self).conflicts(store, settled)
    }

    /// Rights of a store, of one article or of all.
    pub fn rights(&self, store: StoreId, sku: Option<Sku>) -> Answer<Vec<RightsRow>> {
        Inbox(self).rights(store, sku)
    }

    /// What a store may promise of an article now; `None` when it is not under shared rights there.
    pub fn rights_held(&self, store: StoreId, sku: Sku) -> Answer<Option<Milli>> {
        Inbox(self).rights_held(store, sku)
    }

    /// Rights that HQ holds itself, by article.
    pub fn pools(&self) -> Answer<BTreeMap<Sku, Milli>> {
        Inbox(self).pools()
    }

    /// Transfers that a store sent, per article. At HQ with what arrived anywhere.
    pub fn transfers_from(&self, store: StoreId) -> Answer<Vec<TransferRow>> {
        Inbox(self).transfers_from(store)
    }

    /// Every transfer that is not finished, and arrivals whose sender was not heard yet.
    pub fn transfers(&self) -> Answer<Vec<TransferRow>> {
        Inbox(self).transfers()
    }

    /// Registers of a store.
    pub fn registers(&self, store: StoreId) -> Answer<Vec<RegisterRow>> {
        Inbox(self).registers(store)
    }

    /// The device registry of a store.
    pub fn registry(&self, store: StoreId) -> Answer<Vec<(DeviceId, DeviceEntry)>> {
        Inbox(self).registry(store)
    }
}

impl Inbox<'_> {
    fn shared_items(&self, store: StoreId, class: Class) -> Answer<Vec<(ItemKey, Item)>> {
        let rows = self.0.items(store, class.code())?;
        let item = |(key, body): (Vec<u8>, Vec<u8>)| {
            Item::from_body(class, &body).map(|item| (ItemKey { store, class, key }, item))
        };
        Ok(rows.into_iter().filter_map(item).collect())
    }

    /// Conflicts of a store, by subject; settled ones only on demand.
    pub fn conflicts(&self, store: StoreId, settled: bool) -> Answer<Vec<ConflictRow>> {
        let mut rows = Vec::new();
        for (key, item) in self.shared_items(store, Class::Register)? {
            let Item::Register(register) = item else { continue };
            let name = String::from_utf8_lossy(&key.key).into_owned();
            let one = one_value(&name);
            let kind = if one { "value-dropped" } else { "values-both" };
            for (low, high) in register.conflicts() {
                let id = conflict_id(&["register", &name, &low.dot.to_string(), &high.dot.to_string()]);
                let sides =
                    [low, high].map(|write| side(write, register.standing(), one, say_value)).to_vec();
                rows.push(ConflictRow { id, store, kind, subject: name.clone(), sides, settled: None });
            }
        }
        self.registry_conflicts(store, &mut rows)?;
        self.ended_both_ways(store, &mut rows)?;
        self.overspent(store, &mut rows)?;
        self.surplus(store, &mut rows)?;
        for row in &mut rows {
            row.settled = self.settled(store, &row.id)?;
        }
        rows.retain(|row| settled || row.settled.is_none());
        Ok(rows)
    }

    fn registry_conflicts(&self, store: StoreId, rows: &mut Vec<ConflictRow>) -> Answer<()> {
        for (_, item) in self.shared_items(store, Class::Registry)? {
            let Item::Registry(registry) = item else { continue };
            for (device, history) in registry.histories() {
                for (low, high) in history.conflicts() {
                    let both = low.value.is_some() && high.value.is_some();
                    let (low_name, high_name) = (low.dot.to_string(), high.dot.to_string());
                    let id = conflict_id(&["device", device.as_str(), &low_name, &high_name]);
                    let sides =
                        [low, high].map(|write| side(write, history.standing(), false, say_entry)).to_vec();
                    let kind = if both { "device-both" } else { "device-kept" };
                    let subject = device.to_string();
                    rows.push(ConflictRow { id, store, kind, subject, sides, settled: None });
                }
            }
        }
        Ok(())
    }

    /// Reservations that were posted in one life of the store and voided in another.
    fn ended_both_ways(&self, store: StoreId, rows: &mut Vec<ConflictRow>) -> Answer<()> {
        for (key, item) in self.shared_items(store, Class::Promise)? {
            let (Item::Promise(item), Some(of)) = (item, key.fact_ref()) else { continue };
            let (Some(posted), Some(voided)) =
                (said(store, "posted", &item.posted, true), said(store, "voided", &item.voided, false))
            else {
                continue;
            };
            let subject = format!("reservation {of}");
            let id = conflict_id(&["reservation", &subject]);
            rows.push(ConflictRow {
                id,
                store,
                kind: "promise-both",
                subject,
                sides: vec![posted, voided],
                settled: None,
            });
        }
        Ok(())
    }

    /// Epochs that spent on after HQ had taken their rights back.
    fn overspent(&self, store: StoreId, rows: &mut Vec<ConflictRow>) -> Answer<()> {
        for row in self.rights(store, None)? {
            let held = row.sums.held();
            if held >= 0 {
                continue;
            }
            let subject = format!("article {}, epoch {}", row.sku, row.epoch);
            let id = conflict_id(&["fence", &subject]);
            let at = UnixMillis::default();
            let taken = ConflictSide {
                by: "hq".to_owned(),
                at,
                value: format!("took back {}", Milli(row.sums.fenced)),
                stands: true,
            };
            let spent = ConflictSide {
                by: format!("{store}.{}", row.epoch),
                at,
                value: format!("spent {} beyond its rights", Milli(-held)),
                stands: true,
            };
            let kind = "fence-overspent";
            rows.push(ConflictRow { id, store, kind, subject, sides: vec![taken, spent], settled: None });
        }
        Ok(())
    }

    /// Transfers of which more arrived than was sent. Only HQ knows both ends.
    fn surplus(&self, store: StoreId, rows: &mut Vec<ConflictRow>) -> Answer<()> {
        for row in self.transfers_from(store)? {
            if row.to.is_none() || row.arrived <= row.sent {
                continue;
            }
            let subject = format!("transfer {} of article {}", row.of, row.sku);
            let id = conflict_id(&["transfer", &subject]);
            let at = row.sent_at.unwrap_or_default();
            let sent = ConflictSide {
                by: row.from.to_string(),
                at,
                value: format!("sent {}", row.sent),
                stands: true,
            };
            let to = row.to.map(|to| to.to_string()).unwrap_or_default();
            let arrived =
                ConflictSide { by: to, at, value: format!("arrived {}", row.arrived), stands: true };
            let kind = "transfer-surplus";
            rows.push(ConflictRow { id, store, kind, subject, sides: vec![sent, arrived], settled: None });
        }
        Ok(())
    }

    fn settled(&self, store: StoreId, id: &str) -> Answer<Option<(UnixMillis, Text<32>)>> {
        let key = settled_key(store, id);
        let body = self.0.item(store, key.class.code(), &key.key)?;
        let item = body.and_then(|body| Item::from_body(Class::Settled, &body));
        let Some(Item::Settled(item)) = item else { return Ok(None) };
        Ok(item.store.get().or(item.hq.get()).cloned())
    }

    /// Rights of a store, of one article or of all.
    pub fn rights(&self, store: StoreId, sku: Option<Sku>) -> Answer<Vec<RightsRow>> {
        let items = self.shared_items(store, Class::Rights)?;
        let rows = items.into_iter().filter_map(|(key, item)| {
            let (Item::Rights(sums), (of, epoch)) = (item, rights_name(&key.key)?) else { return None };
            let wanted = of != Sku(0) && sku.is_none_or(|sku| sku == of);
            wanted.then_some(RightsRow { store, sku: of, epoch, sums })
        });
        Ok(rows.collect())
    }

    /// What a store may promise of an article now; `None` when it is not under shared rights there.
    pub fn rights_held(&self, store: StoreId, sku: Sku) -> Answer<Option<Milli>> {
        let rows = self.rights(store, Some(sku))?;
        let newest = self.0.newest_up(store)?;
        let fenced = self.shared_items(store, Class::Rights)?.iter().any(|(key, item)| {
            rights_name(&key.key) == newest.map(|epoch| (Sku(0), epoch))
                && matches!(item, Item::Rights(sums) if sums.fences > 0)
        });
        if rows.is_empty() {
            return Ok(None);
        }
        let held = rows.iter().find(|row| Some(row.epoch) == newest).map_or(0, |row| row.sums.held());
        Ok(Some(if fenced { Milli::ZERO } else { Milli(held.max(0)) }))
    }

    /// Rights that HQ holds itself, by article.
    pub fn pools(&self) -> Answer<BTreeMap<Sku, Milli>> {
        let mut rows: BTreeMap<Sku, Vec<(StoreId, RightsItem)>> = BTreeMap::new();
        for store in self.0.stores()? {
            for row in self.rights(store, None)? {
                rows.entry(row.sku).or_default().push((store, row.sums));
            }
        }
        let pool = |rows: &[(StoreId, RightsItem)]| pool_of(rows.iter().map(|(store, row)| (*store, row)));
        Ok(rows.iter().map(|(sku, rows)| (*sku, pool(rows))).collect())
    }

    /// Transfers that a store sent, per article. At HQ with what arrived anywhere.
    pub fn transfers_from(&self, store: StoreId) -> Answer<Vec<TransferRow>> {
        let mut rows = Vec::new();
        for (key, item) in self.shared_items(store, Class::Sent)? {
            let (Item::Sent(item), Some(of)) = (item, key.fact_ref()) else { continue };
            let arrived = self.arrived(store, of)?;
            rows.extend(transfer_rows(store, of, &item, &arrived));
        }
        Ok(rows)
    }

    /// Every transfer that is not finished, and arrivals whose sender was not heard yet.
    pub fn transfers(&self) -> Answer<Vec<TransferRow>> {
        let mut rows = Vec::new();
        for store in self.0.stores()? {
            rows.extend(self.transfers_from(store)?);
            for (key, _) in self.shared_items(store, Class::Arrived)? {
                let Some((from, of)) = arrived_name(&key.key) else { continue };
                let sent = ItemKey::fact(from, Class::Sent, of);
                if self.has(&sent)? || rows.iter().any(|row: &TransferRow| (row.from, row.of) == (from, of)) {
                    continue;
                }
                rows.extend(transfer_rows(from, of, &SentItem::default(), &self.arrived(from, of)?));
            }
        }
        rows.retain(|row| row.in_transit() != Milli::ZERO || !row.closed);
        Ok(rows)
    }

    fn has(&self, key: &ItemKey) -> Answer<bool> {
        Ok(self.0.item(key.store, key.class.code(), &key.key)?.is_some())
    }

    /// What arrived of a transfer, at any store.
    fn arrived(&self, from: StoreId, of: FactRef) -> Answer<BTreeMap<Sku, i64>> {
        let key = arrived_key(from, from, of);
        let bodies = self.0.items_anywhere(key.class.code(), &key.key)?;
        let mut sums: BTreeMap<Sku, i64> = BTreeMap::new();
        for body in bodies {
            let Some(Item::Arrived(item)) = Item::from_body(Class::Arrived, &body) else { continue };
            for (sku, quantity) in item.lines {
                let sum = sums.entry(sku).or_default();
                *sum = sum.saturating_add(quantity);
            }
        }
        Ok(sums)
    }

    /// Registers of a store.
    pub fn registers(&self, store: StoreId) -> Answer<Vec<RegisterRow>> {
        let items = self.shared_items(store, Class::Register)?;
        let rows = items.into_iter().filter_map(|(key, item)| {
            let Item::Register(register) = item else { return None };
            let name = String::from_utf8_lossy(&key.key).into_owned();
            let values: Vec<RegisterValue> = match one_value(&name) {
                true => register.winner().map(|write| write.value.clone()).into_iter().collect(),
                false => register.standing().iter().map(|write| write.value.clone()).collect(),
            };
            Some(RegisterRow { name, values })
        });
        Ok(rows.collect())
    }

    /// The device registry of a store.
    pub fn registry(&self, store: StoreId) -> Answer<Vec<(DeviceId, DeviceEntry)>> {
        let mut members = Vec::new();
        for (_, item) in self.shared_items(store, Class::Registry)? {
            if let Item::Registry(registry) = item {
                members.extend(
                    registry
                        .members()
                        .filter_map(|(device, write)| Some((device.clone(), write.value.clone()?))),
                );
            }
        }
        Ok(members)
    }
}

/// How one side ended a reservation.
fn said(store: StoreId, word: &str, ending: &Latest<Ending>, stands: bool) -> Option<ConflictSide> {
    let (by, ending) = (ending.by()?, ending.get()?);
    let value = format!("{word} {}", Milli(ending.quantity));
    Some(ConflictSide { by: format!("{store}.{}", by.epoch), at: ending.at, value, stands })
}

fn arrived_name(key: &[u8]) -> Option<(StoreId, FactRef)> {
    let (from, of) = key.split_first_chunk::<4>()?;
    let of = ItemKey { store: StoreId(0), class: Class::Sent, key: of.to_vec() }.fact_ref()?;
    Some((StoreId(u32::from_be_bytes(*from)), of))
}

fn transfer_rows(
    from: StoreId,
    of: FactRef,
    item: &SentItem,
    arrived: &BTreeMap<Sku, i64>,
) -> Vec<TransferRow> {
    let mut skus: Vec<Sku> =
        item.lines.keys().chain(item.shrink.keys()).chain(arrived.keys()).copied().collect();
    skus.sort_unstable();
    skus.dedup();
    let of_map = |map: &BTreeMap<Sku, i64>, sku: Sku| Milli(map.get(&sku).copied().unwrap_or(0));
    let row = |sku: Sku| TransferRow {
        from,
        of,
        to: item.sent.map(|(_, to)| to),
        sent_at: item.sent.map(|(at, _)| at),
        sku,
        sent: of_map(&item.lines, sku),
        arrived: of_map(arrived, sku),
        shrink: of_map(&item.shrink, sku),
        closed: item.closed,
    };
    skus.into_iter().map(row).collect()
}
