//! Whole numbers as adaptive bits: zero flag, bit length, leading bits below the top one; the rest as it is.

use crate::CodecError;
use crate::range::{Coder, Node};

/// Nodes of zero flag (0) and bit length (1-63).
const HEAD: usize = 64;

/// Statistics of one column in one situation.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    /// How many bits after the top one adapt.
    depth: u32,
    /// Grown when a node is first needed.
    pub(crate) nodes: Vec<Node>,
}

/// Bits that a value needs; 0 for 0.
fn length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

impl Number {
    pub(crate) fn new(depth: u32) -> Self {
        Self { depth, nodes: vec![Node::default(); HEAD] }
    }

    /// Statistics that begin where a dictionary says.
    pub(crate) fn from(depth: u32, nodes: &[Node]) -> Self {
        let mut number = Self { depth, nodes: nodes.to_vec() };
        number.nodes.resize(nodes.len().max(HEAD), Node::default());
        number
    }

    fn node(&mut self, at: usize) -> &mut Node {
        if at >= self.nodes.len() {
            self.nodes.resize(at + 1, Node::default());
        }
        &mut self.nodes[at]
    }

    /// Codes a number of at most `limit`.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, limit: u64, value: u64) -> Result<u64, CodecError> {
        if !coder.bit(self.node(0), value != 0) {
            return Ok(0);
        }
        let below = u64::from(length(value).saturating_sub(1));
        let mut path = 1_usize;
        for at in (0..6).rev() {
            let bit = coder.bit(self.node(path), below >> at & 1 == 1);
            path = path << 1 | usize::from(bit);
        }
        let below = u32::try_from(path - HEAD).unwrap_or(63);
        if below >= length(limit) {
            return Err(CodecError::Range);
        }
        let adaptive = below.min(self.depth);
        let base =
            HEAD + (1_usize << adaptive) + (usize::try_from(below - adaptive).unwrap_or(0) << self.depth);
        let mut path = 1_usize;
        for at in (below - adaptive..below).rev() {
            let bit = coder.bit(self.node(base + path), value >> at & 1 == 1);
            path = path << 1 | usize::from(bit);
        }
        let plain = below - adaptive;
        let low = coder.raw(plain, value & ((1 << plain) - 1));
        let found = u64::try_from(path).unwrap_or(u64::MAX) << plain | low;
        if found > limit { Err(CodecError::Range) } else { Ok(found) }
    }
}

/// Signed to unsigned, small magnitudes first: 0, -1, 1, -2, …
pub(crate) fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// Inverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::{Decoder, Encoder};
    use proptest::prelude::*;

    #[test]
    fn zigzag_is_a_bijection() {
        for value in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!([zigzag(0), zigzag(-1), zigzag(1), zigzag(-2)], [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn numbers_come_back(values in prop::collection::vec((any::<u64>(), 0_u32..64), 1..200), depth in 0_u32..13) {
            let values: Vec<u64> = values.into_iter().map(|(value, shift)| value >> shift).collect();
            let mut encoder = Encoder::new();
            let mut number = Number::new(depth);
            for value in &values {
                prop_assert_eq!(number.code(&mut encoder, u64::MAX, *value), Ok(*value));
            }
            let bytes = encoder.finish();
            let (mut decoder, mut number) = (Decoder::new(&bytes), Number::new(depth));
            for value in values {
                prop_assert_eq!(number.code(&mut decoder, u64::MAX, 0), Ok(value));
            }
        }
    }
}
