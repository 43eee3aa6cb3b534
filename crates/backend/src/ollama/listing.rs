//! Ollama's lists, read leniently: one odd entry or field spoils no other.

use std::sync::Arc;

use proto::{Capability, Loaded, Model, ModelName};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Edition;
use crate::portrait::{MAX_MODELS, bare, list, number, text};

/// An entry of `/api/tags`.
pub(super) struct Tag {
    pub(super) edition: Edition,
    pub(super) model: Model,
    pub(super) remote: bool,
    /// Whether it is served from this machine after all: by another server, or by us, and then in circles.
    pub(super) points_here: bool,
}

impl Tag {
    pub(super) fn is_remote(&self) -> bool {
        self.remote || self.model.name.is_cloud()
    }

    pub(super) fn model(&self, described: Option<&Described>, running: Option<&Running>) -> Model {
        let mut model = self.model.clone();
        model.loaded = running.map(|running| running.loaded.clone());
        let Some(described) = described else { return model };
        model.weights.clone_from(&described.weights);
        model.context_trained = described.context_trained.or(model.context_trained);
        let known: Vec<Capability> =
            described.capabilities.iter().filter_map(|word| Capability::from_word(word)).collect();
        model.capabilities.extend(known.iter().filter(|known| !self.model.capabilities.contains(known)));
        model.listing = model.listing.map(|listing| with_capabilities(listing, &described.capabilities));
        model
    }
}

/// Reads `/api/tags`; `None` if it is no such list. Entries without a usable name are skipped.
pub(super) fn tags(body: &[u8]) -> Option<Vec<Tag>> {
    #[derive(serde::Deserialize)]
    struct Listing {
        models: Option<Vec<Box<RawValue>>>,
    }
    let listing: Listing = serde_json::from_slice(body).ok()?;
    Some(listing.models?.into_iter().take(MAX_MODELS).filter_map(tag).collect())
}

fn tag(raw: Box<RawValue>) -> Option<Tag> {
    let entry: Value = serde_json::from_str(raw.get()).ok()?;
    let mut model = bare(&text(&entry, "name").or_else(|| text(&entry, "model"))?)?;
    let none = Value::Null;
    let details = entry.get("details").unwrap_or(&none);
    model.digest = text(&entry, "digest").map(|digest| digest.trim_start_matches("sha256:").to_owned());
    model.size = number(&entry, "size");
    model.modified_at = text(&entry, "modified_at");
    model.quantization = text(details, "quantization_level");
    model.family = text(details, "family");
    model.parameter_size = text(details, "parameter_size");
    model.context_trained = number(details, "context_length");
    for capability in list(&entry, "capabilities").iter().filter_map(|word| Capability::from_word(word.as_str()?)) {
        if !model.capabilities.contains(&capability) {
            model.capabilities.push(capability);
        }
    }
    model.listing = Some(Arc::from(raw));
    let remote_host = text(&entry, "remote_host");
    Some(Tag {
        edition: (model.id.clone(), model.digest.clone()),
        model,
        remote: remote_host.is_some() || text(&entry, "remote_model").is_some(),
        points_here: remote_host
            .is_some_and(|host| crate::Place::parse(&host).is_ok_and(|at| at.address.is_loopback())),
    })
}

/// An entry of `/api/tags` with the capabilities of `/api/show` added; as it was if nothing is added.
fn with_capabilities(listing: Arc<RawValue>, shown: &[String]) -> Arc<RawValue> {
    let Ok(Value::Object(mut entry)) = serde_json::from_str(listing.get()) else { return listing };
    let mut words: Vec<Value> = entry.get("capabilities").and_then(Value::as_array).cloned().unwrap_or_default();
    let told = words.len();
    for word in shown {
        if !words.iter().any(|other| other.as_str() == Some(word)) {
            words.push(Value::from(word.as_str()));
        }
    }
    if words.len() == told {
        return listing;
    }
    entry.insert("capabilities".to_owned(), Value::Array(words));
    serde_json::value::to_raw_value(&entry).map_or(listing, Arc::from)
}

/// What `/api/show` tells and `/api/tags` may not.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Described {
    pub(super) capabilities: Vec<String>,
    pub(super) context_trained: Option<u64>,
    /// 64 hexadecimal digits of the file that its engine is started with; `None` if not told.
    pub(super) weights: Option<String>,
    /// What must be equal for two models to share what is loaded; `None` if not told.
    pub(super) runner: Option<String>,
    pub(super) remote: bool,
}

pub(super) fn describe(shown: &Value) -> Described {
    let context = |info: &Value| {
        let architecture = text(info, "general.architecture")?;
        number(info, &format!("{architecture}.context_length"))
    };
    Described {
        capabilities: list(shown, "capabilities")
            .iter()
            .filter_map(|word| Some(word.as_str()?.to_owned()))
            .take(32)
            .collect(),
        context_trained: shown.get("model_info").and_then(context),
        weights: text(shown, "modelfile").as_deref().and_then(weights),
        runner: text(shown, "modelfile").as_deref().and_then(runner),
        remote: text(shown, "remote_host").is_some() || text(shown, "remote_model").is_some(),
    }
}

/// The digest in the first FROM line of a Modelfile; further ones name projectors. Ollama keys what is loaded by this
/// file (schedulerModelKey in its server/sched.go, August 2026).
pub(super) fn weights(modelfile: &str) -> Option<String> {
    let from = modelfile.lines().find_map(|line| line.trim().strip_prefix("FROM "))?;
    let (_, digest) = from.trim().trim_matches('"').rsplit_once("sha256-")?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_digest.then(|| digest.to_ascii_lowercase())
}

/// The lines of a Modelfile that decide what is loaded: weights, adapters, and parameters that load a model again when
/// they differ (needsReload in Ollama's server/sched.go, August 2026). `num_ctx` is not among them: requests name the
/// loaded one, which overrules the Modelfile's.
pub(super) fn runner(modelfile: &str) -> Option<String> {
    const PARAMETERS: [&str; 6] = ["num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"];
    const LONGEST: usize = 4096;
    let mut lines: Vec<&str> = modelfile
        .lines()
        .map(str::trim)
        .filter(|line| {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("FROM" | "ADAPTER") => true,
                Some("PARAMETER") => words.next().is_some_and(|name| PARAMETERS.contains(&name)),
                _ => false,
            }
        })
        .collect();
    lines.sort_unstable();
    let key = lines.join("\n");
    (key.contains("sha256-") && key.len() <= LONGEST).then_some(key)
}

/// An entry of `/api/ps`.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) name: Option<ModelName>,
    pub(crate) digest: Option<String>,
    pub(crate) loaded: Loaded,
}

impl Running {
    pub(super) fn is(&self, tag: &Tag) -> bool {
        let digest = self.digest.is_some() && self.digest == tag.model.digest;
        // A name that was pulled anew while the old one is loaded is not loaded: the digests differ.
        let name = self.name.as_ref() == Some(&tag.model.name);
        digest || (name && (self.digest.is_none() || tag.model.digest.is_none()))
    }
}

/// Reads `/api/ps`; `None` if it is no such list.
pub(crate) fn running(ps: &Value) -> Option<Vec<Running>> {
    let models = ps.get("models")?;
    let entries = if models.is_null() { &[][..] } else { models.as_array()?.as_slice() };
    Some(entries.iter().take(MAX_MODELS).map(entry_of_ps).collect())
}

fn entry_of_ps(entry: &Value) -> Running {
    Running {
        name: text(entry, "name").or_else(|| text(entry, "model")).map(|name| ModelName::new(&name)),
        digest: text(entry, "digest").map(|digest| digest.trim_start_matches("sha256:").to_owned()),
        loaded: Loaded {
            context: number(entry, "context_length"),
            size: number(entry, "size"),
            // 0 is told, too: it runs on the processor.
            size_vram: entry.get("size_vram").and_then(Value::as_u64),
            expires_at: text(entry, "expires_at"),
        },
    }
}
