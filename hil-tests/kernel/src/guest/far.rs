//! A far end: a Python program that takes orders as JSON lines on a socket.

use anyhow::{Context, Result, ensure};
use hil_rig::processes::Process;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

use super::world::{PATIENCE, World, log, until};

/// Longest wait for the answer to an order.
const ANSWER: Duration = Duration::from_secs(20);

/// USB devices.
pub(crate) const USB: (&str, &str) = ("usb", include_str!("../../python/usb.py"));
/// Bluetooth devices.
pub(crate) const AIR: (&str, &str) = ("air", include_str!("../../python/air.py"));

/// A running far end. Dropping it kills it.
pub(crate) struct FarEnd {
    socket: PathBuf,
    process: Process,
}

impl FarEnd {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(world: &World, (name, program): (&str, &str)) -> Result<Self> {
        let socket = Path::new("/run").join(name);
        if socket.exists() {
            std::fs::remove_file(&socket)?;
        }
        let mut command = world.python();
        command.args(["-u", "-c", program]).arg(&socket);
        let mut process = Process::start(name, command, &log(name))?;
        let listens = until(name, PATIENCE, || async { UnixStream::connect(&socket).await.ok() }).await;
        ensure!(process.runs(), "{name} ended at its start, see {}", process.log().display());
        listens?;
        Ok(Self { socket, process })
    }

    /// Carries out an order and gives its answer.
    pub(crate) async fn order(&self, order: &Value) -> Result<Value> {
        let exchange = async {
            let mut stream = BufReader::new(UnixStream::connect(&self.socket).await?);
            stream.write_all(format!("{order}\n").as_bytes()).await?;
            let mut text = String::new();
            stream.read_line(&mut text).await?;
            anyhow::Ok(text)
        };
        let text = tokio::time::timeout(ANSWER, exchange).await.context("no answer")?;
        let answer: Value = serde_json::from_str(&text.with_context(|| order.to_string())?)?;
        ensure!(answer["ok"] == true, "{order}: {}", answer["why"]);
        Ok(answer)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }
}
