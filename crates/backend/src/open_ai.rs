//! Servers that are known by `/v1/models` alone: vLLM, and whatever else speaks OpenAI's format.

use proto::{Api, ApiSet, BackendKind, Loaded, Model};
use serde_json::Value;

use crate::http::{Client, Foreign, LONG, SHORT, Trouble};
use crate::portrait::{MAX_MODELS, Portrait, bare, in_order, list, number, text};
use crate::rhythm::Look;

/// The calls that may be there.
const CALLS: [Api; 7] = [
    Api::ChatCompletions,
    Api::Completions,
    Api::Embeddings,
    Api::Responses,
    Api::Messages,
    Api::CountTokens,
    Api::Transcriptions,
];

/// What is assumed of a server that answers every path alike.
const USUAL: ApiSet = ApiSet::of(&[Api::ChatCompletions, Api::Completions, Api::Embeddings]);

/// One such server.
pub(crate) struct OpenAi {
    kind: BackendKind,
    version: Option<String>,
    speaks: ApiSet,
    models: Vec<Model>,
}

impl OpenAi {
    /// Asks what there is to know at first; `listing` is its answer to `/v1/models`.
    pub(crate) async fn meet(client: &Client, listing: &Value) -> Result<OpenAi, Trouble> {
        let is_vllm = list(listing, "data").iter().any(|entry| text(entry, "owned_by").as_deref() == Some("vllm"));
        let version = if is_vllm { client.get("/version", SHORT).await?.json() } else { None };
        let kind = if is_vllm { BackendKind::Vllm } else { BackendKind::OpenAi };
        Ok(OpenAi {
            kind,
            version: version.and_then(|body| text(&body, "version")),
            speaks: learn_calls(client).await?,
            models: models(listing, kind),
        })
    }

    /// Lists its models, which also shows that it lives.
    pub(crate) async fn look(&mut self, client: &Client) -> Result<Look, Trouble> {
        let answer = client.get("/v1/models", LONG).await?;
        if answer.wants_key() {
            return Err(Trouble::Foreign(Foreign::WantsKey));
        }
        let listing = answer.json().filter(is_listing).ok_or(Trouble::Odd)?;
        self.models = models(&listing, self.kind);
        Ok(Look::Up)
    }

    pub(crate) fn portrait(&self) -> Portrait {
        Portrait {
            kind: self.kind,
            version: self.version.clone(),
            speaks: self.speaks,
            slots: None,
            most_loaded: None,
            ignores_model_name: false,
            models: self.models.clone(),
        }
    }
}

/// Whether a body is a list of models in OpenAI's format. Ollama writes an empty one as `null`.
pub(crate) fn is_listing(body: &Value) -> bool {
    match body.get("data") {
        Some(Value::Array(entries)) => entries.iter().all(|entry| text(entry, "id").is_some()),
        Some(Value::Null) => text(body, "object").as_deref() == Some("list"),
        _ => false,
    }
}

/// Asks which calls it has. A GET on a known path is refused, but not as unknown; a server that treats a made-up path
/// the same way tells nothing.
async fn learn_calls(client: &Client) -> Result<ApiSet, Trouble> {
    let made_up = client.get("/v1/no/such/call", SHORT).await?.status;
    let mut speaks = ApiSet::NONE;
    let mut alike = true;
    for api in CALLS {
        let status = client.get(api.path(), SHORT).await?.status;
        alike &= status == made_up;
        if matches!(status, 400 | 401 | 405 | 415 | 422) {
            speaks = speaks.with(api);
        }
    }
    Ok(if alike || speaks == ApiSet::NONE { USUAL } else { speaks })
}

fn models(listing: &Value, kind: BackendKind) -> Vec<Model> {
    let entries = list(listing, "data");
    // vLLM has everything it lists in memory. Of others that is only known where there is nothing to choose from.
    let is_loaded = kind == BackendKind::Vllm || entries.len() == 1;
    in_order(entries.iter().take(MAX_MODELS).filter_map(|entry| {
        let mut model = bare(&text(entry, "id")?)?;
        let context = number(entry, "max_model_len").or_else(|| number(entry, "context_length"));
        model.context_trained = context;
        model.loaded = is_loaded.then_some(Loaded { context, size: None, size_vram: None, expires_at: None });
        Some(model)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_a_list_of_models() {
        for (body, is) in [
            (json!({"object": "list", "data": [{"id": "a"}]}), true),
            (json!({"data": []}), true),
            (json!({"object": "list", "data": null}), true),
            (json!({"data": null}), false),
            (json!({"data": [{"name": "a"}]}), false),
            (json!({"data": {"id": "a"}}), false),
            (json!({"error": "Unexpected endpoint or method"}), false),
            (json!([]), false),
        ] {
            assert_eq!(is_listing(&body), is, "{body}");
        }
    }

    #[test]
    fn vllm_has_all_it_lists_in_memory() {
        let listing = json!({"data": [
            {"id": "qwen", "owned_by": "vllm", "max_model_len": 32768},
            {"id": "qwen-lora", "owned_by": "vllm", "parent": "qwen", "max_model_len": null},
        ]});
        let found = models(&listing, BackendKind::Vllm);
        assert_eq!(found[0].loaded.as_ref().unwrap().context, Some(32768));
        assert_eq!(found[0].context_trained, Some(32768));
        assert!(found[1].loaded.is_some());
        assert!(models(&listing, BackendKind::OpenAi).iter().all(|model| model.loaded.is_none()));
        assert!(models(&json!({"data": [{"id": "only"}]}), BackendKind::OpenAi)[0].loaded.is_some());
    }
}
