//! Two scales on USB serial adapters: what settings the far end sees, and names that survive replugging.

use anyhow::{Context, Result, ensure};
use edge_api::{Device, DeviceReading};
use serde_json::{Value, json};
use std::path::Path;

use super::far::{FarEnd, USB};
use super::world::{PATIENCE, World, brief, until};

/// Device, scale of `usb.py`, serial number of its adapter, and its line.
const SCALES: [(&str, &str, &str); 2] =
    [("scale-1", "toledo", "STEEL001"), ("scale-2", "mt-sics", "STEEL002")];

/// The agent's scales; the line of the first as given, of the second as the far end has it.
fn config(first: &str) -> String {
    format!(
        "[[scale]]\nid = \"scale-1\"\nprotocol = \"toledo-8217\"\nport = \"usb:serial=STEEL001\"\ninterval_g = 5\ncapacity_g = 15000\n{first}\
         [[scale]]\nid = \"scale-2\"\nprotocol = \"mt-sics\"\nport = \"usb:serial=STEEL002\"\ninterval_g = 5\ncapacity_g = 15000\n\
         baud = 19200\ndata_bits = 8\nparity = \"odd\"\nstop_bits = 2\n"
    )
}

/// The kernel's name of the adapter with that serial number.
fn tty(serial: &str) -> Option<String> {
    let folder = std::fs::read_dir("/sys/class/tty").ok()?;
    let mut names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.find(|name| {
        name.starts_with("ttyUSB")
            && Path::new("/sys/class/tty").join(name).join("device").canonicalize().is_ok_and(|port| {
                port.ancestors().take(4).any(|at| {
                    std::fs::read_to_string(at.join("serial")).is_ok_and(|text| text.trim() == serial)
                })
            })
    })
}

async fn named(serial: &str) -> Result<String> {
    until(serial, PATIENCE, || async { tty(serial) }).await
}

fn shows(net: Option<i64>) -> impl Fn(&Device) -> bool {
    move |device| {
        let state = if net.is_some() { "accepted" } else { "ready" };
        let reading = match &device.reading {
            Some(DeviceReading::Scale { state, net_g }) => Some((state.as_str(), *net_g)),
            _ => None,
        };
        device.state == "ok" && reading == Some((state, net))
    }
}

async fn line(usb: &FarEnd, scale: &str) -> Result<Value> {
    usb.order(&json!({"do": "line", "device": scale})).await
}

/// Puts a load on both pans, which are empty, and takes it off.
async fn weigh(world: &World, usb: &FarEnd, loads: [i64; 2]) -> Result<()> {
    for (id, ..) in SCALES {
        world.wait(id, "an empty pan", shows(None)).await?;
    }
    for ((_, scale, _), grams) in SCALES.iter().zip(loads) {
        usb.order(&json!({"do": "weigh", "device": scale, "grams": grams})).await?;
    }
    for ((id, ..), grams) in SCALES.iter().zip(loads) {
        world.wait(id, &format!("{grams} g"), shows(Some(grams))).await?;
    }
    for (id, scale, _) in SCALES {
        usb.order(&json!({"do": "weigh", "device": scale, "grams": 0})).await?;
        world.wait(id, "an empty pan again", shows(None)).await?;
    }
    Ok(())
}

/// Line settings, weights, unplugging.
pub(super) async fn run(world: &mut World) -> Result<String> {
    let usb = FarEnd::start(world, USB).await?;
    let mut before = Vec::new();
    for (_, scale, serial) in SCALES {
        usb.order(&json!({"do": "plug", "device": scale})).await?;
        before.push(named(serial).await?);
    }
    // First with a line that the scale does not understand.
    world.agent(&config("data_bits = 8\nparity = \"none\"\n")).await?;
    let (deaf, _) =
        world.wait("scale-1", "a scale with another line", |device| device.state == "lost").await?;
    let wrong = line(&usb, "toledo").await?;
    ensure!(
        wrong["now"] == json!([9615, 8, "none", 1]) || wrong["now"] == json!([9600, 8, "none", 1]),
        "{wrong}"
    );
    ensure!(wrong["noise"].as_u64() > Some(0), "the scale heard no noise: {wrong}");

    world.agent(&config("")).await?;
    weigh(world, &usb, [1_250, 840]).await?;
    let lines = [line(&usb, "toledo").await?, line(&usb, "mt-sics").await?];
    for (line, wanted) in lines.iter().zip([json!([7, "even", 1]), json!([8, "odd", 2])]) {
        let frame = line["now"].as_array().and_then(|parts| parts.get(1..)).context("a line")?;
        ensure!(
            frame == wanted.as_array().context("a line")?.as_slice(),
            "{wanted} is configured, {line} is seen"
        );
    }

    let mut told = Vec::new();
    for (id, scale, serial) in SCALES {
        usb.order(&json!({"do": "pull", "device": scale})).await?;
        let says = |device: &Device| device.state == "failed" && device.cause == "port-missing";
        let (gone, took) = world.wait(id, "an adapter that was pulled", says).await?;
        ensure!(gone.reason.contains(serial), "the reason does not name the port: {}", brief(&gone));
        told.push(format!("{id} \"{}\" after {took:.1} s", gone.reason));
    }
    // Back in the other order, so that the kernel's names are exchanged.
    for (_, scale, serial) in SCALES.iter().rev() {
        usb.order(&json!({"do": "plug", "device": scale})).await?;
        named(serial).await?;
    }
    let (_, back) = world.wait("scale-1", "the replugged scale", shows(None)).await?;
    let after = [named(SCALES[0].2).await?, named(SCALES[1].2).await?];
    ensure!(
        after[0] == before[1] && after[1] == before[0],
        "{before:?} became {after:?}: nothing was exchanged"
    );
    weigh(world, &usb, [2_000, 305]).await?;
    Ok(format!(
        "wrong line {} told as {} \"{}\", {} bytes of noise at the far end; right ones seen as {} and {}; 1250 g and 840 g; pulled: {}; \
         replugged: {} and {} became {} and {}, ok after {back:.1} s, 2000 g and 305 g",
        wrong["now"],
        deaf.state,
        deaf.reason,
        wrong["noise"],
        lines[0]["now"],
        lines[1]["now"],
        told.join(", "),
        before[0],
        before[1],
        after[0],
        after[1]
    ))
}
