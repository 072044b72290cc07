//! The line between a store and headquarters: two network namespaces and a pair of virtual interfaces between them.
//!
//! Contract
//! * The process that calls [`Link::lay`] is in the namespace of headquarters (a private one: see [`super::on_a_line`]); the store's
//!   is that of a sleeping child. Everything that passes is counted by the kernel at the interface.
//! * Segmentation offload is off, so that a frame on the line is a frame in the count. IPv6 is off: nothing of the system's
//!   own talks on the line but ARP. Ethernet headers (14 bytes a frame) are taken off the count.
//! * [`Link::shape`] is a token bucket on both ends.

use anyhow::{Context, Result, bail, ensure};
use hil_rig::processes::{Process, need_program};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Headquarters' address.
pub(crate) const HQ: &str = "10.77.0.1";
const STORE: &str = "10.77.0.2";
/// Headquarters' end of the line.
const NEAR: &str = "sy-hq";
/// The store's end.
const FAR: &str = "sy-store";
/// Header of a frame that is not part of IP.
const ETHERNET: u64 = 14;

/// The line.
pub(crate) struct Link {
    store: Process,
}

/// What passed so far, without Ethernet headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Passed {
    /// From the store.
    pub(crate) up: u64,
    /// To the store.
    pub(crate) down: u64,
    pub(crate) packets: u64,
}

impl Passed {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            up: self.up - before.up,
            down: self.down - before.down,
            packets: self.packets - before.packets,
        }
    }

    pub(crate) fn bytes(self) -> u64 {
        self.up + self.down
    }
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(need_program(program)?).args(args).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), said.trim());
    Ok(())
}

impl Link {
    /// Lays the line. `folder` takes the log of the sleeping child.
    pub(crate) fn lay(folder: &Path) -> Result<Self> {
        let own = std::fs::read_link("/proc/self/ns/net")?;
        ensure!(
            own != std::fs::read_link("/proc/1/ns/net").unwrap_or_default(),
            "not in a namespace of its own"
        );
        let mut sleeper = Command::new(need_program("unshare")?);
        sleeper.args(["--net", "--", "sleep", "86400"]);
        let store = Process::start("store namespace", sleeper, &folder.join("namespace.log"))?;
        let link = Self { store };
        link.wait_for_namespace(&own)?;
        // Before there is an interface that could say something.
        for namespace in [None, Some(&link)] {
            let off = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
            match namespace {
                None => run("sh", &["-c", off])?,
                Some(link) => link.there("sh", &["-c", off])?,
            }
        }
        let pid = link.store.id().to_string();
        run("ip", &["link", "set", "lo", "up"])?;
        run("ip", &["link", "add", NEAR, "type", "veth", "peer", "name", FAR, "netns", &pid])?;
        run("ip", &["addr", "add", &format!("{HQ}/24"), "dev", NEAR])?;
        run("ip", &["link", "set", NEAR, "gso_max_segs", "1", "up"])?;
        link.there("ip", &["link", "set", "lo", "up"])?;
        link.there("ip", &["addr", "add", &format!("{STORE}/24"), "dev", FAR])?;
        link.there("ip", &["link", "set", FAR, "gso_max_segs", "1", "up"])?;
        Ok(link)
    }

    fn wait_for_namespace(&self, own: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let theirs = format!("/proc/{}/ns/net", self.store.id());
        while std::fs::read_link(&theirs).is_ok_and(|theirs| theirs == own) {
            ensure!(Instant::now() < deadline, "unshare made no namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// A command that runs at the store's end.
    pub(crate) fn command(&self, program: &Path) -> Result<Command> {
        let mut command = Command::new(need_program("nsenter")?);
        command.args(["-t", &self.store.id().to_string(), "--net", "--"]).arg(program);
        Ok(command)
    }

    fn there(&self, program: &str, args: &[&str]) -> Result<()> {
        let output = self.command(&need_program(program)?)?.args(args).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {}: {}", args.join(" "), said.trim());
        Ok(())
    }

    /// Limits both directions to so many bits per second.
    pub(crate) fn shape(&self, bits_per_s: u32) -> Result<()> {
        let rate = format!("{bits_per_s}bit");
        let rule = ["root", "tbf", "rate", &rate, "burst", "3000", "latency", "200ms"];
        run("tc", &[&["qdisc", "replace", "dev", NEAR][..], &rule].concat())?;
        self.there("tc", &[&["qdisc", "replace", "dev", FAR][..], &rule].concat())
    }

    /// What passed since the line was laid.
    pub(crate) fn passed(&self) -> Result<Passed> {
        let text = std::fs::read_to_string("/proc/self/net/dev")?;
        for line in text.lines() {
            let Some((name, counts)) = line.split_once(':') else { continue };
            if name.trim() != NEAR {
                continue;
            }
            let counts: Vec<u64> = counts.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
            let at = |index: usize| counts.get(index).copied().context("a short line in /proc/net/dev");
            let (up, up_frames, down, down_frames) = (at(0)?, at(1)?, at(8)?, at(9)?);
            return Ok(Passed {
                up: up - ETHERNET * up_frames,
                down: down - ETHERNET * down_frames,
                packets: up_frames + down_frames,
            });
        }
        bail!("interface {NEAR} is gone")
    }
}
