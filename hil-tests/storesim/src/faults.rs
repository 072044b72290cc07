//! What a fault step does. Every fault that took effect is counted; what it destroys is found out at the next start.

use crate::broker::Message;
use crate::disk::Disk;
use crate::gateway::Gateway;
use crate::headquarters::{Headquarters, WORKERS};
use crate::planted::Bug;
use crate::script::{DAY_MS, Step, What};
use crate::world::{Armed, Happening, Node, World};
use anyhow::Result;
use std::fs;
use sync_core::replica::{Leaf, wire2};
use sync_core::{Block, Link};
use sync_model::{Direction, Epoch, LogId, Seq, StoreId};

const MINUTE: u64 = 60_000;

impl World {
    pub(crate) fn fault_step(&mut self, step: &Step) -> Result<()> {
        let gateway = self.trader(step.who, step.b >> 8);
        let worker = Node::Worker(usize::try_from(step.b % 2)?);
        let node = if step.who == 0 { Some(worker) } else { gateway.map(Node::Gateway) };
        self.note(|| format!("step {} {} {:x} {:x}", step.what.word(), step.who, step.a, step.b));
        match step.what {
            What::Drop | What::Duplicate | What::Reorder | What::Delay => {
                if let Some(node) = node {
                    let (what, left, extra) = (step.what, 1 + step.a % 4, step.b >> 3);
                    self.armed.push(Armed { node, what, left, extra });
                }
            }
            What::HalfOpen => {
                if let Some(node) = node {
                    self.fault(What::HalfOpen);
                    self.cut(node, 5_000 + step.a % 40_000, 10_000 + step.b % 80_000);
                }
            }
            What::Absence => self.absence(step, node),
            What::Amnesia => {
                self.fault(What::Amnesia);
                self.broker.forget();
                for id in self.broker.open_sessions() {
                    let node = self.broker.session(id).map(|session| session.node);
                    self.broker.close(id);
                    if let Some(node) = node {
                        self.after(1, Happening::Lost(node, id));
                    }
                }
            }
            What::Overflow => {
                if let Some(node) = node
                    && let Some(Some(id)) = self.session_of(node).map(|session| *session)
                    && let Some(session) = self.broker.session(id)
                {
                    session.queue_max = usize::try_from(step.a % 2)?;
                    self.after(5_000 + step.b % MINUTE, Happening::QueueRight(id));
                }
            }
            What::Crash => self.arm_crash(step, node),
            What::LostTail | What::TornPage | What::FlippedPage => self.damage(step, gateway)?,
            What::DiskFull => self.fill(step, gateway)?,
            What::Restore => self.restore(step, gateway)?,
            What::Clone => self.clone_disk(step, gateway)?,
            What::ClockJump => self.clock(step, gateway)?,
            What::VersionSkew => self.skew(step, gateway)?,
            What::Poison => {
                if let Some(index) = gateway {
                    self.fault(What::Poison);
                    self.poison(index, step)?;
                }
            }
            What::Garbage => self.garbage(step),
            What::HqFailover => self.fail_over(step)?,
            _ => self.lose_worker(step)?,
        }
        Ok(())
    }

    fn absence(&mut self, step: &Step, node: Option<Node>) {
        let Some(node) = node else { return };
        let span = match step.a % 24 {
            0 if step.who != 0 => 400 * DAY_MS,
            1..12 => (1 + step.b % 30) * MINUTE,
            _ => (1 + step.b % 20) * 60 * MINUTE,
        };
        let until = self.now + span;
        match node {
            Node::Gateway(index) => {
                let Some(gateway) = self.gateways.get_mut(index) else { return };
                gateway.absent_until = gateway.absent_until.max(until);
            }
            Node::Worker(index) => {
                let Some(worker) = self.hq.workers.get_mut(index) else { return };
                worker.absent_until = worker.absent_until.max(until.min(self.now + 120 * MINUTE));
            }
        }
        self.fault(What::Absence);
        self.cut(node, 5_000, 60_000);
    }

    fn arm_crash(&mut self, step: &Step, node: Option<Node>) {
        let Some(node) = node else { return };
        let armed = match node {
            Node::Gateway(index) => self.gateways.get_mut(index).map(|gateway| &mut gateway.crash_in),
            Node::Worker(index) => {
                let running = self.hq.workers.get_mut(index).filter(|worker| worker.running);
                running.map(|worker| &mut worker.crash_in)
            }
        };
        if let Some(armed) = armed {
            *armed = Some(1 + step.a % 40);
            self.after(20_000, Happening::CrashAnyway(node));
        }
    }

    /// An armed crash that no effect came for.
    pub(crate) fn crash_anyway(&mut self, node: Node) -> Result<()> {
        let armed = match node {
            Node::Gateway(index) => self.gateways.get(index).and_then(|gateway| gateway.crash_in),
            Node::Worker(index) => self.hq.workers.get(index).and_then(|worker| worker.crash_in),
        };
        if armed.is_some() { self.crash_now(node) } else { Ok(()) }
    }

    /// A process dies here, and is started again after a while.
    pub(crate) fn crash_now(&mut self, node: Node) -> Result<()> {
        self.fault(What::Crash);
        let pause = self.random.range(1_000, 60_000);
        match node {
            Node::Gateway(index) => {
                self.crash_gateway(index)?;
                self.after(pause, Happening::Start(node));
            }
            Node::Worker(_) if self.random.chance(400) => {
                self.crash_hq()?;
                self.after(pause, Happening::StartHq);
            }
            Node::Worker(index) => {
                self.stop_worker(index);
                self.after(pause, Happening::Start(node));
            }
        }
        Ok(())
    }

    /// Power cuts and bit rot.
    fn damage(&mut self, step: &Step, gateway: Option<usize>) -> Result<()> {
        let hq = step.who == 0;
        let index = gateway.unwrap_or(usize::MAX);
        if !hq && gateway.is_none() || hq && self.hq.open.is_none() {
            return Ok(());
        }
        let word = step.what.word();
        let tears = step.what == What::TornPage && step.a.is_multiple_of(2);
        let takes = step.what != What::TornPage || tears;
        if step.what == What::FlippedPage {
            if hq { self.stop_hq()? } else { self.stop_gateway(index)? }
        } else if hq {
            self.crash_hq()?;
        } else {
            self.crash_gateway(index)?;
        }
        if takes {
            if hq { self.remember_hq(Some(word))? } else { self.remember(index, Some(word))? }
        }
        let disk = match self.gateways.get(index) {
            Some(gateway) if !hq => gateway.disk.clone(),
            _ => self.hq.disk.clone(),
        };
        let done = match step.what {
            What::LostTail => {
                let lost = disk.lose_commits(usize::try_from(1 + step.a % 12)?)?;
                // The witness beside the ledger may have gone back just as far, or not.
                if let Some(gateway) = self.gateways.get(index).filter(|_| !hq && step.b.is_multiple_of(2)) {
                    fs::write(disk.beside("ledger.db.generation"), &gateway.witness)?;
                }
                lost > 0
            }
            What::TornPage if tears => disk.tear_commit()?,
            What::TornPage => disk.tear_unfinished()?,
            _ => disk.flip(step.a)?,
        };
        if done {
            self.fault(step.what);
        }
        let pause = self.random.range(1_000, MINUTE);
        let start = if hq { Happening::StartHq } else { Happening::Start(Node::Gateway(index)) };
        self.after(pause, start);
        Ok(())
    }

    fn fill(&mut self, step: &Step, gateway: Option<usize>) -> Result<()> {
        let open = match gateway {
            Some(index) => self.gateways.get(index).and_then(|gateway| gateway.open.as_ref()),
            None if step.who == 0 => self.hq.open.as_ref(),
            None => None,
        };
        let Some(open) = open else { return Ok(()) };
        open.ledger.set_max_bytes(Some(1))?;
        if let Some(gateway) = gateway.and_then(|index| self.gateways.get_mut(index)) {
            gateway.full = true;
        }
        self.fault(What::DiskFull);
        self.after(10_000 + step.b % (10 * MINUTE), Happening::Room(step.who));
        Ok(())
    }

    /// There is room again.
    pub(crate) fn make_room(&mut self, who: u32) -> Result<()> {
        if let Some(open) = self.hq.open.as_ref().filter(|_| who == 0) {
            open.ledger.set_max_bytes(None)?;
        }
        for index in 0..self.gateways.len() {
            let Some(gateway) = self.gateways.get_mut(index).filter(|gateway| gateway.store.0 == who) else {
                continue;
            };
            gateway.full = false;
            if let Some(open) = &gateway.open {
                open.ledger.set_max_bytes(None)?;
            }
            self.turn_at(Node::Gateway(index), self.now);
        }
        Ok(())
    }

    /// A backup, or an image of the whole disk.
    pub(crate) fn back_up(&mut self, step: &Step) -> Result<()> {
        let image = step.a.is_multiple_of(2);
        let name = self.folder("backup");
        let backup = Disk::new(self.root.path(), &name)?;
        if step.who == 0 {
            let Some(open) = &self.hq.open else { return Ok(()) };
            if image {
                self.hq.disk.copy_to(&backup, true)?
            } else {
                open.ledger.backup(&backup.ledger())?
            }
            self.hq.backups.push(backup);
        } else if let Some(index) = self.trader(step.who, 0)
            && let Some(gateway) = self.gateways.get_mut(index)
            && let Some(open) = &gateway.open
        {
            if image {
                gateway.disk.copy_to(&backup, true)?
            } else {
                open.ledger.backup(&backup.ledger())?
            }
            gateway.backups.push((backup, image));
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self, step: &Step) -> Result<()> {
        let pause = self.random.range(500, 20_000);
        if step.who == 0 {
            self.stop_hq()?;
            self.after(pause, Happening::StartHq);
        } else if let Some(index) = self.trader(step.who, step.b >> 8) {
            self.stop_gateway(index)?;
            self.after(pause, Happening::Start(Node::Gateway(index)));
        }
        Ok(())
    }

    fn restore(&mut self, step: &Step, gateway: Option<usize>) -> Result<()> {
        if step.who == 0 {
            return self.fail_over(step);
        }
        let Some(index) = gateway else { return Ok(()) };
        let Some(held) = self.gateways.get(index) else { return Ok(()) };
        let Some(at) = usize::try_from(step.a)?.checked_rem(held.backups.len()) else { return Ok(()) };
        let Some((backup, image)) = held.backups.get(at).cloned() else { return Ok(()) };
        self.remember(index, Some("restore"))?;
        self.crash_gateway(index)?;
        // A whole-machine image takes the witness back with it: then only HQ can tell.
        let whole = image && (step.b.is_multiple_of(2) || self.bug(Bug::EpochReused));
        let Some(gateway) = self.gateways.get(index) else { return Ok(()) };
        gateway.disk.clear(whole)?;
        let kept = if whole { None } else { fs::read(gateway.disk.beside("ledger.db.generation")).ok() };
        backup.copy_to(&gateway.disk, whole)?;
        if let Some(kept) = kept {
            fs::write(gateway.disk.beside("ledger.db.generation"), kept)?;
        }
        self.fault(What::Restore);
        let pause = self.random.range(1_000, 10 * MINUTE);
        self.after(pause, Happening::Start(Node::Gateway(index)));
        Ok(())
    }

    fn clone_disk(&mut self, step: &Step, gateway: Option<usize>) -> Result<()> {
        let Some(index) = gateway else { return Ok(()) };
        let twins = |gateway: &&Gateway| gateway.store.0 == step.who && !gateway.retired;
        if self.gateways.iter().filter(twins).count() > 1 {
            return Ok(());
        }
        let mut twin = Gateway::new(self, StoreId(step.who))?;
        let Some(gateway) = self.gateways.get(index) else { return Ok(()) };
        gateway.disk.copy_to(&twin.disk, true)?;
        // The image of a virtual machine keeps the machine's name; another box has its own.
        let same = step.a.is_multiple_of(4) || self.bug(Bug::GrantSpentTwice);
        if same {
            twin.machine = gateway.machine;
        }
        twin.copy = same;
        twin.clock = gateway.clock;
        self.gateways.push(twin);
        let copy = self.gateways.len() - 1;
        self.fault(What::Clone);
        let pause = self.random.range(500, 5 * MINUTE);
        self.after(pause, Happening::Start(Node::Gateway(copy)));
        let goes = if step.b.is_multiple_of(3) { index } else { copy };
        self.after((1 + step.b / 8 % 400) * MINUTE, Happening::Retire(goes));
        Ok(())
    }

    /// A gateway is switched off for ever.
    pub(crate) fn retire(&mut self, index: usize) -> Result<()> {
        let Some(gateway) = self.gateways.get(index).filter(|gateway| !gateway.retired) else {
            return Ok(());
        };
        let store = gateway.store;
        let others = self.gateways.iter().enumerate();
        let mut others =
            others.filter(|(other, gateway)| *other != index && gateway.store == store && !gateway.retired);
        if others.next().is_none() {
            return Ok(());
        }
        self.note(|| format!("gateway {index} of store {store} is switched off for ever"));
        self.stop_gateway(index)?;
        let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
        gateway.retired = true;
        let before = gateway.before.take();
        if let Some(mut before) = before {
            before.why.push("clone");
            self.account_gone(index, store, &before)?;
        }
        Ok(())
    }

    fn clock(&mut self, step: &Step, gateway: Option<usize>) -> Result<()> {
        let span = match step.a % 3 {
            0 => 10 * 365 * DAY_MS,
            1 => step.b % (365 * DAY_MS),
            _ => step.b % DAY_MS,
        };
        let by = i64::try_from(span)? * if step.a.is_multiple_of(2) { 1 } else { -1 };
        self.fault(What::ClockJump);
        self.set_clock(step.who, by)?;
        let right = (1 + step.b % 1_400) * MINUTE;
        self.after(right, Happening::ClockRight(step.who, -by));
        if step.who != 0 && gateway.is_none() {
            self.note(|| "a clock jumps while the gateway is off".to_owned());
        }
        Ok(())
    }

    /// Moves a clock.
    pub(crate) fn set_clock(&mut self, who: u32, by: i64) -> Result<()> {
        if who == 0 {
            self.hq.clock += by;
            return Ok(());
        }
        let of_store =
            |index: &usize| self.gateways.get(*index).is_some_and(|gateway| gateway.store.0 == who);
        let indexes: Vec<usize> = (0..self.gateways.len()).filter(of_store).collect();
        indexes.into_iter().try_for_each(|index| self.jump(index, by))
    }

    fn skew(&mut self, step: &Step, gateway: Option<usize>) -> Result<()> {
        let other = |speaks: u8| if speaks == wire2::MIN { wire2::CURRENT } else { wire2::MIN };
        let pause = self.random.range(500, 20_000);
        if step.who == 0 {
            self.stop_hq()?;
            self.hq.speaks = other(self.hq.speaks);
            self.after(pause, Happening::StartHq);
        } else {
            let Some(index) = gateway else { return Ok(()) };
            self.stop_gateway(index)?;
            let Some(gateway) = self.gateways.get_mut(index) else { return Ok(()) };
            gateway.speaks = other(gateway.speaks);
            self.after(pause, Happening::Start(Node::Gateway(index)));
        }
        self.fault(What::VersionSkew);
        Ok(())
    }

    /// Messages that nobody who belongs here would send.
    fn garbage(&mut self, step: &Step) {
        let store = StoreId(if step.who == 0 { 1 } else { step.who });
        let other = StoreId(store.0 % self.script.options.stores + 1);
        let noise: Vec<u8> = (0..step.b % 90)
            .map(|at| step.a.rotate_left(u32::try_from(at % 64).unwrap_or(0)).to_be_bytes()[0])
            .collect();
        let foreign = |store: StoreId, direction| {
            let log = LogId { store, direction, epoch: Epoch(3) };
            let block = Block { log, first: Seq(1), prev: Link::genesis(log), records: vec![noise.clone()] };
            sync_core::Message::Block(block).encode()
        };
        let seen = self.broker.seen.iter().rev().nth(usize::try_from(step.b % 40).unwrap_or(0)).cloned();
        let plain = |leaf, bytes| Message { store, leaf, bytes, retained: false };
        let message = match step.a % 8 {
            0 => plain(Leaf::Up, noise.clone()),
            1 => plain(Leaf::Down, noise.clone()),
            2 => plain(Leaf::Up, vec![0x55; 70_000]),
            3 => plain(Leaf::Up, [&[9, 0], noise.as_slice()].concat()),
            4 => plain(Leaf::Up, foreign(other, Direction::Up)),
            5 => plain(Leaf::Down, foreign(other, Direction::Down)),
            6 => Message { retained: true, ..plain(Leaf::UpAck, noise.clone()) },
            _ => match seen {
                Some(seen) => Message { retained: false, ..seen },
                None => return,
            },
        };
        self.fault(What::Garbage);
        self.distribute(&message);
    }

    /// An older copy of HQ's ledger takes over.
    fn fail_over(&mut self, step: &Step) -> Result<()> {
        let Some(at) = usize::try_from(step.a)?.checked_rem(self.hq.backups.len()) else { return Ok(()) };
        let Some(backup) = self.hq.backups.get(at).cloned() else { return Ok(()) };
        self.remember_hq(Some(What::HqFailover.word()))?;
        self.crash_hq()?;
        self.hq.disk.clear(true)?;
        backup.copy_to(&self.hq.disk, true)?;
        self.fault(What::HqFailover);
        let pause = self.random.range(500, MINUTE);
        self.after(pause, Happening::StartHq);
        Ok(())
    }

    /// A worker is lost, or only thought to be; the other one takes its bucket over.
    fn lose_worker(&mut self, step: &Step) -> Result<()> {
        if self.hq.open.is_none() {
            return Ok(());
        }
        let lost = usize::try_from(step.a % 2)?;
        let stays = step.b.is_multiple_of(2) || self.bug(Bug::ApplyWithoutFence);
        if !stays {
            self.stop_worker(lost);
        }
        let stores = self.script.options.stores;
        self.stop_worker(1 - lost);
        if let Some(worker) = self.hq.workers.get_mut(1 - lost) {
            worker.stores = (1..=stores).map(StoreId).collect();
        }
        self.start_worker(1 - lost)?;
        self.fault(What::WorkerLoss);
        self.after((1 + step.b / 4 % 60) * MINUTE, Happening::Rebalance);
        Ok(())
    }

    /// Every worker owns what it should.
    pub(crate) fn rebalance(&mut self) -> Result<()> {
        let stores = self.script.options.stores;
        for index in 0..WORKERS {
            self.stop_worker(index);
            if let Some(worker) = self.hq.workers.get_mut(index) {
                worker.stores =
                    (1..=stores).map(StoreId).filter(|store| Headquarters::owner(*store) == index).collect();
            }
            self.start_worker(index)?;
        }
        Ok(())
    }
}
