//! The kitchen: steam batches ordered at the agent, cooked by simulated steamers that count what they really ran.
//!
//! One cook per steamer: order a batch, wait until it is ready (or thrown away), load cold food, order the next one.

use crate::books::{Batch, Line, Ticket, extend};
use crate::catalogue::{FRESH, FRESH_PRICE};
use crate::posting::Outcome;
use crate::random::Random;
use crate::tills::{Shop, locked, ticket_body};
use anyhow::{Context, Result, bail};
use drv_sim::steamer::SteamerConfig;
use drv_sim::{ModbusSim, SteamerSim, UnitFaults};
use hil_rig::clock::now_ms;
use hil_rig::fleet;
use hil_rig::http;
use hil_rig::modbus_tcp::ModbusTcp;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Steamers of the store.
pub(crate) const STEAMERS: u8 = 6;
/// Till number of the first steamer's counter.
const FIRST_TILL: u16 = 91;
/// How long a program steams at its set-point.
const STEAM_S: u32 = 4;
/// How long a cook waits for a batch: cooking plus every outage of the day.
const PATIENCE: Duration = Duration::from_secs(120);

/// The steamers on their bus.
pub(crate) struct Kitchen {
    bus: Arc<Mutex<ModbusSim>>,
    port: u16,
    server: Mutex<Option<ModbusTcp>>,
}

/// Name of a steamer, counted from 0.
pub(crate) fn name(index: u8) -> String {
    format!("steamer-{}", index + 1)
}

/// First unit of a steamer; each takes three.
pub(crate) fn unit(index: u8) -> u8 {
    1 + index * 3
}

impl Kitchen {
    /// Serves the steamers on `port`.
    pub(crate) async fn start(port: u16, seed: u64) -> Result<Self> {
        let mut bus = ModbusSim::new(seed);
        let config = SteamerConfig {
            chamber_tau_ms: 1_000,
            core_tau_ms: 1_200,
            steam_ms: u64::from(STEAM_S) * 1000,
            ..SteamerConfig::default()
        };
        for index in 0..STEAMERS {
            bus.add_steamer(unit(index), SteamerSim::new(config, 0));
        }
        let bus = Arc::new(Mutex::new(bus));
        let kitchen = Self { bus, port, server: Mutex::new(None) };
        kitchen.plug_gateway().await?;
        Ok(kitchen)
    }

    /// Pulls the gateway's network cable.
    pub(crate) fn unplug_gateway(&self) {
        locked(&self.server).take();
    }

    /// Plugs it in.
    pub(crate) async fn plug_gateway(&self) -> Result<()> {
        let server = fleet::serve(self.port, &self.bus).await.context("serve the steamers")?;
        *locked(&self.server) = Some(server);
        Ok(())
    }

    /// Takes the wires off steamer `index`, or puts them back.
    pub(crate) fn set_mute(&self, index: u8, mute: bool) {
        let mut bus = locked(&self.bus);
        for unit in unit(index)..unit(index) + 3 {
            bus.set_faults(unit, UnitFaults { mute, ..UnitFaults::default() });
        }
    }

    /// Programs that steamer `index` really started and finished.
    pub(crate) fn runs(&self, index: u8) -> (u64, u64) {
        let now = now_ms();
        let mut bus = locked(&self.bus);
        bus.steamer_mut(unit(index)).map_or((0, 0), |steamer| {
            steamer.ended(now);
            (steamer.runs_started(), steamer.runs_completed())
        })
    }

    /// One cook at steamer `index`, until told to stop; the batch under way is finished.
    pub(crate) async fn cook(
        self: Arc<Self>,
        index: u8,
        shop: Arc<Shop>,
        pause_ms: (u64, u64),
        mut random: Random,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut number = 0;
        while !*stop.borrow_and_update() {
            number += 1;
            if let Err(error) = self.batch(index, number, &shop, &mut random).await {
                shop.books().fault(format!("{}: {error:#}", name(index)));
                return;
            }
            let pause = random.millis(pause_ms.0, pause_ms.1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// One batch. The first is sold out over the counter, the second is left to expire, the third stays in the hold.
    async fn batch(&self, index: u8, number: u64, shop: &Shop, random: &mut Random) -> Result<()> {
        let end = *["hold", "sold-out", "discarded"]
            .iter()
            .cycle()
            .nth(usize::try_from(number)?)
            .unwrap_or(&"hold");
        let expires = end == "discarded";
        let sku = FRESH[usize::from(index) % FRESH.len()];
        let quantity = random.signed(2, 30) * 1000;
        let body = json!({
            "device": name(index), "sku": sku, "quantity_milli": quantity, "program": 1,
            "set_point_mc": 100_000, "core_min_mc": 75_000, "steam_s": STEAM_S,
            "hold_limit_s": if expires { 3 } else { 14_400 },
        });
        self.load_food(index);
        let key = format!("batch-{index}-{number}");
        let id = match shop.counter.post("/v1/batches", &key, &body, random).await? {
            Outcome::Accepted { id, replayed } => {
                let mut books = shop.books();
                books.replayed += u64::from(replayed);
                let batch = Batch { device: name(index), sku, quantity, end };
                books.batches.insert(id.clone(), batch);
                if expires {
                    // The agent itself must write it off.
                    books.moved(sku, -quantity);
                }
                id
            }
            refused @ Outcome::Refused { .. } => bail!("batch {number}: {refused:?}"),
        };
        if end == "sold-out" {
            self.wait_for(shop, &id, "hold", random).await?;
            let part = random.signed(1, quantity / 1000 - 1) * 1000;
            for (half, quantity) in [(0, part), (1, quantity - part)] {
                sell(shop, index, number * 2 + half, (&id, sku, quantity), random).await?;
            }
        }
        self.wait_for(shop, &id, end, random).await
    }

    fn load_food(&self, index: u8) {
        let now = now_ms();
        if let Some(steamer) = locked(&self.bus).steamer_mut(unit(index)) {
            steamer.load_food(now);
        }
    }

    async fn wait_for(&self, shop: &Shop, id: &str, end: &str, random: &mut Random) -> Result<()> {
        let started = Instant::now();
        let mut last = String::from("nothing");
        while started.elapsed() < PATIENCE {
            if let Ok(answer) = http::get(shop.counter.server(), "/v1/batches").await {
                let body = answer.json();
                let rows = body["batches"].as_array().map(Vec::as_slice).unwrap_or_default();
                if let Some(row) = rows.iter().find(|row| row["id"] == id) {
                    last = row["state"].as_str().unwrap_or_default().to_owned();
                    if last == end {
                        return Ok(());
                    }
                    if last == "discarded" {
                        bail!("batch {id} was thrown away: {row}");
                    }
                }
            }
            tokio::time::sleep(random.millis(200, 400)).await;
        }
        bail!("batch {id} never came to {end}, last it was {last}")
    }
}

/// Sells part of a batch over the kitchen's own counter.
async fn sell(
    shop: &Shop,
    index: u8,
    number: u64,
    (batch, sku, quantity): (&str, u64, i64),
    random: &mut Random,
) -> Result<()> {
    let till = FIRST_TILL + u16::from(index);
    let amount = extend(FRESH_PRICE, quantity);
    let batch = Some(batch.to_owned());
    let line = Line { sku, quantity, price: FRESH_PRICE, discount: 0, amount, weighing: None, batch };
    let (lines, tenders) = (vec![line], vec![("wallet".to_owned(), amount)]);
    let body = ticket_body(till, number, &lines, &tenders, amount);
    match shop.counter.post("/v1/tickets", &format!("t{till}-{number}"), &body, random).await? {
        Outcome::Accepted { id, replayed } => {
            let mut books = shop.books();
            books.replayed += u64::from(replayed);
            books.ticket(till, number, Ticket { id, lines, tenders });
            Ok(())
        }
        refused @ Outcome::Refused { .. } => bail!("kitchen ticket {till}/{number}: {refused:?}"),
    }
}
