//! What a request asks of the engine: its options, its keep_alive, and which of them make a loaded model load again.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::models::Model;

/// Longest keep_alive: 2^63 - 1 nanoseconds, which Ollama uses for "for ever" (a date in the year 2319).
pub(crate) const FOR_EVER: Duration = Duration::from_nanos(i64::MAX as u64);

/// Smallest context that is ever loaded (num_ctx 0 and -1 end here).
pub(crate) const SMALLEST_CONTEXT: u64 = 4;

/// Smallest context of a model that sees.
pub(crate) const SMALLEST_TO_SEE: u64 = 2048;

/// How a model is loaded; a request that needs another value loads the model again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fit {
    /// Tokens of context per slot.
    pub(crate) context: u64,
    num_batch: i64,
    num_gpu: Option<i64>,
    main_gpu: i64,
    num_thread: i64,
    draft: i64,
    use_mmap: bool,
    shift: bool,
}

impl Fit {
    /// Whether a runner loaded like `self` can serve a request that asks for `wanted`.
    pub(crate) fn serves(&self, wanted: &Fit) -> bool {
        let gpu = wanted.num_gpu.is_none() || wanted.num_gpu == self.num_gpu;
        gpu && Fit { num_gpu: None, ..self.clone() } == Fit { num_gpu: None, ..wanted.clone() }
    }

    /// The load that `options` (Modelfile parameters below, the request's own above) lead to.
    pub(crate) fn of(options: &Map<String, Value>, shift: bool, model: &Model, default: u64) -> Fit {
        let whole = |key: &str| options.get(key).and_then(number);
        let asked = match whole("num_ctx") {
            Some(asked) => u64::try_from(asked).unwrap_or(0),
            None => default,
        };
        let least = if model.can("vision") { SMALLEST_TO_SEE } else { SMALLEST_CONTEXT };
        let context = asked.max(least).min(model.trained);
        let automatic = if model.can("embedding") { asked.min(2048) } else { (context / 8).max(512) };
        Fit {
            context,
            num_batch: whole("num_batch").unwrap_or(i64::try_from(automatic).unwrap_or(i64::MAX)),
            num_gpu: whole("num_gpu").filter(|layers| *layers >= 0),
            main_gpu: whole("main_gpu").unwrap_or(-1),
            num_thread: whole("num_thread").unwrap_or(0),
            draft: whole("draft_num_predict").unwrap_or(4),
            use_mmap: options.get("use_mmap").and_then(Value::as_bool).unwrap_or(false),
            shift,
        }
    }
}

/// A JSON number as a whole one; a fraction is cut off.
pub(crate) fn number(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation, reason = "cutting the fraction off is what Ollama does")]
    let cut = |float: f64| float.trunc() as i64;
    value.as_i64().or_else(|| value.as_f64().map(cut))
}

/// Says what is wrong with `options`, in Ollama's words; unknown names and nulls are nobody's fault.
pub(crate) fn check(options: &Map<String, Value>) -> Result<(), String> {
    const WHOLE: &[&str] = &[
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "draft_num_predict",
        "num_keep",
        "seed",
        "num_predict",
        "top_k",
        "repeat_last_n",
    ];
    const FLOAT: &[&str] =
        &["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty"];
    for (key, value) in options {
        let name = key.as_str();
        let (good, kind) = match name {
            _ if value.is_null() => continue,
            _ if WHOLE.contains(&name) => (value.is_number(), "integer"),
            _ if FLOAT.contains(&name) => (value.is_number(), "float32"),
            "stop" => (value.is_array(), "array"),
            "use_mmap" => (value.is_boolean(), "boolean"),
            _ => continue,
        };
        if !good {
            return Err(format!("option \"{key}\" must be of type {kind}"));
        }
    }
    Ok(())
}

/// Reads a keep_alive; the error is the text of Ollama's 400.
pub(crate) fn keep_alive(value: &Value) -> Result<Duration, String> {
    match value {
        Value::Number(seconds) => {
            // Below zero and beyond what a Duration holds is for ever alike.
            let span = Duration::try_from_secs_f64(seconds.as_f64().unwrap_or(0.0));
            Ok(span.unwrap_or(FOR_EVER).min(FOR_EVER))
        }
        Value::String(text) => duration(text),
        Value::Bool(_) => Err("Unsupported type: 'bool'".to_owned()),
        Value::Array(_) => Err("Unsupported type: '[]interface {}'".to_owned()),
        _ => Err("Unsupported type: 'map[string]interface {}'".to_owned()),
    }
}

/// Reads a duration as Go writes it ("1h30m", "-1s", "1.5s"); negative means for ever.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            other => return Err(format!("time: unknown unit {other:?} in duration {text:?}")),
        };
        total += amount * unit;
        rest = &rest[letters..];
    }
    Ok(if negative { FOR_EVER } else { Duration::try_from_secs_f64(total).unwrap_or(FOR_EVER).min(FOR_EVER) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fit(options: &Value, trained: u64, embeds: bool) -> Fit {
        let model = crate::models::entry(if embeds { "all-minilm" } else { "tiny" }).unwrap();
        Fit::of(options.as_object().unwrap(), true, &Model { trained, ..model }, 4096)
    }

    #[test]
    fn what_makes_a_model_load_again() {
        let auto = json!({});
        for (loaded, next, trained, again) in [
            (auto.clone(), json!({"num_ctx": 4096}), 8192, false),
            (json!({"num_ctx": 4096}), auto.clone(), 8192, false),
            (auto.clone(), json!({"num_ctx": 2048}), 8192, true),
            (auto.clone(), json!({"num_ctx": 8192}), 8192, true),
            (auto.clone(), json!({"num_ctx": 100_000}), 4096, false),
            (json!({"num_ctx": 2048}), json!({"num_ctx": null}), 8192, true),
            (auto.clone(), json!({"num_ctx": 0}), 8192, true),
            (auto.clone(), json!({"num_ctx": 4096.5}), 8192, false),
            (auto.clone(), json!({"temperature": 1, "seed": 3, "stop": ["x"], "unknown": 1}), 8192, false),
            (auto.clone(), json!({"num_batch": 256}), 8192, true),
            (auto.clone(), json!({"num_batch": 512}), 8192, false),
            (auto.clone(), json!({"num_gpu": 1}), 8192, true),
            (json!({"num_gpu": 1}), auto.clone(), 8192, false),
            (json!({"num_gpu": 1}), json!({"num_gpu": -1}), 8192, false),
            (auto.clone(), json!({"main_gpu": 0}), 8192, true),
            (auto.clone(), json!({"num_thread": 2}), 8192, true),
            (auto.clone(), json!({"num_thread": 0}), 8192, false),
            (auto.clone(), json!({"use_mmap": true}), 8192, true),
            (auto.clone(), json!({"use_mmap": false}), 8192, false),
        ] {
            let serves = fit(&loaded, trained, false).serves(&fit(&next, trained, false));
            assert_eq!(!serves, again, "{loaded} then {next}");
        }
    }

    #[test]
    fn embedding_models_load_again_for_a_small_num_ctx() {
        let auto = fit(&json!({}), 512, true);
        for (num_ctx, again) in [(256, true), (512, true), (1024, true), (2048, false), (4096, false)] {
            assert_eq!(!auto.serves(&fit(&json!({"num_ctx": num_ctx}), 512, true)), again, "{num_ctx}");
        }
    }

    #[test]
    fn keep_alive_in_all_spellings() {
        for (value, millis) in [
            (json!(5.5), Ok(5500)),
            (json!(-0.5), Ok(FOR_EVER.as_millis())),
            (json!(0), Ok(0)),
            (json!("10m"), Ok(600_000)),
            (json!("1h30m"), Ok(5_400_000)),
            (json!(-1), Ok(FOR_EVER.as_millis())),
            (json!("-1m"), Ok(FOR_EVER.as_millis())),
            (json!("300"), Err("time: missing unit in duration \"300\"")),
            (json!(""), Err("time: invalid duration \"\"")),
            (json!("abc"), Err("time: invalid duration \"abc\"")),
            (json!(true), Err("Unsupported type: 'bool'")),
        ] {
            let read = keep_alive(&value).map(|span| span.as_millis());
            assert_eq!(read, millis.map_err(str::to_owned), "{value}");
        }
    }

    #[test]
    fn an_option_of_the_wrong_type_is_named() {
        let options = json!({"num_ctx": "big"});
        assert_eq!(check(options.as_object().unwrap()), Err("option \"num_ctx\" must be of type integer".to_owned()));
        assert_eq!(check(json!({"x": "y", "seed": null}).as_object().unwrap()), Ok(()));
    }
}
