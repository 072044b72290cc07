//! The traps of `crdts` 7.3.2, each shown without the gate first, then with it; and convergence of what is behind the gate.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use crdts::{CmRDT, CvRDT, LWWReg, Orswot, orswot};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use sync_model::{Epoch, StoreId, UnixMillis};
use sync_registers::{
    Actor, Admit, Change, Clock, Contiguity, Digest, Dot, Gate, GateError, Hlc, Register, Registry, Write,
};

fn store(epoch: u32) -> Actor {
    Actor::store(StoreId(7), Epoch(epoch))
}

fn hq() -> Actor {
    Actor::hq(Epoch(3))
}

fn digest(text: &str) -> Digest {
    let mut digest = [0; 8];
    for (at, byte) in text.bytes().enumerate() {
        digest[at % 8] ^= byte.rotate_left(u32::try_from(at % 7).unwrap());
    }
    digest
}

fn dot(actor: Actor, count: u64) -> Dot {
    Dot { actor, count }
}

fn add(actor: Actor, count: u64, member: &'static str) -> orswot::Op<&'static str, Actor> {
    orswot::Op::Add { dot: crdts::Dot::new(actor, count), members: vec![member] }
}

#[test]
fn an_operation_after_a_gap_is_lost_without_the_gate_and_the_loss_spreads() {
    let mut origin = Orswot::default();
    let operations = [add(store(1), 1, "scale"), add(store(1), 2, "probe"), add(store(1), 3, "tag")];
    operations.iter().for_each(|operation| origin.apply(operation.clone()));
    let mut peer = Orswot::default();
    for at in [0, 2, 1] {
        peer.apply(operations[at].clone());
    }
    assert!(!peer.contains(&"probe").val, "the late operation was taken for an old one");
    origin.merge(peer);
    assert!(!origin.contains(&"probe").val, "and the merge removed it where it was made");

    let mut gate = Gate::new(8);
    let mut gated: Orswot<&str, Actor> = Orswot::default();
    for at in [0, 2, 1, 2, 0] {
        let count = u64::try_from(at).unwrap() + 1;
        let free = gate.offer(dot(store(1), count), [7; 8], operations[at].clone()).unwrap();
        free.into_iter().for_each(|operation| gated.apply(operation));
    }
    assert_eq!(gated.read().val.len(), 3);
    assert_eq!(gate.waiting(), 0);
}

#[test]
fn the_waiting_room_is_bounded_and_a_contiguity_without_one_refuses() {
    let mut gate = Gate::new(2);
    for count in [3, 4] {
        assert_eq!(gate.offer(dot(hq(), count), [0; 8], count), Ok(vec![]));
    }
    assert_eq!(gate.offer(dot(hq(), 5), [0; 8], 5), Err(GateError::Full(2)));
    assert_eq!(gate.offer(dot(hq(), 4), [1; 8], 4), Err(GateError::Reused(dot(hq(), 4))));
    assert_eq!(gate.offer(dot(hq(), 1), [0; 8], 1), Ok(vec![1]));
    assert_eq!(gate.offer(dot(hq(), 2), [0; 8], 2), Ok(vec![2, 3, 4]));
    let strict = Contiguity::default();
    assert_eq!(strict.judge(dot(hq(), 2), [0; 8]), Err(GateError::Gap { found: dot(hq(), 2), expected: 1 }));
}

#[test]
fn equal_markers_diverge_without_the_gate_and_cannot_occur_with_it() {
    let base = LWWReg { val: "first", marker: 1 };
    let (left, right) = (LWWReg { val: "left", marker: 2 }, LWWReg { val: "right", marker: 2 });
    let (mut a, mut b) = (base.clone(), base);
    a.apply(left.clone());
    a.apply(right.clone());
    b.apply(right);
    b.apply(left);
    assert_ne!(a, b, "one marker, two values, two ends");

    // The same moment at two writers: the marker holds the name of the write, too.
    let now = Hlc::at(UnixMillis(1_790_000_000_000));
    let fresh: Register<&str> = Register::default();
    let (left, right) = (fresh.next(store(1), now, "left"), fresh.next(hq(), now, "right"));
    let (mut a, mut b) = (fresh.clone(), fresh);
    for (register, order) in [(&mut a, [&left, &right]), (&mut b, [&right, &left])] {
        for write in order {
            register.apply(write.clone(), digest(write.value)).unwrap();
        }
    }
    assert_eq!(a, b);
    assert_eq!(a.winner().unwrap().value, "left", "HQ is store 0 in the tie-break");
    assert_eq!(a.conflicts().len(), 1);

    // The same name for two values is a restored or cloned writer, and is refused by name.
    let again = Write { value: "other", ..left.clone() };
    assert_eq!(a.apply(again, digest("other")), Err(GateError::Reused(left.dot)));
}

#[test]
fn a_reused_actor_loses_silently_without_the_gate() {
    // Writes 1 and 2 are known to the peer; a restore to 1 writes another 2.
    let mut peer = Orswot::default();
    peer.apply(add(store(1), 1, "scale"));
    peer.apply(add(store(1), 2, "probe"));
    peer.apply(add(store(1), 2, "tag"));
    assert!(!peer.contains(&"tag").val, "the second life's work is gone without a word");

    let mut gated: Registry<String, u8> = Registry::default();
    let first = gated.next(store(1), Hlc(1), "scale".to_owned(), Some(1));
    gated.apply(first, digest("scale")).unwrap();
    let restored = gated.clone();
    let second = gated.next(store(1), Hlc(2), "probe".to_owned(), Some(1));
    gated.apply(second, digest("probe")).unwrap();
    let reused = restored.next(store(1), Hlc(3), "tag".to_owned(), Some(1));
    assert_eq!(gated.apply(reused, digest("tag")), Err(GateError::Reused(dot(store(1), 2))));
    // With the epoch in the actor's name the restored writer is a new one, and nothing is lost.
    let renamed = restored.next(store(2), Hlc(3), "tag".to_owned(), Some(1));
    assert_eq!(gated.apply(renamed, digest("tag")), Ok(Admit::Next));
    let members: Vec<&str> = gated.members().map(|(key, _)| key.as_str()).collect();
    assert_eq!(members, ["probe", "scale", "tag"]);
}

#[test]
fn a_write_that_saw_the_other_wins_whatever_the_clocks_say() {
    let mut register: Register<&str> = Register::default();
    let far = register.next(store(1), Hlc::at(UnixMillis(9_000_000_000_000)), "clock of next century");
    register.apply(far, digest("far")).unwrap();
    let correction = register.next(hq(), Hlc::at(UnixMillis(1_790_000_000_000)), "corrected");
    register.apply(correction, digest("corrected")).unwrap();
    assert_eq!(register.winner().unwrap().value, "corrected");
    assert!(register.conflicts().is_empty());
}

#[test]
fn impossible_contexts_are_refused() {
    let mut register: Register<u8> = Register::default();
    let write = |count, seen| Write { dot: dot(hq(), count), hlc: Hlc(1), seen, value: 1 };
    let itself = Clock::from([(hq(), 1)]);
    assert!(matches!(register.apply(write(1, itself), [0; 8]), Err(GateError::Context(_))));
    assert!(matches!(register.apply(write(0, Clock::new()), [0; 8]), Err(GateError::Context(_))));
    let crowd: Clock = (1..=65).map(|epoch| (store(epoch), 1)).collect();
    assert!(matches!(register.apply(write(1, crowd), [0; 8]), Err(GateError::Context(_))));
}

/// One step of a history: a replica writes, or hears the next operation of another replica's writer.
#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, key: u8, value: Option<u8>, ms: i64 },
    Hear { at: usize, from: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (0..3_usize, 0..3_u8, prop::option::weighted(0.7, 0..3_u8), -5_i64..5)
        .prop_map(|(at, key, value, ms)| Step::Write { at, key, value, ms });
    let hear = (0..3_usize, 0..3_usize).prop_map(|(at, from)| Step::Hear { at, from });
    prop::collection::vec(prop_oneof![write, hear], 1..40)
}

type Changes = Vec<Change<u8, u8>>;

fn apply(registry: &mut Registry<u8, u8>, change: &Change<u8, u8>) -> Admit {
    registry.apply(change.clone(), digest(&format!("{change:?}"))).unwrap()
}

/// Runs a history; answers the replicas and each writer's operations. Replicas hear a writer in its order.
fn run(steps: &[Step]) -> (Vec<Registry<u8, u8>>, Vec<Changes>) {
    let actors = [store(1), store(2), hq()];
    let mut replicas = vec![Registry::default(); 3];
    let mut logs: Vec<Changes> = vec![Vec::new(); 3];
    let mut heard = [[0_usize; 3]; 3];
    for step in steps {
        match *step {
            Step::Write { at, key, value, ms } => {
                let change = replicas[at].next(actors[at], Hlc::at(UnixMillis(1_000 + ms)), key, value);
                apply(&mut replicas[at], &change);
                logs[at].push(change);
            }
            Step::Hear { at, from } if at != from => {
                if let Some(change) = logs[from].get(heard[at][from]) {
                    heard[at][from] += 1;
                    apply(&mut replicas[at], change);
                }
            }
            Step::Hear { .. } => {}
        }
    }
    for (at, replica) in replicas.iter_mut().enumerate() {
        for (from, log) in logs.iter().enumerate() {
            if from != at {
                log.iter().skip(heard[at][from]).for_each(|change| {
                    apply(replica, change);
                });
            }
        }
    }
    (replicas, logs)
}

/// Conflicts by definition, from every write: the last two of two rows of writes that had not seen each other.
fn expected_conflicts(logs: &[Changes], key: u8) -> BTreeSet<(Dot, Dot)> {
    let of = |log: &Changes| -> Vec<Write<Option<u8>>> {
        log.iter().filter(|change| change.key == key).map(|change| change.write.clone()).collect()
    };
    let apart = |a: &Write<Option<u8>>, b: &Write<Option<u8>>| !a.saw(b.dot) && !b.saw(a.dot);
    let mut pairs = BTreeSet::new();
    for left in 0..logs.len() {
        for right in left + 1..logs.len() {
            let (left, right) = (of(&logs[left]), of(&logs[right]));
            for a in &left {
                let Some(b) = right.iter().rfind(|b| apart(a, b)) else { continue };
                let mutual = left.iter().rfind(|a| apart(a, b)).map(|a| a.dot) == Some(a.dot);
                if mutual && a.value != b.value {
                    pairs.insert((a.dot.min(b.dot), a.dot.max(b.dot)));
                }
            }
        }
    }
    pairs
}

proptest! {
    #[test]
    fn replicas_with_equal_vectors_are_equal_and_every_merge_is_listed(steps in steps()) {
        let (replicas, logs) = run(&steps);
        let bytes: BTreeSet<Vec<u8>> =
            replicas.iter().map(|replica| postcard::to_allocvec(replica).unwrap()).collect();
        prop_assert_eq!(bytes.len(), 1, "equal vectors, equal bytes");
        for replica in &replicas {
            let members: BTreeSet<u8> = replica.members().map(|(key, _)| *key).collect();
            for (key, history) in replica.histories() {
                let stands = history.standing().iter().any(|write| write.value.is_some());
                prop_assert_eq!(stands, members.contains(key), "an unseen addition stays");
                let listed: BTreeSet<(Dot, Dot)> = history
                    .conflicts()
                    .iter()
                    .map(|(a, b)| (a.dot.min(b.dot), a.dot.max(b.dot)))
                    .collect();
                prop_assert_eq!(listed, expected_conflicts(&logs, *key));
                let markers: Vec<_> = history.standing().iter().map(Write::marker).collect();
                prop_assert_eq!(markers.last().copied(), history.winner().map(Write::marker));
            }
        }
    }

    #[test]
    fn bytes_at_rest_come_back(steps in steps()) {
        let (replicas, _) = run(&steps);
        let bytes = postcard::to_allocvec(&replicas[0]).unwrap();
        let back: Registry<u8, u8> = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &replicas[0]);
    }

    #[test]
    fn any_delivery_through_the_gate_ends_where_the_order_ends(
        order in Just((0..30_u64).collect::<Vec<_>>()).prop_shuffle(),
        twice in prop::collection::vec(0..30_usize, 0..20),
    ) {
        let mut gate = Gate::new(64);
        let mut out: BTreeMap<Actor, Vec<u64>> = BTreeMap::new();
        let again: Vec<u64> = twice.iter().map(|at| order[*at]).collect();
        for number in order.iter().chain(&again) {
            let actor = if number % 2 == 0 { store(1) } else { hq() };
            let count = number / 2 + 1;
            for free in gate.offer(dot(actor, count), [1; 8], count).unwrap() {
                out.entry(actor).or_default().push(free);
            }
        }
        let straight: Vec<u64> = (1..=15).collect();
        prop_assert_eq!(out, BTreeMap::from([(store(1), straight.clone()), (hq(), straight)]));
    }
}

#[test]
fn bytes_at_rest_are_frozen() {
    let mut registry: Registry<u8, u8> = Registry::default();
    for (actor, key, value) in [(store(1), 4, Some(9)), (hq(), 4, None), (store(1), 5, Some(8))] {
        let change = registry.next(actor, Hlc(70_000), key, value);
        registry.apply(change, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    }
    let bytes = postcard::to_allocvec(&registry).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "02030101020304050607088180808070020102030405060708020301818080807002010501818080807002000204010301f0a20401818080807001000203018180808070010203010301f0a2040181808080700100818080807001818080807001f0a2040001090501818080807002f0a204010301010802030181808080700201818080807001818080807002f0a2040103010108"
    );
}

#[test]
fn a_hundred_lives_of_a_store_do_not_make_it_blind_to_headquarters() {
    let mut registry: Registry<u8, u8> = Registry::default();
    let mut register: Register<u64> = Register::default();
    for epoch in 1..=100_u32 {
        let at = Hlc(u64::from(epoch));
        let change = registry.next(store(epoch), at, 9, Some(1));
        registry.apply(change, digest(&epoch.to_string())).unwrap();
        let write = register.next(store(epoch), at, u64::from(epoch));
        register.apply(write, digest(&epoch.to_string())).unwrap();
    }
    // HQ adds a device and writes; the store, having heard it, removes the one and replaces the other.
    let change = registry.next(hq(), Hlc(200), 7, Some(2));
    registry.apply(change, digest("hq")).unwrap();
    let change = registry.next(store(101), Hlc(201), 7, None);
    registry.apply(change, digest("removed")).unwrap();
    let change = registry.next(store(101), Hlc(202), 9, None);
    registry.apply(change, digest("removed, too")).unwrap();
    assert_eq!(registry.members().count(), 0, "removals that had seen the additions");
    let write = register.next(hq(), Hlc(200), 1_000);
    register.apply(write, digest("hq")).unwrap();
    let write = register.next(store(101), Hlc(201), 1_001);
    register.apply(write, digest("store")).unwrap();
    let standing: Vec<u64> = register.standing().iter().map(|write| write.value).collect();
    assert_eq!(standing, [1_001]);
    // What is too old for a context may be listed as a conflict that was none; what is new is not.
    let recent = |write: &Write<u64>| write.value > 64;
    assert!(
        !register.conflicts().iter().any(|(low, high)| recent(low) && recent(high) && high.value >= 1_000)
    );
}
