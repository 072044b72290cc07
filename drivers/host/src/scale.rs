//! Driver of one counter scale in any protocol of [`drv_protocol::scales`]: asks for the weight, or listens to it.
//!
//! Contract
//! * One order at a time. Between the end of one exchange and the next command lies at least `min_gap_ms` of silence; an
//!   operator's order goes before the next weight.
//! * A scale that answers nonsense for ever costs one exchange per poll: reading stops at the timeout, the decoder is
//!   bounded, and what is left in the port is thrown away before the next command. From a scale that sends by itself nothing
//!   is thrown away, so that what is read is never older than what the system holds.
//! * Only what the scale says is reported: no flag is made up, and a weight above capacity + 9 e, which no scale may show, is
//!   a bad answer.
//! * The port is reopened with backoff when it vanishes; until then the scale is `Failed` with the system's reason.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use drv_protocol::Grams;
use drv_protocol::scale::{Answer, Order, ScaleProtocol, Step, Weight};
use drv_protocol::scales::{self, ScaleKind, Settings};

use crate::config::ScaleConfig;
use crate::event::{DeviceBody, ScaleDone, ScaleOrder, ScaleReading};
use crate::health::Contact;
use crate::pace::Backoff;
use crate::registry::{Desk, Way};
use crate::serial::{Line, OpenPort};
use crate::supervise::{Driver, SLICE, pause, pause_for_plug};

/// Bytes of one exchange kept as evidence.
const HEARD_BYTES_MAX: usize = 256;
/// Undelivered results from which on no further order is started.
const BACKLOG_MAX: usize = 128;
/// Intervals above capacity that a scale may still show (OIML R 76).
const ABOVE_CAPACITY_INTERVALS: i64 = 9;

/// An order on its way to a scale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScaleJob {
    /// The caller's number.
    pub(crate) job: u64,
    /// What to do.
    pub(crate) order: ScaleOrder,
}

/// How an exchange ended.
enum Ended {
    Answer(Answer, Vec<u8>),
    /// Nothing but damage.
    Bad(String),
    Silence,
}

/// Driver of one scale.
pub(crate) struct ScaleDriver {
    device: Arc<str>,
    line: Line,
    kind: ScaleKind,
    settings: Settings,
    interval: Grams,
    most: Grams,
    poll: Duration,
    gap: Duration,
    timeout: Duration,
    order_timeout: Duration,
    jobs: Receiver<ScaleJob>,
    no_jobs: bool,
}

/// What lasts as long as the port is open.
struct Session<'a> {
    port: &'a mut OpenPort,
    protocol: Box<dyn ScaleProtocol + Send>,
    /// Received and not yet looked at: what follows an answer is the next reading's.
    ahead: VecDeque<u8>,
    /// Earliest time of the next command.
    free: Instant,
    /// A scale that sends by itself was told to, where it has to be.
    listening: bool,
    told: Option<(Weight, Instant)>,
}

impl ScaleDriver {
    pub(crate) fn new(device: Arc<str>, config: &ScaleConfig, jobs: Receiver<ScaleJob>) -> Self {
        let line = config.line();
        let interval = i64::from(config.interval_g);
        Self {
            device,
            line: Line {
                port: config.port.clone(),
                baud: line.baud,
                data_bits: line.data_bits,
                parity: line.parity,
                stop_bits: line.stop_bits,
            },
            kind: config.protocol.kind(),
            settings: config.settings(),
            interval: Grams(interval),
            most: Grams(i64::from(config.capacity_g) + ABOVE_CAPACITY_INTERVALS * interval),
            poll: Duration::from_millis(config.poll_ms.into()),
            gap: Duration::from_millis(line.min_gap_ms.into()),
            timeout: Duration::from_millis(config.timeout_ms.into()),
            order_timeout: Duration::from_millis(config.order_timeout_ms.into()),
            jobs,
            no_jobs: false,
        }
    }

    fn serve(&mut self, port: &mut OpenPort, desk: &mut Desk, backoff: &mut Backoff) -> Result<(), String> {
        let protocol = scales::open(self.kind, &self.settings).map_err(|error| error.to_string())?;
        port.discard_input()?;
        let mut session = Session {
            port,
            protocol,
            ahead: VecDeque::new(),
            free: Instant::now(),
            listening: false,
            told: None,
        };
        while !desk.stopping() {
            let begun = Instant::now();
            if desk.backlog() < BACKLOG_MAX
                && let Ok(job) = self.jobs.try_recv()
            {
                self.execute(&mut session, desk, job)?;
                continue;
            }
            if self.weigh(&mut session, desk)? {
                backoff.reset();
            }
            desk.tick(&self.device);
            if session.protocol.streams() {
                desk.flush();
            } else {
                let next = (begun + self.poll).max(session.free);
                if let Some(job) = self.wait(desk, next) {
                    self.execute(&mut session, desk, job)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until `next` or an order.
    fn wait(&mut self, desk: &mut Desk, next: Instant) -> Option<ScaleJob> {
        while !desk.stopping() {
            desk.flush();
            let left = next.saturating_duration_since(Instant::now()).min(SLICE);
            if left.is_zero() {
                return None;
            }
            if self.no_jobs || desk.backlog() >= BACKLOG_MAX {
                std::thread::sleep(left);
                continue;
            }
            match self.jobs.recv_timeout(left) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.no_jobs = true,
            }
        }
        None
    }

    /// One weight, asked or sent. True when a usable answer came.
    fn weigh(&self, session: &mut Session<'_>, desk: &mut Desk) -> Result<bool, String> {
        if !session.protocol.streams() || !session.listening {
            self.begin(session, desk, Order::Weight)??;
            session.listening = true;
        }
        match self.listen(session, desk, self.timeout)? {
            Ended::Answer(Answer::Weight(weight), raw) => Ok(self.weight(session, weight, raw, desk)),
            Ended::Answer(Answer::Refused(refusal), _) => {
                let reason = refusal.to_string();
                desk.contact(&self.device, &Contact::Refused(reason.clone()));
                desk.report(&self.device, DeviceBody::WeightBad { reason });
                Ok(false)
            }
            Ended::Answer(Answer::Accepted { .. }, _) => Ok(false),
            Ended::Bad(reason) => {
                self.malformed(reason, desk);
                Ok(false)
            }
            Ended::Silence => {
                session.listening = false;
                desk.contact(&self.device, &Contact::Timeout);
                Ok(false)
            }
        }
    }

    /// Sends the bytes of an order; the inner error says why the protocol cannot.
    fn begin(
        &self,
        session: &mut Session<'_>,
        desk: &mut Desk,
        order: Order,
    ) -> Result<Result<bool, String>, String> {
        pause(desk, session.free.saturating_duration_since(Instant::now()));
        let request = match session.protocol.begin(order) {
            Ok(request) => request,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if !session.protocol.streams() {
            session.port.discard_input()?;
            session.ahead.clear();
        }
        self.send(session, desk, &request.bytes)?;
        Ok(Ok(request.answered))
    }

    fn send(&self, session: &mut Session<'_>, desk: &Desk, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        session.port.send(bytes)?;
        session.free = Instant::now() + self.gap;
        desk.frame(&self.device, Way::Sent, bytes);
        Ok(())
    }

    /// Listens until the protocol has an answer, or for `limit`.
    fn listen(&self, session: &mut Session<'_>, desk: &mut Desk, limit: Duration) -> Result<Ended, String> {
        let deadline = Instant::now() + limit;
        let mask = if self.kind.seven_bits() { 0x7F } else { 0xFF };
        let mut heard = Vec::new();
        let mut fault: Option<String> = None;
        let mut buffer = [0u8; 64];
        while Instant::now() < deadline && !desk.stopping() {
            let Some(byte) = session.ahead.pop_front() else {
                let count = session.port.receive(&mut buffer, deadline)?;
                session.ahead.extend(buffer.get(..count).unwrap_or_default());
                continue;
            };
            if heard.len() < HEARD_BYTES_MAX {
                heard.push(byte & mask);
            }
            match session.protocol.push(byte) {
                None | Some(Ok(Step::Heard)) => {}
                Some(Err(error)) => {
                    if fault.is_some() {
                        desk.count(&self.device, |c| &mut c.malformed);
                    }
                    fault = Some(error.to_string());
                }
                Some(Ok(Step::Send(bytes))) => {
                    desk.frame(&self.device, Way::Received, &heard);
                    heard.clear();
                    self.send(session, desk, &bytes)?;
                }
                Some(Ok(Step::Answer { answer, frame, send })) => {
                    if fault.is_some() {
                        // Noise before a good frame: counted, but the scale works.
                        desk.count(&self.device, |c| &mut c.malformed);
                    }
                    desk.frame(&self.device, Way::Received, &heard);
                    session.free = Instant::now() + self.gap;
                    self.send(session, desk, &send)?;
                    return Ok(Ended::Answer(answer, frame));
                }
            }
        }
        desk.frame(&self.device, Way::Received, &heard);
        session.free = Instant::now() + self.gap;
        let partial = session.protocol.reset().map(|left| format!("answer cut short: {left}"));
        Ok(fault.or(partial).map_or(Ended::Silence, Ended::Bad))
    }

    fn weight(&self, session: &mut Session<'_>, weight: Weight, raw: Vec<u8>, desk: &mut Desk) -> bool {
        if let Some(grams) = weight.gross_or_net.filter(|grams| *grams > self.most && !weight.over) {
            let bytes = raw.escape_ascii();
            self.malformed(
                format!("{grams} is above what the scale can show ({}): {bytes}", self.most),
                desk,
            );
            return false;
        }
        desk.contact(&self.device, &Contact::Good);
        let again = |(told, when): (Weight, Instant)| told == weight && when.elapsed() < self.poll;
        if session.protocol.streams() && session.told.is_some_and(again) {
            return true;
        }
        session.told = Some((weight, Instant::now()));
        let reading = ScaleReading { weight, raw, interval: self.interval };
        desk.report(&self.device, DeviceBody::Weight(reading));
        true
    }

    fn malformed(&self, reason: String, desk: &mut Desk) {
        desk.contact(&self.device, &Contact::Malformed(reason.clone()));
        desk.report(&self.device, DeviceBody::WeightBad { reason });
    }

    /// Carries out an operator's order and reports how it ended.
    fn execute(&self, session: &mut Session<'_>, desk: &mut Desk, job: ScaleJob) -> Result<(), String> {
        let outcome = self.order(session, desk, job.order);
        let result = match &outcome {
            Ok(result) => result.clone(),
            Err(reason) => Err(reason.clone()),
        };
        desk.report(&self.device, DeviceBody::ScaleCommand { job: job.job, result });
        outcome.map(|_| ())
    }

    fn order(
        &self,
        session: &mut Session<'_>,
        desk: &mut Desk,
        order: ScaleOrder,
    ) -> Result<Result<ScaleDone, String>, String> {
        let order = match order {
            ScaleOrder::Zero => Order::Zero,
            ScaleOrder::Tare => Order::Tare,
            ScaleOrder::KeyedTare(tare) => Order::KeyedTare(tare),
            ScaleOrder::ClearTare => Order::ClearTare,
        };
        match self.begin(session, desk, order)? {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(ScaleDone { confirmed: false, tare: None })),
            Err(reason) => return Ok(Err(reason)),
        }
        let deadline = Instant::now() + self.order_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.listen(session, desk, left)? {
                Ended::Answer(Answer::Accepted { tare }, _) => {
                    desk.contact(&self.device, &Contact::Good);
                    return Ok(Ok(ScaleDone { confirmed: true, tare }));
                }
                Ended::Answer(Answer::Refused(refusal), _) => {
                    desk.contact(&self.device, &Contact::Good);
                    return Ok(Err(refusal.to_string()));
                }
                // A scale that sends by itself goes on sending.
                Ended::Answer(Answer::Weight(weight), raw) => {
                    self.weight(session, weight, raw, desk);
                }
                Ended::Bad(reason) => {
                    session.listening = false;
                    self.malformed(reason.clone(), desk);
                    return Ok(Err(reason));
                }
                Ended::Silence => {
                    session.listening = false;
                    desk.contact(&self.device, &Contact::Timeout);
                    let waited = self.order_timeout.as_millis();
                    return Ok(Err(format!("no answer to {} within {waited} ms", order.name())));
                }
            }
        }
    }
}

impl Driver for ScaleDriver {
    fn devices(&self) -> Vec<Arc<str>> {
        vec![Arc::clone(&self.device)]
    }

    fn run(&mut self, desk: &mut Desk) {
        let mut backoff = Backoff::new(200, 5_000);
        while !desk.stopping() {
            let outcome = match self.line.open() {
                Ok(mut port) => {
                    desk.reachable([&self.device].into_iter());
                    let outcome = self.serve(&mut port, desk, &mut backoff);
                    desk.count(&self.device, |c| &mut c.reopened);
                    outcome
                }
                Err(reason) => Err(reason),
            };
            if let Err(reason) = outcome {
                desk.unreachable([&self.device].into_iter(), &reason);
                self.refuse_waiting(desk, &reason);
                if pause_for_plug(desk, backoff.pause()) {
                    backoff.reset();
                }
            }
        }
    }
}

impl ScaleDriver {
    /// Orders that came while the port cannot be used are answered, not kept for later.
    fn refuse_waiting(&self, desk: &mut Desk, reason: &str) {
        while let Ok(job) = self.jobs.try_recv() {
            let result = Err(reason.to_owned());
            desk.report(&self.device, DeviceBody::ScaleCommand { job: job.job, result });
        }
    }
}
