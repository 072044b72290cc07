//! From a profile to reads, and what has been read.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::schema::{PollClass, Profile};
use crate::modbus::{Request, Response, Table};

/// One read of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// Which unit of the bus, counted from the device's own.
    pub unit_offset: u8,
    /// The address space.
    pub table: Table,
    /// The first wire address.
    pub address: u16,
    /// How many addresses.
    pub count: u16,
    /// Every value read is optional: a refusal harms nothing else.
    pub optional: bool,
    /// How often it is made.
    pub class: PollClass,
}

impl Poll {
    /// The request to send.
    #[must_use]
    pub const fn request(&self) -> Request {
        Request::Read { table: self.table, address: self.address, count: self.count }
    }
}

/// What has been read of a device so far, by unit, table and wire address.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Image {
    words: BTreeMap<(u8, Table, u16), u16>,
}

impl Image {
    /// An image without any word.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the answer to a poll. Words beyond the poll's count are ignored.
    pub fn absorb(&mut self, poll: &Poll, response: &Response) {
        self.forget(poll);
        let (offset, table) = (poll.unit_offset, poll.table);
        let addresses = (0..poll.count).map(|index| poll.address.wrapping_add(index));
        match response {
            Response::Registers(words) => {
                addresses.zip(words).for_each(|(address, word)| self.put(offset, table, address, *word));
            }
            Response::Bits(bits) => {
                addresses
                    .zip(bits)
                    .for_each(|(address, bit)| self.put(offset, table, address, u16::from(*bit)));
            }
            Response::Written => {}
        }
    }

    /// Takes the words of any read, from a wire address on.
    pub(super) fn absorb_from(&mut self, unit_offset: u8, table: Table, address: u16, response: &Response) {
        let count = match response {
            Response::Registers(words) => words.len(),
            Response::Bits(bits) => bits.len(),
            Response::Written => 0,
        };
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let poll = Poll { unit_offset, table, address, count, optional: false, class: PollClass::Fast };
        self.absorb(&poll, response);
    }

    /// Drops what an earlier answer to a poll said, before it is asked anew: an old word is not a reading.
    pub fn forget(&mut self, poll: &Poll) {
        for index in 0..poll.count {
            self.words.remove(&(poll.unit_offset, poll.table, poll.address.wrapping_add(index)));
        }
    }

    /// Sets one word.
    pub fn put(&mut self, unit_offset: u8, table: Table, wire_address: u16, word: u16) {
        self.words.insert((unit_offset, table, wire_address), word);
    }

    /// Every word read: unit, table, wire address, word.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Table, u16, u16)> + '_ {
        self.words.iter().map(|((unit, table, address), word)| (*unit, *table, *address, *word))
    }

    /// A word that was read.
    #[must_use]
    pub fn word(&self, unit_offset: u8, table: Table, wire_address: u16) -> Option<u16> {
        self.words.get(&(unit_offset, table, wire_address)).copied()
    }
}

impl Profile {
    /// The reads that fetch every value and alarm, neighbours merged, in ascending order. Optional values are read apart; a
    /// read that contains one fast value is fast, since its slow neighbours come with it for a few characters.
    #[must_use]
    pub fn plan(&self) -> Vec<Poll> {
        let mut wanted: Vec<Poll> = self
            .registers
            .iter()
            .filter_map(|register| {
                Some(Poll {
                    unit_offset: register.unit_offset,
                    table: register.table,
                    address: self.wire_address(register.address)?,
                    count: register.kind.words(),
                    optional: register.optional,
                    class: register.poll,
                })
            })
            .collect();
        wanted.extend(self.alarms.iter().filter_map(|alarm| {
            Some(Poll {
                unit_offset: alarm.unit_offset,
                table: alarm.table,
                address: self.wire_address(alarm.address)?,
                count: 1,
                optional: alarm.optional,
                class: alarm.poll,
            })
        }));
        wanted.sort_by_key(|poll| (poll.unit_offset, poll.table, poll.optional, poll.address, poll.count));
        let mut polls: Vec<Poll> = Vec::new();
        for next in wanted {
            match polls.last_mut().and_then(|last| merged(*last, next, self).map(|poll| (last, poll))) {
                Some((last, poll)) => *last = poll,
                None => polls.push(next),
            }
        }
        polls
    }
}

/// Both polls as one, where the profile's merge rule allows it.
fn merged(last: Poll, next: Poll, profile: &Profile) -> Option<Poll> {
    let same = (last.unit_offset, last.table, last.optional) == (next.unit_offset, next.table, next.optional);
    let last_end = u32::from(last.address) + u32::from(last.count);
    let next_end = u32::from(next.address) + u32::from(next.count);
    let gap = u32::from(next.address).saturating_sub(last_end);
    let count = u16::try_from(next_end.max(last_end) - u32::from(last.address)).ok()?;
    let fits = count <= profile.merge.count_max && gap <= u32::from(profile.merge.gap_max);
    // The same optional address wanted twice is still one read; two optional addresses are not.
    let apart = last.optional && (last.address, last.count) != (next.address, next.count);
    (same && !apart && fits).then_some(Poll { count, class: last.class.min(next.class), ..last })
}
