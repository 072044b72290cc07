//! One day: the script from opening to verdict, and the same store for a person to watch.

use crate::faults::{self, Damage};
use crate::kitchen::{self, STEAMERS};
use crate::layout::{SCALES, TAGS};
use crate::oracle::{self, Found, Side, View, note};
use crate::random::Random;
use crate::shelf::{self, Labels};
use crate::stage::{Pace, Stage};
use crate::{Options, cold};
use anyhow::{Context, Result, bail};
use hil_rig::http;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use sync_model::{AlarmKind, DeviceClass, Fact};

/// From opening to closing.
const OPEN_FOR: Duration = Duration::from_secs(90);
/// Tickets that a day must have to mean something.
const TICKETS_MIN: usize = 1000;
/// Kills of the agent that a day must have.
const KILLS_MIN: u32 = 3;

/// Runs one scripted day. `Ok(false)`: it ran, and something does not hold; reasons are on standard error.
pub async fn day(options: Options) -> Result<bool> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-day-").tempdir().context("make the run's folder")?;
    let started = Instant::now();
    let outcome = tokio::select! {
        outcome = script(&options, folder.path(), started) => outcome,
        signal = interrupted() => signal.and_then(|()| bail!("interrupted")),
    };
    match outcome {
        Ok(verdict) => {
            for reason in &verdict.reasons {
                eprintln!("problem: {reason}");
            }
            if !verdict.reasons.is_empty() {
                eprintln!("the run is kept in {}", folder.keep().display());
            }
            if !options.json {
                println!("{}", verdict.text());
            }
            println!("{}", verdict.json());
            Ok(verdict.reasons.is_empty())
        }
        Err(error) => {
            eprintln!("the run is kept in {}", folder.keep().display());
            Err(error)
        }
    }
}

/// Runs the store until Ctrl-C.
pub async fn interactive(options: Options) -> Result<bool> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-demo-").tempdir().context("make the run's folder")?;
    let work = async {
        eprintln!(
            "starting broker, HQ, agent and {} devices",
            SCALES + u64::from(cold::CABINETS) + u64::from(STEAMERS) + u64::from(TAGS)
        );
        let mut stage = Stage::start(&options, folder.path()).await?;
        println!("page    http://127.0.0.1:{}/", stage.places.till_port);
        println!("HQ      http://127.0.0.1:{}/v1/stores", stage.places.hq_port);
        println!("edgectl --socket {} status", folder.path().join("agent.sock").display());
        println!("Ctrl-C ends it");
        let _actors = stage.open(Pace::CALM);
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            print!("\r{:<118}", live_line(&stage).await);
            std::io::stdout().flush().context("write the live line")?;
            if let Some(ended) = stage.programs.ended().first() {
                bail!("{ended}");
            }
        }
    };
    tokio::select! {
        outcome = work => outcome,
        signal = interrupted() => {
            println!();
            signal.map(|()| true)
        }
    }
}

/// Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done.context("listen for Ctrl-C"),
        _ = term.recv() => Ok(()),
    }
}

/// One line that says how the store is.
async fn live_line(stage: &Stage) -> String {
    let status = match http::get(&stage.places.tills(), "/v1/status").await {
        Ok(answer) => answer.json(),
        Err(error) => return format!("agent: {error}"),
    };
    let class = |name: &str| {
        let class = &status["devices"][name];
        format!("{}/{}", class["ok"], class["configured"])
    };
    let (tickets, weighings) = {
        let books = stage.shop.books();
        (books.tickets.len(), books.weighings.values().map(Vec::len).sum::<usize>())
    };
    format!(
        "{} · tickets {tickets} · weighings {weighings} · scales {} · cabinets {} · steamers {} · tags {} · alarms {} · lag {}",
        status["state"].as_str().unwrap_or("?"),
        class("scale"),
        class("cabinet"),
        class("steamer"),
        class("tag"),
        status["alarms"]["open"],
        status["sync"]["lag"]
    )
}

/// The script.
async fn script(options: &Options, folder: &Path, started: Instant) -> Result<Verdict> {
    let say = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    say(&format!("seed {}: starting broker, HQ, agent and every far end", options.seed));
    let mut stage = Stage::start(options, folder).await?;
    say("open");
    let actors = stage.open(Pace::SCRIPT);
    let opened = Instant::now();
    let mut random = Random::new(options.seed, 2);
    let mut damage = Damage::default();
    for (at, fault) in faults::plan(&mut random) {
        tokio::time::sleep(at.saturating_sub(opened.elapsed())).await;
        if let Some(ended) = stage.programs.ended().first() {
            bail!("{ended}");
        }
        let waiting = stage.shop.counter.waiting();
        let tickets = stage.shop.books().tickets.len();
        say(&format!("{fault:?} ({tickets} tickets so far, {waiting} waiting)"));
        faults::inflict(fault, &mut stage.programs, &stage.shop, &mut random, &mut damage).await?;
    }
    tokio::time::sleep(OPEN_FOR.saturating_sub(opened.elapsed())).await;
    say("closing");
    let (_platforms, articles) = actors.leave(Duration::from_secs(180)).await?;
    say("waiting for the tags");
    let server = stage.places.tills();
    let shown = stage.shelf.settled(&server, &articles, Duration::from_secs(120)).await;
    say("waiting for HQ");
    let view = oracle::finish(&stage.places.clone(), &mut stage.programs).await?;
    say("checking");
    let mut verdict = judge(options.seed, &stage, &view, &articles, &damage);
    if let Err(error) = shown {
        note(&mut verdict.reasons, format!("{error:#}"));
    }
    verdict.seconds = started.elapsed().as_secs();
    Ok(verdict)
}

/// What a day comes to.
#[derive(Debug)]
struct Verdict {
    seed: u64,
    found: Found,
    tickets_acked: usize,
    events: (usize, usize),
    chain_ok: bool,
    kills: u32,
    in_flight: usize,
    offline: Duration,
    devices: BTreeMap<&'static str, (u64, u64)>,
    tags_confirmed: u32,
    labels: Labels,
    price_changes: (u64, u64),
    alarms: usize,
    weighings: usize,
    excursions: u32,
    batches: usize,
    runs: u64,
    returns: usize,
    movements: usize,
    answers_lost: u64,
    replayed: u64,
    refused: u64,
    seconds: u64,
    reasons: Vec<String>,
}

impl Verdict {
    fn json(&self) -> Value {
        let devices: BTreeMap<_, _> = self
            .devices
            .iter()
            .map(|(class, (configured, seen))| (*class, json!({"configured": configured, "seen": seen})))
            .collect();
        json!({
            "schema": "steelyard.demo/1", "seed": self.seed, "tickets_acked": self.tickets_acked,
            "tickets_in_store": self.found.tickets_in_store, "tickets_in_hq": self.found.tickets_in_hq,
            "events_store": self.events.0, "events_hq": self.events.1, "lost": self.found.lost,
            "duplicated": self.found.duplicated, "stock_mismatches": self.found.stock_mismatches,
            "cash_mismatches": self.found.cash_mismatches, "chain_ok": self.chain_ok, "kills": self.kills,
            "offline_seconds": self.offline.as_secs(), "devices": devices, "tags_confirmed": self.tags_confirmed,
            "alarms_raised": self.alarms, "ok": self.reasons.is_empty(),
            "tickets_in_flight_at_kills": self.in_flight, "answers_lost": self.answers_lost,
            "replayed": self.replayed, "refused_as_expected": self.refused, "overcharges": self.labels.overcharged,
            "labels_judged": self.labels.judged, "prices_raised": self.price_changes.0,
            "prices_lowered": self.price_changes.1,
            "weighings": self.weighings, "excursions": self.excursions, "batches": self.batches, "runs": self.runs,
            "returns": self.returns, "movements": self.movements, "problems": self.reasons.len(),
            "seconds": self.seconds,
        })
    }

    fn text(&self) -> String {
        let rows = [
            (
                "tickets acknowledged, store, HQ",
                format!(
                    "{} {} {}",
                    self.tickets_acked, self.found.tickets_in_store, self.found.tickets_in_hq
                ),
            ),
            ("events store, HQ", format!("{} {}", self.events.0, self.events.1)),
            ("lost, duplicated", format!("{} {}", self.found.lost, self.found.duplicated)),
            (
                "stock, cash mismatches",
                format!("{} {}", self.found.stock_mismatches, self.found.cash_mismatches),
            ),
            ("chain and folds verified", self.chain_ok.to_string()),
            (
                "agent kills, tickets in flight, answers lost",
                format!("{} {} {}", self.kills, self.in_flight, self.answers_lost),
            ),
            ("seconds offline", self.offline.as_secs().to_string()),
            (
                "weighings, excursions, batches, runs",
                format!("{} {} {} {}", self.weighings, self.excursions, self.batches, self.runs),
            ),
            ("tags confirmed, overcharges", format!("{} {}", self.tags_confirmed, self.labels.overcharged)),
        ];
        let rows: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<46}{value}")).collect();
        format!("{}\n{}", rows.join("\n"), if self.reasons.is_empty() { "ok" } else { "FAILED" })
    }
}

/// Everything that the day must have shown.
fn judge(
    seed: u64,
    stage: &Stage,
    view: &View,
    articles: &[crate::catalogue::Article],
    damage: &Damage,
) -> Verdict {
    let books = stage.shop.books().clone();
    let mut reasons = books.faults.clone();
    let found = oracle::compare(&books, view, &mut reasons);
    let chain_ok = oracle::verify(&stage.places, &mut reasons);
    let tags_confirmed = stage.shelf.confirmed(&view.store, articles, &mut reasons);
    let labels = shelf::overcharges(&books, &view.store, &stage.shelf.shown(), &mut reasons);
    let price_changes = price_changes(&view.store);
    if labels.judged == 0 || price_changes.0 == 0 || price_changes.1 == 0 {
        note(&mut reasons, format!("the labels were not put to the test: {labels:?}, {price_changes:?}"));
    }
    let devices = devices(&view.store);
    for (class, (configured, seen)) in &devices {
        if configured != seen {
            note(
                &mut reasons,
                format!("{configured} devices of class {class} are configured, {seen} were seen"),
            );
        }
    }
    let runs = runs(stage, &books, &mut reasons);
    if books.tickets.len() < TICKETS_MIN {
        note(&mut reasons, format!("{} tickets are too few for a day", books.tickets.len()));
    }
    if damage.kills < KILLS_MIN {
        note(&mut reasons, format!("the agent was killed only {} times", damage.kills));
    }
    Verdict {
        seed,
        found,
        tickets_acked: books.tickets.len(),
        events: (view.store.events.len(), view.hq.events.len()),
        chain_ok,
        kills: damage.kills,
        in_flight: damage.in_flight,
        offline: damage.offline,
        devices,
        tags_confirmed,
        labels,
        price_changes,
        alarms: raised(&view.store, &mut reasons),
        weighings: books.weighings.values().map(Vec::len).sum(),
        excursions: books.excursions.values().sum(),
        batches: books.batches.len(),
        runs,
        returns: books.returns.len(),
        movements: books.movements.len(),
        answers_lost: stage.shop.counter.broken(),
        replayed: books.replayed,
        refused: books.refused,
        seconds: 0,
        reasons,
    }
}

/// How often the tills' price of an article rose and fell.
fn price_changes(side: &Side) -> (u64, u64) {
    let (mut raised, mut lowered) = (0, 0);
    for (_, event) in &side.events {
        if let Fact::PriceChanged(change) = &event.fact {
            raised += u64::from(change.from.is_some_and(|from| from < change.to));
            lowered += u64::from(change.from.is_some_and(|from| from > change.to));
        }
    }
    (raised, lowered)
}

/// Devices by class: in the configuration, and seen according to the store's record.
fn devices(side: &Side) -> BTreeMap<&'static str, (u64, u64)> {
    let mut seen: BTreeSet<(&'static str, String)> = BTreeSet::new();
    for (_, event) in &side.events {
        if let Fact::DeviceSeen(device) = &event.fact {
            seen.insert((device.class.name(), device.device.to_string()));
        }
    }
    DeviceClass::ALL
        .into_iter()
        .map(|class| {
            let configured = match class {
                DeviceClass::Scale => SCALES,
                DeviceClass::Cabinet => u64::from(cold::CABINETS),
                DeviceClass::Tag => u64::from(TAGS),
                DeviceClass::Steamer => u64::from(STEAMERS),
            };
            let count = seen.iter().filter(|(name, _)| *name == class.name()).count();
            (class.name(), (configured, u64::try_from(count).unwrap_or(u64::MAX)))
        })
        .collect()
}

/// Programs that the steamers really ran: one for each batch, each to its end.
fn runs(stage: &Stage, books: &crate::books::Books, reasons: &mut Vec<String>) -> u64 {
    let mut all = 0;
    for index in 0..STEAMERS {
        let name = kitchen::name(index);
        let batches = books.batches.values().filter(|batch| batch.device == name).count();
        let (started, completed) = stage.kitchen.runs(index);
        all += started;
        if u64::try_from(batches) != Ok(started) || started != completed {
            note(
                reasons,
                format!(
                    "{name}: {batches} batches, but {started} programs started and {completed} completed"
                ),
            );
        }
    }
    all
}

/// Alarms in the record. The script provokes excursions and silences, which the oracle counts, and nothing else.
fn raised(side: &Side, reasons: &mut Vec<String>) -> usize {
    let mut count = 0;
    for (id, event) in &side.events {
        if let Fact::AlarmRaised(alarm) = &event.fact {
            count += 1;
            if !matches!(alarm.kind, AlarmKind::TooWarm | AlarmKind::Lost) {
                note(reasons, format!("{id}: unprovoked alarm {:?} of {}", alarm.kind, alarm.device));
            }
        }
    }
    count
}
