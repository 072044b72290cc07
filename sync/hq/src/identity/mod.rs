//! Identity: who may speak for a store. A development CA, its registry, the broker's rules, and HQ's view of both.
//!
//! The chain of names: the certificate's common name is the store's number; the broker's ACL ties the name to the topics; HQ
//! checks that topic and payload name the same store; facts are sealed with the certificate's Ed25519 key, which the registry
//! lists for that store. HQ cannot see certificates through a broker, so the seal is the end-to-end part of the chain.
//!
//! The expiry rule
//! * A store's certificate is valid for [`LEAF_DAYS`] (five years) and due for renewal after half of that. A store may
//!   therefore be away for two and a half years at the least without anybody doing anything.
//! * Renewing keeps the key. It needs no secret and nothing from the store: HQ signs the registered key again, and the new
//!   certificate may travel by any way, open ones included. A new key is for a key that may have leaked.
//! * A store that was away for longer is refused by the broker, and says why. Nothing is lost by that: its facts are not
//!   bound to a certificate, and after `sync-hq ca rotate` it settles from where it stood. The registry keeps every key a
//!   store ever had, so older seals can be checked for ever.
//! * Only revocation ends a certificate early, only it fences: HQ refuses what a revoked store sends, even over a connection
//!   that the broker has not ended yet. An expired certificate is old, not suspect: what arrives all the same is booked.
//! * CA and revocation list are valid for thirty years. A list that must be renewed monthly is a date on which the whole fleet
//!   goes dark.

mod authority;
mod broker;
mod folder;
mod registry;
mod roster;

pub use authority::{
    Authority, AuthorityError, CA_DAYS, Enrolment, KeyChoice, LEAF_DAYS, Validity, unix_now_s,
};
pub use broker::{BrokerListener, acl_text, broker_text};
pub use folder::{STORE_FILES, Snippet};
pub use registry::{Registry, RegistryError, Revocation, Role, Row, Standing, StoreKey};
pub(crate) use roster::Roster;
