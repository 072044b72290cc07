//! What a label says of itself: the read characteristics 2BFA to 2BFD.

use alloc::vec::Vec;

use crate::evidence::Evidence;

/// Most entries of one characteristic that are read: 102 displays fill the longest attribute value (512 bytes).
const ENTRIES_MAX: usize = 128;

/// A characteristic that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {bytes}")]
pub struct FeatureError {
    /// Which, and what was expected.
    pub what: &'static str,
    /// Its value.
    pub bytes: Evidence,
}

const fn fault<T>(what: &'static str, bytes: Evidence) -> Result<T, FeatureError> {
    Err(FeatureError { what, bytes })
}

/// The kinds of panel of the assigned numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisplayType {
    /// Black and white.
    BlackWhite,
    /// Three, four, eight or sixteen shades of grey (types 2 to 5).
    Grey(u8),
    /// Red, black, white.
    RedBlackWhite,
    /// Yellow, black, white.
    YellowBlackWhite,
    /// Red, yellow, black, white.
    RedYellowBlackWhite,
    /// Seven colours.
    SevenColours,
    /// Sixteen colours.
    SixteenColours,
    /// Full colour.
    Rgb,
    /// A number not assigned when this was written.
    Other(u8),
}

impl DisplayType {
    const fn of(number: u8) -> Self {
        match number {
            1 => Self::BlackWhite,
            2..=5 => Self::Grey(number),
            6 => Self::RedBlackWhite,
            7 => Self::YellowBlackWhite,
            8 => Self::RedYellowBlackWhite,
            9 => Self::SevenColours,
            0x0A => Self::SixteenColours,
            0x0B => Self::Rgb,
            other => Self::Other(other),
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::BlackWhite => 1,
            Self::Grey(number) | Self::Other(number) => number,
            Self::RedBlackWhite => 6,
            Self::YellowBlackWhite => 7,
            Self::RedYellowBlackWhite => 8,
            Self::SevenColours => 9,
            Self::SixteenColours => 0x0A,
            Self::Rgb => 0x0B,
        }
    }
}

/// One panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// Its kind.
    pub kind: DisplayType,
}

impl Display {
    /// Reads Display Information.
    ///
    /// # Errors
    /// A length that is no multiple of five, no panel at all, or one without pixels.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, FeatureError> {
        let evidence = Evidence::of(bytes);
        let (entries, rest) = bytes.as_chunks::<5>();
        if !rest.is_empty() || entries.is_empty() || entries.len() > ENTRIES_MAX {
            return fault("display information: expected entries of 5 bytes", evidence);
        }
        let entry = |&[a, b, c, d, kind]: &[u8; 5]| Self {
            width: u16::from_le_bytes([a, b]),
            height: u16::from_le_bytes([c, d]),
            kind: DisplayType::of(kind),
        };
        let all: Vec<Self> = entries.iter().map(entry).collect();
        if all.iter().any(|display| display.width == 0 || display.height == 0) {
            return fault("display information: a display without pixels", evidence);
        }
        Ok(all)
    }

    /// The bytes of one entry.
    #[must_use]
    pub const fn encode(&self) -> [u8; 5] {
        let ([a, b], [c, d]) = (self.width.to_le_bytes(), self.height.to_le_bytes());
        [a, b, c, d, self.kind.number()]
    }
}

/// Reads Image Information: the highest image index.
///
/// # Errors
/// Any other length than one byte.
pub fn image_index_max(bytes: &[u8]) -> Result<u8, FeatureError> {
    match *bytes {
        [index] => Ok(index),
        _ => fault("image information: expected 1 byte", Evidence::of(bytes)),
    }
}

/// What a sensor measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SensorType {
    /// A Mesh device property, such as 0x0054.
    Property(u16),
    /// A vendor's own.
    Vendor {
        /// The company's assigned number.
        company: u16,
        /// The vendor's code.
        code: u16,
    },
}

/// The Mesh device property "Present Device Operating Temperature": format Temperature, s16 in 0.01 °C.
pub const PRESENT_DEVICE_OPERATING_TEMPERATURE: u16 = 0x0054;
/// The Mesh device property "Present Input Voltage": format Voltage, u16 in 1/64 V.
pub const PRESENT_INPUT_VOLTAGE: u16 = 0x0059;

/// One sensor; its index is its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensor(pub SensorType);

impl Sensor {
    /// Reads Sensor Information.
    ///
    /// # Errors
    /// An unknown size mark, or an entry that is cut off.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, FeatureError> {
        let evidence = Evidence::of(bytes);
        let (mut rest, mut all) = (bytes, Vec::new());
        while !rest.is_empty() {
            let kind;
            (kind, rest) = match rest {
                [0, a, b, tail @ ..] => (SensorType::Property(u16::from_le_bytes([*a, *b])), tail),
                [1, a, b, c, d, tail @ ..] => {
                    let (company, code) = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
                    (SensorType::Vendor { company, code }, tail)
                }
                _ => return fault("sensor information: expected 00 and 2 bytes or 01 and 4", evidence),
            };
            if all.len() == ENTRIES_MAX {
                return fault("sensor information: more than 128 sensors", evidence);
            }
            all.push(Self(kind));
        }
        Ok(all)
    }

    /// The bytes of one entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self.0 {
            SensorType::Property(id) => [&[0][..], &id.to_le_bytes()].concat(),
            SensorType::Vendor { company, code } => {
                [&[1][..], &company.to_le_bytes(), &code.to_le_bytes()].concat()
            }
        }
    }

    /// The temperature of a reading in milli-degrees Celsius; `None` when the sensor measures something else, the value
    /// has another length, or the label says "not known" (0x8000).
    #[must_use]
    pub fn temperature(&self, data: &[u8]) -> Option<crate::MilliCelsius> {
        if self.0 != SensorType::Property(PRESENT_DEVICE_OPERATING_TEMPERATURE) {
            return None;
        }
        match i16::from_le_bytes(data.try_into().ok()?) {
            i16::MIN => None,
            hundredths => Some(crate::MilliCelsius(i32::from(hundredths) * 10)),
        }
    }

    /// The supply voltage of a reading in millivolts; `None` as for [`Sensor::temperature`] (not known: 0xFFFF).
    #[must_use]
    pub fn millivolts(&self, data: &[u8]) -> Option<u16> {
        if self.0 != SensorType::Property(PRESENT_INPUT_VOLTAGE) {
            return None;
        }
        match u16::from_le_bytes(data.try_into().ok()?) {
            u16::MAX => None,
            units => u16::try_from(u32::from(units) * 1_000 / 64).ok(),
        }
    }
}

/// What an LED can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedType {
    /// Any colour of the sRGB corners.
    Srgb,
    /// One colour of its own; red, green and blue in two bits each, for people.
    Mono {
        /// Bits 0 to 5 of the entry.
        colour: u8,
    },
    /// A type not assigned when this was written.
    Other(u8),
}

impl LedType {
    /// Reads LED Information: one byte per LED.
    #[must_use]
    pub fn parse_all(bytes: &[u8]) -> Vec<Self> {
        let entry = |byte: &u8| match byte >> 6 {
            0 => Self::Srgb,
            1 => Self::Mono { colour: byte & 0x3F },
            _ => Self::Other(*byte),
        };
        bytes.iter().take(ENTRIES_MAX).map(entry).collect()
    }

    /// The byte of one entry.
    #[must_use]
    pub const fn encode(self) -> u8 {
        match self {
            Self::Srgb => 0,
            Self::Mono { colour } => 0x40 | colour & 0x3F,
            Self::Other(byte) => byte,
        }
    }
}
