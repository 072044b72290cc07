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

/// What a read is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A value of the profile.
    Value(Role),
    /// The sign of this index that the device is recognised by.
    Sign(usize),
}

/// One read to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What for.
    pub asked: Asked,
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

/// The reads that settle a profile on a device, offset by offset: its signs first, then its values.
#[must_use]
pub fn candidates(profile: &Profile) -> Vec<Candidate> {
    let at = |offset: i32| {
        let signs = profile.matches.iter().enumerate();
        let signs = signs.map(|(index, sign)| (Asked::Sign(index), 0, sign.table, sign.address, 1));
        let values = profile.registers.iter().map(|register| {
            let asked = Asked::Value(register.name);
            (asked, register.unit_offset, register.table, register.address, register.kind.words())
        });
        signs.chain(values).filter_map(move |(asked, unit_offset, table, address, count)| {
            let address = u16::try_from(i32::from(address).checked_add(offset)?).ok()?;
            let poll = Poll { unit_offset, table, address, count, optional: true, class: PollClass::Fast };
            Some(Candidate { asked, offset, poll })
        })
    };
    OFFSETS.into_iter().flat_map(at).take(CANDIDATES_MAX).collect()
}

/// How one offset fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// Signs that fit and values that are plausible at the profile's own scale.
    pub fits: usize,
    /// Signs that do not fit, impossible values, refused reads of values that the profile calls indispensable.
    pub against: usize,
}

/// What the answers say about the offsets, in the order of [`OFFSETS`]; `None` where a read was refused or not answered.
#[must_use]
pub fn tally(profile: &Profile, answers: &[(Candidate, Option<Response>)]) -> [Tally; OFFSETS.len()] {
    OFFSETS.map(|offset| {
        let mut tally = Tally::default();
        for (candidate, response) in answers.iter().filter(|(candidate, _)| candidate.offset == offset) {
            match profile.fits(candidate, response.as_ref()) {
                Some(true) => tally.fits += 1,
                Some(false) => tally.against += 1,
                None => {}
            }
        }
        tally
    })
}

/// The offset that the answers settle: two signs or values speak for it and none against, and something speaks against the
/// other.
#[must_use]
pub fn settled(tally: [Tally; OFFSETS.len()]) -> Option<i32> {
    let holds = |tally: Tally| tally.fits >= 2 && tally.against == 0;
    match tally {
        [minus, zero] if holds(minus) && zero.against > 0 => Some(OFFSETS[0]),
        [minus, zero] if holds(zero) && minus.against > 0 => Some(OFFSETS[1]),
        _ => None,
    }
}

impl Profile {
    /// What the words of the answer to a candidate (0 or 1 for bits) could mean: the profile's own scale first, then the others in use.
    #[must_use]
    pub fn readings(&self, candidate: &Candidate, words: &[u16]) -> Vec<Reading> {
        let Asked::Value(role) = candidate.asked else { return Vec::new() };
        let Some(register) = self.register(role) else { return Vec::new() };
        let Some(raw) = raw_of(register, words) else { return Vec::new() };
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

    /// Speaks for the candidate's offset, against it, or says nothing.
    fn fits(&self, candidate: &Candidate, response: Option<&Response>) -> Option<bool> {
        match (candidate.asked, response) {
            (Asked::Sign(index), Some(response)) => {
                self.matches.get(index).zip(words_of(response).first()).map(|(sign, word)| sign.fits(*word))
            }
            (Asked::Sign(_), None) => Some(false),
            (Asked::Value(role), None) => {
                self.register(role).filter(|register| !register.optional).map(|_| false)
            }
            (Asked::Value(_), Some(response)) => {
                match self.readings(candidate, &words_of(response)).first()?.plausible {
                    Plausible::Yes => Some(true),
                    Plausible::No => Some(false),
                    Plausible::Open | Plausible::Fault => None,
                }
            }
        }
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

fn words_of(response: &Response) -> Vec<u16> {
    match response {
        Response::Registers(words) => words.clone(),
        Response::Bits(bits) => bits.iter().map(|bit| u16::from(*bit)).collect(),
        Response::Written => Vec::new(),
    }
}

fn raw_of(register: &Register, words: &[u16]) -> Option<i64> {
    let first = *words.first()?;
    let second = if matches!(register.kind, Kind::S32 | Kind::U32) { *words.get(1)? } else { 0 };
    Some(register.raw_of([first, second]))
}
