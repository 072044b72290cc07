//! What the store shares with HQ and other stores: conflicts.

use crate::schema::named;
use serde::{Deserialize, Serialize};

named! {
    Conflicts = "conflicts";
}

/// `GET /v1/conflicts?all=`: merges that dropped or combined a business value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflicts {
    /// Conflicts, settled ones only on demand.
    pub conflicts: Vec<Conflict>,
    /// How many there are in all; the list is bounded.
    pub total: usize,
}

/// One conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Names it for ever.
    pub id: String,
    /// `value-dropped`, `values-both`, `device-kept`, `device-both` or `fence-overspent`.
    pub kind: String,
    /// Register, device or article.
    pub subject: String,
    /// Both sides.
    pub sides: Vec<ConflictSide>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<i64>,
    /// By whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictSide {
    /// `store.epoch` or `hq.epoch`.
    pub by: String,
    /// When, by the writer's clock; 0 where it has no moment.
    pub at_ms: i64,
    /// What it says.
    pub value: String,
    /// Whether it is in force.
    pub stands: bool,
}
