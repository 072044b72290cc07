//! The replica and the hub against each other over a transport that drops, repeats, reorders and forgets, with crashes and
//! ledgers that go back in time: nothing that was acknowledged is lost, nothing counts twice, both sides end equal.

#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod world;

use proptest::prelude::*;
use std::collections::BTreeSet;
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::{Alarm, Effect, Leaf, Letter};
use sync_core::{Ack, SenderConfig};
use sync_model::{Direction, Seq};
use world::{Book, Op, STORE, World, check, play};

fn op(rollback: bool) -> impl Strategy<Value = Op> {
    let plain = prop_oneof![
        4 => (1..6_u8).prop_map(Op::Write),
        2 => (1..4_u8).prop_map(Op::WriteDown),
        8 => (any::<bool>(), any::<usize>()).prop_map(|(up, pick)| Op::Deliver(up, pick)),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(up, pick)| Op::Repeat(up, pick)),
        2 => (any::<bool>(), any::<usize>()).prop_map(|(up, pick)| Op::Drop(up, pick)),
        1 => Just(Op::Cut),
        1 => Just(Op::Connect),
        1 => Just(Op::CrashStore),
        1 => Just(Op::CrashHub),
        1 => Just(Op::Forget),
        4 => (1..400_u16).prop_map(Op::Wait),
    ];
    let weight = if rollback { 1 } else { 0 };
    prop_oneof![
        20 => plain,
        weight => (any::<bool>(), 1..12_usize).prop_map(|(up, lost)| Op::RollBack(up, lost)),
        weight => any::<bool>().prop_map(Op::Snapshot),
        weight => any::<bool>().prop_map(Op::Restore),
    ]
}
proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_delivery_ends_in_equal_ledgers(
        ops in prop::collection::vec(op(false), 0..60),
        speaks in prop::sample::select(vec![(1, 1), (1, 2), (2, 1), (2, 2)]),
    ) {
        let world = play(&ops, speaks);
        check(&world);
        prop_assert!(world.orders == 0, "nobody contradicted himself");
    }

    #[test]
    fn ledgers_that_go_back_in_time_lose_nothing_that_was_acknowledged(
        ops in prop::collection::vec(op(true), 0..120),
    ) {
        check(&play(&ops, (2, 2)));
    }

    /// Peers that answer no asks (an older version, or messages that never come through): what goes on has to go on, and what
    /// was written under contested names is booked once when they answer at last.
    #[test]
    fn contested_names_are_settled_once_the_peer_answers(
        ops in prop::collection::vec(op(true), 0..80),
        speaks in prop::sample::select(vec![(1, 1), (1, 2), (2, 1), (2, 2)]),
        later in prop::collection::vec(op(false), 0..20),
    ) {
        let mut world = World::new(speaks);
        world.deaf = speaks == (2, 2);
        world.play(&ops);
        world.settle();
        world.play(&later);
        world.settle();
        // Trading goes on under a new name.
        let current = world.store.current().unwrap();
        prop_assert_eq!(world.hq.head(current), world.store.head(current));
        world.deaf = false;
        world.speaks = (2, 2);
        world.start_store();
        world.start_hub();
        world.connect();
        world.settle();
        check(&world);
    }
}

#[test]
fn a_rolled_back_store_gets_back_what_it_lost_and_keeps_what_it_sold_since() {
    let mut world = World::new((2, 2));
    (1..=40).for_each(|number| world.write(number));
    world.settle();
    let old = world.store.current().unwrap();
    world.cut();
    world.roll_back(true, 25);
    world.cut();
    (101..=110).for_each(|number| world.write(number));
    world.settle();
    check(&world);
    let new = world.store.current().unwrap();
    assert!(new > old);
    let texts: BTreeSet<Vec<u8>> = world.hq.all(Direction::Up).into_values().flatten().collect();
    assert!((1..=40).chain(101..=110).all(|number| texts.contains(format!("up {number}").as_bytes())));
    assert!(world.alarms.iter().any(|alarm| matches!(alarm, Alarm::Returned { .. })), "{:?}", world.alarms);
}

#[test]
fn live_events_are_seen_while_a_backlog_drains() {
    let mut world = World::new((2, 2));
    world.settle();
    world.cut();
    (1..=400).for_each(|number| world.write(number));
    world.connect();
    world.run();
    while world.hub.durable(world.store.current().unwrap()).upto < Seq(40) {
        world.deliver(true, 0, false);
        world.deliver(false, 0, false);
        world.now += 1;
    }
    world.write(1_000);
    world.now += 20;
    world.run();
    for _ in 0..12 {
        world.deliver(true, 0, false);
        world.deliver(false, 0, false);
    }
    let booked = world.hub.durable(world.store.current().unwrap()).upto;
    assert!(world.previews > 0 && booked < Seq(300), "{} previews, booked to {booked}", world.previews);
    world.settle();
    check(&world);
    assert_eq!(world.hub.early_bytes(), 0);
}

#[test]
fn versions_are_found_out_and_the_older_side_is_understood() {
    for (speaks, expected) in [((1, 1), 1), ((1, 2), 1), ((2, 1), 1), ((2, 2), 2)] {
        let mut world = World::new(speaks);
        (1..=20).for_each(|number| world.write(number));
        world.settle();
        check(&world);
        assert_eq!(world.replica.peer_version().unwrap_or(1), expected, "{speaks:?}");
        assert_eq!(world.hub.peer_version(STORE), Some(expected), "{speaks:?}");
    }
}

#[test]
fn a_rolled_back_hq_gets_its_own_log_back() {
    let mut world = World::new((2, 2));
    (1..=20).for_each(|number| world.write_down(number));
    world.settle();
    world.roll_back(false, 8);
    world.cut();
    (101..=103).for_each(|number| world.write_down(number));
    world.settle();
    check(&world);
}

#[test]
fn a_broker_that_takes_smaller_packets_gets_singles() {
    let mut world = World::new((2, 2));
    world.settle();
    world.narrow = true;
    world.cut();
    (1..=20).for_each(|number| world.write(number));
    (1..=20).for_each(|number| world.write_down(number));
    world.settle();
    check(&world);
    let records = |direction| world.hq.all(direction).into_values().flatten().count();
    assert!(records(Direction::Up) > 20 && records(Direction::Down) > 20);
}

/// Schedules that the properties above once failed on.
#[test]
fn schedules_that_once_failed_end_well() {
    use Op::{CrashHub, Deliver, Drop, Forget, Repeat, Restore, RollBack, Snapshot, Wait, Write, WriteDown};
    // Both roll back; HQ believed the store to have more than it had and asked for ever, and its asks held up the new epoch.
    check(&play(
        &[
            WriteDown(1),
            Deliver(true, 1),
            Repeat(false, 1),
            Deliver(false, 1),
            Write(3),
            Deliver(false, 0),
            Deliver(true, 1),
            RollBack(true, 3),
            RollBack(false, 1),
            WriteDown(2),
            Write(2),
        ],
        (2, 2),
    ));
    // Greeting and presence were lost, then a repeated ack made the store believe that HQ knows of it.
    check(&play(
        &[
            Wait(100),
            Deliver(true, 0),
            WriteDown(1),
            Forget,
            Deliver(true, 0),
            Write(1),
            WriteDown(1),
            Wait(5),
            Deliver(true, 0),
            Forget,
            Deliver(true, 0),
            CrashHub,
            WriteDown(1),
            Drop(true, 0),
            Drop(true, 0),
        ],
        (1, 1),
    ));
    // HQ lost an older log of its own, and the store named its newest only.
    check(&play(
        &[
            Snapshot(false),
            WriteDown(1),
            Wait(100),
            Deliver(true, 1),
            Deliver(false, 0),
            Restore(false),
            WriteDown(1),
            Deliver(true, 0),
            Deliver(false, 0),
            RollBack(false, 1),
        ],
        (2, 2),
    ));
}

/// A lone event waits for company, an urgent one does not, and takes along what waits.
#[test]
fn an_urgent_event_goes_at_once() {
    let mut book = Book::new(Direction::Up);
    let log = book.open(0, 0);
    let sender = SenderConfig { linger_ms: 60_000, ..SenderConfig::default() };
    let mut replica = Replica::new(ReplicaConfig { sender, ..ReplicaConfig::new(STORE) });
    replica.load(0, &book.positions(), Some(log));
    replica.handle_up(0);
    let ack = Ack { log, upto: book.head(log), link: book.link(log, book.head(log)).unwrap(), gap: None };
    replica.handle_message(0, Leaf::UpAck, &Letter::Ack(ack).encode(2).unwrap());
    let reads = |replica: &mut Replica, now: u64| {
        let effects: Vec<Effect> = std::iter::from_fn(|| replica.poll_effect(now)).collect();
        effects.iter().any(|effect| matches!(effect, Effect::ReadBlock { .. }))
    };
    reads(&mut replica, 0);
    replica.handle_head(10, log, Seq(2));
    assert!(!reads(&mut replica, 30_000), "it waits for company");
    replica.hurry(30_000);
    replica.handle_head(30_005, log, Seq(3));
    assert!(reads(&mut replica, 30_005), "an alarm does not");
}
