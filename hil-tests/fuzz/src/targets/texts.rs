//! Targets of texts: configuration, topics, postings of tills.

use edge_api::{
    Answer, BatchRequest, CountRequest, ReceiptRequest, ReservationRequest, ReturnRequest, Status,
    TicketRequest, TransferInRequest, TransferOutRequest, WasteRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use sync_mqtt::topic;

pub(crate) const CONFIG_WORDS: &[&[u8]] = &[
    b"[store]\n",
    b"[[cabinet]]\n",
    b"[[scale]]\n",
    b"id = \"x\"\n",
    b" = 0\n",
    b" = -1\n",
    b"99999999999999999999",
    b"\"",
    b"'''",
    b"[",
    b"]]",
    b"unknown = 1\n",
    b"\xC3\xA9",
    b"1e400",
    b"nan",
    b"true",
];

/// The daemon's configuration: read, or every complaint with place, expectation and finding.
pub(crate) fn agent_config(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let path = folder.path().join("store.toml");
    std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("not written: {error}"));
    if let Err(errors) = edge_agent::config::load(&path) {
        assert!(!errors.0.is_empty(), "refused without a reason");
        for error in &errors.0 {
            assert!(error.place.line >= 1 && !error.expected.is_empty(), "{error}");
        }
        assert!(!errors.to_string().is_empty());
    }
}

pub(crate) fn agent_config_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../../configs/store.toml").to_vec()]
}

pub(crate) const TOPIC_WORDS: &[&[u8]] = &[b"sy1/", b"/", b"07", b"+", b"#", b"/u", b"/d", b"4294967296"];

pub(crate) fn topic(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some((store, leaf)) = topic::parse(&text) {
        assert_eq!(topic::name(store, leaf), text);
    }
}

pub(crate) fn topic_seeds() -> Vec<Vec<u8>> {
    ["sy1/07/7/u", "sy1/39/4711/p", "sy1/00/64/d"].map(|text| text.as_bytes().to_vec()).into()
}

pub(crate) const JSON_WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"\":",
    b"null",
    b"-1",
    b"1e9",
    b"9223372036854775808",
    b"\"\\ud800\"",
    b"\"\"",
    b"true",
];

/// Bodies of tills, and an answer of the daemon.
pub(crate) fn posting(bytes: &[u8]) {
    fn read<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
        if let Ok(body) = serde_json::from_slice::<T>(bytes) {
            let text = serde_json::to_string(&body).unwrap_or_else(|error| panic!("written again: {error}"));
            assert_eq!(serde_json::from_str::<T>(&text).ok(), Some(body));
        }
    }
    read::<TicketRequest>(bytes);
    read::<ReturnRequest>(bytes);
    read::<ReceiptRequest>(bytes);
    read::<WasteRequest>(bytes);
    read::<CountRequest>(bytes);
    read::<TransferOutRequest>(bytes);
    read::<TransferInRequest>(bytes);
    read::<ReservationRequest>(bytes);
    read::<BatchRequest>(bytes);
    if let Ok(answer) = Answer::<Status>::parse(&String::from_utf8_lossy(bytes)) {
        let text = serde_json::to_string(&answer).unwrap_or_else(|error| panic!("written again: {error}"));
        assert_eq!(Answer::<Status>::parse(&text), Ok(answer));
    }
}

pub(crate) fn posting_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"till":1,"number":9,"currency":"EUR","lines":[{"sku":1001,"quantity_milli":1000,"unit_price_minor":350,"charged_minor":350}],"tenders":[{"kind":"cash","amount_minor":350}],"total_minor":350}"#,
        r#"{"sku":1001,"quantity_milli":500,"reason":"expired"}"#,
        r#"{"sku":1001,"counted_milli":-500}"#,
        r#"{"supplier":"a","lines":[{"sku":1,"quantity_milli":1}]}"#,
        r#"{"schema":"steelyard.status/1","store":7,"state":"ok","reasons":[],"software":"a","uptime_s":1,"now_ms":1,"clock":"synced","currency":"EUR","devices":{"scale":{"configured":1,"seen":1,"ok":1,"degraded":0,"lost":0}},"alarms":{"open":0,"unacknowledged":0,"shelved":0},"sync":{"configured":false,"connected":false,"lag":0},"ledger":{"log":"7-up-1","head":1,"bytes":1,"state":"ok"}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
