//! Ollama: what it lists, what it has loaded, and what only `/api/show` tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::{Api, ApiSet, BackendKind, Capability, Loaded, Model, ModelName};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::http::{Client, LONG, SHORT, Trouble};
use crate::portrait::{MAX_MODELS, Portrait, bare, in_order, list, number, text};
use crate::rhythm::Look;

/// Models that are described at the same time.
const DESCRIBING: usize = 4;

/// The calls of every Ollama that still runs somewhere.
const ALWAYS: ApiSet = ApiSet::of(&[
    Api::OllamaChat,
    Api::OllamaGenerate,
    Api::OllamaEmbed,
    Api::OllamaEmbeddings,
    Api::OllamaShow,
    Api::ChatCompletions,
    Api::Completions,
    Api::Embeddings,
]);

/// The calls that came later.
const LATER: [Api; 4] = [Api::Responses, Api::Messages, Api::CountTokens, Api::Transcriptions];

/// A model as one program file on disk: what `/api/show` says of it can only change together.
type Edition = (String, Option<String>);

/// One Ollama.
pub(crate) struct Ollama {
    version: String,
    speaks: ApiSet,
    cloud_models: bool,
    tags: Vec<Tag>,
    running: Vec<Running>,
    /// Never more than there are tags.
    described: BTreeMap<Edition, Described>,
    describing: JoinSet<(Edition, Result<Described, Trouble>)>,
    in_work: Vec<Edition>,
}

impl Ollama {
    /// Asks what there is to know at first; `earlier` is what this place knew before it went away.
    pub(crate) async fn meet(
        client: &Client,
        version: String,
        cloud_models: bool,
        earlier: &mut Option<Ollama>,
    ) -> Result<Ollama, Trouble> {
        let mut ollama = Ollama {
            version,
            speaks: ALWAYS,
            cloud_models,
            tags: Vec::new(),
            running: Vec::new(),
            described: earlier.as_ref().map(|earlier| earlier.described.clone()).unwrap_or_default(),
            describing: JoinSet::new(),
            in_work: Vec::new(),
        };
        ollama.learn_calls(client).await?;
        ollama.look(client, true).await?;
        *earlier = None;
        Ok(ollama)
    }

    /// Looks whether it lives and what it has loaded; with `list` also what it has.
    pub(crate) async fn look(&mut self, client: &Client, list: bool) -> Result<Look, Trouble> {
        let answer = client.get("/api/ps", SHORT).await?;
        self.running = answer.json().as_ref().and_then(running).ok_or(Trouble::Odd)?;
        if list {
            let version = client.get("/api/version", SHORT).await?.json().and_then(|body| text(&body, "version"));
            let version = version.ok_or(Trouble::Odd)?;
            if version != self.version {
                self.version = version;
                self.learn_calls(client).await?;
            }
            let answer = client.get("/api/tags", LONG).await?;
            self.tags = tags(&answer.body).ok_or(Trouble::Odd)?;
            let tags = &self.tags;
            self.described.retain(|edition, _| tags.iter().any(|tag| tag.edition == *edition));
            self.describe(client);
        }
        Ok(Look::Up)
    }

    /// Asks which of the later calls it has: a GET on a known path is answered 405, on an unknown one 404.
    async fn learn_calls(&mut self, client: &Client) -> Result<(), Trouble> {
        self.speaks = ALWAYS;
        for api in LATER {
            if client.get(api.path(), SHORT).await?.status == 405 {
                self.speaks = self.speaks.with(api);
            }
        }
        Ok(())
    }

    /// Starts to describe what is not yet described, a few at a time.
    fn describe(&mut self, client: &Client) {
        for tag in &self.tags {
            if self.in_work.len() >= DESCRIBING {
                break;
            }
            if self.described.contains_key(&tag.edition) || self.in_work.contains(&tag.edition) {
                continue;
            }
            if tag.is_remote() && !self.cloud_models {
                continue;
            }
            let (client, edition) = (client.clone(), tag.edition.clone());
            self.in_work.push(edition.clone());
            self.describing.spawn(async move {
                let answer = client.post("/api/show", &json!({ "model": edition.0 })).await;
                // Whatever it answers is the answer for this edition; only no answer at all is asked again.
                (edition, answer.map(|answer| answer.json().as_ref().map(describe).unwrap_or_default()))
            });
        }
    }

    /// Waits until another model is described; for ever if none is being described. May be dropped half-way.
    pub(crate) async fn described(&mut self, client: &Client) {
        match self.describing.join_next().await {
            Some(Ok((edition, described))) => {
                self.in_work.retain(|other| *other != edition);
                if let Ok(described) = described {
                    self.described.insert(edition, described);
                    self.describe(client);
                }
            }
            // A panic there would be a bug of ours; the edition is asked for again after the next start.
            Some(Err(error)) => tracing::error!(%error, "describing a model failed"),
            None => std::future::pending().await,
        }
    }

    pub(crate) fn portrait(&self) -> Portrait {
        Portrait {
            kind: BackendKind::Ollama,
            version: Some(self.version.clone()),
            speaks: self.speaks,
            slots: None,
            ignores_model_name: false,
            models: self.models(),
        }
    }

    fn models(&self) -> Vec<Model> {
        let runner_of = |edition: &Edition| self.described.get(edition)?.runner.as_ref();
        let runners: Vec<Option<&String>> = self
            .running
            .iter()
            .map(|running| runner_of(&self.tags.iter().find(|tag| running.is(tag))?.edition))
            .collect();
        let models = self.tags.iter().filter_map(|tag| {
            let described = self.described.get(&tag.edition);
            let is_remote = tag.is_remote() || described.is_some_and(|described| described.remote);
            if is_remote && (!self.cloud_models || tag.points_here) {
                return None;
            }
            // Two names on one file of weights share a runner, which is listed under the name it was loaded by.
            let runner = described.and_then(|described| described.runner.as_ref());
            let running = self.running.iter().find(|running| running.is(tag)).or_else(|| {
                let same = runners.iter().position(|other| runner.is_some() && *other == runner);
                same.map(|at| &self.running[at])
            });
            Some(tag.model(described, running))
        });
        in_order(models)
    }
}

/// An entry of `/api/tags`.
struct Tag {
    edition: Edition,
    model: Model,
    remote: bool,
    /// Whether it is served from this machine after all: by another server, or by us, and then in circles.
    points_here: bool,
}

impl Tag {
    fn is_remote(&self) -> bool {
        self.remote || self.model.name.is_cloud()
    }

    fn model(&self, described: Option<&Described>, running: Option<&Running>) -> Model {
        let mut model = self.model.clone();
        model.loaded = running.map(|running| running.loaded.clone());
        let Some(described) = described else { return model };
        model.context_trained = described.context_trained.or(model.context_trained);
        let known: Vec<Capability> =
            described.capabilities.iter().filter_map(|word| Capability::from_word(word)).collect();
        model.capabilities.extend(known.iter().filter(|known| !self.model.capabilities.contains(known)));
        model.listing = model.listing.map(|listing| with_capabilities(listing, &described.capabilities));
        model
    }
}

/// Reads `/api/tags`; `None` if it is no such list. Entries without a usable name are skipped.
fn tags(body: &[u8]) -> Option<Vec<Tag>> {
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
struct Described {
    capabilities: Vec<String>,
    context_trained: Option<u64>,
    /// What must be equal for two models to share what is loaded; `None` if not told.
    runner: Option<String>,
    remote: bool,
}

fn describe(shown: &Value) -> Described {
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
        runner: text(shown, "modelfile").as_deref().and_then(runner),
        remote: text(shown, "remote_host").is_some() || text(shown, "remote_model").is_some(),
    }
}

/// The lines of a Modelfile that decide what is loaded: weights, adapters, and the parameters of section 2 of
/// Ollama's scheduler (needsReload in its server/sched.go, August 2026).
fn runner(modelfile: &str) -> Option<String> {
    const PARAMETERS: [&str; 6] = ["num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"];
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
struct Running {
    name: Option<ModelName>,
    digest: Option<String>,
    loaded: Loaded,
}

impl Running {
    fn is(&self, tag: &Tag) -> bool {
        let digest = self.digest.is_some() && self.digest == tag.model.digest;
        // A name that was pulled anew while the old one is loaded is not loaded: the digests differ.
        let name = self.name.as_ref() == Some(&tag.model.name);
        digest || (name && (self.digest.is_none() || tag.model.digest.is_none()))
    }
}

fn running(ps: &Value) -> Option<Vec<Running>> {
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

/// The version in an answer to `/api/version`, if it is an Ollama's and no Herd's.
pub(crate) fn version(body: &Value) -> Option<Result<String, crate::http::Foreign>> {
    if body.get("herd").is_some() || body.get("herd_version").is_some() {
        return Some(Err(crate::http::Foreign::OtherHerd));
    }
    text(body, "version").map(Ok)
}

/// Whether a body is a list as `/api/tags` gives it.
pub(crate) fn is_listing(body: &[u8]) -> bool {
    tags(body).is_some()
}

#[cfg(test)]
mod tests {}
