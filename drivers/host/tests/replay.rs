//! The bus owner against recorded conversations: what pymodbus and modbus-tk, which nobody here wrote, really answered.
//!
//! The records in `transcripts/` were made by `edgectl device record` with the real agent against those servers. They play
//! without any of that software. A driver that asks differently from the recorded one fails here with the frame that differs:
//! then the change is either a mistake, or the conversation must be recorded anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use drv_host::{DeviceBody, HealthState};
use drv_sim::transcript::{Replay, Transcript, Wire};
use hil_rig::pty::FarEnd;
use support::Bench;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn transcript(name: &str) -> Transcript {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(name);
    Transcript::parse(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

/// A host with the profile that the records were made with.
fn start(config: &str) -> Bench {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/profiles");
    Bench::with_profiles(config, 1024, &drv_host::profiles::load(&folder).unwrap())
}

fn cabinet(bus: &str, unit: u8) -> String {
    format!(
        "[[bus]]\nid = \"b\"\n{bus}\ntimeout_ms = 2000\n\n[[cabinet]]\nid = \"c\"\nbus = \"b\"\nunit = {unit}\n\
         profile = \"as-recorded\"\npoll_ms = 20\nlost_after_ms = 10000\n"
    )
}

/// Reads until the record was played twice, and says what was read last.
async fn played_twice(bench: &mut Bench, replay: &Mutex<Replay>) -> i32 {
    loop {
        let pick = |body: &DeviceBody| match body {
            DeviceBody::Temperature(reading) => reading.value.map(|value| value.0),
            _ => None,
        };
        let value = bench.wait("c", "a temperature", pick).await;
        let replay = replay.lock().unwrap();
        assert_eq!(replay.mismatch(), None);
        if replay.rounds() >= 2 {
            return value;
        }
    }
}

#[tokio::test]
async fn modbus_tk_on_a_serial_line() {
    let record = transcript("modbus-tk-rtu.transcript");
    assert_eq!(record.wire, Wire::ModbusRtu);
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("line");
    let replay = Arc::new(Mutex::new(Replay::new(record)));
    let far_end = FarEnd::plug(&link, Arc::clone(&replay), |replay: &mut Replay, _, bytes| {
        replay.receive(bytes).into_iter().flat_map(|answer| answer.bytes).collect()
    })
    .unwrap();
    let bus = format!("kind = \"modbus-rtu\"\nport = \"{}\"\nbaud = 19200", link.display());
    let mut bench = start(&cabinet(&bus, 7));
    assert_eq!(played_twice(&mut bench, &replay).await, 3_200);
    assert_eq!(bench.health("c").state, HealthState::Ok);
    bench.host.stop().await;
    drop(far_end);
}

#[tokio::test]
async fn pymodbus_on_tcp() {
    let record = transcript("pymodbus-tcp.transcript");
    assert_eq!(record.wire, Wire::ModbusTcp);
    let replay = Arc::new(Mutex::new(Replay::new(record)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let device = Arc::clone(&replay);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0_u8; 512];
        while let Ok(count) = stream.read(&mut buffer).await
            && count > 0
        {
            let answers = device.lock().unwrap().receive(&buffer[..count]);
            for answer in answers {
                stream.write_all(&answer.bytes).await.unwrap();
            }
        }
    });
    let bus = format!("kind = \"modbus-tcp\"\naddress = \"{address}\"");
    let mut bench = start(&cabinet(&bus, 1));
    assert_eq!(played_twice(&mut bench, &replay).await, -18_500);
    assert_eq!(bench.health("c").state, HealthState::Ok);
    bench.host.stop().await;
    server.abort();
}

#[tokio::test]
async fn another_request_is_named_and_the_device_falls_silent() {
    let mut record = transcript("pymodbus-tcp.transcript");
    // The record is of unit 1; this store asks unit 2.
    record.wire = Wire::ModbusTcp;
    let mut replay = Replay::new(record);
    let request = drv_protocol::modbus::Request::Read {
        table: drv_protocol::modbus::Table::Holding,
        address: 2532,
        count: 1,
    };
    let frame = drv_protocol::modbus::tcp::encode_request(1, 2, &request).unwrap();
    assert!(replay.receive(&frame).is_empty());
    let mismatch = replay.mismatch().unwrap();
    assert!(mismatch.to_string().starts_with("frame 1: expected "), "{mismatch}");
}
