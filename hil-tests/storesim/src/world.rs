//! One run: the clock, the queue of what happens next, and everything that takes part. Single-threaded; the ledgers' writer
//! threads are only ever waited for, so equal scripts give equal runs.

use crate::book::Book;
use crate::broker::{Broker, Message, SessionId};
use crate::gateway::Gateway;
use crate::headquarters::Headquarters;
use crate::planted::Bug;
use crate::random::Random;
use crate::script::{DAY_MS, Script, What};
use anyhow::Result;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use sync_core::SenderConfig;
use sync_core::replica::{Incoming, Leaf, Token};
use sync_model::{FactRef, Sku, StoreId};
use tempfile::TempDir;

/// Whoever has turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// A gateway, by index.
    Gateway(usize),
    /// A worker of HQ, by index.
    Worker(usize),
}

/// What is due at a moment.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A step of the script.
    Script(usize),
    /// A driver's turn.
    Turn(Node),
    /// A client tries to connect.
    Connect(Node),
    /// A client notices that its connection is gone.
    Lost(Node, SessionId),
    /// The broker notices.
    Expired(SessionId),
    /// A message reaches the broker, or a client.
    ToBroker(SessionId, Message),
    /// As it says.
    ToClient(SessionId, Message),
    /// A process starts.
    Start(Node),
    /// HQ's ledger is opened and its workers start.
    StartHq,
    /// A crash that was armed and found no effect happens now.
    CrashAnyway(Node),
    /// A disk has room again.
    Room(u32),
    /// A clock is set right.
    ClockRight(u32, i64),
    /// A queue is as long as ever.
    QueueRight(SessionId),
    /// A copied gateway is switched off.
    Retire(usize),
    /// Workers own what they should.
    Rebalance,
    /// Goods arrive.
    Truck { to: StoreId, from: StoreId, of: FactRef, sku: Sku, quantity: i64, tries: u32 },
    /// A planted late job.
    Late(usize, Token, StoreId, Incoming),
}

/// Messages of a node that a fault is waiting for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Armed {
    pub(crate) node: Node,
    pub(crate) what: What,
    pub(crate) left: u64,
    pub(crate) extra: u64,
}

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Stable word of the oracle.
    pub oracle: &'static str,
    /// What was found.
    pub detail: String,
}

/// What a run ended in.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Facts that were booked and answered.
    pub events: u64,
    /// Faults that took effect, by kind.
    pub faults: BTreeMap<What, u64>,
    /// What must never be.
    pub violations: Vec<Violation>,
    /// Facts whose last copy a fault destroyed, by name.
    pub destroyed: Vec<String>,
    /// Virtual time from the end of the faults to rest.
    pub settled_ms: u64,
    /// What happened, newest last; bounded.
    pub trace: Vec<String>,
}

/// One run under way.
pub struct World {
    pub(crate) script: Script,
    pub(crate) now: u64,
    pub(crate) random: Random,
    queue: BTreeMap<(u64, u64), Happening>,
    order: u64,
    pub(crate) broker: Broker,
    pub(crate) gateways: Vec<Gateway>,
    pub(crate) hq: Headquarters,
    pub(crate) book: Book,
    pub(crate) armed: Vec<Armed>,
    pub(crate) faults: BTreeMap<What, u64>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) events: u64,
    pub(crate) messages: u64,
    pub(crate) healed: bool,
    /// Turns in a row that found nothing to do, and were asked for again at once.
    pub(crate) idle: BTreeMap<Node, u32>,
    trace: VecDeque<String>,
    trace_max: usize,
    pub(crate) root: TempDir,
    pub(crate) folders: u64,
}

/// Wall clock at the begin of every run.
pub(crate) const BEGIN_MS: i64 = 1_790_000_000_000;
/// Publishes that a client has under way.
const INFLIGHT: usize = 16;
/// Largest packet of the broker.
const PACKET_MAX: usize = 64 * 1024;
/// Violations after which a run is stopped.
const VIOLATIONS_MAX: usize = 4;

/// Pacing of both sides: small enough that windows, gaps and rewinds are met all the time.
pub(crate) fn pacing() -> SenderConfig {
    SenderConfig {
        window_bytes: 3_000,
        block_bytes: 700,
        linger_ms: 20,
        retry_min_ms: 500,
        retry_max_ms: 8_000,
    }
}

/// Runs a script to its end and says what it ended in.
pub fn run(script: &Script, trace_max: usize) -> Result<Outcome> {
    let mut world = World::new(script, trace_max)?;
    world.play()?;
    Ok(world.outcome())
}

impl World {
    fn new(script: &Script, trace_max: usize) -> Result<Self> {
        let shared = Path::new("/dev/shm");
        let mut folder = tempfile::Builder::new();
        folder.prefix("storesim-");
        let root = if shared.is_dir() { folder.tempdir_in(shared) } else { folder.tempdir() }?;
        let mut world = Self {
            now: 0,
            random: Random::new(script.seed, 2),
            queue: BTreeMap::new(),
            order: 0,
            broker: Broker::default(),
            gateways: Vec::new(),
            hq: Headquarters::new(root.path())?,
            book: Book::default(),
            armed: Vec::new(),
            faults: BTreeMap::new(),
            violations: Vec::new(),
            events: 0,
            messages: 0,
            healed: false,
            idle: BTreeMap::new(),
            trace: VecDeque::new(),
            trace_max,
            root,
            folders: 0,
            script: script.clone(),
        };
        world.start_hq()?;
        for store in 1..=script.options.stores {
            let gateway = Gateway::new(&mut world, StoreId(store))?;
            world.gateways.push(gateway);
            world.start_gateway(world.gateways.len() - 1)?;
        }
        for (index, step) in script.steps.iter().enumerate() {
            world.at(step.at, Happening::Script(index));
        }
        Ok(world)
    }

    fn play(&mut self) -> Result<()> {
        let last = self.script.steps.last().map_or(0, |step| step.at);
        self.until(last + 60_000)?;
        self.heal()?;
        self.rest()
    }

    fn outcome(self) -> Outcome {
        let destroyed = self
            .book
            .facts
            .values()
            .filter_map(|known| known.destroyed.as_ref().map(|why| format!("{} ({why})", known.what)));
        Outcome {
            events: self.events,
            destroyed: destroyed.collect(),
            faults: self.faults,
            violations: self.violations,
            settled_ms: self.now,
            trace: self.trace.into(),
        }
    }

    /// Runs what is due up to a moment.
    pub(crate) fn until(&mut self, end: u64) -> Result<()> {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
            && self.violations.len() < VIOLATIONS_MAX
        {
            let ((at, _), happening) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(happening)?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<()> {
        match happening {
            Happening::Script(index) => self.script_step(index)?,
            Happening::Turn(node) => self.turn(node)?,
            Happening::Connect(node) => self.connect(node),
            Happening::Lost(node, session) => self.lost(node, session),
            Happening::Expired(session) => self.expire(session),
            Happening::ToBroker(session, message) => self.reach_broker(session, &message),
            Happening::ToClient(session, message) => self.reach_client(session, &message),
            Happening::Start(Node::Gateway(index)) => self.start_gateway(index)?,
            Happening::Start(Node::Worker(index)) => self.start_worker(index)?,
            Happening::StartHq => self.start_hq()?,
            Happening::CrashAnyway(node) => self.crash_anyway(node)?,
            Happening::Room(who) => self.make_room(who)?,
            Happening::ClockRight(who, by) => self.set_clock(who, by)?,
            Happening::QueueRight(session) => {
                if let Some(session) = self.broker.session(session) {
                    session.queue_max = crate::broker::QUEUE_MAX;
                }
            }
            Happening::Retire(index) => self.retire(index)?,
            Happening::Rebalance => self.rebalance()?,
            Happening::Truck { to, from, of, sku, quantity, tries } => {
                self.truck(to, (from, of), (sku, quantity), tries)?;
            }
            Happening::Late(worker, token, store, block) => self.late_job(worker, token, store, &block)?,
        }
        Ok(())
    }

    /// Puts something into the queue.
    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), happening);
    }

    /// The same after a while.
    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.at(self.now + ms, happening);
    }

    /// Gives a driver a turn at a moment, if it has none sooner.
    pub(crate) fn turn_at(&mut self, node: Node, at: u64) {
        let at = at.max(self.now);
        let planned = match node {
            Node::Gateway(index) => self.gateways.get_mut(index).map(|gateway| &mut gateway.turn),
            Node::Worker(index) => self.hq.workers.get_mut(index).map(|worker| &mut worker.turn),
        };
        let Some(planned) = planned else { return };
        if planned.is_none_or(|planned| planned > at || planned < self.now) {
            *planned = Some(at);
            self.at(at, Happening::Turn(node));
        }
    }

    fn turn(&mut self, node: Node) -> Result<()> {
        let planned = match node {
            Node::Gateway(index) => self.gateways.get_mut(index).map(|gateway| &mut gateway.turn),
            Node::Worker(index) => self.hq.workers.get_mut(index).map(|worker| &mut worker.turn),
        };
        if planned.is_none_or(|planned| planned.take_if(|at| *at == self.now).is_none()) {
            return Ok(());
        }
        match node {
            Node::Gateway(index) => self.gateway_turn(index),
            Node::Worker(index) => self.worker_turn(index),
        }
    }

    /// A driver that is woken again and again, and finds nothing to do: a busy loop in a real process.
    pub(crate) fn idle_turn(&mut self, node: Node, wake: u64) {
        let soon = wake <= self.now + 1;
        let idle = self.idle.entry(node).or_default();
        *idle = if soon { *idle + 1 } else { 0 };
        if *idle == 2_000 {
            self.violate("busy-loop", format!("{node:?} wakes every millisecond and finds nothing to do"));
        }
    }

    /// Whether this bug is planted.
    pub(crate) fn bug(&self, bug: Bug) -> bool {
        self.script.options.bug == Some(bug)
    }

    /// Notes what must never be.
    pub(crate) fn violate(&mut self, oracle: &'static str, detail: String) {
        self.note(|| format!("VIOLATION {oracle}: {detail}"));
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { oracle, detail });
        }
    }

    /// Notes what happened.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.trace_max == 0 {
            return;
        }
        if self.trace.len() >= self.trace_max {
            self.trace.pop_front();
        }
        let (day, ms) = (self.now / DAY_MS, self.now % DAY_MS);
        self.trace.push_back(format!("{day}+{ms:>8} {}", text()));
    }

    /// A fault took effect.
    pub(crate) fn fault(&mut self, what: What) {
        *self.faults.entry(what).or_default() += 1;
    }

    /// Virtual wall clock of whoever is `offset` wrong.
    pub(crate) fn wall(&self, offset: i64) -> i64 {
        BEGIN_MS + i64::try_from(self.now).unwrap_or(i64::MAX / 4) + offset
    }

    /// The connection of a node.
    pub(crate) fn session_of(&mut self, node: Node) -> Option<&mut Option<SessionId>> {
        match node {
            Node::Gateway(index) => self.gateways.get_mut(index).map(|gateway| &mut gateway.session),
            Node::Worker(index) => self.hq.workers.get_mut(index).map(|worker| &mut worker.session),
        }
    }

    fn connect(&mut self, node: Node) {
        let now = self.now;
        let connected = match node {
            Node::Gateway(index) => self.gateways.get(index).and_then(|gateway| gateway.hello(now)),
            Node::Worker(index) => self.hq.hello(index, now),
        };
        let (name, stores, leaves, will) = match connected {
            Some(Ok(found)) => found,
            Some(Err(later)) => return self.at(later, Happening::Connect(node)),
            None => return,
        };
        let (id, older, kept) = self.broker.connect(name, node, stores, leaves, will);
        if let Some(older) = older {
            self.take_over(older);
        }
        if let Some(session) = self.session_of(node) {
            *session = Some(id);
        }
        self.note(|| format!("{node:?} connects"));
        match node {
            Node::Gateway(index) => {
                self.gateways.get_mut(index).map(|gateway| gateway.replica.handle_up(now))
            }
            Node::Worker(index) => self.hq.workers.get_mut(index).map(|worker| worker.hub.handle_up(now)),
        };
        for message in kept {
            self.deliver(id, message);
        }
        self.turn_at(node, now);
    }

    /// A client of the same name connected: the older connection ends.
    fn take_over(&mut self, older: SessionId) {
        let Some(session) = self.broker.session(older) else { return };
        let node = session.node;
        self.expire(older);
        self.lost(node, older);
    }

    /// A client notices the end of its connection, and tries again.
    fn lost(&mut self, node: Node, id: SessionId) {
        let now = self.now;
        if self.session_of(node).is_none_or(|session| session.take_if(|held| *held == id).is_none()) {
            return;
        }
        self.note(|| format!("{node:?} lost its connection"));
        match node {
            Node::Gateway(index) => {
                self.gateways.get_mut(index).map(|gateway| gateway.replica.handle_down(now))
            }
            Node::Worker(index) => self.hq.workers.get_mut(index).map(|worker| worker.hub.handle_down(now)),
        };
        let pause = self.random.range(500, 3_000);
        self.after(pause, Happening::Connect(node));
        self.turn_at(node, now);
    }

    /// The broker notices the end of a connection: the will is published.
    fn expire(&mut self, id: SessionId) {
        if let Some(store) = self.broker.close(id) {
            let message = Message { store, leaf: Leaf::Presence, bytes: b"0".to_vec(), retained: true };
            self.distribute(&message);
        }
    }

    /// A connection dies: the two sides notice after their own times.
    pub(crate) fn cut(&mut self, node: Node, client_ms: u64, broker_ms: u64) {
        let Some(Some(id)) = self.session_of(node).map(|session| *session) else { return };
        if let Some(session) = self.broker.session(id) {
            session.dead = true;
        }
        self.after(client_ms, Happening::Lost(node, id));
        self.after(broker_ms, Happening::Expired(id));
    }

    /// What an armed fault does to the next message of a node, if anything.
    fn fate(&mut self, node: Node) -> Option<(What, u64)> {
        let at = self.armed.iter().position(|armed| armed.node == node)?;
        let armed = self.armed.get_mut(at)?;
        armed.left -= 1;
        let (what, extra) = (armed.what, armed.extra);
        if armed.left == 0 {
            self.armed.remove(at);
        }
        self.fault(what);
        Some((what, extra))
    }

    /// When a message arrives, once or twice or not at all.
    fn arrivals(&mut self, node: Node, floor: &mut u64) -> Vec<u64> {
        let usual = self.now + self.random.range(2, 60);
        let fate = self.fate(node);
        if let Some((what, _)) = fate {
            self.note(|| format!("{node:?}: {} a message", what.word()));
        }
        match fate {
            Some((What::Drop, _)) => Vec::new(),
            // Overtaken by what follows.
            Some((What::Reorder, extra)) => vec![usual + 50 + extra % 3_000],
            fate => {
                let held = match fate {
                    Some((What::Delay, extra)) => extra % 40_000,
                    _ => 0,
                };
                *floor = usual.max(*floor + 1) + held;
                match fate {
                    Some((What::Duplicate, extra)) => vec![*floor, *floor + extra % 20_000],
                    _ => vec![*floor],
                }
            }
        }
    }

    /// A client hands a message over.
    pub(crate) fn send(&mut self, node: Node, message: Message) -> Result<(), sync_core::replica::Unsent> {
        use sync_core::replica::Unsent;
        let id = self.session_of(node).and_then(|session| *session).ok_or(Unsent::Down)?;
        let session = self.broker.session(id).ok_or(Unsent::Down)?;
        if message.bytes.len() > PACKET_MAX {
            return Err(Unsent::TooLarge);
        }
        if session.waiting.0 >= INFLIGHT {
            return Err(Unsent::Full);
        }
        self.messages += 1;
        if session.dead {
            // Taken by the socket; nobody will ever see it. The window fills up.
            session.waiting.0 += 1;
            return Ok(());
        }
        let mut floor = session.arrivals.0;
        let times = self.arrivals(node, &mut floor);
        if let Some(session) = self.broker.session(id) {
            session.arrivals.0 = floor;
            session.waiting.0 += times.len();
        }
        for at in times {
            self.at(at, Happening::ToBroker(id, message.clone()));
        }
        Ok(())
    }

    fn reach_broker(&mut self, id: SessionId, message: &Message) {
        let Some(session) = self.broker.session(id) else { return };
        session.waiting.0 = session.waiting.0.saturating_sub(1);
        if session.dead {
            return;
        }
        let node = session.node;
        self.distribute(message);
        // Room in the window.
        self.turn_at(node, self.now + 1);
    }

    /// The broker hands a message on.
    pub(crate) fn distribute(&mut self, message: &Message) {
        for id in self.broker.publish(message) {
            self.deliver(id, Message { retained: false, ..message.clone() });
        }
    }

    fn deliver(&mut self, id: SessionId, message: Message) {
        let Some(session) = self.broker.session(id) else { return };
        if session.dead {
            return;
        }
        if session.waiting.1 >= session.queue_max {
            self.note(|| "the broker's queue overflows".to_owned());
            return self.fault(What::Overflow);
        }
        let (node, mut floor) = (session.node, session.arrivals.1);
        let times = self.arrivals(node, &mut floor);
        if let Some(session) = self.broker.session(id) {
            session.arrivals.1 = floor;
            session.waiting.1 += times.len();
        }
        for at in times {
            self.at(at, Happening::ToClient(id, message.clone()));
        }
    }

    fn reach_client(&mut self, id: SessionId, message: &Message) {
        let Some(session) = self.broker.session(id) else { return };
        session.waiting.1 = session.waiting.1.saturating_sub(1);
        if session.dead {
            return;
        }
        let node = session.node;
        if self.session_of(node).is_none_or(|held| *held != Some(id)) {
            return;
        }
        match node {
            Node::Gateway(index) => self.hear_at_store(index, message),
            Node::Worker(index) => self.hear_at_hq(index, message),
        }
        self.turn_at(node, self.now);
    }

    /// A new folder name.
    pub(crate) fn folder(&mut self, of: &str) -> String {
        self.folders += 1;
        format!("{of}-{}", self.folders)
    }
}
