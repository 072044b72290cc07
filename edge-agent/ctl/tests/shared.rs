//! `edgectl statement`, `override`, `registry`, `rights`, `conflict settle` against a canned daemon.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};

/// A daemon that answers every request with one body; gives "METHOD path body" of each.
fn canned(folder: &Path, answer: &Value) -> Receiver<String> {
    let listener = UnixListener::bind(folder.join("edge.sock")).unwrap();
    let (heard, requests) = channel();
    let text = answer.to_string();
    // Ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head = if head.is_empty() { line } else { head };
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let route = head.trim_end().trim_end_matches(" HTTP/1.1");
            heard.send(format!("{route} {}", String::from_utf8(body).unwrap())).unwrap();
            let reply = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            reader.get_mut().write_all(reply.as_bytes()).unwrap();
        }
    });
    requests
}

fn edgectl(folder: &Path, arguments: &[&str]) -> Output {
    let socket = folder.join("edge.sock");
    Command::new(env!("CARGO_BIN_EXE_edgectl")).arg("--socket").arg(socket).args(arguments).output().unwrap()
}

fn statement(state: &str) -> Value {
    json!({
        "schema": "steelyard.statement/1",
        "brief": {"day": "2026-11-20", "state": state, "digest": "00ff", "reason": "rows", "rows": ["sku 1001 CNY: 1 against 2"]},
        "agrees": true, "sales": 3, "returns": 1, "lines": 9, "first": "1.2", "last": "1.9",
        "money": [{"currency": "CNY", "account": "sales", "amount_minor": -1234}],
        "taxes": [{"currency": "CNY", "rate": 900, "gross_minor": 1234, "tax_minor": 102}],
        "articles": [], "ends": [{"epoch": 1, "upto": 9, "link": "ab"}],
        "file_hex": "0102ff", "proof_hex": "03",
    })
}

#[test]
fn a_statement_is_shown_written_to_files_and_tells_a_dispute_by_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let requests = canned(folder.path(), &statement("disputed"));
    let shown = edgectl(folder.path(), &["statement", "show", "2026-11-20"]);
    assert_eq!(shown.status.code(), Some(5));
    let text = String::from_utf8(shown.stdout).unwrap();
    for part in [
        "Statement of 2026-11-20   disputed",
        "3 sales, 1 returns, 9 lines",
        "-12.34",
        "sku 1001 CNY: 1 against 2",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert_eq!(requests.recv().unwrap(), "GET /v1/statements/2026-11-20 ");
    let file = folder.path().join("day");
    let saved =
        edgectl(folder.path(), &["statement", "show", "2026-11-20", "--file", file.to_str().unwrap()]);
    assert_eq!(saved.status.code(), Some(0), "{}", String::from_utf8_lossy(&saved.stderr));
    assert_eq!(requests.recv().unwrap(), "GET /v1/statements/2026-11-20?files=true ");
    assert_eq!(std::fs::read(&file).unwrap(), [1, 2, 255]);
    assert_eq!(std::fs::read(folder.path().join("day.proof")).unwrap(), [3]);
    assert!(!folder.path().join("day.root").exists());
}

#[test]
fn orders_say_what_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let requests = canned(folder.path(), &json!({"schema": "steelyard.done/1", "text": "done"}));
    for (arguments, expected) in [
        (
            &["override", "set", "threshold/dairy-1/low", "-2000", "--by", "li"][..],
            r#"POST /v1/overrides {"name":"threshold/dairy-1/low","value":{"number":-2000},"by":"li"}"#,
        ),
        (
            &["override", "set", "note/room", "12", "--by", "li"],
            r#"POST /v1/overrides {"name":"note/room","value":{"note":"12"},"by":"li"}"#,
        ),
        (
            &["override", "clear", "note/room", "--by", "li"],
            r#"POST /v1/overrides {"name":"note/room","value":"cleared","by":"li"}"#,
        ),
        (
            &["registry", "set", "s-1", "--class", "scale", "--label", "deli"],
            r#"POST /v1/registry {"change":"set","device":"s-1","class":"scale","label":"deli"}"#,
        ),
        (&["registry", "remove", "s-1"], r#"POST /v1/registry {"change":"remove","device":"s-1"}"#),
        (
            &["rights", "return", "1001", "2500"],
            r#"POST /v1/rights/return {"sku":1001,"quantity_milli":2500}"#,
        ),
        (&["conflict", "settle", "0a", "--by", "li"], r#"POST /v1/conflicts/0a/settle {"by":"li"}"#),
        (&["statement", "sign", "2026-11-20"], "POST /v1/statements/2026-11-20/sign {}"),
    ] {
        let output = edgectl(folder.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(requests.recv().unwrap(), expected);
    }
    for arguments in [&["override", "set", "x"][..], &["rights", "return", "x", "1"], &["statement", "show"]]
    {
        assert_eq!(edgectl(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}
