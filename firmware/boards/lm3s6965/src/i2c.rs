//! The I2C master at just below 100 kHz.
//!
//! A write followed by a read is sent with a STOP between: QEMU ignores a repeated START of this master, and the chips of
//! this node keep their register pointer over a STOP.

use embedded_hal::i2c::{Error, ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};

use crate::registers::I2cRegisters;

const RUN: u32 = 1;
const START: u32 = 1 << 1;
const STOP: u32 = 1 << 2;
const ACKNOWLEDGE: u32 = 1 << 3;

const BUSY: u32 = 1;
const ERROR: u32 = 1 << 1;
const ADDRESS_ERROR: u32 = 1 << 2;
const DATA_ERROR: u32 = 1 << 3;
const ARBITRATION_LOST: u32 = 1 << 4;
const BUS_BUSY: u32 = 1 << 6;

const MASTER_ENABLE: u32 = 1 << 4;
/// 12.5 MHz / (2 * (6 + 4) * 100 kHz) - 1, rounded up: 89 kHz.
const PERIOD: u32 = 6;
/// Looks at the status before a byte counts as stuck: a byte takes 90 us, a look about ten cycles.
const LOOKS_MAX: u32 = 100_000;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusError(ErrorKind);

impl Error for BusError {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

/// The master.
pub struct Master(I2cRegisters);

impl Master {
    /// Sets a master up.
    pub fn start(registers: I2cRegisters) -> Self {
        let master = Self(registers);
        master.set_up();
        master
    }

    fn set_up(&self) {
        self.0.configuration().set(MASTER_ENABLE);
        self.0.period().set(PERIOD);
    }

    /// Whether somebody answers at an address.
    pub fn is_there(&mut self, address: u8) -> bool {
        self.read(address, &mut [0]).is_ok()
    }

    /// Ends whatever hangs on the bus and sets the master up anew.
    fn recover(&self) {
        self.0.control().set(STOP);
        self.set_up();
    }

    fn wait(&self) -> Result<(), BusError> {
        for _ in 0..LOOKS_MAX {
            let status = self.0.control().get();
            if status & BUSY == 0 {
                return match status {
                    _ if status & ERROR == 0 => Ok(()),
                    _ if status & ARBITRATION_LOST != 0 => Err(BusError(ErrorKind::ArbitrationLoss)),
                    _ if status & ADDRESS_ERROR != 0 => {
                        Err(BusError(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)))
                    }
                    _ if status & DATA_ERROR != 0 => {
                        Err(BusError(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data)))
                    }
                    _ => Err(BusError(ErrorKind::Other)),
                };
            }
        }
        Err(BusError(ErrorKind::Bus))
    }

    /// One transfer from START to STOP.
    fn transfer(&self, address: u8, operation: &mut Operation<'_>) -> Result<(), BusError> {
        // A transfer that nobody ended, ours before a reset or another master's: not ours to go on with.
        if self.0.control().get() & BUS_BUSY != 0 {
            return Err(BusError(ErrorKind::Bus));
        }
        let reads = matches!(operation, Operation::Read(_));
        self.0.address().set(u32::from(address) << 1 | u32::from(reads));
        let count = match operation {
            Operation::Read(bytes) => bytes.len(),
            Operation::Write(bytes) => bytes.len(),
        };
        for index in 0..count {
            let mut control = RUN;
            if index == 0 {
                control |= START;
            }
            if index + 1 == count {
                control |= STOP;
            } else if reads {
                control |= ACKNOWLEDGE;
            }
            if let Operation::Write(bytes) = operation {
                self.0.data().set(u32::from(bytes.get(index).copied().unwrap_or(0)));
            }
            self.0.control().set(control);
            self.wait()?;
            // A master that is disabled takes commands, does nothing and reports no error; its data are old.
            if self.0.configuration().get() & MASTER_ENABLE == 0 {
                return Err(BusError(ErrorKind::Bus));
            }
            if let Operation::Read(bytes) = operation
                && let Some(slot) = bytes.get_mut(index)
            {
                [*slot, ..] = self.0.data().get().to_le_bytes();
            }
        }
        Ok(())
    }
}

impl ErrorType for Master {
    type Error = BusError;
}

impl I2c for Master {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), BusError> {
        for operation in operations {
            if let Err(error) = self.transfer(address, operation) {
                self.recover();
                return Err(error);
            }
        }
        Ok(())
    }
}
