//! Loads and unloads of an Ollama, as measured on 0.33 (November 2026).
//!
//! A request without prompt loads and is answered when the model can work; `/api/ps` does not list a model before. With
//! `keep_alive: 0` it unloads, embedding models too: it is answered at once, and the model goes when it is idle, unless
//! a later request for it brings a `keep_alive`: then the order is void and must be given again.

use proto::{BackendState, Model, ModelName};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::LoadFault;
use super::asker::Asker;
use crate::ollama::{Running, running};
use crate::portrait::text;

/// Looks in a row, growing apart, after which a model that was loaded is not listed for good.
const LOOKS: usize = 5;

/// Looks between two unload orders: one that was void is given again after two to three seconds.
const ORDER_EACH: usize = 8;

/// Loads `model` for ever; returns the context that it has, where told.
pub(super) async fn load(
    asker: &Asker,
    state: &BackendState,
    model: &str,
    context: Option<u64>,
    is_embedding: bool,
) -> Result<Option<u64>, LoadFault> {
    // A chat model that is asked to embed nothing is loaded, too; the other way round it is refused.
    let path = if is_embedding { "/api/embed" } else { "/api/generate" };
    let mut body = json!({ "model": model, "keep_alive": -1, "stream": false });
    if let Some(tokens) = context {
        body["options"] = json!({ "num_ctx": tokens });
    }
    let answer = asker.order(path, &body, "/api/version").await?;
    if answer.status != 200 {
        return Err(refusal(answer.status, answer.json()));
    }
    let names = Names::of(state, model);
    let mut pauses = asker.pauses(asker.patience.load);
    for _ in 0..LOOKS {
        // It may have been pulled anew since it was listed: here its name is enough.
        let entries = running_now(asker).await?;
        if let Some(entry) = entries.iter().find(|entry| names.are_of(entry) || names.include(entry)) {
            return Ok(entry.loaded.context);
        }
        pauses.wait().await;
    }
    Err(LoadFault::busy("was loaded and is not listed as loaded: something else unloaded it"))
}

/// Unloads `model` and waits until it is not listed any more.
pub(super) async fn unload(asker: &Asker, state: &BackendState, model: &str) -> Result<(), LoadFault> {
    let names = Names::of(state, model);
    let before = listed(asker, &names).await?;
    let was_on_gpu = before.is_some_and(|entry| entry.loaded.size_vram.is_some_and(|bytes| bytes > 0));
    let mut pauses = asker.pauses(asker.patience.unload);
    for look in 0.. {
        if look % ORDER_EACH == 0 && !order_unload(asker, &names).await? {
            return deleted(asker, &names).await;
        }
        let Some(entry) = listed(asker, &names).await? else { break };
        if !pauses.wait().await {
            let passed = pauses.passed().as_secs();
            return Err(LoadFault::busy(format!("{} and still in use after {passed} s", held(&entry))));
        }
    }
    // A Mac's GPU uses the memory of all, which comes back with the process.
    if was_on_gpu && !cfg!(target_os = "macos") {
        sleep(asker.patience.settle).await;
    }
    Ok(())
}

/// Gives the order by the first name that is on disk; false if none is. Any name on the same file will do.
async fn order_unload(asker: &Asker, names: &Names) -> Result<bool, LoadFault> {
    for id in &names.ids {
        let body = json!({ "model": id, "keep_alive": 0, "stream": false });
        let answer = asker.order("/api/generate", &body, "/api/version").await?;
        match answer.status {
            200 => return Ok(true),
            404 => {}
            status => return Err(refusal(status, answer.json())),
        }
    }
    Ok(false)
}

/// The end of an unload of a model that is not on disk any more.
async fn deleted(asker: &Asker, names: &Names) -> Result<(), LoadFault> {
    match listed(asker, names).await? {
        None => Ok(()),
        Some(entry) => {
            let until = entry.loaded.expires_at.as_deref().unwrap_or("its keep_alive is over");
            Err(LoadFault::gone(format!("{}, was deleted and cannot be unloaded until {until}", held(&entry))))
        }
    }
}

fn held(entry: &Running) -> String {
    let name = entry.name.as_ref().map(ToString::to_string).unwrap_or_default();
    format!("is loaded as `{name}`")
}

async fn listed(asker: &Asker, names: &Names) -> Result<Option<Running>, LoadFault> {
    Ok(running_now(asker).await?.into_iter().find(|entry| names.are_of(entry)))
}

async fn running_now(asker: &Asker) -> Result<Vec<Running>, LoadFault> {
    Ok(running(&asker.look("/api/ps").await?).unwrap_or_default())
}

fn refusal(status: u16, body: Option<Value>) -> LoadFault {
    let words = body.and_then(|body| text(&body, "error")).unwrap_or_default();
    // What an engine says comes as JSON inside of the text.
    let inner = serde_json::from_str::<Value>(&words).ok().and_then(|inner| text(inner.get("error")?, "message"));
    LoadFault::refused(status, &inner.unwrap_or(words))
}

/// The names that what is loaded may be listed by: it is keyed by the file of weights and listed under whatever name
/// loaded it.
struct Names {
    /// The name that was meant, and then others on the same file.
    ids: Vec<String>,
    names: Vec<ModelName>,
    digests: Vec<String>,
}

impl Names {
    fn of(state: &BackendState, model: &str) -> Names {
        let name = ModelName::new(model);
        let meant = state.model(&name);
        let weights = meant.and_then(|model| model.weights.as_ref());
        let shares = |other: &&Model| other.name != name && weights.is_some() && other.weights.as_ref() == weights;
        let others: Vec<&Model> = state.models.iter().filter(shares).collect();
        let all = || meant.into_iter().chain(others.iter().copied());
        Names {
            digests: all().filter_map(|model| model.digest.clone()).collect(),
            ids: [model.to_owned()].into_iter().chain(others.iter().map(|other| other.id.clone())).collect(),
            names: [name.clone()].into_iter().chain(others.iter().map(|other| other.name.clone())).collect(),
        }
    }

    /// Whether `entry` is one of them. One that was pulled anew while it was loaded runs on under its name, but with
    /// another digest, and no order reaches it.
    fn are_of(&self, entry: &Running) -> bool {
        match &entry.digest {
            Some(digest) if !self.digests.is_empty() => self.digests.contains(digest),
            _ => self.include(entry),
        }
    }

    fn include(&self, entry: &Running) -> bool {
        entry.name.as_ref().is_some_and(|name| self.names.contains(name))
    }
}
