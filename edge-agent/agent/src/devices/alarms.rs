//! Alarm decisions as facts, inside a ledger job.

use edge_core::excursion::Decision;
use sync_model::{AlarmKind, AlarmRaised, AlarmRef, AlarmReturned, DeviceId, Event, FactRef, Stamp};
use sync_store::{Draft, Refusal};

/// Whether there is something that HQ should hear of at once.
pub(super) fn raises(decisions: &[Decision]) -> bool {
    decisions.iter().any(|decision| matches!(decision, Decision::Raise { .. }))
}

/// Appends the fact of a decision. For a raised alarm gives its name, to be bound before the state is saved.
pub(super) fn append(
    draft: &mut Draft<'_>,
    device: &DeviceId,
    decision: &Decision,
    stamp: Stamp,
) -> Result<Option<(AlarmKind, AlarmRef)>, Refusal> {
    match *decision {
        Decision::Raise { kind, since, value, limit } => {
            let raised = AlarmRaised { device: device.clone(), kind, since, value, limit };
            let id = draft.append(&Event::new(stamp, raised))?;
            Ok(Some((kind, FactRef::from(id))))
        }
        Decision::Return { kind, alarm: Some(alarm), value, worst } => {
            tracing::info!(%device, ?kind, %alarm, "alarm returned");
            draft.append(&Event::new(stamp, AlarmReturned { alarm, value, worst }))?;
            Ok(None)
        }
        // Every raise is bound in its own transaction and every open alarm is adopted at start: a return without a name
        // can only follow damaged state, and then nothing is open.
        Decision::Return { kind, alarm: None, .. } => {
            tracing::warn!(%device, ?kind, "an alarm without a name returned; nothing is open in the ledger");
            Ok(None)
        }
    }
}
