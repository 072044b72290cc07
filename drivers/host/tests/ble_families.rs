//! SIG labels and `OpenEPaperLink` tags driven through two daemons: our own fake `org.bluez`, and BlueZoo, which nobody here
//! wrote. What this cannot show: radio, pairing, real `bluetoothd`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod probe;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drv_protocol::MilliCelsius;
use drv_protocol::esl::{
    Command, Display, DisplayType, KeyMaterial, LedType, Repeat, Sensor, SensorType, Stage,
};
use drv_protocol::gicisky::Model;
use drv_protocol::oepl::Advert;
use drv_sim::{EslFaults, EslParts, EslSim, OeplFaults, OeplSim};
use hil_rig::bluez::{BlueZoo, FakeBluez, FakeTag, Peripheral, PrivateBus};
use hil_rig::python::Venv;
use probe::{Probe, address};

const SYNC: &str = "01010101010101010101010101010101 0202020202020202";
const RESPONSE: &str = "03030303030303030303030303030303 0404040404040404";

fn label(seed: u64) -> Arc<Mutex<EslSim>> {
    let parts = EslParts {
        displays: vec![Display { width: 296, height: 128, kind: DisplayType::RedBlackWhite }],
        images: [0, 1].into(),
        sensors: vec![(Sensor(SensorType::Property(0x0054)), vec![0xD2, 0x04])],
        leds: vec![LedType::Srgb],
    };
    Arc::new(Mutex::new(EslSim::new(parts, seed)))
}

fn labels(count: u64) -> String {
    let mut text = format!(
        "[ble]\nadapter = \"hci0\"\nconnect_timeout_ms = 5000\noperation_timeout_ms = 1500\nlost_after_ms = 20000\n\
         sync_key = \"{}\"\n",
        SYNC.replace(' ', "")
    );
    for number in 1..=count {
        text += &format!(
            "[[tag]]\nid = \"l{number}\"\naddress = \"{}\"\nsku = 1\nfamily = \"esl\"\nesl = {{ id = {number}, group = 1 }}\n\
             response_key = \"{}\"\n",
            address(number),
            RESPONSE.replace(' ', "")
        );
    }
    text
}

async fn light_read_and_show(probe: &mut Probe, sim: &Arc<Mutex<EslSim>>) {
    probe.say("led 1 l1 green 600").await;
    let row = probe.done(1).await;
    assert_eq!(row["answer"], "led", "{row}");
    let led = sim.lock().unwrap().log().last().cloned();
    let Some(Command::Led(control)) = led else { panic!("{led:?}") };
    assert_eq!((control.index, control.led.repeat), (0, Repeat::Seconds(600)));
    assert_eq!((control.led.colour.green, control.led.colour.red), (3, 0));
    probe.say("temperature 2 l1").await;
    let row = probe.done(2).await;
    assert_eq!(row["answer"]["temperature_mc"], 12_340, "{row}");
    probe.say("show 3 l1 0 1").await;
    let row = probe.done(3).await;
    assert_eq!((&row["answer"]["display"], &row["answer"]["image"]), (&0.into(), &1.into()), "{row}");
    assert_eq!(sim.lock().unwrap().image(0, 0), Some(1));
    probe.say("ping 4 l1").await;
    let row = probe.done(4).await;
    assert_eq!(row["answer"]["state"], 4, "an active LED: {row}");
    probe.say("show 5 l1 0 9").await;
    let row = probe.done(5).await;
    assert!(row["error"].as_str().unwrap().contains("invalid image index"), "{row}");
    let sim = sim.lock().unwrap();
    let (sync, response) = sim.keys();
    let expected = |key: u8, iv: u8| Some(KeyMaterial { key: [key; 16], iv: [iv; 8] });
    assert_eq!((sync, response), (expected(1, 2), expected(3, 4)));
    assert_eq!(sim.address().map(|a| (a.id(), a.group())), Some((1, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_light_measure_and_show_through_the_fake_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let sims: Vec<_> = (1..=2).map(label).collect();
    let list = (1u64..).zip(&sims).map(|(n, sim)| FakeTag { address: address(n), tag: sim.clone() });
    let _fake = FakeBluez::start(&bus.address(), list.collect(), Duration::from_millis(200)).await.unwrap();
    let mut probe = Probe::start(folder.path(), &bus.address(), &labels(2));
    probe.health("l1", "ok").await;
    light_read_and_show(&mut probe, &sims[0]).await;
    assert_eq!(
        sims[0].lock().unwrap().stage(),
        Stage::Unsynchronized,
        "associated; nothing to synchronize with"
    );
    // An image needs a transport that is not there: refused at once, by name.
    probe.say("tag 6 l1 1.00 Pork bun").await;
    let row = probe.wait("a refusal", |row| row["kind"] == "refused").await;
    assert!(
        row["reason"].as_str().unwrap().contains("Object Transfer Service over an L2CAP channel"),
        "{row}"
    );
    // A label that restarts under the order, and one that is busy, are tried again; a mute one fails by name.
    sims[0].lock().unwrap().set_faults(EslFaults { reboot_after: Some(0), busy: 1, ..EslFaults::default() });
    probe.say("led 7 l1 red 60").await;
    let row = probe.done(7).await;
    assert_eq!(row["answer"], "led", "{row}");
    sims[1].lock().unwrap().set_faults(EslFaults { mute: true, ..EslFaults::default() });
    probe.say("led 8 l2 red 60").await;
    let row = probe.done(8).await;
    assert!(row["error"].as_str().unwrap().contains("mute"), "{row}");
}

/// BlueZoo 1.0.2 cannot connect to a device a second time (it registers the device's services again and fails), so every
/// order goes to a label of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_light_measure_and_show_through_bluezoo() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let venv = Venv::ready().unwrap();
    let adapters = ["AA:BB:CC:00:00:01", &address(1), &address(2), &address(3)];
    let log = folder.path().join("bluezoo.log");
    let mut zoo = BlueZoo::start(&venv, &bus.address(), &adapters, &log).await.unwrap();
    let sims: Vec<_> = (1..=3).map(label).collect();
    let mut hosted = Vec::new();
    for (place, sim) in sims.iter().enumerate() {
        let adapter = format!("hci{}", place + 1);
        hosted.push(Peripheral::start(&bus.address(), &adapter, sim.clone()).await.unwrap());
    }
    let mut probe = Probe::start(folder.path(), &bus.address(), &labels(3));
    probe.say("led 1 l1 green 600").await;
    let row = probe.done(1).await;
    assert_eq!(row["answer"], "led", "{row}");
    let led = sims[0].lock().unwrap().log().last().cloned();
    assert!(
        matches!(led, Some(Command::Led(control)) if control.led.repeat == Repeat::Seconds(600)),
        "{led:?}"
    );
    probe.say("temperature 2 l2").await;
    let row = probe.done(2).await;
    assert_eq!(row["answer"]["temperature_mc"], 12_340, "{row}");
    probe.say("show 3 l3 0 1").await;
    let row = probe.done(3).await;
    assert_eq!((&row["answer"]["display"], &row["answer"]["image"]), (&0.into(), &1.into()), "{row}");
    assert_eq!(sims[2].lock().unwrap().image(0, 0), Some(1));
    assert_eq!(sims[2].lock().unwrap().address().map(|a| (a.id(), a.group())), Some((3, 1)));
    assert!(zoo.runs());
}

fn oepl(seed: u64) -> Arc<Mutex<OeplSim>> {
    let advert = Advert {
        hardware: 0x33,
        firmware: 0x0123,
        capabilities: 0,
        battery_mv: 2_870,
        temperature: Some(MilliCelsius(4_000)),
        counter: 1,
    };
    Arc::new(Mutex::new(OeplSim::new(Model::find(0x33).unwrap(), advert, seed)))
}

fn oepl_config() -> String {
    let tag = |n: u64| {
        format!(
            "[[tag]]\nid = \"o{n}\"\naddress = \"{}\"\nsku = {n}\nmodel = 0x33\nfamily = \"oepl\"\n",
            address(n)
        )
    };
    format!(
        "[ble]\nadapter = \"hci0\"\nconnect_timeout_ms = 5000\noperation_timeout_ms = 1500\nlost_after_ms = 20000\n\
         connections = 2\n{}{}",
        tag(1),
        tag(2)
    )
}

fn shown(sim: &Arc<Mutex<OeplSim>>) -> Option<String> {
    let hash = sim.lock().unwrap().shown()?;
    Some(hash.iter().map(|b| format!("{b:02x}")).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oepl_tags_tell_their_temperature_and_take_images() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let sims: Vec<_> = (1..=2).map(oepl).collect();
    let faults = OeplFaults { refuse_permille: 100, disconnect_after: Some(7), ..OeplFaults::default() };
    sims[1].lock().unwrap().set_faults(faults);
    let list = (1u64..).zip(&sims).map(|(n, sim)| FakeTag { address: address(n), tag: sim.clone() });
    let _fake = FakeBluez::start(&bus.address(), list.collect(), Duration::from_millis(200)).await.unwrap();
    let mut probe = Probe::start(folder.path(), &bus.address(), &oepl_config());
    let seen = probe.wait("tag-seen", |row| row["kind"] == "tag-seen" && row["device"] == "o1").await;
    assert_eq!((seen["battery_mv"].as_u64(), seen["model"].as_u64()), (Some(2_870), Some(0x33)));
    let warm = probe.wait("a temperature", |row| row["kind"] == "tag-temperature").await;
    assert_eq!(warm["temperature_mc"], 4_000, "{warm}");
    let wanted = [probe.write(1, "o1", "1.50").await, probe.write(2, "o2", "2.50").await];
    for _ in 0..2 {
        let row = probe.wait("a result", |row| row["kind"] == "tag-written").await;
        let index = usize::try_from(row["job"].as_u64().unwrap()).unwrap() - 1;
        assert_eq!(row["hash"].as_str(), Some(wanted[index].as_str()), "{row}");
        assert_eq!(shown(&sims[index]).as_ref(), Some(&wanted[index]), "what is shown is what was sent");
    }
    assert!(sims[1].lock().unwrap().connections() >= 2, "the dropped link was tried again");
    probe.say("led 3 o1 red 5").await;
    let row = probe.wait("a refusal", |row| row["kind"] == "refused").await;
    assert!(row["reason"].as_str().unwrap().contains("no LED command is known for the family oepl"), "{row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oepl_tag_takes_an_image_through_bluezoo() {
    let folder = tempfile::tempdir().unwrap();
    let bus = PrivateBus::start(folder.path()).await.unwrap();
    let venv = Venv::ready().unwrap();
    let adapters = ["AA:BB:CC:00:00:01", &address(1)];
    let log = folder.path().join("bluezoo.log");
    let mut zoo = BlueZoo::start(&venv, &bus.address(), &adapters, &log).await.unwrap();
    let sim = oepl(1);
    let _tag = Peripheral::start(&bus.address(), "hci1", sim.clone()).await.unwrap();
    let mut probe = Probe::start(folder.path(), &bus.address(), &oepl_config());
    let wanted = probe.write(1, "o1", "4.20").await;
    let row = probe.written(1).await;
    assert_eq!(row["hash"].as_str(), Some(wanted.as_str()), "{row}");
    assert_eq!(shown(&sim).as_ref(), Some(&wanted));
    assert!(zoo.runs());
}
