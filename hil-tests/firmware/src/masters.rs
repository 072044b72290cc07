//! Who reads the node.

use anyhow::{Context, Result, bail, ensure};
use drv_protocol::modbus::{Exception, ModbusError, Request, Response, Table, rtu};
use hil_rig::processes::need_program;
use hil_rig::python::Venv;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long one answer may take: an emulator on a busy machine.
const ANSWER: Duration = Duration::from_secs(1);
/// Repetitions before the line counts as dead.
const TRIES: usize = 20;

/// Our own master, for quick questions; only for a pseudo-terminal, since it sets no rate.
pub struct Master {
    port: File,
    unit: u8,
}

impl Master {
    /// Opens the line.
    pub fn open(path: &Path, unit: u8) -> Result<Self> {
        let flags = i32::try_from(OFlags::NOCTTY.bits()).unwrap_or(0);
        let port = std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        Ok(Self { port: port.with_context(|| format!("cannot open {}", path.display()))?, unit })
    }

    /// Reads registers, repeating while nobody answers.
    pub fn read(&mut self, table: Table, address: u16, count: u16) -> Result<Vec<u16>> {
        match self.ask(&Request::Read { table, address, count }, TRIES)? {
            Ok(Response::Registers(words)) => Ok(words),
            other => bail!("read of {count} at {address}: {other:?}"),
        }
    }

    /// Reads one input register.
    pub fn input(&mut self, address: u16) -> Result<u16> {
        self.read(Table::Input, address, 1)?.first().copied().context("no word")
    }

    /// Reads a 32-bit value of two input registers.
    pub fn long(&mut self, address: u16) -> Result<u32> {
        let words = self.read(Table::Input, address, 2)?;
        Ok(words.iter().fold(0, |sum, word| sum << 16 | u32::from(*word)))
    }

    /// Writes a register, repeating while nobody answers.
    pub fn write(&mut self, address: u16, value: u16) -> Result<()> {
        match self.ask(&Request::WriteRegister { address, value }, TRIES)? {
            Ok(Response::Written) => Ok(()),
            other => bail!("write of {value} to {address}: {other:?}"),
        }
    }

    /// Writes once and does not wait for the answer.
    pub fn write_blindly(&mut self, address: u16, value: u16) -> Result<()> {
        self.port.write_all(&rtu::encode_request(self.unit, &Request::WriteRegister { address, value })?)?;
        Ok(())
    }

    /// Whether anybody answers at all; one try.
    pub fn is_answered(&mut self) -> Result<bool> {
        Ok(self.ask(&Request::Read { table: Table::Input, address: 0, count: 1 }, 1).is_ok())
    }

    fn ask(&mut self, request: &Request, tries: usize) -> Result<Result<Response, Exception>> {
        let frame = rtu::encode_request(self.unit, request)?;
        let mut last = None;
        for _ in 0..tries {
            self.drain()?;
            self.port.write_all(&frame)?;
            let answer = self.collect()?;
            match rtu::decode_response(self.unit, request, &answer) {
                Ok(response) => return Ok(Ok(response)),
                Err(ModbusError::Exception(exception)) => return Ok(Err(exception)),
                Err(error) => last = Some(error),
            }
        }
        let last = last.map(|error| error.to_string()).unwrap_or_default();
        bail!("no answer to {request:?} in {tries} tries: {last}")
    }

    /// An answer, by its length or until the time is over.
    fn collect(&mut self) -> Result<Vec<u8>> {
        let begun = Instant::now();
        let mut bytes = Vec::new();
        while begun.elapsed() < ANSWER {
            if rtu::response_len(&bytes).is_some_and(|length| bytes.len() >= length) {
                break;
            }
            self.take(&mut bytes, 20)?;
        }
        Ok(bytes)
    }

    /// Drops what came too late for an earlier question.
    fn drain(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        while self.take(&mut bytes, 0)? {}
        Ok(())
    }

    fn take(&mut self, bytes: &mut Vec<u8>, wait_ms: i64) -> Result<bool> {
        let mut ready = [PollFd::new(&self.port, PollFlags::IN)];
        if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: wait_ms * 1_000_000 }))? == 0 {
            return Ok(false);
        }
        let mut buffer = [0; 512];
        let count = self.port.read(&mut buffer)?;
        bytes.extend(buffer.iter().take(count));
        Ok(count > 0)
    }
}

/// What mbpoll reads; `table` 3 for input, 4 for holding registers, addresses from 0.
pub fn mbpoll(port: &Path, unit: u8, table: u8, address: u16, count: u16) -> Result<Vec<u16>> {
    let output = Command::new(need_program("mbpoll")?)
        .args(["-m", "rtu", "-b", "19200", "-P", "none", "-0", "-1", "-q", "-o", "3"])
        .args(["-a", &unit.to_string(), "-t", &format!("{table}:hex")])
        .args(["-r", &address.to_string(), "-c", &count.to_string()])
        .arg(port)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Option<Vec<u16>> = text
        .lines()
        .filter(|line| line.starts_with('['))
        .map(|line| u16::from_str_radix(line.split_once("0x")?.1.trim(), 16).ok())
        .collect();
    let words = words.with_context(|| format!("mbpoll said {text}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(words.len() == usize::from(count), "mbpoll read {} of {count}: {text}{errors}", words.len());
    Ok(words)
}

/// What pymodbus reads; see `python/read_node.py`.
pub fn pymodbus(port: &Path, unit: u8) -> Result<Value> {
    let venv = Venv::ready()?;
    let output = Command::new(venv.python())
        .args(["-c", include_str!("../python/read_node.py")])
        .arg(port)
        .arg(unit.to_string())
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pymodbus: {errors}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("pymodbus: {errors}"))
}

/// The words of a list in what pymodbus read.
pub fn words(read: &Value, list: &str) -> Vec<u16> {
    let numbers = read[list].as_array().into_iter().flatten().filter_map(Value::as_u64);
    numbers.filter_map(|number| u16::try_from(number).ok()).collect()
}
