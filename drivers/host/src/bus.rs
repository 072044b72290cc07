//! Owner of one Modbus bus: polls every unit by its profile, and lets orders jump the queue.
//!
//! Contract
//! * One exchange at a time. Whom the bus asks next is decided by [`drv_protocol::modbus::schedule`]: units keep their step,
//!   and a mute one is probed in idle time, or out of a bounded share of the bus's time where there is none.
//! * A visit to a device costs at most one timeout per unit it takes on the bus, and three timeouts in all: what has not been
//!   read by then waits for the next visit. A silent unit of a device whose other units answer sits out ever more visits. Values of class `slow` are read at every so-many-th visit only.
//! * An order waits for one visit at most. A start or set-point is written only with a permit from a reading made for it;
//!   a start is never written twice: when its confirmation is lost, the state that is read afterwards decides.
//! * A visit where everything failed gives no reading; a visit where something was read gives one with what is known.
//! * Nothing is ever read from unit 0, and nothing written to it unless the profile says that its device expects that.
//!
//! A serial bus waits on a thread of its own; all TCP buses are tasks of one thread ([`pool`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drv_protocol::modbus::schedule::{BusPlan, Outcome, Schedule, Turn, UnitPlan};
use drv_protocol::profile::Profile;
use tokio::sync::mpsc::Receiver;

use crate::config::{BusConfig, CabinetConfig, HostConfig};
use crate::event::DeviceBody;
use crate::health::Contact;
use crate::pace::Backoff;
use crate::registry::Desk;
use crate::supervise::{Driver, SLICE};
use crate::wire::{Wire, WireConfig};

mod inquiry;
mod orders;
pub(crate) mod pool;
mod station;

pub(crate) use inquiry::Sought;
pub use inquiry::{Found, Inquiry};
pub(crate) use orders::BusOrder;
use station::{Class, Depth, Seen, Station};

/// Undelivered results from which on no further order is started.
const BACKLOG_MAX: usize = 128;
/// Longest sleep of a bus whose thread also serves others: stop and silence are watched by the thread.
const TASK_SLICE: Duration = Duration::from_secs(1);
/// Thousandths of a full bus's time that probes of mute units may take.
const PROBE_PERMILLE: u16 = 50;
/// The shortest wait of a probe.
const PROBE_MIN: Duration = Duration::from_millis(50);
/// One part in so many of the longest answer time is forgotten at each answer.
const ANSWER_FORGET: u32 = 256;
/// Time between the first visits of two units behind one TCP address.
const TCP_SPACING_MS: u64 = 5;

/// Profiles without their worked examples, one copy for all devices that use them.
pub(crate) struct Shelf(BTreeMap<String, Arc<Profile>>);

impl Shelf {
    pub(crate) fn new(profiles: &BTreeMap<String, Profile>) -> Self {
        let bare = |profile: &Profile| {
            let (examples, write_examples, notes) = (Vec::new(), Vec::new(), Vec::new());
            Profile { examples, write_examples, notes, ..profile.clone() }
        };
        Self(profiles.iter().map(|(name, profile)| (name.clone(), Arc::new(bare(profile)))).collect())
    }

    /// The profile, with another address offset where the site has one.
    fn take(&self, name: &str, offset: Option<i32>) -> Option<Arc<Profile>> {
        let profile = self.0.get(name)?;
        match offset.filter(|offset| *offset != profile.address_offset) {
            None => Some(profile.clone()),
            Some(address_offset) => Some(Arc::new(Profile { address_offset, ..(**profile).clone() })),
        }
    }
}

/// One bus with its units.
pub(crate) struct Bus {
    id: String,
    wire: WireConfig,
    timeout: Duration,
    stations: Vec<Station>,
    schedule: Schedule,
    orders: Receiver<BusOrder>,
    inquiry: Option<Sought>,
    /// The longest that an answered read took here, forgotten slowly.
    answer: Duration,
    origin: Instant,
    ticked: Instant,
}

impl Bus {
    pub(crate) fn new(
        bus: &BusConfig,
        config: &HostConfig,
        shelf: &Shelf,
        orders: Receiver<BusOrder>,
    ) -> Self {
        let wire = WireConfig::new(bus);
        let interval = |poll_ms: u32| Duration::from_millis(poll_ms.into());
        let mute_max = interval(bus.mute_backoff_max_ms);
        let cabinet = |c: &CabinetConfig| {
            let profile = shelf.take(c.profile.as_deref()?, c.address_offset)?;
            Some(Station::new(&c.id, Class::Cabinet, c.unit?, profile, interval(c.poll_ms), mute_max))
        };
        let cabinets =
            config.cabinet.iter().filter(|c| c.bus.as_deref() == Some(&bus.id)).filter_map(cabinet);
        let steamers = config.steamer.iter().filter(|s| s.bus == bus.id).filter_map(|s| {
            let profile = shelf.take(&s.profile, None)?;
            Some(Station::new(&s.id, Class::Steamer, s.unit, profile, interval(s.poll_ms), mute_max))
        });
        let stations: Vec<Station> = cabinets.chain(steamers).collect();
        let units: Vec<UnitPlan> = stations.iter().map(unit_plan).collect();
        let plan = BusPlan {
            probe_ms: bus.timeout_ms.into(),
            spacing_ms: spacing_ms(&wire, &stations),
            probe_max_ms: bus.mute_backoff_max_ms.into(),
            probe_permille: PROBE_PERMILLE,
        };
        let origin = Instant::now();
        Self {
            id: bus.id.clone(),
            wire,
            timeout: Duration::from_millis(bus.timeout_ms.into()),
            stations,
            schedule: Schedule::new(plan, &units, 0),
            orders,
            inquiry: None,
            answer: Duration::ZERO,
            origin,
            ticked: origin,
        }
    }

    pub(crate) fn devices(&self) -> Vec<Arc<str>> {
        self.stations.iter().map(|s| s.device.clone()).collect()
    }

    /// The wire must be waited for on a thread of its own.
    pub(crate) const fn blocks(&self) -> bool {
        self.wire.blocks()
    }

    /// The shortest poll interval of its devices.
    fn interval(&self) -> Duration {
        self.stations.iter().map(|station| station.interval).min().unwrap_or(TASK_SLICE)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Polls until the desk says stop; reopens the wire whenever it breaks.
    async fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(200, 5_000);
        while !desk.stopping() {
            let outcome = match self.wire.open().await {
                Ok(mut wire) => {
                    desk.reachable(self.stations.iter().map(|s| &s.device));
                    let outcome = self.serve(&mut wire, desk, &mut backoff).await;
                    self.stations.iter().for_each(|s| desk.count(&s.device, |c| &mut c.reopened));
                    outcome
                }
                Err(reason) => Err(reason),
            };
            let Err(reason) = outcome else { return };
            desk.unreachable(self.stations.iter().map(|s| &s.device), &reason);
            let until = Instant::now() + backoff.pause();
            while !desk.stopping() && !desk.plugged() && Instant::now() < until {
                self.refuse_orders(desk, &reason);
                desk.flush();
                tokio::time::sleep(SLICE.min(until.saturating_duration_since(Instant::now()))).await;
            }
        }
    }

    async fn serve(&mut self, wire: &mut Wire, desk: &mut Desk, backoff: &mut Backoff) -> Result<(), String> {
        let mut open = true;
        while !desk.stopping() {
            desk.flush();
            self.tick(desk);
            let welcome = desk.backlog() < BACKLOG_MAX;
            if welcome && let Ok(order) = self.orders.try_recv() {
                self.execute(wire, desk, order).await?;
                continue;
            }
            let turn = self.schedule.next(self.now());
            if self.inquire(wire, desk, turn).await? {
                continue;
            }
            let until = match turn {
                Turn::Never => return Ok(()),
                Turn::Visit(index) => {
                    if self.visit(wire, desk, index, Depth::Due).await?.is_some() {
                        backoff.reset();
                    }
                    continue;
                }
                Turn::Probe(index) => {
                    self.visit(wire, desk, index, Depth::Probe).await?;
                    continue;
                }
                Turn::Wait(until) => until,
            };
            let quick = self.blocks() || desk.backlog() > 0;
            let slice = if quick { SLICE } else { TASK_SLICE };
            let wait = Duration::from_millis(until.saturating_sub(self.now())).min(slice);
            tokio::select! {
                biased;
                order = self.orders.recv(), if open && welcome => match order {
                    Some(order) => self.execute(wire, desk, order).await?,
                    None => open = false,
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// Lets silence become `Lost`. The thread of many buses does that for all of them.
    fn tick(&mut self, desk: &mut Desk) {
        if !self.blocks() || self.ticked.elapsed() < SLICE {
            return;
        }
        self.ticked = Instant::now();
        self.stations.iter().for_each(|s| desk.tick(&s.device));
    }

    /// Reads one device and reports. A steamer's reading is also returned.
    async fn visit(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        index: usize,
        depth: Depth,
    ) -> Result<Option<Seen>, String> {
        let Some(station) = self.stations.get_mut(index) else { return Ok(None) };
        let began = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let timeout =
            if depth == Depth::Probe { probe_timeout(self.answer, self.timeout) } else { self.timeout };
        let outcome = station.read(wire, desk, timeout, depth).await;
        if let Ok(visit) = &outcome
            && visit.slowest > Duration::ZERO
        {
            self.answer = visit.slowest.max(self.answer - self.answer / ANSWER_FORGET);
            let probe = probe_timeout(self.answer, self.timeout);
            self.schedule.set_probe_ms(u64::try_from(probe.as_millis()).unwrap_or(u64::MAX));
        }
        // A wire that breaks under a unit is its silence too, or the unit would be asked first again and again.
        let silent = outcome.as_ref().map_or(true, station::Visit::is_silent);
        let heard = if silent { Outcome::Silent } else { Outcome::Heard };
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.schedule.done(index, heard, began, now);
        let visit = outcome?;
        if silent {
            desk.contact(&station.device, &Contact::Timeout);
            return Ok(None);
        }
        // A probe that is answered is followed by a visit at once; one read alone is no reading.
        Ok(if depth == Depth::Probe || !visit.asked { None } else { station.report(&visit, desk) })
    }

    /// While the bus is down, orders are answered rather than kept: their caller decides anew later.
    fn refuse_orders(&mut self, desk: &mut Desk, reason: &str) {
        self.inquiry = None;
        while desk.backlog() < BACKLOG_MAX
            && let Ok(order) = self.orders.try_recv()
        {
            // Whoever inquires sees its channel close.
            if let BusOrder::Steamer { device, job, .. } = order {
                let result = Err(reason.to_owned());
                desk.report(&device, DeviceBody::SteamerCommand { job, result });
            }
        }
    }
}

fn unit_plan(station: &Station) -> UnitPlan {
    UnitPlan { interval_ms: u64::try_from(station.interval.as_millis()).unwrap_or(u64::MAX) }
}

/// How long a unit that has been silent is waited for: far longer than the units of this bus take, never longer than configured.
/// Healthy units keep the whole timeout, since a late answer would be heard in the place of somebody else's.
fn probe_timeout(answer: Duration, timeout: Duration) -> Duration {
    if answer.is_zero() { timeout } else { (answer * 4).max(PROBE_MIN).min(timeout) }
}

/// Units of one line stand close together, but never closer than a visit takes or than the interval has room for.
fn spacing_ms(wire: &WireConfig, stations: &[Station]) -> u64 {
    let visit = |station: &Station| -> u64 { station.reads().map(|count| wire.exchange_ms(count)).sum() };
    let visit = stations.iter().map(visit).max().unwrap_or(0);
    let least = if wire.blocks() { visit } else { TCP_SPACING_MS };
    let units = u64::try_from(stations.len().max(1)).unwrap_or(1);
    let interval = stations.iter().map(|station| unit_plan(station).interval_ms).min().unwrap_or(0);
    least.min(interval / units)
}

/// A bus on a thread of its own.
pub(crate) struct BusDriver(pub(crate) Bus);

impl Driver for BusDriver {
    fn devices(&self) -> Vec<Arc<str>> {
        self.0.devices()
    }

    fn run(&mut self, desk: &mut Desk) {
        match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(self.0.run(desk)),
            Err(error) => desk.unreachable(self.0.devices().iter(), &format!("no timer: {error}")),
        }
    }
}
