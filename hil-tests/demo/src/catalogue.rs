//! The price book of the script and how HQ is told about it.

use crate::random::Random;
use anyhow::{Result, bail};
use hil_rig::http::{self, Request, Server};
use serde_json::{Value, json};
use std::time::Duration;

/// The store of every run.
pub(crate) const STORE: u32 = 7;
/// First article number.
pub(crate) const FIRST_SKU: u64 = 1001;
/// Articles cooked in the steamers; not sold at random, so that the kitchen's stock is the kitchen's.
pub(crate) const FRESH: [u64; 6] = [2001, 2002, 2003, 2004, 2005, 2006];

/// What a piece of each costs, all day.
pub(crate) const FRESH_PRICE: i64 = 600;

/// One article of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Article {
    /// Number.
    pub(crate) sku: u64,
    /// Whether it is sold by weight.
    pub(crate) weighed: bool,
    /// Price per stock unit.
    pub(crate) price: i64,
}

/// `count` articles for the tills; every third is weighed.
pub(crate) fn shelf(count: u64, random: &mut Random) -> Vec<Article> {
    (0..count)
        .map(|index| Article {
            sku: FIRST_SKU + index,
            weighed: index % 3 == 0,
            price: random.signed(150, 9900),
        })
        .collect()
}

/// The kitchen's articles.
pub(crate) fn fresh() -> Vec<Article> {
    FRESH.iter().map(|sku| Article { sku: *sku, weighed: false, price: FRESH_PRICE }).collect()
}

/// The article as HQ's interface takes it.
fn body(article: &Article) -> Value {
    let (unit, name) = if article.weighed { ("kilogram", "Loose") } else { ("piece", "Packed") };
    json!({
        "sku": article.sku, "name": format!("{name} {}", article.sku), "unit": unit,
        "price_minor": article.price, "tax_rate": 900,
    })
}

/// Tells HQ the prices. Repeated until HQ answers: a price that is set twice is one price with two versions.
pub(crate) async fn publish(hq: &Server, articles: &[Article]) -> Result<()> {
    let path = format!("/v1/stores/{STORE}/articles");
    let mut last = String::new();
    for _ in 0..300 {
        let body: Value = articles.iter().map(body).collect();
        let request = Request {
            method: "POST",
            path: &path,
            headers: &[],
            body: Some(&body),
            limit: Duration::from_secs(10),
        };
        match http::send(hq, &request).await {
            Ok(answer) if answer.is_success() => return Ok(()),
            Ok(answer) if answer.status < 500 => bail!("HQ refused the price book: {}", answer.text()),
            Ok(answer) => last = answer.text(),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    bail!("HQ did not take the price book: {last}")
}
