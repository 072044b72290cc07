//! One simulated day: price book, tills, tags, radio and time, around the shelf that the agent runs.

use super::harm::Watch;
use super::{Meter, Pen};
use anyhow::{Context, Result};
use drv_sim::Rng;
use drv_sim::radio::{RadioConfig, RadioSim};
use edge_core::Moment;
use edge_core::price::TillPrice;
use edge_core::shelf::Shelf;
use edge_core::tagplan::{AdapterNo, Job, Limits, TagNo, Work};
use std::collections::BTreeMap;
use std::time::Duration;
use sync_model::{Article, DeviceId, Milli, Minor, PriceChanged, Sku, StockUnit, Text, UnixMillis};

/// The rush after opening.
const RUSH_MS: u64 = 600_000;
/// The trading day.
const DAY_MS: u64 = 12 * 3_600_000;
/// Time between two reports of an unchanged advertisement: longer than the agent's, to keep the day short.
const HEAR_MS: u64 = 300_000;
/// Time of a durable commit.
const COMMIT_MS: u64 = 20;
/// A day that is not over by then never ends.
const END_MS: u64 = 4 * DAY_MS;

/// Which way till and tags go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As decided.
    Promise,
    /// Planted: the till takes every new price when it takes effect.
    TillAtOnce,
    /// Planted: the tag is written before the till follows down, as well.
    TagFirstAlways,
    /// Planted: a tag's acceptance counts as shown.
    NoRefresh,
}

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    pub(super) labels: u32,
    pub(super) adapters: u8,
    pub(super) slots: u16,
    pub(super) seed: u64,
    pub(super) order: Order,
    pub(super) radio: RadioConfig,
}

impl Default for Day {
    fn default() -> Self {
        let radio = RadioConfig::default();
        Self { labels: 1, adapters: 1, slots: 1, seed: 0, order: Order::Promise, radio }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) cpu: Duration,
    /// Changes that take effect in the rush.
    pub(super) opening: u32,
    pub(super) risen: u32,
    pub(super) fallen: u32,
    pub(super) attempts: u32,
    pub(super) failed: u32,
    /// When the plan, asked at the end of the rush, expects the tags of the opening's changes to show them.
    pub(super) expected_ms: u64,
    pub(super) opening_shown_ms: u64,
    pub(super) all_shown_ms: u64,
    /// Tags that do not show their article's price at the end.
    pub(super) unfinished: u32,
    pub(super) harm_ms: u64,
    pub(super) operations: u64,
}

/// What happens at a time.
#[derive(Debug)]
enum Event {
    /// An attempt ends.
    Ended { job: Job, confirmed: bool },
    /// Customers see an image.
    Seen { tag: TagNo, show: TillPrice },
    /// A till price is durable.
    Till(PriceChanged),
    /// A confirmation is durable.
    Confirmed { tag: TagNo, show: TillPrice },
    /// Advertisements.
    Hear,
    /// Prices take effect, pauses end: the shelf is asked.
    Wake,
    /// The rush is over: the plan is asked when it will be done.
    Estimate,
}

struct World {
    day: Day,
    shelf: Shelf,
    radio: RadioSim,
    watch: Watch,
    meter: Meter,
    pen: Pen,
    events: BTreeMap<(u64, u64), Event>,
    next_event: u64,
    /// The next time at which the plan wants to be asked and will be.
    wake_ms: u64,
    /// Tags that do not show their article's new price yet.
    open: BTreeMap<u32, i64>,
    effective: Vec<u64>,
    outcome: Outcome,
}

/// Runs a day.
pub(super) fn run(day: Day) -> Result<Outcome> {
    let mut world = World::new(day)?;
    let mut now = 0;
    while let Some(((at, _), event)) = world.events.pop_first() {
        if at > END_MS || world.open.is_empty() && world.outcome.expected_ms > 0 {
            break;
        }
        now = at;
        world.handle(event, now)?;
        world.turn(now)?;
    }
    let World { watch, shelf, meter, open, mut outcome, .. } = world;
    outcome.cpu = meter.0;
    outcome.harm_ms = watch.total_ms(now);
    outcome.unfinished = u32::try_from(open.len()).unwrap_or(u32::MAX);
    outcome.operations = shelf.plan().operations();
    Ok(outcome)
}

fn limits(day: &Day) -> Result<Limits> {
    let image = Pen::new()?.draw(&article(0, 1, 999, 0), Minor(999))?;
    let mean = day.radio.attempt_ms(image);
    let settle_ms = if day.order == Order::NoRefresh { 0 } else { Limits::default().settle_ms };
    Ok(Limits {
        silent_ms: 3 * HEAR_MS,
        check_every_ms: 0,
        settle_ms,
        assumed_ms: u32::try_from(mean).unwrap_or(u32::MAX),
        ..Limits::default()
    })
}

fn article(sku: u64, version: u64, price: i64, effective: u64) -> Article {
    Article {
        sku: Sku(sku),
        version,
        name: Text::lossy(&format!("Article {sku}")),
        unit: StockUnit::Piece,
        price: Minor(price),
        tax_rate: 900,
        effective: UnixMillis(i64::try_from(effective).unwrap_or(i64::MAX)),
        safety: Milli(0),
        active: true,
    }
}

impl World {
    fn new(day: Day) -> Result<Self> {
        let mut world = Self {
            day,
            shelf: Shelf::new(limits(&day)?, RUSH_MS, 0),
            radio: RadioSim::new(day.radio, day.adapters, day.seed),
            watch: Watch::default(),
            meter: Meter::default(),
            pen: Pen::new()?,
            events: BTreeMap::new(),
            next_event: 0,
            wake_ms: 0,
            open: BTreeMap::new(),
            effective: Vec::new(),
            outcome: Outcome::default(),
        };
        for _ in 0..day.adapters {
            world.shelf.add_adapter(day.slots, 0)?;
        }
        let mut rng = Rng::new(day.seed ^ 0x5348_4F50);
        for number in 0..day.labels {
            world.stock(number, &mut rng)?;
        }
        world.at(0, Event::Hear);
        world.at(RUSH_MS, Event::Estimate);
        Ok(world)
    }

    /// An article with its tag, settled at the old price; the new one is in the book.
    fn stock(&mut self, number: u32, rng: &mut Rng) -> Result<()> {
        let sku = u64::from(number) + 1;
        let draw = |rng: &mut Rng, limit| i64::try_from(rng.below(limit)).unwrap_or(0);
        let old = 100 + draw(rng, 9_900);
        // Five to thirty percent up or down.
        let by = (old * (5 + draw(rng, 26)) / 100).max(1);
        let new = if rng.chance(500) { old + by } else { old - by };
        let rush = number < self.day.labels / 2;
        let effective = match rush {
            true => rng.below(RUSH_MS),
            false => RUSH_MS + rng.below(DAY_MS - RUSH_MS),
        };
        let was = TillPrice { price: Minor(old), version: 1 };
        let id = DeviceId::new(&format!("tag-{number}")).context("a tag's name")?;
        let tag = self.shelf.add_tag(id, Sku(sku), false, 0)?;
        self.shelf.handle_confirmed(tag, Sku(sku), was, 0);
        self.watch.till(sku, old, 0);
        self.watch.glass(number, sku, old, 0);
        let next = article(sku, 2, new, effective);
        self.meter.time(|| self.shelf.handle_article(next, Some(was)));
        self.open.insert(number, new);
        self.effective.push(effective);
        self.outcome.opening += u32::from(rush);
        *if new > old { &mut self.outcome.risen } else { &mut self.outcome.fallen } += 1;
        self.at(effective, Event::Wake);
        Ok(())
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.next_event += 1;
        self.events.insert((at_ms, self.next_event), event);
    }

    fn handle(&mut self, event: Event, now: u64) -> Result<()> {
        match event {
            Event::Wake => {}
            Event::Hear => self.hear(now),
            Event::Estimate => {
                let report = self.shelf.plan().report(now);
                // Nothing left to do: it is done.
                self.outcome.expected_ms = report.done_ms.unwrap_or(now);
            }
            Event::Ended { job, confirmed } => {
                use edge_core::tagplan::Outcome as How;
                self.outcome.failed += u32::from(!confirmed);
                let outcome = if confirmed { How::Done } else { How::Failed };
                self.meter.time(|| self.shelf.handle_ended(job.number, outcome, now));
            }
            Event::Seen { tag, show } => self.seen(tag, show, now),
            Event::Till(change) => {
                self.watch.till(change.sku.0, change.to.0, now);
                self.meter.time(|| self.shelf.handle_till(&change));
            }
            Event::Confirmed { tag, show } => {
                let sku = self.shelf.sku(tag).context("a tag of no article")?;
                self.meter.time(|| self.shelf.handle_confirmed(tag, sku, show, now));
            }
        }
        Ok(())
    }

    fn hear(&mut self, now: u64) {
        let heard: Vec<(TagNo, AdapterNo, Option<i16>)> = (0..self.day.labels)
            .flat_map(|tag| (0..self.day.adapters).map(move |adapter| (tag, adapter)))
            .filter_map(|(tag, adapter)| {
                let rssi = self.radio.hear(tag, adapter)?;
                Some((TagNo(tag), AdapterNo(adapter), Some(rssi)))
            })
            .collect();
        self.meter.time(|| {
            for (tag, adapter, rssi) in heard {
                self.shelf.handle_heard(tag, adapter, rssi, Some(3_000), now);
            }
        });
        self.at(now + HEAR_MS, Event::Hear);
    }

    fn seen(&mut self, tag: TagNo, show: TillPrice, now: u64) {
        let sku = u64::from(tag.0) + 1;
        self.watch.glass(tag.0, sku, show.price.0, now);
        let wanted = self.open.get(&tag.0).copied();
        if wanted.is_some() && self.watch.shown(tag.0) == wanted {
            self.open.remove(&tag.0);
            self.outcome.all_shown_ms = now;
            if tag.0 < self.day.labels / 2 {
                self.outcome.opening_shown_ms = now;
            }
        }
    }

    /// What the agent does after each event.
    fn turn(&mut self, now: u64) -> Result<()> {
        let moment = Moment::new(now, i64::try_from(now).unwrap_or(i64::MAX));
        loop {
            let changes = self.meter.time(|| self.shelf.poll_changes(moment, 4_000));
            if changes.is_empty() && !self.shelf.undecided() {
                break;
            }
            changes.into_iter().for_each(|change| self.commit(change, now));
        }
        if self.day.order == Order::TillAtOnce {
            self.take_effect(now);
        }
        while let Some((tag, show)) = self.meter.time(|| self.shelf.poll_shown(now)) {
            self.at(now + COMMIT_MS, Event::Confirmed { tag, show });
        }
        while let Some(job) = self.meter.time(|| self.shelf.poll_job(now)) {
            let Work::Image(show) = job.work else { continue };
            let shelf = &self.shelf;
            let sku = shelf.sku(job.tag).context("a tag of no article")?;
            let article = shelf.article(sku).context("a tag of an unknown article")?;
            let bytes = self.meter.time(|| self.pen.draw(article, show.price))?;
            let attempt = self.radio.attempt(job.tag.0, job.adapter.0, bytes, now);
            self.outcome.attempts += 1;
            self.at(attempt.ends_ms, Event::Ended { job, confirmed: attempt.confirmed });
            if let Some(seen) = attempt.seen_ms {
                self.at(seen, Event::Seen { tag: job.tag, show });
            }
        }
        let wake = self.shelf.plan().poll_wake().map(|wake| wake.max(now + 1));
        if let Some(wake) = wake.filter(|wake| self.wake_ms <= now || *wake < self.wake_ms) {
            self.wake_ms = wake;
            self.at(wake, Event::Wake);
        }
        Ok(())
    }

    fn commit(&mut self, change: PriceChanged, now: u64) {
        let falls = change.from.is_some_and(|from| change.to < from);
        if self.day.order == Order::TagFirstAlways && falls {
            // The shelf believes it; the till follows when the image should be out.
            self.shelf.handle_till(&change);
            self.at(now + 60_000, Event::Till(change));
        } else {
            self.at(now + COMMIT_MS, Event::Till(change));
        }
    }

    /// Every price that has taken effect is charged.
    fn take_effect(&mut self, now: u64) {
        for (number, effective) in (0_u32..).zip(&self.effective) {
            if let Some(price) = self.open.get(&number).filter(|_| *effective <= now) {
                self.watch.till(u64::from(number) + 1, *price, now);
            }
        }
    }
}
