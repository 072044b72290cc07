//! A cold cabinet: air with a thermal model behind a controller's registers.
//!
//! Script: [`CabinetSim::begin_excursion`] makes the air warm up slowly, as with a failed compressor;
//! [`CabinetSim::begin_defrost`] runs defrost, drip and fan delay by itself.

use drv_protocol::MilliCelsius;
use drv_protocol::modbus::{Exception, Table};
use drv_protocol::profile::CabinetState;

use crate::thermal::Thermal;

/// Which controller's register map the cabinet shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CabinetMap {
    /// Danfoss AK-CC55: parameter numbers as addresses.
    #[default]
    DanfossAkCc55,
    /// Our own node's map, profile `generic-probe`: input registers.
    GenericProbe,
}

/// How the cabinet warms and cools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CabinetConfig {
    /// The register map.
    pub map: CabinetMap,
    /// The air at rest.
    pub normal: MilliCelsius,
    /// About 63 % of any change happens in this time.
    pub tau_ms: u64,
    /// How warm the air gets in defrost.
    pub defrost: MilliCelsius,
    /// How long defrost, drip and fan delay last.
    pub phases_ms: [u64; 3],
}

impl Default for CabinetConfig {
    fn default() -> Self {
        Self {
            map: CabinetMap::DanfossAkCc55,
            normal: MilliCelsius(3_000),
            tau_ms: 20_000,
            defrost: MilliCelsius(9_000),
            phases_ms: [20_000, 5_000, 5_000],
        }
    }
}

/// The cabinet.
#[derive(Clone, Debug)]
pub struct CabinetSim {
    config: CabinetConfig,
    air: Thermal,
    excursion: Option<MilliCelsius>,
    defrost_since: Option<u64>,
    door_open: bool,
    sensor_broken: bool,
    set_point_raw: u16,
    excursions: u64,
    defrosts: u64,
}

impl CabinetSim {
    /// A cabinet at its normal temperature.
    #[must_use]
    pub fn new(config: CabinetConfig, now: u64) -> Self {
        Self {
            config,
            air: Thermal::new(config.normal, config.tau_ms, now),
            excursion: None,
            defrost_since: None,
            door_open: false,
            sensor_broken: false,
            set_point_raw: tenths(config.normal),
            excursions: 0,
            defrosts: 0,
        }
    }

    /// Cooling fails: from `now` on the air runs towards `to`.
    pub fn begin_excursion(&mut self, to: MilliCelsius, now: u64) {
        self.excursion = Some(to);
        self.excursions += 1;
        self.aim(now);
    }

    /// Cooling works again.
    pub fn end_excursion(&mut self, now: u64) {
        self.excursion = None;
        self.aim(now);
    }

    /// A defrost with drip and fan delay; it ends by itself.
    pub fn begin_defrost(&mut self, now: u64) {
        self.defrost_since = Some(now);
        self.defrosts += 1;
        self.aim(now);
    }

    /// Opens or closes the door (the signal only; use an excursion for the warmth).
    pub const fn set_door(&mut self, open: bool) {
        self.door_open = open;
    }

    /// Breaks or mends the sensor.
    pub const fn set_sensor_broken(&mut self, broken: bool) {
        self.sensor_broken = broken;
    }

    /// The air.
    pub fn temperature(&mut self, now: u64) -> MilliCelsius {
        self.advance(now);
        self.air.at(now)
    }

    /// What the controller is doing.
    pub fn state(&mut self, now: u64) -> CabinetState {
        self.advance(now);
        if self.sensor_broken {
            return CabinetState::Emergency;
        }
        let [defrost, drip, _] = self.config.phases_ms;
        match self.defrost_since.map(|since| now.saturating_sub(since)) {
            Some(elapsed) if elapsed < defrost => CabinetState::Defrost,
            Some(elapsed) if elapsed < defrost + drip => CabinetState::Drip,
            Some(_) => CabinetState::FanDelay,
            None if self.door_open => CabinetState::DoorOpen,
            None => CabinetState::Normal,
        }
    }

    /// An excursion is under way.
    #[must_use]
    pub const fn in_excursion(&self) -> bool {
        self.excursion.is_some()
    }

    /// Excursions begun so far.
    #[must_use]
    pub const fn excursions(&self) -> u64 {
        self.excursions
    }

    /// Defrosts begun so far.
    #[must_use]
    pub const fn defrosts(&self) -> u64 {
        self.defrosts
    }

    fn advance(&mut self, now: u64) {
        let Some(since) = self.defrost_since else { return };
        let [defrost, drip, fan] = self.config.phases_ms;
        let warm_until = since + defrost + drip;
        if now >= warm_until && self.air.target() == self.config.defrost && self.excursion.is_none() {
            self.air.aim(self.config.normal, self.config.tau_ms, warm_until);
        }
        if now >= warm_until + fan {
            self.defrost_since = None;
        }
    }

    fn aim(&mut self, now: u64) {
        let defrosting = self.defrost_since.map(|_| self.config.defrost);
        let target = self.excursion.or(defrosting).unwrap_or(self.config.normal);
        self.air.aim(target, self.config.tau_ms, now);
    }

    /// Reads one address of the controller.
    ///
    /// # Errors
    /// An address the controller does not have.
    pub fn read(&mut self, table: Table, address: u16, now: u64) -> Result<u16, Exception> {
        let air = self.temperature(now);
        let state = self.state(now);
        match (self.config.map, table, address) {
            (CabinetMap::DanfossAkCc55, Table::Holding, 2532 | 2578) if self.sensor_broken => Ok(0x7FFF),
            (CabinetMap::DanfossAkCc55, Table::Holding, 2532 | 2578 | 2702) => Ok(tenths(air)),
            (CabinetMap::DanfossAkCc55, Table::Holding, 2007) => Ok(danfoss_state(state)),
            (CabinetMap::DanfossAkCc55, Table::Holding, 2541) => Ok(u16::from(self.sensor_broken)),
            (CabinetMap::DanfossAkCc55, Table::Holding, 100) => Ok(self.set_point_raw),
            (CabinetMap::GenericProbe, Table::Input, 0) if self.sensor_broken => Ok(0x8000),
            (CabinetMap::GenericProbe, Table::Input, 0) => Ok(tenths(air)),
            (CabinetMap::GenericProbe, Table::Input, 1) => Ok(0),
            (CabinetMap::GenericProbe, Table::Input, 2) => {
                Ok(u16::from(self.sensor_broken) | u16::from(self.door_open) << 1)
            }
            _ => Err(Exception::IllegalAddress),
        }
    }

    /// Writes one address of the controller.
    ///
    /// # Errors
    /// An address or value the controller does not take.
    pub fn write(&mut self, table: Table, address: u16, value: u16) -> Result<(), Exception> {
        match (self.config.map, table, address) {
            (CabinetMap::DanfossAkCc55, Table::Holding, 100)
                if (-500..=500).contains(&value.cast_signed()) =>
            {
                self.set_point_raw = value;
                Ok(())
            }
            (CabinetMap::DanfossAkCc55, Table::Holding, 100) => Err(Exception::IllegalValue),
            _ => Err(Exception::IllegalAddress),
        }
    }
}

/// A temperature as the controllers count: tenths of a degree, two's complement, rounded.
pub(crate) fn tenths(value: MilliCelsius) -> u16 {
    let raw = (value.0 + 50).div_euclid(100);
    i16::try_from(raw).unwrap_or(if raw < 0 { i16::MIN } else { i16::MAX }).cast_unsigned()
}

const fn danfoss_state(state: CabinetState) -> u16 {
    match state {
        CabinetState::Defrost => 14,
        CabinetState::Drip => 4,
        CabinetState::FanDelay => 15,
        CabinetState::Hold => 1,
        CabinetState::Off => 10,
        CabinetState::DoorOpen => 17,
        CabinetState::Emergency => 20,
        CabinetState::Manual => 25,
        CabinetState::Normal | CabinetState::PullDown | CabinetState::Unknown(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excursion_ramps_up_and_comes_back() {
        let mut sim = CabinetSim::new(CabinetConfig::default(), 0);
        assert_eq!(sim.read(Table::Holding, 2532, 0), Ok(30));
        sim.begin_excursion(MilliCelsius(12_000), 1_000);
        let early = sim.temperature(3_000);
        assert!(early > MilliCelsius(3_000) && early < MilliCelsius(5_000), "{early}");
        assert!(sim.temperature(120_000) > MilliCelsius(11_900));
        sim.end_excursion(120_000);
        assert!(sim.temperature(320_000) < MilliCelsius(3_100));
        assert_eq!(sim.excursions(), 1);
    }

    #[test]
    fn a_defrost_runs_its_phases_and_ends_by_itself() {
        let mut sim = CabinetSim::new(CabinetConfig::default(), 0);
        sim.begin_defrost(0);
        assert_eq!(sim.read(Table::Holding, 2007, 10_000), Ok(14));
        assert_eq!(sim.read(Table::Holding, 2007, 21_000), Ok(4));
        let peak = sim.temperature(25_000);
        assert!(peak > MilliCelsius(6_000), "{peak}");
        assert_eq!(sim.state(27_000), CabinetState::FanDelay);
        assert_eq!(sim.state(31_000), CabinetState::Normal);
        assert!(sim.temperature(160_000) < MilliCelsius(3_100));
    }

    #[test]
    fn a_broken_sensor_is_a_fault_value_and_writes_are_bounded() {
        let mut sim =
            CabinetSim::new(CabinetConfig { map: CabinetMap::GenericProbe, ..CabinetConfig::default() }, 0);
        sim.set_sensor_broken(true);
        sim.set_door(true);
        assert_eq!(sim.read(Table::Input, 0, 0), Ok(0x8000));
        assert_eq!(sim.read(Table::Input, 2, 0), Ok(3));
        assert_eq!(sim.read(Table::Holding, 0, 0), Err(Exception::IllegalAddress));
        let mut sim = CabinetSim::new(CabinetConfig::default(), 0);
        assert_eq!(sim.write(Table::Holding, 100, 501), Err(Exception::IllegalValue));
        assert_eq!(sim.write(Table::Holding, 100, 0xFFEC), Ok(()));
        assert_eq!(sim.read(Table::Holding, 100, 0), Ok(0xFFEC));
    }
}
