//! What differs between tag families: their service, what their adverts say, and how a job is carried out over a link.

mod esl;
mod gicisky;
mod oepl;

use std::collections::HashMap;

use drv_protocol::MilliCelsius;
use drv_protocol::gicisky::{Encoding, Profile, StreamHeader};

use super::fault::{TagFault, Unsupported};
use super::link::Link;
use crate::config::{BleConfig, EslAddress, KeyText, TagConfig, TagEncoding, TagFamily, TagHeader};
use crate::event::{TagAnswer, TagWork};
use esl::EslWriter;
use gicisky::GiciskyWriter;
use oepl::OeplWriter;

/// How a family carries out jobs.
pub(super) trait Writer {
    /// The service that is worked with.
    fn service(&self) -> u16;

    /// Carries out one job over a link whose service was discovered.
    async fn run(&self, link: &mut Link<'_>, work: &TagWork) -> Result<TagAnswer, TagFault>;
}

/// What an advertisement said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// The model number; `None` where the family advertises none.
    pub(super) model: Option<u16>,
    /// The battery in millivolts.
    pub(super) battery_mv: u16,
    /// The temperature, where the family has one.
    pub(super) temperature: Option<MilliCelsius>,
    /// How the tag's firmware wants its images, where the advertisement tells.
    pub(super) profile: Option<Profile>,
}

/// One tag's family with what the configuration says of it.
#[derive(Debug, Clone)]
pub(super) enum Family {
    Gicisky(GiciskyWriter),
    /// Boxed: keys, which most tags have none of.
    Esl(Box<EslWriter>),
    Oepl(OeplWriter),
}

impl Family {
    pub(super) fn new(tag: &TagConfig, ble: &BleConfig) -> Self {
        match tag.family {
            TagFamily::Gicisky => Self::Gicisky(GiciskyWriter { profile: profile(tag), observed: None }),
            TagFamily::Oepl => Self::Oepl(OeplWriter { inverted: tag.inverted }),
            TagFamily::Esl => {
                let EslAddress { id, group } = tag.esl.unwrap_or_default();
                // The configuration was checked: what is missing here cannot be.
                let key = |key: &Option<KeyText>| key.as_ref().and_then(KeyText::material);
                Self::Esl(Box::new(EslWriter {
                    address: drv_protocol::esl::Address::new(id, group).ok(),
                    sync_key: key(&ble.sync_key),
                    response_key: key(&tag.response_key),
                }))
            }
        }
    }

    /// Reads what a tag of this family advertises; `None` when it is somebody else's data.
    pub(super) fn seen(&self, data: &HashMap<u16, Vec<u8>>) -> Option<Result<Seen, (Vec<u8>, String)>> {
        match self {
            Self::Gicisky(_) => gicisky::seen(data),
            Self::Oepl(_) => oepl::seen(data),
            // A SIG label says nothing of itself in its adverts.
            Self::Esl(_) => None,
        }
    }

    /// Takes in how the tag's firmware wants its images.
    pub(super) const fn observe(&mut self, profile: Option<Profile>) {
        if let (Self::Gicisky(writer), Some(profile)) = (self, profile) {
            writer.observed = Some(profile);
        }
    }
}

impl Writer for Family {
    fn service(&self) -> u16 {
        match self {
            Self::Gicisky(writer) => writer.service(),
            Self::Esl(writer) => writer.service(),
            Self::Oepl(writer) => writer.service(),
        }
    }

    async fn run(&self, link: &mut Link<'_>, work: &TagWork) -> Result<TagAnswer, TagFault> {
        match self {
            Self::Gicisky(writer) => writer.run(link, work).await,
            Self::Esl(writer) => writer.run(link, work).await,
            Self::Oepl(writer) => writer.run(link, work).await,
        }
    }
}

/// What a family cannot do.
pub(crate) const fn unsupported(family: TagFamily, work: &TagWork) -> Option<Unsupported> {
    match (family, work) {
        (TagFamily::Esl, TagWork::Image(_)) => Some(Unsupported::ImageTransport),
        (TagFamily::Esl, _) | (_, TagWork::Image(_)) => None,
        (_, TagWork::Led(_)) => Some(Unsupported::Led(family.name())),
        (_, TagWork::ReadTemperature) => Some(Unsupported::Temperature(family.name())),
        (_, TagWork::ShowImage { .. }) => Some(Unsupported::StoredImage(family.name())),
        (_, TagWork::Ping) => Some(Unsupported::State(family.name())),
    }
}

/// The fault of a job that should have been refused before.
fn refused(family: TagFamily, work: &TagWork) -> TagFault {
    unsupported(family, work).unwrap_or(Unsupported::State(family.name())).into()
}

/// The configured profile; `None` for "as the advertisement says".
fn profile(tag: &TagConfig) -> Option<Profile> {
    let mut profile = match tag.encoding {
        TagEncoding::Auto => return None,
        TagEncoding::Raw => Profile::RAW,
        TagEncoding::Lines => Profile::LINES,
        TagEncoding::Chunks => Profile::CHUNKS,
    };
    let header = tag.header.map(|header| match header {
        TagHeader::Plane => StreamHeader::Plane,
        TagHeader::Following => StreamHeader::Following,
        TagHeader::Total => StreamHeader::Total,
    });
    profile.encoding = match (profile.encoding, header) {
        (Encoding::Lines(_), Some(header)) => Encoding::Lines(header),
        (Encoding::Chunks(_), Some(header)) => Encoding::Chunks(header),
        (encoding, _) => encoding,
    };
    profile.inverted = tag.inverted;
    Some(profile)
}
