//! The tail file: samples that no block holds yet, made durable every few seconds with one write and one `fdatasync`.
//!
//! A file of frames, overwritten from its begin whenever the samples of its frames have become blocks. A frame:
//! `"SYTF" | payload bytes, u32 | generation, u64 | number, u32 | CRC-32 | payload`, little-endian; the checksum covers the
//! identity of the block file, the fields before it and the payload. The payload: base time, i64, then for each series its
//! number, its count of samples (LEB128) and their bits ([`super::series`]), filled up to a byte.
//!
//! Invariants
//! * Only frames of the open generation count: what stands behind them is from earlier and already in blocks.
//! * Frames do not depend on each other: a damaged one loses its own samples and is reported when a good one follows. At the
//!   end that cannot be told: a damaged last frame looks like one that a power cut tore, which was never durable, and last
//!   frames on a zeroed page look like frames that were never written.
//! * A frame straddles a page only if it is larger than one: a flush dirties one page of the disk, not two.

use super::series::{Point, Points, Run, checksum, put_number, take_number};
use std::collections::BTreeMap;
use std::io;
use sync_model::UnixMillis;

/// Size from which the samples of the file are made into blocks.
pub(super) const CAPACITY: usize = 1 << 20;
/// What the disk writes at least.
const PAGE: usize = 4_096;
const MAGIC: &[u8; 4] = b"SYTF";
const HEAD: usize = 24;

/// Where the tail lies: the file, or a disk of a test that loses what was not synced.
pub(super) trait Disk {
    /// Everything, from the begin.
    fn read(&mut self) -> io::Result<Vec<u8>>;
    /// Writes all bytes at an offset.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

impl Disk for std::fs::File {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        use std::io::{Read, Seek};
        self.rewind()?;
        let mut bytes = Vec::new();
        // Whatever somebody appended to it is not ours.
        self.take(2 * CAPACITY as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The tail file, open for writing.
#[derive(Debug)]
pub(super) struct Journal<D> {
    disk: D,
    /// Identity of the block file that the frames belong to.
    identity: u64,
    generation: u64,
    /// Number of the next frame.
    number: u32,
    /// Where the next frame may begin.
    end: usize,
}

/// What was found in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    /// Series number and sample, in the order of recording.
    pub(super) points: Vec<(u32, Point)>,
    /// Frames that are missing before a good one.
    pub(super) lost: u32,
}

impl<D: Disk> Journal<D> {
    /// Takes over a file: its frames of `generation` are read, the next ones go behind them.
    pub(super) fn open(mut disk: D, identity: u64, generation: u64) -> io::Result<(Self, Replayed)> {
        let bytes = disk.read()?;
        if bytes.len() < CAPACITY {
            // Once: later writes change no size and allocate no blocks, so a sync writes nothing but the page. Page by page: the
            // page cache takes one large write as one large folio, and each flush of a page in it then counts as all of it.
            for at in (bytes.len()..CAPACITY).step_by(PAGE) {
                disk.write(at as u64, &vec![0; PAGE.min(CAPACITY - at)])?;
            }
            disk.sync()?;
        }
        let mut journal = Self { disk, identity, generation, number: 0, end: 0 };
        let replayed = journal.replay(&bytes);
        Ok((journal, replayed))
    }

    fn replay(&mut self, bytes: &[u8]) -> Replayed {
        let mut found = Replayed::default();
        let mut at = 0;
        while let Some(frame) = bytes.get(at..).filter(|rest| rest.len() >= HEAD) {
            match self.frame(frame) {
                Some((number, payload)) if number >= self.number => {
                    found.lost = found.lost.saturating_add(number - self.number);
                    found.points.extend(points(payload));
                    self.number = number.saturating_add(1);
                    at += HEAD + payload.len();
                    self.end = at;
                }
                // On to whatever else may be the begin of a frame.
                _ => at += 1 + frame.iter().skip(1).position(|byte| *byte == MAGIC[0]).unwrap_or(frame.len()),
            }
        }
        found
    }

    /// The frame at the begin of `bytes`, when there is one of this generation.
    fn frame<'a>(&self, bytes: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let word = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let generation = u64::from_le_bytes(head.get(8..16)?.try_into().ok()?);
        if !head.starts_with(MAGIC) || generation != self.generation {
            return None;
        }
        let payload = rest.get(..usize::try_from(word(4)?).ok()?)?;
        let sum = frame_sum(self.identity, head.get(..20)?, payload);
        (word(20)? == sum).then_some((word(16)?, payload))
    }

    /// Whether `payload` more bytes still belong into this generation.
    pub(super) fn has_room(&self, payload: usize) -> bool {
        self.place(payload) + HEAD + payload <= CAPACITY
    }

    fn place(&self, payload: usize) -> usize {
        let size = HEAD + payload;
        if size <= PAGE && self.end % PAGE + size > PAGE { self.end.next_multiple_of(PAGE) } else { self.end }
    }

    /// Writes a frame and makes it durable; answers how much of the file it took.
    pub(super) fn append(&mut self, payload: &[u8]) -> io::Result<usize> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let mut frame = Vec::with_capacity(HEAD + payload.len());
        frame.extend_from_slice(MAGIC);
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&self.generation.to_le_bytes());
        frame.extend_from_slice(&self.number.to_le_bytes());
        let sum = frame_sum(self.identity, &frame, payload);
        frame.extend_from_slice(&sum.to_le_bytes());
        frame.extend_from_slice(payload);
        let at = self.place(payload.len());
        self.disk.write(at as u64, &frame)?;
        self.disk.sync()?;
        self.number += 1;
        let before = std::mem::replace(&mut self.end, at + frame.len());
        Ok(self.end - before)
    }

    /// Everything so far is durable elsewhere: the next frames belong to `generation` and begin anew.
    pub(super) fn restart(&mut self, generation: u64) {
        (self.generation, self.number, self.end) = (generation, 0, 0);
    }
}

fn frame_sum(identity: u64, head: &[u8], payload: &[u8]) -> u32 {
    // Chained: the sum of the head is the key of the payload.
    checksum(u64::from(checksum(identity, head)), payload)
}

/// The payload of a frame, samples by series.
pub(super) fn payload(pending: &BTreeMap<u32, Vec<Point>>) -> Vec<u8> {
    let base = pending.values().flatten().next().map_or(UnixMillis(0), |point| point.at);
    let mut bytes = base.0.to_le_bytes().to_vec();
    let mut run = Run::new(base);
    for (series, points) in pending.iter().filter(|(_, points)| !points.is_empty()) {
        run.restart(base);
        points.iter().for_each(|point| run.push(*point));
        put_number(&mut bytes, usize::try_from(*series).unwrap_or(usize::MAX));
        put_number(&mut bytes, run.count());
        bytes.extend_from_slice(run.bytes());
    }
    bytes
}

/// The samples of a payload, as far as it can be read; its checksum was right, so that is all of it.
fn points(payload: &[u8]) -> Vec<(u32, Point)> {
    let mut found = Vec::new();
    let Some((base, mut rest)) = payload.split_at_checked(8) else { return found };
    let base = UnixMillis(base.try_into().map_or(0, i64::from_le_bytes));
    while !rest.is_empty() {
        let Some((series, after)) = take_number(rest) else { break };
        let Some((count, bits)) = take_number(after) else { break };
        let Ok(series) = u32::try_from(series) else { break };
        let mut points = Points::new(bits, count, base);
        found.extend(points.by_ref().map_while(Result::ok).map(|point| (series, point)));
        let Some(next) = points.end().ok().and_then(|used| bits.get(used..)) else { break };
        rest = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A disk that at a power cut keeps what was synced and any part of what was not.
    #[derive(Clone, Debug, Default)]
    struct Platter {
        durable: Vec<u8>,
        cached: Vec<(usize, Vec<u8>)>,
        /// Operations until the power goes.
        left: usize,
    }

    impl Platter {
        fn apply(&mut self, at: usize, bytes: &[u8]) {
            let end = at + bytes.len();
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[at..end].copy_from_slice(bytes);
        }

        /// What is there after the cut: of each write that was not synced, sectors of 512 bytes by the bits of `kept`.
        fn cut(mut self, kept: u64) -> Self {
            let mut sector = 0;
            for (at, bytes) in std::mem::take(&mut self.cached) {
                for (index, part) in bytes.chunks(512).enumerate() {
                    if kept >> (sector % 64) & 1 == 1 {
                        self.apply(at + index * 512, part);
                    }
                    sector += 1;
                }
            }
            self.left = usize::MAX;
            self
        }

        fn step(&mut self) -> io::Result<()> {
            self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other("no power"))?;
            Ok(())
        }
    }

    impl Disk for &mut Platter {
        fn read(&mut self) -> io::Result<Vec<u8>> {
            Ok(self.durable.clone())
        }

        fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
            // The write itself may get through in part even when the power goes during it.
            self.cached.push((usize::try_from(at).unwrap(), bytes.to_vec()));
            self.step()
        }

        fn sync(&mut self) -> io::Result<()> {
            self.step()?;
            for (at, bytes) in std::mem::take(&mut self.cached) {
                self.apply(at, &bytes);
            }
            Ok(())
        }
    }

    fn pending(round: i64, series: u32) -> BTreeMap<u32, Vec<Point>> {
        let point = |n| Point { at: UnixMillis(round * 4_000 + n * 1_000), value: n * round, good: n != 2 };
        (0..series).map(|id| (id, (0..4).map(point).collect())).collect()
    }

    fn flat(pending: &BTreeMap<u32, Vec<Point>>) -> Vec<(u32, Point)> {
        pending.iter().flat_map(|(id, points)| points.iter().map(|point| (*id, *point))).collect()
    }

    #[test]
    fn frames_come_back_and_an_old_generation_does_not() {
        let mut disk = Platter { left: usize::MAX, ..Platter::default() };
        let (mut journal, found) = Journal::open(&mut disk, 5, 1).unwrap();
        assert_eq!(found, Replayed::default());
        let mut all = Vec::new();
        for round in 0..30 {
            journal.append(&payload(&pending(round, 150))).unwrap();
            all.extend(flat(&pending(round, 150)));
        }
        let (mut journal, found) = Journal::open(&mut disk, 5, 1).unwrap();
        assert_eq!(found, Replayed { points: all, lost: 0 });
        journal.restart(2);
        journal.append(&payload(&pending(7, 1))).unwrap();
        let (_, found) = Journal::open(&mut disk, 5, 2).unwrap();
        assert_eq!(found, Replayed { points: flat(&pending(7, 1)), lost: 0 });
        let (_, found) = Journal::open(&mut disk, 6, 2).unwrap();
        assert_eq!(found.points, vec![], "another file's tail");
    }

    #[test]
    fn a_damaged_frame_loses_itself_and_is_counted() {
        let mut disk = Platter { left: usize::MAX, ..Platter::default() };
        let (mut journal, _) = Journal::open(&mut disk, 5, 1).unwrap();
        let mut begins = Vec::new();
        for round in 0..5 {
            begins.push(journal.place(payload(&pending(round, 20)).len()));
            journal.append(&payload(&pending(round, 20))).unwrap();
        }
        disk.durable[begins[2] + 30] ^= 1;
        let (_, found) = Journal::open(&mut disk, 5, 1).unwrap();
        let expected: Vec<_> = [0, 1, 3, 4].into_iter().flat_map(|round| flat(&pending(round, 20))).collect();
        assert_eq!(found, Replayed { points: expected, lost: 1 });
    }

    #[test]
    fn frames_up_to_a_page_straddle_none_and_the_file_does_not_grow() {
        let mut disk = Platter { left: usize::MAX, ..Platter::default() };
        let (mut journal, _) = Journal::open(&mut disk, 5, 1).unwrap();
        let mut frames = 0;
        loop {
            let bytes = payload(&pending(frames, 150));
            if !journal.has_room(bytes.len()) {
                break;
            }
            let at = journal.place(bytes.len());
            assert_eq!(at / PAGE, (at + HEAD + bytes.len() - 1) / PAGE);
            journal.append(&bytes).unwrap();
            frames += 1;
        }
        assert!(frames > 256, "{frames} frames");
        assert_eq!(disk.durable.len(), CAPACITY);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn a_power_cut_at_any_operation_keeps_what_was_synced(cut in 0_usize..40, kept: u64, series in 1_u32..200) {
            let mut disk = Platter { left: usize::MAX, ..Platter::default() };
            drop(Journal::open(&mut disk, 5, 1).unwrap());
            disk.left = cut;
            let (mut journal, _) = Journal::open(&mut disk, 5, 1).unwrap();
            let (mut durable, mut under_way) = (Vec::new(), Vec::new());
            for round in 0..50 {
                let part = pending(round, series);
                match journal.append(&payload(&part)) {
                    Ok(_) => durable.extend(flat(&part)),
                    Err(_) => {
                        under_way = flat(&part);
                        break;
                    }
                }
            }
            let mut disk = disk.cut(kept);
            let (mut journal, found) = Journal::open(&mut disk, 5, 1).unwrap();
            prop_assert_eq!(found.lost, 0);
            let rest = found.points.strip_prefix(&durable[..]);
            prop_assert!(rest.is_some_and(|rest| rest.is_empty() || *rest == under_way[..]));
            let before = found.points.clone();
            // Life goes on behind it.
            journal.append(&payload(&pending(99, series))).unwrap();
            let (_, found) = Journal::open(&mut disk, 5, 1).unwrap();
            prop_assert_eq!(found.lost, 0);
            prop_assert_eq!(found.points, [before, flat(&pending(99, series))].concat());
        }

        #[test]
        fn any_file_is_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000), at in 0_usize..2_000) {
            let mut disk = Platter { left: usize::MAX, ..Platter::default() };
            let (mut journal, _) = Journal::open(&mut disk, 5, 1).unwrap();
            journal.append(&payload(&pending(1, 100))).unwrap();
            let end = (at + bytes.len()).min(disk.durable.len());
            disk.durable[at..end].copy_from_slice(&bytes[..end - at]);
            let (_, found) = Journal::open(&mut disk, 5, 1).unwrap();
            let whole = found.points == flat(&pending(1, 100));
            prop_assert!(whole || found.points.is_empty());
            points(&bytes);
        }
    }
}
