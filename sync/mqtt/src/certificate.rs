//! What a certificate says: whose it is, which key, from when until when. And the seed inside a private key file.
//!
//! Purpose: a store must be able to tell a person why the broker refuses it, and its facts are sealed with the key of its
//! certificate. Both need a few fields of X.509 (RFC 5280, 4.1) and PKCS #8 (RFC 5958), nothing else.
//!
//! Contract: reads only; a signature or chain is never judged here (rustls and the broker do that). Damaged bytes are an
//! error, never a panic.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::path::Path;

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// Object identifier of Ed25519, 1.3.101.112 (RFC 8410).
const ED25519: [u8; 3] = [0x2b, 0x65, 0x70];

/// Object identifier of the common name, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// Tag of a sequence.
const SEQUENCE: u8 = 0x30;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Common name: the store's number, `hq`, or the broker's name.
    pub name: String,
    /// Serial number, most significant byte first.
    pub serial: Vec<u8>,
    /// First valid second, unix time.
    pub not_before: i64,
    /// Last valid second, unix time.
    pub not_after: i64,
    /// The Ed25519 key; `None` for a key of another kind.
    pub public_key: Option<[u8; 32]>,
}

/// Why a certificate or key cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a file with the expected PEM block.
    #[error("expected a PEM block {expected}, found {found}")]
    Pem {
        /// The block's label.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
    /// The block's content is not what its label says.
    #[error("{what} is damaged or of an unknown form")]
    Malformed {
        /// What was being read.
        what: &'static str,
    },
}

impl Certificate {
    /// Reads the first certificate of a PEM file.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        Self::from_der(&read_der(path)?)
    }

    /// Reads the first certificate of a PEM text.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let der = CertificateDer::from_pem_slice(pem).map_err(|error| not_pem("CERTIFICATE", error))?;
        Self::from_der(&der)
    }

    /// Reads a certificate in its binary form.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        parse(der).ok_or(CertificateError::Malformed { what: "certificate" })
    }

    /// Whether it is valid at this moment, in unix seconds.
    pub fn valid_at(&self, unix_s: i64) -> bool {
        (self.not_before..=self.not_after).contains(&unix_s)
    }
}

/// "CN 7, valid 2026-01-31 to 2031-01-30".
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CN {}, valid {} to {}", self.name, day(self.not_before), day(self.not_after))
    }
}

/// The first certificate of a PEM file in binary form.
pub(crate) fn read_der(path: &Path) -> Result<CertificateDer<'static>, CertificateError> {
    CertificateDer::from_pem_file(path).map_err(|error| not_pem("CERTIFICATE", error))
}

/// The Ed25519 seed of a PKCS #8 key file, for sealing with the certificate's key.
pub fn read_seed(path: &Path) -> Result<[u8; 32], CertificateError> {
    let key = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|error| not_pem("PRIVATE KEY", error))?;
    seed_from_der(key.secret_pkcs8_der())
}

/// The Ed25519 seed of a PKCS #8 structure.
pub fn seed_from_der(der: &[u8]) -> Result<[u8; 32], CertificateError> {
    seed(der).ok_or(CertificateError::Malformed { what: "Ed25519 private key" })
}

/// The seed in a PKCS #8 structure, with or without the public key behind it.
fn seed(der: &[u8]) -> Option<[u8; 32]> {
    let mut key = Der(Der(der).take(SEQUENCE)?);
    key.take(0x02)?;
    let mut algorithm = Der(key.take(SEQUENCE)?);
    if algorithm.take(0x06)? != ED25519 {
        return None;
    }
    // An octet string within an octet string (RFC 8410, 7).
    Der(key.take(0x04)?).take(0x04)?.try_into().ok()
}

fn not_pem(expected: &'static str, error: impl fmt::Display) -> CertificateError {
    CertificateError::Pem { expected, found: error.to_string() }
}

/// A reader of distinguished encoding: tag, length, content.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element, whatever its tag.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let digits = usize::from(first & 0x7f);
            if !(1..=3).contains(&digits) {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(digits)?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, content))
    }

    /// The next element's content, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

fn parse(der: &[u8]) -> Option<Certificate> {
    let mut fields = Der(Der(Der(der).take(SEQUENCE)?).take(SEQUENCE)?);
    // Version, present in everything but version 1.
    fields.take(0xa0)?;
    let serial = fields.take(0x02)?.to_vec();
    let (_algorithm, _issuer) = (fields.take(SEQUENCE)?, fields.take(SEQUENCE)?);
    let mut validity = Der(fields.take(SEQUENCE)?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    let name = common_name(fields.take(SEQUENCE)?)?;
    let mut key = Der(fields.take(SEQUENCE)?);
    let algorithm = Der(key.take(SEQUENCE)?).take(0x06)?;
    let bits = key.take(0x03)?;
    let public_key = match bits.split_first() {
        Some((0, key)) if algorithm == ED25519 => Some(key.try_into().ok()?),
        _ => None,
    };
    Some(Certificate { name, serial, not_before, not_after, public_key })
}

/// The common name of a distinguished name: a sequence of sets of (type, value).
fn common_name(name: &[u8]) -> Option<String> {
    let mut sets = Der(name);
    while let Some((_, set)) = sets.next() {
        let mut pair = Der(Der(set).take(SEQUENCE)?);
        let kind = pair.take(0x06)?;
        let (_, value) = pair.next()?;
        if kind == COMMON_NAME {
            return String::from_utf8(value.to_vec()).ok();
        }
    }
    None
}

/// Unix seconds of a UTCTime (two-digit year, 1950 to 2049) or GeneralizedTime, both in UTC.
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |part: &[u8]| part.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let (year, rest) = match (tag, digits.len()) {
        (0x17, 12) => {
            let short = number(digits.get(..2)?);
            (if short < 50 { 2_000 + short } else { 1_900 + short }, digits.get(2..)?)
        }
        (0x18, 14) => (number(digits.get(..4)?), digits.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2).map(number);
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    Some(days_of(year, month, day) * DAY_S + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The year is taken to begin in March: the leap day is its last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The date of a moment as `YYYY-MM-DD`; the inverse of [`days_of`].
pub fn day(unix_s: i64) -> String {
    let days = unix_s.div_euclid(DAY_S) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, month + 3);
    let (year, month) = if month > 12 { (year + 1, month - 12) } else { (year, month) };
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509` with an Ed25519 key: CN 4711, serial 0x1234, 2026-01-02T03:04:05Z to 2055-06-07T08:09:10Z.
    const FOREIGN: &[u8] = include_bytes!("../tests/identity/foreign.pem");

    #[test]
    fn a_certificate_of_another_program_is_read() {
        let found = Certificate::from_pem(FOREIGN).unwrap();
        assert_eq!(found.name, "4711");
        assert_eq!(found.serial, [0x12, 0x34]);
        assert_eq!((found.not_before, found.not_after), (1_767_323_045, 2_695_968_550));
        assert_eq!(found.to_string(), "CN 4711, valid 2026-01-02 to 2055-06-07");
        assert!(found.valid_at(found.not_before) && found.valid_at(found.not_after));
        assert!(!found.valid_at(found.not_before - 1) && !found.valid_at(found.not_after + 1));
        let key = found.public_key.unwrap();
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, include_str!("../tests/identity/foreign.key.hex").trim());
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let der = CertificateDer::from_pem_slice(FOREIGN).unwrap();
        for length in 0..der.len() {
            assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
        }
        for at in 0..der.len() {
            for bit in 0..8 {
                let mut damaged = der.to_vec();
                damaged[at] ^= 1 << bit;
                drop(Certificate::from_der(&damaged));
                assert!(seed(&damaged).is_none(), "a certificate is not a key");
            }
        }
        assert!(matches!(Certificate::from_pem(b"nothing"), Err(CertificateError::Pem { .. })));
    }

    #[test]
    fn the_seed_is_found_in_both_forms() {
        // RFC 8410, 10.3: the key alone, and the key with its public part.
        let alone = [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]]
            .concat();
        assert_eq!(seed(&alone), Some([7; 32]));
        let both = [
            &[0x30, 0x51, 2, 1, 1, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..],
            &[7; 32],
            &[0x81, 0x21, 0],
            &[9; 32],
        ]
        .concat();
        assert_eq!(seed(&both), Some([7; 32]));
        assert_eq!(seed(&alone[..40]), None);
    }

    #[test]
    fn dates_and_days_are_inverse() {
        for (date, days) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-20", 20_777), ("1969-12-31", -1)]
        {
            assert_eq!(day(days * DAY_S), date);
        }
        let mut last = days_of(1899, 12, 31);
        for year in 1900..2200 {
            for month in 1..=12 {
                let first = days_of(year, month, 1);
                assert!((28..=31).contains(&(first - last)) || month == 1, "{year}-{month}");
                assert_eq!(day(first * DAY_S), format!("{year}-{month:02}-01"));
                last = first;
            }
        }
        assert_eq!(time((0x17, b"491231235959Z")), Some(2_524_607_999));
        assert_eq!(time((0x17, b"500101000000Z")), Some(-631_152_000));
        assert_eq!(time((0x18, b"20500101000000Z")), Some(2_524_608_000));
        for text in [&b"2050010100000Z"[..], b"20500101000000", b"20501301000000Z", b"2050010100000xZ", b""] {
            assert_eq!(time((0x18, text)), None);
        }
    }
}
