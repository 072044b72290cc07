//! One Modbus bus with many units: register banks, cabinets and steamers behind RTU or TCP frames.
//!
//! [`ModbusSim::receive_rtu`] takes the line's bytes in any pieces; [`TcpLink`] does the same for one connection.
//! Faults belong to a unit. A faulty unit harms only its own answers, as on a real bus with a single master.

use std::collections::BTreeMap;

use drv_protocol::modbus::{BROADCAST, Exception, ModbusError, Request, Response, Table, rtu, tcp};

use crate::cabinet::CabinetSim;
use crate::rng::Rng;
use crate::steamer::{STEAMER_UNITS, SteamerSim};

/// Silence after which an unfinished frame on the line is dropped.
const LINE_GAP_MS: u64 = 200;

/// What is wrong with a unit; all off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UnitFaults {
    /// It answers nothing.
    pub mute: bool,
    /// So many of 1000 answers have a wrong checksum (on TCP: a wrong transaction number).
    pub wrong_crc_permille: u16,
    /// So many of 1000 answers are random bytes.
    pub garbage_permille: u16,
    /// So many of 1000 answers end early.
    pub truncated_permille: u16,
    /// Every request is refused with this.
    pub exception: Option<Exception>,
    /// Every answer comes this much later.
    pub delay_ms: u64,
    /// It answers under another unit's address.
    pub wrong_unit: bool,
}

/// An answer and how long after the request it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The delay.
    pub after_ms: u64,
}

/// Plain registers of a unit: whatever was set can be read, and what was set may be written.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Bank {
    words: BTreeMap<(Table, u16), u16>,
}

impl Bank {
    /// A bank without any address.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an address, creating it.
    pub fn set(&mut self, table: Table, address: u16, value: u16) {
        self.words.insert((table, address), value);
    }

    /// The value of an address.
    #[must_use]
    pub fn get(&self, table: Table, address: u16) -> Option<u16> {
        self.words.get(&(table, address)).copied()
    }

    fn write(&mut self, table: Table, address: u16, value: u16) -> Result<(), Exception> {
        *self.words.get_mut(&(table, address)).ok_or(Exception::IllegalAddress)? = value;
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Station {
    Bank(Bank),
    Cabinet(Box<CabinetSim>),
    Steamer(Box<SteamerSim>),
}

/// The bus.
#[derive(Clone, Debug)]
pub struct ModbusSim {
    stations: Vec<Station>,
    /// Unit address -> station, and the unit's number within the station.
    units: BTreeMap<u8, (usize, u8)>,
    faults: BTreeMap<u8, UnitFaults>,
    rng: Rng,
    line: Vec<u8>,
    line_ms: u64,
    requests: BTreeMap<u8, u64>,
    damaged: u64,
}

impl ModbusSim {
    /// A bus without units.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            stations: Vec::new(),
            units: BTreeMap::new(),
            faults: BTreeMap::new(),
            rng: Rng::new(seed),
            line: Vec::new(),
            line_ms: 0,
            requests: BTreeMap::new(),
            damaged: 0,
        }
    }

    /// Adds a unit of plain registers; it replaces one at the same address.
    pub fn add_bank(&mut self, unit: u8, bank: Bank) {
        self.add(unit, 1, Station::Bank(bank));
    }

    /// Adds a cabinet.
    pub fn add_cabinet(&mut self, unit: u8, cabinet: CabinetSim) {
        self.add(unit, 1, Station::Cabinet(Box::new(cabinet)));
    }

    /// Adds a steamer on `unit`, `unit + 1` and `unit + 2`.
    pub fn add_steamer(&mut self, unit: u8, steamer: SteamerSim) {
        self.add(unit, STEAMER_UNITS, Station::Steamer(Box::new(steamer)));
    }

    fn add(&mut self, unit: u8, count: u8, station: Station) {
        self.stations.push(station);
        for offset in 0..count {
            if let Some(unit) = unit.checked_add(offset) {
                self.units.insert(unit, (self.stations.len() - 1, offset));
            }
        }
    }

    /// The plain registers of a unit.
    pub fn bank_mut(&mut self, unit: u8) -> Option<&mut Bank> {
        match self.station_mut(unit)? {
            (Station::Bank(bank), _) => Some(bank),
            _ => None,
        }
    }

    /// The cabinet of a unit.
    pub fn cabinet_mut(&mut self, unit: u8) -> Option<&mut CabinetSim> {
        match self.station_mut(unit)? {
            (Station::Cabinet(cabinet), _) => Some(cabinet),
            _ => None,
        }
    }

    /// The steamer of any of its units.
    pub fn steamer_mut(&mut self, unit: u8) -> Option<&mut SteamerSim> {
        match self.station_mut(unit)? {
            (Station::Steamer(steamer), _) => Some(steamer),
            _ => None,
        }
    }

    fn station_mut(&mut self, unit: u8) -> Option<(&mut Station, u8)> {
        let (index, offset) = *self.units.get(&unit)?;
        Some((self.stations.get_mut(index)?, offset))
    }

    /// Switches a unit's faults on and off.
    pub fn set_faults(&mut self, unit: u8, faults: UnitFaults) {
        self.faults.insert(unit, faults);
    }

    /// How many requests a unit has heard.
    #[must_use]
    pub fn requests(&self, unit: u8) -> u64 {
        self.requests.get(&unit).copied().unwrap_or(0)
    }

    /// How many answers a fault has damaged or withheld.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Takes bytes of the serial line, in any pieces; answers every request they complete.
    pub fn receive_rtu(&mut self, bytes: &[u8], now: u64) -> Vec<Answer> {
        if now.saturating_sub(self.line_ms) > LINE_GAP_MS {
            self.line.clear();
        }
        self.line_ms = now;
        self.line.extend(bytes);
        let mut answers = Vec::new();
        while let Some(length) = self.next_frame_len() {
            let frame: Vec<u8> = self.line.drain(..length).collect();
            answers.extend(self.answer_rtu(&frame, now));
        }
        answers
    }

    /// The length of the frame the line begins with; bytes that begin none are dropped one by one.
    fn next_frame_len(&mut self) -> Option<usize> {
        loop {
            let known = matches!(self.line.get(1), None | Some(1..=6 | 15 | 16));
            let length = rtu::request_len(&self.line);
            let whole = length.filter(|length| *length <= self.line.len());
            let sound = whole.is_some_and(|length| {
                !matches!(
                    rtu::decode_request(self.line.get(..length).unwrap_or(&[])),
                    Err(ModbusError::Crc { .. } | ModbusError::Short { .. })
                )
            });
            if sound {
                return whole;
            }
            if known && whole.is_none() && self.line.len() < rtu::FRAME_BYTES_MAX {
                return None;
            }
            if self.line.is_empty() {
                return None;
            }
            self.line.remove(0);
        }
    }

    /// Answers one RTU frame; `None` for silence (damaged, another unit's, broadcast, mute).
    pub fn answer_rtu(&mut self, frame: &[u8], now: u64) -> Option<Answer> {
        let (unit, request) = match rtu::decode_request(frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                let unit = *frame.first()?;
                self.units.get(&unit)?;
                return Some(Answer { bytes: rtu::refusal(frame, &error)?, after_ms: 0 });
            }
        };
        if unit == BROADCAST {
            self.broadcast(&request, now);
            return None;
        }
        let (answer, faults) = self.served(unit, &request, now)?;
        let answering = if faults.wrong_unit { unit ^ 0x80 } else { unit };
        let mut bytes = rtu::encode_response(answering, &request, &answer);
        if self.rng.chance(faults.wrong_crc_permille)
            && let Some(last) = bytes.last_mut()
        {
            *last ^= 0x5A;
            self.damaged += 1;
        }
        Some(Answer { bytes: self.mangled(bytes, &faults), after_ms: faults.delay_ms })
    }

    /// Answers one TCP frame; `None` for silence.
    pub fn answer_tcp(&mut self, frame: &[u8], now: u64) -> Option<Answer> {
        let (transaction, unit, request) = match tcp::decode_request(frame) {
            Ok(decoded) => decoded,
            Err(error) => return Some(Answer { bytes: tcp::refusal(frame, &error)?, after_ms: 0 }),
        };
        if !self.units.contains_key(&unit) {
            let refused = Err(Exception::GatewayTarget);
            let bytes = tcp::encode_response(transaction, unit, &request, &refused);
            return Some(Answer { bytes, after_ms: 0 });
        }
        let (answer, faults) = self.served(unit, &request, now)?;
        let wrong = self.rng.chance(faults.wrong_crc_permille);
        self.damaged += u64::from(wrong);
        let answering = if faults.wrong_unit { unit ^ 0x80 } else { unit };
        let bytes = tcp::encode_response(transaction ^ u16::from(wrong), answering, &request, &answer);
        Some(Answer { bytes: self.mangled(bytes, &faults), after_ms: faults.delay_ms })
    }

    fn served(
        &mut self,
        unit: u8,
        request: &Request,
        now: u64,
    ) -> Option<(Result<Response, Exception>, UnitFaults)> {
        self.units.get(&unit)?;
        *self.requests.entry(unit).or_default() += 1;
        let faults = self.faults.get(&unit).copied().unwrap_or_default();
        if faults.mute {
            self.damaged += 1;
            return None;
        }
        let answer = match faults.exception {
            Some(exception) => Err(exception),
            None => self.execute(unit, request, now),
        };
        Some((answer, faults))
    }

    fn mangled(&mut self, bytes: Vec<u8>, faults: &UnitFaults) -> Vec<u8> {
        if self.rng.chance(faults.garbage_permille) {
            self.damaged += 1;
            return (0..=self.rng.below(32)).map(|_| self.rng.byte()).collect();
        }
        if self.rng.chance(faults.truncated_permille) {
            self.damaged += 1;
            return bytes.iter().take(bytes.len() / 2).copied().collect();
        }
        bytes
    }

    fn broadcast(&mut self, request: &Request, now: u64) {
        if !request.is_write() {
            return;
        }
        let units: Vec<u8> = self.units.keys().copied().collect();
        for unit in units {
            // A broadcast has no answer, so a refusal has nobody to hear it.
            drop(self.execute(unit, request, now));
        }
    }

    fn execute(&mut self, unit: u8, request: &Request, now: u64) -> Result<Response, Exception> {
        match request {
            Request::Read { table, address, count } => {
                let words: Result<Vec<u16>, Exception> = (*address..=u16::MAX)
                    .take(usize::from(*count))
                    .map(|at| self.read(unit, *table, at, now))
                    .collect();
                let words = words?;
                Ok(if table.is_bits() {
                    Response::Bits(words.iter().map(|word| *word != 0).collect())
                } else {
                    Response::Registers(words)
                })
            }
            Request::WriteCoil { address, on } => {
                self.write(unit, Table::Coil, *address, u16::from(*on), now).map(|()| Response::Written)
            }
            Request::WriteRegister { address, value } => {
                self.write(unit, Table::Holding, *address, *value, now).map(|()| Response::Written)
            }
            Request::WriteCoils { address, values } => {
                for (at, on) in (*address..=u16::MAX).zip(values) {
                    self.write(unit, Table::Coil, at, u16::from(*on), now)?;
                }
                Ok(Response::Written)
            }
            Request::WriteRegisters { address, values } => {
                for (at, value) in (*address..=u16::MAX).zip(values) {
                    self.write(unit, Table::Holding, at, *value, now)?;
                }
                Ok(Response::Written)
            }
        }
    }

    fn read(&mut self, unit: u8, table: Table, address: u16, now: u64) -> Result<u16, Exception> {
        match self.station_mut(unit).ok_or(Exception::GatewayTarget)? {
            (Station::Bank(bank), _) => bank.get(table, address).ok_or(Exception::IllegalAddress),
            (Station::Cabinet(cabinet), _) => cabinet.read(table, address, now),
            (Station::Steamer(steamer), offset) => steamer.read(offset, table, address, now),
        }
    }

    fn write(&mut self, unit: u8, table: Table, address: u16, value: u16, now: u64) -> Result<(), Exception> {
        match self.station_mut(unit).ok_or(Exception::GatewayTarget)? {
            (Station::Bank(bank), _) => bank.write(table, address, value),
            (Station::Cabinet(cabinet), _) => cabinet.write(table, address, value),
            (Station::Steamer(steamer), offset) => steamer.write(offset, table, address, value, now),
        }
    }
}

/// One TCP connection: collects bytes into frames.
#[derive(Clone, Debug, Default)]
pub struct TcpLink {
    bytes: Vec<u8>,
}

impl TcpLink {
    /// A fresh connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes in any pieces; answers every request they complete.
    ///
    /// # Errors
    /// Bytes that are no Modbus: the connection is to be closed.
    pub fn receive(
        &mut self,
        bus: &mut ModbusSim,
        bytes: &[u8],
        now: u64,
    ) -> Result<Vec<Answer>, ModbusError> {
        self.bytes.extend(bytes);
        let mut answers = Vec::new();
        while let Some(length) = tcp::frame_len(&self.bytes)?.filter(|length| *length <= self.bytes.len()) {
            let frame: Vec<u8> = self.bytes.drain(..length).collect();
            answers.extend(bus.answer_tcp(&frame, now));
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests;
