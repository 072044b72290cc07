//! One scale: readings -> latch -> weighing facts. The screen says accepted or ready only after the commit.

use super::{Desk, Done, Key};
use drv_host::{ScaleDone, ScaleOrder, ScaleReading};
use edge_api::DeviceReading;
use edge_core::weighing::{Latch, Reading, Work};
use std::collections::BTreeMap;
use sync_model::{DeviceId, Event, FactRef, Grams, Weighing};
use tokio::sync::oneshot;

/// What a scale said to an operator's order, or why it was not carried out.
pub(crate) type Told = Result<ScaleDone, String>;
/// Orders under way at one scale.
const ORDERS_MAX: usize = 16;

/// A configured scale.
pub(super) struct Scale {
    id: DeviceId,
    interval: Grams,
    latch: Latch,
    /// Who waits for which job.
    waiting: BTreeMap<u64, oneshot::Sender<Told>>,
}

/// Result of a latch job.
pub(super) struct Latched {
    result: Result<Option<FactRef>, String>,
}

/// Key of the latch state.
pub(super) fn state_key(id: &DeviceId) -> String {
    format!("scale/{id}")
}

impl Scale {
    pub(super) fn new(id: DeviceId, interval_g: u32, state: Option<&[u8]>) -> Self {
        let interval = Grams(i64::from(interval_g));
        let (latch, restored) = Latch::from_bytes(interval, state);
        if let edge_core::Restored::Damaged(damage) = restored {
            tracing::error!(scale = %id, %damage, "latch state is damaged: the pan must be seen empty first");
        }
        Self { id, interval, latch, waiting: BTreeMap::new() }
    }

    pub(super) fn reading(&mut self, desk: &Desk, reading: &ScaleReading, mono_ms: u64, wall_ms: i64) {
        let weight = &reading.weight;
        let net = weight.usable().or(weight.gross_or_net).map_or(Grams::ZERO, |grams| Grams(grams.0));
        let input = Reading {
            net,
            stable: weight.stable,
            usable: weight.usable().is_some(),
            centre_of_zero: weight.stable_zero(),
            age_ms: desk.daemon.clock.mono_ms().saturating_sub(mono_ms),
        };
        if let Some(work) = self.latch.step(&input) {
            self.submit(desk, work, reading, wall_ms);
        }
        self.show(desk);
    }

    /// Hands an operator's order to the driver, which answers it with its job number.
    pub(super) fn order(&mut self, desk: &Desk, order: ScaleOrder, answer: oneshot::Sender<Told>) {
        self.waiting.retain(|_, waiting| !waiting.is_closed());
        if self.waiting.len() >= ORDERS_MAX {
            drop(answer.send(Err(format!("{ORDERS_MAX} orders are under way"))));
            return;
        }
        let job = desk.job();
        match desk.daemon.host(|host| host.command_scale(self.id.as_str(), job, order)) {
            Some(Ok(())) => drop(self.waiting.insert(job, answer)),
            Some(Err(busy)) => drop(answer.send(Err(busy.to_string()))),
            None => drop(answer.send(Err("the drivers are not running".to_owned()))),
        }
    }

    /// The scale's answer to an order. Nobody listens when the client has gone.
    pub(super) fn told(&mut self, job: u64, told: Told) {
        if let Some(answer) = self.waiting.remove(&job) {
            drop(answer.send(told));
        }
    }

    fn submit(&mut self, desk: &Desk, work: Work, reading: &ScaleReading, wall_ms: i64) {
        let key = state_key(&self.id);
        let stamp = desk.daemon.clock.stamp_at(wall_ms);
        let hash = blake3::hash(&reading.raw);
        let mut frame_hash = [0; 8];
        frame_hash.copy_from_slice(hash.as_bytes().first_chunk::<8>().unwrap_or(&[0; 8]));
        let (scale, interval) = (self.id.clone(), self.interval);
        // The tare only where the scale says that it is subtracted, and which.
        let tare =
            reading.weight.tare.filter(|_| reading.weight.net).map_or(Grams::ZERO, |tare| Grams(tare.0));
        let submitted = desk.submit(
            Key::Device(self.id.clone()),
            move |draft| {
                let event = match work {
                    Work::Accept { net } => {
                        let weighing = Weighing { scale, net, tare, interval, frame_hash };
                        Some(FactRef::from(draft.append(&Event::new(stamp, weighing))?))
                    }
                    Work::Clear => None,
                };
                draft.put_state(&key, Some(&work.state(event)))?;
                Ok(event)
            },
            |result| Done::Scale(Latched { result: result.map_err(|error| error.to_string()) }),
        );
        if let Err(error) = submitted {
            self.latch.refused(&error.to_string());
        }
    }

    pub(super) fn done(&mut self, desk: &Desk, latched: Latched) {
        match latched.result {
            Ok(event) => self.latch.committed(event),
            Err(reason) => {
                tracing::warn!(scale = %self.id, %reason, "weighing was not stored");
                self.latch.refused(&reason);
            }
        }
        self.show(desk);
    }

    pub(super) fn fault(&mut self, desk: &Desk, reason: &str) {
        self.latch.fault(reason);
        self.show(desk);
    }

    fn show(&self, desk: &Desk) {
        use edge_core::weighing::Screen;
        let screen = self.latch.screen();
        let net = match &screen {
            Screen::Accepted { net, .. } => Some(net.0),
            Screen::Measuring { net } => net.map(|net| net.0),
            Screen::Ready | Screen::Fault { .. } => None,
        };
        let state = screen.word().to_owned();
        desk.daemon.registry.update(&self.id, |view| {
            view.reading = DeviceReading::Scale { state, net_g: net }.into();
            view.screen = Some(Box::new(screen));
        });
    }
}
