//! What backends of each kind are like, as data.

use proto::{Api, ApiSet, BackendKind};

/// What a backend of some kind can be asked for beyond what all can.
pub(crate) struct Quirks {
    /// What people are told it is.
    pub(crate) called: &'static str,
    /// Ollama: its own words, `options`, `format`, `think`; no `tool_choice`.
    pub(crate) ollama: bool,
    /// Its name for the number of most likely tokens considered.
    pub(crate) top_k: Option<&'static str>,
    /// Its name for the least probability considered.
    pub(crate) min_p: Option<&'static str>,
    /// Its name for the penalty on repetition.
    pub(crate) repeat_penalty: Option<&'static str>,
    /// Whether it knows llama.cpp's further ways of choosing tokens (`typical_p`, `mirostat`…).
    pub(crate) llama_sampling: bool,
    /// Whether `tool_choice` may name a tool; where not, that tool is the only one sent and one must be called.
    pub(crate) named_tool_choice: bool,
    /// Whether it can be kept from calling several tools at once.
    pub(crate) parallel_tool_calls: bool,
    /// Whether `response_format` may ask for any JSON object; where not, it asks for the schema of one.
    pub(crate) json_object: bool,
    /// Whether `/v1/completions` reads `suffix`, or says that it does not.
    pub(crate) fills_in: bool,
    /// How thinking is switched.
    pub(crate) thinking: ThinkingSwitch,
    /// Whether messages may carry earlier thinking as `reasoning_content`.
    pub(crate) takes_thinking: bool,
    /// Whether `dimensions` of an embedding are its business.
    pub(crate) shortens_vectors: bool,
    /// Whether it can be told not to bring vectors to length 1 (`embd_normalize`).
    pub(crate) plain_vectors: bool,
}

/// How a backend is told whether and how hard to think.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThinkingSwitch {
    /// `think`.
    Ollama,
    /// `chat_template_kwargs`, with the effort among them.
    Template,
    /// `chat_template_kwargs`, and `reasoning_effort` beside them.
    TemplateAndEffort,
    /// `reasoning_effort` alone.
    Effort,
}

/// What backends of that `kind` are like.
///
/// Sources: Ollama 0.33.0-rc2 measured in November 2026; the documents of llama-server, LM Studio 0.4 and vLLM of that time.
pub(crate) fn quirks(kind: BackendKind) -> &'static Quirks {
    match kind {
        BackendKind::Ollama => &OLLAMA,
        BackendKind::LlamaServer | BackendKind::LlamaRouter => &LLAMA,
        BackendKind::LmStudio => &LM_STUDIO,
        BackendKind::Vllm => &VLLM,
        BackendKind::OpenAi => &OPENAI,
    }
}

const OLLAMA: Quirks = Quirks {
    called: "Ollama",
    ollama: true,
    top_k: Some("top_k"),
    min_p: Some("min_p"),
    repeat_penalty: Some("repeat_penalty"),
    llama_sampling: true,
    named_tool_choice: false,
    parallel_tool_calls: false,
    json_object: false,
    fills_in: true,
    thinking: ThinkingSwitch::Ollama,
    takes_thinking: true,
    shortens_vectors: true,
    plain_vectors: false,
};

const LLAMA: Quirks = Quirks {
    called: "llama-server",
    ollama: false,
    top_k: Some("top_k"),
    min_p: Some("min_p"),
    repeat_penalty: Some("repeat_penalty"),
    llama_sampling: true,
    // It reads `tool_choice` as a word and takes an object for `auto`.
    named_tool_choice: false,
    parallel_tool_calls: true,
    // The words alone leave the text free, and `suffix` is read by nobody (measured on build 10434).
    json_object: false,
    fills_in: false,
    thinking: ThinkingSwitch::Template,
    takes_thinking: true,
    shortens_vectors: false,
    plain_vectors: true,
};

const LM_STUDIO: Quirks = Quirks {
    called: "LM Studio",
    ollama: false,
    top_k: Some("top_k"),
    min_p: None,
    repeat_penalty: Some("repeat_penalty"),
    llama_sampling: false,
    named_tool_choice: false,
    parallel_tool_calls: false,
    json_object: false,
    fills_in: false,
    thinking: ThinkingSwitch::Effort,
    takes_thinking: true,
    shortens_vectors: false,
    plain_vectors: false,
};

const VLLM: Quirks = Quirks {
    called: "vLLM",
    ollama: false,
    top_k: Some("top_k"),
    min_p: Some("min_p"),
    repeat_penalty: Some("repetition_penalty"),
    llama_sampling: false,
    named_tool_choice: true,
    parallel_tool_calls: true,
    json_object: true,
    fills_in: true,
    thinking: ThinkingSwitch::TemplateAndEffort,
    takes_thinking: true,
    shortens_vectors: true,
    plain_vectors: false,
};

const OPENAI: Quirks = Quirks {
    called: "this OpenAI-compatible server",
    ollama: false,
    top_k: None,
    min_p: None,
    repeat_penalty: None,
    llama_sampling: false,
    named_tool_choice: true,
    parallel_tool_calls: true,
    json_object: true,
    fills_in: true,
    thinking: ThinkingSwitch::Effort,
    takes_thinking: false,
    shortens_vectors: true,
    plain_vectors: false,
};

/// What to speak to a backend for a `client` call, which itself answers the calls in `speaks`; `None` where there is no
/// way.
///
/// The client's own call where the backend knows it: what passes through loses nothing. Ollama's `/v1` is the exception:
/// it takes no `num_ctx` and no `keep_alive`, ignores `tool_choice` and `max_completion_tokens`, and when its engine dies
/// the stream just stops, so it is spoken to in its own words. So are llama-server's `/v1/responses` and `/v1/messages`,
/// which leave forms, named tools and thinking unread and lack required fields (measured on build 10434, November 2026).
pub fn way(client: Api, kind: BackendKind, speaks: ApiSet) -> Option<Api> {
    let translated = upstream(client, kind).filter(|upstream| *upstream != client && speaks.has(*upstream));
    let is_half_made = match kind {
        BackendKind::Ollama => true,
        BackendKind::LlamaServer | BackendKind::LlamaRouter => matches!(client, Api::Responses | Api::Messages),
        _ => false,
    };
    match translated {
        Some(own) if is_half_made => Some(own),
        _ if speaks.has(client) => Some(client),
        other => other,
    }
}

/// The calls that a backend can be used for, directly or translated.
pub fn served(kind: BackendKind, speaks: ApiSet) -> ApiSet {
    Api::ALL.into_iter().filter(|api| way(*api, kind, speaks).is_some()).fold(ApiSet::NONE, ApiSet::with)
}

/// What to speak to a backend of that `kind` for a `client` call: the same call where it needs no translation, `None`
/// where there is no way.
///
/// A backend may speak more calls than its kind tells; where it does, passing them through is better.
pub fn upstream(client: Api, kind: BackendKind) -> Option<Api> {
    let ollama = kind == BackendKind::Ollama;
    Some(match client {
        Api::OllamaChat | Api::ChatCompletions | Api::Responses | Api::Messages if ollama => Api::OllamaChat,
        Api::OllamaGenerate | Api::Completions if ollama => Api::OllamaGenerate,
        Api::OllamaEmbed | Api::Embeddings if ollama => Api::OllamaEmbed,
        Api::OllamaEmbeddings | Api::OllamaShow if ollama => client,
        Api::OllamaChat | Api::OllamaGenerate | Api::ChatCompletions | Api::Responses | Api::Messages => {
            Api::ChatCompletions
        }
        Api::Completions => Api::Completions,
        Api::OllamaEmbed | Api::OllamaEmbeddings | Api::Embeddings => Api::Embeddings,
        Api::Transcriptions => Api::Transcriptions,
        Api::CountTokens if !ollama => Api::CountTokens,
        Api::CountTokens | Api::OllamaShow => return None,
    })
}
