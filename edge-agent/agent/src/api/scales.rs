//! Zero and tare of a scale, by people.

use super::answer::{Refused, ok, parse};
use super::{fields, post};
use crate::daemon::Daemon;
use crate::devices::Order;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use drv_protocol::Grams;
use edge_api::{Done, ScaleOrder, ScaleOrderRequest};
use std::sync::Arc;
use sync_model::{Audit, DeviceClass, DeviceId, Event, Text};
use tokio::sync::oneshot;

/// Largest tare that is not a slip of the finger.
const TARE_G_MAX: i64 = 100_000;

/// `POST /v1/devices/{id}/scale`: who asked for what is on record before the scale hears of it; the answer is the scale's.
pub(crate) async fn order(
    State(daemon): State<Arc<Daemon>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refused> {
    let unknown = || Refused::not_found("scale", Text::<80>::lossy(&id));
    let device = DeviceId::new(&id).map_err(|_| unknown())?;
    if daemon.registry.get(&device).is_none_or(|view| view.class != DeviceClass::Scale) {
        return Err(unknown());
    }
    let request: ScaleOrderRequest = parse(body)?;
    let by: Text<32> = fields::text("by", &request.by)?;
    let (order, action) = match (request.order, request.tare_g) {
        (ScaleOrder::Zero, None) => (drv_host::ScaleOrder::Zero, "scale-zero"),
        (ScaleOrder::Tare, None) => (drv_host::ScaleOrder::Tare, "scale-tare"),
        (ScaleOrder::ClearTare, None) => (drv_host::ScaleOrder::ClearTare, "scale-clear-tare"),
        (ScaleOrder::Tare, Some(grams @ 0..=TARE_G_MAX)) => {
            (drv_host::ScaleOrder::KeyedTare(Grams(grams)), "scale-tare")
        }
        (ScaleOrder::Tare, Some(grams)) => return Err(Refused::bad("tare_g", "0 to 100000", grams)),
        (_, Some(grams)) => return Err(Refused::bad("tare_g", "nothing with this order", grams)),
    };
    let detail = request.tare_g.map_or_else(|| device.to_string(), |grams| format!("{device} {grams} g"));
    let audit =
        Audit { actor: Text::lossy(by.as_str()), action: Text::lossy(action), detail: Text::lossy(&detail) };
    let stamp = daemon.clock.stamp();
    daemon.commit(move |draft| draft.append(&Event::new(stamp, audit))).await.map_err(post::refused)?;
    let (answer, done) = oneshot::channel();
    let order = Order::Scale { device: device.clone(), order, answer };
    if daemon.orders().send(order).await.is_err() {
        return Err(Refused::busy("the daemon is stopping"));
    }
    match done.await {
        Ok(Ok(done)) => {
            let tare = done.tare.map_or_else(String::new, |tare| format!(", tare {tare}"));
            let word =
                if done.confirmed { "done" } else { "sent; this scale does not say whether it was done" };
            Ok(ok(Done { text: format!("{device}: {word}{tare}") }))
        }
        Ok(Err(reason)) => {
            Err(Refused::new(StatusCode::CONFLICT, "device-refused", format!("{device}: {reason}")))
        }
        Err(_) => Err(Refused::busy("the order was not carried out")),
    }
}
