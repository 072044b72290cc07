//! Starts of every kind, and cuts.

use super::reading::slot;
use super::{PROBE, Stand, emulated_only, save, settles, word};
use crate::machine::{Chip, Machine, wait};
use crate::masters::Master;
use anyhow::{Context, Result, ensure};
use drv_protocol::modbus::Table;
use drv_protocol::node::{Command, CommandResult, ResetReason, holding, input, status};
use hil_trials::{Bench, Verdict};
use std::time::{Duration, Instant};

/// How often the power is cut while settings are written.
const CUTS: u16 = 40;

/// Waits for a start with this reason.
fn started(master: &mut Master, reason: ResetReason) -> Result<()> {
    wait(reason.name(), || {
        let bits = master.input(input::STATUS)?;
        let found = master.input(input::RESET_REASON)?;
        Ok((bits & status::RESTARTED != 0 && found == reason.code()).then_some(()))
    })
}

pub(super) fn resets(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "the reset line and the power") {
        return Ok(skipped);
    }
    let stand = Stand::new(bench, &[(PROBE[0], Chip::Probe)])?;
    let mut machine = stand.start()?;
    let mut master = stand.master()?;
    machine.temperature(PROBE[0], 4_000)?;
    settles(&mut master, input::TEMPERATURE, &[40])?;
    started(&mut master, ResetReason::PowerOn)?;
    let mut watchdog_s = 0.0;
    for reason in [ResetReason::External, ResetReason::Command, ResetReason::Watchdog] {
        // Two samples that must outlive it.
        master.write(holding::SAMPLE_PERIOD, 1)?;
        let begin = master.long(input::NEWEST)?;
        wait("samples", || Ok((master.long(input::NEWEST)? >= begin + 2).then_some(())))?;
        let kept = slot(&mut master, begin + 1)?;
        master.input(input::STATUS)?;
        let begun = Instant::now();
        match reason {
            ResetReason::External => machine.reset()?,
            ResetReason::Command => master.write(holding::COMMAND, Command::Restart.code())?,
            _ => master.write(holding::COMMAND, Command::ProveWatchdog.code())?,
        }
        started(&mut master, reason)?;
        if reason == ResetReason::Watchdog {
            watchdog_s = begun.elapsed().as_secs_f64();
        }
        let after = slot(&mut master, begin + 1)?;
        ensure!(
            kept == after && kept[4] == word(4_000, 100),
            "{}: {kept:04x?}, then {after:04x?}",
            reason.name()
        );
        let newest = master.long(input::NEWEST)?;
        ensure!(newest >= begin + 2 && newest < begin + 60, "{}: {begin} + 2, then {newest}", reason.name());
    }
    let before = master.long(input::NEWEST)?;
    machine.kill()?;
    let machine = stand.start()?;
    wait("the start", || Ok(master.is_answered()?.then_some(())))?;
    started(&mut master, ResetReason::PowerOn)?;
    let oldest = master.long(input::OLDEST)?;
    ensure!(oldest > before, "sample {before} was the newest, and {oldest} is given after the power cut");
    machine.kill()?;
    Ok(Verdict::Passed(format!(
        "reset line (QMP), command and watchdog (after {watchdog_s:.1} s without measuring): reason 2, 4, 3, samples kept, numbers go on; power cut: \
         reason 1, newest {before}, next {oldest}"
    )))
}

/// What the settings part holds: offset of probe 1, generation, good copies.
fn kept(master: &mut Master) -> Result<(u16, u32, u16)> {
    let offset = master.read(Table::Holding, holding::OFFSETS, 1)?.first().copied().context("no word")?;
    Ok((offset, master.long(input::GENERATION)?, master.input(input::COPIES)?))
}

fn ready(stand: &Stand) -> Result<Machine> {
    let machine = stand.start()?;
    wait("the start", || Ok(stand.master()?.is_answered()?.then_some(())))?;
    Ok(machine)
}

pub(super) fn calibration(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(skipped) = emulated_only(bench, "cutting the power") {
        return Ok(skipped);
    }
    let stand = Stand::new(bench, &[(PROBE[0], Chip::Probe)])?;
    let mut master = stand.master()?;
    let mut machine = ready(&stand)?;
    master.write(holding::OFFSETS, 1)?;
    save(&mut master)?;
    let (mut old, mut new, mut torn, mut confirmed) = (0, 0, 0, 0);
    let mut before = kept(&mut master)?;
    let mut random = 0x5359_u64;
    for cut in 0..CUTS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let offset = 100 + cut;
        master.write(holding::OFFSETS, offset)?;
        master.write_blindly(holding::COMMAND, Command::Save.code())?;
        // Two pages of 10 ms each, after the request has gone through two pseudo-terminals: 0 to 127 ms.
        std::thread::sleep(Duration::from_micros((random >> 48) % 128 * 1_000));
        let sure = cut % 8 == 7 && {
            wait("the save", || {
                Ok((master.input(input::COMMAND_RESULT)? == CommandResult::Done.code()).then_some(()))
            })?;
            true
        };
        machine.kill()?;
        machine = ready(&stand)?;
        let (found, generation, copies) = kept(&mut master)?;
        ensure!(copies >= 1, "cut {cut}: no good copy");
        ensure!(
            found == offset || found == before.0,
            "cut {cut}: offset {found}, before {}, written {offset}",
            before.0
        );
        ensure!(!sure || found == offset, "cut {cut}: confirmed, and not kept");
        ensure!(generation >= before.1, "cut {cut}: generation {generation} after {}", before.1);
        confirmed += u32::from(sure);
        if found == offset {
            new += 1;
        } else {
            old += 1;
        }
        torn += u32::from(copies == 1);
        before = (found, generation, copies);
    }
    machine.kill()?;
    Ok(Verdict::Passed(format!(
        "{CUTS} power cuts while saving: {new} kept the new offset, {old} the old one, {torn} left a half-written copy beside a good one, \
         {confirmed} of {confirmed} confirmed were kept; never none"
    )))
}
