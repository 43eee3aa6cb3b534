//! Loads and unloads of a llama-server in router mode: a scripted one, and a real one where it is here.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use backend::{Handle, Patience, Place};
use common::{Reply, Stub, Watch, lazy, ok, refused};
use proto::{BackendKind, BackendState};

const PROPS: &str = include_str!("data/router-props.json");
const MODELS: &str = include_str!("data/router-models.json");

fn router(method: &str, path: &str) -> Reply {
    match (method, path) {
        ("GET", "/health") => ok(r#"{"status":"ok"}"#),
        ("GET", "/props") => ok(PROPS),
        ("GET", "/models" | "/v1/models") => ok(MODELS),
        ("POST", path) if path.starts_with("/v1/") => refused(400),
        _ => refused(404),
    }
}

fn says(status: u16, message: &str) -> Reply {
    let body = serde_json::json!({"error": {"code": status, "message": message, "type": "server_error"}});
    Reply(status, Vec::new(), body.to_string())
}

async fn watch(stub: &Stub) -> (Watch, Handle, Arc<BackendState>) {
    let mut watch = Watch::over(vec![stub.place("")], lazy());
    let states = watch.until("its models", |states| states.iter().any(|state| state.models.len() == 3)).await;
    let patience = Patience {
        pause: Duration::from_millis(1),
        load: Duration::from_millis(300),
        unload: Duration::from_millis(300),
        ..Patience::default()
    };
    let handle = watch.handle.clone().with_patience(patience);
    (watch, handle, states[0].clone())
}

/// A router whose `/models` shows `beta` as each of `statuses` in turn once an order was given, the last one for ever.
fn going(order: Reply, statuses: &'static [&'static str]) -> impl Fn(&str, &str) -> Reply + Send + Sync {
    let (looks, orders) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let Reply(status, _, body) = order;
    move |method, path| match (method, path) {
        ("POST", "/models/load" | "/models/unload") => {
            orders.store(1, Ordering::SeqCst);
            Reply(status, Vec::new(), body.clone())
        }
        ("GET", "/models") if orders.load(Ordering::SeqCst) == 1 => {
            let look = looks.fetch_add(1, Ordering::SeqCst);
            let shown = statuses[look.min(statuses.len() - 1)];
            let mut list: serde_json::Value = serde_json::from_str(MODELS).unwrap();
            list["data"][1]["status"] = serde_json::from_str(shown).unwrap();
            list["data"][1]["meta"] = serde_json::json!({"n_ctx": 8192});
            ok(list.to_string())
        }
        _ => router(method, path),
    }
}

const UNLOADED: &str = r#"{"value":"unloaded"}"#;
const LOADING: &str = r#"{"value":"loading"}"#;
const LOADED: &str = r#"{"value":"loaded"}"#;
const FAILED: &str = r#"{"value":"unloaded","failed":true,"exit_code":7}"#;

#[tokio::test]
async fn what_a_router_may_hold_is_told() {
    let stub = Stub::start(router).await;
    let (_watch, _, state) = watch(&stub).await;
    assert_eq!((state.kind, state.most_loaded), (BackendKind::LlamaRouter, Some(2)));
    let mut owners = Watch::over(vec![stub.place("?models=1")], lazy());
    let states = owners.until("it", |states| states.iter().any(|state| state.models.len() == 3)).await;
    assert_eq!(states[0].most_loaded, Some(1), "the owner's word counts");
}

#[tokio::test]
async fn a_load_is_followed_to_its_end() {
    let done = || ok(r#"{"success":true}"#);
    for (order, statuses, expected) in [
        (done(), &[LOADING, LOADING, LOADED][..], Ok(Some(8192))),
        (says(400, "model is already running"), &[LOADED], Ok(Some(8192))),
        (done(), &[r#"{"value":"sleeping"}"#], Ok(Some(8192))),
        (done(), &[LOADING, FAILED], Err(("ended with code 7", false, false))),
        (done(), &[LOADING, UNLOADED], Err(("somebody else", false, true))),
        (done(), &[LOADING], Err(("not loaded after", false, true))),
        (says(404, "File Not Found"), &[UNLOADED], Err(("File Not Found", true, false))),
        (says(500, "model limit reached, try again later"), &[UNLOADED], Err(("limit reached", false, true))),
    ] {
        let stub = Stub::start(router).await;
        let (mut watch, handle, state) = watch(&stub).await;
        stub.now(going(order, statuses));
        match (handle.load(&state, "beta", Some(4096), false).await, expected) {
            (Ok(loaded), Ok(context)) => {
                assert_eq!(loaded.context, context, "{statuses:?}");
                assert_eq!(stub.bodies("/models/load"), [r#"{"model":"beta"}"#], "a router takes no context");
                let states = watch.news.try_recv().expect("told before the load ended");
                assert!(states[0].models[1].loaded.is_some(), "{statuses:?}");
            }
            (Err(fault), Err((words, is_gone, is_busy))) => {
                assert!(fault.reason.contains(words), "{fault:?}");
                assert_eq!((fault.is_gone, fault.is_busy, fault.is_memory), (is_gone, is_busy, false), "{fault:?}");
            }
            (found, _) => panic!("{statuses:?}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn an_unload_is_followed_to_its_end() {
    let done = || ok(r#"{"success":true}"#);
    for (order, statuses, expected) in [
        (done(), &[LOADED, LOADED, UNLOADED][..], None),
        (done(), &[FAILED], None),
        (says(400, "model is not running"), &[UNLOADED], None),
        (says(400, "model is not found"), &[UNLOADED], None),
        (done(), &[LOADED], Some("still loaded")),
        (says(500, "no"), &[LOADED], Some("no")),
    ] {
        let stub = Stub::start(router).await;
        let (_watch, handle, state) = watch(&stub).await;
        stub.now(going(order, statuses));
        let fault = handle.unload(&state, "beta").await.err();
        assert_eq!(fault.is_some(), expected.is_some(), "{statuses:?} {fault:?}");
        assert!(fault.is_none_or(|fault| fault.reason.contains(expected.unwrap())));
        assert_eq!(stub.bodies("/models/unload"), [r#"{"model":"beta"}"#]);
    }
}

/// The real one: two tiny models, room for one of them.
#[tokio::test]
async fn a_real_router_loads_evicts_nothing_of_its_own_and_unloads() {
    let Some(engine) = parts::engine::find().unwrap() else {
        eprintln!("SKIPPED: no llama-server here; `cargo xtask test` fetches one");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    for name in ["alpha", "beta"] {
        let file = directory.path().join(name).with_extension("gguf");
        parts::tiny_gguf::write(&file, parts::tiny_gguf::Variant::Loop).unwrap();
    }
    std::fs::write(directory.path().join("broken.gguf"), "no model").unwrap();
    let port = common::free_port().await;
    let _router = Engine::start(&engine, directory.path(), port);
    let mut watch = Watch::over(vec![Place::parse(&format!("127.0.0.1:{port}")).unwrap()], common::quick());
    let states = watch
        .until("the router", |states| {
            states.iter().any(|state| state.kind == BackendKind::LlamaRouter && state.models.len() == 3)
        })
        .await;
    assert_eq!(states[0].most_loaded, Some(1));
    let (handle, state) = (watch.handle.clone(), &states[0]);
    let loaded = handle.load(state, "alpha", None, false).await.unwrap();
    assert!(loaded.context.is_some_and(|tokens| tokens > 0), "{loaded:?}");
    watch.until("alpha", |states| states[0].models[0].loaded.is_some()).await;
    handle.load(state, "alpha", None, false).await.expect("loaded already");
    handle.unload(state, "alpha").await.unwrap();
    handle.load(state, "beta", None, false).await.unwrap();
    watch
        .until("beta alone", |states| states[0].models[0].loaded.is_none() && states[0].models[1].loaded.is_some())
        .await;
    handle.unload(state, "beta").await.unwrap();
    handle.unload(state, "beta").await.expect("unloaded already");
    let fault = handle.load(state, "broken", None, false).await.unwrap_err();
    assert!(fault.reason.contains("ended with code"), "{fault}");
    assert!(handle.load(state, "nope", None, false).await.unwrap_err().is_gone);
}

struct Engine(std::process::Child);

impl Engine {
    fn start(engine: &parts::engine::Engine, models: &std::path::Path, port: u16) -> Engine {
        let mut command = std::process::Command::new(&engine.program);
        if let Some(libraries) = &engine.library_path {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.args(["--threads", "1", "--models-max", "1", "--host", "127.0.0.1", "--port"]);
        command.arg(port.to_string()).arg("--models-dir").arg(models);
        command.stdin(std::process::Stdio::null());
        Engine(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
