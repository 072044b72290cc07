//! A first-order thermal model in integers: temperature runs towards a target, fast at first, then slower.
//!
//! Time advances in fixed steps, so the curve does not depend on how often somebody looks.

use drv_protocol::MilliCelsius;

/// The length of a step.
const STEP_MS: u64 = 100;
/// After this many steps without a look the temperature is taken to have arrived: bounds the work of one look.
const STEPS_MAX: u64 = 200_000;

/// One body of air, water or food.
#[derive(Clone, Debug)]
pub struct Thermal {
    micro: i64,
    target_micro: i64,
    tau_ms: u64,
    stepped_ms: u64,
}

impl Thermal {
    /// A body at rest at `start`; after `tau_ms` about 63 % of a change has happened.
    #[must_use]
    pub fn new(start: MilliCelsius, tau_ms: u64, now: u64) -> Self {
        let micro = i64::from(start.0) * 1000;
        Self { micro, target_micro: micro, tau_ms: tau_ms.max(STEP_MS), stepped_ms: now }
    }

    /// Sets where the temperature runs to, and how fast, from `now` on.
    pub fn aim(&mut self, target: MilliCelsius, tau_ms: u64, now: u64) {
        self.advance(now);
        self.target_micro = i64::from(target.0) * 1000;
        self.tau_ms = tau_ms.max(STEP_MS);
    }

    /// Where the temperature runs to.
    #[must_use]
    pub fn target(&self) -> MilliCelsius {
        MilliCelsius(i32::try_from(self.target_micro / 1000).unwrap_or(i32::MAX))
    }

    /// The temperature at `now`; a time before the last look is taken as the last look.
    pub fn at(&mut self, now: u64) -> MilliCelsius {
        self.advance(now);
        MilliCelsius(i32::try_from(self.micro / 1000).unwrap_or(i32::MAX))
    }

    fn advance(&mut self, now: u64) {
        let steps = now.saturating_sub(self.stepped_ms) / STEP_MS;
        if steps > STEPS_MAX {
            self.micro = self.target_micro;
        } else {
            let tau = i64::try_from(self.tau_ms).unwrap_or(i64::MAX);
            let step = i64::try_from(STEP_MS).unwrap_or(1);
            for _ in 0..steps {
                let change = (self.target_micro - self.micro) * step / tau;
                // The last fraction of a thousandth is not worth an infinite tail.
                self.micro = if change == 0 { self.target_micro } else { self.micro + change };
            }
        }
        self.stepped_ms += steps * STEP_MS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_is_smooth_and_does_not_depend_on_how_often_one_looks() {
        let mut often = Thermal::new(MilliCelsius(3_000), 20_000, 0);
        let mut once = often.clone();
        often.aim(MilliCelsius(12_000), 20_000, 0);
        once.aim(MilliCelsius(12_000), 20_000, 0);
        let mut last = often.at(0);
        for now in (0..60_000).step_by(70) {
            let next = often.at(now);
            assert!(next >= last && next.0 - last.0 < 100, "{last} -> {next}");
            last = next;
        }
        often.at(60_000);
        assert_eq!(often.at(60_000), once.at(60_000));
        // Three time constants: 95 % of the way.
        assert!((11_500..11_600).contains(&once.at(60_000).0), "{}", once.at(60_000));
        assert_eq!(once.at(u64::MAX), MilliCelsius(12_000));
    }
}
