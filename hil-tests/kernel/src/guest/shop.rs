//! Headquarters inside the machine: a broker, HQ's program, and a price book of one article.

use anyhow::{Result, ensure};
use hil_rig::http::{self, Server};
use hil_rig::mosquitto::Broker;
use hil_rig::processes::Process;
use serde_json::json;
use std::path::Path;

use super::FOLDER;
use super::world::{PATIENCE, STORE, World, log, until};

/// The store's number.
pub(crate) const NUMBER: u32 = 7;
/// The article.
pub(crate) const SKU: u64 = 1001;
const BROKER_PORT: u16 = 1883;
const HQ_PORT: u16 = 7180;

/// What the agent's configuration says of HQ and of prices.
pub(crate) const CONFIG: &str = "[hq]\nhost = \"127.0.0.1\"\nport = 1883\nkeep_alive_s = 5\nlinger_ms = 200\n\
    retry_min_ms = 500\nretry_max_ms = 4000\nhello_s = 3\n\
    [prices]\ntick_ms = 100\nretry_min_s = 1\nretry_max_s = 5\nrefresh_s = 0\nrest_s = 10\n";

/// The running programs.
pub(crate) struct Headquarters {
    _broker: Broker,
    _hq: Process,
}

impl Headquarters {
    /// Starts both and waits until HQ answers.
    pub(crate) async fn start(world: &World) -> Result<Self> {
        let broker = Broker::start(Path::new(FOLDER), BROKER_PORT).await?;
        let mut command = world.program("sync-hq");
        command.args(["run", "--store", &format!("sqlite:{STORE}/hq.db")]).args([
            "--broker",
            &format!("127.0.0.1:{BROKER_PORT}"),
            "--listen",
            &format!("127.0.0.1:{HQ_PORT}"),
        ]);
        let hq = Process::start("sync-hq", command, &log("hq"))?;
        let server = Server::Loopback(HQ_PORT);
        let healthy =
            || async { http::get(&server, "/v1/health").await.ok().filter(http::Answer::is_success) };
        until("HQ to answer", PATIENCE, healthy).await?;
        Ok(Self { _broker: broker, _hq: hq })
    }

    /// Publishes a price of the article.
    pub(crate) async fn publish(&self, price_minor: i64) -> Result<()> {
        let body = json!([{
            "sku": SKU, "name": "Steamed buns", "unit": "piece", "price_minor": price_minor, "tax_rate": 900,
        }]);
        let path = format!("/v1/stores/{NUMBER}/articles");
        let answer = http::post(&Server::Loopback(HQ_PORT), &path, &body).await?;
        ensure!(answer.is_success(), "HQ refuses the price: {}", answer.text());
        Ok(())
    }
}
