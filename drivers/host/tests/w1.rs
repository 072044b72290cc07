//! The 1-Wire driver against a folder shaped like /sys/bus/w1/devices. The kernel's own tree is the rig's matter.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use drv_host::{DeviceBody, HealthState};
use support::Bench;

const SENSOR: &str = "28-0316a2794c1f";
/// 25.0625 °C, from the sensor's data sheet; the checksum was computed by hand.
const WARM: &str = "91 01 4b 46 7f ff 0f 10 25 : crc=25 YES\n91 01 4b 46 7f ff 0f 10 25 t=25062\n";
const POWER_ON: &str = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n";
const BAD_CRC: &str = "91 01 4b 46 7f ff 0f 10 26 : crc=25 NO\n91 01 4b 46 7f ff 0f 10 26 t=25062\n";

/// Replaced as a whole: a reader never sees half a file.
fn put(folder: &Path, text: &str) {
    let temporary = folder.join("new");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, folder.join("w1_slave")).unwrap();
}

fn bench(root: &Path) -> Bench {
    Bench::start(&format!(
        "[w1]\nroot = \"{}\"\n[[cabinet]]\nid = \"c1\"\nw1 = \"{SENSOR}\"\npoll_ms = 20\nlost_after_ms = 300\n",
        root.display()
    ))
}

async fn temperature(bench: &mut Bench) -> i32 {
    let pick = |body: &DeviceBody| match body {
        DeviceBody::Temperature(reading) => reading.value.map(|v| v.0),
        _ => None,
    };
    bench.wait("c1", "a temperature", pick).await
}

async fn fault(bench: &mut Bench, text: &str) {
    let pick = |body: &DeviceBody| match body {
        DeviceBody::Temperature(reading) if reading.value.is_none() => {
            reading.fault.as_ref().filter(|fault| fault.contains(text)).map(|_| ())
        }
        _ => None,
    };
    bench.wait("c1", text, pick).await;
}

#[tokio::test]
async fn a_probe_is_read_and_its_faults_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(SENSOR);
    std::fs::create_dir(&folder).unwrap();
    put(&folder, WARM);
    let mut bench = bench(root.path());
    bench.wait_health("c1", HealthState::Ok).await;
    assert_eq!(temperature(&mut bench).await, 25_062);

    put(&folder, POWER_ON);
    fault(&mut bench, "power-on").await;
    let health = bench.wait_health("c1", HealthState::Degraded).await;
    assert!(health.counters.refused >= 2, "{health:?}");
    put(&folder, BAD_CRC);
    fault(&mut bench, "checksum").await;
    put(&folder, WARM);
    bench.wait_health("c1", HealthState::Ok).await;
    assert_eq!(temperature(&mut bench).await, 25_062);
    bench.host.stop().await;
}

#[tokio::test]
async fn a_vanished_probe_reads_empty_and_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(SENSOR);
    std::fs::create_dir(&folder).unwrap();
    put(&folder, WARM);
    let mut bench = bench(root.path());
    bench.wait_health("c1", HealthState::Ok).await;
    put(&folder, "");
    fault(&mut bench, "empty").await;
    bench.wait_health("c1", HealthState::Lost).await;
    std::fs::remove_dir_all(&folder).unwrap();
    fault(&mut bench, "w1_slave").await;
    std::fs::create_dir(&folder).unwrap();
    put(&folder, WARM);
    bench.wait_health("c1", HealthState::Ok).await;
    bench.host.stop().await;
}

#[tokio::test]
async fn a_configured_resolution_is_written_and_a_chip_that_counts_otherwise_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(SENSOR);
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("resolution"), "12\n").unwrap();
    put(&folder, WARM);
    let mut bench = Bench::start(&format!(
        "[w1]\nroot = \"{}\"\nresolution = 10\n[[cabinet]]\nid = \"c1\"\nw1 = \"{SENSOR}\"\npoll_ms = 20\n",
        root.path().display()
    ));
    assert_eq!(temperature(&mut bench).await, 25_062);
    assert_eq!(std::fs::read_to_string(folder.join("resolution")).unwrap(), "10");
    // Fourteen bits, as some copies can: the same checksum rule, another scale.
    put(&folder, "91 01 4b 46 ff ff 0f 10 fc : crc=fc YES\n91 01 4b 46 ff ff 0f 10 fc t=6265\n");
    let seen = |body: &DeviceBody| match body {
        DeviceBody::Temperature(reading) => reading.fault.clone(),
        _ => None,
    };
    let text = bench.wait("c1", "a fault", seen).await;
    assert!(text.contains("not one of this family"), "{text}");
    bench.host.stop().await;
}
