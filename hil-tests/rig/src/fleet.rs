//! Many simulated devices cheaply: whole Modbus buses and scales behind ports that look real.
//!
//! * [`cabinets`], [`steamers`] — a bus of units; one bus holds up to 247 units, each takes some hundred bytes
//! * [`serve`] — a bus behind a TCP port, as behind a gateway, also on a port that was served a moment ago
//! * [`plug_bus`], [`plug_scale`] — a bus or a scale behind a pseudo-terminal, one thread each
//!
//! Contract: a device acts only when it is asked, so a fleet costs what its polling costs. All devices live on
//! [`crate::clock::now_ms`]; all that is random comes from the seed.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use drv_sim::cabinet::CabinetConfig;
use drv_sim::steamer::SteamerConfig;
use drv_sim::{CabinetSim, ModbusSim, ScaleSim, SteamerSim};

use crate::RigError;
use crate::clock::now_ms;
use crate::modbus_tcp::ModbusTcp;
use crate::pty::FarEnd;

/// Units that one steamer takes.
pub const STEAMER_UNITS: u8 = 3;
/// How long a port may take to be free again.
const FREE_LIMIT: Duration = Duration::from_secs(10);

/// A bus of cabinets, one per unit.
#[must_use]
pub fn cabinets(units: RangeInclusive<u8>, config: CabinetConfig, seed: u64) -> Arc<Mutex<ModbusSim>> {
    let mut bus = ModbusSim::new(seed);
    for unit in units {
        bus.add_cabinet(unit, CabinetSim::new(config, 0));
    }
    Arc::new(Mutex::new(bus))
}

/// A bus of `count` steamers: units 1 to 3, 4 to 6, and so on.
#[must_use]
pub fn steamers(count: u8, config: SteamerConfig, seed: u64) -> Arc<Mutex<ModbusSim>> {
    let mut bus = ModbusSim::new(seed);
    for index in 0..count {
        bus.add_steamer(1 + index * STEAMER_UNITS, SteamerSim::new(config, 0));
    }
    Arc::new(Mutex::new(bus))
}

/// Serves a bus on a port. Whoever had the port may still be letting go of it: it is tried again for ten seconds.
pub async fn serve(port: u16, bus: &Arc<Mutex<ModbusSim>>) -> Result<ModbusTcp, RigError> {
    let started = Instant::now();
    loop {
        match ModbusTcp::start(port, Arc::clone(bus)).await {
            Err(_) if started.elapsed() < FREE_LIMIT => tokio::time::sleep(Duration::from_millis(50)).await,
            served => return served,
        }
    }
}

/// Plugs a serial bus in at `link`.
pub fn plug_bus(link: &Path, bus: &Arc<Mutex<ModbusSim>>) -> Result<FarEnd, RigError> {
    FarEnd::plug(link, Arc::clone(bus), |bus: &mut ModbusSim, _, bytes| {
        bus.receive_rtu(bytes, now_ms()).into_iter().flat_map(|answer| answer.bytes).collect()
    })
}

/// Plugs a scale in at `link`.
pub fn plug_scale(link: &Path, scale: &Arc<Mutex<ScaleSim>>) -> Result<FarEnd, RigError> {
    FarEnd::plug(link, Arc::clone(scale), |scale: &mut ScaleSim, _, bytes| scale.receive(bytes, now_ms()))
}
