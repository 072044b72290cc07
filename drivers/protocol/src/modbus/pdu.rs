//! The protocol data unit: function code and payload, without unit, length or checksum.

use alloc::vec::Vec;

use super::{
    Exception, ModbusError, READ_BITS_MAX, READ_REGISTERS_MAX, Request, Response, Table, WRITE_BITS_MAX,
    WRITE_REGISTERS_MAX,
};
use crate::evidence::Evidence;

const EXCEPTION_BIT: u8 = 0x80;
const COIL_ON: u16 = 0xFF00;

/// Refuses what the protocol cannot carry.
pub(super) fn check(request: &Request) -> Result<(), ModbusError> {
    let (what, found, most) = match request {
        Request::Read { table, count, .. } if table.is_bits() => {
            ("bit count", usize::from(*count), usize::from(READ_BITS_MAX))
        }
        Request::Read { count, .. } => {
            ("register count", usize::from(*count), usize::from(READ_REGISTERS_MAX))
        }
        Request::WriteCoils { values, .. } => ("bit count", values.len(), WRITE_BITS_MAX),
        Request::WriteRegisters { values, .. } => ("register count", values.len(), WRITE_REGISTERS_MAX),
        Request::WriteCoil { .. } | Request::WriteRegister { .. } => return Ok(()),
    };
    if found == 0 || found > most {
        return Err(ModbusError::Range { what, found, most });
    }
    let end = usize::from(request.address()) + found;
    if end > 0x1_0000 {
        return Err(ModbusError::Range { what: "last address", found: end - 1, most: 0xFFFF });
    }
    Ok(())
}

pub(super) fn encode_request(request: &Request, out: &mut Vec<u8>) -> Result<(), ModbusError> {
    check(request)?;
    out.push(request.function());
    out.extend(request.address().to_be_bytes());
    match request {
        Request::Read { count, .. } => out.extend(count.to_be_bytes()),
        Request::WriteCoil { on, .. } => out.extend(coil_word(*on).to_be_bytes()),
        Request::WriteRegister { value, .. } => out.extend(value.to_be_bytes()),
        Request::WriteCoils { values, .. } => {
            out.extend(count_of(values.len()).to_be_bytes());
            let bytes = pack(values);
            out.push(byte_of(bytes.len()));
            out.extend(bytes);
        }
        Request::WriteRegisters { values, .. } => {
            out.extend(count_of(values.len()).to_be_bytes());
            out.push(byte_of(values.len() * 2));
            out.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        }
    }
    Ok(())
}

/// Reads a request as a device does; what a device would answer to a bad one is `IllegalFunction` or `IllegalValue`.
pub(super) fn decode_request(pdu: &[u8], frame: Evidence) -> Result<Request, ModbusError> {
    let short = |expected| ModbusError::Short { expected, found: pdu.len(), bytes: frame };
    let [function, head @ ..] = pdu else { return Err(short(5)) };
    if !matches!(function, 1..=6 | 15 | 16) {
        return Err(ModbusError::Function { expected: 0, found: *function, bytes: frame });
    }
    let [a, b, c, d, rest @ ..] = head else { return Err(short(5)) };
    let address = u16::from_be_bytes([*a, *b]);
    let word = u16::from_be_bytes([*c, *d]);
    let fixed = |request| {
        if rest.is_empty() {
            Ok(request)
        } else {
            Err(ModbusError::Length { expected: 5, found: pdu.len(), bytes: frame })
        }
    };
    let read = |table| Request::Read { table, address, count: word };
    let request = match function {
        1 => fixed(read(Table::Coil))?,
        2 => fixed(read(Table::Discrete))?,
        3 => fixed(read(Table::Holding))?,
        4 => fixed(read(Table::Input))?,
        5 if word != 0 && word != COIL_ON => {
            return Err(ModbusError::Range {
                what: "coil word",
                found: usize::from(word),
                most: usize::from(COIL_ON),
            });
        }
        5 => fixed(Request::WriteCoil { address, on: word == COIL_ON })?,
        6 => fixed(Request::WriteRegister { address, value: word })?,
        15 => {
            let bytes = counted(rest, usize::from(word).div_ceil(8), frame)?;
            Request::WriteCoils { address, values: unpack(bytes, usize::from(word)) }
        }
        _ => {
            let bytes = counted(rest, usize::from(word) * 2, frame)?;
            Request::WriteRegisters { address, values: words(bytes) }
        }
    };
    check(&request)?;
    Ok(request)
}

/// The payload behind its byte count, where count and length agree with `expected`.
fn counted(rest: &[u8], expected: usize, frame: Evidence) -> Result<&[u8], ModbusError> {
    match rest {
        [count, payload @ ..] if usize::from(*count) == expected && payload.len() == expected => Ok(payload),
        _ => Err(ModbusError::Length { expected: expected + 1, found: rest.len(), bytes: frame }),
    }
}

pub(super) fn decode_response(
    pdu: &[u8],
    request: &Request,
    frame: Evidence,
) -> Result<Response, ModbusError> {
    let short = |expected| ModbusError::Short { expected, found: pdu.len(), bytes: frame };
    let [function, payload @ ..] = pdu else { return Err(short(2)) };
    let expected = request.function();
    if *function == expected | EXCEPTION_BIT {
        return match payload {
            [code] => Err(ModbusError::Exception(Exception::from_code(*code))),
            _ => Err(ModbusError::Length { expected: 1, found: payload.len(), bytes: frame }),
        };
    }
    if *function != expected {
        return Err(ModbusError::Function { expected, found: *function, bytes: frame });
    }
    match request {
        Request::Read { table, count, .. } if table.is_bits() => {
            let count = usize::from(*count);
            let bytes = counted(payload, count.div_ceil(8), frame)?;
            Ok(Response::Bits(unpack(bytes, count)))
        }
        Request::Read { count, .. } => {
            let bytes = counted(payload, usize::from(*count) * 2, frame)?;
            Ok(Response::Registers(words(bytes)))
        }
        _ => {
            let mut confirmed = request.address().to_be_bytes().to_vec();
            confirmed.extend(confirmation(request).to_be_bytes());
            if payload.len() != confirmed.len() {
                return Err(ModbusError::Length { expected: 4, found: payload.len(), bytes: frame });
            }
            if payload == confirmed { Ok(Response::Written) } else { Err(ModbusError::Echo { bytes: frame }) }
        }
    }
}

pub(super) fn encode_response(request: &Request, answer: &Result<Response, Exception>, out: &mut Vec<u8>) {
    let function = request.function();
    match answer {
        Err(exception) => out.extend([function | EXCEPTION_BIT, exception.code()]),
        Ok(Response::Bits(values)) => {
            let bytes = pack(values);
            out.extend([function, byte_of(bytes.len())]);
            out.extend(bytes);
        }
        Ok(Response::Registers(values)) => {
            out.extend([function, byte_of(values.len() * 2)]);
            out.extend(values.iter().flat_map(|value| value.to_be_bytes()));
        }
        Ok(Response::Written) => {
            out.push(function);
            out.extend(request.address().to_be_bytes());
            out.extend(confirmation(request).to_be_bytes());
        }
    }
}

/// The refusal of a request that could not be read, where the function code is known.
pub(super) fn refusal(function: u8, exception: Exception) -> [u8; 2] {
    [function | EXCEPTION_BIT, exception.code()]
}

fn confirmation(request: &Request) -> u16 {
    match request {
        Request::Read { count, .. } => *count,
        Request::WriteCoil { on, .. } => coil_word(*on),
        Request::WriteRegister { value, .. } => *value,
        Request::WriteCoils { values, .. } => count_of(values.len()),
        Request::WriteRegisters { values, .. } => count_of(values.len()),
    }
}

const fn coil_word(on: bool) -> u16 {
    if on { COIL_ON } else { 0 }
}

/// Saturates; `check` has bounded every count that gets here.
fn count_of(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Saturates; `check` has bounded every length that gets here.
fn byte_of(len: usize) -> u8 {
    u8::try_from(len).unwrap_or(u8::MAX)
}

fn pack(values: &[bool]) -> Vec<u8> {
    values.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| (byte << 1) | u8::from(*bit))).collect()
}

fn unpack(bytes: &[u8], count: usize) -> Vec<bool> {
    bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).take(count).collect()
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}
