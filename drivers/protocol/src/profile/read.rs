//! From a profile to reads, and from words to values.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::schema::{CabinetState, Kind, Profile, Register, Role, WordOrder};
use crate::modbus::{Request, Response, Table};
use crate::unit::MilliCelsius;

/// One read of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Which unit of the bus, counted from the device's own.
    pub unit_offset: u8,
    /// The address space.
    pub table: Table,
    /// The first wire address.
    pub address: u16,
    /// How many addresses.
    pub count: u16,
    /// Every value read is optional: a refusal harms nothing else.
    pub optional: bool,
}

impl Poll {
    /// The request to send.
    #[must_use]
    pub const fn request(&self) -> Request {
        Request::Read { table: self.table, address: self.address, count: self.count }
    }
}

/// What has been read of a device so far, by unit, table and wire address.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Image {
    words: BTreeMap<(u8, Table, u16), u16>,
}

impl Image {
    /// An image without any word.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the answer to a poll. Words beyond the poll's count are ignored.
    pub fn absorb(&mut self, poll: &Poll, response: &Response) {
        let words: Vec<u16> = match response {
            Response::Registers(words) => words.clone(),
            Response::Bits(bits) => bits.iter().map(|bit| u16::from(*bit)).collect(),
            Response::Written => return,
        };
        for (index, word) in (0..poll.count).zip(words) {
            self.put(poll.unit_offset, poll.table, poll.address.wrapping_add(index), word);
        }
    }

    /// Sets one word.
    pub fn put(&mut self, unit_offset: u8, table: Table, wire_address: u16, word: u16) {
        self.words.insert((unit_offset, table, wire_address), word);
    }

    fn word(&self, register: &Register, wire_address: u16) -> Option<u16> {
        self.words.get(&(register.unit_offset, register.table, wire_address)).copied()
    }
}

/// A value that passed its profile's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// The raw integer.
    pub raw: i64,
    /// In thousandths of its unit, where the profile has a scale.
    pub milli: Option<i64>,
}

/// Why a value was not delivered; what the device said is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueFault {
    /// The profile has no such register, or no answer has been read.
    #[error("not read")]
    Missing,
    /// The device says that it has no reading.
    #[error("device reports fault value {raw}")]
    Reported {
        /// The raw value.
        raw: i64,
    },
    /// Physically impossible.
    #[error("{milli} milli-units (raw {raw}) outside {min}..={max}")]
    OutOfRange {
        /// The raw value.
        raw: i64,
        /// The scaled value.
        milli: i64,
        /// The least possible.
        min: i64,
        /// The largest possible.
        max: i64,
    },
}

/// Every value of a device at one time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Values {
    rows: BTreeMap<Role, Result<Value, ValueFault>>,
}

impl Values {
    /// The value of a role.
    ///
    /// # Errors
    /// Why there is none.
    pub fn get(&self, role: Role) -> Result<Value, ValueFault> {
        self.rows.get(&role).copied().unwrap_or(Err(ValueFault::Missing))
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = (Role, Result<Value, ValueFault>)> + '_ {
        self.rows.iter().map(|(role, value)| (*role, *value))
    }

    /// A temperature.
    ///
    /// # Errors
    /// Why there is none.
    pub fn temperature(&self, role: Role) -> Result<MilliCelsius, ValueFault> {
        let value = self.get(role)?;
        let milli = value.milli.ok_or(ValueFault::Missing)?;
        let narrow = i32::try_from(milli).map_err(|_| ValueFault::OutOfRange {
            raw: value.raw,
            milli,
            min: i64::from(i32::MIN),
            max: i64::from(i32::MAX),
        })?;
        Ok(MilliCelsius(narrow))
    }

    /// A raw number; `None` when it was not read or is a fault.
    #[must_use]
    pub fn raw(&self, role: Role) -> Option<i64> {
        self.get(role).ok().map(|value| value.raw)
    }

    /// A flag; `None` when it was not read or is a fault.
    #[must_use]
    pub fn flag(&self, role: Role) -> Option<bool> {
        self.raw(role).map(|raw| raw != 0)
    }
}

/// What a cabinet's values say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CabinetView {
    /// The watched temperature, or why there is none.
    pub temperature: Result<MilliCelsius, ValueFault>,
    /// The set-point, where it is read and valid.
    pub set_point: Option<MilliCelsius>,
    /// What the cabinet is doing; `Normal` for a device without a state map, `Unknown(65535)` when its state was not read.
    pub state: CabinetState,
    /// The door, where it is wired.
    pub door_open: Option<bool>,
}

impl Profile {
    /// The reads that fetch every value, neighbours merged, in ascending order. Optional values are read apart.
    #[must_use]
    pub fn plan(&self) -> Vec<Poll> {
        let mut wanted: Vec<Poll> = self
            .registers
            .iter()
            .filter_map(|register| {
                Some(Poll {
                    unit_offset: register.unit_offset,
                    table: register.table,
                    address: self.wire_address(register.address)?,
                    count: register.kind.words(),
                    optional: register.optional,
                })
            })
            .collect();
        wanted.sort_by_key(|poll| (poll.unit_offset, poll.table, poll.optional, poll.address, poll.count));
        let mut polls: Vec<Poll> = Vec::new();
        for next in wanted {
            match polls.last_mut().and_then(|last| merged(*last, next, self).map(|poll| (last, poll))) {
                Some((last, poll)) => *last = poll,
                None => polls.push(next),
            }
        }
        polls
    }

    /// Every value of the profile, decoded from what was read.
    #[must_use]
    pub fn decode(&self, image: &Image) -> Values {
        let rows = self.registers.iter().map(|register| (register.name, self.value(register, image)));
        Values { rows: rows.collect() }
    }

    /// What the values say about a cabinet.
    #[must_use]
    pub fn cabinet(&self, values: &Values) -> CabinetView {
        CabinetView {
            temperature: values.temperature(Role::Temperature),
            set_point: values.temperature(Role::SetPoint).ok(),
            state: self.state(values),
            door_open: values.flag(Role::Door),
        }
    }

    fn state(&self, values: &Values) -> CabinetState {
        let rule = self.states.iter().find(|rule| values.raw(rule.name) == Some(rule.raw));
        if let Some(rule) = rule {
            return rule.state;
        }
        if self.states.is_empty() {
            return CabinetState::Normal;
        }
        let raw = values.raw(Role::State).unwrap_or(i64::from(u16::MAX));
        CabinetState::Unknown(u16::try_from(raw).unwrap_or(u16::MAX))
    }

    fn value(&self, register: &Register, image: &Image) -> Result<Value, ValueFault> {
        let raw = self.raw(register, image).ok_or(ValueFault::Missing)?;
        if register.fault_raw.contains(&raw) {
            return Err(ValueFault::Reported { raw });
        }
        let Some(scale) = register.scale_milli else { return Ok(Value { raw, milli: None }) };
        let milli = scaled(raw, scale.num, scale.den);
        let min = register.min_milli.unwrap_or(i64::MIN);
        let max = register.max_milli.unwrap_or(i64::MAX);
        if (min..=max).contains(&milli) {
            Ok(Value { raw, milli: Some(milli) })
        } else {
            Err(ValueFault::OutOfRange { raw, milli, min, max })
        }
    }

    fn raw(&self, register: &Register, image: &Image) -> Option<i64> {
        let address = self.wire_address(register.address)?;
        let first = image.word(register, address)?;
        match register.kind {
            Kind::S16 => Some(i64::from(first.cast_signed())),
            Kind::U16 => Some(i64::from(first)),
            Kind::Bits => {
                let mask = u32::MAX.checked_shr(32 - u32::from(register.width)).unwrap_or(0);
                let bits = u32::from(first).checked_shr(u32::from(register.shift)).unwrap_or(0) & mask;
                Some(i64::from(if register.inverted { !bits & mask } else { bits }))
            }
            Kind::S32 | Kind::U32 => {
                let second = image.word(register, address.checked_add(1)?)?;
                let (high, low) = match register.word_order {
                    WordOrder::HighFirst => (first, second),
                    WordOrder::LowFirst => (second, first),
                };
                let wide = u32::from(high) << 16 | u32::from(low);
                let signed = register.kind == Kind::S32;
                Some(if signed { i64::from(wide.cast_signed()) } else { i64::from(wide) })
            }
        }
    }
}

/// Both polls as one, where the profile's merge rule allows it.
fn merged(last: Poll, next: Poll, profile: &Profile) -> Option<Poll> {
    let same = (last.unit_offset, last.table, last.optional) == (next.unit_offset, next.table, next.optional);
    let last_end = u32::from(last.address) + u32::from(last.count);
    let next_end = u32::from(next.address) + u32::from(next.count);
    let gap = u32::from(next.address).saturating_sub(last_end);
    let count = u16::try_from(next_end.max(last_end) - u32::from(last.address)).ok()?;
    let fits = count <= profile.merge.count_max && gap <= u32::from(profile.merge.gap_max);
    (same && !last.optional && fits).then_some(Poll { count, ..last })
}

/// `raw × num / den`, rounded half away from zero. Wide arithmetic: 32-bit raw times 32-bit factor cannot overflow.
fn scaled(raw: i64, num: i32, den: i32) -> i64 {
    let product = raw.saturating_mul(i64::from(num));
    divide_rounded(product, i64::from(den.max(1)))
}

pub(super) fn divide_rounded(value: i64, by: i64) -> i64 {
    let half = by / 2;
    let shifted = if value < 0 { value.saturating_sub(half) } else { value.saturating_add(half) };
    shifted / by
}
