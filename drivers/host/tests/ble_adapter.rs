//! What the adapter and its daemon do wrong, and how the host side gets over it (the fake daemon plays every fault that a
//! long run against a real `bluetoothd` met).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod probe;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drv_protocol::gicisky::Model;
use drv_sim::TagSim;
use hil_rig::bluez::{FakeBluez, FakeTag, PrivateBus};
use probe::{PATIENCE, Probe, address};

struct Stand {
    _folder: tempfile::TempDir,
    _bus: PrivateBus,
    fake: FakeBluez,
    tags: Vec<Arc<Mutex<TagSim>>>,
    probe: Probe,
}

/// `count` tags and a host side with these keys in its `[ble]` table.
async fn stand(count: u64, keys: &str) -> Stand {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let tag = |seed| Arc::new(Mutex::new(TagSim::new(Model::find(0x0B).unwrap(), 2_900, seed)));
    let tags: Vec<_> = (1..=count).map(tag).collect();
    let list = (1u64..).zip(&tags).map(|(n, tag)| FakeTag { address: address(n), tag: tag.clone() });
    let fake = FakeBluez::start(&bus.address(), list.collect(), Duration::from_millis(100)).await.unwrap();
    let mut config = format!("[ble]\noperation_timeout_ms = 1500\nlost_after_ms = 50000\n{keys}\n");
    for n in 1..=count {
        config += &format!("[[tag]]\nid = \"t{n}\"\naddress = \"{}\"\nmodel = 11\nsku = {n}\n", address(n));
    }
    let probe = Probe::start(folder.path(), &bus.address(), &config);
    Stand { _folder: folder, _bus: bus, fake, tags, probe }
}

async fn write(stand: &mut Stand, job: u64, device: &str) {
    let wanted = stand.probe.write(job, device, "1.00").await;
    let row = stand.probe.written(job).await;
    assert_eq!(row["hash"].as_str(), Some(wanted.as_str()), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deaf_adapter_is_powered_off_and_on() {
    let mut stand = stand(2, "canary_ms = 2000\nconnect_timeout_ms = 5000").await;
    stand.probe.health("t1", "ok").await;
    stand.fake.set_deaf(1);
    let fake = &stand.fake;
    hil_rig::until("a power cycle", PATIENCE, || async { fake.power_cycles() == 1 }).await.unwrap();
    write(&mut stand, 1, "t1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adapter_that_stays_deaf_is_reported_with_the_reason_and_comes_back() {
    let mut stand = stand(1, "canary_ms = 1000\nconnect_timeout_ms = 5000").await;
    stand.probe.health("t1", "ok").await;
    stand.fake.set_deaf(usize::MAX);
    let reported = |row: &serde_json::Value| {
        row["kind"] == "health"
            && row["state"] == "failed"
            && row["reason"].as_str().is_some_and(|r| r.contains("did not help"))
    };
    let row = stand.probe.wait("the report", reported).await;
    assert!(row["reason"].as_str().unwrap().contains("heard nothing at all"), "{row}");
    assert!(stand.fake.power_cycles() >= 1);
    stand.fake.set_deaf(0);
    stand.probe.health("t1", "ok").await;
    write(&mut stand, 1, "t1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_without_services_is_dropped_and_made_again() {
    let mut stand = stand(1, "connect_timeout_ms = 5000").await;
    stand.probe.health("t1", "ok").await;
    stand.fake.set_hollow(&address(1), 1);
    write(&mut stand, 1, "t1").await;
    assert_eq!(stand.tags[0].lock().unwrap().connections(), 2, "the first link was the hollow one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connects_that_are_in_progress_for_ever_end_with_a_power_cycle() {
    let mut stand = stand(3, "connect_timeout_ms = 500\nattempts = 10\ncanary_ms = 20000").await;
    let mut wanted = Vec::new();
    stand.probe.all_ok((1..=3).map(|n| format!("t{n}")).collect()).await;
    for n in 1..=3 {
        stand.fake.set_hanging(&address(n), true);
    }
    for n in 1..=3 {
        wanted.push(stand.probe.write(n, &format!("t{n}"), "1.00").await);
    }
    for _ in 1..=3 {
        let row = stand.probe.wait("a result", |row| row["kind"] == "tag-written").await;
        let index = usize::try_from(row["job"].as_u64().unwrap()).unwrap() - 1;
        assert_eq!(row["hash"].as_str(), Some(wanted[index].as_str()), "{row}");
    }
    assert!(stand.fake.power_cycles() >= 1, "only that ends a connect that the daemon keeps trying");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_at_the_same_time_are_as_many_as_configured() {
    let mut stand = stand(6, "connections = 3\nconnect_timeout_ms = 5000").await;
    stand.probe.all_ok((1..=6).map(|n| format!("t{n}")).collect()).await;
    for n in 1..=6 {
        stand.probe.write(n, &format!("t{n}"), "1.00").await;
    }
    for _ in 1..=6 {
        let row = stand.probe.wait("a result", |row| row["kind"] == "tag-written").await;
        assert!(row["error"].is_null(), "{row}");
    }
    assert_eq!(stand.fake.links_at_once(), 3);
    assert!(stand.tags.iter().all(|tag| tag.lock().unwrap().completed() == 1));
}
