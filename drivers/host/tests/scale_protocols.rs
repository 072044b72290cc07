//! The scale driver in every protocol and way of reading, against simulated scales on pseudo-terminals.
//!
//! What this cannot show: parity, 7 data bits and bit rates, see `scale_pty.rs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};

use drv_host::{DeviceBody, HealthState, HostBusy, ScaleDone, ScaleOrder};
use drv_protocol::Grams;
use drv_protocol::scale::Weight;
use drv_protocol::scales::ScaleKind;
use drv_sim::{ScaleConfig, ScaleFaults, ScaleSim};
use hil_rig::clock::now_ms;
use hil_rig::pty::FarEnd;
use support::Bench;

/// A scale in one protocol and way of reading.
struct Stand {
    id: String,
    kind: ScaleKind,
    sim: Arc<Mutex<ScaleSim>>,
    config: String,
    _far: FarEnd,
}

impl Stand {
    fn plug(folder: &Path, kind: ScaleKind, sends: bool) -> Self {
        let id = format!("{}-{}", kind.name(), if sends { "sent" } else { "asked" });
        let port = folder.join(&id);
        let sim = ScaleSim::new(ScaleConfig {
            kind,
            sends,
            settle_ms: 50,
            period_ms: 50,
            ..ScaleConfig::default()
        });
        let sim = Arc::new(Mutex::new(sim));
        let step = |sim: &mut ScaleSim, now: u64, bytes: &[u8]| sim.receive(bytes, now);
        let far = FarEnd::plug(&port, sim.clone(), step).unwrap();
        let unit = if says_stable(kind) { "" } else { "unit = \"kg\"\n" };
        let config = format!(
            "[[scale]]\nid = \"{id}\"\nprotocol = \"{}\"\nport = \"{}\"\ninterval_g = 5\ncapacity_g = 15000\n\
             poll_ms = 30\nmin_gap_ms = 5\ntimeout_ms = 500\nlost_after_ms = 2000\nreading = \"{}\"\n{unit}",
            kind.name(),
            port.display(),
            if sends { "sent" } else { "asked" },
        );
        Self { id, kind, sim, config, _far: far }
    }

    fn place(&self, grams: i64) {
        self.sim.lock().unwrap().place(Grams(grams), now_ms());
    }
}

fn stands(folder: &Path) -> Vec<Stand> {
    let mut stands = Vec::new();
    for kind in ScaleKind::ALL {
        let (asked, sent) = kind.readings();
        stands.extend(asked.then(|| Stand::plug(folder, kind, false)));
        stands.extend(sent.then(|| Stand::plug(folder, kind, true)));
    }
    stands
}

fn start(stands: &[Stand]) -> Bench {
    Bench::start(&stands.iter().map(|stand| stand.config.as_str()).collect::<String>())
}

const fn says_stable(kind: ScaleKind) -> bool {
    !matches!(kind, ScaleKind::Cas10 | ScaleKind::Xk3190A23)
}

/// Waits for a state of health. With many devices on one channel its event may have gone by already.
async fn health(bench: &Bench, stand: &Stand, state: HealthState) {
    let reached = || async { bench.health(&stand.id).state == state };
    hil_rig::until(&format!("{} {}", stand.id, state.name()), support::PATIENCE, reached).await.unwrap();
}

async fn weight(bench: &mut Bench, stand: &Stand, what: &str, pick: impl Fn(&Weight) -> bool) -> Vec<u8> {
    let pick = |body: &DeviceBody| match body {
        DeviceBody::Weight(reading) if pick(&reading.weight) => Some(reading.raw.clone()),
        _ => None,
    };
    bench.wait(&stand.id, what, pick).await
}

async fn shows(bench: &mut Bench, stand: &Stand, grams: i64) -> Vec<u8> {
    let stable = says_stable(stand.kind);
    let usable = stable.then_some(Grams(grams));
    weight(bench, stand, &format!("{grams} g"), |weight| {
        weight.gross_or_net == Some(Grams(grams)) && weight.usable() == usable && weight.stable == stable
    })
    .await
}

async fn order(bench: &mut Bench, stand: &Stand, job: u64, order: ScaleOrder) -> Result<ScaleDone, String> {
    bench.host.command_scale(&stand.id, job, order).unwrap();
    let pick = |body: &DeviceBody| match body {
        DeviceBody::ScaleCommand { job: done, result } if *done == job => Some(result.clone()),
        _ => None,
    };
    bench.wait(&stand.id, &format!("{order:?}"), pick).await
}

#[tokio::test]
async fn every_protocol_carries_loads_and_their_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let stands = stands(folder.path());
    let mut bench = start(&stands);
    for stand in &stands {
        shows(&mut bench, stand, 0).await;
        stand.place(1_250);
        let raw = shows(&mut bench, stand, 1_250).await;
        assert!(!raw.is_empty(), "{}", stand.id);
        stand.place(20_000);
        let refused = |body: &DeviceBody| match body {
            DeviceBody::Weight(reading) => (reading.weight.usable().is_none()
                && reading.weight.gross_or_net != Some(Grams(1_250)))
            .then_some(()),
            // A scale that cannot say "over" shows more than it may.
            DeviceBody::WeightBad { .. } => Some(()),
            _ => None,
        };
        bench.wait(&stand.id, "overload", refused).await;
        stand.sim.lock().unwrap().remove(now_ms());
        shows(&mut bench, stand, 0).await;
        health(&bench, stand, HealthState::Ok).await;
    }
    bench.host.stop().await;
}

#[tokio::test]
async fn operators_tare_and_zero_where_the_protocol_can() {
    let folder = tempfile::tempdir().unwrap();
    let stands = stands(folder.path());
    let mut bench = start(&stands);
    let mut job = 0;
    for stand in &stands {
        let mut next = || {
            job += 1;
            job
        };
        let kind = stand.kind;
        stand.place(500);
        shows(&mut bench, stand, 500).await;
        let zeroes = matches!(
            kind,
            ScaleKind::Toledo8217
                | ScaleKind::Os2x
                | ScaleKind::MtSics
                | ScaleKind::NciScp01
                | ScaleKind::NciScp02
                | ScaleKind::AndNative
        );
        let tares = matches!(
            kind,
            ScaleKind::Toledo8217 | ScaleKind::Os2x | ScaleKind::MtSics | ScaleKind::AndNative
        );
        let keys = matches!(kind, ScaleKind::Toledo8217 | ScaleKind::MtSics | ScaleKind::Dialog06);
        let tare = order(&mut bench, stand, next(), ScaleOrder::Tare).await;
        assert_eq!(tare.is_ok(), tares, "{}: {tare:?}", stand.id);
        match tare {
            Ok(done) => {
                assert_eq!(done.confirmed, kind != ScaleKind::Os2x, "{}", stand.id);
                shows(&mut bench, stand, 0).await;
            }
            Err(reason) => assert_eq!(reason, format!("protocol {} has no command for tare", kind.name())),
        }
        let keyed = order(&mut bench, stand, next(), ScaleOrder::KeyedTare(Grams(100))).await;
        assert_eq!(keyed.is_ok(), keys, "{}: {keyed:?}", stand.id);
        if keys {
            shows(&mut bench, stand, 400).await;
            order(&mut bench, stand, next(), ScaleOrder::ClearTare).await.unwrap();
            shows(&mut bench, stand, 500).await;
        }
        stand.place(20);
        let at_rest = if tares && !keys { -480 } else { 20 };
        weight(&mut bench, stand, "rest", |weight| {
            weight.gross_or_net == Some(Grams(at_rest)) && weight.stable == says_stable(kind)
        })
        .await;
        let zero = order(&mut bench, stand, next(), ScaleOrder::Zero).await;
        assert_eq!(zero.is_ok(), zeroes, "{}: {zero:?}", stand.id);
        if zeroes {
            shows(&mut bench, stand, 0).await;
        }
    }
    let unknown = bench.host.command_scale("nobody", 1, ScaleOrder::Zero);
    assert!(matches!(unknown, Err(HostBusy::Unknown { class: "scale", .. })), "{unknown:?}");
    bench.host.stop().await;
}

#[tokio::test]
async fn damage_mutes_and_refusals_are_reported_and_heal() {
    let folder = tempfile::tempdir().unwrap();
    let stands = stands(folder.path());
    let mut bench = start(&stands);
    for stand in &stands {
        let set = |faults| stand.sim.lock().unwrap().set_faults(faults);
        health(&bench, stand, HealthState::Ok).await;
        set(ScaleFaults { endless: true, ..ScaleFaults::default() });
        bench
            .wait(&stand.id, "a bad answer", |body| {
                matches!(body, DeviceBody::WeightBad { .. }).then_some(())
            })
            .await;
        health(&bench, stand, HealthState::Degraded).await;
        set(ScaleFaults::default());
        health(&bench, stand, HealthState::Ok).await;
    }
    for stand in &stands {
        stand.sim.lock().unwrap().set_faults(ScaleFaults { mute: true, ..ScaleFaults::default() });
    }
    for stand in &stands {
        health(&bench, stand, HealthState::Lost).await;
        stand.sim.lock().unwrap().set_faults(ScaleFaults::default());
        health(&bench, stand, HealthState::Ok).await;
    }
    bench.host.stop().await;
}

#[tokio::test]
async fn a_weight_that_the_scale_cannot_show_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let stand = Stand::plug(folder.path(), ScaleKind::MtSics, false);
    let small = stand.config.replace("capacity_g = 15000", "capacity_g = 1000");
    let mut bench = Bench::start(&small);
    stand.place(1_045);
    shows(&mut bench, &stand, 1_045).await;
    stand.place(1_050);
    let pick = |body: &DeviceBody| match body {
        DeviceBody::WeightBad { reason } => Some(reason.clone()),
        _ => None,
    };
    let reason = bench.wait(&stand.id, "a bad weight", pick).await;
    assert!(reason.contains("1050 g is above what the scale can show (1045 g)"), "{reason}");
    assert!(reason.contains("1.050 kg"), "the frame is named: {reason}");
    bench.host.stop().await;
}
