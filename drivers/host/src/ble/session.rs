//! One session with the Bluetooth daemon: from connecting to D-Bus until something of it is lost.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::time::{Duration, Instant};

use btleplug::api::{Central as _, CentralEvent, CentralState, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, PeripheralId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::attempt::{Attempt, Task};
use super::care::{Blame, Remedy};
use super::family::Seen;
use super::jobs::Failed;
use super::link::within;
use super::{BleDriver, Tag, power};
use crate::clock::mono_ms;
use crate::event::{DeviceBody, TagAnswer};
use crate::health::Contact;
use crate::pace::Backoff;
use crate::registry::{Desk, Way};
use crate::supervise::SLICE;

/// How often the daemon is asked whether the adapter is still there.
const CHECK_EVERY: Duration = Duration::from_secs(3);
/// Limit for calls to the daemon that involve no radio.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Shortest time between two reports of an unchanged advertisement.
const SEEN_EVERY: Duration = Duration::from_secs(10);
/// Adapter faults in a row that end the session.
const ADAPTER_FAULTS_MAX: u8 = 2;
/// Tag frames that wait undelivered before no further job is started.
const BACKLOG_MAX: usize = 128;
/// How long a scan between jobs lasts: tags must be heard in a busy time, too.
const ROUND_SCAN: Duration = Duration::from_secs(2);
/// Without a scan for this part of the time after which a tag counts as lost, there is one.
const ROUND_PART: u32 = 4;

/// What a session remembers of a tag.
#[derive(Default)]
struct Heard {
    id: Option<PeripheralId>,
    rssi: Option<i16>,
    reported: Option<(Instant, Seen)>,
}

type Running = Pin<Box<dyn Future<Output = Attempt>>>;

/// The adapter's scan and the jobs that alternate with it: a controller connects badly while it scans.
struct Air {
    adapter: Adapter,
    /// `hci0`.
    name: String,
    heard: BTreeMap<usize, Heard>,
    jobs: FuturesUnordered<Running>,
    scanning: bool,
    /// When the scan was started last.
    scanned: Instant,
    /// When it was stopped last.
    stopped: Instant,
    /// Jobs have kept the adapter from listening for too long.
    owed: bool,
    checked: Instant,
    faults: u8,
    /// How long jobs may follow each other without a scan.
    round: Duration,
}

impl Air {
    fn new(adapter: Adapter, name: String, round: Duration) -> Self {
        let now = Instant::now();
        Self {
            adapter,
            name,
            heard: BTreeMap::new(),
            jobs: FuturesUnordered::new(),
            scanning: true,
            scanned: now,
            stopped: now,
            owed: false,
            checked: now,
            faults: 0,
            round,
        }
    }

    /// A further job may start without keeping the adapter from listening for ever.
    fn may_start(&mut self) -> bool {
        if self.scanning {
            return !self.owed || self.scanned.elapsed() >= ROUND_SCAN;
        }
        self.owed = self.stopped.elapsed() >= self.round;
        !self.owed
    }

    async fn stop_scan(&mut self) {
        // A scan that the daemon ended by itself cannot be stopped; that is no fault.
        if let Err(reason) = within(CALL_LIMIT, "stop scan", self.adapter.stop_scan()).await {
            tracing::debug!("{reason}");
        }
        (self.scanning, self.owed, self.stopped) = (false, false, Instant::now());
    }

    async fn start_scan(&mut self) -> Result<(), String> {
        self.scanned = Instant::now();
        match within(CALL_LIMIT, "start scan", self.adapter.start_scan(ScanFilter::default())).await {
            Ok(()) => {
                (self.scanning, self.faults) = (true, 0);
                Ok(())
            }
            Err(reason) => {
                self.faults += 1;
                tracing::warn!("{reason}");
                if self.faults >= ADAPTER_FAULTS_MAX { Err(reason) } else { Ok(()) }
            }
        }
    }
}

impl BleDriver {
    /// Runs until the session is lost (an error) or the host stops.
    pub(super) async fn session(&mut self, desk: &mut Desk, backoff: &mut Backoff) -> Result<(), String> {
        let manager = within(CALL_LIMIT, "D-Bus", Manager::new()).await?;
        let (name, adapter) = self.choose(&manager).await?;
        let mut events = within(CALL_LIMIT, "adapter events", adapter.events()).await?;
        let round = Duration::from_millis(self.config.lost_after_ms.into()) / ROUND_PART;
        let mut air = Air::new(adapter, name, round);
        within(CALL_LIMIT, "start scan", air.adapter.start_scan(ScanFilter::default())).await?;
        desk.reachable(self.tags.iter().map(|t| &t.device));
        self.sensors.begin(desk);
        backoff.reset();
        self.care.renewed();

        let mut ticker = tokio::time::interval(SLICE);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) if self.sensors.hear(&air.adapter, &event, desk).await => {}
                    Some(event) => self.hear(&mut air, event, desk).await,
                    None => return Err("Bluetooth events ended".to_owned()),
                },
                Some(attempt) = air.jobs.next(), if !air.jobs.is_empty() => {
                    air.checked = Instant::now();
                    self.ended(attempt, desk);
                }
                _ = ticker.tick() => {
                    desk.flush();
                    if desk.stopping() {
                        return Ok(());
                    }
                    self.tags.iter().for_each(|t| desk.tick(&t.device));
                    self.sensors.tick(desk);
                    self.settle_jobs(&air.heard, desk);
                    self.mind(&mut air, desk).await?;
                }
            }
            self.start_jobs(&mut air, desk).await?;
        }
    }

    async fn choose(&self, manager: &Manager) -> Result<(String, Adapter), String> {
        let mut named = Vec::new();
        for adapter in within(CALL_LIMIT, "adapters", manager.adapters()).await? {
            // "hci0 (usb:v1D6Bp0246d0542)"
            let text = within(CALL_LIMIT, "adapter", adapter.adapter_info()).await?;
            let name = text.split_whitespace().next().unwrap_or_default().to_owned();
            named.push((name, adapter));
        }
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let wanted = self.config.adapter.as_deref();
        let found = named.iter().position(|(name, _)| wanted.is_none_or(|w| w == name));
        let Some(index) = found else {
            let names = named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(format!("no Bluetooth adapter {}, found: [{names}]", wanted.unwrap_or("at all")));
        };
        Ok(named.swap_remove(index))
    }

    /// Looks after the adapter between jobs.
    async fn mind(&mut self, air: &mut Air, desk: &mut Desk) -> Result<(), String> {
        let idle = air.jobs.is_empty();
        if let Some(remedy) = self.care.tick(mono_ms(), idle && air.scanning) {
            self.remedy(remedy, air, desk).await?;
        }
        if !idle {
            return Ok(());
        }
        if air.checked.elapsed() >= CHECK_EVERY {
            air.checked = Instant::now();
            within(CALL_LIMIT, "adapter", air.adapter.adapter_info()).await?;
        }
        if !air.scanning {
            air.start_scan().await?;
        } else if air.scanned.elapsed() >= Duration::from_millis(self.config.scan_ms.into()) {
            air.stop_scan().await;
            air.start_scan().await?;
        }
        Ok(())
    }

    async fn remedy(&self, remedy: Remedy, air: &mut Air, desk: &mut Desk) -> Result<(), String> {
        let complaint = self.care.complaint();
        tracing::warn!("{complaint}; next: {remedy:?}");
        match remedy {
            Remedy::Rescan => {
                air.stop_scan().await;
                air.start_scan().await
            }
            Remedy::PowerCycle => {
                let name = air.name.clone();
                let cycle = tokio::task::spawn_blocking(move || power::cycle(&name));
                let done = within(power::CYCLE_LIMIT, "power cycle", cycle).await;
                if let Err(reason) = done.and_then(|outcome| outcome) {
                    tracing::warn!("{reason}");
                }
                let state = within(CALL_LIMIT, "adapter", air.adapter.adapter_state()).await?;
                if state == CentralState::PoweredOff {
                    return Err(format!("{complaint}; it stays off after a power cycle"));
                }
                air.scanning = false;
                air.start_scan().await
            }
            Remedy::Rebuild => Err(format!("{complaint}; the session with the daemon is built anew")),
            Remedy::Report => {
                let reason =
                    format!("{complaint}; scanning again, a power cycle and a new session did not help");
                desk.unreachable(self.tags.iter().map(|t| &t.device), &reason);
                Ok(())
            }
        }
    }

    /// Takes in one event; foreign devices are dropped by their address, without a call to the daemon.
    async fn hear(&mut self, air: &mut Air, event: CentralEvent, desk: &mut Desk) {
        match event {
            CentralEvent::DeviceDiscovered(id) => {
                let Some(index) = self.index_of(&id) else { return };
                air.heard.entry(index).or_default().id = Some(id.clone());
                // Its first advertisement came before the event: what the daemon kept of it is asked for once.
                let properties = async { air.adapter.peripheral(&id).await?.properties().await };
                if let Ok(Some(known)) = within(CALL_LIMIT, "properties", properties).await {
                    // A device that the daemon only remembers has no signal strength.
                    if let Some(rssi) = known.rssi {
                        air.heard.entry(index).or_default().rssi = Some(rssi);
                        self.advertised(index, &known.manufacturer_data, air, desk);
                    }
                }
            }
            CentralEvent::ManufacturerDataAdvertisement { id, manufacturer_data } => {
                self.sang(desk);
                let Some(index) = self.index_of(&id) else { return };
                air.heard.entry(index).or_default().id = Some(id);
                self.advertised(index, &manufacturer_data, air, desk);
            }
            CentralEvent::RssiUpdate { id, rssi } => {
                self.sang(desk);
                let Some(index) = self.index_of(&id) else { return };
                let heard = air.heard.entry(index).or_default();
                (heard.id, heard.rssi) = (Some(id), Some(rssi));
                self.advertised(index, &HashMap::new(), air, desk);
            }
            CentralEvent::ServiceDataAdvertisement { .. } => self.sang(desk),
            _ => {}
        }
    }

    /// The canary sings: whoever was heard, the adapter works. A device that is merely listed proves nothing: a new session
    /// is told all that the daemon remembers.
    fn sang(&mut self, desk: &mut Desk) {
        if self.care.heard() {
            desk.reachable(self.tags.iter().map(|t| &t.device));
        }
    }

    fn index_of(&self, id: &PeripheralId) -> Option<usize> {
        let address = super::sensors::address_of(id)?;
        self.tags.binary_search_by_key(&address, |tag| tag.address).ok()
    }

    /// A configured tag was heard.
    fn advertised(&mut self, index: usize, data: &HashMap<u16, Vec<u8>>, air: &mut Air, desk: &mut Desk) {
        let (Some(tag), heard) = (self.tags.get_mut(index), air.heard.entry(index).or_default()) else {
            return;
        };
        let seen = match tag.family.seen(data) {
            // Nothing of the family's own: that a label was heard at all is what counts.
            None if matches!(tag.family, super::Family::Esl(_)) => {
                return desk.contact(&tag.device, &Contact::Good);
            }
            None => return,
            Some(Ok(seen)) => seen,
            Some(Err((bytes, reason))) => {
                desk.frame(&tag.device, Way::Received, &bytes);
                return desk.contact(&tag.device, &Contact::Malformed(reason));
            }
        };
        tag.family.observe(seen.profile);
        report_seen(tag, seen, data, heard, desk);
    }

    /// Starts what may run; the scan is stopped for the first job.
    async fn start_jobs(&mut self, air: &mut Air, desk: &Desk) -> Result<(), String> {
        while desk.backlog() < BACKLOG_MAX && air.may_start() {
            let known = |device: &str| {
                let index = self.tags.iter().position(|t| *t.device == *device)?;
                Some((self.tags.get(index)?, air.heard.get(&index)?.id.clone()?))
            };
            let started = self.queue.start(Instant::now(), |device| known(device).is_some());
            let Some((ticket, order)) = started else { break };
            let Some((tag, peripheral)) = known(&order.tag) else { break };
            let task = Task {
                ticket,
                adapter: air.adapter.clone(),
                peripheral,
                family: tag.family.clone(),
                work: order.work,
                config: self.config.clone(),
            };
            if air.scanning {
                air.stop_scan().await;
            }
            air.jobs.push(Box::pin(task.run()));
        }
        if air.jobs.is_empty() && !air.scanning {
            air.start_scan().await?;
        }
        Ok(())
    }

    fn ended(&mut self, attempt: Attempt, desk: &mut Desk) {
        let Some(tag) = self.queue.tag(attempt.ticket) else { return };
        attempt.frames.iter().for_each(|(way, bytes)| desk.frame(&tag, way, bytes));
        self.care.attempt(attempt.result.as_ref().err().map_or(Blame::Nobody, super::TagFault::blame));
        match attempt.result {
            Ok(answer) => {
                let Some(ended) = self.queue.succeeded(attempt.ticket) else { return };
                desk.contact(&tag, &Contact::Good);
                let body = match answer {
                    TagAnswer::Image(hash) if ended.image => {
                        DeviceBody::TagWritten { job: ended.job, result: Ok(hash) }
                    }
                    answer => DeviceBody::TagDone { job: ended.job, result: Ok(answer) },
                };
                desk.report(&tag, body);
            }
            Err(fault) => {
                desk.contact(&tag, &Contact::Refused(format!("job not done: {fault}")));
                if let Some(failed) = self.queue.failed(attempt.ticket, Instant::now(), &fault) {
                    report_failed(failed, desk);
                }
            }
        }
    }

    /// Takes on what was queued and gives up what has waited too long for a tag that is not heard.
    fn settle_jobs(&mut self, heard: &BTreeMap<usize, Heard>, desk: &mut Desk) {
        while self.queue.has_room()
            && let Ok(job) = self.jobs.try_recv()
        {
            self.queue.push(job, Instant::now());
        }
        if desk.backlog() < BACKLOG_MAX {
            let tags = &self.tags;
            let known = |device: &str| {
                let index = tags.iter().position(|tag| *tag.device == *device);
                index.and_then(|index| heard.get(&index)).is_some_and(|heard| heard.id.is_some())
            };
            let failed = self.queue.expire(Instant::now(), known);
            failed.into_iter().for_each(|failed| report_failed(failed, desk));
        }
    }

    /// The same between sessions, when no tag is heard.
    pub(super) fn settle_unheard(&mut self, desk: &mut Desk) {
        self.settle_jobs(&BTreeMap::new(), desk);
    }
}

fn report_failed(Failed { ended, fault }: Failed, desk: &mut Desk) {
    let body = if ended.image {
        DeviceBody::TagWritten { job: ended.job, result: Err(fault.to_string()) }
    } else {
        DeviceBody::TagDone { job: ended.job, result: Err(fault) }
    };
    desk.report(&ended.tag, body);
}

/// Reports what a tag said of itself, at once when it is news.
fn report_seen(tag: &Tag, seen: Seen, data: &HashMap<u16, Vec<u8>>, heard: &mut Heard, desk: &mut Desk) {
    match seen.model.filter(|model| *model != tag.model) {
        None => desk.contact(&tag.device, &Contact::Good),
        Some(model) => {
            let reason = format!("advertises model {model:#05x}, configured is {:#05x}", tag.model);
            desk.contact(&tag.device, &Contact::Refused(reason));
        }
    }
    let news = heard.reported.as_ref().is_none_or(|(at, last)| *last != seen || at.elapsed() >= SEEN_EVERY);
    if !news {
        return;
    }
    data.values().for_each(|bytes| desk.frame(&tag.device, Way::Received, bytes));
    let model = seen.model.unwrap_or(tag.model);
    desk.report(&tag.device, DeviceBody::TagSeen { model, battery_mv: seen.battery_mv, rssi: heard.rssi });
    if let Some(temperature) = seen.temperature {
        desk.report(&tag.device, DeviceBody::TagTemperature(temperature));
    }
    heard.reported = Some((Instant::now(), seen));
}
