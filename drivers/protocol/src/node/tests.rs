//! The table against itself, the profile and the document.

use alloc::vec::Vec;

use super::*;
use crate::profile::{Profile, Register};

const PROFILE: &str = include_str!("../../../../configs/devices/steelyard-node.toml");

fn milli(value: Option<i64>, entry: &Entry) -> Option<i64> {
    value.map(|value| value / i64::from(entry.step_milli.unwrap_or(1)))
}

/// What a row of the profile must say, by the table.
fn agrees(register: &Register, entry: &Entry) {
    let name = entry.name;
    assert!(entry.in_profile, "{name}");
    if register.kind == Kind::Bits {
        assert_eq!((entry.kind, entry.name), (Kind::U16, "status"));
        let mask = match register.name {
            crate::profile::Role::SensorFault => status::SENSOR_FAULT,
            crate::profile::Role::Door => status::DOOR_OPEN,
            other => panic!("{other:?} is no bit of this node"),
        };
        assert_eq!((1 << register.shift, register.width, register.inverted), (mask, 1, false));
        return;
    }
    assert_eq!(
        (register.address, register.kind, register.unit_offset, register.decimals),
        (entry.address, entry.kind, 0, false),
        "{name}"
    );
    let step = register.scale_milli.map(|ratio| ratio.num / ratio.den);
    assert_eq!(step, entry.step_milli, "{name}");
    assert_eq!(register.fault_raw.contains(&i64::from(NO_READING.cast_signed())), entry.may_fail, "{name}");
    assert_eq!(register.writable, entry.access == Access::Setting, "{name}");
    if register.writable {
        let least = milli(register.write_min_milli.or(register.min_milli), entry);
        let most = milli(register.write_max_milli.or(register.max_milli), entry);
        assert_eq!((least, most), (Some(entry.least), Some(entry.most)), "{name}");
    } else if entry.step_milli.is_some() {
        let range = (milli(register.min_milli, entry), milli(register.max_milli, entry));
        assert_eq!(range, (Some(entry.least), Some(entry.most)), "{name}");
    }
}

#[test]
fn the_profile_says_what_the_table_says() {
    let profile: Profile = toml::from_str(PROFILE).unwrap();
    assert_eq!(profile.address_offset, 0);
    let mut seen: Vec<(Table, u16)> = Vec::new();
    for register in &profile.registers {
        let entry = entry(register.table, register.address).expect("a register that the node does not have");
        if register.kind != Kind::Bits {
            let name = toml::Value::try_from(register.name).unwrap();
            assert_eq!(name.as_str(), Some(entry.name));
        }
        agrees(register, entry);
        seen.push((entry.table, entry.address));
    }
    for entry in REGISTERS.iter().filter(|entry| entry.in_profile) {
        assert!(seen.contains(&(entry.table, entry.address)), "{} is not in the profile", entry.name);
    }
    let masks: Vec<_> = profile.alarms.iter().map(|alarm| (alarm.table, alarm.address, alarm.mask)).collect();
    let bits = [status::SENSOR_FAULT, status::HIGH, status::LOW, status::RESTARTED];
    assert_eq!(masks, bits.map(|mask| (Table::Input, input::STATUS, mask)));
}

#[test]
fn the_table_is_in_order_without_overlaps_and_outside_the_window() {
    for pair in REGISTERS.windows(2) {
        let [a, b] = pair else { unreachable!() };
        assert!(a.table != b.table || a.address + a.kind.words() <= b.address, "{} and {}", a.name, b.name);
        assert_ne!(a.name, b.name);
    }
    for entry in REGISTERS {
        assert!(entry.least <= entry.most && entry.address < WINDOW, "{}", entry.name);
        assert!(
            entry.access == Access::Read || entry.kind.words() == 1,
            "{}: writes are of one word",
            entry.name
        );
        assert_eq!(entry.access == Access::Read, entry.table == Table::Input, "{}", entry.name);
    }
    assert!(SLOTS.is_power_of_two());
    assert_eq!((slot_address(0), slot_address(1_023)), (WINDOW, WINDOW + 10_230));
    assert_eq!((slot_address(1_024), slot_address(u32::MAX)), (WINDOW, WINDOW + 10_230));
}

#[test]
fn codes_are_unique_and_named_back() {
    for (index, quality) in Quality::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(quality.code()), index);
    }
    for (index, reason) in ResetReason::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(reason.code()), index + 1);
    }
    for command in Command::ALL {
        assert_eq!(Command::from_code(command.code()), Some(command));
    }
    assert_eq!(Command::from_code(0), None);
    assert!(entry(Table::Holding, holding::OFFSETS).is_some_and(|e| e.takes(0xFC18) && !e.takes(0xFC17)));
}

#[test]
fn the_document_is_up_to_date() {
    extern crate std;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../firmware/REGISTERS.md");
    let text = document::markdown();
    if std::env::var_os("UPDATE_REGISTERS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "run with UPDATE_REGISTERS=1");
}
