//! Reads Ollama's `keep_alive`.

use std::time::Duration;

use bytes::Bytes;
use proto::{Api, KeepAlive};

use crate::heartbeat::rfc3339;
use crate::{Cause, Failure, json_string};

/// The longest stay that is told from "for ever": as long as Go's durations go.
const MOST: f64 = 9_223_372_036.0;

/// What the JSON `value` of a `keep_alive` wishes: seconds as a number or a duration in Go's words; negative ones mean for
/// ever. `None` for `null`.
///
/// Fails with 400 and Ollama's own words where it is neither (measured November 2026 on Ollama 0.33.0-rc2).
pub fn keep_alive(value: &[u8]) -> Result<Option<KeepAlive>, Failure> {
    let bad = |text: String| Failure::new(Cause::BadRequest, text);
    let unsupported = |kind: &str| bad(format!("Unsupported type: '{kind}'"));
    let seconds = match value.first() {
        None | Some(b'n') => return Ok(None),
        Some(b'"') => {
            let text: String = serde_json::from_slice(value).map_err(|_| bad("time: invalid duration".to_owned()))?;
            go_seconds(&text).map_err(bad)?
        }
        Some(b't' | b'f') => return Err(unsupported("bool")),
        Some(b'{') => return Err(unsupported("map[string]interface {}")),
        Some(b'[') => return Err(unsupported("[]interface {}")),
        // Whole seconds: fractions are cut off.
        Some(_) => std::str::from_utf8(value).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0).trunc(),
    };
    Ok(Some(match seconds {
        seconds if !(0.0..MOST).contains(&seconds) => KeepAlive::Forever,
        0.0 => KeepAlive::Unload,
        seconds => KeepAlive::For(Duration::from_secs_f64(seconds)),
    }))
}

/// Ollama's answer to an empty prompt with `keep_alive: 0`, at `unix_ms` milliseconds since 1970: `model` is unloaded.
/// `client` is `/api/chat` or `/api/generate`.
pub fn unloaded(client: Api, model: &str, unix_ms: u64) -> Bytes {
    let empty = match client {
        Api::OllamaChat => r#""message":{"role":"assistant","content":""}"#,
        _ => r#""response":"""#,
    };
    let (model, at) = (json_string(model), rfc3339(unix_ms));
    let rest = format!(r#","created_at":"{at}",{empty},"done":true,"done_reason":"unload"}}"#);
    [b"{\"model\":", &model[..], rest.as_bytes()].concat().into()
}

/// Seconds of a duration as Go's `time.ParseDuration` reads it. The error is in its words.
fn go_seconds(text: &str) -> Result<f64, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {}", quoted(text))),
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            unknown => return Err(format!("time: unknown unit {} in duration {}", quoted(unknown), quoted(text))),
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    Ok(sign * seconds)
}

/// Of a text that goes into an error, at most 64 characters.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_ollama_reads_them() {
        let stay = |seconds| Some(KeepAlive::For(Duration::from_secs_f64(seconds)));
        for (value, wish) in [
            ("null", None),
            ("0", Some(KeepAlive::Unload)),
            ("0.9", Some(KeepAlive::Unload)),
            ("\"0\"", Some(KeepAlive::Unload)),
            ("\"0s\"", Some(KeepAlive::Unload)),
            ("300", stay(300.0)),
            ("5.5", stay(5.0)),
            ("1e3", stay(1000.0)),
            ("-1", Some(KeepAlive::Forever)),
            ("-1.0", Some(KeepAlive::Forever)),
            ("1e300", Some(KeepAlive::Forever)),
            ("\"-1m\"", Some(KeepAlive::Forever)),
            ("\"5m\"", stay(300.0)),
            ("\"1h30m\"", stay(5400.0)),
            ("\"1.5h\"", stay(5400.0)),
            ("\"250ms\"", stay(0.25)),
            ("\"+2s\"", stay(2.0)),
        ] {
            assert_eq!(keep_alive(value.as_bytes()), Ok(wish), "{value}");
        }
    }

    #[test]
    fn an_unload_is_told_as_ollama_tells_it() {
        let chat = r#"{"model":"a\"b","created_at":"1970-01-01T00:00:00.000Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"unload"}"#;
        assert_eq!(unloaded(Api::OllamaChat, "a\"b", 0), chat);
        let generate =
            r#"{"model":"m","created_at":"1970-01-01T00:00:00.000Z","response":"","done":true,"done_reason":"unload"}"#;
        assert_eq!(unloaded(Api::OllamaGenerate, "m", 0), generate);
    }

    #[test]
    fn what_is_no_duration_is_refused_in_ollamas_words() {
        for (value, words) in [
            ("\"300\"", "time: missing unit in duration \"300\""),
            ("\"\"", "time: invalid duration \"\""),
            ("\"abc\"", "time: invalid duration \"abc\""),
            ("\"5x\"", "time: unknown unit \"x\" in duration \"5x\""),
            ("true", "Unsupported type: 'bool'"),
        ] {
            let failure = keep_alive(value.as_bytes()).unwrap_err();
            assert_eq!((failure.status(), failure.message.as_str()), (400, words), "{value}");
        }
        for value in ["\"\\ud800\"", "\"-\"", "\"1.1.1s\"", "{}", "[]", "\"\u{1F600}\""] {
            assert!(keep_alive(value.as_bytes()).is_err(), "{value}");
        }
    }
}
