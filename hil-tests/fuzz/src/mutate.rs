//! A small seeded mutator: bits, bytes, numbers, lengths, repeats, splices, words of the format.

/// Longest input made.
pub const INPUT_MAX: usize = 4_096;
/// Numbers at which formats break.
const EDGES: [u64; 12] =
    [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF, u64::MAX];

/// SplitMix64 (Steele, Lea, Flood 2014): equal seeds, equal inputs.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`; 0 when that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // An index: the remainder is below `end`.
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or(0)
    }
}

/// Makes inputs from seeds.
#[derive(Clone, Debug)]
pub struct Mutator {
    random: Random,
    seeds: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// Mutates `seeds`, with `words` of the format.
    #[must_use]
    pub fn new(seed: u64, mut seeds: Vec<Vec<u8>>, words: &[&[u8]]) -> Self {
        if seeds.is_empty() {
            seeds.push(Vec::new());
        }
        let words = words.iter().map(|word| word.to_vec()).collect();
        Self { random: Random::new(seed), seeds, words }
    }

    /// The next input: mostly a seed with one to eight changes, now and then noise.
    pub fn next_input(&mut self) -> Vec<u8> {
        if self.random.below(32) == 0 {
            return self.noise();
        }
        let pick = self.random.below(self.seeds.len());
        let mut input = self.seeds.get(pick).cloned().unwrap_or_default();
        for _ in 0..=self.random.below(8) {
            self.change(&mut input);
        }
        input.truncate(INPUT_MAX);
        input
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.random.below(300);
        (0..length).map(|_| self.byte()).collect()
    }

    fn byte(&mut self) -> u8 {
        self.random.next().to_le_bytes()[0]
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.below(input.len());
        match self.random.below(10) {
            0 | 1 => {
                let bit = self.random.below(8);
                input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            2 => {
                let new = self.byte();
                input.iter_mut().skip(at).take(1).for_each(|byte| *byte = new);
            }
            3 => {
                let step = self.byte() % 5;
                input
                    .iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte = byte.wrapping_add(step).wrapping_sub(2));
            }
            4 => self.edge(input, at),
            5 => {
                let count = self.random.below(9) + 1;
                let piece: Vec<u8> = (0..count).map(|_| self.byte()).collect();
                insert(input, at, &piece);
            }
            6 => {
                let end = at + self.random.below(input.len() - at + 1);
                input.drain(at..end);
            }
            7 => {
                let end = at + self.random.below((input.len() - at).min(64) + 1);
                let piece = input.get(at..end).unwrap_or_default().repeat(self.random.below(8) + 1);
                insert(input, end, &piece);
            }
            8 => {
                let other = self.random.below(self.seeds.len());
                let other = self.seeds.get(other).cloned().unwrap_or_default();
                let from = self.random.below(other.len());
                input.truncate(at);
                input.extend(other.get(from..).unwrap_or_default());
            }
            _ => {
                let word = self.random.below(self.words.len());
                match self.words.get(word).cloned() {
                    Some(word) => insert(input, at, &word),
                    None => input.truncate(at),
                }
            }
        }
    }

    /// Writes a number at which formats break, in any width and byte order.
    fn edge(&mut self, input: &mut [u8], at: usize) {
        let pick = self.random.below(EDGES.len());
        let number =
            EDGES.get(pick).copied().unwrap_or(0).wrapping_add(self.random.next() % 3).wrapping_sub(1);
        let width = 1 << self.random.below(4);
        let mut bytes: Vec<u8> = number.to_le_bytes().into_iter().take(width).collect();
        if self.random.below(2) == 0 {
            bytes.reverse();
        }
        input.iter_mut().skip(at).zip(bytes).for_each(|(old, new)| *old = new);
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = at.min(input.len());
    input.splice(at..at, piece.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn equal_seeds_make_equal_inputs_and_others_others() {
        let make = |seed| {
            let mut mutator = Mutator::new(seed, vec![b"seed one".to_vec(), vec![0; 40]], &[b"word"]);
            (0..500).map(|_| mutator.next_input()).collect::<Vec<_>>()
        };
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        let different: BTreeSet<_> = make(1).into_iter().collect();
        assert!(different.len() > 400, "{}", different.len());
        assert!(different.iter().any(|input| input.windows(4).any(|part| part == b"word")));
        assert!(different.iter().all(|input| input.len() <= INPUT_MAX));
    }

    #[test]
    fn nothing_to_begin_with_is_no_problem() {
        let mut mutator = Mutator::new(1, Vec::new(), &[]);
        assert!((0..300).any(|_| !mutator.next_input().is_empty()));
    }
}
