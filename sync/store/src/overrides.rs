//! Overrides that people may write into registers, at the store or at HQ: names, values, and what stands in the end.
//!
//! | Name | Value | Read as |
//! |---|---|---|
//! | `threshold/DEVICE/high`, `threshold/DEVICE/low` | thousandths of a degree Celsius, or cleared | all that stand |
//! | `note/ANYTHING` | words, or cleared | the last one |
//!
//! Two people who set a threshold without knowing of each other leave both values standing, and a conflict in the inbox.
//! Until somebody settles it by writing again, the stricter one counts: food is warmer than it should be for both.
//! Facts with other names are folded all the same: a newer version may know more of them.

use crate::inbox::RegisterRow;
use crate::{Refusal, rows::Answer};
use std::collections::BTreeMap;
use sync_model::{DeviceId, MilliCelsius, RegisterValue, Text};

/// Range of thresholds: colder and warmer than anything a store keeps food at.
const CELSIUS_MAX: i64 = 150_000;

/// Which limit of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// The warmest allowed.
    High,
    /// The coldest allowed.
    Low,
}

/// What an override is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Override {
    /// A limit of a device.
    Threshold(DeviceId, Bound),
    /// A note.
    Note(String),
}

impl Override {
    /// Reads a register's name.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(note) = name.strip_prefix("note/") {
            return (!note.is_empty()).then(|| Self::Note(note.to_owned()));
        }
        let (device, bound) = name.strip_prefix("threshold/")?.rsplit_once('/')?;
        let bound = match bound {
            "high" => Bound::High,
            "low" => Bound::Low,
            _ => return None,
        };
        Some(Self::Threshold(DeviceId::new(device).ok()?, bound))
    }

    /// Checks what a person wants to write: name and value.
    pub fn check(name: &str, value: &RegisterValue) -> Result<(Self, Text<64>), Refusal> {
        let bad = |detail: String| Refusal::new("bad-override", detail);
        let expected = "expected threshold/DEVICE/high, threshold/DEVICE/low or note/WORDS";
        let about = Self::parse(name)
            .ok_or_else(|| bad(format!("name: {expected}, found '{}'", Text::<40>::lossy(name))))?;
        let named = Text::new(name).map_err(|error| bad(format!("name: {error}")))?;
        let fits = match (&about, value) {
            (_, RegisterValue::Cleared) | (Self::Note(_), RegisterValue::Note(_)) => true,
            (Self::Threshold(..), RegisterValue::Number(number)) => {
                number.unsigned_abs() <= CELSIUS_MAX.unsigned_abs()
            }
            _ => false,
        };
        if !fits {
            let wanted = match about {
                Self::Note(_) => "words".to_owned(),
                Self::Threshold(..) => {
                    format!("a number of -{CELSIUS_MAX} to {CELSIUS_MAX} (thousandths of a degree Celsius)")
                }
            };
            let found = match value {
                RegisterValue::Number(number) => format!("number {number}"),
                RegisterValue::Note(_) => "words".to_owned(),
                RegisterValue::Cleared => "nothing".to_owned(),
            };
            return Err(bad(format!("value: expected {wanted} or cleared, found {found}")));
        }
        Ok((about, named))
    }
}

/// Limits of one device that people have set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// The warmest allowed; `None`: as configured.
    pub high: Option<MilliCelsius>,
    /// The coldest allowed.
    pub low: Option<MilliCelsius>,
    /// Whether the configured limit stands beside the one set (somebody cleared it, somebody else set it).
    pub or_configured: bool,
}

impl Thresholds {
    /// The limits in force: what people set, and what is configured where they set nothing; of several the strictest.
    pub fn over(
        &self,
        low: Option<MilliCelsius>,
        high: Option<MilliCelsius>,
    ) -> (Option<MilliCelsius>, Option<MilliCelsius>) {
        let beside = |configured: Option<MilliCelsius>| configured.filter(|_| self.or_configured);
        let tighter_high = [self.high, beside(high)].into_iter().flatten().min();
        let tighter_low = [self.low, beside(low)].into_iter().flatten().max();
        let pick =
            |own: Option<MilliCelsius>, tighter, configured| if own.is_some() { tighter } else { configured };
        (pick(self.low, tighter_low, low), pick(self.high, tighter_high, high))
    }
}

/// Thresholds that stand, by device.
pub fn thresholds(registers: &[RegisterRow]) -> BTreeMap<DeviceId, Thresholds> {
    let mut found: BTreeMap<DeviceId, Thresholds> = BTreeMap::new();
    for row in registers {
        let Some(Override::Threshold(device, bound)) = Override::parse(&row.name) else { continue };
        let numbers = row.values.iter().filter_map(|value| match value {
            // A number that no thermometer shows is no limit, wherever it came from.
            RegisterValue::Number(number) if number.unsigned_abs() <= CELSIUS_MAX.unsigned_abs() => {
                i32::try_from(*number).ok().map(MilliCelsius)
            }
            _ => None,
        });
        let limit = match bound {
            Bound::High => numbers.min(),
            Bound::Low => numbers.max(),
        };
        let Some(limit) = limit else { continue };
        let entry = found.entry(device).or_default();
        entry.or_configured |= row.values.contains(&RegisterValue::Cleared);
        match bound {
            Bound::High => entry.high = Some(limit),
            Bound::Low => entry.low = Some(limit),
        }
    }
    found
}

impl crate::Reader {
    /// Thresholds that stand in a store, by device.
    pub fn thresholds(&self, store: sync_model::StoreId) -> Answer<BTreeMap<DeviceId, Thresholds>> {
        Ok(thresholds(&self.registers(store)?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;
    use RegisterValue::{Cleared, Note, Number};

    fn row(name: &str, values: Vec<RegisterValue>) -> RegisterRow {
        RegisterRow { name: name.to_owned(), values }
    }

    #[test]
    fn names_and_values_that_nothing_reads_are_refused_by_name() {
        let note = Note(Text::new("door seal").unwrap());
        for (name, value) in [
            ("threshold/cabinet-1/high", Number(5_000)),
            ("threshold/cabinet-1/low", Number(-22_000)),
            ("threshold/cabinet-1/high", Cleared),
            ("note/shift/early", note.clone()),
            ("note/x", Cleared),
        ] {
            Override::check(name, &value).unwrap();
        }
        for (name, value, part) in [
            ("threshold/cabinet-1/warm", Number(1), "name: "),
            ("threshold/high", Number(1), "name: "),
            ("threshold//high", Number(1), "name: "),
            ("note/", note.clone(), "name: "),
            ("price/1001", Number(1), "name: "),
            ("", Cleared, "name: "),
            ("threshold/cabinet-1/high", Number(150_001), "value: "),
            ("threshold/cabinet-1/high", Number(i64::MIN), "value: "),
            ("threshold/cabinet-1/high", note, "value: "),
            ("note/x", Number(1), "value: "),
        ] {
            let refusal = Override::check(name, &value).unwrap_err();
            assert_eq!(refusal.code, "bad-override");
            assert!(refusal.detail.starts_with(part), "{name}: {}", refusal.detail);
        }
        assert!(Override::check(&format!("note/{}", "x".repeat(80)), &Cleared).is_err());
    }

    #[test]
    fn of_several_values_the_strictest_counts() {
        let limits = |rows: &[RegisterRow]| {
            let found = thresholds(rows);
            let own = found.get(&DeviceId::new("cabinet-1").unwrap()).copied().unwrap_or_default();
            let (low, high) = own.over(Some(MilliCelsius(0)), Some(MilliCelsius(5_000)));
            (low.unwrap().0, high.unwrap().0)
        };
        assert_eq!(limits(&[]), (0, 5_000));
        let high = |values| row("threshold/cabinet-1/high", values);
        assert_eq!(limits(&[high(vec![Number(7_000)])]), (0, 7_000));
        assert_eq!(limits(&[high(vec![Number(7_000), Number(6_000)])]), (0, 6_000));
        assert_eq!(
            limits(&[high(vec![Cleared, Number(7_000)])]),
            (0, 5_000),
            "the configured one stands, too"
        );
        assert_eq!(limits(&[high(vec![Cleared, Number(4_000)])]), (0, 4_000));
        assert_eq!(limits(&[high(vec![Cleared])]), (0, 5_000));
        let low = row("threshold/cabinet-1/low", vec![Number(-1_000), Number(1_000)]);
        assert_eq!(limits(&[low.clone(), high(vec![Number(3_000)])]), (1_000, 3_000));
        assert_eq!(limits(&[row("threshold/cabinet-2/high", vec![Number(1)]), low]), (1_000, 5_000));
        assert_eq!(limits(&[high(vec![Number(i64::MAX)])]), (0, 5_000));
    }
}
