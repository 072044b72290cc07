//! What serde cannot see of a configuration: references, owners, ranges.

use std::collections::{BTreeMap, BTreeSet};

use drv_protocol::profile::Profile;

use super::{BusKind, CabinetConfig, DEVICES_MAX, HostConfig};
use crate::error::HostError;
use crate::ports::PortName;

impl HostConfig {
    /// Checks what serde cannot see.
    ///
    /// # Errors
    /// The first fault, with table, id, key, expectation and finding.
    pub fn check(&self, profiles: &BTreeMap<String, Profile>) -> Result<(), HostError> {
        self.check_ids()?;
        self.check_buses()?;
        self.check_scales()?;
        for cabinet in &self.cabinet {
            self.check_cabinet(cabinet, profiles)?;
        }
        for steamer in &self.steamer {
            let at = At { table: "steamer", id: &steamer.id };
            self.check_bus_ref(at, &steamer.bus, steamer.unit)?;
            check_profile(at, &steamer.profile, profiles)?;
            at.range("poll_ms", u64::from(steamer.poll_ms), 10, 3_600_000)?;
        }
        self.check_units(profiles)?;
        self.check_tags()
    }

    fn check_ids(&self) -> Result<(), HostError> {
        let mut seen = BTreeSet::new();
        let ids = (self.scale.iter().map(|d| ("scale", &d.id)))
            .chain(self.cabinet.iter().map(|d| ("cabinet", &d.id)))
            .chain(self.steamer.iter().map(|d| ("steamer", &d.id)))
            .chain(self.tag.iter().map(|d| ("tag", &d.id)));
        for (table, id) in ids {
            let at = At { table, id };
            if id.is_empty() || id.len() > 64 {
                return Err(at.fault("id", "1 to 64 characters", &format!("{} characters", id.len())));
            }
            if !seen.insert(id.as_str()) {
                return Err(at.fault("id", "a name used once", "a second device of that name"));
            }
        }
        if seen.len() > DEVICES_MAX {
            let at = At { table: "host", id: "-" };
            return Err(at.fault("devices", &format!("at most {DEVICES_MAX}"), &seen.len().to_string()));
        }
        Ok(())
    }

    fn check_buses(&self) -> Result<(), HostError> {
        let mut ids = BTreeSet::new();
        for bus in &self.bus {
            let at = At { table: "bus", id: &bus.id };
            if !ids.insert(&bus.id) {
                return Err(at.fault("id", "a name used once", "a second bus of that name"));
            }
            match bus.kind {
                BusKind::ModbusRtu if bus.port.is_none() => {
                    return Err(at.fault("port", "a serial device path (kind modbus-rtu)", "nothing"));
                }
                BusKind::ModbusTcp if bus.address.is_none() => {
                    return Err(at.fault("address", "host:port (kind modbus-tcp)", "nothing"));
                }
                BusKind::ModbusRtu | BusKind::ModbusTcp => {}
            }
            at.range("timeout_ms", u64::from(bus.timeout_ms), 5, 60_000)?;
            at.range("turnaround_ms", u64::from(bus.turnaround_ms), 0, 10_000)?;
            at.range("mute_backoff_max_ms", u64::from(bus.mute_backoff_max_ms), 10, 3_600_000)?;
            at.range("stop_bits", u64::from(bus.stop_bits), 1, 2)?;
            at.range("baud", u64::from(bus.baud.unwrap_or(9600)), 300, 4_000_000)?;
        }
        Ok(())
    }

    fn check_scales(&self) -> Result<(), HostError> {
        let mut ports: BTreeMap<&str, &str> = BTreeMap::new();
        let rtu = self.bus.iter().filter_map(|b| b.port.as_deref().map(|port| ("bus", b.id.as_str(), port)));
        let scales = self.scale.iter().map(|s| ("scale", s.id.as_str(), s.port.as_str()));
        for (table, id, port) in rtu.chain(scales) {
            PortName::parse(port).map_err(|fault| {
                At { table, id }.fault("port", "a port name (see drv_host::ports)", &fault.to_string())
            })?;
            if let Some(other) = ports.insert(port, id) {
                return Err(At { table, id }.fault(
                    "port",
                    "a port with one owner",
                    &format!("owner {other}"),
                ));
            }
        }
        for scale in &self.scale {
            let at = At { table: "scale", id: &scale.id };
            at.range("data_bits", u64::from(scale.data_bits), 7, 8)?;
            at.range("baud", u64::from(scale.baud), 300, 4_000_000)?;
            at.range("interval_g", u64::from(scale.interval_g), 1, 1_000_000)?;
            at.range("capacity_g", u64::from(scale.capacity_g), 1, 100_000_000)?;
            at.range("poll_ms", u64::from(scale.poll_ms), 10, 3_600_000)?;
            at.range("min_gap_ms", u64::from(scale.min_gap_ms), 0, 10_000)?;
            at.range("timeout_ms", u64::from(scale.timeout_ms), 5, 60_000)?;
        }
        Ok(())
    }

    fn check_cabinet(
        &self,
        cabinet: &CabinetConfig,
        profiles: &BTreeMap<String, Profile>,
    ) -> Result<(), HostError> {
        let at = At { table: "cabinet", id: &cabinet.id };
        at.range("poll_ms", u64::from(cabinet.poll_ms), 10, 3_600_000)?;
        match (&cabinet.bus, cabinet.unit, &cabinet.profile, &cabinet.w1) {
            (Some(bus), Some(unit), Some(profile), None) => {
                self.check_bus_ref(at, bus, unit)?;
                check_profile(at, profile, profiles)
            }
            (None, None, None, Some(sensor)) if is_sensor_name(sensor) => Ok(()),
            (None, None, None, Some(sensor)) => {
                Err(at.fault("w1", "a sensor folder like 28-0316a2794c1f", sensor))
            }
            _ => Err(at.fault("bus", "either bus + unit + profile or w1", "another combination")),
        }
    }

    fn check_bus_ref(&self, at: At<'_>, bus: &str, unit: u8) -> Result<(), HostError> {
        at.range("unit", u64::from(unit), 1, 247)?;
        if self.bus.iter().any(|b| b.id == bus) {
            Ok(())
        } else {
            Err(at.fault("bus", "the id of a [[bus]]", bus))
        }
    }

    /// A device may take further units of its bus (its profile says so); none may be taken twice.
    fn check_units(&self, profiles: &BTreeMap<String, Profile>) -> Result<(), HostError> {
        let mut owners: BTreeMap<(&str, u8), &str> = BTreeMap::new();
        let cabinets = self
            .cabinet
            .iter()
            .filter_map(|c| Some(("cabinet", &c.id, c.bus.as_deref()?, c.unit?, c.profile.as_deref()?)));
        let steamers =
            self.steamer.iter().map(|s| ("steamer", &s.id, s.bus.as_str(), s.unit, s.profile.as_str()));
        for (table, id, bus, unit, profile) in cabinets.chain(steamers) {
            let further = profiles.get(profile).map_or(0, Profile::unit_offset_max);
            let last = unit.saturating_add(further);
            (At { table, id }).range("unit", u64::from(last), 1, 247)?;
            for taken in unit..=last {
                if let Some(other) = owners.insert((bus, taken), id) {
                    let found = format!("unit {taken}, which {other} takes");
                    return Err(At { table, id }.fault("unit", "units used once on their bus", &found));
                }
            }
        }
        Ok(())
    }

    fn check_tags(&self) -> Result<(), HostError> {
        let mut addresses = BTreeSet::new();
        for tag in &self.tag {
            let at = At { table: "tag", id: &tag.id };
            if !is_address(&tag.address) {
                return Err(at.fault("address", "six hex bytes like FF:FF:92:00:00:01", &tag.address));
            }
            if !addresses.insert(tag.address.to_ascii_uppercase()) {
                return Err(at.fault("address", "an address used once", &tag.address));
            }
        }
        if let Some(ble) = &self.ble {
            let at = At { table: "ble", id: "-" };
            at.range("attempts", u64::from(ble.attempts), 1, 10)?;
            at.range("scan_ms", u64::from(ble.scan_ms), 100, 3_600_000)?;
            at.range("connect_timeout_ms", u64::from(ble.connect_timeout_ms), 100, 120_000)?;
            at.range("operation_timeout_ms", u64::from(ble.operation_timeout_ms), 50, 120_000)?;
            at.range("transfer_timeout_ms", u64::from(ble.transfer_timeout_ms), 100, 600_000)?;
            at.range("lost_after_ms", u64::from(ble.lost_after_ms), 500, 86_400_000)?;
        } else if let Some(tag) = self.tag.first() {
            return Err(At { table: "tag", id: &tag.id }.fault("ble", "a [ble] table for the tags", "none"));
        }
        Ok(())
    }
}

/// Place of a fault in the configuration.
#[derive(Clone, Copy)]
struct At<'a> {
    table: &'static str,
    id: &'a str,
}

impl At<'_> {
    fn fault(self, key: &'static str, expected: &str, found: &str) -> HostError {
        HostError::Config {
            table: self.table,
            id: self.id.to_owned(),
            key,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }

    fn range(self, key: &'static str, value: u64, min: u64, max: u64) -> Result<(), HostError> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(self.fault(key, &format!("{min} to {max}"), &value.to_string()))
    }
}

fn check_profile(at: At<'_>, name: &str, profiles: &BTreeMap<String, Profile>) -> Result<(), HostError> {
    if profiles.contains_key(name) {
        return Ok(());
    }
    let known = profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    Err(at.fault("profile", &format!("one of: {known}"), name))
}

/// A sensor folder name must not be a path: it is joined to the 1-Wire root.
fn is_sensor_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_address(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    parts.len() == 6 && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}
