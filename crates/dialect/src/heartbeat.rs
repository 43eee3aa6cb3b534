//! Records that say nothing, for a client that has to wait.

use bytes::Bytes;
use proto::{Api, Dialect};

/// A record that says nothing but keeps the client waiting; `None` for calls whose answer is not streamed.
pub fn heartbeat(api: Api, model: &str, unix_ms: u64) -> Option<Bytes> {
    let _ = (api, model, unix_ms);
    None
}

/// The content type of a streamed answer.
pub fn stream_content_type(api: Api) -> &'static str {
    match api.dialect() {
        Dialect::Ollama => "application/x-ndjson",
        Dialect::OpenAi | Dialect::Anthropic => "text/event-stream",
    }
}
