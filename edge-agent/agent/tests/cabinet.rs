//! A cabinet on a 1-Wire tree made of files: readings, minutes, alarms, and a restart in the middle of an alarm.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_agent::daemon;
use edge_api::{Alarms, Curve, DeviceReading, Devices, Samples};
use stand::{Folder, until};

/// CRC-8 of a 1-Wire scratchpad (Maxim, polynomial 0x31 reflected).
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x8C } else { crc >> 1 })
    })
}

/// A sensor's file as the kernel writes it.
fn sensor(folder: &Folder, celsius_milli: i32, good: bool) {
    let dir = folder.path("w1/28-0316a2794c1f");
    std::fs::create_dir_all(&dir).unwrap();
    let sixteenths = u16::try_from(celsius_milli * 16 / 1_000).unwrap();
    let [low, high] = sixteenths.to_le_bytes();
    let mut pad = vec![low, high, 0x4b, 0x46, 0x7f, 0xff, 0x0e, 0x10];
    pad.push(crc8(&pad));
    let hex = pad.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    let check = if good { "YES" } else { "NO" };
    let text = format!("{hex} : crc={:02x} {check}\n{hex} t={celsius_milli}\n", pad[8]);
    let partial = dir.join("partial");
    std::fs::write(&partial, text).unwrap();
    std::fs::rename(partial, dir.join("w1_slave")).unwrap();
}

async fn alarms(folder: &Folder, all: bool) -> Vec<edge_api::Alarm> {
    let path = if all { "/v1/alarms?all=1" } else { "/v1/alarms" };
    folder.client().fetch::<Alarms>(path).await.unwrap().alarms
}

#[tokio::test(flavor = "multi_thread")]
async fn an_excursion_is_raised_once_over_a_restart_and_returned() {
    let folder = Folder::new();
    let root = folder.path("w1");
    folder.write(
        "reserve_bytes = 0",
        &format!(
            "[w1]\nroot = \"{}\"\n[cabinets]\ndelay_s = 1\nfault_delay_s = 1\n\
             [[cabinet]]\nid = \"dairy-1\"\nw1 = \"28-0316a2794c1f\"\npoll_ms = 50\nhigh_mc = 5000\ndifference_mc = 1000\n",
            root.display()
        ),
    );
    sensor(&folder, 4_125, true);
    let running = daemon::start(folder.load()).await.unwrap();
    until("a reading", || async {
        let devices: Devices = folder.client().fetch("/v1/devices").await.ok()?;
        match devices.devices.first()?.reading.clone()? {
            DeviceReading::Cabinet { temperature_mc, .. } => (temperature_mc == Some(4_125)).then_some(()),
            _ => None,
        }
    })
    .await;
    assert!(alarms(&folder, true).await.is_empty());
    sensor(&folder, 9_000, true);
    let raised = until("the alarm", || async { alarms(&folder, false).await.pop() }).await;
    assert_eq!((raised.kind.as_str(), raised.limit_mc), ("too-warm", Some(5_000)));
    running.stop().await;
    let running = daemon::start(folder.load()).await.unwrap();
    sensor(&folder, 10_000, true);
    until("a warmer reading", || async {
        let curve: Curve = folder.client().fetch("/v1/cabinets/dairy-1/curve?minutes=5").await.ok()?;
        curve.points.iter().any(|point| point.temperature_mc == Some(10_000)).then_some(())
    })
    .await;
    assert_eq!(alarms(&folder, true).await.len(), 1, "the alarm is not raised again");
    let samples: Samples = folder.client().fetch("/v1/samples/dairy-1").await.unwrap();
    assert!(
        samples.rows.iter().any(|row| row.value == Some(4_125) && row.good),
        "those of before the restart, too"
    );
    let summary: Samples = folder.client().fetch("/v1/samples/dairy-1?every=86400000").await.unwrap();
    assert_eq!(summary.intervals.iter().filter_map(|row| row.max).max(), Some(10_000));
    assert!(folder.client().get("/v1/samples/dairy-1?every=1").await.is_err(), "too many intervals");
    assert!(folder.client().get("/v1/samples/dairy-1?from=5&to=5").await.is_err(), "no span");
    sensor(&folder, 3_000, true);
    until("the return", || async {
        let all = alarms(&folder, true).await;
        (all.len() == 1 && all[0].state == "returned").then_some(())
    })
    .await;
    sensor(&folder, 3_000, false);
    let fault = until("the sensor fault", || async {
        alarms(&folder, false).await.into_iter().find(|alarm| alarm.kind == "sensor-fault")
    })
    .await;
    assert_eq!(fault.state, "unacknowledged");
    running.stop().await;
}
