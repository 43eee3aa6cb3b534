//! What the stub says: an Ollama of version 0.33 with one loaded model, whose every token carries the time it was written.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::clock;

/// Name of the only model.
pub(crate) const MODEL: &str = "bench";

/// Large enough that no body of a row counts as too long for the model.
const CONTEXT: u64 = 16 * 1024 * 1024;

const DIGEST: &str = "5e1f0c9a7d3b2468ace013579bdf02468ace13579bdf02468ace13579bdf0246";

/// Models that are listed beside it.
static MORE: AtomicU32 = AtomicU32::new(0);

/// From now on so many models are listed beside the only one.
pub(crate) fn list_more(models: u32) {
    MORE.store(models, Relaxed);
}

/// The two dialects that the stub streams in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Ollama,
    OpenAi,
}

const INFERENCE: [(&str, Dialect); 2] = [("/api/chat", Dialect::Ollama), ("/v1/chat/completions", Dialect::OpenAi)];

/// The dialect of an inference path that commands work on.
pub(crate) fn dialect(path: &str) -> Option<Dialect> {
    INFERENCE.iter().find(|(known, _)| *known == path).map(|(_, dialect)| *dialect)
}

/// Answer to everything that is no inference: status and JSON (or text) body.
pub(crate) fn management(method: &str, path: &str) -> (u16, String) {
    let details = r#"{"parent_model":"","format":"gguf","family":"llama","families":["llama"],"parameter_size":"1.0B","quantization_level":"Q4_0"}"#;
    let get = method == "GET" || method == "HEAD";
    match path {
        "/" if get => (200, "Ollama is running".to_owned()),
        "/api/version" if get => (200, r#"{"version":"0.33.0"}"#.to_owned()),
        "/api/tags" if get => {
            let row = |name: &str| {
                format!(
                    r#"{{"name":"{name}:latest","model":"{name}:latest","modified_at":"2026-01-01T00:00:00Z","size":700000000,"digest":"{DIGEST}","details":{details},"capabilities":["completion","tools"]}}"#
                )
            };
            let mut rows = vec![row(MODEL)];
            rows.extend((0..MORE.load(Relaxed)).map(|number| row(&format!("another-model-{number}"))));
            (200, format!(r#"{{"models":[{}]}}"#, rows.join(",")))
        }
        "/api/ps" if get => (
            200,
            format!(
                r#"{{"models":[{{"name":"{MODEL}:latest","model":"{MODEL}:latest","size":900000000,"digest":"{DIGEST}","details":{details},"expires_at":"2318-01-01T00:00:00Z","size_vram":900000000,"context_length":{CONTEXT}}}]}}"#
            ),
        ),
        "/v1/models" if get => (
            200,
            format!(
                r#"{{"object":"list","data":[{{"id":"{MODEL}:latest","object":"model","created":1767225600,"owned_by":"library"}}]}}"#
            ),
        ),
        "/api/show" if !get => (
            200,
            format!(
                r#"{{"modelfile":"FROM x","template":"{{{{ .Prompt }}}}","details":{details},"model_info":{{"general.architecture":"llama","llama.context_length":{CONTEXT}}},"capabilities":["completion","tools"],"modified_at":"2026-01-01T00:00:00Z"}}"#
            ),
        ),
        "/api/generate" if !get => (
            200,
            format!(
                r#"{{"model":"{MODEL}","created_at":"2026-01-01T00:00:00Z","response":"","done":true,"done_reason":"load"}}"#
            ),
        ),
        "/api/version"
        | "/api/tags"
        | "/api/ps"
        | "/v1/models"
        | "/api/show"
        | "/api/generate"
        | "/api/chat"
        | "/api/embed"
        | "/api/pull"
        | "/v1/chat/completions"
        | "/v1/completions"
        | "/v1/embeddings"
        | "/v1/responses"
        | "/v1/messages" => (405, "405 method not allowed".to_owned()),
        _ => (404, "404 page not found".to_owned()),
    }
}

/// A whole answer of known length.
pub(crate) fn whole(status: u16, body: &str) -> Vec<u8> {
    let kind = if body.starts_with('{') { "application/json; charset=utf-8" } else { "text/plain" };
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        _ => "Service Unavailable",
    };
    format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// The tiny answer in `dialect`.
pub(crate) fn tiny(dialect: Dialect) -> String {
    match dialect {
        Dialect::Ollama => format!(
            r#"{{"model":"{MODEL}","created_at":"2026-01-01T00:00:00Z","message":{{"role":"assistant","content":"Yes."}},"done":true,"done_reason":"stop","total_duration":2000000,"load_duration":100000,"prompt_eval_count":8,"prompt_eval_duration":900000,"eval_count":2,"eval_duration":1000000}}"#
        ),
        Dialect::OpenAi => format!(
            r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1767225600,"model":"{MODEL}","system_fingerprint":"fp_ollama","choices":[{{"index":0,"message":{{"role":"assistant","content":"Yes."}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":8,"completion_tokens":2,"total_tokens":10}}}}"#
        ),
    }
}

/// Head of a streamed answer.
pub(crate) fn stream_head(dialect: Dialect) -> &'static [u8] {
    match dialect {
        Dialect::Ollama => {
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        }
        Dialect::OpenAi => b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    }
}

/// Appends to `out` one token as one HTTP chunk: its place in the stream and the time now.
pub(crate) fn token(out: &mut Vec<u8>, line: &mut Vec<u8>, dialect: Dialect, index: u64) -> u64 {
    let now = clock::now_ns();
    line.clear();
    // Writing into memory cannot fail.
    let _ = match dialect {
        Dialect::Ollama => write!(
            line,
            r#"{{"model":"{MODEL}","created_at":"2026-01-01T00:00:00.000000Z","message":{{"role":"assistant","content":"{index}:{now} "}},"done":false}}"#
        ),
        Dialect::OpenAi => write!(
            line,
            r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"{MODEL}","system_fingerprint":"fp_ollama","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{index}:{now} "}},"finish_reason":null}}]}}"#
        ),
    };
    line.extend_from_slice(if dialect == Dialect::Ollama { b"\n" } else { b"\n\n" });
    chunk(out, line);
    now
}

/// Appends the final record and the end of the body.
pub(crate) fn stream_end(out: &mut Vec<u8>, dialect: Dialect, chunks: u64) {
    let last = match dialect {
        Dialect::Ollama => format!(
            "{{\"model\":\"{MODEL}\",\"created_at\":\"2026-01-01T00:00:00Z\",\"message\":{{\"role\":\"assistant\",\"content\":\"\"}},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":2000000,\"load_duration\":100000,\"prompt_eval_count\":8,\"prompt_eval_duration\":900000,\"eval_count\":{chunks},\"eval_duration\":1000000}}\n"
        ),
        Dialect::OpenAi => format!(
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n"
        ),
    };
    chunk(out, last.as_bytes());
    out.extend_from_slice(b"0\r\n\r\n");
}

fn chunk(out: &mut Vec<u8>, content: &[u8]) {
    let _ = write!(out, "{:x}\r\n", content.len());
    out.extend_from_slice(content);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_stub_says_is_json() {
        for (method, path) in [
            ("GET", "/api/tags"),
            ("GET", "/api/ps"),
            ("POST", "/api/show"),
            ("GET", "/v1/models"),
            ("GET", "/api/version"),
        ] {
            let (status, body) = management(method, path);
            assert_eq!(status, 200, "{path}");
            serde_json::from_str::<serde_json::Value>(&body).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        for dialect in [Dialect::Ollama, Dialect::OpenAi] {
            serde_json::from_str::<serde_json::Value>(&tiny(dialect)).unwrap();
        }
        assert_eq!(management("GET", "/api/chat").0, 405);
        assert_eq!(management("GET", "/nonsense").0, 404);
    }
}
