//! `drv-probe`: runs the host side with a configuration and prints every event as one JSON line, for technicians and tests.
//!
//! ```text
//! drv-probe --config FILE [--profiles FOLDER]
//! ```
//! Commands on standard input, one per line, answered by events or by one `{"kind":"refused",…}` line:
//! ```text
//! tag JOB DEVICE PRICE NAME…     set JOB DEVICE MILLI_CELSIUS     run JOB DEVICE     stop JOB DEVICE
//! zero JOB DEVICE                tare JOB DEVICE [GRAMS]          clear-tare JOB DEVICE
//! led JOB DEVICE COLOUR SECONDS  temperature JOB DEVICE            ping JOB DEVICE    show JOB DEVICE DISPLAY IMAGE
//! health                         frames DEVICE                    quit
//! ```
//! Ends with `quit` or with the end of standard input. Log lines go to standard error (`RUST_LOG`).
#![allow(clippy::print_stdout, reason = "a program whose output is its purpose")]

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use drv_host::{
    DeviceBody, DeviceEvent, Health, Host, HostConfig, LedColour, LedOrder, ScaleOrder, SteamerOrder,
    TagAnswer, TagJob, TagOrder, TagWork, Way, config::TagConfig, profiles,
};
use drv_protocol::gicisky::{Ink, Model, Planes};
use drv_protocol::{Grams, MilliCelsius};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const USAGE: &str = "usage: drv-probe --config FILE [--profiles FOLDER]";

fn main() -> ExitCode {
    let asked = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::ERROR));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines).with(filter).init();
    let Some((config, folder)) = arguments() else {
        tracing::error!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&config, folder.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<(PathBuf, Option<PathBuf>)> {
    let mut given = std::env::args_os().skip(1);
    let (mut config, mut folder) = (None, None);
    while let Some(key) = given.next() {
        let value = PathBuf::from(given.next()?);
        match key.to_str()? {
            "--config" => config = Some(value),
            "--profiles" => folder = Some(value),
            _ => return None,
        }
    }
    Some((config?, folder))
}

fn run(config: &Path, folder: Option<&Path>) -> Result<(), String> {
    let name = config.display();
    let text = std::fs::read_to_string(config).map_err(|e| format!("{name}: {e}"))?;
    let config: HostConfig = toml::from_str(&text).map_err(|e| format!("{name}: {e}"))?;
    let profiles = folder.map_or_else(|| Ok(BTreeMap::new()), profiles::load).map_err(|e| e.to_string())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (sender, mut events) = mpsc::channel(1024);
        let host = drv_host::start(&config, &profiles, sender).map_err(|e| e.to_string())?;
        let mut lines = standard_input();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => println!("{}", line(&event)),
                    None => break,
                },
                command = lines.recv() => match command.as_deref() {
                    None | Some("quit") => break,
                    Some(text) => command_line(text, &host, &config.tag),
                },
            }
        }
        host.stop().await;
        Ok(())
    })
}

/// Standard input cannot be waited for portably, so a thread reads it; it ends with the process.
fn standard_input() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn command_line(text: &str, host: &Host, tags: &[TagConfig]) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let outcome = match words.as_slice() {
        [] => Ok(()),
        ["health"] => {
            for entry in host.health() {
                let mut row = health(&entry.health);
                row["device"] = json!(&*entry.device);
                row["class"] = json!(entry.class.name());
                println!("{row}");
            }
            Ok(())
        }
        ["frames", device] => {
            for frame in host.frames(device) {
                let way = if frame.way == Way::Sent { "sent" } else { "received" };
                let row = json!({"kind": "frame", "device": device, "mono_ms": frame.mono_ms, "way": way,
                    "bytes": hex(&frame.bytes)});
                println!("{row}");
            }
            Ok(())
        }
        ["run", job, device] => order(host, job, device, SteamerOrder::Run),
        ["stop", job, device] => order(host, job, device, SteamerOrder::Stop),
        ["set", job, device, value] => match value.parse() {
            Ok(value) => order(host, job, device, SteamerOrder::SetPoint(MilliCelsius(value))),
            Err(_) => Err(format!("expected milli-degrees, found {value}")),
        },
        ["zero", job, device] => scale_order(host, job, device, ScaleOrder::Zero),
        ["tare", job, device] => scale_order(host, job, device, ScaleOrder::Tare),
        ["clear-tare", job, device] => scale_order(host, job, device, ScaleOrder::ClearTare),
        ["tare", job, device, grams] => match grams.parse() {
            Ok(grams) => scale_order(host, job, device, ScaleOrder::KeyedTare(Grams(grams))),
            Err(_) => Err(format!("expected grams, found {grams}")),
        },
        ["tag", job, device, price, name @ ..] => write_tag(host, tags, job, device, price, &name.join(" ")),
        [verb, job, device, arguments @ ..] => {
            tag_work(verb, arguments).and_then(|work| order_tag(host, job, device, work))
        }
        _ => Err("no such command".to_owned()),
    };
    if let Err(reason) = outcome {
        println!("{}", json!({"kind": "refused", "command": text, "reason": reason}));
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a job number, found {text}"))
}

fn order(host: &Host, job: &str, device: &str, order: SteamerOrder) -> Result<(), String> {
    host.command_steamer(device, number(job)?, order).map_err(|e| e.to_string())
}

fn scale_order(host: &Host, job: &str, device: &str, order: ScaleOrder) -> Result<(), String> {
    host.command_scale(device, number(job)?, order).map_err(|e| e.to_string())
}

/// What a tag other than by an image is asked to do.
fn tag_work(verb: &str, arguments: &[&str]) -> Result<TagWork, String> {
    let number = |text: &str| text.parse().map_err(|_| format!("expected 0 to 255, found {text}"));
    match (verb, arguments) {
        ("led", [colour, seconds]) => {
            let seconds = seconds.parse().map_err(|_| format!("expected seconds, found {seconds}"))?;
            Ok(TagWork::Led(LedOrder { led: 0, colour: led_colour(colour)?, seconds }))
        }
        ("temperature", []) => Ok(TagWork::ReadTemperature),
        ("ping", []) => Ok(TagWork::Ping),
        ("show", [display, image]) => {
            Ok(TagWork::ShowImage { display: number(display)?, image: number(image)? })
        }
        _ => Err("no such command".to_owned()),
    }
}

fn led_colour(text: &str) -> Result<LedColour, String> {
    Ok(match text {
        "red" => LedColour::Red,
        "green" => LedColour::Green,
        "blue" => LedColour::Blue,
        "yellow" => LedColour::Yellow,
        "cyan" => LedColour::Cyan,
        "magenta" => LedColour::Magenta,
        "white" => LedColour::White,
        _ => return Err(format!("expected red, green, blue, yellow, cyan, magenta or white, found {text}")),
    })
}

fn order_tag(host: &Host, job: &str, device: &str, work: TagWork) -> Result<(), String> {
    let order = TagOrder { job: number(job)?, tag: Arc::from(device), work };
    host.order_tag(order).map_err(|e| e.to_string())
}

fn write_tag(
    host: &Host,
    tags: &[TagConfig],
    job: &str,
    device: &str,
    price: &str,
    name: &str,
) -> Result<(), String> {
    let tag = tags.iter().find(|t| *t.id == *device).ok_or_else(|| format!("no tag is named {device}"))?;
    // A label without a panel of the table is still asked, so that the refusal is the host's.
    let model = tag.panel().or_else(|| Model::find(0x33));
    let model = model.ok_or_else(|| format!("no model has the number {}", tag.model))?;
    let planes = bars(&format!("{price} {name}"), model).ok_or("the model is not driven by planes")?;
    println!(
        "{}",
        json!({"kind": "rendered", "device": device, "job": number(job)?, "hash": hex(&planes.hash())})
    );
    host.write_tag(TagJob { job: number(job)?, tag: Arc::from(device), planes }).map_err(|e| e.to_string())
}

/// A column per bit of the text: no font, but an image of its own for every text.
fn bars(text: &str, model: Model) -> Option<Planes> {
    let mut planes = Planes::blank(model)?;
    let bits = text.bytes().flat_map(|byte| (0..8).map(move |bit| byte & (1 << bit) != 0));
    for (x, _) in (0..model.width).zip(bits).filter(|(_, set)| *set) {
        (0..model.height).for_each(|y| planes.set(x, y, Ink::Black));
    }
    Some(planes)
}

fn line(event: &DeviceEvent) -> Value {
    let mut row = match &event.body {
        DeviceBody::Weight(reading) => json!({
            "kind": "weight", "weight_g": reading.weight.gross_or_net.map(|g| g.0), "net": reading.weight.net,
            "stable": reading.weight.stable, "over": reading.weight.over, "under": reading.weight.under,
            "zero": reading.weight.centre_of_zero, "tare_g": reading.weight.tare.map(|g| g.0),
            "shown": reading.weight.shown.map(|mass| mass.to_string()), "interval_g": reading.interval.0,
            "raw": hex(&reading.raw)}),
        DeviceBody::ScaleCommand { job, result } => json!({
            "kind": "scale-command", "job": job, "ok": result.is_ok(), "error": result.as_ref().err(),
            "confirmed": result.as_ref().ok().map(|done| done.confirmed),
            "tare_g": result.as_ref().ok().and_then(|done| done.tare).map(|g| g.0)}),
        DeviceBody::WeightBad { reason } => json!({"kind": "weight-bad", "reason": reason}),
        DeviceBody::Temperature(reading) => json!({
            "kind": "temperature", "temperature_mc": reading.value.map(|v| v.0), "fault": reading.fault,
            "state": format!("{:?}", reading.state), "door_open": reading.door_open}),
        DeviceBody::Steamer(reading) => json!({
            "kind": "steamer", "mode": format!("{:?}", reading.mode), "chamber_mc": reading.chamber.map(|v| v.0),
            "core_mc": reading.core.map(|v| v.0), "set_point_mc": reading.set_point.map(|v| v.0),
            "running": reading.running, "program_end": reading.program_end, "door_open": reading.door_open,
            "low_water": reading.low_water, "over_temperature": reading.over_temperature,
            "sensor_fault": reading.sensor_fault, "inputs_known": reading.inputs_known}),
        DeviceBody::TagSeen { model, battery_mv, rssi } => {
            json!({"kind": "tag-seen", "model": model, "battery_mv": battery_mv, "rssi": rssi})
        }
        DeviceBody::TagWritten { job, result } => json!({
            "kind": "tag-written", "job": job, "hash": result.as_ref().ok().map(|h| hex(h)),
            "error": result.as_ref().err()}),
        DeviceBody::TagTemperature(value) => json!({"kind": "tag-temperature", "temperature_mc": value.0}),
        DeviceBody::TagDone { job, result } => json!({
            "kind": "tag-done", "job": job, "answer": result.as_ref().ok().map(answer),
            "error": result.as_ref().err().map(ToString::to_string)}),
        DeviceBody::SteamerCommand { job, result } => {
            json!({"kind": "steamer-command", "job": job, "ok": result.is_ok(), "error": result.as_ref().err()})
        }
        DeviceBody::Health(state) => health(state),
    };
    row["schema"] = json!("steelyard.drv-event/1");
    row["device"] = json!(&*event.device);
    row["at_ms"] = json!(event.wall_ms);
    row["mono_ms"] = json!(event.mono_ms);
    row
}

fn answer(answer: &TagAnswer) -> Value {
    match answer {
        TagAnswer::Image(hash) => json!({"hash": hex(hash)}),
        TagAnswer::Led => json!("led"),
        TagAnswer::Temperature(value) => json!({"temperature_mc": value.0}),
        TagAnswer::Shown { display, image } => json!({"display": display, "image": image}),
        TagAnswer::State(state) => json!({"state": state.0}),
    }
}

fn health(health: &Health) -> Value {
    let c = &health.counters;
    json!({
        "kind": "health", "state": health.state.name(), "reason": &*health.reason,
        "since_mono_ms": health.since_mono_ms, "cause": health.cause.map(drv_host::Cause::name), "advice": &*health.advice, "last_good_mono_ms": health.last_good_mono_ms,
        "good": c.good, "malformed": c.malformed, "refused": c.refused, "timeouts": c.timeouts,
        "reopened": c.reopened, "restarts": c.restarts, "dropped": c.dropped})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
