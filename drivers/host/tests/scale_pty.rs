//! The scale driver against a simulated Toledo 8217 on a pseudo-terminal.
//!
//! What this cannot show: parity and 7 data bits. A pty accepts both settings and keeps 8N1, so the bytes arrive with bit 7
//! as the far end set it; that the settings reach the port is checked in a unit test, that they reach a wire needs the
//! rig's FTDI model or a real port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use drv_host::{DeviceBody, HealthState, ScaleReading, Way};
use drv_protocol::Grams;
use drv_sim::{ScaleConfig, ScaleFaults, ScaleSim};
use hil_rig::clock::now_ms;
use hil_rig::pty::FarEnd;
use support::Bench;

fn scale() -> Arc<Mutex<ScaleSim>> {
    Arc::new(Mutex::new(ScaleSim::new(ScaleConfig { settle_ms: 50, ..ScaleConfig::default() })))
}

fn plug(link: &Path, scale: &Arc<Mutex<ScaleSim>>) -> FarEnd {
    FarEnd::plug(link, scale.clone(), |scale, now, bytes| scale.receive(bytes, now)).unwrap()
}

fn config(id: &str, port: &Path, gap_ms: u32) -> String {
    format!(
        "[[scale]]\nid = \"{id}\"\nprotocol = \"toledo-8217\"\nport = \"{}\"\nbaud = 9600\ninterval_g = 5\n\
         capacity_g = 15000\npoll_ms = 20\nmin_gap_ms = {gap_ms}\ntimeout_ms = 100\nlost_after_ms = 500\n",
        port.display()
    )
}

async fn reading(bench: &mut Bench, device: &str, grams: i64) -> ScaleReading {
    let pick = |body: &DeviceBody| match body {
        DeviceBody::Weight(reading) if reading.weight.usable() == Some(Grams(grams)) => Some(reading.clone()),
        _ => None,
    };
    bench.wait(device, &format!("{grams} g"), pick).await
}

fn faults(scale: &Arc<Mutex<ScaleSim>>, faults: ScaleFaults) {
    scale.lock().unwrap().set_faults(faults);
}

#[tokio::test]
async fn weights_arrive_with_their_raw_frame() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let scale = scale();
    let _far = plug(&port, &scale);
    let mut bench = Bench::start(&config("s1", &port, 5));
    bench.wait_health("s1", HealthState::Seen).await;
    bench.wait_health("s1", HealthState::Ok).await;
    scale.lock().unwrap().place(Grams(1_250), now_ms());
    let moving = |body: &DeviceBody| match body {
        DeviceBody::Weight(reading) => (!reading.weight.stable).then_some(()),
        _ => None,
    };
    bench.wait("s1", "motion", moving).await;
    let reading = reading(&mut bench, "s1", 1_250).await;
    assert_eq!(reading.raw, b"\x0201.250\r");
    let frames = bench.host.frames("s1");
    assert!(frames.iter().any(|f| f.way == Way::Sent && f.bytes == b"W"), "{frames:?}");
    bench.host.stop().await;
}

#[tokio::test]
async fn commands_keep_the_gap_that_the_scale_needs() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let scale = scale();
    let _far = plug(&port, &scale);
    let mut bench = Bench::start(&config("s1", &port, 200));
    for _ in 0..4 {
        bench.wait("s1", "an answer", |body| matches!(body, DeviceBody::Weight(_)).then_some(())).await;
    }
    let frames = bench.host.frames("s1");
    bench.host.stop().await;
    for pair in frames.windows(2) {
        let [answer, command] = pair else { continue };
        if answer.way == Way::Received && command.way == Way::Sent {
            // The ring's stamps are whole milliseconds, cut.
            assert!(command.mono_ms - answer.mono_ms >= 199, "{frames:?}");
        }
    }
}

#[tokio::test]
async fn noise_is_counted_and_marked_and_the_scale_heals() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let scale = scale();
    let _far = plug(&port, &scale);
    let mut bench = Bench::start(&config("s1", &port, 5));
    bench.wait_health("s1", HealthState::Ok).await;
    for bad in [
        ScaleFaults { endless: true, ..ScaleFaults::default() },
        ScaleFaults { truncated_permille: 1_000, ..ScaleFaults::default() },
        ScaleFaults { garbage_permille: 1_000, ..ScaleFaults::default() },
    ] {
        faults(&scale, bad);
        bench
            .wait("s1", "a bad answer", |body| matches!(body, DeviceBody::WeightBad { .. }).then_some(()))
            .await;
        bench.wait_health("s1", HealthState::Degraded).await;
        faults(&scale, ScaleFaults::default());
        bench.wait_health("s1", HealthState::Ok).await;
    }
    assert!(bench.health("s1").counters.malformed >= 6, "{:?}", bench.health("s1"));
    bench.host.stop().await;
}

#[tokio::test]
async fn a_mute_scale_is_lost_and_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (mute_port, good_port) = (folder.path().join("mute"), folder.path().join("good"));
    let (mute, good) = (scale(), scale());
    let (_far_mute, _far_good) = (plug(&mute_port, &mute), plug(&good_port, &good));
    let mut bench = Bench::start(&(config("mute", &mute_port, 5) + &config("good", &good_port, 5)));
    bench.wait_health("mute", HealthState::Ok).await;
    faults(&mute, ScaleFaults { mute: true, ..ScaleFaults::default() });
    let lost = bench.wait_health("mute", HealthState::Lost).await;
    assert!(lost.reason.contains("silent"), "{}", lost.reason);
    good.lock().unwrap().place(Grams(500), now_ms());
    reading(&mut bench, "good", 500).await;
    assert_eq!(bench.health("good").state, HealthState::Ok);
    faults(&mute, ScaleFaults::default());
    bench.wait_health("mute", HealthState::Ok).await;
    bench.host.stop().await;
}

#[tokio::test]
async fn an_unplugged_scale_is_reported_and_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let scale = scale();
    let mut bench = Bench::start(&config("s1", &port, 5));
    let missing = bench.wait_health("s1", HealthState::Failed).await;
    assert!(missing.reason.contains("scale"), "the port is named: {}", missing.reason);
    let far = plug(&port, &scale);
    bench.wait_health("s1", HealthState::Ok).await;
    drop(far);
    bench.wait_health("s1", HealthState::Failed).await;
    let _far = plug(&port, &scale);
    bench.wait_health("s1", HealthState::Ok).await;
    scale.lock().unwrap().place(Grams(755), now_ms());
    reading(&mut bench, "s1", 755).await;
    assert!(bench.health("s1").counters.reopened >= 1);
    bench.host.stop().await;
}

#[tokio::test]
async fn a_receiver_that_does_not_listen_holds_up_nothing_and_still_gets_health() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("scale");
    let scale = scale();
    let _far = plug(&port, &scale);
    let mut bench = Bench::with_capacity(&config("s1", &port, 5), 1);
    let polls = || scale.lock().unwrap().counters().polls;
    hil_rig::until("polls without a listener", support::PATIENCE, || async { polls() > 20 }).await.unwrap();
    faults(&scale, ScaleFaults { mute: true, ..ScaleFaults::default() });
    let lost = || async { bench.health("s1").state == HealthState::Lost };
    hil_rig::until("lost", support::PATIENCE, lost).await.unwrap();
    assert!(bench.health("s1").counters.dropped > 0);
    bench.wait_health("s1", HealthState::Ok).await;
    bench.wait_health("s1", HealthState::Lost).await;
    bench.host.stop().await;
}
