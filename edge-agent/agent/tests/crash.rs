//! SIGKILL of the daemon under tickets: after the restart every acknowledged ticket is there exactly once.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

mod stand;

use edge_api::{Events, Verify};
use serde_json::json;
use stand::{Folder, article, hq_block, ticket, until};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use sync_model::{ClockQuality, Stamp, UnixMillis};
use sync_store::{Ledger, LedgerConfig, Owner};

/// Kills of one run.
const KILLS: u64 = 3;
/// Tickets acknowledged before each kill.
const TICKETS: u64 = 25;

/// A child that is killed when the test ends, however it ends.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn spawn(folder: &Folder) -> Agent {
    let child = Command::new(env!("CARGO_BIN_EXE_edge-agent"))
        .args(["run", "--config"])
        .arg(folder.file())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Agent(child)
}

async fn answers(folder: &Folder) {
    let client = folder.client();
    until("the daemon", || async { client.fetch::<edge_api::Health>("/v1/health").await.ok() }).await;
}

/// Puts the price book into the ledger before the daemon opens it.
fn prepare(folder: &Folder) {
    let stamp = Stamp { at: UnixMillis(1_700_000_000_000), clock: ClockQuality::Synced };
    std::fs::create_dir_all(folder.path("ledger")).unwrap();
    let config = LedgerConfig {
        path: folder.path("ledger/ledger.db"),
        owner: Owner::Store(stand::STORE),
        max_bytes: None,
        software: edge_agent::daemon::software(),
        queue: 8,
    };
    let (ledger, _) = Ledger::open(config, stamp).unwrap();
    let block = hq_block(&folder.path("hq"), &[article(1001, 1, 350)]);
    ledger.call(move |draft| draft.ingest(&block, UnixMillis(0))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_ticket_survives_a_kill_exactly_once() {
    let folder = Arc::new(Folder::new());
    folder.write("reserve_bytes = 0", "");
    prepare(&folder);
    let mut acked: BTreeMap<String, String> = BTreeMap::new();
    let next = Arc::new(AtomicU64::new(1));
    for round in 0..KILLS {
        let mut agent = spawn(&folder);
        answers(&folder).await;
        let price = folder.client();
        until("the till price", || async { price.fetch::<edge_api::Price>("/v1/prices/1001").await.ok() })
            .await;
        let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let tills: Vec<_> = (1..=4_u16)
            .map(|till| {
                let (folder, next, count, over) = (folder.clone(), next.clone(), count.clone(), over.clone());
                tokio::spawn(async move {
                    let client = folder.client();
                    let mut mine = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let key = format!("{till}-{number}");
                        let body = ticket(till, number, 1001, 1, 350);
                        let Ok(reply) = client.post("/v1/tickets", &body, Some(&key)).await else { continue };
                        let accepted: edge_api::Accepted = reply.parse().unwrap();
                        mine.push((key, accepted.id));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    mine
                })
            })
            .collect();
        until("tickets", || async { (count.load(Ordering::Relaxed) >= TICKETS).then_some(()) }).await;
        agent.0.kill().unwrap();
        agent.0.wait().unwrap();
        over.store(true, Ordering::Relaxed);
        for till in tills {
            acked.extend(till.await.unwrap());
        }
        assert!(u64::try_from(acked.len()).unwrap() >= TICKETS * (round + 1));
    }
    let _agent = spawn(&folder);
    answers(&folder).await;
    let client = folder.client();
    // A repeat of an acknowledged ticket answers its first id.
    let (key, id) = acked.iter().next().unwrap();
    let (till, number) = key.split_once('-').unwrap();
    let body = ticket(till.parse().unwrap(), number.parse().unwrap(), 1001, 1, 350);
    let again: edge_api::Accepted =
        client.post("/v1/tickets", &body, Some(key)).await.unwrap().parse().unwrap();
    assert!(again.replayed && again.id == *id);
    let mut sales: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = "0.0".to_owned();
    loop {
        let page: Events = client.fetch(&format!("/v1/events?limit=500&after={after}")).await.unwrap();
        if page.events.is_empty() {
            break;
        }
        for event in page.events.iter().filter(|event| event.kind == "sale") {
            *sales.entry(event.id.clone()).or_default() += 1;
        }
        after = page.next.unwrap();
    }
    for (key, id) in &acked {
        assert_eq!(sales.get(id), Some(&1), "ticket {key}");
    }
    let stock: edge_api::Stock = client.fetch("/v1/stock?sku=1001").await.unwrap();
    let on_hand: i64 = stock.rows.iter().map(|row| row.on_hand_milli).sum();
    assert_eq!(on_hand, -1_000 * i64::try_from(sales.len()).unwrap());
    let verify: Verify = client.post("/v1/ledger/verify", &json!({}), None).await.unwrap().parse().unwrap();
    assert!(verify.ok, "{verify:?}");
}
