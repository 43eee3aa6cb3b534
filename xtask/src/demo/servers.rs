//! Looks which inference servers answer on their usual ports.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parts::http;
use serde_json::Value;

/// Long enough for a machine that is busy, short enough to ask five ports one after the other.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ollama,
    LlamaServer,
    LmStudio,
    Vllm,
}

/// An inference server that answers.
#[derive(Debug)]
pub(crate) struct Server {
    kind: Kind,
    addr: SocketAddr,
    /// The names of its models.
    pub(crate) models: Vec<String>,
}

impl Server {
    /// Whether one of its models looks as if one could chat with it.
    pub(crate) fn can_chat(&self) -> bool {
        self.models.iter().any(|model| chats(model))
    }

    pub(crate) fn is_ollama(&self) -> bool {
        self.kind == Kind::Ollama
    }

    /// What to tell Herd; `None` for an Ollama on its own port, which Herd finds by itself.
    pub(crate) fn backend(&self) -> Option<String> {
        (self.kind != Kind::Ollama).then(|| format!("http://{}", self.addr))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            Kind::Ollama => "Ollama",
            Kind::LlamaServer => "llama-server",
            Kind::LmStudio => "LM Studio",
            Kind::Vllm => "vLLM",
        };
        let models = self.models.len();
        write!(out, "{name} on {} with {models} model{}", self.addr, if models == 1 { "" } else { "s" })
    }
}

/// Models for embeddings and ranking are known by their names only.
pub(crate) fn chats(model: &str) -> bool {
    let model = model.to_lowercase();
    !["embed", "minilm", "bge-", "rerank", "whisper"].iter().any(|part| model.contains(part))
}

/// The servers that answer now.
pub(crate) fn look() -> Vec<Server> {
    [
        (11434, [Kind::Ollama].as_slice()),
        (9931, &[Kind::LlamaServer]),
        (8080, &[Kind::LlamaServer]),
        (1234, &[Kind::LmStudio]),
        (8000, &[Kind::Vllm]),
    ]
    .into_iter()
    .filter_map(|(port, kinds)| {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        let kind = kinds.iter().copied().find(|kind| is(*kind, addr))?;
        Some(Server { kind, addr, models: openai_models(addr).unwrap_or_default() })
    })
    .collect()
}

/// Whether what listens at `addr` answers as `kind` does.
fn is(kind: Kind, addr: SocketAddr) -> bool {
    let json = |path: &str| match http::get(addr, path, PATIENCE) {
        Ok((200, text)) => serde_json::from_str::<Value>(&text).ok(),
        _ => None,
    };
    match kind {
        // A Herd also has a version, with a key of its own beside it: asking it would ask ourselves.
        Kind::Ollama => {
            json("/api/version").is_some_and(|answer| answer["version"].is_string() && answer["herd"].is_null())
        }
        Kind::LlamaServer => json("/props").is_some_and(|answer| answer["build_info"].is_string()),
        Kind::LmStudio => json("/api/v0/models").is_some_and(|answer| answer["data"][0]["state"].is_string()),
        Kind::Vllm => json("/v1/models").is_some_and(|answer| answer["data"][0]["owned_by"] == "vllm"),
    }
}

/// The names in `GET /v1/models`, which all of them answer.
pub(crate) fn openai_models(addr: SocketAddr) -> io::Result<Vec<String>> {
    let (_, text) = http::get(addr, "/v1/models", PATIENCE)?;
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let list = answer["data"].as_array().cloned().unwrap_or_default();
    Ok(list.iter().filter_map(|model| model["id"].as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::chats;

    #[test]
    fn models_that_do_not_chat_are_known_by_name() {
        for (model, expected) in [
            ("llama3.2:1b", true),
            ("smollm2-135m", true),
            ("nomic-embed-text:latest", false),
            ("all-MiniLM:l6", false),
        ] {
            assert_eq!(chats(model), expected, "{model}");
        }
    }
}
