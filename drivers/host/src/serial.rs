//! Serial ports with bounded waits, on top of the `serialport` crate.
//!
//! Contract: no call blocks longer than its time argument plus one slice; every error text names the port. A pseudo-
//! terminal accepts 7 data bits and parity but keeps 8N1, so receivers of 7-bit protocols strip bit 7 themselves.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use serialport::{ClearBuffer, DataBits, FlowControl, Parity, SerialPort, StopBits};

use crate::config::ParityKind;
use crate::ports;

/// Longest wait inside one read, so that a stop is noticed.
const READ_SLICE: Duration = Duration::from_millis(50);

/// Settings of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Port name: a path or a stable name.
    pub(crate) port: String,
    /// Bits per second.
    pub(crate) baud: u32,
    /// 7 or 8.
    pub(crate) data_bits: u8,
    /// Parity.
    pub(crate) parity: ParityKind,
    /// 1 or 2.
    pub(crate) stop_bits: u8,
}

impl Line {
    fn builder(&self, path: &str) -> serialport::SerialPortBuilder {
        let data_bits = if self.data_bits == 7 { DataBits::Seven } else { DataBits::Eight };
        let stop_bits = if self.stop_bits == 2 { StopBits::Two } else { StopBits::One };
        let parity = match self.parity {
            ParityKind::None => Parity::None,
            ParityKind::Even => Parity::Even,
            ParityKind::Odd => Parity::Odd,
        };
        serialport::new(path, self.baud)
            .data_bits(data_bits)
            .parity(parity)
            .stop_bits(stop_bits)
            .flow_control(FlowControl::None)
            .timeout(READ_SLICE)
    }

    /// Opens the port exclusively. Its name is resolved anew each time, see [`crate::ports`].
    pub(crate) fn open(&self) -> Result<OpenPort, String> {
        let path = ports::resolve(&self.port).map_err(|fault| fault.to_string())?;
        let port =
            self.builder(&path.to_string_lossy()).open().map_err(|e| format!("port {}: {e}", self.port))?;
        Ok(OpenPort { name: self.port.clone(), port })
    }
}

/// An open port.
pub(crate) struct OpenPort {
    name: String,
    port: Box<dyn SerialPort>,
}

impl OpenPort {
    /// Throws away what has arrived.
    pub(crate) fn discard_input(&mut self) -> Result<(), String> {
        self.port.clear(ClearBuffer::Input).map_err(|e| format!("port {}: {e}", self.name))
    }

    /// Writes all bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.port.write_all(bytes).map_err(|e| format!("port {}: {e}", self.name))
    }

    /// Reads what is there, waiting until `deadline` at most; 0 bytes means that nothing came.
    pub(crate) fn receive(&mut self, buffer: &mut [u8], deadline: Instant) -> Result<usize, String> {
        let left = deadline.saturating_duration_since(Instant::now()).min(READ_SLICE);
        if left.is_zero() {
            return Ok(0);
        }
        self.port.set_timeout(left).map_err(|e| format!("port {}: {e}", self.name))?;
        match self.port.read(buffer) {
            Ok(0) => Err(format!("port {}: end of file", self.name)),
            Ok(count) => Ok(count),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::WouldBlock
                ) =>
            {
                Ok(0)
            }
            Err(e) => Err(format!("port {}: {e}", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_settings_reach_the_builder() {
        // A pty cannot show this, so the settings are checked where they are handed over.
        let line = Line {
            port: "/dev/none".to_owned(),
            baud: 4800,
            data_bits: 7,
            parity: ParityKind::Even,
            stop_bits: 2,
        };
        let expected = serialport::new("/dev/none", 4800)
            .data_bits(DataBits::Seven)
            .parity(Parity::Even)
            .stop_bits(StopBits::Two)
            .flow_control(FlowControl::None)
            .timeout(READ_SLICE);
        assert_eq!(line.builder("/dev/none"), expected);
    }

    #[test]
    fn a_missing_port_is_named() {
        let line = Line {
            port: "/dev/no-such-port".to_owned(),
            baud: 9600,
            data_bits: 8,
            parity: ParityKind::None,
            stop_bits: 1,
        };
        assert!(line.open().err().unwrap().contains("/dev/no-such-port"));
    }
}
