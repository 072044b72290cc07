//! Posting like a till: the same request under the same key until it is answered.
//!
//! Contract: a transport failure or a "not now" (408, 429, 5xx) is repeated with the same idempotency key and never given
//! up before the day's own limit; any other answer is final. The number of tickets that wait for an answer is visible, so
//! that a kill can be aimed at it.

use crate::random::Random;
use hil_rig::http::{self, HttpError, Request, Server};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long one request may wait for its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);
/// How long a till keeps trying: longer than any outage of the day.
const PATIENCE: Duration = Duration::from_secs(120);

/// A counter where requests are posted.
#[derive(Debug)]
pub struct Counter {
    server: Server,
    waiting: AtomicUsize,
    broken: AtomicU64,
}

/// A final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Booked.
    Accepted {
        /// `epoch.seq`.
        id: String,
        /// Whether the key had been answered before.
        replayed: bool,
    },
    /// Not booked, with a reason.
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable word.
        code: String,
        /// For a reader.
        message: String,
    },
}

/// No final answer within [`PATIENCE`], or one that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{path} with key {key}: {what}")]
pub struct Unanswered {
    path: String,
    key: String,
    what: String,
}

impl Counter {
    /// A counter in front of `server`.
    pub fn new(server: Server) -> Self {
        Self { server, waiting: AtomicUsize::new(0), broken: AtomicU64::new(0) }
    }

    /// The server behind it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Tickets that wait for an answer at this moment.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Requests that may have arrived and got no answer: what a crash leaves behind.
    pub fn broken(&self) -> u64 {
        self.broken.load(Ordering::SeqCst)
    }

    /// Posts `body` under `key` until there is a final answer.
    pub async fn post(
        &self,
        path: &str,
        key: &str,
        body: &Value,
        random: &mut Random,
    ) -> Result<Outcome, Unanswered> {
        let started = Instant::now();
        let failed = |what: String| Unanswered { path: path.into(), key: key.into(), what };
        let mut last = String::from("nothing was tried");
        while started.elapsed() < PATIENCE {
            match self.once(path, key, body).await {
                Ok(answer) if matches!(answer.status, 408 | 429 | 500..) => {
                    last = format!("{}: {}", answer.status, answer.text());
                }
                Ok(answer) => {
                    return read(&answer).ok_or_else(|| failed(format!("{answer:?} makes no sense")));
                }
                Err(error) => {
                    if error.may_have_arrived() {
                        self.broken.fetch_add(1, Ordering::SeqCst);
                    }
                    last = error.to_string();
                }
            }
            tokio::time::sleep(random.millis(10, 60)).await;
        }
        Err(failed(format!("unanswered for {PATIENCE:?}, last: {last}")))
    }

    async fn once(&self, path: &str, key: &str, body: &Value) -> Result<http::Answer, HttpError> {
        let headers = [("idempotency-key", key)];
        let request =
            Request { method: "POST", path, headers: &headers, body: Some(body), limit: ANSWER_LIMIT };
        let ticket = usize::from(path == "/v1/tickets");
        self.waiting.fetch_add(ticket, Ordering::SeqCst);
        let answer = http::send(&self.server, &request).await;
        self.waiting.fetch_sub(ticket, Ordering::SeqCst);
        answer
    }
}

/// 200 and 201 carry an id, everything else a code.
fn read(answer: &http::Answer) -> Option<Outcome> {
    let body = answer.json();
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    match (answer.status, text("schema")?.as_str()) {
        (200 | 201, "steelyard.accepted/1") => {
            let replayed = body["replayed"].as_bool()?;
            (replayed == (answer.status == 200)).then_some(Outcome::Accepted { id: text("id")?, replayed })
        }
        (400.., "steelyard.error/1") => Some(Outcome::Refused {
            status: answer.status,
            code: text("code")?,
            message: text("message").unwrap_or_default(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(status: u16, body: &Value) -> http::Answer {
        http::Answer { status, body: body.to_string().into_bytes() }
    }

    #[test]
    fn an_answer_counts_only_with_its_schema_and_the_status_that_fits() {
        let accepted = json!({"schema": "steelyard.accepted/1", "id": "1.2", "replayed": false});
        let expected = Outcome::Accepted { id: "1.2".into(), replayed: false };
        assert_eq!(read(&answer(201, &accepted)), Some(expected));
        assert_eq!(read(&answer(200, &accepted)), None, "200 means replayed");
        assert_eq!(read(&answer(201, &json!({"id": "1.2", "replayed": false}))), None);
        let refused = json!({"schema": "steelyard.error/1", "code": "unknown-sku", "message": "no"});
        assert!(matches!(read(&answer(422, &refused)), Some(Outcome::Refused { status: 422, .. })));
    }
}
