//! The suite of the rig `firmware`.
//!
//! On a bench with `[ports] node = "/dev/…"` the reading trials run against the real node; those that need to set a
//! temperature, cut power or reach into the bus are skipped with that reason.

mod faults;
mod power;
mod reading;
mod road;

use crate::image::{self, Image};
use crate::machine::{Chip, Machine, Plan, wait};
use crate::masters::Master;
use anyhow::{Result, ensure};
use drv_protocol::modbus::Table;
use drv_protocol::node::{Command, CommandResult, PROBES, holding, input};
use hil_rig::pty::Pair;
use hil_trials::{Bench, Suite, Trial, Verdict};

/// Addresses of the probes.
const PROBE: [u8; PROBES] = [0x48, 0x49, 0x4A, 0x4B];

/// The trials.
pub fn suite() -> Suite {
    let trial = |name, shows, run| Trial { name, shows, run };
    let trials = vec![
        trial("golden-output", "banner, self check and first sample of the built image", reading::golden),
        trial(
            "masters",
            "four probes set over QMP, read by mbpoll and pymodbus value for value",
            reading::masters,
        ),
        trial("buffered-samples", "samples in sequence through the window, acknowledged", reading::samples),
        trial("door", "the door's contact, debounced", reading::door),
        trial(
            "probe-unplugged",
            "a probe that is gone or says nonsense is a fault, never its last value",
            faults::unplugged,
        ),
        trial(
            "stuck-bus",
            "data low, data open and a transfer that nobody ends: faults, and good again",
            faults::stuck_bus,
        ),
        trial(
            "resets",
            "reset line, command, watchdog, power: the reason, and sequence numbers that go on",
            power::resets,
        ),
        trial(
            "calibration-power-cut",
            "power cuts while settings are written keep one good copy",
            power::calibration,
        ),
        trial("bad-image", "a damaged image is refused with what was found", faults::bad_image),
        trial("whole-road", "QMP, chip, firmware, Modbus, agent: its reading value for value", road::whole),
    ];
    Suite { rig: "firmware", trials }
}

/// Why a trial is not for a real node.
fn emulated_only(bench: &Bench<'_>, what: &str) -> Option<Verdict> {
    let port = bench.rig.port("node")?;
    Some(Verdict::Skipped(format!("the node at {} is real: {what} needs the emulator", port.display())))
}

/// A node with a line, and the line's near side.
struct Stand {
    image: Image,
    pair: Pair,
    plan: Plan,
}

impl Stand {
    fn new(bench: &Bench<'_>, chips: &[(u8, Chip)]) -> Result<Self> {
        let image = image::build(&bench.place.root)?;
        let pair = Pair::open()?;
        let plan = Plan {
            image: image.path.clone(),
            folder: bench.folder.clone(),
            line: pair.theirs().into(),
            chips: chips.to_vec(),
        };
        Ok(Self { image, pair, plan })
    }

    fn start(&self) -> Result<Machine> {
        Machine::start(&self.plan)
    }

    fn master(&self) -> Result<Master> {
        Master::open(self.pair.ours(), 1)
    }
}

/// Saves the settings and waits until the node says that they are kept.
fn save(master: &mut Master) -> Result<()> {
    master.write(holding::COMMAND, Command::Save.code())?;
    wait("the settings to be saved", || {
        let result = master.input(input::COMMAND_RESULT)?;
        ensure!(result != CommandResult::Failed.code(), "saving failed");
        Ok((result == CommandResult::Done.code()).then_some(()))
    })
}

/// Fits these probes.
fn fit(master: &mut Master, mask: u16) -> Result<()> {
    master.write(holding::FITTED, mask)
}

/// Waits until these input registers have these words.
fn settles(master: &mut Master, address: u16, expected: &[u16]) -> Result<()> {
    let mut last = Vec::new();
    let count = u16::try_from(expected.len())?;
    let done = wait("registers to settle", || {
        last = master.read(Table::Input, address, count)?;
        Ok((last == expected).then_some(()))
    });
    done.map_err(|error| {
        error.context(format!("registers from {address}: expected {expected:04x?}, found {last:04x?}"))
    })
}

/// What a TMP105 of twelve bits says at a temperature, in sixteenths of a degree: QEMU's model cuts off.
fn sixteenths(milli: i32) -> i64 {
    i64::from(milli) * 16 / 1_000
}

/// The word that the node must show, computed apart from it: sixteenths to thousandths as the chip's driver cuts them, then to
/// the nearest step, halves away from zero.
fn word(milli: i32, step: i64) -> u16 {
    let thousandths = sixteenths(milli) * 1_000 / 16;
    let twice = (thousandths.abs() * 2 + step) / (2 * step);
    let signed = if thousandths < 0 { -twice } else { twice };
    i16::try_from(signed).map_or(0x8000, i16::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expectation_is_that_of_the_data_sheet() {
        // TMP105, SBOS648 table 5: 0.0625 degrees a step.
        assert_eq!((word(25_000, 100), word(-18_500, 100), word(-18_500, 10)), (250, 65_351, 0xF8C6));
        assert_eq!((sixteenths(-55_000), sixteenths(62), sixteenths(63)), (-880, 0, 1));
        assert_eq!(word(4_125, 10), 413);
        let mut names: Vec<_> = suite().trials.iter().map(|trial| trial.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 10);
    }
}
