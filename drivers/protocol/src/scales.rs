//! The protocols of counter scales behind one face, [`ScaleProtocol`]: which there are, how they are set up.
//!
//! | module | protocol | weight | zero | tare | keyed | clear | says stable | says gross or net |
//! |---|---|---|---|---|---|---|---|---|
//! | [`toledo`] | Mettler-Toledo 8217 / 8213 | asked | yes | yes | yes | yes | yes | yes |
//! | [`enqdc1`] | ENQ-DC1: CAS AP-1, OHAUS Aviator, GRAM | asked | | | | | yes | no |
//! | [`enqdc1`] | the same as Pinnacle/Aclas OS2X has it | asked or sent | yes | yes | | | yes | sent only |
//! | [`mtsics`] | MT-SICS levels 0 and 1 | asked or sent | yes | yes | yes | yes | yes | no |
//! | [`nci`] | NCI SCP-01 and SCP-02 | asked | yes | | | | yes | with h3 |
//! | [`cas`] | CAS 22 bytes; 10 bytes | sent | | | | | 22 only | 22 only |
//! | [`aandd`] | A&D 18 bytes; A&D native | sent; asked or sent | native | native | | | yes | 18 only |
//! | [`dialog06`] | Dialog 06 with price, tare, status, checksums | asked | | | yes | yes | yes | with our tare |
//! | [`tisa`] | TISA of Dibal DPOS400 | asked | | | | | yes | no |
//! | [`xk3190`] | Yaohua XK3190-A23 | asked or sent | | | | | no | asked only |
//!
//! A protocol that does not say "stable" never yields a usable weight: [`xk3190`] and the 10-byte [`cas`] stream show what
//! lies on the platform, and nothing of it can be recorded.
//!
//! Left out, because no public source gives what is needed: the price-computing reply to `DC2` of ENQ-DC1 (length of its
//! price unknown); the terminators and replies of CAS's `KT WT ZE TR HD PR`; the OpBox protocol of the OS2CX; the
//! polynomial of Dialog 06's checksums (a setting); the PLU records of Dahua TM label scales.

use alloc::boxed::Box;

use crate::scale::{MassUnit, ScaleProtocol};

pub mod aandd;
pub mod cas;
pub mod dialog06;
pub mod enqdc1;
mod lines;
pub mod mtsics;
pub mod nci;
pub mod tisa;
pub mod toledo;
pub mod xk3190;

/// Which protocol a scale speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ScaleKind {
    /// Mettler-Toledo 8217 / 8213.
    Toledo8217,
    /// ENQ-DC1 as CAS AP-1, OHAUS Aviator and GRAM have it.
    EnqDc1,
    /// ENQ-DC1 as Pinnacle/Aclas OS2X have it: other checksum, tare and zero commands, active sending.
    Os2x,
    /// MT-SICS.
    MtSics,
    /// NCI SCP-01.
    NciScp01,
    /// NCI SCP-02 (ECR).
    NciScp02,
    /// CAS stream of 22 bytes.
    Cas22,
    /// CAS stream of 10 bytes: a number and nothing else.
    Cas10,
    /// A&D stream of 18 bytes (`ST,GS,…`).
    And18,
    /// A&D's own commands and replies.
    AndNative,
    /// Dialog 06.
    Dialog06,
    /// TISA.
    Tisa,
    /// Yaohua XK3190-A23.
    Xk3190A23,
}

impl ScaleKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Toledo8217,
        Self::EnqDc1,
        Self::Os2x,
        Self::MtSics,
        Self::NciScp01,
        Self::NciScp02,
        Self::Cas22,
        Self::Cas10,
        Self::And18,
        Self::AndNative,
        Self::Dialog06,
        Self::Tisa,
        Self::Xk3190A23,
    ];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Toledo8217 => "toledo-8217",
            Self::EnqDc1 => "enq-dc1",
            Self::Os2x => "os2x",
            Self::MtSics => "mt-sics",
            Self::NciScp01 => "nci-scp-01",
            Self::NciScp02 => "nci-scp-02",
            Self::Cas22 => "cas-22",
            Self::Cas10 => "cas-10",
            Self::And18 => "and-18",
            Self::AndNative => "and-native",
            Self::Dialog06 => "dialog-06",
            Self::Tisa => "tisa",
            Self::Xk3190A23 => "xk3190-a23",
        }
    }

    /// The line that a scale of this kind usually has; every value may differ on a real one.
    ///
    /// Sources are those of the modules, with two exceptions: the 2400 baud of [`Self::AndNative`] is recalled as the factory
    /// setting, and the rates of the CAS and A&D streams are chosen in the scale's menu, so 9600 is only a start.
    #[must_use]
    pub const fn line(self) -> LineDefaults {
        let line = LineDefaults { baud: 9600, data_bits: 8, parity: LineParity::None, gap_ms: 50 };
        match self {
            Self::Toledo8217 => LineDefaults {
                data_bits: 7,
                parity: LineParity::Even,
                gap_ms: crate::toledo8217::COMMAND_GAP_MS,
                ..line
            },
            Self::NciScp01 | Self::NciScp02 | Self::And18 => {
                LineDefaults { data_bits: 7, parity: LineParity::Even, ..line }
            }
            Self::AndNative => LineDefaults { baud: 2400, data_bits: 7, parity: LineParity::Even, ..line },
            // The only free driver waits 200 ms between commands.
            Self::Dialog06 => LineDefaults { data_bits: 7, parity: LineParity::Odd, gap_ms: 200, ..line },
            Self::EnqDc1
            | Self::Os2x
            | Self::MtSics
            | Self::Cas22
            | Self::Cas10
            | Self::Tisa
            | Self::Xk3190A23 => line,
        }
    }

    /// Whether bit 7 of a byte is parity, not content: a pseudo-terminal and an 8-bit port hand it through.
    #[must_use]
    pub const fn seven_bits(self) -> bool {
        self.line().data_bits == 7
    }

    /// Whether the weight can be asked for, and whether the scale can send it by itself.
    #[must_use]
    pub const fn readings(self) -> (bool, bool) {
        match self {
            Self::Toledo8217
            | Self::EnqDc1
            | Self::NciScp01
            | Self::NciScp02
            | Self::Dialog06
            | Self::Tisa => (true, false),
            Self::Os2x | Self::MtSics | Self::AndNative | Self::Xk3190A23 => (true, true),
            Self::Cas22 | Self::Cas10 | Self::And18 => (false, true),
        }
    }
}

/// Parity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineParity {
    /// No parity bit.
    None,
    /// Even parity.
    Even,
    /// Odd parity.
    Odd,
}

/// Usual settings of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineDefaults {
    /// Bits per second.
    pub baud: u32,
    /// 7 or 8.
    pub data_bits: u8,
    /// Parity.
    pub parity: LineParity,
    /// Silence between an answer and the next command in milliseconds.
    pub gap_ms: u64,
}

/// How the weight comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The host asks.
    Asked,
    /// The scale sends by itself.
    Sent,
}

/// Which bytes the checksum of an ENQ-DC1 frame covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bcc {
    /// Those between `STX` and the checksum: AP-1, CAS, OHAUS.
    Content,
    /// All twelve before it, `SOH STX` included: Pinnacle/Aclas OS2CX.
    Frame,
    /// Either; a frame damaged by just the difference of the two would pass, so only where the scale is not known.
    Either,
}

/// What a protocol has to know about one scale; `None` is the protocol's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// The unit. Where frames carry one it must be this one; where they do not it is needed (default kilogram for the
    /// 8217, Dialog 06 takes it from the frame).
    pub unit: Option<MassUnit>,
    /// Decimals of a number sent without a point (TISA; default 3).
    pub decimals: Option<u8>,
    /// Checksum of ENQ-DC1.
    pub bcc: Option<Bcc>,
    /// How the weight comes, where the protocol has both.
    pub reading: Option<Reading>,
    /// Unit price that is sent with a request for the weight (Dialog 06: default 1000; TISA: default 0), smallest coins.
    pub unit_price: Option<u32>,
    /// Polynomial of Dialog 06's checksums, 17 bits with its leading one. Not public.
    pub checksum_polynomial: Option<u32>,
}

/// Why settings do not fit a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The protocol has no such setting.
    #[error("{setting}: protocol {protocol} has no such setting")]
    NotApplicable {
        /// Name of the protocol.
        protocol: &'static str,
        /// Name of the setting.
        setting: &'static str,
    },
    /// The protocol needs the setting, or another value.
    #[error("{setting}: protocol {protocol} expects {expected}")]
    Expected {
        /// Name of the protocol.
        protocol: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// What would do.
        expected: &'static str,
    },
}

impl SettingsError {
    /// The setting at fault.
    #[must_use]
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::NotApplicable { setting, .. } | Self::Expected { setting, .. } => setting,
        }
    }
}

/// A scale protocol at rest.
///
/// # Errors
/// The first setting that the protocol does not have, needs, or cannot take.
pub fn open(kind: ScaleKind, settings: &Settings) -> Result<Box<dyn ScaleProtocol + Send>, SettingsError> {
    check(kind, settings)?;
    let sent = sends(kind, settings);
    let unit = settings.unit;
    Ok(match kind {
        ScaleKind::Toledo8217 => Box::new(toledo::Toledo::new(unit.unwrap_or_default())),
        ScaleKind::EnqDc1 => {
            Box::new(enqdc1::EnqDc1::new(kind.name(), settings.bcc.unwrap_or(Bcc::Content), unit))
        }
        ScaleKind::Os2x => {
            let bcc = settings.bcc.unwrap_or(Bcc::Frame);
            Box::new(enqdc1::EnqDc1::new(kind.name(), bcc, unit).with_commands(sent))
        }
        ScaleKind::MtSics => Box::new(mtsics::MtSics::new(unit, sent)),
        ScaleKind::NciScp01 => Box::new(nci::Nci::new(nci::Version::Scp01, unit)),
        ScaleKind::NciScp02 => Box::new(nci::Nci::new(nci::Version::Scp02, unit)),
        ScaleKind::Cas22 => Box::new(cas::Cas::new(cas::Format::Bytes22, unit)),
        ScaleKind::Cas10 => Box::new(cas::Cas::new(cas::Format::Bytes10, unit)),
        ScaleKind::And18 => Box::new(aandd::And::new(aandd::Format::Bytes18, unit, true)),
        ScaleKind::AndNative => Box::new(aandd::And::new(aandd::Format::Native, unit, sent)),
        ScaleKind::Dialog06 => Box::new(dialog06::Dialog06::new(settings)),
        ScaleKind::Tisa => Box::new(tisa::Tisa::new(settings)),
        ScaleKind::Xk3190A23 => Box::new(xk3190::Xk3190::new(unit.unwrap_or_default(), sent)),
    })
}

/// Whether a scale of this kind and settings sends by itself.
#[must_use]
pub const fn sends(kind: ScaleKind, settings: &Settings) -> bool {
    match settings.reading {
        Some(Reading::Sent) => true,
        Some(Reading::Asked) => false,
        None => !kind.readings().0,
    }
}

fn check(kind: ScaleKind, settings: &Settings) -> Result<(), SettingsError> {
    let protocol = kind.name();
    let only = |given: bool, fits: bool, setting| match given && !fits {
        true => Err(SettingsError::NotApplicable { protocol, setting }),
        false => Ok(()),
    };
    let expected = |setting, expected| Err(SettingsError::Expected { protocol, setting, expected });
    only(settings.bcc.is_some(), matches!(kind, ScaleKind::EnqDc1 | ScaleKind::Os2x), "bcc")?;
    only(settings.decimals.is_some(), kind == ScaleKind::Tisa, "decimals")?;
    only(settings.unit_price.is_some(), matches!(kind, ScaleKind::Dialog06 | ScaleKind::Tisa), "unit_price")?;
    only(settings.checksum_polynomial.is_some(), kind == ScaleKind::Dialog06, "checksum_polynomial")?;
    match (settings.reading, kind.readings()) {
        (Some(Reading::Sent), (_, false)) => return expected("reading", "asked: it does not send by itself"),
        (Some(Reading::Asked), (false, _)) => {
            return expected("reading", "sent: its weight cannot be asked for");
        }
        _ => {}
    }
    match (kind, settings.unit) {
        (ScaleKind::Toledo8217, Some(MassUnit::Gram | MassUnit::Ounce)) => {
            return expected("unit", "kg or lb");
        }
        (ScaleKind::Cas10 | ScaleKind::Xk3190A23, None) => {
            return expected("unit", "kg, g, lb or oz: its frames carry none");
        }
        _ => {}
    }
    if settings.decimals.is_some_and(|decimals| decimals > 4) {
        return expected("decimals", "0 to 4");
    }
    let price_max = if kind == ScaleKind::Tisa { tisa::PRICE_MAX } else { dialog06::PRICE_MAX };
    if settings.unit_price.is_some_and(|price| price > price_max) {
        return expected("unit_price", "a price that fits its digits (Dialog 06: 6, TISA: 5)");
    }
    if settings.checksum_polynomial.is_some_and(|p| p >> 16 != 1) {
        return expected("checksum_polynomial", "17 bits with the leading one, 0x10000 to 0x1ffff");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
