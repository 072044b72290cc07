//! A cabinet on a 1-Wire tree made of files: readings, minutes, alarms, and a restart in the middle of an alarm.

mod stand;

use edge_agent::daemon;
use edge_api::{Alarms, Curve, DeviceReading, Devices};
use stand::{Folder, until};

/// A sensor's file as the kernel writes it.
fn sensor(folder: &Folder, celsius_milli: i32, good: bool) {
    let dir = folder.path("w1/28-0316a2794c1f");
    std::fs::create_dir_all(&dir).unwrap();
    let check = if good { "YES" } else { "NO" };
    let text = format!(
        "72 01 4b 46 7f ff 0e 10 57 : crc=57 {check}\n72 01 4b 46 7f ff 0e 10 57 t={celsius_milli}\n"
    );
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
