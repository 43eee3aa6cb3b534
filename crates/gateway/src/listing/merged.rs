//! One list out of the models of several machines.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use proto::{BackendState, Model, ModelName};

/// What another machine of the fleet has.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// Its shown name.
    pub node: Arc<str>,
    /// Its inference servers that are up, with their models.
    pub backends: Vec<Arc<BackendState>>,
}

/// One line of a list.
pub(super) struct Entry<'a> {
    /// The backend that describes it.
    pub(super) backend: &'a BackendState,
    /// The model as it is there.
    pub(super) model: &'a Model,
    /// The machines that have it, this one first.
    pub(super) nodes: Vec<&'a str>,
    /// Whether this machine has it.
    pub(super) is_own: bool,
    /// The machine that its name has to name, because another model has the plain name.
    of: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn new(backend: &'a BackendState, model: &'a Model, node: &'a str, is_own: bool) -> Entry<'a> {
        Entry { backend, model, nodes: vec![node], is_own, of: None }
    }

    /// The name to ask for.
    pub(super) fn shown(&self) -> Cow<'a, str> {
        match self.of {
            None => Cow::Borrowed(&self.model.id),
            Some(node) => Cow::Owned(format!("{}@{node}", self.model.id)),
        }
    }

    /// The same in comparable form.
    pub(super) fn key(&self) -> ModelName {
        match self.of {
            None => self.model.name.clone(),
            Some(_) => ModelName::new(&self.shown()),
        }
    }

    /// Two files of one name are two models. Where a digest is not told, the name must do.
    fn is_same(&self, model: &Model) -> bool {
        match (&self.model.digest, &model.digest) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }
}

/// Every model once. Of several models of one name, this machine's has the plain name, or else the one that was changed
/// last; the others are told apart by a machine that has them, as `name@machine`.
pub(super) fn entries<'a>(
    backends: &'a [Arc<BackendState>],
    node: &'a str,
    elsewhere: &'a [Elsewhere],
) -> Vec<Entry<'a>> {
    let mut by_name: BTreeMap<&ModelName, Vec<Entry<'a>>> = BTreeMap::new();
    // The same name on two backends of one machine is one model to ask for; the first that is up describes it.
    for backend in backends.iter().filter(|backend| backend.health.is_up()) {
        for model in &backend.models {
            by_name.entry(&model.name).or_insert_with(|| vec![Entry::new(backend, model, node, true)]);
        }
    }
    for other in elsewhere {
        for (backend, model) in
            other.backends.iter().flat_map(|backend| backend.models.iter().map(move |model| (backend, model)))
        {
            let entries = by_name.entry(&model.name).or_default();
            if entries.iter().any(|entry| entry.nodes.contains(&&*other.node)) {
                continue;
            }
            match entries.iter_mut().find(|entry| entry.is_same(model)) {
                Some(entry) => entry.nodes.push(&other.node),
                None => entries.push(Entry::new(backend, model, &other.node, false)),
            }
        }
    }
    let told_apart = |mut entries: Vec<Entry<'a>>| {
        entries.sort_by(|a, b| {
            (Reverse(a.is_own), Reverse(&a.model.modified_at)).cmp(&(Reverse(b.is_own), Reverse(&b.model.modified_at)))
        });
        for entry in entries.iter_mut().skip(1) {
            entry.of = entry.nodes.first().copied();
        }
        entries
    };
    by_name.into_values().flat_map(told_apart).collect()
}

#[cfg(test)]
mod tests {
    use proto::{Address, ApiSet, BackendId, BackendKind, Health, Link, Loaded};
    use serde_json::Value;

    use super::super::Listings;
    use super::*;

    fn model(name: &str, digest: Option<char>, modified_at: &str) -> Model {
        Model {
            name: ModelName::new(name),
            id: name.to_owned(),
            digest: digest.map(|letter| letter.to_string().repeat(64)),
            weights: None,
            size: Some(7),
            quantization: None,
            family: Some("llama".to_owned()),
            parameter_size: None,
            capabilities: Vec::new(),
            context_trained: Some(8192),
            modified_at: Some(modified_at.to_owned()),
            loaded: None,
            listing: None,
        }
    }

    fn loaded(model: Model) -> Model {
        Model { loaded: Some(Loaded { context: Some(4096), size: None, size_vram: None, expires_at: None }), ..model }
    }

    fn backend(models: Vec<Model>) -> Arc<BackendState> {
        Arc::new(BackendState {
            id: BackendId::new("ollama"),
            kind: BackendKind::Ollama,
            address: Address { host: "127.0.0.1".to_owned(), port: 1, base_path: String::new() },
            link: Link::Loopback,
            version: Some("0.33.0".to_owned()),
            health: Health::Up,
            speaks: ApiSet::NONE,
            serves: ApiSet::NONE,
            slots: None,
            most_loaded: None,
            ignores_model_name: false,
            models,
        })
    }

    fn elsewhere(node: &str, models: Vec<Model>) -> Elsewhere {
        Elsewhere { node: node.into(), backends: vec![backend(models)] }
    }

    /// What `/api/tags` lists: names with the machines that have them.
    fn tags(backends: &[Arc<BackendState>], others: &[Elsewhere]) -> Vec<(String, Vec<String>)> {
        let page: Value = serde_json::from_slice(&Listings::build(backends, "here", others).tags.bytes).unwrap();
        let row = |row: &Value| {
            let nodes = row["details"]["fleet_nodes"].as_array().unwrap();
            (
                row["name"].as_str().unwrap().to_owned(),
                nodes.iter().map(|node| node.as_str().unwrap().to_owned()).collect(),
            )
        };
        let mut rows: Vec<(String, Vec<String>)> = page["models"].as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    }

    fn row(name: &str, nodes: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), nodes.iter().map(|node| (*node).to_owned()).collect())
    }

    #[test]
    fn one_model_on_several_machines_is_listed_once() {
        let own = [backend(vec![model("a", Some('1'), "2026-01-01"), model("b", None, "2026-01-01")])];
        let others = [
            elsewhere("den", vec![model("A:latest", Some('1'), "2026-02-01"), model("c", Some('3'), "2026-01-01")]),
            // A server that tells no digests says nothing about the file: the name must do.
            elsewhere("loft", vec![model("a", None, "2026-03-01"), model("b", Some('2'), "2026-01-01")]),
        ];
        let expected = [row("a", &["here", "den", "loft"]), row("b", &["here", "loft"]), row("c", &["den"])];
        assert_eq!(tags(&own, &others), expected);
        assert_eq!(tags(&own, &[]), [row("a", &["here"]), row("b", &["here"])]);
    }

    #[test]
    fn two_models_of_one_name_are_told_apart() {
        let (old, new) = (model("a", Some('1'), "2026-01-01"), model("a", Some('2'), "2026-02-01"));
        let others = [elsewhere("den", vec![old.clone()]), elsewhere("loft", vec![new.clone()])];
        // The one that this door serves keeps its name; otherwise the newest has it.
        assert_eq!(tags(&[], &others), [row("a", &["loft"]), row("a@den", &["den"])]);
        assert_eq!(tags(&[backend(vec![old])], &others), [row("a", &["here", "den"]), row("a@loft", &["loft"])]);
        let by_name = Listings::build(&[], "here", &others).by_name;
        assert!(by_name.contains_key(&ModelName::new("a")) && by_name.contains_key(&ModelName::new("A@den")));
    }

    #[test]
    fn what_is_in_several_memories_is_listed_once() {
        let own = [backend(vec![loaded(model("a", Some('1'), "2026-01-01"))])];
        let others = [
            elsewhere("den", vec![loaded(model("a", Some('1'), "2026-01-01")), loaded(model("b", None, "2026-01-01"))]),
            elsewhere("loft", vec![loaded(model("a", Some('2'), "2026-01-01")), model("b", None, "2026-01-01")]),
        ];
        let page: Value = serde_json::from_slice(&Listings::build(&own, "here", &others).ps.bytes).unwrap();
        let rows: Vec<_> = page["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["name"].clone(), row["fleet_node"].clone()))
            .collect();
        assert_eq!(rows, [("a".into(), "here".into()), ("b".into(), "den".into()), ("a@loft".into(), "loft".into())]);
        assert_eq!(page["models"][0]["fleet_nodes"], serde_json::json!(["here", "den"]));
        assert_eq!(page["models"][1].get("fleet_nodes"), None);
    }

    #[test]
    fn a_model_of_another_machine_can_be_looked_at() {
        let listings = Listings::build(&[], "here", &[elsewhere("den", vec![model("a", None, "2026-01-01")])]);
        let shown: Value = serde_json::from_slice(&listings.show(&ModelName::new("a")).unwrap()).unwrap();
        assert_eq!(shown["model_info"]["llama.context_length"], 8192);
    }
}
