//! Why a tag job was refused or failed, by name.

use drv_protocol::esl::SessionError;
use drv_protocol::gicisky::TransferError;
use drv_protocol::oepl::UploadError;
use thiserror::Error;

use super::care::Blame;

/// What a tag family, or this transport, cannot do at all; known before anything is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unsupported {
    /// Images of SIG labels are objects of the Object Transfer Service.
    #[error(
        "image upload to an ESL label (service 1857) needs the Object Transfer Service over an L2CAP channel, which \
         btleplug lacks; images already in the label can be shown by index"
    )]
    ImageTransport,
    /// No LED command is public for the family.
    #[error("no LED command is known for the family {0}")]
    Led(&'static str),
    /// No temperature can be read on demand from the family.
    #[error("no temperature can be read on demand from the family {0}")]
    Temperature(&'static str),
    /// The family has no images by index.
    #[error("the family {0} has no stored images to show by index")]
    StoredImage(&'static str),
    /// The family has no state to ask for.
    #[error("the family {0} has no state to ask for")]
    State(&'static str),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TagFault {
    /// It cannot be done.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The daemon still tries an earlier connect.
    #[error("{0}: an earlier connect is still under way")]
    InProgress(String),
    /// The link is up, but the daemon knows no services of the tag.
    #[error("connected, but without any service; the link is dropped")]
    NoServices,
    /// The tag lacks a characteristic.
    #[error("no characteristic {characteristic:04X} in service {service:04X}")]
    Missing {
        /// The service.
        service: u16,
        /// The characteristic.
        characteristic: u16,
    },
    /// The link ended.
    #[error("link lost after {done}")]
    LinkLost {
        /// How far it had come.
        done: String,
    },
    /// The tag did not notify in time.
    #[error("tag mute after {done}")]
    Mute {
        /// How far it had come.
        done: String,
    },
    /// A call to the daemon failed or took too long.
    #[error("{0}")]
    Call(String),
    /// A Gicisky upload failed.
    #[error(transparent)]
    Gicisky(#[from] TransferError),
    /// A session with a SIG label failed.
    #[error(transparent)]
    Esl(#[from] SessionError),
    /// An `OpenEPaperLink` upload failed.
    #[error(transparent)]
    Oepl(#[from] UploadError),
    /// Every attempt failed.
    #[error("{attempts} attempts, last: {last}")]
    Attempts {
        /// How many.
        attempts: u8,
        /// The last one's fault.
        last: Box<TagFault>,
    },
    /// The tag was not heard for so long that the job was given up.
    #[error("tag not heard for {waited_ms} ms")]
    NotHeard {
        /// How long it was waited for.
        waited_ms: u128,
    },
    /// The session with the Bluetooth daemon ended under the attempt.
    #[error("{0}")]
    Interrupted(String),
}

impl TagFault {
    /// Whether this rather speaks of the adapter or its daemon than of the tag.
    pub(super) const fn blame(&self) -> Blame {
        match self {
            Self::InProgress(_) | Self::NoServices => Blame::Adapter,
            Self::Call(_) | Self::Interrupted(_) => Blame::Unclear,
            _ => Blame::Nobody,
        }
    }

    /// Whether another attempt may help.
    pub(crate) fn worth_repeating(&self) -> bool {
        match self {
            Self::Unsupported(_) | Self::Missing { .. } => false,
            Self::Esl(error) => !matches!(
                error,
                SessionError::Missing(_)
                    | SessionError::Index { .. }
                    | SessionError::NoSensor(_)
                    | SessionError::LedPeriod
                    | SessionError::Commands(_)
            ),
            _ => true,
        }
    }
}

/// The fault of a failed call: BlueZ says "In Progress" in its error's name or "already in progress" in its text.
pub(super) fn call(reason: String) -> TagFault {
    let text = reason.to_ascii_lowercase();
    if text.contains("in progress") || text.contains("inprogress") {
        TagFault::InProgress(reason)
    } else {
        TagFault::Call(reason)
    }
}
