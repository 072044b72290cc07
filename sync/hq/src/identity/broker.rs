//! The broker's rules: configuration and access list of mosquitto (2.0 and later), by certificate name.
//!
//! What they ask for: a certificate of our CA that is neither expired nor on the revocation list; its common name is the user.
//! A store writes and reads below its own number and nothing else; HQ reads what stores write and writes what they read.

use std::net::SocketAddr;
use std::path::Path;
use sync_mqtt::topic::Leaf;

/// Where the broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerListener {
    /// Address with mutual TLS.
    pub tls: SocketAddr,
    /// Whether persistence is wanted; correctness never depends on it.
    pub persistence: Option<std::path::PathBuf>,
}

/// Leaves that a store writes; HQ writes the others.
const STORE_WRITES: [Leaf; 3] = [Leaf::Up, Leaf::DownAck, Leaf::Presence];

/// The access list.
pub fn acl_text() -> String {
    let mut text = String::from(
        "# Steelyard: who may use which topic. The user is the common name of the client's certificate.\n\
         # A store (CN = its number) uses the topics below its own number.\n",
    );
    for leaf in Leaf::ALL {
        let way = if STORE_WRITES.contains(&leaf) { "write" } else { "read" };
        text.push_str(&format!("pattern {way} sy1/+/%u/{}\n", leaf.letter()));
    }
    text.push_str("\n# Headquarters (CN = hq) has the other end of all of them.\nuser hq\n");
    for leaf in Leaf::ALL {
        let way = if STORE_WRITES.contains(&leaf) { "read" } else { "write" };
        text.push_str(&format!("topic {way} sy1/+/+/{}\n", leaf.letter()));
    }
    text
}

/// The configuration file: certificates from `identity`, the access list at `acl`.
pub fn broker_text(listener: &BrokerListener, identity: &Path, acl: &Path) -> String {
    let file = |name: &str| identity.join(name).display().to_string();
    let persistence = match &listener.persistence {
        Some(folder) => format!("persistence true\npersistence_location {}/\n", folder.display()),
        None => "persistence false\n".to_owned(),
    };
    format!(
        "# Steelyard: mosquitto with mutual TLS. After `sync-hq ca revoke` send it SIGHUP: it reads the list again.\n\
         listener {port} {address}\n\
         cafile {ca}\ncertfile {cert}\nkeyfile {key}\ncrlfile {crl}\n\
         tls_version tlsv1.3\nrequire_certificate true\nuse_identity_as_username true\n\n\
         allow_anonymous false\nacl_file {acl}\n\n\
         # Room for a full block and for an oversize one, which HQ answers; queues are short, logs repeat what is lost.\n\
         max_packet_size 262144\nmax_queued_messages 1000\nmax_keepalive 1200\n{persistence}",
        port = listener.tls.port(),
        address = listener.tls.ip(),
        ca = file("ca.pem"),
        cert = file("broker.pem"),
        key = file("broker.key"),
        crl = file("crl.pem"),
        acl = acl.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_has_one_writer() {
        let text = acl_text();
        for leaf in Leaf::ALL {
            let letter = leaf.letter();
            let by_store = text.contains(&format!("pattern write sy1/+/%u/{letter}\n"));
            let by_hq = text.contains(&format!("topic write sy1/+/+/{letter}\n"));
            assert!(by_store != by_hq, "{letter}: {text}");
            assert_eq!(by_hq, text.contains(&format!("pattern read sy1/+/%u/{letter}\n")), "{letter}");
            assert_eq!(by_store, text.contains(&format!("topic read sy1/+/+/{letter}\n")), "{letter}");
        }
    }
}
