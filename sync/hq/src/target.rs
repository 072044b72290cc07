//! What the command line may name: the ledger, the broker, the HTTP address. Refusals say what is supported.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where HQ's ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreTarget {
    /// One SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its address.
    Postgres(PostgresUrl),
}

/// Address of a PostgreSQL database. It may hold a password: not for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PostgresUrl(..)")
    }
}

/// Buckets from a list like `0-31,40`; each is 0 to 63.
pub fn buckets(text: &str) -> Result<BTreeSet<i16>, TargetError> {
    let refuse = || TargetError::Buckets(text.to_owned());
    let number = |text: &str| match text.parse::<i16>() {
        Ok(bucket @ 0..=63) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(bucket),
        _ => Err(refuse()),
    };
    let mut buckets = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(refuse());
        }
        buckets.extend(first..=last);
    }
    Ok(buckets)
}

/// Why a command line value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a ledger this build can open.
    #[error("ledger '{0}': expected sqlite:PATH or postgres://USER@HOST:PORT/DATABASE")]
    Store(String),
    /// Not a list of buckets.
    #[error("buckets '{0}': expected numbers and ranges from 0 to 63, for example 0-31 or 5,40-63")]
    Buckets(String),
    /// Not a broker address.
    #[error(
        "broker '{0}': expected HOST:PORT, for example 127.0.0.1:1883 or [::1]:1883, or embedded, or embedded:PORT"
    )]
    Broker(String),
    /// Not an address of this machine only.
    #[error(
        "listen address '{0}': expected a loopback IP and port, for example 127.0.0.1:8080; HQ's HTTP has no login yet"
    )]
    Listen(String),
}

impl FromStr for StoreTarget {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") && rest.len() > 2 => {
                Ok(Self::Postgres(PostgresUrl(text.to_owned())))
            }
            Some((scheme, _)) => Err(TargetError::Store(format!("{scheme}:..."))),
            None => Err(TargetError::Store(text.to_owned())),
        }
    }
}

/// Host and port of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or address; IPv6 in brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for BrokerAddress {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let refuse = || TargetError::Broker(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return Err(refuse());
        }
        match port.parse() {
            Ok(port) if port > 0 => Ok(Self { host: host.to_owned(), port }),
            _ => Err(refuse()),
        }
    }
}

/// Which broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerTarget {
    /// One that runs somewhere.
    At(BrokerAddress),
    /// One of HQ's own, on this port; `None` is the usual one, 1883, or 8883 with an identity.
    Embedded(Option<u16>),
}

impl FromStr for BrokerTarget {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text.strip_prefix("embedded") {
            Some("") => Ok(Self::Embedded(None)),
            // A host of that name is not lost: it has a domain.
            Some(rest) if rest.starts_with(':') => match rest.trim_start_matches(':').parse() {
                Ok(port) if port > 0 => Ok(Self::Embedded(Some(port))),
                _ => Err(TargetError::Broker(text.to_owned())),
            },
            _ => text.parse().map(Self::At),
        }
    }
}

/// A loopback address for the HTTP server; port 0 lets the system choose.
pub fn loopback(text: &str) -> Result<SocketAddr, TargetError> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        _ => Err(TargetError::Listen(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledgers_are_files_or_databases() {
        assert_eq!("sqlite:/var/hq.db".parse(), Ok(StoreTarget::Sqlite("/var/hq.db".into())));
        let url = "postgres://hq:secret@127.0.0.1:5432/hq";
        let parsed: StoreTarget = url.parse().unwrap();
        assert!(matches!(&parsed, StoreTarget::Postgres(found) if found.as_str() == url));
        assert!(!format!("{parsed:?}").contains("secret"));
        for text in [
            "",
            "sqlite",
            "sqlite:",
            "/var/hq.db",
            "postgres:",
            "postgres://",
            "mysql://secret/x",
            "SQLITE:/x",
        ] {
            let error = text.parse::<StoreTarget>().unwrap_err().to_string();
            assert!(error.contains("expected sqlite:PATH or postgres:"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn buckets_are_numbers_and_ranges() {
        assert_eq!(buckets("0-63").unwrap().len(), 64);
        assert_eq!(buckets("5,7-9,7").unwrap(), BTreeSet::from([5, 7, 8, 9]));
        for text in ["", "64", "-1", "3-1", "1-", "a", "1;2", "+1", "0-64", "1,,2"] {
            assert_eq!(buckets(text), Err(TargetError::Buckets(text.into())));
        }
    }

    #[test]
    fn brokers_have_host_and_port() {
        let parse = |text: &str| text.parse::<BrokerAddress>().map(|broker| (broker.host, broker.port));
        assert_eq!(parse("hq.example:1883"), Ok(("hq.example".into(), 1_883)));
        assert_eq!(parse("[::1]:8883"), Ok(("[::1]".into(), 8_883)));
        for text in ["", "host", ":1883", "host:", "host:0", "host:65536", "::1:1883", "host:+"] {
            assert_eq!(parse(text), Err(TargetError::Broker(text.into())));
        }
    }

    #[test]
    fn a_broker_is_somewhere_or_embedded() {
        let parse = |text: &str| text.parse::<BrokerTarget>();
        assert_eq!(parse("embedded"), Ok(BrokerTarget::Embedded(None)));
        assert_eq!(parse("embedded:2883"), Ok(BrokerTarget::Embedded(Some(2_883))));
        let host = "embedded.example".to_owned();
        assert_eq!(parse("embedded.example:1883"), Ok(BrokerTarget::At(BrokerAddress { host, port: 1_883 })));
        for text in ["embedded:", "embedded:0", "embedded:65536", "embeddedx", ""] {
            assert_eq!(parse(text), Err(TargetError::Broker(text.into())));
        }
    }

    #[test]
    fn http_listens_on_loopback_only() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("[::1]:8080").is_ok());
        for text in ["0.0.0.0:80", "192.168.0.1:80", "localhost:80", "127.0.0.1", ""] {
            assert_eq!(loopback(text), Err(TargetError::Listen(text.into())));
        }
    }
}
