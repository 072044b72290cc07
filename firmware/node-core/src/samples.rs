//! Buffered samples: a ring with sequence numbers, kept until the master has acknowledged them or newer ones need the place.
//!
//! The slots are plain words, each with a checksum, so that a board can keep them in memory that a reset leaves alone:
//! [`Samples::recover`] takes what is still whole. Sequence numbers begin at 1 and never go back; where memory was lost they go
//! on from the end of the block that the settings had reserved ([`crate::settings`]), so a master sees a jump, never a
//! number for the second time.

use drv_protocol::node::{PROBES, SLOT_WORDS, SLOTS};

/// Slots.
const COUNT: usize = SLOTS as usize;
/// Words of a sample on the wire.
const WORDS: usize = SLOT_WORDS as usize;

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Sample {
    /// Its number; 0: none.
    pub sequence: u32,
    /// Seconds since the start when it was taken.
    pub uptime_s: u32,
    /// Probes in tenths of a degree, [`drv_protocol::node::NO_READING`] where there is none.
    pub tenths: [u16; PROBES],
    /// Status bits.
    pub status: u16,
    /// Quality of the probes, four bits each, probe 1 lowest.
    pub quality: u16,
}

impl Sample {
    /// As on the wire.
    #[must_use]
    pub fn words(&self) -> [u16; WORDS] {
        let [a, b] = halves(self.sequence);
        let [c, d] = halves(self.uptime_s);
        let [t1, t2, t3, t4] = self.tenths;
        [a, b, c, d, t1, t2, t3, t4, self.status, self.quality]
    }

    fn of(words: &[u16; WORDS]) -> Self {
        let [a, b, c, d, t1, t2, t3, t4, status, quality] = *words;
        Self { sequence: joined(a, b), uptime_s: joined(c, d), tenths: [t1, t2, t3, t4], status, quality }
    }
}

/// High and low word.
#[must_use]
pub fn halves(value: u32) -> [u16; 2] {
    let [a, b, c, d] = value.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn joined(high: u16, low: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

/// The memory of the ring: any content is allowed, since nothing is believed without its checksum.
#[derive(Clone, Debug)]
#[repr(transparent)]
pub struct Slots([[u16; WORDS + 1]; COUNT]);

impl Slots {
    /// Empty.
    pub const EMPTY: Self = Self([[0; WORDS + 1]; COUNT]);

    fn get(&self, sequence: u32) -> Option<Sample> {
        let [words @ .., check] = self.0.get(place(sequence))?;
        let sample = Sample::of(words);
        (sequence != 0 && sample.sequence == sequence && *check == checksum(words)).then_some(sample)
    }

    fn put(&mut self, sample: &Sample) {
        if let Some([words @ .., check]) = self.0.get_mut(place(sample.sequence)) {
            // The checksum is spoilt first: a reset half-way leaves no whole slot.
            *check = !checksum(&sample.words());
            *words = sample.words();
            *check = checksum(words);
        }
    }
}

fn place(sequence: u32) -> usize {
    usize::try_from(sequence).unwrap_or(0) % COUNT
}

/// A Fletcher-like sum whose start value keeps a slot of zeros from being whole.
fn checksum(words: &[u16; WORDS]) -> u16 {
    words.iter().fold(0x5359_u16, |sum, word| sum.rotate_left(3).wrapping_add(*word) ^ 0x0F1E)
}

/// The ring.
#[derive(Debug)]
pub struct Samples<'a> {
    slots: &'a mut Slots,
    /// Newest number, 0 before the first.
    newest: u32,
    /// Everything up to here is acknowledged or overwritten.
    done: u32,
    lost: u16,
}

impl<'a> Samples<'a> {
    /// Over memory of which nothing is believed; the next number follows `last`.
    pub fn new(slots: &'a mut Slots, last: u32) -> Self {
        *slots = Slots::EMPTY;
        Self { slots, newest: last, done: last, lost: 0 }
    }

    /// Over memory that a reset may have left alone: goes on behind the newest whole slot, if that is within
    /// `last - reserve ..= last`, the numbers that may have been given before the reset.
    pub fn recover(slots: &'a mut Slots, last: u32, reserve: u32) -> Self {
        let first = last.saturating_sub(reserve);
        let newest = (first..=last).rev().find(|sequence| slots.get(*sequence).is_some());
        let Some(newest) = newest else { return Self::new(slots, last) };
        let mut done = newest;
        while slots.get(done).is_some() && newest - done < u32::from(SLOTS) {
            done -= 1;
        }
        Self { slots, newest, done, lost: 0 }
    }

    /// Adds a sample; its number is set here.
    pub fn push(&mut self, sample: Sample) {
        self.newest = self.newest.saturating_add(1);
        self.slots.put(&Sample { sequence: self.newest, ..sample });
        let floor = self.newest.saturating_sub(u32::from(SLOTS));
        if self.done < floor {
            let over = u16::try_from(floor - self.done).unwrap_or(u16::MAX);
            self.lost = self.lost.saturating_add(over);
            self.done = floor;
        }
    }

    /// The newest number, 0 before the first.
    #[must_use]
    pub const fn newest(&self) -> u32 {
        self.newest
    }

    /// The oldest number that is not acknowledged; one more than the newest when there is none.
    #[must_use]
    pub const fn oldest(&self) -> u32 {
        self.done.saturating_add(1)
    }

    /// How many are not acknowledged.
    #[must_use]
    pub fn buffered(&self) -> u16 {
        u16::try_from(self.newest - self.done).unwrap_or(SLOTS)
    }

    /// How many were overwritten before they were acknowledged, at most 65535.
    #[must_use]
    pub const fn lost(&self) -> u16 {
        self.lost
    }

    /// Low word of the newest acknowledged number.
    #[must_use]
    pub fn acknowledged(&self) -> u16 {
        let [_, low] = halves(self.done);
        low
    }

    /// Whether a master may acknowledge the number with this low word: it is the last acknowledged one or buffered.
    #[must_use]
    pub fn may_acknowledge(&self, low: u16) -> bool {
        low.wrapping_sub(self.acknowledged()) <= self.buffered()
    }

    /// Acknowledges up to the number with this low word. `false`: it is not buffered, and nothing changes.
    pub fn acknowledge(&mut self, low: u16) -> bool {
        let held = self.may_acknowledge(low);
        if held {
            self.done += u32::from(low.wrapping_sub(self.acknowledged()));
        }
        held
    }

    /// The word at `offset` of the window; zeros in a slot that holds nothing. `None` behind its end.
    #[must_use]
    pub fn word(&self, offset: u16) -> Option<u16> {
        let slot = self.slots.0.get(usize::from(offset / SLOT_WORDS))?;
        let [words @ .., check] = slot;
        let sample = Sample::of(words);
        let whole =
            *check == checksum(words) && sample.sequence > self.done && sample.sequence <= self.newest;
        words.get(usize::from(offset % SLOT_WORDS)).map(|word| if whole { *word } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drv_protocol::node::{WINDOW, slot_address};
    use proptest::prelude::*;
    extern crate std;
    use std::boxed::Box;

    fn sample(n: u32) -> Sample {
        let [_, low] = halves(n);
        Sample { sequence: 0, uptime_s: n, tenths: [low, 1, 2, 0x8000], status: 3, quality: 0x2000 }
    }

    fn read(samples: &Samples<'_>, sequence: u32) -> Sample {
        let start = slot_address(sequence) - WINDOW;
        let words: std::vec::Vec<u16> = (0..SLOT_WORDS).map(|n| samples.word(start + n).unwrap()).collect();
        Sample::of(words.as_slice().try_into().unwrap())
    }

    #[test]
    fn numbers_go_on_and_what_is_overwritten_is_counted() {
        let mut slots = Box::new(Slots::EMPTY);
        let mut samples = Samples::new(&mut slots, 70_000);
        assert_eq!((samples.oldest(), samples.newest(), samples.buffered()), (70_001, 70_000, 0));
        for n in 0..1_030 {
            samples.push(sample(n));
        }
        assert_eq!(
            (samples.newest(), samples.oldest(), samples.buffered(), samples.lost()),
            (71_030, 70_007, 1_024, 6)
        );
        assert_eq!(read(&samples, 71_030), Sample { sequence: 71_030, ..sample(1_029) });
        let [_, low] = halves(71_000);
        assert!(samples.acknowledge(low) && samples.buffered() == 30 && samples.oldest() == 71_001);
        assert!(samples.acknowledge(low), "again is no harm");
        assert!(!samples.acknowledge(low.wrapping_sub(1)) && !samples.acknowledge(low.wrapping_add(31)));
        assert_eq!(read(&samples, 71_000).sequence, 0, "acknowledged ones are gone");
        assert_eq!(samples.word(SLOTS * SLOT_WORDS), None);
    }

    #[test]
    fn a_reset_keeps_what_is_whole_and_lost_memory_jumps_ahead() {
        let mut slots = Box::new(Slots::EMPTY);
        let mut samples = Samples::new(&mut slots, 0);
        (0..50).for_each(|n| samples.push(sample(n)));
        samples.acknowledge(10);
        let again = Samples::recover(&mut slots, 256, 256);
        assert_eq!(
            (again.oldest(), again.newest(), again.buffered()),
            (1, 50, 50),
            "acknowledgements are not kept"
        );
        slots.0[48][3] ^= 1;
        let again = Samples::recover(&mut slots, 256, 256);
        assert_eq!((again.oldest(), again.newest()), (49, 50), "from behind the damage");
        slots.0.iter_mut().for_each(|slot| slot[10] = 0);
        let again = Samples::recover(&mut slots, 256, 256);
        assert_eq!((again.oldest(), again.newest(), again.buffered()), (257, 256, 0));
    }

    proptest! {
        #[test]
        fn any_memory_and_any_acknowledgement_are_safe(
            seed in any::<u64>(), last in 0_u32..5_000, pushes in 0_u32..2_100, lows in proptest::collection::vec(any::<u16>(), 0..20),
        ) {
            let mut slots = Box::new(Slots::EMPTY);
            let mut state = seed | 1;
            for word in slots.0.iter_mut().flatten() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *word = u16::from_be_bytes([state.to_be_bytes()[0], state.to_be_bytes()[1]]);
            }
            let mut samples = Samples::recover(&mut slots, last, 1_024);
            (0..pushes).for_each(|n| samples.push(sample(n)));
            for low in lows {
                let before = samples.oldest();
                samples.acknowledge(low);
                prop_assert!(samples.oldest() >= before && samples.oldest() <= samples.newest() + 1);
                prop_assert!(samples.buffered() <= SLOTS);
            }
            for sequence in samples.oldest()..=samples.newest() {
                prop_assert_eq!(read(&samples, sequence).sequence, sequence);
            }
        }
    }
}
