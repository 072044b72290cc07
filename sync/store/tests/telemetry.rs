//! Telemetry comes back exactly, is bounded and sheddable, and never a reason to fail.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use proptest::prelude::*;
use rusqlite::{Connection, params};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use sync_model::{DeviceId, UnixMillis};
use sync_store::telemetry::{
    FLUSH, Interval, Limits, Point, Sample, Spread, Telemetry, TelemetryConfig, series,
};

const ALL: (UnixMillis, UnixMillis) = (UnixMillis(i64::MIN), UnixMillis(i64::MAX));

fn config(path: &Path) -> TelemetryConfig {
    let limits = Limits { max_age_ms: 90 * 86_400_000, max_bytes: 1 << 30 };
    TelemetryConfig { path: path.to_owned(), limits, queue: 10_000, flush: FLUSH }
}

fn open(path: &Path) -> Telemetry {
    Telemetry::open(config(path)).unwrap()
}

fn device() -> DeviceId {
    DeviceId::new("cabinet-1").unwrap()
}

fn point(at: i64) -> Point {
    Point { at: UnixMillis(at), value: at * 2, good: at % 2 == 0 }
}

fn sample(point: Point) -> Sample {
    Sample { device: device(), metric: 1, at: point.at, value: point.value, good: point.good }
}

fn record(telemetry: &Telemetry, points: impl IntoIterator<Item = Point>) {
    for (index, point) in points.into_iter().enumerate() {
        telemetry.record(sample(point));
        if index % 1_000 == 999 {
            telemetry.flush();
        }
    }
    telemetry.flush();
}

fn all(telemetry: &Telemetry) -> Vec<Point> {
    telemetry.range(&device(), 1, ALL, usize::MAX).unwrap().points
}

#[test]
fn an_emptied_block_file_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    let telemetry = open(&path);
    record(&telemetry, (0..100).map(point));
    telemetry.seal();
    assert_eq!(telemetry.stats().damaged, 0);
    drop(telemetry);
    std::fs::write(&path, b"").unwrap();
    let telemetry = open(&path);
    assert_eq!((all(&telemetry).len(), telemetry.stats().damaged), (0, 1));
    record(&telemetry, (0..10).map(point));
    assert_eq!(all(&telemetry).len(), 10);
}

#[test]
fn samples_come_back_from_memory_tail_and_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    let telemetry = open(&path);
    let points: Vec<Point> = (0..9_000).map(point).collect();
    record(&telemetry, points[..3_000].to_vec());
    assert_eq!(all(&telemetry), points[..3_000], "memory");
    telemetry.seal();
    record(&telemetry, points[3_000..].to_vec());
    assert_eq!(all(&telemetry), points, "blocks and memory");
    drop(telemetry);
    let telemetry = open(&path);
    assert_eq!(all(&telemetry), points, "blocks and tail");
    telemetry.seal();
    telemetry.seal();
    assert_eq!(all(&telemetry), points, "blocks");
    let newest = telemetry.samples(&device(), 1, UnixMillis(8_990), 3).unwrap();
    assert_eq!(newest, (8_997..9_000).map(|at| sample(point(at))).collect::<Vec<_>>());
    assert_eq!(telemetry.samples(&device(), 2, UnixMillis(0), 3).unwrap(), vec![]);
    telemetry.shed(true);
    telemetry.record(sample(point(1)));
    let stats = telemetry.stats();
    assert_eq!((stats.shed, stats.errors, stats.damaged), (1, 0, 0));
}

#[test]
fn pages_of_an_answer_join_without_gap_or_double() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = open(&dir.path().join("telemetry.db"));
    // Two of each time, some out of order, over several generations.
    let points: Vec<Point> = (0..400).flat_map(|n| [point(n ^ 3), point(n ^ 3)]).collect();
    for part in points.chunks(150) {
        record(&telemetry, part.to_vec());
        telemetry.seal();
    }
    let mut expected = points;
    expected.sort_by_key(|point| point.at);
    let (mut found, mut from) = (Vec::new(), UnixMillis(0));
    loop {
        let page = telemetry.range(&device(), 1, (from, UnixMillis(390)), 7).unwrap();
        assert!(page.points.len() <= 7);
        found.extend(page.points);
        let Some(next) = page.next else { break };
        from = next;
    }
    expected.retain(|point| point.at.0 < 390);
    assert_eq!(found, expected);
}

#[test]
fn sums_leave_bad_samples_out_and_count_them() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = open(&dir.path().join("telemetry.db"));
    record(&telemetry, (0..60).map(point));
    telemetry.seal();
    record(&telemetry, (60..90).map(point));
    let summary = telemetry.intervals(&device(), 1, (UnixMillis(30), UnixMillis(80)), 60).unwrap();
    // Good are the even ones: 30, 32, … 58 and 60, … 78, times two.
    let spread = |min, mean, max| Some(Spread { min, mean, max });
    let expected = [
        Interval { from: UnixMillis(0), good: 15, bad: 15, values: spread(60, 88, 116) },
        Interval { from: UnixMillis(60), good: 10, bad: 10, values: spread(120, 138, 156) },
    ];
    assert_eq!(summary.intervals, expected);
    for every in [0, -5] {
        assert!(telemetry.intervals(&device(), 1, ALL, every).is_err());
    }
    assert!(telemetry.intervals(&device(), 1, ALL, 1).is_err(), "too many");
}

#[test]
fn a_clock_that_jumps_ages_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let telemetry = open(&dir.path().join("telemetry.db"));
    let year = 365 * 86_400_000;
    let points = [point(year), point(50 * year), point(0), point(year + 2), point(-year)];
    for one in points {
        record(&telemetry, [one]);
        telemetry.seal();
    }
    let mut expected = points.to_vec();
    expected.sort_by_key(|point| point.at);
    assert_eq!(all(&telemetry), expected);
}

#[test]
fn age_and_size_are_bounded_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    let mut small = config(&path);
    small.limits.max_bytes = 300_000;
    let telemetry = Telemetry::open(small).unwrap();
    // Hardly compressible, so that every generation weighs something.
    let noisy =
        |at: i64| Point { value: at.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()), ..point(at) };
    for generation in 0..40 {
        record(&telemetry, (0..2_000).map(|n| noisy(generation * 2_000 + n)));
        telemetry.seal();
    }
    let kept = all(&telemetry);
    assert_eq!(kept.last(), Some(&noisy(79_999)));
    assert!((4_000..40_000).contains(&kept.len()), "{} samples", kept.len());
    assert!(kept.windows(2).all(|pair| pair[0].at.0 + 1 == pair[1].at.0), "the oldest went");
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 400_000, "{size} bytes");
    drop(telemetry);
    let mut short = config(&path);
    short.limits.max_age_ms = 0;
    let telemetry = Telemetry::open(short).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    record(&telemetry, [point(2)]);
    telemetry.seal();
    assert_eq!(all(&telemetry), [point(2)]);
}

#[test]
fn a_file_that_is_none_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let telemetry = open(&path);
    record(&telemetry, [point(1)]);
    assert_eq!(telemetry.stats().written, 1);
    assert!(dir.path().join("telemetry.db.bad").exists());
}

#[test]
fn a_damaged_block_loses_itself_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    let telemetry = open(&path);
    for generation in 0..5 {
        record(&telemetry, (0..100).map(|n| point(generation * 100 + n)));
        telemetry.seal();
    }
    let conn = Connection::open(&path).unwrap();
    let (id, mut body): (i64, Vec<u8>) = conn
        .query_row("SELECT id, body FROM block ORDER BY id LIMIT 1 OFFSET 2", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let at = body.len() / 2;
    body[at] ^= 4;
    conn.execute("UPDATE block SET body = ?2 WHERE id = ?1", params![id, body]).unwrap();
    // A generation whose span is damaged may lie anywhere, and is looked at.
    conn.execute("UPDATE seal SET first = 9000, last = 9001 WHERE generation = 2", []).unwrap();
    let range = telemetry.range(&device(), 1, ALL, usize::MAX).unwrap();
    let expected: Vec<Point> = (0..500).filter(|at| !(200..300).contains(at)).map(point).collect();
    assert_eq!(range.points, expected);
    let whys: Vec<&str> = range.damaged.iter().map(|damage| damage.why.as_str()).collect();
    assert_eq!(whys.len(), 2, "{whys:?}");
    assert!(whys.iter().any(|why| why.contains("checksum")), "{whys:?}");
    let summary = telemetry.intervals(&device(), 1, (UnixMillis(0), UnixMillis(1_000)), 100).unwrap();
    assert_eq!((summary.intervals.len(), summary.damaged.len()), (4, 2));
    assert_eq!(telemetry.stats().damaged, 4);
    conn.execute("DELETE FROM block WHERE id >> 32 = 1", []).unwrap();
    let range = telemetry.range(&device(), 1, ALL, usize::MAX).unwrap();
    assert!(
        range.damaged.iter().any(|damage| damage.why == "1 of 1 blocks are missing"),
        "{:?}",
        range.damaged
    );
}

/// Whatever is flipped in the files: no panic, no sample that was not recorded, and silence about none that is missing.
#[test]
fn flipped_bytes_are_noticed_wherever_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    let points: Vec<Point> = (0..3_000).map(point).collect();
    let telemetry = open(&path);
    record(&telemetry, points[..2_000].to_vec());
    telemetry.seal();
    // Two frames in the tail: a damaged last one looks like one that a power cut tore.
    record(&telemetry, points[2_000..2_500].to_vec());
    record(&telemetry, points[2_500..].to_vec());
    drop(telemetry);
    let (file, tail) =
        (std::fs::read(&path).unwrap(), std::fs::read(dir.path().join("telemetry.db.tail")).unwrap());
    for round in 0..40_usize {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("telemetry.db");
        let (mut file, mut tail) = (file.clone(), tail.clone());
        let at = round * 7_919 % file.len();
        file[at] ^= 0x55;
        if round % 3 == 0 {
            tail[round * 31 % 300] ^= 0x55;
        }
        std::fs::write(&path, file).unwrap();
        std::fs::write(dir.path().join("telemetry.db.tail"), tail).unwrap();
        let telemetry = open(&path);
        record(&telemetry, [point(100_000)]);
        let before = telemetry.stats().damaged;
        match telemetry.range(&device(), 1, ALL, usize::MAX) {
            Ok(range) => {
                let known = |found: &Point| *found == point(100_000) || points.contains(found);
                assert!(range.points.iter().all(known), "byte {at}");
                let told =
                    before > 0 || !range.damaged.is_empty() || dir.path().join("telemetry.db.bad").exists();
                assert!(told || range.points.len() == 3_001, "byte {at}: {} samples", range.points.len());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn a_file_of_plain_rows_is_converted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    {
        let old = dir.path().join("old.db");
        let conn = Connection::open(&old).unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        // As the version before made it.
        conn.execute_batch(
            "CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
             CREATE TABLE sample (device INTEGER NOT NULL, metric INTEGER NOT NULL, at INTEGER NOT NULL,
                 value INTEGER NOT NULL, good INTEGER NOT NULL) STRICT;
             CREATE INDEX sample_at ON sample (device, metric, at);
             INSERT INTO device (name) VALUES ('cabinet-1'), ('cabinet-2'); BEGIN;",
        )
        .unwrap();
        let mut insert = conn.prepare("INSERT INTO sample VALUES (?1, 1, ?2, ?3, ?4)").unwrap();
        for at in 0..20_000 {
            let Point { at, value, good } = point(at);
            insert.execute(params![1, at.0, value, good]).unwrap();
            insert.execute(params![2, at.0 / 2, value, good]).unwrap();
        }
        drop(insert);
        conn.execute_batch("COMMIT").unwrap();
        // As after a kill: the write-ahead log is still beside it.
        std::fs::copy(&old, &path).unwrap();
        std::fs::copy(dir.path().join("old.db-wal"), dir.path().join("telemetry.db-wal")).unwrap();
        drop(conn);
        std::fs::remove_file(old).unwrap();
    }
    let telemetry = open(&path);
    record(&telemetry, [point(20_000)]);
    telemetry.seal();
    assert_eq!(all(&telemetry), (0..=20_000).map(point).collect::<Vec<_>>());
    let other = DeviceId::new("cabinet-2").unwrap();
    assert_eq!(telemetry.range(&other, 1, ALL, usize::MAX).unwrap().points.len(), 20_000);
    drop(telemetry);
    let names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("rows")), "{names:?}");
    assert_eq!(all(&open(&path)).len(), 20_001);
}

/// Environment variable that turns [`recorder`] from a test into the child of the kill test.
const CHILD: &str = "STEELYARD_TELEMETRY_CHILD";

/// Child process: records for ever and prints how many samples are durable. A plain pass when not asked to.
#[test]
fn recorder() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let mut config = config(Path::new(&path));
    config.flush = Duration::from_millis(20);
    let telemetry = Telemetry::open(config).unwrap();
    let begin = i64::try_from(all(&telemetry).len()).unwrap();
    let mut out = std::io::stdout().lock();
    for at in begin.. {
        telemetry.record(sample(point(at)));
        if at % 50 == 49 {
            std::thread::sleep(Duration::from_millis(1));
            assert_eq!(telemetry.stats().shed, 0);
            let durable = begin + i64::try_from(telemetry.stats().written).unwrap();
            writeln!(out, "durable {durable}").unwrap();
            out.flush().unwrap();
        }
        if at % 7_000 == 6_999 {
            telemetry.seal();
        }
    }
}

#[test]
fn sigkill_loses_nothing_that_was_durable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("telemetry.db");
    let mut durable = 0_usize;
    for round in 0..5_usize {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "recorder", "--nocapture", "--test-threads", "1"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = 0;
        // Killed while it goes on writing; what it still got through the pipe counts, too.
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Some(count) = line.unwrap().strip_prefix("durable ").map(str::to_owned) else { continue };
            durable = durable.max(count.parse().unwrap());
            said += 1;
            if said == 30 + 40 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let telemetry = open(&path);
        let found = all(&telemetry);
        assert!(found.len() >= durable && durable > 0, "{} of {durable}", found.len());
        assert_eq!(found, (0..).take(found.len()).map(point).collect::<Vec<_>>());
        assert_eq!(telemetry.stats().damaged, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn any_history_of_samples_seals_and_restarts_comes_back(
        steps in prop::collection::vec((any::<i64>(), any::<i64>(), any::<bool>(), 0_u8..10), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("telemetry.db");
        let mut telemetry = open(&path);
        let mut expected = Vec::new();
        for (at, value, good, then) in steps {
            // The last millisecond of time is no place inside any span.
            let point = Point { at: UnixMillis(at.min(i64::MAX - 1)), value, good };
            telemetry.record(sample(point));
            expected.push(point);
            match then {
                0 => telemetry.seal(),
                1 => {
                    drop(telemetry);
                    telemetry = open(&path);
                }
                _ => {}
            }
        }
        telemetry.flush();
        let order = |point: &Point| (point.at, point.value, point.good);
        let mut found = all(&telemetry);
        prop_assert!(found.is_sorted_by_key(|point| point.at));
        found.sort_by_key(order);
        expected.sort_by_key(order);
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn the_codec_is_open_to_other_readers() {
    let points: Vec<Point> = (0..10).map(point).collect();
    assert_eq!(series::decode(3, &series::encode(3, &points).unwrap()).unwrap(), points);
}
