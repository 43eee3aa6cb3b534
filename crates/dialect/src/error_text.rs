//! Finds what a backend means in the error bodies that backends send.

use bytes::Bytes;
use proto::Dialect;
use serde_json::Value;

use crate::failure::{Cause, Failure, error_body};

/// The most characters of an upstream text that are passed on.
const MOST_CHARS: usize = 500;
/// Strings and objects that are looked through. Ollama's `/v1` calls need six, for the engine's error is JSON in their message.
const MOST_LAYERS: u32 = 8;

/// The text for people in an upstream error body, at most 500 characters.
///
/// Knows `{"error":"…"}`, `{"error":{"message":…}}`, the JSON inside Ollama's engine errors, `{"message":…}`, `{"detail":…}`
/// and plain text. Empty only if nothing is in `body`.
pub fn error_text(body: &[u8]) -> String {
    match parsed(body).and_then(|value| message(&value)) {
        Some(text) => shortened(&text),
        None => shortened(String::from_utf8_lossy(body).trim()),
    }
}

/// An upstream error body in the dialect's own shape; `None` when it has that already.
///
/// An engine's "prompt too long" is put into the words on which OpenAI and Anthropic clients shorten their prompt, whatever
/// shape it came in.
pub fn reshape_error(status: u16, body: &[u8], dialect: Dialect) -> Option<Bytes> {
    let value = parsed(body);
    if dialect != Dialect::Ollama
        && let Some(excess) = value.as_ref().and_then(|value| context_excess(value, dialect, MOST_LAYERS))
    {
        return Some(excess.body(dialect));
    }
    if value.is_some_and(|value| has_shape(&value, dialect)) {
        return None;
    }
    let mut text = error_text(body);
    if text.is_empty() {
        text = format!("the backend answered {status} without a word");
    }
    let code = (status == 404 && text.starts_with("model ")).then_some("model_not_found");
    Some(error_body(dialect, status, code, &text))
}

/// The text inside an error value.
pub(crate) fn message(value: &Value) -> Option<String> {
    inner_message(value, MOST_LAYERS)
}

/// The first 500 characters of `text`.
pub(crate) fn shortened(text: &str) -> String {
    text.char_indices().nth(MOST_CHARS).map_or(text, |(end, _)| &text[..end]).to_owned()
}

fn inner_message(value: &Value, layers: u32) -> Option<String> {
    let layers = layers.checked_sub(1)?;
    let text = match value {
        // Ollama passes an error of its engine on as JSON in a string.
        Value::String(text) => Some(
            parsed(text.as_bytes()).and_then(|inner| inner_message(&inner, layers)).unwrap_or_else(|| text.clone()),
        ),
        Value::Object(members) => {
            ["error", "message", "detail"].iter().find_map(|&key| inner_message(members.get(key)?, layers))
        }
        _ => None,
    };
    text.filter(|text| !text.trim().is_empty())
}

/// What to say when `value` is, or holds, llama-server's error for a prompt that does not fit.
fn context_excess(value: &Value, dialect: Dialect, layers: u32) -> Option<Failure> {
    let layers = layers.checked_sub(1)?;
    match value {
        Value::String(text) => context_excess(&parsed(text.as_bytes())?, dialect, layers),
        Value::Object(members) => {
            if members.get("type").is_some_and(|kind| kind == "exceed_context_size_error") {
                let engine =
                    members.get("message").and_then(Value::as_str).unwrap_or("the prompt is longer than the context");
                let count = |key| members.get(key).and_then(Value::as_u64);
                let text = match (dialect, count("n_prompt_tokens"), count("n_ctx")) {
                    (Dialect::Anthropic, Some(prompt), Some(context)) => {
                        format!("prompt is too long: {prompt} tokens > {context} maximum")
                    }
                    _ => shortened(engine),
                };
                return Some(Failure::new(Cause::ContextLength, text));
            }
            ["error", "message"].iter().find_map(|&key| context_excess(members.get(key)?, dialect, layers))
        }
        _ => None,
    }
}

fn parsed(body: &[u8]) -> Option<Value> {
    // Only an object can be an error; a prompt-sized string would be parsed in vain.
    body.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(body).ok()).flatten()
}

fn has_shape(value: &Value, dialect: Dialect) -> bool {
    let error = &value["error"];
    match dialect {
        Dialect::Ollama => error.is_string(),
        Dialect::OpenAi => error["message"].is_string() && value["type"] != "error",
        Dialect::Anthropic => value["type"] == "error" && error["type"].is_string() && error["message"].is_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ollama's answer to a prompt that is too long, from `/api/chat` and `/v1/chat/completions` (0.33.0-rc2).
    const TOO_LONG: &str = r#"{"error":"{\"error\":{\"code\":400,\"message\":\"request (30019 tokens) exceeds the available context size (4096 tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":30019,\"n_ctx\":4096}}"}"#;
    const TOO_LONG_V1: &str = r#"{"error":{"message":"{\"error\":{\"code\":400,\"message\":\"request (30019 tokens) exceeds the available context size (4096 tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":30019,\"n_ctx\":4096}}","type":"invalid_request_error","param":null,"code":null}}"#;

    #[test]
    fn the_text_is_found_in_every_wrapping() {
        let engine = "request (30019 tokens) exceeds the available context size (4096 tokens), try increasing it";
        for (body, text) in [
            (r#"{"error":"model 'nope' not found"}"#, "model 'nope' not found"),
            (r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#, "Loading model"),
            (r#"{"type":"error","error":{"type":"api_error","message":"m"},"request_id":"r"}"#, "m"),
            (TOO_LONG, engine),
            (TOO_LONG_V1, engine),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (r#"{"object":"error","message":"gone"}"#, "gone"),
            (" 404 page not found\n", "404 page not found"),
            (r#"{"error":"half"#, r#"{"error":"half"#),
            (r#"{"error":null}"#, r#"{"error":null}"#),
            (r#"{"error":"{not json"}"#, "{not json"),
            ("", ""),
        ] {
            assert_eq!(error_text(body.as_bytes()), text, "{body}");
        }
        assert_eq!(error_text("é".repeat(2000).as_bytes()).chars().count(), 500);
    }

    #[test]
    fn only_foreign_shapes_are_changed() {
        let ollama = r#"{"error":"x"}"#;
        let openai = r#"{"error":{"message":"x","type":"api_error","param":null,"code":null}}"#;
        let anthropic = r#"{"type":"error","error":{"type":"api_error","message":"x"},"request_id":null}"#;
        for (dialect, own) in [(Dialect::Ollama, ollama), (Dialect::OpenAi, openai), (Dialect::Anthropic, anthropic)] {
            for body in [ollama, openai, anthropic, "x"] {
                let reshaped = reshape_error(500, body.as_bytes(), dialect);
                assert_eq!(reshaped.as_deref(), (body != own).then_some(own.as_bytes()), "{dialect:?} {body}");
            }
        }
        // Ollama's own clients know these texts as they are.
        assert_eq!(reshape_error(400, TOO_LONG.as_bytes(), Dialect::Ollama), None);
    }

    #[test]
    fn a_prompt_that_is_too_long_is_said_in_the_words_clients_act_on() {
        for body in [TOO_LONG, TOO_LONG_V1] {
            let openai: Value =
                serde_json::from_slice(&reshape_error(400, body.as_bytes(), Dialect::OpenAi).unwrap()).unwrap();
            assert_eq!(openai["error"]["code"], "context_length_exceeded");
            assert!(openai["error"]["message"].as_str().unwrap().starts_with("request (30019 tokens)"));
            let anthropic: Value =
                serde_json::from_slice(&reshape_error(400, body.as_bytes(), Dialect::Anthropic).unwrap()).unwrap();
            assert_eq!(anthropic["error"]["message"], "prompt is too long: 30019 tokens > 4096 maximum");
        }
    }

    #[test]
    fn a_missing_model_keeps_its_code() {
        let body = reshape_error(404, br#"{"error":"model 'x' not found"}"#, Dialect::OpenAi).unwrap();
        assert!(body.ends_with(br#""type":"not_found_error","param":null,"code":"model_not_found"}}"#));
    }
}
