//! The customer never pays more than the label shows: a tag on a fake BlueZ, prices up and down, kills in between.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use drv_protocol::gicisky::Model;
use drv_sim::TagSim;
use edge_api::{DeviceReading, Devices, Events, Price};
use hil_rig::bluez::{FakeBluez, FakeTag, PrivateBus};
use stand::{Folder, article, hq_block, until};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use sync_model::{ClockQuality, Stamp, UnixMillis};
use sync_store::{Ledger, LedgerConfig, Owner};

const ADDRESS: &str = "FF:FF:92:00:00:01";

/// A child that is killed when dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The radio is named by the environment, so the daemon runs in a process of its own.
fn spawn(folder: &Folder, bus: &PrivateBus) -> Agent {
    let child = Command::new(env!("CARGO_BIN_EXE_edge-agent"))
        .args(["run", "--config"])
        .arg(folder.file())
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Agent(child)
}

/// HQ sets the price while the daemon is down.
fn set_price(folder: &Folder, version: u64, price: i64) {
    std::fs::create_dir_all(folder.path("ledger")).unwrap();
    let config = LedgerConfig {
        path: folder.path("ledger/ledger.db"),
        owner: Owner::Store(stand::STORE),
        max_bytes: None,
        software: edge_agent::daemon::software(),
        queue: 8,
    };
    let stamp = Stamp { at: UnixMillis(1_700_000_000_000), clock: ClockQuality::Synced };
    let (ledger, _) = Ledger::open(config, stamp).unwrap();
    let block = hq_block(&folder.path("hq"), &[article(1001, version, price)]);
    ledger.call(move |draft| draft.ingest(&block, UnixMillis(0))).unwrap();
}

async fn price(folder: &Folder, wanted: i64, pending: Option<i64>) {
    until(&format!("till price {wanted}, pending {pending:?}"), || async {
        let price: Price = folder.client().fetch("/v1/prices/1001").await.ok()?;
        (price.price_minor == wanted && price.pending_minor == pending).then_some(())
    })
    .await;
}

async fn label(folder: &Folder, shown: i64, wanted: Option<i64>) {
    until(&format!("label {shown}, wanted {wanted:?}"), || async {
        let devices: Devices = folder.client().fetch("/v1/devices").await.ok()?;
        match devices.devices.first()?.reading.clone()? {
            DeviceReading::Tag { shown_minor, wanted_minor, .. } => {
                (shown_minor == Some(shown) && wanted_minor == wanted).then_some(())
            }
            _ => None,
        }
    })
    .await;
}

/// Kinds of the last price facts, oldest first.
async fn last_two(folder: &Folder) -> Vec<String> {
    let events: Events = folder.client().fetch("/v1/events?limit=500").await.unwrap();
    let kinds = events.events.into_iter().map(|event| event.kind);
    let prices: Vec<String> =
        kinds.filter(|kind| kind == "price-changed" || kind == "tag-confirmed").collect();
    prices.iter().skip(prices.len() - 2).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn up_waits_for_the_label_and_down_does_not() {
    let folder = Folder::new();
    folder.write(
        "reserve_bytes = 0",
        &format!(
            "retry_min_s = 1\nretry_max_s = 2\nrest_s = 2\nrefresh_s = 0\n[ble]\nconnect_timeout_ms = 5000\noperation_timeout_ms = 1000\n\
             lost_after_ms = 8000\nattempts = 3\n\
             [[tag]]\nid = \"tag-1\"\naddress = \"{ADDRESS}\"\nmodel = 11\nsku = 1001\n"
        ),
    );
    let bus = PrivateBus::start(folder.dir.path()).await.unwrap();
    let tag = Arc::new(Mutex::new(TagSim::new(Model::find(11).unwrap(), 2_900, 1)));
    let air = vec![FakeTag { address: ADDRESS.into(), tag }];
    let fake = FakeBluez::start(&bus.address(), air, Duration::from_millis(200)).await.unwrap();
    set_price(&folder, 1, 350);
    let agent = spawn(&folder, &bus);
    price(&folder, 350, None).await;
    label(&folder, 350, None).await;
    drop(agent);
    fake.set_silent(ADDRESS, true).await;
    set_price(&folder, 2, 400);
    let agent = spawn(&folder, &bus);
    // The tag does not answer: the till stays at what the label shows.
    label(&folder, 350, Some(400)).await;
    price(&folder, 350, Some(400)).await;
    fake.set_silent(ADDRESS, false).await;
    price(&folder, 400, None).await;
    assert_eq!(last_two(&folder).await, ["tag-confirmed", "price-changed"]);
    drop(agent);
    fake.set_silent(ADDRESS, true).await;
    set_price(&folder, 3, 300);
    let _agent = spawn(&folder, &bus);
    price(&folder, 300, None).await;
    fake.set_silent(ADDRESS, false).await;
    label(&folder, 300, None).await;
    assert_eq!(last_two(&folder).await, ["price-changed", "tag-confirmed"]);
}
