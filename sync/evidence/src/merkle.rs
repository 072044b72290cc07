//! Merkle trees by RFC 6962, section 2.1 (the same in RFC 9162): SHA-256, 0x00 before a leaf, 0x01 before two nodes.
//!
//! A tree is the list of its leaf hashes; the trees here have one leaf per store, so nothing is kept between calls.

use crate::Digest;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Hash of a leaf with this content.
pub fn leaf_hash(content: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(content);
    hasher.finalize().into()
}

/// Hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// Splits at the largest power of two below the length; `None` for fewer than two leaves.
fn split(leaves: &[Digest]) -> Option<(&[Digest], &[Digest])> {
    if leaves.len() < 2 {
        return None;
    }
    let below = leaves.len().next_power_of_two() / 2;
    leaves.split_at_checked(below)
}

/// Root over leaf hashes; that of no leaves is SHA-256 of nothing.
pub fn root(leaves: &[Digest]) -> Digest {
    match split(leaves) {
        Some((left, right)) => node_hash(&root(left), &root(right)),
        None => leaves.first().copied().unwrap_or_else(|| sha256(&[])),
    }
}

/// Audit path of a leaf, from the leaf up; `None` when there is no such leaf.
pub fn inclusion_path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let Some((left, right)) = split(leaves) else { return Some(Vec::new()) };
    let (mut path, other) = match index.checked_sub(left.len()) {
        None => (inclusion_path(left, index)?, root(right)),
        Some(index) => (inclusion_path(right, index)?, root(left)),
    };
    path.push(other);
    Some(path)
}

/// The root that a path from leaf `index` of `size` leads to; `None` when the path cannot be one of such a tree.
pub fn root_from_path(leaf: Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut index, mut last, mut hash) = (index, size - 1, leaf);
    for other in path {
        if last == 0 {
            return None;
        }
        if index % 2 == 1 || index == last {
            hash = node_hash(other, &hash);
            // A node without a right neighbor moves up unchanged until it is a right child.
            while index != 0 && index % 2 == 0 {
                index /= 2;
                last /= 2;
            }
        } else {
            hash = node_hash(&hash, other);
        }
        index /= 2;
        last /= 2;
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Leaves and hashes of the published reference vectors of Certificate Transparency.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    const PATHS: [(usize, usize, &[&str]); 5] = [
        (0, 1, &[]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    #[test]
    fn roots_and_paths_are_the_published_ones() {
        let leaves = LEAVES.map(leaf_hash);
        for (size, expected) in ROOTS.iter().enumerate() {
            assert_eq!(hex(&root(&leaves[..size])), *expected, "{size} leaves");
        }
        for (index, size, expected) in PATHS {
            let path = inclusion_path(&leaves[..size], index).unwrap();
            let shown: Vec<String> = path.iter().map(|hash| hex(hash)).collect();
            assert_eq!(shown, expected, "leaf {index} of {size}");
        }
        assert_eq!(inclusion_path(&leaves, 8), None);
        assert_eq!(inclusion_path(&[], 0), None);
    }

    proptest! {
        #[test]
        fn every_leaf_is_proven_and_nothing_else(size in 1_usize..70, pick in any::<prop::sample::Index>(), flip in any::<(prop::sample::Index, u8)>()) {
            let leaves: Vec<Digest> = (0..size).map(|number| leaf_hash(&number.to_be_bytes())).collect();
            let (index, whole) = (pick.index(size), root(&leaves));
            let path = inclusion_path(&leaves, index).unwrap();
            let (at, of) = (u64::try_from(index).unwrap(), u64::try_from(size).unwrap());
            prop_assert_eq!(root_from_path(leaves[index], at, of, &path), Some(whole));
            // Another leaf, another position, a changed, longer or shorter path lead elsewhere.
            prop_assert_ne!(root_from_path(leaf_hash(b"other"), at, of, &path), Some(whole));
            for other in 0..of {
                if other != at {
                    prop_assert_ne!(root_from_path(leaves[index], other, of, &path), Some(whole));
                }
            }
            let mut longer = path.clone();
            longer.push([0; 32]);
            prop_assert_ne!(root_from_path(leaves[index], at, of, &longer), Some(whole));
            if !path.is_empty() {
                prop_assert_ne!(root_from_path(leaves[index], at, of, &path[1..]), Some(whole));
                let mut changed = path.clone();
                let which = flip.0.index(changed.len());
                changed[which][usize::from(flip.1 % 32)] ^= 1 << (flip.1 / 32);
                prop_assert_ne!(root_from_path(leaves[index], at, of, &changed), Some(whole));
            }
        }

        #[test]
        fn any_path_is_taken_without_panic(index in any::<u64>(), size in any::<u64>(), path in prop::collection::vec(any::<[u8; 32]>(), 0..80)) {
            let _ = root_from_path([1; 32], index, size, &path);
        }
    }
}
