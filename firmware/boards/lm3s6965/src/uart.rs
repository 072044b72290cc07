//! Serial lines: UART0 is the RS-485 line, UART1 a console that only speaks.

use core::fmt;

use crate::clock::CLOCK_HZ;
use crate::registers::UartRegisters;

const RECEIVE_EMPTY: u32 = 1 << 4;
const TRANSMIT_FULL: u32 = 1 << 5;
const BUSY: u32 = 1 << 3;
/// Overrun, break, parity and framing errors of a received byte.
const ERRORS: u32 = 0xF << 8;

/// A serial line, 8N1 with FIFOs.
#[derive(Clone, Copy)]
pub struct Uart(UartRegisters);

impl Uart {
    /// Sets a line up.
    pub fn start(registers: UartRegisters, baud: u32) -> Self {
        // Divisor in 64ths, rounded (data sheet 12.2.2).
        let divisor = (CLOCK_HZ * 4 + baud / 2) / baud;
        registers.control().set(0);
        registers.divisor().set(divisor >> 6);
        registers.fraction().set(divisor & 0x3F);
        registers.line().set(3 << 5 | 1 << 4);
        registers.control().set(1 << 9 | 1 << 8 | 1);
        Self(registers)
    }

    /// A byte that came. One with an error comes as it is: the frame's CRC judges.
    pub fn receive(self) -> Option<u8> {
        if self.0.flags().get() & RECEIVE_EMPTY != 0 {
            return None;
        }
        let [byte, ..] = (self.0.data().get() & !ERRORS).to_le_bytes();
        Some(byte)
    }

    /// Sends, and returns when the last stop bit is out: only then may a line driver let go.
    pub fn send(self, bytes: &[u8]) {
        for byte in bytes {
            while self.0.flags().get() & TRANSMIT_FULL != 0 {}
            self.0.data().set(u32::from(*byte));
        }
        while self.0.flags().get() & BUSY != 0 {}
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}
