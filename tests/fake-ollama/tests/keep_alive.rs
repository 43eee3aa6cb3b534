//! How long models stay: the values that keep_alive may have, and that the last one sticks.

#![allow(clippy::unwrap_used, reason = "a test; what fails here fails it")]

mod client;

use client::{begin, call, head, json, loaded, prompt, send, until};
use fake_ollama::{Options, Server};
use std::time::Duration;

fn generate(server: &Server, more: &str) -> (u16, String) {
    call(server, "POST", "/api/generate", &prompt("tiny", &format!(",\"stream\":false{more}")))
}

/// Seconds that `/api/ps` gives the only loaded model, in steps of ten; `None` for ever.
fn left(server: &Server) -> Option<i64> {
    let ps = json(server, "GET", "/api/ps", "");
    let until = ps["models"][0]["expires_at"].as_str().unwrap();
    if until.starts_with("23") {
        return None;
    }
    let now = json(server, "GET", "/_fake/requests", "");
    let now = now.as_array().unwrap().last().unwrap()["at_ms"].as_i64().unwrap();
    let until: jiff::Timestamp = until.parse().unwrap();
    Some((until.as_millisecond() - now + 5000) / 10_000 * 10)
}

#[test]
fn values_are_seconds_or_durations_and_negative_ones_are_for_ever() {
    for (value, seconds) in [
        ("60", Some(60)),
        ("69.9", Some(70)),
        ("\"10m\"", Some(600)),
        ("\"1h30m\"", Some(5400)),
        ("-1", None),
        ("-0.5", None),
        ("\"-1s\"", None),
    ] {
        let server = Server::start(Options::default()).unwrap();
        assert_eq!(generate(&server, &format!(",\"keep_alive\":{value}")).0, 200);
        assert_eq!(left(&server), seconds, "{value}");
    }
}

#[test]
fn other_values_are_refused() {
    for (value, text) in [
        ("\"300\"", "time: missing unit in duration \\\"300\\\""),
        ("\"abc\"", "time: invalid duration \\\"abc\\\""),
        ("\"\"", "time: invalid duration \\\"\\\""),
        ("true", "Unsupported type: 'bool'"),
    ] {
        let server = Server::start(Options::default()).unwrap();
        let (status, body) = generate(&server, &format!(",\"keep_alive\":{value}"));
        assert_eq!((status, body), (400, format!("{{\"error\":\"{text}\"}}")), "{value}");
        assert!(loaded(&server).is_empty());
    }
}

#[test]
fn the_last_value_sticks_and_requests_without_one_start_its_time_anew() {
    let server = Server::start(Options::default()).unwrap();
    generate(&server, "");
    assert_eq!(left(&server), Some(300), "the default");
    generate(&server, ",\"keep_alive\":\"20m\"");
    generate(&server, "");
    assert_eq!(left(&server), Some(1200));
    // /v1 has no such field, and keeps to what was said elsewhere.
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"keep_alive":7}"#;
    assert_eq!(call(&server, "POST", "/v1/chat/completions", body).0, 200);
    assert_eq!(left(&server), Some(1200));
    generate(&server, ",\"keep_alive\":0");
    assert!(loaded(&server).is_empty());
    generate(&server, "");
    assert_eq!(left(&server), Some(300), "a new runner knows nothing of the old one");
}

#[test]
fn a_model_goes_when_its_time_is_over() {
    let server = Server::start(Options { keep_alive: Duration::from_millis(30), ..Options::default() }).unwrap();
    generate(&server, "");
    until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
    generate(&server, ",\"keep_alive\":\"30ms\"");
    until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
}

/// 200 at once; whoever is there finishes, whoever comes joins; then it goes.
#[test]
fn an_unload_of_a_busy_model_waits_for_its_last_answer() {
    let server = Server::start(Options { pace: Duration::from_millis(1), ..Options::default() }).unwrap();
    let busy = begin(&server, "tiny-loop", "");
    let queued = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ",\"options\":{\"num_predict\":3}"));
    until(&server, |state| state["queued"] == 1);
    let (status, body) = call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":0}"#);
    assert!(status == 200 && body.contains("\"done_reason\":\"unload\""), "{body}");
    assert_eq!(left(&server), Some(0));
    let joins = send(&server, "POST", "/api/generate", &prompt("tiny-loop", ",\"options\":{\"num_predict\":3}"));
    until(&server, |state| state["queued"] == 2);
    assert_eq!(loaded(&server), ["tiny-loop:latest"]);
    drop(busy);
    for stream in [queued, joins] {
        assert!(head(stream).unwrap().body().contains("\"done\":true"));
    }
    let state = until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
    assert_eq!(state["models"]["tiny-loop:latest"]["starts"], 1, "all of them had the same runner");
}

#[test]
fn a_keep_alive_makes_an_unload_of_a_busy_model_void() {
    for (more, stays) in [("", false), (",\"keep_alive\":\"10m\"", true)] {
        let server = Server::start(Options { pace: Duration::from_millis(1), ..Options::default() }).unwrap();
        let busy = begin(&server, "tiny-loop", "");
        call(&server, "POST", "/api/generate", r#"{"model":"tiny-loop","keep_alive":0}"#);
        let (status, body) = call(&server, "POST", "/api/generate", &format!("{{\"model\":\"tiny-loop\"{more}}}"));
        assert!(status == 200 && body.contains("\"done_reason\":\"load\""), "at once, though it is busy: {body}");
        drop(busy);
        until(&server, |state| state["in_flight"] == 0);
        if stays {
            assert_eq!((loaded(&server).len(), left(&server)), (1, Some(600)));
        } else {
            until(&server, |state| state["loaded"].as_array().unwrap().is_empty());
        }
    }
}

#[test]
fn an_unload_of_what_is_not_loaded_is_a_success() {
    let server = Server::start(Options::default()).unwrap();
    for (path, more) in [("/api/generate", ""), ("/api/chat", ",\"messages\":[]")] {
        let (status, body) = call(&server, "POST", path, &format!("{{\"model\":\"tiny\",\"keep_alive\":0{more}}}"));
        assert!(status == 200 && body.contains("\"done_reason\":\"unload\""), "{path}: {body}");
    }
    assert_eq!(json(&server, "GET", "/_fake/state", "")["models"]["tiny:latest"]["starts"].as_u64().unwrap_or(0), 0);
}
