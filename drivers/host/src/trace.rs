//! Frames in words, for a technician who watches a line. Pure; a frame that cannot be read is shown, never refused.

use drv_protocol::modbus::{PDU_BYTES_MAX, Request, Table, rtu, tcp};

use crate::advice::Road;
use crate::health::clip_to;
use crate::registry::Way;

/// Longest explanation in bytes.
const EXPLANATION_BYTES_MAX: usize = 160;
/// Registers of an answer that are spelled out.
const WORDS_MAX: usize = 12;

/// Names of the control characters below a blank.
const CONTROLS: [&str; 32] = [
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS",
    "US",
];

/// One line about a frame.
pub(crate) fn explain(road: &Road, way: Way, bytes: &[u8]) -> String {
    let text = match road {
        Road::Rtu { .. } => modbus_rtu(way, bytes),
        Road::Tcp { .. } => modbus_tcp(way, bytes),
        Road::Serial { .. } | Road::OneWire { .. } => characters(bytes),
        Road::Unknown | Road::I2c { .. } | Road::Ble { .. } => format!("{} bytes", bytes.len()),
    };
    clip_to(&text, EXPLANATION_BYTES_MAX)
}

/// Text with control characters by name. Bit 7 is parity on most scales and is left out.
fn characters(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().map(|byte| byte & 0x7F) {
        match CONTROLS.get(usize::from(byte)) {
            Some(name) => {
                text.push('<');
                text.push_str(name);
                text.push('>');
            }
            None if byte == 0x7F => text.push_str("<DEL>"),
            None => text.push(char::from(byte)),
        }
        if text.len() > EXPLANATION_BYTES_MAX {
            break;
        }
    }
    text
}

fn modbus_rtu(way: Way, bytes: &[u8]) -> String {
    if way == Way::Sent {
        return match rtu::decode_request(bytes) {
            Ok((unit, request)) => format!("unit {unit}: {}", asked(&request)),
            Err(error) => error.to_string(),
        };
    }
    let Some((body, [low, high])) = bytes.split_last_chunk::<2>() else {
        return format!("{} bytes, too short for an answer", bytes.len());
    };
    let sent = u16::from_le_bytes([*low, *high]);
    let found = rtu::crc16(body);
    let text = match body.split_first() {
        Some((unit, pdu)) => format!("unit {unit}: {}", answered(pdu)),
        None => "an empty answer".to_owned(),
    };
    if sent == found { text } else { format!("wrong checksum {sent:04X}, expected {found:04X}: {text}") }
}

fn modbus_tcp(way: Way, bytes: &[u8]) -> String {
    if way == Way::Sent {
        return match tcp::decode_request(bytes) {
            Ok((number, unit, request)) => format!("#{number} unit {unit}: {}", asked(&request)),
            Err(error) => error.to_string(),
        };
    }
    match bytes {
        [high, low, _, _, _, _, unit, pdu @ ..] => {
            format!("#{} unit {unit}: {}", u16::from_be_bytes([*high, *low]), answered(pdu))
        }
        short => format!("{} bytes, too short for an answer", short.len()),
    }
}

fn asked(request: &Request) -> String {
    match request {
        Request::Read { table, address, count } => {
            format!("read {count} {} from {address}", table_name(*table))
        }
        Request::WriteCoil { address, on } => {
            format!("write coil {address} {}", if *on { "on" } else { "off" })
        }
        Request::WriteRegister { address, value } => format!("write register {address} = {value}"),
        Request::WriteCoils { address, values } => format!("write {} coils from {address}", values.len()),
        Request::WriteRegisters { address, values } => {
            format!("write registers from {address}: {}", words(values.iter().copied()))
        }
    }
}

fn table_name(table: Table) -> &'static str {
    match table {
        Table::Coil => "coils",
        Table::Discrete => "discrete inputs",
        Table::Holding => "holding registers",
        Table::Input => "input registers",
    }
}

fn answered(pdu: &[u8]) -> String {
    match pdu {
        [function, code, ..] if function & 0x80 != 0 => {
            format!("exception {code} to function {}", function & 0x7F)
        }
        [3 | 4, count, data @ ..] if usize::from(*count) <= PDU_BYTES_MAX => {
            let pairs = data.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes));
            format!("registers {}", words(pairs))
        }
        [1 | 2, _, data @ ..] => {
            let bits: Vec<String> = data.iter().map(|byte| format!("{byte:08b}")).collect();
            format!("bits {}", bits.join(" "))
        }
        [function @ (5 | 6 | 15 | 16), ..] => format!("function {function} done"),
        [function, ..] => format!("function {function}"),
        [] => "nothing".to_owned(),
    }
}

fn words(values: impl Iterator<Item = u16>) -> String {
    let mut list: Vec<String> = values.take(WORDS_MAX + 1).map(|value| value.to_string()).collect();
    if list.len() > WORDS_MAX {
        list.truncate(WORDS_MAX);
        list.push("…".to_owned());
    }
    list.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advice::BusAt;

    fn rtu_road() -> Road {
        Road::Rtu { bus: BusAt::boxed("b", "/dev/x"), unit: 17 }
    }

    #[test]
    fn modbus_in_words() {
        // Modbus application protocol V1.1b3, 6.3: read registers 108-110; the answer 022B 0000 0064.
        let request = Request::Read { table: Table::Holding, address: 107, count: 3 };
        let sent = rtu::encode_request(17, &request).unwrap();
        assert_eq!(explain(&rtu_road(), Way::Sent, &sent), "unit 17: read 3 holding registers from 107");
        let mut answer = vec![17, 3, 6, 0x02, 0x2B, 0, 0, 0, 0x64];
        let crc = rtu::crc16(&answer);
        answer.extend(crc.to_le_bytes());
        assert_eq!(explain(&rtu_road(), Way::Received, &answer), "unit 17: registers 555 0 100");
        answer[4] ^= 1;
        assert!(explain(&rtu_road(), Way::Received, &answer).starts_with("wrong checksum"));
        let road = Road::Tcp { bus: BusAt::boxed("b", "h:502"), unit: 17 };
        let sent = tcp::encode_request(9, 17, &request).unwrap();
        assert_eq!(explain(&road, Way::Sent, &sent), "#9 unit 17: read 3 holding registers from 107");
        let refused = [0, 9, 0, 0, 0, 3, 17, 0x83, 2];
        assert_eq!(explain(&road, Way::Received, &refused), "#9 unit 17: exception 2 to function 3");
    }

    #[test]
    fn scales_in_words() {
        let road = Road::Serial { port: "/dev/x".into() };
        assert_eq!(explain(&road, Way::Sent, b"W\r"), "W<CR>");
        assert_eq!(explain(&road, Way::Received, b"\x02001.235\r"), "<STX>001.235<CR>");
    }

    proptest::proptest! {
        #[test]
        fn any_frame_is_explained(bytes: Vec<u8>) {
            for road in [rtu_road(), Road::Tcp { bus: BusAt::boxed("", ""), unit: 1 },
                Road::Serial { port: "".into() }, Road::Unknown] {
                for way in [Way::Sent, Way::Received] {
                    proptest::prop_assert!(explain(&road, way, &bytes).len() <= EXPLANATION_BYTES_MAX);
                }
            }
        }
    }
}
