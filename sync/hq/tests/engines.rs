//! HQ as a program on both of its ledgers: the whole HTTP API says the same; on PostgreSQL several workers share a fleet, take
//! a killed one's stores over and give them back; without the server nothing is acknowledged.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

#[path = "../../mqtt/tests/broker/mod.rs"]
mod broker;
mod stand;

use broker::Broker;
use hil_rig::postgres::Postgres as Server;
use serde_json::{Value, json};
use stand::{Hq, StandIn, receipt, stamp, until};
use sync_model::{
    Event, FactRef, LotId, Milli, RegisterValue, Sku, StoreId, Text, TransferIn, TransferLine, TransferOut,
};

/// Values that differ from run to run.
const VOLATILE: [&str; 11] = [
    "buckets",
    "received_ms",
    "at_ms",
    "since_ms",
    "last_seen_ms",
    "now_ms",
    "effective",
    "link_hex",
    "hlc",
    "sent_ms",
    "settled_ms",
];

/// Takes out what differs from run to run: times, links, and names that hold an epoch (which is a time).
fn still(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for name in VOLATILE {
                map.remove(name);
            }
            for name in ["epoch", "id", "ids", "log", "of", "by", "subject", "raw_hex"] {
                if let Some(value) = map.get_mut(name) {
                    *value = json!("...");
                }
            }
            map.values_mut().for_each(still);
        }
        Value::Array(rows) => rows.iter_mut().for_each(still),
        _ => {}
    }
}

/// What HQ is asked.
const QUESTIONS: [&str; 14] = [
    "/v1/health",
    "/v1/stores",
    "/v1/stores/7/events?limit=500",
    "/v1/stores/7/events?direction=down",
    "/v1/stores/9/events",
    "/v1/stores/7/stock",
    "/v1/stores/7/stock?sku=1000",
    "/v1/stores/7/money",
    "/v1/stores/7/summary",
    "/v1/stores/99/summary",
    "/v1/quarantine",
    "/v1/conflicts?all=true",
    "/v1/transfers",
    "/v1/rights",
];

/// What people order, right and wrong, after a transfer.
fn orders(of: FactRef) -> Vec<(&'static str, String)> {
    let of_body = json!({"of": of.to_string()}).to_string();
    vec![
        (
            "/v1/stores/7/articles",
            json!([{"sku": 1_000, "name": "Bun", "unit": "piece", "price_minor": 150}]).to_string(),
        ),
        (
            "/v1/stores/7/articles",
            json!([{"sku": 1_000, "name": "Bun", "unit": "piece", "price_minor": 160}]).to_string(),
        ),
        ("/v1/stores/7/commands", json!({"command": "note", "text": "hello"}).to_string()),
        ("/v1/stores/7/commands", json!({"command": "dance"}).to_string()),
        ("/v1/stores/7/rights", json!({"order": "issue", "sku": 1_000, "quantity_milli": 9_000}).to_string()),
        ("/v1/stores/7/rights", json!({"order": "grant", "sku": 1_000, "quantity_milli": 4_000}).to_string()),
        ("/v1/stores/8/rights", json!({"order": "grant", "sku": 1_000, "quantity_milli": 6_000}).to_string()),
        ("/v1/stores/8/rights", json!({"order": "grant", "sku": 1_000, "quantity_milli": 5_000}).to_string()),
        ("/v1/stores/7/rights", json!({"order": "fence", "epoch": of.epoch.0}).to_string()),
        ("/v1/stores/7/transfers/close", of_body.clone()),
        ("/v1/stores/8/transfers/close", of_body),
        ("/v1/stores/7/conflicts/0123456789abcdef/settle", json!({"by": "me"}).to_string()),
    ]
}

/// One store's day, people's orders, and every question that HQ answers about them.
async fn whole_api(hq: &mut Hq, broker: &Broker) -> Vec<(String, u16, Value)> {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    until("HQ listens", || hq.get("/v1/health").1["broker"]["up"] == json!(true)).await;
    let store = StandIn::open(7, folder.path(), broker.port());
    store.append(receipt(1_000_000));
    store.sell(1, 60);
    let line = |quantity| TransferLine { sku: Sku(1_000), lot: LotId::default(), quantity: Milli(quantity) };
    let out = TransferOut { to: StoreId(8), lines: vec![line(5_000)] };
    let sent = store.append(Event::new(stamp(1_700_000_000_500), out));
    let of = FactRef { epoch: store.log().epoch, seq: sent };
    let other = StandIn::open(8, folder.path(), broker.port());
    other.append(Event::new(
        stamp(1_700_000_000_600),
        TransferIn { from: StoreId(7), of, lines: vec![line(4_000)] },
    ));
    let (name, value) = (Text::lossy("note/door"), RegisterValue::Number(3));
    store
        .ledger
        .call(move |draft| draft.write_register(stamp(1_700_000_000_700), StoreId(7), name, value))
        .unwrap();
    until("both settle", || store.settled() && other.settled()).await;
    // A message of nobody, for the quarantine.
    let mut stray = stand::Peer::connect(broker.port(), StoreId(9)).await;
    stray.publish("sy1/09/9/u", b"garbage".to_vec());
    stray.next_nak().await;

    let mut say = |what: String, (status, mut body): (u16, Value)| {
        still(&mut body);
        said.push((what, status, body));
    };
    for (path, body) in orders(of) {
        say(format!("POST {path} {body}").replace(&of.to_string(), "..."), hq.post(path, &body));
    }
    let acknowledged =
        || [7, 8].iter().all(|id| hq.store(StoreId(*id)).is_some_and(|row| row["lag_down"] == 0));
    until("the orders arrive", acknowledged).await;
    for path in QUESTIONS {
        say(path.to_owned(), hq.get(path));
    }
    let verified = hq.post("/v1/verify", "");
    assert_eq!((verified.0, &verified.1["ok"]), (200, &json!(true)), "{}", verified.1);
    say("verify".to_owned(), verified);
    hq.terminate();
    store.close().await;
    other.close().await;
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_api_says_the_same_on_both_ledgers() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&[]);
    let mut hq = Hq::start(&folder.path().join("hq.db"), broker.port());
    let files = whole_api(&mut hq, &broker).await;

    let server = Server::start().unwrap();
    let url = server.database("hq").unwrap();
    let broker = Broker::start(&[]);
    let mut hq = Hq::start_worker(&url, "hq-a", "0-63", broker.port());
    let postgres = whole_api(&mut hq, &broker).await;

    assert_eq!(files.len(), postgres.len());
    for (ours, theirs) in files.iter().zip(&postgres) {
        assert_eq!(ours, theirs);
    }
    let status = |part: &str| -> Vec<u16> {
        files.iter().filter(|(what, ..)| what.contains(part)).map(|(_, status, _)| *status).collect()
    };
    assert_eq!(status("\"grant\""), [201, 422, 201], "the pool holds 5,000 after the first");
    assert_eq!(status("transfers/close"), [201, 404]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_a_fleet_and_take_a_killed_ones_stores_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().unwrap();
    let url = server.database("hq").unwrap();
    let broker = Broker::start(&[]);
    let mut left = Hq::start_worker(&url, "hq-a", "0-31", broker.port());
    let right = Hq::start_worker(&url, "hq-b", "32-63", broker.port());
    // Buckets 7 and 40.
    let stores = [7, 40].map(|id| StandIn::open(id, folder.path(), broker.port()));
    for store in &stores {
        store.append(receipt(1_000_000));
        store.sell(1, 200);
    }
    until("both settle", || stores.iter().all(StandIn::settled)).await;
    // Orders reach the owner through any worker, and the store through the owner.
    let book = json!([{"sku": 1_000, "name": "Bun", "unit": "piece", "price_minor": 150}]).to_string();
    for (store, hq) in [(7, &right), (40, &left)] {
        let (status, answer) = hq.post(&format!("/v1/stores/{store}/articles"), &book);
        assert_eq!(status, 201, "{answer}");
    }
    let price = |store: &StandIn| store.ledger.reader().unwrap().article(store.id, Sku(1_000)).unwrap();
    until("the book arrives at both", || stores.iter().all(|store| price(store).is_some())).await;

    for round in 0..2_u64 {
        let from = 201 + round * 200;
        stores.iter().for_each(|store| store.sell(from, from + 99));
        left.kill();
        stores.iter().for_each(|store| store.sell(from + 100, from + 199));
        until("the other one takes over", || stores.iter().all(StandIn::settled)).await;
        left.restart();
        let own = || left.get("/v1/health").1["buckets"] == json!(32);
        until("it has its buckets again", own).await;
        let (_, workers) = right.get("/v1/workers");
        assert_eq!(workers["workers"].as_array().map(Vec::len), Some(2), "{workers}");
    }
    until("both settle", || stores.iter().all(StandIn::settled)).await;
    for (store, hq) in stores.iter().zip([&right, &left]) {
        let (_, summary) = hq.get(&format!("/v1/stores/{}/summary", store.id));
        assert_eq!(summary["tickets"], json!(600), "each worker shows every store: {summary}");
    }
    let (_, verified) = right.post("/v1/verify", "");
    assert_eq!(verified["ok"], json!(true), "{verified}");
    assert_eq!(right.quarantine_codes(), [""; 0]);
    for store in stores {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_nothing_is_acknowledged_and_it_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start().unwrap();
    let url = server.database("hq").unwrap();
    let broker = Broker::start(&[]);
    server.kill().unwrap();
    // It may come later.
    let hq = Hq::start_worker(&url, "hq-a", "0-63", broker.port());
    let health = || hq.get("/v1/health");
    until("health says that the server is away", || health().0 == 503).await;
    let store = StandIn::open(7, folder.path(), broker.port());
    store.append(receipt(1_000_000));
    store.sell(1, 100);
    server.restart().unwrap();
    until("it begins", || store.settled()).await;
    for round in 1..3_u64 {
        server.kill().unwrap();
        store.sell(round * 100 + 1, round * 100 + 100);
        until("health says so", || health().0 == 503).await;
        let (_, body) = health();
        assert!(body["ledger"]["fault"].as_str().is_some_and(|fault| fault.contains("PostgreSQL")), "{body}");
        assert!(!store.settled());
        assert_eq!(hq.post("/v1/stores/7/commands", r#"{"command":"open-epoch"}"#).0, 500);
        server.restart().unwrap();
        until("it resumes", || store.settled() && health().0 == 200).await;
    }
    let (_, verified) = hq.post("/v1/verify", "");
    assert_eq!(verified["ok"], json!(true), "{verified}");
    let (_, summary) = hq.get("/v1/stores/7/summary");
    assert_eq!(summary["tickets"], json!(300));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hq_with_its_own_broker_is_one_command() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, files) = (folder.path().join("hq.db"), folder.path().join("broker"));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut hq = Hq::start_embedded(&ledger, &files, port);
    let store = StandIn::open(7, folder.path(), port);
    store.append(receipt(1_000_000));
    store.sell(1, 50);
    until("the store settles", || store.settled()).await;
    // SIGKILL: the broker goes with it, so that the next one finds its port free.
    hq.kill();
    until("the broker is gone", || std::net::TcpStream::connect(("127.0.0.1", port)).is_err()).await;
    store.sell(51, 100);
    hq.restart();
    until("the store settles again", || store.settled()).await;
    hq.terminate();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it ends with HQ");
    let at_store = store.close().await;
    assert_eq!(stand::assert_same(StoreId(7), &at_store, &ledger), 102);
}
