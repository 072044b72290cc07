//! From values and commands to writes.

use alloc::vec::Vec;

use super::error::ProfileError;
use super::poll::Image;
use super::read::divide_rounded;
use super::schema::{CommandName, CommandRule, Kind, Profile, Role, WriteTarget};
use crate::modbus::{Request, Table};

/// One write to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which unit of the bus, counted from the device's own.
    pub unit_offset: u8,
    /// The request to send.
    pub request: Request,
}

impl Profile {
    /// The writes that set a value, preceded by the one that allows writing where the profile has it.
    ///
    /// # Errors
    /// No such register, not writable, or a value outside its physical range.
    pub fn set(&self, name: Role, milli: i64) -> Result<Vec<Write>, ProfileError> {
        let register = self.register(name).ok_or(ProfileError::NoRegister { name })?;
        let scale = register.scale_milli.ok_or(ProfileError::NotWritable { name })?;
        let single = matches!(register.kind, Kind::S16 | Kind::U16);
        // With a movable decimal point the same word means different temperatures: it is read, never written.
        if !register.writable || register.table != Table::Holding || !single || register.decimals {
            return Err(ProfileError::NotWritable { name });
        }
        let (min, max) = register.write_range();
        let refused = ProfileError::Value { name, milli, min, max };
        if !(min..=max).contains(&milli) || scale.num == 0 {
            return Err(refused);
        }
        let product = milli.checked_mul(i64::from(scale.den)).ok_or_else(|| refused.clone())?;
        let (num, sign) = (i64::from(scale.num).abs(), i64::from(scale.num.signum()));
        let raw = divide_rounded(product, num) * sign;
        let word = match register.kind {
            Kind::S16 => i16::try_from(raw).ok().map(i16::cast_unsigned),
            _ => u16::try_from(raw).ok(),
        };
        let value = word.ok_or(refused)?;
        let address =
            self.wire_address(register.address).ok_or(ProfileError::Address { address: register.address })?;
        let mut writes = self.enabling(&Image::new())?;
        writes
            .push(Write { unit_offset: register.unit_offset, request: self.write_register(address, value) });
        Ok(writes)
    }

    fn write_register(&self, address: u16, value: u16) -> Request {
        if self.write_multiple {
            Request::WriteRegisters { address, values: [value].to_vec() }
        } else {
            Request::WriteRegister { address, value }
        }
    }

    /// The writes of a command, preceded by the one that allows writing where the profile has it.
    ///
    /// # Errors
    /// The profile has no such command, or it needs a reading ([`Profile::command_after`]).
    pub fn command(&self, name: CommandName) -> Result<Vec<Write>, ProfileError> {
        self.command_after(name, &Image::new())
    }

    /// The writes of a command, after `read`: a masked bit is written only where the word last read allows it.
    ///
    /// # Errors
    /// The profile has no such command, or the device does not allow it now.
    pub fn command_after(&self, name: CommandName, read: &Image) -> Result<Vec<Write>, ProfileError> {
        let rule = self.rule(name).ok_or(ProfileError::NoCommand { name })?;
        let mut writes = if name == CommandName::EnableWriting { Vec::new() } else { self.enabling(read)? };
        writes.push(self.written(rule, read)?);
        Ok(writes)
    }

    fn enabling(&self, read: &Image) -> Result<Vec<Write>, ProfileError> {
        self.rule(CommandName::EnableWriting).map(|rule| self.written(rule, read)).into_iter().collect()
    }

    fn rule(&self, name: CommandName) -> Option<&CommandRule> {
        self.commands.iter().find(|rule| rule.name == name)
    }

    fn written(&self, rule: &CommandRule, read: &Image) -> Result<Write, ProfileError> {
        let address =
            self.wire_address(rule.address).ok_or(ProfileError::Address { address: rule.address })?;
        let request = match rule.write {
            WriteTarget::Register => self.write_register(address, rule.value),
            WriteTarget::MaskedBit => {
                let refused = |reason| ProfileError::Masked { name: rule.name, reason };
                let word = read.word(rule.unit_offset, Table::Holding, address);
                let word = word.ok_or_else(|| refused("its word has not been read"))?;
                let bit = 1u16 << rule.value.min(7);
                if word & bit == 0 {
                    return Err(refused("the device does not allow this bit to be written"));
                }
                // The other states go back as they were read, and their masks as 0: nothing else changes, whether the device
                // heeds the mask or the whole byte.
                self.write_register(address, (word & 0xFF00) | bit << 8 | bit)
            }
            WriteTarget::Coil => Request::WriteCoil { address, on: rule.value != 0 },
        };
        Ok(Write { unit_offset: rule.unit_offset, request })
    }
}
