//! Stock that moves without a customer: receipts, waste, counts, transfers.

use super::answer::{Once, Refused, parse};
use super::fields;
use super::post::{self, Stop};
use crate::daemon::Daemon;
use crate::devices::Order;
use crate::devices::holds::{self, Taken};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use edge_api::{
    CountRequest, ReceiptRequest, TransferInRequest, TransferOutRequest, TransferRequestLine, WasteRequest,
};
use serde::Serialize;
use std::sync::Arc;
use sync_model::{
    BatchMoved, BatchRef, Count, Event, Fact, Milli, Receipt, ReceiptLine, Sku, StoreId, TransferIn,
    TransferLine, TransferOut, Waste,
};
use sync_store::Draft;
use tokio::sync::oneshot;

type Body = Result<Bytes, BytesRejection>;

/// Books one fact whose articles must exist.
async fn book<T: Serialize>(
    daemon: &Daemon,
    headers: &HeaderMap,
    route: &str,
    request: &T,
    fact: Fact,
    skus: Vec<(String, Sku)>,
) -> Result<Response, Refused> {
    let once = Once::of(headers, route, request)?;
    post::once(daemon, once, move |draft, stamp| {
        known(draft, &skus)?;
        Ok(draft.append(&Event::new(stamp, fact))?)
    })
    .await
}

/// Every article must be in HQ's price book, whether active or not.
fn known(draft: &mut Draft<'_>, skus: &[(String, Sku)]) -> Result<(), Stop> {
    for (field, sku) in skus {
        if draft.article(*sku)?.is_none() {
            let message = format!("article {sku} is not in the price book");
            return Err(fields::unprocessable("unknown-sku", field, message).into());
        }
    }
    Ok(())
}

/// `POST /v1/receipts`.
pub(crate) async fn receipt(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: ReceiptRequest = parse(body)?;
    fields::lines(&request.lines)?;
    let mut lines = Vec::new();
    let mut skus = Vec::new();
    for (index, line) in request.lines.iter().enumerate() {
        let field = |name: &str| format!("lines[{index}].{name}");
        skus.push((field("sku"), Sku(line.sku)));
        lines.push(ReceiptLine {
            sku: Sku(line.sku),
            lot: fields::lot(&field("lot"), line.lot.as_deref())?,
            quantity: fields::quantity(&field("quantity_milli"), line.quantity_milli)?,
            unit_cost: fields::cost(&field("unit_cost_minor"), line.unit_cost_minor)?,
        });
    }
    let fact = Receipt { reference: fields::text("reference", &request.reference)?, lines };
    book(&daemon, &headers, "receipts", &request, fact.into(), skus).await
}

/// `POST /v1/waste`.
pub(crate) async fn waste(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: WasteRequest = parse(body)?;
    let fact = Waste {
        sku: Sku(request.sku),
        lot: fields::lot("lot", request.lot.as_deref())?,
        quantity: fields::quantity("quantity_milli", request.quantity_milli)?,
        reason: fields::waste_reason(&request.reason)?,
        batch: fields::fact_option("batch", request.batch.as_deref())?,
    };
    let skus = vec![("sku".to_owned(), fact.sku)];
    let Some(batch) = fact.batch else {
        return book(&daemon, &headers, "waste", &request, fact.into(), skus).await;
    };
    let once = Once::of(&headers, "waste", &request)?;
    let (taken_out, mut taken) = oneshot::channel();
    let response = post::once(&daemon, once, move |draft, stamp| {
        known(draft, &skus)?;
        let mut moves = Vec::new();
        let taken = from_batch(draft, fact.sku, batch, fact.quantity, &mut moves)?;
        let id = draft.append(&Event::new(stamp, fact))?;
        for moved in moves {
            draft.append(&Event::new(stamp, moved))?;
        }
        // Nobody listens when the client has gone; the ledger has it all the same.
        taken_out.send(taken).ok();
        Ok(id)
    })
    .await?;
    if let Ok(Taken { batch, left, .. }) = taken.try_recv()
        && daemon.orders().try_send(Order::Sold { batch, left }).is_err()
    {
        tracing::debug!(%batch, "device loop did not hear of a write-off");
    }
    Ok(response)
}

/// What is written off of a batch is no longer left of it: at its end only the rest may be written off. Checks first,
/// changes after.
fn from_batch(
    draft: &mut Draft<'_>,
    sku: Sku,
    batch: BatchRef,
    quantity: Milli,
    moves: &mut Vec<BatchMoved>,
) -> Result<Taken, Stop> {
    if draft.batch(batch)?.is_none_or(|row| row.queued.sku != sku) {
        let message = format!("no batch {batch} of article {sku}");
        return Err(fields::unprocessable("unknown-batch", "batch", message).into());
    }
    match holds::waste(draft, sku, batch, quantity, moves)? {
        Some(Ok(taken)) => Ok(taken),
        Some(Err(left)) => {
            let message =
                format!("expected at most {} that the batch has left, found {}", left.0, quantity.0);
            Err(fields::unprocessable("bad-quantity", "quantity_milli", message).into())
        }
        None => {
            let message = format!("batch {batch} is not on sale: discard it, or write off without a batch");
            Err(fields::unprocessable("batch-not-held", "batch", message).into())
        }
    }
}

/// `POST /v1/counts`.
pub(crate) async fn count(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: CountRequest = parse(body)?;
    let fact = Count {
        sku: Sku(request.sku),
        lot: fields::lot("lot", request.lot.as_deref())?,
        section: fields::text("section", &request.section)?,
        counted: fields::counted("counted_milli", request.counted_milli, 0)?,
        book: fields::counted("book_milli", request.book_milli, -sync_core::QUANTITY_MAX.0)?,
        by: fields::text("by", &request.by)?,
    };
    let skus = vec![("sku".to_owned(), fact.sku)];
    book(&daemon, &headers, "counts", &request, fact.into(), skus).await
}

/// Lines of a transfer, and the articles they name.
type Lines = (Vec<TransferLine>, Vec<(String, Sku)>);

fn transfer_lines(request: &[TransferRequestLine]) -> Result<Lines, Refused> {
    fields::lines(request)?;
    let mut lines = Vec::new();
    let mut skus = Vec::new();
    for (index, line) in request.iter().enumerate() {
        let field = |name: &str| format!("lines[{index}].{name}");
        skus.push((field("sku"), Sku(line.sku)));
        lines.push(TransferLine {
            sku: Sku(line.sku),
            lot: fields::lot(&field("lot"), line.lot.as_deref())?,
            quantity: fields::quantity(&field("quantity_milli"), line.quantity_milli)?,
        });
    }
    Ok((lines, skus))
}

/// The other store of a transfer.
fn other_store(field: &str, store: u32, own: StoreId) -> Result<StoreId, Refused> {
    if store == 0 || StoreId(store) == own {
        return Err(fields::unprocessable(
            "bad-store",
            field,
            format!("expected another store, found {store}"),
        ));
    }
    Ok(StoreId(store))
}

/// `POST /v1/transfers/out`.
pub(crate) async fn transfer_out(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: TransferOutRequest = parse(body)?;
    let (lines, skus) = transfer_lines(&request.lines)?;
    let fact = TransferOut { to: other_store("to", request.to, daemon.store)?, lines };
    book(&daemon, &headers, "transfers/out", &request, fact.into(), skus).await
}

/// `POST /v1/transfers/in`.
pub(crate) async fn transfer_in(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let request: TransferInRequest = parse(body)?;
    let (lines, skus) = transfer_lines(&request.lines)?;
    let from = other_store("from", request.from, daemon.store)?;
    let fact = TransferIn { from, of: fields::fact("of", &request.of)?, lines };
    book(&daemon, &headers, "transfers/in", &request, fact.into(), skus).await
}
