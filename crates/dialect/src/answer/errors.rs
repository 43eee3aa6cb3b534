//! Completes the errors of backends that leave out some of what the client's dialect demands.

use bytes::Bytes;
use proto::Dialect;
use serde_json::{Value, json};

/// An error of the dialect's own shape with every field that its clients may read; `None` if it has them all.
///
/// llama-server writes the status as the `code`, where programs with types expect a word, and no `param`.
pub(super) fn completed(body: &[u8], dialect: Dialect) -> Option<Bytes> {
    let mut told: Value = serde_json::from_slice(body).ok()?;
    let whole = match dialect {
        Dialect::Ollama => return None,
        Dialect::OpenAi => {
            let error = told.get_mut("error")?;
            let text = |error: &Value, name: &str| error[name].as_str().map(str::to_owned);
            let (message, kind) = (text(error, "message")?, text(error, "type"));
            let [param, code] = ["param", "code"].map(|name| text(error, name));
            let kind = kind.unwrap_or_else(|| "api_error".to_owned());
            json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
        }
        Dialect::Anthropic => {
            let request_id = told.get("request_id").filter(|id| id.is_string()).cloned();
            let mut whole = told.clone();
            whole.as_object_mut()?.insert("request_id".to_owned(), request_id.unwrap_or(Value::Null));
            whole
        }
    };
    (whole != told).then(|| whole.to_string().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_completed() {
        for (dialect, body, expected) in [
            (
                Dialect::OpenAi,
                r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
                Some(r#"{"error":{"message":"Loading model","type":"unavailable_error","param":null,"code":null}}"#),
            ),
            (
                Dialect::OpenAi,
                r#"{"error":{"message":"no"},"object":"error"}"#,
                Some(r#"{"error":{"message":"no","type":"api_error","param":null,"code":null}}"#),
            ),
            (Dialect::OpenAi, r#"{"error":{"code":"a","message":"m","param":null,"type":"t"}}"#, None),
            (
                Dialect::Anthropic,
                r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
                Some(r#"{"type":"error","error":{"type":"api_error","message":"m"},"request_id":null}"#),
            ),
            (Dialect::Ollama, r#"{"error":"m"}"#, None),
            (Dialect::OpenAi, "no JSON", None),
        ] {
            let whole = completed(body.as_bytes(), dialect);
            assert_eq!(whole.as_deref().map(|body| std::str::from_utf8(body).unwrap()), expected, "{body}");
        }
    }
}
