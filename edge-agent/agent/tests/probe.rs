//! `POST /v1/devices/{id}/probe` against a device that counts its addresses from one: settled without a single write, and the
//! setting that follows from it is read. What a controller says beside its temperature reaches people, too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod stand;

use drv_protocol::modbus::Table;
use drv_sim::{Bank, ModbusSim};
use edge_api::{DeviceProbe, DeviceReading, Devices, Samples};
use hil_rig::modbus_tcp::ModbusTcp;
use serde_json::json;
use stand::{Stand, until};
use std::sync::{Arc, Mutex};

/// PNU 2532, 2007 and 100 one address lower than their numbers: 2.5 degrees, normal, set to 2.0.
fn counts_from_one() -> Arc<Mutex<ModbusSim>> {
    let mut bank = Bank::new();
    [(2531, 25), (2006, 0), (99, 20)].iter().for_each(|(at, word)| bank.set(Table::Holding, *at, *word));
    let mut sim = ModbusSim::new(1);
    sim.add_bank(1, bank);
    Arc::new(Mutex::new(sim))
}

fn tables(port: u16, offset: &str) -> String {
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/devices");
    format!(
        "[profiles]\ndir = \"{profiles}\"\n[[bus]]\nid = \"cold\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{port}\"\n\
         [[cabinet]]\nid = \"dairy-1\"\nbus = \"cold\"\nunit = 1\nprofile = \"danfoss-ak-cc55\"\npoll_ms = 100\n{offset}"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_is_settled_by_reading_only() {
    let bus = counts_from_one();
    let server = ModbusTcp::start(0, bus.clone()).await.unwrap();
    let port = server.address().port();
    let stand = Stand::with("reserve_bytes = 0", &tables(port, "")).await;
    let before = bus.lock().unwrap().clone();
    let reply = stand.client.post("/v1/devices/dairy-1/probe", &json!({}), None).await.unwrap();
    let probe: DeviceProbe = reply.parse().unwrap();
    assert_eq!((probe.settled, probe.offset, probe.cut_short), (Some(-1), 0, false), "{probe:#?}");
    let air = probe.reads.iter().find(|read| read.asked == "temperature" && read.offset == -1).unwrap();
    assert_eq!((air.address, air.words.as_slice()), (2531, [25].as_slice()));
    assert_eq!((air.readings[0].milli, air.readings[0].verdict.as_str()), (Some(2_500), "plausible"));
    let refused = probe.reads.iter().find(|read| read.asked == "temperature" && read.offset == 0).unwrap();
    assert!(
        refused.error.as_ref().is_some_and(|error| error.contains("illegal data address")),
        "{refused:?}"
    );
    let words =
        |sim: &mut ModbusSim| [2531, 2006, 99].map(|at| sim.bank_mut(1).unwrap().get(Table::Holding, at));
    assert_eq!(words(&mut bus.lock().unwrap()), words(&mut before.clone()), "nothing is written");

    let (status, code) =
        stand::refusal(stand.client.post("/v1/devices/nobody/probe", &json!({}), None).await);
    assert_eq!((status, code.as_str()), (404, "not-found"));

    stand.folder.write("reserve_bytes = 0", &tables(port, "address_offset = -1\n"));
    stand.client.post("/v1/reload", &json!({}), None).await.unwrap();
    until("the reading at the settled offset", || async {
        let devices: Devices = stand.client.fetch("/v1/devices").await.ok()?;
        let reading = devices.devices.into_iter().find(|device| device.id == "dairy-1")?.reading?;
        matches!(reading, DeviceReading::Cabinet { temperature_mc: Some(2_500), .. }).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_probe_measures_is_evidence_and_the_controllers_own_alarm_is_told() {
    let mut bank = Bank::new();
    // 300.0 degrees, no humidity, above the node's own limit, up for 9 s; limits and times.
    let inputs = [3_000, 0x8000, 0x0004, 0, 9];
    (0..).zip(inputs).for_each(|(at, word)| bank.set(Table::Input, at, word));
    (0..).zip([1, 50, 0xFFF6, 900, 10]).for_each(|(at, word)| bank.set(Table::Holding, at, word));
    let mut sim = ModbusSim::new(1);
    sim.add_bank(1, bank);
    let server = ModbusTcp::start(0, Arc::new(Mutex::new(sim))).await.unwrap();
    let tables = tables(server.address().port(), "").replace("danfoss-ak-cc55", "steelyard-node");
    let stand = Stand::with("reserve_bytes = 0", &tables).await;
    until("the fault and the alarm", || async {
        let devices: Devices = stand.client.fetch("/v1/devices").await.ok()?;
        match devices.devices.into_iter().find(|device| device.id == "dairy-1")?.reading? {
            DeviceReading::Cabinet { temperature_mc: None, fault: Some(fault), alarms, .. } => {
                (fault.contains("outside") && alarms == ["above the node's upper limit"]).then_some(())
            }
            _ => None,
        }
    })
    .await;
    let sample = until("a sample", || async {
        let samples: Samples = stand.client.fetch("/v1/samples/dairy-1").await.ok()?;
        samples.rows.first().copied()
    })
    .await;
    assert_eq!((sample.value, sample.good), (Some(300_000), false));
    let sums: Samples = stand.client.fetch("/v1/samples/dairy-1?every=86400000").await.unwrap();
    assert!(sums.intervals.iter().all(|row| row.good == 0 && row.bad > 0 && row.max.is_none()), "{sums:?}");
}
