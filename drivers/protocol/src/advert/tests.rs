//! Published frames of every format, what is refused, and properties.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ccm::Key;

const KEY: &str = "231d39c1d7cc1ab1aee224cd096db932";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn new(hearing: Result<Hearing, AdvertError>) -> SensorAdvert {
    match hearing {
        Ok(Hearing::New(advert)) => advert,
        other => panic!("expected a new frame, got {other:?}"),
    }
}

fn celsius(milli: i32) -> Option<MilliCelsius> {
    Some(MilliCelsius(milli))
}

/// docs.ruuvi.com, data format 5, "Test vectors" (valid, maximum, minimum, invalid) and devices.md 2.5.
#[test]
fn ruuvi_format_5_as_published() {
    let sender = address("CB:B8:33:4C:88:4F");
    let valid = ruuvi::decode(sender, &bytes("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")).unwrap();
    assert_eq!(
        valid,
        SensorAdvert {
            temperature: celsius(24_300),
            humidity: Some(CentiPercent(5_349)),
            pressure_pa: Some(100_044),
            battery_mv: Some(2_977),
            counter: Some(205),
            ..SensorAdvert::default()
        }
    );
    let most = ruuvi::decode(sender, &bytes("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F")).unwrap();
    assert_eq!((most.temperature, most.pressure_pa), (celsius(163_835), Some(115_534)));
    assert_eq!((most.battery_mv, most.counter), (Some(3_646), Some(65_534)));
    assert_eq!((most.humidity, most.flags.impossible), (None, true), "163.83 % is no humidity");
    let least = ruuvi::decode(sender, &bytes("058001000000008001800180010000000000CBB8334C884F")).unwrap();
    assert_eq!((least.temperature, least.humidity), (celsius(-163_835), Some(CentiPercent(0))));
    assert_eq!((least.pressure_pa, least.battery_mv, least.counter), (Some(50_000), Some(1_600), Some(0)));
    let none = ruuvi::decode(sender, &bytes("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF")).unwrap();
    let flags = Flags { unavailable: true, ..Flags::default() };
    assert_eq!(none, SensorAdvert { flags, ..SensorAdvert::default() });
}

/// docs.ruuvi.com, data format 6, "Test vectors", and devices.md 2.5.
#[test]
fn ruuvi_format_6_as_published() {
    let sender = address("CB:B8:33:4C:88:4F");
    let advert = ruuvi::decode(sender, &bytes("06170C5668C79E007000C90501D9FFCD004C884F")).unwrap();
    assert_eq!((advert.temperature, advert.humidity), (celsius(29_500), Some(CentiPercent(5_530))));
    assert_eq!((advert.pressure_pa, advert.counter), (Some(101_102), Some(205)));
}

/// bthome.io/format and devices.md 2.5; the second frame is a Shelly BLU H&T's.
#[test]
fn bthome_as_published() {
    let sender = address("54:48:E6:8F:80:A5");
    let advert = bthome::decode(sender, &bytes("4002CA0903BF13"), None).unwrap();
    assert_eq!((advert.temperature, advert.humidity), (celsius(25_060), Some(CentiPercent(5_055))));
    let advert = bthome::decode(sender, &bytes("40 00 2E 01 64 1E 01 2E 34 45 16 01"), None).unwrap();
    assert_eq!((advert.temperature, advert.humidity), (celsius(27_800), Some(CentiPercent(5_200))));
    assert_eq!((advert.battery_percent, advert.counter), (Some(100), Some(0x2E)));
    // bthome.io/format, the table's examples of single objects.
    for (hex, expected) in [("57EA", -22_000), ("58EA", -7_700), ("451101", 27_300), ("02CA09", 25_060)] {
        assert_eq!(bthome::objects(&bytes(hex)).unwrap().temperature, celsius(expected), "{hex}");
    }
    assert_eq!(bthome::objects(&bytes("04138A01")).unwrap().pressure_pa, Some(100_883));
    assert_eq!(bthome::objects(&bytes("0C020C")).unwrap().battery_mv, Some(3_074));
    assert_eq!(bthome::objects(&bytes("1A01")).unwrap().flags.open, Some(true));
}

/// bthome.io/encryption and devices.md 2.5.
#[test]
fn bthome_encrypted_as_published() {
    let sender = address("54:48:E6:8F:80:A5");
    let key = Key::from_hex(KEY).unwrap();
    let sealed = bytes("41 A47266C95F73 00112233 78237214");
    let advert = bthome::decode(sender, &sealed, Some(&key)).unwrap();
    assert_eq!((advert.temperature, advert.humidity), (celsius(25_060), Some(CentiPercent(5_055))));
    assert_eq!((advert.counter, advert.flags.authentic), (Some(0x3322_1100), true));
    let objects = bytes("02CA0903BF13");
    assert_eq!(bthome::encode(sender, &objects, Some((&key, 0x3322_1100))).unwrap(), sealed);
    assert_eq!(bthome::decode(sender, &sealed, None), Err(AdvertError::KeyMissing));
    let plain = bytes("4002CA0903BF13");
    assert_eq!(bthome::decode(sender, &plain, Some(&key)), Err(AdvertError::Downgrade(Evidence::of(&plain))));
    let other = address("54:48:E6:8F:80:A6");
    assert_eq!(bthome::decode(other, &sealed, Some(&key)), Err(AdvertError::Seal(Evidence::of(&sealed))));
}

#[test]
fn bthome_stops_at_what_it_does_not_know_and_names_what_is_cut_off() {
    let advert = bthome::objects(&bytes("02CA09 EE 0102")).unwrap();
    assert_eq!((advert.temperature, advert.flags.rest_unknown), (celsius(25_060), Some(0xEE)));
    let twice = bthome::objects(&bytes("02CA09 020000")).unwrap();
    assert_eq!((twice.temperature, twice.flags.further_temperatures), (celsius(25_060), 1));
    let text = bthome::objects(&bytes("53 03 616263 57 05")).unwrap();
    assert_eq!(text.temperature, celsius(5_000), "a text is stepped over");
    for cut in ["02CA", "53", "5305616263", "3B", "3B01AA"] {
        assert!(matches!(bthome::objects(&bytes(cut)), Err(AdvertError::Truncated { .. })), "{cut}");
    }
}

/// govee-ble 1.5.2, test_parser.py, and devices.md 2.5.
#[test]
fn govee_as_published() {
    assert_eq!(govee::values([0x03, 0x51, 0x9E]), (MilliCelsius(21_700), CentiPercent(5_020)));
    assert_eq!(govee::values([0x82, 0xE2, 0xD8]), (MilliCelsius(-18_900), CentiPercent(1_440)));
    let advert = govee::decode(&bytes("00 03519E 64 00")).unwrap();
    assert_eq!((advert.temperature, advert.battery_percent), (celsius(21_700), Some(100)));
    assert!(matches!(govee::decode(&bytes("00 03519E E4 00")), Err(AdvertError::Probe(_))));
}

/// READMEs of pvvx/ATC_MiThermometer and atc1441/ATC_MiThermometer: field order and units; no published bytes.
#[test]
fn the_two_mi_thermometer_formats_differ_in_order() {
    let sender = address("A4:C1:38:00:11:22");
    let pvvx = pvvx::decode(sender, &bytes("221100 38C1A4 0CFE 8813 B80B 57 2A 04")).unwrap();
    assert_eq!((pvvx.temperature, pvvx.humidity), (celsius(-5_000), Some(CentiPercent(5_000))));
    assert_eq!((pvvx.battery_mv, pvvx.battery_percent, pvvx.counter), (Some(3_000), Some(87), Some(42)));
    let atc = atc1441::decode(sender, &bytes("A4C138001122 FFCE 32 57 0BB8 2A")).unwrap();
    assert_eq!(atc, pvvx, "the same measurement in both");
}

/// github.com/google/eddystone, eddystone-tlm/tlm-plain.md: layout and units; no published bytes.
#[test]
fn eddystone_telemetry() {
    let advert = eddystone::decode(&bytes("20 00 0BB8 FB80 00000010 00000200")).unwrap();
    assert_eq!(
        (advert.temperature, advert.battery_mv, advert.counter),
        (celsius(-4_500), Some(3_000), Some(16))
    );
    let none = eddystone::decode(&bytes("20 00 0000 8000 00000010 00000200")).unwrap();
    assert_eq!((none.temperature, none.battery_mv, none.flags.unavailable), (None, None, true));
    assert!(matches!(
        eddystone::decode(&bytes("20010BB8FB800000001000000200")),
        Err(AdvertError::Kind { .. })
    ));
    let url = Part::Service { uuid: eddystone::SERVICE, bytes: &[0x10, 0, 0] };
    assert_eq!(Format::EddystoneTlm.frame(url), None);
}

/// devices.md 2.5 (Minew document): the whole payload. The climate frame's layout: reelyActive and obniz.
#[test]
fn minew_as_published() {
    let payload = bytes("0201060303E1FF1316E1FFA10864001302E4CDAB504C5553303031");
    let parts: Vec<_> = structures(&payload).map(Result::unwrap).collect();
    assert_eq!(parts.len(), 3);
    let Part::Service { uuid: minew::SERVICE, bytes: frame } = parts[2] else { panic!("{parts:?}") };
    let sender = address("AB:CD:E4:02:13:00");
    let info = minew::decode(sender, frame).unwrap();
    assert_eq!((info.battery_percent, info.temperature), (Some(100), None));
    let climate = minew::decode(sender, &bytes("A1 01 64 EE80 2D40 001302E4CDAB")).unwrap();
    assert_eq!((climate.temperature, climate.humidity), (celsius(-17_500), Some(CentiPercent(4_525))));
}

#[test]
fn another_devices_address_inside_is_named() {
    let sender = address("CB:B8:33:4C:88:4E");
    let frame = bytes("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F");
    let error = ruuvi::decode(sender, &frame).unwrap_err();
    assert!(error.to_string().starts_with("frame names CB:B8:33:4C:88:4F, sender is CB:B8:33:4C:88:4E"));
    assert!(matches!(pvvx::decode(sender, &[0; 15]), Err(AdvertError::Address { .. })));
    assert!(matches!(atc1441::decode(sender, &[0; 13]), Err(AdvertError::Address { .. })));
}

fn sealed(sender: Address, key: &Key, counter: u32, centi: i16) -> Vec<u8> {
    let [low, high] = centi.to_le_bytes();
    bthome::encode(sender, &[0x02, low, high], Some((key, counter))).unwrap()
}

#[test]
fn a_recording_is_refused_until_the_device_was_silent() {
    let (sender, key) = (address("54:48:E6:8F:80:A5"), Key::from_hex(KEY).unwrap());
    let mut sensor = Sensor::new(sender, Format::Bthome, Some(key.clone()), Some(600_000));
    let mut hear =
        |frame: &[u8], now| sensor.hear(Part::Service { uuid: bthome::SERVICE, bytes: frame }, now);
    let (cold, warm) = (sealed(sender, &key, 7, 400), sealed(sender, &key, 8, 1_900));
    assert_eq!(new(hear(&cold, 0)).temperature, celsius(4_000));
    assert_eq!(hear(&cold, 100), Ok(Hearing::Repeat));
    assert_eq!(new(hear(&warm, 1_000)).temperature, celsius(19_000));
    assert_eq!(hear(&cold, 2_000), Err(AdvertError::Replay { last: 8, found: 7 }));
    // Playing back the last frame does not keep the device fresh, and neither does a refused one.
    assert_eq!(hear(&warm, 500_000), Ok(Hearing::Repeat));
    assert_eq!(hear(&cold, 600_999), Err(AdvertError::Replay { last: 8, found: 7 }));
    // A changed battery: silence, then the counter starts over.
    let fresh = sealed(sender, &key, 0, 500);
    assert_eq!(new(hear(&fresh, 601_000)).temperature, celsius(5_000));
    assert_eq!(new(hear(&warm, 601_001)).counter, Some(8), "above 0 again");
}

#[test]
fn without_a_restart_rule_a_lower_counter_is_never_accepted() {
    let (sender, key) = (address("54:48:E6:8F:80:A5"), Key::from_hex(KEY).unwrap());
    let mut sensor = Sensor::new(sender, Format::Bthome, Some(key.clone()), None);
    let mut hear =
        |frame: &[u8], now| sensor.hear(Part::Service { uuid: bthome::SERVICE, bytes: frame }, now);
    new(hear(&sealed(sender, &key, 9, 400), 0));
    let same_number = hear(&sealed(sender, &key, 9, 500), u64::MAX);
    assert_eq!(same_number, Err(AdvertError::Replay { last: 9, found: 9 }));
}

#[test]
fn two_devices_with_the_same_counter_do_not_hide_each_other() {
    let frame = |last: u8| {
        let mut frame = bytes("221100 38C1A4 0CFE 8813 B80B 57 2A 04");
        frame[0] = last;
        frame
    };
    for last in [0x22, 0x23] {
        let sender = Address([0xA4, 0xC1, 0x38, 0x00, 0x11, last]);
        let mut sensor = Sensor::new(sender, Format::Pvvx, None, None);
        let frame = frame(last);
        let part = Part::Service { uuid: pvvx::SERVICE, bytes: &frame };
        new(sensor.hear(part, 0));
        assert_eq!(sensor.hear(part, 1), Ok(Hearing::Repeat));
    }
}

#[test]
fn a_format_without_counter_measures_anew_in_every_frame() {
    let mut sensor = Sensor::new(address("A4:C1:38:00:11:22"), Format::GoveeH5075, None, None);
    let frame = bytes("00 03519E 64 00");
    let part = Part::Manufacturer { company: govee::COMPANY, bytes: &frame };
    new(sensor.hear(part, 0));
    new(sensor.hear(part, 1));
    let other = Part::Manufacturer { company: 0x004C, bytes: &frame };
    assert_eq!(sensor.hear(other, 2), Ok(Hearing::Foreign));
}

#[test]
fn what_no_sensor_measures_is_no_reading() {
    let mut sensor = Sensor::new(address("CB:B8:33:4C:88:4F"), Format::Ruuvi, None, None);
    let frame = bytes("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F");
    let heard = sensor.hear(Part::Manufacturer { company: ruuvi::COMPANY, bytes: &frame }, 0);
    assert!(matches!(heard, Err(AdvertError::OutOfRange { value: MilliCelsius(163_835), .. })), "{heard:?}");
    assert_eq!(sensor.counter(), None, "a refused frame is not remembered");
}

#[test]
fn a_payload_is_cut_into_its_structures() {
    let payload = bytes("020106 0A 16 D2FC 40 02CA09 03BF13 04 09 444945 00 00");
    let parts: Vec<_> = structures(&payload).map(Result::unwrap).collect();
    assert_eq!(parts[0], Part::Other { kind: 0x01, bytes: &[0x06] });
    assert_eq!(parts[1], Part::Service { uuid: 0xFCD2, bytes: &bytes("4002CA0903BF13") });
    assert_eq!(parts[2], Part::Name(b"DIE"));
    assert_eq!(parts.len(), 3, "a length of zero ends it");
    let cut: Vec<_> = structures(&[0x02, 0x01, 0x06, 0x05, 0xFF, 0x99]).collect();
    assert!(matches!(cut.as_slice(), [Ok(_), Err(AdError::Truncated(_))]), "{cut:?}");
    let short: Vec<_> = structures(&[0x02, 0x16, 0xD2, 0x02, 0x01, 0x06]).collect();
    assert!(matches!(short.as_slice(), [Err(AdError::Short(_))]), "{short:?}");
    let long = vec![1; PAYLOAD_BYTES_MAX + 1];
    assert_eq!(structures(&long).collect::<Vec<_>>(), [Err(AdError::TooLong(PAYLOAD_BYTES_MAX + 1))]);
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Ruuvi),
        Just(Format::Bthome),
        Just(Format::Pvvx),
        Just(Format::Atc1441),
        Just(Format::GoveeH5075),
        Just(Format::EddystoneTlm),
        Just(Format::Minew),
    ]
}

fn carrier<'a>(format: Format, bytes: &'a [u8]) -> Part<'a> {
    match format {
        Format::Ruuvi => Part::Manufacturer { company: ruuvi::COMPANY, bytes },
        Format::GoveeH5075 => Part::Manufacturer { company: govee::COMPANY, bytes },
        Format::Bthome => Part::Service { uuid: bthome::SERVICE, bytes },
        Format::Pvvx | Format::Atc1441 => Part::Service { uuid: pvvx::SERVICE, bytes },
        Format::EddystoneTlm => Part::Service { uuid: eddystone::SERVICE, bytes },
        Format::Minew => Part::Service { uuid: minew::SERVICE, bytes },
    }
}

proptest! {
    #[test]
    fn no_frames_panic_and_every_reading_is_possible(
        format in any_format(),
        sender in any::<[u8; 6]>(),
        key in any::<Option<[u8; 16]>>(),
        frames in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), any::<u64>()), 0..12),
    ) {
        let mut sensor = Sensor::new(Address(sender), format, key.map(Key::new), Some(1_000));
        for (frame, now) in &frames {
            if let Ok(Hearing::New(advert)) = sensor.hear(carrier(format, frame), *now) {
                prop_assert!(advert.temperature.is_none_or(|t| MEASURABLE_MC.contains(&t.0)));
                prop_assert!(advert.humidity.is_none_or(|h| h.0 <= 10_000));
                prop_assert!(advert.battery_percent.is_none_or(|p| p <= 100));
            }
        }
    }

    #[test]
    fn any_payload_is_cut_within_its_bounds(payload in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut sum = 0;
        for part in structures(&payload) {
            sum += match part {
                Ok(Part::Manufacturer { bytes, .. } | Part::Service { bytes, .. }) => bytes.len() + 4,
                Ok(Part::Name(bytes) | Part::Other { bytes, .. }) => bytes.len() + 2,
                Err(_) => 0,
            };
        }
        prop_assert!(sum <= payload.len());
    }

    #[test]
    fn what_a_sealing_device_sends_is_read_back(
        sender in any::<[u8; 6]>(),
        key in any::<[u8; 16]>(),
        counter in any::<u32>(),
        centi in -5_500_i16..=15_000,
    ) {
        let (sender, key) = (Address(sender), Key::new(key));
        let frame = sealed(sender, &key, counter, centi);
        let advert = bthome::decode(sender, &frame, Some(&key)).unwrap();
        prop_assert_eq!(advert.temperature, celsius(i32::from(centi) * 10));
        prop_assert_eq!(advert.counter, Some(counter));
    }

    #[test]
    fn an_address_reads_back(bytes in any::<[u8; 6]>(), text in ".{0,24}") {
        let address = Address(bytes);
        prop_assert_eq!(Address::parse(&address.to_string().to_lowercase()), Some(address));
        prop_assert!(Address::parse(&text).is_none_or(|read| read.to_string().eq_ignore_ascii_case(&text)));
    }
}
