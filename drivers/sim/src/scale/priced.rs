//! The wire sides of price-computing scales: Dialog 06 and TISA.

use drv_protocol::Grams;
use drv_protocol::scales::dialog06::{self, Record};
use drv_protocol::scales::tisa;

use super::platform::{Platform, Set, Withheld};
use super::{Dialect, Out};

const STX: u8 = 0x02;
const ETX: u8 = 0x03;
const EOT: u8 = 0x04;
const ENQ: u8 = 0x05;
const ACK: u8 = 0x06;
const NAK: u8 = 0x15;
const ESC: u8 = 0x1B;
const RECORD_BYTES_MAX: usize = 64;
/// Weighings between two wishes for checksums.
const WEIGHINGS_MAX: u32 = 50;

/// The amount for a weight in grams at a price per kilogram, half away from zero.
fn amount(grams: Grams, price: u32) -> u32 {
    let amount = (grams.0.max(0) * i64::from(price) + 500) / 1000;
    u32::try_from(amount).unwrap_or(u32::MAX)
}

/// Dialog 06.
#[derive(Clone, Debug)]
pub(super) struct Dialog06 {
    polynomial: Option<u32>,
    proved: bool,
    weighings: u32,
    z: (u8, u8),
    verdict: Option<bool>,
    status: [u8; 2],
    price: Option<u32>,
    record: Option<Vec<u8>>,
    eot: bool,
}

impl Dialog06 {
    pub(super) const fn new(polynomial: Option<u32>) -> Self {
        Self {
            polynomial,
            proved: polynomial.is_none(),
            weighings: 0,
            z: (3, 12),
            verdict: None,
            status: *b"00",
            price: None,
            record: None,
            eot: false,
        }
    }

    fn no(&mut self, status: [u8; 2]) -> Out {
        self.status = status;
        Out::plain([NAK])
    }

    fn wish(&mut self) -> Out {
        self.z = ((self.z.0 + 5) % 16, (self.z.1 + 11) % 16);
        let wanted = Record::Wanted { z1: self.z.0, z2: self.z.1 };
        Out::plain(dialog06::encode_record(wanted).unwrap_or_default())
    }

    /// A record of the host, without STX and ETX.
    fn take(&mut self, record: &[u8], platform: &mut Platform) -> Out {
        let fields: Vec<&[u8]> = record.split(|byte| *byte == ESC).collect();
        let digits = |field: &[u8], least: usize, most: usize| {
            let text = std::str::from_utf8(field).ok()?;
            let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|_| fits)
        };
        match fields.as_slice() {
            [b"01" | b"03", ..] if !self.proved => self.wish(),
            [b"01", price, b""] => match digits(price, 5, 6) {
                Some(price) => {
                    self.price = Some(price);
                    self.tare(platform, Grams(0))
                }
                None => self.no(*b"11"),
            },
            [b"03", price, tare] => match (digits(price, 5, 6), digits(tare, 4, 4)) {
                (Some(price), Some(tare)) => {
                    self.price = Some(price);
                    self.tare(platform, Grams(tare.into()))
                }
                (None, _) => self.no(*b"11"),
                (_, None) => self.no(*b"12"),
            },
            [b"08"] => Out::plain(dialog06::encode_record(Record::Status(self.status)).unwrap_or_default()),
            [b"10", proof] => {
                self.verdict = Some(self.good(proof));
                Out::plain([ACK])
            }
            _ => self.no(*b"10"),
        }
    }

    fn tare(&mut self, platform: &mut Platform, tare: Grams) -> Out {
        if platform.key_tare(tare) != Set::Done {
            return self.no(*b"12");
        }
        self.status = *b"00";
        Out::plain([ACK])
    }

    fn good(&self, proof: &[u8]) -> bool {
        let hex = |text: Option<&[u8]>| u16::from_str_radix(std::str::from_utf8(text?).ok()?, 16).ok();
        let (Some(cs), Some(kw)) = (hex(proof.get(..4)), hex(proof.get(4..8))) else { return false };
        let cs = cs.rotate_right(self.z.0.into());
        let kw = kw.rotate_left(self.z.1.into());
        proof.len() == 8 && self.polynomial.is_some_and(|p| dialog06::correction(cs, p) == kw)
    }

    fn weigh(&mut self, platform: &mut Platform, now: u64) -> Out {
        if let Some(good) = self.verdict.take() {
            self.proved = good;
            return Out::plain(dialog06::encode_record(Record::Verdict(good)).unwrap_or_default());
        }
        platform.counters.polls += 1;
        let Some(price) = self.price.take() else { return self.no(*b"11") };
        let reading = match platform.give_out(now) {
            Ok(reading) => reading,
            Err(withheld) => {
                return self.no(match withheld {
                    Withheld::Motion => *b"20",
                    Withheld::Unchanged => *b"21",
                    Withheld::BelowMinimum => *b"30",
                    Withheld::BelowZero => *b"31",
                    Withheld::Overload => *b"32",
                });
            }
        };
        self.weighings += 1;
        if self.weighings.is_multiple_of(WEIGHINGS_MAX) {
            self.proved = self.polynomial.is_none();
        }
        let amount = amount(platform.shows(), price);
        let record = reading
            .shown
            .and_then(|shown| dialog06::encode_record(Record::Weighing { shown, price, amount }));
        match record {
            Some(bytes) => Out { bytes, weight: true, checksum_at: None },
            None => self.no(*b"01"),
        }
    }
}

impl Dialect for Dialog06 {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        let byte = byte & 0x7F;
        if let Some(record) = &mut self.record {
            match byte {
                ETX => {
                    let record = self.record.take().unwrap_or_default();
                    return [self.take(&record, platform)].to_vec();
                }
                EOT => self.record = None,
                _ if record.len() < RECORD_BYTES_MAX => {
                    record.push(byte);
                    return Vec::new();
                }
                _ => self.record = None,
            }
        }
        let eot = std::mem::replace(&mut self.eot, byte == EOT);
        match byte {
            EOT => Vec::new(),
            STX if eot => {
                self.record = Some(Vec::new());
                Vec::new()
            }
            ENQ if eot => [self.weigh(platform, now)].to_vec(),
            _ => {
                platform.counters.unknown += 1;
                Vec::new()
            }
        }
    }
}

/// TISA.
#[derive(Clone, Debug, Default)]
pub(super) struct Tisa {
    request: Vec<u8>,
}

impl Dialect for Tisa {
    fn byte(&mut self, byte: u8, platform: &mut Platform, now: u64) -> Vec<Out> {
        if self.request.len() < RECORD_BYTES_MAX {
            self.request.push(byte);
        }
        if byte != b'\n' {
            return Vec::new();
        }
        let request = std::mem::take(&mut self.request);
        let price = std::str::from_utf8(&request)
            .ok()
            .and_then(|text| text.get(2..7)?.parse::<u32>().ok())
            .filter(|price| tisa::encode_request(*price) == request);
        let Some(price) = price else {
            platform.counters.unknown += 1;
            return Vec::new();
        };
        platform.counters.polls += 1;
        let count =
            |platform: &Platform| u32::try_from(platform.display(platform.shows()).count).unwrap_or_default();
        let (bytes, weight) = match platform.give_out(now) {
            Ok(_) => {
                let amount = amount(platform.shows(), price);
                (tisa::encode_reply(true, count(platform), Some(amount)), true)
            }
            // In motion or unchanged: the weight; otherwise zeros.
            Err(Withheld::Motion | Withheld::Unchanged) => {
                (tisa::encode_reply(false, count(platform), None), false)
            }
            Err(_) => (tisa::encode_reply(false, 0, None), false),
        };
        [Out { bytes, weight, checksum_at: Some(tisa::REPLY_BYTES - 3) }].to_vec()
    }
}
