//! Open-item folds: alarms, batches, reservations, tags, devices, and what `shared.rs` keeps. One table, one body per item.
//!
//! Every update is either set once (the naming fact) or "the fact with the greater (epoch, seq) wins", or a sum. So the
//! result does not depend on the order in which logs of different epochs arrive.

use crate::evidence::{RootItem, StatementItem};
use crate::rows::{AlarmRow, BatchRow, DeviceRow, ReservationRow, TagRow, batch_open};
use crate::shared::{ArrivedItem, PromiseItem, RightsItem, SentItem, SettledItem};
use serde::{Deserialize, Serialize};
use sync_model::{
    AlarmKind, AlarmRaised, BatchQueued, BatchState, DeviceClass, DeviceEntry, DeviceId, FactRef, Milli,
    MilliCelsius, Minor, RegisterValue, ReservationOpened, ReservationOutcome, Sku, StoreId, Text,
    UnixMillis,
};
use sync_registers::{Register, Registry};

/// Which table of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Alarm = 1,
    Batch = 2,
    Reservation = 3,
    Tag = 4,
    Device = 5,
    Rights = 6,
    Register = 7,
    Registry = 8,
    Sent = 9,
    Arrived = 10,
    Promise = 11,
    Settled = 12,
    Statement = 13,
    Root = 14,
}

impl Class {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Alarm => 1,
            Self::Batch => 2,
            Self::Reservation => 3,
            Self::Tag => 4,
            Self::Device => 5,
            Self::Rights => 6,
            Self::Register => 7,
            Self::Registry => 8,
            Self::Sent => 9,
            Self::Arrived => 10,
            Self::Promise => 11,
            Self::Settled => 12,
            Self::Statement => 13,
            Self::Root => 14,
        }
    }

    pub(crate) fn from_code(code: i64) -> Option<Self> {
        let trade = [Self::Alarm, Self::Batch, Self::Reservation, Self::Tag, Self::Device];
        let shared = [Self::Rights, Self::Register, Self::Registry, Self::Promise, Self::Settled];
        let moved = [Self::Sent, Self::Arrived];
        let stated = [Self::Statement, Self::Root];
        trade.into_iter().chain(shared).chain(moved).chain(stated).find(|class| class.code() == code)
    }
}

/// Name of an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ItemKey {
    pub(crate) store: StoreId,
    pub(crate) class: Class,
    pub(crate) key: Vec<u8>,
}

impl ItemKey {
    pub(crate) fn fact(store: StoreId, class: Class, fact: FactRef) -> Self {
        let mut key = fact.epoch.0.to_be_bytes().to_vec();
        key.extend_from_slice(&fact.seq.0.to_be_bytes());
        Self { store, class, key }
    }

    pub(crate) fn device(store: StoreId, class: Class, device: &DeviceId) -> Self {
        Self { store, class, key: device.as_str().as_bytes().to_vec() }
    }

    /// The fact an item is named by; `None` for device-named items.
    pub(crate) fn fact_ref(&self) -> Option<FactRef> {
        let (epoch, seq) = self.key.split_first_chunk::<4>()?;
        let epoch = sync_model::Epoch(u32::from_be_bytes(*epoch));
        Some(FactRef { epoch, seq: sync_model::Seq(u64::from_be_bytes(seq.try_into().ok()?)) })
    }

    fn device_id(&self) -> Option<DeviceId> {
        DeviceId::new(std::str::from_utf8(&self.key).ok()?).ok()
    }
}

/// A value that the newest fact sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latest<T>(Option<(FactRef, T)>);

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Latest<T> {
    pub(crate) fn set(&mut self, by: FactRef, value: T) {
        if self.0.as_ref().is_none_or(|(before, _)| by > *before) {
            self.0 = Some((by, value));
        }
    }

    /// Sets it whatever was there, for those who compare by more than the name.
    pub(crate) fn put(&mut self, by: FactRef, value: T) {
        self.0 = Some((by, value));
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(_, value)| value)
    }

    pub(crate) fn by(&self) -> Option<FactRef> {
        self.0.as_ref().map(|(by, _)| *by)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlarmItem {
    pub(crate) raised: Option<(UnixMillis, AlarmRaisedBody)>,
    pub(crate) acknowledged: Latest<(UnixMillis, Text<32>)>,
    pub(crate) shelved: Latest<(UnixMillis, Text<32>)>,
    pub(crate) returned: Latest<(UnixMillis, Option<MilliCelsius>)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AlarmRaisedBody {
    device: DeviceId,
    kind: AlarmKind,
    since: UnixMillis,
    value: Option<MilliCelsius>,
    limit: Option<MilliCelsius>,
}

impl From<&AlarmRaised> for AlarmRaisedBody {
    fn from(raised: &AlarmRaised) -> Self {
        Self {
            device: raised.device.clone(),
            kind: raised.kind,
            since: raised.since,
            value: raised.value,
            limit: raised.limit,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BatchItem {
    pub(crate) queued: Option<(UnixMillis, BatchQueued)>,
    pub(crate) moved: Latest<(UnixMillis, BatchState, Text<32>)>,
    pub(crate) temperature: Latest<MilliCelsius>,
    pub(crate) taken: Milli,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReservationItem {
    pub(crate) opened: Option<(UnixMillis, ReservationOpened)>,
    pub(crate) closed: Latest<(UnixMillis, ReservationOutcome)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagItem {
    pub(crate) shown: Latest<TagShown>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TagShown {
    pub(crate) sku: Sku,
    pub(crate) price: Minor,
    pub(crate) version: u64,
    pub(crate) image_hash: [u8; 8],
    pub(crate) at: UnixMillis,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeviceItem {
    pub(crate) presence: Latest<(UnixMillis, DeviceClass, bool, Text<120>)>,
}

/// One item. The class of its key decides the variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Alarm(AlarmItem),
    Batch(BatchItem),
    Reservation(ReservationItem),
    Tag(TagItem),
    Device(DeviceItem),
    Rights(RightsItem),
    Register(Register<RegisterValue>),
    Registry(Registry<DeviceId, DeviceEntry>),
    Sent(SentItem),
    Arrived(ArrivedItem),
    Promise(PromiseItem),
    Settled(SettledItem),
    Statement(Box<StatementItem>),
    Root(RootItem),
}

impl Item {
    pub(crate) fn empty(class: Class) -> Self {
        match class {
            Class::Alarm => Self::Alarm(AlarmItem::default()),
            Class::Batch => Self::Batch(BatchItem::default()),
            Class::Reservation => Self::Reservation(ReservationItem::default()),
            Class::Tag => Self::Tag(TagItem::default()),
            Class::Device => Self::Device(DeviceItem::default()),
            Class::Rights => Self::Rights(RightsItem::default()),
            Class::Register => Self::Register(Register::default()),
            Class::Registry => Self::Registry(Registry::default()),
            Class::Sent => Self::Sent(SentItem::default()),
            Class::Arrived => Self::Arrived(ArrivedItem::default()),
            Class::Promise => Self::Promise(PromiseItem::default()),
            Class::Settled => Self::Settled(SettledItem::default()),
            Class::Statement => Self::Statement(Box::default()),
            Class::Root => Self::Root(RootItem::default()),
        }
    }

    /// Whether somebody still has to do something about it; devices and tags are never open.
    pub(crate) fn open(&self) -> bool {
        match self {
            Self::Alarm(item) => item.returned.get().is_none() || item.acknowledged.get().is_none(),
            Self::Batch(item) => item.moved.get().is_none_or(|(_, state, _)| batch_open(*state)),
            Self::Reservation(item) => item.closed.get().is_none(),
            Self::Sent(item) => !item.closed,
            Self::Statement(item) => item.open(),
            Self::Tag(_) | Self::Device(_) | Self::Rights(_) | Self::Register(_) | Self::Registry(_) => false,
            Self::Arrived(_) | Self::Promise(_) | Self::Settled(_) | Self::Root(_) => false,
        }
    }

    pub(crate) fn to_body(&self) -> Vec<u8> {
        let bytes = match self {
            Self::Alarm(item) => postcard::to_allocvec(item),
            Self::Batch(item) => postcard::to_allocvec(item),
            Self::Reservation(item) => postcard::to_allocvec(item),
            Self::Tag(item) => postcard::to_allocvec(item),
            Self::Device(item) => postcard::to_allocvec(item),
            Self::Rights(item) => postcard::to_allocvec(item),
            Self::Register(item) => postcard::to_allocvec(item),
            Self::Registry(item) => postcard::to_allocvec(item),
            Self::Sent(item) => postcard::to_allocvec(item),
            Self::Arrived(item) => postcard::to_allocvec(item),
            Self::Promise(item) => postcard::to_allocvec(item),
            Self::Settled(item) => postcard::to_allocvec(item),
            Self::Statement(item) => postcard::to_allocvec(item),
            Self::Root(item) => postcard::to_allocvec(item),
        };
        bytes.expect("maps of items have a known length and a vector takes any number of bytes")
    }

    /// Reads a body; `None` when it is damaged.
    pub(crate) fn from_body(class: Class, body: &[u8]) -> Option<Self> {
        match class {
            Class::Alarm => postcard::from_bytes(body).ok().map(Self::Alarm),
            Class::Batch => postcard::from_bytes(body).ok().map(Self::Batch),
            Class::Reservation => postcard::from_bytes(body).ok().map(Self::Reservation),
            Class::Tag => postcard::from_bytes(body).ok().map(Self::Tag),
            Class::Device => postcard::from_bytes(body).ok().map(Self::Device),
            Class::Rights => postcard::from_bytes(body).ok().map(Self::Rights),
            Class::Register => postcard::from_bytes(body).ok().map(Self::Register),
            Class::Registry => postcard::from_bytes(body).ok().map(Self::Registry),
            Class::Sent => postcard::from_bytes(body).ok().map(Self::Sent),
            Class::Arrived => postcard::from_bytes(body).ok().map(Self::Arrived),
            Class::Promise => postcard::from_bytes(body).ok().map(Self::Promise),
            Class::Settled => postcard::from_bytes(body).ok().map(Self::Settled),
            Class::Statement => postcard::from_bytes(body).ok().map(Self::Statement),
            Class::Root => postcard::from_bytes(body).ok().map(Self::Root),
        }
    }

    pub(crate) fn alarm(&self, key: &ItemKey) -> Option<AlarmRow> {
        let Self::Alarm(item) = self else { return None };
        let (raised, body) = item.raised.clone()?;
        Some(AlarmRow {
            alarm: key.fact_ref()?,
            device: body.device,
            kind: body.kind,
            since: body.since,
            raised,
            value: body.value,
            limit: body.limit,
            acknowledged: item.acknowledged.get().cloned(),
            shelved: item.shelved.get().cloned(),
            returned: item.returned.get().map(|(at, _)| *at),
            worst: item.returned.get().and_then(|(_, worst)| *worst),
        })
    }

    pub(crate) fn batch(&self, key: &ItemKey) -> Option<BatchRow> {
        let Self::Batch(item) = self else { return None };
        let (queued_at, queued) = item.queued.clone()?;
        let (since, state, reason) =
            item.moved.get().cloned().unwrap_or((queued_at, BatchState::Queued, Text::default()));
        let temperature = item.temperature.get().copied();
        Some(BatchRow {
            batch: key.fact_ref()?,
            queued,
            queued_at,
            state,
            since,
            temperature,
            reason,
            taken: item.taken,
        })
    }

    pub(crate) fn reservation(&self, key: &ItemKey) -> Option<ReservationRow> {
        let Self::Reservation(item) = self else { return None };
        let (opened_at, opened) = item.opened.clone()?;
        let closed = item.closed.get().map(|(at, outcome)| (*outcome, *at));
        Some(ReservationRow { reservation: key.fact_ref()?, opened, opened_at, closed })
    }

    pub(crate) fn tag(&self, key: &ItemKey) -> Option<TagRow> {
        let Self::Tag(item) = self else { return None };
        let (shown, by) = (item.shown.get()?, item.shown.by()?);
        Some(TagRow {
            tag: key.device_id()?,
            sku: shown.sku,
            price: shown.price,
            version: shown.version,
            image_hash: shown.image_hash,
            confirmed: shown.at,
            by,
        })
    }

    pub(crate) fn device(&self, key: &ItemKey) -> Option<DeviceRow> {
        let Self::Device(item) = self else { return None };
        let ((since, class, present, detail), by) = (item.presence.get()?.clone(), item.presence.by()?);
        Some(DeviceRow { device: key.device_id()?, class, present, since, detail, by })
    }
}
