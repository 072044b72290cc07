//! The store inside the machine: the agent, its configuration, and questions to it.

use anyhow::{Context, Result, bail};
use edge_api::{Client, Device, Devices};
use hil_rig::processes::Process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::FOLDER;

/// Where the store lives, in memory.
pub(crate) const STORE: &str = "/run/store";
/// How long a condition may take; the machine has one processor, and the host's are shared.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Longest wait for one answer of the agent.
const ANSWER: Duration = Duration::from_secs(20);

/// What every trial has.
pub(crate) struct World {
    programs: PathBuf,
    python: PathBuf,
    agent: Option<Process>,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let path = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).with_context(|| format!("{name} is not set"))
        };
        Ok(Self { programs: path("PROGRAMS")?, python: path("PYTHON")?, agent: None })
    }

    /// A program under test.
    pub(crate) fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// The interpreter of the far ends.
    pub(crate) fn python(&self) -> Command {
        Command::new(&self.python)
    }

    /// Starts the agent with these devices, anew where it runs.
    pub(crate) async fn agent(&mut self, devices: &str) -> Result<()> {
        if let Some(mut agent) = self.agent.take() {
            let status = agent.stop(ANSWER).await?;
            if !status.success() {
                bail!("the agent ended with {status} when it was asked to");
            }
        }
        let text = format!(
            "[store]\nid = {}\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n[ledger]\ndir = \"ledger\"\nreserve_bytes = 0\n\
             [api]\nsocket = \"edge.sock\"\nlisten = \"127.0.0.1:0\"\n{devices}",
            super::shop::NUMBER
        );
        let config = Path::new(STORE).join("store.toml");
        std::fs::write(&config, &text)?;
        std::fs::write(Path::new(FOLDER).join("store.toml"), &text)?;
        let mut command = self.program("edge-agent");
        command.arg("run").arg("--config").arg(&config).env("EDGE_LOG", "info,drv_host=debug");
        self.agent = Some(Process::start("edge-agent", command, &log("agent"))?);
        let client = self.client();
        until("the agent to answer", PATIENCE, || async { client.get("/v1/health").await.ok() }).await?;
        Ok(())
    }

    /// A client of the agent.
    pub(crate) fn client(&self) -> Client {
        Client::new(Path::new(STORE).join("edge.sock"), ANSWER)
    }

    /// A device as the agent has it now.
    pub(crate) async fn device(&self, id: &str) -> Result<Device> {
        let devices: Devices = self.client().fetch("/v1/devices").await?;
        let found = devices.devices.into_iter().find(|device| device.id == id);
        found.with_context(|| format!("the agent has no device {id}"))
    }

    /// Waits until the agent says this of a device; gives what it said and after how many seconds.
    pub(crate) async fn wait(
        &self,
        id: &str,
        what: &str,
        says: impl Fn(&Device) -> bool,
    ) -> Result<(Device, f64)> {
        let begun = Instant::now();
        loop {
            let device = self.device(id).await?;
            if says(&device) {
                return Ok((device, begun.elapsed().as_secs_f64()));
            }
            if begun.elapsed() >= PATIENCE {
                bail!("{what}: after {} s {}", PATIENCE.as_secs(), brief(&device));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A device on one line.
pub(crate) fn brief(device: &Device) -> String {
    let reading = device.reading.as_ref().map(|reading| format!(", {reading:?}")).unwrap_or_default();
    format!("{} is {} ({}: {}){reading}", device.id, device.state, device.cause, device.reason)
}

/// Works as it should.
pub(crate) fn is_ok(device: &Device) -> bool {
    device.state == "ok"
}

/// The log of a program.
pub(crate) fn log(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.log"))
}

/// Polls until `look` gives something; gives it.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if begun.elapsed() >= limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// [`until`] a path is there.
pub(crate) async fn appears(path: &str) -> Result<()> {
    until(path, PATIENCE, || async { Path::new(path).exists().then_some(()) }).await
}
