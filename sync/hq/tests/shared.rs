//! What stores and HQ share, over HTTP: rights, fences, transfers, conflicts, overrides, the device registry; and every wrong
//! request answered by what, where, and what was expected.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod offline;
mod stand;

use offline::Store;
use serde_json::{Value, json};
use stand::{Hq, receipt};
use std::path::Path;
use sync_model::{LotId, Milli, RegisterValue, Sku, StoreId, Text, TransferLine, TransferOut};

/// HQ beside stores that traded: 7 sent two kilograms of article 1000 to 8.
fn scene(folder: &Path) -> (Vec<Store>, Hq) {
    let file = folder.join("hq.db");
    let stores = vec![Store::new(folder, 7), Store::new(folder, 8)];
    for store in &stores {
        let delivered = receipt(1_000_000);
        store.ledger.call(move |draft| draft.append(&delivered)).unwrap();
    }
    let line = TransferLine { sku: Sku(1_000), lot: LotId::default(), quantity: Milli(2_000) };
    stores[0].append(TransferOut { to: StoreId(8), lines: vec![line] });
    stores.iter().for_each(|store| store.carry(&file));
    (stores, Hq::start(&file, 1))
}

fn said(hq: &Hq, path: &str, body: &Value) -> (u16, Value) {
    hq.post(path, &body.to_string())
}

#[test]
fn rights_are_issued_granted_fenced_and_never_beyond_the_pool() {
    let _turn = offline::TURN.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let (stores, hq) = scene(folder.path());
    let order = |store: u32, body: Value| said(&hq, &format!("/v1/stores/{store}/rights"), &body);
    assert_eq!(order(7, json!({"order": "issue", "sku": 1000, "quantity_milli": 10_000})).0, 201);
    assert_eq!(order(8, json!({"order": "grant", "sku": 1000, "quantity_milli": 6_000})).0, 201);
    let (status, body) = order(7, json!({"order": "grant", "sku": 1000, "quantity_milli": 4_001}));
    assert_eq!((status, &body["code"]), (422, &json!("pool-empty")), "{body}");
    assert_eq!(order(7, json!({"order": "grant", "sku": 1000, "quantity_milli": 4_000})).0, 201);
    let rights = hq.get("/v1/rights").1;
    assert_eq!(rights["pools"], json!([{"sku": 1000, "pool_milli": 0}]));
    let held = |rights: &Value, store: u32| -> i64 {
        let rows = rights["rights"].as_array().unwrap().iter();
        rows.filter(|row| row["store"] == store).map(|row| row["held_milli"].as_i64().unwrap()).sum()
    };
    assert_eq!((held(&rights, 7), held(&rights, 8)), (4_000, 6_000));
    let epoch = stores[1].ledger.log().unwrap().epoch.0;
    assert_eq!(order(8, json!({"order": "fence", "epoch": epoch})).0, 201);
    let rights = hq.get("/v1/rights").1;
    assert_eq!((&rights["pools"][0]["pool_milli"], held(&rights, 8)), (&json!(6_000), 0));
    let (status, body) = order(8, json!({"order": "grant", "sku": 1000, "quantity_milli": 1}));
    assert_eq!((status, &body["code"]), (422, &json!("wrong-epoch")), "{body}");
    assert_eq!(hq.post("/v1/verify", "").1["ok"], json!(true));
}

#[test]
fn a_transfer_under_way_is_listed_and_closed_as_shrink() {
    let _turn = offline::TURN.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let (_stores, hq) = scene(folder.path());
    let transfers = hq.get("/v1/transfers").1;
    let row = &transfers["transfers"][0];
    assert_eq!((&row["from"], &row["to"], &row["in_transit_milli"]), (&json!(7), &json!(8), &json!(2_000)));
    let close = json!({"of": row["of"]});
    assert_eq!(said(&hq, "/v1/stores/7/transfers/close", &close).0, 201);
    assert_eq!(hq.get("/v1/transfers").1["total"], json!(0));
    let (status, body) = said(&hq, "/v1/stores/8/transfers/close", &close);
    assert_eq!((status, &body["code"]), (404, &json!("no-transfer")), "{body}");
    assert_eq!(hq.post("/v1/verify", "").1["ok"], json!(true));
}

#[test]
fn a_threshold_that_two_set_is_a_conflict_until_somebody_settles_it() {
    let _turn = offline::TURN.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hq.db");
    let (stores, mut hq) = scene(folder.path());
    let write = |hq: &Hq, number: i64| {
        let body = json!({"name": "threshold/dairy-1/high", "value": {"number": number}});
        assert_eq!(said(hq, "/v1/stores/7/overrides", &body).0, 201);
    };
    write(&hq, 6_000);
    // The store writes without having seen it.
    let name = Text::new("threshold/dairy-1/high").unwrap();
    let stamp = stand::stamp(1_700_000_400_000);
    stores[0]
        .ledger
        .call(move |draft| draft.write_register(stamp, StoreId(7), name, RegisterValue::Number(7_000)))
        .unwrap();
    hq.terminate();
    stores[0].carry(&file);
    hq.restart();
    let overrides = hq.get("/v1/stores/7/overrides").1;
    assert_eq!(overrides["overrides"][0]["values"].as_array().unwrap().len(), 2, "{overrides}");
    let conflicts = hq.get("/v1/conflicts?store=7").1;
    let conflict = &conflicts["conflicts"][0];
    assert_eq!(
        (&conflict["kind"], &conflict["subject"]),
        (&json!("values-both"), &json!("threshold/dairy-1/high"))
    );
    assert!(conflict["sides"].as_array().unwrap().iter().all(|side| side["stands"] == true));
    let path = format!("/v1/stores/7/conflicts/{}/settle", conflict["id"].as_str().unwrap());
    assert_eq!(said(&hq, &path, &json!({"by": "office"})).0, 201);
    assert_eq!(hq.get("/v1/conflicts").1["total"], json!(0));
    assert_eq!(hq.get("/v1/conflicts?all=true").1["conflicts"][0]["settled_by"], json!("office"));
    // A word that has seen both ends it.
    write(&hq, 6_500);
    let values = hq.get("/v1/stores/7/overrides").1["overrides"][0]["values"].clone();
    assert_eq!(values, json!([{"number": 6_500}]));
    // Both sides hold the same once everything has arrived.
    hq.terminate();
    stores[0].carry(&file);
    let rows = stores[0].ledger.reader().unwrap().registers(StoreId(7)).unwrap();
    assert_eq!(rows[0].values, [RegisterValue::Number(6_500)]);
}

#[test]
fn the_registry_is_written_by_hq_and_shown() {
    let _turn = offline::TURN.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let (_stores, hq) = scene(folder.path());
    let set = json!({"change": "set", "device": "scale-2", "class": "scale", "label": "deli"});
    assert_eq!(said(&hq, "/v1/stores/7/registry", &set).0, 201);
    let listed = hq.get("/v1/stores/7/registry").1["devices"].clone();
    assert_eq!(listed, json!([{"device": "scale-2", "class": "scale", "label": "deli"}]));
    let gone = json!({"change": "remove", "device": "scale-2"});
    assert_eq!(said(&hq, "/v1/stores/7/registry", &gone).0, 201);
    assert_eq!(hq.get("/v1/stores/7/registry").1["devices"], json!([]));
    let (status, body) = said(&hq, "/v1/stores/7/registry", &gone);
    assert_eq!((status, &body["code"]), (404, &json!("no-device")));
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of requests is one list")]
fn every_wrong_request_is_answered_by_what_and_where() {
    let _turn = offline::TURN.blocking_lock();
    let folder = tempfile::tempdir().unwrap();
    let (_stores, hq) = scene(folder.path());
    let events = || hq.get("/v1/stores/7/events?direction=down").0;
    for (path, body, status, code) in [
        ("/v1/stores/7/rights", json!({"order": "sell"}), 400, "bad-json"),
        ("/v1/stores/7/rights", json!({"order": "grant", "sku": 1000}), 400, "bad-json"),
        (
            "/v1/stores/7/rights",
            json!({"order": "grant", "sku": 1000, "quantity_milli": 1, "x": 1}),
            400,
            "bad-json",
        ),
        (
            "/v1/stores/7/rights",
            json!({"order": "grant", "sku": 1000, "quantity_milli": 0}),
            422,
            "bad-quantity",
        ),
        (
            "/v1/stores/7/rights",
            json!({"order": "issue", "sku": 1000, "quantity_milli": i64::MAX}),
            422,
            "bad-quantity",
        ),
        (
            "/v1/stores/9/rights",
            json!({"order": "grant", "sku": 1000, "quantity_milli": 1}),
            422,
            "wrong-epoch",
        ),
        ("/v1/stores/7/rights", json!({"order": "fence", "epoch": 1}), 422, "wrong-epoch"),
        ("/v1/stores/x/rights", json!({"order": "fence", "epoch": 1}), 400, "bad-store"),
        ("/v1/stores/7/transfers/close", json!({"of": "x"}), 400, "bad-of"),
        ("/v1/stores/7/transfers/close", json!({}), 400, "bad-json"),
        ("/v1/stores/7/transfers/close", json!({"of": "1.1"}), 404, "no-transfer"),
        ("/v1/stores/7/conflicts/0123456789abcdef/settle", json!({"by": "x"}), 404, "no-conflict"),
        ("/v1/stores/7/conflicts/0123456789abcdef/settle", json!({"by": "x".repeat(40)}), 400, "bad-text"),
        ("/v1/stores/7/overrides", json!({"name": "x", "value": "cleared"}), 400, "bad-override"),
        (
            "/v1/stores/7/overrides",
            json!({"name": "threshold/a/high", "value": {"number": 999_999}}),
            400,
            "bad-override",
        ),
        ("/v1/stores/7/overrides", json!({"name": "threshold/a/high", "value": 4}), 400, "bad-json"),
        (
            "/v1/stores/7/registry",
            json!({"change": "set", "device": "a", "class": "oven", "label": "x"}),
            400,
            "bad-class",
        ),
        (
            "/v1/stores/7/registry",
            json!({"change": "set", "device": "", "class": "scale", "label": "x"}),
            400,
            "bad-device",
        ),
        (
            "/v1/stores/7/registry",
            json!({"change": "set", "device": "a", "class": "scale", "label": "x".repeat(99)}),
            400,
            "bad-label",
        ),
    ] {
        let (found, answer) = said(&hq, path, &body);
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{path} {body}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 8), "{answer}");
    }
    for (path, status, code) in [
        ("/v1/conflicts?store=x", 400, "bad-query"),
        ("/v1/conflicts?shop=7", 400, "bad-query"),
        ("/v1/stores/9/overrides", 404, "no-store"),
        ("/v1/stores/9/registry", 404, "no-store"),
        ("/v1/nothing", 404, "not-found"),
    ] {
        let (found, answer) = hq.get(path);
        assert_eq!((found, &answer["code"]), (status, &json!(code)), "{path}: {answer}");
    }
    assert_eq!(hq.post("/v1/roots", "").0, 405);
    // Nothing of it was booked.
    assert_eq!(events(), 404, "HQ has written nothing for store 7");
}
