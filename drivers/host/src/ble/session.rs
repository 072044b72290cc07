//! One session with the Bluetooth daemon: from connecting to D-Bus until something of it is lost.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::{Duration, Instant};

use btleplug::api::{Central as _, CentralEvent, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, PeripheralId};
use drv_protocol::gicisky::{Advert, COMPANY};
use futures_util::StreamExt as _;

use super::jobs::Failed;
use super::upload::{Attempt, Upload, within};
use super::{BleDriver, Tag};
use crate::event::DeviceBody;
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

/// What a session remembers of a tag.
#[derive(Default)]
struct Heard {
    id: Option<PeripheralId>,
    rssi: Option<i16>,
    reported: Option<(Instant, Advert)>,
}

type Running = Pin<Box<dyn Future<Output = Attempt>>>;

async fn running(job: &mut Option<Running>) -> Attempt {
    match job {
        Some(job) => job.await,
        None => std::future::pending().await,
    }
}

impl BleDriver {
    /// Runs until the session is lost (an error) or the host stops.
    pub(super) async fn session(&mut self, desk: &mut Desk, backoff: &mut Backoff) -> Result<(), String> {
        let manager = within(CALL_LIMIT, "D-Bus", Manager::new()).await?;
        let adapter = self.choose(&manager).await?;
        let mut events = within(CALL_LIMIT, "adapter events", adapter.events()).await?;
        within(CALL_LIMIT, "start scan", adapter.start_scan(ScanFilter::default())).await?;
        desk.reachable(self.tags.iter().map(|t| &t.device));
        self.sensors.begin(desk);
        backoff.reset();

        let mut heard: BTreeMap<usize, Heard> = BTreeMap::new();
        let mut ticker = tokio::time::interval(SLICE);
        let mut checked = Instant::now();
        let mut scanned = Instant::now();
        let mut job: Option<Running> = None;
        let mut adapter_faults = 0;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) if self.sensors.hear(&adapter, &event, desk).await => {}
                    Some(event) => self.hear(&adapter, event, &mut heard, desk).await,
                    None => return Err("Bluetooth events ended".to_owned()),
                },
                attempt = running(&mut job) => {
                    job = None;
                    checked = Instant::now();
                    adapter_faults = if attempt.adapter_fault.is_some() { adapter_faults + 1 } else { 0 };
                    let lost = attempt.adapter_fault.clone().filter(|_| adapter_faults >= ADAPTER_FAULTS_MAX);
                    self.ended(attempt, desk);
                    if let Some(reason) = lost {
                        return Err(reason);
                    }
                }
                _ = ticker.tick() => {
                    desk.flush();
                    if desk.stopping() {
                        return Ok(());
                    }
                    self.tags.iter().for_each(|t| desk.tick(&t.device));
                    self.sensors.tick(desk);
                    self.settle_jobs(desk);
                    if job.is_none() {
                        if checked.elapsed() >= CHECK_EVERY {
                            checked = Instant::now();
                            within(CALL_LIMIT, "adapter", adapter.adapter_info()).await?;
                        }
                        if scanned.elapsed() >= Duration::from_millis(self.config.scan_ms.into()) {
                            scanned = Instant::now();
                            rescan(&adapter).await?;
                        }
                    }
                }
            }
            if job.is_none() && desk.backlog() < BACKLOG_MAX {
                job = self.next_job(&adapter, &heard);
            }
        }
    }

    async fn choose(&self, manager: &Manager) -> Result<Adapter, String> {
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
        Ok(named.swap_remove(index).1)
    }

    /// Takes in one event; foreign devices are dropped by their address, without a call to the daemon.
    async fn hear(
        &self,
        adapter: &Adapter,
        event: CentralEvent,
        heard: &mut BTreeMap<usize, Heard>,
        desk: &mut Desk,
    ) {
        match event {
            CentralEvent::DeviceDiscovered(id) => {
                let Some((index, tag)) = self.tag_of(&id) else { return };
                heard.entry(index).or_default().id = Some(id.clone());
                // Its first advertisement came before the event: what the daemon kept of it is asked for once.
                let properties = async { adapter.peripheral(&id).await?.properties().await };
                if let Ok(Some(known)) = within(CALL_LIMIT, "properties", properties).await {
                    // A device that the daemon only remembers has no signal strength.
                    if let (Some(rssi), Some(bytes)) = (known.rssi, known.manufacturer_data.get(&COMPANY)) {
                        heard.entry(index).or_default().rssi = Some(rssi);
                        advertised(tag, bytes, heard.entry(index).or_default(), desk);
                    }
                }
            }
            CentralEvent::ManufacturerDataAdvertisement { id, manufacturer_data } => {
                let Some((index, tag)) = self.tag_of(&id) else { return };
                let entry = heard.entry(index).or_default();
                entry.id = Some(id);
                if let Some(bytes) = manufacturer_data.get(&COMPANY) {
                    advertised(tag, bytes, entry, desk);
                }
            }
            CentralEvent::RssiUpdate { id, rssi } => {
                let Some((index, _)) = self.tag_of(&id) else { return };
                heard.entry(index).or_default().rssi = Some(rssi);
            }
            _ => {}
        }
    }

    fn tag_of(&self, id: &PeripheralId) -> Option<(usize, &Tag)> {
        // "hci0/dev_FF_FF_92_00_00_01"
        let text = id.to_string();
        let address = text.rsplit_once("dev_")?.1.replace('_', ":");
        self.tags.iter().enumerate().find(|(_, tag)| tag.address == address)
    }

    fn next_job(&mut self, adapter: &Adapter, heard: &BTreeMap<usize, Heard>) -> Option<Running> {
        let tags = &self.tags;
        let known = |device: &str| {
            let index = tags.iter().position(|t| *t.device == *device)?;
            Some((tags.get(index)?, heard.get(&index)?.id.clone()?))
        };
        let job = self.queue.start(Instant::now(), |device| known(device).is_some())?;
        let (tag, peripheral) = known(&job.tag)?;
        let upload = Upload {
            adapter: adapter.clone(),
            peripheral,
            planes: job.planes,
            encoding: tag.encoding,
            config: self.config.clone(),
        };
        Some(Box::pin(upload.run()))
    }

    fn ended(&mut self, attempt: Attempt, desk: &mut Desk) {
        match attempt.result {
            Ok(hash) => {
                let Some((tag, job)) = self.queue.succeeded() else { return };
                attempt.frames.iter().for_each(|(way, bytes)| desk.frame(&tag, *way, bytes));
                desk.contact(&tag, &Contact::Good);
                desk.report(&tag, DeviceBody::TagWritten { job, result: Ok(hash) });
            }
            Err(reason) => {
                if let Some(tag) = self.queue.running_tag() {
                    attempt.frames.iter().for_each(|(way, bytes)| desk.frame(&tag, *way, bytes));
                    desk.contact(&tag, &Contact::Refused(format!("image not written: {reason}")));
                }
                if let Some(failed) = self.queue.failed(Instant::now(), &reason) {
                    report_failed(&failed, desk);
                }
            }
        }
    }

    /// Takes on what was queued and gives up what has waited too long.
    pub(super) fn settle_jobs(&mut self, desk: &mut Desk) {
        while self.queue.has_room()
            && let Ok(job) = self.jobs.try_recv()
        {
            self.queue.push(job, Instant::now());
        }
        if desk.backlog() < BACKLOG_MAX {
            self.queue.expire(Instant::now()).iter().for_each(|failed| report_failed(failed, desk));
        }
    }
}

fn report_failed(failed: &Failed, desk: &mut Desk) {
    let body = DeviceBody::TagWritten { job: failed.job, result: Err(failed.reason.clone()) };
    desk.report(&failed.tag, body);
}

fn advertised(tag: &Tag, bytes: &[u8], heard: &mut Heard, desk: &mut Desk) {
    let advert = match Advert::parse(bytes) {
        Ok(advert) => advert,
        Err(error) => {
            desk.frame(&tag.device, Way::Received, bytes);
            desk.contact(&tag.device, &Contact::Malformed(error.to_string()));
            return;
        }
    };
    let model = advert.model_id();
    if model == tag.model {
        desk.contact(&tag.device, &Contact::Good);
    } else {
        let reason = format!("advertises model {model:#05x}, configured is {:#05x}", tag.model);
        desk.contact(&tag.device, &Contact::Refused(reason));
    }
    let news = heard.reported.as_ref().is_none_or(|(at, last)| *last != advert || at.elapsed() >= SEEN_EVERY);
    if news {
        heard.reported = Some((Instant::now(), advert));
        desk.frame(&tag.device, Way::Received, bytes);
        let body = DeviceBody::TagSeen { model, battery_mv: advert.battery_mv, rssi: heard.rssi };
        desk.report(&tag.device, body);
    }
}

async fn rescan(adapter: &Adapter) -> Result<(), String> {
    // A scan that the daemon ended by itself cannot be stopped; starting it again is what counts.
    if let Err(reason) = within(CALL_LIMIT, "stop scan", adapter.stop_scan()).await {
        tracing::debug!("{reason}");
    }
    within(CALL_LIMIT, "start scan", adapter.start_scan(ScanFilter::default())).await
}
