//! The weighing part of a scale, the same whatever it speaks: load, motion, zero, tare, range, and what was given out.

use drv_protocol::Grams;
use drv_protocol::scale::{Mass, Weight};

use super::{ScaleConfig, ScaleCounters, ScaleFaults};

/// Why a price-computing scale gives no weight out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withheld {
    Motion,
    Unchanged,
    BelowMinimum,
    BelowZero,
    Overload,
}

/// What became of a zero or tare; scales that cannot say it leave it unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Done,
    Motion,
    Above,
    Below,
}

#[derive(Clone, Debug)]
pub(super) struct Platform {
    pub(super) config: ScaleConfig,
    pub(super) counters: ScaleCounters,
    faults: ScaleFaults,
    load_g: i64,
    zero_g: i64,
    tare_g: i64,
    moving_until: u64,
    loaded: bool,
    shown: bool,
    stuck_g: Option<i64>,
    given_g: Option<i64>,
}

impl Platform {
    pub(super) fn new(config: ScaleConfig) -> Self {
        Self {
            config,
            counters: ScaleCounters::default(),
            faults: ScaleFaults::default(),
            load_g: 0,
            zero_g: 0,
            tare_g: 0,
            moving_until: 0,
            loaded: false,
            shown: false,
            stuck_g: None,
            given_g: None,
        }
    }

    pub(super) fn place(&mut self, grams: Grams, now: u64) {
        self.load_g = grams.0;
        self.moving_until = now.saturating_add(self.config.settle_ms);
        (self.loaded, self.shown) = (true, false);
        self.counters.placed += 1;
    }

    pub(super) fn remove(&mut self, now: u64) {
        self.load_g = 0;
        self.moving_until = now.saturating_add(self.config.settle_ms);
        (self.loaded, self.shown) = (false, false);
        self.given_g = None;
    }

    pub(super) fn set_faults(&mut self, faults: ScaleFaults) {
        self.faults = faults;
        let kept = self.stuck_g.unwrap_or(self.load_g);
        self.stuck_g = faults.stuck.then_some(kept);
    }

    pub(super) fn power_cycle(&mut self, now: u64) {
        // Start-up zero takes what lies on the platform within 10 % of the capacity.
        let within = self.load_g.abs() <= self.config.capacity_g / 10;
        (self.zero_g, self.tare_g) = (if within { self.load_g } else { 0 }, 0);
        self.moving_until = now.saturating_add(self.config.settle_ms);
        self.given_g = None;
    }

    pub(super) const fn load_shown(&self) -> bool {
        self.loaded && self.shown
    }

    /// A usable weight went out undamaged.
    pub(super) fn given_out(&mut self) {
        if self.loaded && !self.shown && !self.faults.stuck {
            self.shown = true;
            self.counters.shown += 1;
            self.counters.shown_g += self.shows().0;
        }
    }

    fn on_it(&self) -> i64 {
        self.stuck_g.unwrap_or(self.load_g)
    }

    fn rounded(&self, grams: i64) -> i64 {
        let interval = self.config.interval_g.max(1);
        (grams + interval / 2).div_euclid(interval) * interval
    }

    /// The net weight as rounded, whether at rest or not.
    pub(super) fn shows(&self) -> Grams {
        Grams(self.rounded(self.on_it() - self.zero_g - self.tare_g))
    }

    /// The net weight with nothing rounded, in grams.
    pub(super) fn net_g(&self) -> i64 {
        self.on_it() - self.zero_g - self.tare_g
    }

    pub(super) fn tare(&self) -> Grams {
        Grams(self.tare_g)
    }

    /// What the display shows, as exact text.
    pub(super) fn display(&self, grams: Grams) -> Mass {
        Mass::nearest(grams, self.config.unit, self.config.decimals)
    }

    fn moving(&self, now: u64) -> bool {
        self.faults.always_moving || (now < self.moving_until && !self.faults.stuck)
    }

    /// The whole state as a reading.
    pub(super) fn reading(&self, now: u64) -> Weight {
        let net = self.shows();
        Weight {
            stable: !self.moving(now),
            over: self.faults.overload || self.on_it() > self.config.capacity_g,
            under: net.0 < 0,
            centre_of_zero: self.on_it() == self.zero_g && self.tare_g == 0,
            net: self.tare_g != 0,
            kind_stated: true,
            tare: Some(Grams(self.tare_g)),
            range: Some(1),
            ..Weight::shown(self.display(net))
        }
    }

    pub(super) fn zero(&mut self, now: u64) -> Set {
        // Zero can be set within 2 % of the capacity.
        let range = self.config.capacity_g / 50;
        match self.on_it() {
            _ if self.moving(now) => Set::Motion,
            load if load > range => Set::Above,
            load if load < -range => Set::Below,
            load => {
                (self.zero_g, self.tare_g) = (load, 0);
                Set::Done
            }
        }
    }

    pub(super) fn take_tare(&mut self, now: u64) -> Set {
        let gross = self.on_it() - self.zero_g;
        match gross {
            _ if self.moving(now) => Set::Motion,
            gross if gross < 0 => Set::Below,
            gross if gross > self.config.capacity_g => Set::Above,
            gross => {
                self.tare_g = self.rounded(gross);
                Set::Done
            }
        }
    }

    pub(super) fn key_tare(&mut self, grams: Grams) -> Set {
        if grams.0 < 0 || grams.0 > self.config.capacity_g {
            return if grams.0 < 0 { Set::Below } else { Set::Above };
        }
        self.tare_g = grams.0;
        Set::Done
    }

    /// Gives a weight out as price-computing scales do: only a finished weighing, and by the minimum rule each load once.
    pub(super) fn give_out(&mut self, now: u64) -> Result<Weight, Withheld> {
        let reading = self.reading(now);
        let net = self.shows().0;
        let least = 20 * self.config.interval_g;
        let rule = self.config.minimum_rule;
        if reading.over {
            return Err(Withheld::Overload);
        }
        if !reading.stable {
            return Err(Withheld::Motion);
        }
        if net < 0 {
            return Err(Withheld::BelowZero);
        }
        if rule && net < least {
            return Err(Withheld::BelowMinimum);
        }
        if rule && self.given_g.is_some_and(|given| (given - net).abs() < least) {
            return Err(Withheld::Unchanged);
        }
        self.given_g = Some(net);
        Ok(reading)
    }
}
