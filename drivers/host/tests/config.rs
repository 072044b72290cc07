//! What the configuration refuses, and in which words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use drv_host::config::ParityKind;
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
            "profile: expected one of: autonics-tk, carel-ir33plus, danfoss-ak-cc55",
        ),
        (bus.to_owned() + &cabinet.replace("unit = 1", "unit = 0"), "unit: expected 1 to 247, found 0"),
        (
            scale.to_owned() + &scale.replace("\"s\"", "\"s2\""),
            "port: expected a port with one owner, found owner s",
        ),
        (scale.replace("5\n", "0\n"), "interval_g"),
        (scale.to_owned() + "speed = 3\n", "unknown field `speed`"),
        (
            scale.replace("toledo-8217", "toledo"),
            "unknown scale protocol `toledo`, expected one of: toledo-8217, enq-dc1, os2x, mt-sics,",
        ),
        (
            scale.to_owned() + "bcc = \"xor\"\n",
            "unknown value `xor`, expected one of: content, frame, either",
        ),
        (
            scale.to_owned() + "bcc = \"frame\"\n",
            "[[scale]] s: bcc: expected what toledo-8217 takes, found bcc: protocol toledo-8217 has no such setting",
        ),
        (scale.to_owned() + "unit = \"oz\"\n", "unit: protocol toledo-8217 expects kg or lb"),
        (scale.replace("toledo-8217", "cas-10"), "unit: protocol cas-10 expects kg, g, lb or oz"),
        (
            scale.replace("toledo-8217", "cas-22") + "data_bits = 7\n",
            "data_bits: expected 8: cas-22 needs every bit, found 7",
        ),
        (
            scale.replace("toledo-8217", "cas-22") + "reading = \"asked\"\n",
            "reading: protocol cas-22 expects sent",
        ),
        (tag.to_owned(), "a [ble] table"),
        (tag.replace("FF:FF", "GG:FF") + "[ble]\n", "six hex bytes"),
        ("[[cabinet]]\nid = \"c\"\nw1 = \"../etc\"\n".to_owned(), "a sensor folder"),
        ("[[cabinet]]\nid = \"c\"\nw1 = \"29-0316a2794c1f\"\n".to_owned(), "families 10, 22, 28, 3b, 42"),
        ("[w1]\nresolution = 13\n".to_owned(), "resolution: expected 9 to 12, found 13"),
        ("[[cabinet]]\nid = \"c\"\n".to_owned(), "either bus + unit + profile or w1"),
        ("[[bus]]\nid = \"b\"\nkind = \"modbus-rtu\"\n".to_owned(), "a serial device path"),
    ] {
        let found = refusal(&text);
        assert!(found.contains(words), "expected `{words}` in: {found}");
    }
}

#[test]
fn the_line_is_the_protocols_unless_the_configuration_says_otherwise() {
    let line = |protocol: &str, more: &str| {
        let text = format!(
            "[[scale]]\nid = \"s\"\nprotocol = \"{protocol}\"\nport = \"/dev/x\"\ninterval_g = 5\ncapacity_g = 1\n{more}"
        );
        let config: HostConfig = toml::from_str(&text).unwrap();
        let line = config.scale[0].line();
        (line.baud, line.data_bits, line.parity, line.stop_bits, line.min_gap_ms)
    };
    assert_eq!(line("toledo-8217", ""), (9600, 7, ParityKind::Even, 1, 200));
    assert_eq!(line("dialog-06", ""), (9600, 7, ParityKind::Odd, 1, 200));
    assert_eq!(line("os2x", ""), (9600, 8, ParityKind::None, 1, 50));
    let all = "baud = 4800\ndata_bits = 8\nparity = \"odd\"\nstop_bits = 2\nmin_gap_ms = 7\n";
    assert_eq!(line("dialog-06", all), (4800, 8, ParityKind::Odd, 2, 7));
}

#[test]
fn chips_and_advertising_sensors_are_checked() {
    let bus = "[[i2c]]\nid = \"room\"\npath = \"/dev/i2c-1\"\n";
    let chip = "[[cabinet]]\nid = \"c\"\ni2c = { bus = \"room\", address = 0x44, chip = \"sht3x\" }\n";
    let sensor = "[[cabinet]]\nid = \"b\"\n\
        ble = { address = \"A4:C1:38:00:11:22\", format = \"bthome\", key_file = \"/etc/key\" }\n";
    assert_eq!(refusal(&(bus.to_owned() + chip + sensor + "[ble]\n")), "accepted");
    for (text, words) in [
        (chip.to_owned(), "i2c.bus: expected the id of an [[i2c]], found room"),
        (bus.to_owned() + bus, "[[i2c]] room: id"),
        (bus.to_owned() + &bus.replace("room", "hall"), "[[i2c]] hall: path"),
        (bus.to_owned() + &chip.replace("0x44", "0x48"), "sht3x has an address from 0x44 to 0x45, not 0x48"),
        (bus.to_owned() + &chip.replace("sht3x", "sht9x"), "unknown variant `sht9x`"),
        (bus.to_owned() + chip + &chip.replace("\"c\"", "\"d\""), "0x44, which c takes"),
        (sensor.to_owned(), "ble: expected a [ble] table for the sensor"),
        (sensor.replace("A4:", "") + "[ble]\n", "six hex bytes"),
        (sensor.replace("bthome", "pvvx") + "[ble]\n", "a format that encrypts"),
        (sensor.to_owned() + &sensor.replace("\"b\"", "\"d\"") + "[ble]\n", "an address used once"),
        (sensor.to_owned() + "w1 = \"28-0316a2794c1f\"\n[ble]\n", "another combination"),
    ] {
        let found = refusal(&text);
        assert!(found.contains(words), "expected `{words}` in: {found}");
    }
}
