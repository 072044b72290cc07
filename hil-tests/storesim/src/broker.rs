//! The MQTT broker between stores and HQ, in virtual time: retained messages, sessions that begin clean, wills, bounded
//! queues. It decides nothing about delays; `net` does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use sync_core::replica::Leaf;
use sync_model::StoreId;

/// A connection, never reused.
pub type SessionId = u64;

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose topic.
    pub store: StoreId,
    /// Which of its topics.
    pub leaf: Leaf,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Published: to be kept. Delivered: it was kept.
    pub retained: bool,
}

/// One side of a connection.
#[derive(Clone, Debug)]
pub struct Session {
    /// Client identifier: a second one of the same name ends the first.
    pub name: String,
    /// Who is at the other end.
    pub node: crate::world::Node,
    /// Topics.
    stores: BTreeSet<StoreId>,
    leaves: Vec<Leaf>,
    /// Presence topic of this store says `0` when the session dies.
    pub will: Option<StoreId>,
    /// Nothing passes, and neither side knows.
    pub dead: bool,
    /// The broker knows it as live.
    pub open: bool,
    /// Messages on their way to the broker and to the client.
    pub waiting: (usize, usize),
    /// Longest queue to the client.
    pub queue_max: usize,
    /// Earliest next arrivals, so that order is kept.
    pub arrivals: (u64, u64),
}

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    retained: BTreeMap<(StoreId, Leaf), Vec<u8>>,
    sessions: BTreeMap<SessionId, Session>,
    next: SessionId,
    /// Messages kept for replays by whoever wants to disturb.
    pub seen: VecDeque<Message>,
}

/// Usual bound of a client's queue.
pub const QUEUE_MAX: usize = 1_000;

impl Broker {
    /// A client connects and subscribes. Gives its session, the one it took over from, and what was retained for it.
    pub fn connect(
        &mut self,
        name: String,
        node: crate::world::Node,
        stores: BTreeSet<StoreId>,
        leaves: &[Leaf],
        will: Option<StoreId>,
    ) -> (SessionId, Option<SessionId>, Vec<Message>) {
        let older = self.sessions.iter().find(|(_, session)| session.open && session.name == name);
        let older = older.map(|(id, _)| *id);
        self.next += 1;
        let wanted = |(store, leaf): &(StoreId, Leaf)| stores.contains(store) && leaves.contains(leaf);
        let kept = self.retained.iter().filter(|(topic, _)| wanted(topic));
        let kept = kept
            .map(|((store, leaf), bytes)| Message {
                store: *store,
                leaf: *leaf,
                bytes: bytes.clone(),
                retained: true,
            })
            .collect();
        let session = Session {
            name,
            node,
            stores,
            leaves: leaves.to_vec(),
            will,
            dead: false,
            open: true,
            waiting: (0, 0),
            queue_max: QUEUE_MAX,
            arrivals: (0, 0),
        };
        self.sessions.insert(self.next, session);
        (self.next, older, kept)
    }

    /// A session.
    pub fn session(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(&id)
    }

    /// Every session that the broker knows as live.
    pub fn open_sessions(&self) -> Vec<SessionId> {
        self.sessions.iter().filter(|(_, session)| session.open).map(|(id, _)| *id).collect()
    }

    /// The session ends. Gives its will.
    pub fn close(&mut self, id: SessionId) -> Option<StoreId> {
        let session = self.sessions.remove(&id)?;
        session.will.filter(|_| session.open)
    }

    /// A message arrived: keeps it if asked to, and says who gets it.
    pub fn publish(&mut self, message: &Message) -> Vec<SessionId> {
        let topic = (message.store, message.leaf);
        if message.retained {
            if message.bytes.is_empty() {
                self.retained.remove(&topic);
            } else {
                self.retained.insert(topic, message.bytes.clone());
            }
        }
        if self.seen.len() >= 64 {
            self.seen.pop_front();
        }
        self.seen.push_back(message.clone());
        let hears = |session: &Session| {
            session.open && session.stores.contains(&message.store) && session.leaves.contains(&message.leaf)
        };
        self.sessions.iter().filter(|(_, session)| hears(session)).map(|(id, _)| *id).collect()
    }

    /// Everything retained is gone.
    pub fn forget(&mut self) {
        self.retained.clear();
    }
}
