//! Configuration of a counter scale: its protocol, what the protocol has to know, and its line.
//!
//! Contract: every setting of the line that is left out is the protocol's usual one ([`ScaleKind::line`]); settings that the
//! protocol does not have are refused by [`super::HostConfig::check`].

use drv_protocol::scale::MassUnit;
use drv_protocol::scales::{Bcc, LineParity, Reading, ScaleKind, Settings};
use serde::Deserialize;
use serde::de::Error as _;

use super::ParityKind;

/// Wire protocol of a scale, by the name of [`ScaleKind::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleProtocol(ScaleKind);

impl ScaleProtocol {
    /// The protocol.
    #[must_use]
    pub const fn kind(self) -> ScaleKind {
        self.0
    }
}

impl<'de> Deserialize<'de> for ScaleProtocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        ScaleKind::ALL.into_iter().find(|kind| kind.name() == name).map(Self).ok_or_else(|| {
            let known = ScaleKind::ALL.map(ScaleKind::name).join(", ");
            D::Error::custom(format!("unknown scale protocol `{name}`, expected one of: {known}"))
        })
    }
}

/// One counter scale.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleConfig {
    /// Device name.
    pub id: String,
    /// Wire protocol.
    pub protocol: ScaleProtocol,
    /// Serial device path.
    pub port: String,
    /// Bits per second; default by protocol.
    #[serde(default)]
    pub baud: Option<u32>,
    /// 7 or 8; default by protocol.
    #[serde(default)]
    pub data_bits: Option<u8>,
    /// Parity; default by protocol.
    #[serde(default)]
    pub parity: Option<ParityKind>,
    /// 1 or 2, default 1.
    #[serde(default)]
    pub stop_bits: Option<u8>,
    /// Verification interval e in grams.
    pub interval_g: u32,
    /// Maximum capacity in grams.
    pub capacity_g: u32,
    /// Time between two weight requests. From a scale that sends by itself, an unchanged weight is reported as often.
    #[serde(default = "poll")]
    pub poll_ms: u32,
    /// Silence between an answer and the next command; default by protocol (the 8217 wants 200 ms).
    #[serde(default)]
    pub min_gap_ms: Option<u32>,
    /// How long one answer may take; for a scale that sends by itself, the longest silence.
    #[serde(default = "timeout")]
    pub timeout_ms: u32,
    /// How long zero and tare may take: a scale may wait for rest first.
    #[serde(default = "order_timeout")]
    pub order_timeout_ms: u32,
    /// Silence after which the scale counts as lost; default three polls, at least 1.5 s.
    #[serde(default)]
    pub lost_after_ms: Option<u32>,
    /// `kg`, `g`, `lb` or `oz`; see [`Settings::unit`].
    #[serde(default, deserialize_with = "unit")]
    pub unit: Option<MassUnit>,
    /// Decimals of a number sent without a point; see [`Settings::decimals`].
    #[serde(default)]
    pub decimals: Option<u8>,
    /// Checksum of ENQ-DC1: `content`, `frame` or `either`; see [`Bcc`].
    #[serde(default, deserialize_with = "bcc")]
    pub bcc: Option<Bcc>,
    /// `asked` or `sent`; see [`Settings::reading`].
    #[serde(default, deserialize_with = "reading")]
    pub reading: Option<Reading>,
    /// Unit price sent with every request, in smallest coins; see [`Settings::unit_price`].
    #[serde(default)]
    pub unit_price: Option<u32>,
    /// See [`Settings::checksum_polynomial`].
    #[serde(default)]
    pub checksum_polynomial: Option<u32>,
}

/// The line of a scale with every default filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleLine {
    /// Bits per second.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: ParityKind,
    /// 1 or 2.
    pub stop_bits: u8,
    /// Silence between an answer and the next command.
    pub min_gap_ms: u32,
}

impl ScaleConfig {
    /// The line: what is configured, else what the protocol usually has.
    #[must_use]
    pub fn line(&self) -> ScaleLine {
        let usual = self.protocol.kind().line();
        let parity = match usual.parity {
            LineParity::None => ParityKind::None,
            LineParity::Even => ParityKind::Even,
            LineParity::Odd => ParityKind::Odd,
        };
        ScaleLine {
            baud: self.baud.unwrap_or(usual.baud),
            data_bits: self.data_bits.unwrap_or(usual.data_bits),
            parity: self.parity.unwrap_or(parity),
            stop_bits: self.stop_bits.unwrap_or(1),
            min_gap_ms: self.min_gap_ms.unwrap_or_else(|| u32::try_from(usual.gap_ms).unwrap_or(u32::MAX)),
        }
    }

    /// What the protocol has to know.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            unit: self.unit,
            decimals: self.decimals,
            bcc: self.bcc,
            reading: self.reading,
            unit_price: self.unit_price,
            checksum_polynomial: self.checksum_polynomial,
        }
    }
}

fn poll() -> u32 {
    250
}
fn timeout() -> u32 {
    300
}
fn order_timeout() -> u32 {
    4_000
}

/// Reads one of a few words.
fn word<'de, D: serde::Deserializer<'de>, T: Copy>(
    deserializer: D,
    words: &[(&'static str, T)],
) -> Result<Option<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| Some(*value)).ok_or_else(|| {
        let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        D::Error::custom(format!("unknown value `{text}`, expected one of: {known}"))
    })
}

fn unit<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<MassUnit>, D::Error> {
    let units = [MassUnit::Kilogram, MassUnit::Gram, MassUnit::Pound, MassUnit::Ounce];
    word(deserializer, &units.map(|unit| (unit.symbol(), unit)))
}

fn bcc<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Bcc>, D::Error> {
    word(deserializer, &[("content", Bcc::Content), ("frame", Bcc::Frame), ("either", Bcc::Either)])
}

fn reading<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Reading>, D::Error> {
    word(deserializer, &[("asked", Reading::Asked), ("sent", Reading::Sent)])
}
