//! Certificates as key sources: whose key it is, and that the CA says so.
//!
//! Reads the few fields of X.509 (RFC 5280, 4.1) that bind a name to an Ed25519 key (RFC 8410), and checks the CA's signature
//! over them. Not judged: validity in time (a seal outlives its certificate; when it was made proves nothing here) and
//! revocation, which HQ's registry knows. A reader of its own: whoever checks evidence needs no TLS library.

use sync_evidence::PublicKey;

/// Tag of a sequence.
const SEQUENCE: u8 = 0x30;
/// Object identifier of Ed25519, 1.3.101.112.
const ED25519: [u8; 3] = [0x2b, 0x65, 0x70];
/// Object identifier of the common name, 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// What a certificate says.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// Common name.
    pub(crate) name: String,
    /// The key.
    pub(crate) key: PublicKey,
    /// What the CA signed.
    signed: Vec<u8>,
    signature: [u8; 64],
}

impl Certificate {
    /// Reads every certificate of a PEM text; at least one.
    pub(crate) fn all(pem: &str) -> Result<Vec<Self>, String> {
        let mut found = Vec::new();
        let mut rest = pem;
        while let Some((_, after)) = rest.split_once("-----BEGIN CERTIFICATE-----") {
            let (body, after) =
                after.split_once("-----END CERTIFICATE-----").ok_or("a PEM block without an end")?;
            let der = base64(body).ok_or("a PEM block that is not base64")?;
            found.push(parse(&der)?);
            rest = after;
        }
        if found.is_empty() { Err("no PEM block CERTIFICATE".to_owned()) } else { Ok(found) }
    }

    /// Whether the owner of `ca` signed it.
    pub(crate) fn signed_by(&self, ca: &Self) -> bool {
        ca.key.verify_bare(&self.signed, &self.signature).is_ok()
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut bits, mut have) = (0_u32, 0_u32);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace() && *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push(u8::try_from(bits >> have & 0xff).ok()?);
        }
    }
    Some(out)
}

/// A reader of distinguished encoding: tag, length, content.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: tag, content, and both with the length between them.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let whole = self.0;
        let (&tag, rest) = whole.split_first()?;
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
        Some((tag, content, whole.get(..whole.len() - after.len())?))
    }

    /// The next element's content, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, ..)| *found == tag).map(|(_, content, _)| content)
    }
}

fn parse(der: &[u8]) -> Result<Certificate, String> {
    let damaged = || "a certificate that is damaged or of an unknown form".to_owned();
    let (signed, algorithm, signature) = outer(der).ok_or_else(damaged)?;
    let (name, kind, key) = inner(signed).ok_or_else(damaged)?;
    if algorithm != ED25519 || kind != ED25519 {
        return Err(format!("certificate of '{name}': key and signature must be Ed25519"));
    }
    let key: [u8; 32] = key.try_into().map_err(|_| damaged())?;
    let key = PublicKey::from_bytes(&key).map_err(|error| format!("certificate of '{name}': {error}"))?;
    let signature = signature.try_into().map_err(|_| damaged())?;
    Ok(Certificate { name, key, signed: signed.to_vec(), signature })
}

/// What is signed, the object identifier of the algorithm, the signature.
fn outer(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut parts = Der(Der(der).take(SEQUENCE)?);
    let (_, _, signed) = parts.next().filter(|(tag, ..)| *tag == SEQUENCE)?;
    let algorithm = Der(parts.take(SEQUENCE)?).take(0x06)?;
    let (_, signature) = parts.take(0x03)?.split_first().filter(|(unused, _)| **unused == 0)?;
    Some((signed, algorithm, signature))
}

/// Common name, object identifier of the key's algorithm, key.
fn inner(signed: &[u8]) -> Option<(String, &[u8], &[u8])> {
    let mut fields = Der(Der(signed).take(SEQUENCE)?);
    // Version, present in everything but version 1; serial number; algorithm; issuer; validity.
    fields.take(0xa0)?;
    fields.take(0x02)?;
    for _ in 0..3 {
        fields.take(SEQUENCE)?;
    }
    let name = common_name(fields.take(SEQUENCE)?)?;
    let mut key = Der(fields.take(SEQUENCE)?);
    let algorithm = Der(key.take(SEQUENCE)?).take(0x06)?;
    let (_, bits) = key.take(0x03)?.split_first().filter(|(unused, _)| **unused == 0)?;
    Some((name, algorithm, bits))
}

/// The common name of a distinguished name: a sequence of sets of (type, value).
fn common_name(name: &[u8]) -> Option<String> {
    let mut sets = Der(name);
    while let Some((_, set, _)) = sets.next() {
        let mut pair = Der(Der(set).take(SEQUENCE)?);
        let kind = pair.take(0x06)?;
        let (_, value, _) = pair.next()?;
        if kind == COMMON_NAME {
            return String::from_utf8(value.to_vec()).ok();
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    /// Made by `openssl` (Ed25519): a CA, and the certificate of store 7 that it signed.
    const CA: &str = include_str!("../tests/identity/ca.pem");
    const STORE: &str = include_str!("../tests/identity/store-7.pem");

    #[test]
    fn the_ca_vouches_for_its_own_and_for_nothing_that_was_changed() {
        let (ca, store) =
            (Certificate::all(CA).unwrap().remove(0), Certificate::all(STORE).unwrap().remove(0));
        assert_eq!(store.name, "7");
        assert!(store.signed_by(&ca) && ca.signed_by(&ca));
        assert!(!store.signed_by(&store) && !ca.signed_by(&store));
        let body = STORE.split("-----").nth(2).unwrap();
        let der = base64(body).unwrap();
        for bit in 0..der.len() * 8 {
            let mut other = der.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let fits = parse(&other).is_ok_and(|changed| changed.signed_by(&ca));
            // The length octets of the outermost sequence and the names of algorithms outside of what is signed carry nothing.
            let same = parse(&other).is_ok_and(|changed| {
                (changed.name.as_str(), changed.key.to_bytes()) == ("7", store.key.to_bytes())
            });
            assert!(!fits || same, "bit {bit}");
        }
        for length in 0..der.len() {
            assert!(parse(&der[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_said_to_be_none() {
        for (text, part) in [
            ("", "no PEM block"),
            ("-----BEGIN CERTIFICATE-----", "without an end"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", "base64"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "damaged"),
        ] {
            let error = Certificate::all(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
