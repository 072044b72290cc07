//! The bundle: bytes, checks, making.

use crate::keys::Key;
use ed25519_dalek::{Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// First bytes of a bundle.
const MAGIC: &[u8; 6] = b"SYUP1\n";
/// Largest manifest.
const MANIFEST_MAX: usize = 65_536;
const SIGNATURE: usize = 64;

/// What a bundle says of its package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Newest ledger schema that it knows: a ledger that it has raised cannot be opened by an older version again.
    pub schema: i64,
    /// Bytes of the package.
    pub size: u64,
    /// BLAKE3 of the package, in hexadecimal digits.
    pub blake3: String,
}

/// A bundle that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle<'a> {
    /// What it says.
    pub manifest: Manifest,
    /// Who signed it.
    pub signer: String,
    /// The package.
    pub package: &'a [u8],
}

/// What runs here, as far as an update must fit.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The installed package.
    pub package: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The machine.
    pub architecture: &'a str,
}

/// Why a bundle is not taken: what was expected, what was found, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}; {advice}")]
pub struct Refused {
    /// What would have been taken.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// What to do.
    pub advice: String,
}

fn refused(expected: impl Into<String>, found: impl Into<String>, advice: &str) -> Refused {
    Refused { expected: expected.into(), found: found.into(), advice: advice.to_owned() }
}

const AGAIN: &str = "fetch the file again and compare its size with the sender's";
const SIGNED: &str = "ask who sent it; a key that should be trusted belongs into /etc/steelyard/update.keys";

impl<'a> Bundle<'a> {
    /// Checks everything: form, signature, fit to this machine, content.
    pub fn open(bytes: &'a [u8], keys: &[Key], here: &Here<'_>) -> Result<Self, Refused> {
        let (signed, manifest, rest) = parts(bytes)?;
        let Some((signature, package)) = rest.split_first_chunk::<SIGNATURE>() else {
            return Err(refused(
                "a signature of 64 bytes",
                format!("a file that ends after {} of them", rest.len()),
                AGAIN,
            ));
        };
        let signature = Signature::from_bytes(signature);
        let signer = keys.iter().find(|key| key.key.verify_strict(signed, &signature).is_ok());
        let Some(signer) = signer else {
            let known = keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() {
                "no key is trusted here".to_owned()
            } else {
                format!("by one of {known}")
            };
            return Err(refused(format!("a signature ({known})"), "none that holds", SIGNED));
        };
        let manifest: Manifest = serde_json::from_slice(manifest).map_err(|error| {
            refused(
                "a manifest that this version can read",
                error.to_string(),
                "install a newer edgectl first",
            )
        })?;
        fits(&manifest, here)?;
        if u64::try_from(package.len()).unwrap_or(u64::MAX) != manifest.size {
            let found = format!("{} (the file is cut short or longer)", package.len());
            return Err(refused(format!("a package of {} bytes", manifest.size), found, AGAIN));
        }
        let sum = blake3::hash(package).to_hex();
        if sum.as_str() != manifest.blake3 {
            return Err(refused(format!("BLAKE3 {}", manifest.blake3), sum.as_str(), AGAIN));
        }
        Ok(Self { manifest, signer: signer.name.clone(), package })
    }
}

/// What is signed, the manifest in it, and the rest.
type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn parts(bytes: &[u8]) -> Result<Parts<'_>, Refused> {
    let head = MAGIC.len() + 4;
    let Some(length) = bytes.get(MAGIC.len()..head).filter(|_| bytes.starts_with(MAGIC)) else {
        return Err(refused(
            "an update made by `cargo xtask sign-update`",
            "something else",
            "a bare package is installed with dpkg -i",
        ));
    };
    let length = length.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if length > MANIFEST_MAX {
        return Err(refused(
            format!("a manifest of at most {MANIFEST_MAX} bytes"),
            length.to_string(),
            AGAIN,
        ));
    }
    match (bytes.get(..head + length), bytes.get(head..head + length), bytes.get(head + length..)) {
        (Some(signed), Some(manifest), Some(rest)) => Ok((signed, manifest, rest)),
        _ => Err(refused(format!("a manifest of {length} bytes"), "a file that ends before", AGAIN)),
    }
}

fn fits(manifest: &Manifest, here: &Here<'_>) -> Result<(), Refused> {
    if manifest.package != here.package {
        return Err(refused(
            format!("package {}", here.package),
            &manifest.package,
            "ask for the update of this package",
        ));
    }
    if manifest.architecture != here.architecture {
        let advice = format!("ask for the update for {}", here.architecture);
        return Err(refused(format!("architecture {}", here.architecture), &manifest.architecture, &advice));
    }
    match compare(&manifest.version, here.version) {
        Ordering::Greater => Ok(()),
        Ordering::Equal => {
            Err(refused(format!("a version after {}", here.version), "the same", "nothing needs to be done"))
        }
        Ordering::Less => {
            let found = format!("{}, which is older", manifest.version);
            Err(refused(
                format!("a version after {}", here.version),
                found,
                "an older version is installed with dpkg -i; its refusal says why",
            ))
        }
    }
}

/// Order of versions: numbers as numbers, other text as text, `~` before everything; the part of Debian's rule that our
/// own versions use.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => match rank(a).cmp(&rank(b)) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
}

/// What a part of a version is worth: `~` less than the end, the end less than anything else.
fn rank(token: Option<&str>) -> (u8, u64, &str) {
    match token {
        Some("~") => (0, 0, ""),
        None => (1, 0, ""),
        Some(token) => match token.parse() {
            Ok(number) => (3, number, ""),
            Err(_) => (2, 0, token),
        },
    }
}

/// Runs of digits, runs of letters, `~` each alone; other signs only part them.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let kind = |c: char| {
        if c.is_ascii_digit() {
            0
        } else if c.is_ascii_alphabetic() {
            1
        } else {
            2
        }
    };
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let first = rest.chars().next()?;
            let length = match kind(first) {
                2 => first.len_utf8(),
                same => rest.find(|c| kind(c) != same).unwrap_or(rest.len()),
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            if kind(first) != 2 || first == '~' {
                return Some(token);
            }
        }
    })
}

/// Makes a bundle.
pub fn seal(manifest: &Manifest, package: &[u8], key: &SigningKey) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_vec(manifest)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(text);
    let signature = key.sign(&bytes);
    bytes.extend(signature.to_bytes());
    bytes.extend(package);
    Ok(bytes)
}

/// The manifest of a package.
pub fn describe(package: &str, version: &str, architecture: &str, schema: i64, content: &[u8]) -> Manifest {
    Manifest {
        package: package.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
        schema,
        size: u64::try_from(content.len()).unwrap_or(u64::MAX),
        blake3: blake3::hash(content).to_hex().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Here<'_> = Here { package: "steelyard", version: "0.1.0", architecture: "arm64" };

    fn signing() -> SigningKey {
        SigningKey::from_bytes(&[3; 32])
    }

    fn keys() -> Vec<Key> {
        vec![Key { name: "release".into(), key: signing().verifying_key() }]
    }

    fn made(version: &str, architecture: &str) -> Vec<u8> {
        let manifest = describe("steelyard", version, architecture, 6, b"package");
        seal(&manifest, b"package", &signing()).unwrap()
    }

    #[test]
    fn a_good_bundle_opens_and_names_its_signer() {
        let bytes = made("0.2.0", "arm64");
        let bundle = Bundle::open(&bytes, &keys(), &HERE).unwrap();
        assert_eq!((bundle.signer.as_str(), bundle.package), ("release", &b"package"[..]));
    }

    #[test]
    fn every_single_cut_and_every_flipped_byte_is_refused() {
        let bytes = made("0.2.0", "arm64");
        for length in 0..bytes.len() {
            assert!(Bundle::open(&bytes[..length], &keys(), &HERE).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(Bundle::open(&bytes, &keys(), &HERE).is_err(), "{at}");
        }
    }

    #[test]
    fn refusals_say_what_was_found_and_what_to_do() {
        let refusal = |bytes: &[u8], keys: &[Key]| Bundle::open(bytes, keys, &HERE).unwrap_err().to_string();
        assert!(refusal(b"!<arch>\ndebian", &keys()).contains("dpkg -i"));
        assert!(refusal(&made("0.2.0", "arm64"), &[]).contains("no key is trusted here"));
        let other = vec![Key { name: "x".into(), key: SigningKey::from_bytes(&[9; 32]).verifying_key() }];
        assert!(refusal(&made("0.2.0", "arm64"), &other).contains("by one of x"));
        assert_eq!(
            refusal(&made("0.2.0", "amd64"), &keys()),
            "expected architecture arm64, found amd64; ask for the update for arm64"
        );
        assert!(refusal(&made("0.0.9", "arm64"), &keys()).contains("found 0.0.9, which is older"));
        assert!(refusal(&made("0.1.0", "arm64"), &keys()).contains("the same"));
        let long = made("0.2.0", "arm64");
        assert!(refusal(&long[..long.len() - 1], &keys()).contains("a package of 7 bytes, found 6"));
    }

    #[test]
    fn versions_are_ordered_as_debian_does() {
        for (less, more) in [
            ("0.1.9", "0.1.10"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0.1"),
            ("1.0", "1.0a"),
            ("0.9", "1"),
            ("1.0~a", "1.0~b"),
        ] {
            assert_eq!(
                (compare(less, more), compare(more, less)),
                (Ordering::Less, Ordering::Greater),
                "{less} {more}"
            );
        }
        assert_eq!(compare("1.02", "1.2"), Ordering::Equal);
    }
}
