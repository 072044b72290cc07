//! Settlement end to end: real mosquitto, the `sync-hq` program, stores made of the sync crates. At the end both sides must
//! hold the same bytes, links and folds, and verify clean.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

#[path = "../../mqtt/tests/broker/mod.rs"]
mod broker;
mod stand;

use broker::Broker;
use serde_json::json;
use stand::{Hq, StandIn, assert_same, receipt, sale, until};
use sync_model::{Sku, StoreId};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_settles_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let hq_file = folder.path().join("hq.db");
    let mut broker = Broker::start(&[]);
    let mut hq = Hq::start(&hq_file, broker.port());
    let store = StandIn::open(7, folder.path(), broker.port());

    store.append(receipt(1_000_000));
    store.sell(1, 200);
    until("the first day settles", || store.settled()).await;

    // The broker dies and forgets everything, retained acks included; the tills go on.
    broker.kill();
    store.sell(201, 500);
    assert!(!store.settled());
    broker.restart();
    until("settled after the broker came back", || store.settled()).await;

    // HQ dies without a word, several times, while events are on their way.
    for round in 0..4 {
        let from = 501 + round * 150;
        store.sell(from, from + 149);
        hq.kill();
        hq.restart();
    }
    until("settled after HQ came back", || store.settled()).await;

    // Both at once, then HQ first, without a broker.
    hq.kill();
    broker.kill();
    store.sell(1_101, 1_200);
    hq.restart();
    assert_eq!(hq.get("/v1/health").1["broker"]["up"], json!(false));
    broker.restart();
    until("settled after everything came back", || store.settled()).await;

    let (status, summary) = hq.get("/v1/stores/7/summary");
    assert_eq!((status, &summary["tickets"]), (200, &json!(1_200)));
    let (_, verified) = hq.post("/v1/verify", "");
    assert_eq!(verified["ok"], json!(true), "{verified}");
    assert_eq!(hq.quarantine_codes(), [""; 0]);

    hq.terminate();
    let id = store.id;
    let at_store = store.close().await;
    // Tickets, the receipt and the epoch's first event.
    assert_eq!(assert_same(id, &at_store, &hq_file), 1_202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_stores_settle_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let hq_file = folder.path().join("hq.db");
    let broker = Broker::start(&[]);
    let mut hq = Hq::start(&hq_file, broker.port());
    // 1 and 65 share a bucket of topics.
    let stores: Vec<StandIn> =
        [1, 2, 65, 4_000_000_000].map(|id| StandIn::open(id, folder.path(), broker.port())).into();
    for store in &stores {
        store.append(receipt(1_000_000));
        store.sell(1, 300);
    }
    until("all settle", || stores.iter().all(StandIn::settled)).await;
    hq.terminate();
    for store in stores {
        let id = store.id;
        let at_store = store.close().await;
        assert_eq!(assert_same(id, &at_store, &hq_file), 302);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hqs_price_book_reaches_the_store_and_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let hq_file = folder.path().join("hq.db");
    let mut broker = Broker::start(&[]);
    let mut hq = Hq::start(&hq_file, broker.port());
    // The book is written before the store was ever heard of.
    let book: Vec<_> = (1_000..1_250)
        .map(|sku| json!({"sku": sku, "name": format!("Article {sku}"), "unit": "piece", "price_minor": sku, "tax_rate": 1300}))
        .collect();
    let (status, answer) = hq.post("/v1/stores/7/articles", &json!(book).to_string());
    assert_eq!((status, answer["ids"].as_array().map(Vec::len)), (201, Some(3)), "{answer}");
    assert!(answer["versions"].as_array().unwrap().iter().all(|row| row["version"] == 1));

    let store = StandIn::open(7, folder.path(), broker.port());
    let price = |sku| {
        let article = store.ledger.reader().unwrap().article(StoreId(7), Sku(sku)).unwrap()?;
        Some((article.version, article.price.0))
    };
    until("the book arrives", || price(1_249) == Some((1, 1_249))).await;
    let acked = || hq.store(StoreId(7)).is_some_and(|row| row["lag_down"] == 0 && row["present"] == true);
    until("the book is acknowledged", acked).await;

    // A change while the broker is dead, then an HQ that was killed before it could send.
    broker.kill();
    let change = json!([{"sku": 1_000, "name": "Dearer", "unit": "piece", "price_minor": 2_000}]).to_string();
    let (status, answer) = hq.post("/v1/stores/7/articles", &change);
    assert_eq!((status, &answer["versions"][0]["version"]), (201, &json!(2)), "{answer}");
    hq.kill();
    hq.restart();
    broker.restart();
    until("the change arrives", || price(1_000) == Some((2, 2_000))).await;
    until("the change is acknowledged", || hq.store(StoreId(7)).is_some_and(|row| row["lag_down"] == 0))
        .await;

    let (status, _) = hq.post("/v1/stores/7/commands", r#"{"command":"note","text":"Stocktake on Friday"}"#);
    assert_eq!(status, 201);
    until("the note is acknowledged", || hq.store(StoreId(7)).is_some_and(|row| row["lag_down"] == 0)).await;
    let (_, events) = hq.get("/v1/stores/7/events?direction=down&from=1&limit=100");
    let kinds: Vec<_> =
        events["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(
        kinds,
        ["epoch-opened", "articles-set", "articles-set", "articles-set", "articles-set", "command"]
            .map(|kind| json!(kind))
    );

    store.append(sale(1));
    until("the store settles too", || store.settled()).await;
    hq.terminate();
    let at_store = store.close().await;
    assert_same(StoreId(7), &at_store, &hq_file);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_leaves_and_returns_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&[]);
    let hq = Hq::start(&folder.path().join("hq.db"), broker.port());
    let present =
        |value: bool| move |hq: &Hq| hq.store(StoreId(7)).is_some_and(|row| row["present"] == value);
    let store = StandIn::open(7, folder.path(), broker.port());
    until("it is there", || present(true)(&hq)).await;
    store.close().await;
    until("it left", || present(false)(&hq)).await;
    let store = StandIn::open(7, folder.path(), broker.port());
    until("it is back", || present(true)(&hq)).await;
    let row = hq.store(StoreId(7)).unwrap();
    assert_eq!(row["software"], "stand-in");
    assert!(row["last_seen_ms"].as_i64().unwrap() > 1_700_000_000_000);
    drop(store);
}
