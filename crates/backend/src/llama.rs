//! llama.cpp's `llama-server`: one model, or several in router mode.
//!
//! `/health`, `/props` and `/models` are answered beside the work and wake no sleeping model; `/slots` waits for the
//! work, so it is not asked (build 10434, November 2026).

use std::collections::BTreeMap;

use proto::{Api, ApiSet, BackendKind, Capability, Loaded, Model};
use serde_json::{Value, json};

use crate::http::{Answer, Client, Foreign, LONG, SHORT, Trouble};
use crate::portrait::{
    MAX_MODELS, Portrait, bare, in_order, list, number, parameter_size, template_capabilities, text,
};
use crate::rhythm::Look;

/// The calls that some version of it has.
const CALLS: [Api; 7] = [
    Api::ChatCompletions,
    Api::Completions,
    Api::Embeddings,
    Api::Responses,
    Api::Messages,
    Api::CountTokens,
    Api::Transcriptions,
];

/// One llama-server. Knows nothing but that while its model loads.
#[derive(Default)]
pub(crate) struct Llama {
    version: Option<String>,
    is_router: bool,
    slots: Option<u32>,
    /// Router mode: models that it keeps loaded at most (its `--models-max`), where there is such a bound.
    most_loaded: Option<u32>,
    /// `None` until it was asked, which is once per start.
    speaks: Option<ApiSet>,
    models: Vec<Model>,
    /// Router mode: what a model's own process told while it ran. Never more than there are models.
    told: BTreeMap<String, Told>,
}

/// What `/props` says of one model.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    slots: Option<u32>,
    context: Option<u64>,
    capabilities: Vec<Capability>,
    quantization: Option<String>,
    is_sleeping: bool,
}

impl Llama {
    /// Asks what there is to know at first.
    pub(crate) async fn meet(client: &Client) -> Result<(Llama, Look), Trouble> {
        let mut llama = Llama::default();
        let look = llama.look(client, true).await?;
        Ok((llama, look))
    }

    /// Looks whether it lives; with `all` also what it has. In router mode that is one question.
    pub(crate) async fn look(&mut self, client: &Client, all: bool) -> Result<Look, Trouble> {
        if all || self.speaks.is_none() {
            return self.look_closely(client).await;
        }
        if self.is_router {
            return self.list_router(client).await;
        }
        let answer = client.get("/health", SHORT).await?;
        match answer.status {
            _ if answer.is_loading() => {
                self.speaks = None;
                Ok(Look::Loading)
            }
            200 => Ok(Look::Up),
            _ => Err(Trouble::Odd),
        }
    }

    async fn look_closely(&mut self, client: &Client) -> Result<Look, Trouble> {
        let answer = client.get("/props", SHORT).await?;
        if answer.is_loading() {
            self.speaks = None;
            return Ok(Look::Loading);
        }
        if answer.wants_key() {
            return Err(Trouble::Foreign(Foreign::WantsKey));
        }
        let props = answer.json().filter(is_props).ok_or(Trouble::Odd)?;
        self.version = text(&props, "build_info");
        self.is_router = text(&props, "role").as_deref() == Some("router");
        self.most_loaded = number(&props, "max_instances").and_then(|most| u32::try_from(most).ok());
        if self.speaks.is_none() {
            self.speaks = Some(learn_calls(client).await?);
        }
        if self.is_router {
            return self.list_router(client).await;
        }
        let answer = client.get("/v1/models", LONG).await?;
        if answer.is_loading() {
            self.speaks = None;
            return Ok(Look::Loading);
        }
        let body = answer.json().ok_or(Trouble::Odd)?;
        let told = told(&props);
        self.slots = told.slots;
        let embeds = self.speaks.is_some_and(|speaks| speaks.has(Api::Embeddings));
        self.models = in_order(list(&body, "data").first().and_then(|entry| single(entry, &told, embeds)));
        Ok(Look::Up)
    }

    async fn list_router(&mut self, client: &Client) -> Result<Look, Trouble> {
        let body = client.get("/models", LONG).await?.json().ok_or(Trouble::Odd)?;
        if body.get("data").is_none() {
            return Err(Trouble::Odd);
        }
        let entries = &list(&body, "data")[..list(&body, "data").len().min(MAX_MODELS)];
        self.told.retain(|id, _| entries.iter().any(|entry| text(entry, "id").as_ref() == Some(id)));
        for entry in entries.iter().filter(|entry| status(entry) == "loaded") {
            let Some(id) = text(entry, "id").filter(|id| !self.told.contains_key(id)) else { continue };
            let name: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
            let answer = client.get(&format!("/props?model={name}&autoload=false"), SHORT).await?;
            if let Some(props) = answer.json().filter(|_| answer.status == 200) {
                self.told.insert(id, told(&props));
            }
        }
        let slots = entries.iter().filter_map(|entry| {
            let own = text(entry, "id").and_then(|id| self.told.get(&id)?.slots);
            own.or_else(|| argument(entry, &["--parallel", "-np"])?.parse().ok().filter(|&slots| slots > 0))
        });
        // Where nothing is told, one is what every model has.
        self.slots = Some(slots.min().unwrap_or(1));
        let told = &self.told;
        self.models =
            in_order(entries.iter().filter_map(|entry| of_router(entry, told.get(text(entry, "id")?.as_str()))));
        Ok(Look::Up)
    }

    /// What it says about itself; `None` while it loads for the first time.
    pub(crate) fn portrait(&self) -> Option<Portrait> {
        let mut speaks = self.speaks?;
        if self.is_router {
            let has = |capability| self.models.iter().any(|model| model.capabilities.contains(&capability));
            for (api, capability) in
                [(Api::Embeddings, Capability::Embedding), (Api::Transcriptions, Capability::Audio)]
            {
                if !has(capability) {
                    speaks = speaks.without(api);
                }
            }
        }
        Some(Portrait {
            kind: if self.is_router { BackendKind::LlamaRouter } else { BackendKind::LlamaServer },
            version: self.version.clone(),
            speaks,
            slots: self.slots,
            most_loaded: self.most_loaded,
            ignores_model_name: !self.is_router,
            models: self.models.clone(),
        })
    }
}

/// Whether a body is what llama-server answers to `/props`.
pub(crate) fn is_props(body: &Value) -> bool {
    text(body, "build_info").is_some() || number(body, "total_slots").is_some()
}

/// Whether an answer to any question comes from a llama-server, ready or not.
pub(crate) fn is_llama(answer: &Answer, body: &Value) -> bool {
    let is_owner = |entry: &Value| text(entry, "owned_by").as_deref() == Some("llamacpp");
    answer.is_llama_cpp || answer.is_loading() || list(body, "data").iter().any(is_owner)
}

/// Asks which calls it has: an empty request is refused as incomplete where it has the call, as unknown (404) or not
/// supported (501) where not. None of them makes the model work.
async fn learn_calls(client: &Client) -> Result<ApiSet, Trouble> {
    let mut speaks = ApiSet::NONE;
    for api in CALLS {
        if !matches!(client.post(api.path(), &json!({})).await?.status, 404 | 405 | 501) {
            speaks = speaks.with(api);
        }
    }
    Ok(speaks)
}

fn told(props: &Value) -> Told {
    let none = Value::Null;
    let modalities = props.get("modalities").unwrap_or(&none);
    let sees = |key: &str| modalities.get(key).and_then(Value::as_bool) == Some(true);
    let mut capabilities = vec![Capability::Completion];
    capabilities.extend(props.get("chat_template").and_then(Value::as_str).into_iter().flat_map(template_capabilities));
    // Newer versions have tried the template out, which tells more than reading it.
    let tried = props.get("chat_template_caps").and_then(|caps| caps.get("supports_tools")?.as_bool());
    if tried == Some(false) {
        capabilities.retain(|capability| *capability != Capability::Tools);
    } else if tried == Some(true) && !capabilities.contains(&Capability::Tools) {
        capabilities.push(Capability::Tools);
    }
    capabilities.extend(sees("vision").then_some(Capability::Vision));
    capabilities.extend(sees("audio").then_some(Capability::Audio));
    Told {
        slots: number(props, "total_slots").and_then(|slots| u32::try_from(slots).ok()),
        context: props.get("default_generation_settings").and_then(|settings| number(settings, "n_ctx")),
        capabilities,
        quantization: text(props, "model_ftype"),
        is_sleeping: props.get("is_sleeping").and_then(Value::as_bool) == Some(true),
    }
}

/// The facts in the `meta` of an entry of `/v1/models`; there only while the model is loaded.
fn described(entry: &Value) -> Option<Model> {
    let mut model = bare(&text(entry, "id")?)?;
    let none = Value::Null;
    let meta = entry.get("meta").unwrap_or(&none);
    model.size = number(meta, "size");
    model.quantization = text(meta, "ftype");
    model.parameter_size = number(meta, "n_params").map(parameter_size);
    model.context_trained = number(meta, "n_ctx_train");
    Some(model)
}

fn single(entry: &Value, told: &Told, embeds: bool) -> Option<Model> {
    let mut model = described(entry)?;
    let Model { name, id, .. } = bare(file_stem(&model.id))?;
    (model.name, model.id) = (name, id);
    model.quantization = model.quantization.or_else(|| told.quantization.clone());
    model.capabilities = told.capabilities.clone();
    model.capabilities.extend(embeds.then_some(Capability::Embedding));
    let context = told.context.or_else(|| number(entry.get("meta")?, "n_ctx"));
    model.loaded = (!told.is_sleeping).then_some(Loaded { context, size: None, size_vram: None, expires_at: None });
    Some(model)
}

/// The name of a model without alias, of which its server tells the path: the file's, without folder and ending. Where
/// its owner keeps the file is nobody's business, and the server answers to any name.
fn file_stem(id: &str) -> &str {
    match id.strip_suffix(".gguf") {
        Some(path) => path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(id),
        None => id,
    }
}

/// A model of a router; `None` while it is not there to be asked for.
fn of_router(entry: &Value, told: Option<&Told>) -> Option<Model> {
    let mut model = described(entry)?;
    let status = status(entry);
    if status == "downloading" {
        return None;
    }
    if let Some(told) = told {
        model.quantization = model.quantization.or_else(|| told.quantization.clone());
        // Without them a model that was never loaded says nothing about its template: not told is not "cannot".
        model.capabilities = told.capabilities.clone();
    }
    if ["--embedding", "--embeddings"].iter().any(|flag| arguments(entry).any(|argument| argument == *flag)) {
        model.capabilities.push(Capability::Embedding);
    }
    let context = || number(entry.get("meta")?, "n_ctx").or_else(|| told?.context);
    // One that sleeps holds its place, wakes up with its next request, and cannot be loaded again (build 10434).
    let is_held = matches!(status, "loaded" | "sleeping");
    model.loaded = is_held.then(|| Loaded { context: context(), size: None, size_vram: None, expires_at: None });
    Some(model)
}

fn status(entry: &Value) -> &str {
    entry.get("status").and_then(|status| status.get("value")).and_then(Value::as_str).unwrap_or_default()
}

/// The command line of a model's own process.
fn arguments(entry: &Value) -> impl Iterator<Item = &str> {
    let arguments = entry.get("status").map_or(&[][..], |status| list(status, "args"));
    arguments.iter().filter_map(Value::as_str)
}

fn argument<'a>(entry: &'a Value, names: &[&str]) -> Option<&'a str> {
    let mut arguments = arguments(entry);
    arguments.find(|argument| names.contains(argument))?;
    arguments.next()
}

#[cfg(test)]
mod tests;
