//! The node: settings, filters, alarms, samples and commands behind the register map.
//!
//! A board calls [`Node::tick`] often, [`round`] twice a second, [`crate::line::Line::poll`] with the node, and does what
//! [`Node::wish`] asks for. Only [`Wish::Save`] and [`round`] take long; while they wait, the [`Pump`] serves the line.

use drv_protocol::i2c::{Climate, Fault, Probe};
use drv_protocol::modbus::{Exception, Table};
use drv_protocol::node::{
    Access, Command, CommandResult, MAP_VERSION, NO_READING, PROBES, PRODUCT, PRODUCT_ID, Quality,
    ResetReason, SLOT_WORDS, SLOTS, VENDOR, WINDOW, entry, holding, input, status,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use crate::alarm::{Alarm, Rule, Side};
use crate::door::Door;
use crate::filter::Filter;
use crate::image::Header;
use crate::line::Registers;
use crate::liveness::Liveness;
use crate::samples::{Sample, Samples, Slots, halves};
use crate::settings::{BLOCK, Found, Settings};

/// How often the probes are measured, in milliseconds: a TMP105 converts twelve bits in at most 300.
pub const ROUND_MS: u64 = 500;
/// Least and largest calibrated reading, in thousandths of a degree.
const RANGE_MC: core::ops::RangeInclusive<i32> = -60_000..=125_000;

/// What is known at a start and does not change.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Why it started.
    pub reason: ResetReason,
    /// The firmware's own image.
    pub image: Header,
    /// The version as text, for the identification.
    pub version: &'static str,
}

/// What a node wants of its board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Write these settings and this end of the reserved numbers, then call [`Node::saved`].
    Save(Settings, u32),
    /// Start anew.
    Restart,
    /// Stop measuring until the watchdog bites.
    Hang,
}

/// The node.
#[derive(Debug)]
pub struct Node<'a> {
    settings: Settings,
    kept: Settings,
    generation: u32,
    copies: u16,
    reserved: u32,
    /// No new reservation before this number: a part that failed is not worn further.
    reserve_from: u32,
    facts: Facts,
    samples: Samples<'a>,
    filters: [Filter; PROBES],
    high: Alarm,
    low: Alarm,
    door: Door,
    door_open: bool,
    restarted: bool,
    bad_frames: u16,
    command: Option<Command>,
    result: CommandResult,
    now_ms: u64,
    sample_ms: u64,
    /// What was done when.
    pub liveness: Liveness,
}

impl<'a> Node<'a> {
    /// A node with the settings found. `slots` are believed after every start but one with power.
    pub fn new(found: &Found, slots: &'a mut Slots, facts: Facts) -> Self {
        let record = found.record;
        let samples = if facts.reason == ResetReason::PowerOn {
            Samples::new(slots, record.reserved)
        } else {
            Samples::recover(slots, record.reserved, BLOCK)
        };
        Self {
            settings: record.settings,
            kept: record.settings,
            generation: record.generation,
            copies: found.good,
            reserved: record.reserved,
            reserve_from: 0,
            facts,
            samples,
            filters: [Filter::default(); PROBES],
            high: Alarm::default(),
            low: Alarm::default(),
            door: Door::default(),
            door_open: false,
            restarted: true,
            bad_frames: 0,
            command: None,
            result: CommandResult::Idle,
            now_ms: 0,
            sample_ms: 0,
            liveness: Liveness::default(),
        }
    }

    /// The settings that act.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The samples.
    #[must_use]
    pub const fn samples(&self) -> &Samples<'a> {
        &self.samples
    }

    /// Time has passed, and the door is open or not.
    pub fn tick(&mut self, now_ms: u64, door_open: bool) {
        self.now_ms = now_ms;
        self.door_open = self.door.update(now_ms, door_open);
        self.liveness.line(now_ms);
    }

    /// Takes what a probe said.
    pub fn measured(&mut self, probe: usize, found: Result<Climate, Fault>) {
        let found = found.map(|climate| climate.temperature.0).map_err(|fault| match fault {
            Fault::Bus(_) => Quality::NoAnswer,
            Fault::DeadLine(_) => Quality::DeadLine,
            Fault::Crc(_) | Fault::Identity { .. } => Quality::OtherChip,
            Fault::NotReady => Quality::Waiting,
            Fault::OutOfRange { .. } => Quality::OutOfRange,
        });
        let now = self.now_ms;
        if let Some(filter) = self.filters.get_mut(probe) {
            filter.update(now, found);
        }
    }

    /// All probes have been asked: judges the limits and buffers a sample when one is due.
    pub fn round_ended(&mut self) {
        self.liveness.measured(self.now_ms);
        let settings = self.settings;
        let rule = |side, tenths: i16| Rule {
            side,
            limit_mc: i32::from(tenths) * 100,
            hysteresis_mc: i32::from(settings.hysteresis) * 100,
            delay_ms: u64::from(settings.alarm_delay_s) * 1_000,
        };
        let reading = self.reading(0).ok();
        self.high.update(self.now_ms, reading, &rule(Side::Above, settings.high_limit));
        self.low.update(self.now_ms, reading, &rule(Side::Below, settings.low_limit));
        if self.now_ms >= self.sample_ms {
            let period = u64::from(settings.sample_period_s.max(1)) * 1_000;
            // On a grid, unless rounds were missed.
            self.sample_ms = (self.sample_ms + period).max(self.now_ms);
            self.samples.push(self.sample());
        }
    }

    /// What a probe reads, calibrated, in thousandths of a degree.
    ///
    /// # Errors
    /// Why there is no reading.
    pub fn reading(&self, probe: usize) -> Result<i32, Quality> {
        if self.settings.fitted >> probe & 1 == 0 {
            return Err(Quality::Absent);
        }
        let filter = self.filters.get(probe).ok_or(Quality::Absent)?;
        let offset = self.settings.offsets.get(probe).map_or(0, |offset| i32::from(*offset) * 10);
        let reading = filter.reading()?.saturating_add(offset);
        if RANGE_MC.contains(&reading) { Ok(reading) } else { Err(Quality::OutOfRange) }
    }

    /// What the board must do now, at most once each.
    pub fn wish(&mut self) -> Option<Wish> {
        match self.command.take() {
            Some(Command::Save) => return Some(Wish::Save(self.settings, self.reserved)),
            Some(Command::Restart) => return Some(Wish::Restart),
            Some(Command::ProveWatchdog) => return Some(Wish::Hang),
            Some(Command::Revert) => {
                self.settings = self.kept;
                self.result = CommandResult::Done;
            }
            None => {}
        }
        let newest = self.samples.newest();
        let due = newest >= self.reserve_from && self.reserved.saturating_sub(newest) < BLOCK / 2;
        due.then(|| Wish::Save(self.kept, newest.saturating_add(BLOCK)))
    }

    /// The board has tried to save what [`Wish::Save`] said.
    pub fn saved(&mut self, found: &Found, held: bool) {
        if !held {
            self.reserve_from = self.samples.newest().saturating_add(BLOCK / 2);
        } else {
            self.kept = found.record.settings;
            self.reserved = found.record.reserved;
            self.generation = found.record.generation;
        }
        if self.result == CommandResult::Working {
            self.result = if held { CommandResult::Done } else { CommandResult::Failed };
        }
    }

    fn status(&self) -> u16 {
        let bits = [
            (self.reading(0).is_err(), status::SENSOR_FAULT),
            (self.door_open, status::DOOR_OPEN),
            (self.high.is_raised(), status::HIGH),
            (self.low.is_raised(), status::LOW),
            (self.restarted, status::RESTARTED),
        ];
        bits.iter().fold(0, |all, (on, bit)| if *on { all | bit } else { all })
    }

    fn sample(&self) -> Sample {
        let mut sample = Sample { uptime_s: self.uptime_s(), status: self.status(), ..Sample::default() };
        for (probe, word) in sample.tenths.iter_mut().enumerate() {
            *word = steps(self.reading(probe), 100);
            sample.quality |= self.quality(probe).code() << (4 * probe);
        }
        sample
    }

    fn quality(&self, probe: usize) -> Quality {
        self.reading(probe).err().unwrap_or(Quality::Good)
    }

    fn uptime_s(&self) -> u32 {
        u32::try_from(self.now_ms / 1_000).unwrap_or(u32::MAX)
    }

    fn input(&self, address: u16) -> u16 {
        let first = |entry: u16| usize::from(address - entry);
        match address {
            input::TEMPERATURE => steps(self.reading(0), 100),
            input::HUMIDITY => NO_READING,
            input::STATUS => self.status(),
            input::OLDEST_LOW => halves(self.samples.oldest())[1],
            input::MORE_TEMPERATURES..=8 => steps(self.reading(first(input::MORE_TEMPERATURES) + 1), 100),
            input::HUNDREDTHS..=19 => steps(self.reading(first(input::HUNDREDTHS)), 10),
            input::QUALITY..=23 => self.quality(first(input::QUALITY)).code(),
            input::BUFFERED => self.samples.buffered(),
            input::LOST => self.samples.lost(),
            input::MAP => MAP_VERSION,
            input::VERSION => {
                let [major, minor, _] = self.facts.image.version;
                u16::from_be_bytes([major, minor])
            }
            input::PATCH => u16::from(self.facts.image.version[2]),
            input::PRODUCT => PRODUCT_ID,
            input::RESET_REASON => self.facts.reason.code(),
            input::COPIES => self.copies,
            input::COMMAND_RESULT => self.result.code(),
            input::BAD_FRAMES => self.bad_frames,
            input::SLOTS => SLOTS,
            input::SLOT_WORDS => SLOT_WORDS,
            _ => 0,
        }
    }

    /// The 32-bit values of the input table.
    fn long(&self, address: u16) -> Option<u32> {
        Some(match address {
            input::UPTIME => self.uptime_s(),
            input::OLDEST => self.samples.oldest(),
            input::NEWEST => self.samples.newest(),
            input::SERIAL => self.kept.serial,
            input::IMAGE_CRC => self.facts.image.crc,
            input::IMAGE_BYTES => self.facts.image.bytes,
            input::GENERATION => self.generation,
            _ => return None,
        })
    }

    fn holding(&self, address: u16) -> u16 {
        let settings = &self.settings;
        match address {
            holding::UNIT => u16::from(settings.unit),
            holding::HIGH_LIMIT => settings.high_limit.cast_unsigned(),
            holding::LOW_LIMIT => settings.low_limit.cast_unsigned(),
            holding::ALARM_DELAY => settings.alarm_delay_s,
            holding::SAMPLE_PERIOD => settings.sample_period_s,
            holding::ACKNOWLEDGED => self.samples.acknowledged(),
            holding::HYSTERESIS => settings.hysteresis,
            holding::FITTED => settings.fitted,
            holding::OFFSETS..=11 => {
                let probe = usize::from(address - holding::OFFSETS);
                settings.offsets.get(probe).map_or(0, |offset| offset.cast_unsigned())
            }
            _ => 0,
        }
    }
}

/// Steps of `step` thousandths, rounded to the nearest, halves away from zero.
fn steps(reading: Result<i32, Quality>, step: i32) -> u16 {
    let Ok(milli) = reading else { return NO_READING };
    let half = if milli < 0 { -step / 2 } else { step / 2 };
    i16::try_from((milli + half) / step).map_or(NO_READING, i16::cast_unsigned)
}

impl Registers for Node<'_> {
    fn unit(&self) -> u8 {
        self.settings.unit
    }

    fn read(&self, table: Table, address: u16) -> Option<u16> {
        if table == Table::Input && address >= WINDOW {
            return self.samples.word(address - WINDOW);
        }
        let entry = entry(table, address)?;
        if table == Table::Holding {
            return Some(self.holding(address));
        }
        Some(match self.long(entry.address) {
            Some(long) => halves(long)[usize::from(address - entry.address)],
            None => self.input(address),
        })
    }

    fn was_read(&mut self, table: Table, address: u16, count: u16) {
        let covers = input::STATUS.checked_sub(address).is_some_and(|offset| offset < count);
        if table == Table::Input && covers {
            self.restarted = false;
            self.high.read();
            self.low.read();
        }
    }

    fn may_write(&self, address: u16, word: u16, broadcast: bool) -> Result<(), Exception> {
        let entry = entry(Table::Holding, address).ok_or(Exception::IllegalAddress)?;
        // A number given to all would leave none that can be spoken to.
        let taken = entry.takes(word)
            && match address {
                holding::ACKNOWLEDGED => self.samples.may_acknowledge(word),
                holding::COMMAND => Command::from_code(word).is_some(),
                holding::UNIT => !broadcast,
                _ => true,
            };
        if !taken {
            return Err(Exception::IllegalValue);
        }
        let busy = entry.access == Access::Action && address == holding::COMMAND;
        if busy && self.result == CommandResult::Working { Err(Exception::Busy) } else { Ok(()) }
    }

    fn write(&mut self, address: u16, word: u16) {
        let settings = &mut self.settings;
        match address {
            holding::UNIT => settings.unit = u8::try_from(word).unwrap_or(settings.unit),
            holding::HIGH_LIMIT => settings.high_limit = word.cast_signed(),
            holding::LOW_LIMIT => settings.low_limit = word.cast_signed(),
            holding::ALARM_DELAY => settings.alarm_delay_s = word,
            holding::SAMPLE_PERIOD => {
                settings.sample_period_s = word;
                self.sample_ms = self.now_ms;
            }
            holding::ACKNOWLEDGED => {
                self.samples.acknowledge(word);
            }
            holding::HYSTERESIS => settings.hysteresis = word,
            holding::FITTED => settings.fitted = word,
            holding::COMMAND => {
                self.command = Command::from_code(word);
                self.result = CommandResult::Working;
            }
            holding::OFFSETS..=11 => {
                if let Some(offset) = settings.offsets.get_mut(usize::from(address - holding::OFFSETS)) {
                    *offset = word.cast_signed();
                }
            }
            _ => {}
        }
    }

    fn identity(&self, object: u8) -> Option<&[u8]> {
        match object {
            0 => Some(VENDOR.as_bytes()),
            1 => Some(PRODUCT.as_bytes()),
            2 => Some(self.facts.version.as_bytes()),
            _ => None,
        }
    }

    fn damaged(&mut self) {
        self.bad_frames = self.bad_frames.saturating_add(1);
    }
}

/// Waits while it serves the line and the clock.
pub trait Pump<'a>: DelayNs {
    /// The node that is served.
    fn node(&mut self) -> &mut Node<'a>;
}

/// Asks every fitted probe once.
pub fn round<'a>(probes: &mut [Probe; PROBES], i2c: &mut impl I2c, pump: &mut impl Pump<'a>) {
    for (index, probe) in probes.iter_mut().enumerate() {
        if pump.node().settings.fitted >> index & 1 == 1 {
            let found = probe.measure(i2c, pump);
            pump.node().measured(index, found);
        }
    }
    pump.node().round_ended();
}

#[cfg(test)]
mod tests;
