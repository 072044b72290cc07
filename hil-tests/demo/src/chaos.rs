//! Pulled cables: any cable of the running store is pulled and plugged in again, and the store must say which device, since
//! when, why and what to do.
//!
//! Contract
//! * [`Cable::expected`] states, before anything is pulled, which devices are concerned, the cause that must be named, and within
//!   what time. The checks read what people read: `/v1/status` (what the page draws) and the screen of `edgectl status`.
//! * While a cable is out, every other device stays ok; after it is in again, everything is ok, without anybody's help.
//! * Which cable comes when is drawn from the seed; each comes once before any comes again.

use crate::Options;
use crate::cold::{self, Cold};
use crate::customers::Line;
use crate::day::interrupted;
use crate::kitchen::{self, Kitchen, STEAMERS};
use crate::layout::{SCALES, TAGS, tag_name};
use crate::programs::Places;
use crate::random::Random;
use crate::stage::{Pace, Stage};
use anyhow::{Context, Result, bail};
use hil_rig::http;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long everything may take to be well after the start.
const SETTLE: Duration = Duration::from_secs(90);
/// How long a mended cable may take to be back: the longest backoff, a poll, and a busy machine.
const RECOVERY: Duration = Duration::from_secs(60);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How long a cable stays out in the interactive store, in milliseconds.
const OUT_MS: (u64, u64) = (8_000, 20_000);
/// Pause between two cables in the interactive store, in milliseconds.
const CALM_MS: (u64, u64) = (4_000, 15_000);

/// Something that can be pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// Serial cable of a scale, counted from 1.
    Scale(u64),
    /// USB cable of the RS-485 adapter of the serial cabinets.
    ColdLine,
    /// Network cable of the cabinets' gateway.
    ColdGateway,
    /// The two wires at one cabinet's controller.
    Cabinet(u8),
    /// A 1-Wire probe.
    Probe(u8),
    /// Network cable of the steamers' gateway.
    SteamGateway,
    /// The two wires at one steamer's controller.
    Steamer(u8),
    /// The Bluetooth adapter with its daemon.
    Adapter,
    /// The broker's host.
    Broker,
    /// Headquarters behind the broker.
    Hq,
}

/// What must be said of a pulled cable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// The devices concerned; `headquarters` is not one that is listed among the devices.
    pub(crate) devices: BTreeSet<String>,
    /// The cause.
    pub(crate) cause: &'static str,
    /// The stated time.
    pub(crate) limit: Duration,
}

impl Cable {
    /// Every cable of the store once, in the order of the seed. Single units are drawn.
    pub(crate) fn round(random: &mut Random) -> Vec<Self> {
        let cabinet =
            u8::try_from(random.between(0, u64::from(cold::ON_TCP + cold::ON_SERIAL) - 1)).unwrap_or(0);
        let probe = u8::try_from(random.between(0, u64::from(cold::ON_W1) - 1)).unwrap_or(0);
        let steamer = u8::try_from(random.between(0, u64::from(STEAMERS) - 1)).unwrap_or(0);
        let mut deck = vec![
            Self::Scale(random.between(1, SCALES)),
            Self::ColdLine,
            Self::ColdGateway,
            Self::Cabinet(cabinet),
            Self::Probe(probe),
            Self::SteamGateway,
            Self::Steamer(steamer),
            Self::Adapter,
            Self::Broker,
            Self::Hq,
        ];
        // Fisher and Yates.
        for last in (1..deck.len()).rev() {
            let other = usize::try_from(random.between(0, last as u64)).unwrap_or(last);
            deck.swap(last, other);
        }
        deck
    }

    /// For people.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Scale(number) => format!("serial cable of scale-{number}"),
            Self::ColdLine => "USB cable of the RS-485 adapter of the cabinets".into(),
            Self::ColdGateway => "network cable of the cabinets' gateway".into(),
            Self::Cabinet(index) => format!("bus wires at the controller of {}", cold::name(index)),
            Self::Probe(probe) => format!("1-Wire probe {}", cold::sensor(probe)),
            Self::SteamGateway => "network cable of the steamers' gateway".into(),
            Self::Steamer(index) => format!("bus wires at the controller of {}", kitchen::name(index)),
            Self::Adapter => "Bluetooth adapter".into(),
            Self::Broker => "broker".into(),
            Self::Hq => "headquarters' program".into(),
        }
    }

    /// What must be said when it is pulled. Times: silence counts 6 s for a cabinet and 5 s for a steamer in this store, a
    /// port that vanishes is noticed at the next poll, the adapter is asked every 3 s, headquarters has
    /// `linger + 2 x longest retry + 5 s` = 13.2 s. The rest is for a busy machine.
    pub(crate) fn expected(self) -> Expected {
        let cabinets = |range: std::ops::Range<u8>| range.map(cold::name).collect();
        let (devices, cause, seconds): (BTreeSet<String>, _, _) = match self {
            Self::Scale(number) => ([format!("scale-{number}")].into(), "port-missing", 10),
            Self::ColdLine => (cabinets(cold::ON_TCP..cold::ON_TCP + cold::ON_SERIAL), "port-missing", 10),
            Self::ColdGateway => (cabinets(0..cold::ON_TCP), "gateway-unreachable", 15),
            Self::Cabinet(index) => ([cold::name(index)].into(), "mute", 20),
            Self::Probe(probe) => {
                ([cold::name(cold::ON_TCP + cold::ON_SERIAL + probe)].into(), "probe-missing", 20)
            }
            Self::SteamGateway => ((0..STEAMERS).map(kitchen::name).collect(), "gateway-unreachable", 15),
            Self::Steamer(index) => ([kitchen::name(index)].into(), "mute", 20),
            Self::Adapter => ((0..TAGS).map(tag_name).collect(), "adapter-lost", 30),
            Self::Broker => (BTreeSet::new(), "broker-unreachable", 15),
            Self::Hq => (BTreeSet::new(), "hq-silent", 40),
        };
        Expected { devices, cause, limit: Duration::from_secs(seconds) }
    }
}

/// The far ends whose cables can be pulled.
pub(crate) struct Sockets {
    pub(crate) scales: Vec<Arc<Line>>,
    pub(crate) cold: Arc<Cold>,
    pub(crate) kitchen: Arc<Kitchen>,
}

async fn pull(cable: Cable, stage: &mut Stage) -> Result<()> {
    let sockets = stage.sockets();
    match cable {
        Cable::Scale(number) => line(&sockets, number)?.unplug(),
        Cable::ColdLine => sockets.cold.unplug_line(),
        Cable::ColdGateway => sockets.cold.unplug_gateway(),
        Cable::Cabinet(index) => drop(sockets.cold.set_mute(index, true)),
        Cable::Probe(probe) => sockets.cold.unplug_probe(probe),
        Cable::SteamGateway => sockets.kitchen.unplug_gateway(),
        Cable::Steamer(index) => sockets.kitchen.set_mute(index, true),
        Cable::Adapter => stage.shelf.unplug_adapter().await?,
        Cable::Broker => stage.programs.broker.kill()?,
        Cable::Hq => stage.programs.kill_hq()?,
    }
    Ok(())
}

async fn plug(cable: Cable, stage: &mut Stage) -> Result<()> {
    let sockets = stage.sockets();
    match cable {
        Cable::Scale(number) => line(&sockets, number)?.plug()?,
        Cable::ColdLine => sockets.cold.plug_line()?,
        Cable::ColdGateway => sockets.cold.plug_gateway().await?,
        Cable::Cabinet(index) => drop(sockets.cold.set_mute(index, false)),
        Cable::Probe(probe) => sockets.cold.plug_probe(probe),
        Cable::SteamGateway => sockets.kitchen.plug_gateway().await?,
        Cable::Steamer(index) => sockets.kitchen.set_mute(index, false),
        Cable::Adapter => stage.shelf.plug_adapter().await?,
        Cable::Broker => stage.programs.broker.restart().await?,
        Cable::Hq => stage.programs.start_hq().await?,
    }
    Ok(())
}

fn line(sockets: &Sockets, number: u64) -> Result<&Arc<Line>> {
    let index = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    sockets.scales.get(index).with_context(|| format!("there is no scale {number}"))
}

/// The store as people see it.
struct View {
    /// Device -> state, class.
    states: BTreeMap<String, (String, String)>,
    troubles: Vec<Value>,
}

impl View {
    async fn look(places: &Places) -> Result<Self> {
        let ask = |path: &'static str| async move {
            let answer = http::get(&places.tills(), path).await?;
            if !answer.is_success() {
                bail!("{path}: {}: {}", answer.status, answer.text());
            }
            Ok(answer.json())
        };
        let status = ask("/v1/status").await?;
        let devices = ask("/v1/devices").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = devices["devices"].as_array().cloned().unwrap_or_default();
        let states =
            rows.iter().map(|row| (text(&row["id"]), (text(&row["state"]), text(&row["reason"])))).collect();
        Ok(Self { states, troubles: status["troubles"].as_array().cloned().unwrap_or_default() })
    }

    /// Devices beside `concerned` that are not ok.
    fn others(&self, concerned: &BTreeSet<String>) -> Vec<String> {
        let bad = self.states.iter().filter(|(id, (state, _))| state != "ok" && !concerned.contains(*id));
        bad.map(|(id, (state, reason))| format!("{id} is {state}: {reason}")).collect()
    }

    /// The trouble that was expected, complete.
    fn trouble(&self, expected: &Expected, pulled_ms: i64) -> Option<&Value> {
        let away = expected.devices.iter().all(|id| {
            self.states.get(id).is_some_and(|(state, _)| matches!(state.as_str(), "lost" | "failed"))
        });
        let wanted = expected.devices.len().max(1);
        self.troubles.iter().find(|trouble| {
            let names: Vec<&str> =
                trouble["devices"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let named = match expected.devices.is_empty() {
                true => names == ["headquarters"],
                false => !names.is_empty() && names.iter().all(|name| expected.devices.contains(*name)),
            };
            // A device may have worked last some polls before it was pulled.
            let since = trouble["since_ms"].as_i64().is_some_and(|since| (since - pulled_ms).abs() < 60_000);
            let filled = |key: &str| trouble[key].as_str().is_some_and(|text| !text.is_empty());
            away && named
                && since
                && trouble["cause"] == expected.cause
                && trouble["count"].as_u64() == Some(wanted as u64)
                && filled("reason")
                && filled("advice")
        })
    }
}

/// One pulled cable, from the pull to the recovery.
#[derive(Debug)]
struct Pull {
    cable: Cable,
    noticed: Option<Duration>,
    recovered: Option<Duration>,
    said: Value,
    problems: BTreeSet<String>,
}

impl Pull {
    fn json(&self) -> Value {
        let expected = self.cable.expected();
        let ms =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        json!({
            "cable": self.cable.name(), "devices": expected.devices.len(), "cause": expected.cause,
            "limit_ms": ms(Some(expected.limit)), "noticed_ms": ms(self.noticed), "recovered_ms": ms(self.recovered),
            "ok": self.problems.is_empty(),
        })
    }
}

/// Pulls a cable, waits until it is told, holds it out for `out`, plugs it in and waits until all is well.
async fn carry_out(cable: Cable, out: Duration, stage: &mut Stage) -> Result<Pull> {
    let expected = cable.expected();
    let mut report =
        Pull { cable, noticed: None, recovered: None, said: Value::Null, problems: BTreeSet::new() };
    let pulled_ms = wall_ms();
    pull(cable, stage).await?;
    let begun = Instant::now();
    while begun.elapsed() < expected.limit {
        let view = View::look(&stage.places).await?;
        report.problems.extend(view.others(&expected.devices));
        if let Some(trouble) = view.trouble(&expected, pulled_ms) {
            report.noticed = Some(begun.elapsed());
            report.said = trouble.clone();
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    match report.noticed {
        None => {
            let view = View::look(&stage.places).await?;
            report.problems.insert(format!(
                "not told within {:?}: expected {} of {} devices, told {}",
                expected.limit,
                expected.cause,
                expected.devices.len().max(1),
                Value::from(view.troubles)
            ));
        }
        Some(_) => report.problems.extend(screen(&stage.places, &report.said).await?),
    }
    tokio::time::sleep(out).await;
    let view = View::look(&stage.places).await?;
    report.problems.extend(view.others(&expected.devices));
    plug(cable, stage).await?;
    let begun = Instant::now();
    while begun.elapsed() < RECOVERY {
        let view = View::look(&stage.places).await?;
        report.problems.extend(view.others(&expected.devices));
        if view.troubles.is_empty() && view.others(&BTreeSet::new()).is_empty() {
            report.recovered = Some(begun.elapsed());
            return Ok(report);
        }
        tokio::time::sleep(LOOK).await;
    }
    let view = View::look(&stage.places).await?;
    let left = view.others(&BTreeSet::new());
    report.problems.insert(format!(
        "not well {RECOVERY:?} after it was plugged in: {} {:?}",
        left.join("; "),
        view.troubles
    ));
    Ok(report)
}

/// What is missing on the screen of `edgectl status`.
async fn screen(places: &Places, trouble: &Value) -> Result<Option<String>> {
    let program = places.programs.join("edgectl");
    let socket = places.folder.join("agent.sock");
    let work = move || Command::new(&program).arg("--socket").arg(&socket).arg("status").output();
    let output = tokio::task::spawn_blocking(work).await?.context("edgectl does not start")?;
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    let device = trouble["devices"][0].as_str().unwrap_or_default();
    for part in [
        device,
        "since",
        trouble["cause"].as_str().unwrap_or_default(),
        trouble["reason"].as_str().unwrap_or_default(),
        trouble["advice"].as_str().unwrap_or_default(),
    ] {
        if !screen.contains(part) {
            return Ok(Some(format!("edgectl status lacks {part:?}:\n{screen}")));
        }
    }
    Ok(None)
}

fn wall_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Pulls the first `pulls` cables of a round and checks what is said. `Ok(false)`: it ran, and something does not hold.
pub async fn chaos(options: Options, pulls: usize) -> Result<bool> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-chaos-").tempdir().context("make the run's folder")?;
    let outcome = tokio::select! {
        outcome = script(&options, folder.path(), pulls) => outcome,
        signal = interrupted() => signal.and_then(|()| bail!("interrupted")),
    };
    let reports = match outcome {
        Ok(reports) => reports,
        Err(error) => {
            eprintln!("the run is kept in {}", folder.keep().display());
            return Err(error);
        }
    };
    let ok = reports.iter().all(|report| report.problems.is_empty());
    for report in &reports {
        for problem in &report.problems {
            eprintln!("problem: {}: {problem}", report.cable.name());
        }
    }
    if !ok {
        eprintln!("the run is kept in {}", folder.keep().display());
    }
    let list: Vec<Value> = reports.iter().map(Pull::json).collect();
    println!("{}", json!({"chaos": true, "seed": options.seed, "ok": ok, "pulls": list}));
    Ok(ok)
}

async fn script(options: &Options, folder: &Path, pulls: usize) -> Result<Vec<Pull>> {
    let started = Instant::now();
    let say = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    say(&format!("seed {}: starting broker, HQ, agent and every far end", options.seed));
    let mut stage = Stage::start(options, folder).await?;
    let _actors = stage.open(Pace::CHAOS);
    well(&stage.places).await?;
    let mut random = Random::new(options.seed, 3);
    let mut reports = Vec::new();
    for cable in Cable::round(&mut random).into_iter().take(pulls) {
        say(&format!("pulled: {}", cable.name()));
        let report = carry_out(cable, random.millis(500, 2_000), &mut stage).await?;
        let time = |time: Option<Duration>| {
            time.map_or_else(|| "never".into(), |time| format!("{:.1} s", time.as_secs_f64()))
        };
        say(&format!(
            "told after {} ({}), well again after {}",
            time(report.noticed),
            report.cable.expected().cause,
            time(report.recovered)
        ));
        reports.push(report);
        if let Some(ended) = stage.programs.ended().first() {
            bail!("{ended}");
        }
    }
    Ok(reports)
}

/// Waits until everything works for the first time.
async fn well(places: &Places) -> Result<()> {
    let begun = Instant::now();
    loop {
        let view = View::look(places).await?;
        let left = view.others(&BTreeSet::new());
        if left.is_empty() && view.troubles.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= SETTLE {
            bail!(
                "not everything is well {SETTLE:?} after the start: {} {:?}",
                left.join("; "),
                view.troubles
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The store until Ctrl-C, with a cable pulled now and then; says what is pulled and what the store says to it.
pub async fn interactive_chaos(options: Options) -> Result<bool> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-demo-").tempdir().context("make the run's folder")?;
    let work = async {
        let mut stage = Stage::start(&options, folder.path()).await?;
        println!("page    http://127.0.0.1:{}/", stage.places.till_port);
        println!("edgectl --socket {} status", folder.path().join("agent.sock").display());
        println!("Ctrl-C ends it");
        let _actors = stage.open(Pace::CHAOS);
        well(&stage.places).await?;
        let mut random = Random::new(options.seed, 3);
        loop {
            for cable in Cable::round(&mut random) {
                tokio::time::sleep(random.millis(CALM_MS.0, CALM_MS.1)).await;
                println!("\npulled      {}", cable.name());
                let report = carry_out(cable, random.millis(OUT_MS.0, OUT_MS.1), &mut stage).await?;
                let text = |key: &str| report.said[key].as_str().unwrap_or("-").to_owned();
                println!(
                    "told        after {:?}: {} devices, {}",
                    report.noticed,
                    report.said["count"],
                    text("cause")
                );
                println!("why         {}", text("reason"));
                println!("what to do  {}", text("advice"));
                println!("well again  after {:?}", report.recovered);
                report.problems.iter().for_each(|problem| println!("problem     {problem}"));
                if let Some(ended) = stage.programs.ended().first() {
                    bail!("{ended}");
                }
            }
        }
    };
    tokio::select! {
        outcome = work => outcome,
        signal = interrupted() => signal.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_every_cable_once_in_an_order_of_the_seed() {
        let mut orders = BTreeSet::new();
        for seed in 0..50 {
            let round = Cable::round(&mut Random::new(seed, 3));
            let names: BTreeSet<String> = round.iter().map(|cable| cable.name()).collect();
            assert_eq!((round.len(), names.len()), (10, 10));
            assert_eq!(round, Cable::round(&mut Random::new(seed, 3)));
            orders.insert(format!("{round:?}"));
            for cable in round {
                let expected = cable.expected();
                assert!(!expected.cause.is_empty() && expected.limit < SETTLE);
                let devices = !matches!(cable, Cable::Broker | Cable::Hq);
                assert_eq!(devices, !expected.devices.is_empty(), "{cable:?}");
            }
        }
        assert!(orders.len() > 40);
    }

    fn view(state: &str, cause: &str, count: u64, since_ms: i64) -> View {
        let trouble = json!({
            "devices": ["scale-2"], "count": count, "cause": cause, "since_ms": since_ms, "reason": "r", "advice": "a",
        });
        let states = [("scale-1", "ok"), ("scale-2", state)];
        let states = states.map(|(id, state)| (id.to_owned(), (state.to_owned(), String::new())));
        View { states: states.into(), troubles: vec![trouble] }
    }

    #[test]
    fn only_the_whole_truth_counts_as_told() {
        let expected = Cable::Scale(2).expected();
        let now = 1_800_000_000_000;
        assert!(view("failed", "port-missing", 1, now + 5).trouble(&expected, now).is_some());
        for wrong in [
            view("ok", "port-missing", 1, now),
            view("failed", "port-fault", 1, now),
            view("failed", "port-missing", 2, now),
            view("failed", "port-missing", 1, now - 3_600_000),
        ] {
            assert!(wrong.trouble(&expected, now).is_none());
        }
        assert_eq!(view("lost", "mute", 1, now).others(&expected.devices), Vec::<String>::new());
        assert_eq!(view("lost", "mute", 1, now).others(&BTreeSet::new()).len(), 1);
        assert!(view("failed", "port-missing", 1, now).trouble(&Cable::Broker.expected(), now).is_none());
    }
}
