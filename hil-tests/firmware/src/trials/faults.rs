//! Probes, bus and image at fault.

use super::{PROBE, Stand, emulated_only, fit, save, settles, word};
use crate::image;
use crate::machine::{Chip, Machine, Plan, wait};
use crate::masters::mbpoll;
use anyhow::{Result, ensure};
use drv_protocol::modbus::Table;
use drv_protocol::node::{NO_READING, Quality, input, status};
use hil_trials::{Bench, Verdict};

pub(super) fn unplugged(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "taking a chip away") {
        return Ok(skipped);
    }
    let mut stand = Stand::new(bench, &[(PROBE[0], Chip::Probe), (PROBE[1], Chip::Probe)])?;
    let mut machine = stand.start()?;
    let mut master = stand.master()?;
    fit(&mut master, 0b11)?;
    save(&mut master)?;
    machine.temperature(PROBE[0], 4_000)?;
    machine.temperature(PROBE[1], -18_500)?;
    settles(&mut master, input::HUNDREDTHS, &[word(4_000, 10), word(-18_500, 10)])?;
    // At run time: what no such chip can say.
    machine.temperature(PROBE[0], -100_000)?;
    settles(&mut master, input::HUNDREDTHS, &[NO_READING, word(-18_500, 10)])?;
    settles(&mut master, input::QUALITY, &[Quality::OutOfRange.code(), 0])?;
    ensure!(master.input(input::STATUS)? & status::SENSOR_FAULT != 0, "status bit 0");
    machine.temperature(PROBE[0], 4_000)?;
    settles(&mut master, input::HUNDREDTHS, &[word(4_000, 10), word(-18_500, 10)])?;
    let refusal = machine.qmp("device_del", &serde_json::json!({"id": format!("t{}", PROBE[0])}));
    machine.kill()?;
    // QEMU does not let a chip go from a running bus, so it goes with the power.
    ensure!(refusal.is_err(), "QEMU can unplug a chip now: use that here");
    stand.plan.chips.remove(0);
    let mut machine = stand.start()?;
    settles(&mut master, input::QUALITY, &[Quality::NoAnswer.code(), 0])?;
    machine.temperature(PROBE[1], -20_000)?;
    settles(&mut master, input::HUNDREDTHS, &[NO_READING, word(-20_000, 10)])?;
    let first = mbpoll(stand.pair.ours(), 1, 3, 0, 3)?;
    ensure!(first[0] == NO_READING && first[2] & status::SENSOR_FAULT != 0, "mbpoll read {first:04x?}");
    machine.kill()?;
    Ok(Verdict::Passed(
        "word out of the chip's range at run time: 8000h, quality 6; chip absent (QEMU refuses device_del, so over a power cycle): 8000h, \
         quality 3, status bit 0 by mbpoll; the other probe reads on. Going in the middle of a run: fw-node-core over a mock bus"
            .into(),
    ))
}

pub(super) fn stuck_bus(bench: &Bench<'_>) -> Result<Verdict> {
    /// I2C0's slave address and control registers.
    const ADDRESS: u32 = 0x4002_0000;
    const CONTROL: u32 = 0x4002_0004;
    const CONFIGURATION: u32 = 0x4002_0020;
    if let Some(skipped) = emulated_only(bench, "holding a line") {
        return Ok(skipped);
    }
    let chips = [(PROBE[0], Chip::Probe), (PROBE[1], Chip::Constant(0)), (PROBE[2], Chip::Constant(0xFF))];
    let stand = Stand::new(bench, &chips)?;
    let mut machine = stand.start()?;
    let mut master = stand.master()?;
    fit(&mut master, 0b111)?;
    machine.temperature(PROBE[0], 4_000)?;
    let dead = Quality::DeadLine.code();
    settles(&mut master, input::QUALITY, &[0, dead, dead])?;
    settles(&mut master, input::HUNDREDTHS, &[word(4_000, 10), NO_READING, NO_READING])?;
    let mut seen = Vec::new();
    // Another master's START without a STOP, and a master that was switched off.
    for (what, pokes) in [
        ("transfer left open", &[(ADDRESS, u32::from(PROBE[0]) << 1 | 1), (CONTROL, 2)][..]),
        ("master switched off", &[(CONFIGURATION, 0)][..]),
    ] {
        fit(&mut master, 1)?;
        settles(&mut master, input::QUALITY, &[0])?;
        let mut pushes = 0;
        let words = wait(what, || {
            for (register, value) in pokes {
                machine.poke(*register, *value)?;
            }
            pushes += 1;
            let words = master.read(Table::Input, 16, 5)?;
            ensure!(words[0] == word(4_000, 10) || words[0] == NO_READING, "{what}: {words:04x?}");
            Ok((words[4] != Quality::Good.code()).then_some(words))
        })?;
        ensure!((words[0], words[4]) == (NO_READING, Quality::NoAnswer.code()), "{what}: {words:04x?}");
        settles(&mut master, input::HUNDREDTHS, &[word(4_000, 10)])?;
        settles(&mut master, input::QUALITY, &[0])?;
        seen.push(format!("{what}: 8000h, quality 3, then good again ({pushes} pokes)"));
    }
    machine.kill()?;
    Ok(Verdict::Passed(format!(
        "data low and open (as a memory of zeros and of ones at the probe's address): 8000h, quality 4; {}. A clock held low cannot be emulated: \
         fw-node-core over a mock bus",
        seen.join("; ")
    )))
}

pub(super) fn bad_image(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "another image") {
        return Ok(skipped);
    }
    let stand = Stand::new(bench, &[(PROBE[0], Chip::Probe)])?;
    let good = &stand.image.bytes;
    let mut flipped = good.clone();
    // In the constants behind the code, so that it is the check that stops it.
    let at = flipped.len() - 9;
    flipped[at] ^= 0x10;
    let mut unsealed = good.clone();
    unsealed[0x408] ^= 1;
    let mut long = good.clone();
    long[0x406] = 0x7F;
    let cut = good[..good.len() - 64].to_vec();
    let mut told = Vec::new();
    for (name, bytes, expected) in [
        ("flipped", flipped, "CRC-32"),
        ("unsealed", unsealed, "CRC-32"),
        ("too-long", long, "bytes by its header"),
        ("cut-short", cut, "CRC-32"),
    ] {
        ensure!(image::check(&bytes).is_err(), "{name}: the host takes it");
        let folder = bench.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let path = folder.join("node.bin");
        std::fs::write(&path, bytes)?;
        let plan = Plan { image: path, folder, ..stand.plan.clone() };
        let mut machine = Machine::start(&plan)?;
        machine.says("image refused: ", 1)?;
        machine.says(expected, 1)?;
        ensure!(!stand.master()?.is_answered()?, "{name}: it answers on the line");
        let console = machine.console();
        ensure!(!console.contains("line:"), "{name}: {console}");
        told.push(console.lines().last().unwrap_or_default().to_owned());
        machine.kill()?;
    }
    Ok(Verdict::Passed(format!("4 bad images, none answers on the line: {}", told.join("; "))))
}
