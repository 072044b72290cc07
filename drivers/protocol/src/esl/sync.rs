//! Packets of the synchronized mode: `len 34 group TLV...` from the access point, `len 34 TLV...` from a label, wrapped in
//! encrypted data `len 31 randomizer ciphertext MIC` (ESLP 5.3, CSS 11).

use alloc::vec::Vec;

use super::ead::{self, EadError, IvOrder, RANDOMIZER_BYTES};
use super::{Command, KeyMaterial, Response, TlvError};
use crate::evidence::Evidence;

/// The AD type of an ESL payload.
pub const AD_ESL: u8 = 0x34;
/// The AD type of encrypted data.
pub const AD_ENCRYPTED: u8 = 0x31;
/// The longest ESL payload.
pub const PAYLOAD_BYTES_MAX: usize = 48;

/// Why a packet cannot be read or built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The length byte contradicts the bytes, or the type is another.
    #[error("expected one AD structure of type {expected:#04x}: {bytes}")]
    Structure {
        /// The type expected.
        expected: u8,
        /// The packet.
        bytes: Evidence,
    },
    /// More than 48 bytes.
    #[error("ESL payload of {0} bytes, expected 2..=48")]
    Size(usize),
    /// The group has seven bits.
    #[error("group {0}, expected 0..=127")]
    Group(u8),
    /// A command or response in it.
    #[error("in the payload: {0}")]
    Tlv(#[from] TlvError),
    /// The encryption.
    #[error(transparent)]
    Ead(#[from] EadError),
}

fn structure(kind: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(content.len() + 1).ok()?;
    Some([&[length, kind][..], content].concat())
}

fn content(kind: u8, bytes: &[u8]) -> Result<&[u8], SyncError> {
    match bytes {
        [length, found, content @ ..] if *found == kind && usize::from(*length) == content.len() + 1 => {
            Ok(content)
        }
        _ => Err(SyncError::Structure { expected: kind, bytes: Evidence::of(bytes) }),
    }
}

fn payload(bytes: &[u8]) -> Result<&[u8], SyncError> {
    let payload = content(AD_ESL, bytes)?;
    if (2..=PAYLOAD_BYTES_MAX).contains(&payload.len()) {
        Ok(payload)
    } else {
        Err(SyncError::Size(payload.len()))
    }
}

/// Commands for labels of one group as one AD structure; a command's first element is the label's number.
///
/// # Errors
/// A group of more than seven bits, no command, more than 48 bytes.
pub fn build(group: u8, commands: &[(u8, Command)]) -> Result<Vec<u8>, SyncError> {
    if group > 0x7F {
        return Err(SyncError::Group(group));
    }
    let mut out = [group].to_vec();
    for (id, command) in commands {
        out.extend(command.encode(*id)?);
    }
    let size = SyncError::Size(out.len());
    if commands.is_empty() || out.len() > PAYLOAD_BYTES_MAX {
        return Err(size);
    }
    structure(AD_ESL, &out).ok_or(size)
}

/// Reads what [`build`] builds: the group, and label numbers with their commands.
///
/// # Errors
/// See [`SyncError`].
pub fn parse(bytes: &[u8]) -> Result<(u8, Vec<(u8, Command)>), SyncError> {
    let (group, mut rest) = payload(bytes)?.split_first().ok_or(SyncError::Size(0))?;
    if *group > 0x7F {
        return Err(SyncError::Group(*group));
    }
    let mut commands = Vec::new();
    while !rest.is_empty() {
        let (command, used) = Command::decode_first(rest)?;
        commands.push(command);
        rest = rest.get(used..).unwrap_or_default();
    }
    Ok((*group, commands))
}

/// A label's responses as one AD structure.
///
/// # Errors
/// No response, more than 48 bytes.
pub fn build_responses(responses: &[Response]) -> Result<Vec<u8>, SyncError> {
    let mut out = Vec::new();
    for response in responses {
        out.extend(response.encode()?);
    }
    let size = SyncError::Size(out.len());
    if out.is_empty() || out.len() > PAYLOAD_BYTES_MAX {
        return Err(size);
    }
    structure(AD_ESL, &out).ok_or(size)
}

/// Reads what [`build_responses`] builds.
///
/// # Errors
/// See [`SyncError`].
pub fn parse_responses(bytes: &[u8]) -> Result<Vec<Response>, SyncError> {
    let mut rest = payload(bytes)?;
    let mut responses = Vec::new();
    while !rest.is_empty() {
        let (response, used) = Response::decode_first(rest)?;
        responses.push(response);
        rest = rest.get(used..).unwrap_or_default();
    }
    Ok(responses)
}

/// Wraps an AD structure into encrypted data.
///
/// # Errors
/// As [`ead::seal`].
pub fn seal(
    material: &KeyMaterial,
    order: IvOrder,
    randomizer: [u8; RANDOMIZER_BYTES],
    inner: &[u8],
) -> Result<Vec<u8>, SyncError> {
    let sealed = ead::seal(material, order, randomizer, inner)?;
    structure(AD_ENCRYPTED, &sealed).ok_or(SyncError::Size(inner.len()))
}

/// Opens what [`seal`] wrapped.
///
/// # Errors
/// See [`SyncError`].
pub fn open(material: &KeyMaterial, order: IvOrder, bytes: &[u8]) -> Result<Vec<u8>, SyncError> {
    Ok(ead::open(material, order, content(AD_ENCRYPTED, bytes)?)?)
}
