//! The tag plan against a simple model: one job per tag, slots, pauses, budgets, no idle slot, no starvation, cost.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

use edge_core::price::TillPrice;
use edge_core::tagplan::{
    AdapterNo, Blocker, Color, Flash, FlashRefusal, Job, Limits, Outcome, Planner, TagNo, TagState, Urgency,
    Want, Work,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use sync_model::Minor;

fn limits() -> Limits {
    Limits {
        attempts: 3,
        retry_min_ms: 100,
        retry_max_ms: 400,
        rest_ms: 5_000,
        starve_ms: 1_000,
        silent_ms: 2_000,
        lost_ms: 4_000,
        settle_ms: 50,
        check_every_ms: 0,
        ..Limits::default()
    }
}

fn show(version: u64) -> TillPrice {
    TillPrice { price: Minor(100), version }
}

fn want(version: u64, due_ms: u64) -> Option<Want> {
    Some(Want { show: show(version), urgency: Urgency::Price, due_ms })
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Act {
    Want { tag: u8, due: u16 },
    Unwant { tag: u8 },
    Heard { tag: u8, adapter: u8, rssi: i16 },
    Flash { tag: u8, order: u8 },
    Adapter { adapter: u8, up: bool },
    End { which: u8, outcome: u8 },
    Wait { ms: u16 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (any::<u8>(), any::<u16>()).prop_map(|(tag, due)| Act::Want { tag, due }),
        1 => any::<u8>().prop_map(|tag| Act::Unwant { tag }),
        4 => (any::<u8>(), any::<u8>(), -100..-40_i16)
            .prop_map(|(tag, adapter, rssi)| Act::Heard { tag, adapter, rssi }),
        1 => (any::<u8>(), any::<u8>()).prop_map(|(tag, order)| Act::Flash { tag, order }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(adapter, up)| Act::Adapter { adapter, up }),
        6 => (any::<u8>(), 0..8_u8).prop_map(|(which, outcome)| Act::End { which, outcome }),
        4 => (0..900_u16).prop_map(|ms| Act::Wait { ms }),
    ]
}

/// What the model knows of a tag.
#[derive(Clone, Debug, Default)]
struct ModelTag {
    want: Option<u64>,
    flashes: Vec<Flash>,
    heard: BTreeMap<u8, u64>,
    running: bool,
    settling_until: Option<u64>,
    not_before: u64,
    /// When it surely may begin again, whatever its pauses.
    rested_at: u64,
    /// Starts since the last success.
    starts: Vec<u64>,
}

/// A store in which everything is kept in the plainest way.
struct Model {
    limits: Limits,
    slots: Vec<u16>,
    up: Vec<bool>,
    running: BTreeMap<u64, (Job, u64)>,
    tags: Vec<ModelTag>,
    version: u64,
    now: u64,
}

impl Model {
    fn new(limits: Limits, slots: &[u16], tags: usize) -> Self {
        Self {
            limits,
            slots: slots.to_vec(),
            up: vec![true; slots.len()],
            running: BTreeMap::new(),
            tags: vec![ModelTag::default(); tags],
            version: 0,
            now: 0,
        }
    }

    fn free(&self, adapter: u8) -> bool {
        let running = self.running.values().filter(|(job, _)| job.adapter.0 == adapter).count();
        self.up[usize::from(adapter)] && running < usize::from(self.slots[usize::from(adapter)])
    }

    /// Everything that must hold of a job that the plan starts.
    fn started(&mut self, job: Job) {
        assert!(self.free(job.adapter.0), "{job:?} without a slot");
        let (now, limits) = (self.now, self.limits);
        let tag = &mut self.tags[job.tag.0 as usize];
        assert!(!tag.running, "two jobs for {:?}", job.tag);
        assert!(tag.settling_until.is_none(), "{job:?} while its panel refreshes");
        let heard = tag.heard.get(&job.adapter.0).expect("an adapter that heard the tag");
        assert!(now - heard < limits.silent_ms, "{job:?} of a silent tag");
        assert!(now >= tag.not_before, "{job:?} before its pause is over");
        match job.work {
            Work::Image(show) => assert_eq!(tag.want, Some(show.version), "another image"),
            Work::Flash(flash) => assert!(flash.until_ms > now && tag.flashes.contains(&flash), "{flash:?}"),
            Work::Check(_) => panic!("a check that nobody asked for"),
        }
        tag.starts.push(now);
        let window = tag.starts.iter().filter(|at| now - **at < limits.rest_ms).count();
        assert!(window <= usize::from(limits.attempts), "{} attempts in {} ms", window, limits.rest_ms);
        tag.running = true;
        self.running.insert(job.number, (job, now));
    }

    /// A job that fails, and when the tag may be tried again at the earliest.
    fn ended(&mut self, number: u64, outcome: Outcome) {
        let (job, _) = self.running.remove(&number).unwrap();
        let tag = &mut self.tags[job.tag.0 as usize];
        tag.running = false;
        match outcome {
            Outcome::Done => {
                tag.starts.clear();
                (tag.not_before, tag.rested_at) = (0, 0);
                match job.work {
                    Work::Image(_) => tag.settling_until = Some(self.now + self.limits.settle_ms),
                    Work::Flash(flash) => tag.flashes.retain(|other| *other != flash),
                    Work::Check(_) => {}
                }
            }
            Outcome::Failed => {
                tag.not_before = self.now + self.limits.retry_min_ms;
                tag.rested_at = self.now + self.limits.rest_ms;
            }
            Outcome::NotStarted => {
                tag.starts.pop();
                tag.not_before = self.now + self.limits.retry_min_ms;
                tag.rested_at = tag.not_before;
            }
            Outcome::Differs => unreachable!(),
        }
    }

    /// No slot stays free while a tag that only this adapter hears waits for it, longest pause over.
    fn no_idle_slot(&self) {
        for (number, tag) in self.tags.iter().enumerate() {
            let works = tag.want.is_some() || tag.flashes.iter().any(|flash| flash.until_ms > self.now);
            let rested = self.now >= tag.rested_at;
            if !works || tag.running || tag.settling_until.is_some() || !rested || tag.not_before > self.now {
                continue;
            }
            for (adapter, heard) in &tag.heard {
                let reachable = self.now - heard < self.limits.silent_ms && tag.heard.len() == 1;
                assert!(!reachable || !self.free(*adapter), "tag {number} waits beside a free slot");
            }
        }
    }
}

fn apply(plan: &mut Planner, model: &mut Model, act: Act) {
    let tags = model.tags.len();
    let adapters = model.slots.len();
    let now = model.now;
    let tag = |tag: u8| (TagNo(u32::from(tag) % tags as u32), usize::from(tag) % tags);
    match act {
        Act::Want { tag: which, due } => {
            let (number, index) = tag(which);
            model.version += 1;
            model.tags[index].want = Some(model.version);
            plan.handle_want(number, want(model.version, now + u64::from(due)), now);
        }
        Act::Unwant { tag: which } => {
            let (number, index) = tag(which);
            model.tags[index].want = None;
            plan.handle_want(number, None, now);
        }
        Act::Heard { tag: which, adapter, rssi } => {
            let (number, index) = tag(which);
            let adapter = adapter % adapters as u8;
            model.tags[index].heard.insert(adapter, now);
            plan.handle_heard(number, AdapterNo(adapter), Some(rssi), None, now);
        }
        Act::Flash { tag: which, order } => {
            let (number, index) = tag(which);
            let order = u64::from(order % 9);
            let color = Color::ALL[order as usize % Color::ALL.len()];
            let flash = Flash { order, color, until_ms: now + 3_000 };
            match plan.handle_flash(flash, &[number], now) {
                Ok(()) => {
                    model.tags[index].flashes.retain(|other| other.order != order);
                    model.tags[index].flashes.push(flash);
                }
                Err(refusal) => assert!(matches!(refusal, FlashRefusal::ColorTaken { .. }), "{refusal}"),
            }
        }
        Act::Adapter { adapter, up } => {
            let adapter = adapter % adapters as u8;
            model.up[usize::from(adapter)] = up;
            plan.handle_adapter(AdapterNo(adapter), up, now);
        }
        Act::End { which, outcome } => end(plan, model, which, outcome),
        Act::Wait { ms } => model.now += u64::from(ms),
    }
}

fn end(plan: &mut Planner, model: &mut Model, which: u8, outcome: u8) {
    let numbers: Vec<u64> = model.running.keys().copied().collect();
    let Some(number) = numbers.get(usize::from(which) % numbers.len().max(1)).copied() else { return };
    let outcome = match outcome {
        0..=3 => Outcome::Done,
        4..=6 => Outcome::Failed,
        _ => Outcome::NotStarted,
    };
    let job = plan.handle_ended(number, outcome, model.now).unwrap();
    assert_eq!(job, model.running[&number].0);
    model.ended(number, outcome);
    assert_eq!(plan.handle_ended(number, outcome, model.now), None, "a second answer counts for nothing");
}

/// What the caller does after each event.
fn turn(plan: &mut Planner, model: &mut Model) -> Vec<Job> {
    let now = model.now;
    let overdue: BTreeSet<u64> = model
        .running
        .iter()
        .filter(|(_, (_, since))| now - since >= model.limits.lost_ms)
        .map(|(number, _)| *number)
        .collect();
    let mut lost = BTreeSet::new();
    while let Some(job) = plan.poll_lost(now) {
        lost.insert(job.number);
        model.ended(job.number, Outcome::Failed);
    }
    assert_eq!(lost, overdue);
    for tag in &mut model.tags {
        tag.flashes.retain(|flash| flash.until_ms > now);
    }
    while let Some((number, shown)) = plan.poll_settled(now) {
        let tag = &mut model.tags[number.0 as usize];
        assert!(tag.settling_until.take().is_some_and(|until| until <= now), "settled too early");
        assert_eq!(plan.shown(number), None, "not durable yet");
        plan.handle_confirmed(number, shown, now);
        assert_eq!(plan.shown(number), Some(shown));
        tag.want = tag.want.filter(|version| *version != shown.version);
    }
    let mut jobs = Vec::new();
    while let Some(job) = plan.poll_job(now) {
        model.started(job);
        jobs.push(job);
    }
    model.no_idle_slot();
    jobs
}

fn run(slots: &[u16], tags: usize, acts: &[Act]) -> Vec<Job> {
    let mut plan = Planner::new(limits(), 7);
    let mut model = Model::new(limits(), slots, tags);
    slots.iter().for_each(|slots| {
        plan.add_adapter(*slots, 0).unwrap();
    });
    (0..tags).for_each(|_| {
        plan.add_tag(true, 0).unwrap();
    });
    let mut jobs = Vec::new();
    for act in acts {
        apply(&mut plan, &mut model, *act);
        jobs.extend(turn(&mut plan, &mut model));
        let report = plan.report(model.now);
        let wanted = model.tags.iter().filter(|tag| tag.want.is_some()).count();
        assert_eq!(report.images as usize, wanted);
    }
    jobs
}

proptest! {
    /// One job per tag, slots, pauses, budgets, silence, no idle slot; and the same events give the same jobs.
    #[test]
    fn the_plan_keeps_its_rules(
        slots in proptest::collection::vec(1..4_u16, 1..4),
        tags in 1..12_usize,
        acts in proptest::collection::vec(act(), 1..250),
    ) {
        prop_assert_eq!(run(&slots, tags, &acts), run(&slots, tags, &acts));
    }

    /// Of n images ready for `starve_ms`, each is started within 2n starts, under any load of flashes and deadlines.
    #[test]
    fn no_image_starves(
        slots in 1..4_u16,
        steps in proptest::collection::vec((any::<u8>(), any::<u16>(), any::<bool>(), 0..400_u16), 50..400),
    ) {
        const TAGS: u32 = 10;
        let limits = Limits { silent_ms: u64::MAX, settle_ms: 0, ..limits() };
        let mut plan = Planner::new(limits, 0);
        let adapter = plan.add_adapter(slots, 0).unwrap();
        for number in 0..TAGS {
            plan.add_tag(true, 0).unwrap();
            plan.handle_heard(TagNo(number), adapter, Some(-60), None, 0);
        }
        // Tag -> ready since; tag -> starts since it is overdue, and their bound.
        let mut ready: BTreeMap<u32, u64> = BTreeMap::new();
        let mut waited: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        let mut busy: BTreeMap<u64, u32> = BTreeMap::new();
        let mut now = 0;
        for (step, (which, due, flash, pass)) in steps.into_iter().enumerate() {
            now += u64::from(pass);
            let tag = u32::from(which) % TAGS;
            if flash {
                let order = u64::from(which % 7);
                let flash = Flash { order, color: Color::ALL[order as usize], until_ms: now + 50_000 };
                plan.handle_flash(flash, &[TagNo(tag)], now).unwrap();
            } else {
                plan.handle_want(TagNo(tag), want(step as u64 + 1, now + u64::from(due)), now);
                if !busy.values().any(|other| *other == tag) {
                    ready.entry(tag).or_insert(now);
                }
            }
            // The oldest job ends, so that slots stay contended.
            if step % 2 == 0 && let Some((number, tag)) = busy.pop_first() {
                plan.handle_ended(number, Outcome::Done, now).unwrap();
                while let Some((tag, shown)) = plan.poll_settled(now) {
                    plan.handle_confirmed(tag, shown, now);
                }
                if plan.want(TagNo(tag)).is_some() {
                    ready.entry(tag).or_insert(now);
                }
            }
            while let Some(job) = plan.poll_job(now) {
                let overdue: Vec<(u64, u32)> = ready
                    .iter()
                    .filter(|(_, since)| now - **since >= limits.starve_ms)
                    .map(|(tag, since)| (*since, *tag))
                    .collect();
                for (since, tag) in &overdue {
                    let ahead = overdue.iter().filter(|other| **other <= (*since, *tag)).count();
                    let (starts, bound) = waited.entry(*tag).or_insert((0, 2 * ahead));
                    *starts += 1;
                    prop_assert!(starts <= bound, "tag {} waited {} starts, bound {}", tag, starts, bound);
                }
                ready.remove(&job.tag.0);
                waited.remove(&job.tag.0);
                busy.insert(job.number, job.tag.0);
            }
        }
    }
}

/// A plan with one adapter per signal; one tag, heard by each at that signal.
fn heard(limits: Limits, signals: &[i16]) -> Planner {
    let mut plan = Planner::new(limits, 0);
    plan.add_tag(false, 0).unwrap();
    for signal in signals {
        let adapter = plan.add_adapter(1, 0).unwrap();
        plan.handle_heard(TagNo(0), adapter, Some(*signal), Some(3_000), 0);
    }
    plan
}

#[test]
fn the_adapter_that_hears_best_serves_and_failures_cost_it() {
    let mut plan = heard(Limits { rest_ms: 100, ..limits() }, &[-70, -60, -80]);
    plan.handle_want(TagNo(0), want(1, 0), 0);
    let mut now = 0;
    let mut by = Vec::new();
    for _ in 0..5 {
        let job = plan.poll_job(now).unwrap();
        by.push(job.adapter.0);
        plan.handle_ended(job.number, Outcome::Failed, now).unwrap();
        now += 400;
        (0..3).for_each(|adapter| {
            plan.handle_heard(
                TagNo(0),
                AdapterNo(adapter),
                Some([-70, -60, -80][usize::from(adapter)]),
                None,
                now,
            );
        });
    }
    // -60, then -66, then -72 < -70: each failure in a row costs 6 dB.
    assert_eq!(by, [1, 1, 0, 1, 0]);
    // One good signal does not outweigh a history.
    let mut plan = heard(limits(), &[-70, -60]);
    plan.handle_heard(TagNo(0), AdapterNo(0), Some(-50), None, 1);
    plan.handle_want(TagNo(0), want(1, 0), 1);
    assert_eq!(plan.poll_job(1).unwrap().adapter, AdapterNo(1));
}

#[test]
fn an_idle_adapter_takes_over_what_it_hears_nearly_as_well() {
    for (other, takes) in [(-72, true), (-73, false)] {
        let mut plan = Planner::new(limits(), 0);
        let (near, far) = (plan.add_adapter(1, 0).unwrap(), plan.add_adapter(1, 0).unwrap());
        for number in 0..2 {
            plan.add_tag(false, 0).unwrap();
            plan.handle_heard(TagNo(number), near, Some(-60), None, 0);
            plan.handle_heard(TagNo(number), far, Some(other), None, 0);
            plan.handle_want(TagNo(number), want(1, 0), 0);
        }
        assert_eq!(plan.poll_job(0).unwrap().adapter, near);
        assert_eq!(plan.poll_job(0).map(|job| job.adapter), takes.then_some(far), "at {other} dBm");
    }
}

#[test]
fn a_weak_battery_postpones_a_layout_and_no_price() {
    let limits = Limits { weak_mv: 2_500, weak_wait_ms: 10_000, silent_ms: u64::MAX, ..limits() };
    let layout = Want { show: show(1), urgency: Urgency::Layout, due_ms: 50_000 };
    let mut plan = heard(limits, &[-60]);
    plan.handle_heard(TagNo(0), AdapterNo(0), None, Some(2_400), 0);
    plan.handle_want(TagNo(0), Some(layout), 0);
    assert!(plan.poll_job(9_999).is_none());
    let blocked = TagState::Blocked(Blocker::Battery { mv: 2_400, until_ms: 10_000 });
    assert_eq!(plan.report_tag(TagNo(0), 9_999).unwrap().state, blocked);
    assert_eq!((plan.report(9_999).blocked.battery, plan.poll_wake()), (1, Some(10_000)));
    assert!(plan.poll_job(10_000).is_some(), "a stated time is enough");

    let mut plan = heard(limits, &[-60]);
    plan.handle_heard(TagNo(0), AdapterNo(0), None, Some(2_400), 0);
    plan.handle_want(TagNo(0), Some(layout), 0);
    plan.handle_heard(TagNo(0), AdapterNo(0), None, Some(3_000), 5);
    assert!(plan.poll_job(5).is_some(), "a new battery");

    let mut plan = heard(limits, &[-60]);
    plan.handle_heard(TagNo(0), AdapterNo(0), None, Some(2_400), 0);
    plan.handle_want(TagNo(0), want(2, 0), 0);
    assert!(plan.poll_job(0).is_some(), "a price does not wait");
}

#[test]
fn blockers_say_what_since_when_and_until_when() {
    let state = |plan: &Planner, now| plan.report_tag(TagNo(0), now).unwrap().state;
    let mut plan = heard(limits(), &[]);
    let adapter = plan.add_adapter(1, 0).unwrap();
    plan.handle_want(TagNo(0), want(1, 500), 0);
    assert_eq!(state(&plan, 0), TagState::Blocked(Blocker::Silent { since_ms: None }));
    assert_eq!(plan.report(0).done_ms, None, "nobody knows");
    plan.handle_heard(TagNo(0), adapter, Some(-60), None, 10);
    assert_eq!(state(&plan, 20), TagState::Ready);
    plan.handle_adapter(adapter, false, 30);
    let lost = TagState::Blocked(Blocker::AdapterLost { adapter, since_ms: 30 });
    assert!(plan.poll_job(40).is_none());
    assert_eq!(
        (state(&plan, 40), state(&plan, 9_000)),
        (lost, lost),
        "also when it cannot be heard any more"
    );
    plan.handle_adapter(adapter, true, 100);
    let mut now = 100;
    for failed in 1..=3 {
        let job = plan.poll_job(now).unwrap();
        plan.handle_ended(job.number, Outcome::Failed, now).unwrap();
        let report = plan.report(now);
        match state(&plan, now) {
            TagState::Blocked(Blocker::Pausing { failed: found, until_ms }) => {
                assert_eq!((found, report.blocked.pausing), (failed, 1));
                assert!(failed < 3);
                now = until_ms;
            }
            TagState::Blocked(Blocker::Spent { failed: found, until_ms }) => {
                assert_eq!((found, until_ms, report.blocked.spent), (3, now + 5_000, 1));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(plan.report(now).late, 0);
    assert_eq!(plan.report(501).late, 1);
    assert_eq!(state(&plan, now + 4_999 + 2_000), TagState::Blocked(Blocker::Silent { since_ms: Some(10) }));
}

#[test]
fn drift_checks_take_their_share_of_the_air_and_what_differs_is_uncertain() {
    let limits = Limits {
        check_every_ms: 100_000,
        check_permille: 50,
        silent_ms: u64::MAX,
        assumed_ms: 1_000,
        ..limits()
    };
    let mut plan = Planner::new(limits, 0);
    let adapter = plan.add_adapter(2, 0).unwrap();
    for number in 0..200 {
        plan.add_tag(false, 0).unwrap();
        plan.handle_heard(TagNo(number), adapter, Some(-60), None, 0);
        plan.handle_confirmed(TagNo(number), show(1), 0);
    }
    let mut air = 0;
    let mut checked = BTreeSet::new();
    let mut running: Option<(u64, u64)> = None;
    for now in (0..2_000_000).step_by(100) {
        if let Some((number, since)) = running.filter(|(_, since)| now - since >= 1_000) {
            plan.handle_ended(number, Outcome::Done, now).unwrap();
            air += now - since;
            running = None;
        }
        while let Some(job) = plan.poll_job(now) {
            assert_eq!(job.work, Work::Check(show(1)));
            assert!(running.replace((job.number, now)).is_none(), "one check at a time");
            checked.insert(job.tag);
        }
        let share = now * 2 * 50 / 1_000;
        assert!(air <= share + 61_000, "{air} ms of {share}");
    }
    assert!(air >= 2_000_000 * 2 * 50 / 1_000 * 9 / 10, "the share is used: {air}");
    assert!(checked.len() > 150, "every tag has its turn: {}", checked.len());

    let mut plan = heard(Limits { check_every_ms: 1, check_permille: 1_000, ..limits }, &[-60]);
    plan.handle_confirmed(TagNo(0), show(1), 0);
    let job = plan.poll_job(10_000).unwrap();
    plan.handle_ended(job.number, Outcome::Differs, 10_001).unwrap();
    assert_eq!((plan.shown(TagNo(0)), plan.drifted()), (None, 1));
    assert!(plan.poll_job(1_000_000).is_none(), "nothing to check against");
    plan.handle_want(TagNo(0), want(1, 0), 1_000_000);
    assert!(matches!(plan.poll_job(1_000_000).unwrap().work, Work::Image(_)), "images go before checks");
}

#[test]
fn flashes_jump_the_queue_in_one_colour_per_order() {
    let mut plan = Planner::new(Limits { silent_ms: u64::MAX, settle_ms: 0, ..limits() }, 0);
    let adapter = plan.add_adapter(1, 0).unwrap();
    for number in 0..4 {
        plan.add_tag(number != 3, 0).unwrap();
        plan.handle_heard(TagNo(number), adapter, Some(-60), None, 0);
        plan.handle_want(TagNo(number), want(1, 0), 0);
    }
    let flash = |order, color| Flash { order, color, until_ms: 900 };
    plan.handle_flash(flash(1, Color::Red), &[TagNo(2)], 0).unwrap();
    let refused = |plan: &mut Planner, order, color, tag| {
        plan.handle_flash(flash(order, color), &[TagNo(2), TagNo(tag)], 0).unwrap_err()
    };
    assert_eq!(
        refused(&mut plan, 1, Color::Blue, 2),
        FlashRefusal::OtherColor { order: 1, has: Color::Red, asked: Color::Blue }
    );
    let taken = FlashRefusal::ColorTaken { color: Color::Red, by: 1 };
    assert_eq!(refused(&mut plan, 2, Color::Red, 2), taken);
    assert_eq!(refused(&mut plan, 2, Color::Blue, 3), FlashRefusal::NoLed(TagNo(3)));
    assert_eq!(refused(&mut plan, 2, Color::Blue, 9), FlashRefusal::Unknown(TagNo(9)));
    let over = plan.handle_flash(Flash { until_ms: 0, ..flash(2, Color::Blue) }, &[TagNo(2)], 0);
    assert_eq!(over, Err(FlashRefusal::Over));
    let many = vec![TagNo(0); 300];
    assert_eq!(plan.handle_flash(flash(2, Color::Blue), &many, 0), Err(FlashRefusal::TooMany));

    let job = plan.poll_job(0).unwrap();
    assert_eq!((job.tag, job.work), (TagNo(2), Work::Flash(flash(1, Color::Red))));
    plan.handle_ended(job.number, Outcome::Done, 10).unwrap();
    assert!(matches!(plan.poll_job(10).unwrap().work, Work::Image(_)));
    assert_eq!(plan.handle_order_done(1, 20), [TagNo(2)]);
    plan.handle_flash(flash(2, Color::Red), &[TagNo(2)], 20).unwrap();
    assert_eq!((plan.report(899).flashes, plan.missed_flashes()), (1, 0));
    plan.poll_job(900);
    assert_eq!((plan.report(900).flashes, plan.missed_flashes()), (0, 1), "its time is over");
    assert_eq!(plan.order_of(Color::Red), None);
}

/// 20,000 tags, every one written once: the work per tag does not grow with their number.
#[test]
fn a_hypermarket_is_planned_with_bounded_work() {
    let work_per_tag = |tags: u32| {
        let mut plan = Planner::new(Limits { settle_ms: 0, silent_ms: u64::MAX, ..limits() }, 0);
        let adapters = [plan.add_adapter(4, 0).unwrap(), plan.add_adapter(4, 0).unwrap()];
        for number in 0..tags {
            plan.add_tag(false, 0).unwrap();
            for adapter in adapters {
                plan.handle_heard(TagNo(number), adapter, Some(-60 - i16::from(adapter.0)), None, 0);
            }
            plan.handle_want(TagNo(number), want(1, u64::from(number)), 0);
        }
        let mut written = 0;
        let mut now = 0;
        while written < tags {
            let jobs: Vec<Job> = std::iter::from_fn(|| plan.poll_job(now)).collect();
            now = if jobs.is_empty() { plan.poll_wake().unwrap() } else { now + 1 };
            for job in jobs {
                // Every seventh attempt fails.
                let outcome = if job.number.is_multiple_of(7) { Outcome::Failed } else { Outcome::Done };
                plan.handle_ended(job.number, outcome, now).unwrap();
            }
            while let Some((tag, shown)) = plan.poll_settled(now) {
                plan.handle_confirmed(tag, shown, now);
                written += 1;
            }
        }
        plan.operations() / u64::from(tags)
    };
    let (small, large) = (work_per_tag(200), work_per_tag(20_000));
    assert!(
        large <= 60 && large <= small + small / 2,
        "operations per tag: {small} of 200, {large} of 20000"
    );
    let mut full = Planner::new(limits(), 0);
    (0..20_000).for_each(|_| {
        full.add_tag(false, 0).unwrap();
    });
    assert!(full.add_tag(false, 0).is_err());
}
