//! The one way a posting goes: first answer, space, check, facts, memory of the key; one ledger job; answer after its commit.

use super::answer::{Once, Refused, answer};
use crate::daemon::Daemon;
use crate::space::Pressure;
use axum::http::StatusCode;
use axum::response::Response;
use edge_api::Accepted;
use sync_model::{EventId, FactRef, Stamp};
use sync_store::{Draft, LedgerError, Refusal};

/// What became of a job.
enum Outcome {
    Booked(EventId),
    Replayed(EventId),
    Refused(Refused),
}

/// Why a posting's job does not book: a refusal for the client, or one of the ledger.
pub(crate) enum Stop {
    Refused(Refused),
    Ledger(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Ledger(refusal)
    }
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Books once. `book` must check before it appends: a [`Stop::Refused`] after an append would leave the append standing.
pub(crate) async fn once(
    daemon: &Daemon,
    once: Once,
    book: impl FnOnce(&mut Draft<'_>, Stamp) -> Result<EventId, Stop> + Send + 'static,
) -> Result<Response, Refused> {
    let stamp = daemon.clock.stamp();
    let full = daemon.space.pressure() == Pressure::Full;
    let outcome = daemon
        .commit(move |draft| {
            if let Some(first) = draft.first_answer(&once.key, &once.digest)? {
                return Ok(Outcome::Replayed(first));
            }
            if full {
                return Ok(Outcome::Refused(disk_full()));
            }
            match book(draft, stamp) {
                Ok(id) => {
                    draft.remember(&once.key, &once.digest, id)?;
                    Ok(Outcome::Booked(id))
                }
                Err(Stop::Refused(refused)) => Ok(Outcome::Refused(refused)),
                Err(Stop::Ledger(refusal)) => Err(refusal),
            }
        })
        .await
        .map_err(refused)?;
    let accepted = |id: EventId, replayed| Accepted { id: FactRef::from(id).to_string(), replayed };
    match outcome {
        Outcome::Booked(id) => Ok(answer(StatusCode::CREATED, accepted(id, false))),
        Outcome::Replayed(id) => Ok(answer(StatusCode::OK, accepted(id, true))),
        Outcome::Refused(refused) => Err(refused),
    }
}

fn disk_full() -> Refused {
    let message = "the ledger's disk is below its reserve; free space or call the technician";
    Refused::new(StatusCode::INSUFFICIENT_STORAGE, "disk-full", message)
}

/// What a ledger error means for a client.
pub(crate) fn refused(error: LedgerError) -> Refused {
    match error {
        LedgerError::Refused(refusal) => refusal.into(),
        LedgerError::Full { .. } => {
            Refused::new(StatusCode::INSUFFICIENT_STORAGE, "ledger-full", error.to_string())
        }
        LedgerError::Busy => Refused::busy("the ledger has more postings than it can take"),
        LedgerError::Closed => Refused::busy("the daemon is stopping"),
        other => {
            tracing::error!(error = %other, "ledger failed");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "ledger-failed", other.to_string())
        }
    }
}
