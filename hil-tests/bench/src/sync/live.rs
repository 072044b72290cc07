//! What a sale line costs while the store trades: tickets through the till's interface, batches of 20 lines on average, every
//! byte on the line counted both ways.

use super::feed;
use super::fleet::{Fleet, STORE, hq_ledger, open, store_ledger};
use super::link::Link;
use super::{float, wait_for};
use anyhow::{Context, Result, ensure};
use hil_rig::http::{self, Request};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;
use sync_model::{
    Article, ArticlesSet, ClockQuality, Event, Fact, Milli, Minor, PriceChanged, Sale, Seq, Sku, Stamp,
    StockUnit, Tender, TenderKind, Text, UnixMillis,
};
use sync_store::Owner;

/// Batches measured, and before that.
const BATCHES: u64 = 30;
const WARM_UP: u64 = 3;
/// Lines of a batch on average.
const LINES: u64 = 20;
/// Articles of one fact.
const CHUNK: usize = 100;
/// What may still be on its way when both ends agree: the last TCP acknowledgements.
const QUIET: Duration = Duration::from_millis(150);

fn stamp() -> Stamp {
    Stamp { at: UnixMillis(super::RECEIVED.0 - 1_000), clock: ClockQuality::Synced }
}

/// Price and tax rate of every article.
type Labels = BTreeMap<Sku, (i64, u16)>;

/// Tickets with the highest price that any of them charges: what the label shows.
fn tickets(count: u64) -> Result<(Vec<Sale>, Labels)> {
    let mut workload = feed::tickets(STORE.0, sync_model::Epoch(1));
    let (mut sales, mut prices): (Vec<Sale>, Labels) = (Vec::new(), BTreeMap::new());
    while workload.sale_lines() < count {
        let event = workload.next().context("a workload has no end")?;
        let Fact::Sale(sale) = event.fact else { continue };
        for line in &sale.lines {
            let known = prices.entry(line.sku).or_insert((0, line.tax_rate));
            known.0 = known.0.max(line.unit_price.0);
        }
        sales.push(sale);
    }
    Ok((sales, prices))
}

/// Headquarters' price book, and a store that has it on its labels.
fn stock_up(folder: &Path, prices: &Labels) -> Result<()> {
    let hq = open(&hq_ledger(folder), Owner::Hq, stamp().at)?;
    let store = open(&store_ledger(folder), Owner::Store(STORE), stamp().at)?;
    let articles: Vec<Article> = prices
        .iter()
        .map(|(sku, (price, tax_rate))| Article {
            sku: *sku,
            version: 1,
            name: Text::lossy(&format!("article {sku}")),
            unit: StockUnit::Kilogram,
            price: Minor(*price),
            tax_rate: *tax_rate,
            effective: UnixMillis(0),
            safety: Milli(0),
            active: true,
        })
        .collect();
    let mut log = None;
    for chunk in articles.chunks(CHUNK) {
        let event = Event::new(stamp(), ArticlesSet { articles: chunk.to_vec() });
        log = Some(hq.call(move |draft| draft.append_down(STORE, &event))?.log);
    }
    let log = log.context("no articles")?;
    let (reader, mut next) = (hq.reader()?, Seq(1));
    while let Some(block) = reader.block(log, next, 512, usize::MAX)? {
        next = block.last().next();
        store.call(move |draft| draft.ingest(&block, stamp().at))?;
    }
    let (answer, answers) = channel();
    for (waiting, (sku, (price, _))) in prices.iter().enumerate() {
        if waiting >= 256 {
            wait_for(&answers)?;
        }
        let change = PriceChanged { sku: *sku, from: None, to: Minor(*price), version: 1 };
        let (event, answer) = (Event::new(stamp(), change), answer.clone());
        store
            .submit(move |draft| draft.append(&event), move |outcome| drop(answer.send(outcome.map(drop))))?;
    }
    for _ in 0..prices.len().min(256) {
        wait_for(&answers)?;
    }
    Ok(())
}

fn kind(tender: &Tender) -> &'static str {
    match tender.kind {
        TenderKind::Cash => "cash",
        TenderKind::Card => "card",
        TenderKind::Wallet => "wallet",
        TenderKind::Voucher => "voucher",
    }
}

fn ticket(sale: &Sale) -> Value {
    let lines: Vec<Value> = sale
        .lines
        .iter()
        .map(|line| {
            let lot = line.lot.as_str();
            json!({"sku": line.sku.0, "lot": if lot.is_empty() { None } else { Some(lot) },
                "quantity_milli": line.quantity.0, "unit_price_minor": line.unit_price.0,
                "discount_minor": line.discount.0, "amount_minor": line.amount.0, "weighing": null, "batch": null})
        })
        .collect();
    let tenders: Vec<Value> = sale
        .tenders
        .iter()
        .map(|tender| json!({"kind": kind(tender), "amount_minor": tender.amount.0}))
        .collect();
    let total: i64 = sale.lines.iter().map(|line| line.amount.0).sum();
    json!({"till": sale.till.0, "number": sale.number, "day": null, "currency": "CNY", "lines": lines,
        "tenders": tenders, "total_minor": total})
}

async fn sell(fleet: &Fleet<'_>, sale: &Sale) -> Result<()> {
    let body = ticket(sale);
    let key = format!("{}-{}", sale.till, sale.number);
    let request = Request {
        method: "POST",
        path: "/v1/tickets",
        headers: &[("Idempotency-Key", key.as_str())],
        body: Some(&body),
        limit: Duration::from_secs(30),
    };
    let answer = http::send(&fleet.people(), &request).await?;
    ensure!(answer.is_success(), "a ticket was refused: {}", answer.text());
    Ok(())
}

/// Trades and counts.
pub(crate) async fn run(link: &Link, folder: &Path, programs: &Path) -> Result<Value> {
    let (sales, prices) = tickets((BATCHES + WARM_UP) * LINES)?;
    stock_up(folder, &prices)?;
    let mut fleet = Fleet::start(link, folder, programs).await?;
    fleet.start_agent()?;
    fleet.wait_until_settled(Duration::from_secs(120)).await?;
    let mut sales = sales.iter();
    let (mut sold, mut lines, mut tickets) = (0, 0, 0);
    let mut before = link.passed()?;
    for batch in 0..BATCHES + WARM_UP {
        if batch == WARM_UP {
            (before, lines, tickets) = (link.passed()?, 0, 0);
        }
        while sold < (batch + 1) * LINES {
            let sale = sales.next().context("too few tickets")?;
            sell(&fleet, sale).await?;
            let count = u64::try_from(sale.lines.len())?;
            (sold, lines, tickets) = (sold + count, lines + count, tickets + 1);
        }
        fleet.wait_until_settled(Duration::from_secs(30)).await?;
        tokio::time::sleep(QUIET).await;
    }
    let passed = link.passed()?.since(before);
    fleet.stop().await?;
    let per_line = |bytes: u64| float(bytes) / float(lines);
    Ok(json!({
        "live_bytes_per_event_socket": per_line(passed.bytes()),
        "live_bytes_per_event_socket_up": per_line(passed.up),
        "live_bytes_per_event_socket_down": per_line(passed.down),
        "live_packets_per_batch": float(passed.packets) / float(BATCHES),
        "live_bytes_per_record_socket": float(passed.bytes()) / float(tickets),
        "live_events_per_batch": float(lines) / float(BATCHES),
        "live_records_per_batch": float(tickets) / float(BATCHES),
    }))
}
