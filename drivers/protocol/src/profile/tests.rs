//! The shipped profiles' worked examples, and the rules of profiles.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::modbus::{Request, Response, Table};
use crate::steamer::{CombiSteamerMode, SteamerReading};
use crate::unit::MilliCelsius;

const SHIPPED: [(&str, &str); 4] = [
    ("danfoss-ak-cc55", include_str!("../../../../configs/devices/danfoss-ak-cc55.toml")),
    ("penn-tc3223", include_str!("../../../../configs/devices/penn-tc3223.toml")),
    ("steamer-e5cc", include_str!("../../../../configs/devices/steamer-e5cc.toml")),
    ("generic-probe", include_str!("../../../../configs/devices/generic-probe.toml")),
];

fn shipped(name: &str) -> Profile {
    let text = SHIPPED.iter().find(|(known, _)| *known == name).unwrap().1;
    toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_shipped_profile_holds_its_worked_examples() {
    for (name, _) in SHIPPED {
        let profile = shipped(name);
        assert_eq!(profile.name, name);
        assert_eq!(profile.check(), Ok(()), "{name}");
        assert!(profile.examples.len() >= 2, "{name}");
    }
}

/// devices.md 2.1: the Danfoss PNU 2530 as wire address 2530 or 2529.
#[test]
fn the_address_offset_moves_every_wire_address() {
    let mut profile = shipped("danfoss-ak-cc55");
    let air = |profile: &Profile| profile.plan().iter().any(|poll| poll.address == 2531 && poll.count == 1);
    assert!(!air(&profile));
    profile.address_offset = -1;
    assert_eq!(profile.check(), Ok(()));
    assert!(air(&profile));
    profile.address_offset = -200;
    assert_eq!(profile.check(), Err(ProfileError::Address { address: 100 }));
}

#[test]
fn neighbours_are_merged_and_units_and_optional_values_are_not() {
    let polls = shipped("steamer-e5cc").plan();
    let rows: Vec<_> =
        polls.iter().map(|poll| (poll.unit_offset, poll.table, poll.address, poll.count)).collect();
    let expected = [
        (0, Table::Holding, 0x0002, 1),
        (0, Table::Holding, 0x2000, 2),
        (0, Table::Holding, 0x2103, 1),
        (1, Table::Discrete, 0, 3),
        (2, Table::Holding, 0x2000, 1),
    ];
    assert_eq!(rows, expected);
    assert!(polls[4].optional && !polls[3].optional);
    assert_eq!(polls[1].request(), Request::Read { table: Table::Holding, address: 0x2000, count: 2 });
    assert_eq!(shipped("steamer-e5cc").unit_offset_max(), 2);
}

#[test]
fn a_gap_is_read_over_only_where_the_profile_allows_it() {
    let mut profile = shipped("steamer-e5cc");
    profile.registers.retain(|register| register.unit_offset == 0);
    profile.registers[3].address = 0x2004;
    assert_eq!(profile.plan().len(), 3);
    profile.merge = Merge { gap_max: 2, count_max: 16 };
    assert_eq!(profile.plan().len(), 2);
    assert_eq!(profile.plan()[1].count, 5);
    profile.merge.count_max = 4;
    assert_eq!(profile.plan().len(), 3);
}

#[test]
fn an_impossible_temperature_stays_as_evidence() {
    let profile = shipped("danfoss-ak-cc55");
    let mut image = Image::new();
    let poll = Poll { unit_offset: 0, table: Table::Holding, address: 2532, count: 1, optional: false };
    image.absorb(&poll, &Response::Registers(vec![0x7FFF, 9, 9]));
    let values = profile.decode(&image);
    let expected = ValueFault::OutOfRange { raw: 32_767, milli: 3_276_700, min: -60_000, max: 60_000 };
    assert_eq!(profile.cabinet(&values).temperature, Err(expected));
    assert_eq!(values.get(Role::State), Err(ValueFault::Missing));
    assert_eq!(profile.cabinet(&values).state, CabinetState::Unknown(u16::MAX));
    assert_eq!(values.iter().count(), profile.registers.len());
}

#[test]
fn an_unnamed_state_keeps_its_number_and_excuses_nothing() {
    let profile = shipped("danfoss-ak-cc55");
    let mut image = Image::new();
    image.put(0, Table::Holding, 2007, 99);
    let state = profile.cabinet(&profile.decode(&image)).state;
    assert_eq!(state, CabinetState::Unknown(99));
    assert!(!state.excuses_warmth() && CabinetState::Defrost.excuses_warmth());
}

/// devices.md 2.1: `01 06 06 01 00 28` sets 4.0 °C, `01 06 28 B0 00 0D` starts a defrost.
#[test]
fn published_writes_come_from_the_profile() {
    let profile = shipped("penn-tc3223");
    let set = profile.set(Role::SetPoint, 4_000).unwrap();
    assert_eq!(
        set,
        [Write { unit_offset: 0, request: Request::WriteRegister { address: 0x0601, value: 40 } }]
    );
    let start = profile.command(CommandName::StartDefrost).unwrap();
    assert_eq!(
        start,
        [Write { unit_offset: 0, request: Request::WriteRegister { address: 0x28B0, value: 0x0D } }]
    );
    assert!(matches!(profile.set(Role::SetPoint, 250_000), Err(ProfileError::Value { .. })));
    assert_eq!(profile.set(Role::Power, 0), Err(ProfileError::NotWritable { name: Role::Power }));
    assert_eq!(profile.command(CommandName::Run), Err(ProfileError::NoCommand { name: CommandName::Run }));
}

#[test]
fn a_steamer_is_written_after_writing_is_allowed() {
    let profile = shipped("steamer-e5cc");
    let register =
        |address, value| Write { unit_offset: 0, request: Request::WriteRegister { address, value } };
    let enable = register(0xFFFF, 0x0001);
    assert_eq!(profile.command(CommandName::Run).unwrap(), [enable.clone(), register(0xFFFF, 0x0100)]);
    assert_eq!(profile.command(CommandName::Stop).unwrap(), [enable.clone(), register(0xFFFF, 0x0101)]);
    assert_eq!(profile.set(Role::SetPoint, 98_500).unwrap(), [enable, register(0x2103, 985)]);
}

#[test]
fn the_steamer_example_reads_as_steaming() {
    let profile = shipped("steamer-e5cc");
    let mut image = Image::new();
    for row in &profile.examples[0].registers {
        for (address, word) in (row.address..).zip(&row.words) {
            image.put(row.unit_offset, row.table, address, *word);
        }
    }
    let reading = SteamerReading::derive(&profile.decode(&image));
    assert_eq!(reading.mode, CombiSteamerMode::Steaming);
    assert!(reading.running && reading.heating && reading.inputs_known && !reading.sensor_fault);
    assert_eq!(reading.core, Some(MilliCelsius(71_200)));
}

/// A change that spoils a profile, and a part of the refusal's text.
type Spoiled = (fn(&mut Profile), &'static str);

#[test]
fn bad_profiles_are_refused_by_name() {
    let good = shipped("generic-probe");
    let refused = |change: fn(&mut Profile)| {
        let mut profile = good.clone();
        change(&mut profile);
        profile.check().unwrap_err().to_string()
    };
    let rows: [Spoiled; 10] = [
        (|p| p.source = String::from(" "), "`source` is empty"),
        (|p| p.examples.clear(), "`example` is empty"),
        (|p| p.registers.remove(0).writable = true, "no register `Temperature`"),
        (|p| p.registers.push(p.registers[0].clone()), "occurs twice"),
        (|p| p.registers[0].scale_milli = Some(Ratio { num: 1, den: 0 }), "den above 0"),
        (|p| p.registers[0].min_milli = None, "needs scale_milli"),
        (|p| p.registers[1].shift = 16, "leave the 16-bit register"),
        (|p| p.registers[0].table = Table::Coil, "needs type `bits`"),
        (|p| p.merge.count_max = 500, "merge.count_max"),
        (|p| p.examples[0].expect[0].milli = Some(1), "example 1"),
    ];
    for (change, text) in rows {
        let found = refused(change);
        assert!(found.contains(text), "{found} lacks {text}");
    }
    let unknown = SHIPPED[3].1.replace("class =", "klass =");
    assert!(toml::from_str::<Profile>(&unknown).is_err());
}

#[test]
fn wide_values_follow_the_word_order() {
    let mut profile = shipped("generic-probe");
    profile.registers[0].kind = Kind::S32;
    profile.registers[0].fault_raw.clear();
    let mut image = Image::new();
    image.put(0, Table::Input, 0, 0xFFFF);
    image.put(0, Table::Input, 1, 0xFF47);
    assert_eq!(profile.decode(&image).temperature(Role::Temperature), Ok(MilliCelsius(-18_500)));
    profile.registers[0].word_order = WordOrder::LowFirst;
    assert!(matches!(profile.decode(&image).get(Role::Temperature), Err(ValueFault::OutOfRange { .. })));
}

proptest! {
    #[test]
    fn any_words_decode_without_panic_and_in_range(words in proptest::collection::vec(any::<u16>(), 64)) {
        for (name, _) in SHIPPED {
            let profile = shipped(name);
            let mut image = Image::new();
            for poll in profile.plan() {
                let count = usize::from(poll.count);
                image.absorb(&poll, &Response::Registers(words[..count.min(64)].to_vec()));
            }
            let values = profile.decode(&image);
            if let Ok(air) = profile.cabinet(&values).temperature {
                prop_assert!((-60_000..=250_000).contains(&air.0));
            }
            let reading = SteamerReading::derive(&values);
            prop_assert!(reading.inputs_known || reading.mode == CombiSteamerMode::Error);
        }
    }

    #[test]
    fn what_is_set_is_what_is_read(tenths in -500_i64..=500) {
        let profile = shipped("danfoss-ak-cc55");
        let writes = profile.set(Role::SetPoint, tenths * 100).unwrap();
        let Request::WriteRegister { address, value } = writes[0].request else { panic!("a register write") };
        let mut image = Image::new();
        image.put(0, Table::Holding, address, value);
        let read = profile.decode(&image).get(Role::SetPoint).unwrap();
        prop_assert_eq!(read.milli, Some(tenths * 100));
    }
}
