//! Published vectors and properties of the ESL codecs, and one whole session against scripted labels.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::ead::{self, EadError, IvOrder, Randomizer};
use super::*;
use crate::MilliCelsius;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<alloc::string::String>(), 16).unwrap())
        .collect()
}

fn silabs_led() -> Led {
    // devices.md 3.1: colour 0x7F, pattern 76 EF 96 08 91, periods 07 and 06, repeat field 0x0015.
    Led {
        colour: RgbLevel { red: 3, green: 3, blue: 3 },
        brightness: 1,
        pattern: Pattern { bits: 0x91_0896_EF76, off_2ms: 7, on_2ms: 6 },
        repeat: Repeat::Seconds(10),
    }
}

/// devices.md 3.1, command vectors constructed by the length rule; the sensor and display answers by the same rule.
#[test]
fn commands_have_the_published_bytes() {
    let led = LedControl { index: 0, led: silabs_led() };
    let rows = [
        (Command::Ping, "00 05"),
        (Command::DisplayImage { display: 0, image: 1 }, "20 05 00 01"),
        (Command::ReadSensor(0), "10 05 00"),
        (Command::Led(led), "B0 05 00 7F 76 EF 96 08 91 07 06 15 00"),
        (
            Command::LedTimed(led, AbsoluteTime(0x0102_0304)),
            "F0 05 00 7F 76 EF 96 08 91 07 06 15 00 04 03 02 01",
        ),
        (Command::DisplayTimedImage { display: 2, image: 3, at: AbsoluteTime(1) }, "60 05 02 03 01 00 00 00"),
        (Command::Unassociate, "01 05"),
        (Command::ServiceReset, "02 05"),
        (Command::FactoryReset, "03 05"),
        (Command::UpdateComplete, "04 05"),
        (Command::RefreshDisplay(1), "11 05 01"),
        (Command::Vendor(vec![0xAA, 0xBB]), "2F 05 AA BB"),
    ];
    for (command, text) in rows {
        assert_eq!(command.encode(5), Ok(hex(text)), "{command:?}");
        assert_eq!(Command::decode(&hex(text)), Ok((5, command)), "{text}");
    }
    let rows = [
        (Response::Error(ErrorCode::QueueFull), "00 0B"),
        (Response::LedState(2), "01 02"),
        (Response::BasicState(BasicState(0x0011)), "10 11 00"),
        (Response::DisplayState { display: 0, image: 1 }, "11 00 01"),
        (Response::SensorValue { index: 1, data: hex("D204") }, "2E 01 D2 04"),
        (Response::Vendor(vec![7]), "0F 07"),
    ];
    for (response, text) in rows {
        assert_eq!(response.encode(), Ok(hex(text)), "{response:?}");
        assert_eq!(Response::decode(&hex(text)), Ok(response), "{text}");
    }
}

#[test]
fn bad_tlvs_are_named() {
    assert!(matches!(Command::decode(&[]), Err(TlvError::Short { expected: 2, .. })));
    assert!(matches!(Command::decode(&hex("B0 05 00")), Err(TlvError::Short { expected: 13, .. })));
    assert!(matches!(Command::decode(&hex("00 05 00")), Err(TlvError::Long { left: 1, .. })));
    assert!(matches!(Command::decode(&hex("05 05")), Err(TlvError::Opcode { opcode: 5, .. })));
    assert!(matches!(Response::decode(&hex("12 05 05")), Err(TlvError::Opcode { opcode: 0x12, .. })));
    let long = Command::Vendor(vec![0; 16]).encode(1);
    assert_eq!(long, Err(TlvError::Payload { found: 16, min: 0, max: 15 }));
    assert!(Response::Vendor(vec![]).encode().is_err());
    assert_eq!(Command::Vendor(vec![0; 15]).encode(1).unwrap().len(), TLV_BYTES_MAX);
    for number in 0..=255 {
        assert_eq!(ErrorCode::of(number).number(), number);
    }
    assert_eq!(ErrorCode::of(0x0C), ErrorCode::ImplausibleTime);
}

/// Espressif `esl_cmd_led.c`: type 0 counts, none is off; type 1 is seconds, none is on until changed.
#[test]
fn repeats_mean_what_two_labels_implement() {
    let rows = [
        (Repeat::Off, 0x0000, Some(0)),
        (Repeat::Steady, 0x0001, None),
        (Repeat::Seconds(10), 0x0015, Some(10_000)),
        (Repeat::Times(3), 0x0006, Some(3_000)),
    ];
    for (repeat, word, lasts) in rows {
        let led = Led { repeat, pattern: Pattern::BLINK, ..silabs_led() };
        let bytes = led.encode();
        assert_eq!(u16::from_le_bytes([bytes[8], bytes[9]]), word, "{repeat:?}");
        assert_eq!(Led::decode(&bytes), led);
        assert_eq!(led.lasts_ms(), lasts, "{repeat:?}");
    }
    assert_eq!(Led::off().lasts_ms(), Some(0));
    // 40 bits from the first 1: 1 on, 39 off.
    assert_eq!(Pattern { bits: 1 << 39, off_2ms: 1, on_2ms: 5 }.length_ms(), 10 + 78);
    let stuck = Led { pattern: Pattern { off_2ms: 0, ..Pattern::BLINK }, ..silabs_led() };
    assert!(stuck.impossible() && !Led { repeat: Repeat::Steady, ..stuck }.impossible());
    assert_eq!(stuck.encode()[6], 1, "never a zero period on the wire");
}

#[test]
fn addresses_keys_and_time() {
    assert_eq!(Address::new(5, 3).unwrap().encode(), [5, 3]);
    assert_eq!(Address::parse(&[0xFE, 0x7F]), Address::new(254, 127));
    assert_eq!(Address::new(255, 0), Err(AddressError::Broadcast(255)));
    assert_eq!(Address::new(0, 128), Err(AddressError::Group(128)));
    assert!(matches!(Address::parse(&[1, 0x80]), Err(AddressError::Bytes(_))));
    assert!(Address::parse(&[1]).is_err());
    let material = KeyMaterial { key: [1; 16], iv: [2; 8] };
    assert_eq!(KeyMaterial::parse(&material.encode()), Some(material));
    assert_eq!(KeyMaterial::parse(&[0; 23]), None);
    assert!(!alloc::format!("{material:?}").contains('1'), "keys are never printed");
    let now = AbsoluteTime(u32::MAX - 5);
    assert_eq!(now.after(16), AbsoluteTime(10));
    assert_eq!(now.after(6), AbsoluteTime(1), "zero would cancel");
    assert_eq!(now.until(AbsoluteTime(10)), 16);
    assert!(now.plausible(AbsoluteTime(10)) && !now.plausible(AbsoluteTime(0)));
    assert!(!now.plausible(AbsoluteTime(now.0.wrapping_add(IMPLAUSIBLE_MS + 1))));
    assert_eq!(AbsoluteTime::of_ms((1 << 32) + 7), AbsoluteTime(7));
}

#[test]
fn a_label_tells_what_it_is() {
    let displays = Display::parse_all(&hex("2801 8000 06  9001 2C01 63")).unwrap();
    assert_eq!(displays[0], Display { width: 296, height: 128, kind: DisplayType::RedBlackWhite });
    assert_eq!(displays[1].kind, DisplayType::Other(0x63));
    assert!(Display::parse_all(&hex("2801 8000")).is_err());
    assert!(Display::parse_all(&hex("0000 8000 01")).is_err());
    assert!(Display::parse_all(&[]).is_err());
    assert_eq!(image_index_max(&[3]), Ok(3));
    assert!(image_index_max(&[]).is_err());
    let sensors = Sensor::parse_all(&hex("00 5400  01 FFFF 0102  00 5900")).unwrap();
    assert_eq!(sensors[1].0, SensorType::Vendor { company: 0xFFFF, code: 0x0201 });
    assert_eq!(
        sensors.iter().flat_map(Sensor::encode).collect::<Vec<_>>(),
        hex("00 5400 01 FFFF 0102 00 5900")
    );
    assert!(Sensor::parse_all(&hex("02 5400")).is_err());
    assert!(Sensor::parse_all(&hex("00 54")).is_err());
    // The format Temperature: s16 in 0.01 °C; D2 04 is 12.34 °C, 80 00 is "not known".
    assert_eq!(sensors[0].temperature(&hex("D204")), Some(MilliCelsius(12_340)));
    assert_eq!(sensors[0].temperature(&hex("0CFE")), Some(MilliCelsius(-5_000)));
    assert_eq!(sensors[0].temperature(&hex("0080")), None);
    assert_eq!(sensors[0].temperature(&[1]), None);
    assert_eq!(sensors[2].millivolts(&hex("C000")), Some(3_000));
    assert_eq!(sensors[2].temperature(&hex("D204")), None);
    assert_eq!(LedType::parse_all(&[0x00, 0x43]), [LedType::Srgb, LedType::Mono { colour: 3 }]);
    for number in 0..=255 {
        assert_eq!(Display::parse_all(&[1, 0, 1, 0, number]).unwrap()[0].encode(), [1, 0, 1, 0, number]);
        assert_eq!(LedType::parse_all(&[number])[0].encode() & 0xC0, number & 0xC0);
    }
}

#[test]
fn a_label_walks_through_its_states() {
    use Event::{Connected, Disconnected, Expired, Forget, SyncLost, UpdateComplete};
    let nothing = Written::default();
    let all = Written { address: true, sync_key: true, response_key: true, time: true, synchronized: true };
    let deaf = Written { synchronized: false, ..all };
    let rows = [
        (Stage::Unassociated, Connected, nothing, Stage::Configuring),
        (Stage::Unassociated, UpdateComplete, all, Stage::Unassociated),
        (Stage::Configuring, Disconnected, nothing, Stage::Unassociated),
        (Stage::Configuring, Disconnected, deaf, Stage::Unsynchronized),
        (Stage::Configuring, UpdateComplete, nothing, Stage::Configuring),
        (Stage::Configuring, UpdateComplete, deaf, Stage::Configuring),
        (Stage::Configuring, UpdateComplete, all, Stage::Synchronized),
        (Stage::Synchronized, Connected, all, Stage::Updating),
        (Stage::Synchronized, SyncLost, all, Stage::Unsynchronized),
        (Stage::Updating, UpdateComplete, all, Stage::Synchronized),
        (Stage::Updating, Disconnected, all, Stage::Unsynchronized),
        (Stage::Unsynchronized, Connected, all, Stage::Updating),
        (Stage::Unsynchronized, Expired, all, Stage::Unassociated),
        (Stage::Updating, Forget, all, Stage::Unassociated),
        (Stage::Updating, Expired, all, Stage::Updating),
    ];
    for (from, event, written, to) in rows {
        assert_eq!(from.after(event, &written), to, "{from:?} {event:?}");
    }
    let state =
        BasicState::default().with(BasicState::SERVICE_NEEDED, true).with(BasicState::ACTIVE_LED, true);
    assert_eq!(state, BasicState(0b101));
    assert!(state.has(BasicState::ACTIVE_LED) && !state.has(BasicState::SYNCHRONIZED));
    assert_eq!(state.with(BasicState::ACTIVE_LED, false), BasicState::SERVICE_NEEDED);
}

fn material() -> KeyMaterial {
    let key = hex("57A9DA12D12E6E131E20612AD10A6A19").try_into().unwrap();
    KeyMaterial { key, iv: hex("9E7A00EFB17AE746").try_into().unwrap() }
}

/// devices.md 3.1, the vectors of CSS 11 ("Short Mini-Bus"), recomputed there with another implementation.
#[test]
fn encrypted_advertising_data_has_the_published_bytes() {
    let plain = hex("0F0953686F7274204D696E692D42757303190A8C");
    let rows = [
        ("18E157CADE", "74E4DCAFDC51C7282810C2217F0E4CEF4343181F BA0069CC"),
        ("8D1C976E7A", "35444076125788C238A58E8BD9CFF0DEFE251A8E 7275454C"),
    ];
    for (randomizer, text) in rows {
        let sealed = ead::seal(&material(), IvOrder::AsWritten, hex(randomizer).try_into().unwrap(), &plain);
        assert_eq!(sealed, Ok([hex(randomizer), hex(text)].concat()));
        assert_eq!(ead::open(&material(), IvOrder::AsWritten, &sealed.unwrap()), Ok(plain.clone()));
    }
}

/// devices.md 3.1, the packet of the conformance log.
#[test]
fn a_sync_packet_of_the_conformance_log_opens_and_is_built_again() {
    let packet = hex("14 31 396A41FE20 4B31A50BF2FF506AFBE3599CCDB9");
    let inner = sync::open(&material(), IvOrder::AsWritten, &packet).unwrap();
    assert_eq!(inner, hex("09 34 03 02 F1 03 F1 11 03 00"));
    let (group, commands) = sync::parse(&inner).unwrap();
    let expected =
        [(0xF1, Command::ServiceReset), (0xF1, Command::FactoryReset), (0x03, Command::RefreshDisplay(0))];
    assert_eq!((group, commands.as_slice()), (3, expected.as_slice()));
    assert_eq!(sync::build(3, &expected), Ok(inner.clone()));
    let randomizer = hex("396A41FE20").try_into().unwrap();
    assert_eq!(sync::seal(&material(), IvOrder::AsWritten, randomizer, &inner), Ok(packet));
    assert_eq!(ead::from_label(&randomizer), Some(false));
}

/// The trap of devices.md 3.1: the log prints the vector as 46E77AB1EF007A9E. A label that carries it so needs the flag.
#[test]
fn the_byte_order_of_the_vector_is_one_flag() {
    let printed = KeyMaterial { iv: hex("46E77AB1EF007A9E").try_into().unwrap(), ..material() };
    let packet = hex("14 31 396A41FE20 4B31A50BF2FF506AFBE3599CCDB9");
    assert!(sync::open(&printed, IvOrder::Reversed, &packet).is_ok());
    let wrong = sync::open(&printed, IvOrder::AsWritten, &packet);
    assert!(matches!(wrong, Err(sync::SyncError::Ead(EadError::Integrity(_)))));
}

#[test]
fn randomizers_count_and_keep_their_direction() {
    let mut access_point = Randomizer::of_access_point([0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(access_point.take(), [0xFF, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert_eq!(access_point.take(), [0, 0, 0, 0, 0], "wraps within its direction");
    assert_eq!(access_point.take(), [1, 0, 0, 0, 0]);
    let mut label = Randomizer::of_label([0; 5]);
    assert_eq!((label.take(), label.take()), ([0, 0, 0, 0, 0x80], [1, 0, 0, 0, 0x80]));
}

#[test]
fn packets_are_bounded_and_bad_ones_named() {
    let many = vec![(1, Command::Vendor(vec![0; 15])); 3];
    assert!(matches!(sync::build(0, &many), Err(sync::SyncError::Size(52))));
    assert!(matches!(sync::build(0, &[]), Err(sync::SyncError::Size(1))));
    assert!(matches!(sync::build(128, &[(1, Command::Ping)]), Err(sync::SyncError::Group(128))));
    for text in ["", "09", "0A 34 03 02 F1", "04 35 03 00 05", "02 34 03", "04 34 83 00 05", "04 34 03 10 05"]
    {
        assert!(sync::parse(&hex(text)).is_err(), "{text}");
    }
    let answers = [Response::BasicState(BasicState(1)), Response::LedState(0)];
    let bytes = sync::build_responses(&answers).unwrap();
    assert_eq!(bytes, hex("06 34 10 01 00 01 00"));
    assert_eq!(sync::parse_responses(&bytes).unwrap(), answers);
    assert!(matches!(ead::open(&material(), IvOrder::AsWritten, &[0; 9]), Err(EadError::Short(_))));
    assert!(matches!(
        ead::seal(&material(), IvOrder::AsWritten, [0; 5], &[0; 246]),
        Err(EadError::Size(246))
    ));
    assert!(ead::seal(&material(), IvOrder::AsWritten, [0; 5], &[]).is_err());
}

const ALL: [u16; 9] =
    [ADDRESS, AP_SYNC_KEY, RESPONSE_KEY, ABSOLUTE_TIME, DISPLAYS, IMAGES, SENSORS, LEDS, CONTROL_POINT];

fn configuration() -> Configuration {
    Configuration {
        address: Address::new(5, 1).unwrap(),
        sync_key: material(),
        response_key: KeyMaterial { key: [9; 16], iv: [8; 8] },
        now: AbsoluteTime(77),
    }
}

/// Runs a session up to its first command; the label has one 296x128 display, one temperature sensor and one LED.
fn up_to_commands(requests: Vec<Request>) -> (Session, Result<Step, SessionError>) {
    let mut session = Session::new(&configuration(), requests, &ALL).unwrap();
    let mut step = session.begin();
    let mut writes = Vec::new();
    loop {
        step = match step {
            Ok(Step::Read(DISPLAYS)) => session.read(&hex("2801 8000 06")),
            Ok(Step::Read(IMAGES)) => session.read(&[1]),
            Ok(Step::Read(SENSORS)) => session.read(&hex("00 5400")),
            Ok(Step::Read(LEDS)) => session.read(&[0]),
            Ok(Step::Write(uuid, bytes)) if uuid != CONTROL_POINT => {
                writes.push((uuid, bytes.len()));
                session.written()
            }
            other => {
                assert_eq!(writes, [(ADDRESS, 2), (AP_SYNC_KEY, 24), (RESPONSE_KEY, 24), (ABSOLUTE_TIME, 4)]);
                return (session, other);
            }
        };
    }
}

#[test]
fn a_session_configures_and_collects_answers() {
    let light = Command::Led(LedControl { index: 0, led: silabs_led() });
    let (mut session, step) = up_to_commands(vec![
        light.clone().into(),
        Request::Temperature,
        Command::DisplayImage { display: 0, image: 1 }.into(),
        Command::UpdateComplete.into(),
    ]);
    assert_eq!(step, Ok(Step::Write(CONTROL_POINT, light.encode(5).unwrap())));
    assert_eq!(session.written(), Ok(Step::Listen));
    assert_eq!(session.notified(&hex("01 00")), Ok(Step::Write(CONTROL_POINT, hex("10 05 00"))));
    // An answer may overtake the confirmation of its command.
    assert_eq!(session.notified(&hex("2E 00 D2 04")), Ok(Step::Listen));
    assert_eq!(session.written(), Ok(Step::Write(CONTROL_POINT, hex("20 05 00 01"))));
    // The label is busy once.
    assert_eq!(session.written(), Ok(Step::Listen));
    assert_eq!(session.notified(&hex("00 0A")), Ok(Step::Wait(RETRY_MS)));
    assert_eq!(session.waited(), Ok(Step::Write(CONTROL_POINT, hex("20 05 00 01"))));
    assert_eq!(session.written(), Ok(Step::Listen));
    assert_eq!(session.notified(&hex("11 00 01")), Ok(Step::Write(CONTROL_POINT, hex("04 05"))));
    assert_eq!(session.written(), Ok(Step::Done), "update complete is not answered");
    let outcome = session.outcome();
    assert_eq!(outcome.temperature, Some(MilliCelsius(12_340)));
    assert_eq!(outcome.answers.len(), 3);
    assert_eq!((outcome.image_max, outcome.displays.len(), outcome.leds.len()), (Some(1), 1, 1));
}

#[test]
fn a_session_fails_by_name() {
    let ping = || up_to_commands(vec![Command::Ping.into()]).0;
    assert_eq!(
        ping().notified(&hex("00 03")),
        Err(SessionError::Refused { opcode: 0, code: ErrorCode::InvalidState })
    );
    assert!(matches!(ping().notified(&hex("01 00")), Err(SessionError::Mismatch { opcode: 0, .. })));
    assert!(matches!(ping().notified(&[]), Err(SessionError::Tlv(_))));
    let mut busy = ping();
    let refused = (0..9).map(|_| busy.notified(&hex("00 0A"))).find(Result::is_err);
    assert!(matches!(refused, Some(Err(SessionError::Refused { code: ErrorCode::Retry, .. }))));
    let asks = |request: Request| up_to_commands(vec![request]).1.unwrap_err();
    let led = Command::Led(LedControl { index: 1, led: silabs_led() });
    assert!(matches!(asks(led.into()), SessionError::Index { what: "LEDs", count: 1, index: 1 }));
    assert!(matches!(asks(Command::ReadSensor(3).into()), SessionError::Index { what: "sensors", .. }));
    assert!(matches!(asks(Command::RefreshDisplay(1).into()), SessionError::Index { what: "displays", .. }));
    assert_eq!(asks(Request::Voltage), SessionError::NoSensor("supply voltage"));
    let zero = Led { pattern: Pattern { bits: 1, off_2ms: 0, on_2ms: 1 }, ..silabs_led() };
    assert_eq!(asks(Command::Led(LedControl { index: 0, led: zero }).into()), SessionError::LedPeriod);
    let missing = Session::new(&configuration(), vec![], &ALL[1..]).unwrap_err();
    assert_eq!(missing.to_string(), "no characteristic 2BF6 in service 1857");
    assert!(Session::new(&configuration(), vec![Request::Temperature; 65], &ALL).is_err());
    assert!(matches!(ping().read(&[1]), Err(SessionError::Turn(_))));
    let mut other = up_to_commands(vec![Command::DisplayImage { display: 0, image: 1 }.into()]).0;
    assert!(matches!(other.notified(&hex("11 00 00")), Err(SessionError::Mismatch { .. })));
}

proptest! {
    #[test]
    fn every_tlv_is_read_as_it_would_be_written(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
        if let Ok((id, command)) = Command::decode(&bytes) {
            // A zero period is written as one unit, so an LED is compared by what it means.
            let again = command.encode(id).unwrap();
            prop_assert_eq!(again.len(), bytes.len());
            if !matches!(command, Command::Led(_) | Command::LedTimed(..)) {
                prop_assert_eq!(again, bytes.clone());
            }
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(response.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn no_packet_panics_and_no_forged_one_opens(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
        drop((sync::parse(&bytes), sync::parse_responses(&bytes)));
        prop_assert!(sync::open(&material(), IvOrder::AsWritten, &bytes).is_err());
        drop((Display::parse_all(&bytes), Sensor::parse_all(&bytes), image_index_max(&bytes)));
        prop_assert!(LedType::parse_all(&bytes).len() <= bytes.len());
        prop_assert!(Address::parse(&bytes).is_err() || bytes.len() == 2);
        prop_assert_eq!(KeyMaterial::parse(&bytes).is_some(), bytes.len() == KeyMaterial::BYTES);
    }

    #[test]
    fn what_is_sealed_opens_and_a_flipped_bit_does_not(
        plain in proptest::collection::vec(any::<u8>(), 1..60),
        randomizer in any::<[u8; 5]>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let mut sealed = ead::seal(&material(), IvOrder::Reversed, randomizer, &plain).unwrap();
        prop_assert_eq!(ead::open(&material(), IvOrder::Reversed, &sealed), Ok(plain));
        let place = flip.index(sealed.len());
        sealed[place] ^= 0x10;
        prop_assert!(ead::open(&material(), IvOrder::Reversed, &sealed).is_err());
    }

    #[test]
    fn no_label_makes_a_session_panic(
        script in proptest::collection::vec((0_u8..4, proptest::collection::vec(any::<u8>(), 0..18)), 0..40)
    ) {
        let requests = vec![Command::Ping.into(), Request::Temperature, Command::RefreshDisplay(0).into()];
        let mut session = Session::new(&configuration(), requests, &ALL).unwrap();
        drop(session.begin());
        for (what, bytes) in script {
            let step = match what {
                0 => session.read(&bytes),
                1 => session.written(),
                2 => session.notified(&bytes),
                _ => session.waited(),
            };
            prop_assert!(!matches!(step, Ok(Step::Done)) || session.outcome().answers.len() <= 3);
        }
    }
}
