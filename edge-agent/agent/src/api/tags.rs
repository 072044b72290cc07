//! Shelf tags: the plan, what blocks it, LED orders of pickers.

use super::answer::{Refused, ok, parse};
use super::fields;
use crate::daemon::Daemon;
use crate::prices::Ask;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use edge_api::{Done, FlashRequest, Tags};
use edge_core::tagplan::{Color, ORDER_TAGS_MAX, TAGS_MAX};
use serde::Deserialize;
use std::sync::Arc;
use sync_model::DeviceId;

/// Rows without a `limit`.
const ROWS: usize = 1_000;
/// Longest time that LEDs flash for one order.
const SECONDS_MAX: u32 = 3_600;

fn busy() -> Refused {
    Refused::busy("the price pump does not run or has no time")
}

/// `GET /v1/tags/plan`.
pub(crate) async fn plan(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    daemon.ask_tags(Ask::Plan).await.map(ok).ok_or_else(busy)
}

/// Query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(default)]
    bad: bool,
    limit: Option<usize>,
}

/// `GET /v1/tags?bad=&limit=`.
pub(crate) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Query(which): Query<Which>,
) -> Result<Response, Refused> {
    let limit = which.limit.unwrap_or(ROWS);
    if !(1..=TAGS_MAX).contains(&limit) {
        return Err(Refused::bad("limit", &format!("1 to {TAGS_MAX}"), limit));
    }
    let rows = daemon.ask_tags(|answer| Ask::Tags { bad: which.bad, limit, answer }).await;
    rows.map(|tags| ok(Tags { tags })).ok_or_else(busy)
}

/// `POST /v1/tags/flash`.
pub(crate) async fn flash(
    State(daemon): State<Arc<Daemon>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let request: FlashRequest = parse(body)?;
    let color = Color::find(&request.color).ok_or_else(|| {
        let names: Vec<&str> = Color::ALL.iter().map(|color| color.name()).collect();
        let found = sync_model::Text::<20>::lossy(&request.color);
        Refused::bad("color", &format!("one of {}", names.join(", ")), format!("'{found}'"))
    })?;
    if !(1..=SECONDS_MAX).contains(&request.seconds) {
        return Err(Refused::bad("seconds", &format!("1 to {SECONDS_MAX}"), request.seconds));
    }
    if !(1..=ORDER_TAGS_MAX).contains(&request.tags.len()) {
        return Err(Refused::bad("tags", &format!("1 to {ORDER_TAGS_MAX} tags"), request.tags.len()));
    }
    let tags: Vec<DeviceId> =
        request.tags.iter().map(|tag| fields::device("tags", tag)).collect::<Result<_, _>>()?;
    let (order, seconds) = (request.order, request.seconds);
    let done = daemon.ask_tags(|answer| Ask::Flash { order, color, tags, seconds, answer }).await;
    match done.ok_or_else(busy)? {
        Ok(()) => Ok(ok(Done { text: format!("order {order} flashes {}", color.name()) })),
        Err(refusal) => {
            let status = match refusal.code {
                "other-color" | "color-taken" => StatusCode::CONFLICT,
                "unknown-tag" => StatusCode::NOT_FOUND,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Err(Refused::new(status, refusal.code, refusal.message))
        }
    }
}

/// `POST /v1/tags/flash/{order}/done`.
pub(crate) async fn order_done(
    State(daemon): State<Arc<Daemon>>,
    Path(order): Path<u64>,
) -> Result<Response, Refused> {
    let tags = daemon.ask_tags(|answer| Ask::OrderDone { order, answer }).await.ok_or_else(busy)?;
    match tags {
        0 => Err(Refused::not_found("flashing order", order)),
        tags => Ok(ok(Done { text: format!("order {order} is picked, {tags} tags") })),
    }
}
