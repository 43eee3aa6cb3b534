//! Each kind of server is known by what it answers, wherever it listens.

mod common;

use common::{Reply, Stub, Watch, guessed, ok, quick, refused};
use proto::{Api, BackendKind, Capability, Health, ModelName};

const TAGS: &str = include_str!("data/ollama-tags.json");
const PS: &str = include_str!("data/ollama-ps.json");
const SHOW: &str = include_str!("data/ollama-show.json");
const OLLAMA_V1: &str = r#"{"object":"list","data":[{"id":"tiny:latest","object":"model","owned_by":"library"}]}"#;

fn ollama(method: &str, path: &str) -> Reply {
    match (method, path) {
        ("GET", "/api/version") => ok(r#"{"version":"0.33.0"}"#),
        ("GET", "/api/tags") => ok(TAGS),
        ("GET", "/api/ps") => ok(PS),
        ("POST", "/api/show") => ok(SHOW),
        ("GET", "/v1/models") => ok(OLLAMA_V1),
        ("GET", "/v1/responses" | "/v1/messages") => refused(405),
        _ => refused(404),
    }
}

fn llama(method: &str, path: &str) -> Reply {
    match (method, path) {
        ("GET", "/health") => ok(r#"{"status":"ok"}"#),
        ("GET", "/props") => ok(include_str!("data/llama-props.json")),
        ("GET", "/v1/models") => ok(include_str!("data/llama-models.json")),
        ("POST", "/v1/embeddings" | "/v1/audio/transcriptions") => refused(501),
        ("POST", "/v1/chat/completions" | "/v1/completions" | "/v1/responses") => refused(400),
        ("POST", "/v1/messages" | "/v1/messages/count_tokens") => refused(500),
        _ => refused(404),
    }
}

fn router(method: &str, path: &str) -> Reply {
    match (method, path) {
        ("GET", "/health") => ok(r#"{"status":"ok"}"#),
        ("GET", "/props") => ok(include_str!("data/router-props.json")),
        ("GET", "/props?model=alpha&autoload=false") => ok(include_str!("data/llama-props.json")),
        ("GET", "/models" | "/v1/models") => ok(include_str!("data/router-models.json")),
        ("POST", path) if path.starts_with("/v1/") => refused(400),
        _ => refused(404),
    }
}

fn speaks(state: &proto::BackendState) -> Vec<Api> {
    Api::ALL.into_iter().filter(|api| state.speaks.has(*api)).collect()
}

#[tokio::test]
async fn an_ollama() {
    let stub = Stub::start(ollama).await;
    stub.hold(Some("/api/show"));
    let mut watch = Watch::over(vec![guessed(stub.place(""))], quick());
    // It is listed before anything was described.
    let states = watch.until("its models", |states| states.iter().any(|state| state.models.len() == 3)).await;
    assert_eq!((states[0].id.as_str(), states[0].kind), ("ollama", BackendKind::Ollama));
    assert_eq!((states[0].version.as_deref(), &states[0].health), (Some("0.33.0"), &Health::Up));
    assert_eq!((states[0].slots, states[0].ignores_model_name), (None, false));
    let later = [Api::Responses, Api::Messages].iter().all(|api| states[0].speaks.has(*api));
    assert!(later && !states[0].speaks.has(Api::CountTokens) && states[0].speaks.has(Api::OllamaChat));
    let tiny = states[0].model(&ModelName::new("TINY")).expect("found without its tag");
    assert_eq!(tiny.capabilities, [Capability::Completion]);
    assert!(tiny.loaded.is_some());
    stub.held(3).await;
    stub.hold(None);
    watch
        .until("what only show tells", |states| {
            states[0].models.iter().all(|model| model.capabilities.contains(&Capability::Tools))
        })
        .await;
    stub.asked("/api/tags", 3).await;
    assert_eq!(stub.count("/api/show"), 3, "each model is described once, and none from elsewhere");
}

#[tokio::test]
async fn an_ollama_with_many_models() {
    let stub = Stub::start(|method, path| match path {
        "/api/tags" => {
            let tags = (0..30).map(|n| format!(r#"{{"name":"m{n}","digest":"{n}"}}"#)).collect::<Vec<_>>();
            ok(format!(r#"{{"models":[{}]}}"#, tags.join(",")))
        }
        _ => ollama(method, path),
    })
    .await;
    stub.hold(Some("/api/show"));
    let mut watch = Watch::over(vec![stub.place("")], quick());
    watch.until("the models", |states| states.iter().any(|state| state.models.len() == 30)).await;
    stub.held(4).await;
    stub.hold(None);
    let described = |states: &[std::sync::Arc<proto::BackendState>]| {
        states[0].models.iter().filter(|model| !model.capabilities.is_empty()).count()
    };
    watch.until("all are described", |states| described(states) == 30).await;
    assert_eq!(stub.most_held(), 4, "no more than four were asked for at once");
}

#[tokio::test]
async fn a_llama_server() {
    let stub = Stub::start(llama).await;
    let mut watch = Watch::over(vec![stub.place("?slots=3&name=big")], quick());
    let states = watch.until("the backend", |states| states.iter().any(|state| !state.models.is_empty())).await;
    assert_eq!((states[0].id.as_str(), states[0].kind), ("big", BackendKind::LlamaServer));
    assert_eq!((states[0].slots, states[0].ignores_model_name), (Some(3), true));
    use Api::*;
    assert_eq!(speaks(&states[0]), [ChatCompletions, Completions, Responses, Messages, CountTokens]);
    assert_eq!(states[0].version.as_deref(), Some("b1-7e4c0a9"));
    assert_eq!(states[0].models[0].loaded.as_ref().unwrap().context, Some(1024));
}

#[tokio::test]
async fn a_llama_server_that_loads() {
    let loading = r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#;
    let stub = Stub::start(move |_, _| Reply(503, Vec::new(), loading.to_owned())).await;
    let mut watch = Watch::over(vec![guessed(stub.place(""))], quick());
    watch.until("that it loads", |states| states.iter().any(|state| state.health == Health::Loading)).await;
    stub.now(llama);
    let states = watch.until("that it is ready", |states| states.iter().any(|state| state.health.is_up())).await;
    assert_eq!((states[0].id.as_str(), states[0].models.len(), states[0].slots), ("llama-server", 1, Some(2)));
    // It is started anew, quickly enough to be missed while it was gone.
    stub.now(move |_, _| Reply(503, Vec::new(), loading.to_owned()));
    let states = watch.until("that it loads again", |states| states[0].health == Health::Loading).await;
    assert_eq!(states[0].models.len(), 1, "kept as last seen");
}

#[tokio::test]
async fn a_llama_server_in_router_mode() {
    let stub = Stub::start(router).await;
    let mut watch = Watch::over(vec![stub.place("")], quick());
    let states = watch.until("the models", |states| states.iter().any(|state| state.models.len() == 3)).await;
    assert_eq!((states[0].kind, states[0].slots), (BackendKind::LlamaRouter, Some(2)));
    assert!(!states[0].ignores_model_name);
    assert!(states[0].speaks.has(Api::Embeddings) && !states[0].speaks.has(Api::Transcriptions));
    assert_eq!(states[0].models[0].capabilities, [Capability::Completion, Capability::Tools]);
    stub.now(|method, path| match path {
        "/models" => ok(include_str!("data/router-models.json").replace("unloaded", "loaded")),
        _ => router(method, path),
    });
    watch.until("that another was loaded", |states| states[0].models[1].loaded.is_some()).await;
}

#[tokio::test]
async fn servers_known_by_their_list_of_models() {
    let vllm = r#"{"object":"list","data":[{"id":"q","object":"model","owned_by":"vllm","max_model_len":32768}]}"#;
    let other = r#"{"object":"list","data":[{"id":"q","object":"model"},{"id":"r","object":"model"}]}"#;
    let vllm = Stub::start(move |_, path| match path {
        "/v1/models" => ok(vllm),
        "/version" => ok(r#"{"version":"0.20.1"}"#),
        "/v1/chat/completions" | "/v1/responses" => refused(405),
        _ => refused(404),
    });
    let answers_all = Stub::start(move |_, path| match path {
        "/v1/models" => ok(other),
        _ => ok(r#"{"error":"Unexpected endpoint or method"}"#),
    });
    let knows_none = Stub::start(move |_, path| if path == "/v1/models" { ok(other) } else { refused(404) });
    let refuses_all = Stub::start(move |_, path| if path == "/v1/models" { ok(other) } else { refused(405) });
    let (vllm, answers_all) = (vllm.await, answers_all.await);
    let (knows_none, refuses_all) = (knows_none.await, refuses_all.await);
    let names = [(&vllm, ""), (&answers_all, "?name=a"), (&knows_none, "?name=k"), (&refuses_all, "?name=r")];
    let places = names.iter().map(|(stub, name)| stub.place(name)).collect();
    let mut watch = Watch::over(places, quick());
    let states =
        watch.until("all four", |states| states.iter().filter(|state| state.health.is_up()).count() == 4).await;
    use Api::*;
    let usual = vec![ChatCompletions, Completions, Embeddings];
    for (id, kind, calls, version) in [
        ("a", BackendKind::OpenAi, usual.clone(), None),
        ("k", BackendKind::OpenAi, usual.clone(), None),
        ("r", BackendKind::OpenAi, usual, None),
        ("vllm", BackendKind::Vllm, vec![ChatCompletions, Responses], Some("0.20.1")),
    ] {
        let state = states.iter().find(|state| state.id.as_str() == id).unwrap();
        assert_eq!((state.kind, speaks(state), state.version.as_deref()), (kind, calls, version), "{id}");
    }
    assert_eq!(states[3].models[0].loaded.as_ref().unwrap().context, Some(32768));
}

#[tokio::test]
async fn an_lm_studio() {
    let stub = Stub::start(|_, path| match path {
        "/v1/models" => {
            ok(r#"{"object":"list","data":[{"id":"qwen","object":"model","owned_by":"organization_owner"}]}"#)
        }
        "/api/v1/models" => ok(r#"{"models":[{"type":"llm","key":"qwen","max_context_length":40960,
                "loaded_instances":[{"id":"qwen","config":{"context_length":8192}}]}]}"#),
        _ => ok(r#"{"error":"Unexpected endpoint or method"}"#),
    })
    .await;
    let mut watch = Watch::over(vec![guessed(stub.place(""))], quick());
    let states = watch.until("the backend", |states| !states.is_empty()).await;
    assert_eq!((states[0].id.as_str(), states[0].kind), ("lm-studio", BackendKind::LmStudio));
    assert_eq!(states[0].models[0].loaded.as_ref().unwrap().context, Some(8192));
}
