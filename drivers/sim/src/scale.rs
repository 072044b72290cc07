//! A counter scale: one platform with load, motion, zero and tare, and the wire dialect that it speaks.
//!
//! Script: [`ScaleSim::place`] puts a load on the platform, [`ScaleSim::remove`] takes it away. After either the scale
//! is in motion for the settling time; then it shows the weight, rounded to its interval. What it sends when, and how it
//! says that it cannot, is its protocol's matter: [`ScaleConfig::kind`].

mod lines;
mod platform;
mod priced;
mod toledo;

use std::collections::VecDeque;

use drv_protocol::Grams;
use drv_protocol::scale::MassUnit;
use drv_protocol::scales::{Bcc, LineParity, ScaleKind};

use crate::rng::Rng;
use platform::Platform;

/// Answers that wait because the scale is slow.
const WAITING_MAX: usize = 64;

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
    /// Set the protocol's parity in bit 7, as an 8-bit port sees a line of 7 data bits.
    pub parity: bool,
    /// The protocol.
    pub kind: ScaleKind,
    /// It sends its weight by itself, where the protocol has both; see [`ScaleConfig::period_ms`].
    pub sends: bool,
    /// Time between two weights that it sends by itself.
    pub period_ms: u64,
    /// The unit that it shows.
    pub unit: MassUnit,
    /// The decimals that it shows.
    pub decimals: u8,
    /// The checksum of an ENQ-DC1 scale; `None` is the kind's own.
    pub bcc: Option<Bcc>,
    /// Price-computing scales: below 20 intervals nothing is given out, and nothing again before the load has changed by 20
    /// intervals or gone through zero (Dibal).
    pub minimum_rule: bool,
    /// Dialog 06: wants checksums by this polynomial after power-on and every 50 weighings.
    pub checksum_polynomial: Option<u32>,
}

impl Default for ScaleConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            interval_g: 5,
            capacity_g: 15_000,
            settle_ms: 400,
            parity: true,
            kind: ScaleKind::Toledo8217,
            sends: false,
            period_ms: 100,
            unit: MassUnit::Kilogram,
            decimals: 3,
            bcc: None,
            minimum_rule: false,
            checksum_polynomial: None,
        }
    }
}

/// What is wrong with a scale; all off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ScaleFaults {
    /// It answers nothing.
    pub mute: bool,
    /// So many of 1000 answers are random bytes.
    pub garbage_permille: u16,
    /// So many of 1000 answers have one byte of wrong parity (lines of 7 data bits only).
    pub wrong_parity_permille: u16,
    /// So many of 1000 answers that have a checksum have a wrong one.
    pub wrong_checksum_permille: u16,
    /// So many of 1000 answers end early.
    pub truncated_permille: u16,
    /// Its answers begin and never end.
    pub endless: bool,
    /// It is never at rest.
    pub always_moving: bool,
    /// It shows the load that it had when this began, at rest, whatever lies on it.
    pub stuck: bool,
    /// It is overloaded, whatever lies on it.
    pub overload: bool,
    /// Every answer comes this much later.
    pub slow_ms: u32,
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
    /// Weight commands answered or not, and weights sent by itself.
    pub polls: u64,
    /// Answers damaged or withheld by a fault.
    pub faults: u64,
    /// Bytes that are no command.
    pub unknown: u64,
}

/// One frame on its way out of a dialect.
#[derive(Clone, Debug, Default)]
struct Out {
    bytes: Vec<u8>,
    /// It carries a weight that a host may use.
    weight: bool,
    /// Where its checksum is.
    checksum_at: Option<usize>,
}

impl Out {
    fn plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), ..Self::default() }
    }
}

/// The wire side of a scale.
trait Dialect: Send {
    /// Takes one byte of the host.
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out>;

    /// Lets time pass.
    fn tick(&mut self, _platform: &mut Platform, _now: u64) -> Vec<Out> {
        Vec::new()
    }
}

/// The scale.
pub struct ScaleSim {
    config: ScaleConfig,
    faults: ScaleFaults,
    rng: Rng,
    platform: Platform,
    dialect: Box<dyn Dialect>,
    waiting: VecDeque<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for ScaleSim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("ScaleSim");
        text.field("config", &self.config).field("platform", &self.platform).finish_non_exhaustive()
    }
}

impl ScaleSim {
    /// An empty scale at rest.
    #[must_use]
    pub fn new(config: ScaleConfig) -> Self {
        Self {
            config,
            faults: ScaleFaults::default(),
            rng: Rng::new(config.seed),
            platform: Platform::new(config),
            dialect: dialect(config),
            waiting: VecDeque::new(),
        }
    }

    /// Puts a load on the platform, in place of any there.
    pub fn place(&mut self, grams: Grams, now: u64) {
        self.platform.place(grams, now);
    }

    /// Takes the load away.
    pub fn remove(&mut self, now: u64) {
        self.platform.remove(now);
    }

    /// Switches faults on and off.
    pub fn set_faults(&mut self, faults: ScaleFaults) {
        self.faults = faults;
        self.platform.set_faults(faults);
    }

    /// Power was cut and came back: zero is set anew, the tare and everything half said are forgotten.
    pub fn power_cycle(&mut self, now: u64) {
        self.platform.power_cycle(now);
        self.dialect = dialect(self.config);
        self.waiting.clear();
    }

    /// What the scale really did.
    #[must_use]
    pub const fn counters(&self) -> ScaleCounters {
        self.platform.counters
    }

    /// The current load was sent as a stable weight at least once.
    #[must_use]
    pub const fn load_shown(&self) -> bool {
        self.platform.load_shown()
    }

    /// The weight as the scale rounds it, whether at rest or not.
    #[must_use]
    pub fn shows(&self) -> Grams {
        self.platform.shows()
    }

    /// Takes the host's bytes, possibly none, and lets time pass; answers the scale's.
    pub fn receive(&mut self, bytes: &[u8], now: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            let frames = self.dialect.byte(*byte, &mut self.platform, now);
            out.extend(frames.into_iter().flat_map(|frame| self.sent(frame, now)));
        }
        out.extend(self.poll(now));
        out
    }

    /// Lets time pass: answers what was put off, and what the scale sends by itself.
    pub fn poll(&mut self, now: u64) -> Vec<u8> {
        let frames = self.dialect.tick(&mut self.platform, now);
        let mut out: Vec<u8> = frames.into_iter().flat_map(|frame| self.sent(frame, now)).collect();
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            out.extend(self.waiting.pop_front().map(|(_, bytes)| bytes).unwrap_or_default());
        }
        out
    }

    /// Applies faults, parity and slowness to a frame, and counts what went out undamaged.
    fn sent(&mut self, frame: Out, now: u64) -> Vec<u8> {
        let parity = if self.config.parity { self.config.kind.line().parity } else { LineParity::None };
        let whole = with_parity(&frame.bytes, parity);
        let bytes = match self.damaged(&whole, parity, frame.checksum_at) {
            Some(damaged) => {
                self.platform.counters.faults += 1;
                damaged
            }
            None => {
                if frame.weight {
                    self.platform.given_out();
                }
                whole
            }
        };
        if self.faults.slow_ms == 0 {
            return bytes;
        }
        if self.waiting.len() < WAITING_MAX && !bytes.is_empty() {
            self.waiting.push_back((now.saturating_add(self.faults.slow_ms.into()), bytes));
        }
        Vec::new()
    }

    fn damaged(&mut self, whole: &[u8], parity: LineParity, checksum_at: Option<usize>) -> Option<Vec<u8>> {
        let faults = self.faults;
        let flipped = |at: usize, bit: u8| {
            let flip = |(place, byte): (usize, &u8)| if place == at { byte ^ bit } else { *byte };
            whole.iter().enumerate().map(flip).collect()
        };
        if faults.mute {
            return Some(Vec::new());
        }
        if faults.endless {
            return Some(whole.iter().take(1).copied().chain([b'8'; 64]).collect());
        }
        if self.rng.chance(faults.garbage_permille) {
            return Some((0..=self.rng.below(24)).map(|_| self.rng.byte()).collect());
        }
        if self.rng.chance(faults.truncated_permille) {
            return Some(whole.iter().take(whole.len() / 2).copied().collect());
        }
        if let Some(at) = checksum_at
            && self.rng.chance(faults.wrong_checksum_permille)
        {
            return Some(flipped(at, 0x01));
        }
        let parted = parity != LineParity::None && self.rng.chance(faults.wrong_parity_permille);
        parted.then(|| flipped(1, 0x80))
    }
}

fn with_parity(bytes: &[u8], parity: LineParity) -> Vec<u8> {
    let odd = match parity {
        LineParity::None => return bytes.to_vec(),
        LineParity::Even => 1,
        LineParity::Odd => 0,
    };
    let set = |byte: &u8| {
        let byte = byte & 0x7F;
        if byte.count_ones() % 2 == odd { byte | 0x80 } else { byte }
    };
    bytes.iter().map(set).collect()
}

fn dialect(config: ScaleConfig) -> Box<dyn Dialect> {
    match config.kind {
        ScaleKind::Toledo8217 => Box::new(toledo::Toledo::default()),
        ScaleKind::Dialog06 => Box::new(priced::Dialog06::new(config.checksum_polynomial)),
        ScaleKind::Tisa => Box::new(priced::Tisa::default()),
        ScaleKind::EnqDc1 | ScaleKind::Os2x => Box::new(lines::EnqDc1::new(config)),
        ScaleKind::MtSics => Box::new(lines::MtSics::new(config)),
        ScaleKind::NciScp01 | ScaleKind::NciScp02 => Box::new(lines::Nci::new(config)),
        ScaleKind::Cas22 | ScaleKind::Cas10 | ScaleKind::And18 | ScaleKind::AndNative => {
            Box::new(lines::Stream::new(config))
        }
        ScaleKind::Xk3190A23 => Box::new(lines::Xk3190::new(config)),
    }
}

#[cfg(test)]
mod tests;
