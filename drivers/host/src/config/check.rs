//! What serde cannot see of a configuration: references, owners, ranges.

use std::collections::{BTreeMap, BTreeSet};

use drv_protocol::advert::Address;
use drv_protocol::ds18b20::Family;
use drv_protocol::i2c::Probe;
use drv_protocol::profile::{Class, OFFSETS, Profile};
use drv_protocol::scales;

use super::{BusKind, CabinetConfig, DEVICES_MAX, HostConfig, TagConfig, TagFamily, W1Config};
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
            if let Some(profile) = profiles.get(&steamer.profile).filter(|p| p.class != Class::Steamer) {
                return Err(at.fault("profile", "a profile of class steamer", &profile.name));
            }
            at.range("poll_ms", u64::from(steamer.poll_ms), 10, 3_600_000)?;
        }
        self.check_units(profiles)?;
        self.check_i2c()?;
        self.check_tags()?;
        self.check_sensors()
    }

    fn check_ids(&self) -> Result<(), HostError> {
        let mut seen = BTreeSet::new();
        let ids = (self.scale.iter().map(|d| ("scale", &*d.id)))
            .chain(self.cabinet.iter().map(|d| ("cabinet", &*d.id)))
            .chain(self.steamer.iter().map(|d| ("steamer", &*d.id)))
            .chain(self.tag.iter().map(|d| ("tag", &*d.id)));
        for (table, id) in ids {
            let at = At { table, id };
            if id.is_empty() || id.len() > 64 {
                return Err(at.fault("id", "1 to 64 characters", &format!("{} characters", id.len())));
            }
            if !seen.insert(id) {
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
            let line = scale.line();
            at.range("data_bits", u64::from(line.data_bits), 7, 8)?;
            at.range("stop_bits", u64::from(line.stop_bits), 1, 2)?;
            at.range("baud", u64::from(line.baud), 300, 4_000_000)?;
            at.range("interval_g", u64::from(scale.interval_g), 1, 1_000_000)?;
            at.range("capacity_g", u64::from(scale.capacity_g), 1, 100_000_000)?;
            at.range("poll_ms", u64::from(scale.poll_ms), 10, 3_600_000)?;
            at.range("min_gap_ms", u64::from(line.min_gap_ms), 0, 10_000)?;
            at.range("timeout_ms", u64::from(scale.timeout_ms), 5, 60_000)?;
            at.range("order_timeout_ms", u64::from(scale.order_timeout_ms), 5, 60_000)?;
            if line.data_bits == 7 && !scale.protocol.kind().seven_bits() {
                let name = scale.protocol.kind().name();
                return Err(at.fault("data_bits", &format!("8: {name} needs every bit"), "7"));
            }
            if let Err(error) = scales::open(scale.protocol.kind(), &scale.settings()) {
                let expected = format!("what {} takes", scale.protocol.kind().name());
                return Err(at.fault(error.setting(), &expected, &error.to_string()));
            }
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
        let modbus = (&cabinet.bus, cabinet.unit, &cabinet.profile);
        match (modbus, &cabinet.w1, &cabinet.i2c, &cabinet.ble) {
            ((Some(bus), Some(unit), Some(profile)), None, None, None) => {
                self.check_bus_ref(at, bus, unit)?;
                check_profile(at, profile, profiles)?;
                check_use(at, profiles.get(profile), cabinet.address_offset)
            }
            ((None, None, None), Some(sensor), None, None) if is_sensor_name(sensor) => Ok(()),
            ((None, None, None), Some(sensor), None, None) => Err(at.fault(
                "w1",
                "a sensor folder like 28-0316a2794c1f (families 10, 22, 28, 3b, 42)",
                sensor,
            )),
            ((None, None, None), None, Some(_), None) | ((None, None, None), None, None, Some(_)) => Ok(()),
            _ => {
                Err(at.fault("bus", "either bus + unit + profile or w1 or i2c or ble", "another combination"))
            }
        }
    }

    fn check_i2c(&self) -> Result<(), HostError> {
        let (mut ids, mut paths, mut taken) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for bus in &self.i2c {
            let at = At { table: "i2c", id: &bus.id };
            if !ids.insert(bus.id.as_str()) {
                return Err(at.fault("id", "a name used once", "a second bus of that name"));
            }
            if !paths.insert(bus.path.as_str()) {
                return Err(at.fault("path", "a device with one owner", &bus.path));
            }
        }
        for (cabinet, source) in self.cabinet.iter().filter_map(|c| Some((c, c.i2c.as_ref()?))) {
            let at = At { table: "cabinet", id: &cabinet.id };
            if !ids.contains(source.bus.as_str()) {
                return Err(at.fault("i2c.bus", "the id of an [[i2c]]", &source.bus));
            }
            Probe::new(source.chip, source.address)
                .map_err(|error| at.fault("i2c.address", "one that the chip can have", &error.to_string()))?;
            if let Some(other) = taken.insert((source.bus.as_str(), source.address), cabinet.id.as_str()) {
                let found = format!("{:#04x}, which {other} takes", source.address);
                return Err(at.fault("i2c.address", "an address used once on its bus", &found));
            }
        }
        match &self.w1 {
            Some(W1Config { resolution: Some(bits), .. }) => {
                At { table: "w1", id: "-" }.range("resolution", u64::from(*bits), 9, 12)
            }
            _ => Ok(()),
        }
    }

    fn check_sensors(&self) -> Result<(), HostError> {
        let mut addresses: BTreeSet<Address> = self.tag.iter().filter_map(|tag| tag.address.get()).collect();
        for (cabinet, source) in self.cabinet.iter().filter_map(|c| Some((c, c.ble.as_ref()?))) {
            let at = At { table: "cabinet", id: &cabinet.id };
            let Some(address) = Address::parse(&source.address) else {
                return Err(at.fault("ble.address", "six hex bytes like A4:C1:38:00:11:22", &source.address));
            };
            if !addresses.insert(address) {
                return Err(at.fault("ble.address", "an address used once", &source.address));
            }
            if source.key_file.is_some() && !source.format.can_seal() {
                return Err(at.fault(
                    "ble.key_file",
                    "a format that encrypts (bthome)",
                    source.format.name(),
                ));
            }
            if self.ble.is_none() {
                return Err(at.fault("ble", "a [ble] table for the sensor", "none"));
            }
        }
        Ok(())
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
            let found = || tag.address.to_string();
            let Some(address) = tag.address.get() else {
                return Err(at.fault("address", "six hex bytes like FF:FF:92:00:00:01", &found()));
            };
            if !addresses.insert(address) {
                return Err(at.fault("address", "an address used once", &found()));
            }
            self.check_family(at, tag)?;
        }
        self.check_labels()?;
        if let Some(ble) = &self.ble {
            let at = At { table: "ble", id: "-" };
            at.range("attempts", u64::from(ble.attempts), 1, 10)?;
            at.range("scan_ms", u64::from(ble.scan_ms), 100, 3_600_000)?;
            at.range("connect_timeout_ms", u64::from(ble.connect_timeout_ms), 100, 120_000)?;
            at.range("operation_timeout_ms", u64::from(ble.operation_timeout_ms), 50, 120_000)?;
            at.range("transfer_timeout_ms", u64::from(ble.transfer_timeout_ms), 100, 600_000)?;
            at.range("lost_after_ms", u64::from(ble.lost_after_ms), 500, 86_400_000)?;
            at.range("connections", u64::from(ble.connections), 1, 16)?;
            if ble.canary_ms != 0 {
                at.range("canary_ms", u64::from(ble.canary_ms), 500, 86_400_000)?;
            }
            if ble.sync_key.as_ref().is_some_and(|key| key.material().is_none()) {
                return Err(at.fault("sync_key", "48 hex digits: key, then vector", "something else"));
            }
        } else if let Some(tag) = self.tag.first() {
            return Err(At { table: "tag", id: &tag.id }.fault("ble", "a [ble] table for the tags", "none"));
        }
        Ok(())
    }
}

impl HostConfig {
    /// The keys that a family needs, and those that mean nothing to it.
    fn check_family(&self, at: At<'_>, tag: &TagConfig) -> Result<(), HostError> {
        let label = tag.family == TagFamily::Esl;
        if !label && tag.model == 0 {
            return Err(at.fault("model", "the model number that the tag advertises", "0 or nothing"));
        }
        if !label && (tag.esl.is_some() || tag.response_key.is_some()) {
            return Err(at.fault("family", "esl for a tag with esl or response_key", tag.family.name()));
        }
        if label && (tag.inverted || tag.scan.is_some()) {
            return Err(at.fault("family", "gicisky or oepl for a tag with inverted or scan", "esl"));
        }
        if tag.family != TagFamily::Gicisky && tag.header.is_some() {
            return Err(at.fault("header", "nothing: only gicisky streams have a header", "a value"));
        }
        if !label {
            return Ok(());
        }
        let Some(address) = tag.esl else {
            return Err(at.fault("esl", "{ id, group }, the label's address", "nothing"));
        };
        at.range("esl.id", u64::from(address.id), 0, 254)?;
        at.range("esl.group", u64::from(address.group), 0, 127)?;
        if tag.response_key.as_ref().and_then(super::KeyText::material).is_none() {
            return Err(at.fault(
                "response_key",
                "48 hex digits: key, then vector",
                "nothing or something else",
            ));
        }
        if self.ble.as_ref().is_some_and(|ble| ble.sync_key.is_none()) {
            let at = At { table: "ble", id: "-" };
            return Err(at.fault("sync_key", "48 hex digits, as there are ESL labels", "nothing"));
        }
        Ok(())
    }

    /// A label number may be used once in its group: two labels with one would answer each other's commands.
    fn check_labels(&self) -> Result<(), HostError> {
        let mut taken = BTreeMap::new();
        for tag in self.tag.iter().filter(|tag| tag.family == TagFamily::Esl) {
            let Some(address) = tag.esl else { continue };
            if let Some(other) = taken.insert((address.group, address.id), &tag.id) {
                let at = At { table: "tag", id: &tag.id };
                return Err(at.fault(
                    "esl",
                    "a number used once in its group",
                    &format!("the address of {other}"),
                ));
            }
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

/// A cabinet is read with a cabinet's profile, at addresses that exist.
fn check_use(at: At<'_>, profile: Option<&Profile>, offset: Option<i32>) -> Result<(), HostError> {
    let Some(profile) = profile else { return Ok(()) };
    if !profile.class.serves_cabinet() {
        return Err(at.fault("profile", "a profile of class cabinet, probe or controller", &profile.name));
    }
    let Some(address_offset) = offset else { return Ok(()) };
    if !OFFSETS.contains(&address_offset) {
        return Err(at.fault("address_offset", "-1 or 0", &address_offset.to_string()));
    }
    let moved = Profile { address_offset, ..profile.clone() };
    let lost = moved.registers.iter().find(|register| moved.wire_address(register.address).is_none());
    lost.map_or(Ok(()), |register| {
        let expected = format!("an offset that leaves address {} on the wire", register.address);
        Err(at.fault("address_offset", &expected, &address_offset.to_string()))
    })
}

/// A sensor folder name must not be a path: it is joined to the 1-Wire root.
fn is_sensor_name(name: &str) -> bool {
    name.len() <= 32 && Family::of_name(name).is_some()
}
