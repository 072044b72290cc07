//! What people change at run time: thresholds that reach the watch of a cabinet, the device registry, rights, conflicts.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_api::{
    Alarms, Conflicts, DeviceReading, DeviceRegistry, Devices, Done, OverrideValue, Overrides, Rights,
};
use serde_json::{Value, json};
use stand::{Folder, STORE, Stand, article, refusal, until};
use std::path::Path;
use sync_model::{ClockQuality, Milli, RegisterValue, RightsIssued, Seq, Sku, Stamp, Text, UnixMillis};
use sync_store::{Draft, Ledger, LedgerConfig, Owner, Refusal};

/// A sensor's file as the kernel writes it (Maxim's CRC-8, polynomial 0x31 reflected).
fn sensor(dir: &Path, celsius_milli: i32) {
    let dir = dir.join("28-0316a2794c1f");
    std::fs::create_dir_all(&dir).unwrap();
    let [low, high] = u16::try_from(celsius_milli * 16 / 1_000).unwrap().to_le_bytes();
    let mut pad = vec![low, high, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10];
    let crc = pad.iter().fold(0_u8, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x8C } else { crc >> 1 })
    });
    pad.push(crc);
    let hex = pad.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    std::fs::write(dir.join("partial"), format!("{hex} : crc={crc:02x} YES\n{hex} t={celsius_milli}\n"))
        .unwrap();
    std::fs::rename(dir.join("partial"), dir.join("w1_slave")).unwrap();
}

async fn cabinet() -> Stand {
    let folder = Folder::new();
    let root = folder.path("w1");
    folder.write(
        "reserve_bytes = 0",
        &format!(
            "[w1]\nroot = \"{}\"\n[cabinets]\ndelay_s = 1\nfault_delay_s = 1\n\
             [[cabinet]]\nid = \"dairy-1\"\nw1 = \"28-0316a2794c1f\"\npoll_ms = 50\nhigh_mc = 8000\ndifference_mc = 500\n",
            root.display()
        ),
    );
    sensor(&root, 5_000);
    let running = edge_agent::daemon::start(folder.load()).await.unwrap();
    let client = folder.client();
    Stand { folder, running, client }
}

async fn high(stand: &Stand) -> Option<i32> {
    let devices: Devices = stand.client.fetch("/v1/devices").await.ok()?;
    match devices.devices.first()?.reading.clone()? {
        DeviceReading::Cabinet { high_mc, .. } => high_mc,
        _ => None,
    }
}

async fn order(stand: &Stand, path: &str, body: Value) -> Result<String, edge_api::ClientError> {
    let reply = stand.client.post(path, &body, None).await?;
    Ok(reply.parse::<Done>().unwrap().text)
}

fn limit(value: Value) -> Value {
    json!({"name": "threshold/dairy-1/high", "value": value, "by": "li"})
}

/// HQ's own ledger; what it writes comes as one block. Its epoch is not that of the price book's.
async fn hq(
    stand: &Stand,
    write: impl FnOnce(&mut Draft<'_>, Stamp) -> Result<(), Refusal> + Send + 'static,
) {
    let stamp = Stamp { at: UnixMillis(1_800_000_100_000), clock: ClockQuality::Synced };
    let path = stand.folder.path("office");
    std::fs::create_dir_all(&path).unwrap();
    let config = LedgerConfig {
        path: path.join("hq.db"),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::new("test").unwrap(),
        queue: 8,
    };
    let (ledger, _) = Ledger::open(config, stamp).unwrap();
    // HQ knows what the store wrote before.
    let up = stand.running.daemon.ledger.log().unwrap();
    let reader = stand.running.daemon.ledger.reader().unwrap();
    let known = ledger.reader().unwrap().head(up).unwrap().map_or(0, |row| row.head.0);
    if let Some(block) = reader.block(up, Seq(known + 1), 512, 48 * 1024).unwrap() {
        ledger.call(move |draft| draft.ingest(&block, stamp.at).map(drop)).unwrap();
    }
    ledger.call(move |draft| write(draft, stamp)).unwrap();
    let rows = ledger.reader().unwrap().heads().unwrap();
    let down = rows.iter().find(|row| row.log.direction == sync_model::Direction::Down).unwrap().log;
    let block = ledger.reader().unwrap().block(down, Seq(1), 512, 48 * 1024).unwrap().unwrap();
    stand.running.daemon.commit(move |draft| draft.ingest(&block, stamp.at)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_of_staff_or_hq_reaches_the_watch_and_survives_a_restart() {
    let stand = cabinet().await;
    until("a reading", || async { (high(&stand).await == Some(8_000)).then_some(()) }).await;
    let text = order(&stand, "/v1/overrides", limit(json!({"number": 4_000}))).await.unwrap();
    assert!(text.contains("threshold/dairy-1/high"), "{text}");
    until("the new limit", || async { (high(&stand).await == Some(4_000)).then_some(()) }).await;
    // 5 degrees are too warm now.
    let raised =
        until("the alarm", || async { stand.client.fetch::<Alarms>("/v1/alarms").await.ok()?.alarms.pop() })
            .await;
    assert_eq!((raised.kind.as_str(), raised.limit_mc), ("too-warm", Some(4_000)));
    let Stand { folder, running, .. } = stand;
    running.stop().await;
    let running = edge_agent::daemon::start(folder.load()).await.unwrap();
    let client = folder.client();
    let stand = Stand { folder, running, client };
    until("the limit after a restart", || async { (high(&stand).await == Some(4_000)).then_some(()) }).await;
    order(&stand, "/v1/overrides", limit(json!("cleared"))).await.unwrap();
    until("the configured limit", || async { (high(&stand).await == Some(8_000)).then_some(()) }).await;
    until("the alarm's end", || async {
        let alarms: Alarms = stand.client.fetch("/v1/alarms?all=1").await.ok()?;
        alarms.alarms.iter().all(|alarm| alarm.state == "returned").then_some(())
    })
    .await;
    hq(&stand, |draft, stamp| {
        let name = Text::new("threshold/dairy-1/high").unwrap();
        draft.write_register(stamp, STORE, name, RegisterValue::Number(6_000)).map(drop)
    })
    .await;
    until("HQ's limit", || async { (high(&stand).await == Some(6_000)).then_some(()) }).await;
    let rows: Overrides = stand.client.fetch("/v1/overrides").await.unwrap();
    assert_eq!(rows.overrides[0].values, [OverrideValue::Number(6_000)], "HQ had seen the store's last word");
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_who_do_not_know_of_each_other_leave_both_values_and_the_stricter_counts_until_somebody_settles()
{
    let stand = cabinet().await;
    // HQ writes without having seen what staff writes: its block is made first and arrives after.
    let log = stand.running.daemon.ledger.log().unwrap();
    let before = stand.running.daemon.ledger.reader().unwrap().head(log).unwrap().unwrap().head;
    hq(&stand, |draft, stamp| {
        let name = Text::new("note/rounds").unwrap();
        draft.write_register(stamp, STORE, name, RegisterValue::Number(1)).map(drop)
    })
    .await;
    assert!(before > Seq::ZERO);
    order(&stand, "/v1/overrides", limit(json!({"number": 7_000}))).await.unwrap();
    let name = Text::<64>::new("threshold/dairy-1/high").unwrap();
    let stamp = Stamp { at: UnixMillis(1_800_000_001_000), clock: ClockQuality::Synced };
    let config = LedgerConfig {
        path: stand.folder.path("office").join("hq.db"),
        owner: Owner::Hq,
        max_bytes: None,
        software: Text::new("test").unwrap(),
        queue: 8,
    };
    let (office, _) = Ledger::open(config, stamp).unwrap();
    let id = office
        .call(move |draft| draft.write_register(stamp, STORE, name, RegisterValue::Number(6_500)))
        .unwrap();
    let block = office.reader().unwrap().block(id.log, Seq(1), 512, 48 * 1024).unwrap().unwrap();
    drop(office);
    stand.running.daemon.commit(move |draft| draft.ingest(&block, stamp.at)).await.unwrap();
    until("the stricter limit", || async { (high(&stand).await == Some(6_500)).then_some(()) }).await;
    let rows: Overrides = stand.client.fetch("/v1/overrides").await.unwrap();
    let row = rows.overrides.iter().find(|row| row.name.starts_with("threshold/")).unwrap();
    assert_eq!(row.values.len(), 2);
    let conflicts: Conflicts = stand.client.fetch("/v1/conflicts").await.unwrap();
    let [conflict] = conflicts.conflicts.as_slice() else { panic!("{conflicts:?}") };
    assert_eq!(
        (conflict.kind.as_str(), conflict.subject.as_str()),
        ("values-both", "threshold/dairy-1/high")
    );
    let path = format!("/v1/conflicts/{}/settle", conflict.id);
    order(&stand, &path, json!({"by": "li"})).await.unwrap();
    let left: Conflicts = stand.client.fetch("/v1/conflicts").await.unwrap();
    assert_eq!(left.total, 0);
    let again = order(&stand, &path, json!({"by": "wang"})).await;
    assert_eq!(refusal(again), (409, "conflict-settled".to_owned()));
    let all: Conflicts = stand.client.fetch("/v1/conflicts?all=1").await.unwrap();
    assert_eq!(all.conflicts[0].settled_by.as_deref(), Some("li"));
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_registry_is_written_by_people_and_shown() {
    let stand = Stand::start().await;
    let set = json!({"change": "set", "device": "scale-9", "class": "scale", "label": "deli, left"});
    order(&stand, "/v1/registry", set).await.unwrap();
    let rows: DeviceRegistry = stand.client.fetch("/v1/registry").await.unwrap();
    assert_eq!((rows.devices[0].device.as_str(), rows.devices[0].class.as_str()), ("scale-9", "scale"));
    order(&stand, "/v1/registry", json!({"change": "remove", "device": "scale-9"})).await.unwrap();
    let rows: DeviceRegistry = stand.client.fetch("/v1/registry").await.unwrap();
    assert!(rows.devices.is_empty());
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_shown_and_given_back_once() {
    let stand = Stand::start().await;
    stand.price_book(&[article(1001, 1, 350)]).await;
    hq(&stand, |draft, stamp| {
        let issued = RightsIssued { sku: Sku(1001), quantity: Milli(10_000) };
        draft.append_down(STORE, &sync_model::Event::new(stamp, issued))?;
        draft.grant(stamp, STORE, Sku(1001), Milli(6_000)).map(drop)
    })
    .await;
    let held = || async {
        let rows: Rights = stand.client.fetch("/v1/rights?sku=1001").await.unwrap();
        rows.rights.iter().map(|row| row.held_milli).max().unwrap_or(0)
    };
    assert_eq!(held().await, 6_000);
    let body = json!({"sku": 1001, "quantity_milli": 2_500});
    let (status, first) = stand.post("/v1/rights/return", &body, "r-1").await.unwrap();
    assert_eq!((status, first.replayed, held().await), (201, false, 3_500));
    let (status, again) = stand.post("/v1/rights/return", &body, "r-1").await.unwrap();
    assert_eq!((status, again.replayed, again.id, held().await), (200, true, first.id, 3_500));
    let more = json!({"sku": 1001, "quantity_milli": 3_501});
    assert_eq!(stand.refusal("/v1/rights/return", &more, "r-2").await, (422, "no-rights".to_owned()));
    let other = json!({"sku": 1002, "quantity_milli": 1});
    assert_eq!(stand.refusal("/v1/rights/return", &other, "r-3").await, (422, "no-rights".to_owned()));
    stand.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_word_is_refused_by_name_and_books_nothing() {
    let stand = cabinet().await;
    let head = || stand.running.daemon.ledger.reader().unwrap().tail(1).unwrap().pop().unwrap().id;
    until("a quiet log", || async {
        let before = head();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        (before == head()).then_some(())
    })
    .await;
    let note = |value: Value| json!({"name": "note/x", "value": value, "by": "li"});
    for (path, body, status, code) in [
        ("/v1/overrides", json!({}), 400, "bad-json"),
        ("/v1/overrides", limit(json!({"number": 1.5})), 400, "bad-json"),
        ("/v1/overrides", limit(json!({"number": 200_000})), 400, "bad-override"),
        ("/v1/overrides", limit(json!({"note": "warm"})), 400, "bad-override"),
        ("/v1/overrides", limit(json!({"note": " "})), 400, "bad-field"),
        ("/v1/overrides", note(json!({"number": 1})), 400, "bad-override"),
        ("/v1/overrides", note(json!({"note": "x".repeat(201)})), 400, "bad-field"),
        ("/v1/overrides", json!({"name": "note/x", "value": "cleared", "by": ""}), 400, "bad-field"),
        ("/v1/overrides", json!({"name": "price/1001", "value": "cleared", "by": "li"}), 400, "bad-override"),
        (
            "/v1/overrides",
            json!({"name": "threshold/dairy-9/high", "value": "cleared", "by": "li"}),
            404,
            "not-found",
        ),
        ("/v1/registry", json!({"change": "set", "device": "x"}), 400, "bad-json"),
        (
            "/v1/registry",
            json!({"change": "set", "device": "", "class": "scale", "label": "l"}),
            400,
            "bad-field",
        ),
        (
            "/v1/registry",
            json!({"change": "set", "device": "x", "class": "oven", "label": "l"}),
            400,
            "bad-field",
        ),
        (
            "/v1/registry",
            json!({"change": "set", "device": "x", "class": "scale", "label": ""}),
            400,
            "bad-field",
        ),
        ("/v1/registry", json!({"change": "remove", "device": "nobody"}), 404, "not-found"),
        ("/v1/registry", json!({"change": "burn", "device": "x"}), 400, "bad-json"),
        ("/v1/rights/return", json!({"sku": 1001, "quantity_milli": 5}), 400, "no-idempotency-key"),
        ("/v1/conflicts/0123456789abcdef/settle", json!({"by": "li"}), 404, "not-found"),
        ("/v1/conflicts/0123456789abcdef/settle", json!({"by": " "}), 400, "bad-field"),
    ] {
        let refused = stand.client.post(path, &body, None).await;
        assert_eq!(refusal(refused), (status, code.to_owned()), "{path} {body}");
    }
    for quantity in [0, -1, i64::MAX] {
        let body = json!({"sku": 1001, "quantity_milli": quantity});
        let found = stand.refusal("/v1/rights/return", &body, &format!("q-{quantity}")).await;
        assert_eq!(found, (422, "bad-quantity".to_owned()));
    }
    let rows: Overrides = stand.client.fetch("/v1/overrides").await.unwrap();
    assert!(rows.overrides.is_empty());
    let reader = stand.running.daemon.ledger.reader().unwrap();
    let written = reader.counts().unwrap();
    let people =
        [sync_model::Kind::AUDIT, sync_model::Kind::REGISTER_WRITTEN, sync_model::Kind::REGISTRY_CHANGED];
    assert!(written.iter().all(|row| !people.contains(&row.kind)), "{written:?}");
    stand.running.stop().await;
}
