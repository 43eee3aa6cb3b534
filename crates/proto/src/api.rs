//! The HTTP interfaces that clients speak and backends offer.

use serde::{Deserialize, Serialize};

/// A family of request, response and error formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Ollama's `/api/*`: NDJSON streams, `{"error":"text"}`.
    Ollama,
    /// OpenAI's `/v1/*`: server-sent events, `{"error":{"message",…}}`.
    OpenAi,
    /// Anthropic's `/v1/messages`: named server-sent events, `{"type":"error",…}`.
    Anthropic,
}

impl Dialect {
    /// The name stored in `request_traces.original_format`.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Ollama => "ollama",
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
        }
    }
}

/// One inference call that a backend may or may not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Api {
    /// `POST /api/chat`
    OllamaChat,
    /// `POST /api/generate`
    OllamaGenerate,
    /// `POST /api/embed`
    OllamaEmbed,
    /// `POST /api/embeddings`, the older form with one vector.
    OllamaEmbeddings,
    /// `POST /v1/chat/completions`
    ChatCompletions,
    /// `POST /v1/completions`
    Completions,
    /// `POST /v1/embeddings`
    Embeddings,
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/audio/transcriptions`
    Transcriptions,
    /// `POST /api/show`: no inference, but answered by one backend that has the model.
    OllamaShow,
}

impl Api {
    /// Every call, in the order of their numbers.
    pub const ALL: [Api; 12] = [
        Api::OllamaChat,
        Api::OllamaGenerate,
        Api::OllamaEmbed,
        Api::OllamaEmbeddings,
        Api::ChatCompletions,
        Api::Completions,
        Api::Embeddings,
        Api::Responses,
        Api::Messages,
        Api::CountTokens,
        Api::Transcriptions,
        Api::OllamaShow,
    ];

    /// The path at the door and at the backend.
    pub fn path(self) -> &'static str {
        match self {
            Api::OllamaChat => "/api/chat",
            Api::OllamaGenerate => "/api/generate",
            Api::OllamaEmbed => "/api/embed",
            Api::OllamaEmbeddings => "/api/embeddings",
            Api::ChatCompletions => "/v1/chat/completions",
            Api::Completions => "/v1/completions",
            Api::Embeddings => "/v1/embeddings",
            Api::Responses => "/v1/responses",
            Api::Messages => "/v1/messages",
            Api::CountTokens => "/v1/messages/count_tokens",
            Api::Transcriptions => "/v1/audio/transcriptions",
            Api::OllamaShow => "/api/show",
        }
    }

    /// The call at `path`, where it is one of these.
    pub fn at(path: &str) -> Option<Api> {
        Api::ALL.into_iter().find(|api| api.path() == path)
    }

    /// The formats that a client of this call expects.
    pub fn dialect(self) -> Dialect {
        match self {
            Api::OllamaChat | Api::OllamaGenerate | Api::OllamaEmbed | Api::OllamaEmbeddings | Api::OllamaShow => {
                Dialect::Ollama
            }
            Api::ChatCompletions | Api::Completions | Api::Embeddings | Api::Responses | Api::Transcriptions => {
                Dialect::OpenAi
            }
            Api::Messages | Api::CountTokens => Dialect::Anthropic,
        }
    }

    /// Whether the answer is streamed when the request does not say.
    pub fn streams_by_default(self) -> bool {
        matches!(self, Api::OllamaChat | Api::OllamaGenerate)
    }

    /// Whether the call makes the model work, and so needs a slot.
    pub fn needs_slot(self) -> bool {
        !matches!(self, Api::CountTokens | Api::OllamaShow)
    }
}

/// A set of [`Api`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ApiSet(u16);

impl ApiSet {
    /// No call at all.
    pub const NONE: ApiSet = ApiSet(0);

    /// The set with exactly these calls.
    pub const fn of(apis: &[Api]) -> ApiSet {
        let (mut bits, mut i) = (0, 0);
        while i < apis.len() {
            bits |= 1 << apis[i] as u16;
            i += 1;
        }
        ApiSet(bits)
    }

    /// Whether `api` is in the set.
    pub fn has(self, api: Api) -> bool {
        self.0 & (1 << api as u16) != 0
    }

    /// The set without `api`.
    #[must_use]
    pub fn without(self, api: Api) -> ApiSet {
        ApiSet(self.0 & !(1 << api as u16))
    }

    /// The set with `api`.
    #[must_use]
    pub fn with(self, api: Api) -> ApiSet {
        ApiSet(self.0 | (1 << api as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_back_to_its_call() {
        for api in Api::ALL {
            assert_eq!(Api::at(api.path()), Some(api));
            assert_eq!(Api::ALL[api as usize], api);
        }
        assert_eq!(Api::at("/api/chat/"), None);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = ApiSet::of(&[Api::OllamaChat, Api::OllamaShow]);
        assert!(set.has(Api::OllamaChat) && set.has(Api::OllamaShow) && !set.has(Api::Messages));
        assert!(!set.without(Api::OllamaChat).has(Api::OllamaChat));
        assert!(set.with(Api::Messages).has(Api::Messages));
    }
}
