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
        if let Some(entry) = listed(asker, &names).await? {
            return Ok(entry.loaded.context);
        }
        pauses.wait().await;
    }
    Err(LoadFault::busy("was loaded and is not listed as loaded: something else unloaded it"))
}

/// Unloads `model` and waits until it is not listed any more.
pub(super) async fn unload(asker: &Asker, state: &BackendState, model: &str) -> Result<(), LoadFault> {
    let names = Names::of(state, model);
    let mut asked = model.to_owned();
    let mut pauses = asker.pauses(asker.patience.unload);
    let mut was_on_gpu = false;
    for look in 0.. {
        if look % ORDER_EACH == 0 {
            let body = json!({ "model": asked, "keep_alive": 0, "stream": false });
            let answer = asker.order("/api/generate", &body, "/api/version").await?;
            match answer.status {
                200 => {}
                404 => match names.another_than(&asked).filter(|_| look == 0) {
                    // Deleted while it is loaded. Whatever name is left on the same file unloads it, too.
                    Some(other) => {
                        asked = other;
                        let body = json!({ "model": asked, "keep_alive": 0, "stream": false });
                        asker.order("/api/generate", &body, "/api/version").await?;
                    }
                    None => return deleted(asker, &names).await,
                },
                status => return Err(refusal(status, answer.json())),
            }
        }
        let Some(entry) = listed(asker, &names).await? else { break };
        was_on_gpu |= entry.loaded.size_vram.is_some_and(|bytes| bytes > 0);
        if !pauses.wait().await {
            return Err(LoadFault::busy(format!(
                "{} and still in use after {} s",
                held(&entry),
                pauses.passed().as_secs()
            )));
        }
    }
    if was_on_gpu {
        sleep(asker.patience.settle).await;
    }
    Ok(())
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
    let entries = running(&asker.look("/api/ps").await?).unwrap_or_default();
    Ok(entries.into_iter().find(|entry| names.are_of(entry)))
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
    ids: Vec<String>,
    names: Vec<ModelName>,
    digests: Vec<String>,
}

impl Names {
    fn of(state: &BackendState, model: &str) -> Names {
        let name = ModelName::new(model);
        let weights = state.model(&name).and_then(|model| model.weights.as_ref());
        let is_same = |other: &&Model| other.name == name || (weights.is_some() && other.weights.as_ref() == weights);
        let same: Vec<&Model> = state.models.iter().filter(is_same).collect();
        Names {
            ids: same.iter().map(|model| model.id.clone()).collect(),
            digests: same.iter().filter_map(|model| model.digest.clone()).collect(),
            names: same.iter().map(|model| model.name.clone()).chain([name]).collect(),
        }
    }

    fn are_of(&self, entry: &Running) -> bool {
        entry.name.as_ref().is_some_and(|name| self.names.contains(name))
            || entry.digest.as_ref().is_some_and(|digest| self.digests.contains(digest))
    }

    fn another_than(&self, id: &str) -> Option<String> {
        let name = ModelName::new(id);
        self.ids.iter().find(|other| ModelName::new(other) != name).cloned()
    }
}
