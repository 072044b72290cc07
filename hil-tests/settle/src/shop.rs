//! Who trades: tills, clerks, the web shop's promises, goods between the stores, and HQ's buyers.
//!
//! Contract: every actor repeats a posting under its key until it is answered, and enters exactly the answered ones. The
//! prices of the goods move at HQ all the time, so that the stream downwards works too.

use crate::books::{Books, Entry, Transfer};
use crate::fleet::{Office, STORES};
use anyhow::{Context, Result};
use hil_demo::posting::{Counter, Outcome};
use hil_demo::random::Random;
use hil_rig::http;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Articles that are sold.
const SKUS: [u64; 8] = [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008];
/// The article whose units are promised on the web, by rights.
pub(crate) const PROMISED: u64 = 3001;
/// Units of it that each store may promise, in thousandths.
pub(crate) const GRANT: i64 = 60_000;
/// Tills of a store.
const TILLS: u16 = 2;
/// How long an actor waits for a price.
const PRICE_PATIENCE: Duration = Duration::from_secs(90);

/// Goods under way: sender, its fact, article, quantity.
type UnderWay = (u32, String, u64, i64);

/// What all actors share.
pub(crate) struct Shop {
    counters: Vec<Counter>,
    books: Mutex<Books>,
    /// By receiving store.
    road: Vec<Mutex<VecDeque<UnderWay>>>,
    office: Office,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn price_body(sku: u64, price: i64) -> Value {
    json!({"sku": sku, "name": format!("Packed {sku}"), "unit": "piece", "price_minor": price, "tax_rate": 900})
}

impl Shop {
    /// The stores' counters and HQ's office, with nothing sold yet.
    pub(crate) fn new(counters: Vec<Counter>, office: Office) -> Arc<Self> {
        let road = counters.iter().map(|_| Mutex::default()).collect();
        Arc::new(Self { counters, books: Mutex::default(), road, office })
    }

    /// The books; a panicking actor must not hide what the others entered.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        locked(&self.books)
    }

    /// Price book, first deliveries, rights. Nothing is broken yet.
    pub(crate) async fn open(&self, random: &mut Random) -> Result<()> {
        for store in STORES {
            let mut prices: Vec<(u64, i64)> =
                SKUS.iter().map(|sku| (*sku, random.signed(150, 5000))).collect();
            prices.push((PROMISED, 2500));
            self.publish(store, &prices).await?;
        }
        for site in 0..STORES.len() {
            for sku in SKUS.iter().chain([&PROMISED]) {
                self.price(site, *sku).await.with_context(|| format!("the price of {sku}"))?;
                self.receipt(site, *sku, 500_000, &format!("first-{sku}"), random).await;
            }
        }
        let units = i64::try_from(STORES.len())? * GRANT;
        let issue = json!({"order": "issue", "sku": PROMISED, "quantity_milli": units});
        self.office.post(&format!("/v1/stores/{}/rights", STORES[0]), &issue).await?;
        for store in STORES {
            let grant = json!({"order": "grant", "sku": PROMISED, "quantity_milli": GRANT});
            self.office.post(&format!("/v1/stores/{store}/rights"), &grant).await?;
        }
        for (counter, store) in self.counters.iter().zip(STORES) {
            let path = format!("/v1/offers/{PROMISED}?channel=web");
            let granted = || async {
                http::get(counter.server(), &path)
                    .await
                    .is_ok_and(|answer| answer.json()["rights_milli"] == GRANT)
            };
            hil_rig::until(&format!("the rights of store {store}"), PRICE_PATIENCE, granted).await?;
        }
        Ok(())
    }

    async fn publish(&self, store: u32, prices: &[(u64, i64)]) -> Result<()> {
        let body: Value = prices.iter().map(|(sku, price)| price_body(*sku, *price)).collect();
        self.office.post(&format!("/v1/stores/{store}/articles"), &body).await?;
        let mut books = self.books();
        books.prices.extend(prices.iter().map(|(sku, price)| ((store, *sku), *price)));
        Ok(())
    }

    /// The price at a store's tills, asked until it is answered.
    async fn price(&self, site: usize, sku: u64) -> Result<i64> {
        let started = Instant::now();
        let path = format!("/v1/prices/{sku}");
        loop {
            let answer = http::get(self.counters[site].server(), &path).await;
            if let Ok(answer) = &answer
                && let (200, Some(price)) = (answer.status, answer.json()["price_minor"].as_i64())
            {
                return Ok(price);
            }
            anyhow::ensure!(started.elapsed() < PRICE_PATIENCE, "store {}: {answer:?}", STORES[site]);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Posts and enters; the answer's id.
    async fn book(
        &self,
        site: usize,
        path: &str,
        key: &str,
        body: &Value,
        entry: Entry,
        random: &mut Random,
    ) -> Option<String> {
        let store = STORES[site];
        match self.counters[site].post(path, key, body, random).await {
            Ok(Outcome::Accepted { id, replayed }) => {
                self.books().enter(store, id.clone(), entry, replayed);
                return Some(id);
            }
            Ok(refused) => self.books().fault(format!("store {store}: {path} {key}: {refused:?}")),
            Err(error) => self.books().fault(format!("store {store}: {error}")),
        }
        None
    }

    async fn receipt(&self, site: usize, sku: u64, quantity: i64, name: &str, random: &mut Random) {
        let line = json!({"sku": sku, "quantity_milli": quantity, "unit_cost_minor": 120});
        let body = json!({"reference": name, "lines": [line]});
        let entry = Entry::new(format!("receipt {name}")).moves(sku, quantity);
        self.book(site, "/v1/receipts", &format!("r-{name}"), &body, entry, random).await;
    }

    async fn waste(&self, site: usize, number: u64, random: &mut Random) {
        let (sku, quantity) = (*random.pick(&SKUS), random.signed(1, 3) * 1000);
        let body = json!({"sku": sku, "quantity_milli": quantity, "reason": "damaged"});
        let entry = Entry::new("waste".into()).moves(sku, -quantity);
        self.book(site, "/v1/waste", &format!("w-{number}"), &body, entry, random).await;
    }

    async fn send(&self, site: usize, number: u64, random: &mut Random) {
        let to = (site + usize::from(random.chance(500)) + 1) % STORES.len();
        let (sku, quantity) = (*random.pick(&SKUS), random.signed(1, 20) * 1000);
        let body = json!({"to": STORES[to], "lines": [{"sku": sku, "quantity_milli": quantity}]});
        let entry = Entry::new(format!("transfer to {}", STORES[to])).moves(sku, -quantity);
        let Some(id) =
            self.book(site, "/v1/transfers/out", &format!("o-{number}"), &body, entry, random).await
        else {
            return;
        };
        let transfer = Transfer { to: STORES[to], sku, sent: quantity, arrived: 0 };
        self.books().transfers.insert((STORES[site], id.clone()), transfer);
        locked(&self.road[to]).push_back((STORES[site], id, sku, quantity));
    }

    /// Takes in what is on the road to a store, now and then less than was sent.
    async fn take_in(&self, site: usize, random: &mut Random) {
        let Some((from, id, sku, sent)) = locked(&self.road[site]).pop_front() else { return };
        let arrived = if random.chance(100) { sent - 500 } else { sent };
        let body = json!({"from": from, "of": id, "lines": [{"sku": sku, "quantity_milli": arrived}]});
        let entry = Entry::new(format!("transfer from {from} of {id}")).moves(sku, arrived);
        let key = format!("i-{from}-{id}");
        if self.book(site, "/v1/transfers/in", &key, &body, entry, random).await.is_some()
            && let Some(transfer) = self.books().transfers.get_mut(&(from, id))
        {
            transfer.arrived = arrived;
        }
    }

    /// Promises units on the web; a refusal for lack of rights is an answer like any other.
    async fn promise(&self, site: usize, number: u64, random: &mut Random) {
        let (store, quantity) = (STORES[site], random.signed(1, 3) * 1000);
        let reference = format!("web-{number}");
        let body = json!({
            "sku": PROMISED, "quantity_milli": quantity, "channel": "web", "reference": reference, "hold_s": 86_400,
        });
        match self.counters[site].post("/v1/reservations", &format!("p-{number}"), &body, random).await {
            Ok(Outcome::Accepted { id, replayed }) => {
                let mut books = self.books();
                *books.promised.entry(store).or_default() += quantity;
                books.enter(store, id, Entry::new(format!("promise {reference}")), replayed);
            }
            Ok(Outcome::Refused { code, .. }) if code == "no-rights" => self.books().short += 1,
            Ok(refused) => self.books().fault(format!("store {store}: promise {number}: {refused:?}")),
            Err(error) => self.books().fault(format!("store {store}: {error}")),
        }
    }

    /// One ticket, priced anew as often as the price falls under it.
    async fn ticket(&self, site: usize, till: u16, number: u64, random: &mut Random) {
        let basket: Vec<(u64, i64)> =
            (0..random.between(1, 4)).map(|_| (*random.pick(&SKUS), random.signed(1, 3))).collect();
        let kind = *random.pick(&["cash", "card", "wallet", "voucher"]);
        for attempt in 0..20 {
            let mut entry = Entry::new(format!("sale {till}/{number}"));
            let (mut lines, mut total) = (Vec::new(), 0);
            for (sku, pieces) in &basket {
                let price = match self.price(site, *sku).await {
                    Ok(price) => price,
                    Err(error) => return self.books().fault(format!("{error:#}")),
                };
                lines.push(json!({
                    "sku": sku, "quantity_milli": pieces * 1000, "unit_price_minor": price,
                    "discount_minor": 0, "amount_minor": price * pieces,
                }));
                entry = entry.moves(*sku, -pieces * 1000);
                total += price * pieces;
            }
            let body = json!({
                "till": till, "number": number, "currency": "CNY", "lines": lines,
                "tenders": [{"kind": kind, "amount_minor": total}], "total_minor": total,
            });
            let entry = entry.pays(kind, total);
            let key = format!("t{till}-{number}-{attempt}");
            match self.counters[site].post("/v1/tickets", &key, &body, random).await {
                Ok(Outcome::Accepted { id, replayed }) => {
                    return self.books().enter(STORES[site], id, entry, replayed);
                }
                Ok(Outcome::Refused { code, .. }) if code == "price-above-current" => {}
                Ok(refused) => {
                    return self.books().fault(format!("store {}: {key}: {refused:?}", STORES[site]));
                }
                Err(error) => return self.books().fault(format!("store {}: {error}", STORES[site])),
            }
        }
        self.books().fault(format!("store {}: ticket {number}: the price fell twenty times", STORES[site]));
    }

    /// Everybody at work until told to stop.
    pub(crate) fn work(self: &Arc<Self>, seed: u64, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut actors = JoinSet::new();
        let mut actor = 0;
        let mut random = move || {
            actor += 1;
            Random::new(seed, actor)
        };
        for site in 0..STORES.len() {
            for till in 1..=TILLS {
                actors.spawn(sell(Arc::clone(self), site, till, random(), stop.clone()));
            }
            actors.spawn(clerk(Arc::clone(self), site, random(), stop.clone()));
            actors.spawn(web(Arc::clone(self), site, random(), stop.clone()));
        }
        actors.spawn(buyer(Arc::clone(self), random(), stop.clone()));
        actors
    }

    /// What is still on the road is taken in, so that every transfer ends.
    pub(crate) async fn unload(&self, random: &mut Random) {
        for site in 0..STORES.len() {
            while !locked(&self.road[site]).is_empty() {
                self.take_in(site, random).await;
            }
        }
    }

    /// Prices that a store does not show as HQ published them last.
    pub(crate) async fn wrong_prices(&self) -> Vec<String> {
        let published = self.books().prices.clone();
        let mut wrong = Vec::new();
        for ((store, sku), price) in published {
            let Some(site) = STORES.iter().position(|known| *known == store) else { continue };
            let shown = http::get(self.counters[site].server(), &format!("/v1/prices/{sku}")).await;
            let shown = shown.map(|answer| answer.json()["price_minor"].as_i64());
            if !matches!(shown, Ok(Some(shown)) if shown == price) {
                wrong.push(format!("store {store}: article {sku} is at {shown:?}, HQ published {price}"));
            }
        }
        wrong
    }

    /// Whether a ticket of a store waits for its answer.
    pub(crate) fn waiting(&self, site: usize) -> bool {
        self.counters[site].waiting() > 0
    }

    /// Requests that may have arrived and got no answer.
    pub(crate) fn broken(&self) -> u64 {
        self.counters.iter().map(Counter::broken).sum()
    }
}

async fn pause(stop: &mut watch::Receiver<bool>, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        _ = stop.changed() => {}
    }
    *stop.borrow()
}

async fn sell(shop: Arc<Shop>, site: usize, till: u16, mut random: Random, mut stop: watch::Receiver<bool>) {
    let mut number = 0;
    loop {
        number += 1;
        shop.ticket(site, till, number, &mut random).await;
        if pause(&mut stop, random.millis(20, 200)).await {
            return;
        }
    }
}

async fn clerk(shop: Arc<Shop>, site: usize, mut random: Random, mut stop: watch::Receiver<bool>) {
    let mut number = 0;
    loop {
        number += 1;
        match random.between(0, 3) {
            0 => {
                let (sku, quantity) = (*random.pick(&SKUS), random.signed(1, 40) * 1000);
                shop.receipt(site, sku, quantity, &format!("d-{number}"), &mut random).await;
            }
            1 => shop.waste(site, number, &mut random).await,
            2 => shop.send(site, number, &mut random).await,
            _ => shop.take_in(site, &mut random).await,
        }
        if pause(&mut stop, random.millis(100, 500)).await {
            return;
        }
    }
}

async fn web(shop: Arc<Shop>, site: usize, mut random: Random, mut stop: watch::Receiver<bool>) {
    let mut number = 0;
    loop {
        number += 1;
        shop.promise(site, number, &mut random).await;
        if pause(&mut stop, random.millis(300, 1500)).await {
            return;
        }
    }
}

async fn buyer(shop: Arc<Shop>, mut random: Random, mut stop: watch::Receiver<bool>) {
    loop {
        if pause(&mut stop, random.millis(500, 2500)).await {
            return;
        }
        let (store, sku) = (*random.pick(&STORES), *random.pick(&SKUS));
        let price = random.signed(150, 5000);
        if let Err(error) = shop.publish(store, &[(sku, price)]).await {
            shop.books().fault(format!("{error:#}"));
        }
    }
}
