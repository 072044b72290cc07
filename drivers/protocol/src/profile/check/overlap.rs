//! No two entries of a profile may claim the same bits, and no entry may leave the address space.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::{Found, Place, ProfileError};
use crate::modbus::Table;
use crate::profile::{Kind, Profile};

/// Bits of one address that one entry claims.
struct Claim {
    at: (u8, Table, u16),
    bits: u16,
    what: String,
}

impl Profile {
    /// Registers must not overlap one another, nor alarms one another; an alarm may look at a register's word.
    pub(super) fn check_overlaps(&self) -> Found {
        let mut claims = Vec::new();
        for (index, register) in self.registers.iter().enumerate() {
            let bits = match register.kind {
                _ if register.table.is_bits() => 1,
                Kind::Bits => span(register.shift, register.width),
                _ => u16::MAX,
            };
            for word in 0..register.kind.words() {
                let at = (register.unit_offset, register.table, register.address.saturating_add(word));
                claim(&mut claims, Claim { at, bits, what: format!("{:?}", register.name) })
                    .map_err(|error| (Place::entry("register", index), error))?;
            }
        }
        let mut claims = Vec::new();
        for (index, alarm) in self.alarms.iter().enumerate() {
            let place = Place::entry("alarm", index);
            let wrong = |reason| Err((place, ProfileError::Rule { what: "alarm", reason }));
            if self.wire_address(alarm.address).is_none() {
                return Err((place, ProfileError::Address { address: alarm.address }));
            }
            if alarm.text.trim().is_empty() {
                return Err((place, ProfileError::Empty { field: "alarm.text" }));
            }
            if alarm.mask == 0 {
                return wrong("its mask is 0: nothing can raise it");
            }
            let bits = if alarm.table.is_bits() { 1 } else { alarm.mask };
            let at = (alarm.unit_offset, alarm.table, alarm.address);
            claim(&mut claims, Claim { at, bits, what: alarm.text.to_string() })
                .map_err(|error| (place, error))?;
        }
        Ok(())
    }
}

fn span(shift: u8, width: u8) -> u16 {
    let ones = (1u32 << width.min(16)) - 1;
    u16::try_from((ones << shift.min(15)) & 0xFFFF).unwrap_or(u16::MAX)
}

fn claim(claims: &mut Vec<Claim>, new: Claim) -> Result<(), ProfileError> {
    if let Some(old) = claims.iter().find(|old| old.at == new.at && old.bits & new.bits != 0) {
        let (what, other) = (new.what, old.what.clone());
        return Err(ProfileError::Overlap { what, other, address: new.at.2 });
    }
    claims.push(new);
    Ok(())
}
