//! The whole store of one size on one machine, with the real agent: what it reads, what it costs, and whether it loses anything.
//!
//! Sizes follow the project's table of store sizes: cabinets, scales, steamers, tags. Far ends are the rig's: buses behind TCP
//! ports and pseudo-terminals, scales on pseudo-terminals, a 1-Wire tree, and tags in the air of the fake BlueZ.
//!
//! Honest limits: a tag in the air costs this machine a D-Bus object and two tasks, and the agent writes tags one after the
//! other, so only `live` of the tags are in the air and have a price to show; the others are configured and listened for, and
//! have no price yet. Both numbers are printed. CPU and memory are those of the agent's process, from `/proc`.

use crate::catalogue;
use crate::cold::{sensor, w1_slave};
use crate::crash::wait_for_prices;
use crate::customers::{CAPACITY_G, INTERVAL_G, Platform};
use crate::day::interrupted;
use crate::layout::{TAG_MODEL, head};
use crate::posting::Counter;
use crate::programs::{Places, Programs};
use crate::random::Random;
use crate::tills::{Shop, locked};
use anyhow::{Context, Result, bail};
use drv_protocol::MilliCelsius;
use drv_protocol::gicisky::Model;
use drv_sim::cabinet::CabinetConfig;
use drv_sim::steamer::SteamerConfig;
use drv_sim::{ModbusSim, TagSim};
use hil_rig::bluez::{FakeBluez, FakeTag, PrivateBus};
use hil_rig::clock::now_ms;
use hil_rig::fleet;
use hil_rig::http;
use hil_rig::modbus_tcp::ModbusTcp;
use hil_rig::pty::FarEnd;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Units of one cabinets' gateway or steamers' gateway at most.
const GATEWAY_UNITS: u8 = 30;
/// Units of one serial bus.
const LINE_UNITS: u8 = 8;
/// Time between two rows of the table.
const ROW: Duration = Duration::from_secs(5);
/// How long everything may take to be heard.
const SETTLE: Duration = Duration::from_secs(180);
/// Pauses of the customers of one scale, in milliseconds.
const CUSTOMERS_MS: (u64, u64) = (2_000, 8_000);
/// Where the air of a warm cabinet goes.
const HOT: MilliCelsius = MilliCelsius(15_000);
/// How long one cabinet is warm; another one follows.
const WARM_FOR: Duration = Duration::from_secs(12);
/// Ticks of one second in `/proc/PID/stat`; fixed by the kernel's interface to user space.
const TICKS_PER_S: f64 = 100.0;

/// What a store of a size has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Cabinets behind TCP gateways.
    pub cabinets_tcp: u16,
    /// Cabinets on serial buses.
    pub cabinets_serial: u16,
    /// Cabinets with a 1-Wire probe.
    pub probes: u8,
    /// Scales.
    pub scales: u64,
    /// Steamers.
    pub steamers: u8,
    /// Tags in the air.
    pub live: u16,
    /// Tags in the configuration, those in the air included.
    pub tags: u16,
}

impl Size {
    /// 40 cabinets, 4 scales, 6 steamers, 8,000 tags.
    pub const SMALL: Self = Self {
        cabinets_tcp: 30,
        cabinets_serial: 8,
        probes: 2,
        scales: 4,
        steamers: 6,
        live: 60,
        tags: 8_000,
    };
    /// 150 cabinets, 24 scales, 12 steamers, 20,000 tags.
    pub const HYPER: Self = Self {
        cabinets_tcp: 112,
        cabinets_serial: 32,
        probes: 6,
        scales: 24,
        steamers: 12,
        live: 120,
        tags: 20_000,
    };

    fn cabinets(&self) -> u16 {
        self.cabinets_tcp + self.cabinets_serial + u16::from(self.probes)
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// How large.
    pub size: Size,
    /// How long; `None`: until Ctrl-C.
    pub seconds: Option<u64>,
    /// Only the closing JSON line on standard output.
    pub json: bool,
    /// Everything random.
    pub seed: u64,
    /// Folder with the programs under test.
    pub programs: PathBuf,
    /// Folder with the device profiles.
    pub profiles: PathBuf,
}

/// Groups of units on buses: (bus number, unit) of device `index`, with `per_bus` units on each.
fn seat(index: u16, per_bus: u8) -> (u16, u8) {
    let unit = u8::try_from(index % u16::from(per_bus)).unwrap_or(0) + 1;
    (index / u16::from(per_bus), unit)
}

/// How many units bus `number` has when `count` devices sit on buses of `per_bus`.
fn seats(count: u16, per_bus: u8, number: u16) -> u8 {
    let left = count.saturating_sub(number * u16::from(per_bus));
    u8::try_from(left).unwrap_or(u8::MAX).min(per_bus)
}

fn buses(count: u16, per_bus: u8) -> u16 {
    count.div_ceil(u16::from(per_bus))
}

/// The far ends.
struct FarEnds {
    gateways: Vec<(u16, Arc<Mutex<ModbusSim>>, ModbusTcp)>,
    lines: Vec<(PathBuf, Arc<Mutex<ModbusSim>>, FarEnd)>,
    steam: Vec<(u16, Arc<Mutex<ModbusSim>>, ModbusTcp)>,
    scales: Vec<(PathBuf, Option<Platform>)>,
    w1: PathBuf,
    tags: Vec<Arc<Mutex<TagSim>>>,
    _bluez: FakeBluez,
    bus: PrivateBus,
}

/// Steamers of one gateway.
const STEAMERS_PER_GATEWAY: u8 = 10;

impl FarEnds {
    async fn start(size: &Size, folder: &Path, seed: u64) -> Result<Self> {
        let serial = folder.join("serial");
        let w1 = folder.join("w1");
        std::fs::create_dir_all(&serial).context("create the folder of the serial ports")?;
        let cabinet = CabinetConfig { tau_ms: 10_000, ..CabinetConfig::default() };
        let mut gateways = Vec::new();
        for number in 0..buses(size.cabinets_tcp, GATEWAY_UNITS) {
            let units = seats(size.cabinets_tcp, GATEWAY_UNITS, number);
            let bus = fleet::cabinets(1..=units, cabinet, seed.wrapping_add(u64::from(number)));
            let port = hil_rig::ports::reserve()?;
            let server = fleet::serve(port, &bus).await?;
            gateways.push((port, bus, server));
        }
        let mut lines = Vec::new();
        for number in 0..buses(size.cabinets_serial, LINE_UNITS) {
            let units = seats(size.cabinets_serial, LINE_UNITS, number);
            let bus = fleet::cabinets(1..=units, cabinet, seed.wrapping_add(100 + u64::from(number)));
            let link = serial.join(format!("cold-{number}"));
            let far_end = fleet::plug_bus(&link, &bus)?;
            lines.push((link, bus, far_end));
        }
        let mut steam = Vec::new();
        for number in 0..buses(size.steamers.into(), STEAMERS_PER_GATEWAY) {
            let count = seats(size.steamers.into(), STEAMERS_PER_GATEWAY, number);
            let bus =
                fleet::steamers(count, SteamerConfig::default(), seed.wrapping_add(200 + u64::from(number)));
            let port = hil_rig::ports::reserve()?;
            let server = fleet::serve(port, &bus).await?;
            steam.push((port, bus, server));
        }
        let mut scales = Vec::new();
        for number in 1..=size.scales {
            let link = serial.join(format!("scale-{number}"));
            let platform = Platform::plug(number, &link, true)?;
            scales.push((link, Some(platform)));
        }
        for probe in 0..size.probes {
            let at = w1.join(sensor(probe));
            std::fs::create_dir_all(&at).context("create the 1-Wire tree")?;
            std::fs::write(at.join("w1_slave"), w1_slave(MilliCelsius(3_000)))
                .context("write a 1-Wire probe")?;
        }
        let bus = PrivateBus::start(folder).await?;
        let model = Model::find(TAG_MODEL).context("the tags' model is unknown")?;
        let tag =
            |index: u16| Arc::new(Mutex::new(TagSim::new(model, 2900, seed.wrapping_add(u64::from(index)))));
        let tags: Vec<_> = (0..size.live).map(tag).collect();
        let air = (0..).zip(&tags).map(|(index, tag)| FakeTag { address: address(index), tag: tag.clone() });
        let bluez = FakeBluez::start(&bus.address(), air.collect(), Duration::from_secs(10)).await?;
        Ok(Self { gateways, lines, steam, scales, w1, tags, _bluez: bluez, bus })
    }

    /// Requests that units and scales have heard, and images that tags have shown.
    fn counts(&self) -> (u64, u64) {
        let buses =
            self.gateways.iter().map(|(_, bus, _)| bus).chain(self.lines.iter().map(|(_, bus, _)| bus));
        let asked = buses.chain(self.steam.iter().map(|(_, bus, _)| bus)).map(|bus| {
            let bus = locked(bus);
            (1..=u8::MAX).map(|unit| bus.requests(unit)).sum::<u64>()
        });
        let shown = self.tags.iter().map(|tag| locked(tag).history().len());
        (asked.sum(), u64::try_from(shown.sum::<usize>()).unwrap_or(u64::MAX))
    }
}

/// Address of tag `index`.
fn address(index: u16) -> String {
    let [high, low] = index.to_be_bytes();
    format!("FF:FF:92:00:{high:02X}:{low:02X}")
}

/// Article of a tag: those in the air have one that is sold, the others one without a price.
fn sku(size: &Size, index: u16) -> u64 {
    let base = if index < size.live { catalogue::FIRST_SKU } else { 1_000_000 };
    base + u64::from(index)
}

fn config(places: &Places, far_ends: &FarEnds, options: &StoreOptions) -> Result<String> {
    let size = &options.size;
    let mut text = String::new();
    head(&mut text, places, &options.profiles)?;
    writeln!(
        text,
        "[w1]\nroot = \"{}\"\n\n[ble]\nconnect_timeout_ms = 5000\nlost_after_ms = 3600000\n",
        far_ends.w1.display()
    )?;
    for (number, (port, _, _)) in far_ends.gateways.iter().enumerate() {
        bus(
            &mut text,
            &format!("net-{number}"),
            &format!("kind = \"modbus-tcp\"\naddress = \"127.0.0.1:{port}\""),
        )?;
    }
    for (number, (link, _, _)) in far_ends.lines.iter().enumerate() {
        let at = format!("kind = \"modbus-rtu\"\nport = \"{}\"\nbaud = 19200", link.display());
        bus(&mut text, &format!("line-{number}"), &at)?;
    }
    for (number, (port, _, _)) in far_ends.steam.iter().enumerate() {
        bus(
            &mut text,
            &format!("steam-{number}"),
            &format!("kind = \"modbus-tcp\"\naddress = \"127.0.0.1:{port}\""),
        )?;
    }
    for (number, (link, _)) in (1..).zip(&far_ends.scales) {
        writeln!(
            text,
            "[[scale]]\nid = \"scale-{number}\"\nprotocol = \"toledo-8217\"\nport = \"{}\"\nbaud = 9600\n\
             interval_g = {INTERVAL_G}\ncapacity_g = {CAPACITY_G}\npoll_ms = 250\nlost_after_ms = 10000\n",
            link.display()
        )?;
    }
    for index in 0..size.cabinets() {
        writeln!(
            text,
            "[[cabinet]]\nid = \"cold-{index}\"\n{}\npoll_ms = 1000\nlost_after_ms = 10000\nhigh_mc = 5000\n\
             low_mc = -5000\ndelay_s = 3\ndifference_mc = 500\n",
            place(size, index)
        )?;
    }
    for index in 0..size.steamers {
        let (number, seat) = seat(index.into(), STEAMERS_PER_GATEWAY);
        let unit = (seat - 1) * fleet::STEAMER_UNITS + 1;
        writeln!(
            text,
            "[[steamer]]\nid = \"steamer-{index}\"\nbus = \"steam-{number}\"\nunit = {unit}\nprofile = \"steamer-e5cc\"\n\
             poll_ms = 1000\nlost_after_ms = 10000\n"
        )?;
    }
    for index in 0..size.tags {
        writeln!(
            text,
            "[[tag]]\nid = \"tag-{index}\"\naddress = \"{}\"\nmodel = {TAG_MODEL}\nsku = {}\n",
            address(index),
            sku(size, index)
        )?;
    }
    Ok(text)
}

fn bus(text: &mut String, id: &str, at: &str) -> std::fmt::Result {
    writeln!(text, "[[bus]]\nid = \"{id}\"\n{at}\ntimeout_ms = 1000\n")
}

/// Where cabinet `index` is.
fn place(size: &Size, index: u16) -> String {
    let on = |bus: &str, (number, unit): (u16, u8)| {
        format!("bus = \"{bus}-{number}\"\nunit = {unit}\nprofile = \"danfoss-ak-cc55\"")
    };
    if index < size.cabinets_tcp {
        return on("net", seat(index, GATEWAY_UNITS));
    }
    let index = index - size.cabinets_tcp;
    if index < size.cabinets_serial {
        return on("line", seat(index, LINE_UNITS));
    }
    let probe = u8::try_from(index - size.cabinets_serial).unwrap_or(0);
    format!("w1 = \"{}\"", sensor(probe))
}

/// Runs the store. `Ok(false)`: it ran, and a device was lost or a promise of the script was broken.
pub async fn store(options: StoreOptions) -> Result<bool> {
    let folder =
        tempfile::Builder::new().prefix("steelyard-store-").tempdir().context("make the run's folder")?;
    let (stop, stopped) = watch::channel(false);
    let outcome = {
        let work = run(&options, folder.path(), stopped);
        tokio::pin!(work);
        tokio::select! {
            outcome = &mut work => outcome,
            signal = interrupted() => {
                signal?;
                stop.send_replace(true);
                work.await
            }
        }
    };
    match outcome {
        Ok(closing) => {
            println!("{closing}");
            Ok(closing["ok"] == true)
        }
        Err(error) => {
            eprintln!("the run is kept in {}", folder.keep().display());
            Err(error)
        }
    }
}

async fn run(options: &StoreOptions, folder: &Path, mut stop: watch::Receiver<bool>) -> Result<Value> {
    let size = &options.size;
    let started = Instant::now();
    let say = |what: &str| eprintln!("{:>6.1} s  {what}", started.elapsed().as_secs_f64());
    say(&format!(
        "starting {} cabinets, {} scales, {} steamers, {} of {} tags in the air",
        size.cabinets(),
        size.scales,
        size.steamers,
        size.live,
        size.tags
    ));
    let places = Places::new(folder, &options.programs)?;
    let mut far_ends = FarEnds::start(size, folder, options.seed).await?;
    std::fs::write(places.config(), config(&places, &far_ends, options)?)
        .context("write the configuration")?;
    let mut programs = Programs::start(places.clone()).await?;
    programs.set("DBUS_SYSTEM_BUS_ADDRESS", &far_ends.bus.address());
    programs.start_agent().await?;
    let mut random = Random::new(options.seed, 1);
    let articles = catalogue::shelf(size.live.into(), &mut random);
    catalogue::publish(&places.hq(), &articles).await?;
    let sold = articles.iter().take(20).map(|article| (article.sku, article.weighed)).collect();
    let shop = Shop::new(Counter::new(places.tills()), sold);
    wait_for_prices(&shop).await?;
    say("waiting until every device on a cable is heard");
    heard(&places, size).await?;

    let mut customers = JoinSet::new();
    for (number, platform) in
        (0..).zip(far_ends.scales.iter_mut().filter_map(|(_, platform)| platform.take()))
    {
        let random = Random::new(options.seed, 500 + number);
        customers.spawn(platform.serve(Arc::clone(&shop), CUSTOMERS_MS, random, stop.clone()));
    }
    say("open");
    let pid = programs.agent_id().context("the agent does not run")?;
    let before = good(&places, size).await?;
    let mut watch = Watch::new(&far_ends, pid, before)?;
    let heat = heat(
        far_ends.gateways.iter().map(|(_, bus, _)| Arc::clone(bus)).collect(),
        options.seed,
        stop.clone(),
    );
    let heat = tokio::spawn(heat);
    let opened = Instant::now();
    let limit = options.seconds.map(Duration::from_secs);
    let mut lost = 0;
    while !*stop.borrow() && limit.is_none_or(|limit| opened.elapsed() < limit) {
        let row = limit.map_or(ROW, |limit| limit.saturating_sub(opened.elapsed()).min(ROW));
        tokio::select! {
            () = tokio::time::sleep(row) => {}
            _ = stop.changed() => {}
        }
        if let Some(ended) = programs.ended().first() {
            bail!("{ended}");
        }
        let view = Look::take(&places).await?;
        lost = lost.max(view.lost);
        view.tell();
        let weighings = shop.books().weighings.values().map(Vec::len).sum::<usize>();
        let text = watch.row(&far_ends, opened.elapsed(), &view, weighings)?;
        if options.json { eprintln!("{text}") } else { println!("{text}") }
    }
    // Before the customers go: they hold the plugs of their scales.
    let line = closing(options, &far_ends, &places, &shop, &watch, lost, opened.elapsed()).await;
    customers.shutdown().await;
    heat.abort();
    line
}

/// The closing line.
async fn closing(
    options: &StoreOptions,
    far_ends: &FarEnds,
    places: &Places,
    shop: &Shop,
    watch: &Watch,
    lost: u64,
    took: Duration,
) -> Result<Value> {
    let (asked, shown) = far_ends.counts();
    let view = Look::take(places).await?;
    let good = good(places, &options.size).await?;
    let alarms = alarms(places).await?;
    let (weighings, faults) = {
        let books = shop.books();
        (books.weighings.values().map(Vec::len).sum::<usize>(), books.faults.clone())
    };
    faults.iter().for_each(|fault| eprintln!("problem: {fault}"));
    let scale_polls: u64 = far_ends.scales.len().try_into().unwrap_or(0);
    let (cpu_s, pss) = (watch.cpu_s()? - watch.cpu_before_s, pss_bytes(watch.pid)?);
    let size = &options.size;
    let lost = lost.max(view.lost);
    view.tell();
    Ok(json!({
        "store": true, "seconds": took.as_secs(),
        "cabinets": size.cabinets(), "scales": scale_polls, "steamers": size.steamers,
        "tags_live": size.live, "tags_configured": size.tags,
        "readings": good.saturating_sub(watch.good_before), "requests_at_far_ends": asked - watch.asked_before,
        "weighings": weighings, "alarms": alarms, "tags_done": shown,
        "cpu_share": cpu_s / took.as_secs_f64(), "pss_bytes": pss, "lost_devices": lost,
        "ok": lost == 0 && faults.is_empty() && view.degraded == 0,
    }))
}

/// Waits until every device on a cable answers.
async fn heard(places: &Places, size: &Size) -> Result<()> {
    let started = Instant::now();
    loop {
        let view = Look::take(places).await?;
        let cables = u64::from(size.cabinets()) + size.scales + u64::from(size.steamers);
        if view.ok_on_cables == cables {
            return Ok(());
        }
        if started.elapsed() > SETTLE {
            bail!("{} of {cables} devices on cables are ok {SETTLE:?} after the start", view.ok_on_cables);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Usable answers of all devices on cables since the agent started.
async fn good(places: &Places, size: &Size) -> Result<u64> {
    let cabinets = (0..size.cabinets()).map(|index| format!("cold-{index}"));
    let scales = (1..=size.scales).map(|number| format!("scale-{number}"));
    let steamers = (0..size.steamers).map(|index| format!("steamer-{index}"));
    let mut sum = 0;
    for id in cabinets.chain(scales).chain(steamers) {
        let answer = http::get(&places.tills(), &format!("/v1/devices/{id}")).await?;
        sum += answer.json()["counters"]["good"].as_u64().with_context(|| format!("{id} has no counters"))?;
    }
    Ok(sum)
}

/// Alarms that were raised, whatever became of them.
async fn alarms(places: &Places) -> Result<usize> {
    let answer = http::get(&places.tills(), "/v1/alarms?all=true").await?;
    Ok(answer.json()["alarms"].as_array().map_or(0, Vec::len))
}

/// Lets a cabinet get warm now and then, so that there are alarms.
async fn heat(buses: Vec<Arc<Mutex<ModbusSim>>>, seed: u64, mut stop: watch::Receiver<bool>) {
    let mut random = Random::new(seed, 900);
    let mut warm: Option<(usize, u8)> = None;
    while !*stop.borrow_and_update() {
        let turn = |at: Option<(usize, u8)>, hot: bool| {
            let Some((bus, unit)) = at else { return };
            let Some(bus) = buses.get(bus) else { return };
            if let Some(cabinet) = locked(bus).cabinet_mut(unit) {
                if hot { cabinet.begin_excursion(HOT, now_ms()) } else { cabinet.end_excursion(now_ms()) }
            }
        };
        turn(warm, false);
        let bus = usize::try_from(random.between(0, buses.len().max(1) as u64 - 1)).unwrap_or(0);
        warm = Some((bus, u8::try_from(random.between(1, 20)).unwrap_or(1)));
        turn(warm, true);
        tokio::select! {
            () = tokio::time::sleep(WARM_FOR) => {}
            _ = stop.changed() => {}
        }
    }
}

/// What the agent says in brief.
struct Look {
    ok_on_cables: u64,
    degraded: u64,
    lost: u64,
    alarms: u64,
    troubles: Vec<Value>,
}

impl Look {
    /// Says what is lost, so that a run that ends with less than all says why.
    fn tell(&self) {
        for trouble in self.troubles.iter().filter(|_| self.lost > 0) {
            eprintln!("problem: {} {}: {}", trouble["devices"], trouble["cause"], trouble["reason"]);
        }
    }

    async fn take(places: &Places) -> Result<Self> {
        let answer = http::get(&places.tills(), "/v1/status").await?;
        if !answer.is_success() {
            bail!("/v1/status: {}: {}", answer.status, answer.text());
        }
        let status = answer.json();
        let sum = |classes: &[&str], key: &str| {
            classes.iter().filter_map(|class| status["devices"][class][key].as_u64()).sum::<u64>()
        };
        let all = ["scale", "cabinet", "steamer", "tag"];
        Ok(Self {
            ok_on_cables: sum(&["scale", "cabinet", "steamer"], "ok"),
            degraded: sum(&all, "degraded"),
            lost: sum(&all, "lost"),
            alarms: status["alarms"]["open"].as_u64().unwrap_or(0),
            troubles: status["troubles"].as_array().cloned().unwrap_or_default(),
        })
    }
}

/// What the rows are counted from.
struct Watch {
    pid: u32,
    cpu_before_s: f64,
    asked_before: u64,
    good_before: u64,
    last: (Instant, f64, u64),
    rows: u64,
}

impl Watch {
    fn new(far_ends: &FarEnds, pid: u32, good_before: u64) -> Result<Self> {
        let asked = far_ends.counts().0;
        let cpu = cpu_s(pid)?;
        Ok(Self {
            pid,
            cpu_before_s: cpu,
            asked_before: asked,
            good_before,
            last: (Instant::now(), cpu, asked),
            rows: 0,
        })
    }

    fn cpu_s(&self) -> Result<f64> {
        cpu_s(self.pid)
    }

    fn row(&mut self, far_ends: &FarEnds, at: Duration, view: &Look, weighings: usize) -> Result<String> {
        let (asked, shown) = far_ends.counts();
        let cpu = self.cpu_s()?;
        let (then, cpu_then, asked_then) = std::mem::replace(&mut self.last, (Instant::now(), cpu, asked));
        let span = then.elapsed().as_secs_f64().max(0.001);
        let head = if self.rows.is_multiple_of(12) {
            format!(
                "{:>7} {:>10} {:>9} {:>10} {:>7} {:>6} {:>7} {:>9} {:>5}\n",
                "seconds",
                "requests/s",
                "cables ok",
                "weighings",
                "alarms",
                "tags",
                "cpu %",
                "PSS MiB",
                "lost"
            )
        } else {
            String::new()
        };
        self.rows += 1;
        let rate = f64::from(u32::try_from(asked - asked_then).unwrap_or(u32::MAX)) / span;
        let mib = f64::from(u32::try_from(pss_bytes(self.pid)? >> 10).unwrap_or(u32::MAX)) / 1024.0;
        Ok(format!(
            "{head}{:>7} {rate:>10.0} {:>9} {weighings:>10} {:>7} {shown:>6} {:>7.1} {mib:>9.1} {:>5}",
            at.as_secs(),
            view.ok_on_cables,
            view.alarms,
            (cpu - cpu_then) / span * 100.0,
            view.lost
        ))
    }
}

/// CPU seconds that a process has used.
fn cpu_s(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read the agent's CPU time")?;
    // The name in brackets may hold blanks: fields are counted after it. utime and stime are fields 14 and 15 of all.
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).context("an odd /proc/PID/stat")?;
    let mut fields = rest.split_ascii_whitespace().skip(11).take(2);
    let mut ticks =
        || fields.next().and_then(|text| text.parse::<u32>().ok()).context("an odd /proc/PID/stat");
    Ok(f64::from(ticks()? + ticks()?) / TICKS_PER_S)
}

/// Proportional set size of a process.
fn pss_bytes(pid: u32) -> Result<u64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("read the agent's memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss in smaps_rollup")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("an odd Pss")?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_seat_for_every_device() {
        for size in [Size::SMALL, Size::HYPER] {
            let places: std::collections::BTreeSet<String> =
                (0..size.cabinets()).map(|index| place(&size, index)).collect();
            assert_eq!(places.len(), usize::from(size.cabinets()));
            for index in 0..size.cabinets_tcp {
                let (bus, unit) = seat(index, GATEWAY_UNITS);
                assert!(unit >= 1 && unit <= seats(size.cabinets_tcp, GATEWAY_UNITS, bus), "{index}");
            }
        }
        assert_eq!((Size::HYPER.cabinets(), Size::SMALL.cabinets()), (150, 40));
        assert_eq!(buses(Size::HYPER.cabinets_tcp, GATEWAY_UNITS), 4);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_s(pid).unwrap() >= 0.0 && pss_bytes(pid).unwrap() > 4096);
    }

    #[test]
    fn devices_on_the_fleet_have_the_clock_of_the_rig() {
        let bus = fleet::cabinets(1..=200, CabinetConfig::default(), 1);
        assert!(locked(&bus).cabinet_mut(200).is_some_and(|cabinet| cabinet.temperature(now_ms()).0 > 0));
    }
}
