//! The oracle's reading: both ledger files, and when the two parties have settled.

use super::{Side, note};
use crate::catalogue::STORE;
use crate::programs::{Places, Programs};
use anyhow::{Context, Result};
use hil_rig::{http, until};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use sync_core::MoneyAccount;
use sync_model::{Direction, FactRef, Seq, StoreId, TenderKind};
use sync_store::Reader;

/// Rows read at a time.
const CHUNK: usize = 1000;

/// Both parties' view of the store's log.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The store's ledger.
    pub(crate) store: Side,
    /// HQ's ledger.
    pub(crate) hq: Side,
}

impl View {
    /// Reads both files.
    pub(crate) fn open(places: &Places) -> Result<Self> {
        let store = side("store", &places.ledger()).context("read the store's ledger")?;
        let hq = side("HQ", &places.hq_ledger()).context("read HQ's ledger")?;
        Ok(Self { store, hq })
    }
}

fn side(name: &'static str, path: &Path) -> Result<Side> {
    let reader = Reader::open(path)?;
    let mut events = Vec::new();
    let mut logs: Vec<_> = reader.heads()?.into_iter().map(|row| row.log).collect();
    logs.retain(|log| log.store == StoreId(STORE) && log.direction == Direction::Up);
    logs.sort();
    for log in logs {
        let mut from = Seq(1);
        loop {
            let rows = reader.events(log, from, CHUNK)?;
            let Some(last) = rows.last() else { break };
            from = last.id.seq.next();
            for row in rows {
                let event = row.event.with_context(|| format!("event {}", row.id))?;
                events.push((FactRef::from(row.id), event));
            }
        }
    }
    let mut stock: BTreeMap<u64, i64> = BTreeMap::new();
    for row in reader.stock(StoreId(STORE), None)? {
        *stock.entry(row.sku.0).or_default() += row.on_hand.0;
    }
    let mut cash: BTreeMap<String, i64> = BTreeMap::new();
    for row in reader.money(StoreId(STORE))? {
        if let MoneyAccount::Tender(kind) = row.account {
            *cash.entry(tender(kind).to_owned()).or_default() += row.amount.0;
        }
    }
    Ok(Side { name, events, stock, cash })
}

fn tender(kind: TenderKind) -> &'static str {
    match kind {
        TenderKind::Cash => "cash",
        TenderKind::Card => "card",
        TenderKind::Wallet => "wallet",
        TenderKind::Voucher => "voucher",
    }
}

/// Waits until the agent says that HQ has acknowledged everything.
async fn settled(places: &Places, limit: Duration) -> Result<()> {
    let server = places.tills();
    let done = || async {
        http::get(&server, "/v1/sync").await.is_ok_and(|answer| {
            let body = answer.json();
            body["brief"]["connected"] == true && body["brief"]["lag"] == 0
        })
    };
    until("HQ to acknowledge the whole log", limit, done).await?;
    Ok(())
}

/// Ends the agent with everything at HQ. What it wrote between the last acknowledgement and its end is settled by its next
/// run, so it is started again until nothing is left over.
pub(crate) async fn finish(places: &Places, programs: &mut Programs) -> Result<View> {
    for _ in 0..5 {
        settled(places, Duration::from_secs(120)).await?;
        programs.stop_agent().await?;
        let view = View::open(places)?;
        if view.store.events.len() == view.hq.events.len() {
            programs.stop_hq().await?;
            return Ok(view);
        }
        programs.start_agent().await?;
    }
    // The oracle will name what is missing.
    settled(places, Duration::from_secs(120)).await?;
    programs.stop_agent().await?;
    programs.stop_hq().await?;
    View::open(places)
}

/// Recomputes chain and folds of both files.
pub(crate) fn verify(places: &Places, problems: &mut Vec<String>) -> bool {
    let mut fine = true;
    let files = [("store", places.ledger()), ("HQ", places.hq_ledger())];
    for (name, file) in files {
        match sync_store::verify_file(&file) {
            Ok(report) if report.ok() && report.events > 0 => {}
            Ok(report) => {
                fine = false;
                note(problems, format!("{name}: verify found {report:?}"));
            }
            Err(error) => {
                fine = false;
                note(problems, format!("{name}: verify failed: {error}"));
            }
        }
    }
    fine
}
