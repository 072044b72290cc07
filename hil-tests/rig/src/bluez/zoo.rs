//! BlueZoo, somebody else's BlueZ, with one of our tags as peripheral, of whatever family.
//!
//! BlueZoo reports every powered adapter that advertises to the other adapters. So the host side under test takes the first
//! adapter, and the tag is an application registered with the second, whose address is the tag's.
//!
//! The tag advertises no manufacturer data here: BlueZoo 1.0.2 declares `ManufacturerData` with text keys where BlueZ has
//! 16-bit numbers, so that asking it for any object fails as soon as one advertisement carries some. What a tag says in its
//! advertisement is therefore shown with [`super::FakeBluez`] only; here the upload is.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drv_sim::{GattTag, TagAction};
use tokio::task::JoinHandle;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{Connection, Proxy, connection, fdo, interface};

use super::failed;
use super::gatt::{Characteristic, Link, Service, path, uuid};
use crate::processes::Process;
use crate::python::Venv;
use crate::{RigError, until};

/// How long BlueZoo may take to own its name on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const APPLICATION: &str = "/tag";
const SERVICE_PATH: &str = "/tag/service0";

/// A running BlueZoo. Dropping it kills it.
#[derive(Debug)]
pub struct BlueZoo {
    process: Process,
}

impl BlueZoo {
    /// Starts BlueZoo on the bus at `address` with these adapters, `hci0` first, all powered.
    pub async fn start(venv: &Venv, address: &str, adapters: &[&str], log: &Path) -> Result<Self, RigError> {
        let mut command = Command::new(venv.program("bluezoo"));
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address).args(["-v", "--auto-enable", "--scan-interval", "1"]);
        for adapter in adapters {
            command.args(["--adapter", adapter]);
        }
        let mut process = Process::start("bluezoo", command, log)?;
        let watch = connect(address).await.map_err(|e| failed("bus of BlueZoo", &e))?;
        let named = || async { has_owner(&watch).await };
        let waited = until("BlueZoo to own org.bluez", START_LIMIT, named).await;
        if !process.runs() {
            return Err(RigError::State(format!("BlueZoo ended at once, see {}", log.display())));
        }
        waited.map(|()| Self { process })
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.runs()
    }
}

async fn connect(address: &str) -> zbus::Result<Connection> {
    connection::Builder::address(address)?.build().await
}

async fn has_owner(connection: &Connection) -> bool {
    let Ok(proxy) = fdo::DBusProxy::new(connection).await else { return false };
    let Ok(name) = zbus::names::BusName::try_from("org.bluez") else { return false };
    proxy.name_has_owner(name).await.unwrap_or(false)
}

struct Advertisement {
    link: Arc<Link>,
}

#[interface(name = "org.bluez.LEAdvertisement1")]
impl Advertisement {
    fn release(&self) {}

    #[zbus(property, name = "Type")]
    fn kind(&self) -> &str {
        "peripheral"
    }

    #[zbus(property)]
    fn local_name(&self) -> String {
        self.link.sim().name().to_owned()
    }

    #[zbus(property)]
    fn discoverable(&self) -> bool {
        true
    }

    #[zbus(property, name = "ServiceUUIDs")]
    fn service_uuids(&self) -> Vec<String> {
        vec![uuid(self.link.sim().service())]
    }
}

/// A tag registered with an adapter of BlueZoo. Dropping it takes the tag out of the air.
#[derive(Debug)]
pub struct Peripheral {
    connection: Connection,
    task: JoinHandle<()>,
}

impl Peripheral {
    /// Registers `tag` with `adapter` (`hci1`) on the bus at `address`.
    pub async fn start(address: &str, adapter: &str, tag: Arc<Mutex<dyn GattTag>>) -> Result<Self, RigError> {
        Self::register(address, adapter, tag).await.map_err(|e| failed("tag on BlueZoo", &e))
    }

    async fn register(address: &str, adapter: &str, tag: Arc<Mutex<dyn GattTag>>) -> zbus::Result<Self> {
        let (link, mut actions) = Link::new(tag);
        let uuid = link.sim().service();
        let connection = connection::Builder::address(address)?
            .serve_at(APPLICATION, fdo::ObjectManager)?
            .serve_at(SERVICE_PATH, Service { uuid, device: None })?
            .serve_at("/advertisement", Advertisement { link: link.clone() })?
            .build()
            .await?;
        let mut notifying = None;
        for (place, attribute) in link.attributes() {
            let at = format!("{SERVICE_PATH}/char{place}");
            let service = path(SERVICE_PATH)?;
            let characteristic = Characteristic { attribute, service, link: link.clone(), guarded: false };
            connection.object_server().at(at.as_str(), characteristic).await?;
            notifying = notifying.or(Some(at).filter(|_| attribute.notify));
        }
        let adapter = format!("/org/bluez/{adapter}");
        let options: HashMap<&str, Value<'_>> = HashMap::new();
        let gatt = Proxy::new(&connection, "org.bluez", adapter.as_str(), "org.bluez.GattManager1").await?;
        let _: () = gatt.call("RegisterApplication", &(ObjectPath::try_from(APPLICATION)?, &options)).await?;
        let air =
            Proxy::new(&connection, "org.bluez", adapter.as_str(), "org.bluez.LEAdvertisingManager1").await?;
        let _: () =
            air.call("RegisterAdvertisement", &(ObjectPath::try_from("/advertisement")?, &options)).await?;
        let speaker = connection.clone();
        let task = tokio::spawn(async move {
            while let Some(action) = actions.recv().await {
                // BlueZoo keeps the link; a registered application cannot drop it.
                let TagAction::Notify(bytes) = action else { continue };
                link.state().value = bytes;
                let Some(at) = notifying.as_deref() else { continue };
                if let Ok(found) = speaker.object_server().interface::<_, Characteristic>(at).await
                    && found.get().await.value_changed(found.signal_emitter()).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { connection, task })
    }

    /// The application's own name on the bus.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.connection.unique_name().map(ToString::to_string)
    }
}

impl Drop for Peripheral {
    fn drop(&mut self) {
        self.task.abort();
    }
}
