//! What the rest of the daemon sees of the settlement: positions, connection, counters.

use std::sync::{Mutex, MutexGuard, PoisonError};
use sync_core::LogStatus;
use sync_model::{LogId, Seq};

/// HQ has more of a log than its writer: the ledger went back in time, or another gateway writes under this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// The log.
    pub log: LogId,
    /// Durable at HQ.
    pub upto: Seq,
    /// Our own end.
    pub head: Seq,
}

/// HQ lacks records that are no longer here: it is older than what the ledger keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The log.
    pub log: LogId,
    /// First record that HQ lacks.
    pub wanted: Seq,
    /// Last record that is gone here.
    pub floor: Seq,
}

impl std::fmt::Display for Outdated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { log, wanted, floor } = self;
        write!(f, "HQ lacks {log} from {wanted} on, records up to {floor} were truncated here")
    }
}

/// State of the settlement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettleState {
    /// Whether the broker is connected.
    pub connected: bool,
    /// Since when connected or disconnected, wall time.
    pub since_ms: Option<i64>,
    /// Why the connection ended last.
    pub last_error: Option<String>,
    /// When HQ acknowledged last, wall time.
    pub last_ack_ms: Option<i64>,
    /// Since when facts wait for headquarters, wall time.
    pub behind_ms: Option<i64>,
    /// Positions of our logs.
    pub logs: Vec<LogStatus>,
    /// Evidence of a rollback.
    pub ahead: Option<Ahead>,
    /// HQ was put back to before what is kept here.
    pub outdated: Option<Outdated>,
    /// Messages set aside since the start.
    pub set_aside: u64,
    /// Refusals from HQ since the start.
    pub refused: u64,
}

/// Shared view; the pump writes, others read copies.
#[derive(Debug, Default)]
pub struct SettleView {
    state: Mutex<SettleState>,
}

impl SettleView {
    /// A copy of the present state.
    pub fn get(&self) -> SettleState {
        self.lock().clone()
    }

    /// Facts that HQ has not acknowledged.
    pub fn lag(&self) -> u64 {
        self.lock().logs.iter().map(|log| log.head.0.saturating_sub(log.acked.0)).sum()
    }

    pub(super) fn connected(&self, wall_ms: i64) {
        let mut state = self.lock();
        state.connected = true;
        state.since_ms = Some(wall_ms);
    }

    pub(super) fn disconnected(&self, wall_ms: i64, reason: String) {
        let mut state = self.lock();
        if state.connected || state.since_ms.is_none() {
            state.since_ms = Some(wall_ms);
        }
        state.connected = false;
        state.last_error = Some(reason);
    }

    pub(super) fn heard(&self, wall_ms: i64) {
        self.lock().last_ack_ms = Some(wall_ms);
    }

    pub(super) fn positions(&self, wall_ms: i64, logs: Vec<LogStatus>) {
        let mut state = self.lock();
        let behind = logs.iter().any(|log| log.head > log.acked);
        state.behind_ms = behind.then(|| state.behind_ms.unwrap_or(wall_ms));
        state.logs = logs;
    }

    /// Remembers rollback evidence; `true` when it is new.
    pub(super) fn ahead(&self, ahead: Ahead) -> bool {
        self.lock().ahead.replace(ahead) != Some(ahead)
    }

    /// What was missing of a log came back.
    pub(super) fn returned(&self, log: LogId) {
        self.lock().ahead.take_if(|ahead| ahead.log == log);
    }

    /// HQ asks for what is gone.
    pub(super) fn outdated(&self, outdated: Outdated) {
        self.lock().outdated = Some(outdated);
    }

    /// HQ has a log up to here.
    pub(super) fn has(&self, log: LogId, upto: Seq) {
        self.lock().outdated.take_if(|outdated| outdated.log == log && upto >= outdated.floor);
    }

    pub(super) fn set_aside(&self) {
        let mut state = self.lock();
        state.set_aside = state.set_aside.saturating_add(1);
    }

    pub(super) fn refused(&self) {
        let mut state = self.lock();
        state.refused = state.refused.saturating_add(1);
    }

    fn lock(&self) -> MutexGuard<'_, SettleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
