//! What can be asked for: `/api/tags`, `/api/ps`, `/v1/models`, `/api/version` and `/`, made when backends change and
//! kept as bytes.

mod merged;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use dialect::Failure;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use proto::{Api, BackendKind, BackendState, Dialect, Model, ModelName};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use self::merged::Entry;
use crate::reply::{self, Reply, not_allowed};

/// When a model leaves memory that its server keeps for ever: what Ollama says then.
const FOR_EVER: &str = "2319-01-01T00:00:00Z";
/// When a model changed of which its server does not say it: the day before all others.
const LONG_AGO: &str = "1970-01-01T00:00:00Z";

/// Whether `path` is answered here.
pub(crate) fn is_listing(path: &str) -> bool {
    matches!(path, "/" | "/api/version" | "/api/tags" | "/api/ps" | "/api/status" | "/v1/models")
        || path.starts_with("/v1/models/")
}

pub use self::merged::Elsewhere;

/// All lists, ready to be sent.
pub(crate) struct Listings {
    tags: Page,
    ps: Page,
    models: Page,
    version: Page,
    status: Page,
    by_name: BTreeMap<ModelName, Page>,
    /// `/api/show` of models whose servers do not answer that themselves.
    shows: BTreeMap<ModelName, Bytes>,
    backends: Vec<Arc<BackendState>>,
}

struct Page {
    bytes: Bytes,
    etag: HeaderValue,
}

impl Page {
    fn new(value: &Value) -> Page {
        let bytes = Bytes::from(value.to_string());
        // FNV-1a: enough to tell two states of one list apart.
        let hash = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let etag = HeaderValue::from_str(&format!("\"{hash:016x}\"")).expect("hexadecimal digits are a header value");
        Page { bytes, etag }
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Reply> {
        let known = request.headers().get(header::IF_NONE_MATCH);
        let mut response = if known.is_some_and(|known| known == self.etag) {
            reply::empty(StatusCode::NOT_MODIFIED)
        } else {
            reply::full(StatusCode::OK, "application/json; charset=utf-8", self.bytes.clone())
        };
        response.headers_mut().insert(header::ETAG, self.etag.clone());
        response
    }
}

impl Listings {
    /// The lists of `node`, with what `elsewhere` has besides.
    pub(crate) fn build(backends: &[Arc<BackendState>], node: &str, elsewhere: &[Elsewhere]) -> Listings {
        let mut entries = merged::entries(backends, node, elsewhere);
        // Newest first, as Ollama lists them.
        entries.sort_by(|a, b| b.model.modified_at.cmp(&a.model.modified_at));
        let tags: Vec<Value> = entries.iter().map(tag).collect();
        let models: Vec<Value> = entries.iter().map(openai_model).collect();
        let by_name = entries.iter().map(|entry| (entry.key(), Page::new(&openai_model(entry)))).collect();
        let is_shown_there = |entry: &Entry<'_>| {
            entry.is_own
                && backends
                    .iter()
                    .any(|other| other.speaks.has(Api::OllamaShow) && other.model(&entry.model.name).is_some())
        };
        let shows = entries
            .iter()
            .filter(|entry| !is_shown_there(entry))
            .map(|entry| (entry.key(), Bytes::from(show(entry.model).to_string())))
            .collect();
        let theirs = elsewhere.iter().flat_map(|other| &other.backends);
        Listings {
            tags: Page::new(&json!({ "models": tags })),
            ps: Page::new(&json!({ "models": in_memory(backends, node, elsewhere, &entries) })),
            models: Page::new(&json!({ "object": "list", "data": models })),
            version: Page::new(&json!({ "version": version(backends.iter().chain(theirs)), "herd": proto::VERSION })),
            status: Page::new(&json!({ "cloud": { "disabled": true, "source": "config" } })),
            by_name,
            shows,
            backends: backends.to_vec(),
        }
    }

    /// What `/api/show` says of a model, where its server does not say it.
    pub(crate) fn show(&self, name: &ModelName) -> Option<Bytes> {
        self.shows.get(name).cloned()
    }

    pub(crate) fn backends(&self) -> &[Arc<BackendState>] {
        &self.backends
    }

    /// The answer, if the path is one of ours.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Option<Response<Reply>> {
        let path = request.uri().path();
        if !is_listing(path) {
            return None;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let dialect = if path.starts_with("/v1/") { Dialect::OpenAi } else { Dialect::Ollama };
            return Some(not_allowed("GET, HEAD", dialect));
        }
        Some(match path {
            "/" => root(request),
            "/api/version" => self.version.answer(request),
            "/api/tags" => self.tags.answer(request),
            "/api/ps" => self.ps.answer(request),
            "/api/status" => self.status.answer(request),
            "/v1/models" => self.models.answer(request),
            _ => {
                let asked = percent_decoded(path.strip_prefix("/v1/models/").unwrap_or(""));
                match self.by_name.get(&ModelName::new(&asked)) {
                    Some(page) => page.answer(request),
                    None => reply::failure(&Failure::model_not_found(Api::ChatCompletions, &asked), Dialect::OpenAi),
                }
            }
        })
    }
}

/// Browsers go to the dashboard; programs get what Ollama says.
fn root<B>(request: &Request<B>) -> Response<Reply> {
    let accepts_html = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if accepts_html {
        let mut response = reply::empty(StatusCode::TEMPORARY_REDIRECT);
        response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/dashboard"));
        return response;
    }
    reply::full(StatusCode::OK, "text/plain; charset=utf-8", "Ollama is running")
}

fn tag(entry: &Entry<'_>) -> Value {
    let Entry { backend, model, .. } = entry;
    let listed = model.listing.as_ref().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let mut value = match listed {
        Some(listed) => listed,
        None => json!({
            "name": entry.shown(),
            "model": entry.shown(),
            "modified_at": model.modified_at.as_deref().unwrap_or(LONG_AGO),
            "size": model.size.unwrap_or(0),
            "digest": digest(backend, model),
            "details": details(model),
            "capabilities": model.capabilities.iter().map(|capability| capability.as_str()).collect::<Vec<_>>(),
        }),
    };
    if let Some(details) = value.get_mut("details").and_then(Value::as_object_mut) {
        details.insert("fleet_nodes".to_owned(), json!(entry.nodes));
        details.insert("fleet_backend".to_owned(), json!(backend.id.as_str()));
    }
    value
}

/// The models in memory. One that is in the memory of several machines is listed once, with all of them: clients expect
/// each name once.
fn in_memory(backends: &[Arc<BackendState>], node: &str, elsewhere: &[Elsewhere], entries: &[Entry<'_>]) -> Vec<Value> {
    let mut loaded: Vec<Value> = Vec::new();
    for backend in backends.iter().filter(|backend| backend.health.is_up()) {
        loaded.extend(backend.models.iter().filter_map(|model| running(backend, model, &model.id, node)));
    }
    let own = loaded.len();
    let mut places: BTreeMap<ModelName, usize> = BTreeMap::new();
    for (place, value) in loaded.iter().enumerate() {
        places.entry(ModelName::new(value["name"].as_str().unwrap_or(""))).or_insert(place);
    }
    for other in elsewhere {
        let models = other.backends.iter().flat_map(|backend| backend.models.iter().map(move |model| (backend, model)));
        for (backend, model) in models.filter(|(_, model)| model.loaded.is_some()) {
            let is_it = |entry: &&Entry<'_>| entry.model.name == model.name && entry.nodes.contains(&&*other.node);
            let Some(entry) = entries.iter().find(is_it) else { continue };
            let Some(value) = running(backend, model, &entry.shown(), &other.node) else { continue };
            match places.get(&entry.key()).and_then(|place| loaded.get_mut(*place)) {
                None => {
                    places.insert(entry.key(), loaded.len());
                    loaded.push(value);
                }
                Some(listed) => {
                    let first = listed["fleet_node"].clone();
                    let nodes = listed.as_object_mut().map(|map| map.entry("fleet_nodes").or_insert(json!([first])));
                    if let Some(nodes) = nodes.and_then(Value::as_array_mut)
                        && !nodes.iter().any(|node| *node == *other.node)
                    {
                        nodes.push(json!(*other.node));
                    }
                }
            }
        }
    }
    debug_assert!(loaded.len() >= own, "nothing of this machine is left out");
    loaded
}

/// 64 hexadecimal digits that stay with a model. Where its server has none, those of what is known of it: not of its file,
/// but Ollama's own command line cannot list a model without (it cuts the first twelve off, seen with 0.33).
fn digest(backend: &BackendState, model: &Model) -> String {
    if let Some(digest) = &model.digest {
        return digest.clone();
    }
    let known = (backend.kind.as_str(), &model.id, model.size, &model.quantization, &model.parameter_size);
    let hash = Sha256::digest(format!("{known:?}").as_bytes());
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn details(model: &Model) -> Value {
    let family = model.family.as_deref().unwrap_or("");
    let mut details = Map::new();
    details.insert("parent_model".to_owned(), json!(""));
    details.insert("format".to_owned(), json!("gguf"));
    details.insert("family".to_owned(), json!(family));
    details.insert("families".to_owned(), if family.is_empty() { json!([]) } else { json!([family]) });
    details.insert("parameter_size".to_owned(), json!(model.parameter_size.as_deref().unwrap_or("")));
    details.insert("quantization_level".to_owned(), json!(model.quantization.as_deref().unwrap_or("")));
    if let Some(context) = model.context_trained {
        details.insert("context_length".to_owned(), json!(context));
    }
    Value::Object(details)
}

fn running(backend: &BackendState, model: &Model, shown: &str, node: &str) -> Option<Value> {
    let loaded = model.loaded.as_ref()?;
    let mut details = details(model);
    if let Some(map) = details.as_object_mut() {
        map.remove("context_length");
    }
    Some(json!({
        "name": shown,
        "model": shown,
        "size": loaded.size.or(model.size).unwrap_or(0),
        "digest": digest(backend, model),
        "details": details,
        "expires_at": loaded.expires_at.as_deref().unwrap_or(FOR_EVER),
        "size_vram": loaded.size_vram.unwrap_or(0),
        "context_length": loaded.context.unwrap_or(0),
        "fleet_node": node,
        "fleet_backend": backend.id.as_str(),
    }))
}

/// What Ollama would say of a model of another server, as far as it is known. Clients stumble over a `model_info` that
/// is null, and read the context's length from it.
fn show(model: &Model) -> Value {
    let architecture = model.family.as_deref().unwrap_or("llama");
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), json!(architecture));
    if let Some(context) = model.context_trained {
        info.insert(format!("{architecture}.context_length"), json!(context));
    }
    json!({
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(model),
        "model_info": info,
        "capabilities": model.capabilities.iter().map(|capability| capability.as_str()).collect::<Vec<_>>(),
        "modified_at": model.modified_at.as_deref().unwrap_or(LONG_AGO),
    })
}

fn openai_model(entry: &Entry<'_>) -> Value {
    let Entry { backend, model, .. } = entry;
    // Ollama gives the namespace of a name, "library" where it has none.
    let owner = match backend.kind {
        BackendKind::Ollama => {
            model.id.rsplit_once('/').map_or("library", |(path, _)| path.rsplit('/').next().unwrap_or(path))
        }
        other => other.as_str(),
    };
    let created = unix_seconds(model.modified_at.as_deref());
    json!({ "id": entry.shown(), "object": "model", "created": created, "owned_by": owner })
}

fn unix_seconds(modified_at: Option<&str>) -> i64 {
    modified_at.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}

/// The lowest Ollama version of the fleet: what all of them can do.
fn version<'a>(backends: impl Iterator<Item = &'a Arc<BackendState>>) -> String {
    let numbers =
        |text: &str| -> Vec<u64> { text.split(['.', '-']).take(3).map(|part| part.parse().unwrap_or(0)).collect() };
    let least = numbers(proto::LEAST_OLLAMA_VERSION);
    backends
        .filter(|backend| backend.kind == BackendKind::Ollama)
        .filter_map(|backend| backend.version.as_deref())
        // A suffix such as -rc2 goes: clients compare numbers.
        .map(numbers)
        .min()
        .filter(|lowest| *lowest >= least && lowest.len() == 3)
        .map_or_else(
            || proto::LEAST_OLLAMA_VERSION.to_owned(),
            |lowest| lowest.iter().map(u64::to_string).collect::<Vec<_>>().join("."),
        )
}

pub(crate) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_may_have_slashes_and_colons_in_any_spelling() {
        for (path, decoded) in
            [("a%2Fb:c", "a/b:c"), ("a/b:c", "a/b:c"), ("100%", "100%"), ("%zz", "%zz"), ("%e4", "\u{fffd}")]
        {
            assert_eq!(percent_decoded(path), decoded);
        }
    }
}
