//! The programs of a trial, a till that never stops selling, and what must hold when the network is whole again.

use anyhow::{Context, Result, bail, ensure};
use hil_rig::http::{self, Request, Server};
use hil_rig::processes::{Process, need_program};
use hil_rig::{RigError, ports};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use sync_core::MoneyAccount;
use sync_model::{
    Article, ArticlesSet, ClockQuality, Currency, Direction, Event, Fact, Milli, Minor, PriceChanged, Seq,
    Sku, Stamp, StockUnit, StoreId, TenderKind, Text, UnixMillis,
};
use sync_store::{Ledger, LedgerConfig, Owner, Reader, StockRow, verify_file};
use tokio::task::JoinHandle;

/// The store.
const STORE: StoreId = StoreId(7);
/// Articles that the till sells.
const ARTICLES: u64 = 8;
const FIRST_SKU: u64 = 1_001;
/// What each of them costs.
const PRICE: i64 = 250;
/// How long a program may take to start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);
/// Time between two tickets.
const PAUSE: Duration = Duration::from_millis(60);
/// A ticket that no attempt got an answer to for so long was not traded.
const TICKET_LIMIT: Duration = Duration::from_secs(60);

/// How the programs are started and whom they connect to.
pub(crate) struct Wiring<'a> {
    /// Starts a program of the store.
    pub(crate) store: &'a dyn Fn(&Path) -> Result<Command>,
    /// Starts a program of HQ.
    pub(crate) hq: &'a dyn Fn(&Path) -> Result<Command>,
    /// The broker as the agent is told.
    pub(crate) broker_of_store: (String, u16),
    /// The broker as HQ is told.
    pub(crate) broker_of_hq: (String, u16),
    /// Port of HQ's listener, in its namespace.
    pub(crate) hq_port: u16,
    /// Environment of the agent.
    pub(crate) environment: Vec<(String, String)>,
}

/// Agent and HQ.
pub(crate) struct Shop {
    folder: PathBuf,
    agent: Process,
    hq: Process,
}

/// Starts mosquitto on every address of where `command` runs.
pub(crate) fn broker(command: Command, folder: &Path, port: u16) -> Result<Process> {
    let config = folder.join("mosquitto.conf");
    // Root of a user namespace cannot become another user; the folder is private to whoever runs this.
    let text = format!(
        "user root\nlistener {port} 0.0.0.0\nallow_anonymous true\npersistence false\nlog_dest stderr\nlog_type error\nlog_type warning\n\
         log_type notice\nmax_queued_messages 1000\nmessage_size_limit 1048576\n"
    );
    std::fs::write(&config, text)?;
    let mut command = command;
    command.arg("-c").arg(&config);
    Ok(Process::start("mosquitto", command, &folder.join("mosquitto.log"))?)
}

/// The program of [`broker`].
pub(crate) fn broker_program() -> Result<PathBuf> {
    Ok(need_program("mosquitto")?)
}

fn stamp() -> Stamp {
    Stamp { at: UnixMillis(1_790_000_000_000), clock: ClockQuality::Synced }
}

fn open(path: &Path, owner: Owner) -> Result<Ledger> {
    let software = Text::lossy("network rig");
    let config = LedgerConfig { path: path.into(), owner, max_bytes: None, software, queue: 64 };
    Ok(Ledger::open(config, stamp())?.0)
}

fn store_ledger(folder: &Path) -> PathBuf {
    folder.join("store").join("ledger.db")
}

fn hq_ledger(folder: &Path) -> PathBuf {
    folder.join("hq.sqlite")
}

/// HQ's price book, and a store that has it on its shelves: written before the programs start.
fn stock_up(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("store"))?;
    let hq = open(&hq_ledger(folder), Owner::Hq)?;
    let store = open(&store_ledger(folder), Owner::Store(STORE))?;
    let article = |sku| Article {
        sku: Sku(sku),
        version: 1,
        name: Text::lossy("packed"),
        unit: StockUnit::Piece,
        price: Minor(PRICE),
        tax_rate: 900,
        effective: UnixMillis(0),
        safety: Milli(0),
        active: true,
    };
    let articles: Vec<Article> = (FIRST_SKU..FIRST_SKU + ARTICLES).map(article).collect();
    let event = Event::new(stamp(), ArticlesSet { articles });
    let log = hq.call(move |draft| draft.append_down(STORE, &event))?.log;
    let block = hq.reader()?.block(log, Seq(1), 512, usize::MAX)?.context("HQ's price book")?;
    store.call(move |draft| draft.ingest(&block, stamp().at))?;
    for sku in FIRST_SKU..FIRST_SKU + ARTICLES {
        let change = PriceChanged { sku: Sku(sku), from: None, to: Minor(PRICE), version: 1 };
        let event = Event::new(stamp(), change);
        store.call(move |draft| draft.append(&event))?;
    }
    Ok(())
}

impl Shop {
    /// Starts HQ and agent and waits until they know each other.
    pub(crate) async fn start(folder: &Path, programs: &Path, wiring: &Wiring<'_>) -> Result<Self> {
        stock_up(folder)?;
        let (host, port) = &wiring.broker_of_hq;
        let mut command = (wiring.hq)(&programs.join("sync-hq"))?;
        command.arg("run").arg("--store").arg(format!("sqlite:{}", hq_ledger(folder).display()));
        command.args([
            "--broker",
            &format!("{host}:{port}"),
            "--listen",
            &format!("127.0.0.1:{}", wiring.hq_port),
        ]);
        command.args(["--reconnect-max-ms", "500"]);
        let hq = Process::start("sync-hq", command, &folder.join("hq.log"))?;
        let (host, port) = &wiring.broker_of_store;
        let config = folder.join("store.toml");
        let text = format!(
            "[store]\nid = {STORE}\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\n[ledger]\ndir = \"store\"\n\
             reserve_bytes = 0\n\n[api]\nsocket = \"agent.sock\"\nlisten = \"127.0.0.1:{}\"\n\n[hq]\nhost = \"{host}\"\nport = {port}\n\
             keep_alive_s = 5\nlinger_ms = 100\nretry_min_ms = 500\nretry_max_ms = 4000\nhello_s = 3\n\n[channels]\nweb = 300\n",
            ports::reserve()?
        );
        std::fs::write(&config, text)?;
        let mut command = (wiring.store)(&programs.join("edge-agent"))?;
        command.arg("run").arg("--config").arg(&config);
        command.envs(wiring.environment.iter().map(|(name, value)| (name, value)));
        let agent = Process::start("edge-agent", command, &folder.join("agent.log"))?;
        let mut shop = Self { folder: folder.into(), agent, hq };
        shop.settled("the programs to know each other", START_LIMIT).await?;
        Ok(shop)
    }

    fn people(&self) -> Server {
        Server::Socket(self.folder.join("agent.sock"))
    }

    async fn settlement(&self) -> Option<Value> {
        let answer = http::get(&self.people(), "/v1/sync").await.ok()?;
        answer.is_success().then(|| answer.json())
    }

    /// Whether the store believes itself connected.
    pub(crate) async fn connected(&self) -> bool {
        self.settlement().await.is_some_and(|state| state["brief"]["connected"] == true)
    }

    async fn is_settled(&self) -> bool {
        let Some(state) = self.settlement().await else { return false };
        let logs = state["logs"].as_array().cloned().unwrap_or_default();
        let all = logs.iter().filter(|log| log["acked"].is_number()).all(|log| log["head"] == log["acked"]);
        state["brief"]["connected"] == true && !logs.is_empty() && all
    }

    /// Waits until HQ has acknowledged all that the store wrote; answers how long that took.
    pub(crate) async fn settled(&mut self, what: &str, limit: Duration) -> Result<Duration> {
        let begun = Instant::now();
        while !self.is_settled().await {
            for process in [&mut self.agent, &mut self.hq] {
                ensure!(process.runs(), "a program ended by itself, see {}", process.log().display());
            }
            if begun.elapsed() >= limit {
                let state = self.settlement().await.unwrap_or_default();
                let late = RigError::Deadline { what: what.into(), waited_ms: begun.elapsed().as_millis() };
                return Err(late).with_context(|| format!("{state}; logs in {}", self.folder.display()));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(begun.elapsed())
    }

    /// Ends both by request, so that their files are whole.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for process in [&mut self.agent, &mut self.hq] {
            let status = process.stop(Duration::from_secs(60)).await?;
            ensure!(status.success(), "a program ended with {status}, see {}", process.log().display());
        }
        Ok(())
    }

    /// Opens a till.
    pub(crate) fn till(&self, number: u16) -> Till {
        let (sold, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (server, count, end) = (self.people(), Arc::clone(&sold), Arc::clone(&closed));
        let task = tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !end.load(Ordering::Relaxed) {
                let ticket = count.load(Ordering::Relaxed) + 1;
                slowest = slowest.max(sell(&server, number, ticket).await?);
                count.store(ticket, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            Ok(slowest)
        });
        Till { number, sold, closed, task }
    }
}

/// A till that sells until it is closed.
pub(crate) struct Till {
    number: u16,
    sold: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
    task: JoinHandle<Result<Duration>>,
}

/// What a till sold: tickets 1 to `tickets`, all of them answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sold {
    till: u16,
    pub(crate) tickets: u64,
    pub(crate) slowest: Duration,
}

impl Till {
    /// Tickets answered so far.
    pub(crate) fn sold(&self) -> u64 {
        self.sold.load(Ordering::Relaxed)
    }

    /// Closes after the ticket under way.
    pub(crate) async fn close(self) -> Result<Sold> {
        self.closed.store(true, Ordering::Relaxed);
        let slowest = self.task.await.context("the till")??;
        Ok(Sold { till: self.number, tickets: self.sold.load(Ordering::Relaxed), slowest })
    }
}

/// Article and pieces of a ticket: a function of its number.
fn goods(till: u16, number: u64) -> (u64, i64) {
    let pieces = i64::try_from(number % 3 + 1).unwrap_or(1);
    (FIRST_SKU + (number + u64::from(till)) % ARTICLES, pieces)
}

/// Sells one ticket, under the same key until it is answered; answers how long that took.
async fn sell(server: &Server, till: u16, number: u64) -> Result<Duration> {
    let (sku, pieces) = goods(till, number);
    let amount = pieces * PRICE;
    let body = json!({
        "till": till, "number": number, "day": null, "currency": "CNY", "total_minor": amount,
        "lines": [{"sku": sku, "lot": null, "quantity_milli": pieces * 1_000, "unit_price_minor": PRICE,
            "discount_minor": 0, "amount_minor": amount, "weighing": null, "batch": null}],
        "tenders": [{"kind": "cash", "amount_minor": amount}],
    });
    let key = format!("{till}-{number}");
    let begun = Instant::now();
    loop {
        let request = Request {
            method: "POST",
            path: "/v1/tickets",
            headers: &[("Idempotency-Key", key.as_str())],
            body: Some(&body),
            limit: Duration::from_secs(20),
        };
        match http::send(server, &request).await {
            Ok(answer) if answer.is_success() => return Ok(begun.elapsed()),
            Ok(answer) if answer.status < 500 => bail!("ticket {key} was refused: {}", answer.text()),
            answer if begun.elapsed() > TICKET_LIMIT => {
                let last = answer.map_or_else(|error| error.to_string(), |answer| answer.text());
                bail!("ticket {key} has no answer after {} s: {last}", TICKET_LIMIT.as_secs());
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// What one party has of the store's own log.
#[derive(Debug, Default)]
struct Side {
    tickets: BTreeMap<(u16, u64), u64>,
    /// Clock jumps that are recorded.
    jumps: u64,
    /// First and last stamp of a ticket.
    stamps: Option<(i64, i64)>,
    money: i64,
    stock: Vec<StockRow>,
}

fn side(path: &Path) -> Result<Side> {
    let verified = verify_file(path)?;
    ensure!(verified.ok(), "{}: {:?}", path.display(), verified.problems);
    let reader = Reader::open(path)?;
    let mut side = Side { stock: reader.stock(STORE, None)?, ..Side::default() };
    for head in reader.heads()?.into_iter().filter(|row| row.log.direction == Direction::Up) {
        for stored in reader.events(head.log, Seq(1), usize::MAX)? {
            let event = stored.event.with_context(|| format!("{} does not decode", stored.id))?;
            match event.fact {
                Fact::Sale(sale) => {
                    *side.tickets.entry((sale.till.0, sale.number)).or_default() += 1;
                    let at = event.stamp.at.0;
                    let (first, last) = side.stamps.unwrap_or((at, at));
                    side.stamps = Some((first.min(at), last.max(at)));
                }
                Fact::ClockJumped(_) => side.jumps += 1,
                _ => {}
            }
        }
    }
    let cash = reader.money(STORE)?.into_iter().filter(|row| row.currency == Currency::CNY);
    side.money = cash
        .filter(|row| row.account == MoneyAccount::Tender(TenderKind::Cash))
        .map(|row| row.amount.0)
        .sum();
    Ok(side)
}

/// What the two ledgers agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    pub(crate) jumps: u64,
    /// Milliseconds between the earliest and the latest stamp of a ticket.
    pub(crate) stamps_apart: i64,
}

/// Compares the ledgers with the till's own books. The programs have ended.
pub(crate) fn compare(folder: &Path, sold: &[Sold]) -> Result<Agreed> {
    let store = side(&store_ledger(folder)).context("the store")?;
    let hq = side(&hq_ledger(folder)).context("HQ")?;
    let mut money = 0;
    for of in sold {
        for number in 1..=of.tickets {
            for (name, side) in [("the store", &store), ("HQ", &hq)] {
                let times = side.tickets.get(&(of.till, number)).copied().unwrap_or(0);
                ensure!(
                    times == 1,
                    "ticket {}-{number} was answered and is at {name} {times} times",
                    of.till
                );
            }
            money += goods(of.till, number).1 * PRICE;
        }
    }
    let all: u64 = sold.iter().map(|of| of.tickets).sum();
    for (name, side) in [("the store", &store), ("HQ", &hq)] {
        let count = side.tickets.len() as u64;
        ensure!(count == all, "{name} has {count} tickets, the tills sold {all}");
        ensure!(side.money == money, "{name} has {} in cash, the tills took {money}", side.money);
    }
    ensure!(store.stock == hq.stock, "stock: the store has {:?}, HQ {:?}", store.stock, hq.stock);
    let stamps_apart = hq.stamps.map_or(0, |(first, last)| last - first);
    Ok(Agreed { jumps: hq.jumps, stamps_apart })
}
