//! A steamer: an Omron E5CC on unit 0 of three, an input module on unit 1, a second E5CC with the core probe on unit 2.
//!
//! Behavior that matters to a test: a `run` while running or after the program's end changes nothing; only a `stop`
//! in between makes the next `run` a new start. Writes are refused until writing over the line is allowed. The
//! program's time counts from when the chamber first reaches its set-point; when it has passed, the program ends,
//! the heater goes off and the chamber cools.

use drv_protocol::MilliCelsius;
use drv_protocol::modbus::{Exception, Table};
use drv_protocol::steamer::ControllerStatus;

use crate::cabinet::tenths;
use crate::thermal::Thermal;

/// How many units of the bus a steamer takes.
pub const STEAMER_UNITS: u8 = 3;
const OPERATION: u16 = 0xFFFF;
const REACHED_BAND_MC: i32 = 1_000;

/// How a steamer is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteamerConfig {
    /// The temperature of the room, of the cold chamber and of the cold food.
    pub ambient: MilliCelsius,
    /// About 63 % of the chamber's change happens in this time.
    pub chamber_tau_ms: u64,
    /// About 63 % of the food's change happens in this time.
    pub core_tau_ms: u64,
    /// How long the program steams at its set-point.
    pub steam_ms: u64,
    /// The set-point it is delivered with.
    pub set_point: MilliCelsius,
}

impl Default for SteamerConfig {
    fn default() -> Self {
        Self {
            ambient: MilliCelsius(22_000),
            chamber_tau_ms: 3_000,
            core_tau_ms: 4_000,
            steam_ms: 10_000,
            set_point: MilliCelsius(100_000),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Stopped,
    Heating,
    Steaming { since: u64 },
    Ended,
}

/// The steamer.
#[derive(Clone, Debug)]
pub struct SteamerSim {
    config: SteamerConfig,
    chamber: Thermal,
    core: Thermal,
    set_point: MilliCelsius,
    program: Program,
    writing: bool,
    looked_ms: u64,
    door_open: bool,
    low_water: bool,
    over_temperature: bool,
    sensor_broken: bool,
    started: u64,
    completed: u64,
    repeated: u64,
}

impl SteamerSim {
    /// A cold, stopped steamer that refuses writes until they are allowed.
    #[must_use]
    pub fn new(config: SteamerConfig, now: u64) -> Self {
        Self {
            config,
            chamber: Thermal::new(config.ambient, config.chamber_tau_ms, now),
            core: Thermal::new(config.ambient, config.core_tau_ms, now),
            set_point: config.set_point,
            program: Program::Stopped,
            writing: false,
            looked_ms: now,
            door_open: false,
            low_water: false,
            over_temperature: false,
            sensor_broken: false,
            started: 0,
            completed: 0,
            repeated: 0,
        }
    }

    /// Opens or closes the door.
    pub const fn set_door(&mut self, open: bool) {
        self.door_open = open;
    }

    /// Lets the water run low, or fills it up.
    pub const fn set_low_water(&mut self, low: bool) {
        self.low_water = low;
    }

    /// Trips or resets the over-temperature cut-out.
    pub const fn set_over_temperature(&mut self, tripped: bool) {
        self.over_temperature = tripped;
    }

    /// Breaks or mends the chamber's sensor.
    pub const fn set_sensor_broken(&mut self, broken: bool) {
        self.sensor_broken = broken;
    }

    /// The mains fail and return: the controller stands in stop, the program is lost.
    pub fn power_cut(&mut self, now: u64) {
        self.advance(now);
        self.program = Program::Stopped;
        self.cool(now);
    }

    /// Cold food replaces what was in the chamber.
    pub fn load_food(&mut self, now: u64) {
        self.advance(now);
        let target = self.core.target();
        self.core = Thermal::new(self.config.ambient, self.config.core_tau_ms, now);
        self.core.aim(target, self.config.core_tau_ms, now);
    }

    /// Programs started.
    #[must_use]
    pub const fn runs_started(&self) -> u64 {
        self.started
    }

    /// Programs that reached their end.
    #[must_use]
    pub const fn runs_completed(&self) -> u64 {
        self.completed
    }

    /// `run` writes that changed nothing.
    #[must_use]
    pub const fn runs_repeated(&self) -> u64 {
        self.repeated
    }

    /// The controller is not stopped.
    pub fn running(&mut self, now: u64) -> bool {
        self.advance(now);
        self.program != Program::Stopped
    }

    /// The program has ended and nobody has stopped the controller since.
    pub fn ended(&mut self, now: u64) -> bool {
        self.advance(now);
        self.program == Program::Ended
    }

    /// The chamber.
    pub fn chamber(&mut self, now: u64) -> MilliCelsius {
        self.advance(now);
        self.chamber.at(now)
    }

    /// The food's core.
    pub fn core(&mut self, now: u64) -> MilliCelsius {
        self.advance(now);
        self.core.at(now)
    }

    /// Moves the program on in small steps, so that its transitions fall at the same instants however it is looked at.
    fn advance(&mut self, now: u64) {
        const STEP_MS: u64 = 100;
        // A long absence is cut short: the program is over and everything is cold by then.
        let mut at = self.looked_ms.max(now.saturating_sub(6 * 3_600_000));
        while at + STEP_MS <= now && matches!(self.program, Program::Heating | Program::Steaming { .. }) {
            at += STEP_MS;
            self.step(at);
        }
        let idle = matches!(self.program, Program::Stopped | Program::Ended);
        self.looked_ms = if idle { now.max(self.looked_ms) } else { at };
    }

    fn step(&mut self, now: u64) {
        match self.program {
            Program::Heating if self.chamber.at(now).0 >= self.set_point.0 - REACHED_BAND_MC => {
                self.program = Program::Steaming { since: now };
            }
            Program::Steaming { since } if now - since >= self.config.steam_ms => {
                self.program = Program::Ended;
                self.completed += 1;
                self.cool(now);
            }
            _ => {}
        }
    }

    fn heat(&mut self, now: u64) {
        self.chamber.aim(self.set_point, self.config.chamber_tau_ms, now);
        self.core.aim(self.set_point, self.config.core_tau_ms, now);
    }

    fn cool(&mut self, now: u64) {
        // Steam and food hold their heat far longer than they take it up.
        self.chamber.aim(self.config.ambient, self.config.chamber_tau_ms * 20, now);
        self.core.aim(self.config.ambient, self.config.core_tau_ms * 40, now);
    }

    fn status(&self) -> ControllerStatus {
        let mut bits = 0;
        let heating = matches!(self.program, Program::Heating | Program::Steaming { .. });
        let rows = [
            (self.sensor_broken, ControllerStatus::INPUT_ERROR),
            (heating, ControllerStatus::HEATING),
            (self.program == Program::Ended, ControllerStatus::PROGRAM_END),
            (self.program == Program::Stopped, ControllerStatus::STOP),
            (self.writing, ControllerStatus::WRITING),
        ];
        for (on, bit) in rows {
            if on {
                bits |= bit;
            }
        }
        ControllerStatus(bits)
    }

    /// Reads one address of one of the steamer's units.
    ///
    /// # Errors
    /// An address the unit does not have.
    pub fn read(&mut self, unit: u8, table: Table, address: u16, now: u64) -> Result<u16, Exception> {
        self.advance(now);
        let [u0, u1, l0, l1] = self.status().0.to_be_bytes();
        let (upper, lower) = (u16::from_be_bytes([u0, u1]), u16::from_be_bytes([l0, l1]));
        match (unit, table, address) {
            (0, Table::Holding, 0x2000 | 0x0001) if self.sensor_broken => Ok(0x7FFF),
            (0, Table::Holding, 0x2000 | 0x0001) => Ok(tenths(self.chamber.at(now))),
            (0, Table::Holding, 0x0000) => Ok(0),
            (0, Table::Holding, 0x0002) => Ok(upper),
            (0, Table::Holding, 0x2001 | 0x0003) => Ok(lower),
            (0, Table::Holding, 0x2002 | 0x2103) => Ok(tenths(self.set_point)),
            (1, Table::Discrete, 0) => Ok(u16::from(self.door_open)),
            (1, Table::Discrete, 1) => Ok(u16::from(self.low_water)),
            (1, Table::Discrete, 2) => Ok(u16::from(self.over_temperature)),
            (1, Table::Discrete, 3..=7) | (2, Table::Holding, 0x2001) => Ok(0),
            (2, Table::Holding, 0x2000) => Ok(tenths(self.core.at(now))),
            _ => Err(Exception::IllegalAddress),
        }
    }

    /// Writes one address of one of the steamer's units.
    ///
    /// # Errors
    /// An address or value the unit does not take, or writing not allowed (answered as a device failure).
    pub fn write(
        &mut self,
        unit: u8,
        table: Table,
        address: u16,
        value: u16,
        now: u64,
    ) -> Result<(), Exception> {
        self.advance(now);
        if unit != 0 || table != Table::Holding {
            return Err(Exception::IllegalAddress);
        }
        let operation = matches!(address, OPERATION | 0x0000);
        match (operation, value) {
            (true, 0x0000 | 0x0001) => {
                self.writing = value == 1;
                return Ok(());
            }
            _ if !self.writing => return Err(Exception::DeviceFailure),
            (true, 0x0100) => self.run(now),
            (true, 0x0101) => {
                self.program = Program::Stopped;
                self.cool(now);
            }
            (true, _) => return Err(Exception::IllegalValue),
            (false, _) => return self.write_set_point(address, value, now),
        }
        Ok(())
    }

    fn write_set_point(&mut self, address: u16, value: u16, now: u64) -> Result<(), Exception> {
        if address != 0x2103 {
            return Err(Exception::IllegalAddress);
        }
        if value > 1_300 {
            return Err(Exception::IllegalValue);
        }
        self.set_point = MilliCelsius(i32::from(value) * 100);
        if matches!(self.program, Program::Heating | Program::Steaming { .. }) {
            self.heat(now);
        }
        Ok(())
    }

    fn run(&mut self, now: u64) {
        if self.program != Program::Stopped {
            self.repeated += 1;
            return;
        }
        self.program = Program::Heating;
        self.started += 1;
        self.looked_ms = now;
        self.heat(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(sim: &mut SteamerSim, value: u16, now: u64) -> Result<(), Exception> {
        sim.write(0, Table::Holding, OPERATION, value, now)
    }

    #[test]
    fn a_repeated_run_never_starts_a_second_program() {
        let mut sim = SteamerSim::new(SteamerConfig::default(), 0);
        assert_eq!(write(&mut sim, 0x0100, 0), Err(Exception::DeviceFailure));
        assert_eq!(write(&mut sim, 0x0001, 0), Ok(()));
        assert_eq!(write(&mut sim, 0x0100, 0), Ok(()));
        assert_eq!(write(&mut sim, 0x0100, 500), Ok(()));
        assert!(!sim.ended(10_000));
        assert!(sim.ended(60_000));
        assert_eq!(write(&mut sim, 0x0100, 61_000), Ok(()));
        assert!(sim.ended(90_000));
        assert_eq!((sim.runs_started(), sim.runs_completed(), sim.runs_repeated()), (1, 1, 2));
        assert_eq!(write(&mut sim, 0x0101, 91_000), Ok(()));
        assert!(!sim.running(91_000));
        assert_eq!(write(&mut sim, 0x0100, 92_000), Ok(()));
        assert_eq!(sim.runs_started(), 2);
    }

    #[test]
    fn it_heats_steams_ends_and_the_core_is_hot() {
        let mut sim = SteamerSim::new(SteamerConfig::default(), 0);
        assert_eq!(sim.read(0, Table::Holding, 0x2000, 0), Ok(220));
        assert_eq!(sim.read(0, Table::Holding, 0x0002, 0), Ok(0x0100));
        write(&mut sim, 0x0001, 0).unwrap();
        sim.write(0, Table::Holding, 0x2103, 980, 0).unwrap();
        write(&mut sim, 0x0100, 0).unwrap();
        assert_eq!(sim.read(0, Table::Holding, 0x2001, 1_000), Ok(0x0100));
        let mut looked_at = sim.clone();
        for now in (0..40_000).step_by(333) {
            looked_at.chamber(now);
        }
        assert_eq!(sim.read(0, Table::Holding, 0x2001, 40_000), Ok(0x8000));
        assert_eq!(looked_at.core(40_000), sim.core(40_000));
        assert!(sim.core(40_000) > MilliCelsius(75_000));
        sim.load_food(40_000);
        assert_eq!(sim.core(40_000), MilliCelsius(22_000));
    }

    #[test]
    fn a_power_cut_loses_the_program_and_inputs_are_wired() {
        let mut sim = SteamerSim::new(SteamerConfig::default(), 0);
        write(&mut sim, 0x0001, 0).unwrap();
        write(&mut sim, 0x0100, 0).unwrap();
        sim.power_cut(2_000);
        assert!(!sim.running(60_000));
        assert_eq!((sim.runs_started(), sim.runs_completed()), (1, 0));
        sim.set_door(true);
        sim.set_low_water(true);
        sim.set_over_temperature(true);
        sim.set_sensor_broken(true);
        let inputs: Vec<_> = (0..3).map(|at| sim.read(1, Table::Discrete, at, 60_000)).collect();
        assert_eq!(inputs, [Ok(1), Ok(1), Ok(1)]);
        assert_eq!(sim.read(0, Table::Holding, 0x2000, 60_000), Ok(0x7FFF));
        assert_eq!(sim.read(3, Table::Holding, 0, 60_000), Err(Exception::IllegalAddress));
    }
}
