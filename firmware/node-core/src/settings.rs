//! Settings that outlive a restart: two copies, each with generation and CRC-32, written alternately.
//!
//! A save writes the copy that is not the newest good one: erase, then page by page, the page with the CRC last. A power cut at
//! any step, also in the middle of a page, leaves the other copy as it was; a test tries every one. What was saved is read back
//! before it counts.
//!
//! With the settings lies the end of the block of sequence numbers that may be given ([`BLOCK`]): the ring may lose its
//! memory, but no number is given twice.

use core::ops::Range;

use drv_protocol::node::PROBES;

use crate::crc32::crc32;

/// Bytes of a copy.
pub const RECORD_BYTES: usize = 64;
/// Bytes that are written in one step, within one page of the storage.
pub const STEP_BYTES: usize = 32;
/// Sequence numbers that are reserved at a time: at the shortest sample period one write in 17 minutes, at the usual one in
/// three hours.
pub const BLOCK: u32 = 1_024;

const MAGIC: u32 = u32::from_le_bytes(*b"SYN1");

/// Where settings are kept: an EEPROM, or two sectors of flash.
pub trait Storage {
    /// What can go wrong.
    type Error;

    /// Reads one copy. `copy` is 0 or 1.
    ///
    /// # Errors
    /// The part does not answer.
    fn read(&mut self, copy: usize, bytes: &mut [u8; RECORD_BYTES]) -> Result<(), Self::Error>;

    /// Makes a copy ready to be written; nothing to do for an EEPROM. What is read afterwards must not be the old record.
    ///
    /// # Errors
    /// The part does not answer.
    fn erase(&mut self, copy: usize) -> Result<(), Self::Error>;

    /// Writes one step of a copy at `offset`, a multiple of [`STEP_BYTES`].
    ///
    /// # Errors
    /// The part does not answer.
    fn write(&mut self, copy: usize, offset: usize, bytes: &[u8; STEP_BYTES]) -> Result<(), Self::Error>;
}

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node's own number, 1 to 247.
    pub unit: u8,
    /// Upper limit, tenths of a degree.
    pub high_limit: i16,
    /// Lower limit, tenths of a degree.
    pub low_limit: i16,
    /// Alarm delay, seconds.
    pub alarm_delay_s: u16,
    /// Sample period, seconds, at least 1.
    pub sample_period_s: u16,
    /// Hysteresis, tenths of a kelvin.
    pub hysteresis: u16,
    /// Calibration offsets, hundredths of a kelvin.
    pub offsets: [i16; PROBES],
    /// Which probes are fitted, bit 0 for probe 1.
    pub fitted: u16,
    /// Serial number.
    pub serial: u32,
}

impl Default for Settings {
    /// A chilled cabinet with one probe: -1.0 to 5.0 degrees, a quarter of an hour.
    fn default() -> Self {
        Self {
            unit: 1,
            high_limit: 50,
            low_limit: -10,
            alarm_delay_s: 900,
            sample_period_s: 10,
            hysteresis: 5,
            offsets: [0; PROBES],
            fitted: 1,
            serial: 0,
        }
    }
}

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Record {
    /// Counts writes; 0: never written.
    pub generation: u32,
    /// Sequence numbers up to here may have been given.
    pub reserved: u32,
    /// The settings.
    pub settings: Settings,
}

/// Writes values one after the other.
struct Out<'a>(&'a mut [u8]);

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let all = core::mem::take(&mut self.0);
        if let Some((here, rest)) = all.split_at_mut_checked(bytes.len()) {
            here.copy_from_slice(bytes);
            self.0 = rest;
        }
    }
}

fn word(bytes: &[u8; RECORD_BYTES], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| pair.iter().rev().fold(0, |sum, byte| sum << 8 | u16::from(*byte)))
}

fn long(bytes: &[u8; RECORD_BYTES], at: usize) -> u32 {
    u32::from(word(bytes, at)) | u32::from(word(bytes, at + 2)) << 16
}

const CRC: Range<usize> = RECORD_BYTES - 4..RECORD_BYTES;

impl Record {
    /// As it lies in the storage, little endian; what is not used is 0.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let (body, crc) = bytes.split_at_mut(CRC.start);
        let mut out = Out(body);
        let settings = &self.settings;
        out.put(&MAGIC.to_le_bytes());
        out.put(&self.generation.to_le_bytes());
        out.put(&self.reserved.to_le_bytes());
        out.put(&settings.serial.to_le_bytes());
        for value in [settings.high_limit, settings.low_limit].iter().chain(&settings.offsets) {
            out.put(&value.to_le_bytes());
        }
        let words = [settings.alarm_delay_s, settings.sample_period_s, settings.hysteresis, settings.fitted];
        words.iter().for_each(|value| out.put(&value.to_le_bytes()));
        out.put(&[settings.unit]);
        crc.copy_from_slice(&crc32(body).to_le_bytes());
        bytes
    }

    /// What a copy holds; `None` when it is not whole.
    #[must_use]
    pub fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let body = bytes.get(..CRC.start)?;
        if long(bytes, 0) != MAGIC || long(bytes, CRC.start) != crc32(body) {
            return None;
        }
        let signed = |at| word(bytes, at).cast_signed();
        let settings = Settings {
            unit: *bytes.get(36)?,
            high_limit: signed(16),
            low_limit: signed(18),
            offsets: [signed(20), signed(22), signed(24), signed(26)],
            alarm_delay_s: word(bytes, 28),
            sample_period_s: word(bytes, 30),
            hysteresis: word(bytes, 32),
            fitted: word(bytes, 34),
            serial: long(bytes, 12),
        };
        Some(Self { generation: long(bytes, 4), reserved: long(bytes, 8), settings })
    }
}

/// What was found at a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The newest good record, or the defaults.
    pub record: Record,
    /// Good copies, 0 to 2.
    pub good: u16,
    /// The copy to write next.
    next: usize,
}

/// Reads both copies. A copy that cannot be read counts as bad.
pub fn load<S: Storage>(storage: &mut S) -> Found {
    let mut read = |copy| {
        let mut bytes = [0; RECORD_BYTES];
        storage.read(copy, &mut bytes).ok()?;
        Record::decode(&bytes)
    };
    match (read(0), read(1)) {
        // Compared by distance: a generation that wraps is still newer.
        (Some(a), Some(b)) if a.generation.wrapping_sub(b.generation).cast_signed() >= 0 => {
            Found { record: a, good: 2, next: 1 }
        }
        (Some(_), Some(b)) => Found { record: b, good: 2, next: 0 },
        (Some(a), None) => Found { record: a, good: 1, next: 1 },
        (None, Some(b)) => Found { record: b, good: 1, next: 0 },
        (None, None) => Found { record: Record::default(), good: 0, next: 0 },
    }
}

/// Why a save did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveError<E> {
    /// The storage.
    Storage(E),
    /// What was read back is not what was written.
    ReadBack,
}

impl Found {
    /// Writes settings and reservation as the next generation, and goes on from there.
    ///
    /// # Errors
    /// The storage failed, or holds something else afterwards; the other copy is as before, and a later save writes the same
    /// copy again.
    pub fn save<S: Storage>(
        &mut self,
        storage: &mut S,
        settings: Settings,
        reserved: u32,
    ) -> Result<(), SaveError<S::Error>> {
        let record = Record { generation: self.record.generation.wrapping_add(1), reserved, settings };
        let bytes = record.encode();
        storage.erase(self.next).map_err(SaveError::Storage)?;
        for (index, step) in bytes.as_chunks::<STEP_BYTES>().0.iter().enumerate() {
            storage.write(self.next, index * STEP_BYTES, step).map_err(SaveError::Storage)?;
        }
        let mut found = [0; RECORD_BYTES];
        storage.read(self.next, &mut found).map_err(SaveError::Storage)?;
        if found != bytes {
            return Err(SaveError::ReadBack);
        }
        self.record = record;
        self.next = 1 - self.next;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
