//! Two stores, HQ, and the lines between them; what can happen next, and what follows.

use crate::book::Book;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use sync_core::SenderConfig;
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{BlockCodec, Effect, Leaf, Letter, Publish};
use sync_model::{Direction, StoreId};

/// The stores.
pub const STORES: [StoreId; 2] = [StoreId(7), StoreId(8)];

/// Steps of time in which everything must have come to rest once faults have ended.
const HEAL_STEPS: usize = 400;
/// Length of such a step.
const HEAL_STEP_MS: u64 = 50;
/// Effects that may follow one input.
const EFFECTS_MAX: usize = 2_000;

/// A fault planted in the drivers or ledgers of the model; the real objects stay as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bug {
    /// None.
    #[default]
    None,
    /// HQ acknowledges a block and commits it only with its next input: a crash in between loses it.
    AckBeforeCommit,
    /// A store whose history comes back from HQ drops what it wrote under the contested names.
    BranchDropped,
    /// HQ appends blocks that come after a gap.
    GapIgnored,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Records that each store writes.
    pub events: [u8; 2],
    /// Processes that are killed.
    pub crashes: u8,
    /// Ledgers that are replaced by an old copy.
    pub restores: u8,
    /// Messages that get lost.
    pub losses: u8,
    /// Messages that come twice.
    pub repeats: u8,
    /// Lines that are cut and come back at once.
    pub cuts: u8,
    /// Times that time moves on.
    pub waits: u8,
    /// Messages of the second store move only while the first is quiet. The stores share nothing but HQ's process, so this
    /// leaves out orders that differ in nothing that a store can see.
    pub turns: bool,
}

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Party {
    /// A store by its place in [`STORES`].
    Store(usize),
    /// HQ.
    Hq,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A store writes a record.
    Write(usize),
    /// The oldest message from a store reaches HQ (`true`), or from HQ the store.
    Deliver(usize, bool),
    /// It is lost.
    Lose(usize, bool),
    /// It is delivered and comes again.
    Repeat(usize, bool),
    /// A store's line breaks: what is on it is lost; it connects again.
    Cut(usize),
    /// A process dies between two inputs and starts again.
    Crash(Party),
    /// A store's ledger is replaced by an old copy with this many records in its newest log.
    RestoreStore(usize, u64),
    /// HQ's ledger is replaced by an old copy with this many records of each store's newest log.
    RestoreHq([u64; 2]),
    /// Nothing moves: the next time comes that somebody waits for.
    Wait,
}

type Queue = VecDeque<(Leaf, Vec<u8>)>;

#[derive(Clone, Debug)]
struct Site {
    book: Book,
    replica: Replica,
    up: Queue,
    down: Queue,
}

impl Site {
    fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.down.is_empty()
    }
}

/// The state of everything.
#[derive(Clone, Debug)]
pub struct World {
    sites: Vec<Site>,
    hq: Book,
    hub: Hub,
    /// Planted fault: what HQ has acknowledged and not committed.
    committed: Option<Book>,
    retained: BTreeMap<(usize, Leaf), Vec<u8>>,
    now: u64,
    /// Seconds of the wall clock, in a sense: every new epoch is above it.
    clock: u32,
    written: u8,
    /// What a till was told is durable, as long as a disk that holds it is there.
    durable: BTreeSet<Vec<u8>>,
    /// What HQ acknowledged.
    promised: BTreeSet<Vec<u8>>,
    left: Budget,
    bug: Bug,
    /// The first thing that went wrong.
    wrong: Option<String>,
    key: u128,
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// Hashes what is written into it, twice.
struct Ink(DefaultHasher, DefaultHasher);

impl Write for Ink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        self.1.write(text.as_bytes());
        Ok(())
    }
}

fn pacing() -> SenderConfig {
    SenderConfig { window_bytes: 400, block_bytes: 200, linger_ms: 0, retry_min_ms: 100, retry_max_ms: 400 }
}

fn replica(store: StoreId) -> Replica {
    Replica::new(ReplicaConfig {
        sender: pacing(),
        hello_ms: 300,
        codec: BlockCodec::PLAIN,
        ..ReplicaConfig::new(store)
    })
}

fn hub() -> Hub {
    Hub::new(HubConfig { sender: pacing(), codec: BlockCodec::PLAIN, ..HubConfig::default() })
}

impl World {
    /// Everything started and connected, nothing written but the epochs' openings.
    pub fn new(left: Budget, bug: Bug) -> Self {
        let site = |store: StoreId| {
            let mut book = Book::new(Some(store));
            book.open(0);
            book.drops_branches = bug == Bug::BranchDropped;
            Site { book, replica: replica(store), up: Queue::new(), down: Queue::new() }
        };
        let hq = Book { ignores_gaps: bug == Bug::GapIgnored, ..Book::new(None) };
        let mut world = Self {
            sites: STORES.map(site).into(),
            hq,
            hub: hub(),
            committed: None,
            retained: BTreeMap::new(),
            now: 0,
            clock: 1,
            written: 0,
            durable: BTreeSet::new(),
            promised: BTreeSet::new(),
            left,
            bug,
            wrong: None,
            key: 0,
        };
        world.start_hub();
        for site in 0..STORES.len() {
            world.start_store(site);
        }
        world.run();
        world.seal();
        world
    }

    /// What is wrong in this state, if anything.
    pub fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    /// Whether no message is on its way.
    pub fn is_quiet(&self) -> bool {
        self.sites.iter().all(Site::is_quiet)
    }

    /// What is left of the budget.
    pub fn left(&self) -> Budget {
        self.left
    }

    /// Every record that a store holds is at HQ.
    pub fn is_level(&self) -> bool {
        STORES.iter().zip(&self.sites).all(|(store, site)| site.book.of(*store) == self.hq.of(*store))
    }

    /// Whether a store has more than one epoch.
    pub fn has_new_epoch(&self) -> bool {
        STORES.iter().zip(&self.sites).any(|(store, site)| site.book.of(*store).len() > 1)
    }

    /// What can happen now.
    pub fn steps(&self, steps: &mut Vec<Step>) {
        if self.wrong.is_some() {
            return;
        }
        for (at, site) in self.sites.iter().enumerate() {
            if self.left.events[at] > 0 {
                steps.push(Step::Write(at));
            }
            let waits = self.left.turns && self.sites.iter().take(at).any(|first| !first.is_quiet());
            for (up, queue) in [(true, &site.up), (false, &site.down)] {
                if queue.is_empty() || waits {
                    continue;
                }
                steps.push(Step::Deliver(at, up));
                if self.left.losses > 0 {
                    steps.push(Step::Lose(at, up));
                }
                if self.left.repeats > 0 {
                    steps.push(Step::Repeat(at, up));
                }
            }
            if self.left.cuts > 0 {
                steps.push(Step::Cut(at));
            }
            if self.left.crashes > 0 {
                steps.push(Step::Crash(Party::Store(at)));
            }
            if self.left.restores > 0 {
                let head = site.book.current().map_or(0, |log| site.book.head(log).0);
                steps.extend((1..head).map(|keep| Step::RestoreStore(at, keep)));
            }
        }
        if self.left.crashes > 0 {
            steps.push(Step::Crash(Party::Hq));
        }
        if self.left.restores > 0 {
            let heads = self.hq_heads();
            let keeps = (0..=heads[0]).flat_map(|a| (0..=heads[1]).map(move |b| [a, b]));
            steps.extend(keeps.filter(|keep| *keep != heads).map(Step::RestoreHq));
        }
        if self.left.waits > 0 && self.is_quiet() {
            steps.push(Step::Wait);
        }
    }

    fn hq_heads(&self) -> [u64; 2] {
        STORES.map(|store| self.hq.of(store).keys().next_back().map_or(0, |log| self.hq.head(*log).0))
    }

    /// The state after a step.
    pub fn after(&self, step: Step) -> Self {
        let mut world = self.clone();
        world.apply(step);
        world.seal();
        world
    }

    fn apply(&mut self, step: Step) {
        if self.bug == Bug::AckBeforeCommit && !matches!(step, Step::Crash(Party::Hq)) {
            self.committed = None;
        }
        match step {
            Step::Write(at) => {
                self.left.events[at] -= 1;
                self.written += 1;
                let record = format!("record {}", self.written).into_bytes();
                let clock = self.tick();
                self.durable.insert(record.clone());
                let site = &mut self.sites[at];
                if let Some((log, head)) = site.book.append(record, clock) {
                    site.replica.handle_head(self.now, log, head);
                }
            }
            Step::Deliver(at, up) => self.deliver(at, up, true),
            Step::Lose(at, up) => {
                self.left.losses -= 1;
                let site = &mut self.sites[at];
                let queue = if up { &mut site.up } else { &mut site.down };
                queue.pop_front();
            }
            Step::Repeat(at, up) => {
                self.left.repeats -= 1;
                self.deliver(at, up, false);
            }
            Step::Cut(at) => {
                self.left.cuts -= 1;
                self.sites[at].replica.handle_down(self.now);
                self.connect(at);
            }
            Step::Crash(party) => {
                self.left.crashes -= 1;
                self.crash(party);
            }
            Step::RestoreStore(at, keep) => {
                self.left.restores -= 1;
                let book = &mut self.sites[at].book;
                if let Some(log) = book.current() {
                    book.go_back(log, keep);
                }
                // A disk is gone: what neither HQ nor anybody else has of it is lost, unless HQ had acknowledged it.
                let held = self.held();
                let promised = self.promised.clone();
                self.durable.retain(|record| held.contains(record) || promised.contains(record));
                self.crash(Party::Store(at));
            }
            Step::RestoreHq(keep) => {
                self.left.restores -= 1;
                for (store, keep) in STORES.iter().zip(keep) {
                    let newest = self.hq.of(*store).keys().next_back().copied();
                    if let Some(log) = newest {
                        self.hq.go_back(log, keep);
                    }
                }
                // HQ's own disk is gone: what no store has any more is lost.
                let held = self.held();
                self.durable.retain(|record| held.contains(record));
                self.promised.retain(|record| held.contains(record));
                self.crash(Party::Hq);
            }
            Step::Wait => {
                self.left.waits -= 1;
                let wakes = self.sites.iter().filter_map(|site| site.replica.next_wake());
                let next = wakes.chain(self.hub.next_wake()).filter(|at| *at > self.now).min();
                self.now = next.unwrap_or(self.now + HEAL_STEP_MS);
            }
        }
        self.run();
        self.inspect();
    }

    /// The wall clock, a second later.
    fn tick(&mut self) -> u32 {
        self.clock += 1;
        self.clock
    }

    fn crash(&mut self, party: Party) {
        match party {
            Party::Store(at) => self.start_store(at),
            Party::Hq => {
                if let Some(committed) = self.committed.take() {
                    self.hq = committed;
                }
                self.start_hub();
            }
        }
    }

    /// Every record that is on a disk.
    fn held(&self) -> BTreeSet<Vec<u8>> {
        let books = self.sites.iter().map(|site| &site.book).chain([&self.hq]);
        books.flat_map(|book| book.logs.values()).flat_map(|state| state.records.iter().cloned()).collect()
    }

    fn start_store(&mut self, at: usize) {
        let site = &mut self.sites[at];
        site.replica = replica(STORES[at]);
        site.replica.load(self.now, &site.book.positions(), site.book.current());
        self.connect(at);
    }

    /// The store's line comes up: clean session, retained messages first.
    fn connect(&mut self, at: usize) {
        let site = &mut self.sites[at];
        site.up.clear();
        site.down.clear();
        if let Some(ack) = self.retained.get(&(at, Leaf::UpAck)) {
            site.down.push_back((Leaf::UpAck, ack.clone()));
        }
        site.replica.handle_up(self.now);
    }

    fn start_hub(&mut self) {
        self.hub = hub();
        for position in self.hq.positions() {
            self.hub.load(self.now, position);
        }
        for at in 0..self.sites.len() {
            self.sites[at].up.clear();
            if let Some(ack) = self.retained.get(&(at, Leaf::DownAck)) {
                self.sites[at].up.push_back((Leaf::DownAck, ack.clone()));
            }
        }
        self.hub.handle_up(self.now);
    }

    fn deliver(&mut self, at: usize, up: bool, take: bool) {
        let site = &mut self.sites[at];
        let queue = if up { &mut site.up } else { &mut site.down };
        let message = if take { queue.pop_front() } else { queue.front().cloned() };
        let Some((leaf, bytes)) = message else { return };
        if up {
            self.hub.handle_message(self.now, STORES[at], leaf, &bytes, false);
        } else {
            site.replica.handle_message(self.now, leaf, &bytes);
        }
    }

    /// Does what everybody asks for until nobody asks for anything.
    fn run(&mut self) {
        for site in &mut self.sites {
            site.replica.tick(self.now);
        }
        self.hub.tick(self.now);
        for _ in 0..EFFECTS_MAX {
            let store = (0..self.sites.len())
                .find_map(|at| Some((at, self.sites[at].replica.poll_effect(self.now)?)));
            if let Some((at, effect)) = store {
                self.store_effect(at, effect);
            } else if let Some(effect) = self.hub.poll_effect(self.now) {
                self.hub_effect(effect);
            } else {
                return;
            }
        }
        self.wrong = Some("effects do not end".into());
    }

    fn store_effect(&mut self, at: usize, effect: Effect) {
        let clock =
            if matches!(effect, Effect::Ingest { .. } | Effect::OpenEpoch { .. }) { self.tick() } else { 0 };
        let now = self.now;
        if let Effect::Publish(publish) = effect {
            return self.send_up(at, publish);
        }
        let Site { book, replica, .. } = &mut self.sites[at];
        match effect {
            Effect::ReadBlock { token, range } => {
                let block = book.block(range.log, range.first, range.max_records);
                replica.handle_block(now, token, block);
            }
            Effect::CompareLink { token, log, at } => replica.handle_link(now, token, book.link(log, at)),
            Effect::Ingest { token, block, .. } => {
                let done = book.take_in(&block, clock);
                tell(replica, book, now);
                replica.handle_ingested(now, token, Ok(done));
            }
            Effect::RecordAck(ack) => {
                if let Some(state) = book.logs.get_mut(&ack.log) {
                    state.acked = state.acked.max(ack.upto.0);
                }
            }
            Effect::OpenEpoch { above, .. } => {
                book.open(above.0.max(clock));
                tell(replica, book, now);
            }
            _ => {}
        }
    }

    fn send_up(&mut self, at: usize, publish: Publish) {
        if publish.retained {
            self.retained.insert((at, publish.leaf), publish.message.clone());
        }
        if publish.leaf == Leaf::Presence {
            // Its own way to HQ does not matter to anybody: it takes none.
            self.hub.handle_message(self.now, STORES[at], publish.leaf, &publish.message, false);
        } else {
            self.sites[at].up.push_back((publish.leaf, publish.message));
        }
    }

    fn hub_effect(&mut self, effect: Effect) {
        let now = self.now;
        match effect {
            Effect::Publish(publish) => {
                let Some(at) = STORES.iter().position(|store| *store == publish.store) else { return };
                self.note_promise(&publish);
                if publish.retained {
                    self.retained.insert((at, publish.leaf), publish.message.clone());
                }
                self.sites[at].down.push_back((publish.leaf, publish.message));
            }
            Effect::ReadBlock { token, range } => {
                let block = self.hq.block(range.log, range.first, range.max_records);
                self.hub.handle_block(now, token, block);
            }
            Effect::CompareLink { token, log, at } => {
                self.hub.handle_link(now, token, self.hq.link(log, at));
            }
            Effect::Ingest { token, block, .. } => {
                if self.bug == Bug::AckBeforeCommit && self.committed.is_none() {
                    self.committed = Some(self.hq.clone());
                }
                let done = self.hq.take_in(&block, 0);
                self.hub.handle_ingested(now, token, Ok(done));
            }
            _ => {}
        }
    }

    /// An ack of a store's log goes out: from now on the store may forget.
    fn note_promise(&mut self, publish: &Publish) {
        if publish.leaf != Leaf::UpAck {
            return;
        }
        let Ok((Letter::Ack(ack), _)) = Letter::decode(&BlockCodec::PLAIN, &publish.message) else { return };
        if ack.log.direction != Direction::Up {
            return;
        }
        let records = self.hq.logs.get(&ack.log).map_or(&[][..], |state| &state.records);
        let upto = usize::try_from(ack.upto.0).unwrap_or(usize::MAX);
        match records.get(..upto) {
            Some(named) => self.promised.extend(named.iter().cloned()),
            None => self.wrong = Some(format!("an ack names {} of {} records", upto, records.len())),
        }
    }

    /// What must hold in every state.
    fn inspect(&mut self) {
        let mut seen = BTreeSet::new();
        for record in self.hq.logs.values().flat_map(|state| &state.records) {
            if !seen.insert(record) {
                self.wrong = Some(format!("HQ has {} twice", String::from_utf8_lossy(record)));
            }
        }
    }

    /// All faults end: does everybody come to the same, with everything that was acknowledged? What not, otherwise.
    pub fn heal(&self) -> Result<(), String> {
        let mut world = self.clone();
        for _ in 0..HEAL_STEPS {
            world.run();
            while !world.is_quiet() && world.wrong.is_none() {
                for at in 0..STORES.len() {
                    for up in [true, false] {
                        world.deliver(at, up, true);
                        world.run();
                    }
                }
            }
            world.now += HEAL_STEP_MS;
        }
        world.inspect();
        if let Some(wrong) = world.wrong {
            return Err(wrong);
        }
        for (store, site) in STORES.iter().zip(&world.sites) {
            if site.book.of(*store) != world.hq.of(*store) {
                return Err(format!(
                    "store {store}: {:?} here, {:?} at HQ",
                    site.book.of(*store),
                    world.hq.of(*store)
                ));
            }
        }
        let held: BTreeSet<&Vec<u8>> = world.hq.logs.values().flat_map(|state| &state.records).collect();
        match world.promised.union(&world.durable).find(|record| !held.contains(record)) {
            Some(lost) => Err(format!("{} was acknowledged and is gone", String::from_utf8_lossy(lost))),
            None => Ok(()),
        }
    }

    /// Names the state: everything that can matter later.
    fn seal(&mut self) {
        let mut ink = Ink(DefaultHasher::new(), DefaultHasher::new());
        ink.1.write_u8(1);
        for half in [&mut ink.0, &mut ink.1] {
            for site in &self.sites {
                (&site.book, &site.up, &site.down).hash(half);
            }
            (&self.hq, &self.committed, &self.retained, &self.promised, &self.durable, &self.wrong)
                .hash(half);
            (self.now, self.clock, self.left).hash(half);
        }
        // The real objects tell all about themselves. Writing into a hasher cannot fail.
        let replicas = self.sites.iter().try_for_each(|site| write!(ink, "{:?}", site.replica));
        let written = replicas.and_then(|()| write!(ink, "{:?}", self.hub));
        debug_assert!(written.is_ok(), "a hasher takes everything");
        self.key = u128::from(ink.0.finish()) << 64 | u128::from(ink.1.finish());
    }
}

fn tell(replica: &mut Replica, book: &Book, now: u64) {
    for position in book.positions() {
        replica.handle_head(now, position.log, position.head);
    }
}
