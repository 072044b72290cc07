//! The shipped profiles' worked examples, and the rules of profiles.

extern crate std; // the parsed profiles are kept in a lock of its kind

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::modbus::{Request, Response, Table};
use crate::steamer::{CombiSteamerMode, SteamerReading};
use crate::unit::MilliCelsius;

const SHIPPED: [(&str, &str); 10] = [
    ("autonics-tk", include_str!("../../../../configs/devices/autonics-tk.toml")),
    ("carel-ir33plus", include_str!("../../../../configs/devices/carel-ir33plus.toml")),
    ("danfoss-ak-cc55", include_str!("../../../../configs/devices/danfoss-ak-cc55.toml")),
    ("delta-dtb", include_str!("../../../../configs/devices/delta-dtb.toml")),
    ("dixell-xr", include_str!("../../../../configs/devices/dixell-xr.toml")),
    ("generic-probe", include_str!("../../../../configs/devices/generic-probe.toml")),
    ("omron-e5cc", include_str!("../../../../configs/devices/omron-e5cc.toml")),
    ("penn-tc3223", include_str!("../../../../configs/devices/penn-tc3223.toml")),
    ("steamer-e5cc", include_str!("../../../../configs/devices/steamer-e5cc.toml")),
    ("steelyard-node", include_str!("../../../../configs/devices/steelyard-node.toml")),
];

fn shipped(name: &str) -> Profile {
    let text = SHIPPED.iter().find(|(known, _)| *known == name).unwrap().1;
    toml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All of them, parsed once.
fn parsed() -> &'static [Profile] {
    static PARSED: std::sync::OnceLock<Vec<Profile>> = std::sync::OnceLock::new();
    PARSED.get_or_init(|| SHIPPED.iter().map(|(name, _)| shipped(name)).collect())
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
    let poll = Poll {
        unit_offset: 0,
        table: Table::Holding,
        address: 2532,
        count: 1,
        optional: false,
        class: PollClass::Fast,
    };
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
fn of_a_steamer_nothing_else_is_ever_written() {
    let mut profile = shipped("steamer-e5cc");
    profile.registers[0].writable = true;
    let refused = profile.check().unwrap_err().to_string();
    assert!(refused.contains("only the set-point"), "{refused}");
    let mut profile = shipped("steamer-e5cc");
    profile.commands[0].name = CommandName::StartDefrost;
    let refused = profile.check().unwrap_err().to_string();
    assert!(refused.contains("only run and stopped"), "{refused}");
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
    let rows: [Spoiled; 25] = [
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
        (|p| p.transport.wires.clear(), "`transport` is empty"),
        (|p| p.transport.baud.push(1), "`transport.baud` is 1, expected 300 to"),
        (|p| p.slow_every = 0, "`slow_every` is 0"),
        (
            |p| (p.registers[1].address, p.registers[1].shift) = (0, 3),
            "`Door` overlaps `Temperature` at address 0",
        ),
        (|p| p.registers[0].fault_raw = vec![40_000], "a fault_raw that the type cannot hold"),
        (
            |p| (p.registers[0].min_milli, p.registers[0].max_milli) = (Some(9_000_000), Some(9_500_000)),
            "no raw value",
        ),
        (|p| p.registers[0].decimals = true, "decimals needs"),
        (|p| p.registers[0].writable = true, "writable needs table holding"),
        (|p| p.registers[0].write_max_milli = Some(1), "without writable"),
        (
            |p| p.states.push(StateRule { name: Role::Door, raw: 2, state: CabinetState::DoorOpen }),
            "never has that raw",
        ),
        (|p| p.examples[3].frames[1].replace_range(0..2, "02"), "frame 2: CRC"),
        (|p| drop(p.examples[3].frames.pop()), "a request without its response"),
        (|p| p.examples[3].frames[0] = String::from("zz"), "pairs of hex digits"),
        (|p| p.examples[0].alarms = Some(vec![String::from("fire")]), "alarms are []"),
        (
            |p| {
                p.matches.push(Match {
                    table: Table::Input,
                    address: 1,
                    mask: 1,
                    values: vec![2],
                    text: String::from("x"),
                })
            },
            "a value outside the mask",
        ),
    ];
    for (change, text) in rows {
        let found = refused(change);
        assert!(found.contains(text), "{found} lacks {text}");
    }
    let unknown = SHIPPED[5].1.replace("class =", "klass =");
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

/// devices.md 2.1: the published requests are what the profiles ask, byte for byte.
#[test]
fn published_requests_come_from_the_profiles() {
    let frames = |profile: &Profile| -> Vec<String> {
        let hex = |frame: Vec<u8>| {
            frame.iter().map(|byte| alloc::format!("{byte:02X}")).collect::<Vec<_>>().join(" ")
        };
        let polls = profile.plan();
        polls
            .iter()
            .map(|poll| hex(crate::modbus::rtu::encode_request(1, &poll.request()).unwrap()))
            .collect()
    };
    let has = |profile: &Profile, frame: &str| {
        let found = frames(profile);
        assert!(found.iter().any(|each| each == frame), "{}: {frame} is not in {found:#?}", profile.name);
    };
    let mut danfoss = shipped("danfoss-ak-cc55");
    danfoss.registers[0].address = 2530;
    has(&danfoss, "01 03 09 E2 00 01 27 A0");
    danfoss.address_offset = -1;
    has(&danfoss, "01 03 09 E1 00 01 D7 A0");
    let mut dixell = shipped("dixell-xr");
    dixell.registers.iter_mut().for_each(|register| register.optional = false);
    has(&dixell, "01 03 01 00 00 03 04 37");
    dixell.registers[0].address = 768;
    has(&dixell, "01 03 03 00 00 01 84 4E");
    let mut omron = shipped("omron-e5cc");
    has(&omron, "01 03 20 00 00 02 CF CB");
    omron.registers.retain(|register| register.name == Role::Temperature);
    assert_eq!(omron.plan().len(), 1, "the alarms look at the neighbour word");
    has(&shipped("autonics-tk"), "01 04 03 E8 00 04 71 B9");
}

#[test]
fn slow_values_ride_along_with_fast_neighbours() {
    let mut node = shipped("steelyard-node");
    let classes = |profile: &Profile| -> Vec<(Table, u16, u16, PollClass)> {
        profile.plan().iter().map(|poll| (poll.table, poll.address, poll.count, poll.class)).collect()
    };
    let expected = [(Table::Holding, 1, 4, PollClass::Slow), (Table::Input, 0, 5, PollClass::Fast)];
    assert_eq!(classes(&node), expected);
    node.registers.iter_mut().for_each(|register| register.poll = PollClass::Slow);
    node.registers[4].poll = PollClass::Fast;
    assert_eq!(classes(&node)[1].3, PollClass::Fast, "one fast value makes the read fast");
}

/// Dixell v2.6, 3.1.5: a bit of the state byte may be written where its bit of the mask byte is set.
#[test]
fn a_masked_bit_is_written_only_where_the_mask_allows_it() {
    let mut profile = shipped("dixell-xr");
    let rule = CommandRule {
        name: CommandName::StartDefrost,
        write: WriteTarget::MaskedBit,
        address: 1280,
        value: 2,
        unit_offset: 0,
    };
    profile.commands.push(rule);
    let refused = profile.check().unwrap_err().to_string();
    assert!(refused.contains("needs a register that reads its word"), "{refused}");
    let mut word = profile.registers[1].clone();
    (word.name, word.address, word.kind, word.scale_milli) = (Role::State, 1280, Kind::Bits, None);
    (word.min_milli, word.max_milli, word.shift, word.width) = (None, None, 8, 8);
    profile.registers.push(word);
    assert_eq!(profile.check(), Ok(()));
    let start = CommandName::StartDefrost;
    assert!(matches!(profile.command(start), Err(ProfileError::Masked { .. })));
    let mut image = Image::new();
    image.put(0, Table::Holding, 1280, 0x0103);
    assert!(matches!(profile.command_after(start, &image), Err(ProfileError::Masked { .. })));
    image.put(0, Table::Holding, 1280, 0x0107);
    let request = Request::WriteRegisters { address: 1280, values: vec![0x0504] };
    assert_eq!(profile.command_after(start, &image), Ok(vec![Write { unit_offset: 0, request }]));
}

#[test]
fn a_moving_decimal_point_is_never_written() {
    let mut profile = shipped("autonics-tk");
    let set_point = profile.registers.iter_mut().find(|register| register.name == Role::SetPoint).unwrap();
    (set_point.writable, set_point.table) = (true, Table::Holding);
    assert_eq!(profile.set(Role::SetPoint, 1_000), Err(ProfileError::NotWritable { name: Role::SetPoint }));
}

#[test]
fn narrower_write_limits_are_kept() {
    let profile = shipped("omron-e5cc");
    assert!(profile.set(Role::SetPoint, 130_000).is_ok());
    let refused = profile.set(Role::SetPoint, 130_100).unwrap_err();
    assert!(matches!(refused, ProfileError::Value { max: 130_000, .. }), "{refused}");
}

#[test]
fn an_offset_is_settled_by_what_is_plausible() {
    let profile = shipped("danfoss-ak-cc55");
    let tried = candidates(&profile);
    assert_eq!(tried.len(), 2 * (profile.registers.len() + profile.matches.len()));
    let of =
        |role, offset| *tried.iter().find(|c| c.asked == Asked::Value(role) && c.offset == offset).unwrap();
    let air = of(Role::Temperature, -1);
    assert_eq!(air.poll.address, 2531);
    let readings = profile.readings(&air, &[25]);
    let first = readings.first().unwrap();
    assert_eq!((first.milli, first.own, first.plausible), (Some(2_500), true, Plausible::Yes));
    assert!(readings.iter().any(|reading| reading.milli == Some(25_000) && !reading.own));
    assert_eq!(profile.readings(&air, &[0x7FFF])[0].plausible, Plausible::No);
    let state = of(Role::State, 0);
    assert_eq!(profile.readings(&state, &[14])[0].plausible, Plausible::Yes);
    assert_eq!(profile.readings(&state, &[99])[0].plausible, Plausible::No);
    assert_eq!(profile.readings(&state, &[]), []);

    // A device that counts from one: it answers at 2531, 2006 and 99.
    let answers: Vec<_> = tried
        .iter()
        .map(|candidate| {
            let word = match candidate.poll.address {
                2531 => Some(25),
                2006 => Some(14),
                99 => Some(20),
                _ => None,
            };
            (*candidate, word.map(|word| Response::Registers(vec![word])))
        })
        .collect();
    let found = tally(&profile, &answers);
    assert_eq!(found[0], Tally { fits: 5, against: 0 });
    assert_eq!(found[1].fits, 0);
    assert_eq!(settled(found), Some(-1));
    let mute: Vec<_> = tried.iter().map(|candidate| (*candidate, None)).collect();
    assert_eq!(settled(tally(&profile, &mute)), None);
    assert_eq!(settled([Tally { fits: 2, against: 0 }; 2]), None);
}

proptest! {
    #[test]
    fn any_words_decode_without_panic_and_in_range(words in proptest::collection::vec(any::<u16>(), 64)) {
        for profile in parsed() {
            let mut image = Image::new();
            for poll in profile.plan() {
                let count = usize::from(poll.count);
                image.absorb(&poll, &Response::Registers(words[..count.min(64)].to_vec()));
            }
            let values = profile.decode(&image);
            for (role, value) in values.iter() {
                let register = profile.register(role).unwrap();
                if let (Ok(value), Some(min), Some(max)) = (value, register.min_milli, register.max_milli) {
                    prop_assert!((min..=max).contains(&value.milli.unwrap()));
                }
            }
            prop_assert!(profile.raised(&image).count() <= profile.alarms.len());
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
