//! `cargo xtask bench tags`: what 8,000 changed prices cost to plan and draw, how long the radio takes, and whether anyone
//! was charged more than a label showed.
//!
//! The store: 8,000 articles, one tag each, on 1,200 m2. Every price changes, half of them within ten minutes of opening, the
//! other half evenly over the rest of a trading day of twelve hours; half go up, half go down. That many changes in one day
//! is ten times what such a store has: the worst day, not the usual one. The radio is [`drv_sim::radio`] with the assumptions
//! in its header; 4 connections are one adapter, 16 are four adapters with 4 each.
//!
//! Results: `cpu_s` is the processor time of this thread inside the plan and the renderer on the day with 4 connections
//! (each attempt draws its image again, as the agent does), `ms_per_label` the same per changed price. `completion_s` is
//! what the plan itself expects, asked when the ten minutes are over: seconds from opening until the tags of the opening's
//! changes show them. The text output sets beside it what the simulated radio then did. `harm_seconds` sums, over all three days and all
//! tags, the time in which the till charged more than the glass of the tag showed; [`harm`] watches till and glass on its
//! own and knows nothing of the plan.

mod harm;
mod shop;

use anyhow::{Context, Result, anyhow, ensure};
use drv_protocol::gicisky::{Encoding, Model, StreamHeader};
use drv_render::{Money, Renderer, Template, Values};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use shop::{Day, Order, Outcome};
use std::time::Duration;
use sync_model::{Article, Minor};

/// Changed prices.
const LABELS: u32 = 8_000;
/// Which day.
const SEED: u64 = 20_261_120;
/// Connections at once: adapters, and slots of each.
const RADIOS: [(u8, u16); 3] = [(1, 1), (1, 4), (4, 4)];
/// 212 x 104, black, white, red.
const MODEL: u16 = 0x00B;

/// The everyday template that comes with the daemon.
const TEMPLATE: &str = include_str!("../../../configs/templates/shelf.toml");

/// Draws labels as the agent does, glyphs kept between them.
struct Pen {
    renderer: Renderer,
    template: Template,
    model: Model,
}

impl Pen {
    fn new() -> Result<Self> {
        let template: Template = toml::from_str(TEMPLATE).context("the shelf template")?;
        template.check().map_err(|error| anyhow!("the shelf template: {}: {}", error.path, error.fault))?;
        let model = Model::find(MODEL).context("the tags' model is unknown")?;
        Ok(Self { renderer: Renderer::new(), template, model })
    }

    /// What became of a label: bytes for the radio.
    ///
    /// The one place in which this benchmark draws.
    fn draw(&mut self, article: &Article, price: Minor) -> Result<usize> {
        let sku = article.sku.to_string();
        let values = Values {
            name: article.name.to_string(),
            code: sku.clone(),
            sku,
            currency: "¥".into(),
            ..Values::of_price(Money { minor: price.0, decimals: 2 })
        };
        let picture = self.renderer.render(&self.template, &values, self.model)?;
        let planes = picture.canvas.planes(self.model).context("the panel is not driven by planes")?;
        Ok(std::hint::black_box(planes.encode(Encoding::Lines(StreamHeader::Total))).len())
    }
}

/// Processor time spent in some parts of a run.
#[derive(Debug, Default)]
struct Meter(Duration);

impl Meter {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = cpu();
        let done = work();
        self.0 += cpu().saturating_sub(begin);
        done
    }
}

/// Processor time of this thread.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Runs the three days and prints text or one JSON line. `Ok(false)`: someone was charged more than a label showed.
pub fn tags(as_json: bool) -> Result<bool> {
    let mut days = Vec::new();
    for (adapters, slots) in RADIOS {
        let day =
            Day { labels: LABELS, adapters, slots, seed: SEED, order: Order::Promise, ..Day::default() };
        let outcome = shop::run(day)?;
        ensure!(outcome.unfinished == 0, "{} labels were never shown", outcome.unfinished);
        days.push((u32::from(adapters) * u32::from(slots), outcome));
    }
    let cpu = days.iter().find(|(at_once, _)| *at_once == 4).map(|(_, day)| day.cpu).unwrap_or_default();
    let per_label = cpu.as_secs_f64() * 1_000.0 / f64::from(LABELS);
    let harm: f64 = days.iter().map(|(_, day)| seconds(day.harm_ms)).sum();
    if as_json {
        let completion: serde_json::Map<String, serde_json::Value> = days
            .iter()
            .map(|(at_once, day)| (at_once.to_string(), json!(seconds(day.expected_ms))))
            .collect();
        println!(
            "{}",
            json!({
                "labels": LABELS, "cpu_s": round(cpu.as_secs_f64()), "ms_per_label": round(per_label),
                "completion_s": completion, "harm_seconds": harm,
            })
        );
    } else {
        println!("{LABELS} labels: {:.2} s of processor time, {per_label:.3} ms each", cpu.as_secs_f64());
        days.iter().for_each(|(at_once, day)| println!("{}", line(*at_once, day)));
        println!("charged more than shown: {harm} s");
    }
    Ok(harm == 0.0)
}

fn line(at_once: u32, day: &Outcome) -> String {
    format!(
        "{at_once:>2} connections: opening's {} labels expected after {:.0} s, shown after {:.0} s; whole day after {:.0} s; \
         {} attempts, {} failed; {} set operations per attempt",
        day.opening,
        seconds(day.expected_ms),
        seconds(day.opening_shown_ms),
        seconds(day.all_shown_ms),
        day.attempts,
        day.failed,
        day.operations / u64::from(day.attempts.max(1)),
    )
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(order: Order) -> Day {
        Day { labels: 300, adapters: 1, slots: 4, seed: 5, order, ..Day::default() }
    }

    #[test]
    fn a_day_ends_without_harm_and_the_estimate_is_near() {
        // Enough changes in ten minutes that a queue forms behind one connection.
        let outcome = shop::run(Day { labels: 900, slots: 1, ..day(Order::Promise) }).unwrap();
        assert_eq!((outcome.harm_ms, outcome.unfinished), (0, 0));
        assert!(outcome.risen > 100 && outcome.fallen > 100, "{outcome:?}");
        assert!(outcome.failed > 0, "a radio that never fails shows nothing");
        assert!(outcome.opening_shown_ms > 700_000, "no queue: {outcome:?}");
        let off = outcome.expected_ms.abs_diff(outcome.opening_shown_ms);
        assert!(off * 3 < outcome.opening_shown_ms, "expected after {} ms: {outcome:?}", outcome.expected_ms);
    }

    #[test]
    fn the_same_day_twice_is_the_same() {
        let run = || shop::run(day(Order::Promise)).unwrap();
        let (one, two) = (run(), run());
        assert_eq!(Outcome { cpu: Duration::ZERO, ..one }, Outcome { cpu: Duration::ZERO, ..two });
    }

    #[test]
    fn planted_bugs_are_seen_by_the_harm_watch() {
        for order in [Order::TillAtOnce, Order::TagFirstAlways, Order::NoRefresh] {
            let outcome = shop::run(day(order)).unwrap();
            assert!(outcome.harm_ms > 0, "{order:?} harmed nobody");
        }
    }
}
