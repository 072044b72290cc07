//! Owner of one Modbus bus: polls every unit by its profile, and lets orders jump the queue.
//!
//! Contract
//! * One exchange at a time. The unit whose poll is due longest goes first, so nobody starves.
//! * A visit to a device costs at most one timeout per unit it takes on the bus, however many reads its profile has. A
//!   mute device is visited ever more rarely, up to `mute_backoff_max_ms`; its first answer ends that.
//! * An order waits for one visit at most. A start or set-point is written only with a permit from a reading made for it;
//!   a start is never written twice: when its confirmation is lost, the state that is read afterwards decides.
//! * A visit where everything failed gives no reading; a visit where something was read gives one with what is known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use drv_protocol::modbus::Response;
use drv_protocol::profile::{Image, Poll, Profile, Write};
use drv_protocol::steamer::{self, Permit, PermitLimits, SteamerReading};

use crate::config::{BusConfig, HostConfig};
use crate::event::{CabinetReading, DeviceBody, SteamerOrder};
use crate::health::Contact;
use crate::pace::Backoff;
use crate::registry::{Desk, Way};
use crate::supervise::{Driver, SLICE};
use crate::wire::{Wire, WireConfig, WireFault};

/// Undelivered results from which on no further order is started.
const BACKLOG_MAX: usize = 128;

/// An order on its way to a steamer.
#[derive(Debug, Clone)]
pub(crate) struct BusOrder {
    /// The steamer.
    pub(crate) device: Arc<str>,
    /// The caller's number.
    pub(crate) job: u64,
    /// What to do.
    pub(crate) order: SteamerOrder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Cabinet,
    Steamer,
}

struct Station {
    device: Arc<str>,
    class: Class,
    unit: u8,
    profile: Arc<Profile>,
    plan: Vec<Poll>,
    poll: Duration,
    due: Instant,
    silent_run: u32,
}

/// What a visit found.
struct Visit {
    image: Image,
    answered: bool,
    fault: Option<WireFault>,
}

/// Owner of one bus.
pub(crate) struct BusDriver {
    wire: WireConfig,
    timeout: Duration,
    mute_max: Duration,
    stations: Vec<Station>,
    orders: Receiver<BusOrder>,
    ticked: Instant,
}

impl BusDriver {
    pub(crate) fn new(
        bus: &BusConfig,
        config: &HostConfig,
        profiles: &BTreeMap<String, Profile>,
        orders: Receiver<BusOrder>,
    ) -> Self {
        let now = Instant::now();
        let station = |id: &str, class, unit, profile: &str, poll_ms: u32| {
            let profile = Arc::new(profiles.get(profile)?.clone());
            let plan = profile.plan();
            let poll = Duration::from_millis(poll_ms.into());
            Some(Station { device: Arc::from(id), class, unit, profile, plan, poll, due: now, silent_run: 0 })
        };
        let cabinets = config.cabinet.iter().filter(|c| c.bus.as_deref() == Some(&bus.id));
        let cabinets = cabinets
            .filter_map(|c| station(&c.id, Class::Cabinet, c.unit?, c.profile.as_deref()?, c.poll_ms));
        let steamers = config.steamer.iter().filter(|s| s.bus == bus.id);
        let steamers = steamers.filter_map(|s| station(&s.id, Class::Steamer, s.unit, &s.profile, s.poll_ms));
        Self {
            wire: WireConfig::new(bus),
            timeout: Duration::from_millis(bus.timeout_ms.into()),
            mute_max: Duration::from_millis(bus.mute_backoff_max_ms.into()),
            stations: cabinets.chain(steamers).collect(),
            orders,
            ticked: now,
        }
    }

    pub(crate) fn devices(&self) -> Vec<Arc<str>> {
        self.stations.iter().map(|s| s.device.clone()).collect()
    }

    fn serve(&mut self, wire: &mut Wire, desk: &mut Desk, backoff: &mut Backoff) -> Result<(), String> {
        let mut no_orders = false;
        while !desk.stopping() {
            desk.flush();
            self.tick(desk);
            if desk.backlog() < BACKLOG_MAX
                && let Ok(order) = self.orders.try_recv()
            {
                self.execute(wire, desk, &order)?;
                continue;
            }
            let Some(next) = (0..self.stations.len()).min_by_key(|&i| self.stations.get(i).map(|s| s.due))
            else {
                return Ok(());
            };
            let due = self.stations.get(next).map_or_else(Instant::now, |s| s.due);
            let wait = due.saturating_duration_since(Instant::now()).min(SLICE);
            if wait.is_zero() {
                if self.visit(wire, desk, next)?.is_some() {
                    backoff.reset();
                }
            } else if no_orders || desk.backlog() >= BACKLOG_MAX {
                std::thread::sleep(wait);
            } else {
                match self.orders.recv_timeout(wait) {
                    Ok(order) => self.execute(wire, desk, &order)?,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => no_orders = true,
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self, desk: &mut Desk) {
        if self.ticked.elapsed() < SLICE {
            return;
        }
        self.ticked = Instant::now();
        self.stations.iter().for_each(|s| desk.tick(&s.device));
    }

    /// Reads one device and reports. A steamer's reading is also returned.
    fn visit(&mut self, wire: &mut Wire, desk: &mut Desk, index: usize) -> Result<Option<Seen>, String> {
        let Some(station) = self.stations.get_mut(index) else { return Ok(None) };
        let begun = Instant::now();
        let visit = station.read(wire, desk, self.timeout)?;
        let quiet = !visit.answered && matches!(visit.fault, Some(WireFault::Silent));
        station.silent_run = if quiet { station.silent_run.saturating_add(1) } else { 0 };
        let stretch = 1u32 << station.silent_run.saturating_sub(1).min(16);
        let pause = station.poll.saturating_mul(stretch).min(self.mute_max.max(station.poll));
        station.due = begun + pause;
        if quiet {
            desk.contact(&station.device, &Contact::Timeout);
            return Ok(None);
        }
        Ok(station.report(&visit, desk))
    }

    fn execute(&mut self, wire: &mut Wire, desk: &mut Desk, order: &BusOrder) -> Result<(), String> {
        let outcome = self.attempt(wire, desk, order);
        let (result, broken) = match outcome {
            Ok(result) => (result, None),
            Err(reason) => (Err(reason.clone()), Some(reason)),
        };
        desk.report(&order.device, DeviceBody::SteamerCommand { job: order.job, result });
        broken.map_or(Ok(()), Err)
    }

    /// The outer error breaks the wire, the inner one is the order's own.
    fn attempt(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        order: &BusOrder,
    ) -> Result<Result<(), String>, String> {
        let Some(index) = self.stations.iter().position(|s| s.device == order.device) else {
            return Ok(Err(format!("{} is not on this bus", order.device)));
        };
        let writes = match self.permitted(wire, desk, index, order.order)? {
            Ok(writes) => writes,
            Err(reason) => return Ok(Err(reason)),
        };
        for write in &writes {
            let Some(station) = self.stations.get_mut(index) else { break };
            // What was just written shows up in the next reading, so that comes at once.
            station.due = Instant::now();
            let fault = match station.exchange(wire, desk, write.unit_offset, &write.request, self.timeout)? {
                Ok(_) => continue,
                Err(fault @ WireFault::Refused(_)) => fault,
                Err(fault) if order.order == SteamerOrder::Run => {
                    let running = self.visit(wire, desk, index)?.is_some_and(|seen| seen.running());
                    if running {
                        continue;
                    }
                    fault
                }
                // Writing a set-point or a stop again is harmless.
                Err(_) => {
                    match station.exchange(wire, desk, write.unit_offset, &write.request, self.timeout)? {
                        Ok(_) => continue,
                        Err(fault) => fault,
                    }
                }
            };
            return Ok(Err(fault_text(&fault)));
        }
        Ok(Ok(()))
    }

    /// The writes of an order, after the interlocks held on a reading made now.
    fn permitted(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        index: usize,
        order: SteamerOrder,
    ) -> Result<Result<Vec<Write>, String>, String> {
        let begun = Instant::now();
        let reading = match order {
            SteamerOrder::Stop => None,
            SteamerOrder::Run | SteamerOrder::SetPoint(_) => match self.whole_visit(wire, desk, index)? {
                Some(Seen::Steamer(reading)) => Some(reading),
                Some(Seen::Cabinet) => return Ok(Err("the device is a cabinet".to_owned())),
                None => return Ok(Err("the steamer does not answer".to_owned())),
            },
        };
        let Some(station) = self.stations.get(index) else { return Ok(Err("no such device".to_owned())) };
        let age_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let permit = match reading.map(|r| Permit::check(&r, age_ms, &PermitLimits::default())) {
            None => None,
            Some(Ok(permit)) => Some(permit),
            Some(Err(interlock)) => return Ok(Err(format!("interlock: {interlock}"))),
        };
        let writes = match (order, &permit) {
            (SteamerOrder::SetPoint(value), Some(permit)) => {
                steamer::set_point(permit, &station.profile, value)
            }
            (SteamerOrder::Run, Some(permit)) => steamer::run(permit, &station.profile),
            (SteamerOrder::Stop | SteamerOrder::SetPoint(_) | SteamerOrder::Run, _) => {
                steamer::stop(&station.profile)
            }
        };
        Ok(writes.map_err(|error| error.to_string()))
    }

    /// A visit, made again once when a single lost answer left the reading incomplete.
    fn whole_visit(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        index: usize,
    ) -> Result<Option<Seen>, String> {
        match self.visit(wire, desk, index)? {
            Some(Seen::Steamer(reading)) if !reading.inputs_known => self.visit(wire, desk, index),
            seen => Ok(seen),
        }
    }

    /// While the bus is down, orders are answered rather than kept: their caller decides anew later.
    fn refuse_orders(&self, desk: &mut Desk, reason: &str) {
        while desk.backlog() < BACKLOG_MAX
            && let Ok(order) = self.orders.try_recv()
        {
            let result = Err(reason.to_owned());
            desk.report(&order.device, DeviceBody::SteamerCommand { job: order.job, result });
        }
    }
}

/// What a visit reported.
enum Seen {
    Cabinet,
    Steamer(SteamerReading),
}

impl Seen {
    fn running(&self) -> bool {
        matches!(self, Self::Steamer(reading) if reading.running)
    }
}

impl Station {
    fn read(&mut self, wire: &mut Wire, desk: &mut Desk, timeout: Duration) -> Result<Visit, String> {
        let mut visit = Visit { image: Image::new(), answered: false, fault: None };
        let mut mute: Option<u8> = None;
        for index in 0..self.plan.len() {
            let Some(poll) = self.plan.get(index).copied() else { break };
            if mute == Some(poll.unit_offset) {
                continue;
            }
            match self.exchange(wire, desk, poll.unit_offset, &poll.request(), timeout)? {
                Ok(response) => {
                    visit.answered = true;
                    visit.image.absorb(&poll, &response);
                }
                Err(WireFault::Refused(_)) if poll.optional => visit.answered = true,
                Err(fault) => {
                    if matches!(fault, WireFault::Silent) {
                        mute = Some(poll.unit_offset);
                    }
                    // The most telling fault is kept: anything else says more than silence.
                    if !matches!(visit.fault, Some(WireFault::Malformed(_) | WireFault::Refused(_))) {
                        visit.fault = Some(fault);
                    }
                }
            }
        }
        Ok(visit)
    }

    /// One exchange; the outer error breaks the wire.
    fn exchange(
        &self,
        wire: &mut Wire,
        desk: &Desk,
        unit_offset: u8,
        request: &drv_protocol::modbus::Request,
        timeout: Duration,
    ) -> Result<Result<Response, WireFault>, String> {
        let unit = self.unit.saturating_add(unit_offset);
        let exchange = wire.exchange(unit, request, timeout);
        desk.frame(&self.device, Way::Sent, &exchange.sent);
        desk.frame(&self.device, Way::Received, &exchange.received);
        match exchange.outcome {
            Err(WireFault::Broken(reason)) => Err(reason),
            other => Ok(other),
        }
    }

    fn report(&self, visit: &Visit, desk: &mut Desk) -> Option<Seen> {
        let values = self.profile.decode(&visit.image);
        let view = self.profile.cabinet(&values);
        let wire_fault = visit.fault.as_ref().map(|fault| match fault {
            // Reported only when something else of the device did answer.
            WireFault::Silent => "part of the device does not answer".to_owned(),
            other => fault_text(other),
        });
        let probe_fault = view.temperature.as_ref().err().map(|e| format!("temperature: {e}"));
        let contact = match (&visit.fault, &wire_fault, &probe_fault) {
            (Some(WireFault::Malformed(_)), Some(reason), _) => Contact::Malformed(reason.clone()),
            (Some(_), Some(reason), _) => Contact::Refused(reason.clone()),
            (_, _, Some(reason)) => Contact::SensorFault(reason.clone()),
            _ => Contact::Good,
        };
        desk.contact(&self.device, &contact);
        match self.class {
            Class::Cabinet => {
                let fault = view.temperature.is_err().then(|| wire_fault.or(probe_fault).unwrap_or_default());
                let reading = CabinetReading {
                    value: view.temperature.ok(),
                    fault,
                    state: view.state,
                    door_open: view.door_open,
                };
                desk.report(&self.device, DeviceBody::Temperature(reading));
                visit.answered.then_some(Seen::Cabinet)
            }
            Class::Steamer => {
                let reading = SteamerReading::derive(&values);
                if visit.answered {
                    desk.report(&self.device, DeviceBody::Steamer(reading));
                }
                visit.answered.then_some(Seen::Steamer(reading))
            }
        }
    }
}

fn fault_text(fault: &WireFault) -> String {
    match fault {
        WireFault::Silent => "no answer".to_owned(),
        WireFault::Malformed(reason) => format!("bad answer: {reason}"),
        WireFault::Refused(reason) => format!("refused: {reason}"),
        WireFault::Broken(reason) => reason.clone(),
    }
}

impl Driver for BusDriver {
    fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(200, 5_000);
        while !desk.stopping() {
            let outcome = match self.wire.open() {
                Ok(mut wire) => {
                    desk.reachable(self.stations.iter().map(|s| &s.device));
                    let outcome = self.serve(&mut wire, desk, &mut backoff);
                    self.stations.iter().for_each(|s| desk.count(&s.device, |c| c.reopened += 1));
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
                std::thread::sleep(SLICE.min(until.saturating_duration_since(Instant::now())));
            }
        }
    }
}
