//! What must hold at the end, whatever was broken in between. The same oracles as the simulator's, on real files.
//!
//! * Nothing acknowledged is lost, nothing counts twice: the books' entries are the log's facts, one to one, on both sides.
//! * Equal logs at equal ends: every record and every chain link, both directions, store and HQ.
//! * Equal folds: stock and money of both sides are the sums of the books.
//! * Conservation: what left one store is at another, or on the road, or booked as lost.
//! * Rights: never below zero, never more promised than granted, equal to the promises that were answered.
//! * Chains and folds verify from the first record.

use crate::books::{Books, Entry};
use crate::fleet::STORES;
use crate::ledger::{Ledger, Side};
use crate::shop::{GRANT, PROMISED};
use anyhow::Result;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use sync_model::{Direction, FactRef};

/// Problems that are named; the rest is only counted.
const PROBLEMS_MAX: usize = 100;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// The first ones.
    pub(crate) named: Vec<String>,
    /// All of them.
    pub(crate) count: u64,
}

impl Problems {
    /// Adds one.
    pub(crate) fn add(&mut self, what: String) {
        self.count += 1;
        if self.named.len() < PROBLEMS_MAX {
            self.named.push(what);
        }
    }
}

/// What HQ's people see of goods on the road and rights, taken while HQ ran.
pub(crate) struct Shown {
    /// `/v1/transfers`.
    pub(crate) transfers: Value,
    /// `/v1/rights`.
    pub(crate) rights: Value,
}

/// Checks everything; events of all stores at HQ.
pub(crate) fn check(
    books: &Books,
    hq: &Ledger,
    stores: &[(u32, Ledger)],
    shown: &Shown,
    problems: &mut Problems,
) -> Result<u64> {
    let mut events = 0;
    for (store, ledger) in stores {
        let (own, there) = (ledger.side(*store)?, hq.side(*store)?);
        for (name, side) in [("store", &own), ("HQ", &there)] {
            let place = format!("{name} {store}");
            entries(&place, books, *store, side, problems);
            balances(&format!("{place}: stock of"), &books.stock(*store), &side.stock, problems);
            balances(&format!("{place}: money in"), &books.cash(*store), &side.cash, problems);
        }
        same_logs(*store, &own, &there, problems);
        events += there.logs.values().map(|log| log.head.head.0).sum::<u64>();
        verify(&format!("store {store}"), ledger, problems)?;
    }
    verify("HQ", hq, problems)?;
    transfers(books, &shown.transfers, problems);
    rights(books, &shown.rights, problems);
    Ok(events)
}

fn verify(name: &str, ledger: &Ledger, problems: &mut Problems) -> Result<()> {
    let report = ledger.verify()?;
    if !report.ok() || report.events == 0 {
        problems.add(format!("{name}: verify found {report:?}"));
    }
    Ok(())
}

/// Facts of the store's logs against the entries of the books.
fn entries(place: &str, books: &Books, store: u32, side: &Side, problems: &mut Problems) {
    let mut seen: BTreeMap<String, Entry> = BTreeMap::new();
    for (log, content) in side.logs.iter().filter(|(log, _)| log.direction == Direction::Up) {
        for row in &content.events {
            let fact = match &row.event {
                Ok(event) => &event.fact,
                Err(error) => {
                    problems.add(format!("{place}: {} cannot be read: {error}", row.id));
                    continue;
                }
            };
            let Some(entry) = Entry::of(fact) else { continue };
            let id = FactRef::from(row.id).to_string();
            if let Some(before) = seen.insert(id.clone(), entry) {
                problems.add(format!("{place}: id {id} is there twice in {log}: {before:?}"));
            }
        }
    }
    let none = BTreeMap::new();
    one_to_one(place, books.entries.get(&store).unwrap_or(&none), &seen, problems);
}

/// Each promise is there once and as promised, and nothing else is.
pub(crate) fn one_to_one(
    place: &str,
    promised: &BTreeMap<String, Entry>,
    seen: &BTreeMap<String, Entry>,
    problems: &mut Problems,
) {
    for (id, entry) in promised {
        match seen.get(id) {
            None => problems.add(format!("{place}: {id} ({}) is lost", entry.what)),
            Some(found) if found != entry => {
                problems.add(format!("{place}: {id} is {found:?}, promised was {entry:?}"));
            }
            Some(_) => {}
        }
    }
    for (id, entry) in seen.iter().filter(|(id, _)| !promised.contains_key(*id)) {
        problems.add(format!("{place}: {id} ({}) was never acknowledged", entry.what));
    }
}

/// Sums that differ; an absent one is zero.
pub(crate) fn balances<K: Ord + Display>(
    place: &str,
    expected: &BTreeMap<K, i64>,
    seen: &BTreeMap<K, i64>,
    problems: &mut Problems,
) {
    for key in expected.keys().chain(seen.keys()).collect::<BTreeSet<_>>() {
        let (want, have) = (expected.get(key).unwrap_or(&0), seen.get(key).unwrap_or(&0));
        if want != have {
            problems.add(format!("{place} {key} is {have}, the books say {want}"));
        }
    }
}

/// Both parties have the same logs, record by record and link by link.
fn same_logs(store: u32, own: &Side, there: &Side, problems: &mut Problems) {
    let (here, hq): (BTreeSet<_>, BTreeSet<_>) = (own.logs.keys().collect(), there.logs.keys().collect());
    for log in here.symmetric_difference(&hq) {
        problems.add(format!("store {store}: only one side has {log}"));
    }
    for (log, ours) in &own.logs {
        let Some(theirs) = there.logs.get(log) else { continue };
        same(&format!("end of {log}"), &ours.head.head, &theirs.head.head, problems);
        same(&format!("link of {log}"), &ours.head.link, &theirs.head.link, problems);
        same(&format!("records of {log}"), &ours.events.len(), &theirs.events.len(), problems);
        let differs =
            ours.events.iter().zip(&theirs.events).find(|(a, b)| a.id != b.id || a.record != b.record);
        if let Some((a, _)) = differs {
            problems.add(format!("{log}: record {} differs between the sides", a.id));
        }
    }
}

fn same<T: PartialEq + Debug>(what: &str, ours: &T, theirs: &T, problems: &mut Problems) {
    if ours != theirs {
        problems.add(format!("{what}: the store has {ours:?}, HQ has {theirs:?}"));
    }
}

/// HQ's table of goods on the road against the books.
fn transfers(books: &Books, shown: &Value, problems: &mut Problems) {
    let mut expected = BTreeMap::new();
    for ((from, id), transfer) in books.transfers.iter().filter(|(_, t)| t.arrived != t.sent) {
        expected.insert(format!("{from}/{id}/{}", transfer.sku), transfer.sent - transfer.arrived);
    }
    let mut seen = BTreeMap::new();
    for row in shown["transfers"].as_array().into_iter().flatten() {
        let key = format!("{}/{}/{}", row["from"], row["of"].as_str().unwrap_or("?"), row["sku"]);
        let open = row["in_transit_milli"].as_i64().unwrap_or(i64::MIN);
        if open != 0 {
            seen.insert(key, open);
        }
    }
    balances("on the road:", &expected, &seen, problems);
}

/// HQ's table of rights against the promises that were answered.
fn rights(books: &Books, shown: &Value, problems: &mut Problems) {
    let rows: Vec<&Value> = shown["rights"].as_array().into_iter().flatten().collect();
    for store in STORES {
        let of = |field: &str| -> i64 {
            let rows = rows.iter().filter(|row| row["store"] == store && row["sku"] == PROMISED);
            rows.map(|row| row[field].as_i64().unwrap_or(i64::MIN)).fold(0, i64::saturating_add)
        };
        let promised = books.promised.get(&store).copied().unwrap_or_default();
        same(&format!("store {store}: promised"), &promised, &of("promised_milli"), problems);
        same(&format!("store {store}: granted"), &GRANT, &of("granted_milli"), problems);
        same(&format!("store {store}: held"), &(GRANT - promised), &of("held_milli"), problems);
        if of("held_milli") < 0 {
            problems.add(format!("store {store} promised more than it was granted"));
        }
    }
    let pool: i64 = shown["pools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["sku"] == PROMISED)
        .filter_map(|row| row["pool_milli"].as_i64())
        .sum();
    same("pool of rights", &0, &pool, problems);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        let mut books = Books::default();
        let sale = Entry::new("sale 1/1".into()).moves(1001, -2000).pays("cash", 700);
        books.enter(7, "1.2".into(), sale, false);
        books.enter(7, "1.1".into(), Entry::new("receipt a".into()).moves(1001, 9000), false);
        books
    }

    fn found(change: impl Fn(&mut BTreeMap<String, Entry>)) -> Vec<String> {
        let books = books();
        let mut seen = books.entries[&7].clone();
        change(&mut seen);
        let mut problems = Problems::default();
        one_to_one("HQ 7", &books.entries[&7], &seen, &mut problems);
        problems.named
    }

    #[test]
    fn a_lost_a_doubled_and_an_altered_fact_are_each_named() {
        assert!(found(|_| {}).is_empty());
        let lost = found(|seen| drop(seen.remove("1.2")));
        assert_eq!(lost, ["HQ 7: 1.2 (sale 1/1) is lost"]);
        let doubled = found(|seen| {
            let again = seen["1.2"].clone();
            seen.insert("1.3".into(), again);
        });
        assert_eq!(doubled, ["HQ 7: 1.3 (sale 1/1) was never acknowledged"]);
        let altered = found(|seen| drop(seen.insert("1.1".into(), Entry::new("receipt a".into()))));
        assert_eq!(altered.len(), 1, "{altered:?}");
    }

    #[test]
    fn sums_that_differ_or_are_missing_are_named() {
        let mut problems = Problems::default();
        balances("stock of", &books().stock(7), &BTreeMap::from([(1001, 7000)]), &mut problems);
        assert_eq!(problems.count, 0);
        balances("stock of", &books().stock(7), &BTreeMap::from([(1001, 6999)]), &mut problems);
        balances("money in", &books().cash(7), &BTreeMap::new(), &mut problems);
        assert_eq!(
            problems.named,
            ["stock of 1001 is 6999, the books say 7000", "money in cash is 0, the books say 700"]
        );
    }

    #[test]
    fn goods_on_the_road_and_rights_are_compared_with_hq() {
        let mut books = books();
        let transfer = crate::books::Transfer { to: 71, sku: 1001, sent: 5000, arrived: 4500 };
        books.transfers.insert((7, "1.9".into()), transfer);
        for store in STORES {
            books.promised.insert(store, 10_000);
        }
        let road = |open: i64| serde_json::json!({"transfers": [{"from": 7, "of": "1.9", "sku": 1001, "in_transit_milli": open}]});
        let right = |held: i64| {
            let row = |store: &u32| {
                serde_json::json!({
                    "store": store, "sku": PROMISED, "granted_milli": GRANT, "held_milli": held,
                    "promised_milli": GRANT - held,
                })
            };
            serde_json::json!({"pools": [], "rights": STORES.iter().map(row).collect::<Vec<_>>()})
        };
        let mut problems = Problems::default();
        transfers(&books, &road(500), &mut problems);
        rights(&books, &right(GRANT - 10_000), &mut problems);
        assert_eq!(problems.count, 0, "{problems:?}");
        transfers(&books, &road(0), &mut problems);
        assert_eq!(problems.count, 1, "{problems:?}");
        rights(&books, &right(-1000), &mut problems);
        assert!(problems.named.iter().any(|what| what.contains("more than it was granted")), "{problems:?}");
    }
}
