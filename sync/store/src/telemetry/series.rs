//! The series codec: samples of one value of one device as a block of bits, and back. No IO, no clock.
//!
//! A block: `version (1) | count, LEB128 | bits | CRC-32 (IEEE, little-endian) of key and everything before`. The key (8
//! bytes, given by the caller, not stored) is where the block belongs, so that a block in a wrong place is not believed.
//!
//! A sample, in arrival order: its time as zigzag difference of differences, then its value as zigzag difference to the last
//! value of the same quality. Both are numbers of a class: `n` ones, a zero, then the offset into that class:
//!
//! | ones | time: offset bits | value: offset bits |
//! |---|---|---|
//! | 0 | 0 (as before) | 0 (as before) |
//! | 1 | 3 | 4 |
//! | 2 | 6 | 7 |
//! | 3 | 9 | 10 |
//! | 4 | 14 | 17 |
//! | 5 | 64, the number itself; no zero before it | 64, the number itself |
//! | 6 | | quality changes, another value follows; no zero before it |
//!
//! Contract
//! * Exact: any `i64` time and value, in any order, comes back as it was. One sequence of samples has one encoding, so
//!   `encode(decode(block)) == block`.
//! * Any bytes decode to samples or to a named [`BlockError`], without panic, in memory bounded by [`POINTS_MAX`].

use super::bits::{BitReader, BitWriter};
use sync_model::UnixMillis;

/// Most samples of one block.
pub const POINTS_MAX: usize = 4_096;
/// Version in the first byte of a block.
const VERSION: u8 = 1;
/// Bytes of the checksum at the end.
const SUM_BYTES: usize = 4;
/// Offset bits by class, for times.
const TIME: [u32; 6] = [0, 3, 6, 9, 14, 64];
/// Offset bits by class, for values.
const VALUE: [u32; 6] = [0, 4, 7, 10, 17, 64];

/// One sample of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: UnixMillis,
    /// The value, in the exact unit of the metric. Of a bad sample: what was read, as evidence.
    pub value: i64,
    /// Whether it can be trusted.
    pub good: bool,
}

/// Why bytes are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Fewer bytes than any block has.
    #[error("{found} bytes are no block")]
    Short {
        /// How many there are.
        found: usize,
    },
    /// The checksum does not fit the bytes, or the place.
    #[error("checksum is {found:08x}, the bytes give {expected:08x}")]
    Checksum {
        /// In the block.
        found: u32,
        /// Of its bytes.
        expected: u32,
    },
    /// Another layout.
    #[error("block version {found}, this build knows {VERSION}")]
    Version {
        /// In the block.
        found: u8,
    },
    /// A count that no block has.
    #[error("a count that is not 1 to {POINTS_MAX}")]
    Count,
    /// The bits end inside a sample, or spell a number in another way than the writer would.
    #[error("no sample at bit {bit}")]
    Code {
        /// Where the sample begins.
        bit: usize,
    },
    /// Something stands after the last sample.
    #[error("bits after the last sample")]
    Trailing,
}

/// What the next sample is compared with.
#[derive(Clone, Copy, Debug)]
struct Before {
    at: i64,
    step: i64,
    good: bool,
    /// Last value of bad and of good samples.
    values: [i64; 2],
}

impl Before {
    fn new(base: UnixMillis) -> Self {
        Self { at: base.0, step: 0, good: true, values: [0, 0] }
    }

    fn note(&mut self, point: Point) {
        self.step = point.at.0.wrapping_sub(self.at);
        self.at = point.at.0;
        self.good = point.good;
        self.values[usize::from(point.good)] = point.value;
    }
}

/// Samples as bits, one after the other, from a base time that whoever reads them must know.
#[derive(Clone, Debug)]
pub(super) struct Run {
    before: Before,
    bits: BitWriter,
    count: usize,
}

impl Run {
    pub(super) fn new(base: UnixMillis) -> Self {
        Self { before: Before::new(base), bits: BitWriter::default(), count: 0 }
    }

    pub(super) fn push(&mut self, point: Point) {
        let step = point.at.0.wrapping_sub(self.before.at);
        put(&mut self.bits, TIME, zigzag(step.wrapping_sub(self.before.step)), TIME.len() - 1);
        if point.good != self.before.good {
            self.bits.put_ones(6);
        }
        let last = self.before.values[usize::from(point.good)];
        put(&mut self.bits, VALUE, zigzag(point.value.wrapping_sub(last)), VALUE.len());
        self.before.note(point);
        self.count += 1;
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bits.bytes()
    }

    /// Ready for other samples.
    pub(super) fn restart(&mut self, base: UnixMillis) {
        self.before = Before::new(base);
        self.bits.clear();
        self.count = 0;
    }

    /// The samples so far.
    pub(super) fn points(&self) -> Points<'_> {
        Points::new(self.bytes(), self.count, UnixMillis(0))
    }

    /// The block of the samples so far; only for a run from base 0.
    pub(super) fn block(&self, key: u64) -> Vec<u8> {
        let mut block = vec![VERSION];
        put_number(&mut block, self.count);
        block.extend_from_slice(self.bytes());
        seal(key, block)
    }
}

/// Samples read from bits.
#[derive(Clone, Debug)]
pub struct Points<'a> {
    before: Before,
    bits: BitReader<'a>,
    left: usize,
}

impl<'a> Points<'a> {
    pub(super) fn new(bytes: &'a [u8], count: usize, base: UnixMillis) -> Self {
        Self { before: Before::new(base), bits: BitReader::new(bytes), left: count }
    }

    /// Bytes read, after the last sample.
    pub(super) fn end(mut self) -> Result<usize, BlockError> {
        self.bits.align().ok_or(BlockError::Trailing)
    }

    fn read(&mut self) -> Option<Point> {
        let (change, _) = take(&mut self.bits, TIME, TIME.len() - 1)?;
        let step = self.before.step.wrapping_add(unzigzag(change));
        let (mut change, flipped) = take(&mut self.bits, VALUE, VALUE.len())?;
        let mut good = self.before.good;
        if flipped {
            let (second, again) = take(&mut self.bits, VALUE, VALUE.len())?;
            if again {
                return None;
            }
            (change, good) = (second, !good);
        }
        let value = self.before.values[usize::from(good)].wrapping_add(unzigzag(change));
        Some(Point { at: UnixMillis(self.before.at.wrapping_add(step)), value, good })
    }
}

impl Iterator for Points<'_> {
    type Item = Result<Point, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let bit = self.bits.position();
        match self.read() {
            Some(point) => {
                self.left -= 1;
                self.before.note(point);
                Some(Ok(point))
            }
            None => {
                self.left = 0;
                Some(Err(BlockError::Code { bit }))
            }
        }
    }
}

/// The block of 1 to [`POINTS_MAX`] samples, for the place `key`. `None` for another number of samples.
#[must_use]
pub fn encode(key: u64, points: &[Point]) -> Option<Vec<u8>> {
    if points.is_empty() || points.len() > POINTS_MAX {
        return None;
    }
    let mut run = Run::new(UnixMillis(0));
    points.iter().for_each(|point| run.push(*point));
    Some(run.block(key))
}

/// The samples of a block that belongs to the place `key`.
///
/// # Errors
/// Bytes that [`encode`] would not have made for that place.
pub fn decode(key: u64, block: &[u8]) -> Result<Vec<Point>, BlockError> {
    let mut points = Vec::new();
    decode_each(key, block, |point| points.push(point))?;
    Ok(points)
}

/// As [`decode`], one sample after the other. After an error those given before are not to be believed.
pub(super) fn decode_each(key: u64, block: &[u8], mut each: impl FnMut(Point)) -> Result<(), BlockError> {
    let split = block.len().checked_sub(SUM_BYTES).filter(|body| *body >= 3);
    let (body, sum) = block.split_at(split.ok_or(BlockError::Short { found: block.len() })?);
    let found = sum.try_into().map_or(0, u32::from_le_bytes);
    let expected = checksum(key, body);
    if found != expected {
        return Err(BlockError::Checksum { found, expected });
    }
    let [version, rest @ ..] = body else { return Err(BlockError::Short { found: block.len() }) };
    if *version != VERSION {
        return Err(BlockError::Version { found: *version });
    }
    let (count, bits) = take_number(rest).ok_or(BlockError::Count)?;
    if count == 0 || count > POINTS_MAX {
        return Err(BlockError::Count);
    }
    let mut points = Points::new(bits, count, UnixMillis(0));
    for point in points.by_ref() {
        each(point?);
    }
    if points.bits.at_end() { Ok(()) } else { Err(BlockError::Trailing) }
}

/// Appends the checksum of the place `key` to the bytes of a block.
#[must_use]
pub fn seal(key: u64, mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

pub(super) fn put_number(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7F).unwrap_or(0) | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or(0));
}

/// A number of at most 3 bytes in its shortest form, and what follows.
pub(super) fn take_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(3).enumerate() {
        number |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let shortest = index == 0 || *byte != 0;
            return if shortest { Some((number, bytes.get(index + 1..)?)) } else { None };
        }
    }
    None
}

/// Appends a number: the smallest class that holds it. `most` ones need no zero after them.
fn put(bits: &mut BitWriter, widths: [u32; 6], number: u64, most: usize) {
    let mut base = 0_u64;
    for (ones, width) in (0_u32..).zip(widths) {
        let last = width == 64;
        let offset = number.wrapping_sub(base);
        if last || offset >> width == 0 {
            bits.put_ones(ones);
            if usize::try_from(ones).is_ok_and(|ones| ones < most) {
                bits.put(0, 1);
            }
            bits.put(if last { number } else { offset }, width);
            return;
        }
        base += 1 << width;
    }
}

/// Reads a number, or `true`: the mark beyond the last class, which only values have.
fn take(bits: &mut BitReader<'_>, widths: [u32; 6], most: usize) -> Option<(u64, bool)> {
    let ones = bits.take_ones(u32::try_from(most).ok()?)?;
    let mut base = 0_u64;
    for (class, width) in (0_u32..).zip(widths) {
        if class == ones {
            let offset = bits.take(width)?;
            // A small number in the widest class is not how the writer spells it.
            let number = if width == 64 { offset } else { base + offset };
            return (number >= base).then_some((number, false));
        }
        if width < 64 {
            base += 1 << width;
        }
    }
    Some((0, true))
}

const fn zigzag(number: i64) -> u64 {
    (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned()
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ (number & 1).cast_signed().wrapping_neg()
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut at = 0_u32;
    while at < 256 {
        let (mut sum, mut bit) = (at, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
            bit += 1;
        }
        table[at as usize] = sum;
        at += 1;
    }
    table
}

/// CRC-32 (IEEE 802.3) of the key and the bytes.
pub(super) fn checksum(key: u64, bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| sum >> 8 ^ TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(key.to_le_bytes().iter().fold(u32::MAX, step), step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(at: i64, value: i64, good: bool) -> Point {
        Point { at: UnixMillis(at), value, good }
    }

    /// CRC-32 check value of "123456789" (catalogue of parametrised CRC algorithms, CRC-32/ISO-HDLC).
    #[test]
    fn the_checksum_is_the_published_one() {
        let key = u64::from_le_bytes(*b"12345678");
        assert_eq!(checksum(key, b"9"), 0xCBF4_3926);
    }

    #[test]
    fn the_far_ends_of_numbers_come_back() {
        let ends = [i64::MIN, i64::MAX, 0, -1, 1, i64::MIN + 1];
        let points: Vec<Point> = ends
            .iter()
            .flat_map(|at| ends.iter().flat_map(|value| [true, false].map(|good| point(*at, *value, good))))
            .collect();
        assert_eq!(decode(7, &encode(7, &points).unwrap()).unwrap(), points);
    }

    #[test]
    fn a_steady_series_costs_two_bits_a_sample() {
        let points: Vec<Point> = (0..4_096).map(|n| point(n * 1_000, 3_100, true)).collect();
        let block = encode(0, &points).unwrap();
        assert!(block.len() < 4_096 / 4 + 32, "{} bytes", block.len());
        assert_eq!(encode(0, &[]), None);
        assert_eq!(encode(0, &vec![point(0, 0, true); POINTS_MAX + 1]), None);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let points: Vec<Point> = (0..40).map(|n| point(n * 1_003, n % 3 * 100, n % 7 != 0)).collect();
        let block = encode(9, &points).unwrap();
        for bit in 0..block.len() * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(9, &bad).is_err(), "bit {bit}");
        }
        for end in 0..block.len() {
            assert!(decode(9, &block[..end]).is_err(), "cut to {end}");
        }
        assert!(matches!(decode(10, &block), Err(BlockError::Checksum { .. })));
    }

    #[test]
    fn what_the_writer_would_not_write_is_refused_by_name() {
        let body = |count: u8, bits: &[u8]| seal(1, [&[VERSION, count], bits].concat());
        assert_eq!(decode(1, &body(1, &[0])), Ok(vec![point(0, 0, true)]));
        assert_eq!(decode(1, &body(0, &[0])), Err(BlockError::Count));
        assert_eq!(decode(1, &body(1, &[0x20])), Err(BlockError::Trailing));
        assert_eq!(decode(1, &body(1, &[0, 0])), Err(BlockError::Trailing));
        assert_eq!(decode(1, &body(5, &[0])), Err(BlockError::Code { bit: 8 }));
        assert_eq!(decode(1, &seal(1, vec![2, 1, 0])), Err(BlockError::Version { found: 2 }));
        assert_eq!(decode(1, &seal(1, vec![1, 0x80, 0, 0])), Err(BlockError::Count));
        assert_eq!(decode(1, &[1, 2, 3, 4, 5, 6]), Err(BlockError::Short { found: 6 }));
        // A zero step in the widest class.
        let wide = [0xF8, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(1, &body(1, &wide)), Err(BlockError::Code { bit: 0 }));
        // Quality that changes twice within one sample.
        assert_eq!(decode(1, &body(1, &[0x7F, 0xF8, 0])), Err(BlockError::Code { bit: 0 }));
    }

    /// Near ones, as devices give them, with far ones between.
    fn any_points() -> impl Strategy<Value = Vec<Point>> {
        let number = prop_oneof![Just(0), -300_i64..300, -200_000_i64..200_000, any::<i64>()];
        let step = (number.clone(), number, prop::bool::weighted(0.9));
        prop::collection::vec(step, 1..200).prop_map(|steps| {
            let mut at = 1_790_000_000_000_i64;
            let each = |(step, value, good)| {
                at = at.wrapping_add(1_000).wrapping_add(step);
                point(at, value, good)
            };
            steps.into_iter().map(each).collect()
        })
    }

    proptest! {
        #[test]
        fn any_series_comes_back(points in any_points(), key: u64) {
            let block = encode(key, &points).unwrap();
            prop_assert_eq!(decode(key, &block).unwrap(), points);
        }

        #[test]
        fn any_bytes_are_samples_or_an_error(body in prop::collection::vec(any::<u8>(), 0..300), sealed: bool) {
            let block = if sealed { seal(3, body) } else { body };
            if let Ok(points) = decode(3, &block) {
                prop_assert_eq!(encode(3, &points).unwrap(), block);
            }
        }

        #[test]
        fn bits_behind_a_good_head_are_samples_or_an_error(count in 1_u8..120, bits in prop::collection::vec(any::<u8>(), 1..300)) {
            let block = seal(3, [&[VERSION, count][..], &bits].concat());
            if let Ok(points) = decode(3, &block) {
                prop_assert_eq!(encode(3, &points).unwrap(), block);
            }
        }
    }
}
