//! Every target takes its cases, its seeds and a seeded slice of mutations; a planted bug is found.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use hil_fuzz::{TARGETS, Target, slice};
use std::collections::BTreeSet;

fn slices(part: usize) {
    for target in TARGETS.iter().skip(part).step_by(2) {
        match slice::run(target, 1, target.slice) {
            Ok(tried) => assert!(tried > target.slice),
            Err(finding) => panic!("{finding}"),
        }
    }
}

#[test]
fn the_first_half_of_the_targets_holds() {
    slices(0);
}

#[test]
fn the_second_half_of_the_targets_holds() {
    slices(1);
}

#[test]
fn names_are_folders_and_nobody_has_another_ones() {
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len());
    let plain = |name: &&str| name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    assert!(names.iter().all(plain));
    let folder = hil_fuzz::cases("");
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(names.contains(name.as_str()), "cases of an unknown target: {name}");
        }
    }
}

/// A decoder that believes a length.
fn planted(bytes: &[u8]) {
    if let [b'L', length, rest @ ..] = bytes {
        assert!(rest.len() >= usize::from(*length), "out of bounds");
    }
}

#[test]
fn a_planted_bug_is_found() {
    let target =
        Target { name: "planted", run: planted, seeds: || vec![b"L\x03abc".to_vec()], words: &[], slice: 0 };
    let finding = slice::run(&target, 1, 1_000).unwrap_err();
    assert_eq!(finding.what, "out of bounds");
    assert!(slice::attempt(&target, &finding.input).is_err(), "its input reproduces it");
}
