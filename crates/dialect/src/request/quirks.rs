//! What backends of each kind are like, as data.

use proto::{Api, BackendKind};

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
