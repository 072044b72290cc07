//! What the host side tells its user: readings, results of jobs, and health.
//!
//! Contract
//! * Readings may be dropped when the receiver is slow (counted in [`crate::Counters::dropped`]); health and the results of
//!   jobs are kept until they can be delivered.
//! * Every event carries the wall clock for people and the machine's monotonic clock for ages.

use std::sync::Arc;

use drv_protocol::esl::{BasicState, RgbLevel};
use drv_protocol::gicisky::Planes;
pub use drv_protocol::profile::CabinetState;
use drv_protocol::scale::Weight;
use drv_protocol::steamer::SteamerReading;
use drv_protocol::{Grams, MilliCelsius};

use crate::ble::TagFault;
use crate::health::Health;

/// One event of one device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceEvent {
    /// Configured name of the device.
    pub device: Arc<str>,
    /// Milliseconds since 1970-01-01 UTC by the system's clock.
    pub wall_ms: i64,
    /// Milliseconds since boot, see [`crate::clock::mono_ms`].
    pub mono_ms: u64,
    /// What happened.
    pub body: DeviceBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum DeviceBody {
    /// A scale answered with a weight or with its status.
    Weight(ScaleReading),
    /// A scale answered, but with nothing that can be used.
    WeightBad {
        /// What was wrong with the answer.
        reason: String,
    },
    /// An order for a scale has ended.
    ScaleCommand {
        /// The number given with the order.
        job: u64,
        /// What the scale said of it, or why it was not carried out.
        result: Result<ScaleDone, String>,
    },
    /// A cold cabinet was read.
    Temperature(CabinetReading),
    /// A steamer was read.
    Steamer(SteamerReading),
    /// A tag's advertisement was heard.
    TagSeen {
        /// Model number as advertised.
        model: u16,
        /// Battery voltage.
        battery_mv: u16,
        /// Signal strength, when the adapter tells it.
        rssi: Option<i16>,
    },
    /// A tag job has ended.
    TagWritten {
        /// The number given with the job.
        job: u64,
        /// Hash of the image that the tag accepted in full, or the last reason of failure.
        result: Result<[u8; 8], String>,
    },
    /// A tag's advertisement carried its temperature.
    TagTemperature(MilliCelsius),
    /// A tag order other than an image has ended.
    TagDone {
        /// The number given with the order.
        job: u64,
        /// The tag's answer, or the last fault.
        result: Result<TagAnswer, TagFault>,
    },
    /// A steamer order has ended.
    SteamerCommand {
        /// The number given with the order.
        job: u64,
        /// Written and acknowledged by the controller, or why not.
        result: Result<(), String>,
    },
    /// The health of the device changed.
    Health(Health),
}

impl DeviceBody {
    /// Whether this event must reach the receiver however slow it is.
    pub(crate) fn must_arrive(&self) -> bool {
        match self {
            Self::TagWritten { .. }
            | Self::TagDone { .. }
            | Self::SteamerCommand { .. }
            | Self::ScaleCommand { .. }
            | Self::Health(_) => true,
            Self::Weight(_)
            | Self::WeightBad { .. }
            | Self::Temperature(_)
            | Self::Steamer(_)
            | Self::TagTemperature(_)
            | Self::TagSeen { .. } => false,
        }
    }
}

/// A scale's answer with the bytes that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleReading {
    /// The decoded weight and status.
    pub weight: Weight,
    /// The frame as received, parity stripped: evidence for the ledger.
    pub raw: Vec<u8>,
    /// The verification interval e of this scale, as configured.
    pub interval: Grams,
}

/// An order for a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleOrder {
    /// Sets zero.
    Zero,
    /// Takes the platform's load as tare.
    Tare,
    /// Uses this tare.
    KeyedTare(Grams),
    /// Forgets the tare.
    ClearTare,
}

/// How an order for a scale was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleDone {
    /// The scale said so; false where its protocol has no answer and the order was only sent.
    pub confirmed: bool,
    /// The tare now in force, where the scale says it.
    pub tare: Option<Grams>,
}

/// One reading of a cabinet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CabinetReading {
    /// The temperature; absent when the probe is at fault.
    pub value: Option<MilliCelsius>,
    /// Why there is no temperature.
    pub fault: Option<String>,
    /// What was read although the probe cannot measure it: evidence, never a temperature.
    pub suspect: Option<MilliCelsius>,
    /// What the cabinet is doing.
    pub state: CabinetState,
    /// Door contact, where the device has one.
    pub door_open: Option<bool>,
    /// Texts of the alarms that the device itself raises; empty where it raises none or its profile names none.
    pub alarms: Vec<String>,
}

/// An image for a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagJob {
    /// Number chosen by the caller; comes back in [`DeviceBody::TagWritten`].
    pub job: u64,
    /// Configured name of the tag.
    pub tag: Arc<str>,
    /// The image.
    pub planes: Planes,
}

/// An order for a tag: an image, or something else that its family can do.
#[derive(Debug, Clone, PartialEq)]
pub struct TagOrder {
    /// Number chosen by the caller; comes back in [`DeviceBody::TagWritten`] for an image, else in [`DeviceBody::TagDone`].
    pub job: u64,
    /// Configured name of the tag.
    pub tag: Arc<str>,
    /// What to do.
    pub work: TagWork,
}

impl From<TagJob> for TagOrder {
    fn from(TagJob { job, tag, planes }: TagJob) -> Self {
        Self { job, tag, work: TagWork::Image(planes) }
    }
}

/// What a tag is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum TagWork {
    /// Show an image.
    Image(Planes),
    /// Light an LED; such orders overtake images, people wait for them.
    Led(LedOrder),
    /// Read the temperature now.
    ReadTemperature,
    /// Show an image that the tag has.
    ShowImage {
        /// The display's index.
        display: u8,
        /// The image's index.
        image: u8,
    },
    /// Say how it is.
    Ping,
}

/// An LED that blinks in one colour, to be found by a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedOrder {
    /// The LED's index, 0 for the first.
    pub led: u8,
    /// The colour.
    pub colour: LedColour,
    /// For how long, in seconds, at most 32,767; 0 puts it out.
    pub seconds: u16,
}

/// A colour that a person tells from the others across an aisle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedColour {
    /// Red.
    Red,
    /// Green.
    Green,
    /// Blue.
    Blue,
    /// Red and green.
    Yellow,
    /// Green and blue.
    Cyan,
    /// Red and blue.
    Magenta,
    /// All three.
    White,
}

impl LedColour {
    /// The levels of the LED's colours.
    #[must_use]
    pub const fn levels(self) -> RgbLevel {
        let (red, green, blue) = match self {
            Self::Red => (3, 0, 0),
            Self::Green => (0, 3, 0),
            Self::Blue => (0, 0, 3),
            Self::Yellow => (3, 3, 0),
            Self::Cyan => (0, 3, 3),
            Self::Magenta => (3, 0, 3),
            Self::White => (3, 3, 3),
        };
        RgbLevel { red, green, blue }
    }
}

/// What a tag answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagAnswer {
    /// It took the whole image of this hash.
    Image([u8; 8]),
    /// It took the LED order.
    Led,
    /// Its temperature.
    Temperature(MilliCelsius),
    /// It shows this stored image.
    Shown {
        /// The display's index.
        display: u8,
        /// The image's index.
        image: u8,
    },
    /// Its state bits.
    State(BasicState),
}

/// An order for a steamer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteamerOrder {
    /// Sets the chamber temperature.
    SetPoint(MilliCelsius),
    /// Starts steaming; refused by the interlocks of [`drv_protocol::steamer::Permit`].
    Run,
    /// Stops; needs no permit.
    Stop,
}
