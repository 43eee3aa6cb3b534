//! A Herd that says what the test wants and writes down what it is told.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const TOKEN: &str = "secret-of-the-test";

/// The page that the window shows; it tells what its address is.
const PAGE: &str = "<!doctype html><title>Dashboard</title><h1>Dashboard</h1><script>\
                    fetch('/seen' + location.pathname + location.search + '?hash=' + location.hash.slice(1))</script>";

/// What it says, and what it was told.
struct Script {
    status: Value,
    share: Value,
    traces: Vec<Value>,
    told: Vec<(String, Value)>,
    seen: Vec<String>,
}

/// The Herd. Ends with its value.
pub(crate) struct Herd {
    pub(crate) port: u16,
    script: Arc<Mutex<Script>>,
    tasks: JoinSet<()>,
}

impl Herd {
    /// Starts it at a free port, with its token in the data directory `data`.
    pub(crate) async fn start(data: &Path) -> Herd {
        std::fs::create_dir_all(data).unwrap();
        std::fs::write(data.join("control.token"), TOKEN).unwrap();
        let script = Arc::new(Mutex::new(Script {
            status: json!({
                "name": "test-machine", "version": "0.1.0",
                "leader": { "name": "test-machine", "self": true }, "nodes": 3, "models": 11,
                "backends": [{ "id": "ollama", "kind": "ollama", "health": "up", "models": 4 }],
                "in_flight": 0, "queued": 0,
            }),
            share: share("on", "sharing", true),
            traces: Vec::new(),
            told: Vec::new(),
            seen: Vec::new(),
        }));
        let router = Router::new()
            .route("/api/version", get(|| async { Json(json!({ "version": "0.31.2", "herd": "0.1.0" })) }))
            .route("/fleet/self", get(|State(script): Said| async move { Json(script.lock().unwrap().status.clone()) }))
            .route(
                "/fleet/share",
                get(|State(script): Said| async move { Json(script.lock().unwrap().share.clone()) }).post(tell),
            )
            .route("/fleet/pair/answer", post(tell))
            .route("/fleet/nodes", get(|| async { Json(json!([])) }))
            .route("/fleet/doctor", get(|| async { Json(json!([])) }))
            .route(
                "/dashboard/api/traces",
                get(|State(script): Said| async move { Json(json!({ "traces": script.lock().unwrap().traces })) }),
            )
            .route("/dashboard/api/ticket", post(|| async { Json(json!({ "ticket": "once" })) }))
            .route("/dashboard", get(|| async { Html(PAGE) }))
            .route("/dashboard/{*page}", get(|| async { Html(PAGE) }))
            .route(
                "/seen/{*page}",
                get(|State(script): Said, uri: Uri| async move {
                    script.lock().unwrap().seen.push(uri.to_string().replacen("/seen", "", 1));
                    StatusCode::NO_CONTENT
                }),
            )
            .with_state(script.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Herd { port, script, tasks }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Script) -> T) -> T {
        act(&mut self.script.lock().unwrap())
    }

    /// What it was told since this was last asked, and by whom who knows the token.
    pub(crate) fn told(&self) -> Vec<(String, Value)> {
        self.with(|script| std::mem::take(&mut script.told))
    }

    /// Whether it was told nothing since [`Herd::told`].
    pub(crate) fn was_told_nothing(&self) -> bool {
        self.with(|script| script.told.is_empty())
    }

    /// The addresses at which its page was shown.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.with(|script| script.seen.clone())
    }

    /// Says from now on that it shares like this.
    pub(crate) fn shares(&self, state: &str, code: &str, meetings: bool) {
        self.with(|script| script.share = share(state, code, meetings));
    }

    /// Says `value` under `key` of its status from now on.
    pub(crate) fn says(&self, key: &str, value: Value) {
        self.with(|script| script.status[key] = value);
    }

    /// Has a request on record that failed for want of machines.
    pub(crate) fn starves(&self, model: &str, time: f64) {
        let trace = json!({ "timestamp": time, "http_status": 503, "original_model": model });
        self.with(|script| script.traces.push(trace));
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

type Said = State<Arc<Mutex<Script>>>;

fn share(state: &str, code: &str, meetings: bool) -> Value {
    json!({
        "state": state, "code": code, "reason": "A sentence of Herd.", "until": null, "rule": null,
        "rules": [{ "id": "meetings", "enabled": meetings }, { "id": "battery", "enabled": true }],
    })
}

/// Writes down what is told, and does what a Herd would.
async fn tell(State(script): Said, headers: HeaderMap, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 4096).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let token = headers.get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
    if token != Some(&format!("Bearer {TOKEN}")) {
        return (StatusCode::FORBIDDEN, Json(json!({ "error": "the token is missing" }))).into_response();
    }
    let mut script = script.lock().unwrap();
    match (body["state"].as_str(), body["enabled"].as_bool()) {
        (Some("on"), _) => script.share = share("on", "sharing", true),
        (Some("off"), _) => script.share = share("off", "off", true),
        (Some("fleet-only"), _) => script.share = share("off", "fleet_only", true),
        (Some("pause"), _) => script.share = share("paused", "paused_until", true),
        (Some("finish"), _) => script.share = share("draining", "finishing", true),
        (_, Some(enabled)) => script.share = share("on", "sharing", enabled),
        _ if body["override_s"].is_u64() => script.share = share("on", "overridden", true),
        _ => {}
    }
    if body["allow"].is_boolean() {
        script.status["asking"] = Value::Null;
    }
    script.told.push((path, body));
    Json(json!({})).into_response()
}
