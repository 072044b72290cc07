//! `cargo xtask bench codec`: what an event costs on the wire as a packed block, against gzip-JSON of the same events.
//!
//! Contract
//! * Everything is counted: header, link, checksum, texts and numbers of the block's body (no seal, no MQTT, TLS or TCP).
//! * Each row names the entropy of its events: the information in the generator's random choices, which no encoder can
//!   beat on average. `retailer 1` is the one that the shipped dictionary was trained on (other seeds); `retailer 2` has
//!   other articles, prices and popularity, and nothing of them is known.
//! * Every block is decoded and compared with its records.
//! * The baseline is one gzip stream (level 9) of JSON lines per block, without the link.

use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use hil_workload::{Catalogue, Mix, Profile, Workload};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};
use sync_codec::{Dictionary, Level, decode_block, encode_block};
use sync_core::{Block, Link};
use sync_model::{Direction, Epoch, Event, Fact, LogId, Seq, StoreId};

/// Seed of the measured events; the dictionary was trained on seeds from 1,000 on.
const SEED: u64 = 5;
/// Events of a block while somebody waits.
const LIVE: usize = 20;
/// Records of a block today.
const BULK: usize = 512;
/// Records of the largest packed block.
const LARGE: usize = 4_096;
/// Events measured in each row.
const EVENTS: usize = 8_192;

/// One measured combination.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    profile: Profile,
    mix: Mix,
    retailer: u64,
    records: usize,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    events: usize,
    lines: u64,
    plain: usize,
    packed: usize,
    gzip_json: usize,
    entropy_bits: f64,
    encode: Duration,
    decode: Duration,
}

fn cases() -> Vec<Case> {
    let stores = [("reference", Profile::REFERENCE), ("small", Profile::SMALL)];
    let mut cases = Vec::new();
    for (name, profile) in stores {
        for mix in [Mix::Tickets, Mix::Store] {
            for retailer in [1, 2] {
                for records in [LIVE, BULK, LARGE] {
                    cases.push(Case { name, profile, mix, retailer, records });
                }
            }
        }
    }
    cases
}

/// Measures every case and prints a table or one JSON line.
pub fn codec(as_json: bool) -> Result<()> {
    let rows: Vec<(Case, Row)> =
        cases().into_iter().map(|case| measure(case).map(|row| (case, row))).collect::<Result<_>>()?;
    if as_json {
        println!("{}", report(&rows));
    } else {
        println!("{}", table(&rows));
    }
    Ok(())
}

fn measure(case: Case) -> Result<Row> {
    let log = LogId { store: StoreId(7), direction: Direction::Up, epoch: Epoch(1_790_000_000) };
    let catalogue = Catalogue::new(case.retailer, case.profile.articles);
    let mut workload = Workload::new(SEED, catalogue, case.profile, case.mix, log.epoch);
    if case.mix == Mix::Store {
        // The first morning: the night has nothing but temperatures.
        workload.by_ref().take(30_000).for_each(drop);
    }
    let (bits, lines) = (workload.entropy_bits(), workload.sale_lines());
    Dictionary::shipped();
    let mut row = Row::default();
    let mut prev = Link::genesis(log);
    while row.events < EVENTS {
        let first = Seq(workload.events() + 1);
        let events: Vec<Event> = workload.by_ref().take(case.records).collect();
        let records: Vec<Vec<u8>> =
            events.iter().map(Event::to_record).collect::<Result<_, _>>().context("a generated record")?;
        let block = Block { log, first, prev, records };
        prev = block.link();
        row.block(&block, if case.records == LIVE { Level::Live } else { Level::Bulk })?;
        row.gzip_json += gzip_json(first, &events)?;
    }
    row.lines = workload.sale_lines() - lines;
    row.entropy_bits = workload.entropy_bits() - bits;
    Ok(row)
}

impl Row {
    fn block(&mut self, block: &Block, level: Level) -> Result<()> {
        let begin = Instant::now();
        let packed = encode_block(block, None, level).context("pack a block")?;
        self.encode += begin.elapsed();
        let begin = Instant::now();
        let back = decode_block(&packed).context("read a packed block")?;
        self.decode += begin.elapsed();
        ensure!(back.records == block.records, "a block came back with other records");
        self.events += block.records.len();
        self.plain += block.records.iter().map(Vec::len).sum::<usize>();
        self.packed += packed.len();
        Ok(())
    }

    fn per_event(&self, bytes: usize) -> f64 {
        float(bytes) / float(self.events)
    }

    /// Only meaningful when the events are tickets.
    fn per_line(&self, bytes: usize) -> f64 {
        float(bytes) / float(usize::try_from(self.lines.max(1)).unwrap_or(usize::MAX))
    }

    fn entropy(&self) -> f64 {
        self.entropy_bits / 8.0
    }

    fn per_second(&self, time: Duration) -> f64 {
        float(self.events) / time.as_secs_f64().max(1e-9)
    }
}

fn float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// The same events as JSON lines in one gzip stream.
pub(crate) fn gzip_json(first: Seq, events: &[Event]) -> Result<usize> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    for (seq, event) in (first.0..).zip(events) {
        let line = json!({
            "id": seq, "at": event.stamp.at, "clock": event.stamp.clock, "kind": event.fact.kind().name(),
            "body": body(&event.fact)?,
        });
        writeln!(gzip, "{line}")?;
    }
    Ok(gzip.finish()?.len())
}

fn body(fact: &Fact) -> Result<Value> {
    Ok(match fact {
        Fact::Sale(body) => serde_json::to_value(body),
        Fact::Weighing(body) => serde_json::to_value(body),
        Fact::TemperatureMinute(body) => serde_json::to_value(body),
        Fact::PriceChanged(body) => serde_json::to_value(body),
        Fact::TagConfirmed(body) => serde_json::to_value(body),
        Fact::BatchQueued(body) => serde_json::to_value(body),
        Fact::BatchMoved(body) => serde_json::to_value(body),
        Fact::AlarmRaised(body) => serde_json::to_value(body),
        Fact::AlarmReturned(body) => serde_json::to_value(body),
        other => anyhow::bail!("the generator wrote a {}, which the baseline has no form for", other.kind()),
    }?)
}

fn mix_name(mix: Mix) -> &'static str {
    match mix {
        Mix::Tickets => "tickets",
        Mix::Store => "whole store",
    }
}

fn report(rows: &[(Case, Row)]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(case, row)| {
            let tickets = case.mix == Mix::Tickets;
            json!({
                "store": case.name, "mix": mix_name(case.mix), "retailer": case.retailer,
                "trained": case.retailer == 1, "records_per_block": case.records, "events": row.events,
                "sale_lines": row.lines, "bytes_per_event": row.per_event(row.packed),
                "record_bytes_per_event": row.per_event(row.plain),
                "gzip_json_bytes_per_event": row.per_event(row.gzip_json),
                "entropy_bytes_per_event": row.entropy() / float(row.events),
                "bytes_per_sale_line": tickets.then(|| row.per_line(row.packed)),
                "gzip_json_bytes_per_sale_line": tickets.then(|| row.per_line(row.gzip_json)),
                "entropy_bytes_per_sale_line": tickets.then(|| row.entropy() * row.per_line(1)),
                "encode_events_per_s": row.per_second(row.encode),
                "decode_events_per_s": row.per_second(row.decode),
            })
        })
        .collect();
    json!({"schema": "steelyard.bench-codec/1", "seed": SEED, "rows": rows})
}

fn table(rows: &[(Case, Row)]) -> String {
    let mut text = format!(
        "{:<11}{:<13}{:>9}{:>8}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
        "store",
        "mix",
        "retailer",
        "block",
        "B/event",
        "entropy",
        "gzip-JSON",
        "B/line",
        "entropy",
        "enc/s",
        "dec/s"
    );
    for (case, row) in rows {
        let line = |bytes: f64| match case.mix {
            Mix::Tickets => format!("{bytes:.2}"),
            Mix::Store => "-".to_owned(),
        };
        text.push_str(&format!(
            "{:<11}{:<13}{:>9}{:>8}{:>10.2}{:>10.2}{:>10.2}{:>10}{:>10}{:>10.0}{:>10.0}\n",
            case.name,
            mix_name(case.mix),
            case.retailer,
            case.records,
            row.per_event(row.packed),
            row.entropy() / float(row.events),
            row.per_event(row.gzip_json),
            line(row.per_line(row.packed)),
            line(row.entropy() * row.per_line(1)),
            row.per_second(row.encode),
            row.per_second(row.decode),
        ));
    }
    text.push_str(
        "event: a ticket, weighing, minute, ...; line: a sale line. The dictionary knows retailer 1.",
    );
    text
}
