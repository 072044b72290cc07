//! What the shape of the file cannot say: ranges, references between tables, names. All complaints are collected.

use super::tree::{self, Node};
use super::{Config, ConfigError};
use drv_host::HostError;
use drv_host::config::TagFamily;
use sync_model::DeviceId;

struct Complaints<'n> {
    root: &'n Node,
    list: Vec<ConfigError>,
}

impl Complaints<'_> {
    fn add(&mut self, key: &str, expected: &str, found: Option<String>) {
        let (place, there) = tree::look(self.root, key);
        let found = found.unwrap_or(there);
        self.list.push(ConfigError { place, key: key.into(), expected: expected.into(), found });
    }

    fn require(&mut self, ok: bool, key: &str, expected: &str) {
        if !ok {
            self.add(key, expected, None);
        }
    }
}

/// Every complaint about a configuration that has the right shape.
pub(super) fn check(config: &Config, root: &Node) -> Vec<ConfigError> {
    let mut complaints = Complaints { root, list: Vec::new() };
    sections(config, &mut complaints);
    hq(config, &mut complaints);
    channels(config, &mut complaints);
    devices(config, &mut complaints);
    labels(config, &mut complaints);
    complaints.list
}

fn sections(config: &Config, complaints: &mut Complaints<'_>) {
    let Config { store, ledger, api, telemetry, prices, steam, cabinets, .. } = config;
    complaints.require(store.id > 0, "store.id", "a store number from 1");
    let offset = store.utc_offset_minutes;
    complaints.require(
        (-14 * 60..=14 * 60).contains(&offset),
        "store.utc_offset_minutes",
        "minutes from -840 to 840",
    );
    complaints.require(
        ledger.max_bytes.is_none_or(|bytes| bytes >= 64 * 1024),
        "ledger.max_bytes",
        "at least 65536 bytes",
    );
    complaints.require((8..=65_536).contains(&ledger.queue), "ledger.queue", "8 to 65536 jobs");
    complaints.require(
        (super::KEEP_DAYS_MIN..=36_500).contains(&ledger.keep_days),
        "ledger.keep_days",
        "90 to 36500 days (returns, idempotency keys and HQ's backups reach back that far)",
    );
    complaints.require(
        api.listen.ip().is_loopback(),
        "api.listen",
        "a loopback address such as 127.0.0.1:7070 (tills elsewhere come through a local proxy)",
    );
    complaints.require((1..=4096).contains(&api.concurrency), "api.concurrency", "1 to 4096 requests");
    complaints.require((100..=60_000).contains(&api.timeout_ms), "api.timeout_ms", "100 to 60000");
    // sun_path holds 108 bytes including the closing zero.
    if api.socket.as_os_str().len() > 107 {
        complaints.add("api.socket", "a path of at most 107 bytes", None);
    }
    complaints.require(telemetry.keep_days > 0, "telemetry.keep_days", "at least 1 day");
    complaints.require(telemetry.max_bytes >= 8 << 20, "telemetry.max_bytes", "at least 8388608 bytes");
    complaints.require((10..=60_000).contains(&prices.tick_ms), "prices.tick_ms", "10 to 60000");
    complaints.require(
        (1..=64).contains(&prices.tags_in_flight),
        "prices.tags_in_flight",
        "1 to 64 tag jobs",
    );
    complaints.require(
        prices.retry_min_s >= 1 && prices.retry_min_s <= prices.retry_max_s,
        "prices.retry_min_s",
        "1 up to prices.retry_max_s",
    );
    complaints.require(prices.attempts >= 1, "prices.attempts", "at least 1 try");
    let seconds = [
        (prices.rest_s, "prices.rest_s"),
        (prices.due_s, "prices.due_s"),
        (prices.starve_s, "prices.starve_s"),
    ];
    for (value, name) in seconds {
        complaints.require((1..=86_400).contains(&value), name, "1 to 86400 seconds");
    }
    complaints.require(prices.refresh_s <= 300, "prices.refresh_s", "0 to 300 seconds");
    complaints.require(prices.check_days <= 366, "prices.check_days", "0 (never) to 366 days");
    complaints.require(
        (40_000..=99_000).contains(&steam.hot_hold_mc),
        "steam.hot_hold_mc",
        "40000 to 99000 (60000 in China, 57000 after the FDA Food Code)",
    );
    complaints.require(cabinets.difference_mc <= 20_000, "cabinets.difference_mc", "0 to 20000");
}

fn hq(config: &Config, complaints: &mut Complaints<'_>) {
    let Some(hq) = &config.hq else { return };
    complaints.require(!hq.host.is_empty() && hq.host.len() <= 253, "hq.host", "a host name or address");
    complaints.require(hq.port > 0, "hq.port", "a port from 1");
    complaints.require(hq.keep_alive_s >= 1, "hq.keep_alive_s", "at least 1");
    let block_max = sync_core::BLOCK_BYTES_MAX;
    complaints.require(
        (sync_model::RECORD_BYTES_MAX..=block_max).contains(&hq.block_bytes),
        "hq.block_bytes",
        &format!("{} to {block_max}", sync_model::RECORD_BYTES_MAX),
    );
    complaints.require(
        (hq.block_bytes..=16 * 1024 * 1024).contains(&hq.window_bytes),
        "hq.window_bytes",
        "hq.block_bytes up to 16777216",
    );
    complaints.require(hq.linger_ms <= 60_000, "hq.linger_ms", "0 to 60000");
    complaints.require(
        hq.retry_min_ms >= 10 && hq.retry_min_ms <= hq.retry_max_ms,
        "hq.retry_min_ms",
        "10 up to hq.retry_max_ms",
    );
    complaints.require(hq.hello_s >= 1, "hq.hello_s", "at least 1");
}

/// What is wrong with the files of `[hq.tls]`: missing, damaged, not belonging together, or another store's.
pub(super) fn identity(config: &Config, root: &Node) -> Vec<ConfigError> {
    let Some(tls) = config.hq.as_ref().and_then(|hq| hq.tls.as_ref()) else { return Vec::new() };
    let mut complaints = Complaints { root, list: Vec::new() };
    match tls.files().check() {
        Ok(own) if own.name != config.store.id.to_string() => {
            let expected = format!("the certificate of store {}", config.store.id);
            complaints.add("hq.tls.cert", &expected, Some(format!("that of '{}'", own.name)));
        }
        Ok(_) => {}
        Err(error) => {
            let (sync_mqtt::TlsError::File { file, .. } | sync_mqtt::TlsError::Unfit { file, .. }) = &error;
            let key = match file {
                file if *file == tls.key => "hq.tls.key",
                file if *file == tls.cert => "hq.tls.cert",
                _ => "hq.tls.ca",
            };
            complaints.add(key, "CA, certificate and key that belong together", Some(error.to_string()));
        }
    }
    complaints.list
}

fn channels(config: &Config, complaints: &mut Complaints<'_>) {
    for (name, permille) in &config.channels {
        let key = format!("channels.{name}");
        complaints.require(*permille <= 1_000, &key, "a share of 0 to 1000 thousandths");
        let fits = !name.is_empty() && name.len() <= 16 && !name.chars().any(char::is_control);
        if !fits {
            complaints.add(&key, "a channel name of 1 to 16 bytes", Some(format!("\"{name}\"")));
        }
    }
}

/// Both templates exist, and every tag has a layout in the everyday one.
fn labels(config: &Config, complaints: &mut Complaints<'_>) {
    let names: Vec<&str> = config.templates.keys().map(String::as_str).collect();
    let section = &config.labels;
    for (key, name) in [("labels.template", &section.template), ("labels.promotion", &section.promotion)] {
        if !config.templates.contains_key(name) {
            complaints.add(
                key,
                &format!("one of the templates: {}", names.join(", ")),
                Some(format!("\"{name}\"")),
            );
        }
    }
    let Some(template) = config.templates.get(&section.template) else { return };
    for (index, tag) in config.host.tag.iter().enumerate() {
        let fits = |model: drv_protocol::gicisky::Model| template.fits(model.width, model.height);
        if tag.panel().is_some_and(|model| !fits(model)) {
            let expected = format!("a panel that template {} has a layout for", section.template);
            complaints.add(&format!("tag[{index}].model"), &expected, None);
        }
    }
}

fn devices(config: &Config, complaints: &mut Complaints<'_>) {
    let host = &config.host;
    let tables: [(&str, Vec<&str>); 4] = [
        ("scale", host.scale.iter().map(|device| device.id.as_str()).collect()),
        ("cabinet", host.cabinet.iter().map(|device| device.id.as_str()).collect()),
        ("steamer", host.steamer.iter().map(|device| device.id.as_str()).collect()),
        ("tag", host.tag.iter().map(|device| &*device.id).collect()),
    ];
    for (table, ids) in &tables {
        for (index, id) in ids.iter().enumerate() {
            if DeviceId::new(id).is_err() {
                complaints.add(&format!("{table}[{index}].id"), "1 to 32 characters of a-z 0-9 -", None);
            }
        }
    }
    for (index, cabinet) in host.cabinet.iter().enumerate() {
        if let (Some(high), Some(low)) = (cabinet.high_mc, cabinet.low_mc)
            && low >= high
        {
            complaints.add(&format!("cabinet[{index}].low_mc"), &format!("less than high_mc {high}"), None);
        }
    }
    for (index, tag) in host.tag.iter().enumerate() {
        if tag.family == TagFamily::Esl {
            // No image reaches such a label, so no price on it can be confirmed.
            complaints.add(
                &format!("tag[{index}].family"),
                "a family that takes images: gicisky or oepl",
                None,
            );
        } else if tag.panel().is_none() {
            complaints.add(&format!("tag[{index}].model"), "a model of the built-in table", None);
        }
    }
    if let Err(error) = host.check(&config.profiles) {
        complaints.list.push(host_complaint(config, complaints.root, error));
    }
}

/// Gives a complaint of the host drivers its place: the table with that id.
fn host_complaint(config: &Config, root: &Node, error: HostError) -> ConfigError {
    let HostError::Config { table, id, key, expected, found } = error else {
        return ConfigError {
            place: root.place.clone(),
            key: String::new(),
            expected: "devices that can be started".into(),
            found: error.to_string(),
        };
    };
    let host = &config.host;
    let ids: Vec<&str> = match table {
        "bus" => host.bus.iter().map(|entry| entry.id.as_str()).collect(),
        "i2c" => host.i2c.iter().map(|entry| entry.id.as_str()).collect(),
        "scale" => host.scale.iter().map(|entry| entry.id.as_str()).collect(),
        "cabinet" => host.cabinet.iter().map(|entry| entry.id.as_str()).collect(),
        "steamer" => host.steamer.iter().map(|entry| entry.id.as_str()).collect(),
        "tag" => host.tag.iter().map(|entry| &*entry.id).collect(),
        _ => Vec::new(),
    };
    // A name used twice is reported at its last use.
    let path = match ids.iter().rposition(|known| *known == id) {
        Some(index) => format!("{table}[{index}].{key}"),
        None => format!("{table}.{key}"),
    };
    ConfigError { place: tree::find(root, &path), key: path, expected, found }
}
