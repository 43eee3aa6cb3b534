//! The list of a node's models, as other nodes get it, and what they make of it.
//!
//! The list is asked for over the mesh (`GET /mesh/models`) by whoever has heard of a new digest.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use mesh::{Body, Mesh, NodeKey, Transport as _};
use proto::wire::{Catalog, Entry, InMemory, MAX_BACKENDS, MAX_CATALOG, Shelf};
use proto::{
    Address, Api, ApiSet, BackendId, BackendKind, BackendState, Capability, Health, Link, Loaded, Model, ModelName,
};
use sha2::{Digest as _, Sha256};

/// What the paths begin with that only nodes ask for.
pub(crate) const PREFIX: &str = "/mesh/";
/// Where the list is on the mesh.
pub(crate) const PATH: &str = "/mesh/models";
/// Slots of a model that another node is believed to have, at most.
const MOST_SLOTS: u32 = 4096;
/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// This node's own list, as others get it.
#[derive(Debug, Default)]
pub(crate) struct Own {
    bytes: Bytes,
    /// Tells it from earlier ones.
    pub(crate) digest: [u8; 16],
    /// Whether all models fit.
    pub(crate) is_whole: bool,
}

impl Own {
    /// The list of the models of `backends`, as far as those are up.
    pub(crate) fn of(backends: &[Arc<BackendState>]) -> Own {
        let up = backends.iter().filter(|backend| backend.health.is_up()).take(MAX_BACKENDS);
        let catalog = Catalog { backends: up.map(|backend| shelf(backend)).collect() };
        let (bytes, is_whole) = catalog.encode();
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(&bytes)[..16]);
        Own { bytes: bytes.into(), digest, is_whole }
    }
}

/// Answers what other nodes may ask for over the mesh.
pub(crate) fn answer<B>(request: &Request<B>, own: &ArcSwap<Own>) -> Response<Body> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, PATH) => {
            let own = own.load();
            let etag = etag(&own.digest);
            let is_known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| known == etag.as_str());
            let (status, body) = match is_known {
                true => (StatusCode::NOT_MODIFIED, Bytes::new()),
                false => (StatusCode::OK, own.bytes.clone()),
            };
            let mut response = response(status, body);
            let etag = header::HeaderValue::from_str(&etag).expect("hexadecimal digits are a header value");
            response.headers_mut().insert(header::ETAG, etag);
            return response;
        }
        (_, PATH) => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
        _ => (StatusCode::NOT_FOUND, Bytes::new()),
    };
    response(status, body)
}

/// Asks `node` for its list.
pub(crate) async fn fetch(mesh: Mesh, node: NodeKey) -> Result<Fetched, String> {
    let request = Request::get(PATH).body(Body::new(Empty::new().map_err(|never| match never {})));
    let request = request.map_err(|error| error.to_string())?;
    let asking = async {
        let response = mesh.request(node, request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answered {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_CATALOG).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    let bytes = tokio::time::timeout(PATIENCE, asking).await.map_err(|_| "it takes too long".to_owned())??;
    let catalog = Catalog::decode(&bytes).map_err(|error| error.to_string())?;
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(&bytes)[..16]);
    Ok(Fetched { digest, backends: catalog.backends.into_iter().map(|shelf| Arc::new(backend(shelf))).collect() })
}

/// Another node's list.
pub(crate) struct Fetched {
    pub(crate) digest: [u8; 16],
    pub(crate) backends: Vec<Arc<BackendState>>,
}

fn etag(digest: &[u8; 16]) -> String {
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

fn response(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(body).map_err(|never| match never {})));
    *response.status_mut() = status;
    response
}

fn shelf(backend: &BackendState) -> Shelf {
    Shelf {
        id: backend.id.to_string(),
        kind: backend.kind.as_str().to_owned(),
        version: backend.version.clone(),
        models: backend.models.iter().map(entry).collect(),
        serves: Api::ALL.into_iter().filter(|api| backend.serves.has(*api)).map(|api| api.path().to_owned()).collect(),
        slots: backend.slots,
        most_loaded: backend.most_loaded,
        any_name: backend.ignores_model_name,
    }
}

fn entry(model: &Model) -> Entry {
    Entry {
        id: model.id.clone(),
        digest: model.digest.clone(),
        weights: model.weights.clone(),
        size: model.size,
        quantization: model.quantization.clone(),
        family: model.family.clone(),
        parameter_size: model.parameter_size.clone(),
        capabilities: model.capabilities.iter().map(|capability| capability.as_str().to_owned()).collect(),
        context_trained: model.context_trained,
        modified_at: model.modified_at.clone(),
        loaded: model.loaded.as_ref().map(|loaded| InMemory {
            context: loaded.context,
            size: loaded.size,
            size_vram: loaded.size_vram,
        }),
    }
}

/// What another node told of one of its servers. No address comes from the network: it is named by its node and id.
pub(crate) fn backend(shelf: Shelf) -> BackendState {
    let mut models: Vec<Model> = shelf.models.into_iter().map(model).collect();
    models.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    BackendState {
        id: BackendId::new(shown(&shelf.id, 64)),
        kind: kind(&shelf.kind),
        address: Address { host: String::new(), port: 0, base_path: String::new() },
        link: Link::Loopback,
        version: shelf.version.map(|version| shown(&version, 64)),
        health: Health::Up,
        speaks: ApiSet::default(),
        serves: shelf.serves.iter().filter_map(|path| Api::at(path)).fold(ApiSet::NONE, ApiSet::with),
        slots: shelf.slots.map(|slots| slots.clamp(1, MOST_SLOTS)),
        most_loaded: shelf.most_loaded,
        ignores_model_name: shelf.any_name,
        models,
    }
}

fn model(entry: Entry) -> Model {
    let id = shown(&entry.id, 256);
    let text = |text: Option<String>| text.map(|text| shown(&text, 64));
    let digits = |digest: Option<String>| {
        digest.filter(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    Model {
        name: ModelName::new(&id),
        id,
        digest: digits(entry.digest),
        weights: digits(entry.weights),
        size: entry.size,
        quantization: text(entry.quantization),
        family: text(entry.family),
        parameter_size: text(entry.parameter_size),
        capabilities: entry.capabilities.iter().filter_map(|word| Capability::from_word(word)).collect(),
        context_trained: entry.context_trained,
        modified_at: text(entry.modified_at),
        loaded: entry.loaded.map(|loaded| Loaded {
            context: loaded.context,
            size: loaded.size,
            size_vram: loaded.size_vram,
            expires_at: None,
        }),
        listing: None,
    }
}

fn kind(word: &str) -> BackendKind {
    use BackendKind::*;
    [Ollama, LlamaServer, LlamaRouter, LmStudio, Vllm].into_iter().find(|kind| kind.as_str() == word).unwrap_or(OpenAi)
}

/// Text of another node without control characters and of at most `most` characters.
fn shown(text: &str, most: usize) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_model() -> Model {
        model(Entry {
            id: "Llama3.2:3b".to_owned(),
            digest: Some("a".repeat(64)),
            size: Some(2_000_000_000),
            family: Some("llama".to_owned()),
            capabilities: vec!["completion".to_owned(), "telepathy".to_owned()],
            loaded: Some(InMemory { context: Some(4096), ..InMemory::default() }),
            ..Entry::default()
        })
    }

    fn own_backend() -> BackendState {
        let shelf = Shelf { id: "ollama".to_owned(), kind: "ollama".to_owned(), ..Shelf::default() };
        BackendState { models: vec![own_model()], ..backend(shelf) }
    }

    #[tokio::test]
    async fn a_list_arrives_as_it_was() {
        let own = ArcSwap::from_pointee(Own::of(&[Arc::new(own_backend())]));
        let answered = answer(&Request::get(PATH).body(()).unwrap(), &own);
        let etag = answered.headers()[header::ETAG].clone();
        let bytes = answered.into_body().collect().await.unwrap().to_bytes();
        let told = backend(Catalog::decode(&bytes).unwrap().backends.remove(0));
        assert_eq!(format!("{told:?}"), format!("{:?}", own_backend()));
        let again = Request::get(PATH).header(header::IF_NONE_MATCH, etag).body(()).unwrap();
        assert_eq!(answer(&again, &own).status(), StatusCode::NOT_MODIFIED);
    }

    #[test]
    fn nothing_else_is_answered() {
        let own = ArcSwap::default();
        for (method, path, status) in [
            (Method::POST, PATH, StatusCode::METHOD_NOT_ALLOWED),
            (Method::GET, "/api/tags", StatusCode::NOT_FOUND),
            (Method::POST, "/api/create", StatusCode::NOT_FOUND),
        ] {
            let request = Request::builder().method(method).uri(path).body(()).unwrap();
            assert_eq!(answer(&request, &own).status(), status, "{path}");
        }
    }

    #[test]
    fn a_server_that_is_down_offers_nothing() {
        let down = BackendState { health: Health::Down { reason: "gone".to_owned() }, ..own_backend() };
        assert_eq!(Own::of(&[Arc::new(down)]).digest, Own::of(&[]).digest);
    }

    #[test]
    fn what_another_node_says_is_made_fit_to_show() {
        let entry = Entry {
            id: format!("a\u{1b}[2J{}", "x".repeat(400)),
            digest: Some("nonsense".to_owned()),
            family: Some("y".repeat(100)),
            ..Entry::default()
        };
        let model = model(entry);
        assert_eq!(
            (model.id.chars().count(), model.digest, model.family.map(|text| text.len())),
            (256, None, Some(64))
        );
        assert!(!model.id.contains('\u{1b}'));
    }
}
