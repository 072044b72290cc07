//! What the configuration refuses, and in which words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use drv_host::{HostConfig, HostError};

fn refusal(text: &str) -> String {
    let config: HostConfig = match toml::from_str(text) {
        Ok(config) => config,
        Err(error) => return error.to_string(),
    };
    match config.check(&support::profiles()) {
        Ok(()) => "accepted".to_owned(),
        Err(error @ HostError::Config { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn tags_of_every_family_are_checked() {
    let key = "0".repeat(48);
    let ble = format!("[ble]\nsync_key = \"{key}\"\nconnections = 4\n");
    let label = format!(
        "[[tag]]\nid = \"l\"\naddress = \"FF:FF:92:00:00:02\"\nsku = 1\nfamily = \"esl\"\nesl = {{ id = 5, group = 1 }}\n\
         response_key = \"{key}\"\n"
    );
    let tag = "[[tag]]\nid = \"t\"\naddress = \"FF:FF:92:00:00:01\"\nmodel = 11\nsku = 1\n";
    let oepl = tag.to_owned() + "family = \"oepl\"\ninverted = true\nscan = \"rows-upward\"\n";
    assert_eq!(refusal(&(ble.clone() + &label + &oepl)), "accepted");
    let packed = tag.to_owned() + "encoding = \"chunks\"\nheader = \"following\"\n";
    assert_eq!(refusal(&(ble.clone() + &packed)), "accepted");
    assert_eq!(refusal(&(ble.clone() + tag + "encoding = \"auto\"\n")), "accepted");
    let second = label.replace("\"l\"", "\"m\"").replace(":02\"", ":03\"");
    for (text, words) in [
        (tag.replace("model = 11\n", ""), "model: expected the model number that the tag advertises"),
        (tag.to_owned() + "esl = { id = 1 }\n", "family: expected esl for a tag with esl"),
        (label.clone() + "inverted = true\n", "family: expected gicisky or oepl"),
        (oepl + "header = \"plane\"\n", "header: expected nothing"),
        (label.replace("id = 5,", "id = 255,"), "esl.id: expected 0 to 254, found 255"),
        (label.replace("group = 1", "group = 128"), "esl.group: expected 0 to 127, found 128"),
        (label.replace(&key, "0123"), "response_key: expected 48 hex digits"),
        (label.clone() + &second, "a number used once in its group, found the address of l"),
        (tag.to_owned() + "family = \"hanshow\"\n", "unknown variant `hanshow`"),
    ] {
        let found = refusal(&(ble.clone() + &text));
        assert!(found.contains(words), "expected `{words}` in: {found}");
        assert!(!found.contains(&key), "a key is never printed: {found}");
    }
    assert!(refusal(&("[ble]\n".to_owned() + &label)).contains("sync_key: expected 48 hex digits"));
    assert!(refusal(&ble.replace("= 4", "= 17")).contains("connections: expected 1 to 16, found 17"));
    assert!(refusal(&(ble + "canary_ms = 10\n")).contains("canary_ms: expected 500 to 86400000"));
}

#[test]
fn contradictions_are_refused_with_table_key_and_expectation() {
    let bus = "[[bus]]\nid = \"b\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:1502\"\n";
    let cabinet = "[[cabinet]]\nid = \"c\"\nbus = \"b\"\nunit = 1\nprofile = \"danfoss-ak-cc55\"\n";
    let scale = "[[scale]]\nid = \"s\"\nprotocol = \"toledo-8217\"\nport = \"/dev/x\"\ninterval_g = 5\ncapacity_g = 15000\n";
    let steamer = "[[steamer]]\nid = \"st\"\nbus = \"b\"\nunit = 10\nprofile = \"steamer-e5cc\"\n";
    let tag = "[[tag]]\nid = \"t\"\naddress = \"FF:FF:92:00:00:01\"\nmodel = 11\nsku = 1\n";
    assert_eq!(refusal(&(bus.to_owned() + cabinet + scale + steamer)), "accepted");
    for (text, words) in [
        (bus.to_owned() + bus, "[[bus]] b: id"),
        (cabinet.to_owned(), "[[cabinet]] c: bus: expected the id of a [[bus]]"),
        (bus.to_owned() + cabinet + &cabinet.replace("\"c\"", "\"d\""), "unit 1, which c takes"),
        (bus.to_owned() + steamer + &cabinet.replace("unit = 1", "unit = 11"), "unit 11, which"),
        (
            bus.to_owned() + &cabinet.replace("danfoss-ak-cc55", "nothing"),
            "profile: expected one of: danfoss",
        ),
        (bus.to_owned() + &cabinet.replace("unit = 1", "unit = 0"), "unit: expected 1 to 247, found 0"),
        (
            scale.to_owned() + &scale.replace("\"s\"", "\"s2\""),
            "port: expected a port with one owner, found owner s",
        ),
        (scale.replace("5\n", "0\n"), "interval_g"),
        (scale.to_owned() + "speed = 3\n", "unknown field `speed`"),
        (tag.to_owned(), "a [ble] table"),
        (tag.replace("FF:FF", "GG:FF") + "[ble]\n", "six hex bytes"),
        ("[[cabinet]]\nid = \"c\"\nw1 = \"../etc\"\n".to_owned(), "a sensor folder"),
        ("[[cabinet]]\nid = \"c\"\n".to_owned(), "either bus + unit + profile or w1"),
        ("[[bus]]\nid = \"b\"\nkind = \"modbus-rtu\"\n".to_owned(), "a serial device path"),
    ] {
        let found = refusal(&text);
        assert!(found.contains(words), "expected `{words}` in: {found}");
    }
}
