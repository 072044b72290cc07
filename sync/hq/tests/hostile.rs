//! HQ against peers that repeat, reorder, contradict themselves, speak for others, or send nonsense: nothing counts twice,
//! everything odd is kept aside and answered, the link stays up.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

#[path = "../../mqtt/tests/broker/mod.rs"]
mod broker;
mod stand;

use broker::Broker;
use serde_json::json;
use stand::{Hq, Peer, block, is_verdict, sale, tickets, until, up_log};
use sync_core::{Ack, Hello, Link, Message};
use sync_model::{Direction, Epoch, Fact, LogId, Seq, StoreId, Text};

struct Scene {
    _folder: tempfile::TempDir,
    hq: Hq,
    peer: Peer,
    // Declared last: the others leave before the broker does.
    _broker: Broker,
}

/// HQ, a broker and a peer that speaks on store 7's topics.
async fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(&[]);
    let hq = Hq::start(&folder.path().join("hq.db"), broker.port());
    until("HQ is connected", || hq.get("/v1/health").1["broker"]["up"] == true).await;
    let peer = Peer::connect(broker.port(), StoreId(7)).await;
    Scene { _folder: folder, hq, peer, _broker: broker }
}

const TOPIC: &str = "sy1/07/7/u";

fn span(log: LogId, first: u64, last: u64) -> Option<(LogId, Seq, Seq)> {
    Some((log, Seq(first), Seq(last)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_gaps_and_reordering_count_once() {
    let mut scene = scene().await;
    let log = up_log(7, 1);
    let first = block(log, 1, Link::genesis(log), &tickets(1..=10));
    let second = block(log, 11, first.link(), &tickets(11..=20));
    let third = block(log, 21, second.link(), &tickets(21..=30));
    let overlap = block(log, 1, Link::genesis(log), &tickets(1..=15));
    let send = |scene: &Scene, block: &sync_core::Block| {
        scene.peer.publish(TOPIC, Message::Block(block.clone()).encode())
    };

    send(&scene, &third);
    let ack = scene.peer.next_ack().await;
    assert_eq!((ack.upto, ack.link, ack.gap), (Seq(0), Link::genesis(log), Some((Seq(1), Seq(20)))));
    send(&scene, &first);
    let ack = scene.peer.next_ack().await;
    assert_eq!((ack.upto, ack.link, ack.gap), (Seq(10), first.link(), None));
    send(&scene, &third);
    assert_eq!(scene.peer.next_ack().await.gap, Some((Seq(11), Seq(20))));
    send(&scene, &overlap);
    assert_eq!(scene.peer.next_ack().await.upto, Seq(15));
    for again in [&first, &second, &overlap, &third, &third, &second] {
        send(&scene, again);
    }
    let ack = scene.peer.next(|message| match message {
        Message::Ack(ack) if ack.upto == Seq(30) => Some(ack),
        _ => None,
    });
    assert_eq!(ack.await.link, third.link());

    let (_, summary) = scene.hq.get("/v1/stores/7/summary");
    assert_eq!(summary["tickets"], json!(30));
    let (_, stock) = scene.hq.get("/v1/stores/7/stock");
    let sold: i64 =
        stock["stock"].as_array().unwrap().iter().map(|row| row["sold_milli"].as_i64().unwrap()).sum();
    assert_eq!(sold, 30 * 250);
    assert_eq!(scene.hq.post("/v1/verify", "").1["ok"], json!(true));
    assert_eq!(scene.hq.quarantine_codes(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_is_answered_with_what_is_durable() {
    let mut scene = scene().await;
    let log = up_log(7, 3);
    let hello = |head| {
        let hello = Hello {
            store: StoreId(7),
            head: Some((log, Seq(head))),
            down: None,
            software: Text::lossy("peer"),
        };
        Message::Hello(hello).encode()
    };
    scene.peer.publish(TOPIC, hello(5));
    let nothing = Ack { log, upto: Seq(0), link: Link::genesis(log), gap: Some((Seq(1), Seq(5))) };
    assert_eq!(scene.peer.next_ack().await, nothing);
    assert_eq!(scene.hq.store(StoreId(7)).unwrap()["lag_up"], json!(5));
    let all = block(log, 1, Link::genesis(log), &tickets(1..=5));
    scene.peer.publish(TOPIC, Message::Block(all.clone()).encode());
    assert_eq!(scene.peer.next_ack().await.upto, Seq(5));
    scene.peer.publish(TOPIC, hello(5));
    assert_eq!(scene.peer.next_ack().await, Ack { log, upto: Seq(5), link: all.link(), gap: None });

    // Whoever subscribes later finds the ack at the broker.
    let mut late = Peer::connect(scene._broker.port(), StoreId(7)).await;
    assert_eq!(late.next_ack().await.upto, Seq(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equivocation_and_forks_are_kept_aside_refused_and_put_on_record() {
    let mut scene = scene().await;
    let log = up_log(7, 1);
    let honest = block(log, 1, Link::genesis(log), &tickets(1..=3));
    scene.peer.publish(TOPIC, Message::Block(honest.clone()).encode());
    assert_eq!(scene.peer.next_ack().await.upto, Seq(3));

    let other = block(log, 1, Link::genesis(log), &tickets(4..=6));
    scene.peer.publish(TOPIC, Message::Block(other.clone()).encode());
    assert_eq!(scene.peer.next_nak().await, ("equivocation".into(), span(log, 1, 3)));
    let fork = block(log, 4, other.link(), &tickets(7..=8));
    scene.peer.publish(TOPIC, Message::Block(fork).encode());
    assert_eq!(scene.peer.next_nak().await, ("chain-break".into(), span(log, 4, 5)));

    let mut codes = scene.hq.quarantine_codes();
    codes.sort_unstable();
    assert_eq!(codes, ["chain-break", "equivocation"]);
    // The first bytes stay; the log goes on from them.
    let more = block(log, 4, honest.link(), &tickets(9..=9));
    scene.peer.publish(TOPIC, Message::Block(more.clone()).encode());
    let ack = scene.peer.next(|message| match message {
        Message::Ack(ack) if ack.upto == Seq(4) => Some(ack),
        _ => None,
    });
    assert_eq!(ack.await.link, more.link());

    // The verdicts come down as facts once the store greets.
    let hello = Hello { store: StoreId(7), head: None, down: None, software: Text::default() };
    scene.peer.publish(TOPIC, Message::Hello(hello).encode());
    let mut facts: Vec<Fact> = Vec::new();
    while !(facts.iter().any(|fact| is_verdict(fact, "equivocation"))
        && facts.iter().any(|fact| is_verdict(fact, "chain-break")))
    {
        let block = scene
            .peer
            .next(|message| if let Message::Block(block) = message { Some(block) } else { None })
            .await;
        assert_eq!((block.log.store, block.log.direction), (StoreId(7), Direction::Down));
        facts.extend(block.records.iter().map(|record| sync_model::Event::from_record(record).unwrap().fact));
    }
    assert_eq!(scene.hq.post("/v1/verify", "").1["ok"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_kept_aside_and_answered_and_the_link_stays_up() {
    let mut scene = scene().await;
    let (own, foreign) = (up_log(7, 1), up_log(8, 1));
    let stolen = block(foreign, 1, Link::genesis(foreign), &tickets(1..=2));
    scene.peer.publish(TOPIC, Message::Block(stolen).encode());
    assert_eq!(scene.peer.next_nak().await, ("wrong-store".into(), span(foreign, 1, 2)));
    let hello = Hello { store: StoreId(9), head: None, down: None, software: Text::default() };
    scene.peer.publish(TOPIC, Message::Hello(hello).encode());
    assert_eq!(scene.peer.next_nak().await.0, "wrong-store");
    scene.peer.publish(TOPIC, b"{\"not\": \"ours\"}".to_vec());
    assert_eq!(scene.peer.next_nak().await, ("undecodable".into(), None));
    scene.peer.publish(TOPIC, vec![1; 100_000]);
    assert_eq!(scene.peer.next_nak().await, ("too-large".into(), None));
    let misplaced = Ack { log: own, upto: Seq(9), link: Link([9; 32]), gap: None };
    scene.peer.publish("sy1/07/7/c", Message::Ack(misplaced).encode());
    assert_eq!(scene.peer.next_nak().await.0, "wrong-message");
    // Nobody to answer: a topic that is none of ours, and one whose bucket does not fit.
    scene.peer.publish("sy1/99/7/u", b"lost".to_vec());
    scene.peer.publish("sy1/x/y/p", vec![]);
    until("seven kept aside", || scene.hq.quarantine_codes().len() == 7).await;

    // An event that cannot be read inside a sound block: stored as it came, the log is not blocked.
    let mut records = tickets(1..=3);
    records[1] = b"not an event".to_vec();
    let odd = block(own, 1, Link::genesis(own), &records);
    scene.peer.publish(TOPIC, Message::Block(odd.clone()).encode());
    let ack = scene.peer.next_ack().await;
    assert_eq!((ack.upto, ack.link), (Seq(3), odd.link()));
    assert_eq!(scene.hq.get("/v1/stores/7/summary").1["tickets"], json!(2));
    let (_, events) = scene.hq.get("/v1/stores/7/events?epoch=1&from=2&limit=1");
    assert_eq!(events["events"][0]["record_hex"], json!("6e6f7420616e206576656e74"));
    assert_eq!(scene.hq.get("/v1/health").1["status"], json!("ok"));
    let (_, metrics) = scene.hq.get("/metrics");
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("\nsteelyard_hq_mqtt_connects_total 1\n"), "{metrics}");
    assert!(metrics.contains("\nsteelyard_hq_messages_bad_total 7\n"), "{metrics}");
    assert_eq!(scene.hq.post("/v1/verify", "").1["ok"], json!(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_nonsense_is_answered_at_a_bounded_rate_and_hinders_nobody() {
    let mut scene = scene().await;
    let log = up_log(7, 1);
    let sound = block(log, 1, Link::genesis(log), &tickets(1..=3));
    let nonsense = (0..600_u32).map(|number| number.to_be_bytes().to_vec());
    for payload in nonsense.chain([Message::Block(sound).encode()]) {
        // The flood fills our own queue, too.
        while scene.peer.pipe.try_publish(TOPIC, payload.clone(), sync_mqtt::Publish::Live).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    assert_eq!(scene.peer.next_ack().await.upto, Seq(3));
    let (_, metrics) = scene.hq.get("/metrics");
    let value = |name: &str| -> u64 {
        let line =
            metrics.as_str().unwrap().lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert_eq!(value("steelyard_hq_messages_bad_total"), 600);
    assert!(value("steelyard_hq_quarantine_kept") < 60);
    assert!(value("steelyard_hq_naks_published_total") < 200);
    assert_eq!(value("steelyard_hq_verdicts_total"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_beyond_hqs_own_log_is_reported() {
    let scene = scene().await;
    let log = LogId { store: StoreId(7), direction: Direction::Down, epoch: Epoch(9) };
    let ack = Ack { log, upto: Seq(5), link: Link([5; 32]), gap: None };
    scene.peer.publish("sy1/07/7/c", Message::Ack(ack).encode());
    until("health names the store", || scene.hq.get("/v1/health").1["ahead"] == json!([7])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_refuses_in_json() {
    let scene = scene().await;
    let hq = &scene.hq;
    let code = |(status, body): (u16, serde_json::Value)| {
        assert_eq!(body["schema"], "steelyard.error/1", "{body}");
        (status, body["code"].as_str().unwrap().to_owned())
    };
    let article = |extra: &str| format!(r#"[{{"sku":1,"name":"A","unit":"piece","price_minor":5{extra}}}]"#);
    assert_eq!(code(hq.get("/v2")), (404, "not-found".into()));
    assert_eq!(code(hq.get("/v1/verify")), (405, "method-not-allowed".into()));
    assert_eq!(code(hq.get("/v1/stores/07/stock")), (400, "bad-store".into()));
    assert_eq!(code(hq.get("/v1/stores/5/stock")), (404, "no-store".into()));
    assert_eq!(code(hq.get("/v1/stores/5/events")), (404, "no-log".into()));
    assert_eq!(code(hq.get("/v1/stores/5/events?limit=-1")), (400, "bad-query".into()));
    assert_eq!(code(hq.post("/v1/stores/5/articles", "[]")), (400, "bad-count".into()));
    assert_eq!(code(hq.post("/v1/stores/5/articles", "nonsense")), (400, "bad-json".into()));
    assert_eq!(code(hq.post("/v1/stores/5/articles", &article(r#","colour":1"#))), (400, "bad-json".into()));
    assert_eq!(
        code(hq.post("/v1/stores/5/articles", &article(r#","safety_milli":-1"#))),
        (400, "bad-article".into())
    );
    assert_eq!(code(hq.post("/v1/stores/5/commands", r#"{"command":"dance"}"#)), (400, "bad-json".into()));
    let long = json!({"command": "note", "text": "x".repeat(161)}).to_string();
    assert_eq!(code(hq.post("/v1/stores/5/commands", &long)), (400, "bad-text".into()));
    assert_eq!(
        code(hq.post("/v1/stores/5/articles", &" ".repeat(2 * 1024 * 1024))),
        (413, "bad-body".into())
    );
    let foreign = "GET /v1/health HTTP/1.1\r\nHost: hq.example\r\nConnection: close\r\n\r\n";
    assert_eq!(code(hq.raw(foreign, b"")), (403, "foreign-host".into()));
    let form = "POST /v1/stores/5/articles HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    assert_eq!(code(hq.raw(form, b"[]")), (415, "bad-content-type".into()));
    let (status, page) = hq.get("/");
    assert!(status == 200 && page.as_str().unwrap().contains("Steelyard HQ"));
    assert!(!page.as_str().unwrap().contains("http"), "the page needs nothing from elsewhere");
    assert_eq!(sale(1).to_record().unwrap(), tickets(1..=1)[0]);
}
