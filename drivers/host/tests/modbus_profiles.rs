//! Every shipped device profile against pymodbus, which serves it from the profile's own map, over TCP and over a pair of
//! pseudo-terminals: each worked example is one device, and what the example promises must come out of the driver.
//!
//! What this cannot show: that a real device answers as its manual says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use drv_host::{CabinetReading, DeviceBody, Inquiry};
use drv_protocol::modbus::Table;
use drv_protocol::profile::{Asked, Class, Example, Profile, Role, Values};
use drv_protocol::steamer::SteamerReading;
use hil_rig::ports;
use hil_rig::pty::Pair;
use hil_rig::python::{ModbusWire, Venv};
use serde_json::{Value, json};
use support::Bench;

/// One worked example, served as a device of its own.
struct Served {
    id: String,
    unit: u8,
    profile: Profile,
    example: Example,
    /// What the example's words mean, filled up as they are served.
    values: Values,
}

/// One reading of a device, whatever its class.
enum Read {
    Cabinet(CabinetReading),
    Steamer(SteamerReading),
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Coil => "coil",
        Table::Discrete => "discrete",
        Table::Holding => "holding",
        Table::Input => "input",
    }
}

/// Gives every example (at most `each` per profile) a unit, and says what pymodbus has to serve there.
fn served(each: usize) -> (Vec<Served>, Value) {
    let mut units = serde_json::Map::new();
    let mut devices = Vec::new();
    let mut unit = 1u8;
    for profile in support::profiles().into_values() {
        for (index, example) in profile.examples.iter().enumerate().take(each) {
            let mut image = profile.example_image(index + 1, example).unwrap();
            // A device has all its indispensable addresses, those the example does not speak of too, and all its units.
            for poll in profile.plan().iter().filter(|poll| !poll.optional || poll.unit_offset > 0) {
                for address in poll.address..poll.address + poll.count {
                    if image.word(poll.unit_offset, poll.table, address).is_none() {
                        image.put(poll.unit_offset, poll.table, address, 0);
                    }
                }
            }
            for (offset, table, address, word) in image.iter() {
                let tables = units.entry((unit + offset).to_string()).or_insert_with(|| json!({}));
                tables[table_name(table)][address.to_string()] = json!(word);
            }
            devices.push(Served {
                id: format!("{}-{}", profile.name, index + 1),
                unit,
                values: profile.decode(&image),
                example: example.clone(),
                profile: profile.clone(),
            });
            unit += profile.unit_offset_max() + 1;
        }
    }
    (devices, Value::Object(units))
}

fn configured(bus: &str, devices: &[Served]) -> String {
    let mut config = bus.to_owned();
    for device in devices {
        let table = if device.profile.class == Class::Steamer { "steamer" } else { "cabinet" };
        write!(
            config,
            "[[{table}]]\nid = \"{}\"\nbus = \"b\"\nunit = {}\nprofile = \"{}\"\npoll_ms = 1000\n",
            device.id, device.unit, device.profile.name
        )
        .unwrap();
    }
    config
}

async fn first_readings(bench: &mut Bench, count: usize) -> BTreeMap<String, Read> {
    let mut found = BTreeMap::new();
    let search = async {
        while found.len() < count {
            let event = bench.events.recv().await.expect("the host runs");
            let read = match event.body {
                DeviceBody::Temperature(reading) => Read::Cabinet(reading),
                DeviceBody::Steamer(reading) => Read::Steamer(reading),
                _ => continue,
            };
            found.entry(event.device.to_string()).or_insert(read);
        }
    };
    let waited = tokio::time::timeout(support::PATIENCE * 2, search).await;
    assert!(waited.is_ok(), "only {:?} of {count} were read", found.keys().collect::<Vec<_>>());
    found
}

/// What the example promises, as far as a reading carries it.
fn check_reading(device: &Served, read: &Read) {
    let id = &device.id;
    let milli = |role| device.values.temperature(role).ok();
    match read {
        Read::Cabinet(reading) => {
            assert_eq!(reading.value, milli(Role::Temperature), "{id}: {reading:?}");
            assert_eq!(reading.value.is_none(), reading.fault.is_some(), "{id}: {reading:?}");
            let promised = device.example.expect.iter().find(|e| e.name == Role::Temperature);
            if let Some(expected) = promised {
                assert_eq!(reading.value.map(|v| i64::from(v.0)), expected.milli, "{id}");
                assert_eq!(reading.value.is_none(), expected.fault, "{id}");
            }
            if let Some(state) = device.example.state {
                assert_eq!(reading.state, state, "{id}");
            }
            if let Some(alarms) = &device.example.alarms {
                assert_eq!(&reading.alarms, alarms, "{id}");
            }
        }
        Read::Steamer(reading) => {
            assert_eq!(reading, &SteamerReading::derive(&device.values), "{id}");
            let expected = device.example.expect.iter().find(|e| e.name == Role::Temperature).unwrap();
            assert_eq!(reading.chamber.map(|v| i64::from(v.0)), expected.milli, "{id}");
        }
    }
}

/// Every value that the example names, read through the bus by an inquiry at the profile's own offset.
fn check_inquiry(device: &Served, inquiry: &Inquiry) {
    assert!(!inquiry.cut_short, "{}: {inquiry:?}", device.id);
    for expected in device.example.expect.iter().filter(|expected| !expected.fault) {
        let asked = |f: &&drv_host::Found| {
            f.candidate.asked == Asked::Value(expected.name)
                && f.candidate.offset == device.profile.address_offset
        };
        let found = inquiry.found.iter().find(asked).unwrap();
        let words =
            found.answer.clone().unwrap_or_else(|e| panic!("{}: {:?}: {e}", device.id, expected.name));
        let readings = device.profile.readings(&found.candidate, &words);
        let own = readings.first().unwrap();
        let decimals = device.profile.register(expected.name).unwrap().decimals;
        assert!(expected.raw.is_none_or(|raw| raw == own.raw), "{}: {expected:?}, {own:?}", device.id);
        let same = expected.milli.is_none() || own.milli == expected.milli;
        assert!(same || decimals, "{}: {expected:?}, {own:?}", device.id);
    }
}

async fn all_profiles(bus: &str, devices: &[Served]) {
    let mut bench = Bench::start(&configured(bus, devices));
    let found = first_readings(&mut bench, devices.len()).await;
    for device in devices {
        check_reading(device, &found[&device.id]);
    }
    for device in devices {
        let answer = bench.host.inquire(&device.id).unwrap();
        let inquiry =
            tokio::time::timeout(support::PATIENCE, answer).await.expect("in time").expect("answered");
        check_inquiry(device, &inquiry);
        while bench.events.try_recv().is_ok() {}
    }
    bench.host.stop().await;
}

#[tokio::test]
async fn every_example_of_every_profile_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let venv = Venv::ready().unwrap();
    let (devices, units) = served(usize::MAX);
    assert!(devices.len() > 25, "{}", devices.len());
    let port = ports::reserve().unwrap();
    let server = venv.modbus_server(ModbusWire::Tcp(port), &units, &folder.path().join("log")).await.unwrap();
    let bus = format!(
        "[[bus]]\nid = \"b\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{port}\"\ntimeout_ms = 2000\n"
    );
    all_profiles(&bus, &devices).await;
    drop(server);
}

#[tokio::test]
async fn every_profile_over_a_serial_line() {
    let folder = tempfile::tempdir().unwrap();
    let venv = Venv::ready().unwrap();
    let (devices, units) = served(1);
    let pair = Pair::open().unwrap();
    let wire = ModbusWire::Rtu(pair.theirs());
    let server = venv.modbus_server(wire, &units, &folder.path().join("log")).await.unwrap();
    let bus = format!(
        "[[bus]]\nid = \"b\"\nkind = \"modbus-rtu\"\nport = \"{}\"\nbaud = 19200\ntimeout_ms = 2000\n",
        pair.ours().display()
    );
    all_profiles(&bus, &devices).await;
    drop(server);
}
