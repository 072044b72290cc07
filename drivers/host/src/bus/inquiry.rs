//! Settling what a manual leaves open: every value of a device's profile read at each possible address offset, read only,
//! between the visits of the other units.
//!
//! Contract: at most [`drv_protocol::profile::CANDIDATES_MAX`] reads; a device that is silent [`SILENT_MAX`] times in a row is not
//! asked further. One read is made in idle time, or after [`VISITS_BETWEEN`] visits where there is none.

use std::sync::Arc;

use drv_protocol::modbus::Response;
use drv_protocol::modbus::schedule::Turn;
use drv_protocol::profile::{Candidate, OFFSETS, Profile, Tally, candidates, settled, tally};
use tokio::sync::oneshot;

use super::Bus;
use super::station::{Station, fault_text};
use crate::registry::Desk;
use crate::wire::{Wire, WireFault};

/// Silent reads in a row that end an inquiry.
const SILENT_MAX: u32 = 3;
/// Visits to other units before the next read, on a bus that never idles.
const VISITS_BETWEEN: u32 = 4;

/// What one read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The read.
    pub candidate: Candidate,
    /// The words of the answer (0 or 1 for bits), or why there is none.
    pub answer: Result<Vec<u16>, String>,
}

/// What an inquiry found.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The profile that was tried.
    pub profile: Arc<Profile>,
    /// The unit asked.
    pub unit: u8,
    /// Every read, offset by offset.
    pub found: Vec<Found>,
    /// What speaks for and against each of [`OFFSETS`].
    pub tally: [Tally; OFFSETS.len()],
    /// The offset that this settles.
    pub settled: Option<i32>,
    /// The device fell silent before everything was asked.
    pub cut_short: bool,
}

/// An inquiry under way.
pub(crate) struct Sought {
    index: usize,
    asked: Vec<Candidate>,
    found: Vec<Found>,
    answers: Vec<(Candidate, Option<Response>)>,
    silent: u32,
    visits: u32,
    answer: oneshot::Sender<Inquiry>,
}

impl Sought {
    pub(super) fn new(index: usize, station: &Station, answer: oneshot::Sender<Inquiry>) -> Self {
        let mut asked = candidates(&station.profile);
        asked.reverse();
        Self { index, asked, found: Vec::new(), answers: Vec::new(), silent: 0, visits: 0, answer }
    }

    fn finish(self, station: &Station) {
        let counted = tally(&station.profile, &self.answers);
        let cut_short = !self.asked.is_empty();
        let inquiry = Inquiry {
            profile: station.profile.clone(),
            unit: station.unit,
            found: self.found,
            tally: counted,
            settled: settled(counted).filter(|_| !cut_short),
            cut_short,
        };
        // Whoever asked may have gone.
        drop(self.answer.send(inquiry));
    }
}

impl Bus {
    /// Makes the next read of an inquiry where it is its turn; true: one was made.
    pub(super) async fn inquire(&mut self, wire: &mut Wire, desk: &Desk, turn: Turn) -> Result<bool, String> {
        let Some(mut sought) = self.inquiry.take_if(|sought| {
            sought.visits += 1;
            matches!(turn, Turn::Wait(_)) || sought.visits > VISITS_BETWEEN
        }) else {
            return Ok(false);
        };
        sought.visits = 0;
        let Some(station) = self.stations.get(sought.index) else { return Ok(false) };
        let next =
            if sought.silent < SILENT_MAX && !sought.answer.is_closed() { sought.asked.pop() } else { None };
        let Some(candidate) = next else {
            sought.finish(station);
            return Ok(false);
        };
        let poll = candidate.poll;
        let outcome = station.exchange(wire, desk, poll.unit_offset, &poll.request(), self.timeout).await?;
        let silent = matches!(outcome, Err(WireFault::Silent));
        sought.silent = if silent { sought.silent + 1 } else { 0 };
        let answer = match &outcome {
            Ok(Response::Registers(words)) => Ok(words.clone()),
            Ok(Response::Bits(bits)) => Ok(bits.iter().map(|bit| u16::from(*bit)).collect()),
            Ok(Response::Written) => Ok(Vec::new()),
            Err(fault) => Err(fault_text(fault)),
        };
        sought.found.push(Found { candidate, answer });
        sought.answers.push((candidate, outcome.ok()));
        self.inquiry = Some(sought);
        Ok(true)
    }
}
