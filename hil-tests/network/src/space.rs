//! Three network namespaces and two cables: store — broker — HQ.
//!
//! A namespace is that of a sleeping child and vanishes with it. As root nothing else is needed; without, the first child
//! also makes a user namespace, and the others are its children.

use anyhow::{Context, Result, ensure};
use hil_rig::processes::{Process, need_program};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The broker as the store sees it.
pub(crate) const BROKER_OF_STORE: &str = "10.78.1.1";
/// The broker as HQ sees it.
pub(crate) const BROKER_OF_HQ: &str = "10.78.2.1";
const STORE: &str = "10.78.1.2";
const HQ: &str = "10.78.2.2";
/// The ends of the store's cable.
const STORE_END: &str = "sy-store";
const BROKER_END: &str = "sy-far";
/// A station that is not there: frames to it are lost.
const NOBODY: &str = "02:00:00:00:00:99";

/// A namespace.
pub(crate) struct Space {
    sleeper: Process,
    plain_user: bool,
}

impl Space {
    fn new(name: &str, folder: &Path, of: Option<&Self>) -> Result<Self> {
        let plain_user = !rustix::process::geteuid().is_root();
        let unshare = need_program("unshare")?;
        let mut command = match of {
            Some(first) if plain_user => {
                let mut command = Command::new(need_program("nsenter")?);
                command.args([
                    "-t",
                    &first.sleeper.id().to_string(),
                    "--user",
                    "--preserve-credentials",
                    "--",
                ]);
                command.arg(unshare);
                command
            }
            _ => Command::new(unshare),
        };
        if plain_user && of.is_none() {
            command.arg("--map-root-user");
        }
        command.args(["--net", "--", "sleep", "86400"]);
        let sleeper = Process::start(name, command, &folder.join(format!("{name}.log")))?;
        let mut space = Self { sleeper, plain_user };
        space.wait()?;
        let off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
        space.run("sh", &["-c", off])?;
        space.run("ip", &["link", "set", "lo", "up"])?;
        Ok(space)
    }

    fn wait(&mut self) -> Result<()> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let (theirs, deadline) =
            (format!("/proc/{}/ns/net", self.sleeper.id()), Instant::now() + Duration::from_secs(10));
        while std::fs::read_link(&theirs).is_ok_and(|theirs| theirs == own) {
            ensure!(self.sleeper.runs(), "see {}", self.sleeper.log().display());
            ensure!(Instant::now() < deadline, "unshare made no namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A command that runs in it.
    pub(crate) fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(need_program("nsenter")?);
        command.args(["-t", &self.sleeper.id().to_string()]);
        if self.plain_user {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["--net", "--"]).arg(program);
        Ok(command)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let output = self.command(&need_program(program)?)?.args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {}: {}", arguments.join(" "), said.trim());
        Ok(())
    }
}

/// The whole network.
pub(crate) struct Network {
    // Declared before the first one, which owns the user namespace: fields end in this order.
    pub(crate) store: Space,
    pub(crate) hq: Space,
    pub(crate) broker: Space,
}

impl Network {
    /// Lays it; `folder` takes the logs of the children.
    pub(crate) fn lay(folder: &Path) -> Result<Self> {
        let broker = Space::new("space-of-broker", folder, None)?;
        let store = Space::new("space-of-store", folder, Some(&broker))?;
        let hq = Space::new("space-of-hq", folder, Some(&broker))?;
        let network = Self { store, hq, broker };
        network.cable((BROKER_END, BROKER_OF_STORE), &network.store, (STORE_END, STORE))?;
        network.cable(("sy-far-hq", BROKER_OF_HQ), &network.hq, ("sy-hq", HQ))?;
        Ok(network)
    }

    fn cable(&self, near: (&str, &str), far: &Space, at: (&str, &str)) -> Result<()> {
        let pid = far.sleeper.id().to_string();
        self.broker
            .run("ip", &["link", "add", near.0, "type", "veth", "peer", "name", at.0, "netns", &pid])?;
        for (space, (name, address)) in [(&self.broker, near), (far, at)] {
            space.run("ip", &["addr", "add", &format!("{address}/24"), "dev", name])?;
            space.run("ip", &["link", "set", name, "up"])?;
        }
        Ok(())
    }

    /// Pulls or plugs the store's cable.
    pub(crate) fn plug(&self, plugged: bool) -> Result<()> {
        self.store.run("ip", &["link", "set", STORE_END, if plugged { "up" } else { "down" }])
    }

    /// Loses every frame from the broker to the store, or none.
    pub(crate) fn deafen_store(&self, deaf: bool) -> Result<()> {
        lose(&self.broker, BROKER_END, STORE, deaf)
    }

    /// Loses every frame from the store to the broker, or none.
    pub(crate) fn mute_store(&self, mute: bool) -> Result<()> {
        lose(&self.store, STORE_END, BROKER_OF_STORE, mute)
    }

    /// Limits both directions of the store's cable to so many bits per second (a token bucket).
    pub(crate) fn slow(&self, bits_per_s: u32) -> Result<()> {
        for (space, name) in [(&self.broker, BROKER_END), (&self.store, STORE_END)] {
            let rate = format!("{bits_per_s}bit");
            let rule = ["root", "tbf", "rate", &rate, "burst", "3000", "latency", "400ms"];
            space.run("tc", &[&["qdisc", "replace", "dev", name][..], &rule].concat())?;
        }
        Ok(())
    }

    /// Takes the limit away.
    pub(crate) fn quick(&self) -> Result<()> {
        for (space, name) in [(&self.broker, BROKER_END), (&self.store, STORE_END)] {
            space.run("tc", &["qdisc", "del", "dev", name, "root"])?;
        }
        Ok(())
    }
}

/// The address resolves to a station that is not there: frames leave and nobody takes them. No packet filter is needed.
fn lose(space: &Space, device: &str, address: &str, on: bool) -> Result<()> {
    let neighbor = ["neigh", "replace", address, "lladdr", NOBODY, "dev", device, "nud", "permanent"];
    let forget = ["neigh", "del", address, "dev", device];
    space.run("ip", if on { &neighbor[..] } else { &forget[..] })
}

/// Why namespaces cannot be made here; `None` when they can.
pub(crate) fn unable(folder: &Path) -> Option<String> {
    if let Some(missing) =
        ["unshare", "nsenter", "ip", "tc"].into_iter().find(|name| need_program(name).is_err())
    {
        return Some(format!("{missing} is not installed"));
    }
    let tried = Network::lay(folder).context("namespaces and virtual cables cannot be made here");
    tried.err().map(|error| format!("{error:#}"))
}
