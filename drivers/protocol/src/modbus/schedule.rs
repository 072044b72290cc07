//! Which unit of a bus is visited next: a schedule that mute units cannot disturb. Pure: time is an argument, in milliseconds.
//!
//! Contract
//! * A unit that answers is due every `interval_ms`, counted from its last due time and not from its last visit, so that
//!   delays do not add up; due times that were missed are skipped, never made up for in a burst.
//! * First visits follow one another at `spacing_ms`. Units of one line stand close together, so that the rest of the interval
//!   is one piece of idle time, in which a silent unit can be waited for without anybody noticing.
//! * A silent visit opens a unit's breaker: from its next turn on it is only probed, ever more rarely up to `probe_max_ms`, each
//!   time at the price of at most `probe_ms`. Its first answer closes the breaker, and it is back in its old step. So a unit
//!   that falls mute costs the others one full answer timeout, once.
//! * A probe is made when it fits into the idle time before the next healthy unit is due. On a bus that has had no such idle
//!   time for two intervals it is made all the same, but only out of a budget of `probe_permille` of the bus's time: that is all that mute units, however
//!   many, can cost the others.
//! * Memory and work per decision are bounded by the number of units.
//!
//! Source of the idea: the circuit breaker of M. Nygard, "Release It!" (closed, open, half-open). RTU has one master and no
//! other means against a mute slave than not asking it (Modbus over Serial Line V1.02, 2.4.1).

use alloc::vec::Vec;

/// Probes saved up at most: a bus that was quiet for an hour does not spend it on probes in a row.
const SAVED_PROBES_MAX: u64 = 2;

/// What holds for a whole bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusPlan {
    /// What a probe costs at most; see [`Schedule::set_probe_ms`].
    pub probe_ms: u64,
    /// Time between the first visits of neighbours.
    pub spacing_ms: u64,
    /// How rarely a mute unit is probed in the end.
    pub probe_max_ms: u64,
    /// So many thousandths of the bus's time may go to probes that hold up others.
    pub probe_permille: u16,
}

/// What holds for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitPlan {
    /// Time between two visits.
    pub interval_ms: u64,
}

/// How a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something was heard, good or bad.
    Heard,
    /// Nothing was heard.
    Silent,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Visit a unit in full.
    Visit(usize),
    /// Ask a unit whose breaker is open one thing.
    Probe(usize),
    /// Nothing before this time.
    Wait(u64),
    /// There is no unit.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    interval_ms: u64,
    due: u64,
    /// A due time: all others are whole intervals from it.
    step: u64,
    /// While the breaker is open: the pause after the next silent probe.
    pause_ms: Option<u64>,
}

/// The schedule of one bus.
#[derive(Clone, Debug)]
pub struct Schedule {
    bus: BusPlan,
    units: Vec<Unit>,
    /// Probe time in thousandths of a millisecond: grows with time, shrinks with probes that hold others up.
    budget: u64,
    counted: u64,
    /// The unit under way was taken out of the budget.
    on_budget: bool,
}

impl Schedule {
    /// A schedule that begins at `now`.
    #[must_use]
    pub fn new(bus: BusPlan, units: &[UnitPlan], now: u64) -> Self {
        let unit = |(index, plan): (usize, &UnitPlan)| {
            let offset = u64::try_from(index).unwrap_or(0).saturating_mul(bus.spacing_ms);
            let interval_ms = plan.interval_ms.max(1);
            // Within the first interval, so that nobody waits longer than that for the first visit.
            let due = now.saturating_add(offset % interval_ms);
            Unit { interval_ms, due, step: due, pause_ms: None }
        };
        let units = units.iter().enumerate().map(unit).collect();
        Self { bus, units, budget: 0, counted: now, on_budget: false }
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: u64) -> Turn {
        self.save(now);
        let healthy = self.soonest(|unit| unit.pause_ms.is_none());
        let mute = self.soonest(|unit| unit.pause_ms.is_some());
        let Some((probe, probe_due)) = mute else {
            return match healthy {
                Some((index, due)) if due <= now => Turn::Visit(index),
                Some((_, due)) => Turn::Wait(due),
                None => Turn::Never,
            };
        };
        let Some((index, due)) = healthy else {
            return if probe_due <= now { self.probe(probe, false) } else { Turn::Wait(probe_due) };
        };
        let ready = probe_due <= now;
        let idle = due.saturating_sub(now) >= self.bus.probe_ms;
        // A bus that idles once per interval never needs the budget.
        let longest = self.units.iter().filter(|unit| unit.pause_ms.is_none()).map(|unit| unit.interval_ms);
        let patience = longest.max().unwrap_or(0).saturating_mul(2);
        let overdue = now >= probe_due.saturating_add(patience);
        let affordable = overdue && self.budget >= self.bus.probe_ms.saturating_mul(1_000);
        match (ready, idle, affordable) {
            (true, true, _) => self.probe(probe, false),
            // Held-up units are visited right after it, in their order: the budget bounds how often.
            (true, false, true) => self.probe(probe, true),
            _ if due <= now => Turn::Visit(index),
            (true, false, false) => Turn::Wait(due),
            (false, ..) => Turn::Wait(due.min(probe_due.max(now.saturating_add(1)))),
        }
    }

    /// Takes in how a visit or probe ended that began at `began` and ended at `now`.
    pub fn done(&mut self, index: usize, outcome: Outcome, began: u64, now: u64) {
        self.save(now);
        if core::mem::take(&mut self.on_budget) {
            self.budget = self.budget.saturating_sub(now.saturating_sub(began).saturating_mul(1_000));
        }
        let longest = self.bus.probe_max_ms;
        let Some(unit) = self.units.get_mut(index) else { return };
        let most = longest.max(unit.interval_ms);
        match (outcome, unit.pause_ms) {
            (Outcome::Heard, open) => {
                unit.pause_ms = None;
                if open.is_some() {
                    // Back among the healthy, in full at once.
                    unit.due = now;
                } else {
                    unit.advance(now);
                }
            }
            (Outcome::Silent, None) => {
                unit.advance(now);
                unit.pause_ms = Some(unit.interval_ms.saturating_mul(2).min(most));
            }
            (Outcome::Silent, Some(pause)) => {
                unit.due = now.saturating_add(pause);
                unit.pause_ms = Some(pause.saturating_mul(2).min(most));
            }
        }
    }

    /// A unit is wanted at once: somebody wrote to it, or asks for it.
    pub fn expedite(&mut self, index: usize, now: u64) {
        if let Some(unit) = self.units.get_mut(index) {
            unit.due = unit.due.min(now);
        }
    }

    /// Says what a probe costs at most, once it is known how fast the units of this bus answer.
    pub const fn set_probe_ms(&mut self, probe_ms: u64) {
        self.bus.probe_ms = probe_ms;
    }

    /// The unit's breaker is open.
    #[must_use]
    pub fn is_open(&self, index: usize) -> bool {
        self.units.get(index).is_some_and(|unit| unit.pause_ms.is_some())
    }

    fn soonest(&self, which: impl Fn(&Unit) -> bool) -> Option<(usize, u64)> {
        let units = self.units.iter().enumerate().filter(|(_, unit)| which(unit));
        units.map(|(index, unit)| (index, unit.due)).min_by_key(|(_, due)| *due)
    }

    const fn probe(&mut self, index: usize, on_budget: bool) -> Turn {
        self.on_budget = on_budget;
        Turn::Probe(index)
    }

    fn save(&mut self, now: u64) {
        let past = now.saturating_sub(self.counted);
        self.counted = self.counted.max(now);
        let most = self.bus.probe_ms.saturating_mul(1_000 * SAVED_PROBES_MAX);
        let more = past.saturating_mul(u64::from(self.bus.probe_permille));
        self.budget = self.budget.saturating_add(more).min(most);
    }
}

impl Unit {
    /// The next due time after `now`, in step with the ones before.
    const fn advance(&mut self, now: u64) {
        if now < self.step {
            self.due = self.step;
            return;
        }
        let steps = (now - self.step) / self.interval_ms;
        self.due = self.step.saturating_add(self.interval_ms.saturating_mul(steps.saturating_add(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const BUS: BusPlan = BusPlan { probe_ms: 300, spacing_ms: 20, probe_max_ms: 10_000, probe_permille: 20 };

    /// A bus of units that each take `service` ms to answer, or the timeout where they are mute.
    struct Line {
        schedule: Schedule,
        now: u64,
        service: u64,
        mute: Vec<bool>,
        /// Visit times of each unit.
        visits: Vec<Vec<u64>>,
        probe_ms: u64,
        longest_decision: usize,
    }

    impl Line {
        fn new(bus: BusPlan, units: usize, interval_ms: u64, service: u64) -> Self {
            let schedule = Schedule::new(bus, &vec![UnitPlan { interval_ms }; units], 0);
            let (mute, visits) = (vec![false; units], vec![Vec::new(); units]);
            Self { schedule, now: 0, service, mute, visits, probe_ms: 0, longest_decision: 0 }
        }

        fn run(&mut self, until: u64) {
            while self.now < until {
                let began = self.now;
                match self.schedule.next(self.now) {
                    Turn::Wait(when) => {
                        assert!(when > self.now, "a wait must end later");
                        self.now = when;
                    }
                    Turn::Visit(index) => {
                        self.visits[index].push(began);
                        self.serve(index, began);
                    }
                    Turn::Probe(index) => {
                        self.serve(index, began);
                        if self.mute[index] {
                            self.probe_ms += self.now - began;
                        }
                    }
                    Turn::Never => return,
                }
                self.longest_decision += 1;
            }
        }

        fn serve(&mut self, index: usize, began: u64) {
            let mute = self.mute[index];
            self.now += if mute { self.schedule.bus.probe_ms } else { self.service };
            let outcome = if mute { Outcome::Silent } else { Outcome::Heard };
            self.schedule.done(index, outcome, began, self.now);
        }

        /// The largest deviation from the interval of any healthy unit after `from`.
        fn jitter(&self, from: u64, interval: u64) -> Vec<u64> {
            let mut found: Vec<u64> = self
                .visits
                .iter()
                .zip(&self.mute)
                .filter(|(_, mute)| !**mute)
                .flat_map(|(times, _)| {
                    let late: Vec<u64> = times.iter().copied().filter(|time| *time >= from).collect();
                    late.windows(2).map(|pair| (pair[1] - pair[0]).abs_diff(interval)).collect::<Vec<_>>()
                })
                .collect();
            found.sort_unstable();
            found
        }
    }

    #[test]
    fn first_visits_are_spread_and_then_keep_step() {
        let mut line = Line::new(BUS, 32, 1_000, 15);
        line.run(10_000);
        let first: Vec<u64> = line.visits.iter().map(|times| times[0]).collect();
        assert_eq!(first, (0..32).map(|index| index * 20).collect::<Vec<u64>>());
        assert!(line.jitter(0, 1_000).iter().all(|jitter| *jitter == 0));
        assert!(line.visits.iter().all(|times| times.len() == 10));
    }

    #[test]
    fn five_mute_units_of_32_disturb_nobody_and_are_probed_all_the_same() {
        let mut line = Line::new(BUS, 32, 1_000, 15);
        for index in [3, 9, 14, 20, 31] {
            line.mute[index] = true;
        }
        line.run(600_000);
        let jitter = line.jitter(5_000, 1_000);
        let p99 = jitter[jitter.len() * 99 / 100];
        assert!(p99 <= 5, "p99 {p99} ms");
        let share = line.probe_ms * 1_000 / 600_000;
        assert!((20..=160).contains(&share), "{share} thousandths of the time, all of it idle");
        line.mute.fill(false);
        let back = line.now;
        line.run(back + 15_000);
        assert!(line.visits.iter().all(|times| times.last().is_some_and(|last| *last > back)));
    }

    /// 32 units that need all the time there is: probes cost what the budget allows and no more.
    #[test]
    fn on_a_full_bus_probes_live_from_their_budget() {
        let mut line = Line::new(BUS, 32, 1_000, 34);
        for index in 0..4 {
            line.mute[index] = true;
        }
        line.run(600_000);
        let share = line.probe_ms * 1_000 / 600_000;
        assert!((4..=22).contains(&share), "{share} thousandths");
    }

    #[test]
    fn a_bus_of_mute_units_only_is_asked_ever_more_rarely() {
        let mut line = Line::new(BUS, 3, 1_000, 15);
        line.mute.fill(true);
        line.run(100_000);
        assert!((0..3).all(|index| line.schedule.is_open(index)));
        let before = line.probe_ms;
        line.run(200_000);
        assert!((6_000..=10_000).contains(&(line.probe_ms - before)), "{}", line.probe_ms - before);
    }

    #[test]
    fn a_lost_answer_costs_a_probe_in_idle_time_and_the_unit_is_back_in_step() {
        let mut schedule = Schedule::new(BUS, &[UnitPlan { interval_ms: 1_000 }; 2], 0);
        assert_eq!(schedule.next(0), Turn::Visit(0));
        schedule.done(0, Outcome::Silent, 0, 300);
        assert!(schedule.is_open(0));
        assert_eq!(schedule.next(300), Turn::Visit(1));
        schedule.done(1, Outcome::Heard, 300, 310);
        assert_eq!(schedule.next(310), Turn::Wait(1_000));
        schedule.set_probe_ms(60);
        assert_eq!(schedule.next(1_000), Turn::Wait(1_020), "no room for 60 ms before unit 1");
        assert_eq!(schedule.next(1_020), Turn::Visit(1));
        schedule.done(1, Outcome::Heard, 1_020, 1_040);
        assert_eq!(schedule.next(1_040), Turn::Probe(0));
        schedule.done(0, Outcome::Heard, 1_040, 1_060);
        assert!(!schedule.is_open(0));
        assert_eq!(schedule.next(1_060), Turn::Visit(0));
        schedule.done(0, Outcome::Heard, 1_060, 1_080);
        assert_eq!(schedule.next(1_080), Turn::Wait(2_000));
        schedule.expedite(1, 1_090);
        assert_eq!(schedule.next(1_090), Turn::Visit(1));
        assert_eq!(Schedule::new(BUS, &[], 0).next(5), Turn::Never);
    }

    #[test]
    fn missed_turns_are_skipped() {
        let mut schedule = Schedule::new(BUS, &[UnitPlan { interval_ms: 100 }], 0);
        assert_eq!(schedule.next(1_234), Turn::Visit(0));
        schedule.done(0, Outcome::Heard, 1_234, 1_250);
        assert_eq!(schedule.next(1_250), Turn::Wait(1_300));
    }

    proptest! {
        /// Whatever happens, a decision is made, waits lie ahead, and no unit starves while the bus is not overfull.
        #[test]
        fn nobody_starves(
            mute in proptest::collection::vec(any::<bool>(), 1..24),
            interval in 500_u64..3_000,
            timeout in 10_u64..400,
            permille in 0_u16..1_000,
        ) {
            let bus = BusPlan { probe_ms: timeout, spacing_ms: 7, probe_max_ms: 8_000, probe_permille: permille };
            let mut line = Line::new(bus, mute.len(), interval, 10);
            line.mute.clone_from(&mute);
            line.run(60_000);
            prop_assert!(line.longest_decision < 60_000);
            for (times, mute) in line.visits.iter().zip(&mute) {
                prop_assert!(*mute || times.len() as u64 >= 60_000 / interval / 2, "{}", times.len());
            }
            line.mute.fill(false);
            let back = line.now;
            line.run(back + 60_000);
            prop_assert!((0..mute.len()).all(|index| !line.schedule.is_open(index)));
        }

        #[test]
        fn any_times_and_outcomes_are_survived(
            steps in proptest::collection::vec((0_usize..5, any::<bool>(), any::<u64>(), any::<u64>()), 0..64),
        ) {
            let mut schedule = Schedule::new(BUS, &[UnitPlan { interval_ms: 0 }, UnitPlan { interval_ms: u64::MAX }], 9);
            for (index, heard, began, now) in steps {
                let outcome = if heard { Outcome::Heard } else { Outcome::Silent };
                schedule.done(index, outcome, began, now);
                schedule.expedite(index, began);
                let turn = schedule.next(now);
                prop_assert!(!matches!(turn, Turn::Never | Turn::Visit(2..) | Turn::Probe(2..)));
            }
        }
    }
}
