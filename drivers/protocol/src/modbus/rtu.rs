//! Modbus on a serial line: `unit PDU crc-low crc-high`, frames separated by silence.
//!
//! Frame ends are found by length, not by silence, wherever the length follows from the bytes: user space cannot
//! measure 3.5 characters, and a pseudo-terminal or USB adapter cuts frames as it likes.

use alloc::vec::Vec;

use super::{Exception, ModbusError, PDU_BYTES_MAX, Request, Response, pdu};
use crate::evidence::Evidence;

/// The longest frame: unit, PDU, checksum.
pub const FRAME_BYTES_MAX: usize = PDU_BYTES_MAX + 3;
/// The shortest frame: unit, function, checksum.
pub const FRAME_BYTES_MIN: usize = 4;

/// CRC-16 with polynomial 0xA001 (reflected), initial value 0xFFFF.
#[must_use]
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

/// A request as sent on the line.
///
/// # Errors
/// [`ModbusError::Range`] for what the protocol cannot carry.
pub fn encode_request(unit: u8, request: &Request) -> Result<Vec<u8>, ModbusError> {
    let mut frame = [unit].to_vec();
    pdu::encode_request(request, &mut frame)?;
    Ok(sealed(frame))
}

/// Reads the answer to `request` of `unit`.
///
/// # Errors
/// Whatever does not fit the request, and the device's own refusal.
pub fn decode_response(unit: u8, request: &Request, frame: &[u8]) -> Result<Response, ModbusError> {
    let (found, pdu) = opened(frame)?;
    let bytes = Evidence::of(frame);
    if found != unit {
        return Err(ModbusError::Unit { expected: unit, found, bytes });
    }
    pdu::decode_response(pdu, request, bytes)
}

/// How long the answer that begins with `start` will be; `None` while that cannot be told, or never can.
#[must_use]
pub fn response_len(start: &[u8]) -> Option<usize> {
    match start {
        [_, function, ..] if function & 0x80 != 0 => Some(5),
        [_, 1..=4, count, ..] => Some(usize::from(*count) + 5),
        [_, 5 | 6 | 15 | 16, ..] => Some(8),
        _ => None,
    }
}

/// How long the request that begins with `start` will be; `None` while that cannot be told, or never can.
#[must_use]
pub fn request_len(start: &[u8]) -> Option<usize> {
    match start {
        [_, 1..=6, ..] => Some(8),
        [_, 15 | 16, _, _, _, _, count, ..] => Some(usize::from(*count) + 9),
        _ => None,
    }
}

/// Reads a request as a device does: the unit addressed, and the request or why it cannot be served.
///
/// # Errors
/// A damaged frame (short, checksum), which a device ignores, or an unreadable one; see [`refusal`].
pub fn decode_request(frame: &[u8]) -> Result<(u8, Request), ModbusError> {
    let (unit, pdu) = opened(frame)?;
    Ok((unit, pdu::decode_request(pdu, Evidence::of(frame))?))
}

/// A device's answer as sent on the line.
#[must_use]
pub fn encode_response(unit: u8, request: &Request, answer: &Result<Response, Exception>) -> Vec<u8> {
    let mut frame = [unit].to_vec();
    pdu::encode_response(request, answer, &mut frame);
    sealed(frame)
}

/// The refusal of a request frame that is undamaged but unreadable; `None` when a device must stay silent.
#[must_use]
pub fn refusal(frame: &[u8], error: &ModbusError) -> Option<Vec<u8>> {
    let exception = match error {
        ModbusError::Function { .. } => Exception::IllegalFunction,
        ModbusError::Range { .. } | ModbusError::Length { .. } => Exception::IllegalValue,
        _ => return None,
    };
    let (unit, pdu) = opened(frame).ok()?;
    let function = pdu.first()?;
    if unit == super::BROADCAST {
        return None;
    }
    let mut answer = [unit].to_vec();
    answer.extend(pdu::refusal(*function, exception));
    Some(sealed(answer))
}

fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    let crc = crc16(&frame);
    frame.extend(crc.to_le_bytes());
    frame
}

/// Unit and PDU of a frame whose length and checksum hold.
fn opened(frame: &[u8]) -> Result<(u8, &[u8]), ModbusError> {
    let bytes = Evidence::of(frame);
    if frame.len() > FRAME_BYTES_MAX {
        return Err(ModbusError::Length { expected: FRAME_BYTES_MAX, found: frame.len(), bytes });
    }
    let [body @ .., low, high] = frame else {
        return Err(ModbusError::Short { expected: FRAME_BYTES_MIN, found: frame.len(), bytes });
    };
    let [unit, pdu @ ..] = body else {
        return Err(ModbusError::Short { expected: FRAME_BYTES_MIN, found: frame.len(), bytes });
    };
    if pdu.is_empty() {
        return Err(ModbusError::Short { expected: FRAME_BYTES_MIN, found: frame.len(), bytes });
    }
    let (expected, found) = (crc16(body), u16::from_le_bytes([*low, *high]));
    if expected != found {
        return Err(ModbusError::Crc { expected, found, bytes });
    }
    Ok((*unit, pdu))
}
