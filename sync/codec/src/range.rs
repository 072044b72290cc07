//! Binary range coder with adaptive probabilities.
//!
//! Contract
//! * Integer arithmetic only, so that every machine and language gets the same bytes; `sync/WIRE.md` specifies each step.
//! * The decoder reads zeros after the end of its input and never fails: whoever uses it bounds how many values it asks for.
//!
//! The carry-propagating coder is the one of G. N. N. Martin (1979) in the 32-bit form of LZMA; the probability that a
//! node's bit is 1 has 16 bits and adapts by 2/(2n+3) where n counts the bits seen, so that a fresh node learns fast and
//! an old one stays calm.

/// Smallest and largest probability of a one, in 1/65536.
const P_MIN: u32 = 24;
const P_MAX: u32 = 65_536 - P_MIN;
/// Bits after which a node no longer slows down.
pub(crate) const SEEN_MAX: u8 = 254;
const TOP: u32 = 1 << 24;

/// Probability that a bit is one, and how often it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) one: u16,
    pub(crate) seen: u8,
}

impl Default for Node {
    fn default() -> Self {
        Self { one: 1 << 15, seen: 0 }
    }
}

impl Node {
    fn p(self) -> u32 {
        u32::from(self.one).clamp(P_MIN, P_MAX)
    }

    fn learn(&mut self, bit: bool) {
        let step = 131_072 / (2 * u32::from(self.seen) + 3);
        let one = u32::from(self.one);
        let one = if bit { one + (((65_535 - one) * step) >> 16) } else { one - ((one * step) >> 16) };
        self.one = u16::try_from(one).unwrap_or(u16::MAX);
        self.seen = self.seen.saturating_add(1).min(SEEN_MAX);
    }
}

/// Codes bits: the encoder writes the given one, the decoder ignores it and answers what was written.
pub(crate) trait Coder {
    /// One adaptive bit.
    fn bit(&mut self, node: &mut Node, bit: bool) -> bool;
    /// The lowest `bits` bits of `value`, most significant first, each equally likely.
    fn raw(&mut self, bits: u32, value: u64) -> u64;
}

/// Writes.
pub(crate) struct Encoder {
    low: u64,
    range: u32,
    /// The byte that a carry may still change, and how many 0xFF bytes follow it.
    held: Option<u8>,
    full: usize,
    out: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        // The first byte that leaves `low` is always 0; it is not written.
        Self { low: 0, range: u32::MAX, held: None, full: 0, out: Vec::new() }
    }

    fn take(&mut self, one: u32, bit: bool) {
        let bound = (self.range >> 16) * one;
        if bit {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        while self.range < TOP {
            self.shift();
            self.range <<= 8;
        }
    }

    /// Moves the top byte of `low` out.
    fn shift(&mut self) {
        let carry = self.low >> 32 != 0;
        let top = u8::try_from((self.low >> 24) & 0xFF).unwrap_or(0);
        if carry || top != 0xFF {
            if let Some(held) = self.held {
                self.out.push(held.wrapping_add(u8::from(carry)));
            }
            let filler = if carry { 0x00 } else { 0xFF };
            self.out.extend(core::iter::repeat_n(filler, self.full));
            self.full = 0;
            self.held = Some(top);
        } else {
            self.full += 1;
        }
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }

    /// The bytes, without trailing zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        // Any number in [low, low + range) will do: the one with the most trailing zeros is the shortest.
        let end = self.low + u64::from(self.range);
        for zeros in (0..=32).rev() {
            let step = 1_u64 << zeros;
            let rounded = self.low.div_ceil(step) * step;
            if rounded < end {
                self.low = rounded;
                break;
            }
        }
        for _ in 0..5 {
            self.shift();
        }
        while self.out.last() == Some(&0) {
            self.out.pop();
        }
        self.out
    }
}

impl Coder for Encoder {
    fn bit(&mut self, node: &mut Node, bit: bool) -> bool {
        self.take(node.p(), bit);
        node.learn(bit);
        bit
    }

    fn raw(&mut self, bits: u32, value: u64) -> u64 {
        for at in (0..bits).rev() {
            self.take(1 << 15, value >> at & 1 == 1);
        }
        value
    }
}

/// Reads.
pub(crate) struct Decoder<'a> {
    code: u32,
    range: u32,
    input: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(input: &'a [u8]) -> Self {
        let mut decoder = Self { code: 0, range: u32::MAX, input };
        for _ in 0..4 {
            decoder.next();
        }
        decoder
    }

    fn next(&mut self) {
        let byte = match self.input {
            [first, rest @ ..] => {
                self.input = rest;
                *first
            }
            [] => 0,
        };
        self.code = self.code << 8 | u32::from(byte);
    }

    fn give(&mut self, one: u32) -> bool {
        let bound = (self.range >> 16) * one;
        let bit = self.code < bound;
        if bit {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        while self.range < TOP {
            self.next();
            self.range <<= 8;
        }
        bit
    }

    /// Input that no value needed.
    pub(crate) fn rest(&self) -> usize {
        self.input.len()
    }
}

impl Coder for Decoder<'_> {
    fn bit(&mut self, node: &mut Node, _: bool) -> bool {
        let bit = self.give(node.p());
        node.learn(bit);
        bit
    }

    fn raw(&mut self, bits: u32, _: u64) -> u64 {
        (0..bits).fold(0, |value, _| value << 1 | u64::from(self.give(1 << 15)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out(bits in prop::collection::vec((0_usize..5, prop::bool::weighted(0.1)), 0..3000)) {
            let mut encoder = Encoder::new();
            let mut nodes = [Node::default(); 4];
            for (which, bit) in &bits {
                match nodes.get_mut(*which) {
                    Some(node) => _ = encoder.bit(node, *bit),
                    None => _ = encoder.raw(9, u64::from(*bit) * 0x155),
                }
            }
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes);
            let mut nodes = [Node::default(); 4];
            for (which, bit) in bits {
                match nodes.get_mut(which) {
                    Some(node) => prop_assert_eq!(decoder.bit(node, false), bit),
                    None => prop_assert_eq!(decoder.raw(9, 0), u64::from(bit) * 0x155),
                }
            }
            prop_assert_eq!(decoder.rest(), 0);
        }
    }
}
