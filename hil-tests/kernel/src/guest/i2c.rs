//! A chip on the kernel's I2C, behind a USB adapter.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;

use super::ble::reading;
use super::far::{FarEnd, USB};
use super::world::{World, appears, brief, is_ok};

const CABINET: &str = "room-1";
/// The adapter's device file.
pub(super) const DEVICE: &str = "/dev/i2c-0";

/// −45 °C + 175 °C · raw / 65535 in thousandths, rounded, as the data sheet has it.
fn milli(raw: i64) -> Result<i32> {
    i32::try_from((175_000 * raw + 32_767) / 65_535 - 45_000).context("a temperature")
}

/// Values, faults and an adapter that is pulled.
pub(super) async fn run(world: &mut World) -> Result<String> {
    let usb = FarEnd::start(world, USB).await?;
    usb.order(&json!({"do": "plug", "device": "i2c"})).await?;
    appears(DEVICE).await?;
    let name = std::fs::read_to_string("/sys/bus/i2c/devices/i2c-0/name").context("the adapter's name")?;
    world
        .agent(&format!(
            "[[i2c]]\nid = \"room\"\npath = \"{DEVICE}\"\n\
             [[cabinet]]\nid = \"{CABINET}\"\ni2c = {{ bus = \"room\", address = 0x44, chip = \"sht4x\" }}\npoll_ms = 200\n"
        ))
        .await?;
    let raws = [26_214, 9_363, 16_852, 1_873, 53_000];
    let mut coldest = i32::MAX;
    for raw in raws {
        let wanted = milli(raw)?;
        coldest = coldest.min(wanted);
        usb.order(&json!({"do": "climate", "raw": raw})).await?;
        let says = |device: &edge_api::Device| is_ok(device) && reading(device).0 == Some(wanted);
        world.wait(CABINET, &format!("raw {raw}"), says).await?;
    }
    let mut faults = Vec::new();
    for (how, state) in [("nak", "lost"), ("crc", "degraded")] {
        usb.order(&json!({"do": "harm", "how": how})).await?;
        let says = |device: &edge_api::Device| device.state == state && reading(device).0.is_none();
        let (device, took) = world.wait(CABINET, how, says).await?;
        ensure!(reading(&device).1.contains("sht4x at room:0x44"), "no cause: {}", brief(&device));
        usb.order(&json!({"do": "harm", "how": null})).await?;
        let (_, back) = world.wait(CABINET, &format!("after {how}"), is_ok).await?;
        faults.push(format!(
            "{how}: {state} \"{}\" after {took:.1} s, ok after {back:.1} s",
            reading(&device).1
        ));
    }
    usb.order(&json!({"do": "pull", "device": "i2c"})).await?;
    // Pulled in the middle of a measurement, it is a bus error first; the next round finds nothing to open.
    let missing = |device: &edge_api::Device| device.state == "failed" && device.cause == "port-missing";
    let (gone, took) = world.wait(CABINET, "unplugged", missing).await?;
    ensure!(gone.reason.contains(DEVICE), "unplugged: {}", brief(&gone));
    ensure!(!Path::new(DEVICE).exists(), "the kernel keeps {DEVICE}: somebody has it open");
    usb.order(&json!({"do": "plug", "device": "i2c"})).await?;
    let (_, back) = world.wait(CABINET, "plugged in again", is_ok).await?;
    Ok(format!(
        "{} values to a thousandth, coldest {coldest} m°C, on {}; {}; unplugged: {} \"{}\" after {took:.1} s, ok {back:.1} s after the replug",
        raws.len(),
        name.trim(),
        faults.join("; "),
        gone.state,
        gone.reason
    ))
}
