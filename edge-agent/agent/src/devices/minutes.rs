//! Minute summaries of all cabinets, written together.
//!
//! Contract
//! * Cabinets are polled at different moments of a second, so their minutes close one after the other. Each in a transaction
//!   of its own would write every touched page of the ledger once per cabinet; so they wait for each other, at most
//!   [`TOGETHER_MS`], and each job takes [`CABINETS_MAX`] cabinets at most, so that a till waits behind a small one.
//! * A cabinet's minutes and its fold's state are in one transaction: no minute is written twice, after whatever end.
//! * A refused job is tried again [`TOGETHER_MS`] later with what has closed meanwhile.
//! * At the loop's end ([`Minutes::last`]) every fold is saved as it stands, so that a restart does not lose the samples of the
//!   minute that is filling. A kill loses those, never a minute that was written; raw samples are in the telemetry.

use super::cabinets::{Cabinet, fold_key};
use super::{Desk, Done, Key};
use sync_model::{DeviceId, Event};

/// How long a closed minute may wait for others.
const TOGETHER_MS: u64 = 4_000;
/// Cabinets in one job.
const CABINETS_MAX: usize = 64;

/// When minutes are written.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    /// Since when one waits.
    since_ms: Option<u64>,
    /// Jobs under way.
    pending: usize,
}

/// What a job wrote: cabinets with how many minutes each.
pub(super) type Written = Vec<(DeviceId, usize)>;

impl Minutes {
    /// Writes what waits, when it has waited for long enough.
    pub(super) fn tick<'c>(
        &mut self,
        desk: &Desk,
        cabinets: impl Iterator<Item = (&'c DeviceId, &'c Cabinet)>,
        now_ms: u64,
    ) {
        let waiting: Vec<_> = cabinets.filter(|(_, cabinet)| cabinet.has_minutes()).collect();
        if waiting.is_empty() {
            self.since_ms = None;
            return;
        }
        let since = *self.since_ms.get_or_insert(now_ms);
        if self.pending == 0 && now_ms.saturating_sub(since) >= TOGETHER_MS {
            self.since_ms = Some(now_ms);
            self.write(desk, &waiting);
        }
    }

    /// Saves every fold with what waits: the loop ends.
    pub(super) fn last<'c>(
        &mut self,
        desk: &Desk,
        cabinets: impl Iterator<Item = (&'c DeviceId, &'c Cabinet)>,
    ) {
        // A job under way holds minutes that a second one would write again; what it holds is durable or lost with it.
        if self.pending == 0 {
            self.write(desk, &cabinets.collect::<Vec<_>>());
        }
    }

    fn write(&mut self, desk: &Desk, cabinets: &[(&DeviceId, &Cabinet)]) {
        let stamp = desk.daemon.clock.stamp();
        for part in cabinets.chunks(CABINETS_MAX) {
            let part: Vec<_> = part.iter().map(|(id, cabinet)| ((*id).clone(), cabinet.minutes())).collect();
            let submitted = desk.submit(
                Key::Minutes,
                move |draft| {
                    let mut written = Written::new();
                    for (id, (minutes, fold)) in part {
                        written.push((id.clone(), minutes.len()));
                        for minute in minutes {
                            draft.append(&Event::new(stamp, minute))?;
                        }
                        draft.put_state(&fold_key(&id), Some(&fold))?;
                    }
                    Ok(written)
                },
                |result| Done::Minutes(result.map_err(|error| error.to_string())),
            );
            match submitted {
                Ok(()) => self.pending += 1,
                Err(error) => tracing::debug!(%error, "minutes wait for the ledger"),
            }
        }
    }

    /// A job ended.
    pub(super) fn done(&mut self, result: &Result<Written, String>) {
        self.pending = self.pending.saturating_sub(1);
        if let Err(reason) = result {
            tracing::warn!(%reason, "minute summaries were not stored; asked again");
        }
    }
}
