//! `cargo xtask bench poll`: the real agent polling 150 Modbus TCP units at 150 addresses and 32 RTU units on one line, 1 Hz each.
//!
//! Contract
//! * Poll times are taken at the far ends, where a request arrives, never from the program under test. Jitter is how far the time
//!   between two polls of a unit is off its interval; p50 and p99 are over all polls of all healthy units.
//! * First everything answers, then five units of the line fall mute for good: the same process, the same line, the same
//!   healthy units in both numbers. How the five are recognised is part of what is measured.
//! * The line has 19,200 baud and even parity: 11 bits a character, both directions counted, and a device that thinks before it
//!   answers. The far ends run in this program on the same machine, so CPU share is that of the agent's process alone.
//! * Every unit is read by the shipped profile `steelyard-node` (one read of 5 registers; 4 more every 60th time): that is what
//!   one line of 19,200 baud can carry for 32 units once a second.
//! * CPU, memory and writes are the kernel's own counts of the agent's process (`stat`, `smaps_rollup`, `io`).

use anyhow::{Context, Result, bail, ensure};
use edge_api::{Client, Devices};
use hil_rig::processes::Process;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

mod far;

use far::{Line, Log, Net};

/// TCP units, each at an address of its own.
const TCP_UNITS: usize = 150;
/// Units of the line, addresses 1 and up.
const RTU_UNITS: u8 = 32;
/// Units of the line that fall mute.
const MUTE: [u8; 5] = [3, 9, 14, 20, 31];
/// Time between two polls of a unit.
const INTERVAL: Duration = Duration::from_secs(1);
/// Before counting: every unit has been polled a few times.
const WARM_UP: Duration = Duration::from_secs(8);
/// How long the agent may take to its first reading on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What was asked for.
pub struct Options {
    /// Folder with `edge-agent`.
    pub programs: PathBuf,
    /// Folder with the device profiles.
    pub profiles: PathBuf,
    /// How long each of the two measurements takes, in seconds.
    pub seconds: u64,
    /// One JSON line instead of text.
    pub json: bool,
}

/// Runs the benchmark; `Ok(false)`: it ran, and an aim was missed.
pub fn poll(options: &Options) -> Result<bool> {
    ensure!(options.seconds >= 5, "expected at least 5 seconds a measurement, found {}", options.seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(measure(options))?;
    let met = report["aims_met"].as_bool().unwrap_or(false);
    if options.json {
        println!("{report}");
    } else {
        print!("{}", table(&report));
    }
    Ok(met)
}

async fn measure(options: &Options) -> Result<Value> {
    let folder = tempfile::tempdir().context("a folder for the run")?;
    let log = Log::new(INTERVAL);
    let net = Net::start(TCP_UNITS, &log).await?;
    let line = Line::start(&folder.path().join("line"), RTU_UNITS, &log)?;
    let config = folder.path().join("store.toml");
    std::fs::write(&config, configuration(&net, &line, &options.profiles)?)?;
    let mut command = Command::new(options.programs.join("edge-agent"));
    command.arg("run").arg("--config").arg(&config).env("RUST_LOG", "warn");
    let client = Client::new(folder.path().join("edge.sock"), Duration::from_secs(10));
    let begun = Instant::now();
    let mut agent = Process::start("edge-agent", command, &folder.path().join("agent.log"))?;
    let first_reading = first_reading(&client, &mut agent, begun).await?;
    tokio::time::sleep(WARM_UP).await;

    let span = Duration::from_secs(options.seconds);
    let healthy = log.window(span, agent.id(), &[]).await?;
    line.mute(&MUTE);
    // From here on: recognising the mute ones is part of it.
    let mute = log.window(span, agent.id(), &MUTE).await?;
    let pss = pss_bytes(agent.id())?;
    let threads = std::fs::read_dir(format!("/proc/{}/task", agent.id()))?.count();
    agent.stop(STOP_LIMIT).await.context("the agent does not stop")?;
    drop((net, line));
    let days = 86_400.0 / (healthy.seconds + mute.seconds);
    let written = healthy.written + mute.written;
    let per_day = written as f64 * days;
    let cpu = (healthy.cpu_s + mute.cpu_s) / (healthy.seconds + mute.seconds);
    let first_ms = first_reading.as_secs_f64() * 1_000.0;
    let apart = mute.p99 - healthy.p99;
    let aims = json!({
        "jitter_apart_ms": [apart, 50.0], "pss_bytes": [pss, 12_000_000], "cpu_share": [cpu, 0.01],
        "first_reading_ms": [first_ms, 300.0], "bytes_written_per_day": [per_day, 200_000_000],
    });
    let within =
        |aim: &Value| aim[0].as_f64().zip(aim[1].as_f64()).is_some_and(|(found, most)| found <= most);
    let met = aims.as_object().is_some_and(|aims| aims.values().all(within));
    let mut report = json!({
        "bench": "poll", "tcp_units": TCP_UNITS, "rtu_units": RTU_UNITS, "mute_units": MUTE.len(),
        "jitter_p50_ms": healthy.p50, "jitter_p99_ms": healthy.p99, "jitter_max_ms": healthy.max,
        "jitter_p50_ms_mute": mute.p50, "jitter_p99_ms_mute": mute.p99, "jitter_max_ms_mute": mute.max,
        "jitter_line_p99_ms": healthy.line_p99, "jitter_line_p99_ms_mute": mute.line_p99,
    });
    let costs = json!({
        "polls": healthy.polls, "polls_mute": mute.polls, "expected_polls": healthy.expected,
        "expected_polls_mute": mute.expected, "line_share": healthy.line_share, "line_share_mute": mute.line_share,
        "cpu_share": cpu, "pss_bytes": pss, "threads": threads,
        "bytes_written_per_day": per_day, "first_reading_ms": first_ms,
        "aims": aims, "aims_met": met, "agent": build_of(&options.programs), "machine": machine(),
    });
    if let (Some(report), Value::Object(costs)) = (report.as_object_mut(), costs) {
        report.extend(costs);
    }
    Ok(report)
}

fn configuration(net: &Net, line: &Line, profiles: &Path) -> Result<String> {
    let mut text = format!(
        "[store]\nid = 1\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n[ledger]\ndir = \"ledger\"\n\
         reserve_bytes = 1048576\n[api]\nsocket = \"edge.sock\"\nlisten = \"127.0.0.1:0\"\n[profiles]\ndir = \"{}\"\n",
        profiles.display()
    );
    let cabinet = |text: &mut String, id: String, bus: &str, unit: u8| {
        writeln!(
            text,
            "[[cabinet]]\nid = \"{id}\"\nbus = \"{bus}\"\nunit = {unit}\nprofile = \"steelyard-node\"\npoll_ms = {}\n\
             high_mc = 8000\nlow_mc = -2000",
            INTERVAL.as_millis()
        )
    };
    for (index, port) in net.ports().iter().enumerate() {
        let bus = format!("net-{index}");
        writeln!(text, "[[bus]]\nid = \"{bus}\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{port}\"")?;
        cabinet(&mut text, format!("tcp-{index}"), &bus, 1)?;
    }
    writeln!(
        text,
        "[[bus]]\nid = \"line\"\nkind = \"modbus-rtu\"\nport = \"{}\"\nbaud = {}\nparity = \"even\"",
        line.path().display(),
        far::BAUD
    )?;
    for unit in 1..=RTU_UNITS {
        cabinet(&mut text, format!("rtu-{unit}"), "line", unit)?;
    }
    Ok(text)
}

/// Time from the start of the process until its interface shows a reading.
async fn first_reading(client: &Client, agent: &mut Process, begun: Instant) -> Result<Duration> {
    loop {
        if let Ok(devices) = client.fetch::<Devices>("/v1/devices").await
            && devices.devices.iter().any(|device| device.reading.is_some())
        {
            return Ok(begun.elapsed());
        }
        if !agent.runs() || begun.elapsed() > START_LIMIT {
            let said = std::fs::read_to_string(agent.log()).unwrap_or_default();
            bail!("the agent shows no reading; it said:\n{said}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Memory that is the process's own, with its share of what it shares.
fn pss_bytes(id: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024)
}

fn build_of(programs: &Path) -> &'static str {
    if programs.ends_with("release") { "release" } else { "dev: opt-level 1, debug assertions" }
}

fn machine() -> Value {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    json!({"threads": threads, "load": load.split_whitespace().next()})
}

fn table(report: &Value) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        text.push_str(&format!("{name:<28}{value}\n"));
    };
    let ms = |key: &str| format!("{:.1}", report[key].as_f64().unwrap_or(f64::NAN));
    let both = |key: &str| format!("{} ms, with mute units {} ms", ms(key), ms(&format!("{key}_mute")));
    row("jitter p50", both("jitter_p50_ms"));
    row("jitter p99", both("jitter_p99_ms"));
    row("jitter p99 of the line", both("jitter_line_p99_ms"));
    row("polls", format!("{} of {}", report["polls"], report["expected_polls"]));
    row("polls with mute units", format!("{} of {}", report["polls_mute"], report["expected_polls_mute"]));
    row("share of a core", format!("{:.4}", report["cpu_share"].as_f64().unwrap_or(f64::NAN)));
    row("memory (PSS)", format!("{} bytes, {} threads", report["pss_bytes"], report["threads"]));
    row(
        "written per day",
        format!("{:.0} bytes", report["bytes_written_per_day"].as_f64().unwrap_or(f64::NAN)),
    );
    row("start to first reading", format!("{} ms", ms("first_reading_ms")));
    row("agent", report["agent"].as_str().unwrap_or_default().to_owned());
    row("aims met", report["aims_met"].to_string());
    text
}
