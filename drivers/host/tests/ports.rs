//! Serial ports by stable names, pulled and plugged in again: a scale on a pseudo-terminal behind a made-up `sysfs`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use drv_host::{Cause, DeviceBody, HealthState};
use drv_sim::{ScaleConfig, ScaleSim};
use hil_rig::fleet;
use support::Bench;

/// Shows an FTDI adapter in `sysfs` as `tty`, as the kernel lays it out.
fn show(root: &Path, tty: &str, place: &str, serial: &str) {
    let usb = root.join("sys/devices/usb1/1-1").join(place);
    let class = usb.join(format!("{place}:1.0/{tty}/tty/{tty}"));
    fs::create_dir_all(&class).unwrap();
    fs::write(usb.join(format!("{place}:1.0/bInterfaceNumber")), "00\n").unwrap();
    fs::write(usb.join("serial"), format!("{serial}\n")).unwrap();
    symlink("../..", class.join("device")).unwrap();
    fs::create_dir_all(root.join("sys/class/tty")).unwrap();
    symlink(&class, root.join("sys/class/tty").join(tty)).unwrap();
}

fn hide(root: &Path, tty: &str) {
    fs::remove_file(root.join("sys/class/tty").join(tty)).unwrap();
}

async fn weight(bench: &mut Bench) {
    let pick = |body: &DeviceBody| matches!(body, DeviceBody::Weight(_)).then_some(());
    bench.wait("s1", "a weight", pick).await;
}

#[tokio::test]
async fn a_scale_is_found_by_its_serial_number_wherever_it_is_plugged_in() {
    let root = tempfile::tempdir().unwrap();
    let dev = root.path().join("dev");
    fs::create_dir_all(&dev).unwrap();
    let scale = Arc::new(Mutex::new(ScaleSim::new(ScaleConfig::default())));
    show(root.path(), "ttyUSB0", "1-1.2", "A10K5XYZ");
    let far_end = fleet::plug_scale(&dev.join("ttyUSB0"), &scale).unwrap();
    let name = format!("usb:serial=A10K5XYZ@{}", root.path().display());
    let mut bench = Bench::start(&format!(
        "[[scale]]\nid = \"s1\"\nprotocol = \"toledo-8217\"\nport = \"{name}\"\ninterval_g = 5\ncapacity_g = 15000\n\
         poll_ms = 20\nmin_gap_ms = 0\nlost_after_ms = 5000\n"
    ));
    weight(&mut bench).await;

    drop(far_end);
    hide(root.path(), "ttyUSB0");
    let failed = loop {
        let failed = bench.wait_health("s1", HealthState::Failed).await;
        // The first word may be the read that failed while the port was still there.
        if failed.cause == Some(Cause::PortMissing) {
            break failed;
        }
    };
    assert!(
        failed.advice.contains("cable of s1") && failed.advice.contains("usb:serial=A10K5XYZ"),
        "{}",
        failed.advice
    );
    assert!(failed.trouble_mono_ms.is_some());

    // Another socket of the hub, and another kernel name.
    show(root.path(), "ttyUSB3", "1-1.4", "A10K5XYZ");
    let far_end = fleet::plug_scale(&dev.join("ttyUSB3"), &scale).unwrap();
    let well = bench.wait_health("s1", HealthState::Ok).await;
    assert_eq!((well.cause, well.trouble_mono_ms, &*well.advice), (None, None, ""));
    weight(&mut bench).await;

    // A second adapter with the same number: nobody can know which one is meant.
    show(root.path(), "ttyUSB5", "1-1.5", "A10K5XYZ");
    drop(far_end);
    loop {
        let failed = bench.wait_health("s1", HealthState::Failed).await;
        if failed.cause == Some(Cause::PortAmbiguous) {
            assert!(failed.advice.contains("usb:path="), "{}", failed.advice);
            break;
        }
    }
    bench.host.stop().await;
}

#[test]
fn a_name_that_means_nothing_is_a_fault_of_the_configuration() {
    let config: drv_host::HostConfig = toml::from_str(
        "[[scale]]\nid = \"s1\"\nprotocol = \"toledo-8217\"\nport = \"usb:path=/dev\"\ninterval_g = 5\ncapacity_g = 15000\n",
    )
    .unwrap();
    let error = config.check(&support::profiles()).unwrap_err().to_string();
    assert!(error.contains("[[scale]] s1: port") && error.contains("usb:path="), "{error}");
}
