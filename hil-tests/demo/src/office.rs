//! The back office and headquarters' buyers: receipts, waste and counts in the store, price changes at HQ.

use crate::books::Movement;
use crate::catalogue::{self, Article};
use crate::posting::Outcome;
use crate::random::Random;
use crate::tills::Shop;
use hil_rig::http::Server;
use serde_json::{Value, json};
use std::sync::Arc;

use tokio::sync::watch;

/// Books every article in once, so that there is something to sell.
pub(crate) async fn deliver(shop: &Shop, skus: &[u64], random: &mut Random) {
    for sku in skus {
        post_receipt(shop, *sku, random.signed(200, 900) * 1000, &format!("first-{sku}"), random).await;
    }
}

/// Receives, writes off and counts until told to stop.
pub(crate) async fn clerk(shop: Arc<Shop>, mut random: Random, mut stop: watch::Receiver<bool>) {
    let mut number = 0_u64;
    while !*stop.borrow_and_update() {
        number += 1;
        let (sku, _) = *random.pick(&shop.articles);
        let key = format!("office-{number}");
        match random.between(0, 2) {
            0 => {
                let quantity = random.signed(10, 200) * 500;
                post_receipt(&shop, sku, quantity, &key, &mut random).await;
            }
            1 => post_waste(&shop, sku, random.signed(1, 3000), &key, &mut random).await,
            _ => post_count(&shop, sku, &key, &mut random).await,
        }
        let pause = random.millis(300, 1200);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
    }
}

async fn post_receipt(shop: &Shop, sku: u64, quantity: i64, key: &str, random: &mut Random) {
    let body = json!({
        "reference": format!("delivery {key}"),
        "lines": [{"sku": sku, "quantity_milli": quantity, "unit_cost_minor": random.signed(50, 4000)}],
    });
    book(shop, "/v1/receipts", key, &body, (Movement::Receipt, sku, quantity), random).await;
}

async fn post_waste(shop: &Shop, sku: u64, quantity: i64, key: &str, random: &mut Random) {
    let reason = *random.pick(&["damaged", "expired", "process"]);
    let body = json!({"sku": sku, "quantity_milli": quantity, "reason": reason});
    book(shop, "/v1/waste", key, &body, (Movement::Waste, sku, -quantity), random).await;
}

async fn post_count(shop: &Shop, sku: u64, key: &str, random: &mut Random) {
    // The book value is whatever the counting person was told; only the difference is booked.
    let stock = random.signed(0, 500_000);
    let difference = random.signed(-2000, 2000).max(-stock);
    let body = json!({
        "sku": sku, "section": "aisle 3", "counted_milli": stock + difference, "book_milli": stock, "by": "clerk",
    });
    book(shop, "/v1/counts", key, &body, (Movement::Count, sku, difference), random).await;
}

async fn book(
    shop: &Shop,
    path: &str,
    key: &str,
    body: &Value,
    (kind, sku, change): (Movement, u64, i64),
    random: &mut Random,
) {
    let outcome = shop.counter.post(path, key, body, random).await;
    let mut books = shop.books();
    match outcome {
        Ok(Outcome::Accepted { id, replayed }) => {
            books.replayed += u64::from(replayed);
            books.movement(id, kind, sku, change);
        }
        Ok(refused) => books.fault(format!("{path} with key {key}: {refused:?}")),
        Err(error) => books.fault(error.to_string()),
    }
}

/// Changes prices at HQ, up and down, until told to stop. Returns what was published last for each article.
pub(crate) async fn buyers(
    hq: Server,
    shop: Arc<Shop>,
    mut articles: Vec<Article>,
    pause_ms: (u64, u64),
    mut random: Random,
    mut stop: watch::Receiver<bool>,
) -> Vec<Article> {
    while !*stop.borrow_and_update() {
        let pause = random.millis(pause_ms.0, pause_ms.1);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => return articles,
        }
        let mut changed = Vec::new();
        for _ in 0..random.between(1, 3) {
            let index = random.pick(&(0..articles.len()).collect::<Vec<_>>()).to_owned();
            let article = &mut articles[index];
            let percent = *random.pick(&[-30, -15, -5, 5, 10, 25]);
            article.price = (article.price + article.price * percent / 100).clamp(100, 20_000);
            changed.push(article.clone());
        }
        changed.sort_by_key(|article| article.sku);
        changed.dedup_by_key(|article| article.sku);
        if let Err(error) = catalogue::publish(&hq, &changed).await {
            shop.books().fault(format!("price change: {error:#}"));
        }
    }
    articles
}
