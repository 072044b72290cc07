//! Orders that jump the queue of a bus: steamer commands and inquiries.

use std::sync::Arc;
use std::time::Instant;

use drv_protocol::profile::Write;
use drv_protocol::steamer::{self, Permit, PermitLimits};
use tokio::sync::oneshot;

use super::station::fault_text;
use super::{Bus, Depth, Inquiry, Seen, Sought};
use crate::event::{DeviceBody, SteamerOrder};
use crate::registry::Desk;
use crate::wire::{Wire, WireFault};

/// An order on its way to a bus.
#[derive(Debug)]
pub(crate) enum BusOrder {
    /// To a steamer.
    Steamer {
        /// The steamer.
        device: Arc<str>,
        /// The caller's number.
        job: u64,
        /// What to do.
        order: SteamerOrder,
    },
    /// Reads that help to settle a profile on a device.
    Inquire {
        /// The device.
        device: Arc<str>,
        /// Where the answer goes; it closes unanswered when the bus breaks.
        answer: oneshot::Sender<Inquiry>,
    },
}

impl Bus {
    pub(super) async fn execute(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        order: BusOrder,
    ) -> Result<(), String> {
        let (device, job, order) = match order {
            BusOrder::Steamer { device, job, order } => (device, job, order),
            BusOrder::Inquire { device, answer } => {
                let index = self.stations.iter().position(|s| s.device == device);
                // A newer inquiry takes the place of an older one, whose asker sees its channel close.
                self.inquiry =
                    index.and_then(|index| Some(Sought::new(index, self.stations.get(index)?, answer)));
                return Ok(());
            }
        };
        let outcome = self.attempt(wire, desk, &device, order).await;
        let (result, broken) = match outcome {
            Ok(result) => (result, None),
            Err(reason) => (Err(reason.clone()), Some(reason)),
        };
        desk.report(&device, DeviceBody::SteamerCommand { job, result });
        broken.map_or(Ok(()), Err)
    }

    /// The outer error breaks the wire, the inner one is the order's own.
    async fn attempt(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        device: &Arc<str>,
        order: SteamerOrder,
    ) -> Result<Result<(), String>, String> {
        let Some(index) = self.stations.iter().position(|s| s.device == *device) else {
            return Ok(Err(format!("{device} is not on this bus")));
        };
        let writes = match self.permitted(wire, desk, index, order).await? {
            Ok(writes) => writes,
            Err(reason) => return Ok(Err(reason)),
        };
        for write in &writes {
            // What was just written shows up in the next reading, so that comes at once.
            self.schedule.expedite(index, self.now());
            let fault = match self.write(wire, desk, index, write).await? {
                Ok(()) => continue,
                Err(fault @ WireFault::Refused(_)) => fault,
                Err(fault) if order == SteamerOrder::Run => {
                    let seen = self.visit(wire, desk, index, Depth::Whole).await?;
                    if seen.is_some_and(|seen| seen.running()) {
                        continue;
                    }
                    fault
                }
                // Writing a set-point or a stop again is harmless.
                Err(_) => match self.write(wire, desk, index, write).await? {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
            };
            return Ok(Err(fault_text(&fault)));
        }
        Ok(Ok(()))
    }

    async fn write(
        &self,
        wire: &mut Wire,
        desk: &Desk,
        index: usize,
        write: &Write,
    ) -> Result<Result<(), WireFault>, String> {
        let Some(station) = self.stations.get(index) else { return Ok(Err(WireFault::Silent)) };
        let outcome = station.exchange(wire, desk, write.unit_offset, &write.request, self.timeout).await?;
        Ok(outcome.map(|_| ()))
    }

    /// The writes of an order, after the interlocks held on a reading made now.
    async fn permitted(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        index: usize,
        order: SteamerOrder,
    ) -> Result<Result<Vec<Write>, String>, String> {
        let begun = Instant::now();
        let reading = match order {
            SteamerOrder::Stop => None,
            SteamerOrder::Run | SteamerOrder::SetPoint(_) => match self.whole_visit(wire, desk, index).await?
            {
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
    async fn whole_visit(
        &mut self,
        wire: &mut Wire,
        desk: &mut Desk,
        index: usize,
    ) -> Result<Option<Seen>, String> {
        match self.visit(wire, desk, index, Depth::Whole).await? {
            Some(Seen::Steamer(reading)) if !reading.inputs_known => {
                self.visit(wire, desk, index, Depth::Whole).await
            }
            seen => Ok(seen),
        }
    }
}
