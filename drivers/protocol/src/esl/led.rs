//! LED control: ten bytes of colour, flashing pattern and repetition (ESLS 3.10.2.10).
//!
//! The repeat field: bit 0 is the type, bits 1 to 15 the count or duration. Type 0 counts patterns and 0 of them is off;
//! type 1 counts seconds and 0 of them is on until changed. So implemented in Espressif `esl_cmd_led.c` and (counts and
//! seconds) in the Silicon Labs tag `esl_tag_led.c`. A label refuses a zero period while it flashes (Espressif), so such a
//! control cannot be built here. The pattern is 40 bits, little-endian, shown from its highest 1 downwards.

/// Red, green and blue, 0 to 3 each; higher values are cut to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RgbLevel {
    /// Red, 0 to 3.
    pub red: u8,
    /// Green, 0 to 3.
    pub green: u8,
    /// Blue, 0 to 3.
    pub blue: u8,
}

/// How an LED flashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Lowest 40 bits; shown from the highest 1 to bit 0.
    pub bits: u64,
    /// How long a 0 lasts, in units of 2 ms, at least 1.
    pub off_2ms: u8,
    /// How long a 1 lasts, in units of 2 ms, at least 1.
    pub on_2ms: u8,
}

impl Pattern {
    /// Half a second on, half a second off: what a picker finds.
    pub const BLINK: Self = Self { bits: 0b10, off_2ms: 250, on_2ms: 250 };

    /// How long the pattern lasts once, in milliseconds.
    #[must_use]
    pub const fn length_ms(&self) -> u32 {
        let bits = self.bits & MASK;
        let shown = 64 - bits.leading_zeros();
        let on = bits.count_ones();
        2 * (on * self.on_2ms as u32 + (shown - on) * self.off_2ms as u32)
    }
}

const MASK: u64 = (1 << 40) - 1;

/// How long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Off now.
    Off,
    /// On, without a pattern, until changed.
    Steady,
    /// The pattern so many times, 1 to 32,767.
    Times(u16),
    /// The pattern for so many seconds, 1 to 32,767.
    Seconds(u16),
}

impl Repeat {
    const fn word(self) -> u16 {
        match self {
            Self::Off => 0,
            Self::Steady => 1,
            // Zero would mean something else than "very short"; the least is one.
            Self::Times(0) => 1 << 1,
            Self::Times(count) => count << 1,
            Self::Seconds(0) => 1 << 1 | 1,
            Self::Seconds(seconds) => seconds << 1 | 1,
        }
    }

    const fn of(word: u16) -> Self {
        match (word & 1, word >> 1) {
            (0, 0) => Self::Off,
            (0, count) => Self::Times(count),
            (_, 0) => Self::Steady,
            (_, seconds) => Self::Seconds(seconds),
        }
    }
}

/// What an LED is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// The colour; a label with a one-colour LED ignores it.
    pub colour: RgbLevel,
    /// 0 (25 %) to 3 (100 %).
    pub brightness: u8,
    /// How it flashes.
    pub pattern: Pattern,
    /// How long.
    pub repeat: Repeat,
}

impl Led {
    /// Bytes on the wire.
    pub const BYTES: usize = 10;

    /// Off.
    #[must_use]
    pub const fn off() -> Self {
        Self {
            colour: RgbLevel { red: 0, green: 0, blue: 0 },
            brightness: 0,
            pattern: Pattern::BLINK,
            repeat: Repeat::Off,
        }
    }

    /// The bytes on the wire; levels are cut to two bits and a zero period to one unit, which every label takes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let level = |value: u8| value.min(3);
        let RgbLevel { red, green, blue } = self.colour;
        let colour = level(red) | level(green) << 2 | level(blue) << 4 | level(self.brightness) << 6;
        let [a, b, c, d, e, ..] = self.pattern.bits.to_le_bytes();
        let [low, high] = self.repeat.word().to_le_bytes();
        [colour, a, b, c, d, e, self.pattern.off_2ms.max(1), self.pattern.on_2ms.max(1), low, high]
    }

    /// Reads the bytes on the wire; every ten bytes are an LED control.
    #[must_use]
    pub const fn decode(bytes: &[u8; Self::BYTES]) -> Self {
        let &[colour, a, b, c, d, e, off_2ms, on_2ms, low, high] = bytes;
        Self {
            colour: RgbLevel { red: colour & 3, green: colour >> 2 & 3, blue: colour >> 4 & 3 },
            brightness: colour >> 6,
            pattern: Pattern { bits: u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]), off_2ms, on_2ms },
            repeat: Repeat::of(u16::from_le_bytes([low, high])),
        }
    }

    /// A label refuses this control: it flashes with a period of zero.
    #[must_use]
    pub const fn impossible(&self) -> bool {
        let flashes = matches!(self.repeat, Repeat::Times(_) | Repeat::Seconds(_));
        flashes && (self.pattern.off_2ms == 0 || self.pattern.on_2ms == 0)
    }

    /// How long it will be lit or flash in milliseconds: `None` until changed, 0 when off.
    #[must_use]
    pub const fn lasts_ms(&self) -> Option<u64> {
        match self.repeat {
            Repeat::Off => Some(0),
            Repeat::Steady => None,
            Repeat::Seconds(seconds) => Some(seconds as u64 * 1_000),
            Repeat::Times(count) => Some(count as u64 * self.pattern.length_ms() as u64),
        }
    }
}
