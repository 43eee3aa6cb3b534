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
