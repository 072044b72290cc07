//! The trials.

use crate::shop::{self, Agreed, Shop, Sold, Till, Wiring};
use crate::space::{self, BROKER_OF_HQ, BROKER_OF_STORE, Network};
use anyhow::{Context, Result, ensure};
use hil_rig::processes::Process;
use hil_rig::proxy::{Mode, Proxy};
use hil_rig::random::Random;
use hil_rig::{ports, until};
use hil_trials::{Bench, Suite, Trial, Verdict};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Port of the broker in its namespace.
const BROKER_PORT: u16 = 1_883;
/// Port of HQ's listener in its namespace.
const HQ_PORT: u16 = 8_480;
/// From a whole network to everything at HQ.
const BOUND: Duration = Duration::from_secs(120);
/// How long a fault lasts.
const FAULT: Duration = Duration::from_secs(8);
/// Which moments the lossy network chooses.
const SEED: u64 = 0x6e65_7477;
/// One year.
const YEAR_MS: i64 = 365 * 86_400_000;

/// The trials of this rig.
pub fn suite() -> Suite {
    let trial = |name, shows, run| Trial { name, shows, run };
    Suite {
        rig: "network",
        trials: vec![
            trial(
                "cut",
                "the cable pulled and plugged, three times: trade goes on, everything reaches HQ once",
                cut,
            ),
            trial("half-open", "one direction deaf, then the other, nobody closes the connection", half_open),
            trial("slow", "a line of 16 kbit/s: trade does not wait, HQ follows", slow),
            trial("lossy", "bursts of lost frames in either direction", lossy),
            trial("proxy", "connections cut and stalled at seeded moments", proxy),
            trial("clock", "the store's clock a year ahead and a year back while it trades", clock),
        ],
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// A shop in namespaces, and how many tickets it had sold when.
struct Stage {
    network: Network,
    shop: Shop,
    till: Till,
    _broker: Process,
}

impl Stage {
    async fn set(bench: &Bench<'_>) -> Result<Self> {
        let network = Network::lay(&bench.folder)?;
        let command = network.broker.command(&shop::broker_program()?)?;
        let broker = shop::broker(command, &bench.folder, BROKER_PORT)?;
        let wiring = Wiring {
            store: &|program| network.store.command(program),
            hq: &|program| network.hq.command(program),
            broker_of_store: (BROKER_OF_STORE.into(), BROKER_PORT),
            broker_of_hq: (BROKER_OF_HQ.into(), BROKER_PORT),
            hq_port: HQ_PORT,
            environment: Vec::new(),
        };
        let shop = Shop::start(&bench.folder, &bench.place.programs, &wiring).await?;
        let till = shop.till(1);
        Ok(Self { network, shop, till, _broker: broker })
    }

    /// Lets a fault last; answers how many tickets were sold in it.
    async fn endure(&self, fault: Duration) -> Result<u64> {
        let before = self.till.sold();
        tokio::time::sleep(fault).await;
        let sold = self.till.sold() - before;
        ensure!(sold > 0, "nothing was sold in {} s", fault.as_secs());
        Ok(sold)
    }

    async fn end(self, bench: &Bench<'_>) -> Result<(Sold, Duration)> {
        let Self { mut shop, till, network, _broker } = self;
        let sold = till.close().await?;
        let healed = shop.settled("everything to be at HQ", BOUND).await?;
        shop.stop().await?;
        drop(network);
        shop::compare(&bench.folder, &[sold])?;
        Ok((sold, healed))
    }
}

fn told(sold: Sold, healed: Duration, more: &str) -> Verdict {
    Verdict::Passed(format!(
        "{} tickets answered, slowest {} ms, each at HQ once; all there {:.1} s after the last one (bound {} s); {more}",
        sold.tickets,
        sold.slowest.as_millis(),
        healed.as_secs_f64(),
        BOUND.as_secs()
    ))
}

/// Runs a trial that needs namespaces, or says why it cannot.
fn in_spaces(bench: &Bench<'_>, trial: impl AsyncFnOnce(&Stage) -> Result<String>) -> Result<Verdict> {
    if let Some(why) = space::unable(&bench.folder) {
        return Ok(Verdict::Skipped(why));
    }
    runtime()?.block_on(async {
        let stage = Stage::set(bench).await?;
        stage.endure(Duration::from_secs(1)).await?;
        let more = trial(&stage).await?;
        let (sold, healed) = stage.end(bench).await?;
        Ok(told(sold, healed, &more))
    })
}

fn cut(bench: &Bench<'_>) -> Result<Verdict> {
    in_spaces(bench, async |stage| {
        let mut during = 0;
        // Shorter than anybody notices, longer than a retransmission, longer than the keep-alive.
        for seconds in [1, 4, 15] {
            stage.network.plug(false)?;
            during += stage.endure(Duration::from_secs(seconds)).await?;
            stage.network.plug(true)?;
            stage.endure(Duration::from_secs(2)).await?;
        }
        Ok(format!("{during} of them with the cable pulled for 1, 4 and 15 s"))
    })
}

fn half_open(bench: &Bench<'_>) -> Result<Verdict> {
    in_spaces(bench, async |stage| {
        stage.network.deafen_store(true)?;
        let deaf = stage.endure(FAULT).await?;
        stage.network.deafen_store(false)?;
        stage.endure(Duration::from_secs(3)).await?;
        stage.network.mute_store(true)?;
        let mute = stage.endure(FAULT).await?;
        // And for so long that the broker forgets the store.
        until("the store to notice", Duration::from_secs(90), || async { !stage.shop.connected().await })
            .await?;
        stage.network.mute_store(false)?;
        stage.endure(Duration::from_secs(1)).await?;
        Ok(format!("{deaf} of them while the store was deaf, {mute} while it was mute"))
    })
}

/// Bits per second of the slow line.
const SLOW: u32 = 16_000;

fn slow(bench: &Bench<'_>) -> Result<Verdict> {
    in_spaces(bench, async |stage| {
        stage.network.slow(SLOW)?;
        let during = stage.endure(Duration::from_secs(15)).await?;
        stage.network.quick()?;
        Ok(format!("{during} of them in 15 s at {SLOW} bit/s"))
    })
}

fn lossy(bench: &Bench<'_>) -> Result<Verdict> {
    in_spaces(bench, async |stage| {
        let (begun, sold, mut lost, mut moment) =
            (Instant::now(), stage.till.sold(), 0, Random::new(SEED, 0));
        while begun.elapsed() < FAULT * 2 {
            tokio::time::sleep(moment.millis(50, 600)).await;
            let deaf = moment.chance(500);
            let lose = |on| if deaf { stage.network.deafen_store(on) } else { stage.network.mute_store(on) };
            lose(true)?;
            tokio::time::sleep(moment.millis(20, 400)).await;
            lose(false)?;
            lost += 1;
        }
        let during = stage.till.sold() - sold;
        Ok(format!("{during} of them through {lost} bursts of loss"))
    })
}

fn here(program: &Path) -> Result<Command> {
    Ok(Command::new(program))
}

fn wiring(link: u16, broker: u16, environment: Vec<(String, String)>) -> Result<Wiring<'static>> {
    let host = || "127.0.0.1".to_owned();
    Ok(Wiring {
        store: &here,
        hq: &here,
        broker_of_store: (host(), link),
        broker_of_hq: (host(), broker),
        hq_port: ports::reserve()?,
        environment,
    })
}

fn proxy(bench: &Bench<'_>) -> Result<Verdict> {
    runtime()?.block_on(async {
        let (port, link) = (ports::reserve()?, ports::reserve()?);
        let _broker = shop::broker(Command::new(shop::broker_program()?), &bench.folder, port)?;
        let proxy = Proxy::start(link, port).await?;
        let wiring = wiring(link, port, Vec::new())?;
        let mut shop = Shop::start(&bench.folder, &bench.place.programs, &wiring).await?;
        let till = shop.till(1);
        let (begun, mut faults, mut moment) = (Instant::now(), 0, Random::new(SEED, 0));
        while begun.elapsed() < FAULT * 2 {
            tokio::time::sleep(moment.millis(50, 1_500)).await;
            proxy.set(if moment.chance(500) { Mode::Cut } else { Mode::Stall });
            tokio::time::sleep(moment.millis(20, 1_500)).await;
            proxy.set(Mode::Pass);
            faults += 1;
        }
        let sold = till.close().await?;
        let healed = shop.settled("everything to be at HQ", BOUND).await?;
        shop.stop().await?;
        shop::compare(&bench.folder, &[sold])?;
        Ok(told(sold, healed, &format!("{faults} cuts and stalls in {} s", (FAULT * 2).as_secs())))
    })
}

/// The library that shows a program another time of day (Debian: libfaketime).
fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(Result::ok)
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
}

/// Whether the clock can be moved.
pub fn faketime_is_there() -> bool {
    faketime().is_some()
}

fn clock(bench: &Bench<'_>) -> Result<Verdict> {
    let Some(library) = faketime() else {
        return Ok(Verdict::Skipped("libfaketime is not installed".into()));
    };
    let offset = bench.folder.join("offset");
    let set = |text: &str| std::fs::write(&offset, text).context("the clock's offset");
    set("+0d")?;
    // The monotonic clock stays: a wall clock that is set moves only itself.
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", offset.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ];
    let environment = environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    runtime()?.block_on(async {
        let port = ports::reserve()?;
        let _broker = shop::broker(Command::new(shop::broker_program()?), &bench.folder, port)?;
        let wiring = wiring(port, port, environment)?;
        let mut shop = Shop::start(&bench.folder, &bench.place.programs, &wiring).await?;
        let till = shop.till(1);
        for time in ["+0d", "+365d", "-365d", "+0d"] {
            set(time)?;
            let before = till.sold();
            tokio::time::sleep(Duration::from_secs(4)).await;
            ensure!(till.sold() > before, "nothing was sold with the clock at {time}");
        }
        let sold = till.close().await?;
        let healed = shop.settled("everything to be at HQ", BOUND).await?;
        shop.stop().await?;
        let Agreed { jumps, stamps_apart } = shop::compare(&bench.folder, &[sold])?;
        if stamps_apart < YEAR_MS {
            return Ok(Verdict::Skipped("the preloaded clock does not reach the agent".into()));
        }
        ensure!(stamps_apart >= 2 * YEAR_MS - 60_000, "stamps lie {stamps_apart} ms apart");
        ensure!(jumps >= 3, "{jumps} of 3 jumps are recorded as facts");
        Ok(told(
            sold,
            healed,
            &format!("{jumps} jumps recorded, stamps {} days apart", stamps_apart / 86_400_000),
        ))
    })
}
