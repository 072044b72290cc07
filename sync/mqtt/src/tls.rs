//! Mutual TLS to the broker: which files, how they become a client, and what went wrong in words for both sides.
//!
//! Contract
//! * TLS 1.3 only, one provider (ring), one trust anchor file: no system store has a say in who may be the broker.
//! * The files are read again for every connection: a renewed certificate is used without a restart.
//! * The clock of a gateway without a battery starts in the past. A certificate is proof that its first valid second is over,
//!   so the broker is judged by the later of the clock and that second.
//! * Whether our own certificate is expired or revoked is for the broker to say; its answer is told in words.

use crate::certificate::{Certificate, CertificateError, day, read_der};
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::{ConnectionError, StateError};
use rumqttc::{TlsConfiguration, TlsError as ClientTlsError, Transport};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{AlertDescription, CertificateError as Verdict, ClientConfig, RootCertStore};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The files of a client's identity, PEM each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The CA that signs broker and clients.
    pub ca: PathBuf,
    /// The client's certificate, with intermediate ones behind it if there are any.
    pub cert: PathBuf,
    /// The client's private key, PKCS #8.
    pub key: PathBuf,
}

/// Why the files do not make a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or does not hold what it should.
    #[error("{file}: {source}")]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        source: CertificateError,
    },
    /// The files do not belong together, or the CA file holds nothing that can be trusted.
    #[error("{file}: {reason}")]
    Unfit {
        /// The file to look at.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl TlsFiles {
    /// Reads the files and answers whose identity they are. What a connection would complain about, this does too.
    pub fn check(&self) -> Result<Certificate, TlsError> {
        self.client().map(|(_, own)| own)
    }

    /// The transport for one connection, and the certificate that it shows.
    pub(crate) fn transport(&self) -> Result<(Transport, Certificate), TlsError> {
        let (config, own) = self.client()?;
        Ok((Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))), own))
    }

    fn client(&self) -> Result<(ClientConfig, Certificate), TlsError> {
        let mut roots = RootCertStore::empty();
        for anchor in read_chain(&self.ca)? {
            roots.add(anchor).map_err(|error| unfit(&self.ca, &error))?;
        }
        let own = Certificate::from_der(&at(&self.cert, read_der(&self.cert))?)
            .map_err(|source| TlsError::File { file: self.cert.clone(), source })?;
        let chain = read_chain(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| {
            let source = CertificateError::Pem { expected: "PRIVATE KEY", found: error.to_string() };
            TlsError::File { file: self.key.clone(), source }
        })?;
        let clock = Arc::new(Clock { floor: u64::try_from(own.not_before).unwrap_or(0) });
        let config = ClientConfig::builder_with_details(Arc::new(provider()), clock)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unfit(&self.ca, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unfit(&self.key, &error))?;
        Ok((config, own))
    }
}

fn provider() -> CryptoProvider {
    ring::default_provider()
}

/// Every certificate of a PEM file, at least one.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let broken = |found: String| TlsError::File {
        file: path.to_owned(),
        source: CertificateError::Pem { expected: "CERTIFICATE", found },
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| broken(error.to_string()))?;
    let chain: Result<Vec<_>, _> = found.collect();
    let chain = chain.map_err(|error| broken(error.to_string()))?;
    if chain.is_empty() { Err(broken("none".to_owned())) } else { Ok(chain) }
}

fn at<T>(path: &Path, result: Result<T, CertificateError>) -> Result<T, TlsError> {
    result.map_err(|source| TlsError::File { file: path.to_owned(), source })
}

fn unfit(path: &Path, error: &rustls::Error) -> TlsError {
    let reason = match error {
        rustls::Error::InconsistentKeys(_) => "the key is not the one of the certificate".to_owned(),
        other => other.to_string(),
    };
    TlsError::Unfit { file: path.to_owned(), reason }
}

/// The later of the system's clock and the first valid second of our own certificate.
#[derive(Debug)]
struct Clock {
    floor: u64,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let told = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Some(UnixTime::since_unix_epoch(Duration::from_secs(told.max(self.floor))))
    }
}

/// A fault of a TLS connection that never came up, in words that name the side at fault; `None` leaves the client's words.
pub(crate) fn explain(error: &ConnectionError, own: &Certificate, came_up: bool) -> Option<String> {
    if let Some(fault) = tls_fault(error) {
        return Some(describe(fault, own));
    }
    if came_up || !is_cut(error) {
        return None;
    }
    // A broker that refuses a certificate closes; its reason may be lost with the connection.
    Some(format!("broker closed during TLS, it may have refused our certificate ({own})"))
}

fn describe(fault: &rustls::Error, own: &Certificate) -> String {
    match fault {
        rustls::Error::AlertReceived(alert) => {
            let reason = match alert {
                AlertDescription::CertificateExpired => "it expired",
                AlertDescription::CertificateRevoked => "it is revoked",
                AlertDescription::UnknownCA => "its CA is unknown there",
                AlertDescription::CertificateRequired => "it got none",
                AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::AccessDenied => "it is not acceptable",
                other => return format!("broker ended TLS with {other:?} (ours: {own})"),
            };
            format!("broker refuses our certificate: {reason} ({own})")
        }
        rustls::Error::InvalidCertificate(verdict) => {
            let reason = match verdict {
                Verdict::Expired => "it expired, or this clock is ahead".to_owned(),
                Verdict::ExpiredContext { not_after, time } => {
                    format!("it expired {}, this clock says {}", date(*not_after), date(*time))
                }
                Verdict::NotValidYet => "it is not valid yet, or this clock is behind".to_owned(),
                Verdict::NotValidYetContext { not_before, time } => {
                    format!("it is valid from {}, this clock says {}", date(*not_before), date(*time))
                }
                Verdict::UnknownIssuer | Verdict::BadSignature => "its CA is not ours".to_owned(),
                Verdict::NotValidForName | Verdict::NotValidForNameContext { .. } => {
                    "it is for another host name".to_owned()
                }
                other => other.to_string(),
            };
            format!("we refuse the broker's certificate: {reason}")
        }
        rustls::Error::InvalidMessage(_) => "broker does not speak TLS on this port".to_owned(),
        other => format!("TLS: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    day(i64::try_from(time.as_secs()).unwrap_or(i64::MAX / 2))
}

/// The TLS fault within an error of the client, however deep it is wrapped.
fn tls_fault(error: &ConnectionError) -> Option<&rustls::Error> {
    if let ConnectionError::Tls(ClientTlsError::TLS(fault)) = error {
        return Some(fault);
    }
    io_fault(error)?.get_ref()?.downcast_ref()
}

/// The client wraps a fault of the connection according to where it met it.
fn io_fault(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(fault)
        | ConnectionError::Tls(ClientTlsError::Io(fault))
        | ConnectionError::MqttState(
            StateError::Io(fault) | StateError::Deserialization(CodecError::Io(fault)),
        ) => Some(fault),
        _ => None,
    }
}

/// Whether the far end closed or reset the connection.
fn is_cut(error: &ConnectionError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error, ConnectionError::MqttState(StateError::ConnectionAborted))
        || io_fault(error).is_some_and(|fault| {
            matches!(fault.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(ca: &str, cert: &str, key: &str) -> TlsFiles {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity");
        TlsFiles { ca: folder.join(ca), cert: folder.join(cert), key: folder.join(key) }
    }

    #[test]
    fn files_are_checked_as_a_connection_would() {
        let own = files("foreign.pem", "foreign.pem", "foreign.key").check().unwrap();
        assert_eq!(own.name, "4711");
        let wrong = [
            files("none.pem", "foreign.pem", "foreign.key"),
            files("foreign.pem", "foreign.key", "foreign.key"),
            files("foreign.pem", "foreign.pem", "foreign.pem"),
            files("foreign.key.hex", "foreign.pem", "foreign.key"),
        ];
        for files in wrong {
            let error = files.check().unwrap_err().to_string();
            assert!(error.contains("expected a PEM block"), "{error}");
        }
    }

    #[test]
    fn a_clock_before_our_own_certificate_is_not_believed() {
        let floor = 4_000_000_000;
        assert_eq!(Clock { floor }.current_time().map(|time| time.as_secs()), Some(floor));
        assert!(Clock { floor: 0 }.current_time().unwrap().as_secs() > 1_700_000_000);
    }

    #[test]
    fn faults_name_the_side_at_fault() {
        let own = files("foreign.pem", "foreign.pem", "foreign.key").check().unwrap();
        let wrapped = |fault: rustls::Error| {
            ConnectionError::MqttState(StateError::Deserialization(CodecError::Io(io::Error::other(fault))))
        };
        let told = |fault| explain(&wrapped(fault), &own, false).unwrap();
        let alert = |alert| told(rustls::Error::AlertReceived(alert));
        assert_eq!(
            alert(AlertDescription::CertificateExpired),
            "broker refuses our certificate: it expired (CN 4711, valid 2026-01-02 to 2055-06-07)"
        );
        assert!(alert(AlertDescription::CertificateRequired).contains("it got none"));
        assert!(alert(AlertDescription::InternalError).starts_with("broker ended TLS with InternalError"));
        let time = UnixTime::since_unix_epoch(Duration::from_secs(0));
        let not_before = UnixTime::since_unix_epoch(Duration::from_secs(86_400));
        let early = Verdict::NotValidYetContext { time, not_before };
        assert_eq!(
            told(rustls::Error::InvalidCertificate(early)),
            "we refuse the broker's certificate: it is valid from 1970-01-02, this clock says 1970-01-01"
        );
        let cut = ConnectionError::MqttState(StateError::ConnectionAborted);
        assert!(explain(&cut, &own, false).unwrap().starts_with("broker closed during TLS"));
        assert_eq!(explain(&cut, &own, true), None);
    }
}
