//! The real programs of a run: broker, the network in front of it, HQ and the agent, each with its kill switch.
//!
//! Contract: everything lives in one run folder; ports stay the same over restarts; a program that ends by itself is a
//! fault of the run, reported with the place of its output.

use anyhow::{Context, Result, bail};
use hil_rig::http::{self, Server};
use hil_rig::mosquitto::Broker;
use hil_rig::processes::Process;
use hil_rig::proxy::Proxy;
use hil_rig::{ports, until};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a program may take to answer its first request on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a program may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The run's folder.
    pub(crate) folder: PathBuf,
    /// Folder with the programs under test.
    pub(crate) programs: PathBuf,
    /// Port of the agent's loopback listener.
    pub(crate) till_port: u16,
    /// Port of HQ's listener.
    pub(crate) hq_port: u16,
    /// Port of the broker itself.
    pub(crate) broker_port: u16,
    /// Port of the network between the store and the broker.
    pub(crate) link_port: u16,
}

impl Places {
    /// Reserves ports and lays out the run's folder.
    pub(crate) fn new(folder: &Path, programs: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("store")).context("create the run's folder")?;
        Ok(Self {
            folder: folder.into(),
            programs: programs.into(),
            till_port: ports::reserve()?,
            hq_port: ports::reserve()?,
            broker_port: ports::reserve()?,
            link_port: ports::reserve()?,
        })
    }

    /// The agent's configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("store.toml")
    }

    /// The store's ledger file.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("store").join("ledger.db")
    }

    /// HQ's ledger file.
    pub(crate) fn hq_ledger(&self) -> PathBuf {
        self.folder.join("hq.sqlite")
    }

    /// The agent's listener for tills.
    pub(crate) fn tills(&self) -> Server {
        Server::Loopback(self.till_port)
    }

    /// The agent's socket for people.
    pub(crate) fn people(&self) -> Server {
        Server::Socket(self.folder.join("agent.sock"))
    }

    /// HQ's listener.
    pub(crate) fn hq(&self) -> Server {
        Server::Loopback(self.hq_port)
    }
}

/// The running programs.
#[derive(Debug)]
pub(crate) struct Programs {
    /// Where they are.
    pub(crate) places: Places,
    /// The broker.
    pub(crate) broker: Broker,
    /// The network between store and broker.
    pub(crate) link: Proxy,
    hq: Option<Process>,
    agent: Option<Process>,
    environment: Vec<(String, String)>,
}

impl Programs {
    /// Starts broker, network and HQ. The agent waits for its configuration.
    pub(crate) async fn start(places: Places) -> Result<Self> {
        let broker = Broker::start(&places.folder, places.broker_port).await?;
        let link = Proxy::start(places.link_port, places.broker_port).await?;
        let mut programs = Self { places, broker, link, hq: None, agent: None, environment: Vec::new() };
        programs.start_hq().await?;
        Ok(programs)
    }

    /// Sets a variable in the environment of every agent started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Starts HQ and waits until it answers.
    pub(crate) async fn start_hq(&mut self) -> Result<()> {
        let places = &self.places;
        let mut command = Command::new(places.programs.join("sync-hq"));
        command
            .arg("run")
            .arg("--store")
            .arg(format!("sqlite:{}", places.hq_ledger().display()))
            .arg("--broker")
            .arg(format!("127.0.0.1:{}", places.broker_port))
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", places.hq_port));
        let server = places.hq();
        self.hq = Some(begin("sync-hq", command, &places.folder.join("hq.log"), &server).await?);
        Ok(())
    }

    /// Starts the agent and waits until it answers.
    pub(crate) async fn start_agent(&mut self) -> Result<()> {
        let places = &self.places;
        let mut command = Command::new(places.programs.join("edge-agent"));
        command.arg("run").arg("--config").arg(places.config());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let server = places.tills();
        self.agent = Some(begin("edge-agent", command, &places.folder.join("agent.log"), &server).await?);
        Ok(())
    }

    /// Process number of the agent, while it runs.
    pub(crate) fn agent_id(&self) -> Option<u32> {
        self.agent.as_ref().map(Process::id)
    }

    /// SIGKILL to HQ.
    pub(crate) fn kill_hq(&mut self) -> Result<()> {
        self.hq.take().context("HQ does not run")?.kill()?;
        Ok(())
    }

    /// SIGKILL to the agent. It must have been running.
    pub(crate) fn kill_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("the agent does not run")?;
        if !agent.runs() {
            bail!("the agent had ended by itself, see {}", agent.log().display());
        }
        agent.kill()?;
        Ok(())
    }

    /// SIGTERM to the agent; it must end cleanly.
    pub(crate) async fn stop_agent(&mut self) -> Result<()> {
        clean(self.agent.take(), "edge-agent").await
    }

    /// SIGTERM to HQ; it must end cleanly.
    pub(crate) async fn stop_hq(&mut self) -> Result<()> {
        clean(self.hq.take(), "sync-hq").await
    }

    /// Names the programs that ended although nobody ended them.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let mut list = Vec::new();
        for (name, process) in [("edge-agent", &mut self.agent), ("sync-hq", &mut self.hq)] {
            if let Some(process) = process
                && !process.runs()
            {
                list.push(format!("{name} ended by itself, see {}", process.log().display()));
            }
        }
        list
    }
}

/// Starts a program and waits until its health page answers.
async fn begin(name: &str, command: Command, log: &Path, server: &Server) -> Result<Process> {
    let program = PathBuf::from(command.get_program());
    if !program.is_file() {
        bail!("{} is not built", program.display());
    }
    let mut process = Process::start(name, command, log)?;
    let healthy = || async { http::get(server, "/v1/health").await.is_ok_and(|answer| answer.is_success()) };
    let what = format!("{name} to answer");
    let waiting = until(&what, START_LIMIT, healthy);
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            waited = &mut waiting => {
                waited.with_context(|| format!("see {}", log.display()))?;
                return Ok(process);
            }
            () = tokio::time::sleep(Duration::from_millis(100)) => {
                if !process.runs() {
                    bail!("{name} ended at its start, see {}", log.display());
                }
            }
        }
    }
}

async fn clean(process: Option<Process>, name: &str) -> Result<()> {
    let mut process = process.with_context(|| format!("{name} does not run"))?;
    let status = process.stop(STOP_LIMIT).await?;
    if !status.success() {
        bail!("{name} ended with {status} after SIGTERM, see {}", process.log().display());
    }
    Ok(())
}
