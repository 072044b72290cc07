//! The register map served by the node, probes over a mock bus, commands.

use super::*;
use crate::settings::load;
use drv_protocol::i2c::Chip;
use drv_protocol::node::{REGISTERS, slot_address};
use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
use embedded_hal_mock::eh1::i2c::{Mock, Transaction};
use proptest::prelude::*;
extern crate std;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

const IMAGE: Header = Header { bytes: 0x0001_2345, crc: 0xDEAD_BEEF, version: [1, 2, 3] };

struct Empty;

impl crate::settings::Storage for Empty {
    type Error = ();
    fn read(&mut self, _: usize, _: &mut [u8; 64]) -> Result<(), ()> {
        Err(())
    }
    fn erase(&mut self, _: usize) -> Result<(), ()> {
        Err(())
    }
    fn write(&mut self, _: usize, _: usize, _: &[u8; 32]) -> Result<(), ()> {
        Err(())
    }
}

fn node(slots: &mut Slots) -> Node<'_> {
    let facts = Facts { reason: ResetReason::PowerOn, image: IMAGE, version: "1.2.3" };
    Node::new(&load(&mut Empty), slots, facts)
}

fn slots() -> Box<Slots> {
    Box::new(Slots::EMPTY)
}

/// Lets time pass while it waits.
struct Waiting<'n, 'a> {
    node: &'n mut Node<'a>,
}

impl DelayNs for Waiting<'_, '_> {
    fn delay_ns(&mut self, ns: u32) {
        let now = self.node.now_ms + u64::from(ns / 1_000_000);
        self.node.tick(now, false);
    }
}

impl<'a> Pump<'a> for Waiting<'_, 'a> {
    fn node(&mut self) -> &mut Node<'a> {
        self.node
    }
}

fn probes() -> [Probe; PROBES] {
    [0x48, 0x49, 0x4A, 0x4B].map(|address| Probe::new(Chip::Tmp105, address).unwrap())
}

fn chip(address: u8, fresh: bool, word: [u8; 2]) -> Vec<Transaction> {
    let mut all = Vec::new();
    if fresh {
        all.push(Transaction::write_read(address, vec![3], vec![0x50, 0]));
        all.push(Transaction::write(address, vec![1, 0x60]));
    }
    all.push(Transaction::write_read(address, vec![0], word.to_vec()));
    all
}

fn go(node: &mut Node<'_>, probes: &mut [Probe; PROBES], bus: &[Transaction]) {
    let mut i2c = Mock::new(bus);
    node.tick(node.now_ms + ROUND_MS, false);
    round(probes, &mut i2c, &mut Waiting { node });
    i2c.done();
}

fn read(node: &Node<'_>, address: u16) -> u16 {
    node.read(Table::Input, address).unwrap()
}

#[test]
fn every_row_of_the_table_is_served_in_its_range_and_nothing_else_is() {
    let memory = &mut *slots();
    let node = node(memory);
    for table in [Table::Input, Table::Holding] {
        for address in 0..=u16::MAX {
            let window = table == Table::Input && (WINDOW..WINDOW + SLOTS * SLOT_WORDS).contains(&address);
            let served = node.read(table, address);
            assert_eq!(served.is_some(), window || entry(table, address).is_some(), "{table:?} {address}");
        }
    }
    for row in REGISTERS.iter().filter(|row| row.kind.words() == 1) {
        let word = node.read(row.table, row.address).unwrap();
        let raw = if row.least < 0 { i64::from(word.cast_signed()) } else { i64::from(word) };
        let held = (row.least..=row.most).contains(&raw) || row.may_fail && word == NO_READING;
        assert!(held, "{} is {word:#06x}", row.name);
    }
    assert_eq!((read(&node, input::IMAGE_CRC), read(&node, input::IMAGE_CRC + 1)), (0xDEAD, 0xBEEF));
    assert_eq!((read(&node, input::VERSION), read(&node, input::PATCH)), (0x0102, 3));
}

#[test]
fn every_setting_reads_back_and_what_is_out_of_range_is_refused() {
    let memory = &mut *slots();
    let mut node = node(memory);
    for row in REGISTERS.iter().filter(|row| row.access == Access::Setting) {
        for raw in [row.least, row.most] {
            let [.., high, low] = raw.to_be_bytes();
            let word = u16::from_be_bytes([high, low]);
            assert_eq!(node.may_write(row.address, word, false), Ok(()), "{}", row.name);
            node.write(row.address, word);
            assert_eq!(node.read(Table::Holding, row.address), Some(word), "{}", row.name);
        }
        let [.., high, low] = (row.most + 1).to_be_bytes();
        let word = u16::from_be_bytes([high, low]);
        assert_eq!(node.may_write(row.address, word, false), Err(Exception::IllegalValue), "{}", row.name);
    }
    assert_eq!(node.may_write(holding::UNIT, 9, true), Err(Exception::IllegalValue), "one number for all");
    assert_eq!(node.may_write(7, 0, false), Err(Exception::IllegalAddress));
    node.write(holding::COMMAND, Command::Revert.code());
    assert_eq!(node.wish(), Some(Wish::Save(Settings::default(), BLOCK)), "the first block");
    assert_eq!(*node.settings(), Settings::default());
}

#[test]
fn a_probe_that_goes_is_a_fault_and_never_its_last_value() {
    let memory = &mut *slots();
    let (mut node, mut probes) = (node(memory), probes());
    node.write(holding::FITTED, 0b11);
    let both = |a, b| [chip(0x48, true, a), chip(0x49, true, b)].concat();
    go(&mut node, &mut probes, &both([0x04, 0x20], [0xED, 0x80]));
    assert_eq!((read(&node, 0), read(&node, 16)), (41, 413), "4.125 degrees, halves away from zero");
    assert_eq!((read(&node, 6), read(&node, 17)), (0xFF47, 0xF8C6), "-18.5 degrees");
    assert_eq!((read(&node, 7), read(&node, 22)), (NO_READING, Quality::Absent.code()));
    assert_eq!(read(&node, input::STATUS), status::RESTARTED);
    node.was_read(Table::Input, 0, 5);
    let gone = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
    let mut bus = vec![Transaction::write_read(0x48, vec![0], vec![0, 0]).with_error(gone)];
    bus.extend(chip(0x49, false, [0xED, 0x80]));
    go(&mut node, &mut probes, &bus);
    assert_eq!((read(&node, 0), read(&node, 16), read(&node, 20)), (NO_READING, NO_READING, 3));
    assert_eq!((read(&node, 6), read(&node, input::STATUS)), (0xFF47, status::SENSOR_FAULT));
    // Back: it is identified and set up anew.
    let back = [chip(0x48, true, [0x05, 0]), chip(0x49, false, [0xED, 0x80])].concat();
    go(&mut node, &mut probes, &back);
    assert_eq!((read(&node, 0), read(&node, input::STATUS)), (50, 0));
}

/// Data held low reads as zeros with an acknowledge, an open line as ones; a clock held low ends in the controller's time-out.
#[test]
fn a_stuck_bus_is_a_fault_in_each_of_its_ways() {
    let memory = &mut *slots();
    let mut node = node(memory);
    for (bus, expected) in [
        (vec![Transaction::write_read(0x48, vec![3], vec![0, 0])], Quality::DeadLine),
        (vec![Transaction::write_read(0x48, vec![3], vec![0xFF, 0xFF])], Quality::DeadLine),
        (
            vec![Transaction::write_read(0x48, vec![3], vec![0, 0]).with_error(ErrorKind::Bus)],
            Quality::NoAnswer,
        ),
        (
            vec![Transaction::write_read(0x48, vec![3], vec![0, 0]).with_error(ErrorKind::ArbitrationLoss)],
            Quality::NoAnswer,
        ),
    ] {
        let mut probes = probes();
        go(&mut node, &mut probes, &chip(0x48, true, [0x04, 0x20]));
        assert_eq!(read(&node, 0), 41);
        // Low in the middle of everything: zeros for the temperature, then for the register that proves the chip.
        let mut low = vec![Transaction::write_read(0x48, vec![0], vec![0, 0])];
        low.push(Transaction::write_read(0x48, vec![3], vec![0, 0]));
        go(&mut node, &mut probes, &low);
        assert_eq!((read(&node, 0), read(&node, 20)), (NO_READING, Quality::DeadLine.code()));
        go(&mut node, &mut probes, &bus);
        assert_eq!((read(&node, 0), read(&node, 20)), (NO_READING, expected.code()));
        assert!(node.liveness.is_alive(node.now_ms), "a stuck bus does not starve the watchdog");
    }
}

#[test]
fn samples_are_taken_by_the_period_read_through_the_window_and_acknowledged() {
    let memory = &mut *slots();
    let (mut node, mut probes) = (node(memory), probes());
    node.write(holding::SAMPLE_PERIOD, 1);
    go(&mut node, &mut probes, &chip(0x48, true, [0x04, 0]));
    for _ in 0..8 {
        go(&mut node, &mut probes, &chip(0x48, false, [0x04, 0]));
    }
    let newest = u32::from(read(&node, input::NEWEST + 1));
    assert_eq!((newest, read(&node, input::BUFFERED), read(&node, input::OLDEST_LOW)), (5, 5, 1));
    let slot: Vec<u16> = (0..SLOT_WORDS).map(|n| read(&node, slot_address(3) + n)).collect();
    assert_eq!(slot[..2], [0, 3]);
    assert_eq!(slot[4..], [40, NO_READING, NO_READING, NO_READING, status::RESTARTED, 0x2220]);
    assert_eq!(node.may_write(holding::ACKNOWLEDGED, 6, false), Err(Exception::IllegalValue));
    node.write(holding::ACKNOWLEDGED, 4);
    assert_eq!((read(&node, input::BUFFERED), read(&node, input::OLDEST_LOW)), (1, 5));
}

#[test]
fn saving_works_once_and_says_how_it_ended() {
    let memory = &mut *slots();
    let mut node = node(memory);
    let mut found = load(&mut Empty);
    assert_eq!(node.wish(), Some(Wish::Save(Settings::default(), BLOCK)));
    node.saved(&found, false);
    assert_eq!(node.wish(), None, "a part that fails is not asked again at once");
    node.write(holding::OFFSETS, 0xFFF6);
    node.write(holding::COMMAND, Command::Save.code());
    assert_eq!(node.may_write(holding::COMMAND, Command::Save.code(), false), Err(Exception::Busy));
    let Some(Wish::Save(settings, reserved)) = node.wish() else { panic!("no wish") };
    assert_eq!((settings.offsets[0], reserved), (-10, 0));
    found.record.settings = settings;
    found.record.reserved = BLOCK;
    node.saved(&found, true);
    assert_eq!((read(&node, input::COMMAND_RESULT), node.wish()), (CommandResult::Done.code(), None));
    node.write(holding::COMMAND, Command::Restart.code());
    assert_eq!(node.wish(), Some(Wish::Restart));
}

proptest! {
    #[test]
    fn tenths_and_hundredths_are_the_nearest(milli in -60_000_i32..=125_000) {
        for step in [10, 100] {
            let word = i32::from(steps(Ok(milli), step).cast_signed());
            let off = word * step - milli;
            prop_assert!(off.abs() * 2 <= step);
            prop_assert!(off.abs() * 2 < step || off.signum() == milli.signum(), "halves away from zero");
        }
    }
}
