//! The BLE driver writing images to simulated Gicisky tags, through two daemons: our own fake `org.bluez`, and BlueZoo,
//! which nobody here wrote.
//!
//! The host side runs in `drv-probe`, a process of its own, because the bus it talks to is named by its environment.
//! What this cannot show: radio, the kernel's Bluetooth, real `bluetoothd` (the rig's User-Mode Linux does that).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod probe;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drv_protocol::gicisky::Model;
use drv_sim::{TagFaults, TagSim};
use hil_rig::bluez::{BlueZoo, FakeBluez, FakeTag, Peripheral, PrivateBus};
use hil_rig::python::Venv;
use probe::{PATIENCE, Probe, address};

fn tag(seed: u64) -> Arc<Mutex<TagSim>> {
    Arc::new(Mutex::new(TagSim::new(Model::find(0x0B).unwrap(), 2_900, seed)))
}

fn config(tags: u64, encoding: &str) -> String {
    let mut text =
        "[ble]\nconnect_timeout_ms = 5000\noperation_timeout_ms = 1000\nlost_after_ms = 8000\nattempts = 3\n"
            .to_owned();
    for number in 1..=tags {
        text += &format!(
            "[[tag]]\nid = \"t{number}\"\naddress = \"{}\"\nmodel = 11\nsku = {}\nencoding = \"{encoding}\"\n",
            address(number),
            1_000 + number
        );
    }
    text
}

fn shown(tag: &Arc<Mutex<TagSim>>) -> Option<String> {
    let hash = tag.lock().unwrap().shown()?;
    Some(hash.iter().map(|b| format!("{b:02x}")).collect())
}

async fn fake(bus: &PrivateBus, tags: &[Arc<Mutex<TagSim>>]) -> FakeBluez {
    let list = (1u64..).zip(tags).map(|(n, tag)| FakeTag { address: address(n), tag: tag.clone() }).collect();
    FakeBluez::start(&bus.address(), list, Duration::from_millis(200)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_reach_tags_through_the_fake_daemon_one_connection_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let tags: Vec<_> = (1..=4).map(tag).collect();
    tags[1].lock().unwrap().set_faults(TagFaults { repeat_permille: 200, ..TagFaults::default() });
    tags[2].lock().unwrap().set_faults(TagFaults { disconnect_after: Some(5), ..TagFaults::default() });
    let fake = fake(&bus, &tags).await;
    let mut probe = Probe::start(folder.path(), &bus.address(), &config(4, "lines"));
    let seen = probe.wait("tag-seen", |row| row["kind"] == "tag-seen" && row["device"] == "t1").await;
    assert_eq!((seen["model"].as_u64(), seen["battery_mv"].as_u64()), (Some(11), Some(2_900)));
    let mut wanted = Vec::new();
    for job in 1..=4u64 {
        wanted.push(probe.write(job, &format!("t{job}"), &format!("{job}.50")).await);
    }
    for _ in 0..4 {
        let row = probe.wait("a result", |row| row["kind"] == "tag-written").await;
        let index = usize::try_from(row["job"].as_u64().unwrap()).unwrap() - 1;
        assert_eq!(row["hash"].as_str(), Some(wanted[index].as_str()), "{row}");
        assert_eq!(shown(&tags[index]).as_ref(), Some(&wanted[index]), "what is shown is what was sent");
    }
    assert_eq!(fake.links_at_once(), 1);
    assert!(tags[2].lock().unwrap().connections() >= 2, "the dropped link was tried again");
    hil_rig::until("all links closed", PATIENCE, || async { fake.links() == 0 }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_tag_fails_with_a_reason_and_a_silent_one_is_lost_while_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let tags: Vec<_> = (1..=3).map(tag).collect();
    tags[0].lock().unwrap().set_faults(TagFaults { mute: true, ..TagFaults::default() });
    let fake = fake(&bus, &tags).await;
    let mut probe = Probe::start(folder.path(), &bus.address(), &config(3, "chunks"));
    probe.health("t2", "ok").await;
    fake.set_silent(&address(2), true).await;
    probe.health("t2", "lost").await;
    probe.write(1, "t1", "1.00").await;
    let wanted = probe.write(3, "t3", "3.00").await;
    let good = probe.written(3).await;
    assert_eq!(good["hash"].as_str(), Some(wanted.as_str()), "{good}");
    let failed = probe.written(1).await;
    assert!(failed["error"].as_str().unwrap().contains("mute"), "{failed}");
    fake.set_silent(&address(2), false).await;
    probe.health("t2", "ok").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_message_bus_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut bus = PrivateBus::start(folder.path()).await.unwrap();
    let tags = vec![tag(1)];
    let daemon = fake(&bus, &tags).await;
    let mut probe = Probe::start(folder.path(), &bus.address(), &config(1, "lines"));
    probe.health("t1", "ok").await;
    bus.kill().unwrap();
    drop(daemon);
    probe.health("t1", "failed").await;
    bus.restart().await.unwrap();
    let _daemon = fake(&bus, &tags).await;
    probe.health("t1", "ok").await;
    let wanted = probe.write(1, "t1", "9.99").await;
    let row = probe.written(1).await;
    assert_eq!(row["hash"].as_str(), Some(wanted.as_str()), "{row}");
}

/// Three models, three packings, two, three and four colours; see the rig's BlueZoo module for what BlueZoo cannot carry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_several_models_and_packings_reach_tags_through_bluezoo() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let venv = Venv::ready().unwrap();
    let adapters = ["AA:BB:CC:00:00:01", &address(1), &address(2), &address(3)];
    let log = folder.path().join("bluezoo.log");
    let mut zoo = BlueZoo::start(&venv, &bus.address(), &adapters, &log).await.unwrap();
    let rows = [(0x0B, "lines"), (0x28, "raw"), (0x4E, "chunks")];
    let mut config =
        "[ble]\nadapter = \"hci0\"\nconnect_timeout_ms = 5000\noperation_timeout_ms = 2000\n".to_owned();
    let (mut sims, mut hosted) = (Vec::new(), Vec::new());
    for (number, (model, encoding)) in (1u64..).zip(rows) {
        let sim = Arc::new(Mutex::new(TagSim::new(Model::find(model).unwrap(), 2_900, number)));
        let adapter = format!("hci{number}");
        hosted.push(Peripheral::start(&bus.address(), &adapter, sim.clone()).await.unwrap());
        sims.push(sim);
        config += &format!(
            "[[tag]]\nid = \"t{number}\"\naddress = \"{}\"\nmodel = {model}\nsku = {number}\nencoding = \"{encoding}\"\n",
            address(number)
        );
    }
    let mut probe = Probe::start(folder.path(), &bus.address(), &config);
    for (number, sim) in (1u64..).zip(&sims) {
        let wanted = probe.write(number, &format!("t{number}"), "4.20").await;
        let row = probe.written(number).await;
        assert_eq!(row["hash"].as_str(), Some(wanted.as_str()), "{row}");
        assert_eq!(shown(sim).as_ref(), Some(&wanted));
    }
    // Heard only by being written to.
    probe.say("health").await;
    probe.health("t1", "ok").await;
    assert!(zoo.runs());
}
