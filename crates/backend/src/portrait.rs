//! What a server says about itself, in the words all kinds of servers share.

use proto::{ApiSet, BackendKind, Capability, Model, ModelName};
use serde_json::Value;

/// Models of one backend that are listed at most; those whose names sort last are left out.
pub(crate) const MAX_MODELS: usize = 4096;
/// The longest id of a model; one with a longer id is left out.
const MAX_ID: usize = 512;

/// Everything of a [`proto::BackendState`] that the server itself tells.
#[derive(Clone, Debug)]
pub(crate) struct Portrait {
    pub(crate) kind: BackendKind,
    pub(crate) version: Option<String>,
    pub(crate) speaks: ApiSet,
    pub(crate) slots: Option<u32>,
    pub(crate) most_loaded: Option<u32>,
    pub(crate) ignores_model_name: bool,
    /// Sorted by name, without doubles.
    pub(crate) models: Vec<Model>,
}

/// A model of which nothing but the id is known; `None` if no request could name it.
pub(crate) fn bare(id: &str) -> Option<Model> {
    if id.trim().is_empty() || id.len() > MAX_ID || id.chars().any(char::is_control) {
        return None;
    }
    Some(Model {
        name: ModelName::new(id),
        id: id.to_owned(),
        digest: None,
        size: None,
        weights: None,
        quantization: None,
        family: None,
        parameter_size: None,
        capabilities: Vec::new(),
        context_trained: None,
        modified_at: None,
        loaded: None,
        listing: None,
    })
}

/// Puts models in order. Of two with one name the first stays.
pub(crate) fn in_order(models: impl IntoIterator<Item = Model>) -> Vec<Model> {
    let mut models: Vec<Model> = models.into_iter().collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    models.dedup_by(|later, earlier| later.name == earlier.name);
    models.truncate(MAX_MODELS);
    models
}

/// Text at `key`; empty text counts as none.
pub(crate) fn text(value: &Value, key: &str) -> Option<String> {
    Some(value.get(key)?.as_str()?.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A whole number above 0 at `key`.
pub(crate) fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64().filter(|&number| number > 0)
}

/// The list at `key`; nothing else counts as an empty one.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number of parameters the way Ollama writes it: `8.0B`, `134.52M`, `389K` (HumanNumber in its format/format.go).
pub(crate) fn parameter_size(count: u64) -> String {
    let whole = |unit: u64| count.is_multiple_of(unit);
    let of = |unit: u64| count as f64 / unit as f64;
    match count {
        1_000_000_000.. => format!("{:.1}B", of(1_000_000_000)),
        1_000_000.. if whole(1_000_000) => format!("{}M", count / 1_000_000),
        1_000_000.. => format!("{:.2}M", of(1_000_000)),
        1_000.. => format!("{:.0}K", of(1_000)),
        _ => count.to_string(),
    }
}

/// The capabilities that a chat template shows.
pub(crate) fn template_capabilities(template: &str) -> impl Iterator<Item = Capability> {
    let tools = template.contains("tools").then_some(Capability::Tools);
    let thinking = ["<think>", "enable_thinking", "reasoning_content"].iter().any(|word| template.contains(word));
    tools.into_iter().chain(thinking.then_some(Capability::Thinking))
}

/// Whether two lists of models say the same.
pub(crate) fn same_models(a: &[Model], b: &[Model]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_model(a, b))
}

fn same_model(a: &Model, b: &Model) -> bool {
    // Taken apart, so that a new field cannot be forgotten here.
    let Model {
        name,
        id,
        digest,
        weights,
        size,
        quantization,
        family,
        parameter_size,
        capabilities,
        context_trained,
        modified_at,
        loaded,
        listing,
    } = a;
    *name == b.name
        && *id == b.id
        && *digest == b.digest
        && *weights == b.weights
        && *size == b.size
        && *quantization == b.quantization
        && *family == b.family
        && *parameter_size == b.parameter_size
        && *capabilities == b.capabilities
        && *context_trained == b.context_trained
        && *modified_at == b.modified_at
        && *loaded == b.loaded
        && listing.as_deref().map(|raw| raw.get()) == b.listing.as_deref().map(|raw| raw.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_as_ollama_does() {
        for (count, text) in [
            (999, "999"),
            (389_248, "389K"),
            (134_515_008, "134.52M"),
            (7_000_000, "7M"),
            (8_030_261_248, "8.0B"),
            (70_000_000_000, "70.0B"),
        ] {
            assert_eq!(parameter_size(count), text);
        }
    }

    #[test]
    fn ids_nobody_can_ask_for_are_left_out() {
        assert!(["", "  ", "a\nb", &"x".repeat(MAX_ID + 1)].iter().all(|id| bare(id).is_none()));
        assert_eq!(bare("/models/A.gguf").unwrap().id, "/models/A.gguf");
    }

    #[test]
    fn models_are_sorted_and_named_once() {
        let models = in_order(["b", "A:latest", "a", "c"].iter().filter_map(|id| bare(id)));
        let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["A:latest", "b", "c"]);
        let many = in_order((0..=MAX_MODELS).filter_map(|n| bare(&format!("m{n:05}"))));
        assert_eq!(many.len(), MAX_MODELS);
    }

    #[test]
    fn templates_show_what_a_model_can_do() {
        for (template, shown) in [
            ("{{ messages }}", vec![]),
            ("{%- if tools %}", vec![Capability::Tools]),
            ("{% if tools %}<think>", vec![Capability::Tools, Capability::Thinking]),
        ] {
            assert_eq!(template_capabilities(template).collect::<Vec<_>>(), shown, "{template}");
        }
    }
}
