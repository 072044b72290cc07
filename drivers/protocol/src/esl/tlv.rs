//! Commands and responses: `opcode, ESL_ID, parameters` one way, `opcode, parameters` the other (ESLS 3.9, 3.10).
//!
//! The opcode's high nibble is a length code: a TLV has `(opcode >> 4) + 2` bytes, always.

use alloc::vec::Vec;

use super::absolute_time::AbsoluteTime;
use super::led::Led;
use super::stage::BasicState;
use crate::evidence::Evidence;

/// The longest TLV.
pub const TLV_BYTES_MAX: usize = 17;
/// The longest payload of a vendor's command; its response has one more.
pub const VENDOR_BYTES_MAX: usize = 15;

const VENDOR: u8 = 0x0F;
const SENSOR_VALUE: u8 = 0x0E;

/// Why bytes are no command or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlvError {
    /// Nothing there, or less than the opcode says.
    #[error("TLV of {expected} bytes is cut off: {bytes}")]
    Short {
        /// What the opcode's length code says (2 when there is no opcode).
        expected: usize,
        /// What was there.
        bytes: Evidence,
    },
    /// More than one TLV where one is expected.
    #[error("{left} bytes after a TLV of {expected}: {bytes}")]
    Long {
        /// What the opcode's length code says.
        expected: usize,
        /// Bytes left over.
        left: usize,
        /// What was there.
        bytes: Evidence,
    },
    /// An opcode nobody assigned.
    #[error("unknown opcode {opcode:#04x}: {bytes}")]
    Opcode {
        /// The opcode.
        opcode: u8,
        /// The TLV.
        bytes: Evidence,
    },
    /// A vendor payload that no length code can say.
    #[error("payload of {found} bytes, expected {min}..={max}")]
    Payload {
        /// Its length.
        found: usize,
        /// The shortest.
        min: usize,
        /// The longest.
        max: usize,
    },
}

/// What an access point tells a label. `ESL_ID` is an argument of the codec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answers with the basic state.
    Ping,
    /// Forget the access point.
    Unassociate,
    /// Clear "service needed".
    ServiceReset,
    /// Forget everything; connected only, without an answer.
    FactoryReset,
    /// The end of an update; without an answer.
    UpdateComplete,
    /// Read a sensor.
    ReadSensor(u8),
    /// Draw a display again.
    RefreshDisplay(u8),
    /// Show an image.
    DisplayImage {
        /// The display's index.
        display: u8,
        /// The image's index.
        image: u8,
    },
    /// Show an image at a time; time 0 cancels.
    DisplayTimedImage {
        /// The display's index.
        display: u8,
        /// The image's index.
        image: u8,
        /// When.
        at: AbsoluteTime,
    },
    /// Control an LED.
    Led(LedControl),
    /// Control an LED at a time; time 0 cancels.
    LedTimed(LedControl, AbsoluteTime),
    /// A vendor's own: up to [`VENDOR_BYTES_MAX`] bytes.
    Vendor(Vec<u8>),
}

/// Which LED, and what it is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedControl {
    /// The LED's index.
    pub index: u8,
    /// What it is to do.
    pub led: Led,
}

/// What a label answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// It refuses.
    Error(ErrorCode),
    /// An LED command was taken.
    LedState(u8),
    /// The state bits.
    BasicState(BasicState),
    /// A display command was taken.
    DisplayState {
        /// The display's index.
        display: u8,
        /// The image's index.
        image: u8,
    },
    /// A sensor's value, in its property's format.
    SensorValue {
        /// The sensor's index.
        index: u8,
        /// Up to 15 bytes.
        data: Vec<u8>,
    },
    /// A vendor's own: 1 to 16 bytes.
    Vendor(Vec<u8>),
}

/// Why a label refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorCode {
    /// 01
    #[error("unspecified error")]
    Unspecified,
    /// 02
    #[error("invalid opcode")]
    InvalidOpcode,
    /// 03
    #[error("invalid state")]
    InvalidState,
    /// 04
    #[error("invalid image index")]
    InvalidImageIndex,
    /// 05
    #[error("image not available")]
    ImageNotAvailable,
    /// 06
    #[error("invalid parameters")]
    InvalidParameters,
    /// 07
    #[error("capacity limit")]
    CapacityLimit,
    /// 08
    #[error("battery too low")]
    InsufficientBattery,
    /// 09
    #[error("insufficient resources")]
    InsufficientResources,
    /// 0A
    #[error("try again")]
    Retry,
    /// 0B
    #[error("queue full")]
    QueueFull,
    /// 0C: more than 48 days ahead.
    #[error("implausible absolute time")]
    ImplausibleTime,
    /// Any other number; a label's vendor may have its own.
    #[error("error {0:#04x}")]
    Other(u8),
}

impl ErrorCode {
    const NAMED: [Self; 12] = [
        Self::Unspecified,
        Self::InvalidOpcode,
        Self::InvalidState,
        Self::InvalidImageIndex,
        Self::ImageNotAvailable,
        Self::InvalidParameters,
        Self::CapacityLimit,
        Self::InsufficientBattery,
        Self::InsufficientResources,
        Self::Retry,
        Self::QueueFull,
        Self::ImplausibleTime,
    ];

    /// The error of a number.
    #[must_use]
    pub fn of(number: u8) -> Self {
        let place = usize::from(number).checked_sub(1);
        place.and_then(|place| Self::NAMED.get(place)).copied().unwrap_or(Self::Other(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        let place = Self::NAMED.iter().position(|code| *code == self);
        match self {
            Self::Other(number) => number,
            _ => place.and_then(|place| u8::try_from(place + 1).ok()).unwrap_or(1),
        }
    }
}

/// The TLV that `bytes` begin with, and its length.
fn split(bytes: &[u8]) -> Result<(u8, &[u8], usize), TlvError> {
    let Some(opcode) = bytes.first() else {
        return Err(TlvError::Short { expected: 2, bytes: Evidence::of(bytes) });
    };
    let expected = usize::from(opcode >> 4) + 2;
    match bytes.get(1..expected) {
        Some(content) => Ok((*opcode, content, expected)),
        None => Err(TlvError::Short { expected, bytes: Evidence::of(bytes) }),
    }
}

fn whole<T>(bytes: &[u8], (value, used): (T, usize)) -> Result<T, TlvError> {
    if used == bytes.len() {
        return Ok(value);
    }
    Err(TlvError::Long { expected: used, left: bytes.len() - used, bytes: Evidence::of(bytes) })
}

/// The opcode of a payload of `content` bytes: the length code is one less than what follows the opcode.
fn vendor_opcode(tag: u8, content: usize) -> Option<u8> {
    let code = u8::try_from(content.checked_sub(1)?).ok().filter(|code| *code <= 0x0F)?;
    Some(code << 4 | tag)
}

impl Command {
    /// The TLV for the label `id` of the group addressed, or for everybody.
    ///
    /// # Errors
    /// A vendor payload longer than [`VENDOR_BYTES_MAX`].
    pub fn encode(&self, id: u8) -> Result<Vec<u8>, TlvError> {
        let mut out = [self.opcode()?, id].to_vec();
        match self {
            Self::Ping
            | Self::Unassociate
            | Self::ServiceReset
            | Self::FactoryReset
            | Self::UpdateComplete => {}
            Self::ReadSensor(index) | Self::RefreshDisplay(index) => out.push(*index),
            Self::DisplayImage { display, image } => out.extend([*display, *image]),
            Self::DisplayTimedImage { display, image, at } => {
                out.extend([*display, *image]);
                out.extend(at.encode());
            }
            Self::Led(control) => out.extend(control.encode()),
            Self::LedTimed(control, at) => {
                out.extend(control.encode());
                out.extend(at.encode());
            }
            Self::Vendor(data) => out.extend(data),
        }
        Ok(out)
    }

    fn opcode(&self) -> Result<u8, TlvError> {
        Ok(match self {
            Self::Ping => 0x00,
            Self::Unassociate => 0x01,
            Self::ServiceReset => 0x02,
            Self::FactoryReset => 0x03,
            Self::UpdateComplete => 0x04,
            Self::ReadSensor(_) => 0x10,
            Self::RefreshDisplay(_) => 0x11,
            Self::DisplayImage { .. } => 0x20,
            Self::DisplayTimedImage { .. } => 0x60,
            Self::Led(_) => 0xB0,
            Self::LedTimed(..) => 0xF0,
            Self::Vendor(data) => vendor_opcode(VENDOR, data.len() + 1).ok_or(TlvError::Payload {
                found: data.len(),
                min: 0,
                max: VENDOR_BYTES_MAX,
            })?,
        })
    }

    /// Whether a label answers it at all.
    #[must_use]
    pub const fn answered(&self) -> bool {
        !matches!(self, Self::FactoryReset | Self::UpdateComplete)
    }

    /// Reads the one command that a write to the control point is; gives the label number and the command.
    ///
    /// # Errors
    /// See [`TlvError`].
    pub fn decode(bytes: &[u8]) -> Result<(u8, Self), TlvError> {
        whole(bytes, Self::decode_first(bytes)?)
    }

    /// Reads the command that `bytes` begin with; also gives its length.
    ///
    /// # Errors
    /// See [`TlvError`].
    pub fn decode_first(bytes: &[u8]) -> Result<((u8, Self), usize), TlvError> {
        let (opcode, content, used) = split(bytes)?;
        let unknown = TlvError::Opcode { opcode, bytes: Evidence::of(bytes.get(..used).unwrap_or(bytes)) };
        let (id, rest) = content.split_first().ok_or(unknown)?;
        let command = match (opcode, rest) {
            (0x00, []) => Self::Ping,
            (0x01, []) => Self::Unassociate,
            (0x02, []) => Self::ServiceReset,
            (0x03, []) => Self::FactoryReset,
            (0x04, []) => Self::UpdateComplete,
            (0x10, [index]) => Self::ReadSensor(*index),
            (0x11, [index]) => Self::RefreshDisplay(*index),
            (0x20, [display, image]) => Self::DisplayImage { display: *display, image: *image },
            (0x60, [display, image, at @ ..]) => {
                let at = time(at).ok_or(unknown)?;
                Self::DisplayTimedImage { display: *display, image: *image, at }
            }
            (0xB0, control) => Self::Led(LedControl::decode(control).ok_or(unknown)?),
            (0xF0, control) => {
                let (control, at) = control.split_at_checked(LedControl::BYTES).ok_or(unknown)?;
                Self::LedTimed(LedControl::decode(control).ok_or(unknown)?, time(at).ok_or(unknown)?)
            }
            (_, data) if opcode & 0x0F == VENDOR => Self::Vendor(data.to_vec()),
            _ => return Err(unknown),
        };
        Ok(((*id, command), used))
    }
}

fn time(bytes: &[u8]) -> Option<AbsoluteTime> {
    Some(AbsoluteTime(u32::from_le_bytes(bytes.try_into().ok()?)))
}

impl LedControl {
    const BYTES: usize = Led::BYTES + 1;

    fn encode(&self) -> Vec<u8> {
        [&[self.index][..], &self.led.encode()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (index, led) = bytes.split_first()?;
        Some(Self { index: *index, led: Led::decode(led.try_into().ok()?) })
    }
}

impl Response {
    /// The TLV.
    ///
    /// # Errors
    /// A sensor's value longer than 15 bytes, a vendor payload of none or more than 16.
    pub fn encode(&self) -> Result<Vec<u8>, TlvError> {
        Ok(match self {
            Self::Error(code) => [0x00, code.number()].to_vec(),
            Self::LedState(index) => [0x01, *index].to_vec(),
            Self::BasicState(state) => {
                let [low, high] = state.0.to_le_bytes();
                [0x10, low, high].to_vec()
            }
            Self::DisplayState { display, image } => [0x11, *display, *image].to_vec(),
            Self::SensorValue { index, data } => {
                let opcode = vendor_opcode(SENSOR_VALUE, data.len() + 1).ok_or(TlvError::Payload {
                    found: data.len(),
                    min: 0,
                    max: VENDOR_BYTES_MAX,
                })?;
                [&[opcode, *index][..], data].concat()
            }
            Self::Vendor(data) => {
                let opcode = vendor_opcode(VENDOR, data.len()).ok_or(TlvError::Payload {
                    found: data.len(),
                    min: 1,
                    max: VENDOR_BYTES_MAX + 1,
                })?;
                [&[opcode][..], data].concat()
            }
        })
    }

    /// Reads the one response that a notification of the control point is.
    ///
    /// # Errors
    /// See [`TlvError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TlvError> {
        whole(bytes, Self::decode_first(bytes)?)
    }

    /// Reads the response that `bytes` begin with; also gives its length.
    ///
    /// # Errors
    /// See [`TlvError`].
    pub fn decode_first(bytes: &[u8]) -> Result<(Self, usize), TlvError> {
        let (opcode, content, used) = split(bytes)?;
        let response = match (opcode, content) {
            (0x00, [code]) => Self::Error(ErrorCode::of(*code)),
            (0x01, [index]) => Self::LedState(*index),
            (0x10, [low, high]) => Self::BasicState(BasicState(u16::from_le_bytes([*low, *high]))),
            (0x11, [display, image]) => Self::DisplayState { display: *display, image: *image },
            (_, [index, data @ ..]) if opcode & 0x0F == SENSOR_VALUE => {
                Self::SensorValue { index: *index, data: data.to_vec() }
            }
            (_, data) if opcode & 0x0F == VENDOR => Self::Vendor(data.to_vec()),
            _ => {
                let bytes = Evidence::of(bytes.get(..used).unwrap_or(bytes));
                return Err(TlvError::Opcode { opcode, bytes });
            }
        };
        Ok((response, used))
    }
}
