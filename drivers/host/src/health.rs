//! Health of one device as a state machine over contacts. Pure: time is an argument.
//!
//! Contract
//! * `Seen` is reported once, at the first contact; `Ok` follows when the contact was good.
//! * `Degraded` needs [`BAD_RUN`] bad contacts in a row, the way back to `Ok` needs [`GOOD_RUN`] good ones: a single noisy
//!   frame changes counters, not health, so health events are bounded even for a device that alternates.
//! * `Lost` is reported when nothing was heard for the configured silence, whoever polls or backs off meanwhile.
//! * `Failed` means that our side cannot run the driver (port missing, bus refused, driver given up), with the reason. It is
//!   reported again only when the [`Cause`] changes, as when a port that failed turns out to be unplugged.
//! * Every state but `Seen` and `Ok` has a cause, an advice, and the moment at which the trouble began; the trouble ends with
//!   `Ok`, whatever states it goes through.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::advice::{Cause, Road, advice};

/// Bad contacts in a row that degrade a device.
pub const BAD_RUN: u8 = 2;
/// Good contacts in a row that end a degradation.
pub const GOOD_RUN: u8 = 2;
/// Longest reason text in bytes.
pub const REASON_BYTES_MAX: usize = 200;
/// Texts made last that are still looked at for one to share.
const LAST_MAX: usize = 8;
/// The reason of a device before its first contact.
const NOT_HEARD: &str = "not heard yet";

/// How a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// Heard for the first time, quality not yet known.
    Seen,
    /// Works.
    Ok,
    /// Answers, but badly.
    Degraded,
    /// Silent.
    Lost,
    /// Its driver cannot run.
    Failed,
}

impl HealthState {
    /// The lower-case name for logs and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Lost => "lost",
            Self::Failed => "failed",
        }
    }
}

/// What has been counted since the start of the host. At twenty a second a count stands at its end after 6.8 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Contacts that gave a usable answer.
    pub good: u32,
    /// Answers that were malformed: wrong length, checksum, parity, noise.
    pub malformed: u32,
    /// Answers that were well formed and said no: exceptions, sensor faults.
    pub refused: u32,
    /// Requests without an answer.
    pub timeouts: u32,
    /// Times the port, bus or connection had to be opened again.
    pub reopened: u32,
    /// Times the driver itself was restarted.
    pub restarts: u32,
    /// Readings dropped because the receiver of events was full.
    pub dropped: u32,
}

/// A moment that may be missing, in eight bytes: milliseconds since boot, one more.
#[derive(Debug, Clone, Copy)]
struct Mark(Option<NonZeroU64>);

impl Mark {
    const NONE: Self = Self(None);

    fn at(ms: u64) -> Self {
        Self(NonZeroU64::new(ms.saturating_add(1)))
    }

    fn get(self) -> Option<u64> {
        self.0.map(|more| more.get() - 1)
    }
}

/// A snapshot of a device's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// Why, in one line. Shared: what takes an adapter down is the reason of thousands of tags.
    pub reason: Arc<str>,
    /// Why, for programs; `None` when the device works.
    pub cause: Option<Cause>,
    /// What a person should do; empty when the device works.
    pub advice: Arc<str>,
    /// Milliseconds since boot at which this state began.
    pub since_mono_ms: u64,
    /// Milliseconds since boot at which the device was last known to work, or the start; `None` when it works.
    pub trouble_mono_ms: Option<u64>,
    /// Milliseconds since boot of the last usable answer.
    pub last_good_mono_ms: Option<u64>,
    /// What has been counted.
    pub counters: Counters,
}

/// One contact with a device, or the lack of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// A usable answer.
    Good,
    /// A malformed answer.
    Malformed(String),
    /// A well-formed answer that says no.
    Refused(String),
    /// A well-formed answer of a device whose probe is at fault.
    SensorFault(String),
    /// No answer in time.
    Timeout,
    /// Our side cannot reach the device at all; the road says what that means.
    Unreachable(Arc<str>),
    /// Our side cannot reach the device at all, and this is why.
    Down(Cause, Arc<str>),
}

/// The state machine of one device.
///
/// A store has thousands: the advice is made when it is told or asked for, not kept, numbers are as small as they may be, and the
/// device's name, which the advice speaks of, is the caller's.
#[derive(Debug, Clone)]
pub struct Vital {
    state: HealthState,
    reason: Arc<str>,
    cause: Option<Cause>,
    since_mono_ms: u64,
    trouble: Mark,
    last_good: Mark,
    counters: Counters,
    road: Road,
    lost_after_ms: u32,
    heard_ms: u64,
    bad_run: u8,
    good_run: u8,
    heard_ever: bool,
    told_lost: bool,
}

impl Vital {
    /// A device that has not been heard; silence counts from `now_ms`.
    #[must_use]
    pub fn new(road: Road, now_ms: u64, lost_after_ms: u32) -> Self {
        Self {
            state: HealthState::Lost,
            reason: text(NOT_HEARD),
            cause: Some(Cause::Starting),
            since_mono_ms: now_ms,
            trouble: Mark::at(now_ms),
            last_good: Mark::NONE,
            counters: Counters::default(),
            road,
            lost_after_ms,
            heard_ms: now_ms,
            bad_run: 0,
            good_run: 0,
            heard_ever: false,
            told_lost: false,
        }
    }

    /// Says what leads to the device, for its advice.
    pub fn place(&mut self, road: Road) {
        self.road = road;
    }

    /// What leads to the device.
    #[must_use]
    pub fn road(&self) -> &Road {
        &self.road
    }

    /// The present snapshot of `device`.
    #[must_use]
    pub fn health(&self, device: &str) -> Health {
        let advice = self.cause.map(|cause| advice(cause, device, &self.road));
        Health {
            state: self.state,
            reason: Arc::clone(&self.reason),
            cause: self.cause,
            advice: advice.map_or_else(|| text(""), |advice| text(&advice)),
            since_mono_ms: self.since_mono_ms,
            trouble_mono_ms: self.trouble.get(),
            last_good_mono_ms: self.last_good.get(),
            counters: self.counters,
        }
    }

    /// Direct access to the counters that no contact carries.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Takes in a contact; returns the health states to report, in order.
    pub fn contact(&mut self, device: &str, now_ms: u64, contact: &Contact) -> Vec<Health> {
        let mut out = Vec::new();
        match contact {
            Contact::Good => {
                self.heard(device, now_ms, &mut out);
                count(&mut self.counters.good);
                self.last_good = Mark::at(now_ms);
                self.bad_run = 0;
                self.good_run = self.good_run.saturating_add(1);
                let recovered = self.state != HealthState::Degraded || self.good_run >= GOOD_RUN;
                if self.state != HealthState::Ok && recovered {
                    self.enter(device, now_ms, HealthState::Ok, None, text("answers"), &mut out);
                }
            }
            Contact::Malformed(reason) => {
                count(&mut self.counters.malformed);
                self.bad(device, now_ms, Cause::Noise, reason, &mut out);
            }
            Contact::Refused(reason) => {
                count(&mut self.counters.refused);
                self.bad(device, now_ms, Cause::Refused, reason, &mut out);
            }
            Contact::SensorFault(reason) => {
                count(&mut self.counters.refused);
                self.bad(device, now_ms, Cause::SensorFault, reason, &mut out);
            }
            Contact::Timeout => {
                count(&mut self.counters.timeouts);
                self.good_run = 0;
                out.extend(self.tick(device, now_ms));
            }
            Contact::Unreachable(reason) => self.down(device, now_ms, self.road.closed(), reason, &mut out),
            Contact::Down(cause, reason) => self.down(device, now_ms, *cause, reason, &mut out),
        }
        out
    }

    /// Lets time pass; returns `Lost` once when the silence has lasted.
    pub fn tick(&mut self, device: &str, now_ms: u64) -> Option<Health> {
        let silent = now_ms.saturating_sub(self.heard_ms);
        let quiet = matches!(self.state, HealthState::Seen | HealthState::Ok | HealthState::Degraded)
            || (self.state == HealthState::Lost && !self.told_lost);
        if silent < u64::from(self.lost_after_ms) || !quiet {
            return None;
        }
        let never = if self.heard_ever { "" } else { " since the start" };
        // Whole seconds where they are many: tags by the thousand then share the text.
        let silence = if silent < 10_000 { format!("{silent} ms") } else { format!("{} s", silent / 1_000) };
        let reason = format!("silent for {silence}{never}");
        let mut out = Vec::new();
        self.enter(device, now_ms, HealthState::Lost, Some(self.road.silence()), text(&reason), &mut out);
        // Nobody knows when a silent device went away; it worked until it was heard last.
        let trouble = self.trouble.get().map(|since| since.min(self.heard_ms));
        self.trouble = trouble.map_or(Mark::NONE, Mark::at);
        out.iter_mut().for_each(|health| health.trouble_mono_ms = trouble);
        self.told_lost = true;
        out.pop()
    }

    /// Our side can reach the device again (port reopened): silence counts from now.
    pub fn reachable(&mut self, device: &str, now_ms: u64) -> Option<Health> {
        if self.state != HealthState::Failed {
            return None;
        }
        self.heard_ms = now_ms;
        let mut out = Vec::new();
        let cause = Some(Cause::Starting);
        self.enter(
            device,
            now_ms,
            HealthState::Lost,
            cause,
            text("reachable again, not heard yet"),
            &mut out,
        );
        self.told_lost = false;
        out.pop()
    }

    fn heard(&mut self, device: &str, now_ms: u64, out: &mut Vec<Health>) {
        self.heard_ms = now_ms;
        self.told_lost = false;
        if !self.heard_ever {
            self.heard_ever = true;
            self.enter(device, now_ms, HealthState::Seen, None, text("first contact"), out);
        }
    }

    fn down(&mut self, device: &str, now_ms: u64, cause: Cause, reason: &Arc<str>, out: &mut Vec<Health>) {
        self.good_run = 0;
        if self.state != HealthState::Failed || self.cause != Some(cause) {
            self.enter(device, now_ms, HealthState::Failed, Some(cause), one_line(reason), out);
        }
    }

    fn bad(&mut self, device: &str, now_ms: u64, cause: Cause, reason: &str, out: &mut Vec<Health>) {
        self.heard(device, now_ms, out);
        self.good_run = 0;
        self.bad_run = self.bad_run.saturating_add(1);
        if self.state != HealthState::Degraded && self.bad_run >= BAD_RUN {
            self.enter(device, now_ms, HealthState::Degraded, Some(cause), text(&clip(reason)), out);
        }
    }

    fn enter(
        &mut self,
        device: &str,
        now_ms: u64,
        state: HealthState,
        cause: Option<Cause>,
        reason: Arc<str>,
        out: &mut Vec<Health>,
    ) {
        if self.state != state {
            self.since_mono_ms = now_ms;
        }
        self.state = state;
        self.reason = reason;
        self.cause = cause;
        self.trouble = cause.map_or(Mark::NONE, |_| Mark::at(self.trouble.get().unwrap_or(now_ms)));
        out.push(self.health(device));
    }
}

/// A reason that many devices share, unless it has to be cut.
fn one_line(reason: &Arc<str>) -> Arc<str> {
    let clipped = clip(reason);
    if *clipped == **reason { Arc::clone(reason) } else { text(&clipped) }
}

/// One allocation for each text that devices by the thousand have at the same time: those that every device has, and those
/// that were made last.
fn text(text: &str) -> Arc<str> {
    static SHARED: LazyLock<[Arc<str>; 4]> =
        LazyLock::new(|| ["", NOT_HEARD, "answers", "first contact"].map(Arc::from));
    static LAST: Mutex<VecDeque<Arc<str>>> = Mutex::new(VecDeque::new());
    if let Some(shared) = SHARED.iter().find(|shared| ***shared == *text) {
        return Arc::clone(shared);
    }
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = last.iter().find(|shared| ***shared == *text) {
        return Arc::clone(shared);
    }
    let made: Arc<str> = text.into();
    last.truncate(LAST_MAX - 1);
    last.push_front(Arc::clone(&made));
    made
}

/// Counts one more.
pub(crate) const fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// Puts a reason on one line (some texts of D-Bus end with a line feed) and cuts it to its bound at a character boundary.
pub(crate) fn clip(text: &str) -> String {
    clip_to(&text.trim_end().replace(['\n', '\r'], " "), REASON_BYTES_MAX)
}

/// Cuts a text to `max` bytes at a character boundary.
pub(crate) fn clip_to(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::BusAt;

    fn vital(now_ms: u64) -> Vital {
        Vital::new(Road::Unknown, now_ms, 1_000)
    }

    fn states(list: &[Health]) -> Vec<HealthState> {
        list.iter().map(|h| h.state).collect()
    }

    #[test]
    fn first_good_contact_reports_seen_then_ok() {
        let mut vital = vital(0);
        assert_eq!(states(&vital.contact("dev-1", 10, &Contact::Good)), [HealthState::Seen, HealthState::Ok]);
        assert!(vital.contact("dev-1", 20, &Contact::Good).is_empty());
    }

    #[test]
    fn silence_is_reported_once_and_contact_heals() {
        let mut vital = vital(0);
        vital.contact("dev-1", 10, &Contact::Good);
        assert!(vital.tick("dev-1", 1_009).is_none());
        let lost = vital.tick("dev-1", 1_010).unwrap();
        assert_eq!(lost.state, HealthState::Lost);
        assert!(vital.tick("dev-1", 5_000).is_none(), "reported once");
        assert_eq!(states(&vital.contact("dev-1", 6_000, &Contact::Good)), [HealthState::Ok]);
    }

    #[test]
    fn a_device_never_heard_is_reported_lost() {
        let mut vital = vital(100);
        assert!(vital.tick("dev-1", 1_099).is_none());
        assert_eq!(vital.contact("dev-1", 1_100, &Contact::Timeout).len(), 1);
        assert!(vital.tick("dev-1", 9_000).is_none());
    }

    #[test]
    fn alternating_noise_does_not_flap() {
        let mut vital = vital(0);
        vital.contact("dev-1", 0, &Contact::Good);
        let mut events = 0;
        for step in 1..1_000 {
            let noise = Contact::Malformed("checksum".to_owned());
            events += vital.contact("dev-1", step, if step % 2 == 0 { &Contact::Good } else { &noise }).len();
        }
        assert_eq!(events, 0);
        assert_eq!(vital.health("dev-1").counters.malformed, 500);
    }

    #[test]
    fn a_run_of_noise_degrades_and_a_run_of_good_heals() {
        let mut vital = vital(0);
        vital.contact("dev-1", 0, &Contact::Good);
        let noise = Contact::Malformed("checksum".to_owned());
        assert!(vital.contact("dev-1", 1, &noise).is_empty());
        assert_eq!(states(&vital.contact("dev-1", 2, &noise)), [HealthState::Degraded]);
        assert!(vital.contact("dev-1", 3, &Contact::Good).is_empty());
        assert_eq!(states(&vital.contact("dev-1", 4, &Contact::Good)), [HealthState::Ok]);
    }

    #[test]
    fn an_unplugged_port_fails_and_comes_back_through_lost() {
        let mut vital = vital(0);
        vital.contact("dev-1", 0, &Contact::Good);
        let gone = Contact::Unreachable("port gone".into());
        assert_eq!(states(&vital.contact("dev-1", 5, &gone)), [HealthState::Failed]);
        assert!(vital.contact("dev-1", 6, &gone).is_empty());
        assert!(vital.tick("dev-1", 9_000).is_none());
        assert_eq!(vital.reachable("dev-1", 9_001).unwrap().state, HealthState::Lost);
        assert_eq!(states(&vital.contact("dev-1", 9_002, &Contact::Good)), [HealthState::Ok]);
    }

    #[test]
    fn a_trouble_has_a_cause_an_advice_and_a_beginning_until_it_ends() {
        let mut vital = vital(0);
        vital.place(Road::Rtu { bus: BusAt::boxed("cold", "/dev/x"), unit: 7 });
        vital.contact("dev-1", 10, &Contact::Good);
        assert_eq!((vital.health("dev-1").cause, vital.health("dev-1").trouble_mono_ms), (None, None));
        let lost = vital.tick("dev-1", 1_010).unwrap();
        assert_eq!(
            (lost.cause, lost.trouble_mono_ms),
            (Some(Cause::Mute), Some(10)),
            "since it was heard last"
        );
        assert!(lost.advice.contains("unit 7 on bus cold"), "{}", lost.advice);
        // The bus itself goes away: another cause, the same trouble.
        let failed = vital.contact("dev-1", 2_000, &Contact::Unreachable("EIO".into())).pop().unwrap();
        assert_eq!((failed.cause, failed.trouble_mono_ms), (Some(Cause::PortFault), Some(10)));
        assert!(vital.contact("dev-1", 2_100, &Contact::Unreachable("EIO".into())).is_empty(), "told once");
        let gone = Contact::Down(Cause::PortMissing, "no such file".into());
        let missing = vital.contact("dev-1", 2_200, &gone).pop().unwrap();
        assert_eq!((missing.state, missing.cause), (HealthState::Failed, Some(Cause::PortMissing)));
        assert_eq!(missing.since_mono_ms, 2_000, "the state began earlier than its better reason");
        vital.reachable("dev-1", 3_000);
        let well = vital.contact("dev-1", 3_010, &Contact::Good).pop().unwrap();
        assert_eq!((well.cause, well.trouble_mono_ms, &*well.advice), (None, None, ""));
    }

    #[test]
    fn a_broken_probe_is_not_a_refusal() {
        let mut vital = vital(0);
        let broken = Contact::SensorFault("temperature: open circuit".to_owned());
        vital.contact("dev-1", 1, &broken);
        let bad = vital.contact("dev-1", 2, &broken).pop().unwrap();
        assert_eq!((bad.state, bad.cause), (HealthState::Degraded, Some(Cause::SensorFault)));
    }

    #[test]
    fn reasons_are_one_line_cut_at_a_character() {
        let text = "é".repeat(200);
        assert!(clip(&text).len() <= REASON_BYTES_MAX);
        assert_eq!(clip("no such\nmethod\n"), "no such method");
    }
}
