//! What the engine knows beyond the ledger: the broker, the ledger's health, each store's last sign of life, counters.
//! Shared with the HTTP server; lost on restart, rebuilt from what the stores say.

use crate::identity::Standing;
use crate::vault::Ownership;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use sync_model::{ClockQuality, LogId, Seq, Stamp, StoreId, UnixMillis};

/// Stores that are remembered; messages of further ones are served but not shown.
pub(crate) const STORES_MAX: usize = 20_000;

/// Last sign of life of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreView {
    pub(crate) last_seen: Option<UnixMillis>,
    pub(crate) present: Option<bool>,
    pub(crate) software: String,
    /// The end of its own log as its last greeting told.
    pub(crate) told: Option<(LogId, Seq)>,
    /// The store has more of HQ's log than HQ: HQ's ledger went back in time.
    pub(crate) ahead: bool,
    /// Bad messages and refusals.
    pub(crate) refused: u64,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) applied: u64,
    pub(crate) duplicate: u64,
    pub(crate) gap: u64,
    pub(crate) equivocation: u64,
    pub(crate) chain_break: u64,
    pub(crate) refused: u64,
    pub(crate) bad: u64,
    pub(crate) failed: u64,
    pub(crate) busy: u64,
    pub(crate) events: u64,
    pub(crate) hellos: u64,
    pub(crate) acks: u64,
    pub(crate) naks: u64,
    pub(crate) verdicts: u64,
    pub(crate) down_blocks: u64,
}

/// Health of something that can fail and recover.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    /// The fault; `None` is healthy.
    pub(crate) fault: Option<String>,
    pub(crate) since: UnixMillis,
}

impl Condition {
    fn new(fault: Option<String>) -> Self {
        Self { fault, since: now_unix() }
    }

    /// Sets the state; answers whether it changed between healthy and not.
    pub(crate) fn set(&mut self, fault: Option<String>) -> bool {
        let turned = self.fault.is_some() != fault.is_some();
        if turned {
            self.since = now_unix();
        }
        self.fault = fault;
        turned
    }
}

/// The shared view.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) broker: Condition,
    pub(crate) ledger: Condition,
    pub(crate) stores: BTreeMap<StoreId, StoreView>,
    pub(crate) counters: Counters,
    pub(crate) acks_waiting: usize,
    pub(crate) jobs_outstanding: usize,
    pub(crate) pipe: sync_mqtt::PipeStats,
    /// The buckets that this process books; `None`: all.
    pub(crate) owned: Ownership,
    /// How the stores of the registry stand; empty without one.
    pub(crate) standings: BTreeMap<StoreId, Standing>,
}

impl Fleet {
    /// The view of a store, if there is room for it.
    pub(crate) fn store(&mut self, store: StoreId) -> Option<&mut StoreView> {
        if self.stores.len() >= STORES_MAX && !self.stores.contains_key(&store) {
            return None;
        }
        Some(self.stores.entry(store).or_default())
    }
}

/// Handle to the shared view.
#[derive(Clone, Debug)]
pub(crate) struct SharedFleet(Arc<Mutex<Fleet>>);

impl SharedFleet {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Fleet {
            broker: Condition::new(Some("not connected yet".to_owned())),
            ledger: Condition::new(None),
            stores: BTreeMap::new(),
            counters: Counters::default(),
            acks_waiting: 0,
            jobs_outstanding: 0,
            pipe: sync_mqtt::PipeStats::default(),
            owned: None,
            standings: BTreeMap::new(),
        })))
    }

    /// Locks the view; never held across an await or IO.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Fleet> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wall time of this machine.
pub(crate) fn now_unix() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A stamp for HQ's own facts. HQ does not ask its kernel how good its clock is, so it claims nothing.
pub(crate) fn stamp() -> Stamp {
    Stamp { at: now_unix(), clock: ClockQuality::Unsynced }
}
