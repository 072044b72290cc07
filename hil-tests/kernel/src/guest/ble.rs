//! Trials over Bluetooth: agent, btleplug, bluetoothd, the kernel's stack and its virtual controller.

use anyhow::{Context, Result, bail, ensure};
use drv_protocol::gicisky::{Ink, Model, Planes};
use edge_api::{Device, DeviceReading, Pixel, Preview, PreviewRequest};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

use super::FOLDER;
use super::radio::Radio;
use super::shop::{self, Headquarters};
use super::world::{PATIENCE, World, brief, is_ok};

const TAG: &str = "tag-1";
/// Model of the tag in `air.py`.
const MODEL: u16 = 0x00B;

fn tag_config() -> String {
    format!(
        "{}[ble]\nlost_after_ms = 20000\n\
         [[tag]]\nid = \"{TAG}\"\naddress = \"FF:FF:92:10:00:01\"\nmodel = {MODEL}\nsku = {}\n",
        shop::CONFIG,
        shop::SKU
    )
}

fn shows(price: i64) -> impl Fn(&Device) -> bool {
    move |device| {
        let shown = match &device.reading {
            Some(DeviceReading::Tag { shown_minor, wanted_minor, .. }) => (*shown_minor, *wanted_minor),
            _ => return false,
        };
        is_ok(device) && shown == (Some(price), None)
    }
}

/// The tag has the picture that the agent draws for what the tills charge. Gives the bytes of its stream.
async fn picture(world: &World, tag: &Value, name: &str) -> Result<usize> {
    let stream = hex(tag["shown"]["stream"].as_str().context("the tag shows nothing")?)?;
    let model = Model::find(MODEL).context("the model")?;
    let planes = Planes::decode(model, &stream)?;
    let unpacked: Vec<Vec<u8>> = tag["shown"]["planes"]
        .as_array()
        .context("planes")?
        .iter()
        .map(|plane| hex(plane.as_str().unwrap_or_default()))
        .collect::<Result<_>>()?;
    let own =
        [Some(planes.black()), planes.red()].into_iter().flatten().map(<[u8]>::to_vec).collect::<Vec<_>>();
    ensure!(unpacked == own, "the tag unpacked other planes than the driver packed");
    let request = PreviewRequest { tag: Some(TAG.into()), ..PreviewRequest::default() };
    let preview: Preview =
        world.client().post("/v1/tags/preview", &request, None).await?.parse().context("preview")?;
    let drawn = preview.pixels().map_err(anyhow::Error::msg)?;
    let mut image = format!("P6 {} {} 255\n", model.width, model.height).into_bytes();
    let mut black = 0;
    for (at, pixel) in drawn.iter().enumerate() {
        let (x, y) = (at % usize::from(preview.width), at / usize::from(preview.width));
        let ink = planes.ink(u16::try_from(x)?, u16::try_from(y)?).context("a pixel")?;
        let (same, color) = match ink {
            Ink::White => (*pixel == Pixel::White, [255; 3]),
            Ink::Black => (*pixel == Pixel::Black, [0; 3]),
            Ink::Red => (*pixel == Pixel::Red, [200, 0, 0]),
            Ink::Yellow => (*pixel == Pixel::Yellow, [200, 200, 0]),
        };
        ensure!(same, "pixel {x},{y} is {ink:?} on the tag and {pixel:?} in the agent's picture");
        black += usize::from(ink == Ink::Black);
        image.extend(color);
    }
    ensure!(black > 100, "the picture has only {black} black pixels");
    std::fs::write(Path::new(FOLDER).join(name), image)?;
    Ok(stream.len())
}

fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).context("hexadecimal digits")?;
    let pairs = digits.chunks(2).map(|pair| pair.iter().fold(0, |value, digit| value * 16 + digit));
    pairs.map(|value| u8::try_from(value).context("a byte")).collect()
}

/// A price goes from HQ to the tag.
pub(super) async fn tag(world: &mut World) -> Result<String> {
    let radio = Radio::start(world).await?;
    let hq = Headquarters::start(world).await?;
    radio.air.order(&json!({"do": "speak", "who": "tag"})).await?;
    world.agent(&tag_config()).await?;
    hq.publish(1_299).await?;
    let (_, first) = world.wait(TAG, "the first price on the tag", shows(1_299)).await?;
    let tag = radio.air.order(&json!({"do": "tag"})).await?;
    ensure!(
        tag["completed"] == 1 && tag["connections"] == 1,
        "one image in one connection is wanted: {}",
        counts(&tag)
    );
    let bytes = picture(world, &tag, "shown-1.ppm").await?;
    radio.air.order(&json!({"do": "drop", "after": 5})).await?;
    hq.publish(1_199).await?;
    let (device, second) = world.wait(TAG, "the second price on the tag", shows(1_199)).await?;
    let tag = radio.air.order(&json!({"do": "tag"})).await?;
    ensure!(
        tag["completed"] == 2 && tag["connections"].as_u64() >= Some(3),
        "a link that drops and another are wanted: {}",
        counts(&tag)
    );
    picture(world, &tag, "shown-2.ppm").await?;
    Ok(format!(
        "12.99 on the tag {first:.1} s after HQ had it: {bytes} bytes of stream in {} blocks, every pixel as drawn; 11.99 after {second:.1} s \
         over a link that dropped at block 5 ({}); {}",
        bytes.div_ceil(240),
        counts(&tag),
        brief(&device)
    ))
}

fn counts(tag: &Value) -> String {
    format!("{} connections, {} images, {} rejected", tag["connections"], tag["completed"], tag["rejected"])
}

/// What is done to the adapter.
#[derive(Clone, Copy)]
enum Fault {
    Daemon,
    Bus,
    Controller,
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "bluetoothd killed",
            Self::Bus => "bus killed",
            Self::Controller => "controller pulled",
        }
    }

    async fn strike(self, radio: &mut Radio) -> Result<()> {
        match self {
            Self::Daemon => radio.kill_daemon(),
            Self::Bus => radio.kill_bus().await,
            Self::Controller => radio.pull().await,
        }
    }

    async fn mend(self, radio: &mut Radio, world: &World) -> Result<()> {
        match self {
            Self::Daemon => radio.start_daemon(),
            Self::Bus => radio.start_bus().await,
            Self::Controller => {
                radio.plug(world).await?;
                radio.air.order(&json!({"do": "speak", "who": "tag"})).await.map(drop)
            }
        }
    }
}

/// The adapter goes away in three ways, and comes back.
pub(super) async fn adapter_faults(world: &mut World) -> Result<String> {
    let mut radio = Radio::start(world).await?;
    let hq = Headquarters::start(world).await?;
    radio.air.order(&json!({"do": "speak", "who": "tag"})).await?;
    world.agent(&tag_config()).await?;
    hq.publish(1_000).await?;
    world.wait(TAG, "the first price on the tag", shows(1_000)).await?;
    let mut seen = Vec::new();
    for (fault, price) in [(Fault::Daemon, 1_010), (Fault::Bus, 1_020), (Fault::Controller, 1_030)] {
        let name = fault.name();
        fault.strike(&mut radio).await?;
        let told = |device: &Device| device.cause == "adapter-lost";
        let (down, told) = world.wait(TAG, &format!("{name}: told"), told).await?;
        ensure!(
            !down.reason.is_empty() && !down.advice.is_empty(),
            "{name}: no reason or advice: {}",
            brief(&down)
        );
        fault.mend(&mut radio, world).await?;
        let (_, back) = world.wait(TAG, &format!("{name}: back"), is_ok).await?;
        hq.publish(price).await?;
        let (_, shown) = world.wait(TAG, &format!("{name}: the next price"), shows(price)).await?;
        let tag = radio.air.order(&json!({"do": "tag"})).await?;
        picture(world, &tag, &format!("shown-{price}.ppm")).await.with_context(|| name.to_owned())?;
        seen.push(format!(
            "{name}: {} \"{}\" after {told:.1} s, ok {back:.1} s after its return, next price after {shown:.1} s",
            down.state, down.reason
        ));
    }
    Ok(seen.join("; "))
}

const RUUVI: &str = "freezer-1";
const BTHOME: &str = "dairy-1";
/// Silence after which a sensor is stale.
const STALE_MS: u64 = 8_000;

fn is_at(milli: i32) -> impl Fn(&Device) -> bool {
    move |device| is_ok(device) && reading(device).0 == Some(milli)
}

/// Temperature and fault of a cabinet.
pub(super) fn reading(device: &Device) -> (Option<i32>, &str) {
    match &device.reading {
        Some(DeviceReading::Cabinet { temperature_mc, fault, .. }) => {
            (*temperature_mc, fault.as_deref().unwrap_or_default())
        }
        _ => (None, ""),
    }
}

/// Lets the Ruuvi sensor measure on, in steps of 0.005 degrees, until the agent says this of a device.
async fn meanwhile(
    (world, radio): (&World, &Radio),
    raw: &mut i32,
    (id, what): (&str, &str),
    says: impl Fn(&Device) -> bool,
) -> Result<(Device, f64)> {
    let begun = Instant::now();
    loop {
        *raw += 1;
        radio.air.order(&json!({"do": "set", "who": "ruuvi", "raw": *raw})).await?;
        let device = world.device(id).await?;
        if says(&device) {
            return Ok((device, begun.elapsed().as_secs_f64()));
        }
        if begun.elapsed() >= PATIENCE {
            bail!("{what}: {}", brief(&device));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Two cabinets by advertisement.
pub(super) async fn adverts(world: &mut World) -> Result<String> {
    let radio = Radio::start(world).await?;
    for who in ["ruuvi", "bthome"] {
        radio.air.order(&json!({"do": "speak", "who": who})).await?;
    }
    world
        .agent(&format!(
            "[ble]\nlost_after_ms = {STALE_MS}\n\
             [[cabinet]]\nid = \"{RUUVI}\"\nble = {{ address = \"C4:7C:8D:00:00:05\", format = \"ruuvi\" }}\npoll_ms = 100\n\
             [[cabinet]]\nid = \"{BTHOME}\"\nble = {{ address = \"E4:38:C1:00:00:06\", format = \"bthome\" }}\npoll_ms = 100\n"
        ))
        .await?;
    let mut values = 0;
    let mut slowest: f64 = 0.0;
    for (who, id, step, raws) in [
        ("ruuvi", RUUVI, 5, [-3_701, 0, 1, -3_600, 8_191]),
        ("bthome", BTHOME, 10, [-1_275, 0, 412, -1, 3_999]),
    ] {
        for raw in raws {
            radio.air.order(&json!({"do": "set", "who": who, "raw": raw})).await?;
            let (_, took) = world.wait(id, &format!("{who} raw {raw}"), is_at(raw * step)).await?;
            slowest = slowest.max(took);
            values += 1;
        }
    }
    radio.air.order(&json!({"do": "hush", "who": "bthome"})).await?;
    let mut raw = -3_700;
    let both = (&*world, &radio);
    let (lost, after) =
        meanwhile(both, &mut raw, (BTHOME, "the silent sensor"), |d| d.state == "lost").await?;
    let (other, _) = meanwhile(both, &mut raw, (RUUVI, "the other sensor"), is_ok).await?;
    radio.air.order(&json!({"do": "set", "who": "bthome", "raw": 500})).await?;
    radio.air.order(&json!({"do": "speak", "who": "bthome"})).await?;
    let (_, back) = meanwhile(both, &mut raw, (BTHOME, "the sensor that speaks again"), is_at(5_000)).await?;
    // Loud, but its sensing part hangs: the same frame again and again.
    let frozen = |device: &Device| device.state == "degraded" && reading(device).1.contains("repeats");
    let (hung, hung_after) = world.wait(RUUVI, "the sensor that hangs", frozen).await?;
    Ok(format!(
        "{values} values exact, each within {slowest:.1} s; silent sensor \"{}\" after {after:.1} s while {} is {}, ok again {back:.1} s after \
         it spoke; frozen sensor \"{}\" after {hung_after:.1} s",
        lost.reason,
        other.id,
        other.state,
        reading(&hung).1
    ))
}
