//! BTHome v2: service data 0xFCD2, one byte of device information, then objects (id, little-endian value).
//!
//! Source: bthome.io/format and bthome.io/encryption; object lengths checked against bthome-ble 3.25 (Home Assistant).
//! Encrypted frames end with a 4-byte counter and a 4-byte tag; AES-CCM, no additional data, nonce = address ‖ D2 FC ‖
//! device information ‖ counter. Objects stand in ascending order of their ids so that a receiver which does not know one
//! may stop there; that is what happens here, and [`super::Flags::rest_unknown`] says so.

use alloc::vec::Vec;

use super::{Address, AdvertError, SensorAdvert, percent};
use crate::ccm::{self, Key, NONCE_BYTES, TAG_BYTES};
use crate::evidence::Evidence;
use crate::unit::{CentiPercent, MilliCelsius};

/// Service UUID.
pub const SERVICE: u16 = 0xFCD2;

const ENCRYPTED: u8 = 0x01;
/// In the first drafts of version 2: the address follows, reversed.
const WITH_ADDRESS: u8 = 0x02;
const TRIGGER_BASED: u8 = 0x04;
const VERSION_2: u8 = 0b010;
const COUNTER_BYTES: usize = 4;

/// Reads service data. [`SensorAdvert::counter`] is the counter of the seal, or the packet id of a plain frame.
///
/// # Errors
/// Another version, an object that is cut off, a seal that does not hold; a plain frame when there is a key, an encrypted
/// one when there is none.
pub fn decode(sender: Address, bytes: &[u8], key: Option<&Key>) -> Result<SensorAdvert, AdvertError> {
    let found = Evidence::of(bytes);
    let kind = AdvertError::Kind { format: "BTHome v2", found };
    let (&device, mut rest) = bytes.split_first().ok_or(kind)?;
    if device >> 5 != VERSION_2 {
        return Err(kind);
    }
    if device & WITH_ADDRESS != 0 {
        let (named, after) = rest.split_first_chunk::<6>().ok_or(kind)?;
        let named = Address::reversed(*named);
        if named != sender {
            return Err(AdvertError::Address { named, sender, found });
        }
        rest = after;
    }
    let mut advert = match (device & ENCRYPTED != 0, key) {
        (true, Some(key)) => unseal(sender, device, rest, key, found)?,
        (true, None) => return Err(AdvertError::KeyMissing),
        (false, Some(_)) => return Err(AdvertError::Downgrade(found)),
        (false, None) => objects(rest)?,
    };
    advert.flags.trigger_based = device & TRIGGER_BASED != 0;
    Ok(advert)
}

fn unseal(
    sender: Address,
    device: u8,
    bytes: &[u8],
    key: &Key,
    found: Evidence,
) -> Result<SensorAdvert, AdvertError> {
    let expected = 1 + COUNTER_BYTES + TAG_BYTES;
    let length = AdvertError::Length { format: "encrypted BTHome v2", expected, found };
    let (rest, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(length)?;
    let (cipher, counter) = rest.split_last_chunk::<COUNTER_BYTES>().ok_or(length)?;
    let mut sealed = Vec::with_capacity(cipher.len() + TAG_BYTES);
    sealed.extend_from_slice(cipher);
    sealed.extend_from_slice(tag);
    let text = ccm::open(key, &nonce(sender, device, *counter), &[], &sealed)
        .map_err(|_| AdvertError::Seal(found))?;
    let mut advert = objects(&text)?;
    advert.counter = Some(u32::from_le_bytes(*counter));
    advert.flags.authentic = true;
    Ok(advert)
}

/// The nonce of an encrypted frame.
#[must_use]
pub fn nonce(sender: Address, device: u8, counter: [u8; COUNTER_BYTES]) -> [u8; NONCE_BYTES] {
    let [a, b, c, d, e, f] = sender.0;
    let [low, high] = SERVICE.to_le_bytes();
    let [k, l, m, n] = counter;
    [a, b, c, d, e, f, low, high, device, k, l, m, n]
}

/// How long an object's value is.
enum Size {
    Fixed(usize),
    /// A length byte, then so many bytes.
    Counted,
    /// A length byte whose low five bits count the arguments behind one opcode.
    Command,
}

const fn size(object: u8) -> Option<Size> {
    Some(Size::Fixed(match object {
        0x00 | 0x01 | 0x09 | 0x0F..=0x11 | 0x15..=0x2F | 0x3A | 0x46 | 0x57..=0x59 | 0x60 | 0x64 | 0x65 => 1,
        0x02 | 0x03 | 0x06..=0x08 | 0x0C..=0x0E | 0x12..=0x14 | 0x3C | 0x3D | 0x3F..=0x41 => 2,
        0x43..=0x45 | 0x47..=0x4A | 0x51 | 0x52 | 0x56 | 0x5A | 0x5D..=0x5F | 0x61 | 0xF0 => 2,
        0x04 | 0x05 | 0x0A | 0x0B | 0x42 | 0x4B | 0xF2 => 3,
        0x3E | 0x4C..=0x50 | 0x55 | 0x5B | 0x5C | 0x62 | 0x63 | 0xF1 => 4,
        0x53 | 0x54 => return Some(Size::Counted),
        0x3B => return Some(Size::Command),
        _ => return None,
    }))
}

/// Reads the objects of a frame, decrypted where it was sealed.
///
/// # Errors
/// An object that reaches beyond the end.
pub fn objects(bytes: &[u8]) -> Result<SensorAdvert, AdvertError> {
    let mut advert = SensorAdvert::default();
    let mut rest = bytes;
    while let Some((&object, after)) = rest.split_first() {
        let truncated = AdvertError::Truncated { object, found: Evidence::of(bytes) };
        let Some(size) = size(object) else {
            advert.flags.rest_unknown = Some(object);
            break;
        };
        let (length, after) = match size {
            Size::Fixed(length) => (length, after),
            Size::Counted => counted(after, u8::MAX).ok_or(truncated)?,
            Size::Command => {
                counted(after, 0x1F).map(|(length, after)| (length + 1, after)).ok_or(truncated)?
            }
        };
        let (value, after) = after.split_at_checked(length).ok_or(truncated)?;
        take(&mut advert, object, value);
        rest = after;
    }
    Ok(advert)
}

fn counted(bytes: &[u8], mask: u8) -> Option<(usize, &[u8])> {
    bytes.split_first().map(|(length, after)| (usize::from(length & mask), after))
}

fn take(advert: &mut SensorAdvert, object: u8, value: &[u8]) {
    match (object, value) {
        (0x00, &[packet]) => advert.counter = Some(packet.into()),
        (0x01, &[charge]) => {
            advert.battery_percent = percent(charge);
            advert.flags.impossible |= charge > 100;
        }
        (0x02, &[low, high]) => temperature(advert, i16::from_le_bytes([low, high]).into(), 10),
        (0x45, &[low, high]) => temperature(advert, i16::from_le_bytes([low, high]).into(), 100),
        (0x57, &[degrees]) => temperature(advert, i8::from_le_bytes([degrees]).into(), 1000),
        (0x58, &[steps]) => temperature(advert, i8::from_le_bytes([steps]).into(), 350),
        (0x03, &[low, high]) => humidity(advert, u16::from_le_bytes([low, high]).into()),
        (0x2E, &[whole]) => humidity(advert, u32::from(whole) * 100),
        // 0.01 hPa is one pascal.
        (0x04, &[low, middle, high]) => advert.pressure_pa = Some(u32::from_le_bytes([low, middle, high, 0])),
        (0x0C, &[low, high]) => advert.battery_mv = Some(u16::from_le_bytes([low, high])),
        (0x11 | 0x1A | 0x2D, &[open]) => advert.flags.open = Some(open != 0),
        (0x15, &[low]) => advert.flags.battery_low = Some(low != 0),
        _ => {}
    }
}

fn temperature(advert: &mut SensorAdvert, raw: i32, milli: i32) {
    if advert.temperature.is_none() {
        advert.temperature = Some(MilliCelsius(raw * milli));
    } else {
        advert.flags.further_temperatures = advert.flags.further_temperatures.saturating_add(1);
    }
}

fn humidity(advert: &mut SensorAdvert, hundredths: u32) {
    let value = CentiPercent::possible(hundredths);
    advert.flags.impossible |= value.is_none();
    advert.humidity = advert.humidity.or(value);
}

/// Appends a plain or encrypted frame's service data for the given objects: the device side, for tests and simulators.
///
/// # Errors
/// Objects that are too long to be sealed.
pub fn encode(sender: Address, objects: &[u8], seal: Option<(&Key, u32)>) -> Result<Vec<u8>, ccm::CcmError> {
    let mut bytes = Vec::with_capacity(1 + objects.len() + COUNTER_BYTES + TAG_BYTES);
    let Some((key, counter)) = seal else {
        bytes.push(VERSION_2 << 5);
        bytes.extend_from_slice(objects);
        return Ok(bytes);
    };
    let device = VERSION_2 << 5 | ENCRYPTED;
    let counter = counter.to_le_bytes();
    let sealed = ccm::seal(key, &nonce(sender, device, counter), &[], objects)?;
    let (cipher, tag) = sealed.split_at_checked(objects.len()).unwrap_or((&sealed, &[]));
    bytes.push(device);
    bytes.extend_from_slice(cipher);
    bytes.extend_from_slice(&counter);
    bytes.extend_from_slice(tag);
    Ok(bytes)
}
