//! The server's side of Modbus RTU: frames by silence, functions 3, 4, 6, 16 and 43/14 (device identification).
//!
//! A frame ends with a silence of 3.5 characters. A silence inside a frame does not spoil it if length and CRC say that it is
//! one: masters behind USB adapters and pseudo-terminals pause where they like. So, after a silence,
//! * a whole frame with a good CRC counts, also the part behind the last silence by itself;
//! * a frame for this node that is still short by its own length may go on for [`PATIENCE_US`];
//! * everything else is dropped, and counted if it was for this node.
//!
//! Sources: MODBUS over Serial Line V1.02 (2.4, 2.5.1), MODBUS Application Protocol V1.1b3 (6.3, 6.4, 6.6, 6.12, 6.21, 7).

use drv_protocol::modbus::rtu::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, request_len};
use drv_protocol::modbus::timing::frame_gap_us;
use drv_protocol::modbus::{BROADCAST, Exception, READ_REGISTERS_MAX, Table, WRITE_REGISTERS_MAX, crc16};

/// How long a frame that has begun may pause, in microseconds. Less than a master's patience, so that its repetition
/// finds a node that waits for a new frame.
pub const PATIENCE_US: u64 = 20_000;

const EXCEPTION_BIT: u8 = 0x80;
const IDENTIFY: u8 = 0x2B;
const IDENTIFY_MEI: u8 = 0x0E;
/// Basic identification, as a stream and one by one.
const CONFORMITY: u8 = 0x81;

/// What a server serves.
pub trait Registers {
    /// The node's own number.
    fn unit(&self) -> u8;

    /// The word of a register; `None` where there is none. Changes nothing.
    fn read(&self, table: Table, address: u16) -> Option<u16>;

    /// These registers have been read by a master.
    fn was_read(&mut self, table: Table, address: u16, count: u16);

    /// Whether the word may be written to a holding register.
    ///
    /// # Errors
    /// The refusal.
    fn may_write(&self, address: u16, word: u16, broadcast: bool) -> Result<(), Exception>;

    /// Writes a word that [`Registers::may_write`] allows.
    fn write(&mut self, address: u16, word: u16);

    /// Vendor (0), product (1), revision (2); at most 32 bytes each.
    fn identity(&self, object: u8) -> Option<&[u8]>;

    /// A frame for this node was damaged.
    fn damaged(&mut self);
}

/// One end of the line.
#[derive(Clone, Debug)]
pub struct Line {
    bytes: [u8; FRAME_BYTES_MAX],
    count: usize,
    /// Where the last silence inside the bytes was; 0: nowhere.
    silence: usize,
    last_us: u64,
    gap_us: u64,
    answer: Answer,
}

impl Line {
    /// A line of the given rate.
    #[must_use]
    pub fn new(baud: u32) -> Self {
        let answer = Answer { bytes: [0; FRAME_BYTES_MAX], count: 0 };
        Self {
            bytes: [0; FRAME_BYTES_MAX],
            count: 0,
            silence: 0,
            last_us: 0,
            gap_us: frame_gap_us(baud),
            answer,
        }
    }

    /// Takes a byte that came at `now_us`.
    pub fn take(&mut self, now_us: u64, byte: u8) {
        if self.count > 0 && self.is_silent(now_us) {
            self.silence = self.count;
        }
        self.last_us = now_us;
        if let Some(slot) = self.bytes.get_mut(self.count) {
            *slot = byte;
            self.count += 1;
        } else {
            // Longer than any frame: noise, or a master that never pauses.
            self.count = 0;
            self.silence = 0;
        }
    }

    /// Looks whether a request has ended, carries it out, and gives the answer to send.
    pub fn poll(&mut self, now_us: u64, registers: &mut impl Registers) -> Option<&[u8]> {
        if self.count == 0 || !self.is_silent(now_us) {
            return None;
        }
        let unit = registers.unit();
        let all = self.bytes.get(..self.count)?;
        let tail = if self.silence > 0 { all.get(self.silence..)? } else { &[] };
        let Some(frame) = [all, tail].into_iter().find(|frame| is_whole(frame)) else {
            let waits = unfinished(all, unit) || unfinished(tail, unit);
            if !waits || now_us.saturating_sub(self.last_us) >= PATIENCE_US {
                if all.first() == Some(&unit) {
                    registers.damaged();
                }
                self.count = 0;
                self.silence = 0;
            }
            return None;
        };
        self.answer.count = 0;
        serve(frame, unit, registers, &mut self.answer);
        self.count = 0;
        self.silence = 0;
        self.answer.bytes.get(..self.answer.count).filter(|answer| !answer.is_empty())
    }

    fn is_silent(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.last_us) >= self.gap_us
    }
}

/// Length and CRC hold.
fn is_whole(frame: &[u8]) -> bool {
    let Some((body, crc)) = frame.split_last_chunk::<2>() else { return false };
    frame.len() >= FRAME_BYTES_MIN && crc16(body) == u16::from_le_bytes(*crc)
}

/// A request for this node, or for all, that says by itself that more must come.
fn unfinished(start: &[u8], unit: u8) -> bool {
    let [first, ..] = start else { return false };
    (*first == unit || *first == BROADCAST) && request_len(start).is_none_or(|length| start.len() < length)
}

#[derive(Clone, Debug)]
struct Answer {
    bytes: [u8; FRAME_BYTES_MAX],
    count: usize,
}

impl Answer {
    /// Adds bytes; more than a frame has are dropped, which no caller comes to.
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(slot) = self.bytes.get_mut(self.count) {
                *slot = *byte;
                self.count += 1;
            }
        }
    }

    fn seal(&mut self) {
        let crc = self.bytes.get(..self.count).map_or(0, crc16);
        self.put(&crc.to_le_bytes());
    }
}

/// Carries out a whole frame.
fn serve(frame: &[u8], unit: u8, registers: &mut impl Registers, answer: &mut Answer) {
    let [to, function, body @ .., _, _] = frame else { return };
    let broadcast = *to == BROADCAST;
    if *to != unit && !broadcast {
        return;
    }
    answer.put(&[*to, *function]);
    let served = match (function, broadcast) {
        (3, false) => read(Table::Holding, body, registers, answer),
        (4, false) => read(Table::Input, body, registers, answer),
        (6, _) => write_one(body, broadcast, registers, answer),
        (16, _) => write_many(body, broadcast, registers, answer),
        (&IDENTIFY, false) => identify(body, registers, answer),
        _ => Err(Exception::IllegalFunction),
    };
    if broadcast {
        answer.count = 0;
        return;
    }
    if let Err(exception) = served {
        answer.count = 0;
        answer.put(&[*to, function | EXCEPTION_BIT, exception.code()]);
    }
    answer.seal();
}

fn pair(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// The addresses of a request.
fn span(address: u16, count: u16, most: usize) -> Result<impl Iterator<Item = u16> + Clone, Exception> {
    if count == 0 || usize::from(count) > most {
        return Err(Exception::IllegalValue);
    }
    let last = address.checked_add(count - 1).ok_or(Exception::IllegalAddress)?;
    Ok(address..=last)
}

fn read(
    table: Table,
    body: &[u8],
    registers: &mut impl Registers,
    answer: &mut Answer,
) -> Result<(), Exception> {
    let [a, b, c, d] = *body else { return Err(Exception::IllegalValue) };
    let (address, count) = (pair(a, b), pair(c, d));
    let addresses = span(address, count, usize::from(READ_REGISTERS_MAX))?;
    // At most 250.
    answer.put(&[u8::try_from(count * 2).unwrap_or(u8::MAX)]);
    for address in addresses {
        let word = registers.read(table, address).ok_or(Exception::IllegalAddress)?;
        answer.put(&word.to_be_bytes());
    }
    registers.was_read(table, address, count);
    Ok(())
}

fn write_one(
    body: &[u8],
    broadcast: bool,
    registers: &mut impl Registers,
    answer: &mut Answer,
) -> Result<(), Exception> {
    let [a, b, c, d] = *body else { return Err(Exception::IllegalValue) };
    registers.may_write(pair(a, b), pair(c, d), broadcast)?;
    registers.write(pair(a, b), pair(c, d));
    answer.put(body);
    Ok(())
}

/// All or nothing: every value is judged before the first is written.
fn write_many(
    body: &[u8],
    broadcast: bool,
    registers: &mut impl Registers,
    answer: &mut Answer,
) -> Result<(), Exception> {
    let [a, b, c, d, bytes, values @ ..] = body else { return Err(Exception::IllegalValue) };
    let (address, count) = (pair(*a, *b), pair(*c, *d));
    let addresses = span(address, count, WRITE_REGISTERS_MAX)?;
    let (words, rest) = values.as_chunks::<2>();
    if words.len() != usize::from(count) || usize::from(*bytes) != values.len() || !rest.is_empty() {
        return Err(Exception::IllegalValue);
    }
    let writes = addresses.zip(words.iter().map(|word| u16::from_be_bytes(*word)));
    for (address, word) in writes.clone() {
        registers.may_write(address, word, broadcast)?;
    }
    writes.for_each(|(address, word)| registers.write(address, word));
    answer.put(&[*a, *b, *c, *d]);
    Ok(())
}

fn identify(body: &[u8], registers: &mut impl Registers, answer: &mut Answer) -> Result<(), Exception> {
    let [mei, code, object] = *body else { return Err(Exception::IllegalValue) };
    if mei != IDENTIFY_MEI {
        return Err(Exception::IllegalFunction);
    }
    let (first, last) = match code {
        // More than basic was asked for: what there is is told (6.21). A stream from an unknown object begins anew.
        1..=3 => (if object <= 2 { object } else { 0 }, 2),
        4 if object <= 2 => (object, object),
        4 => return Err(Exception::IllegalAddress),
        _ => return Err(Exception::IllegalValue),
    };
    answer.put(&[mei, code, CONFORMITY, 0, 0, last - first + 1]);
    for object in first..=last {
        let text = registers.identity(object).ok_or(Exception::DeviceFailure)?;
        answer.put(&[object, u8::try_from(text.len()).unwrap_or(u8::MAX)]);
        answer.put(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
