//! What the driver tests share: a receiver of events that waits for one against a deadline.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use drv_host::{DeviceBody, DeviceEvent, Health, HealthState, Host, HostConfig};
use drv_protocol::profile::Profile;
use tokio::sync::mpsc;

/// Long enough for a busy machine, short enough to end a broken test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The shipped device profiles.
pub(crate) fn profiles() -> BTreeMap<String, Profile> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs/devices");
    drv_host::profiles::load(&folder).unwrap()
}

/// A running host with the receiving end of its events.
pub(crate) struct Bench {
    pub(crate) host: Host,
    pub(crate) events: mpsc::Receiver<DeviceEvent>,
}

impl Bench {
    /// Starts a host from configuration text.
    pub(crate) fn start(config: &str) -> Self {
        Self::with_capacity(config, 1024)
    }

    /// The same with a channel of another size.
    pub(crate) fn with_capacity(config: &str, capacity: usize) -> Self {
        Self::with_profiles(config, capacity, &profiles())
    }

    /// The same with other profiles than the shipped ones.
    pub(crate) fn with_profiles(config: &str, capacity: usize, profiles: &BTreeMap<String, Profile>) -> Self {
        let config: HostConfig = toml::from_str(config).unwrap();
        let (sender, events) = mpsc::channel(capacity);
        let host = drv_host::start(&config, profiles, sender).unwrap();
        Self { host, events }
    }

    /// Receives until `pick` takes an event of `device`.
    pub(crate) async fn wait<T>(
        &mut self,
        device: &str,
        what: &str,
        pick: impl Fn(&DeviceBody) -> Option<T>,
    ) -> T {
        let mut last = Vec::new();
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the host runs");
                if &*event.device == device {
                    if let Some(found) = pick(&event.body) {
                        return found;
                    }
                    if last.len() == 8 {
                        last.remove(0);
                    }
                    last.push(event.body);
                }
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, search).await;
        outcome.unwrap_or_else(|_| panic!("{device}: waited for {what}; last events: {last:#?}"))
    }

    /// Waits until `device` reports a health state.
    pub(crate) async fn wait_health(&mut self, device: &str, state: HealthState) -> Health {
        let pick = |body: &DeviceBody| match body {
            DeviceBody::Health(health) if health.state == state => Some(health.clone()),
            _ => None,
        };
        self.wait(device, state.name(), pick).await
    }

    /// The present health of a device.
    pub(crate) fn health(&self, device: &str) -> Health {
        let list = self.host.health();
        list.into_iter().find(|entry| &*entry.device == device).expect("configured").health
    }

    /// Waits until the health of a device is as `fits` wants it: what a loaded machine may pass through on the way
    /// (a silence longer than the limit, a count that is not there yet) is no failure.
    pub(crate) async fn settled(&self, device: &str, what: &str, fits: impl Fn(&Health) -> bool) {
        let reached = || async { fits(&self.health(device)) };
        let outcome = hil_rig::until(what, PATIENCE, reached).await;
        outcome.unwrap_or_else(|late| panic!("{device}: {late}; {:?}", self.health(device)));
    }
}
