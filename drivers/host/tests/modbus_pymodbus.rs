//! The Modbus bus owner against pymodbus, a server that nobody here wrote, over TCP and over a pair of pseudo-terminals.
//!
//! What this cannot show: parity and turn-around of a real RS-485 line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use drv_host::{DeviceBody, Health, HealthState, SteamerOrder};
use drv_protocol::MilliCelsius;
use drv_protocol::modbus::Exception;
use drv_sim::cabinet::CabinetConfig;
use drv_sim::{CabinetSim, ModbusSim, SteamerConfig, SteamerSim, UnitFaults};
use hil_rig::clock::now_ms;
use hil_rig::modbus_tcp::ModbusTcp;
use hil_rig::ports;
use hil_rig::pty::Pair;
use hil_rig::python::{ModbusWire, Venv};
use serde_json::json;
use support::Bench;

fn cabinet(id: &str, unit: u8) -> String {
    format!(
        "[[cabinet]]\nid = \"{id}\"\nbus = \"b\"\nunit = {unit}\nprofile = \"danfoss-ak-cc55\"\npoll_ms = 50\n\
         lost_after_ms = 1200\n"
    )
}

fn tcp(address: &str) -> String {
    format!(
        "[[bus]]\nid = \"b\"\nkind = \"modbus-tcp\"\naddress = \"{address}\"\ntimeout_ms = 300\nmute_backoff_max_ms = 500\n"
    )
}

async fn temperature(bench: &mut Bench, device: &str) -> i32 {
    let pick = |body: &DeviceBody| match body {
        DeviceBody::Temperature(reading) => reading.value.map(|v| v.0),
        _ => None,
    };
    bench.wait(device, "a temperature", pick).await
}

/// Unit 1 is a cabinet at -18.5 °C, unit 2 answers with a value that no cabinet has, unit 3 lacks every register.
fn units() -> serde_json::Value {
    json!({
        "1": {"holding": {"2532": 65351, "2007": 0, "100": 20}},
        "2": {"holding": {"2532": 32767, "2007": 20, "100": 20}},
        "3": {"holding": {"1": 1}},
    })
}

async fn read_all(config: String) {
    let four = cabinet("good", 1) + &cabinet("broken", 2) + &cabinet("empty", 3) + &cabinet("mute", 9);
    let mut bench = Bench::start(&(config + &four));
    assert_eq!(temperature(&mut bench, "good").await, -18_500);
    let broken = bench.wait_health("broken", HealthState::Degraded).await;
    assert!(broken.reason.contains("temperature"), "{}", broken.reason);
    let empty = bench.wait_health("empty", HealthState::Degraded).await;
    assert!(empty.reason.contains("illegal data address"), "{}", empty.reason);
    bench.wait_health("mute", HealthState::Lost).await;
    let asked_again = |mute: &Health| mute.counters.timeouts >= 2 && mute.counters.good == 0;
    bench.settled("mute", "more than one attempt at the mute unit, none answered", asked_again).await;
    bench.settled("good", "the others to go on", |good| good.state == HealthState::Ok).await;
    assert_eq!(temperature(&mut bench, "good").await, -18_500);
    bench.host.stop().await;
}

#[tokio::test]
async fn pymodbus_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let venv = Venv::ready().unwrap();
    let number = ports::reserve().unwrap();
    let server =
        venv.modbus_server(ModbusWire::Tcp(number), &units(), &folder.path().join("log")).await.unwrap();
    read_all(tcp(&format!("127.0.0.1:{number}"))).await;
    drop(server);
}

#[tokio::test]
async fn pymodbus_over_rtu() {
    let folder = tempfile::tempdir().unwrap();
    let venv = Venv::ready().unwrap();
    let pair = Pair::open().unwrap();
    let wire = ModbusWire::Rtu(pair.theirs());
    let server = venv.modbus_server(wire, &units(), &folder.path().join("log")).await.unwrap();
    read_all(rtu(pair.ours())).await;
    drop(server);
}

fn rtu(port: &Path) -> String {
    format!(
        "[[bus]]\nid = \"b\"\nkind = \"modbus-rtu\"\nport = \"{}\"\nbaud = 19200\ntimeout_ms = 300\n\
         mute_backoff_max_ms = 500\n",
        port.display()
    )
}

fn bus_of_cabinets() -> Arc<Mutex<ModbusSim>> {
    let mut bus = ModbusSim::new(7);
    for unit in 1..=4 {
        bus.add_cabinet(unit, CabinetSim::new(CabinetConfig::default(), now_ms()));
    }
    Arc::new(Mutex::new(bus))
}

#[tokio::test]
async fn a_misbehaving_unit_harms_only_itself_and_heals() {
    let bus = bus_of_cabinets();
    let server = ModbusTcp::start(0, bus.clone()).await.unwrap();
    let cabinets = cabinet("good", 1) + &cabinet("mute", 2) + &cabinet("noisy", 3) + &cabinet("refusing", 4);
    let mut bench = Bench::start(&(tcp(&server.address().to_string()) + &cabinets));
    for device in ["good", "mute", "noisy", "refusing"] {
        temperature(&mut bench, device).await;
    }
    let set = |unit, faults| bus.lock().unwrap().set_faults(unit, faults);
    set(2, UnitFaults { mute: true, ..UnitFaults::default() });
    set(3, UnitFaults { wrong_unit: true, ..UnitFaults::default() });
    set(4, UnitFaults { exception: Some(Exception::Busy), ..UnitFaults::default() });
    bench.wait_health("mute", HealthState::Lost).await;
    temperature(&mut bench, "good").await;
    bench.settled("good", "the good unit to go on", |good| good.state == HealthState::Ok).await;
    let degraded = |health: &Health| health.state == HealthState::Degraded;
    let noisy = |health: &Health| degraded(health) && health.counters.malformed >= 2;
    bench.settled("noisy", "answers of another unit to degrade it", noisy).await;
    bench.settled("refusing", "exceptions to degrade it", degraded).await;
    for unit in 2..=4 {
        set(unit, UnitFaults::default());
    }
    let healed = || async {
        ["mute", "noisy", "refusing"].iter().all(|device| bench.health(device).state == HealthState::Ok)
    };
    hil_rig::until("all units healed", support::PATIENCE, healed).await.unwrap();
    bench.host.stop().await;
}

#[tokio::test]
async fn a_bus_that_goes_away_is_reported_and_reconnected() {
    let bus = bus_of_cabinets();
    let server = ModbusTcp::start(0, bus.clone()).await.unwrap();
    let address = server.address();
    let mut bench = Bench::start(&(tcp(&address.to_string()) + &cabinet("c1", 1)));
    bench.wait_health("c1", HealthState::Ok).await;
    drop(server);
    let gone = bench.wait_health("c1", HealthState::Failed).await;
    assert!(!gone.reason.is_empty());
    let again = || async { ModbusTcp::start(address.port(), bus.clone()).await.ok() };
    let mut server = again().await;
    while server.is_none() {
        tokio::task::yield_now().await;
        server = again().await;
    }
    bench.wait_health("c1", HealthState::Ok).await;
    bench.host.stop().await;
}

async fn order(bench: &mut Bench, job: u64, order: SteamerOrder) -> Result<(), String> {
    bench.host.command_steamer("st", job, order).unwrap();
    let pick = |body: &DeviceBody| match body {
        DeviceBody::SteamerCommand { job: found, result } if *found == job => Some(result.clone()),
        _ => None,
    };
    bench.wait("st", "the order's result", pick).await
}

#[tokio::test]
async fn steamer_orders_pass_the_interlocks_and_reach_the_controller() {
    let mut sim = ModbusSim::new(7);
    sim.add_steamer(10, SteamerSim::new(SteamerConfig::default(), now_ms()));
    let bus = Arc::new(Mutex::new(sim));
    let server = ModbusTcp::start(0, bus.clone()).await.unwrap();
    let steamer =
        "[[steamer]]\nid = \"st\"\nbus = \"b\"\nunit = 10\nprofile = \"steamer-e5cc\"\npoll_ms = 50\n";
    let mut bench = Bench::start(&(tcp(&server.address().to_string()) + steamer));
    bench.wait_health("st", HealthState::Ok).await;

    bus.lock().unwrap().steamer_mut(10).unwrap().set_door(true);
    let refused = order(&mut bench, 1, SteamerOrder::Run).await.unwrap_err();
    assert!(refused.contains("door"), "{refused}");
    bus.lock().unwrap().steamer_mut(10).unwrap().set_door(false);
    order(&mut bench, 2, SteamerOrder::SetPoint(MilliCelsius(98_000))).await.unwrap();
    order(&mut bench, 3, SteamerOrder::Run).await.unwrap();
    let running = |body: &DeviceBody| match body {
        DeviceBody::Steamer(reading) if reading.running => reading.set_point,
        _ => None,
    };
    assert_eq!(bench.wait("st", "running", running).await, MilliCelsius(98_000));
    assert_eq!(bus.lock().unwrap().steamer_mut(10).unwrap().runs_started(), 1);
    order(&mut bench, 4, SteamerOrder::Stop).await.unwrap();
    assert!(!bus.lock().unwrap().steamer_mut(10).unwrap().running(now_ms()));

    bus.lock().unwrap().set_faults(10, UnitFaults { mute: true, ..UnitFaults::default() });
    let mute = order(&mut bench, 5, SteamerOrder::Run).await.unwrap_err();
    // The input module still answers, the controller does not: what is not known forbids a start.
    assert!(mute.contains("not known"), "{mute}");
    let half = || async { bench.health("st").reason.contains("part of the device") };
    hil_rig::until("half a steamer reported", support::PATIENCE, half).await.unwrap();
    assert_eq!(bench.health("st").state, HealthState::Degraded);
    assert!(bench.host.command_steamer("nobody", 6, SteamerOrder::Stop).is_err());
    bench.host.stop().await;
}
