//! One device on a bus: which reads are due, what was read, and what is reported of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use drv_protocol::MilliCelsius;
use drv_protocol::modbus::{Request, Response};
use drv_protocol::profile::{Image, Poll, PollClass, Profile, ValueFault};
use drv_protocol::steamer::SteamerReading;

use crate::event::{CabinetReading, DeviceBody};
use crate::health::Contact;
use crate::registry::{Desk, Way};
use crate::wire::{Wire, WireFault};

/// A visit may take so many answer timeouts; what is left then waits for the next visit.
const VISIT_TIMEOUTS_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Cabinet,
    Steamer,
}

/// How much of a device is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What is due, within the unit's time.
    Due,
    /// Everything, however long it takes: a permit rests on it.
    Whole,
    /// One read, to see whether anybody is there.
    Probe,
}

/// A read of the profile, and how many visits it still sits out.
struct Planned {
    poll: Poll,
    request: Request,
    rests: u16,
}

/// One of several units that a device takes on the bus, while it is silent and others of the device answer.
#[derive(Clone, Copy)]
struct Hushed {
    unit_offset: u8,
    /// Silent visits in a row.
    run: u8,
    /// Visits that it still sits out.
    rests: u16,
}

pub(super) struct Station {
    pub(super) device: Arc<str>,
    pub(super) class: Class,
    pub(super) unit: u8,
    pub(super) profile: Arc<Profile>,
    pub(super) interval: Duration,
    plan: Vec<Planned>,
    image: Image,
    hushed: Vec<Hushed>,
    /// The most visits that a silent unit of an answering device sits out.
    rests_max: u16,
}

/// What a visit found.
pub(super) struct Visit {
    pub(super) asked: bool,
    pub(super) answered: bool,
    pub(super) fault: Option<WireFault>,
    /// The longest that an answer took.
    pub(super) slowest: Duration,
}

impl Visit {
    /// Nothing at all was heard.
    pub(super) const fn is_silent(&self) -> bool {
        self.asked && !self.answered && matches!(self.fault, None | Some(WireFault::Silent))
    }
}

/// What a visit reported.
pub(super) enum Seen {
    Cabinet,
    Steamer(SteamerReading),
}

impl Seen {
    pub(super) fn running(&self) -> bool {
        matches!(self, Self::Steamer(reading) if reading.running)
    }
}

impl Station {
    pub(super) fn new(
        device: &str,
        class: Class,
        unit: u8,
        profile: Arc<Profile>,
        interval: Duration,
        mute_max: Duration,
    ) -> Self {
        let mut polls = profile.plan();
        // What is read at every visit comes first, so that a slow device loses the rest and not that.
        polls.sort_by_key(|poll| poll.class);
        let plan =
            polls.into_iter().map(|poll| Planned { poll, request: poll.request(), rests: 0 }).collect();
        let rests = mute_max.as_millis() / interval.as_millis().max(1);
        Self {
            device: Arc::from(device),
            class,
            unit,
            profile,
            interval,
            plan,
            image: Image::new(),
            hushed: Vec::new(),
            rests_max: u16::try_from(rests).unwrap_or(u16::MAX),
        }
    }

    /// How many addresses each read of an ordinary visit covers.
    pub(super) fn reads(&self) -> impl Iterator<Item = u16> + '_ {
        let fast = self.plan.iter().filter(|planned| planned.poll.class == PollClass::Fast);
        fast.map(|planned| planned.poll.count)
    }

    pub(super) async fn read(
        &mut self,
        wire: &mut Wire,
        desk: &Desk,
        timeout: Duration,
        depth: Depth,
    ) -> Result<Visit, String> {
        let begun = Instant::now();
        let mut visit = Visit { asked: false, answered: false, fault: None, slowest: Duration::ZERO };
        let mut mute = self.resting(depth);
        for index in 0..self.plan.len() {
            let Some(planned) = self.plan.get_mut(index) else { break };
            if planned.rests > 0 && depth != Depth::Whole {
                planned.rests -= 1;
                continue;
            }
            let poll = planned.poll;
            // An old word is not a reading, whatever becomes of the new one.
            self.image.forget(&poll);
            if mute.contains(&poll.unit_offset) {
                if !poll.optional {
                    visit.fault.get_or_insert(WireFault::Silent);
                }
                continue;
            }
            if depth == Depth::Due && begun.elapsed() >= timeout * VISIT_TIMEOUTS_MAX {
                continue;
            }
            let request = planned.request.clone();
            visit.asked = true;
            let sent = Instant::now();
            match self.exchange(wire, desk, poll.unit_offset, &request, timeout).await? {
                Ok(response) => {
                    visit.answered = true;
                    visit.slowest = visit.slowest.max(sent.elapsed());
                    self.image.absorb(&poll, &response);
                    self.rest(index);
                }
                Err(WireFault::Refused(_)) if poll.optional => {
                    visit.answered = true;
                    self.rest(index);
                }
                Err(fault) => {
                    let silent = matches!(fault, WireFault::Silent);
                    if silent {
                        mute.push(poll.unit_offset);
                        self.hush(poll.unit_offset);
                    }
                    // The most telling fault is kept: anything else says more than silence, and the silence of what the
                    // device may lack says nothing.
                    let told = matches!(visit.fault, Some(WireFault::Malformed(_) | WireFault::Refused(_)));
                    if !(told || silent && poll.optional) {
                        visit.fault = Some(fault);
                    }
                }
            }
            if depth == Depth::Probe {
                break;
            }
        }
        self.hushed.retain(|hushed| visit.answered && mute.contains(&hushed.unit_offset));
        Ok(visit)
    }

    /// The silent units of an answering device that sit this visit out. A device that is silent as a whole is the schedule's
    /// business.
    fn resting(&mut self, depth: Depth) -> Vec<u8> {
        let mut resting = Vec::new();
        for hushed in self.hushed.iter_mut().filter(|_| depth != Depth::Whole) {
            if hushed.rests > 0 {
                hushed.rests -= 1;
                resting.push(hushed.unit_offset);
            }
        }
        resting
    }

    /// After two silent visits a unit sits out ever more of them.
    fn hush(&mut self, unit_offset: u8) {
        let most = self.rests_max;
        match self.hushed.iter_mut().find(|hushed| hushed.unit_offset == unit_offset) {
            Some(hushed) => {
                hushed.run = hushed.run.saturating_add(1);
                hushed.rests = (1u16 << hushed.run.min(12)).min(most);
            }
            None => self.hushed.push(Hushed { unit_offset, run: 0, rests: 0 }),
        }
    }

    /// A slow read that was answered sits out the next visits.
    fn rest(&mut self, index: usize) {
        let visits = self.profile.slow_every.saturating_sub(1);
        if let Some(planned) = self.plan.get_mut(index)
            && planned.poll.class == PollClass::Slow
        {
            planned.rests = visits;
        }
    }

    /// One exchange; the outer error breaks the wire.
    pub(super) async fn exchange(
        &self,
        wire: &mut Wire,
        desk: &Desk,
        unit_offset: u8,
        request: &Request,
        timeout: Duration,
    ) -> Result<Result<Response, WireFault>, String> {
        let unit = self.unit.saturating_add(unit_offset);
        let exchange = wire.exchange(unit, request, timeout, self.profile.broadcast_writes).await;
        desk.frame(&self.device, Way::Sent, &exchange.sent);
        desk.frame(&self.device, Way::Received, &exchange.received);
        match exchange.outcome {
            Err(WireFault::Broken(reason)) => Err(reason),
            other => Ok(other),
        }
    }

    pub(super) fn report(&self, visit: &Visit, desk: &mut Desk) -> Option<Seen> {
        let values = self.profile.decode(&self.image);
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
                let suspect = match &view.temperature {
                    Err(ValueFault::OutOfRange { milli, .. }) => i32::try_from(*milli).ok().map(MilliCelsius),
                    _ => None,
                };
                let reading = CabinetReading {
                    value: view.temperature.ok(),
                    fault,
                    suspect,
                    state: view.state,
                    door_open: view.door_open,
                    alarms: self.raised(),
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

    /// Texts of the alarms that the device raises, by what was last read.
    fn raised(&self) -> Vec<String> {
        self.profile.raised(&self.image).map(|alarm| alarm.text.clone()).collect()
    }
}

pub(super) fn fault_text(fault: &WireFault) -> String {
    match fault {
        WireFault::Silent => "no answer".to_owned(),
        WireFault::Malformed(reason) => format!("bad answer: {reason}"),
        WireFault::Refused(reason) => format!("refused: {reason}"),
        WireFault::Broken(reason) => reason.clone(),
    }
}
