//! Start, jobs, snapshots and stop of the host side.
//!
//! Contract
//! * [`start`] returns with every driver running or with an error and none running. It needs no runtime of the caller.
//! * A job is either refused at once with [`HostBusy`] or answered by exactly one result event; a stop answers nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drv_protocol::profile::Profile;
use tokio::sync::mpsc;

use crate::advice::Road;
use crate::ble::BleDriver;
use crate::bus::{BusDriver, BusOrder};
use crate::config::{BusConfig, BusKind, HostConfig, lost_after};
use crate::error::{HostBusy, HostError};
use crate::event::{DeviceEvent, SteamerOrder, TagJob};
use crate::hotplug;
use crate::registry::{Desk, DeviceClass, DeviceHealth, RawFrame, Registry};
use crate::scale::ScaleDriver;
use crate::supervise::spawn;
use crate::trace;
use crate::w1::W1Driver;

/// Steamer orders that wait for one bus.
pub const ORDERS_MAX: usize = 16;
/// Tag jobs that wait for the adapter.
pub const TAG_JOBS_MAX: usize = 512;
/// Longest wait for the drivers' threads when stopping.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The running host side.
pub struct Host {
    registry: Arc<Registry>,
    orders: BTreeMap<Arc<str>, SyncSender<BusOrder>>,
    tags: Option<mpsc::Sender<TagJob>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts one supervised driver per bus, port and adapter of the configuration.
///
/// # Errors
/// A configuration that contradicts itself, or a thread that the system refuses.
pub fn start(
    config: &HostConfig,
    profiles: &BTreeMap<String, Profile>,
    events: mpsc::Sender<DeviceEvent>,
) -> Result<Host, HostError> {
    for (name, profile) in profiles {
        let fault =
            |e: &dyn std::fmt::Display| HostError::Profile { name: name.clone(), reason: e.to_string() };
        profile.check().map_err(|e| fault(&e))?;
    }
    config.check(profiles)?;
    let registry = Arc::new(Registry::new(devices(config)).placed(roads(config).into_iter()));
    let mut host = Host { registry, orders: BTreeMap::new(), tags: None, threads: Vec::new() };
    let started = host.start_drivers(config, profiles, &events);
    match started.and_then(|()| hotplug::spawn(config, host.registry.clone())) {
        Ok(watch) => host.threads.extend(watch),
        Err(error) => {
            host.registry.ask_stop();
            return Err(error);
        }
    }
    Ok(host)
}

fn devices(config: &HostConfig) -> impl Iterator<Item = (Arc<str>, DeviceClass, u64)> {
    let id = |text: &str| Arc::<str>::from(text);
    let tag_lost = config.ble.as_ref().map_or(0, |ble| u64::from(ble.lost_after_ms));
    let scales = config.scale.iter().map(move |d| {
        (id(&d.id), DeviceClass::Scale, lost_after(d.poll_ms.max(d.min_gap_ms), d.lost_after_ms))
    });
    let cabinets = config
        .cabinet
        .iter()
        .map(move |d| (id(&d.id), DeviceClass::Cabinet, lost_after(d.poll_ms, d.lost_after_ms)));
    let steamers = config
        .steamer
        .iter()
        .map(move |d| (id(&d.id), DeviceClass::Steamer, lost_after(d.poll_ms, d.lost_after_ms)));
    let tags = config.tag.iter().map(move |d| (id(&d.id), DeviceClass::Tag, tag_lost));
    scales.chain(cabinets).chain(steamers).chain(tags)
}

/// What leads to each configured device.
fn roads(config: &HostConfig) -> Vec<(Arc<str>, Road)> {
    let mut roads: Vec<(Arc<str>, Road)> = Vec::new();
    let mut add = |id: &str, road| roads.push((Arc::from(id), road));
    let unit = |bus: &str, unit: u8| {
        let found = config.bus.iter().find(|entry| entry.id == bus);
        found.map_or(Road::Unknown, |entry| {
            let bus = bus.to_owned();
            match entry.kind {
                BusKind::ModbusRtu => Road::Rtu { bus, port: entry.port.clone().unwrap_or_default(), unit },
                BusKind::ModbusTcp => {
                    Road::Tcp { bus, address: entry.address.clone().unwrap_or_default(), unit }
                }
            }
        })
    };
    for scale in &config.scale {
        add(&scale.id, Road::Serial { port: scale.port.clone() });
    }
    for cabinet in &config.cabinet {
        match (&cabinet.bus, cabinet.unit, &cabinet.w1) {
            (Some(bus), Some(address), _) => add(&cabinet.id, unit(bus, address)),
            (_, _, Some(sensor)) => add(&cabinet.id, Road::OneWire { sensor: sensor.clone() }),
            _ => {}
        }
    }
    for steamer in &config.steamer {
        add(&steamer.id, unit(&steamer.bus, steamer.unit));
    }
    for tag in &config.tag {
        add(&tag.id, Road::Ble { address: tag.address.clone() });
    }
    roads
}

impl Host {
    fn start_drivers(
        &mut self,
        config: &HostConfig,
        profiles: &BTreeMap<String, Profile>,
        events: &mpsc::Sender<DeviceEvent>,
    ) -> Result<(), HostError> {
        for scale in &config.scale {
            let id: Arc<str> = Arc::from(scale.id.as_str());
            let driver = ScaleDriver::new(id.clone(), scale);
            let desk = self.desk(events);
            self.threads.push(spawn(&scale.id, vec![id], driver, desk)?);
        }
        for bus in &config.bus {
            self.start_bus(bus, config, profiles, events)?;
        }
        let probes: Vec<_> = config.cabinet.iter().filter(|c| c.w1.is_some()).collect();
        if !probes.is_empty() {
            let driver = W1Driver::new(&config.w1.clone().unwrap_or_default(), &probes);
            let desk = self.desk(events);
            self.threads.push(spawn("1-wire", driver.devices(), driver, desk)?);
        }
        if let Some(ble) = config.ble.as_ref().filter(|_| !config.tag.is_empty()) {
            let (sender, jobs) = mpsc::channel(TAG_JOBS_MAX);
            let driver = BleDriver::new(ble.clone(), &config.tag, jobs);
            let desk = self.desk(events);
            self.threads.push(spawn("ble", driver.devices(), driver, desk)?);
            self.tags = Some(sender);
        }
        Ok(())
    }

    fn start_bus(
        &mut self,
        bus: &BusConfig,
        config: &HostConfig,
        profiles: &BTreeMap<String, Profile>,
        events: &mpsc::Sender<DeviceEvent>,
    ) -> Result<(), HostError> {
        let (sender, orders) = sync_channel(ORDERS_MAX);
        let driver = BusDriver::new(bus, config, profiles, orders);
        let devices = driver.devices();
        if devices.is_empty() {
            return Ok(());
        }
        for steamer in config.steamer.iter().filter(|s| s.bus == bus.id) {
            self.orders.insert(Arc::from(steamer.id.as_str()), sender.clone());
        }
        let desk = self.desk(events);
        self.threads.push(spawn(&bus.id, devices, driver, desk)?);
        Ok(())
    }

    fn desk(&self, events: &mpsc::Sender<DeviceEvent>) -> Desk {
        Desk::new(self.registry.clone(), events.clone())
    }

    /// Queues an image for a tag; [`crate::DeviceBody::TagWritten`] answers it.
    ///
    /// # Errors
    /// Unknown tag, full queue, or a stopped adapter; nothing happens then.
    pub fn write_tag(&self, job: TagJob) -> Result<(), HostBusy> {
        let class = self.registry.class(&job.tag);
        let Some(tags) = self.tags.as_ref().filter(|_| class == Some(DeviceClass::Tag)) else {
            return Err(HostBusy::Unknown { class: "tag", device: job.tag.to_string() });
        };
        tags.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => HostBusy::Full { owner: "ble".to_owned() },
            mpsc::error::TrySendError::Closed(_) => HostBusy::Stopped { owner: "ble".to_owned() },
        })
    }

    /// Queues an order for a steamer ahead of all polling; [`crate::DeviceBody::SteamerCommand`] answers it.
    ///
    /// # Errors
    /// Unknown steamer, full queue, or a stopped bus; nothing happens then.
    pub fn command_steamer(&self, device: &str, job: u64, order: SteamerOrder) -> Result<(), HostBusy> {
        let Some((id, orders)) = self.orders.get_key_value(device) else {
            return Err(HostBusy::Unknown { class: "steamer", device: device.to_owned() });
        };
        let entry = BusOrder { device: id.clone(), job, order };
        orders.try_send(entry).map_err(|error| match error {
            TrySendError::Full(_) => HostBusy::Full { owner: device.to_owned() },
            TrySendError::Disconnected(_) => HostBusy::Stopped { owner: device.to_owned() },
        })
    }

    /// The present health of every configured device, in name order.
    #[must_use]
    pub fn health(&self) -> Vec<DeviceHealth> {
        self.registry.health()
    }

    /// The last raw frames of a device, oldest first; empty for an unknown device.
    #[must_use]
    pub fn frames(&self, device: &str) -> Vec<RawFrame> {
        self.registry.frames(device).unwrap_or_default()
    }

    /// What the frames of a device travel on: `serial`, `modbus-rtu`, `modbus-tcp`, `w1`, `ble`, or `unknown`.
    #[must_use]
    pub fn wire(&self, device: &str) -> &'static str {
        match self.registry.road(device).unwrap_or_default() {
            Road::Unknown => "unknown",
            Road::Serial { .. } => "serial",
            Road::Rtu { .. } => "modbus-rtu",
            Road::Tcp { .. } => "modbus-tcp",
            Road::OneWire { .. } => "w1",
            Road::Ble { .. } => "ble",
        }
    }

    /// What a frame of a device says, in one line for a technician.
    #[must_use]
    pub fn explain(&self, device: &str, frame: &RawFrame) -> String {
        trace::explain(&self.registry.road(device).unwrap_or_default(), frame.way, &frame.bytes)
    }

    /// Stops all drivers. Takes [`STOP_LIMIT`] at most; a thread that a kernel call holds longer is left to end by itself.
    pub async fn stop(mut self) {
        self.registry.ask_stop();
        let deadline = Instant::now() + STOP_LIMIT;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            if Instant::now() >= deadline {
                let held = self.threads.iter().filter(|t| !t.is_finished()).filter_map(|t| t.thread().name());
                tracing::warn!("left behind at stop: {}", held.collect::<Vec<_>>().join(", "));
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                tracing::error!("a driver's supervisor panicked");
            }
        }
    }
}

impl Drop for Host {
    /// Without [`Host::stop`] the drivers are asked to end and end by themselves.
    fn drop(&mut self) {
        self.registry.ask_stop();
    }
}
