//! Two sensors on the kernel's 1-Wire, behind a bridge on the I2C adapter.

use anyhow::{Context, Result, ensure};
use edge_api::Device;
use serde_json::json;
use std::path::Path;

use super::ble::reading;
use super::far::{FarEnd, USB};
use super::i2c::DEVICE;
use super::world::{World, appears, brief, is_ok};

/// The sensors of `usb.py`, as the kernel names them.
const SENSORS: [&str; 2] = ["28-01e5d4c3b2a1", "28-02e5d4c3b2a1"];
const CABINETS: [&str; 2] = ["freezer-1", "dairy-1"];

fn is_at(milli: i32) -> impl Fn(&Device) -> bool {
    move |device| is_ok(device) && reading(device).0 == Some(milli)
}

/// Values, resolution and faults.
pub(super) async fn run(world: &mut World) -> Result<String> {
    let usb = FarEnd::start(world, USB).await?;
    usb.order(&json!({"do": "plug", "device": "i2c"})).await?;
    appears(DEVICE).await?;
    std::fs::write("/sys/bus/i2c/devices/i2c-0/new_device", "ds2482 0x18").context("the bridge")?;
    for sensor in SENSORS {
        appears(&format!("/sys/bus/w1/devices/{sensor}/w1_slave")).await?;
    }
    let mut config = String::from("[w1]\nresolution = 10\n");
    for (cabinet, sensor) in CABINETS.iter().zip(SENSORS) {
        config += &format!("[[cabinet]]\nid = \"{cabinet}\"\nw1 = \"{sensor}\"\npoll_ms = 2000\n");
    }
    world.agent(&config).await?;
    // Sixteenths; at ten bits the sensor counts in quarters of a degree.
    for sixteenths in [(-328, 72), (-164, 0), (40, -4)] {
        for (at, sixteenths) in [sixteenths.0, sixteenths.1].into_iter().enumerate() {
            usb.order(&json!({"do": "sensor", "at": at, "sixteenths": sixteenths})).await?;
        }
        for (cabinet, sixteenths) in CABINETS.iter().zip([sixteenths.0, sixteenths.1]) {
            world.wait(cabinet, &format!("{sixteenths} sixteenths"), is_at(sixteenths * 1_000 / 16)).await?;
        }
    }
    let registers = usb.order(&json!({"do": "sensor", "at": 0})).await?;
    ensure!(
        registers["registers"].as_str().is_some_and(|text| text.ends_with("3f")),
        "ten bits are wanted: {registers}"
    );

    usb.order(&json!({"do": "sensor", "at": 0, "resets": true})).await?;
    let says = |device: &Device| reading(device).0.is_none() && reading(device).1.contains("85");
    let (power, power_s) = world.wait(CABINETS[0], "the power-on value", says).await?;
    let (_, degraded_s) = world.wait(CABINETS[0], "degraded", |device| device.state == "degraded").await?;
    usb.order(&json!({"do": "sensor", "at": 0, "resets": false})).await?;
    let (_, power_back) = world.wait(CABINETS[0], "a value after the power-on value", is_at(2_500)).await?;

    usb.order(&json!({"do": "sensor", "at": 1, "gone": true})).await?;
    let says = |device: &Device| device.state == "lost" && reading(device).0.is_none();
    let (gone, gone_s) = world.wait(CABINETS[1], "the sensor that vanished", says).await?;
    ensure!(!reading(&gone).1.is_empty(), "no cause: {}", brief(&gone));
    let kept = Path::new("/sys/bus/w1/devices").join(SENSORS[1]).exists();
    let other = world.device(CABINETS[0]).await?;
    ensure!(is_at(2_500)(&other), "the other sensor suffers: {}", brief(&other));
    usb.order(&json!({"do": "sensor", "at": 1, "gone": false})).await?;
    let (_, back) = world.wait(CABINETS[1], "the sensor that is back", is_at(-250)).await?;
    Ok(format!(
        "6 values exact at 10 bits (-20500 to 4500 m°C); \"{}\" after {power_s:.1} s, degraded {degraded_s:.1} s later, value {power_back:.1} s \
         after its end; vanished (folder {}): lost, \"{}\" after {gone_s:.1} s, other sensor ok, value {back:.1} s after its return",
        reading(&power).1,
        if kept { "still there" } else { "gone" },
        reading(&gone).1
    ))
}
