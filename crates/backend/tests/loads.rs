//! Loads and unloads of an Ollama: ordered, waited for, and told.
#![allow(clippy::unwrap_used, reason = "all of this is test code")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use backend::{Handle, LoadFault, Patience, Place};
use common::{Stub, Watch, free_port, lazy, ok, refused};
use fake_ollama::{Fault, FaultKind, Options, Server};
use proto::BackendState;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A stand-in, and what a watcher that only looks when asked knows of it.
struct Fleet {
    server: Server,
    watch: Watch,
}

impl Fleet {
    async fn start(options: Options) -> Fleet {
        let server = Server::start(options).unwrap();
        let place = Place::parse(&server.addr.to_string()).unwrap();
        let mut watch = Watch::over(vec![place], lazy());
        watch
            .until("the weights of its models", |states| {
                states.iter().any(|state| state.models.iter().all(|model| model.weights.is_some()))
            })
            .await;
        Fleet { server, watch }
    }

    fn handle(&self) -> Handle {
        let patience = Patience { pause: Duration::from_millis(5), settle: Duration::ZERO, ..Patience::default() };
        self.watch.handle.clone().with_patience(patience)
    }

    fn state(&self) -> Arc<BackendState> {
        Arc::clone(&self.watch.latest[0])
    }

    /// What the node was told of as loaded: ids and contexts. Waits for nothing.
    fn told(&mut self) -> Vec<(String, Option<u64>)> {
        while let Ok(states) = self.watch.news.try_recv() {
            self.watch.latest = states;
        }
        let models = self.watch.latest[0].models.iter();
        models.filter_map(|model| Some((model.id.clone(), model.loaded.as_ref()?.context))).collect()
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = self.begin(method, path, body).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let body = text.split_once("\r\n\r\n").unwrap().1;
        // A longer one comes in a chunk, after its size.
        let json = body.find(['{', '[']).map_or("", |at| &body[at..]);
        serde_json::Deserializer::from_str(json).into_iter().next().and_then(Result::ok).unwrap_or(Value::Null)
    }

    async fn begin(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.server.addr).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all((head + body).as_bytes()).await.unwrap();
        stream
    }

    /// A streamed answer without end that has begun.
    async fn busy(&self, body: &str) -> TcpStream {
        let mut stream = self.begin("POST", "/api/generate", body).await;
        stream.read_exact(&mut [0; 256]).await.unwrap();
        stream
    }

    /// Bodies of the orders so far.
    async fn orders(&self) -> Vec<(String, Value)> {
        let requests = self.ask("GET", "/_fake/requests", "").await;
        let orders = requests.as_array().unwrap().iter().filter(|one| one["method"] == "POST");
        orders
            .map(|one| (one["path"].as_str().unwrap().to_owned(), one["body"].as_str().unwrap()))
            .filter(|(path, _)| path != "/api/show")
            .map(|(path, body)| (path, serde_json::from_str(body).unwrap()))
            .collect()
    }

    /// Waits until `count` orders to unload came.
    async fn unloads(&self, count: usize) {
        while self.orders().await.iter().filter(|(_, body)| body["keep_alive"] == 0).count() < count {
            tokio::task::yield_now().await;
        }
    }
}

fn with(options: &[Fault]) -> Options {
    Options { faults: options.to_vec(), ..Options::default() }
}

#[tokio::test]
async fn a_load_is_for_ever_and_told_before_it_ends() {
    let mut fleet = Fleet::start(Options::default()).await;
    let state = fleet.state();
    let loaded = fleet.handle().load(&state, "smollm2:latest", Some(2048), false).await.unwrap();
    assert_eq!(loaded.context, Some(2048));
    assert_eq!(fleet.told(), [("smollm2:latest".to_owned(), Some(2048))]);
    let model = fleet.state().models.iter().find_map(|model| model.loaded.clone()).unwrap();
    assert!(model.expires_at.unwrap().starts_with("23"), "kept for ever");
    // The context grows: another load, and the model was trained for no more.
    let grown = fleet.handle().load(&state, "smollm2:latest", Some(100_000), false).await.unwrap();
    assert_eq!(grown.context, Some(8192));
    assert_eq!(fleet.told(), [("smollm2:latest".to_owned(), Some(8192))]);
    let tallies = fleet.ask("GET", "/_fake/state", "").await;
    assert_eq!(tallies["models"]["smollm2:latest"]["loads"], 2);
}

#[tokio::test]
async fn what_is_ordered() {
    let fleet = Fleet::start(Options::default()).await;
    let state = fleet.state();
    let handle = fleet.handle();
    handle.load(&state, "tiny:latest", Some(1024), false).await.unwrap();
    handle.load(&state, "tiny:latest", Some(3), false).await.unwrap();
    handle.load(&state, "all-minilm:latest", Some(1024), true).await.unwrap();
    handle.unload(&state, "all-minilm:latest").await.unwrap();
    let generate = |body: Value| ("/api/generate".to_owned(), body);
    assert_eq!(
        fleet.orders().await,
        [
            generate(json!({"model": "tiny:latest", "keep_alive": -1, "stream": false, "options": {"num_ctx": 1024}})),
            generate(json!({"model": "tiny:latest", "keep_alive": -1, "stream": false})),
            ("/api/embed".to_owned(), json!({"model": "all-minilm:latest", "keep_alive": -1, "stream": false})),
            generate(json!({"model": "all-minilm:latest", "keep_alive": 0, "stream": false})),
        ]
    );
}

#[tokio::test]
async fn an_unload_ends_when_the_model_is_gone() {
    let mut fleet = Fleet::start(Options::default()).await;
    let state = fleet.state();
    let handle = fleet.handle();
    handle.unload(&state, "tiny:latest").await.unwrap();
    handle.load(&state, "tiny:latest", None, false).await.unwrap();
    handle.load(&state, "all-minilm:latest", None, true).await.unwrap();
    assert_eq!(fleet.told().len(), 2);
    handle.unload(&state, "all-minilm:latest").await.unwrap();
    assert_eq!(fleet.told(), [("tiny:latest".to_owned(), Some(4096))]);
    handle.unload(&state, "tiny:latest").await.unwrap();
    assert_eq!(fleet.told(), []);
}

#[tokio::test]
async fn names_on_one_file_go_together() {
    let models = vec!["smollm2".to_owned(), "smol-b".to_owned()];
    let mut fleet = Fleet::start(Options { models, ..Options::default() }).await;
    let state = fleet.state();
    let handle = fleet.handle();
    assert_eq!(state.models[0].weights, state.models[1].weights);
    handle.load(&state, "smollm2:latest", Some(4096), false).await.unwrap();
    assert_eq!(fleet.told().len(), 2, "one runner, and both names can use it");
    // Listed under the other name all the same.
    assert_eq!(handle.load(&state, "smol-b:latest", Some(4096), false).await.unwrap().context, Some(4096));
    handle.unload(&state, "smol-b:latest").await.unwrap();
    assert_eq!(fleet.told(), []);
}

#[tokio::test]
async fn a_busy_model_goes_with_its_last_answer() {
    let mut fleet = Fleet::start(Options { pace: Duration::from_millis(1), ..Options::default() }).await;
    let state = fleet.state();
    let answer = fleet.busy(r#"{"model":"tiny-loop","prompt":"x"}"#).await;
    let patience =
        Patience { unload: Duration::from_millis(20), pause: Duration::from_millis(5), ..Patience::default() };
    let fault =
        fleet.watch.handle.clone().with_patience(patience).unload(&state, "tiny-loop:latest").await.unwrap_err();
    assert!(fault.is_busy && !fault.is_gone && fault.reason.contains("`tiny-loop`"), "{fault}");
    let handle = fleet.handle();
    let unload = handle.unload(&state, "tiny-loop:latest");
    let leave = async {
        fleet.unloads(2).await;
        drop(answer);
    };
    assert_eq!(tokio::join!(unload, leave).0, Ok(()));
    assert_eq!(fleet.told(), []);
}

/// Another program's keep_alive takes the order back; then it is given again.
#[tokio::test]
async fn an_order_that_was_void_is_given_again() {
    let mut fleet = Fleet::start(Options { pace: Duration::from_millis(1), ..Options::default() }).await;
    let state = fleet.state();
    let answer = fleet.busy(r#"{"model":"tiny-loop","prompt":"x"}"#).await;
    let handle = fleet.handle();
    let unload = handle.unload(&state, "tiny-loop:latest");
    let meddle = async {
        fleet.unloads(1).await;
        fleet.ask("POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":"1h"}"#).await;
        drop(answer);
    };
    assert_eq!(tokio::join!(unload, meddle).0, Ok(()));
    assert_eq!(fleet.told(), []);
}

#[tokio::test]
async fn a_deleted_model_goes_by_another_name_or_not_at_all() {
    for (copies, expected) in [(false, false), (true, true)] {
        let mut fleet = Fleet::start(Options { models: vec!["tiny".to_owned()], ..Options::default() }).await;
        if copies {
            fleet.ask("POST", "/api/copy", r#"{"source":"tiny","destination":"other"}"#).await;
            fleet.watch.handle.refresh(&fleet.state().id);
            fleet
                .watch
                .until("the copy", |states| {
                    states[0].models.iter().filter(|model| model.weights.is_some()).count() == 2
                })
                .await;
        }
        let state = fleet.state();
        let handle = fleet.handle();
        handle.load(&state, "tiny:latest", None, false).await.unwrap();
        fleet.ask("DELETE", "/api/delete", r#"{"model":"tiny"}"#).await;
        let unloaded = handle.unload(&state, "tiny:latest").await;
        assert_eq!(unloaded.is_ok(), expected, "{unloaded:?}");
        if let Err(fault) = unloaded {
            assert!(fault.is_gone && fault.reason.contains("until 23"), "{fault}");
        }
        // One that is neither on disk nor loaded is unloaded.
        handle.unload(&state, "never:there").await.unwrap();
    }
}

#[tokio::test]
async fn faults_say_what_happened() {
    let loses = |kind| Fault { path: Some("/api/generate".to_owned()), ..Fault::new(kind).times(1) };
    for (fault, words, is_memory, is_busy) in [
        (FaultKind::LoadDies, "no longer running", false, false),
        (FaultKind::LoadTimesOut, "timed out waiting", false, false),
        (FaultKind::LoadLacksMemory, "failed to allocate", true, false),
        (FaultKind::Busy503, "maximum pending requests", false, true),
        (FaultKind::CutAfter, "not loaded after", false, true),
    ] {
        let server = with(&[if fault == FaultKind::CutAfter { loses(FaultKind::Silent) } else { loses(fault) }]);
        let mut fleet = Fleet::start(server).await;
        let patience = Patience { load: Duration::from_secs(1), ..Patience::default() };
        let handle = fleet.watch.handle.clone().with_patience(patience);
        let found = handle.load(&fleet.state(), "tiny:latest", None, false).await.unwrap_err();
        assert!(found.reason.contains(words), "{found:?}");
        assert_eq!((found.is_memory, found.is_busy, found.is_gone), (is_memory, is_busy, false), "{found:?}");
        assert_eq!(fleet.told(), []);
    }
    let fleet = Fleet::start(Options::default()).await;
    let found = fleet.handle().load(&fleet.state(), "nope", None, false).await.unwrap_err();
    assert_eq!(found, LoadFault { reason: "model 'nope' not found".into(), is_gone: true, ..LoadFault::default() });
    let found = fleet.handle().load(&fleet.state(), "all-minilm:latest", None, false).await.unwrap_err();
    assert!(found.reason.contains("does not support generate") && !found.is_gone);
}

#[tokio::test]
async fn a_server_that_died_or_hangs_is_gone() {
    let mut fleet = Fleet::start(Options::default()).await;
    let port = free_port().await;
    let mut state = (*fleet.state()).clone();
    state.address.port = port;
    let patience = Patience { silence: Duration::from_millis(20), ..Patience::default() };
    let handle = fleet.watch.handle.clone().with_patience(patience);
    let stub = Stub::start(|_, _| ok("{}")).await;
    stub.hold(Some("/"));
    for place in [port, stub.port] {
        state.address.port = place;
        let load = handle.load(&state, "tiny:latest", None, false).await.unwrap_err();
        let unload = handle.unload(&state, "tiny:latest").await.unwrap_err();
        assert!(load.is_gone && unload.is_gone, "{load} {unload}");
    }
    // Answers, but is no Ollama any more.
    stub.hold(None);
    stub.now(|_, _| refused(404));
    assert!(handle.load(&state, "tiny:latest", None, false).await.unwrap_err().is_gone);
    assert_eq!(fleet.told(), []);
}

#[tokio::test]
async fn a_slow_load_is_waited_for_while_the_server_answers() {
    let fleet = Fleet::start(Options { load: Duration::from_millis(600), ..Options::default() }).await;
    let patience = Patience { silence: Duration::from_millis(50), ..Patience::default() };
    let handle = fleet.watch.handle.clone().with_patience(patience);
    let loaded = handle.load(&fleet.state(), "tiny:latest", None, false).await.unwrap();
    assert!(loaded.took >= Duration::from_millis(600), "{loaded:?}");
}

#[tokio::test]
async fn others_load_by_themselves() {
    let fleet = Fleet::start(Options::default()).await;
    let mut state = (*fleet.state()).clone();
    state.kind = proto::BackendKind::LlamaServer;
    let fault = fleet.handle().load(&state, "tiny:latest", None, false).await.unwrap_err();
    assert_eq!(fault.reason, "a backend of kind llama-server loads and unloads by itself");
    assert!(fleet.handle().unload(&state, "tiny:latest").await.is_err());
    assert!(fleet.orders().await.is_empty());
}

#[tokio::test]
async fn a_gpu_is_given_time_to_free_its_memory() {
    for (gpu, settle) in [(true, Duration::from_millis(80)), (false, Duration::from_secs(3600))] {
        let fleet = Fleet::start(Options { gpu, ..Options::default() }).await;
        let state = fleet.state();
        let patience = Patience { settle, ..Patience::default() };
        let handle = fleet.watch.handle.clone().with_patience(patience);
        handle.load(&state, "tiny:latest", None, false).await.unwrap();
        let began = common::now();
        handle.unload(&state, "tiny:latest").await.unwrap();
        assert!(!gpu || cfg!(target_os = "macos") || common::now().since(began) >= settle);
    }
}

/// The order to unload a model that is just loading is not answered before it is loaded.
#[tokio::test]
async fn an_order_that_is_not_answered_is_not_waited_for_without_end() {
    let silent = Fault { path: Some("/api/generate".to_owned()), ..Fault::new(FaultKind::Silent) };
    let fleet = Fleet::start(with(&[silent])).await;
    let short = Duration::from_millis(30);
    let handle =
        fleet.watch.handle.clone().with_patience(Patience { unload: short, silence: short, ..Patience::default() });
    let fault = handle.unload(&fleet.state(), "tiny:latest").await.unwrap_err();
    assert!(fault.is_busy && fault.reason.contains("not unloaded after"), "{fault:?}");
}

#[tokio::test]
async fn a_dropped_load_is_killed() {
    let fleet = Fleet::start(Options { load: Duration::from_secs(600), ..Options::default() }).await;
    let handle = fleet.handle();
    let state = fleet.state();
    let load = handle.load(&state, "tiny:latest", None, false);
    let wait = |wished: fn(&Value) -> bool| {
        let fleet = &fleet;
        async move {
            while !wished(&fleet.ask("GET", "/_fake/state", "").await) {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::select! {
        loaded = load => panic!("{loaded:?}"),
        () = wait(|state| state["models"]["tiny:latest"]["starts"] == 1) => {}
    }
    wait(|state| state["queued"] == 0).await;
    let tallies = fleet.ask("GET", "/_fake/state", "").await;
    assert_eq!(tallies["models"]["tiny:latest"]["loads"], 0);
}

/// What was loaded before runs on under the same name, and no order reaches it: it must not be waited for.
#[tokio::test]
async fn a_model_that_was_pulled_anew_is_another() {
    let mut fleet = Fleet::start(Options::default()).await;
    let stale = fleet.state();
    let handle = fleet.handle();
    handle.load(&stale, "tiny:latest", None, false).await.unwrap();
    fleet.ask("POST", "/api/create", r#"{"model":"tiny","from":"smollm2"}"#).await;
    let digest = |state: &BackendState| state.model(&proto::ModelName::new("tiny")).unwrap().weights.clone();
    fleet.watch.handle.refresh(&stale.id);
    fleet
        .watch
        .until("the new weights", |states| digest(&states[0]).is_some_and(|weights| Some(weights) != digest(&stale)))
        .await;
    let state = fleet.state();
    handle.unload(&state, "tiny:latest").await.unwrap();
    let ps = fleet.ask("GET", "/api/ps", "").await;
    assert_eq!(ps["models"].as_array().unwrap().len(), 1, "the old one is still there");
    assert_eq!(fleet.told(), [], "and is no model of anybody");
    // Also for who has not heard of it yet, the new one can be loaded.
    assert_eq!(handle.load(&stale, "tiny:latest", Some(8192), false).await.unwrap().context, Some(8192));
}
