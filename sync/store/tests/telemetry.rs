//! Telemetry is bounded, sheddable, and never a reason to fail.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use sync_model::{DeviceId, UnixMillis};
use sync_store::telemetry::{Sample, Telemetry, TelemetryConfig};

fn config(path: &std::path::Path) -> TelemetryConfig {
    TelemetryConfig { path: path.to_owned(), max_age_ms: 1_000_000, max_rows: 500, queue: 10_000 }
}

fn sample(at: i64) -> Sample {
    let device = DeviceId::new("cabinet-1").unwrap();
    Sample { device, metric: 1, at: UnixMillis(at), value: at * 2, good: at % 2 == 0 }
}

#[test]
fn samples_come_back_and_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = Telemetry::open(config(&dir.path().join("telemetry.db"))).unwrap();
    for at in 0..3_000 {
        telemetry.record(sample(at));
    }
    telemetry.flush();
    let device = DeviceId::new("cabinet-1").unwrap();
    let all = telemetry.samples(&device, 1, UnixMillis(0), 10_000).unwrap();
    assert_eq!((all.len(), all[0].clone()), (500, sample(2_500)));
    assert_eq!(telemetry.samples(&device, 1, UnixMillis(2_990), 3).unwrap()[0], sample(2_997));
    // One sample a long time later ages the others out.
    telemetry.record(sample(5_000_000));
    telemetry.flush();
    assert_eq!(telemetry.samples(&device, 1, UnixMillis(0), 10_000).unwrap(), vec![sample(5_000_000)]);
    telemetry.shed(true);
    telemetry.record(sample(5_000_001));
    telemetry.flush();
    let stats = telemetry.stats();
    assert_eq!((stats.written, stats.shed, stats.errors), (3_001, 1, 0));
}

#[test]
fn a_damaged_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let telemetry = Telemetry::open(config(&path)).unwrap();
    telemetry.record(sample(1));
    telemetry.flush();
    assert_eq!(telemetry.stats().written, 1);
    assert!(dir.path().join("telemetry.db.bad").exists());
}

#[test]
fn a_sample_from_a_clock_that_ran_ahead_ages_out_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = Telemetry::open(config(&dir.path().join("telemetry.db"))).unwrap();
    telemetry.record(sample(50_000_000));
    telemetry.record(sample(10));
    telemetry.record(sample(12));
    telemetry.flush();
    let device = DeviceId::new("cabinet-1").unwrap();
    let all = telemetry.samples(&device, 1, UnixMillis(0), 10).unwrap();
    assert_eq!(all, vec![sample(10), sample(12)]);
}
