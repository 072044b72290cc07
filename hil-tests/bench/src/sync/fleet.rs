//! The real programs on both ends of the line: mosquitto and `sync-hq` here, `edge-agent` there, mutual TLS between them.

use super::link::{HQ, Link};
use anyhow::{Context, Result, bail, ensure};
use hil_rig::http::{self, Server};
use hil_rig::processes::{Process, need_program};
use hil_rig::until;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use sync_model::{ClockQuality, Stamp, StoreId, Text, UnixMillis};
use sync_store::{Ledger, LedgerConfig, Owner};

/// The store.
pub(crate) const STORE: StoreId = StoreId(7);
const BROKER_PORT: u16 = 8883;
const HQ_PORT: u16 = 8480;
const START_LIMIT: Duration = Duration::from_secs(60);

/// One run's programs.
pub(crate) struct Fleet<'a> {
    link: &'a Link,
    folder: PathBuf,
    programs: PathBuf,
    hq: Option<Process>,
    agent: Option<Process>,
    _broker: Process,
}

fn said(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Where the store's ledger lies in a run's folder.
pub(crate) fn store_ledger(folder: &Path) -> PathBuf {
    folder.join("store").join("ledger.db")
}

/// Where headquarters' ledger lies.
pub(crate) fn hq_ledger(folder: &Path) -> PathBuf {
    folder.join("hq.sqlite")
}

/// Opens a ledger before the programs do.
pub(crate) fn open(path: &Path, owner: Owner, at: UnixMillis) -> Result<Ledger> {
    std::fs::create_dir_all(path.parent().context("a ledger lies in a folder")?)?;
    let software = Text::lossy("bench");
    let config = LedgerConfig { path: path.into(), owner, max_bytes: None, software, queue: 512 };
    Ok(Ledger::open(config, Stamp { at, clock: ClockQuality::Synced })?.0)
}

impl<'a> Fleet<'a> {
    /// Makes a CA, starts broker and headquarters. The store waits for [`Fleet::start_agent`].
    pub(crate) async fn start(link: &'a Link, folder: &Path, programs: &Path) -> Result<Self> {
        let hq = programs.join("sync-hq");
        let ca = folder.join("ca");
        let broker = format!("{HQ}:{BROKER_PORT}");
        said(Command::new(&hq).args(["ca", "init", "--broker-names", HQ, "--dir"]).arg(&ca))?;
        let store = STORE.to_string();
        let mut enroll = Command::new(&hq);
        enroll.args(["ca", "enroll", "--store", &store, "--broker", &broker, "--dir"]).arg(&ca);
        said(enroll.arg("--out").arg(folder.join("store.d")))?;
        let mut rules = Command::new(&hq);
        rules.args(["broker-config", "--listen", &broker, "--dir"]).arg(&ca);
        said(rules.arg("--out").arg(folder.join("broker")))?;
        let config = folder.join("broker").join("mosquitto.conf");
        let mut text = std::fs::read_to_string(&config)?;
        // The run's folder is private to whoever runs it.
        text.push_str("user root\n");
        std::fs::write(&config, text)?;
        let mut command = Command::new(need_program("mosquitto")?);
        command.arg("-c").arg(&config);
        let broker = Process::start("mosquitto", command, &folder.join("mosquitto.log"))?;
        let (folder, programs) = (folder.to_owned(), programs.to_owned());
        let mut fleet = Self { link, folder, programs, hq: None, agent: None, _broker: broker };
        fleet.start_hq().await?;
        Ok(fleet)
    }

    async fn start_hq(&mut self) -> Result<()> {
        let mut command = Command::new(self.programs.join("sync-hq"));
        command
            .arg("run")
            .arg("--store")
            .arg(format!("sqlite:{}", hq_ledger(&self.folder).display()))
            .args(["--broker", &format!("{HQ}:{BROKER_PORT}"), "--listen", &format!("127.0.0.1:{HQ_PORT}")])
            .args(["--reconnect-max-ms", "200"])
            .arg("--identity")
            .arg(self.folder.join("ca"));
        self.hq = Some(Process::start("sync-hq", command, &self.folder.join("hq.log"))?);
        let server = Server::Loopback(HQ_PORT);
        let up = || async {
            let Ok(answer) = http::get(&server, "/v1/health").await else { return false };
            let health = answer.json();
            answer.is_success() && health["connected"] != false && health["broker"] != "down"
        };
        until("sync-hq to answer", START_LIMIT, up).await.with_context(|| self.tail("hq.log"))?;
        Ok(())
    }

    /// Starts the store.
    pub(crate) fn start_agent(&mut self) -> Result<()> {
        let config = self.folder.join("store.toml");
        let text = format!(
            "[store]\nid = {STORE}\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\n[ledger]\ndir = \"store\"\n\
             reserve_bytes = 0\n\n[api]\nsocket = \"agent.sock\"\nlisten = \"127.0.0.1:7070\"\n\n[channels]\nweb = 500\n"
        );
        std::fs::write(&config, text)?;
        let mut command = self.link.command(&self.programs.join("edge-agent"))?;
        command.arg("run").arg("--config").arg(&config);
        self.agent = Some(Process::start("edge-agent", command, &self.folder.join("agent.log"))?);
        Ok(())
    }

    /// The store's socket for people.
    pub(crate) fn people(&self) -> Server {
        Server::Socket(self.folder.join("agent.sock"))
    }

    /// What the store says about settlement; `None` while it does not answer.
    pub(crate) async fn settlement(&self) -> Option<Value> {
        let answer = http::get(&self.people(), "/v1/sync").await.ok()?;
        answer.is_success().then(|| answer.json())
    }

    /// Everything that the store wrote is durable at headquarters, as the store knows.
    pub(crate) async fn settled(&self) -> bool {
        let Some(state) = self.settlement().await else { return false };
        let logs = state["logs"].as_array().cloned().unwrap_or_default();
        state["brief"]["connected"] == true && logs.iter().all(|log| log["head"] == log["acked"])
    }

    /// Waits until everything is settled.
    pub(crate) async fn wait_until_settled(&mut self, limit: Duration) -> Result<()> {
        let waited = until("everything to be settled", limit, || self.settled()).await;
        let state = self.settlement().await.unwrap_or_default();
        waited.with_context(|| format!("{state}\n{}\n{}", self.tail("agent.log"), self.tail("hq.log")))
    }

    /// Peak resident memory of agent and headquarters.
    pub(crate) fn peaks(&self) -> Result<[u64; 2]> {
        let agent = self.agent.as_ref().context("the store does not run")?;
        let hq = self.hq.as_ref().context("headquarters does not run")?;
        Ok([peak(agent.id())?, peak(hq.id())?])
    }

    fn tail(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(8).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Ends agent and headquarters by request, so that their files are whole.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for process in [self.agent.take(), self.hq.take()] {
            let mut process = process.context("a program does not run")?;
            let status = process.stop(Duration::from_secs(30)).await?;
            ensure!(status.success(), "a program ended with {status}, see {}", process.log().display());
        }
        Ok(())
    }
}

/// Peak resident memory of a process in bytes.
fn peak(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    for line in status.lines() {
        if let Some(rest) = line.strip_prefix("VmHWM:") {
            let kib: u64 = rest.trim().trim_end_matches("kB").trim().parse()?;
            return Ok(kib * 1024);
        }
    }
    bail!("no VmHWM of process {id}")
}
