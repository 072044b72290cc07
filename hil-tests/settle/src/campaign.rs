//! One run: stores trade, parts are broken and mended in a seeded order, then everything must settle and agree.

use crate::books::Books;
use crate::fault::{Fault, plan};
use crate::fleet::{Engine, Fleet, Office, STORES};
use crate::ledger::Ledger;
use crate::oracle::{self, Problems, Shown};
use crate::shop::Shop;
use crate::stranger;
use anyhow::{Context, Result};
use hil_demo::posting::Counter;
use hil_demo::random::Random;
use hil_rig::{http, until};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long everything may take to settle once everything is mended: the bound on progress.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

/// Longer than a keep-alive of 5 s and its grace: a stalled line must be noticed.
const STALL: Duration = Duration::from_secs(9);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which order of faults.
    pub seed: u64,
    /// How often every part is hit.
    pub rounds: u32,
    /// What HQ runs on.
    pub engine: Engine,
    /// Whether a stranger disturbs the broker.
    pub stranger: bool,
    /// Folder with the programs under test.
    pub programs: PathBuf,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u32>,
    /// Acknowledged postings.
    pub promised: usize,
    /// Postings that were answered again after their first answer was lost.
    pub replayed: u64,
    /// Answers that never came.
    pub broken: u64,
    /// Events at HQ, both directions.
    pub events: u64,
    /// Promises on the web that were refused for lack of rights.
    pub short: u64,
    /// What a stranger said, by kind.
    pub said: BTreeMap<&'static str, u32>,
    /// Messages kept aside: at HQ, and at all stores.
    pub quarantined: (u64, u64),
    /// What does not hold.
    pub problems: Vec<String>,
    /// How much of it.
    pub violations: u64,
    /// From the last repair to everything settled.
    pub settled_ms: u128,
    /// All of it.
    pub seconds: u64,
}

/// Runs one campaign in a folder of its own, which is kept when something does not hold.
pub async fn run(options: &Options) -> Result<Report> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-settle-").tempdir().context("the run's folder")?;
    let started = Instant::now();
    let outcome = in_folder(options, folder.path()).await;
    let failed = outcome.as_ref().map_or(true, |report| report.violations > 0);
    let kept = failed.then(|| folder.keep());
    let mut report = outcome.with_context(|| format!("the run is kept in {kept:?}"))?;
    if let Some(kept) = kept {
        report.problems.push(format!("the run is kept in {}", kept.display()));
    }
    report.seconds = started.elapsed().as_secs();
    Ok(report)
}

async fn in_folder(options: &Options, folder: &Path) -> Result<Report> {
    let mut fleet = Fleet::start(folder, &options.programs, options.engine).await?;
    let mut random = Random::new(options.seed, 0);
    let counters = fleet.sites.iter().map(|site| Counter::new(site.tills())).collect();
    let office = fleet.office();
    let shop = Shop::new(counters, office.clone());
    shop.open(&mut random).await.context("before the first fault")?;
    let (stop, stopped) = watch::channel(false);
    let mut actors = shop.work(options.seed, &stopped);

    let (leave, left) = watch::channel(false);
    let haunting = options
        .stranger
        .then(|| tokio::spawn(stranger::haunt(fleet.broker_port(), Random::new(options.seed, 1_000), left)));

    let mut report = Report::default();
    for step in plan(options.engine, options.rounds, &mut random) {
        let names: Vec<String> = step.iter().map(Fault::to_string).collect();
        one_step(&mut fleet, &shop, &step, &mut random).await.with_context(|| names.join(" and "))?;
        for fault in step {
            *report.faults.entry(fault.kind()).or_default() += 1;
        }
        let ended = fleet.ended();
        anyhow::ensure!(ended.is_empty(), "after {}: {}", names.join(" and "), ended.join("; "));
    }
    stop.send_replace(true);
    while let Some(ended) = actors.join_next().await {
        ended.context("an actor failed")?;
    }
    shop.unload(&mut random).await;
    leave.send_replace(true);
    if let Some(haunting) = haunting {
        report.said = haunting.await.context("the stranger failed")?;
    }
    let mended = Instant::now();
    settled(&fleet, &office).await?;
    report.settled_ms = mended.elapsed().as_millis();

    let mut problems = Problems::default();
    for wrong in prices_arrive(&shop).await {
        problems.add(wrong);
    }
    report.quarantined = quarantined(&fleet, &office).await?;
    if options.stranger {
        for kind in ["garbage", "replayed", "foreign", "truncated", "future", "oversize"] {
            if !report.said.contains_key(kind) {
                problems.add(format!("the stranger said nothing {kind}"));
            }
        }
        if report.quarantined.0 == 0 || report.quarantined.1 == 0 {
            problems.add(format!("a side kept nothing aside: {:?}", report.quarantined));
        }
    }
    let shown = at_rest(&mut fleet, &office).await?;
    let books = shop.books().clone();
    for fault in &books.faults {
        problems.add(fault.clone());
    }
    report.events = tokio::task::block_in_place(|| {
        let (hq, stores) = ledgers(&fleet)?;
        oracle::check(&books, &hq, &stores, &shown, &mut problems)
    })?;
    enough(&books, &mut problems);
    report.promised = books.count();
    report.replayed = books.replayed;
    report.short = books.short;
    report.broken = shop.broken();
    report.violations = problems.count;
    report.problems = problems.named;
    Ok(report)
}

/// What HQ and the stores kept aside.
async fn quarantined(fleet: &Fleet, office: &Office) -> Result<(u64, u64)> {
    let hq = office.look("/v1/quarantine").await.context("HQ does not show its quarantine")?;
    let mut stores = 0;
    for site in &fleet.sites {
        let answer = http::get(&site.tills(), "/v1/sync").await?.json();
        stores += answer["quarantined"].as_u64().unwrap_or_default();
    }
    Ok((hq["total"].as_u64().unwrap_or_default(), stores))
}

/// A run in which nothing happened proves nothing.
fn enough(books: &Books, problems: &mut Problems) {
    for store in STORES {
        if books.entries.get(&store).is_none_or(|entries| entries.len() < 50) {
            problems.add(format!("store {store} hardly traded"));
        }
    }
    if books.transfers.is_empty() || books.promised.len() < STORES.len() {
        problems.add("no goods between stores, or no promises".into());
    }
}

/// Breaks the step's parts, waits, mends them: the database first, because workers may wait for it.
async fn one_step(fleet: &mut Fleet, shop: &Shop, step: &[Fault], random: &mut Random) -> Result<()> {
    tokio::time::sleep(random.millis(200, 800)).await;
    for fault in step {
        if let Fault::KillAgent(site) = fault {
            // Aimed at a ticket that waits for its answer.
            let waits = || async { shop.waiting(*site) };
            until("a ticket under way", Duration::from_secs(20), waits).await?;
        }
        fleet.strike(*fault)?;
        tokio::time::sleep(random.millis(0, 400)).await;
    }
    if step.iter().any(|fault| fault.stalls()) {
        tokio::time::sleep(STALL).await;
    } else {
        tokio::time::sleep(random.millis(100, 1500)).await;
    }
    let mut order = step.to_vec();
    order.sort_by_key(|fault| *fault != Fault::KillDatabase);
    for fault in order {
        fleet.heal(fault).await?;
        tokio::time::sleep(random.millis(0, 300)).await;
    }
    Ok(())
}

/// Waits until every store and HQ say that nothing is outstanding.
async fn settled(fleet: &Fleet, office: &Office) -> Result<()> {
    for site in &fleet.sites {
        let server = site.tills();
        let done = || async {
            http::get(&server, "/v1/sync").await.is_ok_and(|answer| {
                let body = answer.json();
                body["brief"]["connected"] == true && body["brief"]["lag"] == 0
            })
        };
        let waited = until(&format!("HQ to have all of store {}", site.store), SETTLE_LIMIT, done).await;
        if waited.is_err() {
            let sync = http::get(&server, "/v1/sync").await.map(|answer| answer.text());
            let stores = office.look("/v1/stores").await;
            waited.with_context(|| format!("store says {sync:?}; HQ says {stores:?}"))?;
        }
    }
    let down = || async {
        let Some(body) = office.look("/v1/stores").await else { return false };
        let rows: Vec<_> = body["stores"].as_array().into_iter().flatten().collect();
        // A worker that was restarted does not know what a quiet store has: then the store's own word, above, counts.
        let level =
            |row: &serde_json::Value| row["lag_down"] == 0 && row["lag_up"].as_u64().unwrap_or_default() == 0;
        STORES.iter().all(|store| rows.iter().any(|row| row["store"] == *store && level(row)))
    };
    let waited = until("the stores to have all of HQ's words", SETTLE_LIMIT, down).await;
    if waited.is_err() {
        let stores = office.look("/v1/stores").await;
        waited.with_context(|| format!("HQ says {stores:?}"))?;
    }
    Ok(())
}

/// HQ's last prices come through the store's own rules (tags, fold), a moment after they arrived.
async fn prices_arrive(shop: &Shop) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let wrong = shop.wrong_prices().await;
        if wrong.is_empty() || Instant::now() > deadline {
            return wrong;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ends the programs with everything settled. What an agent writes at its end is settled by its next run, so the agents are
/// started again until nothing is left over.
async fn at_rest(fleet: &mut Fleet, office: &Office) -> Result<Shown> {
    for _ in 0..4 {
        fleet.stop_agents().await?;
        let level = tokio::task::block_in_place(|| {
            let (hq, stores) = ledgers(fleet)?;
            level(&hq, &stores)
        })?;
        if level {
            break;
        }
        fleet.start_agents().await?;
        settled(fleet, office).await?;
    }
    let shown = Shown {
        transfers: office.look("/v1/transfers").await.context("HQ does not show transfers")?,
        rights: office.look("/v1/rights").await.context("HQ does not show rights")?,
    };
    fleet.stop_agents().await?;
    fleet.stop_workers().await?;
    Ok(shown)
}

/// Every party's ledger. They wait for their answers, also when they are dropped: not for threads that must not wait.
fn ledgers(fleet: &Fleet) -> Result<(Ledger, Vec<(u32, Ledger)>)> {
    let stores = fleet.sites.iter().map(|site| Ok((site.store, Ledger::file(&site.ledger())?)));
    Ok((hq_ledger(fleet)?, stores.collect::<Result<Vec<_>>>()?))
}

fn hq_ledger(fleet: &Fleet) -> Result<Ledger> {
    match fleet.hq_database() {
        Some(url) => Ledger::database(&url),
        None => Ledger::file(&fleet.hq_file()),
    }
}

/// Whether both sides end at the same positions.
fn level(hq: &Ledger, stores: &[(u32, Ledger)]) -> Result<bool> {
    for (store, ledger) in stores {
        let ends = |ledger: &Ledger| -> Result<Vec<_>> {
            Ok(ledger.side(*store)?.logs.into_iter().map(|(log, content)| (log, content.head.head)).collect())
        };
        if ends(ledger)? != ends(hq)? {
            return Ok(false);
        }
    }
    Ok(true)
}
