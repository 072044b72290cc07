//! The small store around the machine: broker, HQ and device simulators on the host, reached through the emulated network
//! and the machine's serial ports; a till that keeps its own books.

use anyhow::{Context, Result, bail, ensure};
use drv_sim::cabinet::CabinetConfig;
use drv_sim::steamer::SteamerConfig;
use drv_sim::{ModbusSim, ScaleConfig, ScaleSim};
use hil_rig::clock::now_ms;
use hil_rig::http::{self, Request, Server};
use hil_rig::modbus_tcp::ModbusTcp;
use hil_rig::mosquitto::Broker;
use hil_rig::processes::Process;
use hil_rig::pty::FarEnd;
use hil_rig::{fleet, ports, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The store's number.
pub const STORE: u32 = 7;
/// Cabinets, steamers and shelf tags of the project's small store; it has four scales.
const CABINETS: u16 = 40;
const STEAMERS: u8 = 6;
const TAGS: u32 = 8_000;
/// Units of one gateway.
const PER_GATEWAY: u16 = 20;
/// Where the host is, seen from the machine.
const HOST: &str = "10.0.2.2";
/// Articles that are sold.
const ARTICLES: u64 = 60;
/// First article.
const FIRST: u64 = 1_001;

/// How long a till tries one ticket.
const PATIENCE: Duration = Duration::from_secs(120);

/// Everything outside the machine.
pub struct Outside {
    /// Where the tills' port of the machine is, on the host.
    pub tills: u16,
    /// HQ's port.
    pub hq: u16,
    /// Pseudo-terminals of the scales.
    pub serial: Vec<PathBuf>,
    /// The scales.
    pub scales: Vec<Arc<Mutex<ScaleSim>>>,
    gateways: Vec<(u16, Arc<Mutex<ModbusSim>>)>,
    steam: u16,
    broker: u16,
    _servers: Vec<ModbusTcp>,
    _lines: Vec<FarEnd>,
    _broker: Broker,
    _hq: Process,
}

impl Outside {
    /// Starts all of it; files go to `folder`.
    pub async fn start(folder: &Path, programs: &Path) -> Result<Self> {
        let broker = ports::reserve()?;
        let hq = ports::reserve()?;
        let tills = ports::reserve()?;
        let mut servers = Vec::new();
        let mut gateways = Vec::new();
        for number in 0..CABINETS.div_ceil(PER_GATEWAY) {
            let units = u8::try_from(PER_GATEWAY).context("units of a gateway")?;
            let bus = fleet::cabinets(1..=units, CabinetConfig::default(), number.into());
            let port = ports::reserve()?;
            servers.push(fleet::serve(port, &bus).await?);
            gateways.push((port, bus));
        }
        let steam = ports::reserve()?;
        let kitchen = fleet::steamers(STEAMERS, SteamerConfig::default(), 99);
        servers.push(fleet::serve(steam, &kitchen).await?);
        let (mut serial, mut scales, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=4_u64 {
            let link = folder.join(format!("scale-{number}"));
            let config = ScaleConfig { seed: number, settle_ms: 300, ..ScaleConfig::default() };
            let scale = Arc::new(Mutex::new(ScaleSim::new(config)));
            lines.push(fleet::plug_scale(&link, &scale)?);
            serial.push(link);
            scales.push(scale);
        }
        let mqtt = Broker::start(folder, broker).await?;
        let mut command = Command::new(programs.join("sync-hq"));
        command.arg("run").arg("--store").arg(format!("sqlite:{}", folder.join("hq.db").display()));
        command.args(["--broker", &format!("127.0.0.1:{broker}"), "--listen", &format!("127.0.0.1:{hq}")]);
        let process = Process::start("sync-hq", command, &folder.join("hq.log"))?;
        let outside = Self {
            tills,
            hq,
            serial,
            scales,
            gateways,
            steam,
            broker,
            _servers: servers,
            _lines: lines,
            _broker: mqtt,
            _hq: process,
        };
        let hq = Server::Loopback(outside.hq);
        let healthy = || async { http::get(&hq, "/v1/health").await.is_ok_and(|answer| answer.is_success()) };
        until("HQ to answer", Duration::from_secs(60), healthy).await?;
        outside.publish().await?;
        Ok(outside)
    }

    /// The drop-in that makes the packaged configuration this store.
    pub fn config(&self) -> Result<String> {
        let mut text = format!(
            "[store]\nid = {STORE}\n\n[ledger]\nreserve_bytes = 1048576\n\n[hq]\nhost = \"{HOST}\"\nport = {}\nkeep_alive_s = 20\n\
             retry_min_ms = 1000\nretry_max_ms = 8000\nhello_s = 5\n\n[channels]\nshop = 1000\nweb = 300\n\n[ble]\n\n",
            self.broker
        );
        for (number, (port, _)) in self.gateways.iter().enumerate() {
            writeln!(
                text,
                "[[bus]]\nid = \"net-{number}\"\nkind = \"modbus-tcp\"\naddress = \"{HOST}:{port}\"\ntimeout_ms = 2000\n"
            )?;
        }
        writeln!(
            text,
            "[[bus]]\nid = \"steam\"\nkind = \"modbus-tcp\"\naddress = \"{HOST}:{}\"\ntimeout_ms = 2000\n",
            self.steam
        )?;
        for number in 1..=self.scales.len() {
            writeln!(
                text,
                "[[scale]]\nid = \"scale-{number}\"\nprotocol = \"toledo-8217\"\nport = \"/dev/ttyS{}\"\nbaud = 9600\n\
                 interval_g = 5\ncapacity_g = 15000\npoll_ms = 250\nlost_after_ms = 15000\n",
                number - 1
            )?;
        }
        for index in 0..CABINETS {
            writeln!(
                text,
                "[[cabinet]]\nid = \"cold-{index}\"\nbus = \"net-{}\"\nunit = {}\nprofile = \"danfoss-ak-cc55\"\npoll_ms = 1000\n\
                 lost_after_ms = 15000\nhigh_mc = 15000\nlow_mc = -40000\n",
                index / PER_GATEWAY,
                index % PER_GATEWAY + 1
            )?;
        }
        for index in 0..STEAMERS {
            writeln!(
                text,
                "[[steamer]]\nid = \"steamer-{index}\"\nbus = \"steam\"\nunit = {}\nprofile = \"steamer-e5cc\"\npoll_ms = 1000\n\
                 lost_after_ms = 15000\n",
                index * fleet::STEAMER_UNITS + 1
            )?;
        }
        for index in 0..TAGS {
            let [_, a, b, c] = index.to_be_bytes();
            writeln!(
                text,
                "[[tag]]\nid = \"tag-{index}\"\naddress = \"FF:FF:92:{a:02X}:{b:02X}:{c:02X}\"\nmodel = 0x4b\nsku = {}\n",
                1_000_000 + u64::from(index)
            )?;
        }
        Ok(text)
    }

    /// Tells HQ the price book.
    async fn publish(&self) -> Result<()> {
        let articles: Vec<Value> = (FIRST..FIRST + ARTICLES)
            .map(|sku| json!({"sku": sku, "name": format!("Article {sku}"), "unit": "piece", "price_minor": price(sku), "tax_rate": 900}))
            .collect();
        let path = format!("/v1/stores/{STORE}/articles");
        let answer = http::post(&Server::Loopback(self.hq), &path, &Value::Array(articles)).await?;
        ensure!(answer.is_success(), "HQ refused the price book: {}", answer.text());
        Ok(())
    }

    /// Loads on every scale, changed at every call.
    pub fn weigh(&self, round: u64) {
        for (number, scale) in (0..).zip(&self.scales) {
            let mut scale = scale.lock().unwrap_or_else(PoisonError::into_inner);
            match (round + number) % 2 {
                0 => scale.place(
                    drv_protocol::Grams(i64::try_from(500 + 5 * (round % 400)).unwrap_or(500)),
                    now_ms(),
                ),
                _ => scale.remove(now_ms()),
            }
        }
    }

    /// Events of this store's logs of the given epochs that HQ has: `epoch.seq` -> kind.
    pub async fn at_hq(&self, epochs: &BTreeSet<String>) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for epoch in epochs {
            let mut from = 1;
            loop {
                let path = format!("/v1/stores/{STORE}/events?epoch={epoch}&from={from}&limit=500");
                let answer = http::get(&Server::Loopback(self.hq), &path).await?;
                if answer.status == 404 {
                    break;
                }
                ensure!(answer.is_success(), "HQ: {}: {}", answer.status, answer.text());
                let body = answer.json();
                let events = body["events"].as_array().cloned().unwrap_or_default();
                let Some(last) = events.last() else { break };
                from = last["seq"].as_u64().context("an event without a place")? + 1;
                for event in &events {
                    let id = format!("{}.{}", event["epoch"], event["seq"]);
                    found.insert(id, event["kind"].as_str().unwrap_or("unreadable").to_owned());
                }
            }
        }
        Ok(found)
    }
}

fn price(sku: u64) -> i64 {
    i64::try_from(200 + sku % 97 * 10).unwrap_or(200)
}

/// A till that knows only what was answered.
#[derive(Debug, Default)]
pub struct Till {
    /// Idempotency key -> (body, event id) of what was acknowledged.
    pub acknowledged: BTreeMap<String, (Value, String)>,
    /// Longest wait for an answer.
    pub slowest: Duration,
    number: u64,
}

impl Till {
    /// Waits until the store knows the prices.
    pub async fn wait_for_prices(&self, tills: u16, limit: Duration) -> Result<()> {
        let server = Server::Loopback(tills);
        let path = format!("/v1/prices/{}", FIRST + ARTICLES - 1);
        let known = || async { http::get(&server, &path).await.is_ok_and(|answer| answer.is_success()) };
        Ok(until("the price book in the store", limit, known).await?)
    }

    /// Sells one ticket of three lines under a new key.
    pub async fn sell(&mut self, tills: u16) -> Result<()> {
        self.number += 1;
        let lines: Vec<Value> = (0..3)
            .map(|line| {
                let sku = FIRST + (self.number * 3 + line) % ARTICLES;
                json!({"sku": sku, "quantity_milli": 1000, "unit_price_minor": price(sku), "discount_minor": 0, "amount_minor": price(sku)})
            })
            .collect();
        let total: i64 = lines.iter().filter_map(|line| line["amount_minor"].as_i64()).sum();
        let body = json!({"till": 1, "number": self.number, "day": "2026-03-02", "currency": "CNY", "lines": lines,
            "tenders": [{"kind": "cash", "amount_minor": total}], "total_minor": total});
        let key = format!("t1-{}", self.number);
        let begun = Instant::now();
        // "Not now" is answered with the same key again, as every till does.
        let answer = loop {
            match post(tills, &key, &body).await {
                Ok(answer) if !matches!(answer.status, 408 | 429 | 500..) => break answer,
                other if begun.elapsed() > PATIENCE => break other?,
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        self.slowest = self.slowest.max(begun.elapsed());
        match (answer.status, answer.json()["id"].as_str()) {
            (200 | 201, Some(id)) => self.acknowledged.insert(key, (body, id.to_owned())),
            (status, _) => bail!("ticket {}: {status}: {}", self.number, answer.text()),
        };
        Ok(())
    }

    /// Epochs that the acknowledged tickets are in.
    pub fn epochs(&self) -> BTreeSet<String> {
        let epoch = |id: &String| id.split('.').next().unwrap_or_default().to_owned();
        self.acknowledged.values().map(|(_, id)| epoch(id)).collect()
    }

    /// Asks again for everything that was acknowledged: the same key must give the same fact, not a new one.
    pub async fn check(&self, tills: u16) -> Result<()> {
        for (key, (body, id)) in &self.acknowledged {
            let answer = post(tills, key, body).await.with_context(|| format!("ticket {key}"))?;
            let seen = answer.json();
            ensure!(
                answer.status == 200 && seen["id"] == id.as_str() && seen["replayed"] == true,
                "{key} was acknowledged as {id}; now {}: {}",
                answer.status,
                answer.text()
            );
        }
        Ok(())
    }
}

async fn post(tills: u16, key: &str, body: &Value) -> Result<http::Answer> {
    let headers = [("idempotency-key", key)];
    let limit = Duration::from_secs(30);
    let request = Request { method: "POST", path: "/v1/tickets", headers: &headers, body: Some(body), limit };
    Ok(http::send(&Server::Loopback(tills), &request).await?)
}
