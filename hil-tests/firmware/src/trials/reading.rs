//! What the node says when nothing is wrong.

use super::{PROBE, Stand, emulated_only, fit, settles, word};
use crate::golden;
use crate::image;
use crate::machine::{Chip, wait};
use crate::masters::{Master, mbpoll, pymodbus, words};
use anyhow::{Result, ensure};
use drv_protocol::modbus::Table;
use drv_protocol::node::{NO_READING, PRODUCT, SLOT_WORDS, VENDOR, holding, input, slot_address, status};
use hil_trials::{Bench, Verdict};
use std::path::Path;

pub(super) fn golden(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "the console's text") {
        return Ok(skipped);
    }
    let golden = golden::run(image::build(&bench.place.root)?, &bench.folder)?;
    std::fs::write(bench.folder.join("golden.txt"), &golden.console)?;
    Ok(Verdict::Passed(format!(
        "{} lines as expected, image of {} bytes, CRC-32 {:08X}h, first sample after {} ms",
        golden.console.lines().count(),
        golden.image.bytes.len(),
        golden.image.header.crc,
        golden.first_sample_ms
    )))
}

/// What both masters read at one instant in which nothing changes.
fn both(port: &Path, hundredths: Option<&[u16; 4]>) -> Result<[u16; 4]> {
    let theirs = pymodbus(port, 1)?;
    let first = mbpoll(port, 1, 3, 0, 9)?;
    let fine = mbpoll(port, 1, 3, 16, 4)?;
    let quality = mbpoll(port, 1, 3, 20, 4)?;
    let settings = mbpoll(port, 1, 4, 0, 7)?;
    ensure!(words(&theirs, "hundredths") == fine, "pymodbus {theirs}, mbpoll {fine:?}");
    ensure!(words(&theirs, "quality") == quality, "pymodbus {theirs}, mbpoll {quality:?}");
    ensure!(words(&theirs, "holding") == settings, "pymodbus {theirs}, mbpoll {settings:?}");
    let tenths = words(&theirs, "first");
    // Uptime, oldest sequence and the bit of the start go on between two reads.
    ensure!(
        tenths.len() == 9 && [0, 1, 6, 7, 8].iter().all(|at| tenths[*at] == first[*at]),
        "{theirs}, {first:?}"
    );
    let known = theirs["identity"][0] == VENDOR && theirs["identity"][1] == PRODUCT && theirs["refusal"] == 2;
    ensure!(known, "identification and refusal: {theirs}");
    if let Some(expected) = hundredths {
        ensure!(fine == expected, "expected {expected:?}, read {fine:?}");
    }
    Ok([first[0], first[6], first[7], first[8]])
}

pub(super) fn masters(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(port) = bench.rig.port("node") {
        let tenths = both(port, None)?;
        return Ok(Verdict::Passed(format!("mbpoll and pymodbus agree on the real node: {tenths:?} tenths")));
    }
    let stand = Stand::new(bench, &PROBE.map(|address| (address, Chip::Probe)))?;
    let mut machine = stand.start()?;
    let mut master = stand.master()?;
    fit(&mut master, 0b1111)?;
    let steps = [
        [-18_500, 4_125, 85_000, 0],
        [-18_438, 4_188, 84_938, -63],
        [85_000, -55_000, 127_937, 25_062],
        [-40_000, 125_000, 3_999, -1],
    ];
    let mut values = 0;
    for step in steps {
        for (address, milli) in PROBE.into_iter().zip(step) {
            machine.temperature(address, milli)?;
        }
        // 127.9 degrees is more than the chip can measure.
        let expect = |step| move |milli: i32| if milli > 125_000 { NO_READING } else { word(milli, step) };
        let hundredths = step.map(expect(10));
        settles(&mut master, input::HUNDREDTHS, &hundredths)?;
        let tenths = both(stand.pair.ours(), Some(&hundredths))?;
        ensure!(tenths == step.map(expect(100)), "{step:?}: {tenths:?} tenths");
        values += 2 * (hundredths.len() + tenths.len());
    }
    machine.kill()?;
    Ok(Verdict::Passed(format!(
        "{values} values of 4 probes by each of 2 masters equal what was set, -55 to 125 degrees; identification and exception 2, too"
    )))
}

pub(super) fn samples(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "a set temperature") {
        return Ok(skipped);
    }
    let stand = Stand::new(bench, &[(PROBE[0], Chip::Probe)])?;
    let mut machine = stand.start()?;
    let mut master = stand.master()?;
    machine.temperature(PROBE[0], -18_500)?;
    settles(&mut master, input::TEMPERATURE, &[word(-18_500, 100)])?;
    master.write(holding::SAMPLE_PERIOD, 1)?;
    let begin = master.long(input::NEWEST)?;
    let newest =
        wait("five samples", || Ok(Some(master.long(input::NEWEST)?).filter(|newest| *newest >= begin + 5)))?;
    let mut times = Vec::new();
    for sequence in begin + 1..=newest {
        let slot = slot(&mut master, sequence)?;
        ensure!(slot[..2] == [high(sequence), low(sequence)] && slot[4] == word(-18_500, 100), "{slot:04x?}");
        let taken = u32::from(slot[2]) << 16 | u32::from(slot[3]);
        times.push(taken);
    }
    // The first is taken at once when the period is set; a round is at most half a second late.
    let span = times.last().zip(times.first()).map_or(0, |(last, first)| last.saturating_sub(*first));
    ensure!(times.is_sorted() && span + 2 >= newest - begin, "taken at {times:?} s");
    master.write(holding::ACKNOWLEDGED, low(newest))?;
    let (oldest, buffered) = (master.long(input::OLDEST)?, master.input(input::BUFFERED)?);
    ensure!(oldest == newest + 1 && buffered <= 2, "oldest {oldest}, {buffered} buffered");
    let refused = master.write(holding::ACKNOWLEDGED, low(newest).wrapping_add(500)).is_err();
    ensure!(refused, "what is not buffered cannot be acknowledged");
    machine.kill()?;
    let count = newest - begin;
    Ok(Verdict::Passed(format!(
        "{count} samples a second apart, each with its number, then acknowledged up to {newest}"
    )))
}

fn high(sequence: u32) -> u16 {
    let [a, b, _, _] = sequence.to_be_bytes();
    u16::from_be_bytes([a, b])
}

fn low(sequence: u32) -> u16 {
    let [_, _, c, d] = sequence.to_be_bytes();
    u16::from_be_bytes([c, d])
}

/// The words of a slot.
pub(super) fn slot(master: &mut Master, sequence: u32) -> Result<Vec<u16>> {
    master.read(Table::Input, slot_address(sequence), SLOT_WORDS)
}

pub(super) fn door(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "the contact") {
        return Ok(skipped);
    }
    let stand = Stand::new(bench, &[(PROBE[0], Chip::Probe)])?;
    let mut machine = stand.start()?;
    let mut master = stand.master()?;
    let mut turns = 0;
    for open in [false, true, false, true] {
        machine.door(open)?;
        wait("the door's bit", || {
            let bits = master.input(input::STATUS)?;
            Ok((open == (bits & status::DOOR_OPEN != 0)).then_some(()))
        })?;
        turns += 1;
    }
    machine.kill()?;
    Ok(Verdict::Passed(format!(
        "{turns} turns of the contact (PC4, driven through qtest) seen in status bit 1"
    )))
}
