//! The trials as the host sees them: each is a machine in which [`crate::guest`] runs the trial of the same name.

use anyhow::Result;
use hil_trials::{Bench, Suite, Trial, Verdict};
use std::time::Duration;

use crate::machine;

/// Longest life of a machine.
const LIMIT: Duration = Duration::from_secs(240);

/// The trials of this rig.
pub fn suite() -> Suite {
    let trials = vec![
        Trial {
            name: "boot",
            shows: "the agent starts on a kernel of its own and answers",
            run: |bench| inside(bench, "boot"),
        },
        Trial {
            name: "ble-tag",
            shows: "a price from HQ reaches a Gicisky tag through real BlueZ, also over a link that drops",
            run: |bench| inside(bench, "ble-tag"),
        },
        Trial {
            name: "ble-label",
            shows: "a label with the SIG's ESL service is configured, lit, read and shown an image by the driver host",
            run: |bench| inside(bench, "ble-label"),
        },
        Trial {
            name: "ble-adverts",
            shows: "two cabinets by advertisement, value for value, and stale when one stops",
            run: |bench| inside(bench, "ble-adverts"),
        },
        Trial {
            name: "adapter-faults",
            shows: "bluetoothd killed, the bus restarted, the controller pulled: told each time, then prices flow again",
            run: |bench| inside(bench, "adapter-faults"),
        },
        Trial {
            name: "i2c",
            shows: "a chip on a USB adapter: values, no acknowledge, wrong checksum, unplugged and back",
            run: |bench| inside(bench, "i2c"),
        },
        Trial {
            name: "one-wire",
            shows: "the kernel's 1-Wire: values, resolution, power-on value, a sensor that vanishes and comes back",
            run: |bench| inside(bench, "one-wire"),
        },
        Trial {
            name: "serial",
            shows: "two scales on USB adapters: line settings as configured, and found by serial number after replugging",
            run: |bench| inside(bench, "serial"),
        },
    ];
    Suite { rig: "kernel", trials }
}

fn inside(bench: &Bench<'_>, trial: &str) -> Result<Verdict> {
    machine::run(bench, trial, LIMIT)
}
