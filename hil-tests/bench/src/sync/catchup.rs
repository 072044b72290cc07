//! Thirty days of a store that nobody heard of, through a narrow line: real programs, mutual TLS, a real broker.

use super::feed;
use super::fleet::{Fleet, STORE, hq_ledger, open, store_ledger};
use super::link::Link;
use super::{float, wait_for};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use sync_store::Owner;

/// 30 days of 12,000 sale lines.
const LINES: u64 = 360_000;
/// Bits per second of the line.
const LINE_BITS: u32 = 1_000_000;
/// Jobs queued at the store's writer while the past is written.
const QUEUED: usize = 256;

/// Writes the store's past; answers lines and records.
fn write_past(path: &Path) -> Result<(u64, u64)> {
    let ledger = open(path, Owner::Store(STORE), super::RECEIVED)?;
    let log = ledger.log().context("a store has a log")?;
    let mut workload = feed::tickets(STORE.0, log.epoch);
    let (answer, answers) = channel();
    let (mut waiting, mut records) = (0, 0);
    while workload.sale_lines() < LINES {
        let event = workload.next().context("a workload has no end")?;
        let answer = answer.clone();
        if waiting == QUEUED {
            wait_for(&answers)?;
            waiting -= 1;
        }
        ledger
            .submit(move |draft| draft.append(&event), move |outcome| drop(answer.send(outcome.map(drop))))?;
        (waiting, records) = (waiting + 1, records + 1);
    }
    for _ in 0..waiting {
        wait_for(&answers)?;
    }
    Ok((workload.sale_lines(), records))
}

fn file_bytes(path: &Path) -> Result<f64> {
    Ok(float(std::fs::metadata(path).with_context(|| path.display().to_string())?.len()))
}

/// Runs the catch-up and measures its files afterwards.
pub(crate) async fn run(link: &Link, folder: &Path, programs: &Path) -> Result<Value> {
    let (lines, records) = write_past(&store_ledger(folder))?;
    let mut fleet = Fleet::start(link, folder, programs).await?;
    link.shape(LINE_BITS)?;
    let before = link.passed()?;
    let begun = Instant::now();
    fleet.start_agent()?;
    let mut connected = None;
    loop {
        if connected.is_none()
            && fleet.settlement().await.is_some_and(|state| state["brief"]["connected"] == true)
        {
            connected = Some(begun.elapsed());
        }
        if fleet.settled().await {
            break;
        }
        if begun.elapsed() > Duration::from_secs(300) {
            fleet.wait_until_settled(Duration::ZERO).await?;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let time = begun.elapsed();
    let passed = link.passed()?.since(before);
    let [agent, hq] = fleet.peaks()?;
    fleet.stop().await?;
    let report = sync_store::verify_file(&hq_ledger(folder))?;
    ensure!(report.ok(), "HQ's ledger does not verify: {:?}", report.problems);
    ensure!(report.events > records, "HQ has {} of {records} records", report.events);
    Ok(json!({
        "catchup_30d_seconds_1mbit": time.as_secs_f64(),
        "catchup_connected_after_seconds": connected.map(|time| time.as_secs_f64()),
        "catchup_bytes_per_event_socket": float(passed.bytes()) / float(lines),
        "catchup_bytes_per_event_socket_up": float(passed.up) / float(lines),
        "catchup_events": lines, "catchup_records": records,
        "stored_bytes_per_event": file_bytes(&hq_ledger(folder))? / float(lines),
        "stored_bytes_per_event_at_store": file_bytes(&store_ledger(folder))? / float(lines),
        "agent_rss_bytes": agent, "hq_rss_bytes": hq,
    }))
}
