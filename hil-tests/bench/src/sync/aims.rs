//! What the numbers should be.

use serde_json::{Map, Value, json};

/// Key, whether larger is better, and the limit.
const AIMS: [(&str, bool, f64); 8] = [
    ("bulk_bytes_per_event", false, 2.5),
    ("live_bytes_per_event_socket", false, 20.0),
    ("catchup_30d_seconds_1mbit", false, 10.0),
    ("hq_sqlite_events_per_s", true, 100_000.0),
    ("hq_sqlite_ratio_bare", true, 0.7),
    ("hq_postgres_ratio_copy", true, 0.5),
    ("stored_bytes_per_event", false, 25.0),
    ("verify_events_per_s", true, 1_000_000.0),
];

/// The aims of what was measured, and the keys of those that are missed.
pub(super) fn judge(found: &Map<String, Value>) -> (Value, Vec<&'static str>) {
    let (mut aims, mut missed) = (Map::new(), Vec::new());
    for (key, more, limit) in AIMS {
        let Some(value) = found.get(key).and_then(Value::as_f64) else { continue };
        let met = if more { value >= limit } else { value <= limit };
        aims.insert(key.to_owned(), json!({"limit": limit, "at_least": more, "met": met}));
        if !met {
            missed.push(key);
        }
    }
    (Value::Object(aims), missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aim_is_met_on_its_side_of_the_limit_and_what_was_not_measured_is_not_judged() {
        let found =
            json!({"bulk_bytes_per_event": 2.5, "hq_sqlite_ratio_bare": 0.69, "verify_events_per_s": 1.0e6});
        let Value::Object(found) = found else { unreachable!("an object was written") };
        let (aims, missed) = judge(&found);
        assert_eq!(missed, ["hq_sqlite_ratio_bare"]);
        assert_eq!(aims.as_object().map(Map::len), Some(3));
    }
}
