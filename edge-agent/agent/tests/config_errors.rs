//! Every complaint names file, line, column, key, expectation and finding.
#![allow(clippy::unwrap_used, reason = "fixtures of tests: failing here fails the test")]

use edge_agent::config::load;
use std::path::Path;

const GOOD: &str = "[store]
id = 1
currency = \"CNY\"
utc_offset_minutes = 480
[ledger]
dir = \"ledger\"
[api]
socket = \"edge.sock\"
listen = \"127.0.0.1:7070\"
";

fn complaints(dir: &Path, text: &str) -> String {
    let file = dir.join("store.toml");
    std::fs::write(&file, text).unwrap();
    let errors = load(&file).expect_err("the file is wrong");
    errors.to_string().replace(&dir.display().to_string(), "DIR")
}

#[test]
fn a_good_file_is_read_and_paths_are_relative_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.toml");
    std::fs::write(&file, GOOD).unwrap();
    let config = load(&file).unwrap();
    assert_eq!(config.ledger.dir, dir.path().join("ledger"));
    assert_eq!(config.store.id, 1);
    assert!(config.hq.is_none());
}

#[test]
fn complaints_name_place_key_expectation_and_finding() {
    let dir = tempfile::tempdir().unwrap();
    let table: &[(&str, &str, &str)] = &[
        ("id = 1\n", "id = \"one\"\n", "DIR/store.toml:2:6: store.id: expected u32, found string \"one\""),
        ("id = 1\n", "id = -1\n", "DIR/store.toml:2:6: store.id: expected u32, found integer `-1`"),
        (
            "id = 1\n",
            "id = 0\n",
            "DIR/store.toml:2:6: store.id: expected a store number from 1, found integer `0`",
        ),
        (
            "id = 1\n",
            "id = 1\nname = \"x\"\n",
            "DIR/store.toml:3:1: store.name: expected one of `id`, `currency`, `utc_offset_minutes`, found unknown key `name`",
        ),
        ("id = 1\n", "", "DIR/store.toml:1:1: store.id: expected a value, found nothing"),
        (
            "\"CNY\"",
            "\"yuan\"",
            "DIR/store.toml:3:12: store.currency: expected currency is three upper-case letters (ISO 4217), found string \"yuan\"",
        ),
        (
            "\"127.0.0.1:7070\"",
            "\"0.0.0.0:7070\"",
            "DIR/store.toml:9:10: api.listen: expected a loopback address such as 127.0.0.1:7070 (tills elsewhere come through a local proxy), found string \"0.0.0.0:7070\"",
        ),
        (
            "\"127.0.0.1:7070\"",
            "\"here\"",
            "DIR/store.toml:9:10: api.listen: expected invalid socket address syntax, found string \"here\"",
        ),
        ("id = 1\n", "id = 1\nid = 2\n", "DIR/store.toml:3:1: expected TOML, found duplicate key"),
        ("[api]", "[api", "DIR/store.toml:7:5: expected TOML, found unclosed table, expected `]`"),
    ];
    for (from, to, expected) in table {
        assert_eq!(complaints(dir.path(), &GOOD.replacen(from, to, 1)), *expected);
    }
}

#[test]
fn devices_are_checked_with_their_own_place() {
    let dir = tempfile::tempdir().unwrap();
    let cabinet = "[[cabinet]]\nid = \"cold-1\"\nw1 = \"28-0316a2794c1f\"\nhigh_mc = 5000\n";
    let table = [
        (
            "[[cabinet]]\nid = \"Cold 1\"\nw1 = \"28-0316a2794c1f\"\n",
            "DIR/store.toml:11:6: cabinet[0].id: expected 1 to 32 characters of a-z 0-9 -, found string \"Cold 1\"",
        ),
        (
            &format!("{cabinet}low_mc = 6000\n"),
            "DIR/store.toml:14:10: cabinet[0].low_mc: expected less than high_mc 5000, found integer `6000`",
        ),
        (
            &format!("{cabinet}{cabinet}"),
            "DIR/store.toml:15:6: cabinet[1].id: expected a name used once, found a second device of that name",
        ),
        (
            "[[steamer]]\nid = \"s-1\"\nbus = \"kitchen\"\nunit = 1\nprofile = \"x\"\n",
            "DIR/store.toml:12:7: steamer[0].bus: expected the id of a [[bus]], found kitchen",
        ),
        (
            "[channels]\nweb = 1001\n",
            "DIR/store.toml:11:7: channels.web: expected a share of 0 to 1000 thousandths, found integer `1001`",
        ),
        (
            "[profiles]\ndir = \"nowhere\"\n",
            "DIR/store.toml:11:7: profiles.dir: expected a folder of device profiles, found nothing at DIR/nowhere",
        ),
    ];
    for (more, expected) in table {
        assert_eq!(complaints(dir.path(), &format!("{GOOD}{more}")), expected);
    }
}

#[test]
fn all_rule_complaints_come_together() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{}[channels]\nweb = 2000\n", GOOD.replace("id = 1", "id = 0"));
    assert_eq!(complaints(dir.path(), &text).lines().count(), 2);
}

#[test]
fn drop_ins_merge_in_name_order_and_errors_name_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.toml");
    std::fs::write(&file, GOOD).unwrap();
    let drop_ins = dir.path().join("store.d");
    std::fs::create_dir(&drop_ins).unwrap();
    let probe = |id: &str| format!("[[cabinet]]\nid = \"{id}\"\nw1 = \"28-{id}\"\n");
    std::fs::write(drop_ins.join("20-b.toml"), format!("[store]\nid = 3\n{}", probe("b"))).unwrap();
    std::fs::write(drop_ins.join("10-a.toml"), format!("[store]\nid = 2\n{}", probe("a"))).unwrap();
    std::fs::write(drop_ins.join("notes.txt"), "not read").unwrap();
    let config = load(&file).unwrap();
    assert_eq!(config.store.id, 3);
    let ids: Vec<&str> = config.host.cabinet.iter().map(|cabinet| cabinet.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(config.files.len(), 3);
    std::fs::write(drop_ins.join("30-c.toml"), "store = 5\n").unwrap();
    let errors = load(&file).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR");
    assert_eq!(
        errors,
        "DIR/store.d/30-c.toml:1:9: store: expected the same type as at DIR/store.toml:1:1: table, found integer `5`"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nonexistent/store.toml")).unwrap_err().to_string();
    assert!(
        error.starts_with("/nonexistent/store.toml:1:1: expected a readable UTF-8 file, found "),
        "{error}"
    );
}

#[test]
fn identity_complaints_name_the_file_and_do_not_keep_the_store_from_trading() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.toml");
    let hq = "[hq]\nhost = \"hq.example\"\nport = 8883\n[hq.tls]\nca = \"ca.pem\"\ncert = \"store.pem\"\n";
    let errors = complaints(dir.path(), &format!("{GOOD}{hq}"));
    assert_eq!(errors, "DIR/store.toml:13:1: hq.tls.key: expected a value, found nothing");
    let hq = format!("{GOOD}{hq}key = \"store.key\"\n");
    let errors = complaints(dir.path(), &format!("{hq}pin = 1\n"));
    assert!(
        errors.ends_with("hq.tls.pin: expected one of `ca`, `cert`, `key`, found unknown key `pin`"),
        "{errors}"
    );

    std::fs::write(&file, &hq).unwrap();
    let config = load(&file).unwrap();
    let tls = config.hq.unwrap().tls.unwrap();
    assert_eq!(tls.key, dir.path().join("store.key"), "paths are relative to the main file");
    let [complaint] = &config.identity[..] else { panic!("{:?}", config.identity) };
    let complaint = complaint.to_string().replace(&dir.path().display().to_string(), "DIR");
    let expected = "DIR/store.toml:14:6: hq.tls.ca: expected CA, certificate and key that belong together, found DIR/ca.pem: expected a PEM block CERTIFICATE, found ";
    assert!(complaint.starts_with(expected), "{complaint}");

    // A certificate and key that belong together, and another store's.
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sync/mqtt/tests/identity");
    for (from, to) in [("foreign.pem", "ca.pem"), ("foreign.pem", "store.pem"), ("foreign.key", "store.key")]
    {
        std::fs::copy(foreign.join(from), dir.path().join(to)).unwrap();
    }
    let config = load(&file).unwrap();
    let complaint = config.identity[0].to_string();
    assert!(
        complaint.ends_with(
            "store.toml:15:8: hq.tls.cert: expected the certificate of store 1, found that of '4711'"
        ),
        "{complaint}"
    );
    std::fs::write(&file, hq.replacen("id = 1", "id = 4711", 1)).unwrap();
    assert_eq!(load(&file).unwrap().identity, []);
}
