//! Versions against each other through the real replica and hub, with packed blocks: the version before, the version to come,
//! kinds that nobody here knows.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

#[path = "../../core/tests/world/mod.rs"]
mod world;

use std::sync::Arc;
use sync_codec::PACKED;
use sync_core::Hello;
use sync_core::Link;
use sync_core::replica::hq::{Hub, HubConfig};
use sync_core::replica::store::{Replica, ReplicaConfig};
use sync_core::replica::wire2::{self, Greeting};
use sync_core::replica::{Alarm, Effect, Leaf, Letter, Publish, SEAL_MS, Sealer, What};
use sync_model::{Audit, ClockQuality, Direction, Event, Fact, Kind, LogId, Seq, Stamp, Text, UnixMillis};
use world::{Op, STORE, World, check};

fn record(number: i64) -> Vec<u8> {
    let at = UnixMillis(1_795_162_800_000 + number * 1_000);
    let fact = match number % 3 {
        0 => Fact::Unknown { kind: Kind(4_000), body: format!("of a later build {number}").into_bytes() },
        1 => Audit {
            actor: Text::lossy("technician"),
            action: Text::lossy("config-reload"),
            detail: Text::lossy(&number.to_string()),
        }
        .into(),
        // A body that a later build made longer.
        _ => {
            let jumped =
                Event::new(Stamp { at, clock: ClockQuality::Synced }, sync_model::ClockJumped { by_ms: 5 });
            let mut body = jumped.to_record().unwrap();
            body.extend(number.to_be_bytes());
            return body;
        }
    };
    Event::new(Stamp { at, clock: ClockQuality::Synced }, fact).to_record().unwrap()
}

#[test]
fn either_version_on_either_side_carries_every_record_as_it_is() {
    for speaks in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let mut world = World::with(speaks, PACKED);
        (0..90).for_each(|number| world.write_record(record(number)));
        world.play(&[Op::Cut, Op::Write(3), Op::WriteDown(5), Op::Connect]);
        (90..120).for_each(|number| world.write_record(record(number)));
        world.settle();
        check(&world);
        assert_eq!(world.hub.peer_version(STORE), Some(speaks.0.min(speaks.1)), "{speaks:?}");
        let stored: Vec<Vec<u8>> = world.hq.all(Direction::Up).into_values().flatten().collect();
        assert!((0..120).all(|number| stored.contains(&record(number))), "{speaks:?}");
    }
}

#[test]
fn versions_change_under_way_in_both_directions() {
    let mut world = World::with((1, 1), PACKED);
    let mut from = 0;
    for speaks in [(1, 1), (1, 2), (2, 2), (2, 1), (2, 2), (1, 2), (1, 1)] {
        world.speaks = speaks;
        world.start_store();
        world.start_hub();
        world.connect();
        (from..from + 30).for_each(|number| world.write_record(record(number)));
        from += 30;
        world.settle();
        check(&world);
        assert_eq!(world.hub.peer_version(STORE), Some(speaks.0.min(speaks.1)), "{speaks:?}");
    }
}

/// Only one side is exchanged while the other one goes on and believes what it knew.
#[test]
fn one_side_goes_back_a_version_while_the_other_runs_on() {
    let mut world = World::with((2, 2), PACKED);
    (0..20).for_each(|number| world.write_record(record(number)));
    world.settle();
    world.speaks = (2, 1);
    world.start_hub();
    world.hub.handle_up(world.now);
    (20..40).for_each(|number| world.write_record(record(number)));
    world.settle();
    check(&world);
    world.speaks = (2, 2);
    world.start_hub();
    world.hub.handle_up(world.now);
    world.speaks = (1, 2);
    world.start_store();
    world.replica.handle_up(world.now);
    (40..60).for_each(|number| world.write_record(record(number)));
    (0..10).for_each(|number| world.write_down(number));
    world.settle();
    check(&world);
}

fn publishes(hub: &mut Hub, now: u64) -> Vec<Publish> {
    let mut found = Vec::new();
    while let Some(effect) = hub.poll_effect(now) {
        if let Effect::Publish(publish) = effect {
            found.push(publish);
        }
    }
    found
}

fn hello(version: u8, current: u8) -> Vec<u8> {
    let hello = Hello { store: STORE, head: None, down: None, software: Text::lossy("of tomorrow") };
    let mut bytes = Letter::Hello(Greeting { hello, older: Vec::new() }).encode(2).unwrap();
    // Version 2 ends with the newest version and an empty list.
    let at = bytes.len() - 2;
    bytes[at] = current;
    bytes[0] = version;
    bytes
}

#[test]
fn hq_and_a_store_of_the_next_version_meet_in_this_one() {
    let mut hub = Hub::new(HubConfig { codec: PACKED, ..HubConfig::default() });
    hub.handle_up(0);
    hub.handle_message(0, STORE, Leaf::Up, &hello(wire2::CURRENT + 1, wire2::CURRENT + 1), false);
    let refusal = publishes(&mut hub, 0).into_iter().find(|publish| publish.what == What::Nak).unwrap();
    let (letter, _) = Letter::decode(&PACKED, &refusal.message).unwrap();
    assert!(matches!(letter, Letter::Nak(nak) if nak.code.as_str() == "wire-version" && nak.of.is_none()));
    // So it says it one version lower.
    hub.handle_message(1, STORE, Leaf::Up, &hello(wire2::CURRENT, wire2::CURRENT + 1), false);
    assert_eq!(hub.peer_version(STORE), Some(wire2::CURRENT));
    assert!(publishes(&mut hub, 1).iter().all(|publish| publish.what != What::Nak));
    // A store that has left this version behind altogether.
    let mut far = hello(wire2::CURRENT, wire2::CURRENT + 4);
    let at = far.len() - 3;
    far[at] = wire2::CURRENT + 2;
    hub.handle_message(2, STORE, Leaf::Up, &far, false);
    let mut alarmed = false;
    while let Some(effect) = hub.poll_effect(2) {
        alarmed |= matches!(effect, Effect::Alarm(Alarm::Versions { .. }));
    }
    assert!(alarmed, "no common version is an alarm");
}

#[test]
fn a_store_and_an_hq_of_the_next_version_meet_in_this_one() {
    let mut replica = Replica::new(ReplicaConfig { codec: PACKED, ..ReplicaConfig::new(STORE) });
    replica.handle_up(0);
    while replica.poll_effect(0).is_some() {}
    let log = LogId { store: STORE, direction: Direction::Up, epoch: sync_model::Epoch(1) };
    let ack = sync_core::Ack { log, upto: Seq::ZERO, link: Link::genesis(log), gap: None };
    let mut bytes = Letter::Ack(ack).encode(2).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = wire2::CURRENT + 1;
    let mut newer = bytes.clone();
    newer[0] = wire2::CURRENT + 1;
    replica.handle_message(1, Leaf::UpAck, &newer);
    let mut said = (false, false);
    while let Some(effect) = replica.poll_effect(1) {
        said.0 |= matches!(effect, Effect::Alarm(Alarm::Versions { found }) if found == wire2::CURRENT + 1);
        said.1 |= matches!(&effect, Effect::Publish(publish) if publish.what == What::Nak);
    }
    assert_eq!(said, (true, true), "the refusal is how HQ learns");
    replica.handle_message(2, Leaf::UpAck, &bytes);
    assert_eq!(replica.peer_version(), Some(wire2::CURRENT));
}

/// A message number of a later build in this version: set aside and refused, and the next message is heard.
#[test]
fn unknown_messages_are_refused_and_the_line_stays() {
    let mut hub = Hub::new(HubConfig { codec: PACKED, ..HubConfig::default() });
    hub.handle_up(0);
    hub.handle_message(0, STORE, Leaf::Up, &[2, 9, 1, 2, 3], false);
    let (mut kept, mut refused) = (false, false);
    while let Some(effect) = hub.poll_effect(0) {
        kept |= matches!(effect, Effect::Quarantine { code: "undecodable", .. });
        refused |= matches!(&effect, Effect::Publish(publish) if publish.what == What::Nak);
    }
    assert!(kept && refused);
    hub.handle_message(1, STORE, Leaf::Up, &hello(2, 2), false);
    assert_eq!(hub.peer_version(STORE), Some(2));
}

/// Stands in for a key: says what it was asked to sign.
#[derive(Debug)]
struct Echo;

impl Sealer for Echo {
    fn seal(&self, _: LogId, upto: Seq, link: Link) -> Option<[u8; 64]> {
        let mut seal = [0; 64];
        seal[..32].copy_from_slice(&link.0);
        seal[32..40].copy_from_slice(&upto.0.to_be_bytes());
        Some(seal)
    }
}

#[test]
fn a_backlog_is_sealed_block_by_block_and_live_traffic_now_and_then() {
    for (speaks, expected) in [((2, 2), true), ((2, 1), false)] {
        let mut world = World::with(speaks, PACKED);
        world.settle();
        world.cut();
        (0..100).for_each(|number| world.write_record(record(number)));
        world.replica.set_sealer(Some(Arc::new(Echo)));
        world.settle();
        let log = world.store.current().unwrap();
        let backlog = world.seals.len();
        // The fixture's blocks have five records at most.
        assert_eq!(backlog >= 100 / 5, expected, "{backlog} seals");
        for &(of, upto, seal) in &world.seals {
            assert_eq!((of, Echo.seal(of, upto, world.hq.link(log, upto).unwrap())), (log, Some(seal)));
        }
        let begun = world.now;
        let mut number = 100;
        while world.now - begun < 2 * SEAL_MS {
            world.write_record(record(number));
            number += 1;
            world.settle();
        }
        let live = world.seals.len() - backlog;
        assert!((usize::from(expected)..=if expected { 3 } else { 0 }).contains(&live), "{live} seals live");
        check(&world);
    }
}
