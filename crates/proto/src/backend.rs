//! What is known about an inference server of this machine.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{ApiSet, BackendId, ModelName};

/// What kind of program a backend is, told by what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// Ollama.
    Ollama,
    /// llama.cpp's `llama-server` with one model.
    LlamaServer,
    /// `llama-server` in router mode: several models, loaded on demand.
    LlamaRouter,
    /// LM Studio.
    LmStudio,
    /// vLLM.
    Vllm,
    /// Anything else that answers `/v1/models` in OpenAI's format.
    OpenAi,
}

impl BackendKind {
    /// The word shown to people and sent as `X-Fleet-Backend`'s kind.
    pub fn as_str(self) -> &'static str {
        match self {
            BackendKind::Ollama => "ollama",
            BackendKind::LlamaServer => "llama-server",
            BackendKind::LlamaRouter => "llama-router",
            BackendKind::LmStudio => "lm-studio",
            BackendKind::Vllm => "vllm",
            BackendKind::OpenAi => "openai",
        }
    }
}

/// Where a backend listens: plain HTTP, a host, a port and perhaps a path before every path of its API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// A host name or an IP address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// What comes before `/v1/…` and `/api/…`: empty, or a path that starts with a slash and does not end with one.
    pub base_path: String,
}

impl Address {
    /// The host and port as a `Host` header has them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether prompts sent there stay on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost") || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.base_path)
    }
}

/// Whether others on the way can read what is sent to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// The backend is on this machine.
    Loopback,
    /// The backend is on another host and spoken to in plain HTTP.
    Unencrypted,
}

/// How a backend is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "health", rename_all = "lowercase")]
pub enum Health {
    /// It answers.
    Up,
    /// It answers that it is not ready yet (llama-server while loading).
    Loading,
    /// It accepts connections but does not answer in time.
    Hung,
    /// It does not accept connections any more; `reason` is for people.
    Down {
        /// The error in words.
        reason: String,
    },
}

impl Health {
    /// Whether requests may be sent there.
    pub fn is_up(&self) -> bool {
        matches!(self, Health::Up)
    }
}

/// What a model can do beyond continuing text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Chat and text generation.
    Completion,
    /// Calls tools.
    Tools,
    /// Fills in the middle.
    Insert,
    /// Sees images.
    Vision,
    /// Turns text into vectors.
    Embedding,
    /// Thinks before it answers.
    Thinking,
    /// Hears audio.
    Audio,
}

impl Capability {
    /// The word that Ollama uses for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Completion => "completion",
            Capability::Tools => "tools",
            Capability::Insert => "insert",
            Capability::Vision => "vision",
            Capability::Embedding => "embedding",
            Capability::Thinking => "thinking",
            Capability::Audio => "audio",
        }
    }

    /// The capability of that word.
    pub fn from_word(word: &str) -> Option<Capability> {
        use Capability::*;
        [Completion, Tools, Insert, Vision, Embedding, Thinking, Audio].into_iter().find(|known| known.as_str() == word)
    }
}

/// A model that a backend can serve.
#[derive(Clone, Debug)]
pub struct Model {
    /// The name in comparable form.
    pub name: ModelName,
    /// The name exactly as the backend wants to be asked for it.
    pub id: String,
    /// 64 hexadecimal digits that tell two models of one name apart; `None` where the backend has no such thing.
    pub digest: Option<String>,
    /// 64 hexadecimal digits that tell files of weights apart, where told: names on one file share what is in memory.
    pub weights: Option<String>,
    /// Bytes on disk, where told.
    pub size: Option<u64>,
    /// For instance `Q4_K_M`.
    pub quantization: Option<String>,
    /// For instance `llama`.
    pub family: Option<String>,
    /// For instance `8.0B`.
    pub parameter_size: Option<String>,
    /// What it can do. Empty means: not told.
    pub capabilities: Vec<Capability>,
    /// Tokens of context that the model was trained for.
    pub context_trained: Option<u64>,
    /// When it was last changed, as RFC 3339 text in the backend's own words.
    pub modified_at: Option<String>,
    /// Set while it is in memory.
    pub loaded: Option<Loaded>,
    /// The owner's entry for `/api/tags`, with every field that the backend gave, where the backend is an Ollama.
    pub listing: Option<Arc<RawValue>>,
}

/// A model in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// Tokens of context per slot, where told.
    pub context: Option<u64>,
    /// Bytes in memory, weights and caches, where told.
    pub size: Option<u64>,
    /// Bytes of these on a GPU, where told.
    pub size_vram: Option<u64>,
    /// When the backend will unload it, as RFC 3339 text, where told.
    pub expires_at: Option<String>,
}

/// Everything known about one backend at one moment.
#[derive(Clone, Debug)]
pub struct BackendState {
    /// Its name on this node.
    pub id: BackendId,
    /// What kind of program it is.
    pub kind: BackendKind,
    /// Where it listens.
    pub address: Address,
    /// Whether what is sent there can be read on the way.
    pub link: Link,
    /// The program's version, where told.
    pub version: Option<String>,
    /// How it is doing.
    pub health: Health,
    /// The calls that it answers itself.
    pub speaks: ApiSet,
    /// The calls that it can be used for: those, and others that can be translated to them.
    pub serves: ApiSet,
    /// Requests that it works on at once per model: what it says, or what the owner said. `None`: to be learnt.
    pub slots: Option<u32>,
    /// Models that it holds in memory at once: what it says, or what the owner said. `None`: to be learnt.
    pub most_loaded: Option<u32>,
    /// Whether a single model answers to every name (llama-server ignores the name it is asked for).
    pub ignores_model_name: bool,
    /// Its models, sorted by name. Kept as last seen while it is not up.
    pub models: Vec<Model>,
}

impl BackendState {
    /// The model called `name`, if this backend has it.
    pub fn model(&self, name: &ModelName) -> Option<&Model> {
        self.models.iter().find(|model| model.name == *name)
    }
}
