//! A label with the Bluetooth SIG's ESL service: configured, lit, read and shown an image over real BlueZ.
//!
//! The agent refuses such labels, because no image can be uploaded to them (see the driver's limits), so the driver host runs
//! in `drv-probe` here.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::radio::Radio;
use super::world::{PATIENCE, STORE, World, log};

const LABEL: &str = "label-1";
const SYNC_KEY: &str = "0102030405060708090a0b0c0d0e0f101112131415161718";
const RESPONSE_KEY: &str = "a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8";

/// A running `drv-probe`.
struct Probe {
    _child: Child,
    input: ChildStdin,
    rows: Lines<BufReader<ChildStdout>>,
}

impl Probe {
    fn start(world: &World, config: &str) -> Result<Self> {
        let file = format!("{STORE}/probe.toml");
        std::fs::write(&file, config)?;
        let mut child = Command::from(world.program("drv-probe"))
            .args(["--config", &file])
            .env("RUST_LOG", "info,drv_host=debug")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log("probe"))?)
            .kill_on_drop(true)
            .spawn()
            .context("drv-probe does not start")?;
        let input = child.stdin.take().context("its input")?;
        let rows = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { _child: child, input, rows })
    }

    /// The next row that is wanted.
    async fn wait(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let search = async {
            while let Some(line) = self.rows.next_line().await? {
                let row: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
                if wanted(&row) {
                    return Ok(row);
                }
            }
            bail!("drv-probe ended")
        };
        tokio::time::timeout(PATIENCE, search).await.with_context(|| format!("waited for {what}"))?
    }

    /// Gives an order to the label; its end and the seconds that it took.
    async fn order(&mut self, job: u64, order: &str, rest: &str) -> Result<(Value, f64)> {
        let begun = Instant::now();
        self.input.write_all(format!("{order} {job} {LABEL} {rest}\n").as_bytes()).await?;
        let ended =
            |row: &Value| (row["kind"] == "tag-done" || row["kind"] == "refused") && row["job"] == job;
        let row = self.wait(order, ended).await?;
        Ok((row, begun.elapsed().as_secs_f64()))
    }
}

/// Every kind of order, one of them refused.
pub(super) async fn run(world: &mut World) -> Result<String> {
    let radio = Radio::start(world).await?;
    radio.air.order(&json!({"do": "speak", "who": "label"})).await?;
    let mut probe = Probe::start(
        world,
        &format!(
            "[ble]\nsync_key = \"{SYNC_KEY}\"\n\
             [[tag]]\nid = \"{LABEL}\"\naddress = \"D8:E5:1A:00:00:07\"\nsku = 1\nfamily = \"esl\"\n\
             esl = {{ id = 5, group = 1 }}\nresponse_key = \"{RESPONSE_KEY}\"\n"
        ),
    )?;
    probe.wait("the label", |row| row["kind"] == "health" && row["state"] == "ok").await?;
    radio.air.order(&json!({"do": "label", "busy": true})).await?;
    let (row, lit) = probe.order(1, "led", "green 60").await?;
    ensure!(row["answer"] == "led", "led: {row}");
    let (row, _) = probe.order(2, "temperature", "").await?;
    ensure!(row["answer"]["temperature_mc"] == -12_340, "temperature: {row}");
    let (row, _) = probe.order(3, "show", "0 1").await?;
    ensure!(row["answer"]["display"] == 0 && row["answer"]["image"] == 1, "show: {row}");
    let (row, _) = probe.order(4, "ping", "").await?;
    ensure!(row["answer"]["state"] == 4, "ping: {row}");
    let (refused, _) = probe.order(5, "show", "0 9").await?;
    ensure!(refused["error"].is_string(), "an image that the label has not: {refused}");

    let label = radio.air.order(&json!({"do": "label"})).await?;
    let values = &label["values"];
    ensure!(values["2BF6"] == "0501", "address: {values}");
    ensure!(values["2BF7"] == SYNC_KEY && values["2BF8"] == RESPONSE_KEY, "keys: {values}");
    ensure!(values["2BF9"].as_str().is_some_and(|time| time.len() == 8), "clock: {values}");
    let wanted = json!([{"led": 0, "red": 0, "green": 3, "blue": 0, "seconds": 60}]);
    ensure!(label["leds"] == wanted, "{wanted} is ordered, {} is lit", label["leds"]);
    ensure!(label["image"] == 1, "the label shows image {}", label["image"]);
    Ok(format!(
        "address 5 of group 1, both keys and the clock as configured; LED green for 60 s in {lit:.1} s, also after \"try again\"; -12340 m°C \
         read; image 1 shown; LED seen in its state; image 9: \"{}\"; {} connections",
        refused["error"].as_str().unwrap_or_default(),
        label["connections"]
    ))
}
