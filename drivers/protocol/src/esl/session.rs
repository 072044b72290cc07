//! One connection of an access point to a label, as a state machine without IO.
//!
//! ```text
//! read   2BFA 2BFB 2BFC 2BFD    what the label is (each where it has it)
//! write  2BF6 2BF7 2BF8 2BF9    address, keys, clock
//! write  2BFE TLV               -> notification TLV        per command
//! ```
//!
//! Contract: an answer must be that of its command (same index, same display, same image); a refusal fails the session with
//! the label's own code, except "try again", which is tried again a bounded number of times after [`RETRY_MS`]. Timeouts are
//! the caller's.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{
    ABSOLUTE_TIME, ADDRESS, AP_SYNC_KEY, AbsoluteTime, Address, CONTROL_POINT, Command, DISPLAYS, Display,
    ErrorCode, FeatureError, IMAGES, KeyMaterial, LEDS, LedType, RESPONSE_KEY, Response, SENSORS, Sensor,
    TlvError, image_index_max,
};
use crate::evidence::Evidence;
use crate::unit::MilliCelsius;

/// How often "try again" is obeyed for one command.
const RETRIES_MAX: u8 = 5;
/// Commands of one session.
pub const COMMANDS_MAX: usize = 64;
/// Pause before a command is tried again, in milliseconds.
pub const RETRY_MS: u32 = 500;

/// What a label is given when it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Its address.
    pub address: Address,
    /// The key of the sync packets.
    pub sync_key: KeyMaterial,
    /// The key of its responses.
    pub response_key: KeyMaterial,
    /// The clock now.
    pub now: AbsoluteTime,
}

/// What is wanted of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A command as it is.
    Command(Command),
    /// The temperature of the first sensor that has one.
    Temperature,
    /// The supply voltage of the first sensor that has one.
    Voltage,
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self::Command(command)
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this characteristic, then [`Session::read`].
    Read(u16),
    /// Write these bytes with a response, then [`Session::written`].
    Write(u16, Vec<u8>),
    /// Wait for a notification of the control point, then [`Session::notified`].
    Listen,
    /// Pause for so many milliseconds, then [`Session::waited`].
    Wait(u32),
    /// Everything is done: [`Session::outcome`].
    Done,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The label's panels.
    pub displays: Vec<Display>,
    /// The highest image index; `None` without images.
    pub image_max: Option<u8>,
    /// The label's sensors.
    pub sensors: Vec<Sensor>,
    /// The label's LEDs.
    pub leds: Vec<LedType>,
    /// The answers, in the order of the commands that are answered.
    pub answers: Vec<Response>,
    /// The temperature asked for.
    pub temperature: Option<MilliCelsius>,
    /// The supply voltage asked for, in millivolts.
    pub millivolts: Option<u16>,
}

/// Why a session failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The label lacks a characteristic that it must have.
    #[error("no characteristic {0:04X} in service 1857")]
    Missing(u16),
    /// What it says of itself cannot be read.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// An answer that is no TLV, or a command that cannot be one.
    #[error(transparent)]
    Tlv(#[from] TlvError),
    /// The label refuses a command.
    #[error("label refuses command {opcode:#04x}: {code}")]
    Refused {
        /// The command's opcode.
        opcode: u8,
        /// The label's code.
        code: ErrorCode,
    },
    /// The answer of another command.
    #[error("answer does not belong to command {opcode:#04x}: {bytes}")]
    Mismatch {
        /// The command's opcode.
        opcode: u8,
        /// The answer.
        bytes: Evidence,
    },
    /// The label has no such LED, sensor or display.
    #[error("label has {count} of {what}, asked for index {index}")]
    Index {
        /// What.
        what: &'static str,
        /// How many it has.
        count: usize,
        /// The index asked for.
        index: u8,
    },
    /// The label has no sensor of that kind, or it says that it does not know.
    #[error("label has no {0}")]
    NoSensor(&'static str),
    /// An LED control that every label refuses.
    #[error("LED control flashes with a period of zero")]
    LedPeriod,
    /// A step was answered that was not asked for.
    #[error("{0} out of turn")]
    Turn(&'static str),
    /// Too many commands for one session.
    #[error("{0} commands, expected at most 64")]
    Commands(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    Read(u16),
    Write(u16, Vec<u8>),
    Ask(Request),
}

/// The command under way.
#[derive(Clone, Debug)]
struct Flight {
    command: Command,
    bytes: Vec<u8>,
    request: Request,
    written: bool,
    answer: Option<Response>,
    retries: u8,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Session {
    id: u8,
    tasks: VecDeque<Task>,
    current: Option<Task>,
    flight: Option<Flight>,
    outcome: Outcome,
}

impl Session {
    /// A session that configures the label and then carries out `requests` in order. `present` are the characteristics
    /// that the label's service has.
    ///
    /// # Errors
    /// A mandatory characteristic is missing, or there are too many requests.
    pub fn new(
        configuration: &Configuration,
        requests: Vec<Request>,
        present: &[u16],
    ) -> Result<Self, SessionError> {
        if requests.len() > COMMANDS_MAX {
            return Err(SessionError::Commands(requests.len()));
        }
        let has = |uuid: u16| present.contains(&uuid);
        let needed = [ADDRESS, AP_SYNC_KEY, RESPONSE_KEY, ABSOLUTE_TIME, CONTROL_POINT];
        if let Some(missing) = needed.into_iter().find(|uuid| !has(*uuid)) {
            return Err(SessionError::Missing(missing));
        }
        let reads = [DISPLAYS, IMAGES, SENSORS, LEDS].into_iter().filter(|uuid| has(*uuid));
        let mut tasks: VecDeque<Task> = reads.map(Task::Read).collect();
        tasks.extend([
            Task::Write(ADDRESS, configuration.address.encode().to_vec()),
            Task::Write(AP_SYNC_KEY, configuration.sync_key.encode().to_vec()),
            Task::Write(RESPONSE_KEY, configuration.response_key.encode().to_vec()),
            Task::Write(ABSOLUTE_TIME, configuration.now.encode().to_vec()),
        ]);
        tasks.extend(requests.into_iter().map(Task::Ask));
        Ok(Self {
            id: configuration.address.id(),
            tasks,
            current: None,
            flight: None,
            outcome: Outcome::default(),
        })
    }

    /// The first step, after notifications of the control point were subscribed.
    ///
    /// # Errors
    /// As [`Session::written`].
    pub fn begin(&mut self) -> Result<Step, SessionError> {
        self.next()
    }

    /// A characteristic was read.
    ///
    /// # Errors
    /// Its value makes no sense, or nothing was to be read.
    pub fn read(&mut self, value: &[u8]) -> Result<Step, SessionError> {
        match self.current.take() {
            Some(Task::Read(DISPLAYS)) => self.outcome.displays = Display::parse_all(value)?,
            Some(Task::Read(IMAGES)) => self.outcome.image_max = Some(image_index_max(value)?),
            Some(Task::Read(SENSORS)) => self.outcome.sensors = Sensor::parse_all(value)?,
            Some(Task::Read(LEDS)) => self.outcome.leds = LedType::parse_all(value),
            _ => return Err(SessionError::Turn("read value")),
        }
        self.next()
    }

    /// A write was confirmed.
    ///
    /// # Errors
    /// The next request cannot be made of this label, or nothing was to be written.
    pub fn written(&mut self) -> Result<Step, SessionError> {
        if let Some(flight) = self.flight.as_mut() {
            flight.written = true;
            return self.settle();
        }
        match self.current.take() {
            Some(Task::Write(..)) => self.next(),
            _ => Err(SessionError::Turn("write confirmation")),
        }
    }

    /// The control point notified. The answer may overtake the confirmation of its command.
    ///
    /// # Errors
    /// The label refuses, or answers something else.
    pub fn notified(&mut self, bytes: &[u8]) -> Result<Step, SessionError> {
        let response = Response::decode(bytes)?;
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.answer.is_none()) else {
            return Err(SessionError::Turn("notification"));
        };
        let opcode = flight.bytes.first().copied().unwrap_or_default();
        match response {
            Response::Error(ErrorCode::Retry) if flight.retries < RETRIES_MAX => {
                flight.retries += 1;
                flight.written = false;
                return Ok(Step::Wait(RETRY_MS));
            }
            Response::Error(code) => return Err(SessionError::Refused { opcode, code }),
            response if belongs(&flight.command, &response) => flight.answer = Some(response),
            _ => return Err(SessionError::Mismatch { opcode, bytes: Evidence::of(bytes) }),
        }
        self.settle()
    }

    /// A pause is over.
    ///
    /// # Errors
    /// There was none.
    pub fn waited(&mut self) -> Result<Step, SessionError> {
        let flight = self.flight.as_ref().ok_or(SessionError::Turn("pause"))?;
        Ok(Step::Write(CONTROL_POINT, flight.bytes.clone()))
    }

    /// What came of it so far.
    #[must_use]
    pub const fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    fn settle(&mut self) -> Result<Step, SessionError> {
        let Some(flight) = self.flight.take() else { return self.next() };
        let complete = flight.written && (flight.answer.is_some() || !flight.command.answered());
        if !complete {
            self.flight = Some(flight);
            return Ok(Step::Listen);
        }
        if let Some(answer) = flight.answer {
            if let Response::SensorValue { index, data } = &answer {
                self.value(&flight.request, *index, data)?;
            }
            self.outcome.answers.push(answer);
        }
        self.next()
    }

    fn value(&mut self, request: &Request, index: u8, data: &[u8]) -> Result<(), SessionError> {
        let sensor = self.outcome.sensors.get(usize::from(index));
        match request {
            Request::Temperature => {
                let value = sensor.and_then(|sensor| sensor.temperature(data));
                self.outcome.temperature = Some(value.ok_or(SessionError::NoSensor("temperature"))?);
            }
            Request::Voltage => {
                let value = sensor.and_then(|sensor| sensor.millivolts(data));
                self.outcome.millivolts = Some(value.ok_or(SessionError::NoSensor("supply voltage"))?);
            }
            Request::Command(_) => {}
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Step, SessionError> {
        let Some(task) = self.tasks.pop_front() else { return Ok(Step::Done) };
        let step = match &task {
            Task::Read(uuid) => Step::Read(*uuid),
            Task::Write(uuid, bytes) => Step::Write(*uuid, bytes.clone()),
            Task::Ask(request) => {
                let command = self.command(request)?;
                let bytes = command.encode(self.id)?;
                let request = request.clone();
                let flight = Flight {
                    command,
                    bytes: bytes.clone(),
                    request,
                    written: false,
                    answer: None,
                    retries: 0,
                };
                self.flight = Some(flight);
                return Ok(Step::Write(CONTROL_POINT, bytes));
            }
        };
        self.current = Some(task);
        Ok(step)
    }

    /// The command of a request, checked against what the label has.
    fn command(&self, request: &Request) -> Result<Command, SessionError> {
        let find = |what, wanted: fn(&Sensor) -> bool| {
            let place = self.outcome.sensors.iter().position(wanted);
            let index = place.and_then(|place| u8::try_from(place).ok());
            index.map(Command::ReadSensor).ok_or(SessionError::NoSensor(what))
        };
        // A value with its bytes known says whether the sensor has the kind at all.
        let command = match request {
            Request::Temperature => find("temperature", |sensor| sensor.temperature(&[0, 0]).is_some())?,
            Request::Voltage => find("supply voltage", |sensor| sensor.millivolts(&[0, 0]).is_some())?,
            Request::Command(command) => command.clone(),
        };
        let (what, count, index) = match &command {
            Command::Led(control) | Command::LedTimed(control, _) => {
                if control.led.impossible() {
                    return Err(SessionError::LedPeriod);
                }
                ("LEDs", self.outcome.leds.len(), control.index)
            }
            Command::ReadSensor(index) => ("sensors", self.outcome.sensors.len(), *index),
            Command::RefreshDisplay(display)
            | Command::DisplayImage { display, .. }
            | Command::DisplayTimedImage { display, .. } => {
                ("displays", self.outcome.displays.len(), *display)
            }
            _ => return Ok(command),
        };
        if usize::from(index) < count { Ok(command) } else { Err(SessionError::Index { what, count, index }) }
    }
}

/// Whether a response is the answer of a command.
fn belongs(command: &Command, response: &Response) -> bool {
    match (command, response) {
        (Command::Ping | Command::Unassociate | Command::ServiceReset, Response::BasicState(_))
        | (Command::Vendor(_), _) => true,
        (Command::ReadSensor(asked), Response::SensorValue { index, .. }) => asked == index,
        (Command::Led(control) | Command::LedTimed(control, _), Response::LedState(index)) => {
            control.index == *index
        }
        (Command::RefreshDisplay(asked), Response::DisplayState { display, .. }) => asked == display,
        (
            Command::DisplayImage { display: asked, image: wanted }
            | Command::DisplayTimedImage { display: asked, image: wanted, .. },
            Response::DisplayState { display, image },
        ) => asked == display && wanted == image,
        _ => false,
    }
}
