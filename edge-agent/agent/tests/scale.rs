//! A scale on a pseudo-terminal: one weighing per load, also over a restart with the load on the pan.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use drv_protocol::Grams;
use drv_protocol::scales::ScaleKind;
use drv_sim::{ScaleConfig, ScaleSim};
use edge_agent::daemon;
use edge_api::{ClientError, Events, Scale};
use hil_rig::clock::now_ms;
use hil_rig::pty::FarEnd;
use serde_json::{Value, json};
use stand::{Folder, until};
use std::sync::{Arc, Mutex};

async fn screen(folder: &Folder, state: &str, net_g: Option<i64>) -> Scale {
    until(&format!("{state} {net_g:?} on the screen"), || async {
        let scale: Scale = folder.client().fetch("/v1/scales/scale-1").await.ok()?;
        (scale.state == state && scale.net_g == net_g).then_some(scale)
    })
    .await
}

async fn weighings(folder: &Folder) -> Vec<String> {
    let events: Events = folder.client().fetch("/v1/events?limit=500").await.unwrap();
    events.events.into_iter().filter(|event| event.kind == "weighing").map(|event| event.text).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_load_is_weighed_once() {
    let folder = Folder::new();
    let port = folder.path("scale");
    let sim = Arc::new(Mutex::new(ScaleSim::new(ScaleConfig { settle_ms: 50, ..ScaleConfig::default() })));
    let _far = FarEnd::plug(&port, sim.clone(), |sim, now, bytes| sim.receive(bytes, now)).unwrap();
    folder.write(
        "reserve_bytes = 0",
        &format!(
            "[[scale]]\nid = \"scale-1\"\nprotocol = \"toledo-8217\"\nport = \"{}\"\ninterval_g = 5\n\
             capacity_g = 15000\npoll_ms = 20\nmin_gap_ms = 5\ntimeout_ms = 100\nlost_after_ms = 500\n",
            port.display()
        ),
    );
    let running = daemon::start(folder.load()).await.unwrap();
    screen(&folder, "ready", None).await;
    assert!(weighings(&folder).await.is_empty());
    sim.lock().unwrap().place(Grams(1_250), now_ms());
    let first = screen(&folder, "accepted", Some(1_250)).await;
    assert_eq!(weighings(&folder).await, ["scale-1: 1250 g net"]);
    running.stop().await;
    let running = daemon::start(folder.load()).await.unwrap();
    let again = screen(&folder, "accepted", Some(1_250)).await;
    assert_eq!(again.event, first.event, "the same load is the same weighing");
    sim.lock().unwrap().remove(now_ms());
    screen(&folder, "ready", None).await;
    sim.lock().unwrap().place(Grams(1_250), now_ms());
    let second = until("the second load", || async {
        let scale = screen(&folder, "accepted", Some(1_250)).await;
        (scale.event != first.event).then_some(scale)
    })
    .await;
    assert!(second.event.is_some());
    assert_eq!(weighings(&folder).await.len(), 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_zeroes_and_tares_and_is_on_record() {
    let folder = Folder::new();
    let port = folder.path("scale");
    let config = ScaleConfig { kind: ScaleKind::MtSics, settle_ms: 50, ..ScaleConfig::default() };
    let sim = Arc::new(Mutex::new(ScaleSim::new(config)));
    let _far = FarEnd::plug(&port, sim.clone(), |sim, now, bytes| sim.receive(bytes, now)).unwrap();
    folder.write(
        "reserve_bytes = 0",
        &format!(
            "[[scale]]\nid = \"scale-1\"\nprotocol = \"mt-sics\"\nport = \"{}\"\ninterval_g = 5\n\
             capacity_g = 15000\npoll_ms = 20\nmin_gap_ms = 5\ntimeout_ms = 500\nlost_after_ms = 2000\n",
            port.display()
        ),
    );
    let running = daemon::start(folder.load()).await.unwrap();
    screen(&folder, "ready", None).await;
    let order = |body: Value| {
        let client = folder.client();
        async move { client.post("/v1/devices/scale-1/scale", &body, None).await }
    };
    let done = order(json!({"by": "Li", "order": "tare", "tare_g": 250})).await.unwrap();
    assert!(done.text.contains("scale-1: done, tare 250 g"), "{}", done.text);
    sim.lock().unwrap().place(Grams(1_500), now_ms());
    screen(&folder, "accepted", Some(1_250)).await;
    order(json!({"by": "Li", "order": "clear-tare"})).await.unwrap();
    let refused = order(json!({"by": "Li", "order": "zero"})).await.unwrap_err();
    let ClientError::Refused { status: 409, error } = refused else { panic!("{refused:?}") };
    assert_eq!(error.code, "device-refused");
    assert!(error.message.contains("above the range"), "1.5 kg cannot be zero: {}", error.message);
    for bad in [
        json!({"by": "Li", "order": "zero", "tare_g": 1}),
        json!({"by": "Li", "order": "tare", "tare_g": -1}),
    ] {
        assert!(matches!(order(bad).await, Err(ClientError::Refused { status: 400, .. })));
    }
    let missing =
        folder.client().post("/v1/devices/nobody/scale", &json!({"by": "Li", "order": "zero"}), None).await;
    assert!(matches!(missing, Err(ClientError::Refused { status: 404, .. })), "{missing:?}");
    let events: Events = folder.client().fetch("/v1/events?limit=500").await.unwrap();
    for text in ["Li: scale-tare scale-1 250 g", "Li: scale-clear-tare scale-1", "Li: scale-zero scale-1"] {
        assert!(events.events.iter().any(|event| event.text == text), "{text}: {events:?}");
    }
    running.stop().await;
}
