//! What a profile must satisfy before a device is driven with it.

use alloc::collections::BTreeSet;

use super::error::{FrameFault, Place, ProfileError};
use super::schema::{Class, CommandName, Kind, PollClass, Profile, Register, Role, WriteTarget};
use crate::modbus::{READ_REGISTERS_MAX, Table};

mod examples;
mod overlap;

type Found = Result<(), (Place, ProfileError)>;

impl Profile {
    /// Checks the profile as a whole, its worked examples included.
    ///
    /// # Errors
    /// The first thing found wrong.
    pub fn check(&self) -> Result<(), ProfileError> {
        self.review().map_err(|(_, error)| error)
    }

    /// The same, and where.
    ///
    /// # Errors
    /// The first thing found wrong and the entry it was found in.
    pub fn review(&self) -> Found {
        self.review_whole()?;
        let mut names = BTreeSet::new();
        for (index, register) in self.registers.iter().enumerate() {
            let at = |error| (Place::entry("register", index), error);
            if !names.insert(register.name) {
                return Err(at(ProfileError::Twice { name: register.name }));
            }
            self.check_register(register).map_err(at)?;
        }
        self.check_overlaps()?;
        self.check_class().map_err(|error| (Place::field("class"), error))?;
        self.check_rules()?;
        self.check_examples()
    }

    fn review_whole(&self) -> Found {
        let at = |field, error| Err((Place::field(field), error));
        for (field, text) in [("name", &self.name), ("source", &self.source)] {
            if text.trim().is_empty() {
                return at(field, ProfileError::Empty { field });
            }
        }
        let lists = [
            ("register", self.registers.is_empty()),
            ("example", self.examples.is_empty()),
            ("transport", self.transport.wires.is_empty()),
        ];
        for (field, empty) in lists {
            if empty {
                return at(field, ProfileError::Empty { field });
            }
        }
        if !(2..=READ_REGISTERS_MAX).contains(&self.merge.count_max) {
            return at("merge", ProfileError::Merge { found: self.merge.count_max });
        }
        let slow = ("slow_every", u32::from(self.slow_every), 1, 3_600);
        let stop = ("transport.stop_bits", u32::from(self.transport.stop_bits.unwrap_or(1)), 1, 2);
        let rates = self.transport.baud.iter().map(|baud| ("transport.baud", *baud, 300, 4_000_000));
        for (field, found, min, max) in rates.chain([slow, stop]) {
            if !(min..=max).contains(&found) {
                return at(field, ProfileError::Number { field, found, min, max });
            }
        }
        Ok(())
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
        let physical = name.is_temperature();
        let bounded = register.min_milli.is_some() && register.max_milli.is_some();
        if physical && !(register.scale_milli.is_some() && bounded) {
            return wrong("a temperature needs scale_milli, min_milli and max_milli");
        }
        if register.kind.words() > self.merge.count_max {
            return wrong("wider than merge.count_max");
        }
        self.check_reach(register).map_err(|reason| ProfileError::Register { name, reason })?;
        Self::check_writing(register).map_err(|reason| ProfileError::Register { name, reason })
    }

    /// What the raw number can never be must not be relied on.
    fn check_reach(&self, register: &Register) -> Result<(), &'static str> {
        let (least, most) = register.raw_range();
        if register.fault_raw.iter().any(|raw| !(least..=most).contains(raw)) {
            return Err("a fault_raw that the type cannot hold");
        }
        if register.decimals
            && (register.scale_milli.is_none() || self.register(Role::DecimalPoint).is_none())
        {
            return Err("decimals needs scale_milli and a register `decimal-point`");
        }
        if let (Some(scale), Some(min), Some(max)) =
            (register.scale_milli, register.min_milli, register.max_milli)
        {
            let ends = [least, most].map(|raw| register.scaled(raw, scale, 0));
            let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
            if high < min || low > max {
                return Err("no raw value lies within min_milli and max_milli");
            }
        }
        Ok(())
    }

    fn check_writing(register: &Register) -> Result<(), &'static str> {
        let single = matches!(register.kind, Kind::S16 | Kind::U16);
        if register.writable
            && (register.table != Table::Holding || !single || register.scale_milli.is_none())
        {
            return Err("writable needs table holding, type s16 or u16, and scale_milli");
        }
        let (low, high) = register.write_range();
        let limited = register.write_min_milli.is_some() || register.write_max_milli.is_some();
        if limited && !register.writable {
            return Err("write_min_milli or write_max_milli without writable");
        }
        if register.writable && (register.min_milli.is_none() || register.max_milli.is_none()) {
            return Err("writable needs min_milli and max_milli");
        }
        if low > high
            || register.write_min_milli.is_some_and(|value| register.min_milli.is_some_and(|min| value < min))
            || register.write_max_milli.is_some_and(|value| register.max_milli.is_some_and(|max| value > max))
        {
            return Err(
                "write_min_milli and write_max_milli must lie within min_milli and max_milli, in order",
            );
        }
        Ok(())
    }

    fn check_class(&self) -> Result<(), ProfileError> {
        let needed: &[Role] = match self.class {
            Class::Cabinet | Class::Probe | Class::Controller => &[Role::Temperature],
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
            // Permits to start rest on one visit, so nothing they look at may be older than that.
            if self.class == Class::Steamer && register.poll == PollClass::Slow {
                return Err(ProfileError::Register { name: *name, reason: "a steamer needs it: not slow" });
            }
            if register.optional {
                return Err(ProfileError::Register {
                    name: *name,
                    reason: "the device class needs it: not optional",
                });
            }
        }
        if self.class == Class::Steamer {
            // A steamer's own controller has the cut-outs: nothing of it is written but set-point, run and stop.
            let other = self.registers.iter().find(|r| r.writable && r.name != Role::SetPoint);
            if let Some(register) = other {
                let reason = "of a steamer only the set-point is written";
                return Err(ProfileError::Register { name: register.name, reason });
            }
            let allowed = [CommandName::EnableWriting, CommandName::Run, CommandName::Stop];
            if self.commands.iter().any(|command| !allowed.contains(&command.name)) {
                return Err(ProfileError::Rule {
                    what: "command",
                    reason: "a steamer is only run and stopped",
                });
            }
            for name in [CommandName::Run, CommandName::Stop] {
                self.command(name)?;
            }
        }
        Ok(())
    }

    fn check_rules(&self) -> Found {
        for (index, rule) in self.states.iter().enumerate() {
            let at =
                |reason| Err((Place::entry("state", index), ProfileError::Rule { what: "state", reason }));
            let Some(register) = self.register(rule.name) else {
                return at("its register does not exist");
            };
            let (least, most) = register.raw_range();
            if !(least..=most).contains(&rule.raw) || register.fault_raw.contains(&rule.raw) {
                return at("its register never has that raw value");
            }
            let same = |earlier: &&super::StateRule| earlier.name == rule.name && earlier.raw == rule.raw;
            if self.states.iter().take(index).any(|earlier| same(&earlier)) {
                return at("an earlier rule takes the same raw value");
            }
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            let at = |reason| {
                Err((Place::entry("require", index), ProfileError::Rule { what: "require", reason }))
            };
            match self.register(requirement.name) {
                None => return at("its register does not exist"),
                Some(register) if register.optional => return at("its register is optional"),
                Some(register) if register.name.is_temperature() => {
                    return at("its register is a temperature");
                }
                Some(_) => {}
            }
        }
        self.check_matches()?;
        (0..self.commands.len()).try_for_each(|index| {
            self.check_command(index).map_err(|error| (Place::entry("command", index), error))
        })
    }

    fn check_matches(&self) -> Found {
        for (index, sign) in self.matches.iter().enumerate() {
            let at = |error| (Place::entry("match", index), error);
            if self.wire_address(sign.address).is_none() {
                return Err(at(ProfileError::Address { address: sign.address }));
            }
            if sign.mask == 0 || sign.values.iter().any(|value| value & !sign.mask != 0) {
                let reason = "a value outside the mask can never be found";
                return Err(at(ProfileError::Rule { what: "match", reason }));
            }
            if sign.text.trim().is_empty() {
                return Err(at(ProfileError::Empty { field: "match.text" }));
            }
        }
        Ok(())
    }

    fn check_command(&self, index: usize) -> Result<(), ProfileError> {
        let Some(command) = self.commands.get(index) else { return Ok(()) };
        let wrong = |reason| Err(ProfileError::Rule { what: "command", reason });
        let Some(wire) = self.wire_address(command.address) else {
            return Err(ProfileError::Address { address: command.address });
        };
        if command.write == WriteTarget::Coil && command.value > 1 {
            return wrong("a coil's value is 0 or 1");
        }
        if command.write == WriteTarget::MaskedBit {
            if command.value > 7 {
                return wrong("a masked bit is 0 to 7");
            }
            let read = self.plan().iter().any(|poll| {
                (poll.unit_offset, poll.table) == (command.unit_offset, Table::Holding)
                    && (u32::from(poll.address)..u32::from(poll.address) + u32::from(poll.count))
                        .contains(&u32::from(wire))
            });
            if !read {
                return wrong("a masked bit needs a register that reads its word");
            }
        }
        if self.commands.iter().take(index).any(|earlier| earlier.name == command.name) {
            return wrong("a command occurs twice");
        }
        Ok(())
    }
}
