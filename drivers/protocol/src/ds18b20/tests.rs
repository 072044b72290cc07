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
        assert_eq!(parse(&text(bytes, "YES", milli)), expected, "{bytes}");
    }
}

#[test]
fn what_is_no_reading_is_named() {
    let good = "72 01 4b 46 7f ff 0e 10 57";
    assert!(matches!(parse(&text(good, "NO", "23125")), Err(Fault::CrcNo(_))));
    let wrong = "73 01 4b 46 7f ff 0e 10 57";
    assert!(matches!(parse(&text(wrong, "YES", "23187")), Err(Fault::CrcNo(_))));
    assert_eq!(parse(&text("00 00 00 00 00 00 00 00 00", "YES", "0")), Err(Fault::AllZero));
    assert_eq!(parse(" \n"), Err(Fault::Empty));
    for bad in ["72 01", "72 01 4b : crc=57 YES\n", "zz : crc=57 YES\nzz t=1\n", &"7".repeat(300)] {
        assert!(matches!(parse(bad), Err(Fault::Malformed(_))), "{bad}");
    }
}

proptest! {
    #[test]
    fn every_raw_value_reads_back(raw in -880_i16..=2000, rest in any::<[u8; 6]>()) {
        let [low, high] = raw.to_le_bytes();
        let mut pad = [low, high, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], 0];
        pad[8] = crc8(&pad[..8]);
        let hex = pad.map(|byte| format!("{byte:02x}")).join(" ");
        let milli = i32::from(raw) * 1000 / 16;
        let expected = match raw {
            0x0550 => Err(Fault::PowerOn85),
            0 if pad.iter().all(|byte| *byte == 0) => Err(Fault::AllZero),
            _ => Ok(MilliCelsius(milli)),
        };
        prop_assert_eq!(parse(&text(&hex, "YES", &format!("{milli}"))), expected);
    }

    #[test]
    fn no_text_panics(text in ".{0,200}", bytes in any::<[u8; 9]>()) {
        let read = [parse(&text), convert(&bytes)];
        let inside = |reading: &MilliCelsius| (-55_000..=125_000).contains(&reading.0);
        prop_assert!(read.iter().flatten().all(inside));
    }
}
