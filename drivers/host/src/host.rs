//! Start, jobs, snapshots and stop of the host side.
//!
//! Contract
//! * [`start`] returns with every driver running or with an error and none running. It needs no runtime of the caller.
//! * A job is either refused at once with [`HostBusy`] or answered by exactly one result event; a stop answers nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use drv_protocol::advert::Address;
use drv_protocol::profile::Profile;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::advice::{BusAt, Road};
use crate::ble::{BleDriver, unsupported};
use crate::bus::pool::TcpPool;
use crate::bus::{Bus, BusDriver, BusOrder, Inquiry, Shelf};
use crate::config::{BusKind, CabinetConfig, HostConfig, TagFamily, lost_after};
use crate::error::{HostBusy, HostError};
use crate::event::{DeviceEvent, ScaleOrder, SteamerOrder, TagJob, TagOrder};
use crate::health::Counters;
use crate::hotplug;
use crate::i2c::I2cDriver;
use crate::registry::{Desk, DeviceClass, DeviceHealth, RawFrame, Registry};
use crate::scale::{ScaleDriver, ScaleJob};
use crate::supervise::{Driver as _, spawn};
use crate::trace;
use crate::w1::{W1Driver, round_ms};

/// Orders that wait for one bus or one scale.
pub const ORDERS_MAX: usize = 16;
/// Tag jobs that wait for the adapter.
pub const TAG_JOBS_MAX: usize = 512;
/// Longest wait for the drivers' threads when stopping.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The running host side.
pub struct Host {
    registry: Arc<Registry>,
    orders: BTreeMap<Arc<str>, mpsc::Sender<BusOrder>>,
    scales: BTreeMap<Arc<str>, SyncSender<ScaleJob>>,
    tags: Option<mpsc::Sender<TagOrder>>,
    families: BTreeMap<Arc<str>, TagFamily>,
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
    let registry = Arc::new(Registry::new(devices(config)).placed(roads(config)));
    let special = config.tag.iter().filter(|tag| tag.family != TagFamily::default());
    let families = special.map(|tag| (Arc::clone(&tag.id), tag.family)).collect();
    let mut host = Host {
        registry,
        orders: BTreeMap::new(),
        scales: BTreeMap::new(),
        tags: None,
        families,
        threads: Vec::new(),
    };
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
        (id(&d.id), DeviceClass::Scale, lost_after(d.poll_ms.max(d.line().min_gap_ms), d.lost_after_ms))
    });
    let wires = config.cabinet.iter().filter(|d| d.w1.is_some()).count();
    let cabinets = config.cabinet.iter().map(move |d| {
        let lost = match (&d.ble, &d.w1) {
            (Some(_), _) => d.lost_after_ms.map_or(tag_lost, u64::from),
            (_, Some(_)) => lost_after(d.poll_ms.max(round_ms(wires)), d.lost_after_ms),
            _ => lost_after(d.poll_ms, d.lost_after_ms),
        };
        (id(&d.id), DeviceClass::Cabinet, lost)
    });
    let steamers = config
        .steamer
        .iter()
        .map(move |d| (id(&d.id), DeviceClass::Steamer, lost_after(d.poll_ms, d.lost_after_ms)));
    let tags = config.tag.iter().map(move |d| (Arc::clone(&d.id), DeviceClass::Tag, tag_lost));
    scales.chain(cabinets).chain(steamers).chain(tags)
}

/// What leads to each configured device.
fn roads(config: &HostConfig) -> impl Iterator<Item = (Arc<str>, Road)> {
    let unit = move |bus: &str, unit: u8| {
        let found = config.bus.iter().find(|entry| entry.id == bus);
        found.map_or(Road::Unknown, |entry| {
            let bus = |at: &Option<String>| BusAt::boxed(bus, at.as_deref().unwrap_or_default());
            match entry.kind {
                BusKind::ModbusRtu => Road::Rtu { bus: bus(&entry.port), unit },
                BusKind::ModbusTcp => Road::Tcp { bus: bus(&entry.address), unit },
            }
        })
    };
    let scales = config
        .scale
        .iter()
        .map(|scale| (scale.id.as_str().into(), Road::Serial { port: scale.port.as_str().into() }));
    let cabinets = config.cabinet.iter().map(move |cabinet| {
        let road = match (&cabinet.bus, cabinet.unit) {
            (Some(bus), Some(address)) => unit(bus, address),
            _ => sensor_road(config, cabinet),
        };
        (cabinet.id.as_str().into(), road)
    });
    let steamers = config
        .steamer
        .iter()
        .map(move |steamer| (steamer.id.as_str().into(), unit(&steamer.bus, steamer.unit)));
    let tags = config.tag.iter().map(|tag| (Arc::clone(&tag.id), radio(tag.address.get())));
    scales.chain(cabinets).chain(steamers).chain(tags)
}

fn radio(address: Option<Address>) -> Road {
    // The configuration was checked: it is an address.
    address.map_or(Road::Unknown, |address| Road::Ble { address })
}

/// What leads to a cabinet that is on no Modbus bus.
fn sensor_road(config: &HostConfig, cabinet: &CabinetConfig) -> Road {
    if let Some(sensor) = &cabinet.w1 {
        return Road::OneWire { sensor: sensor.as_str().into() };
    }
    if let Some(source) = &cabinet.ble {
        return radio(Address::parse(&source.address));
    }
    let Some(source) = &cabinet.i2c else { return Road::Unknown };
    let bus = config.i2c.iter().find(|bus| bus.id == source.bus);
    Road::I2c { path: bus.map_or("", |bus| bus.path.as_str()).into(), address: source.address }
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
            let (sender, jobs) = sync_channel(ORDERS_MAX);
            let driver = ScaleDriver::new(id.clone(), scale, jobs);
            self.scales.insert(id.clone(), sender);
            let desk = self.desk(events);
            self.threads.push(spawn(&scale.id, driver, desk)?);
        }
        self.start_buses(config, profiles, events)?;
        let probes: Vec<_> = config.cabinet.iter().filter(|c| c.w1.is_some()).collect();
        if !probes.is_empty() {
            let driver = W1Driver::new(&config.w1.clone().unwrap_or_default(), &probes);
            let desk = self.desk(events);
            self.threads.push(spawn("1-wire", driver, desk)?);
        }
        for bus in &config.i2c {
            let driver = I2cDriver::new(bus, &config.cabinet);
            if !driver.devices().is_empty() {
                self.threads.push(spawn(&bus.id, driver, self.desk(events))?);
            }
        }
        let air = !config.tag.is_empty() || config.cabinet.iter().any(|c| c.ble.is_some());
        if let Some(ble) = config.ble.as_ref().filter(|_| air) {
            let (sender, jobs) = mpsc::channel(TAG_JOBS_MAX);
            let driver = BleDriver::new(ble.clone(), &config.tag, &config.cabinet, jobs);
            let desk = self.desk(events);
            self.threads.push(spawn("ble", driver, desk)?);
            self.tags = Some(sender);
        }
        Ok(())
    }

    /// One thread per serial bus, one for all TCP buses.
    fn start_buses(
        &mut self,
        config: &HostConfig,
        profiles: &BTreeMap<String, Profile>,
        events: &mpsc::Sender<DeviceEvent>,
    ) -> Result<(), HostError> {
        let shelf = Shelf::new(profiles);
        let mut pool = Vec::new();
        for bus in &config.bus {
            let (sender, orders) = mpsc::channel(ORDERS_MAX);
            let owner = Bus::new(bus, config, &shelf, orders);
            let devices = owner.devices();
            if devices.is_empty() {
                continue;
            }
            self.orders.extend(devices.iter().map(|device| (device.clone(), sender.clone())));
            let desk = self.desk(events);
            if owner.blocks() {
                self.threads.push(spawn(&bus.id, BusDriver(owner), desk)?);
            } else {
                pool.push((owner, desk));
            }
        }
        if !pool.is_empty() {
            self.threads.push(spawn("modbus-tcp", TcpPool(pool), self.desk(events))?);
        }
        Ok(())
    }

    fn desk(&self, events: &mpsc::Sender<DeviceEvent>) -> Desk {
        Desk::new(self.registry.clone(), events.clone())
    }

    /// Queues an image for a tag; [`crate::DeviceBody::TagWritten`] answers it.
    ///
    /// # Errors
    /// As [`Host::order_tag`].
    pub fn write_tag(&self, job: TagJob) -> Result<(), HostBusy> {
        self.order_tag(job.into())
    }

    /// Queues an order for a tag; [`crate::DeviceBody::TagWritten`] answers an image, [`crate::DeviceBody::TagDone`] the rest.
    ///
    /// # Errors
    /// Unknown tag, something its family cannot do, full queue, or a stopped adapter; nothing happens then.
    pub fn order_tag(&self, order: TagOrder) -> Result<(), HostBusy> {
        let known = self.registry.class(&order.tag) == Some(DeviceClass::Tag);
        let Some(tags) = self.tags.as_ref().filter(|_| known) else {
            return Err(HostBusy::Unknown { class: "tag", device: order.tag.to_string() });
        };
        let family = self.families.get(&order.tag).copied().unwrap_or_default();
        if let Some(reason) = unsupported(family, &order.work) {
            return Err(HostBusy::Unsupported { device: order.tag.to_string(), reason });
        }
        tags.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => HostBusy::Full { owner: "ble".to_owned() },
            TrySendError::Closed(_) => HostBusy::Stopped { owner: "ble".to_owned() },
        })
    }

    /// Queues an order for a steamer ahead of all polling; [`crate::DeviceBody::SteamerCommand`] answers it.
    ///
    /// # Errors
    /// Unknown steamer, full queue, or a stopped bus; nothing happens then.
    pub fn command_steamer(&self, device: &str, job: u64, order: SteamerOrder) -> Result<(), HostBusy> {
        let class = self.registry.class(device);
        let (id, orders) = self.bus_of(device, "steamer", class == Some(DeviceClass::Steamer))?;
        orders.try_send(BusOrder::Steamer { device: id, job, order }).map_err(|error| busy(&error, device))
    }

    /// Reads a device at every address offset that its manual may mean, between the polls of the others. The channel closes
    /// unanswered when the bus breaks or a newer inquiry takes its place.
    ///
    /// # Errors
    /// Unknown device, one that is not on a Modbus bus, full queue, or a stopped bus; nothing happens then.
    pub fn inquire(&self, device: &str) -> Result<oneshot::Receiver<Inquiry>, HostBusy> {
        let (id, orders) = self.bus_of(device, "Modbus device", true)?;
        let (answer, inquiry) = oneshot::channel();
        orders.try_send(BusOrder::Inquire { device: id, answer }).map_err(|error| busy(&error, device))?;
        Ok(inquiry)
    }

    fn bus_of(
        &self,
        device: &str,
        class: &'static str,
        fits: bool,
    ) -> Result<(Arc<str>, &mpsc::Sender<BusOrder>), HostBusy> {
        let found = self.orders.get_key_value(device).filter(|_| fits);
        let (id, orders) = found.ok_or_else(|| HostBusy::Unknown { class, device: device.to_owned() })?;
        Ok((id.clone(), orders))
    }

    /// Queues an order for a scale ahead of the next weight; [`crate::DeviceBody::ScaleCommand`] answers it.
    ///
    /// # Errors
    /// Unknown scale, full queue, or a stopped driver; nothing happens then.
    pub fn command_scale(&self, device: &str, job: u64, order: ScaleOrder) -> Result<(), HostBusy> {
        let Some(orders) = self.scales.get(device) else {
            return Err(HostBusy::Unknown { class: "scale", device: device.to_owned() });
        };
        orders.try_send(ScaleJob { job, order }).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(_) => HostBusy::Full { owner: device.to_owned() },
            std::sync::mpsc::TrySendError::Disconnected(_) => HostBusy::Stopped { owner: device.to_owned() },
        })
    }

    /// The present health of every configured device, in name order.
    #[must_use]
    pub fn health(&self) -> Vec<DeviceHealth> {
        self.registry.health()
    }

    /// What has been counted of one device since the start; `None` for one that is not configured.
    #[must_use]
    pub fn counters(&self, device: &str) -> Option<Counters> {
        self.registry.counters(device)
    }

    /// The last raw frames of a device, oldest first; empty for an unknown device.
    #[must_use]
    pub fn frames(&self, device: &str) -> Vec<RawFrame> {
        self.registry.frames(device).unwrap_or_default()
    }

    /// What the frames of a device travel on: `serial`, `modbus-rtu`, `modbus-tcp`, `w1`, `i2c`, `ble`, or `unknown`.
    #[must_use]
    pub fn wire(&self, device: &str) -> &'static str {
        match self.registry.road(device).unwrap_or_default() {
            Road::Unknown => "unknown",
            Road::Serial { .. } => "serial",
            Road::Rtu { .. } => "modbus-rtu",
            Road::Tcp { .. } => "modbus-tcp",
            Road::OneWire { .. } => "w1",
            Road::I2c { .. } => "i2c",
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

fn busy(error: &TrySendError<BusOrder>, device: &str) -> HostBusy {
    match error {
        TrySendError::Full(_) => HostBusy::Full { owner: device.to_owned() },
        TrySendError::Closed(_) => HostBusy::Stopped { owner: device.to_owned() },
    }
}

impl Drop for Host {
    /// Without [`Host::stop`] the drivers are asked to end and end by themselves.
    fn drop(&mut self) {
        self.registry.ask_stop();
    }
}
