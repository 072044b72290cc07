//! `GET /v1/stores/{id}/snapshot`: a file for a replacement gateway. `Range: bytes=N-` goes on with a download (`curl -C -`):
//! the same file is handed out for an hour.

use super::{App, Failure, Shared, store_of};
use crate::fleet::now_unix;
use crate::snapshot::{self, SNAPSHOT_DAYS};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use sync_model::{StoreId, UnixMillis};
use sync_store::{LedgerError, SnapshotNote};

/// How long a file is handed out again.
const REUSE_MS: i64 = 3_600_000;
/// Largest file that travels this way; larger ones are written with `sync-hq snapshot`.
const BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Files kept at the same time.
const FILES_MAX: usize = 8;

/// Files that were made, by store and days.
#[derive(Default)]
pub(super) struct Made {
    files: BTreeMap<(StoreId, u32), (SnapshotNote, PathBuf, i64)>,
}

impl Drop for Made {
    fn drop(&mut self) {
        for (_, path, _) in self.files.values() {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!(%error, path = %path.display(), "a snapshot stays");
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    days: Option<u32>,
}

/// The file, or the rest of it.
pub(super) async fn snapshot(
    State(app): Shared,
    Path(store): Path<String>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let store = store_of(&store)?;
    let days = wish.days.unwrap_or(SNAPSHOT_DAYS);
    // One at a time: making one folds the store's whole history.
    let mut made = app.snapshots.lock().await;
    let now = now_unix();
    let fresh = made.files.get(&(store, days)).filter(|(_, path, at)| now.0 - at < REUSE_MS && path.exists());
    let (note, path) = match fresh {
        Some((note, path, _)) => (note.clone(), path.clone()),
        None => {
            let (note, path) = make(&app, store, days, now).await?;
            while made.files.len() >= FILES_MAX {
                if let Some((_, (_, old, _))) = made.files.pop_first()
                    && let Err(error) = std::fs::remove_file(&old)
                {
                    tracing::debug!(%error, path = %old.display(), "a snapshot stays");
                }
            }
            made.files.insert((store, days), (note.clone(), path.clone(), now.0));
            (note, path)
        }
    };
    if note.bytes > BYTES_MAX {
        let text = format!("the snapshot has {} bytes: write it with `sync-hq snapshot`", note.bytes);
        return Err(Failure::new(StatusCode::INSUFFICIENT_STORAGE, "too-large", text));
    }
    let tag = format!("\"{}\"", note.name);
    let from = range(&headers, &tag).unwrap_or(0);
    if from > note.bytes {
        return Err(Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, "bad-range", "the file is shorter"));
    }
    let bytes = app
        .blocking(move || {
            let read = || -> std::io::Result<Vec<u8>> {
                let mut file = std::fs::File::open(&path)?;
                file.seek(SeekFrom::Start(from))?;
                let mut bytes = Vec::new();
                file.take(BYTES_MAX).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            read().map_err(|error| LedgerError::Storage {
                context: format!("snapshot {}", path.display()),
                detail: error.to_string(),
            })
        })
        .await?;
    Ok(answer(&note, &tag, from, bytes))
}

async fn make(
    app: &App,
    store: StoreId,
    days: u32,
    now: UnixMillis,
) -> Result<(SnapshotNote, PathBuf), Failure> {
    let path = std::env::temp_dir().join(format!("sync-hq-{}-{store}-{days}.sysnap", std::process::id()));
    let out = path.clone();
    let note = app.read(move |reader| snapshot::write(reader, store, days, now, &out)).await?;
    tracing::info!(%store, name = note.name, records = note.records, bytes = note.bytes, "snapshot written");
    Ok((note, path))
}

/// Where the client wants to go on, if it means this file.
fn range(headers: &HeaderMap, tag: &str) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|wanted| wanted != tag) {
        return None;
    }
    text(header::RANGE)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn answer(note: &SnapshotNote, tag: &str, from: u64, bytes: Vec<u8>) -> Response {
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut headers = HeaderMap::new();
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    put(header::ACCEPT_RANGES, "bytes".to_owned());
    put(header::ETAG, tag.to_owned());
    put(
        header::CONTENT_DISPOSITION,
        format!("attachment; filename=\"store-{}-{}.sysnap\"", note.store, note.name),
    );
    if from > 0 {
        put(header::CONTENT_RANGE, format!("bytes {from}-{}/{}", note.bytes.saturating_sub(1), note.bytes));
    }
    (status, headers, bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_goes_on_only_in_the_same_file() {
        let check = |headers_of: &[(header::HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in headers_of {
                headers.insert(name.clone(), value.parse().unwrap());
            }
            range(&headers, "\"abc\"")
        };
        assert_eq!(check(&[]), None);
        assert_eq!(check(&[(header::RANGE, "bytes=100-")]), Some(100));
        assert_eq!(check(&[(header::RANGE, "bytes=100-"), (header::IF_RANGE, "\"abc\"")]), Some(100));
        assert_eq!(check(&[(header::RANGE, "bytes=100-"), (header::IF_RANGE, "\"abd\"")]), None);
        for odd in ["bytes=-5", "bytes=1-2", "items=1-", "bytes=x-"] {
            assert_eq!(check(&[(header::RANGE, odd)]), None, "{odd}");
        }
    }
}
