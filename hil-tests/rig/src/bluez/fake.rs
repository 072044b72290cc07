//! Our own `org.bluez`: one adapter, many tags.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use drv_sim::{GattTag, TagAction};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use zbus::message::Header;
use zbus::names::BusName;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, ObjectServer, connection, fdo, interface};

use super::failed;
use super::gatt::{BluezError, Characteristic, Link, Options, Service, path};
use crate::RigError;
use crate::clock::now_ms;

pub(super) const ADAPTER: &str = "/org/bluez/hci0";
/// How long services take to resolve after a connect.
const RESOLVE: Duration = Duration::from_millis(5);
/// How long a connect to a silent tag takes to fail.
const NO_ANSWER: Duration = Duration::from_millis(500);

/// A tag in the air, of any family.
#[derive(Debug, Clone)]
pub struct FakeTag {
    /// `FF:FF:92:00:00:01`.
    pub address: String,
    /// The tag.
    pub tag: Arc<Mutex<dyn GattTag>>,
}

#[derive(Debug, Default)]
struct Air {
    /// Clients that scan, by their bus names: one discovery session each, as BlueZ keeps them.
    scanners: Mutex<BTreeSet<String>>,
    linked: AtomicUsize,
    linked_max: AtomicUsize,
    links: Mutex<Vec<Arc<Link>>>,
    off: AtomicBool,
    power_cycles: AtomicUsize,
    /// Nothing is heard any more until the adapter is powered off and on so often.
    deaf: AtomicUsize,
}

impl Air {
    fn scanners(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.scanners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scanned(&self) -> bool {
        !self.scanners().is_empty()
    }

    /// Something advertised is heard.
    fn hears(&self) -> bool {
        self.scanned() && self.deaf.load(Ordering::Acquire) == 0 && !self.off.load(Ordering::Acquire)
    }

    fn power(&self, on: bool) {
        let was_off = self.off.swap(!on, Ordering::AcqRel);
        if !on {
            // Discovery sessions and connects that wait end with the power.
            self.scanners().clear();
            for link in self.links.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                link.state().hanging = false;
            }
        } else if was_off {
            self.power_cycles.fetch_add(1, Ordering::AcqRel);
            let deaf = self.deaf.load(Ordering::Acquire);
            self.deaf.store(deaf.saturating_sub(1), Ordering::Release);
        }
    }
}

/// Ends the discovery sessions of clients that left the bus without a word, as BlueZ does.
async fn forget_dead(air: Arc<Air>, connection: Connection) {
    let Ok(daemon) = fdo::DBusProxy::new(&connection).await else { return };
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        let scanners = air.scanners().clone();
        for scanner in scanners {
            let Ok(name) = BusName::try_from(scanner.as_str()) else { continue };
            if daemon.name_has_owner(name).await.is_ok_and(|alive| !alive) {
                air.scanners().remove(&scanner);
            }
        }
    }
}

/// A running fake. [`FakeBluez::leave`] takes `org.bluez` off the bus.
#[derive(Debug)]
pub struct FakeBluez {
    links: BTreeMap<String, Arc<Link>>,
    air: Arc<Air>,
    pub(super) connection: Connection,
    tasks: JoinSet<()>,
}

impl FakeBluez {
    /// Takes the name `org.bluez` on the bus at `address`. Each tag advertises every `interval` while somebody scans.
    pub async fn start(address: &str, tags: Vec<FakeTag>, interval: Duration) -> Result<Self, RigError> {
        Self::serve(address, tags, interval).await.map_err(|e| failed("fake org.bluez", &e))
    }

    async fn serve(address: &str, tags: Vec<FakeTag>, interval: Duration) -> zbus::Result<Self> {
        let air = Arc::new(Air::default());
        let connection = connection::Builder::address(address)?
            .serve_at("/", fdo::ObjectManager)?
            .serve_at(ADAPTER, Adapter { air: air.clone() })?
            .build()
            .await?;
        let mut fake = Self { links: BTreeMap::new(), air, connection, tasks: JoinSet::new() };
        let count = u32::try_from(tags.len().max(1)).unwrap_or(u32::MAX);
        for (index, tag) in (0u32..).zip(tags) {
            let (link, actions) = Link::new(tag.tag);
            fake.links.insert(tag.address.clone(), link.clone());
            fake.air.links.lock().unwrap_or_else(PoisonError::into_inner).push(link.clone());
            let body = Body {
                address: tag.address,
                link,
                air: fake.air.clone(),
                connection: fake.connection.clone(),
            };
            fake.tasks.spawn(body.clone().act(actions));
            // Spread over the interval, as real tags are.
            fake.tasks.spawn(body.advertise(interval * index / count, interval));
        }
        fake.tasks.spawn(forget_dead(fake.air.clone(), fake.connection.clone()));
        fake.connection.request_name("org.bluez").await?;
        Ok(fake)
    }

    /// Leaves the bus with everything it had, as when `bluetoothd` ends. Dropping does not do that at once: objects that are
    /// served hold the connection.
    pub async fn leave(mut self) -> Result<(), RigError> {
        self.tasks.shutdown().await;
        self.connection.close().await.map_err(|e| failed("leave the bus", &e))
    }

    /// A silent tag neither advertises nor answers a connect; a connected one loses its link.
    pub async fn set_silent(&self, address: &str, silent: bool) {
        let Some(link) = self.links.get(address) else { return };
        let connected = {
            let mut state = link.state();
            state.silent = silent;
            state.connected
        };
        if silent && connected {
            let body = Body {
                address: address.to_owned(),
                link: link.clone(),
                air: self.air.clone(),
                connection: self.connection.clone(),
            };
            body.drop_link().await;
        }
    }

    /// A connect to a hanging tag gets no answer, and every further one is "already in progress", until the tag is well
    /// again or the adapter was powered off.
    pub fn set_hanging(&self, address: &str, hanging: bool) {
        if let Some(link) = self.links.get(address) {
            link.state().hanging = hanging;
        }
    }

    /// The next `times` links of a tag are without services, as after a killed `bluetoothd`.
    pub fn set_hollow(&self, address: &str, times: u32) {
        if let Some(link) = self.links.get(address) {
            link.state().hollow = times;
        }
    }

    /// The adapter scans and hears nothing, until it has been powered off and on `cycles` times.
    pub fn set_deaf(&self, cycles: usize) {
        self.air.deaf.store(cycles, Ordering::Release);
    }

    /// How often the adapter was powered off and on.
    #[must_use]
    pub fn power_cycles(&self) -> usize {
        self.air.power_cycles.load(Ordering::Acquire)
    }

    /// The most links that were ever up at the same time.
    #[must_use]
    pub fn links_at_once(&self) -> usize {
        self.air.linked_max.load(Ordering::Acquire)
    }

    /// Links that are up.
    #[must_use]
    pub fn links(&self) -> usize {
        self.air.linked.load(Ordering::Acquire)
    }

    /// Somebody scans.
    #[must_use]
    pub fn scanned(&self) -> bool {
        self.air.scanned()
    }
}

struct Adapter {
    air: Arc<Air>,
}

/// The bus name of the client that calls.
fn sender(header: &Header<'_>) -> String {
    header.sender().map(ToString::to_string).unwrap_or_default()
}

#[interface(name = "org.bluez.Adapter1")]
impl Adapter {
    async fn start_discovery(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BluezError> {
        if self.air.off.load(Ordering::Acquire) {
            return Err(BluezError::NotReady("Resource Not Ready".into()));
        }
        if !self.air.scanners().insert(sender(&header)) {
            return Err(BluezError::InProgress("Operation already in progress".into()));
        }
        self.discovering_changed(&emitter).await.map_err(BluezError::ZBus)
    }

    async fn stop_discovery(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BluezError> {
        if !self.air.scanners().remove(&sender(&header)) {
            return Err(BluezError::Failed("No discovery started".into()));
        }
        self.discovering_changed(&emitter).await.map_err(BluezError::ZBus)
    }

    fn set_discovery_filter(&self, _filter: Options) {}

    fn remove_device(&self, _device: OwnedObjectPath) {}

    #[zbus(property)]
    fn address(&self) -> &str {
        "AA:BB:CC:00:00:01"
    }

    #[zbus(property)]
    fn address_type(&self) -> &str {
        "public"
    }

    #[zbus(property)]
    fn name(&self) -> &str {
        "rig"
    }

    #[zbus(property)]
    fn alias(&self) -> &str {
        "rig"
    }

    #[zbus(property)]
    fn modalias(&self) -> &str {
        "usb:v1D6Bp0246d0542"
    }

    #[zbus(property)]
    fn powered(&self) -> bool {
        !self.air.off.load(Ordering::Acquire)
    }

    #[zbus(property)]
    fn set_powered(&self, on: bool) {
        self.air.power(on);
    }

    #[zbus(property)]
    fn discovering(&self) -> bool {
        self.air.scanned()
    }

    #[zbus(property, name = "UUIDs")]
    fn uuids(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A tag's device object and what it needs to act.
#[derive(Clone)]
struct Body {
    address: String,
    link: Arc<Link>,
    air: Arc<Air>,
    connection: Connection,
}

impl Body {
    fn device_path(&self) -> String {
        format!("{ADAPTER}/dev_{}", self.address.replace(':', "_"))
    }

    /// The path of the characteristic that notifies.
    fn notifying_path(&self) -> Option<String> {
        let (place, _) = self.link.attributes().find(|(_, attribute)| attribute.notify)?;
        Some(self.characteristic_path(place))
    }

    fn characteristic_path(&self, place: usize) -> String {
        // A value, its declaration and its configuration take three handles.
        format!("{}/service0010/char{:04x}", self.device_path(), 0x11 + 3 * place)
    }

    async fn publish(&self) -> zbus::Result<()> {
        self.publish_service().await?;
        let device = self.device_path();
        self.connection.object_server().at(device.as_str(), Device { body: self.clone() }).await?;
        Ok(())
    }

    async fn publish_service(&self) -> zbus::Result<()> {
        let (device, server) = (self.device_path(), self.connection.object_server());
        let service = format!("{device}/service0010");
        let uuid = self.link.sim().service();
        server.at(service.as_str(), Service { uuid, device: Some(path(&device)?) }).await?;
        for (place, attribute) in self.link.attributes() {
            let characteristic = Characteristic {
                attribute,
                service: path(&service)?,
                link: self.link.clone(),
                guarded: true,
            };
            server.at(self.characteristic_path(place), characteristic).await?;
        }
        Ok(())
    }

    async fn withdraw_service(&self) -> zbus::Result<()> {
        let server = self.connection.object_server();
        for (place, _) in self.link.attributes() {
            server.remove::<Characteristic, _>(self.characteristic_path(place)).await?;
        }
        server.remove::<Service, _>(format!("{}/service0010", self.device_path())).await?;
        Ok(())
    }

    /// Appears with the first scan and advertises from then on while somebody scans and nobody is connected.
    async fn advertise(self, offset: Duration, interval: Duration) {
        tokio::time::sleep(offset).await;
        let mut published = false;
        loop {
            let quiet = {
                let state = self.link.state();
                state.silent || state.connected
            };
            if self.air.hears() && !quiet {
                let told = if published { self.tell().await } else { self.publish().await };
                if told.is_err() {
                    return;
                }
                published = true;
                tokio::time::sleep(interval).await;
            } else {
                tokio::time::sleep(interval.min(Duration::from_millis(50))).await;
            }
        }
    }

    async fn tell(&self) -> zbus::Result<()> {
        let device = self.connection.object_server().interface::<_, Device>(self.device_path()).await?;
        if self.link.sim().manufacturer_data().is_some() {
            device.get().await.manufacturer_data_changed(device.signal_emitter()).await
        } else {
            device.get().await.r_s_s_i_changed(device.signal_emitter()).await
        }
    }

    /// Carries out what the tag does, in order.
    async fn act(self, mut actions: UnboundedReceiver<TagAction>) {
        while let Some(action) = actions.recv().await {
            match action {
                TagAction::Notify(bytes) => {
                    let notifying = {
                        let mut state = self.link.state();
                        state.value = bytes;
                        state.notifying && state.connected
                    };
                    let server = self.connection.object_server();
                    if notifying
                        && let Some(at) = self.notifying_path()
                        && let Ok(found) = server.interface::<_, Characteristic>(at).await
                        && found.get().await.value_changed(found.signal_emitter()).await.is_err()
                    {
                        return;
                    }
                }
                TagAction::Disconnect => self.drop_link().await,
            }
        }
    }

    async fn drop_link(&self) {
        let (was, hollow) = {
            let mut state = self.link.state();
            (state.resolved, state.notifying) = (false, false);
            let was = std::mem::take(&mut state.connected);
            let hollow = was && state.hollow > 0;
            if hollow {
                state.hollow -= 1;
            }
            (was, hollow)
        };
        if was {
            self.air.linked.fetch_sub(1, Ordering::AcqRel);
            self.link.sim().disconnected(now_ms());
        }
        // Dropping the link is what makes the daemon look again.
        if hollow && self.publish_service().await.is_err() {
            return;
        }
        if let Ok(device) = self.connection.object_server().interface::<_, Device>(self.device_path()).await {
            let body = device.get().await;
            // Nobody may be left to hear it.
            drop(body.services_resolved_changed(device.signal_emitter()).await);
            drop(body.connected_changed(device.signal_emitter()).await);
        }
    }
}

struct Device {
    body: Body,
}

impl Device {
    /// A connect that gets no answer: BlueZ keeps trying, and refuses every other meanwhile.
    async fn wait_while_hanging(&self) -> Result<(), BluezError> {
        {
            let mut state = self.body.link.state();
            if state.pending {
                return Err(BluezError::InProgress("Operation already in progress".into()));
            }
            if !state.hanging {
                return Ok(());
            }
            state.pending = true;
        }
        while self.body.link.state().hanging {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.body.link.state().pending = false;
        Err(BluezError::Failed("le-connection-abort-by-local".into()))
    }
}

#[interface(name = "org.bluez.Device1")]
impl Device {
    async fn connect(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<(), BluezError> {
        if self.body.link.state().silent {
            tokio::time::sleep(NO_ANSWER).await;
            return Err(BluezError::Failed("le-connection-abort-by-local".into()));
        }
        self.wait_while_hanging().await?;
        if std::mem::replace(&mut self.body.link.state().connected, true) {
            return Err(BluezError::InProgress("Operation already in progress".into()));
        }
        if self.body.link.state().hollow > 0 {
            self.body.withdraw_service().await?;
        }
        let up = self.body.air.linked.fetch_add(1, Ordering::AcqRel) + 1;
        self.body.air.linked_max.fetch_max(up, Ordering::AcqRel);
        self.body.link.sim().connected(now_ms());
        self.connected_changed(&emitter).await?;
        let (body, server) = (self.body.clone(), server.clone());
        tokio::spawn(async move {
            tokio::time::sleep(RESOLVE).await;
            let up = {
                let mut state = body.link.state();
                state.resolved = state.connected;
                state.resolved
            };
            if up && let Ok(device) = server.interface::<_, Device>(body.device_path()).await {
                drop(device.get().await.services_resolved_changed(device.signal_emitter()).await);
            }
        });
        Ok(())
    }

    async fn disconnect(&self) {
        self.body.drop_link().await;
    }

    #[zbus(property)]
    fn address(&self) -> &str {
        &self.body.address
    }

    #[zbus(property)]
    fn address_type(&self) -> &str {
        "random"
    }

    #[zbus(property)]
    fn name(&self) -> String {
        self.body.link.sim().name().to_owned()
    }

    #[zbus(property)]
    fn alias(&self) -> String {
        self.name()
    }

    #[zbus(property)]
    fn paired(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn bonded(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn trusted(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn blocked(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn legacy_pairing(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn connected(&self) -> bool {
        self.body.link.state().connected
    }

    #[zbus(property)]
    fn services_resolved(&self) -> bool {
        self.body.link.state().resolved
    }

    #[zbus(property, name = "RSSI")]
    fn rssi(&self) -> i16 {
        -60
    }

    #[zbus(property)]
    fn manufacturer_data(&self) -> HashMap<u16, OwnedValue> {
        let Some((company, bytes)) = self.body.link.sim().manufacturer_data() else { return HashMap::new() };
        Value::from(bytes).try_into().map(|value| HashMap::from([(company, value)])).unwrap_or_default()
    }

    #[zbus(property, name = "UUIDs")]
    fn uuids(&self) -> Vec<String> {
        Vec::new()
    }

    #[zbus(property)]
    fn adapter(&self) -> Result<OwnedObjectPath, fdo::Error> {
        path(ADAPTER).map_err(Into::into)
    }
}
