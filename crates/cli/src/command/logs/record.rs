//! One line of the log as a person wants to read it.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::show::{Paint, Tone, clean};

/// `18:05:09 INFO  following a new leader leader=den epoch=3`; a line that is no record is shown as it is.
pub(super) fn for_people(line: &[u8], zone: &TimeZone, paint: Paint) -> String {
    let Ok(record) = serde_json::from_slice::<Map<String, Value>>(line) else {
        return clean(&String::from_utf8_lossy(line));
    };
    let field = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or("");
    let time = match field("ts").parse::<jiff::Timestamp>() {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%m-%d %H:%M:%S").to_string(),
        Err(_) => clean(field("ts")),
    };
    let level = clean(field("level"));
    let tone = match level.as_str() {
        "ERROR" | "CRITICAL" => Tone::Bad,
        "WARN" | "WARNING" => Tone::Warning,
        "DEBUG" | "TRACE" => Tone::Faint,
        _ => Tone::Plain,
    };
    let mut text = format!(
        "{} {} {}",
        paint.paint(Tone::Faint, &time),
        paint.paint(tone, &format!("{level:<5}")),
        clean(field("msg"))
    );
    for (name, value) in &record {
        if ["ts", "level", "logger", "msg"].contains(&name.as_str()) {
            continue;
        }
        let value = match value {
            Value::String(text) if text.is_empty() || text.contains(' ') => format!("{:?}", clean(text)),
            Value::String(text) => clean(text),
            other => clean(&other.to_string()),
        };
        text.push_str(&paint.paint(Tone::Faint, &format!(" {}={value}", clean(name))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_readable_line() {
        for (line, shown) in [
            (
                r#"{"ts":"2026-01-02T03:04:05.678+00:00","level":"INFO","logger":"node","msg":"listening","port":11435}"#,
                "01-02 03:04:05 INFO  listening port=11435",
            ),
            (
                r#"{"ts":"2026-01-02T03:04:05Z","level":"WARN","logger":"a","msg":"odd","why":"not now","x":"\u001b[2J"}"#,
                r#"01-02 03:04:05 WARN  odd why="not now" x=[2J"#,
            ),
            (r#"{"ts":"then","msg":"x"}"#, "then       x"),
            ("Traceback (most recent call last):", "Traceback (most recent call last):"),
            ("[1]", "[1]"),
            ("\u{1b}[31mred", "[31mred"),
        ] {
            assert_eq!(for_people(line.as_bytes(), &TimeZone::UTC, Paint { on: false }), shown);
        }
    }
}
