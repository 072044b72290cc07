//! Topic names: `sy1/<bucket>/<store>/<leaf>`, bucket = store modulo 64 in two digits.
//!
//! Purpose: buckets let several HQ workers share a fleet with plain subscriptions. The form is canonical: a topic that parses is
//! exactly the one that [`name`] builds.

pub use sync_core::replica::Leaf;
use sync_model::StoreId;

/// Number of buckets.
pub const BUCKETS: u32 = 64;

/// First level: protocol name and version.
const ROOT: &str = "sy1";

/// The topic of a store and leaf.
pub fn name(store: StoreId, leaf: Leaf) -> String {
    format!("{ROOT}/{:02}/{store}/{}", store.0 % BUCKETS, leaf.letter())
}

/// Inverse of [`name`]; `None` for any other text, store 0 included (stores count from 1).
pub fn parse(topic: &str) -> Option<(StoreId, Leaf)> {
    let mut levels = topic.split('/');
    let (_root, _bucket) = (levels.next()?, levels.next()?);
    let store = StoreId(levels.next()?.parse().ok()?);
    let letter = levels.next()?;
    let leaf = Leaf::ALL.into_iter().find(|leaf| leaf.letter() == letter)?;
    (store.0 > 0 && topic == name(store, leaf)).then_some((store, leaf))
}

/// What HQ subscribes to: everything that stores write.
pub fn hq_filters() -> Vec<String> {
    [Leaf::Up, Leaf::DownAck, Leaf::Presence].map(|leaf| format!("{ROOT}/+/+/{}", leaf.letter())).into()
}

/// What an HQ worker subscribes to that owns some buckets: everything that their stores write.
pub fn bucket_filters(buckets: impl IntoIterator<Item = u32>) -> Vec<String> {
    let filters = |bucket: u32| {
        [Leaf::Up, Leaf::DownAck, Leaf::Presence]
            .map(|leaf| format!("{ROOT}/{bucket:02}/+/{}", leaf.letter()))
    };
    buckets.into_iter().filter(|bucket| *bucket < BUCKETS).flat_map(filters).collect()
}

/// What a store subscribes to: what HQ writes for it.
pub fn store_filters(store: StoreId) -> Vec<String> {
    vec![name(store, Leaf::Down), name(store, Leaf::UpAck)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fixed() {
        assert_eq!(name(StoreId(7), Leaf::Up), "sy1/07/7/u");
        assert_eq!(name(StoreId(4_711), Leaf::Presence), "sy1/39/4711/p");
        assert_eq!(store_filters(StoreId(64)), ["sy1/00/64/d", "sy1/00/64/a"]);
        assert_eq!(hq_filters(), ["sy1/+/+/u", "sy1/+/+/c", "sy1/+/+/p"]);
        let filters = bucket_filters([7, 63, 64]);
        assert_eq!(filters.len(), 6, "there is no bucket 64");
        assert_eq!(filters[..3], ["sy1/07/+/u", "sy1/07/+/c", "sy1/07/+/p"]);
    }

    #[test]
    fn every_name_parses_back() {
        for store in [1, 2, 63, 64, 65, 128, 9_999, u32::MAX] {
            for leaf in Leaf::ALL {
                let topic = name(StoreId(store), leaf);
                assert_eq!(parse(&topic), Some((StoreId(store), leaf)), "{topic}");
            }
        }
    }

    #[test]
    fn anything_else_does_not_parse() {
        for topic in [
            "",
            "/",
            "////",
            "sy1",
            "sy1/07",
            "sy1/07/7",
            "sy1/07/7/",
            "sy1/07/7/x",
            "sy1/07/7/u/",
            "sy1/07/7/u/u",
            "sy1/7/7/u",
            "sy1/08/7/u",
            "sy1/07/07/u",
            "sy1/07/+7/u",
            "sy1/07/ 7/u",
            "sy1/07/-7/u",
            "sy2/07/7/u",
            "SY1/07/7/u",
            "sy1/07/7/U",
            "sy1/00/0/u",
            "sy1/+/+/u",
            "sy1/07/4294967303/u",
            "sy1/07/7\0/u",
            "ß/∞/7/u",
            "sy1//7/u",
            "$SYS/broker/uptime",
            "sy1/07/99999999999999999999999999/u",
        ] {
            assert_eq!(parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn arbitrary_text_never_panics_and_only_canonical_names_parse() {
        // Splices of the alphabet that matters, from a small generator: cheap, repeatable, no dependency.
        let alphabet = ['s', 'y', '1', '/', '/', '0', '7', '+', '#', 'u', 'a', '\u{7f}', 'é', '\u{10ffff}'];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..50_000 {
            let mut text = String::new();
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bits = state;
            for _ in 0..(state >> 60) {
                text.push(alphabet[usize::try_from(bits % 14).unwrap()]);
                bits /= 14;
            }
            if let Some((store, leaf)) = parse(&text) {
                assert_eq!(name(store, leaf), text);
            }
        }
    }
}
