//! `POST /v1/tickets` and `/v1/returns`.
//!
//! The check runs inside the ledger job, on the writer thread: the prices it compares with are the ones in force at the very
//! position the ticket gets in the log.

use super::answer::{Once, Refused, parse};
use super::post::{self, Stop};
use crate::daemon::Daemon;
use crate::devices::Order;
use crate::devices::holds::{self, Taken};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use edge_api::{ReturnRequest, TicketLine, TicketRequest, TicketTender};
use edge_core::Listing;
use edge_core::ticket::{self, Line, Paid, Request, TicketRefusal, Today};
use std::collections::BTreeMap;
use std::sync::Arc;
use sync_model::{Article, ClockQuality, Event, EventId, FactRef, Minor, Sale, Sku, Stamp, TillId};
use sync_store::{Draft, Refusal};
use tokio::sync::oneshot;

/// Books a ticket.
pub(crate) async fn ticket(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: TicketRequest = parse(body)?;
    let once = Once::of(&headers, "tickets", &request)?;
    let orders = daemon.orders();
    let setting = Setting::of(&daemon);
    let request = Request {
        till: request.till,
        number: request.number,
        day: request.day,
        currency: request.currency,
        lines: request.lines.into_iter().map(line).collect(),
        tenders: request.tenders.into_iter().map(paid).collect(),
        total: request.total_minor,
    };
    let (taken, from_batches) = oneshot::channel();
    let response = post::once(&daemon, once, move |draft, stamp| {
        let catalogue = listings(draft, &request)?;
        let sale = ticket::check(&request, &setting.today(stamp), &catalogue).map_err(refused)?;
        if let Some(first) = draft.ticket(sale.till, sale.number)? {
            return Err(used("ticket", sale.till, sale.number, first.into()).into());
        }
        book(draft, sale, stamp, taken)
    })
    .await?;
    // The device loop only mirrors what the ledger says; what it misses it finds at the batch's next step.
    let mut from_batches = from_batches;
    for part in from_batches.try_recv().unwrap_or_default() {
        if orders.try_send(Order::Sold { batch: part.batch, left: part.left }).is_err() {
            tracing::debug!(batch = %part.batch, "device loop did not hear of a sale");
        }
    }
    Ok(response)
}

/// Books a return.
pub(crate) async fn give_back(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: ReturnRequest = parse(body)?;
    let once = Once::of(&headers, "returns", &request)?;
    let setting = Setting::of(&daemon);
    let of = request.of;
    let request = Request {
        till: request.till,
        number: request.number,
        day: request.day,
        currency: request.currency,
        lines: request.lines.into_iter().map(line).collect(),
        tenders: request.tenders.into_iter().map(paid).collect(),
        total: request.total_minor,
    };
    post::once(&daemon, once, move |draft, stamp| {
        let catalogue = listings(draft, &request)?;
        let fact = ticket::check_return(&request, of.as_deref(), &setting.today(stamp), &catalogue)
            .map_err(refused)?;
        if let Some(first) = draft.return_ticket(fact.till, fact.number)? {
            return Err(used("return", fact.till, fact.number, first.into()).into());
        }
        Ok(draft.append(&Event::new(stamp, fact))?)
    })
    .await
}

/// What the check needs to know of the store.
struct Setting {
    utc_offset_minutes: i16,
    currency: sync_model::Currency,
}

impl Setting {
    fn of(daemon: &Daemon) -> Self {
        let config = daemon.config();
        Self { utc_offset_minutes: config.store.utc_offset_minutes, currency: config.store.currency }
    }

    fn today(&self, stamp: Stamp) -> Today {
        let trusted = stamp.clock != ClockQuality::Suspect;
        Today::at(stamp.at.0, i32::from(self.utc_offset_minutes), trusted, self.currency)
    }
}

/// The sale and what it takes from held batches.
fn book(
    draft: &mut Draft<'_>,
    mut sale: Sale,
    stamp: Stamp,
    taken_out: oneshot::Sender<Vec<Taken>>,
) -> Result<EventId, Stop> {
    let mut taken = Vec::new();
    let mut moves = Vec::new();
    for line in &mut sale.lines {
        let parts = holds::sell(draft, line.sku, line.batch, line.quantity, &mut moves)?;
        // A line that one batch covers names it, so that the record leads from the ticket to the batch.
        if let [only] = parts.as_slice()
            && line.batch.is_none()
            && only.quantity == line.quantity
        {
            line.batch = Some(only.batch);
        }
        taken.extend(parts);
    }
    let id = draft.append(&Event::new(stamp, sale))?;
    for moved in moves {
        draft.append(&Event::new(stamp, moved))?;
    }
    // Nobody listens when the client has gone; the ledger has it all the same.
    drop(taken_out.send(taken));
    Ok(id)
}

/// Articles and prices of the request, as they are at this position of the log.
fn listings(draft: &mut Draft<'_>, request: &Request) -> Result<BTreeMap<Sku, Listing>, Refusal> {
    let mut listings = BTreeMap::new();
    for line in request.lines.iter().take(ticket::LINES_MAX) {
        let sku = Sku(line.sku);
        if listings.contains_key(&sku) {
            continue;
        }
        let Some(article): Option<Article> = draft.article(sku)? else { continue };
        let price: Option<Minor> = draft.price(sku)?.map(|row| row.price);
        listings.insert(sku, Listing { article, price });
    }
    Ok(listings)
}

fn line(line: TicketLine) -> Line {
    Line {
        sku: line.sku,
        lot: line.lot,
        quantity: line.quantity_milli,
        unit_price: line.unit_price_minor,
        discount: line.discount_minor,
        amount: line.amount_minor,
        weighing: line.weighing,
        batch: line.batch,
    }
}

fn paid(tender: TicketTender) -> Paid {
    Paid { kind: tender.kind, amount: tender.amount_minor }
}

fn refused(refusal: TicketRefusal) -> Refused {
    Refused::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code, refusal.detail).field(refusal.field)
}

fn used(what: &str, till: TillId, number: u64, first: FactRef) -> Refused {
    let message = format!("{what} {number} of till {till} was booked before as {first}");
    Refused::new(StatusCode::CONFLICT, "duplicate-ticket", message).field("number")
}
