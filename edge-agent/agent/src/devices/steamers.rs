//! One steamer: readings -> batches and alarms -> facts -> orders through its driver.
//!
//! Steps are made on copies; facts and states of one reading go into one ledger job, and orders are written only after its
//! commit, so a batch is never run twice and never unknown. How much of a held batch is left is decided by tills and this
//! loop together in [`super::holds`], inside the ledger.

use super::{Desk, Done, Key, alarms, holds, steam_flags};
use drv_host::SteamerOrder;
use drv_protocol::steamer::{CombiSteamerMode, SteamerReading};
use edge_api::DeviceReading;
use edge_core::Moment;
use edge_core::batch::{self, Batch, Input, Mode, Outcome, Reading};
use std::collections::{BTreeMap, VecDeque};
use steam_flags::Flags;
use sync_model::{
    AlarmKind, AlarmRef, Audit, BatchMoved, BatchRef, BatchState, DeviceId, Event, Milli, Stamp, Text,
};
use sync_store::{Draft, Refusal};
use tokio::sync::oneshot;

/// Inputs that wait for a commit.
const QUEUE_MAX: usize = 64;
/// Open batches of one steamer.
pub const BATCHES_MAX: usize = 32;

/// What became of an operator's discard; the words of a refusal.
pub(crate) type Discarded = Result<(), String>;

/// What happens to a steamer's batches.
#[derive(Debug)]
enum Step {
    Reading(Reading),
    Ordered(BatchRef, bool),
    /// What is left of a batch after a sale.
    Sold(BatchRef, Milli),
    Silent(bool),
    /// An operator throws a batch away; answered after the commit.
    Discard(BatchRef, Text<32>, oneshot::Sender<Discarded>),
}

/// A configured steamer.
pub(super) struct Steamer {
    id: DeviceId,
    batches: BTreeMap<BatchRef, Batch>,
    flags: Flags,
    waiting: VecDeque<(Step, Moment)>,
    pending: bool,
    silent: bool,
    /// Orders to write, and the one that the driver has.
    orders: VecDeque<(BatchRef, batch::Order)>,
    job: Option<(u64, BatchRef)>,
}

/// A batch after a step, with what the step asked for.
pub(super) struct Stepped {
    batch: Batch,
    outcome: Outcome,
}

/// What a steamer's commit changes.
pub(super) struct Change {
    batches: Vec<Stepped>,
    flags: Flags,
}

/// Result of a steamer's job.
pub(super) struct Steamed {
    result: Result<Box<Change>, String>,
    /// Whose discard it was, and of what.
    discard: Option<(BatchRef, oneshot::Sender<Discarded>)>,
}

pub(crate) fn batch_key(batch: BatchRef) -> String {
    format!("batch/{batch}")
}

impl Steamer {
    pub(super) fn new(id: DeviceId, flags: Flags) -> Self {
        Self {
            id,
            batches: BTreeMap::new(),
            flags,
            waiting: VecDeque::new(),
            pending: false,
            silent: false,
            orders: VecDeque::new(),
            job: None,
        }
    }

    /// An alarm that the ledger holds open.
    pub(super) fn adopt(&mut self, kind: AlarmKind, alarm: AlarmRef) {
        self.flags.adopt(kind, alarm);
    }

    /// A batch of the ledger.
    pub(super) fn add(&mut self, batch: Batch) {
        self.batches.entry(batch.id()).or_insert(batch);
    }

    pub(super) fn reading(&mut self, desk: &Desk, reading: &SteamerReading, now: Moment) {
        self.silent = false;
        let inside = batch::places(self.batches.values())
            .into_iter()
            .find(|(_, place)| *place == batch::Place::Inside)
            .map(|(id, _)| id.to_string());
        desk.daemon.registry.update(&self.id, |view| {
            let shown = DeviceReading::Steamer {
                mode: mode_word(reading.mode).into(),
                running: reading.running,
                chamber_mc: reading.chamber.map(|value| value.0),
                core_mc: reading.core.map(|value| value.0),
                batch: inside,
            };
            view.reading = shown.into();
        });
        desk.telemetry(&self.id, now.wall.0, reading.chamber.map(|value| value.0), None);
        self.queue(desk, Step::Reading(seen(reading, now)), now);
    }

    /// A till sold from a batch; the ledger has it already.
    pub(super) fn sold(&mut self, desk: &Desk, batch: BatchRef, left: Milli, now: Moment) {
        if self.batches.contains_key(&batch) {
            self.queue(desk, Step::Sold(batch, left), now);
        }
    }

    /// An operator throws a batch away. Whoever asked hears of it after the commit, or sees the channel closed.
    pub(super) fn discard(
        &mut self,
        desk: &Desk,
        (batch, by): (BatchRef, Text<32>),
        answer: oneshot::Sender<Discarded>,
        now: Moment,
    ) {
        self.queue(desk, Step::Discard(batch, by, answer), now);
    }

    pub(super) fn silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Time without a reading: held batches expire all the same, silence becomes an alarm.
    pub(super) fn tick(&mut self, desk: &Desk, now: Moment) {
        self.queue(desk, Step::Silent(self.silent), now);
        self.write_orders(desk, now);
    }

    /// The driver answered an order.
    pub(super) fn commanded(&mut self, desk: &Desk, job: u64, result: &Result<(), String>, now: Moment) {
        let Some((expected, batch)) = self.job else { return };
        if expected != job {
            return;
        }
        self.job = None;
        if let Err(reason) = result {
            tracing::warn!(steamer = %self.id, %batch, %reason, "order was not carried out");
            // A stop still goes out: what is said not to have been done may have been done.
            self.orders.retain(|(of, order)| *of != batch || *order == batch::Order::Stop);
        }
        if self.orders.iter().any(|(of, _)| *of == batch) {
            return self.write_orders(desk, now);
        }
        self.queue(desk, Step::Ordered(batch, result.is_ok()), now);
        self.write_orders(desk, now);
    }

    fn queue(&mut self, desk: &Desk, step: Step, now: Moment) {
        // Readings repeat themselves; answers and sales must not be lost.
        let repeats = matches!(step, Step::Reading(_) | Step::Silent(_));
        if repeats && (self.pending || self.waiting.len() >= QUEUE_MAX) {
            return;
        }
        self.waiting.push_back((step, now));
        self.work(desk);
    }

    fn work(&mut self, desk: &Desk) {
        while !self.pending {
            let Some((step, now)) = self.waiting.pop_front() else { return };
            let change = self.step(&step, now);
            let sold = matches!(step, Step::Sold(..));
            let closed = sold && change.batches.iter().any(|stepped| stepped.batch.is_closed());
            let save = change.flags.save
                || closed
                || (!sold && change.batches.iter().any(|stepped| stepped.outcome.save));
            if !save {
                self.take(desk, change, now);
                if let Step::Discard(batch, _, answer) = step {
                    tell(answer, Err(format!("batch {batch} is over")));
                }
                continue;
            }
            if change.flags.raises() {
                desk.daemon.urgent.notify_one();
            }
            let (id, stamp) = (self.id.clone(), desk.daemon.clock.stamp_at(now.wall.0));
            let (step, audit, discard) = match step {
                Step::Discard(batch, by, answer) => (None, Some(audit(batch, by)), Some((batch, answer))),
                // Readings repeat themselves.
                Step::Reading(_) | Step::Silent(_) => (None, None, None),
                Step::Ordered(..) | Step::Sold(..) => (Some(step), None, None),
            };
            let submitted = desk.submit(
                Key::Device(self.id.clone()),
                move |draft| commit(draft, &id, change, audit, sold, stamp),
                |result| {
                    Done::Steamer(Steamed { result: result.map_err(|error| error.to_string()), discard })
                },
            );
            match submitted {
                Ok(()) => self.pending = true,
                Err(error) => {
                    tracing::debug!(steamer = %self.id, %error, "batch step waits for the ledger");
                    if let Some(step) = step {
                        self.waiting.push_front((step, now));
                        return;
                    }
                }
            }
        }
    }

    /// The step on copies.
    fn step(&self, step: &Step, now: Moment) -> Change {
        let places = batch::places(self.batches.values());
        let mut flags = self.flags.clone();
        match step {
            Step::Reading(reading) => flags.step(reading, now),
            Step::Silent(silent) => flags.silent(*silent, now),
            Step::Ordered(..) | Step::Sold(..) | Step::Discard(..) => flags.clear(),
        }
        let batches = self
            .batches
            .values()
            .filter_map(|batch| {
                let place = places.get(&batch.id()).copied().unwrap_or(batch::Place::Elsewhere);
                let input = match *step {
                    Step::Reading(reading) => Input::Reading(reading, place),
                    Step::Silent(_) => Input::Tick,
                    Step::Ordered(id, ok) if id == batch.id() => Input::Ordered(ok.then_some(()).ok_or(())),
                    Step::Sold(id, left) if id == batch.id() => {
                        Input::Sold(Milli(batch.remaining().0.saturating_sub(left.0).max(0)))
                    }
                    Step::Discard(id, ..) if id == batch.id() => Input::Discard,
                    Step::Ordered(..) | Step::Sold(..) | Step::Discard(..) => return None,
                };
                let mut batch = batch.clone();
                let outcome = batch.step(input, now);
                Some(Stepped { batch, outcome })
            })
            .collect();
        Change { batches, flags }
    }

    /// Takes over a step whose facts are durable, or that had none.
    fn take(&mut self, desk: &Desk, change: Change, now: Moment) {
        self.flags = change.flags;
        for Stepped { batch, outcome } in change.batches {
            let id = batch.id();
            for moved in &outcome.moves {
                tracing::info!(steamer = %self.id, batch = %id, from = ?moved.from, to = ?moved.to, reason = %moved.reason, "batch moved");
            }
            if batch.is_closed() {
                // A run that was not written yet must not be written after its end.
                self.orders.retain(|(of, _)| *of != id);
            }
            self.orders.extend(outcome.orders.into_iter().map(|order| (id, order)));
            if batch.is_closed() {
                self.batches.remove(&id);
            } else {
                self.batches.insert(id, batch);
            }
        }
        self.write_orders(desk, now);
    }

    pub(super) fn done(&mut self, desk: &Desk, steamed: Steamed, now: Moment) {
        self.pending = false;
        match steamed.result {
            Ok(change) => {
                if let Some((batch, answer)) = steamed.discard {
                    let discarded = |moved: &BatchMoved| moved.to == BatchState::Discarded;
                    let done = change.batches.iter().any(|step| step.outcome.moves.iter().any(discarded));
                    tell(answer, if done { Ok(()) } else { Err(format!("batch {batch} is over")) });
                }
                self.take(desk, *change, now);
            }
            // Who asked for a discard sees the channel closed.
            Err(reason) => {
                tracing::warn!(steamer = %self.id, %reason, "batch facts were not stored; asked again");
            }
        }
        self.work(desk);
    }

    /// Hands the next order to the driver; it answers each with its job number.
    fn write_orders(&mut self, desk: &Desk, now: Moment) {
        while self.job.is_none() {
            let Some((batch, order)) = self.orders.pop_front() else { return };
            let order = match order {
                batch::Order::SetPoint(value) => SteamerOrder::SetPoint(drv_protocol::MilliCelsius(value.0)),
                batch::Order::Run { .. } => SteamerOrder::Run,
                batch::Order::Stop => SteamerOrder::Stop,
            };
            let job = desk.job();
            match desk.daemon.host(|host| host.command_steamer(self.id.as_str(), job, order)) {
                Some(Ok(())) => self.job = Some((job, batch)),
                refused => {
                    tracing::warn!(steamer = %self.id, %batch, ?refused, "order was not taken");
                    self.orders.retain(|(of, _)| *of != batch);
                    self.waiting.push_back((Step::Ordered(batch, false), now));
                }
            }
        }
    }
}

fn audit(batch: BatchRef, by: Text<32>) -> Audit {
    let actor = Text::lossy(by.as_str());
    Audit { actor, action: Text::lossy("batch-discard"), detail: Text::lossy(&batch.to_string()) }
}

/// Nobody listens when the client has gone.
fn tell(answer: oneshot::Sender<Discarded>, discarded: Discarded) {
    drop(answer.send(discarded));
}

/// Facts, states and what is left for sale, in one job.
fn commit(
    draft: &mut Draft<'_>,
    device: &DeviceId,
    mut change: Change,
    audit: Option<Audit>,
    sold: bool,
    stamp: Stamp,
) -> Result<Box<Change>, Refusal> {
    if let Some(audit) = audit {
        draft.append(&Event::new(stamp, audit))?;
    }
    for (key, decisions) in change.flags.take_decisions() {
        for decision in &decisions {
            if let Some((kind, alarm)) = alarms::append(draft, device, decision, stamp)? {
                change.flags.bind(kind, alarm);
            }
        }
        let bytes = change.flags.bytes(key);
        draft.put_state(&steam_flags::key(device, key), bytes.as_deref())?;
    }
    for stepped in &mut change.batches {
        commit_batch(draft, stepped, sold, stamp)?;
    }
    Ok(Box::new(change))
}

fn commit_batch(
    draft: &mut Draft<'_>,
    stepped: &mut Stepped,
    sold: bool,
    stamp: Stamp,
) -> Result<(), Refusal> {
    let Stepped { batch, outcome } = stepped;
    let (id, sku) = (batch.id(), batch.sku());
    if sold {
        // The till's job wrote the fact; only the working state ends here.
        outcome.moves.clear();
    } else if !outcome.save {
        return Ok(());
    } else {
        let leaves_hold = outcome.moves.iter().any(|moved| moved.from == BatchState::Hold);
        let ended = draft.batch(id)?.is_some_and(|row| !row.open());
        if leaves_hold && ended {
            // The last piece was sold while this step was under way.
            outcome.moves.clear();
            outcome.waste.clear();
            return draft.put_state(&batch_key(id), None);
        }
        for moved in &outcome.moves {
            draft.append(&Event::new(stamp, moved.clone()))?;
            if moved.to == BatchState::Hold {
                holds::open(draft, sku, id, batch.remaining())?;
            }
        }
        let left = if leaves_hold { holds::close(draft, sku, id)? } else { None };
        for waste in &outcome.waste {
            let quantity = left.unwrap_or(waste.quantity);
            if quantity.0 > 0 {
                draft.append(&Event::new(stamp, sync_model::Waste { quantity, ..waste.clone() }))?;
            }
        }
    }
    let bytes = (!batch.is_closed()).then(|| batch.to_bytes());
    draft.put_state(&batch_key(id), bytes.as_deref())
}

/// The driver's reading in the words of a batch.
fn seen(reading: &SteamerReading, now: Moment) -> Reading {
    let mode = match reading.mode {
        CombiSteamerMode::Off => Mode::Off,
        CombiSteamerMode::On | CombiSteamerMode::StandBy => Mode::Idle,
        CombiSteamerMode::Preheat => Mode::Preheat,
        CombiSteamerMode::Steaming | CombiSteamerMode::CombiSteaming | CombiSteamerMode::HotAir => {
            Mode::Cooking
        }
        CombiSteamerMode::Error => Mode::Error,
        CombiSteamerMode::Perfection | CombiSteamerMode::Cleaning | CombiSteamerMode::PresetStart => {
            Mode::Other
        }
    };
    let celsius = |value: drv_protocol::MilliCelsius| sync_model::MilliCelsius(value.0);
    Reading {
        mode,
        running: reading.running,
        program_end: reading.program_end,
        chamber: reading.chamber.map(celsius),
        core: reading.core.map(celsius),
        door_open: reading.door_open,
        low_water: reading.low_water,
        over_temperature: reading.over_temperature,
        sensor_fault: reading.sensor_fault,
        // A bus is asked by one thread, one request after the other: a reading that it reported after an order's answer
        // was also asked for after it.
        asked_mono_ms: now.mono_ms,
    }
}

fn mode_word(mode: CombiSteamerMode) -> &'static str {
    match mode {
        CombiSteamerMode::Off => "off",
        CombiSteamerMode::On => "on",
        CombiSteamerMode::Preheat => "preheat",
        CombiSteamerMode::StandBy => "stand-by",
        CombiSteamerMode::Steaming => "steaming",
        CombiSteamerMode::CombiSteaming => "combi-steaming",
        CombiSteamerMode::HotAir => "hot-air",
        CombiSteamerMode::Perfection => "perfection",
        CombiSteamerMode::Cleaning => "cleaning",
        CombiSteamerMode::PresetStart => "preset-start",
        CombiSteamerMode::Error => "error",
    }
}
