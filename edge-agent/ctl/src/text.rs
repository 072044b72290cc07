//! Integers with units as people read them. No floats.

/// Thousandths of a degree as degrees with one place, rounded half away from zero.
pub(crate) fn celsius(mc: i32) -> String {
    let tenths = (i64::from(mc).abs() + 50) / 100;
    let sign = if mc < 0 && tenths > 0 { "-" } else { "" };
    format!("{sign}{}.{} °C", tenths / 10, tenths % 10)
}

/// Minor units with two places.
pub(crate) fn money(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", minor.unsigned_abs() / 100, minor.unsigned_abs() % 100)
}

/// Thousandths with three places.
pub(crate) fn milli(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", value.unsigned_abs() / 1000, value.unsigned_abs() % 1000)
}

/// Bytes in the unit that leaves 1 to 4 digits.
pub(crate) fn bytes(count: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB"] {
        if count / unit < 1024 {
            let tenths = (count % unit) * 10 / unit;
            return if unit == 1 {
                format!("{count} B")
            } else {
                format!("{}.{tenths} {name}", count / unit)
            };
        }
        unit *= 1024;
    }
    format!("{} TiB", count / unit)
}

/// Seconds as the two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// How long ago, by the daemon's clock.
pub(crate) fn ago(then_ms: i64, now_ms: i64) -> String {
    match u64::try_from(now_ms.saturating_sub(then_ms)) {
        Ok(ms) => format!("{} ago", duration(ms / 1000)),
        Err(_) => "in the future".to_owned(),
    }
}

/// Unix milliseconds as `YYYY-MM-DD HH:MM:SSZ` (days to civil after H. Hinnant).
pub(crate) fn utc(ms: i64) -> String {
    let (day, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1000);
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// `30s`, `15m`, `1h` or `2d` in milliseconds.
pub(crate) fn span(text: &str) -> Option<i64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u32>().ok().map(|number| i64::from(number) * unit)
}

/// `now`, a span before it, `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM[:SS][Z]` (UTC) as Unix milliseconds.
pub(crate) fn instant(text: &str, now_ms: i64) -> Option<i64> {
    if text == "now" {
        return Some(now_ms);
    }
    if let Some(ago) = span(text) {
        return Some(now_ms.saturating_sub(ago));
    }
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let number = |text: &str, digits: usize| {
        let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        if plain { text.parse::<i64>().ok() } else { None }
    };
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |text| number(text, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Civil to days after H. Hinnant; the way back refuses what is no date.
    let shifted = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = shifted.0.div_euclid(400);
    let of_era = shifted.0.rem_euclid(400);
    let of_year = (153 * shifted.1 + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let ms = days * 86_400_000 + (hour * 3_600 + minute * 60 + second) * 1_000;
    utc(ms).starts_with(date).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [celsius(4_250), celsius(-18_049), celsius(-49), celsius(0)],
            ["4.3 °C", "-18.0 °C", "0.0 °C", "0.0 °C"]
        );
        assert_eq!(
            [money(1_250), money(-5), milli(-250), milli(1_001)],
            ["12.50", "-0.05", "-0.250", "1.001"]
        );
        assert_eq!(
            [bytes(999), bytes(1_536), bytes(5 << 20), bytes(3 << 40)],
            ["999 B", "1.5 KiB", "5.0 MiB", "3 TiB"]
        );
        assert_eq!(
            [duration(59), duration(61), duration(7_260), duration(90_000)],
            ["59 s", "1 min 1 s", "2 h 1 min", "1 d 1 h"]
        );
        assert_eq!([ago(1_000, 61_000), ago(2, 1)], ["1 min 0 s ago", "in the future"]);
        assert_eq!([utc(0), utc(1_800_000_000_000)], ["1970-01-01 00:00:00Z", "2027-01-15 08:00:00Z"]);
        assert_eq!(celsius(i32::MIN), "-2147483.6 °C");
    }

    #[test]
    fn times_are_read_back() {
        for ms in [0, 951_782_400_000, 1_709_164_800_000, 1_800_000_000_000] {
            assert_eq!(instant(&utc(ms), 0), Some(ms), "{}", utc(ms));
        }
        assert_eq!(instant("2027-01-15", 0), Some(1_799_971_200_000));
        assert_eq!(instant("2027-01-15T08:00", 0), Some(1_800_000_000_000));
        assert_eq!([instant("now", 7), instant("1d", 86_400_007)], [Some(7), Some(7)]);
        for bad in
            ["", "d", "-1d", "2027-02-29", "2027-13-01", "2027-1-1", "2027-01-15T24:00", "15:00", "é", "1 h"]
        {
            assert_eq!(instant(bad, 0), None, "{bad}");
        }
        assert_eq!(
            [span("15m"), span("2h"), span("99999999999s"), span("5")],
            [Some(900_000), Some(7_200_000), None, None]
        );
    }
}
