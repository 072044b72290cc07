//! The real programs of a run and the networks between them, each with its kill switch.
//!
//! Contract: everything lives in one run folder; ports stay the same over restarts; a program that ends by itself is a fault
//! of the run, reported with the place of its output.

use crate::fault::Fault;
use anyhow::{Context, Result, bail};
use hil_rig::http::{self, Server};
use hil_rig::mosquitto::Broker;
use hil_rig::postgres::Postgres;
use hil_rig::processes::Process;
use hil_rig::proxy::{Mode, Proxy};
use hil_rig::{ports, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The stores. Two share a bucket of topics, the third has one that the other worker owns.
pub(crate) const STORES: [u32; 3] = [7, 71, 40];

/// How long a program may take to answer its first request on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a program may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a question to HQ is repeated while workers are away.
const HQ_PATIENCE: Duration = Duration::from_secs(90);

/// What HQ keeps its ledger in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One file, one worker.
    Sqlite,
    /// A server, two workers.
    Postgres,
}

impl Engine {
    /// Workers of HQ.
    pub(crate) fn workers(self) -> usize {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => 2,
        }
    }
}

/// One store.
pub(crate) struct Site {
    /// Its number.
    pub(crate) store: u32,
    folder: PathBuf,
    till_port: u16,
    link: Proxy,
    agent: Option<Process>,
}

impl Site {
    /// Its listener for tills.
    pub(crate) fn tills(&self) -> Server {
        Server::Loopback(self.till_port)
    }

    /// Its ledger file.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.folder.join("ledger").join("ledger.db")
    }
}

/// One worker of HQ.
struct Worker {
    http_port: u16,
    link: Proxy,
    database: Option<Proxy>,
    process: Option<Process>,
}

/// Everything that runs.
pub(crate) struct Fleet {
    folder: PathBuf,
    programs: PathBuf,
    broker: Broker,
    postgres: Option<Postgres>,
    /// The stores.
    pub(crate) sites: Vec<Site>,
    workers: Vec<Worker>,
}

impl Fleet {
    /// Starts broker, database, networks, workers and stores.
    pub(crate) async fn start(folder: &Path, programs: &Path, engine: Engine) -> Result<Self> {
        let broker = Broker::start(folder, ports::reserve()?).await?;
        let postgres = match engine {
            Engine::Sqlite => None,
            Engine::Postgres => {
                let server = tokio::task::block_in_place(Postgres::start)?;
                tokio::task::block_in_place(|| server.database("hq"))?;
                Some(server)
            }
        };
        let mut workers = Vec::new();
        for _ in 0..engine.workers() {
            let link = Proxy::start(ports::reserve()?, broker.port()).await?;
            let database = match &postgres {
                Some(server) => Some(Proxy::start(ports::reserve()?, server.port()).await?),
                None => None,
            };
            workers.push(Worker { http_port: ports::reserve()?, link, database, process: None });
        }
        let mut sites = Vec::new();
        for store in STORES {
            let folder = folder.join(format!("store-{store}"));
            std::fs::create_dir_all(folder.join("ledger")).context("folder of a store")?;
            let link = Proxy::start(ports::reserve()?, broker.port()).await?;
            let site = Site { store, folder, till_port: ports::reserve()?, link, agent: None };
            std::fs::write(site.folder.join("store.toml"), config(&site)).context("configuration")?;
            sites.push(site);
        }
        let (folder, programs) = (folder.to_owned(), programs.to_owned());
        let mut fleet = Self { folder, programs, broker, postgres, sites, workers };
        for worker in 0..fleet.workers.len() {
            fleet.start_worker(worker).await?;
        }
        for site in 0..fleet.sites.len() {
            fleet.start_agent(site).await?;
        }
        Ok(fleet)
    }

    /// HQ's file, where it has one.
    pub(crate) fn hq_file(&self) -> PathBuf {
        self.folder.join("hq.sqlite")
    }

    /// Address of HQ's database, where it has one; past the networks that are cut.
    pub(crate) fn hq_database(&self) -> Option<String> {
        self.postgres.as_ref().map(|server| server.url("hq"))
    }

    async fn start_worker(&mut self, at: usize) -> Result<()> {
        let worker = &self.workers[at];
        let mut command = Command::new(self.programs.join("sync-hq"));
        command.arg("run").arg("--store");
        match &worker.database {
            Some(line) => {
                command.arg(format!("postgres://steelyard@127.0.0.1:{}/hq", line.port()));
                let buckets = if at == 0 { "0-31" } else { "32-63" };
                command.args(["--buckets", buckets, "--lease-ms", "3000"]);
            }
            None => {
                command.arg(format!("sqlite:{}", self.hq_file().display()));
            }
        }
        command
            .arg("--broker")
            .arg(format!("127.0.0.1:{}", worker.link.port()))
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", worker.http_port))
            .args(["--client-id", &format!("hq-{at}"), "--keep-alive-s", "5", "--reconnect-max-ms", "1000"]);
        let server = Server::Loopback(worker.http_port);
        let log = self.folder.join(format!("hq-{at}.log"));
        self.workers[at].process = Some(begin("sync-hq", command, &log, &server).await?);
        Ok(())
    }

    async fn start_agent(&mut self, at: usize) -> Result<()> {
        let site = &self.sites[at];
        let mut command = Command::new(self.programs.join("edge-agent"));
        command.arg("run").arg("--config").arg(site.folder.join("store.toml"));
        let log = site.folder.join("agent.log");
        let process = begin("edge-agent", command, &log, &site.tills()).await?;
        self.sites[at].agent = Some(process);
        Ok(())
    }

    /// Breaks a part.
    pub(crate) fn strike(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillAgent(at) => kill(self.sites[at].agent.take())?,
            Fault::KillWorker(at) => kill(self.workers[at].process.take())?,
            Fault::KillBroker => self.broker.kill()?,
            Fault::KillDatabase => self.database()?.kill()?,
            Fault::CutStore(at) => self.sites[at].link.set(Mode::Cut),
            Fault::StallStore(at) => self.sites[at].link.set(Mode::Stall),
            Fault::CutWorker(at) => self.workers[at].link.set(Mode::Cut),
            Fault::StallWorker(at) => self.workers[at].link.set(Mode::Stall),
            Fault::CutDatabase(at) => self.line(at)?.set(Mode::Cut),
            Fault::StallDatabase(at) => self.line(at)?.set(Mode::Stall),
        }
        Ok(())
    }

    /// Mends it.
    pub(crate) async fn heal(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillAgent(at) => self.start_agent(at).await?,
            Fault::KillWorker(at) => self.start_worker(at).await?,
            Fault::KillBroker => self.broker.restart().await?,
            Fault::KillDatabase => {
                let server = self.database()?;
                tokio::task::block_in_place(|| server.restart())?;
            }
            Fault::CutStore(at) | Fault::StallStore(at) => self.sites[at].link.set(Mode::Pass),
            Fault::CutWorker(at) | Fault::StallWorker(at) => self.workers[at].link.set(Mode::Pass),
            Fault::CutDatabase(at) | Fault::StallDatabase(at) => self.line(at)?.set(Mode::Pass),
        }
        Ok(())
    }

    fn database(&mut self) -> Result<&mut Postgres> {
        self.postgres.as_mut().context("this HQ has no server to kill")
    }

    fn line(&self, at: usize) -> Result<&Proxy> {
        self.workers[at].database.as_ref().context("this HQ has no line to a server")
    }

    /// The broker's own port, past the networks that are cut.
    pub(crate) fn broker_port(&self) -> u16 {
        self.broker.port()
    }

    /// HQ as its people see it.
    pub(crate) fn office(&self) -> Office {
        Office { workers: self.workers.iter().map(|worker| Server::Loopback(worker.http_port)).collect() }
    }

    /// Names the programs that ended although nobody ended them.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let agents = self.sites.iter_mut().filter_map(|site| site.agent.as_mut());
        let workers = self.workers.iter_mut().filter_map(|worker| worker.process.as_mut());
        let mut gone: Vec<&mut Process> = agents.chain(workers).collect();
        gone.retain_mut(|process| !process.runs());
        gone.iter()
            .map(|process| format!("a program ended by itself, see {}", process.log().display()))
            .collect()
    }

    /// SIGTERM to the agents that run; they must end cleanly.
    pub(crate) async fn stop_agents(&mut self) -> Result<()> {
        for agent in self.sites.iter_mut().filter_map(|site| site.agent.take()) {
            stop(Some(agent)).await?;
        }
        Ok(())
    }

    /// Starts the agents again.
    pub(crate) async fn start_agents(&mut self) -> Result<()> {
        for at in 0..self.sites.len() {
            self.start_agent(at).await?;
        }
        Ok(())
    }

    /// SIGTERM to the workers; they must end cleanly.
    pub(crate) async fn stop_workers(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            stop(worker.process.take()).await?;
        }
        Ok(())
    }
}

/// A configuration with tills only.
fn config(site: &Site) -> String {
    format!(
        "[store]\nid = {}\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\n[ledger]\ndir = \"ledger\"\n\
         reserve_bytes = 1048576\n\n[api]\nsocket = \"agent.sock\"\nlisten = \"127.0.0.1:{}\"\n\n[hq]\n\
         host = \"127.0.0.1\"\nport = {}\nkeep_alive_s = 5\nlinger_ms = 100\nretry_min_ms = 500\n\
         retry_max_ms = 4000\nhello_s = 2\n\n[channels]\nweb = 1000\n",
        site.store,
        site.till_port,
        site.link.port()
    )
}

fn kill(process: Option<Process>) -> Result<()> {
    let mut process = process.context("it does not run")?;
    if !process.runs() {
        bail!("it had ended by itself, see {}", process.log().display());
    }
    process.kill()?;
    Ok(())
}

async fn stop(process: Option<Process>) -> Result<()> {
    let mut process = process.context("it does not run")?;
    let status = process.stop(STOP_LIMIT).await?;
    if !status.success() {
        bail!("{status} after SIGTERM, see {}", process.log().display());
    }
    Ok(())
}

/// Starts a program and waits until it answers; a worker whose database is away answers too, with 503.
async fn begin(name: &str, command: Command, log: &Path, server: &Server) -> Result<Process> {
    let program = PathBuf::from(command.get_program());
    if !program.is_file() {
        bail!("{} is not there: run `cargo build --workspace` once", program.display());
    }
    let mut process = Process::start(name, command, log)?;
    let answers = || async { http::get(server, "/v1/health").await.is_ok() };
    let what = format!("{name} to answer");
    let waiting = until(&what, START_LIMIT, answers);
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

/// HQ's people: they ask any worker that answers.
#[derive(Clone, Debug)]
pub(crate) struct Office {
    workers: Vec<Server>,
}

impl Office {
    /// An answer of any worker, once.
    pub(crate) async fn look(&self, path: &str) -> Option<Value> {
        for worker in &self.workers {
            if let Ok(answer) = http::get(worker, path).await
                && answer.is_success()
            {
                return Some(answer.json());
            }
        }
        None
    }

    /// Posts to the workers in turn until one takes it. A worker that is away, or not the store's, passes it on; what a
    /// worker refuses for its content is an error.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let started = std::time::Instant::now();
        let mut last = String::new();
        while started.elapsed() < HQ_PATIENCE {
            for worker in &self.workers {
                match http::post(worker, path, body).await {
                    Ok(answer) if answer.is_success() => return Ok(answer.json()),
                    Ok(answer) if matches!(answer.status, 400 | 404 | 415) => {
                        bail!("HQ refused {path}: {} {}", answer.status, answer.text())
                    }
                    Ok(answer) => last = format!("{}: {}", answer.status, answer.text()),
                    Err(error) => last = error.to_string(),
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("HQ did not take {path}: {last}")
    }
}
