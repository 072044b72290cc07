//! From values and commands to writes.

use alloc::vec::Vec;

use super::check::ProfileError;
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
        if !register.writable || register.table != Table::Holding || !single {
            return Err(ProfileError::NotWritable { name });
        }
        let (min, max) = (register.min_milli.unwrap_or(i64::MIN), register.max_milli.unwrap_or(i64::MAX));
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
        let mut writes = self.enabling()?;
        writes.push(Write {
            unit_offset: register.unit_offset,
            request: Request::WriteRegister { address, value },
        });
        Ok(writes)
    }

    /// The writes of a command, preceded by the one that allows writing where the profile has it.
    ///
    /// # Errors
    /// The profile has no such command.
    pub fn command(&self, name: CommandName) -> Result<Vec<Write>, ProfileError> {
        let rule = self.rule(name).ok_or(ProfileError::NoCommand { name })?;
        let mut writes = if name == CommandName::EnableWriting { Vec::new() } else { self.enabling()? };
        writes.push(self.written(rule)?);
        Ok(writes)
    }

    fn enabling(&self) -> Result<Vec<Write>, ProfileError> {
        self.rule(CommandName::EnableWriting).map(|rule| self.written(rule)).into_iter().collect()
    }

    fn rule(&self, name: CommandName) -> Option<&CommandRule> {
        self.commands.iter().find(|rule| rule.name == name)
    }

    fn written(&self, rule: &CommandRule) -> Result<Write, ProfileError> {
        let address =
            self.wire_address(rule.address).ok_or(ProfileError::Address { address: rule.address })?;
        let request = match rule.write {
            WriteTarget::Register => Request::WriteRegister { address, value: rule.value },
            WriteTarget::Coil => Request::WriteCoil { address, on: rule.value != 0 },
        };
        Ok(Write { unit_offset: rule.unit_offset, request })
    }
}
