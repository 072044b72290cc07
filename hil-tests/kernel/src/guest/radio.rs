//! The Bluetooth of the machine: a system bus, `bluetoothd`, and a controller with peripherals around it.

use anyhow::{Result, ensure};
use hil_rig::processes::{Process, need_program};
use std::path::Path;
use std::process::Command;
use tokio::net::UnixStream;

use super::far::{AIR, FarEnd};
use super::world::{PATIENCE, World, appears, log, until};
use crate::uml::BLUETOOTHD;

const SOCKET: &str = "/run/dbus/system_bus_socket";
/// The controller, as the kernel shows it.
const CONTROLLER: &str = "/sys/class/bluetooth/hci0";

/// The three programs. Each can be taken away and brought back.
pub(crate) struct Radio {
    bus: Process,
    daemon: Process,
    pub(crate) air: FarEnd,
}

impl Radio {
    /// Starts everything.
    pub(crate) async fn start(world: &World) -> Result<Self> {
        let bus = bus().await?;
        let daemon = daemon()?;
        let air = FarEnd::start(world, AIR).await?;
        appears(CONTROLLER).await?;
        Ok(Self { bus, daemon, air })
    }

    /// SIGKILL to bluetoothd.
    pub(crate) fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.kill()?;
        Ok(())
    }

    /// Starts bluetoothd again.
    pub(crate) fn start_daemon(&mut self) -> Result<()> {
        self.daemon = daemon()?;
        Ok(())
    }

    /// SIGKILL to the bus. bluetoothd ends with it.
    pub(crate) async fn kill_bus(&mut self) -> Result<()> {
        self.bus.kill()?;
        let daemon = &mut self.daemon;
        let ended = tokio::time::timeout(PATIENCE, async {
            while daemon.runs() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        ensure!(ended.await.is_ok(), "bluetoothd goes on without its bus");
        Ok(())
    }

    /// Starts the bus and bluetoothd again.
    pub(crate) async fn start_bus(&mut self) -> Result<()> {
        self.bus = bus().await?;
        self.daemon = daemon()?;
        Ok(())
    }

    /// Pulls the controller: its program ends, and with it every peripheral.
    pub(crate) async fn pull(&mut self) -> Result<()> {
        self.air.kill()?;
        until("the controller to go", PATIENCE, || async { (!Path::new(CONTROLLER).exists()).then_some(()) })
            .await
    }

    /// Plugs it in again.
    pub(crate) async fn plug(&mut self, world: &World) -> Result<()> {
        self.air = FarEnd::start(world, AIR).await?;
        appears(CONTROLLER).await
    }
}

async fn bus() -> Result<Process> {
    if Path::new(SOCKET).exists() {
        std::fs::remove_file(SOCKET)?;
    }
    let mut command = Command::new(need_program("dbus-daemon")?);
    command.args(["--system", "--nofork", "--nopidfile", "--nosyslog"]);
    let process = Process::start("dbus-daemon", command, &log("dbus"))?;
    until("the system bus", PATIENCE, || async { UnixStream::connect(SOCKET).await.ok() }).await?;
    Ok(process)
}

fn daemon() -> Result<Process> {
    let mut command = Command::new(BLUETOOTHD);
    command.arg("-n");
    Ok(Process::start("bluetoothd", command, &log("bluetoothd"))?)
}
