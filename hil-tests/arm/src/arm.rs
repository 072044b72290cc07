//! The ARM rig: the packaged program on an emulated machine, with a store around it.

use crate::disk::{Counts, Disk};
use crate::image::Image;
use crate::machine::{Machine, Plugs};
use crate::store::{Outside, Till};
use anyhow::{Context, Result, bail, ensure};
use hil_release::cross::{self, Built};
use hil_release::deb;
use hil_release::elf::Elf;
use hil_release::order;
use hil_release::target::Target;
use hil_release::toolchain::Toolchain;
use hil_rig::http::{self, Server};
use hil_rig::processes::find_program;
use hil_rig::run;
use hil_trials::{Bench, Suite, Trial, Verdict};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Most that the agent may keep in memory, in kilobytes.
const PSS_MAX_KB: u64 = 12 * 1024;
/// Size of the disk with the ledger.
const DISK_BYTES: usize = 96 * 1024 * 1024;
/// How long the store trades before it is measured or cut.
const TRADE: Duration = Duration::from_secs(40);
/// How long anything may take that an emulated machine does.
const LIMIT: Duration = Duration::from_secs(600);

/// The trials.
pub fn suite() -> Suite {
    let trial = |name, shows, run| Trial { name, shows, run };
    Suite {
        rig: "arm",
        trials: vec![
            trial(
                "cross",
                "the cross-built program: machine, static or glibc floor, stripped, size",
                cross_built,
            ),
            trial(
                "trade",
                "arm64 kernel, systemd, package: start, small store under load, settlement, memory, processor time",
                trade,
            ),
            trial(
                "power-cut",
                "the plug is pulled under load on a disk that loses what was not flushed: every acknowledged ticket is there",
                power_cut,
            ),
        ],
    }
}

/// The program for arm64, by the user's way or Debian's.
fn built(bench: &Bench<'_>) -> Result<Built> {
    let toolchain = Toolchain::ready(Target::Aarch64Musl, false)?;
    if let Some(path) = std::env::var_os(order::PROGRAM).map(PathBuf::from) {
        return Ok(Built { elf: Elf::read(&path)?, path, toolchain, took: 0.0 });
    }
    cross::program(&bench.place.root, &toolchain, "edge-agent")
}

fn cross_built(bench: &Bench<'_>) -> Result<Verdict> {
    let built = built(bench)?;
    let faults = cross::faults(&built);
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    let missed =
        cross::missed_aim(&built).map(|missed| format!("; aim missed: {missed}")).unwrap_or_default();
    Ok(Verdict::Passed(format!("{}, {}{missed}", built.toolchain.triple, built.elf.line())))
}

/// What the machine itself needs and cannot be had here.
fn missing() -> Option<String> {
    let root = run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root {
        return Some("the root file system is unpacked with its owners: needs root (or fakeroot)".into());
    }
    let packages = [
        ("qemu-system-aarch64", "qemu-system-arm"),
        ("mke2fs", "e2fsprogs"),
        ("mosquitto", "mosquitto"),
        ("systemd-sysusers", "systemd"),
    ];
    let absent = || {
        packages
            .iter()
            .filter(|(program, _)| find_program(program).is_none())
            .map(|(_, name)| *name)
            .collect::<Vec<_>>()
    };
    if absent().is_empty() {
        return None;
    }
    let tried = run::install(&absent());
    let absent = absent();
    let why = tried.err().map_or_else(String::new, |error| format!(": {error:#}"));
    (!absent.is_empty()).then(|| format!("not installed: {}{why}", absent.join(", ")))
}

/// Machine, disk and store of one trial.
struct Stand<'a> {
    bench: &'a Bench<'a>,
    outside: Outside,
    image: Image,
    disk: Disk,
    boots: u32,
}

impl<'a> Stand<'a> {
    async fn set_up(bench: &'a Bench<'a>) -> Result<Self> {
        let built = built(bench)?;
        let package = deb::repack(&bench.place.root, "steelyard", &built, env!("CARGO_PKG_VERSION"))?;
        let outside = Outside::start(&bench.folder, &bench.place.programs).await?;
        let extra = [("etc/steelyard/store.d/10-store.toml", outside.config()?)];
        let image = Image::make(&bench.place.cache, &bench.folder, &package, &extra)?;
        let disk = Disk::new(formatted(&bench.folder)?);
        Ok(Self { bench, outside, image, disk, boots: 0 })
    }

    fn power_on(&mut self) -> Result<Machine> {
        self.boots += 1;
        let plugs = Plugs {
            folder: &self.bench.folder,
            number: self.boots,
            tills: self.outside.tills,
            serial: &self.outside.serial,
        };
        Machine::start(&self.image, &self.disk, &plugs)
    }

    /// Waits until systemd has heard `READY=1`, and says how long the agent took, by the machine's clock.
    fn ready(&self, machine: &mut Machine) -> Result<Start> {
        let begun = Instant::now();
        loop {
            let state = machine.run("systemctl show -p ActiveState --value edge-agent.service")?;
            match state.trim() {
                "active" => break,
                // "inactive" is what it is before its turn comes.
                "failed" => {
                    let log = machine.run("journalctl -b -u edge-agent -n 40 --no-pager || true")?;
                    bail!("edge-agent.service is {}: {log}", state.trim());
                }
                _ if begun.elapsed() > LIMIT => bail!("edge-agent.service is still {}", state.trim()),
                _ => std::thread::sleep(Duration::from_millis(300)),
            }
        }
        let stamps = machine.run(
            "systemctl show -p ExecMainStartTimestampMonotonic -p ActiveEnterTimestampMonotonic --value edge-agent.service",
        )?;
        let mut stamps = stamps.lines().filter_map(|line| line.trim().parse::<u64>().ok());
        let (Some(a), Some(b)) = (stamps.next(), stamps.next()) else { bail!("systemd names no times") };
        Ok(Start { begun_us: a.min(b), ready_ms: a.abs_diff(b) / 1000 })
    }

    /// Seconds of the machine's clock from the agent's start until a device has a reading.
    async fn first_reading(&self, machine: &mut Machine, start: &Start) -> Result<f64> {
        let server = Server::Loopback(self.outside.tills);
        let read = || async {
            let Ok(answer) = http::get(&server, "/v1/devices").await else { return false };
            let body = answer.json();
            body["devices"]
                .as_array()
                .is_some_and(|list| list.iter().any(|device| !device["reading"].is_null()))
        };
        hil_rig::until("the first reading of a device", LIMIT, read).await?;
        let now = machine.run("cut -d' ' -f1 /proc/uptime")?;
        let now: f64 = now.trim().parse().context("the machine's uptime")?;
        Ok(now - Duration::from_micros(start.begun_us).as_secs_f64())
    }

    /// Sells and weighs for a while; gives tickets a second.
    async fn trade(&self, till: &mut Till, time: Duration) -> Result<f64> {
        let begun = Instant::now();
        let before = till.acknowledged.len();
        let mut round = 0;
        while begun.elapsed() < time {
            if u128::from(round) < begun.elapsed().as_millis() / 4_000 {
                round += 1;
                self.outside.weigh(round);
            }
            till.sell(self.outside.tills).await?;
            // A small store sells a ticket every 50 s: this is some forty times its load.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let sold = u32::try_from(till.acknowledged.len() - before).unwrap_or(u32::MAX);
        Ok(f64::from(sold) / begun.elapsed().as_secs_f64())
    }

    /// Waits until HQ has every acknowledged ticket, and gives how many facts it has.
    async fn settled(&self, till: &Till) -> Result<usize> {
        let begun = Instant::now();
        loop {
            let events = self.outside.at_hq(&till.epochs()).await?;
            let left = till.acknowledged.values().filter(|(_, id)| !events.contains_key(id)).count();
            if left == 0 {
                return Ok(events.len());
            }
            ensure!(begun.elapsed() < LIMIT, "{left} of {} tickets are not at HQ", till.acknowledged.len());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

/// When the agent was started and how long it took to be ready.
struct Start {
    begun_us: u64,
    ready_ms: u64,
}

/// An empty file system for the ledger.
fn formatted(folder: &Path) -> Result<Vec<u8>> {
    let file = folder.join("data.ext4");
    std::fs::write(&file, vec![0; DISK_BYTES]).context("make the disk")?;
    run::run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-m", "0"]).arg(&file))?;
    let content = std::fs::read(&file).context("read the disk")?;
    std::fs::remove_file(&file).context("remove the disk's file")?;
    Ok(content)
}

/// Memory and processor time of the agent, read inside.
struct Cost {
    pss_kb: u64,
    rss_kb: u64,
    ticks: u64,
    at_s: f64,
}

fn cost(machine: &mut Machine) -> Result<Cost> {
    let text = machine.run(
        "p=$(systemctl show -p MainPID --value edge-agent.service); grep -E '^(Pss|Rss):' /proc/$p/smaps_rollup; \
         echo Ticks: $(cut -d' ' -f14,15 /proc/$p/stat); echo Up: $(cut -d' ' -f1 /proc/uptime)",
    )?;
    let numbers = |name: &str| -> Vec<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.split_whitespace().filter_map(|word| word.parse().ok()).collect())
            .unwrap_or_default()
    };
    let whole = |name: &str| -> Result<u64> {
        let sum: f64 = numbers(name).iter().sum();
        ensure!(sum > 0.0, "the machine does not say {name} {text}");
        // Kilobytes and clock ticks: far below 2^53.
        Ok(format!("{sum:.0}").parse()?)
    };
    let at_s = numbers("Up:").first().copied().context("the machine's uptime")?;
    Ok(Cost { pss_kb: whole("Pss:")?, rss_kb: whole("Rss:")?, ticks: whole("Ticks:")?, at_s })
}

/// What the agent's memory is, for whoever wants it smaller: the sums, and every mapping.
fn memory(machine: &mut Machine) -> Result<String> {
    machine.run(
        "p=$(systemctl show -p MainPID --value edge-agent.service); cat /sys/kernel/mm/transparent_hugepage/enabled; \
         grep -E '^(Threads|VmHWM)' /proc/$p/status; cat /proc/$p/smaps_rollup; \
         grep -E '^([0-9a-f]+-|(Pss|Anonymous|AnonHugePages): +[1-9])' /proc/$p/smaps",
    )
}

fn verified(machine: &mut Machine) -> Result<String> {
    let text = machine.run("edgectl --json ledger verify")?;
    ensure!(text.contains("\"ok\":true"), "the ledger does not verify: {text}");
    Ok(text.trim().to_owned())
}

fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start the runtime")?.block_on(work)
}

fn trade(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(reason) = missing() {
        return Ok(Verdict::Skipped(reason));
    }
    wait(async {
        let mut stand = Stand::set_up(bench).await?;
        let mut machine = stand.power_on()?;
        let start = stand.ready(&mut machine)?;
        let first = stand.first_reading(&mut machine, &start).await?;
        let mut till = Till::default();
        till.wait_for_prices(stand.outside.tills, LIMIT).await?;
        let before = cost(&mut machine)?;
        let rate = stand.trade(&mut till, TRADE).await?;
        let after = cost(&mut machine)?;
        std::fs::write(bench.folder.join("memory.txt"), memory(&mut machine)?)?;
        let facts = stand.settled(&till).await?;
        if std::env::var_os(order::TRACE).is_some() {
            // From here on the technician's commands run, which are the same program: they are not the daemon's day.
            machine.cut(&stand.disk, 1)?;
            return Ok(Verdict::Passed(format!("traced: {facts} facts at HQ; PSS {} kB", after.pss_kb)));
        }
        let devices = machine.run("edgectl --json device list | grep -o '\"state\":\"ok\"' | wc -l")?;
        let exposure = machine.run("systemd-analyze security edge-agent.service --no-pager | tail -1")?;
        verified(&mut machine)?;
        std::fs::write(bench.folder.join("status.txt"), machine.run("edgectl status; true")?)?;
        machine.cut(&stand.disk, 1)?;
        let busy = after.ticks.saturating_sub(before.ticks);
        let share = f64::from(u32::try_from(busy).unwrap_or(u32::MAX)) / (after.at_s - before.at_s);
        ensure!(after.pss_kb <= PSS_MAX_KB, "PSS is {} kB, at most {PSS_MAX_KB} kB", after.pss_kb);
        Ok(Verdict::Passed(format!(
            "kernel {}, systemd; ready {} ms and first reading {first:.1} s after start; {} tickets at {rate:.1}/s, slowest {} ms, \
             {facts} facts at HQ; PSS {} kB (RSS {}); {share:.0} % of one emulated core; {} devices ok; {}; ledger verified",
            stand.image.version,
            start.ready_ms,
            till.acknowledged.len(),
            till.slowest.as_millis(),
            after.pss_kb,
            after.rss_kb,
            devices.trim(),
            exposure.trim().trim_start_matches("→ "),
        )))
    })
}

fn power_cut(bench: &Bench<'_>) -> Result<Verdict> {
    if let Some(reason) = missing() {
        return Ok(Verdict::Skipped(reason));
    }
    wait(async {
        let mut stand = Stand::set_up(bench).await?;
        let mut till = Till::default();
        let mut cuts: Vec<Counts> = Vec::new();
        let mut machine = stand.power_on()?;
        stand.ready(&mut machine)?;
        till.wait_for_prices(stand.outside.tills, LIMIT).await?;
        for seed in 1..=2 {
            stand.trade(&mut till, TRADE / 2).await?;
            cuts.push(machine.cut(&stand.disk, seed)?);
            machine = stand.power_on()?;
            stand.ready(&mut machine)?;
            let outside = stand.outside.tills;
            till.wait_for_prices(outside, LIMIT).await?;
            till.check(outside).await?;
            verified(&mut machine)?;
        }
        let facts = stand.settled(&till).await?;
        let salvaged = machine.run("edgectl status; true")?;
        std::fs::write(bench.folder.join("status.txt"), &salvaged)?;
        ensure!(!salvaged.contains("salvaged"), "the ledger was salvaged after a cut: {salvaged}");
        let exposed: u64 = cuts.iter().map(|cut| cut.exposed).sum();
        let lost: u64 = cuts.iter().map(|cut| cut.lost).sum();
        Ok(Verdict::Passed(format!(
            "{} cuts: {exposed} sectors unflushed, {lost} of them lost; {} acknowledged tickets all there under their ids, \
             {facts} facts at HQ, ledger verified after each",
            cuts.len(),
            till.acknowledged.len()
        )))
    })
}
