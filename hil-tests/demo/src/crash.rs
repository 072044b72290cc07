//! The crash campaign: SIGKILL of the agent at random instants under till load.
//!
//! One round: tills sell for a random time, the agent is killed while requests wait for their answers, it is started again,
//! every till gets the answer to the ticket it had under way, and then the store's log must hold every acknowledged
//! ticket exactly once and nothing else. Some old tickets are posted again under their old keys: the answer must be the
//! first one. At the end the ledger files of store and HQ are opened and the whole of both is verified.

use crate::catalogue::{self, STORE};
use crate::oracle;
use crate::posting::Counter;
use crate::programs::{Places, Programs};
use crate::random::Random;
use crate::tills::{Hours, Shop, Till};
use anyhow::{Context, Result, bail};
use hil_rig::{http, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Tills of the campaign.
const TILLS: u16 = 6;
/// Rounds between two verifications of the whole ledger by the running agent.
const VERIFY_EVERY: u32 = 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often the agent is killed.
    pub rounds: u32,
    /// Which random instants.
    pub seed: u64,
    /// One JSON line instead of text.
    pub json: bool,
    /// Folder with the programs under test.
    pub programs: PathBuf,
}

/// What came out.
#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    /// Requests that waited for an answer at the moment of a kill, summed over the rounds.
    in_flight: usize,
    /// Old tickets posted again.
    reposted: u32,
    /// Sales seen in the store's log.
    sales: BTreeSet<String>,
    /// Where to read on in the store's log.
    after: Option<String>,
}

/// Runs the campaign. `Ok(false)`: it ran, and something does not hold; the reasons are on standard error.
pub async fn campaign(options: Options) -> Result<bool> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-crash-").tempdir().context("make the run's folder")?;
    let started = Instant::now();
    let outcome = run(&options, folder.path()).await;
    let (report, problems) = match outcome {
        Ok(pair) => pair,
        Err(error) => {
            eprintln!("the run is kept in {}", folder.keep().display());
            return Err(error);
        }
    };
    for problem in &problems {
        eprintln!("problem: {problem}");
    }
    if !problems.is_empty() {
        eprintln!("the run is kept in {}", folder.keep().display());
    }
    let report = Report { seconds: started.elapsed().as_secs(), ok: problems.is_empty(), ..report };
    if options.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.text());
    }
    Ok(report.ok)
}

/// The closing line.
#[derive(Debug, Default)]
struct Report {
    seed: u64,
    rounds: u32,
    in_flight: usize,
    broken: u64,
    acked: usize,
    in_store: u64,
    in_hq: u64,
    lost: u64,
    duplicated: u64,
    reposted: u32,
    chain_ok: bool,
    seconds: u64,
    ok: bool,
}

impl Report {
    fn json(&self) -> Value {
        json!({
            "schema": "steelyard.crash/1", "seed": self.seed, "rounds": self.rounds,
            "requests_in_flight_at_kills": self.in_flight, "answers_lost_in_kills": self.broken,
            "tickets_acked": self.acked, "tickets_in_store": self.in_store, "tickets_in_hq": self.in_hq,
            "lost": self.lost, "duplicated": self.duplicated, "reposted": self.reposted,
            "chain_ok": self.chain_ok, "seconds": self.seconds, "ok": self.ok,
        })
    }

    fn text(&self) -> String {
        format!(
            "{} rounds in {} s (seed {}): {} requests waited at the kills, {} answers were lost in them\n\
             tickets acknowledged {}, in store {}, at HQ {}, lost {}, duplicated {}, posted again {}\n\
             chain and folds {}: {}",
            self.rounds,
            self.seconds,
            self.seed,
            self.in_flight,
            self.broken,
            self.acked,
            self.in_store,
            self.in_hq,
            self.lost,
            self.duplicated,
            self.reposted,
            if self.chain_ok { "verified" } else { "BROKEN" },
            if self.ok { "ok" } else { "FAILED" },
        )
    }
}

async fn run(options: &Options, folder: &Path) -> Result<(Report, Vec<String>)> {
    let places = Places::new(folder, &options.programs)?;
    std::fs::write(places.config(), config(&places)).context("write the configuration")?;
    let mut programs = Programs::start(places.clone()).await?;
    programs.start_agent().await?;
    let mut random = Random::new(options.seed, 0);
    let articles = catalogue::shelf(12, &mut random);
    catalogue::publish(&places.hq(), &articles).await?;
    let shelf = articles.iter().map(|article| (article.sku, article.weighed)).collect();
    let shop = Shop::new(Counter::new(places.tills()), shelf);
    wait_for_prices(&shop).await?;

    let idle = Arc::new(Semaphore::new(usize::from(TILLS)));
    let mut tills = JoinSet::new();
    for till in 1..=TILLS {
        let random = Random::new(options.seed, u64::from(till));
        tills.spawn(Till::new(Arc::clone(&shop), till, (0, 4), random).work(Arc::clone(&idle)));
    }
    let mut tally = Tally::default();
    for round in 1..=options.rounds {
        one_round(&shop, &idle, &mut programs, &mut random, &mut tally)
            .await
            .with_context(|| format!("round {round}"))?;
        if round % VERIFY_EVERY == 0 || round == options.rounds {
            verify(&places).await?;
            eprintln!("{round} rounds, {} tickets acknowledged and found", tally.sales.len());
        }
        let faults = shop.books().faults.clone();
        if !faults.is_empty() {
            bail!("round {round}: {}", faults.join("; "));
        }
    }
    shop.hours.send_replace(Hours::Closed);
    while tills.join_next().await.is_some() {}
    settle(options, &places, &mut programs, &shop, &tally).await
}

/// A configuration with tills only.
fn config(places: &Places) -> String {
    format!(
        "[store]\nid = {STORE}\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\n[ledger]\ndir = \"store\"\n\
         reserve_bytes = 1048576\n\n[api]\nsocket = \"agent.sock\"\nlisten = \"127.0.0.1:{}\"\n\n[hq]\n\
         host = \"127.0.0.1\"\nport = {}\nkeep_alive_s = 5\nlinger_ms = 100\nretry_min_ms = 500\n\
         retry_max_ms = 4000\nhello_s = 2\n",
        places.till_port, places.link_port
    )
}

/// Waits until every article has a price at the tills.
pub(crate) async fn wait_for_prices(shop: &Shop) -> Result<()> {
    for (sku, _) in &shop.articles {
        let path = format!("/v1/prices/{sku}");
        let priced = || async {
            http::get(shop.counter.server(), &path).await.is_ok_and(|answer| answer.status == 200)
        };
        until(&format!("the price of {sku}"), Duration::from_secs(60), priced).await?;
    }
    Ok(())
}

async fn one_round(
    shop: &Arc<Shop>,
    idle: &Semaphore,
    programs: &mut Programs,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<()> {
    shop.hours.send_replace(Hours::Open);
    tokio::time::sleep(random.millis(5, 500)).await;
    let waiting = || async { shop.counter.waiting() > 0 };
    until("a request that waits for its answer", Duration::from_secs(20), waiting).await?;
    tally.in_flight += shop.counter.waiting();
    programs.kill_agent()?;
    tally.rounds += 1;
    // The tills keep asking while the agent is away; what they had under way is answered after the start.
    shop.hours.send_replace(Hours::Paused);
    programs.start_agent().await?;
    let all = idle.acquire_many(u32::from(TILLS));
    let quiet =
        tokio::time::timeout(Duration::from_secs(120), all).await.context("the tills got no answers")??;
    check_log(shop, tally).await?;
    repost(shop, random, tally).await?;
    drop(quiet);
    Ok(())
}

/// Reads the new part of the store's log through the API: each acknowledged ticket once, nothing else.
async fn check_log(shop: &Shop, tally: &mut Tally) -> Result<()> {
    loop {
        let path = match &tally.after {
            Some(after) => format!("/v1/events?after={after}&limit=500"),
            // Before the first event of the first epoch.
            None => "/v1/events?after=0.0&limit=500".to_owned(),
        };
        let answer = http::get(shop.counter.server(), &path).await?;
        let body = answer.json();
        let rows = body["events"].as_array().with_context(|| format!("no events: {}", answer.text()))?;
        for row in rows.iter().filter(|row| row["kind"] == "sale") {
            let id = row["id"].as_str().context("an event without an id")?.to_owned();
            if !tally.sales.insert(id.clone()) {
                bail!("the log shows sale {id} twice");
            }
        }
        let Some(next) = body["next"].as_str().filter(|_| !rows.is_empty()) else { break };
        tally.after = Some(next.to_owned());
    }
    let acked: BTreeSet<String> = shop.books().tickets.values().map(|ticket| ticket.id.clone()).collect();
    let lost: Vec<_> = acked.difference(&tally.sales).collect();
    let extra: Vec<_> = tally.sales.difference(&acked).collect();
    if !lost.is_empty() || !extra.is_empty() {
        bail!("acknowledged and not in the log: {lost:?}; in the log and not acknowledged: {extra:?}");
    }
    Ok(())
}

/// Posts two old tickets again, word for word: the answer must be the first one.
async fn repost(shop: &Shop, random: &mut Random, tally: &mut Tally) -> Result<()> {
    for _ in 0..2 {
        let posted = shop.posted();
        if posted.is_empty() {
            return Ok(());
        }
        let old = random.pick(&posted);
        let again = shop.counter.post("/v1/tickets", &old.key, &old.body, random).await?;
        let first = crate::posting::Outcome::Accepted { id: old.id.clone(), replayed: true };
        if again != first {
            bail!("ticket under key {} was answered {} first and {again:?} again", old.key, old.id);
        }
        tally.reposted += 1;
    }
    Ok(())
}

/// The running agent recomputes chain and folds from its log.
async fn verify(places: &Places) -> Result<()> {
    let request = http::Request {
        method: "POST",
        path: "/v1/ledger/verify",
        headers: &[],
        body: None,
        limit: Duration::from_secs(120),
    };
    let answer = http::send(&places.people(), &request).await?;
    if answer.status != 200 || answer.json()["ok"] != true {
        bail!("the ledger does not verify: {} {}", answer.status, answer.text());
    }
    Ok(())
}

/// Waits for HQ, ends everything, opens both files.
async fn settle(
    options: &Options,
    places: &Places,
    programs: &mut Programs,
    shop: &Shop,
    tally: &Tally,
) -> Result<(Report, Vec<String>)> {
    let view = oracle::finish(places, programs).await?;
    let books = shop.books().clone();
    let mut problems = Vec::new();
    let found = oracle::compare(&books, &view, &mut problems);
    let chain_ok = oracle::verify(places, &mut problems);
    let report = Report {
        seed: options.seed,
        rounds: tally.rounds,
        in_flight: tally.in_flight,
        broken: shop.counter.broken(),
        acked: books.tickets.len(),
        in_store: found.tickets_in_store,
        in_hq: found.tickets_in_hq,
        lost: found.lost,
        duplicated: found.duplicated,
        reposted: tally.reposted,
        chain_ok,
        ..Report::default()
    };
    Ok((report, problems))
}
