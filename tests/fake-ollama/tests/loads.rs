//! What goes wrong when a server is left to load, queue and evict by itself, as measured on Ollama 0.33; and what tests
//! can read of it.

#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod client;

use std::time::Duration;

use client::{begin, call, head, json, loaded, prompt, send, until};
use fake_ollama::{Options, Server};

/// One model at a time, and answers that take a while.
fn narrow() -> Options {
    Options { max_loaded: 1, pace: Duration::from_millis(1), ..Options::default() }
}

/// Two clients that keep a model busy without a gap: whoever waits for a load waits for as long as they go on.
#[test]
fn requests_for_a_loaded_model_starve_every_load() {
    for (starved, max_loaded) in [
        (prompt("tiny", ""), 1),
        // The same for another context of the busy model itself.
        (prompt("tiny-loop", ",\"options\":{\"num_ctx\":2048,\"num_predict\":1}"), 3),
    ] {
        let server = Server::start(Options { parallel: 2, max_loaded, ..narrow() }).unwrap();
        let mut busy = begin(&server, "tiny-loop", "");
        let waiting = send(&server, "POST", "/api/generate", &starved);
        until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
        // There is room for a third model, but the head of the line blocks all behind it.
        let third = (max_loaded > 1).then(|| send(&server, "POST", "/api/generate", &prompt("smollm2", "")));
        until(&server, |state| state["pending"] == u64::from(third.is_some()));
        for _ in 0..50 {
            busy = begin(&server, "tiny-loop", "");
        }
        let state = json(&server, "GET", "/_fake/state", "");
        assert_eq!(state["queued"], 1 + u64::from(third.is_some()), "all fifty overtook: {state}");
        assert_eq!(loaded(&server), ["tiny-loop:latest"]);
        drop(busy);
        for stream in [Some(waiting), third].into_iter().flatten() {
            assert!(head(stream).unwrap().body().contains("\"done\":true"));
        }
    }
}

/// Any keep_alive for the busy model takes its eviction back: a prompt's, a preload's, or after an unload order.
#[test]
fn every_request_with_a_keep_alive_wedges_and_one_without_does_not() {
    for (first, body, wedges) in [
        (None, prompt("tiny-loop", ",\"keep_alive\":\"60s\",\"options\":{\"num_predict\":1}"), true),
        (None, r#"{"model":"tiny-loop","keep_alive":-1}"#.to_owned(), true),
        (Some(r#"{"model":"tiny-loop","keep_alive":0}"#), r#"{"model":"tiny-loop","keep_alive":60}"#.to_owned(), true),
        (None, r#"{"model":"tiny-loop"}"#.to_owned(), false),
        (None, prompt("tiny-loop", ",\"options\":{\"num_predict\":1}"), false),
    ] {
        // Waits for another model, or for the same one with another context.
        for waits in [prompt("tiny", ""), prompt("tiny-loop", ",\"options\":{\"num_ctx\":512,\"num_predict\":1}")] {
            let server = Server::start(narrow()).unwrap();
            let busy = begin(&server, "tiny-loop", "");
            let waiting = send(&server, "POST", "/api/generate", &waits);
            until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
            if let Some(first) = first {
                assert_eq!(call(&server, "POST", "/api/generate", first).0, 200);
            }
            let later = send(&server, "POST", "/api/generate", &body);
            until(&server, |_| json(&server, "GET", "/_fake/requests", "").as_array().unwrap().len() > 2);
            if body.contains("prompt") {
                until(&server, |state| state["queued"] == 2);
            } else {
                assert!(head(later.try_clone().unwrap()).unwrap().body().contains("\"load\""));
            }
            drop(busy);
            if wedges {
                let state = until(&server, |state| state["in_flight"] == 0 && state["queued"] == 1);
                assert_eq!(state["loaded"].as_array().unwrap().len(), 1, "idle and in the way: {body}");
                call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":0}"#);
            }
            assert!(head(waiting).unwrap().body().contains("\"done\":true"), "{body} {waits}");
            drop(later);
        }
    }
}

#[test]
fn a_wedge_ends_with_the_keep_alive() {
    let server = Server::start(narrow()).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let waiting = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
    call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":"50ms"}"#);
    drop(busy);
    assert!(head(waiting).unwrap().body().contains("\"done\":true"));
}

#[test]
fn loads_are_served_in_the_order_of_their_asking_and_not_by_model() {
    let server = Server::start(narrow()).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let order = ["tiny", "smollm2", "tiny", "smollm2"];
    let mut waiting = Vec::new();
    for (at, model) in order.iter().enumerate() {
        waiting.push(send(&server, "POST", "/api/generate", &prompt(model, ",\"options\":{\"num_predict\":1}")));
        until(&server, |state| state["queued"] == at + 1 && state["pending"] == at);
    }
    assert_eq!(loaded(&server), ["tiny-loop:latest"], "the model that goes is listed as if nothing were");
    drop(busy);
    for stream in waiting {
        assert!(head(stream).unwrap().body().contains("\"done\":true"));
    }
    let state = json(&server, "GET", "/_fake/state", "");
    let starts: Vec<_> =
        ["tiny", "smollm2"].map(|name| state["models"][format!("{name}:latest")]["starts"].clone()).into();
    assert_eq!(starts, [2, 2], "each of them was a load");
}

#[test]
fn a_client_that_leaves_while_it_waits_does_not_stop_the_eviction() {
    let server = Server::start(narrow()).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let waiting = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
    drop(waiting);
    until(&server, |state| state["queued"] == 0);
    drop(busy);
    let state = until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
    assert_eq!(state["models"]["tiny:latest"]["starts"], 0, "for nothing");
}

#[test]
fn a_load_dies_with_its_asker_and_the_next_one_begins_anew() {
    let server = Server::start(Options { load: Duration::from_millis(50), ..narrow() }).unwrap();
    let body = r#"{"kind":"loading","after":600000,"times":1}"#;
    call(&server, "POST", "/_fake/faults", body);
    let asker = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["models"]["tiny:latest"]["starts"] == 1);
    let next = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["pending"] == 1);
    drop(asker);
    assert!(head(next).unwrap().body().contains("\"done\":true"));
    let state = json(&server, "GET", "/_fake/state", "");
    let tiny = &state["models"]["tiny:latest"];
    assert_eq!((&tiny["starts"], &tiny["loads"]), (&2.into(), &1.into()));
}

#[test]
fn requests_for_a_model_that_loads_count_in_the_bounded_queue() {
    let server = Server::start(Options { max_queue: 2, load: Duration::from_secs(600), ..narrow() }).unwrap();
    let ask = || send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    let mut waiting = vec![ask()];
    until(&server, |state| state["models"]["tiny:latest"]["starts"] == 1);
    for count in 1..=2 {
        waiting.push(ask());
        until(&server, |state| state["pending"] == count);
    }
    for (path, body) in [
        ("/api/generate", prompt("tiny", "")),
        ("/api/embed", r#"{"model":"all-minilm"}"#.to_owned()),
        ("/v1/completions", prompt("tiny", "")),
    ] {
        let (status, text) = call(&server, "POST", path, &body);
        assert_eq!(status, 503, "{path}");
        assert!(text.contains("server busy, please try again.  maximum pending requests exceeded"), "{path}: {text}");
    }
    assert!(loaded(&server).is_empty(), "what loads is not listed");
}

#[test]
fn what_two_names_share_is_listed_by_the_first_and_goes_by_either() {
    let models = vec!["tiny".into(), "copy".into()];
    let server = Server::start(Options { models, ..Options::default() }).unwrap();
    call(&server, "POST", "/api/copy", r#"{"source":"tiny","destination":"copy"}"#);
    let ask = |model: &str| call(&server, "POST", "/api/generate", &prompt(model, ",\"stream\":false")).0;
    for (first, second) in [("tiny", "copy"), ("copy", "tiny")] {
        assert_eq!((ask(first), ask(second)), (200, 200));
        assert_eq!(loaded(&server), [format!("{first}:latest")], "one runner");
        call(&server, "POST", "/api/generate", &format!("{{\"model\":\"{second}\",\"keep_alive\":0}}"));
        assert!(loaded(&server).is_empty());
    }
    let from = |model: &str| {
        let shown = json(&server, "POST", "/api/show", &format!("{{\"model\":\"{model}\"}}"));
        let file = shown["modelfile"].as_str().unwrap().to_owned();
        file.lines().find(|line| line.starts_with("FROM ")).unwrap().to_owned()
    };
    assert_eq!(from("tiny"), from("copy"), "which the files tell");
}

#[test]
fn a_model_that_is_deleted_while_loaded_streams_to_its_end_and_stays() {
    let server = Server::start(Options { tokens: Some(200), ..narrow() }).unwrap();
    let answer = begin(&server, "tiny", ",\"keep_alive\":\"100ms\"");
    assert_eq!(call(&server, "DELETE", "/api/delete", r#"{"model":"tiny"}"#).0, 200);
    assert_eq!(loaded(&server), ["tiny:latest"]);
    for body in [prompt("tiny", ""), r#"{"model":"tiny","keep_alive":0}"#.to_owned()] {
        let (status, text) = call(&server, "POST", "/api/generate", &body);
        assert_eq!((status, text.as_str()), (404, r#"{"error":"model 'tiny' not found"}"#));
    }
    assert!(answer.body().contains("\"done\":true"));
    until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
}

/// On a machine with a GPU memory decides, too: read in the source, not measured.
#[test]
fn a_model_that_does_not_fit_the_gpu_evicts_and_alone_is_held_there_in_part() {
    let memory = Some(700 << 20);
    let models = vec!["smollm2".into(), "tiny".into(), "big".into()];
    let server = Server::start(Options { memory, models, ..Options::default() }).unwrap();
    let load = |model: &str, num_ctx: u64| {
        let body = format!("{{\"model\":\"{model}\",\"options\":{{\"num_ctx\":{num_ctx}}}}}");
        assert_eq!(call(&server, "POST", "/api/generate", &body).0, 200);
        let ps = json(&server, "GET", "/api/ps", "");
        let first =
            &ps["models"].as_array().unwrap().iter().find(|one| one["name"] == format!("{model}:latest")).unwrap();
        (first["size"].as_u64().unwrap(), first["size_vram"].as_u64().unwrap())
    };
    let (size, vram) = load("smollm2", 4096);
    assert_eq!(size, vram);
    load("tiny", 4096);
    assert_eq!(loaded(&server).len(), 2, "both fit");
    load("big", 4096);
    assert_eq!(loaded(&server), ["big:latest"], "two had to go");
    load("smollm2", 8192);
    let state = json(&server, "GET", "/_fake/state", "");
    assert_eq!(state["models"]["big:latest"]["evictions"], 1);
    let small = Server::start(Options { memory: Some(64 << 20), ..Options::default() }).unwrap();
    call(&small, "POST", "/api/generate", r#"{"model":"smollm2"}"#);
    let ps = json(&small, "GET", "/api/ps", "");
    assert_eq!(ps["models"][0]["size_vram"], 64 << 20, "the rest is on the processor");
}

#[test]
fn the_log_tells_what_each_request_got() {
    let server = Server::start(Options::default()).unwrap();
    for more in ["", ",\"options\":{\"num_ctx\":2048,\"seed\":7}", ",\"options\":{\"num_ctx\":2048}"] {
        call(&server, "POST", "/api/generate", &prompt("smollm2", &format!(",\"stream\":false{more}")));
    }
    let requests = json(&server, "GET", "/_fake/requests", "");
    let got: Vec<_> =
        requests.as_array().unwrap().iter().map(|one| (one["context"].as_u64(), one["began_load"] == true)).collect();
    assert_eq!(got, [(Some(4096), true), (Some(2048), true), (Some(2048), false)]);
    let body: serde_json::Value = serde_json::from_str(requests[1]["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["options"]["seed"], 7);
    assert!(requests[0]["prompt_tokens"].as_u64().unwrap() > 0);
}

/// The head of the line blocks all behind it, also after its client left; and so does a wedge.
#[test]
fn a_client_that_leaves_while_it_waits_goes_on_blocking_all_behind_it() {
    let server = Server::start(Options { parallel: 2, max_loaded: 3, ..narrow() }).unwrap();
    let mut busy = begin(&server, "tiny-loop", "");
    let head_of_line = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ",\"options\":{\"num_ctx\":512}"));
    until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
    let behind = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["pending"] == 1);
    drop(head_of_line);
    until(&server, |state| state["queued"] == 1);
    for _ in 0..20 {
        busy = begin(&server, "tiny-loop", "");
    }
    assert_eq!(json(&server, "GET", "/_fake/state", "")["pending"], 1, "there is room, and it is not used");
    call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":"60s"}"#);
    drop(busy);
    let state = until(&server, |state| state["in_flight"] == 0);
    assert_eq!((&state["pending"], &state["models"]["tiny:latest"]["starts"]), (&1.into(), &0.into()));
    call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":0}"#);
    assert!(head(behind).unwrap().body().contains("\"done\":true"));
}
