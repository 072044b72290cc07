//! The stage: every far end and every program of the store started, and everybody who acts in it.

use crate::catalogue::{self, Article};
use crate::chaos::Sockets;
use crate::cold::Cold;
use crate::customers::{Line, Platform};
use crate::kitchen::{Kitchen, STEAMERS};
use crate::layout::{self, ARTICLES, Devices, SCALES};
use crate::posting::Counter;
use crate::programs::{Places, Programs};
use crate::random::Random;
use crate::shelf::Shelf;
use crate::tills::{Hours, Shop, Till};
use crate::{Options, cold, crash, office};
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Tills of the store.
const TILLS: u16 = 6;

/// Pauses between two actions of each actor, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Tickets of one till.
    pub(crate) tills: (u64, u64),
    /// Customers of one scale.
    pub(crate) customers: (u64, u64),
    /// Batches of one steamer.
    pub(crate) kitchen: (u64, u64),
    /// Excursions of one lane of cabinets.
    pub(crate) trouble: (u64, u64),
    /// Price changes.
    pub(crate) buyers: (u64, u64),
}

impl Pace {
    /// A whole day in a minute and a half.
    pub(crate) const SCRIPT: Self = Self {
        tills: (60, 260),
        customers: (200, 1500),
        kitchen: (500, 4000),
        trouble: (500, 3000),
        buyers: (3000, 6000),
    };
    /// A store that trades and in which nothing goes wrong by itself.
    pub(crate) const CHAOS: Self = Self { trouble: (86_400_000, 86_400_000), ..Self::CALM };
    /// A store that a person can watch.
    pub(crate) const CALM: Self = Self {
        tills: (800, 4000),
        customers: (2000, 8000),
        kitchen: (10_000, 40_000),
        trouble: (30_000, 90_000),
        buyers: (15_000, 45_000),
    };
}

/// Everything that runs.
pub(crate) struct Stage {
    /// Ports and paths.
    pub(crate) places: Places,
    /// Broker, network, HQ, agent.
    pub(crate) programs: Programs,
    /// What the tills share, with the books.
    pub(crate) shop: Arc<Shop>,
    /// The steamers.
    pub(crate) kitchen: Arc<Kitchen>,
    /// The tags.
    pub(crate) shelf: Shelf,
    cold: Arc<Cold>,
    lines: Vec<Arc<Line>>,
    platforms: Vec<Platform>,
    articles: Vec<Article>,
    seed: u64,
}

/// Everybody who acts, until [`Actors::leave`].
pub(crate) struct Actors {
    stop: watch::Sender<bool>,
    far_ends: JoinSet<()>,
    scales: JoinSet<Platform>,
    tills: JoinSet<()>,
    buyers: JoinHandle<Vec<Article>>,
    shop: Arc<Shop>,
}

impl Stage {
    /// Starts everything and waits until the tills have prices and goods.
    pub(crate) async fn start(options: &Options, folder: &Path) -> Result<Self> {
        let places = Places::new(folder, &options.programs)?;
        let devices = Devices::new(folder, &options.profiles)?;
        let seed = options.seed;
        let platforms = (1..=SCALES)
            .map(|number| Platform::plug(number, &devices.scale_port(number), options.quiet))
            .collect::<Result<Vec<_>>>()?;
        let lines = platforms.iter().map(Platform::line).collect();
        let cold = Cold::start(devices.cold_port, &devices.cold_line(), &devices.w1, seed).await?;
        let kitchen = Kitchen::start(devices.steam_port, seed).await?;
        let shelf = Shelf::start(folder, seed).await?;
        std::fs::write(places.config(), layout::config(&places, &devices, options.quiet)?)
            .context("write the configuration")?;

        let mut programs = Programs::start(places.clone()).await?;
        programs.set("DBUS_SYSTEM_BUS_ADDRESS", &shelf.bus_address());
        programs.start_agent().await?;
        let mut random = Random::new(seed, 1);
        let articles = catalogue::shelf(ARTICLES, &mut random);
        let all: Vec<Article> = articles.iter().cloned().chain(catalogue::fresh()).collect();
        catalogue::publish(&places.hq(), &all).await?;
        let sold = articles.iter().map(|article| (article.sku, article.weighed)).collect();
        let shop = Shop::new(Counter::new(places.tills()), sold);
        crash::wait_for_prices(&shop).await?;
        let skus: Vec<u64> = all.iter().map(|article| article.sku).collect();
        office::deliver(&shop, &skus, &mut random).await;
        let (cold, kitchen) = (Arc::new(cold), Arc::new(kitchen));
        Ok(Self { places, programs, shop, kitchen, shelf, cold, lines, platforms, articles, seed })
    }

    /// Where cables can be pulled.
    pub(crate) fn sockets(&self) -> Sockets {
        Sockets {
            scales: self.lines.clone(),
            cold: Arc::clone(&self.cold),
            kitchen: Arc::clone(&self.kitchen),
        }
    }

    /// Everybody begins.
    pub(crate) fn open(&mut self, pace: Pace) -> Actors {
        let (stop, stopped) = watch::channel(false);
        let shop = Arc::clone(&self.shop);
        let random = |actor| Random::new(self.seed, actor);
        let mut far_ends = JoinSet::new();
        for index in 0..STEAMERS {
            let kitchen = Arc::clone(&self.kitchen);
            let (shop, random) = (Arc::clone(&shop), random(200 + u64::from(index)));
            far_ends.spawn(kitchen.cook(index, shop, pace.kitchen, random, stopped.clone()));
        }
        // Three lanes of cabinets, so that excursions overlap; each lane mixes transports.
        for lane in 0..3 {
            let cabinets: Vec<u8> = (0..cold::CABINETS).rev().filter(|index| index % 3 == lane).collect();
            let (shop, random) = (Arc::clone(&shop), random(300 + u64::from(lane)));
            let cold = Arc::clone(&self.cold);
            far_ends.spawn(cold.trouble(shop, cabinets, pace.trouble, random, stopped.clone()));
        }
        far_ends.spawn(office::clerk(Arc::clone(&shop), random(400), stopped.clone()));
        let mut scales = JoinSet::new();
        for (number, platform) in (0..).zip(self.platforms.drain(..)) {
            let random = random(500 + number);
            scales.spawn(platform.serve(Arc::clone(&shop), pace.customers, random, stopped.clone()));
        }
        let buyers = tokio::spawn(office::buyers(
            self.places.hq(),
            Arc::clone(&shop),
            self.articles.clone(),
            pace.buyers,
            random(600),
            stopped,
        ));
        let idle = Arc::new(Semaphore::new(usize::from(TILLS)));
        let mut tills = JoinSet::new();
        for till in 1..=TILLS {
            let till = Till::new(Arc::clone(&shop), till, pace.tills, random(100 + u64::from(till)));
            tills.spawn(till.work(Arc::clone(&idle)));
        }
        shop.hours.send_replace(Hours::Open);
        Actors { stop, far_ends, scales, tills, buyers, shop }
    }
}

impl Actors {
    /// Everybody finishes what is under way and leaves. Returns the scales and the prices that HQ published last.
    pub(crate) async fn leave(mut self, limit: Duration) -> Result<(Vec<Platform>, Vec<Article>)> {
        self.stop.send_replace(true);
        let all = async {
            while self.far_ends.join_next().await.transpose().context("an actor panicked")?.is_some() {}
            let mut platforms = Vec::new();
            while let Some(platform) =
                self.scales.join_next().await.transpose().context("a customer panicked")?
            {
                platforms.push(platform);
            }
            let articles = (&mut self.buyers).await.context("the buyers panicked")?;
            // The tills are the last: what the others brought them is sold or left over, never half booked.
            self.shop.hours.send_replace(Hours::Closed);
            while self.tills.join_next().await.transpose().context("a till panicked")?.is_some() {}
            Ok((platforms, articles))
        };
        tokio::time::timeout(limit, all).await.context("somebody did not finish")?
    }
}
