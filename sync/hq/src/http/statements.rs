//! Evidence for people and for whoever checks it: statements, day roots, proofs, seals, public keys.
//!
//! `?form=file` gives the bytes of `sync/WIRE.md`, section 6, as `sync-verify` and the Python of the tests read them.

use super::{Answer, App, Failure, Shared, store_of, view};
use crate::evidence::{NoRoot, books_at, ends_now, root_name, signed_ends, statement_file};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use sync_evidence::Statement;
use sync_model::{BusinessDay, DayRooted, StatementAnswer, StoreId};
use sync_store::{HQ_LOG, RootRow, StatementRow, day_root, root_proof};

/// Statements of one answer.
const STATEMENTS_MAX: usize = 400;
/// Roots of one answer.
const ROOTS_MAX: usize = 400;

/// A day as `YYYY-MM-DD`.
pub(super) fn day_of(text: &str) -> Result<BusinessDay, Failure> {
    let bad = || Failure::bad("bad-day", format!("expected a day as YYYY-MM-DD, found '{}'", shown(text)));
    let mut parts = text.splitn(3, '-').map(|part| {
        let digits = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<i32>().ok()).flatten()
    });
    let mut part = || parts.next().flatten().ok_or_else(bad);
    let (year, month, of_month) = (part()?, part()?, part()?);
    // Searched for, not computed: the one inverse that cannot disagree with the day's own text.
    let guess = (year - 1970) * 365 + (year - 1969) / 4 + (month - 1) * 31 + of_month;
    let near = (guess - 45..=guess + 45).map(BusinessDay);
    near.into_iter().find(|day| day.to_string() == text).ok_or_else(bad)
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What HQ knows of a statement, without its rows.
fn brief(row: &StatementRow) -> Value {
    let signed = row.signed.as_ref();
    let mut out = json!({
        "store": row.store.0,
        "day": row.day.to_string(),
        "state": row.state(),
        "digest": signed.map(|(_, signed)| view::hex(&signed.digest)),
        "signed_ms": signed.map(|(at, _)| at.0),
        "answered_ms": row.answered.as_ref().map(|(at, _)| at.0),
        "root": row.rooted.as_ref().map(|rooted| rooted.number),
    });
    if let Some((_, answered)) = &row.answered
        && let StatementAnswer::Disputed { digest, reason, rows } = &answered.answer
    {
        let rows: Vec<&str> = rows.iter().map(|row| row.as_str()).collect();
        out["dispute"] = json!({"reason": reason.as_str(), "hq_digest": view::hex(digest), "rows": rows});
    }
    out
}

/// `GET /v1/stores/{id}/statements`: newest day first.
pub(super) async fn list(State(app): Shared, Path(id): Path<String>) -> Answer {
    let store = store_of(&id)?;
    super::read::known(&app, store).await?;
    let rows = app.read(move |reader| reader.statements(store, STATEMENTS_MAX)).await?;
    let rows: Vec<Value> = rows.iter().map(brief).collect();
    Ok(Json(json!({"schema": "steelyard.hq-statements/1", "store": store.0, "statements": rows})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormQuery {
    form: Option<String>,
}

/// The wanted form of an answer.
fn form(
    query: Result<Query<FormQuery>, QueryRejection>,
    known: &'static [&'static str],
) -> Result<&'static str, Failure> {
    let Query(query) = query.map_err(|rejection| Failure::bad("bad-query", rejection.body_text()))?;
    let wanted = query.form.unwrap_or_else(|| "json".to_owned());
    known.iter().find(|name| **name == wanted).copied().ok_or_else(|| {
        let names = known.join(", ");
        Failure::bad("bad-form", format!("form: expected {names}, found '{}'", shown(&wanted)))
    })
}

fn file(name: String, bytes: Vec<u8>) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let kind = "application/octet-stream".to_owned();
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)], bytes).into_response()
}

fn missing(code: &str, message: String) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, code, message)
}

/// HQ's own statement at the ends that the store signed, or as the logs are now.
async fn own_statement(
    app: &App,
    store: StoreId,
    day: BusinessDay,
) -> Result<(Option<StatementRow>, Option<Statement>), Failure> {
    app.read(move |reader| {
        let row = reader.statement(store, day)?;
        let ends = match row.as_ref().and_then(|row| row.signed.as_ref()) {
            Some((_, signed)) => signed_ends(signed),
            None => ends_now(&reader.heads()?, store),
        };
        let books = books_at(reader, store, &ends)?;
        Ok((row, books.map(|books| books.statement(day))))
    })
    .await
}

/// `GET /v1/stores/{id}/statements/{day}?form=json|file|proof|root`.
pub(super) async fn show(
    State(app): Shared,
    Path((id, day)): Path<(String, String)>,
    query: Result<Query<FormQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let (store, day) = (store_of(&id)?, day_of(&day)?);
    let form = form(query, &["json", "file", "proof", "root"])?;
    super::read::known(&app, store).await?;
    // One at a time: each reads a store's whole log.
    let _turn = app.statements.lock().await;
    if matches!(form, "proof" | "root") {
        let row = app.read(move |reader| reader.statement(store, day)).await?;
        let rooted = row.as_ref().and_then(|row| row.rooted.clone());
        let rooted = rooted.ok_or_else(|| {
            missing("no-root", format!("store {store}'s statement of {day} is in no day root yet"))
        })?;
        return Ok(root_or_proof(form, store, day, &rooted));
    }
    let (row, own) = own_statement(&app, store, day).await?;
    let signed = row.as_ref().zip(own.as_ref()).and_then(|(row, own)| statement_file(row, own));
    if form == "file" {
        let signed = signed.ok_or_else(|| {
            missing(
                "not-signed",
                format!("store {store} has signed no statement of {day} that HQ's events give"),
            )
        })?;
        return Ok(file(format!("{store}-{day}.statement"), signed.to_bytes()));
    }
    let mut out = match &row {
        Some(row) => brief(row),
        None => json!({"store": store.0, "day": day.to_string(), "state": "unsigned"}),
    };
    out["schema"] = json!("steelyard.hq-statement/1");
    out["agrees"] = json!(row.as_ref().and_then(|row| row.signed.as_ref()).map(|_| signed.is_some()));
    out["statement"] = json!(own.as_ref().map(Statement::view));
    Ok(Json(out).into_response())
}

fn root_or_proof(form: &str, store: StoreId, day: BusinessDay, rooted: &DayRooted) -> Response {
    let number = rooted.number;
    match root_proof(store, rooted).filter(|_| form == "proof") {
        Some(proof) => file(format!("{store}-{day}-{number}.proof"), proof.to_bytes()),
        None => file(format!("{day}-{number}.root"), day_root(rooted).to_bytes()),
    }
}

/// `GET /v1/days/{day}`: the statement of every store.
pub(super) async fn day(State(app): Shared, Path(day): Path<String>) -> Answer {
    let day = day_of(&day)?;
    let (rows, traded) = app
        .read(move |reader| {
            let (mut rows, mut traded) = (Vec::new(), Vec::new());
            for store in reader.stores()?.into_iter().filter(|store| *store != HQ_LOG) {
                match reader.statement(store, day)? {
                    Some(row) => rows.push(row),
                    None if reader.money(store)?.iter().any(|row| row.day == day) => traded.push(store),
                    None => {}
                }
            }
            Ok((rows, traded))
        })
        .await?;
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &rows {
        *states.entry(row.state()).or_default() += 1;
    }
    let unsigned = u64::try_from(traded.len()).unwrap_or(u64::MAX);
    if unsigned > 0 {
        *states.entry("unsigned").or_default() += unsigned;
    }
    let traded =
        traded.iter().map(|store| json!({"store": store.0, "day": day.to_string(), "state": "unsigned"}));
    let rows: Vec<Value> = rows.iter().map(brief).chain(traded).collect();
    Ok(Json(json!({
        "schema": "steelyard.hq-day/1", "day": day.to_string(), "states": states, "statements": rows,
    })))
}

fn root_json(row: &RootRow) -> Value {
    let (at, digest) = root_name(row);
    let rooted = &row.rooted;
    json!({
        "number": rooted.number,
        "day": rooted.day.to_string(),
        "at_ms": at.0,
        "stores": rooted.size,
        "root": view::hex(&rooted.root),
        "prev": view::hex(&rooted.prev),
        "digest": view::hex(&digest),
    })
}

/// `GET /v1/roots`: HQ's chain of day roots, newest first.
pub(super) async fn roots(State(app): Shared) -> Answer {
    let rows = app.read(|reader| reader.roots(ROOTS_MAX)).await?;
    let rows: Vec<Value> = rows.iter().map(root_json).collect();
    Ok(Json(json!({"schema": "steelyard.hq-roots/1", "roots": rows})))
}

/// `GET /v1/roots/{number}?form=json|file`.
pub(super) async fn root(
    State(app): Shared,
    Path(number): Path<String>,
    query: Result<Query<FormQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let form = form(query, &["json", "file"])?;
    let bad = || Failure::bad("bad-number", format!("expected a root's number, found '{}'", shown(&number)));
    let number: u64 = number.parse().map_err(|_| bad())?;
    let row = app.read(move |reader| reader.root(number)).await?;
    let row = row.ok_or_else(|| missing("no-root", format!("there is no day root {number}")))?;
    if form == "file" {
        let name = format!("{}-{number}.root", row.rooted.day);
        return Ok(file(name, day_root(&row.rooted).to_bytes()));
    }
    let mut out = root_json(&row);
    out["schema"] = json!("steelyard.hq-root/1");
    Ok(Json(out).into_response())
}

/// `POST /v1/days/{day}/root`: puts what is countersigned into a root now.
pub(super) async fn make_root(
    State(app): Shared,
    Path(day): Path<String>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let day = day_of(&day)?;
    let office = std::sync::Arc::clone(&app.office);
    let made = tokio::task::spawn_blocking(move || office.make_root(day)).await;
    let made =
        made.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "fault", error.to_string()))?;
    match made {
        Ok(rooted) => {
            let body = json!({
                "schema": "steelyard.hq-root/1", "number": rooted.number, "day": day.to_string(),
                "stores": rooted.size, "root": view::hex(&rooted.root),
            });
            Ok((StatusCode::CREATED, Json(body)))
        }
        Err(NoRoot::Nothing) => {
            let message = format!("no countersigned statement of {day} waits for a root");
            Err(Failure::new(StatusCode::CONFLICT, "nothing-to-root", message))
        }
        Err(NoRoot::NoIdentity) => {
            let message = "HQ runs without an identity folder, so it has no key to sign with";
            Err(Failure::new(StatusCode::CONFLICT, "no-identity", message))
        }
        Err(NoRoot::Ledger(error)) => Err(error.into()),
    }
}

/// `GET /v1/keys`: public keys of HQ and of every store, for whoever checks evidence.
pub(super) async fn keys(State(app): Shared) -> Answer {
    let office = std::sync::Arc::clone(&app.office);
    let (hq, stores) = app.blocking(move || Ok((office.public(), office.store_keys()))).await?;
    let stores: BTreeMap<String, Vec<String>> = stores
        .into_iter()
        .map(|(store, keys)| (store.to_string(), keys.iter().map(|key| view::hex(&key.to_bytes())).collect()))
        .collect();
    let hq = hq.map(|key| view::hex(&key.to_bytes()));
    Ok(Json(json!({"schema": "steelyard.hq-keys/1", "hq": hq, "stores": stores})))
}

/// `GET /v1/seals`: the newest seal of every log, as 113 bytes each.
pub(super) async fn seals(State(app): Shared) -> Answer {
    let seals = app.read(|reader| reader.seals()).await?;
    let rows: Vec<Value> = seals
        .iter()
        .map(|seal| {
            let mut row = view::log(seal.log);
            row["upto"] = json!(seal.upto.0);
            row["seal_hex"] = json!(view::hex(&seal.to_bytes()));
            row
        })
        .collect();
    Ok(Json(json!({"schema": "steelyard.hq-seals/1", "seals": rows})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_is_read_back_and_nothing_else_is() {
        for number in -20_000..130_000 {
            let day = BusinessDay(number);
            assert_eq!(day_of(&day.to_string()).ok(), Some(day), "{day}");
        }
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-2-3",
            "26-02-03",
            "2026-02-03x",
            "x",
            "9999-99-99",
            "2026--1-1",
        ] {
            assert!(day_of(text).is_err(), "{text}");
        }
    }
}
