//! Published scratchpads and properties.

use alloc::format;
use alloc::string::String;

use proptest::prelude::*;

use super::*;

fn text(bytes: &str, verdict: &str, milli: &str) -> String {
    let crc = bytes.split(' ').next_back().unwrap();
    format!("{bytes} : crc={crc} {verdict}\n{bytes} t={milli}\n")
}

/// devices.md 2.3: docs.kernel.org/w1/slaves/w1_therm.html and recomputed scratchpads.
#[test]
fn published_scratchpads_decode() {
    let rows = [
        ("72 01 4b 46 7f ff 0e 10 57", "23125", Ok(MilliCelsius(23_125))),
        ("50 05 4b 46 7f ff 0c 10 1c", "85000", Err(Fault::PowerOn85)),
        ("f0 ff 4b 46 7f ff 01 10 60", "-1000", Ok(MilliCelsius(-1_000))),
        ("5e ff 4b 46 7f ff 02 10 b6", "-10125", Ok(MilliCelsius(-10_125))),
    ];
    for (bytes, milli, expected) in rows {
        assert_eq!(parse(Family::Ds18b20, &text(bytes, "YES", milli)), expected, "{bytes}");
    }
}

#[test]
fn what_is_no_reading_is_named() {
    let good = "72 01 4b 46 7f ff 0e 10 57";
    assert!(matches!(parse(Family::Ds18b20, &text(good, "NO", "23125")), Err(Fault::CrcNo(_))));
    let wrong = "73 01 4b 46 7f ff 0e 10 57";
    assert!(matches!(parse(Family::Ds18b20, &text(wrong, "YES", "23187")), Err(Fault::CrcNo(_))));
    assert_eq!(parse(Family::Ds18b20, &text("00 00 00 00 00 00 00 00 00", "YES", "0")), Err(Fault::AllZero));
    assert_eq!(parse(Family::Ds18b20, " \n"), Err(Fault::Empty));
    for bad in ["72 01", "72 01 4b : crc=57 YES\n", "zz : crc=57 YES\nzz t=1\n", &"7".repeat(300)] {
        assert!(matches!(parse(Family::Ds18b20, bad), Err(Fault::Malformed(_))), "{bad}");
    }
}

fn sealed(mut pad: [u8; 9]) -> [u8; 9] {
    pad[8] = crc8(&pad[..8]);
    pad
}

/// Data sheet DS18S20, "Operation - measuring temperature": the table's values and the extended resolution's formula.
#[test]
fn a_ds18s20_counts_in_halves_and_a_remainder() {
    let rows = [
        (0x0032_i16, 0x0C, 25_000),
        (0x0001, 0x0C, 0),
        (0x0000, 0x0C, 0),
        (-1, 0x0C, -1_000),
        (-50, 0x0C, -25_000),
        (-110, 0x0C, -55_000),
        (0x0032, 0x04, 25_500),
        (0x0032, 0x10, 24_750),
    ];
    for (raw, remain, expected) in rows {
        let [low, high] = raw.to_le_bytes();
        let pad = sealed([low, high, 0x4B, 0x46, 0xFF, 0xFF, remain, 0x10, 0]);
        assert_eq!(convert(Family::Ds18s20, &pad), Ok(MilliCelsius(expected)), "{raw} {remain}");
    }
    let power_on = sealed([0xAA, 0x00, 0x4B, 0x46, 0xFF, 0xFF, 0x0C, 0x10, 0]);
    assert_eq!(convert(Family::Ds18s20, &power_on), Err(Fault::PowerOn85));
    for (remain, per_degree) in [(0x0C, 0), (0x11, 0x10)] {
        let pad = sealed([0x32, 0x00, 0x4B, 0x46, 0xFF, 0xFF, remain, per_degree, 0]);
        assert!(matches!(convert(Family::Ds18s20, &pad), Err(Fault::Foreign(_))));
    }
}

/// Data sheet DS18B20, figure 10 and table 2: undefined bits are cut off; what counts otherwise is refused.
#[test]
fn the_configuration_byte_says_which_bits_count() {
    for (configuration, bits, expected) in
        [(0x1F, 9, 25_000), (0x3F, 10, 25_250), (0x5F, 11, 25_375), (0x7F, 12, 25_437)]
    {
        // 25.4375 °C with every bit set below the degree that can be.
        let pad = sealed([0x97, 0x01, 0x4B, 0x46, configuration, 0xFF, 0x09, 0x10, 0]);
        for family in [Family::Ds1822, Family::Ds18b20, Family::Ds28ea00] {
            assert_eq!(resolution(family, configuration), Some(bits));
            assert_eq!(convert(family, &pad), Ok(MilliCelsius(expected)));
        }
    }
    let pins = sealed([0x97, 0x01, 0x4B, 0x46, 0x75, 0xFF, 0x09, 0x10, 0]);
    assert_eq!(convert(Family::Ds1825, &pins), Ok(MilliCelsius(25_437)));
    assert!(matches!(convert(Family::Ds18b20, &pins), Err(Fault::Foreign(_))));
    let thermocouple = sealed([0x90, 0x01, 0x00, 0x19, 0xF0, 0xFF, 0xFF, 0xFF, 0]);
    assert!(matches!(convert(Family::Ds1825, &thermocouple), Err(Fault::Foreign(_))));
}

/// Found by fuzzing: with fewer bits, undefined ones hid the power-on value until they were cut off.
#[test]
fn the_power_on_value_is_refused_at_every_resolution() {
    for (configuration, raw) in [(0x1F, 0x0557), (0x3F, 0x0553), (0x5F, 0x0551), (0x7F, 0x0550_i16)] {
        let [low, high] = raw.to_le_bytes();
        let pad = sealed([low, high, 0x4B, 0x46, configuration, 0xFF, 0x0C, 0x10, 0]);
        assert_eq!(convert(Family::Ds18b20, &pad), Err(Fault::PowerOn85), "{configuration:#04x}");
    }
}

#[test]
fn a_folder_name_says_the_family() {
    assert_eq!(Family::of_name("28-0316a2794c1f"), Some(Family::Ds18b20));
    assert_eq!(Family::of_name("3b-0000001926aF"), Some(Family::Ds1825));
    for bad in ["28-", "28", "29-0316a2794c1f", "28-../../etc/pas", "+8-0316a2794c1f", ""] {
        assert_eq!(Family::of_name(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn every_raw_value_reads_back(raw in -880_i16..=2000, rest in any::<[u8; 6]>()) {
        let [low, high] = raw.to_le_bytes();
        let mut pad = [low, high, rest[0], rest[1], 0x7F, rest[3], rest[4], rest[5], 0];
        pad[8] = crc8(&pad[..8]);
        let hex = pad.map(|byte| format!("{byte:02x}")).join(" ");
        let milli = i32::from(raw) * 1000 / 16;
        let expected = match raw {
            0x0550 => Err(Fault::PowerOn85),
            _ => Ok(MilliCelsius(milli)),
        };
        prop_assert_eq!(parse(Family::Ds18b20, &text(&hex, "YES", &format!("{milli}"))), expected);
    }

    #[test]
    fn no_text_panics(family in proptest::sample::select(Family::ALL.to_vec()), text in ".{0,200}", bytes in any::<[u8; 9]>()) {
        let read = [parse(family, &text), convert(family, &bytes)];
        let inside = |reading: &MilliCelsius| (-55_000..=125_000).contains(&reading.0);
        prop_assert!(read.iter().flatten().all(inside));
    }
}
