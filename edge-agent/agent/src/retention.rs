//! Forgetting old records by itself: what HQ has acknowledged and `ledger.keep_days` has passed over goes, under a checkpoint.
//!
//! One round: a reader plans and folds (beside the writer), the writer writes the checkpoint, HQ acknowledges it like any
//! other fact, and then the writer removes [`Keeping::step`] records per job, with pauses, so that tills never wait behind it.
//! Every round begins by going on with what an earlier one, or an earlier process, left unfinished.
//!
//! Rule for whoever runs HQ: its backups must be younger than `ledger.keep_days`. A HQ that is older asks for records that
//! are gone; the store says so (`status`, `doctor`, its log) and trades on; that log waits until HQ has a newer backup.

use crate::daemon::Daemon;
use std::sync::Arc;
use std::time::Duration;
use sync_model::{ClockQuality, UnixMillis};
use sync_store::{ANSWERS_KEPT, LedgerError, Retention};
use tokio::sync::watch;

/// How a store forgets.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// Between two rounds.
    pub period: Duration,
    /// Between two steps of one round.
    pub pause: Duration,
    /// Newest records of each direction that stay whatever the clock says.
    pub kept: u64,
    /// Fewest records for which a checkpoint is written.
    pub least: u64,
    /// Most records under one checkpoint.
    pub most: u64,
    /// Most records that one job of the writer removes.
    pub step: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(900),
            pause: Duration::from_millis(200),
            kept: u64::try_from(ANSWERS_KEPT).unwrap_or(u64::MAX),
            least: 2_000,
            most: 200_000,
            step: 512,
        }
    }
}

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Records that went.
    pub removed: u64,
    /// A checkpoint was written.
    pub checkpoint: bool,
    /// A checkpoint waits for HQ.
    pub waits: bool,
}

/// Runs until `stop` turns true.
pub async fn run(daemon: Arc<Daemon>, keeping: Keeping, mut stop: watch::Receiver<bool>) {
    // Not in the first minute: a store that was just switched on has better things to do.
    let mut wait = keeping.period.min(Duration::from_secs(60));
    while !*stop.borrow() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.changed() => continue,
        }
        wait = keeping.period;
        match round(&daemon, keeping, &stop).await {
            Ok(Round { removed: 0, .. }) => {}
            Ok(done) => tracing::info!(removed = done.removed, "old records forgotten under a checkpoint"),
            Err(error) => tracing::warn!(%error, "old records stay for now"),
        }
    }
}

/// One round.
pub async fn round(
    daemon: &Arc<Daemon>,
    keeping: Keeping,
    stop: &watch::Receiver<bool>,
) -> Result<Round, LedgerError> {
    let mut done = Round::default();
    let store = daemon.store;
    loop {
        let step = daemon.commit(move |draft| draft.truncate(keeping.step)).await?;
        done.removed += step.records;
        if *stop.borrow() {
            return Ok(done);
        }
        if step.records == 0 {
            done.waits = !step.done;
            break;
        }
        if step.done {
            break;
        }
        tokio::time::sleep(keeping.pause).await;
    }
    // The wall clock decides what is old.
    if done.waits || daemon.clock.quality() == ClockQuality::Suspect {
        return Ok(done);
    }
    let age = i64::from(daemon.config().ledger.keep_days).saturating_mul(86_400_000);
    let rule = Retention {
        before: UnixMillis(daemon.clock.wall_ms()).plus(-age),
        kept: keeping.kept,
        least: keeping.least,
        most: keeping.most,
    };
    let Some(plan) = daemon.read(move |reader| reader.plan_checkpoint(store, rule)).await? else {
        return Ok(done);
    };
    let (records, rows, stamp) = (plan.records(), plan.fact().rows, daemon.clock.stamp());
    let id = daemon.commit(move |draft| draft.checkpoint(&plan, stamp)).await?;
    tracing::info!(checkpoint = %id, records, rows, "checkpoint written; its records go when HQ has it");
    done.checkpoint = true;
    Ok(done)
}
