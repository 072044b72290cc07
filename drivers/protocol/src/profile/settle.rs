//! What helps to settle an address offset or a scale that a manual leaves open: every value of a profile read at each
//! possible offset, and what its words would mean.
//!
//! Contract: reads only, at most [`CANDIDATES_MAX`] of them. A candidate is plausible when its number is physically possible
//! (or its state is one that the profile names); several plausible values at one offset and none at the other settle it,
//! one alone does not, since a wrong register often holds a small number too.

use alloc::vec::Vec;

use super::poll::Poll;
use super::schema::{Kind, PollClass, Profile, Ratio, Register, Role};
use crate::modbus::Response;

/// The most reads one probing makes.
pub const CANDIDATES_MAX: usize = 64;
/// The offsets a manual may mean: addresses counted from one, or from zero.
pub const OFFSETS: [i32; 2] = [-1, 0];
/// Other scales that devices of this kind use: whole, tenths, hundredths.
const SCALES: [Ratio; 3] =
    [Ratio { num: 1000, den: 1 }, Ratio { num: 100, den: 1 }, Ratio { num: 10, den: 1 }];

/// One read to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What the profile takes the value for.
    pub role: Role,
    /// The address offset tried, instead of the profile's own.
    pub offset: i32,
    /// The read.
    pub poll: Poll,
}

/// How a number fits the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Plausible {
    /// Within the physical range, or a state or flag that the profile knows.
    Yes,
    /// The profile sets no limits to it.
    Open,
    /// The device's mark for "no reading".
    Fault,
    /// Impossible.
    No,
}

impl Plausible {
    /// The word shown to people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Yes => "plausible",
            Self::Open => "open",
            Self::Fault => "fault value",
            Self::No => "impossible",
        }
    }
}

/// One meaning of the words read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The raw number.
    pub raw: i64,
    /// The factor tried: thousandths per raw step; absent for numbers that are no quantity.
    pub scale: Option<Ratio>,
    /// The number in thousandths of its unit.
    pub milli: Option<i64>,
    /// The factor is the profile's own.
    pub own: bool,
    /// How it fits.
    pub plausible: Plausible,
}

/// The reads that settle a profile on a device, offset by offset.
#[must_use]
pub fn candidates(profile: &Profile) -> Vec<Candidate> {
    let at = |offset: i32| {
        profile.registers.iter().filter_map(move |register| {
            let address = u16::try_from(i32::from(register.address).checked_add(offset)?).ok()?;
            let poll = Poll {
                unit_offset: register.unit_offset,
                table: register.table,
                address,
                count: register.kind.words(),
                optional: true,
                class: PollClass::Fast,
            };
            Some(Candidate { role: register.name, offset, poll })
        })
    };
    OFFSETS.into_iter().flat_map(at).take(CANDIDATES_MAX).collect()
}

impl Profile {
    /// What the answer to a candidate could mean: the profile's own scale first, then the others in use.
    #[must_use]
    pub fn readings(&self, candidate: &Candidate, response: &Response) -> Vec<Reading> {
        let Some(register) = self.register(candidate.role) else { return Vec::new() };
        let Some(raw) = raw_of(register, response) else { return Vec::new() };
        let Some(own) = register.scale_milli else {
            let plausible = self.plausible_raw(register, raw);
            return [Reading { raw, scale: None, milli: None, own: true, plausible }].to_vec();
        };
        let others = SCALES.into_iter().filter(|scale| *scale != own);
        let others = others.filter(|_| register.name.is_temperature());
        [own]
            .into_iter()
            .chain(others)
            .map(|scale| {
                let milli = register.scaled(raw, scale, 0);
                let plausible = plausible_milli(register, raw, milli);
                Reading { raw, scale: Some(scale), milli: Some(milli), own: scale == own, plausible }
            })
            .collect()
    }

    fn plausible_raw(&self, register: &Register, raw: i64) -> Plausible {
        if register.fault_raw.contains(&raw) {
            return Plausible::Fault;
        }
        let mut known = self.states.iter().filter(|rule| rule.name == register.name).map(|rule| rule.raw);
        match known.next() {
            None => Plausible::Open,
            Some(first) if first == raw || known.any(|other| other == raw) => Plausible::Yes,
            Some(_) => Plausible::No,
        }
    }
}

fn plausible_milli(register: &Register, raw: i64, milli: i64) -> Plausible {
    if register.fault_raw.contains(&raw) {
        return Plausible::Fault;
    }
    match (register.min_milli, register.max_milli) {
        (None, None) => Plausible::Open,
        (min, max) if min.is_none_or(|min| milli >= min) && max.is_none_or(|max| milli <= max) => {
            Plausible::Yes
        }
        _ => Plausible::No,
    }
}

fn raw_of(register: &Register, response: &Response) -> Option<i64> {
    let word = |at: usize| match response {
        Response::Registers(words) => words.get(at).copied(),
        Response::Bits(bits) => bits.get(at).map(|bit| u16::from(*bit)),
        Response::Written => None,
    };
    let second = if matches!(register.kind, Kind::S32 | Kind::U32) { word(1)? } else { 0 };
    Some(register.raw_of([word(0)?, second]))
}
