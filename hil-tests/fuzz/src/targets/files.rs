//! Targets of `sync-store`: what lies in files that others wrote, or that a disk damaged.

use sync_model::{ClockQuality, Stamp, StoreId, Text, UnixMillis};
use sync_store::telemetry::{Point, series};
use sync_store::{Ledger, LedgerConfig, Owner};

/// A block as found, and as bits behind a right checksum.
pub(crate) fn telemetry_block(bytes: &[u8]) {
    for block in [bytes.to_vec(), series::seal(7, bytes.to_vec())] {
        if let Ok(points) = series::decode(7, &block) {
            assert!((1..=series::POINTS_MAX).contains(&points.len()));
            assert_eq!(series::encode(7, &points), Some(block), "one series has one block");
        }
    }
}

pub(crate) fn telemetry_block_seeds() -> Vec<Vec<u8>> {
    let point = |at: i64, value, good| Point { at: UnixMillis(at), value, good };
    let steady: Vec<Point> = (0..60).map(|n| point(n * 1_000, 3_100, true)).collect();
    let faults: Vec<Point> = (0..60).map(|n| point(n * 1_003 % 7_919, n % 5 * 100, n % 7 != 0)).collect();
    let wide = [point(i64::MIN, i64::MAX, true), point(i64::MAX, i64::MIN, false)];
    let blocks = [&steady[..], &faults, &wide].map(|points| series::encode(7, points).unwrap_or_default());
    // Without their checksums, so that mutation reaches the bits.
    let bodies =
        blocks.clone().map(|block| block.get(..block.len().saturating_sub(4)).unwrap_or_default().to_vec());
    [blocks, bodies].concat()
}

fn ledger(path: std::path::PathBuf) -> (LedgerConfig, Stamp) {
    let config = LedgerConfig {
        path,
        owner: Owner::Store(StoreId(7)),
        max_bytes: None,
        software: Text::lossy("fuzz"),
        queue: 4,
    };
    (config, Stamp { at: UnixMillis(1_790_000_000_000), clock: ClockQuality::Synced })
}

/// A snapshot of HQ: refused, or a ledger that verifies.
pub(crate) fn snapshot(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let path = folder.path().join("ledger.db");
    let (config, stamp) = ledger(path.clone());
    match Ledger::bootstrap(&config, bytes, stamp) {
        Ok(_) => {
            let (ledger, _) = Ledger::open(config, stamp).unwrap_or_else(|error| panic!("opens: {error}"));
            let report = ledger.verify().unwrap_or_else(|error| panic!("verifies: {error}"));
            assert!(report.ok(), "{:?}", report.problems);
        }
        Err(_) => assert!(!path.exists(), "a refused snapshot leaves no ledger"),
    }
}

/// A snapshot begins with its name; what follows is found by mutation.
pub(crate) fn snapshot_seeds() -> Vec<Vec<u8>> {
    vec![Vec::new()]
}
