//! The binary against a canned daemon: a Unix socket that answers each route with a fixed status and body.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use edge_api::{
    Alarm, AlarmCount, Alarms, Answer, BatchRow, Batches, Check, ClassCount, Device, DeviceDetail,
    DeviceReading, Devices, Doctor, Done, ErrorBody, EventRow, Events, Frame, Frames, HeldRise, IntervalRow,
    LedgerBrief, Named, Preview, SampleRow, Samples, Status, Stock, StockRow, Sync, SyncBrief, SyncLog,
    TagPlan, TagRow, Tags, TagsBlocked, Trouble, Verify,
};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

/// Route ("GET /v1/status") to (status, body).
type Routes = BTreeMap<String, (u16, String)>;

/// A daemon that knows only canned answers.
struct Canned {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    /// "METHOD path body" of every request.
    heard: Arc<Mutex<Vec<String>>>,
}

impl Canned {
    fn new(routes: Routes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("edge.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        // The thread ends with the test process; each connection is answered and closed.
        std::thread::spawn(move || {
            listener.incoming().flatten().for_each(|stream| answer(stream, &routes, &log));
        });
        Self { _folder: folder, socket, heard }
    }

    fn one<T: Named + serde::Serialize>(route: &str, body: T) -> Self {
        Self::new([(route.to_owned(), (200, json(body)))].into())
    }
}

fn json<T: Named + serde::Serialize>(body: T) -> String {
    serde_json::to_string(&Answer::new(body)).unwrap()
}

fn answer(stream: UnixStream, routes: &Routes, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
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
    let route = head.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    log.lock().unwrap().push(format!("{route} {}", String::from_utf8(body).unwrap()));
    let missing =
        (404, r#"{"schema":"steelyard.error/1","code":"no-route","message":"no such route"}"#.to_owned());
    let (status, text) = routes.get(&route).cloned().unwrap_or(missing);
    let reply = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    // The client may be gone already; that is its right.
    reader.get_mut().write_all(reply.as_bytes()).ok();
}

fn edgectl(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_edgectl"))
        .env_remove("STEELYARD_SOCKET")
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn status(state: &str) -> Status {
    let count = ClassCount { configured: 40, seen: 40, ok: 39, degraded: 0, lost: 1 };
    Status {
        store: 7,
        state: state.into(),
        reasons: if state == "ok" { vec![] } else { vec!["cabinet-3 is lost".into()] },
        troubles: if state == "ok" { vec![] } else { vec![trouble()] },
        more_troubles: 0,
        software: "0.1.0".into(),
        uptime_s: 3_700,
        now_ms: 1_800_000_000_000,
        clock: "synced".into(),
        currency: "CNY".into(),
        devices: [("cabinet".to_owned(), count)].into(),
        alarms: AlarmCount { open: 2, unacknowledged: 1, shelved: 0 },
        sync: SyncBrief { configured: true, connected: true, lag: 12, last_ack_ms: Some(1_799_999_995_000) },
        ledger: LedgerBrief {
            log: "7-up-1".into(),
            head: 4_711,
            bytes: 1_536,
            free_bytes: Some(1 << 30),
            state: "ok".into(),
            salvaged: None,
        },
    }
}

fn trouble() -> Trouble {
    Trouble {
        devices: vec!["scale-2".into(), "scale-3".into()],
        count: 11,
        class: "scale".into(),
        state: "failed".into(),
        since_ms: Some(1_799_999_880_000),
        cause: "port-missing".into(),
        reason: "port /dev/x: No such file".into(),
        advice: "check the USB cable \u{1b}[31mof scale-2".into(),
    }
}

fn cabinet(state: &str) -> Device {
    let reading = DeviceReading::Cabinet {
        temperature_mc: Some(4_250),
        phase: "defrost".into(),
        high_mc: Some(5_000),
        low_mc: None,
        fault: None,
        alarms: vec!["above the node's upper limit".into()],
    };
    Device {
        id: format!("cabinet-{state}"),
        class: "cabinet".into(),
        state: state.into(),
        reason: String::new(),
        cause: String::new(),
        advice: String::new(),
        since_ms: None,
        last_seen_ms: Some(0),
        reading: Some(reading),
    }
}

fn event(seq: u32) -> EventRow {
    EventRow {
        id: format!("1.{seq}"),
        kind: "weighing".into(),
        at_ms: 0,
        clock: "synced".into(),
        text: "scale-1 \u{1b}[31m500 g".into(),
    }
}

#[test]
fn status_is_one_screen_and_tells_degraded_by_its_exit_code() {
    let canned = Canned::one("GET /v1/status", status("ok"));
    let output = edgectl(&canned.socket, &["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let screen = text(&output.stdout);
    for part in [
        "Store 7   ok   edge-agent 0.1.0, up 1 h 1 min",
        "12 events behind, acknowledged 5 s ago",
        "log 7-up-1 at 4711, 1.5 KiB, 1.0 GiB free",
        "cabinet          40",
    ] {
        assert!(screen.contains(part), "'{part}' in\n{screen}");
    }
    assert!(!screen.contains('\u{1b}'), "no colors into a pipe");
    assert!(screen.lines().count() <= 24);
    let canned = Canned::one("GET /v1/status", status("degraded"));
    let output = edgectl(&canned.socket, &["status"]);
    assert_eq!(output.status.code(), Some(5));
    let screen = text(&output.stdout);
    assert!(screen.contains("cabinet-3 is lost"));
    for part in [
        "! scale-2, scale-3 and 9 more: failed since 2027-01-15 07:58:00Z (2 min 0 s ago)",
        "why   port-missing: port /dev/x: No such file",
        "do    check the USB cable  [31mof scale-2",
    ] {
        assert!(screen.contains(part), "'{part}' in\n{screen}");
    }
}

/// The frames that the canned daemon gives to every question.
fn frames(missed: u64) -> Frames {
    let frame = |number, mono_ms, way: &str, hex: &str, said: &str| Frame {
        number,
        mono_ms,
        way: way.into(),
        hex: hex.into(),
        text: said.into(),
    };
    Frames {
        device: "scale-2".into(),
        connection: "toledo-8217 /dev/x 9600 baud".into(),
        wire: "serial".into(),
        software: "0.1.0".into(),
        frames: vec![
            frame(7, 5_000, ">", "57 0D", "W<CR>"),
            frame(8, 5_012, "<", "02 3F 44 0D", "<STX>?D<CR>"),
        ],
        next: 8,
        missed,
    }
}

#[test]
fn frames_are_traced_and_recorded() {
    let first = Frames { frames: vec![], ..frames(99) };
    let routes = |missed| {
        [
            ("GET /v1/devices/scale-2/frames".to_owned(), (200, json(first.clone()))),
            ("GET /v1/devices/scale-2/frames?after=8".to_owned(), (200, json(frames(missed)))),
        ]
    };
    let canned = Canned::new(routes(0).into());
    let output = edgectl(&canned.socket, &["device", "trace", "scale-2", "--seconds", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let screen = text(&output.stdout);
    assert!(
        screen.starts_with("     0.000 > 57 0D   W<CR>\n     0.012 < 02 3F 44 0D   <STX>?D<CR>\n"),
        "{screen}"
    );
    assert!(!screen.contains("missed"), "what was before the beginning is not missed");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scale.transcript");
    let record = |file: &Path| {
        let out = file.to_str().unwrap();
        edgectl(&canned.socket, &["device", "record", "scale-2", "--seconds", "1", "--out", out])
    };
    let output = record(&file);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("0 missed"), "{}", text(&output.stdout));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.starts_with("steelyard-transcript 1\ndevice scale-2\n"), "{written}");
    assert!(
        written.contains("\nwire serial\n") && written.contains("\n0 > 57 0D\n12 < 02 3F 44 0D\n"),
        "{written}"
    );
    assert_eq!(record(&file).status.code(), Some(1), "an existing file is not written over");

    let canned = Canned::new(routes(3).into());
    let gaps = folder.path().join("gaps.transcript");
    let out = gaps.to_str().unwrap();
    let output =
        edgectl(&canned.socket, &["--json", "device", "record", "scale-2", "--seconds", "1", "--out", out]);
    let said: serde_json::Value = serde_json::from_str(text(&output.stdout)).unwrap();
    assert!(said["missed"].as_u64().unwrap() >= 3 && said["frames"].as_u64().unwrap() >= 2, "{said}");
    assert!(std::fs::read_to_string(&gaps).unwrap().contains("\nmissed 3\n"));
}

#[test]
fn json_is_the_answer_on_one_line_with_its_schema() {
    let pretty = serde_json::to_string_pretty(&Answer::new(status("ok"))).unwrap();
    let canned = Canned::new([("GET /v1/status".to_owned(), (200, pretty))].into());
    let output = edgectl(&canned.socket, &["--json", "status"]);
    assert_eq!(text(&output.stdout).lines().count(), 1);
    let back = Answer::<Status>::parse(text(&output.stdout)).unwrap();
    assert_eq!(back.body, status("ok"));
}

#[test]
fn a_daemon_that_is_not_there_is_8() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.sock");
    let output = edgectl(&missing, &["status"]);
    assert_eq!(output.status.code(), Some(8));
    assert!(text(&output.stderr).contains("is edge-agent running?"));
    // A socket file that a killed daemon left behind.
    let stale = folder.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let output = edgectl(&stale, &["--json", "stock"]);
    assert_eq!(output.status.code(), Some(8));
    assert_eq!(Answer::<ErrorBody>::parse(text(&output.stdout)).unwrap().body.code, "not-running");
    // The environment names the socket, the option wins.
    let by_environment = Command::new(env!("CARGO_BIN_EXE_edgectl"))
        .env("STEELYARD_SOCKET", &missing)
        .arg("status")
        .output()
        .unwrap();
    assert_eq!(by_environment.status.code(), Some(8));
    assert!(text(&by_environment.stderr).contains("none.sock"));
}

#[test]
fn refusals_become_exit_codes_with_their_reasons() {
    let cases = [
        (404, "no-device", 10),
        (409, "already-acknowledged", 6),
        (403, "not-here", 7),
        (502, "device-refused", 4),
        (503, "device-lost", 4),
        (500, "broken", 1),
        (504, "timeout", 3),
    ];
    for (status, code, exit) in cases {
        let error = ErrorBody { code: code.into(), message: "because".into(), field: Some("id".into()) };
        let canned = Canned::new([("GET /v1/devices/x".to_owned(), (status, json(error)))].into());
        let output = edgectl(&canned.socket, &["device", "show", "x"]);
        assert_eq!(output.status.code(), Some(exit), "{status}");
        assert!(text(&output.stderr).contains(&format!("{code}: because")), "{}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn usage_is_2_and_names_the_mistake() {
    let nowhere = Path::new("/nonexistent/edge.sock");
    for arguments in [
        &["stats"][..],
        &["alarm", "ack"],
        &["event", "tail", "-n", "0"],
        &["--timeout", "x", "status"],
        &["stock", "--sku", "-1"],
    ] {
        let output = edgectl(nowhere, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    assert_eq!(edgectl(nowhere, &["--help"]).status.code(), Some(0));
}

#[test]
fn a_mute_daemon_is_3_and_an_incomprehensible_one_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("mute.sock");
    let _listener = UnixListener::bind(&socket).unwrap(); // accepts nothing: connects queue, answers never come
    let output = edgectl(&socket, &["--timeout", "1", "status"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    for body in ["", "not json", r#"{"schema":"steelyard.status/9"}"#] {
        let canned = Canned::new([("GET /v1/status".to_owned(), (200, body.to_owned()))].into());
        assert_eq!(edgectl(&canned.socket, &["status"]).status.code(), Some(1), "'{body}'");
    }
}

#[test]
fn devices_are_listed_filtered_and_shown() {
    let devices = Devices { devices: vec![cabinet("ok"), cabinet("lost")] };
    let canned = Canned::one("GET /v1/devices", devices);
    let all = edgectl(&canned.socket, &["device", "list"]);
    assert!(
        text(&all.stdout).contains("cabinet-ok    cabinet  ok     4.3 °C, defrost"),
        "{}",
        text(&all.stdout)
    );
    let bad = edgectl(&canned.socket, &["device", "list", "--bad"]);
    assert_eq!((text(&bad.stdout).lines().count(), text(&bad.stdout).contains("cabinet-ok")), (2, false));
    let scales = edgectl(&canned.socket, &["--json", "device", "list", "--class", "scale"]);
    assert_eq!(Answer::<Devices>::parse(text(&scales.stdout)).unwrap().body.devices, []);
    let detail = DeviceDetail {
        device: cabinet("ok"),
        connection: "modbus-rtu cold-1 unit 7".into(),
        counters: [("crc-errors".to_owned(), 3)].into(),
        frames: vec!["01 03 02".into()],
    };
    let canned = Canned::one("GET /v1/devices/..%2Fx", detail);
    let shown = edgectl(&canned.socket, &["device", "show", "../x"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("crc-errors"));
}

#[test]
fn events_are_tailed_cleaned_and_followed() {
    let page = |rows: Vec<EventRow>, next: &str| json(Events { events: rows, next: Some(next.into()) });
    let routes = [
        ("GET /v1/events?limit=2".to_owned(), (200, page(vec![event(1), event(2)], "1.2"))),
        ("GET /v1/events?after=1.2&limit=500".to_owned(), (200, page(vec![event(3)], "1.3"))),
        ("GET /v1/events?after=1.3&limit=500".to_owned(), (200, page(vec![], "1.3"))),
    ];
    let canned = Canned::new(routes.into());
    let output = edgectl(&canned.socket, &["event", "tail", "-n", "2"]);
    assert_eq!(text(&output.stdout).lines().count(), 2);
    assert!(!text(&output.stdout).contains('\u{1b}'), "a device's text must not steer the terminal");
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgectl"))
        .arg("--socket")
        .arg(&canned.socket)
        .args(["event", "tail", "-n", "2", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().take(3).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lines[2].contains("1.3"));
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let events = Events { events: (1..=9_000).map(event).collect(), next: Some("1.9000".into()) };
    let canned = Canned::one("GET /v1/events?limit=500", events);
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgectl"))
        .arg("--socket")
        .arg(&canned.socket)
        .args(["event", "tail", "-n", "500"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 64];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap(); // and closed, far before the end
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn batches_are_listed_and_discarded() {
    let batch = BatchRow {
        id: "1.9".into(),
        device: "steamer-1".into(),
        sku: 2001,
        name: Some("bun".into()),
        state: "hold".into(),
        quantity_milli: 3_000,
        remaining_milli: 2_000,
        expires_ms: None,
        queued_ms: 1_800_000_000_000,
    };
    let closed = r#"{"schema":"steelyard.error/1","code":"batch-closed","message":"batch 1.8 is over"}"#;
    let canned = Canned::new(Routes::from([
        ("GET /v1/batches".to_owned(), (200, json(Batches { batches: vec![batch] }))),
        ("POST /v1/batches/1.9/discard".to_owned(), (200, json(Done { text: "done".into() }))),
        ("POST /v1/batches/1.8/discard".to_owned(), (409, closed.to_owned())),
    ]));
    let list = edgectl(&canned.socket, &["batch", "list"]);
    assert!(text(&list.stdout).contains("1.9    hold   steamer-1  2001"), "{}", text(&list.stdout));
    let output = edgectl(&canned.socket, &["batch", "discard", "1.9", "--by", "Li"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "1.9 discarded\n"));
    assert_eq!(edgectl(&canned.socket, &["batch", "discard", "1.8", "--by", "Li"]).status.code(), Some(6));
    let heard = canned.heard.lock().unwrap();
    assert!(heard.contains(&r#"POST /v1/batches/1.9/discard {"by":"Li"}"#.to_owned()), "{heard:?}");
}

#[test]
fn scales_are_zeroed_and_tared() {
    let refused =
        r#"{"schema":"steelyard.error/1","code":"device-refused","message":"s2: the platform is in motion"}"#;
    let canned = Canned::new(Routes::from([
        ("POST /v1/devices/s1/scale".to_owned(), (200, json(Done { text: "s1: done".into() }))),
        ("POST /v1/devices/s2/scale".to_owned(), (409, refused.to_owned())),
    ]));
    for (arguments, body) in [
        (&["zero", "s1"][..], r#"{"by":"Li","order":"zero"}"#),
        (&["tare", "s1"], r#"{"by":"Li","order":"tare"}"#),
        (&["tare", "s1", "--grams", "250"], r#"{"by":"Li","order":"tare","tare_g":250}"#),
        (&["tare", "s1", "--grams", "0"], r#"{"by":"Li","order":"clear-tare"}"#),
    ] {
        let output = edgectl(&canned.socket, &[&["device"], arguments, &["--by", "Li"]].concat());
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "s1: done\n"));
        let heard = canned.heard.lock().unwrap();
        assert_eq!(heard.last().unwrap(), &format!("POST /v1/devices/s1/scale {body}"));
    }
    let output = edgectl(&canned.socket, &["device", "zero", "s2", "--by", "Li"]);
    assert_eq!(output.status.code(), Some(4), "the device did not do it");
    assert!(text(&output.stderr).contains("the platform is in motion"), "{}", text(&output.stderr));
    assert_eq!(edgectl(&canned.socket, &["device", "tare", "s1", "--grams", "-5"]).status.code(), Some(2));
}

#[test]
fn alarms_are_listed_acknowledged_and_shelved() {
    let alarm = Alarm {
        id: "1.7".into(),
        device: "cabinet-3".into(),
        kind: "too-warm".into(),
        state: "unacknowledged".into(),
        since_ms: 0,
        value_mc: Some(9_000),
        limit_mc: Some(5_000),
        worst_mc: Some(9_500),
        by: None,
        until_ms: None,
    };
    let done = || (200, json(Done { text: "done".into() }));
    let routes = [
        ("GET /v1/alarms".to_owned(), (200, json(Alarms { alarms: vec![alarm] }))),
        ("GET /v1/alarms?all=true".to_owned(), (200, json(Alarms { alarms: vec![] }))),
        ("POST /v1/alarms/1.7/ack".to_owned(), done()),
        ("POST /v1/alarms/1.7/shelve".to_owned(), done()),
    ];
    let canned = Canned::new(routes.into());
    assert!(
        text(&edgectl(&canned.socket, &["alarm", "list"]).stdout)
            .contains("too-warm  9.0 °C  5.0 °C  9.5 °C")
    );
    assert_eq!(text(&edgectl(&canned.socket, &["alarm", "list", "--all"]).stdout), "No alarms.\n");
    let output = edgectl(&canned.socket, &["alarm", "ack", "1.7", "--by", "Li"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "1.7 acknowledged\n"));
    edgectl(&canned.socket, &["alarm", "shelve", "1.7", "--minutes", "30", "--by", "Li"]);
    let heard = canned.heard.lock().unwrap();
    assert!(heard.contains(&r#"POST /v1/alarms/1.7/ack {"by":"Li"}"#.to_owned()), "{heard:?}");
    assert!(
        heard.contains(&r#"POST /v1/alarms/1.7/shelve {"by":"Li","minutes":30}"#.to_owned()),
        "{heard:?}"
    );
}

#[test]
fn the_other_tables_and_verdicts() {
    let row = StockRow {
        sku: 1001,
        name: Some("包子".into()),
        unit: Some("piece".into()),
        lot: String::new(),
        on_hand_milli: 12_000,
        reserved_milli: 500,
        fresh: true,
    };
    let canned = Canned::one("GET /v1/stock?sku=1001", Stock { rows: vec![row] });
    assert!(text(&edgectl(&canned.socket, &["stock", "--sku", "1001"]).stdout).contains("12.000"));
    let sync = Sync {
        brief: SyncBrief { configured: true, connected: false, lag: 5, last_ack_ms: None },
        broker: Some("hq:1883".into()),
        since_ms: None,
        last_error: Some("refused".into()),
        logs: vec![SyncLog { log: "7-up-1".into(), head: 10, acked: 5, sent: 8 }],
        quarantined: 0,
    };
    let canned = Canned::one("GET /v1/sync", sync);
    assert!(
        text(&edgectl(&canned.socket, &["sync", "status"]).stdout).contains("Broker hq:1883: not connected")
    );
    for (ok, exit) in [(true, 0), (false, 1)] {
        let verify = Verify { ok, events: 9, logs: 1, problems: vec![], took_ms: 3 };
        let canned = Canned::one("POST /v1/ledger/verify", verify);
        assert_eq!(edgectl(&canned.socket, &["ledger", "verify"]).status.code(), Some(exit));
    }
    for (state, exit) in [("ok", 0), ("warn", 0), ("fail", 5)] {
        let check =
            Check { name: "clock".into(), state: state.into(), found: "x".into(), advice: "do y".into() };
        let canned = Canned::one("GET /v1/doctor", Doctor { checks: vec![check] });
        let output = edgectl(&canned.socket, &["doctor"]);
        assert_eq!(output.status.code(), Some(exit));
        assert!(text(&output.stdout).contains("-> do y"));
    }
}

#[test]
fn watch_redraws_and_shows_a_daemon_that_went_away() {
    let routes = [
        ("GET /v1/status".to_owned(), (200, json(status("ok")))),
        ("GET /v1/devices".to_owned(), (200, json(Devices { devices: vec![cabinet("lost")] }))),
        ("GET /v1/alarms".to_owned(), (200, json(Alarms { alarms: vec![] }))),
    ];
    let canned = Canned::new(routes.into());
    let output = edgectl(&canned.socket, &["watch", "--count", "2"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout).matches("Store 7").count(), 2);
    assert!(text(&output.stdout).contains("cabinet-lost"));
    let output = edgectl(Path::new("/nonexistent/edge.sock"), &["watch", "--count", "1"]);
    assert_eq!(output.status.code(), Some(8));
    assert!(text(&output.stdout).contains("waiting for it"));
}

/// The picture as a PNG, read back by its own crate; a warning is exit code 5.
#[test]
fn a_preview_becomes_a_png() {
    let preview = Preview {
        model: 0x4E,
        template: "shelf".into(),
        width: 5,
        height: 2,
        rows: vec!["1w2k1r1y".into(), "5w".into()],
        hash: None,
        warnings: vec!["text[0]: 3 characters left out".into()],
    };
    let canned = Canned::one("POST /v1/tags/preview", preview.clone());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tag.png");
    let name = file.to_str().unwrap();
    let arguments = [
        "tag", "preview", "--model", "0x4e", "--price", "12.80", "--was", "19.9", "--zoom", "3", "--out",
        name,
    ];
    let output = edgectl(&canned.socket, &arguments);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("5x2, model 0x4e, template shelf\nwarning: text[0]: 3"));
    let heard = canned.heard.lock().unwrap().clone();
    assert_eq!(heard, ["POST /v1/tags/preview {\"model\":78,\"price_minor\":1280,\"old_price_minor\":1990}"]);
    let decoder = png::Decoder::new(BufReader::new(std::fs::File::open(&file).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    assert_eq!((reader.info().width, reader.info().height), (15, 6));
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut bytes).unwrap();
    // Two bits a pixel: three of white, six of black, three of red, three of yellow.
    assert_eq!(bytes[..4], [0b0000_0001, 0b0101_0101, 0b0110_1010, 0b1111_1100]);
    assert_eq!(bytes[bytes.len() - 4..], [0; 4]);

    let broken =
        Canned::one("POST /v1/tags/preview", Preview { rows: vec!["5w".into(), "4w".into()], ..preview });
    let output = edgectl(&broken.socket, &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("row 1: expected runs of 5 pixels in all"));
    assert_eq!(edgectl(&broken.socket, &["tag", "preview", "--out", name]).status.code(), Some(2));
}

#[test]
fn tags_are_listed_planned_and_flashed() {
    let row = TagRow {
        id: "tag-7".into(),
        sku: 1001,
        confirmed_minor: Some(350),
        uncertain: true,
        wanted_minor: Some(400),
        state: "spent".into(),
        since_ms: Some(0),
        until_ms: Some(1_800_000_000_000),
        failed: 5,
        battery_mv: Some(2_400),
        rssi: Some(-81),
    };
    let plan = TagPlan {
        images: 3,
        ready: 1,
        late: 1,
        blocked: TagsBlocked { silent: 2, ..TagsBlocked::default() },
        done_ms: Some(1_800_000_000_000),
        held: vec![HeldRise { sku: 1001, till_minor: 350, next_minor: 400, tags: vec!["tag-7".into()] }],
        ..TagPlan::default()
    };
    let no_led = r#"{"schema":"steelyard.error/1","code":"no-led","message":"tag-8 has none"}"#;
    let canned = Canned::new(Routes::from([
        ("GET /v1/tags?limit=20000&bad=true".to_owned(), (200, json(Tags { tags: vec![row] }))),
        ("GET /v1/tags/plan".to_owned(), (200, json(plan))),
        ("POST /v1/tags/flash".to_owned(), (422, no_led.to_owned())),
        ("POST /v1/tags/flash/12/done".to_owned(), (200, json(Done { text: "done".into() }))),
    ]));
    let output = edgectl(&canned.socket, &["tag", "list", "--bad"]);
    let found = text(&output.stdout);
    assert!(found.contains("3.50?    4.00  spent") && found.contains("its tries are spent"), "{found}");
    let output = edgectl(&canned.socket, &["tag", "plan"]);
    let found = text(&output.stdout);
    assert!(
        found.contains("3 to show: 1 wait for a slot") && found.contains("Blocked  2 silent: look for"),
        "{found}"
    );
    assert!(found.contains("article 1001 stays at 3.50 at the till, 4.00 waits for tag-7"), "{found}");
    let output = edgectl(&canned.socket, &["tag", "flash", "--order", "12", "--color", "red", "tag-8"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("tag-8 has none"), "{}", text(&output.stderr));
    let output = edgectl(&canned.socket, &["tag", "picked", "--order", "12"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "order 12 is picked\n"));
    let heard = canned.heard.lock().unwrap();
    let flash = r#"POST /v1/tags/flash {"order":12,"color":"red","tags":["tag-8"],"seconds":300}"#;
    assert!(heard.contains(&flash.to_owned()), "{heard:?}");
}

fn samples(from: i64, rows: &[(i64, i64, bool)], next_ms: Option<i64>) -> Samples {
    let row = |(at_ms, value, good): &(i64, i64, bool)| SampleRow {
        at_ms: *at_ms,
        value: Some(*value),
        good: *good,
    };
    Samples {
        device: "cabinet-7".into(),
        metric: 1,
        from_ms: from,
        to_ms: 1_800_003_600_000,
        every_ms: None,
        rows: rows.iter().map(row).collect(),
        intervals: vec![],
        next_ms,
        damaged: vec![],
    }
}

#[test]
fn samples_come_page_by_page_and_damage_is_told_apart() {
    let route = |from: &str| format!("GET /v1/samples/cabinet-7?metric=1&from={from}&to=1800003600000");
    let first = samples(1_800_000_000_000, &[(1_800_000_000_000, 4_125, true)], Some(1_800_000_001_000));
    let mut second = samples(1_800_000_001_000, &[(1_800_000_001_000, -18_062, false)], None);
    second.damaged.push("block 5: checksum".into());
    let canned = Canned::new(
        [(route("1800000000000"), (200, json(first))), (route("1800000001000"), (200, json(second)))].into(),
    );
    let span = ["telemetry", "cabinet-7", "--from", "2027-01-15T08:00", "--to", "2027-01-15T09:00:00Z"];
    let output = edgectl(&canned.socket, &[&span[..], &["--csv"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&output.stdout),
        "at_ms,value,good\n1800000000000,4125,true\n1800000001000,-18062,false\n"
    );
    assert!(text(&output.stderr).contains("block 5: checksum"), "{}", text(&output.stderr));
    let output = edgectl(&canned.socket, &span);
    let screen = text(&output.stdout);
    assert!(
        screen.contains("4.125 °C") && screen.contains("-18.062 °C") && screen.contains("bad"),
        "{screen}"
    );
}

#[test]
fn sums_of_samples_are_a_table_and_times_are_checked_before_asking() {
    let mut answer = samples(1_800_000_000_000, &[], None);
    answer.every_ms = Some(900_000);
    answer.intervals = vec![
        IntervalRow {
            from_ms: 1_800_000_000_000,
            good: 90,
            bad: 1,
            min: Some(3_900),
            mean: Some(4_050),
            max: Some(4_200),
        },
        IntervalRow { from_ms: 1_800_000_900_000, good: 0, bad: 7, min: None, mean: None, max: None },
    ];
    let route = "GET /v1/samples/cabinet-7?metric=1&from=1800000000000&to=1800003600000&every=900000";
    let canned = Canned::new([(route.to_owned(), (200, json(answer)))].into());
    let span = [
        "telemetry",
        "cabinet-7",
        "--from",
        "2027-01-15T08:00",
        "--to",
        "2027-01-15T09:00",
        "--every",
        "15m",
    ];
    let output = edgectl(&canned.socket, &span);
    let screen = text(&output.stdout);
    assert!(screen.contains("2027-01-15 08:15:00Z") && screen.contains("4.050 °C"), "{screen}");
    for bad in [["--from", "yesterday"], ["--to", "2027-02-29"], ["--every", "0m"]] {
        let output = edgectl(&canned.socket, &[&["telemetry", "cabinet-7"][..], &bad].concat());
        assert_eq!(output.status.code(), Some(2), "{bad:?}");
        assert!(text(&output.stderr).contains("expected"), "{}", text(&output.stderr));
    }
}
