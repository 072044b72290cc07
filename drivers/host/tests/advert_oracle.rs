//! Our decoders of advertising sensors against other people's: ruuvitag-sensor, bthome-ble and govee-ble decode the same
//! generated frames.
//!
//! Only well-formed frames are compared: on broken ones the libraries give up at different places, by design.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use drv_protocol::advert::{Address, SensorAdvert, bthome, govee, ruuvi};
use drv_protocol::ccm::Key;
use drv_sim::Rng;
use hil_rig::python::Venv;
use serde_json::{Value, json};

const CASES: usize = 1_500;

struct Case {
    row: Value,
    ours: SensorAdvert,
    /// Half a step of what theirs rounds the temperature to.
    coarse: f64,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect()
}

fn address(rng: &mut Rng) -> Address {
    Address(std::array::from_fn(|_| rng.byte()))
}

fn ruuvi_case(rng: &mut Rng) -> Case {
    let sender = address(rng);
    let five = rng.chance(500);
    let mut bytes: Vec<u8> = (0..if five { 24 } else { 20 }).map(|_| rng.byte()).collect();
    bytes[0] = if five { 5 } else { 6 };
    // The marks of what is not available, oftener than by chance.
    for (at, mark) in [(1, [0x80, 0x00]), (3, [0xFF, 0xFF]), (5, [0xFF, 0xFF])] {
        if rng.chance(100) {
            bytes[at..at + 2].copy_from_slice(&mark);
        }
    }
    // Humidity up to 100 %: above, ours says nothing and theirs repeats what was sent.
    if bytes[3..5] != [0xFF, 0xFF] {
        bytes[3] %= 0x9C;
    }
    let end = bytes.len();
    if five {
        bytes[end - 6..].copy_from_slice(&sender.0);
        // Sequence 0xFFFF means none to us and a number to them.
        bytes[16] &= 0x7F;
    } else {
        bytes[end - 3..].copy_from_slice(&sender.0[3..]);
    }
    let ours = ruuvi::decode(sender, &bytes).unwrap();
    let row = json!({"format": "ruuvi", "address": sender.to_string(), "data": hex(&bytes)});
    // ruuvitag-sensor rounds to hundredths what has a resolution of 0.005 °C and 0.0025 %.
    Case { row, ours, coarse: 0.0051 }
}

/// Object ids with the length of their values, and how many of a group may stand in one frame (theirs numbers repeats).
const GROUPS: &[&[(u8, usize)]] = &[
    &[(0x00, 1)],
    &[(0x01, 1)],
    &[(0x02, 2), (0x45, 2), (0x57, 1), (0x58, 1)],
    &[(0x03, 2), (0x2E, 1)],
    &[(0x04, 3)],
    &[(0x0C, 2)],
    &[(0x05, 3), (0x06, 2), (0x08, 2), (0x09, 1), (0x0A, 3), (0x0B, 3), (0x0D, 2), (0x12, 2), (0x14, 2)],
    &[(0x0F, 1), (0x11, 1), (0x1A, 1), (0x21, 1), (0x2D, 1)],
    &[(0x3D, 2), (0x3F, 2), (0x42, 3), (0x46, 1), (0x4B, 3), (0x4E, 4), (0x50, 4), (0x5A, 2), (0x5C, 4)],
    &[(0xF0, 2), (0xF1, 4), (0xF2, 3)],
];

fn bthome_case(rng: &mut Rng) -> Case {
    let sender = address(rng);
    let mut chosen = Vec::new();
    for group in GROUPS {
        if rng.chance(450) {
            let index = usize::try_from(rng.below(u64::try_from(group.len()).unwrap())).unwrap();
            chosen.push(group[index]);
        }
    }
    chosen.sort_unstable();
    // bthome-ble rounds the steps of 0.35 °C to tenths.
    let coarse = if chosen.contains(&(0x58, 1)) { 0.051 } else { 1e-6 };
    let mut objects = Vec::new();
    for (id, length) in chosen {
        objects.push(id);
        let start = objects.len();
        objects.extend((0..length).map(|_| rng.byte()));
        match id {
            // Percentages up to 100; above, ours says nothing and theirs repeats what was sent.
            0x01 | 0x2E => objects[start] %= 101,
            0x03 => objects[start + 1] %= 0x27,
            _ => {}
        }
    }
    let key_bytes: [u8; 16] = std::array::from_fn(|_| rng.byte());
    let sealed = rng.chance(500);
    let key = Key::new(key_bytes);
    let counter = u32::try_from(rng.below(1 << 32)).unwrap();
    let frame = bthome::encode(sender, &objects, sealed.then_some((&key, counter))).unwrap();
    let ours = bthome::decode(sender, &frame, sealed.then_some(&key)).unwrap();
    let mut row = json!({"format": "bthome", "address": sender.to_string(), "data": hex(&frame)});
    if sealed {
        row["key"] = json!(hex(&key_bytes));
    }
    Case { row, ours, coarse }
}

fn govee_case(rng: &mut Rng) -> Case {
    // −40 to +100 °C is what theirs passes on.
    let magnitude = rng.below(1_001) * 1_000 + rng.below(1_000);
    let negative = magnitude <= 400_000 && rng.chance(500);
    let word = u32::try_from(magnitude).unwrap() | if negative { 0x80_0000 } else { 0 };
    let [_, high, middle, low] = word.to_be_bytes();
    let battery = u8::try_from(rng.below(101)).unwrap();
    let bytes = [rng.byte(), high, middle, low, battery, rng.byte()];
    let ours = govee::decode(&bytes).unwrap();
    let row = json!({"format": "govee-h5075", "address": address(rng).to_string(), "data": hex(&bytes)});
    Case { row, ours, coarse: 1e-6 }
}

fn same(case: &Case, theirs: &Value) {
    let place = format!("{} -> {theirs}", case.row);
    assert!(theirs.get("error").is_none(), "{place}");
    let sealed = case.row.get("key").is_some();
    let ours = &case.ours;
    // Both round the quarter steps of a Ruuvi to hundredths, halves not the same way.
    let humidity = if case.row["format"] == "ruuvi" { 0.0101 } else { 1e-6 };
    let rows = [
        ("temperature", ours.temperature.map(|t| f64::from(t.0) / 1000.0), case.coarse),
        ("humidity", ours.humidity.map(|h| f64::from(h.0) / 100.0), humidity),
        ("pressure", ours.pressure_pa.map(|p| f64::from(p) / 100.0), 1e-6),
        ("battery_v", ours.battery_mv.map(|v| f64::from(v) / 1000.0), 1e-6),
        ("battery_percent", ours.battery_percent.map(f64::from), 1e-6),
        // Theirs has no counter of the seal; the packet id inside it is another number.
        ("counter", ours.counter.filter(|_| !sealed).map(f64::from), 1e-6),
    ];
    for (name, ours, tolerance) in rows {
        if name == "counter" && sealed {
            continue;
        }
        let theirs = theirs.get(name).and_then(Value::as_f64);
        let agree = match (ours, theirs) {
            (Some(a), Some(b)) => (a - b).abs() <= tolerance,
            (a, b) => a.is_none() && b.is_none(),
        };
        assert!(agree, "{name}: ours {ours:?}, {place}");
    }
}

#[test]
fn other_peoples_decoders_read_the_same_values() {
    let venv = Venv::for_adverts().unwrap();
    let mut rng = Rng::new(0xAD_5E45);
    let mut cases: Vec<Case> = Vec::new();
    for _ in 0..CASES / 3 {
        cases.push(ruuvi_case(&mut rng));
        cases.push(bthome_case(&mut rng));
        cases.push(govee_case(&mut rng));
    }
    let rows: Vec<Value> = cases.iter().map(|case| case.row.clone()).collect();
    let theirs = venv.decode_adverts(&rows).unwrap();
    assert_eq!(theirs.len(), cases.len());
    for (case, theirs) in cases.iter().zip(&theirs) {
        same(case, theirs);
    }
    let read = cases.iter().filter(|case| case.ours.temperature.is_some()).count();
    assert!(read > CASES / 2, "only {read} frames carried a temperature");
}

#[test]
fn they_do_not_open_what_we_do_not_open() {
    let venv = Venv::for_adverts().unwrap();
    let sender = Address([0x54, 0x48, 0xE6, 0x8F, 0x80, 0xA5]);
    let key = Key::new([7; 16]);
    let mut frame = bthome::encode(sender, &[0x02, 0xCA, 0x09], Some((&key, 1))).unwrap();
    *frame.last_mut().unwrap() ^= 1;
    let ours = bthome::decode(sender, &frame, Some(&key));
    let row =
        json!({"format": "bthome", "address": sender.to_string(), "data": hex(&frame), "key": hex(&[7; 16])});
    let theirs = venv.decode_adverts(&[row]).unwrap();
    assert!(ours.is_err() && theirs[0]["error"] == "not opened", "{ours:?} {theirs:?}");
}
