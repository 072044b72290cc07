//! What must hold at the end: after every fault has ended, everything comes to rest within a bound, and then nothing that was
//! answered is missing, nothing counts twice, all balances are what the facts say, and both sides tell the same story.

use crate::book::{Key, by_itself, keys, records, same};
use crate::broker::QUEUE_MAX;
use crate::gateway::{Before, Open};
use crate::script::DAY_MS;
use crate::world::{Happening, Node, World};
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use sync_core::replica::wire2;
use sync_model::{Fact, Milli, Sku, StoreId};
use sync_store::Reader;

/// Virtual time after the end of the faults within which everything must be settled.
const SETTLE_MS: u64 = 8 * 3_600_000;
/// How long it must stay so.
const STABLE_MS: u64 = 20 * 60_000;
/// Messages that a store and its HQ may exchange in that time with nothing to say.
const IDLE_MESSAGES: u64 = 40;

impl World {
    /// Every fault ends.
    pub(crate) fn heal(&mut self) -> Result<()> {
        self.note(|| "every fault ends".to_owned());
        self.healed = true;
        self.armed.clear();
        for index in 0..self.gateways.len() {
            let mut of_store = self.gateways.iter().enumerate();
            let Some(store) = self.gateways.get(index).map(|gateway| gateway.store) else { continue };
            // The last one that runs stays.
            if of_store.any(|(other, gateway)| other > index && gateway.store == store && !gateway.retired) {
                self.retire(index)?;
            }
        }
        let absent =
            self.gateways.iter().filter(|gateway| !gateway.retired).map(|gateway| gateway.absent_until);
        // Whoever is away for long comes back by itself.
        let back = absent.max().unwrap_or(0);
        if back > self.now && back < self.now + 500 * DAY_MS {
            if back > self.now + 2 * DAY_MS {
                // Nobody trades any more: a year of idle greetings would show nothing.
                for index in 0..self.gateways.len() {
                    if let Some(gateway) = self.gateways.get_mut(index) {
                        gateway.absent_until = back;
                    }
                    self.cut(Node::Gateway(index), 1_000, 2_000);
                }
            }
            self.until(back + 1_000)?;
        }
        for worker in &mut self.hq.workers {
            worker.absent_until = 0;
            worker.crash_in = None;
        }
        let clock = self.hq.clock;
        self.set_clock(0, -clock)?;
        for index in 0..self.gateways.len() {
            let Some(gateway) = self.gateways.get_mut(index) else { continue };
            gateway.crash_in = None;
            gateway.absent_until = 0;
            let (clock, store, old) = (gateway.clock, gateway.store, gateway.speaks != wire2::CURRENT);
            self.make_room(store.0)?;
            if clock != 0 {
                self.jump(index, -clock)?;
            }
            if old {
                self.stop_gateway(index)?;
            }
            if let Some(gateway) = self.gateways.get_mut(index) {
                gateway.speaks = wire2::CURRENT;
            }
            self.start_gateway(index)?;
        }
        self.make_room(0)?;
        for id in self.broker.open_sessions() {
            if let Some(session) = self.broker.session(id) {
                session.queue_max = QUEUE_MAX;
            }
        }
        if self.hq.speaks != wire2::CURRENT {
            self.stop_hq()?;
            self.hq.speaks = wire2::CURRENT;
        }
        self.start_hq()?;
        self.after(1_000, Happening::Rebalance);
        for index in 0..self.gateways.len() {
            self.turn_at(Node::Gateway(index), self.now);
        }
        Ok(())
    }

    /// Waits for rest, and looks at everything then.
    pub(crate) fn rest(&mut self) -> Result<()> {
        let begin = self.now;
        let mut why = Some(String::new());
        while why.is_some() && self.now < begin + SETTLE_MS && self.violations.is_empty() {
            self.until(self.now + 10_000)?;
            why = self.unsettled()?;
        }
        if !self.violations.is_empty() {
            return Ok(());
        }
        if let Some(why) = why {
            self.violate(
                "progress",
                format!("not settled {} minutes after the last fault: {why}", SETTLE_MS / 60_000),
            );
            return Ok(());
        }
        let settled = self.now - begin;
        self.note(|| format!("settled after {settled} ms"));
        self.until(self.now + 120_000)?;
        let messages = self.messages;
        self.until(self.now + STABLE_MS)?;
        if let Some(why) = self.unsettled()? {
            self.violate("stable", why);
        }
        let messages = self.messages - messages;
        if messages > IDLE_MESSAGES * u64::from(self.script.options.stores) {
            self.violate(
                "stable",
                format!("{messages} messages in {} minutes with nothing to say", STABLE_MS / 60_000),
            );
        }
        self.now = settled;
        self.inspect()
    }

    /// Where a store and HQ differ.
    pub(crate) fn unsettled(&self) -> Result<Option<String>> {
        let Some(hq) = &self.hq.open else { return Ok(Some("HQ is off".to_owned())) };
        let theirs = hq.reader.heads()?;
        for gateway in self.gateways.iter().filter(|gateway| !gateway.retired) {
            let Some(open) = &gateway.open else {
                return Ok(Some(format!("store {} is off", gateway.store)));
            };
            let ends = |rows: &[sync_store::HeadRow]| -> BTreeMap<_, _> {
                let of_store = rows.iter().filter(|row| row.log.store == gateway.store && row.head.0 > 0);
                of_store.map(|row| (row.log, (row.head, row.link))).collect()
            };
            let (own, theirs) = (ends(&open.reader.heads()?), ends(&theirs));
            let logs: BTreeSet<_> = own.keys().chain(theirs.keys()).collect();
            for log in logs {
                let (here, there) = (own.get(log), theirs.get(log));
                if here != there {
                    let text = |end: Option<&(sync_model::Seq, sync_core::Link)>| {
                        end.map_or("nothing".to_owned(), |(head, link)| {
                            format!("{head} {link}").chars().take(24).collect()
                        })
                    };
                    return Ok(Some(format!("{log}: store {}, HQ {}", text(here), text(there))));
                }
            }
        }
        Ok(None)
    }

    fn inspect(&mut self) -> Result<()> {
        let Some(hq) = self.hq.open.take() else { return Ok(()) };
        self.inspect_ledger("HQ", &hq, None)?;
        self.inspect_sums(&hq.reader)?;
        self.inspect_rights(&hq.reader)?;
        for index in 0..self.gateways.len() {
            let Some(gateway) = self.gateways.get_mut(index).filter(|gateway| !gateway.retired) else {
                continue;
            };
            let store = gateway.store;
            let Some(open) = gateway.open.take() else { continue };
            self.inspect_ledger(&format!("store {store}"), &open, Some(store))?;
            self.compare_folds(store, &open.reader, &hq.reader)?;
        }
        Ok(())
    }

    /// Chain and folds by themselves; then every answered fact once, and nothing else.
    fn inspect_ledger(&mut self, who: &str, open: &Open, store: Option<StoreId>) -> Result<()> {
        let report = open.ledger.verify()?;
        if let Some(problem) = report.problems.first() {
            self.violate(
                "verify",
                format!("{who}: {}: {} ({} in all)", problem.name, problem.detail, report.problem_count),
            );
        }
        let mut found: BTreeMap<Key, u32> = BTreeMap::new();
        for stored in records(&open.reader, store)? {
            let key = Key::stored(&stored);
            let count = found.entry(key).or_default();
            *count += 1;
            if *count > 1 {
                self.violate("exactly-once", format!("{who}: {} counts {count} times", stored.id));
            }
            let kind = stored.event.as_ref().ok().map(|event| event.fact.kind());
            match (self.book.facts.get(&key), &stored.event) {
                (None, _) if kind.is_some_and(by_itself) => {}
                (None, _) => self.violate("nothing-invented", format!("{who}: nobody wrote {}", stored.id)),
                (Some(known), Ok(event)) if !known.event.as_ref().is_some_and(|wrote| same(wrote, event)) => {
                    self.violate("same-content", format!("{who}: {} is not what was written", stored.id));
                }
                (Some(known), Err(_)) if known.record != stored.record => {
                    self.violate("same-content", format!("{who}: {} is not what was written", stored.id));
                }
                (Some(_), _) => {}
            }
        }
        let mine = |key: &Key| store.is_none_or(|store| key.store == store);
        let missing = self
            .book
            .facts
            .iter()
            .filter(|(key, known)| mine(key) && known.destroyed.is_none() && !found.contains_key(key));
        let missing: BTreeSet<Key> = missing.map(|(key, _)| *key).collect();
        if !missing.is_empty() {
            let names = self.names(&missing);
            self.violate("nothing-lost", format!("{who} lacks {} answered facts: {names}", missing.len()));
        }
        Ok(())
    }

    /// Equal vectors, equal folds: every question that both sides can be asked has one answer.
    fn compare_folds(&mut self, store: StoreId, own: &Reader, hq: &Reader) -> Result<()> {
        let ask = |reader: &Reader| -> Result<Vec<(&'static str, String)>> {
            Ok(vec![
                ("stock", format!("{:?}", reader.stock(store, None)?)),
                ("money", format!("{:?}", reader.money(store)?)),
                ("articles", format!("{:?}", reader.articles(store)?)),
                ("prices", format!("{:?}", reader.prices(store)?)),
                ("reservations", format!("{:?}", reader.open_reservations(store)?)),
                ("rights", format!("{:?}", reader.rights(store, None)?)),
                ("registers", format!("{:?}", reader.registers(store)?)),
                ("registry", format!("{:?}", reader.registry(store)?)),
                ("tags", format!("{:?}", reader.tags(store, None)?)),
                ("devices", format!("{:?}", reader.devices(store)?)),
            ])
        };
        for ((name, here), (_, there)) in ask(own)?.into_iter().zip(ask(hq)?) {
            if here != there {
                self.violate("equal-folds", format!("{name} of store {store}: store {here}, HQ {there}"));
            }
        }
        Ok(())
    }

    /// Balances counted independently, from the facts that were answered and are there.
    fn inspect_sums(&mut self, hq: &Reader) -> Result<()> {
        let present = keys(hq, None)?;
        let mut hand: BTreeMap<(StoreId, Sku), i64> = BTreeMap::new();
        let mut way: BTreeMap<Sku, i64> = BTreeMap::new();
        for (key, known) in self.book.facts.iter().filter(|(key, _)| present.contains(key)) {
            let mut book = |sku: Sku, quantity: i64| *hand.entry((key.store, sku)).or_default() += quantity;
            match known.event.as_ref().map(|event| &event.fact) {
                Some(Fact::Sale(fact)) => fact.lines.iter().for_each(|line| book(line.sku, -line.quantity.0)),
                Some(Fact::Receipt(fact)) => {
                    fact.lines.iter().for_each(|line| book(line.sku, line.quantity.0))
                }
                Some(Fact::Waste(fact)) => book(fact.sku, -fact.quantity.0),
                Some(Fact::Count(fact)) => book(fact.sku, fact.counted.0 - fact.book.0),
                Some(Fact::TransferOut(fact)) => fact.lines.iter().for_each(|line| {
                    book(line.sku, -line.quantity.0);
                    *way.entry(line.sku).or_default() += line.quantity.0;
                }),
                Some(Fact::TransferIn(fact)) => fact.lines.iter().for_each(|line| {
                    book(line.sku, line.quantity.0);
                    *way.entry(line.sku).or_default() -= line.quantity.0;
                }),
                Some(Fact::TransferClosed(fact)) => fact.lines.iter().for_each(|line| {
                    *way.entry(line.sku).or_default() -= line.quantity.0;
                }),
                _ => {}
            }
        }
        let mut stored: BTreeMap<(StoreId, Sku), i64> = BTreeMap::new();
        for store in hq.stores()? {
            for row in hq.stock(store, None)? {
                *stored.entry((store, row.sku)).or_default() += row.on_hand.0;
                let sum =
                    [row.on_hand, row.sold, row.supplier, row.waste, row.adjustment, row.transit, row.shrink];
                let sum: i64 = sum.iter().map(|part| part.0).sum();
                if sum != 0 {
                    self.violate(
                        "stock-conserved",
                        format!("store {store}, article {}: accounts sum to {}", row.sku, Milli(sum)),
                    );
                }
            }
            let mut money: BTreeMap<_, i64> = BTreeMap::new();
            for row in hq.money(store)? {
                *money.entry((row.day, row.currency)).or_default() += row.amount.0;
            }
            if let Some(((day, _), sum)) = money.into_iter().find(|(_, sum)| *sum != 0) {
                self.violate("money-conserved", format!("store {store}, {day}: accounts sum to {sum}"));
            }
        }
        hand.retain(|_, value| *value != 0);
        stored.retain(|_, value| *value != 0);
        if hand != stored {
            let differ =
                hand.iter().find(|(key, value)| stored.get(key) != Some(value)).or(stored.iter().next());
            self.violate(
                "stock-counted",
                format!(
                    "counted by hand {differ:?}, HQ has {:?}",
                    differ.and_then(|(key, _)| stored.get(key))
                ),
            );
        }
        self.inspect_transit(hq, way)
    }

    fn inspect_transit(&mut self, hq: &Reader, mut way: BTreeMap<Sku, i64>) -> Result<()> {
        let mut transit: BTreeMap<Sku, i64> = BTreeMap::new();
        for row in hq.transfers()? {
            *transit.entry(row.sku).or_default() += row.in_transit().0;
        }
        way.retain(|_, value| *value != 0);
        transit.retain(|_, value| *value != 0);
        if way != transit {
            self.violate("transfers-conserved", format!("on the way by hand {way:?}, at HQ {transit:?}"));
        }
        Ok(())
    }

    /// No right is in two hands.
    fn inspect_rights(&mut self, hq: &Reader) -> Result<()> {
        if let Some((sku, over)) = self.book.overdrawn() {
            self.violate(
                "no-double-promise",
                format!("article {sku}: {} more in use than issued", Milli(over)),
            );
        }
        // Shortfalls are debts of the pool, not rights in a hand.
        let mut pools: BTreeMap<Sku, i64> = BTreeMap::new();
        for store in hq.stores()? {
            for row in hq.rights(store, None)? {
                let pool = row.sums.issued - row.sums.granted + row.sums.returned + row.sums.fenced;
                *pools.entry(row.sku).or_default() += pool;
                let excused = self.book.excused.get(&row.sku).copied().unwrap_or(0);
                if row.sums.held() + excused < 0 && row.sums.fences == 0 && row.sums.fenced == 0 {
                    let detail =
                        format!("store {store}, epoch {}, article {}: {:?}", row.epoch, row.sku, row.sums);
                    self.violate("rights-not-negative", detail);
                }
            }
        }
        if let Some((sku, pool)) = pools.into_iter().find(|(_, pool)| *pool < 0) {
            self.violate("rights-not-negative", format!("pool of article {sku}: {}", Milli(pool)));
        }
        Ok(())
    }

    /// What a gateway that is gone for ever had alone.
    pub(crate) fn account_gone(&mut self, index: usize, store: StoreId, before: &Before) -> Result<()> {
        let mut lost = before.keys.clone();
        for (other, gateway) in self.gateways.iter().enumerate() {
            if other == index || gateway.store != store || gateway.retired {
                continue;
            }
            if let Some(open) = &gateway.open {
                let there = keys(&open.reader, Some(store))?;
                lost.retain(|key| !there.contains(key));
            } else if let Some(before) = gateway.before.as_ref().filter(|before| before.why.is_empty()) {
                lost.retain(|key| !before.keys.contains(key));
            }
        }
        if let Some(open) = &self.hq.open {
            let there = keys(&open.reader, Some(store))?;
            lost.retain(|key| !there.contains(key));
        } else if let Some(before) = self.hq.before.as_ref().filter(|before| before.why.is_empty()) {
            lost.retain(|key| !before.keys.contains(key));
        }
        let why = before.why.join(" and ");
        let names = self.names(&lost);
        self.note(|| format!("{why} destroyed {names}"));
        lost.into_iter().for_each(|key| self.book.destroyed(key, &why));
        Ok(())
    }
}
