//! Ollama: what it lists, what it has loaded, and what only `/api/show` tells.

mod listing;

use std::collections::BTreeMap;

use proto::{Api, ApiSet, BackendKind, Model};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::http::{Client, Foreign, LONG, SHORT, Trouble};
use crate::portrait::{Portrait, in_order, text};
use crate::rhythm::Look;
use listing::{Described, Tag, describe, tags};
pub(crate) use listing::{Running, running};

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
            // A panic there would be a bug of ours. Which edition it was is not known, so all may be asked for again.
            Some(Err(error)) => {
                tracing::error!(%error, "describing a model failed");
                self.in_work.clear();
            }
            None => std::future::pending().await,
        }
    }

    pub(crate) fn portrait(&self) -> Portrait {
        Portrait {
            kind: BackendKind::Ollama,
            version: Some(self.version.clone()),
            speaks: self.speaks,
            slots: None,
            most_loaded: None,
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

/// The version in an answer to `/api/version`, if it is an Ollama's and no Herd's.
pub(crate) fn version(body: &Value) -> Option<Result<String, Foreign>> {
    if body.get("herd").is_some() || body.get("herd_version").is_some() {
        return Some(Err(Foreign::OtherHerd));
    }
    text(body, "version").map(Ok)
}

/// Whether a body is a list as `/api/tags` gives it.
pub(crate) fn is_listing(body: &[u8]) -> bool {
    tags(body).is_some()
}

#[cfg(test)]
mod tests;
