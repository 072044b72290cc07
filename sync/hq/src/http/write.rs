//! What HQ's people write: articles and commands for a store, and the order to verify.

use super::{Answer, App, Failure, Shared, store_of};
use crate::fleet::stamp;
use crate::vault::Order;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use sync_model::{
    Article, ArticlesSet, Command, Event, EventId, Milli, Minor, Sku, StockUnit, StoreId, Text, UnixMillis,
};

/// Articles in one request.
const ARTICLES_MAX: usize = 5_000;
/// Articles in one fact.
const CHUNK: usize = 100;

/// Reads a JSON body, with errors as JSON.
pub(super) fn json_of<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Failure> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let message = format!("expected Content-Type application/json, found '{kind}'");
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad-content-type", message));
    }
    let body =
        body.map_err(|rejection| Failure::new(rejection.status(), "bad-body", rejection.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| Failure::bad("bad-json", error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ArticleBody {
    sku: u64,
    version: Option<u64>,
    name: String,
    unit: StockUnit,
    price_minor: i64,
    #[serde(default)]
    tax_rate: u16,
    effective_ms: Option<i64>,
    #[serde(default)]
    safety_milli: i64,
    #[serde(default = "active")]
    active: bool,
}

fn active() -> bool {
    true
}

impl ArticleBody {
    /// Checks the fields that a fact cannot check by its types; `next` is the version where none is given.
    fn article(self, next: u64, now: UnixMillis) -> Result<Article, Failure> {
        let bad = |field: &str, message: String| {
            Err(Failure::bad("bad-article", format!("article {}: {field}: {message}", self.sku)))
        };
        if self.sku == 0 || self.sku > 99_999_999_999_999 {
            return bad("sku", "expected 1 to 14 digits".into());
        }
        if self.price_minor < 0 {
            return bad("price_minor", format!("expected 0 or more, found {}", self.price_minor));
        }
        if self.safety_milli < 0 {
            return bad("safety_milli", format!("expected 0 or more, found {}", self.safety_milli));
        }
        if self.tax_rate > 10_000 {
            return bad(
                "tax_rate",
                format!("expected 0 to 10000 (hundredths of a percent), found {}", self.tax_rate),
            );
        }
        let name = match Text::new(self.name.clone()) {
            Ok(name) => name,
            Err(error) => return bad("name", error.to_string()),
        };
        Ok(Article {
            sku: Sku(self.sku),
            version: self.version.unwrap_or(next),
            name,
            unit: self.unit,
            price: Minor(self.price_minor),
            tax_rate: self.tax_rate,
            effective: self.effective_ms.map_or(now, UnixMillis),
            safety: Milli(self.safety_milli),
            active: self.active,
        })
    }
}

/// `POST /v1/stores/{id}/articles`: books articles into the store's down log, all or none.
pub(super) async fn articles(
    State(app): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), Failure> {
    let store = store_of(&id)?;
    let bodies: Vec<ArticleBody> = json_of(&headers, body)?;
    if bodies.is_empty() || bodies.len() > ARTICLES_MAX {
        let message = format!("expected 1 to {ARTICLES_MAX} articles, found {}", bodies.len());
        return Err(Failure::bad("bad-count", message));
    }
    let mut skus = BTreeSet::new();
    if let Some(twice) = bodies.iter().find(|article| !skus.insert(article.sku)) {
        return Err(Failure::bad("bad-article", format!("article {} is named twice", twice.sku)));
    }
    let turn = app.articles.lock().await;
    let known = known_versions(&app, store, skus).await?;
    let now = crate::fleet::now_unix();
    let articles = bodies
        .into_iter()
        .map(|body| {
            let next = known.get(&body.sku).copied().unwrap_or(0).saturating_add(1);
            body.article(next, now)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let versions: Vec<_> =
        articles.iter().map(|article| json!({"sku": article.sku.0, "version": article.version})).collect();
    let events: Vec<Event> = articles
        .chunks(CHUNK)
        .map(|chunk| Event::new(stamp(), ArticlesSet { articles: chunk.to_vec() }))
        .collect();
    let ids = append(&app, store, events).await?;
    drop(turn);
    let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
    let body = json!({"schema": "steelyard.articles/1", "store": store.0, "ids": ids, "versions": versions});
    Ok((StatusCode::CREATED, Json(body)))
}

async fn known_versions(
    app: &App,
    store: StoreId,
    skus: BTreeSet<u64>,
) -> Result<BTreeMap<u64, u64>, Failure> {
    app.read(move |reader| {
        let mut versions = BTreeMap::new();
        for sku in skus {
            if let Some(article) = reader.article(store, Sku(sku))? {
                versions.insert(sku, article.version);
            }
        }
        Ok(versions)
    })
    .await
}

pub(super) async fn append(app: &App, store: StoreId, events: Vec<Event>) -> Result<Vec<EventId>, Failure> {
    let ledger = app.ledger.clone();
    app.blocking(move || ledger.order(Order::Append { store, events })).await
}

#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum CommandBody {
    OpenEpoch,
    Note { text: String },
}

/// `POST /v1/stores/{id}/commands`: books a command into the store's down log.
pub(super) async fn commands(
    State(app): Shared,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<serde_json::Value>), Failure> {
    let store = store_of(&id)?;
    let command = match json_of(&headers, body)? {
        CommandBody::OpenEpoch => Command::OpenEpoch,
        CommandBody::Note { text } => {
            Command::Note(Text::new(text).map_err(|error| Failure::bad("bad-text", error.to_string()))?)
        }
    };
    let ids = append(&app, store, vec![Event::new(stamp(), command)]).await?;
    let id = ids.first().map(EventId::to_string);
    Ok((StatusCode::CREATED, Json(json!({"schema": "steelyard.command/1", "store": store.0, "id": id}))))
}

/// `POST /v1/verify`: recomputes chain and folds from the log.
pub(super) async fn verify(State(app): Shared) -> Answer {
    let Ok(_turn) = app.verify.try_lock() else {
        return Err(Failure::new(StatusCode::CONFLICT, "busy", "a verification is under way"));
    };
    let ledger = app.ledger.clone();
    let report = app.blocking(move || ledger.verify()).await?;
    let problems: Vec<_> = report
        .problems
        .iter()
        .map(|problem| json!({"name": problem.name, "detail": problem.detail}))
        .collect();
    Ok(Json(json!({
        "schema": "steelyard.verify/1",
        "ok": report.ok(),
        "chain_ok": report.chain_ok(),
        "logs": report.logs,
        "events": report.events,
        "problem_count": report.problem_count,
        "problems": problems,
    })))
}
