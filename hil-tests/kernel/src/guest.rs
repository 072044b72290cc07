//! The trials as they run inside the machine.
//!
//! Contract: the agent is the host's binary with a configuration as a store has it, asked over its socket by the client that
//! `edgectl` uses; devices are far ends that share no code with its drivers. Everything lives in memory below `/run`, evidence
//! goes to [`FOLDER`].

mod ble;
mod far;
mod i2c;
mod label;
mod one_wire;
mod radio;
mod serial;
mod shop;
mod world;

use anyhow::{Context, Result, bail, ensure};
use std::io::Write as _;
use std::path::Path;

use crate::machine::{Ended, RESULT};
use world::World;

/// The trial's folder on the host.
pub(crate) const FOLDER: &str = "/run/trial";

/// Runs a trial and leaves its result.
///
/// # Errors
/// The result cannot be left.
pub fn run(trial: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(one(trial));
    let ended = match outcome {
        Ok(text) => Ended { held: true, text },
        Err(error) => Ended { held: false, text: format!("{error:#}") },
    };
    let path = Path::new(FOLDER).join(RESULT);
    std::fs::write(&path, serde_json::to_vec(&ended)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Switches the machine off.
///
/// # Errors
/// The kernel refuses, as it does outside of the rig's machine.
pub fn off() -> Result<()> {
    let kernel = rustix::system::uname();
    // The same program on a real machine, started as root by mistake, must not end it.
    ensure!(
        Path::new(FOLDER).is_dir() && Path::new("/proc/exitcode").is_file(),
        "this is no User-Mode Linux machine"
    );
    rustix::system::reboot(rustix::system::RebootCommand::PowerOff)
        .with_context(|| format!("{} does not go off", kernel.release().to_string_lossy()))
}

/// Says on standard error what went wrong.
pub fn complain(error: &anyhow::Error) {
    // There is nobody to tell when that is closed, too.
    drop(writeln!(std::io::stderr(), "{error:#}"));
}

async fn one(trial: &str) -> Result<String> {
    let mut world = World::new()?;
    match trial {
        "boot" => boot(&mut world).await,
        "ble-tag" => ble::tag(&mut world).await,
        "ble-label" => label::run(&mut world).await,
        "ble-adverts" => ble::adverts(&mut world).await,
        "adapter-faults" => ble::adapter_faults(&mut world).await,
        "i2c" => i2c::run(&mut world).await,
        "one-wire" => one_wire::run(&mut world).await,
        "serial" => serial::run(&mut world).await,
        // For the test of the machine itself.
        "hang" => loop {
            tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
        },
        other => bail!("there is no trial \"{other}\""),
    }
}

/// What the kernel carries that the other trials need.
const CARRIED: [&str; 6] = [
    "/dev/vhci",
    "/sys/devices/platform/vhci_hcd.0/attach",
    "/sys/bus/w1/drivers/w1_master_driver",
    "/sys/bus/i2c/drivers/ds2482",
    "/sys/bus/usb/drivers/i2c-tiny-usb",
    "/sys/bus/usb-serial/drivers/ftdi_sio",
];

async fn boot(world: &mut World) -> Result<String> {
    let up = std::fs::read_to_string("/proc/uptime").context("uptime")?;
    let up = up.split(' ').next().unwrap_or_default().to_owned();
    for place in CARRIED {
        ensure!(Path::new(place).exists(), "the kernel lacks {place}");
    }
    let begun = std::time::Instant::now();
    world.agent("").await?;
    let status: edge_api::Status = world.client().fetch("/v1/status").await?;
    ensure!(status.state == "ok", "the agent is {}: {}", status.state, status.reasons.join("; "));
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Ok(format!(
        "Linux {release} runs the trial {up} s after its start, {} drivers; agent {} answers after {:.1} s, state {}",
        CARRIED.len(),
        status.software,
        begun.elapsed().as_secs_f64(),
        status.state
    ))
}
