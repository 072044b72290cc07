//! From words to values.

use alloc::collections::BTreeMap;

use super::device::Alarm;
use super::poll::Image;
use super::schema::{CabinetState, Kind, Profile, Ratio, Register, Role, WordOrder};
use crate::unit::MilliCelsius;

/// The most decimal places a device may report.
pub const DECIMALS_MAX: u32 = 3;

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
    /// The device is set up in a way that makes its numbers mean something else.
    #[error("`{name:?}` is {raw}, expected {expected}")]
    Unmet {
        /// The register of the requirement.
        name: Role,
        /// What it says.
        raw: i64,
        /// What it must say.
        expected: i64,
    },
    /// A number of decimal places that no display has.
    #[error("{places} decimal places, at most {DECIMALS_MAX}")]
    Decimals {
        /// What the device says.
        places: i64,
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
    /// Every value of the profile, decoded from what was read.
    #[must_use]
    pub fn decode(&self, image: &Image) -> Values {
        let unmet = self.requirements.iter().find_map(|requirement| {
            let raw = self.register(requirement.name).and_then(|register| self.raw(register, image));
            match raw {
                None => Some(ValueFault::Missing),
                Some(raw) if raw != requirement.raw => {
                    Some(ValueFault::Unmet { name: requirement.name, raw, expected: requirement.raw })
                }
                Some(_) => None,
            }
        });
        let rows = self.registers.iter().map(|register| {
            let value = self.value(register, image);
            let value = match unmet {
                Some(fault) if register.name.is_temperature() => value.and(Err(fault)),
                _ => value,
            };
            (register.name, value)
        });
        Values { rows: rows.collect() }
    }

    /// The alarms that the device raises, as far as they were read.
    pub fn raised<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a Alarm> + 'a {
        self.alarms.iter().filter(|alarm| {
            let word = self
                .wire_address(alarm.address)
                .and_then(|address| image.word(alarm.unit_offset, alarm.table, address));
            word.is_some_and(|word| word & alarm.mask != 0)
        })
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
        let places = if register.decimals { self.places(image)? } else { 0 };
        let milli = register.scaled(raw, scale, places);
        let min = register.min_milli.unwrap_or(i64::MIN);
        let max = register.max_milli.unwrap_or(i64::MAX);
        if (min..=max).contains(&milli) {
            Ok(Value { raw, milli: Some(milli) })
        } else {
            Err(ValueFault::OutOfRange { raw, milli, min, max })
        }
    }

    fn places(&self, image: &Image) -> Result<u32, ValueFault> {
        let point = self.register(Role::DecimalPoint).ok_or(ValueFault::Missing)?;
        let places = self.raw(point, image).ok_or(ValueFault::Missing)?;
        let known = u32::try_from(places).ok().filter(|places| *places <= DECIMALS_MAX);
        known.ok_or(ValueFault::Decimals { places })
    }

    fn raw(&self, register: &Register, image: &Image) -> Option<i64> {
        let address = self.wire_address(register.address)?;
        let first = image.word(register.unit_offset, register.table, address)?;
        let second = match register.kind.words() {
            1 => 0,
            _ => image.word(register.unit_offset, register.table, address.checked_add(1)?)?,
        };
        Some(register.raw_of([first, second]))
    }
}

impl Register {
    /// The raw number that the words of its addresses mean; the second counts for 32-bit values only.
    pub(super) fn raw_of(&self, [first, second]: [u16; 2]) -> i64 {
        match self.kind {
            Kind::S16 => i64::from(first.cast_signed()),
            Kind::U16 => i64::from(first),
            Kind::Bits => {
                let mask = u32::MAX.checked_shr(32 - u32::from(self.width)).unwrap_or(0);
                let bits = u32::from(first).checked_shr(u32::from(self.shift)).unwrap_or(0) & mask;
                i64::from(if self.inverted { !bits & mask } else { bits })
            }
            Kind::S32 | Kind::U32 => {
                let (high, low) = match self.word_order {
                    WordOrder::HighFirst => (first, second),
                    WordOrder::LowFirst => (second, first),
                };
                let wide = u32::from(high) << 16 | u32::from(low);
                if self.kind == Kind::S32 { i64::from(wide.cast_signed()) } else { i64::from(wide) }
            }
        }
    }

    /// The raw numbers its type can hold, faults included.
    #[must_use]
    pub fn raw_range(&self) -> (i64, i64) {
        match self.kind {
            Kind::S16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            Kind::U16 => (0, i64::from(u16::MAX)),
            Kind::S32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            Kind::U32 => (0, i64::from(u32::MAX)),
            Kind::Bits => (0, (1i64 << self.width.min(16)) - 1),
        }
    }

    /// What may be written, in thousandths of the unit.
    #[must_use]
    pub fn write_range(&self) -> (i64, i64) {
        let min = self.write_min_milli.or(self.min_milli).unwrap_or(i64::MIN);
        (min, self.write_max_milli.or(self.max_milli).unwrap_or(i64::MAX))
    }

    /// `raw x num / (den x 10^places)`, rounded half away from zero. 32-bit raw times 32-bit factor cannot overflow.
    pub(super) fn scaled(&self, raw: i64, scale: Ratio, places: u32) -> i64 {
        let by = i64::from(scale.den.max(1)).saturating_mul(10i64.saturating_pow(places.min(DECIMALS_MAX)));
        divide_rounded(raw.saturating_mul(i64::from(scale.num)), by)
    }
}

pub(super) fn divide_rounded(value: i64, by: i64) -> i64 {
    let half = by / 2;
    let shifted = if value < 0 { value.saturating_sub(half) } else { value.saturating_add(half) };
    shifted / by
}
