//! Bits, most significant first: what the series codec writes and reads.

/// Bits appended to bytes; the last byte is filled up with zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits used of the last byte, 0 when the next bit begins a new one.
    used: u32,
}

impl BitWriter {
    /// Appends the lowest `width` bits of `value`, `width` <= 64.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        let mut left = width;
        while left > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let take = left.min(8 - self.used);
            let bits = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                // At most 8 bits, shifted into the room that is left of a byte.
                *last |= u8::try_from(bits << (8 - self.used - take)).unwrap_or(0);
            }
            self.used = (self.used + take) % 8;
            left -= take;
        }
    }

    /// Appends `ones` ones.
    pub(super) fn put_ones(&mut self, ones: u32) {
        self.put((1 << ones) - 1, ones);
    }

    /// What was written.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets everything, keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.used = 0;
    }
}

/// Bits taken from bytes. Reading beyond the end gives `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bit to read, counted from 0.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        (self.bytes.len() * 8).saturating_sub(self.at)
    }

    /// At least 57 bits from here, left-aligned, zeros beyond the end.
    fn window(&self) -> u64 {
        let from = self.at / 8;
        let word = match self.bytes.get(from..from + 8) {
            Some(eight) => eight.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
            None => (from..from + 8)
                .fold(0, |word, at| word << 8 | u64::from(self.bytes.get(at).copied().unwrap_or(0))),
        };
        word << (self.at % 8)
    }

    /// The next `width` bits, `width` <= 64.
    pub(super) fn take(&mut self, width: u32) -> Option<u64> {
        if width > 32 {
            let high = self.take(width - 32)?;
            return Some(high << 32 | self.take(32)?);
        }
        let bits = usize::try_from(width).ok()?;
        if self.left() < bits {
            return None;
        }
        let value = if width == 0 { 0 } else { self.window() >> (64 - width) };
        self.at += bits;
        Some(value)
    }

    /// Counts ones up to `most`; the zero that ends fewer than `most` is read, too.
    pub(super) fn take_ones(&mut self, most: u32) -> Option<u32> {
        let ones = self.window().leading_ones().min(most);
        let bits = usize::try_from(ones + u32::from(ones < most)).ok()?;
        if self.left() < bits {
            return None;
        }
        self.at += bits;
        Some(ones)
    }

    /// Whether only the zeros that fill the last byte are left.
    pub(super) fn at_end(&self) -> bool {
        let left = self.left();
        left < 8 && (left == 0 || self.window() == 0)
    }

    /// Skips the zeros that fill the last byte and gives the bytes read; `None` when they are not zeros.
    pub(super) fn align(&mut self) -> Option<usize> {
        let fill = (8 - self.at % 8) % 8;
        (self.take(u32::try_from(fill).ok()?)? == 0).then_some(self.at / 8)
    }
}
