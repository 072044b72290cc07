//! Customers at the scales: they place a load when the scale says it is ready, take it away when it says accepted, and
//! wait until it is ready again. The far end writes down each load it carried to acceptance.

use crate::random::Random;
use crate::tills::{Shop, locked};
use anyhow::{Context, Result};
use drv_protocol::Grams;
use drv_sim::{ScaleConfig, ScaleFaults, ScaleSim};
use hil_rig::clock::now_ms;
use hil_rig::fleet;
use hil_rig::http;
use hil_rig::pty::FarEnd;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Verification interval of the scales in grams.
pub(crate) const INTERVAL_G: i64 = 5;
/// Largest load in grams.
pub(crate) const CAPACITY_G: i64 = 15_000;
/// Smallest load that is a weighing, in grams: twenty intervals.
const LOAD_MIN_G: i64 = 20 * INTERVAL_G;

/// How long a customer waits for the scale: longer than any outage of the day.
const PATIENCE: Duration = Duration::from_secs(120);

/// The serial line of a scale: its plug can be pulled while the scale stays as it is.
pub(crate) struct Line {
    link: PathBuf,
    scale: Arc<Mutex<ScaleSim>>,
    far_end: Mutex<Option<FarEnd>>,
}

impl Line {
    /// Pulls the plug.
    pub(crate) fn unplug(&self) {
        locked(&self.far_end).take();
    }

    /// Plugs it in.
    pub(crate) fn plug(&self) -> Result<()> {
        let far_end = fleet::plug_scale(&self.link, &self.scale).context("plug in a scale")?;
        *locked(&self.far_end) = Some(far_end);
        Ok(())
    }
}

/// A scale on a serial line, and the customer before it.
pub(crate) struct Platform {
    id: String,
    scale: Arc<Mutex<ScaleSim>>,
    line: Arc<Line>,
}

impl Platform {
    /// Plugs scale number `number` in at `link`. Its line is a little noisy unless it is to be quiet.
    pub(crate) fn plug(number: u64, link: &Path, quiet: bool) -> Result<Self> {
        let config = ScaleConfig {
            seed: number,
            interval_g: INTERVAL_G,
            capacity_g: CAPACITY_G,
            settle_ms: 300,
            ..ScaleConfig::default()
        };
        let mut sim = ScaleSim::new(config);
        if !quiet {
            sim.set_faults(ScaleFaults {
                garbage_permille: 5,
                wrong_parity_permille: 10,
                truncated_permille: 10,
                ..ScaleFaults::default()
            });
        }
        let scale = Arc::new(Mutex::new(sim));
        let line = Line { link: link.to_owned(), scale: Arc::clone(&scale), far_end: Mutex::new(None) };
        line.plug()?;
        Ok(Self { id: format!("scale-{number}"), scale, line: Arc::new(line) })
    }

    /// Its line.
    pub(crate) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    fn place(&self, grams: i64) {
        locked(&self.scale).place(Grams(grams), now_ms());
    }

    fn remove(&self) {
        locked(&self.scale).remove(now_ms());
    }

    /// Serves customers until told to stop; the one under way is served to the end.
    pub(crate) async fn serve(
        self,
        shop: Arc<Shop>,
        pause_ms: (u64, u64),
        mut random: Random,
        mut stop: watch::Receiver<bool>,
    ) -> Self {
        let mut last = 0;
        while !*stop.borrow_and_update() {
            let grams = loop {
                let grams = random.signed(LOAD_MIN_G / INTERVAL_G, 5000 / INTERVAL_G) * INTERVAL_G;
                // Two customers with nearly the same load would hide a weighing that is taken twice.
                if (grams - last).abs() >= LOAD_MIN_G {
                    break grams;
                }
            };
            last = grams;
            if let Err(error) = self.customer(&shop, grams, &mut random).await {
                shop.books().fault(format!("{}: {error:#}", self.id));
                return self;
            }
            let pause = random.millis(pause_ms.0, pause_ms.1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
        }
        self
    }

    async fn customer(&self, shop: &Shop, grams: i64, random: &mut Random) -> Result<()> {
        self.screen(shop, "ready", random, |screen| screen["state"] == "ready").await?;
        self.place(grams);
        let accepted = self
            .screen(shop, "accepted with the load's weight", random, |screen| {
                screen["state"] == "accepted" && screen["net_g"] == grams
            })
            .await?;
        // Written down before the load goes: whoever saw "accepted" relies on it.
        shop.books().weighings.entry(self.id.clone()).or_default().push(grams);
        self.remove();
        if let Some(event) = accepted["event"].as_str() {
            shop.offer_weighed(event.to_owned(), grams);
        }
        self.screen(shop, "ready again", random, |screen| screen["state"] == "ready").await?;
        Ok(())
    }

    /// Looks at the screen until it shows what is waited for. A dead agent shows nothing: look again.
    async fn screen(
        &self,
        shop: &Shop,
        what: &str,
        random: &mut Random,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let path = format!("/v1/scales/{}", self.id);
        let started = Instant::now();
        let mut last = String::from("nothing");
        while started.elapsed() < PATIENCE {
            match http::get(shop.counter.server(), &path).await {
                Ok(answer) if answer.is_success() => {
                    let screen = answer.json();
                    if wanted(&screen) {
                        return Ok(screen);
                    }
                    last = answer.text();
                }
                Ok(answer) => last = format!("{}: {}", answer.status, answer.text()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(random.millis(40, 90)).await;
        }
        anyhow::bail!("the screen never said {what}, last it said {last}")
    }
}
