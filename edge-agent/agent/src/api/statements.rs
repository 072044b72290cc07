//! Statements of business days: what was signed, what HQ said, the numbers, and the files for whoever checks them.

use super::answer::{Refused, ok};
use super::post;
use crate::daemon::Daemon;
use crate::statements::{Shown, Unsigned, show as make, sign_now};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use edge_api::{
    Done, StatedArticle, StatedLog, StatedMoney, StatedTax, StatementBrief, StatementDetail, Statements,
};
use serde::Deserialize;
use std::sync::Arc;
use sync_evidence::StatementView;
use sync_model::{BusinessDay, StatementAnswer, StoreId, Text};
use sync_store::{StatementRow, day_root, root_proof};

/// Statements of one answer.
const STATEMENTS_MAX: usize = 400;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A day of the path, as `YYYY-MM-DD`.
fn day_of(text: &str) -> Result<BusinessDay, Refused> {
    let bad = || Refused::bad("day", "a day as YYYY-MM-DD", format!("'{}'", Text::<20>::lossy(text)));
    edge_core::ticket::parse_day(text).ok_or_else(bad)
}

fn brief(row: &StatementRow) -> StatementBrief {
    let mut brief = StatementBrief {
        day: row.day.to_string(),
        state: row.state().to_owned(),
        digest: row.signed.as_ref().map(|(_, signed)| hex(&signed.digest)),
        signed_ms: row.signed.as_ref().map(|(at, _)| at.0),
        answered_ms: row.answered.as_ref().map(|(at, _)| at.0),
        root: row.rooted.as_ref().map(|rooted| rooted.number),
        reason: None,
        rows: Vec::new(),
    };
    if let Some((_, answered)) = &row.answered
        && let StatementAnswer::Disputed { reason, rows, .. } = &answered.answer
    {
        brief.reason = Some(reason.to_string());
        brief.rows = rows.iter().map(Text::to_string).collect();
    }
    brief
}

/// `GET /v1/statements`.
pub(crate) async fn list(State(daemon): State<Arc<Daemon>>) -> Result<Response, Refused> {
    let store = daemon.store;
    let rows =
        daemon.read(move |reader| reader.statements(store, STATEMENTS_MAX)).await.map_err(post::refused)?;
    let key = daemon.statements.public().map(|key| hex(&key.to_bytes()));
    Ok(ok(Statements { key, statements: rows.iter().map(brief).collect() }))
}

/// Query of one statement.
#[derive(Deserialize)]
pub(crate) struct FilesQuery {
    files: Option<String>,
}

/// `GET /v1/statements/{day}?files=`.
pub(crate) async fn show(
    State(daemon): State<Arc<Daemon>>,
    Path(day): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Response, Refused> {
    let day = day_of(&day)?;
    let files = query.files.is_some_and(|files| files != "0" && files != "false");
    let store = daemon.store;
    let shown = daemon.read(move |reader| make(reader, store, day)).await.map_err(post::refused)?;
    Ok(ok(detail(store, shown, files)))
}

fn detail(store: StoreId, shown: Shown, files: bool) -> StatementDetail {
    let Shown { row, statement, signed } = shown;
    let unsigned =
        StatementRow { store, day: statement.day, signed: None, answered: None, rooted: None, bytes: None };
    let agrees = row.as_ref().and_then(|row| row.signed.as_ref()).map(|_| signed.is_some());
    let row = row.unwrap_or(unsigned);
    let rooted = row.rooted.as_ref().filter(|_| files);
    let StatementView { ends, sales, returns, lines, first, last, money, taxes, skus, .. } = statement.view();
    StatementDetail {
        brief: brief(&row),
        agrees,
        sales,
        returns,
        lines,
        first,
        last,
        money: money
            .into_iter()
            .map(|row| StatedMoney {
                currency: row.currency,
                account: row.account,
                amount_minor: row.amount_minor,
            })
            .collect(),
        taxes: taxes
            .into_iter()
            .map(|row| StatedTax {
                currency: row.currency,
                rate: row.rate,
                gross_minor: row.gross_minor,
                tax_minor: row.tax_minor,
            })
            .collect(),
        articles: skus
            .into_iter()
            .map(|row| StatedArticle {
                currency: row.currency,
                sku: row.sku,
                sold_milli: row.sold_milli,
                returned_milli: row.returned_milli,
                charged_minor: row.charged_minor,
                refunded_minor: row.refunded_minor,
                discount_minor: row.discount_minor,
            })
            .collect(),
        ends: ends
            .into_iter()
            .map(|end| StatedLog { epoch: end.epoch, upto: end.upto, link: end.link })
            .collect(),
        file_hex: signed.filter(|_| files).map(|signed| hex(&signed.to_bytes())),
        proof_hex: rooted.and_then(|rooted| root_proof(store, rooted)).map(|proof| hex(&proof.to_bytes())),
        root_hex: rooted.map(|rooted| hex(&day_root(rooted).to_bytes())),
    }
}

/// `POST /v1/statements/{day}/sign`: signs now what is booked so far.
pub(crate) async fn sign(
    State(daemon): State<Arc<Daemon>>,
    Path(day): Path<String>,
) -> Result<Response, Refused> {
    let day = day_of(&day)?;
    match sign_now(&daemon, day).await {
        Ok(()) => Ok(ok(Done { text: format!("statement of {day} signed") })),
        Err(Unsigned::NoKey) => {
            let message = "the store has no certificate to sign with: see [hq.tls]";
            Err(Refused::new(StatusCode::CONFLICT, "no-identity", message))
        }
        Err(Unsigned::Running(day)) => {
            let message = format!("{day} has not begun yet");
            Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "future-day", message).field("day"))
        }
        Err(Unsigned::Ledger(error)) => Err(post::refused(error)),
    }
}
