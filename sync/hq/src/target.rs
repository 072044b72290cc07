//! What the command line may name: the ledger, the broker, the HTTP address. Refusals say what is supported.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where HQ's ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreTarget {
    /// One SQLite file.
    Sqlite(PathBuf),
}

/// Why a command line value is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not a ledger this build can open.
    #[error("ledger '{0}': supported is sqlite:PATH (other engines are not built yet)")]
    Store(String),
    /// Not a broker address.
    #[error("broker '{0}': expected HOST:PORT, for example 127.0.0.1:1883 or [::1]:1883")]
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
            _ => Err(TargetError::Store(text.to_owned())),
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
    fn only_sqlite_paths_are_ledgers() {
        assert_eq!("sqlite:/var/hq.db".parse(), Ok(StoreTarget::Sqlite("/var/hq.db".into())));
        for text in ["", "sqlite", "sqlite:", "/var/hq.db", "postgres://hq", "SQLITE:/x"] {
            let error = text.parse::<StoreTarget>().unwrap_err();
            assert!(error.to_string().contains("supported is sqlite:PATH"), "{error}");
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
    fn http_listens_on_loopback_only() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("[::1]:8080").is_ok());
        for text in ["0.0.0.0:80", "192.168.0.1:80", "localhost:80", "127.0.0.1", ""] {
            assert_eq!(loopback(text), Err(TargetError::Listen(text.into())));
        }
    }
}
