//! The chips' published words over `embedded-hal-mock`, dead lines, and properties over any bytes.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use embedded_hal::i2c::{ErrorType, NoAcknowledgeSource, Operation};
use embedded_hal_mock::eh1::delay::NoopDelay;
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use proptest::prelude::*;

use super::*;

fn measure(chip: Chip, transactions: &[Transaction]) -> Result<Climate, Fault> {
    let address = *chip.addresses().start();
    let mut bus = Mock::new(transactions);
    let answer = Probe::new(chip, address).unwrap().measure(&mut bus, &mut NoopDelay::new());
    bus.done();
    answer
}

fn sht3x(answer: &[u8]) -> Vec<Transaction> {
    vec![
        Transaction::write(0x44, vec![0x30, 0xA2]),
        Transaction::write(0x44, vec![0x24, 0x00]),
        Transaction::read(0x44, answer.to_vec()),
    ]
}

fn sht4x(answer: &[u8]) -> Vec<Transaction> {
    vec![
        Transaction::write(0x44, vec![0x94]),
        Transaction::write(0x44, vec![0xFD]),
        Transaction::read(0x44, answer.to_vec()),
    ]
}

fn register(address: u8, register: u8, answer: [u8; 2]) -> Transaction {
    Transaction::write_read(address, vec![register], answer.to_vec())
}

fn tmp117(word: u16) -> Vec<Transaction> {
    vec![
        register(0x48, 0x0F, [0x11, 0x17]),
        Transaction::write(0x48, vec![0x01, 0x02, 0x20]),
        register(0x48, 0x00, word.to_be_bytes()),
    ]
}

fn mcp9808(word: u16) -> Vec<Transaction> {
    vec![
        register(0x18, 0x06, [0x00, 0x54]),
        register(0x18, 0x07, [0x04, 0x00]),
        Transaction::write(0x18, vec![0x01, 0x00, 0x00]),
        register(0x18, 0x05, word.to_be_bytes()),
    ]
}

fn lm75(configuration: u8, word: u16) -> Vec<Transaction> {
    vec![
        register(0x48, 0x03, [0x50, 0x00]),
        Transaction::write(0x48, vec![0x01, configuration]),
        register(0x48, 0x00, word.to_be_bytes()),
    ]
}

fn milli(answer: Result<Climate, Fault>) -> i32 {
    answer.unwrap().temperature.0
}

/// devices.md 2.4; the checksum's vector is that of both data sheets.
#[test]
fn sensirion_words_as_published() {
    assert_eq!(crc8(&[0xBE, 0xEF]), 0x92);
    let three = measure(Chip::Sht3x, &sht3x(&[0x47, 0xAE, 0x45, 0xCC, 0xCC, 0xA5])).unwrap();
    // 4.0005 °C, to the nearest thousandth.
    assert_eq!((three.temperature, three.humidity), (MilliCelsius(4_001), Some(CentiPercent(8_000))));
    let four = measure(Chip::Sht4x, &sht4x(&[0x47, 0xAE, 0x45, 0xB0, 0x20, 0x96])).unwrap();
    assert_eq!((four.temperature, four.humidity), (MilliCelsius(4_001), Some(CentiPercent(8_000))));
}

/// devices.md 2.4; data sheet TMP117 table 1 (digital format of the temperature register).
#[test]
fn tmp117_words_as_published() {
    let rows = [
        (0x0200, 4_000),
        (0x0C80, 25_000),
        (0x3200, 100_000),
        (0x4B00, 150_000),
        (0x0001, 8),
        (0xFFF0, -125),
        (0xF380, -25_000),
        (0xE480, -55_000),
    ];
    for (word, expected) in rows {
        assert_eq!(milli(measure(Chip::Tmp117, &tmp117(word))), expected, "{word:04X}");
    }
    assert_eq!(measure(Chip::Tmp117, &tmp117(0x8000)), Err(Fault::NotReady));
    assert!(matches!(measure(Chip::Tmp117, &tmp117(0x7FFF)), Err(Fault::OutOfRange { .. })));
}

/// Data sheet MCP9808, 5.1.3 (equation 5-1): the flags do not count, the sign does.
#[test]
fn mcp9808_words_as_published() {
    let rows = [(0x0190, 25_000), (0xC194, 25_250), (0x1FF0, -1_000), (0xFD80, -40_000), (0x07D0, 125_000)];
    for (word, expected) in rows {
        assert_eq!(milli(measure(Chip::Mcp9808, &mcp9808(word))), expected, "{word:04X}");
    }
    assert!(matches!(measure(Chip::Mcp9808, &mcp9808(0x0FF0)), Err(Fault::OutOfRange { .. })));
}

/// devices.md 2.4 (checked against QEMU's TMP105 there); data sheet LM75 table 1.
#[test]
fn lm75_words_as_published() {
    for (word, expected) in [(0x0400, 4_000), (0xED80, -18_500), (0x7D00, 125_000), (0xC900, -55_000)] {
        assert_eq!(milli(measure(Chip::Lm75, &lm75(0x00, word))), expected, "{word:04X}");
        assert_eq!(milli(measure(Chip::Tmp105, &lm75(0x60, word))), expected, "{word:04X}");
    }
    assert_eq!(milli(measure(Chip::Lm75, &lm75(0x00, 0x197F))), 25_000, "seven undefined bits");
    assert_eq!(milli(measure(Chip::Tmp105, &lm75(0x60, 0x191F))), 25_062, "four undefined bits");
}

/// A zero that another register and a second conversion confirm is a temperature: cabinets stand at 0 °C.
#[test]
fn zero_degrees_is_a_reading_when_the_chip_proves_itself() {
    let mut tmp = tmp117(0x0000);
    tmp.push(register(0x48, 0x0F, [0x01, 0x17]));
    assert_eq!(milli(measure(Chip::Tmp117, &tmp)), 0);
    let mut mcp = mcp9808(0x0000);
    mcp.extend([
        register(0x18, 0x06, [0x00, 0x54]),
        register(0x18, 0x07, [0x04, 0x00]),
        register(0x18, 0x05, [0xC0, 0x50]),
    ]);
    assert_eq!(milli(measure(Chip::Mcp9808, &mcp)), 5_000, "it had been reset: the second conversion counts");
    let mut lm = lm75(0x00, 0x0000);
    lm.extend([register(0x48, 0x03, [0x50, 0x00]), register(0x48, 0x00, [0x00, 0x00])]);
    assert_eq!(milli(measure(Chip::Lm75, &lm)), 0);
}

#[test]
fn a_dead_line_is_no_reading() {
    for level in [0x00, 0xFF] {
        let dead = |answer| assert!(matches!(answer, Err(Fault::DeadLine(_))), "{level:02X}: {answer:?}");
        dead(measure(Chip::Sht3x, &sht3x(&[level; 6])));
        dead(measure(Chip::Sht4x, &sht4x(&[level; 6])));
        // From the start ...
        dead(measure(Chip::Tmp117, &[register(0x48, 0x0F, [level; 2])]));
        dead(measure(Chip::Mcp9808, &[register(0x18, 0x06, [level; 2])]));
        dead(measure(Chip::Lm75, &[register(0x48, 0x03, [level; 2])]));
        // ... and after it.
        let word = u16::from_be_bytes([level; 2]);
        let and = |mut list: Vec<Transaction>, next| {
            list.push(next);
            list
        };
        dead(measure(Chip::Tmp117, &and(tmp117(word), register(0x48, 0x0F, [level; 2]))));
        dead(measure(Chip::Mcp9808, &and(mcp9808(word), register(0x18, 0x06, [level; 2]))));
        dead(measure(Chip::Tmp105, &and(lm75(0x60, word), register(0x48, 0x03, [level; 2]))));
    }
}

#[test]
fn a_wrong_checksum_or_another_chip_is_named() {
    let crc = measure(Chip::Sht3x, &sht3x(&[0x47, 0xAE, 0x45, 0xCC, 0xCC, 0xA4]));
    assert!(matches!(crc, Err(Fault::Crc(_))), "{crc:?}");
    let other = measure(Chip::Tmp117, &[register(0x48, 0x0F, [0x50, 0x00])]).unwrap_err();
    assert_eq!(other.to_string(), "another chip answers: identity 50 00, expected 0x0117");
    let other =
        measure(Chip::Mcp9808, &[register(0x18, 0x06, [0x00, 0x54]), register(0x18, 0x07, [0x02, 0])]);
    assert!(matches!(other, Err(Fault::Identity { expected: 0x0400, .. })), "{other:?}");
}

#[test]
fn after_a_fault_the_chip_is_started_again() {
    let nak = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let mut transactions = tmp117(0x0200);
    transactions.push(register(0x48, 0x00, [0, 0]).with_error(nak));
    transactions.extend(tmp117(0x0C80));
    transactions.push(register(0x48, 0x00, [0x0C, 0x80]));
    let mut bus = Mock::new(&transactions);
    let mut probe = Probe::new(Chip::Tmp117, 0x48).unwrap();
    let mut next = || probe.measure(&mut bus, &mut NoopDelay::new());
    assert_eq!(milli(next()), 4_000);
    assert_eq!(next(), Err(Fault::Bus(nak)));
    assert_eq!(milli(next()), 25_000, "identified and configured again");
    assert_eq!(milli(next()), 25_000, "only read");
    bus.done();
}

#[test]
fn an_address_the_chip_cannot_have_is_refused() {
    let error = Probe::new(Chip::Sht3x, 0x48).unwrap_err();
    assert_eq!(error.to_string(), "sht3x has an address from 0x44 to 0x45, not 0x48");
}

/// Answers every read from a list of bytes, and with `None` not at all.
struct Noise {
    bytes: Vec<Option<u8>>,
    at: usize,
}

impl ErrorType for Noise {
    type Error = ErrorKind;
}

impl I2c for Noise {
    fn transaction(&mut self, _address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        for operation in operations {
            if let Operation::Read(buffer) = operation {
                for byte in buffer.iter_mut() {
                    let next = self.bytes.get(self.at % self.bytes.len()).copied().flatten();
                    self.at += 1;
                    *byte = next.ok_or(ErrorKind::Bus)?;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn no_answers_panic_and_every_reading_is_in_range(
        chip in proptest::sample::select(Chip::ALL.to_vec()),
        bytes in proptest::collection::vec(proptest::option::weighted(0.98, any::<u8>()), 1..64),
    ) {
        let mut bus = Noise { bytes, at: 0 };
        let mut probe = Probe::new(chip, *chip.addresses().start()).unwrap();
        for _ in 0..8 {
            if let Ok(climate) = probe.measure(&mut bus, &mut NoopDelay::new()) {
                prop_assert!(chip.range_mc().contains(&climate.temperature.0));
                prop_assert!(climate.humidity.is_none_or(|h| h.0 <= 10_000));
            }
        }
    }

    #[test]
    fn every_sensirion_word_with_its_checksum_reads_within_half_a_thousandth(raw in any::<u16>()) {
        let [high, low] = raw.to_be_bytes();
        let crc = crc8(&[high, low]);
        let answer = measure(Chip::Sht3x, &sht3x(&[high, low, crc, high, low, crc]));
        // Twice the exact value times the full scale: integers without rounding.
        let exact = 2 * (175_000 * i64::from(raw) - 45_000 * 65_535);
        match answer {
            Ok(climate) => prop_assert!((exact - 2 * 65_535 * i64::from(climate.temperature.0)).abs() <= 65_535),
            Err(Fault::DeadLine(_)) => prop_assert!(raw == 0),
            Err(Fault::OutOfRange { .. }) => {
                prop_assert!(!(-2 * 40_000 * 65_535..=2 * 125_000 * 65_535).contains(&exact));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
