//! The scheduler as clients see it: who is loaded, who waits, who goes.

mod client;

use std::time::Duration;

use client::{begin, call, head, json, loaded, prompt, send, until};
use fake_ollama::{Fault, FaultKind, Options, Server};

/// One model at a time, and answers that take a while.
fn narrow() -> Options {
    Options { max_loaded: 1, pace: Duration::from_millis(1), ..Options::default() }
}

#[test]
fn a_request_waits_for_a_slot_and_leaves_the_line_with_its_client() {
    let server = Server::start(narrow()).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let waiting = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ""));
    until(&server, |state| state["models"]["tiny-loop:latest"]["queued"] == 1);
    assert_eq!(json(&server, "GET", "/_fake/state", "")["in_flight"], 1);
    drop(waiting);
    until(&server, |state| state["queued"] == 0);
    drop(busy);
    until(&server, |state| state["in_flight"] == 0);
    let requests = json(&server, "GET", "/_fake/requests", "");
    let left: Vec<_> =
        requests.as_array().unwrap().iter().map(|one| (one["left_early"] == true, one["tokens"] == 0)).collect();
    assert!(left.starts_with(&[(true, false), (true, true)]), "{requests}");
}

#[test]
fn slots_are_given_in_order() {
    let server = Server::start(Options { parallel: 2, tokens: Some(20), ..narrow() }).unwrap();
    let streams: Vec<_> = (1..=6)
        .map(|count| {
            let stream = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
            until(&server, |state| {
                state["in_flight"].as_u64().unwrap() + state["queued"].as_u64().unwrap() >= count
                    || json(&server, "GET", "/_fake/requests", "").as_array().unwrap().len()
                        >= usize::try_from(count).unwrap()
            });
            stream
        })
        .collect();
    for stream in streams {
        assert!(head(stream).unwrap().body().contains("\"done\":true"));
    }
    let state = until(&server, |state| state["in_flight"] == 0);
    assert_eq!(state["models"]["tiny:latest"]["loads"], 1, "all of them shared one load");
}

#[test]
fn a_model_that_is_loading_is_not_listed_and_its_asker_can_stop_it() {
    let slow = Options { load: Duration::from_secs(600), ..narrow() };
    let server = Server::start(slow).unwrap();
    let asker = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
    let other = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ""));
    until(&server, |state| state["queued"] == 2 && state["pending"] == 1);
    assert!(loaded(&server).is_empty());
    drop(asker);
    // The load of the next in line begins only because that of the first was stopped.
    until(&server, |state| state["queued"] == 1 && state["pending"] == 0);
    assert!(loaded(&server).is_empty());
    drop(other);
    until(&server, |state| state["queued"] == 0);
    assert_eq!(json(&server, "GET", "/_fake/state", "")["models"]["tiny:latest"]["loads"], 0);
}

#[test]
fn an_idle_model_makes_room_and_a_busy_one_is_waited_for() {
    let server = Server::start(narrow()).unwrap();
    call(&server, "POST", "/api/generate", &prompt("tiny", ",\"stream\":false"));
    let busy = begin(&server, "tiny-loop", "");
    assert_eq!(loaded(&server), ["tiny-loop:latest"]);
    let waiting = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["models"]["tiny:latest"]["queued"] == 1);
    assert_eq!(loaded(&server), ["tiny-loop:latest"]);
    // A request for a loaded model overtakes all that wait for a load.
    let overtaker = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ",\"options\":{\"num_predict\":1}"));
    until(&server, |state| state["models"]["tiny-loop:latest"]["queued"] == 1);
    drop(busy);
    assert!(head(overtaker).unwrap().body().contains("\"done\":true"));
    assert!(head(waiting).unwrap().body().contains("\"done\":true"));
    assert_eq!(loaded(&server), ["tiny:latest"]);
    let state = json(&server, "GET", "/_fake/state", "");
    assert_eq!(
        (&state["models"]["tiny-loop:latest"]["evictions"], &state["models"]["tiny:latest"]["loads"]),
        (&1.into(), &2.into())
    );
}

#[test]
fn the_idle_model_with_the_shortest_keep_alive_goes_first() {
    let server = Server::start(Options { max_loaded: 2, ..Options::default() }).unwrap();
    let load = |model: &str, keep_alive: &str| {
        let body = format!("{{\"model\":\"{model}\",\"keep_alive\":{keep_alive}}}");
        assert_eq!(call(&server, "POST", "/api/generate", &body).0, 200);
    };
    load("smollm2", "\"10m\"");
    load("tiny", "-1");
    load("thinker", "-1");
    assert_eq!(loaded(&server), ["thinker:latest", "tiny:latest"], "not the least recently used");
    load("smollm2", "\"5m\"");
    assert_eq!(loaded(&server).len(), 2, "for ever protects nothing when all have it");
}

#[test]
fn a_busy_model_outlives_an_idle_one_with_a_longer_keep_alive() {
    let server = Server::start(Options { max_loaded: 2, ..narrow() }).unwrap();
    let _busy = begin(&server, "tiny-loop", ",\"keep_alive\":\"1m\"");
    call(&server, "POST", "/api/generate", r#"{"model":"tiny","keep_alive":"60m"}"#);
    call(&server, "POST", "/api/generate", r#"{"model":"smollm2"}"#);
    assert_eq!(loaded(&server), ["smollm2:latest", "tiny-loop:latest"]);
}

/// A keep_alive for a busy model that is about to go takes the order back, and every load waits.
#[test]
fn a_keep_alive_wedges_all_loads_until_an_unload() {
    let server = Server::start(narrow()).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let waiting = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["models"]["tiny:latest"]["queued"] == 1 && state["pending"] == 0);
    let keep_warm = r#"{"model":"tiny-loop","keep_alive":"60s"}"#;
    assert!(call(&server, "POST", "/api/generate", keep_warm).1.contains("\"done_reason\":\"load\""));
    drop(busy);
    let state = until(&server, |state| state["in_flight"] == 0);
    assert_eq!(state["queued"], 1, "idle, and still nobody else is loaded");
    assert_eq!(loaded(&server), ["tiny-loop:latest"]);
    let (status, _) = call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":0}"#);
    assert_eq!(status, 200);
    assert!(head(waiting).unwrap().body().contains("\"done\":true"));
    assert_eq!(loaded(&server), ["tiny:latest"]);
}

#[test]
fn the_queue_for_loads_is_bounded_and_that_for_slots_is_not() {
    let server = Server::start(Options { max_queue: 1, ..narrow() }).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let slots: Vec<_> = (0..5).map(|_| send(&server, "POST", "/api/generate", &prompt("tiny-loop", ""))).collect();
    until(&server, |state| state["queued"] == 5);
    let first = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["queued"] == 6 && state["pending"] == 0);
    let second = send(&server, "POST", "/api/generate", &prompt("tiny", ""));
    until(&server, |state| state["pending"] == 1);
    let (status, body) = call(&server, "POST", "/api/generate", &prompt("smollm2", ""));
    assert_eq!((status, body.contains("maximum pending requests exceeded")), (503, true));
    drop((busy, slots));
    for stream in [first, second] {
        assert_eq!(head(stream).unwrap().status, 200);
    }
}

#[test]
fn another_num_ctx_loads_again_and_two_names_share_a_file() {
    let server =
        Server::start(Options { models: vec!["smollm2".into(), "smol-b".into()], ..Options::default() }).unwrap();
    let context = |server: &Server| json(server, "GET", "/api/ps", "")["models"][0]["context_length"].clone();
    for (model, options, wanted, loads) in [
        ("smollm2", "", 4096, 1),
        ("smollm2", ",\"options\":{\"num_ctx\":4096}", 4096, 1),
        ("smollm2", ",\"options\":{\"num_ctx\":2048}", 2048, 2),
        ("smol-b", "", 2048, 2),
        ("smollm2", "", 4096, 3),
    ] {
        call(&server, "POST", "/api/generate", &prompt(model, &format!(",\"stream\":false{options}")));
        let state = json(&server, "GET", "/_fake/state", "");
        let models = state["models"].as_object().unwrap().values();
        let all: u64 = models.map(|model| model["loads"].as_u64().unwrap()).sum();
        assert_eq!((context(&server), all), (wanted.into(), loads), "{model} {options}");
        assert_eq!(loaded(&server).len(), 1);
    }
}

#[test]
fn keep_alive_decides_when_a_model_goes() {
    let server = Server::start(Options::default()).unwrap();
    let ask = |more: &str| call(&server, "POST", "/api/generate", &prompt("tiny", &format!(",\"stream\":false{more}")));
    ask(",\"keep_alive\":0");
    assert!(loaded(&server).is_empty());
    ask(",\"keep_alive\":-1");
    let ps = json(&server, "GET", "/api/ps", "");
    assert!(ps["models"][0]["expires_at"].as_str().unwrap().starts_with("23"), "{ps}");
    ask(",\"keep_alive\":\"20ms\"");
    until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
}

#[test]
fn a_dead_engine_takes_all_its_answers_along_and_the_next_request_loads() {
    let server = Server::start(Options { parallel: 2, ..narrow() }).unwrap();
    let mut other = begin(&server, "tiny-loop", "");
    call(&server, "POST", "/_fake/faults", r#"{"kind":"runner_dies_after","after":2,"times":1}"#);
    let dying = begin(&server, "tiny-loop", "");
    let ends = |text: String| text.lines().any(|line| line.contains("\"error\":\"an error was encountered"));
    assert!(ends(dying.body()));
    let mut last = String::new();
    while let Some(line) = other.line() {
        last = line;
    }
    assert!(ends(last));
    assert_eq!(loaded(&server), ["tiny-loop:latest"], "nobody has noticed yet");
    drop(begin(&server, "tiny-loop", ""));
    assert_eq!(json(&server, "GET", "/_fake/state", "")["models"]["tiny-loop:latest"]["loads"], 2);
}

#[test]
fn a_load_that_fails_is_told_and_the_next_one_works() {
    let fault = Fault::new(FaultKind::LoadDies).times(1);
    let server = Server::start(Options { faults: vec![fault], ..Options::default() }).unwrap();
    let ask = || call(&server, "POST", "/api/generate", &prompt("tiny", ",\"stream\":false"));
    assert_eq!(ask().0, 500);
    assert_eq!(ask().0, 200);
}
