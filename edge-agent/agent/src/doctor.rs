//! The doctor: the first ten checks a technician would make, in the order in which to look. Nothing here repairs.

use crate::config;
use crate::daemon::Daemon;
use crate::listen::SOCKET_MODE;
use crate::space::Pressure;
use edge_api::{Check, Doctor};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use sync_model::ClockQuality;

/// Longest wait for the broker's port.
const BROKER_TIME: Duration = Duration::from_secs(2);
/// Silence of HQ that is worth a warning while facts wait.
const ACK_AGE_MS: i64 = 15 * 60_000;
/// Records checked by the quick look at the chain.
const QUICK_RECORDS: u64 = 512;

fn check(name: &str, state: &str, found: impl Into<String>, advice: &str) -> Check {
    let advice = if state == "ok" { String::new() } else { advice.to_owned() };
    Check { name: name.into(), state: state.into(), found: found.into(), advice }
}

/// Runs every check.
pub async fn examine(daemon: &Arc<Daemon>) -> Doctor {
    Doctor {
        checks: vec![
            configuration(daemon).await,
            ledger(daemon).await,
            space(daemon),
            clock(daemon),
            broker(daemon).await,
            headquarters(daemon),
            devices(daemon),
            alarms(daemon).await,
            socket(daemon),
            telemetry(daemon),
            backup(daemon).await,
        ],
    }
}

async fn configuration(daemon: &Daemon) -> Check {
    let path = daemon.config().path.clone();
    let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
    match loaded {
        Ok(Ok(config)) => check("config", "ok", format!("{} files are fine", config.files.len()), ""),
        Ok(Err(errors)) => check(
            "config",
            "fail",
            errors.to_string(),
            "correct the file; the daemon runs on with the configuration it read before",
        ),
        Err(error) => check("config", "fail", error.to_string(), "look at the log"),
    }
}

/// The end of the chain is recomputed; `ledger verify` looks at all of it.
async fn ledger(daemon: &Arc<Daemon>) -> Check {
    let Some(log) = daemon.ledger.log() else {
        return check("ledger", "fail", "no log is open", "look at the log of the daemon");
    };
    match daemon.read(move |reader| reader.check_end(log, QUICK_RECORDS)).await {
        Ok(Some(head)) => check("ledger", "ok", format!("{log} up to {head}, end of the chain fits"), ""),
        Ok(None) => check("ledger", "fail", format!("{log} is not in the file"), "run edgectl ledger verify"),
        Err(error) => check("ledger", "fail", error.to_string(), "run edgectl ledger verify"),
    }
}

fn space(daemon: &Daemon) -> Check {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let found = format!(
        "{} MiB free, reserve {} MiB",
        mib(daemon.space.free_bytes()),
        mib(daemon.space.reserve_bytes())
    );
    match daemon.space.pressure() {
        Pressure::None => check("ledger-space", "ok", found, ""),
        Pressure::Tight => check("ledger-space", "warn", found, "free space soon: raw samples are shed"),
        Pressure::Full => check("ledger-space", "fail", found, "free space now: tills are refused"),
    }
}

fn clock(daemon: &Daemon) -> Check {
    match daemon.clock.quality() {
        ClockQuality::Synced => check("clock", "ok", "synchronized", ""),
        ClockQuality::Unsynced => {
            check("clock", "warn", "runs free", "connect a time source, or set the clock by hand")
        }
        ClockQuality::Suspect => check(
            "clock",
            "fail",
            "jumped, or contradicts the ledger",
            "set the clock; facts are marked meanwhile",
        ),
    }
}

async fn broker(daemon: &Daemon) -> Check {
    let Some(hq) = daemon.config().hq.clone() else {
        return check("broker", "skip", "no headquarters is configured", "");
    };
    let address = format!("{}:{}", hq.host, hq.port);
    let connect = tokio::net::TcpStream::connect((hq.host.as_str(), hq.port));
    match tokio::time::timeout(BROKER_TIME, connect).await {
        Ok(Ok(_)) => check("broker", "ok", format!("{address} answers"), ""),
        Ok(Err(error)) => {
            check("broker", "fail", format!("{address}: {error}"), "check the uplink; trading goes on")
        }
        Err(_) => {
            check("broker", "fail", format!("{address}: no answer"), "check the uplink; trading goes on")
        }
    }
}

fn headquarters(daemon: &Daemon) -> Check {
    if daemon.config().hq.is_none() {
        return check("headquarters", "skip", "no headquarters is configured", "");
    }
    let state = daemon.settle.get();
    let lag = daemon.settle.lag();
    if let Some(ahead) = state.ahead {
        let found = format!("HQ has {} up to {}, the ledger ends at {}", ahead.log, ahead.upto, ahead.head);
        return check("headquarters", "fail", found, "the ledger went back in time: call the technician");
    }
    if let Some(outdated) = state.outdated {
        let advice = "HQ was restored from a backup older than ledger.keep_days: it needs a newer one";
        return check("headquarters", "fail", outdated.to_string(), advice);
    }
    if state.logs.iter().any(|log| log.stuck) {
        return check(
            "headquarters",
            "fail",
            format!("HQ refuses a record or does not answer, {lag} wait"),
            "call headquarters; nothing is lost",
        );
    }
    let quiet = match state.last_ack_ms {
        Some(at) => daemon.clock.wall_ms().saturating_sub(at) > ACK_AGE_MS,
        None => true,
    };
    if lag > 0 && quiet {
        return check(
            "headquarters",
            "warn",
            format!("{lag} facts wait for an ack"),
            "check the uplink; nothing is lost",
        );
    }
    check("headquarters", "ok", format!("{lag} facts under way"), "")
}

fn devices(daemon: &Daemon) -> Check {
    let (lost, some) = daemon.registry.lost(10);
    if lost == 0 {
        return check("devices", "ok", format!("{} configured, none lost", daemon.registry.count()), "");
    }
    check(
        "devices",
        "fail",
        format!("{lost} lost: {}", some.join(", ")),
        "check power and cable; edgectl device show says how each is connected",
    )
}

async fn alarms(daemon: &Arc<Daemon>) -> Check {
    let store = daemon.store;
    match daemon.read(move |reader| reader.open_alarms(store)).await {
        Ok(rows) => {
            let waiting = rows.iter().filter(|row| row.acknowledged.is_none()).count();
            match waiting {
                0 => check("alarms", "ok", format!("{} open, all seen", rows.len()), ""),
                _ => check("alarms", "warn", format!("{waiting} not acknowledged"), "edgectl alarm list"),
            }
        }
        Err(error) => check("alarms", "fail", error.to_string(), "run edgectl ledger verify"),
    }
}

fn socket(daemon: &Daemon) -> Check {
    let path = daemon.config().api.socket.clone();
    match std::fs::metadata(&path) {
        Ok(found) if found.permissions().mode() & 0o777 == SOCKET_MODE => {
            check("socket", "ok", format!("{} has mode 0660", path.display()), "")
        }
        Ok(found) => check(
            "socket",
            "warn",
            format!("{} has mode {:04o}, expected 0660", path.display(), found.permissions().mode() & 0o777),
            "restart the daemon: it sets the mode",
        ),
        Err(error) => check("socket", "fail", format!("{}: {error}", path.display()), "restart the daemon"),
    }
}

fn telemetry(daemon: &Daemon) -> Check {
    let Some(telemetry) = &daemon.telemetry else {
        return check("telemetry", "fail", "the file cannot be opened", "move the file away and restart");
    };
    let stats = telemetry.stats();
    let found = format!(
        "{} samples written, {} shed, {} errors, {} blocks damaged, slowest to disk {} ms",
        stats.written, stats.shed, stats.errors, stats.damaged, stats.slowest_ms
    );
    match (stats.errors, stats.shed, stats.damaged) {
        (0, 0, 0) => check("telemetry", "ok", found, ""),
        _ => check("telemetry", "warn", found, "curves have holes; the record of minutes and alarms has not"),
    }
}

async fn backup(daemon: &Arc<Daemon>) -> Check {
    let age_max = i64::from(daemon.config().backup.max_age_h).saturating_mul(3_600_000);
    let last = daemon.read(|reader| reader.state(crate::api::BACKUP_KEY)).await;
    let at = last
        .ok()
        .flatten()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.parse::<i64>().ok());
    match at {
        Some(at) => {
            let age = daemon.clock.wall_ms().saturating_sub(at);
            let found = format!("last one {} hours ago", age / 3_600_000);
            let state = if age <= age_max { "ok" } else { "warn" };
            check("backup", state, found, "edgectl backup, or check its timer")
        }
        None => check("backup", "warn", "none was made", "edgectl backup, or set up its timer"),
    }
}
