//! Modbus: requests, responses, and their frames on a serial line (RTU) and on TCP, for both ends of the wire.
//!
//! Contract: a response is only ever read against the request it answers; unit, function, length, echo and checksum
//! must all agree. Encoding refuses what the protocol cannot carry. Frames are bounded by the protocol's own sizes.
//!
//! The codec is our own, though `tokio-modbus` and `rmodbus` exist: it is small, shared with the firmware and with the simulated
//! devices, bounds every answer by the request it belongs to, and keeps the offending bytes as evidence. `tokio-modbus` brings
//! a client per connection without the broken frame's bytes and without the line's silences; `rmodbus` leaves them to its
//! caller as well. Both ends are tested against pymodbus and mbpoll instead.
//!
//! * [`rtu`]: unit, PDU, CRC-16 low byte first; silent gaps in [`timing`].
//! * [`tcp`]: MBAP header, PDU.
//! * [`schedule`]: whom a bus asks next, and how little mute units cost it.

use alloc::vec::Vec;

use crate::evidence::Evidence;

mod pdu;
pub mod rtu;
pub mod schedule;
pub mod tcp;
pub mod timing;

pub use rtu::crc16;

/// The longest PDU: function code and its payload.
pub const PDU_BYTES_MAX: usize = 253;
/// The most bits one read may ask for.
pub const READ_BITS_MAX: u16 = 2000;
/// The most registers one read may ask for.
pub const READ_REGISTERS_MAX: u16 = 125;
/// The most coils one write may carry.
pub const WRITE_BITS_MAX: usize = 1968;
/// The most registers one write may carry.
pub const WRITE_REGISTERS_MAX: usize = 123;
/// The unit address every device hears and none answers.
pub const BROADCAST: u8 = 0;

/// The four address spaces of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Table {
    /// Read and write bits (FC 1, 5, 15).
    Coil,
    /// Read-only bits (FC 2).
    Discrete,
    /// Read and write registers (FC 3, 6, 16).
    Holding,
    /// Read-only registers (FC 4).
    Input,
}

impl Table {
    /// The table holds single bits, not 16-bit registers.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

/// A request; addresses are wire addresses, counted from zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// FC 1 to 4.
    Read {
        /// The address space; it decides the function code.
        table: Table,
        /// The first address.
        address: u16,
        /// How many bits or registers.
        count: u16,
    },
    /// FC 5.
    WriteCoil {
        /// The coil.
        address: u16,
        /// Its new state.
        on: bool,
    },
    /// FC 6.
    WriteRegister {
        /// The register.
        address: u16,
        /// Its new value.
        value: u16,
    },
    /// FC 15.
    WriteCoils {
        /// The first coil.
        address: u16,
        /// The new states.
        values: Vec<bool>,
    },
    /// FC 16.
    WriteRegisters {
        /// The first register.
        address: u16,
        /// The new values.
        values: Vec<u16>,
    },
}

impl Request {
    /// The function code.
    #[must_use]
    pub const fn function(&self) -> u8 {
        match self {
            Self::Read { table: Table::Coil, .. } => 1,
            Self::Read { table: Table::Discrete, .. } => 2,
            Self::Read { table: Table::Holding, .. } => 3,
            Self::Read { table: Table::Input, .. } => 4,
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteCoils { .. } => 15,
            Self::WriteRegisters { .. } => 16,
        }
    }

    /// The first address concerned.
    #[must_use]
    pub const fn address(&self) -> u16 {
        match self {
            Self::Read { address, .. }
            | Self::WriteCoil { address, .. }
            | Self::WriteRegister { address, .. }
            | Self::WriteCoils { address, .. }
            | Self::WriteRegisters { address, .. } => *address,
        }
    }

    /// The request changes the device.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// A positive response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Answer to FC 1 and 2: exactly as many bits as were asked for.
    Bits(Vec<bool>),
    /// Answer to FC 3 and 4: exactly as many registers as were asked for.
    Registers(Vec<u16>),
    /// Answer to FC 5, 6, 15 and 16: the write was done.
    Written,
}

/// A device's named refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Exception {
    /// 1
    #[error("illegal function")]
    IllegalFunction,
    /// 2
    #[error("illegal data address")]
    IllegalAddress,
    /// 3
    #[error("illegal data value")]
    IllegalValue,
    /// 4
    #[error("server device failure")]
    DeviceFailure,
    /// 5
    #[error("acknowledged, still working")]
    Acknowledge,
    /// 6
    #[error("server device busy")]
    Busy,
    /// 8
    #[error("memory parity error")]
    MemoryParity,
    /// 10
    #[error("gateway path unavailable")]
    GatewayPath,
    /// 11
    #[error("gateway target failed to respond")]
    GatewayTarget,
    /// Any other code.
    #[error("exception code {0}")]
    Other(u8),
}

impl Exception {
    /// Names a code of the wire.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::IllegalFunction,
            2 => Self::IllegalAddress,
            3 => Self::IllegalValue,
            4 => Self::DeviceFailure,
            5 => Self::Acknowledge,
            6 => Self::Busy,
            8 => Self::MemoryParity,
            10 => Self::GatewayPath,
            11 => Self::GatewayTarget,
            other => Self::Other(other),
        }
    }

    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::IllegalFunction => 1,
            Self::IllegalAddress => 2,
            Self::IllegalValue => 3,
            Self::DeviceFailure => 4,
            Self::Acknowledge => 5,
            Self::Busy => 6,
            Self::MemoryParity => 8,
            Self::GatewayPath => 10,
            Self::GatewayTarget => 11,
            Self::Other(code) => code,
        }
    }

    /// The same request may succeed later.
    #[must_use]
    pub const fn may_retry(self) -> bool {
        matches!(self, Self::Acknowledge | Self::Busy | Self::GatewayPath | Self::GatewayTarget)
    }
}

/// What went wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModbusError {
    /// Fewer bytes than the shortest frame has.
    #[error("frame of {found} bytes, expected at least {expected}: {bytes}")]
    Short {
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        found: usize,
        /// The frame.
        bytes: Evidence,
    },
    /// The checksum does not fit.
    #[error("CRC {found:#06x}, computed {expected:#06x}: {bytes}")]
    Crc {
        /// The checksum of the bytes.
        expected: u16,
        /// The checksum the frame carries.
        found: u16,
        /// The frame.
        bytes: Evidence,
    },
    /// Another unit answered.
    #[error("answer of unit {found}, expected unit {expected}: {bytes}")]
    Unit {
        /// The unit asked.
        expected: u8,
        /// The unit that answered.
        found: u8,
        /// The frame.
        bytes: Evidence,
    },
    /// Another function was answered, or the function is not one of ours.
    #[error("function {found}, expected {expected}: {bytes}")]
    Function {
        /// The function asked; 0 where any known one would do.
        expected: u8,
        /// The function found.
        found: u8,
        /// The frame.
        bytes: Evidence,
    },
    /// The payload has another length than the request or its own count says.
    #[error("payload of {found} bytes, expected {expected}: {bytes}")]
    Length {
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
        /// The frame.
        bytes: Evidence,
    },
    /// A write was confirmed with another address or value.
    #[error("write confirmed with other content: {bytes}")]
    Echo {
        /// The frame.
        bytes: Evidence,
    },
    /// The transaction number of another request.
    #[error("transaction {found}, expected {expected}: {bytes}")]
    Transaction {
        /// The number sent.
        expected: u16,
        /// The number found.
        found: u16,
        /// The frame.
        bytes: Evidence,
    },
    /// The MBAP protocol field is not zero: this is not Modbus.
    #[error("MBAP protocol {found}, expected 0: {bytes}")]
    Protocol {
        /// The field found.
        found: u16,
        /// The frame.
        bytes: Evidence,
    },
    /// Unit 0 is everybody: nobody answers a read there, and a write changes every device of the bus.
    #[error("{what} to unit 0 (everybody) refused")]
    Broadcast {
        /// A read, or a write that the profile does not allow.
        what: &'static str,
    },
    /// A count, value or address range that the protocol cannot carry.
    #[error("{what} out of range: {found}, at most {most}")]
    Range {
        /// Which field.
        what: &'static str,
        /// The value found.
        found: usize,
        /// The largest value allowed (the least is 1 for counts).
        most: usize,
    },
    /// The device refused, by name.
    #[error("device answered exception: {0}")]
    Exception(Exception),
}

impl ModbusError {
    /// The answer was damaged or late, so asking again may help; a refusal or a wrong request will not change.
    #[must_use]
    pub const fn may_retry(&self) -> bool {
        match self {
            Self::Exception(exception) => exception.may_retry(),
            Self::Range { .. } | Self::Broadcast { .. } => false,
            _ => true,
        }
    }
}

/// Guards the broadcast address: reads never go there, writes only where `writes_allowed`.
///
/// # Errors
/// [`ModbusError::Broadcast`].
pub const fn guard_broadcast(unit: u8, request: &Request, writes_allowed: bool) -> Result<(), ModbusError> {
    match (unit, request.is_write()) {
        (BROADCAST, false) => Err(ModbusError::Broadcast { what: "a read" }),
        (BROADCAST, true) if !writes_allowed => Err(ModbusError::Broadcast { what: "a write" }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
