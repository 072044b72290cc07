//! Seeded temperatures of cold cabinets: the data of `bench telemetry`.
//!
//! Model (what is not from the pages of the project is an assumption, and says so)
//! * Air: the first-order model of `drv-sim` in 100 ms steps. Compressor off: towards 18 to 22 °C, time constant 50 to 80
//!   minutes; on: towards -8 °C, 25 to 40 minutes (assumptions). It switches at set-point -1 and +1 °C; set-points 2 to 6 °C.
//! * Two to four defrosts a day, 20 to 30 minutes, towards 12 °C in 15 minutes (assumptions). Door openings from 7 to 22 h, on
//!   average every 12 minutes, 10 to 40 s, towards 20 °C in 10 minutes (assumptions).
//! * Sensor: noise of about 40 m°C (assumption), then tenths of a degree as a Danfoss AK-CC55 gives them.
//! * Time stamps: the poll period plus 0 to 8 ms, in 1 of 200 polls up to 120 ms (assumptions).
//! * 1 in 5,000 polls begins a fault of 3 to 60 polls: bad samples, as the daemon stores them.

use drv_protocol::MilliCelsius;
use drv_sim::Rng;
use drv_sim::thermal::Thermal;
use sync_model::UnixMillis;
use sync_store::telemetry::Point;

/// When the data begins: a Monday, 00:00 UTC.
pub(super) const BEGIN_MS: i64 = 1_790_553_600_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    On,
    Off,
    Until { end: u64 },
}

/// One cabinet.
#[derive(Debug)]
struct Cabinet {
    rng: Rng,
    air: Thermal,
    phase: Phase,
    set_mc: i32,
    warm: (i32, u64),
    cool_tau: u64,
    defrosts: u64,
    defrost_at: u64,
    fault_left: u64,
    /// Phase of its poll within the period.
    offset: u64,
}

impl Cabinet {
    fn new(seed: u64, period: u64) -> Self {
        let mut rng = Rng::new(seed);
        let set_mc = 2_000 + whole(rng.below(9)) * 500;
        let defrosts = 2 + rng.below(3);
        Self {
            air: Thermal::new(MilliCelsius(set_mc), HOUR_MS, 0),
            phase: Phase::On,
            set_mc,
            warm: (18_000 + whole(rng.below(4_001)), 60_000 * (50 + rng.below(31))),
            cool_tau: 60_000 * (25 + rng.below(16)),
            defrosts,
            defrost_at: rng.below(DAY_MS / defrosts),
            fault_left: 0,
            offset: rng.below(period),
            rng,
        }
    }

    /// Moves the thermostat on to `now`.
    fn control(&mut self, now: u64, period: u64) {
        let air = self.air.at(now).0;
        let by_day = (7 * HOUR_MS..22 * HOUR_MS).contains(&(now % DAY_MS));
        match self.phase {
            Phase::Until { end } if now < end => return,
            _ if now >= self.defrost_at => {
                self.defrost_at += DAY_MS / self.defrosts;
                self.phase = Phase::Until { end: now + 60_000 * (20 + self.rng.below(11)) };
                self.air.aim(MilliCelsius(12_000), 15 * 60_000, now);
                return;
            }
            _ if by_day && self.rng.below(12 * 60_000) < period => {
                self.phase = Phase::Until { end: now + 10_000 + self.rng.below(30_001) };
                self.air.aim(MilliCelsius(20_000), 10 * 60_000, now);
                return;
            }
            _ => {}
        }
        let next = match self.phase {
            Phase::On if air <= self.set_mc - 1_000 => Phase::Off,
            Phase::Off if air >= self.set_mc + 1_000 => Phase::On,
            Phase::Until { .. } => Phase::On,
            same => same,
        };
        if next != self.phase {
            let (to, tau) = if next == Phase::On { (-8_000, self.cool_tau) } else { self.warm };
            self.air.aim(MilliCelsius(to), tau, now);
            self.phase = next;
        }
    }

    fn poll(&mut self, round: u64, period: u64) -> Point {
        let now = round * period + self.offset;
        self.control(now, period);
        let late = if self.rng.below(200) == 0 { self.rng.below(121) } else { self.rng.below(9) };
        let at = UnixMillis(BEGIN_MS + i64::try_from(now + late).unwrap_or(i64::MAX));
        if self.fault_left == 0 && self.rng.below(5_000) == 0 {
            self.fault_left = 3 + self.rng.below(58);
        }
        if self.fault_left > 0 {
            self.fault_left -= 1;
            return Point { at, value: 0, good: false };
        }
        // Four uniform numbers: close to a normal distribution of 40 m°C.
        let noise: i32 = (0..4).map(|_| whole(self.rng.below(71)) - 35).sum();
        let tenths = (self.air.at(now).0 + noise + 50).div_euclid(100);
        Point { at, value: i64::from(tenths) * 100, good: true }
    }
}

fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// All cabinets of a store, polled in turns.
#[derive(Debug)]
pub(super) struct Cabinets {
    cabinets: Vec<Cabinet>,
    period: u64,
    round: u64,
    next: usize,
}

impl Cabinets {
    /// `count` cabinets, each polled every `period_ms`.
    pub(super) fn new(seed: u64, count: u16, period_ms: u64) -> Self {
        let cabinet = |number| Cabinet::new(seed.wrapping_mul(1_000_003) + number, period_ms);
        let mut cabinets: Vec<Cabinet> = (0..u64::from(count)).map(cabinet).collect();
        cabinets.sort_by_key(|cabinet| cabinet.offset);
        Self { cabinets, period: period_ms, round: 0, next: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.cabinets.len()
    }
}

impl Iterator for Cabinets {
    /// Cabinet number and what was polled.
    type Item = (usize, Point);

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        let point = self.cabinets.get_mut(number)?.poll(self.round, self.period);
        self.next += 1;
        if self.next == self.cabinets.len() {
            (self.next, self.round) = (0, self.round + 1);
        }
        Some((number, point))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_days_and_they_look_like_cabinets() {
        let day = |seed| Cabinets::new(seed, 3, 10_000).take(3 * 8_640).collect::<Vec<_>>();
        let points = day(1);
        assert_eq!(points, day(1));
        assert_ne!(points, day(2));
        let good: Vec<i64> =
            points.iter().filter(|(_, point)| point.good).map(|(_, point)| point.value).collect();
        assert!(good.iter().all(|value| value % 100 == 0 && (-3_000..16_000).contains(value)));
        let bad = points.len() - good.len();
        assert!((10..1_000).contains(&bad), "{bad} bad samples");
        let mean = good.iter().sum::<i64>() / i64::try_from(good.len()).unwrap();
        assert!((1_500..8_000).contains(&mean), "{mean}");
        assert!(good.iter().max() > good.iter().min().map(|least| least + 3_000).as_ref(), "it moves");
    }
}
