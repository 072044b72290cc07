//! The certificate authority: one folder with the CA's key, the registry, the revocation list, and the files of broker and HQ.
//!
//! Contract
//! * A row is in the registry before the certificate leaves this module: a power cut costs a row too many, never a
//!   certificate that nobody knows.
//! * One command at a time holds the folder's lock.
//! * A store's private key is written to the store's folder only and kept nowhere else.
//! * Time is an argument.

use super::folder::{STORE_FILES, Snippet, write_file};
use super::registry::{Registry, RegistryError, Revocation, Role, Row, Standing};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519,
    PublicKeyData, RevokedCertParams, SerialNumber, SignatureAlgorithm,
};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use sync_model::StoreId;
use sync_mqtt::{Certificate, CertificateError, seed_from_der};

/// Life of the CA and of its revocation list.
pub const CA_DAYS: u32 = 30 * 365 + 7;

/// Life of every other certificate.
pub const LEAF_DAYS: u32 = 5 * 365 + 1;

/// Certificates begin this much earlier: the clocks of those who check them differ.
const SKEW_S: i64 = 86_400;

/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// Last second that fits a certificate (RFC 5280: year 9999).
const LAST_S: i64 = 253_402_300_799;

/// Common name of HQ; the broker's ACL names it.
const HQ_NAME: &str = "hq";

/// Longest reason of a revocation in bytes.
const REASON_BYTES_MAX: usize = 100;

/// Why a command of the CA fails.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A file of the folder.
    #[error("{path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or key of the folder.
    #[error("{path}")]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
    /// The library refuses to sign.
    #[error("cannot issue")]
    Issue(#[from] rcgen::Error),
    /// There is a CA, an enrolment or a file already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The request makes no sense.
    #[error("{0}")]
    Refused(String),
}

/// From when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First valid second.
    pub from_s: i64,
    /// Last valid second.
    pub until_s: i64,
}

impl Validity {
    /// So many days from now on.
    pub fn days(now_s: i64, days: u32) -> Self {
        let until_s = now_s.saturating_add(i64::from(days) * DAY_S).min(LAST_S);
        Self { from_s: now_s - SKEW_S, until_s }
    }
}

/// Which key a renewed certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChoice {
    /// The registered one: the store keeps its key file.
    Keep,
    /// A new one: the store gets a new key file.
    New,
}

/// What an enrolment needs to know.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The store.
    pub store: StoreId,
    /// Folder that the store's files are written to.
    pub out: PathBuf,
    /// What the configuration drop-in says.
    pub snippet: Snippet,
    /// The certificate's life.
    pub validity: Validity,
}

/// An open CA, locked for this process.
pub struct Authority {
    dir: PathBuf,
    registry: Registry,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    ca: Certificate,
    /// Held until the end: the lock goes with it.
    _lock: File,
}

/// This moment in unix seconds.
pub fn unix_now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(LAST_S).min(LAST_S)
}

impl Authority {
    /// Makes a CA, a broker certificate for `broker_names` (host names and addresses), HQ's certificate and an empty
    /// revocation list.
    pub fn init(dir: &Path, broker_names: &[String], now_s: i64) -> Result<Self, AuthorityError> {
        if broker_names.is_empty() {
            return Err(AuthorityError::Refused("a broker needs a host name".to_owned()));
        }
        std::fs::create_dir_all(dir).map_err(|source| io(dir, source))?;
        let lock = lock(dir)?;
        let key_path = dir.join("ca.key");
        if key_path.exists() {
            return Err(AuthorityError::Exists(key_path));
        }
        // A key that is kept elsewhere is not the end of a CA: what it issued must not be forgotten.
        let registry_path = dir.join("registry.json");
        if registry_path.exists()
            && Registry::load(&registry_path)?.rows.iter().any(|row| row.role != Role::Ca)
        {
            return Err(AuthorityError::Exists(registry_path));
        }
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let validity = Validity::days(now_s, CA_DAYS);
        // The name carries date and key: two CAs of one name would be taken for each other, and only signatures would differ.
        let mark: String = key.public_key_raw().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("Steelyard CA {} {mark}", sync_mqtt::day(now_s));
        let mut registry = Registry::empty();
        let mut params = params(&name, validity, registry.next_serial);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let ca_pem = params.self_signed(&key)?.pem();
        let row = row(&registry, Role::Ca, None, &ca_pem, now_s)?;
        push(&mut registry, row);
        registry.save(&registry_path)?;
        write(&dir.join("ca.pem"), ca_pem.as_bytes())?;
        // Last: a CA exists when its key does.
        write_secret(&key_path, &key)?;
        drop(lock);
        let mut authority = Self::open(dir)?;
        authority.equip(broker_names, now_s)?;
        Ok(authority)
    }

    /// Opens a CA.
    pub fn open(dir: &Path) -> Result<Self, AuthorityError> {
        let (ca_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
        let key_pem = std::fs::read_to_string(&key_path).map_err(|source| io(&key_path, source))?;
        let lock = lock(dir)?;
        let registry = Registry::load(&dir.join("registry.json"))?;
        let ca_pem = std::fs::read_to_string(&ca_path).map_err(|source| io(&ca_path, source))?;
        let ca = certificate(&ca_path, &ca_pem)?;
        let key = KeyPair::from_pem(&key_pem)?;
        if ca.public_key.as_ref().map(<[u8; 32]>::as_slice) != Some(key.public_key_raw()) {
            return Err(AuthorityError::Refused(format!(
                "{}: not the key of {}",
                key_path.display(),
                ca_path.display()
            )));
        }
        let mut params = params(&ca.name, Validity { from_s: ca.not_before, until_s: ca.not_after }, 0);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(params, key);
        Ok(Self { dir: dir.to_owned(), registry, issuer, ca_pem, ca, _lock: lock })
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.ca
    }

    /// Issues certificates for broker and HQ with new keys, and the revocation list.
    pub fn equip(&mut self, broker_names: &[String], now_s: i64) -> Result<(), AuthorityError> {
        let validity = Validity::days(now_s, LEAF_DAYS);
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let pem = self.issue(Role::Broker, None, broker_names, &key, validity, now_s)?;
        write_secret(&self.dir.join("broker.key"), &key)?;
        write(&self.dir.join("broker.pem"), pem.as_bytes())?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let pem = self.issue(Role::Hq, None, &[], &key, validity, now_s)?;
        write_secret(&self.dir.join("hq.key"), &key)?;
        write(&self.dir.join("hq.pem"), pem.as_bytes())?;
        self.write_crl(now_s)
    }

    /// Enrols a store: key, certificate, CA and configuration drop-in in one folder.
    pub fn enroll(&mut self, enrolment: &Enrolment, now_s: i64) -> Result<Row, AuthorityError> {
        let Enrolment { store, out, snippet, validity } = enrolment;
        if store.0 == 0 {
            return Err(AuthorityError::Refused("stores count from 1".to_owned()));
        }
        if matches!(self.registry.standing(*store, now_s), Standing::Valid { .. } | Standing::Expired { .. })
        {
            return Err(AuthorityError::Refused(format!(
                "store {store} is enrolled already: rotate its certificate, or revoke it first"
            )));
        }
        let [_, _, key_name, _] = STORE_FILES;
        if out.join(key_name).exists() {
            return Err(AuthorityError::Exists(out.join(key_name)));
        }
        std::fs::create_dir_all(out).map_err(|source| io(out, source))?;
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let pem = self.issue(Role::Store, Some(*store), &[], &key, *validity, now_s)?;
        write_secret(&out.join(key_name), &key)?;
        self.write_store(out, &pem)?;
        write(&out.join(STORE_FILES[3]), snippet.text().as_bytes())?;
        self.latest()
    }

    /// Issues a further certificate for an enrolled store into `out`. The ones before stay valid until their time is over.
    pub fn rotate(
        &mut self,
        store: StoreId,
        key: KeyChoice,
        out: &Path,
        validity: Validity,
        now_s: i64,
    ) -> Result<Row, AuthorityError> {
        let Some(newest) = self.held(store, out).or_else(|| self.registry.newest(store)) else {
            let standing = self.registry.standing(store, now_s);
            return Err(AuthorityError::Refused(format!(
                "store {store} is {}: enroll it",
                match standing {
                    Standing::Revoked(_) => "revoked",
                    _ => "not enrolled",
                }
            )));
        };
        std::fs::create_dir_all(out).map_err(|source| io(out, source))?;
        let pem = match key {
            KeyChoice::Keep => {
                let public = newest
                    .key()
                    .ok_or_else(|| AuthorityError::Refused(format!("store {store}: damaged registry row")))?;
                self.issue(Role::Store, Some(store), &[], &Registered(public), validity, now_s)?
            }
            KeyChoice::New => {
                let key = KeyPair::generate_for(&PKCS_ED25519)?;
                let pem = self.issue(Role::Store, Some(store), &[], &key, validity, now_s)?;
                write_secret(&out.join(STORE_FILES[2]), &key)?;
                pem
            }
        };
        self.write_store(out, &pem)?;
        self.latest()
    }

    /// The certificate for the key that lies in a store's folder. After a command that was cut off it need not be the newest.
    fn held(&self, store: StoreId, out: &Path) -> Option<&Row> {
        let pem = std::fs::read_to_string(out.join(STORE_FILES[2])).ok()?;
        let key = KeyPair::from_pem(&pem).ok()?;
        let fits = |row: &&Row| row.key().as_ref().map(<[u8; 32]>::as_slice) == Some(key.public_key_raw());
        self.registry.of(store).filter(|row| row.revoked.is_none()).filter(fits).last()
    }

    /// Revokes a store's certificates, all of them or one serial number, and writes the revocation list. Answers how many
    /// were revoked now; repeating it is harmless.
    pub fn revoke(
        &mut self,
        store: StoreId,
        serial: Option<u64>,
        reason: &str,
        now_s: i64,
    ) -> Result<usize, AuthorityError> {
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
            return Err(AuthorityError::Refused(format!(
                "a reason has 1 to {REASON_BYTES_MAX} printable bytes"
            )));
        }
        let concerns = |row: &Row| row.store == Some(store.0) && serial.is_none_or(|one| row.serial == one);
        if !self.registry.rows.iter().any(concerns) {
            return Err(AuthorityError::Refused(match serial {
                Some(serial) => format!("store {store} has no certificate with serial number {serial}"),
                None => format!("store {store} is not enrolled"),
            }));
        }
        let mut revoked = 0;
        for row in self.registry.rows.iter_mut().filter(|row| concerns(row) && row.revoked.is_none()) {
            row.revoked = Some(Revocation { at_s: now_s, reason: reason.to_owned() });
            revoked += 1;
        }
        self.write_crl(now_s)?;
        Ok(revoked)
    }

    fn issue(
        &mut self,
        role: Role,
        store: Option<StoreId>,
        names: &[String],
        key: &impl PublicKeyData,
        validity: Validity,
        now_s: i64,
    ) -> Result<String, AuthorityError> {
        if validity.until_s <= validity.from_s {
            return Err(AuthorityError::Refused("a certificate ends after its begin".to_owned()));
        }
        // A certificate that outlives its CA would end with it, and nobody would have read that anywhere.
        let validity = Validity { until_s: validity.until_s.min(self.ca.not_after), ..validity };
        let name = match (role, store, names) {
            (_, Some(store), _) => store.to_string(),
            (Role::Broker, _, [first, ..]) => first.clone(),
            _ => HQ_NAME.to_owned(),
        };
        let mut params = params(&name, validity, self.registry.next_serial);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Broker => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let pem = params.signed_by(key, &self.issuer)?.pem();
        let row = row(&self.registry, role, store, &pem, now_s)?;
        push(&mut self.registry, row);
        self.save()?;
        Ok(pem)
    }

    /// Writes registry and revocation list.
    fn write_crl(&mut self, now_s: i64) -> Result<(), AuthorityError> {
        self.registry.crl_number += 1;
        self.save()?;
        let revoked_certs = self.registry.rows.iter().filter_map(|row| {
            let revocation = row.revoked.as_ref()?;
            Some(RevokedCertParams {
                serial_number: SerialNumber::from(row.serial),
                revocation_time: moment(revocation.at_s),
                reason_code: None,
                invalidity_date: None,
            })
        });
        let list = CertificateRevocationListParams {
            this_update: moment(now_s - SKEW_S),
            // As long as the CA: a list that runs out refuses everybody.
            next_update: moment(self.ca.not_after),
            crl_number: SerialNumber::from(self.registry.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = list.signed_by(&self.issuer)?.pem()?;
        write(&self.dir.join("crl.pem"), pem.as_bytes())
    }

    fn write_store(&self, out: &Path, pem: &str) -> Result<(), AuthorityError> {
        write(&out.join(STORE_FILES[0]), self.ca_pem.as_bytes())?;
        write(&out.join(STORE_FILES[1]), pem.as_bytes())
    }

    fn latest(&self) -> Result<Row, AuthorityError> {
        let row = self.registry.rows.last().cloned();
        row.ok_or_else(|| AuthorityError::Refused("the registry is empty".to_owned()))
    }

    fn save(&self) -> Result<(), AuthorityError> {
        Ok(self.registry.save(&self.dir.join("registry.json"))?)
    }
}

/// A public key that the registry knows: its owner is the only one who has the private part.
struct Registered([u8; 32]);

impl PublicKeyData for Registered {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

fn params(name: &str, validity: Validity, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(validity.from_s);
    params.not_after = moment(validity.until_s);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

/// A moment in the library's type, which its public interface does not let us name.
fn moment<T: From<SystemTime>>(unix_s: i64) -> T {
    let offset = Duration::from_secs(unix_s.unsigned_abs());
    T::from(if unix_s < 0 { UNIX_EPOCH - offset } else { UNIX_EPOCH + offset })
}

/// The row of a certificate: what the registry says is what the certificate says.
fn row(
    registry: &Registry,
    role: Role,
    store: Option<StoreId>,
    pem: &str,
    now_s: i64,
) -> Result<Row, AuthorityError> {
    let read = certificate(Path::new("new certificate"), pem)?;
    let key = read.public_key.unwrap_or_default();
    Ok(Row {
        serial: registry.next_serial,
        role,
        name: read.name,
        store: store.map(|store| store.0),
        public_key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
        issued_s: now_s,
        not_before_s: read.not_before,
        not_after_s: read.not_after,
        revoked: None,
        pem: pem.to_owned(),
    })
}

fn push(registry: &mut Registry, row: Row) {
    registry.next_serial += 1;
    registry.rows.push(row);
}

fn certificate(path: &Path, pem: &str) -> Result<Certificate, AuthorityError> {
    Certificate::from_pem(pem.as_bytes())
        .map_err(|source| AuthorityError::Certificate { path: path.to_owned(), source })
}

/// Takes the folder's lock, or says who is in the way.
fn lock(dir: &Path) -> Result<File, AuthorityError> {
    let path = dir.join("registry.lock");
    let file = File::create(&path).map_err(|source| io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(AuthorityError::Refused(format!("{}: another command is at work", path.display())))
        }
        Err(std::fs::TryLockError::Error(source)) => Err(io(&path, source)),
    }
}

fn io(path: &Path, source: std::io::Error) -> AuthorityError {
    AuthorityError::Io { path: path.to_owned(), source }
}

fn write(path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    write_file(path, content, 0o644).map_err(|source| io(path, source))
}

/// Writes a private key in the first version of PKCS #8: OpenSSL, and with it mosquitto, does not read the second.
fn write_secret(path: &Path, key: &KeyPair) -> Result<(), AuthorityError> {
    let seed = seed_from_der(key.serialized_der())
        .map_err(|source| AuthorityError::Certificate { path: path.to_owned(), source })?;
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend(seed);
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(&der));
    write_file(path, text.as_bytes(), 0o600).map_err(|source| io(path, source))
}

/// Base64 of whole groups of three bytes (RFC 4648, 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        for shift in [18, 12, 6, 0] {
            let at = usize::try_from(bits >> shift & 63).unwrap_or(0);
            out.push(char::from(LETTERS[at]));
        }
    }
    out
}
