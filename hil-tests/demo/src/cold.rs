//! Cold cabinets: forty of them, on Modbus TCP, on a serial bus and on 1-Wire, and the excursions that the script puts
//! them through.

use crate::random::Random;
use crate::tills::{Shop, locked};
use anyhow::{Context, Result};
use drv_protocol::MilliCelsius;
use drv_sim::cabinet::CabinetConfig;
use drv_sim::{CabinetMap, CabinetSim, ModbusSim, UnitFaults};
use hil_rig::clock::now_ms;
use hil_rig::fleet;
use hil_rig::http;
use hil_rig::modbus_tcp::ModbusTcp;
use hil_rig::pty::FarEnd;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Cabinets on Modbus TCP: units 1 to 30 of one gateway.
pub(crate) const ON_TCP: u8 = 30;
/// Cabinets on a serial Modbus bus: units 1 to 8.
pub(crate) const ON_SERIAL: u8 = 8;
/// Cabinets with a 1-Wire probe.
pub(crate) const ON_W1: u8 = 2;
/// All of them.
pub(crate) const CABINETS: u8 = ON_TCP + ON_SERIAL + ON_W1;

/// Upper limit of every cabinet.
pub(crate) const HIGH_MC: i32 = 5_000;
/// How long the limit must be broken before it is an alarm.
pub(crate) const DELAY_S: u32 = 3;
/// Recovery difference.
pub(crate) const DIFFERENCE_MC: i32 = 500;
/// Where the air goes in an excursion.
const EXCURSION: MilliCelsius = MilliCelsius(12_000);
/// Longest time that an excursion may go unnoticed: the delay, outages, starts and many polls on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where a cabinet's far end is.
#[derive(Clone, Copy)]
pub(crate) enum Address {
    /// Unit on the gateway.
    Net(u8),
    /// Unit on the serial bus.
    Line(u8),
    /// Number of the 1-Wire probe.
    Wire(u8),
}

/// Every cabinet.
pub(crate) struct Cold {
    tcp: Arc<Mutex<ModbusSim>>,
    port: u16,
    server: Mutex<Option<ModbusTcp>>,
    line: Arc<Mutex<ModbusSim>>,
    link: PathBuf,
    far_end: Mutex<Option<FarEnd>>,
    probes: Arc<Mutex<Vec<CabinetSim>>>,
    tree: PathBuf,
    unplugged: Arc<Mutex<BTreeSet<u8>>>,
    writer: JoinHandle<()>,
}

/// Name of a cabinet, counted from 0.
pub(crate) fn name(index: u8) -> String {
    format!("cold-{:02}", index + 1)
}

/// Name of a 1-Wire sensor's folder.
pub(crate) fn sensor(index: u8) -> String {
    format!("28-0000{:08x}", 0x0316_a270 + u32::from(index))
}

/// Where cabinet `index` is.
pub(crate) fn address(index: u8) -> Address {
    if index < ON_TCP {
        Address::Net(index + 1)
    } else if index < ON_TCP + ON_SERIAL {
        Address::Line(index - ON_TCP + 1)
    } else {
        Address::Wire(index - ON_TCP - ON_SERIAL)
    }
}

/// Two makes share the gateway: every fifth unit is a bare probe.
pub(crate) fn is_probe(unit: u8) -> bool {
    unit.is_multiple_of(5)
}

impl Cold {
    /// Serves the gateway on `port`, the serial bus at `link` and the 1-Wire tree under `tree`.
    pub(crate) async fn start(port: u16, link: &Path, tree: &Path, seed: u64) -> Result<Self> {
        let config = CabinetConfig { tau_ms: 2_000, ..CabinetConfig::default() };
        let probe = CabinetConfig { map: CabinetMap::GenericProbe, ..config };
        let mut tcp = ModbusSim::new(seed);
        for unit in 1..=ON_TCP {
            let config = if is_probe(unit) { probe } else { config };
            tcp.add_cabinet(unit, CabinetSim::new(config, 0));
        }
        let tcp = Arc::new(Mutex::new(tcp));
        let mut bus = ModbusSim::new(seed.wrapping_add(1));
        for unit in 1..=ON_SERIAL {
            bus.add_cabinet(unit, CabinetSim::new(config, 0));
        }
        let line = Arc::new(Mutex::new(bus));
        let probes = (0..ON_W1).map(|_| CabinetSim::new(config, 0)).collect();
        let probes = Arc::new(Mutex::new(probes));
        let unplugged = Arc::new(Mutex::new(BTreeSet::new()));
        write_probes(tree, &probes, &unplugged).context("write the 1-Wire tree")?;
        let writer = tokio::spawn(keep_probes(tree.to_owned(), Arc::clone(&probes), Arc::clone(&unplugged)));
        let cold = Self {
            tcp,
            port,
            server: Mutex::new(None),
            line,
            link: link.to_owned(),
            far_end: Mutex::new(None),
            probes,
            tree: tree.to_owned(),
            unplugged,
            writer,
        };
        cold.plug_gateway().await?;
        cold.plug_line()?;
        Ok(cold)
    }

    /// Pulls the gateway's network cable.
    pub(crate) fn unplug_gateway(&self) {
        locked(&self.server).take();
    }

    /// Plugs it in.
    pub(crate) async fn plug_gateway(&self) -> Result<()> {
        let server = fleet::serve(self.port, &self.tcp).await.context("serve the cabinets")?;
        *locked(&self.server) = Some(server);
        Ok(())
    }

    /// Pulls the cable of the serial bus's adapter.
    pub(crate) fn unplug_line(&self) {
        locked(&self.far_end).take();
    }

    /// Plugs it in.
    pub(crate) fn plug_line(&self) -> Result<()> {
        let far_end = fleet::plug_bus(&self.link, &self.line).context("plug in the serial bus")?;
        *locked(&self.far_end) = Some(far_end);
        Ok(())
    }

    /// Takes a probe off the 1-Wire bus.
    pub(crate) fn unplug_probe(&self, probe: u8) {
        // Under the lock, so that the writer does not put the folder back.
        let mut unplugged = locked(&self.unplugged);
        unplugged.insert(probe);
        // A folder that is gone already is what is wanted.
        drop(std::fs::remove_dir_all(self.tree.join(sensor(probe))));
    }

    /// Puts it back.
    pub(crate) fn plug_probe(&self, probe: u8) {
        locked(&self.unplugged).remove(&probe);
    }

    fn with(&self, index: u8, act: impl FnOnce(&mut CabinetSim, u64)) {
        let now = now_ms();
        let act = |cabinet: Option<&mut CabinetSim>| {
            if let Some(cabinet) = cabinet {
                act(cabinet, now);
            }
        };
        match address(index) {
            Address::Net(unit) => act(locked(&self.tcp).cabinet_mut(unit)),
            Address::Line(unit) => act(locked(&self.line).cabinet_mut(unit)),
            Address::Wire(probe) => act(locked(&self.probes).get_mut(usize::from(probe))),
        }
    }

    /// Excursions and now and then a silence until told to stop, one after the other in this lane; each is carried to its end.
    pub(crate) async fn trouble(
        self: Arc<Self>,
        shop: Arc<Shop>,
        cabinets: Vec<u8>,
        pause_ms: (u64, u64),
        mut random: Random,
        mut stop: watch::Receiver<bool>,
    ) {
        for index in cabinets.into_iter().cycle() {
            let pause = random.millis(pause_ms.0, pause_ms.1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => {}
            }
            if *stop.borrow_and_update() {
                return;
            }
            if random.chance(250) && self.set_mute(index, true) {
                *shop.books().silences.entry(name(index)).or_default() += 1;
                wait_for_alarm(&shop, index, "lost", true, &mut random).await;
                self.set_mute(index, false);
                wait_for_alarm(&shop, index, "lost", false, &mut random).await;
                continue;
            }
            self.with(index, |cabinet, now| cabinet.begin_excursion(EXCURSION, now));
            *shop.books().excursions.entry(name(index)).or_default() += 1;
            // The cabinet stays warm until somebody must have noticed, then cools until that is noticed too.
            wait_for_alarm(&shop, index, "too-warm", true, &mut random).await;
            self.with(index, CabinetSim::end_excursion);
            wait_for_alarm(&shop, index, "too-warm", false, &mut random).await;
        }
    }

    /// Makes a controller answer nothing, or answer again; false for a probe, which cannot be mute.
    pub(crate) fn set_mute(&self, index: u8, mute: bool) -> bool {
        let faults = UnitFaults { mute, ..UnitFaults::default() };
        match address(index) {
            Address::Net(unit) => locked(&self.tcp).set_faults(unit, faults),
            Address::Line(unit) => locked(&self.line).set_faults(unit, faults),
            Address::Wire(_) => return false,
        }
        true
    }
}

/// Waits until the agent shows an active alarm of the cabinet, or none. The oracle judges the ledger; this only paces the
/// script, so running out of patience is a fault.
async fn wait_for_alarm(shop: &Shop, index: u8, kind: &str, active: bool, random: &mut Random) {
    let device = name(index);
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if let Ok(answer) = http::get(shop.counter.server(), "/v1/alarms").await
            && let Some(rows) = answer.json()["alarms"].as_array()
        {
            let active_now =
                |row: &Value| row["device"] == device && row["kind"] == kind && row["state"] != "returned";
            if rows.iter().any(active_now) == active {
                return;
            }
        }
        tokio::time::sleep(random.millis(150, 350)).await;
    }
    let what = if active { "raised" } else { "ended" };
    shop.books().fault(format!("{device} never {what} its alarm {kind}"));
}

impl Drop for Cold {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// Keeps the 1-Wire tree as warm as its probes.
async fn keep_probes(
    tree: PathBuf,
    probes: Arc<Mutex<Vec<CabinetSim>>>,
    unplugged: Arc<Mutex<BTreeSet<u8>>>,
) {
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tick.tick().await;
        // A tree that cannot be written shows as a lost probe, which the oracle sees.
        drop(write_probes(&tree, &probes, &unplugged));
    }
}

fn write_probes(
    tree: &Path,
    probes: &Mutex<Vec<CabinetSim>>,
    unplugged: &Mutex<BTreeSet<u8>>,
) -> std::io::Result<()> {
    let mut probes = locked(probes);
    let unplugged = locked(unplugged);
    for (index, probe) in (0_u8..).zip(probes.iter_mut()).filter(|(index, _)| !unplugged.contains(index)) {
        let folder = tree.join(sensor(index));
        std::fs::create_dir_all(&folder)?;
        let text = w1_slave(probe.temperature(now_ms()));
        std::fs::write(folder.join("new"), text)?;
        std::fs::rename(folder.join("new"), folder.join("w1_slave"))?;
    }
    Ok(())
}

/// The two lines that the kernel's w1_therm driver writes for a DS18B20: nine scratchpad bytes with the verdict on their
/// checksum, and the temperature.
pub(crate) fn w1_slave(temperature: MilliCelsius) -> String {
    let sixteenths = i16::try_from((i64::from(temperature.0) * 16).div_euclid(1000)).unwrap_or_default();
    let [low, high] = sixteenths.to_le_bytes();
    let mut bytes = vec![low, high, 0x4B, 0x46, 0x7F, 0xFF, 0x0C, 0x10];
    bytes.push(crc8(&bytes));
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.join(" ");
    let milli = i32::from(sixteenths) * 1000 / 16;
    format!("{hex} : crc={:02x} YES\n{hex} t={milli}\n", bytes[8])
}

/// Dallas/Maxim CRC-8 (polynomial x^8 + x^5 + x^4 + 1, reflected).
fn crc8(bytes: &[u8]) -> u8 {
    let mut crc = 0_u8;
    for byte in bytes {
        crc ^= byte;
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x8C } else { crc >> 1 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_form_of_a_probe() {
        // Data sheet of the DS18B20, table 1: +25.0625 is 0191h, -10.125 is FF5Eh.
        assert!(w1_slave(MilliCelsius(25_063)).starts_with("91 01 "));
        assert!(w1_slave(MilliCelsius(-10_125)).starts_with("5e ff "));
        assert!(w1_slave(MilliCelsius(-10_125)).ends_with(" t=-10125\n"));
        // A checksum over bytes and their checksum is zero.
        let bytes = [0x28, 0x31, 0x8F, 0x1C];
        assert_eq!(crc8(&[bytes.as_slice(), &[crc8(&bytes)]].concat()), 0);
    }

    #[test]
    fn every_cabinet_has_one_address() {
        let on = |kind: fn(Address) -> bool| (0..CABINETS).filter(|index| kind(address(*index))).count();
        assert_eq!(on(|at| matches!(at, Address::Net(1..=30))), 30);
        assert_eq!(on(|at| matches!(at, Address::Line(1..=8))), 8);
        assert_eq!(on(|at| matches!(at, Address::Wire(0..=1))), 2);
    }
}
