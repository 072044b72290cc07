//! `GET /v1/devices`: thousands of rows, written a few at a time.
//!
//! The whole text of a store with 8,000 tags is more than three megabytes, and the heap keeps what it once needed. Rows go out
//! in the order of their names, each as it is when its turn comes; devices that a reload adds or removes meanwhile appear or
//! not by where their names stand.

use super::views::device_row;
use crate::daemon::Daemon;
use crate::devices::Registry;
use crate::troubles::Now;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use edge_api::{Devices, Named};
use hyper::body::{Body as HttpBody, Frame};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use sync_model::DeviceId;

/// Rows of one frame.
const AT_ONCE: usize = 64;

/// The answer.
pub(crate) fn devices(daemon: &Arc<Daemon>) -> Response {
    let rows = Rows { daemon: Arc::clone(daemon), now: daemon.moment(), at: At::Start };
    ([(header::CONTENT_TYPE, "application/json")], Body::new(rows)).into_response()
}

/// What was written last.
#[derive(Clone, Debug)]
enum At {
    /// Nothing.
    Start,
    /// The row of this device.
    Row(DeviceId),
    /// Everything.
    End,
}

struct Rows {
    daemon: Arc<Daemon>,
    now: Now,
    at: At,
}

impl HttpBody for Rows {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (text, next) = next(&self.daemon.registry, self.now, &self.at);
        self.at = next;
        Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text.into()))))
    }
}

/// What comes next, and where that ends. Nothing: it has ended.
fn next(registry: &Registry, now: Now, at: &At) -> (Vec<u8>, At) {
    let mut text = Vec::new();
    let after = match at {
        At::End => return (text, At::End),
        At::Start => {
            text = format!("{{\"schema\":\"{}\",\"devices\":[", Devices::SCHEMA).into_bytes();
            None
        }
        At::Row(last) => Some(last),
    };
    let mut last = None;
    for (id, view) in registry.after(after, AT_ONCE) {
        if last.is_some() || after.is_some() {
            text.push(b',');
        }
        // Writing to memory does not fail, and a row holds nothing that JSON cannot say.
        if let Err(error) = serde_json::to_writer(&mut text, &device_row(&id, &view, now)) {
            tracing::error!(%error, device = %id, "row cannot be written");
            text.extend_from_slice(b"null");
        }
        last = Some(id);
    }
    match last {
        Some(last) => (text, At::Row(last)),
        None => {
            text.extend_from_slice(b"]}");
            (text, At::End)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::DeviceView;
    use sync_model::DeviceClass;

    fn whole(count: usize) -> (serde_json::Value, usize) {
        let registry = Registry::default();
        let view = || DeviceView::new(DeviceClass::Tag);
        let named = |number: usize| DeviceId::new(&format!("tag-{number:04}")).unwrap();
        registry.configure((0..count).map(|number| (named(number), view())).collect());
        let (mut text, mut at, mut longest) = (Vec::new(), At::Start, 0);
        loop {
            let (more, end) = next(&registry, Now { wall_ms: 0, mono_ms: 0 }, &at);
            if more.is_empty() {
                return (serde_json::from_slice(&text).unwrap(), longest);
            }
            longest = longest.max(more.len());
            text.extend(more);
            at = end;
        }
    }

    #[test]
    fn every_device_is_written_once_in_name_order_and_few_at_a_time() {
        for count in [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 1_000] {
            let (json, longest) = whole(count);
            assert_eq!(json["schema"], Devices::SCHEMA);
            let ids: Vec<&str> =
                json["devices"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), count);
            assert!(ids.is_sorted());
            assert!(longest < AT_ONCE * 1_024, "{longest}");
        }
    }
}
