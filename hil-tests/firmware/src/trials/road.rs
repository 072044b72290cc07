//! The whole road: QMP, chip, firmware, Modbus, agent.

use super::{PROBE, Stand, emulated_only, word};
use crate::machine::Chip;
use anyhow::{Context, Result, bail, ensure};
use hil_rig::http::{self, Server};
use hil_rig::processes::Process;
use hil_trials::{Bench, Verdict};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long the agent may take for a reading that has changed.
const LIMIT: Duration = Duration::from_secs(90);

fn configuration(bench: &Bench<'_>, port: &Path) -> String {
    format!(
        "[store]\nid = 1\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n[ledger]\ndir = \"ledger\"\nreserve_bytes = 1048576\n\
         [api]\nsocket = \"edge.sock\"\nlisten = \"127.0.0.1:0\"\n[profiles]\ndir = \"{}\"\n\
         [[bus]]\nid = \"line\"\nkind = \"modbus-rtu\"\nport = \"{}\"\nbaud = 19200\nparity = \"none\"\n\
         [[cabinet]]\nid = \"dairy-1\"\nbus = \"line\"\nunit = 1\nprofile = \"steelyard-node\"\npoll_ms = 500\n\
         high_mc = 90000\nlow_mc = -60000\n",
        bench.place.root.join("configs/devices").display(),
        port.display()
    )
}

struct Agent {
    process: Process,
    server: Server,
}

impl Agent {
    fn start(bench: &Bench<'_>, port: &Path) -> Result<Self> {
        let config = bench.folder.join("store.toml");
        std::fs::write(&config, configuration(bench, port))?;
        let mut command = Command::new(bench.place.programs.join("edge-agent"));
        command.arg("run").arg("--config").arg(&config);
        let process = Process::start("edge-agent", command, &bench.folder.join("agent.log"))?;
        Ok(Self { process, server: Server::Socket(bench.folder.join("edge.sock")) })
    }

    /// Waits until the cabinet's reading is as `fits` wants it.
    async fn reading(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let begun = Instant::now();
        let mut last = Value::Null;
        while begun.elapsed() < LIMIT {
            if let Ok(answer) = http::get(&self.server, "/v1/devices").await {
                last = answer.json()["devices"][0].clone();
                if fits(&last["reading"]) {
                    return Ok(last);
                }
            }
            if !self.process.runs() {
                let said = std::fs::read_to_string(self.process.log()).unwrap_or_default();
                bail!("the agent has ended: {said}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("waited {} s for {what}; the agent shows {last}", LIMIT.as_secs())
    }
}

pub(super) fn whole(bench: &Bench<'_>) -> Result<Verdict> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if let Some(port) = bench.rig.port("node") {
        let mut agent = Agent::start(bench, port)?;
        let read = |reading: &Value| reading.to_string().contains("temperature_mc");
        let seen = runtime.block_on(agent.reading("a reading of the real node", read))?;
        return Ok(Verdict::Passed(format!("the agent reads the real node: {}", seen["reading"])));
    }
    if let Some(skipped) = emulated_only(bench, "a set temperature") {
        return Ok(skipped);
    }
    let mut stand = Stand::new(bench, &[(PROBE[0], Chip::Probe)])?;
    let mut machine = stand.start()?;
    let mut agent = Agent::start(bench, stand.pair.ours())?;
    let mut seen = Vec::new();
    for milli in [4_000, -18_500, 85_000, -400, 125, 3_700] {
        machine.temperature(PROBE[0], milli)?;
        // Tenths on the wire.
        let expected = i64::from(word(milli, 100).cast_signed()) * 100;
        let fits = |reading: &Value| milli_of(reading) == Some(expected);
        runtime.block_on(agent.reading(&format!("{expected}"), fits))?;
        seen.push(expected.to_string());
    }
    machine.kill()?;
    stand.plan.chips.clear();
    let machine = stand.start()?;
    let fault = runtime.block_on(agent.reading("a fault", |reading| {
        milli_of(reading).is_none() && reading.to_string().contains("\"fault\":\"")
    }))?;
    machine.kill()?;
    let fault = find(&fault["reading"], "fault").and_then(Value::as_str).context("no fault")?.to_owned();
    agent.process.kill()?;
    ensure!(!seen.is_empty());
    Ok(Verdict::Passed(format!(
        "the agent's API shows {} thousandths, each as set; probe away: no temperature, fault \"{fault}\"",
        seen.join(", ")
    )))
}

fn milli_of(reading: &Value) -> Option<i64> {
    find(reading, "temperature_mc").and_then(Value::as_i64)
}

/// A field of a reading, whatever it is wrapped in.
fn find<'a>(reading: &'a Value, field: &str) -> Option<&'a Value> {
    reading.get(field).or_else(|| reading.as_object()?.values().find_map(|inner| inner.get(field)))
}
