//! The CA when commands are cut off, repeated, or run at the wrong place: nothing that was issued is forgotten, and what a
//! store is given fits what it has.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use sync_hq::identity::{
    Authority, AuthorityError, Enrolment, KeyChoice, Registry, STORE_FILES, Snippet, Standing, Validity,
};
use sync_model::StoreId;
use sync_mqtt::{Certificate, TlsFiles};

const START: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const STORE: StoreId = StoreId(7);

fn init(ca: &Path) -> Authority {
    Authority::init(ca, &["localhost".to_owned()], START).unwrap()
}

fn enrolment(store: StoreId, out: &Path, days: u32) -> Enrolment {
    let snippet = Snippet { store, host: "h".into(), port: 1, folder: out.to_owned() };
    Enrolment { store, out: out.to_owned(), snippet, validity: Validity::days(START, days) }
}

/// Whether the files of a store's folder belong together.
fn fits(out: &Path) -> bool {
    let [ca, cert, key, _] = STORE_FILES.map(|name| out.join(name));
    TlsFiles { ca, cert, key }.check().is_ok()
}

#[test]
fn renewing_keeps_the_key_that_the_store_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let (mut authority, out) = (init(&folder.path().join("ca")), folder.path().join("7"));
    authority.enroll(&enrolment(STORE, &out, 1_826), START).unwrap();
    // The key may have leaked: a new one, for a shorter time than the old certificate would have lasted.
    let new = authority.rotate(STORE, KeyChoice::New, &out, Validity::days(START, 365), START).unwrap();
    assert!(fits(&out));
    let later = START + 200 * DAY;
    let kept = authority.rotate(STORE, KeyChoice::Keep, &out, Validity::days(later, 365), later).unwrap();
    assert_eq!(kept.public_key, new.public_key, "not the one that may have leaked");
    assert!(fits(&out), "the certificate is for the key in the store's folder");
}

#[test]
fn a_registry_outlives_a_ca_key_that_is_kept_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, out) = (folder.path().join("ca"), folder.path().join("7"));
    let mut authority = init(&ca);
    authority.enroll(&enrolment(STORE, &out, 1_826), START).unwrap();
    drop(authority);
    std::fs::rename(ca.join("ca.key"), folder.path().join("safe.key")).unwrap();
    let before = std::fs::read(ca.join("registry.json")).unwrap();
    let again = Authority::init(&ca, &["localhost".to_owned()], START);
    assert!(matches!(again.err(), Some(AuthorityError::Exists(path)) if path.ends_with("registry.json")));
    assert_eq!(std::fs::read(ca.join("registry.json")).unwrap(), before);
    std::fs::rename(folder.path().join("safe.key"), ca.join("ca.key")).unwrap();
    assert_eq!(Authority::open(&ca).unwrap().registry().standing(STORE, START).word(), "valid");
}

#[test]
fn a_beginning_that_was_cut_off_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    drop(init(&ca));
    // As after a cut before the key: the registry knows the CA and nothing else.
    let mut registry = Registry::load(&ca.join("registry.json")).unwrap();
    registry.rows.truncate(1);
    registry.save(&ca.join("registry.json")).unwrap();
    std::fs::remove_file(ca.join("ca.key")).unwrap();
    let authority = init(&ca);
    assert_eq!(authority.registry().rows.len(), 3, "CA, broker, HQ");
}

#[test]
fn a_command_that_was_cut_off_is_mended_by_repeating_it() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, out) = (folder.path().join("ca"), folder.path().join("7"));
    let mut authority = init(&ca);
    // Enrolment, cut off after each of its files: a folder in the way of the next one.
    for (number, cut) in (8..).zip([STORE_FILES[0], STORE_FILES[1], STORE_FILES[3]]) {
        let (store, out) = (StoreId(number), folder.path().join(number.to_string()));
        std::fs::create_dir_all(out.join(cut).join("x")).unwrap();
        assert!(authority.enroll(&enrolment(store, &out, 100), START).is_err(), "{cut}");
        assert_eq!(authority.registry().standing(store, START).word(), "valid", "known before it leaves");
        std::fs::remove_dir_all(out.join(cut)).unwrap();
        authority.rotate(store, KeyChoice::New, &out, Validity::days(START, 100), START).unwrap();
        assert!(fits(&out), "{cut}");
        let serials: Vec<u64> = authority.registry().rows.iter().map(|row| row.serial).collect();
        assert!(serials.windows(2).all(|pair| pair[0] < pair[1]), "{serials:?}");
    }
    // Rotation with a new key, cut off between key and certificate; the key file was readable by everybody.
    authority.enroll(&enrolment(STORE, &out, 100), START).unwrap();
    std::fs::set_permissions(out.join(STORE_FILES[2]), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::remove_file(out.join(STORE_FILES[1])).unwrap();
    std::fs::create_dir_all(out.join(STORE_FILES[1]).join("x")).unwrap();
    let rotate = |authority: &mut Authority, key| {
        authority.rotate(STORE, key, &out, Validity::days(START, 200), START)
    };
    assert!(rotate(&mut authority, KeyChoice::New).is_err());
    std::fs::remove_dir_all(out.join(STORE_FILES[1])).unwrap();
    rotate(&mut authority, KeyChoice::Keep).unwrap();
    assert!(fits(&out), "the certificate follows for the key that was written");
    // The same, cut off before the key: the certificate follows for the key that is still there.
    let key = std::fs::read(out.join(STORE_FILES[2])).unwrap();
    std::fs::remove_file(out.join(STORE_FILES[2])).unwrap();
    std::fs::create_dir_all(out.join(STORE_FILES[2]).join("x")).unwrap();
    assert!(rotate(&mut authority, KeyChoice::New).is_err());
    std::fs::remove_dir_all(out.join(STORE_FILES[2])).unwrap();
    std::fs::write(out.join(STORE_FILES[2]), key).unwrap();
    rotate(&mut authority, KeyChoice::Keep).unwrap();
    assert!(fits(&out));
    rotate(&mut authority, KeyChoice::New).unwrap();
    let mode = std::fs::metadata(out.join(STORE_FILES[2])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Revocation, cut off before the list: repeating writes it.
    let list = std::fs::read(ca.join("crl.pem")).unwrap();
    std::fs::remove_file(ca.join("crl.pem")).unwrap();
    std::fs::create_dir_all(ca.join("crl.pem/x")).unwrap();
    assert!(authority.revoke(STORE, None, "stolen", START).is_err());
    std::fs::remove_dir_all(ca.join("crl.pem")).unwrap();
    drop(authority);
    let mut authority = Authority::open(&ca).unwrap();
    assert!(matches!(authority.registry().standing(STORE, START), Standing::Revoked(_)));
    assert_eq!(authority.revoke(STORE, None, "stolen", START).unwrap(), 0);
    assert!(std::fs::read(ca.join("crl.pem")).unwrap().len() > list.len() + 50, "three serial numbers more");
    // Revoked, then enrolled again: heard again, and the stolen key stays untrusted.
    let again = folder.path().join("again");
    authority.enroll(&enrolment(STORE, &again, 100), START + 1).unwrap();
    let keys = authority.registry().keys(STORE);
    let own = Certificate::read(&again.join(STORE_FILES[1])).unwrap().public_key.unwrap();
    assert!(keys.iter().all(|key| (key.public == own) == key.revoked_s.is_none()), "{keys:?}");
    assert_eq!(authority.registry().standing(STORE, START + 1).word(), "valid");
}
