//! The air of a sales floor: which adapter hears which tag, how long a connection takes, what fails.
//!
//! For planning and benchmarks over thousands of tags; the bytes of one tag are [`crate::tag`]. Pure and seeded: the same
//! questions in the same order give the same answers on every machine (integers only).
//!
//! # Assumptions
//! From the vendor's protocol as published for this family: a block carries 240 image bytes and is answered by one
//! notification; three commands go before the first block; the panel refreshes after the last one, "seconds". Everything
//! else is assumed, because nobody measured it here:
//!
//! | What | Assumed |
//! |---|---|
//! | floor | 60 m x 20 m (1,200 m2), tags anywhere, adapters in a row along the middle |
//! | signal | −50 dBm at 1 m, 7.5 dB less per doubled distance, ±6 dB per tag and adapter, ±4 dB per advertisement |
//! | sensitivity | nothing is heard below −95 dBm |
//! | advertising | once per 1,000 ms; a connection begins at the next advertisement |
//! | controller | sets up one connection at a time per adapter; the others wait for it |
//! | services | found in 800 ms |
//! | block | two connection events of 30 ms, or 3 ms of air shared by all connections of the adapter, what is longer |
//! | failures | 20 of 1,000 attempts, and 15 more per dB below −80 dBm, at most 900; half of them while connecting |
//! | failed connect | 5,000 ms |
//! | failed transfer | anywhere in it; 1 of 8 only lost the last answer: the tag shows the image all the same |
//! | refresh | 15,000 ms from the last block until the new image is seen |

use crate::rng::Rng;

/// The assumptions that have a number of their own; [`RadioConfig::default`] is the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadioConfig {
    /// Length of the floor in decimetres.
    pub length_dm: u32,
    /// Its depth.
    pub depth_dm: u32,
    /// Time between two advertisements of a tag.
    pub advert_ms: u64,
    /// Finding services.
    pub discovery_ms: u64,
    /// One block, undisturbed.
    pub block_ms: u64,
    /// Air time of one block.
    pub block_air_ms: u64,
    /// Image bytes of a block.
    pub block_bytes: usize,
    /// A connect that fails.
    pub connect_failed_ms: u64,
    /// Failures of 1000 attempts at a good signal.
    pub failed_permille: u32,
    /// More of them per dB below the good signal.
    pub failed_permille_db: u32,
    /// The good signal.
    pub good_dbm: i16,
    /// Below it nothing is heard.
    pub sensitivity_dbm: i16,
    /// From the last block until the image is seen.
    pub refresh_ms: u64,
}

impl Default for RadioConfig {
    fn default() -> Self {
        Self {
            length_dm: 600,
            depth_dm: 200,
            advert_ms: 1_000,
            discovery_ms: 800,
            block_ms: 60,
            block_air_ms: 3,
            block_bytes: 240,
            connect_failed_ms: 5_000,
            failed_permille: 20,
            failed_permille_db: 15,
            good_dbm: -80,
            sensitivity_dbm: -95,
            refresh_ms: 15_000,
        }
    }
}

impl RadioConfig {
    /// Mean length of an attempt that succeeds, for an image of so many bytes, when nobody else connects.
    #[must_use]
    pub fn attempt_ms(&self, image_bytes: usize) -> u64 {
        self.advert_ms / 2 + self.discovery_ms + self.transfer_ms(image_bytes, 1)
    }

    fn transfer_ms(&self, image_bytes: usize, connections: u64) -> u64 {
        let blocks = u64::try_from(image_bytes.div_ceil(self.block_bytes.max(1))).unwrap_or(u64::MAX);
        // Size, start and block size are asked for first, at the pace of a block each.
        let rounds = blocks.saturating_add(3);
        rounds.saturating_mul(self.block_ms.max(self.block_air_ms.saturating_mul(connections)))
    }
}

/// How an attempt will go, known to the simulation alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ends and its slot is free.
    pub ends_ms: u64,
    /// Whether the tag's last answer arrives.
    pub confirmed: bool,
    /// When customers see the image; `None` when the tag never got all of it.
    pub seen_ms: Option<u64>,
}

/// One adapter's controller.
#[derive(Clone, Debug, Default)]
struct Controller {
    /// It sets up a connection until then.
    connecting_until_ms: u64,
    /// Ends of the connections under way.
    ends: Vec<u64>,
}

/// The air.
#[derive(Clone, Debug)]
pub struct RadioSim {
    config: RadioConfig,
    seed: u64,
    rng: Rng,
    controllers: Vec<Controller>,
}

impl RadioSim {
    /// A floor with so many adapters.
    #[must_use]
    pub fn new(config: RadioConfig, adapters: u8, seed: u64) -> Self {
        let controllers = vec![Controller::default(); usize::from(adapters)];
        Self { config, seed, rng: Rng::new(seed), controllers }
    }

    /// Mean signal of a tag at an adapter; `None` when it is never heard.
    #[must_use]
    pub fn signal_dbm(&self, tag: u32, adapter: u8) -> Option<i16> {
        let adapters = u32::try_from(self.controllers.len()).unwrap_or(1).max(1);
        let mut place = Rng::new(self.seed ^ (u64::from(tag) << 16));
        let x = place.below(u64::from(self.config.length_dm));
        let y = place.below(u64::from(self.config.depth_dm));
        let at_x =
            u64::from(self.config.length_dm) * (2 * u64::from(adapter) + 1) / (2 * u64::from(adapters));
        let at_y = u64::from(self.config.depth_dm) / 2;
        let square = x.abs_diff(at_x).pow(2) + y.abs_diff(at_y).pow(2);
        // Half of the logarithm of the square, counted from 1 m = 10 dm.
        let doublings_x256 = (log2_x256(square.max(100)) - log2_x256(100)) / 2;
        let loss = doublings_x256 * 75 / 2_560;
        let mut shadow = Rng::new(self.seed ^ (u64::from(tag) << 16) ^ (u64::from(adapter) + 1));
        let shadow = i64::try_from(shadow.below(13)).unwrap_or(6) - 6;
        let signal = i16::try_from(-50 - loss + shadow).unwrap_or(i16::MIN);
        (signal >= self.config.sensitivity_dbm).then_some(signal)
    }

    /// One advertisement of a tag as an adapter hears it.
    pub fn hear(&mut self, tag: u32, adapter: u8) -> Option<i16> {
        let mean = self.signal_dbm(tag, adapter)?;
        let fading = i16::try_from(self.rng.below(9)).unwrap_or(4) - 4;
        Some(mean.saturating_add(fading))
    }

    /// An adapter begins to write an image to a tag. Attempts must be asked for in the order of time.
    pub fn attempt(&mut self, tag: u32, adapter: u8, image_bytes: usize, now_ms: u64) -> Attempt {
        let config = self.config;
        let signal = self.signal_dbm(tag, adapter).unwrap_or(i16::MIN);
        let below = u32::from(config.good_dbm.saturating_sub(signal).max(0).unsigned_abs());
        let failed = (config.failed_permille + config.failed_permille_db.saturating_mul(below)).min(900);
        let fails = self.rng.below(1_000) < u64::from(failed);
        let (in_connect, only_answer) = (self.rng.chance(500), self.rng.below(8) == 0);
        let advert = self.rng.below(config.advert_ms);
        let part = self.rng.below(1_000);
        let Some(controller) = self.controllers.get_mut(usize::from(adapter)) else {
            return Attempt { ends_ms: now_ms, confirmed: false, seen_ms: None };
        };
        let begins = now_ms.max(controller.connecting_until_ms);
        if fails && in_connect {
            controller.connecting_until_ms = begins + config.connect_failed_ms;
            return Attempt { ends_ms: controller.connecting_until_ms, confirmed: false, seen_ms: None };
        }
        controller.connecting_until_ms = begins + advert;
        controller.ends.retain(|end| *end > now_ms);
        let connections = u64::try_from(controller.ends.len() + 1).unwrap_or(u64::MAX);
        let transfer = config.transfer_ms(image_bytes, connections);
        let connected = controller.connecting_until_ms + config.discovery_ms;
        let attempt = match (fails, only_answer) {
            (true, false) => {
                Attempt { ends_ms: connected + transfer * part / 1_000, confirmed: false, seen_ms: None }
            }
            (fails, _) => Attempt {
                ends_ms: connected + transfer,
                confirmed: !fails,
                seen_ms: Some(connected + transfer + config.refresh_ms),
            },
        };
        controller.ends.push(attempt.ends_ms);
        attempt
    }
}

/// 256 times the logarithm to base 2, linear between powers of two (at most 22 off).
fn log2_x256(value: u64) -> i64 {
    let value = value.max(1);
    let whole = value.ilog2();
    let rest = (u128::from(value - (1 << whole)) * 256) >> whole;
    i64::from(whole) * 256 + i64::try_from(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_near_enough() {
        for (value, exact) in [(1, 0), (2, 256), (3, 406), (100, 1_701), (90_000, 4_213), (1 << 20, 5_120)] {
            assert!((log2_x256(value) - exact).abs() <= 22, "{value}: {}", log2_x256(value));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_air_and_everyone_is_heard() {
        let run = |seed| {
            let mut radio = RadioSim::new(RadioConfig::default(), 4, seed);
            let heard = |tag| (0..4).filter_map(|adapter| radio.signal_dbm(tag, adapter)).max();
            assert!((0..8_000).all(|tag| heard(tag).is_some_and(|signal| (-95..=-40).contains(&signal))));
            (0..500).map(|tag| radio.attempt(tag, 0, 5_000, u64::from(tag) * 900)).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn attempts_take_what_the_assumptions_say() {
        let config = RadioConfig { failed_permille: 0, failed_permille_db: 0, ..RadioConfig::default() };
        let mut radio = RadioSim::new(config, 1, 3);
        let mut total = 0;
        for tag in 0..1_000 {
            let now = u64::from(tag) * 20_000;
            let attempt = radio.attempt(tag, 0, 5_512, now);
            assert!(attempt.confirmed && attempt.seen_ms == Some(attempt.ends_ms + 15_000));
            total += attempt.ends_ms - now;
        }
        let mean = config.attempt_ms(5_512);
        assert_eq!(mean, 500 + 800 + (23 + 3) * 60);
        assert!((total / 1_000).abs_diff(mean) < 50, "mean {}", total / 1_000);
        // Sixteen at once: the controller connects one after the other.
        let ends: Vec<u64> = (0..16).map(|tag| radio.attempt(tag, 0, 5_512, 90_000_000).ends_ms).collect();
        assert!(ends.iter().max().unwrap() - 90_000_000 > 2 * mean);
    }

    #[test]
    fn a_bad_signal_fails_more_often_and_some_failures_are_seen_all_the_same() {
        let share = |good_dbm| {
            let mut radio = RadioSim::new(RadioConfig { good_dbm, ..RadioConfig::default() }, 1, 5);
            let all: Vec<Attempt> =
                (0..4_000_u32).map(|tag| radio.attempt(tag, 0, 5_000, u64::from(tag) * 20_000)).collect();
            let failed = all.iter().filter(|attempt| !attempt.confirmed).count();
            let seen = all.iter().filter(|attempt| !attempt.confirmed && attempt.seen_ms.is_some()).count();
            assert!(seen > 0 && seen * 8 < failed, "{seen} of {failed}");
            failed
        };
        assert!(share(-70) > share(-80));
    }
}
