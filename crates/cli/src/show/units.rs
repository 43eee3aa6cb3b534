//! Numbers as people say them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `1.1 GB`: decimal units, as Ollama shows sizes.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" || value >= 99.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `84 ms`, `2.3 s`, `4 min 10 s`.
pub(crate) fn duration_ms(ms: f64) -> String {
    if !ms.is_finite() || ms < 0.0 {
        "–".to_owned()
    } else if ms < 9.95 {
        format!("{ms:.1} ms")
    } else if ms < 999.5 {
        format!("{ms:.0} ms")
    } else if ms < 99_950.0 {
        format!("{:.1} s", ms / 1000.0)
    } else {
        // A float beyond u64 saturates in the cast.
        span_s((ms / 1000.0).round() as u64)
    }
}

/// `45 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn span_s(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {smaller}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => pair(minutes, "min", seconds % 60, "s"),
        (0, _, _) => pair(hours, "h", minutes % 60, "min"),
        _ => pair(days, "d", hours % 24, "h"),
    }
}

/// How long ago `unix_s` was at `now_ms`: `just now`, `5 min ago`, `3 d ago`.
pub(crate) fn age(unix_s: f64, now_ms: u64) -> String {
    // Clocks of two programs on one machine differ by less than this; older than 1970 saturates in the cast.
    let seconds = (now_ms as f64 / 1000.0 - unix_s).max(0.0) as u64;
    match seconds {
        0..=4 => "just now".to_owned(),
        5..=59 => format!("{seconds} s ago"),
        60..=3599 => format!("{} min ago", seconds / 60),
        3600..=86_399 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// `1234`, `12.3k`, `1.2M`: tokens of a context or a prompt.
pub(crate) fn tokens(number: u64) -> String {
    match number {
        0..=9_999 => number.to_string(),
        10_000..=999_499 => format!("{:.0}k", number as f64 / 1000.0),
        _ => format!("{:.1}M", number as f64 / 1_000_000.0),
    }
}

/// `120 tokens/s`.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 9.95 { format!("{per_second:.1} tokens/s") } else { format!("{per_second:.0} tokens/s") }
}

/// `2026-12-24 18:05:09` of `unix_s`, in `zone`.
pub(crate) fn date_time(unix_s: f64, zone: &TimeZone) -> Option<String> {
    zoned(unix_s, zone, "%Y-%m-%d %H:%M:%S")
}

/// `18:05:09` of `unix_s`, in `zone`.
pub(crate) fn clock_time(unix_s: f64, zone: &TimeZone) -> Option<String> {
    zoned(unix_s, zone, "%H:%M:%S")
}

fn zoned(unix_s: f64, zone: &TimeZone, format: &str) -> Option<String> {
    // Beyond what a timestamp can be, the cast saturates and the conversion says no.
    let moment = Timestamp::from_millisecond((unix_s * 1000.0) as i64).ok()?;
    Some(moment.to_zoned(zone.clone()).strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (number, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_100_000_000, "1.1 GB"),
            (999_960_000, "1.0 GB"),
            (123_456_789_000, "123 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(bytes(number), shown, "{number}");
        }
    }

    #[test]
    fn durations_read_well() {
        for (ms, shown) in [
            (0.0, "0.0 ms"),
            (4.24, "4.2 ms"),
            (84.4, "84 ms"),
            (999.6, "1.0 s"),
            (2345.0, "2.3 s"),
            (99_949.0, "99.9 s"),
            (250_000.0, "4 min 10 s"),
            (f64::NAN, "–"),
            (-1.0, "–"),
        ] {
            assert_eq!(duration_ms(ms), shown, "{ms}");
        }
        for (seconds, shown) in [(0, "0 s"), (60, "1 min"), (7500, "2 h 5 min"), (86_400, "1 d"), (273_600, "3 d 4 h")]
        {
            assert_eq!(span_s(seconds), shown, "{seconds}");
        }
    }

    #[test]
    fn ages_and_times_hold_for_any_number() {
        for (then, shown) in [(100.0, "just now"), (40.0, "1 min ago"), (1e300, "just now"), (f64::NAN, "just now")] {
            assert_eq!(age(then, 100_000), shown, "{then}");
        }
        assert_eq!(date_time(0.0, &TimeZone::UTC).as_deref(), Some("1970-01-01 00:00:00"));
        assert_eq!(clock_time(1e300, &TimeZone::UTC), None);
    }

    #[test]
    fn tokens_read_well() {
        for (number, shown) in [(4096, "4096"), (131_072, "131k"), (1_048_576, "1.0M")] {
            assert_eq!(tokens(number), shown);
        }
    }
}
