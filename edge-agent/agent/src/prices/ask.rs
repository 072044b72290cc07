//! What people and pickers ask the price pump.

use edge_api::{HeldRise, TagPlan, TagRow, TagsBlocked};
use edge_core::Moment;
use edge_core::shelf::Shelf;
use edge_core::tagplan::{Blocker, Color, Flash, FlashRefusal, TagNo, TagState};
use sync_model::DeviceId;
use tokio::sync::oneshot;

/// Rises in one answer.
const HELD_MAX: usize = 100;

/// A question; an answer that nobody waits for any more is dropped.
#[derive(Debug)]
pub enum Ask {
    /// How far the plan is.
    Plan(oneshot::Sender<TagPlan>),
    /// The tags.
    Tags {
        /// Only those that are blocked or uncertain.
        bad: bool,
        /// At most so many.
        limit: usize,
        /// Goes here.
        answer: oneshot::Sender<Vec<TagRow>>,
    },
    /// Flash an order's tags.
    Flash {
        /// The order.
        order: u64,
        /// Its colour.
        color: Color,
        /// Its tags.
        tags: Vec<DeviceId>,
        /// For so long.
        seconds: u32,
        /// Goes here.
        answer: oneshot::Sender<Result<(), NoFlash>>,
    },
    /// An order is picked: gives how many tags it had.
    OrderDone {
        /// The order.
        order: u64,
        /// Goes here.
        answer: oneshot::Sender<usize>,
    },
}

/// Why an order is not flashed: a stable word for programs, a sentence for people.
#[derive(Debug)]
pub struct NoFlash {
    /// `unknown-tag`, `no-led`, `other-color`, `color-taken`, `too-many-tags` or `over`.
    pub code: &'static str,
    /// What was expected, what was found.
    pub message: String,
}

/// Answers.
pub(super) fn answer(shelf: &mut Shelf, ask: Ask, now: Moment) {
    match ask {
        Ask::Plan(answer) => drop(answer.send(plan(shelf, now))),
        Ask::Tags { bad, limit, answer } => {
            let rows = shelf.tags().filter_map(|(id, tag)| row(shelf, id, tag, now));
            let wanted = |row: &TagRow| {
                !bad || row.uncertain
                    || !matches!(row.state.as_str(), "idle" | "ready" | "running" | "settling")
            };
            drop(answer.send(rows.filter(wanted).take(limit).collect()));
        }
        Ask::Flash { order, color, tags, seconds, answer } => {
            let until_ms = now.mono_ms.saturating_add(u64::from(seconds).saturating_mul(1_000));
            let flash = Flash { order, color, until_ms };
            drop(answer.send(start(shelf, flash, &tags, now.mono_ms)));
        }
        Ask::OrderDone { order, answer } => {
            let tags = shelf.handle_order_done(order, now.mono_ms).len();
            if answer.send(tags).is_err() {
                tracing::debug!(order, "nobody waits to hear that the order is picked");
            }
        }
    }
}

fn start(shelf: &mut Shelf, flash: Flash, tags: &[DeviceId], now_ms: u64) -> Result<(), NoFlash> {
    let number = |id: &DeviceId| {
        let message = || format!("expected a configured tag, found {id}");
        shelf.tag(id).ok_or_else(|| NoFlash { code: "unknown-tag", message: message() })
    };
    let tags: Vec<TagNo> = tags.iter().map(number).collect::<Result<_, _>>()?;
    shelf.handle_flash(flash, &tags, now_ms).map_err(|refusal| refused(shelf, &refusal))
}

fn refused(shelf: &Shelf, refusal: &FlashRefusal) -> NoFlash {
    let name = |tag: &TagNo| shelf.id(*tag).map_or_else(|| "a tag".to_owned(), ToString::to_string);
    let (code, message) = match refusal {
        FlashRefusal::Unknown(tag) => ("unknown-tag", format!("{} is not in the plan", name(tag))),
        FlashRefusal::NoLed(tag) => (
            "no-led",
            format!(
                "the family of {} has no LED that a public protocol drives; no tag of the order flashes",
                name(tag)
            ),
        ),
        FlashRefusal::OtherColor { .. } => ("other-color", refusal.to_string()),
        FlashRefusal::ColorTaken { .. } => ("color-taken", refusal.to_string()),
        FlashRefusal::TooMany => ("too-many-tags", refusal.to_string()),
        FlashRefusal::Over => ("over", refusal.to_string()),
    };
    NoFlash { code, message }
}

/// Wall time of a moment of the monotonic clock.
fn wall(at_ms: u64, now: Moment) -> i64 {
    let from_now = i128::from(at_ms) - i128::from(now.mono_ms);
    i64::try_from(i128::from(now.wall.0) + from_now).unwrap_or(i64::MAX)
}

fn plan(shelf: &Shelf, now: Moment) -> TagPlan {
    let report = shelf.plan().report(now.mono_ms);
    let blocked = report.blocked;
    let held = |rise: edge_core::shelf::Held| HeldRise {
        sku: rise.sku.0,
        till_minor: rise.till.price.0,
        next_minor: rise.next.price.0,
        tags: rise.by.iter().map(ToString::to_string).collect(),
    };
    TagPlan {
        images: report.images,
        ready: report.ready,
        running: report.running,
        settling: report.settling,
        blocked: TagsBlocked {
            adapter_lost: blocked.adapter_lost,
            silent: blocked.silent,
            pausing: blocked.pausing,
            spent: blocked.spent,
            battery: blocked.battery,
        },
        late: report.late,
        flashes: report.flashes,
        oldest_ms: report.oldest_ms.map(|at| wall(at, now)),
        done_ms: report.done_ms.map(|at| wall(at, now)),
        held: shelf.held().take(HELD_MAX).map(held).collect(),
    }
}

fn row(shelf: &Shelf, id: &DeviceId, tag: TagNo, now: Moment) -> Option<TagRow> {
    let report = shelf.plan().report_tag(tag, now.mono_ms)?;
    let (state, since, until) = match report.state {
        TagState::Idle => ("idle", None, None),
        TagState::Ready => ("ready", report.since_ms, None),
        TagState::Running { since_ms, .. } => ("running", Some(since_ms), None),
        TagState::Settling => ("settling", report.since_ms, None),
        TagState::Blocked(blocker) => match blocker {
            Blocker::AdapterLost { since_ms, .. } => ("adapter-lost", Some(since_ms), None),
            Blocker::Silent { since_ms } => ("silent", since_ms, None),
            Blocker::Pausing { until_ms, .. } => ("pausing", report.since_ms, Some(until_ms)),
            Blocker::Spent { until_ms, .. } => ("spent", report.since_ms, Some(until_ms)),
            Blocker::Battery { until_ms, .. } => ("battery", report.since_ms, Some(until_ms)),
        },
    };
    Some(TagRow {
        id: id.to_string(),
        sku: shelf.sku(tag)?.0,
        confirmed_minor: report.confirmed.map(|show| show.price.0),
        uncertain: report.uncertain,
        wanted_minor: report.want.map(|want| want.show.price.0),
        state: state.into(),
        since_ms: since.map(|at| wall(at, now)),
        until_ms: until.map(|at| wall(at, now)),
        failed: report.failed,
        battery_mv: report.battery_mv,
        rssi: report.rssi_dbm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_core::price::TillPrice;
    use edge_core::tagplan::{AdapterNo, Limits, Outcome};
    use sync_model::{Article, Milli, Minor, Sku, StockUnit, Text, UnixMillis};

    /// Two tags of article 7, the second one silent, at 10.00; HQ wants 12.00.
    fn shelf() -> Shelf {
        let mut shelf = Shelf::new(Limits::default(), 60_000, 0);
        shelf.add_adapter(1, 0).unwrap();
        let was = TillPrice { price: Minor(1_000), version: 1 };
        for name in ["tag-1", "tag-2"] {
            let tag = shelf.add_tag(DeviceId::new(name).unwrap(), Sku(7), name == "tag-1", 0).unwrap();
            shelf.handle_confirmed(tag, Sku(7), was, 0);
        }
        shelf.handle_heard(TagNo(0), AdapterNo(0), Some(-60), Some(2_900), 0);
        let article = Article {
            sku: Sku(7),
            version: 2,
            name: Text::lossy("bun"),
            unit: StockUnit::Piece,
            price: Minor(1_200),
            tax_rate: 900,
            effective: UnixMillis(0),
            safety: Milli(0),
            active: true,
        };
        shelf.handle_article(article, Some(was));
        shelf.poll_changes(Moment::new(1_000, 901_000), 10);
        shelf
    }

    fn ask<T>(shelf: &mut Shelf, now: Moment, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> T {
        let (sender, mut answered) = oneshot::channel();
        answer(shelf, make(sender), now);
        answered.try_recv().unwrap()
    }

    #[test]
    fn plan_and_tags_say_what_waits_for_whom_in_wall_time() {
        let mut shelf = shelf();
        let now = Moment::new(2_000, 902_000);
        let job = shelf.poll_job(2_000).unwrap();
        shelf.handle_ended(job.number, Outcome::Failed, 2_000).unwrap();
        let plan = ask(&mut shelf, now, Ask::Plan);
        assert_eq!((plan.images, plan.blocked.silent, plan.blocked.pausing), (2, 1, 1));
        assert_eq!(plan.oldest_ms, Some(901_000));
        assert!(plan.done_ms.is_some_and(|at| at > 907_000), "{plan:?}");
        assert_eq!((plan.held[0].till_minor, plan.held[0].next_minor), (1_000, 1_200));
        assert_eq!(plan.held[0].tags, ["tag-1", "tag-2"]);
        let tags = |bad, limit| move |answer| Ask::Tags { bad, limit, answer };
        let rows = ask(&mut shelf, now, tags(true, 10));
        let brief: Vec<_> = rows
            .iter()
            .map(|row| (row.id.as_str(), row.state.as_str(), row.until_ms, row.uncertain))
            .collect();
        assert_eq!(brief, [("tag-1", "pausing", Some(907_000), true), ("tag-2", "silent", None, false)]);
        assert_eq!(rows[0].confirmed_minor, Some(1_000));
        assert_eq!(ask(&mut shelf, now, tags(false, 1)).len(), 1);
    }

    #[test]
    fn flashes_are_refused_by_name() {
        let mut shelf = shelf();
        let now = Moment::new(2_000, 902_000);
        let mut flash = |order, color, tags: &[&str]| {
            let tags = tags.iter().map(|tag| DeviceId::new(tag).unwrap()).collect();
            ask(&mut shelf, now, |answer| Ask::Flash { order, color, tags, seconds: 60, answer })
        };
        let refused = flash(1, Color::Red, &["tag-1", "tag-2"]).unwrap_err();
        assert!(refused.code == "no-led" && refused.message.contains("tag-2"), "{}", refused.message);
        assert_eq!(flash(1, Color::Red, &["tag-9"]).unwrap_err().code, "unknown-tag");
        flash(1, Color::Red, &["tag-1"]).unwrap();
        assert_eq!(flash(1, Color::Blue, &["tag-1"]).unwrap_err().code, "other-color");
        assert_eq!(flash(2, Color::Red, &["tag-1"]).unwrap_err().code, "color-taken");
        assert_eq!(ask(&mut shelf, now, |answer| Ask::OrderDone { order: 1, answer }), 1);
    }
}
