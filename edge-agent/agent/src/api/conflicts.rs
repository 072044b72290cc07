//! The conflict inbox: merges that dropped or combined a business value, with both sides.

use super::answer::{Refused, ok};
use super::post;
use crate::daemon::Daemon;
use axum::extract::{Query, State};
use axum::response::Response;
use edge_api::{Conflict, ConflictSide, Conflicts};
use serde::Deserialize;
use std::sync::Arc;
use sync_store::ConflictRow;

/// Conflicts of one answer.
const CONFLICTS_MAX: usize = 500;

/// Query of the inbox.
#[derive(Deserialize)]
pub(crate) struct ConflictsQuery {
    all: Option<String>,
}

/// `GET /v1/conflicts?all=`.
pub(crate) async fn conflicts(
    State(daemon): State<Arc<Daemon>>,
    Query(query): Query<ConflictsQuery>,
) -> Result<Response, Refused> {
    let all = query.all.is_some_and(|all| all != "0" && all != "false");
    let store = daemon.store;
    let mut rows = daemon.read(move |reader| reader.conflicts(store, all)).await.map_err(post::refused)?;
    let total = rows.len();
    rows.truncate(CONFLICTS_MAX);
    Ok(ok(Conflicts { conflicts: rows.into_iter().map(conflict).collect(), total }))
}

fn conflict(row: ConflictRow) -> Conflict {
    let side = |side: sync_store::ConflictSide| ConflictSide {
        by: side.by,
        at_ms: side.at.0,
        value: side.value,
        stands: side.stands,
    };
    Conflict {
        id: row.id,
        kind: row.kind.to_owned(),
        subject: row.subject,
        sides: row.sides.into_iter().map(side).collect(),
        settled_ms: row.settled.as_ref().map(|(at, _)| at.0),
        settled_by: row.settled.map(|(_, by)| by.to_string()),
    }
}
