//! One I2C bus with temperature and humidity chips on it, as `embedded-hal` sees it.
//!
//! Each chip has its registers or commands as far as a driver uses them, the state after a reset, and a first conversion that
//! takes its time. Time passes only by [`I2cSim::elapse`], which [`SharedI2c`] calls when it is used as a delay: a test
//! that waits for a conversion waits for nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drv_protocol::i2c::{Chip, crc8};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use crate::rng::Rng;

const NO_ADDRESS: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
const NO_DATA: ErrorKind = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data);

/// Time from a reset to the first result, by the data sheets.
const fn first_conversion_ms(chip: Chip) -> u64 {
    match chip {
        Chip::Sht3x | Chip::Sht4x => 0,
        Chip::Tmp117 => 125,
        Chip::Mcp9808 => 250,
        Chip::Lm75 | Chip::Tmp105 => 300,
    }
}

/// What is wrong with a chip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChipFaults {
    /// Does not acknowledge.
    pub absent: bool,
    /// In so many of 1000 transactions it does not acknowledge.
    pub refuse_permille: u16,
    /// In so many of 1000 answers one bit is wrong.
    pub flip_permille: u16,
    /// Every byte reads as this: 0x00 for a line shorted to ground, 0xFF for an open one.
    pub level: Option<u8>,
    /// Keeps answering with the last measurement, whatever the temperature.
    pub frozen: bool,
}

struct ChipSim {
    chip: Chip,
    milli: i32,
    centi_percent: u16,
    frozen_at: Option<(i32, u16)>,
    faults: ChipFaults,
    pointer: u8,
    answer: Option<[u8; 6]>,
    over_temperature: [u8; 2],
    /// Milliseconds to the first result.
    busy_ms: u64,
}

impl ChipSim {
    fn new(chip: Chip) -> Self {
        Self {
            chip,
            milli: 4_000,
            centi_percent: 8_000,
            frozen_at: None,
            faults: ChipFaults::default(),
            pointer: 0,
            answer: None,
            over_temperature: [0x50, 0x00],
            busy_ms: first_conversion_ms(chip),
        }
    }

    fn written(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        match (self.chip, bytes) {
            (Chip::Sht3x, [0x30, 0xA2]) | (Chip::Sht4x, [0x94]) => self.answer = None,
            (Chip::Sht3x, [0x24, 0x00]) | (Chip::Sht4x, [0xFD]) => self.answer = Some(self.sensirion()),
            (Chip::Sht3x | Chip::Sht4x, _) => return Err(NO_DATA),
            (_, [pointer, rest @ ..]) => {
                self.pointer = *pointer;
                if let (Chip::Lm75 | Chip::Tmp105, 0x03, &[high, low]) = (self.chip, *pointer, rest) {
                    self.over_temperature = [high, low];
                }
            }
            (_, []) => {}
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), ErrorKind> {
        let bytes: Vec<u8> = match self.chip {
            // Without a measurement there is nothing to acknowledge.
            Chip::Sht3x | Chip::Sht4x => self.answer.take().ok_or(NO_ADDRESS)?.to_vec(),
            _ => self.register().to_vec(),
        };
        for (at, slot) in buffer.iter_mut().enumerate() {
            *slot = bytes.get(at).copied().unwrap_or(0xFF);
        }
        Ok(())
    }

    /// What is measured now.
    fn truth(&mut self) -> (i32, u16) {
        let now = (self.milli, self.centi_percent);
        if self.faults.frozen { *self.frozen_at.get_or_insert(now) } else { now }
    }

    fn sensirion(&mut self) -> [u8; 6] {
        let (milli, centi) = self.truth();
        let word = |numerator: i64, denominator: i64| {
            u16::try_from((numerator * 65_535 / denominator).clamp(0, 65_535))
                .unwrap_or_default()
                .to_be_bytes()
        };
        let [t0, t1] = word(i64::from(milli) + 45_000, 175_000);
        let [h0, h1] = match self.chip {
            Chip::Sht4x => word(i64::from(centi) + 600, 12_500),
            _ => word(centi.into(), 10_000),
        };
        [t0, t1, crc8(&[t0, t1]), h0, h1, crc8(&[h0, h1])]
    }

    fn register(&mut self) -> [u8; 2] {
        let (milli, _) = self.truth();
        let ready = self.busy_ms == 0;
        let word = |value: i32| i16::try_from(value).unwrap_or(i16::MAX).to_be_bytes();
        match (self.chip, self.pointer) {
            (Chip::Tmp117, 0x00) if ready => word(milli * 16 / 125),
            (Chip::Tmp117, 0x00) => [0x80, 0x00],
            (Chip::Tmp117, 0x0F) => [0x01, 0x17],
            (Chip::Mcp9808, 0x05) if ready => {
                let [high, low] = word(milli * 16 / 1000);
                [high & 0x1F, low]
            }
            (Chip::Mcp9808, 0x06) => [0x00, 0x54],
            (Chip::Mcp9808, 0x07) => [0x04, 0x00],
            (Chip::Lm75, 0x00) if ready => word((milli * 2).div_euclid(1000) * 128),
            (Chip::Tmp105, 0x00) if ready => word((milli * 16).div_euclid(1000) * 16),
            (Chip::Lm75 | Chip::Tmp105, 0x03) => self.over_temperature,
            _ => [0x00, 0x00],
        }
    }
}

/// The bus. What nobody answers is not acknowledged.
pub struct I2cSim {
    chips: BTreeMap<u8, ChipSim>,
    rng: Rng,
    held: bool,
    unplugged: bool,
    transactions: u64,
}

impl I2cSim {
    /// An empty bus.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { chips: BTreeMap::new(), rng: Rng::new(seed), held: false, unplugged: false, transactions: 0 }
    }

    /// Puts a chip on the bus, at 4 °C and 80 %, freshly powered.
    pub fn insert(&mut self, address: u8, chip: Chip) {
        self.chips.insert(address, ChipSim::new(chip));
    }

    /// Sets what a chip measures: thousandths of a degree, hundredths of a percent.
    pub fn set(&mut self, address: u8, milli: i32, centi_percent: u16) {
        if let Some(chip) = self.chips.get_mut(&address) {
            (chip.milli, chip.centi_percent) = (milli, centi_percent);
        }
    }

    /// Sets a chip's faults.
    pub fn set_faults(&mut self, address: u8, faults: ChipFaults) {
        if let Some(chip) = self.chips.get_mut(&address) {
            chip.faults = faults;
            if !faults.frozen {
                chip.frozen_at = None;
            }
        }
    }

    /// Power of a chip fails for a moment: registers as delivered, no result yet.
    pub fn reset(&mut self, address: u8) {
        if let Some(chip) = self.chips.get_mut(&address) {
            let (milli, centi, faults) = (chip.milli, chip.centi_percent, chip.faults);
            *chip = ChipSim { milli, centi_percent: centi, faults, ..ChipSim::new(chip.chip) };
        }
    }

    /// A line is held low: nothing can be said on the bus.
    pub const fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// The adapter leaves or comes back.
    pub const fn unplug(&mut self, unplugged: bool) {
        self.unplugged = unplugged;
    }

    /// Whether the adapter is away.
    #[must_use]
    pub const fn unplugged(&self) -> bool {
        self.unplugged
    }

    /// Transactions begun.
    #[must_use]
    pub const fn transactions(&self) -> u64 {
        self.transactions
    }

    /// Lets time pass.
    pub fn elapse(&mut self, milliseconds: u64) {
        for chip in self.chips.values_mut() {
            chip.busy_ms = chip.busy_ms.saturating_sub(milliseconds);
        }
    }
}

impl ErrorType for I2cSim {
    type Error = ErrorKind;
}

impl I2c for I2cSim {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        self.transactions += 1;
        if self.unplugged {
            return Err(ErrorKind::Other);
        }
        if self.held {
            return Err(ErrorKind::Bus);
        }
        let chip = self.chips.get_mut(&address).filter(|chip| !chip.faults.absent).ok_or(NO_ADDRESS)?;
        if self.rng.chance(chip.faults.refuse_permille) {
            return Err(NO_ADDRESS);
        }
        for operation in operations {
            match operation {
                Operation::Write(bytes) => chip.written(bytes)?,
                Operation::Read(buffer) => {
                    chip.read(buffer)?;
                    if let Some(level) = chip.faults.level {
                        buffer.fill(level);
                    } else if self.rng.chance(chip.faults.flip_permille) {
                        let length = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
                        let at = usize::try_from(self.rng.below(length)).unwrap_or_default();
                        let bit = self.rng.byte() & 7;
                        if let Some(byte) = buffer.get_mut(at) {
                            *byte ^= 1 << bit;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A bus that a driver and a test hold together; as a delay it lets the bus's time pass.
#[derive(Clone)]
pub struct SharedI2c(Arc<Mutex<I2cSim>>);

impl SharedI2c {
    /// Shares a bus.
    #[must_use]
    pub fn new(bus: I2cSim) -> Self {
        Self(Arc::new(Mutex::new(bus)))
    }

    /// The bus.
    pub fn bus(&self) -> MutexGuard<'_, I2cSim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ErrorType for SharedI2c {
    type Error = ErrorKind;
}

impl I2c for SharedI2c {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        self.bus().transaction(address, operations)
    }
}

impl DelayNs for SharedI2c {
    fn delay_ns(&mut self, nanoseconds: u32) {
        self.bus().elapse(u64::from(nanoseconds).div_ceil(1_000_000));
    }

    fn delay_ms(&mut self, milliseconds: u32) {
        self.bus().elapse(milliseconds.into());
    }
}

#[cfg(test)]
mod tests {
    use drv_protocol::i2c::{Fault, Probe};

    use super::*;

    const PLACES: [(u8, Chip); 6] = [
        (0x44, Chip::Sht3x),
        (0x46, Chip::Sht4x),
        (0x48, Chip::Tmp117),
        (0x18, Chip::Mcp9808),
        (0x4C, Chip::Lm75),
        (0x4D, Chip::Tmp105),
    ];

    fn bus() -> SharedI2c {
        let mut bus = I2cSim::new(1);
        PLACES.iter().for_each(|(address, chip)| bus.insert(*address, *chip));
        SharedI2c::new(bus)
    }

    fn read(bus: &SharedI2c, probe: &mut Probe) -> Result<i32, Fault> {
        probe.measure(&mut bus.clone(), &mut bus.clone()).map(|climate| climate.temperature.0)
    }

    #[test]
    fn every_chip_is_read_within_its_resolution_over_the_cold_and_the_hot() {
        let bus = bus();
        for (address, chip) in PLACES {
            let mut probe = Probe::new(chip, address).unwrap();
            let step = if chip == Chip::Lm75 { 500 } else { 63 };
            for milli in (-39_500..100_000).step_by(1_237).chain([0, -1, 1]) {
                bus.bus().set(address, milli, 5_000);
                let got = read(&bus, &mut probe).unwrap();
                assert!((got - milli).abs() <= step, "{chip:?}: {milli} read as {got}");
            }
        }
    }

    #[test]
    fn a_chip_that_lost_its_power_never_reads_as_zero_degrees() {
        let bus = bus();
        for (address, chip) in PLACES {
            let mut probe = Probe::new(chip, address).unwrap();
            bus.bus().set(address, 21_000, 5_000);
            read(&bus, &mut probe).unwrap();
            bus.bus().reset(address);
            let after = read(&bus, &mut probe);
            let right = after.is_ok_and(|milli| (milli - 21_000).abs() <= 500);
            assert!(right || after == Err(Fault::NotReady), "{chip:?}: {after:?}");
            assert!((read(&bus, &mut probe).unwrap() - 21_000).abs() <= 500);
        }
    }

    #[test]
    fn wrong_bits_never_pass_a_checksum() {
        let bus = bus();
        for (address, chip) in [PLACES[0], PLACES[1]] {
            let mut probe = Probe::new(chip, address).unwrap();
            bus.bus().set_faults(address, ChipFaults { flip_permille: 300, ..ChipFaults::default() });
            let (mut good, mut bad) = (0, 0);
            for _ in 0..500 {
                match read(&bus, &mut probe) {
                    Ok(milli) => {
                        assert!((milli - 4_000).abs() <= 3, "{milli}");
                        good += 1;
                    }
                    Err(Fault::Crc(_)) => bad += 1,
                    Err(other) => panic!("{other}"),
                }
            }
            assert!(good > 100 && bad > 50, "{good} {bad}");
        }
    }

    #[test]
    fn absent_held_and_dead_are_told_apart() {
        let bus = bus();
        for (address, chip) in PLACES {
            let mut probe = Probe::new(chip, address).unwrap();
            let with = |faults| bus.bus().set_faults(address, faults);
            with(ChipFaults { absent: true, ..ChipFaults::default() });
            assert_eq!(read(&bus, &mut probe), Err(Fault::Bus(NO_ADDRESS)));
            for level in [0x00, 0xFF] {
                with(ChipFaults { level: Some(level), ..ChipFaults::default() });
                assert!(matches!(read(&bus, &mut probe), Err(Fault::DeadLine(_))), "{chip:?}");
            }
            with(ChipFaults { frozen: true, ..ChipFaults::default() });
            let stuck = read(&bus, &mut probe).unwrap();
            bus.bus().set(address, 30_000, 5_000);
            assert_eq!(read(&bus, &mut probe), Ok(stuck));
            with(ChipFaults::default());
        }
        bus.bus().hold(true);
        let mut probe = Probe::new(Chip::Tmp117, 0x48).unwrap();
        assert_eq!(read(&bus, &mut probe), Err(Fault::Bus(ErrorKind::Bus)));
    }
}
