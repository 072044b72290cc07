//! What a profile must satisfy before a device is driven with it.

use alloc::collections::BTreeSet;
use alloc::string::String;

use super::read::{Image, ValueFault};
use super::schema::{CabinetState, Class, CommandName, Example, Kind, Profile, Register, Role, WriteTarget};
use crate::modbus::READ_REGISTERS_MAX;

/// Why a profile, or something asked of it, was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A text that must say something is empty.
    #[error("`{field}` is empty")]
    Empty {
        /// Which field.
        field: &'static str,
    },
    /// A role occurs twice.
    #[error("register `{name:?}` occurs twice")]
    Twice {
        /// Which role.
        name: Role,
    },
    /// A role the device class needs is absent, or was asked for.
    #[error("no register `{name:?}`")]
    NoRegister {
        /// Which role.
        name: Role,
    },
    /// A command the device class needs is absent, or was asked for.
    #[error("no command `{name:?}`")]
    NoCommand {
        /// Which command.
        name: CommandName,
    },
    /// Address plus offset leaves the 16-bit address space.
    #[error("address {address} with its offset is outside 0..=65535")]
    Address {
        /// The address as printed.
        address: u16,
    },
    /// A register's fields contradict each other.
    #[error("register `{name:?}`: {reason}")]
    Register {
        /// Which role.
        name: Role,
        /// What is wrong.
        reason: &'static str,
    },
    /// The merge limits cannot be used.
    #[error("merge.count_max is {found}, expected 2..={READ_REGISTERS_MAX}")]
    Merge {
        /// The limit found.
        found: u16,
    },
    /// A state rule or command cannot be used.
    #[error("{what}: {reason}")]
    Rule {
        /// Which list.
        what: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// The register may not be written.
    #[error("register `{name:?}` is not writable")]
    NotWritable {
        /// Which role.
        name: Role,
    },
    /// A value that may not be written.
    #[error("{milli} milli-units for `{name:?}` is outside {min}..={max} or the register's range")]
    Value {
        /// Which role.
        name: Role,
        /// The value.
        milli: i64,
        /// The least allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// A worked example decodes to something else.
    #[error("example {index}: `{name:?}` decodes to {found}")]
    Example {
        /// Which example, from 1.
        index: usize,
        /// Which role.
        name: Role,
        /// What it decodes to.
        found: String,
    },
    /// A worked example has another cabinet state.
    #[error("example {index}: cabinet state is {found:?}, expected {expected:?}")]
    ExampleState {
        /// Which example, from 1.
        index: usize,
        /// The state expected.
        expected: CabinetState,
        /// The state found.
        found: CabinetState,
    },
}

impl Profile {
    /// Checks the profile as a whole, its worked examples included.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(&self) -> Result<(), ProfileError> {
        if self.name.trim().is_empty() {
            return Err(ProfileError::Empty { field: "name" });
        }
        if self.source.trim().is_empty() {
            return Err(ProfileError::Empty { field: "source" });
        }
        if self.registers.is_empty() {
            return Err(ProfileError::Empty { field: "register" });
        }
        if self.examples.is_empty() {
            return Err(ProfileError::Empty { field: "example" });
        }
        if !(2..=READ_REGISTERS_MAX).contains(&self.merge.count_max) {
            return Err(ProfileError::Merge { found: self.merge.count_max });
        }
        let mut names = BTreeSet::new();
        for register in &self.registers {
            if !names.insert(register.name) {
                return Err(ProfileError::Twice { name: register.name });
            }
            self.check_register(register)?;
        }
        self.check_class()?;
        self.check_rules()?;
        self.check_examples()
    }

    fn check_register(&self, register: &Register) -> Result<(), ProfileError> {
        let name = register.name;
        let wrong = |reason| Err(ProfileError::Register { name, reason });
        let last = register.address.checked_add(register.kind.words() - 1);
        if last.and_then(|last| self.wire_address(last)).is_none()
            || self.wire_address(register.address).is_none()
        {
            return Err(ProfileError::Address { address: register.address });
        }
        if register.table.is_bits()
            && (register.kind != Kind::Bits || register.width != 1 || register.shift != 0)
        {
            return wrong("a coil or discrete input needs type `bits`, width 1, shift 0");
        }
        if register.width == 0 || u16::from(register.shift) + u16::from(register.width) > 16 {
            return wrong("shift and width leave the 16-bit register");
        }
        if register.scale_milli.is_some_and(|scale| scale.num == 0 || scale.den <= 0) {
            return wrong("scale_milli needs num other than 0 and den above 0");
        }
        if let (Some(min), Some(max)) = (register.min_milli, register.max_milli)
            && min >= max
        {
            return wrong("min_milli is not below max_milli");
        }
        let physical = matches!(name, Role::Temperature | Role::CoreTemperature | Role::SetPoint);
        let bounded = register.min_milli.is_some() && register.max_milli.is_some();
        if physical && !(register.scale_milli.is_some() && bounded) {
            return wrong("a temperature needs scale_milli, min_milli and max_milli");
        }
        Ok(())
    }

    fn check_class(&self) -> Result<(), ProfileError> {
        let needed: &[Role] = match self.class {
            Class::Cabinet | Class::Probe => &[Role::Temperature],
            Class::Steamer => &[
                Role::Temperature,
                Role::SetPoint,
                Role::StatusLower,
                Role::StatusUpper,
                Role::Door,
                Role::LowWater,
                Role::OverTemperature,
            ],
        };
        if let Some(name) = self.absent.iter().find(|name| self.register(**name).is_some()) {
            return Err(ProfileError::Register { name: *name, reason: "named in `absent` as well" });
        }
        // A steamer is commanded, not only watched: it may lack nothing.
        let needed = needed.iter().filter(|name| self.class == Class::Steamer || !self.absent.contains(name));
        for name in needed {
            let register = self.register(*name).ok_or(ProfileError::NoRegister { name: *name })?;
            if register.optional {
                return Err(ProfileError::Register {
                    name: *name,
                    reason: "the device class needs it: not optional",
                });
            }
        }
        if self.class == Class::Steamer {
            for name in [CommandName::Run, CommandName::Stop] {
                self.command(name)?;
            }
        }
        Ok(())
    }

    fn check_rules(&self) -> Result<(), ProfileError> {
        for rule in &self.states {
            if self.register(rule.name).is_none() {
                return Err(ProfileError::NoRegister { name: rule.name });
            }
        }
        for (index, command) in self.commands.iter().enumerate() {
            if self.wire_address(command.address).is_none() {
                return Err(ProfileError::Address { address: command.address });
            }
            if command.write == WriteTarget::Coil && command.value > 1 {
                return Err(ProfileError::Rule { what: "command", reason: "a coil's value is 0 or 1" });
            }
            if self.commands.iter().take(index).any(|earlier| earlier.name == command.name) {
                return Err(ProfileError::Rule { what: "command", reason: "a command occurs twice" });
            }
        }
        Ok(())
    }

    fn check_examples(&self) -> Result<(), ProfileError> {
        for (index, example) in self.examples.iter().enumerate() {
            self.check_example(index + 1, example)?;
        }
        Ok(())
    }

    fn check_example(&self, index: usize, example: &Example) -> Result<(), ProfileError> {
        let mut image = Image::new();
        for row in &example.registers {
            for (address, word) in (row.address..=u16::MAX).zip(&row.words) {
                let wire = self.wire_address(address).ok_or(ProfileError::Address { address })?;
                image.put(row.unit_offset, row.table, wire, *word);
            }
        }
        let values = self.decode(&image);
        for expectation in &example.expect {
            let name = expectation.name;
            let found = values.get(name);
            let fits = match found {
                Ok(value) => {
                    !expectation.fault
                        && expectation.milli.is_none_or(|milli| value.milli == Some(milli))
                        && expectation.raw.is_none_or(|raw| value.raw == raw)
                        && (expectation.milli.is_some() || expectation.raw.is_some())
                }
                Err(ValueFault::Missing) => false,
                Err(_) => expectation.fault,
            };
            if !fits {
                return Err(ProfileError::Example { index, name, found: alloc::format!("{found:?}") });
            }
        }
        let found = self.cabinet(&values).state;
        match example.state {
            Some(expected) if expected != found => Err(ProfileError::ExampleState { index, expected, found }),
            _ => Ok(()),
        }
    }
}
