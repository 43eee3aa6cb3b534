//! LM Studio: its own lists tell what is loaded. Written after its documentation; it answers 200 to unknown paths.

use proto::{Api, ApiSet, BackendKind, Capability, Loaded, Model};
use serde_json::Value;

use crate::http::{Client, LONG, Trouble};
use crate::portrait::{MAX_MODELS, Portrait, bare, in_order, list, number, text};
use crate::rhythm::Look;

/// Which of its two lists it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edition {
    /// `/api/v1/models`, since 0.4.0.
    V1,
    /// `/api/v0/models`, before.
    V0,
}

/// One LM Studio.
pub(crate) struct LmStudio {
    edition: Edition,
    listing: Value,
}

impl LmStudio {
    /// Asks for its lists; `None` if it has neither.
    pub(crate) async fn meet(client: &Client) -> Result<Option<LmStudio>, Trouble> {
        for edition in [Edition::V1, Edition::V0] {
            let listing = client.get(edition.path(), LONG).await?.json();
            if let Some(listing) = listing.filter(|listing| edition.is_listing(listing)) {
                return Ok(Some(LmStudio { edition, listing }));
            }
        }
        Ok(None)
    }

    /// Lists its models, which also shows that it lives.
    pub(crate) async fn look(&mut self, client: &Client) -> Result<Look, Trouble> {
        let listing = client.get(self.edition.path(), LONG).await?.json();
        // The last model may have been deleted: an empty list is still one.
        let still = |listing: &Value| listing.get(self.edition.key()).is_some_and(Value::is_array);
        self.listing = listing.filter(still).ok_or(Trouble::Odd)?;
        Ok(Look::Up)
    }

    pub(crate) fn portrait(&self) -> Portrait {
        let entries = list(&self.listing, self.edition.key());
        let speaks = ApiSet::of(&[Api::ChatCompletions, Api::Completions, Api::Embeddings]);
        Portrait {
            kind: BackendKind::LmStudio,
            version: None,
            speaks: match self.edition {
                Edition::V1 => speaks.with(Api::Responses).with(Api::Messages),
                Edition::V0 => speaks,
            },
            slots: entries.iter().filter_map(|entry| number(instance(entry)?, "parallel")?.try_into().ok()).min(),
            most_loaded: None,
            ignores_model_name: false,
            models: in_order(entries.iter().take(MAX_MODELS).filter_map(|entry| self.edition.model(entry))),
        }
    }
}

impl Edition {
    fn path(self) -> &'static str {
        match self {
            Edition::V1 => "/api/v1/models",
            Edition::V0 => "/api/v0/models",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Edition::V1 => "models",
            Edition::V0 => "data",
        }
    }

    /// Whether this is such a list, going by what nobody else has in it.
    fn is_listing(self, listing: &Value) -> bool {
        let own = match self {
            Edition::V1 => "loaded_instances",
            Edition::V0 => "state",
        };
        list(listing, self.key()).iter().any(|entry| entry.get(own).is_some())
    }

    fn model(self, entry: &Value) -> Option<Model> {
        match self {
            Edition::V1 => model_v1(entry),
            Edition::V0 => model_v0(entry),
        }
    }
}

fn instance(entry: &Value) -> Option<&Value> {
    list(entry, "loaded_instances").first()?.get("config")
}

fn model_v1(entry: &Value) -> Option<Model> {
    let mut model = bare(&text(entry, "key")?)?;
    let can = |key: &str| entry.get("capabilities").and_then(|can| can.get(key)?.as_bool()) == Some(true);
    model.size = number(entry, "size_bytes");
    model.quantization = entry.get("quantization").and_then(|quantization| text(quantization, "name"));
    model.family = text(entry, "architecture");
    model.parameter_size = text(entry, "params_string");
    model.context_trained = number(entry, "max_context_length");
    model.capabilities = match text(entry, "type").as_deref() {
        Some("embedding") => vec![Capability::Embedding],
        _ => [
            Some(Capability::Completion),
            can("trained_for_tool_use").then_some(Capability::Tools),
            can("vision").then_some(Capability::Vision),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    model.loaded = (!list(entry, "loaded_instances").is_empty()).then(|| Loaded {
        context: instance(entry).and_then(|config| number(config, "context_length")),
        size: None,
        size_vram: None,
        expires_at: None,
    });
    Some(model)
}

fn model_v0(entry: &Value) -> Option<Model> {
    let mut model = bare(&text(entry, "id")?)?;
    model.quantization = text(entry, "quantization");
    model.family = text(entry, "arch");
    model.context_trained = number(entry, "max_context_length");
    let tools = list(entry, "capabilities").iter().any(|word| word == "tool_use").then_some(Capability::Tools);
    model.capabilities = match text(entry, "type").as_deref() {
        Some("embeddings") => vec![Capability::Embedding],
        Some("vlm") => [Capability::Completion, Capability::Vision].into_iter().chain(tools).collect(),
        _ => [Capability::Completion].into_iter().chain(tools).collect(),
    };
    model.loaded = (text(entry, "state").as_deref() == Some("loaded")).then(|| Loaded {
        context: number(entry, "loaded_context_length"),
        size: None,
        size_vram: None,
        expires_at: None,
    });
    Some(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newer_list() {
        let listing = json!({"models": [
            {"type": "llm", "key": "qwen/qwen3-4b", "architecture": "qwen3", "quantization": {"name": "Q4_K_M"},
             "size_bytes": 2_500_000_000u64, "params_string": "4B", "max_context_length": 40960,
             "capabilities": {"vision": false, "trained_for_tool_use": true},
             "loaded_instances": [{"id": "qwen/qwen3-4b", "config": {"context_length": 8192, "parallel": 4}}]},
            {"type": "embedding", "key": "nomic", "loaded_instances": [], "max_context_length": 2048},
        ]});
        assert!(Edition::V1.is_listing(&listing));
        let portrait = LmStudio { edition: Edition::V1, listing }.portrait();
        assert_eq!((portrait.slots, portrait.models.len()), (Some(4), 2));
        let [nomic, qwen] = &portrait.models[..] else { panic!("two models") };
        assert_eq!(nomic.capabilities, [Capability::Embedding]);
        assert!(nomic.loaded.is_none());
        assert_eq!(qwen.capabilities, [Capability::Completion, Capability::Tools]);
        assert_eq!(qwen.loaded.as_ref().unwrap().context, Some(8192));
        assert_eq!((qwen.size, qwen.context_trained), (Some(2_500_000_000), Some(40960)));
        assert_eq!(qwen.quantization.as_deref(), Some("Q4_K_M"));
        assert!(portrait.speaks.has(Api::Messages));
    }

    #[test]
    fn the_older_list() {
        let listing = json!({"object": "list", "data": [
            {"id": "llava", "type": "vlm", "arch": "llama", "quantization": "Q4_0", "state": "loaded",
             "max_context_length": 4096, "loaded_context_length": 2048, "capabilities": ["tool_use"]},
            {"id": "nomic", "type": "embeddings", "state": "not-loaded"},
        ]});
        assert!(Edition::V0.is_listing(&listing) && !Edition::V1.is_listing(&listing));
        let portrait = LmStudio { edition: Edition::V0, listing }.portrait();
        let [llava, nomic] = &portrait.models[..] else { panic!("two models") };
        assert_eq!(llava.capabilities, [Capability::Completion, Capability::Vision, Capability::Tools]);
        assert_eq!(llava.loaded.as_ref().unwrap().context, Some(2048));
        assert!(nomic.loaded.is_none());
        assert!(!portrait.speaks.has(Api::Messages));
    }

    #[test]
    fn the_answer_to_an_unknown_path_is_no_list() {
        let body = json!({"error": "Unexpected endpoint or method. (GET /api/v1/models)"});
        assert!(!Edition::V1.is_listing(&body) && !Edition::V0.is_listing(&body));
    }
}
