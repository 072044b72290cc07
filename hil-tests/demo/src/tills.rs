//! Tills: several at once, each with its own ticket numbers and its own stubbornness.
//!
//! A till reads prices, composes a ticket, posts it under a fresh key and repeats the same key until it is answered. When
//! the price went down in between, the agent refuses the old one and the till prices the ticket anew (a new key). It also
//! takes returns and, now and then, sends something wrong that must be refused with a name.

use crate::books::{Books, Line, Ticket, extend};
use crate::posting::{Counter, Outcome};
use crate::random::Random;
use hil_rig::http;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What the tills of a store share.
#[derive(Debug)]
pub(crate) struct Shop {
    /// Where they post.
    pub(crate) counter: Counter,
    /// Articles that may be sold: number and whether it is weighed.
    pub(crate) articles: Vec<(u64, bool)>,
    /// The script's bookkeeping.
    pub(crate) books: Mutex<Books>,
    /// Weighings that customers carry to a till: `epoch.seq` and grams.
    pub(crate) weighed: Mutex<VecDeque<(String, i64)>>,
    /// Sets the tills' hours.
    pub(crate) hours: watch::Sender<Hours>,
    posted: Mutex<VecDeque<Posted>>,
}

/// A ticket as it was posted and answered, kept to be posted again.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    /// Idempotency key.
    pub(crate) key: String,
    /// The request.
    pub(crate) body: Value,
    /// The first answer.
    pub(crate) id: String,
}

/// Tickets kept to be posted again.
const POSTED_MAX: usize = 500;

/// What the tills do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hours {
    /// Sell.
    Open,
    /// Sell without a pause.
    Rush,
    /// Finish what is under way, begin nothing.
    Paused,
    /// Finish what is under way and end.
    Closed,
}

impl Shop {
    /// A closed shop; [`Shop::hours`] opens it.
    pub(crate) fn new(counter: Counter, articles: Vec<(u64, bool)>) -> Arc<Self> {
        Arc::new(Self {
            counter,
            articles,
            books: Mutex::default(),
            weighed: Mutex::default(),
            hours: watch::channel(Hours::Paused).0,
            posted: Mutex::default(),
        })
    }

    /// The last tickets that were acknowledged, oldest first.
    pub(crate) fn posted(&self) -> Vec<Posted> {
        locked(&self.posted).iter().cloned().collect()
    }

    fn keep(&self, posted: Posted) {
        let mut list = locked(&self.posted);
        if list.len() >= POSTED_MAX {
            list.pop_front();
        }
        list.push_back(posted);
    }

    /// The books; a panicking actor must not hide what the others entered.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        locked(&self.books)
    }

    fn next_weighed(&self) -> Option<(String, i64)> {
        locked(&self.weighed).pop_front()
    }

    /// Offers a weighing to the tills. Bounded: an old one that nobody took is forgotten.
    pub(crate) fn offer_weighed(&self, id: String, grams: i64) {
        let mut queue = locked(&self.weighed);
        if queue.len() >= 64 {
            queue.pop_front();
        }
        queue.push_back((id, grams));
    }
}

/// The content of a lock, even if another actor panicked while holding it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The trading day that every ticket is booked to.
const DAY: &str = "2026-03-02";

/// How old a price may be that a till has in memory.
const PRICE_AGE: Duration = Duration::from_secs(2);

/// One till.
pub(crate) struct Till {
    shop: Arc<Shop>,
    till: u16,
    pause_ms: (u64, u64),
    random: Random,
    prices: BTreeMap<u64, (i64, Instant)>,
    number: u64,
    returns: u64,
}

impl Till {
    /// Till number `till`, with pauses between its tickets from a range of milliseconds.
    pub(crate) fn new(shop: Arc<Shop>, till: u16, pause_ms: (u64, u64), random: Random) -> Self {
        Self { shop, till, pause_ms, random, prices: BTreeMap::new(), number: 0, returns: 0 }
    }

    /// Works until the shop is closed. `idle` says when a till has nothing under way.
    pub(crate) async fn work(mut self, idle: Arc<tokio::sync::Semaphore>) {
        let mut hours = self.shop.hours.subscribe();
        loop {
            let hours =
                hours.wait_for(|hours| *hours != Hours::Paused).await.map_or(Hours::Closed, |hours| *hours);
            if hours == Hours::Closed {
                return;
            }
            let rush = hours == Hours::Rush;
            let Ok(busy) = idle.acquire().await else { return };
            self.ticket().await;
            if self.random.chance(25) {
                self.take_back().await;
            }
            if self.random.chance(20) {
                self.nonsense().await;
            }
            drop(busy);
            let (low, high) = if rush { (0, 3) } else { self.pause_ms };
            tokio::time::sleep(self.random.millis(low, high)).await;
        }
    }

    fn fault(&self, what: String) {
        self.shop.books().fault(format!("till {}: {what}", self.till));
    }

    /// The price that the till believes in: at most [`PRICE_AGE`] old, read until it is answered.
    async fn price(&mut self, sku: u64) -> Option<i64> {
        if let Some((price, read)) = self.prices.get(&sku)
            && read.elapsed() < PRICE_AGE
        {
            return Some(*price);
        }
        let path = format!("/v1/prices/{sku}");
        for _ in 0..400 {
            if let Ok(answer) = http::get(self.shop.counter.server(), &path).await {
                let price = answer.json()["price_minor"].as_i64();
                if let (200, Some(price)) = (answer.status, price) {
                    self.prices.insert(sku, (price, Instant::now()));
                    return Some(price);
                }
                if answer.status < 500 {
                    self.fault(format!("no price for {sku}: {} {}", answer.status, answer.text()));
                    return None;
                }
            }
            tokio::time::sleep(self.random.millis(50, 150)).await;
        }
        self.fault(format!("price of {sku} unanswered"));
        None
    }

    /// Lines at the prices of now. The choice of goods was made before and is kept when prices change.
    async fn price_lines(&mut self, basket: &[Pick]) -> Option<Vec<Line>> {
        let mut lines = Vec::new();
        for pick in basket {
            let price = self.price(pick.sku).await?;
            let full = extend(price, pick.quantity);
            let discount = full * pick.discount_percent / 100;
            lines.push(Line {
                sku: pick.sku,
                quantity: pick.quantity,
                price,
                discount,
                amount: full - discount,
                weighing: pick.weighing.clone(),
                batch: None,
            });
        }
        Some(lines)
    }

    fn basket(&mut self) -> Vec<Pick> {
        let count = self.random.between(1, 5);
        let mut basket = Vec::new();
        for _ in 0..count {
            let (sku, weighed) = *self.random.pick(&self.shop.articles);
            let discount_percent = if self.random.chance(100) { self.random.signed(1, 30) } else { 0 };
            let (quantity, weighing) = match weighed.then(|| self.shop.next_weighed()).flatten() {
                Some((id, grams)) => (grams, Some(id)),
                None if weighed => (self.random.signed(20, 2500), None),
                None => (self.random.signed(1, 4) * 1000, None),
            };
            basket.push(Pick { sku, quantity, discount_percent, weighing });
        }
        basket
    }

    fn tenders(&mut self, total: i64) -> Vec<(String, i64)> {
        let kinds = ["cash", "card", "wallet", "voucher"];
        let first = (*self.random.pick(&kinds)).to_owned();
        let second = (*self.random.pick(&kinds)).to_owned();
        if total > 2 && first != second && self.random.chance(150) {
            let part = self.random.signed(1, total - 1);
            return vec![(first, part), (second, total - part)];
        }
        vec![(first, total)]
    }

    /// Sells one ticket, priced anew as often as prices fall under it.
    async fn ticket(&mut self) {
        self.number += 1;
        let (till, number) = (self.till, self.number);
        let basket = self.basket();
        for attempt in 0..20 {
            let Some(lines) = self.price_lines(&basket).await else { return };
            let total: i64 = lines.iter().map(|line| line.amount).sum();
            let tenders = self.tenders(total);
            let body = self.body(number, &lines, &tenders, total);
            let key = format!("t{till}-{number}-{attempt}");
            match self.shop.counter.post("/v1/tickets", &key, &body, &mut self.random).await {
                Ok(Outcome::Accepted { id, replayed }) => {
                    self.shop.keep(Posted { key, body, id: id.clone() });
                    let mut books = self.shop.books();
                    books.replayed += u64::from(replayed);
                    books.ticket(till, number, Ticket { id, lines, tenders });
                    return;
                }
                Ok(Outcome::Refused { code, .. }) if code == "price-above-current" => self.prices.clear(),
                Ok(refused) => return self.fault(format!("ticket {number}: {refused:?}")),
                Err(error) => return self.fault(error.to_string()),
            }
        }
        self.fault(format!("ticket {number}: the price fell twenty times in a row"));
    }

    fn body(&self, number: u64, lines: &[Line], tenders: &[(String, i64)], total: i64) -> Value {
        ticket_body(self.till, number, lines, tenders, total)
    }

    /// Takes back the first line of one of this till's tickets and pays in cash.
    async fn take_back(&mut self) {
        let sold: Vec<Ticket> = {
            let books = self.shop.books();
            books
                .tickets
                .range((self.till, 0)..(self.till + 1, 0))
                .map(|(_, ticket)| ticket.clone())
                .collect()
        };
        if sold.is_empty() {
            return;
        }
        self.returns += 1;
        let (till, number) = (self.till, self.returns);
        let ticket = self.random.pick(&sold).clone();
        let mut line = ticket.lines[0].clone();
        line.weighing = None;
        let (lines, tenders) = (vec![line.clone()], vec![("cash".to_owned(), line.amount)]);
        let mut body = self.body(number, &lines, &tenders, line.amount);
        body["of"] = json!(ticket.id);
        let key = format!("r{till}-{number}");
        match self.shop.counter.post("/v1/returns", &key, &body, &mut self.random).await {
            Ok(Outcome::Accepted { id, replayed }) => {
                let mut books = self.shop.books();
                books.replayed += u64::from(replayed);
                books.returned(till, number, Ticket { id, lines, tenders });
            }
            Ok(refused) => self.fault(format!("return {number}: {refused:?}")),
            Err(error) => self.fault(error.to_string()),
        }
    }

    /// Sends something wrong; it must be refused with a 4xx and a code, and book nothing (the oracle would see it).
    async fn nonsense(&mut self) {
        let (sku, _) = *self.random.pick(&self.shop.articles);
        let Some(price) = self.price(sku).await else { return };
        // Far below the price of now, so that only the intended fault is there.
        let price = price / 2;
        let line =
            Line { sku, quantity: 1000, price, discount: 0, amount: price, weighing: None, batch: None };
        let tenders = vec![("cash".to_owned(), price)];
        let mut body = self.body(1_000_000 + self.number, &[line], &tenders, price);
        let what = *self.random.pick(&[
            "unknown article",
            "wrong total",
            "negative quantity",
            "overflow",
            "no lines",
        ]);
        match what {
            "unknown article" => body["lines"][0]["sku"] = json!(99_999_999),
            "wrong total" => body["total_minor"] = json!(price + 1),
            "negative quantity" => body["lines"][0]["quantity_milli"] = json!(-1000),
            "overflow" => body["lines"][0]["quantity_milli"] = json!(i64::MAX),
            _ => body["lines"] = json!([]),
        }
        let key = format!("n{}-{}", self.till, self.number);
        match self.shop.counter.post("/v1/tickets", &key, &body, &mut self.random).await {
            Ok(Outcome::Refused { status: 400..500, code, .. }) if !code.is_empty() => {
                self.shop.books().refused += 1;
            }
            Ok(other) => self.fault(format!("{what} was answered {other:?}")),
            Err(error) => self.fault(error.to_string()),
        }
    }
}

/// A ticket or return as it is posted.
pub(crate) fn ticket_body(
    till: u16,
    number: u64,
    lines: &[Line],
    tenders: &[(String, i64)],
    total: i64,
) -> Value {
    let lines: Vec<Value> = lines.iter().map(line_body).collect();
    let tenders: Vec<Value> =
        tenders.iter().map(|(kind, amount)| json!({"kind": kind, "amount_minor": amount})).collect();
    json!({
        "till": till, "number": number, "day": DAY, "currency": "CNY",
        "lines": lines, "tenders": tenders, "total_minor": total,
    })
}

/// Goods in the basket.
struct Pick {
    sku: u64,
    quantity: i64,
    discount_percent: i64,
    weighing: Option<String>,
}

fn line_body(line: &Line) -> Value {
    let mut body = json!({
        "sku": line.sku, "quantity_milli": line.quantity, "unit_price_minor": line.price,
        "discount_minor": line.discount, "amount_minor": line.amount,
    });
    if let Some(weighing) = &line.weighing {
        body["weighing"] = json!(weighing);
    }
    if let Some(batch) = &line.batch {
        body["batch"] = json!(batch);
    }
    body
}
