//! Tills and people against a daemon without devices.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_api::{Alarms, Client, Doctor, Events, Health, Offer, Status, Verify};
use serde_json::{Value, json};
use stand::{Stand, article, receipt, refusal, ticket};
use std::io::{Read, Write};
use sync_model::{AlarmKind, AlarmRaised, DeviceId, FactRef, MilliCelsius, UnixMillis};

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_booked_once_whatever_is_repeated() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let body = ticket(1, 1, 1001, 2, 350);
    let (status, first) = stand.post("/v1/tickets", &body, "k-1").await.unwrap();
    assert_eq!((status, first.replayed), (201, false));
    let (status, again) = stand.post("/v1/tickets", &body, "k-1").await.unwrap();
    assert_eq!((status, again.replayed, again.id), (200, true, first.id));
    // Another spelling of the same request is the same request.
    let mut spelled: Value = body.clone();
    spelled["lines"][0].as_object_mut().unwrap().remove("discount_minor");
    assert!(stand.post("/v1/tickets", &spelled, "k-1").await.unwrap().1.replayed);
    assert_eq!(
        stand.refusal("/v1/tickets", &ticket(1, 2, 1001, 1, 350), "k-1").await,
        (409, "idempotency-conflict".into())
    );
    assert_eq!(stand.refusal("/v1/returns", &body, "k-1").await, (409, "idempotency-conflict".into()));
    assert_eq!(stand.refusal("/v1/tickets", &body, "k-2").await, (409, "duplicate-ticket".into()));
    assert_eq!(stand.on_hand(1001).await, -2_000);
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_tickets_book_nothing_and_say_why() {
    let stand = Stand::start().await;
    let mut off = article(1002, 1, 100);
    off.active = false;
    stand.price_book(&[article(1001, 1, 350), off]).await;
    let change = |path: &str, value: Value| {
        let mut body = ticket(1, 9, 1001, 1, 350);
        *body.pointer_mut(path).unwrap() = value;
        body
    };
    let table = [
        (change("/lines/0/sku", json!(9999)), "unknown-sku"),
        (ticket(1, 9, 1002, 1, 100), "inactive-sku"),
        (ticket(1, 9, 1001, 1, 351), "price-above-current"),
        (change("/lines/0/quantity_milli", json!(-1000)), "bad-quantity"),
        (change("/lines/0/amount_minor", json!(349)), "bad-amount"),
        (change("/total_minor", json!(351)), "wrong-total"),
        (change("/currency", json!("EUR")), "bad-currency"),
        (change("/till", json!(0)), "bad-till"),
        (change("/tenders/0/kind", json!("shells")), "bad-tender"),
        (change("/lines", json!([])), "no-lines"),
    ];
    let mut codes = Vec::new();
    for (index, (body, code)) in table.iter().enumerate() {
        codes.push((stand.refusal("/v1/tickets", body, &format!("r-{index}")).await, *code));
    }
    for ((status, found), expected) in codes {
        assert_eq!((status, found.as_str()), (422, expected));
    }
    let mut dated = ticket(1, 9, 1001, 1, 350);
    dated["day"] = json!("2026-02-30");
    assert_eq!(stand.refusal("/v1/tickets", &dated, "d").await, (422, "bad-day".into()));
    assert_eq!(stand.on_hand(1001).await, 0);
    let found = refusal(stand.client.post("/v1/tickets", &ticket(1, 1, 1001, 1, 350), None).await);
    assert_eq!(found, (400, "no-idempotency-key".into()));
    // A refused key is free again for the corrected request.
    assert_eq!(stand.post("/v1/tickets", &ticket(1, 9, 1001, 1, 350), "r-0").await.unwrap().0, 201);
    stand.running.stop().await;
}

/// Sends bytes over TCP and gives the answer as text.
async fn raw(address: std::net::SocketAddr, request: Vec<u8>) -> String {
    tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // The daemon may answer before it has read everything; then it closes.
        if let Err(error) = stream.write_all(&request) {
            assert!(matches!(
                error.kind(),
                std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset
            ));
        }
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        String::from_utf8_lossy(&answer).into_owned()
    })
    .await
    .unwrap()
}

fn request(path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "POST {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\nidempotency-key: raw-1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_and_wrong_places_get_an_error_body() {
    let stand = Stand::start().await;
    let address = stand.running.address;
    let answer = raw(address, request("/v1/tickets", b"{\"till\":")).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"code\":\"bad-json\""), "{answer}");
    let answer = raw(address, request("/v1/tickets", &vec![b' '; 257 * 1024])).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"code\":\"too-large\""), "{answer}");
    let answer = raw(address, request("/v1/nowhere", b"")).await;
    assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("steelyard.error/1"), "{answer}");
    let answer = raw(address, request("/v1/status", b"")).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    // What concerns the daemon itself exists on the Unix socket only.
    let answer = raw(address, request("/v1/reload", b"")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let page = raw(address, b"GET / HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n".to_vec()).await;
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("text/html"), "{page}");
    let health: Health = stand.client.fetch("/v1/health").await.unwrap();
    assert!(health.state == "ok" || health.state == "degraded");
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_follows_receipts_sales_returns_waste_counts_and_transfers() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let mut expected = 0;
    let postings: [(&str, Value, i64); 7] = [
        ("/v1/receipts", receipt(1001, 20), 20_000),
        ("/v1/tickets", ticket(1, 1, 1001, 3, 350), -3_000),
        ("/v1/returns", ticket(1, 1, 1001, 1, 350), 1_000),
        ("/v1/waste", json!({"sku": 1001, "quantity_milli": 2_000, "reason": "damaged"}), -2_000),
        (
            "/v1/counts",
            json!({"sku": 1001, "section": "A1", "counted_milli": 15_500, "book_milli": 16_000, "by": "li"}),
            -500,
        ),
        ("/v1/transfers/out", json!({"to": 8, "lines": [{"sku": 1001, "quantity_milli": 4_000}]}), -4_000),
        (
            "/v1/transfers/in",
            json!({"from": 9, "of": "5.6", "lines": [{"sku": 1001, "quantity_milli": 1_000}]}),
            1_000,
        ),
    ];
    for (index, (path, body, change)) in postings.iter().enumerate() {
        let (status, _) = stand.post(path, body, &format!("s-{index}")).await.unwrap();
        assert_eq!(status, 201, "{path}");
        expected += change;
        assert_eq!(stand.on_hand(1001).await, expected, "{path}");
    }
    for (index, (path, body, code)) in [
        ("/v1/receipts", receipt(4711, 1), "unknown-sku"),
        ("/v1/receipts", json!({"reference": "x", "lines": []}), "too-many-lines"),
        ("/v1/waste", json!({"sku": 1001, "quantity_milli": 0, "reason": "damaged"}), "bad-quantity"),
        ("/v1/waste", json!({"sku": 1001, "quantity_milli": 1, "reason": "eaten"}), "bad-field"),
        ("/v1/transfers/out", json!({"to": 7, "lines": [{"sku": 1001, "quantity_milli": 1}]}), "bad-store"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(stand.refusal(path, &body, &format!("x-{index}")).await.1, code);
    }
    assert_eq!(stand.on_hand(1001).await, expected);
    let verify: Verify =
        stand.client.post("/v1/ledger/verify", &json!({}), None).await.unwrap().parse().unwrap();
    assert!(verify.ok, "{verify:?}");
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_unit_is_promised_twice() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    stand.post("/v1/receipts", &receipt(1001, 10), "r").await.unwrap();
    let offer: Offer = stand.client.fetch("/v1/offers/1001?channel=web").await.unwrap();
    assert_eq!((offer.offer_milli, offer.on_hand_milli, offer.share_permille), (5_000, 10_000, 500));
    let want = |pieces: i64| json!({"sku": 1001, "quantity_milli": pieces * 1_000, "channel": "web", "reference": "order 1", "hold_s": 60});
    let (_, reserved) = stand.post("/v1/reservations", &want(5), "w-1").await.unwrap();
    assert_eq!(stand.refusal("/v1/reservations", &want(4), "w-2").await, (422, "not-available".into()));
    assert_eq!(
        stand
            .refusal(
                "/v1/reservations",
                &json!({"sku": 1001, "quantity_milli": 1, "channel": "fax", "reference": "x", "hold_s": 1}),
                "w-3"
            )
            .await
            .0,
        404
    );
    let void = format!("/v1/reservations/{}/void", reserved.id);
    assert_eq!(stand.client.post(&void, &json!({}), None).await.unwrap().status, 200);
    assert_eq!(stand.client.post(&void, &json!({}), None).await.unwrap().status, 200);
    let post = format!("/v1/reservations/{}/post", reserved.id);
    assert_eq!(refusal(stand.client.post(&post, &json!({}), None).await), (409, "reservation-closed".into()));
    assert_eq!(refusal(stand.client.post("/v1/reservations/1.999/void", &json!({}), None).await).0, 404);
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_ledger_refuses_and_recovers_a_full_disk_too() {
    let stand = Stand::with("max_bytes = 400000\nreserve_bytes = 0", "").await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let mut booked = 0;
    let code = loop {
        let number = booked + 1;
        match stand.post("/v1/tickets", &ticket(1, number, 1001, 1, 350), &format!("f-{number}")).await {
            Ok(_) => booked = number,
            Err(error) => break refusal::<()>(Err(error)),
        }
        assert!(booked < 20_000, "the ledger never fills");
    };
    assert_eq!(code, (507, "ledger-full".into()));
    assert_eq!(stand.on_hand(1001).await, -1_000 * i64::try_from(booked).unwrap());
    stand.running.daemon.space.set_reserve(u64::MAX);
    assert_eq!(
        stand.refusal("/v1/tickets", &ticket(2, 1, 1001, 1, 350), "full").await,
        (507, "disk-full".into())
    );
    // The answer to an acknowledged ticket is still there.
    assert!(stand.post("/v1/tickets", &ticket(1, 1, 1001, 1, 350), "f-1").await.unwrap().1.replayed);
    stand.running.daemon.space.set_reserve(0);
    let ledger = stand.running.daemon.ledger.clone();
    tokio::task::spawn_blocking(move || ledger.set_max_bytes(None)).await.unwrap().unwrap();
    assert_eq!(stand.post("/v1/tickets", &ticket(2, 1, 1001, 1, 350), "space").await.unwrap().0, 201);
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_are_listed_acknowledged_and_shelved() {
    let stand = Stand::start().await;
    let raised = AlarmRaised {
        device: DeviceId::new("dairy-1").unwrap(),
        kind: AlarmKind::TooWarm,
        since: UnixMillis(1_800_000_000_000),
        value: Some(MilliCelsius(9_000)),
        limit: Some(MilliCelsius(5_000)),
    };
    let id = FactRef::from(stand.running.daemon.append(raised).await.unwrap());
    let list = |client: Client| async move { client.fetch::<Alarms>("/v1/alarms").await.unwrap().alarms };
    let alarms = list(stand.client.clone()).await;
    assert_eq!(
        (alarms.len(), alarms[0].state.as_str(), alarms[0].kind.as_str()),
        (1, "unacknowledged", "too-warm")
    );
    let shelve = format!("/v1/alarms/{id}/shelve");
    stand.client.post(&shelve, &json!({"by": "li", "minutes": 5}), None).await.unwrap();
    assert_eq!(list(stand.client.clone()).await[0].state, "shelved");
    assert_eq!(refusal(stand.client.post(&shelve, &json!({"by": "li", "minutes": 0}), None).await).0, 400);
    let ack = format!("/v1/alarms/{id}/ack");
    stand.client.post(&ack, &json!({"by": "li"}), None).await.unwrap();
    assert_eq!(refusal(stand.client.post("/v1/alarms/1.777/ack", &json!({"by": "li"}), None).await).0, 404);
    let status: Status = stand.client.fetch("/v1/status").await.unwrap();
    assert_eq!((status.alarms.open, status.alarms.unacknowledged), (1, 0));
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_what_was_booked() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let (_, booked) = stand.post("/v1/tickets", &ticket(1, 1, 1001, 1, 350), "v-1").await.unwrap();
    let events: Events = stand.client.fetch("/v1/events?limit=5").await.unwrap();
    let last = events.events.last().unwrap();
    assert_eq!((last.id.as_str(), last.kind.as_str()), (booked.id.as_str(), "sale"));
    let after: Events = stand.client.fetch(&format!("/v1/events?after={}", booked.id)).await.unwrap();
    assert!(after.events.is_empty());
    let to = stand.folder.path("copy.db");
    let backup = json!({"path": to.display().to_string()});
    stand.client.post("/v1/backup", &backup, None).await.unwrap();
    assert_eq!(refusal(stand.client.post("/v1/backup", &backup, None).await).0, 409);
    assert_eq!(refusal(stand.client.post("/v1/backup", &json!({"path": "here"}), None).await).0, 400);
    let nowhere = json!({"path": "/no/such/folder/ledger.db"});
    let (status, code) = refusal(stand.client.post("/v1/backup", &nowhere, None).await);
    assert_eq!((status, code.as_str()), (400, "bad-field"));
    // What the framework refuses is an error object too.
    for path in ["/v1/stock?sku=abc", "/v1/events?limit=-1", "/v1/prices/%ff"] {
        let (status, code) = refusal(stand.client.get(path).await);
        assert_eq!((status, code.as_str()), (400, "bad-request"), "{path}");
    }
    let doctor: Doctor = stand.client.fetch("/v1/doctor").await.unwrap();
    let state = |name: &str| doctor.checks.iter().find(|check| check.name == name).unwrap().state.clone();
    for name in ["config", "ledger", "ledger-space", "devices", "alarms", "socket", "telemetry", "backup"] {
        assert_eq!(state(name), "ok", "{name}: {doctor:?}");
    }
    assert_eq!((state("broker"), state("headquarters")), ("skip".into(), "skip".into()));
    assert_eq!(refusal(stand.client.fetch::<edge_api::Price>("/v1/prices/42").await).0, 404);
    assert_eq!(refusal(stand.client.fetch::<edge_api::Scale>("/v1/scales/none").await).0, 404);
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_goes_down_at_once_and_up_at_once_without_tags() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    let hq = stand.folder.path("hq");
    for (version, price) in [(2, 300), (3, 400)] {
        let block = stand::hq_block(&hq, &[article(1001, version, price)]);
        let received = UnixMillis(stand.running.daemon.clock.wall_ms());
        stand.running.daemon.commit(move |draft| draft.ingest(&block, received)).await.unwrap();
        stand::until("the new price", || async {
            let now: edge_api::Price = stand.client.fetch("/v1/prices/1001").await.ok()?;
            (now.price_minor == price && now.version == version).then_some(())
        })
        .await;
    }
    stand.running.stop().await;
}
