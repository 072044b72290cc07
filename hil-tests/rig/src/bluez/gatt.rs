//! The GATT side of a tag on D-Bus: one service and its characteristics, the same for both daemons.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drv_sim::{Attribute, GattTag, Refusal, TagAction};
use tokio::sync::mpsc;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, OwnedValue};
use zbus::{DBusError, interface};

use crate::clock::now_ms;

/// Options of a D-Bus method.
pub(super) type Options = HashMap<String, OwnedValue>;

/// Errors with BlueZ's names.
#[derive(Debug, DBusError)]
#[zbus(prefix = "org.bluez.Error")]
pub(super) enum BluezError {
    #[zbus(error)]
    ZBus(zbus::Error),
    Failed(String),
    NotPermitted(String),
    NotReady(String),
    InProgress(String),
}

/// A 16-bit Bluetooth number as the text BlueZ uses.
pub(super) fn uuid(short: u16) -> String {
    format!("0000{short:04x}-0000-1000-8000-00805f9b34fb")
}

pub(super) fn path(text: &str) -> Result<OwnedObjectPath, zbus::Error> {
    OwnedObjectPath::try_from(text.to_owned()).map_err(Into::into)
}

/// What the objects of one tag share.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) tag: Arc<Mutex<dyn GattTag>>,
    state: Mutex<LinkState>,
    actions: mpsc::UnboundedSender<TagAction>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct LinkState {
    pub(super) connected: bool,
    pub(super) resolved: bool,
    pub(super) silent: bool,
    /// A connect gets no answer, and while that one waits every other is "already in progress".
    pub(super) hanging: bool,
    /// A connect waits.
    pub(super) pending: bool,
    /// The daemon lost track: connected, but without services, until the link is dropped so often.
    pub(super) hollow: u32,
    pub(super) notifying: bool,
    pub(super) value: Vec<u8>,
}

impl Link {
    /// The receiver gets what the tag does, in order; a write causes a few actions, so the queue stays short.
    pub(super) fn new(tag: Arc<Mutex<dyn GattTag>>) -> (Arc<Self>, mpsc::UnboundedReceiver<TagAction>) {
        let (actions, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { tag, state: Mutex::default(), actions }), receiver)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sim(&self) -> MutexGuard<'_, dyn GattTag + 'static> {
        self.tag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tag's characteristics with the last parts of their paths.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (usize, Attribute)> + use<> {
        self.sim().attributes().iter().copied().enumerate()
    }
}

/// The primary service.
pub(super) struct Service {
    pub(super) uuid: u16,
    pub(super) device: Option<OwnedObjectPath>,
}

#[interface(name = "org.bluez.GattService1")]
impl Service {
    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        uuid(self.uuid)
    }

    #[zbus(property)]
    fn primary(&self) -> bool {
        true
    }

    #[zbus(property)]
    fn device(&self) -> Result<OwnedObjectPath, zbus::fdo::Error> {
        let missing = || zbus::fdo::Error::UnknownProperty("a registered service has no device".into());
        self.device.clone().ok_or_else(missing)
    }
}

/// A characteristic that hands reads and writes to the tag.
pub(super) struct Characteristic {
    pub(super) attribute: Attribute,
    pub(super) service: OwnedObjectPath,
    pub(super) link: Arc<Link>,
    /// Writes are refused while the link is down. A daemon that keeps the link itself does not need that.
    pub(super) guarded: bool,
}

impl Characteristic {
    fn refuse(refusal: Refusal) -> BluezError {
        match refusal {
            Refusal::NotPermitted => BluezError::NotPermitted(refusal.to_string()),
            Refusal::Unknown | Refusal::Value | Refusal::Silent => BluezError::Failed(refusal.to_string()),
        }
    }

    fn check_link(&self) -> Result<(), BluezError> {
        if self.guarded && !self.link.state().connected {
            return Err(BluezError::Failed("Not connected".into()));
        }
        Ok(())
    }
}

#[interface(name = "org.bluez.GattCharacteristic1")]
impl Characteristic {
    fn read_value(&self, _options: Options) -> Result<Vec<u8>, BluezError> {
        self.check_link()?;
        self.link.sim().read(self.attribute.uuid, now_ms()).map_err(Self::refuse)
    }

    fn write_value(&self, value: Vec<u8>, _options: Options) -> Result<(), BluezError> {
        self.check_link()?;
        let actions = self.link.sim().write(self.attribute.uuid, &value, now_ms()).map_err(Self::refuse)?;
        for action in actions {
            let gone = |_| BluezError::Failed("tag is switched off".into());
            self.link.actions.send(action).map_err(gone)?;
        }
        Ok(())
    }

    async fn start_notify(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BluezError> {
        if !self.attribute.notify {
            return Err(BluezError::NotPermitted("Notify not permitted".into()));
        }
        self.link.state().notifying = true;
        if !self.guarded {
            // A daemon that keeps the link tells an application nothing of it: a subscription is what can be seen.
            let mut sim = self.link.sim();
            sim.disconnected(now_ms());
            sim.connected(now_ms());
        }
        self.notifying_changed(&emitter).await.map_err(BluezError::ZBus)
    }

    async fn stop_notify(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(), BluezError> {
        if !std::mem::take(&mut self.link.state().notifying) {
            return Err(BluezError::Failed("No notify session started".into()));
        }
        self.notifying_changed(&emitter).await.map_err(BluezError::ZBus)
    }

    fn confirm(&self) {}

    #[zbus(property, name = "UUID")]
    fn uuid(&self) -> String {
        uuid(self.attribute.uuid)
    }

    #[zbus(property)]
    fn service(&self) -> OwnedObjectPath {
        self.service.clone()
    }

    #[zbus(property)]
    fn flags(&self) -> Vec<&str> {
        let Attribute { read, write, command, notify, .. } = self.attribute;
        let all = [(read, "read"), (write, "write"), (command, "write-without-response"), (notify, "notify")];
        all.into_iter().filter(|(has, _)| *has).map(|(_, flag)| flag).collect()
    }

    #[zbus(property)]
    fn notifying(&self) -> bool {
        self.attribute.notify && self.link.state().notifying
    }

    #[zbus(property)]
    fn value(&self) -> Vec<u8> {
        if self.attribute.notify { self.link.state().value.clone() } else { Vec::new() }
    }

    #[zbus(property, name = "MTU")]
    fn mtu(&self) -> u16 {
        247
    }
}
