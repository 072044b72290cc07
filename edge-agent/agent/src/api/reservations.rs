//! Offers and reservations: what a channel may promise, and promises. Checked inside the ledger job, so that two channels can
//! never be promised the same unit.

use super::answer::{Once, Refused, ok, parse};
use super::fields;
use super::post;
use crate::daemon::Daemon;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use edge_api::{Offer, ReservationRequest};
use edge_core::offer::{self, Standing};
use serde::Deserialize;
use std::sync::Arc;
use sync_model::{Milli, ReservationOpened, ReservationOutcome, Sku};

/// Longest hold of a reservation.
const HOLD_S_MAX: u32 = 30 * 86_400;

/// Query of an offer.
#[derive(Deserialize)]
pub(crate) struct OfferQuery {
    channel: Option<String>,
}

fn share(daemon: &Daemon, channel: &str) -> Result<u16, Refused> {
    daemon
        .config()
        .channels
        .get(channel)
        .copied()
        .ok_or_else(|| Refused::not_found("channel", sync_model::Text::<20>::lossy(channel)).field("channel"))
}

/// `GET /v1/offers/{sku}?channel=`.
pub(crate) async fn offer(
    State(daemon): State<Arc<Daemon>>,
    Path(sku): Path<String>,
    Query(query): Query<OfferQuery>,
) -> Result<Response, Refused> {
    let sku = Sku(fields::number("sku", &sku)?);
    let channel = query.channel.ok_or_else(|| Refused::bad("channel", "?channel=name", "none"))?;
    let share_permille = share(&daemon, &channel)?;
    let store = daemon.store;
    let (article, (on_hand, reserved), rights) = daemon
        .read(move |reader| {
            Ok((reader.article(store, sku)?, reader.on_hand(store, sku)?, reader.rights_held(store, sku)?))
        })
        .await
        .map_err(post::refused)?;
    let article = article.ok_or_else(|| Refused::not_found("article", sku))?;
    let standing = Standing { on_hand, reserved, safety: article.safety, unit: article.unit };
    let offered = if article.active { offer::offer(&standing, share_permille) } else { Milli::ZERO };
    // Never more than the rights held: the rest may be promised elsewhere already.
    let offered = rights.map_or(offered, |rights| offered.min(rights));
    Ok(ok(Offer {
        sku: sku.0,
        channel,
        offer_milli: offered.0,
        on_hand_milli: on_hand.0,
        reserved_milli: reserved.0,
        safety_milli: article.safety.0,
        share_permille,
        rights_milli: rights.map(|rights| rights.0),
    }))
}

/// `POST /v1/reservations`.
pub(crate) async fn reserve(
    State(daemon): State<Arc<Daemon>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: ReservationRequest = parse(body)?;
    let once = Once::of(&headers, "reservations", &request)?;
    let share_permille = share(&daemon, &request.channel)?;
    if !(1..=HOLD_S_MAX).contains(&request.hold_s) {
        let found = request.hold_s;
        return Err(fields::unprocessable(
            "bad-hold",
            "hold_s",
            format!("expected 1 to {HOLD_S_MAX}, found {found}"),
        ));
    }
    let quantity = fields::quantity("quantity_milli", request.quantity_milli)?;
    let channel = fields::text("channel", &request.channel)?;
    let reference = fields::text("reference", &request.reference)?;
    let sku = Sku(request.sku);
    post::once(&daemon, once, move |draft, stamp| {
        let article = draft.article(sku)?.filter(|article| article.active).ok_or_else(|| {
            fields::unprocessable("unknown-sku", "sku", format!("article {sku} is not on sale"))
        })?;
        let (on_hand, reserved) = draft.on_hand(sku)?;
        let standing = Standing { on_hand, reserved, safety: article.safety, unit: article.unit };
        offer::check_reservation(quantity, &standing, share_permille).map_err(|refusal| {
            Refused::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.code(), refusal.to_string())
                .field("quantity_milli")
        })?;
        let expires = stamp.at.plus(i64::from(request.hold_s).saturating_mul(1_000));
        let opened = ReservationOpened { sku, quantity, channel, reference, expires };
        Ok(draft.promise(stamp, opened)?)
    })
    .await
}

/// `POST /v1/reservations/{epoch.seq}/post|void`. Needs no key: a reservation is closed once; the same end again answers the
/// same, another end is a conflict.
pub(crate) async fn close(
    State(daemon): State<Arc<Daemon>>,
    Path((id, outcome)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let reservation = fields::fact("id", &id)?;
    let outcome = match outcome.as_str() {
        "post" => ReservationOutcome::Posted,
        "void" => ReservationOutcome::Voided,
        _ => return Err(Refused::not_found("route", "for a reservation but post and void")),
    };
    let stamp = daemon.clock.stamp();
    let closed = daemon
        .commit(move |draft| {
            let Some(row) = draft.reservation(reservation)? else { return Ok(None) };
            if let Some((before, _)) = row.closed {
                return Ok(Some((before, true)));
            }
            draft.end_promise(stamp, reservation, outcome)?;
            Ok(Some((outcome, false)))
        })
        .await
        .map_err(post::refused)?;
    match closed {
        None => Err(Refused::not_found("reservation", reservation)),
        Some((before, _)) if before != outcome => {
            let message = format!("reservation {reservation} ended before, otherwise");
            Err(Refused::new(StatusCode::CONFLICT, "reservation-closed", message))
        }
        Some((_, replayed)) => Ok(ok(edge_api::Accepted { id: reservation.to_string(), replayed })),
    }
}
