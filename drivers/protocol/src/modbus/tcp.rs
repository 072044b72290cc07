//! Modbus on TCP: the MBAP header (transaction, protocol 0, length, unit) and the PDU.

use alloc::vec::Vec;

use super::{Exception, ModbusError, PDU_BYTES_MAX, Request, Response, pdu};
use crate::evidence::Evidence;

/// Bytes before the PDU.
pub const HEADER_BYTES: usize = 7;
/// The longest frame.
pub const FRAME_BYTES_MAX: usize = HEADER_BYTES + PDU_BYTES_MAX;

/// How long the frame that begins with `start` is; `None` until its header is there.
///
/// # Errors
/// A header that is not Modbus; the stream cannot be resynchronised after that and must be closed.
pub fn frame_len(start: &[u8]) -> Result<Option<usize>, ModbusError> {
    let [_, _, p, q, m, n, ..] = start else { return Ok(None) };
    let bytes = Evidence::of(start);
    let protocol = u16::from_be_bytes([*p, *q]);
    if protocol != 0 {
        return Err(ModbusError::Protocol { found: protocol, bytes });
    }
    let length = usize::from(u16::from_be_bytes([*m, *n]));
    if !(2..=PDU_BYTES_MAX + 1).contains(&length) {
        return Err(ModbusError::Length { expected: PDU_BYTES_MAX + 1, found: length, bytes });
    }
    Ok(Some(length + 6))
}

/// A request as sent.
///
/// # Errors
/// [`ModbusError::Range`] for what the protocol cannot carry.
pub fn encode_request(transaction: u16, unit: u8, request: &Request) -> Result<Vec<u8>, ModbusError> {
    let mut pdu = Vec::new();
    pdu::encode_request(request, &mut pdu)?;
    Ok(framed(transaction, unit, &pdu))
}

/// Reads the answer to `request`, which went to `unit` as `transaction`.
///
/// # Errors
/// Whatever does not fit the request, and the device's own refusal.
pub fn decode_response(
    transaction: u16,
    unit: u8,
    request: &Request,
    frame: &[u8],
) -> Result<Response, ModbusError> {
    let (found_transaction, found_unit, pdu) = opened(frame)?;
    let bytes = Evidence::of(frame);
    if found_transaction != transaction {
        return Err(ModbusError::Transaction { expected: transaction, found: found_transaction, bytes });
    }
    if found_unit != unit {
        return Err(ModbusError::Unit { expected: unit, found: found_unit, bytes });
    }
    pdu::decode_response(pdu, request, bytes)
}

/// Reads a request as a device does: transaction, unit, request.
///
/// # Errors
/// What cannot be read; see [`refusal`].
pub fn decode_request(frame: &[u8]) -> Result<(u16, u8, Request), ModbusError> {
    let (transaction, unit, pdu) = opened(frame)?;
    Ok((transaction, unit, pdu::decode_request(pdu, Evidence::of(frame))?))
}

/// A device's answer as sent.
#[must_use]
pub fn encode_response(
    transaction: u16,
    unit: u8,
    request: &Request,
    answer: &Result<Response, Exception>,
) -> Vec<u8> {
    let mut pdu = Vec::new();
    pdu::encode_response(request, answer, &mut pdu);
    framed(transaction, unit, &pdu)
}

/// The refusal of a request that is framed but unreadable; `None` when there is nothing to answer to.
#[must_use]
pub fn refusal(frame: &[u8], error: &ModbusError) -> Option<Vec<u8>> {
    let exception = match error {
        ModbusError::Function { .. } => Exception::IllegalFunction,
        ModbusError::Range { .. } | ModbusError::Length { .. } => Exception::IllegalValue,
        _ => return None,
    };
    let (transaction, unit, pdu) = opened(frame).ok()?;
    Some(framed(transaction, unit, &pdu::refusal(*pdu.first()?, exception)))
}

fn framed(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap_or(u16::MAX);
    let mut frame = transaction.to_be_bytes().to_vec();
    frame.extend([0, 0]);
    frame.extend(length.to_be_bytes());
    frame.push(unit);
    frame.extend(pdu);
    frame
}

fn opened(frame: &[u8]) -> Result<(u16, u8, &[u8]), ModbusError> {
    let bytes = Evidence::of(frame);
    let [t, u, _, _, _, _, unit, pdu @ ..] = frame else {
        return Err(ModbusError::Short { expected: HEADER_BYTES + 1, found: frame.len(), bytes });
    };
    let expected = frame_len(frame)?.unwrap_or(HEADER_BYTES);
    if expected != frame.len() {
        return Err(ModbusError::Length { expected, found: frame.len(), bytes });
    }
    Ok((u16::from_be_bytes([*t, *u]), *unit, pdu))
}
