//! A Toledo 8217 scale: bytes of the host in, bytes of the scale out.
//!
//! Script: [`ScaleSim::place`] puts a load on the platform, [`ScaleSim::remove`] takes it away. After either the scale
//! is in motion for the settling time and answers with its status; then it answers with the weight, rounded to its
//! interval.

use drv_protocol::Grams;
use drv_protocol::toledo8217::{Status, encode_status, encode_weight, with_even_parity};

use crate::rng::Rng;

/// How a scale is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleConfig {
    /// The seed of its faults.
    pub seed: u64,
    /// The verification interval e; weights are rounded to it.
    pub interval_g: i64,
    /// The largest load it shows.
    pub capacity_g: i64,
    /// How long it is in motion after a change of load.
    pub settle_ms: u64,
    /// Set even parity in bit 7, as an 8-bit port sees a 7E1 line.
    pub parity: bool,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self { seed: 1, interval_g: 5, capacity_g: 15_000, settle_ms: 400, parity: true }
    }
}

/// What is wrong with a scale; all off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScaleFaults {
    /// It answers nothing.
    pub mute: bool,
    /// So many of 1000 answers are random bytes.
    pub garbage_permille: u16,
    /// So many of 1000 answers have one byte of wrong parity.
    pub wrong_parity_permille: u16,
    /// So many of 1000 answers end early.
    pub truncated_permille: u16,
    /// Its answers begin and never end.
    pub endless: bool,
    /// It is never at rest.
    pub always_moving: bool,
}

/// What a scale really did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScaleCounters {
    /// Loads placed.
    pub placed: u64,
    /// Loads of which at least one stable weight was sent undamaged.
    pub shown: u64,
    /// Sum of those loads as shown, in grams.
    pub shown_g: i64,
    /// Weight commands answered or not.
    pub polls: u64,
    /// Answers damaged or withheld by a fault.
    pub faults: u64,
    /// Bytes that are no command.
    pub unknown: u64,
}

/// The scale.
#[derive(Clone, Debug)]
pub struct ScaleSim {
    config: ScaleConfig,
    faults: ScaleFaults,
    counters: ScaleCounters,
    rng: Rng,
    load_g: i64,
    zero_g: i64,
    tare_g: i64,
    moving_until: u64,
    loaded: bool,
    shown: bool,
    echo: bool,
    keyed: Option<Vec<u8>>,
}

impl ScaleSim {
    /// An empty scale at rest.
    #[must_use]
    pub fn new(config: ScaleConfig) -> Self {
        Self {
            config,
            faults: ScaleFaults::default(),
            counters: ScaleCounters::default(),
            rng: Rng::new(config.seed),
            load_g: 0,
            zero_g: 0,
            tare_g: 0,
            moving_until: 0,
            loaded: false,
            shown: false,
            echo: false,
            keyed: None,
        }
    }

    /// Puts a load on the platform, in place of any there.
    pub fn place(&mut self, grams: Grams, now: u64) {
        self.load_g = grams.0;
        self.moving_until = now.saturating_add(self.config.settle_ms);
        (self.loaded, self.shown) = (true, false);
        self.counters.placed += 1;
    }

    /// Takes the load away.
    pub fn remove(&mut self, now: u64) {
        self.load_g = 0;
        self.moving_until = now.saturating_add(self.config.settle_ms);
        (self.loaded, self.shown) = (false, false);
    }

    /// Switches faults on and off.
    pub const fn set_faults(&mut self, faults: ScaleFaults) {
        self.faults = faults;
    }

    /// What the scale really did.
    #[must_use]
    pub const fn counters(&self) -> ScaleCounters {
        self.counters
    }

    /// The current load was sent as a stable weight at least once.
    #[must_use]
    pub const fn load_shown(&self) -> bool {
        self.loaded && self.shown
    }

    /// The weight as the scale rounds it, whether at rest or not.
    #[must_use]
    pub fn shows(&self) -> Grams {
        let interval = self.config.interval_g.max(1);
        let net = self.load_g - self.zero_g - self.tare_g;
        Grams((net + interval / 2).div_euclid(interval) * interval)
    }

    /// Takes the host's bytes; answers the scale's.
    pub fn receive(&mut self, bytes: &[u8], now: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes.iter().map(|byte| byte & 0x7F) {
            if !byte.is_ascii_digit() {
                // Another command right behind a `T`: the tare is taken first.
                out.extend(self.poll(now));
            }
            out.extend(self.command(byte, now));
        }
        out
    }

    fn command(&mut self, byte: u8, now: u64) -> Vec<u8> {
        if let Some(answer) = self.keyed_tare(byte, now) {
            return answer;
        }
        let reply = match byte {
            b'W' => self.weight(now),
            b'H' => self.high_resolution(now),
            b'Z' => self.zeroed(now),
            b'T' => {
                // A digit next makes it a keyed tare; a CR or another command does not.
                self.keyed = Some(Vec::new());
                return Vec::new();
            }
            b'C' => {
                self.tare_g = 0;
                encode_status(self.status(now))
            }
            b'A' => vec![0x02, 0x0D],
            b'B' => vec![0x02, b'?', 0x40, 0x0D],
            b'E' => {
                self.echo = true;
                vec![0x02, b'E', 0x0D]
            }
            b'F' => {
                self.echo = false;
                vec![0x02, b'F', 0x0D]
            }
            other if self.echo => vec![other],
            _ => {
                self.counters.unknown += 1;
                return Vec::new();
            }
        };
        self.sent(reply)
    }
}

impl ScaleSim {
    /// Handles the byte after `T`; `None` when it is no part of a keyed tare and stands for itself.
    fn keyed_tare(&mut self, byte: u8, now: u64) -> Option<Vec<u8>> {
        let mut digits = self.keyed.take()?;
        if byte.is_ascii_digit() && digits.len() < 5 {
            digits.push(byte);
            self.keyed = Some(digits);
            return Some(Vec::new());
        }
        let keyed = digits.iter().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        if byte == b'\r' && digits.len() == 5 {
            self.tare_g = keyed;
            let reply = encode_status(self.status(now));
            return Some(self.sent(reply));
        }
        None
    }

    /// A tare of the load: done when no digit followed the `T` until the next look.
    fn take_tare(&mut self, now: u64) -> Vec<u8> {
        if now >= self.moving_until {
            self.tare_g = self.load_g - self.zero_g;
        }
        let reply = encode_status(self.status(now));
        self.sent(reply)
    }

    /// Lets time pass: answers a tare command once no digit can follow it any more.
    pub fn poll(&mut self, now: u64) -> Vec<u8> {
        match self.keyed.take() {
            Some(digits) if digits.is_empty() => self.take_tare(now),
            other => {
                self.keyed = other;
                Vec::new()
            }
        }
    }

    fn status(&self, now: u64) -> Status {
        let shows = self.shows().0;
        Status {
            motion: self.faults.always_moving || now < self.moving_until,
            over: self.load_g > self.config.capacity_g,
            under: shows < 0,
            outside_zero: false,
            centre_of_zero: self.load_g == self.zero_g && self.tare_g == 0,
            net: self.tare_g != 0,
        }
    }

    fn zeroed(&mut self, now: u64) -> Vec<u8> {
        let mut status = self.status(now);
        // Zero can be set within 2 % of the capacity.
        if status.motion || self.load_g.abs() > self.config.capacity_g / 50 {
            status.outside_zero = !status.motion;
        } else {
            self.zero_g = self.load_g;
            status = self.status(now);
        }
        encode_status(status)
    }

    fn weight(&mut self, now: u64) -> Vec<u8> {
        self.counters.polls += 1;
        let status = self.status(now);
        if status.motion || status.over || status.under {
            return encode_status(status);
        }
        encode_weight(self.shows(), status.net).unwrap_or_else(|| encode_status(status))
    }

    /// Ten times the resolution: the load itself in tenths of a gram.
    fn high_resolution(&self, now: u64) -> Vec<u8> {
        let status = self.status(now);
        let net = self.load_g - self.zero_g - self.tare_g;
        if status.motion || status.over || !(0..100_000).contains(&net) {
            return encode_status(status);
        }
        let suffix = if status.net { "N" } else { "" };
        format!("\x02{:02}.{:03}0{suffix}\r", net / 1000, net % 1000).into_bytes()
    }

    /// Applies faults and parity to an answer, and counts what went out undamaged.
    fn sent(&mut self, reply: Vec<u8>) -> Vec<u8> {
        let is_weight = reply.get(1).is_some_and(u8::is_ascii_digit);
        let whole = if self.config.parity { with_even_parity(&reply) } else { reply };
        let faults = self.faults;
        let damaged = if faults.mute {
            Some(Vec::new())
        } else if faults.endless {
            Some(whole.iter().take(1).copied().chain([b'8'; 64]).collect())
        } else if self.rng.chance(faults.garbage_permille) {
            Some((0..=self.rng.below(24)).map(|_| self.rng.byte()).collect())
        } else if self.rng.chance(faults.truncated_permille) {
            Some(whole.iter().take(whole.len() / 2).copied().collect())
        } else if self.rng.chance(faults.wrong_parity_permille) {
            Some(
                whole
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if at == 1 { byte ^ 0x80 } else { *byte })
                    .collect(),
            )
        } else {
            None
        };
        if let Some(damaged) = damaged {
            self.counters.faults += 1;
            return damaged;
        }
        if is_weight && self.loaded && !self.shown {
            self.shown = true;
            self.counters.shown += 1;
            self.counters.shown_g += self.shows().0;
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use drv_protocol::toledo8217::{Decoder, DecoderConfig, FrameError, Parity, Reply};

    use super::*;

    fn decoded(sim: &mut ScaleSim, command: &[u8], now: u64) -> Vec<Result<Reply, FrameError>> {
        let mut decoder =
            Decoder::new(DecoderConfig { parity: Parity::VerifyEven, ..DecoderConfig::default() });
        decoder.feed(&sim.receive(command, now))
    }

    #[test]
    fn a_load_is_in_motion_then_stable_then_gone() {
        let mut sim = ScaleSim::new(ScaleConfig::default());
        assert_eq!(decoded(&mut sim, b"W", 0), [Ok(Reply::Weight { grams: Grams(0), net: false })]);
        sim.place(Grams(1252), 1_000);
        let [Ok(Reply::Status(status))] = decoded(&mut sim, b"W", 1_200)[..] else {
            unreachable!("a status")
        };
        assert!(status.motion);
        assert!(!sim.load_shown());
        let weight = decoded(&mut sim, b"W", 1_400);
        assert_eq!(weight, [Ok(Reply::Weight { grams: Grams(1250), net: false })]);
        assert_eq!(decoded(&mut sim, b"W", 1_600), weight);
        assert!(sim.load_shown());
        sim.remove(2_000);
        assert_eq!(decoded(&mut sim, b"W", 2_400), [Ok(Reply::Weight { grams: Grams(0), net: false })]);
        let counters = sim.counters();
        assert_eq!((counters.placed, counters.shown, counters.shown_g, counters.polls), (1, 1, 1250, 5));
    }

    #[test]
    fn tare_zero_and_over_capacity_answer_as_the_manual_says() {
        let mut sim = ScaleSim::new(ScaleConfig { parity: false, ..ScaleConfig::default() });
        sim.place(Grams(500), 0);
        assert!(sim.receive(b"T", 1_000).is_empty());
        assert_eq!(sim.poll(1_200), [0x02, b'?', 0x60, 0x0D]);
        sim.place(Grams(1_500), 2_000);
        assert_eq!(sim.receive(b"W", 3_000), b"\x0201.000N\r");
        assert_eq!(sim.receive(b"C", 3_000).first(), Some(&0x02));
        assert_eq!(sim.receive(b"TW", 3_000), b"\x02?\x60\r\x0200.000N\r");
        assert_eq!(sim.receive(b"T00250\r", 3_000), [0x02, b'?', 0x60, 0x0D]);
        assert_eq!(sim.receive(b"W", 3_000), b"\x0201.250N\r");
        sim.place(Grams(20_000), 4_000);
        assert_eq!(sim.receive(b"W", 5_000), [0x02, b'?', 0x62, 0x0D]);
        assert_eq!(sim.receive(b"Ehello", 5_000), b"\x02E\rhello");
    }

    #[test]
    fn every_fault_damages_and_is_counted_and_none_shows_a_load() {
        let all = [
            ScaleFaults { mute: true, ..ScaleFaults::default() },
            ScaleFaults { endless: true, ..ScaleFaults::default() },
            ScaleFaults { garbage_permille: 1000, ..ScaleFaults::default() },
            ScaleFaults { truncated_permille: 1000, ..ScaleFaults::default() },
            ScaleFaults { wrong_parity_permille: 1000, ..ScaleFaults::default() },
        ];
        for faults in all {
            let mut sim = ScaleSim::new(ScaleConfig::default());
            sim.set_faults(faults);
            sim.place(Grams(700), 0);
            let replies = decoded(&mut sim, b"W", 1_000);
            assert!(!replies.contains(&Ok(Reply::Weight { grams: Grams(700), net: false })), "{faults:?}");
            assert_eq!((sim.counters().faults, sim.counters().shown), (1, 0), "{faults:?}");
        }
        let mut sim = ScaleSim::new(ScaleConfig::default());
        sim.set_faults(ScaleFaults { always_moving: true, ..ScaleFaults::default() });
        let [Ok(Reply::Status(status))] = decoded(&mut sim, b"W", 9_000)[..] else {
            unreachable!("a status")
        };
        assert!(status.motion);
    }
}
