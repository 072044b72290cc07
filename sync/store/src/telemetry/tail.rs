//! Samples that no sealed block holds yet, in memory and already compressed: what readers see beside the file.

use super::file::{PARTS_MAX, SERIES_MAX, Sealing, key};
use super::series::{POINTS_MAX, Point, Run};
use std::collections::BTreeMap;
use sync_model::{DeviceId, UnixMillis};

/// The open generation.
#[derive(Debug, Default)]
pub(super) struct Tail {
    pub(super) generation: u64,
    ids: BTreeMap<(DeviceId, u8), u32>,
    next_id: u32,
    runs: BTreeMap<u32, Vec<Run>>,
    span: Option<(i64, i64)>,
}

impl Tail {
    /// Of a file with these series.
    pub(super) fn new(generation: u64, series: Vec<(Option<(DeviceId, u8)>, u32)>) -> Self {
        let next_id = series.iter().map(|(_, id)| id + 1).max().unwrap_or(0);
        let ids = series.into_iter().filter_map(|(name, id)| Some((name?, id))).collect();
        Self { generation, ids, next_id, ..Self::default() }
    }

    /// The number of a series, when it has one.
    pub(super) fn id(&self, device: &DeviceId, metric: u8) -> Option<u32> {
        self.ids.get(&(device.clone(), metric)).copied()
    }

    /// A number for a new series; `None` when there are too many.
    pub(super) fn add_series(&mut self, device: &DeviceId, metric: u8) -> Option<u32> {
        let id = self.next_id;
        if id >= SERIES_MAX {
            return None;
        }
        self.next_id += 1;
        self.ids.insert((device.clone(), metric), id);
        Some(id)
    }

    pub(super) fn push(&mut self, series: u32, point: Point) {
        let runs = self.runs.entry(series).or_default();
        if runs.last().is_none_or(|run| run.count() >= POINTS_MAX) {
            runs.push(Run::new(UnixMillis(0)));
        }
        if let Some(run) = runs.last_mut() {
            run.push(point);
        }
        let (first, last) = self.span.unwrap_or((point.at.0, point.at.0));
        self.span = Some((first.min(point.at.0), last.max(point.at.0)));
    }

    /// Whether a series has as many blocks as a generation may hold.
    pub(super) fn is_full(&self, series: u32) -> bool {
        self.runs.get(&series).is_some_and(|runs| {
            runs.len() >= PARTS_MAX && runs.last().is_some_and(|run| run.count() >= POINTS_MAX)
        })
    }

    /// Everything as blocks; `None` when there is nothing.
    pub(super) fn sealing(&self) -> Option<Sealing> {
        let mut blocks = Vec::new();
        for (series, runs) in &self.runs {
            for (part, run) in runs.iter().enumerate() {
                let key = key(self.generation, *series, part);
                blocks.push((key, run.block(key)));
            }
        }
        Some(Sealing { generation: self.generation, span: self.span?, blocks })
    }

    /// All of it became durable: the next samples belong to `generation`.
    pub(super) fn restart(&mut self, generation: u64) {
        self.generation = generation;
        self.runs.clear();
        self.span = None;
    }

    /// A copy of one series, to be read without the lock.
    pub(super) fn copy(&self, series: u32) -> Vec<Run> {
        self.runs.get(&series).cloned().unwrap_or_default()
    }

    /// Every sample with its series' name.
    pub(super) fn samples(&self) -> Vec<(DeviceId, u8, Point)> {
        let mut all = Vec::new();
        for ((device, metric), id) in &self.ids {
            for run in self.runs.get(id).into_iter().flatten() {
                all.extend(run.points().map_while(Result::ok).map(|point| (device.clone(), *metric, point)));
            }
        }
        all
    }
}
