//! What the BLE tests share: the host side in a process of its own, because the bus it talks to is named by its environment.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Long enough for a busy machine, short enough to end a broken test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The address of tag `number`.
pub(crate) fn address(number: u64) -> String {
    format!("FF:FF:92:00:00:{number:02X}")
}

/// A running `drv-probe`.
pub(crate) struct Probe {
    _child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Probe {
    pub(crate) fn start(folder: &Path, bus: &str, config: &str) -> Self {
        let file = folder.join("probe.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_drv-probe"))
            .arg("--config")
            .arg(&file)
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { _child: child, input, lines: BufReader::new(output).lines() }
    }

    pub(crate) async fn say(&mut self, command: &str) {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn wait(&mut self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        let mut heard = Vec::new();
        let search = async {
            loop {
                let line = self.lines.next_line().await.unwrap().expect("drv-probe runs");
                let row: Value = serde_json::from_str(&line).unwrap();
                if pick(&row) {
                    return row;
                }
                heard.push(line);
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, search).await;
        outcome.unwrap_or_else(|_| panic!("waited for {what}; heard:\n{}", heard.join("\n")))
    }

    pub(crate) async fn health(&mut self, device: &str, state: &str) -> Value {
        let pick = |row: &Value| row["kind"] == "health" && row["device"] == device && row["state"] == state;
        self.wait(&format!("{device} {state}"), pick).await
    }

    /// The image's hash as rendered.
    pub(crate) async fn write(&mut self, job: u64, device: &str, price: &str) -> String {
        self.say(&format!("tag {job} {device} {price} Pork bun")).await;
        let row = self.wait("the image", |row| row["kind"] == "rendered" && row["job"] == job).await;
        row["hash"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn written(&mut self, job: u64) -> Value {
        self.wait(&format!("job {job}"), |row| row["kind"] == "tag-written" && row["job"] == job).await
    }

    pub(crate) async fn done(&mut self, job: u64) -> Value {
        self.wait(&format!("order {job}"), |row| row["kind"] == "tag-done" && row["job"] == job).await
    }

    /// Waits until every one of these devices was reported well, in whatever order.
    pub(crate) async fn all_ok(&mut self, mut devices: BTreeSet<String>) {
        while !devices.is_empty() {
            let well = |row: &Value| {
                row["kind"] == "health"
                    && row["state"] == "ok"
                    && row["device"].as_str().is_some_and(|device| devices.contains(device))
            };
            let row = self.wait("all devices ok", well).await;
            devices.remove(row["device"].as_str().unwrap());
        }
    }
}
